//! Following packets through the graph, node by node (VPP's `trace add` and `show trace`).
//!
//! A traced packet carries its trace number. Each time a vector with traced packets enters a node, one [`TraceRecord`] a packet goes to the
//! control thread: the node, the time, and the packet's first bytes as the node found them. What a node did is what the next record shows.
//! While nothing is traced this costs one predictable branch a vector.

use crossbeam_channel::{Sender, TrySendError};

use crate::{
    adjacency::AdjacencyIndex,
    frames::Frames,
    packet::{Packet, PortIndex, ReasonIndex},
};

/// Bytes of the packet that a record keeps: Ethernet, a 60-byte IPv4 header and a 60-byte TCP header fit in 134.
pub const SNAPSHOT: usize = 134;

/// What to trace.
#[derive(Clone, Copy, Debug)]
pub struct TraceOrder {
    /// How many packets to follow.
    pub count: u16,
    /// The node at which to begin to follow them: its number in the [`Shape`](crate::graph::Shape).
    pub node: usize,
}

/// One packet at one node.
#[derive(Clone, Debug)]
pub struct TraceRecord {
    /// Number of the packet among all workers, from 1. It keeps it where it goes from one worker to another.
    pub packet: u16,
    /// The node that it entered.
    pub node: usize,
    /// When the node began with its vector, ticks.
    pub ticks: u64,
    /// The port that it came in on.
    pub rx_port: PortIndex,
    /// The port that it leaves by, from `ip4-rewrite` on.
    pub tx_port: PortIndex,
    /// Its next hop, from `ip4-lookup` on.
    pub adjacency: AdjacencyIndex,
    /// Its drop reason; meaningful at the node `drop`.
    pub reason: ReasonIndex,
    /// Where its IP header begins; 0 where no node has found one yet.
    pub l3: u8,
    /// Its length in bytes.
    pub len: u16,
    /// Its first bytes, at most [`SNAPSHOT`].
    pub bytes: Vec<u8>,
    /// Records of this trace that this worker could not hand over before this one.
    pub lost: u64,
}

/// The trace that a worker is following now, if any.
pub(crate) struct Tracer {
    /// Where records go; `None`: nothing is traced.
    records: Option<Sender<TraceRecord>>,
    node: usize,
    left: u16,
    /// The next packet's number. Numbers of worker *w* are *w* + 1 and then every `stride`-th, so that no two workers use the same.
    next: u16,
    first: u16,
    stride: u16,
    lost: u64,
}

impl Tracer {
    /// The tracer of worker number `worker` of so many.
    pub(crate) fn new(worker: u32, workers: u32) -> Tracer {
        let (first, stride) = (worker as u16 + 1, workers as u16);
        Tracer { records: None, node: 0, left: 0, next: first, first, stride, lost: 0 }
    }

    pub(crate) fn start(&mut self, order: TraceOrder, records: Sender<TraceRecord>) {
        // Numbers go on from the last trace, so that a packet of that one that is still held is not taken for a new one.
        self.records = (order.count > 0).then_some(records);
        self.node = order.node;
        self.left = order.count.min(u16::MAX / self.stride); // no number twice in a trace
        self.lost = 0;
    }

    #[inline(always)]
    pub(crate) fn is_active(&self) -> bool {
        self.records.is_some()
    }

    /// Picks packets to follow, if this is the node to begin at, and records those that are followed.
    #[cold]
    pub(crate) fn record(&mut self, node: usize, now: u64, packets: &mut [Packet], frames: &Frames) {
        let Some(records) = &self.records else { return };
        for packet in packets {
            if node == self.node && self.left > 0 && !packet.is_traced() {
                self.left -= 1;
                frames.set_trace(packet, self.next);
                self.next = self.next.checked_add(self.stride).unwrap_or(self.first);
            }
            if !packet.is_traced() {
                continue;
            }
            let bytes = frames.bytes(packet);
            let record = TraceRecord {
                packet: frames.trace(packet),
                node,
                ticks: now,
                rx_port: packet.rx_port,
                tx_port: packet.tx_port,
                adjacency: packet.adjacency,
                reason: packet.reason,
                l3: packet.l3,
                len: packet.len(),
                bytes: bytes[..bytes.len().min(SNAPSHOT)].to_vec(),
                lost: self.lost,
            };
            match records.try_send(record) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => self.lost += 1,
                Err(TrySendError::Disconnected(_)) => {
                    self.records = None; // whoever asked has gone
                    return;
                }
            }
        }
    }
}
