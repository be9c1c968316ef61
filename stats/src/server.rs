//! The socket on which clients ask for the segment: VPP's handshake, one message with one descriptor.

use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, accept_with, bind, connect, listen, sendmsg, socket_with,
};

use crate::error::Error;
use crate::segment::Segment;

/// Who may connect: the owner and the group.
const MODE: u32 = 0o660;

/// Connections that wait until they are accepted; the kernel lowers it to its own limit.
const BACKLOG: i32 = 1024;

/// How long the server waits when it cannot accept, for want of descriptors say. Clients give up after 1 s.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves a segment's descriptor from a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Device and inode of the socket, so that no other one is removed in its place.
    identity: (u64, u64),
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to serve `segment` at `path`; folders that are missing are made. The members of `group` may read too
    /// (default: the process's own group). What a dead process left at the path is replaced.
    pub fn start(path: &Path, group: Option<&str>, segment: &Segment) -> Result<Server, Error> {
        let failed = |step| move |source: io::Error| Error::Socket { path: path.to_owned(), step, source };
        let segment =
            segment.fd().ok_or(Error::NotShared)?.try_clone_to_owned().map_err(failed("descriptor"))?;
        let group = group.map(group_id).transpose()?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed("making its folder"))?;
        }
        let address = SocketAddrUnix::new(path).map_err(|errno| failed("its name")(errno.into()))?;
        clear_stale(path, &address)?;

        let listener = seqpacket().map_err(|errno| failed("socket")(errno.into()))?;
        // Until the socket has its group, nobody but the owner may connect: bind takes the mode from the descriptor.
        let closed = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::fchmod(&listener, closed).map_err(|errno| failed("its mode")(errno.into()))?;
        bind(&listener, &address).map_err(|errno| failed("bind")(errno.into()))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("its inode"))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| failed("eventfd")(errno.into()))?;
        let mut server = Server {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            stop,
            thread: None, // from here on the drop removes the socket
        };
        if let Some(group) = group {
            chown(path, None, Some(group)).map_err(failed("giving it to its group"))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed("its mode"))?;
        listen(&listener, BACKLOG).map_err(|errno| failed("listen")(errno.into()))?;
        let stop = server.stop.try_clone().map_err(failed("descriptor"))?;
        let thread = std::thread::Builder::new()
            .name("stats-server".to_owned())
            .spawn(move || serve(&listener, &stop, &segment))
            .map_err(failed("its thread"))?;
        server.thread = Some(thread);
        Ok(server)
    }

    /// Where clients connect.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn serve(listener: &OwnedFd, stop: &OwnedFd, segment: &OwnedFd) {
    loop {
        let mut ready = [PollFd::new(listener, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                tracing::warn!("the stats socket cannot be watched: {errno}");
                std::thread::sleep(PAUSE);
            }
        }
        if !ready[1].revents().is_empty() {
            return;
        }
        if ready[0].revents().is_empty() {
            continue;
        }
        match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(client) => {
                // A client that is gone already is its own business.
                if let Err(errno) = answer(&client, segment) {
                    tracing::debug!("a stats client could not be answered: {errno}");
                }
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(errno) => {
                tracing::warn!("a stats client cannot be accepted: {errno}");
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Sends the one message of the handshake: no bytes, one descriptor.
fn answer(client: &OwnedFd, segment: &OwnedFd) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [segment.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(client, &[IoSlice::new(&[])], &mut control, flags).map(drop)
}

/// A socket of the kind that clients connect with.
pub(crate) fn seqpacket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Removes a socket that nobody listens on. A served one, and anything that is not a socket, stays.
fn clear_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    let failed = |step| move |source: io::Error| Error::Socket { path: path.to_owned(), step, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at its path")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let probe = seqpacket().map_err(|errno| failed("socket")(errno.into()))?;
    // Not to wait for a process that does not accept.
    rustix::io::ioctl_fionbio(&probe, true).map_err(|errno| failed("socket")(errno.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed("removing a dead process's socket")),
        Err(Errno::NOENT) => Ok(()),
        // Also a listener of another type: somebody's it is.
        Ok(()) | Err(Errno::PROTOTYPE | Errno::AGAIN) => Err(Error::Active { path: path.to_owned() }),
        Err(errno) => Err(failed("asking whether it is served")(errno.into())),
    }
}

fn group_id(group: &str) -> Result<u32, Error> {
    match nix::unistd::Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        _ => Err(Error::NoGroup { group: group.to_owned() }),
    }
}
