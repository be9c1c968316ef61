//! The kernel's control plane as forwarding tables: events in, stores into the FIB, the adjacencies and the ports' table out.
//!
//! Everything that the kernel has told is kept as it was told; what the tables should hold follows from that alone, whatever order
//! it was told in:
//!
//! | for a prefix, the first that applies | leads to |
//! |---|---|
//! | it is local to this machine | [`AdjacencyIndex::LOCAL`] |
//! | the kernel has a route, with a gateway | the adjacency of (port, gateway), for each next hop whose port is up with carrier |
//! | … without a gateway: a connected network | the port's glean adjacency; a /32: the adjacency of (port, that address) |
//! | … with no next hop by a port of weir | [`AdjacencyIndex::NO_PORT`]: said once for each device |
//! | … with no next hop left, or of a kind that weir cannot do | [`AdjacencyIndex::UNREACHABLE`] |
//! | /32, the neighbour is known, its longest match is a connected network of its port | the adjacency of (port, neighbour) |
//!
//! An adjacency is a rewrite while the kernel holds a valid MAC address for the neighbour, else incomplete.
//!
//! # What differs from the kernel
//! A packet that weir has taken cannot be given back to the kernel. So routes by devices that are not ports of weir are dead ends, also
//! where the kernel could carry the packet on. And the kernel asks its tables one after the other, where weir has one FIB: a longer
//! prefix of table `main` wins over a shorter local one, and one of table `default` over a shorter one of `main`.

mod hops;
mod ports;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use weir_graph::adjacency::{AdjacencyError, AdjacencyIndex, AdjacencyWriter};
use weir_graph::fib::{self, FibWriter, Prefix4, RouteIndex};
use weir_graph::packet::PortIndex;

use crate::kernel::{Event, Link, Neighbour, NextHop, Reachability, Target};
use hops::{Header, Hops, Resolution, told};
use ports::{PortTable, Rebound};

/// How often one neighbour is asked for at most. The kernel itself repeats a question every second (`retrans_time_ms`).
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// EtherType of IPv4 (IEEE 802 numbers).
const IPV4: [u8; 2] = [0x08, 0x00];

/// Who wants to know of what the tables' numbers mean, and keeps the XDP program's own addresses.
pub trait Observer {
    /// Packets counted for this route are to be shown under this prefix.
    fn route_named(&mut self, index: RouteIndex, name: &str);
    /// The route is gone; its number may come to mean another one.
    fn route_gone(&mut self, index: RouteIndex);
    /// Packets counted for this adjacency are to be shown under this name, such as `10.0.0.2 dev eth1`.
    fn adjacency_named(&mut self, index: AdjacencyIndex, name: &str);
    /// The adjacency is gone; its number may come to mean another one.
    fn adjacency_gone(&mut self, index: AdjacencyIndex);
    /// Packets to this address are the kernel's from now on.
    fn own_address(&mut self, address: Ipv4Addr);
    /// Packets to this address are not the kernel's any more.
    fn own_address_gone(&mut self, address: Ipv4Addr);
}

/// A next hop of a target, as weir can use it.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By the neighbour `address`.
    Via { port: PortIndex, address: Ipv4Addr, adjacency: AdjacencyIndex, weight: u32 },
    /// To the destination itself.
    Connected { port: PortIndex, weight: u32 },
}

/// What the routes with equal targets share.
#[derive(Debug, Default)]
struct Shared {
    prefixes: FxHashSet<Prefix4>,
    ways: Vec<Way>,
}

