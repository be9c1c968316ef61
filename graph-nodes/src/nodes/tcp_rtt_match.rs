//! `tcp-rtt-match`: what a packet that comes in says about its flow: does it answer one that went out before, was it sent again, is it late?
//! And whose it is.
//!
//! The first half of the measurement; `tcp-rtt-stamp` is the second. Between the two lies what holds packets back, so that a round trip is what lies
//! beyond weir, and the time inside is known apart from it. What is measured and how is in [`rtt`](crate::rtt).
//!
//! Three passes over the vector: read the headers and ask for the flows' memory; look up and count customers, while that comes; measure.
//!
//! * arcs: `tcp-rtt-stamp`
//! * drops: none
//! * counts: `/customers/…`, `/rtt/…`; the ring `/rtt/events`
//! * cost: see `docs/performance.md`

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use strum::VariantNames as _;
use weir_stats::{CombinedRow, Description, Error, RingRow, SimpleRow};

use crate::{
    clock::Clock,
    counters::Counters,
    customers::{Customer, Customers, MAX_PREFIXES},
    latency::{self, LatencyRow, Scale},
    node::{Context, Forget, Held, Next, Node, Registration, VECTOR, Workbench},
    packet::{Arrived, Packet, Passage},
    ports::MAX_PORTS,
    rtt::{self, Kind, Method, Observed, Sample, Sink, Ticket, Tracker},
    wire::ip4::{self, Ip4},
};

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "tcp-rtt-match", next: &["tcp-rtt-stamp"], reasons: &[], events: &[], create };

/// What the columns of vectors per customer are.
const BY_CUSTOMER: &str = "customer=/customers/names";
const BY_CUSTOMER_AND_BIN: &str = "customer=/customers/names,le=/rtt/bins";
static UP: Description =
    Description::combined("/customers/up", BY_CUSTOMER, "packets and frames' bytes from the customer");
static DOWN: Description =
    Description::combined("/customers/down", BY_CUSTOMER, "packets and frames' bytes to the customer");
const AGAIN: &str = "TCP segments that had been sent before, by the direction that they go";
static AGAIN_UP: Description =
    Description::simple("/customers/retransmissions/up", "packets", BY_CUSTOMER, AGAIN);
static AGAIN_DOWN: Description =
    Description::simple("/customers/retransmissions/down", "packets", BY_CUSTOMER, AGAIN);
const LATE: &str = "TCP segments that later ones had overtaken, by the direction that they go";
static LATE_UP: Description = Description::simple("/customers/reordered/up", "packets", BY_CUSTOMER, LATE);
static LATE_DOWN: Description =
    Description::simple("/customers/reordered/down", "packets", BY_CUSTOMER, LATE);
static LAN: Description = Description::simple(
    "/rtt/customers/lan",
    "microseconds",
    BY_CUSTOMER_AND_BIN,
    "round trips between weir and the customer's devices",
);
static WAN: Description = Description::simple(
    "/rtt/customers/wan",
    "microseconds",
    BY_CUSTOMER_AND_BIN,
    "round trips between weir and what the customer talks to",
);
static PORTS: Description = Description::simple(
    "/rtt/ports",
    "microseconds",
    "interface=/if/names,le=/rtt/bins",
    "round trips beyond the port that the answer came in by",
);
static SAMPLES: Description =
    Description::simple("/rtt/samples", "samples", "method=/rtt/methods", "round trips, by how they were measured");
static FLOWS: Description = Description::simple(
    "/rtt/flows",
    "flows",
    "state=/rtt/flow-states",
    "flows that are followed now (active); and so far: made, ended, pushed out of a full table, not taken into one",
)
.as_gauge();
/// Columns of `/rtt/flows`.
const FLOW_STATES: [&str; 5] = ["active", "created", "ended", "evicted", "refused"];
/// What is registered besides vectors.
const DECLARED: [Description; 6] = [
    Description::names("/customers/names", "customers; empty where the number is not in use"),
    Description::names("/customers/prefixes", "the customer's prefixes"),
    Description::names("/rtt/bins", "bins of round trips and delays: inclusive upper bounds in microseconds, and the sum"),
    Description::names("/rtt/methods", "ways to measure a round trip"),
    Description::names("/rtt/flow-states", "columns of /rtt/flows"),
    Description::ring("/rtt/events", "each round trip; the ring's schema says what a record is"),
];

/// The ring of round trips.
pub const EVENTS: &str = "/rtt/events";
/// Records in a worker's ring: 0.16 s of a hundred thousand samples a second, ten minutes of a hundred. 1.4 MiB.
const EVENTS_KEPT: usize = 1 << 14;
/// Bytes of a record.
const RECORD: usize = 88;
/// What a record is, for those who know nothing else.
const SCHEMA: &[u8] = br#"{"name":"rtt","byte_order":"little","size":88,"fields":[
{"at":0,"type":"u64","name":"number"},{"at":8,"type":"u64","name":"time","unit":"ns since 1970"},
{"at":16,"type":"u64","name":"rtt","unit":"ns"},{"at":24,"type":"u64","name":"least","unit":"ns"},
{"at":32,"type":"ip6","name":"source"},{"at":48,"type":"ip6","name":"destination"},
{"at":64,"type":"u16","name":"source_port"},{"at":66,"type":"u16","name":"destination_port"},
{"at":68,"type":"u8","name":"method","names":"/rtt/methods"},{"at":70,"type":"u16","name":"port","names":"/if/names"},
{"at":72,"type":"u32","name":"lan","names":"/customers/names","none":4294967295},
{"at":76,"type":"u32","name":"wan","names":"/customers/names","none":4294967295},
{"at":80,"type":"u8","name":"protocol"}]}"#;

