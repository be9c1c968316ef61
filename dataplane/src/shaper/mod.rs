//! The plan: which customers there are, what each may send, and below which nodes of the network they hang.
//!
//! ```text
//!   network.json ─────── network ─┐
//!   weir's TOML ──────── written ─┼─▶ tree ─┐                        ┌─▶ Plan ──difference──▶ Books ──▶ Operations
//!   ShapedDevices.csv ── devices ─┴─────────┴─▶ customers ─ guarantees ┼─▶ warnings: what is not wrong but will surprise
//!                                                                      └─▶ Problems: everything that is wrong, at once
//! ```
//! [`load()`] reads the files of LibreQoS (<https://libreqos.io>) and weir's own; [`difference()`] says what has changed from one plan to the next, and
//! [`Books`] in which numbers and in which order the workers are told. Pure code, no packets; of the machine only the files are asked for.

#![forbid(unsafe_code)]

mod books;
mod customers;
mod devices;
mod difference;
mod guarantees;
mod load;
mod network;
mod queueing;
mod rates;
mod report;
#[cfg(test)]
mod tests;
mod tree;
mod written;

pub use books::{Books, BooksError, Steps};
pub use difference::{Changes, Difference, difference};
pub use load::{Defaults, Inline, Loaded, Sources, load};
pub use queueing::Queueing;
pub use weir_graph::shaper::Rates;

pub(crate) use queueing::{overhead as read_overhead, read as read_queueing};
pub(crate) use rates::{DEFAULT_LINK, rate_problem, written as written_rate};
use report::Report;
use weir_graph::shaper::{Direction, Overhead};

use crate::prefixes::Prefix;

/// Most disciplines, and most overheads: their numbers are bytes.
pub const MAX_DISCIPLINES: usize = 256;

/// The customer that all addresses of no other customer make up together, if they are shaped at all.
pub const UNKNOWN: &str = "unknown";

/// What is to be shaped, and how; checked, so that it can be carried out as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The whole link, which is above all nodes.
    pub link: Both<Rates>,
    /// The nodes, every one behind the one that it hangs on; names are unique.
    pub nodes: Vec<PlanNode>,
    /// The customers, in the order of the files; ids are unique, and no prefix is of two.
    pub customers: Vec<PlanCustomer>,
    /// How packets are queued: what customers name by number; at least one, the default first.
    pub disciplines: Vec<Queueing>,
    /// What a packet counts beside its own bytes: what customers name by number; at least one, the default, which holds for nodes, first.
    pub overheads: Vec<Overhead>,
    /// Which of the customers has all addresses that no other one has; `None`: they are not shaped.
    pub unknown: Option<usize>,
}

impl Plan {
    /// The id of the customer that has all addresses that no other one has.
    pub fn unknown(&self) -> Option<&str> {
        self.unknown.and_then(|at| self.customers.get(at)).map(|customer| customer.id.as_str())
    }
}

/// The same for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Both<T> {
    /// To the customer.
    pub down: T,
    /// From the customer.
    pub up: T,
}

/// A site, a tower, an access point: what several customers share.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanNode {
    /// Its name.
    pub name: String,
    /// The node that it hangs on; `None`: the link.
    pub parent: Option<usize>,
    /// What may pass through it.
    pub rates: Both<Rates>,
    /// What it is, in the words of the file: `site`, `ap`; empty if the file does not say.
    pub kind: String,
    /// The names from the top down to its own with `/` between them, those of virtual nodes included.
    pub path: String,
}

/// A customer: one or more devices with one plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanCustomer {
    /// What tells it from all others: LibreQoS's Circuit ID.
    pub id: String,
    /// What people call it; empty if the file does not say.
    pub title: String,
    /// Its addresses.
    pub prefixes: Vec<Prefix>,
    /// The node that it hangs on; `None`: the link.
    pub node: Option<usize>,
    /// What it may send and receive.
    pub rates: Both<Rates>,
    /// How its packets are queued: a place in [`Plan::disciplines`].
    pub discipline: Both<u8>,
    /// A place in [`Plan::overheads`].
    pub overhead: u8,
}

impl<T> Both<T> {
    /// The same value in both directions.
    pub fn same(value: T) -> Both<T>
    where
        T: Copy,
    {
        Both { down: value, up: value }
    }

    /// Each direction's value changed in the same way.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> Both<U> {
        Both { down: change(self.down), up: change(self.up) }
    }
}

impl<T> std::ops::Index<Direction> for Both<T> {
    type Output = T;
    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Down => &self.down,
            Direction::Up => &self.up,
        }
    }
}

impl<T> std::ops::IndexMut<Direction> for Both<T> {
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Down => &mut self.down,
            Direction::Up => &mut self.up,
        }
    }
}

/// Both directions.
const DIRECTIONS: [Direction; 2] = [Direction::Down, Direction::Up];
