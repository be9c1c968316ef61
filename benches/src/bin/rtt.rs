//! What measuring round-trip times costs, in memory: clocks of the time-stamp counter a packet, from the IP header's first byte to both the match and
//! the stamp, in vectors as the graph makes them; bytes of table a flow; allocations.
//!
//! Half of the packets carry data, the other half acknowledge it, each of a flow chosen at random; TSvals tick once a millisecond. The packets' headers
//! have just been written, so they are in the cache, as they are behind `ip4-rewrite`; the flows are wherever their number lets them be.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use clap::Parser;
use weir_benches::tcp::{HEADERS, TcpFlows};
use weir_graph::{
    clock::{Clock, now},
    node::VECTOR,
    rtt::{FLOW_BYTES, Observed, Sample, Settings, Sink, TableHash, Ticket, Tracker},
};

/// What measuring round-trip times costs, in memory
#[derive(Parser)]
struct Arguments {
    /// Rounds of each case; the least and the median are shown
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Vectors in a round
    #[arg(long, default_value_t = 400)]
    vectors: usize,
    /// Milliseconds from a sample's stamp to the flow's next; 0: every edge
    #[arg(long, default_value_t = 100)]
    interval: u64,
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

// SAFETY: everything is the system allocator's; counting needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Packets from asking for a flow's memory to using it, as in `tcp-rtt-match`.
const AHEAD: usize = 16;
/// Bytes between packets, as frames lie apart.
const STRIDE: usize = 2048;
/// Bytes of data of a packet that has any.
const PAYLOAD: u16 = 1400;

/// A vector of packets of some flows.
struct Traffic {
    flows: TcpFlows,
    frames: Vec<u8>,
}

impl Traffic {
    fn new(flows: usize, clock: Clock) -> Traffic {
        Traffic { flows: TcpFlows::new(flows, 0, clock), frames: vec![0; VECTOR * STRIDE] }
    }

    /// Writes the packet of a flow into frame `at`.
    fn write(&mut self, at: usize, flow: usize, now: u64) {
        if let Some(frame) = self.frames.get_mut(at * STRIDE..)
            && let Some(headers) = frame.first_chunk_mut::<HEADERS>()
        {
            self.flows.write(flow, PAYLOAD, now, headers);
        }
    }

    /// Writes a vector of packets of random flows.
    fn vector(&mut self, now: u64) {
        for at in 0..VECTOR {
            let flow = self.flows.any();
            self.write(at, flow, now);
        }
    }

    fn datagram(&self, at: usize) -> &[u8] {
        self.frames.get(at * STRIDE..(at + 1) * STRIDE).unwrap_or_default()
    }
}

/// Keeps the samples' number and sum.
#[derive(Default)]
struct Sum {
    samples: u64,
    ticks: u64,
    losses: u64,
}

impl Sink for Sum {
    fn sample(&mut self, sample: Sample) {
        self.samples += 1;
        self.ticks = self.ticks.wrapping_add(sample.rtt);
    }

    fn retransmission(&mut self) {
        self.losses += 1;
    }

    fn reordered(&mut self) {
        self.losses += 1;
    }
}

/// The two nodes' work without their graph: what is known of each packet of a vector.
struct Nodes {
    facts: Vec<Option<Observed>>,
    hashes: Vec<u64>,
    tickets: Vec<Ticket>,
}

impl Nodes {
    fn new() -> Nodes {
        Nodes { facts: vec![None; VECTOR], hashes: vec![0; VECTOR], tickets: vec![Ticket::NONE; VECTOR] }
    }

