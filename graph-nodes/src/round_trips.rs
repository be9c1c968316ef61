//! Where the measurement counts: its vectors and the ring of round trips in the segment.
//!
//! ```text
//!   tcp-rtt-match ─▶ Passed    /customers/…   /rtt/customers/…   /rtt/ports   /rtt/samples   /rtt/flows   /rtt/events
//!   tcp-rtt-stamp ─▶ Waited    /delay/customers/…   /delay/ports
//! ```
//! A sample is attributed by the answer that made it: the customer that the answer comes from gets it as *lan*, what lies between weir and the customer;
//! the customer that it goes to gets it as *wan*, what lies between weir and those that the customer talks to. A packet from a customer goes *up*, one to a
//! customer *down*; one between two customers is both. So no port needs to be told which side it is.

use std::time::{SystemTime, UNIX_EPOCH};

use strum::VariantNames as _;
use weir_stats::{CombinedRow, Description, Error, RingRow, SimpleRow};

use crate::{
    clock::Clock,
    counters::{Counters, Vector},
    customers::{Customer, Customers},
    latency::{self, Binned, LatencyRow, Scale},
    node::Workbench,
    packet::{Parties, PortIndex},
    ports::MAX_PORTS,
    rtt::{Kind, Method, Observed, Sample, Sink, Tracker},
    wire::ip4,
};

/// What the columns of vectors per customer are.
const BY_CUSTOMER: &str = "customer=/customers/names";
const BY_CUSTOMER_AND_BIN: &str = "customer=/customers/names,le=/rtt/bins";
static PACKETS: Description = Description::combined(
    "/customers/{direction}",
    BY_CUSTOMER,
    "packets and frames' bytes from (up) and to (down) the customer",
);
static AGAIN: Description = Description::simple(
    "/customers/retransmissions/{direction}",
    "packets",
    BY_CUSTOMER,
    "TCP segments that had been sent before, by the direction that they go",
);
static LATE: Description = Description::simple(
    "/customers/reordered/{direction}",
    "packets",
    BY_CUSTOMER,
    "TCP segments that later ones had overtaken, by the direction that they go",
);
static BEYOND: Description = Description::simple(
    "/rtt/customers/{side}",
    "microseconds",
    BY_CUSTOMER_AND_BIN,
    "round trips between weir and the customer's devices (lan), and what those talk to (wan)",
);
static WAITED: Description = Description::simple(
    "/delay/customers/{direction}",
    "microseconds",
    BY_CUSTOMER_AND_BIN,
    "time inside weir, by the direction that packets go",
);
const UP: Vector = Vector::of_template("/customers/up", &PACKETS);
const DOWN: Vector = Vector::of_template("/customers/down", &PACKETS);
const AGAIN_UP: Vector = Vector::of_template("/customers/retransmissions/up", &AGAIN);
const AGAIN_DOWN: Vector = Vector::of_template("/customers/retransmissions/down", &AGAIN);
const LATE_UP: Vector = Vector::of_template("/customers/reordered/up", &LATE);
const LATE_DOWN: Vector = Vector::of_template("/customers/reordered/down", &LATE);
const LAN: Vector = Vector::of_template("/rtt/customers/lan", &BEYOND);
const WAN: Vector = Vector::of_template("/rtt/customers/wan", &BEYOND);
const WAITED_UP: Vector = Vector::of_template("/delay/customers/up", &WAITED);
const WAITED_DOWN: Vector = Vector::of_template("/delay/customers/down", &WAITED);
static PORTS: Description = Description::simple(
    "/rtt/ports",
    "microseconds",
    "interface=/if/names,le=/rtt/bins",
    "round trips beyond the port that the answer came in by",
);
static WAITED_PORTS: Description = Description::simple(
    "/delay/ports",
    "microseconds",
    "interface=/if/names,le=/rtt/bins",
    "time inside weir of packets that leave by the port",
);
static SAMPLES: Description = Description::simple(
    "/rtt/samples",
    "samples",
    "method=/rtt/methods",
    "round trips, by how they were measured",
);
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
const DECLARED: [Description; 3] = [
    Description::names(
        "/rtt/bins",
        "bins of round trips and delays: inclusive upper bounds in microseconds, and the sum",
    ),
    Description::names("/rtt/methods", "ways to measure a round trip"),
    Description::names("/rtt/flow-states", "columns of /rtt/flows"),
];

/// The ring of round trips.
static EVENTS: Description =
    Description::ring("/rtt/events", "each round trip; the ring's schema says what a record is");
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
    })
}

/// Bytes of address space that a row reserves for each customer that there is room for.
pub const CUSTOMER_BYTES: usize = 8
    * (2 * COMBINED_BY_CUSTOMER.len()
        + SIMPLE_BY_CUSTOMER.len()
        + LATENCY_BY_CUSTOMER.len() * latency::WIDTH);

