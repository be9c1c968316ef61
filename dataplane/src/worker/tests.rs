//! Workers on ports in memory: alone, in turns in any order, and as threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Instant,
};

use proptest::prelude::*;
use weir_graph::{
    adjacency::{Adjacencies, Path},
    fib::{Fib, FibLimits, NextHop, Prefix4},
    frames::{FramePool, Frames},
    node::{Tables, Workbench},
    nodes::{ROUTE, classify, hand_off, shaper, tcp_rtt_match, tcp_rtt_stamp},
    quiescence::Quiescence,
    wire::{ip4, vlan::Tags},
};
use weir_stats::{Options, Reader, Segment, Value};

use super::*;
use crate::port::memory::{MemoryPort, Wire};

/// Frames of each worker, where a test does not ask for more.
const OWN_FRAMES: usize = 256;
const RING: usize = 64;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PORTS: u16 = 2;

/// Workers with a queue each of two ports: 10.0.1.0/24 is behind port 0, 10.0.2.0/24 behind port 1, the rest has no route.
struct Bench {
    workers: Vec<Worker>,
    handles: Vec<WorkerHandle>,
    /// By worker and port.
    wires: Vec<[Wire; 2]>,
    books: Books,
    ports: Ports,
    quiescence: Quiescence,
}

/// What the segment says.
struct Books {
    frames: usize,
    reader: Reader,
    shape: Arc<Shape>,
    _counters: Counters,
}

fn bench(count: usize, own_frames: usize) -> Bench {
    // The counters of routes take 64 MiB of address space in each row, the control thread's included, and those of IPv6 16; the rest fits into 64.
    let options = Options { size: (5 * (count as u64 + 1) + 4) << 24, workers: count, ..Options::default() };
    let segment = Segment::in_heap(options).unwrap();
    let reader = Reader::of(&segment).unwrap();
    let mut counters = Counters::new(segment);
    let mut without = vec![
        classify::REGISTRATION.name,
        tcp_rtt_match::REGISTRATION.name,
        shaper::REGISTRATION.name,
        tcp_rtt_stamp::REGISTRATION.name,
    ];
    if count == 1 {
        without.push(hand_off::REGISTRATION.name);
    }
    let shape = Arc::new(Shape::new(ROUTE, &without).unwrap());
    shape.register(&mut counters).unwrap();
    let ports = Ports::new(usize::from(PORTS));
    let quiescence = Quiescence::new(count);
    let limits = FibLimits { routes: 16, extension_blocks: 1, groups: 1 };
    let (fib, mut fib_writer) = Fib::new(limits, quiescence.clone()).unwrap();
    let (fib6, _) = Fib::new(limits, quiescence.clone()).unwrap();
    let (adjacencies, mut adjacency_writer) = Adjacencies::new(16, quiescence.clone());
    for port in 0..PORTS {
        ports.set_mac(port, MAC);
        ports.set_up(port, true);
        ports.set_address(port, Some(Ipv4Addr::new(10, 0, port as u8 + 1, 1)));
        let network = 0x0a00_0100 + (u32::from(port) << 8);
        let path = Path {
            port,
            mtu: 1500,
            next_hop: Some(Ipv4Addr::from_bits(network + 2).into()),
            tags: Tags::NONE,
        };
        let adjacency = adjacency_writer.allocate(path).unwrap();
        adjacency_writer.set_rewrite(adjacency, [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2, 8, 0], path).unwrap();
        fib_writer.insert(Prefix4::new(network, 24).unwrap(), &[NextHop { adjacency, weight: 1 }]).unwrap();
    }
    let tables = Arc::new(Tables { fib, fib6, adjacencies, customers: None, ports: ports.clone() });
    let (memory, mut ids) = Frames::in_memory((own_frames * count) as u32);
    let clock = Clock::calibrate();
    let (requests, _) = crossbeam_channel::bounded(1);
    let alarms: Vec<Arc<Alarm>> = (0..count).map(|_| Alarm::new().unwrap()).collect();
    let (mut workers, mut handles, mut wires) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (exchange, alarm)) in exchange(&alarms).into_iter().zip(alarms).enumerate() {
        let mut workbench = Workbench {
            row: number + 1,
            counters: &mut counters,
            tables: tables.clone(),
            requests: requests.clone(),
            clock,
            seed: 1,
            rtt: None,
            shaper: None,
        };
        let pool = FramePool::new(memory.clone(), ids.split_off(ids.len() - own_frames));
        let graph = Graph::new(&shape, &mut workbench, pool).unwrap().with_exchange(exchange);
        let queues = [0, 1].map(|port| MemoryPort::new(port, memory.clone(), RING));
        let mut lines = Vec::new();
        wires.push([queues[0].1.clone(), queues[1].1.clone()]);
        for (port, (rings, _)) in (0..).zip(queues) {
            lines.push(Line { port, rings: Box::new(rings) });
        }
        let parts = Parts {
            graph,
            lines,
            ports: ports.clone(),
            reader: quiescence.reader(number).unwrap(),
            idle: Idle::Adaptive,
            clock,
            row: number + 1,
            alarm,
        };
        let (mut worker, handle) = Worker::new(parts, &shape, &mut counters).unwrap();
        worker.reap();
        workers.push(worker);
        handles.push(handle);
    }
    let books = Books { frames: own_frames * count, reader, shape, _counters: counters };
    Bench { workers, handles, wires, books, ports, quiescence }
}

