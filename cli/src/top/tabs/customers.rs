//! Customers: whose round trips are long now. Of a hundred thousand customers only the packet counters are read at each
//! reading, and the histograms of those who are busiest.

use std::time::Instant;

use weir_stats::{Kind, ReadError, Reader};

use crate::names::Meaning;
use crate::rtt::figures::{Chosen, Figures, Row};
use crate::rtt::lookup::Lookup;
use crate::rtt::pass::{PART, Pass, Past, sums};
use crate::rtt::subject::{BY_CUSTOMER, BY_PORT, Source};
use crate::shaper::source::Source as Shaper;

use super::super::reading::Reading;
use super::super::table::{Cell, Column, Form, Table};
use super::{Shown, Tab};

/// Small, and there if anything is measured.
const BINS: &str = "/rtt/bins";

/// So many customers are shown: the busiest. More would cost time for what nobody scrolls to.
const BUSIEST: usize = 100;

/// The quantiles that are shown, by their places.
const P50: usize = 0;
const P99: usize = 2;

/// The view.
#[derive(Default)]
pub struct Customers {
    /// `None` until it was looked for, and where there is none.
    found: Option<Found>,
    lines: Vec<Line>,
}

/// A segment's customers; its ports, if it has no customers.
struct Found {
    source: Source,
    /// Where their plans are, if they are shaped.
    plans: Option<Shaper>,
    names: Lookup,
    /// Bytes by direction and customer at the reading before; none before the first.
    bytes: Vec<Vec<u64>>,
    /// When that was.
    at: Option<Instant>,
    /// Those who were busiest then, in ascending order, and what they had.
    busiest: Vec<usize>,
    past: Past,
}

/// A customer of those who are shown.
struct Line {
    name: String,
    /// Since weir's start.
    all: Row,
    /// Since the reading before, and seconds since then; `None` for who was not among the busiest then.
    news: Option<(Row, f64)>,
    /// Bytes a second, by direction.
    rates: Vec<Option<f64>>,
    /// Bits a second that can be had now, and at most, by direction; none if they are not shaped.
    plans: Vec<u64>,
}

impl Customers {
    /// Without a past.
    pub fn new() -> Customers {
        Customers::default()
    }
}

impl Found {
    fn of(reader: &Reader) -> Result<Option<Found>, ReadError> {
        let meaning = Meaning::of(reader)?;
        let Some((source, _)) = Source::of_first(&[&BY_CUSTOMER, &BY_PORT], &meaning, reader)? else {
            return Ok(None);
        };
        let names =
            meaning.listing.iter().find(|it| it.name == source.subject.names && it.kind == Kind::Names);
        let names = Lookup::new(reader.clone(), names.cloned());
        let (bytes, at, busiest) = (Vec::new(), None, Vec::new());
        let plans = if source.subject.label == BY_CUSTOMER.label { Shaper::of(reader)? } else { None };
        Ok(Some(Found { source, plans, names, bytes, at, busiest, past: Past::default() }))
    }

    /// Whether it is still what the segment has. Customers who are new are found at the first reading that knows of them.
    fn is_current(&self, reader: &Reader) -> bool {
        self.names.entry().is_some_and(|names| {
            reader.extent(names).is_ok_and(|extent| extent.columns == self.source.objects)
        })
    }

