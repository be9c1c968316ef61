//! The writer: one segment, owned by the control thread.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::time::ClockId;

use crate::batch::{Batch, Slot};
use crate::blocks::{Block, Blocks, NoRoom, Shape};
use crate::catalogue::{self, Description};
use crate::error::Error;
use crate::layout::{
    ENTRY_VALUE, ENTRY_WORDS, HEADER_BASE, HEADER_EPOCH, HEADER_IN_PROGRESS, HEADER_VERSION, Kind, VERSION,
    WORD, halves, text_words,
};
use crate::memfd;
use crate::protocol::{Memory, RawEntry, move_epoch, publish_directory, write_entry, write_length};
use crate::rows::{Scalar, SimpleRow};
use crate::words::Area;

/// How a segment is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Address space in bytes. Only what is written costs memory, so the default (64 GiB) is far more than is needed.
    /// Lower: registrations are refused sooner. Higher: nothing, until a reader's own address space is limited.
    pub size: u64,
    /// Worker threads. Vectors have one row more: row 0 is the control thread's.
    pub workers: usize,
    /// How long removed and replaced memory keeps its bytes. It should be longer than a reader needs for one read:
    /// such a reader then finds what it looks for, instead of having to try again. Default: 5 s.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { size: 64 << 30, workers: 1, grace: Duration::from_secs(5) }
    }
}

/// Sizes that make sense: room for the fixed entries; what 46 bits of user address space hold many times over.
const SIZES: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 40;

/// The most that [`Segment::in_heap`] takes. Miri really fills what it allocates.
const HEAP_SIZE: u64 = if cfg!(miri) { 1 << 20 } else { 1 << 30 };

/// The segment's writer.
#[derive(Debug)]
pub struct Segment {
    pub(crate) area: Arc<Area>,
    readers: Option<OwnedFd>,
    pub(crate) rows: usize,
    pub(crate) blocks: Blocks,
    /// What is registered, by position in the directory.
    pub(crate) slots: Vec<Slot>,
    pub(crate) paths: BTreeMap<Arc<str>, u32>,
    /// Positions of removed entries.
    pub(crate) free: Vec<u32>,
    /// The string that stands where no name was set.
    pub(crate) nameless: Arc<Block>,
    directory: Option<Arc<Block>>,
    own: Option<Own>,
}

/// The entries that the segment keeps itself.
#[derive(Debug)]
struct Own {
    heartbeat: Scalar,
    heartbeat_at: Scalar,
    memory: SimpleRow,
}

impl Segment {
    /// Makes a shared segment that readers can map.
    pub fn create(options: Options) -> Result<Segment, Error> {
        let size = checked_size(options.size)?;
        let (area, readers) = memfd::create(size)?;
        Segment::over(area, Some(readers), &options)
    }

    /// Makes a segment in ordinary memory, of at most 1 GiB, for tests and benches. It is the same in every byte,
    /// but cannot be served.
    pub fn in_heap(options: Options) -> Result<Segment, Error> {
        let size = checked_size(options.size.min(HEAP_SIZE))?;
        Segment::over(Area::heap(size as usize / WORD), None, &options)
    }

