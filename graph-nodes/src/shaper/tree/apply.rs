//! Changes of the tree: new rates, other parents, members that come and go; queues, clocks and counters of those that stay are kept.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    core::Tree,
    member::{CHANGED, EXISTS, GREEN, GUARANTEE_TIMER, Moment, TIMER, YELLOW},
};
use crate::shaper::{Dropped, Leaf, Operation, Queues, Rates, TreeNode, sets::NONE};

/// Why an operation can't be carried out; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// There is no room for a node of this number.
    #[error("node {0} is beyond the most that there may be: raise `Settings::nodes`")]
    NodeNumber(u32),
    /// There is no room for a leaf of this number.
    #[error("leaf {0} is beyond the most that there may be: raise `Settings::leaves`")]
    LeafNumber(u32),
    /// The parent has not been set up.
    #[error("the parent, node {0}, is not there: set it up first")]
    NoParent(u32),
    /// The node would be above itself.
    #[error("node {0} would be above itself")]
    Cycle(u32),
    /// A node that is to go has children.
    #[error("node {0} can't be removed: {1} children are below it")]
    Children(u32, u32),
    /// A node that is to go is not there.
    #[error("there is no node {0}")]
    NoNode(u32),
    /// A leaf that is to go is not there.
    #[error("there is no leaf {0}")]
    NoLeaf(u32),
    /// There is no such discipline.
    #[error("there is no discipline {0}")]
    Discipline(u8),
    /// There is no such overhead.
    #[error("there is no overhead {0}")]
    Overhead(u8),
    /// A ceiling or weight of 0, or a guarantee above the ceiling.
    #[error("rates that can't be: {} to {} bit/s with weight {}", .0.min, .0.max, .0.weight)]
    Rates(Rates),
}

impl Tree {
    /// Carries out an operation, on the queues as well.
    pub(super) fn apply(
        &mut self,
        queues: &mut Queues,
        operation: &Operation,
        now: u64,
        dropped: &mut impl FnMut(Dropped),
    ) -> Result<(), Misfit> {
        self.now = self.now.max(now);
        match *operation {
            Operation::Node { node, parent, rates } => self.node(queues, node, parent, &rates),
            Operation::RemoveNode(node) => self.remove_node(queues, node),
            Operation::Leaf { leaf, parent, rates, discipline, overhead } => {
                if usize::from(discipline) >= queues.disciplines() {
                    return Err(Misfit::Discipline(discipline));
                }
                self.leaf(queues, leaf, parent, &rates, discipline, overhead)
            }
            Operation::RemoveLeaf(leaf) => self.remove_leaf(queues, leaf, dropped),
        }
    }

    fn exists(&self, node: TreeNode) -> bool {
        self.branches.get(node.0 as usize).is_some() && self.members[node.0 as usize].is(EXISTS)
    }

    fn node(
        &mut self,
        queues: &Queues,
        node: TreeNode,
        parent: Option<TreeNode>,
        rates: &Rates,
    ) -> Result<(), Misfit> {
        let number = node.0;
        if number as usize >= self.branches.len() {
            return Err(Misfit::NodeNumber(number));
        }
        check(rates)?;
        let above = match parent {
            Some(parent) if !self.exists(parent) => return Err(Misfit::NoParent(parent.0)),
            Some(parent) => parent.0,
            None => NONE,
        };
        if self.exists(node) {
            let mut ancestor = above;
            while ancestor != NONE {
                if ancestor == number {
                    return Err(Misfit::Cycle(number));
                }
                ancestor = self.members[ancestor as usize].parent;
            }
            self.detach(queues, number);
        } else if above == number {
            return Err(Misfit::NoParent(number));
        } else {
            self.branches[number as usize].set_up(queues.settings().mtu, self.now);
            self.publish(number);
            self.create(number);
        }
        self.branches[number as usize].rates = *rates;
        self.share_node(number, rates.max);
        self.attach(queues, number, above, rates);
        Ok(())
    }

    fn remove_node(&mut self, queues: &Queues, node: TreeNode) -> Result<(), Misfit> {
        if !self.exists(node) {
            return Err(Misfit::NoNode(node.0));
        }
        let children = self.branches[node.0 as usize].children;
        if children != 0 {
            return Err(Misfit::Children(node.0, children));
        }
        self.detach(queues, node.0);
        self.members[node.0 as usize].flags &= TIMER | GUARANTEE_TIMER | CHANGED;
        Ok(())
    }

