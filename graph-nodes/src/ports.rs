//! What the graph knows about ports: addresses and sizes that the control thread keeps current and workers read.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
            fence,
        },
    },
};

use crate::{
    packet::{Packet, PortIndex, flags},
    wire::vlan::Tags,
};

/// Most ports that the per-port vectors of the segment have room for.
pub const MAX_PORTS: usize = 1024;

/// What a port leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Side {
    /// The internet.
    Wan,
    /// The customers.
    Lan,
}

/// Where a bridge sends what comes in by a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Across {
    /// The port is not in a bridge.
    #[default]
    Nowhere,
    /// By this port.
    Port(PortIndex),
    /// By the same port: what has the one VLAN's tag gets the other's.
    Vlans {
        /// The VLAN towards the internet, 1 to 4094.
        wan: u16,
        /// The VLAN towards the customers, another one.
        lan: u16,
    },
}

/// One port's entry. Each word is current by itself; nothing depends on two of them being from the same moment.
#[derive(Debug, Default)]
struct Port {
    /// MAC address in the low 48 bits, first byte highest.
    mac: AtomicU64,
    /// Primary IPv4 address, host order; 0 = none.
    address: AtomicU32,
    /// The IPv6 address that it speaks from.
    address6: Address6,
    /// Largest IP packet, bytes.
    mtu: AtomicU32,
    /// Set up, with carrier.
    up: AtomicBool,
    /// Fixed before the first packet, as the next one.
    side: OnceLock<Side>,
    across: OnceLock<Across>,
    /// Of a sub-interface: the port whose rings carry it, and its tags.
    carrier: OnceLock<(PortIndex, Tags)>,
    sub_interfaces: OnceLock<SubInterfaces>,
}

/// A port's sub-interfaces by their tags: a table with linear probing, at most half full.
#[derive(Debug)]
struct SubInterfaces(Box<[(Tags, PortIndex)]>);

impl SubInterfaces {
    fn new(list: &[(Tags, PortIndex)]) -> SubInterfaces {
        let mut table = SubInterfaces(vec![(Tags::NONE, 0); (2 * list.len()).next_power_of_two()].into());
        for entry in list {
            if let Some(place) = table.place(entry.0) {
                table.0[place] = *entry;
            }
        }
        table
    }

    /// Where these tags stand, or have their place.
    #[inline]
    fn place(&self, tags: Tags) -> Option<usize> {
        // Fibonacci hashing; a few thousand numbers that nobody chooses to collide.
        let first = (tags.word().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let places = (0..self.0.len()).map(|step| (first + step) & (self.0.len() - 1));
        places.into_iter().find(|place| [tags, Tags::NONE].contains(&self.0[*place].0))
    }

    #[inline]
    fn find(&self, tags: Tags) -> Option<PortIndex> {
        let (found, port) = self.0[self.place(tags)?];
        (found == tags && tags != Tags::NONE).then_some(port)
    }
}

/// An IPv6 address that is read whole although it is two words: the count is odd while they are written, and another after. Written by one thread.
#[derive(Debug, Default)]
struct Address6 {
    changes: AtomicU64,
    /// Upper and lower half; 0 = none.
    halves: [AtomicU64; 2],
}

impl Address6 {
    fn store(&self, address: u128) {
        let before = self.changes.load(Relaxed);
        self.changes.store(before.wrapping_add(1), Relaxed);
        fence(Release);
        for (half, shift) in self.halves.iter().zip([64, 0]) {
            half.store((address >> shift) as u64, Relaxed);
        }
        self.changes.store(before.wrapping_add(2), Release);
    }

