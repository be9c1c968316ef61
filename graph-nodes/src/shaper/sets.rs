//! A table of eight ways: from a key's hash to a number, one cache line a look-up.
//!
//! ```text
//!  set  ├─ tags 8×32 bit ─────────┬─ numbers 8×32 bit ──────┤  64 bytes
//! ```
//! A key has a place in two sets, and in each a way that is its own if nobody is there. The table doesn't hold keys: whoever
//! owns the numbers says whether one is meant.

use crate::fib::prefetch;

/// No number.
pub(super) const NONE: u32 = u32::MAX;
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
        Sets { sets: vec![Set { tags: [0; WAYS], numbers: [NONE; WAYS] }; sets], mask: sets as u32 - 1 }
    }

    #[inline(always)]
    fn homes(&self, hash: u64) -> [u32; 2] {
        let upper = (hash >> 32) as u32;
        [upper & self.mask, (upper ^ (hash as u32).wrapping_mul(0x9e37_79b1) | 1) & self.mask]
    }

    /// Asks for the first set's line.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&self.sets[self.homes(hash)[0] as usize]);
    }

    /// The number that `is_meant`, and whether it stands elsewhere than in its own way.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, mut is_meant: impl FnMut(u32) -> bool) -> Option<(u32, bool)> {
        let tag = hash as u32;
        for home in self.homes(hash) {
            let set = &self.sets[home as usize];
            let mut matches = 0u32;
            for way in 0..WAYS {
                matches |= u32::from(set.tags[way] == tag && set.numbers[way] != NONE) << way;
            }
            while matches != 0 {
                let way = matches.trailing_zeros() as usize % WAYS;
                if is_meant(set.numbers[way]) {
                    return Some((set.numbers[way], way != tag as usize % WAYS));
                }
                matches &= matches - 1;
            }
        }
        None
    }

    /// An empty way, the key's own if it is.
    #[inline]
    pub(super) fn vacancy(&self, hash: u64) -> Option<Way> {
        let own = hash as usize % WAYS;
        for home in self.homes(hash) {
            let set = &self.sets[home as usize];
            for offset in 0..WAYS {
                let way = (own + offset) % WAYS;
                if set.numbers[way] == NONE {
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
        set.tags[way as usize % WAYS] = hash as u32;
        set.numbers[way as usize % WAYS] = number;
    }

    /// Empties a way.
    #[inline]
    pub(super) fn clear(&mut self, Way(way): Way) {
        self.sets[way as usize / WAYS].numbers[way as usize % WAYS] = NONE;
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
