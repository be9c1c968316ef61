//! `weir replay` against the generated worlds of the measuring core's own tests, whose truth is known: the same captures give the same samples.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod captures;
#[path = "../../graph-nodes/tests/rtt/oracle.rs"]
#[allow(
    dead_code,
    reason = "replay is judged by the promise alone, which is checked against the truth there"
)]
mod oracle;
#[path = "../../graph-nodes/tests/rtt/packet.rs"]
#[allow(dead_code, reason = "what is told of losses is checked there")]
mod packet;
#[path = "../../graph-nodes/tests/rtt/play.rs"]
#[allow(dead_code, reason = "replay takes its place")]
mod play;
#[path = "../../graph-nodes/tests/rtt/segment.rs"]
#[allow(dead_code, reason = "a part of it is wanted")]
mod segment;
#[path = "../../graph-nodes/tests/rtt/world.rs"]
mod world;

use std::{io::Cursor, time::Duration};

use captures::Pcap;
use weir::replay::{self, Form, Options, Progress, capture::Capture};
use world::{Moment, Recipe, Rng, World};

/// Link type "raw IP".
const RAW: u32 = 101;
const BEGIN: u64 = 1_700_000_000_000_000_000;
/// Nanoseconds of the worlds' unit of time.
const MICROSECOND: u64 = 1_000;
const HOSTS: [&str; 2] = ["10.0.0.1", "192.168.7.9"];

/// When a sample came, in microseconds; the host that answered; the round trip; the method's number.
type Made = (u64, usize, u64, u8);

/// What the point saw from `start` on, headers only. If that is everything, another flow has passed long before, as the oracle has it:
/// what comes first of all may have been sent before.
fn capture(world: &World, start: u64) -> Vec<u8> {
    let mut capture = Pcap::new(RAW, false, false);
    if start == 0 {
        let ping = segment::echo([172, 16, 0, 1], [172, 16, 0, 2], false, 1, 1);
        capture.packet(BEGIN - 5_000_000 * MICROSECOND, &ping, ping.len());
    }
    for &(now, moment) in world.moments.iter().filter(|(now, _)| *now >= start) {
        if let Moment::Arrives(number) = moment {
            let datagram = &world.packets[number].datagram;
            // The largest headers of both.
            let kept = &datagram[..datagram.len().min(120)];
            capture.packet(BEGIN + now * MICROSECOND, kept, datagram.len());
        }
    }
    capture.bytes
}

fn replayed(bytes: Vec<u8>, interval: u64, handshakes: bool) -> Vec<Made> {
    let options = Options {
        captures: Vec::new(),
        form: Some(Form::Json),
        prefixes: None,
        interval: Duration::from_micros(interval),
        handshakes,
        flows: 64,
    };
    let capture = Capture::new("a world".into(), Cursor::new(bytes)).unwrap();
    let mut out = Vec::new();
    let end = replay::measure(vec![capture], &options, &Progress::hidden(), &mut out).unwrap();
    assert!(end.faults.is_empty() && end.notes.is_empty(), "{:?}", end.notes);
    let made = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |member: &str| line[member].as_u64().unwrap();
        let host = HOSTS.iter().position(|host| line["src_ip"] == *host).unwrap();
        let method = ["timestamp", "sequence", "echo", "handshake"];
        let method = method.iter().position(|method| line["method"] == *method).unwrap();
        assert_eq!(number("rtt") % MICROSECOND, 0);
        ((number("timestamp") - BEGIN) / MICROSECOND, host, number("rtt") / MICROSECOND, method as u8)
    };
    String::from_utf8(out).unwrap().lines().map(made).collect()
}

#[test]
fn captures_give_the_samples_that_the_core_promises() {
    let mut samples = 0;
    for seed in 0..200 {
        let mut rng = Rng(seed);
        // A capture knows one time for each packet: nothing stays inside the point.
        let recipe = Recipe { queue: 0, dropped: 0, ..Recipe::any(rng.next()) };
        let world = World::run(&recipe);
        let start = if rng.chance(50) { 0 } else { rng.below(recipe.end / 2) };
        let (interval, handshakes) = (rng.pick(&[0, 0, 10_000, 100_000, 1_000_000]), rng.chance(30));
        let mut settings = play::settings(64);
        (settings.interval, settings.handshakes) = (interval, handshakes);
        let promised: Vec<Made> = oracle::promised(&world, &settings, start)
            .iter()
            .map(|made| {
                let answer = &world.packets[made.answer];
                (answer.arrived.unwrap(), answer.side, made.rtt, made.method as u8)
            })
            .collect();
        assert_eq!(replayed(capture(&world, start), interval, handshakes), promised, "{recipe:?}");
        samples += promised.len();
    }
    assert!(samples > 5_000, "{samples}");
}
