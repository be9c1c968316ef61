//! A worker's side of a tree that it shares: when its copies of nodes' clocks are compared with everybody's, and what it tells the others. See `common`.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    common::{Share, advance},
    core::Tree,
    member::{Member, Moment},
};

impl Tree {
    /// Whether other workers have a part of the node.
    #[inline(always)]
    pub(super) fn is_shared(&self, node: u32) -> bool {
        self.share.as_ref().is_some_and(|share| share.shares(node))
    }

    /// A node is set up or has another ceiling, by which it is shared or not.
    pub(super) fn share_node(&mut self, node: u32, max: u64) {
        let Some(share) = &mut self.share else { return };
        match (share.shares(node), share.is_worth(max)) {
            (false, true) => {
                let (clocks, state) = (share.clocks(node), &self.members[node as usize]);
                clocks.ceil.fetch_max(state.ceil_ticks(), Relaxed);
                clocks.rate.fetch_max(state.rate_ticks(), Relaxed);
                share.set(node, true);
                self.branches[node as usize].set_shared(true);
                self.sync(node);
                self.publish(node);
            }
            (true, false) => {
                share.publish(node, None);
                share.set(node, false);
                self.branches[node as usize].set_shared(false);
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Brings this worker's copy of a node's clocks up to date.
    #[inline(always)]
    pub(super) fn sync(&mut self, node: u32) {
        if self.share.is_some() {
            self.copy_clocks(node);
        }
    }

    #[inline(never)]
    fn copy_clocks(&mut self, node: u32) {
        let Some(share) = &self.share else { return };
        let Some(branch) = self.branches.get_mut(node as usize) else { return };
        let clocks = share.clocks(node);
        let state = &mut self.members[node as usize];
        if share.shares(node) {
            state.see(clocks.ceil.load(Relaxed), clocks.rate.load(Relaxed));
            branch.reach(clocks.time.load(Relaxed));
        }
        if share.shares(state.parent) {
            state.tag = clocks.tag.load(Relaxed);
        }
    }

    /// Tells other workers who is the most urgent at a node.
    #[inline(always)]
    pub(super) fn publish(&mut self, node: u32) {
        if self.share.is_some() {
            self.publish_head(node);
        }
    }

    #[inline(never)]
    fn publish_head(&mut self, node: u32) {
        if !self.is_shared(node) {
            return;
        }
        // Nodes that have been served elsewhere stand too early.
        while self.branches[node as usize].has_yellow() {
            let first = self.branches[node as usize].first_yellow();
            if (first as usize) >= self.branches.len() {
                break;
            }
            self.sync(first);
            if self.branches[node as usize].settle_yellow(&mut self.members, first) {
                break;
            }
        }
        let head = self.branches[node as usize].head(&self.members, self.branches.len() as u32);
        if let Some(share) = &mut self.share {
            share.publish(node, head);
        }
    }

    /// The place of a node among its parent's children was `before`, and has been changed here.
    #[inline(always)]
    pub(super) fn tell_tag(&mut self, member: u32, before: u64) {
        if self.share.is_some() {
            self.change_tag(member, before);
        }
    }

    #[inline(never)]
    fn change_tag(&mut self, member: u32, before: u64) {
        let state = &mut self.members[member as usize];
        let (Some(share), true) = (&self.share, (member as usize) < self.branches.len()) else { return };
        if state.tag == before || !share.shares(state.parent) {
            return;
        }
        // Who was quicker is right: this worker's change would have been of an older place.
        if let Err(other) = share.clocks(member).tag.compare_exchange(before, state.tag, Relaxed, Relaxed) {
            state.tag = other;
        }
    }

    /// A child of a node has been served here: its place was `before`.
    #[inline(always)]
    pub(super) fn tell_service(&mut self, node: u32, child: u32, before: u64, time: u64) {
        if self.share.is_some() {
            self.add_service(node, child, before, time);
        }
    }

    #[inline(never)]
    fn add_service(&mut self, node: u32, child: u32, before: u64, time: u64) {
        let Some(share) = self.share.as_mut().filter(|share| share.shares(node)) else { return };
        if (child as usize) < self.branches.len() {
            let state = &mut self.members[child as usize];
            let served = state.tag.wrapping_sub(before);
            state.tag = share.clocks(child).tag.fetch_add(served, Relaxed).wrapping_add(served);
        }
        let branch = &mut self.branches[node as usize];
        let (reached, pace) = share.reach(node, branch.reached, time);
        branch.reach(reached);
        if let Some(pace) = pace {
            branch.let_lag(pace.saturating_mul(self.lateness));
        }
    }

    /// Whether another worker's child goes before one that would have its turn at a node here: until when this worker does not ask again.
    #[inline(always)]
    pub(super) fn gives_way(&mut self, node: u32, child: u32, green: bool, time: u64) -> Option<u64> {
        if self.share.is_none() || green { None } else { self.looks_at_others(node, child, time) }
    }

    #[inline(never)]
    fn looks_at_others(&mut self, node: u32, child: u32, time: u64) -> Option<u64> {
        let share = self.share.as_mut()?;
        let state = &self.members[child as usize];
        let branch = &self.branches[node as usize];
        if !share.gives_way(node, branch.bucket_of(state.tag), self.now) {
            return None;
        }
        let ceil_cost = self.members[node as usize].ceil_cost;
        let packet = Moment::at(0).after(self.mtu, ceil_cost).ticks();
        Some(share.nap(node, time, packet))
    }

    /// Brings this worker's copies of the clocks above a leaf up to date. Whether no other worker has somebody listed there.
    #[inline(never)]
    pub(super) fn is_quiet_above(&mut self, leaf: u32) -> bool {
        let mut above = self.members[leaf as usize].parent;
        while (above as usize) < self.branches.len() {
            self.sync(above);
            if self.share.as_ref().is_some_and(|share| share.others_wait(above)) {
                return false;
            }
            above = self.members[above as usize].parent;
        }
        true
    }
}

/// A packet that takes so many bytes leaves a node that is shared, not before `floor`; `lent`: its guarantee is used, not before `lags`. False: it is not shared.
#[inline(never)]
pub(super) fn spend_shared(
    share: &mut Share,
    state: &mut Member,
    node: u32,
    bytes: u32,
    floor: u64,
    time: u64,
    lags: Option<u64>,
) -> bool {
    if !share.shares(node) {
        return false;
    }
    let (ticks, mut rate) = (state.ceil_time(bytes), state.rate_ticks());
    let ceil = share.spend(node, time, floor, ticks);
    if let Some(lags) = lags.filter(|_| state.rate_cost != 0) {
        rate = advance(&share.clocks(node).rate, lags, state.rate_time(bytes));
    }
    state.see(ceil, rate);
    true
}
