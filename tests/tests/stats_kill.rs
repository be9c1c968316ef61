//! Writers that register, grow, rename and remove without rest are killed at random moments, while weir's reader and
//! the unmodified Python client read in tight loops: nobody hangs, crashes, or sees a torn name, pointer or row.
#![allow(clippy::unwrap_used)] // what a test stands on may fail it

mod stats_python;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use weir_stats::{
    CombinedRow, Error, HistogramRow, Kind, Names, Options, ReadError, Reader, RingRow, Scalar, Segment,
    Server, Simple, SimpleRow, Snapshot, Value,
};

/// Set for the process that writes: where it serves, and the seed of what it does.
const WRITER: &str = "WEIR_STATS_KILL_WRITER";

/// Every simple counter is a multiple of it.
const STEP: u64 = 1_000_003;

/// How many writers are killed.
const WRITERS: u32 = 60;

#[test]
fn killed_writers_leave_what_readers_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let python = start_python(&socket);
    let stop = AtomicBool::new(false);
    let (reads, corpses) = (AtomicU64::new(0), AtomicU64::new(0));

    std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| read_until(&stop, &socket, &reads, &corpses))).collect();
        let mut random = Random::new();
        for _ in 0..WRITERS {
            let mut writer = start_writer(&socket, random.next());
            // It has begun when somebody can connect; its life is 0 to 130 ms from there.
            let deadline = Instant::now() + Duration::from_secs(10);
            while Reader::connect(&socket).is_err() {
                assert!(Instant::now() < deadline, "a writer did not begin");
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(random.below(130_000)));
            assert!(writer.try_wait().unwrap().is_none(), "a writer ended by itself");
            writer.kill().unwrap(); // SIGKILL
            writer.wait().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });

    let (reads, corpses) = (reads.into_inner(), corpses.into_inner());
    assert!(
        reads > 10 * u64::from(WRITERS) && corpses > u64::from(WRITERS) / 2,
        "{reads} reads, {corpses} corpses"
    );
    if let Some(mut python) = python {
        python.stdin.take().unwrap().write_all(b"\n").unwrap();
        let output = python.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {text}{errors}", output.status);
        let counts: Vec<u64> = text.split_whitespace().map(|count| count.parse().unwrap()).collect();
        assert!(counts[0] > 10 && counts[2] > 1000, "segments, rounds, values: {counts:?}");
        eprintln!("vpp_papi: segments, rounds, values: {counts:?}");
    }
    eprintln!("weir-stats: {reads} snapshots, of which {corpses} of segments whose writer was dead");
}

/// Not a test, but the writer's process, when the test above asks for it.
#[test]
fn writer_process() {
    let Ok(order) = std::env::var(WRITER) else { return };
    let (seed, socket) = order.split_once(' ').unwrap();
    write_for_ever(Path::new(socket), Random(seed.parse().unwrap()));
}

