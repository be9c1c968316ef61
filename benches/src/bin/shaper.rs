//! What the customers' queues cost, in memory: clocks of the time-stamp counter to queue a packet and to take one out, bytes a customer, allocations.
//!
//! Packets arrive in vectors of 256, each for a leaf (a customer in one direction) chosen at random, and leave in the order in which a pacer would
//! ask for them: each leaf is asked when one of its packets has waited for a while. Lines are asked for ahead as the graph does it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use clap::Parser;
use weir_graph::{
    clock::{Clock, now},
    node::VECTOR,
    shaper::{
        Arrival, Common, Departure, Discipline, Dropped, Isolation, Lead, Leaf, Operation, Overhead, Queues,
        Rates, Settings, Shaper, Tins, TreeNode,
    },
};

/// What the customers' queues cost, in memory
#[derive(Parser)]
struct Arguments {
    /// Rounds of each case; the least and the median are shown
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Vectors in a round
    #[arg(long, default_value_t = 400)]
    vectors: usize,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// The core to run on; default: the last one
    #[arg(long)]
    core: Option<usize>,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
}

/// Counts allocations of the whole process, which has one thread.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system allocator's; counting needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: as above. Pages that nobody touches stay the kernel's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One case: how many leaves there are, have packets, and how many packets each.
struct Case {
    name: &'static str,
    configured: usize,
    active: usize,
    /// Packets that wait at each active leaf, on average.
    backlog: usize,
    /// Flows at each.
    flows: u32,
}

const CASES: [Case; 5] = [
    Case { name: "hot", configured: 16, active: 16, backlog: 32, flows: 4 },
    Case { name: "10,000 active", configured: 10_000, active: 10_000, backlog: 2, flows: 4 },
    Case { name: "10,000 active, 32 each", configured: 10_000, active: 10_000, backlog: 32, flows: 8 },
    Case { name: "100,000 of 1,000,000", configured: 1_000_000, active: 100_000, backlog: 2, flows: 4 },
    Case {
        name: "100,000 of 1,000,000, unsaturated",
        configured: 1_000_000,
        active: 100_000,
        backlog: 0,
        flows: 4,
    },
];

/// Traffic of a case.
struct Traffic {
    leaves: Vec<Leaf>,
    flows: u32,
    random: u64,
    next: u32,
}

impl Traffic {
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// A packet for this leaf, of its one flow.
    fn arrival(&mut self, leaf: Leaf) -> Arrival {
        let random = self.random();
        self.next = self.next.wrapping_add(1);
        Arrival {
            packet: self.next,
            length: if random & 1 << 31 == 0 { 1500 } else { 300 },
            flow: leaf.0.wrapping_mul(0x9e37_79b1),
            source: 1,
            destination: leaf.0.wrapping_mul(0xc2b2_ae35),
            dscp: 0,
            ecn_capable: true,
        }
    }

    fn packet(&mut self) -> (Leaf, Arrival) {
        let random = self.random();
        let leaf = self.leaves[((random >> 32) as usize * self.leaves.len()) >> 32];
        let flow = (random as u32) % self.flows;
        self.next = self.next.wrapping_add(1);
        let arrival = Arrival {
            packet: self.next,
            length: if random & 1 << 31 == 0 { 1500 } else { 300 },
            flow: (leaf.0 ^ flow << 24).wrapping_mul(0x9e37_79b1),
            source: flow.wrapping_mul(0x85eb_ca6b),
            destination: leaf.0.wrapping_mul(0xc2b2_ae35) ^ flow & 1,
            dscp: 0,
            ecn_capable: true,
        };
        (leaf, arrival)
    }
}

/// A vector's worth of both directions.
struct Run {
    queues: Queues,
    traffic: Traffic,
    waiting: VecDeque<Leaf>,
    arrivals: Vec<(Leaf, Arrival)>,
    leaves: Vec<Leaf>,
    dropped: u64,
    dequeued: u64,
}

/// Packets ahead of which each step asks for its lines.
const AHEAD: usize = 8;

