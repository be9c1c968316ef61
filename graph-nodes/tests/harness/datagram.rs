//! Frames to feed, and what came of them; built and taken apart with `etherparse`, which shares no code with weir.

use std::net::Ipv4Addr;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header, UdpHeader};

use super::{link_header, neighbour_mac, port_mac, town};

/// An IPv4 datagram to build: change what matters.
#[derive(Clone)]
pub struct Datagram {
    /// The header; its checksum and total length are filled in by [`Datagram::bytes`].
    pub header: Ipv4Header,
    /// What follows the header.
    pub payload: Vec<u8>,
}

fn octets(address: &str) -> [u8; 4] {
    address.parse::<Ipv4Addr>().unwrap().octets()
}

/// Bytes that tell their place, so that a piece that lands in a wrong one is seen.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8).collect()
}

impl Datagram {
    /// Any protocol, from the host behind the west port, TTL 64.
    pub fn of(protocol: IpNumber, destination: &str, payload: Vec<u8>) -> Datagram {
        let mut header = Ipv4Header::new(0, 64, protocol, octets(town::HOST), octets(destination)).unwrap();
        header.identification = 0x1234;
        header.dont_fragment = false;
        Datagram { header, payload }
    }

    /// UDP with this many bytes of user data, and a right checksum.
    pub fn udp(destination: &str, length: usize) -> Datagram {
        Datagram::udp_ports(destination, 4000, 5000, length)
    }

    /// UDP between these ports.
    pub fn udp_ports(destination: &str, from: u16, to: u16, length: usize) -> Datagram {
        let data = pattern(length);
        let source = octets(town::HOST);
        let mut udp =
            UdpHeader { source_port: from, destination_port: to, length: 8 + length as u16, checksum: 0 };
        udp.checksum = udp.calc_checksum_ipv4_raw(source, octets(destination), &data).unwrap();
        Datagram::of(IpNumber::UDP, destination, [udp.to_bytes().as_slice(), &data].concat())
    }

    /// An ICMP message.
    pub fn icmp(destination: &str, kind: Icmpv4Type, body: &[u8]) -> Datagram {
        let icmp = Icmpv4Header::with_checksum(kind, body);
        Datagram::of(IpNumber::ICMP, destination, [icmp.to_bytes().as_slice(), body].concat())
    }

    /// A ping.
    pub fn echo(destination: &str) -> Datagram {
        let kind = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 1 });
        Datagram::icmp(destination, kind, &pattern(24))
    }

    pub fn from(mut self, source: &str) -> Datagram {
        self.header.source = octets(source);
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Datagram {
        self.header.time_to_live = ttl;
        self
    }

    pub fn dont_fragment(mut self) -> Datagram {
        self.header.dont_fragment = true;
        self
    }

    /// Makes it a fragment: `offset` in units of eight bytes.
    pub fn fragment(mut self, offset: u16, more: bool) -> Datagram {
        self.header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        self.header.more_fragments = more;
        self
    }

    /// IPv4 options, filled up to four bytes with zeroes.
    pub fn options(mut self, options: &[u8]) -> Datagram {
        let mut padded = options.to_vec();
        padded.resize(options.len().next_multiple_of(4), 0);
        self.header.options = padded.as_slice().try_into().unwrap();
        self
    }

    /// The datagram, lengths and header checksum right.
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        header.set_payload_len(self.payload.len()).unwrap();
        header.header_checksum = header.calc_header_checksum();
        [header.to_bytes().as_slice(), &self.payload].concat()
    }

    /// The frame in which the host behind `port` sends it to the router.
    pub fn frame(&self, port: u16) -> Vec<u8> {
        arriving(port, &self.bytes())
    }
}

/// The frame in which the host behind `port` sends these bytes as IPv4 to the router.
pub fn arriving(port: u16, datagram: &[u8]) -> Vec<u8> {
    let sender = neighbour_mac(&format!("10.0.{port}.2"));
    [&link_header(port_mac(port), sender), datagram].concat()
}

/// The frame in which the router sends these bytes by `port` to a neighbour.
pub fn leaving(port: u16, neighbour: &str, datagram: &[u8]) -> Vec<u8> {
    [&link_header(neighbour_mac(neighbour), port_mac(port)), datagram].concat()
}

/// Changes bytes of the IPv4 header of a frame and makes its checksum right again.
pub fn patched(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[14 + at..14 + at + bytes.len()].copy_from_slice(bytes);
    let length = usize::from(frame[14] & 0x0f) * 4;
    let checksum = header_checksum(&frame[14..14 + length]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// RFC 1071 by the letter, over a header whatever its length says; the checksum field counts as zero.
pub fn header_checksum(header: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (at, pair) in header.chunks(2).enumerate() {
        if at != 5 {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Takes a frame apart; its header checksum must be right and its total length must be all that follows the Ethernet header.
pub fn parse(frame: &[u8]) -> (Ipv4Header, &[u8]) {
    assert_eq!(frame[12..14], [0x08, 0x00], "EtherType");
    let (header, payload) = Ipv4Header::from_slice(&frame[14..]).unwrap();
    let raw = &frame[14..14 + header.header_len()];
    assert_eq!(header.header_checksum, header_checksum(raw), "header checksum of {header:?}");
    // etherparse leaves the reserved flag out of its sum.
    if raw[6] & 0x80 == 0 {
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "header checksum of {header:?}");
    }
    assert_eq!(usize::from(header.total_len), frame.len() - 14, "total length, and no padding");
    (header, payload)
}

/// The ICMP error that must come back: from `router`, the port's address, to `sender`, about `datagram`. Everything but the identification,
/// which is the router's choice, is fixed.
pub fn icmp_error(
    router: &str,
    sender: &str,
    identification: u16,
    kind: Icmpv4Type,
    datagram: &[u8],
) -> Vec<u8> {
    // RFC 1812 §4.3.2.3: as much as fits into 576 bytes.
    let quoted = &datagram[..datagram.len().min(576 - 20 - 8)];
    let icmp = Icmpv4Header::with_checksum(kind, quoted);
    let payload = [icmp.to_bytes().as_slice(), quoted].concat();
    let mut error = Datagram::of(IpNumber::ICMP, sender, payload).from(router);
    error.header.identification = identification;
    // RFC 1812 §4.3.2.5: precedence 6, which is DSCP 48, TOS 0xc0.
    error.header.dscp = etherparse::IpDscp::try_new(48).unwrap();
    error.bytes()
}
