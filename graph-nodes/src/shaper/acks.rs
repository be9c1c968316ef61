//! Pure ACKs, and when a later one says all that an earlier one said, so that the earlier need not be sent (what CAKE's `ack-filter` is for: lines whose
//! way up is so much slower than the way down that acknowledgements fill it).
//!
//! An ACK carries more than its number: its ECN bits, its clock, its SACK blocks, and that it is a duplicate. An earlier ACK is superseded only if
//! nothing of that is lost:
//! * same connection, same ECN bits, and the later one's number and timestamp are not before the earlier's;
//! * each of its SACK blocks is acknowledged by the later one or lies within one of its blocks; a D-SACK (RFC 2883) is never lost;
//! * if both have the same number, the later one's blocks must say more: duplicates without news are what fast retransmit counts (RFC 5681 §3.2).

use crate::memory::Zeroed;
use crate::wire::{
    Network,
    ip4::{self, Ip4},
    ip6::{self, Ip6},
    tcp::{LENGTH, Tcp, flags},
};

/// An acknowledgement without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PureAck {
    acknowledgement: u32,
    ports: u32,
    /// TSval, if there are timestamps.
    value: u32,
    has_timestamps: bool,
    /// AE, CWR, ECE: the lowest bit of the header's byte 12 and the highest two of byte 13.
    ecn: [u8; 2],
    blocks: u8,
    sack: [[u32; 2]; 4],
}

// SAFETY: integers, and a truth value.
unsafe impl Zeroed for PureAck {}

/// TCP options (IANA) that a pure ACK may have.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
/// CWR and ECE (RFC 3168 §6.1); AE beside them (RFC 9768).
const CWR_ECE: u8 = 0xc0;
const AE: u8 = 1;
/// The bits of byte 12 that nobody has given a meaning.
const RESERVED: u8 = 0x0e;

/// Whether `a` is before `b` (RFC 9293 §3.4, RFC 7323 §5.2).
fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

fn within([start, end]: [u32; 2], [from, to]: [u32; 2]) -> bool {
    !before(start, from) && !before(to, end)
}

impl PureAck {
    /// The one in a whole IP packet, if it is one.
    pub fn in_packet(network: Network<'_>) -> Option<PureAck> {
        let (protocol, bytes, start, end) = match network {
            Network::Ip4(bytes) => {
                let ip = Ip4::new(bytes).filter(|ip| !ip.is_fragment())?;
                (ip.protocol(), bytes, ip.header_length(), ip.total_length().into())
            }
            Network::Ip6(bytes) => {
                let carried = ip6::carried(ip6::packet(bytes)).filter(|carried| !carried.piece)?;
                let end = ip6::LENGTH + usize::from(Ip6::new(bytes)?.payload_length());
                (carried.protocol, bytes, carried.start, end)
            }
            Network::Other => return None,
        };
        if protocol != ip4::TCP {
            return None;
        }
        PureAck::of(bytes.get(start..)?, end.checked_sub(start)?)
    }

    /// `segment` begins with the TCP header; `length` is how long the segment is by its IP header, options and data included.
    ///
    /// `None`: it has data, another flag than ACK, an option other than timestamps and SACK, or is cut short: not to be filtered.
    pub fn of(segment: &[u8], length: usize) -> Option<PureAck> {
        let header = Tcp::new(segment)?;
        let header_length = header.header_length();
        let bits = *segment.get(12)?;
        if header.flags() & !CWR_ECE != flags::ACK || bits & RESERVED != 0 || header_length != length {
            return None;
        }
        let mut ack = PureAck {
            acknowledgement: header.acknowledgement(),
            ports: u32::from(header.source()) << 16 | u32::from(header.destination()),
            value: 0,
            has_timestamps: false,
            ecn: [bits & AE, header.flags() & CWR_ECE],
            blocks: 0,
            sack: [[0; 2]; 4],
        };
        let mut options = segment.get(LENGTH..length)?;
        loop {
            let (option, rest) = match *options {
                [] | [END, ..] => return Some(ack),
                [NO_OPERATION, ref rest @ ..] => {
                    options = rest;
                    continue;
                }
                [_, size, ..] => options.split_at_checked(size.into())?,
                [_] => return None,
            };
            match *option {
                [TIMESTAMPS, 10, a, b, c, d, ..] if !ack.has_timestamps => {
                    ack.has_timestamps = true;
                    ack.value = u32::from_be_bytes([a, b, c, d]);
                }
                [SACK, 10 | 18 | 26 | 34, ref body @ ..] if ack.blocks == 0 => {
                    let words = body.as_chunks().0.iter().map(|&word| u32::from_be_bytes(word));
                    for (at, word) in words.enumerate() {
                        ack.sack[at / 2 % 4][at % 2] = word;
                    }
                    ack.blocks = (body.len() / 8) as u8;
                }
                _ => return None,
            }
            options = rest;
        }
    }

