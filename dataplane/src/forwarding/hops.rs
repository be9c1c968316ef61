//! Next hops: one adjacency for each neighbour that a route or a host entry needs, counted by use.

use std::net::Ipv4Addr;
use std::time::Instant;

use rustc_hash::FxHashMap;
use weir_graph::adjacency::{AdjacencyError, AdjacencyIndex, AdjacencyWriter, Path};
use weir_graph::packet::PortIndex;

/// An Ethernet header: destination, source, type.
pub(super) type Header = [u8; 14];

/// What the rest of weir knows of a next hop's neighbour and port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolution {
    /// The header to write; none while the neighbour is not known.
    pub(super) header: Option<Header>,
    /// The port's largest IP packet in bytes.
    pub(super) mtu: u16,
}

#[derive(Debug)]
pub(super) struct Hop {
    pub(super) adjacency: AdjacencyIndex,
    users: usize,
    /// Packets counted when last looked at; none: not looked at yet.
    pub(super) seen: Option<u64>,
    /// When the kernel was last asked to probe.
    pub(super) probed: Option<Instant>,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Hops {
    pub(super) writer: AdjacencyWriter,
    hops: FxHashMap<(PortIndex, Ipv4Addr), Hop>,
    told_full: bool,
}

impl Hops {
    pub(super) fn new(writer: AdjacencyWriter) -> Self {
        Self { writer, hops: FxHashMap::default(), told_full: false }
    }

    /// The adjacency of a next hop that one more user needs, and whether it is new. None if the table is full, which is said once.
    pub(super) fn acquire(
        &mut self,
        port: PortIndex,
        address: Ipv4Addr,
        resolution: Resolution,
    ) -> Option<(AdjacencyIndex, bool)> {
        if let Some(hop) = self.hops.get_mut(&(port, address)) {
            hop.users += 1;
            return Some((hop.adjacency, false));
        }
        let path = Path { port, mtu: resolution.mtu, next_hop: address.to_bits() };
        let adjacency = match self.writer.allocate(path) {
            Ok(adjacency) => adjacency,
            Err(error) => {
                if !std::mem::replace(&mut self.told_full, true) {
                    tracing::error!(%address, "packets for a next hop will be answered as unreachable: {error}");
                }
                return None;
            }
        };
        self.hops.insert((port, address), Hop { adjacency, users: 1, seen: None, probed: None });
        self.refresh(port, address, resolution);
        Some((adjacency, true))
    }

    /// One user less. The adjacency if that was the last one; nothing may lead to it any more.
    pub(super) fn release(&mut self, port: PortIndex, address: Ipv4Addr) -> Option<AdjacencyIndex> {
        let hop = self.hops.get_mut(&(port, address))?;
        hop.users -= 1;
        if hop.users > 0 {
            return None;
        }
        let hop = self.hops.remove(&(port, address))?;
        told(self.writer.free(hop.adjacency));
        self.told_full = false;
        Some(hop.adjacency)
    }

    /// The neighbour or the port has changed.
    pub(super) fn refresh(&mut self, port: PortIndex, address: Ipv4Addr, resolution: Resolution) {
        let Some(hop) = self.hops.get(&(port, address)) else { return };
        let path = Path { port, mtu: resolution.mtu, next_hop: address.to_bits() };
        told(match resolution.header {
            // Not in force at once only if readers may still be at an older header; `reclaim` finishes it.
            Some(header) => self.writer.set_rewrite(hop.adjacency, header, path).map(drop),
            None => self
                .writer
                .set_incomplete(hop.adjacency)
                .and_then(|()| self.writer.set_mtu(hop.adjacency, resolution.mtu)),
        });
    }

    /// The adjacency of a next hop that is in use.
    pub(super) fn adjacency(&self, port: PortIndex, address: Ipv4Addr) -> Option<AdjacencyIndex> {
        self.hops.get(&(port, address)).map(|hop| hop.adjacency)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = ((PortIndex, Ipv4Addr), &mut Hop)> {
        self.hops.iter_mut().map(|(key, hop)| (*key, hop))
    }

    /// The next hops behind `port`.
    pub(super) fn behind(&self, port: PortIndex) -> Vec<Ipv4Addr> {
        self.hops.keys().filter(|(of, _)| *of == port).map(|(_, address)| *address).collect()
    }
}

/// The indices are this module's own, so that a refusal is a mistake of weir: packets go astray, so it must be heard.
pub(super) fn told(result: Result<(), AdjacencyError>) {
    if let Err(error) = result {
        tracing::error!("{error}");
    }
}
