//! TCP header (RFC 9293 §3.1) and its options.
//!
//! ```text
//! 0..2 source port   2..4 destination port   4..8 sequence number   8..12 acknowledgement number
//! 12 data offset|reserved   13 flags   14..16 window   16..18 checksum   18..20 urgent pointer   20.. options
//! ```

/// Bytes of the header without options.
pub const LENGTH: usize = 20;

/// Bits of [`Tcp::flags`].
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 1 << 0;
    /// Synchronize sequence numbers: a connection begins.
    pub const SYN: u8 = 1 << 1;
    /// Reset the connection.
    pub const RST: u8 = 1 << 2;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 1 << 4;
}

/// Reads a TCP header.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a>(&'a [u8; LENGTH]);

impl<'a> Tcp<'a> {
    /// The header at the start of `bytes`.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Option<Tcp<'a>> {
        bytes.first_chunk().map(Tcp)
    }

    /// Word `index`, 0 to 4, of the header.
    #[inline(always)]
    fn word<const INDEX: usize>(self) -> u32 {
        u32::from_be_bytes(self.0.as_chunks().0[INDEX])
    }

    /// Source port.
    #[inline(always)]
    pub fn source(self) -> u16 {
        (self.word::<0>() >> 16) as u16
    }

    /// Destination port.
    #[inline(always)]
    pub fn destination(self) -> u16 {
        self.word::<0>() as u16
    }

    /// Sequence number of the first byte of data, or of the SYN.
    #[inline(always)]
    pub fn sequence(self) -> u32 {
        self.word::<1>()
    }

    /// The next sequence number that the sender expects; valid with [`flags::ACK`].
    #[inline(always)]
    pub fn acknowledgement(self) -> u32 {
        self.word::<2>()
    }

    /// Header length in bytes, 0 to 60.
    #[inline(always)]
    pub fn header_length(self) -> usize {
        usize::from(self.0[12] >> 4) * 4
    }

    /// See [`flags`].
    #[inline(always)]
    pub fn flags(self) -> u8 {
        self.0[13]
    }

    /// Receive window as it stands, not scaled.
    #[inline(always)]
    pub fn window(self) -> u16 {
        u16::from_be_bytes([self.0[14], self.0[15]])
    }
}

/// An option that weir understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Timestamps (RFC 7323 §3).
    Timestamps {
        /// TSval: the sender's clock.
        value: u32,
        /// TSecr: the clock of the other side that this segment answers; valid with [`flags::ACK`].
        echo: u32,
    },
    /// Selective acknowledgement (RFC 2018 §3): one to four blocks.
    Sack(Sack<'a>),
}

/// The blocks of a SACK option, as they stand; a first block that lies below the acknowledgement number reports a duplicate (RFC 2883).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sack<'a>(&'a [[u8; 8]]);

impl Sack<'_> {
    /// First byte of each block and the byte behind it.
    #[inline]
    pub fn blocks(self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().map(|&[a, b, c, d, e, f, g, h]| {
            (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
        })
    }
}

/// Walks over options; see [`options`].
#[derive(Clone, Copy, Debug)]
pub struct Options<'a>(&'a [u8]);

/// The options in `bytes`: what stands between the first twenty bytes of the header and its end.
///
/// Ends at the first option whose length is a lie (below two, or beyond the header), as a receiver's walk does: what came before it
/// stands. Options that weir has no use for are skipped, and so is a known one of a length that it cannot have. Never more steps than bytes.
#[inline(always)]
pub fn options(bytes: &[u8]) -> Options<'_> {
    Options(bytes)
}

