//! `weir-bench-rfc2544`: what weir forwards beside a bare AF_XDP loop and the kernel, after RFC 2544 and RFC 8219: throughput, latency, back-to-back frames. All of a
//! size's forwarders take turns with each other, in the same run on the same wires.
#![forbid(unsafe_code)]

mod report;
mod search;
mod trials;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use core_affinity::CoreId;
use weir::config::Idle;
use weir_benches::pktgen::shape::Transport;
use weir_benches::pktgen::sizes::Sizes;
use weir_benches::scene::{Duty, Forwarder, Kind, Scene};
use weir_benches::{appliance, machine};

use crate::report::{Report, SizeReport};
use crate::trials::Subject;

/// Throughput, latency and bursts from veth to veth, after RFC 2544: weir beside a bare AF_XDP loop and the kernel, by turns. Needs root.
#[derive(Parser)]
struct Arguments {
    /// 64 bytes and IMIX only: about a minute and a half
    #[arg(long, conflicts_with = "sizes")]
    quick: bool,
    /// Bytes of frames with their check sequences, and imix
    #[arg(long, value_delimiter = ',', default_values = ["64", "128", "256", "512", "1024", "1280", "1518", "imix"])]
    sizes: Vec<String>,
    /// Only forwarders whose name contains this: bare loop, kernel, weir, weir + RTT, weir + RTT + shaper
    #[arg(long, default_value = "")]
    only: String,
    /// Two workers also where the second shares the generator's core
    #[arg(long)]
    two_workers: bool,
    /// Milliseconds of a trial
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(50..))]
    trial: u64,
    /// The weir to measure; default: the release build, brought up to date
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench-rfc2544: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "a debug build measures nothing: run it with `cargo run --release`");
    let sizes: Vec<Frames> = match arguments.quick {
        true => ["64", "imix"].map(Frames::parse).into_iter().collect::<Result<_>>()?,
        false => arguments.sizes.iter().map(|text| Frames::parse(text)).collect::<Result<_>>()?,
    };
    if let Some(reason) = weir_tests::scenario::missing() {
        anyhow::bail!("no veths can be measured here: {reason}");
    }
    let program = match &arguments.weir {
        Some(program) => {
            fs::canonicalize(program).with_context(|| format!("no program {}", program.display()))?
        }
        None => {
            eprintln!("building weir …");
            appliance::build()?
        }
    };
    let (generator, _) = machine::cores()?;
    let mut forwarders = machine::all_cores();
    forwarders.retain(|core| *core != generator);
    forwarders.reverse();
    let mut report = Report::new(Duration::from_millis(arguments.trial));
    let has_third = forwarders.len() > 1;
    forwarders.truncate(2);
    if !has_third {
        if arguments.two_workers {
            forwarders.push(generator);
        } else {
            let reason = "two workers: skipped, for this machine has two cores, and the second worker would share its core with the generator, \
                          which leaves it nothing (--two-workers measures that)";
            eprintln!("{reason}");
            report.skipped.push(reason.to_owned());
        }
    }
    let mut subjects = vec![Forwarder::Bare, Forwarder::Kernel];
    for workers in 1..=forwarders.len() {
        for duty in [Duty::Forwards, Duty::Measures, Duty::MeasuresAndShapes] {
            subjects.push(Forwarder::Weir { idle: Idle::Poll, duty, workers });
        }
    }
    subjects.retain(|forwarder| forwarder.to_string().contains(&arguments.only));
    ensure!(!subjects.is_empty(), "no forwarder's name contains {:?}", arguments.only);

    let bench = Bench {
        weir: &program,
        generator,
        forwarders,
        subjects,
        trial: Duration::from_millis(arguments.trial),
        begin: Instant::now(),
        sizes: sizes.len(),
    };
    for (number, size) in sizes.iter().enumerate() {
        report.sizes.push(bench.measure(number, size)?);
    }
    report.finish(bench.begin.elapsed());
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// Frames of one kind.
struct Frames {
    name: String,
    sizes: Sizes,
    transport: Transport,
}

