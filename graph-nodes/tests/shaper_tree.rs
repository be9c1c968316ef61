//! The tree of rates on a virtual clock: what leaves and nodes get, to the packet; and that nobody ever gets more.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use weir_graph::shaper::{
    Arrival, Discipline, Dropped, Isolation, Lead, Leaf, Operation, Overhead, Rates, Settings, Shaper, Tins,
    TreeNode,
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
            self.now = wakes;
            // A call sends many packets if it is late: sources keep up.
            self.release(2);
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

/// No interval between two packets carries more than the rate and one packet: checked in one pass, as the largest drawdown of `sent − rate × time`.
#[track_caller]
fn never_above(packets: impl Iterator<Item = (u64, u32)>, rate: u64, what: &str) {
    let mut least: Option<i128> = None;
    let mut before: i128 = 0;
    for (at, length) in packets {
        // In bits × ticks a second: exact. An interval that begins with this packet and one that ends with it.
        let allowed = i128::from(at) * i128::from(rate);
        let begins = before - allowed;
        let least_now = least.map_or(begins, |least| least.min(begins));
        // The last packet of an interval is the one that may be above; half a tick a packet is the clock's grain.
        let excess = begins - least_now - i128::from(rate) * 2;
        assert!(excess <= 0, "{what}: {} bits above {rate} bit/s at {at}", excess / i128::from(SECOND));
        least = Some(least_now);
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
                never_above(world.sent.iter().map(|sent| (sent.at, charged)), rate, "leaf");
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
    never_above(world.sent.iter().map(|sent| (sent.at, sent.length)), 100 * MBIT, "node");
    world.shaper.audit().unwrap();
}
