//! `tcp-rtt-match`: what a packet that comes in says about its flow: does it answer one that went out before, was it sent again, is it late?
//! And whose it is.
//!
//! The first half of the measurement; `tcp-rtt-stamp` is the second. Between the two lies what holds packets back, so that a round trip is what lies
//! beyond weir, and the time inside is known apart from it. What is measured and how is in [`rtt`](crate::rtt), where it counts in
//! [`round_trips`](crate::round_trips).
//!
//! Three passes over the vector: read the headers and ask for the flows' memory; look up and count customers, while that comes; measure.
//!
//! * arcs: `tcp-rtt-stamp`
//! * drops: none
//! * counts: `/customers/…`, `/rtt/…`; the ring `/rtt/events`
//! * cost: see `docs/performance.md`

use std::time::Duration;

use weir_stats::Error;

use crate::{
    customers::Customer,
    node::{Context, Forget, Held, Next, Node, Registration, VECTOR, Workbench},
    packet::{Arrived, Packet, Passage},
    round_trips::{Answer, Passed},
    rtt::{Observed, Ticket},
    wire::ip4::Ip4,
};

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "tcp-rtt-match", next: &["tcp-rtt-stamp"], reasons: &[], events: &[], create };

/// Flows whose memory is asked for that many packets before it is used: what a cache line takes to come, at some 20 clocks a packet.
const AHEAD: usize = 16;

/// Flows are aged, and their numbers published, that often even if no packet comes: a worker without packets wakes up ten times a second as long as
/// there are flows.
const AGING: Duration = Duration::from_millis(100);

struct TcpRttMatch {
    passed: Passed,
    /// What is measured of the vector's packets: facts, the flow's hash, the packet's place in the vector.
    observed: Vec<(Observed, u64, usize)>,
    sources: [u32; VECTOR],
    destinations: [u32; VECTOR],
    up: [Customer; VECTOR],
    down: [Customer; VECTOR],
    /// Ticks of [`AGING`].
    aging: u64,
    deadline: Option<u64>,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(TcpRttMatch {
        passed: Passed::new(bench)?,
        observed: Vec::with_capacity(VECTOR),
        sources: [0; VECTOR],
        destinations: [0; VECTOR],
        up: [Customer::NONE; VECTOR],
        down: [Customer::NONE; VECTOR],
        aging: bench.clock.ticks(AGING),
        deadline: None,
    }))
}

impl Node for TcpRttMatch {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, _: &mut [Next]) {
        let Some(tracker) = &mut cx.tracker else { return };
        let places = packets.iter().zip(self.sources.iter_mut().zip(&mut self.destinations));
        for (at, (packet, (source, destination))) in places.enumerate() {
            let datagram = cx.frames.bytes(packet).get(usize::from(packet.l3)..).unwrap_or_default();
            (*source, *destination) = Ip4::new(datagram).map_or((0, 0), |ip| (ip.source(), ip.destination()));
            if let Some(observed) = Observed::ip4(datagram) {
                let hash = tracker.hash(&observed);
                tracker.prefetch(hash);
                self.observed.push((observed, hash, at));
            }
        }
        if let Some(customers) = &cx.tables.customers {
            let count = packets.len();
            customers.of_many(&self.sources[..count], &mut self.up);
            customers.of_many(&self.destinations[..count], &mut self.down);
            for (up, down) in self.up[..count].iter().zip(&self.down) {
                self.passed.prefetch(*up, *down);
            }
        }
        let arrived = Arrived::at(cx.now);
        for (packet, (up, down)) in packets.iter_mut().zip(self.up.iter().zip(&self.down)) {
            self.passed.packet(*up, *down, packet.len());
            packet.set_passage(Passage { ticket: Ticket::NONE, arrived, up: *up, down: *down });
        }
        for (_, hash, _) in self.observed.iter_mut().take(AHEAD) {
            *hash = tracker.prefetch_flow(*hash);
        }
        for index in 0..self.observed.len() {
            if let Some((_, ahead, _)) = self.observed.get_mut(index + AHEAD) {
                *ahead = tracker.prefetch_flow(*ahead);
            }
            let (observed, hash, at) = &self.observed[index];
            let packet = &mut packets[*at];
            let answer = Answer {
                observed,
                up: self.up[*at],
                down: self.down[*at],
                port: packet.rx_port,
                now: cx.now,
            };
            let ticket = tracker.arrive(observed, *hash, cx.now, &mut self.passed.sink(answer));
            packet.set_ticket(ticket);
        }
        self.observed.clear();
        tracker.age(cx.now);
        self.deadline.get_or_insert(cx.now.saturating_add(self.aging));
    }

    fn release(&mut self, cx: &mut Context<'_>) {
        let Some(tracker) = &mut cx.tracker else { return };
        tracker.age(cx.now);
        self.passed.flows(tracker);
        self.deadline = (tracker.counters().active() > 0).then(|| cx.now.saturating_add(self.aging));
    }

    fn forget(&mut self, gone: &Forget) {
        for customer in &gone.customers {
            self.passed.forget(*customer as usize);
        }
    }

    fn held(&self) -> Held {
        Held { packets: 0, deadline: self.deadline }
    }
}
