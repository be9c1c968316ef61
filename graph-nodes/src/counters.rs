//! What weir counts in the segment: vectors found by path, registered by the first who asks, one row for each worker; and
//! what they mean. A vector cannot be had without its [`Description`], which stands beside the code that counts.

use std::collections::{BTreeMap, btree_map::Entry};

use weir_stats::{
    Combined, CombinedRow, Description, EntryId, Error, Ring, RingRow, Segment, Simple, SimpleRow,
};

/// The segment, and the handles of what has been registered in it.
pub struct Counters {
    segment: Segment,
    simple: BTreeMap<&'static str, Simple>,
    combined: BTreeMap<&'static str, Combined>,
    rings: BTreeMap<&'static str, Ring>,
    descriptions: Vec<Description>,
}

impl Counters {
    /// Wraps a segment.
    pub fn new(segment: Segment) -> Counters {
        Counters {
            segment,
            simple: BTreeMap::new(),
            combined: BTreeMap::new(),
            rings: BTreeMap::new(),
            descriptions: Vec::new(),
        }
    }

    /// The segment itself.
    pub fn segment(&mut self) -> &mut Segment {
        &mut self.segment
    }

    /// Says what entries mean that are not registered here.
    pub fn declare(&mut self, descriptions: &[Description]) {
        self.descriptions.extend_from_slice(descriptions);
    }

    /// Publishes what everything means. Once, when all is registered or declared.
    pub fn describe(&mut self) -> Result<(), Error> {
        self.segment.describe(&self.descriptions)
    }

    /// Row `row` of a simple vector, which is registered with these columns if it is not there yet.
    pub fn simple_row(
        &mut self,
        vector: &'static Description,
        columns: usize,
        capacity: usize,
        row: usize,
    ) -> Result<SimpleRow, Error> {
        self.simple(vector, columns, capacity)?.take_row(row).ok_or_else(|| taken(vector))
    }

    /// Row `row` of a combined vector, which is registered with these columns if it is not there yet.
    pub fn combined_row(
        &mut self,
        vector: &'static Description,
        columns: usize,
        capacity: usize,
        row: usize,
    ) -> Result<CombinedRow, Error> {
        self.combined(vector, columns, capacity)?.take_row(row).ok_or_else(|| taken(vector))
    }

    /// A simple vector, registered if need be.
    pub fn simple(
        &mut self,
        vector: &'static Description,
        columns: usize,
        capacity: usize,
    ) -> Result<&mut Simple, Error> {
        let path = &*vector.path;
        match self.simple.entry(path) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => {
                self.descriptions.push(vector.clone());
                Ok(place.insert(self.segment.register(|batch| batch.simple(path, columns, capacity))?))
            }
        }
    }

    /// A combined vector, registered if need be.
    pub fn combined(
        &mut self,
        vector: &'static Description,
        columns: usize,
        capacity: usize,
    ) -> Result<&mut Combined, Error> {
        let path = &*vector.path;
        match self.combined.entry(path) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => {
                self.descriptions.push(vector.clone());
                Ok(place.insert(self.segment.register(|batch| batch.combined(path, columns, capacity))?))
            }
        }
    }

    /// Makes `columns` columns of a combined vector visible; it must be registered.
    pub fn grow_combined(&mut self, vector: &Description, columns: usize) -> Result<(), Error> {
        let Some(vector) = self.combined.get_mut(&*vector.path) else {
            return Ok(());
        };
        self.segment.register(|batch| batch.grow_combined(vector, columns))
    }

    /// Makes `columns` columns of a simple vector visible; it must be registered.
    pub fn grow_simple(&mut self, vector: &Description, columns: usize) -> Result<(), Error> {
        let Some(vector) = self.simple.get_mut(&*vector.path) else {
            return Ok(());
        };
        self.segment.register(|batch| batch.grow_simple(vector, columns))
    }

    /// Row `row` of a ring of `records` records of `size` bytes, which is registered if it is not there yet.
    pub fn ring_row(
        &mut self,
        ring: &'static Description,
        (records, size): (usize, usize),
        schema: &[u8],
        row: usize,
    ) -> Result<RingRow, Error> {
        let path = &*ring.path;
        let found = match self.rings.entry(path) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                self.descriptions.push(ring.clone());
                place.insert(self.segment.register(|batch| batch.ring(path, size, records, schema))?)
            }
        };
        found.take_row(row).ok_or_else(|| taken(ring))
    }

    /// The directory entry of a registered vector, as the target of symlinks.
    pub fn id(&self, vector: &Description) -> Option<EntryId> {
        let simple = self.simple.get(&*vector.path).map(Simple::id);
        simple.or_else(|| self.combined.get(&*vector.path).map(Combined::id))
    }
}

/// Each row has one writer: asking for it twice is a mistake in the graph's assembly.
fn taken(vector: &Description) -> Error {
    Error::Shape {
        path: vector.path.clone().into_owned(),
        reason: "this row is not there, or has a writer already",
    }
}
