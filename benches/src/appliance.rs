//! weir itself: `weir run` of the release build, in the router's namespace.

use std::env;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use core_affinity::CoreId;
use rustix::process::{Pid, Signal, kill_process};
use weir::config::Idle;
use weir_tests::counters::Counters;
use weir_tests::lab::Lab;
use weir_tests::namespace::succeed;

/// How long weir may take to be ready, or to leave.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is waited for.
const INTERVAL: Duration = Duration::from_millis(20);

/// Has cargo bring the release build up to date, beside this program, and returns its path: a bench must not measure an old weir.
pub fn build() -> Result<PathBuf> {
    let this = env::current_exe()?;
    let target = this.ancestors().nth(2).context("cannot tell where cargo builds")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // from the workspace's folder, so that cargo finds the workspace's settings
    succeed(
        Command::new(cargo)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args(["build", "--release", "--package", "weir", "--bin", "weir", "--target-dir"])
            .arg(target),
    )
    .context("weir does not build; --weir names a program that is built already")?;
    Ok(target.join("release/weir"))
}

/// What weir does beside forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing.
    Forwards,
    /// Measures round-trip times, and counts by customer: both hosts are some.
    Measures,
}

/// Has weir forward between the router's ports, with one worker on `core`, while `work` runs. Returns what `work` does, and how
/// many packets weir has sent.
pub fn forward<T>(
    lab: &Lab,
    program: &Path,
    core: CoreId,
    (idle, duty): (Idle, Duty),
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, u64)> {
    let weir = Weir::start(lab, program, core, (idle, duty))?;
    let outcome = weir.counters().and_then(|counters| Ok((work()?, counters.balance()?.sent)));
    match outcome {
        Ok(outcome) => weir.stop().map(|()| outcome),
        Err(error) => Err(error.context(format!("weir said:\n{}", weir.log()))),
    }
}

/// A running weir; killed when dropped.
struct Weir {
    process: Child,
    folder: PathBuf,
}

impl Weir {
    /// Starts weir and waits until it forwards.
    fn start(lab: &Lab, program: &Path, core: CoreId, (idle, duty): (Idle, Duty)) -> Result<Weir> {
        let folder = lab.router.folder()?;
        let measures = match duty {
            Duty::Forwards => "",
            Duty::Measures => {
                fs::write(folder.join("customers.txt"), "10.0.1.0/24 left\n10.0.2.0/24 right\n")?;
                "[rtt]\nprefixes = \"customers.txt\"\n"
            }
        };
        let ports: String =
            lab.hosts.iter().map(|host| format!("[[port]]\ndevice = \"{}\"\n", host.port)).collect();
        let config = folder.join("weir.toml");
        fs::write(
            &config,
            format!(
                "{ports}[workers]\ncores = [{}]\nidle = \"{idle}\"\n[stats]\nsocket = \"stats.sock\"\n\
                 [control]\nsocket = \"control.sock\"\n{measures}",
                core.id
            ),
        )?;
        // that of the weir before
        let _ = fs::remove_file(folder.join("ready.sock"));
        let ready = UnixDatagram::bind(folder.join("ready.sock"))?;
        ready.set_read_timeout(Some(INTERVAL))?;
        let process = lab
            .router
            .command(program)
            .args(["run", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", folder.join("ready.sock"))
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("weir.log"))?)
            .spawn()?;
        let mut weir = Weir { process, folder };
        let (begun, mut message) = (Instant::now(), [0; 4096]);
        loop {
            if let Ok(length) = ready.recv(&mut message)
                && String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1")
            {
                return Ok(weir);
            }
            if let Some(status) = weir.process.try_wait()? {
                bail!("weir left at once ({status}):\n{}", weir.log());
            }
            ensure!(begun.elapsed() < PATIENCE, "weir was not ready within {PATIENCE:?}:\n{}", weir.log());
        }
    }

    /// What weir counts.
    fn counters(&self) -> Result<Counters> {
        Counters::connect(&self.folder.join("stats.sock"))
    }

    /// What weir has said so far.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("weir.log")).unwrap_or_default()
    }

    /// Asks weir to drain and leave.
    fn stop(mut self) -> Result<()> {
        let id =
            i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).context("weir has no process")?;
        kill_process(id, Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "weir ended with {status}:\n{}", self.log());
                return Ok(());
            }
            thread::sleep(INTERVAL);
        }
        bail!("weir has not left within {PATIENCE:?}:\n{}", self.log());
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // it may have left already
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
