//! The programs of this workspace, for tests that run them as their users do.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};

/// A program, `weir`, `weirstat` or a benchmark: the one that `WEIR_BIN` or `WEIRSTAT_BIN` names, or one that cargo makes now, so that a
/// test never runs an old one.
pub fn program(name: &str) -> Result<PathBuf> {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    if let Some(path) = std::env::var_os(format!("{}_BIN", name.to_ascii_uppercase())) {
        return Ok(path.into());
    }
    // Tests that need the same one wait for it here.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    if let Some(path) = built.get(name) {
        return Ok(path.clone());
    }
    let path = build(name)?;
    built.insert(name.to_owned(), path.clone());
    Ok(path)
}

fn build(name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let package = if name.starts_with("weir-bench-") { "weir-benches" } else { name };
    let output = Command::new(cargo)
        .args(["build", "--package", package, "--bin", name, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{name} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    // a test's program is <target>/debug/deps/<test>-<hash>
    let program = std::env::current_exe()?;
    let folder = program.ancestors().nth(2).context("cannot tell where cargo builds")?;
    Ok(folder.join(name))
}
