//! `weirstat prometheus` as its users run it, and HTTP requests to it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The accept header of a Prometheus 2.42.
pub const OPENMETRICS: &str =
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// That of a program that knows nothing newer.
pub const CLASSIC: &str = "text/plain";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running exporter.
pub struct Exporter {
    process: Child,
    pub address: SocketAddr,
    /// What it has said on stderr.
    log: Arc<Mutex<String>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Exporter {
    /// Starts it on a free port.
    pub fn start(socket: &Path, options: &[&str]) -> Exporter {
        let mut process = command(socket, options)
            .args(["--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("it said {line:?}")).parse().unwrap();
        let log = Arc::new(Mutex::new(line));
        let said = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *said.lock().unwrap() += &(line + "\n");
            }
        });
        Exporter { process, address, log }
    }

    /// The metrics in this format.
    pub fn metrics(&self, accept: &str) -> String {
        let answer = self.get("/metrics", accept);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// The answer to a GET.
    pub fn get(&self, path: &str, accept: &str) -> Answer {
        self.ask("GET", path, accept)
    }

    /// The answer to a request.
    pub fn ask(&self, method: &str, path: &str, accept: &str) -> Answer {
        request(self.address, method, path, accept).unwrap()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has said something.
    pub fn says(&self, text: &str) {
        let begun = Instant::now();
        while !self.log().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "it never says {text:?}:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The most memory that was ever resident, in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Signals it, and waits for its end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not stop: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The exporter's command line.
pub fn command(socket: &Path, options: &[&str]) -> Command {
    let mut command = weirstat(socket, ["prometheus"]);
    command.args(options);
    command
}

/// weirstat over this socket.
pub fn weirstat(socket: &Path, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weirstat"));
    command.arg("--socket").arg(socket).args(words).stdin(Stdio::null());
    command
}

/// One HTTP request on a connection of its own.
pub fn request(address: SocketAddr, method: &str, path: &str, accept: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: weir\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// The value of the one sample that begins with `series` and a blank.
pub fn sample<'t>(text: &'t str, series: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
}
