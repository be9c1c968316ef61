//! `cargo xtask lint`: everything that is judged without running weir.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::packages::{self, Toolchain};
use crate::{cargo, root, step, target_dir};

/// The cargo-deny that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

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

/// The path of cargo-deny, compiled below the target directory at first use.
fn cargo_deny() -> Result<PathBuf> {
    let folder = target_dir()?.join("tools").join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    let mut install = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    install
        .args([
            "install",
            "--locked",
            "--no-default-features",
            "--version",
            CARGO_DENY,
            "cargo-deny",
            "--root",
        ])
        .arg(&folder)
        .env("CARGO_TARGET_DIR", folder.join("build"))
        // it runs for a second and is compiled for as long as its optimisation takes: a minute instead of many
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    let installed = step::run("compile cargo-deny", &mut install, |_| ())?;
    if !installed.success {
        bail!("cargo-deny could not be had:\n{}", installed.tail.join("\n"));
    }
    std::fs::remove_dir_all(folder.join("build"))?;
    Ok(program)
}
