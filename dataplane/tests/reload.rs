//! What a reload does to the packet path: the longest time between two rounds of a worker's loop while the control thread carries out a change of a
//! hundred thousand customers.
//!
//! The worker is the real one, on a thread and a core of its own, with the graph of a bridge that shapes; so is the way of the change, from the files to the
//! workers' messages. Only the ports are not: they make packets and take them back. Two clocks run along: that of the wall, and that of the thread's own time,
//! in which what the machine does meanwhile has no part.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{
    fs, io,
    os::fd::BorrowedFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use weir::{
    bridge,
    config::{Change, Config, Idle, changes},
    customers::{self, Roster},
    port::{Held, Port, Sent},
    shaping::{self, Shaping, Sizes},
    subscribers::Subscribers,
    worker::{Alarm, Line, Parts, Worker},
};
use weir_graph::{
    adjacency::Adjacencies,
    clock::Clock,
    counters::Counters,
    fib::{Fib, FibLimits},
    frames::{FrameId, FramePool, Frames, HEADROOM},
    graph::{Graph, Shape},
    node::{Tables, Workbench},
    nodes::{BRIDGE, hand_off},
    packet::{Packet, PortIndex},
    ports::Ports,
    quiescence::Quiescence,
    round_trips, rtt, shaped,
};
use weir_stats::{Options, Reader, Segment, Value};

const CUSTOMERS: u32 = 100_000;
/// The first customer's address.
const FIRST: u32 = 0x6440_0000;
/// Packets that a port receives at once.
const BURST: usize = 32;
/// Frames of the ports, and those that may wait.
const FRAMES: u32 = 1 << 14;
/// The longest gap on the packet path.
const MOST: Duration = Duration::from_millis(1);
/// A bridge's port takes every frame.
const LINK: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

/// `weir.toml`, and the files of so many customers in a certain `turn`: of each hundred customers one differs from turn to turn.
struct Files(tempfile::TempDir);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// Another rate.
    Plans,
    /// Another customer at another address.
    Customers,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let config = "\
[[port]]\ndevice = \"eth1\"\nside = \"wan\"\n\n[[port]]\ndevice = \"eth2\"\nside = \"lan\"\n\n[bridge]\nports = [\"eth1\", \"eth2\"]\n\n\
[rtt]\n\n[shaper]\nmemory = \"16MiB\"\ntree = \"network.json\"\ncircuits = \"ShapedDevices.csv\"\n";
        fs::write(folder.path().join("weir.toml"), config).unwrap();
        let towers: Vec<String> = (0..100)
            .map(|at| format!("\"T{at}\":{{\"downloadBandwidthMbps\":10000,\"uploadBandwidthMbps\":10000}}"))
            .collect();
        fs::write(folder.path().join("network.json"), format!("{{{}}}", towers.join(","))).unwrap();
        let files = Files(folder);
        files.write(What::Plans, 0);
        files
    }

    fn write(&self, what: What, turn: u32) {
        let mut lines = String::from(
            "Circuit ID,Parent Node,IPv4,Download Min Mbps,Upload Min Mbps,Download Max Mbps,Upload Max Mbps\n",
        );
        for at in 0..CUSTOMERS {
            let changes = at % 100 == 7;
            let (mut id, mut rate) = (at, 50);
            match what {
                What::Plans if changes => rate += turn,
                What::Customers if changes => id += (turn + 1) * CUSTOMERS,
                _ => {}
            }
            let address = std::net::Ipv4Addr::from(FIRST + id);
            lines += &format!("{id},T{},{address},1,1,{rate},{rate}\n", at % 100);
        }
        fs::write(self.0.path().join("ShapedDevices.csv"), lines).unwrap();
    }

    fn config(&self) -> Config {
        Config::load(&self.path()).unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        Path::join(self.0.path(), "weir.toml")
    }
}

/// A port that always has packets, each to or from another customer, and sends at once.
struct Endless {
    index: PortIndex,
    frames: Arc<Frames>,
    fill: Vec<FrameId>,
    sent: Vec<Packet>,
    /// The next packet's customer.
    next: u32,
}