/// Registers what the measurement publishes besides rows of workers. Once in a process, before the first graph that has this node.
pub fn register(counters: &mut Counters) -> Result<(), Error> {
    let methods = Method::VARIANTS.iter().map(|name| (*name).to_owned()).collect();
    let states = FLOW_STATES.iter().map(|name| (*name).to_owned()).collect();
    let lists: [(&str, Vec<String>); 3] =
        [("/rtt/bins", latency::names()), ("/rtt/methods", methods), ("/rtt/flow-states", states)];
    counters.declare(&DECLARED);
    counters.segment().register(|batch| {
        for (path, list) in &lists {
            let mut names = batch.names(path, list.len())?;
            for (column, name) in list.iter().enumerate() {
                batch.set_name(&mut names, column, name)?;
            }
        }
        Ok(())
    })?;
    counters.ring(EVENTS, RECORD, EVENTS_KEPT, SCHEMA)
}

/// Vectors with a column a customer, for the control thread, which makes columns visible as customers come.
pub static COMBINED_BY_CUSTOMER: [&Description; 2] = [&UP, &DOWN];
/// The same, counters without bytes.
pub static SIMPLE_BY_CUSTOMER: [&Description; 4] = [&AGAIN_UP, &AGAIN_DOWN, &LATE_UP, &LATE_DOWN];
/// The same, with [`latency::WIDTH`] columns a customer.
pub static LATENCY_BY_CUSTOMER: [&Description; 2] = [&LAN, &WAN];

/// Flows whose memory is asked for that many packets before it is used: what a cache line takes to come, at some 20 clocks a packet.
const AHEAD: usize = 8;

struct TcpRttMatch {
    customers: Option<Customers>,
    rows: Rows,
    /// What is known of the vector's packets.
    observed: Vec<Observed>,
    /// The flows' hashes, and the packets' places in the vector.
    flows: Vec<(u64, u16)>,
    sources: Vec<u32>,
    destinations: Vec<u32>,
    up: Box<[Customer; VECTOR]>,
    down: Box<[Customer; VECTOR]>,
    /// Calls since the flows' states were written to the segment.
    unpublished: u32,
    /// When flows are aged even if no packet comes; `None`: there are none.
    aging: Option<u64>,
    clock: Clock,
}

/// Where it counts.
struct Rows {
    up: CombinedRow,
    down: CombinedRow,
    again: [SimpleRow; 2],
    late: [SimpleRow; 2],
    lan: LatencyRow,
    wan: LatencyRow,
    ports: LatencyRow,
    samples: SimpleRow,
    flows: SimpleRow,
    events: RingRow,
    scale: Scale,
    wall: Wall,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    let row = bench.row;
    let ports = bench.tables.ports.count();
    let counters = &mut *bench.counters;
    let mut simple = |vector, columns, capacity| counters.simple_row(vector, columns, capacity, row);
    let again = [simple(&AGAIN_UP, 0, MAX_PREFIXES)?, simple(&AGAIN_DOWN, 0, MAX_PREFIXES)?];
    let late = [simple(&LATE_UP, 0, MAX_PREFIXES)?, simple(&LATE_DOWN, 0, MAX_PREFIXES)?];
    let [lan, wan] = [simple(&LAN, 0, MAX_PREFIXES * latency::WIDTH)?, simple(&WAN, 0, MAX_PREFIXES * latency::WIDTH)?];
    let ports = simple(&PORTS, ports * latency::WIDTH, MAX_PORTS * latency::WIDTH)?;
    let samples = simple(&SAMPLES, Method::VARIANTS.len(), Method::VARIANTS.len())?;
    let flows = simple(&FLOWS, FLOW_STATES.len(), FLOW_STATES.len())?;
    let rows = Rows {
        up: counters.combined_row(&UP, 0, MAX_PREFIXES, row)?,
        down: counters.combined_row(&DOWN, 0, MAX_PREFIXES, row)?,
        again,
        late,
        lan: lan.into(),
        wan: wan.into(),
        ports: ports.into(),
        samples,
        flows,
        events: counters.ring_row(EVENTS, row)?,
        scale: Scale::new(bench.clock),
        wall: Wall::new(bench.clock),
    };
    Ok(Box::new(TcpRttMatch {
        customers: bench.tables.customers.clone(),
        rows,
        observed: Vec::with_capacity(VECTOR),
        flows: Vec::with_capacity(VECTOR),
        sources: Vec::with_capacity(VECTOR),
        destinations: Vec::with_capacity(VECTOR),
        up: Box::new([Customer::NONE; VECTOR]),
        down: Box::new([Customer::NONE; VECTOR]),
        unpublished: 0,
        aging: None,
        clock: bench.clock,
    }))
}
