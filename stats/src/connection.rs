//! A segment together with the socket that it came from, which tells when another writer has taken its place.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::ReadError;
use crate::reader::{Liveness, Reader};

/// A mapped segment and where it was served. The writer knows nothing of it.
#[derive(Debug)]
pub struct Connection {
    reader: Reader,
    path: PathBuf,
    socket: Option<SocketIdentity>,
}

/// What tells a socket from one that was made later at the same path: device, inode and time of change, as file systems
/// use inodes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SocketIdentity(u64, u64, i64, i64);

impl SocketIdentity {
    fn of(path: &Path) -> Option<SocketIdentity> {
        let metadata = fs::metadata(path).ok()?;
        Some(SocketIdentity(metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
    }
}

impl Connection {
    /// Maps the segment that is served at `path`.
    pub fn connect(path: impl AsRef<Path>) -> Result<Connection, ReadError> {
        let path = path.as_ref();
        // Before the connection: a socket that is replaced in between is then seen as replaced, never the other way round.
        let socket = SocketIdentity::of(path);
        Ok(Connection { reader: Reader::connect(path)?, path: path.to_owned(), socket })
    }

    /// The segment.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Where it was served.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the socket was removed or made anew since: one system call.
    pub fn is_replaced(&self) -> bool {
        SocketIdentity::of(&self.path) != self.socket
    }
}

/// A socket's connection, across restarts of the writer: made when it is first asked for, and again whenever the socket was
/// made anew.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    connection: Option<Connection>,
}

/// What a follower found.
#[derive(Debug)]
pub struct Followed<'f> {
    /// The connection.
    pub connection: &'f Connection,
    /// What is known of its writer, which is not dead.
    pub writer: Liveness,
    /// It was made just now: what is known of an earlier one is not true of it.
    pub is_new: bool,
}

/// Why there are no values.
#[derive(Debug)]
pub enum Absence {
    /// The segment cannot be had, or not be read.
    Unreadable(ReadError),
    /// Its writer is dead: what the segment holds is history.
    Dead {
        /// The process that there was.
        pid: u64,
        /// Since its last beat.
        age: Duration,
    },
}

impl Follower {
    /// Follows the segment that is served at `path`, now or some day.
    pub fn new(path: impl AsRef<Path>) -> Follower {
        Follower { path: path.as_ref().to_owned(), connection: None }
    }

    /// The connection that was found last, if it still serves.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// The connection of now. Waits for no writer; at most for a second where a server does not answer.
    pub fn follow(&mut self) -> Result<Followed<'_>, Absence> {
        let kept = self.connection.take().filter(|connection| !connection.is_replaced());
        let is_new = kept.is_none();
        let connection = match kept {
            Some(connection) => connection,
            None => Connection::connect(&self.path).map_err(Absence::Unreadable)?,
        };
        match connection.reader().liveness() {
            Ok(Liveness::Dead { pid, age }) => Err(Absence::Dead { pid, age }),
            Ok(writer) => Ok(Followed { connection: self.connection.insert(connection), writer, is_new }),
            Err(error) => {
                if !is_new && is_passing(&error) {
                    self.connection = Some(connection);
                }
                Err(Absence::Unreadable(error))
            }
        }
    }

    /// Tells that the segment could not be read: unless its writer is only busy, the connection is made anew.
    pub fn failed(&mut self, error: &ReadError) {
        if !is_passing(error) {
            self.connection = None;
        }
    }
}

/// Whether the next reading may find the segment at rest: a writer that is busy is no other writer.
fn is_passing(error: &ReadError) -> bool {
    matches!(error, ReadError::Busy { .. } | ReadError::Locked | ReadError::Stale { .. })
}
