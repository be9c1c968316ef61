//! Measuring round-trip times in place: which packet answers which, per flow, in fixed memory.
//!
//! ```text
//!              arrive(B→A)                      depart(B→A)
//!    host A ◀──────────────────── weir ◀──────────────────── host B
//!           ────────────────────▶      ────────────────────▶
//!              depart(A→B): stamp       …  the answer's arrive(B→A): sample = what lies beyond weir on B's side
//! ```
//! A packet is stamped when it leaves weir and its answer is matched when it arrives, so a sample is the path beyond weir on the answering
//! side, without weir's own queue. [`Tracker::arrive`] decides which packet is worth a stamp and keeps a place for it; [`Tracker::depart`] fills
//! in the time. A sample is only ever made from a stamp that is outstanding, whatever packets claim.
//!
//! **Methods.** Each direction of a flow has at most one stamp outstanding.
//! * *Timestamp* (RFC 7323; the rules are those of epping): the first packet with a new TSval (0 < TSval − newest < 2³¹) that carries data is
//!   stamped; the first packet back that echoes exactly this TSval is the answer. The newest TSval advances with every packet, also one that
//!   is not stamped: with several packets a tick only the first can be. An echo of a newer TSval gives the stamp up: it will not be
//!   answered any more (a receiver that delays acknowledgements echoes one TSval in two).
//! * *Sequence*, for segments without timestamps: a segment of new data in order is stamped with its end; the first acknowledgement at or beyond
//!   it is the answer. By Karn's rule nothing that is sent again gives a sample; more than that, any segment of old data, any hole, and any SACK
//!   of a hole gives the stamp up, and none is made until everything sent up to then is acknowledged: an acknowledgement that jumps over a hole
//!   which something filled tells the time of the repair, not of the path.
//! * *Echo*: an ICMP echo request, and the reply with its identifier and sequence number.
//! * *Handshake*, if asked for: SYN → SYN-ACK, SYN-ACK → acknowledgement. Not for [`Settings::settling_sequence`] after the first packet of all, or
//!   after a flow was pushed out or refused: the SYN might be one that was sent again.
//!
//! Never stamped: pure acknowledgements, keep-alives, probes of a closed window, a TSval of 0 (which some senders of broken echoes would
//! answer), and the packets of a flow met in its middle until [`Settings::settling`]: what was sent before may still be on its way.
//!
//! **Losses.** A segment of old data was *reordered* if its TSval is older than the newest; *sent again* if it is newer, or if those
//! bytes have been seen before. Otherwise (bytes never seen here; same TSval or none) it was sent again if the sender can know of the hole: the receiver has
//! told it (a SACK block above the hole, or three acknowledgements that say nothing new), or the least retransmission timeout has passed since
//! it opened; else reordered. Limits: one hole a direction is remembered, from the first missing byte to the last, so with several, what lies
//! between counts as never seen; a copy that the network made counts as sent again; a sender that is told of a hole while the missing
//! segment is only late is believed to have sent it again; what was lost before weir and at the end of what was sent leaves no hole, and counts
//! as new when it is sent again (a sample of it is right all the same: no other copy passed here). D-SACK is not consulted: it reports bytes that arrived twice, and where both copies passed here they are seen here.

mod ends;
mod half;
mod hash;
mod observed;
mod sequence;
mod table;
mod tracker;
mod usual;

use std::time::Duration;

pub use hash::TableHash;
pub use observed::{Carried, Kind, Observed};
pub use table::FLOW_BYTES;
pub use tracker::{Ticket, Tracker};

use crate::clock::Clock;

/// One of a flow's two directions. Which end is which is the order of addresses, then ports, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the lower end to the higher.
    Forward = 0,
    /// From the higher end to the lower.
    Backward = 1,
}

