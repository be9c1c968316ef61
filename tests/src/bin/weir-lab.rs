//! Builds the lab and keeps it until Ctrl-C, for trying things by hand: `cargo run -p weir-tests --bin weir-lab [QUEUES]`.
//! The kernel forwards, until weir is started in the router's namespace.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, Result};
use weir_tests::lab::Lab;
use weir_tests::scenario;

fn main() -> ExitCode {
    if let Some(reason) = scenario::missing() {
        eprintln!("no lab can be built here: {reason}");
        return ExitCode::FAILURE;
    }
    match keep() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn keep() -> Result<()> {
    let queues = std::env::args()
        .nth(1)
        .map_or(Ok(1), |words| words.parse().with_context(|| format!("`{words}` is no number of queues")))?;
    let lab = Lab::new(queues)?;
    println!("ip netns exec {}   # ports {}, {}", lab.router.name(), lab.left().port, lab.right().port);
    for host in &lab.hosts {
        println!("ip netns exec {}   # {}", host.namespace.name(), host.address);
    }
    println!("ready; Ctrl-C deletes it all");
    loop {
        // the signal's thread cleans up and ends the process
        thread::park();
    }
}
