//! Packets of several frames: whatever the frames are, the same leaves as of one large frame, and no frame is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::sync::Arc;

use harness::{
    HZ, Router, Setup,
    access::{Access, Host, prefix},
    bridge::{LAN, WAN, bridge_with},
    datagram::{Datagram, leaving, parse},
    packet6::Packet6,
    town::{self, EAST, NARROW, WEST, town_with},
};
use proptest::prelude::*;
use weir_graph::{
    customers::Customer,
    frames::{HEADERS, MOST_FRAMES},
    nodes::shaper,
    shaped::{self, Capacity},
    shaper::{Direction, Discipline, Leaf, Operation, Orders, Overhead, Rates, Settings, TreeNode},
};

/// What a card calls a jumbo frame.
const JUMBO: u16 = 9000;
/// A network behind the east port, by a link that carries jumbo frames, one that carries 4000 bytes, and one that carries 1500.
const WIDE: &str = "100.64.0.1";
const MIDDLE: &str = "100.64.1.1";
const USUAL: &str = "100.64.2.1";
/// The same of IPv6.
const WIDE6: &str = "2001:db8:64::1";

/// The town, with frames of 2^`chunk_shift` bytes, and wide ways out of it.
fn wide_town(chunk_shift: u32) -> Router {
    let mut router = town_with(&Setup { chunk_shift, ..Setup::default() });
    for (prefix, host, mtu) in [
        ("100.64.0.0/24", "10.0.1.10", JUMBO),
        ("100.64.1.0/24", "10.0.1.11", 4000),
        ("100.64.2.0/24", "10.0.1.12", 1500),
        ("2001:db8:64::/48", "2001:db8:0:1::10", JUMBO),
    ] {
        let next_hop = router.neighbour(EAST, host, mtu);
        router.route(prefix, &[next_hop]);
    }
    router
}

/// A datagram of so many bytes in all.
fn datagram(destination: &str, length: usize) -> Datagram {
    Datagram::udp(destination, length - 28)
}

/// Packets that go every way that a packet goes, of this size or near it.
fn traffic(length: usize) -> Vec<Vec<u8>> {
    let of = |destination: &str| datagram(destination, length);
    let six = |destination: &str| Packet6::udp(destination, length - 48);
    let pad = |frame: Vec<u8>| [frame, vec![0xaa; 777]].concat();
    vec![
        of(WIDE).frame(WEST),
        of(MIDDLE).frame(WEST),
        of(USUAL).frame(WEST),
        of(town::FAR_NARROW).frame(WEST),
        of(town::TIGHT).frame(WEST),
        pad(of(WIDE).frame(WEST)),
        pad(datagram(WIDE, 60).frame(WEST)),
        pad(of(MIDDLE).frame(WEST)),
        of(MIDDLE).options(&[148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0]).frame(WEST),
        of(MIDDLE).fragment(100, true).frame(WEST),
        of(USUAL).dont_fragment().frame(WEST),
        of(WIDE).ttl(1).frame(WEST),
        of(town::NO_ROUTE).frame(WEST),
        of("10.0.1.3").frame(WEST),
        // Shorter than it says.
        of(WIDE).frame(WEST)[..length - 7].to_vec(),
        six(WIDE6).frame(WEST),
        pad(six(WIDE6).frame(WEST)),
        six(WIDE6).hops(1).frame(WEST),
        six(town::FAR6_TIGHT).frame(WEST),
        six(WIDE6).frame(WEST)[..length - 7].to_vec(),
    ]
}

#[test]
fn jumbo_frames_are_forwarded_byte_for_byte() {
    for chunk_shift in [11, 12] {
        let mut router = wide_town(chunk_shift);
        for length in [1778, 1779, 3570, 3571, 3826, 3827, 8999, 9000] {
            let datagram = datagram(WIDE, length);
            let sent = router.forward(WEST, &datagram.frame(WEST));
            assert_eq!(sent.len(), 1);
            assert_eq!(sent[0].frame, leaving(EAST, "10.0.1.10", &datagram.ttl(63).bytes()));
        }
        assert!(router.drops().is_empty());
    }
}

#[test]
fn jumbo_frames_are_fragmented_into_pieces_that_are_as_large_as_the_link_carries() {
    for chunk_shift in [11, 12] {
        let mut router = wide_town(chunk_shift);
        for (destination, mtu, pieces) in [(MIDDLE, 4000, 3), (USUAL, 1500, 7), (town::FAR_NARROW, 576, 17)] {
            let datagram = datagram(destination, 9000);
            let sent = router.forward(WEST, &datagram.frame(WEST));
            assert_eq!(sent.len(), pieces);
            let mut payload = Vec::new();
            for (at, piece) in sent.iter().enumerate() {
                let (header, bytes) = parse(&piece.frame);
                assert!(usize::from(header.total_len) + 7 >= mtu || at + 1 == pieces, "as large as can be");
                assert!(usize::from(header.total_len) <= mtu);
                assert_eq!(header.fragment_offset.byte_offset() as usize, payload.len());
                assert_eq!(header.more_fragments, at + 1 < pieces);
                payload.extend_from_slice(bytes);
            }
            assert_eq!(payload, datagram.payload);
        }
    }
}

