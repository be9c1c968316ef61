//! Two hosts of one network with a bridge between them: the kernel's, then weir.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_tests::appliance::Weir;
use weir_tests::clients::{UdpEcho, ping, ping_all, tcp_transfer};
use weir_tests::forwarded_by_both;
use weir_tests::lab::{Host, Lab, WIRE};
use weir_tests::namespace::succeed;
use weir_tests::scenario::{BRIDGED, Forwarder, PLAIN, Setting, run};
use weir_tests::wire::Wire;

forwarded_by_both! {
    hosts_find_and_reach_each_other in BRIDGED;
    hosts_find_and_reach_each_other_by_ip6 in BRIDGED;
    tcp_crosses_both_ways_at_once in BRIDGED;
    tcp_crosses_to_several_workers in Setting { queues: 2, workers: 2, ..BRIDGED };
    udp_crosses_in_every_size in BRIDGED;
    every_kind_of_frame_crosses_byte_for_byte in BRIDGED;
    the_bridge_itself_answers_on_both_sides in BRIDGED;
    the_bridges_address_moves in BRIDGED;
}

/// The processor belongs to others while nothing is to be done, whatever weir is.
#[test]
fn without_traffic_weir_sleeps() {
    for setting in [PLAIN, BRIDGED] {
        run(Forwarder::Weir, setting, |lab, weir| {
            let weir = weir.context("a weir")?;
            ping_all(lab.left(), lab.right().address, 2)?;
            let before = weir.processor_time()?;
            thread::sleep(Duration::from_secs(2));
            let taken = weir.processor_time()? - before;
            println!("{taken:?} of 2 s");
            // counters are published four times a second, in a debug build
            ensure!(taken < Duration::from_millis(400), "weir has taken {taken:?} of 2 s");
            Ok(())
        });
    }
}

const MIB: usize = 1 << 20;
/// For a frame that must come.
const SOON: Duration = Duration::from_secs(5);

