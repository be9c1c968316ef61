//! A segment as VPP writes it, laid out by hand after VPP's own headers (src/vlib/stats/shared.h, src/vppinfra/vec_bootstrap.h):
//! pointers in the writer's address space, headers of vectors with more than a length in them, holes, names that are not
//! there. No VPP can be installed from Debian, so this stands for one.
#![cfg(not(miri))] // no shared memory there
#![allow(clippy::unwrap_used)] // what a test stands on may fail it

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_stats::{Bins, Catalogue, Columns, Kind, Liveness, Pair, ReadError, Reader, Value};

/// Where VPP has mapped it.
const BASE: u64 = 0x7f12_3456_7000;
const PAGE: usize = 4096;

/// A heap that only grows.
struct Vpp {
    bytes: Vec<u8>,
    entries: Vec<[u8; 144]>,
}

impl Vpp {
    fn new() -> Vpp {
        Vpp { bytes: vec![0; PAGE], entries: Vec::new() }
    }

    /// A vector's elements behind its header; returns the pointer to element 0.
    fn vector(&mut self, length: u32, elements: &[u8]) -> u64 {
        // A heap pointer and a user header stand before the eight bytes that all vectors have.
        self.bytes.extend([0xaa; 24]);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend([2, 0x83, 5, 0]); // header size, alignment and default heap, slack, padding
        let at = self.bytes.len();
        self.bytes.extend(elements);
        self.bytes.resize(self.bytes.len().next_multiple_of(16) + 16, 0xee);
        BASE + at as u64
    }

