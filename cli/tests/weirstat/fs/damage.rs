//! Segments that lie, and vectors that are too large: errors, and never a crash or a hang.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use rustix::io::Errno;
use weir_stats::{Bounds, Description, Options, Segment, Server};

use crate::fs::altered::{image, serve};
use crate::fs::mounted::{Mounted, PATIENCE, is_mounted, skip_without_fuse, until};
use crate::lab::{command, folder};

#[test]
fn files_have_a_limit() {
    skip_without_fuse!("files_have_a_limit");
    let (_folder, socket) = folder();
    let mut segment = Segment::create(Options { workers: 2, ..Options::default() }).unwrap();
    let columns = 600_000;
    segment.describe(&[Description::simple("/large", "packets", "column", "many")]).unwrap();
    let mut large = segment.register(|batch| batch.simple("/large", columns, columns)).unwrap();
    large.take_row(1).unwrap().add(columns - 1, 7);
    let _server = Server::start(&socket, None, &segment).unwrap();
    let mounted = Mounted::start(&socket);
    for form in ["table", "json"] {
        let error =
            fs::read(mounted.at("large").join(form)).err().and_then(|error| Errno::from_io_error(&error));
        assert_eq!(error, Some(Errno::FBIG), "{form}");
    }
    assert_eq!(mounted.read(&format!("large/by-column/{}", columns - 1)), "7\n");
}

/// A segment with something of everything, small enough that single words matter.
fn small() -> Vec<u8> {
    let mut segment = Segment::create(Options { size: 64 << 10, workers: 1, ..Options::default() }).unwrap();
    segment
        .describe(&[
            Description::combined("/c/rx", "customer=/c/names", "received"),
            Description::simple("/c/rtt", "microseconds", "customer=/c/names,le=/bins", "times"),
            Description::histogram("/waits", "nanoseconds", "waits"),
        ])
        .unwrap();
    segment
        .register(|batch| {
            let mut names = batch.names("/c/names", 2)?;
            batch.set_name(&mut names, 0, "alice")?;
            batch.set_name(&mut names, 1, "bob")?;
            let mut bins = batch.names("/bins", 3)?;
            for (at, name) in Bounds::names(&[10]).iter().enumerate() {
                batch.set_name(&mut bins, at, name)?;
            }
            let rx = batch.combined("/c/rx", 2, 2)?;
            batch.simple("/c/rtt", 6, 6)?;
            batch.symlink("/customers/bob/rx", rx.id(), 1)?;
            batch.histogram("/waits", 4, 3)?;
            batch.ring("/ring", 8, 4, b"x")?;
            Ok(())
        })
        .unwrap();
    image(&segment)
}

/// Everything below a folder, read as far as it can be.
fn walk(folder: &Path, end: Instant) {
    assert!(Instant::now() < end, "{} takes too long", folder.display());
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let Ok(entry) = entry else { return };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), end),
            _ => drop(fs::read(entry.path())),
        }
    }
}

#[test]
fn damaged_segments_neither_crash_nor_hang() {
    skip_without_fuse!("damaged_segments_neither_crash_nor_hang");
    let (_folder, socket) = folder();
    let sound = small();
    let used = sound.iter().rposition(|byte| *byte != 0).unwrap() / 8;
    // A linear congruential generator (Knuth's MMIX): the same damage in each run.
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let path = socket.with_file_name("mnt");
    fs::create_dir(&path).unwrap();
    let mut mounts = 0;
    for _ in 0..60 {
        let mut bytes = sound.clone();
        for _ in 0..1 + random(4) {
            // Past the version, without which there is nothing to be read.
            let word = 1 + random(used as u64) as usize;
            let value = match random(5) {
                0 => random(1 << 16) * 8,
                1 => random(64),
                2 => u64::MAX - random(16),
                3 => random(1 << 32) << 32 | random(8),
                _ => u64::from_le_bytes(bytes[word * 8..][..8].try_into().unwrap()) ^ 1 << random(64),
            };
            bytes[word * 8..][..8].copy_from_slice(&value.to_le_bytes());
        }
        let _served = serve(&socket, &bytes);
        let child = command(&socket, &["fs", path.to_str().unwrap()]).stderr(Stdio::null()).spawn().unwrap();
        let mut mounted = Mounted { path: path.clone(), child };
        let mut status = None;
        until("the mount, or a refusal", || {
            status = mounted.child.try_wait().unwrap();
            status.is_some() || is_mounted(&path)
        });
        match status {
            Some(status) => assert_eq!(status.code(), Some(1)),
            None => {
                walk(&path, Instant::now() + PATIENCE);
                assert!(mounted.child.try_wait().unwrap().is_none(), "it crashed");
                mounts += 1;
            }
        }
    }
    assert!(mounts > 20, "{mounts}");
}
