//! What a registration hands out: the rows that count, and the handles that hold them.
//!
//! A row has one owner, which counts with a plain load and a plain store. A row holds its memory: that memory is not
//! used for anything else while the row lives, even when the entry has been removed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::blocks::{Block, Shape};
use crate::layout::WORD;
use crate::protocol::{Memory, RingRow as RingPlace, push_record};
use crate::words::{Area, Words};

/// Names an entry of one segment, from its registration until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryId {
    pub(crate) index: u32,
    /// How often the index was given away before: an id of a removed entry never fits a later one.
    pub(crate) generation: u32,
}

impl EntryId {
    /// The entry's position in the directory, by which clients know it.
    pub fn index(self) -> u32 {
        self.index
    }
}

/// A single number (kinds scalar and gauge), set by control code: setting takes a lock that only a concurrent
/// registration contends for.
#[derive(Debug)]
pub struct Scalar {
    pub(crate) id: EntryId,
    pub(crate) cell: Arc<Cell>,
    pub(crate) area: Arc<Area>,
}

/// A scalar's value, and where it is published: in the directory, which is replaced as a whole now and then.
#[derive(Debug, Default)]
pub(crate) struct Cell(Mutex<(u64, Option<usize>)>);

impl Cell {
    pub(crate) fn new(value: u64) -> Cell {
        Cell(Mutex::new((value, None)))
    }

    /// Publishes the value at another word from now on, or nowhere.
    pub(crate) fn place(&self, area: &Area, word: Option<usize>) {
        let mut cell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cell.1 = word;
        if let Some(word) = word {
            area.store(word, cell.0);
        }
    }
}

impl Scalar {
    /// Names the entry.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// Sets the number. After the entry's removal this does nothing that a reader could see.
    pub fn set(&self, value: u64) {
        self.update(|number| *number = value);
    }

    /// Adds to the number, wrapping around.
    pub fn add(&self, count: u64) {
        self.update(|number| *number = number.wrapping_add(count));
    }

    /// The number as last set.
    pub fn value(&self) -> u64 {
        self.cell.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn update(&self, change: impl FnOnce(&mut u64)) {
        let mut cell = self.cell.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut cell.0);
        if let Some(word) = cell.1 {
            self.area.store(word, cell.0);
        }
    }
}

/// The rows of a vector that have not been taken yet.
#[derive(Debug)]
struct Rows {
    area: Arc<Area>,
    block: Arc<Block>,
    taken: Vec<bool>,
}

impl Rows {
    fn new(area: &Arc<Area>, block: &Arc<Block>) -> Rows {
        Rows { area: Arc::clone(area), block: Arc::clone(block), taken: vec![false; block.rows()] }
    }

    fn take(&mut self, row: usize) -> Option<(Words, Arc<Block>)> {
        let Shape::Rows { capacity, width, .. } = self.block.shape() else { return None };
        let taken = self.taken.get_mut(row).filter(|taken| !**taken)?;
        let words = Words::new(&self.area, self.block.row(row), capacity * width)?;
        *taken = true;
        Some((words, Arc::clone(&self.block)))
    }
}

/// A vector of counters: one row per thread, one column per thing that is counted.
#[derive(Debug)]
pub struct Simple {
    pub(crate) id: EntryId,
    rows: Rows,
}

/// A vector of packet and byte counters.
#[derive(Debug)]
pub struct Combined {
    pub(crate) id: EntryId,
    rows: Rows,
}

/// A histogram over powers of two, one row per thread.
#[derive(Debug)]
pub struct Histogram {
    pub(crate) id: EntryId,
    rows: Rows,
    min_exp: u32,
    bins: usize,
}

/// A ring buffer of records, one row per thread.
#[derive(Debug)]
pub struct Ring {
    pub(crate) id: EntryId,
    area: Arc<Area>,
    block: Arc<Block>,
    taken: Vec<bool>,
}

/// A list of strings, changed through [`Batch::set_name`](crate::Batch::set_name).
#[derive(Debug)]
pub struct Names {
    pub(crate) id: EntryId,
    pub(crate) capacity: usize,
}

impl Simple {
    pub(crate) fn new(id: EntryId, area: &Arc<Area>, block: &Arc<Block>) -> Simple {
        Simple { id, rows: Rows::new(area, block) }
    }

    /// Names the entry.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.taken.len()
    }

    /// How many columns a row has room for: at least what was asked for.
    pub fn capacity(&self) -> usize {
        self.rows.block.capacity()
    }

    /// Hands out a row, once. `None` if it was taken before or does not exist.
    pub fn take_row(&mut self, row: usize) -> Option<SimpleRow> {
        self.rows.take(row).map(|(words, block)| SimpleRow { words, _block: block })
    }
}

