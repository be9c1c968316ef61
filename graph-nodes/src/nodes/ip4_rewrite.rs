//! `ip4-rewrite`: makes the packet ready for the link: TTL, checksum, Ethernet header and tags, port.
//!
//! Nothing is changed before everything has been checked, so that an ICMP error quotes the packet as it came (RFC 1812 §4.3.2.3); nor is
//! a packet held for a neighbour, or its options written, that would be answered with an error in the end.
//! Packets that weir made itself keep their TTL.
//!
//! * arcs: `classify`, `glean` (the neighbour's MAC is not known), `ip4-options`, `ip4-fragment`, `ip4-icmp-error`
//! * drops: [`Drop`]
//! * counts: `/net/adjacency/to`, packets and IP bytes by next hop

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    adjacency::AdjacencyKind,
    node::{Context, Next, Node, Registration, Workbench},
    nodes::rewrite::{self, Run, Version},
    packet::{Packet, flags},
    wire::{
        icmp4,
        ip4::{self, Ip4Mut},
    },
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// The time to live is used up: the sender is told (time exceeded).
    TtlExpired,
    /// Larger than the link allows, and "don't fragment" is set: the sender is told the next hop's MTU.
    TooBig,
    /// The next hop went away between lookup and here.
    NextHopGone,
    /// No room in front of the packet for the tags of the port that it leaves by; cannot happen to what a port has received.
    NoHeadroom,
    /// The frame ends before the header does; cannot happen behind `ip4-input`.
    TooShort,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ip4-rewrite",
    next: &["classify", "glean", "ip4-options", "ip4-fragment", "ip4-icmp-error"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

const CLASSIFY: Next = Next::arc(0);
const GLEAN: Next = Next::arc(1);
const OPTIONS: Next = Next::arc(2);
const FRAGMENT: Next = Next::arc(3);
const ICMP_ERROR: Next = Next::arc(4);

struct Ip4Rewrite;

fn create(_: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Ip4Rewrite))
}

impl Node for Ip4Rewrite {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        rewrite::process::<Self>(cx, packets, next);
    }
}

impl Version for Ip4Rewrite {
    #[inline(always)]
    fn hop(ip: &mut [u8]) -> bool {
        match Ip4Mut::new(ip) {
            Some(mut ip) if (ip.read().version_ihl() == ip4::PLAIN) & (ip.read().ttl() > 1) => {
                ip.decrement_ttl();
                true
            }
            _ => false,
        }
    }

    #[inline(never)]
    fn take(cx: &Context<'_>, packet: &mut Packet, run: &mut Run) -> Next {
        let kind = run.adjacency.kind();
        if !matches!(kind, AdjacencyKind::Rewrite | AdjacencyKind::Glean | AdjacencyKind::Incomplete) {
            return cx.drop(packet, Drop::NextHopGone as u16);
        }
        let l3 = usize::from(packet.l3);
        let (marks, whole) = (packet.flags, usize::from(packet.len()));
        let frame = cx.frames.bytes_mut(packet);
        let Some((link, datagram)) = frame.split_at_mut_checked(l3) else {
            return cx.drop(packet, Drop::TooShort as u16);
        };
        let length = whole - l3;
        let too_big = length > usize::from(run.adjacency.mtu());
        let Some(mut ip) = Ip4Mut::new(datagram) else {
            return cx.drop(packet, Drop::TooShort as u16);
        };
        let came = ip.read();
        if came.ttl() <= 1 && marks & flags::CREATED == 0 {
            return cx.icmp_error(packet, Drop::TtlExpired as u16, icmp4::TTL_EXCEEDED, ICMP_ERROR);
        }
        if too_big && came.fragment() & ip4::DONT_FRAGMENT != 0 {
            let error = icmp4::fragmentation_needed(run.adjacency.mtu());
            return cx.icmp_error(packet, Drop::TooBig as u16, error, ICMP_ERROR);
        }
        if kind != AdjacencyKind::Rewrite {
            return GLEAN;
        }
        let plain = came.version_ihl() == ip4::PLAIN;
        if !plain && marks & (flags::OPTIONS_DONE | flags::CREATED) == 0 {
            packet.tx_port = run.adjacency.port();
            return OPTIONS;
        }
        if marks & flags::CREATED == 0 {
            ip.decrement_ttl();
        }
        if !run.header.replace(link) && !run.header.write(cx.frames, packet) {
            return cx.drop(packet, Drop::NoHeadroom as u16);
        }
        packet.tx_port = run.adjacency.port();
        run.count(length);
        if too_big { FRAGMENT } else { CLASSIFY }
    }
}
