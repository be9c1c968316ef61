//! Frames that tests make and take apart.

use std::net::Ipv6Addr;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{IpNumber, Ipv4Header, Ipv4HeaderSlice, Ipv6Header, PacketBuilder, UdpHeader};

use crate::lab::Host;

/// Bytes before the IP header.
pub const ETHERNET: usize = 14;

/// A UDP packet from one host to another, as `from` would hand it to its router.
pub fn udp(from: &Host, to: &Host, ttl: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let packet = PacketBuilder::ethernet2(from.mac, from.gateway_mac)
        .ipv4(from.address.octets(), to.address.octets(), ttl)
        .udp(4001, 4002);
    let mut frame = Vec::with_capacity(packet.size(payload.len()));
    packet.write(&mut frame, payload)?;
    Ok(frame)
}

/// Changes a frame's IP header and writes it back with its checksum.
pub fn edit_ip(frame: &mut [u8], edit: impl FnOnce(&mut Ipv4Header)) -> Result<()> {
    let (mut header, _) =
        Ipv4Header::from_slice(frame.get(ETHERNET..).context("a frame without an IP header")?)?;
    let length = header.header_len();
    edit(&mut header);
    ensure!(header.header_len() == length, "the header's length is fixed");
    let mut bytes = Vec::with_capacity(length);
    header.header_checksum = header.calc_header_checksum();
    header.write_raw(&mut bytes)?;
    frame[ETHERNET..ETHERNET + length].copy_from_slice(&bytes);
    Ok(())
}

/// The IP header of a frame, its checksum verified, and the bytes after it, without Ethernet's padding.
pub fn ip(frame: &[u8]) -> Result<(Ipv4Header, &[u8])> {
    let packet = frame.get(ETHERNET..).context("a frame without an IP header")?;
    let (header, _) = Ipv4Header::from_slice(packet)?;
    ensure!(
        header.header_checksum == header.calc_header_checksum(),
        "wrong IP header checksum in {header:?}"
    );
    let payload =
        packet.get(header.header_len()..usize::from(header.total_len)).context("a frame cut short")?;
    Ok((header, payload))
}

/// Whether a frame is IPv4 of this protocol.
pub fn is_ip(frame: &[u8], protocol: IpNumber) -> bool {
    frame.get(12..14) == Some(&[8, 0])
        && Ipv4HeaderSlice::from_slice(&frame[ETHERNET..]).is_ok_and(|header| header.protocol() == protocol)
}

/// An IPv6 packet from a host, as it would hand it to its router. `next` is the type of the header with which the payload begins.
pub fn ip6(from: &Host, to: Ipv6Addr, hop_limit: u8, next: IpNumber, payload: &[u8]) -> Result<Vec<u8>> {
    let header = Ipv6Header {
        payload_length: payload.len().try_into()?,
        next_header: next,
        hop_limit,
        source: from.address6.octets(),
        destination: to.octets(),
        ..Default::default()
    };
    let mut frame = [&from.gateway_mac[..], &from.mac, &[0x86, 0xdd]].concat();
    header.write(&mut frame)?;
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// The UDP datagram that a host sends to an IPv6 address: from its own header on.
pub fn datagram6(from: &Host, to: Ipv6Addr, data: &[u8]) -> Result<Vec<u8>> {
    let addresses = (from.address6.octets(), to.octets());
    let header = UdpHeader::without_ipv4_checksum(4001, 4002, data.len())?;
    let checksum = header.calc_checksum_ipv6_raw(addresses.0, addresses.1, data)?;
    Ok([&UdpHeader { checksum, ..header }.to_bytes()[..], data].concat())
}

/// The IPv6 header of a frame and the bytes after it, without Ethernet's padding; `None` where the first header after IPv6's is not this one.
pub fn as_ip6(frame: &[u8], next: IpNumber) -> Option<(Ipv6Header, &[u8])> {
    if frame.get(12..ETHERNET) != Some(&[0x86, 0xdd]) {
        return None;
    }
    let (header, rest) = Ipv6Header::from_slice(&frame[ETHERNET..]).ok()?;
    let payload = rest.get(..header.payload_length.into())?;
    (header.next_header == next).then_some((header, payload))
}

/// An ICMPv6 message, as [`icmp`] takes it apart. The checksum, over the addresses too, is verified.
pub fn icmp6<'a>(header: &Ipv6Header, message: &'a [u8]) -> Result<(u8, u8, [u8; 4], &'a [u8])> {
    let length = u32::from(header.payload_length).to_be_bytes();
    let pseudo = [&header.source[..], &header.destination, &length, &[0, 0, 0, IpNumber::IPV6_ICMP.0]];
    ensure!(internet_checksum(&[&pseudo.concat(), message].concat()) == 0, "wrong ICMPv6 checksum");
    let [kind, code, _, _, a, b, c, d, quote @ ..] = message else {
        bail!("an ICMPv6 message of {} bytes", message.len());
    };
    Ok((*kind, *code, [*a, *b, *c, *d], quote))
}

/// An ICMP message: its type and code, the four bytes after its checksum, and what it quotes. The checksum is verified.
pub fn icmp(message: &[u8]) -> Result<(u8, u8, [u8; 4], &[u8])> {
    ensure!(internet_checksum(message) == 0, "wrong ICMP checksum");
    let [kind, code, _, _, a, b, c, d, quote @ ..] = message else {
        bail!("an ICMP message of {} bytes", message.len());
    };
    Ok((*kind, *code, [*a, *b, *c, *d], quote))
}

/// RFC 1071: 0 over bytes that contain their own correct checksum.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let sum: u64 = bytes
        .chunks(2)
        .map(|pair| (u64::from(pair[0]) << 8) | pair.get(1).map_or(0, |low| u64::from(*low)))
        .sum();
    let folded = (0..4).fold(sum, |sum, _| (sum >> 16) + (sum & 0xffff));
    !(folded as u16)
}
