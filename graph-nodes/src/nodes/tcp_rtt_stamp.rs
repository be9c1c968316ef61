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
        // Packets that came in together, go between the same customers and leave by the same port were inside for the same time: they are counted
        // together.
        let Some(first) = packets.first().map(Packet::passage) else { return };
        let mut last = (first.arrived, first.up, first.down);
        let mut micros = self.waited.micros(first.arrived.until(cx.begin));
        let mut port = packets[0].tx_port;
        let (mut of_customers, mut by_port) = (0, 0);
        let (mut stamped, mut count) = ([0u8; VECTOR], 0);
        for (at, packet) in packets.iter().enumerate() {
            let passage = packet.passage();
            let this = (passage.arrived, passage.up, passage.down);
            if this != last || packet.tx_port != port {
                self.waited.packets(last.1, last.2, micros, of_customers);
                of_customers = 0;
                if this.0 != last.0 || packet.tx_port != port {
                    self.waited.leaving(port, micros, by_port);
                    (by_port, port) = (0, packet.tx_port);
                    micros = self.waited.micros(passage.arrived.until(cx.begin));
                }
                last = this;
            }
            of_customers += 1;
            by_port += 1;
            // Noted without a branch: with many flows it is as good as random which packets these are.
            stamped[count % VECTOR] = at as u8;
            count += usize::from(passage.ticket.wants_stamp());
        }
        for packet in stamped.iter().take(count).filter_map(|&at| packets.get(usize::from(at))) {
            let datagram = cx.frames.bytes(packet).get(usize::from(packet.l3)..).unwrap_or_default();
            if let Some(observed) = Observed::ip4(datagram) {
                tracker.depart(packet.passage().ticket, &observed, cx.begin);
            }
        }
        self.waited.packets(last.1, last.2, micros, of_customers);
        self.waited.leaving(port, micros, by_port);
    }

    fn forget(&mut self, gone: &Forget) {
        for customer in &gone.customers {
            self.waited.forget(*customer as usize);
        }
    }
}
