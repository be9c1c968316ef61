//! Large vectors: a reader's memory is bounded, and reading takes none in the segment.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use weir_stats::{Bounds, Description, Options, Segment, Server};

use crate::lab::{command, folder, shown};

/// A matrix of 128 MiB a row, of which row 1 is all there and the others are holes but for a histogram.
const OBJECTS: usize = 1 << 16;
const WIDTH: usize = 256;

#[test]
fn what_is_read_costs_no_memory() {
    let (_folder, socket) = folder();
    let mut segment = Segment::create(Options { workers: 2, ..Options::default() }).unwrap();
    segment
        .register(|batch| {
            let bounds: Vec<u64> = (1..=WIDTH as u64 - 2).collect();
            let mut bins = batch.names("/bins", WIDTH)?;
            for (at, name) in Bounds::names(&bounds).iter().enumerate() {
                batch.set_name(&mut bins, at, name)?;
            }
            let mut names = batch.names("/names", 1)?;
            batch.set_name(&mut names, 0, "first")?;
            let mut waits = batch.simple("/waits", OBJECTS * WIDTH, OBJECTS * WIDTH)?;
            let mut row = waits.take_row(1).unwrap();
            // The sum alone is no count: pages are there, but there is nothing to print.
            (0..OBJECTS).for_each(|object| row.add(object * WIDTH + WIDTH - 1, 1));
            row.add(4, 2);
            waits.take_row(2).unwrap().add((OBJECTS - 1) * WIDTH + 1, 3);
            Ok(())
        })
        .unwrap();
    let waits = Description::simple("/waits", "microseconds", "object=/names,le=/bins", "waited");
    segment.describe(&[waits]).unwrap();
    let _server = Server::start(&socket, None, &segment).unwrap();
    let blocks = || rustix::fs::fstat(segment.fd().unwrap()).unwrap().st_blocks;
    let before = blocks();
    assert!(before * 512 > (OBJECTS * WIDTH * 8) as i64);

    let expected = r#"{"name":"/waits","type":"distribution","index":0,"column":"first","thread":1,"count":2,"sum":1,"bins":{"5":2}}
{"name":"/waits","type":"distribution","index":65535,"thread":2,"count":3,"sum":0,"bins":{"2":3}}
"#;
    assert_eq!(shown(&socket, &["dump", "--json", "/waits"]).split_once('\n').unwrap().1, expected);

    let mut poll = command(&socket, &["poll", "--json", "--interval", "0.001", "/waits"]);
    let mut child = poll.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(6);
    assert_eq!(lines.map(|line| line.unwrap() + "\n").collect::<String>(), expected.repeat(3));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(peak < 64 << 10, "{peak} KiB");
    assert_eq!(blocks(), before);
}
