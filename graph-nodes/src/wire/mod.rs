//! Lenses over header bytes, one protocol a file.
//!
//! A lens holds a reference to an array of the header's fixed length, so that no accessor can panic or read past it; making one from a
//! slice that is too short gives `None`. Numbers are in host order unless said otherwise. A lens checks nothing: that is the nodes' work.

pub mod ethernet;
pub mod icmp4;
pub mod icmp6;
pub mod ip4;
pub mod ip6;
mod network;
pub mod tcp;
pub mod vlan;

pub use network::{Flaw, IP4, IP6, Network, behind_type, network, network_header};
