//! A packet on its way through the graph: 32 bytes that own its frames, nearly always one.
//!
//! ```text
//!  0        4      6    8   9       10     12      14     16      18      20          24            28       32
//!  ├─frame──┼start─┼head┼l3─┼flags──┼─more─┼reason─┼icmp──┼rx_port┼tx_port┼─adjacency─┼─destination─┼──word──┤
//!                                           └────down──────┘               └────up─────┴───ticket────┴arrived─┘
//! ```
//! The lower line: what the same bytes hold from `classify` (`Parties`) and `tcp-rtt-match` (`Passage`) on, where a next hop, a reason and an ICMP error are
//! needed no more.
//!
//! A packet that is too large for one frame has the first `head` bytes in this one and `more` in others, which the frame owns as the packet owns it
//! ([`frames`](crate::frames)). All headers lie in the first.
//!
//! A `Packet` is moved, never copied or cloned: whoever holds it owns the frames' bytes, and whoever gives it up returns the
//! frames to a [`FramePool`](crate::frames::FramePool) or to a port. What a node has read from the header once (destination,
//! header offset) travels here, so that later nodes need not touch the frame again.

use crate::{adjacency::AdjacencyIndex, customers::Customer, ports::Side, rtt::Ticket};

/// A port's index: its place in the configuration, the same in every worker and in the segment's `/if/names`.
pub type PortIndex = u16;

/// Bits of [`Packet::flags`].
pub mod flags {
    /// IPv4 options have been processed (record route and timestamp are written once only).
    pub const OPTIONS_DONE: u8 = 1 << 0;
    /// weir made this packet (an ICMP error): never answered with another error.
    pub const CREATED: u8 = 1 << 1;
    /// It leaves towards the internet, by a port that has both sides; see [`Ports::egress`](crate::ports::Ports::egress).
    pub const TO_WAN: u8 = 1 << 2;
    /// It leaves towards the customers, by a port that has both sides.
    pub const TO_LAN: u8 = 1 << 3;
    /// A trace follows it; its number stands with the frame.
    pub(crate) const TRACED: u8 = 1 << 7;
}

/// Why a packet is dropped: an index into the graph's list of all nodes' reasons, in registration order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReasonIndex(pub(crate) u16);

impl ReasonIndex {
    /// Its column in `/node/errors`.
    pub fn column(self) -> usize {
        usize::from(self.0)
    }
}

/// The ICMP error that a packet asks for, when a node sends it to `ip4-icmp-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// ICMP type (RFC 792).
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The second word of the ICMP header, host order: next-hop MTU (RFC 1191) or pointer << 24 (RFC 792), otherwise 0.
    pub word: u32,
}

/// What is known of a packet while it is inside, between `tcp-rtt-match` and `tcp-rtt-stamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Its place in the measurement of its flow.
    pub(crate) ticket: Ticket,
    /// When it came in.
    pub(crate) arrived: Arrived,
}

/// Whose a packet is, from `classify` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parties {
    /// The customer that it comes from.
    pub(crate) up: Customer,
    /// The customer that it goes to.
    pub(crate) down: Customer,
}

impl Parties {
    /// The one whose rate a packet counts against that leaves by this side: where it goes, or where it comes from.
    #[inline(always)]
    pub(crate) fn rated(self, side: Option<Side>) -> Customer {
        match side {
            Some(Side::Lan) => self.down,
            Some(Side::Wan) => self.up,
            None => Customer::NONE,
        }
    }
}

/// A moment as 32 bits: 2⁸ ticks (some 0.1 µs) apart, so that it comes again after some minutes; nothing stays inside for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived(u32);

impl Arrived {
    const SHIFT: u32 = 8;

    #[inline(always)]
    pub(crate) fn at(ticks: u64) -> Arrived {
        Arrived((ticks >> Self::SHIFT) as u32)
    }

    /// Ticks from then to `now`.
    #[inline(always)]
    pub(crate) fn until(self, now: u64) -> u64 {
        u64::from(((now >> Self::SHIFT) as u32).wrapping_sub(self.0)) << Self::SHIFT
    }
}

