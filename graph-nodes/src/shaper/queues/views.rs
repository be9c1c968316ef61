//! What users are told of leaves and tins.

use super::{
    super::{Counters, Leaf, LeafView, TinView, Totals, sets::NONE, tin::Ways, tins::WHOLE},
    Queues,
};

impl Queues {
    /// Packets that are queued.
    pub fn backlog(&self) -> usize {
        self.queued
    }

    /// What has been counted since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// A leaf's backlog and counters.
    pub fn leaf(&self, leaf: Leaf) -> LeafView {
        let state = &self.leaves[leaf.0 as usize];
        if !self.is_set_up(leaf) {
            return LeafView::default();
        }
        let mut counters = state.former.counters();
        for &at in state.tins.iter().filter(|&&at| at != NONE) {
            counters.add(&self.tins.tins[at as usize].counters());
        }
        LeafView { packets: state.packets, bytes: state.bytes, limit: state.limit, counters }
    }

    /// A leaf's tin, if it is in use.
    pub fn tin(&self, leaf: Leaf, which: u8) -> Option<TinView> {
        let state = &self.leaves[leaf.0 as usize];
        if !self.is_set_up(leaf) {
            return None;
        }
        let tin = self.tins.tins.get(*state.tins.get(usize::from(which))? as usize)?;
        let prepared = &self.disciplines[usize::from(state.discipline)];
        // Back from the time of a packet, which is what is kept: to within a tick.
        let rate = u64::from(self.settings.mtu) * 8 * self.settings.hz / u64::from(state.mtu_time.max(1));
        let inverse = u64::from(prepared.inverse_shares[usize::from(which)]);
        Some(TinView {
            threshold: rate * u64::from(WHOLE) / inverse.max(1),
            limits: prepared.limits(state.mtu_time, usize::from(which)),
            packets: tin.packets,
            bytes: tin.bytes,
            delays: tin.leaving.delays,
            counters: tin.counters(),
            ways: tin.rare.ways,
            sparse_flows: tin.sparse_flows,
            bulk_flows: tin.bulk_flows,
            unresponsive_flows: tin.rare.unresponsive,
            longest_packet: tin.longest_packet,
            quantum: 1 << state.shift,
        })
    }

    /// What a leaf has counted since this was last called, tin by tin; what tins had counted that are no more comes without a tin.
    pub fn take_counts(&mut self, leaf: Leaf, each: &mut impl FnMut(Option<u8>, Counters, Ways)) {
        if !self.is_set_up(leaf) {
            return;
        }
        let state = &mut self.leaves[leaf.0 as usize];
        each(None, std::mem::take(&mut state.former).counters(), Ways::default());
        for &at in state.tins.iter().filter(|&&at| at != NONE) {
            let tin = &mut self.tins.tins[at as usize];
            each(Some(tin.number), tin.take_counters(), std::mem::take(&mut tin.rare.ways));
        }
    }
}
