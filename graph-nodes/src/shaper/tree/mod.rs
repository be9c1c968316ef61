//! Which leaf sends next: rates of all leaves and nodes, guarantees, borrowing, shares; and the queues below it, in one type, [`Shaper`].
//!
//! ```text
//!   enqueue ─▶ Queues ─▶ the leaf has something ─▶ event
//!                                                    ▼
//!     wheel ─▶ front ─▶ event: a member may send ─┬─ nobody above waits ────────────────────▶ Queues ─▶ sent
//!       ▲                                         └─ listed at its parent ─▶ its turn comes ─▶    │
//!       └─────────────────────── clocks of the leaf and all above move on ◀───────────────────────┘
//! ```
//! * **Clocks.** Every leaf and node has two: when its ceiling lets the next packet go, and when its guarantee is due. A packet leaves at its nominal
//!   time, the latest of the ceilings on its way to the root (or when it came, if that is later), and all of them move on from there; from one full packet
//!   before for nodes, and for a leaf that had to wait for others. So over any interval nobody sends more than their ceiling and one full packet, and
//!   there is nothing else to burst with.
//! * **Time is played**, event after event in exact order, up to the time of the call: that a worker comes late does not change what is sent, only when.
//! * **Whose turn.** From the root down. A child is *green* while its guarantee is due, or that of anybody below it; greens go first, in the order in which
//!   they came. The others, *yellow*, borrow: by weight. A packet that uses a guarantee moves the clock of whose it is, and of all above: the nearest on the way to the root
//!   whose guarantee is due.
//! * **Ceilings always hold**, also against guarantees that are together more than their parent has.
//! * **The short way.** A leaf that may send while nobody is listed above it is not listed either: the usual case. A node whose own clock was waited for isn't listed above then.
//!
//! * **Several workers** may share a tree ([`Common`]): each has a `Shaper` with all nodes and its own leaves, and keeps a copy of each node's clocks, which it compares with
//!   the shared ones when it uses them.
//!
//! The read order: `member`, `branch`, `wheel`, `core`, `common`, `sharing`, `apply`.

mod apply;
mod audit;
mod branch;
mod common;
mod core;
mod member;
mod meter;
mod overhead;
mod sharing;
mod wheel;

pub use apply::Misfit;
pub use common::{Common, MOST_WORKERS};
pub use overhead::{Framing, Overhead, OverheadError};

use std::sync::Arc;

use self::{
    common::Share,
    core::{Leaving, Tree},
    member::Member,
    meter::Meter,
};
use crate::fib::prefetch;

use super::{
    Arrival, Counters, Departure, Discipline, Dropped, Lead, Leaf, LeafView, Operation, PureAck, Queues,
    Rates, Settings, TinView, Totals, TreeNode, Ways, sets::NONE,
};

/// The shaper of one worker: the tree and the queues.
pub struct Shaper {
    tree: Tree,
    queues: Queues,
}

/// What is known of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// As they were set.
    pub rates: Rates,
    /// Packets that have left from below it.
    pub packets: u64,
    /// Their bytes, Ethernet headers included.
    pub bytes: u64,
    /// Their bytes on the link, with overhead.
    pub charged: u64,
    /// Packets that wait below it.
    pub backlog: u64,
    /// Their bytes.
    pub backlog_bytes: u64,
    /// Bits a second that leave from below it now, with overhead: over an eighth of a second or more.
    pub rate: u64,
}

/// Somebody whom something has happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// A leaf, which may be gone.
    Leaf(Leaf),
    /// A node, which may be gone.
    Node(TreeNode),
}

impl Shaper {
    /// Takes all memory; leaves and nodes begin with [`Shaper::apply`]. The first overhead is what nodes charge; without any, packets count as they are.
    ///
    /// # Panics
    /// With no discipline, more than 256 of them or of overheads, or sizes that don't fit.
    pub fn new(settings: Settings, disciplines: &[Discipline], overheads: &[Overhead]) -> Shaper {
        assert!(overheads.len() <= 256 && settings.nodes <= 1 << 29, "too large");
        let overheads = if overheads.is_empty() { &[Overhead::RAW] } else { overheads };
        Shaper { tree: Tree::new(&settings, overheads), queues: Queues::new(settings, disciplines) }
    }

    /// From now on this is the part of `worker` in a tree that several workers share. Before the first operation.
    ///
    /// # Panics
    /// If the tree has another number of nodes, or there is no such worker.
    pub fn share(&mut self, common: Arc<Common>, worker: usize) {
        assert!(common.nodes() == self.tree.branches.len() && worker < common.workers(), "another tree");
        self.tree.share = Some(Share::new(common, worker, self.tree.hz));
    }

