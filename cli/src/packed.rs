//! Counters in little room, to be compared with later: most of a histogram is zeros, and most counts are small. What is kept
//! takes some three bytes for each counter that is not 0, so that a million histograms fit into memory.

/// Counters by column, packed: pairs of the distance to the column before and the counter, each in groups of seven bits, the
/// lowest first, the last one without the eighth bit (LEB128).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed(Box<[u8]>);

impl Packed {
    /// Packs counters.
    pub fn of(cells: &[u64]) -> Packed {
        let mut octets = Vec::new();
        let mut next = 0;
        for (column, &count) in cells.iter().enumerate().filter(|(_, count)| **count != 0) {
            push(&mut octets, (column - next) as u64);
            push(&mut octets, count);
            next = column + 1;
        }
        Packed(octets.into())
    }

    /// The columns that are not 0, and their counters.
    pub fn cells(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let mut octets = self.0.iter().copied();
        let mut next = 0;
        std::iter::from_fn(move || {
            let column = next + pull(&mut octets)? as usize;
            next = column + 1;
            Some((column, pull(&mut octets)?))
        })
    }

    /// All counters of so many columns.
    pub fn unpacked(&self, columns: usize) -> Vec<u64> {
        let mut counts = vec![0; columns];
        for (column, count) in self.cells() {
            if let Some(place) = counts.get_mut(column) {
                *place = count;
            }
        }
        counts
    }

    /// Subtracts these counters, which were there earlier, from later ones. If one of them is larger than it is now, all of
    /// them began anew meanwhile, and nothing is subtracted.
    pub fn subtract_from(&self, cells: &mut [u64]) {
        let is_earlier = |(column, before): (usize, u64)| cells.get(column).is_some_and(|now| *now >= before);
        if self.cells().all(is_earlier) {
            self.cells().for_each(|(column, before)| cells[column] -= before);
        }
    }
}

fn push(octets: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        octets.push(number as u8 | 0x80);
        number >>= 7;
    }
    octets.push(number as u8);
}

fn pull(octets: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let octet = octets.next()?;
        number |= u64::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_packed_comes_back(
            cells in proptest::collection::vec(prop_oneof![3 => Just(0), 1 => any::<u64>(), 1 => 0_u64..300], 0..200)
        ) {
            prop_assert_eq!(Packed::of(&cells).unpacked(cells.len()), cells);
        }

        #[test]
        fn differences_are_exact(pairs in proptest::collection::vec((0_u64..1 << 62, 0_u64..1000), 1..200)) {
            let before: Vec<u64> = pairs.iter().map(|(before, _)| *before).collect();
            let mut now: Vec<u64> = pairs.iter().map(|(before, more)| before + more).collect();
            Packed::of(&before).subtract_from(&mut now);
            prop_assert_eq!(now, pairs.iter().map(|(_, more)| *more).collect::<Vec<_>>());
        }
    }

    #[test]
    fn counters_that_began_anew_count_whole() {
        let mut now = [5, 1, 9];
        Packed::of(&[3, 2, 4]).subtract_from(&mut now);
        assert_eq!(now, [5, 1, 9]);
        let mut shorter = [5, 1];
        Packed::of(&[3, 1, 4]).subtract_from(&mut shorter);
        assert_eq!(shorter, [5, 1]);
        Packed::default().subtract_from(&mut shorter);
        assert_eq!(shorter, [5, 1]);
    }

    #[test]
    fn zeros_take_no_room() {
        assert!(Packed::of(&[0; 1000]).0.is_empty());
        let packed = Packed::of(&[vec![0; 100], vec![5, 300]].concat());
        assert_eq!(*packed.0, [100, 5, 0, 0xac, 2]);
        assert_eq!(packed.unpacked(101)[99..], [0, 5]);
    }
}
