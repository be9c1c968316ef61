//! The tree itself: who is listed where, whose turn it is, and what a packet costs whom. See the module's head.

use super::{
    branch::Branch,
    common::Share,
    member::{AWAITED, CHANGED, EXISTS, GREEN, GUARANTEE_TIMER, HELD, Member, Moment, TIMER, YELLOW},
    meter::Meter,
    overhead::Overhead,
    sharing::spend_shared,
    wheel::{Event, Wheel},
};
use crate::memory::{Zeros, zeroed};
use crate::{
    fib::prefetch,
    shaper::{Dropped, Leaf, Queues, Settings, sets::NONE},
};

/// How far guarantees may lag and be made up for: 1/100 s.
const GUARANTEE_LAG: u64 = 100;
/// How late a worker may come and still lose no rate: 1/100 s. Beyond it, time is lost rather than made up for in a burst. Where a worker shares its core
/// with others it waits some milliseconds for its turn: with 1/1000 s, two busy cores lost 1.5 % of the rate.
const LATENESS: u64 = 100;

/// A packet that finds nobody waiting may leave so long before its nominal time, 50 µs: packets that a port gives at once have come one after the other since it was last
/// asked, and need not wait for each other again. (HTB sends at least a burst of what the rate carries between two ticks of a clock of 100 to 1000 Hz.)
const EARLY: u64 = 20_000;

/// Members are numbered: nodes first, then leaves.
pub(super) struct Tree {
    pub(super) members: Zeros<Member>,
    /// Of nodes.
    pub(super) branches: Zeros<Branch>,
    /// Of leaves.
    pub(super) meters: Zeros<Meter>,
    pub(super) wheel: Wheel,
    pub(super) overheads: Vec<Overhead>,
    /// Where other workers have a part of the nodes.
    pub(super) share: Option<Share>,
    changed: Changed,
    pub(super) hz: u64,
    /// Bytes of a full packet on the link.
    pub(super) mtu: u32,
    guarantee_lag: u64,
    pub(super) lateness: u64,
    early: u64,
    /// The latest time that anybody has told.
    pub(super) now: u64,
    /// The time that has been played: at most `now`.
    pub(super) time: u64,
}

/// Members that something has happened to, each once, in the order in which it did.
struct Changed {
    ring: Box<[u32]>,
    head: usize,
    length: usize,
}

/// How a packet leaves its leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// As it comes: it has never waited.
    Through,
    /// Ahead of others that wait there.
    Ahead,
    /// With nothing behind it.
    Last,
}

/// A leaf that may send, and whether it is listed: picked from lists, all the way down from `top`.
pub(super) struct Turn {
    pub(super) leaf: u32,
    pub(super) listed: bool,
    /// In the list of those whose guarantee is due.
    pub(super) green: bool,
    /// Above it nobody is listed.
    top: u32,
    pub(super) time: u64,
    /// When it leaves, to a fraction.
    moment: Moment,
}

impl Tree {
    pub(super) fn new(settings: &Settings, overheads: &[Overhead]) -> Tree {
        let Settings { nodes, leaves, hz, .. } = *settings;
        let members = nodes + leaves;
        Tree {
            members: zeroed(members),
            branches: zeroed(nodes),
            meters: zeroed(leaves),
            wheel: Wheel::new(2 * members, hz),
            overheads: overheads.to_vec(),
            share: None,
            changed: Changed { ring: vec![0; members].into(), head: 0, length: 0 },
            hz,
            mtu: overheads[0].of(settings.mtu),
            guarantee_lag: hz / GUARANTEE_LAG,
            lateness: hz / LATENESS,
            early: hz / EARLY,
            now: 0,
            time: 0,
        }
    }

    #[inline(always)]
    pub(super) fn member_of(&self, leaf: Leaf) -> u32 {
        self.branches.len() as u32 + leaf.0
    }

    #[inline(always)]
    fn is_node(&self, member: u32) -> bool {
        (member as usize) < self.branches.len()
    }

    #[inline(always)]
    pub(super) fn leaf_of(&self, member: u32) -> Leaf {
        Leaf(member - self.branches.len() as u32)
    }

    #[inline(always)]
    pub(super) fn is_shaped(&self, leaf: Leaf) -> bool {
        self.members.get(self.branches.len() + leaf.0 as usize).is_some_and(|member| member.is(EXISTS))
    }

    /// Whether a member has something to send, or had lately.
    #[inline(always)]
    pub(super) fn is_wanted(&self, member: u32, queues: &Queues) -> bool {
        match self.branches.get(member as usize) {
            Some(branch) => branch.is_wanted(),
            None => queues.is_backlogged(self.leaf_of(member)),
        }
    }

