//! Why weirstat stops, in words that say what to do.

use std::io;
use std::path::PathBuf;

use weir_stats::ReadError;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing is at the path.
    #[error(
        "there is no weir at {}: no such socket; start weir, or name its stats socket with --socket",
        path.display()
    )]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket is not for this user.
    #[error(
        "no permission to read {}: it is open to root and to group {group}; join that group \
         (usermod -aG {group} USER, then log in again), or run weirstat as root",
        path.display()
    )]
    Denied {
        /// The socket.
        path: PathBuf,
        /// The group that may read.
        group: String,
    },
    /// A folder on the way to the socket is not for this user.
    #[error(
        "no permission to look for {}: folder {} is closed to you, it is open to group {group}; join that group, or run \
         weirstat as root",
        path.display(),
        folder.display()
    )]
    Hidden {
        /// The socket.
        path: PathBuf,
        /// The first folder that may not be entered.
        folder: PathBuf,
        /// The folder's group.
        group: String,
    },
    /// Nobody listens on the socket.
    #[error(
        "weir is not running: the socket at {} was left by one that died; start weir, it will take the socket over",
        path.display()
    )]
    LeftOver {
        /// The socket.
        path: PathBuf,
    },
    /// The path leads to something else.
    #[error("{} is not a socket: name weir's stats socket with --socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else's socket, or a weir that does not answer.
    #[error(
        "{} does not answer as a stats socket: {reason}; name weir's stats socket with --socket, or restart the weir that \
         serves it",
        path.display()
    )]
    Mute {
        /// The socket.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The segment is of another time.
    #[error(
        "the stats segment at {} has layout version {version}, and this weirstat reads version 2: use the weirstat that \
         came with that weir",
        path.display()
    )]
    Version {
        /// The socket.
        path: PathBuf,
        /// The version found.
        version: u64,
    },
    /// The segment cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Segment {
        /// The socket.
        path: PathBuf,
        /// What is wrong, and what to do.
        source: ReadError,
    },
    /// The segment has nothing of what was asked for.
    #[error("{} has no {what} ({entry} is missing): it is not weir's, or of a weir that has none", path.display())]
    Missing {
        /// The socket.
        path: PathBuf,
        /// What was asked for.
        what: &'static str,
        /// The entry that would say.
        entry: &'static str,
    },
    /// Nobody is called so.
    #[error(
        "no node of the tree and no customer is called {word}{}: weirstat show shaper lists the nodes, weirstat dump \
         /customers/names the customers",
        if like.is_empty() { String::new() } else { format!(", but there is {like}") }
    )]
    Unknown {
        /// As it was written.
        word: String,
        /// Names like it.
        like: String,
    },
    /// Several are called so.
    #[error("{word} may be any of {count}: {some}; name one of them so")]
    Several {
        /// As it was written.
        word: String,
        /// How many.
        count: usize,
        /// How to name one.
        some: String,
    },
    /// A pattern cannot be understood.
    #[error(
        "{pattern:?} is not a pattern: {reason}; write a regular expression, with \\ before a character that is meant as \
         itself"
    )]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What to sort by cannot be understood.
    #[error("{text:?} is nothing to sort by: write {words}")]
    Sort {
        /// As it was written.
        text: String,
        /// What can be written.
        words: String,
    },
    /// Records are not as this weirstat knows them.
    #[error(
        "{} has records of {size} bytes in {entry}, and this weirstat knows those of {known}: use the weirstat that came with \
         that weir",
        path.display()
    )]
    Records {
        /// The socket.
        path: PathBuf,
        /// The ring buffer.
        entry: &'static str,
        /// Bytes of a record there.
        size: usize,
        /// Bytes of a record as it is known.
        known: usize,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address as it was written.
        address: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The HTTP server cannot run.
    #[error("cannot serve: {source}")]
    Serve {
        /// The system's answer.
        source: io::Error,
    },
    /// A live view without a terminal.
    #[error(
        "top needs a terminal, and standard input or output is none: use weirstat show for one look, or weirstat poll to \
         follow values in a pipe or a file"
    )]
    NoTerminal,
    /// A saved snapshot is none.
    #[error(
        "{} is no saved snapshot: line {line}: {reason}; save one with: weirstat dump --json >FILE",
        path.display()
    )]
    Saved {
        /// The file.
        path: PathBuf,
        /// The line that is not understood.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A saved snapshot cannot be compared with what was asked for.
    #[error("{} {reason}", path.display())]
    SavedOther {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Nothing can be mounted at this folder.
    #[error("cannot mount at {}: {reason}", path.display())]
    Mountpoint {
        /// The folder.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// Something is mounted there already.
    #[error(
        "something is mounted at {} already: unmount it (umount {}), or name another folder",
        path.display(),
        path.display()
    )]
    Mounted {
        /// The folder.
        path: PathBuf,
    },
    /// The file system cannot be had.
    #[error("cannot mount the file system at {}: {reason}", path.display())]
    Mount {
        /// The folder.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// The file system stays.
    #[error("cannot unmount {}: {reason}; unmount it yourself (umount -l {})", path.display(), path.display())]
    Unmount {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no background.
    #[error("cannot go to the background: {0}; leave out --background")]
    Background(io::Error),
    /// What a weirstat in the background said.
    #[error("{0}")]
    Told(String),
    /// Standard output does not take it.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        // Nothing that is written here can fail to be JSON: it is the output that failed.
        Failure::Output(error.into())
    }
}
