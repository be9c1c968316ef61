//! Histograms as readers use them: counts between bounds, added up, subtracted, and asked for quantiles.

use std::sync::Arc;

use crate::value::Bins;

/// The bins of a matrix of histograms: what the columns of each object are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    upper: Arc<[u64]>,
    has_sum: bool,
}

/// The name of the bin without an upper bound.
const INFINITE: &str = "+Inf";
/// The name of the column with the sum of what was counted.
const SUM: &str = "sum";

impl Bounds {
    /// Bins as a name vector names them: upper bounds, `+Inf`, and perhaps `sum`. `None` if these are no such names.
    pub fn of_names(names: &[String]) -> Option<Bounds> {
        let (bounds, has_sum) = match names {
            [bounds @ .., infinite, sum] if infinite == INFINITE && sum == SUM => (bounds, true),
            [bounds @ .., infinite] if infinite == INFINITE => (bounds, false),
            _ => return None,
        };
        let upper: Vec<u64> = bounds.iter().map(|bound| bound.parse().ok()).collect::<Option<_>>()?;
        upper.is_sorted_by(|a, b| a < b).then(|| Bounds { upper: upper.into(), has_sum })
    }

    /// The names for such bins, with a column for the sum.
    pub fn names(upper: &[u64]) -> Vec<String> {
        upper.iter().map(u64::to_string).chain([INFINITE.to_owned(), SUM.to_owned()]).collect()
    }

    /// Inclusive upper bounds; one more bin, without a bound, follows.
    pub fn upper(&self) -> &[u64] {
        &self.upper
    }

    /// Columns of an object.
    pub fn width(&self) -> usize {
        self.upper.len() + 1 + usize::from(self.has_sum)
    }

    /// The distribution that an object's columns hold. Missing ones are 0.
    pub fn distribution(&self, cells: &[u64]) -> Distribution {
        let mut counts = vec![0; self.upper.len() + 1];
        for (count, cell) in counts.iter_mut().zip(cells) {
            *count = *cell;
        }
        let sum = self.has_sum.then(|| cells.get(counts.len()).copied().unwrap_or(0));
        Distribution { upper: Arc::clone(&self.upper), counts, sum }
    }
}

/// How values are distributed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    upper: Arc<[u64]>,
    counts: Vec<u64>,
    sum: Option<u64>,
}

impl From<&Bins> for Distribution {
    fn from(bins: &Bins) -> Distribution {
        let upper: Vec<u64> = (0..bins.counts.len()).map_while(|bin| bins.upper(bin)).collect();
        let mut counts = vec![0_u64; upper.len() + 1];
        for (bin, count) in bins.counts.iter().enumerate() {
            // Bins that begin beyond all 64-bit numbers have no bound either.
            let sum = &mut counts[bin.min(upper.len())];
            *sum = sum.wrapping_add(*count);
        }
        Distribution { upper: upper.into(), counts, sum: None }
    }
}

impl Distribution {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// Their sum, if it is known.
    pub fn sum(&self) -> Option<u64> {
        self.sum
    }