/// How a sample was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u8)]
pub enum Method {
    /// TCP timestamps.
    Timestamp = 0,
    /// TCP sequence and acknowledgement numbers.
    Sequence = 1,
    /// ICMP echo.
    Echo = 2,
    /// TCP handshake.
    Handshake = 3,
}

/// One round trip. Source and destination are those of the packet that made it: the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Ticks from the stamped packet's departure to the answer's arrival.
    pub rtt: u64,
    /// The least of this flow's round trips in this direction so far, this one included; rounded down to units of at most 2⁻³¹ of
    /// [`Settings::stale`] (4.7 ns of 10 s).
    pub least: u64,
    /// How it was measured.
    pub method: Method,
    /// The stamped packet's direction; the answer's is the other one.
    pub direction: Direction,
    /// The flow's place in the table, below [`Tracker::capacity`]. A place is used again when its flow has ended.
    pub flow: u32,
}

/// Takes what a packet brings: at most one sample, and one loss.
pub trait Sink {
    /// The packet answers an earlier one.
    fn sample(&mut self, sample: Sample);
    /// The packet was sent again.
    fn retransmission(&mut self);
    /// The packet was overtaken by later ones.
    fn reordered(&mut self);
}

/// What became of flows, since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Flows made.
    pub created: u64,
    /// Flows that ended by FIN, RST or silence.
    pub ended: u64,
    /// Flows that were pushed out of a full bucket.
    pub evicted: u64,
    /// Flows that were not made, because nobody in a full bucket could be pushed out: one for each packet.
    pub refused: u64,
}

impl Counters {
    /// Flows in the table.
    pub fn active(&self) -> u64 {
        self.created.wrapping_sub(self.ended).wrapping_sub(self.evicted)
    }
}

/// Durations are ticks of whatever clock the caller reads; [`Settings::new`] fills in the defaults for a clock.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Ticks a second.
    pub hz: u64,
    /// Flows to make room for; up to the next power of two, at least 8, at most 2²⁸.
    pub flows: usize,
    /// From a stamp that gave a sample to the next stamp of the flow and direction; 0: each answer may be followed by the next stamp.
    pub interval: u64,
    /// Measure handshakes.
    pub handshakes: bool,
    /// After a stamp that long is given up, and an established flow may be pushed out. Default 10 s (`tsvalMaxAge` of Nichols' pping; epping's longest).
    pub stale: u64,
    /// From meeting a flow in its middle to its first stamp: time for a late packet to show up that would make an old TSval look new. Default
    /// 100 ms, several times the reordering that RFC 8985 §6.2 allows for (a quarter of a round trip).
    pub settling: u64,
    /// The same for segments without timestamps, whose sender may be in the middle of sending old data again: default 1 s, the first
    /// retransmission timeout (RFC 6298 §2.1).
    pub settling_sequence: u64,
    /// Silence that ends a flow of which only one direction, or only its handshake, was seen. Default 30 s (epping).
    pub unconfirmed: u64,
    /// Silence that ends an established flow. Default 300 s (pping's `flowMaxIdle`, epping).
    pub established: u64,
    /// Silence that ends a flow after FIN in both directions, or RST. Default 2 s: the last acknowledgements, and one retransmission of a FIN, belong to it.
    pub closing: u64,
    /// Silence that ends a flow of ICMP echoes. Default 30 s (epping).
    pub echo: u64,
}

impl Settings {
    /// The defaults, with an interval of 100 ms (epping), for a clock and a number of flows.
    pub fn new(clock: Clock, flows: usize) -> Settings {
        let seconds = |seconds| clock.ticks(Duration::from_secs(seconds));
        Settings {
            hz: clock.hz(),
            flows,
            interval: clock.ticks(Duration::from_millis(100)),
            handshakes: false,
            stale: seconds(10),
            settling: clock.ticks(Duration::from_millis(100)),
            settling_sequence: seconds(1),
            unconfirmed: seconds(30),
            established: seconds(300),
            closing: seconds(2),
            echo: seconds(30),
        }
    }
}
