//! CoDel (RFC 8289): acts on packets when the least time in the queue has been above the target for an interval, and ever more often while it stays so.

/// What a queue may do to its packets; both change with the customer's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ticks that packets may wait.
    pub target: u64,
    /// Ticks for which they may wait longer before something is done.
    pub interval: u64,
}

/// The state of one queue (RFC 8289 §5.3 and §5.5), 32 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    /// When to act if the wait stays above the target; 0: it is below.
    first_above: u64,
    next: u64,
    count: u32,
    /// The count when dropping began.
    last_count: u32,
    dropping: bool,
    /// A packet was dropped; the next packet decides whether dropping goes on.
    advance: bool,
}

/// A dropping state that begins within so many intervals of the last one takes up its rate (RFC 8289 §5.5).
const MEMORY: u64 = 16;

impl Codel {
    /// Whether to drop or mark the packet that has just been taken from the queue.
    ///
    /// `few`: the queue now holds no more than one packet of the largest size.
    #[inline]
    pub fn act(&mut self, now: u64, sojourn: u64, few: bool, limits: Limits, roots: &InverseRoots) -> bool {
        let above = self.above(now, sojourn, few, limits);
        if std::mem::take(&mut self.advance) && above {
            self.next = self.next.wrapping_add(roots.scale(limits.interval, self.count));
        }
        if !above {
            self.dropping = false;
            return false;
        }
        if self.dropping {
            if now < self.next {
                return false;
            }
            self.count = self.count.saturating_add(1);
            self.advance = true;
            return true;
        }
        self.dropping = true;
        let since = self.count.wrapping_sub(self.last_count);
        let recent = now.saturating_sub(self.next) < MEMORY * limits.interval;
        self.count = if since > 1 && recent { since } else { 1 };
        self.last_count = self.count;
        self.next = now.wrapping_add(roots.scale(limits.interval, self.count));
        true
    }

    /// The packet was marked and goes out: no other one decides.
    #[inline]
    pub fn marked(&mut self, limits: Limits, roots: &InverseRoots) {
        if std::mem::take(&mut self.advance) {
            self.next = self.next.wrapping_add(roots.scale(limits.interval, self.count));
        }
    }

    #[inline]
    fn above(&mut self, now: u64, sojourn: u64, few: bool, limits: Limits) -> bool {
        if sojourn < limits.target || few {
            self.first_above = 0;
            return false;
        }
        if self.first_above == 0 {
            self.first_above = now + limits.interval;
            return false;
        }
        now >= self.first_above
    }
}

/// 1/√count without a division: to nine digits below 1024, and within 0.2 % from there on.
pub struct InverseRoots(Vec<u32>);

impl InverseRoots {
    const ROWS: u32 = 1024;

    /// Computes the table, 4 KB.
    pub fn new() -> InverseRoots {
        let root = |count: u32| (f64::from(u32::MAX) / f64::from(count.max(1)).sqrt()).round() as u32;
        InverseRoots((0..Self::ROWS).map(root).collect())
    }

    /// `interval` / √`count`.
    #[inline]
    pub fn scale(&self, interval: u64, count: u32) -> u64 {
        // √(4^k·m) = 2^k·√m
        let bits = 32 - count.leading_zeros();
        let halvings = bits.saturating_sub(10).div_ceil(2);
        let root = self.0.get((count >> (2 * halvings)) as usize).copied().unwrap_or(u32::MAX);
        let scaled = (u128::from(interval) * u128::from(root) + (1 << 31)) >> 32;
        (scaled as u64) >> halvings
    }
}

impl Default for InverseRoots {
    fn default() -> Self {
        InverseRoots::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_law_is_the_interval_over_the_root() {
        let roots = InverseRoots::new();
        for count in (1..5000).chain([65_536, 1_000_003, u32::MAX]) {
            let exact = 100e6 / f64::from(count).sqrt();
            let scaled = roots.scale(100_000_000, count) as f64;
            assert!((scaled - exact).abs() <= 1.0 + exact / 450.0, "{count}: {scaled} is not {exact}");
        }
        assert_eq!(roots.scale(100_000_000, 1), 100_000_000);
        assert_eq!(roots.scale(100_000_000, 4), 50_000_000);
    }

    #[test]
    fn a_short_burst_is_let_through_and_a_standing_queue_is_not() {
        let (roots, limits) = (InverseRoots::new(), Limits { target: 5, interval: 100 });
        let mut codel = Codel::default();
        assert!((1..=100).all(|now| !codel.act(now, 50, false, limits, &roots)));
        assert!(!codel.act(101, 4, false, limits, &roots), "below the target: the interval begins anew");
        assert!((102..202).all(|now| !codel.act(now, 50, false, limits, &roots)));
        assert!(codel.act(202, 50, false, limits, &roots));
        assert!(!codel.act(203, 50, true, limits, &roots), "the last packets of a queue are left alone");
    }
}
