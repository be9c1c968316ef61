//! The FIB: longest-prefix match for the packet path, of IPv4 and of IPv6.
//!
//! DIR-24-8 (Gupta, Lin, McKeown: "Routing Lookups in Hardware at Memory Access Speeds", 1998), with more levels for longer addresses. One
//! access to memory answers for every prefix of up to 24 bits; each eight bits more may take another. One writer, [`FibWriter`]; any number of
//! wait-free readers, [`Fib`].
//!
//! ```text
//!  destination  a . b . c . d
//!               └───┬───┘   └──────────────┐
//!  first table      ▼   2^24 words         │        extension blocks, 256 words each, for what is longer than /24
//!  ┌──────┬───────────────────────┐        │        ┌──────┬───────────────────────────┐
//!  │ ...  │ leaf, empty, or block ├────────┴──────► │ ...  │ leaf or empty             │
//!  └──────┴───────────────────────┘                 │      │ (IPv6: block, lone prefix)│
//!   empty (0): the default route's leaf,            └──────┴───────────────────────────┘
//!   which is a word of its own
//!
//!  a leaf:   bit 63   bits 55..63       bits 30..55                          bits 0..30
//!            0        prefix length     adjacency, or multipath group        route index
//!  a block:  1, 0     bits 56..61: depth / 8       bits 32..56: gate         block number
//!  a prefix: 1, 1     –                            bits 32..56: gate         –
//! ```
//! IPv6's prefixes lie far apart, so its table leaves levels out where nothing branches: a word then leads to a block that lies deeper, or to a
//! prefix that is alone there. Before that stands a *gate*: the bits that the address must have to go on, and the leaf that it gets if it has others.
//! A /56 among a provider's others takes four accesses, of which one or two are not to the cache; 64 bytes where it is alone, else its share of a block.
//!
//! The prefix length in a leaf is the writer's: a new prefix overwrites, in its range, what is not longer than itself, and when it goes,
//! what it had written gets the next shorter prefix's leaf.
//!
//! # What a reader may find while the writer works
//! Every change of the table is a sequence of stores of single words, each of which takes a set of addresses from the old longest match to
//! the new one. A lookup answers with the longest match of some moment between its begin and its end: never a hole between the two.
//! * A new block is filled with what its range had before, then published (release), then written to. A block that holds nothing longer
//!   any more is replaced by its leaf, and stays as it was until every reader has passed a quiescent point.
//! * A gate belongs to one place of the tables for its life. Where a level comes between, what lies behind gets another gate: a reader may still be at
//!   the old one, whose leaf is for more addresses than the new one's.
//! * Groups and route indices are reused after the same wait, so a leaf that a reader holds never comes to mean something else.
//! * The default route is held apart, so setting it is one store instead of 2^24. A lookup that finds an empty word looks before *and*
//!   after whether the default has changed meanwhile; if it has, it starts again. Otherwise a route that comes just before the default goes
//!   (or the other way round) could be missed between the two reads.
//!
//! A reader that forgets its quiescent points gets wrong answers at worst; the memory is never unmapped while a [`Fib`] lives.
//!
//! # Memory
//! 128 MiB of address space for the first table, 2 KiB for each block (of IPv4: each /24 with longer prefixes), as much again for the writer's
//! books; only what is written to takes memory (in huge pages for the readers' tables).

mod address;
mod blocks;
mod groups;
mod memory;
mod prefix;
mod rib;
mod trail;
mod words;
mod writer;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::adjacency::AdjacencyIndex;
use groups::{Buckets, Target};
use memory::Zeroed;
pub(crate) use memory::prefetch;
use words::{EXTENDED, Gates, Pointer};

pub use address::Address;
pub use groups::MAX_BUCKETS;
pub use prefix::{Prefix, Prefix4, Prefix6, PrefixError};
pub use writer::{FibLimits, FibWriter, Route};

/// Number of a route, dense from 1, for its counters. It is the route's as long as the route exists, and nobody else's until every
/// reader has passed a quiescent point after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteIndex(u32);

impl RouteIndex {
    /// No route: where packets without one are counted.
    pub const NONE: Self = Self(0);

    /// The number.
    #[inline]
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// One of a route's next hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Where to.
    pub adjacency: AdjacencyIndex,
    /// Its share of the flows, relative to the other next hops' weights; not 0.
    pub weight: u32,
}

