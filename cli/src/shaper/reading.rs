//! The numbers of one moment: of nodes and of some customers, what has passed them and what they can get; of each node also
//! what became of its customers' packets. Customers are read in parts and added up, so memory does not grow with their number.

use std::ops::Range;
use std::time::Instant;

use weir_stats::ReadError;

use crate::rtt::pass::{PART, runs};

use super::source::{ACK_FILTER, Source, Vectors};
use super::tree::{Item, Tree};

/// Objects that are read at once: each has some ten numbers.
const STEP: usize = PART / 8;

/// A node or a customer, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Packets and bytes that have passed.
    pub sent: [u64; 2],
    /// Packets and bytes that wait.
    pub backlog: [u64; 2],
    /// Bits a second: of a customer what can be had now; of a node what leaves from below it now, with the link's overhead.
    pub rate: u64,
    /// Bits a second that are guaranteed.
    pub min: u64,
    /// Bits a second at most.
    pub max: u64,
    /// Bits a second at most, of all customers below together.
    pub plans: u64,
    /// Packets dropped; of a node, those of the customers below.
    pub drops: u64,
    /// Packets marked, likewise.
    pub marks: u64,
}

/// What a flow was between two readings, a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Bits sent.
    pub bits: f64,
    /// Packets dropped.
    pub drops: f64,
    /// Packets marked.
    pub marks: f64,
}

/// All at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The moment.
    pub at: Instant,
    /// By number and direction.
    pub nodes: Vec<[Flow; 2]>,
    /// The customers that were asked for, in ascending order.
    pub kept: Vec<usize>,
    /// Theirs.
    pub customers: Vec<[Flow; 2]>,
}

impl Flow {
    /// What was counted since an earlier reading, by the second. Counters that are lower now count other packets: nothing is
    /// known of them.
    pub fn since(&self, before: &Flow, seconds: f64) -> Rates {
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.max(f64::MIN_POSITIVE);
        Rates {
            bits: rate(self.sent[1], before.sent[1]) * 8.0,
            drops: rate(self.drops, before.drops),
            marks: rate(self.marks, before.marks),
        }
    }

    /// How much of what it may send it sends, from 0; `None` where it may send nothing.
    pub fn utilisation(&self, bits: f64) -> Option<f64> {
        (self.max > 0).then(|| bits / self.max as f64)
    }

    fn add(&mut self, below: Flow) {
        self.plans = self.plans.saturating_add(below.plans);
        self.drops = self.drops.saturating_add(below.drops);
        self.marks = self.marks.saturating_add(below.marks);
    }
}

impl Reading {
    /// Reads the nodes and these customers (in ascending order), and adds up what became of the packets of those who are
    /// `counted`; it is the moment `at`.
    pub fn of(
        source: &Source,
        tree: &Tree,
        counted: &[usize],
        kept: Vec<usize>,
        at: Instant,
    ) -> Result<Reading, ReadError> {
        let all: Vec<usize> = (0..tree.len()).collect();
        let mut nodes = flows(source, &source.nodes, &all)?;
        let customers = flows(source, &source.customers, &kept)?;
        for (way, vectors) in source.customers.iter().enumerate() {
            for run in runs(counted, STEP) {
                let marks = source.numbers(vectors.marked.as_ref(), &run, 1)?;
                let plans = source.numbers(vectors.max.as_ref(), &run, 1)?;
                let drops = drops(source, vectors, &run)?;
                for (((customer, marks), plans), drops) in run.zip(marks).zip(plans).zip(drops) {
                    let node = tree.above(customer).and_then(|node| nodes.get_mut(node));
                    if let Some(node) = node {
                        node[way].add(Flow { plans, drops, marks, ..Flow::default() });
                    }
                }
            }
        }
        for &number in tree.order().iter().rev() {
            let Some(parent) = tree.node(number).and_then(|node| node.parent) else { continue };
            let below = nodes[number];
            nodes[parent].iter_mut().zip(below).for_each(|(flow, below)| flow.add(below));
        }
        Ok(Reading { at, nodes, kept, customers })
    }

    /// A node's, or a customer's who was asked for.
    pub fn flows(&self, item: Item) -> Option<&[Flow; 2]> {
        match item {
            Item::Node(number) => self.nodes.get(number),
            Item::Customer(number) => self.customers.get(self.kept.binary_search(&number).ok()?),
        }
    }
}

/// All that is known of some objects, but for what is added up.
fn flows(source: &Source, vectors: &[Vectors; 2], objects: &[usize]) -> Result<Vec<[Flow; 2]>, ReadError> {
    let mut flows = vec![[Flow::default(); 2]; objects.len()];
    for (way, vectors) in vectors.iter().enumerate() {
        let mut rest = flows.iter_mut();
        for run in runs(objects, STEP) {
            let pairs = |vector| source.numbers(vector, &run, 2);
            let numbers = |vector| source.numbers(vector, &run, 1);
            let (sent, backlog) = (pairs(vectors.sent.as_ref())?, pairs(vectors.backlog.as_ref())?);
            let [rate, min, max, marks] =
                [&vectors.rate, &vectors.min, &vectors.max, &vectors.marked].map(|it| numbers(it.as_ref()));
            let (rate, min, max, marks) = (rate?, min?, max?, marks?);
            let drops = drops(source, vectors, &run)?;
            for (at, flows) in rest.by_ref().take(run.len()).enumerate() {
                flows[way] = Flow {
                    sent: [sent[2 * at], sent[2 * at + 1]],
                    backlog: [backlog[2 * at], backlog[2 * at + 1]],
                    rate: rate[at],
                    min: min[at],
                    max: max[at],
                    plans: 0,
                    drops: drops[at],
                    marks: marks[at],
                };
            }
        }
    }
    Ok(flows)
}

/// Packets lost, whatever the cause.
fn drops(source: &Source, vectors: &Vectors, run: &Range<usize>) -> Result<Vec<u64>, ReadError> {
    let width = source.causes.len().max(1);
    let cells = source.numbers(vectors.dropped.as_ref(), run, width)?;
    let is_loss = |at: usize| source.causes.get(at).is_none_or(|cause| cause != ACK_FILTER);
    let sum = |causes: &[u64]| {
        let losses = causes.iter().enumerate().filter(|(at, _)| is_loss(*at));
        losses.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
    };
    Ok(cells.chunks(width).map(sum).collect())
}
