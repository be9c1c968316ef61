//! The queue of each customer: what holds packets until the customer's rate lets them go, and what is dropped or marked so that the queue stays short.
//!
//! Pure: no graph, no segment, no threads; time is ticks of any clock. A **leaf** is one customer in one direction. [`Shaper`] is the whole: it schedules
//! the leaves under the tree of rates and has the [`Queues`]: [`Queues::enqueue`] when a packet arrives, [`Queues::dequeue`] when a leaf may
//! send, and [`Queues::rate`] when its current rate changes. Packets are numbers to this module.
//!
//! ```text
//!  leaf ─▶ tin (by DSCP) ─┬─ sparse flows, served first ─┐
//!                         └─ rounds of bulk flows (DRR) ─┴▶ flow ─▶ packet ─▶ packet
//! ```
//! * **Pools.** Leaves are small and always there. Tins, flow queues and places of packets are taken from pools that all leaves share, all of them
//!   made at the start: nothing is allocated later. What is empty keeps what it knows until its place is needed.
//! * **Fairness.** Deficit round robin with priority for sparse flows (RFC 8290). A flow is charged its bytes times the number of bulk flows that
//!   the busier of its two hosts has, so hosts share equally, and flows within them.
//! * **Queue management.** CoDel (RFC 8289) and BLUE on each flow's queue, with a target of no less than one and a half packets of the largest
//!   size at the tin's share of the current rate.
//! * **Tins.** A tin goes first while it has sent no more than its share of what the leaf sent; the clock is the leaf's own bytes, so the
//!   shares follow whatever rate the leaf gets.
//!
//! The read order: [`tins`](Tins), `codel`, `blue`, `rounds`, `flows`, `queues`; then `tree`.

use strum::EnumCount;

use crate::frames::HEADROOM;

mod acks;
mod blue;
mod codel;
mod delays;
mod flows;
mod hosts;
mod packets;
mod plan;
mod queues;
mod rounds;
mod sets;
mod tin;
mod tins;
mod tree;

pub use acks::PureAck;
pub use codel::Limits;
pub use delays::Delays;
pub use plan::{Direction, Operation, Orders, Rates, TreeNode};
pub use queues::Queues;
pub use tin::{Counters, Ways};
pub use tins::{TINS, Tins};
pub use tree::{Changed, Common, Framing, MOST_WORKERS, Misfit, NodeView, Overhead, OverheadError, Shaper};

/// One customer in one direction: a number below [`Settings::leaves`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leaf(pub u32);

/// How a leaf's packets are queued; few customers differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discipline {
    /// Classes by DSCP.
    pub tins: Tins,
    /// Which hosts share equally.
    pub isolation: Isolation,
    /// Ticks of standing queue that CoDel allows; RFC 8289 §4.3: 5 ms.
    pub target: u64,
    /// Ticks, a long round trip; RFC 8289 §4.3: 100 ms.
    pub interval: u64,
    /// Whether pure ACKs are dropped that a later one supersedes: CAKE's `ack-filter`.
    pub ack_filter: bool,
}

impl Discipline {
    /// What CAKE does unless it is told otherwise, with four tins: `diffserv4 triple-isolate rtt 100ms`.
    pub const fn usual(hz: u64) -> Discipline {
        Discipline {
            tins: Tins::Diffserv4,
            isolation: Isolation::Both,
            target: hz / 200,
            interval: hz / 10,
            ack_filter: false,
        }
    }
}

/// Between whom a tin is divided equally, before each one's flows share what it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Flows alone.
    Flows,
    /// Hosts that send: for the direction from the customer.
    Sources,
    /// Hosts that receive: for the direction to the customer.
    Destinations,
    /// Both; a flow counts with whichever of its hosts has more flows.
    Both,
}

/// Sizes; all memory is taken at the start.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Ticks a second.
    pub hz: u64,
    /// Nodes of the tree, both directions. 832 bytes each.
    pub nodes: usize,
    /// Customers times directions, below 2²⁹. 228 bytes each, nothing until they are set up.
    pub leaves: usize,
    /// Tins that can have packets at a time. 256 bytes each.
    pub tins: usize,
    /// Flows that can have packets at a time. 160 bytes each, 56 more for their hosts.
    pub flows: usize,
    /// Frames that can be queued at a time, and so packets. 16 bytes each, and the frame.
    pub packets: usize,
    /// Bytes of memory that a packet holds, whatever its length: a frame, or several where it is larger than one has room for.
    pub frame: u32,
    /// Bytes of the largest packet as it is counted (Ethernet header included).
    pub mtu: u32,
}

