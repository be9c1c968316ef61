//! weir's ports and the kernel's devices: which is behind which now, and what the workers need to know of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_graph::adjacency::{AdjacencyError, AdjacencyIndex, AdjacencyWriter, Path};
use weir_graph::packet::PortIndex;
use weir_graph::ports::Ports;
use weir_graph::wire::vlan::Tags;

use crate::kernel::{Address, Link, Standing};

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
                let glean =
                    adjacencies.allocate_glean(Path { port, mtu: 0, next_hop: None, tags: Tags::NONE })?;
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

    /// The tags of what leaves by the port.
    pub(super) fn tags(&self, port: PortIndex) -> Tags {
        self.shared.tags(port)
    }

    pub(super) fn glean(&self, port: PortIndex) -> Option<AdjacencyIndex> {
        self.get(port).map(|port| port.glean)
    }

    /// The largest IP packet that leaves by the port; what does not fit a length of 16 bits is no limit for IP.
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

    /// The port, and those that it may borrow an address from.
    fn lenders(&self, port: PortIndex) -> impl Iterator<Item = PortIndex> {
        std::iter::once(port).chain(0..u16::try_from(self.ports.len()).unwrap_or(u16::MAX))
    }

    /// The port's addresses of this standing, in the kernel's order.
    fn standing(&self, port: PortIndex, standing: Standing) -> impl Iterator<Item = IpAddr> {
        let index = self.link(port).map(|link| link.index);
        self.addresses
            .iter()
            .filter(move |it| Some(it.index) == index && it.standing == standing)
            .map(|it| it.address)
    }

    /// The address of IPv4 that a port speaks from: its first primary one; a port without one borrows the first port's that has one
    /// (RFC 1812 §4.3.2.4).
    fn source4(&self, port: PortIndex) -> Option<Ipv4Addr> {
        self.lenders(port).find_map(|port| {
            self.standing(port, Standing::Primary).find_map(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
        })
    }

    /// The address of IPv6 that a port speaks from (RFC 4443 §2.2): one that reaches beyond the link, its own or else another port's; else
    /// its own on the link.
    fn source6(&self, port: PortIndex) -> Option<Ipv6Addr> {
        let of = |port, standing, global: bool| {
            self.standing(port, standing).find_map(move |address| match address {
                IpAddr::V6(address) if address.is_unicast_link_local() != global => Some(address),
                _ => None,
            })
        };
        let either = |port, global| {
            of(port, Standing::Primary, global).or_else(|| of(port, Standing::Secondary, global))
        };
        self.lenders(port).find_map(|port| either(port, true)).or_else(|| either(port, false))
    }

    fn share_all(&self) {
        for port in (0..).zip(&self.ports).map(|(number, _)| number) {
            self.shared.set_address(port, self.source4(port));
            self.shared.set_address6(port, self.source6(port));
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
