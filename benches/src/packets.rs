//! The packets that routers in memory forward, and the routes that they take.

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_graph::{
    fib::{FibWriter, NextHop, Prefix4, Prefix6},
    wire::{
        ethernet, ip4,
        ip6::{self, Ip6Mut},
        vlan::{TAG, Tags},
    },
};

/// The router's MAC address, on all ports.
pub const PORT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The MAC address that packets come from.
const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 8];
/// Where packets come in that have a tag.
pub const VLAN_IN: Tags = Tags::one(TAG, 100);
/// Where they leave again.
pub const VLAN_OUT: Tags = Tags::one(TAG, 200);
/// Bytes of a packet of IPv4: the smallest Ethernet frame without its check sequence holds 60; 64 with it, as benchmarks count.
const LENGTH4: usize = 60;
/// Bytes of a packet of IPv6: as many of user data as one of IPv4 has, and the larger header.
const LENGTH6: usize = 78;
/// The longest of them: IPv6 with a tag.
pub const MOST: usize = LENGTH6 + 4;

/// Where the networks begin that packets of IPv4 go to.
pub const NETWORKS: u32 = 11 << 24;

/// What packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP over IPv4, 64 bytes.
    Ip4,
    /// The same in a VLAN; it leaves in another one.
    Vlan4,
    /// UDP over IPv6, 78 bytes.
    Ip6,
    /// The same in a VLAN; it leaves in another one.
    Vlan6,
}

impl Kind {
    /// Whether packets have a tag.
    pub fn is_tagged(self) -> bool {
        matches!(self, Kind::Vlan4 | Kind::Vlan6)
    }

    /// Whether packets are of IPv6.
    pub fn is_ip6(self) -> bool {
        matches!(self, Kind::Ip6 | Kind::Vlan6)
    }

    /// The Ethernet header of the next hop, without tags.
    pub fn next_hop_header(self) -> [u8; 14] {
        let kind = if self.is_ip6() { [0x86, 0xdd] } else { [8, 0] };
        [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2, kind[0], kind[1]]
    }

    /// Bytes of a packet.
    pub fn length(self) -> usize {
        let tag = if self.is_tagged() { VLAN_IN.length() } else { 0 };
        tag + if self.is_ip6() { LENGTH6 } else { LENGTH4 }
    }
}

/// A pseudo-random sequence (xorshift64*), so that runs can be repeated.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next number below `end`.
    pub fn below(&mut self, end: u32) -> u32 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u32
    }
}

/// Where packets go: to an address drawn at random from the routes.
pub struct Destinations {
    kind: Kind,
    /// Of IPv4: so many from [`NETWORKS`] on.
    addresses: u32,
    /// Of IPv6.
    prefixes: Vec<Prefix6>,
    random: Random,
}

impl Destinations {
    /// Loads routes to one next hop: one default route, or so many of the tables below. Also says how many columns their counters have.
    pub fn load(
        kind: Kind,
        routes: u32,
        next_hops: &[NextHop],
        fib: &mut FibWriter,
        fib6: &mut FibWriter<u128>,
    ) -> Result<(Destinations, usize), Box<dyn std::error::Error>> {
        let mut random = Random(0x5eed);
        let (mut columns, mut prefixes) = (0, Vec::new());
        match (routes, kind.is_ip6()) {
            (1, false) => columns = fib.insert(Prefix4::DEFAULT, next_hops)?.as_u32(),
            (1, true) => {
                prefixes.push(Prefix6::new(0x2001_0db8 << 96, 32)?);
                columns = fib6.insert(Prefix6::DEFAULT, next_hops)?.as_u32();
            }
            (_, false) => {
                for route in 0..routes {
                    columns = columns.max(fib.insert(Prefix4::new(network(route), 24)?, next_hops)?.as_u32());
                }
            }
            (_, true) => {
                columns = load6(routes, next_hops, fib6, &mut prefixes, &mut random)?;
            }
        }
        Ok((Destinations { kind, addresses: routes.max(1) << 8, prefixes, random }, columns as usize + 1))
    }

    /// What packets are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same for another worker: other addresses, at random, of the same routes.
    pub fn share(&self, seed: u64) -> Destinations {
        let random = Random(self.random.0 ^ seed << 32);
        Destinations { kind: self.kind, addresses: self.addresses, prefixes: self.prefixes.clone(), random }
    }

    /// From now on packets of IPv4 go to one of so many addresses from [`NETWORKS`] on.
    pub fn narrow(&mut self, addresses: u32) {
        self.addresses = addresses;
    }

