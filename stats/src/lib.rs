//! The shared-memory stats segment: weir writes it, any VPP stats client reads it.
//!
//! The layout is VPP's stat segment, version 2, byte for byte: `vpp_get_stats`, `vpp_prometheus_export`, the Python
//! package `vpp_papi` and govpp read it unmodified. This crate has the writer ([`Segment`]), the socket on which clients
//! ask for the segment ([`Server`]) and readers. It knows nothing of packets.
//!
//! # To read
//! | to | use |
//! |---|---|
//! | map a segment, weir's or VPP's | [`Reader::connect`], or [`Connection`], which notices when another writer takes its place |
//! | see what there is | [`Reader::list`], [`Reader::find`]: an [`Entry`] each, without reading a value |
//! | read | [`Reader::read`], [`Reader::snapshot`] (what is wanted, at one moment), [`Reader::column`], [`Reader::part`] (of large vectors): a [`Value`]; [`Reader::records`]: what is new in a ring buffer |
//! | know what it means | [`Catalogue`]: units, help, what only grows; [`Columns`]: which port, node or customer a column is |
//! | add up workers | [`Value::merged`] |
//! | get differences and rates | [`Snapshot::since`]; [`Subscription`], which goes on when the writer starts again |
//! | ask histograms | [`Distribution`]: counts, sums, quantiles |
//! | tell a live writer from a dead one | [`Reader::liveness`] |
//!
//! Reading never makes the writer wait, and no bytes in a segment make a reader panic, hang or take more memory than the
//! segment has: what is wrong is a [`ReadError`].
//!
//! ```no_run
#![doc = include_str!("../examples/watch.rs")]
//! ```
//!
//! # To write, and to read in the same process
//! ```
//! use weir_stats::{Options, Reader, Segment, Value};
//!
//! let mut segment = Segment::in_heap(Options { workers: 1, ..Options::default() })?;
//! let mut rx = segment.register(|batch| batch.combined("/if/rx", 1, 64))?;
//! let mut worker = rx.take_row(1).expect("nobody has taken it");
//! worker.add(0, 1, 60); // one packet of 60 bytes on port 0
//!
//! let reader = Reader::of(&segment)?;
//! let entry = reader.find("/if/rx")?.expect("it was registered");
//! let Value::Combined(rows) = reader.read(&entry)? else { unreachable!() };
//! assert_eq!((rows[1][0].packets, rows[1][0].bytes), (1, 60));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The memory
//! Everything is made of 64-bit words. A pointer is an offset from the segment's start (the header's base is 0). A
//! vector is known by the address of its element 0; the word before that holds its length in the low 32 bits.
//! ```text
//! header, one page                           directory, 144 bytes an entry
//! +---+---------------------------+          +-------------------------------------------------+
//! | 0 | version            2      |          | ... its length in the word before entry 0       |
//! | 8 | base               0      |    +---->| kind u32 | 0 | value or pointer | name, 128 B   |  0 /sys/heartbeat
//! |16 | epoch, from 1             |    |     | kind u32 | 0 | value or pointer | name, 128 B   |  1 /sys/last_stats_clear
//! |24 | in_progress, always 0     |    |     | kind u32 | 0 | value or pointer | name, 128 B   |  2 /sys/boottime
//! |32 | directory              ---+----+     |    ...                 |                        |
//! |40 | 0 (legacy error vector)   |          +------------------------|------------------------+
//! +---+---------------------------+                                   |
//!                                                                     v
//! a counter vector (kinds 2, 3, 7), one block                   kind  value
//! +- 128 bytes ------------------------------+                  1, 9  the number itself
//! |                        | length = rows   |                  4     pointers to strings; a string's length
//! +------------------------------------------+                        includes its NUL
//! | row 0's address | row 1's address | ...  |                  5     none; the entry was removed
//! +------------------------------------------+                  6     u32 target entry, u32 column
//! |                        | length = columns|                  8     a ring buffer, below
//! +------------------------------------------+
//! | row 0: column 0, 1, ...                  |  a column: u64 (kind 2), {packets, bytes} (kind 3), or element 0
//! |   ... room reserved for its capacity ... |  the least exponent and then u64 counts (kind 7)
//! +------------------------------------------+
//! |                        | length = columns|  Rows start on lines of 128 bytes, and no two rows share one:
//! +------------------------------------------+  not with the length words either, which are written on growth.
//! | row 1: ...                               |
//! +------------------------------------------+
//!
//! a ring buffer (kind 8), one block
//! +------------------------------------------+
//! | u32: record size, records, rows, schema  |
//! | size, version, metadata at, data at (128)|
//! +------------------------------------------+
//! | row 0: records, whole lines              |
//! | row 1: ...                               |
//! +------------------------------------------+
//! | row 0: u32 head, u32 version, u64        |  64 bytes a row, because clients have that built in: the one place
//! |   sequence, u32 schema at, u32 its size  |  where two workers' words share 128 bytes
//! | row 1: ...                               |
//! +------------------------------------------+
//! | schema                                   |
//! +------------------------------------------+
//! ```
//!
//! # The protocol
//! * **The directory is published by copy.** The new one is written aside, the header's pointer moves, the epoch moves
//!   last. `in_progress` is never set, so no reader ever waits, and a writer that is killed at any instruction leaves a
//!   segment that can be read.
//! * **The directory never gets shorter**, and a removed entry's place keeps a name (`/empty/<position>`), until another
//!   entry takes it: there are clients that go on with positions they remember, and clients that stop at an empty name.
//! * **Rows never move.** Their room is reserved when they are registered. Growth raises their lengths from the last row
//!   to row 0: a reader that reads row 0 first never finds a later row shorter.
//! * **Strings are replaced**, never written over: the new one is written aside, then its pointer moves, then the epoch.
//! * **Memory is used again only for the same shape**, after a grace period, and never while a row of it is held. A
//!   pointer that was published once leads to a vector of its kind, of a possible length, for ever. So a reader that is
//!   late by any amount finds numbers that the epoch tells it to throw away, but never leaves the segment.
//! * **Counters only grow.** A row has one writer, which adds with a plain load and store. Nothing is ever cleared:
//!   "since then" is a reader's subtraction.
//! * **Every access is an atomic access to a 64-bit word**, on both sides.
//!
//! The allocator's state is outside the segment. Readers get a read-only descriptor of a file that is sealed against
//! resizing and against writable mappings. The file is sparse: what is reserved but never touched costs nothing.
//!
//! # How it is checked
//! * `cargo test -p weir-stats`: the layout, refusals, and readers over damaged and random bytes;
//! * `cargo +nightly miri test -p weir-stats`: the same over ordinary memory, for undefined behaviour and data races;
//! * `RUSTFLAGS="--cfg loom" cargo test -p weir-stats --lib loom`: a model checker goes through all
//!   interleavings and weak-memory reorderings of publishing, growing, renaming and reusing memory against a reader;
//! * `cargo test -p weir-tests --test stats_papi --test stats_kill`: the unmodified Python client, and writers killed at
//!   random moments under readers in tight loops.

