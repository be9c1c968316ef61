//! What packets are to be, and packet n of it: the headers that all have, and what differs.
//!
//! `benches/bpf/generate.bpf.c` is [`Shape::write`] once more, for the kernel; [`Shape::words`] is what it is told.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::pktgen::payload::{self, COMPACT, FULL};
use crate::pktgen::range::{Addresses, Ports, Range};
use crate::pktgen::sizes::{FCS, MOST, Sizes};

/// A VLAN tag: IEEE 802.1Q-2018 9.6.
const TAG: u16 = 0x8100;
/// The outer one of two: IEEE 802.1Q-2018 9.5, "QinQ".
const OUTER_TAG: u16 = 0x88a8;
/// Bytes of a tag.
const TAG_LENGTH: usize = 4;
/// Room for Ethernet with two tags, IPv6, and TCP with timestamps, in whole words.
const HEADERS: usize = 96;
/// Protocol numbers (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Hops that packets may take.
const TTL: u8 = 64;
/// Of a tick of TCP's timestamps (RFC 7323 5.4 wants between a millisecond and a second).
const TICK: u64 = 1_000_000;
/// The smallest frame of Ethernet, and the largest that fits into a page with what the kernel puts beside live frames.
const SMALLEST: u16 = 64;
const LARGEST: u16 = 3000;

/// What is in front of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// UDP.
    Udp,
    /// Segments of TCP connections that were there before, with timestamps (RFC 7323) of a millisecond's ticks.
    Tcp,
}

/// Which flow a packet is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// One flow after the other.
    Increment,
    /// Any, drawn by the packet's number: the same in every run.
    Random,
}

/// What packets are to be.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Where they come from.
    pub source_mac: [u8; 6],
    /// Where they go next.
    pub destination_mac: [u8; 6],
    /// VLANs, the outer one first: at most two.
    pub vlans: Vec<u16>,
    /// Of IP.
    pub sources: Addresses,
    /// Of IP.
    pub destinations: Addresses,
    /// Of UDP or TCP.
    pub source_ports: Ports,
    /// Of UDP or TCP.
    pub destination_ports: Ports,
    /// UDP or TCP.
    pub transport: Transport,
    /// Lengths of frames.
    pub sizes: Sizes,
    /// How many of the combinations of ports and addresses are used: source ports change first, then destination ports, destinations, sources. `None`: all.
    pub flows: Option<u32>,
    /// Which of them next.
    pub order: Order,
    /// What a receiver tells it apart by.
    pub stream: u8,
    /// Of TCP: how old the TSval is that a segment echoes, which is the round-trip time that a listener between both directions finds.
    pub echo: Duration,
}

/// One length, and what depends on it.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Bytes without the check sequence.
    frame: u16,
    /// IPv4's total length, IPv6's payload length.
    network_length: u16,
    /// UDP's length.
    transport_length: u16,
    /// Of the 16-bit words that are the same in all packets.
    network_sum: u32,
    transport_sum: u32,
    /// Bytes of data.
    data: u32,
}

/// A traffic's packets.
#[derive(Clone, Debug)]
pub struct Shape {
    headers: [u8; HEADERS],
    /// Where IP, UDP or TCP, and the data begin.
    network: usize,
    transport: usize,
    payload: usize,
    longest: u16,
    /// The smallest frame has no room for the long form of what stands in front of the data: none has it.
    is_compact: bool,
    is_ip6: bool,
    is_tcp: bool,
    is_random: bool,
    stream: u8,
    /// The last 32 bits of addresses.
    sources: Range,
    destinations: Range,
    source_ports: Range,
    destination_ports: Range,
    flows: u32,
    steps: Vec<Step>,
    /// Ticks from a TSval to its echo.
    echo: u32,
}

