//! rtnetlink messages, decoded into weir's words and encoded from them.
//!
//! Only the attributes that weir acts on are read. What is unknown is passed over, so a later kernel's additions never cost a message;
//! what is too short is treated as absent. Integers are in the machine's byte order, addresses in network order. Layouts:
//! `linux/rtnetlink.h`, `if_link.h`, `if_addr.h`, `neighbour.h`, `nexthop.h`.

use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST, NlaBuffer,
    NlasIterator,
};
use weir_graph::fib::Prefix4;

use super::event::{Address, Address6, Link, Neighbour, NextHop, Reachability, Target, Unsupported};

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
const IFA_F_SECONDARY: u32 = 1;
const IFA_FLAGS: u16 = 8;
/// In `IFLA_LINKINFO` (`linux/if_link.h`): the name of the device's driver.
const IFLA_INFO_KIND: u16 = 1;
const NTF_PROXY: u8 = 8;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

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
    Routes,
    Neighbours,
}

impl Table {
    /// All of them, in an order in which what is referred to comes before what refers to it.
    pub(super) const ALL: [Self; 5] =
        [Self::Links, Self::Addresses, Self::Nexthops, Self::Routes, Self::Neighbours];
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
    Address6(Address6),
    Address6Gone(Address6),
    Route {
        route: Route,
        order: Order,
    },
    RouteGone(Route),
    Nexthop(u32, Nexthop),
    NexthopGone(u32),
    Neighbour(Neighbour),
    NeighbourGone(u32, Ipv4Addr),
    /// Of no interest to weir, or not understood.
    Other,
}

/// Where a new route goes among those with the same prefix, type of service and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    First,
    Last,
    /// In the place of the first one.
    Replace,
}

/// One route as the kernel holds it: not yet elected, its next-hop object not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) prefix: Prefix4,
    pub(super) table: u32,
    pub(super) tos: u8,
    pub(super) metric: u32,
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
    To(Target),
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

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
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
        libc::RTM_NEWADDR if *body.first()? == AF_INET6 => Body::Address6(address6(body)?),
        libc::RTM_DELADDR if *body.first()? == AF_INET6 => Body::Address6Gone(address6(body)?),
        libc::RTM_NEWADDR => Body::Address(address(body)?),
        libc::RTM_DELADDR => Body::AddressGone(address(body)?),
        libc::RTM_NEWROUTE => {
            let order = if flags & NLM_F_REPLACE != 0 {
                Order::Replace
            } else if flags & NLM_F_APPEND != 0 || flags & NLM_F_CREATE == 0 {
                // A dump lists routes in order of preference and sets neither flag.
                Order::Last
            } else {
                Order::First
            };
            Body::Route { route: route(body)?, order }
        }
        libc::RTM_DELROUTE => Body::RouteGone(route(body)?),
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
    };
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
                let mut kinds = attributes(value, 0).filter(|nested| nested.kind() == IFLA_INFO_KIND);
                link.bridge = kinds.any(|kind| kind.value().starts_with(b"bridge\0"));
            }
            libc::IFLA_NUM_RX_QUEUES => link.rx_queues = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(Body::Link(link))
}

fn address(body: &[u8]) -> Option<Address> {
    if *body.first()? != AF_INET {
        return None;
    }
    let mut flags = u32::from(*body.get(2)?);
    let (mut local, mut peer) = (None, None);
    for attribute in attributes(body, ADDRESS_FIXED) {
        match attribute.kind() {
            libc::IFA_LOCAL => local = ipv4(attribute.value()),
            libc::IFA_ADDRESS => peer = ipv4(attribute.value()),
            IFA_FLAGS => flags = u32_at(attribute.value(), 0)?,
            _ => {}
        }
    }
    Some(Address {
        index: u32_at(body, 4)?,
        address: local.or(peer)?,
        length: (*body.get(1)?).min(32),
        secondary: flags & IFA_F_SECONDARY != 0,
    })
}

fn address6(body: &[u8]) -> Option<Address6> {
    let (mut local, mut peer) = (None, None);
    for attribute in attributes(body, ADDRESS_FIXED) {
        let address = attribute.value().try_into().ok().map(|octets: [u8; 16]| Ipv6Addr::from(octets));
        match attribute.kind() {
            libc::IFA_LOCAL => local = address,
            libc::IFA_ADDRESS => peer = address,
            _ => {}
        }
    }
    Some(Address6 { index: u32_at(body, 4)?, address: local.or(peer)? })
}

