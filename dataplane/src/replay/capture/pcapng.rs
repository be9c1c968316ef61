//! The newer format: blocks, each with its type and length. A section begins with a header, which says in what byte order it is; interfaces
//! are described before their packets are, each with its own type of link and unit of time.
//!
//! draft-ietf-opsawg-pcapng. Blocks that hold no packets are passed over by their length.

use pcap_parser::{
    Block, EPB_MAGIC, IDB_MAGIC, InterfaceDescriptionBlock, OptionCode, SHB_MAGIC, SPB_MAGIC, parse_block_be,
    parse_block_le,
};

use super::{Found, LinkType, MOST, Stumble, whole, window::Window};

/// Type, length, and the length again at the end: what every block has.
const FRAME: usize = 12;
/// `Byte-Order Magic` in a section header, as the section itself writes it.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Bytes of an enhanced packet block before its packet.
const BEFORE_PACKET: usize = 28;
/// Interfaces of a section: no host has more, and a capture of nothing else must not fill the memory.
const INTERFACES: usize = 1 << 16;
/// The same in the obsolete packet block, which has as many but splits one field in two.
const PACKET_BLOCK: u32 = 2;

/// A section, as far as it has been read.
pub(super) struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    clock: Clock,
}

impl Section {
    /// Sees that a section begins here.
    pub(super) fn begin(window: &mut Window) -> Result<Section, Stumble> {
        if !window.holds(FRAME)? && word(window.bytes(), 0, false) == SHB_MAGIC {
            let there = window.bytes().len();
            return Err(Stumble::Damaged(format!("the capture ends after {there} bytes of its first block")));
        }
        if big_endian(window.bytes()).is_none() {
            return Err(Stumble::Unknown);
        }
        Ok(Section { big_endian: false, interfaces: Vec::new() })
    }

    /// The next packet.
    pub(super) fn next(&mut self, window: &mut Window) -> Result<Option<Found>, Stumble> {
        while whole(window, FRAME)? {
            let (block_type, size) = self.frame(window)?;
            match block_type {
                SHB_MAGIC => self.interfaces.clear(),
                IDB_MAGIC => {
                    let interface = self.interface(window.bytes())?;
                    if self.interfaces.len() == INTERFACES {
                        return Err(Stumble::Damaged(format!(
                            "a section with more than {INTERFACES} interfaces"
                        )));
                    }
                    self.interfaces.push(interface);
                }
                EPB_MAGIC | PACKET_BLOCK => return self.packet(window.bytes(), block_type, size).map(Some),
                SPB_MAGIC => return self.simple_packet(window.bytes(), size).map(Some),
                _ => {}
            }
            window.consume(size);
        }
        Ok(None)
    }

    /// Type and size of the block here, all of which is in the window now.
    fn frame(&mut self, window: &mut Window) -> Result<(u32, usize), Stumble> {
        if word(window.bytes(), 0, false) == SHB_MAGIC {
            self.big_endian = big_endian(window.bytes())
                .ok_or_else(|| Stumble::Damaged("a section header without its byte order".into()))?;
        }
        let (block_type, claimed) =
            (word(window.bytes(), 0, self.big_endian), word(window.bytes(), 4, self.big_endian));
        let size = claimed as usize;
        // Lengths are multiples of 4; some writers forget to count the padding, so what follows begins at the next one.
        let padded = size.next_multiple_of(4);
        if size < FRAME || padded > MOST {
            return Err(Stumble::Damaged(format!("a block of type {block_type:#x} claims {claimed} bytes")));
        }
        whole(window, padded)?;
        let again = word(window.bytes(), padded - 4, self.big_endian);
        if again != claimed {
            return Err(Stumble::Damaged(format!(
                "a block of type {block_type:#x} claims {claimed} bytes where it begins and {again} where it ends"
            )));
        }
        Ok((block_type, padded))
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Result<Block<'a>, Stumble> {
        let parse = if self.big_endian { parse_block_be } else { parse_block_le };
        match parse(bytes) {
            Ok((_, block)) => Ok(block),
            Err(_) => {
                let block_type = word(bytes, 0, self.big_endian);
                Err(Stumble::Damaged(format!("a block of type {block_type:#x} contradicts itself")))
            }
        }
    }

