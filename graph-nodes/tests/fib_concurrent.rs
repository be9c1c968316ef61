//! Readers look up while the writer changes routes. The script of changes is fixed beforehand, so the right answer after each step is
//! known; a reader notes which step was done before its lookup and which had begun after it, and what it found must be the answer after one
//! of those steps: no hole, no freed block, no reused group. The tables are so small that everything is reused all the time.

// Helpers outside the test functions unwrap as well.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use weir_graph::adjacency::AdjacencyIndex;
use weir_graph::fib::{Fib, FibError, FibLimits, FibWriter, Leaf, NextHop, Prefix4};
use weir_graph::quiescence::Quiescence;

const STEPS: usize = if cfg!(miri) { 60 } else { 60_000 };
const READERS: usize = 2;

/// A nest around 10.0.1.200 and a few neighbours, so that steps cover and uncover one another.
const PREFIXES: [(u32, u8); 14] = [
    (0, 0),
    (0x0a00_0000, 20),
    (0x0a00_0000, 22),
    (0x0a00_0000, 23),
    (0x0a00_0100, 24),
    (0x0a00_0180, 25),
    (0x0a00_01c0, 26),
    (0x0a00_01c8, 29),
    (0x0a00_01c8, 32),
    (0x0a00_0000, 24),
    (0x0a00_0000, 25),
    (0x0a00_0200, 32),
    (0x0a00_0300, 24),
    (0x0a00_0340, 27),
];
const PROBES: [u32; 8] =
    [0x0a00_01c8, 0x0a00_01c9, 0x0a00_01d0, 0x0a00_0101, 0x0a00_0001, 0x0a00_0200, 0x0a00_0341, 0x0b00_0000];

/// One change: the prefix with this number gets next hops of this step's own, or goes.
#[derive(Clone, Copy)]
enum Change {
    Insert { which: usize, multipath: bool },
    Remove { which: usize },
}

/// The adjacencies of step `step` are 2 `step` and 2 `step` + 1; those of no route are 0 and 1.
fn hops(step: usize, multipath: bool) -> Vec<NextHop> {
    let first = 2 * step as u32;
    let last = if multipath { first + 1 } else { first };
    (first..=last).map(|index| AdjacencyIndex::new(index).unwrap().into()).collect()
}

/// The changes, and for each number of changes done, the step that each probe's answer comes from.
fn script() -> (Vec<Change>, Vec<[usize; PROBES.len()]>) {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as usize
    };
    let prefixes = PREFIXES.map(|(address, length)| Prefix4::new(address, length).unwrap());
    let mut inserted_at: [Option<usize>; PREFIXES.len()] = [None; PREFIXES.len()];
    let (mut changes, mut answers) = (vec![], vec![[0; PROBES.len()]]);
    for step in 1..=STEPS {
        let which = next() % PREFIXES.len();
        let change = if inserted_at[which].is_some() && next() % 3 > 0 {
            inserted_at[which] = None;
            Change::Remove { which }
        } else {
            inserted_at[which] = Some(step);
            Change::Insert { which, multipath: next() % 2 == 0 }
        };
        changes.push(change);
        answers.push(PROBES.map(|probe| {
            let matches = prefixes.iter().zip(inserted_at).filter(|(prefix, _)| prefix.contains(probe));
            let there = matches.filter_map(|(prefix, step)| Some((prefix.length(), step?)));
            there.max().map_or(0, |(_, step)| step)
        }));
    }
    (changes, answers)
}

fn apply(writer: &mut FibWriter, step: usize, change: Change) {
    let prefix = |which: usize| Prefix4::new(PREFIXES[which].0, PREFIXES[which].1).unwrap();
    match change {
        Change::Remove { which } => {
            writer.remove(prefix(which)).unwrap();
        }
        // Full means here: everything free is still waiting for the readers.
        Change::Insert { which, multipath } => loop {
            match writer.insert(prefix(which), &hops(step, multipath)) {
                Err(FibError::Full { .. }) => thread::yield_now(),
                result => {
                    result.unwrap();
                    break;
                }
            }
        },
    }
}

