//! The instructions that a packet takes in weir's graph, counted by valgrind: the same on a busy machine as on a quiet one, so that a change that makes the packet path
//! dearer is found before it lands.
//!
//! Each case runs in a process of its own under callgrind, which counts in [`MemoryRouter::counted_round`]'s graphs alone, or in [`Saturated::looks`]. What was counted when the packet path was last changed on
//! purpose stands in `benches/instructions.json`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};
use weir_benches::cases::{Case, cases};
use weir_benches::memory::{MemoryRouter, Setup};
use weir_benches::shaping::Saturated;

/// What instructions a packet takes in weir's graph, beside what it took before
///
/// Fails if a case takes over 3 % more than benches/instructions.json says. If that is meant, --renew writes the file anew.
#[derive(Parser)]
struct Arguments {
    /// Write what is counted into benches/instructions.json
    #[arg(long)]
    renew: bool,
    /// Only cases whose name contains this
    #[arg(long, default_value = "", conflicts_with = "renew")]
    only: String,
    /// Forward this case's packets, in this process
    #[arg(long, hide = true)]
    forward: Option<String>,
}

/// Where the counts stand.
const COUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");
/// What a case may take more than it did, in percent.
const TOLERANCE: f64 = 3.0;
/// The case of the shaper's queues and tree alone: in the graph's cases nobody waits.
const SATURATED: &str = "1,000 customers held by their plans, queues and tree alone";
/// Entries of a case's largest table. Larger ones take the same way, and minutes to load under valgrind.
const LARGEST: usize = 10_000;
/// What is counted, for callgrind.
const TOGGLES: [&str; 2] = [
    "--toggle-collect=weir_benches::memory::counted*",
    "--toggle-collect=weir_benches::shaping::Saturated::looks*",
];
/// Vectors that fill caches and tables, for each flow or customer that there is, and others that are counted.
const VECTORS: usize = 200;

/// What was counted, and with which compiler: another one makes other instructions.
#[derive(Deserialize, Serialize)]
struct Counts {
    compiler: String,
    /// Instructions a packet, by case.
    instructions: BTreeMap<String, f64>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let guarded: Vec<Case> = cases().into_iter().filter(is_guarded).collect();
    if let Some(name) = &arguments.forward {
        let case = guarded.iter().find(|case| case.name == *name);
        let packets =
            if name == SATURATED { saturated()? } else { forward(case.context("there is no such case")?)? };
        println!("{packets}");
        return Ok(ExitCode::SUCCESS);
    }
    let compiler = compiler()?;
    let before = fs::read(COUNTS).with_context(|| format!("cannot read {COUNTS}"))?;
    let before: Counts = serde_json::from_slice(&before).with_context(|| format!("{COUNTS} is damaged"))?;
    let is_comparable = before.compiler == compiler;
    let mut now = Counts { compiler, instructions: BTreeMap::new() };
    let mut dearer = Vec::new();
    let names = guarded.iter().map(|case| case.name).chain([SATURATED]);
    for case in names.filter(|name| name.contains(&arguments.only)) {
        let was = before.instructions.get(case).filter(|_| is_comparable);
        let more = |count: f64| was.map(|was| (count / was - 1.0) * 100.0);
        let count = count(case)?;
        let more = more(count);
        let change = more.map_or(String::new(), |more| format!("{more:+.1} %"));
        println!("{count:8.1} instructions a packet  {change:>8}  {case}");
        if more.is_none_or(|more| more > TOLERANCE) {
            dearer.push(case);
        }
        now.instructions.insert(case.to_owned(), (count * 10.0).round() / 10.0);
    }
    if arguments.renew {
        fs::write(COUNTS, serde_json::to_string_pretty(&now)? + "\n")
            .with_context(|| format!("cannot write {COUNTS}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !is_comparable {
        let (then, this) = (before.compiler, now.compiler);
        println!("SKIP instructions: they were counted with {then}, and this is {this}: --renew counts anew");
        println!("test result: ok. 1 passed; 0 failed"); // as cargo says of a test that skips
        return Ok(ExitCode::SUCCESS);
    }
    if !dearer.is_empty() {
        println!("failures:");
    }
    for case in &dearer {
        println!("test {case} ... FAILED");
        println!(
            "    over {TOLERANCE} % dearer, or not in the file. If it is meant: weir-bench-instructions --renew"
        );
    }
    let (passed, failed) = (now.instructions.len() - dearer.len(), dearer.len());
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_guarded(case: &Case) -> bool {
    let setup = &case.setup;
    [setup.routes as usize, setup.flows, setup.shaped as usize].into_iter().all(|size| size <= LARGEST)
}

/// What the child does, and how many packets it counts. The round that fills caches and tables is not counted.
fn forward(case: &Case) -> Result<u64> {
    let setup = Setup { virtual_time: true, ..case.setup };
    let mut router = MemoryRouter::new(&setup).map_err(|error| anyhow::anyhow!("{error}"))?;
    let entries = case.setup.flows.max(case.setup.shaped as usize);
    router.round(VECTORS + 4 * entries / case.size, case.size);
    Ok(router.counted_round(VECTORS, case.size).packets)
}

/// The same for [`SATURATED`]. All is counted, the first looks too: they are few.
fn saturated() -> Result<u64> {
    let mut saturated = Saturated::new(1000).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(saturated.looks(100 * VECTORS))
}

/// Instructions a packet.
fn count(case: &str) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(TOGGLES)
        .arg(env::current_exe()?)
        .args(["--forward", case])
        .output()
        .context("cannot run valgrind: install the package valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let packets = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>();
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse::<u64>().ok());
    match (packets, collected) {
        (Ok(packets), Some(collected)) if output.status.success() && packets > 0 && collected > 0 => {
            Ok(collected as f64 / packets as f64)
        }
        _ => bail!("{case}: valgrind counted nothing:\n{said}"),
    }
}

/// The compiler's name and version, and what it makes programs for.
fn compiler() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("cannot run rustc")?;
    Ok(format!("{}, {}", String::from_utf8_lossy(&output.stdout).trim(), env::consts::ARCH))
}
