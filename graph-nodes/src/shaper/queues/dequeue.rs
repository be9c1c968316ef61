//! A leaf sends: whose turn it is, and what CoDel and BLUE do to the packet.

use super::{
    super::{
        Cause, Departure, Dropped, Leaf,
        flows::{State, stale},
        packets::Place,
        sets::NONE,
        tins::WHOLE,
    },
    Queues,
};

/// What queue management says of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Mark,
    Drop(Cause),
}

impl Queues {
    /// The next packet that a leaf sends; what queue management drops on the way is handed to `dropped`.
    ///
    /// `None`: the leaf has nothing more to send.
    #[inline]
    pub fn dequeue(&mut self, leaf: Leaf, now: u64, dropped: &mut impl FnMut(Dropped)) -> Option<Departure> {
        self.dequeue_late(leaf, now, now, dropped)
    }

    /// The same for a packet that should have left at `due`, at `now` or before: that the worker comes late is not the queue's doing, and no sender that slows down can
    /// help it, so CoDel looks at how long the packet would have waited.
    #[inline]
    pub(in crate::shaper) fn dequeue_late(
        &mut self,
        leaf: Leaf,
        due: u64,
        now: u64,
        dropped: &mut impl FnMut(Dropped),
    ) -> Option<Departure> {
        while let Some(which) = self.choose(leaf.0) {
            if let Some(departure) = self.serve(leaf.0, which, due, now, dropped) {
                self.totals.dequeued += 1;
                self.debug_check();
                return Some(departure);
            }
        }
        None
    }

    /// The tin whose turn it is: the first in precedence that is within its share, otherwise the one that is least beyond.
    #[inline(always)]
    fn choose(&self, leaf: u32) -> Option<u8> {
        let backlogged = self.leaves[leaf as usize].backlogged;
        if backlogged & backlogged.wrapping_sub(1) == 0 {
            return (backlogged != 0).then(|| backlogged.trailing_zeros() as u8);
        }
        self.choose_of_several(leaf)
    }

    #[inline(never)]
    fn choose_of_several(&self, leaf: u32) -> Option<u8> {
        let state = &self.leaves[leaf as usize];
        let backlogged = state.backlogged;
        let mut least: Option<(u64, u8)> = None;
        for which in self.disciplines[usize::from(state.discipline)].precedence {
            if backlogged & 1 << which == 0 {
                continue;
            }
            let clock = self.tins.tins[state.tins[usize::from(which)] as usize].clock;
            if clock <= state.clock {
                return Some(which);
            }
            if least.is_none_or(|(smallest, _)| clock < smallest) {
                least = Some((clock, which));
            }
        }
        least.map(|(_, which)| which)
    }

