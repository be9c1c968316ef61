//! The exchange: packets go from one worker to another, and frames come back, without a copy, a lock or a wait.
//!
//! ```text
//!   worker A                                                         worker B
//!   hand-off ── give ──▶ ▒▒▒ packets ▒▒▒ ─────────────────── take ──▶ the node behind hand-off ─▶ … ─▶ B's ports
//!   pool    ◀── take ─── ▒▒▒ frames ▒▒▒▒ ◀── when B owes a batch ──── pool ◀── frames of packets sent ──┘
//! ```
//! and the same two rings the other way, between each two workers.
//!
//! **Frames.** Where a packet goes its frame goes. Each of two workers counts what it has taken from the other less what it has given: what it *owes*.
//! When that is a batch, it returns so many of its free frames, any ones. So traffic that is as strong both ways moves no frame
//! back, a worker never lacks more than a batch for each other one once all is quiet, and the sum over all workers and rings is constant.
//!
//! **What a packet knows.** It is given behind `ip4-rewrite`: the port that it leaves by is known, and nothing in it leads into the forwarding tables any more. So a
//! packet may lie in a ring while its giver passes quiescent points.
//!
//! **Sleep.** A worker that is going to sleep says so ([`Exchange::doze`]), and then looks once more into its rings; whoever has published something
//! looks afterwards whether the other one has said so, and only then wakes it. Each of the two executes a full fence between its store and
//! its load, so one of them sees the other: no packet is left lying. The fence is paid once a vector with hand-offs.

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicBool, fence};
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicBool, fence};
use std::{
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

use crate::{
    frames::{FrameId, FramePool, Frames},
    packet::Packet,
    ring::{Consumer, Producer, ring},
};

/// Packets that one worker may have given to another and that one has not taken: as many as a port's ring holds, for a worker that does not run for a moment
/// must not lose here what its port would have kept. 64 KiB for each direction between two workers.
const PACKETS: usize = if cfg!(loom) { 2 } else { 2048 };
/// Frames that are returned at once. Fewer: more often the line of the other's index moves between cores; more: a worker lacks more of its frames.
const BATCH: isize = if cfg!(loom) { 1 } else { 64 };

/// How a sleeping worker is woken. Alone on its cache lines, as others look at it once a vector.
#[repr(align(128))]
struct Bell {
    /// It has said that it sleeps, and nobody has woken it since.
    asleep: AtomicBool,
    waker: Waker,
}

/// One worker's end of the exchange.
pub struct Exchange {
    worker: u32,
    bell: Arc<Bell>,
    /// The other workers, by number without this one.
    peers: Vec<Peer>,
    /// [`Exchange::close`] has been called.
    closed: bool,
}

/// What a worker shares with one other. Alone on its cache lines: other workers have theirs beside it.
#[repr(align(128))]
struct Peer {
    given: Producer<Packet>,
    taken: Consumer<Packet>,
    returned: Producer<FrameId>,
    got_back: Consumer<FrameId>,
    /// Frames that came from there and have not been returned; below 0 the other one owes.
    owed: isize,
    bell: Arc<Bell>,
    /// Something has been published for it since it was last seen to.
    to_wake: bool,
}

/// Why a packet could not be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The other worker does not keep up.
    Full,
    /// This worker is leaving.
    Closed,
}

impl Exchange {
    /// The ends of an exchange between so many workers as there are wakers, by worker. A worker's waker ends its sleep; it is called from other workers'
    /// threads, and only after [`Exchange::doze`].
    pub fn between(wakers: Vec<Waker>) -> Vec<Exchange> {
        let bell = |waker| Arc::new(Bell { asleep: AtomicBool::new(false), waker });
        let bells: Vec<Arc<Bell>> = wakers.into_iter().map(bell).collect();
        let mut ends: Vec<Exchange> = bells
            .iter()
            .zip(0..)
            .map(|(bell, worker)| Exchange {
                worker,
                bell: bell.clone(),
                peers: Vec::with_capacity(bells.len() - 1),
                closed: false,
            })
            .collect();
        for one in 0..bells.len() {
            for other in one + 1..bells.len() {
                let (there, back) = (Lane::new(), Lane::new());
                // In this order everybody's peers come in the order of their numbers.
                ends[one].peers.push(Peer {
                    given: there.packets.0,
                    got_back: there.frames.1,
                    taken: back.packets.1,
                    returned: back.frames.0,
                    owed: 0,
                    bell: bells[other].clone(),
                    to_wake: false,
                });
                ends[other].peers.push(Peer {
                    given: back.packets.0,
                    got_back: back.frames.1,
                    taken: there.packets.1,
                    returned: there.frames.0,
                    owed: 0,
                    bell: bells[one].clone(),
                    to_wake: false,
                });
            }
        }
        ends
    }

