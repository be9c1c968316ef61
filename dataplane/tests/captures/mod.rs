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
