//! A leaf or node as its parent sees it, and their clocks.
//!
//! A clock says when the next packet may leave; a packet moves it on by its bytes. Ticks alone are too coarse for 100 Gbit/s, so a clock has
//! a fraction and the cost of a byte too.

use crate::memory::Zeroed;
use crate::shaper::{Rates, sets::NONE};

/// Bits behind the point of a tick. 100 Gbit/s on a clock of 1 GHz is exact to 0.003 %.
const FRACTION: u32 = 16;
const MASK: u64 = (1 << FRACTION) - 1;
/// Bits a second below which nobody is held: what a clock and a timer can still count.
pub(super) const LEAST_RATE: u64 = 1000;

/// A moment, in fractions of a tick: ticks, which are negative before the clock began, and the fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(i64, u64);

impl Moment {
    #[inline(always)]
    pub(super) const fn at(ticks: u64) -> Moment {
        Moment(ticks.cast_signed(), 0)
    }

    #[inline(always)]
    pub(super) fn ticks(self) -> u64 {
        self.0.max(0).cast_unsigned()
    }

    /// So many bytes later, at `cost` each.
    #[inline(always)]
    pub(super) fn after(self, bytes: u32, cost: u64) -> Moment {
        let fraction = u64::from(bytes) * cost + self.1;
        Moment(self.0 + (fraction >> FRACTION).cast_signed(), fraction & MASK)
    }

    /// So many bytes earlier.
    #[inline(always)]
    pub(super) fn before(self, bytes: u32, cost: u64) -> Moment {
        let fraction = self.1.wrapping_sub(u64::from(bytes) * cost).cast_signed();
        Moment(self.0 + (fraction >> FRACTION), fraction.cast_unsigned() & MASK)
    }

    #[inline(always)]
    pub(super) fn max(self, other: Moment) -> Moment {
        // Compared as one number: which of the two it is can't be foretold, and this needs no branch.
        let whole = |moment: Moment| i128::from(moment.0) << 64 | i128::from(moment.1);
        let is_before = whole(self) < whole(other);
        Moment(
            std::hint::select_unpredictable(is_before, other.0, self.0),
            std::hint::select_unpredictable(is_before, other.1, self.1),
        )
    }
}

/// What a byte costs at so many bits a second, in ticks with a fraction, rounded up: never above the rate. Of no rate: 0, which is nobody's cost.
pub(super) fn cost(rate: u64, hz: u64) -> u64 {
    if rate == 0 {
        return 0;
    }
    let rate = u128::from(rate.max(LEAST_RATE));
    let ticks = ((u128::from(hz) << FRACTION) * 8).div_ceil(rate);
    // The most that a packet of 2¹⁷ bytes can be counted with.
    ticks.clamp(1, 1 << 46) as u64
}

/// It is set up.
pub(super) const EXISTS: u8 = 1;
/// There is an event for when its ceiling lets it send.
pub(super) const TIMER: u8 = 2;
/// There is an event for when its guarantee is due.
pub(super) const GUARANTEE_TIMER: u8 = 4;
/// It stands in its parent's list of those whose guarantee is due.
pub(super) const GREEN: u8 = 8;
/// It stands in its parent's calendar of those that borrow.
pub(super) const YELLOW: u8 = 16;
/// It stands in the list of those that something has happened to.
pub(super) const CHANGED: u8 = 32;

/// A leaf that somebody above has held back lately: its meter is to be told of packets.
pub(super) const HELD: u8 = 64;
/// A leaf with a packet that did not pass and is to be queued: none may overtake it.
pub(super) const AWAITED: u8 = 128;

/// A leaf or node: one cache line. All zeros: not set up.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Member {
    /// When its ceiling lets the next packet go.
    ceil_ticks: u64,
    /// When its guarantee is due.
    rate_ticks: u64,
    /// What a byte costs at its ceiling.
    pub(super) ceil_cost: u64,
    /// And at its guarantee; 0: it has none.
    pub(super) rate_cost: u64,
    /// Its place among those that borrow: virtual time, which goes round.
    pub(super) tag: u64,
    pub(super) parent: u32,
    pub(super) next_green: u32,
    pub(super) next_yellow: u32,
    /// Virtual time of a byte: 2³² / weight.
    pub(super) inverse_weight: u32,
    ceil_fraction: u16,
    rate_fraction: u16,
    pub(super) flags: u8,
    /// Its number in the list of overheads.
    pub(super) overhead: u8,
    /// The logarithm of its weight.
    pub(super) class: u8,
}

