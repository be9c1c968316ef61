//! What readers get: copies, that nothing changes any more.

use crate::layout::Kind;

/// An entry of the directory, as it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position in the directory.
    pub index: u32,
    /// Its path. What is not valid UTF-8 or would control a terminal is replaced by U+FFFD.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Where it leads, if it is a symlink.
    pub link: Option<Link>,
    /// The epoch at which it was listed.
    pub(crate) epoch: u64,
}

/// Where a symlink leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The other entry's position in the directory.
    pub target: u32,
    /// The column.
    pub column: u32,
}

/// How large a vector is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Rows.
    pub rows: usize,
    /// Columns of each row.
    pub columns: usize,
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Packets.
    pub packets: u64,
    /// Bytes. May lack what the packets counted last brought, when a worker was just counting.
    pub bytes: u64,
}

/// One row of a histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bins {
    /// The first bin ends just below 2^(`min_exp` + 1); each later one covers the next power of two.
    pub min_exp: u32,
    /// Values counted per bin. The last bin has no upper end.
    pub counts: Vec<u64>,
}

impl Bins {
    /// The largest value that a bin counts; `None` for the last bin, which has no end, and beyond it.
    pub fn upper(&self, bin: usize) -> Option<u64> {
        let exponent = u32::try_from(bin).ok()?.checked_add(self.min_exp)?.checked_add(1)?;
        if bin + 1 >= self.counts.len() { None } else { 1_u64.checked_shl(exponent).map(|end| end - 1) }
    }

    /// Rows of one histogram as one. They have the same bins; should they not, the least exponent is kept and what is
    /// beyond the last bin goes there.
    pub fn merged(rows: &[Bins]) -> Bins {
        let counted = rows.iter().filter(|row| !row.counts.is_empty());
        let Some(min_exp) = counted.clone().map(|row| row.min_exp).min() else { return Bins::default() };
        let mut counts = vec![0_u64; counted.clone().map(|row| row.counts.len()).max().unwrap_or(0)];
        let last = counts.len().saturating_sub(1);
        for row in counted {
            let shift = (row.min_exp - min_exp) as usize;
            for (bin, count) in row.counts.iter().enumerate() {
                let sum = &mut counts[bin.saturating_add(shift).min(last)];
                *sum = sum.wrapping_add(*count);
            }
        }
        Bins { min_exp, counts }
    }
}

/// What a ring buffer held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingRecords {
    /// Bytes of a record.
    pub entry_size: usize,
    /// How many records each row has room for; the one that is written next is never returned.
    pub entries: usize,
    /// What a record is, in a form that its writer and its readers agreed on.
    pub schema: Vec<u8>,
    /// The schema's version.
    pub schema_version: u32,
    /// The rows.
    pub rows: Vec<RingRecordsRow>,
}

/// The records of one row of a ring buffer, the oldest first, none of them torn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingRecordsRow {
    /// How many records were written before the first one here.
    pub first: u64,
    /// The records.
    pub records: Vec<Vec<u8>>,
}

impl RingRecordsRow {
    /// The number of the record that follows the last one here: the one to ask for next.
    pub fn next(&self) -> u64 {
        self.first.saturating_add(self.records.len() as u64)
    }
}

/// What an entry held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number that only grows, or is set once.
    Scalar(u64),
    /// A number that goes up and down.
    Gauge(u64),
    /// Counters, by row and column.
    Simple(Vec<Vec<u64>>),
    /// Packet and byte counters, by row and column.
    Combined(Vec<Vec<Pair>>),
    /// Strings; empty where none was set.
    Names(Vec<String>),
    /// One column of another entry.
    Symlink {
        /// Where it leads.
        link: Link,
        /// What is there: [`Value::Simple`] or [`Value::Combined`], with one column.
        value: Box<Value>,
    },
    /// Histograms, by row.
    Histogram(Vec<Bins>),
    /// The last records, by row.
    Ring(RingRecords),
}

impl Value {
    /// The rows added up to one.
    pub fn merged(&self) -> Value {
        match self {
            Value::Simple(rows) => Value::Simple(vec![add_rows(rows, |sum, count| sum.wrapping_add(count))]),
            Value::Combined(rows) => Value::Combined(vec![add_rows(rows, Pair::plus)]),
            Value::Histogram(rows) => Value::Histogram(vec![Bins::merged(rows)]),
            Value::Symlink { link, value } => Value::Symlink { link: *link, value: Box::new(value.merged()) },
            Value::Scalar(_) | Value::Gauge(_) | Value::Names(_) | Value::Ring(_) => self.clone(),
        }
    }
}

fn add_rows<T: Copy + Default>(rows: &[Vec<T>], add: impl Fn(T, T) -> T) -> Vec<T> {
    let mut sums = vec![T::default(); rows.iter().map(Vec::len).max().unwrap_or(0)];
    for row in rows {
        for (sum, cell) in sums.iter_mut().zip(row) {
            *sum = add(*sum, *cell);
        }
    }
    sums
}

impl Pair {
    /// Both counters added up.
    pub fn plus(self, other: Pair) -> Pair {
        Pair {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_end_below_the_next_power_of_two() {
        let bins = Bins { min_exp: 4, counts: vec![0; 3] };
        assert_eq!(
            (bins.upper(0), bins.upper(1), bins.upper(2), bins.upper(3)),
            (Some(31), Some(63), None, None)
        );
        let wide = Bins { min_exp: u32::MAX, counts: vec![0; 3] };
        assert_eq!(wide.upper(0), None);
        assert_eq!(Bins { min_exp: 62, counts: vec![0; 3] }.upper(0), Some((1 << 63) - 1));
        assert_eq!(Bins { min_exp: 63, counts: vec![0; 3] }.upper(0), None);
    }

    #[test]
    fn rows_add_up() {
        let simple = Value::Simple(vec![vec![1, 2], vec![10, 20, 30], vec![]]);
        assert_eq!(simple.merged(), Value::Simple(vec![vec![11, 22, 30]]));
        let pair = |packets, bytes| Pair { packets, bytes };
        let link = Link { target: 3, column: 1 };
        let combined = Box::new(Value::Combined(vec![vec![pair(1, 60)], vec![pair(2, 120)]]));
        let sum = Box::new(Value::Combined(vec![vec![pair(3, 180)]]));
        assert_eq!(Value::Symlink { link, value: combined }.merged(), Value::Symlink { link, value: sum });
        assert_eq!(Value::Gauge(5).merged(), Value::Gauge(5));
    }

    #[test]
    fn histograms_of_other_bins_add_up_where_they_overlap() {
        let bins = |min_exp, counts: &[u64]| Bins { min_exp, counts: counts.to_vec() };
        assert_eq!(Bins::merged(&[]), Bins::default());
        assert_eq!(Bins::merged(&[bins(2, &[1, 2]), bins(2, &[10, 20])]), bins(2, &[11, 22]));
        assert_eq!(Bins::merged(&[bins(2, &[1, 2, 3]), bins(4, &[10, 20])]), bins(2, &[1, 2, 33]));
        assert_eq!(Bins::merged(&[Bins::default(), bins(u32::MAX, &[1])]), bins(u32::MAX, &[1]));
        assert_eq!(Bins::merged(&[bins(0, &[1]), bins(u32::MAX, &[1])]), bins(0, &[2]));
    }
}
