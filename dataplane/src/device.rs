//! What netlink does not tell about a network device, and what it can't be asked.
//!
//! Invariant of the `unsafe` here: the kernel is given structures of the layout that its headers say, which outlive the call.

use std::{io, mem};

use rustix::{
    fd::{AsRawFd, OwnedFd},
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};

/// ETHTOOL_GCHANNELS (linux/ethtool.h): get the number of channels.
const ETHTOOL_GCHANNELS: u32 = 0x3c;
/// ETHTOOL_GFLAGS (linux/ethtool.h): get flags, of which one is that tags are taken off received frames.
const ETHTOOL_GFLAGS: u32 = 0x25;
/// ETH_FLAG_RXVLAN (linux/ethtool.h).
const FLAG_RXVLAN: u32 = 1 << 8;

/// `struct ethtool_channels` (linux/ethtool.h).
#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}

/// `struct ethtool_value` (linux/ethtool.h).
#[repr(C)]
#[derive(Default)]
struct Flags {
    cmd: u32,
    data: u32,
}

/// Receive queues in use on a device: what `ethtool -l` shows. A driver that has no such setting has one.
pub fn rx_queues(device: &str) -> io::Result<u32> {
    let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
    // SAFETY: the command and its structure belong together.
    match unsafe { ethtool(device, &mut channels) } {
        Ok(()) => Ok((channels.combined_count + channels.rx_count).max(1)),
        Err(error) => match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::EPERM) => Ok(1),
            _ => Err(error),
        },
    }
}

/// Whether the device takes VLAN tags off frames before anybody sees them: `rx-vlan-offload` of `ethtool -k`. A driver that does not say does not.
pub fn takes_tags_off(device: &str) -> bool {
    let mut flags = Flags { cmd: ETHTOOL_GFLAGS, ..Flags::default() };
    // SAFETY: the command and its structure belong together.
    unsafe { ethtool(device, &mut flags) }.is_ok() && flags.data & FLAG_RXVLAN != 0
}

/// # Safety
/// `command` is the structure that the command in its first word reads and writes.
unsafe fn ethtool<T>(device: &str, command: &mut T) -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: a structure of integers, bytes and pointers; all zero is a value of it.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut *command).cast();
    // SAFETY: the kernel reads the request, and reads and writes a `T` through its pointer; both outlive the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes the device with this interface index receive frames to all MAC addresses for as long as the socket lives; the kernel takes that back when it is
/// closed, however the process ends.
pub fn promiscuous(index: u32) -> io::Result<OwnedFd> {
    // Protocol 0: it receives nothing.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let member = libc::packet_mreq {
        mr_ifindex: index.cast_signed(),
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: the kernel reads a `packet_mreq` of this size; it outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const member).cast(),
            size_of_val(&member) as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}
