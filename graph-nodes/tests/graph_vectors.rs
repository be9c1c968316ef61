//! Bursts larger than a vector, over all arcs at once: order is kept, and every counter is exact.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use harness::{
    Router, Sent, Setup, Tally,
    datagram::{Datagram, parse},
    town::{self, EAST, NARROW, WEST, town_with},
};

fn roomy() -> Router {
    town_with(&Setup { frames: 4096, ..Setup::default() })
}

/// A datagram that carries its number.
fn numbered(destination: &str, number: u16) -> Datagram {
    let mut datagram = Datagram::udp(destination, 18);
    datagram.header.identification = number;
    datagram
}

fn numbers(sent: &[Sent], port: u16) -> Vec<u16> {
    let by_port = sent.iter().filter(|sent| sent.port == port);
    by_port.map(|sent| parse(&sent.frame).0.identification).collect()
}

#[test]
fn order_is_kept_on_every_path() {
    for burst in [1, 2, 255, 256, 257, 512, 513, 1500] {
        let mut router = roomy();
        let way = |number: u16| match number % 7 {
            0 | 3 | 4 => town::FAR,
            1 => town::FAR_NARROW,
            2 => town::BLACKHOLE,
            5 => "10.0.1.2",
            _ => town::PROHIBITED,
        };
        for number in 0..burst {
            router.feed(if number % 2 == 0 { WEST } else { NARROW }, &{
                numbered(way(number), number).frame(if number % 2 == 0 { WEST } else { NARROW })
            });
        }
        let sent = router.run();
        let expected =
            |ways: &[&str]| (0..burst).filter(|number| ways.contains(&way(*number))).collect::<Vec<_>>();
        assert_eq!(numbers(&sent, EAST), expected(&[town::FAR, "10.0.1.2"]), "a burst of {burst}");
        assert_eq!(numbers(&sent, NARROW), expected(&[town::FAR_NARROW]), "a burst of {burst}");
    }
}

#[test]
fn every_counter_is_exact() {
    let mut router = roomy();
    let (to_far, to_narrow, dropped) = (700u64, 300u64, 123u64);
    for (destination, count) in
        [(town::FAR, to_far), (town::FAR_NARROW, to_narrow), (town::BLACKHOLE, dropped)]
    {
        for number in 0..count {
            let padded = [numbered(destination, number as u16).frame(WEST), vec![0; 4]].concat();
            router.feed(WEST, &padded);
        }
    }
    let sent = router.run();
    assert_eq!(sent.len() as u64, to_far + to_narrow);
    let all = to_far + to_narrow + dropped;
    // The datagram has 46 bytes, its frame 60, and four bytes of padding came behind it.
    assert_eq!(router.received(WEST), (all, all * 64), "frames as they came");
    assert_eq!(router.received(EAST), (0, 0));
    assert_eq!(router.simple_at("/if/ip4", usize::from(WEST)), all);
    assert_eq!(router.simple_at("/if/drops", usize::from(WEST)), dropped);
    let route = |router: &Router, prefix: &str| router.fib.get(prefix.parse().unwrap()).unwrap();
    for (prefix, count) in
        [("192.0.2.0/24", to_far), ("203.0.113.0/24", to_narrow), ("172.16.2.0/24", dropped)]
    {
        let route = route(&router, prefix).index.as_u32() as usize;
        assert_eq!(router.combined_at("/net/route/to", route), (count, count * 46), "{prefix}");
    }
    let vectors = |node: &str| {
        let node = router.shape.node(node).unwrap();
        (router.simple_at("/sys/node/calls", node), router.simple_at("/sys/node/vectors", node))
    };
    let calls = all.div_ceil(256);
    assert_eq!(vectors("ethernet-input"), (calls, all));
    assert_eq!(vectors("ip4-input"), (calls, all));
    assert_eq!(vectors("ip4-lookup"), (calls, all));
    let left = to_far + to_narrow;
    assert_eq!(vectors("ip4-rewrite"), (left.div_ceil(256), left));
    assert_eq!(vectors("tx"), (left.div_ceil(256), left));
    assert_eq!(vectors("drop"), (1, dropped));
    assert_eq!(vectors("glean"), (0, 0));
    assert_eq!(router.drops(), Tally::from([(("ip4-lookup", "blackhole"), dropped)]));
}

#[test]
fn next_hops_are_counted_whatever_their_order() {
    let mut router = roomy();
    let known = [router.neighbour(EAST, "10.0.1.20", 1500), router.neighbour(NARROW, "10.0.2.20", 1500)];
    router.route("192.168.0.0/24", &known[..1]);
    router.route("192.168.1.0/24", &known[1..]);
    router.show_next_hops();
    // Runs of one, two and more to the same next hop.
    let order = [0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1];
    for (number, which) in order.iter().cycle().take(order.len() * 50).enumerate() {
        router.feed(WEST, &numbered(&format!("192.168.{which}.1"), number as u16).frame(WEST));
    }
    router.run();
    for (which, index) in known.iter().enumerate() {
        let count = 50 * order.iter().filter(|other| **other == which).count() as u64;
        let counted = router.combined_at("/net/adjacency/to", index.as_u32() as usize);
        assert_eq!(counted, (count, count * 46), "next hop {which}");
    }
}
