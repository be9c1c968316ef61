//! The kernel's control plane as forwarding tables: events in, stores into the FIB, the adjacencies and the ports' table out.
//!
//! Everything that the kernel has told is kept as it was told; what the tables should hold follows from that alone, whatever order
//! it was told in:
//!
//! | for a prefix, the first that applies | leads to |
//! |---|---|
//! | it is local to this machine | [`AdjacencyIndex::LOCAL`] |
//! | the kernel has a route, with a gateway | the adjacency of (port, gateway), for each next hop whose port is up with carrier |
//! | … without a gateway: a connected network | the port's glean adjacency; a single address: the adjacency of (port, that address) |
//! | … with no next hop by a port of weir | [`AdjacencyIndex::NO_PORT`]: said once for each device |
//! | … with no next hop left, or of a kind that weir cannot do | [`AdjacencyIndex::UNREACHABLE`] |
//! | a single address, the neighbour is known, its longest match is a connected network of its port | the adjacency of (port, neighbour) |
//!
//! An adjacency is a rewrite while the kernel holds a valid MAC address for the neighbour, else incomplete. Both versions of IP share the table of
//! adjacencies and the ports' gleans; each has a FIB and adjacencies of its own, for the EtherType stands in them.
//!
//! ```text
//!   events ─▶ Forwarding ─┬─ Destinations<u32> ──▶ FIB of IPv4 ─┐
//!                         ├─ Destinations<u128> ─▶ FIB of IPv6 ─┤
//!                         └─ Neighbourhood: neighbours, ports ──┴▶ Hops: adjacencies
//! ```
//!
//! # What differs from the kernel
//! A packet that weir has taken cannot be given back to the kernel. So routes by devices that are not ports of weir are dead ends, also
//! where the kernel could carry the packet on. And the kernel asks its tables one after the other, where weir has one FIB: a longer
//! prefix of table `main` wins over a shorter local one, and one of table `default` over a shorter one of `main`. Of IPv6 the kernel passes over a
//! router that does not answer where another route has the same metric; weir waits for it.

mod destinations;
mod hops;
mod neighbourhood;
mod ports;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use weir_graph::adjacency::{AdjacencyError, AdjacencyIndex, AdjacencyWriter};
use weir_graph::fib::{FibWriter, RouteIndex};
use weir_graph::packet::PortIndex;

use crate::kernel::{Event, Link, Reachability};
use destinations::Destinations;
use hops::{Hops, Key};
use neighbourhood::Neighbourhood;
use ports::{PortTable, Rebound};

/// How often one neighbour is asked for at most. The kernel itself repeats a question every second (`retrans_time_ms`).
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Who wants to know of what the tables' numbers mean, and keeps the XDP program's own addresses.
pub trait Observer {
    /// Packets of this version of IP counted for this route are to be shown under this prefix.
    fn route_named(&mut self, version: u8, index: RouteIndex, name: &str);
    /// The route of this version is gone; its number may come to mean another one.
    fn route_gone(&mut self, version: u8, index: RouteIndex);
    /// Packets counted for this adjacency are to be shown under this name, such as `10.0.0.2 dev eth1`.
    fn adjacency_named(&mut self, index: AdjacencyIndex, name: &str);
    /// The adjacency is gone; its number may come to mean another one.
    fn adjacency_gone(&mut self, index: AdjacencyIndex);
    /// Packets to this address are the kernel's from now on.
    fn own_address(&mut self, address: IpAddr);
    /// Packets to this address are not the kernel's any more.
    fn own_address_gone(&mut self, address: IpAddr);
}

/// The writer of weir's forwarding tables.
#[derive(Debug)]
pub struct Forwarding {
    ip4: Destinations<u32>,
    ip6: Destinations<u128>,
    near: Neighbourhood,
    /// Neighbours without an adjacency that were asked for lately.
    asked: FxHashMap<(PortIndex, IpAddr), Instant>,
}

