//! What tags, labels and sessions cost a bridge, in memory: clocks of the time-stamp counter a packet, from `l2-cross-connect` to `tx`, all counters on.
//!
//! The same packets in each encapsulation, in vectors of 256, headers in the second-level cache. Rounds of all cases take turns, so that what else runs on the
//! machine meets all of them; the least of many is shown, and what it is more than without anything before IP.

use std::{collections::VecDeque, sync::Arc};

use clap::Parser;
use weir_benches::tcp::{HEADERS, TcpFlows, senders};
use weir_graph::{
    adjacency::Adjacencies,
    clock::{self, Clock},
    counters::Counters,
    customers::{Customer, Customers},
    fib::{Fib, FibLimits, Prefix4},
    frames::{FramePool, Frames, HEADROOM},
    graph::{Graph, Shape},
    node::{Tables, VECTOR, Workbench},
    nodes::{BRIDGE, classify, hand_off, shaper, tcp_rtt_match, tcp_rtt_stamp},
    packet::Packet,
    ports::{Across, Ports},
    quiescence::Quiescence,
    round_trips, rtt,
};
use weir_stats::{Options, Segment};

/// What tags, labels and sessions cost a bridge, in memory
#[derive(Parser)]
struct Arguments {
    /// Rounds of each case, which take turns
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Vectors in a round
    #[arg(long, default_value_t = 100)]
    vectors: usize,
    /// The core to run on; default: the last one
    #[arg(long)]
    core: Option<usize>,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
}

/// Frames that packets are taken from in turn, as in `weir-bench-graph`.
const RING: usize = 4096;
/// TCP flows, and customers, of those packets that are measured.
const FLOWS: usize = 1000;
/// Customers that there is room for, as in a weir that lists few.
const CUSTOMERS: usize = 1 << 17;
const MAC_ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 8];

/// What the packets are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// UDP of 46 bytes.
    Ip4,
    /// UDP of 64 bytes.
    Ip6,
    /// TCP over IPv4, of 58 bytes, its round-trip times measured and counted by customer.
    Measured,
}

/// What stands between MAC addresses and IP: name, bytes for IPv4, bytes for IPv6. Of a session's length see [`shell`].
type Encapsulation = (&'static str, &'static [u8], &'static [u8]);

const ENCAPSULATIONS: [Encapsulation; 6] = [
    ("nothing", &[8, 0], &[0x86, 0xdd]),
    ("VLAN", &[0x81, 0, 0, 5, 8, 0], &[0x81, 0, 0, 5, 0x86, 0xdd]),
    ("QinQ", &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5, 8, 0], &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5, 0x86, 0xdd]),
    ("PPPoE", &[0x88, 0x64, 0x11, 0, 0, 7, 0, 0, 0, 0x21], &[0x88, 0x64, 0x11, 0, 0, 7, 0, 0, 0, 0x57]),
    (
        "VLAN, PPPoE",
        &[0x81, 0, 0, 5, 0x88, 0x64, 0x11, 0, 0, 7, 0, 0, 0, 0x21],
        &[0x81, 0, 0, 5, 0x88, 0x64, 0x11, 0, 0, 7, 0, 0, 0, 0x57],
    ),
    ("MPLS, two labels", &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64], &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64]),
];

/// An encapsulation's bytes around `length` bytes of IP.
fn shell((_, four, six): Encapsulation, contents: Contents, length: usize) -> Vec<u8> {
    let mut shell = match contents {
        Contents::Ip6 => six.to_vec(),
        Contents::Ip4 | Contents::Measured => four.to_vec(),
    };
    if let [.., 0x11, 0, _, _, high, low, _, _] = shell.as_mut_slice() {
        [*high, *low] = (length as u16 + 2).to_be_bytes();
    }
    shell
}

/// A bridge without ports, and what its packets wear.
struct Case {
    contents: Contents,
    encapsulation: Encapsulation,
    graph: Graph,
    frames: Arc<Frames>,
    waiting: VecDeque<Packet>,
    flows: TcpFlows,
    /// Bytes before IP.
    before: usize,
    /// Bytes of a frame.
    length: usize,
    /// By round: clocks a packet.
    clocks: Vec<f64>,
    _counters: Counters,
}

