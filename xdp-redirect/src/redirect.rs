//! The program on one port.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle};

use crate::error::Error;
use crate::link::{self, Link, Mode};
use crate::object::{Loaded, Tags};
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

/// A port's receive queues that may get a socket, as the sockets want them: a plain number where they take packets of one buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Queues {
    /// How many there are.
    pub count: u32,
    /// Packets may lie in several buffers (XDP with frags, Linux 5.18; sockets bound with `XDP_USE_SG`, Linux 6.6). Without it they may not, and the
    /// device's MTU is limited to what fits one.
    pub frags: bool,
}

impl From<u32> for Queues {
    fn from(count: u32) -> Self {
        Self { count, frags: false }
    }
}

/// The program on one port. Dropping it takes the program off the port; so does the end of the process, however it ends.
#[derive(Debug)]
pub struct Redirect {
    /// First, so that the program is off the port before its maps go.
    link: Link,
    queues: u32,
    sockets: MapHandle,
    mac: Option<MapHandle>,
    sub_interfaces: Option<MapHandle>,
    verdicts: MapHandle,
    puts_tags_back: bool,
}

impl Redirect {
    /// Loads an instance of the program and puts it on device `ifindex` of the calling thread's network namespace: natively
    /// where the driver can, otherwise in generic mode ([`mode`](Self::mode) says which).
    ///
    /// Until [`bind`](Self::bind), every packet goes to the kernel as before. `queues` is the number of the device's receive queues
    /// that may get a socket; packets of queues beyond it stay with the kernel.
    ///
    /// Some drivers restart the device when the program comes or goes, and the link is down for a moment.
    pub fn attach(ifindex: u32, queues: impl Into<Queues>, own: &OwnAddresses) -> Result<Self, Error> {
        let queues = queues.into();
        Self::put(|tags| Loaded::new(tags, queues, own), ifindex, queues.count)
    }

    /// As [`attach`](Self::attach), with a bridge's program; `vlans`: of a port that is both sides.
    pub fn bridge(
        ifindex: u32,
        queues: impl Into<Queues>,
        vlans: Option<Vlans>,
        own: &OwnAddresses,
    ) -> Result<Self, Error> {
        let queues = queues.into();
        Self::put(|tags| Loaded::bridge(tags, queues, vlans, own), ifindex, queues.count)
    }

    /// Where the driver gives the tags that it takes out of frames, the program that puts them back; elsewhere the other one, whose errors are the ones that
    /// count.
    fn put(load: impl Fn(Tags) -> Result<Loaded, Error>, ifindex: u32, queues: u32) -> Result<Self, Error> {
        let asking = load(Tags::PutBack { ifindex }).and_then(|loaded| {
            let link = link::attach_natively(loaded.program()?.as_fd(), ifindex)?;
            Ok((link, loaded))
        });
        let puts_tags_back = asking.is_ok();
        let (link, loaded) = match asking {
            Ok(attached) => attached,
            Err(error) => {
                tracing::debug!(ifindex, %error, "the driver does not give tags that it takes out of frames");
                let loaded = load(Tags::Lost)?;
                (link::attach(loaded.program()?.as_fd(), ifindex)?, loaded)
            }
        };
        let Loaded { sockets, mac, sub_interfaces, verdicts, .. } = loaded;
        Ok(Self { link, queues, sockets, mac, sub_interfaces, verdicts, puts_tags_back })
    }

    /// Tags that the driver takes out of frames are in the frames that sockets get (`ethtool -K DEVICE rxvlan on`, Linux 6.8, and a driver that gives them).
    pub fn puts_tags_back(&self) -> bool {
        self.puts_tags_back
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

    /// From the next packet on, packets with these tags are transit if they are to this MAC address. `tags` are one or two as they stand in a frame, priority 0: type, VLAN,
    /// type, VLAN, zero where there is none. Means nothing to a bridge.
    pub fn set_sub_interface(&self, tags: [u8; 8], address: [u8; 6]) -> Result<(), Error> {
        let map = self.sub_interfaces.as_ref();
        map.map_or(Ok(()), |map| Loaded::set_sub_interface(map, tags, address))
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
