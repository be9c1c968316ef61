//! A bridge on one port: what comes in by one VLAN leaves by the other. Frames are raw, so the machine needs no VLAN devices.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_tests::appliance::Weir;
use weir_tests::clients::ping_all;
use weir_tests::lab::{Lab, WIRE};
use weir_tests::scenario::unless_skipped;
use weir_tests::wire::Wire;

const WAN: u16 = 2;
const LAN: u16 = 3;

fn tagged(destination: [u8; 6], source: [u8; 6], tag: u16, rest: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &[0x81, 0], &tag.to_be_bytes(), rest].concat()
}

#[test]
fn frames_cross_from_vlan_to_vlan_of_one_port() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::with_hosts(&["trunk"], 1)?;
        let host = lab.left();
        let weir = Weir::one_armed(&lab, WAN, LAN)?;
        let (ours, wire) = (Wire::open(&host.namespace, WIRE)?, Wire::open(&host.namespace, WIRE)?);
        let stranger = [0x02, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa];
        let rest: [&[u8]; 6] = [
            &[&[0x08, 0x00, 0x45][..], &[0x11; 45]].concat(),
            &[&[0x08, 0x06][..], &[0; 46]].concat(),
            &[&[0x86, 0xdd, 0x60][..], &[0x22; 59]].concat(),
            &[&[0x88, 0x64, 0x11, 0, 0, 7, 0, 48, 0, 0x21, 0x45][..], &[0x33; 45]].concat(),
            &[&[0x81, 0x00, 0x00, 0x07, 0x08, 0x00, 0x45][..], &[0x44; 45]].concat(),
            &[&[0x08, 0x00, 0x45][..], &[0x55; 1499]].concat(),
        ];
        let mut sent = 0;
        for destination in [stranger, [0xff; 6], [1, 0x80, 0xc2, 0, 0, 0x0e]] {
            for (from, to) in [(WAN, LAN), (LAN, WAN)] {
                for (number, rest) in rest.iter().enumerate() {
                    let priority = (number as u16 % 8) << 13 | (number as u16 & 1) << 12;
                    wire.send(&tagged(destination, host.mac, priority | from, rest))?;
                    sent += 1;
                    let expected = tagged(destination, host.mac, priority | to, rest);
                    let came =
                        ours.receive(Duration::from_secs(5), |it| it.len() > 12 && it[6..12] == host.mac)?;
                    let came = came.context("nothing came back")?;
                    ensure!(came == expected, "expected {expected:02x?}\ncame     {came:02x?}");
                }
            }
        }
        ensure!(weir.counters().received()? == sent, "{}", weir.counters());

        // Other VLANs and untagged frames are the kernel's, which has no use for them here.
        for tag in [0, 1, 4, 0xfff] {
            wire.send(&tagged(stranger, host.mac, tag, rest[0]))?;
        }
        wire.send(&[&stranger[..], &host.mac, rest[0]].concat())?;
        let came = ours.receive(Duration::from_millis(300), |it| it.len() > 12 && it[6..12] == host.mac)?;
        ensure!(came.is_none(), "{came:02x?}");
        ensure!(weir.counters().received()? == sent, "{}", weir.counters());
        // Among them the machine's own traffic.
        ping_all(host, host.gateway, 3)?;
        std::thread::sleep(Duration::from_millis(500)); // verdicts are published four times a second
        let others: u64 = weir.counters().columns("/xdp/other-vlan")?.iter().map(|it| it.packets).sum();
        ensure!(others >= 5 + 3, "{others}");
        weir.counters().conserve()?;
        weir.stop()
    })
}
