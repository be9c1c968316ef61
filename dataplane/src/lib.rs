//! The appliance.

pub mod config;
pub mod forwarding;
pub mod kernel;
