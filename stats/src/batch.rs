//! One change to what is registered: prepared aside, then published as a whole or undone.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::blocks::{Block, Shape};
use crate::error::Error;
use crate::layout::{Kind, LINE, NAME_BYTES, WORD, halves, is_printable};
use crate::protocol::{Memory, point, raise_length, raise_rows, write_length};
use crate::rows::{Cell, Combined, EntryId, Histogram, Names, Ring, Scalar, Simple};
use crate::segment::{EMPTY_FOLDER, Segment, write_ring_header, write_text};

/// A place in the directory.
#[derive(Debug)]
pub(crate) struct Slot {
    /// How often the place was given away before.
    generation: u32,
    pub(crate) entry: Option<Entry>,
}

/// A registered entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Arc<str>,
    body: Body,
    /// How many symlinks point here.
    links: usize,
}

#[derive(Debug)]
enum Body {
    Value {
        kind: Kind,
        cell: Arc<Cell>,
    },
    Rows {
        kind: Kind,
        columns: usize,
        block: Arc<Block>,
    },
    /// `None` where no name was set.
    Names {
        strings: Vec<Option<Arc<Block>>>,
        block: Arc<Block>,
    },
    Ring {
        block: Arc<Block>,
    },
    Symlink {
        target: u32,
        column: u32,
    },
}

impl Entry {
    pub(crate) fn kind(&self) -> Kind {
        match self.body {
            Body::Value { kind, .. } | Body::Rows { kind, .. } => kind,
            Body::Names { .. } => Kind::Names,
            Body::Ring { .. } => Kind::Ring,
            Body::Symlink { .. } => Kind::Symlink,
        }
    }

    /// The entry's word in the directory; a scalar's is its cell's matter.
    pub(crate) fn word(&self) -> u64 {
        match &self.body {
            Body::Value { .. } => 0,
            Body::Rows { block, .. } | Body::Names { block, .. } | Body::Ring { block } => {
                (block.vector() * WORD) as u64
            }
            Body::Symlink { target, column } => halves(*target, *column),
        }
    }

    pub(crate) fn cell(&self) -> Option<&Cell> {
        if let Body::Value { cell, .. } = &self.body { Some(cell) } else { None }
    }

    fn blocks(self) -> impl Iterator<Item = Arc<Block>> {
        let (block, strings) = match self.body {
            Body::Rows { block, .. } | Body::Ring { block } => (Some(block), Vec::new()),
            Body::Names { strings, block } => (Some(block), strings),
            Body::Value { .. } | Body::Symlink { .. } => (None, Vec::new()),
        };
        block.into_iter().chain(strings.into_iter().flatten())
    }
}

/// A step of a batch, and what there was before it.
#[derive(Debug)]
enum Step {
    Added { index: u32 },
    Removed { index: u32, entry: Entry },
    Grown { index: u32, columns: usize },
    Named { index: u32, position: usize, old: Option<Arc<Block>>, length: usize },
}

/// The positions that clients have built in: `/sys/heartbeat`, `/sys/last_stats_clear`, `/sys/boottime`.
const FIXED: u32 = 3;

/// The longest vector: capacities are rounded up to powers of two, and lengths are 32-bit numbers.
const LONGEST: usize = 1 << 31;

/// A change in the making. See [`Segment::register`].
#[derive(Debug)]
pub struct Batch<'s> {
    segment: &'s mut Segment,
    /// What was done so far; emptied when it is published, undone when it is dropped.
    steps: Vec<Step>,
}