#[test]
fn where_frames_run_out_a_jumbo_is_dropped_and_none_is_lost() {
    let mut router = town_with(&Setup { frames: 20, ..Setup::default() });
    let narrow = router.neighbour(NARROW, "10.0.2.9", 4000);
    router.route("100.64.1.0/24", &[narrow]);
    for free in (6..20).rev() {
        // Six for the datagram; its two pieces behind the first take three and one.
        let blocked = router.graph.pool().available() - free;
        let taken: Vec<_> = (0..blocked).map(|_| router.graph.pool().take().unwrap()).collect();
        router.feed(WEST, &datagram(MIDDLE, 9000).frame(WEST));
        let frames = router.graph.pool().available();
        router.graph.run(router.now);
        router.graph.publish();
        let (pool, sent) = router.graph.transmit(usize::from(NARROW));
        let count = sent.len();
        sent.drain(..).for_each(|packet| pool.recycle(packet));
        taken.into_iter().for_each(|frame| pool.put(frame));
        router.sent += count as u64;
        router.check();
        assert_eq!(count, if frames >= 2 * 3 { 3 } else { 0 }, "{frames} frames are free");
    }
    assert!(router.drops().keys().all(|label| *label == ("ip4-fragment", "no-frames")));
}

/// Frames that a packet is given in, from the first on; the rest comes in full ones.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let cut = prop_oneof![Just(1), 1..40usize, 200..300usize, 1..1792usize];
    proptest::collection::vec(cut, 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn wherever_it_is_cut_a_router_sends_the_same(
        length in prop_oneof![300..9000usize, 8900..=9000usize],
        cuts in proptest::collection::vec(cuts(), 20),
    ) {
        // 16 KiB: one frame each.
        let (mut one, mut several) = (wide_town(14), wide_town(11));
        for (frame, cuts) in traffic(length).iter().zip(&cuts) {
            one.feed(WEST, frame);
            // What has too many frames a port would lose.
            if !several.offer_cut(WEST, frame, cuts) {
                several.feed(WEST, frame);
            }
            prop_assert_eq!(several.run(), one.run());
            prop_assert_eq!(several.drops(), one.drops());
        }
        prop_assert_eq!(several.drain(), one.drain());
        prop_assert_eq!(several.graph.pool().available(), 1024);
        prop_assert_eq!(several.all_events(), one.all_events());
    }

    #[test]
    fn wherever_it_is_cut_a_bridge_sends_the_same(
        length in 300..=9000usize,
        cuts in proptest::collection::vec(cuts(), Access::ALL.len()),
    ) {
        const HOSTS: [Host; 2] = [["10.0.0.2", "2001:db8::2"], ["192.0.2.7", "2001:db9::7"]];
        let setup = Setup::measuring();
        let [mut one, mut several] =
            [14, 11].map(|chunk_shift| bridge_with(&Setup { chunk_shift, ..setup.clone() }));
        for router in [&mut one, &mut several] {
            for port in [WAN, LAN] {
                router.tables.ports.set_mtu(port, JUMBO);
            }
        }
        for (access, cuts) in Access::ALL.into_iter().zip(&cuts) {
            let data = length - access.udp((HOSTS[0], 1), (HOSTS[1], 2), 0).len();
            let frame = access.frame([4; 6], [2; 6], &access.udp((HOSTS[0], 4000), (HOSTS[1], 53), data));
            one.feed(LAN, &frame);
            if !several.offer_cut(LAN, &frame, cuts) {
                several.feed(LAN, &frame);
            }
            let (sent, expected) = (several.run(), one.run());
            prop_assert_eq!(&sent, &expected);
            prop_assert!(sent.len() == 1 && sent[0].frame == frame, "{}", access.name);
        }
        prop_assert_eq!(several.all_events(), one.all_events());
    }
}

#[test]
fn headers_are_pulled_up_into_the_first_frame() {
    let mut router = wide_town(11);
    let frame = datagram(WIDE, 4000).frame(WEST);
    assert!(router.offer_cut(WEST, &frame, &[1, 20, 3, 1700]));
    let (pool, packets) = router.graph.receive();
    let frames = pool.frames().clone();
    assert_eq!(frames.bytes(&packets[0]), &frame[..HEADERS]);
    assert_eq!(frames.count_of(&packets[0]), 4, "two frames were emptied");
    let mut whole = vec![0; frame.len()];
    frames.read(&packets[0], 0, &mut whole);
    assert_eq!(whole, frame);
    let [a, b, rest] = [(0, 300), (255, 2), (3000, 2000)]
        .map(|(at, len)| frames.slices(&packets[0], at, len).flatten().copied().collect::<Vec<u8>>());
    assert_eq!((a, b, rest), (frame[..300].to_vec(), frame[255..257].to_vec(), frame[3000..].to_vec()));
    frames.write(&mut packets[0], 250, &[7; 100]);
    let written: Vec<u8> = frames.slices(&packets[0], 0, frame.len()).flatten().copied().collect();
    assert_eq!(written, [&frame[..250], &[7; 100], &frame[350..]].concat());
    router.run();
    // A packet of more frames than the kernel sends is not made.
    assert!(!router.offer_cut(WEST, &frame, &[100; MOST_FRAMES]));
    assert!(router.offer_cut(WEST, &frame[..1700], &[100; MOST_FRAMES]));
    assert_eq!(router.graph.pool().available(), 1024 - MOST_FRAMES + 1);
    router.run();
}

