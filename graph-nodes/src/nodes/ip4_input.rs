//! `ip4-input`: the checks that a router makes before it looks at where a packet goes (RFC 1812 §5.2.2, §5.3.7).
//!
//! Length, version, header length, total length, header checksum; martian source and destination addresses. Padding behind the datagram is
//! cut off. The destination is kept in the packet, so that the lookup need not touch the frame.
//!
//! * arcs: `ip4-lookup`
//! * drops: [`Drop`]; all are silent, as RFC 1812 §5.2.2 asks

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    checksum,
    fib::Fib,
    frames::Frames,
    node::{Context, Next, Node, Registration, Workbench},
    packet::Packet,
    wire::ip4::{self, Ip4},
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// The frame ends before the header does.
    TooShort,
    /// The version is not 4.
    BadVersion,
    /// The header length is below 20 bytes.
    BadHeaderLength,
    /// The total length is shorter than the header or longer than the frame.
    BadTotalLength,
    /// The header checksum is wrong.
    BadChecksum,
    /// The source is an address that no host on another network can have: 0/8, 127/8, multicast, 240/4.
    MartianSource,
    /// The destination is 0/8, 127/8 or 240/4.
    MartianDestination,
    /// Source or destination is 169.254/16, which no router may forward (RFC 3927 §2.6.2, §7).
    LinkLocal,
    /// A multicast destination: the kernel's, on ports with an XDP program.
    Multicast,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "ip4-input", next: &["ip4-lookup"], reasons: Drop::VARIANTS, events: &[], create };

const LOOKUP: Next = Next::arc(0);

struct Ip4Input;

fn create(_: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Ip4Input))
}

/// Address classes by first byte; 0 = unicast, which nothing here objects to.
const MARTIAN: u8 = 1;
const MULTICAST: u8 = 2;
/// 169: only 169.254/16 is meant.
const PERHAPS_LINK_LOCAL: u8 = 4;
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    class[0] = MARTIAN; // "this network", RFC 1122 §3.2.1.3
    class[127] = MARTIAN; // loopback
    class[169] = PERHAPS_LINK_LOCAL;
    let mut first = 224;
    while first < 240 {
        class[first] = MULTICAST;
        first += 1;
    }
    while first < 256 {
        class[first] = MARTIAN; // class E and limited broadcast, RFC 1812 §5.3.7
        first += 1;
    }
    class
};

#[inline(always)]
fn class(address: u32) -> u8 {
    CLASS[(address >> 24) as usize]
}

fn is_link_local(address: u32) -> bool {
    address >> 16 == 0xa9fe
}

/// Everything in the order in which RFC 1812 asks for it. `length` is what has arrived of the datagram,
/// of which `datagram` is the beginning.
fn examine(datagram: &[u8], length: usize) -> Result<(u32, u16), Drop> {
    let ip = Ip4::new(datagram).ok_or(Drop::TooShort)?;
    if ip.version_ihl() >> 4 != 4 {
        return Err(Drop::BadVersion);
    }
    if ip.header_length() < ip4::LENGTH {
        return Err(Drop::BadHeaderLength);
    }
    let header = datagram.get(..ip.header_length()).ok_or(Drop::TooShort)?;
    let total = usize::from(ip.total_length());
    if total < header.len() || total > length {
        return Err(Drop::BadTotalLength);
    }
    if checksum::sum(header) != 0xffff {
        return Err(Drop::BadChecksum);
    }
    let (source, destination) = (ip.source(), ip.destination());
    if class(source) & (MARTIAN | MULTICAST) != 0 {
        return Err(Drop::MartianSource);
    }
    if class(destination) & MARTIAN != 0 {
        return Err(Drop::MartianDestination);
    }
    if is_link_local(source) || is_link_local(destination) {
        return Err(Drop::LinkLocal);
    }
    if class(destination) & MULTICAST != 0 {
        return Err(Drop::Multicast);
    }
    Ok((destination, ip.total_length()))
}

/// Takes the short way with the first packets, as far as it goes: a header without options that is right in every way, between unicast addresses, and all of the
/// datagram in one frame. Returns how many.
#[inline(always)]
fn take_usual(frames: &Frames, fib: &Fib, packets: &mut [Packet]) -> usize {
    let mut count = 0;
    for packet in packets {
        let l3 = usize::from(packet.l3);
        let datagram = frames.bytes(packet).get(l3..).unwrap_or_default();
        let Some(ip) = Ip4::new(datagram) else { break };
        let (total, destination) = (usize::from(ip.total_length()), ip.destination());
        let is_usual = (ip.version_ihl() == ip4::PLAIN)
            & (total >= ip4::LENGTH)
            & (total <= datagram.len())
            & (checksum::sum20(ip.bytes()) == 0xffff)
            & (class(ip.source()) | class(destination) == 0)
            & packet.is_one_frame();
        if !is_usual {
            break;
        }
        packet.destination = destination;
        // Costs 2 clocks with one route, gains 15 with 500,000 and random destinations.
        fib.prefetch(destination);
        // What pads the frame is cut off; both are within the frame.
        packet.place(packet.start(), (l3 + total) as u16);
        count += 1;
    }
    count
}

/// The long way, for any packet.
#[inline(never)]
fn take(cx: &mut Context<'_>, packet: &mut Packet) -> Next {
    let l3 = usize::from(packet.l3);
    let datagram = cx.frames.bytes(packet).get(l3..).unwrap_or_default();
    match examine(datagram, usize::from(packet.len()).saturating_sub(l3)) {
        Ok((destination, total)) => {
            packet.destination = destination;
            cx.pool.truncate(packet, total + u16::from(packet.l3));
            LOOKUP
        }
        Err(reason) => cx.drop(packet, reason as u16),
    }
}

impl Node for Ip4Input {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let mut at = 0;
        while at < packets.len() {
            at += take_usual(cx.frames, &cx.tables.fib, &mut packets[at..]);
            if let Some((packet, next)) = packets.get_mut(at).zip(next.get_mut(at)) {
                *next = take(cx, packet);
                at += 1;
            }
        }
    }
}
