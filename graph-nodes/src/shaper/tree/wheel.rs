//! When to look at whom: a hierarchical timing wheel, and in front of it the next few events in exact order.
//!
//! ```text
//!  level 2   1024 slots of 2^18 ┐
//!  level 1   1024 slots of 2^8  ├▶ slots of 1 to 2 µs ─▶ front: what is due next, sorted
//!  level 0    256 slots of 1    ┘
//! ```
//! Slots are lists of chunks with seven events each, so that filling and emptying them goes through memory in order, and whom an event is
//! about is known long before their line is needed. An event is never taken out: when it comes, whoever gets it looks at what is true by
//! then. So there is at most one of each kind for each member of the tree, which is what the memory is for.

use crate::memory::{Zeroed, Zeros, zeroed};
use crate::shaper::sets::NONE;

const LEVELS: usize = 3;
/// Slots of each level, as a power of two. The events of a slot of level 1, which is less than half a millisecond, move down at once: packets wait for
/// that.
const BITS: [u32; LEVELS] = [8, 10, 10];
/// How many slots of level 0 each level's are, as a power of two.
const BELOW: [u32; LEVELS] = [0, BITS[0], BITS[0] + BITS[1]];
/// The most slots of a level.
const SLOTS: usize = 1 << 10;
/// Events of a chunk: a cache line.
const EVENTS: usize = 7;
/// Room of the front. Events beyond it stay in their slot, and may then be in disorder by a slot.
const FRONT: usize = 512;
/// The front begins here when it is empty, so that what comes before its first event moves nobody.
const MARGIN: usize = 64;
/// How many events ahead lines are asked for.
pub(super) const AHEAD: usize = 24;
/// Events that the front is filled up to, as far as they are due: there are always enough of them to ask for lines, and few are sorted one by one.
const FILLED: usize = 2 * AHEAD;

/// Somebody is to be looked at.
#[derive(Clone, Copy, Default)]
pub(super) struct Event {
    /// Ticks.
    pub(super) due: u64,
    /// Who, and why: the caller's number.
    pub(super) what: u32,
    /// The caller's note about lines that it has asked for.
    pub(super) note: u32,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Chunk {
    next: u32,
    used: u32,
    /// The lower half of when it is due (the slot says the rest), and the caller's number.
    events: [(u32, u32); EVENTS],
}

// SAFETY: integers.
unsafe impl Zeroed for Chunk {}

/// Which slots have events: a bit each.
#[derive(Clone, Copy, Default)]
struct Occupied {
    slots: [u64; SLOTS / 64],
    /// A bit for each word of them that isn't 0.
    words: u16,
}

impl Occupied {
    /// How far behind `from` the first slot with events is, going round; `mask`: slots that there are, less one.
    #[inline]
    fn ahead(&self, from: u64, mask: u64) -> Option<u64> {
        if self.words == 0 {
            return None;
        }
        let from = (from & mask) as usize % SLOTS;
        let (word, bit) = (from / 64, from % 64);
        let here = self.slots[word] >> bit;
        if here != 0 {
            return Some(u64::from(here.trailing_zeros()));
        }
        // The words behind this one, and at last this one's lower bits.
        let behind = self.words.rotate_right(word as u32 + 1).trailing_zeros() as usize;
        let at = (word + 1 + behind) % self.slots.len();
        let slot = at * 64 + self.slots[at].trailing_zeros() as usize;
        Some((slot as u64).wrapping_sub(from as u64) & mask)
    }

    #[inline(always)]
    fn set(&mut self, slot: usize) {
        self.slots[slot / 64] |= 1 << (slot % 64);
        self.words |= 1 << (slot / 64);
    }

