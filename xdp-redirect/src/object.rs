//! The compiled program, loaded into the kernel with its maps.

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, ProgramMut};

use crate::error::Error;
use crate::libbpf_log;
use crate::own_addresses::OwnAddresses;

/// The ELF file that build.rs makes, aligned as libelf wants it.
static ELF: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/redirect.bpf.o")));

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

/// One instance of the program, in the kernel but not yet on a device.
pub(crate) struct Loaded {
    object: Object,
    /// Receive queue to AF_XDP socket.
    pub(crate) sockets: MapHandle,
    /// The port's MAC address.
    pub(crate) mac: MapHandle,
    /// One value per CPU: packets and bytes by verdict.
    pub(crate) verdicts: MapHandle,
}

impl Loaded {
    /// Loads an instance for `queues` receive queues that asks `own` which addresses are the kernel's.
    pub(crate) fn new(queues: u32, own: &OwnAddresses) -> Result<Self, Error> {
        if queues == 0 {
            return Err(Error::NoQueues);
        }
        let (object, log) = libbpf_log::capture(|| {
            let mut object = ObjectBuilder::default().open_memory(&ELF.0)?;
            prepare(&mut object, queues, own)?;
            object.load()
        });
        let object = object.map_err(|error| Error::load("load the XDP program", &error, &log))?;
        let handle = |name: &str| {
            let map = object.maps().find(|map| map.name() == name);
            // build.rs compiled the program that has these maps: a missing one is a bug that every test meets.
            let map = map.ok_or_else(|| Error::Load {
                action: "load the XDP program",
                reason: format!("it has no map \"{name}\""),
            })?;
            MapHandle::try_from(&map)
                .map_err(|source| Error::Map { action: "open a map of the XDP program", source })
        };
        let (sockets, mac, verdicts) = (handle("sockets")?, handle("port_mac")?, handle("verdicts")?);
        Ok(Self { object, sockets, mac, verdicts })
    }

    /// See [`Redirect::set_mac`](crate::Redirect::set_mac).
    pub(crate) fn set_mac(mac: &MapHandle, address: [u8; 6]) -> Result<(), Error> {
        let mut value = [0; 8];
        value[..6].copy_from_slice(&address);
        mac.update(&0u32.to_ne_bytes(), &value, MapFlags::ANY)
            .map_err(|source| Error::map("tell the XDP program the port's MAC address", source))
    }

    /// The program itself.
    pub(crate) fn program(&self) -> Result<ProgramMut<'_>, Error> {
        self.object.progs_mut().next().ok_or_else(|| Error::Load {
            action: "load the XDP program",
            reason: "the object holds none".to_owned(),
        })
    }
}

fn prepare(object: &mut OpenObject, queues: u32, own: &OwnAddresses) -> libbpf_rs::Result<()> {
    for mut map in object.maps_mut() {
        if map.name() == "sockets" {
            map.set_max_entries(queues)?;
        } else if map.name() == "own_addresses" {
            map.reuse_fd(own.map())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod verdict_table;
