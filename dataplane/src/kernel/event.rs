//! What the kernel's control plane is made of, in weir's own words.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// An IPv4 prefix. The host bits of `address` are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The network address.
    pub address: Ipv4Addr,
    /// Significant leading bits, 0 to 32.
    pub length: u8,
}

impl Prefix {
    /// The prefix of `length` bits that `address` lies in; a length above 32 counts as 32.
    #[must_use]
    pub fn containing(address: Ipv4Addr, length: u8) -> Self {
        let length = length.min(32);
        Self { address: Ipv4Addr::from_bits(address.to_bits() & mask(length)), length }
    }

    /// The prefix of this one address.
    #[must_use]
    pub const fn host(address: Ipv4Addr) -> Self {
        Self { address, length: 32 }
    }

    /// Whether `address` lies in the prefix.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & mask(self.length) == 0
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0)
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's interface index, unique in the network namespace while the device lives.
    pub index: u32,
    /// Its name now; a device can be renamed.
    pub name: String,
    /// Its Ethernet address; none on devices that have no address of six bytes (tunnels).
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet that leaves by it, in bytes.
    pub mtu: u32,
    /// Whether the operator has set it up.
    pub up: bool,
    /// Whether it has carrier and can pass packets.
    pub running: bool,
    /// The receive queues that it was made with: an upper bound of the queues in use.
    pub rx_queues: u32,
}

impl Link {
    /// Whether packets can leave by it.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.up && self.running
    }
}

/// An IPv4 address of this machine on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The device's interface index.
    pub index: u32,
    /// The machine's own address (not the peer's on a point-to-point device).
    pub address: Ipv4Addr,
    /// Length of the connected prefix in bits.
    pub length: u8,
    /// Whether another address of the same prefix came before it on the device: the kernel prefers that one as a source.
    pub secondary: bool,
}

/// One way out of a route.
///
/// The kernel's own "dead" and "linkdown" marks are left out on purpose: it sets and clears them without telling. They follow from
/// the state of the link, which it does tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The interface index that packets leave by.
    pub index: u32,
    /// The router to hand them to; none if the destination itself is on the link.
    pub gateway: Option<Ipv4Addr>,
    /// Its share among the next hops of the route, 1 to 65536.
    pub weight: u32,
    /// Whether the gateway is to be taken as reachable on the device although no connected prefix covers it.
    pub onlink: bool,
}

/// Why weir cannot follow a route that the kernel can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unsupported {
    /// The gateway is not an IPv4 address (RFC 5549 routes).
    #[error("its gateway is not an IPv4 address; give it an IPv4 gateway")]
    ForeignGateway,
    /// The route encapsulates (MPLS, tunnel and segment-routing routes).
    #[error("it encapsulates packets, which weir does not do")]
    Encapsulation,
    /// A route type that has no meaning for forwarding in user space.
    #[error("its type is not unicast, blackhole, unreachable, prohibit or throw")]
    Type,
}

/// What a route does with its packets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Send them on by one of these. Empty while the kernel's next-hop object is not known yet: nothing can be sent.
    Forward(Vec<NextHop>),
    /// Drop them silently.
    Blackhole,
    /// Drop them with "host unreachable". A throw route of the main table is one too: the table behind it has no say in weir.
    Unreachable,
    /// Drop them with "administratively prohibited".
    Prohibit,
    /// weir cannot do what the route asks; to be handled as unreachable, and said to the operator.
    Unsupported(Unsupported),
}

/// What the kernel knows of a neighbour's presence (its NUD states).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reachability {
    /// Asked for, no answer yet.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Known, but not confirmed for a while: the kernel does nothing until it is used.
    Stale,
    /// Used while stale; a probe follows in a few seconds unless something confirms it.
    Delay,
    /// Being probed.
    Probe,
    /// Asked for without an answer.
    Failed,
    /// Never needs resolving.
    NoArp,
    /// Set by the operator.
    Permanent,
    /// Just made, or in a state of a later kernel.
    Unknown,
}

impl Reachability {
    /// Whether packets may be sent to the MAC address of a neighbour in this state.
    #[must_use]
    pub fn valid(self) -> bool {
        matches!(
            self,
            Self::Reachable | Self::Stale | Self::Delay | Self::Probe | Self::NoArp | Self::Permanent
        )
    }
}

/// An IPv4 neighbour on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The device's interface index.
    pub index: u32,
    /// Its IP address.
    pub address: Ipv4Addr,
    /// What the kernel knows of its presence.
    pub reachability: Reachability,
    /// Its Ethernet address, if known.
    pub mac: Option<[u8; 6]>,
}

/// A change of the kernel's control plane.
///
/// Events are differences of one consistent picture: something is only ever gone if it was reported, and reported again only if it
/// changed, also when notifications were lost and the tables had to be read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A device appeared or changed.
    Link(Link),
    /// The device with this index is gone, and with it its addresses and neighbours.
    LinkGone(u32),
    /// An address appeared, or its `secondary` mark changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// Packets to these destinations are for this machine: its addresses, broadcast addresses, and local routes.
    LocalAddress(Prefix),
    /// Packets to these destinations are no longer for this machine.
    LocalAddressGone(Prefix),
    /// The best route of this prefix appeared or changed.
    Route {
        /// The destinations.
        prefix: Prefix,
        /// The kernel's preference among routes of this prefix; this one was the lowest.
        metric: u32,
        /// What to do with the packets.
        target: Arc<Target>,
    },
    /// The prefix has no route any more.
    RouteGone(Prefix),
    /// A neighbour appeared or changed.
    Neighbour(Neighbour),
    /// The kernel has forgotten a neighbour.
    NeighbourGone {
        /// The device's interface index.
        index: u32,
        /// Its IP address.
        address: Ipv4Addr,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_bounds() {
        let all = Prefix::containing(Ipv4Addr::new(10, 1, 2, 3), 0);
        assert_eq!(all.to_string(), "0.0.0.0/0");
        assert!(all.contains(Ipv4Addr::BROADCAST));
        let net = Prefix::containing(Ipv4Addr::new(10, 1, 2, 3), 23);
        assert_eq!(net.to_string(), "10.1.2.0/23");
        assert!(net.contains(Ipv4Addr::new(10, 1, 3, 255)));
        assert!(!net.contains(Ipv4Addr::new(10, 1, 4, 0)));
        assert_eq!(
            Prefix::containing(Ipv4Addr::LOCALHOST, 200),
            Prefix::host(Ipv4Addr::LOCALHOST),
            "a length that cannot be is the longest that can"
        );
    }
}
