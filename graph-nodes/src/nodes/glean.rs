//! `glean`: packets whose next hop's MAC address is not known yet.
//!
//! Asks the control thread, which asks the kernel, to find the neighbour, and holds the first few packets for it. Once the tables know the
//! neighbour they go back to the lookup of their version; if it does not answer in time their senders are told (host unreachable, RFC 1812 §5.2.7.1;
//! address unreachable, RFC 4443 §3.1).
//!
//! Bounded: so many neighbours, so many packets for each; a scan of an empty network can't hold more. A set of slots that is full of
//! unanswered neighbours refuses new ones until the oldest time out.
//!
//! * arcs: `ip4-lookup`, `ip4-icmp-error`, `ip6-lookup`, `ip6-icmp-error`
//! * drops: [`Drop`]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crossbeam_channel::Sender;
use strum::VariantNames;
use weir_stats::Error;

use crate::{
    adjacency::AdjacencyKind,
    flow_hash::{Endpoint, FlowHash, mapped},
    node::{Context, Held, Next, Node, Registration, Request, Workbench},
    packet::{IcmpError, Packet, PortIndex},
    wire::{Network, icmp4, icmp6, ip6::Ip6, network},
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// The neighbour did not answer in time.
    Unresolved,
    /// As many packets as may wait for one neighbour are waiting.
    QueueFull,
    /// As many neighbours as can be waited for are being waited for.
    TableFull,
    /// The next hop went away meanwhile.
    NextHopGone,
    /// weir is leaving.
    Shutdown,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "glean",
    next: &["ip4-lookup", "ip4-icmp-error", "ip6-lookup", "ip6-icmp-error"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

/// What differs between the two versions of IP.
#[derive(Clone, Copy)]
struct Version {
    lookup: Next,
    unreachable: IcmpError,
    icmp_error: Next,
}

const IP4: Version =
    Version { lookup: Next::arc(0), unreachable: icmp4::HOST_UNREACHABLE, icmp_error: Next::arc(1) };
const IP6: Version =
    Version { lookup: Next::arc(2), unreachable: icmp6::ADDRESS_UNREACHABLE, icmp_error: Next::arc(3) };

/// Where a packet goes, if it is a whole one: the nodes in front have seen to that.
fn destination(cx: &Context<'_>, packet: &Packet) -> Option<(Version, IpAddr)> {
    match network(cx.frames.bytes(packet), packet.l3) {
        Network::Ip4(_) => Some((IP4, Ipv4Addr::from_bits(packet.destination).into())),
        Network::Ip6(bytes) => Some((IP6, Ipv6Addr::from_bits(Ip6::new(bytes)?.destination()).into())),
        Network::Other => None,
    }
}

/// Neighbours that can be waited for at once: sets × ways. More would let a scan hold more frames, fewer would let one starve real neighbours.
const SETS: usize = 64;
const WAYS: usize = 4;
/// Packets that wait for one neighbour (Linux: unres_qlen_bytes holds some 100; a router that answers within milliseconds needs few).
const DEPTH: usize = 4;
/// How long a neighbour may take: the kernel asks three times, a second apart (mcast_solicit, retrans_time_ms).
const TIMEOUT_SECONDS: u64 = 3;
/// How often a neighbour is asked for, a second.
const ASKS_PER_SECOND: u64 = 1;
/// How often held packets' next hops are looked at, a second.
const POLLS_PER_SECOND: u64 = 1000;

/// One neighbour that is being waited for.
struct Waiting {
    port: PortIndex,
    address: IpAddr,
    /// When to give up; 0: the slot is free.
    until: u64,
    /// When to ask the control thread again: a question may be lost.
    ask: u64,
    packets: [Option<Packet>; DEPTH],
}

impl Default for Waiting {
    fn default() -> Waiting {
        let address = Ipv4Addr::UNSPECIFIED.into();
        Waiting { port: 0, address, until: 0, ask: 0, packets: Default::default() }
    }
}

struct Glean {
    slots: Vec<Waiting>,
    /// Numbers of the slots in use, in no order.
    used: Vec<usize>,
    held: Held,
    next_poll: u64,
    hz: u64,
    hash: FlowHash,
    requests: Sender<Request>,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Glean {
        slots: (0..SETS * WAYS).map(|_| Waiting::default()).collect(),
        used: Vec::with_capacity(SETS * WAYS),
        held: Held::default(),
        next_poll: 0,
        hz: bench.clock.hz(),
        hash: FlowHash::new(bench.seed),
        requests: bench.requests.clone(),
    }))
}

