//! One pass over the segment: entry by entry, large vectors in parts, each part printed and forgotten.

use std::io::{self, Write};
use std::ops::Range;

use weir_stats::{Entry, Extent, Kind, ReadError, Reader, Value};

use crate::baseline::{Baseline, Past};
use crate::complain;
use crate::lines::{Cell, Lines, Subject};
use crate::names::{Meaning, Names};
use crate::view::View;

/// Columns of a part: 128 KiB of counters. Less would cost more steps, more would cost memory.
const PART: usize = 16_384;

/// What a pass needs.
#[derive(Debug)]
pub struct Pass<'p, W> {
    /// The segment.
    pub reader: &'p Reader,
    /// What its paths mean.
    pub meaning: &'p Meaning,
    /// How values are shown.
    pub view: &'p View,
    /// What they are compared with.
    pub baseline: &'p mut Baseline,
    /// Where they go.
    pub lines: Lines<W>,
    /// Nothing is printed: this is the reading that the next one is compared with.
    pub silent: bool,
}

/// Why a pass ended early.
#[derive(Debug)]
pub enum Trouble {
    /// The segment could not be read.
    Read(ReadError),
    /// The lines could not be written.
    Output(io::Error),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Trouble {
        Trouble::Read(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Output(error)
    }
}

/// How an entry is compared.
#[derive(Clone, Copy)]
struct How {
    /// Its past is subtracted.
    subtract: bool,
    per: Option<f64>,
    print: bool,
}

impl<W: Write> Pass<'_, W> {
    /// Prints these entries.
    pub fn run<'e>(&mut self, entries: impl IntoIterator<Item = &'e Entry>) -> Result<(), Trouble> {
        for entry in entries {
            match self.entry(entry) {
                Err(Trouble::Read(ReadError::Stale { name })) => {
                    complain(format!("{name} was removed while it was read: it is not complete"));
                }
                result => result?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Trouble> {
        match entry.kind {
            Kind::Simple | Kind::Combined => self.vector(entry),
            Kind::Names => self.names(entry),
            Kind::Scalar | Kind::Gauge | Kind::Histogram | Kind::Symlink => self.whole(entry),
            // As in VPP's tool: records are for programs that know their schema.
            Kind::Ring | Kind::Empty => Ok(()),
        }
    }

    fn how(&self, entry: &Entry, now: &Past) -> How {
        let how = How { subtract: false, per: None, print: !self.silent };
        if matches!(self.baseline, Baseline::None) || !self.meaning.catalogue.counts(&entry.name, entry.kind)
        {
            return how;
        }
        let Some(past) = self.baseline.past(entry) else {
            return How { print: how.print && !self.baseline.is_rate(), ..how };
        };
        let per = past.elapsed(now).map(|elapsed| elapsed.as_secs_f64().max(f64::MIN_POSITIVE));
        How { subtract: true, per, ..how }
    }

    fn names(&mut self, entry: &Entry) -> Result<(), Trouble> {
        let subject = Subject { name: &entry.name, kind: Kind::Names, unit: "", names: None, per: None };
        let Extent { columns, .. } = self.reader.extent(entry)?;
        for part in parts(0..columns, PART) {
            if let (false, Value::Names(texts)) = (self.silent, self.reader.part(entry, 0, part.clone())?) {
                self.lines.texts(&subject, part.start, &texts)?;
            }
        }
        Ok(())
    }

    fn whole(&mut self, entry: &Entry) -> Result<(), Trouble> {
        let meaning = self.meaning;
        let read = self.reader.read(entry)?;
        let now = Past::now(if self.baseline.is_rate() { read.clone() } else { Value::Scalar(0) });
        let how = self.how(entry, &now);
        let past = self.baseline.past(entry).filter(|_| how.subtract).and_then(Past::value);
        let value = match past {
            Some(past) if self.baseline.is_of_sums() => read.merged().since(past),
            Some(past) => read.since(past),
            None => read,
        };
        if how.print {
            let unit = unit(meaning, entry, how);
            let subject = Subject { name: &entry.name, kind: entry.kind, unit, names: None, per: how.per };
            self.print(&subject, &value)?;
        }
        self.baseline.keep(entry, now);
        Ok(())
    }

    fn print(&mut self, subject: &Subject<'_>, value: &Value) -> Result<(), Trouble> {
        let column = Cell { index: 0, thread: None };
        match value {
            Value::Scalar(number) | Value::Gauge(number) => self.lines.number(subject, *number)?,
            Value::Histogram(rows) => {
                for (thread, bins) in rows.iter().enumerate().filter(|(_, bins)| !bins.counts.is_empty()) {
                    self.lines.bins(subject, thread, bins)?;
                }
            }
            Value::Symlink { value, .. } if self.view.summary => {
                self.print_linked(subject, &value.merged(), |_| column)?;
            }
            Value::Symlink { value, .. } => {
                self.print_linked(subject, value, |row| Cell { thread: Some(row), ..column })?;
            }
            Value::Simple(_) | Value::Combined(_) | Value::Names(_) | Value::Ring(_) => {}
        }
        Ok(())
    }

    /// The column that a symlink leads to, row by row.
    fn print_linked(
        &mut self,
        subject: &Subject<'_>,
        value: &Value,
        cell: impl Fn(usize) -> Cell,
    ) -> io::Result<()> {
        if self.view.only_index.is_some_and(|only| only != 0) {
            return Ok(());
        }
        match value {
            Value::Simple(rows) => rows.iter().enumerate().try_for_each(|(row, counts)| {
                self.lines.counts(&Subject { kind: Kind::Simple, ..*subject }, cell(row), counts)
            }),
            Value::Combined(rows) => rows.iter().enumerate().try_for_each(|(row, pairs)| {
                self.lines.pairs(&Subject { kind: Kind::Combined, ..*subject }, cell(row), pairs)
            }),
            _ => Ok(()),
        }
    }

    fn vector(&mut self, entry: &Entry) -> Result<(), Trouble> {
        let meaning = self.meaning;
        let names = meaning.names(entry, self.reader)?;
        let Extent { rows, columns } = self.reader.extent(entry)?;
        let width = names.bins().map_or(1, |bounds| bounds.width());
        let columns = match self.view.only_index {
            Some(index) => {
                let first = index.saturating_mul(width).min(columns);
                first..first.saturating_add(width).min(columns)
            }
            None => 0..columns,
        };
        let step = part_of(width);
        let mut now = Past::vector(entry.kind, step);
        let how = self.how(entry, &now);
        let unit = unit(meaning, entry, how);
        let subject =
            Subject { name: &entry.name, kind: entry.kind, unit, names: Some(&names), per: how.per };
        if self.view.summary {
            for part in parts(columns, step) {
                let mut changes = Vec::with_capacity(rows);
                for row in 0..rows {
                    changes.push(self.part(entry, row, &part, how, &mut now)?);
                }
                let Some(mut sum) = sum(changes) else { continue };
                if let (true, true, Some(past)) =
                    (how.subtract, self.baseline.is_of_sums(), self.baseline.past(entry))
                    && let Some(past) = past.part(0, &part)
                {
                    sum = sum.since(&past);
                }
                self.print_part(&subject, &sum, None, part.start, &names, how)?;
            }
        } else {
            for row in 0..rows {
                for part in parts(columns.clone(), step) {
                    let change = self.part(entry, row, &part, how, &mut now)?;
                    self.print_part(&subject, &change, Some(row), part.start, &names, how)?;
                }
            }
        }
        self.baseline.keep(entry, now);
        Ok(())
    }

    /// A part of a row, compared with its past unless that is one of sums.
    fn part(
        &mut self,
        entry: &Entry,
        row: usize,
        part: &Range<usize>,
        how: How,
        now: &mut Past,
    ) -> Result<Value, Trouble> {
        let value = self.reader.part(entry, row, part.clone())?;
        if self.baseline.is_rate() {
            now.put(row, part.start, &value);
        }
        if !how.subtract || self.baseline.is_of_sums() {
            return Ok(value);
        }
        let past = self.baseline.past(entry).and_then(|past| past.part(row, part));
        Ok(past.map_or_else(|| value.clone(), |past| value.since(&past)))
    }

    fn print_part(
        &mut self,
        subject: &Subject<'_>,
        value: &Value,
        thread: Option<usize>,
        column: usize,
        names: &Names,
        how: How,
    ) -> io::Result<()> {
        if !how.print {
            return Ok(());
        }
        match (value, names.bins()) {
            (Value::Simple(rows), Some(bounds)) => {
                let first = Cell { index: column / bounds.width(), thread };
                rows.iter().try_for_each(|cells| self.lines.distributions(subject, bounds, first, cells))
            }
            (Value::Simple(rows), None) => rows
                .iter()
                .try_for_each(|counts| self.lines.counts(subject, Cell { index: column, thread }, counts)),
            (Value::Combined(rows), _) => rows
                .iter()
                .try_for_each(|pairs| self.lines.pairs(subject, Cell { index: column, thread }, pairs)),
            _ => Ok(()),
        }
    }
}

/// The same part of several rows, added up.
fn sum(parts: Vec<Value>) -> Option<Value> {
    let rows = parts.into_iter().reduce(|mut all, part| {
        match (&mut all, part) {
            (Value::Simple(rows), Value::Simple(row)) => rows.extend(row),
            (Value::Combined(rows), Value::Combined(row)) => rows.extend(row),
            _ => {}
        }
        all
    });
    rows.map(|rows| rows.merged())
}

/// What an entry counts; `packets` where nobody says, as VPP calls everything.
fn unit<'m>(meaning: &'m Meaning, entry: &'m Entry, how: How) -> &'m str {
    // Only rates say so.
    if how.per.is_none() {
        return "";
    }
    meaning.catalogue.describe(&entry.name).map_or("packets", |described| &described.description.unit)
}

/// Columns of a part of a vector whose objects have so many.
pub fn part_of(width: usize) -> usize {
    (PART / width).max(1) * width
}

/// A range in parts of so many.
fn parts(columns: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let end = columns.end;
    columns.step_by(step).map(move |first| first..first.saturating_add(step).min(end))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use weir_stats::{Bounds, Description, Options, Segment};

    use super::*;

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

    /// What a pass over the entries with this in their names prints.
    fn pass(segment: &Segment, view: &View, json: bool, pattern: &str, baseline: &mut Baseline) -> String {
        let reader = &Reader::of(segment).unwrap();
        let meaning = &Meaning::of(reader).unwrap();
        let lines = Lines::new(view, json, 1_700_000_000.25, Vec::new());
        let mut pass = Pass { reader, meaning, view, baseline, lines, silent: false };
        pass.run(meaning.listing.iter().filter(|entry| entry.name.contains(pattern))).unwrap();
        String::from_utf8(pass.lines.into_inner()).unwrap()
    }

    fn shown(view: &View, json: bool, pattern: &str) -> String {
        pass(&segment(), view, json, pattern, &mut Baseline::None)
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
        for (json, text) in [(false, "18446744073709551615.00 "), (true, "\"value\":18446744073709551615}")] {
            assert!(pass(&segment, &View::default(), json, "/t/", &mut Baseline::None).contains(text));
        }
    }

    /// More customers than a part has columns, with counters and histograms; every third has a round trip.
    fn customers() -> Segment {
        const CUSTOMERS: usize = PART + 7;
        let options = Options { size: 64 << 20, workers: 1, grace: Duration::ZERO };
        let mut segment = Segment::in_heap(options).unwrap();
        segment
            .register(|batch| {
                let mut names = batch.names("/c/names", CUSTOMERS)?;
                for customer in 0..CUSTOMERS {
                    batch.set_name(&mut names, customer, &format!("c\"{customer}"))?;
                }
                let mut bins = batch.names("/c/bins", 4)?;
                for (at, name) in Bounds::names(&[10, 20]).iter().enumerate() {
                    batch.set_name(&mut bins, at, name)?;
                }
                let mut rx = batch.combined("/c/rx", CUSTOMERS, CUSTOMERS)?;
                let mut row = rx.take_row(1).unwrap();
                (0..CUSTOMERS).for_each(|customer| row.add(customer, customer as u64 + 1, 1));
                let mut rtt = batch.simple("/c/rtt", CUSTOMERS * 4, CUSTOMERS * 4)?;
                for (row, times) in [(0, 1), (1, 2)] {
                    let mut row = rtt.take_row(row).unwrap();
                    for customer in (0..CUSTOMERS).step_by(3) {
                        row.add(customer * 4 + 1, times);
                        row.add(customer * 4 + 2, 1);
                        row.add(customer * 4 + 3, 50 + times);
                    }
                }
                Ok(())
            })
            .unwrap();
        let described = [
            Description::combined("/c/rx", "customer=/c/names", "received"),
            Description::simple("/c/rtt", "microseconds", "customer=/c/names,le=/c/bins", "round trips"),
        ];
        segment.describe(&described).unwrap();
        segment
    }

    #[test]
    fn parts_leave_no_seam() {
        let segment = customers();
        let text =
            pass(&segment, &View { no_zeros: true, ..View::default() }, false, "/c/rx", &mut Baseline::None);
        let expected: String =
            (0..PART + 7).map(|c| format!("[{c} @ 1]: {} packets, 1 bytes /c/rx\n", c + 1)).collect();
        assert!(text == expected, "{}", text.len());
        let sums = View { summary: true, ..View::default() };
        let sums = pass(&segment, &sums, true, "/c/rx", &mut Baseline::None);
        for (customer, line) in sums.lines().enumerate() {
            let name = serde_json::to_string(&format!("c\"{customer}")).unwrap();
            let count = customer + 1;
            let start = r#"{"name":"/c/rx","type":"combined","index":"#;
            assert_eq!(
                line,
                format!("{start}{customer},\"column\":{name},\"packets\":{count},\"bytes\":1}}")
            );
        }
        assert_eq!(sums.lines().count(), PART + 7);
    }

    #[test]
    fn a_matrix_is_a_histogram_for_each_object() {
        let segment = customers();
        let shown = |view: &View, json| pass(&segment, view, json, "/c/rtt", &mut Baseline::None);
        let all = shown(&View::default(), true);
        assert_eq!(all.lines().count(), 2 * (PART + 7).div_ceil(3), "those without counts are left out");
        let one = View { only_index: Some(PART + 5), ..View::default() };
        assert_eq!(
            shown(&one, true),
            r#"{"name":"/c/rtt","type":"distribution","index":16389,"column":"c\"16389","thread":0,"count":2,"sum":51,"bins":{"20":1,"+Inf":1}}
{"name":"/c/rtt","type":"distribution","index":16389,"column":"c\"16389","thread":1,"count":3,"sum":52,"bins":{"20":2,"+Inf":1}}
"#
        );
        assert!(shown(&one, true).lines().all(|line| all.contains(line)));
        let sum = View { summary: true, ..one };
        assert_eq!(
            shown(&sum, false),
            "Histogram /c/rtt [16389] c\"16389:\n  <= 20: 3 (cumulative: 3)\n  +Inf: 5 (total count: 5, sum: 103)\n"
        );
        let none = View { only_index: Some(PART + 6), ..View::default() };
        assert_eq!(shown(&none, false), "");
    }

    #[test]
    fn rates_are_over_the_time_between_two_readings() {
        let mut segment = customers();
        let (mut simple, held) = segment
            .register(|batch| Ok((batch.simple("/t/calls", 2, 2)?, batch.gauge("/t/held", 5)?)))
            .unwrap();
        segment.register(|batch| batch.scalar("/t/beats", 5)).unwrap();
        let mut row = simple.take_row(1).unwrap();
        row.add(0, 1000);
        let view = View { no_zeros: true, ..View::default() };
        let mut baseline = Baseline::Last(HashMap::new());
        assert_eq!(
            pass(&segment, &view, false, "/t/", &mut baseline),
            "5.00 /t/held\n",
            "no counter has a rate"
        );
        baseline.age(Duration::from_secs(3600));
        row.add(0, 36_000_000);
        row.add(1, 1);
        held.set(6);
        let text = pass(&segment, &view, false, "/t/", &mut baseline);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words[..6], ["[0", "@", "1]:", words[3], "packets/s", "/t/calls"]);
        let rate: f64 = words[3].parse().unwrap();
        assert!((9990.0..=10_000.0).contains(&rate), "{text}");
        assert!(
            text.contains("[1 @ 1]: 0.000278 packets/s /t/calls\n6.00 /t/held\n0 packets/s /t/beats\n"),
            "{text}"
        );
        baseline.age(Duration::from_secs(100));
        row.add(1, 1_000_000);
        let text = pass(&segment, &view, true, "/t/calls", &mut baseline);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let rate = line["value_per_second"].as_f64().unwrap();
        assert!((9900.0..=10_000.0).contains(&rate) && line.get("value").is_none(), "{text}");
    }
}