/// The next hop's attributes, which stand in the route itself or in each element of its multipath list.
struct Hop {
    next_hop: NextHop,
    unsupported: Option<Unsupported>,
}

impl Hop {
    fn new(index: u32, weight: u32, flags: u32) -> Self {
        let next_hop = NextHop { index, gateway: None, weight, onlink: flags & RTNH_F_ONLINK != 0 };
        Self { next_hop, unsupported: None }
    }

    fn read(&mut self, attribute: &NlaBuffer<&[u8]>) {
        match attribute.kind() {
            libc::RTA_GATEWAY => self.next_hop.gateway = ipv4(attribute.value()),
            RTA_VIA => self.unsupported = Some(Unsupported::ForeignGateway),
            RTA_ENCAP => self.unsupported = Some(Unsupported::Encapsulation),
            _ => {}
        }
    }
}

fn route(body: &[u8]) -> Option<Route> {
    let [family, length, _, tos, table, _, _, kind, ..] = *body else { return None };
    let flags = u32_at(body, 8)?;
    // Cloned: a cached exception (path MTU, redirect), not a route.
    if family != AF_INET || flags & libc::RTM_F_CLONED != 0 {
        return None;
    }
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let (mut table, mut metric, mut nexthop) = (u32::from(table), 0, 0);
    let mut single = Hop::new(0, 1, flags);
    let mut hops = Vec::new();
    let mut unsupported = None;
    for attribute in attributes(body, ROUTE_FIXED) {
        let value = attribute.value();
        match attribute.kind() {
            libc::RTA_DST => destination = ipv4(value)?,
            libc::RTA_TABLE => table = u32_at(value, 0)?,
            libc::RTA_PRIORITY => metric = u32_at(value, 0)?,
            libc::RTA_OIF => single.next_hop.index = u32_at(value, 0)?,
            RTA_NH_ID => nexthop = u32_at(value, 0)?,
            libc::RTA_MULTIPATH => unsupported = multipath(value, &mut hops),
            _ => single.read(&attribute),
        }
    }
    unsupported = unsupported.or(single.unsupported);
    if hops.is_empty() && single.next_hop.index != 0 {
        hops.push(single.next_hop);
    }
    let action = match kind {
        libc::RTN_LOCAL | libc::RTN_BROADCAST | libc::RTN_ANYCAST => {
            Action::Local { index: single.next_hop.index, broadcast: kind == libc::RTN_BROADCAST }
        }
        libc::RTN_UNICAST => {
            Action::To(unsupported.map_or_else(|| Target::Forward(hops), Target::Unsupported))
        }
        libc::RTN_BLACKHOLE => Action::To(Target::Blackhole),
        libc::RTN_PROHIBIT => Action::To(Target::Prohibit),
        libc::RTN_UNREACHABLE | libc::RTN_THROW => Action::To(Target::Unreachable),
        _ => Action::To(Target::Unsupported(Unsupported::Type)),
    };
    let prefix = Prefix4::containing(destination.to_bits(), length).ok()?;
    Some(Route { prefix, table, tos, metric, nexthop, action })
}

/// Reads `struct rtnexthop` after `struct rtnexthop`.
fn multipath(mut rest: &[u8], hops: &mut Vec<NextHop>) -> Option<Unsupported> {
    let mut unsupported = None;
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
        unsupported = unsupported.or(hop.unsupported);
        hops.push(hop.next_hop);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    unsupported
}

fn nexthop(body: &[u8]) -> Option<Body> {
    let family = *body.first()?;
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
            NHA_GATEWAY if family == AF_INET => hop.next_hop.gateway = ipv4(value),
            NHA_GATEWAY => hop.unsupported = Some(Unsupported::ForeignGateway),
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
    if family != AF_INET || flags & NTF_PROXY != 0 {
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
            libc::NDA_DST => address = ipv4(attribute.value()),
            libc::NDA_LLADDR => mac = attribute.value().try_into().ok(),
            _ => {}
        }
    }
    // Multicast and broadcast entries are the kernel's shortcuts, not neighbours.
    let address = address.filter(|address| !address.is_multicast() && !address.is_broadcast())?;
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
        Table::Routes => (libc::RTM_GETROUTE, AF_INET, ROUTE_FIXED),
        Table::Neighbours => (libc::RTM_GETNEIGH, AF_INET, NEIGHBOUR_FIXED),
    };
    let mut header = vec![0; fixed];
    header[0] = family;
    request(kind, NLM_F_DUMP, sequence, &header, &[])
}

