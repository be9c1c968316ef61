//! `ip4-icmp-error`: tells a packet's sender why it was not forwarded. Makes the error in a fresh frame and sends it to `ip4-lookup`; the
//! packet itself goes on to `drop` with the reason that it came with.
//!
//! No error is sent about ICMP errors, fragments behind the first, group or broadcast link-layer frames, packets that weir made, and packets whose
//! source is not one host (RFC 1812 §4.3.2.7; `ip4-input` has dropped martian sources). The error quotes as much as fits into 576 bytes
//! (§4.3.2.3), carries precedence 6 (§4.3.2.5), and comes from the address of the port on which the packet came in. Rate-limited (§4.3.2.8): in all
//! and by source.
//!
//! * arcs: `ip4-lookup`
//! * drops: none of its own
//! * events: [`Event`]

use std::net::Ipv4Addr;

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    checksum,
    flow_hash::{FlowHash, mapped},
    icmp_limit::ErrorLimit,
    node::{Context, Next, Node, Registration, Workbench},
    packet::{Packet, flags},
    wire::{
        ethernet::{self, Ethernet},
        icmp4,
        ip4::{self, Ip4, Ip4Mut},
    },
};

/// What this node counts.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Event {
    /// Destination unreachable sent.
    UnreachableSent,
    /// Time exceeded sent.
    TimeExceededSent,
    /// Parameter problem sent.
    ParameterProblemSent,
    /// Not sent: the packet is one about which no error may be sent.
    NotAllowed,
    /// Not sent: too many errors.
    RateLimited,
    /// Not sent: the port that the packet came in on has no address.
    NoAddress,
    /// Not sent: no frame is free.
    NoFrames,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ip4-icmp-error",
    next: &["ip4-lookup"],
    reasons: &[],
    events: Event::VARIANTS,
    create,
};

const LOOKUP: Next = Next::arc(0);

/// Largest error, from its IPv4 header on (RFC 1812 §4.3.2.3).
const MAX_ERROR: usize = 576;
/// Precedence 6, internetwork control (RFC 1812 §4.3.2.5).
const TOS: u8 = 0xc0;
/// RFC 1700: default time to live.
const TTL: u8 = 64;

struct Ip4IcmpError {
    limit: ErrorLimit,
    hash: FlowHash,
    identification: u16,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Ip4IcmpError {
        limit: ErrorLimit::new(bench.clock.hz()),
        hash: FlowHash::new(bench.seed),
        identification: 0,
    }))
}

/// `true` where RFC 1812 §4.3.2.7 lets an error be sent about this frame.
fn is_allowed(frame: &[u8], l3: usize, marks: u8) -> bool {
    let Some(ip) = frame.get(l3..).and_then(Ip4::new) else { return false };
    let group = Ethernet::new(frame).is_some_and(Ethernet::is_group);
    let icmp_error = ip.protocol() == ip4::ICMP
        // A fragment behind the first is refused anyway; an ICMP message cut off before its type is not answered.
        && frame.get(l3 + ip.header_length()).is_none_or(|kind| icmp4::is_error(*kind));
    marks & flags::CREATED == 0 && !group && ip.fragment() & ip4::OFFSET == 0 && !icmp_error
}

impl Ip4IcmpError {
    fn answer(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Event {
        let l3 = usize::from(packet.l3);
        let frame = cx.frames.bytes(packet);
        if !is_allowed(frame, l3, packet.flags) {
            return Event::NotAllowed;
        }
        let datagram = frame.get(l3..).unwrap_or_default();
        let Some(sender) = Ip4::new(datagram).map(Ip4::source) else { return Event::NotAllowed };
        let source = self.hash.host(mapped(sender));
        if !self.limit.is_open(source, cx.now) {
            return Event::RateLimited;
        }
        let Some(address) = cx.tables.ports.address(packet.rx_port) else { return Event::NoAddress };
        let length = usize::from(packet.len()).saturating_sub(l3);
        let quoted = length.min(MAX_ERROR - ip4::LENGTH - icmp4::LENGTH);
        let total = ip4::LENGTH + icmp4::LENGTH + quoted;
        let Some(mut error) = cx.pool.allocate(ethernet::LENGTH + total, packet.rx_port) else {
            return Event::NoFrames;
        };
        self.limit.take(source, cx.now);
        self.identification = self.identification.wrapping_add(1);
        error.l3 = ethernet::LENGTH as u8;
        error.flags = flags::CREATED;
        error.destination = sender;
        let asked = packet.icmp();
        write(
            &mut cx.frames.bytes_mut(&mut error)[ethernet::LENGTH..],
            (address, sender, self.identification),
            [asked.kind, asked.code],
            asked.word,
            |body| cx.frames.read(packet, l3, body),
        );
        cx.frames.trace_with(&mut error, packet);
        cx.emit_created(LOOKUP, error);
        match asked.kind {
            11 => Event::TimeExceededSent,
            12 => Event::ParameterProblemSent,
            _ => Event::UnreachableSent,
        }
    }
}

/// Writes the whole error: IPv4 header, ICMP header, what `quote` makes of the rest. `bytes` is exactly as long as these.
fn write(
    bytes: &mut [u8],
    (source, destination, identification): (Ipv4Addr, u32, u16),
    kind_code: [u8; 2],
    word: u32,
    quote: impl FnOnce(&mut [u8]),
) {
    let total = bytes.len() as u16;
    let Some((header, icmp)) = bytes.split_at_mut_checked(ip4::LENGTH) else { return };
    header.fill(0);
    if let Some(mut ip) = Ip4Mut::new(header) {
        ip.set_lengths(ip4::LENGTH, total);
        ip.set_tos(TOS);
        ip.set_identification(identification);
        ip.set_ttl_protocol(TTL, ip4::ICMP);
        ip.set_addresses(u32::from(source), destination);
    }
    ip4::write_checksum(header);
    let Some((head, body)) = icmp.split_at_mut_checked(icmp4::LENGTH) else { return };
    head[..4].copy_from_slice(&[kind_code[0], kind_code[1], 0, 0]);
    head[4..].copy_from_slice(&word.to_be_bytes());
    quote(body);
    let checksum = checksum::checksum(icmp);
    icmp[2..4].copy_from_slice(&checksum);
}

impl Node for Ip4IcmpError {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        for (packet, next) in packets.iter().zip(next) {
            let event = self.answer(cx, packet);
            cx.count(event as u16, 1);
            *next = Next::DROP; // with the reason that the sending node has set
        }
    }
}
