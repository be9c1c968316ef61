//! Words of the tables that lead on, and gates.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::memory::{Pages, Zeroed};

/// Bits of an address that the first table takes.
pub(super) const FIRST_BITS: u8 = 24;
/// Bits that a block takes.
pub(super) const STRIDE: u8 = 8;

/// Marks a word that is no leaf.
pub(super) const EXTENDED: u64 = 1 << 63;

/// A word that leads on: to a block, or to a prefix that is alone.
#[derive(Clone, Copy)]
pub(super) struct Pointer(u64);

impl Pointer {
    const LONE: u64 = 1 << 62;
    const DEPTH_SHIFT: u32 = 56;
    const GATE_SHIFT: u32 = 32;
    const GATES: u64 = (1 << 24) - 1;

    /// To a block that `depth` bits lead to, which is a multiple of eight; through a gate unless its number is 0.
    pub(super) const fn block_at(block: u32, depth: u8, gate: u32) -> u64 {
        EXTENDED
            | ((depth / STRIDE) as u64) << Self::DEPTH_SHIFT
            | (gate as u64) << Self::GATE_SHIFT
            | block as u64
    }

    /// To a prefix that is alone behind its gate.
    pub(super) const fn lone(gate: u32) -> u64 {
        EXTENDED | Self::LONE | (gate as u64) << Self::GATE_SHIFT
    }

    #[inline(always)]
    pub(super) const fn of(word: u64) -> Option<Pointer> {
        if word & EXTENDED == 0 { None } else { Some(Pointer(word)) }
    }

    #[inline(always)]
    pub(super) const fn is_lone(self) -> bool {
        self.0 & Self::LONE != 0
    }

    #[inline(always)]
    pub(super) const fn block(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub(super) const fn depth(self) -> u8 {
        (self.0 >> Self::DEPTH_SHIFT) as u8 % 32 * STRIDE
    }

    #[inline(always)]
    pub(super) const fn gate(self) -> u32 {
        (self.0 >> Self::GATE_SHIFT & Self::GATES) as u32
    }
}

/// Words from one gate to the next: a cache line.
const SPACING: usize = 8;
/// Words of a gate: the key's halves, its length, the leaf outside, the leaf inside, the halves of the mask of the bits that count.
const WORDS: usize = 7;

/// Stands before what lies deeper than the next level: the bits that lead there, and the leaf of addresses that have others.
#[derive(Clone, Copy)]
pub(super) struct Gate<'a>([&'a AtomicU64; WORDS]);

/// Gates by number; there is none with number 0.
pub(super) struct Gates(Zeroed<AtomicU64>);

impl Gates {
    /// A pointer has room for no higher number.
    pub(super) const MOST: u32 = Pointer::GATES as u32;

    pub(super) fn new(highest: u32) -> io::Result<Gates> {
        Ok(Gates(Zeroed::new((highest as usize + 1) * SPACING, Pages::HugeOnUse)?))
    }

    #[inline(always)]
    pub(super) fn get(&self, gate: u32) -> Option<Gate<'_>> {
        let first = gate as usize * SPACING;
        self.0
            .range(first, first + WORDS - 1)
            .first_chunk::<WORDS>()
            .map(|words| Gate(words.each_ref()))
            .filter(|_| gate != 0)
    }
}

impl<'a> Gate<'a> {
    /// Before the gate is published.
    pub(super) fn fill(self, high: u128, length: u8, outside: u64, inside: u64) {
        let mask = super::prefix::mask(length);
        let [key_high, mask_high] = [high, mask].map(|bits| (bits >> 64) as u64);
        let values = [key_high, high as u64, u64::from(length), outside, inside, mask_high, mask as u64];
        for (word, value) in self.0.into_iter().zip(values) {
            word.store(value, Relaxed);
        }
    }

    /// Where the address goes through; the bits, the first one highest.
    #[inline(always)]
    pub(super) fn holds(self, high: u128) -> bool {
        let [key_high, key_low, _, _, _, mask_high, mask_low] = self.0.map(|word| word.load(Relaxed));
        ((high >> 64) as u64 ^ key_high) & mask_high | (high as u64 ^ key_low) & mask_low == 0
    }

    /// The bits that lead through, zeros behind them.
    #[inline(always)]
    pub(super) fn key(self) -> u128 {
        let [high, low, ..] = self.0;
        u128::from(high.load(Relaxed)) << 64 | u128::from(low.load(Relaxed))
    }

    /// How many they are.
    pub(super) fn length(self) -> u8 {
        self.0[2].load(Relaxed) as u8
    }

    /// The leaf of addresses that do not go through.
    #[inline(always)]
    pub(super) fn outside(self) -> &'a AtomicU64 {
        self.0[3]
    }

    /// The leaf of the prefix that is alone.
    #[inline(always)]
    pub(super) fn inside(self) -> &'a AtomicU64 {
        self.0[4]
    }

    /// What an address finds at the gate of a lone prefix.
    #[inline(always)]
    pub(super) fn lone(self, high: u128) -> u64 {
        // Both are in the gate's line: no branch.
        let word = if self.holds(high) { self.inside() } else { self.outside() };
        word.load(Acquire)
    }
}
