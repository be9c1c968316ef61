//! Traced packets as text, in the form that VPP's users know from `show trace`, and as JSON.
//!
//! ```text
//!   TraceRecord ──Namer::step──▶ Step ──control socket──▶ Transcript::push ──▶ text of a packet
//!                                                  └────▶ json             ──▶ a line
//! ```
//! A [`Step`] has names in place of numbers, so who prints it needs nothing of the weir that made it. Its bytes are decoded where it is
//! printed, and may be anything: what cannot be decoded is said to be so, with the bytes.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use etherparse::{
    EtherType, Icmpv4Slice, Icmpv6Slice, IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice,
    Ipv6FragmentHeaderSlice, Ipv6RawExtHeaderSlice, LaxIpv6Slice, LaxLinkExtSlice, LaxNetSlice,
    LaxSlicedPacket, LinkSlice, TcpSlice, TransportSlice, UdpSlice,
};
use serde::{Deserialize, Serialize};
use weir_graph::clock::Clock;
use weir_graph::graph::Shape;
use weir_graph::trace::TraceRecord;

/// Nodes at which a packet's way begins, as it came in.
const FIRST: [&str; 2] = ["ethernet-input", "l2-cross-connect"];
/// Nodes at which a packet's way ends.
const LAST: [&str; 2] = ["tx", "drop"];
/// From this node on a packet has an egress port.
const EGRESS: &str = "tx";

/// One packet at one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The worker, from 0.
    pub worker: usize,
    /// The packet's number among all workers, from 1; it keeps it at another worker. An ICMP error or a fragment has the number of the packet that caused it.
    pub packet: u16,
    /// When the node began with the packet's vector, in nanoseconds since weir's start.
    pub nanoseconds: u64,
    /// The node.
    pub node: String,
    /// The device that the packet came in on.
    pub rx: String,
    /// At `tx`: the device that it leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx: Option<String>,
    /// At `drop`: the node that dropped it, and why, as `/err` names them: `ip4-input/bad checksum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where its IP header begins in its bytes; 0 where no node has found one yet.
    #[serde(default)]
    pub l3: u8,
    /// The packet's length in bytes, from its Ethernet header on.
    pub length: u16,
    /// Its first bytes in hexadecimal, from its Ethernet header on.
    pub bytes: String,
}

/// Gives the numbers of a [`TraceRecord`] their names.
#[derive(Clone)]
pub struct Namer {
    /// The graph that made the records.
    pub shape: Arc<Shape>,
    /// The ports' devices, by port number.
    pub devices: Vec<String>,
    /// The clock of the records.
    pub clock: Clock,
    /// The clock's reading at weir's start.
    pub start: u64,
}

/// Steps as they come from all workers, sorted out into packets.
#[derive(Debug, Default)]
pub struct Transcript {
    /// Packets that are still on their way, by number: the worker that each is at, and the text.
    open: BTreeMap<u16, (usize, String)>,
}

impl Namer {
    /// The step that a record of worker `worker` tells of.
    pub fn step(&self, worker: usize, record: &TraceRecord) -> Step {
        let node = self.shape.nodes().get(record.node).map_or("unknown", |node| node.name);
        let device = |port: u16| {
            self.devices.get(usize::from(port)).cloned().unwrap_or_else(|| format!("port {port}"))
        };
        let reason =
            || self.shape.reason_name(record.reason).map(|(node, reason)| format!("{node}/{reason}"));
        Step {
            worker,
            packet: record.packet,
            nanoseconds: nanoseconds(self.clock, record.ticks.saturating_sub(self.start)),
            node: node.to_owned(),
            rx: device(record.rx_port),
            tx: (node == EGRESS).then(|| device(record.tx_port)),
            reason: (node == "drop").then(reason).flatten(),
            l3: record.l3,
            length: record.len,
            bytes: hex(&record.bytes),
        }
    }
}

impl Transcript {
    /// Takes a step. When the packet's way ends with it, returns the packet's text.
    pub fn push(&mut self, step: &Step) -> Option<String> {
        let (worker, text) = self.open.entry(step.packet).or_insert_with(|| (step.worker, header(step)));
        if std::mem::replace(worker, step.worker) != step.worker {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\nto worker {}", step.worker);
        }
        write_step(text, step);
        step.is_last().then(|| self.open.remove(&step.packet)).flatten().map(|(_, text)| text)
    }

    /// The text of the packets that are still on their way (held while a neighbour is resolved, or their last steps were lost).
    pub fn finish(self) -> impl Iterator<Item = String> {
        self.open.into_values().map(|(_, text)| text)
    }
}

impl Step {
    /// Whether the packet's way ends at this node.
    pub fn is_last(&self) -> bool {
        LAST.contains(&self.node.as_str())
    }