/// One packet: its frame, where the packet lies in it, and what the graph knows about it.
#[derive(Debug)]
#[repr(C, align(32))]
#[must_use = "a packet that is dropped leaks its frame: send it, hold it, or give it back to the pool"]
pub struct Packet {
    frame: u32,
    start: u16,
    /// Bytes in the frame.
    pub(crate) head: u16,
    /// Bytes from the packet's start to its IP header, 0 if it has none that weir knows: see [`wire::network`](crate::wire::network).
    pub l3: u8,
    /// See [`flags`].
    pub flags: u8,
    /// Bytes in the frames behind the frame; 0: there are none.
    pub(crate) more: u16,
    pub(crate) reason: ReasonIndex,
    icmp: u16,
    /// The port that the packet came in on.
    pub rx_port: PortIndex,
    /// The port that it is to leave by; valid from `ip4-rewrite` or `l2-cross-connect` on.
    pub tx_port: PortIndex,
    /// The next hop; valid from `ip4-lookup` on, until `classify`.
    pub adjacency: AdjacencyIndex,
    /// IPv4 destination address, host order; valid from `ip4-input` on.
    pub destination: u32,
    /// Scratch word of one node and its successor: the second ICMP word on the way to `ip4-icmp-error`.
    word: u32,
}

const _: () = assert!(size_of::<Packet>() == 32);

/// The frame number of no frame: what is left behind where a packet was taken from a vector.
const HOLE: u32 = u32::MAX;

impl Packet {
    /// Used by [`Frames`](crate::frames::Frames), which proves that `frame` is owned and that start and length lie inside it.
    #[inline(always)]
    pub(crate) fn new(frame: u32, start: u16, head: u16, rx_port: PortIndex) -> Packet {
        Packet {
            frame,
            start,
            head,
            l3: 0,
            flags: 0,
            reason: ReasonIndex(0),
            rx_port,
            tx_port: 0,
            icmp: 0,
            more: 0,
            adjacency: AdjacencyIndex::default(),
            destination: 0,
            word: 0,
        }
    }

    /// Takes the packet out of a vector that is being processed and leaves a hole, which the dispatcher skips. The node
    /// must answer [`Next::TAKEN`](crate::node::Next::TAKEN) for that place.
    #[inline(always)]
    pub fn take(&mut self) -> Packet {
        std::mem::replace(self, Packet::hole())
    }

    /// The place of a packet that is not there.
    #[inline(always)]
    pub(crate) fn hole() -> Packet {
        Packet::new(HOLE, 0, 0, 0)
    }

    #[inline(always)]
    pub(crate) fn is_hole(&self) -> bool {
        self.frame == HOLE
    }

    /// Gives the packet up: its frame, where it lies in it, and how many bytes are in others.
    #[inline(always)]
    pub(crate) fn give_up(self) -> (u32, u16, u16, u16) {
        let Packet { frame, start, head, more, .. } = self;
        (frame, start, head, more)
    }

    /// Number of the UMEM frame that holds the packet, or its beginning.
    #[inline(always)]
    pub fn frame(&self) -> u32 {
        self.frame
    }

    /// Offset of the packet's first byte in its frame.
    #[inline(always)]
    pub fn start(&self) -> u16 {
        self.start
    }

    /// Bytes of the packet, from its Ethernet header on, without the frame check sequence.
    #[inline(always)]
    pub fn len(&self) -> u16 {
        self.head + self.more
    }

    /// A packet of no bytes.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packet has one frame only.
    #[inline(always)]
    pub fn is_one_frame(&self) -> bool {
        self.more == 0
    }

    /// Moves the packet's start by so many bytes: back into the headroom (below 0) to make room for a header, or forth to take one off. `false`, and
    /// nothing is changed, where the frame has no such room, or no so many bytes. New bytes are whatever was there; [`Self::l3`] is the caller's to mend.
    #[inline(always)]
    #[must_use]
    pub fn move_start(&mut self, by: i16) -> bool {
        let (start, head) = (i32::from(self.start) + i32::from(by), i32::from(self.head) - i32::from(by));
        let fits = start >= 0 && head >= 0 && head + i32::from(self.more) <= i32::from(u16::MAX);
        if fits {
            (self.start, self.head) = (start as u16, head as u16);
        }
        fits
    }

    /// Sets where the frame's part of the packet lies. Used by [`Frames`](crate::frames::Frames), which proves that it lies inside.
    pub(crate) fn place(&mut self, start: u16, head: u16) {
        (self.start, self.head) = (start, head);
    }

