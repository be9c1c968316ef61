//! Snapshots that were saved as JSON: written by `dump --json`, read for `--since`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_stats::{Bins, Bounds, Entry, Extent, Kind, Pair, ReadError, Reader, Value};

use crate::baseline::{Baseline, Past};
use crate::failure::Failure;
use crate::names::Meaning;
use crate::pass::part_of;
use crate::sparse::place;

/// What the first line of a dump is about: the process whose numbers these are. Its name is that of no entry, so that
/// scripts which choose lines by their names pass it by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heading {
    name: String,
    r#type: String,
    #[serde(flatten)]
    writer: Writer,
    /// When it was read, in seconds since 1970.
    time: f64,
    /// The time that the numbers count from, if that is not the writer's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<f64>,
    /// The seconds that the numbers are a rate over.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    /// The one index of vectors that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    only_index: Option<usize>,
}

/// What tells a weir from all others, as far as its segment says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_ticks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boottime: Option<u64>,
}

/// The word for a heading where other lines have their kind.
const HEADING: &str = "writer";

/// What is wrong with a counter's line that does not say how far it counted.
const NO_VALUE: &str = "it has no value";

/// No line of a dump is longer, in bytes.
const LONGEST: u64 = 16 << 20;

/// What a file holds of the entries that are wanted.
#[derive(Debug)]
pub struct Saved {
    heading: Heading,
    entries: HashMap<String, Past>,
    of_sums: bool,
}

impl Writer {
    /// Who writes this segment.
    pub fn of(reader: &Reader, meaning: &Meaning) -> Result<Writer, ReadError> {
        let number = |path: &str| {
            let entry = meaning.listing.iter().find(|entry| entry.name == path);
            Ok::<_, ReadError>(match entry.map(|entry| reader.read(entry)).transpose()? {
                Some(Value::Scalar(number) | Value::Gauge(number)) => Some(number),
                _ => None,
            })
        };
        let (pid, start_ticks) = (number("/sys/pid")?, number("/sys/pid_start_ticks")?);
        Ok(Writer { pid, start_ticks, boottime: number("/sys/boottime")? })
    }
}

impl Heading {
    /// The heading of what is read now.
    pub fn new(writer: Writer, time: f64, only_index: Option<usize>) -> Heading {
        Heading { r#type: HEADING.to_owned(), writer, time, only_index, ..Heading::default() }
    }

    /// The same for numbers that are compared with saved ones, or with those so many seconds ago.
    pub fn compared(self, baseline: &Baseline, rate: Option<f64>) -> Heading {
        let since = match baseline {
            Baseline::Saved(saved) => Some(saved.heading.time),
            Baseline::None | Baseline::Last(_) => None,
        };
        Heading { since, rate, ..self }
    }

    /// Writes the line.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }
}

/// Any line but the heading. What is not needed to compare is not read.
#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    name: Cow<'l, str>,
    #[serde(borrow)]
    r#type: Cow<'l, str>,
    #[serde(default)]
    index: usize,
    thread: Option<usize>,
    value: Option<u64>,
    packets: Option<u64>,
    bytes: Option<u64>,
    min_exp: Option<u32>,
    counts: Option<Vec<u64>>,
    sum: Option<u64>,
    #[serde(borrow)]
    bins: Option<HashMap<Cow<'l, str>, u64>>,
}

/// An entry of which lines are looked for.
struct Wanted<'w> {
    entry: &'w Entry,
    extent: Extent,
    /// Its bins, if it is a matrix of histograms.
    bounds: Option<Bounds>,
    /// `None` until a line was found.
    past: Option<Past>,
}

/// No machine has more threads: the rows of a symlink are not known.
const THREADS: usize = 65_536;