    /// Makes these the disciplines and the overheads: as many as there were, or more. A number that a leaf has keeps its meaning.
    pub fn ways(&mut self, disciplines: &[Discipline], overheads: &[Overhead]) {
        self.queues.set_disciplines(disciplines);
        if overheads.len() >= self.tree.overheads.len() && overheads.len() <= 256 {
            self.tree.overheads = overheads.to_vec();
        }
    }

    /// Carries out a change. Leaves and nodes that stay keep queues, clocks and counters; `dropped` gets the packets of a leaf that goes.
    ///
    /// # Errors
    /// The operation makes no sense; nothing was changed.
    pub fn apply(
        &mut self,
        operation: &Operation,
        now: u64,
        dropped: &mut impl FnMut(Dropped),
    ) -> Result<(), Misfit> {
        self.tree.apply(&mut self.queues, operation, now, dropped)
    }

    /// Whether the leaf is set up.
    #[inline]
    pub fn is_shaped(&self, leaf: Leaf) -> bool {
        self.tree.is_shaped(leaf)
    }

    /// A packet comes to a leaf, and leaves at once if none of the leaf's waits, nor anybody above, and nobody's clock is more than 50 µs ahead. True: it has
    /// left, counted. False: [`Shaper::enqueue`] is to follow, in the order in which packets came; until then no other one of the leaf passes.
    ///
    /// That is what the leaf's turn would have come to, but no flow is looked for, and no packet waits. It is no burst that is saved up: the clocks go on from the packet's nominal
    /// time, so over any interval a leaf or node sends no more than its ceiling carries in that and 50 µs, and one full packet.
    #[inline]
    pub fn let_through(&mut self, leaf: Leaf, dscp: u8, length: u32, now: u64) -> bool {
        let Shaper { tree, queues } = self;
        tree.now = tree.now.max(now);
        let member = tree.member_of(leaf);
        if !tree.is_shaped(leaf) || queues.is_backlogged(leaf) {
            return false;
        }
        let Some(turn) = tree.let_through(member, now) else { return false };
        queues.let_through(leaf, dscp, length, now);
        if let Some(rate) = tree.charge(&turn, length, Leaving::Through) {
            queues.rate(leaf, rate);
        }
        true
    }

    /// Queues a packet; what must go is handed to `dropped`, which may be this packet or another one, of any leaf. A leaf that is not set up refuses it.
    #[inline]
    pub fn enqueue(
        &mut self,
        leaf: Leaf,
        arrival: &Arrival,
        lead: Lead,
        now: u64,
        dropped: &mut impl FnMut(Dropped),
    ) {
        let Shaper { tree, queues } = self;
        tree.now = tree.now.max(now);
        if !tree.is_shaped(leaf) {
            queues.enqueue(leaf, arrival, lead, now, dropped);
            return;
        }
        let member = tree.member_of(leaf);
        tree.arrived(member);
        tree.come(member, arrival.length.into());
        let begins = queues.enqueue(leaf, arrival, lead, now, &mut |gone: Dropped| {
            tree.lost(&gone);
            dropped(gone);
        });
        if begins {
            tree.begin(member, now);
        }
    }

    /// Whether the leaf's discipline filters ACKs: see [`Queues::filter_acks`].
    #[inline]
    pub fn filters_acks(&self, leaf: Leaf) -> bool {
        self.queues.filters_acks(leaf)
    }

    /// After [`Shaper::enqueue`] of a pure ACK: earlier ones that it supersedes are handed to `dropped`; see [`Queues::filter_acks`].
    pub fn filter_acks(
        &mut self,
        leaf: Leaf,
        arrival: &Arrival,
        lead: Lead,
        ack: &PureAck,
        dropped: &mut impl FnMut(Dropped),
    ) {
        let Shaper { tree, queues } = self;
        queues.filter_acks(leaf, arrival, lead, ack, &mut |gone: Dropped| {
            tree.lost(&gone);
            dropped(gone);
        });
    }