/// Vectors with a column a customer, for the control thread, which makes columns visible as customers come.
pub const COMBINED_BY_CUSTOMER: [Vector; 2] = [UP, DOWN];
/// The same, counters without bytes.
pub const SIMPLE_BY_CUSTOMER: [Vector; 4] = [AGAIN_UP, AGAIN_DOWN, LATE_UP, LATE_DOWN];
/// The same, with [`latency::WIDTH`] columns a customer.
pub const LATENCY_BY_CUSTOMER: [Vector; 4] = [LAN, WAN, WAITED_UP, WAITED_DOWN];

/// What `tcp-rtt-match` counts.
pub(crate) struct Passed {
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
    /// Customers that there is room for.
    room: usize,
}

impl Passed {
    pub(crate) fn new(bench: &mut Workbench<'_>) -> Result<Passed, Error> {
        let mut rows = Rows::of(bench);
        let methods = Method::VARIANTS.len();
        let cells = rows.room + 1;
        Ok(Passed {
            room: rows.room,
            again: [rows.simple(AGAIN_UP, 0, cells)?, rows.simple(AGAIN_DOWN, 0, cells)?],
            late: [rows.simple(LATE_UP, 0, cells)?, rows.simple(LATE_DOWN, 0, cells)?],
            lan: rows.latency(LAN, 0, cells)?,
            wan: rows.latency(WAN, 0, cells)?,
            ports: rows.latency(&PORTS, rows.ports, MAX_PORTS)?,
            samples: rows.simple(&SAMPLES, methods, methods)?,
            flows: rows.simple(&FLOWS, FLOW_STATES.len(), FLOW_STATES.len())?,
            up: rows.counters.combined_row(UP, 0, cells, rows.row)?,
            down: rows.counters.combined_row(DOWN, 0, cells, rows.row)?,
            events: rows.counters.ring_row(&EVENTS, (EVENTS_KEPT, RECORD), SCHEMA, rows.row)?,
            scale: Scale::new(bench.clock),
            wall: Wall::new(bench.clock),
        })
    }

    /// Asks for the memory that counting a packet will touch.
    #[inline(always)]
    pub(crate) fn prefetch(&self, Parties { up, down }: Parties) {
        self.up.prefetch(up.cell(self.room));
        self.down.prefetch(down.cell(self.room));
    }

    /// A packet of so many bytes.
    #[inline(always)]
    pub(crate) fn packet(&mut self, Parties { up, down }: Parties, bytes: u16) {
        self.up.add(up.cell(self.room), 1, u64::from(bytes));
        self.down.add(down.cell(self.room), 1, u64::from(bytes));
    }

    /// Takes what the measurement says of a packet.
    #[inline(always)]
    pub(crate) fn sink<'a>(&'a mut self, answer: Answer<'a>) -> impl Sink + 'a {
        Taking { passed: self, answer }
    }

    /// What has become of flows.
    pub(crate) fn flows(&mut self, tracker: &Tracker) {
        let counters = tracker.counters();
        let states =
            [counters.active(), counters.created, counters.ended, counters.evicted, counters.refused];
        for (column, count) in states.into_iter().enumerate() {
            self.flows.set(column, count);
        }
    }

    /// The customer in this column is another from now on.
    pub(crate) fn forget(&mut self, column: usize) {
        for row in [&mut self.up, &mut self.down] {
            if row.value(column) != (0, 0) {
                row.set(column, 0, 0);
            }
        }
        for row in self.again.iter_mut().chain(&mut self.late) {
            if row.value(column) != 0 {
                row.set(column, 0);
            }
        }
        self.lan.forget(column);
        self.wan.forget(column);
    }
}

/// A packet that may be an answer.
pub(crate) struct Answer<'a> {
    pub(crate) observed: &'a Observed,
    /// Whose it is, and who it is for.
    pub(crate) parties: Parties,
    /// The port that it came in by.
    pub(crate) port: PortIndex,
    /// When, in ticks.
    pub(crate) now: u64,
}

struct Taking<'a> {
    passed: &'a mut Passed,
    answer: Answer<'a>,
}

impl Sink for Taking<'_> {
    fn sample(&mut self, sample: Sample) {
        let Taking { passed, answer } = self;
        let time = Binned::from(passed.scale.micros(sample.rtt));
        passed.lan.record(answer.parties.up.cell(passed.room), time, 1);
        passed.wan.record(answer.parties.down.cell(passed.room), time, 1);
        passed.ports.record(usize::from(answer.port), time, 1);
        passed.samples.add(sample.method as usize, 1);
        let record = record(&sample, answer, passed.events.sequence(), &mut passed.wall);
        passed.events.push(&record);
    }

    fn retransmission(&mut self) {
        count(&mut self.passed.again, &self.answer, self.passed.room);
    }

    fn reordered(&mut self) {
        count(&mut self.passed.late, &self.answer, self.passed.room);
    }
}

fn count([up, down]: &mut [SimpleRow; 2], answer: &Answer<'_>, room: usize) {
    up.add(answer.parties.up.cell(room), 1);
    down.add(answer.parties.down.cell(room), 1);
}

