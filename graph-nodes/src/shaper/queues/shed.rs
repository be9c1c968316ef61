//! Memory runs out: who pays.

use super::{
    super::{Cause, Dropped, sets::NONE},
    Queues,
};

impl Queues {
    /// Drops the oldest packet of a leaf's longest queue.
    #[cold]
    pub(super) fn shed(&mut self, leaf: u32, now: u64, dropped: &mut impl FnMut(Dropped)) -> bool {
        let state = &self.leaves[leaf as usize];
        let longest = |at: &&u32| self.tins.tins[**at as usize].longest_packets;
        let Some(&at) = state.tins.iter().filter(|&&at| at != NONE).max_by_key(longest) else { return false };
        let tin = &self.tins.tins[at as usize];
        if tin.longest_packets == 0 {
            return false;
        }
        let prepared = &self.disciplines[usize::from(state.discipline)];
        let freeze = prepared.limits(state.mtu_time, usize::from(tin.number)).target;
        let number = tin.longest;
        let place = self.take(leaf, at, number);
        let flow = &mut self.flows.flows[number as usize];
        flow.memory.blue.overflowed(now, freeze);
        let tin = &mut self.tins.tins[at as usize];
        if flow.memory.blue.is_active() && !std::mem::replace(&mut flow.unresponsive, true) {
            tin.rare.unresponsive += 1;
        }
        let empty = tin.packets == 0;
        self.drop(leaf, at, &place, Cause::Overlimit, dropped);
        if empty {
            self.settle(at, now);
        }
        true
    }
}
