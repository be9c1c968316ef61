//! weir's benchmarks: the parts that several of them share.

pub mod appliance;
pub mod cases;
pub mod machine;
pub mod memory;
pub mod packets;
pub mod pktgen;
pub mod scene;
pub mod shaping;
mod source;
pub mod summary;
pub mod tcp;
