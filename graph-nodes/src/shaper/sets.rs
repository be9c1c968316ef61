//! A table of eight ways: from a key's hash to a number, one cache line a look-up.
//!
//! ```text
//!  set  ├─ tags 8×32 bit ─────────┬─ numbers 8×32 bit ──────┤  64 bytes
//! ```
//! A key has a place in two sets, and in each a way that is its own if nobody is there. The table doesn't hold keys: whoever
//! owns the numbers says whether one is meant. An empty way's tag is 0, which is nobody's.

use crate::fib::prefetch;
use crate::memory::filled;

/// No number.
pub(super) const NONE: u32 = u32::MAX;
/// The place behind `number` in a list of all `capacity` free ones.
pub(super) fn next(number: u32, capacity: usize) -> u32 {
    if number + 1 == capacity as u32 { NONE } else { number + 1 }
}

const WAYS: usize = 8;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Set {
    tags: [u32; WAYS],
    numbers: [u32; WAYS],
}

/// Where a number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way(pub(super) u32);

/// The table.
pub(super) struct Sets {
    sets: Vec<Set>,
    mask: u32,
}

/// A key's hash: SplitMix64's finish, so that keys which differ in any bit differ in all.
#[inline(always)]
pub(super) fn mix(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Sets {
    /// Room for `numbers`, four ways each: with all of them in the table, a set of eight is full once in a thousand.
    pub(super) fn new(numbers: usize) -> Sets {
        let sets = (numbers * 4).div_ceil(WAYS).next_power_of_two().clamp(2, 1 << 28);
        Sets { sets: filled(sets, |_| Set { tags: [0; WAYS], numbers: [NONE; WAYS] }), mask: sets as u32 - 1 }
    }

    /// Never 0.
    #[inline(always)]
    fn tag(hash: u64) -> u32 {
        hash as u32 | 1
    }

    /// The way that is a key's own: of bits that neither the tag nor the set is all of.
    #[inline(always)]
    fn own(hash: u64) -> usize {
        (hash >> 1) as usize % WAYS
    }

    #[inline(always)]
    fn homes(&self, hash: u64) -> [u32; 2] {
        let upper = (hash >> 32) as u32;
        [upper & self.mask, (upper ^ ((hash as u32).wrapping_mul(0x9e37_79b1) | 1)) & self.mask]
    }

    /// Asks for the first set's line.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&self.sets[self.homes(hash)[0] as usize]);
    }

    /// The number that `is_meant`, and whether it stands elsewhere than in its own way.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, mut is_meant: impl FnMut(u32) -> bool) -> Option<(u32, bool)> {
        let tag = Self::tag(hash);
        for home in self.homes(hash) {
            let set = &self.sets[home as usize];
            let mut matches = lanes::equal(&set.tags, tag);
            while matches != 0 {
                let way = matches.trailing_zeros() as usize % WAYS;
                if is_meant(set.numbers[way]) {
                    return Some((set.numbers[way], way != Self::own(hash)));
                }
                matches &= matches - 1;
            }
        }
        None
    }

    /// An empty way, the key's own if it is.
    #[inline]
    pub(super) fn vacancy(&self, hash: u64) -> Option<Way> {
        let own = Self::own(hash);
        for home in self.homes(hash) {
            let set = &self.sets[home as usize];
            for offset in 0..WAYS {
                let way = (own + offset) % WAYS;
                if set.tags[way] == 0 {
                    return Some(Way(home * WAYS as u32 + way as u32));
                }
            }
        }
        None
    }

    /// The numbers in a key's two sets.
    pub(super) fn neighbours(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let numbers = self.homes(hash).map(|home| self.sets[home as usize].numbers);
        numbers.into_iter().flatten().filter(|&number| number != NONE)
    }

    /// Puts a number into an empty way.
    #[inline]
    pub(super) fn put(&mut self, Way(way): Way, hash: u64, number: u32) {
        let set = &mut self.sets[way as usize / WAYS];
        set.tags[way as usize % WAYS] = Self::tag(hash);
        set.numbers[way as usize % WAYS] = number;
    }

    /// Empties a way.
    #[inline]
    pub(super) fn clear(&mut self, Way(way): Way) {
        let set = &mut self.sets[way as usize / WAYS];
        set.tags[way as usize % WAYS] = 0;
        set.numbers[way as usize % WAYS] = NONE;
    }
}

/// Eight tags compared at once; SSE2 is part of x86-64.
mod lanes {
    use super::WAYS;

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline(always)]
    pub(super) fn equal(lanes: &[u32; WAYS], value: u32) -> u32 {
        use std::arch::x86_64::{
            _mm_cmpeq_epi32, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set_epi32,
            _mm_set1_epi32, _mm_setzero_si128,
        };
        let [a, b, c, d, e, f, g, h] = lanes.map(u32::cast_signed);
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let value = _mm_set1_epi32(value.cast_signed());
            let low = _mm_cmpeq_epi32(_mm_set_epi32(d, c, b, a), value);
            let high = _mm_cmpeq_epi32(_mm_set_epi32(h, g, f, e), value);
            _mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(low, high), _mm_setzero_si128()))
                .cast_unsigned()
        }
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    #[inline(always)]
    pub(super) fn equal(lanes: &[u32; WAYS], value: u32) -> u32 {
        lanes.iter().rev().fold(0, |matches, &lane| matches << 1 | u32::from(lane == value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_finds_everything_and_hardly_ever_lacks_a_way() {
        let count = 100_000u32;
        let mut sets = Sets::new(count as usize);
        let mut placed = Vec::new();
        for number in 0..count {
            let hash = mix(u64::from(number));
            if let Some(way) = sets.vacancy(hash) {
                sets.put(way, hash, number);
                placed.push((number, way));
            }
        }
        assert_eq!(placed.len(), count as usize);
        for &(number, way) in &placed {
            let hash = mix(u64::from(number));
            assert_eq!(sets.find(hash, |found| found == number).map(|(found, _)| found), Some(number));
            sets.clear(way);
            assert_eq!(sets.find(hash, |found| found == number), None);
        }
    }
}
