//! `shaper`: holds packets until their customer's rate, and the rates of all that is above the customer, let them go.
//!
//! It joins [`shaper`](crate::shaper), which knows of numbers only, to the graph: which leaf a packet belongs to, what of its headers the
//! queue goes by, where the packet waits, and where what happens is counted ([`shaped`](crate::shaped)). A packet is shaped by the side of the port that it leaves
//! by: towards the customers (lan) at its destination's rate, towards the internet (wan) at its source's. What has no leaf passes.
//!
//! ```text
//!   process: leaf ─▶ Shaper::let_through                 nobody waits, and clocks allow it: sent on with its vector
//!            headers ─▶ Shaper::enqueue              otherwise: the packet waits in `waiting`, under its frame's number
//!   release: Shaper::release ─▶ marked, sent on      called when the earliest clock says so
//! ```
//! Plans are carried out a few operations a call, so that packets never wait for them.
//!
//! * arcs: `tcp-rtt-stamp`
//! * drops: [`Drop`]
//! * counts: `/shaper/…`
//! * cost: see `docs/shaping.md`

use std::{collections::VecDeque, sync::Arc, time::Duration};

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    flow_hash::{self, FlowHash},
    node::{Context, Forget, Held, Next, Node, Registration, VECTOR, Workbench},
    packet::Packet,
    ports::Side,
    shaped::{Capacity, Shaped},
    shaper::{
        Arrival, Common, Direction, Discipline, Dropped, Lead, Leaf, Orders, PureAck, Settings, Shaper,
    },
    wire::{
        Network,
        ip4::{ECN, Ip4, Ip4Mut},
        ip6::Ip6,
        network,
    },
};

/// Why this node drops a packet: the causes of [`crate::shaper::Cause`], in their order, and one of its own.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// It waited too long, and so had those before it.
    Codel,
    /// Its flow does not heed drops.
    Blue,
    /// Memory ran out, or the customer's part of it.
    Overlimit,
    /// No place for its flow.
    Refused,
    /// Its customer is no more.
    Removed,
    /// A pure ACK, and a later one of its connection says all that it said.
    AckFilter,
    /// It waited when the worker left.
    Leaving,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "shaper", next: &["tcp-rtt-stamp"], reasons: Drop::VARIANTS, events: &[], create };

/// What a worker's shaper is made of.
#[derive(Clone)]
pub struct Setup {
    /// Sizes.
    pub settings: Settings,
    /// Columns that the segment's vectors have room for.
    pub capacity: Capacity,
    /// Frames of the process: packets wait under their frame's number.
    pub frames: usize,
    /// What all workers know of the tree's nodes, and this worker's number; `None`: there is one worker.
    pub common: Option<(Arc<Common>, usize)>,
}

/// Packets sent in one call: what a turn may take, and what a port's ring has room for.
const BUDGET: usize = 1024;
/// Operations of a plan that are carried out in one call: some 10 µs.
const OPERATIONS: usize = 64;
/// From one writing of counters to the segment to the next …
const SWEEP: Duration = Duration::from_millis(100);
/// … which is of so many leaves and nodes at once, some 20 µs …
const SWEPT: usize = 64;
/// … and so long from piece to piece: some 4 % of the worker's time, however many customers are active.
const PIECE: Duration = Duration::from_micros(500);
/// Packets ahead of which each step asks for its memory.
const AHEAD: usize = 8;

/// What the control thread wants, in its order.
enum Task {
    /// Orders, and how many of their operations are carried out.
    Plan(Arc<Orders>, usize),
    Forget(Forget),
}

/// The node; `None`: there is nothing to shape, and everything passes.
struct ShaperNode(Option<Box<State>>);

/// When counters are to be written.
#[derive(Clone, Copy)]
struct Sweep {
    due: u64,
    /// Leaves and nodes that it still has to go through; 0: it has not begun.
    left: usize,
}

/// A packet that may have a leaf.
#[derive(Clone, Copy)]
struct Candidate {
    /// Where it stands in the vector.
    at: usize,
    leaf: Leaf,
    tos: u8,
}

