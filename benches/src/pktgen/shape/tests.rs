use std::collections::HashSet;

use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};

use super::*;
use crate::pktgen::device::Device;
use crate::pktgen::live::Live;

fn traffic() -> Traffic {
    Traffic {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        vlans: Vec::new(),
        sources: "10.0.1.2".parse().expect("addresses"),
        destinations: "10.0.2.0/24".parse().expect("addresses"),
        source_ports: "1000-1009".parse().expect("ports"),
        destination_ports: "2000".parse().expect("ports"),
        transport: Transport::Udp,
        sizes: Sizes::imix(),
        flows: None,
        order: Order::Increment,
        stream: 5,
        echo: Duration::from_millis(20),
    }
}

/// Traffic of all kinds.
fn kinds() -> Vec<Traffic> {
    let ip6 = Traffic {
        sources: "2001:db8:1::2".parse().expect("addresses"),
        destinations: "2001:db8:2::100-2001:db8:2::1ff".parse().expect("addresses"),
        ..traffic()
    };
    let mut kinds = Vec::new();
    for addresses in [traffic(), ip6] {
        for transport in [Transport::Udp, Transport::Tcp] {
            for (vlans, order) in
                [(vec![], Order::Increment), (vec![7], Order::Random), (vec![100, 200], Order::Random)]
            {
                for flows in [None, Some(17)] {
                    let headers =
                        14 + 4 * vlans.len() + if addresses.sources.first.is_ipv6() { 40 } else { 20 };
                    let least = headers + if transport == Transport::Tcp { 32 } else { 8 } + COMPACT + 4;
                    let sizes = format!("{},300,{},1518", least.max(64), least + 9).parse().expect("sizes");
                    kinds.push(Traffic {
                        transport,
                        vlans: vlans.clone(),
                        order,
                        flows,
                        sizes,
                        ..addresses.clone()
                    });
                }
            }
        }
    }
    kinds
}

/// What a packet says of itself, found by etherparse, which also says whether its checksums are right.
struct Parsed {
    addresses: (IpAddr, IpAddr),
    ports: (u16, u16),
    vlans: Vec<u16>,
    data: Vec<u8>,
    timestamps: Option<(u32, u32)>,
    sequence: Option<u32>,
}

fn parse(frame: &[u8]) -> Parsed {
    let packet = SlicedPacket::from_ethernet(frame).expect("headers");
    let vlans = packet.vlan_ids().iter().map(|vlan| vlan.value()).collect();
    let mut parsed = Parsed {
        addresses: (IpAddr::from([0; 4]), IpAddr::from([0; 4])),
        ports: (0, 0),
        vlans,
        data: Vec::new(),
        timestamps: None,
        sequence: None,
    };
    let ip4 = match packet.net.expect("IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), frame.len() - 14 - 4 * parsed.vlans.len());
            parsed.addresses = (header.source.into(), header.destination.into());
            Some(header)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            parsed.addresses = (header.source.into(), header.destination.into());
            None
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    match packet.transport.expect("UDP or TCP") {
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            parsed.ports = (header.source_port, header.destination_port);
            parsed.data = udp.payload().to_vec();
            let check = match (ip4, parsed.addresses) {
                (Some(ip), _) => header.calc_checksum_ipv4(&ip, udp.payload()),
                (_, (IpAddr::V6(source), IpAddr::V6(destination))) => {
                    header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), udp.payload())
                }
                _ => panic!("neither IPv4 nor IPv6"),
            };
            assert_eq!(header.checksum, check.expect("a checksum"));
        }
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            parsed.ports = (header.source_port, header.destination_port);
            parsed.data = tcp.payload().to_vec();
            parsed.sequence = Some(header.sequence_number);
            for option in header.options_iterator() {
                if let Ok(TcpOptionElement::Timestamp(value, echo)) = option {
                    parsed.timestamps = Some((value, echo));
                }
            }
            let check = match (ip4, parsed.addresses) {
                (Some(ip), _) => header.calc_checksum_ipv4(&ip, tcp.payload()),
                (_, (IpAddr::V6(source), IpAddr::V6(destination))) => {
                    header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), tcp.payload())
                }
                _ => panic!("neither IPv4 nor IPv6"),
            };
            assert_eq!(header.checksum, check.expect("a checksum"));
        }
        _ => panic!("neither UDP nor TCP"),
    }
    parsed
}

/// The first packets of a traffic, all in one buffer that is used again.
fn packets(traffic: &Traffic, count: u64, time: impl Fn(u64) -> u64) -> Vec<Vec<u8>> {
    let shape = Shape::new(traffic).expect("a shape");
    let mut positions = vec![0; shape.positions() as usize];
    let mut buffer = vec![0; shape.longest()];
    (0..count)
        .map(|number| {
            let length = shape.write(number, time(number), &mut positions, &mut buffer);
            buffer[..length].to_vec()
        })
        .collect()
}

