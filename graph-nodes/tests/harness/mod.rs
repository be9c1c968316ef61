//! A router of one worker in memory: the whole graph, its tables and its segment, without a socket.
//!
//! A test feeds frames to ports and takes what `tx` gave each port. After every turn the books are checked, from the segment's rows: what
//! was received or created is what was sent, dropped for a reason, or held, and every frame is free or held.
//!
//! Time is the test's own: a tick is a microsecond, and passes only by [`Router::pass`].

#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

pub mod access;
pub mod bridge;
pub mod datagram;
pub mod packet6;
pub mod script;
pub mod seeds;
pub mod town;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;

use crossbeam_channel::{Receiver, Sender};
use weir_graph::{
    adjacency::{Adjacencies, AdjacencyIndex, AdjacencyWriter, Path},
    clock::Clock,
    counters::Counters,
    customers::{Customers, CustomersWriter},
    exchange::Exchange,
    fib::{Fib, FibLimits, FibWriter, NextHop},
    frames::{Chain, FramePool, Frames, Part},
    graph::{Graph, Shape},
    node::{Registration, Request, Tables, Workbench},
    nodes::{ROUTE, classify, hand_off, ip4_lookup, ip6_lookup, shaper, tcp_rtt_match, tcp_rtt_stamp},
    packet::ReasonIndex,
    ports::Ports,
    quiescence::Quiescence,
    rtt,
    trace::{TraceOrder, TraceRecord},
    wire::vlan::Tags,
};
use weir_stats::{Entry, Options, Reader, Segment, Value};

/// Ticks a second of the router's clock.
pub const HZ: u64 = 1_000_000;

/// Customers that a router has room for.
pub const CUSTOMERS: usize = 1 << 10;

/// What a router is made of.
#[derive(Clone)]
pub struct Setup {
    /// Ports, numbered from 0.
    pub ports: u16,
    /// Frames.
    pub frames: u32,
    /// A frame has 2^`chunk_shift` bytes.
    pub chunk_shift: u32,
    /// The nodes; a test may put one of its own in front of weir's.
    pub nodes: &'static [Registration],
    /// Size of the FIB.
    pub fib: FibLimits,
    /// Seeds the hashes of flows and of table slots.
    pub seed: u64,
    /// Workers; the router is the first one, and what it gives to the [others](Router::others) is the test's. With one the node `hand-off` is left
    /// out, as weir does it.
    pub workers: usize,
    /// How round-trip times are measured; without it the two nodes that do it are left out.
    pub rtt: Option<rtt::Settings>,
    /// What the shaper is made of; without it the node is left out.
    pub shaper: Option<shaper::Setup>,
    /// The length of a tick.
    pub clock: Clock,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            ports: 2,
            frames: 1024,
            chunk_shift: 11,
            nodes: ROUTE,
            fib: FibLimits { routes: 1 << 16, extension_blocks: 1 << 8, groups: 1 << 8 },
            seed: 0x5eed_0000_0000_0001,
            workers: 1,
            rtt: None,
            shaper: None,
            clock: Clock::with_hz(HZ),
        }
    }
}

impl Setup {
    /// With round-trip times measured as often as there are any. Time stands still in a run, so that what is measured depends on [`Router::pass`] alone.
    pub fn measuring() -> Setup {
        let settings = rtt::Settings::new(Clock::with_hz(HZ), 1024);
        let rtt = rtt::Settings { interval: 0, handshakes: true, ..settings };
        Setup { rtt: Some(rtt), ..Setup::default() }
    }
}

/// A frame that left by a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The port.
    pub port: u16,
    /// The frame, from its Ethernet header on.
    pub frame: Vec<u8>,
}

/// `(node, name)` of a drop reason or an event.
pub type Label = (&'static str, &'static str);
/// Counts by drop reason or event; what did not happen is not in it.
pub type Tally = BTreeMap<Label, u64>;

/// The segment's vectors that the books are kept in.
struct Books {
    reader: Reader,
    received: Entry,
    created: Entry,
    held: Entry,
    errors: Entry,
    events: Entry,
    drops: Entry,
}

