//! The objects that the columns of vectors are about, by their names.

use std::borrow::Cow;
use std::collections::HashMap;

use weir_stats::{Columns, Entry, ReadError, Reader, Value};

use super::names::{encode, encode_all, numbered};
use super::refusal::Refusal;
use super::tree::{Axis, Tree};

/// The most objects that are shown: more than the 500,000 routes of a full table, and little enough that a segment which
/// claims more than it can have does not take all memory.
const MOST: usize = 1 << 20;

/// The objects of an axis at one epoch.
#[derive(Debug)]
pub struct Objects {
    columns: Columns,
    /// Sorted by file name.
    objects: Vec<Object>,
    /// Places in the above, sorted by the objects' numbers.
    by_number: Vec<u32>,
    /// File names, by column, of those that are called like another.
    renamed: HashMap<u32, Box<str>>,
    /// The number that no object had yet.
    next: u32,
    /// The vector with their names, if there is just one.
    names: Option<Entry>,
}

/// An object with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// What tells it from others that were called the same, or had the same column, at another time.
    pub number: u32,
    /// Which object it is of the vector; the column, unless objects are histograms.
    pub column: u32,
}

impl Objects {
    /// Reads the names. Objects that keep their name keep their number.
    pub fn of(
        reader: &Reader,
        tree: &Tree,
        axis: &Axis,
        previous: Option<&Objects>,
    ) -> Result<Objects, Refusal> {
        let entry = tree.entries.get(axis.entry as usize).ok_or(Refusal::Moved)?;
        let columns = Columns::of(&axis.described(), entry, &tree.entries, reader)?;
        let count = match axis.is_numbered() {
            true => reader.extent(entry)?.columns,
            false => columns.objects().unwrap_or(0),
        };
        if count > MOST {
            return Err(Refusal::TooLong);
        }
        let mut objects = Objects {
            columns,
            objects: Vec::new(),
            by_number: Vec::new(),
            renamed: HashMap::new(),
            // After some four thousand million names, nothing keeps its number.
            next: previous.map(|it| it.next).filter(|next| *next < u32::MAX - MOST as u32).unwrap_or(1),
            names: names_of(tree, axis),
        };
        let files = objects.files(count);
        let previous = previous.filter(|it| it.next == objects.next);
        let mut known = previous
            .into_iter()
            .flat_map(|it| it.objects.iter().map(|object| (it.name(object), object)))
            .peekable();
        for (name, column) in files {
            while known.next_if(|(known, _)| **known < *name).is_some() {}
            let number = match known.next_if(|(known, _)| **known == *name) {
                Some((_, same)) => same.number,
                None => {
                    objects.next += 1;
                    objects.next - 1
                }
            };
            objects.objects.push(Object { number, column });
        }
        objects.by_number = (0..objects.objects.len() as u32).collect();
        objects.by_number.sort_unstable_by_key(|&at| objects.objects[at as usize].number);
        Ok(objects)
    }

    /// File names and columns, sorted. Of objects that are called the same, all but the first get a name with a number.
    fn files(&mut self, count: usize) -> Vec<(Box<str>, u32)> {
        let named = (0..count as u32).filter_map(|column| Some((self.plain_name(column)?.into(), column)));
        let mut files: Vec<(Box<str>, u32)> = named.collect();
        files.sort_unstable();
        let mut last: Option<Box<str>> = None;
        for (name, column) in &mut files {
            if last.as_ref() == Some(name) {
                *name = numbered(name, *column as usize).into();
                self.renamed.insert(*column, name.clone());
            } else {
                last = Some(name.clone());
            }
        }
        if !self.renamed.is_empty() {
            files.sort_unstable();
        }
        files
    }

    /// What an object's column is called as a file, if it has a name.
    fn plain_name(&self, column: u32) -> Option<String> {
        let labels = self.columns.labels(column as usize)?;
        Some(match &*labels {
            [(_, name)] => encode(name).into_owned(),
            _ => encode_all(labels.iter().map(|(_, name)| &**name)),
        })
    }

    /// An object's file name.
    pub fn name(&self, object: &Object) -> Cow<'_, str> {
        match self.renamed.get(&object.column) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(self.plain_name(object.column).unwrap_or_default()),
        }
    }

    /// The labels of objects.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The object with this file name.
    pub fn find(&self, name: &str) -> Option<&Object> {
        let at = self.objects.binary_search_by(|object| (*self.name(object)).cmp(name)).ok()?;
        self.objects.get(at)
    }

    /// The object with this number.
    pub fn numbered(&self, number: u32) -> Option<&Object> {
        self.above(number.checked_sub(1)?).next().filter(|object| object.number == number)
    }

    /// Those whose numbers are above one, the lowest number first.
    pub fn above(&self, number: u32) -> impl Iterator<Item = &Object> {
        let first = self.by_number.partition_point(|&at| self.objects[at as usize].number <= number);
        self.by_number[first..].iter().map(|&at| &self.objects[at as usize])
    }

    /// Whether an object is still called so, as far as that can be said without reading all names.
    pub fn still_names(&self, reader: &Reader, object: &Object) -> Result<bool, ReadError> {
        let Some(names) = &self.names else { return Ok(false) };
        let column = object.column as usize;
        match (reader.part(names, 0, column..column + 1)?, self.columns.name(column)) {
            (Value::Names(now), Some(before)) => Ok(now == [before]),
            _ => Ok(false),
        }
    }

    /// Whether all columns have the same names.
    pub fn is_like(&self, other: &Objects) -> bool {
        self.objects == other.objects
    }
}

/// The names of an entry's columns, where they are no axis of objects.
pub fn columns(reader: &Reader, tree: &Tree, entry: &Entry) -> Result<Columns, ReadError> {
    match tree.catalogue.describe(&entry.name) {
        Some(described) if described.description.kind == entry.kind => {
            Columns::of(&described, entry, &tree.entries, reader)
        }
        _ => Ok(Columns::default()),
    }
}

/// The one vector that has the objects' names; `None` if several have a part each.
fn names_of(tree: &Tree, axis: &Axis) -> Option<Entry> {
    let (_, path) = axis.description.columns.split_once('=')?;
    tree.entry(path).cloned()
}
