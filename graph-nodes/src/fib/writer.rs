//! The FIB's one writer: routes in, stores out. See the module above for what readers may find meanwhile.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::groups::{self, Groups, Target};
use super::memory::{Pages, Zeroed};
use super::rib::Rib;
use super::{BLOCK, DefaultLeaf, EMPTY, EXTENDED, FIRST_TABLE};
use super::{Fib, FibError, Leaf, NextHop, Prefix4, RouteIndex, Table, Tables};
use crate::quiescence::{Quiescence, Ticket};

/// How much the FIB can hold. Address space is reserved for it at the start; memory is taken as it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibLimits {
    /// Routes, and so the highest route index.
    pub routes: u32,
    /// /24 networks that hold prefixes longer than /24: 4 KiB each.
    pub extension_blocks: u32,
    /// Different sets of several next hops, at most 2^20: 1 KiB each.
    pub groups: u32,
}

impl Default for FibLimits {
    /// Four times the internet's table of 2026 (a million prefixes), and customers' /32 routes in 65,536 different /24.
    fn default() -> Self {
        Self { routes: 1 << 22, extension_blocks: 1 << 16, groups: 1 << 12 }
    }
}

/// A route as the writer has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its prefix.
    pub prefix: Prefix4,
    /// Its number, for its counters.
    pub index: RouteIndex,
    /// Its next hops by adjacency, equal ones merged, weights reduced.
    pub next_hops: Vec<NextHop>,
}

/// The control thread's side: the only writer of its FIB.
pub struct FibWriter {
    tables: Arc<Tables>,
    limits: FibLimits,
    quiescence: Quiescence,
    rib: Rib,
    groups: Groups,
    /// By route index; number 0 is nobody's.
    routes: Vec<Option<Booked>>,
    count: usize,
    free_routes: Vec<u32>,
    /// By block number: how many prefixes longer than /24 it holds.
    block_routes: Vec<u16>,
    free_blocks: Vec<u32>,
    /// Unlinked since the last ticket.
    unlinked: Vec<Unlinked>,
    /// Unlinked before a ticket. Tickets ascend.
    waiting: VecDeque<(Ticket, Vec<Unlinked>)>,
}

#[derive(Clone, Copy)]
struct Booked {
    prefix: Prefix4,
    target: Target,
}

/// What a reader may still come across, though nothing leads there any more.
enum Unlinked {
    Route(RouteIndex),
    Block(u32),
    Group(u32),
}

/// After how many unlinked things the writer looks, by itself, whether something can be reused: bounds their memory where the caller
/// changes many routes without [`FibWriter::reclaim`]. Lower costs tickets, higher memory; 8 bytes each.
const RECLAIM_AFTER: usize = 4096;

impl Fib {
    /// An empty FIB and its one writer. `quiescence` is the meeting point of all its readers.
    pub fn new(limits: FibLimits, quiescence: Quiescence) -> Result<(Self, FibWriter), FibError> {
        // One is the least that a table can be made of.
        let limits = FibLimits {
            routes: limits.routes.max(1),
            extension_blocks: limits.extension_blocks.max(1),
            groups: limits.groups.clamp(1, Target::MAX_GROUPS),
        };
        let tables = Arc::new(Tables {
            default: DefaultLeaf { word: AtomicU64::new(EMPTY), changes: AtomicU64::new(0) },
            first: Zeroed::new(FIRST_TABLE, Pages::Huge)?,
            blocks: Zeroed::new(limits.extension_blocks as usize * BLOCK, Pages::Huge)?,
            buckets: groups::buckets(limits.groups)?,
        });
        let writer = FibWriter {
            tables: Arc::clone(&tables),
            limits,
            quiescence,
            rib: Rib::new(limits.extension_blocks)?,
            groups: Groups::default(),
            routes: vec![None],
            count: 0,
            free_routes: Vec::new(),
            block_routes: Vec::new(),
            free_blocks: Vec::new(),
            unlinked: Vec::new(),
            waiting: VecDeque::new(),
        };
        Ok((Self(tables), writer))
    }
}

