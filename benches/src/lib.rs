//! weir's benchmarks: the parts that several of them share.

pub mod appliance;
pub mod machine;
pub mod memory;
pub mod summary;
pub mod tcp;
