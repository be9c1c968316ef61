//! From the text of a config to [`Config`] or everything that is wrong with it.

use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use strum::VariantNames;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use weir_graph::shaper::MOST_WORKERS;

use super::{
    BridgeConfig, CONTROL_SOCKET, Config, ControlConfig, FibConfig, Idle, Problem, Problems, STATS_SOCKET,
    StatsConfig, WorkersConfig,
};

mod ports;
mod rtt;
mod shaper;
mod sub_interfaces;

/// Longest socket path in bytes: `sun_path` less the terminator (`linux/un.h`).
const SOCKET_PATH: usize = 107;
/// Address space of the segment in bytes. Below, the vectors of a few ports do not fit; above, writer and readers would come near the
/// 128 TiB that a process has on x86-64.
const SEGMENT: RangeInclusive<u64> = 16 << 20..=64 << 40;
/// IPv4 routes. The highest is four times the internet's table of 2026; the lowest keeps the table's own pages worth having.
const ROUTES: RangeInclusive<i64> = 1 << 10..=1 << 22;
/// IPv4 routes unless the config says otherwise: the internet's table, with as much room again for growth.
const DEFAULT_ROUTES: usize = 1 << 20;
/// IPv6 routes. The highest is four times the internet's table of 2026 (230,000), and what there are counters for.
const ROUTES6: RangeInclusive<i64> = 1 << 10..=1 << 20;
/// IPv6 routes unless the config says otherwise: the internet's table, with as much room again for growth.
const DEFAULT_ROUTES6: usize = 1 << 19;

/// What a config is checked against.
pub(super) struct Machine {
    /// The cores that this process may use, ascending.
    pub(super) cores: Vec<usize>,
    pub(super) has_group: fn(&str) -> bool,
}

struct Section {
    name: &'static str,
    /// As it is written in the file.
    header: &'static str,
    keys: &'static [&'static str],
}

const PORT: &Section = &Section {
    name: "port",
    header: "[[port]]",
    keys: &["device", "side", "parent", "vlan", "service-vlan"],
};
const BRIDGE: &Section =
    &Section { name: "bridge", header: "[bridge]", keys: &["ports", "port", "wan-vlan", "lan-vlan"] };
const WORKERS: &Section = &Section { name: "workers", header: "[workers]", keys: &["cores", "idle"] };
const STATS: &Section = &Section { name: "stats", header: "[stats]", keys: &["socket", "group", "size"] };
const CONTROL: &Section = &Section { name: "control", header: "[control]", keys: &["socket"] };
const FIB: &Section = &Section { name: "fib", header: "[fib]", keys: &["routes", "routes6"] };
const RTT: &Section =
    &Section { name: "rtt", header: "[rtt]", keys: &["interval", "prefixes", "flows", "handshakes"] };
const SHAPER: &Section = &Section {
    name: "shaper",
    header: "[shaper]",
    keys: &[
        "tree", "circuits", "plan", "node", "customer", "unknown", "overhead", "queue", "memory", "down",
        "up",
    ],
};
const SECTIONS: [&Section; 8] = [PORT, BRIDGE, WORKERS, STATS, CONTROL, FIB, RTT, SHAPER];

type Value<'i> = Spanned<DeValue<'i>>;

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    machine: &'a Machine,
    /// The whole file was TOML. Otherwise keys and headers are missing from the table, so nothing is reported as missing or misplaced.
    complete: bool,
    problems: Vec<Problem>,
    /// Those of files that the config names.
    elsewhere: Vec<Problem>,
}

impl Machine {
    /// The machine that this runs on.
    pub(super) fn this() -> Machine {
        let cores = match rustix::thread::sched_getaffinity(None) {
            Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect(),
            // More cores than the set has room for.
            Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
        };
        Machine { cores, has_group: |group| matches!(nix::unistd::Group::from_name(group), Ok(Some(_))) }
    }
}

/// Reads the text of the file at `path`.
pub(super) fn config(text: &str, path: &Path, machine: &Machine) -> Result<Config, Problems> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut syntax = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let (what, fix) = syntax_problem(error.message(), text, &span);
        syntax.push(Problem::at(path, text, span, what, fix));
    }
    let mut reader = Reader {
        path,
        text,
        machine,
        complete: syntax.is_empty(),
        problems: Vec::new(),
        elsewhere: Vec::new(),
    };
    let config = reader.config(&root);
    let mut problems = syntax;
    // A line that is not TOML was read as something else: what that would be wrong with is not worth a word.
    let not_toml: HashSet<usize> = problems.iter().map(|problem| problem.position().0).collect();
    problems.extend(reader.problems.into_iter().filter(|problem| !not_toml.contains(&problem.position().0)));
    problems.sort_by_key(Problem::position);
    problems.dedup();
    problems.extend(reader.elsewhere);
    if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
}

