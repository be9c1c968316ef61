//! The machine's own addresses, kernel maps for all ports.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, MapType, libbpf_sys};

use crate::error::Error;
use crate::libbpf_log;

/// Addresses whose packets the programs leave to the kernel: the machine's own, and the broadcast addresses of its subnets.
///
/// MAC addresses are a bridge's matter: each port of a router knows its own.
/// All ports attached with one `OwnAddresses` see a change from the next packet on. The maps live until this and every port
/// that uses them are gone.
#[derive(Debug)]
pub struct OwnAddresses {
    ip4: Set,
    ip6: Set,
    macs: Set,
}

/// MAC addresses: those of the ports, of the bridge that they belong to, and of what stands on top of it.
const MACS: u32 = 1 << 10;

impl OwnAddresses {
    /// Empty maps with room for `capacity` IPv4 and as many IPv6 addresses (at least one). The kernel allocates all of it now.
    pub fn new(capacity: u32) -> Result<Self, Error> {
        let capacity = capacity.max(1);
        // Keys as in the programs: __be32, struct in6_addr, __u64.
        Ok(Self {
            ip4: Set::new("own_addresses", 4, capacity)?,
            ip6: Set::new("own_addresses6", 16, capacity)?,
            macs: Set::new("own_macs", 8, MACS)?,
        })
    }

    /// From now on packets to `address` are the kernel's. To insert an address again changes nothing.
    pub fn insert(&self, address: IpAddr) -> Result<(), Error> {
        match address {
            IpAddr::V4(address) => self.ip4.insert(&address.octets()),
            IpAddr::V6(address) => self.ip6.insert(&address.octets()),
        }
    }

    /// From now on packets to `address` are transit. To remove an address that is not there changes nothing.
    pub fn remove(&self, address: IpAddr) -> Result<(), Error> {
        match address {
            IpAddr::V4(address) => self.ip4.remove(&address.octets()),
            IpAddr::V6(address) => self.ip6.remove(&address.octets()),
        }
    }

    /// Whether packets to `address` are the kernel's.
    pub fn contains(&self, address: IpAddr) -> Result<bool, Error> {
        match address {
            IpAddr::V4(address) => self.ip4.contains(&address.octets()),
            IpAddr::V6(address) => self.ip6.contains(&address.octets()),
        }
    }

    /// In a bridge: from now on frames to this MAC address are the kernel's.
    pub fn insert_mac(&self, mac: [u8; 6]) -> Result<(), Error> {
        self.macs.insert(&mac_key(mac))
    }

    /// In a bridge: from now on frames to this MAC address are transit.
    pub fn remove_mac(&self, mac: [u8; 6]) -> Result<(), Error> {
        self.macs.remove(&mac_key(mac))
    }

    /// The map that a program knows under this name.
    pub(crate) fn map(&self, name: &str) -> Option<BorrowedFd<'_>> {
        let set = [&self.ip4, &self.ip6, &self.macs].into_iter().find(|set| set.name == name);
        set.map(|set| set.map.as_fd())
    }
}

fn mac_key([a, b, c, d, e, f]: [u8; 6]) -> [u8; 8] {
    [a, b, c, d, e, f, 0, 0]
}

/// A kernel map with keys and no values to speak of.
#[derive(Debug)]
struct Set {
    name: &'static str,
    map: MapHandle,
    capacity: u32,
}

impl Set {
    fn new(name: &'static str, key: u32, capacity: u32) -> Result<Self, Error> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let (map, log) = libbpf_log::capture(|| {
            // The value is a __u8 that nobody reads.
            MapHandle::create(MapType::Hash, Some(name), key, 1, capacity, &options)
        });
        let map = map.map_err(|error| Error::load("create the map of own addresses", &error, &log))?;
        Ok(Self { name, map, capacity })
    }

    fn insert(&self, key: &[u8]) -> Result<(), Error> {
        self.map.update(key, &[1], MapFlags::ANY).map_err(|error| match error.kind() {
            // E2BIG, the kernel's word for a full hash map, has no kind of its own.
            ErrorKind::Other => Error::OwnAddressesFull { capacity: self.capacity },
            _ => Error::map("insert an own address", error),
        })
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        match self.map.delete(key) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(|error| Error::map("remove an own address", error)),
        }
    }

    fn contains(&self, key: &[u8]) -> Result<bool, Error> {
        let value = self.map.lookup(key, MapFlags::ANY);
        Ok(value.map_err(|error| Error::map("look up an own address", error))?.is_some())
    }
}
