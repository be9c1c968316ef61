//! What values are compared with: the reading before, or a saved one.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use weir_stats::{Entry, Value};

use crate::saved::Saved;

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
    /// The first column that was.
    first: usize,
    value: Value,
}

impl Past {
    /// What was saved.
    pub fn saved(value: Value) -> Past {
        Past { at: None, first: 0, value }
    }

    /// An entry that is about to be read from a column on.
    pub fn now(first: usize) -> Past {
        Past { at: Some(Instant::now()), first, value: Value::Scalar(0) }
    }

    /// The time from that reading to this one.
    pub fn elapsed(&self, later: &Past) -> Option<Duration> {
        Some(later.at?.duration_since(self.at?))
    }

    /// The whole value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Takes the whole value.
    pub fn set(&mut self, value: Value) {
        self.value = value;
    }

    /// Some columns of a row: a vector of that row.
    pub fn part(&self, row: usize, columns: &Range<usize>) -> Option<Value> {
        fn cut<T: Clone>(rows: &[Vec<T>], row: usize, columns: Range<usize>) -> Option<Vec<Vec<T>>> {
            let row = rows.get(row)?;
            let end = columns.end.min(row.len());
            Some(vec![row[columns.start.min(end)..end].to_vec()])
        }
        let columns = columns.start.checked_sub(self.first)?..columns.end.checked_sub(self.first)?;
        match &self.value {
            Value::Simple(rows) => Some(Value::Simple(cut(rows, row, columns)?)),
            Value::Combined(rows) => Some(Value::Combined(cut(rows, row, columns)?)),
            _ => None,
        }
    }

    /// Takes the next columns of a row.
    pub fn push(&mut self, row: usize, part: &Value) {
        fn append<T: Clone>(rows: &mut Vec<Vec<T>>, row: usize, part: &[Vec<T>]) {
            rows.resize(rows.len().max(row + 1), Vec::new());
            if let (Some(to), Some(from)) = (rows.get_mut(row), part.first()) {
                to.extend_from_slice(from);
            }
        }
        match (&mut self.value, part) {
            (Value::Simple(rows), Value::Simple(part)) => append(rows, row, part),
            (Value::Combined(rows), Value::Combined(part)) => append(rows, row, part),
            (value, Value::Simple(_)) => {
                *value = Value::Simple(Vec::new());
                self.push(row, part);
            }
            (value, Value::Combined(_)) => {
                *value = Value::Combined(Vec::new());
                self.push(row, part);
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
    pub fn keep(&mut self, entry: &Entry, now: Past) {
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
        let mut past = Past::now(10);
        past.push(1, &Value::Simple(vec![vec![1, 2]]));
        past.push(1, &Value::Simple(vec![vec![3]]));
        assert_eq!(past.part(1, &(11..13)), Some(Value::Simple(vec![vec![2, 3]])));
        assert_eq!(past.part(1, &(12..20)), Some(Value::Simple(vec![vec![3]])));
        assert_eq!(past.part(0, &(10..12)), Some(Value::Simple(vec![vec![]])));
        assert_eq!((past.part(2, &(10..12)), past.part(1, &(9..12))), (None, None));
    }
}