impl From<AdjacencyIndex> for NextHop {
    /// With weight 1.
    fn from(adjacency: AdjacencyIndex) -> Self {
        Self { adjacency, weight: 1 }
    }
}

/// Which table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Routes, `FibLimits::routes`.
    Routes,
    /// Blocks and gates of what is longer than /24, `FibLimits::extension_blocks`.
    ExtensionBlocks,
    /// Different sets of next hops, `FibLimits::groups`.
    Groups,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routes => "routes",
            Self::ExtensionBlocks => "extension_blocks",
            Self::Groups => "groups",
        })
    }
}

/// Why a FIB could not be made, or a route not be inserted. The FIB is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum FibError {
    /// A route without a next hop.
    #[error("a route needs a next hop: use one of the well-known adjacencies to drop its packets")]
    NoNextHops,
    /// More next hops than a group has buckets.
    #[error("{count} next hops are more than the {MAX_BUCKETS} that one route can have: leave some out")]
    TooManyNextHops {
        /// How many different ones there were.
        count: usize,
    },
    /// A share of nothing.
    #[error("the next hop with adjacency {} has weight 0: give it a weight of at least 1, or leave it out", adjacency.as_u32())]
    ZeroWeight {
        /// The next hop's adjacency.
        adjacency: AdjacencyIndex,
    },
    /// A table is full, even after reclaiming what no reader holds any more.
    #[error(
        "the FIB is full: all {limit} of its `{table}` are in use; raise the limit `{table}` and restart"
    )]
    Full {
        /// Which one.
        table: Table,
        /// Its limit.
        limit: u32,
    },
    /// The kernel refused address space.
    #[error(
        "no address space for the FIB's tables: lower its limits, or raise `ulimit -v` and `vm.overcommit_memory`'s limit"
    )]
    Memory(#[from] io::Error),
}

/// What a lookup finds: a route, and where it leads. Equal leaves are the same route with the same next hops.
/// The default is [`Self::NONE`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Leaf(u64);

impl Leaf {
    /// No route: [`RouteIndex::NONE`] and [`AdjacencyIndex::UNREACHABLE`].
    pub const NONE: Self = Self(0);

    const LENGTH_SHIFT: u32 = 55;
    const TARGET_SHIFT: u32 = 30;
    /// The highest index that there is room for.
    const MAX_ROUTE: u32 = (1 << Self::TARGET_SHIFT) - 1;

    const fn new(route: RouteIndex, target: Target, length: u8) -> Self {
        let length = (length as u64) << Self::LENGTH_SHIFT;
        Self(length | (target.0 as u64) << Self::TARGET_SHIFT | route.0 as u64)
    }

    /// The route's index, for its counters: [`RouteIndex::as_u32`].
    #[inline]
    pub const fn route(self) -> u32 {
        self.0 as u32 & Self::MAX_ROUTE
    }

    /// Whether there are several next hops, of which [`Fib::resolve`] chooses one.
    #[inline]
    pub const fn is_multipath(self) -> bool {
        self.0 >> Self::TARGET_SHIFT & Target::MULTIPATH as u64 != 0
    }

    /// The one next hop. Without meaning where [`Self::is_multipath`]: [`Fib::resolve`] those.
    #[inline]
    pub const fn adjacency(self) -> AdjacencyIndex {
        AdjacencyIndex::from_low_bits(self.target().0)
    }

    /// The matching prefix's length.
    #[inline]
    pub const fn prefix_length(self) -> u8 {
        (self.0 >> Self::LENGTH_SHIFT) as u8
    }

    #[inline]
    const fn target(self) -> Target {
        Target((self.0 >> Self::TARGET_SHIFT) as u32 & 0x1ff_ffff)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("route", &self.route())
            .field("multipath", &self.is_multipath())
            .field("adjacency", &self.adjacency().as_u32())
            .field("prefix_length", &self.prefix_length())
            .finish()
    }
}

/// The readers' side. Clones read the same tables.
pub struct Fib<A: Address = u32>(Arc<Tables<A>>);

