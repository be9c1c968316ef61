//! A leaf sends: whose turn it is, and what CoDel and BLUE do to the packet.

use super::{
    super::{Cause, Departure, Dropped, Leaf, flows::State, packets::Place, sets::NONE, tins::WHOLE},
    Queues,
};

impl Queues {
    /// The next packet that a leaf sends; what queue management drops on the way is handed to `dropped`.
    ///
    /// `None`: the leaf has nothing more to send.
    pub fn dequeue(&mut self, leaf: Leaf, now: u64, dropped: &mut impl FnMut(Dropped)) -> Option<Departure> {
        let number = leaf.0;
        while let Some(which) = self.choose(number) {
            if let Some(departure) = self.serve(number, which, now, dropped) {
                self.totals.dequeued += 1;
                self.note(number);
                self.debug_check();
                return Some(departure);
            }
        }
        None
    }

    /// The tin whose turn it is: the first in precedence that is within its share, otherwise the one that is least beyond.
    #[inline]
    fn choose(&self, leaf: u32) -> Option<u8> {
        let state = &self.leaves[leaf as usize];
        let backlogged = state.backlogged;
        if backlogged & backlogged.wrapping_sub(1) == 0 {
            return (backlogged != 0).then(|| backlogged.trailing_zeros() as u8);
        }
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
    fn serve(
        &mut self,
        leaf: u32,
        which: u8,
        now: u64,
        dropped: &mut impl FnMut(Dropped),
    ) -> Option<Departure> {
        let state = &self.leaves[leaf as usize];
        let at = state.tins[usize::from(which)];
        let shift = u32::from(state.shift);
        let prepared = &self.disciplines[usize::from(state.discipline)];
        let limits = prepared.limits(state.mtu_time, usize::from(which));
        let inverse_share = prepared.inverse_shares[usize::from(which)];
        while self.tins.tins[at as usize].packets != 0 {
            let tin = &mut self.tins.tins[at as usize];
            let sparse = tin.sparse.head != NONE;
            let number = if sparse { tin.sparse.head } else { tin.rounds.head() };
            debug_assert_ne!(number, NONE, "packets without a listed flow");
            let flow = &mut self.flows.flows[number as usize];
            if flow.packets == 0 {
                if sparse && !tin.rounds.is_empty() {
                    flow.state = State::Waiting;
                    tin.sparse_flows -= 1;
                    tin.sparse.pop(&self.flows.flows);
                    tin.rounds.push(&mut self.flows.flows, number, shift);
                } else {
                    self.unlist(at, number, now);
                }
                continue;
            }
            if flow.deficit <= 0 {
                if sparse {
                    flow.state = State::Bulk;
                    tin.sparse_flows -= 1;
                    tin.bulk_flows += 1;
                    self.hosts.count(flow.ends, true);
                    tin.sparse.pop(&self.flows.flows);
                } else {
                    tin.rounds.pop(&self.flows.flows);
                }
                tin.rounds.push(&mut self.flows.flows, number, shift);
                continue;
            }
            let place = self.take(leaf, at, number);
            let flow = &mut self.flows.flows[number as usize];
            let sojourn = now.saturating_sub(place.at);
            let few = flow.bytes <= self.settings.mtu;
            let act = flow.memory.codel.act(now, sojourn, few, limits);
            if act && !place.ecn_capable {
                self.drop(leaf, at, &place, Cause::Codel, dropped);
                continue;
            }
            if act {
                flow.memory.codel.marked(limits);
            }
            // xorshift32 (Marsaglia 2003).
            self.random ^= self.random << 13;
            self.random ^= self.random >> 17;
            self.random ^= self.random << 5;
            // The last packet of a queue stays, lest a slow flow be starved.
            if flow.packets != 0 && flow.memory.blue.drops(self.random) {
                self.drop(leaf, at, &place, Cause::Blue, dropped);
                continue;
            }
            let tin = &mut self.tins.tins[at as usize];
            if flow.packets == 0 && flow.unresponsive {
                flow.memory.blue.emptied(now, limits.target);
                flow.unresponsive = flow.memory.blue.is_active();
                tin.unresponsive -= u32::from(!flow.unresponsive);
            }
            flow.deficit -= (place.length * self.hosts.load(flow.ends)) as i32;
            tin.counters.dequeued += 1;
            tin.counters.dequeued_bytes += u64::from(place.length);
            tin.counters.marked += u64::from(act);
            tin.delays.add(sojourn);
            tin.clock += u64::from(place.length) * u64::from(inverse_share);
            let state = &mut self.leaves[leaf as usize];
            let sent = place.length * WHOLE;
            state.clock += u64::from(sent);
            let ahead = tin.clock.saturating_sub(state.clock).min(u64::from(u32::MAX)) as u32;
            state.ahead = state.ahead.saturating_sub(sent).max(ahead);
            if state.packets == 0 {
                // A new busy period owes nothing to this one.
                state.clock += u64::from(std::mem::take(&mut state.ahead));
            }
            if tin.packets == 0 {
                self.settle(at, now);
            } else if sparse && flow.packets == 0 && tin.rounds.is_empty() {
                self.unlist(at, number, now);
            } else if flow.deficit <= 0 || sparse && flow.packets == 0 {
                // Now rather than at its next turn, so that the flow that is asked for ahead is the one that sends.
                if sparse {
                    tin.sparse_flows -= 1;
                    tin.sparse.pop(&self.flows.flows);
                } else {
                    tin.rounds.pop(&self.flows.flows);
                }
                let flow = &mut self.flows.flows[number as usize];
                if sparse && flow.packets == 0 {
                    flow.state = State::Waiting;
                } else if sparse {
                    flow.state = State::Bulk;
                    tin.bulk_flows += 1;
                    self.hosts.count(flow.ends, true);
                }
                tin.rounds.push(&mut self.flows.flows, number, shift);
            }
            return Some(Departure {
                packet: place.handle,
                length: place.length,
                sojourn,
                tin: which,
                mark: act,
            });
        }
        None
    }

    /// Takes the first packet out of a flow's queue.
    #[inline]
    pub(super) fn take(&mut self, leaf: u32, at: u32, number: u32) -> Place {
        let flow = &mut self.flows.flows[number as usize];
        let place = self.packets.take(flow.head);
        flow.head = place.next;
        flow.packets -= 1;
        flow.bytes -= place.length;
        let tin = &mut self.tins.tins[at as usize];
        if tin.longest == number || flow.packets > tin.longest_packets {
            (tin.longest, tin.longest_packets) = (number, flow.packets);
        }
        tin.packets -= 1;
        tin.bytes -= place.length;
        let state = &mut self.leaves[leaf as usize];
        state.packets -= 1;
        state.bytes -= place.length;
        if tin.packets == 0 {
            state.backlogged &= !(1 << tin.number);
        }
        place
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
            Cause::Codel => tin.counters.codel += 1,
            Cause::Blue => tin.counters.blue += 1,
            Cause::Overlimit => tin.counters.overlimit += 1,
            // Counted in the totals: the leaf's own end here.
            Cause::Refused | Cause::Removed => {}
        }
        self.totals.dropped[cause as usize] += 1;
        let (packet, length, tin) = (place.handle, place.length, tin.number);
        dropped(Dropped { packet, length, leaf: Leaf(leaf), tin, cause });
    }

