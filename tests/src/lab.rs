//! The lab: hosts in namespaces of their own, each on a veth to a router in another.
//!
//! ```text
//!   left                      router                      right
//!   10.0.1.2 wire ───── to-left   to-right ───── wire 10.0.2.2
//!                       10.0.1.1  10.0.2.1
//! ```
//! Host number n (from 1) has 10.0.n.2 and the router 10.0.n.1; where a test asks for IPv6, 2001:db8:n::2 and 2001:db8:n::1 beside them. The router forwards by the kernel until weir is started
//! there, and whenever weir is not running.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

use crate::namespace::{Namespace, succeed};

/// The device in every host.
pub const WIRE: &str = "wire";

/// Tests of one process take turns: with two cores, two transfers at once would only disturb each other's clocks.
static TURN: Mutex<()> = Mutex::new(());

/// A host on one of the router's ports.
#[derive(Debug)]
pub struct Host {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its address, in a /24.
    pub address: Ipv4Addr,
    /// The router's address on the same wire.
    pub gateway: Ipv4Addr,
    /// Its IPv6 address, in a /64: set by [`Lab::bridged`] and [`Lab::add_ip6`].
    pub address6: Ipv6Addr,
    /// The router's IPv6 address on the same wire.
    pub gateway6: Ipv6Addr,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The router's MAC address on the same wire.
    pub gateway_mac: [u8; 6],
    /// The router's device on the same wire.
    pub port: String,
}

impl Host {
    /// Gives both ends of the wire their IPv6 addresses, usable at once, and the host its default route.
    fn add_ip6(&self, router: &Namespace) -> Result<()> {
        let ends = [(router, self.port.as_str(), self.gateway6), (&self.namespace, WIRE, self.address6)];
        for (place, device, local) in ends {
            let settings = format!("net/ipv6/conf/{device}");
            // nobody else can have the addresses: the kernel need not look for a second
            place.sysctl(&format!("{settings}/accept_dad"), "0")?;
            place.sysctl(&format!("{settings}/ignore_routes_with_linkdown"), "1")?;
            place.sysctl(&format!("{settings}/disable_ipv6"), "0")?;
            place.ip(&format!("address add {local}/64 dev {device} nodad"))?;
        }
        // for addresses that are no wire's
        self.namespace.sysctl("net/ipv6/conf/lo/disable_ipv6", "0")?;
        self.namespace.ip(&format!("route add default via {}", self.gateway6))?;
        Ok(())
    }
}

/// Hosts around one router.
#[derive(Debug)]
pub struct Lab {
    /// The hosts, in the order in which they were named.
    pub hosts: Vec<Host>,
    /// The namespace in the middle.
    pub router: Namespace,
    /// Queues of every device.
    pub queues: u32,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Builds the hosts `left` and `right` with the router between them.
    pub fn new(queues: u32) -> Result<Lab> {
        Lab::with_hosts(&["left", "right"], queues)
    }

