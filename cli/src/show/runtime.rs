//! `weirstat show runtime`: VPP's `show runtime`, from weir's start on: weir's counters are never cleared.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::columns::centred;
use super::found::Found;
use super::{Missing, Text};

const NAMES: &str = "/sys/node/names";
const CALLS: &str = "/sys/node/calls";
const VECTORS: &str = "/sys/node/vectors";
const CLOCKS: &str = "/sys/node/clocks";
const BOOT: &str = "/sys/boottime";
/// As VPP has them: one row with a column per thread. weir renews them each second.
const VECTOR_RATES: &str = "/sys/vector_rate_per_worker";
const LOOP_RATES: &str = "/sys/loops_per_worker";
const IN: &str = "/if/rx";
const OUT: &str = "/if/tx";
const DROP: &str = "/if/drops";
const PUNT: &str = "/if/punt";

/// Whether the view reads this entry.
pub fn wants(path: &str) -> bool {
    [NAMES, CALLS, VECTORS, CLOCKS, BOOT, VECTOR_RATES, LOOP_RATES, IN, OUT, DROP, PUNT].contains(&path)
}

/// The clock that `/sys/boottime` is read from, in seconds since 1970.
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The view.
#[derive(Debug, Serialize)]
pub struct Runtime {
    /// Seconds since weir's start.
    time: f64,
    threads: Vec<Thread>,
}

