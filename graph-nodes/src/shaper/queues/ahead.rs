//! Lines to ask for ahead, in the order in which each needs the one before it.

use super::{
    super::{Arrival, Lead, Leaf, TINS, flows::State, sets::NONE},
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
        }
        Lead(self.flows.look_up(leaf.0, which, arrival.flow))
    }

    /// Then: what the flow that [`Queues::prefetch_queue`] has returned links the packet to.
    #[inline(always)]
    pub fn prefetch_tail(&self, Lead(flow): Lead) {
        let Some(flow) = self.flows.flows.get(flow as usize) else { return };
        if flow.packets > 1 {
            self.packets.prefetch(flow.tail);
        } else if flow.state == State::Idle
            && let Some(leaf) = self.leaves.get(flow.leaf() as usize)
            && let Some(tin) = self.tins.tins.get(leaf.tins[usize::from(flow.tin())] as usize)
            && tin.sparse.head != NONE
            && let Some(last) = self.flows.flows.get(tin.sparse.tail as usize)
        {
            prefetch(last);
        }
    }

    /// Before a packet of this class passes, when the leaf is there: the tin.
    #[inline(always)]
    pub fn prefetch_count(&self, leaf: Leaf, dscp: u8) {
        let Some(state) = self.leaves.get(leaf.0 as usize) else { return };
        let which = self.disciplines[usize::from(state.discipline)].tin_of[usize::from(dscp & 63)];
        match self.tins.tins.get(state.tins[usize::from(which) % TINS] as usize) {
            Some(tin) => {
                prefetch(tin);
                prefetch(&tin.leaving);
            }
            None => prefetch(&state.former),
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
            prefetch(&tin.leaving);
            if state.packets > 1 {
                prefetch(&tin.lists);
            }
        }
        Lead(at)
    }

    /// Then: the flow whose turn it is in the tin that [`Queues::prefetch_tin`] has returned.
    #[inline(always)]
    pub fn prefetch_flow(&self, Lead(tin): Lead) -> Lead {
        let Some(tin) = self.tins.tins.get(tin as usize) else { return Lead::default() };
        let number = if tin.sparse.head != NONE { tin.sparse.head } else { tin.rounds.peek(&tin.lists) };
        if let Some(flow) = self.flows.flows.get(number as usize) {
            prefetch(flow);
        }
        Lead(number)
    }

    /// Then: what the flow that [`Queues::prefetch_flow`] has returned needs to send its first packet.
    #[inline(always)]
    pub fn prefetch_packet(&self, Lead(flow): Lead) {
        let Some(flow) = self.flows.flows.get(flow as usize) else { return };
        if flow.packets > 1 {
            self.packets.prefetch(flow.first.next);
        }
        if flow.state == State::Bulk {
            self.hosts.prefetch(flow.ends);
        }
        if !flow.calm {
            prefetch(&flow.memory);
        }
    }
}
