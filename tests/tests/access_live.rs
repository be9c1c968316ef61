//! What crosses a bridge between an access network and the internet, with the kernel's TCP at both ends: bytes, round-trip times, rates, whatever the packets
//! wear.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use weir_tests::access::{Access, Wearing};
use weir_tests::appliance::Weir;
use weir_tests::clients::{Stream, tcp_ping_pong_between, tcp_transfer_between};
use weir_tests::delay::DelayLine;
use weir_tests::lab::Lab;
use weir_tests::measured::Measured;
use weir_tests::scenario::unless_skipped;

/// Each way, between weir and the customer.
const DELAY: Duration = Duration::from_millis(4);
/// Mbit/s down.
const RATE: f64 = 10.0;
/// The most that a rate may be beside the plan, in a window as short as this.
const TOLERANCE: f64 = 0.01;
const WINDOW: Duration = Duration::from_millis(1000);
/// Too little in one of so many windows may be the machine's, whose cores all share; too much never is.
const ATTEMPTS: usize = 6;

#[test]
fn whatever_packets_wear_they_are_carried_measured_and_shaped() -> Result<()> {
    unless_skipped(|| {
        let mut lab = Lab::bridged(1)?;
        let _line = DelayLine::insert(&mut lab.hosts[1], DELAY)?;
        lab.right().namespace.sysctl("net/ipv6/conf/wire/disable_ipv6", "0")?;
        // Each line of the table is a customer.
        let table = || Access::ALL.iter().zip(1..);
        let customers: String = table()
            .map(|(access, line)| {
                let (name, address) = (access.name, access.address(line, 3));
                let (four, six) = if access.is_ip6 {
                    ("".into(), address.to_string())
                } else {
                    (address.to_string(), "".into())
                };
                format!("{name},,{name},device,,,{four},{six},1,1,{RATE},1000,\n")
            })
            .collect();
        let weir = Weir::shaping_bridge(&lab, &customers)?;
        for (access, line) in table() {
            let began = Instant::now();
            crosses(&lab, &weir, access, line).with_context(|| access.name)?;
            println!("{}: {:.1} s", access.name, began.elapsed().as_secs_f64());
        }
        for event in ["tag-stack", "label-stack", "pppoe-length", "ip-header"] {
            let count = weir.counters().events("l2-cross-connect", event)?;
            ensure!(count == 0, "{event}: {count}");
        }
        weir.counters().conserve()?;
        weir.stop()
    })
}

fn crosses(lab: &Lab, weir: &Weir, access: &Access, line: u8) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    let internet = Wearing::put_on(left, right.mac, access, line, 2)?;
    let customer = Wearing::put_on(right, left.mac, access, line, 3)?;

    tcp_transfer_between(left, right, customer.address(), 200_000)?;
    tcp_transfer_between(right, left, internet.address(), 200_000)?;

    let turns = tcp_ping_pong_between(left, right, customer.address(), 40)?;
    ensure!(turns.iter().all(|turn| *turn >= 2 * DELAY), "the line delays");
    let said = Measured::of(weir)?;
    let beyond = said.distribution("/rtt/customers/lan", "/customers/names", access.name)?;
    let p50 = beyond.quantile(0.5).context("no samples")?;
    let known = (2 * DELAY).as_micros() as f64;
    println!("{}: {} samples, p50 {p50:.0} µs; the line: {known} µs", access.name, beyond.count());
    // Bins are up to a fifteenth wide, and the line's threads wait for their turn on two cores.
    ensure!(beyond.count() > 40, "{} samples", beyond.count());
    ensure!((known * 0.93..known * 1.5).contains(&p50), "p50 is {p50} µs");

    let column = said.column("/customers/names", access.name)?;
    let down = || -> Result<_> { said.pairs("/customers/down")?.get(column).copied().context("a customer") };
    let stream = Stream::start_between(left, right, customer.address(), "cubic")?;
    thread::sleep(Duration::from_millis(700)); // TCP finds the rate
    for attempt in 1.. {
        let (then, before) = (Instant::now(), sent(weir, &right.port)?);
        thread::sleep(WINDOW);
        let bits = (sent(weir, &right.port)? - before) as f64 * 8.0;
        let error = bits / then.elapsed().as_secs_f64() / (RATE * 1e6) - 1.0;
        println!("{}: {:+.2} % of {RATE} Mbit/s", access.name, error * 100.0);
        ensure!(error <= TOLERANCE, "more than the plan");
        if error >= -TOLERANCE {
            break;
        }
        if attempt == ATTEMPTS {
            bail!("less than the plan in each of {ATTEMPTS} windows");
        }
    }
    drop(stream);
    ensure!(down()?.packets > 500, "counted for the customer: {:?}", down()?);
    ensure!(access.name == "ip4" || access.name == "ip6" || internet.came() > 100 && customer.came() > 100);
    Ok(())
}

/// Bytes that a port has sent.
fn sent(weir: &Weir, port: &str) -> Result<u64> {
    let said = Measured::of(weir)?;
    let column = said.column("/if/names", port)?;
    Ok(said.pairs("/if/tx")?.get(column).context("a port")?.bytes)
}
