//! The tree of rates on a virtual clock: what leaves and nodes get, to the packet; and that nobody ever gets more.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use weir_graph::shaper::{
    Arrival, Changed, Discipline, Dropped, Isolation, Lead, Leaf, Operation, Overhead, Rates, Settings,
    Shaper, Tins, TreeNode,
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const MBIT: u64 = 1_000_000;
const GBIT: u64 = 1000 * MBIT;

fn settings() -> Settings {
    Settings {
        hz: SECOND,
        nodes: 64,
        leaves: 256,
        tins: 300,
        flows: 2048,
        packets: 20_000,
        frame: 2048,
        mtu: 1514,
    }
}

/// CoDel is out of the way: the tree alone is looked at.
fn patient() -> Discipline {
    Discipline {
        tins: Tins::BestEffort,
        isolation: Isolation::Flows,
        target: 1000 * SECOND,
        interval: 10_000 * SECOND,
        ack_filter: false,
    }
}

fn rates(min: u64, max: u64, weight: u32) -> Rates {
    Rates { min, max, weight }
}

/// A packet that has left.
#[derive(Clone, Copy)]
struct Sent {
    at: u64,
    leaf: u32,
    length: u32,
}

/// A shaper, leaves that always have packets, and all that has left.
struct World {
    shaper: Shaper,
    now: u64,
    /// Leaves that always have packets, and how long these are.
    greedy: Vec<(u32, u32)>,
    backlog: Vec<i64>,
    sent: Vec<Sent>,
    arrived: u64,
    dropped: u64,
    wakes: Option<u64>,
    /// How often a call did not send a packet.
    idle_calls: u64,
}

impl World {
    fn new(overheads: &[Overhead]) -> World {
        World {
            shaper: Shaper::new(settings(), &[patient()], overheads),
            now: SECOND,
            greedy: Vec::new(),
            backlog: vec![0; 256],
            sent: Vec::new(),
            arrived: 0,
            dropped: 0,
            wakes: None,
            idle_calls: 0,
        }
    }

    fn apply(&mut self, operation: Operation) {
        let World { shaper, now, dropped, backlog, .. } = self;
        shaper
            .apply(&operation, *now, &mut |gone: Dropped| {
                *dropped += 1;
                backlog[gone.leaf.0 as usize] -= 1;
            })
            .unwrap();
        self.wakes = Some(self.now);
    }

    fn node(&mut self, node: u32, parent: Option<u32>, rates: Rates) {
        self.apply(Operation::Node { node: TreeNode(node), parent: parent.map(TreeNode), rates });
    }

    fn leaf(&mut self, leaf: u32, parent: u32, rates: Rates) {
        let (leaf, parent) = (Leaf(leaf), TreeNode(parent));
        self.apply(Operation::Leaf { leaf, parent, rates, discipline: 0, overhead: 0 });
    }

    fn put(&mut self, leaf: u32, length: u32) {
        self.arrived += 1;
        let arrival = Arrival {
            packet: self.arrived as u32,
            length,
            flow: leaf,
            source: 1,
            destination: 2,
            dscp: 0,
            ecn_capable: true,
        };
        let World { shaper, now, dropped, backlog, .. } = self;
        backlog[leaf as usize] += 1;
        shaper.enqueue(Leaf(leaf), &arrival, Lead::default(), *now, &mut |gone: Dropped| {
            *dropped += 1;
            backlog[gone.leaf.0 as usize] -= 1;
        });
        self.wakes = Some(self.wakes.unwrap_or(u64::MAX).min(self.now));
    }

    fn greedy(&mut self, leaf: u32, length: u32) {
        self.greedy.push((leaf, length));
    }

    fn feed(&mut self) {
        for at in 0..self.greedy.len() {
            let (leaf, length) = self.greedy[at];
            while self.backlog[leaf as usize] < 4 {
                self.put(leaf, length);
            }
        }
    }

