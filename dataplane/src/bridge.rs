//! What a bridge needs to know of the machine: which frames are the machine's own, and whether the kernel would carry on.
//!
//! ```text
//!   kernel ──Link, Address, Local──▶ Follower ──▶ OwnAddresses: MAC and IPv6 addresses, and IPv4
//!                                                │
//!                                                └──▶ warnings: no kernel bridge, unequal MTUs
//! ```
//! A frame is the machine's own if it is to the MAC address of a port, or of the kernel's bridge that the port belongs to; the kernel's bridge takes
//! such frames off the wire too, on whichever port they come in.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::fd::OwnedFd;
use weir_graph::ports::{Across, Ports};
use weir_xdp::{OwnAddresses, Redirect, Vlans};

use crate::config::{BridgeConfig, Config};
use crate::device;
use crate::kernel::{Change, Event, Link};

/// Why there can be no bridge.
#[derive(Debug, thiserror::Error)]
#[error("{device}: can't be made to receive frames to all addresses: {source}")]
pub struct Error {
    device: String,
    source: std::io::Error,
}

/// Tells the graph what the ports lead to, and what a bridge joins.
pub fn join(ports: &Ports, config: &Config) {
    for (port, of) in (0..).zip(&config.ports) {
        if let Some(side) = of.side {
            ports.set_side(port, side);
        }
        match config.bridge {
            None => {}
            // The other one of two.
            Some(BridgeConfig::TwoPorts) => ports.set_across(port, Across::Port(1 - port)),
            Some(BridgeConfig::OnePort { wan_vlan, lan_vlan }) => {
                ports.set_across(port, Across::Vlans { wan: wan_vlan, lan: lan_vlan });
            }
        }
    }
}

/// The VLANs of a port that is both sides.
pub fn vlans(bridge: BridgeConfig) -> Option<Vlans> {
    match bridge {
        BridgeConfig::TwoPorts => None,
        BridgeConfig::OnePort { wan_vlan, lan_vlan } => Some(Vlans { wan: wan_vlan, lan: lan_vlan }),
    }
}

/// Makes a port receive frames to all addresses while the descriptor is open.
///
/// # Errors
/// The kernel refuses.
pub fn promiscuous(device: &str, index: u32) -> Result<OwnedFd, Error> {
    device::promiscuous(index).map_err(|source| Error { device: device.to_owned(), source })
}

/// Says so if a port's frames lose their tags on the way to weir.
pub fn warn_of_lost_tags(device: &str, redirect: &Redirect) {
    if device::takes_tags_off(device) && !redirect.puts_tags_back() {
        tracing::warn!(
            "{device} takes VLAN tags off frames before weir sees them, and does not tell them; they would cross without: `ethtool -K {device} rxvlan off` lets them be"
        );
    }
}

/// See the module's head.
#[derive(Debug)]
pub struct Follower {
    devices: Vec<String>,
    /// By interface index.
    links: BTreeMap<u32, Link>,
    addresses4: BTreeSet<Ipv4Addr>,
    /// With the device's interface index; also those that the kernel is still asking for whether they are another's.
    addresses6: BTreeSet<(u32, Ipv6Addr)>,
    /// What the XDP programs have been told.
    told_addresses: BTreeSet<IpAddr>,
    told_macs: BTreeSet<[u8; 6]>,
    warnings: BTreeSet<String>,
}

impl Follower {
    /// Knows nothing yet of a bridge of these devices.
    pub fn new(devices: &[String]) -> Follower {
        Follower {
            devices: devices.to_vec(),
            links: BTreeMap::new(),
            addresses4: BTreeSet::new(),
            addresses6: BTreeSet::new(),
            told_addresses: BTreeSet::new(),
            told_macs: BTreeSet::new(),
            warnings: BTreeSet::new(),
        }
    }

