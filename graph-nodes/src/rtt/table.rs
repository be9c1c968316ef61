//! The flow table: fixed memory, eight flows a bucket, 124 bytes a flow with everything.
//!
//! ```text
//!  heads  ├─ tags 8×16 bit ─┬─ seen 8×16 bit ─┬─ words 8×32 bit ─┤  a cache line a bucket: who is here, and how stale
//!  flows  ├─ two halves ──────────────────┬─ word of 64 bit ─────┤  a cache line a flow: all that a packet of IPv4 needs
//!  colds  ├─ upper words of IPv6 ─┬─ holes: 52 bytes in all ─────┤
//! ```
//! Three arrays, not one of buckets: what every packet reads lies together, in few pages, and spreads over all sets of the cache.
//!
//! A packet touches two lines: its bucket's first, and its flow's. Both can be asked for ahead ([`FlowTable::prefetch`], [`FlowTable::prefetch_flow`]).
//!
//! **Who stays.** Each flow has a class, which says how long it may be silent and who may push it out of a full bucket. Places of flows that
//! are past their time are taken first; then the stalest flow goes that is not established; then the stalest established flow, but only if it
//! has been silent for so long that no stamp of its is alive. Otherwise the new flow is refused. So a flood of SYNs, or of packets that
//! travel one way, pushes out its own.
//!
//! Staleness is a clock of 14 bits, in units between 1/16 s and 1/8 s. It comes round after at least 1024 s, well after the longest timeout;
//! a flow that is overlooked for so long only stays longer.

use super::{Counters, Settings, ends::Ends, half::Half, hash, observed::Observed};
use crate::fib::prefetch;
use crate::memory::filled;

/// Flows in a bucket: with sixteen-bit tags one comparison of 128 bits, with staleness and addresses one cache line.
const WAYS: usize = 8;

/// What is known of a flow: how long it may be silent, and whether it may be pushed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Class {
    /// Packets of one direction, or no more than SYN and SYN-ACK.
    Unconfirmed = 0,
    /// One side has acknowledged what the other sent.
    Established = 1,
    /// FIN in both directions, or RST.
    Closing = 2,
    /// ICMP echo.
    Echo = 3,
}

const CLASS_SHIFT: u32 = 14;
const SEEN_MASK: u16 = (1 << CLASS_SHIFT) - 1;

/// Both directions of one flow.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Flow {
    pub(super) halves: [Half; 2],
    /// The first of [`Ends::words`].
    word: u64,
}

/// What few packets need. Fields are meaningless until a flag of the half says otherwise.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Cold {
    /// [`Ends::upper`], in halves, for a multiple of eight bytes would be more than what there is room for.
    upper: [[u32; 2]; 3],
    /// By direction, with [`RECOVERING`](super::half::RECOVERING): the acknowledgement number that ends it.
    pub(super) recover: [u32; 2],
    /// The bytes never seen, by direction: first, and behind the last.
    pub(super) hole: [[u32; 2]; 2],
    /// When the hole opened, in units of 1/8 of the staleness clock's.
    pub(super) opened: [u16; 2],
}

impl Cold {
    #[inline(always)]
    fn is_of(&self, ends: &Ends) -> bool {
        self.upper == halves(ends.upper())
    }
}

#[inline(always)]
fn halves(words: [u64; 3]) -> [[u32; 2]; 3] {
    words.map(|word| [word as u32, (word >> 32) as u32])
}

/// Who is in a bucket.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Head {
    tags: [u16; WAYS],
    seen: [u16; WAYS],
    /// The second of [`Ends::words`].
    words: [u32; WAYS],
}

const _: () = assert!(size_of::<Head>() == 64 && size_of::<Flow>() == 64);

/// Bytes of table a flow, everything included.
pub const FLOW_BYTES: usize = size_of::<Head>() / WAYS + size_of::<Flow>() + size_of::<Cold>();

impl Head {
    /// The ways whose tag is `tag`, a bit each.
    #[inline(always)]
    fn matches(&self, tag: u16) -> u32 {
        lanes::equal(&self.tags, tag)
    }

    /// The first way with the hash's tag; any, if there is none.
    #[inline(always)]
    fn likely(&self, hash: u64) -> usize {
        self.matches(hash::tag(hash)).trailing_zeros() as usize % WAYS
    }
}

/// One bucket of the three arrays.
struct Bucket<'a> {
    head: &'a mut Head,
    flows: &'a mut [Flow; WAYS],
    colds: &'a mut [Cold; WAYS],
}

