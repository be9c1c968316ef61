//! Leaves, tins, flows and packets together: enqueue, dequeue, and drops when memory runs out.

use super::{
    Arrival, Cause, Counters, Departure, Discipline, Dropped, Isolation, Lead, Leaf, LeafView, Limits,
    Settings, TINS, TinView, Totals,
    flows::{Flows, Found, State},
    hosts::Hosts,
    memory::filled,
    packets::{Packets, Place},
    sets::NONE,
    tin::{Tin, TinPool, Ways},
    tins::WHOLE,
};
use crate::fib::prefetch;

/// Queues of flows in a tin, as CAKE has them; flows beyond these share.
const FLOWS: u32 = 1024;
/// Least memory of a leaf's limit in bytes (CAKE's): a burst of a fast sender into a slow line.
const LEAST_MEMORY: u64 = 4 << 20;
/// A leaf may hold so many intervals' worth of its rate.
const INTERVALS: u64 = 4;

/// A leaf's state: two lines, of which a packet touches the first.
#[repr(C, align(128))]
pub(super) struct LeafState {
    pub(super) tins: [u32; TINS],
    /// Bytes sent while it had packets, in 1/256.
    clock: u64,
    /// By how much the tin that is furthest ahead is ahead of the clock.
    ahead: u32,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    limit: u32,
    /// Ticks that a packet of the largest size takes at the current rate.
    mtu_time: u32,
    discipline: u8,
    /// A bit for each tin that has packets.
    pub(super) backlogged: u8,
    /// The quantum is 2^`shift` bytes.
    shift: u8,
    /// What tins had counted that went back to the pool.
    counters: Counters,
}

const _: () = assert!(size_of::<LeafState>() == 128);
const _: () = assert!(size_of::<Tin>() == 256);

struct Prepared {
    discipline: Discipline,
    tin_of: [u8; 64],
    inverse_shares: [u32; TINS],
    precedence: [u8; TINS],
    holds: [bool; 2],
}

/// The queues of all customers of one worker.
pub struct Queues {
    pub(super) settings: Settings,
    disciplines: Vec<Prepared>,
    pub(super) leaves: Vec<LeafState>,
    pub(super) tins: TinPool,
    pub(super) flows: Flows,
    pub(super) hosts: Hosts,
    pub(super) packets: Packets,
    random: u32,
    /// The leaf that had the most packets when it was last looked at, and how many.
    crowded: u32,
    crowded_packets: u32,
    pub(super) totals: Totals,
}

impl Queues {
    /// Takes all memory. Every leaf begins with the first discipline and a rate of 1 Gbit/s.
    ///
    /// # Panics
    /// With no discipline, more than 256, or sizes that don't fit.
    pub fn new(settings: Settings, disciplines: &[Discipline]) -> Queues {
        assert!((1..=256).contains(&disciplines.len()), "one to 256 disciplines");
        assert!(settings.leaves <= 1 << 29 && settings.packets < u32::MAX as usize, "too large");
        let leaf = || LeafState {
            tins: [NONE; TINS],
            clock: 0,
            ahead: 0,
            packets: 0,
            bytes: 0,
            limit: 0,
            mtu_time: 0,
            discipline: 0,
            backlogged: 0,
            shift: 0,
            counters: Counters::default(),
        };
        let mut queues = Queues {
            disciplines: disciplines.iter().map(Prepared::new).collect(),
            leaves: filled(settings.leaves, |_| leaf()),
            tins: TinPool::new(settings.tins),
            flows: Flows::new(settings.flows),
            hosts: Hosts::new(settings.flows),
            // One more than the limit: a packet is queued before it is decided which one goes.
            packets: Packets::new(settings.packets + 1),
            random: 0x9e37_79b9,
            crowded: NONE,
            crowded_packets: 0,
            totals: Totals::default(),
            settings,
        };
        for leaf in 0..settings.leaves {
            queues.rate(Leaf(leaf as u32), 1_000_000_000);
        }
        queues
    }

    /// Gives a leaf another discipline. What is queued stays where it is and in order.
    pub fn discipline(&mut self, leaf: Leaf, discipline: u8) {
        debug_assert!(usize::from(discipline) < self.disciplines.len());
        self.leaves[leaf.0 as usize].discipline = discipline;
    }

    /// Tells the rate in bits a second that a leaf gets now, which may be less than its plan or more than its guarantee.
    ///
    /// Target, interval, quantum and memory limit follow it. Divides: to be called when the rate has changed noticeably, not for each packet.
    pub fn rate(&mut self, leaf: Leaf, rate: u64) {
        let rate = rate.max(1);
        let Settings { hz, frame, mtu, packets, .. } = self.settings;
        let state = &mut self.leaves[leaf.0 as usize];
        let interval = self.disciplines[usize::from(state.discipline)].discipline.interval;
        let time = u128::from(mtu) * 8 * u128::from(hz) / u128::from(rate);
        state.mtu_time = u32::try_from(time).unwrap_or(u32::MAX);
        // CAKE's quantum: what the rate carries in 2 ms, but within 300 bytes and a packet of 1514; rounded up to a power of two.
        let quantum = (rate >> 15).clamp(300, 1514);
        state.shift = quantum.next_power_of_two().trailing_zeros() as u8;
        let bytes = u128::from(rate / 8) * u128::from(INTERVALS * interval) / u128::from(hz.max(1));
        let limit = bytes.max(u128::from(LEAST_MEMORY)) / u128::from(frame.max(1));
        state.limit = u32::try_from(limit).unwrap_or(u32::MAX).clamp(1, packets.max(1) as u32);
    }

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

