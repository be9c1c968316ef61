//! AF_XDP sockets: the one place where frames go into rings that the kernel shares, and come out of them.
//!
//! ```text
//!          fill ring ──▶ kernel ──▶ rx ring            one set of four rings for each (device, queue), all over one UMEM:
//!   pool ◀───────┐                     │ receive        a frame that came in by one device leaves by another without a copy,
//!     └─ reap ───┤                     ▼                and completes there
//!          completion ring ◀── kernel ◀── tx ring ◀── send
//! ```
//! **Invariant.** A frame is owned by the pool, a `Packet`, or exactly one ring. A frame's number goes into a ring only by giving up its
//! `FrameId` or `Packet`, and comes out of one only by `FrameId::returned`, once for each descriptor that the kernel hands back.
//! Descriptors have no owner; here is where they get one.

mod mapping;
mod ring;
mod socket;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::net::xdp::{SocketAddrXdpFlags, XdpDesc, XdpDescOptions};
use weir_graph::{
    frames::{FrameId, FramePool, Frames, HEADROOM, Part},
    node::VECTOR,
    packet::{Packet, PortIndex},
};

use self::{mapping::Mapping, socket::Socket};
use super::{Held, Port, Sent, assembly::Assembly};

pub use self::socket::{SocketCounters, SocketMonitor};

/// Descriptors in each of the four rings of a queue. Smaller overflows on bursts of a scheduling tick; larger keeps more memory
/// cold. The completion ring is as large as the tx ring, or sending would stall (reference: kernel `xsk_cq_reserve_locked`).
pub const RING: u32 = 2048;
/// Frames of a queue: full fill and tx rings, and vectors under way between them.
pub const FRAMES_PER_QUEUE: u32 = 2 * RING + 2 * VECTOR as u32;
/// Chunks that AF_XDP takes where a page has 4 KiB: packets lie in several of the larger ones rather than in more of the smaller.
const CHUNK_SHIFTS: [u32; 2] = [11, 12];
/// The largest MTU of a port: what cards call jumbo frames. Packets of it take three frames of 4 KiB, or six of 2 KiB.
pub const LARGEST_MTU: u32 = 9000;
/// Bytes in front of what the MTU counts: an Ethernet header and two tags.
const LINK_HEADERS: u32 = 22;

/// How large the frames are, and the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    shift: u32,
    /// Every packet fits into one frame.
    one_each: bool,
}

impl Chunk {
    /// For ports with at most this MTU: as small as packets fit into one, otherwise as large as AF_XDP takes.
    pub fn of(mtu: u32) -> Chunk {
        let largest = mtu.saturating_add(LINK_HEADERS);
        let fits = |shift: &u32| largest <= (1 << shift) - u32::from(HEADROOM);
        let one = CHUNK_SHIFTS.into_iter().find(fits);
        Chunk { shift: one.unwrap_or(CHUNK_SHIFTS[CHUNK_SHIFTS.len() - 1]), one_each: one.is_some() }
    }

    /// Bytes of a frame.
    pub fn bytes(self) -> u32 {
        1 << self.shift
    }

    /// The largest MTU whose packets fit into one frame.
    fn mtu(self) -> u32 {
        self.bytes() - u32::from(HEADROOM) - LINK_HEADERS
    }
}

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
    /// The socket that it is registered on, and the first that is bound: the others share its memory.
    umem: OwnedFd,
    /// The first socket, if it has its rings, which it gets once, and could not be bound: the queue may be free the next time.
    unbound: Option<Socket>,
    chunk: Chunk,
    /// What the first socket has been bound with, which the others take over; `None`: there is none yet.
    bound: Option<SocketAddrXdpFlags>,
    /// The frames.
    pub frames: Arc<Frames>,
}

impl Memory {
    /// Registers `count` frames, and returns the ownership of each.
    pub fn new(count: u32, chunk: Chunk) -> Result<(Memory, Vec<FrameId>), OpenError> {
        let bytes = (count as usize) << chunk.shift;
        let refused = |source: io::Error| OpenError::Umem { mib: bytes >> 20, source };
        let umem = socket::descriptor().map_err(refused)?;
        let mapping = Mapping::anonymous(bytes).map_err(refused)?;
        socket::register(&umem, &mapping, chunk.bytes()).map_err(refused)?;
        let base = mapping.start();
        // SAFETY: the mapping is `count` chunks long from `base` and goes along, and from here on nothing reads or writes it but through `Frames` and the kernel.
        let (frames, ids) = unsafe { Frames::new(base, count, chunk.shift, Box::new(mapping)) };
        Ok((Memory { umem, unbound: None, chunk, bound: None, frames }, ids))
    }