    /// The step as one line of JSON: its fields, and `details`, the lines of its text.
    pub fn json(&self) -> String {
        let mut value = serde_json::json!(self);
        value["details"] = details(self).into();
        value.to_string()
    }
}

fn header(step: &Step) -> String {
    format!("Packet {}  (worker {}, from {})\n", step.packet, step.worker, step.rx)
}

fn write_step(text: &mut String, step: &Step) {
    let microseconds = step.nanoseconds / 1000;
    let seconds = microseconds / 1_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let (second, fraction) = (seconds % 60, microseconds % 1_000_000);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{hours:02}:{minutes:02}:{second:02}:{fraction:06}: {}", step.node);
    for line in details(step) {
        let _ = writeln!(text, "  {line}");
    }
}

/// What there is to say about a step, a line each; what belongs to the line above is indented.
fn details(step: &Step) -> Vec<String> {
    let mut lines = Vec::new();
    match step.node.as_str() {
        "drop" => lines.push(step.reason.clone().unwrap_or_else(|| "no reason known".to_owned())),
        EGRESS => lines.push(format!("{}, {} bytes", step.tx.as_deref().unwrap_or("unknown"), step.length)),
        _ if FIRST.contains(&step.node.as_str()) => lines.push(format!("{}, {} bytes", step.rx, step.length)),
        _ => {}
    }
    let Some(bytes) = unhex(&step.bytes) else {
        lines.push("bytes that are not hexadecimal".to_owned());
        return lines;
    };
    // Between input and output the Ethernet header is the old one, or for a packet that weir made none at all: not worth a line.
    let with_ethernet = matches!(step.node.as_str(), EGRESS | "drop") || FIRST.contains(&step.node.as_str());
    packet(&bytes, usize::from(step.l3), with_ethernet, &mut lines);
    lines
}

fn packet(bytes: &[u8], l3: usize, with_ethernet: bool, lines: &mut Vec<String>) {
    let Ok(mut sliced) = LaxSlicedPacket::from_ethernet(bytes) else {
        lines.push(format!("{} bytes are no Ethernet header: {}", bytes.len(), hex(bytes)));
        return;
    };
    if with_ethernet {
        ethernet(&sliced, lines);
    }
    // What a node has found is better than what the link header says: a packet that weir made has none yet, and not every tunnel is known here.
    if l3 != 0
        && let Ok(ip) = LaxSlicedPacket::from_ip(bytes.get(l3..).unwrap_or_default())
    {
        sliced = ip;
    }
    let mut fragment = false;
    match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            fragment = ip.header().fragments_offset().value() != 0;
            ipv4(&ip.header(), lines);
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            fragment = ipv6(ip, lines);
        }
        Some(LaxNetSlice::Arp(arp)) => lines.push(format!("ARP: operation {}", arp.operation().0)),
        None => {}
    }
    match &sliced.transport {
        Some(TransportSlice::Tcp(segment)) => tcp(segment, lines),
        Some(TransportSlice::Udp(datagram)) => udp(datagram, lines),
        Some(TransportSlice::Icmpv4(message)) => icmp(message, lines),
        Some(TransportSlice::Icmpv6(message)) => icmp6(message, lines),
        Some(TransportSlice::Igmp(_)) => {}
        None if fragment => lines.push("a later fragment: no transport header".to_owned()),
        None => {}
    }
    if let Some((error, layer)) = &sliced.stop_err {
        lines.push(format!("{layer} cannot be decoded: {error}"));
    }
}

fn ethernet(sliced: &LaxSlicedPacket<'_>, lines: &mut Vec<String>) {
    let Some(LinkSlice::Ethernet2(header)) = &sliced.link else { return };
    // The tags' inner type is what the packet is.
    let ether_type = sliced.ether_payload().map_or(header.ether_type(), |payload| payload.ether_type);
    let kind = match ether_type {
        EtherType::IPV4 => "IP4".to_owned(),
        EtherType::IPV6 => "IP6".to_owned(),
        EtherType::ARP => "ARP".to_owned(),
        other => format!("0x{:04x}", other.0),
    };
    let mut line = format!("{kind}: {} -> {}", mac(header.source()), mac(header.destination()));
    let mut kind = header.ether_type();
    for extension in &sliced.link_exts {
        let LaxLinkExtSlice::Vlan(tag) = extension else { break };
        let _ = match kind {
            EtherType::VLAN_TAGGED_FRAME => write!(line, " 802.1q"),
            EtherType::PROVIDER_BRIDGING => write!(line, " 802.1ad"),
            other => write!(line, " 0x{:04x}", other.0),
        };
        let _ = write!(line, " vlan {}", tag.vlan_identifier().value());
        if tag.priority_code_point().value() != 0 {
            let _ = write!(line, " priority {}", tag.priority_code_point().value());
        }
        if tag.drop_eligible_indicator() {
            line.push_str(" cfi");
        }
        kind = tag.ether_type();
    }
    lines.push(line);
}