    fn release(&mut self, budget: usize) {
        let World { shaper, now, sent, backlog, .. } = self;
        let (before, at) = (sent.len(), *now);
        let mut gone = Vec::new();
        self.wakes = shaper.release(
            at,
            budget,
            &mut |leaf, departure| {
                backlog[leaf.0 as usize] -= 1;
                sent.push(Sent { at, leaf: leaf.0, length: departure.length });
            },
            &mut |dropped: Dropped| gone.push(dropped.leaf.0),
        );
        self.dropped += gone.len() as u64;
        for leaf in gone {
            self.backlog[leaf as usize] -= 1;
        }
        self.idle_calls += u64::from(self.sent.len() == before);
    }

    /// Calls when the shaper wants to be called, and then `late(step)` later.
    fn run(&mut self, time: u64, mut late: impl FnMut(u64) -> u64) {
        let end = self.now + time;
        let mut step = 0;
        loop {
            self.feed();
            let wakes = self.wakes.unwrap_or(end).max(self.now);
            step += 1;
            let wakes = wakes + late(step);
            if wakes >= end {
                break;
            }
            let budget = if wakes > self.now.max(self.wakes.unwrap_or(0)) { 256 } else { 1 };
            self.now = wakes;
            // With few packets a call sources keep up; who comes late sends what has come due.
            self.release(budget);
        }
        self.now = end;
        let in_and_out = self.sent.len() as u64 + self.dropped + self.shaper.backlog() as u64;
        assert_eq!(self.arrived, in_and_out, "in = out + drops + backlog");
    }

    fn bytes(&self, leaf: u32, since: u64) -> u64 {
        self.sent
            .iter()
            .filter(|sent| sent.leaf == leaf && sent.at >= since)
            .map(|sent| u64::from(sent.length))
            .sum()
    }

    /// Bits a second of a leaf since a moment, without overhead.
    fn rate(&self, leaf: u32, since: u64) -> f64 {
        self.bytes(leaf, since) as f64 * 8.0 * SECOND as f64 / (self.now - since) as f64
    }

    /// Bits a second that leaves get in a second.
    fn shares(&mut self, leaves: &[u32], time: u64) -> Vec<f64> {
        self.run(time / 4, |_| 0);
        let since = self.now;
        self.run(time, |_| 0);
        leaves.iter().map(|&leaf| self.rate(leaf, since)).collect()
    }
}

#[track_caller]
fn near(value: f64, expected: f64, tolerance: f64) {
    assert!(
        (value / expected - 1.0).abs() <= tolerance,
        "{value:.0} is not {expected:.0} ± {} %",
        tolerance * 100.0
    );
}

/// From no packet until any later one is more sent than the rate allows, and `above` bytes: in one pass, as the largest rise of `sent − rate × time`.
#[track_caller]
fn never_above(packets: impl Iterator<Item = (u64, u32)>, rate: u64, above: u32, what: &str) {
    let mut least = i128::MAX;
    let mut before: i128 = 0;
    for (at, length) in packets {
        // In bits × ticks a second: exact.
        let sent = before - i128::from(at) * i128::from(rate);
        least = least.min(sent);
        // A tick at both ends is the clock's grain.
        let excess = sent - least - i128::from(rate) * 2 - i128::from(above) * 8 * i128::from(SECOND);
        assert!(excess <= 0, "{what}: {} bits above {rate} bit/s at {at}", excess / i128::from(SECOND));
        before += i128::from(length) * 8 * i128::from(SECOND);
    }
}

#[test]
fn a_lone_leaf_gets_its_rate_from_the_slowest_to_the_fastest() {
    for overhead in ["raw", "ethernet", "pppoe-ptm ether-vlan", "pppoe-llcsnap"] {
        let overhead = Overhead::from_keywords(overhead).unwrap();
        for rate in
            [64_000, 333_333, MBIT, 17 * MBIT + 123, 100 * MBIT, GBIT, 10 * GBIT, 40 * GBIT, 100 * GBIT]
        {
            for length in [64, 577, 1514] {
                let mut world = World::new(&[overhead]);
                world.node(0, None, rates(0, 200 * GBIT, 1));
                world.leaf(0, 0, rates(rate, rate, 1));
                world.greedy(0, length);
                let charged = overhead.of(length);
                world.run(u64::from(charged) * 8 * SECOND / rate * 3000 + 1000, |_| 0);
                let first = world.sent[0].at;
                let last = world.sent.last().unwrap().at;
                let packets = world.sent.len() as f64 - 1.0;
                near(packets * f64::from(charged) * 8.0 * 1e9 / (last - first) as f64, rate as f64, 0.001);
                never_above(world.sent.iter().map(|sent| (sent.at, charged)), rate, 0, "leaf");
                // Slow ones are looked at on the way: the wheel's levels.
                assert!(world.idle_calls <= 3 * world.sent.len() as u64);
            }
        }
    }
}

