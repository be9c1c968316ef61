//! A packet generator and its receiver: what `weir-pktgen` and the benches from veth to veth send and count with.
//!
//! ```text
//!   Traffic ─▶ Shape ─┬─▶ Live:   an XDP program makes each packet, over live frames ─▶ device      receiver device ─▶ XDP program: counts, drops
//!                     └─▶ AfXdp:  the same packets, made here, by a ring             ─▶ device                          │
//!                                                                                                     Received ◀── Accounts
//! ```
//! Packet n of a traffic is a function of n, but for its time and, of TCP, its flow's position: so both back ends send the same packets. Each carries its
//! stream, its number and its time, by which the receiver knows loss, reordering, copies and how long it took; see [`payload`].

pub mod accounts;
pub mod af_xdp;
pub mod device;
pub mod live;
mod object;
pub mod pace;
pub mod payload;
pub mod range;
pub mod receiver;
pub mod shape;
pub mod sizes;

use std::time::Duration;

pub use self::device::Device;

/// What has been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Their bytes, without check sequences.
    pub bytes: u64,
    /// From the first to the last.
    pub time: Duration,
}

impl Sent {
    /// Packets a second.
    pub fn rate(&self) -> f64 {
        self.packets as f64 / self.time.as_secs_f64().max(1e-9)
    }
}
