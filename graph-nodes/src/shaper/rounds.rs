//! Deficit round robin without idle turns: a bulk flow stands in the round in which it may send again.
//!
//! In plain DRR a flow whose deficit is *n* quanta is looked at *n* times before it sends, which is what it comes to when a host's share is
//! divided among a hundred flows. Here it gets the *n* quanta at once and stands *n* rounds ahead; rounds in which nobody stands are passed
//! over. The order is DRR's.
//!
//! ```text
//!  round   7   8   9  10  …  14      eight rounds, each a list; a flow that needs more is looked at again
//!          │       └ f3 ─ f1
//!          └ f5
//! ```

use super::{flows::Flow, sets::NONE};
use crate::fib::prefetch;

/// Rounds that have a list: one cache line. With more, flows of a host that has more than seven would be looked at less often before they send.
const AHEAD: u32 = 8;

/// A list of flows, first in, first out.
#[derive(Clone, Copy)]
pub(super) struct List {
    pub(super) head: u32,
    tail: u32,
}

impl List {
    pub(super) const EMPTY: List = List { head: NONE, tail: NONE };

    #[inline]
    pub(super) fn push(&mut self, flows: &mut [Flow], flow: u32) {
        flows[flow as usize].next = NONE;
        if self.head == NONE {
            self.head = flow;
        } else {
            flows[self.tail as usize].next = flow;
        }
        self.tail = flow;
    }

    #[inline]
    pub(super) fn pop(&mut self, flows: &[Flow]) {
        self.head = flows[self.head as usize].next;
    }
}

/// The bulk flows of a tin.
#[repr(C)]
pub(super) struct Rounds {
    lists: [List; AHEAD as usize],
    /// The round that is on, modulo `AHEAD`.
    round: u32,
    /// A bit for each list that has flows.
    occupied: u8,
}

impl Rounds {
    pub(super) const EMPTY: Rounds = Rounds { lists: [List::EMPTY; AHEAD as usize], round: 0, occupied: 0 };

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// Gives a flow the quanta (2^`shift` bytes each) that it needs to send, as far as there are rounds, and stands it there.
    #[inline]
    pub(super) fn push(&mut self, flows: &mut [Flow], flow: u32, shift: u32) {
        let deficit = &mut flows[flow as usize].deficit;
        let needs = if *deficit > 0 { 0 } else { (deficit.unsigned_abs() >> shift) + 1 };
        let ahead = needs.clamp(1, AHEAD - 1);
        *deficit += (needs.min(ahead) << shift) as i32;
        let round = (self.round + ahead) % AHEAD;
        self.lists[round as usize].push(flows, flow);
        self.occupied |= 1 << round;
    }

    /// The flow whose turn it is; rounds in which nobody stands are past then.
    #[inline]
    pub(super) fn head(&mut self) -> u32 {
        if self.occupied == 0 {
            return NONE;
        }
        self.round = self.next_round();
        self.lists[self.round as usize].head
    }

    /// The same, and nothing changes.
    #[inline]
    pub(super) fn peek(&self) -> u32 {
        if self.occupied == 0 { NONE } else { self.lists[self.next_round() as usize].head }
    }

    /// Asks for all its lines.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        prefetch(self);
    }

    /// All lists, in no order of turns.
    pub(super) fn lists(&self) -> impl Iterator<Item = &List> {
        self.lists.iter()
    }

    #[inline]
    fn next_round(&self) -> u32 {
        (self.round + self.occupied.rotate_right(self.round).trailing_zeros()) % AHEAD
    }

    /// Takes out the flow whose turn it is.
    #[inline]
    pub(super) fn pop(&mut self, flows: &[Flow]) {
        let list = &mut self.lists[self.round as usize];
        list.pop(flows);
        if list.head == NONE {
            self.occupied &= !(1 << self.round);
        }
    }
}