impl<'s> Batch<'s> {
    pub(crate) fn new(segment: &'s mut Segment) -> Batch<'s> {
        Batch { segment, steps: Vec::new() }
    }

    /// Registers a number that only grows, or is set once.
    pub fn scalar(&mut self, path: &str, value: u64) -> Result<Scalar, Error> {
        self.value(path, Kind::Scalar, value)
    }

    /// Registers a number that goes up and down.
    pub fn gauge(&mut self, path: &str, value: u64) -> Result<Scalar, Error> {
        self.value(path, Kind::Gauge, value)
    }

    /// Registers a vector of counters with a row for the control thread and one per worker. `columns` are there from
    /// the start; room is reserved for `capacity`.
    pub fn simple(&mut self, path: &str, columns: usize, capacity: usize) -> Result<Simple, Error> {
        self.simple_rows(path, self.segment.rows, columns, capacity)
    }

    /// Registers a vector of counters with a number of rows of its own.
    pub fn simple_rows(
        &mut self,
        path: &str,
        rows: usize,
        columns: usize,
        capacity: usize,
    ) -> Result<Simple, Error> {
        let (id, block) = self.vector(path, Kind::Simple, rows, columns, capacity)?;
        Ok(Simple::new(id, &self.segment.area, &block))
    }

    /// Registers a vector of packet and byte counters, as [`Batch::simple`].
    pub fn combined(&mut self, path: &str, columns: usize, capacity: usize) -> Result<Combined, Error> {
        self.combined_rows(path, self.segment.rows, columns, capacity)
    }

    /// Registers a vector of packet and byte counters with a number of rows of its own.
    pub fn combined_rows(
        &mut self,
        path: &str,
        rows: usize,
        columns: usize,
        capacity: usize,
    ) -> Result<Combined, Error> {
        let (id, block) = self.vector(path, Kind::Combined, rows, columns, capacity)?;
        Ok(Combined::new(id, &self.segment.area, &block))
    }

    /// Registers a histogram: `bins` bins of powers of two (1 to 64), the first of which starts at 2^`min_exp`.
    pub fn histogram(&mut self, path: &str, min_exp: u32, bins: usize) -> Result<Histogram, Error> {
        if min_exp > 63 || !(1..=64).contains(&bins) {
            let reason = "a histogram has 1 to 64 bins, and the first one's exponent is at most 63";
            return Err(Error::Shape { path: path.to_owned(), reason });
        }
        let (id, block) = self.vector(path, Kind::Histogram, self.segment.rows, 1 + bins, 1 + bins)?;
        for row in 0..block.rows() {
            self.segment.area.store(block.row(row), u64::from(min_exp));
        }
        Ok(Histogram::new(id, &self.segment.area, &block, min_exp, bins))
    }

    /// Registers a list of strings, empty at first, with room for `capacity`.
    pub fn names(&mut self, path: &str, capacity: usize) -> Result<Names, Error> {
        self.check(path)?;
        if capacity > LONGEST {
            let reason = "a list of names has room for at most 2^31";
            return Err(Error::Shape { path: path.to_owned(), reason });
        }
        let block = self.segment.allocate(Shape::names(capacity), path)?;
        write_length(&*self.segment.area, block.vector(), 0);
        let capacity = block.capacity();
        let id = self.add(path, Body::Names { strings: Vec::new(), block });
        Ok(Names { id, capacity })
    }

    /// Sets a name, which is printable ASCII (see [`printable`](crate::printable)). The list grows to hold it; places
    /// that were never set hold the empty string.
    pub fn set_name(&mut self, names: &mut Names, index: usize, name: &str) -> Result<(), Error> {
        if !is_printable(name) {
            return Err(Error::Name { name: name.to_owned() });
        }
        let path = Arc::clone(&self.entry(names.id)?.path);
        if index >= names.capacity {
            return Err(Error::Capacity {
                path: path.to_string(),
                columns: index + 1,
                capacity: names.capacity,
            });
        }
        let text = self.segment.allocate(Shape::text(name.len()), &path)?;
        write_text(&self.segment.area, &text, name);
        let Body::Names { strings, .. } = &mut self.entry_mut(names.id)?.body else {
            return Err(Error::Gone);
        };
        let length = strings.len();
        if index >= length {
            strings.resize(index + 1, None);
        }
        let old = strings[index].replace(text);
        self.steps.push(Step::Named { index: names.id.index, position: index, old, length });
        Ok(())
    }

    /// Registers a ring buffer that keeps, per row, at least the last `entries` records of `entry_size` bytes (a
    /// multiple of 8). `schema` says what a record is, in whatever form its readers know.
    pub fn ring(
        &mut self,
        path: &str,
        entry_size: usize,
        entries: usize,
        schema: &[u8],
    ) -> Result<Ring, Error> {
        self.check(path)?;
        let shape_error = |reason| Error::Shape { path: path.to_owned(), reason };
        if entry_size == 0 || !entry_size.is_multiple_of(WORD) || entries == 0 {
            return Err(shape_error(
                "a ring's records have a multiple of 8 bytes, and there is at least one",
            ));
        }
        let too_large = || shape_error("a ring with its schema is smaller than 4 GiB");
        let record = entry_size / WORD;
        // Each row's records fill whole lines, so that no two rows share one: record * step is a multiple of LINE.
        let step = LINE >> record.trailing_zeros().min(LINE.trailing_zeros());
        // One record more than asked for: a reader cannot trust the slot that is written next.
        let records = entries.checked_add(1).and_then(|entries| entries.checked_next_multiple_of(step));
        let records = records.ok_or_else(too_large)?;
        let shape =
            Shape::Ring { threads: self.segment.rows, records, record, schema: schema.len().div_ceil(WORD) };
        // Checked before anything is allocated: offsets in a ring are 32-bit numbers of bytes.
        let words = records.checked_mul(record).and_then(|words| words.checked_mul(self.segment.rows));
        let metadata = self.segment.rows * crate::layout::RING_METADATA_WORDS + 3 * LINE;
        if words
            .and_then(|words| words.checked_add(metadata + schema.len()))
            .is_none_or(|words| words >= 1 << 29)
        {
            return Err(too_large());
        }
        let block = self.segment.allocate(shape, path)?;
        write_ring_header(&self.segment.area, &block, schema).ok_or_else(too_large)?;
        let id = self.add(path, Body::Ring { block: Arc::clone(&block) });
        Ok(Ring::new(id, &self.segment.area, &block))
    }

    /// Registers a symlink: a path for one column of a counter vector.
    pub fn symlink(&mut self, path: &str, target: EntryId, column: usize) -> Result<EntryId, Error> {
        self.check(path)?;
        let wrong = |target: &str| Error::Target { path: path.to_owned(), target: target.to_owned(), column };
        let entry = self.entry_mut(target).map_err(|_| wrong("a removed entry"))?;
        match entry.body {
            Body::Rows { kind: Kind::Simple | Kind::Combined, columns, .. } if column < columns => {}
            _ => return Err(wrong(&entry.path)),
        }
        entry.links += 1;
        // A column is below a vector's length, which is a 32-bit number.
        Ok(self.add(path, Body::Symlink { target: target.index, column: column as u32 }))
    }

    /// Shows more columns of a vector, up to its capacity. Fewer than there are changes nothing.
    pub fn grow_simple(&mut self, simple: &mut Simple, columns: usize) -> Result<(), Error> {
        self.grow(simple.id, columns)
    }

    /// Shows more columns of a vector, up to its capacity. Fewer than there are changes nothing.
    pub fn grow_combined(&mut self, combined: &mut Combined, columns: usize) -> Result<(), Error> {
        self.grow(combined.id, columns)
    }

    /// Removes an entry. Rows that were taken from it may go on counting, unseen.
    pub fn remove(&mut self, id: EntryId) -> Result<(), Error> {
        let entry = self.entry(id)?;
        if id.index < FIXED {
            return Err(Error::Fixed { path: entry.path.to_string() });
        }
        if entry.links > 0 {
            return Err(Error::Linked { path: entry.path.to_string(), links: entry.links });
        }
        let slot = &mut self.segment.slots[id.index as usize];
        let Some(entry) = slot.entry.take() else { return Err(Error::Gone) };
        slot.generation = slot.generation.wrapping_add(1);
        self.segment.paths.remove(&entry.path);
        self.relink(&entry, |links| links - 1);
        self.steps.push(Step::Removed { index: id.index, entry });
        Ok(())
    }

    /// Publishes the change.
    pub(crate) fn commit(mut self) -> Result<(), Error> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let listed = self.steps.iter().any(|step| matches!(step, Step::Added { .. } | Step::Removed { .. }));
        // The one thing that can fail comes first, while nothing is visible yet.
        let directory = if listed {
            Some(self.segment.allocate(Shape::directory(self.segment.slots.len()), "the directory")?)
        } else {
            None
        };
        let steps = std::mem::take(&mut self.steps);
        self.show_names(&steps);
        self.show_columns(&steps);
        if let Some(directory) = directory {
            self.segment.publish(directory);
        }
        self.segment.move_epoch();
        for step in steps {
            match step {
                Step::Removed { index, entry } => {
                    if let Some(cell) = entry.cell() {
                        cell.place(&self.segment.area, None);
                    }
                    entry.blocks().for_each(|block| self.segment.blocks.retire(block));
                    self.segment.free.push(index);
                }
                Step::Named { old: Some(block), .. } => self.segment.blocks.retire(block),
                Step::Named { old: None, .. } | Step::Added { .. } | Step::Grown { .. } => {}
            }
        }
        Ok(())
    }

