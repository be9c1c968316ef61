//! The reader's half of the protocol. It trusts nothing that it reads: every pointer, length and index is checked
//! before it is followed, chains are bounded, and so is the memory that a value may take.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::error::ReadError;
use crate::layout::{
    ENTRY_NAME, ENTRY_VALUE, ENTRY_WORDS, HEADER_BASE, HEADER_DIRECTORY, HEADER_EPOCH, HEADER_IN_PROGRESS,
    Kind, NAME_BYTES, RING_METADATA_WORDS, WORD, high, low, vector_length,
};
use crate::protocol::Memory;
use crate::value::{Bins, Entry, Extent, Link, Pair, RingRecords, RingRecordsRow, Value};

/// How many symlinks may follow one another. weir and VPP write one at most.
const LINKS: u32 = 8;

/// The most rows that a vector may have to be read in parts: a row is a thread's or a CPU's, of which Linux knows 8192.
const ROWS: usize = 65_536;

/// The epoch at which a read begins; `None` while another writer than weir's holds its lock.
pub(crate) fn begin<M: Memory>(memory: &M) -> Option<u64> {
    let epoch = memory.load(HEADER_EPOCH)?;
    let locked = memory.load(HEADER_IN_PROGRESS)?;
    memory.fence(Ordering::Acquire);
    (locked == 0).then_some(epoch)
}

/// Whether what was read since `epoch` belongs together.
pub(crate) fn unchanged<M: Memory>(memory: &M, epoch: u64) -> bool {
    // Whoever read a word of a later change reads its epoch, too.
    memory.fence(Ordering::Acquire);
    // The lock before the epoch: the other way round, a change that ends in between would be missed.
    memory.load(HEADER_IN_PROGRESS) == Some(0) && {
        memory.fence(Ordering::Acquire);
        memory.load(HEADER_EPOCH) == Some(epoch)
    }
}

/// One attempt at reading.
pub(crate) struct Decoder<'m, M> {
    memory: &'m M,
    base: u64,
    /// Bytes that the values of this attempt may still take.
    left: Cell<u64>,
    limit: u64,
}

/// An entry's words but for its name.
#[derive(Clone, Copy)]
pub(crate) struct Raw {
    pub(crate) number: u32,
    value: u64,
}

impl Raw {
    /// Where it leads, if it is a symlink.
    fn link(self) -> Link {
        Link { target: low(self.value), column: high(self.value) }
    }
}

/// A vector that is inside the memory as a whole.
#[derive(Clone, Copy)]
struct Vector {
    start: usize,
    length: usize,
}

const fn damaged(what: &'static str) -> ReadError {
    ReadError::Damaged { what }
}

