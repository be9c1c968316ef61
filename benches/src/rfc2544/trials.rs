//! What one forwarder is put through with frames of one size, in several turns.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use weir_benches::pktgen::live::Live;
use weir_benches::pktgen::pace::{Amount, Pace};
use weir_benches::scene::{Forwarder, Scene, Trial};
use weir_benches::summary::median;

use crate::search::Search;

/// Tolerated losses of the two throughputs.
pub const TOLERATED: [f64; 2] = [0.0, 0.005];
/// Loads at which latency is measured, of the throughput that loses [`TOLERATED`]`[1]`: the other is a matter of luck on a machine that others use.
pub const LOADS: [f64; 2] = [0.5, 0.9];
/// Trials of the search in a turn, those that are repeated not counted: then it is another forwarder's.
const TRIALS: usize = 4;
/// A generator that has sent less than this part of what was asked for was held up.
const HELD_UP: f64 = 0.95;
/// Until caches and branch predictors have settled.
const WARM_UP: Duration = Duration::from_millis(150);
/// The longest burst that is tried.
const LONGEST_BURST: u64 = 1 << 16;
/// The shortest.
const SHORTEST_BURST: u64 = 1 << 5;

/// A forwarder with frames of one size.
pub struct Subject {
    /// Who forwards.
    pub forwarder: Forwarder,
    /// Packets a second that were forwarded when as many were offered as go, a turn each.
    pub overload: Vec<f64>,
    /// For each of [`TOLERATED`], once it has begun.
    searches: Option<[Search; 2]>,
    /// At each of [`LOADS`], and the longest burst.
    rest: Option<([Latency; 2], u64)>,
    /// All trials of the searches.
    trials: u32,
}

/// Nanoseconds through the forwarder.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// The part of the throughput that was offered.
    pub load: f64,
    /// Packets a second.
    pub offered: f64,
    /// Half of the packets took no longer.
    pub p50: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
    /// The part of the packets that was lost.
    pub loss: f64,
}

/// What all turns have found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Who forwarded.
    pub forwarder: String,
    /// Packets a second when as many were offered as go: the median of all turns.
    pub overload: f64,
    /// The same to the bare loop's of the same turn, the median.
    pub overload_to_bare: Option<f64>,
    /// The same to the kernel's.
    pub overload_to_kernel: Option<f64>,
    /// The highest rate offered of which nothing was lost.
    pub throughput_0: f64,
    /// The highest of which at most 0.5 % were lost.
    pub throughput_05: f64,
    /// At 50 % and 90 % of the latter.
    pub latency: [Latency; 2],
    /// The most packets in a row, as fast as they come, of which none was lost.
    pub burst: u64,
    /// Trials of both searches.
    pub trials: u32,
}

impl Subject {
    /// Nothing is known yet.
    pub fn new(forwarder: Forwarder) -> Subject {
        Subject { forwarder, overload: Vec::new(), searches: None, rest: None, trials: 0 }
    }

    /// Everything is known.
    pub fn is_done(&self) -> bool {
        self.rest.is_some()
    }

