//! A reader: maps a segment, and copies values out of it without ever making its writer wait.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memmap2::MmapOptions;
use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, connect, recvmsg, sockopt,
};

use crate::decode::{Decoder, begin, unchanged};
use crate::error::ReadError;
use crate::layout::{HEADER_EPOCH, HEADER_VERSION, HEADER_WORDS, VERSION, WORD};
use crate::protocol::Memory;
use crate::segment::{Segment, monotonic_nanoseconds, start_ticks};
use crate::server::seqpacket;
use crate::value::{Entry, Extent, RingRecords, Value};
use crate::words::Area;

/// How long to wait for a server's answer, as VPP's clients do.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// How often a read is tried while the segment changes under it. Changes are rare; a writer that changes the segment
/// without a pause makes readers fail instead of making them wait for ever.
const ATTEMPTS: u32 = 200;

/// From this attempt on there is a pause before each one.
const PATIENCE: u32 = 8;

/// The pause between attempts. With [`ATTEMPTS`] it bounds the wait to some 100 ms.
const PAUSE: Duration = Duration::from_micros(500);

/// How long [`Reader::at_rest`] waits for a segment that doesn't come to rest, and how often it tries at least, however
/// long a try takes.
const UNREST: Duration = Duration::from_millis(250);
const TRIES: u32 = 4;

/// What a value may take at least, whatever part of the segment is really there: sparse segments may show columns that
/// nobody has counted in yet.
const FLOOR: u64 = 64 << 20;

/// A segment, mapped to be read. Clones share the mapping.
#[derive(Clone, Debug)]
pub struct Reader {
    area: Arc<Area>,
}

/// All that was wanted of a segment, at one moment of its structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The epoch.
    pub epoch: u64,
    /// The entries and what they held, in the directory's order.
    pub values: Vec<(Entry, Value)>,
}

/// What is known of a segment's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Its heart beat less than 3 s ago.
    Live,
    /// Its process is there, but its heart has not beaten for a while.
    Stuck {
        /// The process.
        pid: u64,
        /// Since its last beat.
        age: Duration,
    },
    /// There is no such process, as far as this one can see.
    Dead {
        /// The process that there was.
        pid: u64,
        /// Since its last beat.
        age: Duration,
    },
    /// The segment does not say who writes it: it is not weir's.
    Unknown,
}

/// A heart that has not beaten for so long is stuck: three times the slowest allowed beat.
const SILENCE: Duration = Duration::from_secs(3);

