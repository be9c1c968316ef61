//! A queue of a port, as a worker sees it: bursts in, bursts out, frames back.
//!
//! [`af_xdp`] is the real one; [`memory`] is a pair of rings in this process, for tests, benches and fuzzing. The packet logic knows
//! only [`Port`], so it is tested without a socket.

pub mod af_xdp;
mod assembly;
pub mod memory;

use std::{io, os::fd::BorrowedFd};

use weir_graph::{frames::FramePool, packet::Packet};

/// One queue of one port, owned by one worker.
///
/// **Frames.** A port takes frames from the worker's pool to receive into, and owns the frames of packets that it has been given to send
/// until they have been sent. At every moment [`Port::frames`] says how many it holds; a worker's frames are those in its
/// pool, its graph and its ports, and their sum never changes.
pub trait Port: Send {
    /// Moves the packets of at most `limit` received frames to `packets`.
    fn receive(&mut self, packets: &mut Vec<Packet>, limit: usize);

    /// Moves packets from the front of `packets` to the ring, as many as it has room for all frames of, and returns how many and their bytes.
    fn send(&mut self, packets: &mut Vec<Packet>) -> Sent;

    /// Takes back the frames of packets that have been sent, and hands out free ones to receive into.
    fn reap(&mut self, pool: &mut FramePool);

    /// Tells the other side that there is something to send, if there is. Returns `true` while not everything has been picked up.
    fn kick(&mut self) -> io::Result<bool>;

    /// Frames that the port holds now.
    fn frames(&self) -> Held;

    /// What to wait on for packets; `None` if there is nothing to wait on.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}

/// What [`Port::send`] has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u64,
}

/// Frames that a port holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Handed out to receive into, and not yet received.
    pub receive: usize,
    /// Handed over to send, and not yet taken back.
    pub transmit: usize,
}
