//! A port in this process's memory, and the wire at its other end: what is put on the wire is received, what is sent is found there.
//!
//! It behaves as a card does: received bytes are copied into frames that the port was given for it, several where they don't fit into one, sent ones are copied
//! out, and a sent packet's frames come back only when the port is reaped.

use std::{
    collections::VecDeque,
    io,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use weir_graph::{
    frames::{FrameId, FramePool, Frames, HEADROOM, Part},
    packet::{Packet, PortIndex},
};

use super::{Held, Port, Sent, assembly::Assembly};

/// A port without a device.
pub struct MemoryPort {
    frames: Arc<Frames>,
    assembly: Assembly,
    /// Frames to receive into.
    fill: Vec<FrameId>,
    /// Sent, and not yet given back.
    sending: Vec<FrameId>,
    /// Most frames in each of the two.
    ring: usize,
    wire: Wire,
}

/// The other end of a [`MemoryPort`]. Clones are the same wire.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<Bytes>>);

#[derive(Default)]
struct Bytes {
    /// What each frame is to hold, and whether the packet goes on behind it.
    arriving: VecDeque<(Vec<u8>, bool)>,
    departed: Vec<Vec<u8>>,
    stalled: bool,
    /// Bytes that a frame has room for.
    room: usize,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        // Bytes are whole between any two statements: a holder that panicked has broken nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the port receive these bytes, in full frames.
    pub fn put(&self, bytes: &[u8]) {
        self.put_cut(bytes, &[]);
    }

    /// Lets the port receive these bytes, so many of them in the first frame, in the second, and so on, and what is left in full frames.
    pub fn put_cut(&self, bytes: &[u8], cuts: &[usize]) {
        let mut wire = self.lock();
        let (mut rest, mut cuts) = (bytes, cuts.iter());
        loop {
            let room = wire.room;
            let part;
            (part, rest) = rest.split_at(rest.len().min(cuts.next().map_or(room, |cut| (*cut).min(room))));
            wire.arriving.push_back((part.to_vec(), !rest.is_empty()));
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Takes what the port has sent so far, in order.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.lock().departed)
    }

    /// While a wire is stalled the port's frames stay in its ring, which then fills up.
    pub fn stall(&self, stalled: bool) {
        self.lock().stalled = stalled;
    }
}

impl MemoryPort {
    /// A port whose two rings have room for `ring` frames each, and its wire.
    pub fn new(index: PortIndex, frames: Arc<Frames>, ring: usize) -> (MemoryPort, Wire) {
        let wire = Wire::default();
        wire.lock().room = frames.room();
        let (fill, sending) = (Vec::with_capacity(ring), Vec::with_capacity(ring));
        let assembly = Assembly::new(index, frames.clone(), ring);
        (MemoryPort { frames, assembly, fill, sending, ring, wire: wire.clone() }, wire)
    }
}

impl Port for MemoryPort {
    fn receive(&mut self, packets: &mut Vec<Packet>, limit: usize) {
        let mut wire = self.wire.lock();
        for _ in 0..limit {
            if wire.arriving.is_empty() {
                return;
            }
            let Some(frame) = self.fill.pop() else { return };
            let Some((bytes, continued)) = wire.arriving.pop_front() else { return };
            // Always inside: no part is larger than a frame has room for.
            match self.frames.packet(frame, usize::from(HEADROOM), bytes.len(), 0) {
                Ok(mut part) => {
                    self.frames.bytes_mut(&mut part).copy_from_slice(&bytes);
                    for Part { frame, start, len } in self.frames.parts(part) {
                        self.assembly.take(frame, start.into(), len.into(), continued, packets);
                    }
                }
                Err(frame) => self.fill.push(frame),
            }
        }
    }

    fn send(&mut self, packets: &mut Vec<Packet>) -> Sent {
        let mut wire = self.wire.lock();
        let mut room = self.ring - self.sending.len();
        let fits = packets.iter().take_while(|packet| {
            let left = room.checked_sub(self.frames.count_of(packet));
            room = left.unwrap_or(0);
            left.is_some()
        });
        let count = fits.count();
        let mut sent = Sent { packets: count as u64, bytes: 0 };
        for packet in packets.drain(..count) {
            let mut bytes = vec![0; usize::from(packet.len())];
            self.frames.read(&packet, 0, &mut bytes);
            sent.bytes += bytes.len() as u64;
            wire.departed.push(bytes);
            self.sending.extend(self.frames.parts(packet).map(|part| part.frame));
        }
        sent
    }

    fn reap(&mut self, pool: &mut FramePool) {
        self.assembly.reclaim(pool);
        if !self.wire.lock().stalled {
            self.sending.drain(..).for_each(|frame| pool.put(frame));
        }
        while self.fill.len() < self.ring {
            let Some(frame) = pool.take() else { break };
            self.fill.push(frame);
        }
    }

    fn kick(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn frames(&self) -> Held {
        Held { receive: self.fill.len() + self.assembly.held(), transmit: self.sending.len() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
