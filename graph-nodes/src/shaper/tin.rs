//! A tin in use: the lists of its flows, and what it counts.

use super::{
    delays::Delays,
    memory::filled,
    rounds::{List, Rounds},
    sets::{NONE, next},
};

/// Packets of a tin, in and out; bytes without overhead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were taken into a queue.
    pub enqueued: u64,
    /// Their bytes.
    pub enqueued_bytes: u64,
    /// Packets that have left.
    pub dequeued: u64,
    /// Their bytes.
    pub dequeued_bytes: u64,
    /// Dropped by CoDel.
    pub codel: u64,
    /// Dropped by BLUE: the flow has not heeded drops.
    pub blue: u64,
    /// Dropped from the longest queue for want of room.
    pub overlimit: u64,
    /// Marked by CoDel instead of being dropped; they have left.
    pub marked: u64,
}

impl Counters {
    /// Packets that were dropped from a queue.
    pub fn dropped(&self) -> u64 {
        self.codel + self.blue + self.overlimit
    }

    pub(super) fn add(&mut self, other: &Counters) {
        self.enqueued += other.enqueued;
        self.enqueued_bytes += other.enqueued_bytes;
        self.dequeued += other.dequeued;
        self.dequeued_bytes += other.dequeued_bytes;
        self.codel += other.codel;
        self.blue += other.blue;
        self.overlimit += other.overlimit;
        self.marked += other.marked;
    }
}

/// How flows found their queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Packets whose flow stood elsewhere than in its own way.
    pub indirect: u32,
    /// Flows that were new.
    pub misses: u32,
    /// Packets that had to share another flow's queue.
    pub collisions: u32,
}

/// A customer's packets of one class: what every packet touches, counters, delays, rounds.
#[repr(C, align(64))]
pub(super) struct Tin {
    pub(super) sparse: List,
    /// Whose it is; the next free tin while nobody's.
    pub(super) leaf: u32,
    pub(super) number: u8,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    /// The flow that had the most packets when it was last looked at, and how many.
    pub(super) longest: u32,
    pub(super) longest_packets: u32,
    pub(super) sparse_flows: u16,
    pub(super) bulk_flows: u16,
    /// Bytes that it has sent, times the inverse of its share, in 1/256: against the leaf's clock.
    pub(super) clock: u64,
    pub(super) idle_since: u64,
    /// Listed flows that BLUE drops from.
    pub(super) unresponsive: u32,
    pub(super) longest_packet: u32,
    pub(super) counters: Counters,
    /// Its lists fill a line.
    pub(super) rounds: Rounds,
    pub(super) delays: Delays,
    pub(super) ways: Ways,
}

impl Tin {
    pub(super) fn new(leaf: u32, number: u8) -> Tin {
        Tin {
            sparse: List::EMPTY,
            leaf,
            number,
            packets: 0,
            bytes: 0,
            longest: NONE,
            longest_packets: 0,
            sparse_flows: 0,
            bulk_flows: 0,
            clock: 0,
            idle_since: 0,
            counters: Counters::default(),
            delays: Delays::default(),
            ways: Ways::default(),
            unresponsive: 0,
            longest_packet: 0,
            rounds: Rounds::EMPTY,
        }
    }
}

/// The tins in use of all customers.
pub(super) struct TinPool {
    pub(super) tins: Vec<Tin>,
    free: u32,
    hand: usize,
}

/// Tins looked at for an idle one when none is free.
const SWEEP: usize = 64;

impl TinPool {
    pub(super) fn new(capacity: usize) -> TinPool {
        let tins = filled(capacity, |number| Tin::new(next(number, capacity), u8::MAX));
        TinPool { tins, free: if capacity == 0 { NONE } else { 0 }, hand: 0 }
    }

    /// A free tin, or the stalest of the idle ones that the hand passes; its former leaf, if it had one, is in it.
    pub(super) fn candidate(&mut self, now: u64) -> Option<u32> {
        if self.free != NONE {
            let number = self.free;
            self.free = self.tins[number as usize].leaf;
            self.tins[number as usize].leaf = NONE;
            return Some(number);
        }
        let mut stalest: Option<(u64, u32)> = None;
        for _ in 0..SWEEP.min(self.tins.len()) {
            self.hand = if self.hand + 1 >= self.tins.len() { 0 } else { self.hand + 1 };
            let tin = &self.tins[self.hand];
            if tin.packets == 0 && tin.number != u8::MAX {
                let age = now.wrapping_sub(tin.idle_since);
                if stalest.is_none_or(|(oldest, _)| age > oldest) {
                    stalest = Some((age, self.hand as u32));
                }
            }
        }
        stalest.map(|(_, number)| number)
    }

    /// Gives an empty tin back.
    pub(super) fn release(&mut self, number: u32) {
        let tin = &mut self.tins[number as usize];
        *tin = Tin::new(self.free, u8::MAX);
        self.free = number;
    }
}
