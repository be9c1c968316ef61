//! What IP packets wear in an access network. One table, [`Access::ALL`]: what holds of plain IPv4 holds of each.
//!
//! Frames are built and taken apart without weir's code: the headers before IP by the letter of their standards, all else by `etherparse`.

use std::net::IpAddr;

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use weir_graph::fib::{Prefix4, Prefix6};

/// What stands between an Ethernet frame's addresses and the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shell {
    /// The type alone.
    Plain,
    /// Tags, by type and VLAN; then the type.
    Tags(&'static [(u16, u16)]),
    /// Tags, then a PPPoE session (RFC 2516).
    Session(&'static [(u16, u16)]),
    /// Tags, then labels (RFC 3032).
    Labels(&'static [(u16, u16)], &'static [u32]),
}

/// How a host's packets are packed: the version of IP, and what stands before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// For what a test says when it fails; the name of its seed.
    pub name: &'static str,
    shell: Shell,
    version: Version,
}

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Four,
    Six,
}

/// A host's addresses in both versions.
pub type Host = [&'static str; 2];

/// A prefix of either version.
pub fn prefix(text: &str) -> Prefix6 {
    text.parse::<Prefix4>().map_or_else(|_| text.parse().unwrap(), Prefix6::from)
}

const VLAN: &[(u16, u16)] = &[(0x8100, 0x2005)];
const QINQ: &[(u16, u16)] = &[(0x88a8, 9), (0x8100, 5)];
const SESSION: u16 = 0x0123;

const fn access(name: &'static str, shell: Shell, version: Version) -> Access {
    Access { name, shell, version }
}

impl Access {
    /// All of them.
    pub const ALL: [Access; 16] = [
        access("ip4", Shell::Plain, Version::Four),
        access("ip6", Shell::Plain, Version::Six),
        access("vlan-ip4", Shell::Tags(VLAN), Version::Four),
        access("vlan-ip6", Shell::Tags(VLAN), Version::Six),
        access("qinq-ip4", Shell::Tags(QINQ), Version::Four),
        access("qinq-ip6", Shell::Tags(QINQ), Version::Six),
        access("pppoe-ip4", Shell::Session(&[]), Version::Four),
        access("pppoe-ip6", Shell::Session(&[]), Version::Six),
        access("vlan-pppoe-ip4", Shell::Session(VLAN), Version::Four),
        access("qinq-pppoe-ip6", Shell::Session(QINQ), Version::Six),
        access("mpls-ip4", Shell::Labels(&[], &[16, 0xf_fffe]), Version::Four),
        access("mpls-ip6", Shell::Labels(&[], &[16, 0xf_fffe]), Version::Six),
        access("vlan-mpls-ip4", Shell::Labels(VLAN, &[99]), Version::Four),
        access("qinq-mpls-ip6", Shell::Labels(QINQ, &[7, 99, 100]), Version::Six),
        access("mpls-explicit-null-ip4", Shell::Labels(&[], &[0]), Version::Four),
        access("mpls-explicit-null-ip6", Shell::Labels(&[], &[2]), Version::Six),
    ];
    /// IPv4 with nothing before it.
    pub const PLAIN: Access = Access::ALL[0];

    /// The version of IP.
    pub fn version(self) -> Version {
        self.version
    }

    /// A host's address.
    pub fn address(self, host: Host) -> IpAddr {
        host[self.version as usize].parse().unwrap()
    }

    /// The beginning of a packet between these hosts; what it carries comes next.
    pub fn ip(self, source: Host, destination: Host) -> PacketBuilderStep<IpHeaders> {
        match (self.address(source), self.address(destination)) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
            }
            _ => panic!("{source:?} and {destination:?}"),
        }
    }

    /// A UDP packet with this many bytes of data.
    pub fn udp(self, source: (Host, u16), destination: (Host, u16), length: usize) -> Vec<u8> {
        let mut packet = Vec::new();
        let data = super::datagram::pattern(length);
        self.ip(source.0, destination.0).udp(source.1, destination.1).write(&mut packet, &data).unwrap();
        packet
    }

    /// An echo request, or a reply.
    pub fn echo(self, source: Host, destination: Host, reply: bool) -> Vec<u8> {
        let (id, seq, data) = (7, 1, super::datagram::pattern(24));
        let (ip, mut packet) = (self.ip(source, destination), Vec::new());
        match (self.version, reply) {
            (Version::Four, false) => ip.icmpv4_echo_request(id, seq).write(&mut packet, &data),
            (Version::Four, true) => ip.icmpv4_echo_reply(id, seq).write(&mut packet, &data),
            (Version::Six, false) => ip.icmpv6_echo_request(id, seq).write(&mut packet, &data),
            (Version::Six, true) => ip.icmpv6_echo_reply(id, seq).write(&mut packet, &data),
        }
        .unwrap();
        packet
    }

    /// The pieces of a whole packet, each with so many bytes of it but the last, a multiple of eight.
    pub fn pieces(self, packet: &[u8], size: usize, identification: u16) -> Vec<Vec<u8>> {
        let header = match self.version {
            Version::Four => 20,
            Version::Six => 40,
        };
        let (header, data) = packet.split_at(header);
        let last = data.len().div_ceil(size) - 1;
        let piece = |(at, data): (usize, &[u8])| {
            let more = at < last;
            let mut header = header.to_vec();
            match self.version {
                // RFC 791 §3.1: in units of eight bytes.
                Version::Four => {
                    let place = (at * size / 8) as u16 | u16::from(more) << 13;
                    header[2..4].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
                    header[4..6].copy_from_slice(&identification.to_be_bytes());
                    header[6..8].copy_from_slice(&place.to_be_bytes());
                    let checksum = super::datagram::header_checksum(&header);
                    header[10..12].copy_from_slice(&checksum.to_be_bytes());
                }
                // RFC 8200 §4.5: in bytes, of which three bits are others'.
                Version::Six => {
                    let carried = std::mem::replace(&mut header[6], 44);
                    header[4..6].copy_from_slice(&(8 + data.len() as u16).to_be_bytes());
                    let [high, low] = ((at * size) as u16 | u16::from(more)).to_be_bytes();
                    let [one, two] = identification.to_be_bytes();
                    header.extend([carried, 0, high, low, 0, 0, one, two]);
                }
            }
            [header.as_slice(), data].concat()
        };
        data.chunks(size).enumerate().map(piece).collect()
    }

    /// Bytes that stand before the packet, MAC addresses included.
    pub fn overhead(self) -> usize {
        self.frame([2; 6], [4; 6], &[]).len()
    }

    /// The frame that carries a packet.
    pub fn frame(self, destination: [u8; 6], source: [u8; 6], packet: &[u8]) -> Vec<u8> {
        let mut frame = [destination, source].concat();
        let mut tag = |tags: &[(u16, u16)]| {
            for (kind, vlan) in tags {
                frame.extend([kind.to_be_bytes(), vlan.to_be_bytes()].concat());
            }
        };
        let (ether, ppp) = match self.version {
            Version::Four => ([8, 0], [0, 0x21]),
            Version::Six => ([0x86, 0xdd], [0, 0x57]),
        };
        match self.shell {
            Shell::Plain => frame.extend(ether),
            Shell::Tags(tags) => {
                tag(tags);
                frame.extend(ether);
            }
            Shell::Session(tags) => {
                tag(tags);
                let length = 2 + packet.len() as u16;
                frame.extend([0x88, 0x64, 0x11, 0]);
                frame.extend([SESSION.to_be_bytes(), length.to_be_bytes(), ppp].concat());
            }
            Shell::Labels(tags, labels) => {
                tag(tags);
                frame.extend([0x88, 0x47]);
                for (at, label) in labels.iter().enumerate() {
                    let bottom = u32::from(at + 1 == labels.len());
                    frame.extend((label << 12 | bottom << 8 | 64).to_be_bytes());
                }
            }
        }
        frame.extend(packet);
        frame
    }

    /// The packet that such a frame carries; what stands before it must be what [`Self::frame`] writes.
    pub fn packet(self, frame: &[u8]) -> &[u8] {
        let packet = &frame[self.overhead()..];
        let built = self.frame(frame[..6].try_into().unwrap(), frame[6..12].try_into().unwrap(), packet);
        assert_eq!(built, frame, "{}", self.name);
        packet
    }
}

