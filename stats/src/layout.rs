//! Where things are: the offsets and sizes of VPP's stat segment, version 2, in 64-bit words.
//!
//! Every number in this file is part of the contract with clients that weir does not control.

use std::borrow::Cow;

/// Bytes in a word; the unit of every access to shared memory.
pub(crate) const WORD: usize = 8;

/// The one layout version that weir writes and reads (`STAT_SEGMENT_VERSION` in VPP's `stats.h`).
pub(crate) const VERSION: u64 = 2;

/// Header: the layout's version.
pub(crate) const HEADER_VERSION: usize = 0;
/// Header: the address that a reader subtracts from every pointer. weir writes 0, so its pointers are file offsets.
pub(crate) const HEADER_BASE: usize = 1;
/// Header: moves on every structural change; starts at 1, since clients take 0 for "never read".
pub(crate) const HEADER_EPOCH: usize = 2;
/// Header: VPP's writer lock. weir never sets it.
pub(crate) const HEADER_IN_PROGRESS: usize = 3;
/// Header: pointer to the directory's first entry.
pub(crate) const HEADER_DIRECTORY: usize = 4;
/// Words of the header page. Word 5 was the error vector of version 1: it stays zero, because govpp takes a
/// valid pointer there for the old type numbers.
pub(crate) const HEADER_WORDS: usize = 4096 / WORD;

/// Words of a directory entry: kind, value, name.
pub(crate) const ENTRY_WORDS: usize = 18;
/// Bytes of a directory entry's name, its NUL included.
pub(crate) const NAME_BYTES: usize = 128;
/// Where an entry's value is, from its start.
pub(crate) const ENTRY_VALUE: usize = 1;
/// Where an entry's name is, from its start.
pub(crate) const ENTRY_NAME: usize = 2;

/// Words of a line: 128 bytes, two cache lines, because x86 prefetches lines in pairs and Apple and POWER
/// machines have lines of 128 bytes. What two workers write never shares one.
pub(crate) const LINE: usize = 16;

/// Words of a ring's metadata per thread. Clients have 64 bytes built in, so two threads share a line here.
pub(crate) const RING_METADATA_WORDS: usize = 8;
/// Where a ring's records start, from the ring's start; clients take it from the ring's header.
pub(crate) const RING_DATA: usize = LINE;

/// Words kept free at the segment's end: clients refuse a vector that ends flush with it.
pub(crate) const SPARE_WORDS: usize = 4096 / WORD;

/// The word before a vector's first element: its length, then VPP's allocator fields, of which `hdr_size` (1 word)
/// and `default_heap` (set: no heap pointer precedes) are kept true.
pub(crate) const fn vector_header(length: u32) -> u64 {
    length as u64 | 1 << 32 | 0x80 << 40
}

/// The length in a vector's header word.
pub(crate) const fn vector_length(header: u64) -> usize {
    (header & 0xffff_ffff) as usize
}

/// Two 32-bit fields as they lie in one word, the one at the lower address first.
pub(crate) const fn halves(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// The 32-bit field at the lower address.
pub(crate) const fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

/// The 32-bit field at the higher address.
pub(crate) const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// `bytes` and a NUL as words, the last one filled up with zeros.
pub(crate) fn text_words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    (0..bytes.len() / WORD + 1).map(|word| {
        let mut octets = [0; WORD];
        let rest = &bytes[word * WORD..];
        let count = rest.len().min(WORD);
        octets[..count].copy_from_slice(&rest[..count]);
        u64::from_le_bytes(octets)
    })
}

/// Whether clients can read this text, which is ASCII to them: VPP's Python client fails as a whole on anything else.
pub(crate) fn is_printable(text: &str) -> bool {
    text.bytes().all(|octet| (b' '..=b'~').contains(&octet))
}

/// The text with every character that clients cannot read replaced by `_`: for names that come from elsewhere, such as
/// a netdev's.
pub fn printable(text: &str) -> Cow<'_, str> {
    if is_printable(text) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '_' }).collect()
}

/// What a directory entry holds (`stat_directory_type_t` in VPP's `shared.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// A number that only grows, or is set once.
    Scalar = 1,
    /// One counter per row and column.
    Simple = 2,
    /// Packets and bytes per row and column.
    Combined = 3,
    /// A list of strings.
    Names = 4,
    /// A removed entry whose place has not been taken again.
    Empty = 5,
    /// One column of another entry.
    Symlink = 6,
    /// Counts per power of two, per row.
    Histogram = 7,
    /// The last records of each row.
    Ring = 8,
    /// A number that goes up and down.
    Gauge = 9,
}

impl Kind {
    /// The kind with this number, or `None` for a number outside 1–9.
    pub fn from_number(number: u32) -> Option<Kind> {
        Some(match number {
            1 => Kind::Scalar,
            2 => Kind::Simple,
            3 => Kind::Combined,
            4 => Kind::Names,
            5 => Kind::Empty,
            6 => Kind::Symlink,
            7 => Kind::Histogram,
            8 => Kind::Ring,
            9 => Kind::Gauge,
            _ => return None,
        })
    }

    /// The number in the segment.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// What it is called in text.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Scalar => "scalar",
            Kind::Simple => "simple",
            Kind::Combined => "combined",
            Kind::Names => "names",
            Kind::Empty => "empty",
            Kind::Symlink => "symlink",
            Kind::Histogram => "histogram",
            Kind::Ring => "ring",
            Kind::Gauge => "gauge",
        }
    }

    /// The kind that is called so.
    pub fn from_word(word: &str) -> Option<Kind> {
        (1..=9).filter_map(Kind::from_number).find(|kind| kind.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_always_ends_in_a_nul() {
        for length in 0..40 {
            let bytes: Vec<u8> = (0..length).map(|i| b'a' + i as u8 % 26).collect();
            let words: Vec<u8> = text_words(&bytes).flat_map(u64::to_le_bytes).collect();
            assert_eq!(&words[..length], &bytes[..]);
            assert!(words[length..].iter().all(|&octet| octet == 0) && words.len() > length);
        }
    }

    #[test]
    fn printable_text_is_what_a_segment_takes() {
        assert!(matches!(printable("eth 0 ~\"x\""), Cow::Borrowed(_)));
        assert_eq!(printable("Zo\u{eb}\n\u{7f}"), "Zo___");
        assert!(!is_printable("\u{eb}") && is_printable(&printable("\0\u{1f980}")));
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for number in 1..=9 {
            assert_eq!(Kind::from_number(number).map(Kind::number), Some(number));
            assert_eq!(Kind::from_number(number), Kind::from_word(Kind::from_number(number).unwrap().word()));
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(Kind::from_number(10), None);
    }
}
