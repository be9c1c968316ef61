//! The program on one port.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle};

use crate::error::Error;
use crate::link::{self, Link, Mode};
use crate::object::Loaded;
use crate::own_addresses::OwnAddresses;
use crate::verdict::Counters;

/// The VLANs of a port that is both sides of a bridge; 1 to 4094 each.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Vlans {
    /// Towards the internet.
    pub wan: u16,
    /// Towards the customers.
    pub lan: u16,
}

/// The program on one port. Dropping it takes the program off the port; so does the end of the process, however it ends.
#[derive(Debug)]
pub struct Redirect {
    /// First, so that the program is off the port before its maps go.
    link: Link,
    queues: u32,
    sockets: MapHandle,
    mac: Option<MapHandle>,
    verdicts: MapHandle,
}

impl Redirect {
    /// Loads an instance of the program and puts it on device `ifindex` of the calling thread's network namespace: natively
    /// where the driver can, otherwise in generic mode ([`mode`](Self::mode) says which).
    ///
    /// Until [`bind`](Self::bind), every packet goes to the kernel as before. `queues` is the number of the device's receive queues
    /// that may get a socket; packets of queues beyond it stay with the kernel.
    ///
    /// Some drivers restart the device when the program comes or goes, and the link is down for a moment.
    pub fn attach(ifindex: u32, queues: u32, own: &OwnAddresses) -> Result<Self, Error> {
        Self::put(Loaded::new(queues, own)?, ifindex, queues)
    }

    /// As [`attach`](Self::attach), with a bridge's program; `vlans`: of a port that is both sides.
    pub fn bridge(
        ifindex: u32,
        queues: u32,
        vlans: Option<Vlans>,
        own: &OwnAddresses,
    ) -> Result<Self, Error> {
        Self::put(Loaded::bridge(queues, vlans, own)?, ifindex, queues)
    }

    fn put(loaded: Loaded, ifindex: u32, queues: u32) -> Result<Self, Error> {
        let link = link::attach(loaded.program()?.as_fd(), ifindex)?;
        let Loaded { sockets, mac, verdicts, .. } = loaded;
        Ok(Self { link, queues, sockets, mac, verdicts })
    }

    /// Where the program runs.
    pub fn mode(&self) -> Mode {
        self.link.mode
    }

    /// The number of queues that may get a socket.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// From the next packet on, transit that arrives on `queue` goes to `socket`, which replaces a socket bound before.
    ///
    /// `socket` is an AF_XDP socket bound to this device and this queue, with frames in its fill ring. The kernel forgets it when it is
    /// closed, and the queue's transit is the kernel's again.
    pub fn bind(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        self.check(queue)?;
        let value = socket.as_raw_fd().to_ne_bytes();
        self.sockets.update(&queue.to_ne_bytes(), &value, MapFlags::ANY).map_err(|source| {
            match source.kind() {
                ErrorKind::PermissionDenied => {
                    Error::NotPermitted { action: "bind an AF_XDP socket to a queue" }
                }
                _ => Error::NotAnXdpSocket { queue, source },
            }
        })
    }

    /// From the next packet on, transit that arrives on `queue` goes to the kernel. No error if no socket was bound.
    pub fn unbind(&self, queue: u32) -> Result<(), Error> {
        self.check(queue)?;
        match self.sockets.delete(&queue.to_ne_bytes()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(|error| Error::map("unbind an AF_XDP socket", error)),
        }
    }

    /// The port's MAC address: from the next packet on, packets to other unicast addresses are the kernel's. Before the first call, packets to any
    /// unicast address may be redirected. Means nothing to a bridge, which goes by the [`OwnAddresses`].
    pub fn set_mac(&self, address: [u8; 6]) -> Result<(), Error> {
        self.mac.as_ref().map_or(Ok(()), |mac| Loaded::set_mac(mac, address))
    }

    /// What the program has decided since it was attached. One system call; allocates.
    pub fn counters(&self) -> Result<Counters, Error> {
        counters(&self.verdicts)
    }

    fn check(&self, queue: u32) -> Result<(), Error> {
        if queue < self.queues { Ok(()) } else { Err(Error::NoSuchQueue { queue, queues: self.queues }) }
    }
}

/// Reads the map `verdicts` of one instance.
pub(crate) fn counters(verdicts: &MapHandle) -> Result<Counters, Error> {
    let values = verdicts.lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY);
    let values = values.map_err(|error| Error::map("read the XDP program's counters", error))?;
    // The only element of an array is always there.
    Ok(Counters::parse(&values.unwrap_or_default()))
}

#[cfg(test)]
mod on_veth;
