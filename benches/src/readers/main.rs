//! `weir-bench-readers`: what reading costs where there is much to read. Serves a segment of 100,000 customers and two
//! workers that go on counting, runs `weirstat` on it as a user would, and prints the figures beside their targets.

mod process;
mod segment;
mod terminal;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use weir_benches::summary::median;
use weir_stats::{Options, Segment, Server};

use crate::process::{Running, find, get, run, until, weirstat};

/// What reading costs where there is much to read
#[derive(Debug, Parser)]
struct Arguments {
    /// Customers in the segment
    #[arg(long, default_value_t = 100_000)]
    customers: usize,
    /// Times that each short measurement is made; the median counts
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds that the live view is watched
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Only serve the segment at this socket, until killed
    #[arg(long, value_name = "SOCKET")]
    serve: Option<PathBuf>,
}

/// Between two heartbeats, as weir has it.
const BEAT: Duration = Duration::from_millis(250);
/// What each reader may have resident, in bytes.
const MEMORY: u64 = 100 << 20;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut segment = Segment::create(Options { workers: 2, ..Options::default() })?;
    let mut traffic = segment::fill(&mut segment, arguments.customers)?;
    let folder = tempfile::tempdir()?;
    let socket = arguments.serve.clone().unwrap_or_else(|| folder.path().join("stats.sock"));
    let _server = Server::start(&socket, None, &segment)?;
    // The writer ends with the process: nothing waits for it.
    let writer = std::thread::spawn(move || {
        loop {
            traffic.flow(100);
            segment.beat();
            std::thread::sleep(BEAT);
        }
    });
    if arguments.serve.is_some() {
        eprintln!("serving {} customers at {}", arguments.customers, socket.display());
        let _ = writer.join();
        return Ok(());
    }
    println!("{} customers, 2 workers", arguments.customers);
    println!("{:<44} {:>12} {:>12} {:>12}", "", "measured", "target", "resident");
    let bench = Bench {
        customers: arguments.customers,
        weirstat: weirstat()?,
        socket,
        folder: folder.path().to_owned(),
    };
    bench.ls(arguments.rounds)?;
    bench.dump(arguments.rounds)?;
    bench.rtt(arguments.rounds)?;
    bench.scrape(arguments.rounds)?;
    bench.top(arguments.seconds)?;
    bench.find(arguments.rounds)
}

struct Bench {
    customers: usize,
    weirstat: PathBuf,
    socket: PathBuf,
    folder: PathBuf,
}

/// One line of the table.
fn line(what: &str, measured: &str, target: &str, met: bool, memory: u64) {
    let remark = match (met, memory <= MEMORY) {
        (true, true) => "",
        (false, true) => "  <- missed",
        (true, false) => "  <- more than 100 MiB",
        (false, false) => "  <- missed, and more than 100 MiB",
    };
    println!(
        "{what:<44} {measured:>12} {target:>12} {:>8.1} MiB{remark}",
        memory as f64 / f64::from(1 << 20)
    );
}