impl Shape {
    /// The shape of `traffic`, or why there can't be such packets.
    pub fn new(traffic: &Traffic) -> Result<Shape> {
        let (is_ip6, is_tcp) = (traffic.destinations.first.is_ipv6(), traffic.transport == Transport::Tcp);
        ensure!(
            traffic.sources.first.is_ipv6() == is_ip6,
            "source and destination are not of the same version of IP"
        );
        ensure!(traffic.vlans.len() <= 2, "at most two VLAN tags");
        ensure!(traffic.vlans.iter().all(|vlan| (1..4095).contains(vlan)), "a VLAN is 1 to 4094");
        let network = 14 + traffic.vlans.len() * TAG_LENGTH;
        let transport = network + if is_ip6 { 40 } else { 20 };
        let payload = transport + if is_tcp { 32 } else { 8 };
        let sizes = traffic.sizes.in_turn();
        let smallest = sizes.iter().fold(u16::MAX, |smallest, size| smallest.min(*size));
        let mut shape = Shape {
            headers: [0; HEADERS],
            network,
            transport,
            payload,
            longest: sizes.iter().fold(0, |longest, size| longest.max(size.saturating_sub(FCS))),
            is_compact: usize::from(smallest) < payload + FULL + usize::from(FCS),
            is_ip6,
            is_tcp,
            is_random: traffic.order == Order::Random,
            stream: traffic.stream,
            sources: traffic.sources.low(),
            destinations: traffic.destinations.low(),
            source_ports: traffic.source_ports.0,
            destination_ports: traffic.destination_ports.0,
            flows: flows(traffic)?,
            steps: Vec::new(),
            echo: u32::try_from(traffic.echo.as_nanos() / u128::from(TICK))?,
        };
        shape.write_headers(traffic);
        shape.steps = sizes.iter().map(|size| shape.step(*size)).collect::<Result<_>>()?;
        Ok(shape)
    }

    /// Bytes of the longest frame, without the check sequence.
    pub fn longest(&self) -> usize {
        self.longest.into()
    }

    /// What an MTU must be for the longest frame.
    pub fn needed_mtu(&self) -> u32 {
        u32::from(self.longest) - self.network as u32
    }

    /// Flows.
    pub fn flows(&self) -> u32 {
        self.flows
    }

    /// Flows whose positions are to be known: all of TCP's.
    pub fn positions(&self) -> u32 {
        if self.is_tcp { self.flows } else { 1 }
    }

    /// Bytes of packet `number`.
    pub fn length(&self, number: u64) -> usize {
        self.of(number).frame.into()
    }

    fn of(&self, number: u64) -> Step {
        self.steps[(number % self.steps.len() as u64) as usize]
    }