struct State {
    shaper: Shaper,
    /// By frame: the packet that waits in it; a hole where none does.
    waiting: Vec<Packet>,
    /// Frames of all that waits.
    frames: usize,
    hash: FlowHash,
    shaped: Shaped,
    tasks: VecDeque<Task>,
    /// Packets of the vector that may have a leaf.
    candidates: Vec<Candidate>,
    /// Of those that are to be queued: where they stand, and what the queue goes by.
    arrivals: Vec<(usize, Leaf, Arrival)>,
    /// What a call has sent: the frame, and whether the packet is to be marked.
    sent: Vec<(u32, bool)>,
    dropped: Vec<Dropped>,
    /// When something wants to be done.
    due: Option<u64>,
    /// `None`: nothing has changed.
    sweep: Option<Sweep>,
    /// Ticks of [`SWEEP`] and [`PIECE`].
    sweep_interval: u64,
    piece_interval: u64,
    /// The worker leaves: nothing is held any more.
    leaving: bool,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    let Some(Setup { settings, capacity, frames, common }) = bench.shaper.clone() else {
        return Ok(Box::new(ShaperNode(None)));
    };
    let mut shaper = Shaper::new(settings, &[Discipline::usual(settings.hz)], &[]);
    if let Some((common, worker)) = common {
        shaper.share(common, worker);
    }
    Ok(Box::new(ShaperNode(Some(Box::new(State {
        shaper,
        waiting: (0..frames).map(|_| Packet::hole()).collect(),
        frames: 0,
        hash: FlowHash::new(bench.seed),
        shaped: Shaped::new(bench.counters, bench.row, capacity, bench.clock)?,
        tasks: VecDeque::new(),
        candidates: Vec::with_capacity(VECTOR),
        arrivals: Vec::with_capacity(VECTOR),
        sent: Vec::with_capacity(BUDGET),
        // Removing a leaf may drop all that waits.
        dropped: Vec::with_capacity(settings.packets + VECTOR),
        due: None,
        sweep: None,
        sweep_interval: bench.clock.ticks(SWEEP),
        piece_interval: bench.clock.ticks(PIECE),
        leaving: false,
    })))))
}

impl Node for ShaperNode {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let Some(state) = self.0.as_deref_mut().filter(|state| !state.leaving) else { return };
        if !state.look(cx, packets) {
            return;
        }
        if !state.arrivals.is_empty() {
            state.enqueue(cx, packets, next);
            state.give_up(cx);
            state.due = Some(cx.now);
        }
        state.sweep.get_or_insert(Sweep { due: cx.now.saturating_add(state.sweep_interval), left: 0 });
    }

    fn release(&mut self, cx: &mut Context<'_>) {
        let Some(state) = self.0.as_deref_mut() else { return };
        state.work(cx.now);
        if !state.leaving {
            let State { shaper, sent, dropped, .. } = state;
            state.due = shaper.release(
                cx.now,
                BUDGET,
                &mut |_, departure| sent.push((departure.packet, departure.mark)),
                &mut |gone| dropped.push(gone),
            );
            state.send(cx);
        }
        state.give_up(cx);
        if !state.tasks.is_empty() {
            state.due = Some(cx.now);
        }
        if let Some(sweep) = state.sweep
            && sweep.due <= cx.now
        {
            state.write(sweep, cx.now);
        }
    }

    fn plan(&mut self, orders: &Arc<Orders>) {
        if let Some(state) = self.0.as_deref_mut() {
            state.tasks.push_back(Task::Plan(orders.clone(), 0));
            state.due = Some(0);
        }
    }

    fn forget(&mut self, gone: &Forget) {
        // Behind the plan that has taken away what is to be forgotten.
        if let Some(state) = self.0.as_deref_mut()
            && !(gone.customers.is_empty() && gone.tree_nodes.is_empty())
        {
            let (customers, tree_nodes) = (gone.customers.clone(), gone.tree_nodes.clone());
            state.tasks.push_back(Task::Forget(Forget { customers, tree_nodes, ..Forget::default() }));
            state.due = Some(0);
        }
    }

    fn held(&self) -> Held {
        let Some(state) = self.0.as_deref() else { return Held::default() };
        let sweep = state.sweep.map(|sweep| sweep.due);
        let deadline = [state.due, sweep].into_iter().flatten().min();
        let packets = if state.leaving { 0 } else { state.shaper.backlog() };
        Held { packets, frames: state.frames, deadline }
    }

    fn drain(&mut self, cx: &mut Context<'_>) {
        let Some(state) = self.0.as_deref_mut().filter(|state| !state.leaving) else { return };
        // From here on the shaper's numbers mean nothing: their frames are other packets'.
        state.leaving = true;
        state.due = None;
        while state.shaper.changed() > 0 {
            state.shaped.sweep(&mut state.shaper, SWEPT);
        }
        state.sweep = None;
        for packet in state.waiting.iter_mut().filter(|packet| !packet.is_hole()) {
            let mut packet = packet.take();
            state.frames -= cx.frames.count_of(&packet);
            let next = cx.drop(&mut packet, Drop::Leaving as u16);
            cx.emit(next, packet);
        }
    }
}

