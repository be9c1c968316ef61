//! Where the shaper counts: its vectors in the segment.
//!
//! ```text
//!   /shaper/customers/{direction}/…        a column a customer          sent, backlog, dropped by cause, marked, rates
//!   /shaper/customers/{direction}/tins/…   eight columns a customer     what `tc -s qdisc show` prints for each tin of CAKE
//!   /shaper/nodes/{direction}/…            a column a node of the tree  sent, backlog, rates
//! ```
//! Packets are counted in the leaf, the tin and the node that they pass ([`shaper`](crate::shaper)); what has changed is written here by a sweep
//! (`Shaped::sweep`), so that a packet pays for no line of the segment. What is *to be* (the plan's rates) is the control thread's to write, in
//! row 0 ([`Planned`]); what *is* is the workers'.

use strum::{EnumCount as _, VariantNames as _};
use weir_stats::{CombinedRow, Description, Error, Names, Rows, SimpleRow};

use crate::{
    clock::Clock,
    counters::{Counters, Vector},
    shaper::{Cause, Changed, Leaf, Operation, Rates, Shaper, TINS, TreeNode},
};

const BY_CUSTOMER: &str = "customer=/customers/names";
const BY_CUSTOMER_AND_CAUSE: &str = "customer=/customers/names,cause=/shaper/causes";
const BY_CUSTOMER_AND_TIN: &str = "customer=/customers/names,tin=/shaper/tins";
const BY_NODE: &str = "node=/shaper/nodes/names";

/// A pair of vectors, down and up, and what they mean.
macro_rules! pair {
    ($scope:literal, $figure:literal, $kind:ident($($argument:expr),*) $(. $and:ident($($more:expr),*))*) => {{
        static MEANING: Description =
            Description::$kind(concat!("/shaper/", $scope, "/{direction}/", $figure), $($argument),*)$(.$and($($more),*))*;
        [
            Vector::of_template(concat!("/shaper/", $scope, "/down/", $figure), &MEANING),
            Vector::of_template(concat!("/shaper/", $scope, "/up/", $figure), &MEANING),
        ]
    }};
}

/// Down, and up.
type Pair = [Vector; 2];

const SENT: Pair = pair!(
    "customers",
    "sent",
    combined(BY_CUSTOMER, "packets and frames' bytes that have left the customer's queue")
);
const BACKLOG: Pair = pair!(
    "customers",
    "backlog",
    combined(BY_CUSTOMER, "packets and frames' bytes that wait in the customer's queue").as_gauge()
);
const DROPPED: Pair = pair!(
    "customers",
    "dropped",
    simple("packets", BY_CUSTOMER_AND_CAUSE, "packets dropped from the customer's queue, by cause")
);
const MARKED: Pair = pair!(
    "customers",
    "marked",
    simple("packets", BY_CUSTOMER, "packets marked CE (RFC 3168) instead of being dropped")
);
const RATE: Pair = pair!(
    "customers",
    "rate",
    simple(
        "bits/s",
        BY_CUSTOMER,
        "rate that the customer can get now: less than the plan's where a node above is full"
    )
    .as_gauge()
);
const MIN: Pair = pair!(
    "customers",
    "min",
    simple("bits/s", BY_CUSTOMER, "rate that the plan guarantees").as_gauge().counted_by(Rows::Control)
);
const MAX: Pair = pair!(
    "customers",
    "max",
    simple("bits/s", BY_CUSTOMER, "rate that the plan allows").as_gauge().counted_by(Rows::Control)
);
const QUEUE: Pair = pair!(
    "customers",
    "queue",
    simple("", BY_CUSTOMER, "the customer's queue: its number in /shaper/queues")
        .as_gauge()
        .counted_by(Rows::Control)
);
const NODE_SENT: Pair =
    pair!("nodes", "sent", combined(BY_NODE, "packets and frames' bytes that have passed the node"));