    /// Writes packet `number` into the front of `frame`, which has zeros or an older packet of this shape, and returns its length. `now` is its time;
    /// `positions` are those of TCP's flows, as many as [`Shape::positions`] says.
    pub fn write(&self, number: u64, now: u64, positions: &mut [u32], frame: &mut [u8]) -> usize {
        let step = self.of(number);
        let length = usize::from(step.frame);
        let frame = &mut frame[..length];
        frame[..self.payload].copy_from_slice(&self.headers[..self.payload]);
        let flow = if self.is_random {
            (((scatter(number) >> 32) * u64::from(self.flows)) >> 32) as u32
        } else {
            (number % u64::from(self.flows)) as u32
        };
        let mut rest = flow;
        let source_port = (self.source_ports.pick(&mut rest) as u16).to_be_bytes();
        let destination_port = (self.destination_ports.pick(&mut rest) as u16).to_be_bytes();
        let destination = self.destinations.pick(&mut rest).to_be_bytes();
        let source = self.sources.pick(&mut rest).to_be_bytes();
        let written = self.payload..self.payload + if self.is_compact { COMPACT } else { FULL };
        payload::write(&mut frame[written.clone()], self.stream, number, now);

        let (network, transport) = (self.network, self.transport);
        let (length_at, source_at, destination_at) = if self.is_ip6 { (4, 20, 36) } else { (2, 12, 16) };
        let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
        put(network + length_at, &step.network_length.to_be_bytes());
        put(network + source_at, &source);
        put(network + destination_at, &destination);
        put(transport, &source_port);
        put(transport + 2, &destination_port);
        let mut fields = u64::from(step.transport_sum);
        if self.is_tcp {
            let position = &mut positions[flow as usize];
            let tick = (now / TICK) as u32;
            put(transport + 4, &position.to_be_bytes());
            // as if the other end had sent as much
            put(transport + 8, &position.to_be_bytes());
            put(transport + 24, &tick.to_be_bytes());
            put(transport + 28, &tick.wrapping_sub(self.echo).to_be_bytes());
            *position = position.wrapping_add(step.data);
            fields +=
                sum(&frame[transport + 4..transport + 12]) + sum(&frame[transport + 24..transport + 32]);
        } else {
            put(transport + 4, &step.transport_length.to_be_bytes());
        }
        let addresses = sum(&source) + sum(&destination);
        if !self.is_ip6 {
            let check = checksum(u64::from(step.network_sum) + addresses);
            frame[network + 10..network + 12].copy_from_slice(&check);
        }
        let check =
            checksum(fields + addresses + sum(&source_port) + sum(&destination_port) + sum(&frame[written]));
        if self.is_tcp {
            frame[transport + 16..transport + 18].copy_from_slice(&check);
        } else {
            // RFC 768: 0 would say that there is none
            let check = if check == [0; 2] { [0xff; 2] } else { check };
            frame[transport + 6..transport + 8].copy_from_slice(&check);
        }
        length
    }

    /// All of it, as `struct shape` of the XDP program has it.
    pub fn words(&self) -> Vec<u8> {
        let numbers = [
            self.network as u32,
            self.transport as u32,
            self.payload as u32,
            self.longest.into(),
            self.is_ip6.into(),
            self.is_tcp.into(),
            self.is_random.into(),
            self.stream.into(),
        ];
        let ranges = [self.sources, self.destinations, self.source_ports, self.destination_ports];
        let ranges = ranges.into_iter().flat_map(|range| [range.first, range.count]);
        let rest = [self.flows, self.steps.len() as u32, self.echo, self.is_compact.into()];
        let mut bytes = self.headers.to_vec();
        bytes.extend(numbers.into_iter().chain(ranges).chain(rest).flat_map(u32::to_ne_bytes));
        for step in &self.steps {
            bytes.extend(step.frame.to_ne_bytes());
            bytes.extend([0; 2]);
            bytes.extend(step.network_length.to_be_bytes());
            bytes.extend(step.transport_length.to_be_bytes());
            bytes.extend(
                [step.network_sum, step.transport_sum, step.data].into_iter().flat_map(u32::to_ne_bytes),
            );
        }
        bytes.resize(bytes.len() + (MOST - self.steps.len()) * STEP, 0);
        bytes
    }