    /// Whether the leaf has packets.
    #[inline]
    pub fn is_backlogged(&self, leaf: Leaf) -> bool {
        self.leaves[leaf.0 as usize].backlogged != 0
    }

    /// Drops all that the leaf has and gives its tins back; returns what it had counted, and counts from 0 again.
    pub fn remove(&mut self, leaf: Leaf, now: u64, dropped: &mut impl FnMut(Dropped)) -> Counters {
        let number = leaf.0;
        for which in 0..TINS {
            let at = self.leaves[number as usize].tins[which];
            if at == NONE {
                continue;
            }
            loop {
                let tin = &mut self.tins.tins[at as usize];
                let flow = if tin.sparse.head != NONE { tin.sparse.head } else { tin.rounds.head() };
                if flow == NONE {
                    break;
                }
                while self.flows.flows[flow as usize].packets > 0 {
                    let place = self.take(number, at, flow);
                    self.drop(number, at, &place, Cause::Removed, dropped);
                }
                self.unlist(at, flow, now);
            }
            self.give_back(at);
        }
        self.note(number);
        self.debug_check();
        std::mem::take(&mut self.leaves[number as usize].counters)
    }

    /// Packets that are queued.
    pub fn backlog(&self) -> usize {
        self.packets.used()
    }

    /// What has been counted since the start.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// A leaf's backlog and counters.
    pub fn leaf(&self, leaf: Leaf) -> LeafView {
        let state = &self.leaves[leaf.0 as usize];
        let mut counters = state.counters;
        for &at in state.tins.iter().filter(|&&at| at != NONE) {
            counters.add(&self.tins.tins[at as usize].counters);
        }
        LeafView { packets: state.packets, bytes: state.bytes, limit: state.limit, counters }
    }