    /// Changes what is registered: all of it, or, on an error, nothing. Readers see the change at once and as a whole
    /// when `change` is done; so put what belongs together into one call.
    pub fn register<T>(
        &mut self,
        change: impl FnOnce(&mut Batch<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut batch = Batch::new(self);
        let result = change(&mut batch)?; // dropping a batch undoes it
        batch.commit()?;
        Ok(result)
    }

    /// Publishes what the entries mean, for [`Catalogue::of`](crate::Catalogue::of); of the segment's own entries too. Once,
    /// for all that will ever be registered: entries may come and go later.
    pub fn describe(&mut self, descriptions: &[Description]) -> Result<(), Error> {
        let all: Vec<Description> = catalogue::OWN.iter().chain(descriptions).cloned().collect();
        self.register(|batch| {
            for (path, texts) in catalogue::published(&all) {
                let mut names = batch.names(&path, all.len())?;
                for (at, text) in texts.iter().enumerate() {
                    batch.set_name(&mut names, at, text)?;
                }
            }
            Ok(())
        })
    }

    /// Shows readers that the writer lives, and lets memory be used again whose grace period is over. To be called at
    /// least once a second.
    pub fn beat(&mut self) {
        self.blocks.reclaim();
        let (used, size) = (self.used(), self.size());
        let (touched, free_blocks) = (self.blocks.touched(), self.blocks.free_blocks());
        if let Some(own) = &mut self.own {
            own.heartbeat.add(1);
            own.heartbeat_at.set(monotonic_nanoseconds());
            let touched = (touched * WORD) as u64;
            for (column, value) in
                [size, used, size - used, 0, touched, free_blocks as u64, 0].into_iter().enumerate()
            {
                own.memory.set(column, value);
            }
        }
    }

    /// Bytes in use, reserved room included.
    pub fn used(&self) -> u64 {
        (self.blocks.used() * WORD) as u64
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        (self.area.words() * WORD) as u64
    }

    /// Rows of a vector: the control thread's and one per worker.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The read-only descriptor for readers; `None` for a segment in ordinary memory.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.readers.as_ref().map(OwnedFd::as_fd)
    }

    fn over(area: Area, readers: Option<OwnedFd>, options: &Options) -> Result<Segment, Error> {
        let area = Arc::new(area);
        let mut blocks = Blocks::new(area.words(), options.grace);
        let size = (area.words() * WORD) as u64;
        let (nameless, _) = blocks.allocate(Shape::text(0)).map_err(|_| Error::Size { size })?;
        write_text(&area, &nameless, "");
        let mut segment = Segment {
            area,
            readers,
            rows: 1 + options.workers,
            blocks,
            slots: Vec::new(),
            paths: BTreeMap::new(),
            free: Vec::new(),
            nameless,
            directory: None,
            own: None,
        };
        segment.area.store(HEADER_VERSION, VERSION);
        segment.area.store(HEADER_BASE, 0);
        segment.area.store(HEADER_IN_PROGRESS, 0);
        segment.area.store(HEADER_EPOCH, 0); // the first change makes it 1
        let identity = Identity::of_this_process();
        let own = segment.register(|batch| {
            // Clients find the first three by their position.
            let heartbeat = batch.scalar("/sys/heartbeat", 0)?;
            batch.scalar("/sys/last_stats_clear", 0)?;
            batch.scalar("/sys/boottime", identity.unix_seconds)?;
            let heartbeat_at = batch.scalar("/sys/heartbeat_ns", monotonic_nanoseconds())?;
            batch.scalar("/sys/pid", identity.pid)?;
            batch.scalar("/sys/pid_start_ticks", identity.start_ticks)?;
            // A scalar, though newer VPPs have a gauge here: govpp's system statistics only read scalars.
            batch.scalar("/sys/num_worker_threads", options.workers as u64)?;
            let mut memory = batch.simple_rows("/mem/stat segment", 1, MEMORY.len(), MEMORY.len())?;
            let mut columns = batch.names("/mem/columns", MEMORY.len())?;
            for (column, name) in MEMORY.iter().enumerate() {
                batch.set_name(&mut columns, column, name)?;
            }
            let memory = memory.take_row(0).ok_or(Error::Gone)?;
            Ok(Own { heartbeat, heartbeat_at, memory })
        })?;
        segment.own = Some(own);
        segment.beat();
        Ok(segment)
    }

