//! BLUE (Feng, Kandlur, Saha, Shin 1999): a drop probability that rises when the queue overflows and falls when it empties; for flows that don't heed CoDel.

/// One queue's probability, 16 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blue {
    changed: u64,
    /// In 2⁻³².
    probability: u32,
}

/// 1/256: a flow that fills its queue at each freeze time loses half of its packets after 128 of them.
const UP: u32 = 1 << 24;
/// 1/4096: forgets 16 times as slowly as it learns, so that a flow that comes back is met with what is known of it.
const DOWN: u32 = 1 << 20;

impl Blue {
    pub(super) const NEW: Blue = Blue { changed: 0, probability: 0 };

    /// The queue overflowed. Changes come `freeze` ticks apart, so that each can show its effect.
    #[inline]
    pub fn overflowed(&mut self, now: u64, freeze: u64) {
        if now.saturating_sub(self.changed) >= freeze {
            self.probability = self.probability.saturating_add(UP);
            self.changed = now;
        }
    }

    /// The queue is empty.
    #[inline]
    pub fn emptied(&mut self, now: u64, freeze: u64) {
        if self.probability != 0 && now.saturating_sub(self.changed) >= freeze {
            self.probability = self.probability.saturating_sub(DOWN);
            self.changed = now;
        }
    }

    /// Whether to drop a packet, given a random number.
    #[inline]
    pub fn drops(&self, random: u32) -> bool {
        random < self.probability
    }

    /// The flow has not heeded.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.probability != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probability_rises_by_a_256th_and_falls_by_a_4096th_each_freeze_time() {
        let mut blue = Blue::default();
        for at in 1..=128 * 5 {
            blue.overflowed(1000 + at, 5);
        }
        assert_eq!(blue.probability, 1 << 31);
        assert!(blue.drops((1 << 31) - 1) && !blue.drops(1 << 31));
        for step in 1..=2048 {
            assert!(blue.is_active());
            blue.emptied(1640 + step * 5, 5);
        }
        assert!(!blue.is_active());
        assert!(!blue.drops(0));
    }
}
