//! Places of packets: one array for all queues, each packet linked to the one behind it.
//!
//! The first packet of a flow stands in the flow itself: most flows have no second one.

use super::{
    Arrival,
    memory::filled,
    sets::{NONE, next},
};
use crate::fib::prefetch;

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
    pub(super) fn new(arrival: &Arrival, now: u64, ack: bool) -> Place {
        let flags = u64::from(arrival.ecn_capable) << 16 | u64::from(ack) << 17;
        let stamp = now << BELOW | flags | u64::from(arrival.length & 0xffff);
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

    /// It is a pure ACK that a later one may make redundant.
    #[inline(always)]
    pub(super) fn is_ack(&self) -> bool {
        self.stamp & ACK != 0
    }
}

/// All places.
pub(super) struct Packets {
    places: Vec<Place>,
    free: u32,
}

impl Packets {
    pub(super) fn new(capacity: usize) -> Packets {
        let places = filled(capacity, |number| Place { next: next(number, capacity), ..Place::EMPTY });
        Packets { places, free: if capacity == 0 { NONE } else { 0 } }
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
