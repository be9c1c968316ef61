//! One frame in, and what must come of it.

use etherparse::{Icmpv4Type, IpNumber, Ipv4Header};

use crate::harness::{
    Label, Router, Sent, Tally,
    datagram::{Datagram, arriving, header_checksum, icmp_error, leaving, parse, patched},
    link_header, port_mac,
    town::{self, BARE, EAST, NARROW, WEST, town},
};

/// Feeds one frame, which must be dropped for this reason alone, silently.
pub fn dropped(router: &mut Router, what: &str, port: u16, frame: &[u8], reason: Label) {
    let sent = router.forward(port, frame);
    assert_eq!(router.drops(), Tally::from([(reason, 1)]), "{what}");
    assert_eq!(sent, [], "{what}");
    assert_eq!(router.events(), Tally::new(), "{what}: silently");
}

/// Feeds one frame, which must be dropped for this reason, and this error come back to the neighbour that sent it.
pub fn answered(
    router: &mut Router,
    what: &str,
    port: u16,
    datagram: &[u8],
    reason: Label,
    kind: &Icmpv4Type,
) {
    let sent = router.forward(port, &arriving(port, datagram));
    assert_eq!(router.drops(), Tally::from([(reason, 1)]), "{what}");
    is_answer(what, port, &sent, datagram, kind);
    let event = match kind {
        Icmpv4Type::TimeExceeded(_) => "time-exceeded-sent",
        Icmpv4Type::ParameterProblem(_) => "parameter-problem-sent",
        _ => "unreachable-sent",
    };
    assert_eq!(router.events(), Tally::from([(("ip4-icmp-error", event), 1)]), "{what}");
}

/// What was sent is one ICMP error about `datagram`, to the neighbour behind `port`.
pub fn is_answer(what: &str, port: u16, sent: &[Sent], datagram: &[u8], kind: &Icmpv4Type) {
    let [Sent { port: by, frame }] = sent else { panic!("{what}: {sent:?} is not one answer") };
    assert_eq!(*by, port, "{what}");
    let identification = parse(frame).0.identification;
    let (router, sender) = (format!("10.0.{port}.1"), format!("10.0.{port}.2"));
    let error = icmp_error(&router, &sender, identification, kind.clone(), datagram);
    assert_eq!(frame[..], leaving(port, &sender, &error), "{what}");
}

/// The datagram as a router forwards it: one less to live, and a checksum computed anew.
pub fn forwarded(datagram: &[u8]) -> Vec<u8> {
    let (mut header, payload) = Ipv4Header::from_slice(datagram).unwrap();
    header.time_to_live -= 1;
    header.header_checksum = header.calc_header_checksum();
    let length = usize::from(header.total_len) - header.header_len();
    [header.to_bytes().as_slice(), &payload[..length]].concat()
}

/// Feeds one frame from the west, which must leave for the neighbour on `port`.
pub fn passes(router: &mut Router, what: &str, datagram: &[u8], port: u16) {
    let sent = router.forward(WEST, &arriving(WEST, datagram));
    let frame = leaving(port, &format!("10.0.{port}.2"), &forwarded(datagram));
    assert_eq!(sent, [Sent { port, frame }], "{what}");
    assert_eq!(router.drops(), Tally::new(), "{what}");
}

pub fn frames_that_are_not_for_the_router() -> Router {
    let mut router = town();
    let datagram = Datagram::udp(town::FAR, 18).bytes();
    let ours = arriving(WEST, &datagram);
    for length in [0, 1, 13] {
        let what = format!("{length} bytes");
        dropped(&mut router, &what, WEST, &ours[..length], ("ethernet-input", "too-short"));
    }
    let to = |destination: [u8; 6]| [&link_header(destination, [6, 0, 0, 0, 0, 9]), &datagram[..]].concat();
    for (what, destination, reason) in [
        ("another port's address", port_mac(EAST), "not-our-mac"),
        ("a neighbour's address", [6, 0, 10, 0, 0, 9], "not-our-mac"),
        ("no address", [0; 6], "not-our-mac"),
        ("broadcast", [0xff; 6], "group-address"),
        ("IPv4 multicast", [0x01, 0x00, 0x5e, 0, 0, 5], "group-address"),
        ("our address with the group bit", [0x03, 0, 0, 0, 0, 0], "group-address"),
    ] {
        dropped(&mut router, what, WEST, &to(destination), ("ethernet-input", reason));
    }
    for (what, ethertype) in [("ARP", [0x08, 0x06]), ("an IEEE 802.3 length", [0x00, 0x2e])] {
        let mut frame = ours.clone();
        frame[12..14].copy_from_slice(&ethertype);
        dropped(&mut router, what, WEST, &frame, ("ethernet-input", "not-ip"));
        frame[..6].fill(0xff);
        dropped(&mut router, what, WEST, &frame, ("ethernet-input", "not-ip"));
    }
    router
}