    /// Binds a socket to one queue of a device. Packets come once its descriptor is in the XDP program's map.
    pub fn open(&mut self, index: PortIndex, device: &str, queue: u32) -> Result<AfXdpPort, OpenError> {
        let socket = self.bind(device, queue).map_err(|source| OpenError::Socket {
            device: device.to_owned(),
            queue,
            hint: hint(&source),
            source,
        })?;
        let frames = self.frames.clone();
        let assembly = Assembly::new(index, frames.clone(), RING as usize);
        Ok(AfXdpPort { frames, assembly, socket, shift: self.chunk.shift, filled: 0, sending: 0 })
    }

    /// Whether packets may lie in several frames. Known when a port has been opened.
    pub fn takes_several(&self) -> bool {
        self.bound.is_some_and(|flags| flags.contains(SocketAddrXdpFlags::XDP_USE_SG))
    }

    /// The largest MTU of a port. Known when one has been opened.
    pub fn largest_mtu(&self) -> u32 {
        if self.takes_several() { LARGEST_MTU } else { self.chunk.mtu() }
    }

    fn bind(&mut self, device: &str, queue: u32) -> io::Result<Socket> {
        let device = socket::device_index(device)?;
        if self.bound.is_some() {
            let socket = Socket::new(socket::descriptor()?)?;
            socket.bind(device, queue, SocketAddrXdpFlags::XDP_SHARED_UMEM, Some(self.umem.as_fd()))?;
            return Ok(socket);
        }
        let socket = match self.unbound.take() {
            Some(socket) => socket,
            None => Socket::new(self.umem.try_clone()?)?,
        };
        match self.bind_first(&socket, device, queue) {
            Ok(flags) => {
                self.bound = Some(flags);
                Ok(socket)
            }
            Err(error) => {
                self.unbound = Some(socket);
                Err(error)
            }
        }
    }