impl FibWriter {
    /// Adds a route, or gives an existing one these next hops; it keeps its index then. On an error nothing has changed.
    pub fn insert(&mut self, prefix: Prefix4, next_hops: &[NextHop]) -> Result<RouteIndex, FibError> {
        let target = self.acquire_target(next_hops)?;
        let block = self.block_of(prefix.address());
        if let Some(route) = self.rib.route(prefix, block) {
            let before = self.booked(route).map(|booked| booked.target);
            if before != Some(target) {
                self.book(route, Some(Booked { prefix, target }));
                self.paint(prefix, Leaf::new(route, target, prefix.length()).0);
            }
            // The old target's reference goes, or, if nothing changed, the one just taken.
            if let Some(before) = before {
                self.release_target(before);
            }
            return Ok(route);
        }

        let Some(route) = self.allocate_route() else {
            self.release_target(target);
            return Err(FibError::Full { table: Table::Routes, limit: self.limits.routes });
        };
        let mut block = block;
        if prefix.length() > 24 {
            block = block.or_else(|| self.extend(prefix.address()));
            let Some(block) = block else {
                self.free_routes.push(route.0);
                self.release_target(target);
                let limit = self.limits.extension_blocks;
                return Err(FibError::Full { table: Table::ExtensionBlocks, limit });
            };
            if let Some(routes) = self.block_routes.get_mut(block as usize) {
                *routes += 1;
            }
        }
        self.rib.set(prefix, block, route);
        self.book(route, Some(Booked { prefix, target }));
        self.count += 1;
        self.paint(prefix, Leaf::new(route, target, prefix.length()).0);
        Ok(route)
    }

    /// Takes a route out. The index that it had, if it existed.
    pub fn remove(&mut self, prefix: Prefix4) -> Option<RouteIndex> {
        let block = self.block_of(prefix.address());
        let route = self.rib.route(prefix, block)?;
        let booked = self.booked(route)?;
        let cover = match prefix.length().checked_sub(1) {
            Some(shorter) => self.rib.longest(prefix.address(), shorter, block),
            None => None,
        };
        self.rib.set(prefix, block, RouteIndex::NONE);
        self.paint(prefix, self.word_of(cover));
        if prefix.length() > 24
            && let Some(block) = block
        {
            self.shrink(prefix.address(), block);
        }
        self.book(route, None);
        self.count -= 1;
        self.unlink(Unlinked::Route(route));
        self.release_target(booked.target);
        Some(route)
    }

    /// The route of exactly this prefix.
    pub fn get(&self, prefix: Prefix4) -> Option<Route> {
        let index = self.rib.route(prefix, self.block_of(prefix.address()))?;
        let target = self.booked(index)?.target;
        Some(Route { prefix, index, next_hops: self.groups.next_hops(target) })
    }

    /// The longest match for `address` (host byte order), the default route included. What [`Fib::lookup`] finds, from the books.
    pub fn lookup_prefix(&self, address: u32) -> Option<(Prefix4, RouteIndex)> {
        let index = self.rib.longest(address, 32, self.block_of(address))?;
        Some((self.booked(index)?.prefix, index))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All routes by index, which is in no order of their prefixes.
    pub fn iter(&self) -> impl Iterator<Item = Route> + '_ {
        self.routes.iter().enumerate().filter_map(|(index, booked)| {
            let Booked { prefix, target } = (*booked)?;
            Some(Route { prefix, index: RouteIndex(index as u32), next_hops: self.groups.next_hops(target) })
        })
    }

    /// Makes reusable what no reader can come across any more. Call it now and then; a full table does so too before it says so.
    /// Returns how many things still wait for readers.
    pub fn reclaim(&mut self) -> usize {
        if !self.unlinked.is_empty() {
            let unlinked = std::mem::take(&mut self.unlinked);
            self.waiting.push_back((self.quiescence.ticket(), unlinked));
        }
        while let Some((_, done)) = self.waiting.pop_front_if(|(ticket, _)| self.quiescence.passed(*ticket)) {
            for thing in done {
                match thing {
                    Unlinked::Route(route) => self.free_routes.push(route.0),
                    Unlinked::Block(block) => self.free_blocks.push(block),
                    Unlinked::Group(group) => self.groups.reuse(group),
                }
            }
        }
        self.waiting.iter().map(|(_, unlinked)| unlinked.len()).sum()
    }

    /// The one place that changes what readers find: takes every address of `prefix` whose match is not longer than it to `word`.
    /// When a prefix goes, such addresses are just those that it matched.
    fn paint(&self, prefix: Prefix4, word: u64) {
        let length = prefix.length();
        if length == 0 {
            // EMPTY in the table means this one, so its leaf is the word itself.
            let default = &self.tables.default;
            default.word.store(word, Release);
            // This side is the only writer. A reader that sees anything that is stored later sees this too.
            default.changes.store(default.changes.load(Relaxed) + 1, Release);
            return;
        }
        let first = (prefix.address() >> 8) as usize;
        let last = (prefix.last_address() >> 8) as usize;
        for place in self.tables.first.range(first, last) {
            let before = place.load(Relaxed);
            if before & EXTENDED == 0 {
                overwrite(place, before, word, length);
                continue;
            }
            // Of a /24 or shorter all addresses of the block, of a longer one its share.
            let (low, high) = match length {
                0..=24 => (0, BLOCK - 1),
                _ => (prefix.address() as u8 as usize, prefix.last_address() as u8 as usize),
            };
            let start = before as u32 as usize * BLOCK;
            for place in self.tables.blocks.range(start + low, start + high) {
                overwrite(place, place.load(Relaxed), word, length);
            }
        }
    }