/// The writer of weir's forwarding tables.
#[derive(Debug)]
pub struct Forwarding {
    fib: FibWriter,
    hops: Hops,
    ports: PortTable,
    routes: FxHashMap<Prefix4, Arc<Target>>,
    targets: FxHashMap<Arc<Target>, Shared>,
    local: FxHashSet<Prefix4>,
    /// By address first: routes cover ranges of addresses.
    neighbours: BTreeMap<(Ipv4Addr, u32), Neighbour>,
    /// Neighbours that have an entry of their own in the FIB, and the port that it leads to.
    hosts: FxHashMap<Ipv4Addr, PortIndex>,
    /// Neighbours without an adjacency that were asked for lately.
    asked: FxHashMap<(PortIndex, Ipv4Addr), Instant>,
    /// Devices that routes lead to and that are no ports, already told of.
    told_no_port: FxHashSet<u32>,
    refused_routes: usize,
}

impl Forwarding {
    /// A writer of these tables for the ports `devices`, port 0 first. The names of gleans go to `observer`.
    ///
    /// # Errors
    /// [`AdjacencyError`] if the table has no room for one adjacency a port.
    pub fn new(
        fib: FibWriter,
        adjacencies: AdjacencyWriter,
        ports: weir_graph::ports::Ports,
        devices: &[String],
        observer: &mut impl Observer,
    ) -> Result<Self, AdjacencyError> {
        let mut hops = Hops::new(adjacencies);
        let ports = PortTable::new(ports, devices, &mut hops.writer)?;
        for (port, device) in (0..).zip(devices) {
            if let Some(glean) = ports.glean(port) {
                observer.adjacency_named(glean, &format!("glean dev {device}"));
            }
        }
        Ok(Self {
            fib,
            hops,
            ports,
            routes: FxHashMap::default(),
            targets: FxHashMap::default(),
            local: FxHashSet::default(),
            neighbours: BTreeMap::new(),
            hosts: FxHashMap::default(),
            asked: FxHashMap::default(),
            told_no_port: FxHashSet::default(),
            refused_routes: 0,
        })
    }

    /// Takes a change of the kernel's control plane into the tables.
    pub fn apply(&mut self, event: Event, observer: &mut impl Observer) {
        match event {
            Event::Link(link) => self.link_changed(link, observer),
            Event::LinkGone(index) => {
                self.told_no_port.remove(&index);
                if let Some(rebound) = self.ports.link_gone(index) {
                    self.rebound(rebound, observer);
                }
            }
            Event::Address(address) => self.ports.address(address),
            Event::AddressGone(address) => self.ports.address_gone(address),
            // The kernel's alone, and a bridge's.
            Event::Address6(_) | Event::Address6Gone(_) => {}
            Event::LocalAddress(prefix) => {
                self.local.insert(prefix);
                if prefix.length() == 32 {
                    observer.own_address(Ipv4Addr::from_bits(prefix.address()));
                } else if !Ipv4Addr::from_bits(prefix.address()).is_loopback() {
                    tracing::warn!(
                        %prefix,
                        "packets to a local network are dropped by weir: only single addresses reach the kernel; \
                         make it local address by address"
                    );
                }
                self.prefix_changed(prefix, observer);
            }
            Event::LocalAddressGone(prefix) => {
                self.local.remove(&prefix);
                if prefix.length() == 32 {
                    observer.own_address_gone(Ipv4Addr::from_bits(prefix.address()));
                }
                self.prefix_changed(prefix, observer);
            }
            Event::Route { prefix, target, .. } => self.route(prefix, target, observer),
            Event::RouteGone(prefix) => {
                let old = self.routes.remove(&prefix);
                self.prefix_changed(prefix, observer);
                if let Some(old) = old {
                    self.detach(prefix, &old, observer);
                }
            }
            Event::Neighbour(neighbour) => {
                self.neighbours.insert((neighbour.address, neighbour.index), neighbour);
                self.neighbour_changed(neighbour.index, neighbour.address, observer);
            }
            Event::NeighbourGone { index, address } => {
                self.neighbours.remove(&(address, index));
                self.neighbour_changed(index, address, observer);
            }
        }
    }

