//! weir's own naming: metrics are called by paths and units, and have labels for what columns, rows and placeholders are.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use prometheus_client::metrics::MetricType;
use weir_stats::{Catalogue, Columns, Described, Entry, Extent, Kind, ReadError, Reader, Rows, Semantics};

use super::names::{self, Name};
use super::plan::{Builder, Field, Label, Object, Proposal, Read, RowLabel, Shape, Source};

/// What the exporter says by itself: the writer's start, and when its heart last beat.
const SAID_OTHERWISE: [&str; 2] = ["/sys/boottime", "/sys/heartbeat_ns"];

/// The label of what there may be a million of.
const CUSTOMER: &str = "customer";

/// What stands in the help of histograms whose writer does not add up what it counts.
const ESTIMATED: &str = "; _sum is an estimate that takes each value as the middle of its bucket";

/// The path of an entry that is exported, its meaning, and what it is read from.
struct Found<'a> {
    entry: &'a Entry,
    described: Option<Described<'a>>,
    extent: Extent,
}

/// Plans the export of these entries of the reader's listing.
pub fn plan(
    builder: &mut Builder,
    wanted: impl Fn(&str) -> bool,
    listing: &[Entry],
    catalogue: &Catalogue,
    reader: &Reader,
) -> Result<(), ReadError> {
    let mut all = Vec::new();
    for entry in listing {
        // Symlinks are other names of numbers that have one.
        let has_numbers = matches!(
            entry.kind,
            Kind::Scalar | Kind::Gauge | Kind::Simple | Kind::Combined | Kind::Histogram
        );
        if !has_numbers || SAID_OTHERWISE.contains(&entry.name.as_str()) || !wanted(&entry.name) {
            continue;
        }
        // A template may fit entries that it was not written for.
        let described =
            catalogue.describe(&entry.name).filter(|described| described.description.kind == entry.kind);
        if described.as_ref().is_some_and(|it| it.description.semantics == Semantics::Text) {
            continue;
        }
        all.push(Found { entry, described, extent: reader.extent(entry)? });
    }
    let mut columns = ColumnCache::default();
    let mut sharing: HashMap<&str, usize> = HashMap::new();
    all.iter().for_each(|found| *sharing.entry(found.identity()).or_default() += 1);
    for found in &all {
        let columns = columns.of(found, listing, reader)?;
        found.add(builder, &columns, sharing.get(found.identity()).copied().unwrap_or(1));
    }
    Ok(())
}

/// Names of columns, each list read once.
#[derive(Default)]
struct ColumnCache(HashMap<String, Rc<Columns>>);

impl ColumnCache {
    fn of(
        &mut self,
        found: &Found<'_>,
        listing: &[Entry],
        reader: &Reader,
    ) -> Result<Rc<Columns>, ReadError> {
        let Some(described) = &found.described else { return Ok(Rc::new(Columns::default())) };
        let text = &*described.description.columns;
        if let Some(columns) = self.0.get(text) {
            return Ok(Rc::clone(columns));
        }
        let columns = Rc::new(Columns::of(described, found.entry, listing, reader)?);
        // Symlinks name the columns of one entry only.
        if !text.starts_with('/') {
            self.0.insert(text.to_owned(), Rc::clone(&columns));
        }
        Ok(columns)
    }
}