// SAFETY: integers.
unsafe impl Zeroed for Member {}

const _: () = assert!(size_of::<Member>() == 64);

impl Member {
    #[inline(always)]
    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline(always)]
    pub(super) fn ceil(&self) -> Moment {
        Moment(self.ceil_ticks.cast_signed(), self.ceil_fraction.into())
    }

    #[inline(always)]
    pub(super) fn set_ceil(&mut self, moment: Moment) {
        (self.ceil_ticks, self.ceil_fraction) = (moment.0.cast_unsigned(), moment.1 as u16);
    }

    /// Whether its ceiling does not let it send before a tick later than this.
    #[inline(always)]
    pub(super) fn is_blocked(&self, ticks: u64) -> bool {
        self.ceil_ticks > ticks
    }

    #[inline(always)]
    pub(super) fn ceil_ticks(&self) -> u64 {
        self.ceil_ticks
    }

    #[inline(always)]
    pub(super) fn rate_ticks(&self) -> u64 {
        self.rate_ticks
    }

    #[inline(always)]
    pub(super) fn rate(&self) -> Moment {
        Moment(self.rate_ticks.cast_signed(), self.rate_fraction.into())
    }

    #[inline(always)]
    pub(super) fn set_rate(&mut self, moment: Moment) {
        (self.rate_ticks, self.rate_fraction) = (moment.0.cast_unsigned(), moment.1 as u16);
    }

    #[inline(always)]
    pub(super) fn is_root(&self) -> bool {
        self.parent == NONE
    }

    /// Whether it has a guarantee that is due by then.
    #[inline(always)]
    pub(super) fn is_due(&self, ticks: u64) -> bool {
        self.rate_cost != 0 && self.rate_ticks <= ticks
    }

    /// A packet of so many bytes uses its guarantee, if it has one; what it has not used before `lags` is lost.
    #[inline(always)]
    pub(super) fn lend(&mut self, bytes: u32, lags: Moment) {
        if self.rate_cost != 0 {
            self.set_rate(self.rate().max(lags).after(bytes, self.rate_cost));
        }
    }

    /// The clocks of a node that workers share, as they stand now; their fractions are this worker's.
    #[inline(always)]
    pub(super) fn see(&mut self, ceil: u64, rate: u64) {
        (self.ceil_ticks, self.rate_ticks) = (ceil, rate);
    }

    /// Ticks that so many bytes take at the ceiling; a fraction is carried to the next packet.
    #[inline(always)]
    pub(super) fn ceil_time(&mut self, bytes: u32) -> u64 {
        let time = u64::from(bytes) * self.ceil_cost + u64::from(self.ceil_fraction);
        self.ceil_fraction = time as u16;
        time >> FRACTION
    }

    /// The same at the guaranteed rate.
    #[inline(always)]
    pub(super) fn rate_time(&mut self, bytes: u32) -> u64 {
        let time = u64::from(bytes) * self.rate_cost + u64::from(self.rate_fraction);
        self.rate_fraction = time as u16;
        time >> FRACTION
    }

    /// New rates; the clocks go on.
    pub(super) fn set_rates(&mut self, rates: &Rates, hz: u64) {
        self.ceil_cost = cost(rates.max, hz);
        self.rate_cost = cost(rates.min, hz);
        self.inverse_weight = u32::MAX / rates.weight.max(1);
        self.class = rates.weight.max(1).ilog2() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_exact_from_the_slowest_to_the_fastest() {
        for hz in [1_000_000_000u64, 2_600_000_000, 4_000_000_000] {
            for rate in [64_000u64, 1_000_000, 17_123_456, 1_000_000_000, 40_000_000_000, 100_000_000_000] {
                let mut moment = Moment::at(0);
                for _ in 0..10_000 {
                    moment = moment.after(64, cost(rate, hz));
                }
                let exact = 10_000.0 * 64.0 * 8.0 * hz as f64 / rate as f64;
                let error = (moment.ticks() as f64 / exact - 1.0).abs();
                assert!(error < 1e-4, "{rate} bit/s at {hz} Hz: {error}");
            }
        }
        assert_eq!(Moment::at(7).after(3, 5).before(3, 5), Moment::at(7));
        assert_eq!(cost(0, 1_000_000_000), 0);
        assert!(u64::from(u32::MAX >> 14).checked_mul(cost(1, 4_000_000_000)).is_some());
    }
}