#![deny(unsafe_code)]

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("the stats segment's layout is for 64-bit little-endian machines");

mod batch;
mod blocks;
mod catalogue;
mod columns;
mod connection;
mod decode;
mod difference;
mod distribution;
mod error;
mod holes;
mod layout;
#[cfg(all(test, loom))]
mod loom;
mod memfd;
mod protocol;
mod reader;
mod rows;
mod segment;
mod server;
mod subscription;
mod value;
#[allow(unsafe_code)] // the one module that needs it
mod words;

pub use batch::Batch;
pub use catalogue::{Catalogue, Described, Description, Rows, Semantics};
pub use columns::Columns;
pub use connection::{Absence, Connection, Followed, Follower};
pub use distribution::{Bounds, Distribution};
pub use error::{Error, ReadError};
pub use layout::{Kind, printable};
pub use reader::{Liveness, Reader, Snapshot};
pub use rows::{
    Combined, CombinedRow, EntryId, Histogram, HistogramRow, Names, Ring, RingRow, Scalar, Simple, SimpleRow,
};
pub use segment::{Options, Segment};
pub use server::Server;
pub use subscription::{Change, Reading, Subscription, Update};
pub use value::{Bins, Entry, Extent, Link, Pair, RingRecords, RingRecordsRow, Value};