    /// A packet of one tin; `None` if queue management dropped all that it had.
    #[inline(always)]
    fn serve(
        &mut self,
        leaf: u32,
        which: u8,
        due: u64,
        now: u64,
        dropped: &mut impl FnMut(Dropped),
    ) -> Option<Departure> {
        let at = self.leaves[leaf as usize].tins[usize::from(which)];
        loop {
            let Queues { leaves, tins, flows, packets, disciplines, .. } = self;
            let state = &mut leaves[leaf as usize];
            let tin = &mut tins.tins[at as usize];
            if tin.packets == 0 {
                return None;
            }
            let sparse = tin.sparse.head != NONE;
            let number = if sparse { tin.sparse.head } else { tin.rounds.head(&tin.lists) };
            debug_assert_ne!(number, NONE, "packets without a listed flow");
            let flow = &mut flows.flows[number as usize];
            if flow.packets == 0 || flow.deficit <= 0 {
                self.pass(leaf, at, now);
                continue;
            }
            let place = flow.take(number, packets);
            if tin.longest == number || flow.packets > tin.longest_packets {
                (tin.longest, tin.longest_packets) = (number, flow.packets);
            }
            let length = place.length();
            tin.packets -= 1;
            tin.bytes -= length;
            state.packets -= 1;
            state.bytes -= length;
            self.queued -= 1;
            self.frames -= self.settings.frames(length);
            if tin.packets == 0 {
                state.backlogged &= !(1 << which);
            }
            if self.crowded == leaf || state.packets > self.crowded_packets {
                (self.crowded, self.crowded_packets) = (leaf, state.packets);
            }
            let sojourn = place.sojourn(now);
            let prepared = &disciplines[usize::from(state.discipline)];
            let inverse_share = prepared.inverse_shares[usize::from(which)];
            let mut mark = false;
            // The target is never less than the discipline's.
            if sojourn >= prepared.discipline.target || !flow.calm || flow.unresponsive {
                match self.judge(leaf, at, number, &place, due) {
                    Verdict::Pass => {}
                    Verdict::Mark => mark = true,
                    Verdict::Drop(cause) => {
                        self.drop(leaf, at, &place, cause, dropped);
                        continue;
                    }
                }
            }
            let Queues { leaves, tins, flows, hosts, .. } = self;
            let state = &mut leaves[leaf as usize];
            let tin = &mut tins.tins[at as usize];
            let flow = &mut flows.flows[number as usize];
            // One bulk flow is no host's second one.
            let load = if tin.bulk_flows > 1 { hosts.load(flow.ends) } else { 1 };
            flow.deficit -= (length * load).cast_signed();
            tin.leaving.dequeued += 1;
            tin.leaving.dequeued_bytes += u64::from(length);
            tin.leaving.delays.add(sojourn);
            tin.clock += u64::from(length) * u64::from(inverse_share);
            let sent = length * WHOLE;
            state.clock += u64::from(sent);
            let ahead = tin.clock.saturating_sub(state.clock).min(u64::from(u32::MAX)) as u32;
            state.ahead = state.ahead.saturating_sub(sent).max(ahead);
            if state.packets == 0 {
                // A new busy period owes nothing to this one.
                state.clock += u64::from(std::mem::take(&mut state.ahead));
            }
            let departure = Departure { packet: place.handle, length, sojourn, tin: which, mark };
            if sparse && flow.packets == 0 && tin.rounds.is_empty() {
                // The usual case: a flow that had one packet.
                flow.state = State::Idle;
                flow.idle_since = stale(now);
                if flow.unresponsive {
                    tin.rare.unresponsive -= 1;
                }
                tin.sparse_flows -= 1;
                tin.sparse.pop(flow);
                if tin.packets == 0 {
                    self.settle(at, now);
                }
            } else if tin.packets == 0 {
                self.settle(at, now);
            } else if flow.deficit <= 0 || sparse && flow.packets == 0 {
                // Now rather than at its next turn, so that the flow that is asked for ahead is the one that sends.
                self.pass(leaf, at, now);
            }
            return Some(departure);
        }
    }

    /// The flow at the head has nothing to send, or no quantum left: it goes where it belongs.
    #[inline(never)]
    fn pass(&mut self, leaf: u32, at: u32, now: u64) {
        let Queues { leaves, tins, flows, hosts, .. } = self;
        let shift = u32::from(leaves[leaf as usize].shift);
        let tin = &mut tins.tins[at as usize];
        let sparse = tin.sparse.head != NONE;
        let number = tin.head();
        let flow = &mut flows.flows[number as usize];
        if flow.packets == 0 && (!sparse || tin.rounds.is_empty()) {
            self.unlist(at, now);
            return;
        }
        if sparse {
            tin.sparse_flows -= 1;
            tin.sparse.pop(flow);
            if flow.packets == 0 {
                flow.state = State::Waiting;
            } else {
                flow.state = State::Bulk;
                tin.bulk_flows += 1;
                hosts.count(flow.ends, true);
            }
        } else {
            tin.rounds.pop(&mut tin.lists, flow);
        }
        tin.rounds.push(&mut tin.lists, &mut flows.flows, number, shift);
    }