    /// Inclusive upper bounds and counts of the bins; the last one has no bound.
    pub fn bins(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let bounds = self.upper.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().copied())
    }

    /// The value that a part `q` (0 to 1) of the values does not exceed; `None` without values. In the last bin, which has no end, it is the
    /// bound at which that begins.
    ///
    /// The values of a bin are taken as evenly spread over it. If their sum is known, they are moved, each within its bin, as the sum says: values that
    /// are all the same, or nearly, are then known better than their bin is narrow.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.quantiles([q]).map(|[value]| value)
    }

    /// Several quantiles, for parts that do not get smaller.
    pub fn quantiles<const N: usize>(&self, parts: [f64; N]) -> Option<[f64; N]> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let lean = self.lean();
        let mut values = [0.0; N];
        let mut wanted = values.iter_mut().zip(parts.map(|q| q.clamp(0.0, 1.0) * count as f64)).peekable();
        let (mut below, mut lower) = (0_u64, 0_u64);
        for (upper, here) in self.bins() {
            let upto = below.saturating_add(here);
            if let (Some(upper), 1..) = (upper, here) {
                while let Some((value, wanted)) = wanted.next_if(|(_, wanted)| *wanted <= upto as f64) {
                    let share = ((wanted - below as f64) / here as f64).clamp(0.0, 1.0);
                    let width = (upper - lower) as f64;
                    let shift = (lean * width * width).clamp(-width / 2.0, width / 2.0);
                    // Evenly spread around the shifted middle, as far as the bin's nearer end.
                    *value =
                        (lower + upper) as f64 / 2.0 + shift + (share - 0.5) * (width - 2.0 * shift.abs());
                }
            }
            below = upto;
            lower = upper.unwrap_or(lower);
        }
        // Those in the bin without an end, and what is no number.
        wanted.for_each(|(value, _)| *value = lower as f64);
        Some(values)
    }

    /// How far the values of a bin lie beside its middle on average, by the square of its width: the best linear estimate from the sum (Gauss and
    /// Markov), as values that are spread evenly over a bin have a variance of a twelfth of that. A few values in wide bins, which add much
    /// to what is not known of the sum, so say little about those in narrow ones.
    fn lean(&self) -> f64 {
        let (Some(sum), Some(0)) = (self.sum, self.counts.last()) else { return 0.0 };
        let (mut expected, mut variance, mut lower) = (0.0, 0.0, 0.0);
        for (upper, count) in self.upper.iter().zip(&self.counts) {
            let (upper, count) = (*upper as f64, *count as f64);
            expected += count * (lower + upper) / 2.0;
            variance += count * (upper - lower).powi(2);
            lower = upper;
        }
        if variance > 0.0 { (sum as f64 - expected) / variance } else { 0.0 }
    }

    /// The least value that the lowest bin with a value counts; `None` without values.
    pub fn lowest(&self) -> Option<u64> {
        let bin = self.counts.iter().position(|count| *count > 0)?;
        Some(bin.checked_sub(1).map_or(0, |before| self.upper[before] + 1))
    }

    /// The bound of the highest bin with a value in it; `None` without values, or if that bin has no bound.
    pub fn highest(&self) -> Option<u64> {
        self.bins().filter(|(_, count)| *count > 0).last()?.0
    }

    /// Adds another distribution over the same bounds; one over others has its bins added where their upper bounds are.
    pub fn merge(&mut self, other: &Distribution) {
        for (bound, count) in other.bins() {
            let bin = bound.map_or(self.upper.len(), |bound| self.upper.partition_point(|own| *own < bound));
            self.counts[bin] = self.counts[bin].wrapping_add(count);
        }
        self.sum = self.sum.zip(other.sum).map(|(own, other)| own.wrapping_add(other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds::of_names(&Bounds::names(&[10, 20, 40])).unwrap()
    }

    #[test]
    fn bounds_are_names() {
        assert_eq!((bounds().upper(), bounds().width()), (&[10, 20, 40][..], 5));
        let of =
            |names: &[&str]| Bounds::of_names(&names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["5", "+Inf"]).unwrap().width(), 2);
        for wrong in
            [&["5", "sum"][..], &[], &["+Inf", "5"], &["6", "5", "+Inf"], &["5", "5", "+Inf"], &["x", "+Inf"]]
        {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn quantiles_lie_in_their_bins() {
        let all = bounds().distribution(&[0, 10, 10, 0, 450]);
        assert_eq!((all.count(), all.sum(), all.highest()), (20, Some(450), Some(40)));
        assert_eq!(all.quantile(0.0), Some(10.0));
        assert_eq!(all.quantile(0.25), Some(15.0));
        assert_eq!(all.quantile(0.5), Some(20.0));
        assert_eq!(all.quantile(0.75), Some(30.0));
        assert_eq!(all.quantile(1.0), Some(40.0));
        assert_eq!(all.quantile(f64::NAN).map(|it| it.is_nan()), Some(false));
        assert_eq!(all.quantiles([0.0, 0.25, 0.25, 0.75, 1.0]), Some([10.0, 15.0, 15.0, 30.0, 40.0]));
        assert_eq!(all.quantiles::<0>([]), Some([]));
        let beyond = bounds().distribution(&[1, 0, 0, 9]);
        assert_eq!((beyond.quantile(0.5), beyond.highest(), beyond.sum()), (Some(40.0), None, Some(0)));
        assert_eq!(beyond.quantiles([0.05, 0.5, 0.9]), Some([5.0, 40.0, 40.0]));
        assert_eq!(bounds().distribution(&[]).quantile(0.5), None);
        assert_eq!(beyond.quantile(f64::NAN), Some(40.0));
    }

    #[test]
    fn a_sum_tells_where_in_its_bin_a_peak_is() {
        // 100 values of 33, or next to it, in the bin from 20 to 40.
        assert_eq!(bounds().distribution(&[0, 0, 100, 0, 3300]).quantile(0.5), Some(33.0));
        // 100 values of 20 or a little more, on both sides of that bound.
        let both = bounds().distribution(&[0, 90, 10, 0, 2000]).quantile(0.5).unwrap();
        assert!((17.5..=20.0).contains(&both), "{both}");
        // A value that is far away takes nobody with it, wherever in its bin it is.
        let wide = Bounds::of_names(&Bounds::names(&[10, 20, 40, 10_000])).unwrap();
        for far in [50, 9_000] {
            let p50 = wide.distribution(&[0, 0, 100, 1, 0, 3300 + far]).quantile(0.5).unwrap();
            assert!((29.0..34.0).contains(&p50), "{p50} with {far}");
        }
        // A sum that can't be moves nothing out of its bin.
        for sum in [0, u64::MAX] {
            let p50 = bounds().distribution(&[0, 0, 100, 0, sum]).quantile(0.5).unwrap();
            assert!((20.0..=40.0).contains(&p50), "{p50}");
        }
    }

    #[test]
    fn the_lowest_and_the_highest_are_bounds() {
        let ends = |cells: &[u64]| {
            let all = bounds().distribution(cells);
            (all.lowest(), all.highest())
        };
        assert_eq!(ends(&[0, 0, 0, 0]), (None, None));
        assert_eq!(ends(&[1, 0, 1, 0]), (Some(0), Some(40)));
        assert_eq!(ends(&[0, 7, 0, 0]), (Some(11), Some(20)));
        assert_eq!(ends(&[0, 0, 0, 7]), (Some(41), None));
    }

    #[test]
    fn distributions_add_up() {
        let mut sum = bounds().distribution(&[1, 2, 3, 4, 5]);
        sum.merge(&bounds().distribution(&[10, 20, 30, 40, 50]));
        assert_eq!(sum, bounds().distribution(&[11, 22, 33, 44, 55]));
        let other = Bounds::of_names(&["15".to_owned(), "+Inf".to_owned()]).unwrap();
        sum.merge(&other.distribution(&[100, 1000]));
        assert_eq!(sum.bins().map(|(_, count)| count).collect::<Vec<_>>(), [11, 122, 33, 1044]);
        assert_eq!(sum.sum(), None, "one of them has no sum");
    }

    #[test]
    fn powers_of_two_are_bounds_too() {
        let bins = Bins { min_exp: 2, counts: vec![1, 2, 3] };
        let all = Distribution::from(&bins);
        assert_eq!(all.bins().collect::<Vec<_>>(), [(Some(7), 1), (Some(15), 2), (None, 3)]);
        let far = Distribution::from(&Bins { min_exp: 62, counts: vec![1, 2, 3] });
        assert_eq!(far.bins().collect::<Vec<_>>(), [(Some((1 << 63) - 1), 1), (None, 5)]);
        assert_eq!(Distribution::from(&Bins::default()).count(), 0);
    }
}