fn protocol(number: IpNumber) -> String {
    match number {
        IpNumber::ICMP => "ICMP".to_owned(),
        IpNumber::TCP => "TCP".to_owned(),
        IpNumber::UDP => "UDP".to_owned(),
        IpNumber::IPV6_ICMP => "ICMP6".to_owned(),
        IpNumber(other) => format!("protocol {other}"),
    }
}

fn ipv4(header: &Ipv4HeaderSlice<'_>, lines: &mut Vec<String>) {
    let protocol = protocol(header.protocol());
    let (source, destination): (Ipv4Addr, Ipv4Addr) = (header.source_addr(), header.destination_addr());
    lines.push(format!("{protocol}: {source} -> {destination}"));
    let tos = header.slice().get(1).copied().unwrap_or(0);
    lines.push(format!(
        "  tos 0x{tos:02x}, ttl {}, length {}, checksum 0x{:04x} dscp {} ecn {}",
        header.ttl(),
        header.total_len(),
        header.header_checksum(),
        header.dcp().value(),
        header.ecn().value(),
    ));
    let mut line = format!("  fragment id 0x{:04x}", header.identification());
    // The offset is in units of 8 bytes (RFC 791, section 3.1).
    let offset = u32::from(header.fragments_offset().value()) * 8;
    if offset != 0 {
        let _ = write!(line, " offset {offset}");
    }
    let flags: Vec<&str> =
        [(header.dont_fragment(), "DONT_FRAGMENT"), (header.more_fragments(), "MORE_FRAGMENTS")]
            .into_iter()
            .filter_map(|(set, name)| set.then_some(name))
            .collect();
    if !flags.is_empty() {
        let _ = write!(line, ", flags {}", flags.join(" "));
    }
    lines.push(line);
    if !header.options().is_empty() {
        lines.push(format!("  options {}", hex(header.options())));
    }
}

/// Whether it is a later fragment.
fn ipv6(ip: &LaxIpv6Slice<'_>, lines: &mut Vec<String>) -> bool {
    let header = ip.header();
    let (source, destination): (Ipv6Addr, Ipv6Addr) = (header.source_addr(), header.destination_addr());
    lines.push(format!("{}: {source} -> {destination}", protocol(ip.payload().ip_number)));
    lines.push(format!(
        "  tos 0x{:02x}, flow label 0x{:x}, hop limit {}, payload length {}",
        header.traffic_class(),
        header.flow_label().value(),
        header.hop_limit(),
        header.payload_length()
    ));
    let mut later = false;
    let (mut rest, mut next) = (ip.extensions().slice(), header.next_header());
    // Header by header, each of them checked: etherparse's own iterator reads on where the headers are cut off.
    while !rest.is_empty() {
        let name = match next {
            IpNumber::IPV6_HEADER_HOP_BY_HOP => "hop-by-hop options",
            IpNumber::IPV6_ROUTE_HEADER => "routing header",
            IpNumber::IPV6_DESTINATION_OPTIONS => "destination options",
            IpNumber::AUTHENTICATION_HEADER => {
                let Ok(header) = IpAuthHeaderSlice::from_slice(rest) else { break };
                lines.push(format!("  authentication header {}", hex(header.slice())));
                (next, rest) = (header.next_header(), &rest[header.slice().len()..]);
                continue;
            }
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(rest) else { break };
                // The offset is in units of 8 bytes (RFC 8200, section 4.5).
                let offset = u32::from(header.fragment_offset().value()) * 8;
                later |= offset != 0;
                let flags = if header.more_fragments() { ", flags MORE_FRAGMENTS" } else { "" };
                lines.push(format!("  fragment id 0x{:08x} offset {offset}{flags}", header.identification()));
                (next, rest) = (header.next_header(), &rest[header.slice().len()..]);
                continue;
            }
            _ => break,
        };
        let Ok(header) = Ipv6RawExtHeaderSlice::from_slice(rest) else { break };
        lines.push(format!("  {name} {}", hex(header.payload())));
        (next, rest) = (header.next_header(), &rest[header.slice().len()..]);
    }
    later
}