impl Saved {
    /// Reads a file for these entries. What they are now bounds what is taken of it.
    pub fn load<'e>(
        path: &Path,
        entries: impl Iterator<Item = &'e Entry>,
        meaning: &Meaning,
        reader: &Reader,
        socket: &Path,
    ) -> Result<Saved, Failure> {
        let unreadable = |source| Failure::File { path: path.to_owned(), source };
        let wrong = |line: u64, reason: String| Failure::Saved { path: path.to_owned(), line, reason };
        let refused = |error| crate::connection::refusal(socket, error);
        let mut wanted = HashMap::new();
        for entry in entries.filter(|entry| meaning.catalogue.counts(&entry.name, entry.kind)) {
            if let Some(one) = Wanted::of(entry, meaning, reader).map_err(refused)? {
                wanted.insert(entry.name.as_str(), one);
            }
        }
        let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(unreadable)?);
        let (mut heading, mut sums, mut threads) = (None, false, false);
        let mut text = Vec::new();
        for number in 1_u64.. {
            text.clear();
            let length = file.by_ref().take(LONGEST).read_until(b'\n', &mut text).map_err(unreadable)?;
            if length == 0 {
                break;
            }
            if length as u64 == LONGEST {
                return Err(wrong(number, "it is too long".to_owned()));
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let line: Line<'_> =
                serde_json::from_slice(&text).map_err(|error| wrong(number, plain(&error)))?;
            if line.r#type == HEADING {
                let found: Heading =
                    serde_json::from_slice(&text).map_err(|error| wrong(number, plain(&error)))?;
                if heading.replace(found).is_some() {
                    return Err(wrong(number, "it begins another snapshot: save one alone".to_owned()));
                }
                continue;
            }
            let Some(one) = wanted.get_mut(&*line.name) else { continue };
            if line.r#type != Kind::Scalar.word() && line.r#type != Kind::Histogram.word() {
                sums |= line.thread.is_none();
                threads |= line.thread.is_some();
            }
            one.take(&line).map_err(|reason| wrong(number, reason.to_owned()))?;
        }
        if sums && threads {
            return Err(wrong(1, "it has sums of threads beside single threads' counters".to_owned()));
        }
        let heading = heading.unwrap_or_default();
        if heading.since.is_some() || heading.rate.is_some() {
            return Err(wrong(1, "it holds differences or rates, not counters".to_owned()));
        }
        let entries: HashMap<String, Past> =
            wanted.into_values().filter_map(|one| Some((one.entry.name.clone(), one.past?))).collect();
        Ok(Saved { heading, entries, of_sums: sums })
    }

    /// What an entry held.
    pub fn past(&self, name: &str) -> Option<&Past> {
        self.entries.get(name)
    }

    /// Whether it holds the sums of all threads.
    pub fn is_of_sums(&self) -> bool {
        self.of_sums
    }

    /// What it means that these are numbers of another writer, or of nobody knows which; `None` if they are of this one.
    pub fn is_foreign(&self, writer: Writer, path: &Path) -> Option<String> {
        let unknown =
            |who: &str| format!("{who} does not say which weir it is of, so nothing can be subtracted");
        let why = if self.heading.writer == Writer::default() {
            unknown("it")
        } else if writer == Writer::default() {
            unknown("the segment")
        } else if self.heading.writer != writer {
            "it is of a weir that ran before this one".to_owned()
        } else {
            return None;
        };
        let advice =
            "these are the numbers since weir's start; save those of now with: weirstat dump --json >FILE";
        Some(format!("{}: {why}: {advice}", path.display()))
    }

    /// What is to be said of what the file does not have.
    pub fn missing<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
        meaning: &Meaning,
        only_index: Option<usize>,
        path: &Path,
    ) -> Vec<String> {
        /// So many are named.
        const NAMED: usize = 3;
        let file = path.display();
        let mut notes = Vec::new();
        let missing: Vec<&str> = entries
            .filter(|entry| !matches!(entry.kind, Kind::Names | Kind::Gauge | Kind::Ring))
            .filter(|entry| meaning.catalogue.counts(&entry.name, entry.kind))
            .filter(|entry| !self.entries.contains_key(&entry.name))
            .map(|entry| entry.name.as_str())
            .collect();
        if !missing.is_empty() {
            let named = missing.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let rest = if missing.len() > NAMED { ", …" } else { "" };
            notes.push(format!(
                "{file}: it has nothing of {} entries, which count from weir's start: {named}{rest}",
                missing.len()
            ));
        }
        if let Some(index) = self.heading.only_index.filter(|index| only_index != Some(*index)) {
            notes.push(format!("{file}: it has index {index} alone, others count from weir's start"));
        }
        notes
    }
}

/// What is wrong with a line, without the place in it that is always said.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

