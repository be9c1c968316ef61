//! weir's packet graph.
//!
//! A **vector** of up to 256 packets enters at `ethernet-input` and is moved from node to node until every packet has been sent,
//! dropped with a named reason, or is held by a node that will release it. Read in this order: [`packet`] and [`frames`] (what moves),
//! [`node`] (what a stage is), [`graph`] (how vectors move), [`nodes`] (the stages), [`fib`] and [`adjacency`] (what they look up),
//! [`exchange`] (how packets get from one worker to another), [`rtt`] and [`round_trips`] (what is measured on the way).

pub mod adjacency;
pub mod checksum;
pub mod clock;
pub mod counters;
pub mod customers;
pub mod exchange;
pub mod fib;
pub mod flow_hash;
pub mod frames;
pub mod graph;
mod icmp_limit;
pub mod latency;
mod memory;
pub mod node;
pub mod nodes;
pub mod packet;
pub mod ports;
pub mod quiescence;
mod ring;
pub mod round_trips;
pub mod rtt;
pub mod shaped;
pub mod shaper;
pub mod trace;
pub mod wire;
