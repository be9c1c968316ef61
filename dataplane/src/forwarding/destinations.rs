//! The destinations of one version of IP: what the kernel said of them, and the FIB that follows from it.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use weir_graph::adjacency::AdjacencyIndex;
use weir_graph::fib::{self, FibWriter, Prefix};
use weir_graph::packet::PortIndex;

use super::Observer;
use super::hops::Key;
use super::neighbourhood::Neighbourhood;
use crate::kernel::{Change, Family, NextHop, Target};

/// A next hop of a target, as weir can use it.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By a neighbour.
    Via { key: Key, adjacency: AdjacencyIndex, weight: u32 },
    /// To the destination itself.
    Connected { port: PortIndex, weight: u32 },
}

/// What the routes with equal targets share.
#[derive(Debug)]
struct Shared<A> {
    prefixes: FxHashSet<Prefix<A>>,
    ways: Vec<Way>,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Destinations<A: Family> {
    pub(super) fib: FibWriter<A>,
    routes: FxHashMap<Prefix<A>, Arc<Target>>,
    targets: FxHashMap<Arc<Target>, Shared<A>>,
    local: FxHashSet<Prefix<A>>,
    /// Neighbours that have an entry of their own in the FIB, and the port that it leads to.
    hosts: FxHashMap<A, PortIndex>,
    refused_routes: usize,
}

impl<A: Family> Destinations<A> {
    pub(super) fn new(fib: FibWriter<A>) -> Self {
        Self {
            fib,
            routes: FxHashMap::default(),
            targets: FxHashMap::default(),
            local: FxHashSet::default(),
            hosts: FxHashMap::default(),
            refused_routes: 0,
        }
    }

    /// Takes a change of the kernel's tables.
    pub(super) fn apply(
        &mut self,
        change: Change<A>,
        near: &mut Neighbourhood,
        observer: &mut impl Observer,
    ) {
        match change {
            Change::Local(prefix) => {
                self.local.insert(prefix);
                let address = prefix.address().ip();
                if prefix.length() == A::BITS {
                    observer.own_address(address);
                } else if !address.is_loopback() {
                    tracing::warn!(
                        %prefix,
                        "packets to a local network are dropped by weir: only single addresses reach the kernel; \
                         make it local address by address"
                    );
                }
                self.prefix_changed(prefix, near, observer);
            }
            Change::LocalGone(prefix) => {
                self.local.remove(&prefix);
                if prefix.length() == A::BITS {
                    observer.own_address_gone(prefix.address().ip());
                }
                self.prefix_changed(prefix, near, observer);
            }
            Change::Route { prefix, target, .. } => self.route(prefix, target, near, observer),
            Change::RouteGone(prefix) => {
                let old = self.routes.remove(&prefix);
                self.prefix_changed(prefix, near, observer);
                if let Some(old) = old {
                    self.detach(prefix, &old, near, observer);
                }
            }
        }
    }

    /// The device has become a port, or another one, or none.
    pub(super) fn rebound(&mut self, index: u32, near: &mut Neighbourhood, observer: &mut impl Observer) {
        for target in self.leading_to(index) {
            let ways = self.ways(&target, near, observer);
            let Some(shared) = self.targets.get_mut(&target) else { continue };
            let old = std::mem::replace(&mut shared.ways, ways);
            for prefix in self.prefixes(&target) {
                self.prefix_changed(prefix, near, observer);
            }
            release(old, near, observer);
        }
    }

    /// Whether the device can carry packets has changed.
    pub(super) fn reinstall(&mut self, index: u32, near: &mut Neighbourhood, observer: &mut impl Observer) {
        for target in self.leading_to(index) {
            for prefix in self.prefixes(&target) {
                self.prefix_changed(prefix, near, observer);
            }
        }
    }

