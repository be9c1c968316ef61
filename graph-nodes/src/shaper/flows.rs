//! Flow queues: a pool that all customers share, and the table that finds a flow's queue.
//!
//! A queue that is empty keeps its place, and what CoDel and BLUE know of it, until somebody needs a queue.

use super::{
    Arrival,
    blue::Blue,
    codel::Codel,
    hosts::Hosts,
    packets::{Packets, Place},
    sets::{NONE, Sets, Way, mix, next},
};
use crate::fib::prefetch;
use crate::memory::filled;

/// Where a flow's queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// In the pool.
    Free,
    /// Empty, in no list of its tin.
    Idle,
    /// Served before bulk flows.
    Sparse,
    /// In the rounds.
    Bulk,
    /// A sparse flow that is empty, in the rounds: if it comes back before its turn it is bulk (RFC 8290 §4.2).
    Waiting,
}

/// One flow's queue: two cache lines, of which a packet touches the first, and the second only where there is a queue that stands.
#[repr(C, align(64))]
pub(super) struct Flow {
    /// The packet at its front, if it has packets; its `next` is the second one.
    pub(super) first: Place,
    /// The last packet, if it has more than one.
    pub(super) tail: u32,
    /// The next flow of its list, or of the free ones.
    pub(super) next: u32,
    /// Leaf and tin: see [`owner`].
    pub(super) owner: u32,
    hash: u32,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    /// See [`stale`].
    pub(super) idle_since: u32,
    pub(super) deficit: i32,
    /// Its source host and its destination host.
    pub(super) ends: [u32; 2],
    /// Pure ACKs among its packets that a later one may make redundant.
    pub(super) acks: u16,
    pub(super) state: State,
    /// CoDel has nothing on its mind: a packet that waited less than the target leaves it as it is.
    pub(super) calm: bool,
    /// BLUE drops from it.
    pub(super) unresponsive: bool,
    pub(super) memory: Memory,
}

/// What the queue management knows, and what is seldom needed: the second line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Memory {
    pub(super) codel: Codel,
    pub(super) blue: Blue,
    way: Way,
}

impl Flow {
    const FREE: Flow = Flow {
        first: Place::EMPTY,
        tail: NONE,
        next: NONE,
        owner: NONE,
        hash: 0,
        packets: 0,
        bytes: 0,
        idle_since: 0,
        deficit: 0,
        ends: [NONE; 2],
        acks: 0,
        state: State::Free,
        calm: true,
        unresponsive: false,
        memory: Memory { codel: Codel::NEW, blue: Blue::NEW, way: Way(0) },
    };

    #[inline(always)]
    pub(super) fn leaf(&self) -> u32 {
        self.owner & ((1 << 29) - 1)
    }

    #[inline(always)]
    pub(super) fn tin(&self) -> u8 {
        (self.owner >> 29) as u8
    }

    /// Takes out the packet at the front, which there is. `number` is the flow's.
    #[inline(always)]
    pub(super) fn take(&mut self, number: u32, packets: &mut Packets) -> Place {
        let place = self.first;
        if self.packets > 1 {
            self.first = packets.take(place.next);
            if self.first.is_ack() {
                packets.acks.advance(place.next, number);
            }
        }
        self.leaves(&place);
        place
    }

    /// Takes out the packet behind `index` others, which is not the last.
    pub(super) fn take_at(&mut self, number: u32, index: u32, packets: &mut Packets) -> Place {
        if index == 0 {
            return self.take(number, packets);
        }
        let mut before = NONE;
        let mut at = self.first.next;
        for _ in 1..index {
            before = at;
            at = packets.place(at).next;
        }
        let place = packets.take(at);
        if before == NONE {
            self.first.next = place.next;
        } else {
            packets.link(before, place.next);
        }
        self.leaves(&place);
        place
    }

    #[inline(always)]
    fn leaves(&mut self, place: &Place) {
        self.packets -= 1;
        self.bytes -= place.length();
        if place.is_ack() {
            self.acks -= 1;
        }
    }
}

/// A moment as far as finding the stalest needs it: 25 µs of a fast counter, and around once in a day.
#[inline(always)]
pub(super) fn stale(now: u64) -> u32 {
    (now >> 16) as u32
}

/// A leaf and a tin in one number; never [`NONE`], since there is no such leaf.
#[inline(always)]
pub(super) fn owner(leaf: u32, tin: u8) -> u32 {
    leaf | u32::from(tin) << 29
}

const _: () = assert!(size_of::<Flow>() == 128);

/// Queues looked at for an idle one when none is free: a pool in which fewer than one in 64 is idle is as good as full …
pub(super) const SWEEP: usize = 64;
/// … and no more than so many idle ones, whose stalest goes. With more customers than queues that is each packet's price: 64 lines for each new flow cost more than all the rest.
pub(super) const IDLE: usize = 4;

/// Where a packet's flow is.
pub(super) enum Found {
    /// Its own queue, which was there; whether it stands elsewhere than in its own way.
    Known(u32, bool),
    /// Its own queue, which is new.
    New(u32),
    /// Another flow's queue of the same tin.
    Shared(u32),
    /// There is no queue for it.
    Nowhere,
}

/// All flow queues.
pub(super) struct Flows {
    pub(super) flows: Vec<Flow>,
    sets: Sets,
    free: u32,
    hand: usize,
    /// Queues that were taken from idle flows.
    pub(super) evicted: u64,
}

/// The key of a flow or host of a tin: the tin number stands where leaves never reach.
#[inline(always)]
pub(super) fn key(leaf: u32, tin: u8, hash: u32) -> u64 {
    u64::from(owner(leaf, tin)) << 32 | u64::from(hash)
}

