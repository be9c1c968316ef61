//! Adjacencies: what to write in front of a packet, and which port to send it to, per next hop.
//!
//! A table of fixed capacity. Workers read it wait-free; the control thread writes in place, by single atomic stores.
//!
//! ```text
//!           byte 0                                                     byte 7
//! word 0    | Ethernet header bytes 0..8: destination MAC, source MAC 0..2   |
//! word 1    | header bytes 8..14: source MAC 2..6, EtherType  | kind | freed |
//! word 2    | port u16 | MTU u16 | next hop's IPv4 address u32               |   (a number: port in bits 0..16, …)
//! word 3    | spare: an adjacency never straddles a cache line               |
//! ```
//!
//! # What a reader may see while the writer works
//! A reader loads word 1 (acquire), then words 0 and 2. The writer stores words 0 and 2 first, then word 1 (release). So a reader that sees
//! a kind sees words 0 and 2 as they were when that kind was set, or newer.
//!
//! | change | stores | a concurrent reader sees | which is right because |
//! |---|---|---|---|
//! | incomplete → rewrite (neighbour resolved) | 0, 2, then 1 | incomplete, or the whole rewrite | the kind is published last |
//! | the neighbour's MAC changes | 0 | the old or the new MAC, whole | one store; words 1 and 2 stay |
//! | MTU changes | 2 | the old or the new MTU | one store; the MTU and the MAC do not depend on each other |
//! | rewrite → incomplete (neighbour lost) | 1 | the old rewrite, or incomplete | words 0 and 2 stay |
//! | source MAC, port or next hop changes | 1 = incomplete; after quiescence 0, 2, then 1 | the old rewrite, incomplete, the new rewrite | a reader that began with the old rewrite has finished before a word of the new one is stored |
//!
//! The last row is why [`AdjacencyWriter::reclaim`] must be called now and then: it finishes such changes, and gives freed adjacencies back.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::quiescence::{Quiescence, Ticket};

/// Number of an adjacency: 24 bits, so that it fits a FIB leaf. The default is [`Self::UNREACHABLE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdjacencyIndex(u32);

impl AdjacencyIndex {
    /// No route: the packet is answered with "network unreachable". What a FIB without routes gives.
    pub const UNREACHABLE: Self = Self(0);
    /// Silently dropped: a `blackhole` route.
    pub const BLACKHOLE: Self = Self(1);
    /// Answered with "administratively prohibited": a `prohibit` route.
    pub const PROHIBITED: Self = Self(2);
    /// To this machine: the kernel's.
    pub const LOCAL: Self = Self(3);
    /// The route leaves by a device that is not a port of weir: answered like [`Self::UNREACHABLE`], counted apart.
    pub const NO_PORT: Self = Self(4);
    /// The greatest index that fits a FIB leaf.
    pub const MAX: Self = Self((1 << 24) - 1);

    /// Adjacency number `index`; `None` beyond [`Self::MAX`]. A number that no writer has allocated reads as [`AdjacencyKind::Free`].
    pub const fn new(index: u32) -> Option<Self> {
        if index <= Self::MAX.0 { Some(Self(index)) } else { None }
    }

    /// Whether this is one of the well-known indices above, which exist in every table and lead to no next hop.
    #[inline]
    pub const fn is_special(self) -> bool {
        self.0 < WELL_KNOWN.len() as u32
    }

    /// From a word of the FIB: the upper eight bits are cut off.
    #[inline]
    pub(crate) const fn from_low_bits(word: u32) -> Self {
        Self(word & Self::MAX.0)
    }

    /// The number.
    #[inline]
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// What becomes of a packet that a route leads to this adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AdjacencyKind {
    /// Not in use. A packet gets here only by a mistake of the control plane: drop it.
    Free = 0,
    /// Drop without an answer (`blackhole`).
    Drop = 1,
    /// Answer "network unreachable".
    Unreachable = 2,
    /// Answer "administratively prohibited".
    Prohibited = 3,
    /// To us: the kernel's.
    Local = 4,
    /// A connected network: resolve the packet's own destination on this port.
    Glean = 5,
    /// The next hop is known, its MAC address is not (yet).
    Incomplete = 6,
    /// Write the header and send.
    Rewrite = 7,
}

