//! Readers look up while the writer changes routes. The script of changes is fixed beforehand, so the right answer after each step is
//! known; a reader notes which step was done before its lookup and which had begun after it, and what it found must be the answer after one
//! of those steps: no hole, no freed block, no reused group. The tables are so small that everything is reused all the time.

// Helpers outside the test functions unwrap as well.
#![allow(clippy::unwrap_used)]

use std::fmt::LowerHex;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use weir_graph::adjacency::AdjacencyIndex;
use weir_graph::fib::{Address, Fib, FibError, FibLimits, FibWriter, Leaf, NextHop, Prefix, Prefix4};
use weir_graph::quiescence::Quiescence;

const STEPS: usize = if cfg!(miri) { 60 } else { 60_000 };
const READERS: usize = 2;

/// Prefixes that cover one another, and addresses in and beside them.
struct Ground<A: Address> {
    prefixes: [Prefix<A>; 14],
    probes: [A; 8],
    limits: FibLimits,
}

/// A nest around 10.0.1.200 and a few neighbours, so that steps cover and uncover one another.
fn ground4() -> Ground<u32> {
    let prefixes = [
        "0.0.0.0/0",
        "10.0.0.0/20",
        "10.0.0.0/22",
        "10.0.0.0/23",
        "10.0.1.0/24",
        "10.0.1.128/25",
        "10.0.1.192/26",
        "10.0.1.200/29",
        "10.0.1.200/32",
        "10.0.0.0/24",
        "10.0.0.0/25",
        "10.0.2.0/32",
        "10.0.3.0/24",
        "10.0.3.64/27",
    ];
    Ground {
        prefixes: prefixes.map(|text| text.parse().unwrap()),
        probes: [
            0x0a00_01c8,
            0x0a00_01c9,
            0x0a00_01d0,
            0x0a00_0101,
            0x0a00_0001,
            0x0a00_0200,
            0x0a00_0341,
            0x0b00_0000,
        ],
        // Two prefixes more than there are, one block and one group more.
        limits: FibLimits { routes: 16, extension_blocks: 5, groups: 15 },
    }
}

/// The same along an address of IPv6, so that levels come between others and gates change their places all the time.
fn ground6() -> Ground<u128> {
    let prefixes = [
        "::/0",
        "2001:d00::/24",
        "2001:db8::/29",
        "2001:db8::/32",
        "2001:db8:0:1200::/56",
        "2001:db8:0:1234::/64",
        "2001:db8:0:1234:5600::/72",
        "2001:db8:0:1234::7/128",
        "2001:db8:0:1234::8/128",
        "2001:db8:0:1300::/56",
        "2001:db8:7::/48",
        "2001:db8:7:8000::/49",
        "2001:db9::/32",
        "2001:db9::9/128",
    ];
    let probes = [
        "2001:db8:0:1234::7",
        "2001:db8:0:1234:5678::1",
        "2001:db8:0:1234:9999::1",
        "2001:db8:0:12ff::1",
        "2001:db8:0:1301::1",
        "2001:db8:7:9000::1",
        "2001:db9::9",
        "2001:dba::1",
    ];
    Ground {
        prefixes: prefixes.map(|text| text.parse().unwrap()),
        probes: probes.map(|text| text.parse::<std::net::Ipv6Addr>().unwrap().to_bits()),
        // A block for each prefix at the most; of gates there are not many more.
        limits: FibLimits { routes: 16, extension_blocks: 12, groups: 15 },
    }
}

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
fn script<A: Address>(ground: &Ground<A>) -> (Vec<Change>, Vec<[usize; 8]>) {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as usize
    };
    let prefixes = ground.prefixes;
    let mut inserted_at = [None; 14];
    let (mut changes, mut answers) = (vec![], vec![[0; 8]]);
    for step in 1..=STEPS {
        let which = next() % prefixes.len();
        let change = if inserted_at[which].is_some() && next() % 3 > 0 {
            inserted_at[which] = None;
            Change::Remove { which }
        } else {
            inserted_at[which] = Some(step);
            Change::Insert { which, multipath: next() % 2 == 0 }
        };
        changes.push(change);
        answers.push(ground.probes.map(|probe| {
            let matches = prefixes.iter().zip(inserted_at).filter(|(prefix, _)| prefix.contains(probe));
            let there = matches.filter_map(|(prefix, step)| Some((prefix.length(), step?)));
            there.max().map_or(0, |(_, step)| step)
        }));
    }
    (changes, answers)
}

fn apply<A: Address>(writer: &mut FibWriter<A>, prefixes: &[Prefix<A>], step: usize, change: Change) {
    match change {
        Change::Remove { which } => {
            writer.remove(prefixes[which]).unwrap();
        }
        // Full means here: everything free is still waiting for the readers.
        Change::Insert { which, multipath } => loop {
            match writer.insert(prefixes[which], &hops(step, multipath)) {
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
    look_up_while_it_changes(&ground4());
}

#[test]
fn a_lookup_of_ip6_finds_what_was_right_at_some_moment_of_it() {
    look_up_while_it_changes(&ground6());
}

fn look_up_while_it_changes<A: Address + LowerHex>(ground: &Ground<A>) {
    let (changes, answers) = script(ground);
    let probes = &ground.probes;
    let quiescence = Quiescence::new(READERS);
    let (fib, mut writer) = Fib::new(ground.limits, quiescence.clone()).unwrap();
    let (begun, done, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let seen: usize = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|index| {
                let (reader, fib) = (quiescence.reader(index).unwrap(), fib.clone());
                let (answers, begun, done, over) = (&answers, &begun, &done, &over);
                scope.spawn(move || {
                    let mut leaves = [Leaf::NONE; 8];
                    let mut changes_seen = 0;
                    for turn in 0_usize.. {
                        // One reader looks up all probes at a time, the other one each.
                        let some = match index {
                            0 => 0..probes.len(),
                            _ => turn % probes.len()..turn % probes.len() + 1,
                        };
                        let before = done.load(Acquire);
                        match index {
                            0 if turn % 2 == 0 => fib.lookup_mixed(probes, &mut leaves),
                            0 => fib.lookup_many(probes, &mut leaves),
                            _ => leaves[some.start] = fib.lookup(probes[some.start]),
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
                                probes[number],
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
            apply(&mut writer, &ground.prefixes, index + 1, change);
            done.store(index + 1, Release);
        }
        over.store(true, Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(cfg!(miri) || seen > 0, "no lookup ran while a change did: the test has shown nothing");
}
