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

#[test]
fn a_packet_that_weir_made_has_no_ethernet_header_yet() {
    let mut bytes = syn();
    bytes[..14].fill(0);
    assert!(lines("ip4-lookup", &bytes).starts_with("TCP: 10.0.0.1 -> 10.0.1.2"));
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
        len: 60,
        bytes: vec![0xab, 0x01],
        lost: 0,
    };
    let dropped = namer.step(1, &record("drop"));
    assert_eq!((dropped.worker, dropped.packet, dropped.nanoseconds), (1, 3, 2_000_000));
    assert_eq!((dropped.node.as_str(), dropped.rx.as_str(), dropped.tx.as_deref()), ("drop", "eth1", None));
    assert_eq!(dropped.reason, Some(format!("{node}/{reason}")));
    assert_eq!((dropped.length, dropped.bytes.as_str()), (60, "ab01"));
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
        protocol in proptest::sample::select(vec![1u8, 2, 6, 17, 44, 51, 58]),
        node in proptest::sample::select(vec!["ethernet-input", "ip4-input", "tx", "drop"]),
    ) {
        let mut bytes = bytes;
        for (at, value) in [(12, (ether_type >> 8) as u8), (13, ether_type as u8), (14, first), (23, protocol)] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let mut transcript = Transcript::default();
        let step = step(node, &bytes);
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
