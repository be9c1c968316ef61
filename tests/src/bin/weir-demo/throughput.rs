//! The first act: one TCP transfer as fast as it goes, and what each node and port makes of it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use weir_stats::Pair;
use weir_tests::appliance::Weir;
use weir_tests::clients::Stream;
use weir_tests::lab::Lab;

use crate::screen::{Screen, progress};

/// How long the transfer runs.
const LENGTH: Duration = Duration::from_secs(5);
/// Between two looks at the counters.
const INTERVAL: Duration = Duration::from_millis(500);

/// Shows it, and sums it up.
pub fn show(lab: &Lab, weir: &Weir) -> Result<()> {
    let (internet, office) = (lab.left(), lab.right());
    println!(
        "1. Throughput: a TCP transfer from internet to office, {} to {}.\n\
         \x20  Look at clocks/packet, what each node of weir's graph costs, and at drops.\n",
        internet.address, office.address
    );
    let stream = Stream::start(internet, office)?;
    let mut screen = Screen::of_stdout();
    let begun = Instant::now();
    let first = Look::take(weir, &stream)?;
    let mut last = Look::take(weir, &stream)?;
    let interval = if screen.is_live() { INTERVAL } else { INTERVAL * 2 };
    while begun.elapsed() + interval / 2 < LENGTH {
        thread::sleep(interval);
        let look = Look::take(weir, &stream)?;
        if screen.is_live() {
            let mut lines = vec![progress(begun.elapsed(), LENGTH), look.tcp(&last), String::new()];
            lines.extend(look.ports(&last));
            lines.push(String::new());
            lines.extend(look.nodes(&last));
            screen.redraw(&lines)?;
        } else {
            println!("{:>4.1} s  {}", begun.elapsed().as_secs_f64(), look.tcp(&last));
        }
        last = look;
    }
    drop(stream);
    println!("\nOver the whole time:\n{}", last.tcp(&first));
    for line in last.ports(&first).into_iter().chain([String::new()]).chain(last.nodes(&first)) {
        println!("{line}");
    }
    Ok(())
}

/// The counters at one moment.
struct Look {
    at: Instant,
    arrived: u64,
    ports: Vec<(String, Port)>,
    nodes: Vec<(String, Node)>,
}

#[derive(Clone, Copy, Default)]
struct Port {
    rx: Pair,
    tx: Pair,
    drops: u64,
}

#[derive(Clone, Copy, Default)]
struct Node {
    calls: u64,
    packets: u64,
    clocks: u64,
}

impl Look {
    fn take(weir: &Weir, stream: &Stream) -> Result<Look> {
        let counters = weir.counters();
        let column = |columns: &[Pair], index: usize| columns.get(index).copied().unwrap_or_default();
        let (rx, tx, drops) =
            (counters.columns("/if/rx")?, counters.columns("/if/tx")?, counters.columns("/if/drops")?);
        let ports = counters
            .names("/if/names")?
            .into_iter()
            .enumerate()
            .map(|(index, name)| {
                let port = Port {
                    rx: column(&rx, index),
                    tx: column(&tx, index),
                    drops: column(&drops, index).packets,
                };
                (name, port)
            })
            .collect();
        let (calls, vectors) = (counters.columns("/sys/node/calls")?, counters.columns("/sys/node/vectors")?);
        let clocks = counters.columns("/sys/node/clocks")?;
        let nodes = counters
            .names("/sys/node/names")?
            .into_iter()
            .enumerate()
            .map(|(index, name)| {
                let node = Node {
                    calls: column(&calls, index).packets,
                    packets: column(&vectors, index).packets,
                    clocks: column(&clocks, index).packets,
                };
                (name, node)
            })
            .collect();
        Ok(Look { at: Instant::now(), arrived: stream.arrived(), ports, nodes })
    }

    /// Seconds since `before`.
    fn seconds(&self, before: &Look) -> f64 {
        (self.at - before.at).as_secs_f64().max(1e-3)
    }

    fn tcp(&self, before: &Look) -> String {
        let rate = (self.arrived - before.arrived) as f64 * 8.0 / self.seconds(before) / 1e9;
        format!("TCP  {rate:5.2} Gbit/s  {:7.1} MB arrived", self.arrived as f64 / 1e6)
    }

    fn ports(&self, before: &Look) -> Vec<String> {
        let seconds = self.seconds(before);
        let head = format!(
            "{:<16} {:>12} {:>10} {:>12} {:>10} {:>8}",
            "port", "rx packets/s", "rx Mbit/s", "tx packets/s", "tx Mbit/s", "drops"
        );
        let rate = |now: u64, then: u64, unit: f64| (now - then) as f64 / seconds / unit;
        let lines = self.ports.iter().zip(&before.ports).map(|((name, now), (_, then))| {
            format!(
                "{name:<16} {:>12.0} {:>10.1} {:>12.0} {:>10.1} {:>8}",
                rate(now.rx.packets, then.rx.packets, 1.0),
                rate(now.rx.bytes, then.rx.bytes, 1e6 / 8.0),
                rate(now.tx.packets, then.tx.packets, 1.0),
                rate(now.tx.bytes, then.tx.bytes, 1e6 / 8.0),
                now.drops
            )
        });
        std::iter::once(head).chain(lines).collect()
    }

    /// The nodes that packets have come to at all.
    fn nodes(&self, before: &Look) -> Vec<String> {
        let seconds = self.seconds(before);
        let head = format!(
            "{:<16} {:>12} {:>12} {:>14} {:>12}",
            "node", "packets/s", "packets/call", "clocks/packet", "packets"
        );
        let busy = self.nodes.iter().zip(&before.nodes).filter(|((_, now), _)| now.packets > 0);
        let lines = busy.map(|((name, now), (_, then))| {
            let packets = (now.packets - then.packets) as f64;
            let each = |sum: u64, count: f64| if count > 0.0 { sum as f64 / count } else { 0.0 };
            format!(
                "{name:<16} {:>12.0} {:>12.1} {:>14.1} {:>12}",
                packets / seconds,
                packets / ((now.calls - then.calls) as f64).max(1.0),
                each(now.clocks - then.clocks, packets),
                now.packets
            )
        });
        std::iter::once(head).chain(lines).collect()
    }
}
