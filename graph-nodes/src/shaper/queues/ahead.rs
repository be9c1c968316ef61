//! Lines to ask for ahead, in the order in which each needs the one before it.

use super::{
    super::{Arrival, Lead, Leaf, TINS, sets::NONE},
    Queues,
};
use crate::fib::prefetch;

impl Queues {
    /// Before a packet of this leaf and flow is queued: the leaf, and the table's line.
    #[inline(always)]
    pub fn prefetch(&self, leaf: Leaf, arrival: &Arrival) {
        if let Some(state) = self.leaves.get(leaf.0 as usize) {
            prefetch(state);
        }
        // The tin is the leaf's to say, which isn't there yet; most leaves' packets are of one tin.
        let tin = self.disciplines[0].tin_of[usize::from(arrival.dscp & 63)];
        self.flows.prefetch(leaf.0, tin, arrival.flow);
    }

    /// Then: the tin, and the flow. The answer is for [`Queues::enqueue`].
    #[inline(always)]
    pub fn prefetch_queue(&self, leaf: Leaf, arrival: &Arrival) -> Lead {
        let Some(state) = self.leaves.get(leaf.0 as usize) else { return Lead::default() };
        let which = self.disciplines[usize::from(state.discipline)].tin_of[usize::from(arrival.dscp & 63)];
        if let Some(tin) = self.tins.tins.get(state.tins[usize::from(which) % TINS] as usize) {
            prefetch(tin);
            prefetch(&tin.counters);
        }
        Lead(self.flows.look_up(leaf.0, which, arrival.flow))
    }

    /// Then: the last packet of the flow that [`Queues::prefetch_queue`] has returned.
    #[inline(always)]
    pub fn prefetch_tail(&self, Lead(flow): Lead) {
        if let Some(flow) = self.flows.flows.get(flow as usize)
            && flow.packets != 0
        {
            self.packets.prefetch(flow.tail);
        }
    }

    /// Before a leaf is asked for a packet: the leaf.
    #[inline(always)]
    pub fn prefetch_leaf(&self, leaf: Leaf) {
        if let Some(state) = self.leaves.get(leaf.0 as usize) {
            prefetch(state);
        }
    }

    /// Then: its tin.
    #[inline(always)]
    pub fn prefetch_tin(&self, leaf: Leaf) -> Lead {
        let Some(state) = self.leaves.get(leaf.0 as usize) else { return Lead::default() };
        let at = state.tins[7 - state.backlogged.leading_zeros() as usize % TINS];
        if let Some(tin) = self.tins.tins.get(at as usize) {
            prefetch(tin);
            prefetch(&tin.counters);
            prefetch(&tin.delays);
            tin.rounds.prefetch();
        }
        Lead(at)
    }

    /// Then: the flow whose turn it is in the tin that [`Queues::prefetch_tin`] has returned.
    #[inline(always)]
    pub fn prefetch_flow(&self, Lead(tin): Lead) -> Lead {
        let Some(tin) = self.tins.tins.get(tin as usize) else { return Lead::default() };
        let number = if tin.sparse.head != NONE { tin.sparse.head } else { tin.rounds.peek() };
        if let Some(flow) = self.flows.flows.get(number as usize) {
            prefetch(flow);
            prefetch(&flow.memory);
        }
        Lead(number)
    }

    /// Then: the first packet of the flow that [`Queues::prefetch_flow`] has returned.
    #[inline(always)]
    pub fn prefetch_packet(&self, Lead(flow): Lead) {
        if let Some(flow) = self.flows.flows.get(flow as usize) {
            self.packets.prefetch(flow.head);
            self.hosts.prefetch(flow.ends);
        }
    }
}
