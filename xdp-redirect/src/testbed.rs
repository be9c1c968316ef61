//! For this crate's tests: network namespaces of their own, and an AF_XDP socket.
//!
//! Invariant of the `unsafe` here: the frames of a [`Socket`] belong to its fill ring or its receive ring, and are read only
//! between leaving the one and going back to the other.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use xsk_rs::config::{LibxdpFlags, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue, Umem};

use crate::{Error, OwnAddresses};

/// Why tests that need the kernel cannot run here, told on stderr; `None` if they can.
pub(crate) fn skip(test: &str) -> Option<String> {
    let reason = if !rustix::process::geteuid().is_root() {
        "not root".to_owned()
    } else if let Err(error) = Command::new("ip").arg("-V").output() {
        format!("no `ip` command: {error}")
    } else {
        match OwnAddresses::new(1) {
            Err(error @ (Error::NotPermitted { .. } | Error::KernelTooOld { .. })) => error.to_string(),
            _ => return None,
        }
    };
    eprintln!("SKIP {test}: {reason}");
    Some(reason)
}

/// A network namespace with a name, deleted on drop.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("weir-xdp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(&format!("ip netns add {name}"));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip` with these words inside.
    pub(crate) fn ip(&self, words: &str) -> String {
        run(&format!("ip -n {} {words}", self.name))
    }

    /// Runs `work` on a thread of its own inside.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter(&self.name);
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub(crate) fn ifindex(&self, device: &str) -> u32 {
        let line = self.ip(&format!("-o link show dev {device}"));
        line.split(':').next().unwrap().parse().unwrap()
    }

    /// Whether an XDP program of any kind is on the device.
    pub(crate) fn has_xdp(&self, device: &str) -> bool {
        self.ip(&format!("-details link show dev {device}")).contains("prog/xdp")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let deleted = Command::new("ip").args(["netns", "del", &self.name]).status();
        assert!(thread::panicking() || deleted.is_ok_and(|status| status.success()), "{} stays", self.name);
    }
}

/// Moves the calling thread into the namespace `name`.
pub(crate) fn enter(name: &str) {
    let file = File::open(format!("/run/netns/{name}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// Runs a command line without quotes, and returns what it printed.
pub(crate) fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The right host's address.
pub(crate) const RIGHT: &str = "198.51.100.2";
/// The router's own address on the left host's side.
pub(crate) const ROUTER: &str = "192.0.2.1";

/// Two hosts and a router between them, whose kernel forwards:
/// `left` 192.0.2.2 ─ 192.0.2.1 `west` **router** `east` 198.51.100.1 ─ 198.51.100.2 `right`.
pub(crate) struct Path {
    pub(crate) left: Namespace,
    pub(crate) router: Namespace,
    pub(crate) right: Namespace,
}

impl Path {
    pub(crate) fn new() -> Self {
        let path = Self { left: Namespace::new(), router: Namespace::new(), right: Namespace::new() };
        path.router.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        for (device, host, net) in [("west", &path.left, "192.0.2"), ("east", &path.right, "198.51.100")] {
            path.router.ip(&format!("link add {device} type veth peer name eth netns {}", host.name));
            path.router.ip(&format!("address add {net}.1/24 dev {device}"));
            path.router.ip(&format!("link set {device} up"));
            host.ip(&format!("address add {net}.2/24 dev eth"));
            host.ip("link set eth up");
            host.ip(&format!("route add default via {net}.1"));
        }
        // The kernel may take up to a second to notice that a new link has a carrier (linkwatch), and drops packets until then.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !path.reaches(&path.right, RIGHT) {
            assert!(Instant::now() < deadline, "the router's kernel does not forward");
        }
        path
    }

    /// Whether a datagram from the left host reaches `address` in `namespace` within half a second of trying.
    pub(crate) fn reaches(&self, namespace: &Namespace, address: &str) -> bool {
        let receiver = namespace.inside(|| UdpSocket::bind((address, 4000)).unwrap());
        receiver.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let sender = self.left.inside(|| UdpSocket::bind("192.0.2.2:0").unwrap());
        let deadline = Instant::now() + Duration::from_millis(500);
        while Instant::now() < deadline {
            sender.send_to(PAYLOAD, (address, 4000)).unwrap();
            let mut buffer = [0; 64];
            match receiver.recv(&mut buffer) {
                Ok(length) => {
                    assert_eq!(&buffer[..length], PAYLOAD);
                    return true;
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => panic!("{error}"),
                },
            }
        }
        false
    }
}

/// What [`Path::reaches`] sends.
pub(crate) const PAYLOAD: &[u8] = b"from the left host";

/// An AF_XDP socket on one queue of a device, all of its frames in the fill ring.
pub(crate) struct Socket {
    umem: Umem,
    rx: RxQueue,
    fill: FillQueue,
    _rest: (TxQueue, CompQueue),
}

impl Socket {
    /// For a device of the calling thread's namespace.
    pub(crate) fn new(device: &str, queue: u32) -> Self {
        let (umem, frames) = Umem::new(UmemConfig::default(), 64.try_into().unwrap(), false).unwrap();
        let config =
            SocketConfig::builder().libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD).build();
        // SAFETY: the only socket of this queue on this UMEM, and libxdp loads no program.
        let socket = unsafe { xsk_rs::Socket::new(config, &umem, &device.parse().unwrap(), queue) };
        let (tx, rx, rings) = socket.unwrap();
        let (mut fill, completion) = rings.unwrap();
        // SAFETY: nothing else has used the frames yet.
        assert_eq!(unsafe { fill.produce(&frames) }, frames.len());
        Self { umem, rx, fill, _rest: (tx, completion) }
    }

    /// The next frame's bytes, waiting for at most `timeout`.
    pub(crate) fn receive(&mut self, timeout: Duration) -> Option<Vec<u8>> {
        let mut frame = FrameDesc::default();
        let timeout = i32::try_from(timeout.as_millis()).unwrap();
        // SAFETY: the descriptor is overwritten with the received frame's, which belongs to this UMEM.
        if unsafe { self.rx.poll_and_consume_one(&mut frame, timeout) }.unwrap() == 0 {
            return None;
        }
        // SAFETY: the frame has left the receive ring and is not in the fill ring yet.
        let bytes = unsafe { self.umem.data(&frame) }.contents().to_vec();
        // SAFETY: nobody reads the frame any more.
        unsafe { self.fill.produce_one(&frame) };
        Some(bytes)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the queue keeps the socket open for as long as it lives, hence for the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }
}
