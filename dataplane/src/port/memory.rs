//! A port in this process's memory: what is injected is received, what is sent is collected.
//!
//! Frames never leave the worker: an injected packet is copied into a frame of the port's own share, as a network card does, and a
//! sent one waits in the port until somebody collects it or, in a bench, until [`Port::reap`] takes its frame back.

use std::{io, os::fd::BorrowedFd, sync::Arc};

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
    received: Vec<Packet>,
    sent: Vec<Packet>,
    /// Most packets that wait to be collected; more are refused by [`Port::send`].
    ring: usize,
    /// Frames that the port keeps ready to receive into.
    fill_target: usize,
}

impl MemoryPort {
    /// A port whose rings have room for `ring` packets.
    pub fn new(index: PortIndex, frames: Arc<Frames>, ring: usize) -> MemoryPort {
        MemoryPort {
            index,
            frames,
            fill: Vec::with_capacity(ring),
            received: Vec::with_capacity(ring),
            sent: Vec::with_capacity(ring),
            ring,
            fill_target: ring,
        }
    }

    /// Lets the port receive a copy of `bytes`. `false` if it has no free frame or the bytes do not fit one: the packet is lost, as on a
    /// card whose fill ring is empty.
    pub fn inject(&mut self, bytes: &[u8]) -> bool {
        let Some(frame) = self.fill.pop() else { return false };
        match self.frames.packet(frame, usize::from(self.frames.headroom()), bytes.len(), self.index) {
            Ok(mut packet) => {
                self.frames.bytes_mut(&mut packet).copy_from_slice(bytes);
                self.received.push(packet);
                true
            }
            Err(frame) => {
                self.fill.push(frame);
                false
            }
        }
    }

    /// Copies of the packets that were sent since the last [`Port::reap`], in order.
    pub fn collect(&self) -> Vec<Vec<u8>> {
        self.sent.iter().map(|packet| self.frames.bytes(packet).to_vec()).collect()
    }
}

impl Port for MemoryPort {
    fn receive(&mut self, packets: &mut Vec<Packet>, limit: usize) {
        let count = self.received.len().min(limit);
        packets.extend(self.received.drain(..count));
    }

    fn send(&mut self, packets: &mut Vec<Packet>) -> Sent {
        let count = packets.len().min(self.ring - self.sent.len());
        let mut bytes = 0;
        self.sent.extend(packets.drain(..count).inspect(|packet| bytes += u64::from(packet.len())));
        Sent { packets: count as u64, bytes }
    }

    fn reap(&mut self, pool: &mut FramePool) {
        self.sent.drain(..).for_each(|packet| pool.recycle(packet));
        while self.fill.len() + self.received.len() < self.fill_target {
            let Some(frame) = pool.take() else { break };
            self.fill.push(frame);
        }
    }

    fn kick(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn frames(&self) -> Held {
        Held { receive: self.fill.len() + self.received.len(), transmit: self.sent.len() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
