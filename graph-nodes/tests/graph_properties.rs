//! What holds for every frame: the books balance, and whatever leaves is what a router may send.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::cell::{Cell, RefCell};

use etherparse::{Icmpv4Header, Icmpv6Header, IpNumber, Ipv4Header, Ipv6Header};
use harness::{
    Router, Sent, Setup, Tally,
    datagram::{Datagram, arriving, parse, patched, pattern},
    packet6::{Packet6, arriving6, parse6},
    script::{Numbers, may_leave, mutated, untagged},
    seeds::seeds,
    town::{self, EAST, WEST, carrier, suburb_with, tagged, town_with},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

fn for_all<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let checked = runner.run(strategy, |value| {
        check(value);
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}

/// Headers that are right, then changed in a few bits, with the checksum made right again: most pass `ip4-input`, and none is like another.
fn frames() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let destinations = [
        town::FAR,
        town::FAR_NARROW,
        town::FAR_MULTIPATH,
        town::NO_ROUTE,
        town::PROHIBITED,
        town::BLACKHOLE,
        town::TIGHT,
        "10.0.1.2",
        "10.0.1.3",
        "10.0.2.9",
        "10.0.0.1",
        "172.20.4.9",
        "172.20.5.9",
        "10.0.5.9",
    ];
    let datagram = (
        prop::sample::select(destinations.to_vec()),
        prop::sample::select(vec![1u8, 6, 17, 50]),
        prop_oneof![0usize..64, 0usize..1480],
        prop_oneof![Just(64u8), 0..4u8, any::<u8>()],
        prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(any::<u8>(), 0..=40)],
        prop_oneof![2 => Just((0u16, false)), 1 => (0u16..0x2000, any::<bool>())],
        any::<bool>(),
    );
    let changes = prop::collection::vec((0usize..60, any::<u8>()), 0..3);
    (0u16..6, datagram, changes, any::<bool>()).prop_map(|(port, datagram, changes, repaired)| {
        let (destination, protocol, length, ttl, options, (offset, more), whole) = datagram;
        let length = length.min(1480 - options.len().next_multiple_of(4));
        let mut datagram = Datagram::of(IpNumber(protocol), destination, pattern(length)).ttl(ttl);
        datagram = datagram.options(&options).fragment(offset, more);
        datagram.header.dont_fragment = whole;
        let mut frame = arriving(port, &datagram.bytes());
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(14 + at) {
                *byte = value;
            }
        }
        // A header that says that it is longer than the frame has no checksum to repair.
        let fits =
            frame.len() >= 34 && frame.len() >= 14 + usize::from(frame[14] & 15) * 4 && frame[14] & 15 >= 5;
        (port, if repaired && fits { patched(frame, 0, &[]) } else { frame })
    })
}

/// Packets of IPv6 that are right, then changed in a few bits.
fn frames6() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let destinations = [
        town::FAR6,
        town::FAR6_NARROW,
        town::FAR6_MULTIPATH,
        town::FAR6_TIGHT,
        town::NO_ROUTE6,
        town::PROHIBITED6,
        town::BLACKHOLE6,
        "2001:db8:0:1::2",
        "2001:db8:0:1::3",
        "2001:db8:0:2::9",
        "2001:db8:0:5::9",
        "2001:db8::1",
        "2001:db8:20:4::9",
        "2001:db8:20:5::9",
    ];
    let extension = prop_oneof![
        4 => Just(None),
        2 => prop::collection::vec(any::<u8>(), 0..3).prop_map(|options| {
            // Options of any type, four bytes of data each.
            let options: Vec<u8> = options.iter().flat_map(|kind| [*kind, 6, 0, 1, 2, 3, 4, 5]).collect();
            Some((0, [&[(options.len() / 8) as u8, 1, 4, 0, 0, 0, 0][..], &options].concat()))
        }),
        1 => (0u16..0x2000, any::<bool>()).prop_map(|(offset, more)| {
            let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
            Some((44, vec![0, high, low, 0, 0, 0, 7]))
        }),
        1 => (prop::sample::select(vec![43u8, 51, 60]), prop::collection::vec(any::<u8>(), 7)).prop_map(Some),
    ];
    let packet = (
        prop::sample::select(destinations.to_vec()),
        prop::sample::select(vec![6u8, 17, 50, 58]),
        prop_oneof![0usize..64, 0usize..1430],
        prop_oneof![Just(64u8), 0..4u8, any::<u8>()],
        prop_oneof![Just(0u32), 0u32..1 << 20],
        extension,
    );
    let changes = prop::collection::vec((0usize..80, any::<u8>()), 0..3);
    let padding = prop_oneof![3 => Just(0usize), 1 => 1usize..40];
    (0u16..6, packet, changes, padding).prop_map(|(port, packet, changes, padding)| {
        let (destination, protocol, length, hops, label, extension) = packet;
        let mut packet =
            Packet6::of(IpNumber(protocol), destination, pattern(length)).hops(hops).label(label);
        if let Some((number, bytes)) = extension {
            packet = packet.behind(number, &bytes);
        }
        let mut frame = arriving6(port, &packet.bytes());
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(14 + at) {
                *byte = value;
            }
        }
        frame.resize(frame.len() + padding, 0xee);
        (port, frame)
    })
}

