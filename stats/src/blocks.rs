//! The segment's memory, handed out in blocks. All of the allocator's own state is outside the segment.
//!
//! A block is used again only for the same [`Shape`], and only after a grace period. So a pointer that was ever
//! published leads to a vector of the same kind, with a possible length, for as long as the segment lives: a reader
//! that is late by any amount of time reads old or other numbers (and sees by the epoch that it did), never garbage.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::layout::{ENTRY_WORDS, HEADER_WORDS, LINE, RING_DATA, RING_METADATA_WORDS, SPARE_WORDS, WORD};

/// What a block holds, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// A directory with room for so many entries.
    Directory { capacity: usize },
    /// A counter vector: pointers to its rows, then the rows, `width` words a column.
    Rows { rows: usize, capacity: usize, width: usize },
    /// Pointers to strings.
    Names { capacity: usize },
    /// One string, its vector header included.
    Text { words: usize },
    /// A ring buffer; `record` and `schema` in words.
    Ring { threads: usize, records: usize, record: usize, schema: usize },
}

impl Shape {
    /// Room for at least so many entries.
    pub(crate) fn directory(entries: usize) -> Shape {
        Shape::Directory { capacity: entries.next_power_of_two().max(64) }
    }

    /// Room for at least `capacity` columns a row. Sizes are powers of two, to be used again more often: what is
    /// never touched costs address space only.
    pub(crate) fn rows(rows: usize, capacity: usize, width: usize) -> Shape {
        Shape::Rows { rows, capacity: capacity.next_power_of_two().max(LINE / width), width }
    }

    /// Room for at least `capacity` strings.
    pub(crate) fn names(capacity: usize) -> Shape {
        Shape::Names { capacity: capacity.next_power_of_two().max(LINE) }
    }

    /// Room for a string of so many bytes and its NUL.
    pub(crate) fn text(bytes: usize) -> Shape {
        Shape::Text { words: (1 + bytes / WORD + 1).next_power_of_two().max(4) }
    }

    fn words(self) -> Option<usize> {
        match self {
            Shape::Directory { capacity } => capacity.checked_mul(ENTRY_WORDS)?.checked_add(LINE),
            Shape::Rows { rows, .. } => {
                let first = LINE.checked_add(rows.checked_next_multiple_of(LINE)?)?;
                rows.checked_mul(self.row_words()?)?.checked_add(first)
            }
            Shape::Names { capacity } => capacity.checked_add(LINE),
            Shape::Text { words } => Some(words),
            Shape::Ring { threads, schema, .. } => self
                .ring_metadata()?
                .checked_add(threads.checked_mul(RING_METADATA_WORDS)?)?
                .checked_add(schema),
        }
    }

    /// Words from one row's start to the next one's: a line that ends in the row's vector header, then the columns.
    fn row_words(self) -> Option<usize> {
        let Shape::Rows { capacity, width, .. } = self else { return None };
        capacity.checked_mul(width)?.checked_next_multiple_of(LINE)?.checked_add(LINE)
    }

    /// Where a ring's metadata start, from the ring's start.
    pub(crate) fn ring_metadata(self) -> Option<usize> {
        let Shape::Ring { threads, records, record, .. } = self else { return None };
        let data = threads.checked_mul(records)?.checked_mul(record)?;
        RING_DATA.checked_add(data)?.checked_next_multiple_of(LINE)
    }

    fn align(self) -> usize {
        match self {
            Shape::Text { words } => words.min(LINE),
            _ => LINE,
        }
    }
}

/// A piece of the segment. Whoever holds it may count on its memory not being used for anything else.
#[derive(Debug)]
pub(crate) struct Block {
    shape: Shape,
    start: usize,
}

impl Block {
    /// The word where the block's first vector (for a ring: the ring itself) starts.
    pub(crate) fn vector(&self) -> usize {
        match self.shape {
            Shape::Text { .. } => self.start + 1,
            Shape::Ring { .. } => self.start,
            // A vector's header is the last word of a line of its own.
            _ => self.start + LINE,
        }
    }

    /// The first column of a row.
    pub(crate) fn row(&self, row: usize) -> usize {
        let Shape::Rows { rows, .. } = self.shape else { return self.start };
        let row_words = self.shape.row_words().unwrap_or(0);
        self.start + LINE + rows.next_multiple_of(LINE) + row * row_words + LINE
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        match self.shape {
            Shape::Rows { rows, .. } => rows,
            Shape::Ring { threads, .. } => threads,
            _ => 0,
        }
    }

    /// How many columns, strings or entries there is room for.
    pub(crate) fn capacity(&self) -> usize {
        match self.shape {
            Shape::Directory { capacity } | Shape::Rows { capacity, .. } | Shape::Names { capacity } => {
                capacity
            }
            Shape::Ring { records, .. } => records,
            Shape::Text { words } => words,
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// All of the block's words.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.shape.words().unwrap_or(0)
    }
}

/// There is no room for a block of so many words.
#[derive(Debug)]
pub(crate) struct NoRoom {
    pub(crate) words: u64,
}

/// The allocator.
#[derive(Debug)]
pub(crate) struct Blocks {
    next: usize,
    end: usize,
    grace: Duration,
    free: HashMap<Shape, Vec<usize>>,
    /// Words in `free`.
    free_words: usize,
    retired: VecDeque<(Instant, Arc<Block>)>,
}

impl Blocks {
    /// All of a segment of so many words but its header and its end.
    pub(crate) fn new(words: usize, grace: Duration) -> Blocks {
        Blocks {
            next: HEADER_WORDS,
            end: words.saturating_sub(SPARE_WORDS).max(HEADER_WORDS),
            grace,
            free: HashMap::new(),
            free_words: 0,
            retired: VecDeque::new(),
        }
    }

