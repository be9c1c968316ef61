//! `cargo xtask demo`: watch TCP cross weir, weir measure how far its customers are, and weir hold them to their plans.
//!
//! ```text
//!   internet ────┐            ┌──── office
//!   10.0.1.2     │            │     10.0.2.2
//!              weir, in a namespace
//!                             │            ┌── 5 ms of wire ─── alice   10.0.3.11
//!                             └── tower ───┼── 20 ms ────────── bob     10.0.3.12
//!                                          └── 60 ms ────────── carol   10.0.3.13
//! ```
#![forbid(unsafe_code)]

mod customers;
mod distances;
mod load;
mod screen;
mod shaping;
mod throughput;
mod weirstat;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use weir_tests::appliance::Weir;
use weir_tests::counters::Counters;
use weir_tests::lab::Lab;
use weir_tests::scenario;

use customers::Customers;

fn main() -> ExitCode {
    if let Some(reason) = scenario::missing() {
        eprintln!("the demo cannot run here: {reason}");
        return ExitCode::FAILURE;
    }
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let lab = Lab::with_hosts(&["internet", "office", "tower"], 1)?;
    let tower = lab.hosts.last().context("a tower")?;
    let customers = Customers::settle(&lab, tower)?;
    println!(
        "An internet, an office, and three customers behind a tower, each in a network\n\
         namespace of its own; the router between them is weir. What is said of weir is\n\
         read from its shared-memory segment while the packets pass: weir is not asked,\n\
         and does not wait for those who look.\n"
    );
    let weir = Weir::measuring(&lab, 1, &customers.prefixes())?;
    throughput::show(&lab, &weir)?;
    distances::show(&lab, &weir, &customers)?;
    books("the first two acts", weir.counters())?;
    weir.stop()?;
    let weir = shaping::show(&lab, tower, &customers)?;
    books("the shaped load", weir.counters())?;
    weir.stop()?;
    drop((customers, lab));
    println!("weir has drained and left; the hosts' and the router's namespaces are deleted.");
    Ok(())
}

fn books(what: &str, counters: &Counters) -> Result<()> {
    counters.conserve()?;
    let balance = counters.balance()?;
    println!(
        "\nEvery packet of {what} is accounted for:\n\
         {} received + {} made by weir = {} sent + {} dropped + {} held.\n",
        balance.received, balance.created, balance.sent, balance.dropped, balance.held
    );
    Ok(())
}