/// One error: right in every checksum, and about this datagram.
fn is_error_about(router: &Router, sent: &[Sent], datagram: &[u8]) {
    let [sent] = sent else { return }; // several: cut for a link narrower than it
    let frame = untagged(sent);
    let (header, payload) = parse(&frame);
    if header.more_fragments {
        return;
    }
    assert_eq!((header.protocol, header.time_to_live), (IpNumber::ICMP, 64), "{header:?}");
    assert!(header.total_len <= 576);
    let (icmp, quoted) = Icmpv4Header::from_slice(payload).unwrap();
    assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(quoted));
    assert!(datagram.starts_with(quoted) && quoted.len() >= 20.min(datagram.len()));
    let own = |port| router.tables.ports.address(port).is_some_and(|own| own.octets() == header.source);
    assert!((0..6).any(own), "from an address of the router");
}

/// One error, as RFC 4443 has it: right in its checksum, and about this packet, which came by this port.
fn is_error6_about(router: &Router, sent: &[Sent], port: u16, packet: &[u8]) {
    let [sent] = sent else { return assert_eq!(sent, [], "one, unless it had no way to go") };
    let frame = untagged(sent);
    let (header, payload) = parse6(&frame);
    assert_eq!((header.next_header, header.hop_limit), (IpNumber::IPV6_ICMP, 64), "{header:?}");
    assert!(frame.len() <= 14 + 1280, "no more than every link carries");
    let (icmp, quoted) = Icmpv6Header::from_slice(payload).unwrap();
    let sum = icmp.icmp_type.calc_checksum(header.source, header.destination, quoted).unwrap();
    assert_eq!(icmp.checksum, sum, "{icmp:?}");
    assert!((1..=4).contains(&payload[0]), "{icmp:?} is an error");
    let (about, _) = Ipv6Header::from_slice(packet).unwrap();
    let length = packet.len().min(40 + usize::from(about.payload_length));
    assert_eq!(quoted, &packet[..length.min(1280 - 48)], "as much as fits, and none of the padding");
    assert_eq!(header.destination, about.source, "to the sender");
    let own = router.tables.ports.address6(port).unwrap();
    assert_eq!(header.source, own.octets(), "from the port's address");
}

/// Feeds each frame to a router, which is as new; what left, and whether an error was made, for `check`.
fn each_is_right(
    frames: &impl Strategy<Value = (u16, Vec<u8>)>,
    check: impl Fn(&Router, u16, &[u8], &[Sent], bool),
) {
    let router = RefCell::new(suburb_with(&Setup::measuring()));
    let (forwarded, errors) = (Cell::new(0), Cell::new(0));
    for_all(6000, frames, |(port, frame)| {
        let mut router = router.borrow_mut();
        router.drain(); // what the last case left held
        router.now += 100_000_000;
        router.events();
        let sent = router.forward(carrier(port), &tagged(port, &frame)); // checks the books
        sent.iter().for_each(may_leave);
        let answered = router.events().keys().any(|(_, event)| event.ends_with("-sent"));
        let count = if answered { &errors } else { &forwarded };
        count.set(count.get() + sent.len());
        check(&router, port, &frame, &sent, answered);
    });
    let (forwarded, errors) = (forwarded.get(), errors.get());
    assert!(
        forwarded > 1000 && errors > 100,
        "{forwarded} frames forwarded and {errors} answered say little"
    );
}