/// One worker's router.
pub struct Router {
    /// The graph.
    pub graph: Graph,
    /// Its nodes.
    pub shape: Arc<Shape>,
    /// What it reads.
    pub tables: Arc<Tables>,
    /// Writes routes.
    pub fib: FibWriter,
    /// Writes routes of IPv6.
    pub fib6: FibWriter<u128>,
    /// Writes next hops.
    pub adjacencies: AdjacencyWriter,
    /// Writes whose addresses are, if that is counted.
    pub customers: Option<CustomersWriter>,
    /// What it asks of the control thread.
    pub requests: Receiver<Request>,
    /// The time, in ticks of [`HZ`].
    pub now: u64,
    /// Frames fed so far.
    pub fed: u64,
    /// Frames that left so far.
    pub sent: u64,
    /// The other workers' ends of the exchange, and their pools, which have no frames at first.
    pub others: Vec<(Exchange, FramePool)>,
    /// The segment's writer.
    pub counters: Counters,
    books: Books,
    told_drops: Tally,
    told_events: Tally,
}

impl Router {
    /// A router with no routes, whose ports have their MAC addresses and an MTU of 1500.
    pub fn new(setup: &Setup) -> Router {
        let options = Options { size: 256 << 20, workers: 1, ..Options::default() };
        // Customers' vectors have more address space than the heap is good for.
        let segment = match setup.rtt {
            Some(_) => Segment::create(Options { size: 64 << 30, ..options }).unwrap(),
            None => Segment::in_heap(options).unwrap(),
        };
        let mut counters = Counters::new(segment);
        let mut without = Vec::new();
        if setup.workers == 1 {
            without.push(hand_off::REGISTRATION.name);
        }
        let quiescence = Quiescence::new(0); // the one thread that reads is the one that writes
        let (mut readers, mut customers) = (None, None);
        if setup.rtt.is_some() || setup.shaper.is_some() {
            let (table, writer) = Customers::new(CUSTOMERS, quiescence.clone()).unwrap();
            (readers, customers) = (Some(table), Some(writer));
        } else {
            without.push(classify::REGISTRATION.name);
        }
        if setup.rtt.is_some() {
            weir_graph::round_trips::register(&mut counters).unwrap();
        } else {
            without.extend([tcp_rtt_match::REGISTRATION.name, tcp_rtt_stamp::REGISTRATION.name]);
        }
        match &setup.shaper {
            Some(setup) => {
                let nodes = setup.capacity.nodes;
                weir_graph::shaped::register(&mut counters, nodes, 1).unwrap();
            }
            None => without.push(shaper::REGISTRATION.name),
        }
        let shape = Arc::new(Shape::new(setup.nodes, &without).unwrap());
        shape.register(&mut counters).unwrap();
        let (fib, fib_writer) = Fib::new(setup.fib, quiescence.clone()).unwrap();
        let (fib6, fib6_writer) = Fib::new(setup.fib, quiescence.clone()).unwrap();
        let (adjacencies, adjacency_writer) = Adjacencies::new(4096, quiescence);
        let ports = Ports::new(usize::from(setup.ports));
        let tables = Arc::new(Tables { fib, fib6, adjacencies, customers: readers, ports });
        let (requests_to, requests): (Sender<Request>, _) = crossbeam_channel::bounded(1024);
        let (frames, free) = Frames::in_memory_of(setup.frames, setup.chunk_shift);
        let mut bench = Workbench {
            row: 1,
            counters: &mut counters,
            tables: tables.clone(),
            requests: requests_to,
            clock: setup.clock,
            seed: setup.seed,
            rtt: setup.rtt,
            shaper: setup.shaper.clone(),
        };
        let mut ends = Exchange::between(vec![Waker::noop().clone(); setup.workers]).into_iter();
        let pool = FramePool::new(frames.clone(), free);
        let graph = Graph::new(&shape, &mut bench, pool).unwrap().with_exchange(ends.next().unwrap());
        let others = ends.map(|end| (end, FramePool::new(frames.clone(), Vec::new()))).collect();
        for port in 0..setup.ports {
            tables.ports.set_mac(port, port_mac(port));
            tables.ports.set_mtu(port, 1500);
        }
        let reader = Reader::of(counters.segment()).unwrap();
        let find = |path| reader.find(path).unwrap().unwrap_or_else(|| panic!("{path} is not registered"));
        let books = Books {
            received: find("/if/rx"),
            created: find("/sys/node/created"),
            held: find("/sys/node/held"),
            errors: find("/node/errors"),
            events: find("/node/events"),
            drops: find("/if/drops"),
            reader,
        };
        Router {
            graph,
            shape,
            tables,
            fib: fib_writer,
            fib6: fib6_writer,
            adjacencies: adjacency_writer,
            customers,
            requests,
            // Later than the processor's own time will ever be: a node's beginning is never before its run's.
            now: if setup.rtt.is_some() { 1 << 60 } else { HZ },
            fed: 0,
            sent: 0,
            others,
            counters,
            books,
            told_drops: Tally::new(),
            told_events: Tally::new(),
        }
    }

