//! The protocol in a model checker: loom goes through all interleavings of a writer and a reader, and through what each
//! load may see under the C11 memory model.
//!
//! The code under test is [`crate::protocol`] and [`crate::decode`], the very functions that run over a mapping; only
//! the words underneath are loom's.

use std::sync::atomic::Ordering;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, fence};

use crate::decode::{Decoder, Raw, begin, unchanged};
use crate::layout::{ENTRY_WORDS, HEADER_DIRECTORY, HEADER_EPOCH, HEADER_VERSION, Kind, VERSION, WORD};
use crate::protocol::{
    Memory, RawEntry, RingRow, move_epoch, point, publish_directory, push_record, raise_length, raise_rows,
    write_entry, write_length,
};
use crate::value::{RingRecords, Value};

/// A few words of memory in the model.
struct Words(Vec<AtomicU64>);

impl Words {
    fn new(words: usize) -> Words {
        let memory = Words((0..words).map(|_| AtomicU64::new(0)).collect());
        memory.store(HEADER_VERSION, VERSION);
        memory.store(HEADER_EPOCH, 1);
        memory
    }
}

impl Memory for Words {
    fn words(&self) -> usize {
        self.0.len()
    }

    fn load(&self, word: usize) -> Option<u64> {
        self.0.get(word).map(|word| word.load(Ordering::Relaxed))
    }

