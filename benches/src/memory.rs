//! A router in memory: one worker's graph over frames in ordinary memory, so that what is measured is weir and not the kernel.
//!
//! What a packet costs is read off the time-stamp counter around [`Graph::run`], from `ethernet-input` to `tx`, every node's statistics included.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    thread,
};

use core_affinity::CoreId;

use weir_graph::{
    adjacency::{Adjacencies, Path},
    clock::{self, Clock},
    counters::Counters,
    customers::{Customer, Customers},
    exchange::Exchange,
    fib::{Fib, FibLimits, FibWriter, NextHop, Prefix4, PrefixError},
    frames::{FramePool, Frames},
    graph::{Graph, Shape},
    node::{Tables, VECTOR, Workbench},
    nodes::{ROUTE, classify, hand_off, ip4_lookup, ip6_lookup, shaper, tcp_rtt_match, tcp_rtt_stamp},
    ports::{Ports, Side},
    quiescence::Quiescence,
    round_trips, rtt,
};
use weir_stats::{Options, Reader, Segment, Value};

use crate::packets::{self, Destinations, Kind, PORT_MAC, VLAN_IN, VLAN_OUT};
use crate::shaping::Shaping;
use crate::source::{self, Source, Time};
use crate::tcp::{self, TcpFlows};

/// Frames that a worker's packets are taken from in turn, twice as many as the rings of a port hold; and as many are in its pool.
const RING: usize = 4096;
/// Customers that there is room for, as in a weir that lists few.
const CUSTOMERS: usize = 1 << 17;

/// Bytes of the segment's address space: as much as valgrind lets a program have in one piece, and more than any of these routers needs.
const SEGMENT: u64 = 16 << 30;

/// What a router is made with.
#[derive(Clone, Copy)]
pub struct Setup {
    /// What packets are.
    pub kind: Kind,
    /// 1 gives one default route, more give so many /24 networks from 11.0.0.0 on, or IPv6 prefixes of the internet's lengths. Every packet goes to an address drawn at random from
    /// them.
    pub routes: u32,
    /// Workers, which all run on this thread, one after the other. Each receives as much as the others, and gives to the others what is theirs.
    pub workers: usize,
    /// TCP over IPv4 of so many flows, at random, instead of UDP; 0: UDP. It goes by the default route.
    pub flows: usize,
    /// Measure round-trip times, and count by customer: each sender of a TCP flow is one.
    pub measured: bool,
    /// Shape so many customers, towards whom the packets go, by plans that nobody reaches; 0: nobody is shaped. For UDP over IPv4 and one route.
    pub shaped: u32,
    /// Time goes on by what is forwarded and not by the clock, so that every run does the same.
    pub virtual_time: bool,
}

impl Setup {
    /// UDP over IPv4, one route, one worker.
    pub const PLAIN: Setup = Setup {
        kind: Kind::Ip4,
        routes: 1,
        workers: 1,
        flows: 0,
        measured: false,
        shaped: 0,
        virtual_time: false,
    };
}

/// A router without ports.
pub struct MemoryRouter {
    /// By worker.
    graphs: Vec<Graph>,
    /// As many.
    sources: Vec<Source>,
    /// The port that packets leave by.
    out: usize,
    time: Time,
    reader: Reader,
    _writers: (FibWriter, FibWriter<u128>),
    _counters: Counters,
}

/// A turn of all workers: runs what they have received, what they have given to each other, and what is due.
fn forward(graphs: &mut [Graph], time: Time) {
    let mut now = time.now();
    for graph in &mut *graphs {
        now = time.or(graph.run(now));
    }
    for graph in graphs {
        if graph.take_given() {
            now = time.or(graph.run(now));
        }
        graph.release(now);
    }
}

/// The name by which callgrind finds what is to be counted.
#[inline(never)]
fn counted(graphs: &mut [Graph], time: Time) {
    forward(graphs, time);
}

/// The nodes that this router does without.
fn left_out(setup: &Setup) -> Vec<&'static str> {
    let mut without = Vec::new();
    if setup.shaped == 0 {
        without.push(shaper::REGISTRATION.name);
    }
    if !setup.measured {
        without.extend([tcp_rtt_match::REGISTRATION.name, tcp_rtt_stamp::REGISTRATION.name]);
    }
    if !setup.measured && setup.shaped == 0 {
        without.push(classify::REGISTRATION.name);
    }
    if setup.workers == 1 || !(setup.measured || setup.shaped > 0) {
        without.push(hand_off::REGISTRATION.name);
    }
    without
}

