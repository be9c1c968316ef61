//! The compiled program, loaded into the kernel with its maps.

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, ProgramMut};

use crate::error::Error;
use crate::libbpf_log;
use crate::own_addresses::OwnAddresses;
use crate::redirect::{Queues, Vlans};

/// The ELF files that build.rs makes, aligned as libelf wants them.
static ROUTER: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/redirect.bpf.o")));
static BRIDGE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/bridge.bpf.o")));
static ROUTER_TAGS: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/redirect-tags.bpf.o")));
static BRIDGE_TAGS: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/bridge-tags.bpf.o")));

/// BPF_F_XDP_DEV_BOUND_ONLY (linux/bpf.h, Linux 6.3): the program is one device's, and may ask its driver.
const BOUND_TO_DEVICE: u32 = 1 << 6;

/// What becomes of tags that the driver has taken out of frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tags {
    /// They are lost to the program.
    Lost,
    /// The program puts them back. It can be loaded where the kernel and the driver of this device give them, and attached only there, natively.
    PutBack { ifindex: u32 },
}

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

/// One instance of the program, in the kernel but not yet on a device.
pub(crate) struct Loaded {
    object: Object,
    /// Receive queue to AF_XDP socket.
    pub(crate) sockets: MapHandle,
    /// The port's MAC address; a bridge's program does not ask for it.
    pub(crate) mac: Option<MapHandle>,
    /// MAC addresses of the sub-interfaces by their tags; a bridge has none.
    pub(crate) sub_interfaces: Option<MapHandle>,
    /// One value per CPU: packets and bytes by verdict.
    pub(crate) verdicts: MapHandle,
}

impl Loaded {
    /// Loads an instance of a router's program for `queues` receive queues that asks `own` which addresses are the kernel's.
    pub(crate) fn new(tags: Tags, queues: impl Into<Queues>, own: &OwnAddresses) -> Result<Self, Error> {
        let elf = if tags == Tags::Lost { ROUTER } else { ROUTER_TAGS };
        let (object, sockets, verdicts) = Self::load(elf, tags, queues.into(), own)?;
        let mac = Some(map(&object, "port_mac")?);
        let sub_interfaces = Some(map(&object, "sub_interfaces")?);
        Ok(Self { object, sockets, mac, sub_interfaces, verdicts })
    }

    /// As [`new`](Self::new), of a bridge's program.
    pub(crate) fn bridge(
        tags: Tags,
        queues: impl Into<Queues>,
        vlans: Option<Vlans>,
        own: &OwnAddresses,
    ) -> Result<Self, Error> {
        let elf = if tags == Tags::Lost { BRIDGE } else { BRIDGE_TAGS };
        let (object, sockets, verdicts) = Self::load(elf, tags, queues.into(), own)?;
        if let Some(Vlans { wan, lan }) = vlans {
            let value = [wan.to_ne_bytes(), lan.to_ne_bytes()].concat();
            map(&object, "port_vlans")?
                .update(&0u32.to_ne_bytes(), &value, MapFlags::ANY)
                .map_err(|source| Error::map("tell the XDP program the port's VLANs", source))?;
        }
        Ok(Self { object, sockets, mac: None, sub_interfaces: None, verdicts })
    }

    fn load(
        elf: &Aligned<[u8]>,
        tags: Tags,
        queues: Queues,
        own: &OwnAddresses,
    ) -> Result<(Object, MapHandle, MapHandle), Error> {
        if queues.count == 0 {
            return Err(Error::NoQueues);
        }
        let (object, log) = libbpf_log::capture(|| {
            let mut object = ObjectBuilder::default().open_memory(&elf.0)?;
            prepare(&mut object, tags, queues, own)?;
            object.load()
        });
        let object = object.map_err(|error| Error::load("load the XDP program", &error, &log))?;
        let (sockets, verdicts) = (map(&object, "sockets")?, map(&object, "verdicts")?);
        Ok((object, sockets, verdicts))
    }

    /// See [`Redirect::set_mac`](crate::Redirect::set_mac).
    pub(crate) fn set_mac(mac: &MapHandle, address: [u8; 6]) -> Result<(), Error> {
        mac.update(&0u32.to_ne_bytes(), &mac_value(address), MapFlags::ANY)
            .map_err(|source| Error::map("tell the XDP program the port's MAC address", source))
    }

    /// See [`Redirect::set_sub_interface`](crate::Redirect::set_sub_interface).
    pub(crate) fn set_sub_interface(
        sub_interfaces: &MapHandle,
        tags: [u8; 8],
        address: [u8; 6],
    ) -> Result<(), Error> {
        sub_interfaces
            .update(&tags, &mac_value(address), MapFlags::ANY)
            .map_err(|source| Error::map("tell the XDP program a sub-interface's MAC address", source))
    }

    /// The program itself.
    pub(crate) fn program(&self) -> Result<ProgramMut<'_>, Error> {
        self.object.progs_mut().next().ok_or_else(|| Error::Load {
            action: "load the XDP program",
            reason: "the object holds none".to_owned(),
        })
    }
}

/// A MAC address as the programs' maps hold it.
fn mac_value([a, b, c, d, e, f]: [u8; 6]) -> [u8; 8] {
    [a, b, c, d, e, f, 0, 0]
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

/// BPF_F_XDP_HAS_FRAGS (linux/bpf.h, Linux 5.18): the program knows that a packet may lie in several buffers.
const HAS_FRAGS: u32 = 1 << 5;

fn prepare(object: &mut OpenObject, tags: Tags, queues: Queues, own: &OwnAddresses) -> libbpf_rs::Result<()> {
    let frags = if queues.frags { HAS_FRAGS } else { 0 };
    for mut program in object.progs_mut() {
        program.set_flags(frags);
        if let Tags::PutBack { ifindex } = tags {
            program.set_flags(frags | BOUND_TO_DEVICE);
            program.set_ifindex(ifindex);
        }
    }
    for mut map in object.maps_mut() {
        if map.name() == "sockets" {
            map.set_max_entries(queues.count)?;
        } else if map.name() == ".rodata.frags" {
            map.set_initial_value(&[u8::from(queues.frags)])?;
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