/// The request to treat a neighbour as used: the kernel resolves it if it is unknown or failed, and confirms it if it is stale.
pub(super) fn use_neighbour(index: u32, address: Ipv4Addr, sequence: u32) -> Vec<u8> {
    let mut header = [0; NEIGHBOUR_FIXED];
    header[0] = AF_INET;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[10] = libc::NTF_USE;
    let mut destination = [0; 8]; // one attribute: length, type, four bytes
    destination[..2].copy_from_slice(&8u16.to_ne_bytes());
    destination[2..4].copy_from_slice(&libc::NDA_DST.to_ne_bytes());
    destination[4..].copy_from_slice(&address.octets());
    request(libc::RTM_NEWNEIGH, NLM_F_CREATE, sequence, &header, &destination)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn route_message(kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let fixed = [AF_INET, 16, 0, 0, 254, 3, 0, kind, 0, 0, 0, 0];
        request(libc::RTM_NEWROUTE, NLM_F_CREATE, 9, &fixed, &attributes.concat())
    }

    fn only(datagram: &[u8]) -> Body {
        let mut all = messages(datagram);
        let first = all.next().unwrap().body;
        assert!(all.next().is_none());
        first
    }

    fn multipath_route() -> Vec<u8> {
        let gateway = attribute(libc::RTA_GATEWAY, &[10, 0, 0, 2]);
        let mut hops = vec![16, 0, 4, 2, 7, 0, 0, 0];
        hops.extend(gateway);
        hops.extend([8, 0, 0, 255, 8, 0, 0, 0]);
        route_message(
            libc::RTN_UNICAST,
            &[attribute(libc::RTA_DST, &[10, 1, 0, 0]), attribute(libc::RTA_MULTIPATH, &hops)],
        )
    }

    #[test]
    fn multipath_with_and_without_gateway() {
        let Body::Route { route, order } = only(&multipath_route()) else { panic!() };
        assert_eq!(order, Order::First);
        assert_eq!(route.prefix.to_string(), "10.1.0.0/16");
        let gateway = Some(Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(
            route.action,
            Action::To(Target::Forward(vec![
                NextHop { index: 7, gateway, weight: 3, onlink: true },
                NextHop { index: 8, gateway: None, weight: 256, onlink: false },
            ]))
        );
    }

    #[test]
    fn what_weir_cannot_do_is_named() {
        let message = route_message(libc::RTN_UNICAST, &[attribute(RTA_ENCAP, &[0; 4])]);
        let Body::Route { route, .. } = only(&message) else { panic!() };
        assert_eq!(route.action, Action::To(Target::Unsupported(Unsupported::Encapsulation)));
        let message = route_message(10, &[]);
        let Body::Route { route, .. } = only(&message) else { panic!() };
        assert_eq!(route.action, Action::To(Target::Unsupported(Unsupported::Type)));
    }

    #[test]
    fn a_dump_that_failed_is_not_one_that_ended() {
        let done = |code: i32| request(NLMSG_DONE, 0, 1, &code.to_ne_bytes(), &[]);
        assert_eq!(only(&done(0)), Body::Done);
        assert_eq!(only(&done(-95)), Body::Refused(95));
        assert_eq!(only(&request(NLMSG_DONE, 0, 1, &[], &[])), Body::Done);
        assert_eq!(only(&request(NLMSG_ERROR, 0, 1, &(-19i32).to_ne_bytes(), &[])), Body::Refused(19));
    }

    #[test]
    fn weights_of_group_members_have_two_bytes() {
        assert_eq!(member(&[5, 0, 0, 0, 255, 0, 0, 0]), Some((5, 256)));
        assert_eq!(member(&[5, 0, 0, 0, 255, 255, 0, 0]), Some((5, 65536)));
    }

    proptest! {
        /// Whatever the kernel may send, damaged or of another layout: no panic, and as many messages as there are headers at most.
        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u16..120, cut in 0usize..200) {
            if bytes.len() >= 16 {
                let length = u32::try_from(bytes.len().min(cut.max(16))).unwrap();
                bytes[..4].copy_from_slice(&length.to_ne_bytes());
                bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
                if let Some(family) = bytes.get_mut(16) {
                    *family = [0, 2, 10, 7][usize::from(*family) % 4];
                }
            }
            prop_assert!(messages(&bytes).count() <= bytes.len() / MESSAGE_HEADER);
        }

        /// A route with some bytes changed.
        #[test]
        fn a_damaged_route(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4)) {
            let mut message = multipath_route();
            for (at, value) in changes {
                let at = at.index(message.len());
                message[at] = value;
            }
            prop_assert!(messages(&message).count() <= message.len() / MESSAGE_HEADER);
        }
    }
}
