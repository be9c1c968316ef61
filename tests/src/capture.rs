//! What passes a device, as Wireshark sees it: an observer with clocks of the kernel's and rules that we did not write.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::{Namespace, succeed};

/// A capture that is running. It ends when it is dropped.
#[derive(Debug)]
pub struct Capture {
    process: Child,
    file: PathBuf,
}

/// Why nothing can be captured here, if so.
pub fn missing() -> Option<String> {
    let found = Command::new("tshark").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.err().map(|error| format!("tshark: {error} (`cargo xtask setup` installs it)"))
}

impl Capture {
    /// Begins to capture what passes a device, and waits until it does.
    pub fn start(namespace: &Namespace, device: &str) -> Result<Capture> {
        let file = namespace.folder()?.join("capture.pcapng");
        let mut process = namespace
            .command("tshark")
            .args(["-n", "-i", device, "-s", "128", "-w"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("tshark")?;
        let said = BufReader::new(process.stderr.take().context("its messages")?);
        let mut lines = said.lines();
        let begun = lines.by_ref().any(|line| line.is_ok_and(|line| line.contains("Capture started")));
        // The rest is nobody's business, but the pipe must not fill.
        thread::spawn(move || lines.for_each(drop));
        let capture = Capture { process, file };
        ensure!(begun, "tshark ended before it captured");
        Ok(capture)
    }

    /// Ends it, and returns the file, which is the namespace's.
    pub fn finish(mut self) -> Result<PathBuf> {
        // What has passed lately may be on its way from the kernel to the file.
        thread::sleep(Duration::from_millis(500));
        self.end();
        Ok(self.file.clone())
    }

    /// Ends it. The times from data to their acknowledgements, in microseconds, where the acknowledgement comes from `source`
    /// and the one that was answered was no retransmission.
    pub fn round_trips(self, source: std::net::IpAddr) -> Result<Vec<f64>> {
        let file = self.finish()?;
        let version = if source.is_ipv6() { "ipv6" } else { "ip" };
        let filter = format!("tcp.analysis.ack_rtt && {version}.src == {source} && tcp.flags.syn == 0");
        let read = ["-n", "-Y", &filter, "-T", "fields", "-e", "tcp.analysis.ack_rtt", "-r"];
        let text = succeed(Command::new("tshark").args(read).arg(file))?;
        let seconds = text.lines().map(|line| line.parse::<f64>().with_context(|| line.to_owned()));
        seconds.map(|seconds| Ok(seconds? * 1e6)).collect()
    }

    fn end(&mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = self.process.wait();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.end();
        }
    }
}
