//! A shaper's tree: customers under towers under a link. For routers in memory, where nobody reaches their plan, and alone, where everybody does.

use std::error::Error;
use std::sync::Arc;

use weir_graph::{
    clock::Clock,
    counters::Counters,
    graph::Graph,
    nodes::shaper,
    shaped::{self, Capacity},
    shaper::{
        Arrival, Direction, Discipline, Leaf, Operation, Orders, Overhead, Rates, Settings, Shaper, TreeNode,
    },
};

/// Bits a second of everything that nobody reaches: more than any core forwards.
const PLAN: u64 = 100_000_000_000;
/// Bits a second of a customer's plan that is reached.
const REACHED: u64 = 10_000_000;
/// Towers between the customers and the link.
const TOWERS: u32 = 180;
/// Packets that may wait, over all customers.
const PACKETS: usize = 4096;
/// Nanoseconds between a worker's looks.
const LOOK: u64 = 20_000;

/// The tree, and what a worker's shaper needs for it.
pub struct Shaping {
    customers: u32,
    settings: Settings,
    orders: Arc<Orders>,
}

impl Shaping {
    /// For so many customers, whose plan nobody reaches.
    pub fn new(customers: u32, clock: Clock, counters: &mut Counters) -> Result<Shaping, Box<dyn Error>> {
        let nodes = TOWERS + 1;
        let _names = shaped::register(counters, nodes as usize, 1)?;
        shaped::grow(counters, customers as usize, nodes as usize)?;
        Shaping::of_plan(customers, PLAN, clock.hz())
    }

    /// Of so many customers with this plan, all of them towards the customers' side.
    fn of_plan(customers: u32, plan: u64, hz: u64) -> Result<Shaping, Box<dyn Error>> {
        let down = |column| TreeNode::of(column, Direction::Down);
        let rates = |max: u64| Rates { min: max / 1_000_000, max, weight: 1 };
        let node = |column, parent| Operation::Node { node: down(column), parent, rates: rates(PLAN) };
        let towers = (1..=TOWERS).map(|tower| node(tower, Some(down(0))));
        let leaves = (0..customers).map(|column| Operation::Leaf {
            leaf: Leaf::of(column, Direction::Down),
            parent: down(1 + column % TOWERS),
            rates: rates(plan),
            discipline: 0,
            overhead: 0,
        });
        let orders = Orders {
            disciplines: vec![Discipline::usual(hz)],
            overheads: vec![Overhead::from_keywords("ethernet")?],
            operations: std::iter::once(node(0, None)).chain(towers).chain(leaves).collect(),
        };
        let settings = Settings {
            hz,
            leaves: 2 * customers as usize,
            nodes: 2 * (TOWERS as usize + 1),
            tins: PACKETS,
            flows: PACKETS,
            packets: PACKETS,
            frame: 2048,
            mtu: 1514,
        };
        Ok(Shaping { customers, settings, orders: Arc::new(orders) })
    }

    /// What a worker's node is made of.
    pub fn setup(&self, frames: usize) -> shaper::Setup {
        let capacity = Capacity { customers: self.customers as usize, nodes: self.settings.nodes / 2 };
        shaper::Setup { settings: self.settings, capacity, frames, common: None }
    }

    /// Tells a worker the whole plan, and lets it carry it out.
    pub fn carry_out(&self, graph: &mut Graph) {
        graph.plan(&self.orders);
        while graph.release(0).is_some_and(|deadline| deadline == 0) {}
    }
}

/// Customers who always have two packets waiting, without the graph around them and on a clock of their own: the same each time.
pub struct Saturated {
    shaper: Shaper,
    now: u64,
    /// Packets that come next: one for each that has left.
    arrivals: Vec<(Leaf, Arrival)>,
    packet: u32,
}

impl Saturated {
    /// So many customers.
    pub fn new(customers: u32) -> Result<Saturated, Box<dyn Error>> {
        let Shaping { settings, orders, .. } = Shaping::of_plan(customers, REACHED, 1_000_000_000)?;
        let mut shaper = Shaper::new(settings, &orders.disciplines, &orders.overheads);
        for operation in &orders.operations {
            shaper.apply(operation, 0, &mut |_| ())?;
        }
        let mut saturated = Saturated { shaper, now: 0, arrivals: Vec::new(), packet: 0 };
        for leaf in (0..2 * customers).map(|at| Leaf::of(at / 2, Direction::Down)) {
            saturated.arrive(leaf);
        }
        Ok(saturated)
    }

    /// The next packet of a leaf, one of eight flows.
    fn arrive(&mut self, leaf: Leaf) {
        self.packet = self.packet.wrapping_add(1);
        let flow = (leaf.0 << 3 | self.packet & 7).wrapping_mul(0x9e37_79b9);
        let (packet, length) = (self.packet, 64 + flow % 1451);
        let arrival =
            Arrival { packet, length, flow, source: 1, destination: leaf.0, dscp: 0, ecn_capable: false };
        self.arrivals.push((leaf, arrival));
    }

    /// A worker looks so often. Says how many packets have left.
    #[inline(never)]
    pub fn looks(&mut self, looks: usize) -> u64 {
        let mut left = 0;
        for _ in 0..looks {
            for (leaf, arrival) in std::mem::take(&mut self.arrivals) {
                self.shaper.prefetch(leaf, &arrival);
                let lead = self.shaper.prefetch_queue(leaf, &arrival);
                self.shaper.enqueue(leaf, &arrival, lead, self.now, &mut |_| ());
            }
            let mut sent = Vec::new();
            self.shaper.release(self.now, usize::MAX, &mut |leaf, _| sent.push(leaf), &mut |_| ());
            left += sent.len() as u64;
            sent.into_iter().for_each(|leaf| self.arrive(leaf));
            self.now += LOOK;
        }
        left
    }
}
