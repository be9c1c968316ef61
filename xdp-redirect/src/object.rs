//! The compiled program, loaded into the kernel with its maps.

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, ProgramMut};

use crate::error::Error;
use crate::libbpf_log;
use crate::own_addresses::OwnAddresses;
use crate::redirect::Vlans;

/// The ELF files that build.rs makes, aligned as libelf wants them.
static ROUTER: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/redirect.bpf.o")));
static BRIDGE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/bridge.bpf.o")));

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

/// One instance of the program, in the kernel but not yet on a device.
pub(crate) struct Loaded {
    object: Object,
    /// Receive queue to AF_XDP socket.
    pub(crate) sockets: MapHandle,
    /// The port's MAC address; a bridge's program does not ask for it.
    pub(crate) mac: Option<MapHandle>,
    /// One value per CPU: packets and bytes by verdict.
    pub(crate) verdicts: MapHandle,
}

impl Loaded {
    /// Loads an instance of a router's program for `queues` receive queues that asks `own` which addresses are the kernel's.
    pub(crate) fn new(queues: u32, own: &OwnAddresses) -> Result<Self, Error> {
        let (object, sockets, verdicts) = Self::load(ROUTER, queues, own)?;
        let mac = Some(map(&object, "port_mac")?);
        Ok(Self { object, sockets, mac, verdicts })
    }

    /// As [`new`](Self::new), of a bridge's program.
    pub(crate) fn bridge(queues: u32, vlans: Option<Vlans>, own: &OwnAddresses) -> Result<Self, Error> {
        let (object, sockets, verdicts) = Self::load(BRIDGE, queues, own)?;
        if let Some(Vlans { wan, lan }) = vlans {
            let value = [wan.to_ne_bytes(), lan.to_ne_bytes()].concat();
            map(&object, "port_vlans")?
                .update(&0u32.to_ne_bytes(), &value, MapFlags::ANY)
                .map_err(|source| Error::map("tell the XDP program the port's VLANs", source))?;
        }
        Ok(Self { object, sockets, mac: None, verdicts })
    }

    fn load(
        elf: &Aligned<[u8]>,
        queues: u32,
        own: &OwnAddresses,
    ) -> Result<(Object, MapHandle, MapHandle), Error> {
        if queues == 0 {
            return Err(Error::NoQueues);
        }
        let (object, log) = libbpf_log::capture(|| {
            let mut object = ObjectBuilder::default().open_memory(&elf.0)?;
            prepare(&mut object, queues, own)?;
            object.load()
        });
        let object = object.map_err(|error| Error::load("load the XDP program", &error, &log))?;
        let (sockets, verdicts) = (map(&object, "sockets")?, map(&object, "verdicts")?);
        Ok((object, sockets, verdicts))
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

fn map(object: &Object, name: &str) -> Result<MapHandle, Error> {
    let map = object.maps().find(|map| map.name() == name);
    // build.rs compiled the program that has these maps: a missing one is a bug that every test meets.
    let map = map.ok_or_else(|| Error::Load {
        action: "load the XDP program",
        reason: format!("it has no map \"{name}\""),
    })?;
    MapHandle::try_from(&map).map_err(|source| Error::Map { action: "open a map of the XDP program", source })
}

fn prepare(object: &mut OpenObject, queues: u32, own: &OwnAddresses) -> libbpf_rs::Result<()> {
    for mut map in object.maps_mut() {
        if map.name() == "sockets" {
            map.set_max_entries(queues)?;
        } else if let Some(shared) = map.name().to_str().and_then(|name| own.map(name)) {
            map.reuse_fd(shared)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod bridge_table;
#[cfg(test)]
mod verdict_table;