    /// Takes the kernel's news; then call [`tell`](Self::tell).
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Link(link) => {
                self.links.insert(link.index, link.clone());
            }
            Event::LinkGone(index) => {
                self.links.remove(index);
            }
            Event::Address(address) => {
                if let IpAddr::V6(ip) = address.address {
                    self.addresses6.insert((address.index, ip));
                }
            }
            Event::AddressGone(address) => {
                if let IpAddr::V6(ip) = address.address {
                    self.addresses6.remove(&(address.index, ip));
                }
            }
            Event::Ip4(Change::Local(prefix)) if prefix.length() == 32 => {
                self.addresses4.insert(Ipv4Addr::from_bits(prefix.address()));
            }
            Event::Ip4(Change::LocalGone(prefix)) if prefix.length() == 32 => {
                self.addresses4.remove(&Ipv4Addr::from_bits(prefix.address()));
            }
            _ => {}
        }
    }

    /// Tells the XDP programs what has changed. An address that the kernel's maps have no room for is the bridge's like any other, and said so.
    pub fn tell(&mut self, own: &OwnAddresses) {
        let addresses = self.addresses4.iter().map(|address| IpAddr::from(*address));
        let addresses =
            addresses.chain(self.addresses6.iter().map(|(_, address)| IpAddr::from(*address))).collect();
        difference(&mut self.told_addresses, &addresses, |it| own.insert(it), |it| own.remove(it));
        let macs = self.macs();
        difference(&mut self.told_macs, &macs, |it| own.insert_mac(it), |it| own.remove_mac(it));
    }

    /// What has become true since the last call and will surprise, a sentence for each.
    pub fn warnings(&mut self) -> Vec<String> {
        let now = self.surprises();
        let new = now.difference(&self.warnings).cloned().collect();
        self.warnings = now;
        new
    }

    fn port(&self, device: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == device)
    }

    /// The kernel's bridge that the port belongs to.
    fn kernel_bridge(&self, port: &Link) -> Option<&Link> {
        self.links.get(&port.master?).filter(|master| master.bridge)
    }

    fn macs(&self) -> BTreeSet<[u8; 6]> {
        let ports = self.devices.iter().filter_map(|device| self.port(device));
        ports.flat_map(|port| [port.mac, self.kernel_bridge(port).and_then(|it| it.mac)]).flatten().collect()
    }

    fn surprises(&self) -> BTreeSet<String> {
        let mut surprises = BTreeSet::new();
        let [one, other] = &self.devices[..] else { return surprises };
        let (Some(left), Some(right)) = (self.port(one), self.port(other)) else { return surprises };
        match (self.kernel_bridge(left), self.kernel_bridge(right)) {
            (Some(master), Some(same)) if master.index == same.index => {
                if !master.up {
                    let name = &master.name;
                    surprises.insert(format!(
                        "{name} is down: nothing would cross while weir is down; `ip link set {name} up` makes the kernel carry on then"
                    ));
                }
            }
            _ => {
                surprises.insert(format!(
                    "{one} and {other} are not ports of one kernel bridge: nothing would cross while weir is down; `ip link add br0 type bridge`, \
                     `ip link set {one} master br0`, `ip link set {other} master br0` and `ip link set br0 up` make the kernel carry on then"
                ));
            }
        }
        if left.mtu != right.mtu {
            let (least, most) = (left.mtu.min(right.mtu), left.mtu.max(right.mtu));
            surprises.insert(format!(
                "{one} has an MTU of {} and {other} one of {}: larger frames are dropped (l2-cross-connect/larger-than-mtu), \
                 and no sender is told; `ip link set {} mtu {most}`, or {least} for the other, makes them equal",
                left.mtu,
                right.mtu,
                if left.mtu == least { one } else { other },
            ));
        }
        surprises
    }
}

