//! rtnetlink messages, decoded into weir's words and encoded from them.
//!
//! Only the attributes that weir acts on are read. What is unknown is passed over, so a later kernel's additions never cost a message;
//! what is too short is treated as absent. Integers are in the machine's byte order, addresses in network order. Layouts:
//! `linux/rtnetlink.h`, `if_link.h`, `if_addr.h`, `neighbour.h`, `nexthop.h`.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{
    NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST, NlaBuffer,
    NlasIterator,
};
use weir_graph::fib::Prefix;
use weir_graph::wire::vlan;

use super::event::{Address, Link, Neighbour, NextHop, Reachability, Standing, Target, Unsupported, VlanOf};
use super::family::Family;

/// `sizeof(struct nlmsghdr)`.
const MESSAGE_HEADER: usize = 16;
/// Message types that belong to netlink itself (`linux/netlink.h`).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

// What libc does not name (`linux/rtnetlink.h`, `linux/nexthop.h`).
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
const RTA_VIA: u16 = 18;
const RTA_PREF: u16 = 20;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
const RTNH_F_ONLINK: u32 = 4;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP: u16 = 8;
const NHA_FDB: u16 = 11;
/// Of IPv6: temporary.
const IFA_F_SECONDARY: u32 = 0x01;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;
const IFA_FLAGS: u16 = 8;
/// In `IFLA_LINKINFO` (`linux/if_link.h`): the name of the device's driver, and what is its own.
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
/// In a VLAN's `IFLA_INFO_DATA` (`linux/if_link.h`).
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
const NTF_PROXY: u8 = 8;

/// From a router's advertisement (`linux/rtnetlink.h`).
const RTPROT_RA: u8 = 9;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = <u32 as Family>::AF;
const AF_INET6: u8 = <u128 as Family>::AF;

// Fixed parts that precede the attributes, in bytes.
const LINK_FIXED: usize = 16; // struct ifinfomsg
const ADDRESS_FIXED: usize = 8; // struct ifaddrmsg
const ROUTE_FIXED: usize = 12; // struct rtmsg
const ROUTE_HOP_FIXED: usize = 8; // struct rtnexthop
const NEIGHBOUR_FIXED: usize = 12; // struct ndmsg
const NEXTHOP_FIXED: usize = 8; // struct nhmsg
const NEXTHOP_MEMBER: usize = 8; // struct nexthop_grp

/// A table that can be read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Links,
    Addresses,
    Nexthops,
    Routes4,
    Routes6,
    Neighbours4,
    Neighbours6,
}

impl Table {
    /// All of them, in an order in which what is referred to comes before what refers to it.
    pub(super) const ALL: [Self; 7] = [
        Self::Links,
        Self::Addresses,
        Self::Nexthops,
        Self::Routes4,
        Self::Routes6,
        Self::Neighbours4,
        Self::Neighbours6,
    ];
}

/// A message of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The sequence number of the request that it answers; 0 on notifications.
    pub(super) sequence: u32,
    /// The kernel's tables changed while it was dumping them.
    pub(super) interrupted: bool,
    pub(super) body: Body,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The end of a dump.
    Done,
    /// A request was refused with this errno; 0 is an acknowledgement.
    Refused(i32),
    Link(Link),
    LinkGone(u32),
    Address(Address),
    AddressGone(Address),
    Ip4(RouteMessage<u32>),
    Ip6(RouteMessage<u128>),
    Nexthop(u32, Nexthop),
    NexthopGone(u32),
    Neighbour(Neighbour),
    NeighbourGone(u32, IpAddr),
    /// Of no interest to weir, or not understood.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum RouteMessage<A> {
    New(Route<A>, Order),
    Gone(Route<A>),
}

/// Where a new route goes among those with the same prefix, type of service and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    First,
    Last,
    /// In the place of the first one.
    Replace,
}

/// A route as the kernel tells it: not yet elected, its next-hop object not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route<A> {
    pub(super) prefix: Prefix<A>,
    pub(super) table: u32,
    /// Not for all packets: for those of one type of service, or from some addresses.
    pub(super) selective: bool,
    pub(super) metric: u32,
    /// Of IPv6 (RFC 4191 §2.1): 0 low, 1 medium, 2 high.
    pub(super) preference: u8,
    /// Perhaps made from a router's advertisement.
    pub(super) advertised: bool,
    /// The next-hop object that decides its next hops; 0 if there is none.
    pub(super) nexthop: u32,
    pub(super) action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// For this machine; `index` is the device that it belongs to. Broadcast destinations go when the device goes down, local ones stay.
    Local {
        index: u32,
        broadcast: bool,
    },
    /// Empty where the message names only a next-hop object.
    Forward(Vec<Hop>),
    To(Target),
}

