//! What weir counts in the segment: vectors found by path, registered by the first who asks, one row for each worker; and
//! what they mean. A vector cannot be had without its [`Description`], which stands beside the code that counts.

use std::collections::{BTreeMap, btree_map::Entry};

use weir_stats::{
    Combined, CombinedRow, Description, EntryId, Error, Ring, RingRow, Segment, Simple, SimpleRow,
};

/// A vector: where it is, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    path: &'static str,
    meaning: &'static Description,
}

impl Vector {
    /// One of the vectors that a description with a template is about: `/customers/up` of `/customers/{direction}`.
    pub const fn of_template(path: &'static str, meaning: &'static Description) -> Vector {
        Vector { path, meaning }
    }

    /// Each row has one writer: asking for it twice is a mistake in the graph's assembly.
    fn taken(self) -> Error {
        Error::Shape { path: self.path.to_owned(), reason: "this row is not there, or has a writer already" }
    }
}

/// The one vector that a description without a template is about.
impl From<&'static Description> for Vector {
    fn from(meaning: &'static Description) -> Vector {
        Vector { path: &meaning.path, meaning }
    }
}

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
        vector: impl Into<Vector>,
        columns: usize,
        capacity: usize,
        row: usize,
    ) -> Result<SimpleRow, Error> {
        let vector = vector.into();
        self.simple(vector, columns, capacity)?.take_row(row).ok_or_else(|| vector.taken())
    }

    /// Row `row` of a combined vector, which is registered with these columns if it is not there yet.
    pub fn combined_row(
        &mut self,
        vector: impl Into<Vector>,
        columns: usize,
        capacity: usize,
        row: usize,
    ) -> Result<CombinedRow, Error> {
        let vector = vector.into();
        self.combined(vector, columns, capacity)?.take_row(row).ok_or_else(|| vector.taken())
    }

    /// A simple vector, registered if need be.
    pub fn simple(
        &mut self,
        vector: impl Into<Vector>,
        columns: usize,
        capacity: usize,
    ) -> Result<&mut Simple, Error> {
        let Vector { path, meaning } = vector.into();
        match self.simple.entry(path) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => {
                mean(&mut self.descriptions, meaning);
                Ok(place.insert(self.segment.register(|batch| batch.simple(path, columns, capacity))?))
            }
        }
    }

    /// A combined vector, registered if need be.
    pub fn combined(
        &mut self,
        vector: impl Into<Vector>,
        columns: usize,
        capacity: usize,
    ) -> Result<&mut Combined, Error> {
        let Vector { path, meaning } = vector.into();
        match self.combined.entry(path) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(place) => {
                mean(&mut self.descriptions, meaning);
                Ok(place.insert(self.segment.register(|batch| batch.combined(path, columns, capacity))?))
            }
        }
    }

    /// Makes `columns` columns of a combined vector visible; it must be registered.
    pub fn grow_combined(&mut self, vector: impl Into<Vector>, columns: usize) -> Result<(), Error> {
        let Some(vector) = self.combined.get_mut(vector.into().path) else {
            return Ok(());
        };
        self.segment.register(|batch| batch.grow_combined(vector, columns))
    }

    /// Makes `columns` columns of a simple vector visible; it must be registered.
    pub fn grow_simple(&mut self, vector: impl Into<Vector>, columns: usize) -> Result<(), Error> {
        let Some(vector) = self.simple.get_mut(vector.into().path) else {
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
        found.take_row(row).ok_or_else(|| Vector::from(ring).taken())
    }

    /// The directory entry of a registered vector, as the target of symlinks.
    pub fn id(&self, vector: impl Into<Vector>) -> Option<EntryId> {
        let Vector { path, .. } = vector.into();
        let simple = self.simple.get(path).map(Simple::id);
        simple.or_else(|| self.combined.get(path).map(Combined::id))
    }
}

/// Several vectors have one meaning where it is a template's.
fn mean(all: &mut Vec<Description>, meaning: &Description) {
    if !all.contains(meaning) {
        all.push(meaning.clone());
    }
}
