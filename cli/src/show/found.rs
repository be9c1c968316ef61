//! What a view read, by path.

use std::collections::HashMap;

use weir_stats::{Pair, Snapshot, Value};

/// The values of a snapshot.
#[derive(Debug)]
pub struct Found {
    /// Paths in the directory's order.
    paths: Vec<String>,
    values: HashMap<String, Value>,
}

impl From<Snapshot> for Found {
    fn from(snapshot: Snapshot) -> Found {
        let paths = snapshot.values.iter().map(|(entry, _)| entry.name.clone()).collect();
        let values = snapshot.values.into_iter().map(|(entry, value)| (entry.name, value)).collect();
        Found { paths, values }
    }
}

impl Found {
    /// The paths that begin with a prefix, without it, in the order of registration.
    pub fn below<'f>(&'f self, prefix: &'f str) -> impl Iterator<Item = &'f str> {
        self.paths.iter().filter_map(move |path| path.strip_prefix(prefix))
    }

    /// A list of names.
    pub fn names(&self, path: &str) -> Option<&[String]> {
        match self.values.get(path)? {
            Value::Names(names) => Some(names),
            _ => None,
        }
    }

    /// A scalar or gauge.
    pub fn number(&self, path: &str) -> Option<u64> {
        match self.values.get(path)? {
            Value::Scalar(number) | Value::Gauge(number) => Some(*number),
            _ => None,
        }
    }

    /// Counters by row and column; no rows if there are none. A symlink's only column is 0.
    pub fn simple(&self, path: &str) -> &[Vec<u64>] {
        match self.values.get(path) {
            Some(Value::Simple(rows)) => rows,
            Some(Value::Symlink { value, .. }) => match &**value {
                Value::Simple(rows) => rows,
                _ => &[],
            },
            _ => &[],
        }
    }

    /// Packet and byte counters by row and column; no rows if there are none.
    pub fn combined(&self, path: &str) -> &[Vec<Pair>] {
        match self.values.get(path) {
            Some(Value::Combined(rows)) => rows,
            _ => &[],
        }
    }

    /// The sum of a column over all rows.
    pub fn sum(&self, path: &str, column: usize) -> u64 {
        self.simple(path)
            .iter()
            .filter_map(|row| row.get(column))
            .fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// The sum of a column over all rows.
    pub fn sum_pair(&self, path: &str, column: usize) -> Pair {
        let cells = self.combined(path).iter().filter_map(|row| row.get(column));
        cells.fold(Pair::default(), |sum, cell| Pair {
            packets: sum.packets.wrapping_add(cell.packets),
            bytes: sum.bytes.wrapping_add(cell.bytes),
        })
    }
}

/// The ports that exist, by index. VPP calls the place of a removed one so, until another takes it.
pub fn ports(names: &[String]) -> impl Iterator<Item = (usize, &str)> {
    names.iter().map(String::as_str).enumerate().filter(|(_, name)| !name.is_empty() && *name != "deleted")
}

/// What a view's tests read.
#[cfg(test)]
pub fn found(segment: &weir_stats::Segment, wanted: impl Fn(&str) -> bool) -> Found {
    weir_stats::Reader::of(segment).unwrap().snapshot(|entry| wanted(&entry.name)).unwrap().into()
}

/// A segment with rows for two workers.
#[cfg(test)]
pub fn segment() -> weir_stats::Segment {
    let grace = std::time::Duration::ZERO;
    weir_stats::Segment::in_heap(weir_stats::Options { size: 1 << 20, workers: 2, grace }).unwrap()
}
