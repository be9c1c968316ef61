//! `ip6-icmp-error`: tells an IPv6 packet's sender why it was not forwarded (RFC 4443). Makes the error in a fresh frame and sends it to `ip6-lookup`; the
//! packet itself goes on to `drop` with the reason that it came with.
//!
//! No error is sent about ICMPv6 errors and redirects, about packets to multicast or broadcast link-layer addresses but for "packet too big" and unknown options, about packets
//! that weir made, and about packets whose source is not one host (§2.4(e); `ip6-input` has dropped those). The error quotes as much as fits into the
//! smallest MTU of IPv6 (§2.4(c)), and comes from the address of the port on which the packet came in (§2.2). Rate-limited (§2.4(f)): in all and by source.
//!
//! * arcs: `ip6-lookup`
//! * drops: none of its own
//! * events: [`Event`]

use std::net::Ipv6Addr;

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    checksum,
    flow_hash::FlowHash,
    icmp_limit::ErrorLimit,
    node::{Context, Next, Node, Registration, Workbench},
    packet::{IcmpError, Packet, flags},
    wire::{
        ethernet::{self, Ethernet},
        icmp6,
        ip6::{self, Ip6, Ip6Mut},
    },
};

/// What this node counts.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Event {
    /// Destination unreachable sent.
    UnreachableSent,
    /// Packet too big sent.
    PacketTooBigSent,
    /// Time exceeded sent.
    TimeExceededSent,
    /// Parameter problem sent.
    ParameterProblemSent,
    /// Not sent: the packet is one about which no error may be sent.
    NotAllowed,
    /// Not sent: too many errors.
    RateLimited,
    /// Not sent: weir has no IPv6 address that is more than link-local.
    NoAddress,
    /// Not sent: no frame is free.
    NoFrames,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ip6-icmp-error",
    next: &["ip6-lookup"],
    reasons: &[],
    events: Event::VARIANTS,
    create,
};

const LOOKUP: Next = Next::arc(0);

/// Largest error, from its IPv6 header on: the smallest MTU (RFC 4443 §2.4(c)).
const MAX_ERROR: usize = ip6::MIN_MTU as usize;
/// As Linux's default hop limit.
const HOP_LIMIT: u8 = 64;

struct Ip6IcmpError {
    limit: ErrorLimit,
    hash: FlowHash,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Ip6IcmpError { limit: ErrorLimit::new(bench.clock.hz()), hash: FlowHash::new(bench.seed) }))
}

/// `true` where RFC 4443 §2.4(e) lets this error be sent about the frame.
fn is_allowed(frame: &[u8], packet: &[u8], marks: u8, error: IcmpError) -> bool {
    let group = Ethernet::new(frame).is_some_and(Ethernet::is_group);
    let to_groups_too = error.kind == icmp6::PACKET_TOO_BIG
        || error.kind == icmp6::PARAMETER_PROBLEM && error.code == icmp6::UNKNOWN_OPTION;
    // A later piece shows no type, and may be answered; a message that is cut off before its type is not.
    let unanswered = ip6::carried(packet).is_some_and(|carried| {
        carried.protocol == ip6::ICMP
            && packet.get(carried.start).is_none_or(|kind| icmp6::is_unanswered(*kind))
    });
    marks & flags::CREATED == 0 && (!group || to_groups_too) && !unanswered
}

impl Ip6IcmpError {
    fn answer(&mut self, cx: &mut Context<'_>, packet: &Packet) -> Event {
        let frame = cx.frames.bytes(packet);
        let bytes = frame.get(usize::from(packet.l3)..).unwrap_or_default();
        let asked = packet.icmp();
        let Some(ip) = Ip6::new(bytes).filter(|_| is_allowed(frame, bytes, packet.flags, asked)) else {
            return Event::NotAllowed;
        };
        let sender = ip.source();
        let source = self.hash.host(sender);
        if !self.limit.is_open(source, cx.now) {
            return Event::RateLimited;
        }
        let Some(address) = cx.tables.ports.address6(packet.rx_port) else { return Event::NoAddress };
        let l3 = usize::from(packet.l3);
        let whole = usize::from(packet.len()).saturating_sub(l3);
        let quoted = whole.min(MAX_ERROR - ip6::LENGTH - icmp6::LENGTH);
        let length = ip6::LENGTH + icmp6::LENGTH + quoted;
        let Some(mut error) = cx.pool.allocate(ethernet::LENGTH + length, packet.rx_port) else {
            return Event::NoFrames;
        };
        self.limit.take(source, cx.now);
        error.l3 = ethernet::LENGTH as u8;
        error.flags = flags::CREATED;
        write(&mut cx.frames.bytes_mut(&mut error)[ethernet::LENGTH..], (address, sender), asked, |body| {
            cx.frames.read(packet, l3, body);
        });
        cx.frames.trace_with(&mut error, packet);
        cx.emit_created(LOOKUP, error);
        match asked.kind {
            icmp6::PACKET_TOO_BIG => Event::PacketTooBigSent,
            icmp6::TIME_EXCEEDED => Event::TimeExceededSent,
            icmp6::PARAMETER_PROBLEM => Event::ParameterProblemSent,
            _ => Event::UnreachableSent,
        }
    }
}

/// Writes the whole error: IPv6 header, ICMPv6 header, what `quote` makes of the rest. `bytes` is exactly as long as these.
fn write(
    bytes: &mut [u8],
    (source, destination): (Ipv6Addr, u128),
    error: IcmpError,
    quote: impl FnOnce(&mut [u8]),
) {
    let Some((header, icmp)) = bytes.split_at_mut_checked(ip6::LENGTH) else { return };
    let Some((head, body)) = icmp.split_at_mut_checked(icmp6::LENGTH) else { return };
    head[..4].copy_from_slice(&[error.kind, error.code, 0, 0]);
    head[4..].copy_from_slice(&error.word.to_be_bytes());
    quote(body);
    // At most the smallest MTU.
    let length = icmp.len() as u16;
    if let Some(mut ip) = Ip6Mut::new(header) {
        ip.set_all(length, ip6::ICMP, HOP_LIMIT, source.to_bits(), destination);
        let checksum = checksum::checksum6(ip.read().addresses(), ip6::ICMP, icmp);
        icmp[2..4].copy_from_slice(&checksum);
    }
}

impl Node for Ip6IcmpError {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        for (packet, next) in packets.iter().zip(next) {
            let event = self.answer(cx, packet);
            cx.count(event as u16, 1);
            *next = Next::DROP; // with the reason that the sending node has set
        }
    }
}
