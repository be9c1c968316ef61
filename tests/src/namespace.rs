//! Network namespaces that never outlive their test: dropped, panicked or interrupted, they are deleted with all that
//! runs in them. A process that was killed outright leaves its namespaces to the next one, which sweeps them away.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use weir_stats::Pair;

/// Where `ip netns` keeps the namespaces' names.
const NAMES: &str = "/run/netns";
/// All of a lab's namespaces are called `weir-lab-<process>-<number>-<role>`.
const PREFIX: &str = "weir-lab-";

/// The namespaces of this process that exist now.
static LIVING: Mutex<Vec<String>> = Mutex::new(Vec::new());
static NEXT: AtomicU32 = AtomicU32::new(0);
static WATCH: Once = Once::new();

/// What has gone through a device so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// From the wire.
    pub received: Pair,
    /// To the wire.
    pub sent: Pair,
}

/// A network namespace of its own.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace whose name ends in `role`, with its loopback up and no IPv6: whatever crosses it is the test's.
    pub fn new(role: &str) -> Result<Namespace> {
        WATCH.call_once(|| {
            sweep();
            watch_signals();
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{role}", std::process::id());
        living().push(name.clone());
        let namespace = Namespace { name };
        succeed(Command::new("ip").args(["netns", "add", &namespace.name]))?;
        namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A directory for files of what runs in the namespace; deleted with it.
    pub fn folder(&self) -> Result<PathBuf> {
        let folder = folder(&self.name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Runs `ip` with these words in the namespace, and returns what it prints.
    pub fn ip(&self, words: &str) -> Result<String> {
        succeed(Command::new("ip").args(["-n", &self.name]).args(words.split_whitespace()))
    }

    /// A command that will run in the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// Sets a kernel setting, named by its path below `/proc/sys`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        let file = Path::new("/proc/sys").join(path);
        self.run(|| fs::write(&file, value))?.with_context(|| format!("cannot set {path} to {value}"))
    }

    /// Runs `work` in a thread that has entered the namespace. A socket that it opens stays there, whoever uses it later.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(Path::new(NAMES).join(&self.name))
            .with_context(|| format!("namespace {} is gone", self.name))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok::<T, rustix::io::Errno>(work())
            });
            match inside.join() {
                Ok(outcome) => outcome.with_context(|| format!("cannot enter namespace {}", self.name)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// What a device of this namespace has received and sent, as the kernel counts it; of a veth whole frames, sent when the other end has
    /// received them.
    pub fn traffic(&self, device: &str) -> Result<Traffic> {
        // "self" would be the main thread, which is in another namespace
        let text = self.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        traffic(&text, device).with_context(|| format!("the kernel does not count {device}"))
    }

    /// One of the kernel's IPv6 counters in this namespace, such as `Udp6InCsumErrors`: see /proc/net/snmp6.
    pub fn kernel_counter6(&self, name: &str) -> Result<u64> {
        // "self" would be the main thread, which is in another namespace
        let text = self.run(|| fs::read_to_string("/proc/thread-self/net/snmp6"))??;
        let mut lines = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
        let (_, value) = lines
            .find(|(candidate, _)| *candidate == name)
            .with_context(|| format!("the kernel has no counter {name}"))?;
        value.trim().parse().context("the kernel's counter is no number")
    }

    /// One of the kernel's counters in this namespace, such as `("Udp", "InCsumErrors")`: see /proc/net/snmp.
    pub fn kernel_counter(&self, protocol: &str, name: &str) -> Result<u64> {
        // "self" would be the main thread, which is in another namespace
        let text = self.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let prefix = format!("{protocol}: ");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            bail!("the kernel has no counters of {protocol}");
        };
        names
            .split(' ')
            .zip(values.split(' '))
            .find(|(candidate, _)| *candidate == name)
            .with_context(|| format!("the kernel has no counter {protocol} {name}"))?
            .1
            .parse()
            .context("the kernel's counter is no number")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
        living().retain(|name| *name != self.name);
    }
}

/// The line of a device in /proc/net/dev.
fn traffic(text: &str, device: &str) -> Option<Traffic> {
    let counters = text.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    let counters: Vec<u64> =
        counters.split_whitespace().map(|number| number.parse().ok()).collect::<Option<_>>()?;
    // eight counters of receiving, then those of sending; bytes and packets are the first of both
    let pair = |at: usize| Some(Pair { bytes: *counters.get(at)?, packets: *counters.get(at + 1)? });
    Some(Traffic { received: pair(0)?, sent: pair(8)? })
}

/// Runs a command to its end and returns its standard output; fails with its words and its standard error.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn living() -> MutexGuard<'static, Vec<String>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends what runs in the namespace, then deletes it. Nothing can be done about a failure, so none is reported.
fn remove(name: &str) {
    if let Ok(processes) = succeed(Command::new("ip").args(["netns", "pids", name])) {
        for process in processes.lines().filter_map(|line| line.trim().parse().ok()).filter_map(Pid::from_raw)
        {
            let _ = kill_process(process, Signal::KILL);
        }
    }
    let _ = succeed(Command::new("ip").args(["netns", "delete", name]));
    let _ = fs::remove_dir_all(folder(name));
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

/// Deletes what processes that no longer exist have left.
fn sweep() {
    let Ok(names) = fs::read_dir(NAMES) else { return };
    for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|process| !PathBuf::from("/proc").join(process).exists()) {
            remove(&name);
        }
    }
}

/// On Ctrl-C and its like: deletes every namespace and leaves.
fn watch_signals() {
    // without the watch a test still cleans up at its end
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // the lock stays taken: no new namespace may begin
            let names = living();
            names.iter().for_each(|name| remove(name));
            std::process::exit(128 + signal);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_line_is_found_with_bytes_and_packets_of_both_ways() {
        let text = "Inter-|   Receive        |  Transmit\n face |bytes packets errs\n \
            to-right2: 0 0 0 0 0 0 0 0 0 7 0 0 0 0 0 0\nto-right:12 1 2 3 4 5 6 7 600 42 0 1 0 0 0 0\n";
        let (received, sent) = (Pair { packets: 1, bytes: 12 }, Pair { packets: 42, bytes: 600 });
        assert_eq!(traffic(text, "to-right"), Some(Traffic { received, sent }));
        assert_eq!(traffic(text, "to-left"), None);
    }
}
