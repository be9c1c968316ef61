//! `drop`: the end of every packet that is not sent. Counts it under the reason that it carries (`/err/<node>/<reason>`) and under the port
//! that it came in on (`/if/drops`), and frees its frame.
//!
//! * arcs: none
//! * drops: everything

use weir_stats::{Description, Error, SimpleRow};

use crate::{
    graph::ERRORS,
    node::{Context, Next, Node, Registration, Workbench},
    packet::Packet,
    ports::MAX_PORTS,
};

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "drop", next: &[], reasons: &[], events: &[], create };

/// Drops by the port that the packets came in by.
pub static DROPS: Description = Description::simple(
    "/if/drops",
    "packets",
    "interface=/if/names",
    "dropped, by the port that they came in by",
);

struct Drop {
    errors: SimpleRow,
    drops: SimpleRow,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Drop {
        // Registered, with its columns, before any node is made.
        errors: bench.counters.simple_row(&ERRORS, 0, 0, bench.row)?,
        drops: bench.counters.simple_row(&DROPS, bench.tables.ports.count(), MAX_PORTS, bench.row)?,
    }))
}

impl Node for Drop {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, _: &mut [Next]) {
        for packet in packets.drain(..) {
            self.errors.add(packet.reason.column(), 1);
            self.drops.add(usize::from(packet.rx_port), 1);
            cx.pool.recycle(packet);
        }
    }
}