pub fn headers_and_lengths() -> Router {
    let mut router = town();
    let good = Datagram::udp(town::FAR, 12); // 20 + 8 + 12 bytes
    let frame = good.frame(WEST);
    for length in [14, 15, 33] {
        let what = format!("a frame of {length} bytes");
        dropped(&mut router, &what, WEST, &frame[..length], ("ip4-input", "too-short"));
    }
    for version in [0u8, 3, 5, 6, 15] {
        let frame = patched(frame.clone(), 0, &[version << 4 | 5]);
        dropped(&mut router, &format!("version {version}"), WEST, &frame, ("ip4-input", "bad-version"));
    }
    for words in 0..5u8 {
        let frame = patched(frame.clone(), 0, &[0x40 | words]);
        let reason = ("ip4-input", "bad-header-length");
        dropped(&mut router, &format!("header of {words} words"), WEST, &frame, reason);
    }
    for words in 11..=15u8 {
        let mut frame = frame.clone();
        frame[14] = 0x40 | words;
        let what = format!("header of {words} words in a frame with ten");
        dropped(&mut router, &what, WEST, &frame, ("ip4-input", "too-short"));
    }
    for total in [0u16, 19, 41, 54, 1500, 0xffff] {
        let frame = patched(frame.clone(), 2, &total.to_be_bytes());
        let reason = ("ip4-input", "bad-total-length");
        dropped(&mut router, &format!("total length {total}"), WEST, &frame, reason);
    }
    let mut longer = patched(frame.clone(), 0, &[0x46]);
    longer[16..18].copy_from_slice(&23u16.to_be_bytes()); // a byte less than the header
    let longer = patched(longer, 0, &[0x46]);
    dropped(&mut router, "total length within options", WEST, &longer, ("ip4-input", "bad-total-length"));

    passes(&mut router, "a header alone", &Datagram::of(IpNumber::UDP, town::FAR, vec![]).bytes(), EAST);
    for padding in [1, 6, 46, 1400] {
        let padded = [good.bytes(), vec![0xee; padding]].concat();
        passes(&mut router, &format!("{padding} bytes of padding are cut off"), &padded, EAST);
    }
    let padded = [good.clone().options(&[1, 1, 1, 1]).bytes(), vec![0xee; 9]].concat();
    passes(&mut router, "padding behind a header with options", &padded, EAST);
    router
}

pub fn header_checksums() -> Router {
    let mut router = town();
    let frame = Datagram::udp(town::FAR, 12).frame(WEST);
    for bit in 0..160 {
        let mut frame = frame.clone();
        frame[14 + bit / 8] ^= 1 << (bit % 8);
        let sent = router.forward(WEST, &frame);
        assert_eq!(sent, [], "bit {bit} of the header is wrong");
        let drops = router.drops();
        let (reason, _) = drops.first_key_value().unwrap();
        assert_eq!(reason.0, "ip4-input", "bit {bit}: {reason:?}");
        // What lies outside version and lengths is found by the checksum.
        assert!(reason.1 == "bad-checksum" || bit < 8 || (16..32).contains(&bit), "bit {bit}: {reason:?}");
    }
    // Every checksum that a header can have, by way of the identification: 0x0000 in and out among them.
    let (mut zero_in, mut zero_out) = (false, false);
    for identification in 0..=u16::MAX {
        let mut datagram = Datagram::udp(town::FAR, 0);
        datagram.header.identification = identification;
        let bytes = datagram.bytes();
        let out = forwarded(&bytes);
        let edge = |datagram: &[u8]| datagram[10..12] == [0, 0];
        if !edge(&bytes) && !edge(&out) && identification % 251 != 0 {
            continue;
        }
        passes(&mut router, &format!("identification {identification}"), &bytes, EAST);
        zero_in |= edge(&bytes);
        zero_out |= edge(&out);
        if edge(&bytes) {
            // One's complement has two zeroes, and a receiver may not tell them apart (RFC 1071 §2, RFC 1624 §3).
            let mut other = arriving(WEST, &bytes);
            other[24..26].copy_from_slice(&[0xff, 0xff]);
            let sent = router.forward(WEST, &other);
            assert_eq!(sent, [Sent { port: EAST, frame: leaving(EAST, "10.0.1.2", &out) }], "0xffff for 0");
        }
    }
    assert!(zero_in && zero_out);
    assert_eq!(header_checksum(&Datagram::udp(town::FAR, 0).bytes()[..20]), {
        Ipv4Header::from_slice(&Datagram::udp(town::FAR, 0).bytes()).unwrap().0.calc_header_checksum()
    });
    router
}