    fn clear(&mut self, slot: usize) {
        self.slots[slot / 64] &= !(1 << (slot % 64));
        if self.slots[slot / 64] == 0 {
            self.words &= !(1 << (slot / 64));
        }
    }
}

/// Slots of a level, less one.
#[inline(always)]
fn mask(level: usize) -> u64 {
    (1 << BITS[level]) - 1
}

/// Where a level's slot has its head.
#[inline(always)]
fn index(level: usize, slot: u64) -> usize {
    level * SLOTS + (slot & mask(level)) as usize
}

/// All events of a worker.
pub(super) struct Wheel {
    /// A slot of level 0 is 2^`shift` ticks.
    shift: u32,
    /// The slot of level 0, counted from tick 0, before which nobody stands in the wheel: they are in the front, or past.
    at: u64,
    /// The first chunk of each slot, level after level.
    heads: Box<[u32; LEVELS * SLOTS]>,
    occupied: [Occupied; LEVELS],
    /// The slot of level 0 before which no slot of a higher level begins that has events.
    cascades_at: u64,
    chunks: Zeros<Chunk>,
    free: u32,
    /// Chunks from here on have never been used.
    fresh: u32,
    front: Box<[Event; FRONT]>,
    head: usize,
    tail: usize,
}

impl Wheel {
    /// For so many events at a time.
    pub(super) fn new(events: usize, hz: u64) -> Wheel {
        Wheel {
            // 1 to 2 µs. Not above 14, lest a slot of level 2 be more than 2³² ticks.
            shift: (hz / 500_000).max(1).ilog2().min(32 - BELOW[2]),
            at: 0,
            heads: Box::new([NONE; LEVELS * SLOTS]),
            occupied: [Occupied::default(); LEVELS],
            cascades_at: u64::MAX,
            // Every slot may have one chunk that isn't full.
            chunks: zeroed(events / EVENTS + LEVELS * SLOTS + 1),
            free: NONE,
            fresh: 0,
            front: Box::new([Event::default(); FRONT]),
            head: MARGIN,
            tail: MARGIN,
        }
    }

    /// Something is to happen at `due`, or as soon as possible if that is past.
    #[inline(never)]
    pub(super) fn arm(&mut self, due: u64, what: u32) {
        let slot = due >> self.shift;
        if slot < self.at {
            if self.tail - self.head < FRONT - 1 {
                self.insert(due, what);
            } else {
                self.arm(self.at << self.shift, what);
            }
        } else if (slot >> BELOW[1]) - (self.at >> BELOW[1]) < 1 << BITS[1] {
            // Which of the two it is can't be foretold: so no branch.
            let level = usize::from(slot - self.at >= 1 << BITS[0]);
            self.put(level, slot >> (level as u32 * BELOW[1]), due, what);
        } else {
            self.arm_far(due, what);
        }
    }

    #[cold]
    fn arm_far(&mut self, due: u64, what: u32) {
        let last = (self.at >> BELOW[2]) + (1 << BITS[2]) - 1;
        let slot = due >> (BELOW[2] + self.shift);
        let due = if slot > last { last << (BELOW[2] + self.shift) } else { due };
        self.put(2, slot.min(last), due, what);
    }

    /// Whether events should be brought into the front before the next one is taken.
    #[inline(always)]
    pub(super) fn is_low(&self, now: u64) -> bool {
        self.tail - self.head < AHEAD && self.at <= now >> self.shift
    }

    /// The next event that is due by `now`, of those in the front.
    #[inline]
    pub(super) fn pop(&mut self, now: u64) -> Option<Event> {
        let event = self.front[self.head % FRONT];
        if self.head == self.tail || event.due > now {
            return None;
        }
        self.head += 1;
        if self.head == self.tail {
            (self.head, self.tail) = (MARGIN, MARGIN);
        }
        Some(event)
    }

    /// When to call again: exact if it is within the slots of level 0, and not too late otherwise.
    pub(super) fn next(&self) -> Option<u64> {
        if self.head != self.tail {
            return Some(self.front[self.head].due);
        }
        let near = self.ahead(0).map(|ahead| {
            let slot = self.at + ahead;
            let mut least = u64::MAX;
            let mut chunk = self.heads[index(0, slot)];
            while let Some(at) = self.chunks.get(chunk as usize) {
                for &(low, _) in &at.events[..at.used as usize] {
                    least = least.min(self.whole(0, slot, low));
                }
                chunk = at.next;
            }
            least
        });
        let far = self.cascades().map(|(slot, _)| slot << self.shift);
        match (near, far) {
            (Some(near), Some(far)) => Some(near.min(far)),
            (near, far) => near.or(far),
        }
    }

    /// How many slots behind the current one of a level the first is that has events.
    #[inline(always)]
    fn ahead(&self, level: usize) -> Option<u64> {
        self.occupied[level].ahead(self.at >> BELOW[level], mask(level))
    }

    fn clear(&mut self, level: usize, slot: u64) {
        self.heads[index(level, slot)] = NONE;
        self.occupied[level].clear(index(level, slot) % SLOTS);
    }