    /// Something has happened to the member.
    #[inline(always)]
    pub(super) fn change(&mut self, member: u32) {
        let state = &mut self.members[member as usize];
        if !state.is(CHANGED) {
            state.flags |= CHANGED;
            self.changed.push(member);
        }
    }

    /// How many members have changed.
    pub(super) fn changed(&self) -> usize {
        self.changed.length
    }

    /// The next of the members that have changed.
    pub(super) fn next_changed(&mut self) -> Option<u32> {
        let member = self.changed.pop()?;
        self.members[member as usize].flags &= !CHANGED;
        Some(member)
    }

    /// A packet comes to a leaf: told to all above.
    #[inline(always)]
    pub(super) fn come(&mut self, leaf: u32, bytes: u64) {
        self.change(leaf);
        let (members, branches): (&mut [Member], &mut [Branch]) = (&mut self.members, &mut self.branches);
        let mut begun = NONE;
        let mut above = members[leaf as usize].parent;
        while let Some(branch) = branches.get_mut(above as usize) {
            if branch.come(1, bytes) {
                begun = above;
            }
            let state = &mut members[above as usize];
            if !state.is(CHANGED) {
                state.flags |= CHANGED;
                self.changed.push(above);
            }
            above = state.parent;
        }
        if begun != NONE {
            self.welcome_up_to(leaf, begun);
        }
    }

    /// Nodes above a leaf, up to `last`, had nothing to send, and have something.
    #[cold]
    fn welcome_up_to(&mut self, leaf: u32, last: u32) {
        let mut node = leaf;
        while node != last {
            node = self.members[node as usize].parent;
            self.welcome(node);
        }
    }

    /// Packets come below all nodes above a member, or go without having been sent.
    pub(super) fn stock_above(&mut self, member: u32, packets: u64, bytes: u64, comes: bool) {
        let mut member = self.members[member as usize].parent;
        while let Some(branch) = self.branches.get_mut(member as usize) {
            let begins = if comes {
                branch.come(packets, bytes)
            } else {
                branch.go(packets, bytes);
                false
            };
            self.change(member);
            let above = self.members[member as usize].parent;
            if begins {
                self.welcome(member);
            }
            member = above;
        }
    }

    #[inline]
    pub(super) fn lost(&mut self, dropped: &Dropped) {
        let leaf = self.member_of(dropped.leaf);
        self.change(leaf);
        self.stock_above(leaf, 1, u64::from(dropped.length), false);
    }

    /// The leaf has packets, and had none.
    #[inline]
    pub(super) fn begin(&mut self, leaf: u32, now: u64) {
        let member = &mut self.members[leaf as usize];
        if member.ceil_ticks() < now {
            // It does not send before its packet is there.
            member.set_ceil(Moment::at(now));
        }
        if !member.is(TIMER | GREEN | YELLOW) {
            self.welcome(leaf);
            self.arm(leaf, 0);
        }
    }

    /// A member had nothing to send, and has something.
    #[inline(always)]
    fn welcome(&mut self, member: u32) {
        let parent = self.members[member as usize].parent;
        if (parent as usize) >= self.branches.len() {
            return;
        }
        if self.share.as_ref().is_some_and(|share| share.others_wait(member)) {
            // It has had something all the time.
            return;
        }
        self.sync(parent);
        let before = self.members[member as usize].tag;
        self.branches[parent as usize].welcome(&mut self.members[member as usize]);
        self.tell_tag(member, before);
    }

    /// There will be an event when the ceiling lets the member send, and not before `least`.
    #[inline]
    fn arm(&mut self, member: u32, least: u64) {
        let state = &mut self.members[member as usize];
        if !state.is(TIMER) {
            state.flags |= TIMER;
            let due = state.ceil_ticks().max(least);
            self.wheel.arm(due, member << 1);
        }
    }