impl Port for Endless {
    fn receive(&mut self, packets: &mut Vec<Packet>, _: usize) {
        for _ in 0..BURST {
            let Some(id) = self.fill.pop() else { return };
            let start = usize::from(HEADROOM);
            let Ok(mut packet) = self.frames.packet(id, start, 60, self.index) else {
                panic!("a frame of 2 KiB")
            };
            // All of them, in an order that is as good as none.
            self.next = (self.next + 38_197) % CUSTOMERS;
            let (customer, other) = (FIRST + self.next, 0xc000_0201_u32);
            let (source, destination) = if self.index == 0 { (other, customer) } else { (customer, other) };
            let frame = self.frames.bytes_mut(&mut packet);
            frame.fill(0);
            frame[..14].copy_from_slice(&LINK);
            let mut ip = weir_graph::wire::ip4::Ip4Mut::new(&mut frame[14..]).unwrap();
            ip.set_lengths(20, 46);
            ip.set_ttl_protocol(64, 17);
            ip.set_addresses(source, destination);
            weir_graph::wire::ip4::write_checksum(&mut frame[14..34]);
            packets.push(packet);
        }
    }

    fn send(&mut self, packets: &mut Vec<Packet>) -> Sent {
        let sent = Sent { packets: packets.len() as u64, bytes: 60 * packets.len() as u64 };
        self.sent.append(packets);
        sent
    }

    fn reap(&mut self, pool: &mut FramePool) {
        self.sent.drain(..).for_each(|packet| pool.recycle(packet));
        while self.fill.len() < BURST {
            let Some(frame) = pool.take() else { break };
            self.fill.push(frame);
        }
    }

