//! Where a frame's network header begins, and which one it is.
//!
//! ```text
//!  0 destination   6 source   12 ┬ type ─▶ IPv4 or IPv6 header
//!                                ├ tag, type ─▶ …                        up to four tags
//!                                ├ label, label, … ─▶ IPv4 or IPv6 header   up to eight labels
//!                                └ PPPoE session, PPP protocol ─▶ IPv4 or IPv6 header
//! ```
//! `Packet::l3` holds what [`network_header`] has found, and [`network`] reads the header there. Both know an IP packet by its type and its version together: where
//! they differ the packet is nothing that weir knows.

use strum::VariantNames;

use super::{ip4, ip6, vlan};

/// EtherType of IPv4 (IEEE 802 numbers, IANA).
pub const IP4: u16 = super::ethernet::IPV4;
/// EtherType of IPv6.
pub const IP6: u16 = 0x86dd;
const PPPOE_SESSION: u16 = 0x8864;
/// MPLS with a label that the receiver, or the sender, has assigned (RFC 5332 §3).
const MPLS: u16 = 0x8847;
const MPLS_UPSTREAM: u16 = 0x8848;
/// PPP protocol numbers (IANA).
const PPP_IP4: u16 = 0x0021;
const PPP_IP6: u16 = 0x0057;
/// Offset of the type in an Ethernet header.
const TYPE: usize = 12;
/// Tags that are stepped over. Two are QinQ; more than four are nobody's network.
const TAGS: usize = 4;
/// Labels that are stepped over. Tunnels and services stack two to four; with more than eight, paths hop by hop, nobody's access network begins.
const LABELS: usize = 8;
/// The last label of a stack has this bit; above it and three bits of traffic class is the label (RFC 3032 §2.1).
const BOTTOM: u32 = 1 << 8;
const LABEL_SHIFT: u32 = 12;
/// Labels that say what follows them (RFC 3032 §2.1).
const IP4_EXPLICIT_NULL: u32 = 0;
const IP6_EXPLICIT_NULL: u32 = 2;
/// Version, type and code of a PPPoE session's data (RFC 2516 §4).
const SESSION_DATA: [u8; 2] = [0x11, 0];
/// Ethernet fills its data up to so many bytes (IEEE 802.3 §3.2.7).
const PADDED: usize = 46;

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

/// Why a frame that should have an IP header is taken for one that has none. A bridge carries it all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Flaw {
    /// More tags than are stepped over, or the frame ends in them.
    TagStack,
    /// More labels than are stepped over, or the frame ends with them.
    LabelStack,
    /// A PPPoE session's length is more than the frame has, or less than the IP packet in it.
    PppoeLength,
    /// The IP header is cut off in its fixed part, or of another version than is said before it.
    IpHeader,
}

/// Bytes from an Ethernet frame's start to its IP header, behind tags, labels and a PPPoE session; 0 if it has none. `length` is that of the whole frame,
/// of which `frame` has at least the headers.
#[inline(always)]
pub fn network_header(frame: &[u8], length: usize) -> Result<u8, Flaw> {
    let (kind, at) = match number(frame, TYPE) {
        // Nearly every frame, and nearly every tagged one.
        Some(kind @ (IP4 | IP6)) => (kind, TYPE + 2),
        Some(vlan::TAG) if let Some(kind @ (IP4 | IP6)) = number(frame, TYPE + 4) => (kind, TYPE + 6),
        Some(kind) => match behind_type(frame, kind, TYPE + 2, length)? {
            Some(found) => found,
            None => return Ok(0),
        },
        None => return Ok(0),
    };
    // 14 bytes, four tags of four and eight labels of four at most.
    let l3 = at as u8;
    match (network(frame, l3), kind) {
        (Network::Ip4(_), IP4) | (Network::Ip6(_), IP6) => Ok(l3),
        _ => Err(Flaw::IpHeader),
    }
}

