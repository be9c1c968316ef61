//! IPv6 packets to feed, and what came of them; built and taken apart with `etherparse`, which shares no code with weir.

use std::net::Ipv6Addr;

use etherparse::{Icmpv6Header, Icmpv6Type, IpNumber, Ipv6Header, UdpHeader};

use super::{datagram::pattern, neighbour_mac, port_mac, town};

/// An IPv6 packet to build: change what matters.
#[derive(Clone)]
pub struct Packet6 {
    /// The header; its payload length is filled in by [`Packet6::bytes`].
    pub header: Ipv6Header,
    /// What follows the header, extension headers first.
    pub payload: Vec<u8>,
}

fn octets(address: &str) -> [u8; 16] {
    address.parse::<Ipv6Addr>().unwrap().octets()
}

impl Packet6 {
    /// Any protocol, from the host behind the west port, hop limit 64.
    pub fn of(protocol: IpNumber, destination: &str, payload: Vec<u8>) -> Packet6 {
        let header = Ipv6Header {
            next_header: protocol,
            hop_limit: 64,
            source: octets(town::HOST6),
            destination: octets(destination),
            ..Ipv6Header::default()
        };
        Packet6 { header, payload }
    }

    /// UDP with this many bytes of user data, and a right checksum.
    pub fn udp(destination: &str, length: usize) -> Packet6 {
        Packet6::udp_ports(destination, 4000, 5000, length)
    }

    /// UDP between these ports.
    pub fn udp_ports(destination: &str, from: u16, to: u16, length: usize) -> Packet6 {
        let data = pattern(length);
        let mut udp =
            UdpHeader { source_port: from, destination_port: to, length: 8 + length as u16, checksum: 0 };
        udp.checksum = udp.calc_checksum_ipv6_raw(octets(town::HOST6), octets(destination), &data).unwrap();
        Packet6::of(IpNumber::UDP, destination, [udp.to_bytes().as_slice(), &data].concat())
    }

    /// An ICMPv6 message of this type and code, with four bytes of zero and a body.
    pub fn icmp(destination: &str, kind: u8, body: &[u8]) -> Packet6 {
        Packet6::of(IpNumber::IPV6_ICMP, destination, [&[kind, 0, 0, 0, 0, 0, 0, 0], body].concat())
    }

    pub fn from(mut self, source: &str) -> Packet6 {
        self.header.source = octets(source);
        self
    }

    pub fn hops(mut self, limit: u8) -> Packet6 {
        self.header.hop_limit = limit;
        self
    }

    pub fn label(mut self, label: u32) -> Packet6 {
        self.header.flow_label = label.try_into().unwrap();
        self
    }

    /// Puts an extension header in front of what there is: its number, and its bytes behind the next header's number, filled up to a multiple of eight.
    pub fn behind(mut self, number: u8, bytes: &[u8]) -> Packet6 {
        let mut extension = [&[self.header.next_header.0], bytes].concat();
        extension.resize(extension.len().next_multiple_of(8), 0);
        extension.extend(&self.payload);
        self.payload = extension;
        self.header.next_header = IpNumber(number);
        self
    }

    /// Hop-by-hop options, which must fill up their header.
    pub fn options(self, options: &[u8]) -> Packet6 {
        assert_eq!((options.len() + 2) % 8, 0);
        self.behind(0, &[&[(options.len() / 8) as u8], options].concat())
    }

    /// Makes it a fragment: `offset` in units of eight bytes.
    pub fn fragment(self, offset: u16, more: bool) -> Packet6 {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        self.behind(44, &[0, high, low, 0, 0, 0, 7])
    }

    /// The packet, payload length right.
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        header.set_payload_length(self.payload.len()).unwrap();
        [header.to_bytes().as_slice(), &self.payload].concat()
    }

    /// The frame in which the host behind `port` sends it to the router.
    pub fn frame(&self, port: u16) -> Vec<u8> {
        arriving6(port, &self.bytes())
    }
}

/// The frame in which the host behind `port` sends these bytes as IPv6 to the router.
pub fn arriving6(port: u16, packet: &[u8]) -> Vec<u8> {
    let sender = neighbour_mac(&town::neighbour6(port));
    [&port_mac(port)[..], &sender, &[0x86, 0xdd], packet].concat()
}

/// The frame in which the router sends these bytes by `port` to a neighbour.
pub fn leaving6(port: u16, neighbour: &str, packet: &[u8]) -> Vec<u8> {
    [&neighbour_mac(neighbour)[..], &port_mac(port), &[0x86, 0xdd], packet].concat()
}

/// Takes a frame apart; its payload length must be all that follows the header.
pub fn parse6(frame: &[u8]) -> (Ipv6Header, &[u8]) {
    assert_eq!(frame[12..14], [0x86, 0xdd], "EtherType");
    let (header, payload) = Ipv6Header::from_slice(&frame[14..]).unwrap();
    assert_eq!(usize::from(header.payload_length), payload.len(), "payload length, and no padding");
    (header, payload)
}

/// The ICMPv6 error that must come back: from `router`, the port's address, to `sender`, about `packet`.
pub fn icmp6_error(router: &str, sender: &str, kind: Icmpv6Type, packet: &[u8]) -> Vec<u8> {
    // RFC 4443 §2.4(c): as much as fits into 1280 bytes.
    let quoted = &packet[..packet.len().min(1280 - 40 - 8)];
    let icmp = Icmpv6Header::with_checksum(kind, octets(router), octets(sender), quoted).unwrap();
    let payload = [icmp.to_bytes().as_slice(), quoted].concat();
    Packet6::of(IpNumber::IPV6_ICMP, sender, payload).from(router).bytes()
}
