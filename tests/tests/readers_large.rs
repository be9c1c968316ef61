//! Every reader of `weirstat` on the segment of 25,000 customers: `weir-bench-readers` runs them all, checks what they
//! print, and tells how much memory each has had. Its times are not judged here: a debug build on a busy machine says
//! nothing about them. (By itself it takes 100,000 customers; `find` goes through a million folders then, which takes
//! minutes in a debug build.)

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use weir_tests::programs::program;

#[test]
fn every_reader_goes_through_a_large_segment_in_little_memory() -> Result<()> {
    program("weirstat")?; // which it takes from beside itself
    let output = Command::new(program("weir-bench-readers")?)
        .args(["--customers", "25000", "--rounds", "1", "--seconds", "2"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    println!("{text}");
    ensure!(output.status.success(), "it ended with {}", output.status);
    for reader in ["ls,", "dump --json", "scrape", "top", "find"] {
        let line = text.lines().find(|line| line.starts_with(reader)).context(reader)?;
        ensure!(!line.contains("more than 100 MiB"), "{line}");
    }
    Ok(())
}
