//! Round-trip times of real TCP through a running weir, over a line of a known delay.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_stats::Distribution;
use weir_tests::appliance::Weir;
use weir_tests::capture::{self, Capture};
use weir_tests::clients::{ping_all, tcp_ping_pong_between, tcp_transfer};
use weir_tests::delay::DelayLine;
use weir_tests::lab::{Lab, WIRE};
use weir_tests::measured::Measured;
use weir_tests::scenario::{Forwarder, PLAIN, Setting, run, unless_skipped};

/// Each way; the round trip takes twice as long.
const DELAY: Duration = Duration::from_millis(15);
/// The two hosts are customers.
const CUSTOMERS: &str = "10.0.1.0/24 left\n10.0.2.0/24 right\n";
const CUSTOMERS_IP6: &str = "2001:db8:1::/64 left\n2001:db8:2::/64 right\n";

/// What tshark has seen at the line's end, within 2 % or 50 µs; and never less than the known delay.
fn is_true(distribution: &Distribution, seen: f64, what: &str) -> Result<()> {
    let (known, p50) = ((2 * DELAY).as_micros() as f64, distribution.quantile(0.5).context("no samples")?);
    println!(
        "{what}: {} samples, p50 {p50:.0} µs; tshark: {seen:.0} µs; the line: {known} µs",
        distribution.count()
    );
    ensure!(seen >= known, "{what}: tshark has seen {seen} µs, and the line alone takes {known} µs");
    ensure!((p50 - seen).abs() <= (seen * 0.02).max(50.0), "{what}: p50 is {p50} µs and not {seen} µs");
    Ok(())
}

fn median(mut all: Vec<f64>) -> Result<f64> {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().context("nothing was seen")
}

/// Skips, aloud, what needs tshark.
fn unless_blind(test: impl FnOnce() -> Result<()>) -> Result<()> {
    match capture::missing() {
        Some(reason) => {
            eprintln!("SKIP {}: {reason}", thread::current().name().unwrap_or("a test"));
            Ok(())
        }
        None => test(),
    }
}

fn known_delay(timestamps: bool, ip6: bool) -> Result<()> {
    let mut lab = Lab::new(1)?;
    for host in &lab.hosts {
        host.namespace.sysctl("net/ipv4/tcp_timestamps", if timestamps { "1" } else { "0" })?;
    }
    let line = DelayLine::insert(&mut lab.hosts[1], DELAY)?;
    lab.right().namespace.sysctl("net/ipv4/tcp_timestamps", if timestamps { "1" } else { "0" })?;
    let (server, customers): (IpAddr, _) = if ip6 {
        lab.add_ip6()?;
        (lab.right().address6.into(), CUSTOMERS_IP6)
    } else {
        (lab.right().address.into(), CUSTOMERS)
    };
    let weir = Weir::measuring(&lab, 1, customers)?;
    let capture = Capture::start(&line.namespace, WIRE)?;
    let turns = tcp_ping_pong_between(lab.left(), lab.right(), server, 120)?;
    ensure!(turns.iter().all(|turn| *turn >= 2 * DELAY), "the line delays");
    let seen = median(capture.round_trips(server)?)?;

    let said = Measured::of(&weir)?;
    let samples = said.counts("/rtt/samples")?;
    let method = said.column("/rtt/methods", if timestamps { "timestamp" } else { "sequence" })?;
    ensure!(samples[method] > 150 && samples.iter().sum::<u64>() == samples[method], "samples: {samples:?}");
    // The server is the customer `right`: beyond its side lies the line; so it does beyond the other side of `left`.
    for (side, customer) in [("lan", "right"), ("wan", "left")] {
        let distribution =
            said.distribution(&format!("/rtt/customers/{side}"), "/customers/names", customer)?;
        is_true(&distribution, seen, &format!("{customer} {side}"))?;
    }
    is_true(&said.distribution("/rtt/ports", "/if/names", "to-right")?, seen, "to-right")?;
    // The client answers at once, and lies on no line.
    let near = said.distribution("/rtt/customers/lan", "/customers/names", "left")?;
    let p50 = near.quantile(0.5).context("no samples")?;
    ensure!(near.count() > 100 && p50 < 5_000.0, "the near host: {} samples, p50 {p50} µs", near.count());
    let waited = said.distribution("/delay/customers/up", "/customers/names", "left")?;
    let p50 = waited.quantile(0.5).context("no packets")?;
    ensure!(waited.count() > 120 && p50 < 2_000.0, "inside: {} packets, p50 {p50} µs", waited.count());
    weir.stop()
}

