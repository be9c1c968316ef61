//! The FIB's one writer: routes in, stores out. See the module above for what readers may find meanwhile.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::groups::{self, Groups, Target};
use super::memory::{Pages, Zeroed};
use super::prefix::mask;
use super::rib::Rib;
use super::trail::{Place, Trail};
use super::words::{Gate, Gates, Pointer};
use super::{Address, BLOCK, DefaultLeaf, EMPTY, FIRST_TABLE};
use super::{Fib, FibError, Leaf, NextHop, Prefix, RouteIndex, Table, Tables};
use crate::adjacency::AdjacencyIndex;
use crate::quiescence::{Quiescence, Ticket};

/// How much the FIB can hold. Address space is reserved for it at the start; memory is taken as it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibLimits {
    /// Routes, and so the highest route index; at most 2^30.
    pub routes: u32,
    /// Blocks of 256 for what is longer than /24 (of IPv4: /24 networks that hold such prefixes): 4 KiB each.
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
pub struct Route<A = u32> {
    /// Its prefix.
    pub prefix: Prefix<A>,
    /// Its number, for its counters.
    pub index: RouteIndex,
    /// Its next hops by adjacency, equal ones merged, weights reduced.
    pub next_hops: Vec<NextHop>,
}

/// The control thread's side: the only writer of its FIB.
pub struct FibWriter<A: Address = u32> {
    pub(super) tables: Arc<Tables<A>>,
    pub(super) limits: FibLimits,
    quiescence: Quiescence,
    pub(super) rib: Rib,
    groups: Groups,
    /// By route index; number 0 is nobody's.
    routes: Vec<Option<Booked<A>>>,
    count: usize,
    free_routes: Vec<u32>,
    /// By block number: how many of its own prefixes it holds, and words that lead on.
    pub(super) block_users: Vec<u16>,
    pub(super) free_blocks: Vec<u32>,
    /// Gates that there have been so far, and those that are free again.
    pub(super) gates: u32,
    pub(super) free_gates: Vec<u32>,
    /// Unlinked since the last ticket.
    unlinked: Vec<Unlinked>,
    /// Unlinked before a ticket. Tickets ascend.
    waiting: VecDeque<(Ticket, Vec<Unlinked>)>,
}

#[derive(Clone, Copy)]
struct Booked<A> {
    prefix: Prefix<A>,
    target: Target,
}

/// What a reader may still come across, though nothing leads there any more.
pub(super) enum Unlinked {
    Route(RouteIndex),
    Block(u32),
    Gate(u32),
    Group(u32),
}

/// After how many unlinked things the writer looks, by itself, whether something can be reused: bounds their memory where the caller
/// changes many routes without [`FibWriter::reclaim`]. Lower costs tickets, higher memory; 8 bytes each.
const RECLAIM_AFTER: usize = 4096;

impl<A: Address> Fib<A> {
    /// An empty FIB and its one writer. `quiescence` is the meeting point of all its readers.
    pub fn new(limits: FibLimits, quiescence: Quiescence) -> Result<(Self, FibWriter<A>), FibError> {
        // One is the least that a table can be made of.
        let limits = FibLimits {
            routes: limits.routes.clamp(1, Leaf::MAX_ROUTE),
            extension_blocks: limits.extension_blocks.max(1),
            groups: limits.groups.clamp(1, Target::MAX_GROUPS),
        };
        let tables = Arc::new(Tables {
            default: DefaultLeaf { word: AtomicU64::new(EMPTY), changes: AtomicU64::new(0) },
            first: Zeroed::new(FIRST_TABLE, Pages::Huge)?,
            blocks: Zeroed::new(limits.extension_blocks as usize * BLOCK, Pages::HugeOnUse)?,
            gates: Gates::new(most_gates::<A>(limits))?,
            buckets: groups::buckets(limits.groups)?,
            of: PhantomData,
        });
        // Lookups without a branch read this word where they read no other: its page is there before they do.
        let _ = tables.blocks.get(0).map(|word| word.load(Relaxed));
        let writer = FibWriter {
            tables: Arc::clone(&tables),
            limits,
            quiescence,
            rib: Rib::new(limits.extension_blocks)?,
            groups: Groups::default(),
            routes: vec![None],
            count: 0,
            free_routes: Vec::new(),
            block_users: Vec::new(),
            free_blocks: Vec::new(),
            gates: 0,
            free_gates: Vec::new(),
            unlinked: Vec::new(),
            waiting: VecDeque::new(),
        };
        Ok((Self(tables), writer))
    }
}