#[derive(Debug, Serialize)]
struct Thread {
    thread: usize,
    name: String,
    /// Packets per call of a node, over the last second.
    vector_rate: u64,
    /// Turns of the thread's loop in the last second.
    loops_per_second: u64,
    /// Packets a second since weir's start.
    rates: Rates,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Rates {
    r#in: f64,
    out: f64,
    drop: f64,
    punt: f64,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    state: &'static str,
    calls: u64,
    vectors: u64,
    suspends: u64,
    /// Per packet; per call where there was no packet.
    clocks: f64,
    vectors_per_call: f64,
}

impl Runtime {
    /// The threads in the segment, at a time in seconds since 1970.
    pub fn of(found: &Found, now: f64) -> Result<Runtime, Missing> {
        let names = found.names(NAMES).ok_or(Missing { what: "node counters", entry: NAMES })?;
        let boot = found.number(BOOT).ok_or(Missing { what: "time of its start", entry: BOOT })?;
        // The time of the start is in whole seconds, and the clock may have been set back since.
        let time = (now - boot as f64).max(1.0);
        let threads = (0..found.simple(CALLS).len()).map(|thread| Thread::of(found, names, thread, time));
        // The control thread runs no node; it would be an empty table on top of each answer.
        let threads = threads.filter(|thread| thread.thread > 0 || !thread.nodes.is_empty());
        Ok(Runtime { time, threads: threads.collect() })
    }
}

impl Thread {
    fn of(found: &Found, names: &[String], thread: usize, time: f64) -> Thread {
        let cell = |path, column| {
            found.simple(path).get(thread).and_then(|row| row.get(column)).copied().unwrap_or(0)
        };
        let mut nodes: Vec<Node> = (names.iter().enumerate())
            .map(|(column, name)| {
                let (calls, vectors) = (cell(CALLS, column), cell(VECTORS, column));
                let clocks = ratio(cell(CLOCKS, column), if vectors > 0 { vectors } else { calls });
                // All of weir's nodes are what VPP calls internal: always active, and never suspended.
                let (name, state) = (name.clone(), "active");
                Node {
                    name,
                    state,
                    calls,
                    vectors,
                    suspends: 0,
                    clocks,
                    vectors_per_call: ratio(vectors, calls),
                }
            })
            .filter(|node| node.calls > 0)
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let add = |sum: u64, count: u64| sum.wrapping_add(count);
        let packets = |path| {
            let pairs = found.combined(path).get(thread).into_iter().flatten();
            pairs.map(|pair| pair.packets).fold(0, add) as f64 / time
        };
        let counts =
            |path| found.simple(path).get(thread).into_iter().flatten().copied().fold(0, add) as f64 / time;
        let newest = |path| found.simple(path).first().and_then(|row| row.get(thread)).copied().unwrap_or(0);
        Thread {
            thread,
            // As the threads are called where the system lists them.
            name: if thread == 0 { "weir".to_owned() } else { format!("weir-worker-{}", thread - 1) },
            vector_rate: newest(VECTOR_RATES),
            loops_per_second: newest(LOOP_RATES),
            rates: Rates { r#in: packets(IN), out: packets(OUT), drop: counts(DROP), punt: counts(PUNT) },
            nodes,
        }
    }
}

fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}

impl Text for Runtime {
    fn lines(&self) -> Vec<String> {
        let titles =
            ["Calls", "Vectors", "Suspends", "Clocks", "Vectors/Call"].map(|title| centred(title, 16));
        let header = format!("{}{}{}", centred("Name", 30), centred("State", 12), titles.concat());
        let mut lines = Vec::new();
        for Thread { thread, name, vector_rate, loops_per_second, rates, nodes } in &self.threads {
            if !lines.is_empty() {
                lines.push("---------------".to_owned());
            }
            let Rates { r#in, out, drop, punt } = rates;
            lines.push(format!("Thread {thread} {name}"));
            lines.push(format!(
                "Time {:.1}, 1 sec internal node vector rate {vector_rate}.00 loops/sec {loops_per_second}.00",
                self.time
            ));
            lines
                .push(format!("  vector rates in {in:.4e}, out {out:.4e}, drop {drop:.4e}, punt {punt:.4e}"));
            lines.push(header.clone());
            for Node { name, state, calls, vectors, suspends, clocks, vectors_per_call } in nodes {
                lines.push(format!(
                    "{name:<30}{}{calls:>16}{vectors:>16}{suspends:>16}{clocks:>16.2e}{vectors_per_call:>16.2}",
                    centred(state, 12)
                ));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::{found, segment};
    use super::super::{json, text};
    use super::*;

    /// Two workers, three nodes, of which one was never called.
    fn graph() -> weir_stats::Segment {
        let mut segment = segment();
        segment
            .register(|batch| {
                let mut names = batch.names(NAMES, 3)?;
                let (mut calls, mut vectors) = (batch.simple(CALLS, 3, 3)?, batch.simple(VECTORS, 3, 3)?);
                let mut clocks = batch.simple(CLOCKS, 3, 3)?;
                for (column, name) in ["ip4-lookup", "ip4-input", "glean"].iter().enumerate() {
                    batch.set_name(&mut names, column, name)?;
                }
                let [mut calls, mut vectors, mut clocks] =
                    [&mut calls, &mut vectors, &mut clocks].map(|it| it.take_row(1).unwrap());
                for (column, numbers) in [(0, (63, 175, 57_225)), (1, (71, 175, 0))] {
                    calls.add(column, numbers.0);
                    vectors.add(column, numbers.1);
                    clocks.add(column, numbers.2);
                }
                let mut rx = batch.combined(IN, 2, 2)?;
                let mut row = rx.take_row(1).unwrap();
                row.add(0, 100, 6400);
                row.add(1, 75, 4800);
                let mut drops = batch.simple(DROP, 2, 2)?;
                drops.take_row(1).unwrap().add(1, 7);
                for (path, rates) in [(VECTOR_RATES, [0, 2, 0]), (LOOP_RATES, [0, 15_442, 20_000])] {
                    let mut row = batch.simple_rows(path, 1, 3, 3)?.take_row(0).unwrap();
                    rates.iter().enumerate().for_each(|(thread, rate)| row.set(thread, *rate));
                }
                Ok(())
            })
            .unwrap();
        segment
    }

    fn view() -> Runtime {
        let found = found(&graph(), wants);
        let boot = found.number(BOOT).unwrap();
        Runtime::of(&found, boot as f64 + 3.5).unwrap()
    }

    #[test]
    fn text_is_vpps() {
        assert_eq!(
            text(&view()),
            "\
Thread 1 weir-worker-0
Time 3.5, 1 sec internal node vector rate 2.00 loops/sec 15442.00
  vector rates in 5.0000e1, out 0.0000e0, drop 2.0000e0, punt 0.0000e0
             Name                 State         Calls          Vectors        Suspends         Clocks       Vectors/Call
ip4-input                        active                 71             175               0          0.00e0            2.46
ip4-lookup                       active                 63             175               0          3.27e2            2.78
---------------
Thread 2 weir-worker-1
Time 3.5, 1 sec internal node vector rate 0.00 loops/sec 20000.00
  vector rates in 0.0000e0, out 0.0000e0, drop 0.0000e0, punt 0.0000e0
             Name                 State         Calls          Vectors        Suspends         Clocks       Vectors/Call
"
        );
    }

    #[test]
    fn json_has_the_same() {
        let json = json(&view());
        assert_eq!(json["time"], 3.5);
        let thread = &json["threads"][0];
        assert_eq!((&thread["thread"], &thread["name"]), (&1.into(), &"weir-worker-0".into()));
        assert_eq!((&thread["vector_rate"], &thread["loops_per_second"]), (&2.into(), &15_442.into()));
        assert_eq!(thread["rates"], serde_json::json!({"in": 50.0, "out": 0.0, "drop": 2.0, "punt": 0.0}));
        assert_eq!(
            thread["nodes"][1],
            serde_json::json!({"name": "ip4-lookup", "state": "active", "calls": 63, "vectors": 175, "suspends": 0,
                               "clocks": 327.0, "vectors_per_call": 175.0 / 63.0})
        );
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_nonsense() {
        let view = Runtime::of(&found(&graph(), wants), 0.0).unwrap();
        assert_eq!((view.time, view.threads[0].rates.r#in), (1.0, 175.0));
    }

    #[test]
    fn a_segment_without_nodes_is_an_error() {
        assert_eq!(Runtime::of(&found(&segment(), wants), 0.0).unwrap_err().entry, NAMES);
    }
}