#[test]
fn a_known_delay_is_what_is_reported() -> Result<()> {
    unless_skipped(|| unless_blind(|| known_delay(true, false)))
}

#[test]
fn and_without_timestamps_too() -> Result<()> {
    unless_skipped(|| unless_blind(|| known_delay(false, false)))
}

#[test]
fn and_over_ip6_too() -> Result<()> {
    unless_skipped(|| unless_blind(|| known_delay(true, true)))
}

/// An echo, and what is no flow at all.
#[test]
fn packets_of_all_kinds_count_for_their_customers() {
    run(Forwarder::Weir, Setting { customers: Some(CUSTOMERS), ..PLAIN }, |lab, weir| {
        ping_all(lab.left(), lab.right().address, 30)?;
        let said = Measured::of(weir.context("weir runs")?)?;
        ensure!(
            said.traffic("/customers/up", "left")?.packets >= 30
                && said.traffic("/customers/down", "left")?.packets >= 30
        );
        let echo = said.column("/rtt/methods", "echo")?;
        ensure!(said.counts("/rtt/samples")?[echo] >= 25, "{:?}", said.counts("/rtt/samples")?);
        Ok(())
    });
}

/// Whichever queue a packet comes in by, its flow is measured; and no worker sees half a flow.
#[test]
fn two_workers_measure_all_flows() {
    let setting = Setting { queues: 2, workers: 2, customers: Some(CUSTOMERS), ..PLAIN };
    run(Forwarder::Weir, setting, |lab, weir| {
        let weir = weir.context("weir runs")?;
        let flows = 16;
        thread::scope(|scope| {
            let all: Vec<_> =
                (0..flows).map(|_| scope.spawn(|| tcp_transfer(lab.left(), lab.right(), 1 << 20))).collect();
            all.into_iter().try_for_each(|flow| match flow.join() {
                Ok(outcome) => outcome.map(drop),
                Err(_) => anyhow::bail!("a transfer panicked"),
            })
        })?;
        thread::sleep(Duration::from_millis(300)); // until flows are counted once more
        let said = Measured::of(weir)?;
        let states = said.counts("/rtt/flows")?;
        let created = said.column("/rtt/flow-states", "created")?;
        ensure!(states[created] == flows, "{} flows were made of {flows}: {states:?}", states[created]);
        for (side, customer) in [("lan", "right"), ("wan", "left")] {
            let path = format!("/rtt/customers/{side}");
            let count = said.distribution(&path, "/customers/names", customer)?.count();
            ensure!(count >= flows, "{customer} {side}: {count} samples");
        }
        Ok(())
    });
}

/// The file of customers is read again while traffic flows.
#[test]
fn customers_come_and_go_while_packets_flow() {
    run(Forwarder::Weir, Setting { customers: Some(CUSTOMERS), ..PLAIN }, |lab, weir| {
        let weir = weir.context("weir runs")?;
        let said = Measured::of(weir)?;
        ping_all(lab.left(), lab.right().address, 10)?;
        let before = said.traffic("/customers/up", "left")?.packets;
        ensure!(before >= 10, "{before} packets");
        reload(weir, "10.0.1.0/24 left\n10.0.2.2/32 server\n10.0.0.0/8 others\n")?;
        ensure!(said.names("/customers/names")? == ["left", "", "server", "others"], "names");
        ping_all(lab.left(), lab.right().address, 10)?;
        let after = said.traffic("/customers/up", "left")?.packets;
        ensure!((before + 10..before + 30).contains(&after), "{before} packets, then {after}");
        ensure!(said.traffic("/customers/down", "server")?.packets >= 10, "the new customer's packets");
        ensure!(said.traffic("/customers/down", "others")?.packets == 0, "the longest prefix decides");

        let refused = reload(weir, "10.0.1.0/24 left\n10.0.1.7/24 wrong\n").unwrap_err().to_string();
        ensure!(refused.contains("customers.txt:2:1") && refused.contains("10.0.1.0/24"), "{refused}");
        ensure!(said.names("/customers/names")? == ["left", "", "server", "others"], "nothing has changed");
        Ok(())
    });
}

fn reload(weir: &Weir, customers: &str) -> Result<()> {
    std::fs::write(weir.folder().join("customers.txt"), customers)?;
    weir.reload()
}
