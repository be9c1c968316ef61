//! A scrape's text in OpenMetrics 1.0: what was read, and what the exporter says of itself.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use weir_stats::{Bins, Distribution, Pair};

use super::plan::{Family, Field, Label, Object, Plan, RowLabel, Shape, Source, queried};
use super::values::Values;

/// The names of the metrics below, which no path may have.
pub const RESERVED: [&str; 9] = [
    "weir_up",
    "weir_heartbeat_age_seconds",
    "weir_start_time_seconds",
    "weir_exporter_build",
    "weir_exporter_readings",
    "weir_exporter_read_failures",
    "weir_exporter_series_omitted",
    "weir_exporter_entries_omitted",
    "weir_exporter_scrape_duration_seconds",
];

/// All that one scrape says.
#[derive(Debug)]
pub struct Exposition {
    /// When the scrape began.
    pub begun: Instant,
    /// What is known of the writer.
    pub writer: Writer,
    /// What was read of a live one.
    pub numbers: Option<Numbers>,
    /// Readings so far, this one included.
    pub readings: u64,
    /// Those that found no live writer or could not read it.
    pub failures: u64,
    /// The most series of a metric.
    pub limit: usize,
}

/// What is known of a segment's writer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writer {
    /// It counts.
    pub is_live: bool,
    /// Since its last heartbeat.
    pub heartbeat_age: Option<Duration>,
    /// Its start, in seconds of UNIX time.
    pub start_time: Option<u64>,
}

/// What was read, and according to what.
#[derive(Debug)]
pub struct Numbers {
    /// What is exported.
    pub plan: Arc<Plan>,
    /// In the order of the plan's reads.
    pub values: Vec<Values>,
}

impl Exposition {
    /// The text.
    pub fn into_text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut omitted = Vec::new();
        if let Some(Numbers { plan, values }) = &self.numbers {
            omitted.clone_from(&plan.omitted);
            for family in &plan.families {
                let left_out = self.family(family, plan, values, &mut encoder)?;
                if left_out > 0 {
                    let metric = queried(&family.name.full(), family.kind);
                    match omitted.iter_mut().find(|(name, _)| *name == metric) {
                        Some((_, count)) => *count += left_out,
                        None => omitted.push((metric, left_out)),
                    }
                }
            }
        }
        self.own(&omitted, &mut encoder)
    }
}

impl Exposition {
    /// Writes a metric; returns the number of series for which there was no room.
    fn family(
        &self,
        family: &Family,
        plan: &Plan,
        values: &[Values],
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<u64, fmt::Error> {
        let name = &family.name;
        let encoder = encoder.encode_descriptor(&name.base, &family.help, name.unit.as_ref(), family.kind)?;
        let mut series =
            Series { encoder, kind: family.kind, divisor: name.divisor, left: self.limit, omitted: 0 };
        for source in &family.sources {
            if let (Some(read), Some(values)) = (plan.reads.get(source.read), values.get(source.read)) {
                series.source(source, &read.shape, values)?;
            }
        }
        Ok(series.omitted)
    }

    /// What the exporter says of weir and of itself.
    fn own(&self, omitted: &[(String, u64)], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Writer { is_live, heartbeat_age, start_time } = self.writer;
        let mut gauge = |name: &str, unit: Option<Unit>, help: &str, value: f64| {
            encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)
        };
        let help =
            "1 if weir lives and its numbers are here; 0 if it is stuck, dead or not there, without numbers";
        gauge("weir_up", None, help, if is_live { 1.0 } else { 0.0 })?;
        if let Some(age) = heartbeat_age {
            let help =
                "since weir's last heartbeat; four beats a second are usual, 3 s without one are an end";
            gauge("weir_heartbeat_age", Some(Unit::Seconds), help, age.as_secs_f64())?;
        }
        if let Some(start) = start_time {
            let help = "when weir began, in UNIX time (/sys/boottime)";
            gauge("weir_start_time", Some(Unit::Seconds), help, start as f64)?;
        }
        let clashes = self.numbers.as_ref().map_or(0, |numbers| numbers.plan.clashes.len());
        let help = "entries that are not exported because another metric has the name that they would have";
        gauge("weir_exporter_entries_omitted", None, help, clashes as f64)?;

        let help = "series that --max-series has left out, by metric";
        let mut left_out =
            encoder.encode_descriptor("weir_exporter_series_omitted", help, None, MetricType::Gauge)?;
        for (metric, count) in omitted {
            left_out.encode_family(&[("metric", metric.as_str())])?.encode_gauge(count)?;
        }
        let counters = [
            ("weir_exporter_readings", "times that the exporter has tried to read weir", self.readings),
            (
                "weir_exporter_read_failures",
                "those of which weir was not live or not readable",
                self.failures,
            ),
        ];
        for (name, help, count) in counters {
            let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
        }
        let help = "the version of weirstat that exports this";
        let mut build = encoder.encode_descriptor("weir_exporter_build", help, None, MetricType::Info)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        // Last, so that it holds what came before.
        let help = "time that it took to read weir and to write this";
        let unit = Unit::Seconds;
        let name = "weir_exporter_scrape_duration";
        let mut duration = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
        duration.encode_gauge(&self.begun.elapsed().as_secs_f64())
    }
}