#[test]
fn packets_are_whole_and_their_checksums_right_whatever_they_are() {
    for traffic in kinds() {
        let sizes = traffic.sizes.in_turn();
        let all = packets(&traffic, 300, |number| number * 1_000_003);
        for (number, frame) in all.iter().enumerate() {
            assert_eq!(frame.len(), usize::from(sizes[number % sizes.len()]) - 4);
            assert_eq!((&frame[..6], &frame[6..12]), (&traffic.destination_mac[..], &traffic.source_mac[..]));
            let parsed = parse(frame);
            assert_eq!(parsed.vlans, traffic.vlans);
            assert_eq!(parsed.addresses.0, traffic.sources.first);
            assert_eq!(parsed.ports.1, 2000);
            assert!((1000..1010).contains(&parsed.ports.0));
            let mut data = vec![0; parsed.data.len()];
            let compact = data.len() < FULL || all.iter().any(|it| parse(it).data.len() < FULL);
            let end = if compact { COMPACT } else { FULL };
            payload::write(&mut data[..end], 5, number as u64, number as u64 * 1_000_003);
            assert_eq!(parsed.data, data);
        }
    }
}

#[test]
fn flows_are_as_many_as_asked_for_and_all_different() {
    let flows = |traffic: &Traffic, count| {
        let all = packets(traffic, count, |_| 0);
        all.iter().map(|frame| parse(frame)).map(|it| (it.addresses, it.ports)).collect::<HashSet<_>>().len()
    };
    assert_eq!(flows(&traffic(), 3000), 2560);
    assert_eq!(flows(&Traffic { flows: Some(100), ..traffic() }, 3000), 100);
    assert_eq!(flows(&Traffic { flows: Some(100), order: Order::Random, ..traffic() }, 3000), 100);
    let random = flows(&Traffic { order: Order::Random, ..traffic() }, 2560);
    // one minus 1/e of them, on average
    assert!((1500..1750).contains(&random), "{random}");
}

#[test]
fn tcp_goes_on_where_it_was_and_echoes_what_was_sent_before() {
    let traffic = Traffic { transport: Transport::Tcp, sizes: Sizes::one(200), flows: Some(2), ..traffic() };
    let all = packets(&traffic, 6, |number| number * 3_000_000 + 100_000_000);
    let parsed: Vec<_> = all.iter().map(|frame| parse(frame)).collect();
    let data = parsed[0].data.len() as u32;
    assert_eq!(data, 200 - 4 - 14 - 20 - 32);
    let sequences: Vec<u32> = parsed.iter().filter_map(|it| it.sequence).collect();
    assert_eq!(sequences, [0, 0, data, data, 2 * data, 2 * data]);
    assert_eq!(parsed[5].timestamps, Some((115, 95)));
}

#[test]
fn what_cannot_be_is_refused_with_words() {
    let refused = |traffic: Traffic| Shape::new(&traffic).err().map(|error| error.to_string());
    let sizes = |text: &str| text.parse::<Sizes>().expect("sizes");
    for (wrong, word) in [
        (Traffic { sizes: sizes("63"), ..traffic() }, "take 64 to"),
        (Traffic { sizes: sizes("0"), ..traffic() }, "take 64 to"),
        (Traffic { sizes: sizes("3001"), ..traffic() }, "to 3000"),
        (Traffic { sizes: sizes("79"), transport: Transport::Tcp, ..traffic() }, "take 80 to"),
        (Traffic { flows: Some(0), ..traffic() }, "without a flow"),
        (Traffic { flows: Some(2561), ..traffic() }, "only 2560"),
        (Traffic { vlans: vec![0], ..traffic() }, "1 to 4094"),
        (Traffic { vlans: vec![1, 2, 3], ..traffic() }, "two"),
        (Traffic { sources: "::1".parse().expect("addresses"), ..traffic() }, "same version"),
    ] {
        let said = refused(wrong).unwrap_or_default();
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn the_kernels_packets_are_the_same() {
    if let Some(reason) = weir_tests::scenario::missing() {
        println!("SKIP {}: {reason}", std::thread::current().name().unwrap_or("a test"));
        return;
    }
    let device = Device { name: "none".to_owned(), index: 1, mac: [0; 6], mtu: 1500, up: true };
    for traffic in kinds() {
        let shape = Shape::new(&traffic).expect("a shape");
        let live = Live::new(&shape, &device).expect("the program");
        let mut positions = vec![0; shape.positions() as usize];
        let mut expected = vec![0; shape.longest()];
        for number in 0..60 {
            let frame = live.run_once().expect("a packet");
            // only the kernel knows the time
            let data = parse(&frame).data;
            let full =
                u64::from_be_bytes(data[data.len().min(10)..].first_chunk().copied().unwrap_or_default());
            let now = match shape.is_compact {
                false => full,
                true => u64::from(u32::from_be_bytes([data[6], data[7], data[8], data[9]])),
            };
            let mut found = frame.clone();
            if shape.is_compact && shape.is_tcp {
                // the timestamps have higher bits of the time than the data do: leave them and the checksum to the parser
                let at = shape.transport + 24;
                let length = shape.write(number, now, &mut positions, &mut expected);
                found[at..at + 8].copy_from_slice(&expected[at..at + 8]);
                found[at - 8..at - 6].copy_from_slice(&expected[at - 8..at - 6]);
                assert_eq!(found, expected[..length], "packet {number} of {traffic:?}");
            } else {
                let length = shape.write(number, now, &mut positions, &mut expected);
                assert_eq!(found, expected[..length], "packet {number} of {traffic:?}");
            }
        }
    }
}