impl<'m, M: Memory> Decoder<'m, M> {
    /// A decoder whose values take at most `limit` bytes.
    pub(crate) fn new(memory: &'m M, limit: u64) -> Result<Decoder<'m, M>, ReadError> {
        let base = memory.load(HEADER_BASE).ok_or(damaged("it is shorter than its header"))?;
        Ok(Decoder { memory, base, left: Cell::new(limit), limit })
    }

    /// The directory's entries.
    pub(crate) fn directory(&self) -> Result<Directory<'_, 'm, M>, ReadError> {
        let vector = self.vector(self.word(HEADER_DIRECTORY)?, ENTRY_WORDS)?;
        Ok(Directory { decoder: self, vector: vector.ok_or(damaged("it has no directory"))? })
    }

    fn word(&self, word: usize) -> Result<u64, ReadError> {
        // Per word: the error, which has a destructor, is made only when it is one.
        self.memory.load(word).ok_or_else(|| damaged("something reaches beyond its end"))
    }

    /// A word that says where other words are, which may have been written just before it.
    fn word_acquire(&self, word: usize) -> Result<u64, ReadError> {
        let value = self.word(word)?;
        self.memory.fence(Ordering::Acquire);
        Ok(value)
    }

    fn spend(&self, bytes: usize) -> Result<(), ReadError> {
        let bytes = bytes as u64;
        let left =
            self.left.get().checked_sub(bytes).ok_or(ReadError::TooLarge { bytes, limit: self.limit })?;
        self.left.set(left);
        Ok(())
    }

    /// Where a pointer leads; `None` for the null pointer.
    fn pointer(&self, pointer: u64) -> Result<Option<usize>, ReadError> {
        if pointer == 0 {
            return Ok(None);
        }
        self.memory.fence(Ordering::Acquire);
        let offset = pointer.wrapping_sub(self.base);
        let word = usize::try_from(offset / WORD as u64).ok().filter(|&word| word < self.memory.words());
        match word {
            Some(word) if offset.is_multiple_of(WORD as u64) && word > 0 => Ok(Some(word)),
            Some(_) => Err(damaged("a pointer to no word")),
            None => Err(damaged("a pointer beyond its end")),
        }
    }

    /// The vector that a pointer leads to, `width` words an element; `None` for the null pointer.
    fn vector(&self, pointer: u64, width: usize) -> Result<Option<Vector>, ReadError> {
        let Some(start) = self.pointer(pointer)? else { return Ok(None) };
        let length = vector_length(self.word_acquire(start - 1)?);
        let end = length.checked_mul(width).and_then(|words| words.checked_add(start));
        match end {
            Some(end) if end <= self.memory.words() => Ok(Some(Vector { start, length })),
            _ => Err(damaged("a vector reaches beyond its end")),
        }
    }

    /// An entry's value.
    pub(crate) fn value(&self, raw: Raw) -> Result<Value, ReadError> {
        match Kind::from_number(raw.number) {
            Some(Kind::Scalar) => Ok(Value::Scalar(raw.value)),
            Some(Kind::Gauge) => Ok(Value::Gauge(raw.value)),
            Some(Kind::Simple) => Ok(Value::Simple(self.rows(raw.value, 1, |row| self.simple(row))?)),
            Some(Kind::Combined) => Ok(Value::Combined(self.rows(raw.value, 2, |row| self.combined(row))?)),
            Some(Kind::Histogram) => Ok(Value::Histogram(self.rows(raw.value, 1, |row| self.bins(row))?)),
            Some(Kind::Names) => Ok(Value::Names(self.names(raw.value)?)),
            Some(Kind::Ring) => Ok(Value::Ring(self.ring(raw.value, |_| 0)?)),
            Some(Kind::Symlink) => {
                Ok(Value::Symlink { link: raw.link(), value: Box::new(self.linked(raw, LINKS)?) })
            }
            Some(Kind::Empty) | None => Err(damaged("an entry of no kind that has a value")),
        }
    }

    /// Every row of a counter vector, none longer than row 0: while a vector grows, later rows are ahead of it.
    fn rows<T>(
        &self,
        pointer: u64,
        width: usize,
        decode: impl Fn(Vector) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let Some(outer) = self.vector(pointer, 1)? else { return Ok(Vec::new()) };
        self.spend(outer.length.saturating_mul(size_of::<T>()))?;
        let mut rows = Vec::with_capacity(outer.length);
        let mut longest = usize::MAX;
        for element in 0..outer.length {
            let row = self.vector(self.word(outer.start + element)?, width)?;
            if let (0, Some(row)) = (element, row) {
                longest = row.length;
            }
            let row = row.unwrap_or(Vector { start: outer.start, length: 0 });
            self.spend(row.length.min(longest).saturating_mul(width * WORD))?;
            rows.push(decode(Vector { length: row.length.min(longest), ..row })?);
        }
        Ok(rows)
    }

    /// Calls `act` for the elements of a vector that are not in a hole, in their order.
    fn each_written(
        &self,
        part: Vector,
        width: usize,
        mut act: impl FnMut(usize) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let end = part.start + part.length * width;
        let (mut word, mut done) = (part.start, 0);
        while word < end {
            let written = self.memory.first_written(word..end);
            // In a segment that lies an element may begin in a hole and end outside.
            let first = (written.start - part.start) / width;
            let last = (written.end - part.start).div_ceil(width);
            for element in first.max(done)..last {
                act(element)?;
            }
            done = last.max(done);
            word = written.end.max(word + 1);
        }
        Ok(())
    }

    /// The elements of a vector, made by `decode` of their first words.
    fn elements<T: Copy + Default>(
        &self,
        part: Vector,
        width: usize,
        decode: impl Fn(usize) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let mut elements = vec![T::default(); part.length];
        self.each_written(part, width, |element| {
            elements[element] = decode(part.start + element * width)?;
            Ok(())
        })?;
        Ok(elements)
    }

    fn simple(&self, row: Vector) -> Result<Vec<u64>, ReadError> {
        self.elements(row, 1, |word| self.word(word))
    }

    fn combined(&self, row: Vector) -> Result<Vec<Pair>, ReadError> {
        self.elements(row, 2, |word| self.pair(word))
    }

    fn pair(&self, start: usize) -> Result<Pair, ReadError> {
        Ok(Pair { packets: self.word(start)?, bytes: self.word(start + 1)? })
    }

    fn bins(&self, row: Vector) -> Result<Bins, ReadError> {
        let mut words = self.simple(row)?;
        if words.is_empty() {
            return Ok(Bins::default());
        }
        let min_exp = u32::try_from(words.remove(0)).map_err(|_| damaged("a histogram's least exponent"))?;
        Ok(Bins { min_exp, counts: words })
    }

    fn names(&self, pointer: u64) -> Result<Vec<String>, ReadError> {
        let Some(outer) = self.vector(pointer, 1)? else { return Ok(Vec::new()) };
        self.strings(outer)
    }

    fn strings(&self, part: Vector) -> Result<Vec<String>, ReadError> {
        self.spend(part.length.saturating_mul(size_of::<String>()))?;
        let pointers = self.simple(part)?;
        pointers.into_iter().map(|pointer| self.string(pointer)).collect()
    }

    fn string(&self, pointer: u64) -> Result<String, ReadError> {
        let Some(start) = self.pointer(pointer)? else { return Ok(String::new()) };
        let length = vector_length(self.word_acquire(start - 1)?);
        let octets = self.octets(start.saturating_mul(WORD), length)?;
        let end = octets.iter().position(|&octet| octet == 0).unwrap_or(octets.len());
        Ok(printable_text(&octets[..end]))
    }

    /// One column of the counter vector that a symlink leads to.
    fn linked(&self, link: Raw, links: u32) -> Result<Value, ReadError> {
        let Link { target, column } = link.link();
        let target = self.directory()?.raw(target as usize)?.ok_or(damaged("a symlink to no entry"))?;
        match Kind::from_number(target.number) {
            Some(Kind::Symlink) if links > 1 => self.linked(target, links - 1),
            Some(Kind::Symlink) => Err(damaged("symlinks without an end")),
            _ => self.column(target, column as usize),
        }
    }

    /// One column of a counter vector, in all rows.
    pub(crate) fn column(&self, raw: Raw, column: usize) -> Result<Value, ReadError> {
        match Kind::from_number(raw.number) {
            Some(Kind::Simple) => {
                Ok(Value::Simple(self.cells(raw.value, 1, |cell| self.simple(cell), column)?))
            }
            Some(Kind::Combined) => {
                Ok(Value::Combined(self.cells(raw.value, 2, |cell| self.combined(cell), column)?))
            }
            _ => Err(damaged("a symlink to something that has no columns")),
        }
    }

    /// How large an entry's vector is; nothing for what is none.
    pub(crate) fn extent(&self, raw: Raw) -> Result<Extent, ReadError> {
        match Kind::from_number(raw.number) {
            Some(kind @ (Kind::Simple | Kind::Combined | Kind::Histogram)) => {
                let Some(outer) = self.vector(raw.value, 1)? else { return Ok(Extent::default()) };
                if outer.length > ROWS {
                    return Err(damaged("a vector of more rows than any machine has threads"));
                }
                let first = if outer.length > 0 { self.word(outer.start)? } else { 0 };
                let width = if kind == Kind::Combined { 2 } else { 1 };
                let first = self.vector(first, width)?;
                Ok(Extent { rows: outer.length, columns: first.map_or(0, |row| row.length) })
            }
            Some(Kind::Names) => {
                let names = self.vector(raw.value, 1)?;
                Ok(Extent { rows: 1, columns: names.map_or(0, |names| names.length) })
            }
            _ => Ok(Extent::default()),
        }
    }

    /// Some columns of one row of a vector, as far as they are there.
    pub(crate) fn part(&self, raw: Raw, row: usize, columns: &Range<usize>) -> Result<Value, ReadError> {
        let kind = Kind::from_number(raw.number);
        let width = if kind == Some(Kind::Combined) { 2 } else { 1 };
        let Extent { rows, columns: all } = self.extent(raw)?;
        let vector = match kind {
            Some(Kind::Simple | Kind::Combined) if row < rows => {
                let outer = self.vector(raw.value, 1)?;
                let pointer = outer.map_or(Ok(0), |outer| self.word(outer.start + row))?;
                self.vector(pointer, width)?
            }
            Some(Kind::Names) if row < rows => self.vector(raw.value, 1)?,
            _ => None,
        };
        let Vector { start, length } = vector.unwrap_or(Vector { start: 0, length: 0 });
        let end = columns.end.min(length.min(all));
        let first = columns.start.min(end);
        let part = Vector { start: start + first * width, length: end - first };
        self.spend(part.length.saturating_mul(width * WORD))?;
        match kind {
            Some(Kind::Simple) => Ok(Value::Simple(vec![self.simple(part)?])),
            Some(Kind::Combined) => Ok(Value::Combined(vec![self.combined(part)?])),
            Some(Kind::Names) => Ok(Value::Names(self.strings(part)?)),
            _ => Err(damaged("a part of something that has no columns")),
        }
    }

    fn cells<T>(
        &self,
        pointer: u64,
        width: usize,
        decode: impl Fn(Vector) -> Result<Vec<T>, ReadError>,
        column: usize,
    ) -> Result<Vec<Vec<T>>, ReadError> {
        let Some(outer) = self.vector(pointer, 1)? else { return Ok(Vec::new()) };
        self.spend(outer.length.saturating_mul(size_of::<Vec<T>>() + size_of::<T>()))?;
        let row = |element| match self.vector(self.word(element)?, width)? {
            Some(row) if column < row.length => {
                decode(Vector { start: row.start + column * width, length: 1 })
            }
            _ => Err(damaged("a symlink to a column that is not there")),
        };
        (outer.start..outer.start + outer.length).map(row).collect()
    }

    /// `length` bytes from byte `start` on, wherever that is in a word.
    fn octets(&self, start: usize, length: usize) -> Result<Vec<u8>, ReadError> {
        let end = start.checked_add(length).filter(|&end| end <= self.memory.words().saturating_mul(WORD));
        let end = end.ok_or(damaged("bytes reach beyond its end"))?;
        self.spend(length)?;
        let mut octets = Vec::with_capacity(length);
        let mut at = start;
        while at < end {
            let word = self.word(at / WORD)?.to_le_bytes();
            let (first, last) = (at % WORD, WORD.min(at % WORD + end - at));
            octets.extend_from_slice(&word[first..last]);
            at += last - first;
        }
        Ok(octets)
    }

    /// A ring's records: of each row, those with the number that `from` gives for it, and later ones.
    fn ring(&self, pointer: u64, from: impl Fn(usize) -> u64) -> Result<RingRecords, ReadError> {
        let start = self.pointer(pointer)?.ok_or(damaged("a ring buffer that is not there"))?;
        let fields = [0, 1, 2, 3].map(|word| self.word(start + word));
        let [sizes, counts, schema, data] = fields;
        let (sizes, counts, schema, data) = (sizes?, counts?, schema?, data?);
        let (entry_size, entries) = (low(sizes) as usize, low_usize(high(sizes)));
        let (threads, schema_size) = (low_usize(low(counts)), low_usize(high(counts)));
        let (schema_version, metadata) = (low(schema), low_usize(high(schema)));
        if entries == 0 || entry_size == 0 || !metadata.is_multiple_of(WORD) {
            return Err(damaged("a ring buffer without room for a record"));
        }
        // All four factors are below 2^32, so only products can overflow.
        let row_bytes = entries.saturating_mul(entry_size);
        let data = start * WORD + low_usize(low(data));
        let metadata = start + metadata / WORD;
        let ends = [
            row_bytes.saturating_mul(threads).saturating_add(data),
            metadata.saturating_add(threads.saturating_mul(RING_METADATA_WORDS)).saturating_mul(WORD),
        ];
        if ends.iter().any(|&end| end > self.memory.words().saturating_mul(WORD)) {
            return Err(damaged("a ring buffer reaches beyond its end"));
        }
        let mut ring =
            RingRecords { entry_size, entries, schema: Vec::new(), schema_version, rows: Vec::new() };
        if schema_size > 0 && threads > 0 {
            let place = self.word(metadata + 2)?;
            let at = start * WORD + low_usize(low(place));
            ring.schema = self.octets(at, schema_size.min(low_usize(high(place))))?;
        }
        self.spend(threads.saturating_mul(size_of::<RingRecordsRow>()))?;
        for thread in 0..threads {
            let row = data + thread * row_bytes;
            let metadata = metadata + thread * RING_METADATA_WORDS;
            ring.rows.push(self.records(row, metadata, (entries, entry_size), from(thread))?);
        }
        Ok(ring)
    }

    /// What is new in a ring: of each row the records from the number on that `from` has for it, and none of a row that it
    /// has no number for.
    pub(crate) fn news(&self, raw: Raw, from: &[u64]) -> Result<RingRecords, ReadError> {
        match Kind::from_number(raw.number) {
            Some(Kind::Ring) => self.ring(raw.value, |row| from.get(row).copied().unwrap_or(u64::MAX)),
            _ => Err(damaged("records of something that is no ring buffer")),
        }
    }

    /// What one row of a ring holds, from a record on. Records that the writer may have written over meanwhile are left out.
    fn records(
        &self,
        data: usize,
        metadata: usize,
        (entries, entry_size): (usize, usize),
        from: u64,
    ) -> Result<RingRecordsRow, ReadError> {
        let room = entries as u64;
        let sequence = self.word_acquire(metadata + 1)?;
        // While the sequence is n, record n is being written, into the slot of record n - room.
        let oldest = |sequence: u64| sequence.saturating_add(1).saturating_sub(room);
        let first = oldest(sequence).max(from).min(sequence);
        let mut records = Vec::new();
        for number in first..sequence {
            self.spend(size_of::<Vec<u8>>())?;
            let slot = (number % room) as usize;
            records.push(self.octets(data + slot * entry_size, entry_size)?);
        }
        self.memory.fence(Ordering::Acquire);
        let intact = oldest(self.word(metadata + 1)?).clamp(first, sequence);
        records.drain(..(intact - first) as usize);
        Ok(RingRecordsRow { first: intact, records })
    }
}

const fn low_usize(number: u32) -> usize {
    number as usize
}

/// The directory as one attempt at reading found it.
pub(crate) struct Directory<'d, 'm, M> {
    decoder: &'d Decoder<'m, M>,
    vector: Vector,
}

impl<M: Memory> Directory<'_, '_, M> {
    /// The words of the entry at a position; `None` beyond the last one.
    pub(crate) fn raw(&self, index: usize) -> Result<Option<Raw>, ReadError> {
        if index >= self.vector.length {
            return Ok(None);
        }
        let start = self.vector.start + index * ENTRY_WORDS;
        let number = low(self.decoder.word(start)?);
        Ok(Some(Raw { number, value: self.decoder.word(start + ENTRY_VALUE)? }))
    }

