//! What a bridge does: every byte of every frame goes across, the books balance, and what is IP is measured wherever it is packed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::cell::RefCell;
use std::collections::BTreeSet;

use harness::{
    HZ, Router, Sent, Setup,
    access::{Access, Host, Version, extended},
    bridge::{LAN, LAN_VLAN, NOWHERE, STICK, WAN, WAN_VLAN, bridge, bridge_with, crossing, flawed, kinds},
    datagram::Datagram,
    script::{Numbers, mutated},
    seeds::seeds,
};
use proptest::prelude::*;
use weir_graph::{graph::Shape, nodes::BRIDGE};

#[test]
fn every_kind_of_frame_goes_across_byte_for_byte() {
    let mut router = bridge();
    for (name, frame) in kinds() {
        for (from, to) in [(WAN, LAN), (LAN, WAN)] {
            let across = [Sent { port: to, frame: frame.clone() }];
            assert_eq!(router.forward(from, &frame), across, "{name}");
            assert_eq!(crossing(from, &frame).as_ref(), Ok(&across[0]), "{name}: the oracle of other tests");
        }
    }
    assert_eq!(router.all_drops().len(), 0);
    let count = kinds().len() as u64;
    assert_eq!(router.received(WAN).0, count);
    assert_eq!(router.combined_at("/if/rx", usize::from(LAN)).0, count);
    // As IP counts what is IP behind tags and labels and in sessions, and nothing else.
    assert_eq!(router.simple_at("/if/ip4", usize::from(WAN)), 8);
    assert_eq!(router.simple_at("/if/ip6", usize::from(WAN)), 4);
}

#[test]
fn frames_that_contradict_themselves_cross_and_are_counted_by_name() {
    let mut router = bridge_with(&Setup::measuring());
    for (name, event, frame) in flawed() {
        assert_eq!(router.forward(LAN, &frame), [Sent { port: WAN, frame }], "{name}");
        assert_eq!(router.events(), [(("l2-cross-connect", event), 1)].into(), "{name}");
    }
    assert_eq!(router.drops(), [].into());
    // None of them is IP to anybody behind.
    let of_lan = usize::from(LAN);
    assert_eq!((router.simple_at("/if/ip4", of_lan), router.simple_at("/if/ip6", of_lan)), (0, 0));
    for event in BRIDGE[0].events {
        assert!(flawed().iter().any(|(_, reached, _)| reached == event), "{event} is not reached");
    }
}

#[test]
fn extension_headers_are_stepped_over_as_far_as_they_can_be_true() {
    for (name, is_segment, packet) in extended() {
        for access in Access::ALL.into_iter().filter(|access| access.version() == Version::Six) {
            let mut router = bridge_with(&Setup::measuring());
            let mut frame = access.frame([4; 6], [2; 6], &packet);
            let labelled = access.name.contains("mpls") && !access.name.contains("null");
            if labelled && usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40 != packet.len() {
                continue; // what is not as long as it says is a pseudowire's behind labels
            }
            assert_eq!(router.forward(LAN, &frame), [Sent { port: WAN, frame: frame.clone() }], "{name}");
            router.pass(HZ);
            let flows = router.simple_at("/rtt/flows", 1);
            assert_eq!(flows, u64::from(is_segment), "{name}, {}", access.name);
            // Whatever it is cut to, it crosses.
            for length in 14..frame.len() {
                frame.truncate(frame.len() - 1);
                assert_eq!(router.forward(LAN, &frame).len(), 1, "{name}, {length}");
            }
        }
    }
}

#[test]
fn one_port_carries_two_vlans_and_keeps_priorities() {
    let mut router = bridge();
    for (name, frame) in kinds() {
        for (from, to) in [(WAN_VLAN, LAN_VLAN), (LAN_VLAN, WAN_VLAN)] {
            for priority in [0u16, 0x1000, 0x6000, 0xf000] {
                let tagged = |vlan: u16| {
                    let [high, low] = (priority | vlan).to_be_bytes();
                    [&frame[..12], &[0x81, 0, high, low], &frame[12..]].concat()
                };
                let sent = router.forward(STICK, &tagged(from));
                if tagged(from).len() > 1522 {
                    assert_eq!((sent.len(), name), (0, "as large as it may be"));
                    continue;
                }
                assert_eq!(sent, [Sent { port: STICK, frame: tagged(to) }], "{name}, {priority:x}");
            }
        }
        // Untagged, and of other VLANs: the XDP program has passed it to the kernel.
        if crossing(STICK, &frame).is_err() {
            assert_eq!(router.forward(STICK, &frame), []);
        }
    }
}