impl AdjacencyKind {
    #[inline]
    const fn from_low_bits(byte: u8) -> Self {
        match byte & 7 {
            1 => Self::Drop,
            2 => Self::Unreachable,
            3 => Self::Prohibited,
            4 => Self::Local,
            5 => Self::Glean,
            6 => Self::Incomplete,
            7 => Self::Rewrite,
            _ => Self::Free,
        }
    }
}

/// An adjacency as a reader found it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Adjacency {
    head: u64,
    tail: u64,
    path: u64,
}

impl Adjacency {
    /// What to do with the packet.
    #[inline]
    pub const fn kind(self) -> AdjacencyKind {
        AdjacencyKind::from_low_bits(self.tail.to_ne_bytes()[6])
    }

    /// The Ethernet header to write: destination, source, EtherType. Zero unless the kind is [`AdjacencyKind::Rewrite`].
    #[inline]
    pub const fn header(self) -> [u8; 14] {
        let [h0, h1, h2, h3, h4, h5, h6, h7] = self.head.to_ne_bytes();
        let [t0, t1, t2, t3, t4, t5, _, _] = self.tail.to_ne_bytes();
        [h0, h1, h2, h3, h4, h5, h6, h7, t0, t1, t2, t3, t4, t5]
    }

    /// The port to send to, or to resolve on.
    #[inline]
    pub const fn port(self) -> u16 {
        self.path as u16
    }

    /// The greatest IP packet, in bytes, that the port carries.
    #[inline]
    pub const fn mtu(self) -> u16 {
        (self.path >> 16) as u16
    }

    /// The next hop's address, in host byte order; 0 where there is none (glean: the packet's own destination is the next hop).
    #[inline]
    pub const fn next_hop(self) -> u32 {
        (self.path >> 32) as u32
    }
}

impl fmt::Debug for Adjacency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adjacency")
            .field("kind", &self.kind())
            .field("header", &format_args!("{:02x?}", self.header()))
            .field("port", &self.port())
            .field("mtu", &self.mtu())
            .field("next_hop", &Ipv4Addr::from_bits(self.next_hop()))
            .finish()
    }
}

/// Half a cache line; see the module's drawing.
#[repr(C, align(32))]
#[derive(Default)]
struct Cell {
    head: AtomicU64,
    tail: AtomicU64,
    path: AtomicU64,
}

/// The readers' side. Clones read the same table.
#[derive(Clone)]
pub struct Adjacencies(Arc<[Cell]>);

impl Adjacencies {
    /// A table for `capacity` adjacencies (at least the five well-known ones, at most 2^24; 32 bytes each), and its one writer.
    pub fn new(capacity: usize, quiescence: Quiescence) -> (Self, AdjacencyWriter) {
        let capacity = capacity.clamp(WELL_KNOWN.len(), AdjacencyIndex::MAX.0 as usize + 1);
        let cells: Arc<[Cell]> = (0..capacity).map(|_| Cell::default()).collect();
        for (cell, kind) in cells.iter().zip(WELL_KNOWN) {
            cell.tail.store(tail_of([0; 6], kind), Release);
        }
        let writer = AdjacencyWriter {
            cells: Arc::clone(&cells),
            quiescence,
            fresh: WELL_KNOWN.len() as u32,
            free: Vec::new(),
            freed: VecDeque::new(),
            resting: HashMap::new(),
        };
        (Self(cells), writer)
    }

    /// How many adjacencies the table can hold.
    pub fn capacity(&self) -> usize {
        self.0.len()
    }

    /// Adjacency `index` as it is now. An index beyond the table reads as [`AdjacencyKind::Free`].
    #[inline]
    pub fn load(&self, index: AdjacencyIndex) -> Adjacency {
        match self.0.get(index.0 as usize) {
            Some(cell) => cell.load(),
            None => Adjacency { head: 0, tail: 0, path: 0 },
        }
    }
}

impl fmt::Debug for Adjacencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adjacencies").field("capacity", &self.0.len()).finish()
    }
}

/// The kinds of the well-known indices, in their order.
const WELL_KNOWN: [AdjacencyKind; 5] = [
    AdjacencyKind::Unreachable,
    AdjacencyKind::Drop,
    AdjacencyKind::Prohibited,
    AdjacencyKind::Local,
    AdjacencyKind::Unreachable,
];