impl Flows {
    pub(super) fn new(capacity: usize) -> Flows {
        let flows = filled(capacity, |number| Flow { next: next(number, capacity), ..Flow::FREE });
        Flows {
            flows,
            sets: Sets::new(capacity),
            free: if capacity == 0 { NONE } else { 0 },
            hand: 0,
            evicted: 0,
        }
    }

    /// Asks for the line of the table that a packet's flow is in.
    #[inline(always)]
    pub(super) fn prefetch(&self, leaf: u32, tin: u8, hash: u32) {
        self.sets.prefetch(mix(key(leaf, tin, hash)));
    }

    /// Asks for the flow's line; reads the table's. `NONE`: nothing is there that could be it.
    #[inline(always)]
    pub(super) fn look_up(&self, leaf: u32, tin: u8, hash: u32) -> u32 {
        let found = self.sets.find(mix(key(leaf, tin, hash)), |_| true);
        let Some((number, _)) = found else { return NONE };
        if let Some(flow) = self.flows.get(number as usize) {
            prefetch(flow);
        }
        number
    }

    /// Whether a flow is that of a packet.
    #[inline(always)]
    pub(super) fn is(&self, flow: u32, leaf: u32, tin: u8, hash: u32) -> bool {
        self.flows.get(flow as usize).is_some_and(|flow| flow.owner == owner(leaf, tin) && flow.hash == hash)
    }

    #[inline(always)]
    fn known(&self, leaf: u32, tin: u8, hash: u64) -> Option<(u32, bool)> {
        self.sets.find(hash, |flow| self.flows[flow as usize].owner == owner(leaf, tin))
    }

    /// The queue of a packet's flow. `full`: the tin has as many queues as it may have, and new flows share by ten bits of their hash.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the parts of one look-up, which has one caller")]
    pub(super) fn find(
        &mut self,
        leaf: u32,
        tin: u8,
        arrival: &Arrival,
        full: bool,
        now: u64,
        hosts: &mut Hosts,
        hold: [bool; 2],
    ) -> Found {
        let mut hash = mix(key(leaf, tin, arrival.flow));
        if let Some((flow, elsewhere)) = self.known(leaf, tin, hash) {
            return Found::Known(flow, elsewhere);
        }
        if full {
            // Inverted, so that it is no flow's own key.
            hash = mix(!key(leaf, tin, arrival.flow & 1023));
            if let Some((flow, _)) = self.known(leaf, tin, hash) {
                return Found::Shared(flow);
            }
        }
        self.create(leaf, tin, arrival, hash, now, hosts, hold)
    }

    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "the parts of one look-up, which has one caller")]
    fn create(
        &mut self,
        leaf: u32,
        tin: u8,
        arrival: &Arrival,
        hash: u64,
        now: u64,
        hosts: &mut Hosts,
        hold: [bool; 2],
    ) -> Found {
        if self.sets.vacancy(hash).is_none() {
            let idle =
                self.sets.neighbours(hash).find(|&flow| self.flows[flow as usize].state == State::Idle);
            match idle {
                Some(flow) => self.release(flow, hosts),
                None => return self.shared(leaf, tin, hash),
            }
        }
        if self.free == NONE {
            self.sweep(now, hosts);
        }
        let (number, Some(way)) = (self.free, self.sets.vacancy(hash)) else {
            return self.shared(leaf, tin, hash);
        };
        if number == NONE {
            return self.shared(leaf, tin, hash);
        }
        self.sets.put(way, hash, number);
        let mut end = |held: bool, address: u32| {
            let key = key(leaf, tin, address);
            if held { hosts.hold(key, mix(key)) } else { NONE }
        };
        let ends = [end(hold[0], arrival.source), end(hold[1], arrival.destination)];
        let flow = &mut self.flows[number as usize];
        self.free = flow.next;
        *flow = Flow {
            owner: owner(leaf, tin),
            hash: arrival.flow,
            state: State::Idle,
            idle_since: stale(now),
            ends,
            memory: Memory { way, ..Flow::FREE.memory },
            ..Flow::FREE
        };
        Found::New(number)
    }

    fn shared(&self, leaf: u32, tin: u8, hash: u64) -> Found {
        let ours = |flow: &u32| self.flows[*flow as usize].owner == owner(leaf, tin);
        match self.sets.neighbours(hash).find(ours) {
            Some(flow) => Found::Shared(flow),
            None => Found::Nowhere,
        }
    }

    /// Frees the stalest idle queue of those that the hand passes.
    fn sweep(&mut self, now: u64, hosts: &mut Hosts) {
        let mut stalest: Option<(u32, u32)> = None;
        let mut idle = 0;
        for _ in 0..SWEEP.min(self.flows.len()) {
            self.hand = if self.hand + 1 >= self.flows.len() { 0 } else { self.hand + 1 };
            let flow = &self.flows[self.hand];
            if flow.state == State::Idle {
                let age = stale(now).wrapping_sub(flow.idle_since);
                if stalest.is_none_or(|(oldest, _)| age > oldest) {
                    stalest = Some((age, self.hand as u32));
                }
                idle += 1;
                if idle == IDLE {
                    break;
                }
            }
        }
        if let Some((_, number)) = stalest {
            self.release(number, hosts);
        }
    }

    /// Gives an idle queue back to the pool.
    pub(super) fn release(&mut self, number: u32, hosts: &mut Hosts) {
        let flow = &mut self.flows[number as usize];
        debug_assert_eq!((flow.state, flow.packets), (State::Idle, 0));
        self.sets.clear(flow.memory.way);
        for host in flow.ends {
            hosts.release(host);
        }
        flow.state = State::Free;
        flow.owner = NONE;
        flow.next = self.free;
        self.free = number;
        self.evicted += 1;
    }
}