    /// Builds a directory of all entries aside, and makes it the one that readers find. The old one is retired.
    pub(crate) fn publish(&mut self, directory: Arc<Block>) {
        let start = directory.vector();
        for (index, slot) in self.slots.iter().enumerate() {
            let value = start + index * ENTRY_WORDS + ENTRY_VALUE;
            match &slot.entry {
                Some(entry) => {
                    let raw =
                        RawEntry { kind: entry.kind().number(), value: entry.word(), name: &entry.path };
                    write_entry(&*self.area, start, index, &raw);
                    if let Some(cell) = entry.cell() {
                        cell.place(&self.area, Some(value));
                    }
                }
                None => {
                    // Clients stumble over an empty name, and late ones over a directory that got shorter: so a
                    // removed entry's place stays, with a name. The value is the end of VPP's list of free places.
                    let name = format!("{EMPTY_FOLDER}/{index}");
                    let raw =
                        RawEntry { kind: Kind::Empty.number(), value: u64::from(u32::MAX), name: &name };
                    write_entry(&*self.area, start, index, &raw);
                }
            }
        }
        // At most 2^32 - 1 entries: positions are 32-bit numbers.
        write_length(&*self.area, start, self.slots.len() as u32);
        publish_directory(&*self.area, start);
        if let Some(old) = self.directory.replace(directory) {
            self.blocks.retire(old);
        }
    }

    /// The last step of a change.
    pub(crate) fn move_epoch(&self) {
        move_epoch(&*self.area);
    }

    /// A block, its words zero; or the refusal that names `what` it was for.
    pub(crate) fn allocate(&mut self, shape: Shape, what: &str) -> Result<Arc<Block>, Error> {
        self.blocks.reclaim();
        let (block, used) = self.blocks.allocate(shape).map_err(|NoRoom { words }| Error::Full {
            what: what.to_owned(),
            needed: words * WORD as u64,
            free: (self.blocks.untouched() * WORD) as u64,
            size: self.size(),
        })?;
        // A directory is written over as a whole, and so is a string.
        if used && !matches!(shape, Shape::Directory { .. } | Shape::Text { .. }) {
            // Late readers must go on finding vectors: only what the shape does not fix becomes zero.
            match shape {
                Shape::Rows { rows, capacity, width } => {
                    for row in (0..rows).map(|row| block.row(row)) {
                        (row..row + capacity * width).for_each(|word| self.area.store(word, 0));
                    }
                }
                Shape::Ring { .. } => block.range().for_each(|word| self.area.store(word, 0)),
                _ => {}
            }
        }
        Ok(block)
    }
}

/// The columns of VPP's heap statistics. Those without a name are 0 here, or no bytes: mapped bytes, the number of free
/// blocks, releasable bytes.
const MEMORY: [&str; 7] = ["total", "used", "free", "", "touched", "", ""];

/// Where the places of removed entries appear.
pub(crate) const EMPTY_FOLDER: &str = "/empty";

/// Writes a string into its block: the vector's length includes the NUL.
pub(crate) fn write_text(area: &Area, block: &Block, text: &str) {
    let start = block.vector();
    write_length(area, start, text.len() as u32 + 1);
    for (word, value) in text_words(text.as_bytes()).enumerate() {
        area.store(start + word, value);
    }
}

/// A ring's header: eight 32-bit fields, the last of them unused.
pub(crate) fn write_ring_header(area: &Area, block: &Block, schema: &[u8]) -> Option<()> {
    let Shape::Ring { threads, records, record, .. } = block.shape() else { return None };
    let start = block.vector();
    let metadata = block.shape().ring_metadata()?;
    let schema_at = metadata + threads * crate::layout::RING_METADATA_WORDS;
    let number = |value: usize| u32::try_from(value).ok();
    let bytes = |words: usize| number(words.checked_mul(WORD)?);
    let version = crate::protocol::SCHEMA_VERSION;
    let schema_size = number(schema.len())?;
    bytes(block.range().len())?; // every offset is a 32-bit number
    area.store(start, halves(bytes(record)?, number(records)?));
    area.store(start + 1, halves(number(threads)?, schema_size));
    area.store(start + 2, halves(version, bytes(metadata)?));
    area.store(start + 3, halves(bytes(crate::layout::RING_DATA)?, 0));
    for thread in 0..threads {
        let place = start + metadata + thread * crate::layout::RING_METADATA_WORDS;
        area.store(place, halves(0, version));
        area.store(place + 1, 0);
        area.store(place + 2, halves(bytes(schema_at)?, schema_size));
    }
    if !schema.is_empty() {
        for (word, value) in text_words(schema).take(schema.len().div_ceil(WORD)).enumerate() {
            area.store(start + schema_at + word, value);
        }
    }
    Some(())
}

