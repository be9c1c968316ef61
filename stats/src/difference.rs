//! What changed between two snapshots: a reader's way to clear counters, and the first half of rates.

use std::collections::HashMap;

use crate::catalogue::{Catalogue, Semantics};
use crate::layout::Kind;
use crate::reader::Snapshot;
use crate::value::{Bins, Pair, Value};

impl Snapshot {
    /// What was counted since `earlier`. Of counters it is the difference; gauges, names and records are as they are now.
    /// What was not there earlier counts as a whole, and so does a counter that is lower than it was: it belongs to another
    /// object now, or another writer.
    pub fn since(&self, earlier: &Snapshot, catalogue: &Catalogue) -> Snapshot {
        let before: HashMap<&str, &Value> =
            earlier.values.iter().map(|(entry, value)| (&*entry.name, value)).collect();
        let values = self.values.iter().map(|(entry, now)| {
            let value = match before.get(&*entry.name) {
                Some(before) if catalogue.counts(&entry.name, entry.kind) => now.since(before),
                _ => now.clone(),
            };
            (entry.clone(), value)
        });
        Snapshot { epoch: self.epoch, values: values.collect() }
    }
}

impl Value {
    /// What was counted since `earlier`: see [`Snapshot::since`], for which this does the subtraction. That these are counters
    /// is for the caller to know.
    pub fn since(&self, earlier: &Value) -> Value {
        difference(self, earlier)
    }
}

impl Catalogue {
    /// Whether a path's numbers only grow. Without a description, its kind decides.
    pub fn counts(&self, path: &str, kind: Kind) -> bool {
        match self.describe(path) {
            Some(described) => described.description.semantics == Semantics::Counter,
            None => kind != Kind::Gauge,
        }
    }
}

fn difference(now: &Value, before: &Value) -> Value {
    match (now, before) {
        (Value::Scalar(now), Value::Scalar(before)) => Value::Scalar(subtract(*now, *before)),
        (Value::Simple(now), Value::Simple(before)) => {
            Value::Simple(rows(now, before, |now, before| cells(now, before, subtract)))
        }
        (Value::Combined(now), Value::Combined(before)) => {
            Value::Combined(rows(now, before, |now, before| cells(now, before, subtract_pair)))
        }
        (Value::Histogram(now), Value::Histogram(before)) => Value::Histogram(rows(now, before, bins)),
        (Value::Symlink { link, value: now }, Value::Symlink { value: before, .. }) => {
            Value::Symlink { link: *link, value: Box::new(difference(now, before)) }
        }
        _ => now.clone(),
    }
}

fn subtract(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn subtract_pair(now: Pair, before: Pair) -> Pair {
    // Its bytes may lag behind its packets by what was being counted: only the packets tell of a new beginning.
    match now.packets.checked_sub(before.packets) {
        Some(packets) => Pair { packets, bytes: now.bytes.saturating_sub(before.bytes) },
        None => now,
    }
}

fn rows<T: Clone>(now: &[T], before: &[T], one: impl Fn(&T, &T) -> T) -> Vec<T> {
    let of = |(row, now): (usize, &T)| before.get(row).map_or_else(|| now.clone(), |before| one(now, before));
    now.iter().enumerate().map(of).collect()
}

fn cells<T: Copy>(now: &[T], before: &[T], one: impl Fn(T, T) -> T) -> Vec<T> {
    let of = |(column, now): (usize, &T)| before.get(column).map_or(*now, |before| one(*now, *before));
    now.iter().enumerate().map(of).collect()
}

fn bins(now: &Bins, before: &Bins) -> Bins {
    // A histogram that began anew does so as a whole.
    let anew = now.min_exp != before.min_exp || now.counts.iter().zip(&before.counts).any(|(n, b)| n < b);
    if anew {
        return now.clone();
    }
    Bins { min_exp: now.min_exp, counts: cells(&now.counts, &before.counts, subtract) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Description, Entry};

    fn snapshot(values: &[(&str, Value)]) -> Snapshot {
        let entry = |name: &str| {
            let (name, kind) = (name.to_owned(), Kind::Simple);
            Entry { index: 0, name, kind, link: None, epoch: 1 }
        };
        let values = values.iter().map(|(name, value)| (entry(name), value.clone())).collect();
        Snapshot { epoch: 1, values }
    }

    fn since(now: Value, before: Value) -> Value {
        let gauge = Description::simple("/held", "packets", "", "held now").as_gauge();
        let catalogue = Catalogue::new(vec![gauge]);
        let change = snapshot(&[("/a", now)]).since(&snapshot(&[("/a", before)]), &catalogue);
        change.values[0].1.clone()
    }

    #[test]
    fn counters_are_subtracted_and_new_ones_count_whole() {
        let now = Value::Simple(vec![vec![10, 20, 5], vec![7]]);
        assert_eq!(since(now, Value::Simple(vec![vec![4, 20]])), Value::Simple(vec![vec![6, 0, 5], vec![7]]));
        assert_eq!(
            since(Value::Simple(vec![vec![3]]), Value::Simple(vec![vec![4]])),
            Value::Simple(vec![vec![3]])
        );
        assert_eq!(since(Value::Scalar(9), Value::Scalar(2)), Value::Scalar(7));
        let pair = |packets, bytes| Value::Combined(vec![vec![Pair { packets, bytes }]]);
        assert_eq!(since(pair(10, 600), pair(4, 240)), pair(6, 360));
        assert_eq!(since(pair(10, 600), pair(10, 660)), pair(0, 0), "bytes lagged behind");
        assert_eq!(since(pair(1, 60), pair(10, 660)), pair(1, 60), "another object");
        let bins = |counts: &[u64]| Value::Histogram(vec![Bins { min_exp: 3, counts: counts.to_vec() }]);
        assert_eq!(since(bins(&[5, 5]), bins(&[1, 2])), bins(&[4, 3]));
        assert_eq!(since(bins(&[5, 1]), bins(&[1, 2])), bins(&[5, 1]));
    }

    #[test]
    fn what_is_no_counter_stays() {
        let gauge = Description::simple("/held", "packets", "", "held now").as_gauge();
        let catalogue = Catalogue::new(vec![gauge]);
        let (held, names) = (Value::Simple(vec![vec![3]]), Value::Names(vec!["eth1".to_owned()]));
        let values =
            [("/held", held), ("/names", names), ("/gauge", Value::Gauge(7)), ("/new", Value::Scalar(1))];
        let now = snapshot(&values);
        assert_eq!(now.since(&snapshot(&values[..3]), &catalogue), now);
    }

    #[test]
    fn a_kind_that_changed_counts_whole() {
        assert_eq!(since(Value::Scalar(9), Value::Gauge(2)), Value::Scalar(9));
    }
}
