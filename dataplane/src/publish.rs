//! What the control thread publishes in the segment: names, what the XDP programs and the kernel count, rates, pools.
//!
//! Row 0 of per-thread vectors is written here; the workers' rows are theirs. Names of routes and next hops are gathered while kernel
//! events are applied and published together, so that a full table costs one change of the segment, not a million.

use std::{net::IpAddr, time::Instant};

use weir_graph::{
    adjacency::AdjacencyIndex,
    counters::Counters,
    fib::RouteIndex,
    graph::{ADJACENCY_CAPACITY, ADJACENCY_COUNTERS},
    latency,
    node::Forget,
    nodes::{
        drop::DROPS,
        ethernet_input::{IP4, IP6, RX},
        ip4_lookup, ip6_lookup,
    },
    ports::MAX_PORTS,
};
use weir_stats::{Description, Error, Names, Reader, Rows, Scalar, Simple, SimpleRow, Value};
use weir_xdp::{OwnAddresses, Redirect, Verdict};

use crate::{
    forwarding::Observer,
    port::af_xdp::SocketMonitor,
    worker::{FRAME_COLUMNS, FRAMES, LOOPS, TX},
};

/// Per-port vectors that the control thread counts in row 0.
static KERNEL_COUNTED: [Description; 5] = [
    kernel_counted("/if/punt", "passed to the kernel by the XDP program"),
    kernel_counted("/if/rx-miss", "lost: the receive ring was full"),
    kernel_counted("/if/rx-no-buf", "lost: there was no frame to receive into"),
    kernel_counted("/if/rx-error", "lost: too large"),
    kernel_counted("/if/tx-error", "descriptors that the kernel refused to send"),
];

const fn kernel_counted(path: &'static str, help: &'static str) -> Description {
    Description::simple(path, "packets", "interface=/if/names", help).counted_by(Rows::Control)
}

/// Per-port vectors that workers count.
const WORKER_COUNTED: [&Description; 5] = [&RX, &TX, &DROPS, &IP4, &IP6];

/// What is registered here besides vectors with rows of the workers.
const DECLARED: [Description; 16] = [
    Description::names("/if/names", "ports, in the order of the config"),
    Description::link("/interfaces/{interface}/{counter}", "packets", "the port's column of /if/{counter}"),
    Description::simple(
        "/xdp/{verdict}",
        "packets",
        "interface=/if/names",
        "what the XDP program decided: the packets are weir's (redirected), or the kernel's and why",
    )
    .counted_by(Rows::Cpus),
    Description::names("/net/route/names", "the route's prefix; empty where the index is not in use"),
    Description::names("/net/route6/names", "the IPv6 route's prefix; empty where the index is not in use"),
    Description::names("/net/adjacency/names", "the next hop: 10.0.0.2 dev eth1"),
    Description::names("/workers/frame-columns", "columns of /workers/frames"),
    Description::names(
        "/workers/round-bins",
        "bins of /workers/rounds: inclusive upper bounds in microseconds, and the sum",
    ),
    Description::simple(
        "/sys/vector_rate_per_worker",
        "",
        "thread",
        "packets a node call, over the last second",
    )
    .as_gauge()
    .counted_by(Rows::Single),
    Description::simple(
        "/sys/loops_per_worker",
        "",
        "thread",
        "turns of the thread's loop in the last second",
    )
    .as_gauge()
    .counted_by(Rows::Single),
    Description::gauge("/sys/vector_rate", "", "packets a node call, over the last second"),
    Description::gauge("/sys/input_rate", "", "packets received a second, over the last second"),
    Description::scalar("/sys/last_update", "seconds", "from weir's start to the last update of rates")
        .as_gauge(),
    Description::gauge("/buffer-pools/{pool}/cached", "frames", "free, in the workers' pools"),
    Description::gauge("/buffer-pools/{pool}/used", "frames", "with packets in them"),
    Description::gauge("/buffer-pools/{pool}/available", "frames", "in fill and receive rings"),
];

/// The control thread's side of the segment.
pub struct Publisher {
    counters: Counters,
    own: OwnAddresses,
    routes: Numbered,
    routes6: Numbered,
    adjacencies: Numbered,
    gone: Forget,
    /// By name as in [`KERNEL_COUNTED`].
    kernel_counted: Vec<SimpleRow>,
    /// By verdict, then CPU.
    verdicts: Vec<Vec<SimpleRow>>,
    gauges: Gauges,
    reader: Reader,
    last: Option<Last>,
}

/// Names by number, of what a vector counts.
struct Numbered {
    names: Names,
    counters: &'static Description,
    columns: usize,
    /// New names since the last [`Publisher::flush`].
    new: Vec<(u32, String)>,
}

impl Numbered {
    fn new(names: Names, counters: &'static Description) -> Numbered {
        Numbered { names, counters, columns: 1, new: Vec::new() }
    }

