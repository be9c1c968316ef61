//! A worker: one thread, pinned to one core, that owns its queues, its graph and its frames.
//!
//! [`Worker::turn`] is the whole engine: receive → graph → what other workers gave → what nodes owe by now → send → frames back. With nothing to do it
//! spins a little and then sleeps until a packet comes, by a port or from another worker, a node's deadline is near or a message arrives
//! (`adaptive`), or it goes on turning (`poll`).

mod forgetting;

use std::{
    num::NonZeroU64,
    os::fd::OwnedFd,
    sync::Arc,
    task::{Wake, Waker},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use weir_graph::{
    clock::{self, Clock},
    counters::Counters,
    exchange::Exchange,
    graph::{Graph, Shape},
    latency::{self, LatencyRow, Scale},
    node::{Forget, VECTOR},
    packet::{PortIndex, ReasonIndex},
    ports::{MAX_PORTS, Ports},
    quiescence::QuiescentReader,
    shaper::Orders,
    trace::{TraceOrder, TraceRecord},
};
use weir_stats::{CombinedRow, Description, SimpleRow};

use crate::{config::Idle, port::Port};
use forgetting::Forgetting;

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
    /// Change the tree of rates.
    Plan(Arc<Orders>),
    /// Change the idle policy.
    Idle(Idle),
    /// Send what is under way, drop what is held, and end.
    Stop,
}

/// Ends a worker's sleep: an eventfd, which the control thread and other workers write.
pub struct Alarm(OwnedFd);

