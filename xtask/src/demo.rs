//! `cargo xtask demo`: builds the demonstration in release mode and becomes it.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, packages, step, target_dir};

pub fn run() -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the demo makes network namespaces and loads an XDP program, which only root may: \
             run `sudo env \"PATH=$PATH\" cargo xtask demo`"
        );
    }
    let toolchain = packages::ensure()?;
    let mut build = cargo(&toolchain);
    build.args([
        "build",
        "--release",
        "--locked",
        "-p",
        "weir",
        "-p",
        "weirstat",
        "-p",
        "weir-tests",
        "--bin",
        "weir",
        "--bin",
        "weirstat",
        "--bin",
        "weir-demo",
    ]);
    let built = step::run("build weir in release mode", &mut build, |_| ())?;
    if !built.success {
        bail!("the build failed:\n{}", built.tail.join("\n"));
    }
    let folder = target_dir()?.join("release");
    // Becoming the demo, instead of starting it, leaves one process that hears Ctrl-C and cleans up.
    let error = Command::new(folder.join("weir-demo")).env("WEIR_PROGRAMS", &folder).exec();
    Err(error).context("cannot start the demo")
}