impl Combined {
    pub(crate) fn new(id: EntryId, area: &Arc<Area>, block: &Arc<Block>) -> Combined {
        Combined { id, rows: Rows::new(area, block) }
    }

    /// Names the entry.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.taken.len()
    }

    /// How many columns a row has room for: at least what was asked for.
    pub fn capacity(&self) -> usize {
        self.rows.block.capacity()
    }

    /// Hands out a row, once. `None` if it was taken before or does not exist.
    pub fn take_row(&mut self, row: usize) -> Option<CombinedRow> {
        self.rows.take(row).map(|(words, block)| CombinedRow { words, _block: block })
    }
}

impl Histogram {
    pub(crate) fn new(
        id: EntryId,
        area: &Arc<Area>,
        block: &Arc<Block>,
        min_exp: u32,
        bins: usize,
    ) -> Histogram {
        Histogram { id, rows: Rows::new(area, block), min_exp, bins }
    }

    /// Names the entry.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.taken.len()
    }

    /// Hands out a row, once. `None` if it was taken before or does not exist.
    pub fn take_row(&mut self, row: usize) -> Option<HistogramRow> {
        let (words, block) = self.rows.take(row)?;
        Some(HistogramRow { words, min_exp: self.min_exp, last: self.bins - 1, _block: block })
    }
}

impl Ring {
    pub(crate) fn new(id: EntryId, area: &Arc<Area>, block: &Arc<Block>) -> Ring {
        let taken = vec![false; block.rows()];
        Ring { id, area: Arc::clone(area), block: Arc::clone(block), taken }
    }

    /// Names the entry.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.taken.len()
    }

    /// How many records each row has room for: more than was asked for.
    pub fn records(&self) -> usize {
        self.block.capacity()
    }

    /// Hands out a row, once. `None` if it was taken before or does not exist.
    pub fn take_row(&mut self, row: usize) -> Option<RingRow> {
        let place = ring_place(&self.block, row)?;
        let taken = self.taken.get_mut(row).filter(|taken| !**taken)?;
        *taken = true;
        Some(RingRow { area: Arc::clone(&self.area), place, sequence: 0, _block: Arc::clone(&self.block) })
    }
}

/// Where a thread's share of a ring is.
pub(crate) fn ring_place(block: &Block, row: usize) -> Option<RingPlace> {
    let Shape::Ring { threads, records, record, .. } = block.shape() else { return None };
    let metadata = block.vector() + block.shape().ring_metadata()?;
    (row < threads).then(|| RingPlace {
        data: block.vector() + crate::layout::RING_DATA + row * records * record,
        metadata: metadata + row * crate::layout::RING_METADATA_WORDS,
        record,
        records: records as u32,
    })
}

