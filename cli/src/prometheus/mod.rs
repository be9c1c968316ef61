//! `weirstat prometheus`: an exporter.
//!
//! A scrape is answered with what [`http`] has read last, or reads now through the [`exporter`]. What is exported, and
//! under which names, is a [`plan`] that [`weir`] or [`vpp`] makes from the directory whenever the segment's structure
//! changes; [`values`] reads the numbers for it, [`exposition`] writes them, [`classic`] turns that into the older format.

mod accept;
mod classic;
mod exporter;
mod exposition;
#[cfg(test)]
mod hostile;
mod http;
mod names;
mod plan;
mod values;
mod vpp;
mod weir;

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::complain;
use crate::failure::Failure;
use crate::patterns::Patterns;
use exporter::Exporter;

/// Export the counters to Prometheus, at http://ADDR/metrics.
///
/// Runs until SIGINT or SIGTERM. weir may come, go and start again meanwhile: weir_up says whether it is there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat prometheus                           for a Prometheus on this machine
  weirstat prometheus --listen :9482            for one elsewhere: anyone who reaches the port can read the counters
  weirstat prometheus --match ^/if/ ^/node/     ports, drops and events alone
  weirstat prometheus --match .                 everything, customers' tins as well
  weirstat prometheus --naming vpp              for dashboards that were made for VPP's exporter")]
pub struct Prometheus {
    /// Where to answer: ADDRESS:PORT (IPv6 in brackets), NAME:PORT, or :PORT for all addresses of this machine; may be repeated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9482")]
    listen: Vec<String>,
    /// Export what matches one of these regular expressions, as weirstat dump does [default: everything but
    /// /shaper/customers/*/tins/, a hundred series and more a customer, and /shaper/*/parent]
    #[arg(long = "match", value_name = "PATTERN", num_args = 1..)]
    patterns: Vec<String>,
    /// The names of the metrics: weir's own, or those of VPP's vpp_prometheus_export (v2)
    #[arg(long, value_enum, default_value_t = Naming::Weir)]
    naming: Naming,
    /// The most series of each metric; weir_exporter_series_omitted says what is left out
    #[arg(long, value_name = "N", default_value = "10000", value_parser = limit)]
    max_series: usize,
    /// Scrapes within so many seconds share one reading
    #[arg(long, value_name = "SECONDS", default_value = "0.1", value_parser = min_interval)]
    min_interval: Duration,
}

/// How metrics are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Naming {
    /// weir's names
    Weir,
    /// VPP's names
    Vpp,
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err("write a whole number from 1".to_owned()),
    }
}

fn min_interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write seconds as a number: 1 or 0.5".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        // Older numbers than a minute's would be taken for new ones.
        Ok(interval) if interval <= Duration::from_secs(60) => Ok(interval),
        _ => Err("write seconds from 0 to 60".to_owned()),
    }
}

impl Prometheus {
    /// Serves until it is asked to stop. That there is no weir yet is no error.
    pub fn run(&self, path: &Path) -> Result<(), Failure> {
        let matcher = Patterns::of(&self.patterns).compile()?;
        let mut listeners: Vec<TcpListener> = Vec::new();
        for address in &self.listen {
            listeners.extend(http::listen(address)?);
        }
        for listener in &listeners {
            let address = listener.local_addr().map_err(|source| Failure::Serve { source })?;
            complain(format!("listening on http://{address}/metrics"));
        }
        let exporter = Exporter::new(path.to_owned(), matcher, self.naming, self.max_series);
        http::serve(exporter, listeners, self.min_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_sane() {
        assert_eq!((limit("1"), limit("10000")), (Ok(1), Ok(10_000)));
        for wrong in ["0", "-1", "", "many"] {
            limit(wrong).unwrap_err();
        }
        assert_eq!(min_interval("0"), Ok(Duration::ZERO));
        assert_eq!(min_interval("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["-1", "61", "nan", "inf", "x"] {
            min_interval(wrong).unwrap_err();
        }
    }
}