impl<A: Address> Clone for Fib<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What readers read and the writer writes.
struct Tables<A> {
    /// Alone on its lines: every reader reads it all the time.
    default: DefaultLeaf,
    first: Zeroed<AtomicU64>,
    blocks: Zeroed<AtomicU64>,
    gates: Gates,
    buckets: Buckets,
    of: PhantomData<A>,
}

/// The default route's leaf, and how often it has changed: equal values at two moments would not say that it was the same in between.
#[repr(align(128))]
struct DefaultLeaf {
    word: AtomicU64,
    /// Moves after `word`, and before any later change of the tables.
    changes: AtomicU64,
}

/// Words of the first table: one for each /24.
const FIRST_TABLE: usize = 1 << 24;
/// Words of an extension block: one for each value of its eight bits.
const BLOCK: usize = 1 << 8;
/// No prefix but the default one.
const EMPTY: u64 = 0;

/// How often a lookup starts again because the default route changed meanwhile; after that the newest default is the answer. It bounds the
/// lookup's time. The control thread would have to change the default route once per lookup, this many times in a row.
const ATTEMPTS: usize = 8;

impl<A: Address> Fib<A> {
    /// Begins to fetch what [`Self::lookup`] of `destination` (host byte order) will read first.
    #[inline]
    pub fn prefetch(&self, destination: A) {
        if let Some(word) = self.0.first.get(destination.first()) {
            prefetch(word);
        }
    }

    /// The longest match for `destination` (host byte order), [`Leaf::NONE`] if there is none.
    #[inline]
    pub fn lookup(&self, destination: A) -> Leaf {
        let tables = &*self.0;
        for _ in 0..ATTEMPTS {
            let changes = tables.default.changes.load(Acquire);
            let default = tables.default.word.load(Acquire);
            let word = tables.word(destination);
            if word != EMPTY {
                return Leaf(word);
            }
            if tables.default.changes.load(Acquire) == changes {
                return Leaf(default);
            }
        }
        Leaf(tables.default.word.load(Acquire))
    }

    /// [`Self::lookup`] of every destination (host byte order) into the leaf with the same number; stops at the end of the shorter slice.
    /// Faster than one by one, and than [`Self::prefetch`] first: the processor overlaps the reads by itself. Measured (`benches/fib.rs`'s
    /// tables, minimum on a shared Zen machine, time-stamp clocks a lookup, one by one and this): 28 and 21 with 500,000 random /24, 38 and
    /// 30 with a million prefixes of all lengths.
    #[inline]
    pub fn lookup_many(&self, destinations: &[A], leaves: &mut [Leaf]) {
        let tables = &*self.0;
        let changes = tables.default.changes.load(Acquire);
        let default = tables.default.word.load(Acquire);
        for (destination, leaf) in destinations.iter().zip(leaves.iter_mut()) {
            let word = tables.word(*destination);
            *leaf = Leaf(if word == EMPTY { default } else { word });
        }
        if tables.default.changes.load(Acquire) != changes {
            self.lookup_each(destinations, leaves);
        }
    }

    /// As [`Self::lookup_many`], for addresses of which some match prefixes longer than /24 and others do not, in no order that could be foreseen: it
    /// goes level by level over all of them, and takes no branch that depends on where a lookup ends. IPv4's two levels are one pass.
    #[inline]
    pub fn lookup_mixed(&self, destinations: &[A], leaves: &mut [Leaf]) {
        let tables = &*self.0;
        let changes = tables.default.changes.load(Acquire);
        let default = tables.default.word.load(Acquire);
        if A::SPARSE {
            tables.level_by_level(destinations, leaves);
            for leaf in leaves.iter_mut().take(destinations.len()) {
                *leaf = Leaf(if leaf.0 == EMPTY { default } else { leaf.0 });
            }
        } else {
            for (destination, leaf) in destinations.iter().zip(leaves.iter_mut()) {
                let word = tables.word_without_branch(*destination);
                *leaf = Leaf(if word == EMPTY { default } else { word });
            }
        }
        if tables.default.changes.load(Acquire) != changes {
            self.lookup_each(destinations, leaves);
        }
    }

    /// While the default route changes, many lookups at once would hardly ever see it stand still.
    #[cold]
    fn lookup_each(&self, destinations: &[A], leaves: &mut [Leaf]) {
        for (destination, leaf) in destinations.iter().zip(leaves) {
            *leaf = self.lookup(*destination);
        }
    }