const NODE_BACKLOG: Pair = pair!(
    "nodes",
    "backlog",
    combined(BY_NODE, "packets and frames' bytes that wait below the node").as_gauge()
);
const NODE_RATE: Pair = pair!(
    "nodes",
    "rate",
    simple("bits/s", BY_NODE, "rate at which packets leave from below the node now, counted with overhead")
        .as_gauge()
);
const NODE_MIN: Pair = pair!(
    "nodes",
    "min",
    simple("bits/s", BY_NODE, "rate that is guaranteed to what is below the node")
        .as_gauge()
        .counted_by(Rows::Control)
);
const NODE_MAX: Pair = pair!(
    "nodes",
    "max",
    simple("bits/s", BY_NODE, "the node's capacity").as_gauge().counted_by(Rows::Control)
);
/// The node above a customer; the same in both directions.
static CUSTOMER_PARENT: Description = Description::simple(
    "/shaper/customers/parent",
    "",
    BY_CUSTOMER,
    "the node above the customer: its number in /shaper/nodes/names plus 1; 0: none",
)
.as_gauge()
.counted_by(Rows::Control);
/// The node above a node.
static NODE_PARENT: Description = Description::simple(
    "/shaper/nodes/parent",
    "",
    BY_NODE,
    "the node above: its number in /shaper/nodes/names plus 1; 0: none",
)
.as_gauge()
.counted_by(Rows::Control);

/// Figures of a tin: those of CAKE's table.
const TIN_SENT: Pair = pair!(
    "customers",
    "tins/sent",
    combined(
        BY_CUSTOMER_AND_TIN,
        "packets and frames' bytes that have left the tin; a packet that need not wait is in none where all are in use"
    )
);
const TIN_BACKLOG: Pair = pair!(
    "customers",
    "tins/backlog",
    combined(BY_CUSTOMER_AND_TIN, "packets and frames' bytes that wait in the tin").as_gauge()
);

/// What grows by tin.
const TIN_COUNTERS: [Pair; 8] = [
    pair!(
        "customers",
        "tins/codel",
        simple(
            "packets",
            BY_CUSTOMER_AND_TIN,
            "dropped by CoDel: they and those before them had waited too long"
        )
    ),
    pair!(
        "customers",
        "tins/blue",
        simple("packets", BY_CUSTOMER_AND_TIN, "dropped by BLUE: their flow does not heed drops")
    ),
    pair!(
        "customers",
        "tins/overlimit",
        simple("packets", BY_CUSTOMER_AND_TIN, "dropped from the longest queue for want of memory")
    ),
    pair!(
        "customers",
        "tins/marked",
        simple("packets", BY_CUSTOMER_AND_TIN, "marked CE (RFC 3168) instead of being dropped")
    ),
    pair!(
        "customers",
        "tins/ack-filter",
        simple(
            "packets",
            BY_CUSTOMER_AND_TIN,
            "pure ACKs taken out, as a later one says all that they said (CAKE's ack_drop)"
        )
    ),
    pair!(
        "customers",
        "tins/way-indirect",
        simple(
            "packets",
            BY_CUSTOMER_AND_TIN,
            "packets whose flow stands in another way of its set than the first (CAKE's way_inds)"
        )
    ),
    pair!(
        "customers",
        "tins/way-misses",
        simple("flows", BY_CUSTOMER_AND_TIN, "flows that were new (CAKE's way_miss)")
    ),
    pair!(
        "customers",
        "tins/way-collisions",
        simple(
            "packets",
            BY_CUSTOMER_AND_TIN,
            "packets that had to share another flow's queue (CAKE's way_cols)"
        )
    ),
];

