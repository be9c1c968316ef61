//! Lengths of frames, as a command line writes them.

use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

/// Bytes of Ethernet's check sequence, which sizes count and frames in memory lack.
pub const FCS: u16 = 4;
/// Lengths that follow each other before the first comes again.
pub const MOST: usize = 64;

/// The "simple IMIX": seven of 64, four of 594, one of 1518 bytes.
const IMIX: [(u16, usize); 3] = [(64, 7), (594, 4), (1518, 1)];

/// The lengths of frames in their turn, with the check sequence, as Ethernet counts them: `64`, `64,594,1518`, `64:7,594:4,1518:1`, `imix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(Vec<u16>);

impl Sizes {
    /// One length for all.
    pub fn one(size: u16) -> Sizes {
        Sizes(vec![size])
    }

    /// Seven of 64, four of 594, one of 1518 bytes.
    pub fn imix() -> Sizes {
        Sizes(in_turn(&IMIX))
    }

    /// The lengths in their turn.
    pub fn in_turn(&self) -> &[u16] {
        &self.0
    }

    /// The mean length.
    pub fn mean(&self) -> f64 {
        self.0.iter().map(|size| f64::from(*size)).sum::<f64>() / self.0.len() as f64
    }
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Sizes> {
        if text.eq_ignore_ascii_case("imix") {
            return Ok(Sizes::imix());
        }
        let share = |part: &str| {
            let (size, count) = part.split_once(':').unwrap_or((part, "1"));
            let size = size.trim().parse().with_context(|| format!("{part} is no frame size"))?;
            let count: usize = count.trim().parse().with_context(|| format!("{part} has no number"))?;
            ensure!(count > 0, "{part}: none of them is none");
            Ok((size, count))
        };
        let shares = text.split(',').map(share).collect::<Result<Vec<(u16, usize)>>>()?;
        let all: usize = shares.iter().map(|(_, count)| count).sum();
        ensure!(all <= MOST, "{text}: there is room for {MOST} frames before the first comes again");
        Ok(Sizes(in_turn(&shares)))
    }
}

/// The shares' frames, each spread over the whole.
fn in_turn(shares: &[(u16, usize)]) -> Vec<u16> {
    let all: usize = shares.iter().map(|(_, count)| count).sum();
    let mut given = vec![0; shares.len()];
    (1..=all)
        .filter_map(|turn| {
            // whoever is furthest behind
            let behind = |place: usize| (shares[place].1 * turn) as isize - (given[place] * all) as isize;
            let next = (0..shares.len()).rev().max_by_key(|place| behind(*place))?;
            given[next] += 1;
            Some(shares[next].0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_its_shares_and_they_are_spread() {
        let imix: Sizes = "IMIX".parse().expect("sizes");
        let count = |size| imix.in_turn().iter().filter(|it| **it == size).count();
        assert_eq!((count(64), count(594), count(1518), imix.in_turn().len()), (7, 4, 1, 12));
        assert!(imix.in_turn().windows(3).all(|three| three != [64; 3]), "{imix:?}");
        assert!((imix.mean() - f64::from(7 * 64 + 4 * 594 + 1518) / 12.0).abs() < 1e-9);
        assert_eq!("64:7,594:4,1518:1".parse::<Sizes>().expect("sizes"), imix);
        assert_eq!("64,128".parse::<Sizes>().expect("sizes").in_turn(), [64, 128]);
        assert_eq!("1518".parse::<Sizes>().expect("sizes"), Sizes::one(1518));
        for wrong in ["", "a", "64,", "64:0", "64:a", "64:65", "70000"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }
}
