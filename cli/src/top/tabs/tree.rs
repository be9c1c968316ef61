//! The shaper's tree: which of its nodes are full, and whose packets wait. Nodes are all read at each reading, and what became of
//! all customers' packets, but histograms only of those customers who are busiest, and of those who are to be seen.

use std::collections::HashMap;
use std::time::Instant;

use weir_stats::{ReadError, Reader};

use crate::rtt::pass::{PART, Past};
use crate::shaper::WAYS;
use crate::shaper::delays::Delays;
use crate::shaper::reading::{Flow, Rates, Reading as Moment};
use crate::shaper::source::{CAUSES, CUSTOMERS, NODES, Source, TITLES};
use crate::shaper::tree::{Item, Tree as Shape};

use super::super::reading::Reading;
use super::super::table::{Cell, Column, Fold, Form, Table};
use super::{Shown, Tab};

/// Of so many customers, the busiest, the delays are read: some 100 MB a second with two workers, and most of what passes.
const BUSIEST: usize = 2_000;

/// The quantile that is shown, by its place.
const P99: usize = 2;

/// The view.
#[derive(Default)]
pub struct Tree {
    /// `None` until it was looked for, and where there is none.
    found: Option<Found>,
    /// Of the nodes that the user has changed.
    opened: HashMap<usize, Opened>,
}

/// What of a node is to be seen. At first it is the nodes below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    Nothing,
    Everything,
}

/// A segment's shaper.
struct Found {
    source: Source,
    now: Seen,
    before: Option<Seen>,
    /// Bytes of all customers, by direction.
    bytes: [Vec<u64>; 2],
    /// Whose delays were read, in ascending order, and what was there then.
    measured: Vec<usize>,
    past: Past,
    delays: Delays,
}

/// What was there at one moment.
struct Seen {
    shape: Shape,
    moment: Moment,
    /// Of the customers that were read one by one.
    names: Vec<String>,
    titles: Vec<String>,
}

impl Tree {
    /// All nodes open, no customers.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// What is to be seen, the busiest first.
    fn lines(&self, shape: &Shape, load: impl Fn(Item) -> f64) -> Vec<(Item, usize)> {
        let is_open = |node| self.opened.get(&node) != Some(&Opened::Nothing);
        let has_customers = |node| self.opened.get(&node) == Some(&Opened::Everything);
        shape.walk(None, is_open, has_customers, load)
    }

    fn update(
        &self,
        reader: &Reader,
        found: Option<Found>,
        now: Instant,
    ) -> Result<Option<Found>, ReadError> {
        let (source, found) = match found {
            Some(found) => (found.source, Some((found.now, found.bytes, found.measured, found.past))),
            None => match Source::of(reader)? {
                Some(source) => (source, None),
                None => return Ok(None),
            },
        };
        let shape = Shape::of(&source)?;
        let lines = self.lines(&shape, |_| 0.0);
        let mut kept: Vec<usize> = lines.into_iter().filter_map(|(item, _)| customer(item)).collect();
        kept.sort_unstable();
        let moment = Moment::of(&source, &shape, &shape.customers(None), kept, now)?;
        let names = source.some_texts(CUSTOMERS, &moment.kept)?;
        let titles = source.some_texts(TITLES, &moment.kept)?;
        let bytes = [bytes(&source, 0)?, bytes(&source, 1)?];
        let (before, earlier, known, mut past) = match found {
            Some((before, earlier, known, past)) => (Some(before), Some(earlier), known, past),
            None => (None, None, Vec::new(), Past::default()),
        };
        let mut measured = busiest(&bytes, earlier.as_ref());
        measured.extend_from_slice(&moment.kept);
        measured.sort_unstable();
        measured.dedup();
        let delays = Delays::news(&source, &shape, &measured, &moment.kept, &mut past, &known)?;
        for customer in known.iter().filter(|customer| measured.binary_search(customer).is_err()) {
            past.forget(*customer);
        }
        let now = Seen { shape, moment, names, titles };
        Ok(Some(Found { source, now, before, bytes, measured, past, delays }))
    }
}

fn customer(item: Item) -> Option<usize> {
    if let Item::Customer(number) = item { Some(number) } else { None }
}