impl Glean {
    /// The slot of a neighbour, a new one if need be; `None` if its set is full.
    fn slot(&mut self, port: PortIndex, address: IpAddr, now: u64) -> Option<usize> {
        let bits = match address {
            IpAddr::V4(address) => mapped(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let neighbour = Endpoint { address: bits, port };
        let nobody = Endpoint { address: 0, port: 0 };
        let set = (self.hash.hash(neighbour, nobody, 0) >> 32) as usize % SETS * WAYS;
        let ways = set..set + WAYS;
        let is_it = |slot: &Waiting| slot.until != 0 && slot.port == port && slot.address == address;
        if let Some(found) = ways.clone().find(|slot| is_it(&self.slots[*slot])) {
            return Some(found);
        }
        let free = ways.into_iter().find(|slot| self.slots[*slot].until == 0)?;
        let slot = &mut self.slots[free];
        (slot.port, slot.address, slot.until) = (port, address, now + TIMEOUT_SECONDS * self.hz);
        if self.used.is_empty() {
            self.next_poll = now + self.hz / POLLS_PER_SECOND;
        }
        self.used.push(free);
        self.ask(free, now);
        Some(free)
    }

    fn ask(&mut self, slot: usize, now: u64) {
        let slot = &mut self.slots[slot];
        slot.ask = now + self.hz / ASKS_PER_SECOND;
        // A full channel is a control thread that is busy with as many neighbours: this one is asked for again.
        let _ = self.requests.try_send(Request::Resolve { port: slot.port, address: slot.address });
    }

    fn hold(&mut self, cx: &mut Context<'_>, packet: &mut Packet) -> Next {
        let adjacency = cx.tables.adjacencies.load(packet.adjacency);
        let Some((version, destination)) = destination(cx, packet) else {
            return cx.drop(packet, Drop::NextHopGone as u16);
        };
        let address = match adjacency.kind() {
            AdjacencyKind::Glean => Some(destination),
            AdjacencyKind::Incomplete => cx.tables.adjacencies.next_hop(packet.adjacency),
            AdjacencyKind::Rewrite => return version.lookup, // found between the nodes
            _ => None,
        };
        let Some(address) = address else {
            return cx.drop(packet, Drop::NextHopGone as u16);
        };
        let Some(slot) = self.slot(adjacency.port(), address, cx.now) else {
            return cx.drop(packet, Drop::TableFull as u16);
        };
        match self.slots[slot].packets.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                self.held.packets += 1;
                self.held.frames += cx.frames.count_of(packet);
                *place = Some(packet.take());
                Next::TAKEN
            }
            None => cx.drop(packet, Drop::QueueFull as u16),
        }
    }

    /// `true` once a packet that waits in the slot would find its way.
    fn is_resolved(&self, cx: &Context<'_>, slot: usize) -> bool {
        let Some(packet) = self.slots[slot].packets.iter().flatten().next() else { return false };
        let leaf = match destination(cx, packet) {
            Some((_, IpAddr::V4(address))) => cx.tables.fib.lookup(address.to_bits()),
            Some((_, IpAddr::V6(address))) => cx.tables.fib6.lookup(address.to_bits()),
            None => return true,
        };
        // Among several next hops only the one that was waited for counts; another may lead elsewhere.
        let adjacency =
            cx.tables.adjacencies.load(if leaf.is_multipath() { packet.adjacency } else { leaf.adjacency() });
        !matches!(adjacency.kind(), AdjacencyKind::Glean | AdjacencyKind::Incomplete)
    }

    /// Frees a slot and sends its packets on: to be looked up again, or to be dropped for a reason.
    fn empty(&mut self, cx: &mut Context<'_>, slot: usize, reason: Option<Drop>) {
        self.slots[slot].until = 0;
        for place in 0..DEPTH {
            let Some(mut packet) = self.slots[slot].packets[place].take() else { continue };
            self.held.packets -= 1;
            self.held.frames -= cx.frames.count_of(&packet);
            let next = match (reason, destination(cx, &packet)) {
                (None, Some((version, _))) => version.lookup,
                (Some(Drop::Unresolved), Some((version, _))) => {
                    let Version { unreachable, icmp_error, .. } = version;
                    cx.icmp_error(&mut packet, Drop::Unresolved as u16, unreachable, icmp_error)
                }
                (reason, _) => cx.drop(&mut packet, reason.unwrap_or(Drop::NextHopGone) as u16),
            };
            cx.emit(next, packet);
        }
    }
}

impl Node for Glean {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        for (packet, next) in packets.iter_mut().zip(next) {
            *next = self.hold(cx, packet);
        }
    }

    fn release(&mut self, cx: &mut Context<'_>) {
        self.next_poll = cx.now + self.hz / POLLS_PER_SECOND;
        let mut at = 0;
        while let Some(slot) = self.used.get(at).copied() {
            let reason = if self.is_resolved(cx, slot) {
                None
            } else if self.slots[slot].until <= cx.now {
                Some(Drop::Unresolved)
            } else {
                if self.slots[slot].ask <= cx.now {
                    self.ask(slot, cx.now);
                }
                at += 1;
                continue;
            };
            self.used.swap_remove(at);
            self.empty(cx, slot, reason);
        }
    }

    fn held(&self) -> Held {
        Held { deadline: (!self.used.is_empty()).then_some(self.next_poll), ..self.held }
    }

    fn drain(&mut self, cx: &mut Context<'_>) {
        while let Some(slot) = self.used.pop() {
            self.empty(cx, slot, Some(Drop::Shutdown));
        }
    }
}
