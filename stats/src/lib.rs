//! The shared-memory stats segment.

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("the stats segment's layout is for 64-bit little-endian machines");

mod batch;
mod blocks;
mod error;
mod layout;
mod memfd;
mod protocol;
mod rows;
mod segment;
mod server;
mod words;

pub use batch::Batch;
pub use error::{Error, ReadError};
pub use layout::Kind;
pub use rows::{
    Combined, CombinedRow, EntryId, Histogram, HistogramRow, Names, Ring, RingRow, Scalar, Simple, SimpleRow,
};
pub use segment::{Options, Segment};
pub use server::Server;
