//! Workers that share a tree: together they are held to each node's rate, whoever of them comes late or stands still.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod team;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use team::Team;
use weir_graph::shaper::{
    Arrival, Discipline, Isolation, Leaf, Operation, Rates, Settings, Shaper, Tins, TreeNode,
};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const MBIT: u64 = 1_000_000;
const LENGTH: u32 = 1500;

fn team(workers: usize) -> Team {
    let settings = Settings {
        hz: SECOND,
        nodes: 8,
        leaves: 16,
        tins: 16,
        flows: 64,
        packets: 20_000,
        frame: 2048,
        mtu: 1514,
    };
    let discipline = Discipline {
        tins: Tins::BestEffort,
        isolation: Isolation::Flows,
        target: 1000 * SECOND,
        interval: 10_000 * SECOND,
        ack_filter: false,
    };
    Team::new(settings, &[discipline], &[], workers)
}

fn node(team: &mut Team, node: u32, parent: Option<u32>, rates: Rates) {
    let operation = Operation::Node { node: TreeNode(node), parent: parent.map(TreeNode), rates };
    team.apply(&operation, SECOND, &mut |_| ()).unwrap();
}

fn leaf(team: &mut Team, leaf: u32, parent: u32, rates: Rates) {
    let (leaf, parent) = (Leaf(leaf), TreeNode(parent));
    let operation = Operation::Leaf { leaf, parent, rates, discipline: 0, overhead: 0 };
    team.apply(&operation, SECOND, &mut |_| ()).unwrap();
}

fn rates(min: u64, max: u64, weight: u32) -> Rates {
    Rates { min, max, weight }
}

fn put(shaper: &mut Shaper, leaf: u32, now: u64) {
    let arrival = Arrival {
        packet: 1,
        length: LENGTH,
        flow: leaf,
        source: 1,
        destination: 2,
        dscp: 0,
        ecn_capable: true,
    };
    shaper.enqueue(Leaf(leaf), &arrival, Default::default(), now, &mut |gone| panic!("{gone:?}"));
}

/// What each leaf has sent, in packets, and when the last one was.
struct Sent {
    leaves: [u64; 16],
}

impl Sent {
    fn mbit(&self, leaf: usize, time: u64) -> f64 {
        (self.leaves[leaf] * u64::from(LENGTH) * 8) as f64 * SECOND as f64 / time as f64 / 1e6
    }

    fn all(&self, time: u64) -> f64 {
        (0..16).map(|leaf| self.mbit(leaf, time)).sum()
    }
}

/// Greedy leaves for some time; each worker looks once in `period`, at a moment of its own that wanders, unless `stands(worker, now)`.
fn play(
    team: &mut Team,
    greedy: &[u32],
    time: u64,
    period: u64,
    stands: impl Fn(usize, u64) -> bool,
) -> Sent {
    let workers = team.shapers.len();
    let mut sent = Sent { leaves: [0; 16] };
    let mut looks: Vec<u64> = (0..workers as u64).map(|worker| SECOND + worker * period / 3).collect();
    let mut random = 7u64;
    // As many as can leave in the longest time in which nobody looks.
    let mut waiting = [0u64; 16];
    loop {
        let (worker, now) = looks.iter().copied().enumerate().min_by_key(|look| look.1).unwrap();
        if now >= SECOND + time {
            return sent;
        }
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        looks[worker] = now + period / 2 + (random >> 33) % period.max(1);
        if stands(worker, now) {
            continue;
        }
        let shaper = &mut team.shapers[worker];
        for &leaf in greedy.iter().filter(|leaf| **leaf as usize % workers == worker) {
            while waiting[leaf as usize] < 256 {
                waiting[leaf as usize] += 1;
                put(shaper, leaf, now);
            }
        }
        shaper.release(
            now,
            1024,
            &mut |leaf, _| {
                sent.leaves[leaf.0 as usize] += 1;
                waiting[leaf.0 as usize] -= 1;
            },
            &mut |gone| panic!("{gone:?}"),
        );
    }
}

#[track_caller]
fn near(value: f64, expected: f64, tolerance: f64) {
    assert!((value / expected - 1.0).abs() <= tolerance, "{value:.3} instead of {expected:.3}");
}

#[test]
fn weights_hold_across_workers_from_slow_to_fast() {
    for (rate, period) in
        [(2 * MBIT, 20_000), (100 * MBIT, 20_000), (1000 * MBIT, 20_000), (10_000 * MBIT, 20_000)]
    {
        for workers in [2, 3] {
            let mut team = team(workers);
            node(&mut team, 0, None, rates(0, rate, 1));
            leaf(&mut team, 0, 0, rates(0, 40_000 * MBIT, 1));
            leaf(&mut team, 1, 0, rates(0, 40_000 * MBIT, 3));
            let time = if rate < 10 * MBIT { 40 * SECOND } else { 2 * SECOND };
            let sent = play(&mut team, &[0, 1], time, period, |_, _| false);
            let (light, heavy) = (sent.mbit(0, time), sent.mbit(1, time));
            println!("{} Mbit/s, {workers} workers: {light:.3} and {heavy:.3}", rate / MBIT);
            near(light + heavy, rate as f64 / 1e6, 0.005);
            near(heavy / light, 3.0, 0.03);
            team.audit().unwrap();
        }
    }
}

