//! One direction of a flow: what has been seen of it, and its one outstanding stamp.
//!
//! Times are ticks modulo 2^48: 19 hours of a 4 GHz clock, while a flow that is silent for minutes is forgotten. A stamp's age is
//! checked before it counts, so even a wrong age never makes a sample.

use super::Method;

/// 28 bytes; two of them and the addresses' last words are one cache line.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Half {
    /// Newest TSval; of an echo flow, the newest request's sequence number.
    pub(super) tsval: u32,
    /// What answers the stamp: a TSecr, an acknowledgement number, an echo's sequence number.
    stamp: u32,
    time_low: u32,
    /// Behind the highest sequence number seen.
    pub(super) sent: u32,
    /// Highest acknowledgement number of the other direction; where nothing is acknowledged yet, the first sequence number seen.
    pub(super) acked: u32,
    /// Least RTT of the answers to this direction, in units of [`Self::least_unit`]; all ones: none so far.
    least: u32,
    time_high: u16,
    flags: u16,
}

const _: () = assert!(size_of::<Half>() == 28);

impl Default for Half {
    fn default() -> Half {
        Half { tsval: 0, stamp: 0, time_low: 0, sent: 0, acked: 0, least: u32::MAX, time_high: 0, flags: 0 }
    }
}

/// A packet has been seen: `sent` and `acked` mean something.
pub(super) const SEEN: u16 = 1 << 0;
/// `tsval` means something.
pub(super) const TSVAL: u16 = 1 << 1;
/// Met in the middle: the time is that of the meeting, and nothing is stamped until things have settled.
pub(super) const SETTLING: u16 = 1 << 2;
/// There is a stamp that waits for its answer.
pub(super) const OUTSTANDING: u16 = 1 << 3;
/// The stamped packet has not left yet.
pub(super) const INSIDE: u16 = 1 << 4;
const METHOD_SHIFT: u32 = 5;
const METHOD: u16 = 3 << METHOD_SHIFT;
/// The last stamp gave a sample: the sampling interval runs from its time.
pub(super) const SAMPLED: u16 = 1 << 7;
/// Something was lost, sent again or reordered, and what was sent up to then is not all acknowledged.
pub(super) const RECOVERING: u16 = 1 << 8;
/// Bytes below `sent` have never been seen; where, the flow's cold part knows.
pub(super) const HOLE: u16 = 1 << 9;
/// The receiver has told the sender of a hole.
pub(super) const TOLD: u16 = 1 << 10;
const DUPLICATES_SHIFT: u32 = 11;
/// Two bits: acknowledgements that said nothing new since the hole, up to 3.
const DUPLICATES: u16 = 3 << DUPLICATES_SHIFT;
/// The sender has no more data.
pub(super) const FIN: u16 = 1 << 13;
/// The receiver's window is closed: what is sent are probes.
pub(super) const PROBING: u16 = 1 << 14;

/// How an answer of the other direction relates to the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The round trip took this many ticks.
    Sample(Method, u64),
    /// There is no stamp, or none that this answers.
    No,
}

impl Half {
    #[inline(always)]
    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// Of the flags in `mask`, exactly `flags` are set.
    #[inline(always)]
    pub(super) fn are(&self, mask: u16, flags: u16) -> bool {
        self.flags & mask == flags
    }

    #[inline(always)]
    pub(super) fn set(&mut self, flags: u16) {
        self.flags |= flags;
    }

    #[inline(always)]
    pub(super) fn clear(&mut self, flags: u16) {
        self.flags &= !flags;
    }

    #[inline(always)]
    pub(super) fn put(&mut self, flag: u16, value: bool) {
        self.flags = self.flags & !flag | if value { flag } else { 0 };
    }

    /// Ticks since the stamp, or since the meeting, or the SYN.
    #[inline(always)]
    pub(super) fn age(&self, now: u64) -> u64 {
        let time = u64::from(self.time_high) << 32 | u64::from(self.time_low);
        now.wrapping_sub(time) & ((1 << 48) - 1)
    }

    #[inline(always)]
    fn set_time(&mut self, now: u64) {
        (self.time_high, self.time_low) = ((now >> 32) as u16, now as u32);
    }

    /// First packet of a direction whose beginning was not seen.
    pub(super) fn meet(&mut self, sequence: u32, now: u64) {
        *self = Half { sent: sequence, acked: sequence, ..Half::default() };
        self.flags = SEEN;
        self.settle(now);
    }

    /// First packet of a direction: its SYN, which takes a sequence number itself; `sent` is what follows it.
    pub(super) fn begin(&mut self, sequence: u32, sent: u32, now: u64) {
        *self = Half { sent, acked: sequence, flags: SEEN, ..Half::default() };
        self.set_time(now);
    }