    /// Sets a port's own address, of either version.
    pub fn address(&mut self, port: u16, address: &str) {
        match address.parse().unwrap() {
            IpAddr::V4(address) => self.tables.ports.set_address(port, Some(address)),
            IpAddr::V6(address) => self.tables.ports.set_address6(port, Some(address)),
        }
    }

    /// Makes a port a VLAN of another one. Once for each carrier.
    pub fn sub_interface(&mut self, carrier: u16, tags: Tags, port: u16) {
        self.tables.ports.set_sub_interfaces(carrier, &[(tags, port)]);
    }

    fn path(&self, port: u16, address: &str, mtu: u16) -> Path {
        Path { port, mtu, next_hop: Some(address.parse().unwrap()), tags: self.tables.ports.tags(port) }
    }

    /// A next hop that is known: its MAC address is [`neighbour_mac`].
    pub fn neighbour(&mut self, port: u16, address: &str, mtu: u16) -> AdjacencyIndex {
        let index = self.incomplete(port, address, mtu);
        self.resolve(index, port, address, mtu);
        index
    }

    /// A next hop whose MAC address is not known.
    pub fn incomplete(&mut self, port: u16, address: &str, mtu: u16) -> AdjacencyIndex {
        let path = self.path(port, address, mtu);
        self.adjacencies.allocate(path).unwrap()
    }

    /// Makes known the MAC address of an incomplete next hop.
    pub fn resolve(&mut self, index: AdjacencyIndex, port: u16, address: &str, mtu: u16) {
        let mut header = link_header(neighbour_mac(address), port_mac(port));
        if address.parse::<IpAddr>().unwrap().is_ipv6() {
            header[12..].copy_from_slice(&[0x86, 0xdd]);
        }
        let path = self.path(port, address, mtu);
        assert!(self.adjacencies.set_rewrite(index, header, path).unwrap());
    }

    /// A connected network's next hop: each destination is its own neighbour.
    pub fn glean(&mut self, port: u16, mtu: u16) -> AdjacencyIndex {
        self.adjacencies.allocate_glean(Path { port, mtu, next_hop: None, tags: Tags::NONE }).unwrap()
    }

    /// Sets a route of either version to one next hop, or to several of equal weight.
    pub fn route(&mut self, prefix: &str, next_hops: &[AdjacencyIndex]) {
        let next_hops: Vec<_> = next_hops.iter().map(|index| NextHop::from(*index)).collect();
        if let Ok(prefix) = prefix.parse() {
            self.fib6.insert(prefix, &next_hops).unwrap();
        } else {
            self.fib.insert(prefix.parse().unwrap(), &next_hops).unwrap();
        }
        self.counters.grow_combined(&ip4_lookup::ROUTE_COUNTERS, self.fib.len() + 1).unwrap();
        self.counters.grow_combined(&ip6_lookup::ROUTE_COUNTERS, self.fib6.len() + 1).unwrap();
    }

    /// Makes the counters of all next hops visible in the segment.
    pub fn show_next_hops(&mut self) {
        let columns = self.tables.adjacencies.capacity();
        self.counters.grow_combined(&weir_graph::graph::ADJACENCY_COUNTERS, columns).unwrap();
    }

    /// Puts a packet where a port's receive burst would put it. `false`: too few frames are free, or the bytes are more than a packet holds.
    #[must_use]
    pub fn offer(&mut self, port: u16, bytes: &[u8]) -> bool {
        self.offer_cut(port, bytes, &[])
    }

