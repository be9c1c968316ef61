//! Sub-interfaces: ports that are VLANs of others. In, out, and from one to the other, with the tags that each has and no others.

use etherparse::{Icmpv6Type, icmpv6::TimeExceededCode};
use weir_graph::adjacency::AdjacencyIndex;

use crate::harness::{
    Router, Sent, Tally,
    datagram::{Datagram, icmp_error, parse},
    neighbour_mac,
    packet6::{Packet6, icmp6_error},
    port_mac,
    town::{self, EAST, ONE, TWO, WEST, carrier, suburb, tags},
};
use crate::icmp::TTL_EXCEEDED;
use crate::single::dropped;

/// A frame between these addresses with the port's tags: the type, and what has it.
fn frame(to: [u8; 6], from: [u8; 6], port: u16, kind: u16, body: &[u8]) -> Vec<u8> {
    let tags = tags(port);
    [&to[..], &from, &tags.bytes()[..tags.length()], &kind.to_be_bytes(), body].concat()
}

fn neighbour(port: u16, kind: u16) -> String {
    if kind == 0x0800 { format!("10.0.{port}.2") } else { town::neighbour6(port) }
}

fn arriving(port: u16, kind: u16, body: &[u8]) -> Vec<u8> {
    frame(port_mac(port), neighbour_mac(&neighbour(port, kind)), port, kind, body)
}

fn leaving(port: u16, kind: u16, body: &[u8]) -> Vec<u8> {
    frame(neighbour_mac(&neighbour(port, kind)), port_mac(port), port, kind, body)
}

/// The host behind a port, and a destination behind another.
fn packet4(from: u16, to: u16) -> Datagram {
    let destination = if to < ONE { format!("10.0.{to}.2") } else { format!("172.20.{to}.9") };
    Datagram::udp(&destination, 18).from(&format!("10.0.{from}.2"))
}

fn packet6(from: u16, to: u16) -> Packet6 {
    let destination = if to < ONE { town::neighbour6(to) } else { format!("2001:db8:20:{to}::9") };
    Packet6::udp(&destination, 18).from(&town::neighbour6(from))
}

pub fn every_pair_of_ports_forwards() -> Router {
    let mut router = suburb();
    for from in [WEST, EAST, ONE, TWO] {
        for to in [WEST, EAST, ONE, TWO] {
            let packet = packet4(from, to).bytes();
            let mut out = packet.clone();
            let ttl = crate::single::forwarded(&out);
            out.copy_from_slice(&ttl);
            let sent = router.forward(carrier(from), &arriving(from, 0x0800, &packet));
            assert_eq!(sent, [Sent { port: to, frame: leaving(to, 0x0800, &out) }], "{from} to {to}");

            let packet = packet6(from, to).bytes();
            let mut out = packet.clone();
            out[7] -= 1;
            let sent = router.forward(carrier(from), &arriving(from, 0x86dd, &packet));
            assert_eq!(sent, [Sent { port: to, frame: leaving(to, 0x86dd, &out) }], "{from} to {to}");
        }
    }
    for port in [WEST, EAST, ONE, TWO] {
        let bytes = (14 + tags(port).length()) as u64 * 8 + 4 * (20 + 26) + 4 * (40 + 26);
        assert_eq!(router.received(port), (8, bytes), "each port counts what is its own");
        assert_eq!(router.simple_at("/if/ip6", usize::from(port)), 4);
    }
    assert_eq!(router.drops(), Tally::new());
    // A vector of all kinds in turn: runs end where tags change.
    for _ in 0..20 {
        for from in [ONE, WEST, TWO, ONE] {
            router.feed(carrier(from), &arriving(from, 0x0800, &packet4(from, EAST).bytes()));
        }
    }
    assert_eq!(router.run().len(), 80);
    assert_eq!((router.received(ONE).0, router.received(TWO).0), (48, 28));
    router
}

pub fn priorities_are_not_the_vlans() -> Router {
    let mut router = suburb();
    for (from, at) in [(ONE, 14), (TWO, 14), (TWO, 18)] {
        let mut frame = arriving(from, 0x0800, &packet4(from, EAST).bytes());
        frame[at] |= 0xf0; // priority 7, drop eligible
        assert_eq!(router.forward(carrier(from), &frame).len(), 1);
    }
    router
}

