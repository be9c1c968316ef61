//! Leaves, tins, flows and packets together.

mod ahead;
mod audit;
mod dequeue;
mod disciplines;
mod enqueue;
mod filter;
mod shed;
mod views;

use crate::memory::{Zeroed, Zeros, zeroed};
use disciplines::Prepared;

use super::{
    Cause, Counters, Discipline, Dropped, Leaf, Settings, TINS, Totals,
    flows::Flows,
    hosts::Hosts,
    packets::Packets,
    sets::NONE,
    tin::{Former, Tin, TinPool},
};

/// Least memory of a leaf's limit in bytes (CAKE's): a burst of a fast sender into a slow line.
const LEAST_MEMORY: u64 = 4 << 20;
/// A leaf may hold so many intervals' worth of its rate.
const INTERVALS: u64 = 4;

/// A leaf's state: two lines, of which a packet touches the first. All zeros: not set up, which a limit of 0 says.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct LeafState {
    tins: [u32; TINS],
    /// Bytes sent while it had packets, in 1/256.
    clock: u64,
    /// By how much the tin that is furthest ahead is ahead of the clock.
    ahead: u32,
    packets: u32,
    bytes: u32,
    limit: u32,
    /// Ticks that a packet of the largest size takes at the current rate.
    mtu_time: u32,
    discipline: u8,
    /// A bit for each tin that has packets.
    backlogged: u8,
    /// The quantum is 2^`shift` bytes.
    shift: u8,
    /// What tins had counted that went back to the pool.
    former: Former,
}

// SAFETY: integers.
unsafe impl Zeroed for LeafState {}

const _: () = assert!(size_of::<LeafState>() == 128);
const _: () = assert!(size_of::<Tin>() == 256);

/// The queues of all customers of one worker.
pub struct Queues {
    settings: Settings,
    disciplines: Vec<Prepared>,
    leaves: Zeros<LeafState>,
    tins: TinPool,
    flows: Flows,
    hosts: Hosts,
    packets: Packets,
    /// Packets that are queued.
    queued: usize,
    /// Their frames.
    frames: usize,
    random: u32,
    /// The leaf that had the most packets when it was last looked at, and how many.
    crowded: u32,
    crowded_packets: u32,
    totals: Totals,
}

impl Queues {
    /// Takes all memory. Leaves begin with [`Queues::set_up`]; until then they refuse packets.
    ///
    /// # Panics
    /// With no discipline, more than 256, or sizes that don't fit.
    pub fn new(settings: Settings, disciplines: &[Discipline]) -> Queues {
        assert!((1..=256).contains(&disciplines.len()), "one to 256 disciplines");
        assert!(settings.leaves < 1 << 29 && settings.packets < u32::MAX as usize, "too large");
        let mut queues = Queues {
            disciplines: Vec::new(),
            leaves: zeroed(settings.leaves),
            tins: TinPool::new(settings.tins),
            flows: Flows::new(settings.flows),
            hosts: Hosts::new(settings.flows),
            // One more than the limit: a packet is queued before it is decided which one goes.
            packets: Packets::new(settings.packets + 1),
            queued: 0,
            frames: 0,
            random: 0x9e37_79b9,
            crowded: NONE,
            crowded_packets: 0,
            totals: Totals::default(),
            settings,
        };
        queues.set_disciplines(disciplines);
        queues
    }

    /// Begins with a leaf. One that is set up already only gets the discipline and the rate.
    pub fn set_up(&mut self, leaf: Leaf, discipline: u8, rate: u64) {
        let state = &mut self.leaves[leaf.0 as usize];
        if state.limit == 0 {
            state.tins = [NONE; TINS];
        }
        self.discipline(leaf, discipline);
        self.rate(leaf, rate);
    }

    /// The sizes.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many disciplines there are.
    pub(super) fn disciplines(&self) -> usize {
        self.disciplines.len()
    }

    /// Makes these the disciplines. A number that a leaf has must mean the same as before, or something that the leaf is told at once.
    pub(super) fn set_disciplines(&mut self, disciplines: &[Discipline]) {
        if disciplines.len() >= self.disciplines.len() && disciplines.len() <= 256 {
            self.disciplines = disciplines.iter().map(Prepared::new).collect();
            if disciplines.iter().any(|discipline| discipline.ack_filter) {
                self.packets.keep_acks(self.settings.flows);
            }
        }
    }