impl Bench {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.weirstat);
        command.arg("--socket").arg(&self.socket).args(words);
        command
    }

    fn timed(&self, what: &str, words: &[&str], rounds: usize, target: Duration) -> Result<()> {
        let costs = (0..rounds).map(|_| run(&mut self.command(words))).collect::<Result<Vec<_>>>()?;
        let time = Duration::from_secs_f64(median(costs.iter().map(|cost| cost.time.as_secs_f64())));
        let memory = costs.iter().map(|cost| cost.memory).max().unwrap_or(0);
        let bytes = costs.first().map_or(0, |cost| cost.bytes);
        anyhow::ensure!(bytes > 0, "{what} prints nothing");
        let what = format!("{what}, {:.1} MB", bytes as f64 / 1e6);
        let milliseconds = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        line(&what, &milliseconds(time), &milliseconds(target), time <= target, memory);
        Ok(())
    }

    fn ls(&self, rounds: usize) -> Result<()> {
        self.timed("ls", &["ls"], rounds, Duration::from_millis(100))
    }

    fn dump(&self, rounds: usize) -> Result<()> {
        self.timed("dump --json of everything", &["dump", "--json"], rounds, Duration::from_secs(2))
    }

    fn rtt(&self, rounds: usize) -> Result<()> {
        let (second, worst) = (Duration::from_secs(1), &["rtt", "--worst", "20"][..]);
        self.timed("rtt --worst 20", worst, rounds, second)?;
        self.timed("rtt of everyone", &["rtt"], rounds, second)?;
        self.timed("rtt of one customer", &["rtt", "customer-004711"], rounds, Duration::from_millis(100))
    }

    fn scrape(&self, rounds: usize) -> Result<()> {
        let address = free_address()?;
        let listen = address.to_string();
        let words = [
            "prometheus",
            "--listen",
            &listen,
            "--min-interval",
            "0",
            "--match",
            "^/if/",
            "^/sys/node/",
            "^/node/",
        ];
        let mut exporter = Running(self.command(&words).stderr(Stdio::null()).spawn()?);
        until("the exporter's first answer", || get(address, "/metrics").is_ok())?;
        let answers = (0..rounds.max(20)).map(|_| get(address, "/metrics")).collect::<Result<Vec<_>>>()?;
        let time = Duration::from_secs_f64(median(answers.iter().map(|(time, _)| time.as_secs_f64())));
        let bytes = answers.first().map_or(0, |(_, bytes)| *bytes);
        anyhow::ensure!(bytes > 10_000, "a scrape of {bytes} bytes does not have all ports and nodes");
        let what = format!("scrape of ports and nodes, {:.0} kB", bytes as f64 / 1e3);
        let measured = format!("{:.1} ms", time.as_secs_f64() * 1e3);
        line(&what, &measured, "20 ms", time <= Duration::from_millis(20), exporter.memory()?);
        exporter.stop()
    }

    fn top(&self, seconds: u64) -> Result<()> {
        let (top, screen) = terminal::start(self.command(&["top", "--interval", "1"]))?;
        until("the live view's first screen", || screen.has_drawn())?;
        let before = top.processor_time()?;
        std::thread::sleep(Duration::from_secs(seconds));
        let used = (top.processor_time()? - before).as_secs_f64() / seconds as f64 * 100.0;
        line("top at one refresh a second", &format!("{used:.1} %"), "5 %", used <= 5.0, top.memory()?);
        Ok(())
    }

    fn find(&self, rounds: usize) -> Result<()> {
        let mount = self.folder.join("mount");
        std::fs::create_dir(&mount)?;
        let mount_text = mount.to_str().context("a path in UTF-8")?;
        let mut mounted = Running(self.command(&["fs", mount_text]).stderr(Stdio::null()).spawn()?);
        until("the mount", || mount.join("sys").exists())?;
        // A million entries take long enough to be measured once.
        let result = (0..rounds.min(1)).map(|_| find(&mount)).collect::<Result<Vec<_>>>();
        let memory = mounted.memory();
        mounted.stop()?;
        let (results, memory) = (result?, memory?);
        let rates = results.iter().map(|(time, entries)| *entries as f64 / time.as_secs_f64());
        let rate = median(rates) as u64;
        let entries = results.first().map_or(0, |(_, entries)| *entries);
        line(&format!("find, {entries} entries"), &format!("{rate} /s"), "20000 /s", rate >= 20_000, memory);
        // At least a folder and two numbers for each customer.
        anyhow::ensure!(
            entries > 3 * self.customers,
            "find sees {entries} entries of {} customers",
            self.customers
        );
        unmounted(&mount)
    }
}

/// A reader that was asked to end has unmounted.
fn unmounted(mount: &Path) -> Result<()> {
    anyhow::ensure!(!mount.join("sys").exists(), "{} is still mounted", mount.display());
    Ok(())
}

/// An address that nobody listens at.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