    fn interface(&self, bytes: &[u8]) -> Result<Interface, Stumble> {
        let Block::InterfaceDescription(block) = self.parse(bytes)? else { return Err(contradiction()) };
        let clock = Clock { resolution: block.if_tsresol, offset: offset(&block, self.big_endian) };
        Ok(Interface { link: LinkType(block.linktype.0.cast_unsigned()), clock })
    }

    #[inline]
    fn packet(&self, bytes: &[u8], block_type: u32, size: usize) -> Result<Found, Stumble> {
        if size < BEFORE_PACKET + 4 {
            return Err(contradiction());
        }
        let field = |at| word(bytes, at, self.big_endian);
        let interface = match block_type {
            PACKET_BLOCK if self.big_endian => field(8) >> 16,
            PACKET_BLOCK => field(8) & 0xffff,
            _ => field(8),
        };
        let captured = field(20);
        if captured as usize > size - BEFORE_PACKET - 4 {
            return Err(Stumble::Damaged(format!("a block of {size} bytes claims a packet of {captured}")));
        }
        let ticks = u64::from(field(12)) << 32 | u64::from(field(16));
        let Interface { link, clock } = self.interface_of(interface)?;
        let time = clock.nanoseconds(ticks).ok_or_else(|| {
            Stumble::Damaged(format!("a packet's time, {ticks} units, is not within the years 1970 to 2554"))
        })?;
        let packet = BEFORE_PACKET..BEFORE_PACKET + captured as usize;
        Ok(Found { size, packet, time: Some(time), link, length: field(24).max(captured) })
    }

    fn simple_packet(&self, bytes: &[u8], size: usize) -> Result<Found, Stumble> {
        let Block::SimplePacket(block) = self.parse(bytes)? else { return Err(contradiction()) };
        let Interface { link, .. } = self.interface_of(0)?;
        // The snap length is not needed: what is cut off is the padding at most.
        let end = 12 + block.data.len().min(block.origlen as usize);
        Ok(Found { size, packet: 12..end, time: None, link, length: block.origlen })
    }

    fn interface_of(&self, number: u32) -> Result<Interface, Stumble> {
        self.interfaces.get(number as usize).copied().ok_or_else(|| {
            Stumble::Damaged(format!(
                "a packet of interface {number}, while {} have been described",
                self.interfaces.len()
            ))
        })
    }
}

fn contradiction() -> Stumble {
    Stumble::Damaged("a block that is too short for its type".into())
}

/// In what byte order the section is whose header these bytes begin with; `None` if it is no such header.
fn big_endian(bytes: &[u8]) -> Option<bool> {
    if word(bytes, 0, false) != SHB_MAGIC {
        return None;
    }
    [false, true].into_iter().find(|big_endian| word(bytes, 8, *big_endian) == BYTE_ORDER)
}

/// The word at `at`; 0 where there is none.
#[inline]
fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).unwrap_or_default();
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

/// `if_tsoffset`, seconds. The crate's own field has it right in little-endian sections only.
fn offset(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> i64 {
    let option = block.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
    let bytes = option.and_then(|option| option.value().first_chunk::<8>().copied()).unwrap_or_default();
    if big_endian { i64::from_be_bytes(bytes) } else { i64::from_le_bytes(bytes) }
}

/// How an interface counts time.
#[derive(Clone, Copy)]
struct Clock {
    /// `if_tsresol`: units of 10 to the minus this many seconds, or with the highest bit set of 2 to the minus this many.
    resolution: u8,
    /// Seconds to add.
    offset: i64,
}

impl Clock {
    /// Nanoseconds since 1970; `None` if 64 bits don't hold them.
    #[inline]
    fn nanoseconds(self, ticks: u64) -> Option<u64> {
        const SECOND: u128 = 1_000_000_000;
        let exact = match self.resolution {
            9 => u128::from(ticks),
            6 => u128::from(ticks) * 1_000,
            exponent @ 0..=8 => u128::from(ticks) * 10_u128.pow(9 - u32::from(exponent)),
            // 2⁶⁴ is less than 10²⁰: all larger exponents leave nothing.
            exponent @ 10..=0x7f => u128::from(ticks) / 10_u128.pow(u32::from(exponent - 9).min(20)),
            exponent @ 0x80.. => (u128::from(ticks) * SECOND) >> (exponent & 0x7f),
        };
        let offset = i128::from(self.offset) * SECOND.cast_signed();
        u64::try_from(exact.cast_signed() + offset).ok()
    }
}
