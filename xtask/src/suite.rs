//! `cargo xtask test`: every test that this machine can run, and a count of those that it cannot.
//!
//! A test that cannot run (no root, no kernel feature) prints `SKIP <test>: <reason>` and returns; cargo counts it as
//! passed, this program as skipped.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::packages::{self, Toolchain};
use crate::{cargo, step, target_dir};

/// What one step's output says, line by line.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: BTreeMap<String, String>,
    /// What cargo shows of failed tests.
    failures: Vec<String>,
    in_failures: bool,
    /// Tests marked as ignored have run in another step.
    ignored_elsewhere: bool,
    took: Duration,
}

impl Tally {
    /// Takes in one line of `cargo test -- --show-output`.
    fn line(&mut self, line: &str) {
        if let Some((test, reason)) = line.strip_prefix("SKIP ").and_then(|rest| rest.split_once(": ")) {
            self.skipped.insert(test.to_owned(), reason.to_owned());
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.in_failures = false;
            self.passed += count(result, "passed");
        } else if let Some((test, outcome)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        {
            if outcome == "FAILED" {
                self.failed.push(test.to_owned());
            } else if let Some(reason) = outcome.strip_prefix("ignored").filter(|_| !self.ignored_elsewhere) {
                let reason = reason.strip_prefix(", ").unwrap_or("marked as ignored");
                self.skipped.insert(test.to_owned(), reason.to_owned());
                // cargo has not counted it as passed; the sum at the end takes every skipped one off
                self.passed += 1;
            }
        } else if line == "failures:" {
            self.in_failures = true;
        }
        if self.in_failures {
            self.failures.push(line.to_owned());
        }
    }

    /// The passed ones without those that said that they were skipped.
    fn passed(&self) -> usize {
        self.passed.saturating_sub(self.skipped.len())
    }

    /// A step that could not even begin.
    fn skip(name: &str, reason: &str) -> Tally {
        eprintln!("SKIP {name}: {reason}");
        // one "passed" for the step itself, which `passed` takes off again
        Tally { passed: 1, skipped: [(name.to_owned(), reason.to_owned())].into(), ..Tally::default() }
    }
}

/// The number before `word` in cargo's closing line.
fn count(result: &str, word: &str) -> usize {
    result
        .split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .filter_map(|number| number.trim().parse::<usize>().ok())
        .sum()
}

/// What Miri runs: step, package, and the tests whose names contain one of these; all of them where none is named.
type Miri = (&'static str, &'static str, &'static [&'static str]);

/// The longest first: a lane of its own.
const MIRI: [Miri; 3] = [
    (
        "miri, tables, rings",
        "weir-graph",
        &["fib::", "quiescence::", "adjacency::", "frames::", "ring::", "exchange::"],
    ),
    ("miri, segment", "weir-stats", &[]),
    ("miri, rings of the kernel", "weir", &["port::af_xdp::ring::"]),
];

pub fn run() -> Result<ExitCode> {
    let started = Instant::now();
    let toolchain = packages::ensure()?;
    let mut tallies: Vec<(&str, Tally)> = Vec::new();

    let mut build = cargo(&toolchain);
    build.args(["test", "--workspace", "--locked", "--no-run"]);
    let mut binaries = cargo(&toolchain);
    binaries.args(["build", "--workspace", "--bins", "--locked"]);
    for (name, mut command) in [("build the tests", build), ("build the programs", binaries)] {
        let built = step::run(name, &mut command, |_| ())?;
        if !built.success {
            eprintln!("{}\n({} has it all)", built.tail.join("\n"), built.log.display());
            let failed = Tally { failed: vec![name.to_owned()], took: built.took, ..Tally::default() };
            tallies.push((name, failed));
            return Ok(report(&tallies, started.elapsed()));
        }
    }

    let mut tests = cargo(&toolchain);
    tests.args(["test", "--workspace", "--locked", "--no-fail-fast", "--", "--show-output"]);
    // Built alone they would be built anew, from other features of what they stand on.
    tests.env("WEIR_PROGRAMS", target_dir()?.join("debug"));
    tallies.push(("tests", tally("tests", &mut tests, Tally::default())?));
    // Nothing of this goes by the time that it takes: two lanes at once.
    let missing = miri_is_missing();
    let miri = |at: usize| miri(&MIRI[at], missing.as_deref());
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(|| [loom(&toolchain), miri(1), miri(2)]);
        let other = [instructions(&toolchain), miri(0)];
        (one.join(), other)
    });
    let one = one.unwrap_or_else(|panic| resume_unwind(panic));
    tallies.extend(other.into_iter().chain(one).collect::<Result<Vec<_>>>()?);
    Ok(report(&tallies, started.elapsed()))
}

/// Runs one of cargo's test commands and counts on from `tally`.
fn tally(name: &str, command: &mut Command, mut tally: Tally) -> Result<Tally> {
    let finished = step::run(name, command, |line| tally.line(line))?;
    tally.took = finished.took;
    if !finished.success && tally.failed.is_empty() {
        // it did not build, or a test took its process down
        tally.failed.push(name.to_owned());
        tally.failures = finished.tail;
    }
    if finished.success && tally.passed == 0 {
        tally.failed.push(format!("{name} (it has run no test)"));
    }
    if !tally.failed.is_empty() {
        eprintln!("{}\n({} has it all)", tally.failures.join("\n"), finished.log.display());
    }
    Ok(tally)
}

