//! weir's development commands: `cargo xtask setup | test | lint | docs | plots | bench | demo`.
//!
//! They run on a machine that has Rust and nothing else: the first thing that each does is to see that the system packages
//! are there. So this crate uses neither a crate of weir's nor any C code.
#![forbid(unsafe_code)]

mod bench;
mod demo;
mod docs;
mod lint;
mod packages;
mod plots;
mod step;
mod suite;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

const USAGE: &str = "\
weir's development commands

Usage: cargo xtask COMMAND

  demo    watch TCP cross weir, the round trips of customers, and their plans without and with the shaper, live (needs root)
  test    run the whole test suite; what cannot run here is skipped out loud
  lint    formatting, clippy, licences and duplicate crates, documentation: warnings are errors
  docs    write the tables of docs/stats.md from what a running weir says of itself (needs root)
  plots   draw the plots of docs/shaping.md and docs/performance.md from the data beside them; with --measure those of the
          former are measured anew (needs root)
  bench   throughput, latency and bursts beside a bare AF_XDP loop and the kernel, and clocks a packet in memory, in some
          ten minutes; the tables and plots of docs/performance.md are written from it (needs root)
            --quick         64 bytes and IMIX only, a minute and a half; writes no documentation
            --memory        only what is in memory, and the table of targets
            --veth          only what goes from veth to veth
            --sizes LIST    64,128,256,512,1024,1280,1518,imix; writes no documentation
            --only NAME     forwarders whose name contains this; writes no documentation
            --json PATH     what was measured, in one document, besides
  setup   install the system packages that the build and the tests need, and nothing else

Each command first makes sure of the system packages: as root it installs what is missing, otherwise it prints the
command that does.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["demo"] => demo::run(),
        ["test"] => suite::run(),
        ["lint"] => lint::run(),
        ["docs"] => docs::run(),
        ["plots"] => plots::run(false),
        ["plots", "--measure"] => plots::run(true),
        ["bench", ..] => bench::run(&words[1..]),
        ["setup"] => packages::ensure().map(|_| ExitCode::SUCCESS),
        ["help" | "--help" | "-h"] | [] => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        [other, ..] => {
            eprintln!("xtask: no command `{other}`\n\n{USAGE}");
            Ok(ExitCode::from(2))
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// The workspace's root: this package's parent.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds: wherever it has built this program (`<target>/debug/xtask`).
fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where cargo builds")?;
    let target = program.ancestors().nth(2).context("cannot tell where cargo builds")?;
    Ok(target.to_owned())
}

/// The cargo that runs us, at the workspace's root, with the compilers that were found.
fn cargo(toolchain: &packages::Toolchain) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("CARGO_TERM_COLOR", "never");
    toolchain.apply(&mut command);
    command
}