/// The EtherType of the IP header behind the type `kind`, and where it begins; `at` is the first byte behind that type. `None`: there is no IP header.
///
/// `bytes` may end before the frame does, whose `length` is given; what isn't there of an IP header is not looked at.
#[inline(never)]
pub fn behind_type(
    bytes: &[u8],
    mut kind: u16,
    mut at: usize,
    length: usize,
) -> Result<Option<(u16, usize)>, Flaw> {
    for _ in 0..=TAGS {
        match kind {
            IP4 | IP6 => return Ok(Some((kind, at))),
            tag if vlan::is_tag(tag) => {
                kind = number(bytes, at + 2).ok_or(Flaw::TagStack)?;
                at += 4;
            }
            PPPOE_SESSION => return in_session(bytes, at, length),
            MPLS | MPLS_UPSTREAM => return behind_labels(bytes, at, length),
            _ => return Ok(None),
        }
    }
    Err(Flaw::TagStack)
}

/// What a PPPoE session carries whose header begins at `at`. Its length counts from the PPP protocol on (RFC 2516 §4), and need not be all of the frame, which may be padded.
fn in_session(bytes: &[u8], at: usize, length: usize) -> Result<Option<(u16, usize)>, Flaw> {
    let header: Option<&[u8; 8]> = bytes.get(at..).and_then(|header| header.first_chunk());
    let Some(&[version, code, _, _, high, low, protocol @ ..]) = header else {
        return Err(Flaw::PppoeLength);
    };
    if [version, code] != SESSION_DATA {
        return Ok(None);
    }
    let (from, end) = (at + 8, at + 6 + usize::from(u16::from_be_bytes([high, low])));
    if end < from || end > length {
        return Err(Flaw::PppoeLength);
    }
    let (kind, least) = match u16::from_be_bytes(protocol) {
        PPP_IP4 => (IP4, ip4::LENGTH),
        PPP_IP6 => (IP6, ip6::LENGTH),
        _ => return Ok(None),
    };
    // Another version than the session says has no length, and is found out by who reads the header.
    let needed =
        ip_packet(bytes, from).filter(|(version, _)| *version == kind).map_or(0, |(_, length)| length);
    if from + needed.max(least) > end {
        return Err(Flaw::PppoeLength);
    }
    Ok(Some((kind, from)))
}

/// What a stack of labels carries that begins at `at` (RFC 3032 §2.1). Nothing says what that is but the label at the bottom, to those who know it. What begins
/// like IP (RFC 4928 §3) and is as long as it says is IP; the first byte of a pseudowire's control word is 0 or 1 (RFC 4385 §3, §5), and Ethernet
/// without one may begin like IP, but hardly is as long.
fn behind_labels(bytes: &[u8], mut at: usize, length: usize) -> Result<Option<(u16, usize)>, Flaw> {
    for _ in 0..LABELS {
        let entry = bytes.get(at..).and_then(|entry| entry.first_chunk()).ok_or(Flaw::LabelStack)?;
        let entry = u32::from_be_bytes(*entry);
        at += 4;
        if entry & BOTTOM == 0 {
            continue;
        }
        if at >= length {
            return Err(Flaw::LabelStack);
        }
        return match entry >> LABEL_SHIFT {
            IP4_EXPLICIT_NULL => Ok(Some((IP4, at))),
            IP6_EXPLICIT_NULL => Ok(Some((IP6, at))),
            _ => Ok(ip_packet(bytes, at)
                .filter(|(_, packet)| at + packet == length || at + packet < length && length - at <= PADDED)
                .map(|(kind, _)| (kind, at))),
        };
    }
    Err(Flaw::LabelStack)
}

