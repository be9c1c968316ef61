//! IPv6 header (RFC 8200 §3), and the way to what it carries.
//!
//! ```text
//! 0..4 version, traffic class, flow label   4..6 payload length   6 next header   7 hop limit   8..24 source   24..40 destination
//! ```

/// Bytes of the header without extensions.
pub const LENGTH: usize = 40;
/// Protocol number of ICMPv6 (IANA).
pub const ICMP: u8 = 58;

/// Extension headers (IANA, Assigned Internet Protocol Numbers).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// Extension headers that are stepped over: one of each, and destination options before and after routing (RFC 8200 §4.1).
const EXTENSIONS: usize = 6;

/// Reads an IPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Ip6<'a>(&'a [u8; LENGTH]);

impl<'a> Ip6<'a> {
    /// The header at the start of `bytes`.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Option<Ip6<'a>> {
        bytes.first_chunk().map(Ip6)
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

#[inline(always)]
fn joined(high: [u8; 8], low: [u8; 8]) -> u128 {
    u128::from(u64::from_be_bytes(high)) << 64 | u128::from(u64::from_be_bytes(low))
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

/// What the packet whose header begins `bytes` carries, behind extension headers. `None`: a later piece of a fragmented packet, which does not
/// have it, cut off before it, or more extension headers than RFC 8200 §4.1 has.
#[inline(always)]
pub fn carried(bytes: &[u8]) -> Option<Carried> {
    match *bytes.get(6)? {
        protocol @ (HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS) => {
            behind_extensions(bytes, protocol)
        }
        protocol => Some(Carried { protocol, start: LENGTH, piece: false }),
    }
}

#[cold]
#[inline(never)]
fn behind_extensions(bytes: &[u8], mut protocol: u8) -> Option<Carried> {
    let (mut at, mut piece) = (LENGTH, false);
    for _ in 0..=EXTENSIONS {
        let length = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*bytes.get(at + 1)?) + 1) * 8,
            // RFC 4302 §2.2 counts otherwise.
            AUTHENTICATION => (usize::from(*bytes.get(at + 1)?) + 2) * 4,
            FRAGMENT => {
                let place = u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]);
                if place >> 3 != 0 {
                    return None;
                }
                piece = place & 1 != 0;
                8
            }
            _ => return Some(Carried { protocol, start: at, piece }),
        };
        protocol = *bytes.get(at)?;
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
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in vec(prop_oneof![Just(0u8), Just(44), Just(60), Just(51), any::<u8>()], 0..200)) {
            if let Some(found) = carried(&bytes) {
                prop_assert!(found.start >= LENGTH);
            }
        }
    }
}