#[test]
fn children_share_their_parent_by_weight_and_fill_it() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, 100 * MBIT, 1));
    for (leaf, weight) in [(0, 1), (1, 2), (2, 5)] {
        world.leaf(leaf, 0, rates(0, GBIT, weight));
        world.greedy(leaf, 1000 + 200 * leaf);
    }
    let shares = world.shares(&[0, 1, 2], 4 * SECOND);
    near(shares.iter().sum(), 100e6, 0.005);
    near(shares[0], 12.5e6, 0.01);
    near(shares[1], 25e6, 0.01);
    near(shares[2], 62.5e6, 0.01);
    never_above(world.sent.iter().map(|sent| (sent.at, sent.length)), 100 * MBIT, 1514, "node");
    world.shaper.audit().unwrap();
}

#[test]
fn weights_a_thousand_apart_are_kept_among_leaves_and_nodes() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, 200 * MBIT, 1));
    for (node, weight) in [(1, 1), (2, 1000)] {
        world.node(node, Some(0), rates(0, GBIT, weight));
    }
    for (leaf, node, weight) in [(0, 1, 7), (1, 2, 1000), (2, 2, 1), (3, 2, 250)] {
        world.leaf(leaf, node, rates(0, GBIT, weight));
        world.greedy(leaf, 1000);
    }
    let shares = world.shares(&[0, 1, 2, 3], 60 * SECOND);
    near(shares[0], 200e6 / 1001.0, 0.01);
    let heavy = 200e6 * 1000.0 / 1001.0;
    near(shares[1], heavy * 1000.0 / 1251.0, 0.005);
    near(shares[2], heavy / 1251.0, 0.01);
    near(shares[3], heavy * 250.0 / 1251.0, 0.005);
}

#[test]
fn a_heavy_child_does_not_send_in_long_bursts() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, 100 * MBIT, 1));
    for (leaf, weight) in [(0, 10), (1, 10), (2, 1)] {
        world.leaf(leaf, 0, rates(0, GBIT, weight));
        world.greedy(leaf, 1500);
    }
    world.run(SECOND, |_| 0);
    let longest = world.sent.chunk_by(|a, b| a.leaf == b.leaf).map(<[Sent]>::len).max();
    assert!(longest.is_some_and(|longest| longest <= 2), "{longest:?} packets in a row");
}

#[test]
fn guarantees_are_kept_against_greedy_siblings_on_every_level() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, 100 * MBIT, 1));
    // A tower with a guarantee, another that is greedy and weighs a thousand times as much.
    world.node(1, Some(0), rates(40 * MBIT, 100 * MBIT, 1));
    world.node(2, Some(0), rates(0, 100 * MBIT, 1000));
    world.leaf(0, 1, rates(5 * MBIT, 100 * MBIT, 1));
    world.leaf(1, 1, rates(0, 100 * MBIT, 1000));
    // Guaranteed, though the node above has no guarantee.
    world.leaf(2, 2, rates(20 * MBIT, 100 * MBIT, 1));
    world.leaf(3, 2, rates(0, 100 * MBIT, 1000));
    for leaf in 0..4 {
        world.greedy(leaf, 1200);
    }
    let shares = world.shares(&[0, 1, 2, 3], 20 * SECOND);
    near(shares.iter().sum(), 100e6, 0.005);
    // Spare: 40 Mbit/s of the root's, nearly all for the second tower.
    near(shares[0] + shares[1], 40e6, 0.01);
    assert!(shares[0] >= 4.95e6, "{shares:?}");
    near(shares[2], 20e6, 0.01);
    near(shares[3], 40e6, 0.01);
}

