//! The tree as it is printed: lines of nodes and customers, each with both directions.

use serde::Serialize;
use weir_stats::ReadError;

use crate::rtt::figures::Figures;
use crate::rtt::subject;
use crate::shaper::WAYS;
use crate::shaper::reading::{Flow, Rates};
use crate::shaper::source::{CUSTOMERS, TITLES};
use crate::shaper::tree::Item;

use super::{Interval, Moment, Pair, Times, ended};

/// What is printed.
#[derive(Debug)]
pub struct View {
    /// When it was measured; `None` for totals.
    pub interval: Option<Interval>,
    /// Those above the node that was asked for, upwards.
    pub path: Vec<String>,
    /// Nodes, and customers if they are listed.
    pub lines: Vec<Line>,
    /// Where delays are measured.
    pub delays: Option<subject::Source>,
}

impl Serialize for View {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'v> {
            interval: Option<Interval>,
            path: &'v [String],
            nodes: Vec<&'v Line>,
            customers: Vec<&'v Line>,
        }
        let (nodes, customers) = self.lines.iter().partition(|line| line.customers.is_some());
        Json { interval: self.interval, path: &self.path, nodes, customers }.serialize(serializer)
    }
}

/// A node or a customer.
#[derive(Debug, Serialize)]
pub struct Line {
    /// What it is called.
    pub name: String,
    /// What people call a customer, if that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What a node is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How deep it is below the first one.
    pub depth: usize,
    /// The node above.
    pub parent: Option<String>,
    /// Customers below a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customers: Option<usize>,
    /// To the customers.
    pub down: Measured,
    /// From the customers.
    pub up: Measured,
}

/// One direction of a line.
#[derive(Debug)]
pub struct Measured {
    /// What was read last.
    pub flow: Flow,
    /// What was measured; `None` for totals.
    pub rates: Option<Rates>,
    /// How long packets waited; `None` where it is not measured.
    pub delay: Option<Figures>,
    is_node: bool,
}

impl Serialize for Measured {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json {
            sent: Pair,
            backlog: Pair,
            dropped: u64,
            marked: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            wire_bps: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            rate_bps: Option<u64>,
            min_bps: u64,
            max_bps: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            plans_bps: Option<u64>,
            sent_bps: Option<f64>,
            r#use: Option<f64>,
            dropped_per_second: Option<f64>,
            marked_per_second: Option<f64>,
            delay: Option<Times>,
        }
        let Measured { flow, rates, delay, is_node } = self;
        let rate = |of: fn(&Rates) -> f64| rates.as_ref().map(|rates| (of(rates) * 1e3).round() / 1e3);
        Json {
            sent: flow.sent.into(),
            backlog: flow.backlog.into(),
            dropped: flow.drops,
            marked: flow.marks,
            wire_bps: is_node.then_some(flow.rate),
            rate_bps: (!is_node).then_some(flow.rate),
            min_bps: flow.min,
            max_bps: flow.max,
            plans_bps: is_node.then_some(flow.plans),
            sent_bps: rate(|rates| rates.bits),
            r#use: self.utilisation().map(|part| (part * 1e6).round() / 1e6),
            dropped_per_second: rate(|rates| rates.drops),
            marked_per_second: rate(|rates| rates.marks),
            delay: delay.as_ref().map(Times::from),
        }
        .serialize(serializer)
    }
}

impl Measured {
    /// How much of what it may send it sends.
    pub fn utilisation(&self) -> Option<f64> {
        self.flow.utilisation(self.rates.as_ref()?.bits)
    }
}

impl View {
    /// Puts together what was read, and what was read before.
    pub fn of(
        now: &Moment,
        before: Option<&Moment>,
        top: Option<usize>,
        customers: bool,
    ) -> Result<View, ReadError> {
        let Moment { source, tree, reading, delays } = now;
        let elapsed = before.map(|before| reading.at.duration_since(before.reading.at).as_secs_f64());
        let names = source.some_texts(CUSTOMERS, &reading.kept)?;
        let titles = source.some_texts(TITLES, &reading.kept)?;
        let old_names = before.map(|it| it.source.some_texts(CUSTOMERS, &it.reading.kept)).transpose()?;
        // Another one's past says nothing.
        let is_same = |item: Item, before: &Moment| match item {
            Item::Node(number) => {
                before.tree.node(number).map(|node| &node.name) == tree.node(number).map(|node| &node.name)
            }
            Item::Customer(number) => {
                let old = before.reading.kept.binary_search(&number).ok();
                let old = old.zip(old_names.as_ref()).and_then(|(at, names)| names.get(at));
                let new = reading.kept.binary_search(&number).ok().and_then(|at| names.get(at));
                old.is_some() && old == new
            }
        };
        let past = |item: Item| before.filter(|before| is_same(item, before));
        let rates = |item: Item, way: usize| {
            let (flows, seconds) = (reading.flows(item)?, elapsed?);
            let before = past(item)?.reading.flows(item)?;
            Some(flows[way].since(&before[way], seconds))
        };
        let load = |item: Item| {
            let Some(flows) = reading.flows(item) else { return 0.0 };
            let loads = (0..WAYS.len()).map(|way| match before {
                Some(_) => {
                    rates(item, way).and_then(|rates| flows[way].utilisation(rates.bits)).unwrap_or(0.0)
                }
                None => flows[way].sent[1] as f64,
            });
            loads.fold(0.0, f64::max)
        };
        let measured = |item: Item, way: usize| Measured {
            flow: reading.flows(item).map(|flows| flows[way]).unwrap_or_default(),
            rates: if before.is_some() { Some(rates(item, way).unwrap_or_default()) } else { None },
            delay: source.delays.as_ref().and_then(|measured| {
                let past = past(item).map(|past| &past.delays);
                // Who was not there before has counted nothing but this.
                delays.figures(item, way, measured, past)
            }),
            is_node: matches!(item, Item::Node(_)),
        };
        let line = |(item, depth): (Item, usize)| {
            let [down, up] = [0, 1].map(|way| measured(item, way));
            match item {
                Item::Node(number) => {
                    let node = tree.node(number)?;
                    let parent = node.parent.and_then(|it| tree.node(it)).map(|node| node.name.clone());
                    Some(Line {
                        name: node.name.clone(),
                        title: None,
                        kind: Some(node.kind.clone()),
                        depth,
                        parent,
                        customers: Some(node.customers),
                        down,
                        up,
                    })
                }
                Item::Customer(number) => {
                    let at = reading.kept.binary_search(&number).ok()?;
                    let parent =
                        tree.above(number).and_then(|it| tree.node(it)).map(|node| node.name.clone());
                    let (name, title) = (names[at].clone(), titles[at].clone());
                    let title = (!title.is_empty() && title != name).then_some(title);
                    Some(Line { name, title, kind: None, depth, parent, customers: None, down, up })
                }
            }
        };
        let has_customers = |node: usize| customers || top == Some(node);
        let lines = tree.walk(top, |_| true, has_customers, load).into_iter().filter_map(line).collect();
        let path = top.into_iter().flat_map(|top| tree.path(top).skip(1)).map(|node| node.name.clone());
        Ok(View { interval: elapsed.map(ended), path: path.collect(), lines, delays: source.delays.clone() })
    }
}