    /// Writes a fresh packet into a frame of [`Kind::length`].
    pub fn write(&mut self, frame: &mut [u8]) {
        let tag = if self.kind.is_tagged() { VLAN_IN } else { Tags::NONE };
        let link = ethernet::LENGTH + tag.length();
        let Some((header, packet)) = frame.split_at_mut_checked(link) else { return };
        header[..6].copy_from_slice(&PORT_MAC);
        header[6..12].copy_from_slice(&SENDER_MAC);
        header[12..link - 2].copy_from_slice(&tag.bytes()[..tag.length()]);
        header[link - 2..].copy_from_slice(if self.kind.is_ip6() { &[0x86, 0xdd] } else { &[8, 0] });
        packet.fill(0);
        if self.kind.is_ip6() {
            let prefix = self.prefixes[self.random.below(self.prefixes.len() as u32) as usize];
            let host = u128::from(self.random.bits()) << 64 | u128::from(self.random.bits());
            let destination = prefix.address() | host.unbounded_shr(prefix.length().into());
            write6(packet, destination);
        } else {
            let destination = NETWORKS + self.random.below(self.addresses);
            write4(packet, destination);
        }
    }
}

/// The network of a route of IPv4.
fn network(route: u32) -> u32 {
    NETWORKS + (route << 8)
}

/// Lengths of the internet's IPv6 prefixes, and their shares in a thousand: rounded after public reports of the routing table. Lengths that are not named have few.
const MIX: [(u8, u32); 14] = [
    (48, 455),
    (32, 120),
    (44, 90),
    (40, 85),
    (36, 45),
    (46, 35),
    (47, 30),
    (42, 30),
    (29, 25),
    (33, 25),
    (34, 20),
    (45, 15),
    (38, 15),
    (43, 10),
];

/// So many different prefixes: providers' blocks, and shorter pieces of theirs, as the registries give them.
fn load6(
    routes: u32,
    next_hops: &[NextHop],
    fib6: &mut FibWriter<u128>,
    prefixes: &mut Vec<Prefix6>,
    random: &mut Random,
) -> Result<u32, Box<dyn std::error::Error>> {
    // A provider for every six routes, in the registries' blocks of 2000::/3.
    let blocks =
        [0x2001_u128, 0x2400, 0x2401, 0x2402, 0x2600, 0x2602, 0x2604, 0x2804, 0x2a00, 0x2a02, 0x2a0e, 0x2c0f];
    let providers: Vec<u128> = (0..routes.div_ceil(6))
        .map(|_| {
            let block = blocks[random.below(blocks.len() as u32) as usize];
            block << 112 | u128::from(random.below(1 << 16)) << 96
        })
        .collect();
    let mut columns = 0;
    while prefixes.len() < routes as usize {
        let mut share = random.below(MIX.iter().map(|(_, share)| share).sum());
        let length =
            MIX.iter().find(|(_, width)| share.checked_sub(*width).map(|rest| share = rest).is_none());
        let length = length.map_or(48, |(length, _)| *length);
        let provider = providers[random.below(providers.len() as u32) as usize];
        let inside = u128::from(random.bits()) << 32;
        let prefix = Prefix6::containing(provider | inside & (u128::MAX >> 32), length)?;
        if fib6.get(prefix).is_none() {
            columns = columns.max(fib6.insert(prefix, next_hops)?.as_u32());
            prefixes.push(prefix);
        }
    }
    Ok(columns)
}

/// UDP to an IPv4 address, without Ethernet's header.
fn write4(packet: &mut [u8], destination: u32) {
    let total = packet.len() as u16;
    if let Some(mut header) = ip4::Ip4Mut::new(packet) {
        header.set_lengths(ip4::LENGTH, total);
        header.set_ttl_protocol(64, ip4::UDP);
        header.set_addresses(u32::from(Ipv4Addr::new(10, 0, 1, 2)), destination);
    }
    if let Some((header, udp)) = packet.split_at_mut_checked(ip4::LENGTH) {
        ip4::write_checksum(header);
        write_udp(udp);
    }
}

/// UDP to an IPv6 address, without Ethernet's header.
fn write6(packet: &mut [u8], destination: u128) {
    let length = packet.len().saturating_sub(ip6::LENGTH) as u16;
    let source = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2).to_bits();
    if let Some(mut header) = Ip6Mut::new(packet) {
        header.set_all(length, ip4::UDP, 64, source, destination);
    }
    if let Some(udp) = packet.get_mut(ip6::LENGTH..) {
        write_udp(udp);
    }
}

fn write_udp(udp: &mut [u8]) {
    let length = (udp.len() as u16).to_be_bytes();
    if let Some(header) = udp.first_chunk_mut::<6>() {
        *header = [0x10, 0x00, 0x20, 0x00, length[0], length[1]];
    }
}