/// What the TOML reader said, with a remedy for what people write most.
fn syntax_problem(message: &str, text: &str, span: &Range<usize>) -> (String, String) {
    let meant = text.get(span.clone()).unwrap_or_default().trim();
    let expected = message.split_once("expected ").map_or("", |(_, expected)| expected);
    let fix = if message.contains("quoted") && !meant.is_empty() {
        format!("write \"{}\"", meant.escape_debug())
    } else if message.contains("duplicate key") {
        "write it once".to_owned()
    } else if message.contains("string") {
        "write the text between two double quotes on one line".to_owned()
    } else if matches!(expected, "`]`" | "`=`") {
        format!("write {expected} here")
    } else {
        "write `key = value`, strings in double quotes, lists in brackets".to_owned()
    };
    (message.to_owned(), fix)
}

impl Reader<'_> {
    /// What the table says, with defaults where something is wrong; then there are problems.
    fn config(&mut self, root: &Spanned<DeTable<'_>>) -> Config {
        let tables = root.get_ref();
        for (key, value) in tables {
            if !SECTIONS.iter().any(|section| section.name == key.get_ref()) {
                self.unknown_section(key.get_ref(), key.span(), value);
            }
        }
        let ports = self.ports(tables.get(PORT.name));
        let bridge = self.section(tables, BRIDGE).and_then(|table| self.bridge(table, tables, &ports));
        let workers_table = self.section(tables, WORKERS);
        let stats_table = self.section(tables, STATS);
        let control_table = self.section(tables, CONTROL);
        let fib_table = self.section(tables, FIB);
        let workers = self.workers(workers_table);
        let stats = self.stats(stats_table);
        let control_socket = control_table.and_then(|table| table.get("socket"));
        let control = ControlConfig { socket: self.socket(control_socket, CONTROL_SOCKET) };
        if stats.socket == control.socket {
            let stats_socket = stats_table.and_then(|table| table.get("socket"));
            if let Some(value) = control_socket.or(stats_socket) {
                self.problem(
                    value.span(),
                    "the stats socket and the control socket are the same",
                    "name another path",
                );
            }
        }
        let [routes, routes6] = ["routes", "routes6"].map(|key| fib_table.and_then(|table| table.get(key)));
        let fib = FibConfig {
            routes: routes.and_then(|value| self.number(value, "routes", ROUTES)).unwrap_or(DEFAULT_ROUTES),
            routes6: routes6
                .and_then(|value| self.number(value, "routes6", ROUTES6))
                .unwrap_or(DEFAULT_ROUTES6),
        };
        let shaper = self.section(tables, SHAPER).and_then(|table| self.shaper(table));
        if shaper.is_some() && !matches!(bridge, Some(BridgeConfig::OnePort { .. })) {
            for port in ports.iter().filter(|port| port.side.is_none()) {
                let what = format!("[shaper] needs to know the side of {:?}", port.device);
                let fix = "write `side = \"wan\"` (the internet) or `side = \"lan\"` (the customers) below its `device`";
                self.problems.push(Problem::of_file(self.path, what, fix.to_owned()));
            }
        }
        if shaper.is_some() && workers.cores.len() > MOST_WORKERS {
            let what = format!("at most {MOST_WORKERS} workers can share the rates of [shaper]");
            let fix = format!("name at most {MOST_WORKERS} cores in [workers]");
            self.problems.push(Problem::of_file(self.path, what, fix));
        }
        // What is shaped is measured too: its customers are known, and what shaping does to them is to be seen.
        let measured = tables.contains_key(RTT.name) || shaper.is_some();
        let rtt_table = self.section(tables, RTT);
        let rtt = measured.then(|| self.rtt(rtt_table.unwrap_or(&DeTable::new())));
        let prefixes = tables.get(RTT.name).and_then(|value| value.get_ref().as_table()?.get("prefixes"));
        if let Some(value) = prefixes.filter(|_| tables.contains_key(SHAPER.name)) {
            let what = "`prefixes` names customers, and [shaper] does too";
            self.problem(
                value.span(),
                what,
                "leave it out: round trips are counted by the shaper's customers",
            );
        }
        Config { ports, bridge, workers, stats, control, fib, rtt, shaper }
    }

    fn workers(&mut self, table: Option<&DeTable<'_>>) -> WorkersConfig {
        let cores = table.and_then(|table| table.get("cores"));
        let idle = table.and_then(|table| table.get("idle"));
        WorkersConfig {
            cores: match cores {
                Some(value) => self.cores(value),
                None => vec![self.last_core()],
            },
            idle: idle.and_then(|value| self.idle(value)).unwrap_or(Idle::Adaptive),
        }
    }

    fn last_core(&self) -> usize {
        self.machine.cores.last().copied().unwrap_or(0)
    }

    fn cores(&mut self, value: &Value<'_>) -> Vec<usize> {
        let example =
            format!("write `cores = [{}]`, one worker for each core that is named", self.last_core());
        let Some(list) = value.get_ref().as_array() else {
            self.problem(value.span(), &wrong_type("`cores`", "a list", value), &example);
            return Vec::new();
        };
        if list.is_empty() {
            self.problem(value.span(), "`cores` names no core", &example);
        }
        let mut cores = Vec::new();
        for item in list.iter() {
            let Some(number) = integer(item) else {
                self.problem(item.span(), &wrong_type("a core", "a number", item), &example);
                continue;
            };
            match usize::try_from(number).ok().filter(|core| self.machine.cores.contains(core)) {
                None => {
                    let what = format!("the machine has no core {number}, or this process may not use it");
                    self.problem(
                        item.span(),
                        &what,
                        &format!("the usable cores are {}", ranges(&self.machine.cores)),
                    );
                }
                Some(core) if cores.contains(&core) => {
                    let what = format!("core {core} has a worker already");
                    self.problem(item.span(), &what, "name each core once");
                }
                Some(core) => cores.push(core),
            }
        }
        cores
    }

    fn idle(&mut self, value: &Value<'_>) -> Option<Idle> {
        let word = self.string(value, "idle", "\"adaptive\"")?;
        word.parse()
            .map_err(|_| {
                let fix = match nearest(word, Idle::VARIANTS) {
                    Some(near) => format!("write \"{near}\""),
                    None => format!("write one of {}", quoted(Idle::VARIANTS, "\"")),
                };
                self.problem(value.span(), &format!("there is no idle policy {word:?}"), &fix);
            })
            .ok()
    }

    fn stats(&mut self, table: Option<&DeTable<'_>>) -> StatsConfig {
        let value = |key| table.and_then(|table| table.get(key));
        StatsConfig {
            socket: self.socket(value("socket"), STATS_SOCKET),
            group: value("group").and_then(|value| self.group(value)),
            size: value("size").and_then(|value| self.size(value)),
        }
    }

    fn group(&mut self, value: &Value<'_>) -> Option<String> {
        let group = self.string(value, "group", "\"weir\"")?;
        // NSS takes C strings, and a line of /etc/group ends at a colon.
        if group.is_empty() || group.contains(['\0', ':', '\n']) || !(self.machine.has_group)(group) {
            let fix = "create it with `groupadd --system NAME`, or name one that `getent group` lists";
            self.problem(value.span(), &format!("there is no group {group:?}"), fix);
            return None;
        }
        Some(group.to_owned())
    }

    fn size(&mut self, value: &Value<'_>) -> Option<u64> {
        const FIX: &str = "write bytes, or a string with KiB, MiB or GiB such as \"16GiB\"";
        let parsed = match value.get_ref() {
            DeValue::String(text) => size(text),
            DeValue::Integer(_) => integer(value).and_then(|bytes| u64::try_from(bytes).ok()),
            _ => {
                self.problem(value.span(), &wrong_type("`size`", "a string or a number", value), FIX);
                return None;
            }
        };
        let Some(bytes) = parsed else {
            self.problem(value.span(), "`size` is not a number of bytes", FIX);
            return None;
        };
        if !SEGMENT.contains(&bytes) {
            let fix = "write a size from \"16MiB\" to \"65536GiB\", or leave it out";
            self.problem(value.span(), "`size` is out of range", fix);
            return None;
        }
        Some(bytes)
    }

    fn number(&mut self, value: &Value<'_>, key: &str, range: RangeInclusive<i64>) -> Option<usize> {
        let number = integer(value).filter(|number| range.contains(number));
        if number.is_none() {
            let what = match value.get_ref() {
                DeValue::Integer(_) => format!("`{key}` is out of range"),
                _ => wrong_type(&format!("`{key}`"), "a number", value),
            };
            let fix = format!("write a number from {} to {}", range.start(), range.end());
            self.problem(value.span(), &what, &fix);
        }
        number.and_then(|number| usize::try_from(number).ok())
    }

    /// A socket's path, made absolute.
    fn socket(&mut self, value: Option<&Value<'_>>, default: &str) -> PathBuf {
        let Some(value) = value else { return default.into() };
        let Some(text) = self.string(value, "socket", &format!("\"{default}\"")) else {
            return default.into();
        };
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let joined = folder.join(text);
        let path = std::path::absolute(&joined).unwrap_or(joined);
        let fix = format!("name a path such as \"{default}\"");
        if text.is_empty() || text.ends_with('/') || text.contains('\0') || path.file_name().is_none() {
            self.problem(value.span(), "this path cannot name a socket", &fix);
        } else if path.as_os_str().len() > SOCKET_PATH {
            let what = format!(
                "the socket's path has {} bytes, and Linux allows {SOCKET_PATH}",
                path.as_os_str().len()
            );
            self.problem(value.span(), &what, &fix);
        }
        path
    }

    /// The table of a section that stands once in a file, its keys checked.
    fn section<'t, 'i>(&mut self, tables: &'t DeTable<'i>, section: &Section) -> Option<&'t DeTable<'i>> {
        let value = tables.get(section.name)?;
        let Some(table) = value.get_ref().as_table() else {
            let what = format!("`{}` is a section that stands once", section.name);
            self.problem(value.span(), &what, &format!("write `{}` and its keys below it", section.header));
            return None;
        };
        self.unknown_keys(table, section);
        Some(table)
    }

    fn unknown_keys(&mut self, table: &DeTable<'_>, section: &Section) {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if section.keys.contains(&name) {
                continue;
            }
            let fix = match (nearest(name, section.keys), home_of(name)) {
                (_, Some(_)) if !self.complete => continue,
                (_, Some(home)) => format!("move it below `{}`", home.header),
                (Some(near), _) => format!("write `{near}`"),
                (None, None) => format!("the keys of {} are {}", section.header, quoted(section.keys, "`")),
            };
            self.problem(
                key.span(),
                &format!("{} has no key `{}`", section.header, name.escape_debug()),
                &fix,
            );
        }
    }

    fn unknown_section(&mut self, name: &str, span: Range<usize>, value: &Value<'_>) {
        let is_section = value.get_ref().is_table() || value.get_ref().is_array();
        let near = nearest(name, &SECTIONS.map(|section| section.name));
        let near = SECTIONS.iter().find(|section| Some(section.name) == near);
        let (what, fix) = match (home_of(name), near) {
            (Some(_), _) if !self.complete => return,
            (Some(home), _) => ("stands outside of its section", format!("move it below `{}`", home.header)),
            (None, Some(near)) => ("is not a section of weir's", format!("write `{}`", near.header)),
            (None, None) => {
                let what = if is_section { "is not a section of weir's" } else { "is not a key of weir's" };
                let headers = SECTIONS.map(|section| section.header);
                (what, format!("the sections are {}", headers.join(", ")))
            }
        };
        self.problem(span, &format!("`{}` {what}", name.escape_debug()), &fix);
    }

    fn string<'v>(&mut self, value: &'v Value<'_>, key: &str, example: &str) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.problem(
                value.span(),
                &wrong_type(&format!("`{key}`"), "a string", value),
                &format!("write `{key} = {example}`"),
            );
        }
        text
    }

    fn problem(&mut self, span: Range<usize>, what: &str, fix: &str) {
        self.problems.push(Problem::at(self.path, self.text, span, what.to_owned(), fix.to_owned()));
    }
}

