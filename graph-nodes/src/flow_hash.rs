//! The hash of a flow: the same for both directions, seeded, 64 bits.
//!
//! `hand-off` chooses a flow's worker by its high bits ([`owner`]). The flow table of [`rtt`](crate::rtt) has a hash of its own, under other keys, so that
//! the flows of one worker are spread over all of its buckets. Whatever is one flow there is one here: it has the same two endpoints, or, for an
//! echo, the same two addresses.
//!
//! An endpoint (address and port) is mixed by one folded product: 64 × 64 bits, the halves of the 128-bit product joined by exclusive or. The folded
//! product of the two endpoints does not know which was the source; a last one spreads it over all bits: four multiplications. (A sum of the endpoints would not do:
//! for addresses that count up, one product alone is nearly linear, so the sums of many pairs are nearly equal.) The keys come from a seed that
//! senders don't know, so they can't aim at one worker.

use crate::wire::{
    Network,
    ip4::{self, Ip4},
    ip6::{self, Ip6},
};

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address; IPv4 as [`mapped`] says.
    pub address: u128,
    /// The port of TCP or UDP; 0 where there is none.
    pub port: u16,
}

/// An IPv4 address (host order) as an IPv6 address: `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
#[inline(always)]
pub fn mapped(address: u32) -> u128 {
    0xffff_0000_0000 | u128::from(address)
}

/// The worker, below `workers`, that a flow belongs to: the hash's high 32 bits, scaled.
#[inline(always)]
pub fn owner(hash: u64, workers: u32) -> u32 {
    (((hash >> 32) * u64::from(workers)) >> 32) as u32
}

/// Hashes flows under one seed.
#[derive(Clone, Copy, Debug)]
pub struct FlowHash {
    low: u64,
    high: u64,
    last: u64,
}

impl FlowHash {
    /// The hash of this seed: the same in every worker that is to agree.
    pub fn new(seed: u64) -> FlowHash {
        // Far apart whatever the seed is, 0 included: no two keys are equal, and none is 0.
        let key = |n: u64| fold(seed ^ ODD.wrapping_mul(2 * n + 1), ODD) | 1;
        FlowHash { low: key(1), high: key(2), last: key(3) }
    }

    /// The hash of a flow, whichever of its ends is the source. `protocol` is IANA's number.
    #[inline(always)]
    pub fn hash(&self, one: Endpoint, other: Endpoint, protocol: u8) -> u64 {
        let both = fold(self.endpoint(one), self.endpoint(other));
        fold(both ^ self.last, ODD ^ u64::from(protocol) << 32)
    }

    /// The hash of what a packet belongs to; 0 for what is not IP.
    #[inline(always)]
    pub fn network(&self, network: Network<'_>) -> u64 {
        ends(network).map_or(0, |(source, destination, protocol)| self.hash(source, destination, protocol))
    }

    /// As [`Self::network`], but all pieces of a fragmented packet, the first one too, have one hash: none may overtake another.
    #[inline]
    pub fn pieces_together(&self, network: Network<'_>) -> u64 {
        queue_ends(network)
            .map_or(0, |(source, destination, protocol)| self.hash(source, destination, protocol))
    }

    /// The hash of an IPv6 flow that its sender has given a label; each direction has its own.
    #[inline]
    pub fn labelled(&self, source: u128, destination: u128, label: u32) -> u64 {
        let [source, destination] = [source, destination].map(|address| self.host(address));
        fold(fold(source, destination ^ self.last) ^ u64::from(label), ODD ^ self.last)
    }

    /// The hash of a host.
    #[inline(always)]
    pub fn host(&self, address: u128) -> u64 {
        self.endpoint(Endpoint { address, port: 0 })
    }

    #[inline(always)]
    fn endpoint(&self, Endpoint { address, port }: Endpoint) -> u64 {
        // The port lies where an IPv6 address has its most significant bits, which hosts of one network share.
        let high = (address >> 64) as u64 ^ u64::from(port) << 48;
        fold(address as u64 ^ self.low, high ^ self.high)
    }
}