#[test]
fn every_frame_that_leaves_is_right() {
    each_is_right(&frames(), |router, _, frame, sent, answered| {
        if answered {
            return is_error_about(router, sent, &frame[14..]);
        }
        for out in sent {
            let out = untagged(out);
            let (header, _) = parse(&out); // its checksum is right
            let (came, _) = Ipv4Header::from_slice(&frame[14..]).unwrap();
            assert_eq!(header.time_to_live, came.time_to_live - 1);
            let same = |header: &Ipv4Header| {
                (
                    header.source,
                    header.destination,
                    header.protocol,
                    header.identification,
                    header.dscp,
                    header.ecn,
                )
            };
            assert_eq!(same(&header), same(&came));
            assert!(sent.len() == 1 || !came.dont_fragment);
        }
        if let [out] = sent {
            let out = untagged(out);
            let length = usize::from(out[14] & 15) * 4;
            assert_eq!(out[14 + length..], frame[14 + length..out.len()], "the payload is the sender's");
        }
    });
}

#[test]
fn every_packet_of_ipv6_that_leaves_is_right() {
    each_is_right(&frames6(), |router, port, frame, sent, answered| {
        if answered {
            return is_error6_about(router, sent, port, &frame[14..]);
        }
        let [out] = sent else { return assert_eq!(sent, [], "no router cuts a packet of IPv6") };
        let out = untagged(out);
        let (mut came, _) = Ipv6Header::from_slice(&frame[14..]).unwrap();
        came.hop_limit -= 1;
        assert_eq!(parse6(&out).0, came);
        assert_eq!(out[54..], frame[54..out.len()], "the payload is the sender's");
    });
}

#[test]
fn pieces_reassemble_to_what_was_cut() {
    let router = RefCell::new(town_with(&Setup::measuring()));
    let options = [
        vec![],
        vec![1, 1, 1, 1],
        vec![148, 4, 0, 0],
        vec![7, 7, 4, 0, 0, 0, 0, 0],
        [&[0x9e, 38][..], &[5; 36], &[1, 1]].concat(),
        [&[0x1e, 20][..], &[6; 18], &[0x9e, 20], &[7; 18]].concat(),
    ];
    let cases =
        (prop::sample::select(options.to_vec()), 0usize..1441, 68u16..1500, (0u16..0x1fff, any::<bool>()));
    for_all(3000, &cases, |(options, length, mtu, (offset, more))| {
        let mut router = router.borrow_mut();
        let next_hop = router.neighbour(EAST, "10.0.1.44", mtu);
        router.route("10.0.1.44/32", &[next_hop]);
        // All but a last fragment carry units of eight bytes.
        let length = if more { length & !7 } else { length };
        let datagram = Datagram::of(IpNumber::UDP, "10.0.1.44", pattern(length));
        let datagram = datagram.options(&options).fragment(offset, more);
        let sent = router.forward(WEST, &datagram.frame(WEST));
        let drops = router.drops();
        if let Some(count) = drops.get(&("ip4-fragment", "beyond-largest-datagram")) {
            assert_eq!((*count, sent.len()), (1, 0));
            assert!(usize::from(offset) * 8 + length > 65_528 - usize::from(mtu));
        } else {
            assert_eq!(drops, Tally::new());
            let mut payload = vec![None; length];
            let mut last = 0;
            for (number, piece) in sent.iter().enumerate() {
                let (header, bytes) = parse(&piece.frame);
                assert!(header.total_len <= mtu);
                let at = (usize::from(header.fragment_offset.value()) - usize::from(offset)) * 8;
                assert!(number == 0 || at == last, "in order and without a gap");
                last = at + bytes.len();
                for (place, byte) in payload[at..last].iter_mut().zip(bytes) {
                    assert_eq!(place.replace(*byte), None);
                }
                assert_eq!(header.more_fragments, more || number + 1 < sent.len());
            }
            let payload: Vec<u8> = payload.into_iter().flatten().collect();
            assert_eq!(payload, datagram.payload);
        }
        router.fib.remove("10.0.1.44/32".parse().unwrap());
        router.adjacencies.free(next_hop).unwrap();
    });
}

#[test]
fn mutations_of_the_named_seeds_keep_the_books() {
    let mut router = suburb_with(&Setup::measuring());
    let seeds = seeds();
    let mut numbers = Numbers(0x0057_ee1e_d000_0001);
    for _ in 0..3000 {
        // The seeds as bytes, not as scripts: what comes is no frame at all, more often than not.
        let bytes = mutated(&seeds, &mut numbers);
        let port = numbers.below(4) as u16;
        // Behind the head of the first record there is a frame.
        let from = [0, 3, 3, 3][numbers.below(4)].min(bytes.len());
        let length = bytes.len().min(from + 1792);
        router.forward(port, &bytes[from..length]);
        router.pass(50_000);
    }
    router.drain();
    assert_eq!(router.graph.held(), 0);
    let drops = router.all_drops();
    assert!(drops.len() > 10, "only these were met: {drops:?}");
    assert!(router.sent > 100, "{} sent", router.sent);
}