    /// Sends what is due by `now`, at most `budget` packets. Returns when to call again: at or before `now` if the budget ran out, never if nothing waits.
    pub fn release(
        &mut self,
        now: u64,
        budget: usize,
        sent: &mut impl FnMut(Leaf, Departure),
        dropped: &mut impl FnMut(Dropped),
    ) -> Option<u64> {
        let Shaper { tree, queues } = self;
        tree.now = tree.now.max(now);
        if let Some(share) = &tree.share {
            share.looks(now);
        }
        let floor = tree.floor(now);
        let mut left = budget;
        while left > 0 {
            let Some(event) = tree.next_event(now, queues) else { break };
            let Some(turn) = tree.happen(event, floor, queues) else { continue };
            let leaf = tree.leaf_of(turn.leaf);
            if turn.listed {
                tree.look_ahead(&turn, queues);
            }
            let departure = queues.dequeue_late(leaf, turn.time, now, &mut |gone: Dropped| {
                tree.lost(&gone);
                dropped(gone);
            });
            let Some(departure) = departure else {
                tree.pass(&turn);
                continue;
            };
            left -= 1;
            let leaving = if queues.is_backlogged(leaf) { Leaving::Ahead } else { Leaving::Last };
            if let Some(rate) = tree.charge(&turn, departure.length, leaving) {
                queues.rate(leaf, rate);
            }
            sent(leaf, departure);
        }
        let next = tree.wheel.next();
        if let Some((share, next)) = tree.share.as_ref().zip(next) {
            share.looks(next.max(now));
        }
        next
    }

    /// Packets that wait.
    pub fn backlog(&self) -> usize {
        self.queues.backlog()
    }

    /// What has been counted since the start.
    pub fn totals(&self) -> Totals {
        self.queues.totals()
    }

    /// A leaf's backlog and counters.
    pub fn leaf(&self, leaf: Leaf) -> LeafView {
        self.queues.leaf(leaf)
    }

    /// A leaf's tin, if it is in use.
    pub fn tin(&self, leaf: Leaf, which: u8) -> Option<TinView> {
        self.queues.tin(leaf, which)
    }

    /// What a leaf has counted since this was last called: see [`Queues::take_counts`].
    pub fn take_counts(&mut self, leaf: Leaf, each: &mut impl FnMut(Option<u8>, Counters, Ways)) {
        self.queues.take_counts(leaf, each);
    }

    /// A node, if it is set up.
    pub fn node(&self, node: TreeNode) -> Option<NodeView> {
        self.tree.node_view(node)
    }

    /// Bits a second that a leaf gets now, with overhead: its ceiling while nobody above holds it back, otherwise what it was served at while it had packets. 0: it is not set up.
    pub fn rate(&self, leaf: Leaf) -> u64 {
        if self.is_shaped(leaf) { self.tree.meters[leaf.0 as usize].told } else { 0 }
    }

    /// Leaves and nodes that something has happened to since they were last named by [`Shaper::swept`].
    pub fn changed(&self) -> usize {
        self.tree.changed()
    }

    /// Names at most `most` leaves and nodes that something has happened to since they were last named, each once, the longest waiting first.
    pub fn swept(&mut self, most: usize, each: &mut impl FnMut(Changed)) {
        for _ in 0..most {
            let Some(member) = self.tree.next_changed() else { break };
            let nodes = self.tree.branches.len() as u32;
            each(match member.checked_sub(nodes) {
                Some(leaf) => Changed::Leaf(Leaf(leaf)),
                None => Changed::Node(TreeNode(member)),
            });
        }
    }
}

/// Lines to ask for ahead of [`Shaper::enqueue`], in the order in which each needs the one before it.
impl Shaper {
    /// Ahead of [`Shaper::let_through`]: the leaf.
    #[inline(always)]
    pub fn prefetch_leaf(&self, leaf: Leaf) {
        self.tree.prefetch_leaf(leaf);
        self.queues.prefetch_leaf(leaf);
    }

    /// Then: what counts the packet.
    #[inline(always)]
    pub fn prefetch_count(&self, leaf: Leaf, dscp: u8) {
        self.queues.prefetch_count(leaf, dscp);
    }

    /// The leaf, and the line in which its flow is looked up.
    #[inline(always)]
    pub fn prefetch(&self, leaf: Leaf, arrival: &Arrival) {
        self.tree.prefetch_leaf(leaf);
        self.queues.prefetch(leaf, arrival);
    }

    /// Then: the tin, and the flow. The answer is for [`Shaper::enqueue`].
    #[inline(always)]
    pub fn prefetch_queue(&self, leaf: Leaf, arrival: &Arrival) -> Lead {
        self.queues.prefetch_queue(leaf, arrival)
    }

    /// Then: the last packet of the flow that [`Shaper::prefetch_queue`] has returned.
    #[inline(always)]
    pub fn prefetch_tail(&self, lead: Lead) {
        self.queues.prefetch_tail(lead);
    }
}

