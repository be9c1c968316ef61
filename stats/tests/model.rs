//! Random changes against a plain model, over ordinary memory: a segment holds what was put into it, and a refused
//! change leaves what was there. Also threads that count and read, for Miri.
#![allow(clippy::unwrap_used)] // what a test stands on may fail it

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use weir_stats::{
    Combined, CombinedRow, Error, Names, Options, Pair, ReadError, Reader, Scalar, Segment, Simple,
    SimpleRow, Value,
};

#[derive(Clone, Debug)]
enum Change {
    Gauge(u8, u64),
    Simple(u8, usize),
    Combined(u8, usize),
    Names(u8),
    Name(u8, usize, String),
    Grow(u8, usize),
    Count(u8, usize, u64),
    Remove(u8),
}

fn change() -> impl Strategy<Value = Change> {
    let slot = 0_u8..6;
    prop_oneof![
        (slot.clone(), any::<u64>()).prop_map(|(slot, value)| Change::Gauge(slot, value)),
        (slot.clone(), 0_usize..20).prop_map(|(slot, columns)| Change::Simple(slot, columns)),
        (slot.clone(), 0_usize..20).prop_map(|(slot, columns)| Change::Combined(slot, columns)),
        slot.clone().prop_map(Change::Names),
        (slot.clone(), 0_usize..16, "[ -~]{0,40}").prop_map(|(slot, at, name)| Change::Name(slot, at, name)),
        (slot.clone(), 0_usize..24).prop_map(|(slot, columns)| Change::Grow(slot, columns)),
        (slot.clone(), 0_usize..16, any::<u64>()).prop_map(|(slot, at, n)| Change::Count(slot, at, n)),
        slot.prop_map(Change::Remove),
    ]
}

/// What was registered under a number.
enum Handle {
    Gauge(Scalar),
    Simple(Simple, SimpleRow),
    Combined(Combined, CombinedRow),
    Names(Names),
}

fn path(slot: u8) -> String {
    format!("/entries/{slot}")
}

/// Applies a change to the segment and to the model, or to neither.
fn apply(
    segment: &mut Segment,
    handles: &mut BTreeMap<u8, Handle>,
    model: &mut BTreeMap<String, Value>,
    change: Change,
) -> Result<(), Error> {
    match change {
        Change::Gauge(slot, value) => {
            let gauge = segment.register(|batch| batch.gauge(&path(slot), value))?;
            handles.insert(slot, Handle::Gauge(gauge));
            model.insert(path(slot), Value::Gauge(value));
        }
        Change::Simple(slot, columns) => {
            let mut simple = segment.register(|batch| batch.simple(&path(slot), columns, 16.max(columns)))?;
            let row = simple.take_row(1).unwrap();
            handles.insert(slot, Handle::Simple(simple, row));
            model.insert(path(slot), Value::Simple(vec![vec![0; columns]; 2]));
        }
        Change::Combined(slot, columns) => {
            let mut combined =
                segment.register(|batch| batch.combined(&path(slot), columns, 16.max(columns)))?;
            let row = combined.take_row(1).unwrap();
            handles.insert(slot, Handle::Combined(combined, row));
            model.insert(path(slot), Value::Combined(vec![vec![Pair::default(); columns]; 2]));
        }
        Change::Names(slot) => {
            let names = segment.register(|batch| batch.names(&path(slot), 16))?;
            handles.insert(slot, Handle::Names(names));
            model.insert(path(slot), Value::Names(Vec::new()));
        }
        Change::Name(slot, at, name) => {
            let Some(Handle::Names(names)) = handles.get_mut(&slot) else { return Ok(()) };
            segment.register(|batch| batch.set_name(names, at, &name))?;
            let Some(Value::Names(list)) = model.get_mut(&path(slot)) else { panic!("it was a list") };
            if at >= list.len() {
                list.resize(at + 1, String::new());
            }
            list[at] = name;
        }
        Change::Grow(slot, columns) => match (handles.get_mut(&slot), model.get_mut(&path(slot))) {
            (Some(Handle::Simple(simple, _)), Some(Value::Simple(rows))) => {
                segment.register(|batch| batch.grow_simple(simple, columns))?;
                rows.iter_mut().for_each(|row| row.resize(columns.max(row.len()), 0));
            }
            (Some(Handle::Combined(combined, _)), Some(Value::Combined(rows))) => {
                segment.register(|batch| batch.grow_combined(combined, columns))?;
                rows.iter_mut().for_each(|row| row.resize(columns.max(row.len()), Pair::default()));
            }
            _ => {}
        },
        Change::Count(slot, at, n) => match (handles.get_mut(&slot), model.get_mut(&path(slot))) {
            (Some(Handle::Gauge(gauge)), Some(value)) => {
                gauge.set(n);
                *value = Value::Gauge(n);
            }
            (Some(Handle::Simple(_, row)), Some(Value::Simple(rows))) if at < rows[1].len() => {
                row.add(at, n);
                rows[1][at] = rows[1][at].wrapping_add(n);
            }
            (Some(Handle::Combined(_, row)), Some(Value::Combined(rows))) if at < rows[1].len() => {
                row.add(at, n, 1);
                rows[1][at] =
                    Pair { packets: rows[1][at].packets.wrapping_add(n), bytes: rows[1][at].bytes + 1 };
            }
            _ => {}
        },
        Change::Remove(slot) => {
            let id = match handles.get(&slot) {
                Some(Handle::Gauge(gauge)) => gauge.id(),
                Some(Handle::Simple(simple, _)) => simple.id(),
                Some(Handle::Combined(combined, _)) => combined.id(),
                Some(Handle::Names(names)) => names.id(),
                None => return Ok(()),
            };
            segment.register(|batch| batch.remove(id))?;
            handles.remove(&slot);
            model.remove(&path(slot));
        }
    }
    Ok(())
}

