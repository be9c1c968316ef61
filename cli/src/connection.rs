//! Finding weir, telling a live one from a dead one, and saying so.

use std::fmt;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Gid, Group};
use rustix::io::Errno;
use weir_stats::{Connection, Entry, Liveness, ReadError, Reader, Snapshot};

use crate::complain;
use crate::failure::Failure;

/// A weir whose segment is mapped. weir knows nothing of it.
#[derive(Debug)]
pub struct Weir(Connection);

/// A writer whose heart does not beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    pid: u64,
    age: Duration,
    /// Its process is gone.
    dead: bool,
}

impl Weir {
    /// Maps the segment that is served at `path`.
    pub fn connect(path: &Path) -> Result<Weir, Failure> {
        Connection::connect(path).map(Weir).map_err(|error| refusal(path, error))
    }

    /// The segment.
    pub fn reader(&self) -> &Reader {
        self.0.reader()
    }

    /// The names of what the segment holds.
    pub fn list(&self) -> Result<Vec<Entry>, Failure> {
        self.reader().list().map_err(|error| self.refusal(error))
    }

    /// The values of the entries that are wanted; nothing else is read.
    pub fn snapshot(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Snapshot, Failure> {
        self.reader().snapshot(wanted).map_err(|error| self.refusal(error))
    }

    /// Why this segment cannot be read.
    pub fn refusal(&self, error: ReadError) -> Failure {
        refusal(self.0.path(), error)
    }

    /// Says so on stderr if the numbers are those of a weir that has stopped counting.
    pub fn warn_of_silence(&self) -> Result<(), Failure> {
        let writer = self.reader().liveness().map_err(|error| self.refusal(error))?;
        if let Some(silence) = Silence::of(writer) {
            complain(silence);
        }
        Ok(())
    }
}

impl Silence {
    /// `None` for a writer that lives, or of which the segment says nothing.
    pub fn of(writer: Liveness) -> Option<Silence> {
        match writer {
            Liveness::Live | Liveness::Unknown => None,
            Liveness::Stuck { pid, age } => Some(Silence { pid, age, dead: false }),
            Liveness::Dead { pid, age } => Some(Silence { pid, age, dead: true }),
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Silence { pid, age, dead } = self;
        write!(f, "weir (pid {pid}) has not beaten its heart for {} s: ", age.as_secs())?;
        f.write_str(if *dead { "it is dead, start it again" } else { "it is stuck, its numbers may be old" })
    }
}

/// Why a segment cannot be had or read, for a person who wants to know what to do now.
pub fn refusal(path: &Path, error: ReadError) -> Failure {
    let path = path.to_owned();
    match error {
        ReadError::Connect { source, .. } => match source.kind() {
            ErrorKind::NotFound => Failure::NoSocket { path },
            ErrorKind::PermissionDenied => denied(path),
            // connect(2) says the same of files of any other type.
            ErrorKind::ConnectionRefused
                if fs::metadata(&path).is_ok_and(|it| !it.file_type().is_socket()) =>
            {
                Failure::NotASocket { path }
            }
            ErrorKind::ConnectionRefused => Failure::LeftOver { path },
            _ if Errno::from_io_error(&source) == Some(Errno::PROTOTYPE) => {
                Failure::Mute { path, reason: "it is a socket of another type".to_owned() }
            }
            ErrorKind::WouldBlock => {
                Failure::Mute { path, reason: "it accepted no connection for a second".to_owned() }
            }
            _ => Failure::Mute { path, reason: source.to_string() },
        },
        ReadError::Handshake { reason, .. } => Failure::Mute { path, reason },
        ReadError::Version { version } => Failure::Version { path, version },
        source => Failure::Segment { path, source },
    }
}

fn denied(path: PathBuf) -> Failure {
    let folders = || path.ancestors().skip(1).map(|folder| (folder, fs::metadata(folder)));
    match fs::metadata(&path) {
        Ok(socket) => Failure::Denied { group: group(&socket), path },
        // The deepest folder that can be seen is the one that cannot be entered.
        Err(_) => match folders().find_map(|(folder, metadata)| Some((folder.to_owned(), metadata.ok()?))) {
            Some((folder, metadata)) => Failure::Hidden { folder, group: group(&metadata), path },
            None => Failure::Mute { path, reason: "no permission to reach it".to_owned() },
        },
    }
}

fn group(metadata: &Metadata) -> String {
    let gid = metadata.gid();
    match Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => group.name,
        _ => gid.to_string(),
    }
}
