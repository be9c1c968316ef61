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
