//! What the graph knows about ports: addresses and sizes that the control thread keeps current and workers read.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::packet::PortIndex;

/// Most ports that the per-port vectors of the segment have room for.
pub const MAX_PORTS: usize = 1024;

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
