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
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use crate::namespace::Namespace;

/// Longest frame that a test looks at: jumbo frames with room to spare.
const LONGEST: usize = 16 * 1024;

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
        // SAFETY: `on` outlives the call, which reads `size_of` bytes of it.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_IGNORE_OUTGOING,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        ensure!(set == 0, "cannot ignore outgoing frames: {}", io::Error::last_os_error());

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
            let (length, _) = recv(&self.socket, &mut frame[..], RecvFlags::DONTWAIT)?;
            if wanted(&frame[..length]) {
                frame.truncate(length);
                return Ok(Some(frame));
            }
        }
    }
}