    /// Lists a member that has something to send at its parent, or sees to it that this is done in time. True: it is listed.
    ///
    /// Listed is who may send by the time that its parent may: a child that is faster needs no event of its own.
    #[inline]
    fn place(&mut self, member: u32, time: u64) -> bool {
        if self.share.as_ref().is_some_and(|share| share.sleeps(member)) {
            return false;
        }
        let parent = self.members[member as usize].parent;
        self.sync(parent);
        let state = &self.members[member as usize];
        let then = self.members[parent as usize].ceil_ticks().max(time);
        if state.is_blocked(then) {
            self.arm(member, 0);
            return false;
        }
        let below_green = self.branches.get(member as usize).is_some_and(Branch::has_green);
        let branch = &mut self.branches[parent as usize];
        let state = &self.members[member as usize];
        if below_green || state.is_due(then) {
            if !state.is(GREEN) {
                branch.push_green(&mut self.members, member);
            }
            return true;
        }
        if !state.is(YELLOW) {
            let before = state.tag;
            branch.push_yellow(&mut self.members, member);
            self.tell_tag(member, before);
        }
        let state = &mut self.members[member as usize];
        if state.rate_cost != 0 && !state.is(GUARANTEE_TIMER) {
            state.flags |= GUARANTEE_TIMER;
            let due = state.rate_ticks();
            self.wheel.arm(due, member << 1 | 1);
        }
        true
    }

    /// Lists a member and, as far as they must know, all above. `Some`: the root, which may send at once.
    #[inline(always)]
    fn list(&mut self, mut member: u32, time: u64) -> Option<u32> {
        loop {
            if self.members[member as usize].is_root() {
                self.sync(member);
                if self.members[member as usize].is(TIMER) {
                    return None;
                }
                if !self.members[member as usize].is_blocked(time) {
                    return Some(member);
                }
                self.arm(member, 0);
                return None;
            }
            let before = self.members[member as usize].flags & (GREEN | YELLOW);
            if !self.place(member, time) {
                return None;
            }
            self.publish(self.members[member as usize].parent);
            let state = &self.members[member as usize];
            if before != 0 && state.flags & (GREEN | YELLOW) == before {
                // It was listed like this: those above know.
                return None;
            }
            member = state.parent;
        }
    }

    /// Lists a member outside of sending.
    pub(super) fn wake(&mut self, member: u32, time: u64) {
        if let Some(root) = self.list(member, time) {
            self.arm(root, time);
        }
    }

    /// An event has come. `Some`: who sends.
    #[inline(always)]
    pub(super) fn happen(&mut self, event: Event, floor: u64, queues: &Queues) -> Option<Turn> {
        // Played in the order of time, so that it does not matter how late this is called; but time does not go back.
        let time = event.due.max(floor).max(self.time);
        self.time = time;
        let member = event.what >> 1;
        self.sync(member);
        let state = &mut self.members[member as usize];
        if event.what & 1 != 0 {
            state.flags &= !GUARANTEE_TIMER;
            if !state.is(EXISTS) || !state.is(YELLOW) || state.is(GREEN) || state.rate_cost == 0 {
                return None;
            }
            // Listed anew: as green, or to wait on if its guarantee is not due after all.
            let root = self.list(member, time)?;
            return self.pick(root, time, queues);
        }
        state.flags &= !TIMER;
        if let Some(share) = &mut self.share {
            share.wake(member);
            self.publish(member);
        }
        let state = &self.members[member as usize];
        if !state.is(EXISTS) {
            return None;
        }
        if state.is_blocked(time) {
            if self.is_wanted(member, queues) {
                self.arm(member, 0);
            }
            return None;
        }
        if !self.is_wanted(member, queues) {
            return None;
        }
        if let Some(turn) = self.free_turn(member, time) {
            return if self.is_node(member) { self.pick(member, time, queues) } else { Some(turn) };
        }
        let root = self.list(member, time)?;
        self.pick(root, time, queues)
    }

    /// The turn of a member that may send while nobody above waits or has to: the usual case of a customer who is held by their own plan alone, or of a tower that alone holds back
    /// those below it.
    #[inline(always)]
    fn free_turn(&mut self, member: u32, time: u64) -> Option<Turn> {
        self.early_turn(member, time, time)
    }

    /// The same at `time`, or as early as that if clocks let it send by `until`.
    #[inline(always)]
    fn early_turn(&mut self, member: u32, time: u64, until: u64) -> Option<Turn> {
        if self.share.is_some() && !self.is_quiet_above(member) {
            return None;
        }
        let (members, branches): (&[Member], &[Branch]) = (&self.members, &self.branches);
        let state = &members[member as usize];
        let mut turn = Turn { time: until, ..Turn::new(member, time) };
        turn.passes(state);
        let mut above = state.parent;
        while let Some(branch) = branches.get(above as usize) {
            let state = &members[above as usize];
            if branch.is_wanted() || state.is_blocked(until) {
                return None;
            }
            turn.passes(state);
            above = state.parent;
        }
        turn.time = time.max(turn.moment.ticks());
        Some(turn)
    }