/// A network comes just before the default route goes, and the other way round: at every moment there is one of the two.
#[test]
fn there_is_no_hole_between_the_default_route_and_a_network() {
    const ROUNDS: usize = if cfg!(miri) { 40 } else { 300_000 };
    let quiescence = Quiescence::new(READERS);
    let (fib, mut writer) = Fib::new(FibLimits::default(), quiescence.clone()).unwrap();
    let network = Prefix4::new(0x0a00_0000, 24).unwrap();
    writer.insert(Prefix4::DEFAULT, &hops(1, false)).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for index in 0..READERS {
            let (reader, fib, over) = (quiescence.reader(index).unwrap(), fib.clone(), &over);
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    let mut leaves = [Leaf::NONE; 4];
                    match index {
                        0 => leaves = leaves.map(|_| fib.lookup(0x0a00_0001)),
                        _ => fib.lookup_many(&[0x0a00_0001; 4], &mut leaves),
                    }
                    assert!(!leaves.contains(&Leaf::NONE));
                    reader.quiescent();
                }
            });
        }
        for round in 1..=ROUNDS {
            writer.insert(network, &hops(2 * round, false)).unwrap();
            writer.remove(Prefix4::DEFAULT).unwrap();
            writer.insert(Prefix4::DEFAULT, &hops(2 * round + 1, false)).unwrap();
            writer.remove(network).unwrap();
        }
        over.store(true, Relaxed);
    });
}

#[test]
fn a_lookup_finds_what_was_right_at_some_moment_of_it() {
    let (changes, answers) = script();
    let quiescence = Quiescence::new(READERS);
    // Two prefixes more than there are, one block and one group more.
    let limits = FibLimits { routes: 16, extension_blocks: 5, groups: 15 };
    let (fib, mut writer) = Fib::new(limits, quiescence.clone()).unwrap();
    let (begun, done, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let seen: usize = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|index| {
                let (reader, fib) = (quiescence.reader(index).unwrap(), fib.clone());
                let (answers, begun, done, over) = (&answers, &begun, &done, &over);
                scope.spawn(move || {
                    let mut leaves = [Leaf::NONE; PROBES.len()];
                    let mut changes_seen = 0;
                    for turn in 0_usize.. {
                        // One reader looks up all probes at a time, the other one each.
                        let some = match index {
                            0 => 0..PROBES.len(),
                            _ => turn % PROBES.len()..turn % PROBES.len() + 1,
                        };
                        let before = done.load(Acquire);
                        match index {
                            0 => fib.lookup_many(&PROBES, &mut leaves),
                            _ => leaves[some.start] = fib.lookup(PROBES[some.start]),
                        }
                        let after = begun.load(Acquire);
                        if turn % 32 == 31 {
                            // What the leaf leads to must stay although the writer goes on.
                            thread::yield_now();
                        }
                        for number in some {
                            let found = fib.resolve(leaves[number], turn as u32).as_u32() as usize / 2;
                            assert!(
                                answers[before..=after].iter().any(|answers| answers[number] == found),
                                "{:#x} led to step {found} between {before} and {after}",
                                PROBES[number],
                            );
                        }
                        changes_seen += usize::from(after > before);
                        reader.quiescent();
                        if over.load(Relaxed) {
                            break;
                        }
                        if turn % 64 == 63 {
                            reader.offline();
                            thread::yield_now();
                            reader.online();
                        }
                    }
                    changes_seen
                })
            })
            .collect();
        for (index, &change) in changes.iter().enumerate() {
            begun.store(index + 1, Release);
            apply(&mut writer, index + 1, change);
            done.store(index + 1, Release);
        }
        over.store(true, Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(cfg!(miri) || seen > 0, "no lookup ran while a change did: the test has shown nothing");
}
