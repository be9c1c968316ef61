//! What the graph knows about ports: addresses and sizes that the control thread keeps current and workers read.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::packet::{Packet, PortIndex, flags};

/// Most ports that the per-port vectors of the segment have room for.
pub const MAX_PORTS: usize = 1024;

/// What a port leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Side {
    /// The internet.
    Wan,
    /// The customers.
    Lan,
}

/// Where a bridge sends what comes in by a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Across {
    /// The port is not in a bridge.
    #[default]
    Nowhere,
    /// By this port.
    Port(PortIndex),
    /// By the same port: what has the one VLAN's tag gets the other's.
    Vlans {
        /// The VLAN towards the internet, 1 to 4094.
        wan: u16,
        /// The VLAN towards the customers, another one.
        lan: u16,
    },
}

/// One port's entry. Each word is current by itself; nothing depends on two of them being from the same moment.
#[derive(Debug, Default)]
struct Port {
    /// MAC address in the low 48 bits, first byte highest.
    mac: AtomicU64,
    /// Primary IPv4 address, host order; 0 = none.
    address: AtomicU32,
    /// Largest IP packet, bytes.
    mtu: AtomicU32,
    /// Set up, with carrier.
    up: AtomicBool,
    /// Fixed before the first packet, as the next one.
    side: OnceLock<Side>,
    across: OnceLock<Across>,
}

/// All ports; cheap to clone, every clone sees the same table.
#[derive(Clone, Debug)]
pub struct Ports(Arc<[Port]>);

/// A MAC address as a number: first byte highest, 48 bits.
pub fn mac_number(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Ports {
    /// A table of `count` ports with nothing known yet.
    pub fn new(count: usize) -> Ports {
        Ports((0..count).map(|_| Port::default()).collect())
    }

    /// Number of ports.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Sets a port's MAC address. An unknown port is ignored, here and below.
    pub fn set_mac(&self, port: PortIndex, mac: [u8; 6]) {
        if let Some(port) = self.0.get(usize::from(port)) {
            port.mac.store(mac_number(mac), Relaxed);
        }
    }

    /// Sets a port's primary IPv4 address.
    pub fn set_address(&self, port: PortIndex, address: Option<Ipv4Addr>) {
        if let Some(port) = self.0.get(usize::from(port)) {
            port.address.store(address.map_or(0, u32::from), Relaxed);
        }
    }

    /// Sets the largest IP packet that leaves by a port.
    pub fn set_mtu(&self, port: PortIndex, mtu: u16) {
        if let Some(port) = self.0.get(usize::from(port)) {
            port.mtu.store(u32::from(mtu), Relaxed);
        }
    }

    /// Says whether a port can send.
    pub fn set_up(&self, port: PortIndex, up: bool) {
        if let Some(port) = self.0.get(usize::from(port)) {
            port.up.store(up, Relaxed);
        }
    }

    /// Says which side a port is on. Once, before the first packet.
    pub fn set_side(&self, port: PortIndex, side: Side) {
        if let Some(port) = self.0.get(usize::from(port)) {
            let _ = port.side.set(side);
        }
    }

    /// Says where a bridge sends what comes in by a port. Once, before the first packet.
    pub fn set_across(&self, port: PortIndex, across: Across) {
        if let Some(port) = self.0.get(usize::from(port)) {
            let _ = port.across.set(across);
        }
    }

    /// Where a bridge sends what comes in by this port.
    #[inline]
    pub fn across(&self, port: PortIndex) -> Across {
        self.0.get(usize::from(port)).and_then(|port| port.across.get()).copied().unwrap_or_default()
    }

    /// The side that the packet leaves by, if the config says. Valid as soon as `tx_port` is.
    #[inline(always)]
    pub fn egress(&self, packet: &Packet) -> Option<Side> {
        match packet.flags & (flags::TO_WAN | flags::TO_LAN) {
            flags::TO_WAN => Some(Side::Wan),
            flags::TO_LAN => Some(Side::Lan),
            _ => self.0.get(usize::from(packet.tx_port))?.side.get().copied(),
        }
    }

    /// Whether the port can send.
    #[inline]
    pub fn is_up(&self, port: PortIndex) -> bool {
        self.0.get(usize::from(port)).is_some_and(|port| port.up.load(Relaxed))
    }

    /// The port's MAC address as [`mac_number`] gives it; 0 for an unknown port.
    #[inline]
    pub fn mac(&self, port: PortIndex) -> u64 {
        self.0.get(usize::from(port)).map_or(0, |port| port.mac.load(Relaxed))
    }

    /// The port's primary IPv4 address.
    #[inline]
    pub fn address(&self, port: PortIndex) -> Option<Ipv4Addr> {
        match self.0.get(usize::from(port)).map_or(0, |port| port.address.load(Relaxed)) {
            0 => None,
            address => Some(Ipv4Addr::from(address)),
        }
    }

    /// The port's largest IP packet; 0 for an unknown port.
    #[inline]
    pub fn mtu(&self, port: PortIndex) -> u16 {
        self.0.get(usize::from(port)).map_or(0, |port| port.mtu.load(Relaxed) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Frames;

    #[test]
    fn a_packet_leaves_by_the_side_of_its_port_or_of_its_vlan() {
        let ports = Ports::new(3);
        ports.set_side(0, Side::Wan);
        ports.set_side(1, Side::Lan);
        let (frames, mut free) = Frames::in_memory(1);
        let mut packet = frames.packet(free.remove(0), 0, 60, 0).unwrap();
        for (port, flags, side) in [
            (0, 0, Some(Side::Wan)),
            (1, 0, Some(Side::Lan)),
            (2, 0, None),
            (9, 0, None),
            (2, flags::TO_WAN, Some(Side::Wan)),
            (2, flags::TO_LAN | flags::CREATED, Some(Side::Lan)),
        ] {
            (packet.tx_port, packet.flags) = (port, flags);
            assert_eq!(ports.egress(&packet), side, "{port} {flags}");
        }
    }
}
