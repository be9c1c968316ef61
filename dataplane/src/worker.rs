//! A worker: one thread, pinned to one core, that owns its queues, its graph and its frames.
//!
//! [`Worker::turn`] is the whole engine: receive → graph → what nodes owe by now → send → frames back. With nothing to do it spins a little
//! and then sleeps until a packet comes, a node's deadline is near or a message arrives (`adaptive`), or it goes on turning (`poll`).

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_graph::{
    clock::{self, Clock},
    counters::Counters,
    graph::{Graph, Shape},
    node::{Forget, VECTOR},
    packet::{PortIndex, ReasonIndex},
    ports::{MAX_PORTS, Ports},
    quiescence::QuiescentReader,
    trace::{TraceOrder, TraceRecord},
};
use weir_stats::{CombinedRow, Description, SimpleRow};

use crate::{config::Idle, port::Port};

/// A queue that a worker owns.
pub struct Line {
    /// The port that it is a queue of.
    pub port: PortIndex,
    /// Its rings.
    pub rings: Box<dyn Port>,
}

/// What the control thread tells a worker.
pub enum Message {
    /// Follow packets.
    Trace(TraceOrder, Sender<TraceRecord>),
    /// Let the counters of what is gone begin anew.
    Forget(Arc<Forget>),
    /// Change the idle policy.
    Idle(Idle),
    /// Send what is under way, drop what is held, and end.
    Stop,
}

/// The control thread's end of a worker.
#[derive(Clone)]
pub struct WorkerHandle {
    messages: Sender<Message>,
    wake: Arc<OwnedFd>,
}

impl WorkerHandle {
    /// Sends a message and wakes the worker if it sleeps. `false` if the worker has ended.
    pub fn send(&self, message: Message) -> bool {
        let sent = self.messages.send(message).is_ok();
        // Fails only when the counter is full, and then the worker is awake already.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        sent
    }
}

/// Turns without work before an adaptive worker sleeps: some 20 µs. Shorter: more system calls at medium load; longer: more of a small
/// machine's core is taken from the softirq that feeds us.
const SPINS: u32 = 64;
/// Longest sleep: the counters of frames are refreshed at least so often.
const NAP: Duration = Duration::from_millis(200);
/// How long a leaving worker waits for the kernel to have sent what it was given.
const DRAIN: Duration = Duration::from_secs(1);

/// A busy worker publishes where its frames are once in so many turns.
const REFRESH: u32 = 64;

/// Columns of `/workers/frames`, which `/workers/frame-columns` names.
pub const FRAME_COLUMNS: [&str; 5] = ["free", "receive", "transmit", "held", "total"];
/// Where each worker's frames are.
pub static FRAMES: Description = Description::simple(
    "/workers/frames",
    "frames",
    "state=/workers/frame-columns",
    "where the worker's frames are: free, in fill and receive rings, in transmit rings, held in its graph; and their total",
)
.as_gauge();
/// Turns of each worker's loop.
pub static LOOPS: Description =
    Description::simple("/workers/loops", "loops", "", "turns of the worker's loop");
/// Sleeps of each worker.
pub static SLEEPS: Description =
    Description::simple("/workers/sleeps", "sleeps", "", "times that the worker slept for want of packets");
/// Packets by the port that they go out by.
pub static TX: Description =
    Description::combined("/if/tx", "interface=/if/names", "taken by the port's transmit ring");

/// The thread's state.
pub struct Worker {
    graph: Graph,
    lines: Vec<Line>,
    /// By port: the line that it sends by.
    transmit: Vec<Option<usize>>,
    ports: Ports,
    reader: QuiescentReader,
    messages: Receiver<Message>,
    wake: Arc<OwnedFd>,
    idle: Idle,
    clock: Clock,
    tx: CombinedRow,
    frames: SimpleRow,
    loops: SimpleRow,
    sleeps: SimpleRow,
    turns: u32,
    total_frames: usize,
    ring_full: ReasonIndex,
    port_down: ReasonIndex,
}

/// What [`Worker::new`] puts together.
pub struct Parts {
    /// The graph, with the worker's frames in its pool.
    pub graph: Graph,
    /// The worker's queues.
    pub lines: Vec<Line>,
    /// Which ports there are.
    pub ports: Ports,
    /// The worker's place among the readers of the tables.
    pub reader: QuiescentReader,
    /// The idle policy.
    pub idle: Idle,
    /// The length of a tick.
    pub clock: Clock,
    /// The worker's row in per-thread vectors.
    pub row: usize,
    /// An eventfd that ends the worker's sleep.
    pub wake: OwnedFd,
}

