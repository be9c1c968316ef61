//! The seeds of the fuzz target, by name: frames that are right, each with something else in it, and a few short stories.

use etherparse::{Icmpv4Type, IpNumber, TcpOptionElement, icmpv4::TimeExceededCode};

use super::{
    access::{Access, Host, extended},
    bridge::{LAN, WAN, flawed},
    datagram::{Datagram, patched},
    packet6::Packet6,
    port_mac,
    script::{CUT, FIX_CHECKSUM, FIX_LINK, JOIN, RUN, RUN_ANSWER, RUN_SECOND, TAGGED, record},
    town::{self, BARE, EAST, ONE, TWO, WEST},
};

/// All seeds: name and script.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    [of_a_router(), of_a_router_of_ipv6(), of_sub_interfaces(), of_an_access_network()].concat()
}

/// What crosses a bridge between an access network and the internet: each encapsulation, and what contradicts itself. The frames are for no router.
fn of_an_access_network() -> Vec<(&'static str, Vec<u8>)> {
    const CLIENT: Host = ["10.0.0.2", "2001:db8::2"];
    const SERVER: Host = ["192.0.2.7", "2001:db9::7"];
    let talk = |access: Access| {
        let segment = |from: (Host, u16), to: (Host, u16), sequence, acknowledgement, times: (u32, u32)| {
            let option = TcpOptionElement::Timestamp(times.0, times.1);
            let builder = access.ip(from.0, to.0).tcp(from.1, to.1, sequence, 512).ack(acknowledgement);
            let mut packet = Vec::new();
            builder.options(&[option]).unwrap().write(&mut packet, b"data").unwrap();
            packet
        };
        let (client, server) = ((CLIENT, 5000), (SERVER, 443));
        let there = segment(client, server, 100, 500, (20, 7));
        let mut packets = vec![
            (LAN, there.clone()),
            (WAN, segment(server, client, 500, 104, (8, 20))),
            (LAN, access.echo(CLIENT, SERVER, false)),
        ];
        packets.extend(access.pieces(&there, 16, 9).into_iter().map(|piece| (LAN, piece)));
        let frames = packets.iter().map(|(port, packet)| (*port, access.frame([4; 6], [2; 6], packet)));
        (access.name, frames.flat_map(|(port, frame)| record(RUN | port as u8, &frame)).collect())
    };
    let flawed = flawed().into_iter().map(|(name, _, frame)| (name, record(RUN | LAN as u8, &frame)));
    let extended = extended().into_iter().map(|(name, _, packet)| {
        let frames = [Access::ALL[1], Access::ALL[3]].map(|access| access.frame([4; 6], [2; 6], &packet));
        (name, frames.map(|frame| record(RUN | LAN as u8, &frame)).concat())
    });
    Access::ALL.into_iter().map(talk).chain(flawed).chain(extended).collect()
}