fn wrong_type(what: &str, wanted: &str, value: &Value<'_>) -> String {
    format!("{what} is of type {}, and must be {wanted}", value.get_ref().type_str())
}

/// A TOML integer that fits into 64 bits.
fn integer(value: &Value<'_>) -> Option<i64> {
    let integer = value.get_ref().as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Bytes of a text such as `16GiB` or `1048576`.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    // `parse` would take a sign.
    let number: u64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    number.checked_mul(1 << shift)
}

/// The section that has this key, if there is just one.
fn home_of(key: &str) -> Option<&'static Section> {
    let mut homes = SECTIONS.into_iter().filter(|section| section.keys.contains(&key));
    homes.next().filter(|_| homes.next().is_none())
}

/// The known name that a mistyped one most likely means.
pub(crate) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let name = name.to_lowercase();
    // A third of the letters wrong is still the same word; more is another.
    let most = 1 + name.chars().count() / 3;
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&name, &known.to_lowercase()), *known))
        .filter(|(distance, known)| *distance <= most && *distance < known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

pub(crate) fn quoted(names: &[&str], quote: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{quote}{name}{quote}")).collect();
    names.join(", ")
}

/// `0-3, 8` for 0, 1, 2, 3, 8; ascending.
fn ranges(numbers: &[usize]) -> String {
    let ranges: Vec<String> = numbers
        .chunk_by(|one, next| one + 1 == *next)
        .filter_map(|run| match run {
            [] => None,
            [only] => Some(only.to_string()),
            [first, .., last] => Some(format!("{first}-{last}")),
        })
        .collect();
    ranges.join(", ")
}

#[cfg(test)]
mod tests;