    /// 0 also in the moment in which it changes.
    fn load(&self) -> u128 {
        let before = self.changes.load(Acquire);
        let [high, low] = self.halves.each_ref().map(|half| u128::from(half.load(Relaxed)));
        fence(Acquire);
        if before.is_multiple_of(2) && self.changes.load(Relaxed) == before { high << 64 | low } else { 0 }
    }
}

/// All ports; cheap to clone, every clone sees the same table.
#[derive(Clone, Debug)]
pub struct Ports(Arc<[Port]>);

/// A MAC address as a number: first byte highest, 48 bits.
pub fn mac_number(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Ports {
    /// A table of `count` ports with nothing known yet.
    pub fn new(count: usize) -> Ports {
        Ports((0..count).map(|_| Port::default()).collect())
    }

    /// Number of ports.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Sets a port's MAC address. An unknown port is ignored, here and below.
    pub fn set_mac(&self, port: PortIndex, mac: [u8; 6]) {
        if let Some(port) = self.0.get(usize::from(port)) {
            port.mac.store(mac_number(mac), Relaxed);
        }
    }

    /// Sets a port's primary IPv4 address.
    pub fn set_address(&self, port: PortIndex, address: Option<Ipv4Addr>) {
        if let Some(port) = self.0.get(usize::from(port)) {
            port.address.store(address.map_or(0, u32::from), Relaxed);
        }
    }

    /// Sets the IPv6 address that a port speaks from.
    pub fn set_address6(&self, port: PortIndex, address: Option<Ipv6Addr>) {
        if let Some(port) = self.0.get(usize::from(port)) {
            port.address6.store(address.map_or(0, Ipv6Addr::to_bits));
        }
    }

    /// Sets the largest IP packet that leaves by a port.
    pub fn set_mtu(&self, port: PortIndex, mtu: u16) {
        if let Some(port) = self.0.get(usize::from(port)) {
            port.mtu.store(u32::from(mtu), Relaxed);
        }
    }

    /// Says whether a port can send.
    pub fn set_up(&self, port: PortIndex, up: bool) {
        if let Some(port) = self.0.get(usize::from(port)) {
            port.up.store(up, Relaxed);
        }
    }

    /// Says which side a port is on. Once, before the first packet.
    pub fn set_side(&self, port: PortIndex, side: Side) {
        if let Some(port) = self.0.get(usize::from(port)) {
            let _ = port.side.set(side);
        }
    }

    /// Says where a bridge sends what comes in by a port. Once, before the first packet.
    pub fn set_across(&self, port: PortIndex, across: Across) {
        if let Some(port) = self.0.get(usize::from(port)) {
            let _ = port.across.set(across);
        }
    }

    /// Says which ports are VLANs of this one: the sub-interfaces, each with its tags. Once, before the first packet.
    pub fn set_sub_interfaces(&self, port: PortIndex, list: &[(Tags, PortIndex)]) {
        for (tags, sub_interface) in list {
            if let Some(sub_interface) = self.0.get(usize::from(*sub_interface)) {
                let _ = sub_interface.carrier.set((port, *tags));
            }
        }
        if let Some(port) = self.0.get(usize::from(port)) {
            let _ = port.sub_interfaces.set(SubInterfaces::new(list));
        }
    }

    /// The port whose rings carry what leaves by this one: itself, unless it is a sub-interface.
    #[inline]
    pub fn carrier(&self, port: PortIndex) -> PortIndex {
        self.below(port).map_or(port, |(carrier, _)| carrier)
    }

    /// The tags of what leaves by a port: none, unless it is a sub-interface.
    #[inline]
    pub fn tags(&self, port: PortIndex) -> Tags {
        self.below(port).map_or(Tags::NONE, |(_, tags)| tags)
    }

    #[inline]
    fn below(&self, port: PortIndex) -> Option<(PortIndex, Tags)> {
        self.0.get(usize::from(port)).and_then(|port| port.carrier.get()).copied()
    }

    /// The sub-interface that frames with these tags come in by, behind a port.
    #[inline]
    pub fn sub_interface(&self, port: PortIndex, tags: Tags) -> Option<PortIndex> {
        self.0.get(usize::from(port))?.sub_interfaces.get()?.find(tags)
    }

    /// Where a bridge sends what comes in by this port.
    #[inline]
    pub fn across(&self, port: PortIndex) -> Across {
        self.0.get(usize::from(port)).and_then(|port| port.across.get()).copied().unwrap_or_default()
    }

    /// The side that the packet leaves by, if the config says. Valid as soon as `tx_port` is.
    #[inline(always)]
    pub fn egress(&self, packet: &Packet) -> Option<Side> {
        match packet.flags & (flags::TO_WAN | flags::TO_LAN) {
            flags::TO_WAN => Some(Side::Wan),
            flags::TO_LAN => Some(Side::Lan),
            _ => self.0.get(usize::from(packet.tx_port))?.side.get().copied(),
        }
    }

    /// Whether the port can send.
    #[inline]
    pub fn is_up(&self, port: PortIndex) -> bool {
        self.0.get(usize::from(port)).is_some_and(|port| port.up.load(Relaxed))
    }

    /// The port's MAC address as [`mac_number`] gives it; 0 for an unknown port.
    #[inline]
    pub fn mac(&self, port: PortIndex) -> u64 {
        self.0.get(usize::from(port)).map_or(0, |port| port.mac.load(Relaxed))
    }

    /// The port's primary IPv4 address.
    #[inline]
    pub fn address(&self, port: PortIndex) -> Option<Ipv4Addr> {
        match self.0.get(usize::from(port)).map_or(0, |port| port.address.load(Relaxed)) {
            0 => None,
            address => Some(Ipv4Addr::from(address)),
        }
    }

    /// The IPv6 address that the port speaks from; `None` also in the moment in which it changes.
    #[inline]
    pub fn address6(&self, port: PortIndex) -> Option<Ipv6Addr> {
        match self.0.get(usize::from(port)).map_or(0, |port| port.address6.load()) {
            0 => None,
            address => Some(Ipv6Addr::from_bits(address)),
        }
    }

    /// The port's largest IP packet; 0 for an unknown port.
    #[inline]
    pub fn mtu(&self, port: PortIndex) -> u16 {
        self.0.get(usize::from(port)).map_or(0, |port| port.mtu.load(Relaxed) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Frames;

    #[test]
    fn sub_interfaces_are_found_by_their_tags_alone() {
        let ports = Ports::new(600);
        let tags = |number: u16| match number % 3 {
            0 => Tags::one(0x8100, number),
            1 => Tags::one(0x88a8, number),
            _ => Tags::one(0x88a8, number / 7).with_inner(0x8100, number),
        };
        let list: Vec<(Tags, PortIndex)> = (2..600).map(|number| (tags(number), number)).collect();
        ports.set_sub_interfaces(0, &list);
        for (tags, number) in &list {
            assert_eq!(ports.sub_interface(0, *tags), Some(*number));
            assert_eq!(ports.sub_interface(1, *tags), None, "another port has none");
            assert_eq!((ports.carrier(*number), ports.tags(*number)), (0, *tags));
        }
        for other in [Tags::NONE, Tags::one(0x8100, 4), Tags::one(0x88a8, 3), Tags::one(0x8100, 4000)] {
            assert_eq!(ports.sub_interface(0, other), None, "{other:?}");
        }
        assert_eq!((ports.carrier(1), ports.carrier(9999), ports.tags(1)), (1, 9999, Tags::NONE));
        let few = Ports::new(2);
        few.set_sub_interfaces(0, &[(Tags::one(0x8100, 7), 1)]);
        assert_eq!(few.sub_interface(0, Tags::one(0x8100, 7)), Some(1));
        assert_eq!(few.sub_interface(0, Tags::one(0x8100, 8)), None);
    }

    #[test]
    fn a_packet_leaves_by_the_side_of_its_port_or_of_its_vlan() {
        let ports = Ports::new(3);
        ports.set_side(0, Side::Wan);
        ports.set_side(1, Side::Lan);
        let (frames, mut free) = Frames::in_memory(1);
        let mut packet = frames.packet(free.remove(0), 0, 60, 0).unwrap();
        for (port, flags, side) in [
            (0, 0, Some(Side::Wan)),
            (1, 0, Some(Side::Lan)),
            (2, 0, None),
            (9, 0, None),
            (2, flags::TO_WAN, Some(Side::Wan)),
            (2, flags::TO_LAN | flags::CREATED, Some(Side::Lan)),
        ] {
            (packet.tx_port, packet.flags) = (port, flags);
            assert_eq!(ports.egress(&packet), side, "{port} {flags}");
        }
    }
}
