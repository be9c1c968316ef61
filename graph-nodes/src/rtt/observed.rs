//! What the measurement needs to know of a packet, read from the datagram once.

use std::num::NonZero;

use super::{
    Direction,
    ends::Ends,
    hash::{TAG_ECHO, TAG_IP6, TAG_OCCUPIED},
};
use crate::wire::{
    Network,
    ip4::{self, Ip4},
    ip6::{self, Ip6},
    tcp::{self, Tcp, TcpOption, flags},
};

/// What a packet is to the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP segment.
    Tcp,
    /// An ICMP echo request.
    EchoRequest,
    /// An ICMP echo reply.
    EchoReply,
}

/// The facts of one packet: 64 bytes, filled in once; a packet without facts, `None`, takes no more.
///
/// Everything in host order. Addresses are 128 bit, IPv4 in its mapped form (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2). Of an ICMP echo, both ports
/// are the identifier, and `sequence` is the sequence number; the fields of TCP are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    ends: Ends,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; means something with [`tcp::flags::ACK`].
    pub acknowledgement: u32,
    /// TSval; means something where [`Self::has_timestamps`].
    pub tsval: u32,
    /// TSecr; means something where [`Self::has_timestamps`], with [`tcp::flags::ACK`].
    pub tsecr: u32,
    /// Receive window, not scaled.
    pub window: u16,
    /// Bytes of TCP payload, by the IP header's length.
    pub payload: u16,
    /// Bytes of the IP datagram.
    pub length: u16,
    /// TCP flags, see [`tcp::flags`].
    pub flags: u8,
    marks: NonZero<u8>,
}

const _: () = assert!(size_of::<Option<Observed>>() == 64);

/// Bits of `marks`.
const TIMESTAMPS: u8 = 1 << 0;
const HOLE: u8 = 1 << 1;
const FRAGMENT: u8 = 1 << 2;
const BACKWARD_SHIFT: u32 = 3;
const BACKWARD: u8 = 1 << BACKWARD_SHIFT;
const REPLY: u8 = 1 << 4;
/// The upper three are those of the flow's tag; the last is always set.
const IP6: u8 = (TAG_IP6 >> 8) as u8;
const ECHO: u8 = (TAG_ECHO >> 8) as u8;
const ANY: NonZero<u8> = NonZero::new((TAG_OCCUPIED >> 8) as u8).unwrap();

/// Bytes of an IPv4 and a TCP header with timestamps and no other options.
const USUAL_HEADERS: usize = ip4::LENGTH + tcp::LENGTH + tcp::ALIGNED_TIMESTAMPS;

/// Upper bits of an IPv4-mapped address.
const MAPPED: u128 = 0xffff << 32;

/// Echo reply and echo request (RFC 792), code 0.
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// The same of ICMPv6 (RFC 4443 §4).
const ECHO_REPLY6: u8 = 129;
const ECHO_REQUEST6: u8 = 128;

/// What an IP header says of what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// Source address, IPv4 mapped.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Protocol number.
    pub protocol: u8,
    /// Bytes from the transport's header on, as far as they are there.
    pub body: &'a [u8],
    /// How many there are by the IP header.
    pub rest: u16,
    /// Bytes of the whole datagram.
    pub length: u16,
    /// The first piece of a fragmented datagram.
    pub piece: bool,
}

impl Observed {
    /// The facts of what a frame carries, or `None` if it is nothing that is measured.
    #[inline(always)]
    pub fn of(network: Network<'_>) -> Option<Observed> {
        match network {
            Network::Ip4(datagram) => Observed::ip4(datagram),
            Network::Ip6(packet) => Observed::ip6(packet),
            Network::Other => None,
        }
    }

    /// The facts of an IPv4 datagram that begins at `datagram`, or `None` if it is nothing that is measured: not TCP and no ICMP echo,
    /// not the first piece of a fragmented datagram, or headers that are cut short or lie about their lengths.
    ///
    /// The bytes may end before the datagram does, as in a capture that keeps only headers: the payload's length is what the IP header says.
    #[inline(always)]
    pub fn ip4(datagram: &[u8]) -> Option<Observed> {
        match Observed::usual(datagram) {
            Some(observed) => Some(observed),
            None => {
                // By way of a copy: where the call itself puts its result has to be memory in the usual case too.
                let observed = Observed::unusual(datagram)?;
                Some(observed)
            }
        }
    }