    fn read(&mut self, reader: &Reader, now: Instant) -> Result<Vec<Line>, ReadError> {
        let source = &self.source;
        let traffic = source.places.iter().flatten().filter_map(|place| place.traffic.as_ref());
        let mut bytes = Vec::new();
        for vector in traffic {
            let mut all = Vec::with_capacity(source.objects);
            for first in (0..source.objects).step_by(PART) {
                let pairs = sums(reader, vector, &(first..source.objects.min(first + PART)))?;
                all.extend(pairs.chunks(2).map(|pair| pair.last().copied().unwrap_or(0)));
            }
            all.resize(source.objects, 0);
            bytes.push(all);
        }
        let seconds = self.at.replace(now).map(|before| now.duration_since(before).as_secs_f64());
        let before = std::mem::replace(&mut self.bytes, bytes);
        // A counter that is lower than it was counts another customer's packets.
        let change = |direction: usize, object: usize| {
            let now = self.bytes[direction][object];
            let before = before.get(direction)?.get(object)?;
            Some(now.checked_sub(*before).unwrap_or(now))
        };
        let directions = 0..self.bytes.len();
        let key = |object: usize| {
            let changes = directions.clone().map(|direction| change(direction, object).unwrap_or(0));
            let totals = directions.clone().map(|direction| self.bytes[direction][object]);
            let sum = |sum: u64, bytes: u64| sum.saturating_add(bytes);
            (changes.fold(0, sum), totals.fold(0, sum))
        };
        let mut keyed: Vec<((u64, u64), usize)> =
            (0..source.objects).map(|object| (key(object), object)).collect();
        if keyed.len() > BUSIEST {
            keyed.select_nth_unstable_by(BUSIEST - 1, |a, b| b.cmp(a));
            keyed.truncate(BUSIEST);
        }
        let mut busiest: Vec<usize> = keyed.into_iter().map(|(_, object)| object).collect();
        busiest.sort_unstable();

        let pass = Pass { reader, source, objects: &busiest, all: true, keep_bins: false };
        let [mut all, mut news] = [(); 2].map(|()| Chosen::new(None, None));
        pass.run(None, &mut all)?;
        pass.run(Some(&mut self.past), &mut news)?;
        let mut lines = Vec::new();
        for (all, news) in all.into_rows().into_iter().zip(news.into_rows()) {
            let was_busy = self.busiest.binary_search(&all.object).is_ok();
            let rate =
                |direction| Some(change(direction, all.object)? as f64 / seconds.filter(|it| *it > 0.0)?);
            let rates = directions.clone().map(rate).collect();
            let news = seconds.filter(|_| was_busy).map(|seconds| (news, seconds));
            let plans = self.plans.as_ref().map_or(Ok(Vec::new()), |plans| plan(plans, all.object))?;
            if let Some(name) = self.names.name(all.object) {
                lines.push(Line { name: name.to_owned(), all, news, rates, plans });
            }
        }
        for object in self.busiest.iter().filter(|object| busiest.binary_search(object).is_err()) {
            self.past.forget(*object);
        }
        self.busiest = busiest;
        Ok(lines)
    }
}

/// A customer's rate and the most of it, down and up.
fn plan(source: &Shaper, customer: usize) -> Result<Vec<u64>, ReadError> {
    let vectors = source.customers.iter().flat_map(|way| [&way.rate, &way.max]);
    let own = customer..customer.saturating_add(1);
    let numbers = vectors.map(|vector| source.numbers(vector.as_ref(), &own, 1)?.pop().map_or(Ok(0), Ok));
    numbers.collect()
}

impl Line {
    /// What is shown of a measure.
    fn figures(&self, measure: usize, shown: Shown) -> Option<&Figures> {
        let row = if shown.totals { Some(&self.all) } else { self.news.as_ref().map(|(row, _)| row) };
        row?.measures.get(measure)?.as_ref()
    }

    /// A quantile.
    fn time(&self, measure: usize, quantile: usize, source: &Source, shown: Shown) -> Cell {
        let figures = self.figures(measure, shown).filter(|figures| figures.count > 0);
        let Some(time) = figures.map(|figures| figures.quantiles[quantile]) else {
            return Cell::Time { microseconds: None, is_beyond: false };
        };
        let bound = source.bounds.upper().last().map_or(0.0, |bound| *bound as f64);
        Cell::Time { microseconds: Some(time.min(bound)), is_beyond: !time.is_finite() }
    }

    /// Bits a second, or bytes since the start.
    fn traffic(&self, direction: usize, measure: usize, shown: Shown) -> Cell {
        if shown.totals {
            return Cell::Count(self.figures(measure, shown).map_or(0, |figures| figures.traffic[1]));
        }
        Cell::Quantity(self.rates.get(direction).copied().flatten().map(|rate| rate * 8.0))
    }

    /// Packets sent again to and from a customer, in a second or since the start.
    fn resent(&self, measures: [usize; 2], shown: Shown) -> Cell {
        let counts = measures.map(|measure| self.figures(measure, shown).map(|figures| figures.traffic[2]));
        let sum = counts.into_iter().flatten().reduce(u64::saturating_add);
        if shown.totals {
            return Cell::Count(sum.unwrap_or(0));
        }
        let seconds = self.news.as_ref().map(|(_, seconds)| *seconds).filter(|seconds| *seconds > 0.0);
        Cell::Quantity(sum.zip(seconds).map(|(count, seconds)| count as f64 / seconds))
    }
}

