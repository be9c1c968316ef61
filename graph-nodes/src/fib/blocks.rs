//! The writer's work on levels: blocks and gates come and go.

use std::sync::atomic::Ordering::{Relaxed, Release};

use super::prefix::mask;
use super::trail::{Place, Trail};
use super::words::{Gate, Pointer, STRIDE};
use super::writer::Unlinked;
use super::{Address, BLOCK, FibWriter, Leaf, RouteIndex};

impl<A: Address> FibWriter<A> {
    /// Takes a prefix that is not there into the tables. `None`: there is no block or no gate for it; nothing that readers find has changed.
    pub(super) fn settle(&mut self, high: u128, length: u8, leaf: Leaf) -> Option<()> {
        // Once for each level that is missing: one before what lies here, if anything does.
        loop {
            let trail = Trail::to(&self.tables, high, length);
            let Some(word) = trail.word else {
                self.rib.set(high, length, trail.end(), RouteIndex(leaf.route()));
                self.join(trail.end());
                self.paint(trail.end(), high, length, leaf.0);
                return Some(());
            };
            match Pointer::of(word) {
                None if A::SPARSE => {
                    let gate = self.allocate_gate(high, length, word, leaf.0)?;
                    self.publish(trail.end(), high, Pointer::lone(gate));
                    self.join(trail.end());
                    return Some(());
                }
                None => {
                    let depth = trail.end().end();
                    let block = self.allocate_block(word)?;
                    self.publish(trail.end(), high, Pointer::block_at(block, depth, 0));
                    self.join(trail.end());
                }
                Some(pointer) => self.part(&trail, pointer, high, length)?,
            }
        }
    }

    /// Puts a block before what the trail's end leads to: as deep as that and the prefix of `length` bits have in common.
    fn part(&mut self, trail: &Trail, pointer: Pointer, high: u128, length: u8) -> Option<()> {
        let there = self.tables.gates.get(pointer.gate())?;
        let (key, key_length) = (there.key(), there.length());
        let (outside, inside) = (there.outside().load(Relaxed), there.inside().load(Relaxed));
        let common = ((high ^ key).leading_zeros() as u8).min(length - 1).min(key_length - 1);
        let depth = common / STRIDE * STRIDE;
        let end = depth + STRIDE;

        // All that may be refused, first.
        let gated = depth > trail.end().end();
        let gate = if gated { self.allocate_gate(high & mask(depth), depth, outside, 0)? } else { 0 };
        let again =
            if key_length > end { self.allocate_gate(key, key_length, outside, inside) } else { Some(0) };
        let block = again.and_then(|_| self.allocate_block(outside));
        let (Some(again), Some(block)) = (again, block) else {
            self.free_gates.extend([Some(gate), again].into_iter().flatten().filter(|gate| *gate != 0));
            return None;
        };

        let place = Place::Block { block, depth };
        if pointer.is_lone() && key_length <= end {
            self.rib.set(key, key_length, place, RouteIndex(Leaf(inside).route()));
            self.paint(place, key, key_length, inside);
        } else if pointer.is_lone() {
            self.publish(place, key, Pointer::lone(again));
        } else {
            self.publish(place, key, Pointer::block_at(pointer.block(), pointer.depth(), again));
        }
        self.join(place);
        self.publish(trail.end(), high, Pointer::block_at(block, depth, gate));
        self.unlink(Unlinked::Gate(pointer.gate()));
        Some(())
    }

    /// One prefix or word less that leads on at the trail's end; with the last one the block goes.
    pub(super) fn leave(&mut self, mut trail: Trail, high: u128) {
        while let Some(block) = trail.pop() {
            let Some(users) = self.block_users.get_mut(block as usize) else { return };
            *users -= 1;
            if *users > 0 {
                return;
            }
            // Every word of the block is the same leaf now.
            let word = self.tables.blocks.get(block as usize * BLOCK).map_or(0, |word| word.load(Relaxed));
            let before = self.tables.place(trail.end(), high).map_or(0, |place| place.load(Relaxed));
            self.publish(trail.end(), high, word);
            self.unlink(Unlinked::Block(block));
            if let Some(gate) = Pointer::of(before).map(Pointer::gate).filter(|gate| *gate != 0) {
                self.unlink(Unlinked::Gate(gate));
            }
        }
    }

    /// One prefix or word more that leads on.
    fn join(&mut self, place: Place) {
        if let Place::Block { block, .. } = place
            && let Some(users) = self.block_users.get_mut(block as usize)
        {
            *users += 1;
        }
    }

    /// Stores a word where these bits lead in a place.
    fn publish(&self, place: Place, high: u128, word: u64) {
        if let Some(place) = self.tables.place(place, high) {
            // Release: whoever finds the word finds what it leads to.
            place.store(word, Release);
        }
    }

    /// A block whose words all are `word`.
    fn allocate_block(&mut self, word: u64) -> Option<u32> {
        let limit = self.limits.extension_blocks;
        if self.free_blocks.is_empty() && self.block_users.len() as u32 >= limit {
            self.reclaim();
        }
        let block = match self.free_blocks.pop() {
            Some(block) => block,
            None if (self.block_users.len() as u32) < limit => {
                self.block_users.push(0);
                self.block_users.len() as u32 - 1
            }
            None => return None,
        };
        let start = block as usize * BLOCK;
        for place in self.tables.blocks.range(start, start + BLOCK - 1) {
            place.store(word, Relaxed);
        }
        Some(block)
    }

    fn allocate_gate(&mut self, high: u128, length: u8, outside: u64, inside: u64) -> Option<u32> {
        let most = super::writer::most_gates::<A>(self.limits);
        if self.free_gates.is_empty() && self.gates >= most {
            self.reclaim();
        }
        let gate = match self.free_gates.pop() {
            Some(gate) => gate,
            None if self.gates < most => {
                self.gates += 1;
                self.gates
            }
            None => return None,
        };
        self.tables.gates.get(gate).map(|place: Gate<'_>| place.fill(high, length, outside, inside))?;
        Some(gate)
    }
}
