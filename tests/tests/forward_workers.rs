//! Two workers, each on its queue of every port.

use std::thread;

use anyhow::{Result, ensure};
use weir_tests::appliance::Weir;
use weir_tests::clients::{UdpEcho, tcp_transfer};
use weir_tests::lab::Lab;
use weir_tests::scenario::{Forwarder, PLAIN, Setting, run};

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

#[test]
fn two_workers_on_two_queues_share_the_traffic() {
    run(Forwarder::Weir, Setting { queues: 2, workers: 2, ..PLAIN }, both_carry);
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
