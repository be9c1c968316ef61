//! How a change becomes visible: the order of stores that keeps every reader safe, over any [`Memory`].
//!
//! The writer's half is here and the reader's in [`crate::decode`]; both are generic, so that the very same code
//! runs over a mapping, over ordinary memory (Miri, fuzzing) and over a model checker's atomics (`loom`).

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::layout::{
    ENTRY_NAME, ENTRY_VALUE, ENTRY_WORDS, HEADER_DIRECTORY, HEADER_EPOCH, WORD, halves, text_words,
    vector_header,
};

/// Shared memory, word by word.
pub(crate) trait Memory {
    /// How many words there are.
    fn words(&self) -> usize;
    /// A relaxed load; `None` outside the memory.
    fn load(&self, word: usize) -> Option<u64>;
    /// A relaxed store. Writers only store to words that their allocator gave them.
    fn store(&self, word: usize, value: u64);
    /// A fence, for the order between other loads and stores.
    fn fence(&self, order: Ordering);

    /// Where to begin to load these words: nothing before that part of them holds anything but zeros. It is not empty unless
    /// they are all zeros; then it is at their end. Whoever is about to load words asks first, goes on behind the part, and
    /// loads nothing else.
    fn first_written(&self, words: Range<usize>) -> Range<usize> {
        words
    }

    /// A store that takes everything stored before along with it.
    fn store_release(&self, word: usize, value: u64) {
        self.fence(Ordering::Release);
        self.store(word, value);
    }
}

/// A directory entry as it is written.
pub(crate) struct RawEntry<'a> {
    pub(crate) kind: u32,
    pub(crate) value: u64,
    pub(crate) name: &'a str,
}

/// Writes entry number `index` of the unpublished directory whose first entry is at `directory`.
pub(crate) fn write_entry<M: Memory>(memory: &M, directory: usize, index: usize, entry: &RawEntry<'_>) {
    let start = directory + index * ENTRY_WORDS;
    memory.store(start, halves(entry.kind, 0));
    memory.store(start + ENTRY_VALUE, entry.value);
    // Bytes after the NUL keep what an earlier directory left there: clients stop at the NUL.
    for (word, text) in text_words(entry.name.as_bytes()).enumerate() {
        memory.store(start + ENTRY_NAME + word, text);
    }
}

/// Writes the length of an unpublished vector whose first element is at `vector`.
pub(crate) fn write_length<M: Memory>(memory: &M, vector: usize, length: u32) {
    memory.store(vector - 1, vector_header(length));
}

/// Raises the length of a vector that readers may be reading; its new elements must be in place.
pub(crate) fn raise_length<M: Memory>(memory: &M, vector: usize, length: u32) {
    memory.store_release(vector - 1, vector_header(length));
}

/// Raises the length of all rows of a counter vector. The last row goes first and row 0 last: a reader that
/// takes row 0's length first never finds a later row shorter.
pub(crate) fn raise_rows<M: Memory>(memory: &M, rows: impl DoubleEndedIterator<Item = usize>, length: u32) {
    for row in rows.rev() {
        raise_length(memory, row, length);
    }
}

/// Lets the element at `slot` point to `target`, whose bytes must be in place.
pub(crate) fn point<M: Memory>(memory: &M, slot: usize, target: usize) {
    memory.store_release(slot, (target * WORD) as u64);
}

/// Makes the directory whose first entry is at `directory` the one that readers find.
pub(crate) fn publish_directory<M: Memory>(memory: &M, directory: usize) {
    point(memory, HEADER_DIRECTORY, directory);
}

/// Moves the epoch, the last step of every change.
pub(crate) fn move_epoch<M: Memory>(memory: &M) {
    let epoch = memory.load(HEADER_EPOCH).unwrap_or(0);
    memory.store_release(HEADER_EPOCH, epoch + 1);
    // Memory retired by this change may be written again later: a reader that sees such a write must also see
    // the new epoch, however weakly its machine orders loads.
    memory.fence(Ordering::Release);
}

/// Where the parts of one thread's share of a ring are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingRow {
    /// First word of the records.
    pub(crate) data: usize,
    /// First word of the metadata.
    pub(crate) metadata: usize,
    /// Words of a record.
    pub(crate) record: usize,
    /// How many records there are.
    pub(crate) records: u32,
}

/// Writes record number `sequence` (from 0), over the oldest one once the ring is full, and counts it.
///
/// While record *n* is being written the sequence is *n*, and its slot still counts as record *n* - `records` for a
/// reader; that reader looks at the sequence again afterwards and drops what may have been overwritten.
pub(crate) fn push_record<M: Memory>(memory: &M, ring: RingRow, sequence: u64, record: &[u8]) {
    let slot = (sequence % u64::from(ring.records)) as u32;
    let start = ring.data + slot as usize * ring.record;
    memory.fence(Ordering::Release);
    let mut octets = record.chunks(WORD);
    for word in 0..ring.record {
        let mut value = [0; WORD];
        if let Some(chunk) = octets.next() {
            value[..chunk.len()].copy_from_slice(chunk);
        }
        memory.store(start + word, u64::from_le_bytes(value));
    }
    let head = if slot + 1 == ring.records { 0 } else { slot + 1 };
    // The schema's version shares the head's word; weir's schemas are version 1.
    memory.store_release(ring.metadata, halves(head, SCHEMA_VERSION));
    memory.store_release(ring.metadata + 1, sequence + 1);
}

/// The version of every ring's schema: a changed schema is a new path.
pub(crate) const SCHEMA_VERSION: u32 = 1;
