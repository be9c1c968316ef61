//! What weir's ports lead to directly, of both versions of IP: neighbours, and the adjacencies of those that are in use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rustc_hash::FxHashSet;
use weir_graph::adjacency::AdjacencyIndex;
use weir_graph::packet::PortIndex;

use super::Observer;
use super::hops::{Header, Hops, Key, Resolution, told};
use super::ports::PortTable;
use crate::kernel::{Family, Neighbour};

/// See the module's head.
#[derive(Debug)]
pub(super) struct Neighbourhood {
    pub(super) hops: Hops,
    pub(super) ports: PortTable,
    /// By address first: routes cover ranges of addresses.
    pub(super) neighbours: BTreeMap<(IpAddr, u32), Neighbour>,
    /// Devices that routes lead to and that are no ports, already told of.
    pub(super) told_no_port: FxHashSet<u32>,
}

impl Neighbourhood {
    /// The neighbour, as the kernel knows it.
    pub(super) fn neighbour(&self, port: PortIndex, address: IpAddr) -> Option<&Neighbour> {
        self.neighbours.get(&(address, self.ports.link(port)?.index))
    }

    /// The Ethernet header of packets to a neighbour, if its MAC address may be used.
    pub(super) fn header(&self, key: Key) -> Option<Header> {
        let neighbour = self.neighbour(key.port, key.address)?;
        let destination = neighbour.mac.filter(|_| neighbour.reachability.valid())?;
        let mut header = [0; 14];
        header[..6].copy_from_slice(&destination);
        header[6..12].copy_from_slice(&self.ports.link(key.port)?.mac?);
        header[12..].copy_from_slice(&key.ether_type);
        Some(header)
    }

    fn resolution(&self, key: Key) -> Resolution {
        let ports = &self.ports;
        Resolution { header: self.header(key), mtu: ports.mtu(key.port), tags: ports.tags(key.port) }
    }

    /// The adjacency of a next hop that one more user needs.
    pub(super) fn acquire(&mut self, key: Key, observer: &mut impl Observer) -> Option<AdjacencyIndex> {
        let (adjacency, new) = self.hops.acquire(key, self.resolution(key))?;
        if new {
            let Key { port, address, ether_type } = key;
            // As `ip route` writes it.
            let foreign = address.is_ipv6() && ether_type == <u32 as Family>::ETHER_TYPE;
            let via = if foreign { "inet6 " } else { "" };
            observer.adjacency_named(adjacency, &format!("{via}{address} dev {}", self.ports.device(port)));
        }
        Some(adjacency)
    }

    /// One user less.
    pub(super) fn release(&mut self, key: Key, observer: &mut impl Observer) {
        if let Some(gone) = self.hops.release(key) {
            observer.adjacency_gone(gone);
        }
    }

    /// The neighbour or the port has changed.
    pub(super) fn refresh(&mut self, key: Key) {
        self.hops.refresh(key, self.resolution(key));
    }

    /// The port has changed, and all that leads by it.
    pub(super) fn refresh_all(&mut self, port: PortIndex) {
        if let Some(glean) = self.ports.glean(port) {
            told(self.hops.writer.set_mtu(glean, self.ports.mtu(port)));
        }
        for key in self.hops.behind(port) {
            self.refresh(key);
        }
    }
}