fn check(changes: Vec<Change>) {
    let mut segment =
        Segment::in_heap(Options { size: 512 << 10, workers: 1, grace: Duration::ZERO }).unwrap();
    let reader = Reader::of(&segment).unwrap();
    let (mut handles, mut model) = (BTreeMap::new(), BTreeMap::new());
    for change in changes {
        let before = reader.epoch();
        let refused = apply(&mut segment, &mut handles, &mut model, change).is_err();
        assert!(!refused || reader.epoch() == before, "a refused change is not published");
        let found = reader.snapshot(|entry| entry.name.starts_with("/entries/")).unwrap();
        let found: BTreeMap<_, _> =
            found.values.into_iter().map(|(entry, value)| (entry.name, value)).collect();
        assert_eq!(found, model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_segment_holds_what_was_put_into_it(
        changes in proptest::collection::vec(change(), if cfg!(miri) { 1..15 } else { 1..60 })
    ) {
        check(changes);
    }
}

#[test]
fn readers_and_writers_share_memory_without_a_race() {
    let (rounds, reads) = if cfg!(miri) { (3, 1) } else { (2000, 100) };
    let mut segment =
        Segment::in_heap(Options { size: 512 << 10, workers: 1, grace: Duration::ZERO }).unwrap();
    let reader = Reader::of(&segment).unwrap();
    let mut counted = segment.register(|batch| batch.simple("/counted", 1, 1)).unwrap();
    let mut worker = counted.take_row(1).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                worker.add(0, 1);
                std::thread::yield_now();
            }
        });
        let looking = scope.spawn(|| {
            let (mut done, mut last) = (0, 0);
            while done < reads || !stop.load(Ordering::Relaxed) {
                match reader.snapshot(|entry| entry.name.starts_with('/')) {
                    Ok(snapshot) => {
                        let counted = snapshot.values.iter().find(|(entry, _)| entry.name == "/counted");
                        let Some((_, Value::Simple(rows))) = counted else { panic!("it is always there") };
                        assert!(rows[1][0] >= last, "counters only grow");
                        last = rows[1][0];
                        done += 1;
                    }
                    // The writer below never rests.
                    Err(ReadError::Busy { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let mut kept = None;
        for round in 0..rounds {
            let change = segment.register(|batch| {
                if let Some(id) = kept.take() {
                    batch.remove(id)?;
                }
                let mut names = batch.names(&format!("/names/{round}"), 4)?;
                batch.set_name(&mut names, 1, "one")?;
                kept = Some(names.id());
                batch.grow_simple(&mut counted, 1 + round % 8)
            });
            change.unwrap();
            segment.beat();
        }
        stop.store(true, Ordering::Relaxed);
        looking.join().unwrap();
    });
}