/// Bytes of all customers in a direction.
fn bytes(source: &Source, way: usize) -> Result<Vec<u64>, ReadError> {
    let count = source.count(CUSTOMERS)?;
    let mut all = Vec::with_capacity(count);
    for first in (0..count).step_by(PART) {
        let pairs =
            source.numbers(source.customers[way].sent.as_ref(), &(first..count.min(first + PART)), 2)?;
        all.extend(pairs.chunks(2).map(|pair| pair[1]));
    }
    Ok(all)
}

/// Those who have sent and received most since an earlier reading; of those who have, as many as are measured.
fn busiest(now: &[Vec<u64>; 2], before: Option<&[Vec<u64>; 2]>) -> Vec<usize> {
    let Some(before) = before else { return Vec::new() };
    let change = |way: usize, customer: usize| {
        let before = before[way].get(customer).copied().unwrap_or(0);
        // A counter that is lower than it was counts another customer's packets.
        now[way].get(customer).map_or(0, |now| now.checked_sub(before).unwrap_or(*now))
    };
    let keyed =
        (0..now[0].len()).map(|customer| (change(0, customer).saturating_add(change(1, customer)), customer));
    let mut keyed: Vec<(u64, usize)> = keyed.filter(|(bytes, _)| *bytes > 0).collect();
    if keyed.len() > BUSIEST {
        keyed.select_nth_unstable_by(BUSIEST - 1, |a, b| b.cmp(a));
        keyed.truncate(BUSIEST);
    }
    keyed.into_iter().map(|(_, customer)| customer).collect()
}

impl Seen {
    /// What tells an object from another one that has its number.
    fn name(&self, item: Item) -> Option<&str> {
        match item {
            Item::Node(number) => self.shape.node(number).map(|node| &*node.name),
            Item::Customer(number) => {
                let at = self.moment.kept.binary_search(&number).ok()?;
                self.names.get(at).map(String::as_str)
            }
        }
    }

    /// What is shown of it: a customer's title as well.
    fn title(&self, item: Item) -> String {
        let name = self.name(item).unwrap_or_default();
        let at = customer(item).and_then(|number| self.moment.kept.binary_search(&number).ok());
        match at.and_then(|at| self.titles.get(at)) {
            Some(title) if !title.is_empty() && title != name => format!("{name} {title}"),
            _ => name.to_owned(),
        }
    }
}

impl Found {
    /// Whether it is still what the segment has.
    fn is_current(&self) -> bool {
        let count = |path| self.source.count(path).ok();
        count(NODES) == Some(self.now.shape.len()) && count(CUSTOMERS) == Some(self.bytes[0].len())
    }

    fn flows(&self, item: Item) -> [Flow; 2] {
        self.now.moment.flows(item).copied().unwrap_or_default()
    }

    /// What passes in a second; `None` for what was not there at the reading before.
    fn rates(&self, item: Item) -> Option<[Rates; 2]> {
        let before = self.before.as_ref().filter(|before| before.name(item) == self.now.name(item))?;
        let seconds = self.now.moment.at.duration_since(before.moment.at).as_secs_f64();
        let (now, before) = (self.now.moment.flows(item)?, before.moment.flows(item)?);
        Some([0, 1].map(|way| now[way].since(&before[way], seconds)))
    }

    fn utilisations(&self, item: Item) -> [Option<f64>; 2] {
        let flows = self.flows(item);
        let rates = self.rates(item);
        [0, 1].map(|way| flows[way].utilisation(rates.as_ref()?[way].bits))
    }

    fn wait(&self, item: Item, way: usize) -> Cell {
        let nothing = Cell::Time { microseconds: None, is_beyond: false };
        let Some(measured) = &self.source.delays else { return nothing };
        let figures = self.delays.figures(item, way, measured, None).filter(|figures| figures.count > 0);
        let Some(time) = figures.map(|figures| figures.quantiles[P99]) else { return nothing };
        let bound = measured.bounds.upper().last().map_or(0.0, |bound| *bound as f64);
        Cell::Time { microseconds: Some(time.min(bound)), is_beyond: !time.is_finite() }
    }
}

