//! The packet path allocates nothing: counted by the allocator itself, over a million packets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use etherparse::{PacketBuilder, TcpOptionElement};
use harness::{
    HZ, Router, Setup,
    datagram::{Datagram, arriving},
    packet6::Packet6,
    town::{self, EAST, ONE, TWO, WEST, suburb_with, tagged, town_with},
};

/// Counts this thread's allocations; the test runner's own threads may do as they like.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and nothing to count.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: everything is the system allocator's; counting touches a thread-local number that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Feeds the frames in bursts until `packets` have been fed; allocations on the way, and frames sent. Some time passes with every burst.
fn allocations(router: &mut Router, frames: &[Vec<u8>], packets: u64, burst: usize) -> (u64, u64) {
    let (fed, sent) = (router.fed, router.sent);
    let before = ALLOCATIONS.get();
    let mut frames = frames.iter().cycle();
    while router.fed - fed < packets {
        for frame in frames.by_ref().take(burst) {
            router.feed(WEST, frame);
        }
        router.graph.run(router.now);
        router.graph.publish();
        router.send_blindly();
        router.now += 100;
        router.graph.release(router.now);
        router.graph.publish();
        router.send_blindly();
    }
    let allocated = ALLOCATIONS.get() - before;
    router.check();
    (allocated, router.sent - sent)
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    let boxed = std::hint::black_box(Box::new(1u64));
    let mut list = vec![*boxed];
    list.reserve(1000);
    assert_eq!(ALLOCATIONS.get() - before, 3);
}

#[test]
fn a_million_packets_are_forwarded_without_an_allocation() {
    let mut router = town_with(&Setup::measuring());
    let frames: Vec<_> = (0..512)
        .map(|flow| {
            let destination = [town::FAR, town::FAR_MULTIPATH, "10.0.1.2", "10.0.2.2"][flow % 4];
            Datagram::udp_ports(destination, 1024 + flow as u16, 53, 18).frame(WEST)
        })
        .collect();
    for burst in [1, 32, 256, 1000] {
        let packets = if burst == 256 { 1_000_000 } else { 50_000 };
        let (allocated, sent) = allocations(&mut router, &frames, packets, burst);
        assert_eq!(allocated, 0, "bursts of {burst}");
        assert!(sent >= packets);
    }
    assert_eq!(router.all_drops().len(), 0);
}

#[test]
fn ipv6_and_tagged_packets_are_forwarded_without_an_allocation() {
    let mut router = suburb_with(&Setup::measuring());
    let destinations = [town::FAR6, town::FAR6_MULTIPATH, "2001:db8:20:4::9", "2001:db8:20:5::9"];
    let mut frames = Vec::new();
    for flow in 0..512 {
        let packet = Packet6::udp_ports(destinations[flow % 4], 1024 + flow as u16, 53, 18);
        let packet =
            if flow % 8 == 7 { packet.options(&[5, 2, 0, 0, 1, 0]) } else { packet.label(flow as u32) };
        let port = [WEST, ONE][flow / 4 % 2];
        frames.push(tagged(port, &packet.frame(port)));
        let datagram = Datagram::udp(["172.20.5.9", town::FAR][flow % 2], 18);
        frames.push(tagged(ONE, &datagram.frame(ONE)));
    }
    for burst in [1, 256] {
        let (allocated, sent) = allocations(&mut router, &frames, 100_000, burst);
        assert_eq!(allocated, 0, "bursts of {burst}");
        assert!(sent >= 100_000);
    }
    assert_eq!(router.all_drops().len(), 0);
}

