//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why the segment could not be made, changed or served. A refused change has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room left.
    #[error(
        "the stats segment is full: {what} needs {needed} bytes, {free} of {size} are left; make the segment larger or \
         publish less"
    )]
    Full {
        /// What was asked for.
        what: String,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are left.
        free: u64,
        /// The segment's size in bytes.
        size: u64,
    },
    /// A vector would grow beyond the room that was reserved for it.
    #[error(
        "{path} has room for {capacity} columns, not {columns}: reserve a larger capacity when it is registered"
    )]
    Capacity {
        /// The vector's path.
        path: String,
        /// Columns asked for.
        columns: usize,
        /// Columns reserved.
        capacity: usize,
    },
    /// The path is taken.
    #[error("{path} is registered already: choose another path, or remove the entry first")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A path would be an entry and a folder of entries at once, which file-system views cannot show.
    #[error("{path} cannot be registered beside {other}: one is a folder of the other; rename one of them")]
    Nested {
        /// The path asked for.
        path: String,
        /// The path that exists.
        other: String,
    },
    /// A path that clients cannot read.
    #[error(
        "{path:?} is not a path for the stats segment: write '/', then printable ASCII in non-empty parts between \
         single '/'s, at most 127 bytes in all"
    )]
    Path {
        /// The path asked for.
        path: String,
    },
    /// A name that clients cannot read.
    #[error(
        "{name:?} is not a name for the stats segment: use printable ASCII (`printable` replaces the rest)"
    )]
    Name {
        /// The name asked for.
        name: String,
    },
    /// Sizes that make no sense.
    #[error("{path}: {reason}")]
    Shape {
        /// The entry's path.
        path: String,
        /// What is wrong and what would be right.
        reason: &'static str,
    },
    /// A symlink to something that has no such column.
    #[error(
        "{path} cannot point to column {column} of {target}: it takes a counter vector that has this column"
    )]
    Target {
        /// The symlink's path.
        path: String,
        /// The target's path, or what is known of it.
        target: String,
        /// The column asked for.
        column: usize,
    },
    /// The entry cannot go while symlinks point to it.
    #[error("{path} still has {links} symlinks to it: remove them first")]
    Linked {
        /// The entry's path.
        path: String,
        /// How many symlinks point to it.
        links: usize,
    },
    /// One of the entries that clients find by their position.
    #[error("{path} cannot be removed: clients find it by its position")]
    Fixed {
        /// The entry's path.
        path: String,
    },
    /// The entry is gone, or never was in this segment.
    #[error("this entry is not in the segment: it was removed, or its registration was refused")]
    Gone,
    /// The size cannot hold even the fixed entries, or is more than this machine can address.
    #[error("a stats segment of {size} bytes cannot be made: give it between 64 KiB and 1 TiB")]
    Size {
        /// The size asked for, in bytes.
        size: u64,
    },
    /// A system call failed.
    #[error("the stats segment cannot be made: {step}: {source}")]
    System {
        /// What was being done.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The socket is served by a running process.
    #[error("{} is served by a running process: stop that one, or choose another socket", path.display())]
    Active {
        /// The socket.
        path: PathBuf,
    },
    /// The socket's path is something else.
    #[error("{} is not a socket: remove it, or choose another path for the stats socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The group that is to read does not exist.
    #[error(
        "there is no group {group:?}: create it (groupadd {group}), or name another group for the stats socket"
    )]
    NoGroup {
        /// The group's name.
        group: String,
    },
    /// The socket could not be made.
    #[error("the stats socket {} cannot be made: {step}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no descriptor to serve.
    #[error("a segment in ordinary memory cannot be served: create it as a shared one")]
    NotShared,
}

/// Why a segment could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nobody serves the socket.
    #[error("nothing serves stats at {}: {source}; is weir running, and may you read its socket?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The server did not answer with a segment.
    #[error("{} did not answer with a stats segment: {reason}", path.display())]
    Handshake {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// The descriptor cannot be mapped.
    #[error("the stats segment cannot be mapped: {source}")]
    Map {
        /// The system's answer.
        source: io::Error,
    },
    /// The segment's version is not one that this reader knows.
    #[error("the stats segment has layout version {version}; this reader knows version 2")]
    Version {
        /// The version found.
        version: u64,
    },
    /// The segment changed again and again while it was read.
    #[error("the stats segment kept changing while it was read ({attempts} attempts): try again")]
    Busy {
        /// How often it was tried.
        attempts: u32,
    },
    /// VPP's writer lock was never released.
    #[error("the stats segment's writer holds its lock: it is stuck or was killed; restart it")]
    Locked,
    /// The entry is not in the segment any more.
    #[error("{name} is not in the stats segment any more: list it again")]
    Stale {
        /// The entry's name.
        name: String,
    },
    /// A length or pointer leads outside the segment, or says something impossible.
    #[error("the stats segment is damaged: {what}")]
    Damaged {
        /// What was found.
        what: &'static str,
    },
    /// A value claims more memory than a reader gives.
    #[error("the stats segment is damaged: a value of {bytes} bytes, more than the {limit} that it can hold")]
    TooLarge {
        /// Bytes that the value claims.
        bytes: u64,
        /// Bytes that a reader gives it.
        limit: u64,
    },
}
