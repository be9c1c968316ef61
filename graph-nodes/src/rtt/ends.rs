//! Between whom a flow is, in an order that does not depend on a packet's direction.

/// A flow's two ends, the lower one first: by address, then port, as numbers.
///
/// In words that are written and read as a whole, as the flow table does too: reading two words at once that have been written apart stalls the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The addresses' last 32 bits, which are all of an IPv4 address: the lower end's in the lower half.
    pub(super) last: u64,
    /// The 32 bits above those, in the same way, and the upper halves of both addresses.
    middle: u64,
    first: [u64; 2],
    /// The lower end's port in the upper half.
    pub(super) ports: u32,
}

/// `middle` of IPv4 addresses (mapped); `first` is 0.
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
        let last = low >> 16 | high >> 16 << 32;
        let ports = (low as u32) << 16 | high as u32 & 0xffff;
        (Ends { last, middle: MIDDLE_IP4, first: [0; 2], ports }, source > destination)
    }

    /// The same of any packet.
    #[inline]
    pub(super) fn of(source: u128, destination: u128, ports: u32) -> (Ends, bool) {
        let (source, destination) = ((source, ports >> 16), (destination, ports & 0xffff));
        let backward = source > destination;
        let (low, high) = if backward { (destination, source) } else { (source, destination) };
        let both = |low: u128, high: u128| u64::from(low as u32) | u64::from(high as u32) << 32;
        let ends = Ends {
            last: both(low.0, high.0),
            middle: both(low.0 >> 32, high.0 >> 32),
            first: [low.0, high.0].map(|address| (address >> 64) as u64),
            ports: low.1 << 16 | high.1,
        };
        (ends, backward)
    }

    /// Some address is none of IPv4.
    #[inline]
    pub(super) fn are_ip6(&self) -> bool {
        (self.middle ^ MIDDLE_IP4) | self.first[0] | self.first[1] != 0
    }

    /// Address of an end, 0 being the lower one.
    pub(super) fn address(&self, end: usize) -> u128 {
        let half = |both: u64| u128::from((both >> (end % 2 * 32)) as u32);
        u128::from(self.first[end % 2]) << 64 | half(self.middle) << 32 | half(self.last)
    }

    /// Port of an end, 0 being the lower one.
    pub(super) fn port(&self, end: usize) -> u16 {
        (if end == 0 { self.ports >> 16 } else { self.ports }) as u16
    }

    /// What tells IPv4 flows apart, an end a word.
    #[inline(always)]
    pub(super) fn ip4_words(&self) -> [u64; 2] {
        let (low, high) = (self.last as u32, (self.last >> 32) as u32);
        [
            u64::from(low) << 16 | u64::from(self.ports >> 16),
            u64::from(high) << 16 | u64::from(self.ports & 0xffff),
        ]
    }

    /// What tells IPv6 flows apart besides.
    #[inline(always)]
    pub(super) fn upper_words(&self) -> [u64; 3] {
        [self.middle, self.first[0], self.first[1]]
    }
}
