//! Looking again and again, across restarts of weir: what `poll` and the live forms of `rtt` have in common.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use weir_stats::{Absence, Followed, Follower, Liveness, ReadError, Reader};

use crate::connection::{Silence, refusal};
use crate::failure::Failure;

/// Who looks.
pub trait Watcher {
    /// Looks once.
    fn look(&mut self, look: Look<'_>) -> Result<(), Interruption>;

    /// Is told why there is nothing to look at.
    fn note(&mut self, note: &str) -> io::Result<()>;
}

/// What there is to look at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'l> {
    /// The segment.
    pub reader: &'l Reader,
    /// What is known of its writer.
    pub writer: Liveness,
    /// It is another segment than at the look before, or the first one.
    pub is_new: bool,
}

/// Why a look came to nothing.
#[derive(Debug)]
pub enum Interruption {
    /// The segment could not be read.
    Read(ReadError),
    /// There is no going on.
    Fatal(Failure),
}

impl From<ReadError> for Interruption {
    fn from(error: ReadError) -> Interruption {
        Interruption::Read(error)
    }
}

impl From<io::Error> for Interruption {
    fn from(error: io::Error) -> Interruption {
        Interruption::Fatal(Failure::Output(error))
    }
}

/// Looks once an interval until it is stopped. That there is no weir at the start is an error; later it is an interruption.
pub fn watch(path: &Path, interval: Duration, watcher: &mut impl Watcher) -> Result<(), Failure> {
    let mut follower = Follower::new(path);
    let mut started = false;
    let mut next = Instant::now();
    loop {
        let result = match follower.follow() {
            Ok(Followed { connection, writer, is_new }) => {
                watcher.look(Look { reader: connection.reader(), writer, is_new })
            }
            Err(Absence::Dead { pid, age }) => {
                let silence = Silence::of(Liveness::Dead { pid, age });
                let text = silence.map(|silence| silence.to_string()).unwrap_or_default();
                watcher.note(&waiting(text))?;
                Ok(())
            }
            Err(Absence::Unreadable(error)) => Err(Interruption::Read(error)),
        };
        match result {
            Ok(()) => started = true,
            Err(Interruption::Fatal(failure)) => return Err(failure),
            Err(Interruption::Read(error)) => {
                follower.failed(&error);
                // The next look may find it at rest.
                let passing = matches!(error, ReadError::Busy { .. } | ReadError::Locked);
                let failure = refusal(path, error);
                if !started && !passing {
                    return Err(failure);
                }
                watcher.note(&waiting(failure))?;
            }
        }
        next += interval;
        match next.checked_duration_since(Instant::now()) {
            Some(pause) => sleep(pause),
            None => next = Instant::now(),
        }
    }
}

fn waiting(why: impl Display) -> String {
    format!("{why} (waiting)")
}
