//! The seeds of the fuzz target, by name: frames that are right, each with something else in it, and a few short stories.

use etherparse::{Icmpv4Type, IpNumber, icmpv4::TimeExceededCode};

use super::{
    datagram::{Datagram, patched},
    script::{FIX_CHECKSUM, FIX_LINK, JOIN, RUN, RUN_ANSWER, RUN_SECOND, record},
    town::{self, WEST},
};

/// All seeds: name and script.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let one = |datagram: &Datagram| record(RUN | FIX_LINK | FIX_CHECKSUM, &datagram.frame(WEST));
    let udp = |length| Datagram::udp(town::FAR, length);
    let raw = |frame: &[u8]| record(RUN, frame);
    let options = |options: &[u8]| one(&udp(8).options(options));
    let unknown = Datagram::udp("10.0.1.9", 8).frame(WEST);
    vec![
        ("udp-forwarded", one(&udp(18))),
        ("udp-padded", raw(&[udp(0).frame(WEST).as_slice(), &[0xaa; 18]].concat())),
        ("tcp-forwarded", one(&Datagram::of(IpNumber::TCP, town::FAR, vec![0; 20]))),
        ("icmp-echo", one(&Datagram::echo(town::FAR))),
        ("header-only", one(&Datagram::of(IpNumber::UDP, town::FAR, Vec::new()))),
        ("ttl-0", one(&udp(8).ttl(0))),
        ("ttl-1", one(&udp(8).ttl(1))),
        ("ttl-1-long", one(&udp(1400).ttl(1))),
        ("ttl-1-options", one(&udp(8).ttl(1).options(&[7, 7, 4, 0, 0, 0, 0]))),
        ("icmp-error-ttl-1", {
            let kind = Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit);
            one(&Datagram::icmp(town::FAR, kind, &[0x45; 28]).ttl(1))
        }),
        ("icmp-of-one-byte", one(&Datagram::of(IpNumber::ICMP, town::FAR, vec![8]).ttl(1))),
        ("too-big-dont-fragment", one(&Datagram::udp(town::FAR_NARROW, 1000).dont_fragment())),
        ("fragmented-here", one(&Datagram::udp(town::FAR_NARROW, 1472))),
        ("fragmented-again", one(&Datagram::udp(town::FAR_NARROW, 1472).fragment(100, true))),
        (
            "fragmented-with-options",
            one(&Datagram::udp(town::FAR_NARROW, 1400).options(&[148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 1])),
        ),
        ("fragmented-to-68-bytes", one(&Datagram::udp(town::TIGHT, 200))),
        ("last-fragment", one(&udp(40).fragment(64, false))),
        ("fragment-beyond-64k", one(&Datagram::udp(town::FAR_NARROW, 1472).fragment(0x1fff, true))),
        ("options-record-route", options(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("options-timestamp", options(&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("options-source-route", options(&[131, 7, 4, 10, 0, 0, 1])),
        ("options-bad-length", options(&[7, 40, 4])),
        ("options-forty-bytes", options(&[7; 40])),
        ("header-length-0", raw(&patched(udp(8).frame(WEST), 0, &[0x40]))),
        ("header-length-60-in-40", raw(&patched(udp(12).frame(WEST), 0, &[0x4a]))),
        ("total-length-too-large", raw(&patched(udp(8).frame(WEST), 2, &[0xff, 0xff]))),
        ("version-6", raw(&patched(udp(8).frame(WEST), 0, &[0x65]))),
        ("martian-source", one(&udp(8).from("127.0.0.1"))),
        ("multicast", one(&Datagram::udp("224.0.0.5", 8))),
        ("no-route", one(&Datagram::udp(town::NO_ROUTE, 8))),
        ("prohibited", one(&Datagram::udp(town::PROHIBITED, 8))),
        ("blackhole", one(&Datagram::udp(town::BLACKHOLE, 8))),
        ("no-port", one(&Datagram::udp(town::NO_PORT, 8))),
        ("next-hop-gone", one(&Datagram::udp(town::GONE, 8))),
        ("missing-port", one(&Datagram::udp(town::MISSING_PORT, 8))),
        ("mtu-too-small", one(&Datagram::udp(town::IMPOSSIBLE, 8))),
        ("link-local", one(&Datagram::udp("169.254.1.1", 8))),
        ("to-the-router", one(&Datagram::udp("10.0.1.1", 8))),
        ("two-paths", {
            let flow = |from| Datagram::udp_ports(town::FAR_MULTIPATH, from, 53, 8).frame(WEST);
            (0..8).flat_map(|from| record(JOIN, &flow(from))).collect()
        }),
        ("arp", {
            let mut frame = [0xff; 42].to_vec();
            frame[12..14].copy_from_slice(&[0x08, 0x06]);
            raw(&frame)
        }),
        ("thirteen-bytes", raw(&[2, 0, 0, 0, 0, 0, 6, 0, 10, 0, 0, 2, 8])),
        ("bridged", super::bridge::kinds().iter().flat_map(|(_, frame)| record(JOIN, frame)).collect()),
        ("two-vlans-of-one-port", {
            let tagged = |(_, frame): &(_, Vec<u8>)| {
                record(
                    super::bridge::STICK as u8,
                    &[&frame[..12], &[0x81, 0, 0x60, 2], &frame[12..]].concat(),
                )
            };
            super::bridge::kinds().iter().take(17).flat_map(tagged).collect()
        }),
        ("unknown-neighbour-answers", {
            let four: Vec<u8> = (0..4).flat_map(|_| record(JOIN, &unknown)).collect();
            [four, record(RUN_ANSWER, &unknown), record(RUN, &unknown)].concat()
        }),
        ("unknown-neighbour-is-silent", (0..5).flat_map(|_| record(RUN_SECOND, &unknown)).collect()),
        ("unknown-next-hop", record(RUN_ANSWER, &Datagram::udp("10.0.1.3", 8).frame(WEST))),
        ("scan", {
            let probe = |last| Datagram::udp(&format!("10.0.2.{last}"), 0).frame(WEST);
            (10..26).flat_map(|last| record(JOIN, &probe(last))).collect()
        }),
    ]
}