/// How many events ahead of its turn each step of [`ask_for`] is.
const STEPS: [usize; 4] = [wheel::AHEAD - 1, 15, 8, 3];

/// Asks for lines that a leaf's event needs: at first the leaf's, then its tin, its flow, and the flow's packet.
#[inline(always)]
fn ask_for(
    event: &mut wheel::Event,
    step: usize,
    members: &[Member],
    meters: &[Meter],
    nodes: u32,
    queues: &Queues,
) {
    match step {
        0 => {
            Tree::prefetch(members, event.what);
            if let Some(leaf) = (event.what >> 1).checked_sub(nodes) {
                queues.prefetch_leaf(Leaf(leaf));
                // Half of the leaves, or all, have been held back by somebody lately.
                if let Some(meter) = meters.get(leaf as usize) {
                    prefetch(meter);
                }
            }
        }
        1 => {
            // `NONE`: it is a node, and not in need of anything.
            let leaf = (event.what >> 1).checked_sub(nodes);
            event.note = leaf.map_or(NONE, |leaf| queues.prefetch_tin(Leaf(leaf)).0);
        }
        2 => event.note = queues.prefetch_flow(Lead(event.note)).0,
        _ => queues.prefetch_packet(Lead(event.note)),
    }
}

impl Tree {
    /// The next event that is due by `now`. Asks for lines of four that come later, a step for each: no step waits for the one before, and lines aren't there so long before they are needed
    /// that others displace them.
    #[inline(always)]
    fn next_event(&mut self, now: u64, queues: &Queues) -> Option<wheel::Event> {
        if self.wheel.is_low(now) {
            self.fill(now, queues);
        }
        let event = self.wheel.pop(now)?;
        let (members, meters): (&[Member], &[Meter]) = (&self.members, &self.meters);
        let nodes = self.branches.len() as u32;
        for (step, ahead) in STEPS.into_iter().enumerate() {
            if let Some(event) = self.wheel.behind(ahead) {
                ask_for(event, step, members, meters, nodes, queues);
            }
        }
        Some(event)
    }

    /// Brings events into the front, and makes up for the steps of those that are too near for [`Tree::next_event`].
    fn fill(&mut self, now: u64, queues: &Queues) {
        let (members, meters): (&[Member], &[Meter]) = (&self.members, &self.meters);
        let nodes = self.branches.len() as u32;
        let (before, events) = self.wheel.fill(now);
        for (step, ahead) in STEPS.into_iter().enumerate() {
            for event in events.iter_mut().take((ahead + 1).saturating_sub(before)) {
                ask_for(event, step, members, meters, nodes, queues);
            }
        }
    }

    /// Asks for the lines of those who are listed behind a leaf whose turn it is, a step for each: they were asked for the one before in the turns before.
    #[inline]
    fn look_ahead(&self, turn: &core::Turn, queues: &Queues) {
        let next = |number: u32| {
            let member = self.members.get(number as usize)?;
            let next = if turn.green { member.next_green } else { member.next_yellow };
            (next as usize >= self.branches.len() && next != NONE).then_some(next)
        };
        let Some(first) = next(turn.leaf) else { return };
        queues.prefetch_packet(queues.prefetch_flow(queues.prefetch_tin(self.leaf_of(first))));
        let Some(second) = next(first) else { return };
        queues.prefetch_flow(queues.prefetch_tin(self.leaf_of(second)));
        let Some(third) = next(second) else { return };
        queues.prefetch_tin(self.leaf_of(third));
        let Some(fourth) = next(third) else { return };
        Tree::prefetch(&self.members, fourth << 1);
        let leaf = self.leaf_of(fourth);
        queues.prefetch_leaf(leaf);
        if let Some(meter) = self.meters.get(leaf.0 as usize) {
            prefetch(meter);
        }
    }

    #[inline(always)]
    fn prefetch_leaf(&self, leaf: Leaf) {
        Tree::prefetch(&self.members, self.member_of(leaf) << 1);
    }

    fn node_view(&self, node: TreeNode) -> Option<NodeView> {
        let branch = self.branches.get(node.0 as usize)?;
        if !self.members[node.0 as usize].is(member::EXISTS) {
            return None;
        }
        let (backlog, backlog_bytes) = branch.backlog();
        Some(NodeView {
            rates: branch.rates,
            packets: branch.packets,
            bytes: branch.bytes,
            charged: branch.charged,
            backlog,
            backlog_bytes,
            rate: branch.rate(self.now, self.hz),
        })
    }
}
