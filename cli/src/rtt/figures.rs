//! What is shown of an object: figures of its distributions, and which objects come first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use weir_stats::Bounds;

use crate::packed::Packed;

use super::subject::Subject;

/// The parts whose quantiles are shown.
pub const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
/// What they are called.
pub const QUANTILE_NAMES: [&str; 3] = ["p50", "p90", "p99"];

/// What is counted besides the histogram: packets, bytes, packets sent again, packets that came too late.
pub const TRAFFIC: usize = 4;

/// One measure of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Samples.
    pub count: u64,
    /// Their exact sum in microseconds, if it is known.
    pub sum: Option<u64>,
    /// The least value that the lowest bin with a sample counts.
    pub min: u64,
    /// Quantiles in microseconds; infinite where they lie beyond the last bound.
    pub quantiles: [f64; 3],
    /// The bound of the highest bin with a sample; `None` beyond the last bound.
    pub max: Option<u64>,
    /// What was counted of the packets.
    pub traffic: [u64; TRAFFIC],
    /// The bins, if they are to be drawn.
    pub bins: Option<Packed>,
}

impl Figures {
    /// Figures of an object's cells: its histogram's columns, then what is counted besides.
    pub fn of(bounds: &Bounds, cells: &[u64], keep_bins: bool) -> Figures {
        let (bins, traffic) = cells.split_at(bounds.width().min(cells.len()));
        let mut figures = Figures {
            count: 0,
            sum: None,
            min: 0,
            quantiles: [0.0; 3],
            max: None,
            traffic: [0; TRAFFIC],
            bins: None,
        };
        figures.traffic.iter_mut().zip(traffic).for_each(|(to, from)| *to = *from);
        if bins.iter().all(|count| *count == 0) {
            return figures;
        }
        let distribution = bounds.distribution(bins);
        figures.count = distribution.count();
        figures.sum = distribution.sum();
        figures.min = distribution.lowest().unwrap_or(0);
        figures.max = distribution.highest();
        let below = distribution.bins().filter(|(bound, _)| bound.is_some()).map(|(_, count)| count);
        let below = below.fold(0_u64, u64::saturating_add) as f64;
        let quantiles = distribution.quantiles(QUANTILES).unwrap_or_default();
        for ((to, quantile), part) in figures.quantiles.iter_mut().zip(quantiles).zip(QUANTILES) {
            *to = if part * figures.count as f64 <= below { quantile } else { f64::INFINITY };
        }
        figures.bins = keep_bins.then(|| Packed::of(bins));
        figures
    }

    /// Packets sent again, as a part of all.
    pub fn retransmitted(&self) -> Option<f64> {
        let [packets, _, again, _] = self.traffic;
        (packets > 0).then(|| again as f64 / packets as f64)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.traffic == [0; TRAFFIC]
    }
}

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its number.
    pub object: usize,
    /// Its measures, in the subject's order; `None` where the segment has none.
    pub measures: Vec<Option<Figures>>,
}

impl Row {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.measures.iter().flatten().all(Figures::is_empty)
    }
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// A measure by its place in the subject; all of them for what is no time.
    measure: Option<usize>,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Quantile(usize),
    Max,
    Count,
    Packets,
    Bytes,
    Retransmitted,
}

/// The words for it.
const BY: [(&str, By); 8] = [
    ("p50", By::Quantile(0)),
    ("p90", By::Quantile(1)),
    ("p99", By::Quantile(2)),
    ("max", By::Max),
    ("count", By::Count),
    ("packets", By::Packets),
    ("bytes", By::Bytes),
    ("resent", By::Retransmitted),
];