/// One worker's turn with so many fresh packets, and whatever others have given to it.
fn turn(graph: &mut Graph, source: &mut Source, size: usize, out: usize) -> Round {
    source.feed(graph, size);
    let begin = clock::now();
    forward(std::slice::from_mut(graph), Time::Real);
    let ticks = clock::now().wrapping_sub(begin);
    let packets = source.take_back(graph, out);
    // Looking in vain is not work.
    Round { packets, ticks: if packets > 0 { ticks } else { 0 } }
}

/// What one round measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Packets forwarded.
    pub packets: u64,
    /// Ticks of the time-stamp counter that they took.
    pub ticks: u64,
}

impl MemoryRouter {
    /// Builds the router and loads its routes.
    pub fn new(setup: &Setup) -> Result<MemoryRouter, Box<dyn std::error::Error>> {
        let segment =
            Segment::create(Options { size: SEGMENT, workers: setup.workers, ..Options::default() })?;
        let reader = Reader::of(&segment)?;
        let mut counters = Counters::new(segment);
        let shape = Arc::new(Shape::new(ROUTE, &left_out(setup))?);
        shape.register(&mut counters)?;
        let ports = Ports::new(4);
        [0, 2].into_iter().for_each(|port| ports.set_mac(port, PORT_MAC));
        let out: u16 = if setup.kind.is_tagged() { 3 } else { 1 };
        if setup.kind.is_tagged() {
            ports.set_sub_interfaces(0, &[(VLAN_IN, 2)]);
            ports.set_sub_interfaces(1, &[(VLAN_OUT, 3)]);
        }
        let quiescence = Quiescence::new(1);
        let (fib, mut writer) = Fib::new(FibLimits::default(), quiescence.clone())?;
        let limits = FibLimits { extension_blocks: 1 << 18, ..FibLimits::default() };
        let (fib6, mut writer6) = Fib::new(limits, quiescence.clone())?;
        let (adjacencies, mut adjacency_writer) = Adjacencies::new(16, quiescence.clone());
        let next_hop = Some(Ipv4Addr::new(10, 0, 2, 2).into());
        let path = Path { port: out, mtu: 1500, next_hop, tags: ports.tags(out) };
        let adjacency = adjacency_writer.allocate(path)?;
        adjacency_writer.set_rewrite(adjacency, setup.kind.next_hop_header(), path)?;
        let next_hops = [NextHop { adjacency, weight: 1 }];
        let (mut destinations, columns) =
            Destinations::load(setup.kind, setup.routes, &next_hops, &mut writer, &mut writer6)?;
        if setup.shaped > 0 {
            destinations.narrow(setup.shaped);
            ports.set_side(out, Side::Lan);
        }
        let (clock, time) = match setup.virtual_time {
            true => (Clock::with_hz(1_000_000_000), Time::VIRTUAL),
            false => (Clock::calibrate(), Time::Real),
        };
        let flows = setup.flows / setup.workers;
        let mut customers = None;
        if setup.measured || setup.shaped > 0 {
            round_trips::register(&mut counters)?;
            let (table, mut writer) = Customers::new(CUSTOMERS.max(setup.shaped as usize), quiescence)?;
            let (first, count) = match setup.shaped {
                0 => (tcp::SENDERS, tcp::senders(flows) * setup.workers as u32),
                shaped => (packets::NETWORKS, shaped),
            };
            let customer = |at| Ok((Prefix4::new(first + at, 32)?.into(), Customer::of_column(at)));
            writer.replace((0..count).map(customer).collect::<Result<Vec<_>, PrefixError>>()?)?;
            customers = Some(table);
        }
        let shaping = match setup.shaped {
            0 => None,
            customers => Some(Shaping::new(customers, clock, &mut counters)?),
        };
        let tables = Arc::new(Tables { fib, fib6, adjacencies, customers, ports });
        let count = 2 * RING * setup.workers;
        let (frames, mut ids) = Frames::in_memory(count as u32);
        let (requests, _) = crossbeam_channel::bounded(1);
        let (mut graphs, mut sources) = (Vec::new(), Vec::new());
        for (exchange, row) in
            Exchange::between(vec![Waker::noop().clone(); setup.workers]).into_iter().zip(1..)
        {
            let pool = FramePool::new(frames.clone(), ids.split_off(ids.len() - RING));
            let mut bench = Workbench {
                row,
                counters: &mut counters,
                tables: tables.clone(),
                requests: requests.clone(),
                clock,
                seed: 0x77_65_69_72,
                shaper: shaping.as_ref().map(|shaping| shaping.setup(count)),
                rtt: setup.measured.then(|| rtt::Settings::new(clock, setup.flows.max(1024) * 2)),
            };
            let mut graph = Graph::new(&shape, &mut bench, pool)?.with_exchange(exchange);
            if let Some(shaping) = &shaping {
                shaping.carry_out(&mut graph);
            }
            graphs.push(graph);
            let kind = match flows {
                0 => source::Kind::Udp(destinations.share(row as u64)),
                flows => source::Kind::Tcp(TcpFlows::new(flows, (row - 1) as u32, clock)),
            };
            sources.push(Source::new(frames.clone(), ids.split_off(ids.len() - RING), kind, time));
        }
        counters.grow_combined(&ip4_lookup::ROUTE_COUNTERS, columns)?;
        counters.grow_combined(&ip6_lookup::ROUTE_COUNTERS, columns)?;
        let _writers = (writer, writer6);
        Ok(MemoryRouter { graphs, sources, out: out.into(), time, reader, _writers, _counters: counters })
    }

