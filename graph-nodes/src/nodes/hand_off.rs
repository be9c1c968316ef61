//! `hand-off`: gives packets to the worker that they belong to, whichever queues they came in by.
//!
//! The owner is chosen by the [flow's hash](crate::flow_hash), which has one seed for all workers, so that both directions of a flow meet one worker. Where
//! customers are held to their rates, all packets of one go to the worker of that customer's [`Share`]: of the customer where a packet goes if it leaves by a
//! port on the customers' side, of the customer that it comes from if it leaves towards the internet. What is nobody's there goes by its flow.
//!
//! It stands behind `ip4-rewrite`, or behind `l2-cross-connect` in a bridge, because from there on a packet is ready to be sent, and nothing that is still to
//! come depends on the worker that received it; the owner goes on with it at the next node. With one worker this node is left out of the graph.
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

/// Which worker has which customer: the customer's column modulo the workers, without a division.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    workers: u32,
    /// 2⁶⁴ / workers, rounded up. The fraction of column × this / 2⁶⁴, times the workers, is the remainder: exact for 32 bits (Lemire, Kaser,
    /// Kurz: "Faster remainder by direct computation", 2019).
    inverse: u64,
}

impl Share {
    /// Among so many workers, at least one.
    pub const fn among(workers: u32) -> Share {
        let workers = if workers == 0 { 1 } else { workers };
        Share { workers, inverse: (u64::MAX / workers as u64).wrapping_add(1) }
    }

    /// The worker that has the customer in this column.
    #[inline(always)]
    pub const fn worker(self, column: u32) -> u32 {
        let fraction = self.inverse.wrapping_mul(column as u64);
        ((fraction as u128 * self.workers as u128) >> 64) as u32
    }
}

struct HandOff {
    hash: FlowHash,
    /// By customer; `None`: by flow.
    share: Option<Share>,
}

impl HandOff {
    #[inline(always)]
    fn by_flow(&self, cx: &Context<'_>, packet: &Packet, workers: u32) -> u32 {
        owner(self.hash.network(network(cx.frames.bytes(packet), packet.l3)), workers)
    }

    #[inline(always)]
    fn by_customer(&self, cx: &Context<'_>, packet: &Packet, share: Share) -> u32 {
        let customer = packet.parties().rated(cx.tables.ports.egress(packet));
        match customer.column() {
            Some(column) => share.worker(column as u32),
            None => self.by_flow(cx, packet, share.workers),
        }
    }
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    // How many workers there are is known with the first vector.
    let share = bench.shaper.is_some().then(|| Share::among(1));
    Ok(Box::new(HandOff { hash: FlowHash::new(bench.seed), share }))
}

impl Node for HandOff {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let (me, workers) = (cx.exchange.worker(), cx.exchange.workers());
        let mut owners = [me; VECTOR];
        let mut differ = 0;
        match &mut self.share {
            Some(share) => {
                if share.workers != workers {
                    *share = Share::among(workers);
                }
                let share = *share;
                for (packet, place) in packets.iter().zip(&mut owners) {
                    *place = self.by_customer(cx, packet, share);
                    differ |= *place ^ me;
                }
            }
            None => {
                for (packet, place) in packets.iter().zip(&mut owners) {
                    *place = self.by_flow(cx, packet, workers);
                    differ |= *place ^ me;
                }
            }
        }
        if differ == 0 {
            return;
        }
        // What stays moves up, in order, so that it leaves this node as one vector.
        let (mut kept, mut given) = (0, 0);
        for (at, owner) in owners.iter().enumerate().take(packets.len()) {
            if *owner != me {
                match cx.exchange.give(*owner, packets[at].take(), cx.frames) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customers_worker_is_the_remainder_of_the_column() {
        for workers in 1..70 {
            let share = Share::among(workers);
            for column in (0..300).chain([(1 << 20) - 1, 1 << 20, (1 << 21) - 1, u32::MAX]) {
                assert_eq!(share.worker(column), column % workers, "{column} of {workers}");
            }
        }
        assert_eq!(Share::among(0).worker(5), 0);
    }
}