    /// What readers find where `route` is the longest match that is not the default route.
    fn word_of(&self, route: Option<RouteIndex>) -> u64 {
        match route.and_then(|route| Some((route, self.booked(route)?))) {
            Some((route, Booked { prefix, target })) if prefix.length() > 0 => {
                Leaf::new(route, target, prefix.length()).0
            }
            _ => EMPTY,
        }
    }

    /// The block of this address's /24, if there is one.
    fn block_of(&self, address: u32) -> Option<u32> {
        let word = self.tables.first.get((address >> 8) as usize)?.load(Relaxed);
        (word & EXTENDED != 0).then_some(word as u32)
    }

    /// Gives this address's /24 a block that says what its word said.
    fn extend(&mut self, address: u32) -> Option<u32> {
        if self.free_blocks.is_empty() && self.block_routes.len() as u32 >= self.limits.extension_blocks {
            self.reclaim();
        }
        let block = match self.free_blocks.pop() {
            Some(block) => block,
            None if (self.block_routes.len() as u32) < self.limits.extension_blocks => {
                self.block_routes.push(0);
                self.block_routes.len() as u32 - 1
            }
            None => return None,
        };
        let place = self.tables.first.get((address >> 8) as usize)?;
        let word = place.load(Relaxed);
        let start = block as usize * BLOCK;
        for place in self.tables.blocks.range(start, start + BLOCK - 1) {
            place.store(word, Relaxed);
        }
        place.store(EXTENDED | u64::from(block), Release);
        Some(block)
    }

    /// One prefix less in `block`; with the last one the block goes.
    fn shrink(&mut self, address: u32, block: u32) {
        let Some(routes) = self.block_routes.get_mut(block as usize) else { return };
        *routes -= 1;
        if *routes > 0 {
            return;
        }
        // Nothing longer than /24 is left, so every word of the block is the same.
        let word = self.tables.blocks.get(block as usize * BLOCK).map_or(EMPTY, |word| word.load(Relaxed));
        if let Some(place) = self.tables.first.get((address >> 8) as usize) {
            place.store(word, Release);
        }
        self.unlink(Unlinked::Block(block));
    }

    fn acquire_target(&mut self, next_hops: &[NextHop]) -> Result<Target, FibError> {
        if let Some(target) = self.groups.acquire(next_hops, &self.tables.buckets)? {
            return Ok(target);
        }
        self.reclaim();
        let target = self.groups.acquire(next_hops, &self.tables.buckets)?;
        target.ok_or(FibError::Full { table: Table::Groups, limit: self.limits.groups })
    }

    fn release_target(&mut self, target: Target) {
        if let Some(group) = self.groups.release(target) {
            self.unlink(Unlinked::Group(group));
        }
    }

    fn allocate_route(&mut self) -> Option<RouteIndex> {
        if self.free_routes.is_empty() && self.routes.len() > self.limits.routes as usize {
            self.reclaim();
        }
        if let Some(route) = self.free_routes.pop() {
            return Some(RouteIndex(route));
        }
        if self.routes.len() > self.limits.routes as usize {
            return None;
        }
        self.routes.push(None);
        Some(RouteIndex(self.routes.len() as u32 - 1))
    }

    fn booked(&self, route: RouteIndex) -> Option<Booked> {
        *self.routes.get(route.0 as usize)?
    }

    fn book(&mut self, route: RouteIndex, booked: Option<Booked>) {
        if let Some(place) = self.routes.get_mut(route.0 as usize) {
            *place = booked;
        }
    }

    fn unlink(&mut self, thing: Unlinked) {
        self.unlinked.push(thing);
        if self.unlinked.len() >= RECLAIM_AFTER {
            self.reclaim();
        }
    }
}

/// Stores `word` where the match is not longer than `length`.
fn overwrite(place: &AtomicU64, before: u64, word: u64, length: u8) {
    if Leaf(before).prefix_length() <= length {
        // Release: whoever finds this leaf finds its group's buckets filled.
        place.store(word, Release);
    }
}

