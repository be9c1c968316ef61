//! What `ip4-rewrite` and `ip6-rewrite` have in common: runs of packets to one next hop, and the short way that nearly all of them take.

use crate::{
    adjacency::{Adjacency, AdjacencyIndex, LinkHeader},
    frames::Frames,
    node::{Context, Next},
    packet::{Packet, flags},
    wire::{ethernet, vlan},
};

/// A run of packets to the same next hop, which share its reading and are counted together.
pub(super) struct Run {
    index: AdjacencyIndex,
    pub(super) adjacency: Adjacency,
    pub(super) header: LinkHeader,
    count: u64,
    bytes: u64,
}

/// A version of IP.
pub(super) trait Version {
    /// Takes a hop from the packet that begins `ip`, and changes nothing else; `false`, and nothing is changed, if it needs more than that.
    fn hop(ip: &mut [u8]) -> bool;

    /// The long way, for any packet to the run's next hop.
    fn take(cx: &Context<'_>, packet: &mut Packet, run: &mut Run) -> Next;
}

impl Run {
    fn to(index: AdjacencyIndex, cx: &Context<'_>) -> Run {
        let adjacency = cx.tables.adjacencies.load(index);
        Run { index, adjacency, header: adjacency.link_header(), count: 0, bytes: 0 }
    }

    /// Counts a packet of so many bytes of IP that is ready to be sent.
    #[inline(always)]
    pub(super) fn count(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }

    fn end(&self, cx: &mut Context<'_>) {
        cx.count_next_hop(self.index, self.count, self.bytes);
    }
}

/// Rewrites a vector.
#[inline(always)]
pub(super) fn process<V: Version>(cx: &mut Context<'_>, packets: &mut [Packet], next: &mut [Next]) {
    let Some(first) = packets.first() else { return };
    let mut run = Run::to(first.adjacency, cx);
    let mut at = 0;
    while at < packets.len() {
        let rest = &mut packets[at..];
        at += match run.header.length() {
            ethernet::LENGTH => take_usual::<V, { ethernet::LENGTH }>(cx.frames, rest, &mut run),
            vlan::LONG => take_usual::<V, { vlan::LONG }>(cx.frames, rest, &mut run),
            _ => take_usual::<V, { vlan::LONGEST }>(cx.frames, rest, &mut run),
        };
        let Some(packet) = packets.get_mut(at) else { break };
        if packet.adjacency != run.index {
            run.end(cx);
            run = Run::to(packet.adjacency, cx);
            continue;
        }
        next[at] = V::take(cx, packet, &mut run);
        at += 1;
    }
    run.end(cx);
}

/// Takes the short way with the first packets, as far as it goes: to the run's next hop, which is known, in frames whose header is as long (`LINK`) as the new
/// one. Returns how many. It takes half of the long way's instructions.
#[inline(always)]
fn take_usual<V: Version, const LINK: usize>(
    frames: &Frames,
    packets: &mut [Packet],
    run: &mut Run,
) -> usize {
    let Some(header) = run.header.bytes::<LINK>().filter(|_| run.adjacency.is_rewrite()) else { return 0 };
    let (mtu, port) = (usize::from(run.adjacency.mtu()), run.adjacency.port());
    let (mut count, mut bytes) = (0, 0);
    for packet in packets {
        let length = usize::from(packet.len()).saturating_sub(LINK);
        let is_usual = (packet.adjacency == run.index)
            & (usize::from(packet.l3) == LINK)
            & (packet.flags & flags::CREATED == 0)
            & (length <= mtu);
        if !is_usual {
            break;
        }
        let Some((link, ip)) = frames.bytes_mut(packet).split_first_chunk_mut() else { break };
        if !V::hop(ip) {
            break;
        }
        *link = header;
        packet.tx_port = port;
        bytes += length as u64;
        count += 1;
    }
    run.count += count as u64;
    run.bytes += bytes;
    count
}
