//! What a reader costs that polls the segment flat out: a worker's graph forwards in memory on one core, a reader on another copies
//! every value of its segment again and again. The reader is a process of its own, as readers are: what a thread of the same process
//! does to its memory, the worker's core would have to hear of.
//!
//! A second core that works may slow the first one whatever it does (the clock's boost, the shared cache, a hypervisor). So there
//! is a third case beside "alone" and "with a reader": the same reader busy with another segment, which nobody writes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fmt};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use core_affinity::CoreId;
use serde::Serialize;
use weir_benches::memory::{MemoryRouter, Setup};
use weir_graph::node::VECTOR;
use weir_stats::Reader;

use weir_benches::summary::median;

/// Vectors between two looks at the clock: some 0.2 ms, so that few of them are disturbed by anything else.
const VECTORS: usize = 40;
/// Routes of each case: the fewest rows in the segment, and those of a full table.
const ROUTES: [u32; 2] = [1, 500_000];
/// Between two reports of the reader: seldom enough to cost nothing.
const REPORT: Duration = Duration::from_millis(100);

/// One case: all rounds, and what they come to.
#[derive(Serialize)]
pub struct Case {
    routes: u32,
    rounds: Vec<Round>,
    /// The medians of the rounds' ratios to "alone".
    median_ratio: f64,
    median_ratio_elsewhere: f64,
}

/// Clocks a packet.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    alone: f64,
    with_reader: f64,
    reader_elsewhere: f64,
    /// Copies of the whole segment a second.
    snapshots: f64,
}

/// Measures all cases with the worker on `worker`, the calling thread, and the reader on `reader`.
pub fn measure(reader: CoreId, worker: CoreId, rounds: u32, window: Duration) -> Result<Vec<Case>> {
    ensure!(core_affinity::set_for_current(worker), "cannot use core {}", worker.id);
    ROUTES.into_iter().map(|routes| case(routes, reader, rounds, window)).collect()
}

fn case(routes: u32, core: CoreId, rounds: u32, window: Duration) -> Result<Case> {
    let build = || MemoryRouter::new(&Setup { routes, ..Setup::PLAIN }).map_err(|error| anyhow!("{error}"));
    let mut router = build()?;
    let _other = build()?;
    let (own, elsewhere) = segments()?;
    clocks(&mut router, window)?; // fills caches
    let mut measured = Vec::new();
    for number in 0..rounds {
        eprint!("routes: {routes}, round {} of {rounds}:", number + 1);
        let mut round = Round { alone: 0.0, with_reader: 0.0, reader_elsewhere: 0.0, snapshots: 0.0 };
        // in turns either one first
        let order = if number % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
        for leg in order {
            match leg {
                0 => round.alone = clocks(&mut router, window)?,
                1 => {
                    let reader = Polling::start(&own, core)?;
                    round.with_reader = clocks(&mut router, window)?;
                    round.snapshots = reader.stop()?;
                }
                _ => {
                    let reader = Polling::start(&elsewhere, core)?;
                    round.reader_elsewhere = clocks(&mut router, window)?;
                    reader.stop()?;
                }
            }
        }
        eprintln!(
            " alone {:.1}, with a reader {:.1}, reader elsewhere {:.1} clocks a packet",
            round.alone, round.with_reader, round.reader_elsewhere
        );
        measured.push(round);
    }
    Ok(Case {
        routes,
        median_ratio: median(measured.iter().map(|round| round.with_reader / round.alone)),
        median_ratio_elsewhere: median(measured.iter().map(|round| round.reader_elsewhere / round.alone)),
        rounds: measured,
    })
}

/// Forwards for `window` and returns the median of the clocks that a packet took.
fn clocks(router: &mut MemoryRouter, window: Duration) -> Result<f64> {
    let begun = Instant::now();
    let mut clocks = Vec::new();
    while begun.elapsed() < window {
        let round = router.round(VECTORS, VECTOR);
        ensure!(round.packets == (VECTORS * VECTOR) as u64, "the graph has dropped packets");
        clocks.push(round.ticks as f64 / round.packets as f64);
    }
    Ok(median(clocks))
}

