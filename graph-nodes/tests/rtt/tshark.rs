//! The sequence method against tshark, on captures of the generated worlds.

use std::collections::BTreeMap;
use std::process::Command;

use weir_graph::rtt::Method;

use super::exactness::losses;
use super::play::{self, play};
use super::world::{Moment, Recipe, World};

/// What the point saw come in, as a capture with microseconds (pcap 2.4, raw IP).
fn capture(world: &World) -> (Vec<u8>, Vec<usize>) {
    const RAW_IP: u32 = 101;
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, RAW_IP] {
        bytes.extend(u32::to_le_bytes(word));
    }
    let mut numbers = Vec::new();
    for &(now, moment) in &world.moments {
        if let Moment::Arrives(number) = moment {
            let datagram = &world.packets[number].datagram;
            let length = datagram.len() as u64;
            for word in [1_700_000_000 + now / 1_000_000, now % 1_000_000, length, length] {
                bytes.extend((word as u32).to_le_bytes());
            }
            bytes.extend(datagram);
            numbers.push(number);
        }
    }
    (bytes, numbers)
}

/// By packet number: round trip of the acknowledgement in microseconds, marked as sent again, marked as out of order.
type Rows = BTreeMap<usize, (Option<u64>, bool, bool)>;

fn ask(world: &World) -> Option<Rows> {
    let (bytes, numbers) = capture(world);
    let file =
        std::env::temp_dir().join(format!("weir-rtt-{}-{}.pcap", std::process::id(), world.packets.len()));
    std::fs::write(&file, bytes).unwrap();
    let output = Command::new("tshark")
        .arg("-r")
        .arg(&file)
        .args(["-T", "fields", "-e", "frame.number", "-e", "tcp.analysis.ack_rtt"])
        .args(["-e", "tcp.analysis.retransmission", "-e", "tcp.analysis.out_of_order"])
        .output();
    let _ = std::fs::remove_file(&file);
    let output = match output {
        Ok(output) if output.status.success() => output,
        Ok(output) => panic!("tshark: {}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => return None,
    };
    let mut rows = Rows::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let mut fields = line.split('\t');
        let frame: usize = fields.next().unwrap().parse().unwrap();
        let rtt = fields.next().filter(|field| !field.is_empty());
        let rtt = rtt.map(|seconds| (seconds.parse::<f64>().unwrap() * 1e6).round() as u64);
        let [resent, late] =
            [fields.next(), fields.next()].map(|mark| mark.is_some_and(|mark| !mark.is_empty()));
        rows.insert(numbers[frame - 1], (rtt, resent, late));
    }
    Some(rows)
}

/// No time inside the point, as tshark knows only one time a packet.
fn recipe(seed: u64) -> Recipe {
    Recipe { timestamps: false, queue: 0, dropped: 0, probes: false, ..Recipe::any(seed) }
}

#[test]
fn samples_are_tsharks() {
    let mut compared = 0;
    for seed in 0..12 {
        let world = World::run(&recipe(seed));
        let Some(rows) = ask(&world) else {
            println!("SKIP samples_are_tsharks: tshark is not installed (apt-get install tshark)");
            return;
        };
        let mut settings = play::settings(64);
        settings.interval = 0;
        for made in play(&world, settings, 0).samples {
            assert_eq!(made.method, Method::Sequence);
            // tshark times the segment that ends exactly where the acknowledgement does; the first that it covers may be an earlier one.
            let answer = &world.packets[made.answer];
            let stamped = world
                .packets
                .iter()
                .find(|packet| {
                    packet.side != answer.side
                        && packet.departed == Some(answer.arrived.unwrap() - made.rtt)
                        && packet.fact.length > 0
                })
                .unwrap();
            if Some(stamped.fact.end()) == answer.fact.acknowledgement {
                assert_eq!(rows[&made.answer].0, Some(made.rtt), "packet {} of {seed}", made.answer);
                compared += 1;
            }
        }
    }
    assert!(compared > 300, "{compared}");
}

#[test]
fn losses_are_tsharks() {
    let (mut resent, mut late) = (0, 0);
    for seed in 0..12 {
        for reordering in [false, true] {
            let mut recipe = recipe(seed);
            if reordering {
                (recipe.loss, recipe.reordered, recipe.lateness) = ([0; 2], [3; 2], 2_000);
                recipe.delay = recipe.delay.map(|delay| delay.max(5_000));
            } else {
                (recipe.loss, recipe.reordered) = ([2; 2], [0; 2]);
            }
            let world = World::run(&recipe);
            let Some(rows) = ask(&world) else {
                println!("SKIP losses_are_tsharks: tshark is not installed (apt-get install tshark)");
                return;
            };
            let outcome = play(&world, play::settings(64), 0);
            let (truly_resent, truly_late) = losses(&world);
            for (&number, &(_, again, out_of_order)) in &rows {
                // Where tshark knows the truth, so do we. (It also looks at the sequence numbers of acknowledgements.)
                if again && truly_resent.contains(&number) {
                    assert!(outcome.resent.contains(&number), "packet {number} of {seed}");
                    resent += 1;
                }
                if out_of_order && truly_late.contains(&number) {
                    assert!(outcome.reordered.contains(&number), "packet {number} of {seed}");
                    late += 1;
                }
            }
        }
    }
    assert!(resent > 100 && late > 50, "{resent} {late}");
}
