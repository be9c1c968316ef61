//! `ip4-lookup`: finds the next hop of each packet by longest-prefix match and counts the route that matched.
//!
//! Three passes over the vector, so that the memory of all packets' entries (`ip4-input` has asked for it), then of all packets' counters, is on
//! its way at the same time: a random destination among 500,000 routes misses the cache in both.
//!
//! * arcs: `ip4-rewrite`, `ip4-icmp-error`
//! * drops: [`Drop`]
//! * counts: `/net/route/to`, packets and IP bytes by route index (column 0: no route)

use strum::VariantNames;
use weir_stats::{CombinedRow, Description, Error};

use crate::{
    adjacency::AdjacencyIndex,
    fib::Leaf,
    flow_hash::FlowHash,
    node::{Context, Forget, Next, Node, Registration, VECTOR, Workbench},
    packet::Packet,
    wire::{Network, icmp4},
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// No route, or a route of type `unreachable`: the sender is told (network unreachable).
    NoRoute,
    /// A route of type `prohibit`: the sender is told (communication administratively prohibited).
    Prohibited,
    /// A route of type `blackhole`.
    Blackhole,
    /// An address of this machine: its traffic is the kernel's, and the XDP program passes it there. Seen only in the moment in which an
    /// address is added, or on ports without an XDP program.
    Local,
    /// The best route leaves by a device that is not a port of weir.
    NoPort,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ip4-lookup",
    next: &["ip4-rewrite", "ip4-icmp-error"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

const ICMP_ERROR: Next = Next::arc(1);

/// The route counters, for the control thread too, which names and grows them.
pub static ROUTE_COUNTERS: Description = Description::combined(
    "/net/route/to",
    "route=/net/route/names",
    "IP packets and bytes that matched the route; column 0: no route",
);
/// Most routes that can be counted; reserved as address space, not as memory.
pub const ROUTE_CAPACITY: usize = 1 << 22;

struct Ip4Lookup {
    routes: CombinedRow,
    hash: FlowHash,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    let routes = bench.counters.combined_row(&ROUTE_COUNTERS, 1, ROUTE_CAPACITY, bench.row)?;
    Ok(Box::new(Ip4Lookup { routes, hash: FlowHash::new(bench.seed) }))
}

impl Node for Ip4Lookup {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let fib = &cx.tables.fib;
        let mut destinations = [0; VECTOR];
        for (packet, destination) in packets.iter().zip(&mut destinations) {
            *destination = packet.destination;
        }
        let mut leaves = [Leaf::default(); VECTOR];
        fib.lookup_many(&destinations[..packets.len()], &mut leaves);
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
                let datagram = cx.frames.bytes(packet).get(usize::from(packet.l3)..).unwrap_or_default();
                fib.resolve(*leaf, self.hash.pieces_together(Network::Ip4(datagram)) as u32)
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
        for route in &gone.routes {
            self.routes.set(*route as usize, 0, 0);
        }
    }
}

/// The next hops that are none.
#[cold]
fn refuse(cx: &Context<'_>, packet: &mut Packet) -> Next {
    match packet.adjacency {
        AdjacencyIndex::PROHIBITED => {
            cx.icmp_error(packet, Drop::Prohibited as u16, icmp4::PROHIBITED, ICMP_ERROR)
        }
        AdjacencyIndex::BLACKHOLE => cx.drop(packet, Drop::Blackhole as u16),
        AdjacencyIndex::LOCAL => cx.drop(packet, Drop::Local as u16),
        AdjacencyIndex::NO_PORT => {
            cx.icmp_error(packet, Drop::NoPort as u16, icmp4::NET_UNREACHABLE, ICMP_ERROR)
        }
        _ => cx.icmp_error(packet, Drop::NoRoute as u16, icmp4::NET_UNREACHABLE, ICMP_ERROR),
    }
}
