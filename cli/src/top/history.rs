//! What a rate was in the last minutes.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// What one cell of a curve covers. Shorter shows less of the past in the few cells that are there, longer hides bursts.
pub const CELL: Duration = Duration::from_secs(5);

/// Cells that are kept: five minutes, as many as are ever drawn.
const CELLS: usize = 60;

/// A rate over time.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was counted, and in how many seconds, the oldest first. Readings that are further apart than [`CELL`] have a
    /// cell each.
    cells: VecDeque<(f64, f64)>,
}

impl History {
    /// So much was counted in so many seconds.
    pub fn add(&mut self, count: f64, seconds: f64) {
        match self.cells.back_mut() {
            Some(cell) if cell.1 < CELL.as_secs_f64() => *cell = (cell.0 + count, cell.1 + seconds),
            _ => self.cells.push_back((count, seconds)),
        }
        if self.cells.len() > CELLS {
            self.cells.pop_front();
        }
    }

    /// The rates, the oldest first.
    pub fn rates(&self) -> Vec<f64> {
        self.cells.iter().map(|(count, seconds)| if *seconds > 0.0 { count / seconds } else { 0.0 }).collect()
    }
}

/// The histories of objects that come and go.
#[derive(Debug)]
pub struct Histories<K>(HashMap<K, History>);

impl<K: Eq + Hash> Histories<K> {
    /// None yet.
    pub fn new() -> Histories<K> {
        Histories(HashMap::new())
    }

    /// Goes on with all objects that are there now, and forgets the others.
    pub fn add(&mut self, now: impl Iterator<Item = (K, f64)>, seconds: f64) {
        let mut before = std::mem::take(&mut self.0);
        self.0.extend(now.map(|(key, count)| {
            let mut history = before.remove(&key).unwrap_or_default();
            history.add(count, seconds);
            (key, history)
        }));
    }

    /// One object's rates, the oldest first.
    pub fn rates(&self, key: &K) -> Vec<f64> {
        self.0.get(key).map(History::rates).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_a_mean() {
        let mut history = History::default();
        for count in [10.0, 0.0, 20.0, 0.0, 20.0, 7.0] {
            history.add(count, 1.0);
        }
        assert_eq!(history.rates(), [10.0, 7.0]);
        history.add(0.0, 60.0);
        assert_eq!(history.rates(), [10.0, 7.0 / 61.0]);
    }

    #[test]
    fn the_past_is_bounded() {
        let mut history = History::default();
        (0..10_000).for_each(|_| history.add(1.0, 100.0));
        assert_eq!(history.rates().len(), CELLS);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut histories = Histories::new();
        histories.add([("a", 5.0), ("b", 10.0)].into_iter(), 5.0);
        histories.add([("b", 5.0)].into_iter(), 5.0);
        assert_eq!((histories.rates(&"a"), histories.rates(&"b")), (vec![], vec![2.0, 1.0]));
    }
}
