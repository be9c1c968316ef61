//! ICMP errors: what they say, what they quote, and when there is none.

use etherparse::{
    IcmpEchoHeader, Icmpv4Type, IpNumber,
    icmpv4::{DestUnreachableHeader, TimeExceededCode},
};

use crate::harness::{
    Router, Setup, Tally,
    datagram::{Datagram, parse},
    town::{self, BARE, EAST, NARROW, WEST, town, town_with},
};
use crate::single::{answered, dropped, passes};

pub const TTL_EXCEEDED: Icmpv4Type = Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit);

fn unreachable_because(header: DestUnreachableHeader) -> Icmpv4Type {
    Icmpv4Type::DestinationUnreachable(header)
}

pub fn time_exceeded() -> Router {
    let mut router = town();
    let expired = ("ip4-rewrite", "ttl-expired");
    for ttl in [0, 1] {
        for (what, datagram) in [
            ("UDP", Datagram::udp(town::FAR, 18)),
            ("an ICMP echo", Datagram::echo(town::FAR)),
            ("an ICMP echo reply", {
                let reply = Icmpv4Type::EchoReply(IcmpEchoHeader { id: 1, seq: 1 });
                Datagram::icmp(town::FAR, reply, &[0; 8])
            }),
            ("a header alone", Datagram::of(IpNumber::UDP, town::FAR, vec![])),
            ("a first fragment", Datagram::udp(town::FAR, 64).fragment(0, true)),
            ("too big as well", Datagram::udp(town::FAR_NARROW, 1000).dont_fragment()),
            ("to a neighbour that is not known", Datagram::udp("10.0.1.9", 8)),
            ("to a next hop that is not resolved", Datagram::udp("10.0.1.3", 8)),
        ] {
            router.now += 1_000_000; // so that no rate limit is in the way
            answered(&mut router, what, WEST, &datagram.ttl(ttl).bytes(), expired, &TTL_EXCEEDED);
        }
        let from_east = Datagram::udp("10.0.0.2", 8).from("10.0.1.2").ttl(ttl).bytes();
        answered(&mut router, "from the port's own address", EAST, &from_east, expired, &TTL_EXCEEDED);
    }
    router
}

pub fn fragmentation_needed() -> Router {
    let mut router = town();
    let needed =
        |next_hop_mtu| unreachable_because(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu });
    let too_big = ("ip4-rewrite", "too-big");
    for length in [549, 1000, 1472] {
        let datagram = Datagram::udp(town::FAR_NARROW, length).dont_fragment().bytes();
        answered(&mut router, "DF", WEST, &datagram, too_big, &needed(576));
    }
    let datagram = Datagram::udp(town::TIGHT, 41).dont_fragment().bytes();
    answered(&mut router, "the next hop's MTU, not the port's", WEST, &datagram, too_big, &needed(68));
    let datagram = Datagram::udp(town::FAR_NARROW, 541).options(&[1; 8]).dont_fragment().bytes();
    answered(&mut router, "options count", WEST, &datagram, too_big, &needed(576));
    let first = Datagram::udp(town::FAR_NARROW, 1000).fragment(0, true).dont_fragment().bytes();
    answered(&mut router, "a first fragment", WEST, &first, too_big, &needed(576));
    router
}

pub fn unreachable() -> Router {
    let mut router = town();
    for (destination, reason, header) in [
        (town::NO_ROUTE, "no-route", DestUnreachableHeader::Network),
        (town::UNREACHABLE, "no-route", DestUnreachableHeader::Network),
        (town::NO_PORT, "no-port", DestUnreachableHeader::Network),
        (town::PROHIBITED, "prohibited", DestUnreachableHeader::FilterProhibited),
    ] {
        let datagram = Datagram::udp(destination, 18).bytes();
        let reason = ("ip4-lookup", reason);
        answered(&mut router, destination, WEST, &datagram, reason, &unreachable_because(header));
    }
    router
}