    /// The name of the entry at a position.
    pub(crate) fn name(&self, index: usize) -> Result<String, ReadError> {
        self.with_name(index, printable_text)
    }

    fn with_name<T>(&self, index: usize, use_name: impl FnOnce(&[u8]) -> T) -> Result<T, ReadError> {
        let start = self.vector.start + index * ENTRY_WORDS + ENTRY_NAME;
        let mut name = [0; NAME_BYTES];
        for (word, octets) in name.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
            *octets = self.decoder.word(start + word)?.to_le_bytes();
            if octets.contains(&0) {
                break;
            }
        }
        let end = name.iter().position(|&octet| octet == 0);
        let end = end.ok_or(damaged("a name without an end"))?;
        Ok(use_name(&name[..end]))
    }

    /// All entries that have a value.
    pub(crate) fn entries(&self, epoch: u64) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        self.decoder.spend(self.vector.length.saturating_mul(ENTRY_WORDS * WORD))?;
        self.decoder.each_written(self.vector, ENTRY_WORDS, |index| {
            let Some(raw) = self.raw(index)? else { return Ok(()) };
            // Kinds that are not known may be some later version's: not this reader's business.
            let Some(kind) = Kind::from_number(raw.number).filter(|&kind| kind != Kind::Empty) else {
                return Ok(());
            };
            let name = self.name(index)?;
            self.decoder.spend(size_of::<Entry>() + name.len())?;
            // A vector's length is a 32-bit number.
            let link = (kind == Kind::Symlink).then(|| raw.link());
            entries.push(Entry { index: index as u32, name, kind, link, epoch });
            Ok(())
        })?;
        Ok(entries)
    }

    /// Scalars and gauges by their names.
    pub(crate) fn numbers<const N: usize>(&self, names: [&str; N]) -> Result<[Option<u64>; N], ReadError> {
        let mut numbers = [None; N];
        self.decoder.each_written(self.vector, ENTRY_WORDS, |index| {
            let Some(raw) = self.raw(index)? else { return Ok(()) };
            if matches!(Kind::from_number(raw.number), Some(Kind::Scalar | Kind::Gauge)) {
                let at = self.with_name(index, |name| names.iter().position(|it| it.as_bytes() == name))?;
                if let Some(at) = at {
                    numbers[at] = Some(raw.value);
                }
            }
            Ok(())
        })?;
        Ok(numbers)
    }

    /// The words of a listed entry, if it is still the same one.
    pub(crate) fn entry(&self, entry: &Entry, epoch: u64) -> Result<Raw, ReadError> {
        let index = entry.index as usize;
        let raw = self.raw(index)?.filter(|raw| raw.number == entry.kind.number());
        match raw {
            // While the epoch stands, names stand.
            Some(raw) if epoch == entry.epoch || self.name(index)? == entry.name => Ok(raw),
            _ => Err(ReadError::Stale { name: entry.name.clone() }),
        }
    }
}

/// Text that can be shown anywhere.
fn printable_text(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    if !text.contains(char::is_control) {
        return text.into_owned();
    }
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