    /// The end of a worker that is the only one.
    pub fn alone() -> Exchange {
        let bell = Arc::new(Bell { asleep: AtomicBool::new(false), waker: Waker::noop().clone() });
        Exchange { worker: 0, bell, peers: Vec::new(), closed: false }
    }

    /// Workers in all.
    #[inline(always)]
    pub fn workers(&self) -> u32 {
        self.peers.len() as u32 + 1
    }

    /// This worker's number, from 0.
    #[inline(always)]
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Gives a packet to another worker, which sees it after [`Exchange::publish`]. The packet back if that can't be.
    #[inline(always)]
    pub fn give(&mut self, worker: u32, packet: Packet, frames: &Frames) -> Result<(), (Packet, Refused)> {
        if self.closed {
            return Err((packet, Refused::Closed));
        }
        debug_assert_ne!(worker, self.worker);
        let Some(peer) = self.peers.get_mut(worker as usize - usize::from(worker > self.worker)) else {
            return Err((packet, Refused::Full)); // there is no such worker
        };
        let count = frames.count_of(&packet);
        peer.given.push(packet).map_err(|packet| (packet, Refused::Full))?;
        peer.owed -= count as isize;
        Ok(())
    }

    /// Lets the other workers see what has been given, and wakes those that sleep. Once a vector.
    #[inline]
    pub fn publish(&mut self) {
        let mut published = false;
        for peer in &mut self.peers {
            let fresh = peer.given.publish();
            peer.to_wake |= fresh;
            published |= fresh;
        }
        if published {
            self.wake();
        }
    }

    /// Wakes whoever sleeps though something has been published for it.
    fn wake(&mut self) {
        fence(Ordering::SeqCst);
        for peer in &mut self.peers {
            if std::mem::take(&mut peer.to_wake) && peer.bell.asleep.load(Ordering::Relaxed) {
                // Before the waking: whoever finds this, and wakes nobody, may rely on the one who wrote it.
                peer.bell.asleep.store(false, Ordering::Relaxed);
                peer.bell.waker.wake_by_ref();
            }
        }
    }

    /// Takes all packets that other workers have given, and frames that they have returned; returns what this worker owes. Once a turn.
    ///
    /// Not fewer than all: work has been done on these packets, and it would be lost if they did not fit into the ring next time.
    #[inline]
    pub fn take(&mut self, packets: &mut Vec<Packet>, pool: &mut FramePool) -> usize {
        let (mut count, mut published) = (0, false);
        for peer in &mut self.peers {
            let before = packets.len();
            count += peer.taken.take(packets);
            let taken: usize = packets[before..].iter().map(|packet| pool.frames().count_of(packet)).sum();
            peer.owed += (taken + pool.take_in(&mut peer.got_back)) as isize;
            // Not once it has said that it gives no more: the other one may have gone when it sees that.
            let may_return = !self.closed;
            while may_return && peer.owed >= BATCH && pool.available() >= BATCH as usize {
                if !peer.return_batch(pool) {
                    break;
                }
                published = true;
            }
        }
        if published {
            self.wake();
        }
        count
    }

    /// Frames that this worker has more than it had at the beginning; below 0: fewer.
    pub fn surplus(&self) -> isize {
        self.peers.iter().map(|peer| peer.owed).sum()
    }

    /// Says that this worker is going to sleep. `false`: it must not, for there is something to take. After `true` it sleeps until its waker is called, or
    /// as long as it likes, and then says [`Exchange::awake`].
    pub fn doze(&mut self) -> bool {
        self.bell.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let nothing = self.peers.iter().all(|peer| peer.taken.is_empty() && peer.got_back.is_empty());
        if !nothing {
            self.awake();
        }
        nothing
    }

    /// Says that this worker no longer sleeps.
    pub fn awake(&mut self) {
        self.bell.asleep.store(false, Ordering::Relaxed);
    }

