//! IPv6 header (RFC 8200 §3), and the way to what it carries.
//!
//! ```text
//! 0..4 version, traffic class, flow label   4..6 payload length   6 next header   7 hop limit   8..24 source   24..40 destination
//! ```

/// Bytes of the header without extensions.
pub const LENGTH: usize = 40;
/// The smallest MTU that every link must carry (RFC 8200 §5).
pub const MIN_MTU: u16 = 1280;
/// Protocol number of ICMPv6 (IANA).
pub const ICMP: u8 = 58;

/// Extension headers (IANA, Assigned Internet Protocol Numbers).
/// Hop-by-hop options, which stand first if at all (RFC 8200 §4.3).
pub const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// Extension headers that are stepped over: one of each, and destination options before and after routing (RFC 8200 §4.1).
const EXTENSIONS: usize = 6;
/// The offset in a fragment header, in bytes, and the flag that there are more (RFC 8200 §4.5).
const OFFSET: u16 = !7;
const MORE: u16 = 1;

/// Reads an IPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Ip6<'a>(&'a [u8; LENGTH]);

impl<'a> Ip6<'a> {
    /// The header at the start of `bytes`.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Option<Ip6<'a>> {
        bytes.first_chunk().map(Ip6)
    }

    /// Version as it stands.
    #[inline(always)]
    pub fn version(self) -> u8 {
        self.0[0] >> 4
    }

    /// Flow label, 20 bits; 0: the sender has set none (RFC 6437 §2).
    #[inline(always)]
    pub fn flow_label(self) -> u32 {
        let [_, b, c, d, ..] = *self.0;
        u32::from_be_bytes([0, b & 0x0f, c, d])
    }

    /// Traffic class: DSCP and ECN (RFC 2474, RFC 3168).
    #[inline(always)]
    pub fn traffic_class(self) -> u8 {
        (u16::from_be_bytes([self.0[0], self.0[1]]) >> 4) as u8
    }

    /// Bytes behind the header, extension headers included; 0 in jumbograms, and in captures in what a card was still to split.
    #[inline(always)]
    pub fn payload_length(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// What follows: an extension header, or what is carried.
    #[inline(always)]
    pub fn next_header(self) -> u8 {
        self.0[6]
    }

    /// Hop limit.
    #[inline(always)]
    pub fn hop_limit(self) -> u8 {
        self.0[7]
    }

    /// The forty bytes.
    #[inline(always)]
    pub fn bytes(self) -> &'a [u8; LENGTH] {
        self.0
    }

    /// Both addresses as they stand.
    #[inline(always)]
    pub fn addresses(self) -> &'a [u8; 32] {
        self.0.last_chunk().unwrap_or(&[0; 32]) // forty bytes have a last 32
    }

    /// Source address.
    #[inline(always)]
    pub fn source(self) -> u128 {
        let words = self.0.as_chunks().0;
        joined(words[1], words[2])
    }

    /// Destination address.
    #[inline(always)]
    pub fn destination(self) -> u128 {
        let words = self.0.as_chunks().0;
        joined(words[3], words[4])
    }
}

/// Changes an IPv6 header.
#[derive(Debug)]
pub struct Ip6Mut<'a>(&'a mut [u8; LENGTH]);

impl<'a> Ip6Mut<'a> {
    /// The header at the start of `bytes`.
    #[inline(always)]
    pub fn new(bytes: &'a mut [u8]) -> Option<Ip6Mut<'a>> {
        bytes.first_chunk_mut().map(Ip6Mut)
    }

    /// The header, to read.
    #[inline(always)]
    pub fn read(&self) -> Ip6<'_> {
        Ip6(self.0)
    }

    /// Takes one from the hop limit, which must not be 0.
    #[inline(always)]
    pub fn decrement_hop_limit(&mut self) {
        self.0[7] = self.0[7].wrapping_sub(1);
    }

