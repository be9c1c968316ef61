//! The appliance: weir's ports, workers and control plane.
//!
//! [`appliance`] puts the parts together. A packet's way is [`port`] → [`worker`] (with the graph of `weir-graph`) → [`port`]; what steers it comes
//! from [`config`], [`kernel`] (netlink) and [`control`] (the control socket) by way of [`forwarding`], and what is seen of it leaves by [`publish`].
//! [`replay`] measures captures instead, without any of these.

pub mod appliance;
pub mod bridge;
pub mod config;
pub mod control;
pub mod customers;
pub mod device;
pub mod forwarding;
pub mod kernel;
pub mod port;
pub mod prefixes;
pub mod publish;
pub mod replay;
pub mod shaper;
pub mod shaping;
pub mod sub_interfaces;
pub mod subscribers;
pub mod trace_text;
pub mod traces;
pub mod worker;
