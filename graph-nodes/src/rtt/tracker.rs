//! The measuring: what an arriving packet answers, and whether it deserves a stamp.

use super::{
    Counters, Direction, Method, Sample, Settings, Sink, TableHash,
    half::{Answer, FIN, HOLE, Half, OUTSTANDING, PROBING, RECOVERING, SEEN, SETTLING, TOLD, TSVAL},
    observed::{Kind, Observed},
    sequence::{self, Order, before},
    table::{Class, Cold, Entry, FlowTable, Slot},
};
use crate::wire::tcp::flags;

/// What [`Tracker::arrive`] leaves for [`Tracker::depart`]; fits into a word of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

const KEPT: u32 = 1 << 31;
const FLOW: u32 = 1 << 30;

impl Ticket {
    /// Of a packet that is not measured.
    pub const NONE: Ticket = Ticket(0);

    #[inline(always)]
    pub(super) fn new(slot: Slot, kept: bool) -> Ticket {
        Ticket(slot.number() | FLOW | if kept { KEPT } else { 0 })
    }

    /// The ticket as a word. Any word is a ticket, though only `arrive` makes good ones.
    #[inline(always)]
    pub fn word(self) -> u32 {
        self.0
    }

    /// The ticket from [`Self::word`].
    #[inline(always)]
    pub fn from_word(word: u32) -> Ticket {
        Ticket(word)
    }

    /// The packet is to be stamped: [`Tracker::depart`] has something to do.
    #[inline(always)]
    pub fn wants_stamp(self) -> bool {
        self.0 & KEPT != 0
    }

    /// The place of the packet's flow in the table, as in [`Sample::flow`].
    #[inline(always)]
    pub fn flow(self) -> Option<u32> {
        (self.0 & FLOW != 0).then_some(self.0 & ((1 << Slot::BITS) - 1))
    }
}

/// The least retransmission timeout in use: Linux's `TCP_RTO_MIN`, 200 ms, is a fifth of a second. RFC 6298 §2.4 asks for 1 s.
const LEAST_TIMEOUTS_A_SECOND: u64 = 5;

/// A TSval that is that far behind the newest, in ticks of the sender, is not late but from another clock.
pub(super) const OTHER_CLOCK: i32 = 1 << 16;

/// Measures all flows of one worker. No allocation after [`Tracker::new`], and bounded work a packet, whatever packets say.
pub struct Tracker {
    pub(super) table: FlowTable,
    pub(super) settings: Settings,
    hash: TableHash,
    /// The least retransmission timeout, in the table's fine units.
    timeout: u16,
}

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracker")
            .field("settings", &self.settings)
            .field("counters", &self.table.counters)
            .finish_non_exhaustive()
    }
}

impl Tracker {
    /// A tracker with an empty table.
    pub fn new(settings: Settings, hash: TableHash) -> Tracker {
        let table = FlowTable::new(&settings);
        let timeout = table.fine_units(settings.hz / LEAST_TIMEOUTS_A_SECOND).max(1);
        Tracker { table, settings, hash, timeout }
    }

    /// Flows that there is room for; each takes [`FLOW_BYTES`](super::FLOW_BYTES).
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// What became of flows so far.
    pub fn counters(&self) -> Counters {
        self.table.counters
    }

    /// The hash of the packet's flow, for the functions below.
    #[inline(always)]
    pub fn hash(&self, observed: &Observed) -> u64 {
        self.hash.of(observed)
    }

    /// First stage of fetching ahead: asks for the line that says who is in the bucket.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Second stage, some packets later: reads that line, and asks for the flow's. Gives the hash with where the flow seems to be, which
    /// saves [`Self::arrive`] looking again.
    #[inline(always)]
    pub fn prefetch_flow(&self, hash: u64) -> u64 {
        self.table.prefetch_flow(hash)
    }

    /// A packet came in at `now`; `hash` is [`Self::hash`] of it, as it is or as [`Self::prefetch_flow`] gave it back.
    ///
    /// Packets are told in the order in which they came, times never go back. (A time that does, as in a damaged capture, can lose samples but makes
    /// no wrong one.)
    #[inline]
    pub fn arrive(&mut self, observed: &Observed, hash: u64, now: u64, sink: &mut impl Sink) -> Ticket {
        match self.usual(observed, hash, now, sink) {
            Some(ticket) => ticket,
            None => self.unusual(observed, hash, now, sink),
        }
    }