/// The EtherType and the length of the IP packet whose header begins at `at`, as its version and length fields say.
fn ip_packet(bytes: &[u8], at: usize) -> Option<(u16, usize)> {
    match bytes.get(at)? >> 4 {
        4 => Some((IP4, usize::from(number(bytes, at + 2)?))),
        6 => Some((IP6, ip6::LENGTH + usize::from(number(bytes, at + 4)?))),
        _ => None,
    }
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

    fn ip6() -> Vec<u8> {
        [&[0x60; 1][..], &[0; 39]].concat()
    }

    fn frame(parts: &[&[u8]]) -> Vec<u8> {
        [&[2; 12][..], &parts.concat()].concat()
    }

    fn session(length: u16, protocol: u8) -> [u8; 10] {
        let [high, low] = length.to_be_bytes();
        [0x88, 0x64, 0x11, 0, 0, 1, high, low, 0, protocol]
    }

    fn label(label: u16, bottom: bool) -> [u8; 4] {
        (u32::from(label) << 12 | u32::from(bottom) << 8 | 64).to_be_bytes()
    }

    /// What follows a frame's MAC addresses, in parts, and what is found.
    type Case<'a> = (&'a [&'a [u8]], Result<u8, Flaw>);

    #[test]
    fn tags_labels_and_sessions_are_stepped_over() {
        const TAG: [u8; 4] = [0x81, 0, 0, 5];
        const LABELLED: [u8; 2] = [0x88, 0x47];
        let (four, six) = (session(22, 0x21), session(42, 0x57));
        let stack = |count: u16| (1..=count).flat_map(|at| label(15 + at, at == count)).collect::<Vec<_>>();
        let control_word = |first: u8| [&[first, 0, 0, 7][..], &FOUR].concat();
        let cases: &[Case<'_>] = &[
            (&[&[8, 0], &FOUR], Ok(14)),
            (&[&[0x86, 0xdd], &ip6()], Ok(14)),
            (&[&TAG, &[8, 0], &FOUR], Ok(18)),
            (&[&[0x88, 0xa8, 0, 5], &TAG, &[0x86, 0xdd], &ip6()], Ok(22)),
            (&[&[0x91, 0, 0, 5], &TAG, &four, &FOUR], Ok(30)),
            (&[&six, &ip6()], Ok(22)),
            (&[&TAG, &TAG, &TAG, &TAG, &[8, 0], &FOUR], Ok(30)),
            (&[&TAG, &TAG, &TAG, &TAG, &four, &FOUR], Ok(38)),
            (&[&TAG, &TAG, &TAG, &TAG, &TAG, &[8, 0], &FOUR], Err(Flaw::TagStack)),
            (&[&TAG], Err(Flaw::TagStack)),
            (&[&TAG, &[8]], Err(Flaw::TagStack)),
            (&[&TAG, &[8, 0]], Err(Flaw::IpHeader)),
            // Sessions: padded, of other things, and lying.
            (&[&four, &FOUR, &[0; 9]], Ok(22)),
            (&[&session(29, 0x21), &FOUR, &[0; 9]], Ok(22)),
            (&[&session(31, 0x21), &FOUR, &[0; 9]], Ok(22)),
            (&[&session(32, 0x21), &FOUR, &[0; 9]], Err(Flaw::PppoeLength)),
            (&[&session(21, 0x21), &FOUR], Err(Flaw::PppoeLength)),
            (&[&session(41, 0x57), &ip6(), &[0; 9]], Err(Flaw::PppoeLength)),
            (&[&session(0, 0x21), &FOUR], Err(Flaw::PppoeLength)),
            (&[&session(1, 0x21), &FOUR], Err(Flaw::PppoeLength)),
            (&[&session(0xffff, 0x21), &FOUR], Err(Flaw::PppoeLength)),
            (&[&four[..9]], Err(Flaw::PppoeLength)),
            (&[&session(42, 0x21), &ip6()], Err(Flaw::IpHeader)),
            (&[&[0x88, 0x64, 0x11, 0, 0, 1, 0, 22, 0xc0, 0x21], &FOUR], Ok(0)), // LCP
            (&[&[0x88, 0x64, 0x11, 0, 0, 1, 0, 40, 0xc0, 0x21], &FOUR], Err(Flaw::PppoeLength)),
            (&[&[0x88, 0x64, 0x11, 9, 0, 1, 0, 22, 0, 0x21], &FOUR], Ok(0)), // no data
            (&[&[0x88, 0x63, 0x11, 0, 0, 1, 0, 40, 0, 0x21], &FOUR], Ok(0)), // discovery
            // Labels.
            (&[&LABELLED, &stack(1), &FOUR], Ok(18)),
            (&[&[0x88, 0x48], &stack(2), &ip6()], Ok(22)),
            (&[&TAG, &TAG, &LABELLED, &stack(8), &FOUR], Ok(54)),
            (&[&LABELLED, &stack(9), &FOUR], Err(Flaw::LabelStack)),
            (&[&LABELLED, &stack(3)[..11]], Err(Flaw::LabelStack)),
            (&[&LABELLED, &stack(3)], Err(Flaw::LabelStack)),
            (&[&LABELLED], Err(Flaw::LabelStack)),
            (&[&LABELLED, &label(0, true), &FOUR], Ok(18)),
            (&[&LABELLED, &label(2, true), &ip6()], Ok(18)),
            (&[&LABELLED, &label(0, true), &ip6()], Err(Flaw::IpHeader)),
            (&[&LABELLED, &label(2, true), &FOUR], Err(Flaw::IpHeader)),
            (&[&LABELLED, &stack(1), &control_word(0)], Ok(0)),
            (&[&LABELLED, &stack(1), &control_word(0x10)], Ok(0)),
            (&[&LABELLED, &stack(1), &FOUR, &[0; 26]], Ok(18)),
            (&[&LABELLED, &stack(1), &FOUR, &[0; 27]], Ok(0)), // longer than it says: Ethernet that begins like IP
            (&[&LABELLED, &stack(1), &FOUR[..19]], Ok(0)),
            (&[&[8, 0], &ip6()], Err(Flaw::IpHeader)),
            (&[&[0x86, 0xdd], &FOUR, &FOUR], Err(Flaw::IpHeader)),
            (&[&[8, 0], &FOUR[..19]], Err(Flaw::IpHeader)),
            (&[&[8, 0]], Err(Flaw::IpHeader)),
            (&[&[0x86, 0xdd], &ip6()[..39]], Err(Flaw::IpHeader)),
            (&[&[8, 6], &FOUR], Ok(0)),
            (&[&[8]], Ok(0)),
        ];
        for (parts, expected) in cases {
            let frame = frame(parts);
            let found = network_header(&frame, frame.len());
            assert_eq!(found, *expected, "{parts:02x?}");
            let l3 = found.unwrap_or(0);
            match network(&frame, l3) {
                Network::Ip4(datagram) => assert!(l3 > 0 && datagram.starts_with(&FOUR)),
                Network::Ip6(datagram) => assert!(l3 > 0 && datagram.starts_with(&ip6())),
                Network::Other => assert_eq!(l3, 0),
            }
        }
    }

    #[test]
    fn a_frame_may_go_on_behind_its_headers() {
        // What a session and an IP packet behind labels are measured by is the frame's length, not what of it is at hand.
        let mut four = FOUR;
        four[2..4].copy_from_slice(&1000u16.to_be_bytes());
        let in_session = frame(&[&session(1002, 0x21), &four]);
        assert_eq!(network_header(&in_session, 1022), Ok(22));
        assert_eq!(network_header(&in_session, 1021), Err(Flaw::PppoeLength));
        let labelled = frame(&[&[0x88, 0x47], &label(16, true), &four]);
        assert_eq!(network_header(&labelled, 1018), Ok(18));
        assert_eq!(network_header(&labelled, 1019), Ok(0));
    }

    proptest! {
        /// Whatever the bytes: what is found is there, whole, of the version that is said.
        #[test]
        fn any_frame(bytes in vec(prop_oneof![Just(0x81u8), Just(0x88), Just(0x08), Just(0), Just(0x64), Just(0x47), Just(0x21), Just(0x11), Just(0x45), Just(0x60), any::<u8>()], 0..90)) {
            let found = network_header(&bytes, bytes.len());
            let l3 = found.unwrap_or(0);
            match network(&bytes, l3) {
                Network::Ip4(datagram) => prop_assert!(l3 >= 14 && datagram.len() >= 20 && datagram[0] >> 4 == 4),
                Network::Ip6(datagram) => prop_assert!(l3 >= 14 && datagram.len() >= 40 && datagram[0] >> 4 == 6),
                Network::Other => prop_assert_eq!(l3, 0),
            }
        }
    }
}
