//! One tree of several workers, used as one shaper: leaves are divided among workers by number, and workers look in turns.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;

use weir_graph::shaper::{
    Arrival, Common, Departure, Discipline, Dropped, Lead, Leaf, Misfit, Operation, Overhead, Settings,
    Shaper,
};

pub struct Team {
    pub shapers: Vec<Shaper>,
    /// Who looks first.
    first: usize,
}

impl Team {
    pub fn new(
        settings: Settings,
        disciplines: &[Discipline],
        overheads: &[Overhead],
        workers: usize,
    ) -> Team {
        let common = Arc::new(Common::new(settings.nodes, workers, u64::MAX));
        let shapers = (0..workers).map(|worker| {
            let mut shaper = Shaper::new(settings, disciplines, overheads);
            if workers > 1 {
                shaper.share(common.clone(), worker);
            }
            shaper
        });
        Team { shapers: shapers.collect(), first: 0 }
    }

    fn of(&mut self, leaf: Leaf) -> &mut Shaper {
        let workers = self.shapers.len();
        &mut self.shapers[leaf.0 as usize % workers]
    }

    pub fn apply(
        &mut self,
        operation: &Operation,
        now: u64,
        dropped: &mut impl FnMut(Dropped),
    ) -> Result<(), Misfit> {
        match *operation {
            Operation::Leaf { leaf, .. } | Operation::RemoveLeaf(leaf) => {
                self.of(leaf).apply(operation, now, dropped)
            }
            Operation::Node { .. } | Operation::RemoveNode(_) => {
                let mut results = self.shapers.iter_mut().map(|shaper| shaper.apply(operation, now, dropped));
                results.try_for_each(|result| result)
            }
        }
    }

    /// A packet that need not wait; then it has left.
    pub fn let_through(&mut self, leaf: Leaf, length: u32, now: u64) -> bool {
        self.of(leaf).let_through(leaf, 0, length, now)
    }

    pub fn enqueue(&mut self, leaf: Leaf, arrival: &Arrival, now: u64, dropped: &mut impl FnMut(Dropped)) {
        self.of(leaf).enqueue(leaf, arrival, Lead::default(), now, dropped);
    }

    /// Each worker looks once.
    pub fn release(
        &mut self,
        now: u64,
        budget: usize,
        sent: &mut impl FnMut(Leaf, Departure),
        dropped: &mut impl FnMut(Dropped),
    ) -> Option<u64> {
        let (mut left, mut wakes) = (budget, None);
        let workers = self.shapers.len();
        self.first = (self.first + 1) % workers;
        for turn in 0..workers {
            let shaper = &mut self.shapers[(self.first + turn) % workers];
            let mut count = 0;
            let mut sent = |leaf, departure| {
                count += 1;
                sent(leaf, departure);
            };
            let next = shaper.release(now, left, &mut sent, dropped);
            left -= count;
            wakes = [wakes, next].into_iter().flatten().min();
        }
        wakes
    }

    pub fn backlog(&self) -> usize {
        self.shapers.iter().map(Shaper::backlog).sum()
    }

    pub fn audit(&self) -> Result<(), String> {
        self.shapers.iter().try_for_each(Shaper::audit)
    }
}
