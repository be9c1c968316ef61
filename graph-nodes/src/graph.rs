//! The graph of one worker and its dispatcher.
//!
//! ```text
//!   input() ─▶ pending[ethernet-input] ┐
//!              pending[ip4-input]      ├─ run(): while any node has pending packets, take the first such node in
//!              …                       │         registration order, up to 256 of its packets, process, move on
//!              pending[drop]           ┘
//!              transmit[port]          ◀─ the node `tx` puts packets here; the worker sends them
//!   take_given() ─▶ pending[behind hand-off]      what other workers' `hand-off` has given to this one
//! ```
//! Registration order is the order of the packet's life, so each node sees the fullest vectors that the burst allows. Arcs may lead back
//! (`ip4-icmp-error` → `ip4-lookup`): what comes back is an ICMP error, about which none is sent, so `run` ends.
//!
//! Nothing here allocates: every list has room for all frames of the process from the start, and a packet is in one list only.
//!
//! Per vector, not per packet: one clock reading a node (the end of one node is the start of the next), three additions to statistics that reach the
//! segment once in a while, and where
//! all packets take the same arc, which is the rule, the whole vector moves by swapping two pointers.

use std::sync::Arc;

use weir_stats::{CombinedRow, Description, Error, SimpleRow};

use crate::{
    clock,
    counters::Counters,
    exchange::Exchange,
    frames::{FramePool, Frames},
    node::{Context, Forget, Next, Node, Registration, Tables, VECTOR, Workbench},
    nodes::{hand_off, ip4_rewrite},
    packet::{Packet, ReasonIndex},
    rtt::{TableHash, Tracker},
    shaper::Orders,
    trace::{TraceOrder, TraceRecord, Tracer},
};

/// The deadline of a node that holds nothing.
const NEVER: u64 = u64::MAX;

/// Most nodes in a graph: the ready set is one 64-bit word.
const MAX_NODES: usize = 64;

/// The node that gives packets to other workers: what they give goes to the node behind it.
const HAND_OFF: &str = hand_off::REGISTRATION.name;

/// The nodes of a graph by number: names, arcs, drop reasons; the same for all workers.
pub struct Shape {
    registrations: Vec<Registration>,
    /// For each node, where each of its `Next` values leads.
    arcs: Vec<[u8; 256]>,
    reason_bases: Vec<u16>,
    event_bases: Vec<usize>,
    drop: usize,
    /// Where what other workers give goes, and the column of its event; `None`: there is no node [`HAND_OFF`].
    landing: Option<(usize, usize)>,
}

