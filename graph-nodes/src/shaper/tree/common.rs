//! What workers know of each other where they share a node: its clocks, and who of them has somebody waiting there.
//!
//! ```text
//!   worker 0: its leaves ─▶ a copy of the node's clocks ─┐ compared and moved on: one atomic each
//!                                                        ├─▶ Clocks   ceiling, guarantee, place at the parent, virtual time
//!   worker 1: its leaves ─▶ a copy …                     ┘
//!      └────────────────────────────────────────────────▶ Heads    the most urgent child that each worker has listed: written by that worker alone
//! ```
//! * **A rate is one clock**, whoever sends: what one worker sends moves it on for all, so all together send no faster than one would. Two that look at the same
//!   moment may both send; then the clock is a packet ahead, and nothing is gained in the long run.
//! * **Turns.** Who would send a child looks at the others' heads first. If another worker has a child whose guarantee is due and this one's is not, or one that is further
//!   behind, this worker's part of the node sleeps for a moment. It may run ahead by what passes the node in [`AHEAD`], or workers would have to wait for each other at every packet.
//! * **Nobody waits for the dead.** A worker says until when it will have looked again; one that is later than [`STALL`] is not waited for.
//!
//! Ticks without a fraction are shared; each worker carries the fraction of what it has sent itself.

use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use crate::memory::{Zeroed, Zeros, zeroed};

/// The most workers that may share nodes: a bit each.
pub const MOST_WORKERS: usize = 64;
/// A worker may run ahead of others by what passes a node in a 10,000th of a second: longer than it takes to play a vector.
const AHEAD: u64 = 10_000;
/// … which is measured over a thousandth.
const PACE: u64 = 1000;
/// A worker that looks later than it has said by a 4000th of a second has other things to do.
const STALL: u64 = 4000;
/// Who gives way looks again after a fourth of a full packet's time, at least a 100,000th of a second and at most a 4000th.
const NAP: (u32, u64, u64) = (2, 100_000, 4000);

/// A node's clocks, all workers': one line. The tag and the time are virtual, and go round.
#[repr(C, align(64))]
pub(super) struct Clocks {
    /// Ticks when its ceiling lets the next packet go.
    pub(super) ceil: AtomicU64,
    /// Ticks when its guarantee is due.
    pub(super) rate: AtomicU64,
    /// Its place among its parent's children.
    pub(super) tag: AtomicU64,
    /// The virtual time that its own children have reached.
    pub(super) time: AtomicU64,
    /// A bit for each worker that has a child listed here.
    waiting: AtomicU64,
}

/// A worker's most urgent child at a node, an [`Urgency`]: a line of its own.
#[repr(C, align(64))]
struct Head(AtomicU64);

/// Until when a worker will have looked again.
#[repr(C, align(64))]
#[derive(Default)]
struct Alive(AtomicU64);

// SAFETY: integers.
unsafe impl Zeroed for Clocks {}
// SAFETY: an integer.
unsafe impl Zeroed for Head {}

/// A tree that several workers share: each has a [`Shaper`](super::Shaper) of its own with all nodes and its own leaves.
pub struct Common {
    clocks: Zeros<Clocks>,
    /// By node, then by worker.
    heads: Zeros<Head>,
    alive: Box<[Alive]>,
    workers: usize,
    /// Nodes with a ceiling of so many bits a second, or more, are not shared: nothing is held by them.
    unlimited: u64,
}

impl Common {
    /// For so many nodes, which every worker's [`Settings`](crate::shaper::Settings) must have, and workers. Nodes with a ceiling of `unlimited` bits a second or more hold
    /// nothing, and workers need not agree about them.
    ///
    /// # Panics
    /// With more than [`MOST_WORKERS`] workers, or more memory than there can be.
    pub fn new(nodes: usize, workers: usize, unlimited: u64) -> Common {
        assert!(workers <= MOST_WORKERS, "at most {MOST_WORKERS} workers may share nodes");
        Common {
            clocks: zeroed(nodes),
            heads: zeroed(nodes * workers),
            alive: (0..workers).map(|_| Alive::default()).collect(),
            workers,
            unlimited,
        }
    }

    pub(super) fn nodes(&self) -> usize {
        self.clocks.len()
    }

