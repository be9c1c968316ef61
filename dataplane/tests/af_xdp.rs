//! AF_XDP ports on a veth of the test's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod kernel_namespace;

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use kernel_namespace::{Namespace, PATIENCE};
use weir::port::af_xdp::{Chunk, Memory, OpenError};

/// Frames of a memory: few, as no packet comes.
const FRAMES: u32 = 64;

#[test]
fn a_queue_that_another_has_is_opened_once_it_is_free() {
    let Some(namespace) = Namespace::new("a_queue_that_another_has", 4) else { return };
    namespace.veth("v0", "p0");
    namespace.inside(|| {
        let memory = || Memory::new(FRAMES, Chunk::of(1500)).unwrap().0;
        let (mut one, mut other) = (memory(), memory());
        let port = one.open(0, "v0", 0).unwrap();
        let refusal = |memory: &mut Memory| match memory.open(0, "v0", 0) {
            Err(OpenError::Socket { source, .. }) => Some(source.kind()),
            Err(error) => panic!("{error}"),
            Ok(_) => None,
        };
        assert_eq!(refusal(&mut other), Some(ErrorKind::ResourceBusy));
        drop((port, one));
        // The kernel gives the queue back a moment later.
        let begin = Instant::now();
        while let Some(kind) = refusal(&mut other) {
            assert_eq!(kind, ErrorKind::ResourceBusy, "the same memory is asked again");
            assert!(begin.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(5));
        }
    });
}