pub fn quotes_at_most_576_bytes() -> Router {
    let mut router = town();
    for length in [0, 1, 519, 520, 521, 1400, 1472] {
        let datagram = Datagram::udp(town::FAR, length).ttl(1).bytes();
        let what = format!("{length} bytes of data");
        answered(&mut router, &what, WEST, &datagram, ("ip4-rewrite", "ttl-expired"), &TTL_EXCEEDED);
    }
    let sent = router.forward(WEST, &Datagram::udp(town::FAR, 1472).ttl(1).frame(WEST));
    let (header, _) = parse(&sent[0].frame);
    assert_eq!((header.total_len, header.dscp.value(), header.time_to_live), (576, 48, 64));
    // Across the narrow link it goes in one piece, and padding of the packet is no part of it.
    let padded = [Datagram::udp(town::FAR, 0).ttl(1).frame(WEST), vec![0xee; 18]].concat();
    let sent = router.forward(WEST, &padded);
    assert_eq!(parse(&sent[0].frame).0.total_len, 28 + 28);
    let next = router.forward(WEST, &padded);
    let number = |frame: &[u8]| parse(frame).0.identification;
    assert_ne!(number(&sent[0].frame), number(&next[0].frame), "errors differ in identification");
    router
}

pub fn never_about_what_no_error_may_be_sent_about() -> Router {
    let mut router = town();
    let not_allowed = Tally::from([(("ip4-icmp-error", "not-allowed"), 1)]);
    let mut silent = |what: &str, datagram: Datagram, reason| {
        let sent = router.forward(WEST, &datagram.frame(WEST));
        assert_eq!(sent, [], "{what}");
        assert_eq!(router.drops(), Tally::from([(reason, 1)]), "{what}");
        assert_eq!(router.events(), not_allowed, "{what}");
    };
    let expired = ("ip4-rewrite", "ttl-expired");
    for kind in [3, 4, 5, 11, 12] {
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[0x45; 28]].concat();
        let error = |destination| Datagram::of(IpNumber::ICMP, destination, message.clone());
        silent("an ICMP error that expires", error(town::FAR).ttl(1), expired);
        silent("an ICMP error without a route", error(town::NO_ROUTE), ("ip4-lookup", "no-route"));
        silent("behind options", error(town::FAR).options(&[1; 40]).ttl(1), expired);
        let mut large = error(town::FAR_NARROW).dont_fragment();
        large.payload.resize(600, 0);
        silent("an ICMP error that is too big", large, ("ip4-rewrite", "too-big"));
    }
    silent("ICMP without a type", Datagram::of(IpNumber::ICMP, town::FAR, vec![]).ttl(1), expired);
    for (offset, more) in [(1, true), (1, false), (185, false), (0x1fff, false)] {
        let fragment = Datagram::udp(town::FAR, 64).fragment(offset, more).ttl(1);
        silent("a fragment behind the first", fragment, expired);
    }
    router
}

pub fn an_error_that_cannot_be_sent_is_not_answered() -> Router {
    let mut router = town();
    for (source, reason) in [
        (town::NO_ROUTE, "no-route"),
        (town::PROHIBITED, "prohibited"),
        (town::NO_PORT, "no-port"),
        (town::BLACKHOLE, "blackhole"),
        ("10.0.1.1", "local"), // somebody says that he is us
    ] {
        let datagram = Datagram::udp(town::FAR, 18).from(source).ttl(1);
        assert_eq!(router.forward(WEST, &datagram.frame(WEST)), [], "{source}");
        let drops = Tally::from([(("ip4-rewrite", "ttl-expired"), 1), (("ip4-lookup", reason), 1)]);
        assert_eq!(router.drops(), drops, "{source}");
    }
    // A sender whose MAC address is not known is asked for; while it is silent the error waits, and then ends in silence.
    let datagram = Datagram::udp(town::FAR, 18).from("10.0.0.77").ttl(1);
    assert_eq!(router.forward(WEST, &datagram.frame(WEST)), []);
    assert_eq!(router.graph.held(), 1);
    router.drops();
    assert_eq!(router.pass(3_000_000), []);
    assert_eq!(router.drops(), Tally::from([(("glean", "unresolved"), 1)]));
    // An error that is larger than the link to the sender is fragmented like any other datagram.
    let datagram = Datagram::udp(town::FAR, 1400).from(town::TIGHT).ttl(1);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    assert_eq!(sent.len(), (576usize - 20).div_ceil(48));
    assert!(sent.iter().all(|piece| piece.port == NARROW && parse(&piece.frame).0.total_len <= 68));
    router
}

