//! Places of packets: one array for all queues, each packet linked to the one behind it.
//!
//! The first packet of a flow stands in the flow itself: most flows have no second one.

use super::{
    Arrival, PureAck,
    sets::{NONE, next},
};
use crate::fib::prefetch;
use crate::memory::{Zeros, filled, zeroed};

/// A packet in a queue, 16 bytes.
///
/// ```text
///  stamp  ├─ when it came, 46 bits ─┬ ACK 1 ┬ ECN 1 ┬ length 16 ┤
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    stamp: u64,
    pub(super) handle: u32,
    /// The packet behind it in its queue, or the next free place.
    pub(super) next: u32,
}

/// Bits of a stamp below the time.
const BELOW: u32 = 18;
const ECN: u64 = 1 << 16;
const ACK: u64 = 1 << 17;

impl Place {
    pub(super) const EMPTY: Place = Place { stamp: 0, handle: 0, next: NONE };

    #[inline(always)]
    pub(super) fn new(arrival: &Arrival, now: u64) -> Place {
        let stamp = now << BELOW | u64::from(arrival.ecn_capable) << 16 | u64::from(arrival.length & 0xffff);
        Place { stamp, handle: arrival.packet, next: NONE }
    }

    /// Bytes.
    #[inline(always)]
    pub(super) fn length(&self) -> u32 {
        u32::from(self.stamp as u16)
    }

    /// Ticks since it came, up to 2⁴⁵ (four hours of a fast counter); none if it comes from the future.
    #[inline(always)]
    pub(super) fn sojourn(&self, now: u64) -> u64 {
        let difference = (now << BELOW).wrapping_sub(self.stamp & !((1 << BELOW) - 1)).cast_signed();
        (difference >> BELOW).max(0).cast_unsigned()
    }

    #[inline(always)]
    pub(super) fn ecn_capable(&self) -> bool {
        self.stamp & ECN != 0
    }

    /// It is a pure ACK that a later one may supersede: [`Acks`] has it.
    #[inline(always)]
    pub(super) fn is_ack(&self) -> bool {
        self.stamp & ACK != 0
    }

    pub(super) fn set_ack(&mut self) {
        self.stamp |= ACK;
    }
}

/// All places.
pub(super) struct Packets {
    places: Vec<Place>,
    free: u32,
    pub(super) acks: Acks,
}

/// What pure ACKs say that are queued in leaves that filter them: empty until a discipline does, and then zeros until there are some.
#[derive(Default)]
pub(super) struct Acks {
    /// By place.
    queued: Zeros<PureAck>,
    /// By flow: of its first packet.
    first: Zeros<PureAck>,
}

impl Acks {
    pub(super) fn set_first(&mut self, flow: u32, ack: &PureAck) {
        if let Some(first) = self.first.get_mut(flow as usize) {
            *first = *ack;
        }
    }

    pub(super) fn set(&mut self, place: u32, ack: &PureAck) {
        if let Some(queued) = self.queued.get_mut(place as usize) {
            *queued = *ack;
        }
    }

    pub(super) fn first(&self, flow: u32) -> Option<&PureAck> {
        self.first.get(flow as usize)
    }

    pub(super) fn of(&self, place: u32) -> Option<&PureAck> {
        self.queued.get(place as usize)
    }

    /// The packet of this place is its flow's first now.
    #[cold]
    pub(super) fn advance(&mut self, place: u32, flow: u32) {
        if let (Some(first), Some(queued)) =
            (self.first.get_mut(flow as usize), self.queued.get(place as usize))
        {
            *first = *queued;
        }
    }
}

impl Packets {
    pub(super) fn new(capacity: usize) -> Packets {
        let places = filled(capacity, |number| Place { next: next(number, capacity), ..Place::EMPTY });
        Packets { places, free: if capacity == 0 { NONE } else { 0 }, acks: Acks::default() }
    }

    /// Some leaf filters ACKs, from now on: room for what those of so many flows say.
    pub(super) fn keep_acks(&mut self, flows: usize) {
        if self.acks.first.is_empty() {
            self.acks = Acks { queued: zeroed(self.places.len()), first: zeroed(flows) };
        }
    }

    /// Places taken: for tests.
    pub(super) fn used(&self) -> usize {
        let (mut free, mut next) = (0, self.free);
        while let Some(place) = self.places.get(next as usize) {
            (free, next) = (free + 1, place.next);
        }
        self.places.len() - free
    }

    #[inline]
    pub(super) fn place(&self, number: u32) -> &Place {
        &self.places[number as usize]
    }

    pub(super) fn place_mut(&mut self, number: u32) -> &mut Place {
        &mut self.places[number as usize]
    }

    #[inline]
    pub(super) fn link(&mut self, number: u32, next: u32) {
        self.places[number as usize].next = next;
    }

    /// `None` if there is no place left.
    #[inline]
    pub(super) fn put(&mut self, place: Place) -> Option<u32> {
        let number = self.free;
        let free = self.places.get_mut(number as usize)?;
        self.free = free.next;
        *free = place;
        Some(number)
    }

    #[inline]
    pub(super) fn take(&mut self, number: u32) -> Place {
        let place = &mut self.places[number as usize];
        let taken = *place;
        place.next = self.free;
        self.free = number;
        taken
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, number: u32) {
        if let Some(place) = self.places.get(number as usize) {
            prefetch(place);
        }
    }
}