#[test]
fn what_a_sibling_leaves_is_borrowed_from_the_nearest_who_has_it() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, 100 * MBIT, 1));
    for node in [1, 2] {
        world.node(node, Some(0), rates(50 * MBIT, 100 * MBIT, 1));
    }
    world.leaf(0, 1, rates(10 * MBIT, 100 * MBIT, 1));
    // Silent: its guarantee is its tower's to lend, not the other tower's.
    world.leaf(1, 1, rates(40 * MBIT, 100 * MBIT, 1));
    world.leaf(2, 2, rates(50 * MBIT, 100 * MBIT, 1));
    world.greedy(0, 1500);
    world.greedy(2, 1500);
    let shares = world.shares(&[0, 2], 4 * SECOND);
    near(shares[0], 50e6, 0.01);
    near(shares[1], 50e6, 0.01);
    // And what a tower leaves altogether is the other's.
    world.greedy.retain(|&(leaf, _)| leaf == 0);
    let shares = world.shares(&[0], 4 * SECOND);
    near(shares[0], 100e6, 0.005);
}

#[test]
fn ceilings_hold_against_guarantees_that_are_together_too_much() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, GBIT, 1));
    world.node(1, Some(0), rates(10 * MBIT, 10 * MBIT, 1));
    for leaf in 0..3 {
        world.leaf(leaf, 1, rates(10 * MBIT, 10 * MBIT, 1));
        world.greedy(leaf, 1500);
    }
    world.run(5 * SECOND, |_| 0);
    never_above(world.sent.iter().map(|sent| (sent.at, sent.length)), 10 * MBIT, 1514, "node");
    for leaf in 0..3 {
        near(world.rate(leaf, SECOND), 10e6 / 3.0, 0.01);
    }
}

#[test]
fn a_worker_that_comes_late_loses_no_rate() {
    for late in [20_000u64, 200_000] {
        let mut world = World::new(&[]);
        world.node(0, None, rates(0, 300 * MBIT, 1));
        world.node(1, Some(0), rates(0, 100 * MBIT, 1));
        for (leaf, node, max) in [(0, 1, 70), (1, 1, 70), (2, 0, 40), (3, 0, 500)] {
            world.leaf(leaf, node, rates(0, max * MBIT, 1));
        }
        let mut random = 1u64;
        // Deep queues: with few packets a late worker finds them empty.
        for leaf in 0..4 {
            for _ in 0..3000 {
                world.put(leaf, 1250);
            }
        }
        let begin = world.now;
        world.run(90 * MS, |_| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (random >> 33) % late
        });
        for (leaf, expected) in [(0, 50.0), (1, 50.0), (2, 40.0), (3, 160.0)] {
            near(world.rate(leaf, begin), expected * 1e6, 0.02);
        }
    }
}

#[test]
fn one_who_had_to_wait_does_not_send_faster_than_its_own_ceiling_afterwards() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, 100 * MBIT, 1));
    world.leaf(0, 0, rates(0, 20 * MBIT, 1));
    world.leaf(1, 0, rates(90 * MBIT, 100 * MBIT, 1));
    for _ in 0..500 {
        world.put(0, 1500);
        world.put(1, 1500);
    }
    world.run(SECOND, |_| 0);
    assert_eq!(world.sent.len(), 1000);
    let own =
        |leaf| world.sent.iter().filter(move |sent| sent.leaf == leaf).map(|sent| (sent.at, sent.length));
    never_above(own(0), 20 * MBIT, 1514, "the one who waited");
    near(world.bytes(1, 0) as f64, 750_000.0, 0.0);
}