    /// The next hop of `leaf` for a flow. The hash's low eight bits choose among several next hops; with one it is ignored.
    #[inline]
    pub fn resolve(&self, leaf: Leaf, flow_hash: u32) -> AdjacencyIndex {
        if !leaf.is_multipath() {
            return leaf.adjacency();
        }
        match self.0.buckets.get(leaf.target().bucket(flow_hash)) {
            // Relaxed: the leaf was published after the buckets were filled.
            Some(bucket) => AdjacencyIndex::from_low_bits(bucket.load(Relaxed)),
            None => AdjacencyIndex::UNREACHABLE,
        }
    }
}

impl<A: Address> fmt::Debug for Fib<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Leaf(self.0.default.word.load(Acquire));
        f.debug_struct("Fib").field("default", &default).finish_non_exhaustive()
    }
}

impl<A: Address> Tables<A> {
    /// The leaf's word for `destination`, or [`EMPTY`].
    #[inline(always)]
    fn word(&self, destination: A) -> u64 {
        let mut word = self.first_word(destination);
        // More levels than these only a reader finds that has forgotten its quiescent points.
        for _ in 0..A::LEVELS {
            match Pointer::of(word) {
                None => break,
                Some(pointer) => word = self.behind(pointer, destination),
            }
        }
        word
    }

    #[inline(always)]
    fn first_word(&self, destination: A) -> u64 {
        self.first.get(destination.first()).map_or(EMPTY, |word| word.load(Acquire))
    }

    /// What `destination` finds where a word leads.
    #[inline(always)]
    fn behind(&self, pointer: Pointer, destination: A) -> u64 {
        if A::SPARSE
            && let Some(gate) = self.gates.get(pointer.gate())
        {
            if pointer.is_lone() {
                return gate.lone(destination.high());
            }
            if !gate.holds(destination.high()) {
                return gate.outside().load(Acquire);
            }
        }
        let place = (pointer.block() as usize) << 8 | destination.byte(u32::from(pointer.depth()));
        self.blocks.get(place).map_or(EMPTY, |word| word.load(Acquire))
    }

    /// Begins to fetch what [`Self::behind`] will read.
    #[inline(always)]
    fn prefetch_behind(&self, pointer: Pointer, destination: A) {
        if let Some(gate) = self.gates.get(pointer.gate()) {
            prefetch(gate.outside());
        }
        let place = (pointer.block() as usize) << 8 | destination.byte(u32::from(pointer.depth()));
        if !pointer.is_lone()
            && let Some(word) = self.blocks.get(place)
        {
            prefetch(word);
        }
    }

    /// [`Self::word`] of every destination: all of a level's reads before those of the next.
    #[inline(always)]
    fn level_by_level(&self, destinations: &[A], leaves: &mut [Leaf]) {
        for (destination, leaf) in destinations.iter().zip(leaves.iter_mut()) {
            leaf.0 = self.first_word(*destination);
        }
        for _ in 0..A::LEVELS {
            // All of a level is on its way before any of it is waited for: the processor looks ahead over a few addresses only.
            for (destination, leaf) in destinations.iter().zip(leaves.iter()) {
                if let Some(pointer) = Pointer::of(leaf.0) {
                    self.prefetch_behind(pointer, *destination);
                }
            }
            let mut words = 0;
            for (destination, leaf) in destinations.iter().zip(leaves.iter_mut()) {
                if let Some(pointer) = Pointer::of(leaf.0) {
                    leaf.0 = self.behind(pointer, *destination);
                }
                words |= leaf.0;
            }
            if words & EXTENDED == 0 {
                break;
            }
        }
    }

    /// The same as [`Self::word`] of addresses with one level of blocks, by masks: where no block is meant, the first word of all blocks is read, which is
    /// in the cache then.
    #[inline(always)]
    fn word_without_branch(&self, destination: A) -> u64 {
        let word = self.first_word(destination);
        // EXTENDED is the sign.
        let extended = (word.cast_signed() >> 63).cast_unsigned();
        let place = (u64::from(word as u32) << 8 | destination.byte(0) as u64) & extended;
        let inner = self.blocks.get(place as usize).map_or(EMPTY, |word| word.load(Acquire));
        inner & extended | word & !extended
    }
}
