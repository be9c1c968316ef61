//! What weir forwards from veth to veth, beside a bare AF_XDP receive-and-send loop and beside the kernel's own forwarding, in the same run
//! on the same wires; and what a reader that polls the segment flat out costs the packet path.
#![deny(unsafe_code)]

mod appliance;
mod bare;
mod bpf;
mod forwarders;
mod path;
mod reader;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use core_affinity::CoreId;

/// Packets a second from veth to veth: weir, a bare AF_XDP loop, the kernel. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Rounds; in each one every forwarder has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measured window
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Instead: what a reader that polls the segment flat out on another core costs a packet, in memory; needs no root
    #[arg(long)]
    reader: bool,
    /// What such a reader does: polls the segment behind standard input, on this core
    #[arg(long, value_name = "CORE", hide = true, requires = "reader")]
    poll_stdin: Option<usize>,
    /// The weir to measure; default: the release build, brought up to date
    #[arg(long, value_name = "PROGRAM", conflicts_with = "reader")]
    weir: Option<PathBuf>,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench-veth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "a debug build measures nothing: run it with `cargo run --release`");
    if let Some(id) = arguments.poll_stdin {
        return reader::poll(CoreId { id });
    }
    let (first, last) = cores()?;
    warn_if_busy();
    let window = Duration::from_secs(arguments.seconds);
    if arguments.reader {
        let cases = reader::measure(first, last, arguments.rounds, window)?;
        if arguments.json {
            println!("{}", serde_json::to_string_pretty(&cases)?);
        } else {
            cases.iter().for_each(|case| print!("{case}"));
        }
        return Ok(());
    }
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
    let comparison = forwarders::compare(&program, first, last, arguments.rounds, window)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        print!("{comparison}");
    }
    Ok(())
}

/// The first and the last core that this process may use.
fn cores() -> Result<(CoreId, CoreId)> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    match (cores.first(), cores.last()) {
        (Some(first), Some(last)) if first != last => Ok((*first, *last)),
        _ => anyhow::bail!("two cores are needed: one for the packets' source, one for the forwarder"),
    }
}

/// Says so when others use the machine: both cores are needed whole.
fn warn_if_busy() {
    /// Runnable threads in the last minute, on average, that an idle machine stays below.
    const IDLE: f64 = 0.3;
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    if let Some(load) = load.filter(|load| *load > IDLE) {
        eprintln!("the machine is busy (load {load}): what is measured now says little");
    }
}
