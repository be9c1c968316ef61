//! weir's ports and the kernel's devices: which is behind which now, and what the workers need to know of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use weir_graph::adjacency::{AdjacencyError, AdjacencyIndex, AdjacencyWriter, Path};
use weir_graph::packet::PortIndex;
use weir_graph::ports::Ports;

use crate::kernel::{Address, Link};

#[derive(Debug)]
struct Port {
    device: String,
    link: Option<Link>,
    glean: AdjacencyIndex,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct PortTable {
    ports: Vec<Port>,
    /// Every device of the kernel by interface index: its name, and the port that it is.
    devices: BTreeMap<u32, (String, Option<PortIndex>)>,
    /// Of all devices, in the order in which the kernel told them: the order of preference.
    addresses: Vec<Address>,
    shared: Ports,
}

/// The device with this interface index has come behind the port, or gone from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rebound {
    pub(super) port: PortIndex,
    pub(super) index: u32,
}

/// What a link's message has changed.
#[derive(Debug, Default)]
pub(super) struct LinkChange {
    /// Devices that are no port any more, or another one. If there are any, all the rest may have changed too.
    pub(super) rebound: Vec<Rebound>,
    /// The port's MAC address is another.
    pub(super) header: bool,
    pub(super) mtu: bool,
    /// Whether the port can carry packets is another.
    pub(super) usable: bool,
}

impl PortTable {
    pub(super) fn new(
        shared: Ports,
        devices: &[String],
        adjacencies: &mut AdjacencyWriter,
    ) -> Result<Self, AdjacencyError> {
        let ports = (0..)
            .zip(devices)
            .map(|(port, device)| {
                let glean = adjacencies.allocate_glean(Path { port, mtu: 0, next_hop: 0 })?;
                Ok(Port { device: device.clone(), link: None, glean })
            })
            .collect::<Result<_, AdjacencyError>>()?;
        Ok(Self { ports, devices: BTreeMap::new(), addresses: Vec::new(), shared })
    }

    fn get(&self, port: PortIndex) -> Option<&Port> {
        self.ports.get(usize::from(port))
    }

    /// The port that the device with this interface index is.
    pub(super) fn port(&self, index: u32) -> Option<PortIndex> {
        self.devices.get(&index)?.1
    }

    /// The name of the device with this interface index.
    pub(super) fn name(&self, index: u32) -> &str {
        self.devices.get(&index).map_or("?", |(name, _)| name)
    }

    /// The port's device by the name in the config.
    pub(super) fn device(&self, port: PortIndex) -> &str {
        self.get(port).map_or("?", |port| &port.device)
    }

    /// The device behind the port, if it is there.
    pub(super) fn link(&self, port: PortIndex) -> Option<&Link> {
        self.get(port)?.link.as_ref()
    }

    pub(super) fn usable(&self, port: PortIndex) -> bool {
        self.link(port).is_some_and(Link::usable)
    }

    pub(super) fn glean(&self, port: PortIndex) -> Option<AdjacencyIndex> {
        self.get(port).map(|port| port.glean)
    }

    /// The largest IP packet that leaves by the port; what does not fit a length of 16 bits is no limit for IPv4.
    pub(super) fn mtu(&self, port: PortIndex) -> u16 {
        self.link(port).map_or(0, |link| u16::try_from(link.mtu).unwrap_or(u16::MAX))
    }

    /// Takes what the kernel says of a device.
    pub(super) fn take_link(&mut self, link: Link) -> LinkChange {
        let index = link.index;
        let mut change = LinkChange::default();
        let port =
            (0..).zip(&self.ports).find(|(_, port)| port.device == link.name).map(|(number, _)| number);
        let before = self.port(index);
        if before != port {
            change.rebound.extend(before.map(|port| self.unbind(port, index)));
            // Names move faster than messages: another device may still count as the one behind the port.
            let usurped = port.and_then(|port| Some((port, self.link(port)?.index)));
            change.rebound.extend(usurped.map(|(port, index)| self.unbind(port, index)));
            change.rebound.extend(port.map(|port| Rebound { port, index }));
        }
        self.devices.insert(index, (link.name.clone(), port));
        if let Some(number) = port
            && let Some(port) = self.ports.get_mut(usize::from(number))
        {
            let old = port.link.replace(link);
            let new = port.link.as_ref();
            change.header = old.as_ref().map(|link| link.mac) != new.map(|link| link.mac);
            change.mtu = old.as_ref().map(|link| link.mtu) != new.map(|link| link.mtu);
            change.usable = old.as_ref().is_some_and(Link::usable) != new.is_some_and(Link::usable);
            self.share(number);
        }
        change
    }

    pub(super) fn link_gone(&mut self, index: u32) -> Option<Rebound> {
        let (_, port) = self.devices.remove(&index)?;
        Some(self.unbind(port?, index))
    }

    /// The device is not the port any more.
    fn unbind(&mut self, port: PortIndex, index: u32) -> Rebound {
        if let Some((_, of)) = self.devices.get_mut(&index) {
            *of = None;
        }
        if let Some(bound) = self.ports.get_mut(usize::from(port)) {
            bound.link.take_if(|link| link.index == index);
        }
        self.share(port);
        Rebound { port, index }
    }

    pub(super) fn address(&mut self, address: Address) {
        let same = |known: &&mut Address| {
            (known.index, known.address, known.length) == (address.index, address.address, address.length)
        };
        match self.addresses.iter_mut().find(same) {
            Some(known) => *known = address,
            None => self.addresses.push(address),
        }
        self.share_all();
    }

    pub(super) fn address_gone(&mut self, gone: Address) {
        self.addresses.retain(|address| {
            (address.index, address.address, address.length) != (gone.index, gone.address, gone.length)
        });
        self.share_all();
    }

    /// See [`super::Forwarding::source_address`].
    pub(super) fn source_address(&self, port: PortIndex) -> Option<Ipv4Addr> {
        let count = u16::try_from(self.ports.len()).unwrap_or(u16::MAX);
        std::iter::once(port).chain(0..count).find_map(|port| self.primary(port))
    }

    fn primary(&self, port: PortIndex) -> Option<Ipv4Addr> {
        let index = self.link(port)?.index;
        let first = self.addresses.iter().find(|address| address.index == index && !address.secondary);
        first.map(|address| address.address)
    }

    fn share_all(&self) {
        for port in (0..).zip(&self.ports).map(|(number, _)| number) {
            self.shared.set_address(port, self.source_address(port));
        }
    }

    fn share(&self, port: PortIndex) {
        if let Some(mac) = self.link(port).and_then(|link| link.mac) {
            self.shared.set_mac(port, mac);
        }
        self.shared.set_mtu(port, self.mtu(port));
        // One port's device may be what another one borrows its address from.
        self.share_all();
    }
}