impl Run {
    #[inline(never)]
    fn enqueue(&mut self, time: u64) -> u64 {
        let begin = now();
        let Run { queues, arrivals, dropped, .. } = self;
        let mut leads = [Lead::default(); VECTOR];
        for step in 0..arrivals.len() + 3 * AHEAD {
            if let Some((leaf, arrival)) = arrivals.get(step) {
                queues.prefetch(*leaf, arrival);
            }
            if let Some(at) = step.checked_sub(AHEAD)
                && let Some((leaf, arrival)) = arrivals.get(at)
            {
                leads[at] = queues.prefetch_queue(*leaf, arrival);
            }
            if let Some(&lead) = step.checked_sub(2 * AHEAD).and_then(|at| leads.get(at)) {
                queues.prefetch_tail(lead);
            }
            let Some(at) = step.checked_sub(3 * AHEAD) else { continue };
            let (leaf, arrival) = &arrivals[at];
            queues.enqueue(*leaf, arrival, leads[at], time, &mut |_: Dropped| *dropped += 1);
        }
        now() - begin
    }

    #[inline(never)]
    fn dequeue(&mut self, time: u64) -> u64 {
        let begin = now();
        let Run { queues, leaves, dropped, dequeued, .. } = self;
        let mut tins = [Lead::default(); VECTOR + 4 * AHEAD];
        let mut flows = [Lead::default(); VECTOR + 4 * AHEAD];
        for step in 0..leaves.len() + 4 * AHEAD {
            if let Some(&leaf) = leaves.get(step) {
                queues.prefetch_leaf(leaf);
            }
            if let Some(&leaf) = step.checked_sub(AHEAD).and_then(|at| leaves.get(at)) {
                tins[step] = queues.prefetch_tin(leaf);
            }
            if step >= 2 * AHEAD {
                flows[step] = queues.prefetch_flow(tins[step - AHEAD]);
            }
            if step >= 3 * AHEAD {
                queues.prefetch_packet(flows[step - AHEAD]);
            }
            let Some(&leaf) = step.checked_sub(4 * AHEAD).and_then(|at| leaves.get(at)) else { continue };
            let departure: Option<Departure> = queues.dequeue(leaf, time, &mut |_: Dropped| *dropped += 1);
            *dequeued += u64::from(departure.is_some());
        }
        now() - begin
    }

    /// Fills the vectors: what arrives, and whose turn it is.
    fn prepare(&mut self, depth: usize) {
        self.arrivals.clear();
        for _ in 0..VECTOR {
            let (leaf, arrival) = self.traffic.packet();
            self.arrivals.push((leaf, arrival));
            self.waiting.push_back(leaf);
        }
        self.leaves.clear();
        while self.waiting.len() > depth && self.leaves.len() < VECTOR {
            self.leaves.extend(self.waiting.pop_front());
        }
    }
}

/// One case of the whole shaper: leaves under three levels of nodes.
struct TreeCase {
    name: &'static str,
    configured: usize,
    active: usize,
    /// The plan of each leaf, bits a second.
    plan: u64,
    /// What the towers can carry of the plans below them, in percent.
    tower: u64,
    /// Packets that each active leaf is held at.
    backlog: usize,
    /// The nodes are shared with another worker, which has nothing to send: what sharing costs while nobody else writes the lines.
    shared: bool,
}

const TREES: [TreeCase; 9] = [
    // Fast enough for whole vectors each 20 µs, as of a worker that has all that it can do.
    TreeCase {
        name: "full vectors: 400 active, everything in the cache",
        configured: 400,
        active: 400,
        plan: 250_000_000,
        tower: 200,
        backlog: 2,
        shared: false,
    },
    TreeCase {
        name: "full vectors: 10,000 active, held by their plans",
        configured: 10_000,
        active: 10_000,
        plan: 10_000_000,
        tower: 200,
        backlog: 2,
        shared: false,
    },
    TreeCase {
        name: "full vectors: 100,000 of 1,000,000, held by their plans",
        configured: 1_000_000,
        active: 100_000,
        plan: 1_000_000,
        tower: 200,
        backlog: 2,
        shared: false,
    },
    TreeCase {
        name: "tree: 10,000 active, held by their plans",
        configured: 10_000,
        active: 10_000,
        plan: 1_000_000,
        tower: 200,
        backlog: 2,
        shared: false,
    },
    TreeCase {
        name: "tree: 10,000 active, held by towers",
        configured: 10_000,
        active: 10_000,
        plan: 1_000_000,
        tower: 70,
        backlog: 2,
        shared: false,
    },
    TreeCase {
        name: "tree: 100,000 of 1,000,000, held by their plans",
        configured: 1_000_000,
        active: 100_000,
        plan: 100_000,
        tower: 200,
        backlog: 2,
        shared: false,
    },
    TreeCase {
        name: "tree: 100,000 of 1,000,000, held by towers",
        configured: 1_000_000,
        active: 100_000,
        plan: 100_000,
        tower: 7,
        backlog: 2,
        shared: false,
    },
    TreeCase {
        name: "shared: 10,000 active, held by their plans",
        configured: 10_000,
        active: 10_000,
        plan: 1_000_000,
        tower: 200,
        backlog: 2,
        shared: true,
    },
    TreeCase {
        name: "shared: 10,000 active, held by towers",
        configured: 10_000,
        active: 10_000,
        plan: 1_000_000,
        tower: 70,
        backlog: 2,
        shared: true,
    },
];

