//! Counter vectors as a table and as JSON, read in parts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;

use serde::Serialize;
use weir_stats::{Columns, Description, Entry, Extent, Kind, Pair, ReadError, Reader, Rows, Value};

use super::budget::Text;
use super::refusal::Refusal;
use super::tree::Tree;

/// Cells that are read at a time, in all rows together. They take 1 MiB at most.
pub const PART: usize = 1 << 16;

/// The most rows that a vector can have: what Linux can have CPUs (`NR_CPUS` of x86), and the control thread.
const MOST_ROWS: usize = 8192 + 1;

/// A vector, or a symlink to one of its columns.
#[derive(Clone, Copy)]
pub struct Vector<'a> {
    pub reader: &'a Reader,
    pub tree: &'a Tree,
    pub entry: &'a Entry,
}

/// Labels of an object.
pub type Labels<'l> = BTreeMap<&'l str, Cow<'l, str>>;

impl<'a> Vector<'a> {
    /// A line for each cell.
    pub fn table(&self, columns: &Columns, text: &mut Text) -> Result<(), Refusal> {
        let pairs = self.has_pairs();
        let (row_word, label) = (self.row_word(), columns.label_names().join("/"));
        write!(text, "{row_word:>6} {:>8} ", "index")?;
        let unit = if self.unit().is_empty() { "value" } else { self.unit() };
        if pairs {
            write!(text, "{:>20} {:>20}", "packets", "bytes")?;
        } else {
            write!(text, "{unit:>20}")?;
        }
        writeln!(text, "{}{label}", if label.is_empty() { "" } else { "  " })?;
        self.each_column(|column, cells| {
            let name = columns.name(column);
            for (row, Pair { packets, bytes }) in cells.iter().enumerate() {
                write!(text, "{row:>6} {column:>8} {packets:>20}")?;
                if pairs {
                    write!(text, " {bytes:>20}")?;
                }
                if let Some(name) = &name {
                    write!(text, "  {name}")?;
                }
                writeln!(text)?;
            }
            Ok(())
        })
    }

    /// One document.
    pub fn json(&self, columns: &Columns, text: &mut Text) -> Result<(), Refusal> {
        let pairs = self.has_pairs();
        self.json_head(self.entry.kind.word(), "columns", text)?;
        let cell =
            |pair: &Pair| if pairs { Cell::of_pair(pair) } else { Cell::Number { value: pair.packets } };
        self.each_column(|column, cells| {
            let sum = cells.iter().fold(Pair::default(), |sum, cell| sum.plus(*cell));
            let labels = columns.labels(column).unwrap_or_default().into_iter().collect();
            let rows =
                cells.iter().map(|pair| if pairs { Cell::of_pair(pair) } else { Cell::Plain(pair.packets) });
            let line = Column { index: column, labels, sum: cell(&sum), rows: rows.collect() };
            write!(text, "{}", if column == 0 { "\n" } else { ",\n" })?;
            Ok(serde_json::to_writer(&mut *text, &line)?)
        })?;
        Ok(text.write_all(b"\n]}\n")?)
    }

    /// The beginning of a document, up to what it lists.
    pub fn json_head(&self, kind: &str, list: &str, text: &mut Text) -> Result<(), Refusal> {
        let head = Head { name: &self.entry.name, kind, unit: self.unit(), row: self.row_word() };
        let head = serde_json::to_string(&head)?;
        Ok(write!(text, "{},\"{list}\":[", head.trim_end_matches('}'))?)
    }

    /// What the numbers count, in one word; empty if that is not known.
    pub fn unit(&self) -> &'a str {
        self.description().map_or("", |it| &*it.unit)
    }

    /// What a row is.
    pub fn row_word(&self) -> &'static str {
        if self.description().is_some_and(|it| it.rows == Rows::Cpus) { "cpu" } else { "thread" }
    }

    /// Its rows and columns.
    pub fn extent(&self) -> Result<Extent, Refusal> {
        let extent = self.reader.extent(self.entry)?;
        if extent.rows > MOST_ROWS {
            return Err(
                ReadError::Damaged { what: "a vector has more rows than a machine can have CPUs" }.into()
            );
        }
        Ok(extent)
    }

    /// Some cells of one row of a simple vector, as far as they are there.
    pub fn simple(&self, row: usize, columns: Range<usize>) -> Result<Vec<u64>, Refusal> {
        match self.reader.part(self.entry, row, columns)? {
            Value::Simple(mut rows) => Ok(rows.pop().unwrap_or_default()),
            _ => Err(Refusal::Stale),
        }
    }

    fn description(&self) -> Option<&'a Description> {
        let name = &self.linked().unwrap_or(self.entry).name;
        Some(self.tree.catalogue.describe(name)?.description)
    }

    /// The vector that a symlink leads to.
    fn linked(&self) -> Option<&'a Entry> {
        self.tree.at_position(self.entry.link?.target)
    }

    fn has_pairs(&self) -> bool {
        self.linked().unwrap_or(self.entry).kind == Kind::Combined
    }

    /// Calls `act` with the number and the cells of each column; a plain counter is a pair without bytes.
    fn each_column(&self, mut act: impl FnMut(usize, &[Pair]) -> Result<(), Refusal>) -> Result<(), Refusal> {
        if self.entry.link.is_some() {
            let Value::Symlink { value, .. } = self.reader.read(self.entry)? else {
                return Err(Refusal::Stale);
            };
            let cells: Vec<_> =
                rows_of(*value)?.into_iter().map(|row| row.first().copied().unwrap_or_default()).collect();
            return act(0, &cells);
        }
        let Extent { rows, columns } = self.extent()?;
        let step = (PART / rows.max(1)).max(1);
        let mut cells = Vec::new();
        for start in (0..columns).step_by(step) {
            let end = start.saturating_add(step).min(columns);
            let row =
                |row| Ok(rows_of(self.reader.part(self.entry, row, start..end)?)?.pop().unwrap_or_default());
            let part = (0..rows).map(row).collect::<Result<Vec<_>, Refusal>>()?;
            for column in start..end {
                cells.clear();
                cells.extend(
                    part.iter().map(|row: &Vec<Pair>| row.get(column - start).copied().unwrap_or_default()),
                );
                act(column, &cells)?;
            }
        }
        Ok(())
    }
}

fn rows_of(value: Value) -> Result<Vec<Vec<Pair>>, Refusal> {
    let plain = |packets| Pair { packets, bytes: 0 };
    match value {
        Value::Simple(rows) => Ok(rows.into_iter().map(|row| row.into_iter().map(plain).collect()).collect()),
        Value::Combined(rows) => Ok(rows),
        // The entry was listed as something else.
        _ => Err(ReadError::Damaged { what: "a symlink to what is no counter" }.into()),
    }
}

#[derive(Serialize)]
struct Head<'v> {
    name: &'v str,
    #[serde(rename = "type")]
    kind: &'v str,
    unit: &'v str,
    /// What the rows are.
    row: &'v str,
}

#[derive(Serialize)]
struct Column<'v> {
    index: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: Labels<'v>,
    #[serde(flatten)]
    sum: Cell,
    rows: Vec<Cell>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Cell {
    Number { value: u64 },
    Plain(u64),
    Pair { packets: u64, bytes: u64 },
}

impl Cell {
    fn of_pair(Pair { packets, bytes }: &Pair) -> Cell {
        Cell::Pair { packets: *packets, bytes: *bytes }
    }
}
