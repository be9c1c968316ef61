//! Any bytes as a script of frames: what the fuzz target and the ordinary tests run over the whole graph.
//!
//! ```text
//!  a record:  control 1   length 2, big-endian   the frame's bytes (fewer if the script ends before)
//!  control:   bits 0..2   the port
//!             bits 2..4   0 go on: the next frame joins the vector     1 run the graph
//!                         2 run, then a second passes                   3 run, then the neighbours that were asked for answer
//!             bit 4       make the Ethernet header one that the port accepts
//!             bit 5       make the IPv4 header checksum right
//! ```
//! Every frame also comes to a bridge, as it is after bits 4 and 5 have been heeded; there what must leave is known byte for byte.
//!
//! A fuzzer does not guess checksums: without bits 4 and 5 it would hardly ever come past `ip4-input`.

use std::net::Ipv4Addr;

use weir_graph::{adjacency::AdjacencyIndex, fib::Prefix4, node::Request};

use super::{
    HZ, Router, Sent, Setup,
    bridge::{bridge_with, crossing},
    datagram, link_header, neighbour_mac, port_mac, town,
};

pub const JOIN: u8 = 0 << 2;
pub const RUN: u8 = 1 << 2;
pub const RUN_SECOND: u8 = 2 << 2;
pub const RUN_ANSWER: u8 = 3 << 2;
pub const FIX_LINK: u8 = 1 << 4;
pub const FIX_CHECKSUM: u8 = 1 << 5;

/// One record, to make scripts of.
pub fn record(control: u8, frame: &[u8]) -> Vec<u8> {
    let length = u16::try_from(frame.len()).unwrap();
    [&[control], length.to_be_bytes().as_slice(), frame].concat()
}

/// Plays scripts on one router, which is as new before each.
pub struct Player {
    router: Router,
    bridge: Router,
    /// What the bridge must send by each port when it runs next.
    expected: [Vec<Sent>; 4],
    /// Neighbours that have answered in this script.
    answered: Vec<(Prefix4, Answer)>,
}

/// What a neighbour's answer changed.
enum Answer {
    /// A next hop that the town had before.
    Resolved(AdjacencyIndex),
    /// A new next hop, and a route to it.
    Found(AdjacencyIndex),
}

/// Most neighbours that answer in a script; the town's table of next hops has room for more.
const MOST_ANSWERS: usize = 64;

impl Player {
    pub fn new() -> Player {
        Player {
            router: town::town_with(&Setup::measuring()),
            bridge: bridge_with(&Setup::measuring()),
            expected: Default::default(),
            answered: Vec::new(),
        }
    }

    /// Plays a script. Panics where the books do not balance, where a frame leaves that no router may send, or where the graph panics.
    pub fn play(&mut self, script: &[u8]) {
        let mut rest = script;
        while let [control, high, low, tail @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
            let (frame, after) = tail.split_at(length);
            rest = after;
            let port = u16::from(control & 3);
            let mut frame = frame.to_vec();
            repair(&mut frame, port, control & FIX_LINK != 0, control & FIX_CHECKSUM != 0);
            if !self.router.offer(port, &frame) {
                self.run(); // the frames are used up, or this one is larger than any
            }
            if self.bridge.offer(port, &frame)
                && let Ok(sent) = crossing(port, &frame)
            {
                self.expected[usize::from(sent.port)].push(sent);
            }
            match control & 0b1100 {
                JOIN => {}
                RUN => self.run(),
                RUN_SECOND => {
                    self.run();
                    let sent = self.router.pass(HZ);
                    self.judge(&sent);
                }
                _ => {
                    self.run();
                    self.answer();
                    let sent = self.router.pass(HZ / 100);
                    self.judge(&sent);
                }
            }
        }
        self.run();
        let sent = self.router.drain();
        self.judge(&sent);
        assert_eq!(self.router.graph.held(), 0, "nothing is held after a drain");
        self.forget();
    }