    /// [`Self::arrive`] of any packet. Cold, so that it is here that registers are saved.
    #[cold]
    #[inline(never)]
    pub(super) fn unusual(
        &mut self,
        observed: &Observed,
        hash: u64,
        now: u64,
        sink: &mut impl Sink,
    ) -> Ticket {
        let ends = observed.ends();
        let slot = match self.table.find(hash, ends, now) {
            Some(slot) => slot,
            None if begins_flow(observed) => match self.table.make(hash, ends, now) {
                Some(slot) => slot,
                None => return Ticket::NONE,
            },
            None => return Ticket::NONE,
        };
        let fine = self.table.fine_units(now);
        let unbroken = self.table.unbroken(now);
        let Some(entry) = self.table.entry(slot) else { return Ticket::NONE };
        let mut packet = Arrival {
            observed,
            entry,
            settings: &self.settings,
            now,
            fine,
            timeout: self.timeout,
            unbroken,
            slot,
            sink,
        };
        let kept = match observed.kind() {
            Kind::Tcp => packet.segment(),
            Kind::EchoRequest => packet.request(),
            Kind::EchoReply => packet.reply(),
        };
        Ticket::new(slot, kept)
    }

    /// The packet leaves at `now`; `ticket` is what [`Self::arrive`] gave for it, and `observed` its facts then. Does nothing unless
    /// [`Ticket::wants_stamp`], so the facts need not be read again otherwise. However long the packet was inside, and whatever became of its flow
    /// and its place in the table: it is stamped only if the stamp that was kept for it is still wanted.
    #[inline(always)]
    pub fn depart(&mut self, ticket: Ticket, observed: &Observed, now: u64) {
        if !ticket.wants_stamp() {
            return;
        }
        let Some(flow) = ticket.flow() else { return };
        let Some(flow) = self.table.still(Slot::of_number(flow), observed) else { return };
        let half = &mut flow.halves[observed.direction() as usize];
        let stamp = match half.method() {
            Method::Timestamp => observed.tsval,
            Method::Sequence => observed.sequence.wrapping_add(u32::from(observed.payload)),
            Method::Echo => observed.sequence,
            Method::Handshake => observed.sequence.wrapping_add(1),
        };
        half.departs(stamp, now);
    }

    /// Ends flows that have been silent for too long: a slice of the table if one is due, otherwise nothing. Call it once a vector, and when idle.
    #[inline]
    pub fn age(&mut self, now: u64) {
        self.table.age(now);
    }
}

/// A RST, or a reply, makes no flow.
#[inline(always)]
fn begins_flow(observed: &Observed) -> bool {
    match observed.kind() {
        Kind::Tcp => observed.flags & flags::RST == 0,
        Kind::EchoRequest => true,
        Kind::EchoReply => false,
    }
}

impl Settings {
    /// The stamp of `half`, which is `direction` of the flow at `slot`, has its answer.
    #[inline(always)]
    pub(super) fn sample(
        &self,
        half: &mut Half,
        direction: Direction,
        slot: Slot,
        now: u64,
        sink: &mut impl Sink,
    ) {
        let Answer::Sample(method, rtt) = half.answer(now, self.stale) else { return };
        let least = half.least(rtt, Half::least_unit(self.stale));
        sink.sample(Sample { rtt, least, method, direction, flow: slot.number() });
    }
}

/// One packet with its flow.
struct Arrival<'a, S> {
    observed: &'a Observed,
    entry: Entry<'a>,
    settings: &'a Settings,
    now: u64,
    fine: u16,
    timeout: u16,
    unbroken: u64,
    slot: Slot,
    sink: &'a mut S,
}