    /// A D-SACK: the first block lies below the number, or within the second (RFC 2883 §4).
    fn reports_duplicate(&self) -> bool {
        let mut blocks = self.blocks();
        let (Some(first), second) = (blocks.next(), blocks.next()) else { return false };
        self.sacked().count() < self.blocks().count() || second.is_some_and(|second| within(first, second))
    }

    /// The blocks of what came out of order.
    fn sacked(&self) -> impl Iterator<Item = [u32; 2]> + '_ {
        self.blocks().filter(|&[from, _]| !before(from, self.acknowledgement))
    }

    fn blocks(&self) -> impl Iterator<Item = [u32; 2]> + '_ {
        self.sack.iter().copied().take(self.blocks.into())
    }

    pub(super) fn same_connection(&self, other: &PureAck) -> bool {
        self.ports == other.ports
    }

    pub(super) fn same_ecn(&self, other: &PureAck) -> bool {
        self.ecn == other.ecn
    }

    /// Whether it says all that an `earlier` one of its connection, with the same ECN bits, said.
    pub(super) fn supersedes(&self, earlier: &PureAck) -> bool {
        if before(self.acknowledgement, earlier.acknowledgement)
            || self.has_timestamps != earlier.has_timestamps
            || before(self.value, earlier.value)
        {
            return false;
        }
        if earlier.reports_duplicate() {
            return false;
        }
        let covered = |block: [u32; 2]| {
            !before(self.acknowledgement, block[1]) || self.sacked().any(|wider| within(block, wider))
        };
        let bytes =
            |ack: &PureAck| ack.sacked().map(|[from, to]| u64::from(to.wrapping_sub(from))).sum::<u64>();
        earlier.blocks().all(covered)
            && (self.acknowledgement != earlier.acknowledgement || bytes(self) > bytes(earlier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment with this number, flags and options.
    fn segment(acknowledgement: u32, bits: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x1f, 0x90, 0xc0, 0x01, 0, 0, 0, 1];
        bytes.extend(acknowledgement.to_be_bytes());
        bytes.extend([(((LENGTH + options.len()) / 4) << 4) as u8, bits, 1, 0, 0, 0, 0, 0]);
        bytes.extend(options);
        bytes
    }

    fn ack(acknowledgement: u32, options: &[u8]) -> PureAck {
        let bytes = segment(acknowledgement, flags::ACK, options);
        PureAck::of(&bytes, bytes.len()).unwrap()
    }

    fn timestamps(value: u32) -> Vec<u8> {
        [&[1, 1, 8, 10][..], &value.to_be_bytes(), &[0; 4]].concat()
    }

    fn sack(blocks: &[[u32; 2]]) -> Vec<u8> {
        let words = blocks.iter().flatten().flat_map(|word| word.to_be_bytes());
        [1, 1, 5, 2 + 8 * blocks.len() as u8].into_iter().chain(words).collect()
    }

    #[test]
    fn only_acks_without_data_and_surprises_are_pure() {
        let plain = segment(7, flags::ACK, &[]);
        assert!(PureAck::of(&plain, 20).is_some());
        assert_eq!(PureAck::of(&plain, 21), None, "a byte of data");
        for other in [flags::FIN, flags::SYN, flags::RST, 1 << 3, 1 << 5] {
            assert_eq!(PureAck::of(&segment(7, flags::ACK | other, &[]), 20), None);
        }
        assert_eq!(PureAck::of(&segment(7, 0, &[]), 20), None, "no ACK");
        for options in
            [&[3, 3, 7, 0][..], &[30, 4, 0, 0], &[19, 4, 0, 0], &[8, 4, 0, 0], &[5, 4, 0, 0], &[9, 0, 0, 0]]
        {
            assert_eq!(PureAck::of(&segment(7, flags::ACK, options), 24), None, "{options:?}");
        }
        let whole = segment(7, flags::ACK, &[timestamps(1), sack(&[[9, 10]])].concat());
        assert!(PureAck::of(&whole, whole.len()).is_some());
        for cut in 0..whole.len() {
            assert_eq!(PureAck::of(&whole[..cut], whole.len()), None, "cut at {cut}");
        }
    }

    #[test]
    fn they_are_found_in_packets_of_both_versions() {
        let tcp = segment(7, flags::ACK, &[]);
        let mut four = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        four.extend(&tcp);
        // Ethernet pads to 60 bytes, which is not data.
        four.extend([0; 6]);
        assert_eq!(PureAck::in_packet(Network::Ip4(&four)), PureAck::of(&tcp, 20));
        let mut six = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
        six.extend([1; 32]);
        six.extend(&tcp);
        assert_eq!(PureAck::in_packet(Network::Ip6(&six)), PureAck::of(&tcp, 20));
        for (at, value) in [(3, 41), (3, 39), (6, 0x20), (9, 17)] {
            let mut other = four.clone();
            other[at] = value;
            assert_eq!(PureAck::in_packet(Network::Ip4(&other)), None, "byte {at} is {value}");
        }
    }

    #[test]
    fn a_higher_number_supersedes_and_a_duplicate_does_not() {
        assert!(ack(200, &[]).supersedes(&ack(100, &[])));
        assert!(ack(5, &[]).supersedes(&ack(u32::MAX - 5, &[])), "numbers wrap");
        assert!(!ack(100, &[]).supersedes(&ack(200, &[])), "came late");
        assert!(!ack(100, &[]).supersedes(&ack(100, &[])), "fast retransmit counts it");
    }

    #[test]
    fn clocks_do_not_go_back() {
        let at = |acknowledgement, value| ack(acknowledgement, &timestamps(value));
        assert!(at(200, 8).supersedes(&at(100, 7)));
        assert!(!at(200, 6).supersedes(&at(100, 7)));
        assert!(!ack(200, &[]).supersedes(&at(100, 7)));
        assert!(!at(200, 8).supersedes(&ack(100, &[])));
    }

    #[test]
    fn no_sacked_byte_is_forgotten() {
        let with = |acknowledgement, blocks: &[[u32; 2]]| ack(acknowledgement, &sack(blocks));
        let earlier = with(100, &[[200, 300]]);
        assert!(with(100, &[[200, 400]]).supersedes(&earlier), "the same number, more blocks");
        assert!(!with(100, &[[200, 300]]).supersedes(&earlier), "a duplicate without news");
        assert!(!with(100, &[[250, 400]]).supersedes(&earlier));
        assert!(!ack(150, &[]).supersedes(&earlier));
        assert!(ack(300, &[]).supersedes(&earlier), "acknowledged by now");
        assert!(with(150, &[[180, 190], [200, 300]]).supersedes(&earlier));
        assert!(!ack(300, &[]).supersedes(&with(100, &[[50, 60]])), "a D-SACK");
        let within = with(100, &[[210, 220], [200, 300]]);
        assert!(!with(100, &[[200, 400]]).supersedes(&within), "a D-SACK above the number");
        assert!(
            !with(250, &[[200, 400]]).supersedes(&with(100, &[[300, 400]])),
            "that later one is a D-SACK"
        );
    }
}
