//! `tx`: hands packets to the rings of the ports that they leave by, and counts them.
//!
//! The worker empties the ports' lists after the graph has run. What a ring has no room for comes back as a drop of this node.
//!
//! * arcs: none
//! * drops: [`Drop`]
//! * counts: nothing here; the worker counts `/if/tx` when a ring has taken the packets

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    node::{Context, Next, Node, Registration, Workbench},
    packet::Packet,
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// The port's ring is full: more leaves by it than the link carries.
    RingFull,
    /// The port is down.
    PortDown,
    /// There is no such port; cannot happen behind `ip4-rewrite`.
    NoSuchPort,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration =
    Registration { name: "tx", next: &[], reasons: Drop::VARIANTS, events: &[], create };

struct Tx;

fn create(_: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Tx))
}

impl Node for Tx {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let first = packets.first().map_or(0, |packet| packet.tx_port);
        // No early exit, so that the comparison is vectorised.
        let differ = packets.iter().fold(0, |differ, packet| differ | (packet.tx_port ^ first));
        if differ == 0
            && let Some(list) = cx.transmit.get_mut(usize::from(first))
        {
            if list.is_empty() {
                std::mem::swap(list, packets);
            } else {
                list.append(packets);
            }
            return;
        }
        for (packet, next) in packets.iter_mut().zip(next) {
            match cx.transmit.get_mut(usize::from(packet.tx_port)) {
                Some(list) => {
                    list.push(packet.take());
                    *next = Next::TAKEN;
                }
                None => *next = cx.drop(packet, Drop::NoSuchPort as u16),
            }
        }
    }
}