    /// Sets the ICMP error that `ip4-icmp-error` will send about this packet.
    #[inline]
    pub(crate) fn set_icmp(&mut self, error: IcmpError) {
        self.icmp = u16::from_be_bytes([error.kind, error.code]);
        self.word = error.word;
    }

    /// The ICMP error that this packet asks for.
    #[inline]
    pub(crate) fn icmp(&self) -> IcmpError {
        let [kind, code] = self.icmp.to_be_bytes();
        IcmpError { kind, code, word: self.word }
    }

    /// Notes whose the packet is, in the place of what led it there.
    #[inline(always)]
    pub(crate) fn set_parties(&mut self, Parties { up, down }: Parties) {
        self.adjacency = AdjacencyIndex::from_low_bits(up.word());
        (self.reason, self.icmp) = (ReasonIndex(down.word() as u16), (down.word() >> 16) as u16);
    }

    /// What [`Self::set_parties`] has noted.
    #[inline(always)]
    pub(crate) fn parties(&self) -> Parties {
        Parties {
            up: Customer::from_word(self.adjacency.as_u32()),
            down: Customer::from_word(u32::from(self.icmp) << 16 | u32::from(self.reason.0)),
        }
    }

    /// Notes what `tcp-rtt-match` knows.
    #[inline(always)]
    pub(crate) fn set_passage(&mut self, Passage { ticket, arrived }: Passage) {
        self.destination = ticket.word();
        self.word = arrived.0;
    }

    /// What [`Self::set_passage`] has noted.
    #[inline(always)]
    pub(crate) fn passage(&self) -> Passage {
        Passage { ticket: Ticket::from_word(self.destination), arrived: Arrived(self.word) }
    }

    /// Takes on what a packet that this one was made from knows: header offset, marks, ports, next hop, destination. Not the trace, which stands with the
    /// frame: see [`Frames::trace_with`](crate::frames::Frames::trace_with).
    pub(crate) fn inherit(&mut self, from: &Packet) {
        let Packet { frame, start, head, more, .. } = *self;
        *self = Packet { frame, start, head, more, flags: from.flags & !flags::TRACED, ..*from };
    }

    /// `true` while the packet is followed by a trace.
    #[inline(always)]
    pub fn is_traced(&self) -> bool {
        self.flags & flags::TRACED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_is_kept_whole_and_touches_nothing_that_is_still_needed() {
        let mut packet = Packet::new(7, 256, 60, 3);
        (packet.l3, packet.tx_port, packet.more) = (14, 4, 9);
        for column in [0, 1, 0x1_0000, 0x1f_ffff] {
            let parties =
                Parties { up: Customer::of_column(column), down: Customer::of_column(0x1f_ffff - column) };
            let passage =
                Passage { ticket: Ticket::from_word(0xc000_1234), arrived: Arrived::at(123_456_789_012) };
            packet.set_parties(parties);
            packet.set_passage(passage);
            assert_eq!((packet.parties(), packet.passage()), (parties, passage));
        }
        assert_eq!((packet.frame(), packet.start(), packet.len(), packet.l3), (7, 256, 69, 14));
        assert_eq!((packet.rx_port, packet.tx_port, packet.more), (3, 4, 9));
    }

    #[test]
    fn a_start_moves_within_the_frame_only() {
        let mut packet = Packet::new(7, 256, 60, 3);
        assert!(packet.move_start(-4) && packet.move_start(8));
        assert_eq!((packet.start(), packet.len()), (260, 56));
        assert!(!packet.move_start(-261) && !packet.move_start(57));
        assert!(packet.move_start(-260));
        assert_eq!((packet.start(), packet.len()), (0, 316));
        packet.more = u16::MAX - 316;
        assert!(!packet.move_start(-1) && packet.move_start(1) && packet.move_start(-1));
        packet.place(1, 316);
        assert!(!packet.move_start(-1), "longer than a packet can be");
    }

    #[test]
    fn arrivals_survive_the_end_of_their_range() {
        for now in [1 << 20, (1 << 40) - 1, u64::MAX] {
            let arrived = Arrived::at(now);
            assert!(arrived.until(now.wrapping_add(1_000_000)).abs_diff(1_000_000) <= 256);
        }
    }
}