/// A mistake in the list of nodes; found when the graph is built, before any packet.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// An arc names a node that is not registered.
    #[error("node {node} names the next node {next}, which is not registered")]
    NoSuchNode {
        /// The node with the arc.
        node: &'static str,
        /// What it names.
        next: &'static str,
    },
    /// A node that is to be left out is not there, or leads nowhere that another node's arcs could lead instead.
    #[error("the node {0} can't be left out: it is not registered, or has no next node in the graph")]
    LeftOut(&'static str),
    /// Too many nodes.
    #[error("the graph has {0} nodes, and the dispatcher has room for 64")]
    TooManyNodes(usize),
    /// The segment refused the graph's counters.
    #[error(transparent)]
    Stats(#[from] Error),
}

impl Shape {
    /// Resolves names to numbers. The nodes `without` are left out: arcs to one of them lead to its first next node.
    pub fn new(registrations: &[Registration], without: &[&'static str]) -> Result<Shape, GraphError> {
        let named = |name: &str| registrations.iter().find(|registration| registration.name == name);
        for node in without {
            // A way out of those that are left out is no longer than they are many.
            let mut way = std::iter::successors(Some(*node), |node| named(node)?.next.first().copied());
            if !way
                .by_ref()
                .take(without.len() + 1)
                .any(|node| named(node).is_some() && !without.contains(&node))
            {
                return Err(GraphError::LeftOut(node));
            }
        }
        let all = registrations;
        let registrations: Vec<Registration> =
            all.iter().filter(|registration| !without.contains(&registration.name)).copied().collect();
        if registrations.len() > MAX_NODES {
            return Err(GraphError::TooManyNodes(registrations.len()));
        }
        let find = |node: &'static str, next: &'static str| {
            let mut behind = next;
            while without.contains(&behind) {
                behind = named(behind).and_then(|node| node.next.first()).ok_or(GraphError::LeftOut(next))?;
            }
            let found = registrations.iter().position(|registration| registration.name == behind);
            found.ok_or(GraphError::NoSuchNode { node, next: behind })
        };
        let drop = find("graph", "drop")?;
        let (mut arcs, mut reason_bases, mut event_bases) = (Vec::new(), Vec::new(), Vec::new());
        let (mut reasons, mut events) = (0, 0);
        for registration in &registrations {
            // An arc that the node does not have leads to drop: a wrong number costs a packet, never memory.
            let mut table = [drop as u8; 256];
            for (arc, next) in registration.next.iter().enumerate() {
                table[arc] = find(registration.name, next)? as u8;
            }
            arcs.push(table);
            reason_bases.push(reasons);
            event_bases.push(events);
            reasons += registration.reasons.len() as u16;
            events += registration.events.len();
        }
        let hand_off = registrations.iter().position(|registration| registration.name == HAND_OFF);
        let landing = hand_off.map(|node| (usize::from(arcs[node][0]), event_bases[node]));
        Ok(Shape { registrations, arcs, reason_bases, event_bases, drop, landing })
    }

    /// The nodes in dispatch order.
    pub fn nodes(&self) -> &[Registration] {
        &self.registrations
    }

    /// The number of the node of this name.
    pub fn node(&self, name: &str) -> Option<usize> {
        self.registrations.iter().position(|registration| registration.name == name)
    }

    /// The number of a node's drop reason, counted over all nodes: its column in `/node/errors`.
    pub fn reason(&self, node: &str, reason: &str) -> Option<ReasonIndex> {
        let node = self.node(node)?;
        let reason = self.registrations[node].reasons.iter().position(|name| *name == reason)?;
        Some(ReasonIndex(self.reason_bases[node] + reason as u16))
    }

    /// `(node, reason)` of a reason number.
    pub fn reason_name(&self, reason: ReasonIndex) -> Option<(&'static str, &'static str)> {
        self.reasons().nth(usize::from(reason.0))
    }

    /// All drop reasons as `(node, reason)`, in column order.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.registrations.iter().flat_map(|node| node.reasons.iter().map(|reason| (node.name, *reason)))
    }

    /// All events as `(node, event)`, in column order.
    fn events(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.registrations.iter().flat_map(|node| node.events.iter().map(|event| (node.name, *event)))
    }

    /// Registers what every graph counts: `/sys/node/…` with its links under `/nodes`, `/node/errors` with its links under `/err`,
    /// `/node/events` with its links under `/events`. Once in a process, before the first [`Graph::new`].
    pub fn register(&self, counters: &mut Counters) -> Result<(), Error> {
        let nodes = self.registrations.len();
        let mut links = Vec::new();
        for (vector, leaf) in &NODE_VECTORS {
            let target = counters.simple(*vector, nodes, nodes)?.id();
            for (column, node) in self.registrations.iter().enumerate() {
                links.push((format!("/nodes/{}/{leaf}", node.name), target, column));
            }
        }
        let target = counters.simple(&ERRORS, self.reasons().count(), self.reasons().count())?.id();
        for (column, (node, reason)) in self.reasons().enumerate() {
            links.push((format!("/err/{node}/{reason}"), target, column));
        }
        let target = counters.simple(&EVENTS, self.events().count(), self.events().count())?.id();
        for (column, (node, event)) in self.events().enumerate() {
            links.push((format!("/events/{node}/{event}"), target, column));
        }
        counters.declare(&DECLARED);
        counters.segment().register(|batch| {
            let mut names = batch.names("/sys/node/names", nodes)?;
            for (column, node) in self.registrations.iter().enumerate() {
                batch.set_name(&mut names, column, node.name)?;
            }
            for (path, target, column) in &links {
                batch.symlink(path, *target, *column)?;
            }
            Ok(())
        })
    }
}

/// The next hops' counters, for the control thread too, which names them and keeps those in use fresh.
pub static ADJACENCY_COUNTERS: Description = Description::combined(
    "/net/adjacency/to",
    "next_hop=/net/adjacency/names",
    "IP packets and bytes sent to the next hop",
);
/// Most next hops: a full 16-bit neighbourhood. 48 bytes each in the table, 16 in each worker's counters where used.
pub const ADJACENCY_CAPACITY: usize = 1 << 16;

/// Backing vector of all drop reasons, as in VPP.
pub(crate) static ERRORS: Description =
    Description::simple("/node/errors", "packets", "/err/{node}/{reason}", "dropped, by node and reason");
/// Backing vector of all events.
static EVENTS: Description = Description::simple(
    "/node/events",
    "events",
    "/events/{node}/{event}",
    "what nodes count besides drops, by node and event",
);
/// What the columns of per-node vectors are.
const BY_NODE: &str = "node=/sys/node/names";
static CALLS: Description =
    Description::simple("/sys/node/calls", "calls", BY_NODE, "times that the node ran");
static VECTORS: Description =
    Description::simple("/sys/node/vectors", "packets", BY_NODE, "packets that the node was given");
static CLOCKS: Description = Description::simple(
    "/sys/node/clocks",
    "ticks",
    BY_NODE,
    "ticks of the time-stamp counter that the node has taken",
);
static CREATED: Description = Description::simple(
    "/sys/node/created",
    "packets",
    BY_NODE,
    "packets that the node made: ICMP errors, fragments behind the first",
);
static HELD: Description =
    Description::simple("/sys/node/held", "packets", BY_NODE, "packets that the node holds now").as_gauge();
/// Per-node vectors and the last component of their links `/nodes/<node>/<leaf>`.
static NODE_VECTORS: [(&Description, &str); 5] =
    [(&CALLS, "calls"), (&VECTORS, "vectors"), (&CLOCKS, "clocks"), (&CREATED, "created"), (&HELD, "held")];
/// What is registered besides vectors.
const DECLARED: [Description; 5] = [
    Description::names("/sys/node/names", "nodes"),
    Description::link("/nodes/{node}/held", "packets", "the node's column of /sys/node/held").as_gauge(),
    Description::link("/nodes/{node}/{counter}", "", "the node's column of /sys/node/{counter}"),
    Description::link("/err/{node}/{reason}", "packets", "the reason's column of /node/errors"),
    Description::link("/events/{node}/{event}", "events", "the event's column of /node/events"),
];

/// Runs between two writings of the nodes' statistics to the segment: at most some 75 µs of full vectors. Each writing touches some ten cache
/// lines that a reader may be reading; once a run, a reader on another core that reads flat out would be felt.
const PUBLISH: u32 = 16;

/// What one node has done so far.
#[derive(Clone, Copy, Default)]
struct Statistics {
    calls: u64,
    vectors: u64,
    clocks: u64,
    created: u64,
    /// Now, not so far.
    held: u64,
}

/// One worker's graph.
pub struct Graph {
    shape: Arc<Shape>,
    nodes: Vec<Box<dyn Node>>,
    pending: Vec<Vec<Packet>>,
    /// Bit *n* is set while `pending[n]` has packets.
    ready: u64,
    vector: Vec<Packet>,
    next: Box<[Next; VECTOR]>,
    emitted: Vec<(Next, Packet)>,
    transmit: Vec<Vec<Packet>>,
    /// By node: when it wants to release what it holds.
    deadlines: Vec<u64>,
    /// The earliest of them.
    next_deadline: u64,
    frames: Arc<Frames>,
    pool: FramePool,
    exchange: Exchange,
    next_hops: Option<CombinedRow>,
    tracker: Option<Tracker>,
    tables: Arc<Tables>,
    /// By node; counted here and written to the rows by [`Graph::publish`].
    statistics: Vec<Statistics>,
    /// Runs since then.
    unpublished: u32,
    calls: SimpleRow,
    vectors: SimpleRow,
    clocks: SimpleRow,
    created: SimpleRow,
    held: SimpleRow,
    events: SimpleRow,
    tracer: Tracer,
}

impl Graph {
    /// A graph for the worker of `bench.row`, which allocates from `pool`.
    pub fn new(shape: &Arc<Shape>, bench: &mut Workbench<'_>, pool: FramePool) -> Result<Graph, GraphError> {
        let nodes =
            shape.registrations.iter().map(|node| (node.create)(bench)).collect::<Result<Vec<_>, _>>()?;
        let frames = pool.frames().clone();
        let room = frames.count() as usize;
        let count = nodes.len();
        let events = shape.events().count();
        let ports = bench.tables.ports.count();
        let next_hops = match shape.node(ip4_rewrite::REGISTRATION.name) {
            Some(_) => {
                Some(bench.counters.combined_row(&ADJACENCY_COUNTERS, 1, ADJACENCY_CAPACITY, bench.row)?)
            }
            None => None,
        };
        let mut row = |vector, columns| bench.counters.simple_row(vector, columns, columns, bench.row);
        Ok(Graph {
            shape: shape.clone(),
            nodes,
            pending: (0..count).map(|_| Vec::with_capacity(room)).collect(),
            ready: 0,
            vector: Vec::with_capacity(room),
            next: Box::new([Next::arc(0); VECTOR]),
            emitted: Vec::with_capacity(room),
            transmit: (0..ports).map(|_| Vec::with_capacity(room)).collect(),
            statistics: vec![Statistics::default(); count],
            unpublished: 0,
            deadlines: vec![NEVER; count],
            next_deadline: NEVER,
            frames,
            pool,
            exchange: Exchange::alone(),
            next_hops,
            tracker: bench.rtt.map(|settings| Tracker::new(settings, TableHash::with_seed(bench.seed))),
            tables: bench.tables.clone(),
            calls: row(&CALLS, count)?,
            vectors: row(&VECTORS, count)?,
            clocks: row(&CLOCKS, count)?,
            created: row(&CREATED, count)?,
            held: row(&HELD, count)?,
            events: row(&EVENTS, events)?,
            tracer: Tracer::new(0, 1),
        })
    }

    /// Lets the graph give packets to other workers, and take theirs. Before the first packet.
    pub fn with_exchange(mut self, exchange: Exchange) -> Graph {
        self.tracer = Tracer::new(exchange.worker(), exchange.workers());
        self.exchange = exchange;
        self
    }

    /// This worker's end of the exchange.
    #[inline]
    pub fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }

    /// Takes what other workers have given, for the node behind `hand-off`; then call [`run`](Graph::run). `false`: there was nothing.
    #[inline]
    pub fn take_given(&mut self) -> bool {
        let Some((node, event)) = self.shape.landing else { return false };
        let count = self.exchange.take(&mut self.pending[node], &mut self.pool);
        if count == 0 {
            return false;
        }
        self.ready |= 1 << node;
        self.events.add(event + hand_off::Event::Taken as usize, count as u64);
        true
    }

    /// This worker's free frames.
    #[inline]
    pub fn pool(&mut self) -> &mut FramePool {
        &mut self.pool
    }

    /// Where received packets are put, for `ethernet-input`; then call [`run`](Graph::run).
    #[inline]
    pub fn input(&mut self) -> &mut Vec<Packet> {
        self.ready |= 1;
        &mut self.pending[0]
    }

    /// The free frames and the input together, for a receive burst.
    #[inline]
    pub fn receive(&mut self) -> (&mut FramePool, &mut Vec<Packet>) {
        self.ready |= 1;
        (&mut self.pool, &mut self.pending[0])
    }

    /// Packets that wait to be sent by `port`, and the free frames.
    #[inline]
    pub fn transmit(&mut self, port: usize) -> (&mut FramePool, &mut Vec<Packet>) {
        (&mut self.pool, &mut self.transmit[port])
    }

    /// Drops packets for a reason of the node that `reason` belongs to (a full ring, a port that is down).
    pub fn discard(&mut self, packets: impl Iterator<Item = Packet>, reason: ReasonIndex) {
        let drop = self.shape.drop;
        self.pending[drop].extend(packets.map(|mut packet| {
            packet.reason = reason;
            packet
        }));
        self.ready |= 1 << drop;
    }

    /// Drops all that waits to be sent by `port`.
    pub fn discard_transmit(&mut self, port: usize, reason: ReasonIndex) {
        let mut waiting = std::mem::take(&mut self.transmit[port]);
        self.discard(waiting.drain(..), reason);
        self.transmit[port] = waiting; // its memory, to be used again
    }

    /// Processes until no node has pending packets. Returns the time in ticks at which it ended.
    ///
    /// All nodes are told that it is `now`: what they decide by the time (rates, timeouts) depends on nothing but what the caller says.
    pub fn run(&mut self, now: u64) -> u64 {
        self.run_from(now, now)
    }

    /// The same; the first node's clocks count from `mark`.
    #[inline]
    fn run_from(&mut self, now: u64, mut mark: u64) -> u64 {
        while self.ready != 0 {
            let node = self.ready.trailing_zeros() as usize;
            mark = self.dispatch(node, now, mark);
        }
        self.unpublished += 1;
        if self.unpublished >= PUBLISH {
            self.publish();
        }
        mark
    }

    /// Calls the nodes whose deadline has passed, then runs. Returns the earliest deadline that is left.
    #[inline]
    pub fn release(&mut self, now: u64) -> Option<u64> {
        let mut mark = now;
        if self.next_deadline <= now {
            for node in 0..self.nodes.len() {
                if self.deadlines[node] <= now {
                    self.call(node, now, mark, |node, cx, _| node.release(cx));
                    self.flush_emitted(node);
                    mark = self.count_clocks(node, mark);
                }
            }
        }
        self.run_from(now, mark);
        (self.next_deadline != NEVER).then_some(self.next_deadline)
    }

    /// Makes every node give up the packets that it holds, as drops, and runs.
    pub fn drain(&mut self, now: u64) {
        for node in 0..self.nodes.len() {
            self.call(node, now, now, |node, cx, _| node.drain(cx));
            self.flush_emitted(node);
        }
        self.run(now);
    }

    /// Frames of packets that nodes hold, and of those that wait to be sent.
    pub fn held(&self) -> usize {
        let nodes: usize = self.nodes.iter().map(|node| node.held().frames).sum();
        let waiting = self.transmit.iter().flatten();
        nodes + waiting.map(|packet| self.frames.count_of(packet)).sum::<usize>()
    }

    /// Writes the nodes' statistics to the segment. [`run`](Graph::run) does so once in a while; whoever then has nothing to run does
    /// it too, so that they are never old.
    pub fn publish(&mut self) {
        self.unpublished = 0;
        for (node, statistics) in self.statistics.iter().enumerate() {
            self.calls.set(node, statistics.calls);
            self.vectors.set(node, statistics.vectors);
            self.clocks.set(node, statistics.clocks);
            self.created.set(node, statistics.created);
            self.held.set(node, statistics.held);
        }
    }

    /// Lets counters begin anew; see [`Node::forget`].
    pub fn forget(&mut self, gone: &Forget) {
        self.nodes.iter_mut().for_each(|node| node.forget(gone));
        for adjacency in &gone.adjacencies {
            self.next_hops.iter_mut().for_each(|counters| counters.set(*adjacency as usize, 0, 0));
        }
        self.look_at_deadlines();
    }

    /// Asks all nodes when they want to be called, after they were told something.
    fn look_at_deadlines(&mut self) {
        for (node, deadline) in self.nodes.iter().zip(&mut self.deadlines) {
            *deadline = node.held().deadline.unwrap_or(NEVER);
        }
        self.next_deadline = self.deadlines.iter().copied().min().unwrap_or(NEVER);
    }

    /// Tells the node that shapes what the tree of rates is to be.
    pub fn plan(&mut self, orders: &Arc<Orders>) {
        self.nodes.iter_mut().for_each(|node| node.plan(orders));
        self.look_at_deadlines();
    }

    /// Follows packets from now on.
    pub fn trace(&mut self, order: TraceOrder, records: crossbeam_channel::Sender<TraceRecord>) {
        self.tracer.start(order, records);
    }

    /// Takes up to a vector of a node's packets, processes them and moves them on. Its clocks count from `mark`; returns the time at its end.
    #[inline]
    fn dispatch(&mut self, node: usize, now: u64, mark: u64) -> u64 {
        let pending = &mut self.pending[node];
        if pending.len() <= VECTOR {
            std::mem::swap(pending, &mut self.vector);
            self.ready &= !(1 << node);
        } else {
            self.vector.extend(pending.drain(..VECTOR));
        }
        let count = self.vector.len();
        if count == 0 {
            return mark;
        }
        if self.tracer.is_active() {
            self.tracer.record(node, mark, &mut self.vector, &self.frames);
        }
        let vector = std::mem::take(&mut self.vector);
        self.vector = self.call(node, now, mark, |node, cx, next| {
            let mut vector = vector;
            let next = &mut next[..vector.len()];
            next.fill(Next::arc(0));
            node.process(cx, &mut vector, next);
            vector
        });
        self.forward(node);
        self.flush_emitted(node);
        if !cfg!(feature = "uncounted") {
            self.statistics[node].calls += 1;
            self.statistics[node].vectors += count as u64;
        }
        self.count_clocks(node, mark)
    }

    /// Counts the time since `mark` as the node's; returns the time now.
    #[inline(always)]
    fn count_clocks(&mut self, node: usize, mark: u64) -> u64 {
        if cfg!(feature = "uncounted") {
            return mark;
        }
        let end = clock::now();
        let clocks = &mut self.statistics[node].clocks;
        *clocks = clocks.wrapping_add(end.wrapping_sub(mark));
        end
    }

    /// Calls a node with its context. What it emits stays in `emitted`.
    #[inline]
    fn call<R>(
        &mut self,
        node: usize,
        now: u64,
        begin: u64,
        act: impl FnOnce(&mut dyn Node, &mut Context<'_>, &mut [Next; VECTOR]) -> R,
    ) -> R {
        let mut cx = Context {
            frames: &self.frames,
            pool: &mut self.pool,
            exchange: &mut self.exchange,
            tables: &self.tables,
            now,
            begin: begin.max(now), // where time is virtual, it stands still in a run
            next_hops: self.next_hops.as_mut(),
            tracker: self.tracker.as_mut(),
            transmit: &mut self.transmit,
            emitted: &mut self.emitted,
            reason_base: self.shape.reason_bases[node],
            event_base: self.shape.event_bases[node],
            events: &mut self.events,
            created: 0,
        };
        let result = act(&mut *self.nodes[node], &mut cx, &mut self.next);
        let created = cx.created;
        if created != 0 {
            self.statistics[node].created += created;
        }
        let held = self.nodes[node].held();
        self.statistics[node].held = held.packets as u64;
        let deadline = held.deadline.unwrap_or(NEVER);
        if deadline != self.deadlines[node] {
            self.deadlines[node] = deadline;
            self.next_deadline = self.deadlines.iter().copied().min().unwrap_or(NEVER);
        }
        result
    }

    /// Moves what the node emitted along its arcs; behind the vector, so that a first fragment stays first.
    #[inline]
    fn flush_emitted(&mut self, node: usize) {
        for (next, packet) in self.emitted.drain(..) {
            let target = usize::from(self.shape.arcs[node][usize::from(next.0)]);
            self.pending[target].push(packet);
            self.ready |= 1 << target;
        }
    }

    /// Moves the processed vector along the arcs that the node chose.
    #[inline]
    fn forward(&mut self, node: usize) {
        let count = self.vector.len();
        let Some(first) = self.next[..count].first().copied() else {
            return; // the node took everything
        };
        let arcs = &self.shape.arcs[node];
        // No early exit, so that the compiler compares 32 at a time.
        if self.next[..count].iter().fold(0, |differ, next| differ | (next.0 ^ first.0)) == 0 {
            if first == Next::TAKEN {
                self.vector.clear();
                return;
            }
            let target = usize::from(arcs[usize::from(first.0)]);
            let pending = &mut self.pending[target];
            if pending.is_empty() {
                std::mem::swap(pending, &mut self.vector);
            } else {
                pending.append(&mut self.vector);
            }
            self.ready |= 1 << target;
            return;
        }
        let mut packets = self.vector.drain(..);
        let mut at = 0;
        while at < count {
            let next = self.next[at];
            let run = self.next[at..count].iter().take_while(|other| **other == next).count();
            if next == Next::TAKEN {
                packets.by_ref().take(run).for_each(|hole| debug_assert!(hole.is_hole()));
            } else {
                let target = usize::from(arcs[usize::from(next.0)]);
                self.pending[target].extend(packets.by_ref().take(run));
                self.ready |= 1 << target;
            }
            at += run;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::{ROUTE, drop};

    /// a → b → c → drop, and d, which leads to itself.
    fn chain() -> Vec<Registration> {
        let node = |name, next| Registration {
            name,
            next,
            reasons: &["reason"],
            events: &["event"],
            ..drop::REGISTRATION
        };
        vec![
            node("a", &["b", "c"]),
            node("b", &["c", "a"]),
            node("c", &["drop"]),
            node("d", &["d"]),
            node("drop", &[]),
        ]
    }

    fn arcs(shape: &Shape, node: &str) -> Vec<&'static str> {
        let node = shape.node(node).unwrap();
        (0..2).map(|arc| shape.nodes()[usize::from(shape.arcs[node][arc])].name).collect()
    }

    #[test]
    fn arcs_to_a_node_that_is_left_out_lead_to_the_one_behind_it() {
        let shape = Shape::new(&chain(), &[]).unwrap();
        assert_eq!(arcs(&shape, "a"), ["b", "c"]);
        let shape = Shape::new(&chain(), &["b"]).unwrap();
        assert_eq!((shape.nodes().len(), shape.node("b")), (4, None));
        assert_eq!(arcs(&shape, "a"), ["c", "c"]);
        let shape = Shape::new(&chain(), &["c", "b"]).unwrap();
        assert_eq!(arcs(&shape, "a"), ["drop", "drop"]);
        assert_eq!(shape.reason("drop", "reason").map(ReasonIndex::column), Some(2), "a, d, drop");
        assert_eq!(shape.reason("b", "reason"), None);
        assert_eq!(shape.events().map(|(node, _)| node).collect::<Vec<_>>(), ["a", "d", "drop"]);
    }

    #[test]
    fn a_node_that_leads_nowhere_or_is_not_there_can_not_be_left_out() {
        for without in [&["drop"][..], &["d"], &["e"], &["c", "drop"]] {
            assert!(matches!(Shape::new(&chain(), without), Err(GraphError::LeftOut(_))), "{without:?}");
        }
        assert!(matches!(Shape::new(&chain()[..4], &[]), Err(GraphError::NoSuchNode { next: "drop", .. })));
    }

    #[test]
    fn only_a_graph_with_hand_off_takes_what_is_given() {
        let whole = Shape::new(ROUTE, &[]).unwrap();
        let (node, event) = whole.landing.unwrap();
        assert_eq!(whole.nodes()[node].name, hand_off::REGISTRATION.next[0]);
        assert_eq!(whole.events().nth(event), Some((HAND_OFF, "given")));
        assert!(Shape::new(ROUTE, &[HAND_OFF]).unwrap().landing.is_none());
    }
}
