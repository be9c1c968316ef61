//! Values as lines: VPP's text for people, VPP's colon-separated text for scripts, or JSON.
//!
//! Text and colons are those of `vpp_get_stats`, with one difference: VPP prints a histogram's bins with their lower bounds
//! behind a `<=`; here it is the upper bounds, which makes the sentence true.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use weir_stats::{Bins, Kind, Pair, Snapshot, Value};

use crate::failure::Failure;

/// How values are shown. The options are `vpp_get_stats`'s.
#[derive(Debug, Default, Args)]
pub struct View {
    /// Print colon-separated fields: type, index, thread, counters, name
    #[arg(long)]
    pub machine: bool,
    /// Leave out counters that are 0
    #[arg(long)]
    no_zeros: bool,
    /// Only this index (port, node, route, …) of counter vectors
    #[arg(long, value_name = "N")]
    only_index: Option<usize>,
    /// The sums of all threads instead of each thread's counters
    #[arg(long)]
    summary: bool,
    /// Begin each line with the time of reading, in seconds since 1970
    #[arg(long)]
    timestamp: bool,
}

/// How an entry's kind is called in JSON.
pub fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Scalar => "scalar",
        Kind::Gauge => "gauge",
        Kind::Simple => "simple",
        Kind::Combined => "combined",
        Kind::Names => "names",
        Kind::Symlink => "symlink",
        Kind::Histogram => "histogram",
        Kind::Ring => "ring",
        Kind::Empty => "empty",
    }
}

impl View {
    /// Whether people read this, rather than a program.
    pub fn is_for_people(&self, json: bool) -> bool {
        !self.machine && !json
    }

    /// Writes all values.
    pub fn write(&self, snapshot: &Snapshot, json: bool, out: &mut impl Write) -> Result<(), Failure> {
        self.write_at(SystemTime::now(), snapshot, json, out)
    }

    fn write_at(
        &self,
        now: SystemTime,
        snapshot: &Snapshot,
        json: bool,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut printer =
            Printer { machine: self.machine, json, seconds: self.timestamp.then_some(seconds), out };
        for (entry, value) in &snapshot.values {
            self.each(value, &mut |kind, item| printer.print(&entry.name, kind, &item))?;
        }
        Ok(())
    }