    /// A worker has a packet for a neighbour that has no MAC address: has the kernel ask for it, once a second at most. `probe` gets
    /// the interface index and the address.
    pub fn resolve(
        &mut self,
        port: PortIndex,
        address: Ipv4Addr,
        now: Instant,
        probe: &mut impl FnMut(u32, Ipv4Addr),
    ) {
        let Some(link) = self.ports.link(port) else { return };
        let neighbour = self.neighbours.get(&(address, link.index));
        if !link.usable() || neighbour.is_some_and(|neighbour| neighbour.reachability.valid()) {
            return;
        }
        let asked = self.asked.get(&(port, address));
        if asked.is_none_or(|asked| now.saturating_duration_since(*asked) >= PROBE_INTERVAL) {
            self.asked.insert((port, address), now);
            probe(link.index, address);
        }
    }

    /// Once a second: has the kernel confirm stale neighbours that weir sends packets to, since it does not see those packets.
    /// `packets` tells how many packets an adjacency has forwarded so far. Also [`reclaim`](Self::reclaim)s.
    pub fn tick(
        &mut self,
        now: Instant,
        packets: &impl Fn(AdjacencyIndex) -> u64,
        probe: &mut impl FnMut(u32, Ipv4Addr),
    ) {
        for ((port, address), hop) in self.hops.iter_mut() {
            let counted = packets(hop.adjacency);
            let moved = hop.seen.replace(counted).is_some_and(|seen| seen != counted);
            let Some(link) = self.ports.link(port).filter(|_| moved) else { continue };
            let stale = self
                .neighbours
                .get(&(address, link.index))
                .is_some_and(|neighbour| neighbour.reachability == Reachability::Stale);
            let due = hop.probed.is_none_or(|probed| now.saturating_duration_since(probed) >= PROBE_INTERVAL);
            if stale && due {
                hop.probed = Some(now);
                probe(link.index, address);
            }
        }
        self.asked.retain(|_, asked| now.saturating_duration_since(*asked) < PROBE_INTERVAL);
        self.reclaim();
    }

    /// Finishes what waits for the workers to let go of old entries. Returns how much still waits: worth another call soon, for a
    /// change of a port's MAC address is among it.
    pub fn reclaim(&mut self) -> usize {
        self.fib.reclaim() + self.hops.writer.reclaim()
    }

    /// The address that a port speaks from: its first primary one; a port without one borrows the first port's that has one
    /// (RFC 1812 §4.3.2.4).
    #[must_use]
    pub fn source_address(&self, port: PortIndex) -> Option<Ipv4Addr> {
        self.ports.source_address(port)
    }

    /// The device behind a port, if it is there.
    #[must_use]
    pub fn link(&self, port: PortIndex) -> Option<&Link> {
        self.ports.link(port)
    }

