//! AF_XDP sockets through xsk-rs: the one place that touches rings which the kernel shares.
//!
//! ```text
//!          fill ring ──▶ kernel ──▶ rx ring            one set of four rings for each (device, queue), all over one UMEM:
//!   pool ◀───────┐                     │ receive        a frame that came in by one device leaves by another without a copy,
//!     └─ reap ───┤                     ▼                and completes there
//!          completion ring ◀── kernel ◀── tx ring ◀── send
//! ```
//! **Invariant.** A frame is owned by the pool, a `Packet`, or exactly one ring. A frame's number goes into a ring only by giving up its
//! `FrameId` or `Packet`, and comes out of one only by `FrameId::returned`, once for each descriptor that the kernel hands back.
//! xsk-rs gives descriptors no owner; here is where they get one.

use std::{
    ffi::CString,
    io,
    num::NonZeroU32,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::Arc,
};

use weir_graph::{
    frames::{FrameId, FramePool, Frames},
    node::VECTOR,
    packet::{Packet, PortIndex},
};
use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem,
    config::{
        BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfigBuilder, UmemConfigBuilder,
    },
};

use super::{Held, Port, Sent};

/// Descriptors in each of the four rings of a queue. Smaller overflows on bursts of a scheduling tick; larger keeps more memory
/// cold. The completion ring is as large as the tx ring, or sending would stall (reference: kernel `xsk_cq_reserve_locked`).
pub const RING: u32 = 2048;
/// Frames of a queue: full fill and tx rings, and vectors under way between them.
pub const FRAMES_PER_QUEUE: u32 = 2 * RING + 2 * VECTOR as u32;
/// Bytes of a frame: the smallest chunk that AF_XDP takes; 256 are the kernel's headroom, so packets of up to 1792 fit.
const CHUNK_SHIFT: u32 = 11;
/// The same in bytes.
pub const CHUNK: u32 = 1 << CHUNK_SHIFT;
/// Largest frame that a port can receive or send, Ethernet header included.
pub const MAX_FRAME: usize = (1 << CHUNK_SHIFT) - XDP_PACKET_HEADROOM as usize;
/// Bytes that the kernel keeps free in front of a packet (XDP_PACKET_HEADROOM, linux/bpf.h).
const XDP_PACKET_HEADROOM: u16 = 256;