    /// Forwards `vectors` vectors of `size` packets for each worker and measures only the graphs.
    pub fn round(&mut self, vectors: usize, size: usize) -> Round {
        self.round_by(forward, vectors, size)
    }

    /// The same by a function of its own (`counted`), so that a tool can count what only the graphs do.
    pub fn counted_round(&mut self, vectors: usize, size: usize) -> Round {
        self.round_by(counted, vectors, size)
    }

    fn round_by(&mut self, forward: fn(&mut [Graph], Time), vectors: usize, size: usize) -> Round {
        let size = size.min(VECTOR);
        let mut round = Round::default();
        for _ in 0..vectors {
            for (graph, source) in self.graphs.iter_mut().zip(&mut self.sources) {
                source.feed(graph, size);
            }
            self.time.pass(size);
            let begin = clock::now();
            forward(&mut self.graphs, self.time);
            round.ticks += clock::now().wrapping_sub(begin);
            for (graph, source) in self.graphs.iter_mut().zip(&mut self.sources) {
                round.packets += source.take_back(graph, self.out);
            }
        }
        round
    }

    /// As [`Self::round`], with each worker in a thread of its own, on one of these cores: as many as workers. `packets` are those of all
    /// workers, `ticks` those of the one that was busy the longest; what a worker spends on making packets is not in them. In real time.
    pub fn round_on(&mut self, cores: &[CoreId], vectors: usize, size: usize) -> Round {
        let (size, out) = (size.min(VECTOR), self.out);
        let (begin, busy) = (Barrier::new(self.graphs.len()), AtomicUsize::new(self.graphs.len()));
        let turns = |graph: &mut Graph, source: &mut Source| {
            let mut round = Round::default();
            let mut go = |size| {
                let Round { packets, ticks } = turn(graph, source, size, out);
                round = Round { packets: round.packets + packets, ticks: round.ticks + ticks };
            };
            begin.wait();
            (0..vectors).for_each(|_| go(size));
            // Whoever is done first still takes what the others give, or they would have to drop it.
            busy.fetch_sub(1, Ordering::Relaxed);
            while busy.load(Ordering::Relaxed) > 0 {
                go(0);
            }
            round
        };
        let mut sum = Round::default();
        thread::scope(|scope| {
            let turns = &turns;
            let workers = self.graphs.iter_mut().zip(&mut self.sources).zip(cores);
            let threads: Vec<_> = workers
                .map(|((graph, source), core)| {
                    scope.spawn(move || {
                        core_affinity::set_for_current(*core);
                        turns(graph, source)
                    })
                })
                .collect();
            for round in threads.into_iter().filter_map(|thread| thread.join().ok()) {
                sum = Round { packets: sum.packets + round.packets, ticks: sum.ticks.max(round.ticks) };
            }
        });
        sum
    }

    /// Clocks and packets of every node so far, over all workers, as its statistics say.
    pub fn nodes(&mut self) -> Vec<(String, u64, u64)> {
        let row = |path: &str| -> Vec<u64> {
            let entry = self.reader.find(path).ok().flatten();
            let Some(Ok(Value::Simple(rows))) = entry.map(|entry| self.reader.read(&entry)) else {
                return Vec::new();
            };
            let columns = rows.first().map_or(0, Vec::len);
            (0..columns).map(|column| rows.iter().filter_map(|row| row.get(column)).sum()).collect()
        };
        let names =
            match self.reader.find("/sys/node/names").ok().flatten().map(|entry| self.reader.read(&entry)) {
                Some(Ok(Value::Names(names))) => names,
                _ => Vec::new(),
            };
        let (clocks, vectors) = (row("/sys/node/clocks"), row("/sys/node/vectors"));
        names
            .into_iter()
            .zip(clocks)
            .zip(vectors)
            .map(|((name, clocks), vectors)| (name, clocks, vectors))
            .collect()
    }

    /// A reader of the router's segment.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}
