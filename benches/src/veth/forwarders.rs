//! The comparison from veth to veth: every round, each forwarder has the same wires and the same cores for the same time.

use std::fmt;
use std::path::Path as FilePath;
use std::time::Duration;

use anyhow::{Result, ensure};
use core_affinity::CoreId;
use serde::Serialize;
use weir::config::Idle;

use crate::appliance::{self, Duty};
use crate::bare;
use crate::bpf::FLOWS;
use crate::path::{Path, Traffic};
use weir_benches::summary::median;

/// The part of the traffic that must have gone by the forwarder that is measured. The rest is what one counter has seen and the other
/// has not when a forwarder comes and goes.
const SHARE: f64 = 0.99;
/// Offered traffic must exceed the forwarded by so much, or it was the generator that was measured.
const SATURATION: f64 = 1.02;

/// All rounds, and what they come to.
#[derive(Serialize)]
pub struct Comparison {
    /// Length of the measured windows.
    window_seconds: f64,
    rounds: Vec<Round>,
    /// Of each column; that of the ratios is not the ratio of the medians.
    median: Round,
}

/// What one round has measured.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    bare: Rate,
    weir_poll: Rate,
    /// Of weir, polling, to the bare loop.
    ratio: f64,
    /// weir, polling and measuring round-trip times.
    weir_rtt: Rate,
    /// Of that to weir polling and not measuring.
    ratio_rtt: f64,
    weir_adaptive: Rate,
    kernel: Rate,
}

/// Packets a second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Rate {
    forwarded: f64,
    offered: f64,
}

/// Measures every forwarder `rounds` times.
pub fn compare(
    weir: &FilePath,
    generator: CoreId,
    forwarder: CoreId,
    rounds: u32,
    window: Duration,
) -> Result<Comparison> {
    let path = Path::new(generator, forwarder)?;
    let bench = Bench { path, weir, forwarder, window };
    let mut measured = Vec::new();
    for number in 0..rounds {
        eprintln!("round {} of {rounds}", number + 1);
        // Those that are compared follow each other at once, in turns either one first.
        let poll = || bench.weir(Idle::Poll, Duty::Forwards);
        let measuring = || bench.weir(Idle::Poll, Duty::Measures);
        let (bare, weir_poll, weir_rtt) = if number % 2 == 0 {
            (bench.bare()?, poll()?, measuring()?)
        } else {
            let (rtt, poll) = (measuring()?, poll()?);
            (bench.bare()?, poll, rtt)
        };
        let weir_adaptive = bench.weir(Idle::Adaptive, Duty::Forwards)?;
        let kernel = bench.kernel()?;
        let ratio = weir_poll.forwarded / bare.forwarded;
        let ratio_rtt = weir_rtt.forwarded / weir_poll.forwarded;
        measured.push(Round { bare, weir_poll, ratio, weir_rtt, ratio_rtt, weir_adaptive, kernel });
    }
    let rate = |of: fn(&Round) -> Rate| Rate {
        forwarded: median(measured.iter().map(|round| of(round).forwarded)),
        offered: median(measured.iter().map(|round| of(round).offered)),
    };
    Ok(Comparison {
        window_seconds: window.as_secs_f64(),
        median: Round {
            bare: rate(|round| round.bare),
            weir_poll: rate(|round| round.weir_poll),
            ratio: median(measured.iter().map(|round| round.ratio)),
            weir_rtt: rate(|round| round.weir_rtt),
            ratio_rtt: median(measured.iter().map(|round| round.ratio_rtt)),
            weir_adaptive: rate(|round| round.weir_adaptive),
            kernel: rate(|round| round.kernel),
        },
        rounds: measured,
    })
}

/// What all measurements share.
struct Bench<'w> {
    path: Path,
    weir: &'w FilePath,
    forwarder: CoreId,
    window: Duration,
}

impl Bench<'_> {
    fn bare(&self) -> Result<Rate> {
        let (traffic, sent) =
            bare::forward(&self.path.lab, self.forwarder, || self.path.measure(self.window))?;
        rate("bare loop", &traffic, sent)
    }

    fn weir(&self, idle: Idle, duty: Duty) -> Result<Rate> {
        let (traffic, sent) =
            appliance::forward(&self.path.lab, self.weir, self.forwarder, (idle, duty), || {
                self.path.measure(self.window)
            })?;
        let also = if duty == Duty::Measures { ", measuring" } else { "" };
        rate(&format!("weir ({idle}{also})"), &traffic, sent)
    }

    fn kernel(&self) -> Result<Rate> {
        let traffic = self.path.measure(self.window)?;
        rate("kernel", &traffic, traffic.total)
    }
}

/// The traffic's rate, if it is `name` that has forwarded it: `sent` packets by its own count.
fn rate(name: &str, traffic: &Traffic, sent: u64) -> Result<Rate> {
    let Traffic { forwarded, offered, total } = *traffic;
    ensure!(total > 0, "{name} has forwarded nothing");
    let share = sent as f64 / total as f64;
    ensure!(
        (SHARE..=1.0 / SHARE).contains(&share),
        "{name} says that it has sent {sent} packets, but {total} have left the router"
    );
    eprintln!("    {name}: {:.3} of {:.3} Mpps", forwarded / 1e6, offered / 1e6);
    if offered < forwarded * SATURATION {
        eprintln!("    not saturated: it is the generator that was measured");
    }
    Ok(Rate { forwarded, offered })
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Mpps from veth to veth, TCP acknowledgements of {FLOWS} flows, one core, windows of {} s",
            self.window_seconds
        )?;
        writeln!(
            f,
            "{:>8} {:>10} {:>10} {:>8} {:>10} {:>8} {:>14} {:>8}",
            "round", "bare loop", "weir poll", "to bare", "measuring", "to poll", "weir adaptive", "kernel"
        )?;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, round: &Round| {
            let mpps = |rate: &Rate| rate.forwarded / 1e6;
            writeln!(
                f,
                "{name:>8} {:>10.3} {:>10.3} {:>6.1} % {:>10.3} {:>6.1} % {:>14.3} {:>8.3}",
                mpps(&round.bare),
                mpps(&round.weir_poll),
                round.ratio * 100.0,
                mpps(&round.weir_rtt),
                round.ratio_rtt * 100.0,
                mpps(&round.weir_adaptive),
                mpps(&round.kernel)
            )
        };
        for (round, number) in self.rounds.iter().zip(1..) {
            line(f, &format!("{number}"), round)?;
        }
        line(f, "median", &self.median)
    }
}