impl State {
    /// Finds the packets that have a leaf, and of those that can't pass what the queue goes by. True: something has a leaf.
    fn look(&mut self, cx: &Context<'_>, packets: &[Packet]) -> bool {
        let State { shaper, candidates, arrivals, hash, .. } = self;
        candidates.clear();
        arrivals.clear();
        for (at, packet) in packets.iter().enumerate() {
            if let Some(leaf) = leaf_of(cx, packet) {
                shaper.prefetch_leaf(leaf);
                let tos = tos(network(cx.frames.bytes(packet), packet.l3));
                candidates.push(Candidate { at, leaf, tos });
            }
        }
        for step in 0..candidates.len() + AHEAD {
            if let Some(&Candidate { leaf, tos, .. }) = candidates.get(step) {
                shaper.prefetch_count(leaf, tos >> 2);
            }
            let Some(&Candidate { at, leaf, tos }) =
                step.checked_sub(AHEAD).and_then(|at| candidates.get(at))
            else {
                continue;
            };
            if !shaper.is_shaped(leaf) {
                continue;
            }
            let packet = &packets[at];
            let length = u32::from(packet.len());
            if shaper.let_through(leaf, tos >> 2, length, cx.now) {
                continue;
            }
            let network = network(cx.frames.bytes(packet), packet.l3);
            let (flow, source, destination) = match flow_hash::queue_ends(network) {
                Some((from, to, protocol)) => (
                    hash.hash(from, to, protocol) as u32,
                    hash.host(from.address) as u32,
                    hash.host(to.address) as u32,
                ),
                None => (0, 0, 0),
            };
            let (packet, dscp, ecn_capable) = (packet.frame(), tos >> 2, tos & ECN != 0);
            let arrival = Arrival { packet, length, flow, source, destination, dscp, ecn_capable };
            arrivals.push((at, leaf, arrival));
        }
        !candidates.is_empty()
    }

    /// Queues what [`State::look`] has found.
    fn enqueue(&mut self, cx: &Context<'_>, packets: &mut [Packet], next: &mut [Next]) {
        let State { shaper, waiting, frames, arrivals, dropped, .. } = self;
        let mut leads = [Lead::default(); VECTOR];
        for step in 0..arrivals.len() + 3 * AHEAD {
            if let Some((_, leaf, arrival)) = arrivals.get(step) {
                shaper.prefetch(*leaf, arrival);
            }
            if let Some(at) = step.checked_sub(AHEAD)
                && let Some(((_, leaf, arrival), lead)) = arrivals.get(at).zip(leads.get_mut(at))
            {
                *lead = shaper.prefetch_queue(*leaf, arrival);
            }
            if let Some(&lead) = step.checked_sub(2 * AHEAD).and_then(|at| leads.get(at)) {
                shaper.prefetch_tail(lead);
            }
            let Some(at) = step.checked_sub(3 * AHEAD) else { continue };
            let Some(((place, leaf, arrival), lead)) = arrivals.get(at).zip(leads.get(at)) else { continue };
            // First it waits: it may be dropped at once.
            let Some(room) = waiting.get_mut(arrival.packet as usize) else { continue };
            *frames += cx.frames.count_of(&packets[*place]);
            *room = packets[*place].take();
            next[*place] = Next::TAKEN;
            shaper.enqueue(*leaf, arrival, *lead, cx.now, &mut |gone| dropped.push(gone));
            if shaper.filters_acks(*leaf)
                && let Some(ack) = PureAck::in_packet(network(cx.frames.bytes(room), room.l3))
            {
                shaper.filter_acks(*leaf, arrival, *lead, &ack, &mut |gone| dropped.push(gone));
            }
        }
    }

    /// Carries out some of what the control thread wants.
    fn work(&mut self, now: u64) {
        let State { shaper, shaped, tasks, dropped, sweep, .. } = self;
        match tasks.front_mut() {
            None => return,
            Some(Task::Plan(orders, done)) => {
                if *done == 0 {
                    shaper.ways(&orders.disciplines, &orders.overheads);
                }
                for operation in orders.operations.iter().skip(*done).take(OPERATIONS) {
                    // Plans are checked before they get here; what doesn't fit changes nothing.
                    let fits = shaper.apply(operation, now, &mut |gone| dropped.push(gone));
                    debug_assert!(fits.is_ok(), "{operation:?}: {fits:?}");
                }
                *done += OPERATIONS;
                if *done < orders.operations.len() {
                    return;
                }
            }
            Some(Task::Forget(gone)) => {
                // A piece of a list: the worker gives few at a time.
                gone.customers.iter().for_each(|column| shaped.forget_customer(*column as usize));
                gone.tree_nodes.iter().for_each(|column| shaped.forget_node(*column as usize));
            }
        }
        tasks.pop_front();
        sweep.get_or_insert(Sweep { due: now, left: 0 });
    }

