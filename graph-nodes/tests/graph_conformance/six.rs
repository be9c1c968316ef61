//! What RFC 8200, 4443 and 4291 ask of a router of IPv6.

use etherparse::{
    Icmpv6Type, IpNumber,
    icmpv6::{DestUnreachableCode, ParameterProblemCode, ParameterProblemHeader, TimeExceededCode},
};
use weir_graph::adjacency::AdjacencyIndex;

use crate::harness::{
    Label, Router, Sent, Setup, Tally,
    packet6::{Packet6, arriving6, icmp6_error, leaving6, parse6},
    town::{self, BARE, EAST, NARROW, WEST, neighbour6, town, town_with},
};
use crate::single::dropped;

const HOPS_EXCEEDED: Icmpv6Type = Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded);
const EXPIRED: Label = ("ip6-rewrite", "hop-limit-exceeded");

/// The packet as a router forwards it: one hop less, and no padding.
fn forwarded(packet: &[u8]) -> Vec<u8> {
    let mut out = packet[..40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))].to_vec();
    out[7] -= 1;
    out
}

fn passes(router: &mut Router, what: &str, packet: &[u8], port: u16) {
    let sent = router.forward(WEST, &arriving6(WEST, packet));
    let frame = leaving6(port, &neighbour6(port), &forwarded(packet));
    assert_eq!(router.drops(), Tally::new(), "{what}");
    assert_eq!(sent, [Sent { port, frame }], "{what}");
}

/// Feeds one packet, which must be dropped for this reason, and this error come back to the neighbour that sent it.
fn answered(router: &mut Router, what: &str, port: u16, packet: &[u8], reason: Label, kind: &Icmpv6Type) {
    let sent = router.forward(port, &arriving6(port, packet));
    assert_eq!(router.drops(), Tally::from([(reason, 1)]), "{what}");
    is_answer(what, port, &sent, packet, kind);
    let event = match kind {
        Icmpv6Type::TimeExceeded(_) => "time-exceeded-sent",
        Icmpv6Type::ParameterProblem(_) => "parameter-problem-sent",
        Icmpv6Type::PacketTooBig { .. } => "packet-too-big-sent",
        _ => "unreachable-sent",
    };
    assert_eq!(router.events(), Tally::from([(("ip6-icmp-error", event), 1)]), "{what}");
}

fn is_answer(what: &str, port: u16, sent: &[Sent], packet: &[u8], kind: &Icmpv6Type) {
    let [Sent { port: by, frame }] = sent else { panic!("{what}: {sent:?} is not one answer") };
    assert_eq!(*by, port, "{what}");
    let error = icmp6_error(&town::address6(port), &neighbour6(port), *kind, packet);
    assert_eq!(frame[..], leaving6(port, &neighbour6(port), &error), "{what}");
}

pub fn headers_and_lengths() -> Router {
    let mut router = town();
    let good = Packet6::udp(town::FAR6, 12); // 40 + 8 + 12 bytes
    let frame = good.frame(WEST);
    for length in [14, 15, 53] {
        let what = format!("a frame of {length} bytes");
        dropped(&mut router, &what, WEST, &frame[..length], ("ip6-input", "too-short"));
    }
    for version in [0u8, 4, 5, 7, 15] {
        let mut frame = frame.clone();
        frame[14] = version << 4;
        dropped(&mut router, &format!("version {version}"), WEST, &frame, ("ip6-input", "bad-version"));
    }
    for length in [21u16, 1500, 0xffff] {
        let mut frame = frame.clone();
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        let what = format!("payload length {length}");
        dropped(&mut router, &what, WEST, &frame, ("ip6-input", "bad-payload-length"));
    }
    let mut jumbo = good.clone().options(&[0xc2, 4, 0, 1, 0, 0]).frame(WEST);
    jumbo[18..20].fill(0);
    dropped(&mut router, "a jumbogram", WEST, &jumbo, ("ip6-input", "jumbogram"));

    passes(
        &mut router,
        "a header alone",
        &Packet6::of(IpNumber::IPV6_NO_NEXT_HEADER, town::FAR6, vec![]).bytes(),
        EAST,
    );
    for padding in [1, 6, 46, 1400] {
        let padded = [good.bytes(), vec![0xee; padding]].concat();
        passes(&mut router, &format!("{padding} bytes of padding are cut off"), &padded, EAST);
    }
    router
}

