//! What is in a file: read from the segment when it is opened.

use std::io::Write;
use std::sync::Arc;

use weir_stats::{Bounds, Columns, Distribution, Entry, Kind, Pair, ReadError, Value};

use super::budget::{Budget, Text};
use super::inode::{Form, Inode};
use super::objects::{Object, Objects};
use super::refusal::Refusal;
use super::tree::{Shows, Tree};
use super::vectors::{Labels, Vector};
use super::view::View;
use super::{histograms, lists, objects};

/// The text of the file with this inode, as it is now.
pub fn open(view: &View, budget: &Budget, inode: Inode) -> Result<Text, Refusal> {
    let mut text = Text::new(budget);
    view.with_tree(|tree, fresh| {
        text.clear();
        let place = tree.place(inode.path).ok_or(Refusal::Stale)?;
        let entry = tree.node(place).entry.and_then(|at| tree.entries.get(at as usize));
        let entry = entry.ok_or(Refusal::Stale)?;
        let file = File { view, tree, place, entry, fresh };
        match inode.object {
            0 => file.of_path(inode.form, &mut text),
            number => file.of_object(number, inode.form, &mut text),
        }
    })?;
    Ok(text.finish()?)
}

/// A file of a path.
struct File<'v> {
    view: &'v View,
    tree: &'v Arc<Tree>,
    place: u32,
    entry: &'v Entry,
    /// Names must be those of now.
    fresh: bool,
}