    /// Points the changed elements of name lists to their strings, and then lets the lists grow.
    fn show_names(&self, steps: &[Step]) {
        let area = &*self.segment.area;
        let mut lengths = BTreeMap::new();
        for step in steps {
            let Step::Named { index, position, length, .. } = step else { continue };
            let Some(Body::Names { strings, block }) = self.body(*index) else { continue };
            let first_length = *lengths.entry(*index).or_insert(*length);
            if *position < first_length
                && let Some(text) = &strings[*position]
            {
                point(area, block.vector() + position, text.vector());
            }
        }
        for (index, length) in lengths {
            let Some(Body::Names { strings, block }) = self.body(index) else { continue };
            for (position, text) in strings.iter().enumerate().skip(length) {
                let text = text.as_ref().unwrap_or(&self.segment.nameless);
                point(area, block.vector() + position, text.vector());
            }
            if strings.len() > length {
                // Below the capacity, which is a 32-bit number.
                raise_length(area, block.vector(), strings.len() as u32);
            }
        }
    }

    fn show_columns(&self, steps: &[Step]) {
        for step in steps {
            let Step::Grown { index, .. } = step else { continue };
            let Some(Body::Rows { columns, block, .. }) = self.body(*index) else { continue };
            let rows = (0..block.rows()).map(|row| block.row(row));
            raise_rows(&*self.segment.area, rows, *columns as u32);
        }
    }

