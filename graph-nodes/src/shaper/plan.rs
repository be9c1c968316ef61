//! What is to be: the words in which the control thread tells a worker's shaper about rates, nodes and leaves.
//!
//! ```text
//!   TreeNode 0 ── the link
//!    ├─ TreeNode 2 ── a tower
//!    │   ├─ Leaf 0 ── a customer
//!    │   └─ Leaf 2
//!    └─ Leaf 4
//! ```
//! The two directions are trees of their own: node and leaf numbers are even towards the customers and odd from them, so that a customer's column *c*
//! has the leaves 2*c* and 2*c* + 1.

use super::{Discipline, Leaf, Overhead};

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Direction {
    /// To the customer.
    Down,
    /// From the customer.
    Up,
}

/// A node of the tree above the leaves, in one direction: a number below the most that there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeNode(pub u32);

impl Leaf {
    /// The leaf of the customer in this column.
    #[inline(always)]
    pub const fn of(column: u32, direction: Direction) -> Leaf {
        Leaf(column * 2 + direction as u32)
    }

    /// The customer's column.
    #[inline(always)]
    pub const fn column(self) -> u32 {
        self.0 / 2
    }
}

impl TreeNode {
    /// The node with this column.
    pub const fn of(column: u32, direction: Direction) -> TreeNode {
        TreeNode(column * 2 + direction as u32)
    }
}

/// What a node or leaf may send, in bits a second, counted with overhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Guaranteed, whatever its siblings want; at most `max`. The guarantees of a node's children are together at most the node's `max`.
    pub min: u64,
    /// The ceiling; never exceeded by more than one packet.
    pub max: u64,
    /// Its part, against its siblings', of what is left when all guarantees are met. At least 1.
    pub weight: u32,
}

/// A change. Parents come before their children, and go after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new node, or new rates or another parent for one that is there.
    Node {
        /// Which.
        node: TreeNode,
        /// Above it; `None`: it is a root.
        parent: Option<TreeNode>,
        /// What it may send.
        rates: Rates,
    },
    /// A node goes; nothing is below it any more.
    RemoveNode(TreeNode),
    /// A new leaf, or new rates, another parent or another discipline for one that is there; what is queued stays.
    Leaf {
        /// Which.
        leaf: Leaf,
        /// Above it.
        parent: TreeNode,
        /// What it may send.
        rates: Rates,
        /// Its number in the list of disciplines.
        discipline: u8,
        /// Its number in the list of overheads.
        overhead: u8,
    },
    /// A leaf goes, with what is queued.
    RemoveLeaf(Leaf),
}

/// What a worker is to carry out: the lists first, then the operations in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Orders {
    /// All disciplines by number. A number that a leaf has keeps its meaning.
    pub disciplines: Vec<Discipline>,
    /// All overheads by number; the first is what nodes count.
    pub overheads: Vec<Overhead>,
    /// Changes of the tree.
    pub operations: Vec<Operation>,
}
