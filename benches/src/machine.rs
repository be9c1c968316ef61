//! The machine that a benchmark runs on: its cores, and what keeps them busy.

use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::{Context as _, Result};
use core_affinity::CoreId;
use serde::Serialize;

/// Ticks a second of the times in /proc: USER_HZ, 100 on every architecture that weir knows (proc(5)).
const TICKS: f64 = 100.0;

/// All cores that this process may use.
pub fn all_cores() -> Vec<CoreId> {
    core_affinity::get_core_ids().unwrap_or_default()
}

/// The first and the last core that this process may use.
pub fn cores() -> Result<(CoreId, CoreId)> {
    let cores = all_cores();
    match (cores.first(), cores.last()) {
        (Some(first), Some(last)) if first != last => Ok((*first, *last)),
        _ => anyhow::bail!("two cores are needed: one for the packets' source, one for the forwarder"),
    }
}

/// Says so when others use the machine: both cores are needed whole.
pub fn warn_if_busy() {
    /// Runnable threads in the last minute, on average, that an idle machine stays below.
    const IDLE: f64 = 0.3;
    let load = Description::read().load;
    if load > IDLE {
        eprintln!("the machine is busy (load {load}): what is measured now says little");
    }
}

/// What it is and how busy.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// The processor's name.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The kernel's version: its first two numbers.
    pub kernel: String,
    /// Runnable threads in the last minute, on average.
    pub load: f64,
}

impl Description {
    /// As it is now; what the kernel does not tell is empty.
    pub fn read() -> Description {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let processors = text("/proc/cpuinfo");
        let name = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = text("/proc/loadavg");
        let release = text("/proc/sys/kernel/osrelease");
        Description {
            processor: name.map_or("unknown processor", |(_, name)| name).to_owned(),
            cores: all_cores().len(),
            kernel: release.split('.').take(2).collect::<Vec<_>>().join("."),
            load: load.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0),
        }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores of {}, Linux {}", self.cores, self.processor, self.kernel)
    }
}

/// Times of all processors together, at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    at: Instant,
    count: usize,
    /// When they had nothing to do, were taken by a hypervisor, or did what others have asked to be done with what is left (`nice`).
    spare: Duration,
}

impl Processors {
    /// As they are now.
    pub fn now() -> Result<Processors> {
        let text = fs::read_to_string("/proc/stat")?;
        let at = Instant::now();
        processors(&text, at).context("/proc/stat does not say what the processors did")
    }

    /// Seconds of processor time a second since `before`, of all that ran, the kernel's interrupts too.
    pub fn busy_since(&self, before: &Processors) -> f64 {
        let seconds = self.at.duration_since(before.at).as_secs_f64().max(1e-3);
        let spare = self.spare.saturating_sub(before.spare).as_secs_f64();
        (self.count as f64 - spare / seconds).max(0.0)
    }
}

/// From the text of /proc/stat.
fn processors(text: &str, at: Instant) -> Option<Processors> {
    let sum = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<f64> = sum.split_whitespace().map(|time| time.parse().ok()).collect::<Option<_>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    let spare = times.get(1)? + times.get(3)? + times.get(4)? + times.get(7)?;
    let count = text.lines().filter(|line| line.starts_with("cpu")).count() - 1;
    Some(Processors { at, count, spare: Duration::from_secs_f64(spare / TICKS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_stolen_nor_nice() {
        let (then, now) = (Instant::now(), Instant::now() + Duration::from_secs(10));
        let before = processors("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0\ncpu1 0\nintr 1\n", then).expect("times");
        let after = processors("cpu  500 100 200 900 100 50 50 100 0 0\ncpu0 0\ncpu1 0\nintr 1\n", now)
            .expect("times");
        // of 20 s there are 8 left
        assert!((after.busy_since(&before) - 0.8).abs() < 1e-3);
        assert!(processors("intr 1\n", now).is_none());
    }
}
