//! Writes captures, for tests: pcap and pcapng as their specifications have them, in either byte order.

#![allow(dead_code, reason = "each test uses a part of it")]

/// A pcap file.
#[derive(Clone)]
pub struct Pcap {
    pub bytes: Vec<u8>,
    big_endian: bool,
    /// Nanoseconds of the smaller unit of time.
    unit: u64,
}

impl Pcap {
    pub fn new(link: u32, big_endian: bool, nanoseconds: bool) -> Pcap {
        let (magic, unit) = if nanoseconds { (0xa1b2_3c4d, 1) } else { (0xa1b2_c3d4, 1_000) };
        let mut it = Pcap { bytes: Vec::new(), big_endian, unit };
        it.word(magic);
        let version = if big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        it.bytes.extend(version);
        for word in [0, 0, 262_144, link] {
            it.word(word);
        }
        it
    }

    fn word(&mut self, word: u32) {
        self.bytes.extend(ordered(word, self.big_endian));
    }

    /// A packet that was `length` bytes long, of which `packet` was captured.
    pub fn packet(&mut self, time: u64, packet: &[u8], length: usize) {
        let rest = time % 1_000_000_000 / self.unit;
        for word in [time / 1_000_000_000, rest, packet.len() as u64, length as u64] {
            self.word(word as u32);
        }
        self.bytes.extend(packet);
    }
}

/// A pcapng file.
#[derive(Clone, Default)]
pub struct Pcapng {
    pub bytes: Vec<u8>,
    big_endian: bool,
}

impl Pcapng {
    pub fn block(&mut self, block_type: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let size = ordered(padded as u32 + 12, self.big_endian);
        self.bytes.extend(ordered(block_type, self.big_endian));
        self.bytes.extend(size);
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len() + padded - body.len(), 0);
        self.bytes.extend(size);
    }

    fn words(&self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| ordered(*word, self.big_endian)).collect()
    }

    fn halves(&self, halves: &[u16]) -> Vec<u8> {
        let bytes = |half: &u16| if self.big_endian { half.to_be_bytes() } else { half.to_le_bytes() };
        halves.iter().flat_map(bytes).collect()
    }

    pub fn section(&mut self, big_endian: bool) {
        self.big_endian = big_endian;
        let body = [self.words(&[0x1a2b_3c4d]), self.halves(&[1, 0]), self.words(&[u32::MAX; 2])].concat();
        self.block(0x0a0d_0d0a, &body);
    }

    /// An interface; `resolution` and `offset` are left out if they are `None`.
    pub fn interface(&mut self, link: u16, resolution: Option<u8>, offset: Option<i64>) {
        let mut body = [self.halves(&[link, 0]), self.words(&[262_144])].concat();
        body.extend([self.halves(&[2, 4]), b"eth0".to_vec()].concat());
        if let Some(resolution) = resolution {
            body.extend([self.halves(&[9, 1]), vec![resolution, 0, 0, 0]].concat());
        }
        if let Some(offset) = offset {
            let bytes = if self.big_endian { offset.to_be_bytes() } else { offset.to_le_bytes() };
            body.extend([self.halves(&[14, 8]), bytes.to_vec()].concat());
        }
        body.extend(self.halves(&[0, 0]));
        self.block(1, &body);
    }

    pub fn packet(&mut self, interface: u32, ticks: u64, packet: &[u8], length: usize) {
        let words = [interface, (ticks >> 32) as u32, ticks as u32, packet.len() as u32, length as u32];
        let mut body = [self.words(&words), packet.to_vec()].concat();
        body.resize(body.len().next_multiple_of(4), 0);
        // epb_flags, inbound.
        body.extend([self.halves(&[2, 4]), self.words(&[1]), self.halves(&[0, 0])].concat());
        self.block(6, &body);
    }

    /// The packet block that the enhanced one has replaced.
    pub fn obsolete_packet(&mut self, interface: u16, ticks: u64, packet: &[u8]) {
        let length = packet.len() as u32;
        let words = self.words(&[(ticks >> 32) as u32, ticks as u32, length, length]);
        let body = [self.halves(&[interface, 7]), words, packet.to_vec()].concat();
        self.block(2, &body);
    }

    pub fn simple_packet(&mut self, packet: &[u8], length: usize) {
        let body = [self.words(&[length as u32]), packet.to_vec()].concat();
        self.block(3, &body);
    }
}

fn ordered(word: u32, big_endian: bool) -> [u8; 4] {
    if big_endian { word.to_be_bytes() } else { word.to_le_bytes() }
}

/// One end of a TCP connection.
#[derive(Clone, Copy)]
pub struct End {
    pub address: std::net::IpAddr,
    pub port: u16,
}

/// A TCP segment.
#[derive(Clone, Copy)]
pub struct Segment {
    pub from: End,
    pub to: End,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    pub payload: usize,
}

pub const SYN: u8 = 2;
pub const ACK: u8 = 16;

impl Segment {
    /// The frame that carries it over Ethernet.
    pub fn frame(&self) -> Vec<u8> {
        let mut tcp = [self.from.port.to_be_bytes(), self.to.port.to_be_bytes()].concat();
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        let offset = if self.timestamps.is_some() { 0x80 } else { 0x50 };
        tcp.extend([offset, self.flags, 0x20, 0, 0, 0, 0, 0]);
        if let Some((value, echo)) = self.timestamps {
            tcp.extend([1, 1, 8, 10]);
            tcp.extend(value.to_be_bytes());
            tcp.extend(echo.to_be_bytes());
        }
        tcp.resize(tcp.len() + self.payload, b'x');
        ethernet(self.from.address, self.to.address, 6, &tcp)
    }
}

/// An ICMP echo request or reply, over Ethernet.
pub fn echo(
    from: std::net::IpAddr,
    to: std::net::IpAddr,
    reply: bool,
    identifier: u16,
    sequence: u16,
) -> Vec<u8> {
    let (protocol, kind) = match (from, reply) {
        (std::net::IpAddr::V4(_), false) => (1, 8),
        (std::net::IpAddr::V4(_), true) => (1, 0),
        (_, false) => (58, 128),
        (_, true) => (58, 129),
    };
    let body = [&[kind, 0, 0, 0][..], &identifier.to_be_bytes(), &sequence.to_be_bytes(), &[0; 48]].concat();
    ethernet(from, to, protocol, &body)
}

fn ethernet(from: std::net::IpAddr, to: std::net::IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    use std::net::IpAddr::{V4, V6};
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match (from, to) {
        (V4(from), V4(to)) => {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((20 + body.len() as u16).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (V6(from), V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((body.len() as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        _ => panic!("one IPv4 and one IPv6 address"),
    }
    frame.extend(body);
    frame
}