    /// As [`Self::ip4`], of the headers that nearly every packet has: no options but timestamps, as RFC 7323 appendix A recommends to lay them out, and no fragment.
    #[inline(always)]
    fn usual(datagram: &[u8]) -> Option<Observed> {
        let header = datagram.first_chunk::<USUAL_HEADERS>()?;
        let (words, _) = header.as_chunks::<4>();
        let word = |index: usize| u32::from_be_bytes(words[index]);
        let length = word(0) as u16;
        let usual = header[0] == ip4::PLAIN
            && usize::from(length) >= USUAL_HEADERS
            && word(1) as u16 & (ip4::MORE_FRAGMENTS | ip4::OFFSET) == 0
            && header[9] == ip4::TCP
            && usize::from(header[32] >> 4) * 4 == tcp::LENGTH + tcp::ALIGNED_TIMESTAMPS
            && word(10) == tcp::BEFORE_ALIGNED_TIMESTAMPS;
        if !usual {
            return None;
        }
        let (ends, backward) = Ends::ip4(word(3), word(4), word(5));
        Some(Observed {
            ends,
            sequence: word(6),
            acknowledgement: word(7),
            tsval: word(11),
            tsecr: word(12),
            window: word(8) as u16,
            payload: length - USUAL_HEADERS as u16,
            length,
            flags: (word(8) >> 16) as u8,
            marks: ANY | TIMESTAMPS | u8::from(backward) << BACKWARD_SHIFT,
        })
    }

    /// As [`Self::ip4`], of any headers. Cold, so that it is here that registers are saved.
    #[cold]
    #[inline(never)]
    fn unusual(datagram: &[u8]) -> Option<Observed> {
        let ip = Ip4::new(datagram)?;
        let header = ip.header_length();
        let fragment = ip.fragment();
        if ip.version_ihl() >> 4 != 4 || header < ip4::LENGTH || fragment & ip4::OFFSET != 0 {
            return None;
        }
        let rest = usize::from(ip.total_length()).checked_sub(header)?;
        Observed::carried(Carried {
            source: MAPPED | u128::from(ip.source()),
            destination: MAPPED | u128::from(ip.destination()),
            protocol: ip.protocol(),
            body: datagram.get(header..)?,
            rest: rest as u16,
            length: ip.total_length(),
            piece: fragment & ip4::MORE_FRAGMENTS != 0,
        })
    }

    /// As [`Self::ip4`], of an IPv6 packet that begins at `packet`. Jumbograms (RFC 2675) are nothing that is measured.
    #[inline(never)]
    pub fn ip6(packet: &[u8]) -> Option<Observed> {
        let ip = Ip6::new(packet)?;
        let ip6::Carried { protocol, start, piece } = ip6::carried(ip6::packet(packet))?;
        let length = ip.payload_length().checked_add(ip6::LENGTH as u16)?;
        let rest = usize::from(length).checked_sub(start)?;
        Observed::carried(Carried {
            source: ip.source(),
            destination: ip.destination(),
            protocol,
            body: packet.get(start..)?,
            rest: rest as u16,
            length,
            piece,
        })
    }

    /// The facts of a packet whose IP header, of either version, has been read already; `None` as for [`Observed::ip4`].
    #[inline(always)]
    pub fn carried(carried: Carried<'_>) -> Option<Observed> {
        let Carried { source, destination, protocol, body, rest, length, piece } = carried;
        let rest = usize::from(rest);
        let body = body.get(..rest).unwrap_or(body);
        let (ends, backward) = Ends::of(source, destination, ports(protocol, body)?);
        let ip6 = if ends.are_ip6() { IP6 } else { 0 };
        let mut observed = Observed {
            ends,
            sequence: 0,
            acknowledgement: 0,
            tsval: 0,
            tsecr: 0,
            window: 0,
            payload: 0,
            length,
            flags: 0,
            marks: ANY | ip6 | if piece { FRAGMENT } else { 0 } | u8::from(backward) << BACKWARD_SHIFT,
        };
        match protocol {
            ip4::TCP => observed.read_tcp(body, rest)?,
            ip4::ICMP if !observed.is_ip6() => observed.read_echo(body, ECHO_REQUEST, ECHO_REPLY)?,
            ip6::ICMP if observed.is_ip6() => observed.read_echo(body, ECHO_REQUEST6, ECHO_REPLY6)?,
            _ => return None,
        }
        Some(observed)
    }