    /// Nothing but its SYN has been seen.
    pub(super) fn has_only_begun(&self) -> bool {
        !self.has(SETTLING) && self.sent == self.acked.wrapping_add(1)
    }

    /// As after a meeting: what was known of stamps and losses no longer is.
    pub(super) fn settle(&mut self, now: u64) {
        self.clear(OUTSTANDING | INSIDE | SAMPLED | RECOVERING | HOLE | TOLD | DUPLICATES);
        self.set(SETTLING);
        self.set_time(now);
    }

    /// Keeps a stamp for a packet that has arrived, until [`Self::departs`]; `false` if it is not its turn.
    ///
    /// A stamp older than `stale` is given up for it; the next sample comes at least `interval` after the last sample's stamp; after a
    /// meeting, `settling` passes first.
    #[inline]
    pub(super) fn keep(
        &mut self,
        method: Method,
        stamp: u32,
        now: u64,
        [stale, interval, settling]: [u64; 3],
    ) -> bool {
        let age = self.age(now);
        let wait = match self.flags & (OUTSTANDING | SAMPLED | SETTLING) {
            0 => 0,
            flags if flags & OUTSTANDING != 0 => stale,
            flags if flags & SETTLING != 0 => settling,
            _ => interval,
        };
        if age < wait {
            return false;
        }
        self.stamp = stamp;
        self.set_time(now);
        self.flags = self.flags & !(METHOD | SAMPLED | SETTLING)
            | OUTSTANDING
            | INSIDE
            | (method as u16) << METHOD_SHIFT;
        true
    }

    /// The packet that a stamp was kept for leaves.
    #[inline(always)]
    pub(super) fn departs(&mut self, stamp: u32, now: u64) {
        if self.flags & (OUTSTANDING | INSIDE) == OUTSTANDING | INSIDE && self.stamp == stamp {
            self.set_time(now);
            self.clear(INSIDE);
        }
    }

    /// What the outstanding stamp waits for.
    #[inline(always)]
    pub(super) fn stamp(&self) -> u32 {
        self.stamp
    }

    /// Method of the outstanding stamp.
    #[inline(always)]
    pub(super) fn method(&self) -> Method {
        match (self.flags & METHOD) >> METHOD_SHIFT {
            0 => Method::Timestamp,
            1 => Method::Sequence,
            2 => Method::Echo,
            _ => Method::Handshake,
        }
    }

    /// Gives the outstanding stamp up.
    #[inline(always)]
    pub(super) fn cancel(&mut self) {
        self.clear(OUTSTANDING | INSIDE);
    }

    /// Gives up a stamp that acknowledgement numbers answer.
    pub(super) fn cancel_sequence(&mut self) {
        if self.has(OUTSTANDING) && matches!(self.method(), Method::Sequence | Method::Handshake) {
            self.cancel();
        }
    }

    /// The stamp's answer has come. No sample if the packet has not left yet, or if that was longer ago than `stale`.
    #[inline(always)]
    pub(super) fn answer(&mut self, now: u64, stale: u64) -> Answer {
        let (age, inside) = (self.age(now), self.has(INSIDE));
        self.cancel();
        if inside || age > stale {
            return Answer::No;
        }
        self.set(SAMPLED);
        Answer::Sample(self.method(), age)
    }

    /// Binary logarithm of the least RTT's unit in ticks: the finest in which all up to `stale` have room. 10 s at 3 GHz: 8 ticks, 3 ns.
    pub(super) fn least_unit(stale: u64) -> u32 {
        (u64::BITS - stale.leading_zeros()).saturating_sub(u32::BITS)
    }

    /// Takes a sample into the least RTT, and returns the least, not above the sample.
    #[inline(always)]
    pub(super) fn least(&mut self, rtt: u64, unit: u32) -> u64 {
        self.least = self.least.min((rtt >> unit) as u32);
        u64::from(self.least) << unit
    }

    /// An acknowledgement that says nothing new while there is a hole.
    pub(super) fn count_duplicate(&mut self) {
        if self.flags & DUPLICATES != DUPLICATES {
            self.flags += 1 << DUPLICATES_SHIFT;
        }
        // The third one is when a sender without SACK sends again (RFC 5681 §3.2).
        if self.flags & DUPLICATES == DUPLICATES {
            self.set(TOLD);
        }
    }

    /// A new hole: nobody has told the sender of it.
    pub(super) fn open_hole(&mut self) {
        self.clear(TOLD | DUPLICATES);
        self.set(HOLE);
    }
}
