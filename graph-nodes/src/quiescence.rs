//! Quiescent-state-based reclamation: when may the control thread reuse what a worker might still be reading?
//!
//! Workers read the FIB and the adjacencies without telling anybody. What they promise instead is to pass, once per turn of their
//! loop, a **quiescent point**: a moment at which they hold nothing that they have read from there. The control thread unlinks a thing,
//! takes a [`Ticket`], and reuses the thing once every reader has passed a quiescent point after that ticket.
//!
//! ```text
//! writer   unlink X ── ticket() = 7 ───────────── passed(7)? no ───── passed(7)? yes ── reuse X
//! reader   ── reads X ──────────────── quiescent(): 7 ──── cannot find X any more ──────────────
//! ```
//!
//! A reader's cost is one load of a line that hardly ever changes and one plain store to a line of its own. There is no atomic
//! read-modify-write on the reader's side. A reader that sleeps goes offline first and holds up nobody; the full fence that this
//! needs is paid on the way back, beside a system call.
//!
//! # Why it is right
//! The era is a counter that only grows; `ticket()` advances it *after* the caller's unlinking stores.
//! * A reader that announces era *t* has loaded it (acquire), so it sees every store made before `ticket()` returned *t*: it cannot find
//!   the unlinked thing again. Its announcement (release) follows all its earlier reads, and the writer loads it (acquire): those reads
//!   happened before the reuse.
//! * A reader that comes back online stores its era, then executes a sequentially consistent fence, then reads. `ticket()` executes such
//!   a fence between the unlinking and the look at the slots. Of two such fences one is first: either the writer sees the reader online,
//!   and waits, or the reader sees the unlinking.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};

/// What an offline reader's slot holds: later than every ticket.
const OFFLINE: u64 = u64::MAX;

/// The meeting point of one writer and a fixed number of readers. Clones are the same meeting point.
#[derive(Clone)]
pub struct Quiescence(Arc<Shared>);

struct Shared {
    era: Line<AtomicU64>,
    slots: Box<[Line<Slot>]>,
}

/// Alone on its pair of cache lines: x86 prefetches lines in pairs, and some aarch64 cores have lines of 128 bytes.
#[repr(align(128))]
struct Line<T>(T);

struct Slot {
    /// The era that the reader announced last, or [`OFFLINE`].
    announced: AtomicU64,
    /// Whether a [`QuiescentReader`] for this slot exists.
    taken: AtomicBool,
}

/// A moment in the writer's life: everything unlinked before it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "a ticket says when what was unlinked may be reused"]
pub struct Ticket(u64);

impl Quiescence {
    /// A meeting point for `readers` readers, all offline. With 0 readers every ticket has passed at once.
    pub fn new(readers: usize) -> Self {
        let slot = || Line(Slot { announced: AtomicU64::new(OFFLINE), taken: AtomicBool::new(false) });
        Self(Arc::new(Shared { era: Line(AtomicU64::new(1)), slots: (0..readers).map(|_| slot()).collect() }))
    }

    /// Reader number `index`, online. `None` if there is no such reader or if it is in use; dropping it gives it back.
    pub fn reader(&self, index: usize) -> Option<QuiescentReader> {
        let slot = &self.0.slots.get(index)?.0;
        if slot.taken.swap(true, AcqRel) {
            return None;
        }
        let reader = QuiescentReader { shared: Arc::clone(&self.0), index, one_thread: PhantomData };
        reader.online();
        Some(reader)
    }

    /// Takes a ticket for everything that the caller has unlinked before. Any thread may.
    pub fn ticket(&self) -> Ticket {
        let era = self.0.era.0.fetch_add(1, Release) + 1;
        fence(SeqCst);
        Ticket(era)
    }

    /// Whether every reader has passed a quiescent point since `ticket`, or is offline: what was unlinked before it may be reused.
    pub fn passed(&self, ticket: Ticket) -> bool {
        self.0.slots.iter().all(|slot| slot.0.announced.load(Acquire) >= ticket.0)
    }
}

impl fmt::Debug for Quiescence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let announced = self.0.slots.iter().map(|slot| slot.0.announced.load(Relaxed));
        f.debug_struct("Quiescence")
            .field("era", &self.0.era.0.load(Relaxed))
            .field("announced", &announced.collect::<Vec<_>>())
            .finish()
    }
}

/// A moment of a reader's, not yet announced.
#[derive(Clone, Copy, Debug)]
#[must_use = "the writer waits until it is passed"]
pub struct QuiescentPoint(u64);

/// One reader's side. It belongs to one thread at a time; dropping it takes the reader offline.
#[derive(Debug)]
pub struct QuiescentReader {
    shared: Arc<Shared>,
    index: usize,
    /// Announcing from two threads at once would speak for the one that is still reading.
    one_thread: PhantomData<Cell<()>>,
}

