//! The objects that the columns of vectors are about, by their names.

use weir_stats::{Columns, Described, Entry, Kind, ReadError, Reader, Value};

use super::names::{encode, encode_all, numbered};
use super::tree::{Axis, Tree};

/// The objects of an axis at one epoch.
#[derive(Debug)]
pub struct Objects {
    pub columns: Columns,
    /// Sorted by name.
    objects: Vec<Object>,
    /// Places in the above, sorted by the objects' numbers.
    by_number: Vec<u32>,
    /// The number that no object had yet.
    next: u32,
    /// The vector with their names, if there is just one.
    names: Option<Entry>,
}

/// An object with a name.
#[derive(Debug)]
pub struct Object {
    /// What tells it from others that were called the same, or had the same column, at another time.
    pub number: u32,
    /// Which object it is of the vector; the column, unless objects are histograms.
    pub column: u32,
    /// Its file name.
    pub name: Box<str>,
}

impl Objects {
    /// Reads the names. Objects that keep their name keep their number.
    pub fn of(
        reader: &Reader,
        tree: &Tree,
        axis: &Axis,
        previous: Option<&Objects>,
    ) -> Result<Objects, ReadError> {
        let columns = match tree.entries.get(axis.entry as usize) {
            Some(entry) => columns(reader, tree, entry)?,
            None => Columns::default(),
        };
        let count = match (axis.numbered, tree.entries.get(axis.entry as usize)) {
            (true, Some(entry)) => reader.extent(entry)?.columns,
            _ => columns.objects().unwrap_or(0),
        };
        // What an axis of bins is not fit for is no histogram, and its columns are no objects.
        let count = if axis.histograms && columns.bins().is_none() { 0 } else { count };
        let mut objects: Vec<_> = (0..u32::try_from(count).unwrap_or(u32::MAX))
            .filter_map(|column| {
                let labels = columns.labels(column as usize)?;
                let name = match &*labels {
                    [(_, name)] => encode(name).into(),
                    _ => encode_all(labels.iter().map(|(_, name)| &**name)).into(),
                };
                Some(Object { number: 0, column, name })
            })
            .collect();
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        for at in 1..objects.len() {
            let (before, rest) = objects.split_at_mut(at);
            if let (Some(before), Some(object)) = (before.last(), rest.first_mut())
                && is_called_like(object, before)
            {
                object.name = numbered(&object.name, object.column as usize).into();
            }
        }
        objects.sort_by(|a, b| a.name.cmp(&b.name));

        // After some four thousand million names, nothing keeps its number.
        let previous = previous.filter(|it| it.next.checked_add(objects.len() as u32).is_some());
        let mut next = previous.map_or(1, |it| it.next);
        let mut known = previous.map_or(&[][..], |it| &it.objects).iter().peekable();
        for object in &mut objects {
            while known.next_if(|it| it.name < object.name).is_some() {}
            object.number = match known.next_if(|it| it.name == object.name) {
                Some(same) => same.number,
                None => {
                    next += 1;
                    next - 1
                }
            };
        }
        let mut by_number: Vec<u32> = (0..objects.len() as u32).collect();
        by_number.sort_unstable_by_key(|&at| objects[at as usize].number);
        let names = names_of(tree, axis);
        Ok(Objects { columns, objects, by_number, next, names })
    }

    pub fn find(&self, name: &str) -> Option<&Object> {
        let at = self.objects.binary_search_by(|object| (*object.name).cmp(name)).ok()?;
        self.objects.get(at)
    }

    pub fn numbered(&self, number: u32) -> Option<&Object> {
        let of = |&at: &u32| self.objects[at as usize].number;
        let at = self.by_number.binary_search_by_key(&number, of).ok()?;
        self.objects.get(self.by_number[at] as usize)
    }

    /// An object by its place in the order of names.
    pub fn get(&self, at: usize) -> Option<&Object> {
        self.objects.get(at)
    }

    /// Whether an object is still called so, as far as that can be said without reading all names.
    pub fn still_names(&self, reader: &Reader, object: &Object) -> Result<bool, ReadError> {
        let Some(names) = &self.names else { return Ok(false) };
        let column = object.column as usize;
        let (Value::Names(now), Some(before)) =
            (reader.part(names, 0, column..column + 1)?, self.columns.name(column))
        else {
            return Ok(false);
        };
        Ok(now == [before])
    }

    /// Whether all columns have the same names.
    pub fn is_like(&self, other: &Objects) -> bool {
        let identity = |it: &Object| (it.number, it.column);
        self.objects.iter().map(identity).eq(other.objects.iter().map(identity))
    }
}

/// The names of an entry's columns.
pub fn columns(reader: &Reader, tree: &Tree, entry: &Entry) -> Result<Columns, ReadError> {
    match tree.catalogue.describe(&entry.name) {
        Some(described) if described.description.kind == entry.kind => {
            Columns::of(&described, entry, &tree.entries, reader)
        }
        _ => Ok(Columns::default()),
    }
}

/// Names are sorted, and among equal ones the first keeps its name: its followers were not renamed yet, or were renamed
/// to this name and a suffix.
fn is_called_like(object: &Object, before: &Object) -> bool {
    let common = before.name.strip_prefix(&*object.name);
    common.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix("%@").is_some_and(|it| it.parse::<u32>().is_ok())
    })
}

/// The one vector that has the objects' names; `None` if several have a part each.
fn names_of(tree: &Tree, axis: &Axis) -> Option<Entry> {
    let entry = tree.entries.get(axis.entry as usize)?;
    let Described { description, .. } = tree.catalogue.describe(&entry.name)?;
    let mut axes = description.columns.split(',').filter(|axis| !axis.starts_with("le="));
    let (_, path) = axes.next()?.split_once('=')?;
    let names = tree.entries.iter().find(|entry| entry.kind == Kind::Names && entry.name == path)?;
    axes.next().is_none().then(|| names.clone())
}
