//! The programs of this workspace, for tests that run them as their users do, and what they cost.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Ticks a second of the times in /proc: USER_HZ, 100 on every architecture that weir knows (proc(5)).
const TICKS: f64 = 100.0;

/// A program, `weir`, `weirstat` or a benchmark: the one in the folder that `WEIR_PROGRAMS` names, or else one that cargo makes now, so that a test never
/// runs an old one.
pub fn program(name: &str) -> Result<PathBuf> {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let given = std::env::var_os("WEIR_PROGRAMS").map(|folder| PathBuf::from(folder).join(name));
    if let Some(path) = given.filter(|path| path.exists()) {
        return Ok(path);
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
    let of_benches = name.starts_with("weir-bench-") || name == "weir-pktgen";
    let package = if of_benches { "weir-benches" } else { name };
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

/// Processor time that a process has taken so far, all of its threads.
pub fn processor_time(id: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    taken(&text).with_context(|| format!("/proc/{id}/stat does not say what the process has taken"))
}

/// From the text of a process's stat.
fn taken(text: &str) -> Option<Duration> {
    // the second field, in brackets, may hold anything; user and system time are the 14th and the 15th
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut time = || fields.next()?.parse::<f64>().ok();
    Some(Duration::from_secs_f64((time()? + time()?) / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 2 0 9 8 7";
        assert_eq!(taken(text), Some(Duration::from_secs(2)));
        assert_eq!(taken("7 (weir"), None);
    }
}
