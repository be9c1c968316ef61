//! Histograms of times in the segment: how a time becomes a bin.
//!
//! 16 µs to 16.8 s, log-linear: each octave has eight bins of equal width, so that none is wider than 1/8 of its values. What is shorter counts in
//! the first bin, what is longer in one more bin without a bound; a last column holds the sum. As in HdrHistogram (two to the power of three
//! sub-buckets), and so exact to 6 % with the middle of a bin.
//!
//! ```text
//!  bin        0       1       …    7     8      …     159            160    161
//!  counts   0–17   18–19         30–31  32–35       15.7–16.8 s     longer  sum      (microseconds, whole ones)
//! ```
//! A matrix in the segment has a row of [`WIDTH`] such columns for each object (customer, port), one after another; `/rtt/bins` names them.

use weir_stats::{Bounds, SimpleRow};

use crate::clock::Clock;

/// Bins of an octave.
const STEPS: u32 = 8;
/// Where the first octave begins: 2⁴ µs.
const FIRST: u32 = 4;
/// Octaves.
const OCTAVES: u32 = 20;
/// Bins with an upper bound.
const BOUNDED: usize = (OCTAVES * STEPS) as usize;
/// Columns of one histogram: its bins, one without a bound, the sum.
pub const WIDTH: usize = BOUNDED + 2;
const SUM: usize = WIDTH - 1;

/// Inclusive upper bounds of the bins that have one, in microseconds.
pub fn bounds() -> Vec<u64> {
    let octave =
        |octave| (1..=u64::from(STEPS)).map(move |bin| (16_u64 << octave) + bin * (2_u64 << octave) - 1);
    (0..OCTAVES).flat_map(octave).collect()
}

/// The names of the columns, for `/rtt/bins`.
pub fn names() -> Vec<String> {
    Bounds::names(&bounds())
}

/// A time, and the bin that it counts in.
#[derive(Clone, Copy, Debug)]
pub struct Binned {
    micros: u64,
    bin: usize,
}

impl From<u64> for Binned {
    /// From microseconds.
    #[inline(always)]
    fn from(micros: u64) -> Binned {
        Binned { micros, bin: bin(micros) }
    }
}

/// The bin of a time.
#[inline(always)]
fn bin(micros: u64) -> usize {
    // Below 16 µs all bits but the first are the first bin's.
    let micros = micros.max(1 << FIRST);
    let octave = micros.ilog2() - FIRST;
    let step = (micros >> (octave + 1)) as u32 % STEPS;
    ((octave * STEPS + step) as usize).min(BOUNDED)
}

/// From ticks to microseconds and nanoseconds without a division.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Microseconds a tick, times 2^[`MICROS_SHIFT`].
    micros: u64,
    /// Nanoseconds a tick, times 2^[`NANOS_SHIFT`].
    nanos: u64,
}

/// So many bits that the products of a day are exact to a tenth of a microsecond, and the factors of a clock of 1 kHz still fit.
const MICROS_SHIFT: u32 = 52;
const NANOS_SHIFT: u32 = 40;

impl Scale {
    /// The scale of a clock, which ticks at least a thousand times a second.
    pub fn new(clock: Clock) -> Scale {
        let of = |units: u128, shift: u32| ((units << shift) / u128::from(clock.hz())) as u64;
        Scale { micros: of(1_000_000, MICROS_SHIFT), nanos: of(1_000_000_000, NANOS_SHIFT) }
    }

    /// Whole microseconds.
    #[inline(always)]
    pub fn micros(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.micros)) >> MICROS_SHIFT) as u64
    }

    /// Nanoseconds.
    #[inline(always)]
    pub fn nanos(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.nanos)) >> NANOS_SHIFT) as u64
    }
}

/// One thread's row of a matrix of histograms.
#[derive(Debug)]
pub struct LatencyRow(SimpleRow);

impl From<SimpleRow> for LatencyRow {
    fn from(row: SimpleRow) -> LatencyRow {
        LatencyRow(row)
    }
}

impl LatencyRow {
    /// Counts a time of an object `times` times.
    #[inline(always)]
    pub fn record(&mut self, object: usize, time: Binned, times: u64) {
        let start = object * WIDTH;
        self.0.add(start + time.bin, times);
        self.0.add(start + SUM, time.micros.wrapping_mul(times));
    }

    /// Asks for the memory that counting a time of an object will touch.
    #[inline(always)]
    pub fn prefetch(&self, object: usize, time: Binned) {
        let start = object * WIDTH;
        self.0.prefetch(start + time.bin);
        self.0.prefetch(start + SUM);
    }

    /// Lets an object's counts begin anew. What was never counted stays untouched: it costs no memory.
    pub fn forget(&mut self, object: usize) {
        for column in object * WIDTH..(object + 1) * WIDTH {
            if self.0.value(column) != 0 {
                self.0.set(column, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_first_bin_whose_bound_it_does_not_exceed() {
        let bounds = bounds();
        assert_eq!((bounds.len(), bounds[0], bounds[1], bounds[159]), (BOUNDED, 17, 19, 16_777_215));
        let edges = bounds.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]);
        for micros in (0..100_000).chain(edges).chain([u64::MAX >> 1, u64::MAX]) {
            assert_eq!(bin(micros), bounds.partition_point(|bound| *bound < micros), "{micros}");
        }
        for pair in bounds.windows(2) {
            assert!((pair[1] - pair[0]) * 8 <= pair[0] + 1, "{pair:?}");
        }
        assert_eq!(names().len(), WIDTH);
    }

    #[test]
    fn ticks_become_times() {
        for hz in [1_000_000, 1_000_000_000, 2_599_998_123, 5_000_000_000] {
            let clock = Clock::with_hz(hz);
            let scale = Scale::new(clock);
            for ticks in [0, 1, hz / 1000, hz, 16 * hz, 86_400 * hz] {
                let exact = clock.duration(ticks);
                assert!(scale.micros(ticks).abs_diff(exact.as_micros() as u64) <= 1, "{ticks} at {hz}");
                assert!(scale.nanos(ticks).abs_diff(exact.as_nanos() as u64) <= 1_000, "{ticks} at {hz}");
            }
        }
    }
}
