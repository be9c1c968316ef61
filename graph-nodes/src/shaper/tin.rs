//! A tin in use: the lists of its flows, and what it counts.

use super::{
    delays::Delays,
    flows::{IDLE, SWEEP},
    rounds::{List, Lists, Rounds},
    sets::{NONE, next},
};
use crate::memory::filled;

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
    /// Pure ACKs that a later one made redundant.
    pub ack_drops: u64,
    /// Marked by CoDel instead of being dropped; they have left.
    pub marked: u64,
}

impl Counters {
    /// Packets that were dropped from a queue.
    pub fn dropped(&self) -> u64 {
        self.codel + self.blue + self.overlimit + self.ack_drops
    }

    pub(super) fn add(&mut self, other: &Counters) {
        self.enqueued += other.enqueued;
        self.enqueued_bytes += other.enqueued_bytes;
        self.dequeued += other.dequeued;
        self.dequeued_bytes += other.dequeued_bytes;
        self.codel += other.codel;
        self.blue += other.blue;
        self.overlimit += other.overlimit;
        self.ack_drops += other.ack_drops;
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

/// What tins have counted that are no more, in a line: what is rare stops at 2³² − 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Former {
    enqueued: u64,
    enqueued_bytes: u64,
    dequeued: u64,
    dequeued_bytes: u64,
    codel: u64,
    marked: u64,
    ack_drops: u64,
    blue: u32,
    overlimit: u32,
}

impl Former {
    /// A packet that needed no tin.
    #[inline(always)]
    pub(super) fn passed(&mut self, length: u32) {
        self.enqueued += 1;
        self.enqueued_bytes += u64::from(length);
        self.dequeued += 1;
        self.dequeued_bytes += u64::from(length);
    }

    pub(super) fn add(&mut self, counters: &Counters) {
        let few = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.enqueued += counters.enqueued;
        self.enqueued_bytes += counters.enqueued_bytes;
        self.dequeued += counters.dequeued;
        self.dequeued_bytes += counters.dequeued_bytes;
        self.codel += counters.codel;
        self.marked += counters.marked;
        self.ack_drops += counters.ack_drops;
        self.blue = self.blue.saturating_add(few(counters.blue));
        self.overlimit = self.overlimit.saturating_add(few(counters.overlimit));
    }

    pub(super) fn counters(&self) -> Counters {
        let Former {
            enqueued,
            enqueued_bytes,
            dequeued,
            dequeued_bytes,
            codel,
            marked,
            ack_drops,
            blue,
            overlimit,
        } = *self;
        let (blue, overlimit) = (u64::from(blue), u64::from(overlimit));
        Counters {
            enqueued,
            enqueued_bytes,
            dequeued,
            dequeued_bytes,
            codel,
            blue,
            overlimit,
            ack_drops,
            marked,
        }
    }
}

/// A customer's packets of one class, four lines: what every packet touches, what it touches when it leaves, rounds, what is rare.
#[repr(C, align(64))]
pub(super) struct Tin {
    pub(super) sparse: List,
    /// Bytes that it has sent, times the inverse of its share, in 1/256: against the leaf's clock.
    pub(super) clock: u64,
    pub(super) enqueued: u64,
    pub(super) enqueued_bytes: u64,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    /// The flow that had the most packets when it was last looked at, and how many.
    pub(super) longest: u32,
    pub(super) longest_packets: u32,
    pub(super) longest_packet: u32,
    pub(super) sparse_flows: u16,
    pub(super) bulk_flows: u16,
    /// Whose it is; the next free tin while nobody's.
    pub(super) leaf: u32,
    pub(super) number: u8,
    pub(super) rounds: Rounds,
    pub(super) leaving: Leaving,
    pub(super) lists: Lists,
    pub(super) rare: Rare,
}

/// The second line.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Leaving {
    pub(super) delays: Delays,
    pub(super) dequeued: u64,
    pub(super) dequeued_bytes: u64,
    pub(super) idle_since: u64,
    pub(super) marked: u64,
}

