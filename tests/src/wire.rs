//! Whole frames, as they are on the wire: sent and received on a device by `AF_PACKET`.
//!
//! Invariant of the unsafe code: the kernel is handed pointers to values that live until the call returns, with their true
//! sizes.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socket_with};

use crate::namespace::Namespace;

/// Longest frame that a test looks at: jumbo frames with room to spare.
const LONGEST: usize = 16 * 1024;
/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// One end of a wire: a device in a namespace.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// Listens on `device` from now on; frames that the host itself sends there are not heard.
    pub fn open(namespace: &Namespace, device: &str) -> Result<Wire> {
        namespace
            .run(|| Wire::open_here(device))?
            .with_context(|| format!("cannot open a packet socket on {device}"))
    }

    fn open_here(device: &str) -> Result<Wire> {
        // protocol 0 hears nothing; bind names the protocol and the device at once
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let index = rustix::net::netdevice::name_to_index(&socket, device)?;

        let on: libc::c_int = 1;
        for option in [libc::PACKET_IGNORE_OUTGOING, libc::PACKET_AUXDATA] {
            // SAFETY: `on` outlives the call, which reads `size_of` bytes of it.
            let set = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_PACKET,
                    option,
                    (&raw const on).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                )
            };
            ensure!(set == 0, "cannot set packet option {option}: {}", io::Error::last_os_error());
        }

        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: index.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: `address` outlives the call, which reads `size_of` bytes of it.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        ensure!(bound == 0, "cannot bind: {}", io::Error::last_os_error());
        Ok(Wire { socket })
    }

    /// Sends one whole frame, from its destination MAC address to its last byte.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(&self.socket, frame, SendFlags::empty())?;
        ensure!(sent == frame.len(), "only {sent} of {} bytes were sent", frame.len());
        Ok(())
    }

    /// The next frame that `wanted` accepts, or `None` when `patience` is over.
    pub fn receive(&self, patience: Duration, wanted: impl Fn(&[u8]) -> bool) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + patience;
        let mut frame = vec![0; LONGEST];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left))? == 0 {
                return Ok(None);
            }
            let length = self.next(&mut frame)?;
            if wanted(&frame[..length]) {
                frame.truncate(length);
                return Ok(Some(frame));
            }
        }
    }

    /// Takes a frame that is there, whole: the kernel keeps the outermost VLAN tag apart from the bytes. Returns its length.
    fn next(&self, frame: &mut [u8]) -> Result<usize> {
        let mut data = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() - TAG };
        let mut control = [0u64; 16];
        // SAFETY: integers and pointers; all zero is a value of it.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut data;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message points to a buffer and a control buffer of these lengths, which outlive the call.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let mut length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has filled in the control buffer of `message`, which is still there.
        let head = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        if head.is_null() {
            return Ok(length);
        }
        // SAFETY: the only control message of such a socket is its `tpacket_auxdata`; the buffer is aligned for it.
        let auxiliary = unsafe { libc::CMSG_DATA(head).cast::<libc::tpacket_auxdata>().read_unaligned() };
        if auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
            let kind = match auxiliary.tp_status & libc::TP_STATUS_VLAN_TPID_VALID {
                0 => 0x8100,
                _ => auxiliary.tp_vlan_tpid,
            };
            frame.copy_within(12..length, 12 + TAG);
            frame[12..14].copy_from_slice(&kind.to_be_bytes());
            frame[14..16].copy_from_slice(&auxiliary.tp_vlan_tci.to_be_bytes());
            length += TAG;
        }
        Ok(length)
    }
}
