//! A weir for the tests: a segment with something of everything, served in a folder of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use tempfile::TempDir;
use weir_stats::{Error, Options, Segment, Server};

/// The binary under test.
pub const WEIRSTAT: &str = env!("CARGO_BIN_EXE_weirstat");

/// What looks like a weir. Its heart beats when the test says so.
pub struct Weir {
    pub segment: Segment,
    _server: Server,
}

impl Weir {
    /// Two ports, one worker, a route and a drop.
    pub fn start(socket: &Path) -> Weir {
        Self::start_with(socket, 16 << 20)
    }

    /// The same in a segment of so many bytes.
    pub fn start_with(socket: &Path, size: u64) -> Weir {
        let options = Options { size, workers: 1, ..Options::default() };
        let mut segment = Segment::create(options).unwrap();
        segment.register(publish).unwrap();
        let server = Server::start(socket, None, &segment).unwrap();
        Weir { segment, _server: server }
    }
}

fn publish(batch: &mut weir_stats::Batch<'_>) -> Result<(), Error> {
    let mut ports = batch.names("/if/names", 8)?;
    batch.set_name(&mut ports, 0, "eth1")?;
    batch.set_name(&mut ports, 1, "eth2")?;
    let mut rx = batch.combined("/if/rx", 2, 8)?;
    rx.take_row(1).ok_or(Error::Gone)?.add(0, 10, 640);
    batch.symlink("/interfaces/eth1/rx", rx.id(), 0)?;
    let mut drops = batch.simple("/if/drops", 2, 8)?;
    drops.take_row(1).ok_or(Error::Gone)?.add(0, 3);
    let mut errors = batch.simple("/node/errors", 1, 1)?;
    errors.take_row(1).ok_or(Error::Gone)?.add(0, 3);
    batch.symlink("/err/ip4-lookup/no-route", errors.id(), 0)?;
    let mut nodes = batch.names("/sys/node/names", 1)?;
    batch.set_name(&mut nodes, 0, "ip4-lookup")?;
    for (path, count) in [("/sys/node/calls", 4), ("/sys/node/vectors", 10), ("/sys/node/clocks", 1000)] {
        batch.simple(path, 1, 1)?.take_row(1).ok_or(Error::Gone)?.add(0, count);
    }
    let mut redirected = batch.simple_rows("/xdp/redirected", 2, 2, 8)?;
    redirected.take_row(1).ok_or(Error::Gone)?.add(0, 10);
    Ok(())
}

/// A folder and the path of a socket in it. The folder is removed with the first of the two.
pub fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::with_prefix("weirstat-").unwrap();
    let socket = folder.path().join("stats.sock");
    (folder, socket)
}

/// `weirstat --socket SOCKET WORDS…`
pub fn command(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(WEIRSTAT);
    command.arg("--socket").arg(socket).args(words.iter().map(OsStr::new)).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn weirstat(socket: &Path, words: &[&str]) -> Output {
    command(socket, words).output().unwrap()
}

/// Its standard output; there must be nothing on stderr, and no control character anywhere.
pub fn shown(socket: &Path, words: &[&str]) -> String {
    let Output { status, stdout, stderr } = weirstat(socket, words);
    assert_eq!((status.code(), String::from_utf8_lossy(&stderr).as_ref()), (Some(0), ""), "{words:?}");
    let text = String::from_utf8(stdout).unwrap();
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    text
}

/// Its sentence on stderr; there must be nothing on standard output, and exit status 1.
pub fn refused(socket: &Path, words: &[&str]) -> String {
    let Output { status, stdout, stderr } = weirstat(socket, words);
    assert_eq!((status.code(), String::from_utf8_lossy(&stdout).as_ref()), (Some(1), ""), "{words:?}");
    String::from_utf8(stderr).unwrap()
}

/// A socket on which nobody answers.
pub fn listener(socket: &Path) -> OwnedFd {
    let listener =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(socket).unwrap()).unwrap();
    rustix::net::listen(&listener, 8).unwrap();
    listener
}

/// A page that begins with these words.
pub fn image(words: &[u64]) -> Vec<u8> {
    let mut image: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    image.resize(4096, 0);
    image
}

/// A file in memory with these bytes.
pub fn memory(image: &[u8], sealed: bool) -> File {
    let memory = File::from(
        rustix::fs::memfd_create("image", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap(),
    );
    memory.write_all_at(image, 0).unwrap();
    if sealed {
        rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK).unwrap();
    }
    memory
}

/// Serves a file to one client.
pub fn served(memory: &File, act: impl FnOnce(&Path)) {
    let (_folder, socket) = folder();
    let listener = listener(&socket);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let client = rustix::net::accept(&listener).unwrap();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [memory.as_fd()];
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
            rustix::net::sendmsg(&client, &[IoSlice::new(&[])], &mut control, SendFlags::NOSIGNAL).unwrap();
        });
        act(&socket);
    });
}
