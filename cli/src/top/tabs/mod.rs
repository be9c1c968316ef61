//! The views, one file each. A new one is a file, and a line in [`all`].

mod customers;
mod drops;
mod nodes;
pub mod ports;
mod tree;
mod workers;

use std::time::Instant;

use weir_stats::Reader;

use crate::shaper::tree::Item;

use super::reading::{Count, Reading};
use super::table::{Cell, Table};

/// A view: a table made of some entries of the segment.
pub trait Tab: Send {
    /// What it is called.
    fn title(&self) -> &'static str;

    /// Whether it reads an entry. What only serves to be seen now is not wanted while the view is not visible; what curves
    /// are made of, and what tells whether the view is there, always is.
    fn wants(&self, path: &str, visible: bool) -> bool;

    /// Whether the segment has what the view needs. It is not offered otherwise.
    fn is_there(&self, reading: &Reading) -> bool;

    /// Reads by itself what is too large to be wanted as a whole, while the view is visible. It is now.
    fn read(&mut self, _reader: &Reader, _now: Instant) {}

    /// Whether lines can be chosen, and folded.
    fn folds(&self) -> bool {
        false
    }

    /// Folds or unfolds what a line is about.
    fn fold(&mut self, _item: Item) {}

    /// Remembers what its curves will need.
    fn remember(&mut self, _reading: &Reading) {}

    /// The table, its rows in the order that is best to begin with.
    fn table(&self, reading: &Reading, shown: Shown) -> Table;
}

/// What the user wants to see, whatever the view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Counters since weir's start, instead of what they are a second.
    pub totals: bool,
    /// A line for each thread, instead of their sum.
    pub threads: bool,
}

/// All views, in the order of their keys.
pub fn all() -> Vec<Box<dyn Tab>> {
    vec![
        Box::new(ports::Ports::new()),
        Box::new(nodes::Nodes),
        Box::new(drops::Drops::new()),
        Box::new(workers::Workers),
        Box::new(customers::Customers::new()),
        Box::new(tree::Tree::new()),
    ]
}

impl Shown {
    /// A counter's cell.
    fn cell(self, count: Count) -> Cell {
        if self.totals { Cell::Count(count.total) } else { Cell::Quantity(count.rate()) }
    }

    /// One of two titles.
    fn title(self, rate: &'static str, total: &'static str) -> &'static str {
        if self.totals { total } else { rate }
    }

    /// What was counted in the time that is shown: the last interval, or since the start.
    fn counted(self, count: Count) -> Option<u64> {
        if self.totals { Some(count.total) } else { count.change }
    }

    /// A mean over the time that is shown.
    fn mean(self, of: Count, per: Count) -> Cell {
        let (of, per) = (self.counted(of), self.counted(per));
        Cell::Quantity(of.zip(per).and_then(|(of, per)| (per > 0).then(|| of as f64 / per as f64)))
    }
}
