//! A segment together with the socket that it came from, which tells when another writer has taken its place.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::ReadError;
use crate::reader::Reader;

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