    /// A whole header of traffic class and flow label 0: payload length, next header, hop limit, source and destination address.
    pub fn set_all(&mut self, length: u16, next_header: u8, hop_limit: u8, source: u128, destination: u128) {
        let [high, low] = length.to_be_bytes();
        self.0[..8].copy_from_slice(&[0x60, 0, 0, 0, high, low, next_header, hop_limit]);
        self.0[8..24].copy_from_slice(&source.to_be_bytes());
        self.0[24..].copy_from_slice(&destination.to_be_bytes());
    }
}

#[inline(always)]
fn joined(high: [u8; 8], low: [u8; 8]) -> u128 {
    u128::from(u64::from_be_bytes(high)) << 64 | u128::from(u64::from_be_bytes(low))
}

/// The packet whose header begins `bytes`, without what pads its frame; as far as the bytes go.
#[inline(always)]
pub fn packet(bytes: &[u8]) -> &[u8] {
    let end = Ip6::new(bytes).map_or(0, |header| LENGTH + usize::from(header.payload_length()));
    bytes.get(..end).unwrap_or(bytes)
}

/// What an IPv6 packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its protocol number.
    pub protocol: u8,
    /// Bytes from the IPv6 header's first to its own first.
    pub start: usize,
    /// It is the first piece of a fragmented packet.
    pub piece: bool,
}

/// What a packet carries, behind extension headers. `None`: a later piece of a fragmented packet, which does not have it, cut off before it, or
/// more extension headers than RFC 8200 §4.1 has. An atomic fragment (RFC 6946) is a whole packet.
///
/// `packet` is the packet alone ([`packet`](fn@packet)): what pads its frame would be taken for headers.
#[inline(always)]
pub fn carried(packet: &[u8]) -> Option<Carried> {
    match *packet.get(6)? {
        protocol if is_extension(protocol) => behind_extensions(packet, protocol).carried,
        protocol => Some(Carried { protocol, start: LENGTH, piece: false }),
    }
}