/// A next hop, and why weir can't send there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) next_hop: NextHop,
    pub(super) unsupported: Option<Unsupported>,
}

/// A next-hop object (`ip nexthop`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Nexthop {
    One(NextHop),
    /// Members by identifier, with their weights.
    Group(Vec<(u32, u32)>),
    Blackhole {
        index: u32,
    },
    Unsupported(Unsupported),
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

/// Four bytes are an address of IPv4, sixteen one of IPv6.
fn ip(bytes: &[u8]) -> Option<IpAddr> {
    u32::of_bytes(bytes).map(Family::ip).or_else(|| u128::of_bytes(bytes).map(Family::ip))
}

fn attributes(bytes: &[u8], fixed: usize) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes.get(fixed..).unwrap_or_default()).map_while(Result::ok)
}

/// The messages of one datagram. Ends at the first header that cannot be.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32_at(rest, 0)? as usize;
        let body = rest.get(MESSAGE_HEADER..length)?;
        let (kind, flags, sequence) = (u16_at(rest, 4)?, u16_at(rest, 6)?, u32_at(rest, 8)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            sequence,
            interrupted: flags & NLM_F_DUMP_INTR != 0,
            body: decode(kind, flags, body).unwrap_or(Body::Other),
        })
    })
}

/// None: too short to mean anything.
fn decode(kind: u16, flags: u16, body: &[u8]) -> Option<Body> {
    Some(match kind {
        // Ends with a negative errno if the dump failed on its way.
        NLMSG_DONE => match u32_at(body, 0).map_or(0, u32::cast_signed) {
            errno @ ..0 => Body::Refused(errno.wrapping_neg()),
            _ => Body::Done,
        },
        NLMSG_ERROR => Body::Refused(u32_at(body, 0)?.cast_signed().wrapping_neg()),
        libc::RTM_NEWLINK => link(body)?,
        libc::RTM_DELLINK => match link(body)? {
            Body::Link(link) => Body::LinkGone(link.index),
            other => other,
        },
        libc::RTM_NEWADDR => Body::Address(address(body)?),
        libc::RTM_DELADDR => Body::AddressGone(address(body)?),
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE if *body.first()? == AF_INET6 => {
            Body::Ip6(route_message(kind, flags, body)?)
        }
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => Body::Ip4(route_message(kind, flags, body)?),
        RTM_NEWNEXTHOP => nexthop(body)?,
        RTM_DELNEXTHOP => match nexthop(body)? {
            Body::Nexthop(id, _) => Body::NexthopGone(id),
            other => other,
        },
        libc::RTM_NEWNEIGH => Body::Neighbour(neighbour(body)?),
        libc::RTM_DELNEIGH => {
            let gone = neighbour(body)?;
            Body::NeighbourGone(gone.index, gone.address)
        }
        _ => Body::Other,
    })
}

fn link(body: &[u8]) -> Option<Body> {
    // A bridge reports its ports under its own family: leaving a bridge is not the end of a device.
    if *body.first()? != AF_UNSPEC {
        return None;
    }
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags & libc::IFF_UP.cast_unsigned() != 0,
        running: flags & libc::IFF_RUNNING.cast_unsigned() != 0,
        rx_queues: 1,
        master: None,
        bridge: false,
        vlan: None,
    };
    let (mut parent, mut tag) = (None, None);
    for attribute in attributes(body, LINK_FIXED) {
        let value = attribute.value();
        match attribute.kind() {
            libc::IFLA_IFNAME => {
                link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
            }
            libc::IFLA_ADDRESS => link.mac = value.try_into().ok(),
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_MASTER => link.master = u32_at(value, 0),
            libc::IFLA_LINKINFO => {
                let (mut of_vlan, mut own) = (false, None);
                for nested in attributes(value, 0) {
                    match nested.kind() {
                        IFLA_INFO_KIND => {
                            link.bridge = nested.value().starts_with(b"bridge\0");
                            of_vlan = nested.value().starts_with(b"vlan\0");
                        }
                        IFLA_INFO_DATA => own = vlan_tag(nested.value()),
                        _ => {}
                    }
                }
                tag = own.filter(|_| of_vlan);
            }
            libc::IFLA_LINK => parent = u32_at(value, 0),
            libc::IFLA_NUM_RX_QUEUES => link.rx_queues = u32_at(value, 0)?,
            _ => {}
        }
    }
    link.vlan = parent.zip(tag).map(|(parent, (kind, id))| VlanOf { parent, kind, id });
    Some(Body::Link(link))
}