#[test]
fn frames_of_jumbos_that_go_to_other_workers_are_counted() {
    let mut router = town_with(&Setup { workers: 2, ..Setup::default() });
    router.tables.ports.set_mtu(EAST, JUMBO);
    let wide = router.neighbour(EAST, "10.0.1.10", JUMBO);
    router.route("100.64.0.0/24", &[wide]);
    for port in 0..32 {
        let datagram = Datagram::udp_ports(WIDE, 1024 + port, 53, 8900);
        router.feed(WEST, &datagram.frame(WEST));
    }
    let sent = router.run().len() as isize;
    let given = 32 - sent;
    assert!(sent > 0 && given > 0);
    assert_eq!(router.graph.exchange().surplus(), -5 * given);
    let (end, pool) = &mut router.others[0];
    let mut packets = Vec::new();
    end.take(&mut packets, pool);
    assert_eq!((packets.len() as isize, end.surplus()), (given, 5 * given));
    packets.into_iter().for_each(|packet| pool.recycle(packet));
    assert_eq!(pool.available() as isize, 5 * given);
    // They come back in batches of 64.
    end.take(&mut Vec::new(), pool);
    let left = pool.available();
    assert!(left < 64);
    assert!(!router.graph.take_given(), "frames, and no packets");
    router.check();
    assert_eq!(router.graph.pool().available(), 1024 - left);
}

#[test]
fn the_shaper_holds_no_more_frames_than_it_may() {
    const ALICE: Host = ["10.0.0.2", "2001:db8:0:2::1"];
    const SERVER: Host = ["192.0.2.7", "2001:db9::7"];
    const MEGABIT: u64 = 1_000_000;
    const FRAMES: usize = 64;
    let settings = Settings {
        hz: HZ,
        leaves: 4,
        nodes: 4,
        tins: 16,
        flows: 64,
        packets: FRAMES,
        frame: 2048,
        mtu: 9014,
    };
    let setup =
        shaper::Setup { settings, capacity: Capacity { customers: 2, nodes: 2 }, frames: 1024, common: None };
    let mut router = bridge_with(&Setup { shaper: Some(setup), ..Setup::measuring() });
    router.tables.ports.set_mtu(WAN, JUMBO);
    router.tables.ports.set_mtu(LAN, JUMBO);
    router.customers.as_mut().unwrap().replace([(prefix("10.0.0.2/32"), Customer::of_column(0))]).unwrap();
    shaped::grow(&mut router.counters, 1, 1).unwrap();
    let (node, rates) = (TreeNode::of(0, Direction::Down), |max| Rates { min: max, max, weight: 1 });
    let leaf = Leaf::of(0, Direction::Down);
    let operations = vec![
        Operation::Node { node, parent: None, rates: rates(100 * MEGABIT) },
        Operation::Leaf { leaf, parent: node, rates: rates(MEGABIT), discipline: 0, overhead: 0 },
    ];
    let disciplines = vec![Discipline::usual(HZ)];
    router.graph.plan(&Arc::new(Orders { disciplines, overheads: vec![Overhead::RAW], operations }));
    router.pass(0);
    let access = Access::ALL[0];
    let mut most = 0;
    let mut arrived = Vec::new();
    for number in 0..200 {
        let length = if number % 3 == 0 { 500 } else { 8900 };
        let packet = access.udp((SERVER, 53), (ALICE, 4000 + number % 5), length);
        router.feed(WAN, &access.frame([4; 6], [2; 6], &packet));
        arrived.extend(router.run());
        arrived.extend(router.pass(1000));
        most = most.max(router.graph.held());
        assert!(router.graph.held() <= FRAMES, "{} frames wait", router.graph.held());
    }
    assert!(most > FRAMES - 6, "the memory is used: {most}");
    assert!(router.all_drops()[&("shaper", "overlimit")] > 10);
    while router.graph.held() > 0 {
        arrived.extend(router.pass(10_000));
    }
    assert!(arrived.iter().all(|sent| sent.port == LAN && [542, 8942].contains(&sent.frame.len())));
    assert!(arrived.iter().any(|sent| sent.frame.len() == 8942));
    assert_eq!(router.graph.pool().available(), 1024);
}
