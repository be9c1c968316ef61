//! Adjacencies: what to write in front of a packet, and which port to send it to, per next hop.
//!
//! A table of fixed capacity. Workers read it wait-free; the control thread writes in place, by single atomic stores.
//!
//! ```text
//!           byte 0                                                     byte 7
//! word 0    | Ethernet header bytes 0..8: destination MAC, source MAC 0..2   |
//! word 1    | header bytes 8..14: source MAC 2..6, EtherType  | kind | freed |
//! word 2    | port u16 | MTU u16 | spare                                     |   (a number: port in bits 0..16, …)
//! word 3    | tags: outer type, outer control, inner type, inner control     |   (0 where there is none)
//! ```
//! The next hop's own address, which only `glean` asks for, stands in a table beside these cells; an address of IPv4 as
//! [`mapped`] says.
//!
//! # What a reader may see while the writer works
//! A reader loads word 1 (acquire), then the others. The writer stores the others first, then word 1 (release). So a reader that sees
//! a kind sees the other words as they were when that kind was set, or newer.
//!
//! | change | stores | a concurrent reader sees | which is right because |
//! |---|---|---|---|
//! | incomplete → rewrite (neighbour resolved) | 0, 2, 3, then 1 | incomplete, or the whole rewrite | the kind is published last |
//! | the neighbour's MAC changes | 0 | the old or the new MAC, whole | one store; the others stay |
//! | MTU changes | 2 | the old or the new MTU | one store; the MTU and the MAC do not depend on each other |
//! | rewrite → incomplete (neighbour lost) | 1 | the old rewrite, or incomplete | the others stay |
//! | source MAC, tags, port or next hop changes | 1 = incomplete; after quiescence all, 1 last | the old rewrite, incomplete, the new rewrite | a reader that began with the old rewrite has finished before a word of the new one is stored |
//!
//! The last row is why [`AdjacencyWriter::reclaim`] must be called now and then: it finishes such changes, and gives freed adjacencies back.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::flow_hash::mapped;
use crate::frames::Frames;
use crate::packet::Packet;
use crate::quiescence::{Quiescence, Ticket};
use crate::wire::{
    ethernet,
    vlan::{self, Tags},
};

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
    tags: u64,
}

impl Adjacency {
    /// What to do with the packet.
    #[inline]
    pub const fn kind(self) -> AdjacencyKind {
        AdjacencyKind::from_low_bits(self.tail.to_ne_bytes()[6])
    }

    /// The Ethernet header to write, without its tags: destination, source, EtherType. Zero unless the kind is [`AdjacencyKind::Rewrite`].
    #[inline(always)]
    pub const fn header(self) -> [u8; 14] {
        let [h0, h1, h2, h3, h4, h5, h6, h7] = self.head.to_ne_bytes();
        let [t0, t1, t2, t3, t4, t5, _, _] = self.tail.to_ne_bytes();
        [h0, h1, h2, h3, h4, h5, h6, h7, t0, t1, t2, t3, t4, t5]
    }

    /// The whole Ethernet header to write, tags included.
    #[inline(always)]
    pub(crate) fn link_header(self) -> LinkHeader {
        let header = self.header();
        let tags = self.tags();
        let mut link = LinkHeader { bytes: [0; vlan::LONGEST], length: ethernet::LENGTH + tags.length() };
        if let Some(start) = link.bytes.first_chunk_mut() {
            *start = header;
        }
        if tags != Tags::NONE {
            let [addresses @ .., a, b] = header;
            let [t0, t1, t2, t3, t4, t5, t6, t7] = tags.bytes();
            let behind = match link.length {
                vlan::LONG => [t0, t1, t2, t3, a, b, 0, 0, 0, 0],
                _ => [t0, t1, t2, t3, t4, t5, t6, t7, a, b],
            };
            for (to, from) in link.bytes.iter_mut().zip(addresses.into_iter().chain(behind)) {
                *to = from;
            }
        }
        link
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

    /// Whether the header is to be written, and the packet sent.
    #[inline]
    pub(crate) fn is_rewrite(self) -> bool {
        self.kind() == AdjacencyKind::Rewrite
    }

    /// The tags that stand in front of the header's EtherType.
    #[inline(always)]
    pub const fn tags(self) -> Tags {
        Tags::from_word(self.tags)
    }
}

impl fmt::Debug for Adjacency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adjacency")
            .field("kind", &self.kind())
            .field("header", &format_args!("{:02x?}", self.header()))
            .field("port", &self.port())
            .field("mtu", &self.mtu())
            .field("tags", &self.tags())
            .finish()
    }
}