    /// Builds a host of each name around the router, with `queues` queues on every device.
    pub fn with_hosts(names: &[&str], queues: u32) -> Result<Lab> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let router = Namespace::new("router")?;
        router.sysctl("net/ipv4/ip_forward", "1")?;
        // by flow, as weir does: the kernel's default spreads by address alone
        router.sysctl("net/ipv4/fib_multipath_hash_policy", "1")?;
        // a wire without a carrier is no way, as for weir; the kernel's default goes on sending there
        router.sysctl("net/ipv4/conf/default/ignore_routes_with_linkdown", "1")?;
        // no limits on ICMP errors that would make a quick test look like a silent router
        router.sysctl("net/ipv4/icmp_ratemask", "0")?;
        router.sysctl("net/ipv4/icmp_msgs_per_sec", "100000")?;
        let hosts = names
            .iter()
            .zip(1..)
            .map(|(name, number)| host(&router, name, number, queues))
            .collect::<Result<Vec<Host>>>()?;
        Ok(Lab { hosts, router, queues, _turn: turn })
    }

    /// Builds the hosts `left` and `right` in one network, 10.0.9.0/24, with a bridge of the kernel's between them.
    ///
    /// ```text
    ///   left                        router                        right
    ///   10.0.9.2 wire ───── to-left ═ br0 ═ to-right ───── wire 10.0.9.3
    ///   2001:db8:9::2               10.0.9.1                   2001:db8:9::3
    ///                               2001:db8:9::1
    /// ```
    pub fn bridged(queues: u32) -> Result<Lab> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let router = Namespace::new("router")?;
        router.ip("link add br0 type bridge")?;
        // as docs/operations.md says: LLDP crosses (bit 14: 01-80-c2-00-00-0e), and so does all multicast, as both do with weir
        router.ip("link set br0 type bridge group_fwd_mask 0x4000 mcast_snooping 0")?;
        // and the kernel's bridge does not look into IP packets; without br_netfilter there are no such settings, and it never does
        for table in ["iptables", "ip6tables", "arptables"] {
            let _ = router.sysctl(&format!("net/bridge/bridge-nf-call-{table}"), "0");
        }
        let mut hosts = Vec::new();
        for (name, number) in [("left", 2u8), ("right", 3)] {
            let (namespace, port) = wire(&router, name, queues)?;
            succeed(router.command("ethtool").args(["-K", &port, "rxvlan", "off"]))?;
            router.ip(&format!("link set {port} master br0"))?;
            namespace.ip(&format!("address add 10.0.9.{number}/24 dev {WIRE}"))?;
            namespace.sysctl(&format!("net/ipv6/conf/{WIRE}/disable_ipv6"), "0")?;
            for (place, device) in [(&router, port.as_str()), (&namespace, WIRE)] {
                place.ip(&format!("link set {device} up"))?;
            }
            let (address6, gateway6) = (ip6(9, number), ip6(9, 1));
            namespace.ip(&format!("address add {address6}/64 dev {WIRE} nodad"))?;
            let (address, gateway) = (Ipv4Addr::new(10, 0, 9, number), Ipv4Addr::new(10, 0, 9, 1));
            let mac = mac(&namespace, WIRE)?;
            hosts.push(Host {
                namespace,
                address,
                gateway,
                address6,
                gateway6,
                mac,
                gateway_mac: [0; 6],
                port,
            });
        }
        router.ip("address add 10.0.9.1/24 dev br0")?;
        router.sysctl("net/ipv6/conf/br0/disable_ipv6", "0")?;
        router.ip("link set br0 up")?;
        router.ip("address add 2001:db8:9::1/64 dev br0 nodad")?;
        let gateway_mac = mac(&router, "br0")?;
        hosts.iter_mut().for_each(|host| host.gateway_mac = gateway_mac);
        Ok(Lab { hosts, router, queues, _turn: turn })
    }

    /// Makes a switch of a host of this lab, with a host of each name behind it in the network that was the switch's:
    /// what a tower and its customers are. From 10.0.n.`first` on, one after the other, are their addresses.
    pub fn behind(&self, switch: &Host, first: u8, names: &[&str]) -> Result<Vec<Host>> {
        let inside = &switch.namespace;
        inside.ip(&format!("address flush dev {WIRE}"))?;
        inside.ip("link add br0 type bridge")?;
        inside.ip(&format!("link set {WIRE} master br0"))?;
        inside.ip("link set br0 up")?;
        let [a, b, c, _] = switch.address.octets();
        let gateway = switch.gateway;
        let host = |(name, number): (&&str, u8)| {
            let (namespace, port) = wire(inside, name, self.queues)?;
            inside.ip(&format!("link set {port} master br0"))?;
            inside.ip(&format!("link set {port} up"))?;
            let address = Ipv4Addr::new(a, b, c, number);
            namespace.ip(&format!("address add {address}/24 dev {WIRE}"))?;
            namespace.ip(&format!("link set {WIRE} up"))?;
            namespace.ip(&format!("route add default via {gateway}"))?;
            let (mac, gateway_mac) = (mac(&namespace, WIRE)?, switch.gateway_mac);
            let (address6, gateway6, port) = (ip6(c, number), switch.gateway6, switch.port.clone());
            Ok(Host { namespace, address, gateway, address6, gateway6, mac, gateway_mac, port })
        };
        names.iter().zip(first..).map(host).collect()
    }

    /// Gives the router and all hosts IPv6 beside IPv4; without, no IPv6 packet crosses the lab but a test's own.
    pub fn add_ip6(&self) -> Result<()> {
        let router = &self.router;
        router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        // as of IPv4: flows by their ports, no way by a wire without a carrier, no limit on ICMP errors
        router.sysctl("net/ipv6/fib_multipath_hash_policy", "1")?;
        router.sysctl("net/ipv6/conf/all/ignore_routes_with_linkdown", "1")?;
        router.sysctl("net/ipv6/icmp/ratelimit", "0")?;
        self.hosts.iter().try_for_each(|host| host.add_ip6(router))
    }

    /// Sets the MTU of all wires, on both ends.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        for Host { namespace, port, .. } in &self.hosts {
            namespace.ip(&format!("link set {WIRE} mtu {mtu}"))?;
            self.router.ip(&format!("link set {port} mtu {mtu}"))?;
        }
        Ok(())
    }

    /// The first host.
    pub fn left(&self) -> &Host {
        &self.hosts[0]
    }

    /// The second host.
    pub fn right(&self) -> &Host {
        &self.hosts[1]
    }
}

