//! What weir-bench-rfc2544 has found, as far as tables and plots need it.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub struct Run {
    pub machine: Machine,
    pub trial_seconds: f64,
    pub seconds: f64,
    /// Before and after.
    pub load: [f64; 2],
    pub skipped: Vec<String>,
    pub sizes: Vec<Size>,
}

#[derive(Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
}

#[derive(Deserialize)]
pub struct Size {
    pub size: String,
    pub transport: String,
    pub found: Vec<Found>,
}

/// Rates are packets a second.
#[derive(Deserialize)]
pub struct Found {
    pub forwarder: String,
    pub overload: f64,
    pub overload_to_bare: Option<f64>,
    pub overload_to_kernel: Option<f64>,
    pub throughput_0: f64,
    pub throughput_05: f64,
    pub latency: [Latency; 2],
    pub burst: u64,
}

/// Nanoseconds.
#[derive(Clone, Copy, Deserialize)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl Run {
    pub fn parse(document: &Value) -> Result<Run> {
        let run = Run::deserialize(document).context("this is not what weir-bench-rfc2544 prints")?;
        ensure!(run.sizes.iter().all(|size| !size.found.is_empty()), "no forwarder was measured");
        Ok(run)
    }

    /// The forwarders' names, in their order.
    pub fn forwarders(&self) -> Vec<&str> {
        let first = self.sizes.first();
        first
            .map(|size| size.found.iter().map(|found| found.forwarder.as_str()).collect())
            .unwrap_or_default()
    }

    /// One forwarder at one size.
    pub fn of(&self, size: &str, forwarder: &str) -> Option<&Found> {
        let size = self.sizes.iter().find(|it| it.size == size)?;
        size.found.iter().find(|found| found.forwarder == forwarder)
    }
}
