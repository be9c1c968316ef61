//! IPv4 header (RFC 791 §3.1).
//!
//! ```text
//! 0 version|IHL   1 TOS   2..4 total length   4..6 identification   6..8 flags|fragment offset
//! 8 TTL   9 protocol   10..12 header checksum   12..16 source   16..20 destination   20.. options
//! ```

use crate::checksum;

/// Bytes of the header without options.
pub const LENGTH: usize = 20;
/// Most bytes of a header: IHL is four bits of 32-bit words.
pub const MAX_LENGTH: usize = 60;
/// First byte of a header without options: version 4, IHL 5.
pub const PLAIN: u8 = 0x45;
/// "Don't fragment" in [`Ip4::fragment`] (RFC 791 §3.1).
pub const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments".
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Mask of the offset, in units of eight bytes.
pub const OFFSET: u16 = 0x1fff;
/// The smallest MTU that every link must carry (RFC 791 §3.2).
pub const MIN_MTU: u16 = 68;
/// The bits of ECN in the type of service (RFC 3168 §5): not capable, ECT(1), ECT(0), CE.
pub const ECN: u8 = 0b11;
/// Protocol number of ICMP (IANA).
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// Reads an IPv4 header.
#[derive(Clone, Copy, Debug)]
pub struct Ip4<'a>(&'a [u8; LENGTH]);

impl<'a> Ip4<'a> {
    /// The header at the start of `bytes`.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Option<Ip4<'a>> {
        bytes.first_chunk().map(Ip4)
    }

    /// Version and IHL as they stand.
    #[inline(always)]
    pub fn version_ihl(self) -> u8 {
        self.0[0]
    }

    /// Header length in bytes, 0 to 60.
    #[inline(always)]
    pub fn header_length(self) -> usize {
        usize::from(self.0[0] & 0x0f) * 4
    }

    /// Type of service: DSCP and ECN (RFC 2474, RFC 3168).
    #[inline(always)]
    pub fn tos(self) -> u8 {
        self.0[1]
    }

    /// Total length in bytes.
    #[inline(always)]
    pub fn total_length(self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Identification.
    #[inline(always)]
    pub fn identification(self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Flags and fragment offset.
    #[inline(always)]
    pub fn fragment(self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }

    /// Any piece of a fragmented datagram: offset not 0, or more to come.
    #[inline(always)]
    pub fn is_fragment(self) -> bool {
        self.fragment() & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// Time to live.
    #[inline(always)]
    pub fn ttl(self) -> u8 {
        self.0[8]
    }

    /// Protocol.
    #[inline(always)]
    pub fn protocol(self) -> u8 {
        self.0[9]
    }

    /// Header checksum.
    #[inline(always)]
    pub fn checksum(self) -> u16 {
        u16::from_be_bytes([self.0[10], self.0[11]])
    }

    /// Source address.
    #[inline(always)]
    pub fn source(self) -> u32 {
        let [a, b, c, d] = self.0.as_chunks().0[3];
        u32::from_be_bytes([a, b, c, d])
    }

    /// Destination address.
    #[inline(always)]
    pub fn destination(self) -> u32 {
        let [a, b, c, d] = self.0.as_chunks().0[4];
        u32::from_be_bytes([a, b, c, d])
    }

    /// The twenty bytes.
    #[inline(always)]
    pub fn bytes(self) -> &'a [u8; LENGTH] {
        self.0
    }
}

/// The datagram whose header begins `bytes`, without what pads its frame; as far as the bytes go.
#[inline(always)]
pub fn datagram(bytes: &[u8]) -> &[u8] {
    let end = Ip4::new(bytes).map_or(0, |header| usize::from(header.total_length()));
    bytes.get(..end).unwrap_or(bytes)
}

/// Changes an IPv4 header.
#[derive(Debug)]
pub struct Ip4Mut<'a>(&'a mut [u8; LENGTH]);

