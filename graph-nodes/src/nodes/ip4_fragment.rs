//! `ip4-fragment`: cuts a datagram that is larger than its next hop's MTU (RFC 791 §3.2, RFC 1812 §4.2.2.7).
//!
//! The packet comes from `ip4-rewrite` ready for the link; each fragment gets its Ethernet header. The first fragment keeps the frame and all
//! options; the others take fresh frames and the options whose copy flag is set. All pieces but the last carry as much as fits, in
//! units of eight bytes. Either all pieces leave or none. The datagram, and its pieces, may lie in several frames each.
//!
//! * arcs: `classify`
//! * drops: [`Drop`]

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    node::{Context, Next, Node, Registration, Workbench},
    packet::Packet,
    wire::ip4::{self, Ip4, Ip4Mut},
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// No frames are free for the pieces.
    NoFrames,
    /// The link's MTU leaves no room for eight bytes behind the header (RFC 791 asks of every link 68 bytes).
    MtuTooSmall,
    /// A fragment that reaches beyond the largest datagram (65,535 bytes) and is cut there: the offset of what is behind has more than 13 bits.
    /// No host can put such a datagram together; some have fallen over it.
    BeyondLargestDatagram,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "ip4-fragment", next: &["classify"], reasons: Drop::VARIANTS, events: &[], create };

const CLASSIFY: Next = Next::arc(0);

struct Ip4Fragment;

fn create(_: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Ip4Fragment))
}

/// The header of the fragments behind the first: 20 bytes and the options with the copy flag (bit 7 of the type), padded to four bytes.
fn copied_header(header: &[u8]) -> ([u8; ip4::MAX_LENGTH], usize) {
    let mut copy = [0u8; ip4::MAX_LENGTH];
    let mut length = ip4::LENGTH.min(header.len());
    copy[..length].copy_from_slice(&header[..length]);
    let mut rest = header.get(ip4::LENGTH..).unwrap_or_default();
    while let [kind, tail @ ..] = rest {
        let size = match kind {
            0 => break,
            1 => 1,
            _ => match tail.first() {
                Some(size) if (2..=rest.len()).contains(&usize::from(*size)) => usize::from(*size),
                _ => break, // ip4-options has refused these
            },
        };
        if kind & 0x80 != 0 {
            // The copied options are a part of at most 40 bytes: they fit.
            copy[length..length + size].copy_from_slice(&rest[..size]);
            length += size;
        }
        rest = &rest[size..];
    }
    (copy, length.next_multiple_of(4)) // zeroes are "end of options"
}

impl Ip4Fragment {
    fn fragment(cx: &mut Context<'_>, packet: &mut Packet) -> Result<(), Drop> {
        let mtu = usize::from(cx.tables.adjacencies.load(packet.adjacency).mtu());
        let l3 = usize::from(packet.l3);
        let frame = cx.frames.bytes(packet);
        let Some(ip) = frame.get(l3..).and_then(Ip4::new) else { return Err(Drop::MtuTooSmall) };
        let (header_length, fragment) = (ip.header_length(), ip.fragment());
        let payload = usize::from(packet.len()).saturating_sub(l3 + header_length);
        let Some(header) = frame.get(l3..l3 + header_length) else { return Err(Drop::MtuTooSmall) };
        let (copied, copied_length) = copied_header(header);
        // Bytes of payload in the first piece, and in each one behind it but the last.
        let first = mtu.saturating_sub(header_length) & !7;
        let each = mtu.saturating_sub(copied_length) & !7;
        if first == 0 || each == 0 {
            return Err(Drop::MtuTooSmall);
        }
        if payload <= first {
            return Ok(()); // the MTU has grown meanwhile
        }
        let pieces = (payload - first).div_ceil(each);
        let last = usize::from(fragment & ip4::OFFSET) + (first + (pieces - 1) * each) / 8;
        if last > usize::from(ip4::OFFSET) {
            return Err(Drop::BeyondLargestDatagram);
        }
        if cx.pool.available() < pieces * cx.frames.needed(l3 + copied_length + each) {
            return Err(Drop::NoFrames);
        }
        let (offset, more) = (fragment & ip4::OFFSET, fragment & ip4::MORE_FRAGMENTS);
        let mut from = first;
        while from < payload {
            let size = each.min(payload - from);
            let length = l3 + copied_length + size;
            let Some(mut piece) = cx.pool.allocate(length, packet.rx_port) else {
                return Err(Drop::NoFrames);
            };
            let source = cx.frames.bytes(packet);
            let bytes = cx.frames.bytes_mut(&mut piece);
            bytes[..l3].copy_from_slice(&source[..l3]);
            let header = &mut bytes[l3..l3 + copied_length];
            header.copy_from_slice(&copied[..copied_length]);
            if let Some(mut ip) = Ip4Mut::new(header) {
                let last = from + size == payload;
                let flags = if last { more } else { ip4::MORE_FRAGMENTS };
                ip.set_lengths(copied_length, (copied_length + size) as u16);
                // The reserved flag is kept, DF is not set (or the packet would not be here).
                ip.set_fragment(fragment & 0x8000 | flags | (offset + (from / 8) as u16));
            }
            ip4::write_checksum(header);
            cx.frames.copy(packet, l3 + header_length + from, &mut piece, l3 + copied_length, size);
            piece.inherit(packet);
            cx.frames.trace_with(&mut piece, packet);
            cx.emit_created(CLASSIFY, piece);
            from += size;
        }
        cx.pool.truncate(packet, (l3 + header_length + first) as u16);
        let bytes = cx.frames.bytes_mut(packet);
        if let Some(header) = bytes.get_mut(l3..l3 + header_length) {
            if let Some(mut ip) = Ip4Mut::new(header) {
                ip.set_lengths(header_length, (header_length + first) as u16);
                ip.set_fragment(fragment | ip4::MORE_FRAGMENTS);
            }
            ip4::write_checksum(header);
        }
        Ok(())
    }
}

impl Node for Ip4Fragment {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        for (packet, next) in packets.iter_mut().zip(next) {
            if let Err(reason) = Self::fragment(cx, packet) {
                *next = cx.drop(packet, reason as u16);
                continue;
            }
        }
    }
}
