//! `ip6-input`: the checks that a router makes before it looks at where an IPv6 packet goes.
//!
//! Length, version, payload length (RFC 8200 §3); addresses that no packet on a network may have, and scopes that end at a link (RFC 4291 §2.5, RFC 4007 §9).
//! Padding behind the packet is cut off. There is no checksum.
//!
//! * arcs: `ip6-lookup`, `ip6-hop-by-hop` (options that every router on the way reads)
//! * drops: [`Drop`]; all are silent. What is link-local or multicast is the kernel's, on ports with an XDP program, and so are the answers to it

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    node::{Context, Next, Node, Registration, Workbench},
    packet::Packet,
    wire::ip6::{self, Ip6},
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// The frame ends before the header does.
    TooShort,
    /// The version is not 6.
    BadVersion,
    /// The payload length says more than the frame has.
    BadPayloadLength,
    /// The payload length is 0, as a jumbogram's is (RFC 2675): no link of weir's carries one.
    Jumbogram,
    /// The source is one that no packet to another network can have: unspecified, loopback, multicast, a mapped IPv4 address.
    MartianSource,
    /// The destination is unspecified, loopback, or a mapped IPv4 address.
    MartianDestination,
    /// Source or destination is link-local, which no router may forward (RFC 4291 §2.5.6): the kernel's, on ports with an XDP program.
    LinkLocal,
    /// A multicast destination: the kernel's, on ports with an XDP program.
    Multicast,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ip6-input",
    next: &["ip6-lookup", "ip6-hop-by-hop"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

const HOP_BY_HOP: Next = Next::arc(1);

struct Ip6Input;

fn create(_: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Ip6Input))
}

/// First bytes of addresses that are looked at more closely: 0 (unspecified, loopback, mapped), 0xfe (link-local), 0xff (multicast).
#[inline(always)]
fn is_plain(first: u8) -> bool {
    first.wrapping_sub(1) < 0xfd
}

/// What an address of one of these first bytes is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unicast,
    Martian,
    LinkLocal,
    Multicast,
}

/// `::ffff:0:0/96` (RFC 4291 §2.5.5.2), without its last 32 bits.
const MAPPED: u128 = 0xffff;

fn kind(address: u128) -> Kind {
    match address >> 120 {
        0xff => Kind::Multicast,
        0xfe if address >> 118 == 0xfe80 >> 6 => Kind::LinkLocal,
        // Unspecified and loopback; mapped addresses stand for IPv4 inside of a host, and are not for the wire.
        0 if address <= 1 || address >> 32 == MAPPED => Kind::Martian,
        _ => Kind::Unicast,
    }
}

/// Everything, one after the other; for packets that the short test below does not pass. The length of the packet, and where it goes. `behind` is what has
/// arrived of it, of which `bytes` is the beginning.
#[cold]
fn examine(bytes: &[u8], behind: usize) -> Result<(u16, Next), Drop> {
    let version = bytes.first().map_or(0, |first| first >> 4);
    let ip = Ip6::new(bytes).ok_or(Drop::TooShort)?;
    if version != 6 {
        return Err(Drop::BadVersion);
    }
    let hop_by_hop = ip.next_header() == ip6::HOP_BY_HOP;
    if ip.payload_length() == 0 && hop_by_hop {
        return Err(Drop::Jumbogram);
    }
    let length = ip6::LENGTH + usize::from(ip.payload_length());
    if length > behind {
        return Err(Drop::BadPayloadLength);
    }
    let (source, destination) = (kind(ip.source()), kind(ip.destination()));
    match (source, destination) {
        (Kind::Martian | Kind::Multicast, _) => Err(Drop::MartianSource),
        (_, Kind::Martian) => Err(Drop::MartianDestination),
        (_, Kind::Multicast) => Err(Drop::Multicast),
        (Kind::LinkLocal, _) | (_, Kind::LinkLocal) => Err(Drop::LinkLocal),
        // At most as long as the frame, whose length has 16 bits.
        (Kind::Unicast, Kind::Unicast) => {
            Ok((length as u16, if hop_by_hop { HOP_BY_HOP } else { Next::arc(0) }))
        }
    }
}

impl Node for Ip6Input {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        for (packet, next) in packets.iter_mut().zip(next) {
            let bytes = cx.frames.bytes(packet).get(usize::from(packet.l3)..).unwrap_or_default();
            let behind = usize::from(packet.len()) - usize::from(packet.l3).min(usize::from(packet.len()));
            // The short test: a packet that is right in every way, without options for this router, between unicast addresses.
            let fast = Ip6::new(bytes).filter(|ip| {
                (ip.version() == 6)
                    & (ip6::LENGTH + usize::from(ip.payload_length()) <= behind)
                    & (ip.next_header() != ip6::HOP_BY_HOP)
                    & is_plain(ip.bytes()[8])
                    & is_plain(ip.bytes()[24])
            });
            let length = match fast {
                Some(ip) => {
                    cx.tables.fib6.prefetch(ip.destination());
                    ip6::LENGTH as u16 + ip.payload_length()
                }
                None => match examine(bytes, behind) {
                    Ok((length, to)) => {
                        *next = to;
                        length
                    }
                    Err(reason) => {
                        *next = cx.drop(packet, reason as u16);
                        continue;
                    }
                },
            };
            cx.pool.truncate(packet, length + u16::from(packet.l3));
        }
    }
}