    /// A leaf's tin, if it is in use.
    pub fn tin(&self, leaf: Leaf, which: u8) -> Option<TinView> {
        let state = &self.leaves[leaf.0 as usize];
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
            delays: tin.delays,
            counters: tin.counters,
            ways: tin.ways,
            sparse_flows: tin.sparse_flows,
            bulk_flows: tin.bulk_flows,
            unresponsive_flows: tin.unresponsive,
            longest_packet: tin.longest_packet,
            quantum: 1 << state.shift,
        })
    }

    /// What a leaf has counted since this was last called, tin by tin; what tins had counted that are no more comes without a tin.
    pub fn take_counts(&mut self, leaf: Leaf, each: &mut impl FnMut(Option<u8>, Counters, Ways)) {
        let state = &mut self.leaves[leaf.0 as usize];
        each(None, std::mem::take(&mut state.counters), Ways::default());
        for &at in state.tins.iter().filter(|&&at| at != NONE) {
            let tin = &mut self.tins.tins[at as usize];
            each(Some(tin.number), std::mem::take(&mut tin.counters), std::mem::take(&mut tin.ways));
        }
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

    fn give_back(&mut self, at: u32) {
        let tin = &self.tins.tins[at as usize];
        debug_assert_eq!(tin.packets, 0);
        let state = &mut self.leaves[tin.leaf as usize];
        state.counters.add(&tin.counters);
        state.tins[usize::from(tin.number)] = NONE;
        self.tins.release(at);
    }

    #[cold]
    fn refuse(&mut self, leaf: Leaf, tin: u8, arrival: &Arrival, dropped: &mut impl FnMut(Dropped)) -> bool {
        self.totals.dropped[Cause::Refused as usize] += 1;
        let Arrival { packet, length, .. } = *arrival;
        dropped(Dropped { packet, length, leaf, tin, cause: Cause::Refused });
        false
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
    fn take(&mut self, leaf: u32, at: u32, number: u32) -> Place {
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

    fn drop(&mut self, leaf: u32, at: u32, place: &Place, cause: Cause, dropped: &mut impl FnMut(Dropped)) {
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

    /// Drops the oldest packet of a leaf's longest queue.
    #[cold]
    fn shed(&mut self, leaf: u32, now: u64, dropped: &mut impl FnMut(Dropped)) -> bool {
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
            tin.unresponsive += 1;
        }
        let empty = tin.packets == 0;
        self.drop(leaf, at, &place, Cause::Overlimit, dropped);
        if empty {
            self.settle(at, now);
        }
        self.note(leaf);
        true
    }

    /// Takes the flow whose turn it is out of its list; it has no packets.
    fn unlist(&mut self, at: u32, number: u32, now: u64) {
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
    fn settle(&mut self, at: u32, now: u64) {
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

    /// Remembers the leaf if it has more packets than the one that is remembered.
    #[inline]
    fn note(&mut self, leaf: u32) {
        let packets = self.leaves[leaf as usize].packets;
        if self.crowded == leaf || packets > self.crowded_packets {
            (self.crowded, self.crowded_packets) = (leaf, packets);
        }
    }

    #[inline]
    fn debug_check(&self) {
        debug_assert_eq!(
            self.totals.arrived,
            self.totals.dequeued + self.totals.dropped.iter().sum::<u64>() + self.packets.used() as u64
        );
    }
}

/// Lines to ask for ahead, in the order in which each needs the one before it.
impl Queues {
    /// Before a packet of this leaf and flow is queued: the leaf, and the table's line.
    #[inline(always)]
    pub fn prefetch(&self, leaf: Leaf, arrival: &Arrival) {
        if let Some(state) = self.leaves.get(leaf.0 as usize) {
            prefetch(state);
        }
        // The tin is the leaf's to say, which isn't there yet; most leaves' packets are of one tin.
        let tin = self.disciplines[0].tin_of[usize::from(arrival.dscp & 63)];
        self.flows.prefetch(leaf.0, tin, arrival.flow);
    }

    /// Then: the tin, and the flow. The answer is for [`Queues::enqueue`].
    #[inline(always)]
    pub fn prefetch_queue(&self, leaf: Leaf, arrival: &Arrival) -> Lead {
        let Some(state) = self.leaves.get(leaf.0 as usize) else { return Lead::default() };
        let which = self.disciplines[usize::from(state.discipline)].tin_of[usize::from(arrival.dscp & 63)];
        if let Some(tin) = self.tins.tins.get(state.tins[usize::from(which) % TINS] as usize) {
            prefetch(tin);
            prefetch(&tin.counters);
        }
        Lead(self.flows.look_up(leaf.0, which, arrival.flow))
    }

    /// Then: the last packet of the flow that [`Queues::prefetch_queue`] has returned.
    #[inline(always)]
    pub fn prefetch_tail(&self, Lead(flow): Lead) {
        if let Some(flow) = self.flows.flows.get(flow as usize)
            && flow.packets != 0
        {
            self.packets.prefetch(flow.tail);
        }
    }

    /// Before a leaf is asked for a packet: the leaf.
    #[inline(always)]
    pub fn prefetch_leaf(&self, leaf: Leaf) {
        if let Some(state) = self.leaves.get(leaf.0 as usize) {
            prefetch(state);
        }
    }

    /// Then: its tin.
    #[inline(always)]
    pub fn prefetch_tin(&self, leaf: Leaf) -> Lead {
        let Some(state) = self.leaves.get(leaf.0 as usize) else { return Lead::default() };
        let at = state.tins[7 - state.backlogged.leading_zeros() as usize % TINS];
        if let Some(tin) = self.tins.tins.get(at as usize) {
            prefetch(tin);
            prefetch(&tin.counters);
            prefetch(&tin.delays);
            tin.rounds.prefetch();
        }
        Lead(at)
    }

    /// Then: the flow whose turn it is in the tin that [`Queues::prefetch_tin`] has returned.
    #[inline(always)]
    pub fn prefetch_flow(&self, Lead(tin): Lead) -> Lead {
        let Some(tin) = self.tins.tins.get(tin as usize) else { return Lead::default() };
        let number = if tin.sparse.head != NONE { tin.sparse.head } else { tin.rounds.peek() };
        if let Some(flow) = self.flows.flows.get(number as usize) {
            prefetch(flow);
            prefetch(&flow.memory);
        }
        Lead(number)
    }

    /// Then: the first packet of the flow that [`Queues::prefetch_flow`] has returned.
    #[inline(always)]
    pub fn prefetch_packet(&self, Lead(flow): Lead) {
        if let Some(flow) = self.flows.flows.get(flow as usize) {
            self.packets.prefetch(flow.head);
            self.hosts.prefetch(flow.ends);
        }
    }
}

impl Prepared {
    fn new(discipline: &Discipline) -> Prepared {
        let mut tin_of = [0; 64];
        for (dscp, tin) in tin_of.iter_mut().enumerate() {
            *tin = discipline.tins.of(dscp as u8);
        }
        Prepared {
            tin_of,
            inverse_shares: discipline.tins.inverse_shares(),
            precedence: discipline.tins.precedence(),
            holds: match discipline.isolation {
                Isolation::Flows => [false, false],
                Isolation::Sources => [true, false],
                Isolation::Destinations => [false, true],
                Isolation::Both => [true, true],
            },
            discipline: *discipline,
        }
    }

    /// A tin's target: at least one and a half packets at its share of the rate; the interval grows with it.
    #[inline]
    fn limits(&self, mtu_time: u32, which: usize) -> Limits {
        let Discipline { target: base, interval, .. } = self.discipline;
        let share = u64::from(mtu_time) * u64::from(self.inverse_shares[which]);
        let target = base.max(share * 3 / (2 * u64::from(WHOLE)));
        Limits { target, interval: (interval + target - base).max(2 * target) }
    }
}