impl Frames {
    /// TCP with timestamps where they fit, so that the measurement of round trips has something to do.
    fn parse(text: &str) -> Result<Frames> {
        /// With its check sequence: of TCP over IPv4 with timestamps, and the receiver's number and time.
        const SMALLEST_TCP: u16 = 80;
        if text.eq_ignore_ascii_case("imix") {
            let (name, sizes) = ("IMIX".to_owned(), format!("{SMALLEST_TCP}:7,594:4,1518:1").parse()?);
            return Ok(Frames { name, sizes, transport: Transport::Tcp });
        }
        let size: u16 = text.trim().parse().with_context(|| format!("{text} is no size of a frame"))?;
        ensure!((64..=1518).contains(&size), "a frame has 64 to 1518 bytes, with its check sequence");
        let transport = if size < SMALLEST_TCP { Transport::Udp } else { Transport::Tcp };
        Ok(Frames { name: size.to_string(), sizes: Sizes::one(size), transport })
    }
}

/// What all sizes share.
struct Bench<'b> {
    weir: &'b Path,
    generator: CoreId,
    forwarders: Vec<CoreId>,
    subjects: Vec<Forwarder>,
    trial: Duration,
    begin: Instant,
    /// How many sizes there are.
    sizes: usize,
}

/// Turns that a size takes, as a rule: for the estimate of what is left.
const USUAL_TURNS: f64 = 5.0;
/// Turns that a size takes at the most: two searches of eight trials, four in a turn.
const MOST_TURNS: usize = 6;

impl Bench<'_> {
    fn measure(&self, number: usize, frames: &Frames) -> Result<SizeReport> {
        let scene = Scene::new(Kind::Route, self.generator, &self.forwarders)?;
        let generator = scene.generator(frames.transport, frames.sizes.clone())?;
        let mut subjects: Vec<Subject> = self.subjects.iter().copied().map(Subject::new).collect();
        for turn in 0..MOST_TURNS {
            if subjects.iter().all(Subject::is_done) {
                break;
            }
            // everyone is first in some turn
            let mut order: Vec<usize> = (0..subjects.len()).collect();
            order.rotate_left(turn % subjects.len());
            for (place, subject) in order.into_iter().enumerate() {
                let subject = &mut subjects[subject];
                let part = (turn as f64 + place as f64 / self.subjects.len() as f64).min(USUAL_TURNS - 0.5);
                self.tell(number as f64 + part / USUAL_TURNS, frames, &subject.forwarder, turn);
                let forwarder = subject.forwarder;
                scene.forward(forwarder, self.weir, || {
                    let arrived = subject.turn(&scene, &generator, self.trial)?;
                    Ok(((), arrived))
                })?;
            }
        }
        let of = |wanted| subjects.iter().find(|subject| subject.forwarder == wanted);
        let (bare, kernel) = (of(Forwarder::Bare), of(Forwarder::Kernel));
        let found = subjects.iter().filter_map(|subject| subject.found(bare, kernel)).collect();
        let report = SizeReport {
            size: frames.name.clone(),
            mean_bytes: frames.sizes.mean(),
            transport: if frames.transport == Transport::Tcp { "TCP" } else { "UDP" },
            found,
        };
        eprint!("{report}");
        Ok(report)
    }

    /// What is running, for how long, and how much longer.
    fn tell(&self, done: f64, frames: &Frames, forwarder: &Forwarder, turn: usize) {
        let elapsed = self.begin.elapsed();
        let left = match done {
            done if done > 0.05 => clock(elapsed.mul_f64((self.sizes as f64 / done - 1.0).max(0.0))),
            _ => "some minutes".to_owned(),
        };
        eprintln!(
            "{}  {:.0} %, about {left} left   {}: {forwarder}, turn {}",
            clock(elapsed),
            done / self.sizes as f64 * 100.0,
            frames.name,
            turn + 1
        );
    }
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}