    /// Publishes the new names, and the columns that they need.
    fn publish(&mut self, counters: &mut Counters) -> Result<(), Error> {
        if self.new.is_empty() {
            return Ok(());
        }
        let new = std::mem::take(&mut self.new);
        self.columns = new.iter().map(|(index, _)| *index as usize + 1).fold(self.columns, usize::max);
        counters.grow_combined(self.counters, self.columns)?;
        counters.segment().register(|batch| {
            new.iter().try_for_each(|(index, name)| batch.set_name(&mut self.names, *index as usize, name))
        })
    }
}

struct Gauges {
    vector_rate: Scalar,
    input_rate: Scalar,
    last_update: Scalar,
    vector_rates: SimpleRow,
    loop_rates: SimpleRow,
    pool_cached: Scalar,
    pool_used: Scalar,
    pool_available: Scalar,
    started: Instant,
}

/// Totals at the last update, by worker.
struct Last {
    at: Instant,
    received: u64,
    vectors: Vec<u64>,
    calls: Vec<u64>,
    loops: Vec<u64>,
}

impl Publisher {
    /// Registers everything that the control thread publishes. The graph's vectors and the workers' must be registered before.
    pub fn new(mut counters: Counters, own: OwnAddresses, devices: &[String]) -> Result<Publisher, Error> {
        let ports = devices.len();
        let cpus = libbpf_rs::num_possible_cpus().unwrap_or(1);
        let mut kernel_counted = Vec::new();
        for vector in &KERNEL_COUNTED {
            kernel_counted.push(counters.simple_row(vector, ports, MAX_PORTS, 0)?);
        }
        let mut links = Vec::new();
        for vector in WORKER_COUNTED.into_iter().chain(&KERNEL_COUNTED) {
            let Some(target) = counters.id(vector) else { continue };
            let leaf = vector.path.trim_start_matches("/if/");
            for (column, device) in devices.iter().enumerate() {
                links.push((format!("/interfaces/{}/{leaf}", device.replace('/', "_")), target, column));
            }
        }
        // Three vectors of one row with a column a thread, as VPP has them.
        let threads = counters.segment().rows();
        let (routes, routes6, adjacencies, verdicts, gauges) = counters.segment().register(|batch| {
            let mut names = batch.names("/if/names", MAX_PORTS)?;
            for (index, device) in devices.iter().enumerate() {
                batch.set_name(&mut names, index, device)?;
            }
            for (path, target, column) in &links {
                batch.symlink(path, *target, *column)?;
            }
            let frame_columns = FRAME_COLUMNS.map(str::to_owned);
            for (path, list) in
                [("/workers/frame-columns", &frame_columns[..]), ("/workers/round-bins", &latency::names())]
            {
                let mut names = batch.names(path, list.len())?;
                for (column, name) in list.iter().enumerate() {
                    batch.set_name(&mut names, column, name)?;
                }
            }
            let mut routes = batch.names("/net/route/names", ip4_lookup::ROUTE_CAPACITY)?;
            batch.set_name(&mut routes, 0, "no route")?;
            let mut routes6 = batch.names("/net/route6/names", ip6_lookup::ROUTE_CAPACITY)?;
            batch.set_name(&mut routes6, 0, "no route")?;
            let mut adjacencies = batch.names("/net/adjacency/names", ADJACENCY_CAPACITY)?;
            for (index, name) in
                ["unreachable", "blackhole", "prohibited", "local", "no port"].iter().enumerate()
            {
                batch.set_name(&mut adjacencies, index, name)?;
            }
            let verdicts = Verdict::ALL
                .iter()
                .map(|verdict| batch.simple_rows(&format!("/xdp/{verdict}"), cpus, ports, MAX_PORTS))
                .collect::<Result<Vec<Simple>, Error>>()?;
            let mut one_row = |path: &str| {
                let mut vector = batch.simple_rows(path, 1, threads, threads)?;
                vector
                    .take_row(0)
                    .ok_or_else(|| Error::Shape { path: path.to_owned(), reason: "it has no row" })
            };
            let gauges = Gauges {
                vector_rates: one_row("/sys/vector_rate_per_worker")?,
                loop_rates: one_row("/sys/loops_per_worker")?,
                vector_rate: batch.gauge("/sys/vector_rate", 0)?,
                input_rate: batch.gauge("/sys/input_rate", 0)?,
                last_update: batch.scalar("/sys/last_update", 0)?,
                pool_cached: batch.gauge("/buffer-pools/default-numa-0/cached", 0)?,
                pool_used: batch.gauge("/buffer-pools/default-numa-0/used", 0)?,
                pool_available: batch.gauge("/buffer-pools/default-numa-0/available", 0)?,
                started: Instant::now(),
            };
            Ok((routes, routes6, adjacencies, verdicts, gauges))
        })?;
        let verdicts =
            verdicts.into_iter().map(|mut vector| (0..cpus).filter_map(|cpu| vector.take_row(cpu)).collect());
        let verdicts = verdicts.collect();
        counters.declare(&DECLARED);
        counters.describe()?;
        let reader = Reader::of(counters.segment()).map_err(|error| Error::Shape {
            path: error.to_string(),
            reason: "the segment can't be read back",
        })?;
        Ok(Publisher {
            counters,
            own,
            routes: Numbered::new(routes, &ip4_lookup::ROUTE_COUNTERS),
            routes6: Numbered::new(routes6, &ip6_lookup::ROUTE_COUNTERS),
            adjacencies: Numbered::new(adjacencies, &ADJACENCY_COUNTERS),
            gone: Forget::default(),
            kernel_counted,
            verdicts,
            gauges,
            reader,
            last: None,
        })
    }

