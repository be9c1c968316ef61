//! What was read at one moment, and what has been counted since the moment before.

use std::collections::HashMap;
use std::sync::Arc;

use weir_stats::{Change, Pair, Snapshot, Value};

/// Values by path.
#[derive(Debug)]
pub struct Reading {
    now: Arc<Snapshot>,
    /// Has an entry for each one of `now`, at the same place.
    change: Option<Change>,
    /// Places by path, and whether the reading before had the entry as well: of one that was not read then, it is not known
    /// when it was counted.
    places: HashMap<String, (usize, bool)>,
}

/// A vector of counters, now and what was added to it.
#[derive(Clone, Copy, Debug)]
pub struct Counters<'r> {
    now: &'r Value,
    change: Option<&'r Value>,
    elapsed: Option<f64>,
}

/// Whose counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Those of all threads, added up.
    All,
    /// One thread's.
    Thread(usize),
}

/// A counter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// Since weir's start.
    pub total: u64,
    /// Since the moment before; `None` if there was none.
    pub change: Option<u64>,
    elapsed: Option<f64>,
}

impl Count {
    /// Per second.
    pub fn rate(self) -> Option<f64> {
        match (self.change, self.elapsed) {
            (Some(change), Some(elapsed)) if elapsed > 0.0 => Some(change as f64 / elapsed),
            _ => None,
        }
    }

    /// Both counters as one.
    pub fn plus(self, other: Count) -> Count {
        Count {
            total: self.total.saturating_add(other.total),
            change: self.change.zip(other.change).map(|(a, b)| a.saturating_add(b)),
            elapsed: self.elapsed.and(other.elapsed),
        }
    }
}

impl Who {
    /// As a column names it. Row 0 is the main thread's.
    pub fn name(self) -> String {
        match self {
            Who::All => "all".to_owned(),
            Who::Thread(0) => "main".to_owned(),
            Who::Thread(thread) => (thread - 1).to_string(),
        }
    }

    /// The rows that belong to them.
    fn of<T>(self, rows: &[Vec<T>]) -> &[Vec<T>] {
        match self {
            Who::All => rows,
            Who::Thread(thread) => rows.get(thread..=thread).unwrap_or_default(),
        }
    }
}

impl Reading {
    /// What was read now, and before.
    pub fn new(now: Arc<Snapshot>, change: Option<Change>, before: Option<&Reading>) -> Reading {
        let places = now.values.iter().enumerate().map(|(place, (entry, _))| {
            let known = before.is_some_and(|before| before.places.contains_key(&entry.name));
            (entry.name.clone(), (place, known))
        });
        Reading { places: places.collect(), now, change }
    }

    /// Seconds since the reading before; `None` if there was none.
    pub fn elapsed(&self) -> Option<f64> {
        self.change.as_ref().map(|change| change.elapsed.as_secs_f64())
    }

    /// Whether there is an entry.
    pub fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// A list of names; empty if there is none.
    pub fn names(&self, path: &str) -> &[String] {
        match self.value(path) {
            Some((Value::Names(names), _)) => names,
            _ => &[],
        }
    }

    /// A scalar or gauge.
    pub fn number(&self, path: &str) -> Option<u64> {
        match self.value(path)?.0 {
            Value::Scalar(number) | Value::Gauge(number) => Some(*number),
            _ => None,
        }
    }

    /// A vector of counters, or the column of one that a symlink leads to.
    pub fn counters(&self, path: &str) -> Option<Counters<'_>> {
        let (now, change) = self.value(path)?;
        let (now, change) = (linked(now), change.map(linked));
        let counters = Counters { now, change, elapsed: self.elapsed() };
        matches!(now, Value::Simple(_) | Value::Combined(_)).then_some(counters)
    }

    /// One counter of all threads; 0 if it is not there.
    pub fn count(&self, path: &str, who: Who, column: usize) -> Count {
        self.counters(path).map(|counters| counters.count(who, column)).unwrap_or_default()
    }

    /// Packets and bytes of all threads; 0 if they are not there.
    pub fn pair(&self, path: &str, who: Who, column: usize) -> [Count; 2] {
        self.counters(path).map(|counters| counters.pair(who, column)).unwrap_or_default()
    }

    /// The paths that begin with a prefix, with what comes behind it, in the order of registration.
    pub fn below<'r>(&'r self, prefix: &'r str) -> impl Iterator<Item = (&'r str, &'r str)> {
        self.now
            .values
            .iter()
            .filter_map(move |(entry, _)| Some((&*entry.name, entry.name.strip_prefix(prefix)?)))
    }

    /// What is there, and what was added.
    fn value(&self, path: &str) -> Option<(&Value, Option<&Value>)> {
        let (place, known) = *self.places.get(path)?;
        let change =
            self.change.as_ref().filter(|_| known).and_then(|change| change.values.values.get(place));
        Some((&self.now.values.get(place)?.1, change.map(|(_, value)| value)))
    }
}

impl Counters<'_> {
    /// How many threads count in it.
    pub fn threads(&self) -> usize {
        match self.now {
            Value::Simple(rows) => rows.len(),
            Value::Combined(rows) => rows.len(),
            _ => 0,
        }
    }

    /// How many objects it counts for.
    pub fn columns(&self) -> usize {
        match self.now {
            Value::Simple(rows) => rows.first().map_or(0, Vec::len),
            Value::Combined(rows) => rows.first().map_or(0, Vec::len),
            _ => 0,
        }
    }

    /// All threads together, or each by itself.
    pub fn who(&self, each: bool) -> Vec<Who> {
        if each { (0..self.threads()).map(Who::Thread).collect() } else { vec![Who::All] }
    }

    /// One counter.
    pub fn count(&self, who: Who, column: usize) -> Count {
        let sum = |value: &Value| match value {
            Value::Simple(rows) => sum(who, rows, column, |count| *count),
            Value::Combined(rows) => sum(who, rows, column, |pair| pair.packets),
            _ => 0,
        };
        self.both(sum)
    }

    /// Packets and bytes.
    pub fn pair(&self, who: Who, column: usize) -> [Count; 2] {
        let each = |of: fn(&Pair) -> u64| {
            self.both(move |value| match value {
                Value::Combined(rows) => sum(who, rows, column, of),
                _ => 0,
            })
        };
        [each(|pair| pair.packets), each(|pair| pair.bytes)]
    }

    fn both(&self, sum: impl Fn(&Value) -> u64) -> Count {
        Count { total: sum(self.now), change: self.change.map(&sum), elapsed: self.elapsed }
    }
}

fn sum<T>(who: Who, rows: &[Vec<T>], column: usize, of: impl Fn(&T) -> u64) -> u64 {
    who.of(rows).iter().filter_map(|row| row.get(column)).fold(0, |sum, cell| sum.saturating_add(of(cell)))
}

fn linked(value: &Value) -> &Value {
    if let Value::Symlink { value, .. } = value { value } else { value }
}
