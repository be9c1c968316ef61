//! The section `[rtt]`, and the file of prefixes that it names.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;
use weir_graph::customers::MOST;

use super::{Reader, Value, wrong_type};
use crate::config::{Problem, RttConfig};
use crate::customers::{Listed, listed};
use crate::prefixes;

/// One sample of a flow and direction in so long: epping's default, which keeps a few fast flows from being most of what is measured.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest interval that makes sense: beyond it most flows have a single sample.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Flows that a worker follows unless the config says otherwise: as many as epping. 128 bytes each.
const DEFAULT_FLOWS: usize = 1 << 17;
/// Below, a home router's flows have no room; the highest takes 2 GiB a worker.
const FLOWS: RangeInclusive<i64> = 1 << 10..=1 << 24;

impl Reader<'_> {
    pub(super) fn rtt(&mut self, table: &DeTable<'_>) -> RttConfig {
        let prefixes = table.get("prefixes").and_then(|value| self.prefixes(value));
        let (prefixes, customers) = prefixes.map_or((None, [].into()), |(path, list)| (Some(path), list));
        let flows = table.get("flows").and_then(|value| self.number(value, "flows", FLOWS));
        RttConfig {
            interval: table.get("interval").and_then(|value| self.interval(value)).unwrap_or(INTERVAL),
            flows: flows.unwrap_or(DEFAULT_FLOWS),
            handshakes: table.get("handshakes").and_then(|value| self.boolean(value)).unwrap_or(false),
            prefixes,
            customers,
        }
    }

    fn interval(&mut self, value: &Value<'_>) -> Option<Duration> {
        const FIX: &str =
            "write a time such as \"100ms\" or \"1s\", or \"0\" for as many samples as there are";
        let text = self.string(value, "interval", "\"100ms\"")?;
        let interval = if text == "0" { Some(Duration::ZERO) } else { humantime::parse_duration(text).ok() };
        let what = match interval {
            None => "`interval` is not a time",
            Some(interval) if interval > LONGEST => "`interval` is longer than an hour",
            Some(interval) => return Some(interval),
        };
        self.problem(value.span(), what, FIX);
        None
    }

    fn boolean(&mut self, value: &Value<'_>) -> Option<bool> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            let what = wrong_type("`handshakes`", "true or false", value);
            self.problem(value.span(), &what, "write `handshakes = true`, or leave it out");
        }
        boolean
    }

    /// The file's absolute path and whose prefixes stand in it.
    fn prefixes(&mut self, value: &Value<'_>) -> Option<(PathBuf, Arc<[Listed]>)> {
        let text = self.string(value, "prefixes", "\"prefixes.txt\"")?;
        let joined = self.path.parent().unwrap_or(Path::new("")).join(text);
        let path = std::path::absolute(&joined).unwrap_or(joined);
        match prefixes::load(&path).map(listed) {
            Ok(list) if list.len() > MOST => {
                let what = format!("{} customers are more than weir has room for", list.len());
                let fix = format!("leave all but {MOST} out");
                self.elsewhere.push(Problem::of_file(&path, what, fix));
                None
            }
            Ok(list) => Some((path, list)),
            Err(problems) => {
                self.elsewhere.extend(problems.0);
                None
            }
        }
    }
}