    /// Writes counters, a piece of what had changed when the sweep began: what changes meanwhile is the next one's, or customers who send all the time would be written without end.
    fn write(&mut self, sweep: Sweep, now: u64) {
        let State { shaper, shaped, .. } = self;
        let left = if sweep.left > 0 { sweep.left } else { shaper.changed() };
        let piece = left.min(SWEPT);
        shaped.sweep(shaper, piece);
        let left = left - piece;
        let wait = if left > 0 { self.piece_interval } else { self.sweep_interval };
        let more = left > 0 || shaper.changed() > 0 || shaper.backlog() > 0;
        self.sweep = more.then(|| Sweep { due: now.saturating_add(wait), left });
    }

    /// Sends on what the shaper has let go.
    fn send(&mut self, cx: &mut Context<'_>) {
        for (frame, mark) in self.sent.drain(..) {
            let Some(packet) = self.waiting.get_mut(frame as usize).filter(|packet| !packet.is_hole()) else {
                continue;
            };
            let mut packet = packet.take();
            self.frames -= cx.frames.count_of(&packet);
            if mark {
                let l3 = packet.l3;
                set_congestion_experienced(cx.frames.bytes_mut(&mut packet), l3);
            }
            cx.emit(Next::arc(0), packet);
        }
    }

    /// Drops what the shaper has dropped.
    fn give_up(&mut self, cx: &mut Context<'_>) {
        for Dropped { packet: frame, leaf, cause, .. } in self.dropped.drain(..) {
            self.shaped.dropped(leaf, cause);
            let Some(packet) = self.waiting.get_mut(frame as usize).filter(|packet| !packet.is_hole()) else {
                continue;
            };
            let mut packet = packet.take();
            self.frames -= cx.frames.count_of(&packet);
            let next = cx.drop(&mut packet, cause as u16);
            cx.emit(next, packet);
        }
    }
}

/// The leaf that a packet belongs to, by the port that it leaves by; it may not be set up.
#[inline(always)]
fn leaf_of(cx: &Context<'_>, packet: &Packet) -> Option<Leaf> {
    let parties = packet.parties();
    let (customer, direction) = match cx.tables.ports.egress(packet)? {
        Side::Lan => (parties.down, Direction::Down),
        Side::Wan => (parties.up, Direction::Up),
    };
    Some(Leaf::of(customer.column()? as u32, direction))
}

/// The type of service or traffic class; 0 for what is not IP.
#[inline(always)]
fn tos(network: Network<'_>) -> u8 {
    match network {
        Network::Ip4(bytes) => Ip4::new(bytes).map_or(0, Ip4::tos),
        Network::Ip6(bytes) => Ip6::new(bytes).map_or(0, Ip6::traffic_class),
        Network::Other => 0,
    }
}

/// Marks a packet that can be marked.
fn set_congestion_experienced(frame: &mut [u8], l3: u8) {
    let is_ip6 = match network(frame, l3) {
        Network::Ip4(_) => false,
        Network::Ip6(_) => true,
        Network::Other => return,
    };
    let Some(header) = frame.get_mut(usize::from(l3)..) else { return };
    if is_ip6 {
        // The traffic class lies across the first two bytes (RFC 8200 §3), and no checksum covers it.
        if let Some(byte) = header.get_mut(1) {
            *byte |= ECN << 4;
        }
    } else if let Some(mut ip) = Ip4Mut::new(header) {
        ip.set_congestion_experienced();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shaper::Cause;

    #[test]
    fn drops_have_their_causes_names_and_numbers() {
        use strum::{EnumCount, IntoEnumIterator};
        for cause in Cause::iter() {
            assert_eq!(Drop::VARIANTS[cause as usize], Cause::VARIANTS[cause as usize]);
        }
        assert_eq!(Drop::Leaving as usize, Cause::COUNT);
    }

    #[test]
    fn marks_leave_checksums_right() {
        for tos in [0b10, 0b01, 0x2e << 2 | 0b10] {
            let mut frame = vec![0; 14 + 20];
            let mut ip = Ip4Mut::new(&mut frame[14..]).unwrap();
            ip.set_lengths(20, 20);
            ip.set_tos(tos);
            ip.set_ttl_protocol(64, 6);
            ip.set_addresses(1, 2);
            crate::wire::ip4::write_checksum(&mut frame[14..]);
            set_congestion_experienced(&mut frame, 14);
            assert_eq!(frame[15], tos | 3);
            assert_eq!(crate::checksum::sum(&frame[14..]), 0xffff);
        }
        let mut six = vec![0; 14 + 40];
        six[14..16].copy_from_slice(&[0x6b, 0xa0]);
        set_congestion_experienced(&mut six, 14);
        assert_eq!(six[14..16], [0x6b, 0xb0]);
        let mut other = vec![7; 60];
        set_congestion_experienced(&mut other, 0);
        assert_eq!(other, vec![7; 60]);
    }
}