impl Alarm {
    /// An alarm that is not set.
    pub fn new() -> std::io::Result<Arc<Alarm>> {
        Ok(Arc::new(Alarm(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Fails only when the counter is full, and then the worker is awake already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// The exchange between the workers of these alarms.
pub fn exchange(alarms: &[Arc<Alarm>]) -> Vec<Exchange> {
    Exchange::between(alarms.iter().map(|alarm| Waker::from(alarm.clone())).collect())
}

/// The control thread's end of a worker.
#[derive(Clone)]
pub struct WorkerHandle {
    messages: Sender<Message>,
    alarm: Arc<Alarm>,
}

impl WorkerHandle {
    /// Sends a message and wakes the worker if it sleeps. `false` if the worker has ended.
    pub fn send(&self, message: Message) -> bool {
        let sent = self.messages.send(message).is_ok();
        self.alarm.wake_by_ref();
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
    "where the worker's frames are: free, in fill and receive rings, in transmit rings, held in its graph; and their total, which changes when packets go from one worker to another, while the sum over all workers stays",
)
.as_gauge();
/// Turns of each worker's loop.
pub static LOOPS: Description =
    Description::simple("/workers/loops", "loops", "", "turns of the worker's loop");
/// Sleeps of each worker.
pub static SLEEPS: Description =
    Description::simple("/workers/sleeps", "sleeps", "", "times that the worker slept for want of packets");
/// How long the rounds of each worker take.
pub static ROUNDS: Description = Description::simple(
    "/workers/rounds",
    "microseconds",
    "le=/workers/round-bins",
    "rounds of the worker's loop: from one look at all ports to the next, sleep not counted",
);
/// Packets by the port that they go out by.
pub static TX: Description =
    Description::combined("/if/tx", "interface=/if/names", "taken by the port's transmit ring");

/// The thread's state.
pub struct Worker {
    graph: Graph,
    lines: Vec<Line>,
    /// By port: the line that it sends by; a sub-interface's is that of the port below it.
    transmit: Vec<Option<usize>>,
    ports: Ports,
    reader: QuiescentReader,
    messages: Receiver<Message>,
    alarm: Arc<Alarm>,
    idle: Idle,
    clock: Clock,
    tx: CombinedRow,
    frames: SimpleRow,
    loops: SimpleRow,
    sleeps: SimpleRow,
    rounds: LatencyRow,
    scale: Scale,
    /// When the round began that is under way, in ticks.
    round: u64,
    /// What is being forgotten, a few numbers a round: no message behind it is heard before it is done.
    forgetting: Forgetting,
    turns: u32,
    /// Frames that it had at the beginning.
    own_frames: usize,
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
    /// What ends the worker's sleep.
    pub alarm: Arc<Alarm>,
}

impl Worker {
    /// A worker that has not begun yet, and the handle to talk to it.
    pub fn new(
        parts: Parts,
        shape: &Shape,
        counters: &mut Counters,
    ) -> Result<(Worker, WorkerHandle), weir_stats::Error> {
        let Parts { mut graph, lines, ports, reader, idle, clock, row, alarm } = parts;
        let count = ports.count();
        let transmit = (0..count)
            .map(|port| {
                let carrier = ports.carrier(port as PortIndex);
                lines.iter().position(|line| line.port == carrier)
            })
            .collect();
        let own_frames = graph.pool().available();
        let (sender, messages) = crossbeam_channel::bounded(64);
        // The reasons are compiled in beside the node that has them.
        let reason = |name| shape.reason("tx", name).unwrap_or_default();
        let columns = FRAME_COLUMNS.len();
        let worker = Worker {
            transmit,
            tx: counters.combined_row(&TX, count, MAX_PORTS, row)?,
            frames: counters.simple_row(&FRAMES, columns, columns, row)?,
            loops: counters.simple_row(&LOOPS, 1, 1, row)?,
            sleeps: counters.simple_row(&SLEEPS, 1, 1, row)?,
            rounds: counters.simple_row(&ROUNDS, latency::WIDTH, latency::WIDTH, row)?.into(),
            scale: Scale::new(clock),
            round: clock::now(),
            forgetting: Forgetting::new(),
            ring_full: reason("ring-full"),
            port_down: reason("port-down"),
            graph,
            lines,
            ports,
            reader,
            messages,
            alarm: alarm.clone(),
            idle,
            clock,
            turns: 0,
            own_frames,
        };
        Ok((worker, WorkerHandle { messages: sender, alarm }))
    }

    /// Works until it is told to stop.
    pub fn run(mut self) {
        // A sleep ends when it is to end, and not 50 µs later, as it may for threads that don't say otherwise (PR_SET_TIMERSLACK). Where this is refused
        // packets leave in small bursts.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        self.reader.online();
        self.reap();
        let mut quiet = 0;
        self.round = clock::now();
        while let Some(turn) = self.round() {
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

    /// One round: what the control thread says, then a [turn](Worker::turn). `None`: it is time to stop. Public for benches and tests, which have
    /// threads of their own.
    #[inline]
    pub fn round(&mut self) -> Option<Turn> {
        let now = clock::now();
        self.rounds.record(0, self.scale.micros(now.wrapping_sub(self.round)).into(), 1);
        self.round = now;
        if !self.listen() {
            return None;
        }
        let mut turn = self.turn();
        // Who sleeps has passed every quiescent point.
        turn.busy |= self.forgetting.is_under_way();
        Some(turn)
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
        if self.graph.take_given() {
            busy = true;
            self.graph.run(clock::now());
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

    /// Takes messages, and passes a quiescent point when nothing that was heard is left to do. `false`: it is time to stop.
    ///
    /// The point is that at which this begins: a number that the control thread may use anew once it has been passed has its counters reset
    /// ([`Message::Forget`], sent before) before this worker can count under it.
    #[inline]
    fn listen(&mut self) -> bool {
        let point = self.reader.point();
        loop {
            if let Some(piece) = self.forgetting.next() {
                self.graph.forget(piece);
                if self.forgetting.is_under_way() {
                    return true;
                }
            }
            let Ok(message) = self.messages.try_recv() else { break };
            match message {
                Message::Trace(order, records) => self.graph.trace(order, records),
                Message::Forget(gone) => self.forgetting.begin(gone),
                Message::Plan(orders) => self.graph.plan(&orders),
                Message::Idle(idle) => self.idle = idle,
                Message::Stop => return false,
            }
        }
        self.reader.pass(point);
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
        let total = self.own_frames.saturating_add_signed(self.graph.exchange().surplus());
        for (column, count) in [free, receive, transmit, held, total].into_iter().enumerate() {
            self.frames.set(column, count as u64);
        }
    }

    /// Sleeps until there may be something to do.
    fn sleep(&mut self, deadline: Option<u64>) {
        if !self.graph.exchange().doze() {
            return;
        }
        let nap = deadline
            .map_or(NAP, |deadline| self.clock.duration(deadline.saturating_sub(clock::now())).min(NAP));
        let timeout = Timespec { tv_sec: nap.as_secs() as i64, tv_nsec: i64::from(nap.subsec_nanos()) };
        self.sleeps.add(0, 1);
        self.reader.offline();
        {
            let wake = PollFd::new(&self.alarm.0, PollFlags::IN);
            let lines = self.lines.iter().filter_map(|line| line.rings.fd());
            let mut fds: Vec<PollFd<'_>> = std::iter::once(wake)
                .chain(lines.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)))
                .collect();
            // An interrupted or failed sleep is a short one.
            let _ = poll(&mut fds, Some(&timeout));
        }
        self.reader.online();
        self.graph.exchange().awake();
        let _ = rustix::io::read(&self.alarm.0, &mut [0u8; 8]);
        self.round = clock::now();
    }

    /// Sends what is under way, drops what nodes hold, and waits a moment for the kernel to finish, and for the other workers, which may still give something.
    fn leave(&mut self) {
        let end = clock::now() + self.clock.ticks(DRAIN);
        loop {
            let busy = self.turn().busy;
            self.graph.drain(clock::now());
            // What waits for a link that is down is not waited for.
            let up = self.lines.iter().filter(|line| self.ports.is_up(line.port));
            let sending: usize = up.map(|line| line.rings.frames().transmit).sum();
            let done = !busy && sending == 0;
            if done {
                self.graph.exchange().close();
            }
            if (done && self.graph.exchange().is_closed()) || clock::now() >= end {
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
mod tests;
