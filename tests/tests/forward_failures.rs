//! weir dies, leaves and comes back: the kernel forwards meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_tests::appliance::Weir;
use weir_tests::clients::{Probe, UdpEcho, tcp_transfer};
use weir_tests::lab::Lab;
use weir_tests::scenario::unless_skipped;

/// How soon the kernel must forward after weir is gone.
const TAKEN_OVER: Duration = Duration::from_secs(1);
/// How soon weir must carry everything after it has started.
const SETTLED: Duration = Duration::from_secs(5);
/// Traffic between two events.
const WHILE: Duration = Duration::from_millis(700);

/// Waits until `weir` is the one that carries all of the probe's datagrams: it learns its neighbours first.
fn carries(weir: &Weir, probe: &Probe) -> Result<()> {
    let begun = Instant::now();
    loop {
        let (received, (sent, _)) = (weir.counters().received()?, probe.counts());
        thread::sleep(WHILE);
        let (received, sent) = (weir.counters().received()? - received, probe.counts().0 - sent);
        // question and answer both cross; a few are under way
        if received >= sent * 2 * 9 / 10 {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < SETTLED,
            "weir received {received} packets while {sent} questions were asked"
        );
    }
}

#[test]
fn killed_under_traffic_the_kernel_forwards_and_a_new_weir_takes_over() {
    unless_skipped(|| {
        let lab = Lab::new(1)?;
        let echo = UdpEcho::start(lab.right())?;
        let probe = Probe::start(lab.left(), &echo)?;
        let mut weir = Weir::start(&lab, 1)?;
        for _ in 0..3 {
            carries(&weir, &probe)?;
            thread::scope(|scope| {
                // a transfer that is cut into by the death goes on to its end
                let transfer = scope.spawn(|| tcp_transfer(lab.left(), lab.right(), 24 << 20));
                thread::sleep(Duration::from_millis(100));
                let killed = Instant::now();
                weir.kill()?;
                let silence = probe.answered_after(killed, TAKEN_OVER).context("after kill -9")?;
                eprintln!("the kernel forwarded {silence:?} after kill -9");
                transfer.join().map_err(|_| anyhow::anyhow!("the transfer panicked"))??;
                let silence = probe.longest_silence(killed, Instant::now());
                ensure!(silence < TAKEN_OVER, "silent for {silence:?} after kill -9");
                Ok::<(), anyhow::Error>(())
            })?;
            let begun = Instant::now();
            weir = Weir::start(&lab, 1)?;
            thread::sleep(WHILE);
            let silence = probe.longest_silence(begun, Instant::now());
            eprintln!("the longest silence while weir started was {silence:?}");
            ensure!(silence < TAKEN_OVER, "silent for {silence:?} while weir started");
        }
        carries(&weir, &probe)?;
        drop(probe);
        weir.counters().conserve()?;
        weir.stop()
    })
    .unwrap();
}

#[test]
fn asked_to_leave_it_leaves_the_traffic_to_the_kernel() {
    unless_skipped(|| {
        let lab = Lab::new(1)?;
        let echo = UdpEcho::start(lab.right())?;
        let probe = Probe::start(lab.left(), &echo)?;
        let weir = Weir::start(&lab, 1)?;
        carries(&weir, &probe)?;
        let asked = Instant::now();
        weir.stop()?;
        thread::sleep(WHILE);
        let silence = probe.longest_silence(asked, Instant::now());
        ensure!(silence < TAKEN_OVER, "silent for {silence:?} while weir left");
        // nothing of it is left on the ports
        for host in &lab.hosts {
            let link = lab.router.ip(&format!("link show dev {}", host.port))?;
            ensure!(!link.contains("xdp"), "an XDP program is left: {link}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_device_that_was_made_again_ends_weir() {
    unless_skipped(|| {
        let lab = Lab::new(1)?;
        let mut weir = Weir::start(&lab, 1)?;
        let port = &lab.left().port;
        lab.router.ip(&format!("link del {port}"))?;
        // gone: weir goes on without it
        thread::sleep(WHILE);
        weir.counters().conserve()?;
        lab.router.ip(&format!("link add {port} type veth peer name other-end"))?;
        let status = weir.ended()?;
        ensure!(!status.success(), "weir ended with {status}");
        ensure!(weir.log().contains("deleted and made again"), "weir said:\n{}", weir.log());
        let other = lab.router.ip(&format!("link show dev {}", lab.right().port))?;
        ensure!(!other.contains("xdp"), "an XDP program is left: {other}");
        Ok(())
    })
    .unwrap();
}