    /// Number of routes in the FIB, the entries of single neighbours included.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.fib.len()
    }

    fn link_changed(&mut self, link: Link, observer: &mut impl Observer) {
        let index = link.index;
        let change = self.ports.take_link(link);
        if !change.rebound.is_empty() {
            for rebound in change.rebound {
                self.rebound(rebound, observer);
            }
            return;
        }
        let Some(port) = self.ports.port(index) else { return };
        if change.header || change.mtu {
            if let Some(glean) = self.ports.glean(port) {
                told(self.hops.writer.set_mtu(glean, self.ports.mtu(port)));
            }
            for address in self.hops.behind(port) {
                self.hops.refresh(port, address, self.resolution(port, address));
            }
        }
        if change.usable {
            self.reinstall(index, observer);
        }
    }

    /// Another device than before, or none, is behind a port.
    fn rebound(&mut self, rebound: Rebound, observer: &mut impl Observer) {
        let Rebound { port, index } = rebound;
        if let Some(glean) = self.ports.glean(port) {
            told(self.hops.writer.set_mtu(glean, self.ports.mtu(port)));
        }
        let concerned: Vec<Arc<Target>> =
            self.targets.keys().filter(|target| leads_to(target, index)).cloned().collect();
        for target in concerned {
            let ways = self.ways(&target, observer);
            let Some(shared) = self.targets.get_mut(&target) else { continue };
            let old = std::mem::replace(&mut shared.ways, ways);
            for prefix in self.prefixes(&target) {
                self.prefix_changed(prefix, observer);
            }
            self.release(old, observer);
        }
        for address in self.hops.behind(port) {
            self.hops.refresh(port, address, self.resolution(port, address));
        }
        let known: Vec<Ipv4Addr> =
            self.neighbours.keys().filter(|(_, of)| *of == index).map(|(address, _)| *address).collect();
        for address in known {
            self.refresh_host(address, observer);
        }
    }

    /// Whether the device can carry packets has changed.
    fn reinstall(&mut self, index: u32, observer: &mut impl Observer) {
        let concerned: Vec<Arc<Target>> =
            self.targets.keys().filter(|target| leads_to(target, index)).cloned().collect();
        for target in concerned {
            for prefix in self.prefixes(&target) {
                self.prefix_changed(prefix, observer);
            }
        }
    }

    fn prefixes(&self, target: &Target) -> Vec<Prefix4> {
        self.targets.get(target).into_iter().flat_map(|shared| &shared.prefixes).copied().collect()
    }

    fn route(&mut self, prefix: Prefix4, target: Arc<Target>, observer: &mut impl Observer) {
        let target = towards(prefix, target);
        if self.routes.get(&prefix) == Some(&target) {
            return;
        }
        if !self.targets.contains_key(&target) {
            self.tell_of_other_devices(prefix, &target);
            let ways = self.ways(&target, observer);
            self.targets.insert(Arc::clone(&target), Shared { prefixes: FxHashSet::default(), ways });
        }
        if let Some(shared) = self.targets.get_mut(&target) {
            shared.prefixes.insert(prefix);
        }
        let old = self.routes.insert(prefix, target);
        self.prefix_changed(prefix, observer);
        if let Some(old) = old {
            self.detach(prefix, &old, observer);
        }
    }

    /// The prefix has left this target. What only this target needed goes with the last prefix.
    fn detach(&mut self, prefix: Prefix4, target: &Arc<Target>, observer: &mut impl Observer) {
        let Some(shared) = self.targets.get_mut(target) else { return };
        shared.prefixes.remove(&prefix);
        if shared.prefixes.is_empty()
            && let Some(shared) = self.targets.remove(target)
        {
            self.release(shared.ways, observer);
        }
    }

    fn release(&mut self, ways: Vec<Way>, observer: &mut impl Observer) {
        for way in ways {
            if let Way::Via { port, address, .. } = way
                && let Some(gone) = self.hops.release(port, address)
            {
                observer.adjacency_gone(gone);
            }
        }
    }

    fn acquire(
        &mut self,
        port: PortIndex,
        address: Ipv4Addr,
        observer: &mut impl Observer,
    ) -> Option<AdjacencyIndex> {
        let (adjacency, new) = self.hops.acquire(port, address, self.resolution(port, address))?;
        if new {
            observer.adjacency_named(adjacency, &format!("{address} dev {}", self.ports.device(port)));
        }
        Some(adjacency)
    }

    /// The target's next hops by ports of weir, each of them acquired.
    fn ways(&mut self, target: &Target, observer: &mut impl Observer) -> Vec<Way> {
        let Target::Forward(hops) = target else { return Vec::new() };
        let mut ways = Vec::with_capacity(hops.len());
        for &NextHop { index, gateway, weight, .. } in hops {
            let Some(port) = self.ports.port(index) else { continue };
            match gateway {
                None => ways.push(Way::Connected { port, weight }),
                Some(address) => {
                    if let Some(adjacency) = self.acquire(port, address, observer) {
                        ways.push(Way::Via { port, address, adjacency, weight });
                    }
                }
            }
        }
        ways
    }

    /// Says it when a route has no way by a port of weir.
    fn tell_of_other_devices(&mut self, prefix: Prefix4, target: &Target) {
        let Target::Forward(hops) = target else { return };
        if hops.iter().any(|hop| self.ports.port(hop.index).is_some()) {
            return;
        }
        for hop in hops {
            if self.told_no_port.insert(hop.index) {
                tracing::warn!(
                    %prefix,
                    device = self.ports.name(hop.index),
                    "the route leads to a device that is no port of weir: its packets are answered as unreachable; \
                     add a [[port]] for the device (said once for each device)"
                );
            }
        }
    }

    /// Brings the FIB's entry for `prefix`, and of the neighbours in it, to what it should be.
    fn prefix_changed(&mut self, prefix: Prefix4, observer: &mut impl Observer) {
        self.install(prefix, observer);
        let range = (Ipv4Addr::from_bits(prefix.address()), 0)
            ..=(Ipv4Addr::from_bits(prefix.last_address()), u32::MAX);
        let mut within: Vec<Ipv4Addr> =
            self.neighbours.range(range).map(|((address, _), _)| *address).collect();
        within.dedup();
        for address in within {
            self.refresh_host(address, observer);
        }
    }

    /// Brings the FIB's entry for `prefix` to what it should be.
    fn install(&mut self, prefix: Prefix4, observer: &mut impl Observer) {
        let next_hops = self.next_hops(prefix);
        if next_hops.is_empty() {
            if let Some(index) = self.fib.remove(prefix) {
                observer.route_gone(index);
            }
            return;
        }
        let before = self.fib.len();
        match self.fib.insert(prefix, &next_hops) {
            Ok(index) if self.fib.len() > before => observer.route_named(index, &prefix.to_string()),
            Ok(_) => {}
            Err(error) => {
                // What stands there now may lead to what is about to go.
                if let Some(index) = self.fib.remove(prefix) {
                    observer.route_gone(index);
                }
                self.refused_routes += 1;
                if self.refused_routes.is_power_of_two() {
                    tracing::error!(%prefix, refused = self.refused_routes, "a route is missing in weir: {error}");
                }
            }
        }
    }

    /// Where the prefix should lead; empty: it has no entry.
    fn next_hops(&self, prefix: Prefix4) -> Vec<fib::NextHop> {
        if self.local.contains(&prefix) {
            return vec![AdjacencyIndex::LOCAL.into()];
        }
        if let Some(target) = self.routes.get(&prefix) {
            return self.next_hops_of(target);
        }
        let address = Ipv4Addr::from_bits(prefix.address());
        let host = self.hosts.get(&address).filter(|_| prefix.length() == 32);
        let adjacency = host.and_then(|port| self.hops.adjacency(*port, address));
        adjacency.into_iter().map(Into::into).collect()
    }

    fn next_hops_of(&self, target: &Target) -> Vec<fib::NextHop> {
        let ways = match target {
            Target::Blackhole => return vec![AdjacencyIndex::BLACKHOLE.into()],
            Target::Prohibit => return vec![AdjacencyIndex::PROHIBITED.into()],
            Target::Unreachable | Target::Unsupported(_) => return vec![AdjacencyIndex::UNREACHABLE.into()],
            Target::Forward(hops) => {
                if !hops.is_empty() && hops.iter().all(|hop| self.ports.port(hop.index).is_none()) {
                    return vec![AdjacencyIndex::NO_PORT.into()];
                }
                self.targets.get(target).map(|shared| shared.ways.as_slice()).unwrap_or_default()
            }
        };
        let mut next_hops: Vec<fib::NextHop> = ways
            .iter()
            .filter_map(|way| {
                let (port, weight, adjacency) = match *way {
                    Way::Via { port, adjacency, weight, .. } => (port, weight, Some(adjacency)),
                    Way::Connected { port, weight } => (port, weight, self.ports.glean(port)),
                };
                let adjacency = adjacency.filter(|_| self.ports.usable(port))?;
                Some(fib::NextHop { adjacency, weight })
            })
            .collect();
        if next_hops.is_empty() {
            next_hops.push(AdjacencyIndex::UNREACHABLE.into());
        }
        next_hops
    }

    fn neighbour_changed(&mut self, index: u32, address: Ipv4Addr, observer: &mut impl Observer) {
        if let Some(port) = self.ports.port(index) {
            // Whatever was asked for has been answered, or may be asked for anew at once.
            self.asked.remove(&(port, address));
            // The adjacency first: the host entry must not lead to an old MAC address.
            self.hops.refresh(port, address, self.resolution(port, address));
            self.refresh_host(address, observer);
        }
    }

    /// Gives a neighbour an entry of its own in the FIB, or takes it.
    fn refresh_host(&mut self, address: Ipv4Addr, observer: &mut impl Observer) {
        let Ok(prefix) = Prefix4::containing(address.to_bits(), 32) else { return };
        let wanted = self.host_port(prefix, address);
        let present = self.hosts.get(&address).copied();
        if wanted == present {
            return;
        }
        let acquired = wanted.filter(|port| self.acquire(*port, address, observer).is_some());
        match acquired {
            Some(port) => self.hosts.insert(address, port),
            None => self.hosts.remove(&address),
        };
        self.install(prefix, observer);
        if let Some(port) = present
            && let Some(gone) = self.hops.release(port, address)
        {
            observer.adjacency_gone(gone);
        }
    }

    /// The port behind which the neighbour is reached directly; none if it is not known there, or if the kernel routes it otherwise.
    fn host_port(&self, host: Prefix4, address: Ipv4Addr) -> Option<PortIndex> {
        if self.local.contains(&host) || self.routes.contains_key(&host) {
            return None;
        }
        let covering = (0..32).rev().find_map(|length| {
            let prefix = Prefix4::containing(address.to_bits(), length).ok()?;
            if self.local.contains(&prefix) {
                return Some(None);
            }
            self.routes.get(&prefix).map(Some)
        })??;
        self.targets.get(covering)?.ways.iter().find_map(|way| match *way {
            Way::Connected { port, .. } if self.ports.usable(port) => {
                self.header(port, address).is_some().then_some(port)
            }
            _ => None,
        })
    }

    fn resolution(&self, port: PortIndex, address: Ipv4Addr) -> Resolution {
        Resolution { header: self.header(port, address), mtu: self.ports.mtu(port) }
    }

    /// The Ethernet header of packets to this neighbour, if its MAC address may be used.
    fn header(&self, port: PortIndex, address: Ipv4Addr) -> Option<Header> {
        let link = self.ports.link(port)?;
        let neighbour = self.neighbours.get(&(address, link.index))?;
        let destination = neighbour.mac.filter(|_| neighbour.reachability.valid())?;
        let mut header = [0; 14];
        header[..6].copy_from_slice(&destination);
        header[6..12].copy_from_slice(&link.mac?);
        header[12..].copy_from_slice(&IPV4);
        Some(header)
    }
}

fn leads_to(target: &Target, index: u32) -> bool {
    matches!(target, Target::Forward(hops) if hops.iter().any(|hop| hop.index == index))
}

/// A route to a single address without a gateway leads to that address: the same as with itself as the gateway, and so without a
/// glean, whose answer would be an entry for the very prefix.
fn towards(prefix: Prefix4, target: Arc<Target>) -> Arc<Target> {
    match &*target {
        Target::Forward(hops) if prefix.length() == 32 && hops.iter().any(|hop| hop.gateway.is_none()) => {
            let itself = Ipv4Addr::from_bits(prefix.address());
            let with_gateway = |hop: &NextHop| NextHop { gateway: hop.gateway.or(Some(itself)), ..*hop };
            Arc::new(Target::Forward(hops.iter().map(with_gateway).collect()))
        }
        _ => target,
    }
}