impl Sort {
    /// Understands `MEASURE.FIGURE`, or one of the two. `p99` of the subject's first measure where nothing is said.
    pub fn of(text: &str, subject: &Subject) -> Option<Sort> {
        let measure = |key: &str| subject.measures.iter().position(|measure| measure.key == key);
        let by = |word: &str| BY.iter().find(|(it, _)| *it == word).map(|(_, by)| *by);
        if let Some((key, word)) = text.split_once('.') {
            return Some(Sort { measure: Some(measure(key)?), by: by(word)? });
        }
        match (measure(text), by(text)) {
            (Some(measure), _) => Some(Sort { measure: Some(measure), by: By::Quantile(2) }),
            (None, Some(by @ (By::Quantile(_) | By::Max | By::Count))) => Some(Sort { measure: Some(0), by }),
            (None, Some(by)) => Some(Sort { measure: None, by }),
            (None, None) => None,
        }
    }

    /// All that can be said.
    pub fn words(subject: &Subject) -> String {
        let all = |words: Vec<&str>| words.join(", ");
        let measures = all(subject.measures.iter().map(|measure| measure.key).collect());
        format!("one of {measures}, or of {}, or both as lan.p50", all(BY.map(|(word, _)| word).to_vec()))
    }

    /// What a row is compared by; the larger, the worse. An object without samples is not bad.
    fn key(self, row: &Row) -> f64 {
        let measures = row.measures.iter().enumerate();
        let measures = measures.filter(|(at, _)| self.measure.is_none_or(|measure| measure == *at));
        let figures = measures.filter_map(|(_, figures)| figures.as_ref());
        let of_times = |figures: &Figures, time: f64| if figures.count > 0 { time } else { -1.0 };
        let keys = figures.map(|figures| match self.by {
            By::Quantile(at) => of_times(figures, figures.quantiles[at]),
            By::Max => of_times(figures, figures.max.map_or(f64::INFINITY, |max| max as f64)),
            By::Count => figures.count as f64,
            By::Packets => figures.traffic[0] as f64,
            By::Bytes => figures.traffic[1] as f64,
            By::Retransmitted => figures.retransmitted().unwrap_or(-1.0),
        });
        match self.by {
            By::Packets | By::Bytes | By::Count => keys.sum(),
            _ => keys.fold(-1.0, f64::max),
        }
    }
}

/// The rows that are to be shown, in their order.
#[derive(Debug)]
pub struct Chosen {
    sort: Option<Sort>,
    limit: usize,
    /// The best of the worst on top, to be the first to leave.
    sorted: BinaryHeap<Keyed>,
    /// As they came.
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Keyed {
    key: f64,
    row: Row,
}

impl Chosen {
    /// The worst `limit` by this, or the first ones.
    pub fn new(sort: Option<Sort>, limit: Option<usize>) -> Chosen {
        let limit = limit.unwrap_or(usize::MAX);
        Chosen { sort, limit, sorted: BinaryHeap::new(), rows: Vec::new() }
    }

    /// Takes a row, if it is one of those.
    pub fn offer(&mut self, row: Row) {
        let Some(sort) = self.sort else {
            if self.rows.len() < self.limit {
                self.rows.push(row);
            }
            return;
        };
        self.sorted.push(Keyed { key: sort.key(&row), row });
        if self.sorted.len() > self.limit {
            self.sorted.pop();
        }
    }

