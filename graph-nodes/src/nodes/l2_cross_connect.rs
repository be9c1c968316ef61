//! `l2-cross-connect`: where received packets enter the graph of a bridge. What comes in by a port leaves by the other one as it is; on a port with two VLANs,
//! what comes in by one VLAN leaves by the other.
//!
//! Finds each packet's IP header, behind tags, labels and a PPPoE session ([`network_header`]), and notes the side that it leaves by where the port
//! alone does not say so. A frame that contradicts itself there is carried as what is not IP, and counted. What is for the machine itself was passed to the kernel by the XDP program and is not seen here, except on ports without
//! one (captures, memory).
//!
//! A frame is dropped only where a bridge would drop it too. In a tag two bytes are written, the VLAN's number; no other byte of any frame changes.
//!
//! * arcs: `classify`
//! * drops: [`Drop`]
//! * events: [`Flaw`]
//! * counts: `/if/rx`, `/if/ip4`, `/if/ip6`
//! * cost: some 15 clocks a packet (IPv4, IPv6), one more with a tag, 10 with two, 20 in a PPPoE session, in full vectors of frames that lie in the cache

use strum::VariantNames;
use weir_stats::{CombinedRow, Error, SimpleRow};

use super::ethernet_input::{IP4, IP6, RX};
use crate::{
    node::{Context, Next, Node, Registration, Workbench},
    packet::{Packet, PortIndex, flags},
    ports::{Across, MAX_PORTS, Ports},
    wire::{Flaw, Network, ethernet, network, network_header, vlan},
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// Shorter than an Ethernet header.
    TooShort,
    /// Larger than the port that it would leave by can send: the ports' MTUs differ.
    LargerThanMtu,
    /// Of neither VLAN of the port: the kernel's, on ports with an XDP program.
    OtherVlan,
    /// The port has no other side: it is not in the bridge.
    NoOtherSide,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "l2-cross-connect",
    next: &["classify"],
    reasons: Drop::VARIANTS,
    events: Flaw::VARIANTS,
    create,
};

/// Bytes of link headers that a frame may have beside an IP packet as large as the MTU: an Ethernet header and two tags, as Linux's own bridge allows
/// (`is_skb_forwardable`: one tag, beside the one that it keeps apart from the frame).
const LINK_HEADERS: u16 = ethernet::LENGTH as u16 + 2 * vlan::LENGTH as u16;

/// How many packets ahead the header is fetched: as in `ethernet-input`.
const PREFETCH: usize = 8;

struct L2CrossConnect {
    rx: CombinedRow,
    ip4: SimpleRow,
    ip6: SimpleRow,
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    let ports = bench.tables.ports.count();
    Ok(Box::new(L2CrossConnect {
        rx: bench.counters.combined_row(&RX, ports, MAX_PORTS, bench.row)?,
        ip4: bench.counters.simple_row(&IP4, ports, MAX_PORTS, bench.row)?,
        ip6: bench.counters.simple_row(&IP6, ports, MAX_PORTS, bench.row)?,
    }))
}

/// A run of packets from one port: where they go, and what is counted of them.
struct Run {
    port: PortIndex,
    across: Across,
    /// Bytes of the largest frame that leaves.
    largest: u16,
    packets: u64,
    bytes: u64,
    ip4: u64,
    ip6: u64,
}

impl Run {
    fn from(port: PortIndex, ports: &Ports) -> Run {
        let across = ports.across(port);
        let mtu = match across {
            Across::Port(peer) => ports.mtu(peer),
            Across::Vlans { .. } | Across::Nowhere => ports.mtu(port),
        };
        Run { port, across, largest: mtu.saturating_add(LINK_HEADERS), packets: 0, bytes: 0, ip4: 0, ip6: 0 }
    }

    /// Where the packet goes.
    #[inline(always)]
    fn cross(&mut self, cx: &mut Context<'_>, packet: &mut Packet) -> Result<(), Drop> {
        let length = packet.len();
        self.packets += 1;
        self.bytes += u64::from(length);
        if usize::from(length) < ethernet::LENGTH {
            return Err(Drop::TooShort);
        }
        if length > self.largest {
            return Err(Drop::LargerThanMtu);
        }
        match self.across {
            Across::Port(peer) => packet.tx_port = peer,
            Across::Vlans { wan, lan } => {
                let (to, mark) = match vlan::id(cx.frames.bytes(packet)) {
                    Some(id) if id == wan => (lan, flags::TO_LAN),
                    Some(id) if id == lan => (wan, flags::TO_WAN),
                    _ => return Err(Drop::OtherVlan),
                };
                vlan::set_id(cx.frames.bytes_mut(packet), to);
                packet.flags |= mark;
                packet.tx_port = self.port;
            }
            Across::Nowhere => return Err(Drop::NoOtherSide),
        }
        let frame = cx.frames.bytes(packet);
        let l3 = network_header(frame, usize::from(length)).unwrap_or_else(|flaw| flawed(cx, flaw));
        match network(frame, l3) {
            Network::Ip4(_) => self.ip4 += 1,
            Network::Ip6(_) => self.ip6 += 1,
            Network::Other => {}
        }
        packet.l3 = l3;
        Ok(())
    }
}

/// Counts a frame whose headers contradict themselves: it has no IP header that anyone believes.
#[cold]
fn flawed(cx: &mut Context<'_>, flaw: Flaw) -> u8 {
    cx.count(flaw as u16, 1);
    0
}

impl L2CrossConnect {
    fn count(&mut self, run: &Run) {
        let port = usize::from(run.port);
        self.rx.add(port, run.packets, run.bytes);
        self.ip4.add(port, run.ip4);
        self.ip6.add(port, run.ip6);
    }
}

impl Node for L2CrossConnect {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let Some(first) = packets.first() else { return };
        let mut run = Run::from(first.rx_port, &cx.tables.ports);
        for at in 0..packets.len() {
            if let Some(ahead) = packets.get(at + PREFETCH) {
                cx.frames.prefetch(ahead);
            }
            let packet = &mut packets[at];
            if packet.rx_port != run.port {
                self.count(&run);
                run = Run::from(packet.rx_port, &cx.tables.ports);
            }
            if let Err(reason) = run.cross(cx, packet) {
                next[at] = cx.drop(packet, reason as u16);
            }
        }
        self.count(&run);
    }
}
