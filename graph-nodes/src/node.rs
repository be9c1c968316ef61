//! What a node is: a stage of the graph that looks at a vector of packets and says for each where it goes next.
//!
//! A node is one file in [`nodes`](crate::nodes): a header comment (what it does, its arcs, its drop reasons, its cost), a struct with its
//! per-worker state, [`Node::process`], tests with byte arrays. Registering it is one line in the lists of [`nodes`](crate::nodes).
//!
//! The contract of `process`: for every packet of the vector write one [`Next`]. The dispatcher then moves the packets: a node cannot
//! lose or double one. A node that keeps a packet takes it out ([`Packet::take`]) and answers [`Next::TAKEN`]; a node that makes packets
//! gives them to [`Context::emit`].

use std::{net::IpAddr, sync::Arc};

use weir_stats::CombinedRow;

use crate::{
    adjacency::{Adjacencies, AdjacencyIndex},
    clock::Clock,
    counters::Counters,
    customers::Customers,
    exchange::Exchange,
    fib::Fib,
    frames::{FramePool, Frames},
    nodes::shaper::Setup,
    packet::{IcmpError, Packet, PortIndex, ReasonIndex},
    ports::Ports,
    rtt::{self, Tracker},
    shaper::Orders,
};

/// Most packets in a vector: VPP's number. Larger vectors fall out of the first-level cache, smaller ones amortise less.
pub const VECTOR: usize = 256;

/// Where a packet goes: an index into the node's own list of next nodes, or one of the two places that every node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Next(pub(crate) u8);

impl Next {
    /// To the `drop` node; use [`Context::drop`], which sets the reason.
    pub(crate) const DROP: Next = Next(254);
    /// Nowhere: the node has taken the packet.
    pub const TAKEN: Next = Next(255);

    /// The arc to the `index`-th of the node's next nodes.
    pub const fn arc(index: u8) -> Next {
        assert!(index < 254);
        Next(index)
    }
}

/// A stage of the graph, with the state of one worker.
pub trait Node: Send {
    /// Looks at every packet and writes to the same place of `next` where it goes. `next` is as long as `packets`, and holds
    /// `Next::arc(0)` everywhere at the start: the arc of the common case is written by nobody. A node that takes packets may also
    /// shorten `packets`; `next` then goes with what is left in it.
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]);

    /// Called between vectors when [`Held::deadline`] has passed, for nodes that hold packets: release what is due by [`Context::emit`].
    fn release(&mut self, _cx: &mut Context<'_>) {}

    /// Numbers whose counters begin anew: what they stood for is gone, no packet is counted under them any more, and they will stand for
    /// something else.
    fn forget(&mut self, _gone: &Forget) {}

    /// What the tree of rates is to be from now on, for the node that shapes.
    fn plan(&mut self, _orders: &Arc<Orders>) {}

    /// What the node holds now; asked for after every call.
    fn held(&self) -> Held {
        Held::default()
    }

    /// Gives up every held packet, with a reason to drop it for: the worker is leaving.
    fn drain(&mut self, _cx: &mut Context<'_>) {}
}

/// What a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Packets.
    pub packets: usize,
    /// Their frames.
    pub frames: usize,
    /// When [`Node::release`] wants to be called (ticks of [`clock`](crate::clock)); `None`: not until packets come.
    pub deadline: Option<u64>,
}

/// A node's entry in the list of nodes.
#[derive(Clone, Copy)]
pub struct Registration {
    /// Its name, as users see it in `/nodes/<name>/…`, `/err/<name>/…`, traces.
    pub name: &'static str,
    /// Names of the nodes that it can send packets to, in the order of its `Next` constants; `drop` need not be named.
    pub next: &'static [&'static str],
    /// Names of its drop reasons, in the order of its reason enum.
    pub reasons: &'static [&'static str],
    /// Names of what else it counts, in the order in which it passes them to [`Context::count`]; `/events/<name>/<event>`.
    pub events: &'static [&'static str],
    /// Makes one worker's instance.
    pub create: fn(&mut Workbench<'_>) -> Result<Box<dyn Node>, weir_stats::Error>,
}

/// A question of a worker to the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Find the link-layer address of a neighbour.
    Resolve {
        /// The port that it is behind.
        port: PortIndex,
        /// Its address.
        address: IpAddr,
    },
}