    fn value(&mut self, path: &str, kind: Kind, value: u64) -> Result<Scalar, Error> {
        self.check(path)?;
        let cell = Arc::new(Cell::new(value));
        let id = self.add(path, Body::Value { kind, cell: Arc::clone(&cell) });
        Ok(Scalar { id, cell, area: Arc::clone(&self.segment.area) })
    }

    fn vector(
        &mut self,
        path: &str,
        kind: Kind,
        rows: usize,
        columns: usize,
        capacity: usize,
    ) -> Result<(EntryId, Arc<Block>), Error> {
        self.check(path)?;
        let reason = if rows == 0 || rows > LONGEST {
            Some("a vector has at least one row, and at most 2^31")
        } else if columns > capacity {
            Some("a vector's capacity is at least its number of columns")
        } else if capacity > LONGEST {
            Some("a vector has room for at most 2^31 columns")
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(Error::Shape { path: path.to_owned(), reason });
        }
        let width = if kind == Kind::Combined { 2 } else { 1 };
        let block = self.segment.allocate(Shape::rows(rows, capacity, width), path)?;
        let area = &*self.segment.area;
        for row in 0..rows {
            area.store(block.vector() + row, (block.row(row) * WORD) as u64);
            write_length(area, block.row(row), columns as u32);
        }
        write_length(area, block.vector(), rows as u32);
        let id = self.add(path, Body::Rows { kind, columns, block: Arc::clone(&block) });
        Ok((id, block))
    }

    fn grow(&mut self, id: EntryId, columns: usize) -> Result<(), Error> {
        let entry = self.entry_mut(id)?;
        let Body::Rows { columns: now, block, .. } = &mut entry.body else { return Err(Error::Gone) };
        if columns > block.capacity() {
            let (path, capacity) = (entry.path.to_string(), block.capacity());
            return Err(Error::Capacity { path, columns, capacity });
        }
        if columns > *now {
            let before = std::mem::replace(now, columns);
            self.steps.push(Step::Grown { index: id.index, columns: before });
        }
        Ok(())
    }

