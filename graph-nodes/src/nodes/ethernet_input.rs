//! `ethernet-input`: where received packets enter the graph.
//!
//! Finds the sub-interface that a tagged frame comes in by, which from here on is the packet's port. Counts what each port received (`/if/rx`, `/if/ip4`, `/if/ip6`) and
//! sends IP that is addressed to the port's MAC to the input node of its version. The tags stay in front of the packet, until its new Ethernet header takes their place.
//!
//! What is the kernel's (ARP, group addresses, everything that is not IP) was passed to it by the XDP program and is not seen here, except
//! on ports without one (captures, memory).
//!
//! * arcs: `ip4-input`, `ip6-input`
//! * drops: [`Drop`]

use strum::VariantNames;
use weir_stats::{CombinedRow, Description, Error, SimpleRow};

use crate::{
    frames::Frames,
    node::{Context, Next, Node, Registration, Workbench},
    packet::{Packet, PortIndex},
    ports::{MAX_PORTS, Ports},
    wire::{
        self,
        ethernet::{self, Ethernet},
        vlan::{self, Tags},
    },
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// Shorter than an Ethernet header and its tags.
    TooShort,
    /// The tags are no sub-interface's: the kernel's, on ports with an XDP program.
    OtherVlan,
    /// Another unicast MAC address: the kernel's, on ports with an XDP program; seen there only while the port's own address changes.
    NotOurMac,
    /// A group address: the kernel's, on ports with an XDP program.
    GroupAddress,
    /// Not IP: the kernel's, on ports with an XDP program.
    NotIp,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ethernet-input",
    next: &["ip4-input", "ip6-input"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

const IP4_INPUT: Next = Next::arc(0);
const IP6_INPUT: Next = Next::arc(1);

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

/// The IPv6 packets among them.
pub static IP6: Description = Description::simple(
    "/if/ip6",
    "packets",
    "interface=/if/names",
    "received IPv6 packets; of a router those to the port's MAC, of a bridge those behind tags, labels and in PPPoE sessions too",
);

struct EthernetInput {
    rx: CombinedRow,
    ip4: SimpleRow,
    ip6: SimpleRow,
}

/// An address that no frame has, as it has more than 48 bits.
const NOBODY: u64 = u64::MAX;

/// A run of packets from one port, with the same tags: where they come in, and what is counted of them.
struct Run {
    /// The port whose rings they came by, and their tags.
    from: (PortIndex, Tags),
    /// The port itself, or its sub-interface.
    port: PortIndex,
    /// The port's MAC address; [`NOBODY`] where there is no such sub-interface.
    mac: u64,
    packets: u64,
    dropped: u64,
    ip6: u64,
    bytes: u64,
}

impl Run {
    fn from(ports: &Ports, (carrier, tags): (PortIndex, Tags)) -> Run {
        let port = if tags == Tags::NONE { Some(carrier) } else { ports.sub_interface(carrier, tags) };
        Run {
            from: (carrier, tags),
            port: port.unwrap_or(carrier),
            mac: port.map_or(NOBODY, |port| ports.mac(port)),
            packets: 0,
            dropped: 0,
            ip6: 0,
            bytes: 0,
        }
    }
}

fn create(bench: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    let ports = bench.tables.ports.count();
    Ok(Box::new(EthernetInput {
        rx: bench.counters.combined_row(&RX, ports, MAX_PORTS, bench.row)?,
        ip4: bench.counters.simple_row(&IP4, ports, MAX_PORTS, bench.row)?,
        ip6: bench.counters.simple_row(&IP6, ports, MAX_PORTS, bench.row)?,
    }))
}

/// How many packets ahead the header is fetched: a miss to memory takes as long as some eight packets' work here.
const PREFETCH: usize = 8;

impl EthernetInput {
    fn count(&mut self, run: &Run) {
        let port = usize::from(run.port);
        self.rx.add(port, run.packets, run.bytes);
        self.ip4.add(port, run.packets - run.dropped - run.ip6);
        self.ip6.add(port, run.ip6);
    }
}

/// Takes the short way with the first packets, as far as it goes: IP to the run's own address, with the run's tags of so many bytes. Returns how many. It takes half of the
/// long way's instructions, in a loop of its own for each number of tags.
#[inline(always)]
fn take_usual<const TAGS: usize>(
    frames: &Frames,
    packets: &mut [Packet],
    next: &mut [Next],
    run: &mut Run,
) -> usize {
    let (carrier, tags) = run.from;
    let l3 = ethernet::LENGTH + TAGS;
    let (mut bytes, mut ip6) = (0, 0);
    let mut count = 0;
    while count < packets.len() {
        if let Some(ahead) = packets.get(count + PREFETCH) {
            frames.prefetch(ahead);
        }
        let packet = &mut packets[count];
        let Some(link) = frames.bytes(packet).first_chunk() else { break };
        let kind = tags.kind_behind::<TAGS>(link);
        let is_ip6 = kind == Some(wire::IP6);
        let is_usual = (Ethernet::of(link).destination() == run.mac)
            & (packet.rx_port == carrier)
            & (is_ip6 | (kind == Some(wire::IP4)));
        if !is_usual {
            break;
        }
        (packet.rx_port, packet.l3) = (run.port, l3 as u8);
        if is_ip6 {
            next[count] = IP6_INPUT;
            ip6 += 1;
        }
        bytes += u64::from(packet.len());
        count += 1;
    }
    run.packets += count as u64;
    run.bytes += bytes;
    run.ip6 += ip6;
    count
}

impl EthernetInput {
    /// The long way, for any packet.
    #[inline(never)]
    fn take(&mut self, cx: &Context<'_>, packet: &mut Packet, run: &mut Run) -> Next {
        let frame = cx.frames.bytes(packet);
        let (tags, kind, l3) = Tags::of(frame).unwrap_or_default();
        if (packet.rx_port, tags) != run.from {
            self.count(run);
            *run = Run::from(&cx.tables.ports, (packet.rx_port, tags));
        }
        run.packets += 1;
        run.bytes += u64::from(packet.len());
        let destination = Ethernet::new(frame).map_or(0, Ethernet::destination);
        if matches!(kind, wire::IP4 | wire::IP6) && run.mac == destination {
            (packet.rx_port, packet.l3) = (run.port, l3 as u8); // at most two tags
            run.ip6 += u64::from(kind == wire::IP6);
            return if kind == wire::IP6 { IP6_INPUT } else { IP4_INPUT };
        }
        let reason = match kind {
            _ if Tags::of(frame).is_none() => Drop::TooShort,
            _ if run.mac == NOBODY => Drop::OtherVlan,
            wire::IP4 | wire::IP6 if Ethernet::new(frame).is_some_and(Ethernet::is_group) => {
                Drop::GroupAddress
            }
            wire::IP4 | wire::IP6 => Drop::NotOurMac,
            _ => Drop::NotIp,
        };
        packet.rx_port = run.port;
        run.dropped += 1;
        cx.drop(packet, reason as u16)
    }
}

impl Node for EthernetInput {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        let Some(first) = packets.first() else { return };
        let mut run = Run::from(&cx.tables.ports, (first.rx_port, Tags::NONE));
        let mut at = 0;
        while at < packets.len() {
            let (rest, next_of_rest) = (&mut packets[at..], &mut next[at..]);
            at += match run.from.1.length() {
                0 => take_usual::<0>(cx.frames, rest, next_of_rest, &mut run),
                vlan::LENGTH => take_usual::<{ vlan::LENGTH }>(cx.frames, rest, next_of_rest, &mut run),
                _ => take_usual::<{ 2 * vlan::LENGTH }>(cx.frames, rest, next_of_rest, &mut run),
            };
            if let Some((packet, next)) = packets.get_mut(at).zip(next.get_mut(at)) {
                *next = self.take(cx, packet, &mut run);
                at += 1;
            }
        }
        self.count(&run);
    }
}
