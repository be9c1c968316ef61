//! The rate that a leaf gets now: its ceiling while nobody above holds it back, and otherwise what it was served at while it always had packets.

use crate::memory::Zeroed;

/// Packets of a window: what comes between two of them may be a turn of all siblings.
const PACKETS: u16 = 8;
/// Windows are at least a 256th of a second, or siblings' bursts would be measured.
const LEAST: u32 = 8;
/// And are closed with fewer packets after a half.
const MOST: u32 = 1;

/// 32 bytes beside the leaf. All zeros: not set up.
#[derive(Clone, Copy)]
pub(super) struct Meter {
    /// The ceiling, bits a second.
    pub(super) max: u64,
    /// The rate that the queue was told.
    pub(super) told: u64,
    since: u64,
    bytes: u32,
    /// Packets of the window; 0: none is open.
    packets: u16,
    /// Packets since somebody above has held the leaf back.
    free: u16,
}

// SAFETY: integers.
unsafe impl Zeroed for Meter {}

const _: () = assert!(size_of::<Meter>() == 32);

impl Meter {
    /// A new ceiling, which the leaf gets until something else is seen.
    pub(super) fn set(&mut self, max: u64) {
        (self.max, self.told, self.packets, self.free) = (max, max, 0, 0);
    }

    /// The leaf has sent a packet; `held`: it had to wait for somebody above, `stays`: it has more. Returns a rate that is news.
    #[inline]
    pub(super) fn sent(&mut self, ticks: u64, bytes: u32, held: bool, stays: bool, hz: u64) -> Option<u64> {
        if !held {
            self.packets = 0;
            self.free = self.free.saturating_add(1);
            if self.free >= PACKETS && self.told != self.max {
                self.told = self.max;
                return Some(self.max);
            }
            return None;
        }
        self.free = 0;
        let mut news = None;
        let elapsed = ticks.saturating_sub(self.since);
        if self.packets >= PACKETS && elapsed >= hz >> LEAST || self.packets >= 2 && elapsed >= hz >> MOST {
            news = self.close(elapsed.max(1), hz);
        }
        if self.packets == 0 {
            (self.since, self.bytes) = (ticks, 0);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.packets = if stays { self.packets.saturating_add(1) } else { 0 };
        news
    }

    /// Nothing has held the leaf back for a while.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.free >= PACKETS
    }

    /// Divides: once for many packets.
    fn close(&mut self, elapsed: u64, hz: u64) -> Option<u64> {
        self.packets = 0;
        let rate = u128::from(self.bytes) * 8 * u128::from(hz) / u128::from(elapsed);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        let rate = if rate >= self.max - self.max / 16 { self.max } else { rate };
        if rate.abs_diff(self.told) < self.told / 8 {
            return None;
        }
        self.told = rate;
        Some(rate)
    }
}