#[test]
fn changes_keep_what_is_queued_and_count_at_once() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, GBIT, 1));
    world.node(1, Some(0), rates(0, 30 * MBIT, 1));
    world.node(2, Some(0), rates(0, 50 * MBIT, 1));
    for leaf in 0..3 {
        world.leaf(leaf, 1, rates(MBIT, 100 * MBIT, 1));
        world.greedy(leaf, 1500);
    }
    let shares = world.shares(&[0, 1, 2], SECOND);
    near(shares[0], 10e6, 0.02);
    // One moves with its backlog, one gets another plan, the node a higher ceiling.
    let before = world.shaper.leaf(Leaf(0));
    world.leaf(0, 2, rates(MBIT, 40 * MBIT, 1));
    assert_eq!(world.shaper.leaf(Leaf(0)), before);
    world.leaf(1, 1, rates(MBIT, 5 * MBIT, 3));
    world.node(1, Some(0), rates(0, 60 * MBIT, 1));
    world.shaper.audit().unwrap();
    let shares = world.shares(&[0, 1, 2], SECOND);
    near(shares[0], 40e6, 0.01);
    near(shares[1], 5e6, 0.01);
    near(shares[2], 55e6, 0.01);
    // A node moves below another, with all that is below it.
    world.node(1, Some(2), rates(0, 60 * MBIT, 1));
    world.shaper.audit().unwrap();
    let shares = world.shares(&[0, 1, 2], SECOND);
    near(shares.iter().sum(), 50e6, 0.005);
    near(shares[0], 25e6, 0.02);
    // A leaf goes, with its packets.
    world.greedy.retain(|&(leaf, _)| leaf != 0);
    world.apply(Operation::RemoveLeaf(Leaf(0)));
    assert!(!world.shaper.is_shaped(Leaf(0)));
    world.shaper.audit().unwrap();
    let shares = world.shares(&[1, 2], SECOND);
    near(shares.iter().sum(), 50e6, 0.005);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    use weir_graph::shaper::Misfit;
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, GBIT, 1));
    world.node(1, Some(0), rates(0, GBIT, 1));
    world.node(2, Some(1), rates(0, GBIT, 1));
    world.leaf(0, 2, rates(0, MBIT, 1));
    let good = rates(0, MBIT, 1);
    let node = |node, parent: u32, rates| Operation::Node {
        node: TreeNode(node),
        parent: Some(TreeNode(parent)),
        rates,
    };
    let leaf = |leaf, parent, rates, discipline, overhead| Operation::Leaf {
        leaf: Leaf(leaf),
        parent: TreeNode(parent),
        rates,
        discipline,
        overhead,
    };
    for (operation, misfit) in [
        (node(0, 2, good), Misfit::Cycle(0)),
        (node(1, 1, good), Misfit::Cycle(1)),
        (node(9, 9, good), Misfit::NoParent(9)),
        (node(3, 9, good), Misfit::NoParent(9)),
        (node(64, 0, good), Misfit::NodeNumber(64)),
        (node(3, 0, rates(0, 0, 1)), Misfit::Rates(rates(0, 0, 1))),
        (node(3, 0, rates(2, 1, 1)), Misfit::Rates(rates(2, 1, 1))),
        (leaf(1, 0, rates(0, 1, 0), 0, 0), Misfit::Rates(rates(0, 1, 0))),
        (leaf(1, 3, good, 0, 0), Misfit::NoParent(3)),
        (leaf(256, 0, good, 0, 0), Misfit::LeafNumber(256)),
        (leaf(1, 0, good, 1, 0), Misfit::Discipline(1)),
        (leaf(1, 0, good, 0, 1), Misfit::Overhead(1)),
        (Operation::RemoveNode(TreeNode(2)), Misfit::Children(2, 1)),
        (Operation::RemoveNode(TreeNode(3)), Misfit::NoNode(3)),
        (Operation::RemoveLeaf(Leaf(1)), Misfit::NoLeaf(1)),
        (Operation::RemoveLeaf(Leaf(9999)), Misfit::NoLeaf(9999)),
    ] {
        assert_eq!(world.shaper.apply(&operation, SECOND, &mut |_| ()), Err(misfit));
    }
    world.shaper.audit().unwrap();
    assert!(!world.shaper.is_shaped(Leaf(1)));
    assert_eq!(world.shaper.node(TreeNode(3)), None);
    // Who is not set up is refused, and counted.
    world.put(1, 100);
    assert_eq!((world.dropped, world.shaper.backlog()), (1, 0));
    world.apply(Operation::RemoveLeaf(Leaf(0)));
    world.apply(Operation::RemoveNode(TreeNode(2)));
}

