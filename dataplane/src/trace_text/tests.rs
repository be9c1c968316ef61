use etherparse::PacketBuilder;
use weir_graph::nodes::ROUTE;
use weir_graph::packet::ReasonIndex;

use super::*;

const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DESTINATION: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ip(ttl: u8) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(SOURCE, DESTINATION).ipv4([10, 0, 0, 1], [10, 0, 1, 2], ttl)
}

fn syn() -> Vec<u8> {
    let mut bytes = Vec::new();
    ip(64).tcp(40000, 80, 0x1234, 64240).syn().write(&mut bytes, &[]).unwrap();
    bytes
}

fn step(node: &str, bytes: &[u8]) -> Step {
    Step {
        worker: 0,
        packet: 1,
        nanoseconds: 3_723_000_042_999,
        node: node.into(),
        rx: "eth1".into(),
        tx: (node == "tx").then(|| "eth2".into()),
        reason: (node == "drop").then(|| "ip4-input/bad checksum".into()),
        l3: 0,
        length: bytes.len() as u16,
        bytes: hex(bytes),
    }
}

#[test]
fn a_packet_reads_as_in_vpp() {
    let mut transcript = Transcript::default();
    assert_eq!(transcript.push(&step("ethernet-input", &syn())), None);
    assert_eq!(transcript.push(&step("ip4-input", &syn())), None);
    assert_eq!(
        transcript.push(&step("tx", &syn())).unwrap(),
        "\
Packet 1  (worker 0, from eth1)

01:02:03:000042: ethernet-input
  eth1, 54 bytes
  IP4: 02:00:00:00:00:01 -> 02:00:00:00:00:02
  TCP: 10.0.0.1 -> 10.0.1.2
    tos 0x00, ttl 64, length 40, checksum 0x25ce dscp 0 ecn 0
    fragment id 0x0000, flags DONT_FRAGMENT
  TCP: 40000 -> 80
    seq. 0x00001234 ack 0x00000000
    flags SYN, tcp header: 20 bytes
    window 64240, checksum 0xf12a

01:02:03:000042: ip4-input
  TCP: 10.0.0.1 -> 10.0.1.2
    tos 0x00, ttl 64, length 40, checksum 0x25ce dscp 0 ecn 0
    fragment id 0x0000, flags DONT_FRAGMENT
  TCP: 40000 -> 80
    seq. 0x00001234 ack 0x00000000
    flags SYN, tcp header: 20 bytes
    window 64240, checksum 0xf12a

01:02:03:000042: tx
  eth2, 54 bytes
  IP4: 02:00:00:00:00:01 -> 02:00:00:00:00:02
  TCP: 10.0.0.1 -> 10.0.1.2
    tos 0x00, ttl 64, length 40, checksum 0x25ce dscp 0 ecn 0
    fragment id 0x0000, flags DONT_FRAGMENT
  TCP: 40000 -> 80
    seq. 0x00001234 ack 0x00000000
    flags SYN, tcp header: 20 bytes
    window 64240, checksum 0xf12a
"
    );
    assert_eq!(transcript.finish().count(), 0);
}

#[test]
fn packets_of_all_workers_are_told_apart_and_held_ones_come_at_the_end() {
    let mut transcript = Transcript::default();
    let at = |worker, packet, node| Step { worker, packet, ..step(node, &syn()) };
    transcript.push(&at(0, 1, "ethernet-input"));
    transcript.push(&at(0, 2, "ethernet-input"));
    transcript.push(&at(1, 3, "ethernet-input"));
    transcript.push(&at(0, 2, "glean"));
    let dropped = transcript.push(&at(0, 1, "drop")).unwrap();
    assert!(
        dropped.starts_with("Packet 1  (worker 0") && dropped.contains(": drop\n  ip4-input/bad checksum\n")
    );
    let held: Vec<String> = transcript.finish().collect();
    assert_eq!(held.len(), 2);
    assert!(held[0].starts_with("Packet 2  (worker 0") && held[0].contains(": glean\n"));
    assert!(held[1].starts_with("Packet 3  (worker 1"));
}

#[test]
fn a_packet_that_goes_to_another_worker_is_still_one_packet() {
    let mut transcript = Transcript::default();
    let at = |worker, node| Step { worker, packet: 5, ..step(node, &syn()) };
    transcript.push(&at(1, "ip4-rewrite"));
    transcript.push(&at(1, "hand-off"));
    let text = transcript.push(&at(0, "tx")).unwrap();
    let nodes: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .map(|line| line.rsplit(": ").next().unwrap())
        .collect();
    assert_eq!(nodes, ["Packet 5  (worker 1, from eth1)", "ip4-rewrite", "hand-off", "to worker 0", "tx"]);
    assert_eq!(transcript.finish().count(), 0);
}