impl Reader {
    /// Asks the server at `path` for its segment, and maps it.
    pub fn connect(path: impl AsRef<Path>) -> Result<Reader, ReadError> {
        let path = path.as_ref();
        let refused = |errno: Errno| ReadError::Connect { path: path.to_owned(), source: errno.into() };
        let answer = |reason: String| ReadError::Handshake { path: path.to_owned(), reason };
        let socket = seqpacket().map_err(refused)?;
        for timeout in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
            sockopt::set_socket_timeout(&socket, timeout, Some(HANDSHAKE)).map_err(refused)?;
        }
        connect(&socket, &SocketAddrUnix::new(path).map_err(refused)?).map_err(refused)?;

        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // Some servers send a byte along.
        let mut byte = [0];
        let result =
            recvmsg(&socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC);
        match result {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Err(answer("it was silent for a second".to_owned())),
            Err(errno) => return Err(answer(errno.to_string())),
        }
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Reader::open_fd(descriptor.ok_or_else(|| answer("it sent no descriptor".to_owned()))?)
    }

    /// Reads the segment behind a descriptor: mapped if it is sealed against shrinking. Otherwise, as VPP's is in huge pages,
    /// whoever has it could kill this process by cutting it: it is read by system calls then, which is slower.
    pub fn open_fd(descriptor: OwnedFd) -> Result<Reader, ReadError> {
        let map = |source: io::Error| ReadError::Map { source };
        let sealed =
            rustix::fs::fcntl_get_seals(&descriptor).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        let size = rustix::fs::fstat(&descriptor).map_err(|errno| map(errno.into()))?.st_size;
        let length = usize::try_from(size).map_err(|_| ReadError::Damaged { what: "its size" })?;
        if length / WORD < HEADER_WORDS {
            return Err(ReadError::Damaged { what: "it is shorter than its header" });
        }
        if !sealed {
            return Reader::over(Arc::new(Area::file(descriptor, length / WORD)));
        }
        let mapping = MmapOptions::new().len(length).map_raw_read_only(&descriptor).map_err(map)?;
        let area = Area::read_only(mapping, descriptor).ok_or(ReadError::Damaged { what: "its size" })?;
        Reader::over(Arc::new(area))
    }

    /// A reader in the writer's own process, over the same memory; also for a segment in ordinary memory.
    pub fn of(segment: &Segment) -> Result<Reader, ReadError> {
        Reader::over(Arc::clone(&segment.area))
    }

    /// A reader over a copy of a segment's bytes: a saved one, or anything that claims to be one.
    pub fn from_image(image: &[u8]) -> Result<Reader, ReadError> {
        let (words, _) = image.as_chunks::<WORD>();
        let area = Area::heap(words.len());
        for (at, word) in words.iter().enumerate() {
            area.store(at, u64::from_le_bytes(*word));
        }
        Reader::over(Arc::new(area))
    }

    /// The epoch: it moves whenever an entry, a name or a vector's length changes, and never otherwise.
    pub fn epoch(&self) -> u64 {
        self.area.load(HEADER_EPOCH).unwrap_or(0)
    }

    /// Reads several things that belong together: again, with pauses, if entries have come, gone or changed meanwhile,
    /// errors included. From a writer that doesn't rest for a quarter of a second the last try's result is taken as it is.
    pub fn at_rest<T, E>(&self, mut read: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let (begun, mut tries) = (Instant::now(), 0);
        loop {
            let epoch = self.epoch();
            let result = read();
            tries += 1;
            if self.epoch() == epoch || (tries >= TRIES && begun.elapsed() >= UNREST) {
                return result;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The writer's heartbeat, which grows at least once a second while it lives.
    pub fn heartbeat(&self) -> Result<u64, ReadError> {
        // By its position, as all clients find it.
        let heart = self.attempt(|decoder, _| {
            let raw =
                decoder.directory()?.raw(0)?.ok_or(ReadError::Damaged { what: "it has no heartbeat" })?;
            decoder.value(raw)
        })?;
        match heart {
            Value::Scalar(beats) | Value::Gauge(beats) => Ok(beats),
            _ => Err(ReadError::Damaged { what: "its first entry is not its heartbeat" }),
        }
    }

    /// How long ago the writer's heart last beat; `None` if the segment does not say.
    pub fn age(&self) -> Result<Option<Duration>, ReadError> {
        let [at] = self.numbers(["/sys/heartbeat_ns"])?;
        Ok(at.map(since))
    }

    /// What is known of the writer.
    pub fn liveness(&self) -> Result<Liveness, ReadError> {
        let numbers = self.numbers(["/sys/heartbeat_ns", "/sys/pid", "/sys/pid_start_ticks"])?;
        let [Some(at), Some(pid), Some(ticks)] = numbers else { return Ok(Liveness::Unknown) };
        let age = since(at);
        Ok(if age < SILENCE {
            Liveness::Live
        } else if start_ticks(pid) == Some(ticks) {
            Liveness::Stuck { pid, age }
        } else {
            Liveness::Dead { pid, age }
        })
    }

    /// All entries, in the directory's order.
    pub fn list(&self) -> Result<Vec<Entry>, ReadError> {
        self.attempt(|decoder, epoch| decoder.directory()?.entries(epoch))
    }

    /// The entry with this path, if there is one.
    pub fn find(&self, name: &str) -> Result<Option<Entry>, ReadError> {
        Ok(self.list()?.into_iter().find(|entry| entry.name == name))
    }

    /// An entry's value. Fails with [`ReadError::Stale`] when another entry has taken its place.
    pub fn read(&self, entry: &Entry) -> Result<Value, ReadError> {
        self.attempt(|decoder, epoch| decoder.value(decoder.directory()?.entry(entry, epoch)?))
    }

    /// How large an entry's vector is, without reading it. A symlink and everything that is no vector has no extent.
    pub fn extent(&self, entry: &Entry) -> Result<Extent, ReadError> {
        self.attempt(|decoder, epoch| decoder.extent(decoder.directory()?.entry(entry, epoch)?))
    }

    /// Some columns of one row of a counter or name vector (name vectors have row 0 only), as far as they are there: a
    /// [`Value::Simple`] or [`Value::Combined`] of one row, or [`Value::Names`]. For vectors that are too large to be copied
    /// as a whole; other columns may have been counted in meanwhile, but none is torn.
    pub fn part(&self, entry: &Entry, row: usize, columns: Range<usize>) -> Result<Value, ReadError> {
        self.attempt(|decoder, epoch| decoder.part(decoder.directory()?.entry(entry, epoch)?, row, &columns))
    }

    /// One column of a counter vector, in all rows: what a symlink to it would give. A column that is not there is
    /// [`ReadError::Damaged`], as it is for a symlink.
    pub fn column(&self, entry: &Entry, column: usize) -> Result<Value, ReadError> {
        self.attempt(|decoder, epoch| decoder.column(decoder.directory()?.entry(entry, epoch)?, column))
    }

    /// What is new in a ring buffer: of each row the records with the number that `from` has for it, and later ones, as far as
    /// they are still there, none of them torn. Of a row that `from` has no number for there are none; but each row says with
    /// its `first`, and its records, which number comes next. A `first` beyond the number asked for tells how many were missed.
    pub fn records(&self, entry: &Entry, from: &[u64]) -> Result<RingRecords, ReadError> {
        self.attempt(|decoder, epoch| decoder.news(decoder.directory()?.entry(entry, epoch)?, from))
    }

    /// The values of these entries, at one epoch. Fails with [`ReadError::Stale`] when another entry has taken the place of one.
    pub fn values(&self, entries: &[Entry]) -> Result<Snapshot, ReadError> {
        self.attempt(|decoder, epoch| {
            let directory = decoder.directory()?;
            let values = entries.iter().map(|entry| {
                let value = decoder.value(directory.entry(entry, epoch)?)?;
                Ok((entry.clone(), value))
            });
            Ok(Snapshot { epoch, values: values.collect::<Result<_, ReadError>>()? })
        })
    }

    /// The values of all entries that are wanted, at one epoch. The numbers themselves go on being counted while they
    /// are read.
    pub fn snapshot(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Snapshot, ReadError> {
        self.attempt(|decoder, epoch| {
            let directory = decoder.directory()?;
            let entries = directory.entries(epoch)?.into_iter().filter(&wanted);
            let values = entries.map(|entry| {
                let value = decoder.value(directory.entry(&entry, epoch)?)?;
                Ok((entry, value))
            });
            Ok(Snapshot { epoch, values: values.collect::<Result<_, ReadError>>()? })
        })
    }

    fn over(area: Arc<Area>) -> Result<Reader, ReadError> {
        match area.load(HEADER_VERSION) {
            _ if area.words() < HEADER_WORDS => {
                Err(ReadError::Damaged { what: "it is shorter than its header" })
            }
            Some(VERSION) => Ok(Reader { area }),
            version => Err(ReadError::Version { version: version.unwrap_or(0) }),
        }
    }

    /// Scalars and gauges by their paths.
    fn numbers<const N: usize>(&self, names: [&str; N]) -> Result<[Option<u64>; N], ReadError> {
        self.attempt(|decoder, _| decoder.directory()?.numbers(names))
    }

    /// Reads until nothing changed meanwhile. What went wrong while something changed does not count.
    fn attempt<T>(
        &self,
        read: impl Fn(&Decoder<'_, Area>, u64) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let limit = self.limit();
        let mut locked = false;
        for attempt in 0..ATTEMPTS {
            if attempt >= PATIENCE {
                std::thread::sleep(PAUSE);
            }
            let Some(epoch) = begin(&*self.area) else {
                locked = true;
                continue;
            };
            locked = false;
            let result = Decoder::new(&*self.area, limit).and_then(|decoder| read(&decoder, epoch));
            if unchanged(&*self.area, epoch) {
                return result;
            }
        }
        Err(if locked { ReadError::Locked } else { ReadError::Busy { attempts: ATTEMPTS } })
    }

    /// Bytes that one read may take: what is really in the segment, some times over for a copy's own overhead.
    fn limit(&self) -> u64 {
        let size = (self.area.words() * WORD) as u64;
        let real = self.area.allocated().unwrap_or(size);
        size.min(real.max(FLOOR)).saturating_mul(4)
    }
}

/// How long ago a moment of the machine's monotonic clock was.
fn since(nanoseconds: u64) -> Duration {
    Duration::from_nanos(monotonic_nanoseconds().saturating_sub(nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::layout::{ENTRY_WORDS, HEADER_DIRECTORY, HEADER_IN_PROGRESS};
    use crate::{Bins, Link, Options, Pair, RingRecordsRow};

    fn segment() -> Segment {
        Segment::in_heap(Options { size: 1 << 20, workers: 1, grace: Duration::ZERO }).unwrap()
    }

    fn value(reader: &Reader, name: &str) -> Value {
        reader.read(&reader.find(name).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn what_belongs_together_is_read_again_until_the_segment_rests() {
        let mut segment = segment();
        let reader = Reader::of(&segment).unwrap();
        // So many that only a reader that gives up too early would, however slow the machine is.
        let mut left = u64::from(TRIES) - 1;
        let mut read = || {
            let seen = left;
            if left > 0 {
                left -= 1;
                segment.register(|batch| batch.gauge(&format!("/{left}"), left)).unwrap();
                return Err(ReadError::Stale { name: seen.to_string() });
            }
            Ok(seen)
        };
        assert_eq!(reader.at_rest(&mut read).unwrap(), 0);
        let mut restless = 0_u64;
        let mut never = || {
            restless += 1;
            segment.register(|batch| batch.gauge(&format!("/more/{restless}"), 1)).unwrap();
            Ok::<_, ReadError>(restless)
        };
        let begun = Instant::now();
        assert!(reader.at_rest(&mut never).unwrap() >= u64::from(TRIES));
        assert!(begun.elapsed() >= UNREST);
    }

    #[test]
    fn what_is_new_in_a_ring_follows_what_was_read_before() {
        let mut segment = segment();
        let mut ring = segment.register(|batch| batch.ring("/ring", 8, 15, b"")).unwrap();
        let reader = Reader::of(&segment).unwrap();
        let entry = reader.find("/ring").unwrap().unwrap();
        let mut rows = [ring.take_row(0).unwrap(), ring.take_row(1).unwrap()];
        let mut push = |row: usize, numbers: Range<u64>| {
            numbers.for_each(|number: u64| rows[row].push(&number.to_le_bytes()));
        };
        let read = |from: &[u64]| {
            let numbers = |row: &RingRecordsRow| {
                let number = |record: &Vec<u8>| u64::from_le_bytes(record[..].try_into().unwrap());
                (row.first, row.records.iter().map(number).collect::<Vec<_>>())
            };
            let ring = reader.records(&entry, from).unwrap();
            let next: Vec<u64> = ring.rows.iter().map(RingRecordsRow::next).collect();
            (ring.rows.iter().map(numbers).collect::<Vec<_>>(), next)
        };
        push(1, 0..3);
        assert_eq!(read(&[]), (vec![(0, vec![]), (3, vec![])], vec![0, 3]), "where they are");
        assert_eq!(read(&[0, 1]).0, [(0, vec![]), (1, vec![1, 2])]);
        push(0, 0..1);
        push(1, 3..5);
        assert_eq!(read(&[0, 3]), (vec![(0, vec![0]), (3, vec![3, 4])], vec![1, 5]));
        // There is room for sixteen, one of which is the one to be written next.
        push(1, 5..30);
        assert_eq!(read(&[1, 5]).0, [(1, vec![]), (15, (15..30).collect())], "10 were missed");
        assert_eq!(read(&[1, 30]), (vec![(1, vec![]), (30, vec![])], vec![1, 30]));
        assert_eq!(read(&[7, u64::MAX]).0, [(1, vec![]), (30, vec![])], "a number that is not there yet");
        let other = reader.find("/sys/pid").unwrap().unwrap();
        assert!(matches!(reader.records(&other, &[]), Err(ReadError::Damaged { .. })));
    }

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        let mut segment = segment();
        let (mut simple, mut combined, mut histogram, mut names, mut ring) = segment
            .register(|batch| {
                batch.gauge("/gauge", 5)?;
                let simple = batch.simple("/simple", 2, 4)?;
                let combined = batch.combined("/combined", 2, 4)?;
                batch.symlink("/links/simple", simple.id(), 1)?;
                batch.symlink("/links/combined", combined.id(), 0)?;
                let mut names = batch.names("/names", 4)?;
                batch.set_name(&mut names, 2, "two")?;
                let histogram = batch.histogram("/histogram", 3, 4)?;
                Ok((simple, combined, histogram, names, batch.ring("/ring", 16, 4, b"two words")?))
            })
            .unwrap();
        let reader = Reader::of(&segment).unwrap();
        let mut row = simple.take_row(1).unwrap();
        row.add(1, 7);
        combined.take_row(0).unwrap().add(0, 1, 60);
        histogram.take_row(0).unwrap().record(20);
        let mut records = ring.take_row(1).unwrap();
        for number in 0..20_u64 {
            records.push(&number.to_le_bytes());
        }

        assert_eq!(value(&reader, "/gauge"), Value::Gauge(5));
        assert_eq!(value(&reader, "/simple"), Value::Simple(vec![vec![0, 0], vec![0, 7]]));
        let pair = |packets, bytes| Pair { packets, bytes };
        let pairs = vec![vec![pair(1, 60), pair(0, 0)], vec![pair(0, 0); 2]];
        assert_eq!(value(&reader, "/combined"), Value::Combined(pairs));
        let Value::Symlink { link, value: linked } = value(&reader, "/links/simple") else { panic!() };
        assert_eq!(link, Link { target: simple.id().index(), column: 1 });
        assert_eq!(reader.find("/links/simple").unwrap().unwrap().link, Some(link));
        assert_eq!(*linked, Value::Simple(vec![vec![0], vec![7]]));
        let Value::Symlink { value: linked, .. } = value(&reader, "/links/combined") else { panic!() };
        assert_eq!(*linked, Value::Combined(vec![vec![pair(1, 60)], vec![pair(0, 0)]]));
        assert_eq!(value(&reader, "/names"), Value::Names(["", "", "two"].map(str::to_owned).to_vec()));
        let bins = |counts: [u64; 4]| Bins { min_exp: 3, counts: counts.to_vec() };
        assert_eq!(value(&reader, "/histogram"), Value::Histogram(vec![bins([0, 1, 0, 0]), bins([0; 4])]));
        let Value::Ring(found) = value(&reader, "/ring") else { panic!() };
        assert_eq!((found.entry_size, found.entries, &*found.schema), (16, 8, &b"two words"[..]));
        let record = |number: u64| [number.to_le_bytes(), [0; 8]].concat();
        assert_eq!(found.rows[0], RingRecordsRow { first: 0, records: vec![] });
        assert_eq!(found.rows[1], RingRecordsRow { first: 13, records: (13..20).map(record).collect() });

        let epoch = reader.epoch();
        segment
            .register(|batch| {
                batch.set_name(&mut names, 0, "zero")?;
                batch.grow_simple(&mut simple, 3)
            })
            .unwrap();
        assert_eq!(reader.epoch(), epoch + 1);
        row.add(2, 1);
        assert_eq!(value(&reader, "/simple"), Value::Simple(vec![vec![0, 0, 0], vec![0, 7, 1]]));
        assert_eq!(value(&reader, "/names"), Value::Names(["zero", "", "two"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn parts_are_what_the_whole_holds() {
        let mut segment = segment();
        segment
            .register(|batch| {
                let mut simple = batch.simple("/simple", 5, 8)?;
                let mut row = simple.take_row(1).unwrap();
                (0..5).for_each(|column| row.add(column, 10 + column as u64));
                let mut combined = batch.combined("/combined", 2, 4)?;
                combined.take_row(0).unwrap().add(1, 1, 60);
                let mut names = batch.names("/names", 4)?;
                batch.set_name(&mut names, 2, "two")?;
                batch.gauge("/gauge", 1)?;
                Ok(())
            })
            .unwrap();
        let reader = Reader::of(&segment).unwrap();
        let entry = |name| reader.find(name).unwrap().unwrap();
        let extent = |name| {
            let Extent { rows, columns } = reader.extent(&entry(name)).unwrap();
            (rows, columns)
        };
        assert_eq!((extent("/simple"), extent("/combined"), extent("/names")), ((2, 5), (2, 2), (1, 3)));
        assert_eq!(extent("/gauge"), (0, 0));
        let part = |name, row, columns| reader.part(&entry(name), row, columns).unwrap();
        assert_eq!(part("/simple", 1, 1..3), Value::Simple(vec![vec![11, 12]]));
        assert_eq!(part("/simple", 1, 4..9), Value::Simple(vec![vec![14]]));
        assert_eq!(part("/simple", 1, 7..usize::MAX), Value::Simple(vec![vec![]]));
        assert_eq!(part("/simple", 2, 0..3), Value::Simple(vec![vec![]]));
        assert_eq!(part("/combined", 0, 1..2), Value::Combined(vec![vec![Pair { packets: 1, bytes: 60 }]]));
        assert_eq!(part("/names", 0, 1..3), Value::Names(vec![String::new(), "two".to_owned()]));
        assert!(matches!(reader.part(&entry("/gauge"), 0, 0..1), Err(ReadError::Damaged { .. })));
        assert_eq!(reader.column(&entry("/simple"), 3).unwrap(), Value::Simple(vec![vec![0], vec![13]]));
        assert!(matches!(reader.column(&entry("/simple"), 5), Err(ReadError::Damaged { .. })));
    }

    #[test]
    fn an_entry_that_was_replaced_is_stale() {
        let mut segment = segment();
        let reader = Reader::of(&segment).unwrap();
        let gauge = segment.register(|batch| batch.gauge("/a", 1)).unwrap();
        let listed = reader.find("/a").unwrap().unwrap();
        segment.register(|batch| batch.gauge("/b", 1)).unwrap();
        assert_eq!(reader.read(&listed).unwrap(), Value::Gauge(1), "another change does not concern it");
        segment.register(|batch| batch.remove(gauge.id())).unwrap();
        assert!(matches!(reader.read(&listed), Err(ReadError::Stale { .. })));
        let place = format!("/empty/{}", gauge.id().index());
        assert_eq!(reader.find(&place).unwrap(), None, "free places are not listed");
        segment.register(|batch| batch.gauge("/c", 2)).unwrap();
        assert!(matches!(reader.read(&listed), Err(ReadError::Stale { .. })));
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the system")]
    fn the_heartbeat_tells_a_live_writer() {
        let mut segment = segment();
        let reader = Reader::of(&segment).unwrap();
        let before = reader.heartbeat().unwrap();
        segment.beat();
        assert_eq!(reader.heartbeat().unwrap(), before + 1);
        assert_eq!(reader.liveness().unwrap(), Liveness::Live);
        assert!(reader.age().unwrap().unwrap() < Duration::from_secs(2));
        let dead = Reader::of(&segment).unwrap();
        let at = reader.find("/sys/heartbeat_ns").unwrap().unwrap();
        let place =
            segment.area.load(HEADER_DIRECTORY).unwrap() as usize / WORD + at.index as usize * ENTRY_WORDS;
        segment.area.store(place + 1, 1);
        let silent = dead.liveness().unwrap();
        assert!(matches!(silent, Liveness::Stuck { .. }), "this process is there: {silent:?}");
        let pid = reader.find("/sys/pid_start_ticks").unwrap().unwrap();
        segment.area.store(place + 1 + (pid.index - at.index) as usize * ENTRY_WORDS, 1);
        assert!(matches!(dead.liveness().unwrap(), Liveness::Dead { .. }), "another process had its number");
    }

    #[test]
    fn a_lock_that_is_never_released_is_an_error_in_good_time() {
        let segment = segment();
        let reader = Reader::of(&segment).unwrap();
        segment.area.store(HEADER_IN_PROGRESS, 1);
        assert!(matches!(reader.list(), Err(ReadError::Locked)));
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the system")]
    fn readers_get_a_descriptor_that_they_cannot_write_through() {
        let mut segment = Segment::create(Options::default()).unwrap();
        let descriptor = segment.fd().unwrap().try_clone_to_owned().unwrap();
        assert!(MmapOptions::new().len(4096).map_raw(&descriptor).is_err());
        assert!(rustix::fs::ftruncate(&descriptor, 0).is_err());
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&descriptor.as_fd()));
        let again = std::fs::File::options().write(true).read(true).open(path);
        if let Ok(again) = again {
            assert!(MmapOptions::new().len(4096).map_raw(&again).is_err());
            assert!(rustix::io::pwrite(&again, &[1], 0).is_err());
            assert!(rustix::fs::ftruncate(&again, 0).is_err());
        }
        let reader = Reader::open_fd(descriptor).unwrap();
        let mut simple = segment.register(|batch| batch.simple("/a", 1, 1 << 20)).unwrap();
        simple.take_row(0).unwrap().add(0, 3);
        assert_eq!(value(&reader, "/a"), Value::Simple(vec![vec![3], vec![0]]));
        let real = rustix::fs::fstat(segment.fd().unwrap()).unwrap().st_blocks * 512;
        assert!(real < 1 << 20, "only what was written is there: {real} bytes");
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the system")]
    fn reading_what_nobody_wrote_takes_no_memory() {
        let mut segment = Segment::create(Options { workers: 2, ..Options::default() }).unwrap();
        const COLUMNS: usize = 1 << 20;
        segment
            .register(|batch| {
                let mut simple = batch.simple("/simple", COLUMNS, COLUMNS)?;
                simple.take_row(1).unwrap().add(COLUMNS / 2, 7);
                let mut combined = batch.combined("/combined", COLUMNS, COLUMNS)?;
                combined.take_row(2).unwrap().add(COLUMNS - 1, 1, 60);
                batch.symlink("/link", combined.id(), COLUMNS / 2)?;
                Ok(())
            })
            .unwrap();
        let blocks = || rustix::fs::fstat(segment.fd().unwrap()).unwrap().st_blocks;
        let before = blocks();
        let reader = Reader::open_fd(segment.fd().unwrap().try_clone_to_owned().unwrap()).unwrap();
        let Value::Simple(rows) = value(&reader, "/simple") else { panic!() };
        assert_eq!((rows[1][COLUMNS / 2], rows.concat().iter().sum::<u64>()), (7, 7));
        let Value::Combined(rows) = value(&reader, "/combined") else { panic!() };
        assert_eq!(rows[2][COLUMNS - 1], Pair { packets: 1, bytes: 60 });
        assert!(matches!(value(&reader, "/link"), Value::Symlink { .. }));
        let simple = reader.find("/simple").unwrap().unwrap();
        for first in (0..COLUMNS).step_by(4096) {
            reader.part(&simple, 0, first..first + 4096).unwrap();
            reader.column(&simple, first).unwrap();
        }
        assert_eq!(blocks(), before);
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the system")]
    fn what_is_no_segment_is_refused() {
        assert!(matches!(Reader::from_image(&[]), Err(ReadError::Damaged { .. })));
        assert!(matches!(Reader::from_image(&[0; 8192]), Err(ReadError::Version { version: 0 })));
        assert!(matches!(Reader::connect("/nonexistent/socket"), Err(ReadError::Connect { .. })));
    }
}