    /// Gives a neighbour an entry of its own in the FIB, or takes it.
    pub(super) fn refresh_host(
        &mut self,
        address: A,
        near: &mut Neighbourhood,
        observer: &mut impl Observer,
    ) {
        let Ok(prefix) = Prefix::containing(address, A::BITS) else { return };
        let wanted = self.host_port(prefix, near);
        let present = self.hosts.get(&address).copied();
        if wanted == present {
            return;
        }
        let acquired = wanted.filter(|port| near.acquire(key::<A>(*port, address.ip()), observer).is_some());
        match acquired {
            Some(port) => self.hosts.insert(address, port),
            None => self.hosts.remove(&address),
        };
        self.install(prefix, near, observer);
        if let Some(port) = present {
            near.release(key::<A>(port, address.ip()), observer);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.fib.is_empty() && self.targets.is_empty() && self.hosts.is_empty()
    }

    fn leading_to(&self, index: u32) -> Vec<Arc<Target>> {
        self.targets.keys().filter(|target| leads_to(target, index)).cloned().collect()
    }

    fn prefixes(&self, target: &Target) -> Vec<Prefix<A>> {
        self.targets.get(target).into_iter().flat_map(|shared| &shared.prefixes).copied().collect()
    }

    fn route(
        &mut self,
        prefix: Prefix<A>,
        target: Arc<Target>,
        near: &mut Neighbourhood,
        observer: &mut impl Observer,
    ) {
        let target = towards(prefix, target);
        if self.routes.get(&prefix) == Some(&target) {
            return;
        }
        if !self.targets.contains_key(&target) {
            tell_of_other_devices(prefix, &target, near);
            let ways = self.ways(&target, near, observer);
            self.targets.insert(Arc::clone(&target), Shared { prefixes: FxHashSet::default(), ways });
        }
        if let Some(shared) = self.targets.get_mut(&target) {
            shared.prefixes.insert(prefix);
        }
        let old = self.routes.insert(prefix, target);
        self.prefix_changed(prefix, near, observer);
        if let Some(old) = old {
            self.detach(prefix, &old, near, observer);
        }
    }

    /// The prefix has left this target. What only this target needed goes with the last prefix.
    fn detach(
        &mut self,
        prefix: Prefix<A>,
        target: &Arc<Target>,
        near: &mut Neighbourhood,
        observer: &mut impl Observer,
    ) {
        let Some(shared) = self.targets.get_mut(target) else { return };
        shared.prefixes.remove(&prefix);
        if shared.prefixes.is_empty()
            && let Some(shared) = self.targets.remove(target)
        {
            release(shared.ways, near, observer);
        }
    }

    /// The target's next hops by ports of weir, each of them acquired.
    fn ways(&mut self, target: &Target, near: &mut Neighbourhood, observer: &mut impl Observer) -> Vec<Way> {
        let Target::Forward(hops) = target else { return Vec::new() };
        let mut ways = Vec::with_capacity(hops.len());
        for &NextHop { index, gateway, weight, .. } in hops {
            let Some(port) = near.ports.port(index) else { continue };
            match gateway {
                None => ways.push(Way::Connected { port, weight }),
                Some(gateway) => {
                    let key = key::<A>(port, gateway);
                    if let Some(adjacency) = near.acquire(key, observer) {
                        ways.push(Way::Via { key, adjacency, weight });
                    }
                }
            }
        }
        ways
    }

    /// Brings the FIB's entry for `prefix`, and of the neighbours in it, to what it should be.
    fn prefix_changed(&mut self, prefix: Prefix<A>, near: &mut Neighbourhood, observer: &mut impl Observer) {
        self.install(prefix, near, observer);
        let range = (prefix.address().ip(), 0)..=(prefix.last_address().ip(), u32::MAX);
        let mut within: Vec<A> =
            near.neighbours.range(range).filter_map(|((address, _), _)| A::of_ip(*address)).collect();
        within.dedup();
        for address in within {
            self.refresh_host(address, near, observer);
        }
    }

    /// Brings the FIB's entry for `prefix` to what it should be.
    fn install(&mut self, prefix: Prefix<A>, near: &Neighbourhood, observer: &mut impl Observer) {
        let next_hops = self.next_hops(prefix, near);
        if next_hops.is_empty() {
            if let Some(index) = self.fib.remove(prefix) {
                observer.route_gone(A::VERSION, index);
            }
            return;
        }
        let before = self.fib.len();
        match self.fib.insert(prefix, &next_hops) {
            Ok(index) if self.fib.len() > before => {
                observer.route_named(A::VERSION, index, &prefix.to_string());
            }
            Ok(_) => {}
            Err(error) => {
                // What stands there now may lead to what is about to go.
                if let Some(index) = self.fib.remove(prefix) {
                    observer.route_gone(A::VERSION, index);
                }
                self.refused_routes += 1;
                if self.refused_routes.is_power_of_two() {
                    tracing::error!(%prefix, refused = self.refused_routes, "a route is missing in weir: {error}");
                }
            }
        }
    }

    /// Where the prefix should lead; empty: it has no entry.
    fn next_hops(&self, prefix: Prefix<A>, near: &Neighbourhood) -> Vec<fib::NextHop> {
        if self.local.contains(&prefix) {
            return vec![AdjacencyIndex::LOCAL.into()];
        }
        if let Some(target) = self.routes.get(&prefix) {
            return self.next_hops_of(target, near);
        }
        let address = prefix.address();
        let host = self.hosts.get(&address).filter(|_| prefix.length() == A::BITS);
        let adjacency = host.and_then(|port| near.hops.adjacency(key::<A>(*port, address.ip())));
        adjacency.into_iter().map(Into::into).collect()
    }

    fn next_hops_of(&self, target: &Target, near: &Neighbourhood) -> Vec<fib::NextHop> {
        let ways = match target {
            Target::Blackhole => return vec![AdjacencyIndex::BLACKHOLE.into()],
            Target::Prohibit => return vec![AdjacencyIndex::PROHIBITED.into()],
            Target::Unreachable | Target::Unsupported(_) => return vec![AdjacencyIndex::UNREACHABLE.into()],
            Target::Forward(hops) => {
                if !hops.is_empty() && hops.iter().all(|hop| near.ports.port(hop.index).is_none()) {
                    return vec![AdjacencyIndex::NO_PORT.into()];
                }
                self.targets.get(target).map(|shared| shared.ways.as_slice()).unwrap_or_default()
            }
        };
        let mut next_hops: Vec<fib::NextHop> = ways
            .iter()
            .filter_map(|way| {
                let (port, weight, adjacency) = match *way {
                    Way::Via { key, adjacency, weight } => (key.port, weight, Some(adjacency)),
                    Way::Connected { port, weight } => (port, weight, near.ports.glean(port)),
                };
                let adjacency = adjacency.filter(|_| near.ports.usable(port))?;
                Some(fib::NextHop { adjacency, weight })
            })
            .collect();
        if next_hops.is_empty() {
            next_hops.push(AdjacencyIndex::UNREACHABLE.into());
        }
        next_hops
    }

    /// The port behind which the neighbour is reached directly; none if it is not known there, or if the kernel routes it otherwise.
    fn host_port(&self, host: Prefix<A>, near: &Neighbourhood) -> Option<PortIndex> {
        if self.local.contains(&host) || self.routes.contains_key(&host) {
            return None;
        }
        let covering = (0..A::BITS).rev().find_map(|length| {
            let prefix = Prefix::containing(host.address(), length).ok()?;
            if self.local.contains(&prefix) {
                return Some(None);
            }
            self.routes.get(&prefix).map(Some)
        })??;
        let address = host.address().ip();
        self.targets.get(covering)?.ways.iter().find_map(|way| match *way {
            Way::Connected { port, .. } if near.ports.usable(port) => {
                near.header(key::<A>(port, address)).is_some().then_some(port)
            }
            _ => None,
        })
    }
}

fn key<A: Family>(port: PortIndex, address: IpAddr) -> Key {
    Key { port, address, ether_type: A::ETHER_TYPE }
}

fn release(ways: Vec<Way>, near: &mut Neighbourhood, observer: &mut impl Observer) {
    for way in ways {
        if let Way::Via { key, .. } = way {
            near.release(key, observer);
        }
    }
}

/// Says it when a route has no way by a port of weir.
fn tell_of_other_devices<A: Family>(prefix: Prefix<A>, target: &Target, near: &mut Neighbourhood) {
    let Target::Forward(hops) = target else { return };
    if hops.iter().any(|hop| near.ports.port(hop.index).is_some()) {
        return;
    }
    for hop in hops {
        if near.told_no_port.insert(hop.index) {
            tracing::warn!(
                %prefix,
                device = near.ports.name(hop.index),
                "the route leads to a device that is no port of weir: its packets are answered as unreachable; \
                 add a [[port]] for the device (said once for each device)"
            );
        }
    }
}

fn leads_to(target: &Target, index: u32) -> bool {
    matches!(target, Target::Forward(hops) if hops.iter().any(|hop| hop.index == index))
}

/// A route to a single address without a gateway leads to that address: the same as with itself as the gateway, and so without a
/// glean, whose answer would be an entry for the very prefix.
fn towards<A: Family>(prefix: Prefix<A>, target: Arc<Target>) -> Arc<Target> {
    match &*target {
        Target::Forward(hops)
            if prefix.length() == A::BITS && hops.iter().any(|hop| hop.gateway.is_none()) =>
        {
            let itself = prefix.address().ip();
            let with_gateway = |hop: &NextHop| NextHop { gateway: hop.gateway.or(Some(itself)), ..*hop };
            Arc::new(Target::Forward(hops.iter().map(with_gateway).collect()))
        }
        _ => target,
    }
}