fn lines(node: &str, bytes: &[u8]) -> String {
    details(&step(node, bytes)).join("\n")
}

#[test]
fn protocols_have_their_lines() {
    let mut udp = Vec::new();
    ip(1).udp(53, 5353).write(&mut udp, b"hello").unwrap();
    assert!(lines("ip4-input", &udp).contains("UDP: 53 -> 5353\n  length 13, checksum 0x"));

    let mut echo = Vec::new();
    ip(1).icmpv4_echo_request(7, 9).write(&mut echo, &[]).unwrap();
    assert!(lines("ip4-input", &echo).contains("ICMP: 10.0.0.1 -> 10.0.1.2"));
    let echo = lines("ip4-input", &echo);
    assert!(echo.contains("ICMP echo_request checksum 0x") && echo.ends_with(" id 7 sequence 9"), "{echo}");

    let mut too_big = Vec::new();
    ip(1).icmpv4_raw(3, 4, [0, 0, 5, 0xdc]).write(&mut too_big, &[]).unwrap();
    let too_big = lines("ip4-lookup", &too_big);
    assert!(too_big.contains("fragmentation_needed") && too_big.ends_with("next-hop mtu 1500"), "{too_big}");

    let mut tagged = Vec::new();
    let vlan = etherparse::VlanId::try_new(100).unwrap();
    let builder =
        PacketBuilder::ethernet2(SOURCE, DESTINATION).single_vlan(vlan).ipv4([10, 0, 0, 1], [10, 0, 1, 2], 9);
    builder.udp(1, 2).write(&mut tagged, &[]).unwrap();
    let tagged = lines("ethernet-input", &tagged);
    assert!(
        tagged.contains("IP4: 02:00:00:00:00:01 -> 02:00:00:00:00:02 802.1q vlan 100\nUDP: 10"),
        "{tagged}"
    );
}

#[test]
fn a_later_fragment_has_no_ports() {
    let mut bytes = syn();
    bytes[20] = 0x20;
    bytes[21] = 185; // more fragments, offset 185 × 8
    let text = lines("ip4-input", &bytes);
    assert!(
        text.contains("fragment id 0x0000 offset 1480, flags MORE_FRAGMENTS\na later fragment"),
        "{text}"
    );
    assert!(!text.contains("40000"), "{text}");
}

/// A packet of IPv6 between two hosts, hop limit 64.
fn six(tail: impl FnOnce(etherparse::PacketBuilderStep<etherparse::IpHeaders>, &mut Vec<u8>)) -> Vec<u8> {
    let ends = ["2001:db8::2", "2001:db8:f::7"].map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
    let mut bytes = Vec::new();
    tail(PacketBuilder::ethernet2(SOURCE, DESTINATION).ipv6(ends[0], ends[1], 64), &mut bytes);
    bytes
}

#[test]
fn ipv6_reads_as_in_vpp() {
    let mut udp = six(|ip, bytes| ip.udp(4000, 53).write(bytes, b"hello").unwrap());
    udp[14..18].copy_from_slice(&[0x6b, 0x8a, 0xbc, 0xde]); // traffic class 0xb8, label 0xabcde
    assert_eq!(
        lines("ethernet-input", &udp),
        "\
eth1, 67 bytes
IP6: 02:00:00:00:00:01 -> 02:00:00:00:00:02
UDP: 2001:db8::2 -> 2001:db8:f::7
  tos 0xb8, flow label 0xabcde, hop limit 64, payload length 13
UDP: 4000 -> 53
  length 13, checksum 0x50a3"
    );
    let tcp = six(|ip, bytes| ip.tcp(40000, 80, 1, 64240).syn().write(bytes, &[]).unwrap());
    let text = lines("ip6-input", &tcp);
    assert!(text.starts_with("TCP: 2001:db8::2 -> 2001:db8:f::7\n  tos 0x00, flow label 0x0, hop"), "{text}");
    assert!(text.contains("\nTCP: 40000 -> 80\n  seq. 0x00000001"), "{text}");
}