    /// A block, and whether it was used before (its words are not zero then).
    pub(crate) fn allocate(&mut self, shape: Shape) -> Result<(Arc<Block>, bool), NoRoom> {
        let words = shape.words().ok_or(NoRoom { words: u64::MAX / WORD as u64 })?;
        if let Some(start) = self.free.get_mut(&shape).and_then(Vec::pop) {
            self.free_words -= words;
            return Ok((Arc::new(Block { shape, start }), true));
        }
        let start = self.next.next_multiple_of(shape.align());
        let end = start.checked_add(words).filter(|&end| end <= self.end);
        self.next = end.ok_or(NoRoom { words: words as u64 })?;
        Ok((Arc::new(Block { shape, start }), false))
    }

    /// Takes a block out of use. Its bytes stay as they are for the grace period, and for as long as anyone else
    /// holds the block.
    pub(crate) fn retire(&mut self, block: Arc<Block>) {
        self.retired.push_back((Instant::now(), block));
    }

    /// Lets retired blocks be used again whose grace period is over and that nobody holds.
    pub(crate) fn reclaim(&mut self) {
        for _ in 0..self.retired.len() {
            let Some((since, block)) = self.retired.pop_front() else { break };
            if since.elapsed() < self.grace {
                self.retired.push_front((since, block));
                break; // the rest retired later still
            }
            match Arc::try_unwrap(block) {
                Ok(block) => {
                    self.free_words += block.range().len();
                    self.free.entry(block.shape).or_default().push(block.start);
                }
                Err(held) => self.retired.push_back((since, held)),
            }
        }
        // Held blocks went to the back with their old times: put the oldest first again.
        self.retired.make_contiguous().sort_by_key(|(since, _)| *since);
    }

    /// Words in use, retired ones and the header included.
    pub(crate) fn used(&self) -> usize {
        self.next - self.free_words
    }

    /// Words that were in use at some time.
    pub(crate) fn touched(&self) -> usize {
        self.next
    }

    /// Words that were never used.
    pub(crate) fn untouched(&self) -> usize {
        self.end - self.next
    }

    /// How many blocks wait to be used again.
    pub(crate) fn free_blocks(&self) -> usize {
        self.free.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_never_share_a_line() {
        for (rows, capacity, width) in [(1, 1, 1), (3, 5, 1), (4, 100, 2), (17, 1000, 2)] {
            let mut blocks = Blocks::new(1 << 20, Duration::ZERO);
            let (block, _) = blocks.allocate(Shape::rows(rows, capacity, width)).unwrap();
            let mut end = block.vector() + rows;
            for row in 0..rows {
                let start = block.row(row);
                assert_eq!(start % LINE, 0);
                // The header of a row is written on growth: not on the line of the row before.
                assert!((start - 1) / LINE > (end - 1) / LINE);
                end = start + block.capacity() * width;
            }
            assert!(end <= block.range().end && block.capacity() >= capacity);
        }
    }

    #[test]
    fn a_block_is_used_again_only_for_its_shape_and_when_nobody_holds_it() {
        let mut blocks = Blocks::new(1 << 16, Duration::ZERO);
        let (held, used) = blocks.allocate(Shape::rows(2, 8, 1)).unwrap();
        assert!(!used);
        let start = held.range().start;
        blocks.retire(Arc::clone(&held));
        blocks.reclaim();
        let (other, used) = blocks.allocate(Shape::rows(2, 8, 1)).unwrap();
        assert!(!used && other.range().start != start, "its holder still has it");
        drop(held);
        blocks.reclaim();
        assert!(!blocks.allocate(Shape::rows(2, 8, 2)).unwrap().1);
        let (again, used) = blocks.allocate(Shape::rows(2, 8, 1)).unwrap();
        assert!(used && again.range().start == start);
    }

    #[test]
    fn the_grace_period_is_kept() {
        let mut blocks = Blocks::new(1 << 16, Duration::from_secs(3600));
        let (block, _) = blocks.allocate(Shape::text(5)).unwrap();
        blocks.retire(block);
        blocks.reclaim();
        assert!(!blocks.allocate(Shape::text(5)).unwrap().1);
    }

    #[test]
    fn impossible_sizes_are_refused_and_take_nothing() {
        let mut blocks = Blocks::new(1 << 16, Duration::ZERO);
        let before = blocks.used();
        assert!(blocks.allocate(Shape::Rows { rows: usize::MAX, capacity: usize::MAX, width: 2 }).is_err());
        assert!(blocks.allocate(Shape::names(1 << 20)).is_err());
        assert_eq!(blocks.used(), before);
    }

    #[test]
    fn the_last_block_leaves_room_at_the_end() {
        let mut blocks = Blocks::new(1 << 14, Duration::ZERO);
        let mut last = 0;
        while let Ok((block, _)) = blocks.allocate(Shape::text(10)) {
            last = block.range().end;
        }
        assert!(last <= (1 << 14) - SPARE_WORDS);
    }
}
