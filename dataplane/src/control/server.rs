//! weir's end of the control socket.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::protocol::{MAX_REQUEST, Reply, Request};

/// Clients at a time. Each has a thread; more than a few are a script gone wrong.
const CLIENTS: usize = 16;
/// Connections that wait to be accepted; as many again as clients.
const BACKLOG: i32 = 16;
/// Commands that wait for the control thread: one for each client, so the wait below is for a control thread that is stuck.
const COMMANDS: usize = CLIENTS;
/// Lines that wait to be written to one client. A traced packet makes up to ten of some 600 bytes: 10 MiB at most, and 1,600 packets of
/// room for a client that stops for a moment.
const REPLIES: usize = 16_384;
/// A client that says nothing for so long, or does not finish a line, is cut off: it holds one of the places.
const SILENCE: Duration = Duration::from_secs(60);
/// A client that does not read for so long is cut off.
const UNREAD: Duration = Duration::from_secs(5);
/// How long a command may wait for a place in the queue of the control thread; it is stuck if there is none for so long.
const BUSY: Duration = Duration::from_secs(5);
/// How often a client that waits for replies is looked at: has it gone?
const GLANCE: Duration = Duration::from_millis(100);

/// What a client wants from the control thread. The answer ends when the last [`Replies`] of a command is dropped.
#[derive(Debug)]
pub enum Command {
    /// Answer with [`Reply::Status`].
    Status {
        /// Where the answer goes.
        reply: Replies,
    },
    /// Read the config again, and answer with [`Reply::Reloaded`] or [`Reply::Refused`].
    Reload {
        /// Where the answer goes.
        reply: Replies,
    },
    /// Follow packets, and answer with a [`Reply::Step`] for each packet at each node, or [`Reply::Refused`].
    Trace {
        /// How many packets; never 0.
        count: u16,
        /// The node at which to begin; `None`: where packets enter. It need not exist.
        node: Option<String>,
        /// Where the answer goes.
        reply: Replies,
    },
}

