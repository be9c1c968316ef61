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

#[inline(always)]
fn follow(value: &mut u64, sample: u64, rising: u32, falling: u32) {
    let difference = sample.wrapping_sub(*value).cast_signed();
    // Both are far below 2^63. Rounded down, so that a value that falls arrives.
    let step = if difference >= 0 { difference >> rising } else { difference >> falling };
    *value = value.wrapping_add_signed(step);
}

impl Delays {
    /// A packet that has not waited: where none has lately, nothing moves.
    #[inline(always)]
    pub(super) fn add_none(&mut self) {
        if *self != Delays::default() {
            self.add(0);
        }
    }

    #[inline(always)]
    pub(super) fn add(&mut self, sojourn: u64) {
        follow(&mut self.peak, sojourn, FAST, SLOW);
        follow(&mut self.average, sojourn, SLOW, SLOW);
        follow(&mut self.base, sojourn, SLOW, FAST);
    }
}