/// Makes a host, its wire and its default route.
fn host(router: &Namespace, name: &str, number: u8, queues: u32) -> Result<Host> {
    let (namespace, port) = wire(router, name, queues)?;
    let (address, gateway) = (Ipv4Addr::new(10, 0, number, 2), Ipv4Addr::new(10, 0, number, 1));
    for (place, device, local) in [(router, port.as_str(), gateway), (&namespace, WIRE, address)] {
        place.ip(&format!("address add {local}/24 dev {device}"))?;
        place.ip(&format!("link set {device} up"))?;
    }
    namespace.ip(&format!("route add default via {gateway}"))?;
    let (mac, gateway_mac) = (mac(&namespace, WIRE)?, mac(router, &port)?);
    let (address6, gateway6) = (ip6(number, 2), ip6(number, 1));
    Ok(Host { namespace, address, gateway, address6, gateway6, mac, gateway_mac, port })
}

/// A host's IPv6 address in one of the lab's networks.
fn ip6(network: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, network.into(), 0, 0, 0, 0, host.into())
}

/// Makes a namespace with a wire to the router: the router's device is the other thing that is returned.
fn wire(router: &Namespace, name: &str, queues: u32) -> Result<(Namespace, String)> {
    let namespace = Namespace::new(name)?;
    let port = format!("to-{name}");
    let many = format!("numrxqueues {queues} numtxqueues {queues}");
    router.ip(&format!(
        "link add {port} {many} type veth peer name {WIRE} netns {} {many}",
        namespace.name()
    ))?;
    // A sender on a veth leaves its checksums to the hardware, which is not there, and its VLAN tags out of the bytes:
    // what AF_XDP takes from the wire would be broken.
    succeed(namespace.command("ethtool").args(["-K", WIRE, "tx", "off", "rxvlan", "off", "txvlan", "off"]))?;
    Ok((namespace, port))
}

/// The MAC address of a device.
pub fn mac(namespace: &Namespace, device: &str) -> Result<[u8; 6]> {
    let line = namespace.ip(&format!("-oneline link show dev {device}"))?;
    let text = line.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next());
    let bytes: Option<Vec<u8>> =
        text.and_then(|text| text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect());
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .with_context(|| format!("{device} has no MAC address: {line}"))
}