    /// The first slot of level 0 with which one of a higher level begins that has events, and that level.
    #[inline]
    fn cascades(&self) -> Option<(u64, usize)> {
        let mut first = None;
        for level in (1..LEVELS).rev() {
            let bits = BELOW[level];
            let Some(ahead) = self.ahead(level) else { continue };
            let slot = ((self.at >> bits) + ahead) << bits;
            if first.is_none_or(|(found, _)| slot < found) {
                first = Some((slot, level));
            }
        }
        first
    }

    /// The event so many behind the one that [`Wheel::pop`] has returned last.
    #[inline(always)]
    pub(super) fn behind(&mut self, events: usize) -> Option<&mut Event> {
        let at = self.head + events;
        (at < self.tail).then(|| &mut self.front[at % FRONT])
    }

    /// Brings events that are due by `now` into the front. Returns how many stood there, and those that have come, as far as [`Wheel::behind`] will not tell of all of them in time.
    pub(super) fn fill(&mut self, now: u64) -> (usize, &mut [Event]) {
        if self.head > MARGIN {
            self.front.copy_within(self.head..self.tail, MARGIN);
            (self.head, self.tail) = (MARGIN, MARGIN + self.tail - self.head);
        }
        let before = self.tail;
        let end = (now >> self.shift) + 1;
        while self.tail - self.head < FILLED && self.at < end {
            let near = self.ahead(0).map(|ahead| self.at + ahead);
            if self.cascades_at < end && near.is_none_or(|near| self.cascades_at <= near) {
                if let Some((slot, level)) = self.cascades()
                    && slot == self.cascades_at
                {
                    self.at = self.at.max(slot);
                    self.cascade(level);
                }
                self.cascades_at = self.cascades().map_or(u64::MAX, |(slot, _)| slot);
                continue;
            }
            match near.filter(|&near| near < end) {
                Some(slot) => self.drain(slot),
                None => self.at = end,
            }
        }
        let near = (self.head + AHEAD).min(self.tail);
        (before - self.head, &mut self.front[before.min(near)..near])
    }

    /// Moves the events of a higher level's slot, which begins now, down.
    fn cascade(&mut self, level: usize) {
        let slot = self.at >> BELOW[level];
        let mut chunk = self.heads[index(level, slot)];
        self.clear(level, slot);
        while chunk != NONE {
            let Chunk { next, used, events } = self.chunks[chunk as usize];
            self.release(chunk);
            for &(low, what) in &events[..used as usize] {
                self.arm(self.whole(level, slot, low), what);
            }
            chunk = next;
        }
    }

    /// Moves a slot's events into the front, in order.
    fn drain(&mut self, slot: u64) {
        self.at = slot + 1;
        let first = self.tail;
        let mut chunk = self.heads[index(0, slot)];
        while chunk != NONE && self.tail + EVENTS + MARGIN < FRONT {
            let Chunk { next, used, events } = self.chunks[chunk as usize];
            for &(low, what) in &events[..used as usize] {
                self.front[self.tail] = Event { due: self.whole(0, slot, low), what, note: NONE };
                self.tail += 1;
            }
            self.release(chunk);
            chunk = next;
        }
        if chunk == NONE {
            self.clear(0, slot);
        } else {
            // No room: the rest later.
            self.heads[index(0, slot)] = chunk;
            self.at = slot;
        }
        self.front[first..self.tail].sort_unstable_by_key(|event| event.due);
    }

    /// Puts an event into the front, behind those that are due at the same time; whichever side is shorter moves.
    fn insert(&mut self, due: u64, what: u32) {
        let event = Event { due, what, note: NONE };
        let at = self.head + self.front[self.head..self.tail].partition_point(|other| other.due <= due);
        if self.tail == FRONT || self.head > 0 && at - self.head <= self.tail - at {
            self.front.copy_within(self.head..at, self.head - 1);
            self.head -= 1;
            self.front[at - 1] = event;
        } else {
            self.front.copy_within(at..self.tail, at + 1);
            self.tail += 1;
            self.front[at] = event;
        }
    }