    /// What is gone since the last call, for the workers to forget.
    pub fn gone(&mut self) -> Option<Forget> {
        let gone = std::mem::take(&mut self.gone);
        (gone != Forget::default()).then_some(gone)
    }

    /// Publishes the names that came since the last call. A segment that is full keeps the old ones: forwarding goes on.
    pub fn flush(&mut self) {
        let Publisher { counters, routes, routes6, adjacencies, .. } = self;
        for numbered in [routes, routes6, adjacencies] {
            if let Err(error) = numbered.publish(counters) {
                tracing::error!(%error, "routes and next hops go without names and counters");
            }
        }
    }

    /// All that is counted.
    pub fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// The XDP programs' map of this machine's addresses.
    pub fn own_addresses(&self) -> &OwnAddresses {
        &self.own
    }

    /// Packets that each adjacency has forwarded so far, over all workers.
    pub fn adjacency_packets(&self) -> Vec<u64> {
        let mut sums = Vec::new();
        if let Some(Value::Combined(rows)) = self.value(&ADJACENCY_COUNTERS.path) {
            for row in rows {
                sums.resize(sums.len().max(row.len()), 0);
                for (sum, pair) in sums.iter_mut().zip(row) {
                    *sum += pair.packets;
                }
            }
        }
        sums
    }

    /// The heartbeat.
    pub fn beat(&mut self) {
        self.counters.segment().beat();
    }

    /// What the XDP programs and the kernel have counted since they began.
    pub fn update_kernel_counters(
        &mut self,
        redirects: &[Option<Redirect>],
        monitors: &[(usize, SocketMonitor)],
    ) {
        for (port, redirect) in redirects.iter().enumerate() {
            let Some(Ok(counters)) = redirect.as_ref().map(Redirect::counters) else { continue };
            for (verdict, rows) in Verdict::ALL.iter().zip(&mut self.verdicts) {
                for (cpu, row) in counters.per_cpu().iter().zip(rows) {
                    row.set(port, cpu[*verdict as usize].packets);
                }
            }
            let passed = Verdict::ALL.iter().filter(|verdict| **verdict != Verdict::Redirected);
            let punted = passed.map(|verdict| counters.total(*verdict).packets).sum();
            self.kernel_counted[0].set(port, punted);
        }
        self.update_socket_counters(redirects.len(), monitors);
    }

    /// What the kernel has counted on the sockets of the first `ports` ports.
    pub fn update_socket_counters(&mut self, ports: usize, monitors: &[(usize, SocketMonitor)]) {
        for port in 0..ports {
            let (mut miss, mut no_buf, mut rx_error, mut tx_error) = (0, 0, 0, 0);
            for (_, monitor) in monitors.iter().filter(|(of, _)| *of == port) {
                let Ok(counted) = monitor.counters() else { continue };
                miss += counted.rx_ring_full;
                no_buf += counted.fill_ring_empty;
                // The kernel counts an empty fill ring as a drop too.
                rx_error += counted.rx_dropped.saturating_sub(counted.fill_ring_empty);
                tx_error += counted.tx_invalid;
            }
            for (row, value) in self.kernel_counted[1..].iter_mut().zip([miss, no_buf, rx_error, tx_error]) {
                row.set(port, value);
            }
        }
    }