    /// As [`Router::offer`], with so many bytes in the first frame, in the second, and so on; what is left goes on in full frames.
    #[must_use]
    pub fn offer_cut(&mut self, port: u16, bytes: &[u8], cuts: &[usize]) -> bool {
        let (pool, input) = self.graph.receive();
        let frames = pool.frames().clone();
        let mut rest = bytes;
        let mut cuts = cuts.iter().map(|cut| (*cut).clamp(1, frames.room()));
        let mut part = || {
            let part;
            (part, rest) = rest.split_at(rest.len().min(cuts.next().unwrap_or(frames.room())));
            part
        };
        let fill = |pool: &mut FramePool, bytes: &[u8]| {
            let mut packet = pool.allocate(bytes.len(), port)?;
            frames.bytes_mut(&mut packet).copy_from_slice(bytes);
            Some(packet)
        };
        let Some(packet) = fill(pool, part()) else { return false };
        let mut chain = Chain::new(packet);
        loop {
            let bytes = part();
            if bytes.is_empty() {
                break;
            }
            let Some(packet) = fill(pool, bytes) else {
                pool.recycle(chain.into_packet());
                return false;
            };
            for Part { frame, start, len } in frames.parts(packet) {
                if let Err(frame) = chain.push(&frames, frame, start.into(), len.into()) {
                    pool.put(frame);
                    pool.recycle(chain.into_packet());
                    return false;
                }
            }
        }
        input.push(chain.finish(&frames, |frame| pool.put(frame)));
        self.fed += 1;
        true
    }

    /// As [`Router::offer`], for frames that must fit.
    pub fn feed(&mut self, port: u16, bytes: &[u8]) {
        assert!(self.offer(port, bytes), "no frame for {} bytes", bytes.len());
    }

    /// Runs the graph; what left by the ports, port by port, in order.
    pub fn run(&mut self) -> Vec<Sent> {
        self.graph.run(self.now);
        self.graph.publish();
        self.take_sent()
    }

    /// Lets nodes release what is due, and runs.
    pub fn release(&mut self) -> Vec<Sent> {
        self.graph.release(self.now);
        self.graph.publish();
        self.take_sent()
    }

    /// Lets time pass, in ticks, and nodes release what is due then.
    pub fn pass(&mut self, ticks: u64) -> Vec<Sent> {
        self.now += ticks;
        self.release()
    }

    /// Feeds one frame and runs.
    pub fn forward(&mut self, port: u16, bytes: &[u8]) -> Vec<Sent> {
        self.feed(port, bytes);
        self.run()
    }

    /// Makes all nodes give up what they hold.
    pub fn drain(&mut self) -> Vec<Sent> {
        self.graph.drain(self.now);
        self.graph.publish();
        self.take_sent()
    }

    /// Follows packets from a node on.
    pub fn trace(&mut self, count: u16, node: &str) -> Receiver<TraceRecord> {
        let (records_to, records) = crossbeam_channel::bounded(1024);
        let node = self.shape.node(node).unwrap();
        self.graph.trace(TraceOrder { count, node }, records_to);
        records
    }

    /// Number of a drop reason.
    pub fn reason(&self, node: &str, reason: &str) -> ReasonIndex {
        self.shape.reason(node, reason).unwrap_or_else(|| panic!("no reason {node}/{reason}"))
    }

    /// All drops so far.
    pub fn all_drops(&self) -> Tally {
        let labels = self.shape.reasons();
        tally(labels, &self.simple(&self.books.errors))
    }

    /// All events so far.
    pub fn all_events(&self) -> Tally {
        let nodes = self.shape.nodes().iter();
        let labels = nodes.flat_map(|node| node.events.iter().map(|event| (node.name, *event)));
        tally(labels, &self.simple(&self.books.events))
    }

    /// Drops since the last call.
    pub fn drops(&mut self) -> Tally {
        let all = self.all_drops();
        let told = std::mem::replace(&mut self.told_drops, all.clone());
        since(&all, &told)
    }

    /// Events since the last call.
    pub fn events(&mut self) -> Tally {
        let all = self.all_events();
        let told = std::mem::replace(&mut self.told_events, all.clone());
        since(&all, &told)
    }

    /// What a port counted as received: packets and bytes.
    pub fn received(&self, port: u16) -> (u64, u64) {
        self.combined_at("/if/rx", usize::from(port))
    }

    /// Column `column` of a vector of packets and bytes, in the worker's row.
    pub fn combined_at(&self, path: &str, column: usize) -> (u64, u64) {
        let reader = &self.books.reader;
        match reader.read(&reader.find(path).unwrap().unwrap()).unwrap() {
            Value::Combined(rows) => (rows[1][column].packets, rows[1][column].bytes),
            other => panic!("{path} is {other:?}"),
        }
    }