impl Worker {
    /// A worker that has not begun yet, and the handle to talk to it.
    pub fn new(
        parts: Parts,
        shape: &Shape,
        counters: &mut Counters,
    ) -> Result<(Worker, WorkerHandle), weir_stats::Error> {
        let Parts { mut graph, lines, ports, reader, idle, clock, row, wake } = parts;
        let count = ports.count();
        let transmit =
            (0..count).map(|port| lines.iter().position(|line| usize::from(line.port) == port)).collect();
        let total_frames = graph.pool().available();
        let (sender, messages) = crossbeam_channel::bounded(64);
        let wake = Arc::new(wake);
        // The reasons are compiled in beside the node that has them.
        let reason = |name| shape.reason("tx", name).unwrap_or_default();
        let columns = FRAME_COLUMNS.len();
        let worker = Worker {
            transmit,
            tx: counters.combined_row(&TX, count, MAX_PORTS, row)?,
            frames: counters.simple_row(&FRAMES, columns, columns, row)?,
            loops: counters.simple_row(&LOOPS, 1, 1, row)?,
            sleeps: counters.simple_row(&SLEEPS, 1, 1, row)?,
            ring_full: reason("ring-full"),
            port_down: reason("port-down"),
            graph,
            lines,
            ports,
            reader,
            messages,
            wake: wake.clone(),
            idle,
            clock,
            turns: 0,
            total_frames,
        };
        Ok((worker, WorkerHandle { messages: sender, wake }))
    }

    /// Works until it is told to stop.
    pub fn run(mut self) {
        self.reader.online();
        self.reap();
        let mut quiet = 0;
        // First the quiescent point, then the messages: a number that the control thread may use anew from this point on has its counters
        // reset (Message::Forget, sent before) before this worker can count under it.
        while self.listen() {
            let turn = self.turn();
            if turn.busy {
                quiet = 0;
                continue;
            }
            quiet += 1;
            if quiet < SPINS || self.idle == Idle::Poll {
                std::hint::spin_loop();
            } else {
                self.sleep(turn.deadline);
                quiet = 0;
            }
        }
        self.leave();
    }

    /// One turn of the loop. Public for benches and tests, which have no thread.
    #[inline]
    pub fn turn(&mut self) -> Turn {
        let mut busy = false;
        for line in &mut self.lines {
            let (_, packets) = self.graph.receive();
            line.rings.receive(packets, VECTOR);
            if !packets.is_empty() {
                busy = true;
                self.graph.run(clock::now());
            }
        }
        let deadline = self.graph.release(clock::now());
        busy |= self.flush();
        self.reap();
        self.loops.add(0, 1);
        self.turns = self.turns.wrapping_add(1);
        if !busy || self.turns.is_multiple_of(REFRESH) {
            self.refresh();
        }
        Turn { busy, deadline }
    }

    /// Sends what waits for the ports. `true` if there was anything, or a ring has not been emptied yet.
    #[inline]
    fn flush(&mut self) -> bool {
        let mut busy = false;
        for port in 0..self.transmit.len() {
            let (pool, packets) = self.graph.transmit(port);
            if packets.is_empty() {
                continue;
            }
            busy = true;
            let Some(line) = self.transmit[port].map(|line| &mut self.lines[line]) else {
                self.graph.discard_transmit(port, self.port_down);
                continue;
            };
            let mut sent = line.rings.send(packets);
            if !packets.is_empty() {
                // The ring is full: have the kernel take what is there, once, and fill it again.
                let _ = line.rings.kick();
                line.rings.reap(pool);
                let again = line.rings.send(packets);
                sent.packets += again.packets;
                sent.bytes += again.bytes;
            }
            let full = !packets.is_empty();
            self.tx.add(port, sent.packets, sent.bytes);
            if full {
                let reason =
                    if self.ports.is_up(port as PortIndex) { self.ring_full } else { self.port_down };
                self.graph.discard_transmit(port, reason);
            }
        }
        for line in &mut self.lines {
            // A link that is down refuses to send; its packets stay in the ring until it is back.
            busy |= line.rings.kick().unwrap_or(false) && self.ports.is_up(line.port);
        }
        if busy {
            self.graph.run(clock::now()); // what was discarded
        }
        busy
    }

    fn reap(&mut self) {
        for line in &mut self.lines {
            line.rings.reap(self.graph.pool());
        }
    }