/// What goes up and down by tin.
const TIN_GAUGES: [Pair; 11] = [
    pair!(
        "customers",
        "tins/threshold",
        simple("bits/s", BY_CUSTOMER_AND_TIN, "rate up to which the tin goes before others (CAKE's thresh)")
            .as_gauge()
    ),
    pair!(
        "customers",
        "tins/target",
        simple("microseconds", BY_CUSTOMER_AND_TIN, "standing queue that CoDel allows at the rate of now")
            .as_gauge()
    ),
    pair!(
        "customers",
        "tins/interval",
        simple("microseconds", BY_CUSTOMER_AND_TIN, "how long CoDel lets more than the target stand")
            .as_gauge()
    ),
    pair!(
        "customers",
        "tins/delay-peak",
        simple(
            "microseconds",
            BY_CUSTOMER_AND_TIN,
            "wait of the worst flows, running average (CAKE's pk_delay)"
        )
        .as_gauge()
    ),
    pair!(
        "customers",
        "tins/delay-average",
        simple("microseconds", BY_CUSTOMER_AND_TIN, "wait, running average (CAKE's av_delay)").as_gauge()
    ),
    pair!(
        "customers",
        "tins/delay-base",
        simple(
            "microseconds",
            BY_CUSTOMER_AND_TIN,
            "wait of sparse flows, running average (CAKE's sp_delay)"
        )
        .as_gauge()
    ),
    pair!(
        "customers",
        "tins/sparse-flows",
        simple("flows", BY_CUSTOMER_AND_TIN, "flows that are served first now").as_gauge()
    ),
    pair!(
        "customers",
        "tins/bulk-flows",
        simple("flows", BY_CUSTOMER_AND_TIN, "flows that take turns now").as_gauge()
    ),
    pair!(
        "customers",
        "tins/unresponsive-flows",
        simple("flows", BY_CUSTOMER_AND_TIN, "flows that BLUE drops from now").as_gauge()
    ),
    pair!(
        "customers",
        "tins/longest-packet",
        simple("bytes", BY_CUSTOMER_AND_TIN, "the largest packet so far (CAKE's max_len)").as_gauge()
    ),
    pair!(
        "customers",
        "tins/quantum",
        simple("bytes", BY_CUSTOMER_AND_TIN, "bytes that a flow sends in its turn").as_gauge()
    ),
];

/// What is registered besides vectors.
const DECLARED: [Description; 5] = [
    Description::names("/shaper/causes", "why packets are dropped from queues"),
    Description::names(
        "/shaper/tins",
        "tins by number; what they are called depends on the customer's queue",
    ),
    Description::names("/shaper/queues", "the kinds of queues that customers have"),
    Description::names("/shaper/nodes/names", "nodes of the tree; empty where the number is not in use"),
    Description::names("/shaper/nodes/kinds", "what the nodes are, in the words of the plan: site, ap"),
];

/// A vector's pair and the columns that each of its objects has.
type Wide = (Pair, usize);

/// Combined vectors by customer.
fn combined_by_customer() -> [Wide; 4] {
    [(SENT, 1), (BACKLOG, 1), (TIN_SENT, TINS), (TIN_BACKLOG, TINS)]
}

/// Simple vectors by customer.
fn simple_by_customer() -> impl Iterator<Item = Wide> {
    let by_tin = TIN_COUNTERS.into_iter().chain(TIN_GAUGES).map(|pair| (pair, TINS));
    let others = [MARKED, RATE, MIN, MAX, QUEUE].into_iter().map(|pair| (pair, 1));
    others.chain([(DROPPED, Cause::VARIANTS.len())]).chain(by_tin)
}

/// Bytes that a customer takes in each row of all these vectors: both directions, 16 bytes a combined counter, 8 others.
pub const CUSTOMER_BYTES: usize =
    2 * (2 * 16 + (6 + Cause::COUNT) * 8 + TINS * (2 * 16 + (TIN_COUNTERS.len() + TIN_GAUGES.len()) * 8));

/// Registers what the shaper publishes besides rows: names of nodes, of their kinds, and of kinds of queues are the caller's to fill in. Once in a process,
/// before the first graph that has the node.
pub fn register(
    counters: &mut Counters,
    nodes: usize,
    queues: usize,
) -> Result<(Names, Names, Names), Error> {
    counters.declare(&DECLARED);
    counters.segment().register(|batch| {
        let tins: Vec<String> = (0..TINS).map(|tin| tin.to_string()).collect();
        let causes: Vec<String> = Cause::VARIANTS.iter().map(|cause| (*cause).to_owned()).collect();
        for (path, list) in [("/shaper/tins", &tins), ("/shaper/causes", &causes)] {
            let mut names = batch.names(path, list.len())?;
            for (column, name) in list.iter().enumerate() {
                batch.set_name(&mut names, column, name)?;
            }
        }
        let (names, kinds) =
            (batch.names("/shaper/nodes/names", nodes)?, batch.names("/shaper/nodes/kinds", nodes)?);
        Ok((names, kinds, batch.names("/shaper/queues", queues)?))
    })
}