/// Routes, next hops and customers that are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forget {
    /// Route indices of IPv4.
    pub routes: Vec<u32>,
    /// Route indices of IPv6.
    pub routes6: Vec<u32>,
    /// Adjacency indices.
    pub adjacencies: Vec<u32>,
    /// Customers' columns.
    pub customers: Vec<u32>,
    /// Columns of nodes of the shaper's tree.
    pub tree_nodes: Vec<u32>,
}

/// What a node may be made of.
pub struct Workbench<'a> {
    /// The worker's row in every per-thread vector (worker *w* has row *w* + 1).
    pub row: usize,
    /// Where a node that counts more than drops and events registers its own vectors.
    pub counters: &'a mut Counters,
    /// The tables that the node may keep a handle of.
    pub tables: Arc<Tables>,
    /// Where a node sends its [`Request`]s.
    pub requests: crossbeam_channel::Sender<Request>,
    /// The length of a tick.
    pub clock: Clock,
    /// A random number, the same for all workers of the process: seeds hashes that senders must not foresee.
    pub seed: u64,
    /// How round-trip times are measured, if they are.
    pub rtt: Option<rtt::Settings>,
    /// What the worker's shaper is made of, if packets are shaped.
    pub shaper: Option<Setup>,
}

/// Forwarding state: written by the control thread, read by all workers.
pub struct Tables {
    /// IPv4 routes.
    pub fib: Fib,
    /// IPv6 routes.
    pub fib6: Fib<u128>,
    /// Next hops.
    pub adjacencies: Adjacencies,
    /// Whose addresses are, if that is counted.
    pub customers: Option<Customers>,
    /// Ports' addresses and sizes.
    pub ports: Ports,
}

/// What a node sees while it processes a vector.
pub struct Context<'a> {
    /// The packets' bytes.
    pub frames: &'a Frames,
    /// This worker's free frames.
    pub pool: &'a mut FramePool,
    /// The way to other workers.
    pub exchange: &'a mut Exchange,
    /// Forwarding state.
    pub tables: &'a Tables,
    /// The time that [`Graph::run`](crate::graph::Graph::run) was given, in ticks: when the burst was received.
    pub now: u64,
    /// When the node was given the vector, in ticks: later than `now` by what the nodes before it took.
    pub begin: u64,
    /// The counters of next hops, which the nodes that rewrite share; `None`: the graph is a bridge's.
    pub next_hops: Option<&'a mut CombinedRow>,
    /// The measurement of round-trip times, which two nodes share; `None`: nothing is measured.
    pub tracker: Option<&'a mut Tracker>,
    /// Packets on their way to the ports' rings, by port.
    pub transmit: &'a mut [Vec<Packet>],
    pub(crate) emitted: &'a mut Vec<(Next, Packet)>,
    pub(crate) reason_base: u16,
    pub(crate) event_base: usize,
    pub(crate) events: &'a mut weir_stats::SimpleRow,
    pub(crate) created: u64,
}

impl Context<'_> {
    /// Marks the packet with one of this node's drop reasons; answer its place with what this returns.
    #[inline]
    pub fn drop(&self, packet: &mut Packet, reason: impl Into<u16>) -> Next {
        packet.reason = ReasonIndex(self.reason_base + reason.into());
        Next::DROP
    }

    /// Marks the packet as dropped for `reason`, and asks for an ICMP error about it over `arc` (which leads to `ip4-icmp-error`).
    #[inline]
    pub fn icmp_error(
        &self,
        packet: &mut Packet,
        reason: impl Into<u16>,
        error: IcmpError,
        arc: Next,
    ) -> Next {
        packet.reason = ReasonIndex(self.reason_base + reason.into());
        packet.set_icmp(error);
        arc
    }

    /// Sends on a packet that was held.
    #[inline]
    pub fn emit(&mut self, next: Next, packet: Packet) {
        self.emitted.push((next, packet));
    }

    /// Sends on a packet that the node has made; it counts as created, so that received + created = sent + dropped + held.
    #[inline]
    pub fn emit_created(&mut self, next: Next, packet: Packet) {
        self.created += 1;
        self.emitted.push((next, packet));
    }

    /// Counts what is sent to a next hop: packets, and their bytes from the IP header on.
    #[inline]
    pub(crate) fn count_next_hop(&mut self, adjacency: AdjacencyIndex, packets: u64, bytes: u64) {
        if let Some(next_hops) = &mut self.next_hops {
            next_hops.add(adjacency.as_u32() as usize, packets, bytes);
        }
    }

    /// Counts one of this node's events.
    #[inline]
    pub fn count(&mut self, event: impl Into<u16>, n: u64) {
        self.events.add(self.event_base + usize::from(event.into()), n);
    }
}