    /// Calls `print` for each line of a value.
    fn each(
        &self,
        value: &Value,
        print: &mut impl FnMut(Kind, Item<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match value {
            Value::Scalar(number) => print(Kind::Scalar, Item::Number(*number)),
            Value::Gauge(number) => print(Kind::Gauge, Item::Number(*number)),
            Value::Simple(rows) => self.each_cell(
                rows,
                |sum, count| sum.wrapping_add(*count),
                |count| *count == 0,
                &mut |cell, count| print(Kind::Simple, Item::Count(cell, count)),
            ),
            Value::Combined(rows) => self.each_cell(
                rows,
                |sum, pair| Pair {
                    packets: sum.packets.wrapping_add(pair.packets),
                    bytes: sum.bytes.wrapping_add(pair.bytes),
                },
                |pair| pair.packets == 0,
                &mut |cell, pair| print(Kind::Combined, Item::Pair(cell, pair)),
            ),
            Value::Names(names) => names
                .iter()
                .enumerate()
                .try_for_each(|(index, name)| print(Kind::Names, Item::Name { index, name })),
            Value::Symlink { value, .. } => self.each(value, print),
            Value::Histogram(rows) => rows
                .iter()
                .enumerate()
                .filter(|(_, bins)| !bins.counts.is_empty())
                .try_for_each(|(thread, bins)| print(Kind::Histogram, Item::Bins { thread, bins })),
            // As in VPP's tool: records are for programs that know their schema.
            Value::Ring(_) => Ok(()),
        }
    }

    fn each_cell<T: Copy + Default>(
        &self,
        rows: &[Vec<T>],
        add: impl Fn(&T, &T) -> T,
        is_zero: impl Fn(&T) -> bool,
        print: &mut impl FnMut(Cell, T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut line = |index: usize, thread: Option<usize>, count: T| {
            if self.only_index.is_some_and(|only| only != index) || self.no_zeros && is_zero(&count) {
                return Ok(());
            }
            print(Cell { index, thread }, count)
        };
        if self.summary {
            let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
            return (0..columns).try_for_each(|index| {
                let cells = rows.iter().filter_map(|row| row.get(index));
                line(index, None, cells.fold(T::default(), |sum, cell| add(&sum, cell)))
            });
        }
        rows.iter().enumerate().try_for_each(|(thread, row)| {
            row.iter().enumerate().try_for_each(|(index, count)| line(index, Some(thread), *count))
        })
    }
}

/// Where a counter is. No thread: the sum of all.
#[derive(Clone, Copy)]
struct Cell {
    index: usize,
    thread: Option<usize>,
}

enum Item<'v> {
    Number(u64),
    Count(Cell, u64),
    Pair(Cell, Pair),
    Name { index: usize, name: &'v str },
    Bins { thread: usize, bins: &'v Bins },
}

struct Printer<'o, W> {
    machine: bool,
    json: bool,
    /// The time to begin lines with.
    seconds: Option<f64>,
    out: &'o mut W,
}

impl<W: Write> Printer<'_, W> {
    fn print(&mut self, name: &str, kind: Kind, item: &Item<'_>) -> Result<(), Failure> {
        if self.json {
            serde_json::to_writer(&mut *self.out, &Line::new(self.seconds, name, kind, item))?;
            writeln!(self.out)?;
        } else if let Item::Bins { thread, bins } = item {
            print_bins(self.out, name, *thread, bins)?;
        } else {
            if let Some(seconds) = self.seconds {
                write!(self.out, "{seconds:.6}:")?;
            }
            if self.machine {
                self.print_machine(name, kind, item)?;
            } else {
                self.print_text(name, item)?;
            }
        }
        Ok(())
    }

    fn print_text(&mut self, name: &str, item: &Item<'_>) -> io::Result<()> {
        let out = &mut *self.out;
        if let Item::Count(cell, _) | Item::Pair(cell, _) = item {
            write!(out, "[{}", cell.index)?;
            if let Some(thread) = cell.thread {
                write!(out, " @ {thread}")?;
            }
            out.write_all(b"]: ")?;
        }
        match item {
            Item::Number(number) => writeln!(out, "{number}.00 {name}"),
            Item::Count(_, count) => writeln!(out, "{count} packets {name}"),
            Item::Pair(_, Pair { packets, bytes }) => {
                writeln!(out, "{packets} packets, {bytes} bytes {name}")
            }
            Item::Name { index, name: text } => writeln!(out, "[{index}]: {text} {name}"),
            Item::Bins { .. } => Ok(()),
        }
    }

    fn print_machine(&mut self, name: &str, kind: Kind, item: &Item<'_>) -> io::Result<()> {
        let out = &mut *self.out;
        write!(out, "{}:", kind.number())?;
        if let Item::Count(cell, _) | Item::Pair(cell, _) = item {
            write!(out, "{}:", cell.index)?;
            if let Some(thread) = cell.thread {
                write!(out, "{thread}:")?;
            }
        }
        match item {
            Item::Number(number) => writeln!(out, "{number}.00:{name}"),
            Item::Count(_, count) => writeln!(out, "{count}:{name}"),
            Item::Pair(_, Pair { packets, bytes }) => writeln!(out, "{packets}:{bytes}:{name}"),
            Item::Name { index, name: text } => writeln!(out, "{index}:{text}:{name}"),
            Item::Bins { .. } => Ok(()),
        }
    }
}

fn print_bins(out: &mut impl Write, name: &str, thread: usize, bins: &Bins) -> io::Result<()> {
    writeln!(out, "Histogram {name} (thread {thread}):")?;
    let (mut cumulative, mut sum) = (0_u64, 0_u128);
    for (bin, &count) in bins.counts.iter().enumerate() {
        cumulative = cumulative.wrapping_add(count);
        // What was counted is not known better than to a factor of 2; VPP takes each bin's lower bound for it.
        let lower =
            u32::try_from(bin).ok().and_then(|bin| 1_u128.checked_shl(bin.saturating_add(bins.min_exp)));
        sum = sum.saturating_add(lower.unwrap_or(0).saturating_mul(count.into()));
        if let Some(upper) = bins.upper(bin) {
            writeln!(out, "  <= {upper}: {count} (cumulative: {cumulative})")?;
        }
    }
    writeln!(out, "  +Inf: {cumulative} (total count: {cumulative}, sum: {sum})")
}

/// A line of JSON.
#[derive(Serialize)]
struct Line<'v> {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<f64>,
    name: &'v str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<usize>,
    #[serde(flatten)]
    fields: Fields<'v>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'v> {
    Number { value: u64 },
    Pair { packets: u64, bytes: u64 },
    Name { text: &'v str },
    Bins { min_exp: u32, counts: &'v [u64] },
}

impl<'v> Line<'v> {
    fn new(timestamp: Option<f64>, name: &'v str, kind: Kind, item: &Item<'v>) -> Line<'v> {
        let (index, thread, fields) = match item {
            Item::Number(value) => (None, None, Fields::Number { value: *value }),
            Item::Count(cell, value) => (Some(cell.index), cell.thread, Fields::Number { value: *value }),
            Item::Pair(cell, Pair { packets, bytes }) => {
                (Some(cell.index), cell.thread, Fields::Pair { packets: *packets, bytes: *bytes })
            }
            Item::Name { index, name } => (Some(*index), None, Fields::Name { text: name }),
            Item::Bins { thread, bins } => {
                let fields = Fields::Bins { min_exp: bins.min_exp, counts: &bins.counts };
                (None, Some(*thread), fields)
            }
        };
        Line { timestamp, name, r#type: kind_word(kind), index, thread, fields }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use weir_stats::{Options, Reader, Segment};

    /// One entry of every kind below `/t/`, in a segment with a row for one worker.
    fn segment() -> Segment {
        let options = Options { size: 1 << 20, workers: 1, grace: Duration::ZERO };
        let mut segment = Segment::in_heap(options).unwrap();
        segment
            .register(|batch| {
                batch.scalar("/t/scalar", 20)?;
                batch.gauge("/t/gauge", 7)?;
                let mut simple = batch.simple("/t/drops", 2, 4)?;
                simple.take_row(1).unwrap().add(0, 7);
                let mut combined = batch.combined("/t/rx", 2, 4)?;
                combined.take_row(0).unwrap().add(1, 1, 64);
                combined.take_row(1).unwrap().add(1, 20, 2000);
                let mut names = batch.names("/t/names", 4)?;
                batch.set_name(&mut names, 0, "eth0")?;
                batch.set_name(&mut names, 1, "eth 1")?;
                let mut histogram = batch.histogram("/t/histogram", 4, 3)?;
                let mut row = histogram.take_row(1).unwrap();
                row.record_many(3, 2);
                row.record(40);
                row.record(1000);
                batch.ring("/t/ring", 8, 4, b"")?;
                batch.symlink("/t/link", combined.id(), 1)?;
                Ok(())
            })
            .unwrap();
        segment
    }

    fn shown(view: &View, json: bool, pattern: &str) -> String {
        let snapshot =
            Reader::of(&segment()).unwrap().snapshot(|entry| entry.name.contains(pattern)).unwrap();
        let mut out = Vec::new();
        let now = UNIX_EPOCH + Duration::from_micros(1_700_000_000_250_000);
        view.write_at(now, &snapshot, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_vpps() {
        assert_eq!(
            shown(&View::default(), false, "/t/"),
            "\
20.00 /t/scalar
7.00 /t/gauge
[0 @ 0]: 0 packets /t/drops
[1 @ 0]: 0 packets /t/drops
[0 @ 1]: 7 packets /t/drops
[1 @ 1]: 0 packets /t/drops
[0 @ 0]: 0 packets, 0 bytes /t/rx
[1 @ 0]: 1 packets, 64 bytes /t/rx
[0 @ 1]: 0 packets, 0 bytes /t/rx
[1 @ 1]: 20 packets, 2000 bytes /t/rx
[0]: eth0 /t/names
[1]: eth 1 /t/names
Histogram /t/histogram (thread 0):
  <= 31: 0 (cumulative: 0)
  <= 63: 0 (cumulative: 0)
  +Inf: 0 (total count: 0, sum: 0)
Histogram /t/histogram (thread 1):
  <= 31: 2 (cumulative: 2)
  <= 63: 1 (cumulative: 3)
  +Inf: 4 (total count: 4, sum: 128)
[0 @ 0]: 1 packets, 64 bytes /t/link
[0 @ 1]: 20 packets, 2000 bytes /t/link
"
        );
    }

    #[test]
    fn sums_without_zeros() {
        let view = View { summary: true, no_zeros: true, ..View::default() };
        assert_eq!(shown(&view, false, "/t/drops"), "[0]: 7 packets /t/drops\n");
        assert_eq!(shown(&view, false, "/t/rx"), "[1]: 21 packets, 2064 bytes /t/rx\n");
        assert_eq!(shown(&view, false, "/t/link"), "[0]: 21 packets, 2064 bytes /t/link\n");
        assert_eq!(
            shown(&View { summary: true, ..View::default() }, false, "drops"),
            "[0]: 7 packets /t/drops\n[1]: 0 packets /t/drops\n"
        );
    }

    #[test]
    fn one_index_alone() {
        let view = View { only_index: Some(1), ..View::default() };
        assert_eq!(
            shown(&view, false, "/t/rx"),
            "[1 @ 0]: 1 packets, 64 bytes /t/rx\n[1 @ 1]: 20 packets, 2000 bytes /t/rx\n"
        );
        let beyond = View { only_index: Some(2), ..View::default() };
        assert_eq!(shown(&beyond, false, "/t/rx"), "");
    }

    #[test]
    fn colons_are_vpps() {
        let view = View { machine: true, ..View::default() };
        assert_eq!(
            shown(&view, false, "/t/"),
            "\
1:20.00:/t/scalar
9:7.00:/t/gauge
2:0:0:0:/t/drops
2:1:0:0:/t/drops
2:0:1:7:/t/drops
2:1:1:0:/t/drops
3:0:0:0:0:/t/rx
3:1:0:1:64:/t/rx
3:0:1:0:0:/t/rx
3:1:1:20:2000:/t/rx
4:0:eth0:/t/names
4:1:eth 1:/t/names
Histogram /t/histogram (thread 0):
  <= 31: 0 (cumulative: 0)
  <= 63: 0 (cumulative: 0)
  +Inf: 0 (total count: 0, sum: 0)
Histogram /t/histogram (thread 1):
  <= 31: 2 (cumulative: 2)
  <= 63: 1 (cumulative: 3)
  +Inf: 4 (total count: 4, sum: 128)
3:0:0:1:64:/t/link
3:0:1:20:2000:/t/link
"
        );
        let sums = View { machine: true, summary: true, no_zeros: true, timestamp: true, ..View::default() };
        assert_eq!(shown(&sums, false, "/t/rx"), "1700000000.250000:3:1:21:2064:/t/rx\n");
    }

    #[test]
    fn the_time_begins_the_line() {
        let view = View { timestamp: true, ..View::default() };
        assert_eq!(shown(&view, false, "scalar"), "1700000000.250000:20.00 /t/scalar\n");
    }

    #[test]
    fn json_is_an_object_a_line() {
        assert_eq!(
            shown(&View { no_zeros: true, ..View::default() }, true, "/t/"),
            r#"{"name":"/t/scalar","type":"scalar","value":20}
{"name":"/t/gauge","type":"gauge","value":7}
{"name":"/t/drops","type":"simple","index":0,"thread":1,"value":7}
{"name":"/t/rx","type":"combined","index":1,"thread":0,"packets":1,"bytes":64}
{"name":"/t/rx","type":"combined","index":1,"thread":1,"packets":20,"bytes":2000}
{"name":"/t/names","type":"names","index":0,"text":"eth0"}
{"name":"/t/names","type":"names","index":1,"text":"eth 1"}
{"name":"/t/histogram","type":"histogram","thread":0,"min_exp":4,"counts":[0,0,0]}
{"name":"/t/histogram","type":"histogram","thread":1,"min_exp":4,"counts":[2,1,1]}
{"name":"/t/link","type":"combined","index":0,"thread":0,"packets":1,"bytes":64}
{"name":"/t/link","type":"combined","index":0,"thread":1,"packets":20,"bytes":2000}
"#
        );
        let sums = View { summary: true, timestamp: true, only_index: Some(1), ..View::default() };
        assert_eq!(
            shown(&sums, true, "/t/rx"),
            "{\"timestamp\":1700000000.25,\"name\":\"/t/rx\",\"type\":\"combined\",\"index\":1,\"packets\":21,\"bytes\":2064}\n"
        );
    }

    #[test]
    fn the_largest_numbers_are_exact() {
        let options = Options { size: 1 << 20, workers: 0, grace: Duration::ZERO };
        let mut segment = Segment::in_heap(options).unwrap();
        segment.register(|batch| batch.scalar("/t/scalar", u64::MAX)).unwrap();
        let snapshot = Reader::of(&segment).unwrap().snapshot(|entry| entry.name == "/t/scalar").unwrap();
        for (json, text) in [(false, "18446744073709551615.00 "), (true, "\"value\":18446744073709551615}")] {
            let mut out = Vec::new();
            View::default().write(&snapshot, json, &mut out).unwrap();
            assert!(String::from_utf8(out).unwrap().contains(text));
        }
    }
}