    fn words(&mut self, length: usize, words: &[u64]) -> u64 {
        self.vector(length as u32, &words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
    }

    fn simple(&mut self, rows: &[&[u64]]) -> u64 {
        let rows: Vec<u64> = rows.iter().map(|row| self.words(row.len(), row)).collect();
        self.words(rows.len(), &rows)
    }

    fn combined(&mut self, rows: &[&[(u64, u64)]]) -> u64 {
        let row = |vpp: &mut Vpp, row: &[(u64, u64)]| {
            let words: Vec<u64> = row.iter().flat_map(|(packets, bytes)| [*packets, *bytes]).collect();
            vpp.words(row.len(), &words)
        };
        let rows: Vec<u64> = rows.iter().map(|it| row(self, it)).collect();
        self.words(rows.len(), &rows)
    }

    fn names(&mut self, names: &[Option<&str>]) -> u64 {
        let text =
            |vpp: &mut Vpp, name: &str| vpp.vector(name.len() as u32 + 1, format!("{name}\0").as_bytes());
        let names: Vec<u64> = names.iter().map(|name| name.map_or(0, |name| text(self, name))).collect();
        self.words(names.len(), &names)
    }

    fn entry(&mut self, name: &str, kind: u32, value: u64) -> u32 {
        let mut entry = [0x55; 144]; // what is behind a name is whatever was on VPP's stack
        entry[..4].copy_from_slice(&kind.to_le_bytes());
        entry[8..16].copy_from_slice(&value.to_le_bytes());
        entry[16..16 + name.len()].copy_from_slice(name.as_bytes());
        entry[16 + name.len()] = 0;
        self.entries.push(entry);
        self.entries.len() as u32 - 1
    }

    fn link(&mut self, name: &str, target: u32, column: u32) {
        self.entry(name, 6, u64::from(column) << 32 | u64::from(target));
    }

    fn image(mut self) -> Vec<u8> {
        let entries = self.entries.concat();
        let directory = self.vector(self.entries.len() as u32, &entries);
        for (at, word) in [2, BASE, 17, 0, directory].into_iter().enumerate() {
            self.bytes[at * 8..at * 8 + 8].copy_from_slice(&u64::to_le_bytes(word));
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(PAGE), 0);
        self.bytes
    }
}

fn image() -> Vec<u8> {
    let mut vpp = Vpp::new();
    vpp.entry("/sys/heartbeat", 1, 9);
    vpp.entry("/sys/last_stats_clear", 1, 0);
    vpp.entry("/sys/boottime", 1, 1_700_000_000);
    let names = vpp.names(&[Some("local0"), Some("host-eth0"), Some("deleted"), None]);
    vpp.entry("/if/names", 4, names);
    let rx = vpp.combined(&[&[(0, 0), (5, 300)], &[(0, 0), (7, 420)]]);
    let rx = vpp.entry("/if/rx", 3, rx);
    vpp.entry("", 5, 0xffff_ffff); // a hole
    let drops = vpp.simple(&[&[1, 2, 3], &[10, 20, 30]]);
    vpp.entry("/if/drops", 2, drops);
    vpp.link("/interfaces/host-eth0/rx", rx, 1);
    let errors = vpp.simple(&[&[0, 4], &[0, 5]]);
    let errors = vpp.entry("/node/errors", 2, errors);
    vpp.link("/err/ip4-input/ip4 ttl <= 1", errors, 1);
    let heap = vpp.simple(&[&[32 << 20, 1 << 20, 31 << 20, 0, 2 << 20, 3, 0]]);
    let heap = vpp.entry("/mem/stat segment", 2, heap);
    vpp.link("/mem/stat segment/used", heap, 1);
    vpp.entry("/sys/vector_rate", 9, 3);
    let histogram = vpp.words(4, &[10, 1, 2, 3]);
    let histogram = vpp.words(1, &[histogram]);
    vpp.entry("/latency", 7, histogram);
    vpp.entry("/never/used", 2, 0);
    vpp.entry("/from/the/future", 12, 77);
    vpp.image()
}

fn value(reader: &Reader, name: &str) -> Value {
    reader.read(&reader.find(name).unwrap().unwrap()).unwrap()
}

fn check(reader: &Reader) {
    let pair = |packets, bytes| Pair { packets, bytes };
    let listing = reader.list().unwrap();
    let paths: Vec<&str> = listing.iter().map(|entry| &*entry.name).collect();
    assert_eq!(paths.len(), 14, "neither the hole nor what is not known: {paths:?}");
    assert_eq!((reader.heartbeat().unwrap(), reader.epoch()), (9, 17));
    assert_eq!(reader.liveness().unwrap(), Liveness::Unknown, "VPP does not say who it is");
    let rx = vec![vec![pair(0, 0), pair(5, 300)], vec![pair(0, 0), pair(7, 420)]];
    assert_eq!(value(reader, "/if/rx"), Value::Combined(rx));
    let Value::Symlink { value: linked, .. } = value(reader, "/interfaces/host-eth0/rx") else { panic!() };
    assert_eq!(linked.merged(), Value::Combined(vec![vec![pair(12, 720)]]));
    let names = ["local0", "host-eth0", "deleted", ""].map(str::to_owned).to_vec();
    assert_eq!(value(reader, "/if/names"), Value::Names(names));
    let bins = Bins { min_exp: 10, counts: vec![1, 2, 3] };
    assert_eq!(value(reader, "/latency"), Value::Histogram(vec![bins]));
    assert_eq!(value(reader, "/never/used"), Value::Simple(Vec::new()));

    let catalogue = Catalogue::of(reader).unwrap();
    let labels = |path: &str, column: usize| {
        let entry = listing.iter().find(|entry| entry.name == path).unwrap();
        let described = catalogue.describe(path).unwrap();
        assert_eq!(described.description.kind, entry.kind);
        let columns = Columns::of(&described, entry, &listing, reader).unwrap();
        let labels = columns.labels(column)?;
        Some(labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>())
    };
    assert_eq!(labels("/if/rx", 1).unwrap(), ["interface=host-eth0"]);
    assert_eq!((labels("/if/drops", 2), labels("/if/drops", 3)), (None, None), "deleted; without a name");
    assert_eq!(labels("/node/errors", 1).unwrap(), ["node=ip4-input", "reason=ip4 ttl <= 1"]);
    assert_eq!(labels("/mem/stat segment", 1).unwrap(), ["heap=stat segment", "statistic=used"]);
    assert_eq!(labels("/mem/stat segment", 0), None);
    assert_eq!(catalogue.describe("/sys/vector_rate").unwrap().description.kind, Kind::Gauge);
}

#[test]
fn vpps_layout_is_read() {
    check(&Reader::from_image(&image()).unwrap());
}

/// VPP in huge pages gives a descriptor that is not sealed.
#[test]
fn a_file_that_may_be_cut_is_read_without_risk() {
    let image = image();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&image, 0).unwrap();
    let reader = Reader::open_fd(file.try_clone().unwrap().into()).unwrap();
    check(&reader);
    file.set_len(PAGE as u64).unwrap();
    assert!(matches!(reader.list(), Err(ReadError::Damaged { .. })));
    file.set_len(0).unwrap();
    assert!(matches!(reader.snapshot(|_| true), Err(ReadError::Damaged { .. } | ReadError::Locked)));
    file.write_all_at(&image, 0).unwrap();
    check(&reader);
}

#[test]
fn a_file_that_is_cut_again_and_again_kills_nobody() {
    let image = image();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&image, 0).unwrap();
    let reader = Reader::open_fd(file.try_clone().unwrap().into()).unwrap();
    let done = AtomicBool::new(false);
    let (mut whole, mut cut) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                cut_and_mend(&file, &image);
            }
        });
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            match reader.snapshot(|_| true) {
                Ok(_) => whole += 1,
                Err(_) => cut += 1,
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(whole + cut > 10, "{whole} whole, {cut} cut");
}

fn cut_and_mend(file: &File, image: &[u8]) {
    file.set_len(PAGE as u64 / 2).unwrap();
    file.write_all_at(image, 0).unwrap();
}
