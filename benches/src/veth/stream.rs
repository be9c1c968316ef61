//! One TCP stream over wires with an MTU of 9000: what weir carries of it, alone and with round-trip times and the shaper, beside the kernel.
//!
//! Both ends, the wires and the forwarder share all cores, as they please: there are not enough for each to have its own.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use core_affinity::CoreId;
use serde::Serialize;
use weir::config::Idle;
use weir::port::af_xdp::LARGEST_MTU;
use weir_benches::appliance::{self, Setup};
use weir_benches::summary::median;
use weir_tests::clients::Stream;
use weir_tests::lab::Lab;

use weir_benches::scene::{Duty, Kind, sections};

/// Until TCP has found its rate.
const WARM_UP: Duration = Duration::from_secs(1);

/// All rounds, and their medians.
#[derive(Serialize)]
pub struct Streams {
    kind: Kind,
    mtu: u32,
    window_seconds: f64,
    rounds: Vec<Round>,
    median: Round,
}

/// Gbit/s of data that has arrived.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    kernel: f64,
    weir: f64,
    /// With round-trip times and the shaper.
    weir_shaper: f64,
}

/// Measures each `rounds` times. weir's worker is on `core`.
pub fn measure(kind: Kind, weir: &Path, core: CoreId, rounds: u32, window: Duration) -> Result<Streams> {
    let lab = match kind {
        Kind::Route => Lab::new(1),
        Kind::Bridge => Lab::bridged(1),
    }?;
    lab.set_mtu(LARGEST_MTU)?;
    let one = |duty: Duty| {
        let sections = sections(&lab, kind, duty)?;
        let setup = Setup { idle: Idle::Adaptive, cores: vec![core], sided: true, sections };
        let rate = appliance::forward(&lab, weir, &setup, |weir| {
            let rate = stream(&lab, window)?;
            let counters = weir.counters()?;
            // At most what an MTU carries is in a packet.
            let least = rate / 8.0 * window.as_secs_f64() * 1e9 / f64::from(LARGEST_MTU);
            let sent = counters.balance()?.sent as f64;
            ensure!(sent >= least, "weir has carried {sent} packets: it is the kernel that was measured");
            if duty == Duty::MeasuresAndShapes {
                let samples: u64 = counters.columns("/rtt/samples")?.iter().map(|it| it.packets).sum();
                let shaped = counters.columns("/shaper/customers/down/sent")?;
                let shaped: u64 = shaped.iter().map(|customer| customer.packets).sum();
                ensure!(samples > 0 && shaped as f64 >= least, "{samples} samples, {shaped} packets shaped");
            }
            Ok(rate)
        })?;
        eprintln!(
            "    weir{}: {rate:.2} Gbit/s",
            if duty == Duty::MeasuresAndShapes { ", measuring and shaping" } else { "" }
        );
        Ok::<f64, anyhow::Error>(rate)
    };
    let mut measured = Vec::new();
    for number in 0..rounds {
        eprintln!("round {} of {rounds}", number + 1);
        let (weir, weir_shaper) = (one(Duty::Forwards)?, one(Duty::MeasuresAndShapes)?);
        let kernel = stream(&lab, window)?;
        eprintln!("    kernel: {kernel:.2} Gbit/s");
        measured.push(Round { kernel, weir, weir_shaper });
    }
    let of = |rate: fn(&Round) -> f64| median(measured.iter().map(rate));
    Ok(Streams {
        kind,
        mtu: LARGEST_MTU,
        window_seconds: window.as_secs_f64(),
        median: Round {
            kernel: of(|round| round.kernel),
            weir: of(|round| round.weir),
            weir_shaper: of(|round| round.weir_shaper),
        },
        rounds: measured,
    })
}

/// Gbit/s from the left host to the right one.
fn stream(lab: &Lab, window: Duration) -> Result<f64> {
    let stream = Stream::start(lab.left(), lab.right())?;
    thread::sleep(WARM_UP);
    let (begin, before) = (Instant::now(), stream.arrived());
    thread::sleep(window);
    let bytes = stream.arrived() - before;
    Ok(bytes as f64 * 8.0 / begin.elapsed().as_secs_f64() / 1e9)
}

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Gbit/s of one TCP stream, {}, MTU {}, windows of {} s",
            self.kind, self.mtu, self.window_seconds
        )?;
        writeln!(f, "{:>8} {:>8} {:>8} {:>26}", "round", "kernel", "weir", "measuring and shaping")?;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, round: &Round| {
            let Round { kernel, weir, weir_shaper } = round;
            writeln!(f, "{name:>8} {kernel:>8.2} {weir:>8.2} {weir_shaper:>26.2}")
        };
        for (round, number) in self.rounds.iter().zip(1..) {
            line(f, &format!("{number}"), round)?;
        }
        line(f, "median", &self.median)
    }
}