#[test]
fn icmpv6_has_its_types() {
    let message = |kind, code, word| {
        lines("ip6-lookup", &six(|ip, bytes| ip.icmpv6_raw(kind, code, word).write(bytes, &[]).unwrap()))
    };
    for (kind, code, word, name, end) in [
        (128, 0, [0, 7, 0, 9], "ICMP echo_request checksum 0x", " id 7 sequence 9"),
        (1, 0, [0; 4], "ICMP destination_unreachable no_route_to_destination checksum 0x", ""),
        (1, 6, [0; 4], "ICMP destination_unreachable code 6 checksum 0x", ""),
        (2, 0, [0, 0, 5, 0], "ICMP packet_too_big checksum 0x", " mtu 1280"),
        (3, 0, [0; 4], "ICMP time_exceeded ttl_exceeded_in_transit checksum 0x", ""),
        (4, 2, [0, 0, 0, 42], "ICMP parameter_problem unrecognized_option checksum 0x", " pointer 42"),
        (200, 3, [0; 4], "ICMP type 200 code 3 checksum 0x", ""),
    ] {
        let text = message(kind, code, word);
        assert!(text.starts_with("ICMP6: 2001:db8::2 -> "), "{text}");
        let last = text.lines().last().unwrap();
        assert!(last.starts_with(name) && last.ends_with(end), "{last}");
    }
}

#[test]
fn extension_headers_have_a_line_each() {
    let mut bytes = six(|ip, bytes| ip.udp(4000, 53).write(bytes, &[]).unwrap());
    bytes[20] = 0;
    let options = [44, 0, 5, 2, 0, 0, 1, 0];
    for (fragment, expected, ends) in [
        ([17, 0, 0, 1, 0, 0, 0, 7], "\n  fragment id 0x00000007 offset 0, flags MORE_FRAGMENTS", ""),
        (
            [17, 0, 0, 0x48, 0, 0, 0, 7],
            "\n  fragment id 0x00000007 offset 72",
            "\na later fragment: no transport header",
        ),
        ([17, 0, 0, 0, 0, 0, 0, 7], "\n  fragment id 0x00000007 offset 0\nUDP: 4000 -> 53\n", ""),
    ] {
        let mut whole = [&bytes[..54], &options, &fragment, &bytes[54..]].concat();
        whole[19] += 16;
        let text = lines("ip6-input", &whole);
        let options = "UDP: 2001:db8::2 -> 2001:db8:f::7\n  tos 0x00, flow label 0x0, hop limit 64, payload length 24\n  hop-by-hop options 050200000100";
        assert!(text.starts_with(&format!("{options}{expected}")) && text.ends_with(ends), "{text}");
    }
}

#[test]
fn tags_have_their_types_numbers_and_priorities() {
    let udp = six(|ip, bytes| ip.udp(4000, 53).write(bytes, &[]).unwrap());
    for (tags, expected) in [
        (&[0x81, 0, 0, 100][..], " 802.1q vlan 100"),
        (&[0x88, 0xa8, 0x70, 7, 0x81, 0, 0x60, 5], " 802.1ad vlan 7 priority 3 cfi 802.1q vlan 5 priority 3"),
        (&[0x91, 0, 0, 7], " 0x9100 vlan 7"),
    ] {
        let tagged = [&udp[..12], tags, &udp[12..]].concat();
        let text = lines("ethernet-input", &tagged);
        let line = format!("\nIP6: 02:00:00:00:00:01 -> 02:00:00:00:00:02{expected}\nUDP: 2001:db8::2");
        assert!(text.contains(&line), "{text}");
        // The tags are in front of it until its rewrite.
        let inside = Step { l3: 14 + tags.len() as u8, ..step("ip6-lookup", &tagged) };
        assert!(details(&inside)[0].starts_with("UDP: 2001:db8::2"), "{inside:?}");
    }
}

#[test]
fn a_packet_that_weir_made_has_no_ethernet_header_yet() {
    let six = six(|ip, bytes| ip.udp(4000, 53).write(bytes, &[]).unwrap());
    // Its frame has what was there before: of the other version, tagged, or nothing.
    for before in [[8, 0], [0x86, 0xdd], [0x81, 0], [0, 0]] {
        for (packet, node, expected) in
            [(&syn(), "ip4-lookup", "TCP: 10.0.0.1 -> 10.0.1.2"), (&six, "ip6-lookup", "UDP: 2001:db8::2")]
        {
            let mut bytes = packet.clone();
            bytes[12..14].copy_from_slice(&before);
            let lines = details(&Step { l3: 14, ..step(node, &bytes) });
            assert!(lines[0].starts_with(expected), "{lines:?}");
        }
    }
}

