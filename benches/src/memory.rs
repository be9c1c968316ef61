//! A router in memory: one worker's graph over frames in ordinary memory, so that what is measured is weir and not the kernel.
//!
//! Packets wait in frames that are used in turn, like those of a ring, so their headers come from the second-level cache, not from the
//! first. What a packet costs is read off the time-stamp counter around [`Graph::run`], from `ethernet-input` to `tx`, every node's statistics included.

use std::{net::Ipv4Addr, sync::Arc, task::Waker};

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
    nodes::{ROUTE, classify, hand_off, shaper, tcp_rtt_match, tcp_rtt_stamp},
    packet::Packet,
    ports::Ports,
    quiescence::Quiescence,
    round_trips, rtt,
    wire::{ethernet, ip4},
};
use weir_stats::{Options, Reader, Segment, Value};

use crate::tcp::{HEADERS, TcpFlows};

/// Frames that packets are taken from in turn: twice as many as the rings of a port hold.
const RING: usize = 4096;
/// Bytes of a packet: the smallest Ethernet frame without its check sequence holds 60; 64 with it, as benchmarks count.
const LENGTH: usize = 60;
/// Bytes of Ethernet's header.
const LINK: usize = ethernet::LENGTH;
/// Bytes of data in a TCP segment that has any.
const PAYLOAD: u16 = 6;
/// Bytes of a TCP packet.
const TCP_LENGTH: usize = LINK + HEADERS + PAYLOAD as usize;
const PORT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// From a neighbour to the port, IPv4.
const LINK_HEADER: [u8; LINK] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 8, 8, 0];
/// Where the addresses of TCP's senders begin.
const SENDERS: u32 = 10 << 24;
/// Customers that there is room for, as in a weir that lists few.
const CUSTOMERS: usize = 1 << 17;

/// What a router is made with.
#[derive(Clone, Copy)]
pub struct Setup {
    /// 1 gives one default route, more give so many /24 networks from 11.0.0.0 on. Every packet goes to an address drawn at random from them.
    pub routes: u32,
    /// Workers, which all run on this thread, one after the other. Each receives as much as the others, and gives to the others what is theirs.
    pub workers: usize,
    /// TCP of so many flows, at random, instead of UDP; 0: UDP. It goes by the default route.
    pub flows: usize,
    /// Measure round-trip times, and count by customer: each sender of a TCP flow is one.
    pub measured: bool,
}

/// A router without ports.
pub struct MemoryRouter {
    /// By worker.
    graphs: Vec<Graph>,
    frames: Arc<Frames>,
    /// Packets that are ready to be received, oldest first.
    waiting: std::collections::VecDeque<Packet>,
    routes: u32,
    flows: Option<TcpFlows>,
    random: Random,
    reader: Reader,
    _writer: FibWriter,
    _counters: Counters,
}

/// What one round measured.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Packets forwarded.
    pub packets: u64,
    /// Ticks of the time-stamp counter that they took.
    pub ticks: u64,
}

/// A pseudo-random sequence (xorshift64*), so that runs can be repeated.
pub struct Random(pub u64);

impl Random {
    /// The next number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(number) * u128::from(end)) >> 64) as u32
    }
}

