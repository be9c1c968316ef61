//! Packets by hand: one at a time, for a rule at a time.

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpNumber, Ipv4Header, TcpHeader, TcpOptionElement,
};

/// One end of a flow.
pub type End = ([u8; 4], u16);

pub const A: End = ([10, 0, 0, 1], 40_000);
pub const B: End = ([192, 168, 7, 9], 443);

/// A segment to build: change what matters.
#[derive(Clone, Copy)]
pub struct Segment {
    pub from: End,
    pub to: End,
    pub sequence: u32,
    pub acknowledgement: Option<u32>,
    pub length: usize,
    pub timestamps: Option<(u32, u32)>,
    pub sack: Option<(u32, u32)>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub window: u16,
}

impl Segment {
    /// An acknowledgement of everything up to `acknowledgement`, without data.
    pub fn new(from: End, to: End, sequence: u32, acknowledgement: u32) -> Segment {
        Segment {
            from,
            to,
            sequence,
            acknowledgement: Some(acknowledgement),
            length: 0,
            timestamps: None,
            sack: None,
            syn: false,
            fin: false,
            rst: false,
            window: 500,
        }
    }

    pub fn a(sequence: u32, acknowledgement: u32) -> Segment {
        Segment::new(A, B, sequence, acknowledgement)
    }

    pub fn b(sequence: u32, acknowledgement: u32) -> Segment {
        Segment::new(B, A, sequence, acknowledgement)
    }

    /// The SYN that opens.
    pub fn opens(from: End, to: End, sequence: u32) -> Segment {
        Segment { acknowledgement: None, syn: true, ..Segment::new(from, to, sequence, 0) }
    }

    pub fn syn(self) -> Segment {
        Segment { syn: true, ..self }
    }

    pub fn fin(self) -> Segment {
        Segment { fin: true, ..self }
    }

    pub fn rst(self) -> Segment {
        Segment { rst: true, ..self }
    }

    pub fn data(self, length: usize) -> Segment {
        Segment { length, ..self }
    }

    pub fn timestamps(self, tsval: u32, tsecr: u32) -> Segment {
        Segment { timestamps: Some((tsval, tsecr)), ..self }
    }

    pub fn sack(self, start: u32, stop: u32) -> Segment {
        Segment { sack: Some((start, stop)), ..self }
    }

    pub fn window(self, window: u16) -> Segment {
        Segment { window, ..self }
    }

    pub fn bytes(self) -> Vec<u8> {
        let mut tcp = TcpHeader::new(self.from.1, self.to.1, self.sequence, self.window);
        (tcp.syn, tcp.fin, tcp.rst) = (self.syn, self.fin, self.rst);
        (tcp.ack, tcp.acknowledgment_number) =
            (self.acknowledgement.is_some(), self.acknowledgement.unwrap_or(0));
        let mut options = Vec::new();
        if let Some((tsval, tsecr)) = self.timestamps {
            options.push(TcpOptionElement::Timestamp(tsval, tsecr));
        }
        if let Some(block) = self.sack {
            options.push(TcpOptionElement::SelectiveAcknowledgement(block, [None; 3]));
        }
        tcp.set_options(&options).unwrap();
        let length = (tcp.header_len() + self.length) as u16;
        let ip = Ipv4Header::new(length, 64, IpNumber::TCP, self.from.0, self.to.0).unwrap();
        let mut bytes = Vec::new();
        ip.write(&mut bytes).unwrap();
        tcp.write(&mut bytes).unwrap();
        bytes.resize(bytes.len() + self.length, 0);
        bytes
    }
}

/// An ICMP echo request, or the reply to it.
pub fn echo(from: [u8; 4], to: [u8; 4], reply: bool, id: u16, seq: u16) -> Vec<u8> {
    let header = IcmpEchoHeader { id, seq };
    let kind = if reply { Icmpv4Type::EchoReply(header) } else { Icmpv4Type::EchoRequest(header) };
    let icmp = Icmpv4Header::with_checksum(kind, &[]);
    let ip = Ipv4Header::new(8, 64, IpNumber::ICMP, from, to).unwrap();
    let mut bytes = Vec::new();
    ip.write(&mut bytes).unwrap();
    bytes.extend(icmp.to_bytes());
    bytes
}