pub fn addresses_and_scopes() -> Router {
    let mut router = town();
    let plain = Packet6::udp(town::FAR6, 8);
    for source in ["::", "::1", "::ffff:10.0.0.1", "ff02::1", "ff0e::1"] {
        let frame = plain.clone().from(source).frame(WEST);
        dropped(&mut router, source, WEST, &frame, ("ip6-input", "martian-source"));
    }
    for (destination, reason) in [
        ("::", "martian-destination"),
        ("::1", "martian-destination"),
        ("::ffff:192.0.2.7", "martian-destination"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("ff02::1", "multicast"),
        ("ff0e::1", "multicast"),
    ] {
        let frame = Packet6::udp(destination, 8).frame(WEST);
        dropped(&mut router, destination, WEST, &frame, ("ip6-input", reason));
    }
    let frame = plain.clone().from("fe80::2").frame(WEST);
    dropped(&mut router, "a link-local source", WEST, &frame, ("ip6-input", "link-local"));
    for source in ["64:ff9b::a00:1", "::2", "fd00::1", "fec0::1", "fe00::1", "2001:db8::1", "fdff::1"] {
        passes(&mut router, source, &plain.clone().from(source).bytes(), EAST);
    }
    router
}

pub fn forwarding() -> Router {
    let mut router = town();
    for limit in [2, 3, 64, 255] {
        let packet = Packet6::udp(town::FAR6, 8).hops(limit).label(0xabcde);
        passes(&mut router, &format!("hop limit {limit}"), &packet.bytes(), EAST);
    }
    passes(&mut router, "to a neighbour itself", &Packet6::udp(&neighbour6(EAST), 8).bytes(), EAST);
    passes(&mut router, "back by the port it came from", &Packet6::udp(&neighbour6(WEST), 8).bytes(), WEST);
    passes(&mut router, "as much as the link carries", &Packet6::udp(town::FAR6, 1452).bytes(), EAST);
    passes(
        &mut router,
        "as much as the narrow link carries",
        &Packet6::udp(town::FAR6_NARROW, 528).bytes(),
        NARROW,
    );
    passes(
        &mut router,
        "a port without an address forwards",
        &Packet6::udp(&neighbour6(BARE), 8).bytes(),
        BARE,
    );
    let mut marked = Packet6::udp(town::FAR6, 8);
    marked.header.traffic_class = 0xbb;
    passes(&mut router, "traffic class", &marked.bytes(), EAST);
    for protocol in [1, 6, 17, 41, 50, 51, 58, 59, 255] {
        let packet = Packet6::of(IpNumber(protocol), town::FAR6, vec![128, 0, 1, 2, 0, 0, 0, 0]);
        passes(&mut router, &format!("protocol {protocol}"), &packet.bytes(), EAST);
    }
    // What is for the destination is not read on the way: even nonsense (RFC 8200 §4).
    for (what, number, bytes) in [
        ("destination options that nobody knows", 60, &[0u8, 0xfe, 4, 1, 2, 3, 4][..]),
        ("a routing header of type 0", 43, &[2, 0, 1, 0, 0, 0, 0]),
        ("a header that is longer than the packet", 60, &[0xff; 7]),
        ("hop-by-hop options behind another header", 60, &[0; 7]),
    ] {
        passes(&mut router, what, &Packet6::udp(town::FAR6, 8).behind(number, bytes).bytes(), EAST);
    }
    for (offset, more) in [(0, false), (0, true), (3, true), (0x1fff, false)] {
        let piece = Packet6::udp(town::FAR6, 64).fragment(offset, more);
        passes(&mut router, "a fragment", &piece.bytes(), EAST);
    }
    assert_eq!(router.simple_at("/if/ip6", usize::from(WEST)), router.fed);
    let (packets, bytes) = router.received(WEST);
    assert_eq!(packets, router.fed);
    assert!(bytes > packets * 54);
    router
}

pub fn routes_that_lead_nowhere() -> Router {
    let mut router = town();
    for (destination, reason) in [
        (town::BLACKHOLE6, ("ip6-lookup", "blackhole")),
        ("2001:db8:0:1::1", ("ip6-lookup", "local")),
        (town::GONE6, ("ip6-rewrite", "next-hop-gone")),
    ] {
        let frame = Packet6::udp(destination, 8).frame(WEST);
        dropped(&mut router, destination, WEST, &frame, reason);
    }
    let before = router.combined_at("/net/route6/to", 0);
    router.forward(WEST, &Packet6::udp(town::NO_ROUTE6, 8).frame(WEST));
    assert_eq!(router.combined_at("/net/route6/to", 0), (before.0 + 1, before.1 + 56));
    router
}

pub fn unreachable() -> Router {
    let mut router = town();
    for (destination, reason, code) in [
        (town::NO_ROUTE6, "no-route", DestUnreachableCode::NoRoute),
        (town::UNREACHABLE6, "no-route", DestUnreachableCode::NoRoute),
        (town::NO_PORT6, "no-port", DestUnreachableCode::NoRoute),
        (town::PROHIBITED6, "prohibited", DestUnreachableCode::Prohibited),
    ] {
        let packet = Packet6::udp(destination, 18).bytes();
        let kind = Icmpv6Type::DestinationUnreachable(code);
        answered(&mut router, destination, WEST, &packet, ("ip6-lookup", reason), &kind);
    }
    router
}

pub fn time_exceeded() -> Router {
    let mut router = town();
    for limit in [0, 1] {
        for (what, packet) in [
            ("UDP", Packet6::udp(town::FAR6, 18)),
            ("an echo request", Packet6::icmp(town::FAR6, 128, &[0; 24])),
            ("a header alone", Packet6::of(IpNumber::UDP, town::FAR6, vec![])),
            ("a first fragment", Packet6::udp(town::FAR6, 64).fragment(0, true)),
            ("a later fragment", Packet6::udp(town::FAR6, 64).fragment(9, false)),
            ("behind options", Packet6::udp(town::FAR6, 8).options(&[1, 4, 0, 0, 0, 0])),
            ("too big as well", Packet6::udp(town::FAR6_NARROW, 1000)),
            ("to a neighbour that is not known", Packet6::udp("2001:db8:0:1::9", 8)),
            ("to a next hop that is not resolved", Packet6::udp("2001:db8:0:1::3", 8)),
        ] {
            router.now += 1_000_000; // so that no rate limit is in the way
            answered(&mut router, what, WEST, &packet.hops(limit).bytes(), EXPIRED, &HOPS_EXCEEDED);
        }
        let from_east = Packet6::udp(&neighbour6(WEST), 8).from(&neighbour6(EAST)).hops(limit).bytes();
        answered(&mut router, "from the port's own address", EAST, &from_east, EXPIRED, &HOPS_EXCEEDED);
    }
    router
}

pub fn packet_too_big() -> Router {
    let mut router = town();
    let reason = ("ip6-rewrite", "too-big");
    for length in [529, 1000, 1452] {
        let packet = Packet6::udp(town::FAR6_NARROW, length).bytes();
        answered(&mut router, "too big", WEST, &packet, reason, &Icmpv6Type::PacketTooBig { mtu: 576 });
    }
    let packet = Packet6::udp(town::FAR6_TIGHT, 1233).bytes();
    let kind = Icmpv6Type::PacketTooBig { mtu: 1280 };
    answered(&mut router, "the next hop's MTU, not the port's", WEST, &packet, reason, &kind);
    passes(&mut router, "the least that a link carries", &Packet6::udp(town::FAR6_TIGHT, 1232).bytes(), EAST);
    router
}

pub fn quotes_at_most_1280_bytes() -> Router {
    let mut router = town();
    for length in [0, 1, 1183, 1184, 1185, 1452] {
        router.now += 1_000_000;
        let packet = Packet6::udp(town::FAR6, length).hops(1).bytes();
        let what = format!("{length} bytes of data");
        answered(&mut router, &what, WEST, &packet, EXPIRED, &HOPS_EXCEEDED);
    }
    let sent = router.forward(WEST, &Packet6::udp(town::FAR6, 1452).hops(1).frame(WEST));
    let (header, payload) = parse6(&sent[0].frame);
    assert_eq!((payload.len(), header.hop_limit), (1240, 64));
    router
}

pub fn hop_by_hop_options() -> Router {
    let mut router = town();
    let with = |options: &[u8]| Packet6::udp(town::FAR6, 8).options(options);
    for (what, options) in [
        ("padding", &[1u8, 4, 0, 0, 0, 0][..]),
        ("single padding", &[0; 6]),
        ("a router alert", &[5, 2, 0, 0, 1, 0]),
        ("one that may be skipped", &[0x1e, 4, 1, 2, 3, 4]),
        ("one that changes on the way and may be skipped", &[0x30, 4, 1, 2, 3, 4]),
    ] {
        passes(&mut router, what, &with(options).bytes(), EAST);
    }
    let eight: Vec<u8> = (0..8).flat_map(|_| [0x1e, 0]).chain([1, 4, 0, 0, 0, 0]).collect();
    passes(&mut router, "eight options", &with(&eight).bytes(), EAST);

    let node = "ip6-hop-by-hop";
    let silent = |router: &mut Router, what: &str, packet: &Packet6, reason| {
        dropped(router, what, WEST, &packet.frame(WEST), (node, reason));
    };
    let nine: Vec<u8> = (0..9).flat_map(|_| [0x1e, 0]).chain([1, 2, 0, 0]).collect();
    silent(&mut router, "nine options", &with(&nine), "too-many-options");
    silent(&mut router, "fourteen bytes of padding", &with(&[0; 14]), "too-many-options");
    silent(&mut router, "nothing but options", &with(&[0x1e; 1398]), "too-many-options");
    silent(&mut router, "an option of type 01", &with(&[0x5e, 4, 0, 0, 0, 0]), "unknown-option");
    silent(&mut router, "an option beyond its header", &with(&[0x1e, 9, 0, 0, 0, 0]), "cut");
    silent(&mut router, "an option without a length", &with(&[1, 3, 0, 0, 0, 0x1e]), "cut");
    let mut longer = with(&[1, 4, 0, 0, 0, 0]);
    longer.payload[1] = 9;
    silent(&mut router, "a header beyond the packet", &longer, "cut");
    let nothing = Packet6::of(IpNumber(0), town::FAR6, vec![17]);
    silent(&mut router, "a header of one byte", &nothing, "cut");

    for (kind, pointer) in [(0x9e_u8, 42), (0xde, 42)] {
        let problem = ParameterProblemHeader { code: ParameterProblemCode::UnrecognizedIpv6Option, pointer };
        let packet = with(&[kind, 4, 0, 0, 0, 0]).bytes();
        let reason = (node, "unknown-option");
        answered(&mut router, "10, 11", WEST, &packet, reason, &Icmpv6Type::ParameterProblem(problem));
    }
    let code = ParameterProblemCode::ErroneousHeaderField;
    let problem = Icmpv6Type::ParameterProblem(ParameterProblemHeader { code, pointer: 44 });
    let packet = with(&[1, 0, 0xc2, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).bytes();
    answered(&mut router, "a jumbogram with a length", WEST, &packet, (node, "jumbogram"), &problem);
    router
}

pub fn never_about_what_no_error_may_be_sent_about() -> Router {
    let mut router = town();
    let not_allowed = Tally::from([(("ip6-icmp-error", "not-allowed"), 1)]);
    let mut silent = |what: &str, packet: Packet6, reason| {
        let sent = router.forward(WEST, &packet.frame(WEST));
        assert_eq!(sent, [], "{what}");
        assert_eq!(router.drops(), Tally::from([(reason, 1)]), "{what}");
        assert_eq!(router.events(), not_allowed, "{what}");
    };
    for kind in [1, 2, 3, 4, 100, 127, 137] {
        let error = |destination| Packet6::icmp(destination, kind, &[0x60; 48]);
        silent("an error that expires", error(town::FAR6).hops(1), EXPIRED);
        silent("an error without a route", error(town::NO_ROUTE6), ("ip6-lookup", "no-route"));
        silent("behind options", error(town::FAR6).options(&[0; 6]).hops(1), EXPIRED);
        silent("in a first fragment", error(town::FAR6).fragment(0, true).hops(1), EXPIRED);
        let mut large = error(town::FAR6_NARROW);
        large.payload.resize(600, 0);
        silent("an error that is too big", large, ("ip6-rewrite", "too-big"));
    }
    silent("a message without a type", Packet6::of(IpNumber::IPV6_ICMP, town::FAR6, vec![]).hops(1), EXPIRED);
    router
}

pub fn an_error_that_cannot_be_sent_is_not_answered() -> Router {
    let mut router = town();
    for (source, reason) in [
        (town::NO_ROUTE6, "no-route"),
        (town::PROHIBITED6, "prohibited"),
        (town::NO_PORT6, "no-port"),
        (town::BLACKHOLE6, "blackhole"),
        ("2001:db8:0:1::1", "local"), // somebody says that he is us
    ] {
        let packet = Packet6::udp(town::FAR6, 18).from(source).hops(1);
        assert_eq!(router.forward(WEST, &packet.frame(WEST)), [], "{source}");
        let drops = Tally::from([(EXPIRED, 1), (("ip6-lookup", reason), 1)]);
        assert_eq!(router.drops(), drops, "{source}");
    }
    let packet = Packet6::udp(town::FAR6, 18).hops(1);
    router.events();
    assert_eq!(router.forward(BARE, &packet.frame(BARE)), []);
    assert_eq!(router.events(), Tally::from([(("ip6-icmp-error", "no-address"), 1)]));
    // An error is never larger than the smallest MTU, but this link's is below that.
    let packet = Packet6::udp(town::FAR6, 1400).from(town::FAR6_NARROW).hops(1);
    assert_eq!(router.forward(WEST, &packet.frame(WEST)), []);
    assert_eq!(router.drops().get(&("ip6-rewrite", "too-big")), Some(&1));

    let mut lonely = town_with(&Setup { frames: 1, ..Setup::default() });
    let packet = Packet6::udp(town::FAR6, 18).hops(1);
    assert_eq!(lonely.forward(WEST, &packet.frame(WEST)), []);
    assert_eq!(lonely.events(), Tally::from([(("ip6-icmp-error", "no-frames"), 1)]));
    lonely.forward(BARE, &packet.frame(BARE));
    for host in 0..30 {
        let source = format!("2001:db8:f::{host:x}");
        router.feed(WEST, &Packet6::udp(town::FAR6_NARROW, 8).from(&source).hops(1).frame(WEST));
    }
    router.run();
    for (frame, reason) in [
        (Packet6::udp(town::BLACKHOLE6, 8).frame(WEST), "blackhole"),
        (Packet6::udp(&town::address6(EAST), 8).frame(WEST), "local"),
    ] {
        lonely.forward(WEST, &frame);
        assert_eq!(lonely.drops().get(&("ip6-lookup", reason)), Some(&1));
    }
    router
}

pub fn without_a_frame_none_is_sent() -> Router {
    let mut router = town_with(&Setup { frames: 1, ..Setup::default() });
    assert_eq!(router.forward(WEST, &Packet6::udp(town::FAR6, 18).hops(1).frame(WEST)), []);
    assert_eq!(router.events(), Tally::from([(("ip6-icmp-error", "no-frames"), 1)]));
    assert_eq!(router.drops(), Tally::from([(EXPIRED, 1)]));
    passes(&mut router, "the frame is back", &Packet6::udp(town::FAR6, 18).bytes(), EAST);
    router
}

pub fn errors_are_rate_limited() -> Router {
    let mut router = town();
    let mut probe = |hosts: u32, each: u32| {
        for host in (0..each).flat_map(|_| 0..hosts) {
            // All behind one neighbour, by the route back to them.
            let source = format!("2001:db8:f::{host:x}");
            router.feed(WEST, &Packet6::udp(town::FAR6_NARROW, 8).from(&source).hops(1).frame(WEST));
        }
        let sent = router.run().len();
        router.now += 100_000_000;
        sent
    };
    assert_eq!(probe(250, 1), 100, "a hundred at once");
    assert_eq!(probe(1, 30), 20, "twenty to one source");
    assert!(router.events().contains_key(&("ip6-icmp-error", "rate-limited")));
    router
}

pub fn neighbours_are_resolved() -> Router {
    let mut router = town();
    let asked = |router: &Router| -> Vec<(u16, String)> {
        let asked = router.requests.try_iter();
        asked
            .map(|weir_graph::node::Request::Resolve { port, address }| (port, address.to_string()))
            .collect()
    };
    let packets: Vec<Packet6> =
        (0..3).map(|number| Packet6::udp_ports("2001:db8:0:1::9", 1000 + number, 53, 18)).collect();
    for packet in &packets {
        router.feed(WEST, &packet.frame(WEST));
    }
    assert_eq!(router.run(), []);
    assert_eq!(asked(&router), [(EAST, "2001:db8:0:1::9".to_owned())], "once");
    let neighbour = router.neighbour(EAST, "2001:db8:0:1::9", 1500);
    router.route("2001:db8:0:1::9/128", &[neighbour]);
    let expected = |packet: &Packet6| Sent {
        port: EAST,
        frame: leaving6(EAST, "2001:db8:0:1::9", &forwarded(&packet.bytes())),
    };
    assert_eq!(router.pass(1000), packets.iter().map(expected).collect::<Vec<_>>(), "in order");

    let packet = Packet6::udp("2001:db8:0:1::3", 8);
    assert_eq!(router.forward(WEST, &packet.frame(WEST)), []);
    assert_eq!(asked(&router), [(EAST, "2001:db8:0:1::3".to_owned())], "a next hop that is not resolved");
    let sent = router.pass(3_000_000);
    assert_eq!(router.drops(), Tally::from([(("glean", "unresolved"), 1)]));
    let kind = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address);
    is_answer("a neighbour that is silent", WEST, &sent, &packet.bytes(), &kind);
    // The same number behind the same port, of the other version: another neighbour.
    router.route("2001:db8:0:1::/64", &[AdjacencyIndex::BLACKHOLE]);
    router
}

/// The port by which each packet leaves.
fn paths(router: &mut Router, packets: impl Iterator<Item = Packet6>) -> Vec<u16> {
    packets.map(|packet| router.forward(WEST, &packet.frame(WEST))[0].port).collect()
}

pub fn flows_spread_and_stay() -> Router {
    let mut router = town();
    let is_even = |what: &str, paths: &[u16]| {
        let east = paths.iter().filter(|port| **port == EAST).count();
        // Binomial: of 4000 flows four standard deviations are 126.
        assert!((1870..=2130).contains(&east), "{what}: {east} of {} flows by one of two paths", paths.len());
    };
    let far = town::FAR6_MULTIPATH;
    let by_port = || (0..4000).map(|port| Packet6::udp_ports(far, 1024 + port, 53, 8));
    let first = paths(&mut router, by_port());
    is_even("source ports", &first);
    assert_eq!(first, paths(&mut router, by_port()), "a flow keeps its path");
    let by_label = || (1..=4000).map(|label| Packet6::udp(far, 8).label(label));
    let labelled = paths(&mut router, by_label());
    is_even("flow labels", &labelled);
    // The label alone decides where there is one (RFC 6438): ports that are hidden, in fragments or by encryption, change nothing.
    let hidden = (1..=4000).map(|label| Packet6::of(IpNumber(50), far, vec![label as u8; 8]).label(label));
    assert_eq!(labelled, paths(&mut router, hidden));
    let by_source = (0..4000).map(|host| Packet6::udp(far, 8).from(&format!("2001:db8:9::{host:x}")));
    is_even("sources", &paths(&mut router, by_source));
    let behind =
        (0..4000).map(|port| Packet6::udp_ports(far, 1024 + port, 53, 8).behind(60, &[0, 1, 4, 0, 0, 0, 0]));
    assert_eq!(first, paths(&mut router, behind), "ports behind an extension header are found");
    for number in 0..200 {
        let whole = Packet6::udp_ports(far, 1024 + number, 7919, 64).from(&format!("2001:db8:9::{number:x}"));
        let pieces = [(0, true), (8, true), (16, false)];
        let ports = paths(&mut router, pieces.into_iter().map(|(at, more)| whole.clone().fragment(at, more)));
        assert_eq!(ports, [ports[0]; 3], "the pieces of packet {number}");
    }
    router
}
