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
        let which = self.disciplines[usize::from(state.discipline)].tin_of[usize::from(arrival.dscp & 63)];
        if state.limit == 0 {
            return self.refuse(leaf, which, arrival, dropped);
        }
        let mut at = state.tins[usize::from(which)];
        if at == NONE {
            match self.take_tin(number, which, now) {
                Some(taken) => at = taken,
                None => return self.refuse(leaf, which, arrival, dropped),
            }
        }
        let mut flow_number = lead.0;
        if !self.flows.is(flow_number, number, which, arrival.flow) {
            match self.flow_of(number, which, at, arrival, now) {
                Some(found) => flow_number = found,
                None => return self.refuse(leaf, which, arrival, dropped),
            }
        }
        let Queues { leaves, tins, flows, packets, hosts, .. } = self;
        let state = &mut leaves[number as usize];
        let tin = &mut tins.tins[at as usize];
        let flow = &mut flows.flows[flow_number as usize];
        let place = Place::new(arrival, now);
        if flow.packets == 0 {
            flow.first = place;
        } else {
            let Some(place) = packets.put(place) else {
                return self.refuse(leaf, which, arrival, dropped);
            };
            if flow.packets == 1 {
                flow.first.next = place;
            } else {
                packets.link(flow.tail, place);
            }
            flow.tail = place;
        }
        flow.packets += 1;
        flow.bytes += arrival.length;
        if tin.longest == flow_number || flow.packets > tin.longest_packets {
            (tin.longest, tin.longest_packets) = (flow_number, flow.packets);
        }
        if tin.packets == 0 {
            // Credit is not saved up while there is nothing to send.
            tin.clock = tin.clock.max(state.clock);
        }
        tin.packets += 1;
        tin.bytes += arrival.length;
        tin.longest_packet = tin.longest_packet.max(arrival.length);
        tin.enqueued += 1;
        tin.enqueued_bytes += u64::from(arrival.length);
        let begins = state.packets == 0;
        state.packets += 1;
        state.bytes += arrival.length;
        state.backlogged |= 1 << which;
        match flow.state {
            State::Idle => {
                flow.state = State::Sparse;
                flow.deficit = 1 << state.shift;
                tin.sparse_flows += 1;
                if flow.unresponsive {
                    tin.rare.unresponsive += 1;
                }
                tin.sparse.push(&mut flows.flows, flow_number);
            }
            State::Waiting => {
                flow.state = State::Bulk;
                tin.bulk_flows += 1;
                hosts.count(flow.ends, true);
            }
            State::Sparse | State::Bulk | State::Free => {}
        }
        self.queued += 1;
        let frames = self.settings.frames(arrival.length);
        self.frames += frames;
        let packets = state.packets;
        if self.crowded == number || packets > self.crowded_packets {
            (self.crowded, self.crowded_packets) = (number, packets);
        }
        if self.is_over_limit(number) || self.frames > self.settings.packets {
            self.make_room(number, frames, now, dropped);
            return begins && self.leaves[number as usize].packets != 0;
        }
        self.debug_check();
        begins
    }

    /// A packet that need not wait, as the leaf has none: counted as one that has been queued and has left; in the leaf's own
    /// counts where it has no tin and none is free, as no other leaf is to lose one for that.
    ///
    /// Shares and turns are of packets that wait, and a busy period owes nothing to the one before, so no clock moves. What queue management knows of the flow stays as it is.
    #[inline]
    pub(in crate::shaper) fn let_through(&mut self, leaf: Leaf, dscp: u8, length: u32, now: u64) {
        self.totals.arrived += 1;
        self.totals.dequeued += 1;
        let number = leaf.0;
        let state = &mut self.leaves[number as usize];
        let which = self.disciplines[usize::from(state.discipline)].tin_of[usize::from(dscp & 63)];
        let mut at = state.tins[usize::from(which)];
        if at == NONE {
            if !self.tins.has_free() {
                state.former.passed(length);
                return;
            }
            match self.take_tin(number, which, now) {
                Some(taken) => at = taken,
                None => return,
            }
        }
        let tin = &mut self.tins.tins[at as usize];
        tin.longest_packet = tin.longest_packet.max(length);
        tin.enqueued += 1;
        tin.enqueued_bytes += u64::from(length);
        tin.leaving.dequeued += 1;
        tin.leaving.dequeued_bytes += u64::from(length);
        tin.leaving.delays.add_none();
        tin.leaving.idle_since = now;
        self.debug_check();
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, leaf: u32, frames: usize, now: u64, dropped: &mut impl FnMut(Dropped)) {
        // No more than came: a leaf whose limit has sunk gets there little by little.
        for _ in 0..frames {
            if !self.is_over_limit(leaf) || !self.shed(leaf, now, dropped) {
                break;
            }
        }
        while self.frames > self.settings.packets {
            // The crowded leaf has packets, but none of its longest queues may have any more; this leaf's has.
            if !self.shed(self.crowded, now, dropped) && !self.shed(leaf, now, dropped) {
                break;
            }
        }
        self.debug_check();
    }

    /// The queue of a packet's flow where no lead has led to it.
    #[inline(never)]
    fn flow_of(&mut self, leaf: u32, which: u8, at: u32, arrival: &Arrival, now: u64) -> Option<u32> {
        let tin = &mut self.tins.tins[at as usize];
        let full = u32::from(tin.sparse_flows) + u32::from(tin.bulk_flows) >= FLOWS;
        let holds = self.disciplines[usize::from(self.leaves[leaf as usize].discipline)].holds;
        let ways = &mut tin.rare.ways;
        match self.flows.find(leaf, which, arrival, full, now, &mut self.hosts, holds) {
            Found::Known(flow, elsewhere) => {
                ways.indirect += u32::from(elsewhere);
                Some(flow)
            }
            Found::New(flow) => {
                ways.misses += 1;
                Some(flow)
            }
            Found::Shared(flow) => {
                ways.collisions += 1;
                Some(flow)
            }
            Found::Nowhere => {
                // Any queue of the tin is better than none.
                let flow = tin.head();
                tin.rare.ways.collisions += u32::from(flow != NONE);
                (flow != NONE).then_some(flow)
            }
        }
    }

    /// A tin for a leaf's packets of `which`, from the pool.
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
    #[inline(never)]
    fn refuse(&mut self, leaf: Leaf, tin: u8, arrival: &Arrival, dropped: &mut impl FnMut(Dropped)) -> bool {
        self.totals.dropped[Cause::Refused as usize] += 1;
        let Arrival { packet, length, .. } = *arrival;
        dropped(Dropped { packet, length, leaf, tin, cause: Cause::Refused });
        false
    }
}