#[test]
fn every_drop_reason_is_reached() {
    let mut router = bridge_with(&Setup { workers: 2, ..Setup::default() });
    let (_, frame) = &kinds()[1];
    let large = [frame.as_slice(), &[0; 1500]].concat();
    for (port, bytes, reason) in [
        (WAN, &frame[..13], "too-short"),
        (WAN, &[][..], "too-short"),
        (LAN, &large[..1523], "larger-than-mtu"),
        (STICK, frame, "other-vlan"),
        (NOWHERE, frame, "no-other-side"),
    ] {
        assert_eq!(router.forward(port, bytes), [], "{reason}");
        assert_eq!(crossing(port, bytes), Err(reason));
        assert_eq!(router.drops(), [(("l2-cross-connect", reason), 1)].into(), "{reason}");
    }
    // The ports' MTUs differ: it is the other port's that counts.
    router.tables.ports.set_mtu(WAN, 1000);
    assert_eq!(router.forward(LAN, &large[..1023]), []);
    assert_eq!(router.forward(WAN, &large[..1522]).len() + given(&mut router), 1);
    let reached: BTreeSet<_> = router.all_drops().into_keys().collect();
    let shape = Shape::new(BRIDGE, &[]).unwrap();
    let own = shape.reasons().filter(|(node, _)| *node == BRIDGE[0].name);
    let missed: Vec<_> = own.filter(|reason| !reached.contains(reason)).collect();
    assert_eq!(missed, [], "those of other nodes are reached in a router's cases");
}

/// Takes what other workers were given, and lets it go.
fn given(router: &mut Router) -> usize {
    let mut count = 0;
    for (end, pool) in &mut router.others {
        let mut packets = Vec::new();
        count += end.take(&mut packets, pool);
        packets.into_iter().for_each(|packet| pool.recycle(packet));
    }
    count
}

/// What a segment says.
#[derive(Clone, Copy)]
struct Tcp {
    /// From the server.
    back: bool,
    port: u16,
    flags: &'static str,
    sequence: u32,
    acknowledgement: u32,
    timestamps: (u32, u32),
}

const CLIENT: Host = ["10.0.0.1", "2001:db8::1"];
const SERVER: Host = ["10.0.0.2", "2001:db8::2"];

