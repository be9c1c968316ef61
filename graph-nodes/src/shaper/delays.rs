//! How long a tin's packets have waited: running averages with the weights that CAKE's statistics have.

/// In ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// Rises by a quarter of the difference, falls by a 256th: what the worst flows see.
    pub peak: u64,
    /// Follows by a 256th.
    pub average: u64,
    /// Falls by a quarter, rises by a 256th: what sparse flows see.
    pub base: u64,
}

const FAST: u32 = 2;
const SLOW: u32 = 8;

#[inline]
fn follow(value: u64, sample: u64, rising: u32, falling: u32) -> u64 {
    if sample >= value { value + ((sample - value) >> rising) } else { value - ((value - sample) >> falling) }
}

impl Delays {
    #[inline]
    pub(super) fn add(&mut self, sojourn: u64) {
        self.peak = follow(self.peak, sojourn, FAST, SLOW);
        self.average = follow(self.average, sojourn, SLOW, SLOW);
        self.base = follow(self.base, sojourn, SLOW, FAST);
    }
}
