//! A weir that shapes, for tests: its segment as `graph-nodes/src/shaped.rs` lays it out, to be filled by hand.
// Not every test needs all of it.
#![allow(dead_code)]

use std::collections::HashMap;

use weir_stats::{Bounds, CombinedRow, Description, Error, Names, Options, Rows, Segment, SimpleRow};

use crate::measured::{DESCRIPTIONS, bounds};

/// What a vector's columns are.
#[derive(Clone, Copy)]
enum By {
    Node,
    Customer,
    Cause,
    Tin,
}

/// Whether and how numbers move, and who writes them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Counter,
    Gauge,
    Planned,
}

use By::{Cause, Customer as ByCustomer, Node as ByNode, Tin};
use Form::{Counter, Gauge, Planned};

/// Vectors of a direction: what of, name, unit (none for pairs).
const VECTORS: [(By, &str, Option<&str>, Form); 34] = [
    (ByNode, "sent", None, Counter),
    (ByNode, "backlog", None, Gauge),
    (ByNode, "rate", Some("bits/s"), Gauge),
    (ByNode, "min", Some("bits/s"), Planned),
    (ByNode, "max", Some("bits/s"), Planned),
    (ByCustomer, "sent", None, Counter),
    (ByCustomer, "backlog", None, Gauge),
    (Cause, "dropped", Some("packets"), Counter),
    (ByCustomer, "marked", Some("packets"), Counter),
    (ByCustomer, "rate", Some("bits/s"), Gauge),
    (ByCustomer, "min", Some("bits/s"), Planned),
    (ByCustomer, "max", Some("bits/s"), Planned),
    (ByCustomer, "queue", Some(""), Planned),
    (Tin, "tins/sent", None, Counter),
    (Tin, "tins/backlog", None, Gauge),
    (Tin, "tins/codel", Some("packets"), Counter),
    (Tin, "tins/blue", Some("packets"), Counter),
    (Tin, "tins/overlimit", Some("packets"), Counter),
    (Tin, "tins/marked", Some("packets"), Counter),
    (Tin, "tins/ack-filter", Some("packets"), Counter),
    (Tin, "tins/way-indirect", Some("packets"), Counter),
    (Tin, "tins/way-misses", Some("flows"), Counter),
    (Tin, "tins/way-collisions", Some("packets"), Counter),
    (Tin, "tins/threshold", Some("bits/s"), Gauge),
    (Tin, "tins/target", Some("microseconds"), Gauge),
    (Tin, "tins/interval", Some("microseconds"), Gauge),
    (Tin, "tins/delay-peak", Some("microseconds"), Gauge),
    (Tin, "tins/delay-average", Some("microseconds"), Gauge),
    (Tin, "tins/delay-base", Some("microseconds"), Gauge),
    (Tin, "tins/sparse-flows", Some("flows"), Gauge),
    (Tin, "tins/bulk-flows", Some("flows"), Gauge),
    (Tin, "tins/unresponsive-flows", Some("flows"), Gauge),
    (Tin, "tins/longest-packet", Some("bytes"), Gauge),
    (Tin, "tins/quantum", Some("bytes"), Gauge),
];

/// Why packets are dropped, in the order of the columns.
const CAUSES: [&str; 6] = ["codel", "blue", "overlimit", "refused", "removed", "ack-filter"];
/// Kinds of queues.
const QUEUES: [&str; 4] = [
    "diffserv4 triple-isolate rtt 100ms",
    "besteffort flows rtt 30ms",
    "diffserv8 rtt 50ms",
    "of a later time",
];
/// Tins of each customer.
const TINS: usize = 8;
/// Workers. What is of number *n* is counted by worker *n* mod 2.
const WORKERS: usize = 2;

const PARENTS: [&str; 2] = ["/shaper/nodes/parent", "/shaper/customers/parent"];