/// Type and number of the tag that a VLAN device's own attributes tell.
fn vlan_tag(data: &[u8]) -> Option<(u16, u16)> {
    let (mut kind, mut id) = (vlan::TAG, None);
    for attribute in attributes(data, 0) {
        match attribute.kind() {
            IFLA_VLAN_ID => id = u16_at(attribute.value(), 0),
            IFLA_VLAN_PROTOCOL => kind = u16::from_be(u16_at(attribute.value(), 0)?),
            _ => {}
        }
    }
    Some((kind, id?))
}

fn address(body: &[u8]) -> Option<Address> {
    let [family, length, flags, ..] = *body else { return None };
    let mut flags = u32::from(flags);
    let (mut local, mut peer) = (None, None);
    for attribute in attributes(body, ADDRESS_FIXED) {
        match attribute.kind() {
            libc::IFA_LOCAL => local = ip(attribute.value()),
            libc::IFA_ADDRESS => peer = ip(attribute.value()),
            IFA_FLAGS => flags = u32_at(attribute.value(), 0)?,
            _ => {}
        }
    }
    let address = local.or(peer)?;
    // The other flags mean nothing of IPv4.
    let (standing, bits) = match address {
        IpAddr::V4(_) if family != AF_INET => return None,
        IpAddr::V6(_) if family != AF_INET6 => return None,
        IpAddr::V6(_) if flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) != 0 => (Standing::Tentative, 128),
        IpAddr::V6(_) if flags & (IFA_F_SECONDARY | IFA_F_DEPRECATED) != 0 => (Standing::Secondary, 128),
        IpAddr::V4(_) if flags & IFA_F_SECONDARY != 0 => (Standing::Secondary, 32),
        IpAddr::V4(_) => (Standing::Primary, 32),
        IpAddr::V6(_) => (Standing::Primary, 128),
    };
    Some(Address { index: u32_at(body, 4)?, address, length: length.min(bits), standing })
}

/// The next hop's attributes stand in the route itself or in each element of its multipath list.
impl Hop {
    fn new(index: u32, weight: u32, flags: u32) -> Self {
        let next_hop = NextHop { index, gateway: None, weight, onlink: flags & RTNH_F_ONLINK != 0 };
        Self { next_hop, unsupported: None }
    }

    fn read(&mut self, attribute: &NlaBuffer<&[u8]>) {
        let value = attribute.value();
        match attribute.kind() {
            libc::RTA_GATEWAY => self.next_hop.gateway = ip(value),
            // `struct rtvia`: the version, then the address.
            RTA_VIA => match (u16_at(value, 0).map(i32::from), value.get(2..).and_then(ip)) {
                (Some(libc::AF_INET | libc::AF_INET6), Some(gateway)) => {
                    self.next_hop.gateway = Some(gateway);
                }
                _ => self.unsupported = Some(Unsupported::ForeignGateway),
            },
            RTA_ENCAP => self.unsupported = Some(Unsupported::Encapsulation),
            _ => {}
        }
    }
}

fn route_message<A: Family>(kind: u16, flags: u16, body: &[u8]) -> Option<RouteMessage<A>> {
    let route = route(body)?;
    Some(match kind {
        libc::RTM_DELROUTE => RouteMessage::Gone(route),
        _ if flags & NLM_F_REPLACE != 0 => RouteMessage::New(route, Order::Replace),
        // A dump lists routes in order of preference and sets neither flag.
        _ if flags & NLM_F_APPEND != 0 || flags & NLM_F_CREATE == 0 => RouteMessage::New(route, Order::Last),
        _ => RouteMessage::New(route, Order::First),
    })
}

