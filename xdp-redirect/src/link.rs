//! The program's attachment to a device: a `bpf_link`, which the kernel undoes when its last descriptor is closed.
//!
//! Invariant of the `unsafe` here: libbpf is given descriptors that are open during the call and options that are zero but for the
//! fields set by name; what it returns as a new descriptor is owned by nobody else.
#![allow(unsafe_code)]

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{Xdp, XdpFlags, libbpf_sys};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, netdevice};

use crate::error::{Error, is_too_old, kernel_release};
use crate::libbpf_log;

/// Where the program runs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mode {
    /// In the driver, before the kernel has built anything around the packet.
    Native,
    /// In the network stack, after the kernel has built an skb: several times dearer. For drivers that cannot do XDP.
    Generic,
}

impl Mode {
    fn flags(self) -> XdpFlags {
        match self {
            Self::Native => XdpFlags::DRV_MODE,
            Self::Generic => XdpFlags::SKB_MODE,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// The attachment. Ends when this is dropped, and at the latest with the process.
#[derive(Debug)]
pub(crate) struct Link {
    descriptor: OwnedFd,
    pub(crate) mode: Mode,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Closing the descriptor would do if it were the only one, but a process that is being started at this moment by another
        // thread holds copies of all descriptors until it executes its program.
        // SAFETY: the descriptor is open.
        let result = unsafe { libbpf_sys::bpf_link_detach(self.descriptor.as_raw_fd()) };
        if result < 0 {
            // The device has gone, or closing does it.
            let error = Errno::from_raw_os_error(-result);
            tracing::debug!(%error, "the XDP program is detached by closing its link");
        }
    }
}

/// Attaches `program` to device `ifindex` of the calling thread's network namespace, natively where the driver can.
pub(crate) fn attach(program: BorrowedFd<'_>, ifindex: u32) -> Result<Link, Error> {
    // The kernel's device indices are positive ints.
    let Some(index) = i32::try_from(ifindex).ok().filter(|index| *index > 0) else {
        return Err(Error::NoSuchDevice { ifindex });
    };
    match create(program, index, Mode::Native) {
        Ok(link) => return Ok(link),
        // What the kernel answers for a driver without XDP, and drivers where their present set-up rules it out.
        Err(Errno::OPNOTSUPP) => {
            let reason = refusal(program, index, Mode::Native);
            tracing::warn!(
                ifindex,
                device = device_name(ifindex),
                reason,
                "XDP runs in the slower generic mode"
            );
        }
        Err(errno) => return Err(explain(program, index, Mode::Native, errno)),
    }
    create(program, index, Mode::Generic).map_err(|errno| explain(program, index, Mode::Generic, errno))
}

/// As [`attach`], natively or not at all.
pub(crate) fn attach_natively(program: BorrowedFd<'_>, ifindex: u32) -> Result<Link, Error> {
    let Some(index) = i32::try_from(ifindex).ok().filter(|index| *index > 0) else {
        return Err(Error::NoSuchDevice { ifindex });
    };
    create(program, index, Mode::Native).map_err(|errno| explain(program, index, Mode::Native, errno))
}

fn create(program: BorrowedFd<'_>, index: i32, mode: Mode) -> Result<Link, Errno> {
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        flags: mode.flags().bits(),
        ..Default::default()
    };
    // SAFETY: `program` is open and `options` is a valid structure that says its own size; both outlive the call.
    let result = unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), index, libbpf_sys::BPF_XDP, &raw const options)
    };
    if result < 0 {
        return Err(Errno::from_raw_os_error(-result));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let descriptor = unsafe { OwnedFd::from_raw_fd(result) };
    Ok(Link { descriptor, mode })
}

