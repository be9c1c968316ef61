//! `cargo xtask docs`: writes what is made from the code into the documentation.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{cargo, packages, step, target_dir};

pub fn run() -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the tables come from a running weir, which needs root: run `sudo env \"PATH=$PATH\" cargo xtask docs`"
        );
    }
    let toolchain = packages::ensure()?;
    let mut weir = cargo(&toolchain);
    weir.args(["build", "--locked", "-p", "weir", "-p", "weirstat"]);
    let mut test = cargo(&toolchain);
    test.args(["test", "--locked", "-p", "weir-tests", "--test", "stats_catalogue"]);
    test.env("WEIR_PROGRAMS", target_dir()?.join("debug")).env("WEIR_WRITE_DOCS", "1");
    for (name, mut command) in [("build the programs", weir), ("write docs/stats.md", test)] {
        let done = step::run(name, &mut command, |_| ())?;
        if !done.success {
            bail!("{name} failed:\n{}", done.tail.join("\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
