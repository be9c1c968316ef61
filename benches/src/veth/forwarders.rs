//! The comparison from veth to veth: every round, each forwarder has the same wires and the same cores for the same time.

use std::fmt;
use std::path::Path as FilePath;
use std::time::Duration;

use anyhow::Result;
use core_affinity::CoreId;
use serde::Serialize;
use weir::config::Idle;
use weir_benches::pktgen::live::Live;
use weir_benches::pktgen::pace::{Amount, Pace};
use weir_benches::pktgen::shape::Transport;
use weir_benches::pktgen::sizes::Sizes;
use weir_benches::scene::{Duty, FLOWS, Forwarder, Kind, Scene};
use weir_benches::summary::median;

/// Traffic before the measured window: caches, branch predictors and the generator's pages settle.
const WARM_UP: Duration = Duration::from_millis(500);
/// Bytes of a frame with its check sequence: the smallest of TCP with timestamps that has room for the receiver's number and time.
const FRAME: u16 = 80;
/// Offered traffic must exceed the forwarded by so much, or it was the generator that was measured.
const SATURATION: f64 = 1.02;

/// All rounds, and what they come to.
#[derive(Serialize)]
pub struct Comparison {
    /// What stands between the hosts.
    kind: Kind,
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
    /// weir, polling and shaping: the packets' receiver is a customer whose plan is never reached.
    weir_shaper: Rate,
    /// Of that to weir polling and not shaping.
    ratio_shaper: f64,
    weir_adaptive: Rate,
    kernel: Rate,
    /// Of weir, polling, to the kernel.
    ratio_kernel: f64,
}

/// Packets a second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Rate {
    forwarded: f64,
    offered: f64,
}

/// Measures every forwarder `rounds` times.
pub fn compare(
    kind: Kind,
    weir: &FilePath,
    generator: CoreId,
    forwarder: CoreId,
    rounds: u32,
    window: Duration,
) -> Result<Comparison> {
    let scene = Scene::new(kind, generator, &[forwarder])?;
    let generator = scene.generator(Transport::Tcp, Sizes::one(FRAME))?;
    let bench = Bench { scene, generator, weir, window };
    let mut measured = Vec::new();
    for number in 0..rounds {
        eprintln!("round {} of {rounds}", number + 1);
        // Those that are compared follow each other at once, in turns either one first.
        let bare = || bench.measure(Forwarder::Bare);
        let poll = || bench.weir(Idle::Poll, Duty::Forwards);
        let measuring = || bench.weir(Idle::Poll, Duty::Measures);
        let shaping = || bench.weir(Idle::Poll, Duty::Shapes);
        let (bare, weir_poll, weir_rtt, weir_shaper) = if number % 2 == 0 {
            (bare()?, poll()?, measuring()?, shaping()?)
        } else {
            let (shaper, rtt, poll) = (shaping()?, measuring()?, poll()?);
            (bare()?, poll, rtt, shaper)
        };
        let weir_adaptive = bench.weir(Idle::Adaptive, Duty::Forwards)?;
        let kernel = bench.measure(Forwarder::Kernel)?;
        let to = |rate: Rate, base: Rate| rate.forwarded / base.forwarded;
        measured.push(Round {
            bare,
            weir_poll,
            ratio: to(weir_poll, bare),
            weir_rtt,
            ratio_rtt: to(weir_rtt, weir_poll),
            weir_shaper,
            ratio_shaper: to(weir_shaper, weir_poll),
            weir_adaptive,
            kernel,
            ratio_kernel: to(weir_poll, kernel),
        });
    }
    let rate = |of: fn(&Round) -> Rate| Rate {
        forwarded: median(measured.iter().map(|round| of(round).forwarded)),
        offered: median(measured.iter().map(|round| of(round).offered)),
    };
    Ok(Comparison {
        kind,
        window_seconds: window.as_secs_f64(),
        median: Round {
            bare: rate(|round| round.bare),
            weir_poll: rate(|round| round.weir_poll),
            ratio: median(measured.iter().map(|round| round.ratio)),
            weir_rtt: rate(|round| round.weir_rtt),
            ratio_rtt: median(measured.iter().map(|round| round.ratio_rtt)),
            weir_shaper: rate(|round| round.weir_shaper),
            ratio_shaper: median(measured.iter().map(|round| round.ratio_shaper)),
            weir_adaptive: rate(|round| round.weir_adaptive),
            kernel: rate(|round| round.kernel),
            ratio_kernel: median(measured.iter().map(|round| round.ratio_kernel)),
        },
        rounds: measured,
    })
}

/// What all measurements share.
struct Bench<'w> {
    scene: Scene,
    generator: Live,
    weir: &'w FilePath,
    window: Duration,
}

impl Bench<'_> {
    fn weir(&self, idle: Idle, duty: Duty) -> Result<Rate> {
        self.measure(Forwarder::Weir { idle, duty, workers: 1 })
    }

    /// What it forwards of as much traffic as the generator can make, in a window.
    fn measure(&self, forwarder: Forwarder) -> Result<Rate> {
        let offer = |time| {
            let amount = Amount { packets: None, time: Some(time) };
            self.scene.trial(&self.generator, Pace::new(None, None), amount)
        };
        let trial = self.scene.forward(forwarder, self.weir, || {
            let (before, trial) = (offer(WARM_UP)?, offer(self.window)?);
            let arrived = before.arrived() + trial.arrived();
            Ok((trial, arrived))
        })?;
        let (forwarded, offered) = (trial.rate(), trial.sent.rate());
        eprintln!("    {forwarder}: {:.3} of {:.3} Mpps", forwarded / 1e6, offered / 1e6);
        if offered < forwarded * SATURATION {
            eprintln!("    not saturated: it is the generator that was measured");
        }
        Ok(Rate { forwarded, offered })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Mpps from veth to veth, {}, TCP segments in frames of {FRAME} bytes, {FLOWS} flows, one core, windows of {} s",
            self.kind, self.window_seconds
        )?;
        writeln!(
            f,
            "{:>8} {:>10} {:>10} {:>8} {:>10} {:>8} {:>10} {:>8} {:>14} {:>8} {:>12}",
            "round",
            "bare loop",
            "weir poll",
            "to bare",
            "measuring",
            "to poll",
            "shaping",
            "to poll",
            "weir adaptive",
            "kernel",
            "weir poll to"
        )?;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, round: &Round| {
            let mpps = |rate: &Rate| rate.forwarded / 1e6;
            writeln!(
                f,
                "{name:>8} {:>10.3} {:>10.3} {:>6.1} % {:>10.3} {:>6.1} % {:>10.3} {:>6.1} % {:>14.3} {:>8.3} {:>10.1} %",
                mpps(&round.bare),
                mpps(&round.weir_poll),
                round.ratio * 100.0,
                mpps(&round.weir_rtt),
                round.ratio_rtt * 100.0,
                mpps(&round.weir_shaper),
                round.ratio_shaper * 100.0,
                mpps(&round.weir_adaptive),
                mpps(&round.kernel),
                round.ratio_kernel * 100.0
            )
        };
        for (round, number) in self.rounds.iter().zip(1..) {
            line(f, &format!("{number}"), round)?;
        }
        line(f, "median", &self.median)
    }
}
