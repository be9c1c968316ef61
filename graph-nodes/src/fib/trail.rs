//! Where a prefix belongs in the tables: the blocks on the way to it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::words::{FIRST_BITS, Pointer, STRIDE};
use super::{Address, BLOCK, Tables};

/// The first table, or a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    First,
    /// `depth` bits lead to it.
    Block {
        block: u32,
        depth: u8,
    },
}

impl Place {
    /// Bits that are used up when one of its words has been read.
    pub(super) fn end(self) -> u8 {
        match self {
            Place::First => FIRST_BITS,
            Place::Block { depth, .. } => depth + STRIDE,
        }
    }
}

/// The most blocks that follow one another: one of 24 bits, …, one of 120.
const LONGEST: usize = 13;

/// The first table and the blocks behind it, as far as they lead to a prefix, and what is there.
pub(super) struct Trail {
    places: [Place; LONGEST + 1],
    last: usize,
    /// The word at the end, if the prefix is not one of the last place's own: a leaf, or a [`Pointer`] past the prefix.
    pub(super) word: Option<u64>,
}

impl Trail {
    /// The way to the prefix that is the first `length` of these bits.
    pub(super) fn to<A: Address>(tables: &Tables<A>, high: u128, length: u8) -> Trail {
        let mut trail = Trail { places: [Place::First; LONGEST + 1], last: 0, word: None };
        while length > trail.end().end() {
            let Some(word) = tables.place(trail.end(), high) else { break };
            let word = word.load(Relaxed);
            let inside = Pointer::of(word).filter(|pointer| {
                let gate = tables.gates.get(pointer.gate());
                !pointer.is_lone() && gate.is_none_or(|gate| gate.length() < length && gate.holds(high))
            });
            let Some(pointer) = inside else {
                trail.word = Some(word);
                break;
            };
            let Some(place) = trail.places.get_mut(trail.last + 1) else { break };
            *place = Place::Block { block: pointer.block(), depth: pointer.depth() };
            trail.last += 1;
        }
        trail
    }

    /// The last place.
    pub(super) fn end(&self) -> Place {
        self.places.get(self.last).copied().unwrap_or(Place::First)
    }

    /// From the last place to the first table.
    pub(super) fn back(&self) -> impl Iterator<Item = Place> + '_ {
        self.places.iter().take(self.last + 1).rev().copied()
    }

    /// Without the last place, if that is a block: its number.
    pub(super) fn pop(&mut self) -> Option<u32> {
        let Place::Block { block, .. } = self.end() else { return None };
        self.last -= 1;
        Some(block)
    }
}

impl<A: Address> Tables<A> {
    /// The word that these bits lead to in a place.
    pub(super) fn place(&self, place: Place, high: u128) -> Option<&AtomicU64> {
        match place {
            Place::First => self.first.get((high >> (128 - u32::from(FIRST_BITS))) as usize),
            Place::Block { block, depth } => {
                self.blocks.get(block as usize * BLOCK + usize::from((high << depth >> 120) as u8))
            }
        }
    }

    /// The words of a place that the first `length` of these bits lead to.
    pub(super) fn places(&self, place: Place, high: u128, length: u8) -> &[AtomicU64] {
        let last = high | !super::prefix::mask(length);
        match place {
            Place::First => {
                let shift = 128 - u32::from(FIRST_BITS);
                self.first.range((high >> shift) as usize, (last >> shift) as usize)
            }
            Place::Block { block, depth } => {
                let word = |high: u128| block as usize * BLOCK + usize::from((high << depth >> 120) as u8);
                self.blocks.range(word(high), word(last))
            }
        }
    }
}
