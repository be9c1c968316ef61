//! Neighbours whose MAC address is not known yet: the node `glean`.

use std::net::Ipv4Addr;

use etherparse::{Icmpv4Type, icmpv4::DestUnreachableHeader};
use weir_graph::{adjacency::AdjacencyIndex, node::Request};

use crate::harness::{
    Router, Sent, Setup, Tally,
    datagram::{Datagram, leaving},
    town::{self, EAST, WEST, town, town_with},
};
use crate::single::{forwarded, is_answer, passes};

const MILLISECOND: u64 = 1000;
const SECOND: u64 = 1_000_000;

fn asked(router: &Router) -> Vec<(u16, String)> {
    let asked = router.requests.try_iter();
    asked.map(|Request::Resolve { port, address }| (port, address.to_string())).collect()
}

fn held_flow(destination: &str, count: u16) -> Vec<Datagram> {
    (0..count).map(|number| Datagram::udp_ports(destination, 1000 + number, 53, 18)).collect()
}

fn expected(datagrams: &[Datagram], neighbour: &str) -> Vec<Sent> {
    let frame = |datagram: &Datagram| leaving(EAST, neighbour, &forwarded(&datagram.bytes()));
    datagrams.iter().map(|datagram| Sent { port: EAST, frame: frame(datagram) }).collect()
}

pub fn are_asked_for_once_and_packets_held_in_order() -> Router {
    let mut router = town();
    let datagrams = held_flow("10.0.1.9", 4);
    for datagram in &datagrams {
        assert_eq!(router.forward(WEST, &datagram.frame(WEST)), []);
    }
    assert_eq!(router.graph.held(), 4);
    assert_eq!(asked(&router), [(EAST, "10.0.1.9".to_owned())], "once");
    assert_eq!(router.pass(500 * MILLISECOND), []);
    let neighbour = router.neighbour(EAST, "10.0.1.9", 1500);
    router.route("10.0.1.9/32", &[neighbour]);
    assert_eq!(router.release(), [], "looked at a thousand times a second, and not oftener");
    assert_eq!(router.pass(MILLISECOND), expected(&datagrams, "10.0.1.9"), "in order, with one less to live");
    assert_eq!((router.graph.held(), router.drops()), (0, Tally::new()));
    passes_to(&mut router, "10.0.1.9");
    assert_eq!(asked(&router), []);
    router
}

fn passes_to(router: &mut Router, address: &str) {
    let datagram = Datagram::udp(address, 8);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    assert_eq!(sent, expected(&[datagram], address));
}

pub fn behind_a_route_are_asked_for_by_the_next_hop() -> Router {
    let mut router = town();
    let unknown = router.incomplete(EAST, "10.0.1.8", 1500);
    router.route("192.168.0.0/16", &[unknown]);
    let near = Datagram::udp("192.168.1.1", 18);
    let far = Datagram::udp("192.168.200.9", 18);
    for datagram in [&near, &far] {
        assert_eq!(router.forward(WEST, &datagram.frame(WEST)), []);
    }
    assert_eq!(asked(&router), [(EAST, "10.0.1.8".to_owned())], "one next hop for both");
    router.resolve(unknown, EAST, "10.0.1.8", 1500);
    let sent = router.pass(MILLISECOND);
    assert_eq!(sent, expected(&[near.clone(), far], "10.0.1.8"));
    // Lost and found again.
    router.adjacencies.set_incomplete(unknown).unwrap();
    assert_eq!(router.forward(WEST, &near.frame(WEST)), []);
    assert_eq!(asked(&router), [(EAST, "10.0.1.8".to_owned())], "again");
    router.resolve(unknown, EAST, "10.0.1.8", 1500);
    assert_eq!(router.pass(MILLISECOND), expected(&[near], "10.0.1.8"));
    router
}