impl Tab for Customers {
    fn title(&self) -> &'static str {
        "Customers"
    }

    fn wants(&self, path: &str, _visible: bool) -> bool {
        path == BINS
    }

    fn is_there(&self, reading: &Reading) -> bool {
        reading.has(BINS)
    }

    fn read(&mut self, reader: &Reader, now: Instant) {
        let current = self.found.take().filter(|found| found.is_current(reader));
        // What cannot be read now may be at rest at the next reading; the numbers of before are better than none.
        let Ok(Some(mut found)) = current.map_or_else(|| Found::of(reader), |found| Ok(Some(found))) else {
            return;
        };
        if let Ok(lines) = found.read(reader, now) {
            self.lines = lines;
            self.found = Some(found);
        }
    }

    fn table(&self, _reading: &Reading, shown: Shown) -> Table {
        let number = |title, rank| Column::new(title, Form::Number, rank);
        let Some(found) = &self.found else {
            return Table { columns: vec![Column::new("customer", Form::Text, 0)], rows: Vec::new() };
        };
        let source = &found.source;
        let is_by_port = source.subject.label == BY_PORT.label;
        let mut columns = vec![Column::new(source.subject.label, Form::Text, 0)];
        if is_by_port {
            columns.extend([
                number("rtt p50", 2),
                number("rtt p99", 1),
                number("wait p50", 5),
                number("wait p99", 4),
                number(shown.title("tx bps", "tx bytes"), 3),
            ]);
        } else {
            columns.extend([
                number("lan p50", 2),
                number("lan p99", 1),
                number("wan p50", 7),
                number("wan p99", 4),
                number(shown.title("down bps", "down bytes"), 3),
                number(shown.title("up bps", "up bytes"), 5),
                number(shown.title("resent/s", "resent"), 8),
                number("wait down", 6),
                number("wait up", 9),
            ]);
            if found.plans.is_some() {
                columns.extend([number("down rate", 10), number("down max", 10)]);
                columns.extend([number("up rate", 11), number("up max", 11)]);
            }
        }
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        let worst = |line: &Line| {
            let figures = line.figures(0, shown).filter(|figures| figures.count > 0);
            figures.map_or(-1.0, |figures| figures.quantiles[P99])
        };
        lines.sort_by(|a, b| worst(b).total_cmp(&worst(a)));
        let rows = lines.into_iter().map(|line| {
            let time = |measure, quantile| line.time(measure, quantile, source, shown);
            let mut cells =
                vec![Cell::Text(line.name.clone()), time(0, P50), time(0, P99), time(1, P50), time(1, P99)];
            if is_by_port {
                cells.push(line.traffic(0, 1, shown));
            } else {
                cells.extend([
                    line.traffic(0, 2, shown),
                    line.traffic(1, 3, shown),
                    line.resent([2, 3], shown),
                    time(2, P99),
                    time(3, P99),
                ]);
                cells.extend(line.plans.iter().map(|rate| Cell::Quantity(Some(*rate as f64))));
            }
            cells
        });
        Table { columns, rows: rows.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_stats::Snapshot;

    use super::*;
    use crate::rtt::trial::Trial;
    use crate::shaped::Shaped;

    /// The table's lines, its cells separated by spaces.
    fn lines(tab: &Customers, shown: Shown) -> Vec<String> {
        let snapshot = Snapshot { epoch: 1, values: Vec::new() };
        let table = tab.table(&Reading::new(Arc::new(snapshot), None, None), shown);
        let titles = table.columns.iter().map(|column| column.title.clone().into_owned()).collect();
        let rows = table.rows.iter().map(|row| row.iter().map(|cell| cell.text().into_owned()).collect());
        let all = [titles].into_iter().chain(rows);
        all.map(|cells: Vec<String>| cells.join(" ")).collect()
    }

    #[test]
    fn the_longest_round_trips_of_the_busiest_come_first() {
        let mut trial = Trial::new(&["acme", "zoo", "", "far"]);
        let reader = Reader::of(&trial.segment).unwrap();
        trial.sample(0, 0, 1_500, 1000);
        trial.sample(2, 0, 60, 10);
        trial.pass(0, 0, [100, 50_000, 7, 0]);
        trial.sample(0, 1, 20_000, 10);
        trial.sample(0, 3, 60_000_000, 1);
        let mut tab = Customers::new();
        assert_eq!(lines(&tab, Shown::default()), ["customer"]);
        tab.read(&reader, Instant::now());
        let title = "customer lan p50 lan p99 wan p50 wan p99 down bps up bps resent/s wait down wait up";
        let nothing = |name| format!("{name} - - - - - - - - -");
        assert_eq!(
            lines(&tab, Shown::default()),
            [title.to_owned(), nothing("acme"), nothing("zoo"), nothing("far")],
            "there is nothing yet to compare with"
        );
        let totals = Shown { totals: true, ..Shown::default() };
        assert_eq!(
            lines(&tab, totals),
            [
                "customer lan p50 lan p99 wan p50 wan p99 down bytes up bytes resent wait down wait up",
                "far >16.8s >16.8s - - 0 0 0 - -",
                "zoo 20.0ms 20.5ms - - 0 0 0 - -",
                "acme 1.50ms 1.53ms - - 50000 0 7 61.0us -"
            ]
        );
        trial.sample(0, 0, 9_000, 10);
        trial.sample(1, 0, 100, 10);
        trial.sample(0, 1, 30_000, 10);
        trial.pass(1, 1, [1, 1000, 1, 0]);
        tab.read(&reader, Instant::now());
        let lines = lines(&tab, Shown::default());
        assert!(lines[1].starts_with("zoo 30.0ms 30.7ms - - 0 "), "{lines:?}");
        assert!(lines[2].starts_with("acme 9.00ms 9.21ms 100us 103us 0 0 0 "), "{lines:?}");
        assert_eq!(lines[3], "far - - - - 0 0 0 - -");
    }

    #[test]
    fn the_busiest_are_shown_and_change() {
        let names: Vec<String> = (0..300).map(|number| format!("c{number:03}")).collect();
        let mut trial = Trial::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let reader = Reader::of(&trial.segment).unwrap();
        (0..300).for_each(|object| trial.sample(0, object, 1_000, 1));
        (200..300).for_each(|object| trial.pass(0, object, [1, 1000, 0, 0]));
        let mut tab = Customers::new();
        let shown = |tab: &Customers| {
            let mut names: Vec<String> = tab.lines.iter().map(|line| line.name.clone()).collect();
            names.sort();
            names
        };
        tab.read(&reader, Instant::now());
        assert_eq!(shown(&tab), names[200..]);
        (0..50).for_each(|object| trial.pass(1, object, [1, 100, 0, 0]));
        (0..300).for_each(|object| trial.sample(0, object, 1_000, 1));
        tab.read(&reader, Instant::now());
        assert_eq!(shown(&tab)[..50], names[..50], "who is busy now comes before who was");
        let news = |tab: &Customers, name: &str| {
            let line = tab.lines.iter().find(|line| line.name == name).unwrap();
            line.figures(0, Shown::default()).map(|figures| figures.count)
        };
        assert_eq!((news(&tab, "c007"), news(&tab, "c299")), (None, Some(1)), "its past was not read");
        (0..300).for_each(|object| trial.sample(0, object, 1_000, 1));
        (0..50).for_each(|object| trial.pass(1, object, [1, 100, 0, 0]));
        tab.read(&reader, Instant::now());
        assert_eq!(news(&tab, "c007"), Some(1));
    }

    #[test]
    fn who_is_shaped_has_a_plan() {
        let nodes = [("net", "", None)];
        let mut shaped = Shaped::new(false, &nodes, &[("idle", "", "", Some(0)), ("busy", "", "", Some(0))]);
        shaped.rates("/shaper/customers/down", 1, [0, 100_000_000, 90_000_000]);
        shaped.rates("/shaper/customers/up", 1, [0, 20_000_000, 20_000_000]);
        let mut tab = Customers::new();
        tab.read(&Reader::of(&shaped.segment).unwrap(), Instant::now());
        let lines = lines(&tab, Shown { totals: true, ..Shown::default() });
        assert!(lines[0].ends_with(" wait down wait up down rate down max up rate up max"), "{lines:?}");
        assert!(lines[2].starts_with("busy ") && lines[2].ends_with(" 90.0M 100M 20.0M 20.0M"), "{lines:?}");
    }

    #[test]
    fn ports_take_the_place_of_customers() {
        let mut trial = Trial::new(&[]);
        let reader = Reader::of(&trial.segment).unwrap();
        trial.sample(4, 2, 1_500, 10);
        let mut tab = Customers::new();
        tab.read(&reader, Instant::now());
        let totals = Shown { totals: true, ..Shown::default() };
        assert_eq!(
            lines(&tab, totals),
            ["port rtt p50 rtt p99 wait p50 wait p99 tx bytes", "eth2 1.50ms 1.53ms - - 0", "eth1 - - - - 0"]
        );
    }
}
