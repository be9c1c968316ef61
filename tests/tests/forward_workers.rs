//! Two workers, each on its queue of every port.

use std::thread;

use anyhow::{Result, ensure};
use weir_tests::appliance::Weir;
use weir_tests::clients::{UdpEcho, ping_all, tcp_transfer};
use weir_tests::lab::Lab;
use weir_tests::scenario::{Forwarder, PLAIN, Setting, run};

const TWO: Setting = Setting { queues: 2, workers: 2, ..PLAIN };
const MEASURED: Setting = Setting { customers: Some("10.0.0.0/8 everyone\n"), ..TWO };
/// Enough flows that each queue of each port certainly has some: all on one happens once in 2^30 runs.
const FLOWS: usize = 32;

fn both_carry(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    thread::scope(|scope| {
        let flows: Vec<_> = (0..8)
            .map(|flow| {
                let (from, to) = if flow % 2 == 0 { (left, right) } else { (right, left) };
                scope.spawn(move || tcp_transfer(from, to, 2 << 20))
            })
            .collect();
        for flow in flows {
            flow.join().map_err(|_| anyhow::anyhow!("a transfer panicked"))??;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    let echo = UdpEcho::start(right)?;
    for _ in 0..FLOWS {
        echo.ask(left, 100)?;
    }
    if let Some(weir) = weir {
        let by_worker = weir.counters().received_by_worker()?;
        ensure!(by_worker.len() == 2, "{} workers", by_worker.len());
        ensure!(by_worker.iter().all(|packets| *packets > 0), "workers received {by_worker:?}");
    }
    Ok(())
}

/// Where nothing is asked of flows, each worker keeps what it has received.
fn both_carry_their_own(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    both_carry(lab, weir)?;
    let Some(weir) = weir else { return Ok(()) };
    ensure!(hand_offs(weir).is_err(), "there is a node hand-off");
    Ok(())
}

fn both_carry_each_others(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    both_carry(lab, weir)?;
    let Some(weir) = weir else { return Ok(()) };
    let (given, taken) = hand_offs(weir)?;
    ensure!(given.iter().all(|packets| *packets > 0), "workers gave {given:?}, took {taken:?}");
    Ok(())
}

/// Packets that each worker has given to the other, and taken from it.
fn hand_offs(weir: &Weir) -> Result<(Vec<u64>, Vec<u64>)> {
    weir.counters().conserve()?; // nothing is on its way
    let given = weir.counters().by_worker("/events/hand-off/given")?;
    let taken = weir.counters().by_worker("/events/hand-off/taken")?;
    ensure!(given.iter().sum::<u64>() == taken.iter().sum::<u64>(), "gave {given:?}, took {taken:?}");
    Ok((given, taken))
}

/// One flow after the other, each with packets in both directions: behind `hand-off`, only one of the workers has seen any of them.
fn each_flow_has_one_worker(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    let Some(weir) = weir else { return Ok(()) };
    let (left, right) = (lab.left(), lab.right());
    // who has a neighbour to ask for is of no interest here
    ping_all(left, right.address, 1)?;
    ping_all(right, left.address, 1)?;
    let echo = UdpEcho::start(right)?;
    let mut owners = [0, 0];
    let mut spread = 0;
    for flow in 0..FLOWS {
        weir.counters().conserve()?;
        let seen = || weir.counters().by_worker("/nodes/tx/vectors");
        let (before, received) = (seen()?, weir.counters().received_by_worker()?);
        match flow % 4 {
            0 => drop(tcp_transfer(left, right, 1 << 18)?),
            1 => drop(tcp_transfer(right, left, 1 << 18)?),
            2 => echo.ask(left, 100)?,
            _ => ping_all(left, right.address, 2)?,
        }
        weir.counters().conserve()?;
        let new = |now: Vec<u64>, before: &[u64]| -> Vec<u64> {
            now.iter().zip(before).map(|(now, before)| now - before).collect()
        };
        let seen = new(seen()?, &before);
        let received = new(weir.counters().received_by_worker()?, &received);
        ensure!(seen.iter().sum::<u64>() >= 2, "flow {flow}: {seen:?} packets");
        let owner = seen.iter().position(|packets| *packets > 0).unwrap_or_default();
        ensure!(seen[1 - owner] == 0, "flow {flow}: the workers have seen {seen:?} packets");
        owners[owner] += 1;
        spread += usize::from(received.iter().all(|packets| *packets > 0));
    }
    ensure!(owners.iter().all(|flows| *flows > 0), "the workers own {owners:?} flows");
    ensure!(spread > 0, "no flow came in by queues of both workers: nothing has been shown");
    let (given, _) = hand_offs(weir)?;
    ensure!(given.iter().all(|packets| *packets > 0), "workers gave {given:?}");
    Ok(())
}

#[test]
fn both_directions_of_a_flow_that_is_measured_meet_one_worker() {
    run(Forwarder::Weir, MEASURED, each_flow_has_one_worker);
}

#[test]
fn two_workers_on_two_queues_share_the_traffic() {
    run(Forwarder::Weir, TWO, both_carry_their_own);
}

#[test]
fn two_workers_on_two_queues_share_the_traffic_and_measure_it() {
    run(Forwarder::Weir, MEASURED, both_carry_each_others);
}

#[test]
fn one_worker_serves_two_queues() {
    let one = |lab: &Lab, weir: Option<&Weir>| {
        let echo = UdpEcho::start(lab.right())?;
        let before = weir.map_or(Ok(0), |weir| weir.counters().received())?;
        for _ in 0..FLOWS {
            echo.ask(lab.left(), 100)?;
        }
        if let Some(weir) = weir {
            let received = weir.counters().received()? - before;
            ensure!(received >= 2 * FLOWS as u64, "only {received} packets went through weir");
        }
        Ok(())
    };
    run(Forwarder::Weir, Setting { queues: 2, workers: 1, ..PLAIN }, one);
}