/// If the packet is a piece of a fragmented one, the first or a later one: the protocol that all pieces say they have, which is that of the first header behind the
/// fragment header (RFC 8200 §4.5).
#[inline(always)]
pub fn piece(packet: &[u8]) -> Option<u8> {
    match *packet.get(6)? {
        protocol if is_extension(protocol) => behind_extensions(packet, protocol).piece,
        _ => None,
    }
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// What a walk over extension headers has found.
#[derive(Default)]
struct Walk {
    carried: Option<Carried>,
    piece: Option<u8>,
}

#[cold]
#[inline(never)]
fn behind_extensions(packet: &[u8], protocol: u8) -> Walk {
    let mut walk = Walk::default();
    walk.carried = step(packet, protocol, &mut walk.piece);
    walk
}

fn step(packet: &[u8], mut protocol: u8, piece: &mut Option<u8>) -> Option<Carried> {
    let mut at = LENGTH;
    for _ in 0..=EXTENSIONS {
        let length = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*packet.get(at + 1)?) + 1) * 8,
            // RFC 4302 §2.2 counts otherwise.
            AUTHENTICATION => (usize::from(*packet.get(at + 1)?) + 2) * 4,
            FRAGMENT => {
                let header: &[u8; 4] = packet.get(at..)?.first_chunk()?;
                let place = u16::from_be_bytes([header[2], header[3]]);
                // Of several fragment headers, which no sender makes, the first that is not atomic counts.
                if place & (OFFSET | MORE) != 0 {
                    piece.get_or_insert(header[0]);
                }
                if place & OFFSET != 0 {
                    return None;
                }
                8
            }
            _ => return Some(Carried { protocol, start: at, piece: piece.is_some() }),
        };
        protocol = *packet.get(at)?;
        at += length;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn packet(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x6a, 0xb1, 0x23, 0x45, 0x01, 0x02, next, 64];
        bytes.extend((0x10..0x30).collect::<Vec<u8>>());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn fields_are_where_the_rfc_has_them() {
        let bytes = packet(17, &[]);
        let header = Ip6::new(&bytes).unwrap();
        assert_eq!(
            (header.traffic_class(), header.payload_length(), header.next_header()),
            (0xab, 0x0102, 17)
        );
        assert_eq!(header.source(), 0x1011_1213_1415_1617_1819_1a1b_1c1d_1e1f);
        assert_eq!(header.destination(), 0x2021_2223_2425_2627_2829_2a2b_2c2d_2e2f);
        assert!(Ip6::new(&bytes[..39]).is_none());
    }

    #[test]
    fn what_is_carried_is_found_behind_extension_headers() {
        let found = |bytes: &[u8]| carried(bytes).map(|it| (it.protocol, it.start, it.piece));
        assert_eq!(found(&packet(6, &[])), Some((6, 40, false)));
        let options = [&[60, 0][..], &[0; 6], &[44, 1], &[0; 14], &[6, 0, 0, 1], &[0; 4]].concat();
        assert_eq!(found(&packet(0, &options)), Some((6, 72, true)));
        let mut later = options.clone();
        later[27] = 8;
        assert_eq!(found(&packet(0, &later)), None, "a later piece");
        assert_eq!(found(&packet(51, &[&[17, 4][..], &[0; 22]].concat())), Some((17, 64, false)));
        assert_eq!(found(&packet(0, &[0; 160])), None, "without end");
        assert_eq!(found(&packet(0, &options[..20])), None, "cut off");
        let headers = |count: u8| {
            (1..=count).flat_map(move |at| [if at == count { 6 } else { 60 }, 0, 0, 0, 0, 0, 0, 0])
        };
        for count in 1..=6 {
            let found = found(&packet(60, &headers(count).collect::<Vec<_>>()));
            assert_eq!(found, Some((6, 40 + 8 * usize::from(count), false)));
        }
        assert_eq!(found(&packet(60, &headers(7).collect::<Vec<_>>())), None, "one more than there may be");
    }

    #[test]
    fn a_packet_ends_where_its_header_says() {
        let mut bytes = packet(60, &[6, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        for (length, expected) in [(0, 40), (7, 47), (12, 52), (13, 52), (0xffff, 52)] {
            bytes[4..6].copy_from_slice(&u16::to_be_bytes(length));
            assert_eq!(super::packet(&bytes).len(), expected);
            // Headers behind the packet's end are padding that looks like headers.
            assert_eq!(carried(super::packet(&bytes)).is_some(), length > 0);
        }
        assert_eq!(super::packet(&bytes[..39]).len(), 0);
    }

    #[test]
    fn pieces_are_told_from_whole_packets() {
        let fragment = |next: u8, place: u16| {
            let [high, low] = place.to_be_bytes();
            [next, 0, high, low, 0, 0, 0, 7]
        };
        let both = |bytes: &[u8]| {
            let bytes = packet(44, bytes);
            (carried(&bytes).map(|it| (it.start, it.piece)), piece(&bytes))
        };
        assert_eq!(both(&fragment(6, 0)), (Some((48, false)), None), "atomic");
        assert_eq!(both(&fragment(6, 1)), (Some((48, true)), Some(6)), "the first");
        assert_eq!(both(&fragment(6, 8)), (None, Some(6)), "the last");
        assert_eq!(both(&fragment(6, 0xfff9)), (None, Some(6)), "one between, as far behind as can be");
        assert_eq!(both(&fragment(6, 6)), (Some((48, false)), None), "reserved bits mean nothing");
        assert_eq!(both(&fragment(60, 1)), (None, Some(60)), "headers go on in a later piece");
        // A piece stays one, whatever a second header says of it.
        assert_eq!(both(&[fragment(44, 1), fragment(6, 0)].concat()), (Some((56, true)), Some(44)));
        assert_eq!(both(&[fragment(44, 0), fragment(6, 1)].concat()), (Some((56, true)), Some(6)));
        assert_eq!(both(&[fragment(44, 1), fragment(6, 8)].concat()), (None, Some(44)));
        assert_eq!(both(&fragment(6, 1)[..3]), (None, None), "cut off in the fragment header");
        assert_eq!(piece(&packet(6, &fragment(6, 8))), None);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in vec(prop_oneof![Just(0u8), Just(44), Just(60), Just(51), any::<u8>()], 0..200)) {
            if let Some(found) = carried(&bytes) {
                prop_assert!(found.start >= LENGTH);
                prop_assert_eq!(found.piece, piece(&bytes).is_some());
            }
        }
    }
}