/// The series of one metric, being written.
struct Series<'e> {
    encoder: MetricEncoder<'e>,
    kind: MetricType,
    divisor: Option<f64>,
    /// How many more there may be.
    left: usize,
    /// How many there were too many.
    omitted: u64,
}

/// Labels of one series.
struct Labels<'a> {
    fixed: &'a [Label],
    object: &'a [Label],
    row: Option<(&'static str, RowName)>,
}

#[derive(Clone, Copy)]
enum RowName {
    Number(usize),
    Control,
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.fixed.iter().chain(self.object) {
            (&**name, value.as_str()).encode(encoder.encode_label())?;
        }
        match self.row {
            Some((name, RowName::Number(number))) => (name, number).encode(encoder.encode_label()),
            Some((name, RowName::Control)) => (name, "control").encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}

impl Labels<'_> {
    fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.object.is_empty() && self.row.is_none()
    }
}

impl Series<'_> {
    fn source(&mut self, source: &Source, shape: &Shape, values: &Values) -> fmt::Result {
        let fixed = source.labels.as_slice();
        match (shape, values, &source.field) {
            (Shape::Number, Values::Number(number), field) => {
                let number = match field {
                    Field::Uptime => unix_seconds().saturating_sub(*number),
                    _ => *number,
                };
                self.number(&Labels { fixed, object: &[], row: None }, number)
            }
            (Shape::Bins, Values::Bins(rows), _) => self.bins(source, rows),
            (Shape::Cells { objects, width, .. }, Values::Simple(rows), Field::Bounded(bounds)) => {
                // All rows as one.
                let cells = rows.first().map_or(&[][..], Vec::as_slice);
                for (object, cells) in objects.iter().zip(cells.chunks(*width)) {
                    let labels = Labels { fixed, object: &object.labels, row: None };
                    self.histogram(&labels, &bounds.distribution(cells))?;
                }
                Ok(())
            }
            (Shape::Cells { objects, .. }, Values::Simple(rows), _) => {
                self.cells(source, objects, rows, |number| *number)
            }
            (Shape::Cells { objects, .. }, Values::Combined(rows), Field::Bytes) => {
                self.cells(source, objects, rows, |pair: &Pair| pair.bytes)
            }
            (Shape::Cells { objects, .. }, Values::Combined(rows), _) => {
                self.cells(source, objects, rows, |pair: &Pair| pair.packets)
            }
            // A plan whose entries have changed their kind since is read no more.
            _ => Ok(()),
        }
    }

    /// One series for each object and row, or for each object.
    fn cells<T>(
        &mut self,
        source: &Source,
        objects: &[Object],
        rows: &[Vec<T>],
        number: impl Fn(&T) -> u64,
    ) -> fmt::Result {
        for (position, object) in objects.iter().enumerate() {
            let cell = |row: &Vec<T>| row.get(position).map_or(0, &number);
            let labels = |row| Labels { fixed: &source.labels, object: &object.labels, row };
            let Some(name) = source.rows.name() else {
                self.number(&labels(None), rows.first().map_or(0, cell))?;
                continue;
            };
            for (number, row) in rows.iter().enumerate() {
                let value = cell(row);
                let row = match (source.rows, number) {
                    (RowLabel::Worker, 0) if value == 0 => continue,
                    (RowLabel::Worker, 0) => RowName::Control,
                    (RowLabel::Worker, row) => RowName::Number(row - 1),
                    (_, row) => RowName::Number(row),
                };
                self.number(&labels(Some((name, row))), value)?;
            }
        }
        Ok(())
    }

    fn bins(&mut self, source: &Source, rows: &[Bins]) -> fmt::Result {
        let labels = |row| Labels { fixed: &source.labels, object: &[], row };
        match source.rows.name() {
            None => self.histogram(&labels(None), &Distribution::from(&Bins::merged(rows))),
            Some(name) => rows.iter().enumerate().try_for_each(|(row, bins)| {
                self.histogram(&labels(Some((name, RowName::Number(row)))), &Distribution::from(bins))
            }),
        }
    }

    fn number(&mut self, labels: &Labels<'_>, number: u64) -> fmt::Result {
        if !self.take(1) {
            return Ok(());
        }
        if labels.is_empty() {
            return write(&mut self.encoder, self.kind, self.divisor, number);
        }
        write(&mut self.encoder.encode_family(labels)?, self.kind, self.divisor, number)
    }

    fn histogram(&mut self, labels: &Labels<'_>, distribution: &Distribution) -> fmt::Result {
        let divisor = self.divisor.unwrap_or(1.0);
        let scaled = |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| bound as f64 / divisor);
        let buckets: Vec<(f64, u64)> =
            distribution.bins().map(|(bound, count)| (scaled(bound), count)).collect();
        if !self.take(buckets.len() + 2) {
            return Ok(());
        }
        let sum = distribution.sum().map_or_else(|| estimate(distribution), |sum| sum as f64) / divisor;
        let count = distribution.count();
        if labels.is_empty() {
            return self.encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None);
        }
        self.encoder.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    /// Whether there is room for so many series more.
    fn take(&mut self, series: usize) -> bool {
        let has_room = self.left >= series;
        if has_room {
            self.left -= series;
        } else {
            self.omitted += series as u64;
        }
        has_room
    }
}

