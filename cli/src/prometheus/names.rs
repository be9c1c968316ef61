//! Names of metrics and labels, made from paths that may hold anything.

use prometheus_client::registry::Unit;

/// The first component of every metric's name.
const PREFIX: &str = "weir";

/// Units of time, their short forms, and how many of them a second has: Prometheus knows seconds alone.
const TIMES: [(&str, &str, f64); 4] = [
    ("seconds", "s", 1.0),
    ("milliseconds", "ms", 1e3),
    ("microseconds", "us", 1e6),
    ("nanoseconds", "ns", 1e9),
];

/// Ends of names that say what Prometheus says by itself.
const TOTAL: &str = "_total";

/// A metric's name, in the two parts that OpenMetrics wants to know.
#[derive(Clone, Debug)]
pub struct Name {
    /// Without the unit.
    pub base: String,
    /// The unit, which stands behind the base.
    pub unit: Option<Unit>,
    /// What the numbers are divided by to be in that unit; `None` if they are in it.
    pub divisor: Option<f64>,
}

impl Name {
    /// The name for a path or a template: its constant components and the unit, which is not said twice.
    pub fn of(path: &str, unit: &str) -> Name {
        let constant = |component: &&str| !component.is_empty() && !component.starts_with('{');
        let mut base = PREFIX.to_owned();
        for component in path.split('/').filter(constant) {
            base.push('_');
            base.push_str(&word(component));
        }
        let time = TIMES.iter().find(|(time, ..)| *time == unit);
        let unit = if time.is_some() { "seconds".to_owned() } else { rate(unit) };
        let mut ends = vec![TOTAL.to_owned()];
        if let Some((time, short, _)) = time {
            ends.extend([format!("_{time}"), format!("_{short}")]);
        } else if !unit.is_empty() {
            ends.push(format!("_{unit}"));
        }
        for end in ends {
            base.truncate(base.strip_suffix(&end).unwrap_or(&base).len());
        }
        let divisor = time.map(|(.., divisor)| *divisor).filter(|divisor| *divisor > 1.0);
        Name { base, unit: (!unit.is_empty()).then_some(Unit::Other(unit)), divisor }
    }

    /// A name that is given as a whole.
    pub fn whole(name: &str) -> Name {
        Name { base: name.to_owned(), unit: None, divisor: None }
    }

    /// The whole name.
    pub fn full(&self) -> String {
        match &self.unit {
            Some(unit) => format!("{}_{}", self.base, unit.as_str()),
            None => self.base.clone(),
        }
    }
}

/// A unit as a part of a metric's name: `bits/s` as `bits_per_second`.
fn rate(unit: &str) -> String {
    match unit.strip_suffix("/s") {
        Some(unit) => word(unit) + "_per_second",
        None => word(unit),
    }
}

/// Text as a part of a metric's name: what may not stand there is an underscore.
pub fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Text as a label's name, other than those that are taken. Names that begin with two underscores are Prometheus' own, and
/// `le` is the bins'.
pub fn label(text: &str, taken: &[&str]) -> String {
    let mut name = word(text);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || name.starts_with("__") {
        name.insert_str(0, "label_");
    }
    while name == "le" || taken.contains(&name.as_str()) {
        name.insert_str(0, "column_");
    }
    name
}

/// Text as a help line: what would end the line, or the quotation that a strict parser sees, is escaped.
pub fn help(text: &str) -> String {
    text.replace('\\', r"\\").replace('\n', r"\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(path: &str, unit: &str) -> String {
        Name::of(path, unit).full()
    }

    #[test]
    fn names_are_the_constant_components_and_the_unit() {
        assert_eq!(full("/if/rx", "packets"), "weir_if_rx_packets");
        assert_eq!(full("/if/rx-no-buf", "packets"), "weir_if_rx_no_buf_packets");
        assert_eq!(full("/xdp/{verdict}", "packets"), "weir_xdp_packets");
        assert_eq!(full("/mem/stat segment", "bytes"), "weir_mem_stat_segment_bytes");
        assert_eq!(full("/sys/input_rate", ""), "weir_sys_input_rate");
        assert_eq!(full("/9/ü", "kB/s"), "weir_9___kB_per_second");
        assert_eq!(full("/shaper/nodes/{direction}/max", "bits/s"), "weir_shaper_nodes_max_bits_per_second");
    }

    #[test]
    fn nothing_is_said_twice() {
        assert_eq!(full("/sys/node/calls", "calls"), "weir_sys_node_calls");
        assert_eq!(full("/x/sent_bytes_total", "bytes"), "weir_x_sent_bytes");
        assert_eq!(full("/sessions_total", ""), "weir_sessions");
        assert_eq!(full("/bytes", "bytes"), "weir_bytes");
    }

    #[test]
    fn time_is_in_seconds() {
        for (path, unit, divisor) in [
            ("/a/heartbeat_ns", "nanoseconds", Some(1e9)),
            ("/a/heartbeat", "microseconds", Some(1e6)),
            ("/a/heartbeat_milliseconds", "milliseconds", Some(1e3)),
            ("/a/heartbeat", "seconds", None),
        ] {
            let name = Name::of(path, unit);
            assert_eq!((name.full().as_str(), name.divisor), ("weir_a_heartbeat_seconds", divisor));
        }
    }

    #[test]
    fn labels_are_words_of_their_own() {
        assert_eq!(label("interface", &[]), "interface");
        assert_eq!(label("a-b", &["a_b"]), "column_a_b");
        assert_eq!(label("worker", &["worker", "column_worker"]), "column_column_worker");
        assert_eq!(
            ["", "1", "__name__", "le"].map(|text| label(text, &[])),
            ["label_", "label_1", "label___name__", "column_le"]
        );
    }

    #[test]
    fn help_is_one_line() {
        assert_eq!(help("a\\b\n\"c\""), r#"a\\b\n\"c\""#);
    }
}