    /// `rest` is the length of header and payload by the IP header, which `body` may fall short of.
    #[inline(always)]
    fn read_tcp(&mut self, body: &[u8], rest: usize) -> Option<()> {
        let tcp = Tcp::new(body)?;
        let header = tcp.header_length();
        let options = body.get(tcp::LENGTH..header)?;
        self.sequence = tcp.sequence();
        self.acknowledgement = tcp.acknowledgement();
        self.window = tcp.window();
        self.flags = tcp.flags();
        // At most 65535 - 20 - 20.
        self.payload = (rest - header) as u16;
        if let Some((value, echo)) = tcp::aligned_timestamps(options) {
            (self.tsval, self.tsecr) = (value, echo);
            self.marks |= TIMESTAMPS;
        } else if !options.is_empty() {
            let (value, echo, marks) = read_options(options, self.acknowledgement);
            (self.tsval, self.tsecr) = (value, echo);
            self.marks |= marks;
        }
        Some(())
    }

    #[inline(always)]
    fn read_echo(&mut self, body: &[u8], request: u8, reply: u8) -> Option<()> {
        let &[kind, 0, _, _, _, _, high, low, ..] = body else { return None };
        self.marks |= match kind {
            _ if kind == request => ECHO,
            _ if kind == reply => ECHO | REPLY,
            _ => return None,
        };
        self.sequence = u32::from(u16::from_be_bytes([high, low]));
        Some(())
    }

    /// Source address.
    pub fn source(&self) -> u128 {
        self.from().0
    }

    /// Destination address.
    pub fn destination(&self) -> u128 {
        self.to().0
    }

    /// Source port.
    pub fn source_port(&self) -> u16 {
        self.from().1
    }

    /// Destination port.
    pub fn destination_port(&self) -> u16 {
        self.to().1
    }

    fn from(&self) -> (u128, u16) {
        match self.direction() {
            Direction::Forward => self.ends.lower(),
            Direction::Backward => self.ends.higher(),
        }
    }

    fn to(&self) -> (u128, u16) {
        match self.direction() {
            Direction::Forward => self.ends.higher(),
            Direction::Backward => self.ends.lower(),
        }
    }

    /// The flow's ends, the lower one first.
    #[inline(always)]
    pub(super) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// The bits of the flow's tag that are not hash.
    #[inline(always)]
    pub(super) fn kind_bits(&self) -> u16 {
        u16::from(self.marks.get() & (IP6 | ECHO | ANY.get())) << 8
    }

    /// What it is.
    #[inline(always)]
    pub fn kind(&self) -> Kind {
        match self.marks.get() & (ECHO | REPLY) {
            0 => Kind::Tcp,
            ECHO => Kind::EchoRequest,
            _ => Kind::EchoReply,
        }
    }

    /// The segment carries TCP timestamps.
    #[inline(always)]
    pub fn has_timestamps(&self) -> bool {
        self.marks.get() & TIMESTAMPS != 0
    }

    /// A SACK block lies above the acknowledgement number: the receiver has a hole. A block at or below it only reports a duplicate (RFC 2883)
    /// and does not count.
    #[inline(always)]
    pub fn reports_hole(&self) -> bool {
        self.marks.get() & HOLE != 0
    }

    /// The first piece of a fragmented datagram: `payload` is that of the piece.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.marks.get() & FRAGMENT != 0
    }

    /// A TCP segment with timestamps, and nothing that is rare: no fragment, no hole, ACK without SYN, FIN or RST, an open window.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        const RARE: u8 = flags::SYN | flags::FIN | flags::RST;
        const LOOKED_AT: u16 = u16::from_le_bytes([RARE | flags::ACK, !(BACKWARD | IP6)]);
        const PLAIN: u16 = u16::from_le_bytes([flags::ACK, ANY.get() | TIMESTAMPS]);
        (u16::from_le_bytes([self.flags, self.marks.get()]) & LOOKED_AT == PLAIN) & (self.window != 0)
    }

    /// Addresses beyond IPv4's.
    #[inline(always)]
    pub(super) fn is_ip6(&self) -> bool {
        self.marks.get() & IP6 != 0
    }

    /// Which of its flow's two directions the packet travels in.
    #[inline(always)]
    pub fn direction(&self) -> Direction {
        if self.marks.get() & BACKWARD == 0 { Direction::Forward } else { Direction::Backward }
    }
}