/// Where an adjacency leads: port, MTU in bytes, next hop in host byte order (0 for a glean).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The port to send to.
    pub port: u16,
    /// The greatest IP packet, in bytes, that the port carries.
    pub mtu: u16,
    /// The next hop's address, in host byte order; 0 for a glean.
    pub next_hop: u32,
}

/// The writer's own mark in the spare byte of word 1: given back, and only kept for readers that are at it.
const FREED: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]);

/// Why an adjacency could not be allocated or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdjacencyError {
    /// Every adjacency is in use.
    #[error(
        "all {capacity} adjacencies are in use: raise the capacity of the adjacency table, or remove next hops"
    )]
    Full {
        /// The table's capacity.
        capacity: usize,
    },
    /// A well-known index, or one that is not allocated.
    #[error("adjacency {index} cannot be changed: it is not allocated, or it is one of the well-known ones")]
    NotAllocated {
        /// The index that was asked for.
        index: u32,
    },
}

/// The control thread's side: the only writer of its table.
pub struct AdjacencyWriter {
    cells: Arc<[Cell]>,
    quiescence: Quiescence,
    /// Every index from here on has never been allocated.
    fresh: u32,
    /// Allocated before, given back, no reader left.
    free: Vec<u32>,
    /// Given back; a reader may still come here until the ticket has passed. Tickets ascend.
    freed: VecDeque<(Ticket, u32)>,
    /// Adjacencies that left the state "rewrite", until no reader can still be at it.
    resting: HashMap<u32, Resting>,
}

/// An adjacency that was taken from rewrite to incomplete.
struct Resting {
    since: Ticket,
    /// Word 1 of the rewrite that a reader may still be at.
    tail: u64,
    /// What to set once the ticket has passed.
    then: Option<Words>,
}

/// One adjacency's words, as the writer means to store them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Words {
    head: u64,
    tail: u64,
    path: u64,
}

impl AdjacencyWriter {
    /// A new adjacency to `path` whose next hop's MAC address is not known: [`AdjacencyKind::Incomplete`].
    pub fn allocate(&mut self, path: Path) -> Result<AdjacencyIndex, AdjacencyError> {
        self.allocate_as(AdjacencyKind::Incomplete, path)
    }

    /// A new adjacency for a connected network: [`AdjacencyKind::Glean`]. `path.next_hop` is kept as given; 0 is usual.
    pub fn allocate_glean(&mut self, path: Path) -> Result<AdjacencyIndex, AdjacencyError> {
        self.allocate_as(AdjacencyKind::Glean, path)
    }

    fn allocate_as(&mut self, kind: AdjacencyKind, path: Path) -> Result<AdjacencyIndex, AdjacencyError> {
        self.reclaim();
        let full = AdjacencyError::Full { capacity: self.cells.len() };
        let index = match self.free.pop() {
            Some(index) => index,
            None if (self.fresh as usize) < self.cells.len() => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return Err(full),
        };
        let cell = self.cells.get(index as usize).ok_or(full)?;
        cell.store(Words { head: 0, tail: tail_of([0; 6], kind), path: path.word() });
        Ok(AdjacencyIndex(index))
    }

    /// Makes `index` a rewrite to `path` with this Ethernet header. At once where a concurrent reader cannot be misled (see the table at
    /// the module's head), which covers every change of a neighbour; otherwise the adjacency is incomplete until a later
    /// [`Self::reclaim`] finds that all readers have let go of the old one. Returns whether it is in force.
    pub fn set_rewrite(
        &mut self,
        index: AdjacencyIndex,
        header: [u8; 14],
        path: Path,
    ) -> Result<bool, AdjacencyError> {
        let [h0, h1, h2, h3, h4, h5, h6, h7, tail @ ..] = header;
        let new = Words {
            head: u64::from_ne_bytes([h0, h1, h2, h3, h4, h5, h6, h7]),
            tail: tail_of(tail, AdjacencyKind::Rewrite),
            path: path.word(),
        };
        let old = self.words(index)?;
        if old.kind() == AdjacencyKind::Rewrite {
            if old.mixes_with(new) {
                self.cell(index)?.store(new);
                return Ok(true);
            }
            self.set_incomplete(index)?;
        }
        if let Some(resting) = self.resting.get_mut(&index.0) {
            let last_rewrite = Words { tail: resting.tail, ..old };
            if !last_rewrite.mixes_with(new) && !self.quiescence.passed(resting.since) {
                resting.then = Some(new);
                return Ok(false);
            }
        }
        self.resting.remove(&index.0);
        self.cell(index)?.store(new);
        Ok(true)
    }