/// The MAC address that a host knows a neighbour by, as `ip neighbour` writes it.
fn neighbour(host: &Host, address: &str) -> Result<String> {
    let line = host.namespace.ip(&format!("neighbour show {address} dev {WIRE}"))?;
    let mac = line.split_once("lladdr ").and_then(|(_, rest)| rest.split(' ').next());
    Ok(mac.with_context(|| format!("{address} is not known: {line}"))?.to_owned())
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn hosts_find_and_reach_each_other(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    for (host, other) in [(lab.left(), lab.right()), (lab.right(), lab.left())] {
        host.namespace.ip("neighbour flush all")?;
        ping_all(host, other.address, 5)?;
        ensure!(
            neighbour(host, &other.address.to_string())? == text(other.mac),
            "the other host's own MAC address"
        );
        let said = ping(host, &format!("-c 1 -W 5 -t 1 {}", other.address))?;
        ensure!(said.contains("ttl=64") && said.contains(" 1 received"), "no hop between them: {said}");
    }
    if let Some(weir) = weir {
        let received = weir.counters().columns("/if/rx")?;
        ensure!(received.iter().all(|port| port.packets >= 10), "{received:?}");
    }
    Ok(())
}

fn ping6(host: &Host, address: &str) -> Result<()> {
    let said = ping(host, &format!("-6 -c 3 -i 0.1 -W 5 {address}"))?;
    ensure!(said.contains(" 3 received"), "{said}");
    Ok(())
}

fn hosts_find_and_reach_each_other_by_ip6(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    for (host, number, other) in [(lab.left(), 3, lab.right()), (lab.right(), 2, lab.left())] {
        host.namespace.ip("neighbour flush all")?;
        let address = format!("2001:db8:9::{number}");
        ping6(host, &address)?;
        ensure!(neighbour(host, &address)? == text(other.mac), "the other host's own MAC address");
    }
    // The machine's own, from both sides.
    ping6(lab.left(), "2001:db8:9::1")?;
    ping6(lab.right(), "2001:db8:9::1")?;
    if let Some(weir) = weir {
        thread::sleep(Duration::from_millis(500)); // the verdicts are published four times a second
        let asked = weir.counters().columns("/xdp/neighbour-solicitation")?;
        ensure!(asked.iter().all(|port| port.packets > 0), "{asked:?}");
        let received: u64 = weir.counters().columns("/if/ip6")?.iter().map(|port| port.packets).sum();
        ensure!(received >= 12, "{received} IPv6 packets");
    }
    Ok(())
}

fn both_ways(lab: &Lab) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    thread::scope(|scope| {
        let one = scope.spawn(|| tcp_transfer(left, right, 16 * MIB));
        let other = scope.spawn(|| tcp_transfer(right, left, 16 * MIB));
        for transfer in [one, other] {
            transfer.join().map_err(|_| anyhow::anyhow!("a transfer panicked"))??;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    for host in &lab.hosts {
        let wrong = host.namespace.kernel_counter("Tcp", "InCsumErrors")?;
        ensure!(wrong == 0, "{wrong} wrong checksums");
    }
    Ok(())
}

fn tcp_crosses_both_ways_at_once(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    both_ways(lab)?;
    if let Some(weir) = weir {
        let samples: u64 = weir.counters().columns("/rtt/samples")?.iter().map(|it| it.packets).sum();
        ensure!(samples > 10, "{samples} round trips measured");
    }
    Ok(())
}

fn tcp_crosses_to_several_workers(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    both_ways(lab)?;
    both_ways(lab)
}

fn udp_crosses_in_every_size(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    for (client, server) in [(lab.left(), lab.right()), (lab.right(), lab.left())] {
        let echo = UdpEcho::start(server)?;
        for length in [0, 1, 17, 18, 19, 63, 64, 65, 511, 1024, 1471, 1472, 4000] {
            echo.ask(client, length)?;
        }
    }
    Ok(())
}

/// Frames from `host` that are for nobody in particular, with what they are.
fn kinds(host: &Host, other: &Host) -> Vec<(&'static str, Vec<u8>)> {
    const BROADCAST: [u8; 6] = [0xff; 6];
    let stranger = [0x02, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa];
    let frame = |destination: [u8; 6], rest: &[&[u8]]| [&destination[..], &host.mac, &rest.concat()].concat();
    let datagram = {
        let mut bytes = vec![0x45, 0, 0, 46, 0, 1, 0, 0, 7, 17, 0xde, 0xad, 192, 0, 2, 1, 198, 51, 100, 1];
        bytes.extend([0x5a; 26]);
        bytes
    };
    let full = [datagram.as_slice(), &[0xa5; 1454]].concat();
    let session: &[u8] = &[0x88, 0x64, 0x11, 0, 0, 7, 0, 48, 0, 0x21];
    vec![
        ("VLAN", frame(other.mac, &[&[0x81, 0, 0xa0, 5, 8, 0], &datagram])),
        ("VLAN, as large as they come", frame(other.mac, &[&[0x81, 0, 0, 5, 8, 0], &full])),
        ("VLAN, broadcast", frame(BROADCAST, &[&[0x81, 0, 0, 5, 8, 0], &datagram])),
        ("802.1ad", frame(other.mac, &[&[0x88, 0xa8, 0, 9, 8, 0], &datagram])),
        ("two tags", frame(other.mac, &[&[0x88, 0xa8, 0x20, 9, 0x81, 0, 0, 5, 8, 0], &datagram])),
        ("PPPoE session", frame(other.mac, &[session, &datagram])),
        ("PPPoE session in a VLAN", frame(other.mac, &[&[0x81, 0, 0, 5], session, &datagram])),
        ("PPPoE discovery", frame(BROADCAST, &[&[0x88, 0x63, 0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0], &[0; 40]])),
        (
            "LLDP",
            frame(
                [1, 0x80, 0xc2, 0, 0, 0x0e],
                &[&[0x88, 0xcc, 2, 7, 4], &host.mac, &[4, 2, 7, 49, 6, 2, 0, 120, 0, 0]],
            ),
        ),
        ("a spanning tree's", frame([1, 0x80, 0xc2, 0, 0, 0], &[&[0, 38, 0x42, 0x42, 3], &[0; 43]])),
        ("multicast", frame([1, 0, 0x5e, 0, 0, 251], &[&[8, 0], &datagram])),
        ("IPv6 multicast", frame([0x33, 0x33, 0, 0, 0, 0xfb], &[&[0x86, 0xdd, 0x60], &[7; 59]])),
        (
            "ARP for a stranger",
            frame(
                BROADCAST,
                &[
                    &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
                    &host.mac,
                    &[10, 0, 9, 77],
                    &[0; 6],
                    &[10, 0, 9, 78],
                    &[0; 18],
                ],
            ),
        ),
        ("to a stranger", frame(stranger, &[&[8, 0], &datagram])),
        ("MPLS", frame(other.mac, &[&[0x88, 0x47, 0, 0x10, 1, 64], &datagram])),
        ("an unknown type", frame(other.mac, &[&[0x88, 0xb5], &[0x77; 46]])),
        ("a full frame", frame(other.mac, &[&[8, 0], &full])),
    ]
}

fn every_kind_of_frame_crosses_byte_for_byte(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    for (host, other) in [(lab.left(), lab.right()), (lab.right(), lab.left())] {
        let (near, far) = (Wire::open(&host.namespace, WIRE)?, Wire::open(&other.namespace, WIRE)?);
        for (kind, frame) in kinds(host, other) {
            near.send(&frame)?;
            let came = far.receive(SOON, |it| it.len() >= 12 && it[..12] == frame[..12])?;
            let came = came.with_context(|| format!("{kind}: nothing came"))?;
            ensure!(came == frame, "{kind}\nsent {frame:02x?}\ncame {came:02x?}");
        }
    }
    if let Some(weir) = weir {
        ensure!(weir.counters().balance()?.dropped == 0, "{}", weir.counters());
    }
    Ok(())
}

fn the_bridge_itself_answers_on_both_sides(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    for host in &lab.hosts {
        host.namespace.ip("neighbour flush all")?;
        ping_all(host, host.gateway, 3)?;
        ensure!(neighbour(host, &host.gateway.to_string())? == text(host.gateway_mac));
    }
    lab.router.ip("neighbour flush all")?;
    for host in &lab.hosts {
        let address = host.address.to_string();
        succeed(lab.router.command("ping").args(["-n", "-c", "3", "-i", "0.1", "-W", "5", &address]))?;
    }
    ping_all(lab.left(), lab.right().address, 3)?;
    if let Some(weir) = weir {
        thread::sleep(Duration::from_millis(500)); // the verdicts are published four times a second
        for verdict in ["own-mac", "arp", "redirected"] {
            let counts = weir.counters().columns(&format!("/xdp/{verdict}"))?;
            ensure!(counts.iter().all(|port| port.packets > 0), "{verdict}: {counts:?}");
        }
    }
    Ok(())
}

/// The machine gets another address, and its bridge another MAC address, while all runs.
fn the_bridges_address_moves(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    lab.router.ip("link set br0 address 02:bb:00:00:00:77")?;
    lab.router.ip("address add 10.0.9.200/24 dev br0")?;
    lab.router.ip("address add 2001:db8:9::200/64 dev br0 nodad")?;
    // What netlink tells is known some milliseconds later.
    thread::sleep(Duration::from_millis(200));
    for host in &lab.hosts {
        host.namespace.ip("neighbour flush all")?;
        ping_all(host, std::net::Ipv4Addr::new(10, 0, 9, 200), 3)?;
        ensure!(neighbour(host, "10.0.9.200")? == "02:bb:00:00:00:77");
        ping6(host, "2001:db8:9::200")?;
    }
    // An address that is given up may be a host's.
    lab.router.ip("address del 10.0.9.200/24 dev br0")?;
    lab.right().namespace.ip(&format!("address add 10.0.9.200/24 dev {WIRE}"))?;
    thread::sleep(Duration::from_millis(200));
    lab.left().namespace.ip("neighbour flush all")?;
    ping_all(lab.left(), std::net::Ipv4Addr::new(10, 0, 9, 200), 3)?;
    ensure!(neighbour(lab.left(), "10.0.9.200")? == text(lab.right().mac));
    Ok(())
}
