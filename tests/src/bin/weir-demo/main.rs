//! `cargo xtask demo`: watch TCP cross weir, and weir measure how far its customers are.
//!
//! ```text
//!   left ─────────────┐          ┌───────────────────── right
//!   10.0.1.2          │          ├── 5 ms of wire ───── city
//!                    weir, in a namespace ── 20 ms ──── village
//!                                └── 60 ms ──────────── island
//! ```
#![forbid(unsafe_code)]

mod distances;
mod screen;
mod throughput;

use std::process::ExitCode;

use anyhow::Result;
use weir_tests::appliance::Weir;
use weir_tests::counters::Counters;
use weir_tests::lab::Lab;
use weir_tests::scenario;

use distances::{CUSTOMERS, Lines};

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
    let names: Vec<&str> = ["left", "right"].into_iter().chain(CUSTOMERS.map(|it| it.name)).collect();
    let mut lab = Lab::with_hosts(&names, 1)?;
    let lines = Lines::insert(&mut lab)?;
    println!(
        "Five hosts, each in a network namespace of its own; the router between them is\n\
         weir. Every number is read from weir's shared-memory segment while the packets\n\
         pass: weir is not asked, and does not wait for those who look.\n"
    );
    let weir = Weir::measuring(&lab, 1, &distances::prefixes(&lab))?;
    throughput::show(&lab, &weir)?;
    distances::show(&lab, &weir, &lines)?;
    books(weir.counters())?;
    weir.stop()?;
    drop((lines, lab));
    println!("weir has drained and left; the hosts' and the router's namespaces are deleted.");
    Ok(())
}

fn books(counters: &Counters) -> Result<()> {
    counters.conserve()?;
    let balance = counters.balance()?;
    println!(
        "\nEvery packet of both acts is accounted for:\n\
         {} received + {} made by weir = {} sent + {} dropped + {} held.\n",
        balance.received, balance.created, balance.sent, balance.dropped, balance.held
    );
    Ok(())
}