    /// The next hop's MAC address is not known any more. Path and old header stay, for the readers that are at them.
    pub fn set_incomplete(&mut self, index: AdjacencyIndex) -> Result<(), AdjacencyError> {
        let old = self.words(index)?;
        let cell = self.cell(index)?;
        match old.kind() {
            AdjacencyKind::Rewrite => {
                cell.tail.store(tail_of([0; 6], AdjacencyKind::Incomplete), Release);
                let resting = Resting { since: self.quiescence.ticket(), tail: old.tail, then: None };
                self.resting.insert(index.0, resting);
            }
            _ => {
                if let Some(resting) = self.resting.get_mut(&index.0) {
                    resting.then = None;
                }
            }
        }
        Ok(())
    }

    /// The path's MTU has changed; everything else stays.
    pub fn set_mtu(&mut self, index: AdjacencyIndex, mtu: u16) -> Result<(), AdjacencyError> {
        let old = self.words(index)?;
        let with_mtu = |path: u64| path & !(0xffff << 16) | u64::from(mtu) << 16;
        self.cell(index)?.path.store(with_mtu(old.path), Release);
        if let Some(Resting { then: Some(words), .. }) = self.resting.get_mut(&index.0) {
            words.path = with_mtu(words.path);
        }
        Ok(())
    }

    /// Gives `index` back. The caller has taken it out of every route before; packets that are on their way to it still find it as it
    /// was, until every reader has passed a quiescent point.
    pub fn free(&mut self, index: AdjacencyIndex) -> Result<(), AdjacencyError> {
        let now = self.words(index)?;
        self.resting.remove(&index.0);
        self.cell(index)?.tail.store(now.tail | FREED, Release);
        self.freed.push_back((self.quiescence.ticket(), index.0));
        Ok(())
    }

    /// Finishes what waited for readers: freed adjacencies become free, put-off rewrites come into force. Returns how many still wait.
    pub fn reclaim(&mut self) -> usize {
        while let Some(&(ticket, index)) = self.freed.front() {
            if !self.quiescence.passed(ticket) {
                break;
            }
            self.freed.pop_front();
            if let Some(cell) = self.cells.get(index as usize) {
                cell.store(Words { head: 0, tail: 0, path: 0 });
            }
            self.free.push(index);
        }
        let (cells, quiescence) = (&self.cells, &self.quiescence);
        self.resting.retain(|&index, resting| {
            if !quiescence.passed(resting.since) {
                return true;
            }
            if let (Some(words), Some(cell)) = (resting.then, cells.get(index as usize)) {
                cell.store(words);
            }
            false
        });
        self.freed.len() + self.resting.values().filter(|resting| resting.then.is_some()).count()
    }

    fn cell(&self, index: AdjacencyIndex) -> Result<&Cell, AdjacencyError> {
        let cell = self.cells.get(index.0 as usize).filter(|_| !index.is_special());
        cell.ok_or(AdjacencyError::NotAllocated { index: index.0 })
    }

    /// The words that are in force at an allocated `index`.
    fn words(&self, index: AdjacencyIndex) -> Result<Words, AdjacencyError> {
        let now = self.cell(index)?.load();
        match now.kind() {
            AdjacencyKind::Free => Err(AdjacencyError::NotAllocated { index: index.0 }),
            _ if now.tail & FREED != 0 => Err(AdjacencyError::NotAllocated { index: index.0 }),
            _ => Ok(Words { head: now.head, tail: now.tail, path: now.path }),
        }
    }
}

impl fmt::Debug for AdjacencyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdjacencyWriter")
            .field("capacity", &self.cells.len())
            .field("in_use", &(self.fresh as usize - self.free.len() - self.freed.len()))
            .finish_non_exhaustive()
    }
}

impl Path {
    const fn word(self) -> u64 {
        self.port as u64 | (self.mtu as u64) << 16 | (self.next_hop as u64) << 32
    }
}

impl Words {
    fn kind(self) -> AdjacencyKind {
        Adjacency { head: self.head, tail: self.tail, path: self.path }.kind()
    }