impl Bucket<'_> {
    #[inline(always)]
    fn is(&self, way: usize, ends: &Ends) -> bool {
        let way = way % WAYS;
        (self.flows[way].word, self.head.words[way]) == ends.words()
            && (self.head.tags[way] & hash::TAG_IP6 == 0 || self.colds[way].is_of(ends))
    }
}

/// A flow's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

impl Slot {
    /// Bits of a number of a slot; so many flows at most.
    pub(super) const BITS: u32 = 28;

    #[inline(always)]
    fn new(bucket: usize, way: usize) -> Slot {
        Slot((bucket * WAYS + way) as u32)
    }

    #[inline(always)]
    pub(super) fn number(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub(super) fn of_number(number: u32) -> Slot {
        Slot(number)
    }

    #[inline(always)]
    fn parts(self) -> (usize, usize) {
        (self.0 as usize / WAYS, self.0 as usize % WAYS)
    }
}

/// A flow that was found or made, open for work.
pub(super) struct Entry<'a> {
    pub(super) flow: &'a mut Flow,
    pub(super) cold: &'a mut Cold,
    seen: &'a mut u16,
    counters: &'a mut Counters,
}

impl Entry<'_> {
    /// The flow ends, and another one with the same key begins in its place.
    pub(super) fn begin_again(&mut self) {
        self.flow.halves = Default::default();
        self.set_class(Class::Unconfirmed);
        self.counters.ended += 1;
        self.counters.created += 1;
    }

    #[inline(always)]
    pub(super) fn class(&self) -> Class {
        class(*self.seen)
    }

    #[inline(always)]
    pub(super) fn set_class(&mut self, class: Class) {
        *self.seen = *self.seen & SEEN_MASK | (class as u16) << CLASS_SHIFT;
    }
}

#[inline(always)]
fn class(seen: u16) -> Class {
    match seen >> CLASS_SHIFT {
        0 => Class::Unconfirmed,
        1 => Class::Established,
        2 => Class::Closing,
        _ => Class::Echo,
    }
}

/// What [`FlowTable::likely`] has found.
pub(super) struct Likely<'a> {
    pub(super) halves: &'a mut [Half; 2],
    pub(super) slot: Slot,
    pub(super) class: Class,
    /// What is to be written to `seen` for the packet.
    pub(super) seen_now: u16,
    pub(super) seen: &'a mut u16,
}

/// See the module.
pub(super) struct FlowTable {
    heads: Vec<Head>,
    flows: Vec<[Flow; WAYS]>,
    colds: Vec<[Cold; WAYS]>,
    /// Number of buckets, a power of two, less one.
    mask: u32,
    /// The staleness clock's unit is 2 to this many ticks.
    unit: u32,
    /// Longest silence of each class, in units.
    timeouts: [u16; 4],
    /// The shortest of them.
    brief: u16,
    /// Silence after which an established flow may be pushed out, in units.
    protected: u16,
    /// Next bucket to age.
    hand: u32,
    /// Ticks from one slice to the next, and when the next is due.
    slice_ticks: u64,
    slice_due: u64,
    pub(super) counters: Counters,
    /// When the last flow was pushed out or refused, or the first one was made: of every packet that came since, the flow is known.
    unbroken_since: u64,
}

/// Buckets of a slice: 64 cache lines in a row, some 2 µs.
const SLICE: u64 = 64;
/// Slices of one call where the caller comes rarely: bounds a call to some 30 µs.
const MOST_SLICES: usize = 16;
/// Once around the table in so many units, an eighth to a quarter of the shortest of the common timeouts (30 s).
const ROUND: u64 = 64;

impl FlowTable {
    /// A table for at least `settings.flows` flows. All its memory is taken here, and touched.
    pub(super) fn new(settings: &Settings) -> FlowTable {
        let most = 1usize << (Slot::BITS - WAYS.ilog2());
        let buckets = settings.flows.div_ceil(WAYS).clamp(1, most).next_power_of_two();
        // Between 1/16 s and 1/8 s; a clock of less than 16 Hz does not tell RTTs anyway.
        let unit = (settings.hz / 8).max(8).ilog2();
        let units = |ticks: u64| (ticks >> unit).clamp(1, u64::from(SEEN_MASK) / 2) as u16;
        let timeouts =
            [settings.unconfirmed, settings.established, settings.closing, settings.echo].map(units);
        FlowTable {
            heads: filled(buckets, |_| Default::default()),
            flows: filled(buckets, |_| Default::default()),
            colds: filled(buckets, |_| Default::default()),
            mask: buckets as u32 - 1,
            unit,
            timeouts,
            brief: timeouts.into_iter().min().unwrap_or_default(),
            protected: units(settings.stale) + 1,
            hand: 0,
            slice_ticks: ((ROUND << unit) / (buckets as u64).div_ceil(SLICE)).max(1),
            slice_due: 0,
            counters: Counters::default(),
            unbroken_since: 0,
        }
    }

