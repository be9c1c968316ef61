//! The exporter, over segments that are served as weir serves its own.
#![allow(clippy::unwrap_used)] // what a test stands on may fail it

mod exporter;
mod http;
mod large;
#[path = "../measured/mod.rs"]
mod measured;
mod outside;
mod restarts;
mod rtt;
mod sample;
#[path = "../shaped/mod.rs"]
mod shaped;
mod shaper;