#[test]
fn a_guarantee_holds_against_greedy_leaves_of_other_workers() {
    let mut team = team(2);
    node(&mut team, 0, None, rates(0, 1000 * MBIT, 1));
    node(&mut team, 1, Some(0), rates(0, 600 * MBIT, 1));
    leaf(&mut team, 0, 1, rates(400 * MBIT, 1000 * MBIT, 1));
    for greedy in [1, 3, 5, 7] {
        leaf(&mut team, greedy, 1, rates(0, 1000 * MBIT, 1));
    }
    let time = 2 * SECOND;
    let sent = play(&mut team, &[0, 1, 3, 5, 7], time, 20_000, |_, _| false);
    near(sent.all(time), 600.0, 0.005);
    near(sent.mbit(0, time), 440.0, 0.02);
    for greedy in [1, 3, 5, 7] {
        near(sent.mbit(greedy, time), 40.0, 0.05);
    }
}

#[test]
fn who_stands_still_takes_nothing_from_the_others() {
    let mut team = team(2);
    node(&mut team, 0, None, rates(0, 500 * MBIT, 1));
    leaf(&mut team, 0, 0, rates(0, 1000 * MBIT, 1));
    leaf(&mut team, 1, 0, rates(0, 1000 * MBIT, 1));
    let time = 2 * SECOND;
    // The second worker has its core for 10 ms of 60.
    let sent = play(&mut team, &[0, 1], time, 20_000, |worker, now| worker == 1 && now / MS % 60 >= 10);
    near(sent.all(time), 500.0, 0.005);
    let second = sent.mbit(1, time);
    println!("a sixth of the time: {second:.1} of 500 Mbit/s");
    assert!(second > 500.0 / 12.0, "{second}");
    // And never comes back.
    let mut team = self::team(2);
    node(&mut team, 0, None, rates(0, 500 * MBIT, 1));
    leaf(&mut team, 0, 0, rates(0, 1000 * MBIT, 1));
    leaf(&mut team, 1, 0, rates(0, 1000 * MBIT, 1));
    let sent = play(&mut team, &[0, 1], time, 20_000, |worker, now| worker == 1 && now > SECOND + 10 * MS);
    near(sent.all(time), 500.0, 0.005);
}

/// Real threads: they share the cores with whatever else runs, so they may get less, but never more.
#[test]
fn threads_are_held_to_one_rate() {
    let rate = 2000 * MBIT;
    let mut team = team(2);
    node(&mut team, 0, None, rates(0, rate, 1));
    node(&mut team, 2, Some(0), rates(0, rate, 1));
    for number in 0..8 {
        leaf(&mut team, number, if number < 4 { 0 } else { 2 }, rates(0, rate, 1));
    }
    let (start, stop) = (Instant::now(), AtomicBool::new(false));
    let sent: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
    let now = || SECOND + start.elapsed().as_nanos() as u64;
    thread::scope(|scope| {
        let (sent, stop) = (&sent, &stop);
        for (worker, shaper) in team.shapers.iter_mut().enumerate() {
            scope.spawn(move || {
                let mut waiting = [0u64; 8];
                while !stop.load(Relaxed) {
                    let time = now();
                    for leaf in (0..8u32).filter(|leaf| *leaf as usize % 2 == worker) {
                        while waiting[leaf as usize] < 256 {
                            waiting[leaf as usize] += 1;
                            put(shaper, leaf, time);
                        }
                    }
                    shaper.release(
                        time,
                        256,
                        &mut |leaf, _| {
                            sent[leaf.0 as usize].fetch_add(1, Relaxed);
                            waiting[leaf.0 as usize] -= 1;
                        },
                        &mut |gone| panic!("{gone:?}"),
                    );
                }
            });
        }
        thread::sleep(Duration::from_secs(1));
        stop.store(true, Relaxed);
    });
    let elapsed = start.elapsed().as_secs_f64();
    let packets: Vec<u64> = sent.iter().map(|sent| sent.load(Relaxed)).collect();
    let mbit = (packets.iter().sum::<u64>() * u64::from(LENGTH) * 8) as f64 / elapsed / 1e6;
    println!("{mbit:.1} of 2000 Mbit/s: {packets:?}");
    assert!(mbit <= 2000.0 * 1.005 && mbit > 1000.0, "{mbit}");
    team.audit().unwrap();
}