/// Why a port can't be opened; every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The UMEM was refused.
    #[error(
        "no memory for packets: the kernel refused a UMEM of {mib} MiB ({source}); run weir as root or with CAP_IPC_LOCK, or raise \
         the locked-memory limit (ulimit -l)"
    )]
    Umem {
        /// Its size.
        mib: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket was refused.
    #[error("{device} queue {queue}: no AF_XDP socket: {hint} ({source})")]
    Socket {
        /// The device.
        device: String,
        /// The queue.
        queue: u32,
        /// What to do.
        hint: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The memory of all ports, registered with the kernel.
pub struct Memory {
    umem: Umem,
    /// One descriptor for each frame, as the kernel wants it: its packet starts at the headroom.
    descriptors: Arc<[FrameDesc]>,
    /// The frames.
    pub frames: Arc<Frames>,
}

impl Memory {
    /// Registers `count` frames, and returns the ownership of each.
    pub fn new(count: u32) -> Result<(Memory, Vec<FrameId>), OpenError> {
        let mib = ((count as usize) << CHUNK_SHIFT) >> 20;
        let refused = |source: io::Error| OpenError::Umem { mib, source };
        let ring = QueueSize::new(RING).map_err(|error| refused(io::Error::other(error)))?;
        let chunk = FrameSize::new(1 << CHUNK_SHIFT).map_err(|error| refused(io::Error::other(error)))?;
        let config = UmemConfigBuilder::new()
            .frame_size(chunk)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()
            .map_err(|error| refused(io::Error::other(error)))?;
        let count = NonZeroU32::new(count).ok_or_else(|| refused(io::ErrorKind::InvalidInput.into()))?;
        let (umem, descriptors) =
            Umem::new(config, count, false).map_err(|error| refused(os_error(&error)))?;
        let first = descriptors.first().ok_or_else(|| refused(io::ErrorKind::InvalidInput.into()))?;
        // SAFETY: the descriptor is this UMEM's, nobody else has it yet, and only the address is taken.
        let packet = unsafe { umem.data(first) }.contents().as_ptr();
        // SAFETY: the first packet starts one headroom behind the UMEM's first byte.
        let base = unsafe { packet.sub(first.addr()) }.cast_mut();
        let base = NonNull::new(base).ok_or_else(|| refused(io::ErrorKind::InvalidData.into()))?;
        // SAFETY: the UMEM is `count` chunks long from `base`, it lives as long as its clone, and from here on nothing reads or writes it
        // but through `Frames` and the kernel.
        let (frames, ids) = unsafe {
            Frames::new(base, count.get(), CHUNK_SHIFT, XDP_PACKET_HEADROOM, Box::new(umem.clone()))
        };
        Ok((Memory { umem, descriptors: descriptors.into(), frames }, ids))
    }

    /// Binds a socket to one queue of a device. Packets come once its descriptor is in the XDP program's map.
    pub fn open(&self, index: PortIndex, device: &str, queue: u32) -> Result<AfXdpPort, OpenError> {
        let refused = |source: io::Error| OpenError::Socket {
            device: device.to_owned(),
            queue,
            hint: hint(&source),
            source,
        };
        let name = CString::new(device).map_err(|error| refused(io::Error::other(error)))?;
        let ring = QueueSize::new(RING).map_err(|error| refused(io::Error::other(error)))?;
        let config = SocketConfigBuilder::new()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        // SAFETY: no program is loaded by libxdp (the flag), which is what the contract asks for.
        let opened = unsafe { Socket::new(config, &self.umem, &Interface::new(name), queue) };
        let (tx, rx, rings) = opened.map_err(|error| refused(os_error(&error)))?;
        // `None` would mean that this very queue is bound already on this UMEM.
        let (fill, completion) = rings.ok_or_else(|| refused(io::ErrorKind::AddrInUse.into()))?;
        enlarge(rx.fd().as_raw_fd());
        Ok(AfXdpPort {
            index,
            frames: self.frames.clone(),
            descriptors: self.descriptors.clone(),
            umem: self.umem.clone(),
            rx,
            tx,
            fill,
            completion,
            scratch: vec![FrameDesc::default(); VECTOR].into_boxed_slice(),
            filled: 0,
            sending: 0,
        })
    }
}

/// The error number inside xsk-rs's error.
fn os_error(error: &(dyn std::error::Error + 'static)) -> io::Error {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => source
            .raw_os_error()
            .map_or_else(|| io::Error::other(source.to_string()), io::Error::from_raw_os_error),
        None => io::Error::other(error.to_string()),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "run weir as root, or with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF"
        }
        Some(libc::EBUSY) => {
            "another program has this queue: stop it (look for it with `ss --xdp` or `fuser`)"
        }
        Some(libc::ENODEV) => "there is no such device: see `ip link`",
        Some(libc::EINVAL) => {
            "the device has no such queue, or the kernel is too old (5.10 or later is needed): see `ethtool -l`"
        }
        Some(libc::EOPNOTSUPP) => "the driver can't do AF_XDP",
        Some(libc::ENOBUFS | libc::ENOMEM) => "the kernel has no memory for the rings",
        Some(libc::EAFNOSUPPORT) => "the kernel is built without AF_XDP (CONFIG_XDP_SOCKETS)",
        _ => "see the kernel's answer",
    }
}

/// XDP_MAX_TX_SKB_BUDGET (linux/if_xdp.h, Linux 6.18): packets that one wake-up may send in copy mode, 32 by default.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// Lets one wake-up send a whole ring, and lets as many packets be under way in copy mode. Best effort: older kernels and unprivileged
/// processes keep the defaults, which only cost speed.
fn enlarge(socket: i32) {
    let set = |level, name, value: libc::c_int| {
        // SAFETY: the socket is open, and the option is an int that outlives the call.
        unsafe {
            libc::setsockopt(socket, level, name, (&raw const value).cast(), size_of::<libc::c_int>() as u32)
        }
    };
    set(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, RING as libc::c_int);
    // An skb of a small packet counts some 768 bytes (copy mode).
    set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, (RING * 4096) as libc::c_int);
}

/// One AF_XDP socket.
pub struct AfXdpPort {
    index: PortIndex,
    frames: Arc<Frames>,
    descriptors: Arc<[FrameDesc]>,
    umem: Umem,
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    /// Where descriptors pass through.
    scratch: Box<[FrameDesc]>,
    /// Frames in the fill ring, in the kernel, or in the rx ring.
    filled: usize,
    /// Frames in the tx ring, in the kernel, or in the completion ring.
    sending: usize,
}

/// What the kernel has counted on a socket (`struct xdp_statistics`, linux/if_xdp.h).
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketCounters {
    /// Packets dropped because the rx ring was full.
    pub rx_ring_full: u64,
    /// Packets dropped because the fill ring was empty.
    pub fill_ring_empty: u64,
    /// Packets dropped for other reasons: too large for a frame.
    pub rx_dropped: u64,
    /// Descriptors to send that the kernel refused.
    pub tx_invalid: u64,
}

/// The control thread's view of a socket that a worker owns: its kernel counters. A duplicate descriptor, so it is valid for as long as it
/// lives; the socket is released when both are gone.
pub struct SocketMonitor(std::os::fd::OwnedFd);

impl SocketMonitor {
    /// Reads the kernel's counters.
    pub fn counters(&self) -> io::Result<SocketCounters> {
        // SAFETY: a structure of integers; zero is a value of each.
        let mut raw: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::xdp_statistics>() as libc::socklen_t;
        // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_XDP,
                libc::XDP_STATISTICS,
                (&raw mut raw).cast(),
                &raw mut length,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(SocketCounters {
            rx_ring_full: raw.rx_ring_full,
            fill_ring_empty: raw.rx_fill_ring_empty_descs,
            rx_dropped: raw.rx_dropped,
            tx_invalid: raw.tx_invalid_descs,
        })
    }
}

