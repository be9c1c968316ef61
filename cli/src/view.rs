//! How values are shown: the options of `vpp_get_stats`, and what weir adds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use weir_stats::{Entry, Reader};

use crate::baseline::Baseline;
use crate::connection::refusal;
use crate::failure::Failure;
use crate::names::Meaning;
use crate::saved::{Saved, Writer};

/// How values are shown. The options are `vpp_get_stats`'s.
#[derive(Debug, Default, Args)]
pub struct View {
    /// Print colon-separated fields: type, index, thread, counters, name
    #[arg(long)]
    pub machine: bool,
    /// Leave out counters that are 0
    #[arg(long)]
    pub no_zeros: bool,
    /// Only this index (port, node, customer, …) of counter vectors
    #[arg(long, value_name = "N")]
    pub only_index: Option<usize>,
    /// The sums of all threads instead of each thread's counters
    #[arg(long)]
    pub summary: bool,
    /// Begin each line with the time of reading, in seconds since 1970
    #[arg(long)]
    pub timestamp: bool,
}

/// What values are compared with.
#[derive(Debug, Default, Args)]
pub struct Comparison {
    /// Print counters as numbers a second, measured between two readings; gauges as they are
    ///
    /// The first reading has nothing to be compared with and is not printed. In JSON each counter's field is called so:
    /// packets_per_second, bytes_per_second, value_per_second.
    #[arg(long, conflicts_with = "since")]
    pub rate: bool,
    /// Print what was counted since FILE was saved with: weirstat dump --json >FILE
    ///
    /// Counters are subtracted, gauges and names are as they are. What is not in FILE, or is now lower than there, counts as
    /// a whole; so does everything if weir was started again since.
    #[arg(long, value_name = "FILE")]
    pub since: Option<PathBuf>,
}

/// The form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// VPP's, for people.
    Text,
    /// VPP's colon-separated fields.
    Machine,
    /// One object a line.
    Json,
}

impl View {
    /// The form of the lines.
    pub fn format(&self, json: bool) -> Format {
        match (json, self.machine) {
            (true, _) => Format::Json,
            (false, true) => Format::Machine,
            (false, false) => Format::Text,
        }
    }
}

impl Comparison {
    /// What these entries are compared with, and what is to be said about a saved snapshot that cannot tell all.
    pub fn baseline<'e>(
        &self,
        view: &View,
        entries: impl Iterator<Item = &'e Entry> + Clone,
        meaning: &Meaning,
        reader: &Reader,
        socket: &Path,
    ) -> Result<(Baseline, Vec<String>), Failure> {
        let Some(path) = &self.since else {
            let baseline = if self.rate { Baseline::Last(HashMap::new()) } else { Baseline::None };
            return Ok((baseline, Vec::new()));
        };
        let refused = |error| refusal(socket, error);
        let saved = Saved::load(path, entries.clone(), meaning, reader, socket)?;
        if saved.is_of_sums() && !view.summary {
            let reason = "holds the sums of all threads: compare them with --summary";
            return Err(Failure::SavedOther { path: path.clone(), reason });
        }
        let writer = Writer::of(reader, meaning).map_err(refused)?;
        if let Some(why) = saved.is_foreign(writer, path) {
            return Ok((Baseline::None, vec![why]));
        }
        let missing = saved.missing(entries, meaning, view.only_index, path);
        Ok((Baseline::Saved(saved), missing))
    }
}

/// The time, as it stands in lines.
pub fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The shortest interval: below it, reading takes longer than the pause.
const SHORTEST: Duration = Duration::from_millis(1);

/// Understands an interval on the command line.
pub fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write seconds as a number: 1 or 0.5".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        // A day: what is longer is a task for cron, and would overflow the clock if it were much longer.
        Ok(interval) if (SHORTEST..=Duration::from_secs(86_400)).contains(&interval) => Ok(interval),
        _ => Err("write seconds from 0.001 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_seconds() {
        assert_eq!(interval("1"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "x", "-1", "0", "nan", "inf", "1e300", "86401"] {
            interval(wrong).unwrap_err();
        }
    }
}