    /// Says that this worker gives and returns no more: it is leaving.
    pub fn close(&mut self) {
        self.closed = true;
        self.publish();
        self.peers.iter_mut().for_each(|peer| peer.given.close());
    }

    /// No other worker will give or return any more, and all that was has been taken.
    pub fn is_closed(&self) -> bool {
        self.peers.iter().all(|peer| peer.taken.is_closed() && peer.got_back.is_empty())
    }
}

impl Peer {
    /// Returns a batch, or as much of it as fits. `false`: nothing fits.
    fn return_batch(&mut self, pool: &mut FramePool) -> bool {
        for _ in 0..BATCH {
            let Some(frame) = pool.take() else { break };
            if let Err(frame) = self.returned.push(frame) {
                pool.put(frame);
                break;
            }
            self.owed -= 1;
        }
        let returned = self.returned.publish();
        self.to_wake |= returned;
        returned
    }
}

/// The rings of one direction between two workers: packets there, frames back.
struct Lane {
    packets: (Producer<Packet>, Consumer<Packet>),
    frames: (Producer<FrameId>, Consumer<FrameId>),
}

impl Lane {
    fn new() -> Lane {
        Lane { packets: ring(PACKETS), frames: ring(PACKETS) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use proptest::prelude::*;

    use super::*;
    use crate::frames::Frames;

    #[derive(Default)]
    struct Bells(AtomicUsize);

    impl Wake for Bells {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Workers with so many frames each.
    fn workers(count: usize, frames: u32) -> (Vec<(Exchange, FramePool)>, Vec<Arc<Bells>>) {
        let bells: Vec<Arc<Bells>> = (0..count).map(|_| Arc::default()).collect();
        let ends = Exchange::between(bells.iter().map(|bell| bell.clone().into()).collect());
        let (memory, mut ids) = Frames::in_memory(frames * count as u32);
        let pool = |ids: &mut Vec<FrameId>| {
            FramePool::new(memory.clone(), ids.split_off(ids.len() - frames as usize))
        };
        (ends.into_iter().map(|end| (end, pool(&mut ids))).collect(), bells)
    }

    fn give((end, pool): &mut (Exchange, FramePool), to: u32, count: usize) -> usize {
        let frames = pool.frames().clone();
        (0..count)
            .filter(|_| {
                let Some(packet) = pool.allocate(60, 0) else { return false };
                let refused = end.give(to, packet, &frames).map_err(|(packet, _)| pool.recycle(packet));
                refused.is_ok()
            })
            .count()
    }

    /// Takes, and is done with the packets at once.
    fn take((end, pool): &mut (Exchange, FramePool)) -> usize {
        let mut packets = Vec::new();
        let count = end.take(&mut packets, pool);
        assert_eq!(packets.len(), count);
        packets.into_iter().for_each(|packet| pool.recycle(packet));
        count
    }

    #[test]
    fn frames_come_back_in_batches() {
        let (mut workers, _) = workers(3, 512);
        assert_eq!(give(&mut workers[0], 2, 100), 100);
        assert_eq!(take(&mut workers[2]), 0, "not published yet");
        workers[0].0.publish();
        assert_eq!(take(&mut workers[1]), 0, "not for this one");
        assert_eq!(take(&mut workers[2]), 100);
        assert_eq!(workers[0].1.available(), 412);
        // The first batch of what is owed has been returned before the packets were done with, from other frames.
        assert_eq!(take(&mut workers[0]), 0);
        assert_eq!((workers[0].1.available(), workers[0].0.surplus()), (412 + 64, -36));
        assert_eq!((workers[2].1.available(), workers[2].0.surplus()), (512 + 36, 36));
        // What goes the other way settles the rest.
        assert_eq!(give(&mut workers[2], 0, 36), 36);
        workers[2].0.publish();
        assert_eq!(take(&mut workers[0]), 36);
        assert!(workers.iter().all(|(end, pool)| end.surplus() == 0 && pool.available() == 512));
    }

    #[test]
    fn a_full_ring_and_a_closed_end_give_the_packet_back() {
        let (mut workers, _) = workers(2, 4096);
        assert_eq!(give(&mut workers[0], 1, 3000), PACKETS);
        let packet = workers[0].1.allocate(60, 0).unwrap();
        let frames = workers[0].1.frames().clone();
        let (packet, refused) = workers[0].0.give(1, packet, &frames).unwrap_err();
        assert_eq!(refused, Refused::Full);
        workers[0].0.close();
        let (packet, refused) = workers[0].0.give(1, packet, &frames).unwrap_err();
        assert_eq!(refused, Refused::Closed);
        workers[0].1.recycle(packet);
        assert!(!workers[1].0.is_closed(), "there is something left");
        assert_eq!(take(&mut workers[1]), PACKETS, "closing has published it");
        assert!(workers[1].0.is_closed() && !workers[0].0.is_closed());
        assert!(Exchange::alone().is_closed());
    }

    #[test]
    fn only_who_sleeps_and_is_given_something_is_woken_and_only_once() {
        let (mut workers, bells) = workers(3, 512);
        let rung = |worker: usize| bells[worker].0.load(Ordering::Relaxed);
        give(&mut workers[0], 1, 1);
        workers[0].0.publish();
        assert_eq!(rung(1), 0, "it is awake");
        assert!(!workers[1].0.doze(), "there is something to take");
        take(&mut workers[1]);
        assert!(workers[1].0.doze() && workers[2].0.doze());
        give(&mut workers[0], 1, 1);
        assert_eq!(rung(1), 0, "not published yet");
        workers[0].0.publish();
        give(&mut workers[0], 1, 1);
        workers[0].0.publish();
        assert_eq!((rung(1), rung(2)), (1, 0));
        workers[1].0.awake();
        take(&mut workers[1]);
        // Frames that come back are worth waking for: without them it receives nothing.
        give(&mut workers[0], 1, 64);
        workers[0].0.publish();
        assert!(workers[0].0.doze());
        take(&mut workers[1]);
        assert_eq!(rung(0), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn frames_are_conserved_whatever_the_order(
            count in 2..5usize,
            steps in proptest::collection::vec((0..5usize, 0..5usize, 0..300usize), 0..if cfg!(miri) { 10 } else { 60 }),
        ) {
            let (mut workers, _) = workers(count, 512);
            let (mut given, mut taken) = (0, 0);
            for (worker, other, packets) in steps {
                let (worker, other) = (worker % count, other % count);
                if worker == other {
                    taken += take(&mut workers[worker]);
                } else {
                    given += give(&mut workers[worker], other as u32, packets);
                    workers[worker].0.publish();
                }
                for (end, pool) in &workers {
                    // Nothing is held: what is not in the rings is in the pools.
                    prop_assert_eq!(pool.available() as isize, 512 + end.surplus());
                }
            }
            for _ in 0..2 * count {
                for worker in &mut workers {
                    taken += take(worker);
                }
            }
            prop_assert_eq!(given, taken);
            let free: usize = workers.iter().map(|(_, pool)| pool.available()).sum();
            prop_assert_eq!(free, 512 * count);
            for (end, _) in &workers {
                prop_assert!(end.peers.iter().all(|peer| peer.owed.abs() < BATCH), "debts have been paid");
            }
        }
    }
}

/// The exchange in a model checker: loom goes through all interleavings of two workers, within bounds, and through what each load may
/// see under the C11 memory model; it says when a slot is touched by both, and when all threads sleep.
#[cfg(all(test, loom))]
mod loom_tests {
    use std::task::Wake;

    use loom::{
        model::Builder,
        sync::{Condvar, Mutex},
        thread,
    };

    use super::*;
    use crate::frames::Frames;

    /// The eventfd: full or empty.
    #[derive(Default)]
    struct Pillow {
        full: Mutex<bool>,
        filled: Condvar,
    }

    impl Wake for Pillow {
        fn wake(self: Arc<Self>) {
            *self.full.lock().unwrap() = true;
            self.filled.notify_one();
        }
    }

    impl Pillow {
        fn sleep(&self) {
            let mut full = self.full.lock().unwrap();
            while !*full {
                full = self.filled.wait(full).unwrap();
            }
            *full = false;
        }
    }

    fn model(check: impl Fn() + Sync + Send + 'static) {
        let mut builder = Builder::new();
        // Every bug that is known to take more than three is known to take fewer, too (loom's own advice).
        builder.preemption_bound = Some(3);
        builder.check(check);
    }

    type Worker = (Exchange, FramePool, Arc<Pillow>);

    fn workers<const COUNT: usize>(frames: u32) -> [Worker; COUNT] {
        let pillows = [(); COUNT].map(|()| Arc::new(Pillow::default()));
        let mut ends = Exchange::between(pillows.iter().map(|pillow| pillow.clone().into()).collect());
        let (memory, mut ids) = Frames::in_memory(COUNT as u32 * frames);
        let mut worker = |number: usize| {
            let share = ids.split_off(ids.len() - frames as usize);
            (ends.remove(0), FramePool::new(memory.clone(), share), pillows[number].clone())
        };
        std::array::from_fn(&mut worker)
    }

    fn give((end, pool, _): &mut Worker, to: u32) {
        let packet = pool.allocate(60, 0).unwrap();
        end.give(to, packet, pool.frames()).map_err(|(_, refused)| refused).unwrap();
        end.publish();
    }

    /// Takes and sleeps, as a worker does, until `count` packets have come and `surplus` is what is left.
    fn serve((end, pool, pillow): &mut Worker, count: usize, surplus: isize) {
        let mut packets = Vec::new();
        loop {
            end.take(&mut packets, pool);
            if packets.len() == count && end.surplus() == surplus {
                break;
            }
            if end.doze() {
                pillow.sleep();
                end.awake();
            }
        }
        packets.into_iter().for_each(|packet| pool.recycle(packet));
    }

    #[test]
    fn loom_a_sleeper_is_woken_for_every_packet() {
        model(|| {
            let [mut giver, mut taker] = workers(2);
            let other = thread::spawn(move || {
                serve(&mut taker, 2, 0);
                assert_eq!(taker.1.available(), 2);
            });
            give(&mut giver, 1);
            give(&mut giver, 1);
            // The frames of two packets come back.
            serve(&mut giver, 0, 0);
            assert_eq!(giver.1.available(), 2);
            other.join().unwrap();
        });
    }

    #[test]
    fn loom_two_workers_give_each_other() {
        model(|| {
            let [mut one, mut other] = workers(1);
            let thread = thread::spawn(move || {
                give(&mut other, 0);
                serve(&mut other, 1, 0);
            });
            give(&mut one, 1);
            serve(&mut one, 1, 0);
            thread.join().unwrap();
        });
    }

    #[test]
    fn loom_a_sleeper_is_woken_by_whoever_gives() {
        model(|| {
            let [mut taker, one, other] = workers(1);
            let givers = [one, other].map(|mut giver| thread::spawn(move || give(&mut giver, 0)));
            // One frame of its own: one of the two is returned.
            serve(&mut taker, 2, 1);
            givers.into_iter().for_each(|giver| giver.join().unwrap());
        });
    }

    #[test]
    fn loom_who_sees_the_end_has_seen_everything() {
        model(|| {
            let [mut giver, mut taker] = workers(1);
            let other = thread::spawn(move || {
                let mut packets = Vec::new();
                while !taker.0.is_closed() {
                    taker.0.take(&mut packets, &mut taker.1);
                    thread::yield_now();
                }
                assert_eq!(packets.len(), 1);
                packets.into_iter().for_each(|packet| taker.1.recycle(packet));
            });
            let packet = giver.1.allocate(60, 0).unwrap();
            giver.0.give(1, packet, giver.1.frames()).map_err(|(_, refused)| refused).unwrap();
            giver.0.close();
            other.join().unwrap();
        });
    }

    /// A worker goes to sleep while another gives it something. Returns whether it sleeps with something to take and nobody having woken it.
    fn doze_while_given(doze: impl Fn(&mut Exchange) -> bool + Send + 'static) -> bool {
        let [mut giver, mut taker] = workers(1);
        let pillow = taker.2.clone();
        let other = thread::spawn(move || (doze(&mut taker.0), taker));
        give(&mut giver, 1);
        let (sleeps, _taker) = other.join().unwrap();
        sleeps && !*pillow.full.lock().unwrap()
    }

    #[test]
    fn loom_nobody_sleeps_over_a_packet() {
        model(|| assert!(!doze_while_given(Exchange::doze)));
    }

    #[test]
    fn loom_would_notice_a_missing_fence() {
        // The models are worth something only if they fail when a step is missing: here the sleeper's fence.
        let unfenced = |end: &mut Exchange| {
            end.bell.asleep.store(true, Ordering::Relaxed);
            end.peers.iter().all(|peer| peer.taken.is_empty() && peer.got_back.is_empty())
        };
        let wrong = std::panic::catch_unwind(|| model(move || assert!(!doze_while_given(unfenced))));
        assert!(wrong.is_err());
    }
}