impl Settings {
    /// Frames of a packet of so many bytes, each of which but the last is full.
    #[inline(always)]
    fn frames(&self, length: u32) -> usize {
        if length <= self.room() { 1 } else { self.frames_of_large(length) }
    }

    /// Bytes that a frame has room for.
    #[inline(always)]
    fn room(&self) -> u32 {
        self.frame.saturating_sub(HEADROOM.into())
    }

    #[cold]
    fn frames_of_large(&self, length: u32) -> usize {
        length.div_ceil(self.room().max(1)) as usize
    }
}

/// A packet that arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The caller's number for it.
    pub packet: u32,
    /// Bytes, at most 65,535.
    pub length: u32,
    /// A hash of its flow that senders can't foresee.
    pub flow: u32,
    /// A hash of its source host.
    pub source: u32,
    /// A hash of its destination host.
    pub destination: u32,
    /// The six bits of its DSCP.
    pub dscp: u8,
    /// ECT(0), ECT(1) or CE: it is marked rather than dropped.
    pub ecn_capable: bool,
}

/// What asking for lines ahead has found out, so that the next step needn't look again. May be out of date or made up: it is only a hint.
#[derive(Clone, Copy, Debug)]
pub struct Lead(u32);

impl Default for Lead {
    fn default() -> Lead {
        Lead(sets::NONE)
    }
}

/// A packet that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The caller's number for it.
    pub packet: u32,
    /// Bytes.
    pub length: u32,
    /// Ticks that it has waited.
    pub sojourn: u64,
    /// The tin that it waited in.
    pub tin: u8,
    /// To be marked CE.
    pub mark: bool,
}

/// A packet that is dropped; the caller frees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The caller's number for it.
    pub packet: u32,
    /// Bytes.
    pub length: u32,
    /// Whose it was: when memory runs out, not always the leaf that the call was about.
    pub leaf: Leaf,
    /// The tin that it waited in.
    pub tin: u8,
    /// Why.
    pub cause: Cause,
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter, strum::EnumCount, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Cause {
    /// It waited too long, and so had those before it.
    Codel,
    /// Its flow does not heed drops.
    Blue,
    /// Memory ran out, or the leaf's part of it, and this was the oldest packet of the longest queue.
    Overlimit,
    /// No tin or flow queue was left for it; it was never queued.
    Refused,
    /// Its leaf was removed.
    Removed,
    /// A pure ACK, and a later one of its connection says all that it said.
    AckFilter,
}

/// What the whole of the queues has counted, in packets: `arrived` = `dequeued` + all drops + [`Queues::backlog`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Given to [`Queues::enqueue`].
    pub arrived: u64,
    /// Given out by [`Queues::dequeue`].
    pub dequeued: u64,
    /// Dropped, by cause.
    pub dropped: [u64; Cause::COUNT],
}

/// What is known of a leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeafView {
    /// Packets queued.
    pub packets: u32,
    /// Their bytes.
    pub bytes: u32,
    /// Packets that may be queued.
    pub limit: u32,
    /// Since the leaf was set up, or since [`Queues::take_counts`].
    pub counters: Counters,
}

/// What is known of a tin in use: what `tc -s qdisc show` prints for CAKE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TinView {
    /// Bits a second up to which the tin goes before others, at the current rate.
    pub threshold: u64,
    /// CoDel's target and interval at the current rate.
    pub limits: Limits,
    /// Packets queued.
    pub packets: u32,
    /// Their bytes.
    pub bytes: u32,
    /// How long packets wait.
    pub delays: Delays,
    /// Since the tin was last taken from the pool, or since [`Queues::take_counts`].
    pub counters: Counters,
    /// How flows found their queues.
    pub ways: Ways,
    /// Flows that are served first now.
    pub sparse_flows: u16,
    /// Flows that take turns now.
    pub bulk_flows: u16,
    /// Flows that BLUE drops from.
    pub unresponsive_flows: u32,
    /// Bytes of the largest packet.
    pub longest_packet: u32,
    /// Bytes that a flow sends in its turn.
    pub quantum: u32,
}