    /// Everything that the router has dropped so far, by reason.
    pub fn drops(&self) -> super::Tally {
        self.router.all_drops()
    }

    fn run(&mut self) {
        let sent = self.router.run();
        self.judge(&sent);
        self.bridge.now = self.router.now;
        let across: Vec<Sent> = self.expected.iter_mut().flat_map(|sent| sent.drain(..)).collect();
        assert_eq!(self.bridge.run(), across);
        self.bridge.release();
    }

    /// What holds for every frame that a router sends.
    fn judge(&self, sent: &[Sent]) {
        for Sent { port, frame } in sent {
            assert_eq!(frame[6..12], port_mac(*port), "the port's own MAC address is the source");
            let (header, _) = datagram::parse(frame);
            assert!(header.total_len <= town::MTU[usize::from(*port)], "{header:?} is larger than its link");
            assert!(header.time_to_live > 0, "{header:?}");
        }
    }

    /// The neighbours that the router has asked for answer.
    fn answer(&mut self) {
        while let Ok(Request::Resolve { port, address }) = self.router.requests.try_recv() {
            let prefix = Prefix4::new(address, 32).unwrap();
            if self.answered.len() == MOST_ANSWERS || self.answered.iter().any(|(known, _)| *known == prefix)
            {
                continue;
            }
            let (text, mtu) = (Ipv4Addr::from(address).to_string(), town::MTU[usize::from(port)]);
            let answer = match self.router.fib.get(prefix) {
                Some(route) => {
                    let index = route.next_hops[0].adjacency;
                    self.router.resolve(index, port, &text, mtu);
                    Answer::Resolved(index)
                }
                None => {
                    let index = self.router.neighbour(port, &text, mtu);
                    self.router.route(&prefix.to_string(), &[index]);
                    Answer::Found(index)
                }
            };
            self.answered.push((prefix, answer));
        }
    }

    /// As before the first script: the neighbours that answered are forgotten, and so much time has passed that no rate limit remembers.
    fn forget(&mut self) {
        while self.router.requests.try_recv().is_ok() {}
        for (prefix, answer) in self.answered.drain(..) {
            match answer {
                Answer::Resolved(index) => self.router.adjacencies.set_incomplete(index).unwrap(),
                Answer::Found(index) => {
                    self.router.fib.remove(prefix).unwrap();
                    self.router.adjacencies.free(index).unwrap();
                }
            }
        }
        self.router.now += 100 * HZ;
    }
}

fn repair(frame: &mut [u8], port: u16, link: bool, checksum: bool) {
    if link && let Some(header) = frame.first_chunk_mut::<14>() {
        *header = link_header(port_mac(port), neighbour_mac(&format!("10.0.{port}.2")));
    }
    if checksum && let Some(datagram) = frame.get_mut(14..) {
        let length = datagram.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        if let Some(header) = datagram.get_mut(..length)
            && header.len() >= 20
        {
            let checksum = datagram::header_checksum(header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

/// A stream of numbers that is the same in every run (SplitMix64: Steele, Lea, Flood 2014).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// A script that grew from seeds: bytes changed, cut out, doubled, and parts of another seed put in.
pub fn mutated(seeds: &[(&'static str, Vec<u8>)], numbers: &mut Numbers) -> Vec<u8> {
    let mut script = seeds[numbers.below(seeds.len())].1.clone();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(script.len() + 1);
        match numbers.below(8) {
            0..=3 if at < script.len() => script[at] ^= 1 << numbers.below(8),
            4 if at < script.len() => script[at] = [0, 1, 4, 0x45, 0x7f, 0x80, 0xff][numbers.below(7)],
            5 => {
                let end = (at + numbers.below(16)).min(script.len());
                script.drain(at..end);
            }
            6 => {
                let other = &seeds[numbers.below(seeds.len())].1;
                script.extend_from_slice(other);
            }
            _ => script.insert(at, numbers.next() as u8),
        }
    }
    script
}