fn route<A: Family>(body: &[u8]) -> Option<Route<A>> {
    let [family, length, source_length, tos, table, protocol, _, kind, ..] = *body else { return None };
    let flags = u32_at(body, 8)?;
    // Cloned: a cached exception (path MTU, redirect), not a route.
    if family != A::AF || flags & libc::RTM_F_CLONED != 0 {
        return None;
    }
    let mut destination = A::default();
    let (mut table, mut metric, mut nexthop, mut preference) = (u32::from(table), 0, 0, 1);
    let mut single = Hop::new(0, 1, flags);
    let mut hops = Vec::new();
    for attribute in attributes(body, ROUTE_FIXED) {
        let value = attribute.value();
        match attribute.kind() {
            libc::RTA_DST => destination = A::of_bytes(value)?,
            libc::RTA_TABLE => table = u32_at(value, 0)?,
            libc::RTA_PRIORITY => metric = u32_at(value, 0)?,
            libc::RTA_OIF => single.next_hop.index = u32_at(value, 0)?,
            RTA_NH_ID => nexthop = u32_at(value, 0)?,
            libc::RTA_MULTIPATH => multipath(value, &mut hops),
            // RFC 4191 §2.1: 01 high, 00 medium, 11 low.
            RTA_PREF => preference = [1, 2, 1, 0][usize::from(*value.first()? & 3)],
            _ => single.read(&attribute),
        }
    }
    if hops.is_empty() && single.next_hop.index != 0 {
        hops.push(single);
    }
    let action = match kind {
        libc::RTN_LOCAL | libc::RTN_BROADCAST | libc::RTN_ANYCAST => {
            Action::Local { index: single.next_hop.index, broadcast: kind == libc::RTN_BROADCAST }
        }
        libc::RTN_UNICAST => match single.unsupported {
            Some(why) if hops.is_empty() => Action::To(Target::Unsupported(why)),
            _ => Action::Forward(hops),
        },
        libc::RTN_BLACKHOLE => Action::To(Target::Blackhole),
        libc::RTN_PROHIBIT => Action::To(Target::Prohibit),
        libc::RTN_UNREACHABLE | libc::RTN_THROW => Action::To(Target::Unreachable),
        _ => Action::To(Target::Unsupported(Unsupported::Type)),
    };
    Some(Route {
        prefix: Prefix::containing(destination, length).ok()?,
        table,
        selective: tos != 0 || source_length != 0,
        metric,
        preference,
        advertised: protocol == RTPROT_RA,
        nexthop,
        action,
    })
}