    /// Ticks for matching and for stamping the vector in `traffic`.
    #[inline(never)]
    fn run(&mut self, tracker: &mut Tracker, traffic: &Traffic, sum: &mut Sum) -> [u64; 2] {
        let begin = now();
        for ((at, facts), hash) in self.facts.iter_mut().enumerate().zip(&mut self.hashes) {
            *facts = Observed::ip4(traffic.datagram(at));
            if let Some(observed) = facts {
                *hash = tracker.hash(observed);
                tracker.prefetch(*hash);
            }
        }
        for hash in self.hashes.iter_mut().take(AHEAD) {
            *hash = tracker.prefetch_flow(*hash);
        }
        for (index, (facts, ticket)) in self.facts.iter().zip(&mut self.tickets).enumerate() {
            if let Some(ahead) = self.hashes.get_mut(index + AHEAD) {
                *ahead = tracker.prefetch_flow(*ahead);
            }
            *ticket = match facts {
                Some(observed) => tracker.arrive(observed, self.hashes[index], begin, sum),
                None => Ticket::NONE,
            };
        }
        tracker.age(begin);
        let middle = now();
        let (mut stamped, mut count) = ([0u8; VECTOR], 0);
        for (at, ticket) in self.tickets.iter().enumerate() {
            stamped[count % VECTOR] = at as u8;
            count += usize::from(ticket.wants_stamp());
        }
        for at in stamped.iter().take(count).map(|&at| usize::from(at)) {
            if let Some(observed) = Observed::ip4(traffic.datagram(at)) {
                tracker.depart(self.tickets[at], &observed, middle);
            }
        }
        let end = now();
        [middle - begin, end - middle]
    }
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
    let clock = Clock::calibrate();
    let hz = clock.hz();
    let mut documents = Vec::new();
    for flows in [1_000usize, 10_000, 100_000, 1_000_000] {
        eprintln!("{flows} flows …");
        let mut settings = Settings::new(clock, flows * 4 / 3);
        settings.interval = hz / 1000 * arguments.interval;
        let mut tracker = Tracker::new(settings, TableHash::random());
        let mut traffic = Traffic::new(flows, clock);
        let mut nodes = Nodes::new();
        let mut sum = Sum::default();
        // Every flow once in each direction, in order, so that all are there.
        for turn in 0..2 * flows.div_ceil(VECTOR) {
            let first = turn % flows.div_ceil(VECTOR) * VECTOR;
            for at in 0..VECTOR {
                traffic.write(at, (first + at) % flows, now());
            }
            nodes.run(&mut tracker, &traffic, &mut sum);
        }
        let allocations = ALLOCATIONS.load(Relaxed);
        let before = sum.samples;
        let mut rounds: Vec<[f64; 2]> = vec![[0.0; 2]; arguments.rounds.max(1)];
        let allocated_here = ALLOCATIONS.load(Relaxed) - allocations;
        for round in &mut rounds {
            let mut ticks = [0u64; 2];
            for _ in 0..arguments.vectors {
                traffic.vector(now());
                let [matching, stamping] = nodes.run(&mut tracker, &traffic, &mut sum);
                ticks = [ticks[0] + matching, ticks[1] + stamping];
            }
            *round = ticks.map(|ticks| ticks as f64 / (arguments.vectors * VECTOR).max(1) as f64);
        }
        let allocations = ALLOCATIONS.load(Relaxed) - allocations - allocated_here;
        rounds.sort_by(|a, b| f64::total_cmp(&(a[0] + a[1]), &(b[0] + b[1])));
        let (least, median) = (rounds[0], rounds[rounds.len() / 2]);
        let counters = tracker.counters();
        let packets = (rounds.len() * arguments.vectors * VECTOR) as u64;
        let samples = (sum.samples - before) as f64 / packets.max(1) as f64;
        if arguments.json {
            documents.push(serde_json::json!({
                "flows": flows, "active": counters.active(), "capacity": tracker.capacity(),
                "clocks_least": least[0] + least[1], "clocks_median": median[0] + median[1],
                "match_median": median[0], "stamp_median": median[1],
                "samples_a_packet": samples, "bytes_a_flow": FLOW_BYTES, "allocations": allocations, "hz": hz,
            }));
        } else {
            println!(
                "{flows} flows: {:.1} clocks a packet (least {:.1}): match {:.1}, stamp {:.1}; {:.1} Mpps",
                median[0] + median[1],
                least[0] + least[1],
                median[0],
                median[1],
                hz as f64 / (median[0] + median[1]) / 1e6
            );
            println!(
                "    {} in the table of {}, {} evicted, {} refused; {FLOW_BYTES} bytes a flow; {allocations} allocations; \
                 {samples:.3} samples a packet, mean {:?}; {} losses",
                counters.active(),
                tracker.capacity(),
                counters.evicted,
                counters.refused,
                clock.duration(sum.ticks / sum.samples.max(1)),
                sum.losses,
            );
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&documents)?);
    }
    Ok(())
}
