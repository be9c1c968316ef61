//! `weir-bench-readers`: what reading costs where there is much to read. Serves a segment of 100,000 customers and two
//! workers, runs `weirstat` on it as a user would, and prints the figures beside their targets.

mod segment;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use weir_stats::{Options, Segment, Server};

/// What reading costs where there is much to read
#[derive(Debug, Parser)]
struct Arguments {
    /// Customers in the segment
    #[arg(long, default_value_t = 100_000)]
    customers: usize,
    /// Only serve the segment at this socket, until killed
    #[arg(long, value_name = "SOCKET")]
    serve: Option<PathBuf>,
}

/// Between two heartbeats, as weir has it.
const BEAT: Duration = Duration::from_millis(250);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut segment = Segment::create(Options { workers: 2, ..Options::default() })?;
    let mut traffic = segment::fill(&mut segment, arguments.customers)?;
    if let Some(socket) = &arguments.serve {
        let _server = Server::start(socket, None, &segment)?;
        eprintln!("serving {} customers at {}", arguments.customers, socket.display());
        loop {
            traffic.flow(100);
            segment.beat();
            std::thread::sleep(BEAT);
        }
    }
    Ok(())
}