#[test]
fn measuring_flows_does_not_allocate() {
    let mut router = town_with(&Setup::measuring());
    // More flows than there is room for, each with data, its answer, and data that is sent again.
    let mut frames = Vec::new();
    for flow in 0..4096_u32 {
        let ends = [(town::HOST, town::FAR, WEST), (town::FAR, town::HOST, EAST)];
        for (out, sequence, value) in [(true, 1, 10), (false, 1, 11), (true, 1, 12)] {
            let (from, to, port) = ends[usize::from(!out)];
            let ports = (1024 + flow as u16, 443);
            let (source, target) = if out { ports } else { (ports.1, ports.0) };
            let address = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
            let mut datagram = Vec::new();
            PacketBuilder::ipv4(address(from), address(to), 64)
                .tcp(source, target, sequence, 1000)
                .ack(1)
                .options(&[TcpOptionElement::Timestamp(value + flow, value + flow - 1)])
                .unwrap()
                .write(&mut datagram, &[b'x'; 20])
                .unwrap();
            frames.push((port, arriving(port, &datagram)));
        }
    }
    let before = ALLOCATIONS.get();
    for burst in frames.chunks(192) {
        for (port, frame) in burst {
            router.feed(*port, frame);
        }
        router.now += 1000;
        router.graph.run(router.now);
        router.graph.release(router.now);
        for port in [WEST, EAST] {
            let (pool, sent) = router.graph.transmit(usize::from(port));
            sent.drain(..).for_each(|packet| pool.recycle(packet));
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

#[test]
fn what_goes_wrong_does_not_allocate_either() {
    let mut router = suburb_with(&Setup { frames: 2048, ..Setup::default() });
    let narrow = |length| Datagram::udp(town::FAR_NARROW, length);
    let mut frames = vec![
        Datagram::udp(town::BLACKHOLE, 8).frame(WEST),
        Datagram::udp(town::NO_ROUTE, 8).frame(WEST),
        Datagram::udp(town::FAR, 8).ttl(1).frame(WEST),
        Datagram::udp(town::FAR, 1400).ttl(1).frame(WEST),
        Datagram::udp(town::FAR, 8).options(&[7, 7, 4, 0, 0, 0, 0]).frame(WEST),
        Datagram::udp(town::FAR, 8).options(&[7, 0, 4]).frame(WEST),
        narrow(1472).frame(WEST),
        narrow(1400).options(&[148, 4, 0, 0]).frame(WEST),
        narrow(1400).dont_fragment().frame(WEST),
        narrow(8972).frame(WEST),
        narrow(8972).ttl(1).frame(WEST),
        Datagram::udp(town::TIGHT, 500).frame(WEST),
        vec![0; 60],
        vec![0; 3],
        Datagram::udp("10.0.1.3", 8).frame(WEST),
    ];
    let six = |destination: &str| Packet6::udp(destination, 8);
    frames.extend(
        [
            six(town::BLACKHOLE6),
            six(town::NO_ROUTE6),
            six(town::FAR6).hops(1),
            Packet6::udp(town::FAR6, 1400).hops(1),
            six(town::FAR6).options(&[0x9e, 4, 0, 0, 0, 0]),
            six(town::FAR6).options(&[0x5e, 4, 0, 0, 0, 0]),
            six(town::FAR6).options(&[1, 4, 0, 0, 0, 0]),
            Packet6::udp(town::FAR6_NARROW, 1000),
            six("fe80::1"),
            six("2001:db8:0:1::3"),
        ]
        .map(|packet| packet.frame(WEST)),
    );
    let expired = six(town::FAR6).from(&town::neighbour6(ONE)).hops(1);
    frames.push(tagged(ONE, &expired.frame(ONE)));
    frames.push(tagged(TWO, &six(town::FAR6).frame(TWO)));
    frames.extend((10..200).map(|host| Datagram::udp(&format!("10.0.2.{host}"), 8).frame(WEST)));
    frames.extend((10..200).map(|host| six(&format!("2001:db8:0:2::{host}")).frame(WEST)));
    let (allocated, sent) = allocations(&mut router, &frames, 200_000, 128);
    assert_eq!(allocated, 0);
    assert!(sent > 5_000);
    let drops = router.all_drops();
    for reason in [
        ("ip4-lookup", "blackhole"),
        ("ip4-lookup", "no-route"),
        ("ip4-rewrite", "ttl-expired"),
        ("ip4-rewrite", "too-big"),
        ("ip4-options", "bad-option"),
        ("glean", "queue-full"),
        ("ethernet-input", "other-vlan"),
        ("ip6-input", "link-local"),
        ("ip6-lookup", "no-route"),
        ("ip6-rewrite", "hop-limit-exceeded"),
        ("ip6-rewrite", "too-big"),
        ("ip6-hop-by-hop", "unknown-option"),
    ] {
        assert!(drops.contains_key(&reason), "{reason:?} was part of it");
    }
    let events = router.all_events();
    for event in ["rate-limited", "time-exceeded-sent", "packet-too-big-sent", "parameter-problem-sent"] {
        assert!(events.contains_key(&("ip6-icmp-error", event)), "{event} was part of it");
    }
    assert!(events.contains_key(&("ip4-icmp-error", "rate-limited")));
}

#[test]
fn holding_releasing_and_giving_up_do_not_allocate() {
    let mut router = town_with(&Setup::default());
    let unknown = router.incomplete(EAST, "10.0.1.8", 1500);
    router.route("192.168.0.0/16", &[unknown]);
    let routed = Datagram::udp("192.168.1.1", 8).frame(WEST);
    let silent = Datagram::udp("10.0.1.9", 8).frame(WEST);
    let mut allocated = 0;
    for _ in 0..1000 {
        let before = ALLOCATIONS.get();
        for frame in [&routed, &routed, &silent] {
            router.feed(WEST, frame);
        }
        router.graph.run(router.now);
        router.graph.publish();
        assert_eq!(router.graph.held(), 3);
        while router.requests.try_recv().is_ok() {}
        allocated += ALLOCATIONS.get() - before;
        router.resolve(unknown, EAST, "10.0.1.8", 1500); // the control thread may allocate
        let before = ALLOCATIONS.get();
        router.now += HZ / 100;
        router.graph.release(router.now);
        router.graph.publish();
        let sent = router.send_blindly();
        router.now += 4 * HZ;
        router.graph.release(router.now);
        router.graph.publish();
        let errors = router.send_blindly();
        allocated += ALLOCATIONS.get() - before;
        assert_eq!((sent, errors, router.graph.held()), (2, 1, 0));
        router.adjacencies.set_incomplete(unknown).unwrap();
    }
    let before = ALLOCATIONS.get();
    router.feed(WEST, &silent);
    router.graph.run(router.now);
    router.graph.publish();
    router.graph.drain(router.now);
    router.graph.publish();
    allocated += ALLOCATIONS.get() - before;
    assert_eq!(allocated, 0);
    router.check();
}