impl QuiescentReader {
    /// "I hold nothing": once per turn of the worker's loop, when no leaf, adjacency index or group is kept in a local variable, a queue or
    /// a packet, unless the holder copes with finding something newer there. Does nothing useful, and no harm, offline: it goes online
    /// without the fence that [`Self::online`] has, so call that one after a sleep.
    #[inline]
    pub fn quiescent(&self) {
        self.pass(self.point());
    }

    /// "From here on I hold nothing of what was unlinked before": the quiescent point of now, to be [passed](Self::pass) when something that must come
    /// before others hear of it is done.
    #[inline]
    pub fn point(&self) -> QuiescentPoint {
        QuiescentPoint(self.shared.era.0.load(Acquire))
    }

    /// Announces a quiescent point.
    #[inline]
    pub fn pass(&self, point: QuiescentPoint) {
        self.announce(point.0);
    }

    /// "I hold nothing and read nothing until [`Self::online`]": before a sleep.
    #[inline]
    pub fn offline(&self) {
        self.announce(OFFLINE);
    }

    /// Back from [`Self::offline`]: before the first read.
    #[inline]
    pub fn online(&self) {
        self.quiescent();
        fence(SeqCst);
    }

    #[inline]
    fn announce(&self, era: u64) {
        // Cannot miss: `reader` checked the index and the slots never change in number.
        if let Some(slot) = self.shared.slots.get(self.index) {
            slot.0.announced.store(era, Release);
        }
    }
}

impl Drop for QuiescentReader {
    fn drop(&mut self) {
        self.offline();
        if let Some(slot) = self.shared.slots.get(self.index) {
            slot.0.taken.store(false, Release);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("era", &self.era.0).field("readers", &self.slots.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_waits_for_every_online_reader() {
        let quiescence = Quiescence::new(3);
        let (a, b) = (quiescence.reader(0).unwrap(), quiescence.reader(1).unwrap());
        let ticket = quiescence.ticket();
        assert!(!quiescence.passed(ticket));
        a.quiescent();
        assert!(!quiescence.passed(ticket), "b may still be reading");
        b.quiescent();
        assert!(quiescence.passed(ticket), "the third reader does not exist yet");
    }

    #[test]
    fn an_offline_reader_holds_up_nobody_and_counts_again_once_online() {
        let quiescence = Quiescence::new(1);
        let reader = quiescence.reader(0).unwrap();
        let first = quiescence.ticket();
        reader.offline();
        assert!(quiescence.passed(first));
        reader.online();
        let second = quiescence.ticket();
        assert!(quiescence.passed(first) && !quiescence.passed(second));
        drop(reader);
        assert!(quiescence.passed(second));
    }

    #[test]
    fn a_reader_has_one_owner() {
        let quiescence = Quiescence::new(1);
        let reader = quiescence.reader(0);
        assert!(reader.is_some() && quiescence.reader(0).is_none() && quiescence.reader(1).is_none());
        drop(reader);
        assert!(quiescence.reader(0).is_some());
    }

    #[test]
    fn slots_are_alone_on_their_lines() {
        assert_eq!(size_of::<Line<Slot>>(), 128);
    }

    /// Two cells; the pointer names the live one, the other is reused once the ticket has passed. A reader must never see a reused value
    /// through a pointer that it loaded earlier.
    #[test]
    fn what_a_reader_holds_is_not_reused() {
        const STEPS: u64 = if cfg!(miri) { 60 } else { 2_000 };
        let quiescence = Quiescence::new(2);
        let cells = [AtomicU64::new(0), AtomicU64::new(0)];
        let live = AtomicU64::new(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for index in 0..2 {
                let reader = quiescence.reader(index).unwrap();
                let (cells, live, done) = (&cells, &live, &done);
                scope.spawn(move || {
                    let mut turn = 0_u32;
                    while !done.load(Relaxed) {
                        let held = &cells[live.load(Acquire) as usize];
                        let before = held.load(Relaxed);
                        std::hint::spin_loop();
                        assert_eq!(held.load(Relaxed), before, "reused under a reader");
                        turn += 1;
                        if turn % 16 == index as u32 {
                            reader.offline();
                            std::thread::yield_now();
                            reader.online();
                        } else {
                            reader.quiescent();
                        }
                    }
                });
            }
            for step in 1..=STEPS {
                let next = step % 2;
                cells[next as usize].store(step, Relaxed);
                live.store(next, Release);
                let ticket = quiescence.ticket();
                while !quiescence.passed(ticket) {
                    std::thread::yield_now();
                }
            }
            done.store(true, Relaxed);
        });
    }
}
