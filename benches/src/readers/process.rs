//! A reader that is watched from outside: its time, its processor time, the most memory that it had.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// `weirstat`, as it was built beside this program.
pub fn weirstat() -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("weirstat");
    ensure!(
        beside.exists(),
        "{} is not there: run `cargo build --release -p weirstat -p weir-benches` first",
        beside.display()
    );
    Ok(beside)
}

/// What a program took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// From its start to its end.
    pub time: Duration,
    /// The most resident memory that it had, in bytes.
    pub memory: u64,
    /// What it has written.
    pub bytes: u64,
}

/// Runs a program to its end, and reads what it writes without looking at it.
pub fn run(command: &mut Command) -> Result<Cost> {
    let started = Instant::now();
    let mut child = Running(command.stdout(Stdio::piped()).spawn().context("it does not start")?);
    let mut output = child.0.stdout.take().context("it has no output")?;
    let (mut memory, mut bytes) = (0, 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        // Between two pieces of output: the last look is a moment before its end.
        memory = memory.max(child.memory().unwrap_or(0));
        let read = output.read(&mut buffer)?;
        bytes += read as u64;
        if read == 0 {
            break;
        }
    }
    let status = child.0.wait()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(Cost { time: started.elapsed(), memory, bytes })
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// The most resident memory that it has had, in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("it is gone")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes << 10)
    }

    /// The processor time that it has taken.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // utime and stime are fields 14 and 15; the second one, in brackets, may contain anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks =
            |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64((ticks(14) + ticks(15)) as f64 / per_second as f64))
    }

    /// Asks it to end.
    pub fn stop(&mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.0.id())?).context("it has a number")?;
        kill_process(pid, Signal::TERM)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One HTTP request, answered: the time and the body's length.
pub fn get(address: SocketAddr, path: &str) -> Result<(Duration, usize)> {
    let started = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let time = started.elapsed();
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "it answers {}", head.lines().next().unwrap_or_default());
    Ok((time, body.len()))
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > Duration::from_secs(20) {
            bail!("{what} takes longer than 20 s");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Every entry below a folder, as `find` lists it.
pub fn find(folder: &Path) -> Result<(Duration, usize)> {
    let started = Instant::now();
    let output = Command::new("find").arg(folder).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "find ended with {}", output.status);
    Ok((started.elapsed(), output.stdout.iter().filter(|octet| **octet == b'\n').count()))
}