/// Ports, the source's in the upper half; of an ICMP echo, twice the identifier.
#[inline(always)]
fn ports(protocol: u8, body: &[u8]) -> Option<u32> {
    let at = if protocol == ip4::TCP { [0, 1, 2, 3] } else { [4, 5, 4, 5] };
    let body = body.first_chunk::<8>()?;
    Some(u32::from_be_bytes(at.map(|at: usize| body[at])))
}

/// TSval, TSecr, and marks, from options in any layout. By value, so that the facts of nearly every segment can stay in registers.
fn read_options(options: &[u8], acknowledgement: u32) -> (u32, u32, u8) {
    let (mut tsval, mut tsecr, mut marks) = (0, 0, 0);
    for option in tcp::options(options) {
        match option {
            TcpOption::Timestamps { value, echo } => {
                (tsval, tsecr) = (value, echo);
                marks |= TIMESTAMPS;
            }
            TcpOption::Sack(sack) => {
                let above = |(left, right): (u32, u32)| {
                    left.wrapping_sub(acknowledgement) as i32 > 0 && right.wrapping_sub(left) as i32 > 0
                };
                if sack.blocks().any(above) {
                    marks |= HOLE;
                }
            }
        }
    }
    (tsval, tsecr, marks)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// 10.0.0.1:1000 → 10.0.0.2:80, ACK, TSval 7, TSecr 9, five bytes of payload.
    fn datagram() -> Vec<u8> {
        let mut bytes = vec![
            0x45, 0, 0, 57, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IP
            0x03, 0xe8, 0, 80, 0, 0, 1, 0, 0, 0, 2, 0, 0x80, 0x10, 0, 99, 0, 0, 0, 0, // TCP
            1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9,
        ];
        bytes.extend([b'x'; 5]);
        bytes
    }

    #[test]
    fn facts_of_a_segment() {
        let observed = Observed::ip4(&datagram()).unwrap();
        assert_eq!(observed.source(), 0xffff_0a00_0001);
        assert_eq!(observed.destination(), 0xffff_0a00_0002);
        assert_eq!((observed.source_port(), observed.destination_port()), (1000, 80));
        assert_eq!((observed.sequence, observed.acknowledgement), (256, 512));
        assert_eq!((observed.tsval, observed.tsecr, observed.has_timestamps()), (7, 9, true));
        assert_eq!((observed.payload, observed.length, observed.window), (5, 57, 99));
        assert_eq!((observed.kind(), observed.direction()), (Kind::Tcp, Direction::Forward));
        assert!(!observed.is_fragment() && !observed.is_ip6());
    }

    #[test]
    fn a_capture_that_keeps_only_headers_has_the_same_facts() {
        let whole = datagram();
        for length in 52..57 {
            assert_eq!(Observed::ip4(&whole[..length]), Observed::ip4(&whole));
        }
        for length in 0..52 {
            assert_eq!(Observed::ip4(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn lying_lengths_and_later_fragments_are_nothing() {
        let wrong = |change: fn(&mut Vec<u8>)| {
            let mut bytes = datagram();
            change(&mut bytes);
            Observed::ip4(&bytes)
        };
        assert_eq!(wrong(|b| b[0] = 0x44), None, "IHL 4");
        assert_eq!(wrong(|b| b[0] = 0x65), None, "version 6");
        assert_eq!(wrong(|b| b[3] = 19), None, "total length below the header's");
        assert_eq!(wrong(|b| b[3] = 51), None, "TCP header beyond the datagram");
        assert_eq!(wrong(|b| b[32] = 0x40), None, "data offset 4");
        assert_eq!(wrong(|b| b[32] = 0xf0), None, "data offset beyond the datagram");
        assert_eq!(wrong(|b| b[7] = 1), None, "a later fragment");
        assert_eq!(wrong(|b| b[9] = 17), None, "UDP");
        assert!(wrong(|b| b[6] = 0x20).unwrap().is_fragment());
        assert_eq!(wrong(|b| b[3] = 52).unwrap().payload, 0);
        let options = wrong(|b| b[43] = 0).unwrap();
        assert!(!options.has_timestamps(), "an option of length 0");
    }

    #[test]
    fn a_duplicate_report_is_no_hole() {
        let with = |left: u32, right: u32| {
            let mut bytes = datagram();
            bytes[40..44].copy_from_slice(&[1, 1, 5, 10]);
            bytes[44..48].copy_from_slice(&left.to_be_bytes());
            bytes[48..52].copy_from_slice(&right.to_be_bytes());
            Observed::ip4(&bytes).unwrap().reports_hole()
        };
        assert!(with(600, 700));
        assert!(!with(400, 512), "D-SACK");
        assert!(!with(512, 600), "starts at the acknowledgement: no hole");
        assert!(!with(700, 600), "upside down");
    }

    #[test]
    fn echoes() {
        let mut bytes = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
        bytes.extend([8, 0, 0, 0, 0x12, 0x34, 0x56, 0x78]);
        let request = Observed::ip4(&bytes).unwrap();
        assert_eq!((request.kind(), request.direction()), (Kind::EchoRequest, Direction::Backward));
        assert_eq!((request.source_port(), request.sequence), (0x1234, 0x5678));
        bytes[20] = 0;
        assert_eq!(Observed::ip4(&bytes).unwrap().kind(), Kind::EchoReply);
        bytes[21] = 1;
        assert_eq!(Observed::ip4(&bytes), None, "code 1");
        bytes[21] = 0;
        (bytes[9], bytes[20]) = (ip6::ICMP, ECHO_REQUEST6);
        assert_eq!(Observed::ip4(&bytes), None, "ICMPv6 inside IPv4");
    }

    #[test]
    fn facts_of_what_ip6_carries() {
        let whole = datagram();
        fn carried(protocol: u8, body: &[u8]) -> Carried<'_> {
            Carried {
                source: 0x2001_0db8 << 96 | 2,
                destination: 0x2001_0db8 << 96 | 1,
                protocol,
                body,
                rest: 37,
                length: 77,
                piece: false,
            }
        }
        let segment = Observed::carried(carried(ip4::TCP, &whole[20..])).unwrap();
        assert_eq!((segment.payload, segment.length, segment.tsval), (5, 77, 7));
        assert_eq!((segment.is_ip6(), segment.direction()), (true, Direction::Backward));
        let echo = |kind| [kind, 0, 0, 0, 0x12, 0x34, 0x56, 0x78];
        let kind = |protocol, kind| Observed::carried(carried(protocol, &echo(kind))).map(|echo| echo.kind());
        assert_eq!(kind(ip6::ICMP, ECHO_REQUEST6), Some(Kind::EchoRequest));
        assert_eq!(kind(ip6::ICMP, ECHO_REPLY6), Some(Kind::EchoReply));
        assert_eq!(kind(ip6::ICMP, ECHO_REQUEST), None);
        assert_eq!(kind(ip4::ICMP, ECHO_REQUEST), None, "ICMP inside IPv6");

        // The same segment with its header, and bytes behind it that are padding.
        let mut packet = vec![0x60, 0, 0, 0, 0, 37, ip4::TCP, 64];
        packet.extend((0x2001_0db8_u128 << 96 | 2).to_be_bytes());
        packet.extend((0x2001_0db8_u128 << 96 | 1).to_be_bytes());
        packet.extend([&whole[20..], &[0; 9]].concat());
        assert_eq!(Observed::of(Network::Ip6(&packet)), Some(segment));
        let options = [&packet[..6], &[60], &packet[7..40], &[ip4::TCP, 0, 1, 4, 0, 0, 0, 0], &packet[40..]];
        let mut options = options.concat();
        options[5] += 8;
        let behind = Observed::ip6(&options).unwrap();
        assert_eq!((behind.payload, behind.length, behind.tsecr), (5, 85, 9), "behind destination options");
        options[5] = 7;
        assert_eq!(Observed::ip6(&options), None, "a length below that of the extension headers");
        packet[4..6].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(Observed::ip6(&packet), None, "longer than any length that is counted");
        assert_eq!(Observed::of(Network::Other), None);
    }
    proptest! {
        #[test]
        fn usual_headers_are_read_as_any_are(
            changes in vec((0..52usize, any::<u8>()), 0..3),
            swap in any::<bool>(),
            length in 50..57usize,
        ) {
            let mut bytes = datagram();
            if swap {
                bytes[12..24].rotate_left(4);
            }
            for (at, value) in changes {
                bytes[at] = value;
            }
            bytes.truncate(length);
            prop_assert_eq!(Observed::ip4(&bytes), Observed::unusual(&bytes));
        }
    }
}