    /// Binds the first socket in the best way that the driver and the kernel have.
    fn bind_first(&self, socket: &Socket, device: u32, queue: u32) -> io::Result<SocketAddrXdpFlags> {
        let (several, zero_copy) = (SocketAddrXdpFlags::XDP_USE_SG, SocketAddrXdpFlags::XDP_ZEROCOPY);
        // What is best comes first. Left the choice, the kernel would rather copy than do without several frames a packet, which nobody may need.
        let without_several = if self.chunk.one_each { zero_copy } else { several };
        let wishes = [several | zero_copy, without_several, several, SocketAddrXdpFlags::empty()];
        let mut refusal = io::Error::from(io::ErrorKind::Unsupported);
        for wish in wishes {
            let flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP | wish;
            match socket.bind(device, queue, flags, None) {
                Ok(()) => return Ok(flags),
                // The driver can't do it, or the kernel does not know it (several frames: Linux 6.6).
                Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
                    refusal = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal)
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

/// One AF_XDP socket.
pub struct AfXdpPort {
    frames: Arc<Frames>,
    assembly: Assembly,
    socket: Socket,
    /// A frame has 2^`shift` bytes.
    shift: u32,
    /// Frames in the fill ring, in the kernel, or in the rx ring.
    filled: usize,
    /// Frames in the tx ring, in the kernel, or in the completion ring.
    sending: usize,
}

impl AfXdpPort {
    /// The socket, for the XDP program's map.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.descriptor.as_fd()
    }

    /// A handle for the control thread.
    pub fn monitor(&self) -> io::Result<SocketMonitor> {
        Ok(SocketMonitor::new(self.socket.descriptor.try_clone()?, self.assembly.lost().clone()))
    }

    /// The frame that an address lies in.
    #[inline(always)]
    fn frame_of(&self, address: u64) -> u32 {
        (address >> self.shift) as u32
    }
}

impl Port for AfXdpPort {
    fn receive(&mut self, packets: &mut Vec<Packet>, limit: usize) {
        for _ in 0..limit {
            let Some(XdpDesc { addr, len, options }) = self.socket.rx.pop() else { break };
            self.filled -= 1;
            // SAFETY: the frame went into the fill ring as a FrameId, and the kernel gives it back here, once.
            let frame = unsafe { FrameId::returned(self.frame_of(addr)) };
            let start = addr as usize & (self.frames.chunk() - 1);
            let continued = options.contains(XdpDescOptions::XDP_PKT_CONTD);
            self.assembly.take(frame, start, len as usize, continued, packets);
        }
        self.socket.rx.release();
    }

    fn send(&mut self, packets: &mut Vec<Packet>) -> Sent {
        let AfXdpPort { frames, socket: Socket { tx, .. }, shift, .. } = self;
        let mut descriptors = 0;
        let fits = packets.iter().take_while(|packet| {
            let wanted = descriptors + frames.count_of(packet);
            let fits = tx.room(wanted as u32) as usize >= wanted;
            descriptors = if fits { wanted } else { descriptors };
            fits
        });
        let count = fits.count();
        let mut sent = Sent { packets: count as u64, bytes: 0 };
        for packet in packets.drain(..count) {
            let mut rest = packet.len();
            sent.bytes += u64::from(rest);
            for Part { frame, start, len } in frames.parts(packet) {
                rest = rest.saturating_sub(len);
                let options = if rest > 0 { XdpDescOptions::XDP_PKT_CONTD } else { XdpDescOptions::empty() };
                // The ring owns the frame from here on.
                let addr = (u64::from(frame.into_index()) << *shift) + u64::from(start);
                let fits = tx.push(XdpDesc { addr, len: len.into(), options });
                debug_assert!(fits);
            }
        }
        tx.publish();
        self.sending += descriptors;
        sent
    }

    fn reap(&mut self, pool: &mut FramePool) {
        self.assembly.reclaim(pool);
        if self.sending > 0 {
            while let Some(address) = self.socket.completion.pop() {
                // SAFETY: the frame went into the tx ring as a Packet, and the kernel gives it back here, once.
                pool.put(unsafe { FrameId::returned(self.frame_of(address)) });
                self.sending -= 1;
            }
            self.socket.completion.release();
        }
        // Refilled in batches: a few descriptors at a time would share their cache line with the kernel again and again.
        while RING as usize - self.filled >= VECTOR && pool.available() >= VECTOR {
            if (self.socket.fill.room(VECTOR as u32) as usize) < VECTOR {
                break;
            }
            for _ in 0..VECTOR {
                let Some(frame) = pool.take() else { break };
                let fits = self.socket.fill.push(u64::from(frame.into_index()) << self.shift); // the ring owns it now
                debug_assert!(fits);
                self.filled += 1;
            }
            self.socket.fill.publish();
        }
        // In zero-copy mode a driver that ran out of frames sleeps until it is told of new ones; in copy mode this is never so.
        if self.socket.fill.needs_wakeup() {
            self.socket.wake_receive();
        }
    }

    fn kick(&mut self) -> io::Result<bool> {
        if self.sending == 0 || self.socket.tx.is_empty() {
            return Ok(false); // the kernel has taken all; it gives the frames back when it is done
        }
        if self.socket.tx.needs_wakeup() {
            self.socket.wake_transmit()?;
        }
        Ok(!self.socket.tx.is_empty())
    }

    fn frames(&self) -> Held {
        Held { receive: self.filled + self.assembly.held(), transmit: self.sending }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_as_small_as_packets_fit_into_one() {
        for (mtu, shift, one_each, most) in [
            (0, 11, true, 1770),
            (1500, 11, true, 1770),
            (1770, 11, true, 1770),
            (1771, 12, true, 3818),
            (3818, 12, true, 3818),
            (3819, 12, false, 3818),
            (9000, 12, false, 3818),
            (u32::MAX, 12, false, 3818),
        ] {
            let chunk = Chunk::of(mtu);
            assert_eq!((chunk, chunk.mtu()), (Chunk { shift, one_each }, most), "{mtu}");
        }
    }
}
