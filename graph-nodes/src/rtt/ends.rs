//! Between whom a flow is, in an order that does not depend on a packet's direction.

/// A flow's two ends, the lower one first: by address, then port, as numbers.
///
/// ```text
///            63          48 47                        16 15           0
///  word     ├ higher port ─┼ lower address, last 32 bits ┼ lower port ─┤      all that tells
///  last     ├ higher address, last 32 bits ─┤                                IPv4 flows apart
///  middle   ├ higher address, bits 32..64 ──┼ lower address, the same ────┤    and these besides
///  low      ├ lower address, bits 64..128 ────────────────────────────────┤    for IPv6
///  high     ├ higher address, the same ───────────────────────────────────┤
/// ```
/// In words that are written and read as a whole, by the flow table too: reading at once what has been written in parts stalls the processor. Apart, not
/// as an array, so that they can stay in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    word: u64,
    last: u32,
    middle: u64,
    low: u64,
    high: u64,
}

/// What stands above the last 32 bits of a mapped IPv4 address (RFC 4291 §2.5.5.2).
const MAPPED: u128 = 0xffff;
/// `middle` of IPv4 addresses, which are mapped; `low` and `high` are 0.
const MIDDLE_IP4: u64 = 0xffff_0000_ffff;

impl Ends {
    /// The ends of an IPv4 packet, and whether it travels from the higher to the lower. `ports`: the source's in the upper half.
    ///
    /// Without a branch: which end is the lower one is as good as random.
    #[inline(always)]
    pub(super) fn ip4(source: u32, destination: u32, ports: u32) -> (Ends, bool) {
        let source = u64::from(source) << 16 | u64::from(ports >> 16);
        let destination = u64::from(destination) << 16 | u64::from(ports & 0xffff);
        let (low, high) = (source.min(destination), source.max(destination));
        let (word, last) = (high << 48 | low, (high >> 16) as u32);
        (Ends { word, last, middle: MIDDLE_IP4, low: 0, high: 0 }, source > destination)
    }

    /// The same of any packet.
    #[inline]
    pub(super) fn of(source: u128, destination: u128, ports: u32) -> (Ends, bool) {
        if source >> 32 == MAPPED && destination >> 32 == MAPPED {
            return Ends::ip4(source as u32, destination as u32, ports);
        }
        let (source, destination) = ((source, ports >> 16), (destination, ports & 0xffff));
        let backward = source > destination;
        let (low, high) = if backward { (destination, source) } else { (source, destination) };
        let word = |address: u128, shift: u32| u64::from((address >> shift) as u32);
        let ends = Ends {
            word: u64::from(high.1) << 48 | word(low.0, 0) << 16 | u64::from(low.1),
            last: high.0 as u32,
            middle: word(high.0, 32) << 32 | word(low.0, 32),
            low: (low.0 >> 64) as u64,
            high: (high.0 >> 64) as u64,
        };
        (ends, backward)
    }

    /// Some address is none of IPv4.
    #[inline]
    pub(super) fn are_ip6(&self) -> bool {
        (self.middle ^ MIDDLE_IP4) | self.low | self.high != 0
    }

    /// What tells IPv4 flows apart.
    #[inline(always)]
    pub(super) fn words(&self) -> (u64, u32) {
        (self.word, self.last)
    }

    /// What tells IPv6 flows apart besides.
    #[inline(always)]
    pub(super) fn upper(&self) -> [u64; 3] {
        [self.middle, self.low, self.high]
    }

    /// Address and port of the lower end.
    pub(super) fn lower(&self) -> (u128, u16) {
        (address(self.low, self.middle as u32, (self.word >> 16) as u32), self.word as u16)
    }

    /// Address and port of the higher end.
    pub(super) fn higher(&self) -> (u128, u16) {
        (address(self.high, (self.middle >> 32) as u32, self.last), (self.word >> 48) as u16)
    }
}

fn address(upper: u64, middle: u32, last: u32) -> u128 {
    u128::from(upper) << 64 | u128::from(middle) << 32 | u128::from(last)
}
