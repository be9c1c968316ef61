//! The older format: a header for the whole file, then a header of 16 bytes before each packet.

use pcap_parser::{
    LegacyPcapBlock, PcapError, nom::IResult, parse_pcap_frame, parse_pcap_frame_be,
    parse_pcap_frame_modified, parse_pcap_header,
};

use super::{Found, LinkType, Stumble, whole, window::Window};

/// Bytes of the file's header.
const FILE_HEADER: usize = 24;
/// What the header begins with: microseconds, nanoseconds, and the variant of old Red Hat kernels (pcap-savefile(5), sf-pcap.c).
const MAGICS: [u32; 3] = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34];
/// The type of the link is in the lower bits; above are the length of the frame check sequence, and flags (pcap-savefile(5)).
const LINK_MASK: u32 = 0x03ff_ffff;
/// Bytes of a packet that may have been captured: libpcap writes no more (`MAXIMUM_SNAPLEN`, pcap-int.h). Taking more would only put off the
/// moment at which a damaged length is seen.
const MOST: u32 = 256 << 10;

type Parser = fn(&[u8]) -> IResult<&[u8], LegacyPcapBlock<'_>, PcapError<&[u8]>>;

/// How the records of this file are laid out.
pub(super) struct Layout {
    parse: Parser,
    big_endian: bool,
    /// Bytes before a packet.
    header: usize,
    /// Nanoseconds of the smaller unit of time.
    unit: u64,
    link: LinkType,
}

impl Layout {
    /// Reads the file's header; `None` if it is not of this format.
    pub(super) fn begin(window: &mut Window) -> Result<Option<Layout>, Stumble> {
        if !window.holds(FILE_HEADER)? {
            let there = window.bytes();
            let ours = there.first_chunk().is_some_and(|magic| {
                [u32::from_le_bytes(*magic), u32::from_be_bytes(*magic)]
                    .iter()
                    .any(|magic| MAGICS.contains(magic))
            });
            let ends =
                || format!("the capture ends after {} of its header's {FILE_HEADER} bytes", there.len());
            return if ours { Err(Stumble::Damaged(ends())) } else { Ok(None) };
        }
        let Ok((_, file)) = parse_pcap_header(window.bytes()) else { return Ok(None) };
        let big_endian = file.is_bigendian();
        let (parse, header): (Parser, usize) = match big_endian {
            _ if file.is_modified_format() => (parse_pcap_frame_modified, 24),
            true => (parse_pcap_frame_be, 16),
            false => (parse_pcap_frame, 16),
        };
        let unit = if file.is_nanosecond_precision() { 1 } else { 1_000 };
        let link = LinkType(file.network.0.cast_unsigned() & LINK_MASK);
        window.consume(FILE_HEADER);
        Ok(Some(Layout { parse, big_endian, header, unit, link }))
    }

    pub(super) fn next(&self, window: &mut Window) -> Result<Option<Found>, Stumble> {
        if !whole(window, self.header)? {
            return Ok(None);
        }
        let captured = match window.bytes() {
            [_, _, _, _, _, _, _, _, a, b, c, d, ..] if self.big_endian => {
                u32::from_be_bytes([*a, *b, *c, *d])
            }
            [_, _, _, _, _, _, _, _, a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
            _ => 0,
        };
        if captured > MOST {
            return Err(Stumble::Damaged(format!("the record claims a packet of {captured} bytes")));
        }
        let size = self.header + captured as usize;
        whole(window, size)?;
        let Ok((_, record)) = (self.parse)(window.bytes()) else {
            return Err(Stumble::Damaged("the record can't be read".into()));
        };
        let time = u64::from(record.ts_sec) * 1_000_000_000 + u64::from(record.ts_usec) * self.unit;
        // A packet is never shorter than what was captured of it, whatever some programs write.
        let length = record.origlen.max(captured);
        Ok(Some(Found { size, packet: self.header..size, time: Some(time), link: self.link, length }))
    }
}