/// A sample as [`SCHEMA`] says.
fn record(sample: &Sample, answer: &Answer<'_>, number: u64, wall: &mut Wall) -> [u8; RECORD] {
    let Answer { observed, parties, port, now } = answer;
    let scale = wall.scale;
    let mut record = [0; RECORD];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = record.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &number.to_le_bytes());
    put(8, &wall.nanos(*now).to_le_bytes());
    put(16, &scale.nanos(sample.rtt).to_le_bytes());
    put(24, &scale.nanos(sample.least).to_le_bytes());
    put(32, &observed.source().to_be_bytes());
    put(48, &observed.destination().to_be_bytes());
    put(64, &observed.source_port().to_le_bytes());
    put(66, &observed.destination_port().to_le_bytes());
    put(68, &[sample.method as u8]);
    put(70, &port.to_le_bytes());
    let customer = |it: &Customer| it.column().map_or(u32::MAX, |column| column as u32);
    put(72, &customer(&parties.up).to_le_bytes());
    put(76, &customer(&parties.down).to_le_bytes());
    let protocol = if observed.kind() == Kind::Tcp { ip4::TCP } else { ip4::ICMP };
    put(80, &[protocol]);
    record
}

/// Ticks as moments of the wall clock. Looks at that once a second, so that it follows when the clock is set or slewed, and costs a system call's
/// time, where reading the clock is one, no oftener.
struct Wall {
    /// Nanoseconds since 1970 at `ticks`.
    unix: u64,
    ticks: u64,
    /// Ticks a second.
    hz: u64,
    scale: Scale,
}

impl Wall {
    fn new(clock: Clock) -> Wall {
        Wall { unix: 0, ticks: 0, hz: clock.hz(), scale: Scale::new(clock) }
    }

    fn nanos(&mut self, now: u64) -> u64 {
        if self.unix == 0 || now.wrapping_sub(self.ticks) > self.hz {
            // A clock before 1970 is not set.
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            (self.unix, self.ticks) = (unix.as_nanos() as u64, now);
        }
        self.unix + self.scale.nanos(now.wrapping_sub(self.ticks))
    }
}

/// What `tcp-rtt-stamp` counts.
pub(crate) struct Waited {
    up: LatencyRow,
    down: LatencyRow,
    ports: LatencyRow,
    scale: Scale,
    /// Customers that there is room for.
    room: usize,
}

impl Waited {
    pub(crate) fn new(bench: &mut Workbench<'_>) -> Result<Waited, Error> {
        let mut rows = Rows::of(bench);
        let cells = rows.room + 1;
        Ok(Waited {
            room: rows.room,
            up: rows.latency(WAITED_UP, 0, cells)?,
            down: rows.latency(WAITED_DOWN, 0, cells)?,
            ports: rows.latency(&WAITED_PORTS, rows.ports, MAX_PORTS)?,
            scale: Scale::new(bench.clock),
        })
    }

    /// So many ticks.
    #[inline(always)]
    pub(crate) fn time(&self, ticks: u64) -> Binned {
        self.scale.micros(ticks).into()
    }

    /// Asks for the memory that counting a packet will touch.
    #[inline(always)]
    pub(crate) fn prefetch(&self, Parties { up, down }: Parties, time: Binned) {
        self.up.prefetch(up.cell(self.room), time);
        self.down.prefetch(down.cell(self.room), time);
    }

    /// A packet was inside for so long.
    #[inline(always)]
    pub(crate) fn packet(&mut self, Parties { up, down }: Parties, time: Binned) {
        self.up.record(up.cell(self.room), time, 1);
        self.down.record(down.cell(self.room), time, 1);
    }

    /// Packets that leave by a port were inside for so long.
    #[inline(always)]
    pub(crate) fn leaving(&mut self, port: PortIndex, time: Binned, count: u64) {
        self.ports.record(usize::from(port), time, count);
    }

    /// The customer in this column is another from now on.
    pub(crate) fn forget(&mut self, column: usize) {
        self.up.forget(column);
        self.down.forget(column);
    }
}

/// Rows of one worker.
struct Rows<'a> {
    counters: &'a mut Counters,
    row: usize,
    ports: usize,
    /// Customers that there is room for.
    room: usize,
}

impl<'a> Rows<'a> {
    fn of(bench: &'a mut Workbench<'_>) -> Rows<'a> {
        let room = bench.tables.customers.as_ref().map_or(0, Customers::room);
        Rows { counters: &mut *bench.counters, row: bench.row, ports: bench.tables.ports.count(), room }
    }

    fn simple(&mut self, vector: impl Into<Vector>, columns: usize, most: usize) -> Result<SimpleRow, Error> {
        self.counters.simple_row(vector, columns, most, self.row)
    }

    fn latency(
        &mut self,
        vector: impl Into<Vector>,
        objects: usize,
        most: usize,
    ) -> Result<LatencyRow, Error> {
        Ok(self.simple(vector, objects * latency::WIDTH, most * latency::WIDTH)?.into())
    }
}
