//! A segment with all that an exporter may meet, its numbers known, served as weir serves its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use weir_stats::{Bounds, CombinedRow, Description, Options, Rows, Segment, Server};

/// What the entries are.
const DESCRIPTIONS: [Description; 14] = [
    Description::names("/if/names", "ports"),
    Description::combined("/if/rx", "interface=/if/names", "received"),
    Description::combined("/if/tx", "interface=/if/names", "sent"),
    Description::simple(
        "/if/rx-no-buf",
        "packets",
        "interface=/if/names",
        "lost: no \"frame\"\\ to receive into",
    )
    .counted_by(Rows::Control),
    Description::simple("/xdp/{verdict}", "packets", "interface=/if/names", "decided by the XDP program")
        .counted_by(Rows::Cpus),
    Description::names("/sys/node/names", "nodes"),
    Description::simple("/sys/node/calls", "calls", "node=/sys/node/names", "calls"),
    Description::simple("/sys/node/held", "packets", "node=/sys/node/names", "held now").as_gauge(),
    Description::simple("/node/errors", "packets", "/err/{node}/{reason}", "dropped"),
    Description::histogram("/latency", "nanoseconds", "time in the graph"),
    Description::names("/rtt/bins", "bins"),
    Description::simple("/rtt/all", "microseconds", "interface=/if/names,le=/rtt/bins", "round trips"),
    Description::gauge("/buffer-pools/{pool}/used", "buffers", "in use"),
    Description::link("/err/{node}/{reason}", "packets", "dropped"),
];

/// Interfaces by column; the third is gone, and two have the same name.
pub const INTERFACES: [&str; 5] = ["eth0", r#"eth "1"\n"#, "", "twin", "twin"];

/// Inclusive upper bounds of round trips, in microseconds.
const RTT_BOUNDS: [u64; 3] = [1000, 2000, 4000];

/// A served segment, whose heart beats until it is dropped.
pub struct Sample {
    pub socket: PathBuf,
    pub segment: Arc<Mutex<Segment>>,
    /// Worker 0's row of `/if/rx`.
    pub rx: CombinedRow,
    _server: Server,
    folder: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    heart: Option<JoinHandle<()>>,
}

impl Sample {
    /// Serves it in a folder of its own.
    pub fn start() -> Sample {
        let folder = tempfile::tempdir().unwrap();
        Sample::start_in(folder)
    }

    /// Ends it, and serves a new one at the same place.
    pub fn restart(mut self) -> Sample {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        drop(self);
        Sample::start_in(folder)
    }

    fn start_in(folder: tempfile::TempDir) -> Sample {
        let socket = folder.path().join("stats.sock");
        let (mut segment, rx) = filled();
        segment.beat();
        let server = Server::start(&socket, None, &segment).unwrap();
        let segment = Arc::new(Mutex::new(segment));
        let stop = Arc::new(AtomicBool::new(false));
        let (beating, stopped) = (Arc::clone(&segment), Arc::clone(&stop));
        let heart = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                beating.lock().unwrap_or_else(PoisonError::into_inner).beat();
                thread::sleep(Duration::from_millis(20));
            }
        });
        Sample { socket, segment, rx, _server: server, folder, stop, heart: Some(heart) }
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
    }
}

fn filled() -> (Segment, CombinedRow) {
    let mut segment = Segment::create(Options { workers: 2, ..Options::default() }).unwrap();
    let ports = INTERFACES.len();
    let (mut rx, mut tx, mut no_buf, mut verdicts) = segment
        .register(|batch| {
            let mut names = batch.names("/if/names", 8)?;
            for (column, name) in INTERFACES.iter().enumerate() {
                batch.set_name(&mut names, column, name)?;
            }
            let verdicts =
                [batch.simple_rows("/xdp/arp", 2, ports, 8)?, batch.simple_rows("/xdp/not-ip", 2, ports, 8)?];
            Ok((
                batch.combined("/if/rx", ports, 8)?,
                batch.combined("/if/tx", ports, 8)?,
                batch.simple("/if/rx-no-buf", ports, 8)?,
                verdicts,
            ))
        })
        .unwrap();
    let (mut calls, mut held, mut errors, mut latency, mut rtt, mut other) = segment
        .register(|batch| {
            let mut nodes = batch.names("/sys/node/names", 4)?;
            for (column, name) in ["ip4-input", "tx"].iter().enumerate() {
                batch.set_name(&mut nodes, column, name)?;
            }
            let errors = batch.simple("/node/errors", 3, 4)?;
            batch.symlink("/err/ip4-input/bad checksum", errors.id(), 0)?;
            batch.symlink("/err/tx/full", errors.id(), 2)?;
            for (column, name) in INTERFACES.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                batch.symlink(&format!("/interfaces/{name}{column}/rx"), rx.id(), column)?;
            }
            batch.gauge("/buffer-pools/default-numa-0/used", u64::MAX)?;
            batch.scalar("/other/answer", 42)?;
            let mut bins = batch.names("/rtt/bins", 8)?;
            for (at, name) in Bounds::names(&RTT_BOUNDS).iter().enumerate() {
                batch.set_name(&mut bins, at, name)?;
            }
            let width = RTT_BOUNDS.len() + 2;
            Ok((
                batch.simple("/sys/node/calls", 2, 4)?,
                batch.simple("/sys/node/held", 2, 4)?,
                errors,
                batch.histogram("/latency", 10, 4)?,
                batch.simple("/rtt/all", ports * width, 8 * width)?,
                batch.simple("/other/vector", 2, 2)?,
            ))
        })
        .unwrap();
    segment.describe(&DESCRIPTIONS).unwrap();

    for worker in 0..2_u64 {
        let row = worker as usize + 1;
        let mut tx = tx.take_row(row).unwrap();
        let (mut calls, mut held) = (calls.take_row(row).unwrap(), held.take_row(row).unwrap());
        let (mut latency, mut rtt) = (latency.take_row(row).unwrap(), rtt.take_row(row).unwrap());
        for column in 0..ports {
            tx.add(column, 10 * (worker + 1) + column as u64, 1 << 40);
            // one of 500 µs, two of 1.5 ms, and one of 5 ms
            for (bin, count) in [(0, 1), (1, 2), (3, 1), (4, 8500)] {
                rtt.add(column * 5 + bin, count);
            }
        }
        calls.add(1, 7 + worker);
        held.add(0, worker);
        latency.record_many(1500, 2 + worker);
        latency.record(1 << 20);
        errors.take_row(row).unwrap().add(2, 5 + worker);
        other.take_row(row).unwrap().add(1, 3);
    }
    // The control thread counts rarely.
    calls.take_row(0).unwrap().add(0, 1);
    no_buf.take_row(0).unwrap().set(1, 11);
    for (verdict, vector) in verdicts.iter_mut().enumerate() {
        vector.take_row(1).unwrap().set(0, verdict as u64 + 1);
    }
    let mut row = rx.take_row(1).unwrap();
    row.add(1, 20, 2000);
    (segment, row)
}