    /// Takes the flow whose turn it is out of its list; it has no packets.
    pub(super) fn unlist(&mut self, at: u32, number: u32, now: u64) {
        let tin = &mut self.tins.tins[at as usize];
        let flow = &mut self.flows.flows[number as usize];
        let state = std::mem::replace(&mut flow.state, State::Idle);
        flow.idle_since = now;
        tin.unresponsive -= u32::from(flow.unresponsive);
        match state {
            State::Sparse => tin.sparse_flows -= 1,
            State::Bulk => {
                tin.bulk_flows -= 1;
                self.hosts.count(flow.ends, false);
            }
            State::Waiting | State::Idle | State::Free => {}
        }
        if state == State::Sparse {
            tin.sparse.pop(&self.flows.flows);
        } else {
            tin.rounds.pop(&self.flows.flows);
        }
    }

    /// The tin is empty: nobody waits for a turn any more.
    #[inline]
    pub(super) fn settle(&mut self, at: u32, now: u64) {
        loop {
            let tin = &mut self.tins.tins[at as usize];
            let flow = if tin.sparse.head != NONE { tin.sparse.head } else { tin.rounds.head() };
            if flow == NONE {
                tin.idle_since = now;
                return;
            }
            self.unlist(at, flow, now);
        }
    }
}