fn checked_size(size: u64) -> Result<u64, Error> {
    if SIZES.contains(&size) { Ok(size & !4095) } else { Err(Error::Size { size }) }
}

/// What tells this process from a later one with the same number.
struct Identity {
    pid: u64,
    /// Clock ticks from the machine's start to the process's (field 22 of proc_pid_stat(5)).
    start_ticks: u64,
    unix_seconds: u64,
}

impl Identity {
    fn of_this_process() -> Identity {
        let pid = u64::from(std::process::id());
        if cfg!(miri) {
            // Miri shows programs neither the clock nor files.
            return Identity { pid, start_ticks: 0, unix_seconds: 0 };
        }
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Identity { pid, start_ticks: start_ticks(pid).unwrap_or(0), unix_seconds: unix.as_secs() }
    }
}

/// When a process started, in clock ticks since the machine did; `None` if there is no such process.
pub(crate) fn start_ticks(pid: u64) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything; the third one follows the last ')'.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(22 - 3)?.parse().ok()
}

/// The machine's monotonic clock, the same for all processes.
pub(crate) fn monotonic_nanoseconds() -> u64 {
    nix::time::clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::HEADER_WORDS;

    fn small() -> Segment {
        Segment::in_heap(Options { size: 256 << 10, workers: 2, grace: Duration::ZERO }).unwrap()
    }

    #[test]
    fn the_first_entries_are_where_clients_have_them_built_in() {
        let segment = small();
        for (index, path) in ["/sys/heartbeat", "/sys/last_stats_clear", "/sys/boottime"].iter().enumerate() {
            assert_eq!(segment.paths.get(*path), Some(&(index as u32)));
        }
        assert_eq!(segment.area.load(HEADER_EPOCH), Some(1));
        assert_eq!(segment.area.load(5), Some(0), "govpp takes anything else for layout version 1");
    }

    #[test]
    fn a_refused_change_leaves_no_trace() {
        let mut segment = small();
        let (mut names, mut simple) = segment
            .register(|batch| {
                let mut names = batch.names("/names", 4)?;
                batch.set_name(&mut names, 1, "one")?;
                Ok((names, batch.simple("/simple", 1, 4)?))
            })
            .unwrap();
        let before: Vec<_> = (0..HEADER_WORDS).map(|word| segment.area.load(word)).collect();
        let image = format!("{:?}", segment.slots);
        let refused: Result<(), Error> = segment.register(|batch| {
            batch.set_name(&mut names, 3, "three")?;
            batch.set_name(&mut names, 1, "another one")?;
            batch.grow_simple(&mut simple, 3)?;
            let link = batch.symlink("/link", simple.id(), 2)?;
            batch.remove(link)?;
            batch.remove(names.id())?;
            batch.gauge("/gauge", 1)?;
            batch.gauge("/gauge", 2)?; // taken
            Ok(())
        });
        assert!(matches!(refused, Err(Error::Duplicate { .. })));
        let after: Vec<_> = (0..HEADER_WORDS).map(|word| segment.area.load(word)).collect();
        assert_eq!(before, after);
        assert_eq!(segment.slots.len(), 11 + 2, "new places stay, empty");
        assert!(format!("{:?}", segment.slots).starts_with(image.trim_end_matches(']')));
        assert!(segment.slots[11..].iter().all(|slot| slot.entry.is_none()));
        segment.register(|batch| batch.gauge("/gauge", 1)).unwrap();
    }

    #[test]
    fn a_full_segment_refuses_and_goes_on() {
        let mut segment = small();
        let mut rows = Vec::new();
        let error = loop {
            let path = format!("/fill/{}", rows.len());
            match segment.register(|batch| batch.simple(&path, 1, 512)) {
                Ok(simple) => rows.push(simple),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Full { .. }), "{error}");
        let mut row = rows[0].take_row(0).unwrap();
        row.add(0, 1);
        // What is removed makes room again, once its rows are dropped.
        drop(row);
        let id = rows.remove(0).id();
        segment.register(|batch| batch.remove(id)).unwrap();
        segment.register(|batch| batch.simple("/again", 1, 512)).unwrap();
    }

    #[test]
    fn memory_of_a_row_that_lives_is_not_used_again() {
        let mut segment = small();
        let mut simple = segment.register(|batch| batch.simple("/a", 1, 1)).unwrap();
        let mut row = simple.take_row(0).unwrap();
        let id = simple.id();
        drop(simple);
        segment.register(|batch| batch.remove(id)).unwrap();
        let mut other = segment.register(|batch| batch.simple("/b", 1, 1)).unwrap();
        row.add(0, 7);
        assert_eq!(other.take_row(0).unwrap().value(0), 0);
    }

    #[test]
    fn stale_ids_are_refused() {
        let mut segment = small();
        let old = segment.register(|batch| batch.gauge("/a", 1)).unwrap();
        segment.register(|batch| batch.remove(old.id())).unwrap();
        let new = segment.register(|batch| batch.gauge("/b", 1)).unwrap();
        assert_eq!(new.id().index(), old.id().index());
        assert!(matches!(segment.register(|batch| batch.remove(old.id())), Err(Error::Gone)));
        old.set(99);
        assert_eq!(new.value(), 1);
        assert!(matches!(
            segment.register(|batch| batch.symlink("/c", new.id(), 0)),
            Err(Error::Target { .. })
        ));
    }

    #[test]
    fn paths_that_clients_cannot_show_are_refused() {
        let mut segment = small();
        segment.register(|batch| batch.gauge("/a/b", 1)).unwrap();
        let mut refused = |path: &str| segment.register(|batch| batch.gauge(path, 1)).unwrap_err();
        for path in ["", "/", "a", "/a/", "/a//b", "/\u{e9}", "/a\nb", &format!("/{}", "x".repeat(127))] {
            assert!(matches!(refused(path), Error::Path { .. }), "{path}");
        }
        for path in ["/a", "/a/b/c", "/empty", "/empty/3"] {
            assert!(matches!(refused(path), Error::Nested { .. }), "{path}");
        }
        assert!(matches!(refused("/a/b"), Error::Duplicate { .. }));
        segment.register(|batch| batch.gauge(&format!("/{}", "x".repeat(126)), 1)).unwrap();
    }

    #[test]
    fn what_is_linked_to_stays() {
        let mut segment = small();
        let simple = segment.register(|batch| batch.simple("/a", 2, 2)).unwrap();
        let link = segment.register(|batch| batch.symlink("/l", simple.id(), 1)).unwrap();
        assert!(matches!(segment.register(|batch| batch.remove(simple.id())), Err(Error::Linked { .. })));
        assert!(matches!(
            segment.register(|batch| batch.symlink("/m", simple.id(), 2)),
            Err(Error::Target { .. })
        ));
        segment
            .register(|batch| {
                batch.remove(link)?;
                batch.remove(simple.id())
            })
            .unwrap();
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for size in [0, 4096, u64::MAX] {
            assert!(matches!(
                Segment::create(Options { size, ..Options::default() }),
                Err(Error::Size { .. })
            ));
        }
        let mut segment = small();
        let mut refused = |columns, capacity| {
            segment.register(|batch| batch.simple_rows("/a", 1, columns, capacity)).unwrap_err()
        };
        assert!(matches!(refused(2, 1), Error::Shape { .. }));
        assert!(matches!(refused(1, usize::MAX), Error::Shape { .. }));
        assert!(matches!(refused(1, 1 << 31), Error::Full { .. }));
    }
}
