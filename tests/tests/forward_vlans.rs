//! A router whose port has VLANs, and VLANs in a provider's VLAN: each is a port of its own, with the kernel's TCP at both ends.
//!
//! ```text
//!   left ──── to-left  weir  to-right ─┬─ in frames with the tags 5, or 9 and 5 ──── right
//!   10.0.1.2            five, ninefive ┘                                              10.77.n.3
//! ```
//! Linux's own VLAN devices are what the router would have on most machines. Where the kernel has none, macvlans stand for them: addresses, routes and neighbours are
//! theirs, and the config says which tags they have.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_tests::access::{Access, Wearing};
use weir_tests::appliance::Weir;
use weir_tests::clients::{tcp_ping_pong_between, tcp_transfer_between};
use weir_tests::lab::{Lab, mac};
use weir_tests::scenario::unless_skipped;

/// What stands for a VLAN in the router, what the config says of it, and what the host at the other end wears.
const VLANS: [(&str, &str, [&str; 2]); 2] = [
    ("five", "vlan = 5", ["vlan-ip4", "vlan-ip6"]),
    ("ninefive", "vlan = 5\nservice-vlan = 9", ["qinq-ip4", "qinq-ip6"]),
];
const BYTES: usize = 400_000;

fn worn(name: &str) -> Result<(Access, u8)> {
    let table = Access::ROUTED.into_iter().zip(1..);
    table.into_iter().find(|(access, _)| access.name == name).context("a line of the table")
}

#[test]
fn vlans_of_a_port_are_routed() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::new(1)?;
        let (right, router) = (lab.right(), &lab.router);
        lab.add_ip6()?;
        let mut ports = String::new();
        for (device, tags, names) in VLANS {
            router.ip(&format!("link add link {} name {device} type macvlan mode private", right.port))?;
            router.sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6"), "0")?;
            router.ip(&format!("link set {device} up"))?;
            let [a, b, c, d, e, f] = right.mac;
            for name in names {
                let (access, line) = worn(name)?;
                let (own, host) = (access.address(line, 1), access.address(line, 3));
                let (length, more) = if access.is_ip6 { (64, "nodad") } else { (24, "") };
                router.ip(&format!("address add {own}/{length} dev {device} {more}"))?;
                router.ip(&format!(
                    "neighbour add {host} lladdr {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} dev {device} nud permanent"
                ))?;
            }
            ports += &format!("[[port]]\ndevice = \"{device}\"\nparent = \"{}\"\n{tags}\n", right.port);
        }
        let weir = Weir::with_sections(&lab, 1, &ports)?;
        let frames = weir.counters().frames()?;
        for (device, _, names) in VLANS {
            for name in names {
                crosses(&lab, &weir, device, name).with_context(|| name)?;
            }
        }
        for node in ["ethernet-input", "ip4-input", "ip6-input", "ip4-rewrite", "ip6-rewrite"] {
            let drops = weir.counters().drops(node, "too-short")?;
            ensure!(drops == 0, "{node} has dropped {drops}");
        }
        weir.counters().conserve()?;
        ensure!(weir.counters().frames()? == frames, "frames are lost");
        weir.stop()
    })
}

fn crosses(lab: &Lab, weir: &Weir, device: &str, name: &str) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    let (access, line) = worn(name)?;
    let host = Wearing::put_on(right, mac(&lab.router, device)?, &access, line, 3)?;
    let (internet, network): (IpAddr, String) = if access.is_ip6 {
        (left.address6.into(), format!("{}/64", left.gateway6))
    } else {
        (left.address.into(), format!("{}/24", left.gateway))
    };
    let network = network.replace(".1/24", ".0/24").replace("::1/64", "::/64");
    right.namespace.ip(&format!("route replace {network} dev worn"))?;
    let port = || -> Result<_> {
        let names = weir.counters().names("/if/names")?;
        names.iter().position(|port| port == device).context("a port")
    };
    let received = || -> Result<u64> { Ok(weir.counters().columns("/if/rx")?[port()?].packets) };
    let sent = || -> Result<u64> { Ok(weir.counters().columns("/if/tx")?[port()?].packets) };
    let before = (received()?, sent()?);
    tcp_transfer_between(left, right, host.address(), BYTES)?;
    tcp_transfer_between(right, left, internet, BYTES)?;
    let turns = tcp_ping_pong_between(left, right, host.address(), 20)?;
    ensure!(turns.iter().all(|turn| *turn < Duration::from_secs(1)), "{turns:?}");
    let grown = (received()? - before.0, sent()? - before.1);
    // A transfer each way, in segments of some 1,350 bytes.
    ensure!(grown.0 > 250 && grown.1 > 250, "{name}: {grown:?} packets came and left by {device}");
    println!("{name}: {} packets in, {} out, by {device}", grown.0, grown.1);
    ensure!(host.came() > 250, "{} packets have come with the tags", host.came());
    Ok(())
}