    pub(super) fn workers(&self) -> usize {
        self.workers
    }
}

/// What a worker keeps of a node besides its copy of the clocks.
#[derive(Clone, Copy)]
struct Part {
    /// Other workers have a part of it too.
    shared: bool,
    /// What it has published.
    head: Option<Urgency>,
    /// Ticks since when it gives way to others; 0: it doesn't.
    since: u64,
    /// It gives way now, and is not listed at its parent.
    sleeps: bool,
    /// The virtual time at a moment, to measure how fast it goes.
    paced_at: u64,
    paced_time: u64,
    /// Virtual time that this worker may be ahead of others.
    ahead: u64,
}

/// How urgent a child is: due, a leaf's tag, or the node whose tag it is: that one changes while it is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Urgency(u64);

/// The lowest bits say which.
const KIND: u64 = 3;
const LEAF: u64 = 0;
const GREEN: u64 = 1;
const NODE: u64 = 2;

impl Urgency {
    /// Its guarantee is due.
    #[inline(always)]
    pub(super) const fn green() -> Urgency {
        Urgency(GREEN)
    }

    /// A leaf that borrows.
    #[inline(always)]
    pub(super) const fn leaf(tag: u64) -> Urgency {
        Urgency(tag & !KIND | LEAF)
    }

    /// A node that borrows.
    #[inline(always)]
    pub(super) const fn node(node: u32) -> Urgency {
        Urgency((node as u64) << 2 | NODE)
    }

    #[inline(always)]
    fn is_green(self) -> bool {
        self.0 & KIND == GREEN
    }

    /// Its place among those that borrow.
    #[inline(always)]
    fn tag(self, common: &Common) -> u64 {
        if self.0 & KIND == NODE {
            common.clocks.get((self.0 >> 2) as usize).map_or(0, |clocks| clocks.tag.load(Relaxed))
        } else {
            self.0
        }
    }
}

/// A worker's view of a tree that it shares.
pub(super) struct Share {
    common: Arc<Common>,
    worker: usize,
    parts: Vec<Part>,
    hz: u64,
}

impl Share {
    pub(super) fn new(common: Arc<Common>, worker: usize, hz: u64) -> Share {
        let none =
            Part { shared: false, head: None, since: 0, sleeps: false, paced_at: 0, paced_time: 0, ahead: 0 };
        let parts = vec![none; common.nodes()];
        Share { common, worker, parts, hz }
    }

    #[inline(always)]
    pub(super) fn clocks(&self, node: u32) -> &Clocks {
        &self.common.clocks[node as usize]
    }

    /// Whether a member is a node of which other workers have a part.
    #[inline(always)]
    pub(super) fn shares(&self, member: u32) -> bool {
        self.parts.get(member as usize).is_some_and(|part| part.shared)
    }

    /// Whether a node with this ceiling is to be shared.
    pub(super) fn is_worth(&self, max: u64) -> bool {
        max < self.common.unlimited
    }

    pub(super) fn set(&mut self, node: u32, shared: bool) {
        self.parts[node as usize].shared = shared;
    }

    /// Whether another worker has somebody listed at a member, which is a node then.
    #[inline(always)]
    pub(super) fn others_wait(&self, member: u32) -> bool {
        self.shares(member) && self.clocks(member).waiting.load(Relaxed) & !(1 << self.worker) != 0
    }

    /// This worker has looked, and will again by `until`.
    #[inline]
    pub(super) fn looks(&self, until: u64) {
        self.common.alive[self.worker].0.store(until, Relaxed);
    }

    /// Tells the others who is the most urgent here.
    #[inline]
    pub(super) fn publish(&mut self, node: u32, head: Option<Urgency>) {
        let Share { common, worker, parts, .. } = self;
        let part = &mut parts[node as usize];
        if part.head == head {
            return;
        }
        let waiting = &common.clocks[node as usize].waiting;
        if let Some(Urgency(urgency)) = head {
            common.heads[node as usize * common.workers + *worker].0.store(urgency, Release);
            if part.head.is_none() {
                waiting.fetch_or(1 << *worker, Release);
            }
        } else {
            waiting.fetch_and(!(1 << *worker), Release);
            if !part.sleeps {
                part.since = 0;
            }
        }
        part.head = head;
    }

