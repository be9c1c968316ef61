//! What weir forwards from veth to veth, as a router or a bridge, beside a bare AF_XDP receive-and-send loop and beside the kernel's own forwarding, in the same run
//! on the same wires; and what a reader that polls the segment flat out costs the packet path.
#![forbid(unsafe_code)]

mod forwarders;
mod reader;
mod stream;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use core_affinity::CoreId;
use weir_benches::appliance;
use weir_benches::machine::{cores, warn_if_busy};
use weir_benches::scene::Kind;

/// Packets a second from veth to veth: weir, a bare AF_XDP loop, the kernel. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Rounds; in each one every forwarder has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measured window
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The hosts are in one network, and what stands between them is a bridge
    #[arg(long)]
    bridge: bool,
    /// Instead: Gbit/s of one TCP stream at an MTU of 9000, with round-trip times and the shaper
    #[arg(long, conflicts_with = "reader")]
    stream: bool,
    /// Instead: what a reader that polls the segment flat out on another core costs a packet, in memory; needs no root
    #[arg(long, conflicts_with = "bridge")]
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
    let kind = if arguments.bridge { Kind::Bridge } else { Kind::Route };
    if arguments.stream {
        let streams = stream::measure(kind, &program, last, arguments.rounds, window)?;
        if arguments.json {
            println!("{}", serde_json::to_string_pretty(&streams)?);
        } else {
            print!("{streams}");
        }
        return Ok(());
    }
    let comparison = forwarders::compare(kind, &program, first, last, arguments.rounds, window)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        print!("{comparison}");
    }
    Ok(())
}