    /// The rows.
    pub fn into_rows(self) -> Vec<Row> {
        if self.sort.is_none() {
            return self.rows;
        }
        self.sorted.into_sorted_vec().into_iter().map(|keyed| keyed.row).collect()
    }
}

impl Ord for Keyed {
    /// The worse is less: it comes first in the sorted order. Of equals, the one with the lower number.
    fn cmp(&self, other: &Keyed) -> Ordering {
        other.key.total_cmp(&self.key).then(self.row.object.cmp(&other.row.object))
    }
}

impl PartialOrd for Keyed {
    fn partial_cmp(&self, other: &Keyed) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Keyed {
    fn eq(&self, other: &Keyed) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Keyed {}

#[cfg(test)]
mod tests {
    use super::super::subject::{BY_CUSTOMER, BY_PORT};
    use super::*;

    fn bounds() -> Bounds {
        Bounds::of_names(&Bounds::names(&[10, 20, 40])).unwrap()
    }

    fn row(object: usize, cells: &[u64]) -> Row {
        let figures = Some(Figures::of(&bounds(), cells, false));
        Row { object, measures: vec![figures, None, Some(Figures::of(&bounds(), &[], false))] }
    }

    #[test]
    fn figures_are_the_bins() {
        let figures = Figures::of(&bounds(), &[0, 10, 10, 0, 450, 100, 6000, 5, 2], true);
        assert_eq!((figures.count, figures.sum, figures.min, figures.max), (20, Some(450), 11, Some(40)));
        assert_eq!(figures.quantiles, [20.0, 36.0, 39.6]);
        assert_eq!((figures.traffic, figures.retransmitted()), ([100, 6000, 5, 2], Some(0.05)));
        assert_eq!(figures.bins.unwrap().cells().collect::<Vec<_>>(), [(1, 10), (2, 10), (4, 450)]);
        let beyond = Figures::of(&bounds(), &[1, 0, 8, 1, 9], false);
        assert_eq!((beyond.quantiles[1], beyond.quantiles[2], beyond.max), (40.0, f64::INFINITY, None));
        let none = Figures::of(&bounds(), &[0; 9], true);
        assert!(none.is_empty() && none.retransmitted().is_none() && none.bins.is_none());
        assert!(!Figures::of(&bounds(), &[0, 0, 0, 0, 0, 1], false).is_empty());
    }

    fn order(sort: &str, limit: Option<usize>) -> Vec<usize> {
        let rows = [
            row(0, &[5, 0, 0, 0, 0, 10, 900, 1]),
            row(1, &[1, 0, 9, 0, 0, 70, 600, 0]),
            row(2, &[0, 0, 0, 0, 0, 20, 700, 4]),
            row(3, &[0, 9, 0, 1, 0, 0, 0, 0]),
            row(4, &[1, 0, 9, 0, 0, 1, 1, 0]),
        ];
        let mut chosen =
            Chosen::new((!sort.is_empty()).then(|| Sort::of(sort, &BY_CUSTOMER).unwrap()), limit);
        rows.into_iter().for_each(|row| chosen.offer(row));
        chosen.into_rows().into_iter().map(|row| row.object).collect()
    }

    #[test]
    fn the_worst_come_first() {
        assert_eq!(order("", None), [0, 1, 2, 3, 4]);
        assert_eq!(order("", Some(2)), [0, 1]);
        assert_eq!(order("p99", None), [3, 1, 4, 0, 2], "what lies beyond is worst, what has no sample best");
        assert_eq!(order("lan", Some(2)), [3, 1]);
        assert_eq!(order("lan.p50", Some(3)), [1, 4, 3]);
        assert_eq!(order("max", Some(1)), [3]);
        assert_eq!(order("count", Some(2)), [1, 3]);
        assert_eq!(order("packets", Some(2)), [1, 2]);
        assert_eq!(order("bytes", Some(2)), [0, 2]);
        assert_eq!(order("resent", Some(2)), [2, 0]);
        assert_eq!(order("up", Some(2)), [0, 1], "a measure that is not there");
    }

    #[test]
    fn what_can_be_sorted_by_depends_on_the_subject() {
        for wrong in ["", "rtt", "p98", "lan.p98", "lan.", ".p50", "lan.p50.p50"] {
            assert_eq!(Sort::of(wrong, &BY_CUSTOMER), None, "{wrong}");
        }
        assert!(Sort::of("rtt.max", &BY_PORT).is_some() && Sort::of("lan", &BY_PORT).is_none());
        assert_eq!(
            Sort::words(&BY_PORT),
            "one of rtt, delay, or of p50, p90, p99, max, count, packets, bytes, resent, or both as lan.p50"
        );
    }
}