/// A gate for each route that is alone, and for each block; three more, which a change may need before it gives others back.
pub(super) fn most_gates<A: Address>(limits: FibLimits) -> u32 {
    if !A::SPARSE {
        return 0;
    }
    limits.routes.saturating_add(limits.extension_blocks).saturating_add(GATES_A_CHANGE).min(Gates::MOST)
}

/// The most gates that a prefix's coming takes: its own, that of a block before it, and that of what lies beside it.
const GATES_A_CHANGE: u32 = 3;

impl<A: Address> FibWriter<A> {
    /// Adds a route, or gives an existing one these next hops; it keeps its index then. On an error nothing has changed.
    pub fn insert(&mut self, prefix: Prefix<A>, next_hops: &[NextHop]) -> Result<RouteIndex, FibError> {
        let target = self.acquire_target(next_hops)?;
        let (high, length) = (prefix.address().high(), prefix.length());
        let trail = Trail::to(&self.tables, high, length);
        if let Some(route) = self.route_at(&trail, high, length) {
            let before = self.booked(route).map(|booked| booked.target);
            if before != Some(target) {
                self.book(route, Some(Booked { prefix, target }));
                let leaf = Leaf::new(route, target, length).0;
                match self.lone(&trail) {
                    Some((_, gate)) => gate.inside().store(leaf, Release),
                    None => self.paint(trail.end(), high, length, leaf),
                }
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
        if self.settle(high, length, Leaf::new(route, target, length)).is_none() {
            self.free_routes.push(route.0);
            self.release_target(target);
            let limit = self.limits.extension_blocks;
            return Err(FibError::Full { table: Table::ExtensionBlocks, limit });
        }
        self.book(route, Some(Booked { prefix, target }));
        self.count += 1;
        Ok(route)
    }

    /// Takes a route out. The index that it had, if it existed.
    pub fn remove(&mut self, prefix: Prefix<A>) -> Option<RouteIndex> {
        let (high, length) = (prefix.address().high(), prefix.length());
        let trail = Trail::to(&self.tables, high, length);
        let route = self.route_at(&trail, high, length)?;
        let booked = self.booked(route)?;
        if let Some((number, gate)) = self.lone(&trail) {
            let word = gate.outside().load(Relaxed);
            if let Some(place) = self.tables.place(trail.end(), high) {
                place.store(word, Release);
            }
            self.unlink(Unlinked::Gate(number));
            self.leave(trail, high);
        } else {
            let cover = length.checked_sub(1).and_then(|shorter| self.cover(&trail, high, shorter));
            self.rib.set(high, length, trail.end(), RouteIndex::NONE);
            self.paint(trail.end(), high, length, self.word_of(cover));
            self.leave(trail, high);
        }
        self.book(route, None);
        self.count -= 1;
        self.unlink(Unlinked::Route(route));
        self.release_target(booked.target);
        Some(route)
    }

    /// The route of exactly this prefix.
    pub fn get(&self, prefix: Prefix<A>) -> Option<Route<A>> {
        let (index, target) = self.exact(prefix)?;
        Some(Route { prefix, index, next_hops: self.groups.next_hops(target) })
    }

    /// The next hop of exactly this prefix; `None` also if it has several.
    pub fn next_hop(&self, prefix: Prefix<A>) -> Option<AdjacencyIndex> {
        let (_, target) = self.exact(prefix)?;
        target.adjacency()
    }

    fn exact(&self, prefix: Prefix<A>) -> Option<(RouteIndex, Target)> {
        let (high, length) = (prefix.address().high(), prefix.length());
        let index = self.route_at(&Trail::to(&self.tables, high, length), high, length)?;
        Some((index, self.booked(index)?.target))
    }

    /// The longest match for `address` (host byte order), the default route included. What [`Fib::lookup`] finds, from the books.
    pub fn lookup_prefix(&self, address: A) -> Option<(Prefix<A>, RouteIndex)> {
        let high = address.high();
        let trail = Trail::to(&self.tables, high, A::BITS);
        let lone = self.lone(&trail).filter(|(_, gate)| gate.holds(high));
        let index = match lone {
            Some((_, gate)) => RouteIndex(Leaf(gate.inside().load(Relaxed)).route()),
            None => self.cover(&trail, high, A::BITS)?,
        };
        Some((self.booked(index)?.prefix, index))
    }

    /// All prefixes by route index, which is in no order of them.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix<A>> + '_ {
        self.routes.iter().filter_map(|booked| Some((*booked)?.prefix))
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
    pub fn iter(&self) -> impl Iterator<Item = Route<A>> + '_ {
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
                    Unlinked::Gate(gate) => self.free_gates.push(gate),
                    Unlinked::Group(group) => self.groups.reuse(group),
                }
            }
        }
        self.waiting.iter().map(|(_, unlinked)| unlinked.len()).sum()
    }

    /// The one place that changes what readers find, besides the leaf of a prefix that is alone: takes every address of a prefix whose match is not
    /// longer than it to `word`. When a prefix goes, such addresses are just those that it matched. `place` is where the prefix belongs.
    pub(super) fn paint(&self, place: Place, high: u128, length: u8, word: u64) {
        if length == 0 {
            // EMPTY in the table means this one, so its leaf is the word itself.
            let default = &self.tables.default;
            default.word.store(word, Release);
            // This side is the only writer. A reader that sees anything that is stored later sees this too.
            default.changes.store(default.changes.load(Relaxed) + 1, Release);
            return;
        }
        for place in self.tables.places(place, high, length) {
            self.paint_behind(place, length, word);
        }
    }

    /// [`Self::paint`] of all that a word leads to.
    fn paint_behind(&self, place: &AtomicU64, length: u8, word: u64) {
        let before = place.load(Relaxed);
        let Some(pointer) = Pointer::of(before) else {
            overwrite(place, before, word, length);
            return;
        };
        if let Some(gate) = self.tables.gates.get(pointer.gate()) {
            let outside = gate.outside();
            overwrite(outside, outside.load(Relaxed), word, length);
        }
        if !pointer.is_lone() {
            let start = pointer.block() as usize * BLOCK;
            for place in self.tables.blocks.range(start, start + BLOCK - 1) {
                self.paint_behind(place, length, word);
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

    /// The route of the prefix that the trail leads to.
    fn route_at(&self, trail: &Trail, high: u128, length: u8) -> Option<RouteIndex> {
        if trail.word.is_none() {
            return self.rib.route(high, length, trail.end());
        }
        let (_, gate) = self.lone(trail)?;
        let same = (gate.key(), gate.length()) == (high, length);
        same.then(|| RouteIndex(Leaf(gate.inside().load(Relaxed)).route()))
    }

    /// The prefix that is alone at the trail's end: its gate.
    fn lone(&self, trail: &Trail) -> Option<(u32, Gate<'_>)> {
        let pointer = Pointer::of(trail.word?).filter(|pointer| pointer.is_lone())?;
        Some((pointer.gate(), self.tables.gates.get(pointer.gate())?))
    }

    /// The longest prefix of these bits with at most `length` that has a route, of those in the places of the trail.
    fn cover(&self, trail: &Trail, high: u128, length: u8) -> Option<RouteIndex> {
        trail.back().find_map(|place| {
            let shortest = match place {
                Place::First => 0,
                Place::Block { depth, .. } => depth + 1,
            };
            let mut lengths = (shortest..=length.min(place.end())).rev();
            lengths.find_map(|length| self.rib.route(high & mask(length), length, place))
        })
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

    fn booked(&self, route: RouteIndex) -> Option<Booked<A>> {
        *self.routes.get(route.0 as usize)?
    }

    fn book(&mut self, route: RouteIndex, booked: Option<Booked<A>>) {
        if let Some(place) = self.routes.get_mut(route.0 as usize) {
            *place = booked;
        }
    }

    pub(super) fn unlink(&mut self, thing: Unlinked) {
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

impl<A: Address> fmt::Debug for FibWriter<A> {
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
    use crate::fib::{Prefix4, Prefix6};

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

    #[test]
    fn what_is_alone_takes_no_block_and_what_goes_leaves_nothing_behind() {
        let limits = FibLimits { routes: 4, extension_blocks: 3, groups: 1 };
        let (fib, mut writer) = Fib::<u128>::new(limits, Quiescence::new(0)).unwrap();
        let of = |text: &str| text.parse::<Prefix6>().unwrap();
        let list = ["2001:db8::/64", "2001:db8:0:1::/64", "2001:db9::1/128", "2001:db9::/48"];
        // One block tells the two networks apart, one the two /64, one holds the /48; the address in that is alone.
        for round in 0..3 {
            let indices = list.map(|text| writer.insert(of(text), &hop(1)).unwrap().as_u32());
            let found = list.map(|text| fib.lookup(of(text).address()).route());
            assert_eq!(
                (found[..3].to_vec(), fib.lookup(of(list[3]).address()).route()),
                (indices[..3].to_vec(), indices[3])
            );
            assert_eq!(writer.block_users.iter().filter(|users| **users > 0).count(), 3);
            assert_eq!(fib.lookup(of("2001:db8:0:2::/64").address()), Leaf::NONE);
            let mut order = list;
            order.rotate_left(round);
            order.iter().for_each(|text| assert!(writer.remove(of(text)).is_some()));
            assert_eq!(list.map(|text| fib.lookup(of(text).address())), [Leaf::NONE; 4]);
            writer.reclaim();
            assert_eq!(writer.block_users.iter().sum::<u16>(), 0);
            assert_eq!(writer.free_gates.len(), writer.gates as usize);
            assert_eq!(writer.free_blocks.len(), writer.block_users.len());
        }
    }

    #[test]
    fn a_gate_that_a_reader_may_be_at_stays_as_it_is() {
        let quiescence = Quiescence::new(1);
        let reader = quiescence.reader(0).unwrap();
        reader.online();
        let limits = FibLimits { routes: 8, extension_blocks: 8, groups: 1 };
        let (fib, mut writer) = Fib::<u128>::new(limits, quiescence).unwrap();
        let of = |text: &str| text.parse::<Prefix6>().unwrap();
        let outsider = of("2001:db9::1/128").address();
        // A prefix alone, then two behind a block: each gets a level before it, whose prefix covers it but not the outsider.
        for (there, between) in [
            (&["2001:db8::1/128"][..], "2001:db8::/48"),
            (&["2001:dba::1/128", "2001:dba::2/128"], "2001:dba::/48"),
        ] {
            let fresh = of(there[0]);
            there.iter().for_each(|text| {
                writer.insert(of(text), &hop(1)).unwrap();
            });
            let trail = Trail::to(&writer.tables, fresh.address(), of(between).length() + 1);
            let pointer = Pointer::of(trail.word.unwrap()).unwrap();
            assert_ne!(pointer.gate(), 0);
            writer.insert(of(between), &hop(2)).unwrap();
            let held = writer.tables.gates.get(pointer.gate()).unwrap();
            assert!(!held.holds(outsider));
            assert_eq!(held.outside().load(Relaxed), EMPTY);
            assert_eq!(fib.lookup(outsider), Leaf::NONE);
        }
    }
}
