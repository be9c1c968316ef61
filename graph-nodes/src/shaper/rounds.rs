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

/// Rounds that have a list: one cache line. With more, flows of a host that has more than seven would be looked at less often before they send.
const AHEAD: usize = 8;

/// A list of flows, first in, first out.
#[derive(Clone, Copy)]
pub(super) struct List {
    pub(super) head: u32,
    pub(super) tail: u32,
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

    /// `first`: the flow at the head.
    #[inline(always)]
    pub(super) fn pop(&mut self, first: &Flow) {
        self.head = first.next;
    }
}

/// The bulk flows of a tin, by round.
pub(super) type Lists = [List; AHEAD];

/// Which of the [`Lists`] is on, and which have flows: apart from them, since a tin without bulk flows needs no more.
#[derive(Clone, Copy)]
pub(super) struct Rounds {
    /// The round that is on, modulo `AHEAD`.
    round: u8,
    /// A bit for each list that has flows.
    occupied: u8,
}

impl Rounds {
    pub(super) const EMPTY: Rounds = Rounds { round: 0, occupied: 0 };
    pub(super) const LISTS: Lists = [List::EMPTY; AHEAD];

    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.occupied == 0
    }

    /// Gives a flow the quanta (2^`shift` bytes each) that it needs to send, as far as there are rounds, and stands it there.
    #[inline]
    pub(super) fn push(&mut self, lists: &mut Lists, flows: &mut [Flow], flow: u32, shift: u32) {
        let deficit = &mut flows[flow as usize].deficit;
        let needs = if *deficit > 0 { 0 } else { (deficit.unsigned_abs() >> shift) + 1 };
        let ahead = needs.clamp(1, AHEAD as u32 - 1);
        *deficit += (needs.min(ahead) << shift) as i32;
        let round = (u32::from(self.round) + ahead) as usize % AHEAD;
        lists[round].push(flows, flow);
        self.occupied |= 1 << round;
    }

    /// The flow whose turn it is; rounds in which nobody stands are past then.
    #[inline]
    pub(super) fn head(&mut self, lists: &Lists) -> u32 {
        if self.occupied == 0 {
            return NONE;
        }
        self.round = self.next_round();
        lists[usize::from(self.round) % AHEAD].head
    }

    /// The same, and nothing changes.
    #[inline]
    pub(super) fn peek(self, lists: &Lists) -> u32 {
        if self.occupied == 0 { NONE } else { lists[usize::from(self.next_round()) % AHEAD].head }
    }

    #[inline]
    fn next_round(self) -> u8 {
        ((u32::from(self.round) + self.occupied.rotate_right(self.round.into()).trailing_zeros())
            % AHEAD as u32) as u8
    }

    /// Takes out the flow whose turn it is, which is `first`.
    #[inline]
    pub(super) fn pop(&mut self, lists: &mut Lists, first: &Flow) {
        let list = &mut lists[usize::from(self.round) % AHEAD];
        list.pop(first);
        if list.head == NONE {
            self.occupied &= !(1 << self.round);
        }
    }
}
