//! A port in this process's memory, and the wire at its other end: what is put on the wire is received, what is sent is found there.
//!
//! It behaves as a card does: received bytes are copied into frames that the port was given for it, sent ones are copied out, and a sent
//! packet's frame comes back only when the port is reaped.

use std::{
    collections::VecDeque,
    io,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use weir_graph::{
    frames::{FrameId, FramePool, Frames},
    packet::{Packet, PortIndex},
};

use super::{Held, Port, Sent};

/// A port without a device.
pub struct MemoryPort {
    index: PortIndex,
    frames: Arc<Frames>,
    /// Frames to receive into.
    fill: Vec<FrameId>,
    /// Sent, and not yet given back.
    sending: Vec<Packet>,
    /// Most frames in each of the two.
    ring: usize,
    wire: Wire,
}

/// The other end of a [`MemoryPort`]. Clones are the same wire.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<Bytes>>);

#[derive(Default)]
struct Bytes {
    arriving: VecDeque<Vec<u8>>,
    departed: Vec<Vec<u8>>,
    stalled: bool,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Bytes> {
        // Bytes are whole between any two statements: a holder that panicked has broken nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the port receive these bytes.
    pub fn put(&self, bytes: &[u8]) {
        self.lock().arriving.push_back(bytes.to_vec());
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
    /// A port whose two rings have room for `ring` packets each, and its wire.
    pub fn new(index: PortIndex, frames: Arc<Frames>, ring: usize) -> (MemoryPort, Wire) {
        let wire = Wire::default();
        let (fill, sending) = (Vec::with_capacity(ring), Vec::with_capacity(ring));
        (MemoryPort { index, frames, fill, sending, ring, wire: wire.clone() }, wire)
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
            let bytes = wire.arriving.pop_front().unwrap_or_default();
            let start = usize::from(self.frames.headroom());
            match self.frames.packet(frame, start, bytes.len(), self.index) {
                Ok(mut packet) => {
                    self.frames.bytes_mut(&mut packet).copy_from_slice(&bytes);
                    packets.push(packet);
                }
                // Too large for a frame: lost, as on a card.
                Err(frame) => self.fill.push(frame),
            }
        }
    }

    fn send(&mut self, packets: &mut Vec<Packet>) -> Sent {
        let mut wire = self.wire.lock();
        let count = packets.len().min(self.ring - self.sending.len());
        let mut bytes = 0;
        for packet in packets.drain(..count) {
            wire.departed.push(self.frames.bytes(&packet).to_vec());
            bytes += u64::from(packet.len());
            self.sending.push(packet);
        }
        Sent { packets: count as u64, bytes }
    }

    fn reap(&mut self, pool: &mut FramePool) {
        if !self.wire.lock().stalled {
            self.sending.drain(..).for_each(|packet| pool.recycle(packet));
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
        Held { receive: self.fill.len(), transmit: self.sending.len() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