    fn leaf(
        &mut self,
        queues: &mut Queues,
        leaf: Leaf,
        parent: TreeNode,
        rates: &Rates,
        discipline: u8,
        overhead: u8,
    ) -> Result<(), Misfit> {
        let Some(meter) = self.meters.get_mut(leaf.0 as usize) else {
            return Err(Misfit::LeafNumber(leaf.0));
        };
        if usize::from(overhead) >= self.overheads.len() {
            return Err(Misfit::Overhead(overhead));
        }
        check(rates)?;
        if self.branches.get(parent.0 as usize).is_none() || !self.members[parent.0 as usize].is(EXISTS) {
            return Err(Misfit::NoParent(parent.0));
        }
        let number = self.branches.len() as u32 + leaf.0;
        if self.members[number as usize].is(EXISTS) {
            queues.discipline(leaf, discipline);
            if meter.max != rates.max {
                meter.set(rates.max);
            }
            // The target of the discipline may be another one.
            queues.rate(leaf, meter.told);
            self.detach(queues, number);
        } else {
            meter.set(rates.max);
            queues.set_up(leaf, discipline, rates.max);
            self.create(number);
        }
        self.members[number as usize].overhead = overhead;
        self.attach(queues, number, parent.0, rates);
        Ok(())
    }

    fn remove_leaf(
        &mut self,
        queues: &mut Queues,
        leaf: Leaf,
        dropped: &mut impl FnMut(Dropped),
    ) -> Result<(), Misfit> {
        if !self.is_shaped(leaf) {
            return Err(Misfit::NoLeaf(leaf.0));
        }
        queues.remove(leaf, self.now, &mut |gone: Dropped| {
            self.lost(&gone);
            dropped(gone);
        });
        let number = self.member_of(leaf);
        self.detach(queues, number);
        self.members[number as usize].flags &= TIMER | GUARANTEE_TIMER | CHANGED;
        Ok(())
    }

    /// A member that was not there, or no more. Its clocks go on from where they were: who is removed and set up again sends no faster.
    fn create(&mut self, number: u32) {
        let now = self.now;
        if let Some(share) = self.share.as_ref().filter(|share| share.shares(number)) {
            let clocks = share.clocks(number);
            clocks.ceil.fetch_max(now, Relaxed);
            clocks.rate.fetch_max(now, Relaxed);
        }
        self.sync(number);
        let member = &mut self.members[number as usize];
        member.flags = member.flags & (TIMER | GUARANTEE_TIMER | CHANGED) | EXISTS;
        member.parent = NONE;
        let (ceil, rate) = (member.ceil(), member.rate());
        member.set_ceil(ceil.max(Moment::at(now)));
        member.set_rate(rate.max(Moment::at(now)));
    }

    /// Takes a member out of its parent's lists and sums.
    fn detach(&mut self, queues: &Queues, number: u32) {
        let parent = self.members[number as usize].parent;
        if parent == NONE {
            return;
        }
        let parent = parent as usize;
        let (packets, bytes) = self.backlog(queues, number);
        self.stock_above(number, packets, bytes, false);
        let class = self.members[number as usize].class;
        self.branches[parent].unlist(&mut self.members, number);
        self.branches[parent].count(&mut self.members, class, -1);
        self.publish(parent as u32);
    }

    /// Puts a member below a node (`NONE`: it is a root), with rates, and wakes it.
    fn attach(&mut self, queues: &Queues, number: u32, above: u32, rates: &Rates) {
        let hz = self.hz;
        let member = &mut self.members[number as usize];
        let same = member.parent == above;
        member.parent = above;
        member.set_rates(rates, hz);
        let class = member.class;
        debug_assert!(!member.is(GREEN | YELLOW));
        if (above as usize) < self.branches.len() {
            self.sync(above);
            let branch = &mut self.branches[above as usize];
            if !same {
                // Another node's virtual time means nothing here.
                let before = self.members[number as usize].tag;
                branch.introduce(&mut self.members[number as usize]);
                self.tell_tag(number, before);
            }
            self.branches[above as usize].count(&mut self.members, class, 1);
            self.publish(above);
            let (packets, bytes) = self.backlog(queues, number);
            self.stock_above(number, packets, bytes, true);
        }
        self.change(number);
        if self.is_wanted(number, queues) {
            self.wake(number, self.now);
        }
    }
}

impl Tree {
    /// Packets and bytes that wait below a member.
    fn backlog(&self, queues: &Queues, number: u32) -> (u64, u64) {
        if let Some(branch) = self.branches.get(number as usize) {
            return branch.backlog();
        }
        let view = queues.leaf(self.leaf_of(number));
        (view.packets.into(), view.bytes.into())
    }
}

fn check(rates: &Rates) -> Result<(), Misfit> {
    if rates.max == 0 || rates.weight == 0 || rates.min > rates.max {
        return Err(Misfit::Rates(*rates));
    }
    Ok(())
}