impl MemoryRouter {
    /// Builds the router and loads its routes.
    pub fn new(setup: &Setup) -> Result<MemoryRouter, Box<dyn std::error::Error>> {
        let segment = Segment::create(Options { workers: setup.workers, ..Options::default() })?;
        let reader = Reader::of(&segment)?;
        let mut counters = Counters::new(segment);
        let mut without = vec![shaper::REGISTRATION.name];
        if !setup.measured {
            without.extend([tcp_rtt_match::REGISTRATION.name, tcp_rtt_stamp::REGISTRATION.name]);
            without.push(classify::REGISTRATION.name);
        }
        if setup.workers == 1 {
            without.push(hand_off::REGISTRATION.name);
        }
        let shape = Arc::new(Shape::new(ROUTE, &without)?);
        shape.register(&mut counters)?;
        let ports = Ports::new(2);
        ports.set_mac(0, PORT_MAC);
        let quiescence = Quiescence::new(1);
        let (fib, mut writer) = Fib::new(FibLimits::default(), quiescence.clone())?;
        let (adjacencies, mut adjacency_writer) = Adjacencies::new(16, quiescence.clone());
        let path = Path { port: 1, mtu: 1500, next_hop: u32::from(Ipv4Addr::new(10, 0, 2, 2)) };
        let adjacency = adjacency_writer.allocate(path)?;
        adjacency_writer.set_rewrite(adjacency, [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2, 8, 0], path)?;
        let next_hops = [NextHop { adjacency, weight: 1 }];
        let mut routes = 0;
        if setup.routes == 1 {
            writer.insert(Prefix4::DEFAULT, &next_hops)?;
        } else {
            for route in 0..setup.routes {
                routes = routes.max(writer.insert(Prefix4::new(network(route), 24)?, &next_hops)?.as_u32());
            }
        }
        let clock = Clock::calibrate();
        let flows = (setup.flows > 0).then(|| TcpFlows::new(setup.flows, clock));
        let mut customers = None;
        if setup.measured {
            round_trips::register(&mut counters)?;
            let (table, mut writer) = Customers::new(CUSTOMERS, quiescence)?;
            let senders = flows.as_ref().map_or(0, TcpFlows::senders);
            let sender = |at| Ok((Prefix4::new(SENDERS + at, 32)?.into(), Customer::of_column(at)));
            writer.replace((0..senders).map(sender).collect::<Result<Vec<_>, PrefixError>>()?)?;
            customers = Some(table);
        }
        let tables = Arc::new(Tables { fib, adjacencies, customers, ports });
        let (frames, mut ids) = Frames::in_memory((1 + setup.workers as u32) * RING as u32);
        let (requests, _) = crossbeam_channel::bounded(1);
        let mut graphs = Vec::new();
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
                shaper: None,
                rtt: setup.measured.then(|| rtt::Settings::new(clock, setup.flows.max(1024) * 2)),
            };
            graphs.push(Graph::new(&shape, &mut bench, pool)?.with_exchange(exchange));
        }
        counters.grow_combined(&weir_graph::nodes::ip4_lookup::ROUTE_COUNTERS, routes as usize + 1)?;
        let length = if flows.is_some() { TCP_LENGTH } else { LENGTH };
        let mut waiting = std::collections::VecDeque::with_capacity(RING);
        for id in ids {
            match frames.packet(id, usize::from(frames.headroom()), length, 0) {
                Ok(packet) => waiting.push_back(packet),
                Err(_) => return Err("a frame is too small".into()),
            }
        }
        let mut router = MemoryRouter {
            graphs,
            frames,
            waiting,
            routes: setup.routes.max(1),
            flows,
            random: Random(0x5eed),
            reader,
            _writer: writer,
            _counters: counters,
        };
        let waiting = std::mem::take(&mut router.waiting);
        router.waiting = waiting
            .into_iter()
            .map(|mut packet| {
                router.write(&mut packet);
                packet
            })
            .collect();
        Ok(router)
    }

    /// Writes a fresh packet: of a flow, or to an address of one of the routes.
    fn write(&mut self, packet: &mut Packet) {
        let frame = self.frames.bytes_mut(packet);
        match &mut self.flows {
            Some(flows) => {
                frame.fill(0);
                frame[..LINK].copy_from_slice(&LINK_HEADER);
                if let Some(headers) = frame.get_mut(LINK..).and_then(|rest| rest.first_chunk_mut()) {
                    let flow = flows.any();
                    flows.write(flow, PAYLOAD, clock::now(), headers);
                }
            }
            None => {
                let destination = network(self.random.below(self.routes)) + self.random.below(256);
                frame.copy_from_slice(&datagram(destination));
            }
        }
    }

    /// Forwards `vectors` vectors of `size` packets for each worker and measures only the graphs.
    pub fn round(&mut self, vectors: usize, size: usize) -> Round {
        let size = size.min(VECTOR);
        let mut round = Round { packets: 0, ticks: 0 };
        for _ in 0..vectors {
            for graph in &mut self.graphs {
                graph.input().extend(self.waiting.drain(..size));
            }
            let begin = clock::now();
            let mut now = begin;
            for graph in &mut self.graphs {
                now = graph.run(now);
            }
            for graph in &mut self.graphs {
                if graph.take_given() {
                    now = graph.run(now);
                }
            }
            round.ticks += clock::now().wrapping_sub(begin);
            for at in 0..self.graphs.len() {
                let (_, sent) = self.graphs[at].transmit(1);
                let mut sent = std::mem::take(sent);
                round.packets += sent.len() as u64;
                for packet in sent.drain(..) {
                    // Forwarded packets come back as received ones: fresh bytes, nothing known about them.
                    let length = if self.flows.is_some() { TCP_LENGTH } else { LENGTH };
                    let headroom = usize::from(self.frames.headroom());
                    match self.frames.packet(self.frames.free(packet), headroom, length, 0) {
                        Ok(mut packet) => {
                            self.write(&mut packet);
                            self.waiting.push_back(packet);
                        }
                        Err(_) => return round,
                    }
                }
                *self.graphs[at].transmit(1).1 = sent; // its memory, to be used again
            }
        }
        round
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

/// The network of a route.
fn network(route: u32) -> u32 {
    (11 << 24) + (route << 8)
}

/// A UDP packet to `destination`, 64 bytes with the check sequence that is not there.
fn datagram(destination: u32) -> [u8; LENGTH] {
    let mut frame = [0; LENGTH];
    frame[..LINK].copy_from_slice(&LINK_HEADER);
    let total = (LENGTH - 14) as u16;
    if let Some(mut header) = ip4::Ip4Mut::new(&mut frame[14..]) {
        header.set_lengths(ip4::LENGTH, total);
        header.set_ttl_protocol(64, ip4::UDP);
        header.set_addresses(u32::from(Ipv4Addr::new(10, 0, 1, 2)), destination);
    }
    ip4::write_checksum(&mut frame[14..34]);
    frame[34..38].copy_from_slice(&[0x10, 0x00, 0x20, 0x00]);
    frame[38..40].copy_from_slice(&(total - 20).to_be_bytes());
    frame
}