    fn kick(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn frames(&self) -> Held {
        Held { receive: self.fill.len(), transmit: self.sent.len() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The longest rounds since they were last asked for, in nanoseconds.
#[derive(Default)]
struct Longest {
    wall: AtomicU64,
    own: AtomicU64,
    stop: AtomicBool,
}

impl Longest {
    fn take(&self) -> (Duration, Duration) {
        let take = |of: &AtomicU64| Duration::from_nanos(of.swap(0, Relaxed));
        (take(&self.wall), take(&self.own))
    }
}

fn own_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// The control thread's side.
struct Control {
    files: Files,
    config: Config,
    subscribers: Subscribers,
    counters: Counters,
    reader: Reader,
    longest: Arc<Longest>,
    worker: thread::JoinHandle<()>,
}

impl Control {
    fn start() -> Control {
        let files = Files::new();
        let config = files.config();
        let plan = config.shaper.as_ref().unwrap().plan.clone();
        let room = customers::room(shaping::customers(&plan).len());
        let space = 2 * room * (round_trips::CUSTOMER_BYTES + shaped::CUSTOMER_BYTES);
        let defaults = Options::default();
        let segment =
            Segment::create(Options { size: defaults.size + space as u64, workers: 1, ..defaults }).unwrap();
        let reader = Reader::of(&segment).unwrap();
        let mut counters = Counters::new(segment);
        let shape = Arc::new(Shape::new(BRIDGE, &[hand_off::REGISTRATION.name]).unwrap());
        shape.register(&mut counters).unwrap();
        round_trips::register(&mut counters).unwrap();
        let ports = Ports::new(2);
        bridge::join(&ports, &config);
        for port in 0..2 {
            ports.set_up(port, true);
            ports.set_mtu(port, 1500);
        }
        let quiescence = Quiescence::new(1);
        let limits = FibLimits { routes: 1, extension_blocks: 1, groups: 1 };
        let (fib, _) = Fib::new(limits, quiescence.clone()).unwrap();
        let (fib6, _) = Fib::new(limits, quiescence.clone()).unwrap();
        let (adjacencies, _) = Adjacencies::new(16, quiescence.clone());
        let (customers, roster) = Roster::new(room, &mut counters, quiescence.clone()).unwrap();
        let clock = Clock::calibrate();
        let sizes = Sizes::of(&plan, room, config.shaper.as_ref().unwrap().memory, 2048);
        let shaping = Shaping::new(&mut counters, sizes, 1, clock).unwrap();
        let tables =
            Arc::new(Tables { fib, fib6, adjacencies, customers: Some(customers), ports: ports.clone() });
        let (frames, ids) = Frames::in_memory(FRAMES);
        let (requests, _) = crossbeam_channel::bounded(1);
        let mut bench = Workbench {
            row: 1,
            counters: &mut counters,
            tables,
            requests,
            clock,
            seed: 1,
            rtt: Some(rtt::Settings::new(clock, 1 << 16)),
            shaper: Some(sizes.setup(1, clock, FRAMES as usize, 2048, 1500)),
        };
        let graph = Graph::new(&shape, &mut bench, FramePool::new(frames.clone(), ids)).unwrap();
        let lines = (0..2)
            .map(|index| {
                let (fill, sent) = (Vec::with_capacity(BURST), Vec::with_capacity(FRAMES as usize));
                let port = Endless { index, frames: frames.clone(), fill, sent, next: 0 };
                Line { port: index, rings: Box::new(port) }
            })
            .collect();
        let parts = Parts {
            graph,
            lines,
            ports,
            reader: quiescence.reader(0).unwrap(),
            idle: Idle::Poll,
            clock,
            row: 1,
            alarm: Alarm::new().unwrap(),
        };
        let (worker, handle) = Worker::new(parts, &shape, &mut counters).unwrap();
        let mut subscribers = Subscribers::new(Some(roster), Some(shaping), vec![handle]);
        subscribers.shape(&plan, &mut counters).unwrap();
        let longest = Arc::new(Longest::default());
        let worker = thread::spawn({
            let longest = longest.clone();
            move || work(worker, &longest)
        });
        Control { files, config, subscribers, counters, reader, longest, worker }
    }

    /// What a reload does, and no more of it than `Appliance` does; then until the worker has carried it out.
    fn reload(&mut self) -> Duration {
        let begin = Instant::now();
        let new = self.files.config();
        for change in changes(&self.config, &new).unwrap() {
            let Change::Plan { new, .. } = change else { panic!("{change}") };
            self.subscribers.shape(&new, &mut self.counters).unwrap();
        }
        self.config = new;
        let took = begin.elapsed();
        self.settle();
        took
    }

    /// Until the worker has carried everything out.
    fn settle(&mut self) {
        while self.subscribers.reclaim() > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        // What is forgotten behind the orders, and a sweep.
        thread::sleep(Duration::from_millis(300));
    }

    /// What the worker has counted of each customer's packets, by column.
    fn counted(&self) -> Vec<u64> {
        match self.read("/customers/down") {
            Value::Combined(rows) => rows[1].iter().map(|pair| pair.packets).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Columns that nobody has any more.
    fn vacant(&self) -> Vec<usize> {
        let Value::Names(names) = self.read("/customers/names") else { panic!("names") };
        (0..names.len()).filter(|column| names[*column].is_empty()).collect()
    }

    fn dropped(&self) -> u64 {
        match self.read("/node/errors") {
            Value::Simple(rows) => rows.iter().flatten().sum(),
            other => panic!("{other:?}"),
        }
    }

    fn read(&self, path: &str) -> Value {
        self.reader.read(&self.reader.find(path).unwrap().unwrap()).unwrap()
    }
}

fn work(mut worker: Worker, longest: &Longest) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(last) = cores.last() {
        core_affinity::set_for_current(*last);
    }
    let (mut wall, mut own) = (Instant::now(), own_time());
    while !longest.stop.load(Relaxed) && worker.round().is_some() {
        let (wall_now, own_now) = (Instant::now(), own_time());
        longest.wall.fetch_max((wall_now - wall).as_nanos() as u64, Relaxed);
        longest.own.fetch_max((own_now - own).as_nanos() as u64, Relaxed);
        (wall, own) = (wall_now, own_now);
    }
}

#[test]
fn a_reload_of_a_hundred_thousand_customers_holds_no_packet_up() {
    // A turn in which the machine leaves the worker alone is enough, and there are more than that on one that is not hopelessly busy.
    const TURNS: u32 = 10;
    let mut control = Control::start();
    thread::sleep(Duration::from_secs(1)); // all customers have had packets
    control.settle();
    for what in [What::Plans, What::Customers] {
        let mut shortest = Duration::MAX;
        for turn in 1..=TURNS {
            control.files.write(what, turn);
            control.longest.take();
            thread::sleep(Duration::from_millis(700));
            let quiet = control.longest.take();
            let took = control.reload();
            let (wall, own) = control.longest.take();
            println!(
                "{what:?}, 1 % of {CUSTOMERS}: reload in {took:?}; longest round {own:?} of the thread's own time, {wall:?} by the wall; without a reload {:?}, {:?}",
                quiet.1, quiet.0
            );
            shortest = shortest.min(own);
            let vacant = control.vacant();
            assert_eq!(vacant.is_empty(), what == What::Plans);
            let counted = control.counted();
            assert!(vacant.iter().all(|column| counted[*column] == 0), "what is gone is forgotten");
            assert!(counted.iter().filter(|count| **count > 0).count() > 90_000, "packets flow");
            if turn >= 3 && shortest <= MOST {
                break;
            }
        }
        // What the machine does to a round (other threads, interrupts, a host that takes the core away) is of one turn or another; what weir does is of all.
        assert!(shortest <= MOST, "{what:?}: {shortest:?} at the least");
        if what == What::Plans {
            assert_eq!(control.dropped(), 0);
        }
    }
    control.longest.stop.store(true, Relaxed);
    control.worker.join().unwrap();
}
