//! Where a frame's network header begins, and which one it is.
//!
//! ```text
//!  0 destination   6 source   12 ┬ type ─▶ IPv4 or IPv6 header
//!                                ├ tag, type ─▶ …                        up to four tags
//!                                └ PPPoE session, PPP protocol ─▶ IPv4 or IPv6 header
//! ```
//! `Packet::l3` holds what [`network_header`] has found, and [`network`] reads the header there. Both know an IP packet by its type and its version together: where
//! they differ the packet is nothing that weir knows.

use super::{ip4, ip6};

/// EtherType of IPv4 (IEEE 802 numbers, IANA).
pub const IP4: u16 = super::ethernet::IPV4;
/// EtherType of IPv6.
pub const IP6: u16 = 0x86dd;
/// EtherTypes of tags.
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
/// QinQ before it was a standard.
const OLD_SERVICE_VLAN: u16 = 0x9100;
const PPPOE_SESSION: u16 = 0x8864;
/// PPP protocol numbers (IANA).
const PPP_IP4: u16 = 0x0021;
const PPP_IP6: u16 = 0x0057;
/// Offset of the type in an Ethernet header.
const TYPE: usize = 12;
/// Tags that are stepped over. Two are QinQ; more than four are nobody's network.
const TAGS: usize = 4;

/// A packet from its network header on, as far as the frame goes: padding of short frames included. The fixed part of the header is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// IPv4: at least [`ip4::LENGTH`] bytes.
    Ip4(&'a [u8]),
    /// IPv6: at least [`ip6::LENGTH`] bytes.
    Ip6(&'a [u8]),
    /// Neither, or cut off in the fixed part of its header.
    Other,
}

/// What begins `l3` bytes behind the frame's start; 0: nothing that weir knows.
#[inline(always)]
pub fn network(frame: &[u8], l3: u8) -> Network<'_> {
    let datagram = frame.get(usize::from(l3)..).unwrap_or_default();
    match datagram.first() {
        Some(first) if l3 != 0 => match first >> 4 {
            4 if datagram.len() >= ip4::LENGTH => Network::Ip4(datagram),
            6 if datagram.len() >= ip6::LENGTH => Network::Ip6(datagram),
            _ => Network::Other,
        },
        _ => Network::Other,
    }
}

/// Bytes from an Ethernet frame's start to its IP header, behind tags and a PPPoE session, or 0 if it has none: no IP, another version than the type
/// says, or cut off in the fixed part.
#[inline(always)]
pub fn network_header(frame: &[u8]) -> u8 {
    let found = match number(frame, TYPE) {
        // Nearly every frame.
        Some(kind @ (IP4 | IP6)) => Some((kind, TYPE + 2)),
        Some(kind) => behind_type(frame, kind, TYPE + 2),
        None => None,
    };
    let Some((kind, at)) = found else { return 0 };
    // 14 bytes, four tags of four and a session of eight at most.
    let l3 = at as u8;
    match (network(frame, l3), kind) {
        (Network::Ip4(_), IP4) | (Network::Ip6(_), IP6) => l3,
        _ => 0,
    }
}

/// The EtherType of the IP header behind the type `kind`, and where it begins; `at` is the first byte behind that type. `None`: there is no IP header.
#[inline(never)]
pub fn behind_type(bytes: &[u8], mut kind: u16, mut at: usize) -> Option<(u16, usize)> {
    for _ in 0..=TAGS {
        match kind {
            IP4 | IP6 => return Some((kind, at)),
            VLAN | SERVICE_VLAN | OLD_SERVICE_VLAN => {
                kind = number(bytes, at + 2)?;
                at += 4;
            }
            // RFC 2516: version and type, code, session and length come before the PPP protocol.
            PPPOE_SESSION => {
                return match number(bytes, at + 6)? {
                    PPP_IP4 => Some((IP4, at + 8)),
                    PPP_IP6 => Some((IP6, at + 8)),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
    None
}

#[inline]
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const FOUR: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

    fn six() -> Vec<u8> {
        [&[0x60; 1][..], &[0; 39]].concat()
    }

    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        [&[2; 12][..], &parts.concat()].concat()
    }

    #[test]
    fn tags_and_sessions_are_stepped_over() {
        let session = |protocol: u8| [0x88, 0x64, 0x11, 0, 0, 1, 0, 40, 0, protocol];
        let tag = [0x81, 0, 0, 5];
        let cases: &[(&[&[u8]], u8)] = &[
            (&[&[8, 0], &FOUR], 14),
            (&[&[0x86, 0xdd], &six()], 14),
            (&[&tag, &[8, 0], &FOUR], 18),
            (&[&[0x88, 0xa8, 0, 5], &tag, &[0x86, 0xdd], &six()], 22),
            (&[&[0x91, 0, 0, 5], &tag, &session(0x21), &FOUR], 30),
            (&[&session(0x57), &six()], 22),
            (&[&tag, &tag, &tag, &tag, &[8, 0], &FOUR], 30),
            (&[&tag, &tag, &tag, &tag, &session(0x21), &FOUR], 38),
            (&[&tag, &tag, &tag, &tag, &tag, &[8, 0], &FOUR], 0),
            (&[&session(0x21), &six()], 0),
            (&[&[0x88, 0x64, 0x11, 0, 0, 1, 0, 40, 0xc0, 0x21], &FOUR], 0), // LCP
            (&[&[0x88, 0x63, 0x11, 0, 0, 1, 0, 40, 0, 0x21], &FOUR], 0),    // PPPoE discovery
            (&[&[8, 0], &six()], 0),
            (&[&[0x86, 0xdd], &FOUR, &FOUR], 0),
            (&[&[8, 0], &FOUR[..19]], 0),
            (&[&[0x86, 0xdd], &six()[..39]], 0),
            (&[&[8, 6], &FOUR], 0),
        ];
        for (parts, l3) in cases {
            let frame = frame(parts);
            assert_eq!(network_header(&frame), *l3, "{parts:02x?}");
            match network(&frame, *l3) {
                Network::Ip4(datagram) => assert!(*l3 > 0 && datagram == FOUR),
                Network::Ip6(datagram) => assert!(*l3 > 0 && datagram == six()),
                Network::Other => assert_eq!(*l3, 0),
            }
        }
    }

    proptest! {
        /// Whatever the bytes: what is found is there, whole, of the version that is said.
        #[test]
        fn any_frame(bytes in vec(prop_oneof![Just(0x81u8), Just(0x88), Just(0x08), Just(0), Just(0x64), Just(0x21), Just(0x45), Just(0x60), any::<u8>()], 0..90)) {
            let l3 = network_header(&bytes);
            match network(&bytes, l3) {
                Network::Ip4(datagram) => prop_assert!(l3 >= 14 && datagram.len() >= 20 && datagram[0] >> 4 == 4),
                Network::Ip6(datagram) => prop_assert!(l3 >= 14 && datagram.len() >= 40 && datagram[0] >> 4 == 6),
                Network::Other => prop_assert_eq!(l3, 0),
            }
        }
    }
}
