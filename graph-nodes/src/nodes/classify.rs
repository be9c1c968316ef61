//! `classify`: whose a packet is: the customer that it comes from, and the one that it goes to.
//!
//! It notes both in the packet, for `hand-off` and all that stands behind it. What is not IP is nobody's. Without customers to be counted or held to their rates
//! this node is left out of the graph.
//!
//! Three passes over the vector: read the addresses; look them up, which is waiting for memory and so is done for all together; note the customers. A vector
//! that is not IPv4 throughout is sorted by version first.
//!
//! * arcs: `hand-off`
//! * drops: none
//! * cost: see `docs/performance.md`

use weir_stats::Error;

use crate::{
    customers::{Customer, Customers},
    node::{Context, Next, Node, Registration, VECTOR, Workbench},
    packet::{Packet, Parties},
    ports::Side,
    wire::{Network, ip4::Ip4, ip6::Ip6, network},
};

/// Packets of a vector are told apart by a byte.
const _: () = assert!(VECTOR <= 1 << u8::BITS);

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "classify", next: &["hand-off"], reasons: &[], events: &[], create };

struct Classify {
    ip4: Addresses<u32>,
    ip6: Addresses<u128>,
    up: [Customer; VECTOR],
    down: [Customer; VECTOR],
}

/// Addresses of the vector's packets of one version.
struct Addresses<A> {
    count: usize,
    /// Which packets of the vector.
    packets: [u8; VECTOR],
    sources: [A; VECTOR],
    destinations: [A; VECTOR],
}

impl<A: Copy + Default> Addresses<A> {
    fn new() -> Addresses<A> {
        let none = [A::default(); VECTOR];
        Addresses { count: 0, packets: [0; VECTOR], sources: none, destinations: none }
    }

    #[inline(always)]
    fn push(&mut self, packet: u8, source: A, destination: A) {
        // At most a vector's packets: the remainder is the number itself.
        let at = self.count % VECTOR;
        self.packets[at] = packet;
        self.sources[at] = source;
        self.destinations[at] = destination;
        self.count += 1;
    }
}

fn create(_: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Classify {
        ip4: Addresses::new(),
        ip6: Addresses::new(),
        up: [Customer::NONE; VECTOR],
        down: [Customer::NONE; VECTOR],
    }))
}

/// Notes whose a packet is. `unknown` is whose everybody is who is no customer, if that is anybody's.
#[inline(always)]
fn note(cx: &Context<'_>, unknown: Customer, packet: &mut Packet, mut parties: Parties) {
    if unknown != Customer::NONE {
        // Only the end on the customers' side is anybody's: the internet is no customer.
        match cx.tables.ports.egress(packet) {
            Some(Side::Lan) if parties.down == Customer::NONE => parties.down = unknown,
            Some(Side::Wan) if parties.up == Customer::NONE => parties.up = unknown,
            _ => {}
        }
    }
    packet.set_parties(parties);
}

impl Node for Classify {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, _: &mut [Next]) {
        let Some(customers) = &cx.tables.customers else {
            packets.iter_mut().for_each(|packet| packet.set_parties(Parties::default()));
            return;
        };
        let Classify { ip4, up, down, .. } = self;
        // Most vectors are IPv4 throughout: each packet has the place that it has in the vector.
        let mut others = 0;
        let ends = ip4.sources.iter_mut().zip(&mut ip4.destinations);
        for (packet, (source, destination)) in packets.iter().zip(ends) {
            match network(cx.frames.bytes(packet), packet.l3) {
                Network::Ip4(datagram) if let Some(ip) = Ip4::new(datagram) => {
                    (*source, *destination) = (ip.source(), ip.destination());
                }
                _ => others += 1,
            }
        }
        if others > 0 {
            self.mixed(cx, customers, packets);
            return;
        }
        let count = packets.len().min(VECTOR);
        customers.of_ip4(&ip4.sources[..count], up);
        customers.of_ip4(&ip4.destinations[..count], down);
        let unknown = customers.unknown();
        for ((packet, up), down) in packets.iter_mut().zip(up).zip(down) {
            note(cx, unknown, packet, Parties { up: *up, down: *down });
        }
    }
}

impl Classify {
    /// A vector of both versions, or with packets that are of neither.
    #[inline(never)]
    fn mixed(&mut self, cx: &Context<'_>, customers: &Customers, packets: &mut [Packet]) {
        let Classify { ip4, ip6, up, down } = self;
        (ip4.count, ip6.count) = (0, 0);
        for (at, packet) in packets.iter_mut().enumerate() {
            match network(cx.frames.bytes(packet), packet.l3) {
                Network::Ip4(datagram) if let Some(ip) = Ip4::new(datagram) => {
                    ip4.push(at as u8, ip.source(), ip.destination());
                }
                Network::Ip6(datagram) if let Some(ip) = Ip6::new(datagram) => {
                    ip6.push(at as u8, ip.source(), ip.destination());
                }
                _ => packet.set_parties(Parties::default()),
            }
        }
        let unknown = customers.unknown();
        let mut note = |of: &[u8], up: &[Customer], down: &[Customer]| {
            for ((packet, up), down) in of.iter().zip(up).zip(down) {
                if let Some(packet) = packets.get_mut(usize::from(*packet)) {
                    note(cx, unknown, packet, Parties { up: *up, down: *down });
                }
            }
        };
        let (fours, sixes) = (ip4.count.min(VECTOR), ip6.count.min(VECTOR));
        customers.of_ip4(&ip4.sources[..fours], up);
        customers.of_ip4(&ip4.destinations[..fours], down);
        note(&ip4.packets[..fours], up, down);
        customers.of_ip6(&ip6.sources[..sixes], up);
        customers.of_ip6(&ip6.destinations[..sixes], down);
        note(&ip6.packets[..sixes], up, down);
    }
}