/// Source, destination and protocol of what a packet belongs to; `None` for what is not IP. TCP and UDP go by addresses, ports and protocol;
/// everything else by addresses alone, with protocol 0.
///
/// A fragment behind the first has no ports and goes by addresses alone: it may meet another worker than its first fragment, which is the
/// one that has the header that flows are measured by. Receivers put the pieces together in any order.
#[inline(always)]
pub fn ends(network: Network<'_>) -> Option<(Endpoint, Endpoint, u8)> {
    let (source, destination, protocol, body) = match network {
        Network::Ip4(bytes) => {
            let ip = Ip4::new(bytes)?;
            let datagram = ip4::datagram(bytes);
            let body =
                if ip.fragment() & ip4::OFFSET == 0 { datagram.get(ip.header_length()..) } else { None };
            (mapped(ip.source()), mapped(ip.destination()), ip.protocol(), body)
        }
        Network::Ip6(bytes) => {
            let ip = Ip6::new(bytes)?;
            let packet = ip6::packet(bytes);
            let carried = ip6::carried(packet);
            let body = carried.and_then(|carried| packet.get(carried.start..));
            (ip.source(), ip.destination(), carried.map_or(0, |carried| carried.protocol), body)
        }
        Network::Other => return None,
    };
    let ports = match (protocol, body.and_then(|body| body.first_chunk())) {
        (ip4::TCP | ip4::UDP, Some(ports)) => Some(*ports),
        _ => None,
    };
    let [a, b, c, d] = ports.unwrap_or_default();
    let source = Endpoint { address: source, port: u16::from_be_bytes([a, b]) };
    let destination = Endpoint { address: destination, port: u16::from_be_bytes([c, d]) };
    Some((source, destination, if ports.is_some() { protocol } else { 0 }))
}

/// As [`ends`], for queues, in which the pieces of a datagram are to keep their order: all of them, the first one too, go by addresses and protocol.
#[inline(always)]
pub fn queue_ends(network: Network<'_>) -> Option<(Endpoint, Endpoint, u8)> {
    let (source, destination, protocol) = ends(network)?;
    let piece = match network {
        Network::Ip4(bytes) => Ip4::new(bytes).filter(|ip| ip.is_fragment()).map(Ip4::protocol),
        Network::Ip6(bytes) => ip6::piece(ip6::packet(bytes)),
        Network::Other => None,
    };
    Some(match piece {
        None => (source, destination, protocol),
        Some(protocol) => (Endpoint { port: 0, ..source }, Endpoint { port: 0, ..destination }, protocol),
    })
}

