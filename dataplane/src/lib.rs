//! The appliance.

pub mod config;
pub mod kernel;
