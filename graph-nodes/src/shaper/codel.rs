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
    pub(super) const NEW: Codel =
        Codel { first_above: 0, next: 0, count: 0, last_count: 0, dropping: false, advance: false };

    /// Whether a packet that waited less than the target would change nothing.
    #[inline]
    pub fn is_calm(&self) -> bool {
        self.first_above == 0 && !self.dropping && !self.advance
    }

    /// Whether to drop or mark the packet that has just been taken from the queue.
    ///
    /// `few`: the queue now holds no more than one packet of the largest size.
    #[inline]
    pub fn act(&mut self, now: u64, sojourn: u64, few: bool, limits: Limits) -> bool {
        let above = self.above(now, sojourn, few, limits);
        if std::mem::take(&mut self.advance) && above {
            self.next = self.next.wrapping_add(spacing(limits.interval, self.count));
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
        self.next = now.wrapping_add(spacing(limits.interval, self.count));
        true
    }

    /// The packet was marked and goes out: no other one decides.
    #[inline]
    pub fn marked(&mut self, limits: Limits) {
        if std::mem::take(&mut self.advance) {
            self.next = self.next.wrapping_add(spacing(limits.interval, self.count));
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

/// The time to the next drop, interval/√count. Two slow instructions, but only where a packet is dropped or marked.
#[inline(never)]
fn spacing(interval: u64, count: u32) -> u64 {
    (interval as f64 / f64::from(count).sqrt()).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_burst_is_let_through_and_a_standing_queue_is_not() {
        let limits = Limits { target: 5, interval: 100 };
        let mut codel = Codel::default();
        assert!((1..=100).all(|now| !codel.act(now, 50, false, limits)));
        assert!(!codel.act(101, 4, false, limits), "below the target: the interval begins anew");
        assert!((102..202).all(|now| !codel.act(now, 50, false, limits)));
        assert!(codel.act(202, 50, false, limits));
        assert!(!codel.act(203, 50, true, limits), "the last packets of a queue are left alone");
    }
}