/// Reads `struct rtnexthop` after `struct rtnexthop`.
fn multipath(mut rest: &[u8], hops: &mut Vec<Hop>) {
    while let Some(length) = u16_at(rest, 0).map(usize::from) {
        let (Some(one), [_, _, flags, weight_less_one, ..], Some(index)) =
            (rest.get(..length), rest, u32_at(rest, 4))
        else {
            break;
        };
        if length < ROUTE_HOP_FIXED {
            break;
        }
        let mut hop = Hop::new(index, u32::from(*weight_less_one) + 1, u32::from(*flags));
        for attribute in attributes(one, ROUTE_HOP_FIXED) {
            hop.read(&attribute);
        }
        hops.push(hop);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn nexthop(body: &[u8]) -> Option<Body> {
    let mut id = 0;
    let mut hop = Hop::new(0, 1, u32_at(body, 4)?);
    let (mut members, mut blackhole, mut bridge) = (None, false, false);
    for attribute in attributes(body, NEXTHOP_FIXED) {
        let value = attribute.value();
        match attribute.kind() {
            NHA_ID => id = u32_at(value, 0)?,
            NHA_GROUP => members = Some(value.chunks_exact(NEXTHOP_MEMBER).filter_map(member).collect()),
            NHA_BLACKHOLE => blackhole = true,
            NHA_OIF => hop.next_hop.index = u32_at(value, 0)?,
            NHA_GATEWAY => hop.next_hop.gateway = ip(value),
            NHA_ENCAP => hop.unsupported = Some(Unsupported::Encapsulation),
            NHA_FDB => bridge = true,
            _ => {}
        }
    }
    // Objects for bridge tables serve no route.
    if id == 0 || bridge {
        return None;
    }
    Some(Body::Nexthop(
        id,
        match (members, hop.unsupported) {
            (Some(members), _) => Nexthop::Group(members),
            (None, _) if blackhole => Nexthop::Blackhole { index: hop.next_hop.index },
            (None, Some(unsupported)) => Nexthop::Unsupported(unsupported),
            (None, None) => Nexthop::One(hop.next_hop),
        },
    ))
}

/// Reads `struct nexthop_grp`: identifier, weight less one (low byte), its high byte (Linux 6.12 on; zero before).
fn member(bytes: &[u8]) -> Option<(u32, u32)> {
    let weight_less_one = u32::from(*bytes.get(4)?) | u32::from(*bytes.get(5)?) << 8;
    Some((u32_at(bytes, 0)?, weight_less_one + 1))
}

fn neighbour(body: &[u8]) -> Option<Neighbour> {
    let (family, flags) = (*body.first()?, *body.get(10)?);
    if !matches!(family, AF_INET | AF_INET6) || flags & NTF_PROXY != 0 {
        return None;
    }
    let reachability = match u16_at(body, 8)? {
        libc::NUD_INCOMPLETE => Reachability::Incomplete,
        libc::NUD_REACHABLE => Reachability::Reachable,
        libc::NUD_STALE => Reachability::Stale,
        libc::NUD_DELAY => Reachability::Delay,
        libc::NUD_PROBE => Reachability::Probe,
        libc::NUD_FAILED => Reachability::Failed,
        libc::NUD_NOARP => Reachability::NoArp,
        libc::NUD_PERMANENT => Reachability::Permanent,
        _ => Reachability::Unknown,
    };
    let (mut address, mut mac) = (None, None);
    for attribute in attributes(body, NEIGHBOUR_FIXED) {
        match attribute.kind() {
            libc::NDA_DST => address = ip(attribute.value()),
            libc::NDA_LLADDR => mac = attribute.value().try_into().ok(),
            _ => {}
        }
    }
    // Multicast and broadcast entries are the kernel's shortcuts, not neighbours.
    let address = address.filter(|it| !it.is_multicast() && *it != IpAddr::V4(Ipv4Addr::BROADCAST))?;
    Some(Neighbour { index: u32_at(body, 4)?, address, reachability, mac })
}

fn request(kind: u16, flags: u16, sequence: u32, fixed: &[u8], attributes: &[u8]) -> Vec<u8> {
    let length = MESSAGE_HEADER + fixed.len() + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    // Three requests exist, none of them above 100 bytes.
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(fixed);
    bytes.extend_from_slice(attributes);
    bytes
}

/// The request for all of `table`.
pub(super) fn dump(table: Table, sequence: u32) -> Vec<u8> {
    let (kind, family, fixed) = match table {
        Table::Links => (libc::RTM_GETLINK, AF_UNSPEC, LINK_FIXED),
        // Of all families: IPv4 and IPv6 in one go.
        Table::Addresses => (libc::RTM_GETADDR, AF_UNSPEC, ADDRESS_FIXED),
        Table::Nexthops => (RTM_GETNEXTHOP, AF_UNSPEC, NEXTHOP_FIXED),
        Table::Routes4 => (libc::RTM_GETROUTE, AF_INET, ROUTE_FIXED),
        Table::Routes6 => (libc::RTM_GETROUTE, AF_INET6, ROUTE_FIXED),
        Table::Neighbours4 => (libc::RTM_GETNEIGH, AF_INET, NEIGHBOUR_FIXED),
        Table::Neighbours6 => (libc::RTM_GETNEIGH, AF_INET6, NEIGHBOUR_FIXED),
    };
    let mut header = vec![0; fixed];
    header[0] = family;
    request(kind, NLM_F_DUMP, sequence, &header, &[])
}

/// The request to treat a neighbour as used: the kernel resolves it if it is unknown or failed, and confirms it if it is stale.
pub(super) fn use_neighbour(index: u32, address: IpAddr, sequence: u32) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let mut header = [0; NEIGHBOUR_FIXED];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[10] = libc::NTF_USE;
    // One attribute: length, type, address.
    let length = if family == AF_INET { 8u16 } else { 20 };
    let destination = [&length.to_ne_bytes()[..], &libc::NDA_DST.to_ne_bytes(), &octets].concat();
    request(libc::RTM_NEWNEIGH, NLM_F_CREATE, sequence, &header, &destination)
}

#[cfg(test)]
mod tests;