    /// Gives a leaf another discipline. What is queued stays where it is and in order.
    pub fn discipline(&mut self, leaf: Leaf, discipline: u8) {
        debug_assert!(usize::from(discipline) < self.disciplines.len());
        self.leaves[leaf.0 as usize].discipline = discipline;
    }

    /// Tells the rate in bits a second that a leaf gets now, which may be less than its plan or more than its guarantee.
    ///
    /// Target, interval, quantum and memory limit follow it. Divides: to be called when the rate has changed noticeably, not for each packet.
    pub fn rate(&mut self, leaf: Leaf, rate: u64) {
        let rate = rate.max(1);
        let Settings { hz, frame, mtu, packets, .. } = self.settings;
        let state = &mut self.leaves[leaf.0 as usize];
        let interval = self.disciplines[usize::from(state.discipline)].discipline.interval;
        let time = u128::from(mtu) * 8 * u128::from(hz) / u128::from(rate);
        state.mtu_time = u32::try_from(time).unwrap_or(u32::MAX);
        // CAKE's quantum: what the rate carries in 2 ms, but within 300 bytes and a packet of 1514; rounded up to a power of two.
        let quantum = (rate >> 15).clamp(300, 1514);
        state.shift = quantum.next_power_of_two().trailing_zeros() as u8;
        let bytes = u128::from(rate / 8) * u128::from(INTERVALS * interval) / u128::from(hz.max(1));
        let limit = bytes.max(u128::from(LEAST_MEMORY)) / u128::from(frame.max(1));
        state.limit = u32::try_from(limit).unwrap_or(u32::MAX).clamp(1, packets.max(1) as u32);
    }

    /// Whether a leaf has more than its part of the memory: more packets than frames, or more bytes than fit into so many.
    #[inline(always)]
    fn is_over_limit(&self, leaf: u32) -> bool {
        let LeafState { packets, bytes, limit, .. } = self.leaves[leaf as usize];
        packets > limit || u64::from(bytes) > u64::from(limit) * u64::from(self.settings.frame)
    }

    /// Whether the leaf has been set up.
    #[inline]
    fn is_set_up(&self, leaf: Leaf) -> bool {
        self.leaves[leaf.0 as usize].limit != 0
    }

    /// Whether the leaf has packets.
    #[inline]
    pub fn is_backlogged(&self, leaf: Leaf) -> bool {
        self.leaves[leaf.0 as usize].backlogged != 0
    }

    /// Drops all that the leaf has and gives its tins back; returns what it had counted. Until it is set up again it refuses packets.
    pub fn remove(&mut self, leaf: Leaf, now: u64, dropped: &mut impl FnMut(Dropped)) -> Counters {
        let number = leaf.0;
        if !self.is_set_up(leaf) {
            return Counters::default();
        }
        for which in 0..TINS {
            let at = self.leaves[number as usize].tins[which];
            if at == NONE {
                continue;
            }
            loop {
                let flow = self.tins.tins[at as usize].head();
                if flow == NONE {
                    break;
                }
                while self.flows.flows[flow as usize].packets > 0 {
                    let place = self.take(number, at, flow);
                    self.drop(number, at, &place, Cause::Removed, dropped);
                }
                self.unlist(at, now);
            }
            self.give_back(at);
        }
        self.debug_check();
        let state = &mut self.leaves[number as usize];
        state.limit = 0;
        std::mem::take(&mut state.former).counters()
    }

    fn give_back(&mut self, at: u32) {
        let tin = &self.tins.tins[at as usize];
        debug_assert_eq!(tin.packets, 0);
        let state = &mut self.leaves[tin.leaf as usize];
        state.former.add(&tin.counters());
        state.tins[usize::from(tin.number)] = NONE;
        self.tins.release(at);
    }

    #[inline]
    fn debug_check(&self) {
        debug_assert_eq!(
            self.totals.arrived,
            self.totals.dequeued + self.totals.dropped.iter().sum::<u64>() + self.queued as u64
        );
    }
}
