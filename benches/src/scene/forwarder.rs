//! What may stand between the hosts.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use weir::config::Idle;
use weir_tests::lab::Lab;
use weir_tests::plans::{self, Customer};

use crate::appliance::{self, Setup};
use crate::scene::{Kind, Scene, bare};

/// The part of what has arrived that must have gone by the forwarder that is measured. The rest is what one counter has seen and the other
/// has not when a forwarder comes and goes.
const SHARE: f64 = 0.99;

/// The part of what weir has sent that its shaper must say it has shaped: it tells that by a sweep now and then.
const SHAPED: f64 = 0.9;

/// Who forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarder {
    /// A loop that receives and sends and does nothing else, over weir's AF_XDP ports.
    Bare,
    /// The kernel.
    Kernel,
    /// weir.
    Weir {
        /// What its workers do when nothing comes.
        idle: Idle,
        /// Beside forwarding.
        duty: Duty,
        /// How many.
        workers: usize,
    },
}

/// What weir does beside forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing.
    Forwards,
    /// Measures round-trip times, and counts by customer: both hosts are some.
    Measures,
    /// Holds the right host to a plan, below a tower, both of which are never reached.
    Shapes,
    /// Holds it to a plan, and measures round-trip times.
    MeasuresAndShapes,
}

impl Duty {
    fn shapes(self) -> bool {
        matches!(self, Duty::Shapes | Duty::MeasuresAndShapes)
    }
}

/// More than any veth carries, and the most that a plan may say: Mbit/s.
const NEVER_REACHED: f64 = 100_000.0;

impl Scene {
    /// Has `forwarder` forward while `work` runs, and makes sure that it was this one: `work` returns how many packets have arrived in all beside whatever else it finds.
    pub fn forward<T>(
        &self,
        forwarder: Forwarder,
        weir: &Path,
        work: impl FnOnce() -> Result<(T, u64)>,
    ) -> Result<T> {
        let (outcome, arrived, sent) = match forwarder {
            Forwarder::Bare => {
                let ((outcome, arrived), sent) = bare::forward(self, work)?;
                (outcome, arrived, sent)
            }
            Forwarder::Kernel => {
                let (outcome, arrived) = work()?;
                (outcome, arrived, arrived)
            }
            Forwarder::Weir { idle, duty, workers } => {
                let setup = Setup {
                    idle,
                    cores: self.forwarders.iter().copied().take(workers).collect(),
                    sided: true,
                    sections: sections(&self.lab, self.kind, duty)?,
                };
                appliance::forward(&self.lab, weir, &setup, |weir| {
                    let counters = weir.counters()?;
                    let (outcome, arrived) = work()?;
                    let sent = counters.balance()?.sent;
                    if duty.shapes() {
                        let shaped = counters.columns("/shaper/customers/down/sent")?;
                        let shaped: u64 = shaped.iter().map(|customer| customer.packets).sum();
                        ensure!(
                            shaped as f64 >= SHAPED * sent as f64,
                            "{shaped} of {sent} packets were shaped"
                        );
                    }
                    Ok((outcome, arrived, sent))
                })?
            }
        };
        ensure!(arrived > 0, "{forwarder} has forwarded nothing");
        let share = sent as f64 / arrived as f64;
        ensure!(
            (SHARE..=1.0 / SHARE).contains(&share),
            "{forwarder} says that it has sent {sent} packets, but {arrived} have arrived"
        );
        Ok(outcome)
    }
}

impl fmt::Display for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Forwarder::Bare => f.write_str("bare loop"),
            Forwarder::Kernel => f.write_str("kernel"),
            Forwarder::Weir { idle, duty, workers } => {
                f.write_str("weir")?;
                f.write_str(match duty {
                    Duty::Forwards => "",
                    Duty::Measures => " + RTT",
                    Duty::Shapes => " + shaper",
                    Duty::MeasuresAndShapes => " + RTT + shaper",
                })?;
                if *workers > 1 {
                    write!(f, ", {workers} workers")?;
                }
                if *idle == Idle::Adaptive { write!(f, ", adaptive") } else { Ok(()) }
            }
        }
    }
}

/// The sections of weir's config, and the files that they name.
pub fn sections(lab: &Lab, kind: Kind, duty: Duty) -> Result<String> {
    let (left, right, folder) = (lab.left(), lab.right(), lab.router.folder()?);
    let mut sections = match kind {
        Kind::Route => String::new(),
        Kind::Bridge => format!("[bridge]\nports = [\"{}\", \"{}\"]\n", left.port, right.port),
    };
    match duty {
        Duty::Forwards | Duty::Shapes => {}
        Duty::Measures => {
            let customers = format!("{} left\n{} right\n", left.address, right.address);
            fs::write(folder.join("customers.txt"), customers)?;
            sections += "[rtt]\nprefixes = \"customers.txt\"\n";
        }
        // The shaper's customers are measured.
        Duty::MeasuresAndShapes => sections += "[rtt]\n",
    }
    if duty.shapes() {
        let (min, max) = ([1.0; 2], [NEVER_REACHED; 2]);
        let tower = format!(
            r#"{{"tower":{{"downloadBandwidthMbps":{NEVER_REACHED},"uploadBandwidthMbps":{NEVER_REACHED},"type":"ap"}}}}"#
        );
        plans::write(&folder, &tower, &[Customer { host: right, id: "right", node: "tower", min, max }])?;
        sections += "[shaper]\ntree = \"network.json\"\ncircuits = \"ShapedDevices.csv\"\n";
    }
    Ok(sections)
}