impl File<'_> {
    fn of_path(&self, form: Form, text: &mut Text) -> Result<(), Refusal> {
        let reader = self.view.reader();
        match (self.tree.node(self.place).shows, form) {
            (Shows::Number, Form::Value) => number(&reader.read(self.entry)?, text),
            (Shows::Pair, Form::Packets | Form::Bytes) => {
                pair(&reader.read(self.entry)?, form == Form::Bytes, text)
            }
            (Shows::Pair | Shows::Counters(None), form) => {
                let epoch = reader.epoch();
                let columns = objects::columns(reader, self.tree, self.entry)?;
                self.counters(&columns, form, text)?;
                // Nothing but the epoch tells whether the names are still those that symlinks give.
                let may_differ = !columns.label_names().is_empty() && reader.epoch() != epoch;
                if may_differ { Err(Refusal::Moved) } else { Ok(()) }
            }
            (Shows::Counters(Some(_)), form) => {
                self.with_objects(|objects| self.counters(objects.columns(), form, text))
            }
            (Shows::Histograms(_), form) => self.with_objects(|objects| {
                histograms::all(&self.vector(), objects.columns(), &self.bounds()?, form, text)
            }),
            (Shows::Histogram, form) => {
                histograms::one(&self.vector(), Labels::new(), &self.histogram()?, form, text)
            }
            (Shows::Names, form) => lists::names(&self.vector(), form, text),
            (Shows::Records, form) => match reader.read(self.entry)? {
                Value::Ring(ring) => lists::records(self.entry, &ring, form, text),
                _ => Err(Refusal::Stale),
            },
            (Shows::Nothing | Shows::Number, _) => Err(Refusal::Stale),
        }
    }

    fn of_object(&self, number: u32, form: Form, text: &mut Text) -> Result<(), Refusal> {
        let axis = self.tree.axis(self.place).ok_or(Refusal::Stale)?;
        let (objects, epoch) = self.view.objects(self.tree, axis, self.fresh)?;
        let object = objects.numbered(number).ok_or(Refusal::Stale)?;
        self.object(&objects, object, form, text)?;
        // What was read is the object's only if the object still has the column that it had.
        let reader = self.view.reader();
        if reader.epoch() == epoch || axis.is_numbered() || objects.still_names(reader, object)? {
            return Ok(());
        }
        let (now, _) = self.view.objects(self.tree, axis, true)?;
        match now.numbered(number) {
            Some(it) if it.column == object.column => Ok(()),
            _ => Err(Refusal::Moved),
        }
    }

    fn object(&self, objects: &Objects, object: &Object, form: Form, text: &mut Text) -> Result<(), Refusal> {
        let column = object.column as usize;
        if let Shows::Histograms(_) = self.tree.node(self.place).shows {
            let labels = objects.columns().labels(column).unwrap_or_default().into_iter().collect();
            let rows = histograms::rows_of_object(&self.vector(), &self.bounds()?, column)?;
            return histograms::one(&self.vector(), labels, &rows, form, text);
        }
        let value = match self.view.reader().column(self.entry, column) {
            // A name whose column nobody has counted in yet.
            Err(ReadError::Damaged { .. }) if self.view.reader().extent(self.entry)?.columns <= column => {
                match self.entry.kind {
                    Kind::Combined => Value::Combined(Vec::new()),
                    _ => Value::Simple(Vec::new()),
                }
            }
            value => value?,
        };
        match form {
            Form::Packets | Form::Bytes => pair(&value, form == Form::Bytes, text),
            _ => number(&value, text),
        }
    }

    fn vector(&self) -> Vector<'_> {
        Vector { reader: self.view.reader(), tree: self.tree, entry: self.entry }
    }

    fn counters(&self, columns: &Columns, form: Form, text: &mut Text) -> Result<(), Refusal> {
        match form {
            Form::Table => self.vector().table(columns, text),
            Form::Json => self.vector().json(columns, text),
            _ => Err(Refusal::Stale),
        }
    }

    /// The bounds of a matrix' bins.
    fn bounds(&self) -> Result<Bounds, Refusal> {
        let names = self.tree.bounds(self.entry).map(|names| self.view.reader().read(names)).transpose()?;
        match names {
            Some(Value::Names(names)) => Bounds::of_names(&names),
            _ => None,
        }
        .ok_or(Refusal::Unreadable(ReadError::Damaged { what: "a histogram's bins have no bounds" }))
    }

    /// The rows of a path that is one histogram.
    fn histogram(&self) -> Result<Vec<Distribution>, Refusal> {
        if self.entry.kind != Kind::Histogram {
            return histograms::rows_of_object(&self.vector(), &self.bounds()?, 0);
        }
        match self.view.reader().read(self.entry)? {
            Value::Histogram(rows) => Ok(rows.iter().map(Distribution::from).collect()),
            _ => Err(Refusal::Stale),
        }
    }

    /// Does something that takes the objects' names, which must be the same when it is done.
    fn with_objects(&self, act: impl FnOnce(&Objects) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let axis = self.tree.axis(self.place).ok_or(Refusal::Stale)?;
        let (objects, epoch) = self.view.objects(self.tree, axis, true)?;
        act(&objects)?;
        if self.view.reader().epoch() == epoch || axis.is_numbered() {
            return Ok(());
        }
        let (now, _) = self.view.objects(self.tree, axis, true)?;
        if now.is_like(&objects) { Ok(()) } else { Err(Refusal::Moved) }
    }
}

/// A plain number: that of a counter is the sum of its rows.
fn number(value: &Value, text: &mut Text) -> Result<(), Refusal> {
    let number = match value {
        Value::Scalar(number) | Value::Gauge(number) => *number,
        Value::Simple(rows) => rows.iter().flatten().fold(0, |sum: u64, count| sum.wrapping_add(*count)),
        Value::Combined(rows) => total(rows).packets,
        Value::Symlink { value, .. } => return number(value, text),
        Value::Names(_) | Value::Histogram(_) | Value::Ring(_) => return Err(Refusal::Stale),
    };
    Ok(writeln!(text, "{number}")?)
}

fn pair(value: &Value, bytes: bool, text: &mut Text) -> Result<(), Refusal> {
    let pair = match value {
        Value::Combined(rows) => total(rows),
        Value::Symlink { value, .. } => return pair(value, bytes, text),
        _ => return Err(Refusal::Stale),
    };
    Ok(writeln!(text, "{}", if bytes { pair.bytes } else { pair.packets })?)
}

fn total(rows: &[Vec<Pair>]) -> Pair {
    rows.iter().flatten().fold(Pair::default(), |sum, pair| sum.plus(*pair))
}