/// Makes `told` what `wanted` says, as far as the kernel lets it.
fn difference<T: Copy + Ord + std::fmt::Debug>(
    told: &mut BTreeSet<T>,
    wanted: &BTreeSet<T>,
    insert: impl Fn(T) -> Result<(), weir_xdp::Error>,
    remove: impl Fn(T) -> Result<(), weir_xdp::Error>,
) {
    for address in told.difference(wanted).copied().collect::<Vec<_>>() {
        match remove(address) {
            Ok(()) => {
                told.remove(&address);
            }
            Err(error) => tracing::warn!(?address, %error, "an address that is gone stays the kernel's"),
        }
    }
    for address in wanted.difference(told).copied().collect::<Vec<_>>() {
        match insert(address) {
            Ok(()) => {
                told.insert(address);
            }
            Err(error) => tracing::error!(?address, %error, "an address of this machine can't be reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Address, Standing};

    fn link(index: u32, name: &str, master: Option<u32>) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, index as u8]),
            mtu: 1500,
            up: true,
            running: true,
            rx_queues: 1,
            master,
            bridge: name.starts_with("br"),
            vlan: None,
        }
    }

    fn follower(links: &[Link]) -> Follower {
        let mut follower = Follower::new(&["eth1".to_owned(), "eth2".to_owned()]);
        links.iter().for_each(|link| follower.apply(&Event::Link(link.clone())));
        follower
    }

    fn last_bytes(follower: &Follower) -> Vec<u8> {
        follower.macs().into_iter().map(|mac| mac[5]).collect()
    }

    #[test]
    fn own_macs_are_the_ports_and_their_bridges() {
        let other = link(9, "eth9", Some(5));
        let mut it =
            follower(&[link(1, "eth1", Some(5)), link(2, "eth2", Some(5)), link(5, "br0", None), other]);
        assert_eq!(last_bytes(&it), [1, 2, 5]);
        // A bond is no bridge, a bridge that is gone is none, and addresses change.
        it.apply(&Event::Link(link(5, "bond0", None)));
        assert_eq!(last_bytes(&it), [1, 2]);
        it.apply(&Event::Link(link(7, "br1", None)));
        it.apply(&Event::Link(link(2, "eth2", Some(7))));
        assert_eq!(last_bytes(&it), [1, 2, 7]);
        it.apply(&Event::LinkGone(7));
        it.apply(&Event::Link(Link { mac: Some([2, 0, 0, 0, 0, 77]), ..link(1, "eth1", None) }));
        assert_eq!(last_bytes(&it), [2, 77]);
    }

    #[test]
    fn a_surprise_is_told_once_and_again_when_it_comes_back() {
        let mut it = follower(&[link(1, "eth1", Some(5)), link(2, "eth2", Some(5)), link(5, "br0", None)]);
        assert_eq!(it.warnings(), Vec::<String>::new());
        it.apply(&Event::Link(link(2, "eth2", None)));
        let told = it.warnings();
        assert!(told.len() == 1 && told[0].contains("`ip link set eth2 master br0`"), "{told:?}");
        assert_eq!(it.warnings(), Vec::<String>::new());
        it.apply(&Event::Link(Link { mtu: 9000, ..link(2, "eth2", Some(5)) }));
        let told = it.warnings();
        assert!(told.len() == 1 && told[0].contains("`ip link set eth1 mtu 9000`, or 1500"), "{told:?}");
        it.apply(&Event::Link(link(2, "eth2", Some(5))));
        it.apply(&Event::Link(Link { up: false, ..link(5, "br0", None) }));
        assert!(it.warnings()[0].contains("`ip link set br0 up`"));
        it.apply(&Event::Link(link(5, "br0", None)));
        assert_eq!(it.warnings(), Vec::<String>::new());
        it.apply(&Event::Link(link(2, "eth2", None)));
        assert_eq!(it.warnings().len(), 1);
    }

    #[test]
    fn an_address_that_two_devices_have_is_gone_with_the_second() {
        let mut it = follower(&[]);
        let ip: Ipv6Addr = "fe80::1".parse().unwrap();
        let of = |index| Address { index, address: ip.into(), length: 64, standing: Standing::Primary };
        it.apply(&Event::Address(of(1)));
        it.apply(&Event::Address(of(2)));
        it.apply(&Event::AddressGone(of(1)));
        assert_eq!(it.addresses6.iter().map(|(_, address)| *address).collect::<Vec<_>>(), [ip]);
    }
}