    /// The turn of a packet that comes to a leaf with nothing to send, if it can leave at once: then it is charged, and was never there. `None`: it is to be queued,
    /// and until it is none passes.
    #[inline(always)]
    pub(super) fn let_through(&mut self, leaf: u32, now: u64) -> Option<Turn> {
        let state = &mut self.members[leaf as usize];
        let until = now + self.early;
        if state.is(AWAITED | GREEN | YELLOW) || state.is_blocked(until) {
            state.flags |= AWAITED;
            return None;
        }
        let turn = self.early_turn(leaf, now, until);
        if turn.is_none() {
            self.members[leaf as usize].flags |= AWAITED;
        }
        turn
    }

    /// The packet that the leaf has been waiting for is queued.
    #[inline(always)]
    pub(super) fn arrived(&mut self, leaf: u32) {
        self.members[leaf as usize].flags &= !AWAITED;
    }

    /// The turn of a leaf that was picked.
    #[inline]
    fn listed_turn(&self, leaf: u32, top: u32, green: bool, time: u64) -> Turn {
        let members: &[Member] = &self.members;
        let state = &members[leaf as usize];
        let mut turn = Turn { listed: true, green, top, ..Turn::new(leaf, time) };
        turn.passes(state);
        let mut above = state.parent;
        while let Some(state) = members.get(above as usize) {
            turn.passes(state);
            above = state.parent;
        }
        turn
    }

    /// Whose turn it is below a node that may send, and above which nobody is listed. Who is listed and can't send is taken out on the way.
    fn pick(&mut self, root: u32, time: u64, queues: &Queues) -> Option<Turn> {
        let mut node = root;
        loop {
            let child = self.branches[node as usize].choose(&self.members, time, self.mtu);
            if child == NONE {
                debug_assert_eq!(node, root, "who is picked has somebody listed");
                return None;
            }
            let green = self.branches[node as usize].chose_green();
            self.sync(child);
            let state = &self.members[child as usize];
            let blocked = state.is_blocked(time);
            if blocked || !self.is_wanted(child, queues) {
                self.take_head(node);
                if blocked && self.is_wanted(child, queues) {
                    self.arm(child, 0);
                }
                // From the top: those above may be less urgent without it, or have nobody left.
                node = root;
                continue;
            }
            let below_green = self.branches.get(child as usize).is_some_and(Branch::has_green);
            if green && !below_green && !state.is_due(time) {
                self.take_head(node);
                self.place(child, time);
                self.publish(node);
                node = root;
                continue;
            }
            if !green && !self.branches[node as usize].settle_yellow(&mut self.members, child) {
                self.publish(node);
                continue;
            }
            if let Some(until) = self.gives_way(node, child, green, time) {
                if node == root {
                    self.arm(root, until);
                    return None;
                }
                self.take_head(self.members[node as usize].parent);
                self.arm(node, until);
                node = root;
                continue;
            }
            if !self.is_node(child) {
                return Some(self.listed_turn(child, root, green, time));
            }
            node = child;
        }
    }

    #[inline]
    fn take_head(&mut self, node: u32) {
        self.branches[node as usize].pop(&mut self.members);
        self.publish(node);
    }

    /// A turn came to nothing.
    #[cold]
    pub(super) fn pass(&mut self, turn: &Turn) {
        if self.branches.get(turn.top as usize).is_some_and(Branch::is_wanted) {
            self.arm(turn.top, turn.time);
        }
    }