/// Its frame.
fn frame(access: Access, tcp: Tcp) -> Vec<u8> {
    let Tcp { back, port, flags, sequence, acknowledgement, timestamps } = tcp;
    let (source, destination) = if back { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
    let ports = if back { (443, port) } else { (port, 443) };
    let mut builder = access.ip(source, destination).tcp(ports.0, ports.1, sequence, 64_000);
    builder = if flags.contains('S') { builder.syn() } else { builder };
    builder = if flags.contains('A') { builder.ack(acknowledgement) } else { builder };
    let (value, echo) = timestamps;
    let builder = builder.options(&[etherparse::TcpOptionElement::Timestamp(value, echo)]).unwrap();
    let mut packet = Vec::new();
    builder.write(&mut packet, if flags == "A" { b"data" } else { b"" }).unwrap();
    access.frame([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], &packet)
}

#[test]
fn round_trips_are_measured_however_flows_are_packed() {
    let syn =
        Tcp { back: false, port: 50_000, flags: "S", sequence: 99, acknowledgement: 0, timestamps: (10, 0) };
    let answer =
        Tcp { back: true, flags: "SA", sequence: 499, acknowledgement: 100, timestamps: (70, 10), ..syn };
    let data = Tcp { flags: "A", sequence: 100, acknowledgement: 500, timestamps: (20, 70), ..syn };
    let last = Tcp { flags: "A", sequence: 500, acknowledgement: 104, timestamps: (80, 20), ..answer };
    for access in Access::ALL {
        let mut router = bridge_with(&Setup::measuring());
        for (port, tcp) in [(LAN, syn), (WAN, answer), (LAN, data), (WAN, last)] {
            assert_eq!(router.forward(port, &frame(access, tcp)).len(), 1);
            router.pass(3_000);
        }
        let samples: u64 = (0..4).map(|method| router.simple_at("/rtt/samples", method)).sum();
        assert_eq!(samples, 1, "{}", access.name);
    }
    // What is not IP is no flow.
    let mut router = bridge_with(&Setup::measuring());
    for (name, frame) in kinds() {
        if !name.contains("ip4") && !name.contains("ip6") {
            router.forward(LAN, &frame);
        }
    }
    assert_eq!(router.simple_at("/rtt/flows", 1), 0);
}

#[test]
fn both_directions_of_a_flow_meet_one_worker_however_it_is_packed() {
    let mut router = bridge_with(&Setup { workers: 4, ..Setup::default() });
    let mut owner = |port: u16, frame: &[u8]| {
        let sent = router.forward(port, frame);
        let mut owner = sent.iter().map(|_| 0).collect::<Vec<_>>();
        for (worker, (end, pool)) in (1..).zip(&mut router.others) {
            let mut packets = Vec::new();
            end.take(&mut packets, pool);
            for packet in packets {
                owner.push(worker);
                pool.recycle(packet);
            }
        }
        assert_eq!(owner.len(), 1);
        owner[0]
    };
    for access in Access::ALL {
        let mut used = BTreeSet::new();
        for port in 50_000..50_032 {
            let there =
                Tcp { back: false, port, flags: "A", sequence: 1, acknowledgement: 1, timestamps: (1, 1) };
            let back = Tcp { back: true, ..there };
            let worker = owner(LAN, &frame(access, there));
            assert_eq!(owner(WAN, &frame(access, back)), worker, "{}", access.name);
            used.insert(worker);
        }
        assert_eq!(used.len(), 4, "{}: all workers", access.name);
    }
}

#[test]
fn frames_of_any_bytes_go_across_as_they_are() {
    let router = RefCell::new(bridge_with(&Setup::measuring()));
    let byte =
        prop_oneof![Just(0x81u8), Just(0x88), Just(0x08), Just(0), Just(0x64), Just(2), Just(3), any::<u8>()];
    let tail = prop_oneof![0usize..80, 1400usize..1600];
    let frames = (0u16..4, prop::collection::vec(byte, 0..70), tail, any::<u8>());
    let config =
        proptest::test_runner::Config { cases: 6000, failure_persistence: None, ..Default::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let crossed = RefCell::new(0);
    runner
        .run(&frames, |(port, mut frame, tail, fill)| {
            frame.resize(frame.len() + tail, fill);
            if port == STICK && frame.len() >= 16 && fill < 200 {
                frame[12..16].copy_from_slice(&[0x81, 0, fill & 0xf0, fill & 3]);
            }
            let mut router = router.borrow_mut();
            let sent = router.forward(port, &frame); // checks the books
            match crossing(port, &frame) {
                Ok(across) => {
                    prop_assert_eq!(sent, [across]);
                    *crossed.borrow_mut() += 1;
                }
                Err(reason) => {
                    prop_assert_eq!(sent, []);
                    prop_assert_eq!(router.drops(), [(("l2-cross-connect", reason), 1)].into());
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(crossed.into_inner() > 2000);
}

#[test]
fn vectors_of_mixed_frames_keep_their_order() {
    let mut router = bridge_with(&Setup { frames: 2048, ..Setup::measuring() });
    let seeds = seeds();
    let mut numbers = Numbers(0x0057_ee1e_d000_0003);
    for _ in 0..300 {
        let mut expected: [Vec<Sent>; 4] = Default::default();
        for _ in 0..1 + numbers.below(600) {
            let port = numbers.below(4) as u16;
            let bytes = match numbers.below(2) {
                0 => kinds()[numbers.below(19)].1.clone(),
                _ => mutated(&seeds, &mut numbers),
            };
            let frame = &bytes[..bytes.len().min(1700)];
            router.feed(port, frame);
            if let Ok(sent) = crossing(port, frame) {
                expected[usize::from(sent.port)].push(sent);
            }
        }
        assert_eq!(router.run(), expected.concat());
    }
}

#[test]
fn a_datagram_of_a_router_is_not_touched_either() {
    // The same frame in both graphs: the router counts the TTL down, the bridge does not.
    let frame = Datagram::udp("192.0.2.7", 8).frame(WAN);
    assert_eq!(bridge().forward(WAN, &frame), [Sent { port: LAN, frame }]);
}