impl fmt::Debug for FibWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FibWriter")
            .field("routes", &self.count)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adjacency::AdjacencyIndex;

    fn hop(index: u32) -> [NextHop; 1] {
        [AdjacencyIndex::new(index).unwrap().into()]
    }

    fn two(index: u32) -> [NextHop; 2] {
        [index, index + 1].map(|index| AdjacencyIndex::new(index).unwrap().into())
    }

    fn prefix(text: &str) -> Prefix4 {
        text.parse().unwrap()
    }

    const SMALL: FibLimits = FibLimits { routes: 2, extension_blocks: 1, groups: 1 };

    #[test]
    fn a_full_table_says_so_and_nothing_has_changed() {
        let (fib, mut writer) = Fib::new(SMALL, Quiescence::new(0)).unwrap();
        writer.insert(prefix("10.0.0.0/25"), &two(10)).unwrap();
        let blocks = writer.insert(prefix("10.0.1.0/25"), &hop(1)).unwrap_err();
        assert!(matches!(blocks, FibError::Full { table: Table::ExtensionBlocks, limit: 1 }));
        let groups = writer.insert(prefix("10.0.1.0/24"), &two(20)).unwrap_err();
        assert!(matches!(groups, FibError::Full { table: Table::Groups, limit: 1 }));
        let second = writer.insert(prefix("10.0.1.0/24"), &two(10)).unwrap();
        assert_eq!(second.as_u32(), 2, "the refused inserts gave their indices back");
        let routes = writer.insert(prefix("10.0.2.0/24"), &hop(1)).unwrap_err();
        assert!(matches!(routes, FibError::Full { table: Table::Routes, limit: 2 }));
        assert_eq!(
            routes.to_string(),
            "the FIB is full: all 2 of its `routes` are in use; raise the limit `routes` and restart"
        );
        assert_eq!(writer.len(), 2);
        assert_eq!(fib.lookup(0x0a00_0201), Leaf::NONE);
        assert_eq!(fib.lookup(0x0a00_0101).route(), 2);
    }

    #[test]
    fn bad_next_hops_are_refused() {
        let (_, mut writer) = Fib::new(SMALL, Quiescence::new(0)).unwrap();
        let network = prefix("10.0.0.0/24");
        assert!(matches!(writer.insert(network, &[]), Err(FibError::NoNextHops)));
        let zero = NextHop { weight: 0, ..hop(9)[0] };
        assert!(matches!(writer.insert(network, &[zero]), Err(FibError::ZeroWeight { .. })));
        let many: Vec<_> = (0..257).map(|index| hop(index)[0]).collect();
        assert!(matches!(writer.insert(network, &many), Err(FibError::TooManyNextHops { count: 257 })));
        assert!(writer.is_empty());
    }

    #[test]
    fn indices_blocks_and_groups_are_reused_only_after_quiescence() {
        let quiescence = Quiescence::new(1);
        let reader = quiescence.reader(0).unwrap();
        let (fib, mut writer) = Fib::new(SMALL, quiescence).unwrap();
        let first = prefix("10.0.0.128/25");
        let index = writer.insert(first, &two(10)).unwrap();
        let held = fib.lookup(0x0a00_0080);
        writer.insert(prefix("10.0.0.0/24"), &hop(5)).unwrap();
        assert_eq!(writer.remove(first), Some(index));
        let other = prefix("10.9.9.9/32");
        for _ in 0..3 {
            assert!(matches!(
                writer.insert(other, &hop(1)),
                Err(FibError::Full { table: Table::Routes, .. })
            ));
        }
        assert!([10, 11].contains(&fib.resolve(held, 1).as_u32()), "what the reader holds is as it was");
        assert_eq!(writer.reclaim(), 3, "a route index, a block and a group");
        reader.quiescent();
        assert_eq!(writer.insert(other, &two(20)).unwrap(), index);
        assert_eq!(fib.lookup(0x0a09_0909).prefix_length(), 32);
    }

    #[test]
    fn the_default_route_is_a_route_like_others() {
        let (fib, mut writer) = Fib::new(SMALL, Quiescence::new(0)).unwrap();
        assert_eq!((fib.lookup(1), writer.lookup_prefix(1)), (Leaf::NONE, None));
        let index = writer.insert(Prefix4::DEFAULT, &hop(7)).unwrap();
        assert_eq!((fib.lookup(1).route(), fib.lookup(u32::MAX).adjacency().as_u32()), (index.as_u32(), 7));
        assert_eq!(writer.lookup_prefix(9), Some((Prefix4::DEFAULT, index)));
        assert_eq!(writer.insert(Prefix4::DEFAULT, &hop(8)).unwrap(), index);
        assert_eq!(fib.lookup(1).adjacency().as_u32(), 8);
        assert_eq!(writer.remove(Prefix4::DEFAULT), Some(index));
        assert_eq!((fib.lookup(1), writer.remove(Prefix4::DEFAULT)), (Leaf::NONE, None));
    }
}