/// Nodes on the lowest level, on the one above, and the root.
const TOWERS: u32 = 180;
const SITES: u32 = 19;

/// Bytes of memory that the process really has.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default();
    pages * rustix::param::page_size() as u64
}

/// The whole shaper on a virtual clock: leaves always have packets, a worker comes each 20 µs of it.
fn tree(
    case: &TreeCase,
    arguments: &Arguments,
    hz: u64,
) -> Result<serde_json::Value, Box<dyn std::error::Error>> {
    let settings = Settings {
        hz: 1_000_000_000,
        nodes: 256,
        leaves: case.configured,
        tins: case.active * 5 / 4,
        flows: case.active * 2,
        packets: case.active * (case.backlog + 2) * 2,
        frame: 2048,
        mtu: 1514,
    };
    let discipline = Discipline {
        tins: Tins::Diffserv4,
        isolation: Isolation::Both,
        target: 1 << 50,
        interval: 1 << 52,
        ack_filter: false,
    };
    let mut shaper = Shaper::new(settings, &[discipline], &[Overhead::from_keywords("ethernet")?]);
    if case.shared {
        shaper.share(Arc::new(Common::new(settings.nodes, 2, u64::MAX)), 0);
    }
    let begin = resident();
    let apply = |shaper: &mut Shaper, operation| shaper.apply(&operation, 1, &mut |_| ());
    let per_tower = case.configured as u64 / u64::from(TOWERS) + 1;
    let tower = case.plan * per_tower * case.tower / 100;
    let rates = |max: u64| Rates { min: max / 100, max, weight: 1 };
    apply(&mut shaper, Operation::Node { node: TreeNode(0), parent: None, rates: rates(tower * 200) })?;
    for site in 0..SITES {
        let operation =
            Operation::Node { node: TreeNode(1 + site), parent: Some(TreeNode(0)), rates: rates(tower * 12) };
        apply(&mut shaper, operation)?;
    }
    for node in 0..TOWERS {
        let (node, parent) = (TreeNode(1 + SITES + node), Some(TreeNode(1 + node % SITES)));
        apply(&mut shaper, Operation::Node { node, parent, rates: rates(tower) })?;
    }
    for leaf in 0..case.configured as u32 {
        let parent = TreeNode(1 + SITES + leaf % TOWERS);
        apply(
            &mut shaper,
            Operation::Leaf { leaf: Leaf(leaf), parent, rates: rates(case.plan), discipline: 0, overhead: 0 },
        )?;
    }
    let idle = (resident() - begin) as f64 / case.configured as f64;
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut leaves: Vec<Leaf> = (0..case.configured as u32).map(Leaf).collect();
    for at in 0..case.active {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        leaves.swap(at, at + (random >> 33) as usize % (case.configured - at));
    }
    leaves.truncate(case.active);
    let mut traffic = Traffic { leaves, flows: 1, random, next: 0 };
    let mut now = 1_000_000u64;
    // Each leaf gets its packets at a time of its own.
    let mut arrivals: Vec<(Leaf, Arrival)> = Vec::with_capacity(2 * VECTOR);
    let (mut sent, mut dropped) = (Vec::with_capacity(2 * VECTOR), 0u64);
    let order: Vec<Leaf> = traffic.leaves.clone();
    // Leaves begin all through the time of a packet, as customers do, and go on as they began.
    let packet = 1538 * 8 * 1_000_000_000 / case.plan;
    let (begin, active) = (now, case.active as u64);
    for (at, &leaf) in order.iter().enumerate() {
        now = now.max(begin + at as u64 * packet / active);
        for _ in 0..case.backlog {
            let arrival = traffic.arrival(leaf);
            shaper.enqueue(leaf, &arrival, Lead::default(), now, &mut |_| dropped += 1);
        }
        sent.clear();
        shaper.release(now, VECTOR, &mut |leaf, _| sent.push(leaf), &mut |_| dropped += 1);
        for &leaf in &sent {
            let arrival = traffic.arrival(leaf);
            shaper.enqueue(leaf, &arrival, Lead::default(), now, &mut |_| dropped += 1);
        }
    }
    let mut ticks = [0u64; 2];
    let mut packets = 0u64;
    let mut rounds = Vec::with_capacity(arguments.rounds.max(1));
    let warm = case.active as u64 * 4;
    let mut allocations = 0;
    let round = (arguments.vectors * VECTOR) as u64;
    let mut total = 0u64;
    while rounds.len() < arguments.rounds.max(1) {
        // Whoever has sent gets another packet.
        let begin = weir_graph::clock::now();
        let mut leads = [Lead::default(); 2 * VECTOR];
        for step in 0..arrivals.len() + 3 * AHEAD {
            if let Some((leaf, arrival)) = arrivals.get(step) {
                shaper.prefetch(*leaf, arrival);
            }
            if let Some(at) = step.checked_sub(AHEAD)
                && let Some((leaf, arrival)) = arrivals.get(at)
            {
                leads[at] = shaper.prefetch_queue(*leaf, arrival);
            }
            if let Some(&lead) = step.checked_sub(2 * AHEAD).and_then(|at| leads.get(at)) {
                shaper.prefetch_tail(lead);
            }
            let Some(at) = step.checked_sub(3 * AHEAD) else { continue };
            let (leaf, arrival) = &arrivals[at];
            shaper.enqueue(*leaf, arrival, leads[at], now, &mut |_| dropped += 1);
        }
        let middle = weir_graph::clock::now();
        sent.clear();
        let wakes = shaper.release(now, VECTOR, &mut |leaf, _| sent.push(leaf), &mut |_| dropped += 1);
        let end = weir_graph::clock::now();
        // A worker that has as much to do as it can.
        now = if wakes.is_some_and(|wakes| wakes <= now) {
            now + 1000
        } else {
            wakes.unwrap_or(now).max(now + 20_000)
        };
        arrivals.clear();
        for &leaf in &sent {
            arrivals.push((leaf, traffic.arrival(leaf)));
        }
        total += sent.len() as u64;
        if total < warm {
            allocations = ALLOCATIONS.load(Relaxed);
            continue;
        }
        ticks[0] += middle - begin;
        ticks[1] += end - middle;
        packets += sent.len() as u64;
        if packets >= round {
            rounds.push(ticks.map(|ticks| ticks as f64 / packets as f64));
            (ticks, packets) = ([0; 2], 0);
        }
        if rounds.len() == 1 {
            allocations = ALLOCATIONS.load(Relaxed);
        }
    }
    let allocations = ALLOCATIONS.load(Relaxed) - allocations;
    rounds.sort_by(|a, b| f64::total_cmp(&(a[0] + a[1]), &(b[0] + b[1])));
    let (least, median) = (rounds[0], rounds[rounds.len() / 2]);
    shaper.audit()?;
    if !arguments.json {
        println!(
            "{}: {:.1} clocks a packet (least {:.1}): enqueue {:.1}, release {:.1}; {:.1} Mpps",
            case.name,
            median[0] + median[1],
            least[0] + least[1],
            median[0],
            median[1],
            hz as f64 / (median[0] + median[1]) / 1e6
        );
        println!("    {idle:.0} bytes an idle leaf, resident; {dropped} dropped; {allocations} allocations");
    }
    Ok(serde_json::json!({
        "case": case.name, "configured": case.configured, "active": case.active, "backlog": case.backlog,
        "clocks_least": least[0] + least[1], "clocks_median": median[0] + median[1],
        "enqueue_median": median[0], "release_median": median[1], "dropped": dropped,
        "bytes_idle_leaf": idle, "allocations": allocations, "hz": hz,
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = arguments.core.map(|id| core_affinity::CoreId { id }).or(cores.last().copied());
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        eprintln!("not pinned: core {} can't be used", core.id);
    }
    let hz = Clock::calibrate().hz();
    let mut documents = Vec::new();
    for case in CASES.into_iter().filter(|case| case.name.contains(&arguments.only)) {
        eprintln!("{} …", case.name);
        let settings = Settings {
            hz: 1_000_000_000,
            nodes: 0,
            leaves: case.configured,
            tins: case.active * 5 / 4,
            flows: case.active * case.flows as usize * 5 / 4,
            packets: case.active * (case.backlog + 2) * 2,
            frame: 2048,
            mtu: 1514,
        };
        let discipline = Discipline {
            tins: Tins::Diffserv4,
            isolation: Isolation::Both,
            target: 5_000_000,
            interval: 100_000_000,
            ack_filter: false,
        };
        let bytes = BYTES.load(Relaxed);
        let mut queues = Queues::new(settings, &[discipline]);
        for leaf in 0..case.configured as u32 {
            queues.set_up(Leaf(leaf), 0, 1_000_000_000);
        }
        let bytes = BYTES.load(Relaxed) - bytes;
        // Which of the configured leaves are active: spread at random.
        let mut random = 0x2545_f491_4f6c_dd1du64;
        let mut leaves: Vec<Leaf> = (0..case.configured as u32).map(Leaf).collect();
        for at in 0..case.active {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            leaves.swap(at, at + (random >> 33) as usize % (case.configured - at));
        }
        leaves.truncate(case.active);
        let depth = case.active * case.backlog;
        let mut run = Run {
            queues,
            traffic: Traffic { leaves, flows: case.flows, random, next: 0 },
            waiting: VecDeque::with_capacity(depth + 2 * VECTOR),
            arrivals: Vec::with_capacity(VECTOR),
            leaves: Vec::with_capacity(VECTOR),
            dropped: 0,
            dequeued: 0,
        };
        // So slowly that CoDel has nothing to do: 1 µs for all that waits.
        let mut vectors = 0u64;
        let time = |vectors: u64| 1 + vectors * 1000 / (depth / VECTOR + 1) as u64;
        for _ in 0..(depth / VECTOR + 1) * 2 + case.active * 16 / VECTOR {
            vectors += 1;
            run.prepare(depth);
            run.enqueue(time(vectors));
            run.dequeue(time(vectors));
        }
        let mut rounds: Vec<[f64; 2]> = vec![[0.0; 2]; arguments.rounds.max(1)];
        let allocations = ALLOCATIONS.load(Relaxed);
        let dequeued = run.dequeued;
        for round in &mut rounds {
            let mut ticks = [0u64; 2];
            for _ in 0..arguments.vectors {
                vectors += 1;
                run.prepare(depth);
                ticks[0] += run.enqueue(time(vectors));
                ticks[1] += run.dequeue(time(vectors));
            }
            *round = ticks.map(|ticks| ticks as f64 / (arguments.vectors * VECTOR).max(1) as f64);
        }
        let allocations = ALLOCATIONS.load(Relaxed) - allocations;
        rounds.sort_by(|a, b| f64::total_cmp(&(a[0] + a[1]), &(b[0] + b[1])));
        let (least, median) = (rounds[0], rounds[rounds.len() / 2]);
        let dequeued = run.dequeued - dequeued;
        if arguments.json {
            documents.push(serde_json::json!({
                "case": case.name, "configured": case.configured, "active": case.active, "backlog": case.backlog,
                "clocks_least": least[0] + least[1], "clocks_median": median[0] + median[1],
                "enqueue_median": median[0], "dequeue_median": median[1], "dequeued": dequeued,
                "dropped": run.dropped, "bytes": bytes, "allocations": allocations, "hz": hz,
            }));
        } else {
            println!(
                "{}: {:.1} clocks a packet (least {:.1}): enqueue {:.1}, dequeue {:.1}; {:.1} Mpps",
                case.name,
                median[0] + median[1],
                least[0] + least[1],
                median[0],
                median[1],
                hz as f64 / (median[0] + median[1]) / 1e6
            );
            println!(
                "    {} leaves, {} packets queued; {dequeued} left, {} dropped; {:.0} MB in all; {allocations} allocations",
                case.configured,
                run.queues.backlog(),
                run.dropped,
                bytes as f64 / 1e6,
            );
        }
        run.queues.audit()?;
    }
    for case in TREES.iter().filter(|case| case.name.contains(&arguments.only)) {
        eprintln!("{} …", case.name);
        documents.push(tree(case, &arguments, hz)?);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&documents)?);
    }
    Ok(())
}