    /// Whether a reader that finds some words of the rewrite `self` and some of the rewrite `new` does right all the same: only the
    /// destination MAC (one word) and the MTU may differ, or only one word at all.
    fn mixes_with(self, new: Self) -> bool {
        const MTU: u64 = 0xffff << 16;
        let same = [self.head == new.head, self.tail == new.tail, self.path == new.path];
        let only_one = same.iter().filter(|same| !**same).count() <= 1;
        only_one || self.tail == new.tail && self.path & !MTU == new.path & !MTU
    }
}

impl Cell {
    #[inline]
    fn load(&self) -> Adjacency {
        let tail = self.tail.load(Acquire);
        Adjacency { head: self.head.load(Relaxed), tail, path: self.path.load(Relaxed) }
    }

    fn store(&self, words: Words) {
        self.head.store(words.head, Relaxed);
        self.path.store(words.path, Relaxed);
        self.tail.store(words.tail, Release);
    }
}

const fn tail_of(header_tail: [u8; 6], kind: AdjacencyKind) -> u64 {
    let [t0, t1, t2, t3, t4, t5] = header_tail;
    u64::from_ne_bytes([t0, t1, t2, t3, t4, t5, kind as u8, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    const PATH: Path = Path { port: 3, mtu: 1500, next_hop: 0x0a00_0001 };

    /// A header whose every byte is `byte`.
    fn header(byte: u8) -> [u8; 14] {
        [byte; 14]
    }

    fn table(readers: usize) -> (Adjacencies, AdjacencyWriter, Quiescence) {
        let quiescence = Quiescence::new(readers);
        let (adjacencies, writer) = Adjacencies::new(64, quiescence.clone());
        (adjacencies, writer, quiescence)
    }

    #[test]
    fn the_well_known_ones_are_there_and_cannot_be_changed() {
        let (adjacencies, mut writer, _) = table(0);
        for (index, kind) in [
            (AdjacencyIndex::UNREACHABLE, AdjacencyKind::Unreachable),
            (AdjacencyIndex::BLACKHOLE, AdjacencyKind::Drop),
            (AdjacencyIndex::PROHIBITED, AdjacencyKind::Prohibited),
            (AdjacencyIndex::LOCAL, AdjacencyKind::Local),
            (AdjacencyIndex::NO_PORT, AdjacencyKind::Unreachable),
        ] {
            assert!(index.is_special());
            assert_eq!(adjacencies.load(index).kind(), kind);
            let refused = AdjacencyError::NotAllocated { index: index.as_u32() };
            assert_eq!(writer.set_rewrite(index, header(1), PATH), Err(refused));
            assert_eq!(writer.free(index), Err(refused));
        }
        assert!(!writer.allocate(PATH).unwrap().is_special());
        assert_eq!(adjacencies.load(AdjacencyIndex::MAX).kind(), AdjacencyKind::Free, "beyond the table");
    }

    #[test]
    fn a_neighbour_comes_moves_and_goes_at_once() {
        let (adjacencies, mut writer, quiescence) = table(1);
        let _reader = quiescence.reader(0).unwrap();
        let index = writer.allocate(PATH).unwrap();
        let found = adjacencies.load(index);
        assert_eq!((found.kind(), found.next_hop()), (AdjacencyKind::Incomplete, PATH.next_hop));

        assert_eq!(writer.set_rewrite(index, header(7), PATH), Ok(true));
        let found = adjacencies.load(index);
        assert_eq!((found.kind(), found.header()), (AdjacencyKind::Rewrite, header(7)));
        assert_eq!((found.port(), found.mtu(), found.next_hop()), (3, 1500, PATH.next_hop));

        let mut moved = header(7);
        moved[..6].fill(9);
        assert_eq!(writer.set_rewrite(index, moved, Path { mtu: 9000, ..PATH }), Ok(true));
        assert_eq!((adjacencies.load(index).header(), adjacencies.load(index).mtu()), (moved, 9000));

        writer.set_incomplete(index).unwrap();
        assert_eq!(adjacencies.load(index).kind(), AdjacencyKind::Incomplete);
        let back = Path { mtu: 9000, ..PATH };
        assert_eq!(writer.set_rewrite(index, header(7), back), Ok(true), "nothing but the MAC has changed");
    }

    #[test]
    fn another_source_or_port_waits_for_the_readers() {
        let (adjacencies, mut writer, quiescence) = table(1);
        let reader = quiescence.reader(0).unwrap();
        let index = writer.allocate(PATH).unwrap();
        writer.set_rewrite(index, header(1), PATH).unwrap();
        let elsewhere = Path { port: 4, ..PATH };
        assert_eq!(writer.set_rewrite(index, header(2), elsewhere), Ok(false));
        assert_eq!(adjacencies.load(index).kind(), AdjacencyKind::Incomplete);
        writer.set_mtu(index, 1400).unwrap();
        assert_eq!(writer.reclaim(), 1);
        reader.quiescent();
        assert_eq!(writer.reclaim(), 0);
        let found = adjacencies.load(index);
        assert_eq!((found.kind(), found.header()), (AdjacencyKind::Rewrite, header(2)));
        assert_eq!((found.port(), found.mtu()), (4, 1400));
    }

    #[test]
    fn a_put_off_rewrite_is_forgotten_when_the_neighbour_goes() {
        let (adjacencies, mut writer, quiescence) = table(1);
        let reader = quiescence.reader(0).unwrap();
        let index = writer.allocate(PATH).unwrap();
        writer.set_rewrite(index, header(1), PATH).unwrap();
        writer.set_rewrite(index, header(2), PATH).unwrap();
        writer.set_incomplete(index).unwrap();
        reader.quiescent();
        writer.reclaim();
        assert_eq!(adjacencies.load(index).kind(), AdjacencyKind::Incomplete);
    }

    #[test]
    fn a_freed_one_stays_until_the_readers_have_passed() {
        let quiescence = Quiescence::new(1);
        let (adjacencies, mut writer) = Adjacencies::new(WELL_KNOWN.len() + 1, quiescence.clone());
        let reader = quiescence.reader(0).unwrap();
        let index = writer.allocate(PATH).unwrap();
        writer.set_rewrite(index, header(1), PATH).unwrap();
        writer.free(index).unwrap();
        let refused = AdjacencyError::NotAllocated { index: index.as_u32() };
        assert_eq!(writer.free(index), Err(refused), "once is enough");
        assert_eq!(writer.set_incomplete(index), Err(refused));
        assert_eq!(adjacencies.load(index).header(), header(1));
        assert_eq!(writer.allocate(PATH), Err(AdjacencyError::Full { capacity: adjacencies.capacity() }));
        reader.quiescent();
        assert_eq!(writer.reclaim(), 0);
        assert_eq!(adjacencies.load(index).kind(), AdjacencyKind::Free);
        assert_eq!(writer.allocate_glean(PATH), Ok(index));
        assert_eq!(adjacencies.load(index).kind(), AdjacencyKind::Glean);
    }

    /// Every rewrite's source MAC, EtherType, port, MTU and next hop carry one number, its destination MAC another: a reader that found
    /// parts of two rewrites would see it.
    #[test]
    fn no_reader_finds_parts_of_two_rewrites() {
        const STEPS: u32 = if cfg!(miri) { 60 } else { 5_000 };
        let (adjacencies, mut writer, quiescence) = table(1);
        let reader = quiescence.reader(0).unwrap();
        let index = writer.allocate(PATH).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (adjacencies, over) = (&adjacencies, &over);
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    let found = adjacencies.load(index);
                    if found.kind() == AdjacencyKind::Rewrite {
                        let [destination @ .., _, _, _, _, _, _, _, number] = found.header();
                        assert!(destination.iter().all(|&byte| byte == destination[0]));
                        assert!(found.header()[6..].iter().all(|&byte| byte == number));
                        assert_eq!((found.port(), found.next_hop()), (u16::from(number), u32::from(number)));
                    }
                    reader.quiescent();
                }
            });
            for step in 0..STEPS {
                let mut header = header((step / 4) as u8);
                header[..6].fill(step as u8);
                let number = header[13];
                let path =
                    Path { port: u16::from(number), mtu: u16::from(number), next_hop: u32::from(number) };
                if step % 7 == 0 {
                    writer.set_incomplete(index).unwrap();
                }
                if !writer.set_rewrite(index, header, path).unwrap() && step % 3 == 0 {
                    while writer.reclaim() > 0 {
                        std::thread::yield_now();
                    }
                }
            }
            over.store(true, Relaxed);
        });
    }
}