/// The model checker's runs of the segment's protocol and of the exchange between workers: every interleaving of two threads, within bounds.
fn loom(toolchain: &Toolchain) -> Result<(&'static str, Tally)> {
    let mut command = cargo(toolchain);
    // its own target directory: the flag would have everything else built again, before and after
    command.env("CARGO_TARGET_DIR", target_dir()?.join("loom")).env("RUSTFLAGS", "--cfg loom").args([
        "test",
        "--locked",
        "-p",
        "weir-stats",
        "-p",
        "weir-graph",
        "--lib",
        "loom",
        "--",
        "--show-output",
    ]);
    Ok(("loom models", tally("loom models", &mut command, Tally::default())?))
}

/// Instructions a packet, beside what they were.
fn instructions(toolchain: &Toolchain) -> Result<(&'static str, Tally)> {
    let mut command = cargo(toolchain);
    command.args(["run", "--release", "--locked", "-p", "weir-benches", "--bin", "weir-bench-instructions"]);
    Ok(("instructions", tally("instructions", &mut command, Tally::default())?))
}

/// Miri over a crate whose `unsafe` code can run without the kernel, unless something is missing.
fn miri(step: &Miri, missing: Option<&str>) -> Result<(&'static str, Tally)> {
    let (name, package, filters) = *step;
    if let Some(reason) = missing {
        return Ok((name, Tally::skip(name, reason)));
    }
    let mut command = nightly(&["cargo", "miri", "test"]);
    command
        .current_dir(crate::root())
        .env("CARGO_TARGET_DIR", target_dir()?.join("miri"))
        .env("CARGO_TERM_COLOR", "never")
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .args(["--locked", "-p", package, "--lib", "--", "--show-output"])
        .args(filters);
    // what asks the kernel is ignored under Miri, and has run with the other tests
    let ignoring = Tally { ignored_elsewhere: true, ..Tally::default() };
    Ok((name, tally(name, &mut command, ignoring)?))
}

/// Why Miri cannot run here, after an attempt to have it added.
fn miri_is_missing() -> Option<String> {
    let works = || {
        nightly(&["cargo", "miri", "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if works() {
        return None;
    }
    let added = Command::new("rustup")
        .args(["component", "add", "miri", "rust-src", "--toolchain", "nightly"])
        .stdin(Stdio::null())
        .output();
    if works() {
        return None;
    }
    let said = match added {
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned(),
        Err(_) => "there is no rustup here".to_owned(),
    };
    Some(format!("no nightly toolchain with Miri, and adding it failed ({said})"))
}

/// A command of the nightly toolchain, free of what the stable one has put into the environment.
fn nightly(words: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).args(words);
    for name in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command
}

/// The table, and the line that counts.
fn report(tallies: &[(&str, Tally)], took: Duration) -> ExitCode {
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(|(_, tally)| of(tally)).sum::<usize>();
    let failed = sum(|tally| tally.failed.len());
    let skipped = sum(|tally| tally.skipped.len());
    println!("\n{:<20} {:>7} {:>7} {:>8} {:>7}", "step", "passed", "failed", "skipped", "time");
    for (name, tally) in tallies {
        println!(
            "{name:<20} {:>7} {:>7} {:>8} {:>7}",
            tally.passed(),
            tally.failed.len(),
            tally.skipped.len(),
            step::clock(tally.took)
        );
    }
    println!("{:<20} {:>7} {:>7} {:>8} {:>7}", "with building", "", "", "", step::clock(took));
    for (test, reason) in tallies.iter().flat_map(|(_, tally)| &tally.skipped) {
        println!("skipped: {test}: {reason}");
    }
    for test in tallies.iter().flat_map(|(_, tally)| &tally.failed) {
        println!("failed: {test}");
    }
    println!("\n{} passed, {failed} failed, {skipped} skipped", sum(Tally::passed));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn tally(text: &str) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.line(line));
        tally
    }

    #[test]
    fn counts_passed_failed_ignored_and_skipped_tests() {
        let tally = tally(
            "running 4 tests\n\
             test a ... ok\n\
             test b ... FAILED\n\
             test c ... ignored, takes an hour\n\
             test d ... ok\n\
             SKIP d: no root\n\
             test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             running 1 test\n\
             test e ... ok\n\
             test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(tally.passed(), 2);
        assert_eq!(tally.failed, ["b"]);
        assert_eq!(tally.skipped["c"], "takes an hour");
        assert_eq!(tally.skipped["d"], "no root");
    }

    #[test]
    fn keeps_what_failed_tests_printed() {
        let tally = tally(
            "successes:\nnoise\nfailures:\n---- b stdout ----\nexpected 1\ntest result: FAILED. 0 passed; 1 failed\nafter",
        );
        assert_eq!(tally.failures, ["failures:", "---- b stdout ----", "expected 1"]);
    }
}