impl By {
    fn scope(self) -> &'static str {
        if matches!(self, ByNode) { "nodes" } else { "customers" }
    }

    fn columns(self) -> &'static str {
        match self {
            ByNode => "node=/shaper/nodes/names",
            ByCustomer => "customer=/customers/names",
            Cause => "customer=/customers/names,cause=/shaper/causes",
            Tin => "customer=/customers/names,tin=/shaper/tins",
        }
    }

    /// Columns of one object.
    fn width(self) -> usize {
        match self {
            ByNode | ByCustomer => 1,
            Cause => CAUSES.len(),
            Tin => TINS,
        }
    }
}

/// A node: name, kind, and the node above.
pub type Node<'n> = (&'n str, &'n str, Option<usize>);
/// A customer: name, title, prefixes, and the node above.
pub type Customer<'n> = (&'n str, &'n str, &'n str, Option<usize>);

/// The writer of such a segment.
pub struct Shaped {
    pub segment: Segment,
    rows: HashMap<String, Row>,
    pub customers: Names,
    pub nodes: Names,
}

/// A vector's rows, and columns of an object; of what is planned, row 0 alone.
enum Row {
    Simple(Vec<SimpleRow>, usize),
    Pairs(Vec<CombinedRow>, usize),
}

impl Shaped {
    /// A tree with customers, in a segment in memory or in one that can be served.
    pub fn new(is_served: bool, nodes: &[Node<'_>], customers: &[Customer<'_>]) -> Shaped {
        let options = Options { size: 1 << 30, workers: WORKERS, ..Options::default() };
        let segment = if is_served { Segment::create(options) } else { Segment::in_heap(options) };
        let mut segment = segment.unwrap();
        let templates = VECTORS.iter().map(|(by, name, unit, form)| {
            let path = format!("/shaper/{}/{{direction}}/{name}", by.scope());
            describe(Description::simple("", "", by.columns(), "of the shaper's"), path, *unit, *form)
        });
        let parents = Description::simple("", "", "", "the node above").as_gauge();
        let parents = describe(parents, "/shaper/{scope}/parent".to_owned(), Some(""), Planned);
        let names =
            ["causes", "tins", "queues", "nodes/names", "nodes/kinds"].map(|name| format!("/shaper/{name}"));
        let names = names.into_iter().chain(["/customers/titles".to_owned()]).map(|path| {
            let names = Description::names("", "texts of the shaper's");
            Description { path: path.into(), ..names }
        });
        let all: Vec<Description> =
            DESCRIPTIONS.into_iter().chain(templates).chain([parents]).chain(names).collect();
        segment.describe(&all).unwrap();
        let mut rows = HashMap::new();
        let (node_names, customer_names) = segment
            .register(|batch| {
                let mut list = |path: &str, texts: &[&str]| -> Result<Names, Error> {
                    let mut names = batch.names(path, texts.len().max(1))?;
                    texts
                        .iter()
                        .enumerate()
                        .try_for_each(|(at, text)| batch.set_name(&mut names, at, text))?;
                    Ok(names)
                };
                list("/shaper/causes", &CAUSES)?;
                list("/shaper/tins", &["0", "1", "2", "3", "4", "5", "6", "7"])?;
                list("/shaper/queues", &QUEUES)?;
                list("/shaper/nodes/kinds", &nodes.iter().map(|it| it.1).collect::<Vec<_>>())?;
                let of_nodes = list("/shaper/nodes/names", &nodes.iter().map(|it| it.0).collect::<Vec<_>>())?;
                let of_customers =
                    list("/customers/names", &customers.iter().map(|it| it.0).collect::<Vec<_>>())?;
                list("/customers/titles", &customers.iter().map(|it| it.1).collect::<Vec<_>>())?;
                list("/customers/prefixes", &customers.iter().map(|it| it.2).collect::<Vec<_>>())?;
                let bins = Bounds::names(&bounds());
                list("/rtt/bins", &bins.iter().map(String::as_str).collect::<Vec<_>>())?;
                let width =
                    |by: By| by.width() * if matches!(by, ByNode) { nodes.len() } else { customers.len() };
                for way in ["down", "up"] {
                    for (by, name, unit, form) in VECTORS {
                        let path = format!("/shaper/{}/{way}/{name}", by.scope());
                        let (columns, of) = (width(by), if form == Planned { 0..1 } else { 1..WORKERS + 1 });
                        let row = if unit.is_some() {
                            let mut vector = batch.simple(&path, columns, columns.max(1))?;
                            Row::Simple(of.filter_map(|row| vector.take_row(row)).collect(), by.width())
                        } else {
                            let mut vector = batch.combined(&path, columns, columns.max(1))?;
                            Row::Pairs(of.filter_map(|row| vector.take_row(row)).collect(), by.width())
                        };
                        rows.insert(path, row);
                    }
                    let path = format!("/delay/customers/{way}");
                    let columns = bins.len() * customers.len();
                    let mut vector = batch.simple(&path, columns, columns.max(1))?;
                    let all = (1..=WORKERS).filter_map(|row| vector.take_row(row)).collect();
                    rows.insert(path, Row::Simple(all, bins.len()));
                }
                for (path, count) in PARENTS.into_iter().zip([nodes.len(), customers.len()]) {
                    let mut vector = batch.simple(path, count, count.max(1))?;
                    rows.insert(path.to_owned(), Row::Simple(vec![vector.take_row(0).unwrap()], 1));
                }
                Ok((of_nodes, of_customers))
            })
            .unwrap();
        let mut shaped = Shaped { segment, rows, customers: customer_names, nodes: node_names };
        let parents =
            [nodes.iter().map(|it| it.2).collect::<Vec<_>>(), customers.iter().map(|it| it.3).collect()];
        for (path, parents) in PARENTS.into_iter().zip(parents) {
            let numbers = parents.into_iter().map(|parent| parent.map_or(0, |it| it as u64 + 1)).enumerate();
            numbers.for_each(|(object, number)| shaped.set(path, object, number));
        }
        shaped
    }

