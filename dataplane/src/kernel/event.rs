//! What the kernel's control plane is made of, in weir's own words.

use std::net::IpAddr;
use std::sync::Arc;

use weir_graph::fib::Prefix;

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
    /// The interface index of the device that it is a part of: a bridge, a bond, a VRF.
    pub master: Option<u32>,
    /// Whether it is a bridge of the kernel's.
    pub bridge: bool,
    /// Whose VLAN it is, if it is one of the kernel's.
    pub vlan: Option<VlanOf>,
}

/// What a VLAN device of the kernel's is on top of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanOf {
    /// The interface index of the device whose frames carry its tag.
    pub parent: u32,
    /// The tag's type: 0x8100, or 0x88a8 (802.1ad).
    pub kind: u16,
    /// The VLAN, 0 to 4094.
    pub id: u16,
}

impl Link {
    /// Whether packets can leave by it.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.up && self.running
    }
}

/// An address of this machine on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The device's interface index.
    pub index: u32,
    /// The machine's own address (not the peer's on a point-to-point device).
    pub address: IpAddr,
    /// Length of the connected prefix in bits.
    pub length: u8,
    /// Whether the machine speaks from it.
    pub standing: Standing,
}

/// Whether a machine speaks from one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It does.
    Primary,
    /// Only if it has no better one. IPv4: another address of the same prefix came before it on the device. IPv6: temporary (RFC 8981)
    /// or deprecated (RFC 4862 §5.5.4).
    Secondary,
    /// IPv6: not before it is known that no other machine has it (RFC 4862 §5.4), which may never be.
    Tentative,
}

/// One way out of a route.
///
/// The kernel's own "dead" and "linkdown" marks are left out on purpose: it sets and clears them without telling. They follow from
/// the state of the link, which it does tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The interface index that packets leave by.
    pub index: u32,
    /// The router to hand them to; none if the destination itself is on the link. One of IPv6 may serve a route of IPv4 (RFC 8950).
    pub gateway: Option<IpAddr>,
    /// Its share among the next hops of the route, 1 to 65536.
    pub weight: u32,
    /// Whether the gateway is to be taken as reachable on the device although no connected prefix covers it.
    pub onlink: bool,
}

/// Why weir cannot follow a route that the kernel can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unsupported {
    /// The gateway is not an IP address (MPLS).
    #[error("its gateway is not an IP address; give it one")]
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

/// A neighbour on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The device's interface index.
    pub index: u32,
    /// Its IP address.
    pub address: IpAddr,
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
    /// An address appeared, or its standing changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// Destinations of IPv4.
    Ip4(Change<u32>),
    /// Destinations of IPv6.
    Ip6(Change<u128>),
    /// A neighbour appeared or changed.
    Neighbour(Neighbour),
    /// The kernel has forgotten a neighbour.
    NeighbourGone {
        /// The device's interface index.
        index: u32,
        /// Its IP address.
        address: IpAddr,
    },
}

/// Where packets to some destinations go has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<A> {
    /// Packets to these destinations are for this machine: its addresses, IPv4's broadcast and IPv6's anycast addresses, and local routes.
    Local(Prefix<A>),
    /// Packets to these destinations are no longer for this machine.
    LocalGone(Prefix<A>),
    /// The best route of this prefix appeared or changed.
    Route {
        /// The destinations.
        prefix: Prefix<A>,
        /// The kernel's preference among routes of this prefix; this one was the lowest.
        metric: u32,
        /// What to do with the packets.
        target: Arc<Target>,
    },
    /// The prefix has no route any more.
    RouteGone(Prefix<A>),
}