#[test]
fn the_rate_that_a_leaf_gets_is_known_to_it_and_its_queue() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, 40 * MBIT, 1));
    for leaf in 0..4 {
        world.leaf(leaf, 0, rates(0, 100 * MBIT, 1));
    }
    world.greedy(0, 1500);
    world.run(SECOND, |_| 0);
    near(world.shaper.rate(Leaf(0)) as f64, 40e6, 0.05);
    for leaf in 1..4 {
        world.greedy(leaf, 1500);
    }
    world.run(SECOND, |_| 0);
    near(world.shaper.rate(Leaf(0)) as f64, 10e6, 0.13);
    let threshold = world.shaper.tin(Leaf(0), 0).unwrap().threshold;
    near(threshold as f64, world.shaper.rate(Leaf(0)) as f64, 0.001);
    near(world.shaper.node(TreeNode(0)).unwrap().rate as f64, 40e6, 0.01);
    // Alone, and slower than the node: its ceiling.
    world.greedy.clear();
    world.run(SECOND, |_| 0);
    world.leaf(0, 0, rates(0, 30 * MBIT, 1));
    world.greedy(0, 1500);
    world.run(SECOND, |_| 0);
    assert_eq!(world.shaper.rate(Leaf(0)), 30 * MBIT);
    assert_eq!(world.shaper.rate(Leaf(9)), 0);
}

#[test]
fn everybody_whom_something_has_happened_to_is_named_once() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, GBIT, 1));
    world.node(1, Some(0), rates(0, GBIT, 1));
    for leaf in 0..20 {
        world.leaf(leaf, 1, rates(0, MBIT, 1));
    }
    let sweep = |world: &mut World, most| {
        let mut named = Vec::new();
        world.shaper.swept(most, &mut |changed| named.push(changed));
        named
    };
    assert_eq!(sweep(&mut world, 1000).len(), 22);
    for _ in 0..3 {
        world.put(7, 100);
        world.put(3, 100);
    }
    assert_eq!(sweep(&mut world, 1), [Changed::Leaf(Leaf(7))]);
    let rest = [Changed::Node(TreeNode(1)), Changed::Node(TreeNode(0)), Changed::Leaf(Leaf(3))];
    assert_eq!(sweep(&mut world, 1000), rest);
    assert_eq!(sweep(&mut world, 1000), []);
    world.run(SECOND, |_| 0);
    assert_eq!(sweep(&mut world, 1000).len(), 4);
}

#[test]
fn a_budget_that_runs_out_says_so_and_loses_nothing() {
    let mut world = World::new(&[]);
    world.node(0, None, rates(0, GBIT, 1));
    for leaf in 0..50 {
        world.leaf(leaf, 0, rates(0, GBIT, 1));
        world.put(leaf, 1000);
    }
    world.now += 400_000;
    let mut calls = 0;
    while world.sent.len() < 50 {
        world.release(7);
        calls += 1;
        let more = world.sent.len() < 50;
        assert_eq!(world.wakes.is_some_and(|wakes| wakes <= world.now), more);
    }
    assert_eq!(calls, 8);
}

#[test]
fn a_sparse_flow_beside_many_greedy_ones_hardly_waits() {
    let discipline = Discipline {
        tins: Tins::BestEffort,
        isolation: Isolation::Both,
        target: 5 * MS,
        interval: 100 * MS,
        ack_filter: false,
    };
    let mut shaper = Shaper::new(settings(), &[discipline], &[]);
    let mut now = SECOND;
    let operations = [
        Operation::Node { node: TreeNode(0), parent: None, rates: rates(0, 100 * MBIT, 1) },
        Operation::Leaf {
            leaf: Leaf(0),
            parent: TreeNode(0),
            rates: rates(0, 20 * MBIT, 1),
            discipline: 0,
            overhead: 0,
        },
    ];
    for operation in operations {
        shaper.apply(&operation, now, &mut |_| ()).unwrap();
    }
    let arrival = |flow: u32, length| Arrival {
        packet: flow,
        length,
        flow: flow.wrapping_mul(0x9e37_79b1),
        source: flow,
        destination: 7,
        dscp: 0,
        ecn_capable: false,
    };
    let (mut queued, mut waits, mut pings) = ([0i32; 33], Vec::new(), 0u64);
    for step in 0..200_000u64 {
        // Each greedy flow keeps eight packets in the queue, whatever is dropped.
        for flow in 1..33 {
            while queued[flow] < 8 {
                queued[flow] += 1;
                let mut dropped = Vec::new();
                shaper.enqueue(
                    Leaf(0),
                    &arrival(flow as u32, 1514),
                    Lead::default(),
                    now,
                    &mut |gone: Dropped| {
                        dropped.push(gone.packet as usize);
                    },
                );
                for flow in dropped {
                    queued[flow] -= 1;
                }
            }
        }
        // A ping each 20 ms.
        if now >= SECOND + pings * 20 * MS {
            pings += 1;
            shaper.enqueue(Leaf(0), &arrival(0, 98), Lead::default(), now, &mut |_| panic!("dropped"));
        }
        let mut gone = Vec::new();
        let mut sent = None;
        shaper.release(now, 64, &mut |_, departure| sent = Some(departure), &mut |dropped: Dropped| {
            gone.push(dropped.packet as usize);
        });
        for flow in gone.into_iter().chain(sent.map(|departure| departure.packet as usize)) {
            queued[flow] -= 1;
        }
        if let Some(departure) = sent
            && departure.packet == 0
        {
            waits.push(departure.sojourn);
        }
        // A worker's turn.
        now += 20_000 + step % 7 * 5_000;
    }
    assert!(waits.len() > 300, "{} pings", waits.len());
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    assert!(p99 <= 5 * MS, "{p99} ns");
}