fn write(
    encoder: &mut MetricEncoder<'_>,
    kind: MetricType,
    divisor: Option<f64>,
    number: u64,
) -> fmt::Result {
    match (kind, divisor) {
        (MetricType::Counter, None) => encoder.encode_counter::<NoLabelSet, u64, f64>(&number, None),
        (MetricType::Counter, Some(divisor)) => {
            encoder.encode_counter::<NoLabelSet, f64, f64>(&(number as f64 / divisor), None)
        }
        (_, None) => encoder.encode_gauge(&number),
        (_, Some(divisor)) => encoder.encode_gauge(&(number as f64 / divisor)),
    }
}

/// The sum of what a histogram has counted, taking each value as the middle of its bin, and as the bound at which the last
/// bin begins: what is counted only adds to it, so that it never goes down.
fn estimate(distribution: &Distribution) -> f64 {
    let (mut sum, mut lower) = (0.0, 0_u64);
    for (upper, count) in distribution.bins() {
        let middle = upper.map_or(lower as f64, |upper| (lower as f64 + upper as f64) / 2.0);
        sum += middle * count as f64;
        lower = upper.map_or(0, |upper| upper.saturating_add(1));
    }
    sum
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::classic;
    use crate::prometheus::names::{self, Name};
    use crate::prometheus::plan::Read;
    use weir_stats::{Bounds, Options, Reader, Segment};

    /// The samples of one metric whose one object has this label.
    fn written(kind: MetricType, field: Field, values: Values, name: Name, value: &str) -> Vec<String> {
        let options = Options { size: 1 << 20, workers: 1, grace: Duration::ZERO };
        let segment = Segment::in_heap(options).unwrap();
        let entry = Reader::of(&segment).unwrap().list().unwrap().remove(0);
        let labels = vec![("name".into(), value.to_owned())];
        let rows = if matches!(field, Field::Number) { RowLabel::Worker } else { RowLabel::Sum };
        let shape = match &field {
            Field::Bins => Shape::Bins,
            field => {
                let width = if let Field::Bounded(bounds) = field { bounds.width() } else { 1 };
                let objects = Arc::from([Object { number: 0, labels }]);
                Shape::Cells { rows: 3, is_merged: rows == RowLabel::Sum, objects, width }
            }
        };
        let source = Source { read: 0, field, labels: Vec::new(), rows };
        let family = Family { name, help: names::help("a \"help\""), kind, sources: vec![source] };
        let plan = Plan { reads: vec![Read { entry, shape }], families: vec![family], ..Plan::default() };
        let numbers = Some(Numbers { plan: Arc::new(plan), values: vec![values] });
        let (begun, writer) = (Instant::now(), Writer::default());
        let exposition = Exposition { begun, writer, numbers, readings: 1, failures: 0, limit: 10 };
        let text = exposition.into_text().unwrap();
        let own = text.find("# HELP weir_up").unwrap();
        assert!(classic::from_openmetrics(&text).contains("# HELP x"));
        text[..own].lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn label_values_may_be_anything() {
        for (value, escaped) in [
            ("plain", "plain"),
            (r#"a "quoted" one"#, r#"a \"quoted\" one"#),
            (r"back\slash\n", r"back\\slash\\n"),
            ("two\nlines", r"two\nlines"),
            ("größer → 学", "größer → 学"),
            ("", ""),
            ("# TYPE x counter", "# TYPE x counter"),
        ] {
            let values = Values::Simple(vec![vec![0], vec![5], vec![7]]);
            let lines = written(MetricType::Counter, Field::Number, values, Name::whole("x"), value);
            let line = |worker, number| format!("x_total{{name=\"{escaped}\",worker=\"{worker}\"}} {number}");
            assert_eq!(lines, [line(0, 5), line(1, 7)]);
        }
    }

    #[test]
    fn the_control_thread_is_there_when_it_has_counted() {
        let values = Values::Simple(vec![vec![u64::MAX], vec![0], vec![1]]);
        let lines = written(MetricType::Gauge, Field::Number, values, Name::whole("x"), "a");
        assert_eq!(
            lines,
            [
                r#"x{name="a",worker="control"} 18446744073709551615"#,
                r#"x{name="a",worker="0"} 0"#,
                r#"x{name="a",worker="1"} 1"#
            ]
        );
    }

    #[test]
    fn times_are_divided() {
        let values = Values::Simple(vec![vec![0], vec![1], vec![1_500_000_000]]);
        let mut name = Name::of("/x", "nanoseconds");
        name.base = "x".to_owned();
        let lines = written(MetricType::Counter, Field::Number, values, name, "a");
        assert_eq!(
            lines,
            [r#"x_seconds_total{name="a",worker="0"} 1e-9"#, r#"x_seconds_total{name="a",worker="1"} 1.5"#]
        );
    }

    #[test]
    fn histograms_are_cumulative() {
        let bounds = Bounds::of_names(&Bounds::names(&[10, 20])).unwrap();
        let values = Values::Simple(vec![vec![2, 2, 3, 105]]);
        let lines = written(MetricType::Histogram, Field::Bounded(bounds), values, Name::whole("x"), "a");
        assert_eq!(
            lines,
            [
                r#"x_sum{name="a"} 105.0"#,
                r#"x_count{name="a"} 7"#,
                r#"x_bucket{le="10.0",name="a"} 2"#,
                r#"x_bucket{le="20.0",name="a"} 4"#,
                r#"x_bucket{le="+Inf",name="a"} 7"#
            ]
        );
    }

    #[test]
    fn a_sum_that_nobody_knows_is_estimated() {
        let bins = |counts: [u64; 3]| Bins { min_exp: 2, counts: counts.to_vec() };
        let values = Values::Bins(vec![bins([1, 0, 0]), bins([1, 2, 1])]);
        let lines = written(MetricType::Histogram, Field::Bins, values, Name::whole("x"), "a");
        // 0 to 7, 8 to 15, 16 and more: 2 × 3.5 + 2 × 11.5 + 16
        assert_eq!(
            lines,
            [
                "x_sum 46.0",
                "x_count 5",
                r#"x_bucket{le="7.0"} 2"#,
                r#"x_bucket{le="15.0"} 4"#,
                r#"x_bucket{le="+Inf"} 5"#
            ]
        );
    }
}