pub fn other_tags_are_nobodys() -> Router {
    let mut router = suburb();
    let body = Datagram::udp(town::FAR, 8).bytes();
    let [one, two, priority] = [[0x81, 0, 0, 100], [0x88, 0xa8, 0, 7], [0x81, 0, 0, 0]];
    let inner = [0x81, 0, 0, 5];
    for (what, tags) in [
        ("another VLAN", &[[0x81, 0, 0, 101]][..]),
        ("another type of tag", &[[0x88, 0xa8, 0, 100]]),
        ("the other port's tags", &[two, inner]),
        ("priority alone", &[priority]),
        ("the tag twice", &[one, one]),
        ("behind another one", &[two, one]),
        ("more than two", &[two, inner, one]),
    ] {
        let mac = port_mac(WEST);
        let frame = [&mac[..], &[6; 6], &tags.concat(), &[8, 0], &body].concat();
        dropped(&mut router, what, WEST, &frame, ("ethernet-input", "other-vlan"));
    }
    let three = [&port_mac(ONE)[..], &[6; 6], &one, &one[..2], &[0, 1, 8, 0], &body].concat();
    dropped(&mut router, "a tag in the tag", WEST, &three, ("ethernet-input", "other-vlan"));
    let other_mac = frame(port_mac(WEST), [6; 6], ONE, 0x0800, &body);
    let reason = if port_mac(WEST) == port_mac(ONE) { unreachable!() } else { "not-our-mac" };
    dropped(&mut router, "the address of the port below", WEST, &other_mac, ("ethernet-input", reason));
    let arp = frame([0xff; 6], [6; 6], ONE, 0x0806, &[0; 46]);
    dropped(&mut router, "ARP", WEST, &arp, ("ethernet-input", "not-ip"));
    let group = frame([0xff; 6], [6; 6], ONE, 0x0800, &body);
    dropped(&mut router, "a broadcast", WEST, &group, ("ethernet-input", "group-address"));
    let whole = arriving(TWO, 0x0800, &body);
    for length in [14, 15, 17, 18, 21] {
        let what = format!("{length} bytes");
        dropped(&mut router, &what, EAST, &whole[..length], ("ethernet-input", "too-short"));
    }
    dropped(&mut router, "tags and nothing behind", EAST, &whole[..22], ("ip4-input", "too-short"));
    router
}

pub fn errors_go_back_with_the_tags() -> Router {
    let mut router = suburb();
    for from in [ONE, TWO] {
        let packet = packet4(from, EAST).ttl(1).bytes();
        let sent = router.forward(carrier(from), &arriving(from, 0x0800, &packet));
        let [Sent { port, frame }] = &sent[..] else { panic!("{sent:?}") };
        let link = 14 + tags(from).length();
        let untagged = [&frame[..12], &frame[link - 2..]].concat();
        let identification = parse(&untagged).0.identification;
        let (own, sender) = (format!("10.0.{from}.1"), format!("10.0.{from}.2"));
        let error = icmp_error(&own, &sender, identification, TTL_EXCEEDED.clone(), &packet);
        assert_eq!((*port, frame), (from, &leaving(from, 0x0800, &error)));

        let packet = packet6(from, EAST).hops(1).bytes();
        let sent = router.forward(carrier(from), &arriving(from, 0x86dd, &packet));
        let kind = Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded);
        let error = icmp6_error(&town::address6(from), &town::neighbour6(from), kind, &packet);
        assert_eq!(sent, [Sent { port: from, frame: leaving(from, 0x86dd, &error) }]);
    }
    router
}

pub fn pieces_have_the_tags_each() -> Router {
    let mut router = suburb();
    let narrow = router.neighbour(TWO, "10.0.5.2", 576);
    router.route("172.21.0.0/24", &[narrow]);
    let sent = router.forward(WEST, &arriving(ONE, 0x0800, &Datagram::udp("172.21.0.1", 1200).bytes()));
    assert_eq!(sent.len(), 3);
    let link = frame(neighbour_mac("10.0.5.2"), port_mac(TWO), TWO, 0x0800, &[]);
    for piece in &sent {
        assert_eq!((piece.port, &piece.frame[..link.len()]), (TWO, &link[..]));
        let (header, _) = parse(&[&piece.frame[..12], &piece.frame[link.len() - 2..]].concat());
        assert!(header.total_len <= 576);
    }
    router
}

pub fn neighbours_on_a_vlan_are_asked_for_there() -> Router {
    let mut router = suburb();
    let unknown = router.incomplete(ONE, "10.0.4.9", 1500);
    router.route("10.0.4.9/32", &[unknown]);
    let packet = Datagram::udp("10.0.4.9", 8);
    assert_eq!(router.forward(WEST, &arriving(WEST, 0x0800, &packet.bytes())), []);
    let asked = router.requests.try_recv().unwrap();
    let weir_graph::node::Request::Resolve { port, address } = asked;
    assert_eq!((port, address.to_string()), (ONE, "10.0.4.9".to_owned()));
    router.resolve(unknown, ONE, "10.0.4.9", 1500);
    let sent = router.pass(1000);
    let out = crate::single::forwarded(&packet.bytes());
    let frame = frame(neighbour_mac("10.0.4.9"), port_mac(ONE), ONE, 0x0800, &out);
    assert_eq!(sent, [Sent { port: ONE, frame }]);
    router.route("10.0.4.9/32", &[AdjacencyIndex::BLACKHOLE]);
    router
}
