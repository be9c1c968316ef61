//! `ethernet-input`: where received packets enter the graph.
//!
//! Counts what each port received (`/if/rx`, `/if/ip4`) and sends IPv4 that is addressed to the port's MAC to `ip4-input`.
//! What is the kernel's (ARP, group addresses, everything that is not IPv4) was passed to it by the XDP program and is not seen here, except
//! on ports without one (captures, memory).
//!
//! * arcs: `ip4-input`
//! * drops: [`Drop`]

use strum::VariantNames;
use weir_stats::{CombinedRow, Description, Error, SimpleRow};

use crate::{
    node::{Context, Next, Node, Registration, Workbench},
    packet::{Packet, PortIndex},
    ports::MAX_PORTS,
    wire::ethernet::{self, Ethernet},
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// Shorter than an Ethernet header.
    TooShort,
    /// Another unicast MAC address: the kernel's, on ports with an XDP program; seen there only while the port's own address changes.
    NotOurMac,
    /// A group address: the kernel's, on ports with an XDP program.
    GroupAddress,
    /// Not IPv4: the kernel's, on ports with an XDP program.
    NotIp4,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ethernet-input",
    next: &["ip4-input"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

/// Packets by the port that they came in by.
pub static RX: Description =
    Description::combined("/if/rx", "interface=/if/names", "received from the port by weir");
/// The IPv4 packets among them.
pub static IP4: Description = Description::simple(
    "/if/ip4",
    "packets",
    "interface=/if/names",
    "received IPv4 packets; of a router those to the port's MAC",
);

struct EthernetInput {
    rx: CombinedRow,
    ip4: SimpleRow,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    let ports = bench.tables.ports.count();
    Ok(Box::new(EthernetInput {
        rx: bench.counters.combined_row(&RX, ports, MAX_PORTS, bench.row)?,
        ip4: bench.counters.simple_row(&IP4, ports, MAX_PORTS, bench.row)?,
    }))
}

/// How many packets ahead the header is fetched: a miss to memory takes as long as some eight packets' work here.
const PREFETCH: usize = 8;

impl EthernetInput {
    fn count(&mut self, port: PortIndex, received: u64, dropped: u64, bytes: u64) {
        self.rx.add(usize::from(port), received, bytes);
        self.ip4.add(usize::from(port), received - dropped);
    }
}

impl Node for EthernetInput {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let mut port = packets.first().map_or(0, |packet| packet.rx_port);
        let mut mac = cx.tables.ports.mac(port);
        // Of the run of packets from one port: where it began, what of it was dropped, its bytes.
        let (mut begin, mut dropped, mut bytes) = (0, 0u64, 0u64);
        for at in 0..packets.len() {
            if let Some(ahead) = packets.get(at + PREFETCH) {
                cx.frames.prefetch(ahead);
            }
            let packet = &mut packets[at];
            if packet.rx_port != port {
                self.count(port, (at - begin) as u64, dropped, bytes);
                (begin, dropped, bytes) = (at, 0, 0);
                port = packet.rx_port;
                mac = cx.tables.ports.mac(port);
            }
            bytes += u64::from(packet.len());
            let reason = match Ethernet::new(cx.frames.bytes(packet)) {
                Some(header) if header.destination() == mac && header.ethertype() == ethernet::IPV4 => {
                    packet.l3 = ethernet::LENGTH as u8;
                    continue;
                }
                None => Drop::TooShort,
                Some(header) if header.ethertype() != ethernet::IPV4 => Drop::NotIp4,
                Some(header) if header.is_group() => Drop::GroupAddress,
                Some(_) => Drop::NotOurMac,
            };
            dropped += 1;
            next[at] = cx.drop(packet, reason as u16);
        }
        self.count(port, (packets.len() - begin) as u64, dropped, bytes);
    }
}