    /// Gives the entry a place in the directory. The path must have been checked.
    fn add(&mut self, path: &str, body: Body) -> EntryId {
        let segment = &mut *self.segment;
        let path: Arc<str> = Arc::from(path);
        let entry = Entry { path: Arc::clone(&path), body, links: 0 };
        let index = segment.free.pop().unwrap_or_else(|| {
            segment.slots.push(Slot { generation: 0, entry: None });
            // Fewer than 2^32: 144 bytes each would need a directory larger than the largest segment's room for it.
            (segment.slots.len() - 1) as u32
        });
        let slot = &mut segment.slots[index as usize];
        slot.entry = Some(entry);
        let generation = slot.generation;
        segment.paths.insert(path, index);
        self.steps.push(Step::Added { index });
        EntryId { index, generation }
    }

    fn body(&self, index: u32) -> Option<&Body> {
        self.segment.slots.get(index as usize)?.entry.as_ref().map(|entry| &entry.body)
    }

    fn entry(&self, id: EntryId) -> Result<&Entry, Error> {
        let slot = self.segment.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation);
        slot.and_then(|slot| slot.entry.as_ref()).ok_or(Error::Gone)
    }

    fn entry_mut(&mut self, id: EntryId) -> Result<&mut Entry, Error> {
        let slot =
            self.segment.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation);
        slot.and_then(|slot| slot.entry.as_mut()).ok_or(Error::Gone)
    }

    /// Changes how many symlinks a symlink's target knows of.
    fn relink(&mut self, entry: &Entry, change: impl FnOnce(usize) -> usize) {
        if let Body::Symlink { target, .. } = entry.body
            && let Some(target) =
                self.segment.slots.get_mut(target as usize).and_then(|slot| slot.entry.as_mut())
        {
            target.links = change(target.links);
        }
    }

    /// Whether this path may be registered.
    fn check(&self, path: &str) -> Result<(), Error> {
        let parts = path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !part.is_empty()));
        if !is_printable(path) || !parts || path.len() >= NAME_BYTES {
            return Err(Error::Path { path: path.to_owned() });
        }
        let (paths, nested) = (&self.segment.paths, |other: &str| Error::Nested {
            path: path.to_owned(),
            other: other.to_owned(),
        });
        if paths.contains_key(path) {
            return Err(Error::Duplicate { path: path.to_owned() });
        }
        let folders = path.match_indices('/').skip(1).map(|(end, _)| &path[..end]);
        if let Some(folder) = folders.clone().find(|folder| paths.contains_key(*folder)) {
            return Err(nested(folder));
        }
        if path == EMPTY_FOLDER || folders.clone().any(|folder| folder == EMPTY_FOLDER) {
            return Err(nested(EMPTY_FOLDER));
        }
        let inside = format!("{path}/");
        let next = paths.range::<str, _>((Bound::Excluded(inside.as_str()), Bound::Unbounded)).next();
        match next {
            Some((other, _)) if other.starts_with(&inside) => Err(nested(other)),
            _ => Ok(()),
        }
    }

    fn undo(&mut self, step: Step) {
        match step {
            Step::Added { index } => {
                let slot = &mut self.segment.slots[index as usize];
                slot.generation = slot.generation.wrapping_add(1);
                let Some(entry) = slot.entry.take() else { return };
                self.segment.paths.remove(&entry.path);
                self.relink(&entry, |links| links - 1);
                entry.blocks().for_each(|block| self.segment.blocks.retire(block));
                self.segment.free.push(index);
            }
            Step::Removed { index, entry } => {
                self.relink(&entry, |links| links + 1);
                self.segment.paths.insert(Arc::clone(&entry.path), index);
                let slot = &mut self.segment.slots[index as usize];
                slot.generation = slot.generation.wrapping_sub(1);
                slot.entry = Some(entry);
            }
            Step::Grown { index, columns } => {
                let entry = self.segment.slots[index as usize].entry.as_mut();
                if let Some(Entry { body: Body::Rows { columns: now, .. }, .. }) = entry {
                    *now = columns;
                }
            }
            Step::Named { index, position, old, length } => {
                let entry = self.segment.slots[index as usize].entry.as_mut();
                if let Some(Entry { body: Body::Names { strings, .. }, .. }) = entry {
                    let new = std::mem::replace(&mut strings[position], old);
                    strings.truncate(length);
                    new.into_iter().for_each(|block| self.segment.blocks.retire(block));
                }
            }
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        while let Some(step) = self.steps.pop() {
            self.undo(step);
        }
    }
}