impl Forwarding {
    /// A writer of these tables for the ports `devices`, port 0 first. The names of gleans go to `observer`.
    ///
    /// # Errors
    /// [`AdjacencyError`] if the table has no room for one adjacency a port.
    pub fn new(
        fib: FibWriter,
        fib6: FibWriter<u128>,
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
            ip4: Destinations::new(fib),
            ip6: Destinations::new(fib6),
            near: Neighbourhood {
                hops,
                ports,
                neighbours: BTreeMap::new(),
                told_no_port: FxHashSet::default(),
            },
            asked: FxHashMap::default(),
        })
    }

    /// Takes a change of the kernel's control plane into the tables.
    pub fn apply(&mut self, event: Event, observer: &mut impl Observer) {
        match event {
            Event::Link(link) => self.link_changed(link, observer),
            Event::LinkGone(index) => {
                self.near.told_no_port.remove(&index);
                if let Some(rebound) = self.near.ports.link_gone(index) {
                    self.rebound(rebound, observer);
                }
            }
            Event::Address(address) => self.near.ports.address(address),
            Event::AddressGone(address) => self.near.ports.address_gone(address),
            Event::Ip4(change) => self.ip4.apply(change, &mut self.near, observer),
            Event::Ip6(change) => self.ip6.apply(change, &mut self.near, observer),
            Event::Neighbour(neighbour) => {
                self.near.neighbours.insert((neighbour.address, neighbour.index), neighbour);
                self.neighbour_changed(neighbour.index, neighbour.address, observer);
            }
            Event::NeighbourGone { index, address } => {
                self.near.neighbours.remove(&(address, index));
                self.neighbour_changed(index, address, observer);
            }
        }
    }

    /// A worker has a packet for a neighbour that has no MAC address: has the kernel ask for it, once a second at most. `probe` gets
    /// the interface index and the address.
    pub fn resolve(
        &mut self,
        port: PortIndex,
        address: IpAddr,
        now: Instant,
        probe: &mut impl FnMut(u32, IpAddr),
    ) {
        let Some(link) = self.near.ports.link(port) else { return };
        let neighbour = self.near.neighbour(port, address);
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
        probe: &mut impl FnMut(u32, IpAddr),
    ) {
        let Neighbourhood { hops, ports, neighbours, .. } = &mut self.near;
        for (Key { port, address, .. }, hop) in hops.iter_mut() {
            let counted = packets(hop.adjacency);
            let moved = hop.seen.replace(counted).is_some_and(|seen| seen != counted);
            let Some(link) = ports.link(port).filter(|_| moved) else { continue };
            let stale = neighbours
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
        self.ip4.fib.reclaim() + self.ip6.fib.reclaim() + self.near.hops.writer.reclaim()
    }

    /// The device behind a port, if it is there.
    #[must_use]
    pub fn link(&self, port: PortIndex) -> Option<&Link> {
        self.near.ports.link(port)
    }

    /// Number of routes in the FIBs of both versions, the entries of single neighbours included.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.ip4.fib.len() + self.ip6.fib.len()
    }

    fn link_changed(&mut self, link: Link, observer: &mut impl Observer) {
        let index = link.index;
        let change = self.near.ports.take_link(link);
        if !change.rebound.is_empty() {
            for rebound in change.rebound {
                self.rebound(rebound, observer);
            }
            return;
        }
        let Some(port) = self.near.ports.port(index) else { return };
        if change.header || change.mtu {
            self.near.refresh_all(port);
        }
        if change.usable {
            self.ip4.reinstall(index, &mut self.near, observer);
            self.ip6.reinstall(index, &mut self.near, observer);
        }
    }

    /// Another device than before, or none, is behind a port.
    fn rebound(&mut self, Rebound { port, index }: Rebound, observer: &mut impl Observer) {
        self.ip4.rebound(index, &mut self.near, observer);
        self.ip6.rebound(index, &mut self.near, observer);
        self.near.refresh_all(port);
        let known = self.near.neighbours.keys().filter(|(_, of)| *of == index);
        for address in known.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.refresh_host(address, observer);
        }
    }

    fn neighbour_changed(&mut self, index: u32, address: IpAddr, observer: &mut impl Observer) {
        if let Some(port) = self.near.ports.port(index) {
            // Whatever was asked for has been answered, or may be asked for anew at once.
            self.asked.remove(&(port, address));
            // The adjacencies first: the host entry must not lead to an old MAC address.
            for key in Key::of_neighbour(port, address) {
                self.near.refresh(key);
            }
            self.refresh_host(address, observer);
        }
    }

    fn refresh_host(&mut self, address: IpAddr, observer: &mut impl Observer) {
        match address {
            IpAddr::V4(address) => self.ip4.refresh_host(address.to_bits(), &mut self.near, observer),
            IpAddr::V6(address) => self.ip6.refresh_host(address.to_bits(), &mut self.near, observer),
        }
    }
}
