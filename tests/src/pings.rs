//! Pings that go on beside other things, and how long each took.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

use crate::lab::Host;

/// A host that pings another until it is dropped.
#[derive(Debug)]
pub struct Pings {
    process: Child,
    times: Arc<Mutex<Vec<f64>>>,
    thread: Option<JoinHandle<()>>,
}

impl Pings {
    /// Starts `ping` on the host `from`, an echo request each so many seconds, as ping's `-i` takes them.
    pub fn start(from: &Host, to: &Host, interval: &str) -> Result<Pings> {
        let mut process = from
            .namespace
            .command("ping")
            .args(["-n", "-i", interval, &to.address.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run ping")?;
        let output = process.stdout.take().context("ping has no output")?;
        let times = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::clone(&times);
        let thread = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let time: Option<f64> =
                    line.split_once("time=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
                answers.lock().unwrap_or_else(PoisonError::into_inner).extend(time);
            }
        });
        Ok(Pings { process, times, thread: Some(thread) })
    }

    /// How many milliseconds each answer took, in the order in which they came.
    pub fn times(&self) -> Vec<f64> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