    fn store(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    fn fence(&self, order: Ordering) {
        fence(order);
    }
}

/// Where the models put things.
const DIRECTORY: usize = 8;
const OTHER_DIRECTORY: usize = DIRECTORY + ENTRY_WORDS + 2;
const VECTORS: usize = OTHER_DIRECTORY + ENTRY_WORDS + 2;

/// One entry in the directory at `directory`, not published.
fn write_directory(memory: &Words, directory: usize, kind: Kind, value: u64, name: &str) {
    write_entry(memory, directory, 0, &RawEntry { kind: kind.number(), value, name });
    write_length(memory, directory, 1);
}

/// What a reader gets in one attempt: `None` if it has to try again. What it meets must make sense even then.
fn attempt(memory: &Words) -> Option<(String, Value)> {
    let epoch = begin(memory).expect("the lock is never taken");
    let decoder = Decoder::new(memory, 1 << 20).unwrap();
    let directory = decoder.directory().unwrap();
    let raw = directory.raw(0).unwrap().unwrap();
    let found = (directory.name(0).unwrap(), decoder.value(raw).unwrap());
    unchanged(memory, epoch).then_some(found)
}

#[test]
fn loom_a_new_directory_is_seen_as_a_whole() {
    loom::model(|| {
        let memory = Arc::new(Words::new(VECTORS));
        write_directory(&memory, DIRECTORY, Kind::Gauge, 1, "/a");
        publish_directory(&*memory, DIRECTORY);
        let writer = {
            let memory = Arc::clone(&memory);
            loom::thread::spawn(move || {
                write_directory(&memory, OTHER_DIRECTORY, Kind::Gauge, 2, "/b");
                publish_directory(&*memory, OTHER_DIRECTORY);
                move_epoch(&*memory);
            })
        };
        // Even an attempt that is thrown away sees the one or the other.
        let epoch = begin(&*memory).unwrap();
        let decoder = Decoder::new(&*memory, 1 << 20).unwrap();
        let directory = decoder.directory().unwrap();
        let value = decoder.value(directory.raw(0).unwrap().unwrap()).unwrap();
        let found = (directory.name(0).unwrap(), value);
        let (old, new) = (("/a".to_owned(), Value::Gauge(1)), ("/b".to_owned(), Value::Gauge(2)));
        assert!(found == old || found == new, "{found:?}");
        if epoch == 2 {
            assert_eq!(found, new);
        }
        writer.join().unwrap();
    });
}

#[test]
fn loom_a_directory_that_is_written_again_is_never_taken_for_the_old_one() {
    loom::model(|| {
        let memory = Arc::new(Words::new(VECTORS));
        write_directory(&memory, DIRECTORY, Kind::Gauge, 1, "/a");
        write_directory(&memory, OTHER_DIRECTORY, Kind::Gauge, 2, "/b");
        publish_directory(&*memory, DIRECTORY);
        let writer = {
            let memory = Arc::clone(&memory);
            loom::thread::spawn(move || {
                publish_directory(&*memory, OTHER_DIRECTORY);
                move_epoch(&*memory);
                // No grace period at all.
                write_directory(&memory, DIRECTORY, Kind::Gauge, 3, "/c");
            })
        };
        if let Some((name, value)) = attempt(&memory) {
            let whole = [("/a", 1), ("/b", 2)].map(|(name, number)| (name, Value::Gauge(number)));
            assert!(whole.contains(&(name.as_str(), value.clone())), "{name} {value:?}");
        }
        writer.join().unwrap();
    });
}

#[test]
fn loom_a_vector_grows_without_ragged_rows() {
    const ROWS: [usize; 2] = [VECTORS + 5, VECTORS + 9];
    loom::model(|| {
        let memory = Arc::new(Words::new(VECTORS + 12));
        let outer = VECTORS + 1;
        write_length(&*memory, outer, 2);
        for (element, row) in ROWS.into_iter().enumerate() {
            memory.store(outer + element, (row * WORD) as u64);
            write_length(&*memory, row, 1);
        }
        write_directory(&memory, DIRECTORY, Kind::Simple, (outer * WORD) as u64, "/v");
        publish_directory(&*memory, DIRECTORY);
        let writer = {
            let memory = Arc::clone(&memory);
            loom::thread::spawn(move || {
                // The new column counts before it is shown.
                memory.store(ROWS[0] + 1, 7);
                raise_rows(&*memory, ROWS.into_iter(), 2);
                move_epoch(&*memory);
            })
        };
        let epoch = begin(&*memory).unwrap();
        let decoder = Decoder::new(&*memory, 1 << 20).unwrap();
        let raw = decoder.directory().unwrap().raw(0).unwrap().unwrap();
        let found = decoder.value(raw).unwrap();
        let (before, after) = (vec![vec![0], vec![0]], vec![vec![0, 7], vec![0, 0]]);
        assert!(found == Value::Simple(before) || found == Value::Simple(after.clone()), "{found:?}");
        if epoch == 2 {
            assert_eq!(found, Value::Simple(after));
        }
        writer.join().unwrap();
    });
}

#[test]
fn loom_a_string_is_the_old_or_the_new_one() {
    const OLD: usize = VECTORS + 5;
    const NEW: usize = VECTORS + 9;
    loom::model(|| {
        let memory = Arc::new(Words::new(VECTORS + 12));
        let outer = VECTORS + 1;
        memory.store(OLD, u64::from_le_bytes(*b"old\0\0\0\0\0"));
        write_length(&*memory, OLD, 4);
        point(&*memory, outer, OLD);
        point(&*memory, outer + 1, OLD);
        write_length(&*memory, outer, 1);
        write_directory(&memory, DIRECTORY, Kind::Names, (outer * WORD) as u64, "/n");
        publish_directory(&*memory, DIRECTORY);
        let writer = {
            let memory = Arc::clone(&memory);
            loom::thread::spawn(move || {
                memory.store(NEW, u64::from_le_bytes(*b"newer\0\0\0"));
                write_length(&*memory, NEW, 6);
                point(&*memory, outer, NEW);
                raise_length(&*memory, outer, 2);
                move_epoch(&*memory);
                // The old string's memory is another one's now, with no grace period at all.
                memory.store(OLD, u64::from_le_bytes(*b"no\0\0\0\0\0\0"));
            })
        };
        if let Some((_, Value::Names(names))) = attempt(&memory) {
            assert!(["old", "newer"].contains(&names[0].as_str()), "{names:?}");
            if names.len() == 2 {
                assert_eq!(names[0], "newer");
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn loom_records_are_whole_and_in_order() {
    each_record_read(|decoder, raw| match decoder.value(raw).unwrap() {
        Value::Ring(ring) => ring,
        other => panic!("{other:?}"),
    });
}

#[test]
fn loom_new_records_are_whole_and_in_order() {
    // Record 1 is written over by record 4 at the earliest, record 0 by record 3, which the model writes.
    for from in 0..=2 {
        each_record_read(move |decoder, raw| {
            let ring = decoder.news(raw, &[from]).unwrap();
            assert!(ring.rows[0].first >= from, "{ring:?}");
            ring
        });
    }
}

/// What is read while records are written, in each order: no record is another one, or a part of one.
fn each_record_read(read: impl Fn(&Decoder<'_, Words>, Raw) -> RingRecords + Sync + Send + 'static) {
    const RING: usize = VECTORS;
    const METADATA: usize = RING + 10;
    loom::model(move || {
        let memory = Arc::new(Words::new(METADATA + 8));
        // Two words a record, three records, one row; metadata and data at their offsets in bytes.
        let place = RingRow { data: RING + 4, metadata: METADATA, record: 2, records: 3 };
        memory.store(RING, 16 | 3 << 32);
        memory.store(RING + 1, 1);
        memory.store(RING + 2, 1 | (10 * WORD as u64) << 32);
        memory.store(RING + 3, 4 * WORD as u64);
        write_directory(&memory, DIRECTORY, Kind::Ring, (RING * WORD) as u64, "/r");
        publish_directory(&*memory, DIRECTORY);
        let record = |number: u64| [number + 1, !number].map(u64::to_le_bytes).concat();
        for number in 0..2 {
            push_record(&*memory, place, number, &record(number));
        }
        let writer = {
            let memory = Arc::clone(&memory);
            loom::thread::spawn(move || {
                for number in 2..4 {
                    push_record(&*memory, place, number, &record(number));
                }
            })
        };
        let decoder = Decoder::new(&*memory, 1 << 20).unwrap();
        let raw = decoder.directory().unwrap().raw(0).unwrap().unwrap();
        let ring = read(&decoder, raw);
        let row = &ring.rows[0];
        for (number, found) in (row.first..).zip(&row.records) {
            assert_eq!(*found, record(number), "record {number}");
        }
        writer.join().unwrap();
    });
}

#[test]
fn loom_would_notice_a_missing_step() {
    // The model is worth something only if it fails when the order is wrong: the pointer before the directory.
    let wrong = std::panic::catch_unwind(|| {
        loom::model(|| {
            let memory = Arc::new(Words::new(VECTORS));
            write_directory(&memory, DIRECTORY, Kind::Gauge, 1, "/a");
            publish_directory(&*memory, DIRECTORY);
            let writer = {
                let memory = Arc::clone(&memory);
                loom::thread::spawn(move || {
                    memory.store(HEADER_DIRECTORY, (OTHER_DIRECTORY * WORD) as u64); // not a release
                    write_directory(&memory, OTHER_DIRECTORY, Kind::Gauge, 2, "/b");
                    move_epoch(&*memory);
                })
            };
            if let Some((name, value)) = attempt(&memory) {
                assert!(
                    [("/a".to_owned(), Value::Gauge(1)), ("/b".to_owned(), Value::Gauge(2))]
                        .contains(&(name, value))
                );
            }
            writer.join().unwrap();
        });
    });
    assert!(wrong.is_err());
}