    /// Passes a quiescent point, then takes messages. `false`: it is time to stop.
    #[inline]
    fn listen(&mut self) -> bool {
        self.reader.quiescent();
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Trace(order, records) => self.graph.trace(order, records),
                Message::Forget(gone) => self.graph.forget(&gone),
                Message::Idle(idle) => self.idle = idle,
                Message::Stop => return false,
            }
        }
        true
    }

    /// Publishes what the nodes have done and where the worker's frames are.
    fn refresh(&mut self) {
        self.graph.publish();
        let (mut receive, mut transmit) = (0, 0);
        for line in &self.lines {
            let held = line.rings.frames();
            receive += held.receive;
            transmit += held.transmit;
        }
        let (free, held) = (self.graph.pool().available(), self.graph.held());
        for (column, count) in [free, receive, transmit, held, self.total_frames].into_iter().enumerate() {
            self.frames.set(column, count as u64);
        }
    }

    /// Sleeps until there may be something to do.
    fn sleep(&mut self, deadline: Option<u64>) {
        let nap = deadline
            .map_or(NAP, |deadline| self.clock.duration(deadline.saturating_sub(clock::now())).min(NAP));
        let timeout = Timespec { tv_sec: nap.as_secs() as i64, tv_nsec: i64::from(nap.subsec_nanos()) };
        self.sleeps.add(0, 1);
        self.reader.offline();
        {
            let wake = PollFd::new(&self.wake, PollFlags::IN);
            let lines = self.lines.iter().filter_map(|line| line.rings.fd());
            let mut fds: Vec<PollFd<'_>> = std::iter::once(wake)
                .chain(lines.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)))
                .collect();
            // An interrupted or failed sleep is a short one.
            let _ = poll(&mut fds, Some(&timeout));
        }
        self.reader.online();
        let _ = rustix::io::read(&*self.wake, &mut [0u8; 8]);
    }

    /// Sends what is under way, drops what nodes hold, and waits a moment for the kernel to finish.
    fn leave(&mut self) {
        let end = clock::now() + self.clock.ticks(DRAIN);
        loop {
            let busy = self.turn().busy;
            self.graph.drain(clock::now());
            // What waits for a link that is down is not waited for.
            let up = self.lines.iter().filter(|line| self.ports.is_up(line.port));
            let sending: usize = up.map(|line| line.rings.frames().transmit).sum();
            if (!busy && sending == 0) || clock::now() >= end {
                break;
            }
        }
        self.refresh();
    }
}