fn tcp(segment: &TcpSlice<'_>, lines: &mut Vec<String>) {
    let flags: Vec<&str> = [
        (segment.syn(), "SYN"),
        (segment.fin(), "FIN"),
        (segment.rst(), "RST"),
        (segment.psh(), "PSH"),
        (segment.ack(), "ACK"),
        (segment.urg(), "URG"),
        (segment.ece(), "ECE"),
        (segment.cwr(), "CWR"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect();
    lines.push(format!("TCP: {} -> {}", segment.source_port(), segment.destination_port()));
    lines.push(format!(
        "  seq. 0x{:08x} ack 0x{:08x}",
        segment.sequence_number(),
        segment.acknowledgment_number()
    ));
    let flags = if flags.is_empty() { "none".to_owned() } else { flags.join(" ") };
    lines.push(format!("  flags {flags}, tcp header: {} bytes", segment.header_slice().len()));
    lines.push(format!("  window {}, checksum 0x{:04x}", segment.window_size(), segment.checksum()));
}

fn udp(datagram: &UdpSlice<'_>, lines: &mut Vec<String>) {
    lines.push(format!("UDP: {} -> {}", datagram.source_port(), datagram.destination_port()));
    lines.push(format!("  length {}, checksum 0x{:04x}", datagram.length(), datagram.checksum()));
}

/// Names of types and codes as VPP prints them (RFC 792, RFC 1812).
fn icmp(message: &Icmpv4Slice<'_>, lines: &mut Vec<String>) {
    let (kind, code) = (message.type_u8(), message.code_u8());
    let name = match kind {
        0 => "echo_reply".to_owned(),
        3 => "destination_unreachable".to_owned(),
        5 => "redirect".to_owned(),
        8 => "echo_request".to_owned(),
        11 => "ttl_exceeded".to_owned(),
        12 => "parameter_problem".to_owned(),
        other => format!("type {other}"),
    };
    let detail = match (kind, code) {
        (3, 0) => " network_unreachable",
        (3, 1) => " host_unreachable",
        (3, 3) => " port_unreachable",
        (3, 4) => " fragmentation_needed_and_dont_fragment_set",
        (3, 13) => " communication_administratively_prohibited",
        (11, 0) => " time_to_live_exceeded_in_transit",
        _ => "",
    };
    let mut line = format!("ICMP {name}{detail}");
    if detail.is_empty() && code != 0 {
        let _ = write!(line, " code {code}");
    }
    let _ = write!(line, " checksum 0x{:04x}", message.checksum());
    let [high, low, third, fourth] = message.bytes5to8();
    match (kind, code) {
        (0 | 8, _) => {
            let id = u16::from_be_bytes([high, low]);
            let sequence = u16::from_be_bytes([third, fourth]);
            let _ = write!(line, " id {id} sequence {sequence}");
        }
        (3, 4) => {
            // RFC 1191, section 4.
            let _ = write!(line, " next-hop mtu {}", u16::from_be_bytes([third, fourth]));
        }
        _ => {}
    }
    lines.push(line);
}

/// Names of types and codes as VPP prints them (RFC 4443, RFC 4861).
fn icmp6(message: &Icmpv6Slice<'_>, lines: &mut Vec<String>) {
    let (kind, code) = (message.type_u8(), message.code_u8());
    let name = match kind {
        1 => "destination_unreachable",
        2 => "packet_too_big",
        3 => "time_exceeded",
        4 => "parameter_problem",
        128 => "echo_request",
        129 => "echo_reply",
        133 => "router_solicitation",
        134 => "router_advertisement",
        135 => "neighbor_solicitation",
        136 => "neighbor_advertisement",
        137 => "redirect",
        _ => "",
    };
    let detail = match (kind, code) {
        (1, 0) => " no_route_to_destination",
        (1, 1) => " destination_administratively_prohibited",
        (1, 3) => " address_unreachable",
        (1, 4) => " port_unreachable",
        (3, 0) => " ttl_exceeded_in_transit",
        (3, 1) => " fragment_reassembly_time_exceeded",
        (4, 0) => " erroneous_header_field",
        (4, 1) => " unrecognized_next_header",
        (4, 2) => " unrecognized_option",
        _ => "",
    };
    let mut line = if name.is_empty() { format!("ICMP type {kind}") } else { format!("ICMP {name}{detail}") };
    if detail.is_empty() && code != 0 {
        let _ = write!(line, " code {code}");
    }
    let _ = write!(line, " checksum 0x{:04x}", message.checksum());
    let word = message.bytes5to8();
    let [high, low, third, fourth] = word;
    let _ = match kind {
        // RFC 4443, sections 3.2, 3.4 and 4.
        2 => write!(line, " mtu {}", u32::from_be_bytes(word)),
        4 => write!(line, " pointer {}", u32::from_be_bytes(word)),
        128 | 129 => {
            let [id, sequence] = [[high, low], [third, fourth]].map(u16::from_be_bytes);
            write!(line, " id {id} sequence {sequence}")
        }
        _ => Ok(()),
    };
    lines.push(line);
}

fn nanoseconds(clock: Clock, ticks: u64) -> u64 {
    u64::try_from(clock.duration(ticks).as_nanos()).unwrap_or(u64::MAX)
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let pairs = digits?;
    pairs.len().is_multiple_of(2).then(|| pairs.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests;
