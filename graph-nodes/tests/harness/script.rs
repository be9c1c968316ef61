//! Any bytes as a script of frames: what the fuzz target and the ordinary tests run over the whole graph.
//!
//! ```text
//!  a record:  control 1   length 2, big-endian   the frame's bytes (fewer if the script ends before)
//!  control:   bits 0..2   the port
//!             bits 2..4   0 go on: the next frame joins the vector     1 run the graph
//!                         2 run, then a second passes                   3 run, then the neighbours that were asked for answer
//!             bit 4       make the Ethernet header one that the port accepts: of IPv6 if it says so already, else of IPv4
//!             bit 5       make the IPv4 header checksum right
//!             bit 6       put in the tags of the port's sub-interface, if it has one
//!             bit 7       the frame lies in several buffers
//! ```
//! Every frame also comes to a bridge, as it is after bits 4 to 7 have been heeded; there what must leave is known byte for byte.
//!
//! A fuzzer does not guess checksums, addresses and tags: without bits 4 to 6 it would hardly ever come past the input nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_graph::{
    adjacency::AdjacencyIndex,
    fib::{NextHop, Prefix4, Prefix6},
    node::Request,
};

use super::{
    HZ, Router, Sent, Setup,
    bridge::{bridge_with, crossing},
    datagram, neighbour_mac, packet6, port_mac, town,
};

pub const JOIN: u8 = 0 << 2;
pub const RUN: u8 = 1 << 2;
pub const RUN_SECOND: u8 = 2 << 2;
pub const RUN_ANSWER: u8 = 3 << 2;
pub const FIX_LINK: u8 = 1 << 4;
pub const FIX_CHECKSUM: u8 = 1 << 5;
pub const TAGGED: u8 = 1 << 6;
pub const CUT: u8 = 1 << 7;

/// Where frames with [`CUT`] are cut: in the IP header, in what is pulled up to the first buffer, and behind it.
const CUTS: [usize; 3] = [30, 100, 400];

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
    answered: Vec<(IpAddr, Answer)>,
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
            router: town::suburb_with(&Setup::measuring()),
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
            let frame = repair(frame.to_vec(), port, *control);
            let cuts = if control & CUT == 0 { &[][..] } else { &CUTS };
            if !self.router.offer_cut(port, &frame, cuts) {
                self.run(); // the frames are used up, or this one is larger than any
            }
            if self.bridge.offer_cut(port, &frame, cuts)
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

    fn judge(&self, sent: &[Sent]) {
        sent.iter().for_each(may_leave);
    }

    /// The neighbours that the router has asked for answer.
    fn answer(&mut self) {
        while let Ok(Request::Resolve { port, address }) = self.router.requests.try_recv() {
            if self.answered.len() == MOST_ANSWERS || self.answered.iter().any(|(known, _)| *known == address)
            {
                continue;
            }
            let (text, mtu) = (address.to_string(), town::MTU[usize::from(port)]);
            let known = match address {
                IpAddr::V4(address) => self.router.fib.get(prefix4(address)).map(|route| route.next_hops[0]),
                IpAddr::V6(address) => self.router.fib6.get(prefix6(address)).map(|route| route.next_hops[0]),
            };
            let answer = match known {
                Some(NextHop { adjacency: index, .. }) => {
                    self.router.resolve(index, port, &text, mtu);
                    Answer::Resolved(index)
                }
                None => {
                    let index = self.router.neighbour(port, &text, mtu);
                    let length = if address.is_ipv4() { 32 } else { 128 };
                    self.router.route(&format!("{text}/{length}"), &[index]);
                    Answer::Found(index)
                }
            };
            self.answered.push((address, answer));
        }
    }

    /// As before the first script: the neighbours that answered are forgotten, and so much time has passed that no rate limit remembers.
    fn forget(&mut self) {
        while self.router.requests.try_recv().is_ok() {}
        for (address, answer) in self.answered.drain(..) {
            match answer {
                Answer::Resolved(index) => self.router.adjacencies.set_incomplete(index).unwrap(),
                Answer::Found(index) => {
                    match address {
                        IpAddr::V4(address) => drop(self.router.fib.remove(prefix4(address)).unwrap()),
                        IpAddr::V6(address) => drop(self.router.fib6.remove(prefix6(address)).unwrap()),
                    }
                    self.router.adjacencies.free(index).unwrap();
                }
            }
        }
        self.router.now += 100 * HZ;
    }
}

fn prefix4(address: Ipv4Addr) -> Prefix4 {
    Prefix4::new(address.to_bits(), 32).unwrap()
}

fn prefix6(address: Ipv6Addr) -> Prefix6 {
    Prefix6::new(address.to_bits(), 128).unwrap()
}

/// What holds for every frame that the router of the town or its suburb sends.
pub fn may_leave(sent: &Sent) {
    let (port, frame) = (sent.port, untagged(sent));
    assert_eq!(frame[6..12], port_mac(port), "the port's own MAC address is the source");
    let mtu = town::MTU[usize::from(port)];
    if frame[12..14] == IP6 {
        let (header, payload) = packet6::parse6(&frame);
        assert!(40 + payload.len() <= usize::from(mtu), "{header:?} is larger than its link");
        assert!(header.hop_limit > 0, "{header:?}");
    } else {
        let (header, _) = datagram::parse(&frame);
        assert!(header.total_len <= mtu, "{header:?} is larger than its link");
        assert!(header.time_to_live > 0, "{header:?}");
    }
}

/// The frame without its tags, which must be its port's.
pub fn untagged(Sent { port, frame }: &Sent) -> Vec<u8> {
    let tags = town::tags(*port);
    let end = 12 + tags.length();
    assert_eq!(frame[12..end], tags.bytes()[..tags.length()], "the tags of port {port}");
    [&frame[..12], &frame[end..]].concat()
}

const IP6: [u8; 2] = [0x86, 0xdd];

fn repair(mut frame: Vec<u8>, port: u16, control: u8) -> Vec<u8> {
    if frame.len() < 14 {
        return frame;
    }
    let sub_interface = || [town::ONE, town::TWO].into_iter().find(|sub| town::carrier(*sub) == port);
    let to = if control & TAGGED == 0 { port } else { sub_interface().unwrap_or(port) };
    let is_ip4 = frame[12..14] != IP6;
    if control & FIX_LINK != 0 {
        frame[..6].copy_from_slice(&port_mac(to));
        frame[6..12].copy_from_slice(&neighbour_mac(&format!("10.0.{to}.2")));
        if is_ip4 {
            frame[12..14].copy_from_slice(&[8, 0]);
        }
    }
    if control & FIX_CHECKSUM != 0 && is_ip4 {
        fix_checksum(&mut frame[14..]);
    }
    town::tagged(to, &frame)
}

fn fix_checksum(datagram: &mut [u8]) {
    let length = datagram.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if let Some(header) = datagram.get_mut(..length)
        && header.len() >= 20
    {
        let checksum = datagram::header_checksum(header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
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