    /// A packet of `length` bytes leaves: charges all above, and lists whoever has more. Returns a rate that the leaf's queue is to know.
    #[inline(always)]
    pub(super) fn charge(&mut self, turn: &Turn, length: u32, leaving: Leaving) -> Option<u64> {
        let &Turn { leaf, listed, time, moment, .. } = turn;
        let stays = leaving == Leaving::Ahead;
        let charged = self.overheads[0].of(length);
        let overhead = usize::from(self.members[leaf as usize].overhead);
        let own = if overhead == 0 { charged } else { self.overheads[overhead].of(length) };
        let lags = Moment::at(time.saturating_sub(self.guarantee_lag));
        self.change(leaf);
        let (mtu, hz, is_shared) = (self.mtu, self.hz, self.share.is_some());
        let (members, branches): (&mut [Member], &mut [Branch]) = (&mut self.members, &mut self.branches);
        let state = &mut members[leaf as usize];
        // Who had to wait for others makes up for it, as far as one full packet goes: or nobody who shares a node would reach their
        // ceiling. A node may be one packet ahead after idle time too, or packets that happen to meet would have to be listed.
        let from = if listed { state.ceil().max(moment.before(mtu, state.ceil_cost)) } else { moment };
        state.set_ceil(from.after(own, state.ceil_cost));
        // Whose guarantee it uses: the leaf's, or that of the nearest above whose is due; and then that of all above.
        let mut lent = state.is_due(time);
        let mut lender = if lent { leaf } else { NONE };
        if lent {
            state.lend(own, lags);
        }
        let mut above = state.parent;
        while let Some(branch) = branches.get_mut(above as usize) {
            let state = &mut members[above as usize];
            if !lent && state.is_due(time) {
                (lent, lender) = (true, above);
            }
            let floor = moment.before(mtu, state.ceil_cost);
            let is_spent = is_shared
                && self.share.as_mut().is_some_and(|share| {
                    let lags = lent.then_some(lags.ticks());
                    spend_shared(share, state, above, charged, floor.ticks(), time, lags)
                });
            if !is_spent {
                state.set_ceil(state.ceil().max(floor).after(charged, state.ceil_cost));
                if lent {
                    state.lend(charged, lags);
                }
            }
            if !state.is(CHANGED) {
                state.flags |= CHANGED;
                self.changed.push(above);
            }
            if leaving == Leaving::Through {
                branch.come(1, length.into());
            }
            branch.sent(length, charged, time, hz);
            above = state.parent;
        }
        if listed || stays {
            self.settle(turn, stays, charged, lender);
        }
        let state = &mut self.members[leaf as usize];
        if !listed && !state.is(HELD) {
            return None;
        }
        state.flags |= HELD;
        let meter = &mut self.meters[leaf as usize - self.branches.len()];
        let news = meter.sent(moment.ticks(), own, listed, stays, self.hz);
        if meter.is_free() {
            state.flags &= !HELD;
        }
        news
    }

    /// After a packet of who was listed, or has more: takes those who were picked out of their lists, and lists whoever has more.
    #[inline]
    fn settle(&mut self, turn: &Turn, stays: bool, bytes: u32, lender: u32) {
        let &Turn { leaf, mut listed, top, time, .. } = turn;
        if !listed {
            // Nobody is listed above, and most have to wait for their own ceiling now.
            let state = &self.members[leaf as usize];
            let then = self.members[state.parent as usize].ceil_ticks().max(time);
            if self.share.is_none() && state.is_blocked(then) {
                self.arm(leaf, 0);
                return;
            }
            if !self.place(leaf, time) {
                return;
            }
        }
        let mut member = leaf;
        let mut lent = false;
        let mut wants = stays && listed;
        loop {
            let parent = self.members[member as usize].parent;
            let Some(branch) = self.branches.get_mut(parent as usize) else {
                if wants {
                    self.arm(member, 0);
                }
                return;
            };
            if listed {
                branch.pop(&mut self.members);
                // Whoever has used no guarantee, of their own or of anybody below them, has used their share.
                lent |= member == lender;
                if !lent {
                    let before = self.members[member as usize].tag;
                    branch.serve(&mut self.members, member, bytes);
                    self.tell_service(parent, member, before, time);
                }
            }
            if wants {
                self.place(member, time);
            }
            self.publish(parent);
            wants = self.branches[parent as usize].is_wanted();
            listed &= parent != top;
            if !listed && !wants {
                return;
            }
            member = parent;
        }
    }

    /// Asks for the lines of a member that an event is about.
    #[inline(always)]
    pub(super) fn prefetch(members: &[Member], what: u32) {
        if let Some(member) = members.get((what >> 1) as usize) {
            prefetch(member);
        }
    }

    /// How far back in time a call at `now` begins.
    pub(super) fn floor(&self, now: u64) -> u64 {
        now.saturating_sub(self.lateness)
    }
}

impl Turn {
    #[inline(always)]
    fn new(member: u32, time: u64) -> Turn {
        Turn { leaf: member, listed: false, green: false, top: NONE, time, moment: Moment::at(time) }
    }

    /// A member on the way to the root: the leaf itself, and then those above it.
    #[inline(always)]
    fn passes(&mut self, state: &Member) {
        if !state.is_blocked(self.time) {
            self.moment = self.moment.max(state.ceil());
        }
    }
}

impl Changed {
    #[inline]
    fn push(&mut self, member: u32) {
        let at = self.head + self.length;
        let at = if at >= self.ring.len() { at - self.ring.len() } else { at };
        self.ring[at] = member;
        self.length += 1;
    }

    fn pop(&mut self) -> Option<u32> {
        if self.length == 0 {
            return None;
        }
        let member = self.ring[self.head];
        self.head = if self.head + 1 == self.ring.len() { 0 } else { self.head + 1 };
        self.length -= 1;
        Some(member)
    }
}
