//! The search for the highest rate at which no more than so many packets are lost.

/// Passed and failed rates that are closer to each other end the search.
const RESOLUTION: f64 = 0.03;
/// Trials of a search, at most.
const STEPS: u32 = 8;
/// The first rate, of what is forwarded when far more is offered: most forwarders lose nothing at a little less.
const FIRST: f64 = 0.95;
/// The next rate where all have passed, and where all have failed.
const UP: f64 = 1.2;
const DOWN: f64 = 0.75;

/// A search by halving.
#[derive(Clone, Debug)]
pub struct Search {
    /// The part of the packets that may be lost.
    tolerated: f64,
    first: f64,
    passed: Option<f64>,
    failed: Option<f64>,
    left: u32,
}

impl Search {
    /// For a forwarder that forwards `overload` packets a second when far more is offered.
    pub fn new(tolerated: f64, overload: f64) -> Search {
        Search { tolerated, first: overload * FIRST, passed: None, failed: None, left: STEPS }
    }

    /// The rate to try next; `None` when it is found, or enough has been tried.
    pub fn next(&self) -> Option<f64> {
        if self.left == 0 {
            return None;
        }
        match (self.passed, self.failed) {
            (None, None) => Some(self.first),
            (Some(passed), None) => Some(passed * UP),
            (None, Some(failed)) => Some(failed * DOWN),
            (Some(passed), Some(failed)) if failed - passed < RESOLUTION * failed => None,
            (Some(passed), Some(failed)) => Some(f64::midpoint(passed, failed)),
        }
    }

    /// Whether so much loss is tolerated.
    pub fn tolerates(&self, loss: f64) -> bool {
        loss <= self.tolerated
    }

    /// Takes in a trial, its own or another's, at a rate that was really offered. What contradicts an earlier one says nothing.
    pub fn record(&mut self, rate: f64, loss: f64) {
        if self.tolerates(loss) {
            if self.failed.is_none_or(|failed| rate < failed) {
                self.passed = Some(self.passed.map_or(rate, |passed| passed.max(rate)));
            }
        } else if self.passed.is_none_or(|passed| rate > passed) {
            self.failed = Some(self.failed.map_or(rate, |failed| failed.min(rate)));
        }
    }

    /// A trial of its own has been made.
    pub fn step(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// The highest rate that has passed; 0: none has.
    pub fn found(&self) -> f64 {
        self.passed.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches with a forwarder that loses what is above its limit.
    fn search(limit: f64, overload: f64, tolerated: f64) -> (f64, u32) {
        let mut search = Search::new(tolerated, overload);
        let mut trials = 0;
        while let Some(rate) = search.next() {
            trials += 1;
            search.record(rate, (1.0 - limit / rate).max(0.0));
            search.step();
        }
        (search.found(), trials)
    }

    #[test]
    fn finds_the_limit_within_its_resolution_and_steps() {
        for factor in [0.5, 0.8, 0.94, 0.96, 1.0, 1.3] {
            let (found, trials) = search(1e6 * factor, 1e6, 0.0);
            assert!((0.97..=1.0).contains(&(found / 1e6 / factor)), "{factor}: {found}");
            assert!(trials <= STEPS, "{trials}");
        }
        let (found, _) = search(1e6, 1e6, 0.005);
        assert!((0.975..1.006).contains(&(found / 1e6)), "{found}");
    }

    #[test]
    fn ends_where_nothing_ever_passes() {
        let mut search = Search::new(0.0, 1e6);
        let mut trials = 0;
        while let Some(rate) = search.next() {
            search.record(rate, 0.01);
            search.step();
            trials += 1;
        }
        assert_eq!((search.found(), trials), (0.0, STEPS));
    }

    #[test]
    fn a_trial_that_contradicts_earlier_ones_changes_nothing() {
        let mut search = Search::new(0.0, 1e6);
        search.record(1000.0, 0.0);
        search.record(500.0, 0.5);
        search.record(2000.0, 0.5);
        search.record(3000.0, 0.0);
        assert_eq!((search.passed, search.failed), (Some(1000.0), Some(2000.0)));
    }
}