impl Tab for Tree {
    fn title(&self) -> &'static str {
        "Tree"
    }

    fn wants(&self, path: &str, _visible: bool) -> bool {
        // Small, and there if there is a shaper.
        path == CAUSES
    }

    fn is_there(&self, reading: &Reading) -> bool {
        reading.has(CAUSES)
    }

    fn read(&mut self, reader: &Reader, now: Instant) {
        let current = self.found.take().filter(Found::is_current);
        self.found = self.update(reader, current, now).unwrap_or_default();
    }

    fn folds(&self) -> bool {
        true
    }

    fn fold(&mut self, item: Item) {
        let Some(shape) = self.found.as_ref().map(|found| &found.now.shape) else { return };
        let Item::Node(number) = item else { return };
        let (nodes, customers) = (
            shape.node(number).is_some_and(|node| !node.children.is_empty()),
            !shape.members(number).is_empty(),
        );
        match self.opened.get(&number) {
            None if customers => drop(self.opened.insert(number, Opened::Everything)),
            None | Some(Opened::Everything) if nodes => drop(self.opened.insert(number, Opened::Nothing)),
            _ => drop(self.opened.remove(&number)),
        }
    }

    fn table(&self, _reading: &Reading, shown: Shown) -> Table {
        let number = |title, rank| Column::new(title, Form::Number, rank);
        let mut columns = vec![Column::new("node", Form::Text, 0)];
        if shown.totals {
            columns.extend([number("down bytes", 1), number("up bytes", 2)]);
            columns.extend([Column::new("drops", Form::Loss, 3), number("marks", 7)]);
        } else {
            let bar = |title| Column::new(title, Form::Bar, 1);
            columns.extend([bar("down use"), number("down bps", 2), bar("up use"), number("up bps", 3)]);
            columns.extend([Column::new("drops/s", Form::Loss, 4), number("marks/s", 11)]);
            columns.extend([number("wait down", 5), number("wait up", 8)]);
        }
        columns.extend([number("backlog", 6), number("customers", 7)]);
        columns.extend(
            [("down rate", 10), ("down max", 9), ("up rate", 10), ("up max", 9)]
                .map(|(it, rank)| number(it, rank)),
        );
        let Some(found) = &self.found else { return Table { columns, rows: Vec::new() } };
        let load = |item| {
            if shown.totals {
                return found.flows(item).iter().map(|flow| flow.sent[1] as f64).sum();
            }
            found.utilisations(item).into_iter().flatten().fold(0.0, f64::max)
        };
        let shape = &found.now.shape;
        let rows = self.lines(shape, load).into_iter().map(|(item, depth)| {
            let flows = found.flows(item);
            let sum = |of: fn(&Flow) -> u64| flows.iter().map(of).fold(0, u64::saturating_add);
            let mut cells =
                vec![Cell::Branch { item, depth, fold: self.sign(shape, item), name: found.now.title(item) }];
            if shown.totals {
                cells.extend(flows.map(|flow| Cell::Count(flow.sent[1])));
                cells.extend([Cell::Count(sum(|flow| flow.drops)), Cell::Count(sum(|flow| flow.marks))]);
            } else {
                let (rates, parts) = (found.rates(item), found.utilisations(item));
                let rate = |of: fn(&[Rates; 2]) -> f64| Cell::Quantity(rates.as_ref().map(of));
                cells.extend([
                    Cell::Bar(parts[0]),
                    rate(|[down, _]| down.bits),
                    Cell::Bar(parts[1]),
                    rate(|[_, up]| up.bits),
                    rate(|rates| rates.iter().map(|rates| rates.drops).sum()),
                    rate(|rates| rates.iter().map(|rates| rates.marks).sum()),
                ]);
                cells.extend((0..WAYS.len()).map(|way| found.wait(item, way)));
            }
            let count =
                if let Item::Node(node) = item { shape.node(node).map(|node| node.customers) } else { None };
            cells.push(Cell::Quantity(Some(sum(|flow| flow.backlog[1]) as f64)));
            cells.push(count.map_or(Cell::Text(String::new()), |count| Cell::Count(count as u64)));
            for flow in flows {
                // A node's is what passes, which is there already.
                let rate = customer(item).map(|_| Cell::Quantity(Some(flow.rate as f64)));
                cells.push(rate.unwrap_or(Cell::Text(String::new())));
                cells.push(Cell::Quantity(Some(flow.max as f64)));
            }
            cells
        });
        Table { columns, rows: rows.collect() }
    }
}

impl Tree {
    fn sign(&self, shape: &Shape, item: Item) -> Fold {
        let Item::Node(number) = item else { return Fold::Nothing };
        let nodes = shape.node(number).is_some_and(|node| !node.children.is_empty());
        let customers = !shape.members(number).is_empty();
        match self.opened.get(&number) {
            _ if !nodes && !customers => Fold::Nothing,
            Some(Opened::Everything) => Fold::Open,
            None if nodes => Fold::Open,
            _ => Fold::Folded,
        }
    }
}
