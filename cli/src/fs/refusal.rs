//! Why a file or folder cannot be had.

use std::io::{self, ErrorKind};

use fuser::Errno;
use weir_stats::ReadError;

/// Why not.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such name.
    Absent,
    /// What was found under this inode is not there any more. The kernel looks the name up again.
    Stale,
    /// The segment changed while it was read: to be tried again.
    Moved,
    /// It would be longer than a file may be.
    TooLong,
    /// Open files hold all memory that there is for them.
    TooMany,
    /// The segment cannot be read.
    Unreadable(ReadError),
}

impl Refusal {
    pub fn errno(&self) -> Errno {
        match self {
            Refusal::Absent => Errno::ENOENT,
            Refusal::Stale | Refusal::Moved => Errno::ESTALE,
            Refusal::TooLong => Errno::EFBIG,
            Refusal::TooMany => Errno::ENOMEM,
            Refusal::Unreadable(ReadError::Busy { .. } | ReadError::Locked) => Errno::EAGAIN,
            Refusal::Unreadable(_) => Errno::EIO,
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Refusal {
        match error {
            ReadError::Stale { .. } => Refusal::Moved,
            ReadError::TooLarge { .. } => Refusal::TooLong,
            error => Refusal::Unreadable(error),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        // Texts are written to memory, which has just these two limits.
        match error.kind() {
            ErrorKind::FileTooLarge => Refusal::TooLong,
            _ => Refusal::TooMany,
        }
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Refusal {
        io::Error::from(error).into()
    }
}
