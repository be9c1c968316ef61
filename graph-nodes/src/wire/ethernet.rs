//! Ethernet II header (IEEE 802.3 clause 3): destination 0..6, source 6..12, EtherType 12..14.

/// Bytes of the header, untagged, without the frame check sequence.
pub const LENGTH: usize = 14;
/// EtherType of IPv4 (IEEE 802 numbers, IANA).
pub const IPV4: u16 = 0x0800;

/// Reads an Ethernet header.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a>(&'a [u8; LENGTH]);

impl<'a> Ethernet<'a> {
    /// The header at the start of a frame.
    #[inline(always)]
    pub fn new(frame: &'a [u8]) -> Option<Ethernet<'a>> {
        frame.first_chunk().map(Ethernet)
    }

    /// The header at the start of a longer beginning.
    #[inline(always)]
    pub fn of<const LONGER: usize>(frame: &'a [u8; LONGER]) -> Ethernet<'a> {
        const { assert!(LONGER >= LENGTH) };
        match frame.first_chunk() {
            Some(header) => Ethernet(header),
            None => Ethernet(&[0; LENGTH]), // not reached: it is longer
        }
    }

    /// Destination address as a 48-bit number, first byte highest.
    #[inline(always)]
    pub fn destination(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 16
    }

    /// `true` for multicast and broadcast destinations (the I/G bit, IEEE 802.3 §3.2.3).
    #[inline(always)]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// EtherType, or the length of an IEEE 802.3 frame where it is below 0x600.
    #[inline(always)]
    pub fn ethertype(self) -> u16 {
        u16::from_be_bytes([self.0[12], self.0[13]])
    }
}
