//! `tcp-rtt-stamp`: notes when packets leave whose answers are waited for, and how long all packets were inside.
//!
//! The second half of the measurement, behind all that holds packets back; see `tcp-rtt-match`. The time of leaving is that at which this node
//! begins with the vector: what comes after it is the same short way to the port's ring for all.
//!
//! * arcs: `tx`
//! * drops: none
//! * counts: `/delay/…`
//! * cost: see `docs/performance.md`

use weir_stats::Error;

use crate::{
    node::{Context, Forget, Next, Node, Registration, VECTOR, Workbench},
    packet::Packet,
    round_trips::Waited,
    rtt::Observed,
    wire::network,
};

/// Packets of a vector are told apart by a byte.
const _: () = assert!(VECTOR <= 1 << u8::BITS);

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "tcp-rtt-stamp", next: &["tx"], reasons: &[], events: &[], create };

struct TcpRttStamp {
    waited: Waited,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(TcpRttStamp { waited: Waited::new(bench)? }))
}

impl Node for TcpRttStamp {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, _: &mut [Next]) {
        let Some(tracker) = &mut cx.tracker else { return };
        let Some(first) = packets.first() else { return };
        // Most vectors came in together, and leave by one port.
        let (mut arrived, mut port) = (first.passage().arrived, first.tx_port);
        let mut time = self.waited.time(arrived.until(cx.begin));
        for packet in packets.iter() {
            self.waited.prefetch(packet.parties(), time);
        }
        let (mut stamped, mut count, mut leaving) = ([0u8; VECTOR], 0, 0);
        for (at, packet) in packets.iter().enumerate() {
            let passage = packet.passage();
            if passage.arrived != arrived || packet.tx_port != port {
                self.waited.leaving(port, time, leaving);
                (arrived, port, leaving) = (passage.arrived, packet.tx_port, 0);
                time = self.waited.time(arrived.until(cx.begin));
            }
            leaving += 1;
            self.waited.packet(packet.parties(), time);
            // Noted without a branch: with many flows it is as good as random which packets these are.
            stamped[count % VECTOR] = at as u8;
            count += usize::from(passage.ticket.wants_stamp());
        }
        for packet in stamped.iter().take(count).filter_map(|&at| packets.get(usize::from(at))) {
            if let Some(observed) = Observed::of(network(cx.frames.bytes(packet), packet.l3)) {
                tracker.depart(packet.passage().ticket, &observed, cx.begin);
            }
        }
        self.waited.leaving(port, time, leaving);
    }

    fn forget(&mut self, gone: &Forget) {
        for customer in &gone.customers {
            self.waited.forget(*customer as usize);
        }
    }
}