    /// Ticks for which no flow has been lost sight of.
    pub(super) fn unbroken(&self, now: u64) -> u64 {
        now.saturating_sub(self.unbroken_since)
    }

    /// Flows that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.heads.len() * WAYS
    }

    #[inline(always)]
    fn index(&self, hash: u64) -> usize {
        (hash as u32 & self.mask) as usize
    }

    #[inline(always)]
    fn units(&self, now: u64) -> u16 {
        (now >> self.unit) as u16 & SEEN_MASK
    }

    /// Asks for the bucket's line.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(head) = self.heads.get(self.index(hash)) {
            prefetch(head);
        }
    }

    /// Asks for the flow's line; reads the bucket's. Gives the hash with where in the bucket the flow seems to be.
    #[inline(always)]
    pub(super) fn prefetch_flow(&self, hash: u64) -> u64 {
        let index = self.index(hash);
        let (Some(head), Some(flows)) = (self.heads.get(index), self.flows.get(index)) else { return hash };
        let way = head.likely(hash);
        prefetch(&flows[way]);
        hash::with_hint(hash, way)
    }

    #[inline(always)]
    fn bucket(&mut self, index: usize) -> Option<Bucket<'_>> {
        Some(Bucket {
            head: self.heads.get_mut(index)?,
            flows: self.flows.get_mut(index)?,
            colds: self.colds.get_mut(index)?,
        })
    }

    /// The flow, if it is here; a flow that is past its time ends now.
    #[inline]
    pub(super) fn find(&mut self, hash: u64, ends: &Ends, now: u64) -> Option<Slot> {
        let index = self.index(hash);
        let units = self.units(now);
        let timeouts = self.timeouts;
        let bucket = self.bucket(index)?;
        let mut matches = bucket.head.matches(hash::tag(hash));
        while matches != 0 {
            let way = matches.trailing_zeros() as usize % WAYS;
            if bucket.is(way, ends) {
                let seen = &mut bucket.head.seen[way];
                if units.wrapping_sub(*seen) & SEEN_MASK > timeouts[class(*seen) as usize] {
                    bucket.head.tags[way] = 0;
                    self.counters.ended += 1;
                    return None;
                }
                *seen = *seen & !SEEN_MASK | units;
                return Some(Slot::new(index, way));
            }
            matches &= matches - 1;
        }
        None
    }

    /// The flow, if it is where the hint says or at the first place with its tag, and has not been silent for long: nearly always, if it is here at all. Nothing changes.
    #[inline(always)]
    pub(super) fn likely(&mut self, hash: u64, observed: &Observed, now: u64) -> Option<Likely<'_>> {
        let index = self.index(hash);
        let units = self.units(now);
        let brief = self.brief;
        let head = self.heads.get_mut(index)?;
        let way = hash::hint(hash).unwrap_or_else(|| head.likely(hash)) % WAYS;
        let flow = &mut self.flows.get_mut(index)?[way];
        let ends = observed.ends();
        let seen = &mut head.seen[way];
        let silent = units.wrapping_sub(*seen) & SEEN_MASK;
        let same = (head.tags[way] == hash::tag(hash))
            & ((flow.word, head.words[way]) == ends.words())
            & (silent <= brief);
        if !same || observed.is_ip6() && !self.colds.get(index)?[way].is_of(ends) {
            return None;
        }
        Some(Likely {
            halves: &mut flow.halves,
            slot: Slot::new(index, way),
            class: class(*seen),
            seen_now: *seen & !SEEN_MASK | units,
            seen,
        })
    }

    /// Makes the flow, which is not here; `None` if nobody may be pushed out for it.
    pub(super) fn make(&mut self, hash: u64, ends: &Ends, now: u64) -> Option<Slot> {
        let index = self.index(hash);
        let units = self.units(now);
        let (timeouts, protected) = (self.timeouts, self.protected);
        let head = self.heads.get(index)?;
        let mut victim = None;
        let mut best = 0;
        for way in 0..WAYS {
            let (tag, seen) = (head.tags[way], head.seen[way]);
            let silent = units.wrapping_sub(seen) & SEEN_MASK;
            // Free before past its time before not established before established; within each, the stalest.
            let rank = if tag == 0 {
                4
            } else if silent > timeouts[class(seen) as usize] {
                3
            } else if class(seen) != Class::Established {
                2
            } else if silent > protected {
                1
            } else {
                continue;
            };
            let worth = (rank << 14) + u32::from(silent);
            if victim.is_none() || worth > best {
                (victim, best) = (Some((way, rank)), worth);
            }
        }
        let Some((way, rank)) = victim else {
            self.counters.refused += 1;
            self.unbroken_since = now;
            return None;
        };
        match rank {
            4 => {}
            3 => self.counters.ended += 1,
            _ => {
                self.counters.evicted += 1;
                self.unbroken_since = now;
            }
        }
        if self.counters.created == 0 {
            self.unbroken_since = now;
        }
        self.counters.created += 1;
        let class = if hash::tag(hash) & hash::TAG_ECHO != 0 { Class::Echo } else { Class::Unconfirmed };
        let bucket = self.bucket(index)?;
        bucket.head.tags[way] = hash::tag(hash);
        bucket.head.seen[way] = (class as u16) << CLASS_SHIFT | units;
        let (word, last) = ends.words();
        bucket.head.words[way] = last;
        bucket.flows[way] = Flow { word, ..Flow::default() };
        if hash::tag(hash) & hash::TAG_IP6 != 0 {
            bucket.colds[way].upper = halves(ends.upper());
        }
        Some(Slot::new(index, way))
    }

    /// The flow at a place that [`Self::find`] or [`Self::make`] has just given.
    #[inline(always)]
    pub(super) fn entry(&mut self, slot: Slot) -> Option<Entry<'_>> {
        let (bucket, way) = slot.parts();
        Some(Entry {
            flow: &mut self.flows.get_mut(bucket)?[way],
            cold: &mut self.colds.get_mut(bucket)?[way],
            seen: &mut self.heads.get_mut(bucket)?.seen[way],
            counters: &mut self.counters,
        })
    }

    /// The flow at a place that was given some time ago, if it is still this one.
    #[inline(always)]
    pub(super) fn still(&mut self, slot: Slot, observed: &Observed) -> Option<&mut Flow> {
        let (bucket, way) = slot.parts();
        let bucket = self.bucket(bucket)?;
        let kinds = hash::TAG_OCCUPIED | hash::TAG_ECHO | hash::TAG_IP6;
        if bucket.head.tags[way] & kinds != observed.kind_bits() || !bucket.is(way, observed.ends()) {
            return None;
        }
        Some(&mut bucket.flows[way])
    }

    /// Ends flows that are past their time: as many slices as are due, up to a limit.
    #[inline]
    pub(super) fn age(&mut self, now: u64) {
        if now < self.slice_due {
            return;
        }
        self.age_slices(now);
    }

    fn age_slices(&mut self, now: u64) {
        let units = self.units(now);
        for _ in 0..MOST_SLICES {
            let first = self.hand as usize;
            let last = (first + SLICE as usize).min(self.heads.len());
            for head in self.heads.get_mut(first..last).unwrap_or_default() {
                for way in 0..WAYS {
                    let seen = head.seen[way];
                    let silent = units.wrapping_sub(seen) & SEEN_MASK;
                    if head.tags[way] != 0 && silent > self.timeouts[class(seen) as usize] {
                        head.tags[way] = 0;
                        self.counters.ended += 1;
                    }
                }
            }
            self.hand = if last == self.heads.len() { 0 } else { last as u32 };
            self.slice_due = self.slice_due.saturating_add(self.slice_ticks);
            if now < self.slice_due {
                return;
            }
        }
        // Too far behind, as after a first call or a long sleep: go on from here at the usual pace.
        self.slice_due = now.saturating_add(self.slice_ticks);
    }

    /// The staleness clock with eight times its resolution.
    #[inline]
    pub(super) fn fine_units(&self, now: u64) -> u16 {
        (now >> self.unit.saturating_sub(3)) as u16
    }
}

/// Eight comparisons at once. Unsafe only in name: what SSE2 offers is part of x86-64.
mod lanes {
    use super::WAYS;

    /// A bit for each lane that is `value`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn equal(lanes: &[u16; WAYS], value: u16) -> u32 {
        use std::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi16, _mm_set1_epi16,
        };
        let [a, b, c, d, e, f, g, h] = lanes.map(u16::cast_signed);
        // SAFETY: no memory is touched, and every x86-64 has SSE2.
        unsafe {
            let equal =
                _mm_cmpeq_epi16(_mm_set_epi16(h, g, f, e, d, c, b, a), _mm_set1_epi16(value.cast_signed()));
            _mm_movemask_epi8(_mm_packs_epi16(equal, equal)).cast_unsigned() & 0xff
        }
    }

    /// A bit for each lane that is `value`.
    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    pub(super) fn equal(lanes: &[u16; WAYS], value: u16) -> u32 {
        lanes.iter().rev().fold(0, |bits, &lane| bits << 1 | u32::from(lane == value))
    }
}