/// Where the lines of an answer go.
#[derive(Debug, Clone)]
pub struct Replies {
    lines: Sender<Reply>,
    /// Lines that were lost; lives as long as the client waits.
    lost: Weak<AtomicU64>,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody listens at the path.
    #[error("another weir is running: it answers at {}; stop it, or give this one a [control] socket of its own", path.display())]
    Running {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the path.
    #[error("{} is there and is not a socket: move it away, or name another [control] socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} for the control socket {}: {source}; run as root, or name another [control] socket", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The control socket. Dropped, it takes the socket and all clients with it.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    /// Device and inode, to tell our socket from one that replaced it.
    identity: (u64, u64),
    /// Closed to end all threads: each polls the other end.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Listens at `path`, for root alone. Folders that are missing are made; what a dead weir left is replaced.
    pub fn start(path: &Path) -> Result<(ControlServer, Receiver<Command>), Error> {
        let failed =
            |action| move |source: io::Error| Error::System { action, path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed("make the folder"))?;
        }
        clear(path)?;
        let listener = listen(path).map_err(|source| failed("listen")(source.into()))?;
        let metadata = path.symlink_metadata().map_err(failed("look"))?;
        let (stop, stopped) = UnixStream::pair().map_err(failed("make a socket pair"))?;
        let (commands, receiver) = bounded(COMMANDS);
        let shared = Arc::new(Shared { stopped, commands });
        let thread = std::thread::Builder::new()
            .name("weir-control".to_owned())
            .spawn(move || accept(&listener, &shared))
            .map_err(failed("start a thread"))?;
        let identity = (metadata.dev(), metadata.ino());
        Ok((
            ControlServer { path: path.to_owned(), identity, stop: Some(stop), thread: Some(thread) },
            receiver,
        ))
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        if self.path.symlink_metadata().is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            // Nothing is lost if it stays: the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Replies {
    /// Sends a line and never waits. A client that has thousands of lines to read loses this one, and is told so at the end. Returns
    /// `false` when nobody reads any more, so that the work can be given up.
    pub fn send(&self, reply: Reply) -> bool {
        let Some(lost) = self.lost.upgrade() else { return false };
        if self.lines.try_send(reply).is_err() {
            lost.fetch_add(1, Relaxed);
        }
        true
    }

    /// Counts lines that were lost before they could be sent; the client is told at the end.
    pub fn lose(&self, lines: u64) {
        if let Some(lost) = self.lost.upgrade() {
            lost.fetch_add(lines, Relaxed);
        }
    }

    /// Whether nobody reads any more.
    pub fn is_gone(&self) -> bool {
        self.lost.strong_count() == 0
    }
}

/// Takes away the socket that a dead weir left.
fn clear(path: &Path) -> Result<(), Error> {
    let failed = |source: io::Error| Error::System { action: "look", path: path.to_owned(), source };
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    // Non-blocking, because a listener that is stuck with a full backlog would hold us up; it refuses for now (EAGAIN), so it is there.
    let probe = || -> rustix::io::Result<()> {
        let socket = stream_socket()?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    match probe() {
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Err(Error::Running { path: path.to_owned() }),
        Err(rustix::io::Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(failed),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(failed(error.into())),
    }
}

fn stream_socket() -> rustix::io::Result<std::os::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn listen(path: &Path) -> rustix::io::Result<UnixListener> {
    let socket = stream_socket()?;
    // bind gives the path the descriptor's mode, so there is no moment at which anyone else could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// What all clients' threads share.
struct Shared {
    /// Readable once the server is dropped.
    stopped: UnixStream,
    commands: Sender<Command>,
}

enum Ready {
    Yes,
    TimedOut,
    Stopped,
}

impl Shared {
    /// Waits until `fd` is ready for `flags` or closed.
    fn wait(&self, fd: impl std::os::fd::AsFd, flags: PollFlags, limit: Option<Duration>) -> Ready {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds =
                [PollFd::new(&self.stopped, PollFlags::IN), PollFd::from_borrowed_fd(fd.as_fd(), flags)];
            match poll(&mut fds, left.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) => return Ready::TimedOut,
                Ok(_) if fds[0].revents().is_empty() => return Ready::Yes,
                // Also where poll itself fails (no memory): better no client than a thread that spins.
                Ok(_) | Err(_) => return Ready::Stopped,
            }
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while let Ready::Yes = shared.wait(listener, PollFlags::IN, None) {
        let Ok((stream, _)) = listener.accept() else {
            // Out of descriptors, or the client has gone again: the listener may stay readable, so do not spin.
            std::thread::sleep(GLANCE);
            continue;
        };
        if stream.set_nonblocking(true).is_err() {
            continue;
        }
        let mut client = Connection { stream, shared: shared.clone(), received: VecDeque::new() };
        threads.retain(|thread| !thread.is_finished());
        if threads.len() >= CLIENTS {
            let problem = format!("weir serves {CLIENTS} clients already: end one, or try again later");
            // A new socket has room for one line, so this does not wait.
            let _ = client.refuse(problem);
            continue;
        }
        if let Ok(thread) =
            std::thread::Builder::new().name("weir-client".to_owned()).spawn(move || client.serve())
        {
            threads.push(thread);
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// The client has gone, was too slow, or weir ends.
struct Over;

struct Connection {
    stream: UnixStream,
    shared: Arc<Shared>,
    /// Bytes that were read and not yet used.
    received: VecDeque<u8>,
}

impl Connection {
    fn serve(&mut self) {
        while let Ok(line) = self.line() {
            let answered = match serde_json::from_slice(&line) {
                Ok(request) => self.answer(request),
                Err(error) => self.refuse(format!("this is not a request ({error}); write {{\"command\":\"status\"}}, \"reload\" or \"trace\"")),
            };
            if answered.is_err() {
                return;
            }
        }
    }

    /// The next line; also what stands before the end without a newline, as `printf` writes it.
    fn line(&mut self) -> Result<Vec<u8>, Over> {
        let deadline = Instant::now() + SILENCE;
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                return Ok(self.received.drain(..=end).collect());
            }
            if self.received.len() >= MAX_REQUEST {
                let _ = self.refuse(format!("a request has at most {MAX_REQUEST} bytes"));
                return Err(Over);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ready::Yes = self.shared.wait(&self.stream, PollFlags::IN, Some(left)) else {
                return Err(Over);
            };
            let mut buffer = [0; MAX_REQUEST];
            match self.stream.read(&mut buffer) {
                Ok(0) if self.received.is_empty() => return Err(Over),
                Ok(0) => return Ok(self.received.drain(..).collect()),
                Ok(count) => self.received.extend(&buffer[..count]),
                Err(error) if is_passing(&error) => {}
                Err(_) => return Err(Over),
            }
        }
    }

    fn answer(&mut self, request: Request) -> Result<(), Over> {
        let (lines, answers) = bounded(REPLIES);
        let lost = Arc::new(AtomicU64::new(0));
        let reply = Replies { lines, lost: Arc::downgrade(&lost) };
        let command = match request {
            Request::Status => Command::Status { reply },
            Request::Reload => Command::Reload { reply },
            Request::Trace { count, node } => Command::Trace { count: count.get(), node, reply },
        };
        match self.shared.commands.send_timeout(command, BUSY) {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => return self.refuse("weir is busy: try again".to_owned()),
            Err(SendTimeoutError::Disconnected(_)) => return self.refuse("weir is about to end".to_owned()),
        }
        loop {
            match answers.recv_timeout(GLANCE) {
                Ok(reply) => self.write(&reply)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return self.write(&Reply::End { lost: lost.load(Relaxed) });
                }
                Err(RecvTimeoutError::Timeout) => {
                    // Closed altogether; a client that has only ended its own half still reads.
                    if let Ready::Yes | Ready::Stopped =
                        self.shared.wait(&self.stream, PollFlags::empty(), Some(Duration::ZERO))
                    {
                        return Err(Over);
                    }
                }
            }
        }
    }

    fn refuse(&mut self, problem: String) -> Result<(), Over> {
        self.write(&Reply::Refused { problems: vec![problem] })?;
        self.write(&Reply::End { lost: 0 })
    }

    fn write(&mut self, reply: &Reply) -> Result<(), Over> {
        let mut line = serde_json::to_vec(reply).map_err(|_| Over)?;
        line.push(b'\n');
        let mut rest = &line[..];
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let Ready::Yes = self.shared.wait(&self.stream, PollFlags::OUT, Some(UNREAD)) else {
                        return Err(Over);
                    };
                }
                Err(error) if is_passing(&error) => {}
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