/// An Ethernet header with the tags that it has.
#[derive(Clone, Copy)]
pub(crate) struct LinkHeader {
    bytes: [u8; vlan::LONGEST],
    length: usize,
}

impl LinkHeader {
    /// Its bytes in a frame.
    #[inline(always)]
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The header, if it is so long.
    #[inline(always)]
    pub(crate) fn bytes<const LENGTH: usize>(&self) -> Option<[u8; LENGTH]> {
        self.bytes.first_chunk().copied().filter(|_| self.length == LENGTH)
    }

    /// Writes the header in front of the packet's IP header, where another one has been; `link` is that one. `false`: it is of another length.
    #[inline(always)]
    pub(crate) fn replace(&self, link: &mut [u8]) -> bool {
        // Of fixed lengths, so that each is a store or two.
        match self.length {
            _ if link.len() != self.length => return false,
            ethernet::LENGTH => put::<{ ethernet::LENGTH }>(link, &self.bytes),
            vlan::LONG => put::<{ vlan::LONG }>(link, &self.bytes),
            _ => put::<{ vlan::LONGEST }>(link, &self.bytes),
        }
        true
    }

    /// As [`replace`](Self::replace) of a header of another length: moves the packet's start to where the new one begins. `false`, and nothing is changed, where the frame has no
    /// room for it.
    #[inline(never)]
    #[must_use]
    pub(crate) fn write(&self, frames: &Frames, packet: &mut Packet) -> bool {
        // Both are at most 255.
        if !packet.move_start(i16::from(packet.l3) - self.length as i16) {
            return false;
        }
        packet.l3 = self.length as u8;
        let frame = frames.bytes_mut(packet);
        frame.get_mut(..self.length).is_some_and(|link| self.replace(link))
    }
}

#[inline(always)]
fn put<const LENGTH: usize>(link: &mut [u8], bytes: &[u8; vlan::LONGEST]) {
    if let Some((to, from)) = link.first_chunk_mut::<LENGTH>().zip(bytes.first_chunk()) {
        *to = *from;
    }
}

/// Half a cache line; see the module's drawing.
#[repr(C, align(32))]
#[derive(Default)]
struct Cell {
    head: AtomicU64,
    tail: AtomicU64,
    path: AtomicU64,
    tags: AtomicU64,
}

/// A next hop's address, its upper and its lower half; 0: there is none.
#[derive(Default)]
struct Hop([AtomicU64; 2]);

#[derive(Clone)]
struct Table {
    cells: Arc<[Cell]>,
    /// As many.
    hops: Arc<[Hop]>,
}

/// The readers' side. Clones read the same table.
#[derive(Clone)]
pub struct Adjacencies(Table);

impl Adjacencies {
    /// A table for `capacity` adjacencies (at least the five well-known ones, at most 2^24; 48 bytes each), and its one writer.
    pub fn new(capacity: usize, quiescence: Quiescence) -> (Self, AdjacencyWriter) {
        let capacity = capacity.clamp(WELL_KNOWN.len(), AdjacencyIndex::MAX.0 as usize + 1);
        let cells: Arc<[Cell]> = (0..capacity).map(|_| Cell::default()).collect();
        let hops = (0..capacity).map(|_| Hop::default()).collect();
        for (cell, kind) in cells.iter().zip(WELL_KNOWN) {
            cell.tail.store(tail_of([0; 6], kind), Release);
        }
        let table = Table { cells, hops };
        let writer = AdjacencyWriter {
            table: table.clone(),
            quiescence,
            fresh: WELL_KNOWN.len() as u32,
            free: Vec::new(),
            freed: VecDeque::new(),
            resting: HashMap::new(),
        };
        (Self(table), writer)
    }

