//! The appliance.

pub mod kernel;
