//! Places of packets: one array for all queues, each packet linked to the one behind it.

use super::{
    memory::filled,
    sets::{NONE, next},
};
use crate::fib::prefetch;

/// A packet in a queue, 24 bytes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// When it came.
    pub(super) at: u64,
    pub(super) handle: u32,
    /// The packet behind it in its queue, or the next free place.
    pub(super) next: u32,
    pub(super) length: u32,
    pub(super) ecn_capable: bool,
}

/// All places.
pub(super) struct Packets {
    places: Vec<Place>,
    free: u32,
    used: usize,
}

impl Packets {
    pub(super) fn new(capacity: usize) -> Packets {
        let places = filled(capacity, |number| Place {
            at: 0,
            handle: 0,
            next: next(number, capacity),
            length: 0,
            ecn_capable: false,
        });
        Packets { places, free: if capacity == 0 { NONE } else { 0 }, used: 0 }
    }

    #[inline]
    pub(super) fn used(&self) -> usize {
        self.used
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
        self.used += 1;
        *free = place;
        Some(number)
    }

    #[inline]
    pub(super) fn take(&mut self, number: u32) -> Place {
        let place = &mut self.places[number as usize];
        let taken = *place;
        place.next = self.free;
        self.free = number;
        self.used -= 1;
        taken
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, number: u32) {
        if let Some(place) = self.places.get(number as usize) {
            prefetch(place);
        }
    }
}
