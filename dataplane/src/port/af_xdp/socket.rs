//! An AF_XDP socket: how it is made, and what the kernel counts on it.

use std::{
    any::Any,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, SocketFlags, SocketType, bind,
        netdevice::name_to_index,
        socket_with,
        sockopt::{
            set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size,
            set_xdp_umem_fill_ring_size, set_xdp_umem_reg, xdp_mmap_offsets, xdp_statistics,
        },
        xdp::{
            SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING,
            XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpDesc,
            XdpRingOffset, XdpUmemReg, XdpUmemRegFlags,
        },
    },
};

use super::{
    super::assembly::Lost,
    RING,
    mapping::Mapping,
    ring::{Consumer, Producer, Ring},
};

/// A socket that has its rings, and is not bound yet.
pub(super) struct Socket {
    pub(super) descriptor: OwnedFd,
    pub(super) rx: Consumer<XdpDesc>,
    pub(super) tx: Producer<XdpDesc>,
    /// Addresses of frames to receive into.
    pub(super) fill: Producer<u64>,
    /// Addresses of frames that have been sent.
    pub(super) completion: Consumer<u64>,
}

/// A descriptor of this kind of socket, with no rings and no memory.
pub(super) fn descriptor() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

/// The index of a device by its name.
pub(super) fn device_index(device: &str) -> io::Result<u32> {
    // AF_XDP sockets don't answer this.
    let any = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(name_to_index(any, device)?)
}

/// Makes memory known to the kernel, as the memory of this socket and of all that will share it.
pub(super) fn register(socket: &OwnedFd, memory: &Mapping, chunk: u32) -> io::Result<()> {
    let registration = XdpUmemReg {
        addr: memory.start().addr().get() as u64,
        len: memory.length() as u64,
        chunk_size: chunk,
        headroom: 0,
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    Ok(set_xdp_umem_reg(socket, registration)?)
}

impl Socket {
    /// Gives a descriptor its four rings.
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<Socket> {
        set_xdp_umem_fill_ring_size(&descriptor, RING)?;
        set_xdp_umem_completion_ring_size(&descriptor, RING)?;
        set_xdp_rx_ring_size(&descriptor, RING)?;
        set_xdp_tx_ring_size(&descriptor, RING)?;
        let offsets = xdp_mmap_offsets(&descriptor)?;
        let rx = Consumer::new(ring(&descriptor, &offsets.rx, XDP_PGOFF_RX_RING)?);
        let tx = Producer::new(ring(&descriptor, &offsets.tx, XDP_PGOFF_TX_RING)?);
        let fill = Producer::new(ring(&descriptor, &offsets.fr, XDP_UMEM_PGOFF_FILL_RING)?);
        let completion = Consumer::new(ring(&descriptor, &offsets.cr, XDP_UMEM_PGOFF_COMPLETION_RING)?);
        enlarge(&descriptor);
        Ok(Socket { descriptor, rx, tx, fill, completion })
    }

    /// Binds the socket to a queue: with memory of its own and these flags, or with that of another socket, whose flags it takes over.
    pub(super) fn bind(
        &self,
        device: u32,
        queue: u32,
        flags: SocketAddrXdpFlags,
        shared: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        Ok(match shared {
            None => bind(&self.descriptor, &SocketAddrXdp::new(flags, device, queue)),
            Some(shared_umem_fd) => {
                let addr = SocketAddrXdp::new(SocketAddrXdpFlags::XDP_SHARED_UMEM, device, queue);
                bind(&self.descriptor, &SocketAddrXdpWithSharedUmem { addr, shared_umem_fd })
            }
        }?)
    }

    /// Has the kernel send what is in the tx ring. What keeps it from that for now, or for as long as the link is down, is no error: the ring keeps it.
    pub(super) fn wake_transmit(&self) -> io::Result<()> {
        // SAFETY: the socket is open, and no byte is read.
        let sent = unsafe {
            libc::sendto(
                self.descriptor.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::ENETDOWN) => Ok(()),
            _ => Err(error),
        }
    }

    /// Tells a driver that sleeps for want of frames that there are some.
    pub(super) fn wake_receive(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Best effort: it is done again with the next frames.
        let _ = poll(&mut [PollFd::new(&self.descriptor, PollFlags::IN)], Some(&now));
    }
}

fn ring<T: Copy>(socket: &OwnedFd, offsets: &XdpRingOffset, page: u64) -> io::Result<Ring<T>> {
    let length = offsets.desc as usize + size_of::<T>() * RING as usize;
    let mapping = Mapping::of(socket.as_fd(), length, page)?;
    let (base, memory): (_, Box<dyn Any + Send>) = (mapping.start(), Box::new(mapping));
    // SAFETY: the mapping is so long and goes along; entries are integers; each of the socket's rings is mapped once, for one side.
    unsafe { Ring::new(base, length, offsets, RING, memory) }
}

/// XDP_MAX_TX_SKB_BUDGET (linux/if_xdp.h, Linux 6.18): packets that one wake-up may send in copy mode, 32 by default.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// Lets one wake-up send a whole ring, and lets as many packets be under way in copy mode. Best effort: older kernels and unprivileged
/// processes keep the defaults, which only cost speed.
fn enlarge(socket: &OwnedFd) {
    let set = |level, name, value: libc::c_int| {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the socket is open, and the option is an int that outlives the call.
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) }
    };
    set(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, RING as libc::c_int);
    // An skb of a small packet counts some 768 bytes (copy mode).
    set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, (RING * 4096) as libc::c_int);
}

/// What the kernel has counted on a socket (`struct xdp_statistics`, linux/if_xdp.h).
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketCounters {
    /// Packets dropped because the rx ring was full.
    pub rx_ring_full: u64,
    /// Packets dropped because the fill ring was empty.
    pub fill_ring_empty: u64,
    /// Packets dropped for other reasons: too large, for the kernel or for weir.
    pub rx_dropped: u64,
    /// Descriptors to send that the kernel refused.
    pub tx_invalid: u64,
}

/// The control thread's view of a socket that a worker owns: its kernel counters. A duplicate descriptor, so it is valid for as long as it
/// lives; the socket is released when both are gone.
pub struct SocketMonitor {
    descriptor: OwnedFd,
    lost: Lost,
}

impl SocketMonitor {
    pub(super) fn new(descriptor: OwnedFd, lost: Lost) -> SocketMonitor {
        SocketMonitor { descriptor, lost }
    }

    /// Reads the kernel's counters, and the port's own of packets that it could not put together.
    pub fn counters(&self) -> io::Result<SocketCounters> {
        let raw = xdp_statistics(&self.descriptor)?;
        Ok(SocketCounters {
            rx_ring_full: raw.rx_ring_full.unwrap_or_default(),
            fill_ring_empty: raw.rx_fill_ring_empty_descs.unwrap_or_default(),
            rx_dropped: raw.rx_dropped + self.lost.count(),
            tx_invalid: raw.tx_invalid_descs,
        })
    }
}