fn of_a_router() -> Vec<(&'static str, Vec<u8>)> {
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

fn of_a_router_of_ipv6() -> Vec<(&'static str, Vec<u8>)> {
    let one = |packet: &Packet6| record(RUN | FIX_LINK, &packet.frame(WEST));
    let raw = |frame: &[u8]| record(RUN, frame);
    let udp = |length| Packet6::udp(town::FAR6, length);
    let with = |options: &[u8]| one(&udp(8).options(options));
    let behind = |number, bytes: &[u8]| one(&udp(8).behind(number, bytes));
    let patched = |at: usize, bytes: &[u8]| {
        let mut frame = udp(8).frame(WEST);
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        raw(&frame)
    };
    let error = |kind| Packet6::icmp(town::FAR6, kind, &[0x60; 48]).hops(1);
    let unknown = udp_to("2001:db8:0:1::9");
    vec![
        ("six-udp-forwarded", one(&udp(18))),
        ("six-udp-padded", raw(&[udp(0).frame(WEST).as_slice(), &[0xaa; 18]].concat())),
        ("six-tcp-forwarded", one(&Packet6::of(IpNumber::TCP, town::FAR6, vec![0; 20]))),
        ("six-echo", one(&Packet6::icmp(town::FAR6, 128, &[0; 24]))),
        ("six-header-only", one(&Packet6::of(IpNumber::IPV6_NO_NEXT_HEADER, town::FAR6, vec![]))),
        ("six-hop-limit-0", one(&udp(8).hops(0))),
        ("six-hop-limit-1", one(&udp(8).hops(1))),
        ("six-hop-limit-1-long", one(&udp(1400).hops(1))),
        ("six-hop-limit-1-options", one(&udp(8).options(&[0; 6]).hops(1))),
        ("six-hop-limit-1-later-fragment", one(&udp(64).fragment(9, false).hops(1))),
        ("six-too-big", one(&Packet6::udp(town::FAR6_NARROW, 1000))),
        ("six-too-big-for-the-next-hop", one(&Packet6::udp(town::FAR6_TIGHT, 1400))),
        ("six-no-route", one(&udp_to(town::NO_ROUTE6))),
        ("six-unreachable", one(&udp_to(town::UNREACHABLE6))),
        ("six-prohibited", one(&udp_to(town::PROHIBITED6))),
        ("six-blackhole", one(&udp_to(town::BLACKHOLE6))),
        ("six-no-port", one(&udp_to(town::NO_PORT6))),
        ("six-next-hop-gone", one(&udp_to(town::GONE6))),
        ("six-to-the-router", one(&udp_to(&town::address6(EAST)))),
        ("six-options-good", with(&[5, 2, 0, 0, 1, 0])),
        ("six-options-skipped", with(&[0x1e, 4, 1, 2, 3, 4])),
        ("six-options-unknown-01", with(&[0x5e, 4, 0, 0, 0, 0])),
        ("six-options-unknown-10", with(&[0x9e, 4, 0, 0, 0, 0])),
        ("six-options-unknown-11", with(&[0xde, 4, 0, 0, 0, 0])),
        ("six-options-jumbo", with(&[0xc2, 4, 0, 1, 0, 0])),
        ("six-options-cut", with(&[0x1e, 9, 0, 0, 0, 0])),
        ("six-options-beyond-the-packet", behind(0, &[9, 1, 4, 0, 0, 0, 0])),
        ("six-options-too-many", with(&[0x1e, 0].repeat(11))),
        ("six-options-to-an-incomplete-next-hop", one(&udp_to("2001:db8:0:1::3").options(&[0; 6]))),
        ("six-jumbogram", {
            let mut frame = udp(8).options(&[0xc2, 4, 0, 1, 0, 0]).frame(WEST);
            frame[18..20].fill(0);
            raw(&frame)
        }),
        ("six-destination-options", behind(60, &[0, 0xfe, 4, 1, 2, 3, 4])),
        ("six-routing-header", behind(43, &[2, 0, 1, 0, 0, 0, 0])),
        ("six-authentication-header", behind(51, &[4, 0, 0, 0, 0, 0, 7])),
        ("six-extension-header-too-long", behind(60, &[0xff; 7])),
        ("six-first-fragment", one(&udp(64).fragment(0, true))),
        ("six-later-fragment", one(&udp(64).fragment(9, false))),
        ("six-atomic-fragment", one(&udp(64).fragment(0, false))),
        ("six-error-expires", one(&error(1))),
        ("six-error-expires-in-a-fragment", one(&error(3).fragment(0, true).hops(1))),
        ("six-error-expires-behind-options", one(&error(4).options(&[0; 6]).hops(1))),
        ("six-error-without-a-route", one(&Packet6::icmp(town::NO_ROUTE6, 2, &[0x60; 48]))),
        ("six-redirect-expires", one(&error(137))),
        ("six-icmp-of-no-byte", one(&Packet6::of(IpNumber::IPV6_ICMP, town::FAR6, vec![]).hops(1))),
        ("six-link-local-source", one(&udp(8).from("fe80::2"))),
        ("six-link-local-destination", one(&udp_to("fe80::1"))),
        ("six-multicast", one(&udp_to("ff0e::1"))),
        ("six-unspecified-source", one(&udp(8).from("::").hops(1))),
        ("six-mapped-destination", one(&udp_to("::ffff:192.0.2.7"))),
        ("six-multicast-source", one(&udp(8).from("ff02::1"))),
        ("six-version-4", patched(14, &[0x45])),
        ("six-payload-length-too-large", patched(18, &[0xff, 0xff])),
        ("six-payload-length-too-small", patched(18, &[0, 3])),
        ("six-cut-in-the-header", raw(&udp(8).frame(WEST)[..53])),
        ("six-no-address-to-answer-from", record(RUN | BARE as u8, &udp(8).hops(1).frame(BARE))),
        ("six-two-paths-by-ports", {
            let flow = |from| Packet6::udp_ports(town::FAR6_MULTIPATH, from, 53, 8).frame(WEST);
            (0..8).flat_map(|from| record(JOIN, &flow(from))).collect()
        }),
        ("six-two-paths-by-label", {
            let flow = |label| Packet6::udp(town::FAR6_MULTIPATH, 8).label(label).frame(WEST);
            (1..9).flat_map(|label| record(JOIN, &flow(label))).collect()
        }),
        ("six-and-four", {
            let (six, four) = (udp(8).frame(WEST), Datagram::udp(town::FAR, 8).frame(WEST));
            (0..4).flat_map(|_| [record(JOIN, &six), record(JOIN, &four)].concat()).collect()
        }),
        ("six-unknown-neighbour-answers", {
            let join = record(JOIN, &unknown.frame(WEST)).repeat(4);
            [join, record(RUN_ANSWER, &unknown.frame(WEST)), one(&unknown)].concat()
        }),
        ("six-unknown-neighbour-is-silent", record(RUN_SECOND, &unknown.frame(WEST)).repeat(5)),
        ("six-unknown-next-hop", record(RUN_ANSWER, &udp_to("2001:db8:0:1::3").frame(WEST))),
        ("six-scan", {
            let probe = |last| udp_to(&format!("2001:db8:0:2::{last:x}")).frame(WEST);
            (0x10..0x20).flat_map(|last| record(JOIN, &probe(last))).collect()
        }),
        ("six-in-buffers", {
            let cut = |length| record(JOIN | FIX_LINK | CUT, &udp(length).frame(WEST));
            [cut(1400), cut(600), cut(60)].concat()
        }),
        ("six-in-buffers-expires", record(RUN | FIX_LINK | CUT, &udp(1400).hops(1).frame(WEST))),
    ]
}

fn udp_to(destination: &str) -> Packet6 {
    Packet6::udp(destination, 8)
}

/// What comes by VLANs, and what lies in several buffers.
fn of_sub_interfaces() -> Vec<(&'static str, Vec<u8>)> {
    const REPAIRED: u8 = RUN | FIX_LINK | FIX_CHECKSUM;
    let four = |control, datagram: &Datagram| record(REPAIRED | control, &datagram.frame(WEST));
    let six = |control, packet: &Packet6| record(REPAIRED | control, &packet.frame(WEST));
    let by_two = TAGGED | EAST as u8;
    let with_tags = |port, tags: &[[u8; 4]]| {
        let datagram = Datagram::udp(town::FAR, 8).bytes();
        record(
            RUN | town::carrier(port) as u8,
            &[&port_mac(port), &[6; 6][..], &tags.concat(), &[8, 0], &datagram].concat(),
        )
    };
    let [one, outer, inner] = [[0x81, 0, 0, 100], [0x88, 0xa8, 0, 7], [0x81, 0, 0, 5]];
    let behind = |port: u16| format!("172.20.{port}.9");
    let behind6 = |port: u16| format!("2001:db8:20:{port}::9");
    vec![
        ("vlan-to-a-port", four(TAGGED, &Datagram::udp(town::FAR, 18))),
        ("vlan-to-a-port-six", six(TAGGED, &Packet6::udp(town::FAR6, 18))),
        ("vlan-in-vlan-to-a-port", four(by_two, &Datagram::udp(town::HOST, 18))),
        ("vlan-in-vlan-to-a-port-six", six(by_two, &Packet6::udp(town::HOST6, 18))),
        ("port-to-a-vlan", four(0, &Datagram::udp(&behind(ONE), 18))),
        ("port-to-a-vlan-in-vlan-six", six(0, &Packet6::udp(&behind6(TWO), 18))),
        ("vlan-to-a-vlan-in-vlan", four(TAGGED, &Datagram::udp(&behind(TWO), 18))),
        ("vlan-in-vlan-to-a-vlan-six", six(by_two, &Packet6::udp(&behind6(ONE), 18))),
        ("vlan-expires", four(TAGGED, &Datagram::udp(town::FAR, 8).ttl(1).from("10.0.4.2"))),
        (
            "vlan-in-vlan-expires-six",
            six(by_two, &Packet6::udp(town::FAR6, 8).hops(1).from(&town::neighbour6(TWO))),
        ),
        (
            "vlan-too-big-six",
            six(TAGGED, &Packet6::udp(town::FAR6_NARROW, 1000).from(&town::neighbour6(ONE))),
        ),
        ("vlan-fragmented", four(TAGGED, &Datagram::udp(town::FAR_NARROW, 1472))),
        ("vlan-options", four(TAGGED, &Datagram::udp(town::FAR, 8).options(&[7, 7, 4, 0, 0, 0, 0]))),
        ("vlan-neighbour-answers", {
            let asks = record(RUN_ANSWER, &Datagram::udp("10.0.4.9", 8).frame(WEST));
            [asks, record(RUN_ANSWER, &udp_to("2001:db8:0:5::9").frame(WEST))].concat()
        }),
        ("vlan-priority", with_tags(ONE, &[[0x81, 0, 0xf0, 100]])),
        ("vlan-of-nobody", with_tags(ONE, &[[0x81, 0, 0, 101]])),
        ("vlan-of-another-type", with_tags(ONE, &[[0x88, 0xa8, 0, 100]])),
        ("vlan-of-another-port", with_tags(TWO, &[one])),
        ("vlan-of-priority-alone", with_tags(WEST, &[[0x81, 0, 0, 0]])),
        ("vlans-of-another-port", with_tags(ONE, &[outer, inner])),
        ("vlans-three", with_tags(TWO, &[outer, inner, one])),
        ("vlan-cut", record(RUN, &[&port_mac(ONE), &[6; 6][..], &[0x81, 0, 0]].concat())),
        ("vlans-cut", record(RUN | EAST as u8, &[&port_mac(TWO), &[6; 6][..], &outer, &inner[..3]].concat())),
        (
            "vlans-and-nothing",
            record(RUN | EAST as u8, &[&port_mac(TWO), &[6; 6][..], &outer, &inner, &[8, 0]].concat()),
        ),
        ("buffers-forwarded", four(CUT, &Datagram::udp(town::FAR, 1400))),
        ("buffers-fragmented", four(CUT, &Datagram::udp(town::FAR_NARROW, 1472))),
        ("buffers-expire", four(CUT, &Datagram::udp(town::FAR, 1400).ttl(1))),
        (
            "buffers-padded",
            record(RUN | CUT, &[Datagram::udp(town::FAR, 8).frame(WEST), vec![0xaa; 900]].concat()),
        ),
        ("buffers-in-a-vlan", four(CUT | TAGGED, &Datagram::udp(&behind(TWO), 1400))),
        ("buffers-larger-than-the-link", six(CUT, &Packet6::udp(town::FAR6, 3000))),
    ]
}
