//! What follows from a discipline, worked out once.

use super::super::{Discipline, Isolation, Limits, TINS, tins::WHOLE};

pub(super) struct Prepared {
    pub(super) discipline: Discipline,
    pub(super) tin_of: [u8; 64],
    pub(super) inverse_shares: [u32; TINS],
    pub(super) precedence: [u8; TINS],
    pub(super) holds: [bool; 2],
}

impl Prepared {
    pub(super) fn new(discipline: &Discipline) -> Prepared {
        let mut tin_of = [0; 64];
        for (dscp, tin) in tin_of.iter_mut().enumerate() {
            *tin = discipline.tins.of(dscp as u8);
        }
        Prepared {
            tin_of,
            inverse_shares: discipline.tins.inverse_shares(),
            precedence: discipline.tins.precedence(),
            holds: match discipline.isolation {
                Isolation::Flows => [false, false],
                Isolation::Sources => [true, false],
                Isolation::Destinations => [false, true],
                Isolation::Both => [true, true],
            },
            discipline: *discipline,
        }
    }

    /// A tin's target: at least one and a half packets at its share of the rate; the interval grows with it.
    #[inline]
    pub(super) fn limits(&self, mtu_time: u32, which: usize) -> Limits {
        let Discipline { target: base, interval, .. } = self.discipline;
        let share = u64::from(mtu_time) * u64::from(self.inverse_shares[which]);
        let target = base.max(share * 3 / (2 * u64::from(WHOLE)));
        Limits { target, interval: (interval + target - base).max(2 * target) }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::Tins, *};

    /// What `tc -s qdisc show` has said of a real CAKE (`bandwidth 809kbit diffserv3 rtt 30ms atm overhead 10`, in its project's issue 148), in microseconds: every
    /// tin, voice too, has the interval of the round trip, and at least two targets.
    #[test]
    fn targets_and_intervals_are_those_that_cake_shows() {
        let discipline = Discipline {
            tins: Tins::Diffserv3,
            target: 1_500,
            interval: 30_000,
            ..Discipline::usual(1_000_000)
        };
        let prepared = Prepared::new(&discipline);
        // So that best effort's target, of one and a half packets, is as there.
        let mtu_time = 15_085;
        for (tin, target, interval) in [(0, 362_200, 724_400), (1, 22_600, 51_100), (2, 90_500, 181_100)] {
            let limits = prepared.limits(mtu_time, tin);
            let is_near = |one: u64, other: u64| one.abs_diff(other) <= other / 500;
            assert!(
                is_near(limits.target, target) && is_near(limits.interval, interval),
                "{tin}: {limits:?}"
            );
        }
        // Where packets take no time, it is the round trip's for all.
        for tin in 0..3 {
            assert_eq!(prepared.limits(1, tin), Limits { target: 1_500, interval: 30_000 });
        }
    }
}