    /// What all packets have.
    fn write_headers(&mut self, traffic: &Traffic) {
        let (network, transport) = (self.network, self.transport);
        let mut put = |at: usize, bytes: &[u8]| self.headers[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &traffic.destination_mac);
        put(6, &traffic.source_mac);
        let tags: &[u16] = if traffic.vlans.len() == 2 { &[OUTER_TAG, TAG] } else { &[TAG] };
        for ((vlan, tag), at) in traffic.vlans.iter().zip(tags).zip((12..).step_by(TAG_LENGTH)) {
            put(at, &tag.to_be_bytes());
            put(at + 2, &vlan.to_be_bytes());
        }
        put(network - 2, if self.is_ip6 { &[0x86, 0xdd] } else { &[8, 0] });
        let protocol = if self.is_tcp { TCP } else { UDP };
        match (traffic.sources.first, traffic.destinations.first) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                put(network, &[0x60]);
                put(network + 6, &[protocol, TTL]);
                put(network + 8, &source.octets()[..12]);
                put(network + 24, &destination.octets()[..12]);
            }
            _ => {
                // no fragments, so no identification (RFC 6864 4.1)
                put(network, &[0x45, 0, 0, 0, 0, 0, 0x40, 0, TTL, protocol]);
            }
        }
        if self.is_tcp {
            // 32 bytes of header, ACK and PSH, a window; NOP, NOP, timestamps of 10 bytes
            put(transport + 12, &[0x80, 0x18, 0x20, 0]);
            put(transport + 20, &[1, 1, 8, 10]);
        }
    }

    /// A frame of `size` bytes with the check sequence.
    fn step(&self, size: u16) -> Result<Step> {
        let least = (self.payload + COMPACT) as u16 + FCS;
        let frame = size.wrapping_sub(FCS);
        if !(SMALLEST.max(least)..=LARGEST).contains(&size) {
            bail!(
                "a frame of {size} bytes: these packets take {} to {LARGEST}, check sequence included (their headers have {}, and \
                 the sequence number and time behind them at least {COMPACT})",
                SMALLEST.max(least),
                self.payload
            );
        }
        let (network, transport) = (self.network, self.transport);
        let after_network = frame - transport as u16;
        let network_length = if self.is_ip6 { after_network } else { frame - network as u16 };
        // The pseudo header: addresses, protocol, length (RFC 768, RFC 9293, RFC 8200 8.1); of the addresses what is the same in all packets.
        let addresses = if self.is_ip6 { network + 8..network + 40 } else { network + 12..network + 20 };
        let protocol = [0, if self.is_tcp { TCP } else { UDP }];
        let length = after_network.to_be_bytes();
        let pseudo = sum(&self.headers[addresses]) + sum(&protocol) + sum(&length);
        let own = sum(&self.headers[transport..self.payload]) + if self.is_tcp { 0 } else { sum(&length) };
        let data = usize::from(frame) - self.payload;
        Ok(Step {
            frame,
            network_length,
            transport_length: after_network,
            network_sum: (sum(&self.headers[network..transport]) + sum(&network_length.to_be_bytes())) as u32,
            transport_sum: (pseudo + own) as u32,
            data: data as u32,
        })
    }
}

/// Bytes of a step in the XDP program.
const STEP: usize = 20;

/// How many flows there are.
fn flows(traffic: &Traffic) -> Result<u32> {
    let counts = [
        traffic.source_ports.0.count,
        traffic.destination_ports.0.count,
        traffic.destinations.count,
        traffic.sources.count,
    ];
    let all = counts.iter().try_fold(1u64, |all, count| all.checked_mul((*count).into()));
    let all = all.unwrap_or(u64::MAX);
    let flows = match traffic.flows {
        Some(0) => bail!("without a flow there is no packet"),
        Some(flows) => {
            ensure!(
                u64::from(flows) <= all,
                "{flows} flows, but only {all} combinations of ports and addresses: give a range, such as --source-ports 1024-65535"
            );
            flows
        }
        None => u32::try_from(all).unwrap_or(u32::MAX),
    };
    /// Each has a position.
    const MOST_OF_TCP: u32 = 1 << 22;
    ensure!(
        traffic.transport == Transport::Udp || flows <= MOST_OF_TCP,
        "{flows} flows of TCP: at most {MOST_OF_TCP}; --flows says how many of them to use"
    );
    Ok(flows)
}

/// Spreads neighbouring numbers over all values (the last steps of splitmix64).
fn scatter(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Of 16-bit words as they lie in memory (RFC 1071 2 (B): their order of bytes does not matter); a last odd byte is the first of a word.
fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    bytes.chunks(2).map(word).sum()
}

fn checksum(mut sum: u64) -> [u8; 2] {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_ne_bytes()
}

#[cfg(test)]
mod tests;
