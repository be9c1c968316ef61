//! What one window shows.

use std::array;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use weir_benches::machine::Processors;
use weir_benches::summary::median;
use weir_tests::lab::{Host, WIRE};
use weir_tests::pings::Pings;
use weir_tests::programs;

use crate::load::{self, Flows};
use crate::scene::{CUSTOMERS, Scene};

/// Until TCP has found its rates, and queues are as full as they get.
const SETTLING: Duration = Duration::from_secs(4);
/// The same without queues.
const WARM_UP: Duration = Duration::from_secs(1);
/// Greedy flows of a customer in a direction.
const FLOWS: usize = 2;

/// What customers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// They download.
    Down,
    /// They download and upload.
    Both,
}

/// Customers that are held to their plans.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Held {
    /// Mbit/s of frames that came to each customer.
    pub down: [f64; CUSTOMERS],
    /// And to their server.
    pub up: [f64; CUSTOMERS],
    /// By customer.
    pub ping: [Ping; CUSTOMERS],
    /// Processor seconds a second, of everything.
    pub cpu: f64,
    /// Of this weir's process.
    pub process: Option<f64>,
}

/// Pings, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Ping {
    pub p50: f64,
    pub p99: f64,
}

/// As much as passes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Carried {
    /// Mbit/s of frames that came to all customers.
    pub rate: f64,
    /// Processor seconds a second, of everything.
    pub cpu: f64,
}

/// Loads all customers, and measures for `window`.
pub fn held(scene: &Scene, process: Option<u32>, load: Load, window: Duration) -> Result<Held> {
    let pings = load::ping(scene)?;
    let flows = Flows::start(
        scene,
        match load {
            Load::Down => [FLOWS, 0],
            Load::Both => [FLOWS; 2],
        },
    )?;
    thread::sleep(SETTLING);
    let before = Look::take(scene, process, &pings)?;
    thread::sleep(window);
    let after = Look::take(scene, process, &pings)?;
    drop((flows, pings));
    let ping = |customer: usize| {
        let answers = after.pings[customer].get(before.pings[customer].len()..).unwrap_or_default();
        Ping::of(answers)
    };
    Ok(Held {
        down: array::from_fn(|customer| rate(before.down[customer], after.down[customer])),
        up: array::from_fn(|customer| rate(before.up[customer], after.up[customer])),
        ping: array::from_fn(ping),
        cpu: after.processors.busy_since(&before.processors),
        process: after
            .process
            .zip(before.process)
            .map(|(after, before)| (after - before).as_secs_f64() / window.as_secs_f64()),
    })
}

/// Loads all customers' way down, and measures for `window`.
pub fn carried(scene: &Scene, window: Duration) -> Result<Carried> {
    let flows = Flows::start(scene, [FLOWS, 0])?;
    thread::sleep(WARM_UP);
    let before = Look::take(scene, None, &[])?;
    thread::sleep(window);
    let after = Look::take(scene, None, &[])?;
    drop(flows);
    let rate = before.down.iter().zip(after.down).map(|(before, after)| rate(*before, after)).sum();
    ensure!(rate > 0.0, "nothing has arrived");
    Ok(Carried { rate, cpu: after.processors.busy_since(&before.processors) })
}

/// Pings of all customers while nothing else runs.
pub fn idle(scene: &Scene, window: Duration) -> Result<Ping> {
    let pings = load::ping(scene)?;
    thread::sleep(window);
    let answers: Vec<f64> = pings.iter().flat_map(Pings::times).collect();
    ensure!(!answers.is_empty(), "no ping was answered");
    Ok(Ping::of(&answers))
}

impl Ping {
    fn of(answers: &[f64]) -> Ping {
        let mut sorted = answers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| sorted.get((sorted.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
        Ping { p50: at(0.5), p99: at(0.99) }
    }

    fn median(pings: &[Ping]) -> Ping {
        Ping {
            p50: median(pings.iter().map(|ping| ping.p50)),
            p99: median(pings.iter().map(|ping| ping.p99)),
        }
    }
}

impl Held {
    /// Of every figure the median.
    pub fn median(rounds: &[Held]) -> Held {
        let of = |value: &dyn Fn(&Held) -> f64| median(rounds.iter().map(value));
        let process: Option<Vec<f64>> = rounds.iter().map(|round| round.process).collect();
        Held {
            down: array::from_fn(|customer| of(&|round| round.down[customer])),
            up: array::from_fn(|customer| of(&|round| round.up[customer])),
            ping: array::from_fn(|customer| {
                Ping::median(&rounds.iter().map(|round| round.ping[customer]).collect::<Vec<_>>())
            }),
            cpu: of(&|round| round.cpu),
            process: process.map(median),
        }
    }
}

impl Carried {
    /// Of every figure the median.
    pub fn median(rounds: &[Carried]) -> Carried {
        Carried {
            rate: median(rounds.iter().map(|round| round.rate)),
            cpu: median(rounds.iter().map(|round| round.cpu)),
        }
    }
}

/// All counters at a moment.
struct Look {
    /// Bytes that have come to each customer, and when they were counted: on a busy machine that is some time after those before.
    down: [(Instant, u64); CUSTOMERS],
    /// And to their server.
    up: [(Instant, u64); CUSTOMERS],
    processors: Processors,
    process: Option<Duration>,
    pings: Vec<Vec<f64>>,
}

impl Look {
    fn take(scene: &Scene, process: Option<u32>, pings: &[Pings]) -> Result<Look> {
        let came = |hosts: &[Host]| -> Result<[(Instant, u64); CUSTOMERS]> {
            let mut counts = [(Instant::now(), 0); CUSTOMERS];
            for (count, host) in counts.iter_mut().zip(hosts) {
                let bytes = host.namespace.traffic(WIRE)?.received.bytes;
                *count = (Instant::now(), bytes);
            }
            Ok(counts)
        };
        Ok(Look {
            down: came(&scene.customers)?,
            up: came(&scene.servers)?,
            processors: Processors::now()?,
            process: process.map(programs::processor_time).transpose()?,
            pings: pings.iter().map(Pings::times).collect(),
        })
    }
}

/// Mbit/s between two counts.
fn rate((then, first): (Instant, u64), (now, last): (Instant, u64)) -> f64 {
    (last - first) as f64 * 8.0 / 1e6 / now.duration_since(then).as_secs_f64()
}
