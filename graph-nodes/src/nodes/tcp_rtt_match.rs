//! `tcp-rtt-match`: what a packet that comes in says about its flow: does it answer one that went out before, was it sent again, is it late?
//!
//! The first half of the measurement; `tcp-rtt-stamp` is the second. Between the two lies what holds packets back, so that a round trip is what lies
//! beyond weir, and the time inside is known apart from it. What is measured and how is in [`rtt`](crate::rtt), where it counts in
//! [`round_trips`](crate::round_trips).
//!
//! Two passes over the vector: read the headers, and ask for the memory of flows and customers' counters; count and measure.
//!
//! * arcs: `shaper`
//! * drops: none
//! * counts: `/customers/…`, `/rtt/…`; the ring `/rtt/events`
//! * cost: see `docs/performance.md`

use std::time::Duration;

use weir_stats::Error;

use crate::{
    node::{Context, Forget, Held, Next, Node, Registration, VECTOR, Workbench},
    packet::{Arrived, Packet, Passage},
    round_trips::{Answer, Passed},
    rtt::{Observed, Ticket},
    wire::network,
};

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "tcp-rtt-match", next: &["shaper"], reasons: &[], events: &[], create };

/// Flows whose memory is asked for that many packets before it is used: what a cache line takes to come, at some 20 clocks a packet.
const AHEAD: usize = 16;

/// Flows are aged, and their numbers published, that often even if no packet comes: a worker without packets wakes up ten times a second as long as
/// there are flows.
const AGING: Duration = Duration::from_millis(100);

struct TcpRttMatch {
    passed: Passed,
    /// By packet of the vector: what is measured of it, and its flow's hash.
    facts: [Option<Observed>; VECTOR],
    hashes: [u64; VECTOR],
    /// Ticks of [`AGING`].
    aging: u64,
    deadline: Option<u64>,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(TcpRttMatch {
        passed: Passed::new(bench)?,
        facts: [None; VECTOR],
        hashes: [0; VECTOR],
        aging: bench.clock.ticks(AGING),
        deadline: None,
    }))
}

impl Node for TcpRttMatch {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, _: &mut [Next]) {
        let Some(tracker) = &mut cx.tracker else { return };
        let count = packets.len().min(VECTOR);
        let known = self.facts.iter_mut().zip(&mut self.hashes);
        for (packet, (facts, hash)) in packets.iter().zip(known) {
            *facts = Observed::of(network(cx.frames.bytes(packet), packet.l3));
            if let Some(observed) = facts {
                *hash = tracker.hash(observed);
                tracker.prefetch(*hash);
            }
            self.passed.prefetch(packet.parties());
        }
        // Where there are no facts the hash is an earlier packet's: asking for its flow does no harm.
        for hash in self.hashes[..count].iter_mut().take(AHEAD) {
            *hash = tracker.prefetch_flow(*hash);
        }
        let arrived = Arrived::at(cx.now);
        for (at, packet) in packets.iter_mut().enumerate().take(count) {
            if let Some(ahead) = self.hashes[..count].get_mut(at + AHEAD) {
                *ahead = tracker.prefetch_flow(*ahead);
            }
            let parties = packet.parties();
            self.passed.packet(parties, packet.len());
            let ticket = match &self.facts[at] {
                Some(observed) => {
                    let answer = Answer { observed, parties, port: packet.rx_port, now: cx.now };
                    tracker.arrive(observed, self.hashes[at], cx.now, &mut self.passed.sink(answer))
                }
                None => Ticket::NONE,
            };
            packet.set_passage(Passage { ticket, arrived });
        }
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
        Held { deadline: self.deadline, ..Held::default() }
    }
}
