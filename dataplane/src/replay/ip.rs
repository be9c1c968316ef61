//! From an IP header to the transport's, in packets of which any part may be missing.
//!
//! The packet path has frames that hold all that their headers say; captures hold cut packets, and packets
//! that a card was still to split.

use weir_graph::wire::ip6::{self, Ip6};

/// Above the 32 bits of a mapped IPv4 address (RFC 4291 §2.5.5.2).
const MAPPED: u128 = 0xffff << 32;

/// An IP packet, as far as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Source address; IPv4 ones are mapped.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// What it carries, if this is where that begins: pieces of a fragmented packet but the first do not say.
    pub transport: Option<Transport<'a>>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport<'a> {
    /// IP protocol number.
    pub protocol: u8,
    /// Bytes from the transport's header on that were captured.
    pub bytes: &'a [u8],
    /// Those that there were.
    pub length: u32,
    /// There are more pieces of this packet.
    pub piece: bool,
}

impl<'a> Datagram<'a> {
    /// The packet whose IP header begins `bytes`, `length` being what there was on the wire from there on. `None` if it is no IP packet, or if
    /// its header was not captured.
    #[inline]
    pub fn new(bytes: &'a [u8], length: u32) -> Option<Datagram<'a>> {
        match bytes.first()? >> 4 {
            4 => Datagram::four(bytes, length),
            6 => Datagram::six(bytes, length),
            _ => None,
        }
    }

    #[inline]
    fn four(bytes: &'a [u8], on_wire: u32) -> Option<Datagram<'a>> {
        const MORE: u16 = 0x2000;
        const OFFSET: u16 = 0x1fff;
        let header: &[u8; 20] = bytes.first_chunk()?;
        let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let start = usize::from(header[0] & 0xf) * 4;
        if start < header.len() {
            return None;
        }
        // Captures on a sending host hold packets that its card is still to split, with a total length of 0 if they are too large for one.
        let total = match half(2) {
            0 => on_wire,
            total => u32::from(total),
        };
        let mapped = |address: u32| MAPPED | u128::from(address);
        let transport = if half(6) & OFFSET == 0 {
            Transport::new(header[9], bytes, start, total, half(6) & MORE != 0)
        } else {
            None
        };
        Some(Datagram { source: mapped(word(12)), destination: mapped(word(16)), transport })
    }

    fn six(bytes: &'a [u8], on_wire: u32) -> Option<Datagram<'a>> {
        let header = Ip6::new(bytes)?;
        // 0 in jumbograms, and in packets that a card is still to split.
        let total = match header.payload_length() {
            0 => on_wire,
            payload => u32::from(payload) + ip6::LENGTH as u32,
        };
        // Extension headers end with the packet, too.
        let packet = bytes.get(..total as usize).unwrap_or(bytes);
        let transport =
            ip6::carried(packet).and_then(|it| Transport::new(it.protocol, bytes, it.start, total, it.piece));
        Some(Datagram { source: header.source(), destination: header.destination(), transport })
    }
}

impl<'a> Transport<'a> {
    #[inline]
    fn new(protocol: u8, bytes: &'a [u8], start: usize, total: u32, piece: bool) -> Option<Transport<'a>> {
        let length = total.checked_sub(start as u32)?;
        let bytes = bytes.get(start..)?;
        // What follows the packet in its frame is padding.
        let bytes = bytes.get(..length as usize).unwrap_or(bytes);
        Some(Transport { protocol, bytes, length, piece })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four(total: u16, piece: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes[6..8].copy_from_slice(&piece.to_be_bytes());
        [&bytes, rest].concat()
    }

    fn six(next: u8, payload: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 40];
        (bytes[0], bytes[6]) = (0x60, next);
        bytes[4..6].copy_from_slice(&payload.to_be_bytes());
        (bytes[23], bytes[39]) = (1, 2);
        [&bytes, rest].concat()
    }

    fn transport(bytes: &[u8], length: u32) -> Option<(u8, Vec<u8>, u32)> {
        let it = Datagram::new(bytes, length).unwrap().transport?;
        Some((it.protocol, it.bytes.to_vec(), it.length))
    }

    #[test]
    fn ip4() {
        let bytes = four(24, 0x4000, b"data and padding");
        let datagram = Datagram::new(&bytes, 36).unwrap();
        assert_eq!((datagram.source, datagram.destination), (0xffff_0a00_0001, 0xffff_0a00_0002));
        assert_eq!(transport(&bytes, 36), Some((6, b"data".to_vec(), 4)));
        assert_eq!(transport(&four(1500, 0, b"cut"), 1500), Some((6, b"cut".to_vec(), 1480)));
        assert_eq!(transport(&four(0, 0, b"large"), 65_000), Some((6, b"large".to_vec(), 64_980)));
        assert_eq!(transport(&four(24, 0x2000, b"more"), 24), Some((6, b"more".to_vec(), 4)));
        assert_eq!(transport(&four(24, 0x2001, b"more"), 24), None, "a later piece");
        assert_eq!(transport(&four(19, 0, b"more"), 24), None, "shorter than its header");
        let mut options = four(28, 0, &[1, 1, 1, 0, b'd', b'a', b't', b'a']);
        options[0] = 0x46;
        assert_eq!(transport(&options, 28), Some((6, b"data".to_vec(), 4)));
        options[0] = 0x44;
        assert_eq!(Datagram::new(&options, 28), None);
        options[0] = 0x4f;
        assert_eq!(transport(&options, 28), None, "the header is said to reach beyond the packet");
    }

    #[test]
    fn ip6() {
        let bytes = six(6, 4, b"data and padding");
        let datagram = Datagram::new(&bytes, 56).unwrap();
        assert_eq!((datagram.source, datagram.destination), (1, 2));
        assert_eq!(transport(&bytes, 56), Some((6, b"data".to_vec(), 4)));
        assert_eq!(transport(&six(6, 0, b"large"), 70_000), Some((6, b"large".to_vec(), 69_960)));
        let options = [&[60, 0][..], &[0; 6], &[44, 1], &[0; 14], &[6, 0, 0, 1], &[0; 4], b"data"].concat();
        assert_eq!(transport(&six(0, 36, &options), 76), Some((6, b"data".to_vec(), 4)));
        let mut later = options.clone();
        later[27] = 8;
        assert_eq!(transport(&six(0, 36, &later), 76), None, "a later piece");
        let endless = [&[0, 0][..], &[0; 6]].concat().repeat(20);
        assert_eq!(transport(&six(0, 160, &endless), 200), None);
        for end in 0..options.len() + 40 {
            let _ = Datagram::new(&six(0, 36, &options)[..end], 76);
        }
    }
}