/// The fourth line.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Rare {
    pub(super) codel: u64,
    pub(super) blue: u64,
    pub(super) overlimit: u64,
    pub(super) ack_drops: u64,
    /// Listed flows that BLUE drops from.
    pub(super) unresponsive: u32,
    pub(super) ways: Ways,
}

impl Tin {
    pub(super) fn new(leaf: u32, number: u8) -> Tin {
        Tin {
            sparse: List::EMPTY,
            clock: 0,
            enqueued: 0,
            enqueued_bytes: 0,
            packets: 0,
            bytes: 0,
            longest: NONE,
            longest_packets: 0,
            longest_packet: 0,
            sparse_flows: 0,
            bulk_flows: 0,
            leaf,
            number,
            rounds: Rounds::EMPTY,
            leaving: Leaving::default(),
            lists: Rounds::LISTS,
            rare: Rare::default(),
        }
    }

    /// The first flow of those that are served first, otherwise that whose turn it is; `NONE`: it has none.
    #[inline(always)]
    pub(super) fn head(&mut self) -> u32 {
        if self.sparse.head == NONE { self.rounds.head(&self.lists) } else { self.sparse.head }
    }

    pub(super) fn counters(&self) -> Counters {
        let Leaving { dequeued, dequeued_bytes, marked, .. } = self.leaving;
        let Rare { codel, blue, overlimit, ack_drops, .. } = self.rare;
        let Tin { enqueued, enqueued_bytes, .. } = *self;
        Counters {
            enqueued,
            enqueued_bytes,
            dequeued,
            dequeued_bytes,
            codel,
            blue,
            overlimit,
            ack_drops,
            marked,
        }
    }

    /// What it has counted; counts from 0 again.
    pub(super) fn take_counters(&mut self) -> Counters {
        let counters = self.counters();
        (self.enqueued, self.enqueued_bytes) = (0, 0);
        let leaving = &mut self.leaving;
        (leaving.dequeued, leaving.dequeued_bytes, leaving.marked) = (0, 0, 0);
        let Rare { unresponsive, ways, .. } = self.rare;
        self.rare = Rare { unresponsive, ways, ..Rare::default() };
        counters
    }
}

/// The tins in use of all customers.
pub(super) struct TinPool {
    pub(super) tins: Vec<Tin>,
    free: u32,
    hand: usize,
}

impl TinPool {
    pub(super) fn new(capacity: usize) -> TinPool {
        let tins = filled(capacity, |number| Tin::new(next(number, capacity), u8::MAX));
        TinPool { tins, free: if capacity == 0 { NONE } else { 0 }, hand: 0 }
    }

    /// Whether there is a tin that is nobody's.
    #[inline(always)]
    pub(super) fn has_free(&self) -> bool {
        self.free != NONE
    }

    /// A free tin, or the stalest of the next idle ones that the hand passes, as flows do it; its former leaf, if it had one, is in it.
    pub(super) fn candidate(&mut self, now: u64) -> Option<u32> {
        if self.free != NONE {
            let number = self.free;
            self.free = self.tins[number as usize].leaf;
            self.tins[number as usize].leaf = NONE;
            return Some(number);
        }
        let mut stalest: Option<(u64, u32)> = None;
        let mut idle = 0;
        for _ in 0..SWEEP.min(self.tins.len()) {
            self.hand = if self.hand + 1 >= self.tins.len() { 0 } else { self.hand + 1 };
            let tin = &self.tins[self.hand];
            if tin.packets == 0 && tin.number != u8::MAX {
                let age = now.wrapping_sub(tin.leaving.idle_since);
                if stalest.is_none_or(|(oldest, _)| age > oldest) {
                    stalest = Some((age, self.hand as u32));
                }
                idle += 1;
                if idle == IDLE {
                    break;
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