/// 2^64 / golden ratio, odd: the multiplier of Fibonacci hashing (Knuth, TAOCP vol. 3 §6.4), whose bits have no pattern.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both halves of the 128-bit product: each bit of the result depends on all of both factors.
#[inline(always)]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const HASH_SEEDS: [u64; 4] = [0, 1, 0x5eed_0000_0000_0001, u64::MAX];

    type Flow = (Endpoint, Endpoint, u8);

    fn v4(address: u32, port: u16) -> Endpoint {
        Endpoint { address: mapped(address), port }
    }

    fn v6(address: u128, port: u16) -> Endpoint {
        Endpoint { address: 0x2001_0db8 << 96 | address, port }
    }

    /// Flows as networks have them: everything counts up somewhere.
    fn populations(count: u32) -> [(&'static str, Vec<Flow>); 9] {
        let flows = |flow: &dyn Fn(u32) -> Flow| (0..count).map(flow).collect::<Vec<_>>();
        let server = v4(0xc633_6401, 443);
        [
            ("sequential client addresses", flows(&|n| (v4(0x0a00_0000 + n, 50_000), server, ip4::TCP))),
            (
                "sequential client ports",
                flows(&|n| (v4(0x0a00_0001 + (n >> 15), 1024 + (n & 0x7fff) as u16), server, ip4::TCP)),
            ),
            (
                "even ports only",
                flows(&|n| (v4(0x0a00_0001 + (n >> 14), (n as u16 & 0x3fff) << 1), server, ip4::TCP)),
            ),
            ("addresses a /24 apart", flows(&|n| (v4(n << 8 | 1, 50_000), server, ip4::UDP))),
            (
                "both ends count up",
                flows(&|n| (v4(0x0a00_0000 + n, 1024), v4(0x0b00_0000 + n, 443), ip4::TCP)),
            ),
            (
                "address and port count up",
                flows(&|n| (v4(0x0a00_0000 + n, n as u16), v4(0x0b00_0001, 443), ip4::TCP)),
            ),
            (
                "a square of addresses without ports",
                flows(&|n| (v4(0x0a00_0000 + (n >> 8), 0), v4(0x0b00_0000 + (n & 0xff), 0), 0)),
            ),
            ("IPv6 hosts count up", flows(&|n| (v6(u128::from(n), 50_000), v6(1 << 64, 443), ip4::TCP))),
            (
                "IPv6 networks count up",
                flows(&|n| (v6(u128::from(n) << 64 | 1, 50_000), v6(1, 443), ip4::TCP)),
            ),
        ]
    }

    /// How far `counts` are from even, as a number of standard deviations of chi-squared.
    fn unevenness(counts: &[u32]) -> f64 {
        let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        let chi: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        let freedom = counts.len() as f64 - 1.0;
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn both_directions_have_one_hash_and_other_flows_another() {
        let hash = FlowHash::new(7);
        let (a, b) = (v4(0x0a00_0001, 1000), v4(0x0a00_0002, 2000));
        assert_eq!(hash.hash(a, b, ip4::TCP), hash.hash(b, a, ip4::TCP));
        let others = [
            hash.hash(a, b, ip4::UDP),
            hash.hash(v4(0x0a00_0001, 2000), v4(0x0a00_0002, 1000), ip4::TCP),
            hash.hash(v4(0x0a00_0002, 1000), v4(0x0a00_0001, 2000), ip4::UDP),
            hash.hash(a, a, ip4::TCP),
            hash.hash(b, b, ip4::TCP),
            FlowHash::new(8).hash(a, b, ip4::TCP),
        ];
        assert!(!others.contains(&hash.hash(a, b, ip4::TCP)));
    }

    #[test]
    fn flows_spread_evenly_over_workers_and_buckets() {
        const FLOWS: u32 = if cfg!(miri) { 1 << 6 } else { 1 << 17 };
        for (name, flows) in populations(FLOWS) {
            for seed in HASH_SEEDS {
                let hash = FlowHash::new(seed);
                let hashes: Vec<u64> =
                    flows.iter().map(|(a, b, protocol)| hash.hash(*a, *b, *protocol)).collect();
                for workers in [2, 3, 4, 7, 16] {
                    let mut counts = vec![0; workers as usize];
                    hashes.iter().for_each(|hash| counts[owner(*hash, workers) as usize] += 1);
                    let by = unevenness(&counts);
                    assert!(by < 12.0, "{name}, seed {seed:x}, {workers} workers: {by:.1} deviations");
                }
                // The buckets of one of two workers: the low bits must not follow from the high ones.
                let mut counts = vec![0; 1 << 10];
                let mine = hashes.iter().filter(|hash| owner(**hash, 2) == 0);
                mine.for_each(|hash| counts[(hash & 0x3ff) as usize] += 1);
                let by = unevenness(&counts);
                assert!(by < 12.0, "{name}, seed {seed:x}, buckets: {by:.1} deviations");
            }
        }
    }

    #[test]
    fn hundreds_of_thousands_of_neighbouring_flows_have_hashes_of_their_own() {
        const FLOWS: u32 = if cfg!(miri) { 1 << 6 } else { 1 << 18 };
        for (name, flows) in populations(FLOWS) {
            let hash = FlowHash::new(0x5eed);
            let hashes: HashSet<u64> =
                flows.iter().map(|(a, b, protocol)| hash.hash(*a, *b, *protocol)).collect();
            let distinct: HashSet<&Flow> = flows.iter().collect();
            assert_eq!(hashes.len(), distinct.len(), "{name}");
            // 2^18 values of 32 bits: 8 collisions expected (n² / 2^33), 40 would be eleven deviations off.
            let halves: HashSet<u32> = hashes.iter().map(|hash| *hash as u32).collect();
            assert!(hashes.len() - halves.len() < 40, "{name}: {} collide", hashes.len() - halves.len());
        }
    }

    #[test]
    fn every_bit_of_the_flow_moves_every_bit_of_the_hash() {
        const ROUNDS: u64 = if cfg!(miri) { 2 } else { 2000 };
        let mut flips = [[0u32; 64]; 160];
        for round in 0..ROUNDS {
            let hash = FlowHash::new(round);
            let server = v4(0xc633_6401, 443);
            let client = v4(fold(round, ODD) as u32, round as u16);
            let before = hash.hash(client, server, ip4::TCP);
            for (bit, counts) in flips.iter_mut().enumerate().take(144) {
                let mut changed = client;
                match bit {
                    0..128 => changed.address ^= 1 << bit,
                    _ => changed.port ^= 1 << (bit - 128),
                }
                let differ = before ^ hash.hash(changed, server, ip4::TCP);
                counts.iter_mut().enumerate().for_each(|(at, count)| *count += (differ >> at & 1) as u32);
            }
        }
        if !cfg!(miri) {
            for (bit, counts) in flips.iter().enumerate().take(144) {
                for (at, count) in counts.iter().enumerate() {
                    // Half of 2000, within nine deviations of √500.
                    assert!(
                        count.abs_diff(1000) < 200,
                        "input bit {bit} moves bit {at} {count} times of 2000"
                    );
                }
            }
        }
    }

    #[test]
    fn a_datagram_goes_by_ports_only_where_it_has_them() {
        let hash = FlowHash::new(3);
        let datagram = |protocol: u8, fragment: u16, ports: [u8; 4], turned: bool| {
            let mut bytes = [0u8; 24];
            let mut ip = ip4::Ip4Mut::new(&mut bytes).unwrap();
            ip.set_lengths(20, 24);
            ip.set_ttl_protocol(64, protocol);
            ip.set_fragment(fragment);
            let (a, b) = (0x0a00_0001, 0x0a00_0002);
            if turned {
                ip.set_addresses(b, a);
            } else {
                ip.set_addresses(a, b);
            }
            bytes[20..].copy_from_slice(&ports);
            hash.network(Network::Ip4(&bytes))
        };
        let (there, back) = ([0, 80, 4, 0], [4, 0, 0, 80]);
        let flow = hash.hash(v4(0x0a00_0001, 80), v4(0x0a00_0002, 1024), ip4::TCP);
        let addresses = hash.hash(v4(0x0a00_0001, 0), v4(0x0a00_0002, 0), 0);
        assert_eq!(datagram(ip4::TCP, ip4::DONT_FRAGMENT, there, false), flow);
        assert_eq!(datagram(ip4::TCP, 0, back, true), flow, "the other direction");
        assert_eq!(datagram(ip4::TCP, ip4::MORE_FRAGMENTS, there, false), flow, "a first fragment");
        assert_eq!(datagram(ip4::TCP, 1, there, false), addresses, "a later one");
        assert_eq!(datagram(ip4::ICMP, 0, there, true), addresses);
        assert_ne!(datagram(ip4::UDP, 0, there, false), flow);
        // Shorter than it is long: what follows is padding.
        let mut padded = [0u8; 24];
        padded[..4].copy_from_slice(&[0x45, 0, 0, 20]);
        padded[9] = ip4::TCP;
        padded[23] = 80;
        assert_eq!(hash.network(Network::Ip4(&padded)), hash.hash(v4(0, 0), v4(0, 0), 0));
        // Cut off: by what there is.
        let mut short = [0u8; 22];
        short[0] = 0x45;
        short[9] = ip4::TCP;
        assert_eq!(hash.network(Network::Ip4(&short)), hash.hash(v4(0, 0), v4(0, 0), 0));
        assert_eq!(hash.network(Network::Ip4(&short[..19])), 0);
    }

    #[test]
    fn ip6_goes_by_ports_behind_extension_headers_too() {
        let hash = FlowHash::new(3);
        let mut packet = vec![0x60, 0, 0, 0, 0, 12, 60, 64];
        packet.extend([[0x20; 16], [0x21; 16]].concat());
        packet.extend([ip4::UDP, 0, 0, 0, 0, 0, 0, 0, 0, 80, 4, 0, 0xaa, 0xaa]);
        let end = |byte, port| Endpoint { address: u128::from_be_bytes([byte; 16]), port };
        let flow = hash.hash(end(0x21, 1024), end(0x20, 80), ip4::UDP);
        assert_eq!(hash.network(Network::Ip6(&packet)), flow);
        let addresses = hash.hash(end(0x20, 0), end(0x21, 0), 0);
        assert_eq!(hash.network(Network::Ip6(&packet[..50])), addresses, "cut off");
        packet[5] = 11;
        assert_eq!(hash.network(Network::Ip6(&packet)), addresses, "the last byte of the ports is padding");
        assert_eq!(hash.network(Network::Other), 0);
    }

    #[test]
    fn pieces_of_a_datagram_go_by_addresses_and_protocol_to_one_queue() {
        let port = |(source, destination, protocol): (Endpoint, Endpoint, u8)| {
            (source.port, destination.port, protocol)
        };
        let four = |fragment: u16, protocol| {
            let mut bytes = [0u8; 28];
            let mut ip = ip4::Ip4Mut::new(&mut bytes).unwrap();
            ip.set_lengths(20, 28);
            ip.set_ttl_protocol(64, protocol);
            ip.set_fragment(fragment);
            bytes[20..24].copy_from_slice(&[0, 80, 4, 0]);
            port(queue_ends(Network::Ip4(&bytes)).unwrap())
        };
        assert_eq!(four(ip4::DONT_FRAGMENT, ip4::UDP), (80, 1024, ip4::UDP));
        for protocol in [ip4::UDP, ip4::TCP, ip4::ICMP] {
            for fragment in [ip4::MORE_FRAGMENTS, ip4::MORE_FRAGMENTS | 9, 100] {
                assert_eq!(four(fragment, protocol), (0, 0, protocol), "{fragment:x}");
            }
        }
        let six = |before: &[u8], place: u8, more: u8| {
            let fragment = if before.is_empty() { 44 } else { 60 };
            let rest = [before, &[ip4::UDP, 0, 0, place << 3 | more, 0, 0, 0, 1], &[0, 80, 4, 0, 0, 8, 0, 0]]
                .concat();
            let mut packet = vec![0x60, 0, 0, 0, 0, rest.len() as u8, fragment, 64];
            packet.extend([[0x20; 16], [0x21; 16]].concat());
            packet.extend(rest);
            port(queue_ends(Network::Ip6(&packet)).unwrap())
        };
        for before in [&[][..], &[44, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(six(before, 0, 0), (80, 1024, ip4::UDP), "an atomic fragment");
            for (place, more) in [(0, 1), (9, 1), (9, 0)] {
                assert_eq!(six(before, place, more), (0, 0, ip4::UDP), "{place} {more}");
            }
        }
        assert_eq!(queue_ends(Network::Other), None);
    }
}