/// What a turn found.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// It had work, or left some in a ring.
    pub busy: bool,
    /// When a node wants to be called again, in ticks.
    pub deadline: Option<u64>,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use rustix::event::{EventfdFlags, eventfd};
    use weir_graph::{
        adjacency::{Adjacencies, Path},
        fib::{Fib, FibLimits, NextHop, Prefix4},
        frames::{FramePool, Frames},
        node::{Tables, Workbench},
        nodes::REGISTRATIONS,
        quiescence::Quiescence,
        wire::ip4,
    };
    use weir_stats::{Options, Reader, Segment, Value};

    use super::*;
    use crate::port::memory::{MemoryPort, Wire};

    const FRAMES_OF_ALL: usize = 256;
    const RING: usize = 64;
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// A worker with two memory ports: everything in 10.0.2.0/24 leaves by port 1, the rest has no route.
    struct Bench {
        worker: Worker,
        handle: WorkerHandle,
        wires: [Wire; 2],
        reader: Reader,
        shape: Arc<Shape>,
        _counters: Counters,
    }

    fn bench() -> Bench {
        let segment = Segment::in_heap(Options { size: 256 << 20, ..Options::default() }).unwrap();
        let reader = Reader::of(&segment).unwrap();
        let mut counters = Counters::new(segment);
        let shape = Arc::new(Shape::new(REGISTRATIONS).unwrap());
        shape.register(&mut counters).unwrap();
        let ports = Ports::new(2);
        for port in 0..2 {
            ports.set_mac(port, MAC);
            ports.set_up(port, true);
            ports.set_address(port, Some(Ipv4Addr::new(10, 0, port as u8 + 1, 1)));
        }
        let quiescence = Quiescence::new(1);
        let limits = FibLimits { routes: 16, extension_blocks: 1, groups: 1 };
        let (fib, mut fib_writer) = Fib::new(limits, quiescence.clone()).unwrap();
        let (adjacencies, mut adjacency_writer) = Adjacencies::new(16, quiescence.clone());
        let path = Path { port: 1, mtu: 1500, next_hop: 0x0a00_0202 };
        let adjacency = adjacency_writer.allocate(path).unwrap();
        adjacency_writer.set_rewrite(adjacency, [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2, 8, 0], path).unwrap();
        let network = Prefix4::new(0x0a00_0200, 24).unwrap();
        fib_writer.insert(network, &[NextHop { adjacency, weight: 1 }]).unwrap();
        let tables = Arc::new(Tables { fib, adjacencies, ports: ports.clone() });
        let (frames, ids) = Frames::in_memory(FRAMES_OF_ALL as u32);
        let clock = Clock::calibrate();
        let (requests, _) = crossbeam_channel::bounded(1);
        let mut workbench = Workbench { row: 1, counters: &mut counters, tables, requests, clock, seed: 1 };
        let graph = Graph::new(&shape, &mut workbench, FramePool::new(frames.clone(), ids)).unwrap();
        let (first, first_wire) = MemoryPort::new(0, frames.clone(), RING);
        let (second, second_wire) = MemoryPort::new(1, frames, RING);
        let lines = vec![Line { port: 0, rings: Box::new(first) }, Line { port: 1, rings: Box::new(second) }];
        let parts = Parts {
            graph,
            lines,
            ports,
            reader: quiescence.reader(0).unwrap(),
            idle: Idle::Adaptive,
            clock,
            row: 1,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap(),
        };
        let (mut worker, handle) = Worker::new(parts, &shape, &mut counters).unwrap();
        worker.reap();
        Bench { worker, handle, wires: [first_wire, second_wire], reader, shape, _counters: counters }
    }

    impl Bench {
        fn row(&self, path: &str) -> Vec<u64> {
            let entry = self.reader.find(path).unwrap().unwrap();
            match self.reader.read(&entry).unwrap() {
                Value::Simple(rows) => rows[1].clone(),
                Value::Combined(rows) => rows[1].iter().map(|pair| pair.packets).collect(),
                other => panic!("{path}: {other:?}"),
            }
        }

        /// Turns until there is nothing to do, and checks the books.
        fn settle(&mut self) {
            while self.worker.turn().busy {}
            let frames = self.row(&FRAMES.path);
            assert_eq!(frames[..4].iter().sum::<u64>(), FRAMES_OF_ALL as u64, "{frames:?}");
            let sum = |path: &str| self.row(path).iter().sum::<u64>();
            let came = sum("/if/rx") + sum("/sys/node/created");
            assert_eq!(came, sum("/if/tx") + sum("/node/errors") + sum("/sys/node/held"));
        }

        fn drops(&self, node: &str, reason: &str) -> u64 {
            self.row("/node/errors")[self.shape.reason(node, reason).unwrap().column()]
        }
    }

    fn frame(destination: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&MAC);
        frame[12..14].copy_from_slice(&[8, 0]);
        let mut header = ip4::Ip4Mut::new(&mut frame[14..]).unwrap();
        header.set_lengths(ip4::LENGTH, 46);
        header.set_ttl_protocol(64, ip4::UDP);
        header.set_addresses(0x0a00_0102, u32::from_be_bytes(destination));
        ip4::write_checksum(&mut frame[14..34]);
        frame
    }

    #[test]
    fn what_comes_in_by_one_port_leaves_by_the_other() {
        let mut bench = bench();
        for host in 0..100 {
            bench.wires[0].put(&frame([10, 0, 2, host]));
        }
        bench.settle();
        let sent = bench.wires[1].take();
        assert_eq!(sent.len(), 100);
        for (host, packet) in (0..).zip(&sent) {
            assert_eq!((packet[5], packet[22], packet[33]), (9, 63, host), "next hop, TTL, destination");
        }
        assert_eq!(bench.row("/if/tx"), [0, 100]);
    }

    #[test]
    fn a_ring_that_is_full_drops_by_name_and_loses_no_frame() {
        let mut bench = bench();
        bench.wires[1].stall(true);
        for host in 0..100 {
            bench.wires[0].put(&frame([10, 0, 2, host]));
        }
        bench.settle();
        assert_eq!(bench.wires[1].take().len(), RING);
        assert_eq!(bench.drops("tx", "ring-full"), 100 - RING as u64);
        bench.worker.ports.set_up(1, false);
        bench.wires[0].put(&frame([10, 0, 2, 1]));
        bench.settle();
        assert_eq!(bench.drops("tx", "port-down"), 1);
        bench.wires[1].stall(false);
        bench.settle();
        assert_eq!(bench.row(&FRAMES.path)[2], 0, "all have come back");
    }

    #[test]
    fn a_worker_that_is_told_to_stop_ends_with_nothing_held() {
        let bench = bench();
        bench.wires[0].put(&frame([10, 0, 2, 1]));
        assert!(bench.handle.send(Message::Stop));
        let Bench { worker, handle, wires, reader, .. } = bench;
        std::thread::spawn(move || worker.run()).join().unwrap();
        assert_eq!(wires[1].take().len(), 1, "what had come was sent");
        assert!(!handle.send(Message::Stop), "nobody is there any more");
        let entry = reader.find(&FRAMES.path).unwrap().unwrap();
        let Value::Simple(rows) = reader.read(&entry).unwrap() else { panic!() };
        assert_eq!((rows[1][2], rows[1][3]), (0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_number_of_frames_is_constant(
            bursts in proptest::collection::vec(
                (0..2usize, 0..200usize, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..2100)), 1..12)
        ) {
            let mut bench = bench();
            for (port, count, stalled, noise) in bursts {
                bench.wires[1].stall(stalled);
                for host in 0..count {
                    bench.wires[port].put(&frame([10, 0, (host % 4) as u8, host as u8]));
                }
                bench.wires[port].put(&noise);
                bench.settle();
            }
        }
    }
}
