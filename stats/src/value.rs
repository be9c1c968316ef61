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
    /// The epoch at which it was listed.
    pub(crate) epoch: u64,
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
        /// The other entry's position in the directory.
        target: u32,
        /// The column.
        column: u32,
        /// What is there: [`Value::Simple`] or [`Value::Combined`], with one column.
        value: Box<Value>,
    },
    /// Histograms, by row.
    Histogram(Vec<Bins>),
    /// The last records, by row.
    Ring(RingRecords),
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
}