/// Makes the columns of so many customers and nodes visible.
pub fn grow(counters: &mut Counters, customers: usize, nodes: usize) -> Result<(), Error> {
    for (pair, width) in combined_by_customer() {
        for vector in pair {
            counters.grow_combined(vector, customers * width)?;
        }
    }
    for (pair, width) in simple_by_customer() {
        for vector in pair {
            counters.grow_simple(vector, customers * width)?;
        }
    }
    for vector in NODE_SENT.into_iter().chain(NODE_BACKLOG) {
        counters.grow_combined(vector, nodes)?;
    }
    for vector in [NODE_RATE, NODE_MIN, NODE_MAX].into_iter().flatten() {
        counters.grow_simple(vector, nodes)?;
    }
    counters.grow_simple(&CUSTOMER_PARENT, customers)?;
    counters.grow_simple(&NODE_PARENT, nodes)
}

/// The most of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Customers.
    pub customers: usize,
    /// Nodes of the tree.
    pub nodes: usize,
}

/// A worker's rows.
pub(crate) struct Shaped {
    customers: [CustomerRows; 2],
    nodes: [NodeRows; 2],
    changed: Vec<Changed>,
    clock: Clock,
}

struct CustomerRows {
    sent: CombinedRow,
    backlog: CombinedRow,
    dropped: SimpleRow,
    marked: SimpleRow,
    rate: SimpleRow,
    tin_sent: CombinedRow,
    tin_backlog: CombinedRow,
    /// In the order of [`TIN_COUNTERS`].
    tin_counters: Vec<SimpleRow>,
    /// In the order of [`TIN_GAUGES`].
    tin_gauges: Vec<SimpleRow>,
}

struct NodeRows {
    sent: CombinedRow,
    backlog: CombinedRow,
    rate: SimpleRow,
}

/// Takes one thread's rows.
struct Taker<'a> {
    counters: &'a mut Counters,
    row: usize,
    /// 0 down, 1 up.
    way: usize,
}

impl Taker<'_> {
    fn combined(&mut self, pair: Pair, capacity: usize) -> Result<CombinedRow, Error> {
        self.counters.combined_row(pair[self.way], 0, capacity, self.row)
    }

    fn simple(&mut self, pair: Pair, capacity: usize) -> Result<SimpleRow, Error> {
        self.counters.simple_row(pair[self.way], 0, capacity, self.row)
    }
}

impl Shaped {
    /// The rows of the worker whose row this is.
    pub(crate) fn new(
        counters: &mut Counters,
        row: usize,
        capacity: Capacity,
        clock: Clock,
    ) -> Result<Shaped, Error> {
        let Capacity { customers, nodes } = capacity;
        let mut take = |way| -> Result<_, Error> {
            let mut rows = Taker { counters: &mut *counters, row, way };
            let of_customers = CustomerRows {
                sent: rows.combined(SENT, customers)?,
                backlog: rows.combined(BACKLOG, customers)?,
                dropped: rows.simple(DROPPED, customers * Cause::VARIANTS.len())?,
                marked: rows.simple(MARKED, customers)?,
                rate: rows.simple(RATE, customers)?,
                tin_sent: rows.combined(TIN_SENT, customers * TINS)?,
                tin_backlog: rows.combined(TIN_BACKLOG, customers * TINS)?,
                tin_counters: TIN_COUNTERS
                    .into_iter()
                    .map(|pair| rows.simple(pair, customers * TINS))
                    .collect::<Result<_, _>>()?,
                tin_gauges: TIN_GAUGES
                    .into_iter()
                    .map(|pair| rows.simple(pair, customers * TINS))
                    .collect::<Result<_, _>>()?,
            };
            let of_nodes = NodeRows {
                sent: rows.combined(NODE_SENT, nodes)?,
                backlog: rows.combined(NODE_BACKLOG, nodes)?,
                rate: rows.simple(NODE_RATE, nodes)?,
            };
            Ok((of_customers, of_nodes))
        };
        let ((down, nodes_down), (up, nodes_up)) = (take(0)?, take(1)?);
        Ok(Shaped { customers: [down, up], nodes: [nodes_down, nodes_up], changed: Vec::new(), clock })
    }