#[test]
fn what_cannot_be_decoded_is_said_to_be_so() {
    assert_eq!(lines("drop", &[1, 2]), "ip4-input/bad checksum\n2 bytes are no Ethernet header: 0102");
    let mut bytes = syn();
    bytes[14] = 0x4f; // 60 bytes of header, of which 40 are there
    let text = lines("ethernet-input", &bytes);
    assert!(text.contains("cannot be decoded"), "{text}");
    assert_eq!(
        details(&Step { bytes: "0".into(), ..step("ip4-input", &[]) }),
        ["bytes that are not hexadecimal"]
    );
    assert_eq!(
        details(&Step { bytes: "é!".into(), ..step("ip4-input", &[]) }),
        ["bytes that are not hexadecimal"]
    );
}

#[test]
fn records_get_their_names() {
    let shape = Arc::new(Shape::new(ROUTE, &[]).unwrap());
    let namer = Namer {
        shape: shape.clone(),
        devices: vec!["eth1".into(), "eth2".into()],
        clock: Clock::with_hz(1_000_000),
        start: 1000,
    };
    let (node, reason) = shape.reasons().last().unwrap();
    let record = |name: &str| TraceRecord {
        packet: 3,
        node: shape.node(name).unwrap(),
        ticks: 3000,
        rx_port: 0,
        tx_port: 1,
        adjacency: Default::default(),
        reason: shape.reason(node, reason).unwrap(),
        l3: 18,
        len: 60,
        bytes: vec![0xab, 0x01],
        lost: 0,
    };
    let dropped = namer.step(1, &record("drop"));
    assert_eq!((dropped.worker, dropped.packet, dropped.nanoseconds), (1, 3, 2_000_000));
    assert_eq!((dropped.node.as_str(), dropped.rx.as_str(), dropped.tx.as_deref()), ("drop", "eth1", None));
    assert_eq!(dropped.reason, Some(format!("{node}/{reason}")));
    assert_eq!((dropped.l3, dropped.length, dropped.bytes.as_str()), (18, 60, "ab01"));
    assert!(dropped.is_last());
    let sent = namer.step(0, &record("tx"));
    assert_eq!((sent.tx.as_deref(), sent.reason.as_deref()), (Some("eth2"), None));
    let unknown: ReasonIndex = record("drop").reason;
    let early =
        namer.step(0, &TraceRecord { node: 99, rx_port: 7, ticks: 0, reason: unknown, ..record("tx") });
    assert_eq!((early.node.as_str(), early.rx.as_str(), early.nanoseconds), ("unknown", "port 7", 0));
}

#[test]
fn json_has_the_fields_and_the_decoded_lines() {
    let value: serde_json::Value = serde_json::from_str(&step("tx", &syn()).json()).unwrap();
    assert_eq!(value["node"], "tx");
    assert_eq!(value["tx"], "eth2");
    assert_eq!(value["details"][2], "TCP: 10.0.0.1 -> 10.0.1.2");
    assert_eq!(value.get("reason"), None);
}

#[test]
fn a_step_survives_the_socket() {
    for node in ["ethernet-input", "tx", "drop"] {
        let step = step(node, &syn());
        assert_eq!(serde_json::from_str::<Step>(&serde_json::to_string(&step).unwrap()).unwrap(), step);
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_at_any_node_make_text(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..140),
        ether_type in proptest::sample::select(vec![0x0800u16, 0x86dd, 0x0806, 0x8100, 0x88e5]),
        first in proptest::num::u8::ANY,
        protocol in proptest::sample::select(vec![0u8, 1, 2, 6, 17, 43, 44, 51, 58, 60]),
        node in proptest::sample::select(vec!["ethernet-input", "ip4-input", "tx", "drop"]),
        l3 in proptest::num::u8::ANY,
    ) {
        let mut bytes = bytes;
        let kind = ether_type.to_be_bytes();
        for (at, value) in [(12, kind[0]), (13, kind[1]), (14, first), (20, protocol), (23, protocol)] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let mut transcript = Transcript::default();
        let step = Step { l3, ..step(node, &bytes) };
        let text = transcript.push(&step).or_else(|| transcript.finish().next()).unwrap();
        proptest::prop_assert!(text.lines().count() > 2, "{}", text);
        proptest::prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", text);
        let json: serde_json::Value = serde_json::from_str(&step.json()).unwrap();
        proptest::prop_assert!(json["details"].is_array(), "{}", json);
    }

    #[test]
    fn hexadecimal_comes_back(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..140)) {
        proptest::prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
    }
}