impl AfXdpPort {
    /// The socket, for the XDP program's map.
    pub fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: the queue keeps the socket open for as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }

    /// A handle for the control thread.
    pub fn monitor(&self) -> io::Result<SocketMonitor> {
        Ok(SocketMonitor(self.socket().try_clone_to_owned()?))
    }

    #[inline]
    fn frame_of(address: usize) -> u32 {
        (address >> CHUNK_SHIFT) as u32
    }
}

impl Port for AfXdpPort {
    fn receive(&mut self, packets: &mut Vec<Packet>, limit: usize) {
        let limit = limit.min(VECTOR);
        // SAFETY: descriptors are overwritten with those of this socket's UMEM.
        let count = unsafe { self.rx.consume(&mut self.scratch[..limit]) };
        self.filled -= count;
        for descriptor in &self.scratch[..count] {
            let (address, length) = (descriptor.addr(), descriptor.lengths().data());
            // SAFETY: the frame went into the fill ring as a FrameId, and the kernel gives it back here, once.
            let frame = unsafe { FrameId::returned(Self::frame_of(address)) };
            let start = address & ((1 << CHUNK_SHIFT) - 1);
            match self.frames.packet(frame, start, length, self.index) {
                Ok(packet) => packets.push(packet),
                // The kernel never describes bytes outside a chunk; if it did, the frame is out of use from here on rather than misused.
                Err(frame) => {
                    let _ = frame.into_index();
                }
            }
        }
    }

    fn send(&mut self, packets: &mut Vec<Packet>) -> Sent {
        let mut sent = Sent::default();
        while !packets.is_empty() {
            let room = self.tx.nb_free(VECTOR as u32) as usize;
            let count = packets.len().min(room).min(VECTOR);
            if count == 0 {
                break;
            }
            for (packet, descriptor) in packets.iter().zip(&mut self.scratch[..count]) {
                // Every packet starts at the headroom: the kernel receives there, and fresh ones are made there.
                debug_assert_eq!(packet.start(), XDP_PACKET_HEADROOM);
                *descriptor = self.descriptors[packet.frame() as usize];
                // SAFETY: the packet owns the frame that the descriptor names; only the length is set.
                unsafe { self.umem.data_mut(descriptor) }.cursor().set_pos(usize::from(packet.len()));
                sent.bytes += u64::from(packet.len());
            }
            // SAFETY: these packets are given up right below; there is room for all.
            let produced = unsafe { self.tx.produce(&self.scratch[..count]) };
            debug_assert_eq!(produced, count);
            // The ring owns their frames now.
            packets.drain(..produced).for_each(|packet| {
                let _ = self.frames.free(packet).into_index();
            });
            self.sending += produced;
            sent.packets += produced as u64;
        }
        sent
    }

    fn reap(&mut self, pool: &mut FramePool) {
        while self.sending > 0 {
            // SAFETY: descriptors are overwritten with those of this socket's UMEM.
            let count = unsafe { self.completion.consume(&mut self.scratch) };
            for descriptor in &self.scratch[..count] {
                // SAFETY: the frame went into the tx ring as a Packet, and the kernel gives it back here, once.
                pool.put(unsafe { FrameId::returned(Self::frame_of(descriptor.addr())) });
            }
            self.sending -= count;
            if count < VECTOR {
                break;
            }
        }
        // Refilled in batches: a few descriptors at a time would share their cache line with the kernel again and again.
        while RING as usize - self.filled >= VECTOR && pool.available() >= VECTOR {
            let room = self.fill.nb_free(VECTOR as u32) as usize;
            if room < VECTOR {
                break;
            }
            for descriptor in self.scratch.iter_mut() {
                let Some(frame) = pool.take() else { return };
                *descriptor = self.descriptors[frame.into_index() as usize]; // the ring owns it now
            }
            // SAFETY: these frames have just been given up by the pool; there is room for all.
            let produced = unsafe { self.fill.produce(&self.scratch) };
            debug_assert_eq!(produced, VECTOR);
            self.filled += produced;
        }
        // In zero-copy mode a driver that ran out of frames sleeps until it is told of new ones; in copy mode this is never so.
        if self.fill.needs_wakeup() {
            let _ = self.fill.wakeup(self.rx.fd_mut(), 0);
        }
    }

    fn kick(&mut self) -> io::Result<bool> {
        if self.sending == 0 {
            return Ok(false);
        }
        if self.tx.nb_free_exact() == RING {
            return Ok(false); // the kernel has taken all; it gives the frames back when it is done
        }
        if self.tx.needs_wakeup() {
            self.tx.wakeup()?;
        }
        Ok(self.tx.nb_free_exact() < RING)
    }

    fn frames(&self) -> Held {
        Held { receive: self.filled, transmit: self.sending }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket())
    }
}