    /// How many adjacencies the table can hold.
    pub fn capacity(&self) -> usize {
        self.0.cells.len()
    }

    /// Adjacency `index` as it is now. An index beyond the table reads as [`AdjacencyKind::Free`].
    #[inline]
    pub fn load(&self, index: AdjacencyIndex) -> Adjacency {
        match self.0.cells.get(index.0 as usize) {
            Some(cell) => cell.load(),
            None => Adjacency { head: 0, tail: 0, path: 0, tags: 0 },
        }
    }

    /// The address of the next hop that adjacency `index` is for; `None` where there is none (glean: the packet's own destination is the next hop). It is the
    /// adjacency's for as long as this is allocated.
    pub fn next_hop(&self, index: AdjacencyIndex) -> Option<IpAddr> {
        let bits = self.0.hop(index.0);
        (bits != 0).then(|| unmapped(bits))
    }
}

impl fmt::Debug for Adjacencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adjacencies").field("capacity", &self.capacity()).finish()
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

/// The address of an IPv6 address's bits, IPv4 where it is mapped.
fn unmapped(bits: u128) -> IpAddr {
    std::net::Ipv6Addr::from_bits(bits).to_canonical()
}

/// Where an adjacency leads: port, MTU in bytes, next hop (none for a glean).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The port to send to.
    pub port: u16,
    /// The greatest IP packet, in bytes, that the port carries.
    pub mtu: u16,
    /// The next hop's address; none for a glean.
    pub next_hop: Option<IpAddr>,
    /// The tags that the port's frames have, none on a port that is a device of its own.
    pub tags: Tags,
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
    table: Table,
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
    tags: u64,
    hop: u128,
}

impl AdjacencyWriter {
    /// A new adjacency to `path` whose next hop's MAC address is not known: [`AdjacencyKind::Incomplete`].
    pub fn allocate(&mut self, path: Path) -> Result<AdjacencyIndex, AdjacencyError> {
        self.allocate_as(AdjacencyKind::Incomplete, path)
    }

    /// A new adjacency for a connected network: [`AdjacencyKind::Glean`]. `path.next_hop` is kept as given; none is usual.
    pub fn allocate_glean(&mut self, path: Path) -> Result<AdjacencyIndex, AdjacencyError> {
        self.allocate_as(AdjacencyKind::Glean, path)
    }

    fn allocate_as(&mut self, kind: AdjacencyKind, path: Path) -> Result<AdjacencyIndex, AdjacencyError> {
        self.reclaim();
        let full = AdjacencyError::Full { capacity: self.table.cells.len() };
        let index = match self.free.pop() {
            Some(index) => index,
            None if (self.fresh as usize) < self.table.cells.len() => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => return Err(full),
        };
        self.table.store(index, Words { head: 0, tail: tail_of([0; 6], kind), ..path.words() });
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
            ..path.words()
        };
        let old = self.words(index)?;
        if old.kind() == AdjacencyKind::Rewrite {
            if old.mixes_with(new) {
                self.table.store(index.0, new);
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
        self.table.store(index.0, new);
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
            self.table.store(index, Words { head: 0, tail: 0, path: 0, tags: 0, hop: 0 });
            self.free.push(index);
        }
        let (table, quiescence) = (&self.table, &self.quiescence);
        self.resting.retain(|&index, resting| {
            if !quiescence.passed(resting.since) {
                return true;
            }
            if let Some(words) = resting.then {
                table.store(index, words);
            }
            false
        });
        self.freed.len() + self.resting.values().filter(|resting| resting.then.is_some()).count()
    }

    fn cell(&self, index: AdjacencyIndex) -> Result<&Cell, AdjacencyError> {
        let cell = self.table.cells.get(index.0 as usize).filter(|_| !index.is_special());
        cell.ok_or(AdjacencyError::NotAllocated { index: index.0 })
    }

