//! `ip4-rewrite`: makes the packet ready for the link: TTL, checksum, Ethernet header, port.
//!
//! Nothing is changed before everything has been checked, so that an ICMP error quotes the packet as it came (RFC 1812 §4.3.2.3); nor is
//! a packet held for a neighbour, or its options written, that would be answered with an error in the end.
//! Packets that weir made itself keep their TTL.
//!
//! * arcs: `classify`, `glean` (the neighbour's MAC is not known), `ip4-options`, `ip4-fragment`, `ip4-icmp-error`
//! * drops: [`Drop`]
//! * counts: `/net/adjacency/to`, packets and IP bytes by next hop

use strum::VariantNames;
use weir_stats::{CombinedRow, Description, Error};

use crate::{
    adjacency::{AdjacencyIndex, AdjacencyKind},
    node::{Context, Forget, Next, Node, Registration, Workbench},
    packet::{Packet, flags},
    wire::{
        ethernet, icmp4,
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

const GLEAN: Next = Next::arc(1);
const OPTIONS: Next = Next::arc(2);
const FRAGMENT: Next = Next::arc(3);
const ICMP_ERROR: Next = Next::arc(4);

/// Path of the next hops' counters, for the control thread, which names them and keeps those in use fresh.
pub static ADJACENCY_COUNTERS: Description = Description::combined(
    "/net/adjacency/to",
    "next_hop=/net/adjacency/names",
    "IP packets and bytes sent to the next hop",
);
/// Most next hops: a full 16-bit neighbourhood. 32 bytes each in the table, 16 in each worker's counters where used.
pub const ADJACENCY_CAPACITY: usize = 1 << 16;

struct Ip4Rewrite {
    adjacencies: CombinedRow,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    let adjacencies = bench.counters.combined_row(&ADJACENCY_COUNTERS, 1, ADJACENCY_CAPACITY, bench.row)?;
    Ok(Box::new(Ip4Rewrite { adjacencies }))
}

impl Node for Ip4Rewrite {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        // Runs of packets to the same next hop share its reading and are counted together.
        let mut current = packets.first().map_or(AdjacencyIndex::default(), |packet| packet.adjacency);
        let mut adjacency = cx.tables.adjacencies.load(current);
        let (mut count, mut bytes) = (0u64, 0u64);
        for (packet, next) in packets.iter_mut().zip(next) {
            if packet.adjacency != current {
                self.adjacencies.add(current.as_u32() as usize, count, bytes);
                current = packet.adjacency;
                adjacency = cx.tables.adjacencies.load(current);
                (count, bytes) = (0, 0);
            }
            let kind = adjacency.kind();
            if !matches!(kind, AdjacencyKind::Rewrite | AdjacencyKind::Glean | AdjacencyKind::Incomplete) {
                *next = cx.drop(packet, Drop::NextHopGone as u16);
                continue;
            }
            let l3 = usize::from(packet.l3);
            let marks = packet.flags;
            let frame = cx.frames.bytes_mut(packet);
            let Some((link, datagram)) = frame.split_at_mut_checked(l3) else {
                *next = cx.drop(packet, Drop::TooShort as u16);
                continue;
            };
            let length = datagram.len();
            let too_big = length > usize::from(adjacency.mtu());
            let (Some(mut ip), Some(link)) =
                (Ip4Mut::new(datagram), link.last_chunk_mut::<{ ethernet::LENGTH }>())
            else {
                *next = cx.drop(packet, Drop::TooShort as u16);
                continue;
            };
            let header = ip.read();
            if header.ttl() <= 1 && marks & flags::CREATED == 0 {
                *next = cx.icmp_error(packet, Drop::TtlExpired as u16, icmp4::TTL_EXCEEDED, ICMP_ERROR);
                continue;
            }
            if too_big && header.fragment() & ip4::DONT_FRAGMENT != 0 {
                let error = icmp4::fragmentation_needed(adjacency.mtu());
                *next = cx.icmp_error(packet, Drop::TooBig as u16, error, ICMP_ERROR);
                continue;
            }
            if kind != AdjacencyKind::Rewrite {
                *next = GLEAN;
                continue;
            }
            let plain = header.version_ihl() == ip4::PLAIN;
            if !plain && marks & (flags::OPTIONS_DONE | flags::CREATED) == 0 {
                packet.tx_port = adjacency.port();
                *next = OPTIONS;
                continue;
            }
            if too_big {
                *next = FRAGMENT;
            }
            if marks & flags::CREATED == 0 {
                ip.decrement_ttl();
            }
            *link = adjacency.header();
            packet.tx_port = adjacency.port();
            count += 1;
            bytes += length as u64;
        }
        self.adjacencies.add(current.as_u32() as usize, count, bytes);
    }

    fn forget(&mut self, gone: &Forget) {
        for adjacency in &gone.adjacencies {
            self.adjacencies.set(*adjacency as usize, 0, 0);
        }
    }
}
