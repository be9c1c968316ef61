//! What a run has found, for people and programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use weir_benches::machine::Description;

use crate::trials::Found;

/// A run.
#[derive(Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Description,
    /// Of a trial.
    pub trial_seconds: f64,
    /// All of it.
    pub seconds: f64,
    /// The load that others and it have made, at its beginning and its end.
    pub load: [f64; 2],
    /// What was not measured, and why.
    pub skipped: Vec<String>,
    /// By sizes.
    pub sizes: Vec<SizeReport>,
}

/// Frames of one size.
#[derive(Serialize)]
pub struct SizeReport {
    /// Bytes with the check sequence, or IMIX.
    pub size: String,
    /// On average.
    pub mean_bytes: f64,
    /// UDP or TCP.
    pub transport: &'static str,
    /// By forwarders.
    pub found: Vec<Found>,
}

impl Report {
    /// Before the first trial.
    pub fn new(trial: Duration) -> Report {
        let machine = Description::read();
        Report {
            load: [machine.load; 2],
            machine,
            trial_seconds: trial.as_secs_f64(),
            seconds: 0.0,
            skipped: Vec::new(),
            sizes: Vec::new(),
        }
    }

    /// After the last.
    pub fn finish(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
        self.load[1] = Description::read().load;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "From veth to veth, {}, {:.0} s; load {:.1} at the beginning, {:.1} at the end",
            self.machine, self.seconds, self.load[0], self.load[1]
        )?;
        self.sizes.iter().try_for_each(|size| write!(f, "{size}"))?;
        self.skipped.iter().try_for_each(|reason| writeln!(f, "{reason}"))
    }
}

impl fmt::Display for SizeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} bytes, {}", self.size, self.transport)?;
        writeln!(
            f,
            "    {:<28} {:>8} {:>8} {:>9} {:>9} {:>9} {:>8} {:>18} {:>18}",
            "Mpps",
            "overload",
            "to bare",
            "to kernel",
            "0 % lost",
            "0.5 %",
            "burst",
            "50 %: p50 p99 µs",
            "90 %: p50 p99 µs"
        )?;
        for found in &self.found {
            let mpps = |rate: f64| format!("{:.3}", rate / 1e6);
            let part =
                |part: Option<f64>| part.map_or("–".to_owned(), |part| format!("{:.0} %", part * 100.0));
            let [half, most] = found
                .latency
                .map(|latency| format!("{:.0} {:.0}", latency.p50 as f64 / 1e3, latency.p99 as f64 / 1e3));
            writeln!(
                f,
                "    {:<28} {:>8} {:>8} {:>9} {:>9} {:>9} {:>8} {half:>18} {most:>18}",
                found.forwarder,
                mpps(found.overload),
                part(found.overload_to_bare),
                part(found.overload_to_kernel),
                mpps(found.throughput_0),
                mpps(found.throughput_05),
                found.burst,
            )?;
        }
        Ok(())
    }
}