    /// The words that are in force at an allocated `index`.
    fn words(&self, index: AdjacencyIndex) -> Result<Words, AdjacencyError> {
        let now = self.cell(index)?.load();
        match now.kind() {
            AdjacencyKind::Free => Err(AdjacencyError::NotAllocated { index: index.0 }),
            _ if now.tail & FREED != 0 => Err(AdjacencyError::NotAllocated { index: index.0 }),
            _ => {
                let Adjacency { head, tail, path, tags } = now;
                Ok(Words { head, tail, path, tags, hop: self.table.hop(index.0) })
            }
        }
    }
}

impl fmt::Debug for AdjacencyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdjacencyWriter")
            .field("capacity", &self.table.cells.len())
            .field("in_use", &(self.fresh as usize - self.free.len() - self.freed.len()))
            .finish_non_exhaustive()
    }
}

impl Path {
    /// The words that say where to; nothing of a header.
    fn words(self) -> Words {
        let hop = match self.next_hop {
            Some(IpAddr::V4(address)) => mapped(address.to_bits()),
            Some(IpAddr::V6(address)) => address.to_bits(),
            None => 0,
        };
        let path = u64::from(self.port) | u64::from(self.mtu) << 16;
        Words { head: 0, tail: 0, path, tags: self.tags.word(), hop }
    }
}

impl Words {
    fn kind(self) -> AdjacencyKind {
        Adjacency { head: self.head, tail: self.tail, path: self.path, tags: self.tags }.kind()
    }

    /// Whether a reader that finds some words of the rewrite `self` and some of the rewrite `new` does right all the same: only the
    /// destination MAC (one word) and the MTU may differ, or only one word at all.
    fn mixes_with(self, new: Self) -> bool {
        const MTU: u64 = 0xffff << 16;
        if (self.tags, self.hop) != (new.tags, new.hop) {
            return false;
        }
        let same = [self.head == new.head, self.tail == new.tail, self.path == new.path];
        let only_one = same.iter().filter(|same| !**same).count() <= 1;
        only_one || self.tail == new.tail && self.path & !MTU == new.path & !MTU
    }
}

impl Cell {
    #[inline]
    fn load(&self) -> Adjacency {
        let tail = self.tail.load(Acquire);
        let [head, path, tags] = [&self.head, &self.path, &self.tags].map(|word| word.load(Relaxed));
        Adjacency { head, tail, path, tags }
    }
}

impl Table {
    /// What is beyond the table is not stored.
    fn store(&self, index: u32, words: Words) {
        if let Some((cell, Hop([high, low]))) =
            self.cells.get(index as usize).zip(self.hops.get(index as usize))
        {
            high.store((words.hop >> 64) as u64, Relaxed);
            low.store(words.hop as u64, Relaxed);
            cell.head.store(words.head, Relaxed);
            cell.path.store(words.path, Relaxed);
            cell.tags.store(words.tags, Relaxed);
            cell.tail.store(words.tail, Release);
        }
    }

    fn hop(&self, index: u32) -> u128 {
        self.hops.get(index as usize).map_or(0, |Hop([high, low])| {
            u128::from(high.load(Relaxed)) << 64 | u128::from(low.load(Relaxed))
        })
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

    const PATH: Path = Path {
        port: 3,
        mtu: 1500,
        next_hop: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1))),
        tags: Tags::NONE,
    };

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
        assert_eq!((found.kind(), adjacencies.next_hop(index)), (AdjacencyKind::Incomplete, PATH.next_hop));

        assert_eq!(writer.set_rewrite(index, header(7), PATH), Ok(true));
        let found = adjacencies.load(index);
        assert_eq!((found.kind(), found.header()), (AdjacencyKind::Rewrite, header(7)));
        assert_eq!((found.port(), found.mtu(), adjacencies.next_hop(index)), (3, 1500, PATH.next_hop));

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
                        assert_eq!(
                            (found.port(), found.tags().word()),
                            (u16::from(number), u64::from(number))
                        );
                    }
                    reader.quiescent();
                }
            });
            for step in 0..STEPS {
                let mut header = header((step / 4) as u8);
                header[..6].fill(step as u8);
                let number = header[13];
                let path = Path {
                    port: u16::from(number),
                    mtu: u16::from(number),
                    next_hop: None,
                    tags: Tags::from_word(u64::from(number)),
                };
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
