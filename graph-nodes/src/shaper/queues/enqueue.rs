//! A packet arrives: its tin, its flow's queue, its place.

use super::{
    super::{
        Arrival, Cause, Dropped, Lead, Leaf,
        flows::{Found, State},
        packets::Place,
        sets::NONE,
        tin::Tin,
    },
    Queues,
};

/// Queues of flows in a tin, as CAKE has them; flows beyond these share.
const FLOWS: u32 = 1024;

impl Queues {
    /// Queues a packet; what must go is handed to `dropped`, which may be this packet or another one, of any leaf.
    ///
    /// True if the leaf had nothing to send before and has now. `lead` is what [`Queues::prefetch_queue`] has returned for this packet, or the
    /// default.
    #[inline]
    pub fn enqueue(
        &mut self,
        leaf: Leaf,
        arrival: &Arrival,
        lead: Lead,
        now: u64,
        dropped: &mut impl FnMut(Dropped),
    ) -> bool {
        self.totals.arrived += 1;
        let number = leaf.0;
        let state = &self.leaves[number as usize];
        let discipline = &self.disciplines[usize::from(state.discipline)];
        let which = discipline.tin_of[usize::from(arrival.dscp & 63)];
        let holds = discipline.holds;
        if !self.is_set_up(leaf) {
            return self.refuse(leaf, which, arrival, dropped);
        }
        let Some(at) = self.tin_of(number, which, now) else {
            return self.refuse(leaf, which, arrival, dropped);
        };
        let tin = &mut self.tins.tins[at as usize];
        let found = if self.flows.is(lead.0, number, which, arrival.flow) {
            Found::Known(lead.0, false)
        } else {
            let full = u32::from(tin.sparse_flows) + u32::from(tin.bulk_flows) >= FLOWS;
            self.flows.find(number, which, arrival, full, now, &mut self.hosts, holds)
        };
        let flow_number = match found {
            Found::Known(flow, elsewhere) => {
                tin.ways.indirect += u32::from(elsewhere);
                flow
            }
            Found::New(flow) => {
                tin.ways.misses += 1;
                flow
            }
            Found::Shared(flow) => {
                tin.ways.collisions += 1;
                flow
            }
            Found::Nowhere => {
                // Any queue of the tin is better than none.
                let flow = if tin.sparse.head != NONE { tin.sparse.head } else { tin.rounds.head() };
                if flow == NONE {
                    return self.refuse(leaf, which, arrival, dropped);
                }
                tin.ways.collisions += 1;
                flow
            }
        };
        let place = Place {
            at: now,
            handle: arrival.packet,
            next: NONE,
            length: arrival.length,
            ecn_capable: arrival.ecn_capable,
        };
        let Some(place) = self.packets.put(place) else {
            return self.refuse(leaf, which, arrival, dropped);
        };
        let state = &mut self.leaves[number as usize];
        let flow = &mut self.flows.flows[flow_number as usize];
        if flow.packets == 0 {
            flow.head = place;
        } else {
            self.packets.link(flow.tail, place);
        }
        flow.tail = place;
        flow.packets += 1;
        flow.bytes += arrival.length;
        match flow.state {
            State::Idle => {
                flow.state = State::Sparse;
                flow.deficit = 1 << state.shift;
                tin.sparse_flows += 1;
                tin.unresponsive += u32::from(flow.unresponsive);
                tin.sparse.push(&mut self.flows.flows, flow_number);
            }
            State::Waiting => {
                flow.state = State::Bulk;
                tin.bulk_flows += 1;
                self.hosts.count(flow.ends, true);
            }
            State::Sparse | State::Bulk | State::Free => {}
        }
        let packets = self.flows.flows[flow_number as usize].packets;
        if tin.longest == flow_number || packets > tin.longest_packets {
            (tin.longest, tin.longest_packets) = (flow_number, packets);
        }
        if tin.packets == 0 {
            // Credit is not saved up while there is nothing to send.
            tin.clock = tin.clock.max(state.clock);
        }
        tin.packets += 1;
        tin.bytes += arrival.length;
        tin.longest_packet = tin.longest_packet.max(arrival.length);
        tin.counters.enqueued += 1;
        tin.counters.enqueued_bytes += u64::from(arrival.length);
        let begins = state.packets == 0;
        state.packets += 1;
        state.bytes += arrival.length;
        state.backlogged |= 1 << which;
        let crowded = state.packets > state.limit;
        self.note(number);
        if crowded {
            self.shed(number, now, dropped);
        }
        while self.packets.used() > self.settings.packets {
            // The crowded leaf has packets, but none of its longest queues may have any more; this leaf's has.
            if !self.shed(self.crowded, now, dropped) && !self.shed(number, now, dropped) {
                break;
            }
        }
        self.debug_check();
        begins && self.leaves[number as usize].packets != 0
    }

    /// The tin's number for a leaf's packets of `which`, taken from the pool if need be.
    #[inline]
    fn tin_of(&mut self, leaf: u32, which: u8, now: u64) -> Option<u32> {
        let at = self.leaves[leaf as usize].tins[usize::from(which)];
        if at != NONE { Some(at) } else { self.take_tin(leaf, which, now) }
    }

    #[inline(never)]
    fn take_tin(&mut self, leaf: u32, which: u8, now: u64) -> Option<u32> {
        let mut at = self.tins.candidate(now)?;
        if self.tins.tins[at as usize].number != u8::MAX {
            self.give_back(at);
            at = self.tins.candidate(now)?;
        }
        self.tins.tins[at as usize] = Tin::new(leaf, which);
        self.leaves[leaf as usize].tins[usize::from(which)] = at;
        Some(at)
    }

    #[cold]
    fn refuse(&mut self, leaf: Leaf, tin: u8, arrival: &Arrival, dropped: &mut impl FnMut(Dropped)) -> bool {
        self.totals.dropped[Cause::Refused as usize] += 1;
        let Arrival { packet, length, .. } = *arrival;
        dropped(Dropped { packet, length, leaf, tin, cause: Cause::Refused });
        false
    }
}
