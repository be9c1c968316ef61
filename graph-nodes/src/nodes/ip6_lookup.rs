//! `ip6-lookup`: finds the next hop of each IPv6 packet by longest-prefix match and counts the route that matched.
//!
//! Passes over the vector as in `ip4-lookup`; the destinations are read from the frames again, where `ip6-input` has just read them.
//!
//! * arcs: `ip6-rewrite`, `ip6-icmp-error`
//! * drops: those of [`ip4_lookup`](super::ip4_lookup::Drop)
//! * counts: `/net/route6/to`, packets and IP bytes by route index (column 0: no route)

use strum::VariantNames;
use weir_stats::{CombinedRow, Description, Error};

use super::ip4_lookup::Drop;
use crate::{
    adjacency::AdjacencyIndex,
    fib::Leaf,
    flow_hash::FlowHash,
    node::{Context, Forget, Next, Node, Registration, VECTOR, Workbench},
    packet::Packet,
    wire::{Network, icmp6, ip6::Ip6},
};

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ip6-lookup",
    next: &["ip6-rewrite", "ip6-icmp-error"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

const ICMP_ERROR: Next = Next::arc(1);

/// The route counters, for the control thread too, which names and grows them.
pub static ROUTE_COUNTERS: Description = Description::combined(
    "/net/route6/to",
    "route=/net/route6/names",
    "IPv6 packets and bytes that matched the route; column 0: no route",
);
/// Most routes that can be counted; reserved as address space, not as memory. The internet's table has some 230,000 (2026).
pub const ROUTE_CAPACITY: usize = 1 << 20;

struct Ip6Lookup {
    routes: CombinedRow,
    hash: FlowHash,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    let routes = bench.counters.combined_row(&ROUTE_COUNTERS, 1, ROUTE_CAPACITY, bench.row)?;
    Ok(Box::new(Ip6Lookup { routes, hash: FlowHash::new(bench.seed) }))
}

impl Ip6Lookup {
    /// Hash of what makes a flow: the addresses and the flow label (RFC 6438 §3), which all pieces of a packet have; where senders set no label the ports of TCP and UDP,
    /// which pieces go without (they must not overtake each other on another path).
    fn flow(&self, bytes: &[u8]) -> u32 {
        let Some(ip) = Ip6::new(bytes) else { return 0 };
        let hash = match ip.flow_label() {
            0 => self.hash.pieces_together(Network::Ip6(bytes)),
            label => self.hash.labelled(ip.source(), ip.destination(), label),
        };
        hash as u32
    }
}

impl Node for Ip6Lookup {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let fib = &cx.tables.fib6;
        let mut destinations = [0; VECTOR];
        for (packet, destination) in packets.iter().zip(&mut destinations) {
            let bytes = cx.frames.bytes(packet).get(usize::from(packet.l3)..).unwrap_or_default();
            *destination = Ip6::new(bytes).map_or(0, Ip6::destination);
        }
        let mut leaves = [Leaf::default(); VECTOR];
        fib.lookup_mixed(&destinations[..packets.len()], &mut leaves);
        for leaf in &leaves[..packets.len()] {
            self.routes.prefetch(leaf.route() as usize);
        }
        // Runs of packets that match the same route are counted together.
        let (mut route, mut begin, mut bytes) = (leaves[0].route(), 0, 0);
        for (at, ((packet, leaf), next)) in packets.iter_mut().zip(&leaves).zip(next).enumerate() {
            if leaf.route() != route {
                self.routes.add(route as usize, (at - begin) as u64, bytes);
                (route, begin, bytes) = (leaf.route(), at, 0);
            }
            bytes += u64::from(packet.len()) - u64::from(packet.l3);
            packet.adjacency = if leaf.is_multipath() {
                let bytes = cx.frames.bytes(packet).get(usize::from(packet.l3)..).unwrap_or_default();
                fib.resolve(*leaf, self.flow(bytes))
            } else {
                leaf.adjacency()
            };
            if packet.adjacency.is_special() {
                *next = refuse(cx, packet);
            }
        }
        self.routes.add(route as usize, (packets.len() - begin) as u64, bytes);
    }

    fn forget(&mut self, gone: &Forget) {
        for route in &gone.routes6 {
            self.routes.set(*route as usize, 0, 0);
        }
    }
}

/// The next hops that are none.
#[cold]
fn refuse(cx: &Context<'_>, packet: &mut Packet) -> Next {
    match packet.adjacency {
        AdjacencyIndex::PROHIBITED => {
            cx.icmp_error(packet, Drop::Prohibited as u16, icmp6::PROHIBITED, ICMP_ERROR)
        }
        AdjacencyIndex::BLACKHOLE => cx.drop(packet, Drop::Blackhole as u16),
        AdjacencyIndex::LOCAL => cx.drop(packet, Drop::Local as u16),
        AdjacencyIndex::NO_PORT => cx.icmp_error(packet, Drop::NoPort as u16, icmp6::NO_ROUTE, ICMP_ERROR),
        _ => cx.icmp_error(packet, Drop::NoRoute as u16, icmp6::NO_ROUTE, ICMP_ERROR),
    }
}
