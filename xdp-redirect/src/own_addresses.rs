//! The machine's own IPv4 addresses, one kernel map for all ports.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, MapType, libbpf_sys};

use crate::error::Error;
use crate::libbpf_log;

/// Addresses whose packets the program leaves to the kernel: the machine's own, and the broadcast addresses of its subnets.
///
/// All ports attached with one `OwnAddresses` see a change from the next packet on. The map lives until this and every port
/// that uses it are gone.
#[derive(Debug)]
pub struct OwnAddresses {
    map: MapHandle,
    capacity: u32,
}

impl OwnAddresses {
    /// An empty map with room for `capacity` addresses (at least one). The kernel allocates all of it now.
    pub fn new(capacity: u32) -> Result<Self, Error> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let capacity = capacity.max(1);
        let (map, log) = libbpf_log::capture(|| {
            // Key and value as `own_addresses` in the program: __be32 and __u8.
            MapHandle::create(MapType::Hash, Some("own_addresses"), 4, 1, capacity, &options)
        });
        let map = map.map_err(|error| Error::load("create the map of own addresses", &error, &log))?;
        Ok(Self { map, capacity })
    }

    /// From now on packets to `address` are the kernel's. To insert an address again changes nothing.
    pub fn insert(&self, address: Ipv4Addr) -> Result<(), Error> {
        self.map.update(&address.octets(), &[1], MapFlags::ANY).map_err(|error| match error.kind() {
            // E2BIG, the kernel's word for a full hash map, has no kind of its own.
            ErrorKind::Other => Error::OwnAddressesFull { capacity: self.capacity },
            _ => Error::map("insert an own address", error),
        })
    }

    /// From now on packets to `address` are transit. To remove an address that is not there changes nothing.
    pub fn remove(&self, address: Ipv4Addr) -> Result<(), Error> {
        match self.map.delete(&address.octets()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(|error| Error::map("remove an own address", error)),
        }
    }

    /// Whether packets to `address` are the kernel's.
    pub fn contains(&self, address: Ipv4Addr) -> Result<bool, Error> {
        let value = self.map.lookup(&address.octets(), MapFlags::ANY);
        Ok(value.map_err(|error| Error::map("look up an own address", error))?.is_some())
    }

    pub(crate) fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