    /// Writes down what has happened to at most `most` leaves and nodes since they were last written.
    pub(crate) fn sweep(&mut self, shaper: &mut Shaper, most: usize) {
        let mut changed = std::mem::take(&mut self.changed);
        shaper.swept(most, &mut |it| changed.push(it));
        for it in &changed {
            match *it {
                Changed::Leaf(leaf) => self.leaf(shaper, leaf),
                Changed::Node(node) => self.node(shaper, node),
            }
        }
        changed.clear();
        self.changed = changed; // its memory, to be used again
    }

    /// A packet was dropped; counted at once, as the leaf may not exist any more when it is swept.
    #[inline]
    pub(crate) fn dropped(&mut self, leaf: Leaf, cause: Cause) {
        let (column, way) = split(leaf.0);
        self.customers[way].dropped.add(column * Cause::VARIANTS.len() + cause as usize, 1);
    }

    fn leaf(&mut self, shaper: &mut Shaper, leaf: Leaf) {
        let (column, way) = split(leaf.0);
        let rows = &mut self.customers[way];
        let view = shaper.leaf(leaf);
        rows.backlog.set(column, u64::from(view.packets), u64::from(view.bytes));
        rows.rate.set(column, shaper.rate(leaf));
        shaper.take_counts(leaf, &mut |tin, counters, ways| {
            if counters.dequeued > 0 {
                rows.sent.add(column, counters.dequeued, counters.dequeued_bytes);
            }
            if counters.marked > 0 {
                rows.marked.add(column, counters.marked);
            }
            let Some(tin) = tin else { return };
            let at = column * TINS + usize::from(tin);
            if counters.dequeued > 0 {
                rows.tin_sent.add(at, counters.dequeued, counters.dequeued_bytes);
            }
            let grown = [
                counters.codel,
                counters.blue,
                counters.overlimit,
                counters.marked,
                counters.ack_drops,
                u64::from(ways.indirect),
                u64::from(ways.misses),
                u64::from(ways.collisions),
            ];
            // Most are rare: their lines are left alone.
            for (row, more) in rows.tin_counters.iter_mut().zip(grown).filter(|(_, more)| *more > 0) {
                row.add(at, more);
            }
        });
        let micros = |ticks: u64| micros(self.clock, ticks);
        for tin in 0..TINS as u8 {
            let at = column * TINS + usize::from(tin);
            let Some(view) = shaper.tin(leaf, tin) else {
                // A tin that has gone back to the pool was empty; what it was last like stays.
                rows.tin_backlog.set(at, 0, 0);
                continue;
            };
            rows.tin_backlog.set(at, u64::from(view.packets), u64::from(view.bytes));
            let now = [
                view.threshold,
                micros(view.limits.target),
                micros(view.limits.interval),
                micros(view.delays.peak),
                micros(view.delays.average),
                micros(view.delays.base),
                u64::from(view.sparse_flows),
                u64::from(view.bulk_flows),
                u64::from(view.unresponsive_flows),
                u64::from(view.longest_packet),
                u64::from(view.quantum),
            ];
            for (row, value) in rows.tin_gauges.iter_mut().zip(now) {
                row.set(at, value);
            }
        }
    }

    fn node(&mut self, shaper: &Shaper, node: TreeNode) {
        let (column, way) = split(node.0);
        let Some(view) = shaper.node(node) else { return };
        let rows = &mut self.nodes[way];
        rows.sent.set(column, view.packets, view.bytes);
        rows.backlog.set(column, view.backlog, view.backlog_bytes);
        rows.rate.set(column, view.rate);
    }

    /// The customer in this column is gone, and its leaves are: another one's counts begin at 0.
    pub(crate) fn forget_customer(&mut self, column: usize) {
        for rows in &mut self.customers {
            rows.sent.set(column, 0, 0);
            rows.backlog.set(column, 0, 0);
            rows.marked.set(column, 0);
            rows.rate.set(column, 0);
            for cause in 0..Cause::VARIANTS.len() {
                rows.dropped.set(column * Cause::VARIANTS.len() + cause, 0);
            }
            for at in column * TINS..(column + 1) * TINS {
                rows.tin_sent.set(at, 0, 0);
                rows.tin_backlog.set(at, 0, 0);
                rows.tin_counters.iter_mut().chain(&mut rows.tin_gauges).for_each(|row| row.set(at, 0));
            }
        }
    }