impl Books {
    /// The workers' rows.
    fn rows(&self, path: &str) -> Vec<Vec<u64>> {
        let entry = self.reader.find(path).unwrap().unwrap();
        let packets = |row: Vec<weir_stats::Pair>| row.iter().map(|pair| pair.packets).collect();
        match self.reader.read(&entry).unwrap() {
            Value::Simple(rows) => rows.into_iter().skip(1).collect(),
            Value::Combined(rows) => rows.into_iter().skip(1).map(packets).collect(),
            other => panic!("{path}: {other:?}"),
        }
    }

    fn sum(&self, path: &str) -> u64 {
        self.rows(path).iter().flatten().sum()
    }

    /// What each worker has counted in one column.
    fn column(&self, path: &str, column: usize) -> Vec<u64> {
        self.rows(path).iter().map(|row| row[column]).collect()
    }

    fn drops(&self, node: &str, reason: &str) -> u64 {
        let column = self.shape.reason(node, reason).unwrap().column();
        self.column("/node/errors", column).iter().sum()
    }

    /// Packets that workers have given and taken.
    fn hand_offs(&self) -> (Vec<u64>, Vec<u64>) {
        let event = |name: &str| {
            let entry = self.reader.find(&format!("/events/hand-off/{name}")).unwrap().unwrap();
            match self.reader.read(&entry).unwrap() {
                Value::Symlink { value, .. } => match *value {
                    Value::Simple(rows) => rows.into_iter().skip(1).map(|row| row.iter().sum()).collect(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        };
        (event("given"), event("taken"))
    }

    /// Nothing is on its way: every packet has been sent, dropped or is held, and every frame is some worker's.
    fn check(&self) {
        for frames in self.rows(&FRAMES.path) {
            assert_eq!(frames[..4].iter().sum::<u64>(), frames[4], "{frames:?}");
        }
        let totals = self.column(&FRAMES.path, 4);
        assert_eq!(totals.iter().sum::<u64>(), self.frames as u64, "{totals:?}");
        let came = self.sum("/if/rx") + self.sum("/sys/node/created");
        assert_eq!(came, self.sum("/if/tx") + self.sum("/node/errors") + self.sum("/sys/node/held"));
    }
}

impl Bench {
    /// Turns until there is nothing to do, and checks the books.
    fn settle(&mut self) {
        let mut before = Vec::new();
        loop {
            let busy = self.workers.iter_mut().fold(false, |busy, worker| worker.turn().busy | busy);
            // Frames that are returned are no work, but whoever lacks some then receives what waits on the wire.
            let frames = self.books.rows(&FRAMES.path);
            if !busy && frames == before {
                break;
            }
            before = frames;
        }
        self.books.check();
    }
}

/// A packet of 60 bytes that says whose it is: its place in its flow's direction.
fn packet(source: [u8; 4], destination: [u8; 4], ports: [u8; 4], place: u16) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[..6].copy_from_slice(&MAC);
    frame[12..14].copy_from_slice(&[8, 0]);
    let mut header = ip4::Ip4Mut::new(&mut frame[14..]).unwrap();
    header.set_lengths(ip4::LENGTH, 46);
    header.set_ttl_protocol(64, ip4::UDP);
    header.set_identification(place);
    header.set_addresses(u32::from_be_bytes(source), u32::from_be_bytes(destination));
    ip4::write_checksum(&mut frame[14..34]);
    frame[34..38].copy_from_slice(&ports);
    frame
}

fn frame(destination: [u8; 4]) -> Vec<u8> {
    packet([10, 0, 1, 2], destination, [0; 4], 0)
}

/// The packet of one direction of a flow: from behind port 0 to behind port 1, or back.
fn of_flow(flow: u8, back: bool, place: u16) -> Vec<u8> {
    let (client, server) = ([10, 0, 1, flow / 4], [10, 0, 2, 9]);
    let port = flow % 4;
    if back {
        packet(server, client, [1, 187, 128, port], place)
    } else {
        packet(client, server, [128, port, 1, 187], place)
    }
}

/// Flow, direction and place of a packet that was sent.
fn flow_of(frame: &[u8]) -> (u8, bool, u16) {
    let back = frame[28] == 2;
    let (host, port) = if back { (frame[33], frame[37]) } else { (frame[29], frame[35]) };
    (host * 4 + port, back, u16::from_be_bytes([frame[18], frame[19]]))
}

#[test]
fn what_comes_in_by_one_port_leaves_by_the_other() {
    let mut bench = bench(1, OWN_FRAMES);
    for host in 0..100 {
        bench.wires[0][0].put(&frame([10, 0, 2, host]));
    }
    bench.settle();
    let sent = bench.wires[0][1].take();
    assert_eq!(sent.len(), 100);
    for (host, packet) in (0..).zip(&sent) {
        assert_eq!((packet[5], packet[22], packet[33]), (9, 63, host), "next hop, TTL, destination");
    }
    assert_eq!(bench.books.rows("/if/tx"), [[0, 100]]);
}

#[test]
fn a_ring_that_is_full_drops_by_name_and_loses_no_frame() {
    let mut bench = bench(1, OWN_FRAMES);
    bench.wires[0][1].stall(true);
    for host in 0..100 {
        bench.wires[0][0].put(&frame([10, 0, 2, host]));
    }
    bench.settle();
    assert_eq!(bench.wires[0][1].take().len(), RING);
    assert_eq!(bench.books.drops("tx", "ring-full"), 100 - RING as u64);
    bench.ports.set_up(1, false);
    bench.wires[0][0].put(&frame([10, 0, 2, 1]));
    bench.settle();
    assert_eq!(bench.books.drops("tx", "port-down"), 1);
    bench.wires[0][1].stall(false);
    bench.settle();
    assert_eq!(bench.books.column(&FRAMES.path, 2), [0], "all have come back");
}

#[test]
fn a_worker_that_is_told_to_stop_ends_with_nothing_held() {
    let mut bench = bench(1, OWN_FRAMES);
    bench.wires[0][0].put(&frame([10, 0, 2, 1]));
    let (worker, handle) = (bench.workers.remove(0), bench.handles.remove(0));
    assert!(handle.send(Message::Stop));
    std::thread::spawn(move || worker.run()).join().unwrap();
    assert_eq!(bench.wires[0][1].take().len(), 1, "what had come was sent");
    assert!(!handle.send(Message::Stop), "nobody is there any more");
    let frames = &bench.books.rows(&FRAMES.path)[0];
    assert_eq!((frames[2], frames[3]), (0, 0));
}

#[test]
fn a_long_list_is_forgotten_in_many_rounds_and_nothing_overtakes_it() {
    let mut it = bench(1, OWN_FRAMES);
    let Bench { workers, handles, quiescence, .. } = &mut it;
    let worker = &mut workers[0];
    let gone = Arc::new(Forget { customers: (0..100).collect(), ..Forget::default() });
    assert!(handles[0].send(Message::Forget(gone.clone())));
    assert!(handles[0].send(Message::Idle(Idle::Poll)));
    // Whoever waits for this one may give the numbers to others.
    let ticket = quiescence.ticket();
    let mut rounds = 0;
    while Arc::strong_count(&gone) > 1 {
        assert!(!quiescence.passed(ticket) && worker.idle == Idle::Adaptive, "after {rounds} rounds");
        let turn = worker.round().unwrap();
        assert!(turn.busy || Arc::strong_count(&gone) == 1, "who sleeps passes all tickets");
        rounds += 1;
    }
    assert!(rounds >= 25, "{rounds} rounds");
    assert!(quiescence.passed(ticket) && worker.idle == Idle::Poll);
    // Each round but the one under way is in the histogram.
    let times = it.books.rows(&ROUNDS.path);
    let (sum, bins) = times[0].split_last().unwrap();
    assert_eq!((bins.iter().sum::<u64>(), it.books.sum(&LOOPS.path)), (rounds, rounds));
    assert!(*sum < 60_000_000, "{sum} µs");
}

#[test]
fn one_worker_has_no_node_that_hands_over() {
    let bench = bench(1, OWN_FRAMES);
    assert_eq!(bench.books.shape.node("hand-off"), None);
    assert!(bench.books.shape.node("tx").is_some());
}

#[test]
fn both_directions_of_a_flow_meet_one_worker() {
    const WORKERS: usize = 3;
    let mut bench = bench(WORKERS, 2 * OWN_FRAMES);
    // Each direction by another queue.
    for flow in 0..64 {
        bench.wires[usize::from(flow) % WORKERS][0].put(&of_flow(flow, false, 0));
        bench.wires[usize::from(flow / 3) % WORKERS][1].put(&of_flow(flow, true, 0));
    }
    bench.settle();
    let mut workers: BTreeMap<u8, Vec<(usize, bool)>> = BTreeMap::new();
    for (worker, wires) in bench.wires.iter().enumerate() {
        for frame in wires.iter().flat_map(Wire::take) {
            let (flow, back, _) = flow_of(&frame);
            workers.entry(flow).or_default().push((worker, back));
        }
    }
    let used: BTreeSet<usize> = workers.values().map(|both| both[0].0).collect();
    assert_eq!(used.len(), WORKERS, "all have something to do");
    assert_eq!(workers.len(), 64);
    for (flow, both) in workers {
        assert!(both.len() == 2 && both[0].0 == both[1].0 && both[0].1 != both[1].1, "flow {flow}: {both:?}");
    }
    let (given, taken) = bench.books.hand_offs();
    assert_eq!(given.iter().sum::<u64>(), taken.iter().sum::<u64>());
    assert!(given.iter().chain(&taken).all(|count| *count > 0), "{given:?} {taken:?}");
    // Who counts at `tx`'s door is who sends: the node behind has seen each packet once, at its owner.
    let tx = bench.books.shape.node("tx").unwrap();
    assert_eq!(
        bench.books.column("/sys/node/vectors", tx),
        bench.books.rows("/if/tx").iter().map(|row| row.iter().sum::<u64>()).collect::<Vec<_>>()
    );
}

#[test]
fn a_worker_that_does_not_turn_costs_its_packets_and_no_other() {
    let mut bench = bench(2, 8192);
    // Worker 1 stands still while worker 0 gets much for both.
    for _ in 0..100 {
        for flow in 0..RING as u8 {
            bench.wires[0][0].put(&of_flow(flow, false, 0));
        }
        while bench.workers[0].turn().busy {}
    }
    let full = bench.books.drops("hand-off", "ring-full");
    let sent = bench.wires[0][1].take().len() as u64;
    assert_eq!(sent + full + 2048, 6400, "its ring holds 2048");
    assert!(sent > 2000 && full > 0);
    bench.settle();
    // It takes all of it at once; its port takes some of that.
    let sent = bench.wires[1][1].take().len() as u64;
    assert_eq!(sent + bench.books.drops("tx", "ring-full"), 2048);
    assert!(sent >= RING as u64);
}

#[test]
fn frames_of_one_way_traffic_come_back() {
    let mut bench = bench(2, OWN_FRAMES);
    let mut sent = 0;
    // Twenty times as many packets as the worker that receives has frames.
    for round in 0..160 {
        for flow in 0..32 {
            bench.wires[0][0].put(&of_flow(flow, false, round));
        }
        bench.settle();
        sent += bench.wires.iter().map(|wires| wires[1].take().len()).sum::<usize>();
    }
    assert_eq!(sent, 160 * 32, "none was lost");
    let totals = bench.books.column(&FRAMES.path, 4);
    assert!(totals.iter().all(|total| total.abs_diff(OWN_FRAMES as u64) < 64), "{totals:?}");
}

#[test]
fn threads_lose_nothing_keep_the_order_and_wake_each_other() {
    const ROUNDS: usize = 300;
    for count in [2, 3] {
        let Bench { workers, handles, wires, books, .. } = bench(count, 4 * OWN_FRAMES);
        let threads: Vec<_> =
            workers.into_iter().map(|worker| std::thread::spawn(move || worker.run())).collect();
        let (mut sent, mut slow) = (Sent::default(), 0);
        for round in 0..ROUNDS {
            // All packets come to one worker, and it alone is woken: the others are woken by what it gives them.
            let receiver = round % count;
            for flow in 0..32 {
                for back in [false, true] {
                    wires[receiver][usize::from(back)].put(&of_flow(flow, back, round as u16));
                }
            }
            handles[receiver].alarm.wake_by_ref();
            // No more is under way than the smallest ring holds: whatever is lost is a fault.
            let begun = Instant::now();
            while sent.packets < 64 * (round + 1) {
                sent.look(&wires);
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "round {round}: {} have left",
                    sent.packets
                );
                std::thread::yield_now();
            }
            slow += usize::from(begun.elapsed() > NAP / 2);
            if round % 10 == 0 {
                std::thread::sleep(Duration::from_millis(2)); // all fall asleep
            }
        }
        // A worker that nobody wakes sleeps for a whole nap. A tenth is for the machine's other work.
        assert!(slow < ROUNDS / 10, "{slow} of {ROUNDS} rounds were slow");
        handles.iter().for_each(|handle| assert!(handle.send(Message::Stop)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        books.check();
        let (given, taken) = books.hand_offs();
        assert_eq!(given.iter().sum::<u64>(), taken.iter().sum::<u64>());
        assert!(given.iter().all(|given| *given > 1000), "{given:?}");
        assert_eq!(books.sum("/node/errors"), 0);
    }
}

/// What the workers have sent, checked as it is taken.
#[derive(Default)]
struct Sent {
    packets: usize,
    /// By flow and direction: who sent the packets, and the next one's place.
    next: BTreeMap<(u8, bool), (usize, u16)>,
    owners: BTreeMap<u8, usize>,
}

impl Sent {
    fn look(&mut self, wires: &[[Wire; 2]]) {
        for (worker, wires) in wires.iter().enumerate() {
            for frame in wires.iter().flat_map(Wire::take) {
                let (flow, back, place) = flow_of(&frame);
                assert_eq!(*self.owners.entry(flow).or_insert(worker), worker, "flow {flow}");
                let (_, next) = self.next.entry((flow, back)).or_insert((worker, 0));
                assert_eq!(place, *next, "flow {flow}, back {back}");
                *next += 1;
                self.packets += 1;
            }
        }
    }
}

#[test]
fn workers_that_are_told_to_stop_wait_for_what_others_give() {
    for first in 0..2 {
        let Bench { workers, handles, wires, books, .. } = bench(2, OWN_FRAMES);
        for flow in 0..32 {
            wires[0][0].put(&of_flow(flow, false, 0));
            wires[1][1].put(&of_flow(flow, true, 0));
        }
        assert!(handles[first].send(Message::Stop) && handles[1 - first].send(Message::Stop));
        // One after the other: the first one is done before the second has begun, were it not for the second.
        let mut threads = Vec::new();
        let mut workers: Vec<_> = workers.into_iter().collect();
        workers.rotate_left(first);
        for worker in workers {
            threads.push(std::thread::spawn(move || worker.run()));
            std::thread::sleep(Duration::from_millis(20));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        books.check();
        assert_eq!(wires.iter().flatten().map(|wire| wire.take().len()).sum::<usize>(), 64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_number_of_frames_is_constant(
        bursts in proptest::collection::vec(
            (0..2usize, 0..200usize, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..2100)), 1..12)
    ) {
        let mut bench = bench(1, OWN_FRAMES);
        for (port, count, stalled, noise) in bursts {
            bench.wires[0][1].stall(stalled);
            for host in 0..count {
                bench.wires[0][port].put(&frame([10, 0, (host % 4) as u8, host as u8]));
            }
            bench.wires[0][port].put(&noise);
            bench.settle();
        }
    }

    /// Workers that turn in any order, ports that stall, more traffic than fits: packets and frames are conserved, a flow has one owner,
    /// and what is not dropped keeps its order.
    #[test]
    fn workers_in_any_order_conserve_packets_and_frames(
        count in 2..5usize,
        steps in proptest::collection::vec(
            prop_oneof![
                3 => (0..4usize).prop_map(|worker| (worker, None)),
                2 => (0..4usize, 0..64u8, any::<bool>(), 1..100usize)
                    .prop_map(|(worker, flow, back, count)| (worker, Some(Ok((flow, back, count))))),
                1 => (0..4usize, 0..2usize, any::<bool>())
                    .prop_map(|(worker, port, stall)| (worker, Some(Err((port, stall))))),
            ],
            1..150),
    ) {
        type Direction = (u8, bool, usize);
        let mut bench = bench(count, OWN_FRAMES);
        let mut places: BTreeMap<Direction, u16> = BTreeMap::new();
        let mut put = 0;
        for (worker, step) in steps {
            let worker = worker % count;
            match step {
                None => {
                    bench.workers[worker].turn();
                }
                Some(Ok((first, back, packets))) => for at in 0..packets {
                    let flow = (first + (at % 3) as u8) % 64;
                    // The queue is written into the place, for the order holds by queue.
                    let place = places.entry((flow, back, worker)).or_default();
                    bench.wires[worker][usize::from(back)].put(&of_flow(flow, back, *place * 4 + worker as u16));
                    *place += 1;
                    put += 1;
                },
                Some(Err((port, stall))) => bench.wires[worker][port].stall(stall),
            }
        }
        bench.wires.iter().flatten().for_each(|wire| wire.stall(false));
        bench.settle();
        let (given, taken) = bench.books.hand_offs();
        prop_assert_eq!(given.iter().sum::<u64>(), taken.iter().sum::<u64>());
        let (mut owners, mut last) = (BTreeMap::new(), BTreeMap::<Direction, u16>::new());
        let mut sent = 0;
        for (worker, wires) in bench.wires.iter().enumerate() {
            for frame in wires.iter().flat_map(Wire::take) {
                let (flow, back, place) = flow_of(&frame);
                prop_assert_eq!(*owners.entry(flow).or_insert(worker), worker);
                let before = last.insert((flow, back, usize::from(place % 4)), place / 4);
                prop_assert!(before.is_none_or(|before| before < place / 4));
                sent += 1;
            }
        }
        prop_assert_eq!(sent + bench.books.sum("/node/errors"), put);
        // Debts are smaller than a batch for each other worker.
        let totals = bench.books.column(&FRAMES.path, 4);
        prop_assert!(totals.iter().all(|total| total.abs_diff(OWN_FRAMES as u64) < 64 * (count as u64 - 1)));
    }
}
