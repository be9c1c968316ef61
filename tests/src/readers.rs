//! `weirstat` in its many forms, run on a live weir as its users run it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::appliance::Weir;
use crate::programs::program;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that ends with the test, and may take away first what it has made.
#[derive(Debug)]
pub struct Guest(pub Child);

impl Guest {
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.0.id())?).context("a process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        Ok(self.0.wait()?)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // One that has been waited for is not asked again.
        if matches!(self.0.try_wait(), Ok(None)) {
            // One that is stopped would not hear.
            let _ = self.signal(Signal::CONT);
            let _ = self.stop();
        }
    }
}

/// weirstat on this weir's segment, with these words.
pub fn weirstat(weir: &Weir, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("weirstat")?);
    command.arg("--socket").arg(weir.folder().join("stats.sock")).args(words).stdin(Stdio::null());
    Ok(command)
}

/// What it prints. That it complains is an error.
pub fn output(weir: &Weir, words: &[&str]) -> Result<String> {
    let output = weirstat(weir, words)?.output()?;
    let (text, complaint) =
        (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    ensure!(output.status.success() && complaint.is_empty(), "weirstat {words:?}: {complaint}");
    Ok(text)
}

/// Lines, each an object of JSON.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Mounts the segment below weir's folder, and checks that it is gone at the end.
pub fn mounted(weir: &Weir, look: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mount = weir.folder().join("mount");
    std::fs::create_dir_all(&mount)?;
    let path = mount.to_str().context("UTF-8")?;
    let mut guest = Guest(weirstat(weir, &["fs", path])?.spawn()?);
    until(|| mount.join("sys").exists(), "the mount")?;
    let outcome = look(&mount);
    let status = guest.stop()?;
    outcome?;
    ensure!(status.success() && !mount.join("sys").exists(), "it unmounts when it is asked to end");
    Ok(())
}

/// Waits until it is so.
pub fn until(is_so: impl Fn() -> bool, what: &str) -> Result<()> {
    let started = Instant::now();
    while !is_so() {
        ensure!(started.elapsed() < PATIENCE, "{what} takes longer than {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// `weirstat prometheus` on a free port.
pub fn exporter(weir: &Weir, options: &[&str]) -> Result<(Guest, SocketAddr)> {
    let mut process = weirstat(weir, &["prometheus", "--listen", "127.0.0.1:0", "--min-interval", "0"])?
        .args(options)
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = process.stderr.take().context("no stderr")?;
    let process = Guest(process);
    let mut lines = BufReader::new(stderr).lines();
    let line = lines.next().context("it says nothing")??;
    // It must be able to go on saying things.
    thread::spawn(move || lines.for_each(drop));
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    Ok((process, address.with_context(|| line.clone())?.parse()?))
}

/// The metrics, in the classic format.
pub fn scrape(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Ok(body.to_owned())
}