impl<S: Sink> Arrival<'_, S> {
    /// The half of the packet's direction, that of the other, and what lies beside them.
    #[inline(always)]
    fn parts(&mut self) -> (&mut Half, &mut Half, &mut Cold) {
        let [forward, backward] = &mut self.entry.flow.halves;
        match self.observed.direction() {
            Direction::Forward => (forward, backward, self.entry.cold),
            Direction::Backward => (backward, forward, self.entry.cold),
        }
    }

    /// The direction that the packet does not travel in.
    #[inline(always)]
    fn theirs(&self) -> Direction {
        match self.observed.direction() {
            Direction::Forward => Direction::Backward,
            Direction::Backward => Direction::Forward,
        }
    }

    /// How long to wait before a stamp: for one outstanding, after a sample, after meeting a flow.
    #[inline(always)]
    fn waits(&self, settling: u64) -> [u64; 3] {
        [self.settings.stale, self.settings.interval, settling]
    }

    /// A TCP segment; `true` if a stamp is kept for it.
    #[inline]
    fn segment(&mut self) -> bool {
        let (observed, now) = (self.observed, self.now);
        if observed.flags & (flags::SYN | flags::RST) != 0 {
            return self.opens_or_resets();
        }
        let (this, ..) = self.parts();
        if !this.has(SEEN) {
            this.meet(observed.sequence, now);
        }
        if observed.flags & flags::ACK != 0 {
            if self.entry.class() == Class::Unconfirmed {
                self.confirm();
            }
            self.acknowledges();
        }
        let mut in_order = false;
        let mut probe = self.parts().0.has(PROBING);
        if !observed.is_fragment() {
            let length = sequence::length(observed);
            let (this, ..) = self.parts();
            if this.sent == observed.sequence {
                this.sent = this.sent.wrapping_add(length);
                in_order = true;
            } else if length != 0 {
                probe |= self.out_of_order() == Order::KeepAlive;
            }
            if observed.flags & flags::FIN != 0 {
                self.finishes();
            }
        }
        let worthy = observed.payload != 0 && !probe;
        if observed.has_timestamps() { self.tsval(worthy) } else { worthy && in_order && self.data() }
    }

    /// The other direction's data or SYN has been acknowledged by somebody who must have seen it: more than a flood does.
    #[inline(never)]
    fn confirm(&mut self) {
        let acknowledgement = self.observed.acknowledgement;
        let (_, that, _) = self.parts();
        // Of a flow met in its middle, the first packet seen may be far behind what was sent before, or ahead of what is acknowledged.
        let room = if that.has(SETTLING) { 1 << 30 } else { that.sent.wrapping_sub(that.acked) };
        if that.has(SEEN) && that.sent.wrapping_sub(acknowledgement) <= room {
            self.entry.set_class(Class::Established);
        }
    }

    /// What the acknowledgement number, SACK, TSecr and window say about the other direction.
    #[inline(always)]
    fn acknowledges(&mut self) {
        let observed = self.observed;
        let (_, that, _) = self.parts();
        if that.has(OUTSTANDING) {
            self.answers();
        }
        let acknowledgement = observed.acknowledgement;
        let theirs = self.theirs();
        let (_, that, cold) = self.parts();
        let recover = &mut cold.recover[theirs as usize];
        let advance = acknowledgement.wrapping_sub(that.acked) as i32;
        if advance > 0 {
            if that.has(SEEN) && !before(that.sent, acknowledgement) {
                that.acked = acknowledgement;
                if that.has(RECOVERING) && !before(acknowledgement, *recover) {
                    that.clear(RECOVERING | HOLE);
                }
            }
        } else if advance == 0 && that.has(HOLE) && observed.payload == 0 {
            that.count_duplicate();
        }
        if observed.reports_hole() {
            that.set(TOLD);
            sequence::recover(that, recover);
        }
        that.put(PROBING, observed.window == 0);
    }

    /// Whether the packet answers the other direction's stamp, or shows that nothing will.
    #[inline]
    fn answers(&mut self) {
        let observed = self.observed;
        let (_, that, _) = self.parts();
        match that.method() {
            Method::Timestamp if observed.has_timestamps() => {
                match observed.tsecr.wrapping_sub(that.stamp()) as i32 {
                    0 => self.sample(),
                    1.. => that.cancel(),
                    _ => {}
                }
            }
            Method::Sequence | Method::Handshake => {
                let acknowledgement = observed.acknowledgement;
                if before(that.sent, acknowledgement) {
                    // Acknowledges what never passed here: then not everything passes here, or it is a lie.
                    that.cancel();
                } else if !before(acknowledgement, that.stamp()) {
                    self.sample();
                } else if observed.reports_hole() {
                    that.cancel();
                }
            }
            Method::Timestamp | Method::Echo => {}
        }
    }

    /// The other direction's stamp has its answer.
    fn sample(&mut self) {
        let (now, settings, slot, theirs) = (self.now, self.settings, self.slot, self.theirs());
        let [forward, backward] = &mut self.entry.flow.halves;
        let that = match theirs {
            Direction::Forward => forward,
            Direction::Backward => backward,
        };
        settings.sample(that, theirs, slot, now, self.sink);
    }

    #[inline(never)]
    fn out_of_order(&mut self) -> Order {
        let (observed, now, fine, timeout) = (self.observed, self.now, self.fine, self.timeout);
        let stale = self.settings.stale;
        let (this, _, cold) = self.parts();
        let order = sequence::out_of_order(this, cold, observed, fine, timeout);
        match order {
            // Nothing could be stamped for so long: what counts as newest may be a forged number. As if met now.
            Order::Resent if !observed.has_timestamps() && this.age(now) > stale => {
                this.sent = observed.sequence.wrapping_add(sequence::length(observed));
                this.settle(now);
            }
            Order::Elsewhere => this.settle(now),
            _ => {}
        }
        match order {
            Order::Resent => self.sink.retransmission(),
            Order::Reordered => self.sink.reordered(),
            _ => {}
        }
        order
    }

    #[inline(never)]
    fn finishes(&mut self) {
        let (this, that, _) = self.parts();
        this.set(FIN);
        if that.has(FIN) {
            self.entry.set_class(Class::Closing);
        }
    }

    /// Follows the TSval; `worthy` if the segment may be stamped. `true` if a stamp is kept.
    #[inline(always)]
    fn tsval(&mut self, worthy: bool) -> bool {
        let (observed, now) = (self.observed, self.now);
        let waits = self.waits(self.settings.settling);
        let (this, ..) = self.parts();
        if !this.has(TSVAL) {
            this.set(TSVAL);
            this.tsval = observed.tsval;
            this.settle(now);
            return false;
        }
        let newer = observed.tsval.wrapping_sub(this.tsval) as i32;
        if newer > 0 {
            this.tsval = observed.tsval;
            return worthy && observed.tsval != 0 && this.keep(Method::Timestamp, observed.tsval, now, waits);
        }
        if newer < -OTHER_CLOCK && this.age(now) > waits[0] {
            this.tsval = observed.tsval;
            this.settle(now);
        }
        false
    }

    /// New data in order, without timestamps. `true` if a stamp is kept.
    #[inline(always)]
    fn data(&mut self) -> bool {
        let (observed, now) = (self.observed, self.now);
        let waits = self.waits(self.settings.settling_sequence);
        let (this, ..) = self.parts();
        let end = observed.sequence.wrapping_add(u32::from(observed.payload));
        !this.has(RECOVERING) && this.keep(Method::Sequence, end, now, waits)
    }

    /// A segment with SYN or RST. `true` if a stamp is kept for it.
    #[inline(never)]
    fn opens_or_resets(&mut self) -> bool {
        let (observed, now) = (self.observed, self.now);
        if observed.flags & flags::RST != 0 {
            self.entry.set_class(Class::Closing);
            return false;
        }
        let sent = observed.sequence.wrapping_add(1).wrapping_add(u32::from(observed.payload));
        let class = self.entry.class();
        let (this, that, _) = self.parts();
        let again = this.has(SEEN) && this.sent == sent;
        if observed.flags & flags::ACK != 0 {
            if that.has(SEEN) {
                self.acknowledges();
            }
        } else if !again && (this.has(SEEN) || that.has(SEEN) && !that.has_only_begun()) {
            // Its ports are used again. Unless the old connection was seen to end, the SYN may be forged, and the flow go on.
            self.entry.begin_again();
            let (this, ..) = self.parts();
            this.begin(observed.sequence, sent, now);
            if class != Class::Closing {
                this.settle(now);
            }
            return self.begun();
        }
        let (this, ..) = self.parts();
        if !this.has(SEEN) {
            this.begin(observed.sequence, sent, now);
            return self.begun();
        }
        if observed.has_timestamps() && this.has(TSVAL) && before(this.tsval, observed.tsval) {
            this.tsval = observed.tsval;
        }
        if again {
            this.cancel_sequence();
            self.sink.retransmission();
        }
        false
    }

    /// The direction has begun with this SYN. `true` if a stamp is kept for it.
    fn begun(&mut self) -> bool {
        let (observed, now) = (self.observed, self.now);
        // This may be a SYN sent again, the first one having come before the flow was lost sight of.
        let handshakes = self.settings.handshakes && self.unbroken >= self.settings.settling_sequence;
        let waits = self.waits(self.settings.settling_sequence);
        let (this, ..) = self.parts();
        if observed.has_timestamps() {
            this.set(TSVAL);
            this.tsval = observed.tsval;
        }
        handshakes && this.keep(Method::Handshake, observed.sequence.wrapping_add(1), now, waits)
    }

    /// An ICMP echo request; `true` if a stamp is kept for it.
    fn request(&mut self) -> bool {
        let (observed, now) = (self.observed, self.now);
        let waits = self.waits(0);
        let number = observed.sequence;
        let (this, ..) = self.parts();
        let newer = (number as u16).wrapping_sub(this.tsval as u16) as i16;
        // After a long time without a stamp, an old number is a new run of the same sender.
        let long_ago = this.age(now) > waits[0].max(waits[1]);
        if this.has(TSVAL) && newer <= 0 && !long_ago {
            if newer == 0 && this.has(OUTSTANDING) && this.stamp() == number {
                // Twice the same: which of them a reply answers, nobody can tell.
                this.cancel();
            }
            return false;
        }
        this.set(SEEN | TSVAL);
        this.tsval = number;
        this.keep(Method::Echo, number, now, waits)
    }

    /// An ICMP echo reply.
    fn reply(&mut self) -> bool {
        let number = self.observed.sequence;
        let (_, that, _) = self.parts();
        if that.has(OUTSTANDING) {
            match (number as u16).wrapping_sub(that.stamp() as u16) as i16 {
                0 => self.sample(),
                1.. => that.cancel(),
                _ => {}
            }
        }
        false
    }
}