    /// What CoDel and BLUE make of a packet that has just been taken from its flow.
    #[inline(never)]
    fn judge(&mut self, leaf: u32, at: u32, number: u32, place: &Place, due: u64) -> Verdict {
        let state = &self.leaves[leaf as usize];
        let tin = &mut self.tins.tins[at as usize];
        let limits =
            self.disciplines[usize::from(state.discipline)].limits(state.mtu_time, usize::from(tin.number));
        let flow = &mut self.flows.flows[number as usize];
        let few = flow.bytes <= self.settings.mtu;
        let codel = &mut flow.memory.codel;
        let act = codel.act(due, place.sojourn(due), few, limits);
        let mark = act && place.ecn_capable();
        if mark {
            codel.marked(limits);
        }
        flow.calm = codel.is_calm();
        if act && !mark {
            return Verdict::Drop(Cause::Codel);
        }
        if flow.unresponsive {
            // xorshift32 (Marsaglia 2003).
            self.random ^= self.random << 13;
            self.random ^= self.random >> 17;
            self.random ^= self.random << 5;
            // The last packet of a queue stays, lest a slow flow be starved.
            if flow.packets != 0 && flow.memory.blue.drops(self.random) {
                return Verdict::Drop(Cause::Blue);
            }
            if flow.packets == 0 {
                flow.memory.blue.emptied(due, limits.target);
                flow.unresponsive = flow.memory.blue.is_active();
                tin.rare.unresponsive -= u32::from(!flow.unresponsive);
            }
        }
        tin.leaving.marked += u64::from(mark);
        if mark { Verdict::Mark } else { Verdict::Pass }
    }

    /// Takes the first packet out of a flow's queue, out of turn.
    pub(super) fn take(&mut self, leaf: u32, at: u32, number: u32) -> Place {
        let flow = &mut self.flows.flows[number as usize];
        let place = flow.take(number, &mut self.packets);
        let packets = flow.packets;
        self.forget(leaf, at, number, packets, place.length());
        place
    }

    /// A packet is no longer in a flow, which has so many now.
    pub(super) fn forget(&mut self, leaf: u32, at: u32, number: u32, packets: u32, length: u32) {
        let tin = &mut self.tins.tins[at as usize];
        if tin.longest == number || packets > tin.longest_packets {
            (tin.longest, tin.longest_packets) = (number, packets);
        }
        tin.packets -= 1;
        tin.bytes -= length;
        let state = &mut self.leaves[leaf as usize];
        state.packets -= 1;
        state.bytes -= length;
        self.queued -= 1;
        self.frames -= self.settings.frames(length);
        if tin.packets == 0 {
            state.backlogged &= !(1 << tin.number);
        }
        if self.crowded == leaf || state.packets > self.crowded_packets {
            (self.crowded, self.crowded_packets) = (leaf, state.packets);
        }
    }

    pub(super) fn drop(
        &mut self,
        leaf: u32,
        at: u32,
        place: &Place,
        cause: Cause,
        dropped: &mut impl FnMut(Dropped),
    ) {
        let tin = &mut self.tins.tins[at as usize];
        match cause {
            Cause::Codel => tin.rare.codel += 1,
            Cause::Blue => tin.rare.blue += 1,
            Cause::Overlimit => tin.rare.overlimit += 1,
            Cause::AckFilter => tin.rare.ack_drops += 1,
            // Counted in the totals: the leaf's own end here.
            Cause::Refused | Cause::Removed => {}
        }
        self.totals.dropped[cause as usize] += 1;
        let (packet, length, tin) = (place.handle, place.length(), tin.number);
        dropped(Dropped { packet, length, leaf: Leaf(leaf), tin, cause });
    }

    /// Takes the flow whose turn it is out of its list; it has no packets.
    pub(super) fn unlist(&mut self, at: u32, now: u64) {
        let tin = &mut self.tins.tins[at as usize];
        let flow = &mut self.flows.flows[tin.head() as usize];
        let state = std::mem::replace(&mut flow.state, State::Idle);
        flow.idle_since = stale(now);
        tin.rare.unresponsive -= u32::from(flow.unresponsive);
        match state {
            State::Sparse => tin.sparse_flows -= 1,
            State::Bulk => {
                tin.bulk_flows -= 1;
                self.hosts.count(flow.ends, false);
            }
            State::Waiting | State::Idle | State::Free => {}
        }
        if state == State::Sparse {
            tin.sparse.pop(flow);
        } else {
            tin.rounds.pop(&mut tin.lists, flow);
        }
    }

    /// The tin is empty: nobody waits for a turn any more.
    #[inline]
    pub(super) fn settle(&mut self, at: u32, now: u64) {
        loop {
            let tin = &mut self.tins.tins[at as usize];
            if tin.head() == NONE {
                tin.leaving.idle_since = now;
                return;
            }
            self.unlist(at, now);
        }
    }
}
