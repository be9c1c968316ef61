//! weir's shaper beside the kernel's HTB with the same plans, in the same run, on the same veths, with real TCP: rates, pings, processor time, and the most
//! that each carries.
#![forbid(unsafe_code)]

mod comparison;
mod load;
mod measured;
mod scene;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use weir_benches::{appliance, machine};

/// Customers held to their plans by the kernel's HTB and by weir, with real TCP. Needs root.
#[derive(Parser)]
struct Arguments {
    /// Rounds; in each one every shaper has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each measured window
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The weir to measure; default: the release build, brought up to date
    #[arg(long, value_name = "PROGRAM")]
    weir: Option<PathBuf>,
    /// One JSON document instead of the tables
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench-htb: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "a debug build measures nothing: run it with `cargo run --release`");
    if let Some(reason) = weir_tests::scenario::missing() {
        anyhow::bail!("nothing can be shaped here: {reason}");
    }
    machine::warn_if_busy();
    let program = match &arguments.weir {
        Some(program) => {
            fs::canonicalize(program).with_context(|| format!("no program {}", program.display()))?
        }
        None => {
            eprintln!("building weir …");
            appliance::build()?
        }
    };
    let comparison = comparison::compare(&program, arguments.rounds, Duration::from_secs(arguments.seconds))?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        print!("{comparison}");
    }
    Ok(())
}
