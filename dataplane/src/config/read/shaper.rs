//! The section `[shaper]`, and the files that it names.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{Reader, Value, size, wrong_type};
use weir_graph::shaper::Overhead;

use crate::config::ShaperConfig;
use crate::shaper::{
    Both, DEFAULT_LINK, Defaults, Inline, Loaded, Queueing, Sources, load, rate_problem, read_overhead,
    read_queueing, written_rate,
};

/// Bytes of packets that may wait: a second of a 2 Gbit/s link, which is more than queues that are kept short ever need.
const DEFAULT_MEMORY: u64 = 256 << 20;
/// Below, one fast customer has no room; above, nobody's memory is.
const MEMORY: RangeInclusive<u64> = 4 << 20..=64 << 30;

impl Reader<'_> {
    /// What the section says; `None`: something is wrong with it.
    pub(super) fn shaper(&mut self, table: &DeTable<'_>) -> Option<ShaperConfig> {
        let before = self.problems.len() + self.elsewhere.len();
        let file = |reader: &mut Self, key| table.get(key).and_then(|value| reader.file(value, key));
        let sources = Sources {
            tree: file(self, "tree"),
            circuits: file(self, "circuits"),
            plan: file(self, "plan"),
            inline: Inline {
                path: self.path.to_owned(),
                text: self.text,
                nodes: table.get("node"),
                customers: table.get("customer"),
            },
        };
        let rate = |reader: &mut Self, key| table.get(key).and_then(|value| reader.rate(value, key));
        let link = Both { down: rate(self, "down"), up: rate(self, "up") };
        let defaults = Defaults {
            link: link.map(|rate| rate.unwrap_or(DEFAULT_LINK)),
            queueing: table.get("queue").and_then(|value| self.queueing(value)).unwrap_or_default(),
            overhead: table.get("overhead").and_then(|value| self.overhead(value)).unwrap_or(Overhead::RAW),
            unknown: table.get("unknown").and_then(|value| self.unknown(value)),
        };
        let memory = table.get("memory").and_then(|value| self.memory(value)).unwrap_or(DEFAULT_MEMORY);
        if self.complete
            && !["circuits", "plan", "customer", "unknown"].iter().any(|key| table.contains_key(*key))
        {
            self.nothing_to_shape();
        }
        match load(&sources, &defaults) {
            Ok(Loaded { plan, warnings, warned }) => {
                let sound = before == self.problems.len() + self.elsewhere.len();
                sound.then(|| ShaperConfig { plan: Arc::new(plan), warnings, warned, memory })
            }
            Err(problems) => {
                let (here, elsewhere) = problems.into_iter().partition(|it| it.path == self.path);
                self.problems.extend::<Vec<_>>(here);
                self.elsewhere.extend::<Vec<_>>(elsewhere);
                None
            }
        }
    }

    fn nothing_to_shape(&mut self) {
        let what = "[shaper] names no customers".to_owned();
        let fix = "write `circuits = \"ShapedDevices.csv\"`, or `plan = \"customers.toml\"`, or `[[shaper.customer]]`".to_owned();
        self.problems.push(crate::config::Problem::of_file(self.path, what, fix));
    }

    /// A file's path, made absolute.
    fn file(&mut self, value: &Value<'_>, key: &str) -> Option<PathBuf> {
        let text = self.string(value, key, "\"network.json\"")?;
        let joined = self.path.parent().unwrap_or(std::path::Path::new("")).join(text);
        Some(std::path::absolute(&joined).unwrap_or(joined))
    }

    fn rate(&mut self, value: &Value<'_>, key: &str) -> Option<u64> {
        let text = self.string(value, key, "\"1gbit\"")?;
        let rate = written_rate(text);
        let what = match rate {
            None => format!("`{key}` is not a rate"),
            Some(rate) => match rate_problem(rate) {
                None => return Some(rate),
                Some(what) => what,
            },
        };
        self.problem(value.span(), &what, "write a rate as tc does: \"1gbit\", \"500mbit\"");
        None
    }

    fn queueing(&mut self, value: &Value<'_>) -> Option<Both<Queueing>> {
        let text = self.string(value, "queue", "\"diffserv4\"")?;
        read_queueing(text).map_err(|(what, fix)| self.problem(value.span(), &what, &fix)).ok()
    }

    fn overhead(&mut self, value: &Value<'_>) -> Option<Overhead> {
        let text = self.string(value, "overhead", "\"ethernet\"")?;
        read_overhead(text).map_err(|(what, fix)| self.problem(value.span(), &what, &fix)).ok()
    }

    /// The plan of all addresses that are no customer's.
    fn unknown(&mut self, value: &Value<'_>) -> Option<Both<u64>> {
        const FIX: &str =
            "write `unknown = \"unshaped\"`, or `unknown = { down = \"10mbit\", up = \"2mbit\" }`";
        match value.get_ref() {
            DeValue::String(text) if text == "unshaped" => None,
            DeValue::String(_) => {
                self.problem(value.span(), "this is no policy for unknown addresses", FIX);
                None
            }
            DeValue::Table(table) => {
                let mut rates = Both::default();
                for key in table.keys().filter(|key| !["down", "up"].contains(&key.get_ref().as_ref())) {
                    let what = format!("`unknown` has no key `{}`", key.get_ref().escape_debug());
                    self.problem(key.span(), &what, FIX);
                }
                for (key, place) in [("down", &mut rates.down), ("up", &mut rates.up)] {
                    match table.get(key) {
                        Some(value) => *place = self.rate(value, key),
                        None => self.problem(value.span(), &format!("`unknown` has no `{key}`"), FIX),
                    }
                }
                Some(Both { down: rates.down?, up: rates.up? })
            }
            _ => {
                self.problem(value.span(), &wrong_type("`unknown`", "a string or a table", value), FIX);
                None
            }
        }
    }

    fn memory(&mut self, value: &Value<'_>) -> Option<u64> {
        const FIX: &str = "write a size from \"4MiB\" to \"64GiB\", or leave it out";
        let bytes = size(self.string(value, "memory", "\"256MiB\"")?);
        let what = match bytes {
            None => "`memory` is not a number of bytes",
            Some(bytes) if !MEMORY.contains(&bytes) => "`memory` is out of range",
            Some(bytes) => return Some(bytes),
        };
        self.problem(value.span(), what, FIX);
        None
    }
}
