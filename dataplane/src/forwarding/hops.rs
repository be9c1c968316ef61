//! Next hops: one adjacency for each neighbour that a route or a host entry needs, counted by use.

use std::net::IpAddr;
use std::time::Instant;

use rustc_hash::FxHashMap;
use weir_graph::adjacency::{AdjacencyError, AdjacencyIndex, AdjacencyWriter, Path};
use weir_graph::packet::PortIndex;
use weir_graph::wire::vlan::Tags;

use crate::kernel::Family;

/// An Ethernet header: destination, source, type.
pub(super) type Header = [u8; 14];

/// What an adjacency is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) port: PortIndex,
    /// The neighbour's, which may be one of IPv6 for packets of IPv4 (RFC 8950).
    pub(super) address: IpAddr,
    /// Of the packets.
    pub(super) ether_type: [u8; 2],
}

impl Key {
    /// Those that a neighbour may have: for packets of either version.
    pub(super) fn of_neighbour(port: PortIndex, address: IpAddr) -> [Self; 2] {
        [<u32 as Family>::ETHER_TYPE, <u128 as Family>::ETHER_TYPE].map(|ether_type| Self {
            port,
            address,
            ether_type,
        })
    }

    fn path(self, Resolution { mtu, tags, .. }: Resolution) -> Path {
        Path { port: self.port, mtu, next_hop: Some(self.address), tags }
    }
}

/// What the rest of weir knows of a next hop's neighbour and port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolution {
    /// The header to write; none while the neighbour is not known.
    pub(super) header: Option<Header>,
    /// The port's largest IP packet in bytes.
    pub(super) mtu: u16,
    /// The port's tags.
    pub(super) tags: Tags,
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
    hops: FxHashMap<Key, Hop>,
    told_full: bool,
}

impl Hops {
    pub(super) fn new(writer: AdjacencyWriter) -> Self {
        Self { writer, hops: FxHashMap::default(), told_full: false }
    }

    /// The adjacency of a next hop that one more user needs, and whether it is new. None if the table is full, which is said once.
    pub(super) fn acquire(&mut self, key: Key, resolution: Resolution) -> Option<(AdjacencyIndex, bool)> {
        if let Some(hop) = self.hops.get_mut(&key) {
            hop.users += 1;
            return Some((hop.adjacency, false));
        }
        let adjacency = match self.writer.allocate(key.path(resolution)) {
            Ok(adjacency) => adjacency,
            Err(error) => {
                if !std::mem::replace(&mut self.told_full, true) {
                    tracing::error!(
                        address = %key.address,
                        "packets for a next hop will be answered as unreachable: {error}"
                    );
                }
                return None;
            }
        };
        self.hops.insert(key, Hop { adjacency, users: 1, seen: None, probed: None });
        self.refresh(key, resolution);
        Some((adjacency, true))
    }

    /// One user less. The adjacency if that was the last one; nothing may lead to it any more.
    pub(super) fn release(&mut self, key: Key) -> Option<AdjacencyIndex> {
        let hop = self.hops.get_mut(&key)?;
        hop.users -= 1;
        if hop.users > 0 {
            return None;
        }
        let hop = self.hops.remove(&key)?;
        told(self.writer.free(hop.adjacency));
        self.told_full = false;
        Some(hop.adjacency)
    }

    /// The neighbour or the port has changed.
    pub(super) fn refresh(&mut self, key: Key, resolution: Resolution) {
        let Some(hop) = self.hops.get(&key) else { return };
        told(match resolution.header {
            // Not in force at once only if readers may still be at an older header; `reclaim` finishes it.
            Some(header) => self.writer.set_rewrite(hop.adjacency, header, key.path(resolution)).map(drop),
            None => self
                .writer
                .set_incomplete(hop.adjacency)
                .and_then(|()| self.writer.set_mtu(hop.adjacency, resolution.mtu)),
        });
    }

    /// The adjacency of a next hop that is in use.
    pub(super) fn adjacency(&self, key: Key) -> Option<AdjacencyIndex> {
        self.hops.get(&key).map(|hop| hop.adjacency)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Hop)> {
        self.hops.iter_mut().map(|(key, hop)| (*key, hop))
    }

    /// The next hops behind `port`.
    pub(super) fn behind(&self, port: PortIndex) -> Vec<Key> {
        self.hops.keys().filter(|key| key.port == port).copied().collect()
    }
}

/// The indices are this module's own, so that a refusal is a mistake of weir: packets go astray, so it must be heard.
pub(super) fn told(result: Result<(), AdjacencyError>) {
    if let Err(error) = result {
        tracing::error!("{error}");
    }
}
