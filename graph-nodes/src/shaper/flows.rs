//! Flow queues: a pool that all customers share, and the table that finds a flow's queue.
//!
//! A queue that is empty keeps its place, and what CoDel and BLUE know of it, until somebody needs a queue.

use super::{
    Arrival,
    blue::Blue,
    codel::Codel,
    hosts::Hosts,
    memory::filled,
    sets::{NONE, Sets, Way, mix, next},
};
use crate::fib::prefetch;

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

/// One flow's queue: two cache lines, of which enqueuing touches the first.
#[repr(C, align(64))]
pub(super) struct Flow {
    pub(super) head: u32,
    pub(super) tail: u32,
    /// The next flow of its list, or of the free ones.
    pub(super) next: u32,
    way: Way,
    pub(super) leaf: u32,
    hash: u32,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    pub(super) deficit: i32,
    /// Its source host and its destination host.
    pub(super) ends: [u32; 2],
    pub(super) tin: u8,
    pub(super) state: State,
    /// BLUE drops from it; here, so that listing it touches one line.
    pub(super) unresponsive: bool,
    pub(super) idle_since: u64,
    pub(super) memory: Memory,
}

/// What the queue management knows: the second line.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Memory {
    pub(super) codel: Codel,
    pub(super) blue: Blue,
}

const _: () = assert!(size_of::<Flow>() == 128);

/// Queues looked at for an idle one when none is free: a pool in which fewer than one in 64 is idle is as good as full.
const SWEEP: usize = 64;

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
    u64::from(leaf | u32::from(tin) << 29) << 32 | u64::from(hash)
}

impl Flows {
    pub(super) fn new(capacity: usize) -> Flows {
        let flows = filled(capacity, |number| Flow {
            head: NONE,
            tail: NONE,
            next: next(number, capacity),
            way: Way(0),
            leaf: NONE,
            hash: 0,
            packets: 0,
            bytes: 0,
            deficit: 0,
            ends: [NONE; 2],
            tin: 0,
            state: State::Free,
            unresponsive: false,
            idle_since: 0,
            memory: Memory::default(),
        });
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
        self.flows
            .get(flow as usize)
            .is_some_and(|flow| flow.leaf == leaf && flow.hash == hash && flow.tin == tin)
    }

    #[inline(always)]
    fn known(&self, leaf: u32, tin: u8, hash: u64) -> Option<(u32, bool)> {
        self.sets.find(hash, |flow| {
            let flow = &self.flows[flow as usize];
            flow.leaf == leaf && flow.tin == tin
        })
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
            head: NONE,
            tail: NONE,
            next: NONE,
            way,
            leaf,
            hash: arrival.flow,
            packets: 0,
            bytes: 0,
            deficit: 0,
            ends,
            tin,
            state: State::Idle,
            unresponsive: false,
            idle_since: now,
            memory: Memory::default(),
        };
        Found::New(number)
    }

    fn shared(&self, leaf: u32, tin: u8, hash: u64) -> Found {
        let ours = |flow: &u32| {
            let flow = &self.flows[*flow as usize];
            flow.leaf == leaf && flow.tin == tin
        };
        match self.sets.neighbours(hash).find(ours) {
            Some(flow) => Found::Shared(flow),
            None => Found::Nowhere,
        }
    }

    /// Frees the stalest idle queue of those that the hand passes.
    fn sweep(&mut self, now: u64, hosts: &mut Hosts) {
        let mut stalest: Option<(u64, u32)> = None;
        for _ in 0..SWEEP.min(self.flows.len()) {
            self.hand = if self.hand + 1 >= self.flows.len() { 0 } else { self.hand + 1 };
            let flow = &self.flows[self.hand];
            if flow.state == State::Idle {
                let age = now.wrapping_sub(flow.idle_since);
                if stalest.is_none_or(|(oldest, _)| age > oldest) {
                    stalest = Some((age, self.hand as u32));
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
        self.sets.clear(flow.way);
        for host in flow.ends {
            hosts.release(host);
        }
        flow.state = State::Free;
        flow.leaf = NONE;
        flow.next = self.free;
        self.free = number;
        self.evicted += 1;
    }
}