    /// Column `column` of a counter vector, in the worker's row.
    pub fn simple_at(&self, path: &str, column: usize) -> u64 {
        self.simple(&self.books.reader.find(path).unwrap().unwrap())[column]
    }

    /// Counts and frees what waits to be sent, without looking at it; allocates nothing.
    pub fn send_blindly(&mut self) -> u64 {
        let mut count = 0;
        for port in 0..self.tables.ports.count() {
            let (pool, list) = self.graph.transmit(port);
            count += list.len() as u64;
            for packet in list.drain(..) {
                pool.recycle(packet);
            }
        }
        self.sent += count;
        count
    }

    fn take_sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        for port in 0..self.tables.ports.count() {
            let (pool, list) = self.graph.transmit(port);
            for packet in list.drain(..) {
                assert_eq!(usize::from(packet.tx_port), port);
                let mut frame = vec![0; usize::from(packet.len())];
                pool.frames().read(&packet, 0, &mut frame);
                sent.push(Sent { port: port as u16, frame });
                pool.recycle(packet);
            }
        }
        self.sent += sent.len() as u64;
        self.check();
        sent
    }

    /// The books: called after every turn, with nothing left in the ports' lists.
    pub fn check(&mut self) {
        let sum = |entry| self.simple(entry).iter().sum::<u64>();
        let received = match self.books.reader.read(&self.books.received).unwrap() {
            Value::Combined(rows) => rows[1].iter().map(|pair| pair.packets).sum::<u64>(),
            other => panic!("/if/rx is {other:?}"),
        };
        let (created, dropped) = (sum(&self.books.created), sum(&self.books.errors));
        let (held, frames_held) = (sum(&self.books.held), self.graph.held() as u64);
        let waiting: usize =
            (0..self.tables.ports.count()).map(|port| self.graph.transmit(port).1.len()).sum();
        assert_eq!(waiting, 0, "the ports' lists have been taken");
        let sum = |entry| self.simple(entry).iter().sum::<u64>();
        assert_eq!(received, self.fed, "frames that ports counted as received, and frames fed");
        assert!(
            held <= frames_held && (held == 0) == (frames_held == 0),
            "{held} packets in {frames_held} frames"
        );
        assert_eq!(sum(&self.books.drops), dropped, "drops by port, and drops by reason");
        let events = self.all_events();
        let event = |name| events.get(&("hand-off", name)).copied().unwrap_or(0);
        let (given, taken) = (event("given"), event("taken"));
        assert_eq!(
            received + created + taken,
            self.sent + dropped + held + given,
            "{received} received + {created} created + {taken} taken = {} sent + {dropped} dropped + {held} held + {given} given",
            self.sent
        );
        let free = self.graph.pool().available() as u64;
        let all = u64::from(self.graph.pool().frames().count());
        let own = all.saturating_add_signed(self.graph.exchange().surplus() as i64);
        assert_eq!(free + frames_held, own, "{free} frames free + {frames_held} held = own {own} of {all}");
    }

    fn simple(&self, entry: &Entry) -> Vec<u64> {
        match self.books.reader.read(entry).unwrap() {
            Value::Simple(mut rows) => rows.swap_remove(1),
            other => panic!("{} is {other:?}", entry.name),
        }
    }
}

fn tally(labels: impl Iterator<Item = Label>, counts: &[u64]) -> Tally {
    labels.zip(counts).filter(|(_, count)| **count > 0).map(|(label, count)| (label, *count)).collect()
}

fn since(all: &Tally, told: &Tally) -> Tally {
    let new = |(label, count): (&Label, &u64)| (*label, count - told.get(label).copied().unwrap_or(0));
    all.iter().map(new).filter(|(_, count)| *count > 0).collect()
}

/// The MAC address of a port of the router.
pub fn port_mac(port: u16) -> [u8; 6] {
    let [high, low] = port.to_be_bytes();
    [0x02, 0, 0, 0, high, low]
}

/// The MAC address of a neighbour, by its address.
pub fn neighbour_mac(address: &str) -> [u8; 6] {
    match address.parse().unwrap() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [0x06, 0, a, b, c, d]
        }
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [0x06, 6, a, b, c, d]
        }
    }
}

/// An Ethernet header for IPv4.
pub fn link_header(destination: [u8; 6], source: [u8; 6]) -> [u8; 14] {
    let mut header = [0; 14];
    header[..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(&[0x08, 0x00]);
    header
}