impl<'w> Wanted<'w> {
    fn of(entry: &'w Entry, meaning: &Meaning, reader: &Reader) -> Result<Option<Wanted<'w>>, ReadError> {
        let extent = match entry.kind {
            Kind::Simple | Kind::Combined | Kind::Histogram => reader.extent(entry),
            Kind::Scalar => Ok(Extent { rows: 1, columns: 1 }),
            Kind::Symlink => Ok(Extent { rows: THREADS, columns: 1 }),
            Kind::Gauge | Kind::Names | Kind::Ring | Kind::Empty => return Ok(None),
        };
        let bounds = match entry.kind {
            Kind::Simple => meaning.names(entry, reader).map(|names| names.bins().cloned()),
            _ => Ok(None),
        };
        match (extent, bounds) {
            // It was removed since it was listed.
            (Err(ReadError::Stale { .. }), _) | (_, Err(ReadError::Stale { .. })) => Ok(None),
            (extent, bounds) => Ok(Some(Wanted { entry, extent: extent?, bounds: bounds?, past: None })),
        }
    }

    /// Takes what a line says. What is beyond the entry's present size, or of another kind, is let go: it cannot be subtracted.
    fn take(&mut self, line: &Line<'_>) -> Result<(), &'static str> {
        let row = line.thread.unwrap_or(0);
        if row >= self.extent.rows {
            return Ok(());
        }
        match (&*line.r#type, self.entry.kind) {
            ("scalar", Kind::Scalar) => {
                self.past = Some(Past::saved(Value::Scalar(line.value.ok_or(NO_VALUE)?)));
            }
            ("simple", Kind::Simple | Kind::Symlink) => {
                self.put(row, line.index, Value::Simple(vec![vec![line.value.ok_or(NO_VALUE)?]]));
            }
            ("distribution", Kind::Simple) => self.distribution(row, line)?,
            ("combined", Kind::Combined | Kind::Symlink) => {
                let (packets, bytes) = line.packets.zip(line.bytes).ok_or("it has no packets and bytes")?;
                self.put(row, line.index, Value::Combined(vec![vec![Pair { packets, bytes }]]));
            }
            ("histogram", Kind::Histogram) => {
                let (min_exp, counts) = line.min_exp.zip(line.counts.clone()).ok_or("it has no bins")?;
                let mut rows = match self.past.as_ref().and_then(Past::value) {
                    Some(Value::Histogram(rows)) => rows.clone(),
                    _ => Vec::new(),
                };
                *place(&mut rows, row) = Bins { min_exp, counts };
                self.past = Some(Past::saved(Value::Histogram(rows)));
            }
            _ => {}
        }
        Ok(())
    }

    fn distribution(&mut self, row: usize, line: &Line<'_>) -> Result<(), &'static str> {
        let Some(bounds) = self.bounds.clone() else { return Ok(()) };
        let (upper, first) = (bounds.upper(), line.index.saturating_mul(bounds.width()));
        if first >= self.extent.columns {
            return Ok(());
        }
        let past = self.vector();
        for (name, count) in line.bins.as_ref().ok_or("it has no bins")? {
            let bin = match name.parse::<u64>() {
                Ok(bound) => {
                    upper.binary_search(&bound).map_err(|_| "it has bins that are not in the segment")?
                }
                Err(_) if name == "+Inf" => upper.len(),
                Err(_) => return Err("it has a bin that is neither a number nor +Inf"),
            };
            past.count(row, first + bin, *count);
        }
        if let (Some(sum), true) = (line.sum, bounds.width() > upper.len() + 1) {
            past.count(row, first + upper.len() + 1, sum);
        }
        Ok(())
    }

    /// Takes a counter; of a symlink, the whole row.
    fn put(&mut self, row: usize, column: usize, cell: Value) {
        if column >= self.extent.columns {
            return;
        }
        if let Some(link) = self.entry.link {
            let mut value = match self.past.as_ref().and_then(Past::value) {
                Some(Value::Symlink { value, .. }) => Value::clone(value),
                _ => Value::Simple(Vec::new()),
            };
            match (&mut value, cell) {
                (Value::Simple(rows), Value::Simple(cell)) => *place(rows, row) = cell.concat(),
                (Value::Combined(rows), Value::Combined(cell)) => *place(rows, row) = cell.concat(),
                (value, Value::Combined(cell)) => {
                    let mut rows = Vec::new();
                    *place(&mut rows, row) = cell.concat();
                    *value = Value::Combined(rows);
                }
                _ => {}
            }
            self.past = Some(Past::saved(Value::Symlink { link, value: Box::new(value) }));
            return;
        }
        self.vector().put(row, column, &cell);
    }

    fn vector(&mut self) -> &mut Past {
        let part = part_of(self.bounds.as_ref().map_or(1, Bounds::width)).min(self.extent.columns);
        self.past.get_or_insert_with(|| Past::saved_vector(self.entry.kind, part))
    }
}