impl Case {
    fn new(encapsulation: Encapsulation, contents: Contents) -> Result<Case, Box<dyn std::error::Error>> {
        let mut counters = Counters::new(Segment::create(Options::default())?);
        let mut without = vec![shaper::REGISTRATION.name, hand_off::REGISTRATION.name];
        if contents != Contents::Measured {
            without.extend([classify::REGISTRATION.name, tcp_rtt_match::REGISTRATION.name]);
            without.push(tcp_rtt_stamp::REGISTRATION.name);
        }
        let shape = Arc::new(Shape::new(BRIDGE, &without)?);
        shape.register(&mut counters)?;
        let ports = Ports::new(2);
        for (port, peer) in [(0, 1), (1, 0)] {
            ports.set_mtu(port, 1500);
            ports.set_across(port, Across::Port(peer));
        }
        let quiescence = Quiescence::new(1);
        let (fib, _) = Fib::new(FibLimits::default(), quiescence.clone())?;
        let (fib6, _) = Fib::new(FibLimits::default(), quiescence.clone())?;
        let (adjacencies, _) = Adjacencies::new(16, quiescence.clone());
        let clock = Clock::calibrate();
        let flows = TcpFlows::new(FLOWS, 0, clock);
        let mut customers = None;
        if contents == Contents::Measured {
            round_trips::register(&mut counters)?;
            let (table, mut writer) = Customers::new(CUSTOMERS, quiescence)?;
            let mut list = Vec::new();
            for sender in 0..senders(FLOWS) {
                let prefix = Prefix4::new(0x0a00_0000 + sender, 32)?;
                list.push((prefix.into(), Customer::of_column(sender)));
            }
            writer.replace(list)?;
            customers = Some(table);
        }
        let tables = Arc::new(Tables { fib, fib6, adjacencies, customers, ports });
        let (frames, mut ids) = Frames::in_memory(2 * RING as u32);
        let pool = FramePool::new(frames.clone(), ids.split_off(RING));
        let (requests, _) = crossbeam_channel::bounded(1);
        let mut bench = Workbench {
            row: 1,
            counters: &mut counters,
            tables,
            requests,
            clock,
            seed: 0x77_65_69_72,
            rtt: (contents == Contents::Measured).then(|| rtt::Settings::new(clock, 2 * FLOWS)),
            shaper: None,
        };
        let graph = Graph::new(&shape, &mut bench, pool)?;
        let ip = match contents {
            Contents::Ip4 => 46,
            Contents::Ip6 => 64,
            Contents::Measured => HEADERS + 6,
        };
        let before = MAC_ADDRESSES.len() + shell(encapsulation, contents, ip).len();
        let mut case = Case {
            contents,
            encapsulation,
            graph,
            frames,
            waiting: VecDeque::with_capacity(RING),
            flows,
            before,
            length: before + ip,
            clocks: Vec::new(),
            _counters: counters,
        };
        for id in ids {
            match case.frames.packet(id, usize::from(HEADROOM), case.length, 0) {
                Ok(packet) => case.give(packet),
                Err(_) => return Err("a frame is too small".into()),
            }
        }
        Ok(case)
    }

    /// Writes the packet anew and lets it wait for its turn.
    fn give(&mut self, mut packet: Packet) {
        let frame = self.frames.bytes_mut(&mut packet);
        frame.fill(0);
        let shell = shell(self.encapsulation, self.contents, self.length - self.before);
        frame[..MAC_ADDRESSES.len()].copy_from_slice(&MAC_ADDRESSES);
        frame[MAC_ADDRESSES.len()..self.before].copy_from_slice(&shell);
        let ip = &mut frame[self.before..];
        match self.contents {
            Contents::Ip4 => {
                ip[..20]
                    .copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1]);
            }
            Contents::Ip6 => ip[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 24, 17, 64]),
            Contents::Measured => {
                let flow = self.flows.any();
                if let Some(headers) = ip.first_chunk_mut() {
                    self.flows.write(flow, 6, clock::now(), headers);
                }
            }
        }
        self.waiting.push_back(packet);
    }

    /// Carries `vectors` full vectors across, and notes what a packet took.
    fn round(&mut self, vectors: usize) {
        let (mut ticks, mut packets) = (0, 0);
        for _ in 0..vectors {
            self.graph.input().extend(self.waiting.drain(..VECTOR));
            let begin = clock::now();
            self.graph.run(begin);
            ticks += clock::now().wrapping_sub(begin);
            let mut sent = std::mem::take(self.graph.transmit(1).1);
            packets += sent.len();
            for packet in sent.drain(..) {
                let frame = self.frames.parts(packet).next().map(|part| part.frame);
                let packet =
                    frame.map(|frame| self.frames.packet(frame, usize::from(HEADROOM), self.length, 0));
                if let Some(Ok(packet)) = packet {
                    self.give(packet);
                }
            }
            *self.graph.transmit(1).1 = sent; // its memory, to be used again
        }
        self.clocks.push(ticks as f64 / packets.max(1) as f64);
    }

    fn least(&self) -> f64 {
        self.clocks.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = arguments.core.map(|id| core_affinity::CoreId { id }).or(cores.last().copied());
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        eprintln!("not pinned: core {} can't be used", core.id);
    }
    let mut documents = Vec::new();
    for (name, contents) in [
        ("IPv4, UDP", Contents::Ip4),
        ("IPv6, UDP", Contents::Ip6),
        ("IPv4, TCP, measured, 63 customers", Contents::Measured),
    ] {
        eprintln!("{name} …");
        let mut cases = ENCAPSULATIONS
            .map(|encapsulation| Case::new(encapsulation, contents))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        for _ in 0..=arguments.rounds {
            cases.iter_mut().for_each(|case| case.round(arguments.vectors));
        }
        let plain = cases.first().map_or(0.0, Case::least);
        for case in &cases {
            let (encapsulation, ..) = case.encapsulation;
            let least = case.least();
            let median = weir_benches::summary::median(case.clocks.iter().copied());
            if arguments.json {
                documents.push(serde_json::json!({
                    "contents": name, "encapsulation": encapsulation, "clocks_least": least,
                    "clocks_median": median, "clocks_more": least - plain,
                }));
            } else {
                println!(
                    "{name}, {encapsulation}: least {least:.1} clocks a packet ({:+.1}), median {median:.1}",
                    least - plain
                );
            }
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&documents)?);
    }
    Ok(())
}
