//! weir itself, run as its users run it: `weir run --config weir.toml` in the router's namespace.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::counters::Counters;
use crate::lab::Lab;
use crate::plans::{self, Customer};
use crate::programs::{processor_time, program};

/// How long weir may take to be ready, or to leave: many times what a debug build needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is waited for.
const INTERVAL: Duration = Duration::from_millis(5);

/// A running weir.
#[derive(Debug)]
pub struct Weir {
    process: Child,
    folder: PathBuf,
    /// The segment, mapped: it can still be read after weir is gone.
    counters: Counters,
}

impl Weir {
    /// Starts weir on all of the router's ports with `workers` workers, and waits until it forwards.
    pub fn start(lab: &Lab, workers: usize) -> Result<Weir> {
        Weir::start_with(lab, workers, "")
    }

    /// The same, with more in its config.
    pub fn with_sections(lab: &Lab, workers: usize, sections: &str) -> Result<Weir> {
        Weir::start_with(lab, workers, sections)
    }

    /// The same, measuring round-trip times as often as there are any, with these lines in the file of customers.
    pub fn measuring(lab: &Lab, workers: usize, customers: &str) -> Result<Weir> {
        fs::write(lab.router.folder()?.join("customers.txt"), customers)?;
        Weir::start_with(lab, workers, "[rtt]\ninterval = \"0\"\nprefixes = \"customers.txt\"\n")
    }

    /// Starts weir as a bridge of the two ports of a [`Lab::bridged`], measuring round-trip times; the hosts are its customers.
    pub fn bridging(lab: &Lab, workers: usize) -> Result<Weir> {
        let (left, right) = (lab.left(), lab.right());
        let customers = format!("{} left\n{} right\n", left.address, right.address);
        fs::write(lab.router.folder()?.join("customers.txt"), customers)?;
        let more = format!(
            "[rtt]\ninterval = \"0\"\nprefixes = \"customers.txt\"\n[bridge]\nports = [\"{}\", \"{}\"]\n",
            left.port, right.port
        );
        Weir::start_with(lab, workers, &more)
    }

    /// Starts weir as a bridge of the two ports of a [`Lab::bridged`], the left host's towards the internet, measuring, and shaping these customers: lines of
    /// `ShapedDevices.csv`.
    pub fn shaping_bridge(lab: &Lab, customers: &str) -> Result<Weir> {
        let (left, right) = (lab.left(), lab.right());
        plans::write_with(&lab.router.folder()?, "{}", &[], customers)?;
        let sections = format!(
            "[rtt]\ninterval = \"0\"\n[shaper]\ntree = \"network.json\"\ncircuits = \"ShapedDevices.csv\"\n\
             [bridge]\nports = [\"{}\", \"{}\"]\n",
            left.port, right.port
        );
        let side = |host: usize| if host == 0 { "side = \"wan\"\n" } else { "side = \"lan\"\n" };
        Weir::start_sided(lab, 1, side, &sections)
    }

    /// Starts weir as a bridge of two VLANs of the router's only port.
    pub fn one_armed(lab: &Lab, wan: u16, lan: u16) -> Result<Weir> {
        let port = &lab.left().port;
        let more = format!("[bridge]\nport = \"{port}\"\nwan-vlan = {wan}\nlan-vlan = {lan}\n");
        Weir::start_with(lab, 1, &more)
    }

    /// The same, shaping: the first host is the internet, the others are customers with these plans. `more` goes into `[shaper]`.
    pub fn shaping(
        lab: &Lab,
        workers: usize,
        network: &str,
        customers: &[Customer<'_>],
        more: &str,
    ) -> Result<Weir> {
        plans::write(&lab.router.folder()?, network, customers)?;
        let sections = format!(
            "[rtt]\ninterval = \"0\"\n[shaper]\ntree = \"network.json\"\ncircuits = \"ShapedDevices.csv\"\n{more}"
        );
        let side = |host: usize| if host == 0 { "side = \"wan\"\n" } else { "side = \"lan\"\n" };
        Weir::start_sided(lab, workers, side, &sections)
    }

    fn start_with(lab: &Lab, workers: usize, more: &str) -> Result<Weir> {
        Weir::start_sided(lab, workers, |_| "", more)
    }

    /// `side` is what stands in the port of each host besides its device.
    fn start_sided(
        lab: &Lab,
        workers: usize,
        side: impl Fn(usize) -> &'static str,
        more: &str,
    ) -> Result<Weir> {
        let folder = lab.router.folder()?;
        let cores = thread::available_parallelism()?.get();
        // the last cores first, as weir itself chooses
        let cores: Vec<usize> =
            (0..workers).map(|worker| (cores - 1).saturating_sub(worker % cores)).collect();
        let mut config = String::new();
        for (number, host) in lab.hosts.iter().enumerate() {
            config += &format!("[[port]]\ndevice = \"{}\"\n{}\n", host.port, side(number));
        }
        config += &format!(
            "[workers]\ncores = {cores:?}\n\n[stats]\nsocket = \"stats.sock\"\n\n[control]\nsocket = \"control.sock\"\n{more}"
        );
        let file = folder.join("weir.toml");
        fs::write(&file, config)?;

        // an earlier weir's, in the same lab; its other sockets are weir's own business
        let _ = fs::remove_file(folder.join("ready.sock"));
        let ready = UnixDatagram::bind(folder.join("ready.sock"))?;
        ready.set_read_timeout(Some(Duration::from_millis(50)))?;
        let log = File::create(folder.join("weir.log"))?;
        let mut process = lab
            .router
            .command(program("weir")?)
            .args(["run", "--config"])
            .arg(&file)
            .env("NOTIFY_SOCKET", folder.join("ready.sock"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let started = Instant::now();
        let mut message = [0; 4096];
        loop {
            if let Ok(length) = ready.recv(&mut message)
                && String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1")
            {
                break;
            }
            let said = || fs::read_to_string(folder.join("weir.log")).unwrap_or_default();
            if let Some(status) = process.try_wait()? {
                bail!("weir left at once ({status}):\n{}", said());
            }
            if started.elapsed() > PATIENCE {
                let _ = process.kill();
                let _ = process.wait();
                bail!("weir was not ready within {PATIENCE:?}:\n{}", said());
            }
        }
        let counters = Counters::connect(&folder.join("stats.sock"));
        match counters {
            Ok(counters) => Ok(Weir { process, folder, counters }),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(error)
            }
        }
    }

    /// Processor time that weir has taken so far, all of its threads.
    pub fn processor_time(&self) -> Result<Duration> {
        processor_time(self.process.id())
    }

    /// What weir has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where weir's sockets, its config and its log are.
    pub fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// `weir reload`; what it says is the error if it is refused.
    pub fn reload(&self) -> Result<()> {
        let output = Command::new(program("weir")?)
            .args(["reload", "--socket"])
            .arg(self.folder.join("control.sock"))
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Asks weir to drain and leave, and checks that it does so without complaint.
    pub fn stop(mut self) -> Result<()> {
        let status = self.end(Signal::TERM)?;
        ensure!(status.success(), "weir ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// Kills weir, as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        self.end(Signal::KILL)?;
        Ok(())
    }

    /// What weir has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("weir.log")).unwrap_or_default()
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        let process =
            i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).context("weir has no process")?;
        kill_process(process, signal)?;
        self.ended()
    }

    /// Waits until weir has ended, by itself or because it was asked to.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < PATIENCE, "weir has not left within {PATIENCE:?}:\n{}", self.log());
            thread::sleep(INTERVAL);
        }
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("weir said:\n{}", self.log());
        }
    }
}
