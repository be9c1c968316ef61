//! The comparison from veth to veth: every round, each forwarder has the same wires and the same cores for the same time.

use std::path::Path as FilePath;
use std::time::Duration;
use std::{fmt, fs};

use anyhow::{Result, ensure};
use core_affinity::CoreId;
use serde::Serialize;
use weir::config::Idle;

use crate::bare;
use crate::bpf::FLOWS;
use crate::path::{Kind, Path, Traffic};
use weir_benches::appliance::{self, Setup};
use weir_benches::summary::median;
use weir_tests::plans::{self, Customer};

/// The part of the traffic that must have gone by the forwarder that is measured. The rest is what one counter has seen and the other
/// has not when a forwarder comes and goes.
const SHARE: f64 = 0.99;
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
    let path = Path::new(kind, generator, forwarder)?;
    let bench = Bench { path, weir, forwarder, window };
    let mut measured = Vec::new();
    for number in 0..rounds {
        eprintln!("round {} of {rounds}", number + 1);
        // Those that are compared follow each other at once, in turns either one first.
        let poll = || bench.weir(Idle::Poll, Duty::Forwards);
        let measuring = || bench.weir(Idle::Poll, Duty::Measures);
        let shaping = || bench.weir(Idle::Poll, Duty::Shapes);
        let (bare, weir_poll, weir_rtt, weir_shaper) = if number % 2 == 0 {
            (bench.bare()?, poll()?, measuring()?, shaping()?)
        } else {
            let (shaper, rtt, poll) = (shaping()?, measuring()?, poll()?);
            (bench.bare()?, poll, rtt, shaper)
        };
        let weir_adaptive = bench.weir(Idle::Adaptive, Duty::Forwards)?;
        let kernel = bench.kernel()?;
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
    path: Path,
    weir: &'w FilePath,
    forwarder: CoreId,
    window: Duration,
}

/// What weir does beside forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// Nothing.
    Forwards,
    /// Measures round-trip times, and counts by customer: both hosts are some.
    Measures,
    /// Holds the right host to a plan, below a tower, both of which are never reached.
    Shapes,
}

/// More than any veth carries, and the most that a plan may say: Mbit/s.
const NEVER_REACHED: f64 = 100_000.0;

impl Bench<'_> {
    fn bare(&self) -> Result<Rate> {
        let (traffic, sent) = bare::forward(&self.path, self.forwarder, || self.path.measure(self.window))?;
        rate("bare loop", &traffic, sent)
    }

    fn weir(&self, idle: Idle, duty: Duty) -> Result<Rate> {
        let setup = Setup { idle, core: self.forwarder, sided: true, sections: self.sections(duty)? };
        let (traffic, sent) = appliance::forward(&self.path.lab, self.weir, &setup, |weir| {
            let (counters, traffic) = (weir.counters()?, self.path.measure(self.window)?);
            let sent = counters.balance()?.sent;
            if duty == Duty::Shapes {
                let shaped = counters.columns("/shaper/customers/down/sent")?;
                let shaped: u64 = shaped.iter().map(|customer| customer.packets).sum();
                ensure!(shaped as f64 >= SHARE * sent as f64, "{shaped} of {sent} packets were shaped");
            }
            Ok((traffic, sent))
        })?;
        let also = match duty {
            Duty::Forwards => "",
            Duty::Measures => ", measuring",
            Duty::Shapes => ", shaping",
        };
        rate(&format!("weir ({idle}{also})"), &traffic, sent)
    }

    /// The sections of weir's config, and the files that they name.
    fn sections(&self, duty: Duty) -> Result<String> {
        let lab = &self.path.lab;
        let (left, right, folder) = (lab.left(), lab.right(), lab.router.folder()?);
        let mut sections = match self.path.kind {
            Kind::Route => String::new(),
            Kind::Bridge => format!("[bridge]\nports = [\"{}\", \"{}\"]\n", left.port, right.port),
        };
        match duty {
            Duty::Forwards => {}
            Duty::Measures => {
                let customers = format!("{} left\n{} right\n", left.address, right.address);
                fs::write(folder.join("customers.txt"), customers)?;
                sections += "[rtt]\nprefixes = \"customers.txt\"\n";
            }
            Duty::Shapes => {
                let (min, max) = ([1.0; 2], [NEVER_REACHED; 2]);
                let tower = format!(
                    r#"{{"tower":{{"downloadBandwidthMbps":{NEVER_REACHED},"uploadBandwidthMbps":{NEVER_REACHED},"type":"ap"}}}}"#
                );
                plans::write(
                    &folder,
                    &tower,
                    &[Customer { host: right, id: "right", node: "tower", min, max }],
                )?;
                sections += "[shaper]\ntree = \"network.json\"\ncircuits = \"ShapedDevices.csv\"\n";
            }
        }
        Ok(sections)
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
        let kind = match self.kind {
            Kind::Route => "routed",
            Kind::Bridge => "bridged",
        };
        writeln!(
            f,
            "Mpps from veth to veth, {kind}, TCP acknowledgements of {FLOWS} flows, one core, windows of {} s",
            self.window_seconds
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