    /// Sets a number, in the row of whoever writes it.
    pub fn set(&mut self, path: &str, column: usize, value: u64) {
        let Some(Row::Simple(rows, width)) = self.rows.get_mut(path) else {
            panic!("{path} is no such vector")
        };
        let workers = rows.len();
        rows[column / *width % workers].set(column, value);
    }

    /// Sets packets and bytes.
    pub fn pair(&mut self, path: &str, column: usize, packets: u64, bytes: u64) {
        let Some(Row::Pairs(rows, width)) = self.rows.get_mut(path) else {
            panic!("{path} is no such vector")
        };
        let workers = rows.len();
        rows[column / *width % workers].set(column, packets, bytes);
    }

    /// Sets a plan: guaranteed, at most, and what can be had now.
    pub fn rates(&mut self, folder: &str, object: usize, [min, max, now]: [u64; 3]) {
        for (name, value) in [("min", min), ("max", max), ("rate", now)] {
            self.set(&format!("{folder}/{name}"), object, value);
        }
    }

    /// So many packets to (`down`) or from (`up`) a customer waited so long.
    pub fn wait(&mut self, way: &str, customer: usize, microseconds: u64, count: u64) {
        let path = format!("/delay/customers/{way}");
        let Some(Row::Simple(rows, width)) = self.rows.get_mut(&path) else { panic!("{path} is not there") };
        let (start, row) = (customer * *width, &mut rows[customer % WORKERS]);
        row.add(start + bounds().partition_point(|bound| *bound < microseconds), count);
        row.add(start + *width - 1, microseconds * count);
    }
}

fn describe(description: Description, path: String, unit: Option<&'static str>, form: Form) -> Description {
    let described = Description { path: path.into(), unit: unit.unwrap_or("").into(), ..description };
    let described = match unit {
        Some(_) => described,
        None => Description { kind: weir_stats::Kind::Combined, ..described },
    };
    match form {
        Counter => described,
        Gauge => described.as_gauge(),
        Planned => described.as_gauge().counted_by(Rows::Control),
    }
}
