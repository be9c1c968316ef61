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

/// What weir is to be, besides a forwarder between the router's two ports.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What its worker does when nothing comes.
    pub idle: Idle,
    /// The cores of its workers.
    pub cores: Vec<CoreId>,
    /// Its ports have sides: the first is the internet's.
    pub sided: bool,
    /// More sections of its config: `[rtt]`, `[bridge]`, `[shaper]`.
    pub sections: String,
}

/// A running weir; killed when dropped.
pub struct Weir {
    process: Child,
    folder: PathBuf,
}

/// Has weir forward between the router's ports while `work` runs, and returns what `work` does.
pub fn forward<T>(
    lab: &Lab,
    program: &Path,
    setup: &Setup,
    work: impl FnOnce(&Weir) -> Result<T>,
) -> Result<T> {
    let weir = Weir::start(lab, program, setup)?;
    match work(&weir) {
        Ok(outcome) => weir.stop().map(|()| outcome),
        Err(error) => Err(error.context(format!("weir said:\n{}", weir.log()))),
    }
}

impl Weir {
    /// Starts weir and waits until it forwards.
    fn start(lab: &Lab, program: &Path, setup: &Setup) -> Result<Weir> {
        let folder = lab.router.folder()?;
        let side = |host: usize| match (setup.sided, host) {
            (false, _) => "",
            (true, 0) => "side = \"wan\"\n",
            (true, _) => "side = \"lan\"\n",
        };
        let ports = lab.hosts.iter().enumerate();
        let ports: String = ports
            .map(|(number, host)| format!("[[port]]\ndevice = \"{}\"\n{}", host.port, side(number)))
            .collect();
        let config = folder.join("weir.toml");
        fs::write(
            &config,
            format!(
                "{ports}[workers]\ncores = {:?}\nidle = \"{}\"\n[stats]\nsocket = \"stats.sock\"\n\
                 [control]\nsocket = \"control.sock\"\n{}",
                setup.cores.iter().map(|core| core.id).collect::<Vec<_>>(),
                setup.idle,
                setup.sections
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
    pub fn counters(&self) -> Result<Counters> {
        Counters::connect(&self.folder.join("stats.sock"))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
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