/// The segments of this process's two routers, the older one first, as files that another process can be given.
fn segments() -> Result<(PathBuf, PathBuf)> {
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        // the descriptor of the listing itself has gone by now
        let Ok(target) = fs::read_link(&path) else { continue };
        if target.to_string_lossy().starts_with("/memfd:") {
            segments.insert(fs::metadata(&path)?.ino(), path);
        }
    }
    // inodes of memory files are numbered in their order
    let paths: Vec<PathBuf> = segments.into_values().collect();
    let [own, elsewhere] = paths.as_slice() else {
        bail!("the routers have {} segments, not 2", paths.len())
    };
    Ok((own.clone(), elsewhere.clone()))
}

/// A process that reads a segment flat out; ended when dropped.
struct Polling {
    process: Child,
    reports: BufReader<ChildStdout>,
}

impl Polling {
    /// Starts the process, and waits until it has read the segment once.
    fn start(segment: &Path, core: CoreId) -> Result<Polling> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--reader", "--poll-stdin", &core.id.to_string()])
            .stdin(File::open(segment)?)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().context("the reader has no output")?;
        let mut polling = Polling { process, reports: BufReader::new(stdout) };
        polling.reports.read_line(&mut String::new())?;
        Ok(polling)
    }

    /// Ends it, and returns how many times a second it has read the segment.
    fn stop(mut self) -> Result<f64> {
        let ended = self.process.try_wait()?;
        ensure!(ended.is_none(), "the reader has ended on its own");
        self.process.kill()?;
        let mut last = None;
        for line in (&mut self.reports).lines() {
            last = line?.parse().ok().or(last);
        }
        last.context("the reader has not reported")
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other process: reads the segment behind its standard input flat out, and reports how many times a second, until nobody listens.
pub fn poll(core: CoreId) -> Result<()> {
    ensure!(core_affinity::set_for_current(core), "cannot use core {}", core.id);
    let segment = Reader::open_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut out = io::stdout();
    let (mut begun, mut snapshots, mut reported) = (Instant::now(), 0u64, Duration::ZERO);
    loop {
        let snapshot = segment.snapshot(|_| true)?;
        ensure!(!snapshot.values.is_empty(), "the segment is empty");
        if snapshots == 0 {
            begun = Instant::now(); // the first one maps the pages
            writeln!(out, "ready")?;
        }
        snapshots += 1;
        let elapsed = begun.elapsed();
        if elapsed - reported >= REPORT {
            reported = elapsed;
            writeln!(out, "{}", (snapshots - 1) as f64 / elapsed.as_secs_f64())?;
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Clocks a packet in memory, routes: {}, 60-byte UDP, vectors of {VECTOR}", self.routes)?;
        writeln!(
            f,
            "{:>8} {:>8} {:>12} {:>9} {:>17} {:>9} {:>12}",
            "round", "alone", "with reader", "ratio", "reader elsewhere", "ratio", "snapshots/s"
        )?;
        for (round, number) in self.rounds.iter().zip(1..) {
            writeln!(
                f,
                "{number:>8} {:>8.2} {:>12.2} {:>7.2} % {:>17.2} {:>7.2} % {:>12.0}",
                round.alone,
                round.with_reader,
                round.with_reader / round.alone * 100.0,
                round.reader_elsewhere,
                round.reader_elsewhere / round.alone * 100.0,
                round.snapshots
            )?;
        }
        let of = |value: fn(&Round) -> f64| median(self.rounds.iter().map(value));
        writeln!(
            f,
            "{:>8} {:>8.2} {:>12.2} {:>7.2} % {:>17.2} {:>7.2} % {:>12.0}",
            "median",
            of(|round| round.alone),
            of(|round| round.with_reader),
            self.median_ratio * 100.0,
            of(|round| round.reader_elsewhere),
            self.median_ratio_elsewhere * 100.0,
            of(|round| round.snapshots)
        )
    }
}
