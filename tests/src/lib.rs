//! weir's integration tests: hosts in network namespaces, joined by veths to a router in another, real clients on them.
//!
//! The tests are in `tests/`; this library is what they stand on. Everything lives in namespaces that it makes and deletes.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod access;
pub mod appliance;
pub mod capture;
pub mod clients;
pub mod counters;
pub mod delay;
pub mod fifo;
pub mod frames;
pub mod htb;
pub mod lab;
pub mod measured;
pub mod namespace;
pub mod pings;
pub mod plans;
pub mod programs;
pub mod readers;
pub mod scenario;
pub mod terminal;
pub mod wire;
