//! Whose packets are, through the whole graph: what customers are counted for, and which worker has a shaped customer's packets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::collections::BTreeSet;

use harness::{
    HZ, Router, Setup,
    access::{self, Access, Host},
    bridge::{LAN, WAN, bridge_with},
    datagram::Datagram,
    town::{self, EAST, NARROW, WEST, town_with},
};
use weir_graph::{
    customers::Customer,
    latency,
    nodes::shaper,
    ports::Side,
    round_trips::{COMBINED_BY_CUSTOMER, LATENCY_BY_CUSTOMER, SIMPLE_BY_CUSTOMER},
    shaped::Capacity,
    shaper::Settings,
};
use weir_stats::{Reader, Value};

/// Alice and Bob, both with both versions.
const CUSTOMERS: [(&str, u32); 4] =
    [("10.0.0.2/32", 1), ("2001:db8:0:100::/56", 1), ("10.0.0.0/24", 2), ("2001:db8:0:200::1/128", 2)];
const ALICE: Host = ["10.0.0.2", "2001:db8:0:1ff::7"];
const BOB: Host = ["10.0.0.3", "2001:db8:0:200::1"];
const SERVER: Host = ["192.0.2.7", "2001:db9::7"];
/// Nobody's either.
const OTHER: Host = ["192.0.2.9", "2001:db9::9"];
/// Bytes of user data.
const DATA: usize = 40;

fn become_customers(router: &mut Router, list: &[(&str, u32)]) {
    let list = list.iter().map(|(text, column)| (access::prefix(text), Customer::of_column(*column)));
    router.customers.as_mut().unwrap().replace(list).unwrap();
}

/// A frame from one to the other.
fn udp(access: Access, from: Host, to: Host, port: u16) -> Vec<u8> {
    framed(access, &access.udp((from, port), (to, 53), DATA))
}

fn framed(access: Access, packet: &[u8]) -> Vec<u8> {
    access.frame([4; 6], [2; 6], packet)
}

/// Packets and bytes by customer's column.
fn counted(router: &mut Router, path: &str) -> Vec<(u64, u64)> {
    let reader = Reader::of(router.counters.segment()).unwrap();
    let Value::Combined(rows) = reader.read(&reader.find(path).unwrap().unwrap()).unwrap() else { panic!() };
    rows[1].iter().map(|pair| (pair.packets, pair.bytes)).collect()
}

fn measuring() -> Router {
    let mut router = bridge_with(&Setup::measuring());
    become_customers(&mut router, &CUSTOMERS);
    for vector in COMBINED_BY_CUSTOMER {
        router.counters.grow_combined(vector, 3).unwrap();
    }
    for vector in SIMPLE_BY_CUSTOMER {
        router.counters.grow_simple(vector, 3).unwrap();
    }
    for vector in LATENCY_BY_CUSTOMER {
        router.counters.grow_simple(vector, 3 * latency::WIDTH).unwrap();
    }
    router
}

#[test]
fn a_mixed_vector_counts_for_those_whose_packets_they_are() {
    let mut router = measuring();
    let arp = [&[0xff; 6][..], &[4; 6], &[8, 6], &[0; 28]].concat();
    let (mut up, mut down) = (vec![(0, 0); 3], vec![(0, 0); 3]);
    // More than a vector, no two neighbours alike.
    for at in 0..600_u16 {
        let access = Access::ALL[usize::from(at) % Access::ALL.len()];
        let frame = match at % 5 {
            0 => arp.clone(),
            1 => udp(access, ALICE, SERVER, at),
            2 => udp(access, SERVER, BOB, at),
            3 => udp(access, BOB, ALICE, at),
            _ => udp(access, SERVER, OTHER, at),
        };
        let bytes = frame.len() as u64;
        let count = |of: &mut Vec<(u64, u64)>, column: usize| {
            of[column] = (of[column].0 + 1, of[column].1 + bytes);
        };
        match at % 5 {
            1 => count(&mut up, 1),
            2 => count(&mut down, 2),
            3 => {
                count(&mut up, 2);
                count(&mut down, 1);
            }
            _ => {}
        }
        router.feed(LAN, &frame);
    }
    assert_eq!(router.run().len(), 600);
    assert_eq!(counted(&mut router, "/customers/up"), up);
    assert_eq!(counted(&mut router, "/customers/down"), down);
}

#[test]
fn round_trips_count_for_their_customers_whatever_their_packets_wear() {
    for access in Access::ALL {
        let mut router = measuring();
        let segment = |back: bool, flags: &str, sequence, acknowledgement, timestamps: (u32, u32)| {
            let (from, to, ports) =
                if back { (SERVER, ALICE, (443, 5000)) } else { (ALICE, SERVER, (5000, 443)) };
            let option = etherparse::TcpOptionElement::Timestamp(timestamps.0, timestamps.1);
            let builder = access.ip(from, to).tcp(ports.0, ports.1, sequence, 64_000);
            let mut builder = builder.options(&[option]).unwrap();
            for flag in flags.chars() {
                builder = if flag == 'S' { builder.syn() } else { builder.ack(acknowledgement) };
            }
            let mut packet = Vec::new();
            builder.write(&mut packet, &[7; 4][..if flags == "A" { 4 } else { 0 }]).unwrap();
            framed(access, &packet)
        };
        for (port, frame) in [
            (LAN, segment(false, "S", 99, 0, (10, 0))),
            (WAN, segment(true, "SA", 499, 100, (70, 10))),
            (LAN, segment(false, "A", 100, 500, (20, 70))),
            (WAN, segment(true, "A", 500, 104, (80, 20))),
        ] {
            assert_eq!(router.forward(port, &frame).len(), 1);
            router.pass(3_000);
        }
        let mut sum = |path: &str, column: usize| -> u64 {
            let reader = Reader::of(router.counters.segment()).unwrap();
            let Value::Simple(rows) = reader.read(&reader.find(path).unwrap().unwrap()).unwrap() else {
                panic!()
            };
            rows[1][column * latency::WIDTH..][..latency::WIDTH - 1].iter().sum()
        };
        // The server's answer to Alice's data: what is beyond weir on her other side.
        let (wan, lan) = (
            [0, 1, 2].map(|at| sum("/rtt/customers/wan", at)),
            [0, 1, 2].map(|at| sum("/rtt/customers/lan", at)),
        );
        assert_eq!((wan, lan), ([0, 1, 0], [0; 3]), "{}", access.name);
    }
}

