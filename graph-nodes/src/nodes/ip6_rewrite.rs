//! `ip6-rewrite`: makes an IPv6 packet ready for the link: hop limit, Ethernet header and tags, port.
//!
//! As `ip4-rewrite`: nothing is changed before everything has been checked, and packets that weir made itself keep their hop limit. A packet that is
//! too large for its link is never cut: its sender is told (RFC 8200 §5).
//!
//! * arcs: `classify`, `glean` (the neighbour's MAC is not known), `ip6-icmp-error`
//! * drops: [`Drop`]
//! * counts: `/net/adjacency/to`, packets and IP bytes by next hop

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    adjacency::AdjacencyKind,
    node::{Context, Next, Node, Registration, Workbench},
    nodes::rewrite::{self, Run, Version},
    packet::{Packet, flags},
    wire::{icmp6, ip6::Ip6Mut},
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// The hop limit is used up: the sender is told (time exceeded).
    HopLimitExceeded,
    /// Larger than the link allows: the sender is told the next hop's MTU (packet too big).
    TooBig,
    /// The next hop went away between lookup and here.
    NextHopGone,
    /// No room in front of the packet for the tags of the port that it leaves by; cannot happen to what a port has received.
    NoHeadroom,
    /// The frame ends before the header does; cannot happen behind `ip6-input`.
    TooShort,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ip6-rewrite",
    next: &["classify", "glean", "ip6-icmp-error"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

const CLASSIFY: Next = Next::arc(0);
const GLEAN: Next = Next::arc(1);
const ICMP_ERROR: Next = Next::arc(2);

struct Ip6Rewrite;

fn create(_: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Ip6Rewrite))
}

impl Node for Ip6Rewrite {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        rewrite::process::<Self>(cx, packets, next);
    }
}

impl Version for Ip6Rewrite {
    #[inline(always)]
    fn hop(ip: &mut [u8]) -> bool {
        match Ip6Mut::new(ip) {
            Some(mut ip) if ip.read().hop_limit() > 1 => {
                ip.decrement_hop_limit();
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
        let length = usize::from(packet.len()).saturating_sub(l3);
        let created = packet.flags & flags::CREATED != 0;
        let frame = cx.frames.bytes_mut(packet);
        let Some((link, mut ip)) =
            frame.split_at_mut_checked(l3).and_then(|(link, ip)| Some((link, Ip6Mut::new(ip)?)))
        else {
            return cx.drop(packet, Drop::TooShort as u16);
        };
        if ip.read().hop_limit() <= 1 && !created {
            let error = icmp6::HOP_LIMIT_EXCEEDED;
            return cx.icmp_error(packet, Drop::HopLimitExceeded as u16, error, ICMP_ERROR);
        }
        if length > usize::from(run.adjacency.mtu()) {
            let error = icmp6::packet_too_big(run.adjacency.mtu());
            return cx.icmp_error(packet, Drop::TooBig as u16, error, ICMP_ERROR);
        }
        if kind != AdjacencyKind::Rewrite {
            return GLEAN;
        }
        if !created {
            ip.decrement_hop_limit();
        }
        if !run.header.replace(link) && !run.header.write(cx.frames, packet) {
            return cx.drop(packet, Drop::NoHeadroom as u16);
        }
        packet.tx_port = run.adjacency.port();
        run.count(length);
        CLASSIFY
    }
}