pub fn that_do_not_answer_are_unreachable() -> Router {
    let mut router = town();
    let unreachable = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);
    for (destination, neighbour) in [("10.0.1.9", "10.0.1.9"), ("10.0.1.3", "10.0.1.3")] {
        let datagrams = held_flow(destination, 3);
        for datagram in &datagrams {
            router.feed(WEST, &datagram.frame(WEST));
        }
        assert_eq!(router.run(), []);
        assert_eq!(asked(&router), [(EAST, neighbour.to_owned())]);
        assert_eq!(router.pass(SECOND - 1), [], "not yet a second");
        assert_eq!(asked(&router), [], "the control thread knows");
        assert_eq!(router.pass(MILLISECOND), []);
        assert_eq!(
            asked(&router),
            [(EAST, neighbour.to_owned())],
            "a question may be lost: again, once a second"
        );
        assert_eq!(router.pass(2 * SECOND - MILLISECOND), [], "three seconds");
        assert_eq!(asked(&router).len(), 1);
        assert_eq!(router.drops(), Tally::new());
        let sent = router.pass(1 + MILLISECOND);
        assert_eq!(router.drops(), Tally::from([(("glean", "unresolved"), 3)]));
        assert_eq!(sent.len(), 3);
        for (error, datagram) in sent.iter().zip(&datagrams) {
            // As it came: the TTL is not taken from while a packet is held.
            is_answer(destination, WEST, std::slice::from_ref(error), &datagram.bytes(), &unreachable);
        }
    }
    assert_eq!(router.forward(WEST, &Datagram::udp("10.0.1.9", 8).frame(WEST)), []);
    assert_eq!(asked(&router), [(EAST, "10.0.1.9".to_owned())], "the next packet asks again");
    router
}

pub fn hold_four_packets_each() -> Router {
    let mut router = town();
    let datagrams = held_flow("10.0.1.9", 7);
    for datagram in &datagrams {
        router.feed(WEST, &datagram.frame(WEST));
    }
    router.feed(WEST, &Datagram::udp("10.0.1.10", 8).frame(WEST));
    assert_eq!(router.run(), []);
    assert_eq!(router.graph.held(), 5, "four for the one, one for the other");
    assert_eq!(router.drops(), Tally::from([(("glean", "queue-full"), 3)]));
    let neighbour = router.neighbour(EAST, "10.0.1.9", 1500);
    router.route("10.0.1.9/32", &[neighbour]);
    assert_eq!(router.pass(MILLISECOND), expected(&datagrams[..4], "10.0.1.9"), "the first four");
    router
}

pub fn fill_the_table_in_a_scan() -> Router {
    let mut router = town_with(&Setup { frames: 2048, ..Setup::default() });
    let glean = router.glean(EAST, 1500);
    router.route("10.1.0.0/16", &[glean]);
    for host in 0..1000 {
        let address = Ipv4Addr::from(0x0a01_0000 + host).to_string();
        router.feed(WEST, &Datagram::udp(&address, 8).frame(WEST));
    }
    assert_eq!(router.run(), []);
    let held = router.graph.held();
    let drops = router.drops();
    assert_eq!(drops, Tally::from([(("glean", "table-full"), 1000 - held as u64)]));
    assert!((200..=256).contains(&held), "{held} neighbours are waited for, of at most 256");
    assert_eq!(asked(&router).len(), held, "one question for each");
    // Whoever is known is not in the way of a scan.
    passes(&mut router, "a known neighbour", &Datagram::udp(town::FAR, 8).bytes(), EAST);
    router.pass(3 * SECOND + MILLISECOND);
    assert_eq!(router.graph.held(), 0);
    assert_eq!(router.drops(), Tally::from([(("glean", "unresolved"), held as u64)]));
    let neighbour = Datagram::udp("10.1.3.231", 8);
    assert_eq!(router.forward(WEST, &neighbour.frame(WEST)), []);
    assert_eq!(asked(&router).len(), 1, "there is room again");
    router
}

pub fn are_given_up_when_the_router_leaves() -> Router {
    let mut router = town();
    for datagram in held_flow("10.0.1.9", 3).iter().chain(&held_flow("10.0.2.77", 2)) {
        router.feed(WEST, &datagram.frame(WEST));
    }
    assert_eq!(router.run(), []);
    assert_eq!(router.drain(), [], "silently");
    assert_eq!(router.drops(), Tally::from([(("glean", "shutdown"), 5)]));
    assert_eq!(router.graph.held(), 0);
    assert_eq!(router.drain(), []);
    router
}

pub fn that_lose_their_route_let_packets_go() -> Router {
    let mut router = town();
    assert_eq!(router.forward(WEST, &Datagram::udp("10.0.1.9", 8).frame(WEST)), []);
    router.route("10.0.1.0/24", &[AdjacencyIndex::BLACKHOLE]);
    assert_eq!(router.pass(MILLISECOND), []);
    assert_eq!(router.drops(), Tally::from([(("ip4-lookup", "blackhole"), 1)]), "as the route says now");
    // Another way round: the route leads elsewhere now, where the neighbour is known.
    let datagram = Datagram::udp("10.0.2.50", 8);
    assert_eq!(router.forward(WEST, &datagram.frame(WEST)), []);
    let known = router.neighbour(EAST, "10.0.1.7", 1500);
    router.route("10.0.2.0/24", &[known]);
    assert_eq!(router.pass(MILLISECOND), expected(&[datagram], "10.0.1.7"));
    router
}
