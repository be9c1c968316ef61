//! Segments that weir's writer does not make: with names as VPP's may be, and damaged ones.

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, accept, bind, listen, sendmsg, shutdown, socket_with,
};
use weir_stats::Segment;

/// A segment's bytes.
pub fn image(segment: &Segment) -> Vec<u8> {
    let file = File::from(segment.fd().unwrap().try_clone_to_owned().unwrap());
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The same with other names, which must not be longer.
pub fn renamed(mut bytes: Vec<u8>, changes: &[(&str, &str)]) -> Vec<u8> {
    for (old, new) in changes {
        assert!(new.len() <= old.len());
        let old = [old.as_bytes(), b"\0"].concat();
        let mut new = new.as_bytes().to_vec();
        new.resize(old.len(), 0);
        let mut found = 0;
        // Retired directories have the names as well.
        while let Some(at) = bytes.windows(old.len()).position(|window| window == old) {
            bytes[at..at + new.len()].copy_from_slice(&new);
            found += 1;
        }
        assert!(found > 0, "{old:?}");
    }
    bytes
}

/// Serves a segment until it is dropped.
pub struct Served {
    listener: File,
    thread: Option<JoinHandle<()>>,
    socket: PathBuf,
}

/// Serves a segment of these bytes.
pub fn serve(socket: &Path, bytes: &[u8]) -> Served {
    let memory = memfd_create("stats", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    let segment = File::from(memory);
    segment.write_all_at(bytes, 0).unwrap();
    fcntl_add_seals(&segment, SealFlags::SHRINK | SealFlags::GROW).unwrap();
    let listener =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(socket).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    let listener = File::from(listener);
    let of_thread = listener.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        while let Ok(client) = accept(&of_thread) {
            let descriptors = [segment.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let _ = sendmsg(&client, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL);
        }
    });
    Served { listener, thread: Some(thread), socket: socket.to_owned() }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = shutdown(&self.listener, Shutdown::Both);
        let _ = self.thread.take().unwrap().join();
        let _ = std::fs::remove_file(&self.socket);
    }
}
