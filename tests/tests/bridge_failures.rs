//! A bridge whose weir comes, goes and is killed, and links that do not fit each other.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_tests::appliance::Weir;
use weir_tests::clients::{Probe, Stream, UdpEcho, ping_all};
use weir_tests::lab::{Host, Lab, WIRE};
use weir_tests::scenario::{BRIDGED, Forwarder, run, unless_skipped};
use weir_tests::wire::Wire;

/// The longest that hosts may hear nothing of each other when the kernel takes over: it does so at once; the machine's two cores are busy.
const GAP: Duration = Duration::from_millis(500);

#[test]
fn the_kernels_bridge_carries_on_when_weir_is_killed() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::bridged(1)?;
        let echo = UdpEcho::start(lab.right())?;
        let probe = Probe::start(lab.left(), &echo)?;
        let stream = Stream::start(lab.right(), lab.left())?;
        let begun = Instant::now();
        probe.answered_after(begun, Duration::from_secs(5))?;
        for round in 0..2 {
            let starting = Instant::now();
            let weir = Weir::bridging(&lab, 1)?;
            thread::sleep(Duration::from_secs(1));
            ensure!(weir.counters().received()? > 0, "weir carries what crosses");
            let before = stream.arrived();
            let killed = Instant::now();
            weir.kill()?;
            thread::sleep(Duration::from_secs(2));
            ensure!(stream.arrived() > before, "the TCP stream goes on");
            let silence = probe.longest_silence(killed, Instant::now());
            println!("round {round}: nothing for {silence:?} after weir was killed");
            ensure!(silence < GAP, "nothing came across for {silence:?} when weir was killed");
            let silence = probe.longest_silence(starting, killed);
            println!("round {round}: nothing for {silence:?} while weir started and ran");
            ensure!(silence < GAP, "nothing came across for {silence:?} when weir started");
        }
        let (sent, answered) = probe.counts();
        println!("{} of {sent} lost", sent - answered);
        ensure!((sent - answered) * 10 < sent, "{} of {sent} lost", sent - answered);
        // Nothing of weir is left: the bridge itself is there, on both sides.
        for host in &lab.hosts {
            ping_all(host, host.gateway, 2)?;
        }
        Ok(())
    })
}

#[test]
fn a_weir_that_leaves_loses_nothing() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::bridged(1)?;
        let weir = Weir::bridging(&lab, 1)?;
        let echo = UdpEcho::start(lab.right())?;
        let probe = Probe::start(lab.left(), &echo)?;
        thread::sleep(Duration::from_secs(1));
        let leaving = Instant::now();
        weir.stop()?;
        probe.answered_after(leaving, Duration::from_secs(5))?;
        thread::sleep(Duration::from_secs(1));
        let silence = probe.longest_silence(leaving, Instant::now());
        ensure!(silence < GAP, "nothing came across for {silence:?}");
        Ok(())
    })
}

/// Sends a UDP frame of this many bytes, behind the Ethernet header, from one host to the other.
fn send(from: &Host, to: &Host, bytes: usize) -> Result<Vec<u8>> {
    let mut frame = [&to.mac[..], &from.mac, &[0x88, 0xb5]].concat();
    frame.resize(14 + bytes, 0x5a);
    Wire::open(&from.namespace, WIRE)?.send(&frame)?;
    Ok(frame)
}

#[test]
fn frames_that_the_other_port_cannot_send_are_counted() {
    run(Forwarder::Weir, BRIDGED, |lab, weir| {
        let Some(weir) = weir else { return Ok(()) };
        ensure!(!weir.log().contains("kernel bridge") && !weir.log().contains("MTU"), "{}", weir.log());
        let (left, right) = (lab.left(), lab.right());
        lab.router.ip(&format!("link set {} mtu 1000", right.port))?;
        thread::sleep(Duration::from_millis(200));
        let far = Wire::open(&right.namespace, WIRE)?;
        let frame = send(left, right, 1008)?;
        let came = far.receive(Duration::from_secs(5), |it| it.len() > 12 && it[12..14] == [0x88, 0xb5])?;
        ensure!(came == Some(frame), "two tags' worth above the MTU crosses");
        send(left, right, 1009)?;
        send(left, right, 1500)?;
        let came =
            far.receive(Duration::from_millis(300), |it| it.len() > 12 && it[12..14] == [0x88, 0xb5])?;
        ensure!(came.is_none(), "{came:02x?}");
        let dropped = weir.counters().drops("l2-cross-connect", "larger-than-mtu")?;
        ensure!(dropped == 2, "{dropped}");
        ensure!(weir.log().contains("`ip link set to-right mtu 1500`"), "{}", weir.log());

        // Not in a bridge any more: said, and weir carries on.
        lab.router.ip(&format!("link set {} nomaster", left.port))?;
        thread::sleep(Duration::from_millis(200));
        ensure!(weir.log().contains("are not ports of one kernel bridge"), "{}", weir.log());
        ping_all(left, right.address, 2)
    });
}

#[test]
fn ports_receive_what_is_for_others_while_weir_lives() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::bridged(1)?;
        let port = &lab.left().port;
        // Out of the kernel's bridge, which would make it promiscuous too.
        lab.router.ip(&format!("link set {port} nomaster"))?;
        let promiscuity = || -> Result<bool> {
            Ok(!lab.router.ip(&format!("-details link show dev {port}"))?.contains("promiscuity 0"))
        };
        ensure!(!promiscuity()?);
        let weir = Weir::bridging(&lab, 1)?;
        ensure!(promiscuity()?);
        weir.kill()?;
        ensure!(!promiscuity()?, "taken back by the kernel");
        Ok(())
    })
}