/// End of the list, and padding by one byte (RFC 9293 §3.2).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
/// Kind of the selective acknowledgement and of the timestamps option (IANA), and the length of the latter.
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const TIMESTAMPS_LENGTH: u8 = 10;

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    #[inline]
    fn next(&mut self) -> Option<TcpOption<'a>> {
        loop {
            match *self.0 {
                [NO_OPERATION, ref rest @ ..] => self.0 = rest,
                [END, ..] => return None,
                [kind, length, ..] => {
                    let (option, rest) = self.0.split_at_checked(usize::from(length).max(1))?;
                    // A length of 0 or 1 does not even cover itself.
                    let body = option.get(2..)?;
                    self.0 = rest;
                    match (kind, body) {
                        (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                            let value = u32::from_be_bytes([a, b, c, d]);
                            let echo = u32::from_be_bytes([e, f, g, h]);
                            return Some(TcpOption::Timestamps { value, echo });
                        }
                        (SACK, _) => {
                            let (blocks, left) = body.as_chunks();
                            if left.is_empty() && (1..=4).contains(&blocks.len()) {
                                return Some(TcpOption::Sack(Sack(blocks)));
                            }
                        }
                        _ => {}
                    }
                }
                _ => return None,
            }
        }
    }
}

/// Bytes of options that are the timestamps, aligned.
pub const ALIGNED_TIMESTAMPS: usize = 12;
/// Their first four bytes: twice no operation, kind and length.
pub const BEFORE_ALIGNED_TIMESTAMPS: u32 =
    u32::from_be_bytes([NO_OPERATION, NO_OPERATION, TIMESTAMPS, TIMESTAMPS_LENGTH]);

/// TSval and TSecr where the options are the timestamps in the layout that RFC 7323 appendix A recommends, and nothing else: nearly every
/// segment of a connection with timestamps.
#[inline(always)]
pub fn aligned_timestamps(options: &[u8]) -> Option<(u32, u32)> {
    let &[NO_OPERATION, NO_OPERATION, TIMESTAMPS, TIMESTAMPS_LENGTH, a, b, c, d, e, f, g, h] = options else {
        return None;
    };
    Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8]) -> Vec<TcpOption<'_>> {
        options(bytes).collect()
    }

    #[test]
    fn options_are_found_in_any_layout() {
        let timestamps = [8, 10, 0, 0, 0, 7, 0, 0, 0, 9];
        let found = TcpOption::Timestamps { value: 7, echo: 9 };
        assert_eq!(walk(&[&[1, 1], &timestamps[..]].concat()), [found]);
        assert_eq!(walk(&[&timestamps[..], &[1, 0]].concat()), [found]);
        assert_eq!(walk(&[&[2, 4, 5, 0xb4, 4, 2, 3, 3, 7], &timestamps[..], &[0]].concat()), [found]);
        let sack = [5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4];
        let both = [&sack[..], &timestamps[..]].concat();
        let [TcpOption::Sack(sack), TcpOption::Timestamps { .. }] = *walk(&both) else { panic!("{both:?}") };
        assert_eq!(sack.blocks().collect::<Vec<_>>(), [(1, 2), (u32::MAX, 4)]);
        assert_eq!(aligned_timestamps(&[1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9]), Some((7, 9)));
        assert_eq!(aligned_timestamps(&[8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 1]), None);
    }

    #[test]
    fn lies_end_the_walk_and_keep_what_came_before() {
        let timestamps = [8, 10, 0, 0, 0, 7, 0, 0, 0, 9];
        for lie in [&[3, 0][..], &[3, 1, 0], &[3, 40, 0, 0], &[3], &[8, 255], &[5, 0]] {
            assert_eq!(walk(lie), []);
            assert_eq!(walk(&[&timestamps[..], lie].concat()).len(), 1, "{lie:?}");
            assert_eq!(walk(&[lie, &timestamps[..]].concat()).len(), 0, "{lie:?}");
        }
        // A known kind of a wrong length is skipped by its length.
        assert_eq!(
            walk(&[&[8, 4, 1, 2, 5, 2, 5, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &timestamps[..]].concat()).len(),
            1
        );
        assert_eq!(walk(&[&[0], &timestamps[..]].concat()), [], "nothing after the end");
    }
}