#[test]
fn who_need_not_wait_leaves_at_once_and_nobody_gets_more_for_it() {
    let mut world = World::new(&[Overhead::RAW]);
    world.node(0, None, rates(0, 100 * MBIT, 1));
    world.node(1, Some(0), rates(0, 60 * MBIT, 1));
    let plans = [5, 20, 50, 1000].map(|plan| plan * MBIT);
    for (leaf, plan) in (0..).zip(plans) {
        world.leaf(leaf, leaf % 2, rates(plan / 10, plan, 1));
    }
    // Each as busy as the link in the middle, some of the time; packets come in vectors, as from a port.
    let (mut random, mut passed, mut vectors) = (0x9e37_79b9_7f4a_7c15_u64, 0_u32, 0);
    let mut below = |limit: u64| {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (random >> 33) % limit
    };
    while vectors < 20_000 {
        vectors += 1;
        let next = world.now + below(if vectors / 100 % 4 == 0 { MS / 4 } else { 4 * MS });
        while let Some(wakes) = world.wakes.filter(|wakes| *wakes < next) {
            world.now = wakes.max(world.now);
            world.release(1);
        }
        world.now = next;
        for _ in 0..below(9) {
            let (leaf, length) = (below(4) as u32, 64 + below(1451) as u32);
            if world.shaper.let_through(Leaf(leaf), 0, length, world.now) {
                assert_eq!(world.backlog[leaf as usize], 0, "it overtook others of its leaf");
                world.arrived += 1;
                passed += 1;
                world.sent.push(Sent { at: world.now, leaf, length });
            } else {
                world.put(leaf, length);
            }
        }
        world.release(usize::MAX);
        world.shaper.audit().unwrap();
    }
    let queued = world.arrived - u64::from(passed);
    assert!(passed > 10_000 && queued > 10_000, "{passed} passed, {queued} queued");
    // A twenty-thousandth of a second early, and a packet.
    let above = |rate: u64| 1514 + (rate / 8 / 20_000) as u32 + 1;
    let sent = |of: fn(u32) -> bool| world.sent.iter().filter(move |sent| of(sent.leaf));
    let packets = |of: fn(u32) -> bool| sent(of).map(|sent| (sent.at, sent.length));
    never_above(packets(|_| true), 100 * MBIT, above(100 * MBIT), "the link");
    never_above(packets(|leaf| leaf % 2 == 1), 60 * MBIT, above(60 * MBIT), "the tower");
    never_above(packets(|leaf| leaf == 0), plans[0], above(plans[0]), "a customer");
    never_above(packets(|leaf| leaf == 1), plans[1], above(plans[1]), "a customer of the tower");
    let totals = world.shaper.totals();
    assert_eq!(totals.arrived, world.arrived);
    assert_eq!(totals.dequeued, world.sent.len() as u64);
    let node = world.shaper.node(TreeNode(0)).unwrap();
    assert_eq!((node.packets, node.backlog), (totals.dequeued, world.shaper.backlog() as u64));
}