impl<'a> Ip4Mut<'a> {
    /// The header at the start of `bytes`.
    #[inline(always)]
    pub fn new(bytes: &'a mut [u8]) -> Option<Ip4Mut<'a>> {
        bytes.first_chunk_mut().map(Ip4Mut)
    }

    /// The header, to read.
    #[inline(always)]
    pub fn read(&self) -> Ip4<'_> {
        Ip4(self.0)
    }

    /// Takes one from the time to live, which must not be 0, and updates the checksum.
    ///
    /// The TTL is the high byte of its 16-bit word, so the sum falls by 0x0100 and the checksum rises by it, end-around. Where that gives
    /// 0xffff the right value is 0: RFC 1624 §3 (a header is never all zero, so its sum never folds to 0 and its checksum never is 0xffff).
    #[inline(always)]
    pub fn decrement_ttl(&mut self) {
        self.0[8] = self.0[8].wrapping_sub(1);
        let checksum = u32::from(self.read().checksum()) + 0x0100;
        let checksum = (checksum + u32::from(checksum >= 0xffff)) as u16;
        [self.0[10], self.0[11]] = checksum.to_be_bytes();
    }

    /// Marks the packet CE (RFC 3168 §5), which sets bits of the second byte and nothing else, and updates the checksum.
    #[inline]
    pub fn set_congestion_experienced(&mut self) {
        let tos = u16::from(self.0[1]);
        let checksum = checksum::update(self.read().checksum(), tos, tos | u16::from(ECN));
        self.0[1] |= ECN;
        [self.0[10], self.0[11]] = checksum.to_be_bytes();
    }

    /// Sets version, header length and total length in bytes.
    pub fn set_lengths(&mut self, header: usize, total: u16) {
        self.0[0] = 0x40 | (header / 4) as u8 & 0x0f;
        [self.0[2], self.0[3]] = total.to_be_bytes();
    }

    /// Sets the type of service.
    pub fn set_tos(&mut self, tos: u8) {
        self.0[1] = tos;
    }

    /// Sets the identification.
    pub fn set_identification(&mut self, identification: u16) {
        [self.0[4], self.0[5]] = identification.to_be_bytes();
    }

    /// Sets flags and fragment offset.
    pub fn set_fragment(&mut self, fragment: u16) {
        [self.0[6], self.0[7]] = fragment.to_be_bytes();
    }

    /// Sets time to live and protocol.
    pub fn set_ttl_protocol(&mut self, ttl: u8, protocol: u8) {
        [self.0[8], self.0[9]] = [ttl, protocol];
    }

    /// Sets source and destination address.
    pub fn set_addresses(&mut self, source: u32, destination: u32) {
        let words = self.0.as_chunks_mut().0;
        words[3] = source.to_be_bytes();
        words[4] = destination.to_be_bytes();
    }
}

/// Computes the checksum of the whole header, options included, anew. `header` is exactly the header.
pub fn write_checksum(header: &mut [u8]) {
    if let Some(field) = header.get_mut(10..12) {
        field.fill(0);
    }
    let value = checksum::checksum(header);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ttl_and_every_checksum_survive_a_decrement() {
        // The word of TTL and protocol and the checksum are all that matters: vary the identification through all its values to reach
        // every checksum, 0x0000 and 0xfeff → 0xffff included.
        for ttl in [1u8, 2, 64, 255] {
            for identification in 0..=u16::MAX {
                let mut header = [0u8; LENGTH];
                let mut lens = Ip4Mut(&mut header);
                lens.set_lengths(20, 84);
                lens.set_identification(identification);
                lens.set_ttl_protocol(ttl, ICMP);
                lens.set_addresses(0x0a00_0001, 0x0a00_0002);
                write_checksum(&mut header);
                Ip4Mut(&mut header).decrement_ttl();
                let updated = header;
                write_checksum(&mut header);
                assert_eq!(updated, header, "ttl {ttl}, identification {identification}");
            }
        }
    }
}