pub fn martian_addresses() -> Router {
    let mut router = town();
    let plain = [Datagram::udp(town::FAR, 8), Datagram::udp(town::FAR, 8).options(&[1, 1, 1, 0])];
    for datagram in &plain {
        for source in ["0.0.0.0", "0.255.1.2", "127.0.0.1", "127.255.255.255", "224.0.0.1", "239.1.2.3"]
            .into_iter()
            .chain(["240.0.0.1", "255.255.255.255"])
        {
            let frame = datagram.clone().from(source).frame(WEST);
            dropped(&mut router, source, WEST, &frame, ("ip4-input", "martian-source"));
        }
        let mut to = |destination: &str, reason| {
            let mut datagram = datagram.clone();
            datagram.header.destination = destination.parse::<std::net::Ipv4Addr>().unwrap().octets();
            dropped(&mut router, destination, WEST, &datagram.frame(WEST), ("ip4-input", reason));
        };
        for destination in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "240.0.0.1", "255.255.255.255"] {
            to(destination, "martian-destination");
        }
        to("169.254.0.1", "link-local");
        to("169.254.255.255", "link-local");
        for destination in ["224.0.0.1", "224.0.0.5", "239.255.255.255"] {
            to(destination, "multicast");
        }
        let frame = datagram.clone().from("169.254.7.7").frame(WEST);
        dropped(&mut router, "a link-local source", WEST, &frame, ("ip4-input", "link-local"));
        for source in
            ["1.0.0.1", "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.1", "223.255.255.255"]
        {
            passes(&mut router, source, &datagram.clone().from(source).bytes(), EAST);
        }
    }
    router
}

pub fn forwarding() -> Router {
    let mut router = town();
    for ttl in [2, 3, 64, 255] {
        passes(&mut router, &format!("TTL {ttl}"), &Datagram::udp(town::FAR, 8).ttl(ttl).bytes(), EAST);
    }
    passes(&mut router, "to a neighbour itself", &Datagram::udp("10.0.1.2", 8).bytes(), EAST);
    passes(&mut router, "back by the port it came from", &Datagram::udp("10.0.0.2", 8).bytes(), WEST);
    passes(&mut router, "as much as the link carries", &Datagram::udp(town::FAR, 1472).bytes(), EAST);
    let most = Datagram::udp(town::FAR_NARROW, 548).dont_fragment();
    passes(&mut router, "as much as the narrow link carries", &most.bytes(), NARROW);
    passes(&mut router, "a port without an address forwards", &Datagram::udp("10.0.3.2", 8).bytes(), BARE);
    let mut datagram = Datagram::udp(town::FAR, 8).dont_fragment();
    datagram.header.dscp = etherparse::IpDscp::try_new(46).unwrap();
    datagram.header.ecn = etherparse::IpEcn::try_new(3).unwrap();
    datagram.header.identification = 0xffff;
    passes(&mut router, "what is not the router's stays", &datagram.bytes(), EAST);
    let mut reserved = Datagram::udp(town::FAR, 8).frame(WEST);
    reserved = patched(reserved, 6, &[0x80, 0]);
    let sent = router.forward(WEST, &reserved);
    assert_eq!(sent[0].frame[20..22], [0x80, 0], "the reserved flag stays");
    for protocol in [0, 1, 6, 17, 47, 50, 255] {
        let datagram = Datagram::of(IpNumber(protocol), town::FAR, vec![8, 0, 1, 2]);
        passes(&mut router, &format!("protocol {protocol}"), &datagram.bytes(), EAST);
    }
    passes(&mut router, "a fragment", &Datagram::udp(town::FAR, 64).fragment(3, true).bytes(), EAST);
    let (packets, bytes) = router.received(WEST);
    assert_eq!(packets, router.fed);
    assert!(bytes > packets * 34);
    router
}

pub fn routes_that_lead_nowhere() -> Router {
    let mut router = town();
    for (destination, reason) in [
        (town::BLACKHOLE, ("ip4-lookup", "blackhole")),
        ("10.0.0.1", ("ip4-lookup", "local")),
        ("10.0.1.1", ("ip4-lookup", "local")),
        (town::GONE, ("ip4-rewrite", "next-hop-gone")),
        (town::MISSING_PORT, ("tx", "no-such-port")),
    ] {
        let frame = Datagram::udp(destination, 8).frame(WEST);
        dropped(&mut router, destination, WEST, &frame, reason);
    }
    // The route counters say which route it was: here the one that there is not.
    let before = router.combined_at("/net/route/to", 0);
    router.forward(WEST, &Datagram::udp(town::NO_ROUTE, 8).frame(WEST));
    // The lookup of the error that goes back finds a route; the datagram has 36 bytes.
    assert_eq!(router.combined_at("/net/route/to", 0), (before.0 + 1, before.1 + 36));
    router
}