    /// A turn: while it forwards. Returns how many packets have arrived in all.
    pub fn turn(&mut self, scene: &Scene, generator: &Live, length: Duration) -> Result<u64> {
        let mut arrived = 0;
        let mut trial = |rate: Option<f64>, amount| -> Result<Trial> {
            let trial = scene.trial(generator, Pace::new(rate, None), amount)?;
            arrived += trial.arrived();
            Ok(trial)
        };
        let lasting = |time| Amount { packets: None, time: Some(time) };
        trial(None, lasting(WARM_UP))?;
        let overload = trial(None, lasting(length / 2))?.rate();
        self.overload.push(overload);
        let searches =
            self.searches.get_or_insert_with(|| TOLERATED.map(|tolerated| Search::new(tolerated, overload)));
        for _ in 0..TRIALS {
            // the easier one first: it tells the other where to begin
            let Some((number, rate)) =
                [1, 0].into_iter().find_map(|number| Some((number, searches[number].next()?)))
            else {
                break;
            };
            let mut outcome = trial(Some(rate), lasting(length))?;
            self.trials += 1;
            let is_doubtful =
                |it: &Trial| !searches[number].tolerates(it.loss()) || it.sent.rate() < rate * HELD_UP;
            if is_doubtful(&outcome) {
                // Whoever else uses the machine may have been the reason.
                let again = trial(Some(rate), lasting(length))?;
                self.trials += 1;
                let worth =
                    |it: &Trial| (searches[number].tolerates(it.loss()), it.sent.rate() * (1.0 - it.loss()));
                if worth(&again) > worth(&outcome) {
                    outcome = again;
                }
            }
            searches[number].step();
            // What was really offered: a generator that is held up sends less.
            let rate = outcome.sent.rate().min(rate);
            searches.iter_mut().for_each(|search| search.record(rate, outcome.loss()));
        }
        if self.rest.is_none() && searches.iter().all(|search| search.next().is_none()) {
            let throughput = searches[1].found();
            let mut latency = LOADS.map(|load| Latency { load, ..Latency::default() });
            if throughput > 0.0 {
                for latency in &mut latency {
                    let trial = trial(Some(throughput * latency.load), lasting(length))?;
                    latency.offered = trial.sent.rate();
                    latency.loss = trial.loss();
                    if let Some(received) = &trial.received {
                        let times = received.latency;
                        (latency.p50, latency.p99, latency.max) = (times.p50, times.p99, times.max);
                    }
                }
            }
            let mut is_lossless = |packets| -> Result<bool> {
                let amount = Amount { packets: Some(packets), time: None };
                Ok(trial(None, amount)?.loss() <= 0.0 || trial(None, amount)?.loss() <= 0.0)
            };
            self.rest = Some((latency, longest_burst(&mut is_lossless)?));
        }
        Ok(arrived)
    }

    /// What has been found; of the others, the bare loop and the kernel, what is compared with.
    pub fn found(&self, bare: Option<&Subject>, kernel: Option<&Subject>) -> Option<Found> {
        let (latency, burst) = self.rest?;
        let searches = self.searches.as_ref()?;
        let to = |other: Option<&Subject>| {
            let other = other?;
            Some(median(self.overload.iter().zip(&other.overload).map(|(own, other)| own / other.max(1.0))))
        };
        Some(Found {
            forwarder: self.forwarder.to_string(),
            overload: median(self.overload.iter().copied()),
            overload_to_bare: to(bare),
            overload_to_kernel: to(kernel),
            throughput_0: searches[0].found(),
            // a search does not believe what contradicts it: the other may have seen better
            throughput_05: searches[1].found().max(searches[0].found()),
            latency,
            burst,
            trials: self.trials,
        })
    }
}

/// The longest burst that is lossless, to an eighth.
fn longest_burst(is_lossless: &mut impl FnMut(u64) -> Result<bool>) -> Result<u64> {
    let mut longest = 0;
    let mut next = SHORTEST_BURST;
    while next <= LONGEST_BURST && is_lossless(next)? {
        longest = next;
        next *= 2;
    }
    if next > LONGEST_BURST || longest == 0 {
        return Ok(longest);
    }
    let step = longest / 8;
    let (mut low, mut high) = (0, 8);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if is_lossless(longest + middle * step)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(longest + low * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_burst_is_found_to_an_eighth() {
        for limit in [0, 31, 32, 33, 1000, 2048, 2500, 65_535, 1 << 20] {
            let mut trials = 0;
            let found = longest_burst(&mut |packets| {
                trials += 1;
                Ok(packets <= limit)
            });
            let found = found.expect("a burst");
            assert!(found <= limit && trials < 20, "{limit}: {found} after {trials}");
            let expected = limit.min(LONGEST_BURST);
            assert!(expected < SHORTEST_BURST || found * 8 > expected * 7, "{limit}: {found}");
        }
    }
}
