//! weirstat, run as its user would.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use weir_tests::appliance::Weir;
use weir_tests::programs::program;

/// Prints the command with these words, and what it prints.
pub fn show(weir: &Weir, words: &[&str]) -> Result<()> {
    println!("\n$ weirstat {}", words.join(" "));
    std::io::stdout().flush()?;
    let status = Command::new(program("weirstat")?)
        .arg("--socket")
        .arg(weir.folder().join("stats.sock"))
        .args(words)
        .stdin(Stdio::null())
        .status()
        .context("weirstat")?;
    ensure!(status.success(), "weirstat ended with {status}");
    Ok(())
}
