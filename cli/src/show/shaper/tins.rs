//! A queue's tins, as `tc -s qdisc show` prints CAKE's: their names, and a table with a column for each.

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap};
use weir_stats::{Kind, ReadError};

use crate::numbers;
use crate::rtt::durations::microseconds;
use crate::shaper::WAYS;
use crate::shaper::source::Source;

/// What the tins of a queue are called, in the order of their numbers, by the first word of what the queue is.
const NAMES: [(&str, &[&str]); 4] = [
    ("besteffort", &["best effort"]),
    ("diffserv3", &["bulk", "best effort", "voice"]),
    ("diffserv4", &["bulk", "best effort", "video", "voice"]),
    (
        "diffserv8",
        &[
            "background",
            "high throughput",
            "best effort",
            "video streaming",
            "low latency",
            "interactive",
            "minimum latency",
            "network control",
        ],
    ),
];

/// Columns that each customer has.
const TINS: &str = "/shaper/tins";

/// A figure of a tin.
struct Figure {
    /// What tc calls it; in JSON alone if empty.
    title: &'static str,
    /// What it is called in JSON: as in tc's, but for the threshold, which is in bytes there.
    json: &'static str,
    value: Value,
    form: Form,
}

/// Where it is.
enum Value {
    /// In a vector.
    Of(&'static str),
    /// Packets of a vector of pairs.
    Packets(&'static str),
    /// Bytes of one.
    Bytes(&'static str),
    /// The sum of vectors.
    Sum(&'static [&'static str]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Rate,
    Time,
    Bytes,
    /// What grows.
    Count,
    /// What goes up and down.
    Gauge,
}

const fn figure(title: &'static str, json: &'static str, value: Value, form: Form) -> Figure {
    Figure { title, json, value, form }
}

/// The figures, in tc's order.
const FIGURES: [Figure; 24] = [
    figure("thresh", "threshold_bps", Value::Of("threshold"), Form::Rate),
    figure("target", "target_us", Value::Of("target"), Form::Time),
    figure("interval", "interval_us", Value::Of("interval"), Form::Time),
    figure("pk_delay", "peak_delay_us", Value::Of("delay-peak"), Form::Time),
    figure("av_delay", "avg_delay_us", Value::Of("delay-average"), Form::Time),
    figure("sp_delay", "base_delay_us", Value::Of("delay-base"), Form::Time),
    figure("backlog", "backlog_bytes", Value::Bytes("backlog"), Form::Bytes),
    figure("", "backlog_packets", Value::Packets("backlog"), Form::Gauge),
    figure("pkts", "sent_packets", Value::Packets("sent"), Form::Count),
    figure("bytes", "sent_bytes", Value::Bytes("sent"), Form::Count),
    figure("way_inds", "way_indirect_hits", Value::Of("way-indirect"), Form::Count),
    figure("way_miss", "way_misses", Value::Of("way-misses"), Form::Count),
    figure("way_cols", "way_collisions", Value::Of("way-collisions"), Form::Count),
    figure("drops", "drops", Value::Sum(&["codel", "blue", "overlimit"]), Form::Count),
    figure("", "codel", Value::Of("codel"), Form::Count),
    figure("", "blue", Value::Of("blue"), Form::Count),
    figure("", "overlimit", Value::Of("overlimit"), Form::Count),
    figure("marks", "ecn_mark", Value::Of("marked"), Form::Count),
    figure("ack_drop", "ack_drops", Value::Of("ack-filter"), Form::Count),
    figure("sp_flows", "sparse_flows", Value::Of("sparse-flows"), Form::Gauge),
    figure("bk_flows", "bulk_flows", Value::Of("bulk-flows"), Form::Gauge),
    figure("un_flows", "unresponsive_flows", Value::Of("unresponsive-flows"), Form::Gauge),
    figure("max_len", "max_pkt_len", Value::Of("longest-packet"), Form::Gauge),
    figure("quantum", "flow_quantum", Value::Of("quantum"), Form::Gauge),
];

/// The tins of a customer's queue in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tins {
    names: Vec<String>,
    /// By figure and tin.
    values: Vec<Vec<u64>>,
}

impl Tins {
    /// Reads them. Of a queue whose tins have no known names, all that have sent something are there.
    pub fn of(source: &Source, way: usize, customer: usize, queue: &str) -> Result<Tins, ReadError> {
        let width = source.count(TINS)?;
        let range = customer..customer.saturating_add(1);
        let read = |name: &str, pair: Option<usize>| {
            let path = format!("/shaper/customers/{}/tins/{name}", WAYS[way]);
            let (kind, width) =
                if pair.is_some() { (Kind::Combined, 2 * width) } else { (Kind::Simple, width) };
            let cells = source.numbers(source.vector(&path, kind), &range, width)?;
            let (first, step) = pair.map_or((0, 1), |which| (which, 2));
            Ok::<Vec<u64>, ReadError>(cells.into_iter().skip(first).step_by(step).collect())
        };
        let mut all = Vec::with_capacity(FIGURES.len());
        for figure in &FIGURES {
            all.push(match figure.value {
                Value::Of(name) => read(name, None)?,
                Value::Packets(name) => read(name, Some(0))?,
                Value::Bytes(name) => read(name, Some(1))?,
                Value::Sum(names) => {
                    let mut sums = vec![0_u64; width];
                    for name in names {
                        sums.iter_mut()
                            .zip(read(name, None)?)
                            .for_each(|(sum, it)| *sum = sum.saturating_add(it));
                    }
                    sums
                }
            });
        }
        let first = queue.split_whitespace().next().unwrap_or_default();
        let known = NAMES.iter().find(|(word, _)| *word == first).map(|(_, names)| *names);
        let names: Vec<String> = match known {
            Some(names) => names.iter().take(width).map(|name| (*name).to_owned()).collect(),
            None => {
                let is_used = |tin: &usize| all.iter().any(|values: &Vec<u64>| values[*tin] > 0);
                (0..=(0..width).rev().find(is_used).unwrap_or(0)).map(|tin| format!("tin {tin}")).collect()
            }
        };
        all.iter_mut().for_each(|values| values.truncate(names.len()));
        Ok(Tins { names, values: all })
    }

    /// Subtracts what was counted before.
    pub fn subtract(&mut self, before: &Tins) {
        let figures = FIGURES.iter().zip(&mut self.values).zip(&before.values);
        for ((_, now), before) in figures.filter(|((figure, _), _)| figure.form == Form::Count) {
            now.iter_mut()
                .zip(before)
                .for_each(|(now, before)| *now = now.checked_sub(*before).unwrap_or(*now));
        }
    }

    /// Writes the table, in as many as it takes to be no wider than the terminal.
    pub fn write(&self, terminal: Option<usize>, out: &mut impl Write) -> io::Result<()> {
        let width = self.names.iter().map(|name| name.len() + 2).max().unwrap_or(0).max(WIDTH);
        let room = terminal.map_or(usize::MAX, |columns| columns.saturating_sub(TITLE) / width).max(1);
        let mut first = 0;
        while first < self.names.len() {
            let tins = first..self.names.len().min(first.saturating_add(room));
            write!(out, "{:TITLE$}", "")?;
            self.names[tins.clone()].iter().try_for_each(|name| write!(out, "{name:>width$}"))?;
            writeln!(out)?;
            for (figure, values) in
                FIGURES.iter().zip(&self.values).filter(|(figure, _)| !figure.title.is_empty())
            {
                write!(out, "  {:<rest$}", figure.title, rest = TITLE - 2)?;
                for value in values.get(tins.clone()).unwrap_or_default() {
                    write!(out, "{:>width$}", figure.form.text(*value))?;
                }
                writeln!(out)?;
            }
            first = tins.end;
        }
        Ok(())
    }
}

/// Characters of a figure's name with its indentation, and of a tin's column: as wide as tc's.
const TITLE: usize = 10;
const WIDTH: usize = 13;

impl Form {
    fn text(self, value: u64) -> String {
        match self {
            Form::Rate => bits(value),
            Form::Time if value == 0 => "0us".to_owned(),
            Form::Time => microseconds(value as f64),
            Form::Bytes => format!("{value}b"),
            Form::Count | Form::Gauge => value.to_string(),
        }
    }
}

/// A rate, as tc writes it but for its digits.
pub fn bits(rate: u64) -> String {
    format!("{}bit", numbers::quantity(rate as f64))
}

impl Serialize for Tins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Tin<'t>(&'t Tins, usize);
        impl Serialize for Tin<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Tin(tins, at) = self;
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("tin", &tins.names[*at])?;
                for (figure, values) in FIGURES.iter().zip(&tins.values) {
                    map.serialize_entry(figure.json, &values.get(*at))?;
                }
                map.end()
            }
        }
        serializer.collect_seq((0..self.names.len()).map(|at| Tin(self, at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_gets_several_tables() {
        let names = ["one", "two", "three", "a tin with a name"].map(str::to_owned).to_vec();
        let tins = Tins { values: (0..FIGURES.len() as u64).map(|at| vec![at; 4]).collect(), names };
        let table = |terminal| {
            let mut out = Vec::new();
            tins.write(terminal, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let wide = table(None);
        assert!(wide.starts_with("                          one                two"), "{wide}");
        for columns in [10, 50, 80] {
            let narrow = table(Some(columns));
            assert_eq!(narrow.lines().count() % wide.lines().count(), 0);
            assert!(narrow.lines().all(|line| line.len() <= columns.max(TITLE + 19)), "{narrow}");
            let titles: Vec<&str> = narrow
                .lines()
                .filter(|line| line.starts_with("     "))
                .flat_map(|line| line.split("  "))
                .collect();
            assert!(
                tins.names.iter().all(|name| titles.iter().any(|title| title.trim() == name)),
                "{titles:?}"
            );
        }
    }
}
