//! For this crate's tests: network namespaces of their own, and an AF_XDP socket.
//!
//! Invariant of the `unsafe` here: libbpf is given open descriptors, and what it returns is owned by nobody else; a frame of a [`Socket`] is read only when the kernel has put it into the receive ring; it never gets it back.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libbpf_rs::libbpf_sys;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::net::netdevice::name_to_index;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_UMEM_PGOFF_FILL_RING, XdpDesc, XdpRingOffset,
    XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

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

/// What a kernel with VLANs does at a device of the calling thread's namespace, until it is dropped: the tags lie beside the frames.
pub(crate) struct Tagging {
    _link: OwnedFd,
}

impl Tagging {
    /// Frames that leave get a tag of 802.1Q.
    pub(crate) fn push(ifindex: u32, vlan: u16) -> Self {
        let arguments = [(2, i32::from(0x8100_u16.to_be())), (3, vlan.into())];
        Self::call(ifindex, libbpf_sys::BPF_TCX_EGRESS, libbpf_sys::BPF_FUNC_skb_vlan_push, &arguments)
    }

    /// Frames that come in lose one.
    pub(crate) fn pop(ifindex: u32) -> Self {
        Self::call(ifindex, libbpf_sys::BPF_TCX_INGRESS, libbpf_sys::BPF_FUNC_skb_vlan_pop, &[])
    }

    fn call(ifindex: u32, place: u32, function: u32, arguments: &[(u8, i32)]) -> Self {
        use libbpf_sys::{BPF_ALU64, BPF_CALL, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV, bpf_insn};
        let operation = |code: u32, target: u8, immediate: i32| {
            let mut instruction = bpf_insn { code: code as u8, imm: immediate, ..Default::default() };
            instruction.set_dst_reg(target);
            instruction
        };
        let set = |(target, value): (u8, i32)| operation(BPF_ALU64 | BPF_MOV | BPF_K, target, value);
        let mut program: Vec<bpf_insn> = arguments.iter().copied().map(set).collect();
        program.push(operation(BPF_JMP | BPF_CALL, 0, function as i32));
        program.push(set((0, 0))); // TCX_PASS
        program.push(operation(BPF_JMP | BPF_EXIT, 0, 0));
        let owned = |result: i32| {
            assert!(result >= 0, "{}", std::io::Error::from_raw_os_error(-result));
            // SAFETY: the kernel has just made this descriptor for us.
            unsafe { OwnedFd::from_raw_fd(result) }
        };
        // SAFETY: no options are given, the strings end in a zero, and the program is as long as is said.
        let program = owned(unsafe {
            libbpf_sys::bpf_prog_load(
                libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
                c"weir_tag".as_ptr(),
                c"BSD".as_ptr(),
                program.as_ptr(),
                program.len() as libbpf_sys::size_t,
                ptr::null_mut(),
            )
        });
        // SAFETY: the program is open; no options are given.
        let link = owned(unsafe {
            libbpf_sys::bpf_link_create(program.as_raw_fd(), ifindex as i32, place, ptr::null())
        });
        Self { _link: link }
    }
}

/// An AF_XDP socket on one queue of a device: it receives into as many frames as it has, once.
pub(crate) struct Socket {
    descriptor: OwnedFd,
    frames: Mapped,
    rx: Mapped,
    offsets: XdpRingOffset,
    next: u32,
    _fill: Mapped,
}

/// Pages, unmapped when dropped: a ring that is mapped keeps its socket open.
struct Mapped {
    start: *mut u8,
    length: usize,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `Socket::new`, so long, and not unmapped before.
        unsafe { munmap(self.start.cast(), self.length) }.unwrap();
    }
}

/// Frames of a [`Socket`], and entries of its rings.
const FRAMES: u32 = 512;
/// Bytes of each.
const FRAME: u32 = 4096;

impl Socket {
    /// For a device of the calling thread's namespace.
    pub(crate) fn new(device: &str, queue: u32) -> Self {
        let descriptor =
            socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap();
        let (protection, length) = (ProtFlags::READ | ProtFlags::WRITE, (FRAMES * FRAME) as usize);
        // SAFETY: the kernel chooses where, so nothing that is there is replaced.
        let frames =
            unsafe { mmap_anonymous(ptr::null_mut(), length, protection, MapFlags::PRIVATE) }.unwrap();
        sockopt::set_xdp_umem_reg(
            &descriptor,
            XdpUmemReg {
                addr: frames as u64,
                len: length as u64,
                chunk_size: FRAME,
                headroom: 0,
                flags: XdpUmemRegFlags::empty(),
                tx_metadata_len: 0,
            },
        )
        .unwrap();
        sockopt::set_xdp_umem_fill_ring_size(&descriptor, FRAMES).unwrap();
        sockopt::set_xdp_umem_completion_ring_size(&descriptor, FRAMES).unwrap();
        sockopt::set_xdp_rx_ring_size(&descriptor, FRAMES).unwrap();
        let offsets = sockopt::xdp_mmap_offsets(&descriptor).unwrap();
        let ring = |at: &XdpRingOffset, entry: usize, page| {
            let length = at.desc as usize + entry * FRAMES as usize;
            // SAFETY: as above.
            let start =
                unsafe { mmap(ptr::null_mut(), length, protection, MapFlags::SHARED, &descriptor, page) };
            Mapped { start: start.unwrap().cast(), length }
        };
        let fill = ring(&offsets.fr, size_of::<u64>(), XDP_UMEM_PGOFF_FILL_RING);
        let rx = ring(&offsets.rx, size_of::<XdpDesc>(), XDP_PGOFF_RX_RING);
        // SAFETY: the offsets lie in the ring, which nobody else fills.
        unsafe {
            let addresses = fill.start.add(offsets.fr.desc as usize).cast::<u64>();
            (0..FRAMES).for_each(|frame| addresses.add(frame as usize).write(u64::from(frame * FRAME)));
            let producer = fill.start.add(offsets.fr.producer as usize).cast::<AtomicU32>();
            (*producer).store(FRAMES, Ordering::Release);
        }
        let any = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
        let index = name_to_index(any, device).unwrap();
        bind(&descriptor, &SocketAddrXdp::new(SocketAddrXdpFlags::empty(), index, queue)).unwrap();
        let frames = Mapped { start: frames.cast(), length };
        Self { descriptor, frames, rx, offsets: offsets.rx, next: 0, _fill: fill }
    }

    /// The next frame's bytes, waiting for at most `timeout`.
    pub(crate) fn receive(&mut self, timeout: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        // SAFETY: the offset lies in the ring.
        let received = unsafe { &*self.rx.start.add(self.offsets.producer as usize).cast::<AtomicU32>() };
        while received.load(Ordering::Acquire) == self.next {
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert!(self.next < FRAMES, "no frames are left");
        // SAFETY: the kernel has written this descriptor and the frame that it names, and writes neither again.
        unsafe {
            let descriptors = self.rx.start.add(self.offsets.desc as usize).cast::<XdpDesc>();
            let descriptor = descriptors.add(self.next as usize).read();
            self.next += 1;
            let bytes = self.frames.start.add(descriptor.addr as usize);
            Some(std::slice::from_raw_parts(bytes, descriptor.len as usize).to_vec())
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