pub fn without_an_address_or_a_frame_none_is_sent() -> Router {
    let mut router = town();
    let datagram = Datagram::udp(town::FAR, 18).ttl(1);
    assert_eq!(router.forward(BARE, &datagram.frame(BARE)), []);
    assert_eq!(router.events(), Tally::from([(("ip4-icmp-error", "no-address"), 1)]));
    assert_eq!(router.drops(), Tally::from([(("ip4-rewrite", "ttl-expired"), 1)]));

    let mut router = town_with(&Setup { frames: 1, ..Setup::default() });
    assert_eq!(router.forward(WEST, &datagram.frame(WEST)), []);
    assert_eq!(router.events(), Tally::from([(("ip4-icmp-error", "no-frames"), 1)]));
    assert_eq!(router.drops(), Tally::from([(("ip4-rewrite", "ttl-expired"), 1)]));
    passes(&mut router, "the frame is back", &Datagram::udp(town::FAR, 18).bytes(), EAST);
    router.forward(BARE, &datagram.frame(BARE));
    router
}

/// Sends TTL 1 from so many hosts, each `each` times, in one burst; the answers.
fn probe(router: &mut Router, hosts: u32, each: u32) -> usize {
    for _ in 0..each {
        for host in 0..hosts {
            // All behind one neighbour, by the route back to them.
            let source = format!("192.0.2.{host}");
            router.feed(WEST, &Datagram::udp(town::FAR_NARROW, 8).from(&source).ttl(1).frame(WEST));
        }
    }
    let sent = router.run();
    assert!(sent.iter().all(|error| error.port == EAST));
    assert_eq!(router.drops(), Tally::from([(("ip4-rewrite", "ttl-expired"), u64::from(hosts * each))]));
    let refused = router.events().get(&("ip4-icmp-error", "rate-limited")).copied().unwrap_or(0);
    assert_eq!(sent.len() + refused as usize, (hosts * each) as usize);
    sent.len()
}

pub fn is_rate_limited_in_all() -> Router {
    let mut router = town();
    assert_eq!(probe(&mut router, 250, 1), 100, "a hundred at once");
    router.now += 10_000;
    assert_eq!(probe(&mut router, 250, 1), 10, "a thousand a second");
    assert_eq!(probe(&mut router, 250, 1), 0);
    router.now += 100_000_000;
    assert_eq!(probe(&mut router, 250, 1), 100, "never more than a hundred at once");
    router
}

pub fn is_rate_limited_by_source() -> Router {
    let mut router = town();
    assert_eq!(probe(&mut router, 1, 30), 20, "twenty at once");
    router.now += 50_000;
    assert_eq!(probe(&mut router, 1, 30), 5, "a hundred a second");
    assert_eq!(probe(&mut router, 2, 10), 10, "another source still gets its own");
    // Refused by source, an error takes nothing of what all share.
    assert_eq!(probe(&mut router, 1, 100), 0);
    assert!(probe(&mut router, 60, 1) > 50);
    dropped(
        &mut router,
        "dropped",
        WEST,
        &Datagram::udp(town::BLACKHOLE, 8).frame(WEST),
        ("ip4-lookup", "blackhole"),
    );
    router
}