/// Packets of IPv6 with a TCP segment behind extension headers, and whether it is one to those who may look no further than RFC 8200 §4.1 has headers, nor beyond
/// the packet's end. Named as their seeds.
pub fn extended() -> Vec<(&'static str, bool, Vec<u8>)> {
    const HOP_BY_HOP: u8 = 0;
    const TCP: u8 = 6;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const OPTIONS: u8 = 60;
    // Port 5000 to port 443, with data.
    let mut segment = vec![0x13, 0x88, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x10, 1, 0, 0, 0, 0, 0];
    segment.extend([1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4]);
    let packet = |first: u8, headers: &[&[u8]], cut: Option<usize>| {
        let rest = [headers.concat(), segment.clone()].concat();
        let [high, low] = (cut.unwrap_or(rest.len()) as u16).to_be_bytes();
        let addresses = [0x2001_0db8_u128 << 96 | 1, 0x2001_0db8_u128 << 96 | 2].map(u128::to_be_bytes);
        [&[0x60, 0, 0, 0, high, low, first, 64], addresses.concat().as_slice(), &rest].concat()
    };
    // Eight bytes each; the second byte says how many there are behind these.
    let plain = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let long = |next: u8, more: u8| [next, more, 1, 4, 0, 0, 0, 0];
    let authentication = [OPTIONS, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let fragment = |next: u8, place: u16| {
        let [high, low] = place.to_be_bytes();
        [next, 0, high, low, 0, 0, 0, 7]
    };
    let options = |count: usize| {
        let mut all = plain(OPTIONS).repeat(count);
        all[8 * (count - 1)] = TCP;
        all
    };
    vec![
        ("extension-headers-one-of-each", true, {
            let (first, last) = ([plain(OPTIONS), plain(ROUTING), plain(FRAGMENT)].concat(), plain(TCP));
            packet(HOP_BY_HOP, &[&first, &fragment(AUTHENTICATION, 0), &authentication, &last], None)
        }),
        ("extension-headers-repeated", true, packet(OPTIONS, &[&options(6)], None)),
        ("extension-headers-too-many", false, packet(OPTIONS, &[&options(7)], None)),
        ("extension-headers-without-end", false, packet(HOP_BY_HOP, &[&plain(HOP_BY_HOP).repeat(150)], None)),
        ("extension-header-beyond-its-packet", false, packet(OPTIONS, &[&long(TCP, 255)], None)),
        ("extension-header-over-its-segment", false, packet(OPTIONS, &[&long(TCP, 1)], None)),
        ("extension-header-behind-the-packets-end", false, packet(OPTIONS, &[&plain(TCP)], Some(0))),
        ("segment-behind-the-packets-end", false, packet(OPTIONS, &[&plain(TCP)], Some(8))),
        ("extension-header-cut", false, packet(OPTIONS, &[&plain(TCP)], Some(1))),
        ("jumbogram", false, packet(HOP_BY_HOP, &[&[TCP, 0, 0xc2, 4, 0, 1, 0, 0]], Some(0))),
        ("fragment-atomic", true, packet(FRAGMENT, &[&fragment(TCP, 0)], None)),
        ("fragment-first", true, packet(FRAGMENT, &[&fragment(TCP, 1)], None)),
        ("fragment-between", false, packet(FRAGMENT, &[&fragment(TCP, 0x101)], None)),
        ("fragment-last-of-all", false, packet(FRAGMENT, &[&fragment(TCP, 0xfff8)], None)),
        (
            "fragment-first-and-atomic",
            true,
            packet(FRAGMENT, &[&fragment(FRAGMENT, 1), &fragment(TCP, 0)], None),
        ),
        (
            "fragment-atomic-and-last",
            false,
            packet(FRAGMENT, &[&fragment(FRAGMENT, 0), &fragment(TCP, 8)], None),
        ),
        ("fragment-header-cut", false, packet(FRAGMENT, &[&fragment(TCP, 0)], Some(3))),
    ]
}