    /// The same for a node.
    pub(crate) fn forget_node(&mut self, column: usize) {
        for rows in &mut self.nodes {
            rows.sent.set(column, 0, 0);
            rows.backlog.set(column, 0, 0);
            rows.rate.set(column, 0);
        }
    }
}

/// The nearest number of microseconds: what is set in whole ones becomes ticks, which are a little less, and is to be seen as it was set.
fn micros(clock: Clock, ticks: u64) -> u64 {
    ((clock.duration(ticks).as_nanos() + 500) / 1000) as u64
}

/// A leaf's or a node's column and way.
const fn split(number: u32) -> (usize, usize) {
    ((number >> 1) as usize, (number & 1) as usize)
}

/// The control thread's rows: what the plan says.
pub struct Planned {
    customers: [PlannedRows; 2],
    queues: [SimpleRow; 2],
    nodes: [PlannedRows; 2],
    customer_parents: SimpleRow,
    node_parents: SimpleRow,
}

struct PlannedRows {
    min: SimpleRow,
    max: SimpleRow,
}

impl Planned {
    /// Takes row 0 of each.
    pub fn new(counters: &mut Counters, capacity: Capacity) -> Result<Planned, Error> {
        let Capacity { customers, nodes } = capacity;
        let mut take = |way| -> Result<_, Error> {
            let mut rows = Taker { counters: &mut *counters, row: 0, way };
            let of_customers =
                PlannedRows { min: rows.simple(MIN, customers)?, max: rows.simple(MAX, customers)? };
            let of_nodes =
                PlannedRows { min: rows.simple(NODE_MIN, nodes)?, max: rows.simple(NODE_MAX, nodes)? };
            Ok((of_customers, of_nodes, rows.simple(QUEUE, customers)?))
        };
        let ((down, nodes_down, queue_down), (up, nodes_up, queue_up)) = (take(0)?, take(1)?);
        Ok(Planned {
            customers: [down, up],
            queues: [queue_down, queue_up],
            nodes: [nodes_down, nodes_up],
            customer_parents: counters.simple_row(&CUSTOMER_PARENT, 0, customers, 0)?,
            node_parents: counters.simple_row(&NODE_PARENT, 0, nodes, 0)?,
        })
    }

    /// Shows what the workers are told.
    pub fn show(&mut self, operation: &Operation) {
        match *operation {
            Operation::Node { node, parent, rates } => {
                let (column, way) = split(node.0);
                self.nodes[way].set(column, rates);
                self.node_parents.set(column, parent.map_or(0, |node| u64::from(node.0 >> 1) + 1));
            }
            Operation::Leaf { leaf, parent, rates, discipline, .. } => {
                let (column, way) = split(leaf.0);
                self.customers[way].set(column, rates);
                self.queues[way].set(column, u64::from(discipline));
                self.customer_parents.set(column, u64::from(parent.0 >> 1) + 1);
            }
            Operation::RemoveNode(node) => {
                let (column, way) = split(node.0);
                self.nodes[way].set(column, NOTHING);
                self.node_parents.set(column, 0);
            }
            Operation::RemoveLeaf(leaf) => {
                let (column, way) = split(leaf.0);
                self.customers[way].set(column, NOTHING);
                self.queues[way].set(column, 0);
                self.customer_parents.set(column, 0);
            }
        }
    }
}

/// The rates of what is not there.
const NOTHING: Rates = Rates { min: 0, max: 0, weight: 0 };

impl PlannedRows {
    fn set(&mut self, column: usize, rates: Rates) {
        self.min.set(column, rates.min);
        self.max.set(column, rates.max);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_seen_as_they_were_set() {
        for hz in [1_000_003, 2_599_998_123, 3_000_000_019] {
            let clock = Clock::with_hz(hz);
            for set in [0, 1, 7, 4_999, 5_000, 100_000, 1_000_000_000] {
                assert_eq!(micros(clock, clock.ticks(Duration::from_micros(set))), set, "at {hz} Hz");
            }
        }
    }
}