/// As many as are given to other workers in a test: none comes back.
const FRAMES: u32 = 1 << 14;

/// A shaper without a plan: nothing waits.
fn shaped(workers: usize) -> Setup {
    let settings = Settings {
        hz: HZ,
        leaves: 16,
        nodes: 16,
        tins: 64,
        flows: 256,
        packets: 512,
        frame: 2048,
        mtu: 1514,
    };
    let setup = shaper::Setup {
        settings,
        capacity: Capacity { customers: 8, nodes: 8 },
        frames: FRAMES as usize,
        common: None,
    };
    Setup { workers, frames: FRAMES, shaper: Some(setup), ..Setup::default() }
}

/// Which workers the packets that come of a frame end up at.
fn owners(router: &mut Router, port: u16, frame: &[u8]) -> Vec<usize> {
    let mut owners = vec![0; router.forward(port, frame).len()];
    for (worker, (end, pool)) in (1..).zip(&mut router.others) {
        let mut packets = Vec::new();
        end.take(&mut packets, pool);
        for packet in packets {
            owners.push(worker);
            pool.recycle(packet);
        }
    }
    owners
}

#[test]
fn all_packets_of_a_shaped_customer_meet_one_worker() {
    for workers in [2, 3, 5] {
        let mut router = bridge_with(&shaped(workers));
        become_customers(&mut router, &CUSTOMERS);
        let mut by_flow = BTreeSet::new();
        for (port, access) in (1000..1040).flat_map(|port| Access::ALL.map(|access| (port, access))) {
            let name = access.name;
            for (column, own) in [(1, ALICE), (2, BOB)] {
                let (up, down) = (udp(access, own, SERVER, port), udp(access, SERVER, own, port));
                assert_eq!(owners(&mut router, LAN, &up), [column % workers], "{name}");
                assert_eq!(owners(&mut router, WAN, &down), [column % workers], "{name}");
            }
            // Between the two: where it goes.
            let between = udp(access, BOB, ALICE, port);
            assert_eq!(owners(&mut router, WAN, &between), [1 % workers], "{name}");
            by_flow.extend(owners(&mut router, WAN, &udp(access, SERVER, OTHER, port)));
            let whole = access.udp((BOB, port), (SERVER, 53), 64);
            for piece in access.pieces(&whole, 24, port) {
                assert_eq!(owners(&mut router, LAN, &framed(access, &piece)), [2 % workers], "{name}");
            }
        }
        assert_eq!(by_flow.len(), workers, "what is nobody's is spread over all");
    }
}

#[test]
fn the_pieces_of_what_a_router_cuts_meet_their_customers_worker() {
    let mut router = town_with(&shaped(3));
    router.tables.ports.set_side(NARROW, Side::Lan);
    router.tables.ports.set_side(EAST, Side::Wan);
    for (column, expected) in [(1, 1), (2, 2), (3, 0)] {
        become_customers(&mut router, &[("203.0.113.0/24", column)]);
        let large = Datagram::udp(town::FAR_NARROW, 1400);
        assert_eq!(owners(&mut router, WEST, &large.frame(WEST)), [expected; 3]);
        // Towards the internet it is the sender that counts, and that is nobody here.
        become_customers(&mut router, &[("192.0.2.0/24", column)]);
        let ports = 1000..1040;
        let found: BTreeSet<_> = ports
            .flat_map(|port| {
                let frame = Datagram::udp_ports(town::FAR, port, 53, 8).frame(WEST);
                owners(&mut router, WEST, &frame)
            })
            .collect();
        assert_eq!(found.len(), 3);
    }
}

#[test]
fn customers_come_and_go_while_packets_flow() {
    let mut router = bridge_with(&shaped(4));
    let frames: Vec<_> =
        (1000..1040).flat_map(|port| Access::ALL.map(|access| udp(access, ALICE, SERVER, port))).collect();
    let found = |router: &mut Router| -> BTreeSet<usize> {
        frames.iter().flat_map(|frame| owners(router, LAN, frame)).collect()
    };
    assert_eq!(found(&mut router).len(), 4, "nobody is a customer");
    for column in [1, 2, 7] {
        become_customers(&mut router, &[("10.0.0.0/8", column), ("2001:db8::/32", column)]);
        assert_eq!(found(&mut router), [column as usize % 4].into());
    }
    become_customers(&mut router, &[("10.0.0.0/8", 7)]);
    assert_eq!(found(&mut router).len(), 4, "of IPv6 there is none");
    become_customers(&mut router, &[]);
    assert_eq!(found(&mut router).len(), 4);
}
