//! The graph's vectors in the segment: found by path, registered by the first who asks, one row for each worker.

use std::collections::{BTreeMap, btree_map::Entry};

use weir_stats::{Combined, CombinedRow, EntryId, Error, Segment, Simple, SimpleRow};

/// The segment, and the handles of what has been registered in it.
pub struct Counters {
    segment: Segment,
    simple: BTreeMap<&'static str, Simple>,
    combined: BTreeMap<&'static str, Combined>,
}

impl Counters {
    /// Wraps a segment.
    pub fn new(segment: Segment) -> Counters {
        Counters { segment, simple: BTreeMap::new(), combined: BTreeMap::new() }
    }

    /// The segment itself.
    pub fn segment(&mut self) -> &mut Segment {
        &mut self.segment
    }

    /// Row `row` of the simple vector at `path`, which is registered with these columns if it is not there yet.
    pub fn simple_row(
        &mut self,
        path: &'static str,
        columns: usize,
        capacity: usize,
        row: usize,
    ) -> Result<SimpleRow, Error> {
        self.simple(path, columns, capacity)?.take_row(row).ok_or_else(|| taken(path))
    }

    /// Row `row` of the combined vector at `path`, which is registered with these columns if it is not there yet.
    pub fn combined_row(
        &mut self,
        path: &'static str,
        columns: usize,
        capacity: usize,
        row: usize,
    ) -> Result<CombinedRow, Error> {
        self.combined(path, columns, capacity)?.take_row(row).ok_or_else(|| taken(path))
    }

    /// The simple vector at `path`, registered if need be.
    pub fn simple(
        &mut self,
        path: &'static str,
        columns: usize,
        capacity: usize,
    ) -> Result<&mut Simple, Error> {
        match self.simple.entry(path) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => {
                Ok(place.insert(self.segment.register(|batch| batch.simple(path, columns, capacity))?))
            }
        }
    }

    /// The combined vector at `path`, registered if need be.
    pub fn combined(
        &mut self,
        path: &'static str,
        columns: usize,
        capacity: usize,
    ) -> Result<&mut Combined, Error> {
        match self.combined.entry(path) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => {
                Ok(place.insert(self.segment.register(|batch| batch.combined(path, columns, capacity))?))
            }
        }
    }

    /// Makes `columns` columns of the combined vector at `path` visible; it must be registered.
    pub fn grow_combined(&mut self, path: &str, columns: usize) -> Result<(), Error> {
        let Some(vector) = self.combined.get_mut(path) else {
            return Ok(());
        };
        self.segment.register(|batch| batch.grow_combined(vector, columns))
    }

    /// The directory entry of a registered vector, as the target of symlinks.
    pub fn id(&self, path: &str) -> Option<EntryId> {
        let simple = self.simple.get(path).map(Simple::id);
        simple.or_else(|| self.combined.get(path).map(Combined::id))
    }
}

/// Each row has one writer: asking for it twice is a mistake in the graph's assembly.
fn taken(path: &str) -> Error {
    Error::Shape { path: path.to_owned(), reason: "this row is not there, or has a writer already" }
}