impl Found<'_> {
    /// Adds its series; the metric is made of `sharing` entries.
    fn add(&self, builder: &mut Builder, columns: &Columns, sharing: usize) {
        let mut labels: Vec<Label> = Vec::new();
        for (label, value) in self.described.iter().flat_map(|described| &described.labels) {
            let taken: Vec<&str> = labels.iter().map(|(name, _)| &**name).collect();
            let name = names::label(label, &taken);
            labels.push((name.into(), (*value).to_owned()));
        }
        let rows = self.rows(columns);
        let fields = self.fields(columns);
        let mut families = Vec::new();
        for (field, unit) in fields {
            let proposal = Proposal {
                identity: self.identity(),
                name: Name::of(self.identity(), unit),
                help: &self.help(&field),
                kind: self.kind(&field),
            };
            if let Some(family) = builder.family(&self.entry.name, proposal, &mut labels) {
                families.push((family, field));
            }
        }
        let Some(room) = families.iter().map(|(family, _)| builder.room(*family)).min() else { return };

        let Extent { rows: row_count, columns: column_count } = self.extent;
        let (shape, kept, left_out) = match self.entry.kind {
            Kind::Scalar | Kind::Gauge => (Shape::Number, room.min(1), 1 - room.min(1)),
            Kind::Histogram => {
                // The first column is no bin; each bin is a series, and so are the sum and the count.
                let series = column_count + 1;
                let has_room = series <= room && builder.may_read(row_count, column_count);
                (Shape::Bins, if has_room { series } else { 0 }, if has_room { 0 } else { series })
            }
            _ => {
                let width = columns.bins().map_or(1, |bins| bins.width());
                let series = match columns.bins() {
                    Some(bins) => bins.upper().len() + 3,
                    None => rows.series(row_count),
                };
                let taken: Vec<&str> = labels.iter().map(|(name, _)| &**name).chain(rows.name()).collect();
                // Both sides, or directions, are of the same objects: each has room for as many of them.
                let share = builder.limit() / sharing.max(1);
                let room = if columns.objects().is_some() { room.min(share) } else { room };
                let most = room / series.max(1);
                let (mut objects, mut left_out) =
                    objects(columns, column_count / width, &taken, most, || builder.look());
                if !builder.may_read(row_count, objects.len() * width) {
                    left_out += objects.len();
                    objects.clear();
                }
                let kept = objects.len() * series;
                let is_merged = rows == RowLabel::Sum;
                let shape = Shape::Cells { rows: row_count, is_merged, objects: objects.into(), width };
                (shape, kept, left_out.saturating_mul(series))
            }
        };
        for (family, _) in &families {
            builder.omit(*family, left_out);
        }
        if kept > 0 {
            let read = builder.read(Read { entry: self.entry.clone(), shape });
            for (family, field) in families {
                builder.add(family, Source { read, field, labels: labels.clone(), rows }, kept);
            }
        }
    }

    /// The path or the template that the metric is called by.
    fn identity(&self) -> &str {
        self.described.as_ref().map_or(&self.entry.name, |described| &described.description.path)
    }

    /// The metrics that an entry makes, and their units.
    fn fields<'f>(&'f self, columns: &Columns) -> Vec<(Field, &'f str)> {
        let unit = self.described.as_ref().map_or("", |described| &*described.description.unit);
        match (self.entry.kind, columns.bins()) {
            (Kind::Combined, _) => vec![(Field::Packets, "packets"), (Field::Bytes, "bytes")],
            (Kind::Histogram, _) => vec![(Field::Bins, unit)],
            (Kind::Simple, Some(bounds)) => vec![(Field::Bounded(bounds.clone()), unit)],
            _ => vec![(Field::Number, unit)],
        }
    }

    fn kind(&self, field: &Field) -> MetricType {
        let semantics = self.described.as_ref().map(|described| described.description.semantics);
        match (field, semantics, self.entry.kind) {
            (Field::Bins | Field::Bounded(_), ..) => MetricType::Histogram,
            (_, Some(Semantics::Counter), _) => MetricType::Counter,
            (_, Some(Semantics::Gauge | Semantics::Text), _) | (_, None, Kind::Gauge) => MetricType::Gauge,
            // It may be a counter, or something that was set once.
            (_, None, Kind::Scalar) => MetricType::Unknown,
            (_, None, _) => MetricType::Counter,
        }
    }

    fn help(&self, field: &Field) -> String {
        let text = match &self.described {
            Some(described) => format!("{} ({})", described.description.help, described.description.path),
            None => format!("{}, of which the segment says nothing more", self.entry.name),
        };
        let estimated = match field {
            Field::Bins => true,
            Field::Bounded(bounds) => bounds.distribution(&[]).sum().is_none(),
            _ => false,
        };
        if estimated { text + ESTIMATED } else { text }
    }

    fn rows(&self, columns: &Columns) -> RowLabel {
        if self.entry.kind == Kind::Histogram || columns.bins().is_some() {
            return RowLabel::Sum;
        }
        // Which worker has a customer's packets says nothing of the customer, and there are many customers.
        if columns.label_names().contains(&CUSTOMER) {
            return RowLabel::Sum;
        }
        match self.described.as_ref().map(|described| described.description.rows) {
            Some(Rows::Workers) => RowLabel::Worker,
            Some(Rows::Cpus) => RowLabel::Cpu,
            Some(Rows::Threads) => RowLabel::Thread,
            Some(Rows::Control | Rows::Single) => RowLabel::Sum,
            None if self.extent.rows > 1 => RowLabel::Thread,
            None => RowLabel::Sum,
        }
    }
}

/// The first `most` of the objects that have a name, with labels other than the taken ones, and how many more there are.
/// When no more may be looked at, all others are taken for objects with names.
fn objects(
    columns: &Columns,
    count: usize,
    taken: &[&str],
    most: usize,
    mut may_look: impl FnMut() -> bool,
) -> (Vec<Object>, usize) {
    let mut distinct: Vec<Arc<str>> = Vec::new();
    for label in columns.label_names() {
        distinct.push(free(label, taken, &distinct));
    }
    let index = free("index", taken, &distinct);
    if distinct.is_empty() {
        let label = |number: usize| vec![(Arc::clone(&index), number.to_string())];
        let kept = count.min(most);
        let labels = |number| if count > 1 { label(number) } else { Vec::new() };
        return ((0..kept).map(|number| Object { number, labels: labels(number) }).collect(), count - kept);
    }
    let (mut objects, mut left_out, mut seen) = (Vec::new(), 0, HashSet::new());
    let count = count.min(columns.objects().unwrap_or(count));
    for number in 0..count {
        if !may_look() {
            left_out += count - number;
            break;
        }
        let Some(values) = columns.labels(number) else { continue };
        if objects.len() == most {
            left_out += 1;
            continue;
        }
        let values: Vec<String> = values.into_iter().map(|(_, value)| value.into_owned()).collect();
        let is_new = seen.insert(values.clone());
        let mut labels: Vec<Label> = distinct.iter().cloned().zip(values).collect();
        if !is_new {
            // Two of the same name: a series each, and not the same one twice.
            labels.push((Arc::clone(&index), number.to_string()));
        }
        objects.push(Object { number, labels });
    }
    (objects, left_out)
}

/// A label's name that is neither taken nor one of the others.
fn free(label: &str, taken: &[&str], others: &[Arc<str>]) -> Arc<str> {
    let all: Vec<&str> = taken.iter().copied().chain(others.iter().map(|name| &**name)).collect();
    names::label(label, &all).into()
}