fn start_writer(socket: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_process", "--nocapture"])
        .env(WRITER, format!("{seed} {}", socket.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn start_python(socket: &Path) -> Option<Child> {
    let python = match stats_python::interpreter() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("SKIP killed_writers_leave_what_readers_can_read (only its Python half): {reason}");
            return None;
        }
    };
    let script: PathBuf = stats_python::script("papi_loop.py");
    let mut command = Command::new(python);
    command.arg(script).arg(socket);
    Some(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

// ---- the writer ----

/// What belongs together: registered in one change, and removed in one.
struct Group {
    columns: usize,
    names: Names,
    simple: Simple,
    combined: weir_stats::Combined,
    gauge: Scalar,
    ids: Vec<weir_stats::EntryId>,
    simple_rows: Vec<SimpleRow>,
    combined_rows: Vec<CombinedRow>,
    histogram_row: HistogramRow,
    ring_row: RingRow,
}

fn write_for_ever(socket: &Path, mut random: Random) {
    // A short grace period, so that memory is really used again while there are readers.
    let grace = Duration::from_millis(20);
    let mut segment = Segment::create(Options { size: 1 << 30, workers: 2, grace }).unwrap();
    let _server = Server::start(socket, None, &segment).unwrap();
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    loop {
        // Bursts of changes and pauses: the Python client needs some milliseconds without a change to list anything.
        for _ in 0..random.below(8) {
            let number = random.below(6);
            change(&mut segment, &mut groups, number, &mut random).unwrap();
            for group in groups.values_mut() {
                group.count(&mut random);
            }
        }
        segment.beat();
        let until = Instant::now() + Duration::from_millis(random.below(12));
        while Instant::now() < until {
            for group in groups.values_mut() {
                group.count(&mut random);
            }
        }
    }
}

fn change(
    segment: &mut Segment,
    groups: &mut BTreeMap<u64, Group>,
    number: u64,
    random: &mut Random,
) -> Result<(), Error> {
    let Some(mut group) = groups.remove(&number) else {
        groups.insert(number, segment.register(|batch| Group::register(batch, number, random))?);
        return Ok(());
    };
    match random.below(4) {
        0 => {
            // In reverse: the link before its target.
            segment.register(|batch| group.ids.iter().rev().try_for_each(|id| batch.remove(*id)))?;
            return Ok(());
        }
        1 => {
            group.columns = (group.columns + 1 + random.below(5) as usize).min(64);
            segment.register(|batch| {
                batch.grow_simple(&mut group.simple, group.columns)?;
                batch.grow_combined(&mut group.combined, group.columns)
            })?;
        }
        2 => {
            // Refused half-way: nobody may see a part of it.
            let refused: Result<(), Error> = segment.register(|batch| {
                batch.set_name(&mut group.names, 0, "torn")?;
                batch.gauge(&format!("/g/{number}/torn"), 1)?;
                batch.gauge("/sys/heartbeat", 0).map(drop)
            });
            assert!(matches!(refused, Err(Error::Duplicate { .. })));
        }
        _ => segment.register(|batch| {
            for _ in 0..1 + random.below(4) {
                batch.set_name(&mut group.names, random.below(16) as usize, &random.name())?;
            }
            Ok(())
        })?,
    }
    groups.insert(number, group);
    Ok(())
}

impl Group {
    fn register(batch: &mut weir_stats::Batch<'_>, number: u64, random: &mut Random) -> Result<Group, Error> {
        let path = |leaf: &str| format!("/g/{number}/{leaf}");
        let columns = 1 + random.below(4) as usize;
        let mut simple = batch.simple(&path("simple"), columns, 64)?;
        let mut combined = batch.combined(&path("combined"), columns, 64)?;
        let link = batch.symlink(&path("link"), simple.id(), columns - 1)?;
        let mut names = batch.names(&path("names"), 16)?;
        batch.set_name(&mut names, random.below(4) as usize, &random.name())?;
        let mut histogram = batch.histogram(&path("histogram"), 4, 8)?;
        let mut ring = batch.ring(&path("ring"), 32, 7, b"four numbers")?;
        let gauge = batch.gauge(&path("gauge"), 0)?;
        let ids = vec![simple.id(), combined.id(), link, names.id(), histogram.id(), ring.id(), gauge.id()];
        Ok(Group {
            columns,
            simple_rows: (0..3).filter_map(|row| simple.take_row(row)).collect(),
            combined_rows: (0..3).filter_map(|row| combined.take_row(row)).collect(),
            histogram_row: histogram.take_row(1).unwrap(),
            ring_row: ring.take_row(2).unwrap(),
            names,
            simple,
            combined,
            gauge,
            ids,
        })
    }

    fn count(&mut self, random: &mut Random) {
        let column = random.below(self.columns as u64) as usize;
        for row in &mut self.simple_rows {
            row.add(column, STEP);
        }
        for row in &mut self.combined_rows {
            row.add(column, 1, 64);
        }
        self.histogram_row.record(random.below(1 << 14));
        let number = self.ring_row.sequence();
        let words = [number, number.wrapping_mul(STEP), !number, number ^ STEP];
        self.ring_row.push(words.map(u64::to_le_bytes).as_flattened());
        self.gauge.set(number * STEP);
    }
}

// ---- weir's reader ----

fn read_until(stop: &AtomicBool, socket: &Path, reads: &AtomicU64, corpses: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let reader = match Reader::connect(socket) {
            Ok(reader) => reader,
            // Nobody serves, or the server was killed between accepting and answering.
            Err(ReadError::Connect { .. } | ReadError::Handshake { .. }) => {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let pid = reader.find("/sys/pid").unwrap().unwrap();
        let Value::Scalar(pid) = reader.read(&pid).unwrap() else { panic!("the pid is a scalar") };
        let process = PathBuf::from(format!("/proc/{pid}"));
        let mut last = 0;
        while process.exists() && !stop.load(Ordering::Relaxed) {
            let snapshot = reader.snapshot(|_| true).unwrap();
            assert!(snapshot.epoch >= last);
            last = snapshot.epoch;
            check(&snapshot);
            for (entry, _) in &snapshot.values {
                match reader.read(entry) {
                    Ok(value) => check_value(&entry.name, &value),
                    Err(ReadError::Stale { .. }) => {}
                    Err(error) => panic!("{}: {error}", entry.name),
                }
            }
            reads.fetch_add(1, Ordering::Relaxed);
        }
        if !process.exists() {
            let first = reader.snapshot(|_| true).unwrap();
            check(&first);
            assert_eq!(first, reader.snapshot(|_| true).unwrap(), "nobody writes any more");
            corpses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn check(snapshot: &Snapshot) {
    let mut groups: BTreeMap<&str, Vec<(Kind, &Value)>> = BTreeMap::new();
    for (entry, value) in &snapshot.values {
        check_value(&entry.name, value);
        if let Some((group, _)) = entry.name.strip_prefix("/g/").and_then(|rest| rest.split_once('/')) {
            groups.entry(group).or_default().push((entry.kind, value));
        }
    }
    for (group, values) in groups {
        assert_eq!(values.len(), 7, "group {group} is there as a whole or not at all");
        let columns = values.iter().find_map(|(_, value)| match value {
            Value::Simple(rows) => Some(rows[0].len()),
            _ => None,
        });
        let link = values.iter().find_map(|(_, value)| match value {
            Value::Symlink { link, .. } => Some(link.column as usize),
            _ => None,
        });
        assert!(link < columns, "group {group}: a link to column {link:?} of {columns:?}");
    }
}

fn check_value(name: &str, value: &Value) {
    assert!(!name.contains("torn"), "{name} was never registered");
    match value {
        Value::Simple(_) | Value::Names(_) if name.starts_with("/mem/") => {} // the segment's own
        Value::Simple(rows) => {
            assert!(rows.iter().flatten().all(|cell| cell % STEP == 0), "{name}: {rows:?}");
            assert!(rows.len() == 3 && rows.iter().all(|row| row.len() == rows[0].len()), "{name}: {rows:?}");
        }
        Value::Combined(rows) => {
            assert!(rows.len() == 3 && rows.iter().all(|row| row.len() == rows[0].len()), "{name}: {rows:?}");
            assert!(rows.iter().flatten().all(|pair| pair.bytes % 64 == 0), "{name}: {rows:?}");
        }
        Value::Names(names) => {
            let whole = |text: &String| text.is_empty() || text.split_once(':').is_some_and(|(a, b)| a == b);
            assert!(names.iter().all(whole), "{name}: {names:?}");
        }
        Value::Symlink { value, .. } => {
            let Value::Simple(rows) = &**value else { panic!("{name}: {value:?}") };
            assert!(rows.iter().all(|row| row.len() == 1 && row[0] % STEP == 0), "{name}: {rows:?}");
        }
        Value::Histogram(rows) => {
            assert!(rows.iter().all(|row| row.min_exp == 4 && row.counts.len() == 8), "{name}: {rows:?}");
        }
        Value::Ring(ring) => {
            assert_eq!((ring.entry_size, &*ring.schema), (32, &b"four numbers"[..]), "{name}");
            for row in &ring.rows {
                for (number, record) in (row.first..).zip(&row.records) {
                    let words = [number, number.wrapping_mul(STEP), !number, number ^ STEP];
                    assert_eq!(
                        *record,
                        words.map(u64::to_le_bytes).as_flattened(),
                        "{name}: record {number}"
                    );
                }
            }
        }
        Value::Gauge(number) => assert!(number % STEP == 0, "{name}: {number}"),
        Value::Scalar(_) => {}
    }
}

// ---- chance ----

/// Xorshift (Marsaglia 2003): enough for choosing what to do next.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Random(now.as_nanos() as u64 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A name that can be told from a torn one: the same twice, of any length.
    fn name(&mut self) -> String {
        let half = self.next().to_string().repeat(1 + self.below(3) as usize);
        let half = &half[..self.below(half.len() as u64) as usize];
        format!("{half}:{half}")
    }
}
