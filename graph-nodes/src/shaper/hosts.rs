//! How many bulk flows each host of a customer has, so that hosts get equal shares however many flows they open.

use super::sets::{NONE, Sets, Way, next};
use crate::fib::prefetch;
use crate::memory::filled;

/// A host of one tin of one customer, 24 bytes.
#[derive(Clone, Copy)]
struct Host {
    key: u64,
    way: Way,
    /// Flows that name it, queued or not; the next free host while there is none.
    flows: u32,
    /// Bulk flows from it, and to it.
    bulk: [u16; 2],
}

/// Which end of a flow a host is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Source = 0,
    Destination = 1,
}

/// The hosts of all customers.
pub(super) struct Hosts {
    hosts: Vec<Host>,
    sets: Sets,
    free: u32,
}

impl Hosts {
    pub(super) fn new(capacity: usize) -> Hosts {
        let hosts = filled(capacity, |number| Host {
            key: 0,
            way: Way(0),
            flows: next(number, capacity),
            bulk: [0; 2],
        });
        Hosts { hosts, sets: Sets::new(capacity), free: if capacity == 0 { NONE } else { 0 } }
    }

    /// A flow names a host; `NONE` if there is no room, and then the flow counts as a host of its own.
    pub(super) fn hold(&mut self, key: u64, hash: u64) -> u32 {
        if let Some((host, _)) = self.sets.find(hash, |host| self.hosts[host as usize].key == key) {
            self.hosts[host as usize].flows += 1;
            return host;
        }
        let number = self.free;
        if number == NONE {
            return NONE;
        }
        let Some(way) = self.sets.vacancy(hash) else { return NONE };
        self.sets.put(way, hash, number);
        let host = &mut self.hosts[number as usize];
        self.free = host.flows;
        *host = Host { key, way, flows: 1, bulk: [0; 2] };
        number
    }

    /// The flow is no more.
    pub(super) fn release(&mut self, number: u32) {
        if number == NONE {
            return;
        }
        let host = &mut self.hosts[number as usize];
        host.flows -= 1;
        if host.flows == 0 {
            self.sets.clear(host.way);
            host.flows = self.free;
            self.free = number;
        }
    }

    /// Counts a flow as bulk, or no longer.
    #[inline]
    pub(super) fn count(&mut self, ends: [u32; 2], bulk: bool) {
        for end in [End::Source, End::Destination] {
            if let Some(host) = self.hosts.get_mut(ends[end as usize] as usize) {
                let flows = &mut host.bulk[end as usize];
                *flows = if bulk { *flows + 1 } else { *flows - 1 };
            }
        }
    }

    /// Flows that name hosts, and bulk flows of hosts, in sum: for tests.
    pub(super) fn sums(&self) -> (usize, usize) {
        let mut free = vec![false; self.hosts.len()];
        let mut next = self.free;
        while let Some(flag) = free.get_mut(next as usize) {
            *flag = true;
            next = self.hosts[next as usize].flows;
        }
        let held = self.hosts.iter().zip(free).filter(|&(_, free)| !free);
        held.fold((0, 0), |(flows, bulk), (host, _)| {
            (
                flows + host.flows as usize,
                bulk + host.bulk.iter().map(|&flows| usize::from(flows)).sum::<usize>(),
            )
        })
    }

    /// Asks for the lines of a flow's hosts.
    #[inline(always)]
    pub(super) fn prefetch(&self, ends: [u32; 2]) {
        for end in ends {
            if let Some(host) = self.hosts.get(end as usize) {
                prefetch(host);
            }
        }
    }

    /// By how many flows the share of the busier end's host is divided, at least one.
    #[inline]
    pub(super) fn load(&self, ends: [u32; 2]) -> u32 {
        let mut load = 1;
        for end in [End::Source, End::Destination] {
            if let Some(host) = self.hosts.get(ends[end as usize] as usize) {
                load = load.max(host.bulk[end as usize]);
            }
        }
        u32::from(load)
    }
}
