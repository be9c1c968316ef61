//! The socket: VPP's handshake, and clients that behave badly.
#![cfg(not(miri))] // no sockets there
#![allow(clippy::unwrap_used)] // what a test stands on may fail it

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use weir_stats::{Error, Liveness, Options, ReadError, Reader, Segment, Server, Value};

fn segment() -> Segment {
    Segment::create(Options::default()).unwrap()
}

fn seqpacket() -> std::os::fd::OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

#[test]
fn clients_get_the_live_segment() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("made/on/the/way/stats.sock");
    let mut segment = segment();
    let server = Server::start(&socket, None, &segment).unwrap();
    let metadata = fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    let reader = Reader::connect(&socket).unwrap();
    let gauge = segment.register(|batch| batch.gauge("/later", 1)).unwrap();
    gauge.set(2);
    let entry = reader.find("/later").unwrap().unwrap();
    assert_eq!(reader.read(&entry).unwrap(), Value::Gauge(2));
    assert_eq!(reader.liveness().unwrap(), Liveness::Live);
    drop(server);
    assert!(!socket.exists(), "nothing is left behind");
    assert!(matches!(Reader::connect(&socket), Err(ReadError::Connect { .. })));
    drop(segment);
    assert_eq!(reader.read(&entry).unwrap(), Value::Gauge(2), "a mapping outlives its writer");
}

#[test]
fn what_a_dead_process_left_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let segment = segment();
    let address = SocketAddrUnix::new(&socket).unwrap();
    let stale = seqpacket();
    bind(&stale, &address).unwrap();
    drop(stale);
    let server = Server::start(&socket, None, &segment).unwrap();
    assert!(matches!(Server::start(&socket, None, &segment), Err(Error::Active { .. })));
    Reader::connect(&socket).unwrap();
    drop(server);

    // One that accepts nobody, and one of another type, are alive as well.
    let full = seqpacket();
    bind(&full, &address).unwrap();
    listen(&full, 0).unwrap();
    let _waiting = seqpacket();
    connect(&_waiting, &address).unwrap();
    assert!(matches!(Server::start(&socket, None, &segment), Err(Error::Active { .. })));
    fs::remove_file(&socket).unwrap();
    let _stream = UnixListener::bind(&socket).unwrap();
    assert!(matches!(Server::start(&socket, None, &segment), Err(Error::Active { .. })));
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "precious").unwrap();
    assert!(matches!(Server::start(&socket, None, &segment), Err(Error::NotASocket { .. })));
    assert_eq!(fs::read(&socket).unwrap(), b"precious");
}

#[test]
fn a_socket_that_somebody_put_there_since_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let segment = segment();
    let server = Server::start(&socket, None, &segment).unwrap();
    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    drop(server);
    assert!(socket.exists());
}

#[test]
fn clients_that_behave_badly_disturb_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let segment = segment();
    let _server = Server::start(&socket, None, &segment).unwrap();
    let address = SocketAddrUnix::new(&socket).unwrap();
    let mut silent = Vec::new();
    for round in 0..200 {
        let client = seqpacket();
        connect(&client, &address).unwrap();
        match round % 3 {
            0 => drop(client), // gone before the answer
            1 => {
                let _ = rustix::io::write(&client, &[7; 4096]); // talks
                silent.push(client);
            }
            _ => silent.push(client), // never takes its answer
        }
    }
    let begin = Instant::now();
    Reader::connect(&socket).unwrap();
    assert!(begin.elapsed() < Duration::from_millis(500), "VPP's Python client gives up after a second");
}

#[test]
fn the_group_may_read_and_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let segment = segment();
    let refused = Server::start(&socket, Some("no-such-group-here"), &segment);
    assert!(matches!(refused, Err(Error::NoGroup { .. })));
    assert!(!socket.exists());
    if !rustix::process::geteuid().is_root() {
        return eprintln!(
            "SKIP the_group_may_read_and_must_exist (its second half): only root gives files away"
        );
    }
    let _server = Server::start(&socket, Some("daemon"), &segment).unwrap();
    let daemon = fs::read_to_string("/etc/group").unwrap();
    let daemon = daemon.lines().find_map(|line| line.strip_prefix("daemon:x:")).unwrap();
    let gid: u32 = daemon.split(':').next().unwrap().parse().unwrap();
    assert_eq!(fs::symlink_metadata(&socket).unwrap().gid(), gid);
}

#[test]
fn servers_that_send_no_segment_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let listener = seqpacket();
    bind(&listener, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    let begin = Instant::now();
    assert!(matches!(Reader::connect(&socket), Err(ReadError::Handshake { .. })), "it is silent");
    assert!(begin.elapsed() < Duration::from_secs(3));
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(Reader::open_fd(file.into()), Err(ReadError::Damaged { .. })), "it is empty");
}

#[test]
fn a_segment_in_ordinary_memory_has_nothing_to_serve() {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::in_heap(Options { size: 1 << 20, ..Options::default() }).unwrap();
    let refused = Server::start(&folder.path().join("stats.sock"), None, &segment);
    assert!(matches!(refused, Err(Error::NotShared)));
}