    #[inline(always)]
    fn put(&mut self, level: usize, slot: u64, due: u64, what: u32) {
        let cascades_at = if level == 0 { u64::MAX } else { slot << BELOW[level] };
        self.cascades_at = self.cascades_at.min(cascades_at);
        let head = self.heads[index(level, slot)];
        if let Some(chunk) = self.chunks.get_mut(head as usize)
            && let Some(event) = chunk.events.get_mut(chunk.used as usize)
        {
            *event = (due as u32, what);
            chunk.used += 1;
            return;
        }
        let number = if self.free == NONE { self.fresh } else { self.free };
        // There is one: see `new`.
        let chunk = &mut self.chunks[number as usize];
        if self.free == NONE {
            self.fresh += 1;
        } else {
            self.free = chunk.next;
        }
        (chunk.next, chunk.used) = (head, 1);
        chunk.events[0] = (due as u32, what);
        self.heads[index(level, slot)] = number;
        if head == NONE {
            self.occupied[level].set(index(level, slot) % SLOTS);
        }
    }

    #[inline]
    fn release(&mut self, chunk: u32) {
        self.chunks[chunk as usize].next = self.free;
        self.free = chunk;
    }

    /// When an event of a slot is due: the slot says what the event's lower half leaves out.
    #[inline]
    fn whole(&self, level: usize, slot: u64, low: u32) -> u64 {
        let start = slot << (self.shift + BELOW[level]);
        start + u64::from(low.wrapping_sub(start as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(wheel: &mut Wheel, now: u64) -> Option<Event> {
        if wheel.is_low(now) {
            wheel.fill(now);
        }
        wheel.pop(now)
    }

    /// Pops at `next` until nothing is left.
    fn drained(wheel: &mut Wheel) -> Vec<(u64, u32)> {
        let mut events = Vec::new();
        while let Some(now) = wheel.next() {
            while let Some(event) = take(wheel, now) {
                assert_eq!(event.due, now, "too early or late");
                events.push((event.due, event.what));
            }
        }
        events
    }

    #[test]
    fn events_of_all_distances_come_in_order_and_to_the_tick() {
        for start in [0u64, 1 << 40, u64::from(u32::MAX) - 5000] {
            let mut wheel = Wheel::new(20_000, 1_000_000_000);
            assert!(take(&mut wheel, start).is_none());
            let mut random = 1u64;
            let mut expected: Vec<(u64, u32)> = (0..10_000)
                .map(|what| {
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    // To four microseconds and up to a hundred seconds.
                    (start + 1 + (random >> 8) % (1 << (12 + random % 25)), what)
                })
                .collect();
            for &(due, what) in &expected {
                wheel.arm(due, what);
            }
            let mut events = drained(&mut wheel);
            expected.sort_unstable();
            events.sort_by_key(|&(due, what)| (due, what));
            assert_eq!(events, expected);
        }
    }

    #[test]
    fn an_event_before_those_that_are_in_the_front_comes_first() {
        let mut wheel = Wheel::new(100, 1_000_000_000);
        for what in 0..40 {
            wheel.arm(1000 + u64::from(what), what);
        }
        assert_eq!(take(&mut wheel, 2000).map(|event| event.what), Some(0));
        wheel.arm(1010, 100);
        wheel.arm(3, 101);
        let order: Vec<u32> = std::iter::from_fn(|| take(&mut wheel, 2000)).map(|event| event.what).collect();
        assert_eq!(order[..1], [101]);
        assert_eq!(order[10..13], [10, 100, 11]);
        assert_eq!(order.len(), 41);
    }

    #[test]
    fn more_events_of_a_slot_than_the_front_holds_all_come() {
        let mut wheel = Wheel::new(5000, 1_000_000_000);
        for what in 0..5000 {
            wheel.arm(1_000_000, what);
        }
        let mut seen: Vec<u32> =
            std::iter::from_fn(|| take(&mut wheel, 1_000_000)).map(|event| event.what).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..5000));
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn what_is_beyond_the_horizon_comes_early_rather_than_late() {
        let mut wheel = Wheel::new(10, 1_000_000_000);
        wheel.arm(1 << 50, 7);
        let now = wheel.next().unwrap();
        assert!(now < 1 << 50);
        let now = (0..3).fold(now, |_, _| {
            wheel
                .next()
                .inspect(|&now| {
                    let _ = take(&mut wheel, now - 1);
                })
                .unwrap()
        });
        assert_eq!(take(&mut wheel, now).map(|event| event.what), Some(7));
    }
}
