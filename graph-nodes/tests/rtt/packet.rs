//! One simulated packet: what it means, and its bytes as `etherparse` writes them.

use etherparse::{IpNumber, Ipv4Header, Ipv4Options, TcpHeader, TcpOptionElement};

use super::world::Rng;

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Syn,
    Data,
    Ack,
    Fin,
    KeepAlive,
    Probe,
}

/// What a segment says, in numbers that do not wrap.
#[derive(Clone, Debug)]
pub struct Fact {
    pub connection: u64,
    /// 0 is the SYN.
    pub sequence: u64,
    /// Bytes of data.
    pub length: u64,
    pub purpose: Purpose,
    /// Some of it has been sent before.
    pub resent: bool,
    pub acknowledgement: Option<u64>,
    pub tsval: Option<u64>,
    pub tsecr: u64,
    pub sack: Vec<(u64, u64)>,
    pub window: u16,
}

impl Fact {
    /// Behind the last sequence number.
    pub fn end(&self) -> u64 {
        self.sequence + self.length + u64::from(matches!(self.purpose, Purpose::Syn | Purpose::Fin))
    }
}

/// A segment on its way.
pub struct Packet {
    /// Who sent it: 0 or 1.
    pub side: usize,
    pub fact: Fact,
    /// When it came to the point, and when it left.
    pub arrived: Option<u64>,
    pub departed: Option<u64>,
    /// The IPv4 datagram; of the payload, nothing but the length matters.
    pub datagram: Vec<u8>,
}

/// The hosts. The first is the lower address in half of the worlds, see `Packet::new`.
const ADDRESSES: [[u8; 4]; 2] = [[10, 0, 0, 1], [192, 168, 7, 9]];
const PORTS: [u16; 2] = [40_000, 443];

/// Initial sequence number of a connection's side: close to the wrap.
fn initial(connection: u64, side: usize) -> u32 {
    (0u32)
        .wrapping_sub(20_000)
        .wrapping_add(connection as u32 * 77_777_777)
        .wrapping_sub(side as u32 * 12_345)
}

impl Packet {
    pub fn new(side: usize, fact: Fact, rng: &mut Rng) -> Packet {
        let own = initial(fact.connection, side);
        let other = initial(fact.connection, 1 - side);
        let mut tcp =
            TcpHeader::new(PORTS[side], PORTS[1 - side], own.wrapping_add(fact.sequence as u32), fact.window);
        tcp.syn = fact.purpose == Purpose::Syn;
        tcp.fin = fact.purpose == Purpose::Fin;
        tcp.psh = fact.length > 0;
        if let Some(acknowledgement) = fact.acknowledgement {
            tcp.ack = true;
            tcp.acknowledgment_number = other.wrapping_add(acknowledgement as u32);
        }
        let mut options = Vec::new();
        if tcp.syn {
            options.push(TcpOptionElement::MaximumSegmentSize(1460));
        }
        if let Some(tsval) = fact.tsval {
            let tsecr = if fact.acknowledgement.is_some() { fact.tsecr as u32 } else { 0 };
            let timestamp = TcpOptionElement::Timestamp(tsval as u32, tsecr);
            match rng.below(3) {
                0 => options.push(timestamp),
                _ => options.extend([TcpOptionElement::Noop, TcpOptionElement::Noop, timestamp]),
            }
        }
        let mut blocks = fact
            .sack
            .iter()
            .map(|&(start, stop)| (other.wrapping_add(start as u32), other.wrapping_add(stop as u32)));
        if let Some(first) = blocks.next() {
            let rest = [blocks.next(), blocks.next(), None];
            options.push(TcpOptionElement::SelectiveAcknowledgement(first, rest));
        }
        tcp.set_options(&options).unwrap();
        let payload = vec![0x78; fact.length as usize];
        let length = (tcp.header_len() + payload.len()) as u16;
        let mut ip =
            Ipv4Header::new(length, 64, IpNumber::TCP, ADDRESSES[side], ADDRESSES[1 - side]).unwrap();
        ip.identification = rng.next() as u16;
        if rng.chance(10) {
            // Router alert (RFC 2113), or a list of no-operations.
            ip.options =
                if rng.chance(50) { Ipv4Options::from([148, 4, 0, 0]) } else { Ipv4Options::from([1u8; 40]) };
        }
        ip.set_payload_len(usize::from(length)).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        tcp.checksum = tcp.calc_checksum_ipv4(&ip, &payload).unwrap();
        let mut datagram = Vec::new();
        ip.write(&mut datagram).unwrap();
        tcp.write(&mut datagram).unwrap();
        datagram.extend(payload);
        Packet { side, fact, arrived: None, departed: None, datagram }
    }
}
