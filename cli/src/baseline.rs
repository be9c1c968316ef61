//! What values are compared with: the reading before, or a saved one.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use weir_stats::{Entry, Kind, Pair, Value};

use crate::saved::Saved;
use crate::sparse::Sparse;

/// What all values of a pass are compared with.
#[derive(Debug, Default)]
pub enum Baseline {
    /// Nothing: values are shown as they are.
    #[default]
    None,
    /// A saved snapshot, of this writer.
    Saved(Saved),
    /// The reading before.
    Last(HashMap<String, Past>),
}

/// What an entry held.
#[derive(Debug)]
pub struct Past {
    /// When it was read.
    at: Option<Instant>,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Whole(Value),
    Counts(Sparse),
    /// Packets and bytes in turns.
    Pairs(Sparse),
}

impl Past {
    /// A saved value.
    pub fn saved(value: Value) -> Past {
        Past { at: None, held: Held::Whole(value) }
    }

    /// A saved vector, of which nothing is known yet, that will be compared in parts of so many columns.
    pub fn saved_vector(kind: Kind, part: usize) -> Past {
        Past { at: None, ..Past::vector(kind, part) }
    }

    /// A value that is being read.
    pub fn now(value: Value) -> Past {
        Past { at: Some(Instant::now()), held: Held::Whole(value) }
    }

    /// A vector that is about to be read in parts of so many columns.
    pub fn vector(kind: Kind, part: usize) -> Past {
        let held = match kind {
            Kind::Combined => Held::Pairs(Sparse::new(2 * part)),
            _ => Held::Counts(Sparse::new(part)),
        };
        Past { at: Some(Instant::now()), held }
    }

    /// The time from that reading to this one.
    pub fn elapsed(&self, later: &Past) -> Option<Duration> {
        Some(later.at?.duration_since(self.at?))
    }

    /// Its value, unless it is one of a vector.
    pub fn value(&self) -> Option<&Value> {
        match &self.held {
            Held::Whole(value) => Some(value),
            Held::Counts(_) | Held::Pairs(_) => None,
        }
    }

    /// Some columns of a row: a vector of that row.
    pub fn part(&self, row: usize, columns: &Range<usize>) -> Option<Value> {
        match &self.held {
            Held::Whole(_) => None,
            Held::Counts(counts) => Some(Value::Simple(vec![counts.get(row, columns.clone())])),
            Held::Pairs(pairs) => {
                let words = pairs.get(row, 2 * columns.start..2 * columns.end);
                let (pairs, _) = words.as_chunks();
                Some(Value::Combined(vec![
                    pairs.iter().map(|&[packets, bytes]| Pair { packets, bytes }).collect(),
                ]))
            }
        }
    }

    /// Takes one counter of a vector.
    pub fn count(&mut self, row: usize, column: usize, count: u64) {
        if let Held::Counts(counts) = &mut self.held {
            counts.put(row, column, &[count]);
        }
    }

    /// There is nothing more to be taken for now.
    pub fn close(&mut self) {
        match &mut self.held {
            Held::Whole(_) => {}
            Held::Counts(counts) | Held::Pairs(counts) => counts.close(),
        }
    }

    /// Takes a row's columns from one on.
    pub fn put(&mut self, row: usize, first: usize, part: &Value) {
        match (&mut self.held, part) {
            (Held::Counts(counts), Value::Simple(rows)) => {
                rows.iter().for_each(|part| counts.put(row, first, part));
            }
            (Held::Pairs(pairs), Value::Combined(rows)) => {
                for part in rows {
                    let words: Vec<u64> = part.iter().flat_map(|pair| [pair.packets, pair.bytes]).collect();
                    pairs.put(row, 2 * first, &words);
                }
            }
            _ => {}
        }
    }
}

impl Baseline {
    /// What an entry held.
    pub fn past(&self, entry: &Entry) -> Option<&Past> {
        match self {
            Baseline::None => None,
            Baseline::Saved(saved) => saved.past(&entry.name),
            Baseline::Last(entries) => entries.get(&entry.name),
        }
    }

    /// Whether the past is that of the sums of all threads.
    pub fn is_of_sums(&self) -> bool {
        matches!(self, Baseline::Saved(saved) if saved.is_of_sums())
    }

    /// Whether a counter's line says how much it grew in a second.
    pub fn is_rate(&self) -> bool {
        matches!(self, Baseline::Last(_))
    }

    /// Keeps what an entry holds for the next pass, if that will be compared with this one.
    pub fn keep(&mut self, entry: &Entry, mut now: Past) {
        now.close();
        if let Baseline::Last(entries) = self {
            entries.insert(entry.name.clone(), now);
        }
    }
}

#[cfg(test)]
impl Baseline {
    /// Makes the reading before so much older.
    pub fn age(&mut self, by: Duration) {
        if let Baseline::Last(entries) = self {
            entries.values_mut().for_each(|past| past.at = past.at.and_then(|at| at.checked_sub(by)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_as_they_were_put_in() {
        let mut past = Past::vector(Kind::Simple, 2);
        past.put(1, 10, &Value::Simple(vec![vec![1, 2, 3]]));
        assert_eq!(past.part(1, &(11..14)), Some(Value::Simple(vec![vec![2, 3, 0]])));
        assert_eq!(past.part(0, &(10..12)), Some(Value::Simple(vec![vec![0; 2]])));
        let mut past = Past::vector(Kind::Combined, 2);
        let pair = |packets, bytes| Pair { packets, bytes };
        past.put(0, 1, &Value::Combined(vec![vec![pair(1, 60), pair(2, 120)]]));
        assert_eq!(past.part(0, &(2..4)), Some(Value::Combined(vec![vec![pair(2, 120), pair(0, 0)]])));
    }
}