    /// Rates since the last call, and where the frames are.
    pub fn update_rates(&mut self) {
        let sums = |value: Option<Value>| match value {
            Some(Value::Simple(rows)) => rows.iter().map(|row| row.iter().sum()).collect(),
            Some(Value::Combined(rows)) => {
                rows.iter().map(|row| row.iter().map(|pair| pair.packets).sum()).collect()
            }
            _ => Vec::<u64>::new(),
        };
        let now = Last {
            at: Instant::now(),
            received: sums(self.value("/if/rx")).iter().sum(),
            vectors: sums(self.value("/sys/node/vectors")),
            calls: sums(self.value("/sys/node/calls")),
            loops: sums(self.value(&LOOPS.path)),
        };
        if let Some(last) = &self.last {
            let micros = now.at.duration_since(last.at).as_micros().max(1) as u64;
            let difference = |now: &[u64], last: &[u64], row: usize| {
                now.get(row).zip(last.get(row)).map_or(0, |(now, last)| now.saturating_sub(*last))
            };
            let (mut vectors, mut calls) = (0, 0);
            for row in 0..now.calls.len() {
                let row_vectors = difference(&now.vectors, &last.vectors, row);
                let row_calls = difference(&now.calls, &last.calls, row);
                vectors += row_vectors;
                calls += row_calls;
                self.gauges.vector_rates.set(row, row_vectors.checked_div(row_calls).unwrap_or(0));
                let loops = difference(&now.loops, &last.loops, row);
                self.gauges.loop_rates.set(row, loops.saturating_mul(1_000_000) / micros);
            }
            self.gauges.vector_rate.set(vectors.checked_div(calls).unwrap_or(0));
            let received = now.received.saturating_sub(last.received);
            self.gauges.input_rate.set(received.saturating_mul(1_000_000) / micros);
        }
        self.last = Some(now);
        self.gauges.last_update.set(self.gauges.started.elapsed().as_secs());
        if let Some(Value::Simple(rows)) = self.value(&FRAMES.path) {
            let column = |column: usize| rows.iter().filter_map(|row| row.get(column)).sum::<u64>();
            let [free, receive, total] = [column(0), column(1), column(4)];
            self.gauges.pool_cached.set(free);
            self.gauges.pool_available.set(receive);
            self.gauges.pool_used.set(total.saturating_sub(free + receive));
        }
    }

    fn value(&self, path: &str) -> Option<Value> {
        let entry = self.reader.find(path).ok()??;
        self.reader.read(&entry).ok()
    }
}

impl Publisher {
    fn routes(&mut self, version: u8) -> (&mut Numbered, &mut Vec<u32>) {
        match version {
            4 => (&mut self.routes, &mut self.gone.routes),
            _ => (&mut self.routes6, &mut self.gone.routes6),
        }
    }
}

impl Observer for Publisher {
    fn route_named(&mut self, version: u8, index: RouteIndex, name: &str) {
        self.routes(version).0.new.push((index.as_u32(), name.to_owned()));
    }

    fn route_gone(&mut self, version: u8, index: RouteIndex) {
        let (routes, gone) = self.routes(version);
        routes.new.push((index.as_u32(), String::new()));
        gone.push(index.as_u32());
    }

    fn adjacency_named(&mut self, index: AdjacencyIndex, name: &str) {
        self.adjacencies.new.push((index.as_u32(), name.to_owned()));
    }

    fn adjacency_gone(&mut self, index: AdjacencyIndex) {
        self.adjacencies.new.push((index.as_u32(), String::new()));
        self.gone.adjacencies.push(index.as_u32());
    }

    fn own_address(&mut self, address: IpAddr) {
        if let Err(error) = self.own.insert(address) {
            tracing::error!(%address, %error, "packets to one of this machine's addresses will be dropped");
        }
    }

    fn own_address_gone(&mut self, address: IpAddr) {
        if let Err(error) = self.own.remove(address) {
            tracing::warn!(%address, %error, "an address that is gone stays the kernel's");
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_stats::{Options, Segment};

    use super::*;

    #[test]
    fn a_new_name_has_a_column_to_count_in() {
        let mut counters = Counters::new(Segment::create(Options::default()).unwrap());
        let routes = &ip6_lookup::ROUTE_COUNTERS;
        let mut row = counters.combined_row(routes, 1, 100, 0).unwrap();
        let names = counters.segment().register(|batch| batch.names("/net/route6/names", 100)).unwrap();
        let mut numbered = Numbered::new(names, routes);
        numbered.new = vec![(7, "2001:db8::/32".to_owned()), (3, String::new())];
        numbered.publish(&mut counters).unwrap();
        // Fewer afterwards take none away.
        numbered.new = vec![(2, "2001:db9::/32".to_owned())];
        numbered.publish(&mut counters).unwrap();
        row.add(7, 1, 78);
        let reader = Reader::of(counters.segment()).unwrap();
        let read = |path: &str| reader.read(&reader.find(path).unwrap().unwrap()).unwrap();
        let Value::Combined(rows) = read(&routes.path) else { panic!() };
        assert_eq!((rows[0].len(), rows[0][7].packets, rows[0][7].bytes), (8, 1, 78));
        let Value::Names(names) = read("/net/route6/names") else { panic!() };
        assert_eq!(names[7], "2001:db8::/32");
    }
}