    /// Whether another worker's child goes before one that stands at `mine` among those that borrow.
    #[inline]
    pub(super) fn gives_way(&self, node: u32, mine: u64, now: u64) -> bool {
        let mut others = self.clocks(node).waiting.load(Acquire) & !(1 << self.worker);
        if others == 0 {
            return false;
        }
        let ahead = self.parts[node as usize].ahead;
        while others != 0 {
            let worker = others.trailing_zeros() as usize;
            others &= others - 1;
            let head =
                Urgency(self.common.heads[node as usize * self.common.workers + worker].0.load(Acquire));
            let before = mine.wrapping_sub(head.tag(&self.common)) as i64;
            if (head.is_green() || before > ahead as i64)
                && self.common.alive[worker].0.load(Relaxed) + self.hz / STALL >= now
            {
                return true;
            }
        }
        false
    }

    /// This worker gives way at a node whose packets of full size take `packet` ticks: until when.
    #[inline]
    pub(super) fn nap(&mut self, node: u32, time: u64, packet: u64) -> u64 {
        let part = &mut self.parts[node as usize];
        if part.since == 0 {
            part.since = time;
        }
        part.sleeps = true;
        let (part_of, least, most) = NAP;
        time + (packet >> part_of).clamp(self.hz / least, self.hz / most)
    }

    #[inline(always)]
    pub(super) fn sleeps(&self, node: u32) -> bool {
        self.parts.get(node as usize).is_some_and(|part| part.sleeps)
    }

    /// The time that [`Share::nap`] has returned has come.
    #[inline]
    pub(super) fn wake(&mut self, node: u32) {
        if let Some(part) = self.parts.get_mut(node as usize) {
            part.sleeps = false;
        }
    }

    /// A packet that takes `ticks` leaves the node, not before `floor`, or not before this worker gave way: nobody else took that time, or the clock would be
    /// later. Returns when the clock stands now.
    #[inline]
    pub(super) fn spend(&mut self, node: u32, time: u64, floor: u64, ticks: u64) -> u64 {
        let part = &mut self.parts[node as usize];
        let waits = part.since != 0;
        let since = if waits { part.since.max(time.saturating_sub(self.hz / STALL * 2)) } else { time };
        let ceil = advance(&self.common.clocks[node as usize].ceil, floor.min(since), ticks);
        // What is still behind is made up for by the next packets.
        part.since = if waits && ceil < time { ceil } else { 0 };
        ceil
    }

    /// The virtual time at a node has come to `reached`, here or at another worker; returns the latest, and from time to time how much of it passes in a tick.
    #[inline]
    pub(super) fn reach(&mut self, node: u32, reached: u64, time: u64) -> (u64, Option<u64>) {
        let shared = &self.common.clocks[node as usize].time;
        let mut latest = shared.load(Relaxed);
        while (reached.wrapping_sub(latest) as i64) > 0 {
            match shared.compare_exchange_weak(latest, reached, Relaxed, Relaxed) {
                Ok(_) => latest = reached,
                Err(other) => latest = other,
            }
        }
        let part = &mut self.parts[node as usize];
        let elapsed = time.saturating_sub(part.paced_at);
        if elapsed >= self.hz / PACE {
            let passed = latest.wrapping_sub(part.paced_time);
            // Nothing is known of a node that has not sent for long.
            let is_steady = elapsed < self.hz / PACE * 4;
            let pace = if is_steady { passed / elapsed.max(1) } else { 0 };
            part.ahead = pace.saturating_mul(self.hz / AHEAD);
            (part.paced_at, part.paced_time) = (time, latest);
            return (latest, Some(pace));
        }
        (latest, None)
    }
}

/// Moves a clock on by `ticks`, from `floor` at the earliest. Returns when it stands now.
#[inline]
pub(super) fn advance(clock: &AtomicU64, floor: u64, ticks: u64) -> u64 {
    let mut before = clock.load(Relaxed);
    loop {
        let after = before.max(floor) + ticks;
        match clock.compare_exchange_weak(before, after, Relaxed, Relaxed) {
            Ok(_) => return after,
            Err(other) => before = other,
        }
    }
}