impl Names {
    /// Names the entry.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// How many strings there is room for: at least what was asked for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

/// One thread's counters. Reading it from another process is always whole words.
#[derive(Debug)]
pub struct SimpleRow {
    words: Words,
    _block: Arc<Block>,
}

/// Adds with one load and one store: the row has no other writer, so nothing can come in between.
#[inline(always)]
fn count(word: &AtomicU64, n: u64) {
    if cfg!(feature = "uncounted") {
        return;
    }
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl SimpleRow {
    /// Adds to a counter. A column beyond the row's capacity is a mistake of the caller's, and counts nothing.
    #[inline(always)]
    pub fn add(&mut self, column: usize, n: u64) {
        debug_assert!(column < self.words.all().len(), "column {column} is beyond the row's capacity");
        if let Some(word) = self.words.all().get(column) {
            count(word, n);
        }
    }

    /// Sets a counter. A column beyond the row's capacity is a mistake of the caller's, and sets nothing.
    #[inline(always)]
    pub fn set(&mut self, column: usize, value: u64) {
        debug_assert!(column < self.words.all().len(), "column {column} is beyond the row's capacity");
        if let Some(word) = self.words.all().get(column) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// A counter's value; 0 beyond the row's capacity.
    #[inline(always)]
    pub fn value(&self, column: usize) -> u64 {
        self.words.all().get(column).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// How many columns there is room for.
    pub fn capacity(&self) -> usize {
        self.words.all().len()
    }

    /// Asks for a counter's cache line ahead of its use.
    #[inline(always)]
    pub fn prefetch(&self, column: usize) {
        self.words.prefetch(column);
    }
}

/// One thread's packet and byte counters. A reader may see the packets of an addition before its bytes.
#[derive(Debug)]
pub struct CombinedRow {
    words: Words,
    _block: Arc<Block>,
}

impl CombinedRow {
    /// Adds to a pair of counters. A column beyond the row's capacity is a mistake of the caller's, and counts nothing.
    #[inline(always)]
    pub fn add(&mut self, column: usize, packets: u64, bytes: u64) {
        let (pairs, _) = self.words.all().as_chunks::<2>();
        debug_assert!(column < pairs.len(), "column {column} is beyond the row's capacity");
        if let Some([packet_count, byte_count]) = pairs.get(column) {
            count(packet_count, packets);
            count(byte_count, bytes);
        }
    }

    /// Packets and bytes; 0 beyond the row's capacity.
    #[inline(always)]
    pub fn value(&self, column: usize) -> (u64, u64) {
        let (pairs, _) = self.words.all().as_chunks::<2>();
        pairs.get(column).map_or((0, 0), |[packets, bytes]| {
            (packets.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
        })
    }

    /// Sets a pair of counters, as [`SimpleRow::set`].
    #[inline(always)]
    pub fn set(&mut self, column: usize, packets: u64, bytes: u64) {
        let (pairs, _) = self.words.all().as_chunks::<2>();
        debug_assert!(column < pairs.len(), "column {column} is beyond the row's capacity");
        if let Some([packet_count, byte_count]) = pairs.get(column) {
            packet_count.store(packets, Ordering::Relaxed);
            byte_count.store(bytes, Ordering::Relaxed);
        }
    }

    /// How many columns there is room for.
    pub fn capacity(&self) -> usize {
        self.words.all().len() / 2
    }

    /// Asks for a pair's cache line ahead of its use.
    #[inline(always)]
    pub fn prefetch(&self, column: usize) {
        self.words.prefetch(column.wrapping_mul(2));
    }
}

/// One thread's histogram. Bin *k* counts values from 2^(min_exp + *k*) to 2^(min_exp + *k* + 1) - 1; the first bin
/// takes everything smaller too, the last one everything larger.
#[derive(Debug)]
pub struct HistogramRow {
    words: Words,
    min_exp: u32,
    /// The last bin's number.
    last: usize,
    _block: Arc<Block>,
}

impl HistogramRow {
    /// Counts a value once.
    #[inline(always)]
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts a value `times` times.
    #[inline(always)]
    pub fn record_many(&mut self, value: u64, times: u64) {
        let exponent = (value | 1).ilog2();
        let bin = (exponent.saturating_sub(self.min_exp) as usize).min(self.last);
        // Element 0 of the row is min_exp.
        if let Some(word) = self.words.all().get(1 + bin) {
            count(word, times);
        }
    }

    /// A bin's count; 0 beyond the last bin.
    pub fn value(&self, bin: usize) -> u64 {
        if bin > self.last { 0 } else { self.words.all()[1 + bin].load(Ordering::Relaxed) }
    }
}

/// One thread's share of a ring buffer.
#[derive(Debug)]
pub struct RingRow {
    area: Arc<Area>,
    place: RingPlace,
    sequence: u64,
    _block: Arc<Block>,
}

impl RingRow {
    /// Writes a record, over the oldest one when the ring is full. A shorter record is filled up with zeros; a longer
    /// one is a mistake of the caller's, and is cut.
    pub fn push(&mut self, record: &[u8]) {
        let size = self.place.record * WORD;
        debug_assert!(record.len() <= size, "a record of {} bytes in a ring of {size}", record.len());
        push_record(&*self.area, self.place, self.sequence, record);
        self.sequence += 1;
    }

    /// How many records were written so far.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use crate::{Options, Segment};

    fn segment() -> Segment {
        Segment::in_heap(Options { size: 1 << 20, workers: 1, ..Options::default() }).unwrap()
    }

    #[test]
    fn each_row_is_handed_out_once() {
        let mut segment = segment();
        let mut simple = segment.register(|batch| batch.simple("/a", 1, 1)).unwrap();
        assert!(simple.take_row(0).is_some() && simple.take_row(1).is_some());
        assert!(simple.take_row(0).is_none() && simple.take_row(2).is_none());
    }

    #[test]
    fn histogram_bins_follow_the_format() {
        let mut segment = segment();
        let mut histogram = segment.register(|batch| batch.histogram("/h", 4, 3)).unwrap();
        let mut row = histogram.take_row(0).unwrap();
        for value in [0, 1, 15, 16, 31, 32, 63, 64, 127, 128, u64::MAX] {
            row.record(value);
        }
        // 16..=31 and everything below, 32..=63, 64..=127 and everything above
        assert_eq!([row.value(0), row.value(1), row.value(2), row.value(3)], [5, 2, 4, 0]);
    }

    #[test]
    fn counters_wrap_instead_of_panicking() {
        let mut segment = segment();
        let mut combined = segment.register(|batch| batch.combined("/c", 1, 1)).unwrap();
        let mut row = combined.take_row(1).unwrap();
        row.add(0, u64::MAX, 1);
        row.add(0, 2, 1);
        assert_eq!(row.value(0), (1, 2));
        assert_eq!(row.value(1 << 40), (0, 0));
        row.prefetch(usize::MAX);
    }
}