fn explain(program: BorrowedFd<'_>, index: i32, mode: Mode, errno: Errno) -> Error {
    let action = "attach the XDP program";
    let ifindex = index.unsigned_abs();
    if matches!(errno, Errno::PERM | Errno::ACCESS) {
        return Error::NotPermitted { action };
    }
    // Asked first, because for a missing device the kernel answers with the all-purpose EINVAL.
    let Some(device) = device_name(ifindex) else {
        return Error::NoSuchDevice { ifindex };
    };
    if matches!(errno, Errno::BUSY | Errno::EXIST)
        && let Some((program, kind)) = program_on(program, index)
    {
        return Error::DeviceBusy { device, program, kind };
    }
    if let Some(release) = kernel_release().filter(|release| is_too_old(release)) {
        return Error::KernelTooOld { action, release, reason: errno.to_string() };
    }
    let told = refusal(program, index, mode);
    let reason = if told.is_empty() { format!("the kernel says only \"{errno}\"") } else { told };
    match errno {
        // What the veth driver answers; many others say it only in words.
        Errno::RANGE => Error::MtuTooLarge { device, reason },
        Errno::NOSPC => Error::TooFewQueues { device, reason },
        _ if reason.contains("MTU") => Error::MtuTooLarge { device, reason },
        _ => Error::Refused { device, reason },
    }
}

/// The driver's own words for refusing. The kernel gives them over netlink but not with `bpf_link`, so this asks again over
/// netlink; should that succeed, the program is taken off at once.
fn refusal(program: BorrowedFd<'_>, index: i32, mode: Mode) -> String {
    let xdp = Xdp::new(program);
    let flags = || mode.flags() | XdpFlags::UPDATE_IF_NOEXIST;
    let (result, log) = libbpf_log::capture(|| xdp.attach(index, flags()));
    if result.is_ok()
        && let Err(error) = xdp.detach(index, mode.flags())
    {
        tracing::error!(ifindex = index, %error, "cannot take the XDP program off again: use `ip link set dev DEVICE xdp off`");
    }
    // libbpf's way of passing the kernel's text on.
    let words = log.lines().filter_map(|line| line.split_once("Kernel error message: "));
    words.map(|(_, words)| words).collect::<Vec<_>>().join("; ")
}

/// Name and id of a program that runs on the device, if there is one, and ip-link(8)'s word for the way it is attached.
fn program_on(own: BorrowedFd<'_>, index: i32) -> Option<(String, &'static str)> {
    let kinds = [
        (XdpFlags::DRV_MODE, "xdpdrv"),
        (XdpFlags::SKB_MODE, "xdpgeneric"),
        (XdpFlags::HW_MODE, "xdpoffload"),
    ];
    let xdp = Xdp::new(own);
    kinds.into_iter().find_map(|(mode, kind)| {
        let id = xdp.query_id(index, mode).ok().filter(|id| *id != 0)?;
        // Only root may list programs; for others the number has to do.
        let program = match ProgInfoIter::default().find(|program| program.id == id) {
            Some(program) => format!("\"{}\" (id {id})", program.name.to_string_lossy()),
            None => format!("with id {id}"),
        };
        Some((program, kind))
    })
}

/// The device's name, or `None` if there is no such device.
fn device_name(ifindex: u32) -> Option<String> {
    let name = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)
        .and_then(|socket| netdevice::index_to_name(&socket, ifindex));
    match name {
        Err(Errno::NODEV) => None,
        // A sandbox without IPv4 sockets: the number has to do.
        name => Some(name.unwrap_or_else(|_| format!("device {ifindex}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::OwnAddresses;
    use crate::object::{Loaded, Tags};
    use crate::testbed::{Namespace, skip};

    #[test]
    fn a_dropped_link_is_detached_though_a_copy_of_its_descriptor_is_open() {
        if skip("a_dropped_link_is_detached_though_a_copy_of_its_descriptor_is_open").is_some() {
            return;
        }
        let namespace = Namespace::new();
        let lo = namespace.ifindex("lo");
        namespace.inside(|| {
            let loaded = Loaded::new(Tags::Lost, 1, &OwnAddresses::new(1).unwrap()).unwrap();
            let link = attach(loaded.program().unwrap().as_fd(), lo).unwrap();
            let copy = link.descriptor.try_clone().unwrap();
            assert!(namespace.has_xdp("lo"));
            drop(link);
            assert!(!namespace.has_xdp("lo"));
            drop(copy);
        });
    }
}
