//! The two versions of IP, where the kernel's messages and weir's words differ.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_graph::fib::{Address, Prefix, Prefix4, Prefix6};

use super::event::{Change, Event};

/// A version of IP, by the number that its addresses are.
pub(crate) trait Family: Address {
    /// The kernel's number of it.
    const AF: u8;
    /// Its EtherType (IEEE 802 numbers), in network byte order.
    const ETHER_TYPE: [u8; 2];

    /// From a message: in network byte order.
    fn of_bytes(bytes: &[u8]) -> Option<Self>;

    /// None: of the other version.
    fn of_ip(address: IpAddr) -> Option<Self>;

    /// The address, with its version.
    fn ip(self) -> IpAddr;

    /// Whether routes lead there at all; what is local may be anywhere.
    fn routable(prefix: Prefix<Self>) -> bool;

    /// The change with its version.
    fn event(change: Change<Self>) -> Event;
}

impl Family for u32 {
    const AF: u8 = libc::AF_INET as u8;
    const ETHER_TYPE: [u8; 2] = [0x08, 0x00];

    fn of_bytes(bytes: &[u8]) -> Option<u32> {
        bytes.try_into().ok().map(u32::from_be_bytes)
    }

    fn of_ip(address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(address) => Some(address.to_bits()),
            IpAddr::V6(_) => None,
        }
    }

    fn ip(self) -> IpAddr {
        Ipv4Addr::from_bits(self).into()
    }

    fn routable(_: Prefix4) -> bool {
        true
    }

    fn event(change: Change<u32>) -> Event {
        Event::Ip4(change)
    }
}

impl Family for u128 {
    const AF: u8 = libc::AF_INET6 as u8;
    const ETHER_TYPE: [u8; 2] = [0x86, 0xdd];

    fn of_bytes(bytes: &[u8]) -> Option<u128> {
        bytes.try_into().ok().map(u128::from_be_bytes)
    }

    fn of_ip(address: IpAddr) -> Option<u128> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address.to_bits()),
        }
    }

    fn ip(self) -> IpAddr {
        Ipv6Addr::from_bits(self).into()
    }

    /// The kernel has routes for multicast, for the link-local network of each device, and for `::1`. No router forwards by them
    /// (RFC 4291 §2.5.3, §2.5.6; multicast is not routed here).
    fn routable(prefix: Prefix6) -> bool {
        let first = Ipv6Addr::from_bits(prefix.address());
        !(prefix.length() >= 8 && first.is_multicast()
            || prefix.length() >= 10 && first.is_unicast_link_local()
            || prefix.length() == 128 && first.is_loopback())
    }

    fn event(change: Change<u128>) -> Event {
        Event::Ip6(change)
    }
}
