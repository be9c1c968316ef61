//! `hand-off`: gives packets to the worker that their flow belongs to, so that both directions of a flow meet one worker, whichever queues they
//! came in by. The owner is chosen by the [flow's hash](crate::flow_hash), which has one seed for all workers.
//!
//! It stands behind `ip4-rewrite`, or behind `l2-cross-connect` in a bridge, because from there on a packet is ready to be sent, and nothing that is still to come depends on the worker that received it;
//! the owner goes on with it at the next node. With one worker this node is left out of the graph.
//!
//! * arcs: `tcp-rtt-match`
//! * drops: [`Drop`]
//! * counts: [`Event`]
//! * cost: see `docs/performance.md`

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    exchange::Refused,
    flow_hash::{FlowHash, owner},
    node::{Context, Next, Node, Registration, VECTOR, Workbench},
    packet::Packet,
    wire::network,
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// The ring to the flow's worker is full: that worker does not keep up.
    RingFull,
    /// The packet came when this worker was leaving.
    Leaving,
}

/// What else it counts.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Event {
    /// Packets that this worker has given to others.
    Given,
    /// Packets that this worker has taken from others.
    Taken,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "hand-off",
    next: &["tcp-rtt-match"],
    reasons: Drop::VARIANTS,
    events: Event::VARIANTS,
    create,
};

struct HandOff {
    hash: FlowHash,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(HandOff { hash: FlowHash::new(bench.seed) }))
}

impl Node for HandOff {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let (me, workers) = (cx.exchange.worker(), cx.exchange.workers());
        let mut owners = [me; VECTOR];
        let mut differ = 0;
        for (packet, place) in packets.iter().zip(&mut owners) {
            *place = owner(self.hash.network(network(cx.frames.bytes(packet), packet.l3)), workers);
            differ |= *place ^ me;
        }
        if differ == 0 {
            return;
        }
        // What stays moves up, in order, so that it leaves this node as one vector.
        let (mut kept, mut given) = (0, 0);
        for (at, owner) in owners.iter().enumerate().take(packets.len()) {
            if *owner != me {
                match cx.exchange.give(*owner, packets[at].take()) {
                    Ok(()) => {
                        given += 1;
                        continue;
                    }
                    Err((packet, refused)) => {
                        packets[at] = packet;
                        let reason = match refused {
                            Refused::Full => Drop::RingFull,
                            Refused::Closed => Drop::Leaving,
                        };
                        next[kept] = cx.drop(&mut packets[at], reason as u16);
                    }
                }
            }
            packets.swap(kept, at);
            kept += 1;
        }
        packets.truncate(kept);
        cx.count(Event::Given as u16, given);
        cx.exchange.publish();
    }
}
