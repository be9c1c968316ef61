//! The client's end of the control socket, for the command line.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{MAX_REPLY, Reloaded, Reply, Request, Status};
use crate::trace_text::Step;

/// How long weir may take to answer; a trace may take as long as packets stay away.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the weir that runs.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Why there is no answer, or not the wished one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no weir answers at {}: is it running, and is this the [control] socket of its config? `weir run` starts it", .0.display())]
    NotRunning(PathBuf),
    /// Only root may ask.
    #[error("may not talk to the weir at {}: run this as root", .0.display())]
    NotAllowed(PathBuf),
    /// No answer in time.
    #[error("the weir at {} does not answer: it may be hung; see its log, and restart it if that shows nothing", .0.display())]
    Silent(PathBuf),
    /// It ended while it answered.
    #[error("the weir at {} ended before it had answered: see its log", .0.display())]
    Ended(PathBuf),
    /// The answer makes no sense.
    #[error("what answers at {} is not a weir of this version ({reason}): use the `weir` that started it", path.display())]
    Unreadable {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The system refused.
    #[error("cannot talk to the weir at {}: {source}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// weir said no, and why.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

/// The steps of traced packets, as they come.
#[derive(Debug)]
pub struct Steps {
    client: Client,
    lost: u64,
    over: bool,
}

impl Client {
    /// Connects to the weir whose control socket is at `path`.
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| failure(path, source))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|source| failure(path, source))?;
        Ok(Client { stream: BufReader::new(stream), path: path.to_owned() })
    }

    /// Asks who runs.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(status),
            other => Err(self.unreadable(format!("it answered {other:?}"))),
        }
    }

    /// Makes weir read its config again.
    pub fn reload(&mut self) -> Result<Reloaded, ClientError> {
        match self.ask(&Request::Reload)? {
            Reply::Reloaded(reloaded) => Ok(reloaded),
            other => Err(self.unreadable(format!("it answered {other:?}"))),
        }
    }

    /// Follows the next `count` packets that come to `node`, or into weir.
    pub fn trace(mut self, count: NonZeroU16, node: Option<String>) -> Result<Steps, ClientError> {
        self.send(&Request::Trace { count, node }, None)?;
        Ok(Steps { client: self, lost: 0, over: false })
    }

    /// Sends a request that has one line for an answer.
    fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.send(request, Some(PATIENCE))?;
        let mut answer = None;
        loop {
            match self.receive()? {
                Reply::End { .. } => break,
                reply => answer = Some(reply),
            }
        }
        match answer {
            Some(Reply::Refused { problems }) => Err(ClientError::Refused(problems)),
            Some(reply) => Ok(reply),
            None => Err(ClientError::Ended(self.path.clone())),
        }
    }

    fn send(&mut self, request: &Request, patience: Option<Duration>) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request).map_err(|error| self.unreadable(error.to_string()))?;
        line.push(b'\n');
        let stream = self.stream.get_mut();
        let sent = stream.set_read_timeout(patience).and_then(|()| stream.write_all(&line));
        match sent {
            // It may have written why it closes.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent.map_err(|source| failure(&self.path, source)),
        }
    }

    fn receive(&mut self) -> Result<Reply, ClientError> {
        let mut line = Vec::new();
        let read = self.stream.by_ref().take(MAX_REPLY).read_until(b'\n', &mut line);
        read.map_err(|source| failure(&self.path, source))?;
        match line.last() {
            Some(b'\n') => serde_json::from_slice(&line).map_err(|error| self.unreadable(error.to_string())),
            _ if line.len() as u64 == MAX_REPLY => Err(self.unreadable("its line has no end".to_owned())),
            _ => Err(ClientError::Ended(self.path.clone())),
        }
    }

    fn unreadable(&self, reason: String) -> ClientError {
        ClientError::Unreadable { path: self.path.clone(), reason }
    }
}

impl Steps {
    /// Steps that are missing because they came faster than they were read; known at the end.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Iterator for Steps {
    type Item = Result<Step, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step = match self.client.receive() {
            Ok(Reply::Step(step)) => return Some(Ok(step)),
            Ok(Reply::End { lost }) => {
                self.lost = lost;
                None
            }
            Ok(Reply::Refused { problems }) => Some(Err(ClientError::Refused(problems))),
            Ok(other) => Some(Err(self.client.unreadable(format!("it answered {other:?}")))),
            Err(error) => Some(Err(error)),
        };
        self.over = true;
        step
    }
}

fn failure(path: &Path, source: io::Error) -> ClientError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(path),
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent(path),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => ClientError::Ended(path),
        _ => ClientError::System { path, source },
    }
}
