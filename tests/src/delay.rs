//! A delay line: a wire that takes its time, both ways. The kernel's own (netem) is not everywhere.
//!
//! ```text
//!   router                        the line's namespace                   the host, moved
//!   to-right ──────────────── wire ──▶ held for so long ──▶ rest ──────── wire  10.0.2.2
//! ```
//! Whole frames are taken from one end and sent at the other, in order, each when its time has come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::lab::{Host, WIRE};
use crate::namespace::{Namespace, succeed};
use crate::wire::Wire;

/// The line's device towards the host.
const REST: &str = "rest";
/// How long the line waits for a frame before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A line that delays. It ends when it is dropped.
#[derive(Debug)]
pub struct DelayLine {
    ends: Arc<AtomicBool>,
    /// Nanoseconds that a frame is held.
    delay: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
    /// Where it is; the host's namespace before. The device towards the router is [`WIRE`].
    pub namespace: Namespace,
}

impl DelayLine {
    /// Moves a host to the far end of a new line that holds each frame for `delay`.
    pub fn insert(host: &mut Host, delay: Duration) -> Result<DelayLine> {
        let far = Namespace::new("far")?;
        let line = &host.namespace;
        line.ip(&format!("address flush dev {WIRE}"))?;
        line.ip(&format!("link add {REST} type veth peer name {WIRE} netns {}", far.name()))?;
        for (namespace, device) in [(line, REST), (&far, WIRE)] {
            // as in the lab: checksums belong into the bytes
            succeed(
                namespace
                    .command("ethtool")
                    .args(["-K", device, "tx", "off", "rxvlan", "off", "txvlan", "off"]),
            )?;
        }
        let [a, b, c, d, e, f] = host.mac;
        far.ip(&format!("link set {WIRE} address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))?;
        far.ip(&format!("address add {}/24 dev {WIRE}", host.address))?;
        line.ip(&format!("link set {REST} up"))?;
        far.ip(&format!("link set {WIRE} up"))?;
        far.ip(&format!("route add default via {}", host.gateway))?;
        let ends = Arc::new(AtomicBool::new(false));
        let held = Arc::new(AtomicU64::new(nanoseconds(delay)));
        let mut threads = Vec::new();
        for (from, to) in [(WIRE, REST), (REST, WIRE)] {
            let (from, to) = (Wire::open(line, from)?, Wire::open(line, to)?);
            let (ends, held) = (Arc::clone(&ends), Arc::clone(&held));
            threads.push(
                thread::Builder::new().name("delay".into()).spawn(move || carry(&from, &to, &held, &ends))?,
            );
        }
        let namespace = std::mem::replace(&mut host.namespace, far);
        Ok(DelayLine { ends, delay: held, threads, namespace })
    }

    /// Holds each frame for so long from now on.
    pub fn hold(&self, delay: Duration) {
        self.delay.store(nanoseconds(delay), Ordering::Relaxed);
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("the delay line ended: {error:#}"),
                Err(_) => eprintln!("the delay line panicked"),
            }
        }
    }
}

fn nanoseconds(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)
}

fn carry(from: &Wire, to: &Wire, delay: &AtomicU64, ends: &AtomicBool) -> Result<()> {
    // Wake-ups within a microsecond instead of the usual fifty.
    rustix::thread::set_current_timer_slack(Some(std::num::NonZeroU64::MIN)).context("timer slack")?;
    let mut held: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    while !ends.load(Ordering::Relaxed) {
        let now = Instant::now();
        while let Some((_, frame)) = held.pop_front_if(|(due, _)| *due <= now) {
            to.send(&frame)?;
        }
        let patience = held.front().map_or(LOOK, |(due, _)| due.saturating_duration_since(Instant::now()));
        if let Some(frame) = from.receive(patience.min(LOOK), |_| true)? {
            let delay = Duration::from_nanos(delay.load(Ordering::Relaxed));
            held.push_back((Instant::now() + delay, frame));
        }
    }
    Ok(())
}
