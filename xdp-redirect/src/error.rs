//! What can go wrong, and what to do about it.

/// Why the program could not be loaded, attached or told about a socket or an address. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel denied the system call.
    #[error(
        "no permission to {action}: run as root, or with the capabilities CAP_BPF, CAP_NET_ADMIN and (for the AF_XDP sockets) \
         CAP_NET_RAW, e.g. `AmbientCapabilities=` in the systemd unit; a container also has to be allowed to call bpf(2)"
    )]
    NotPermitted {
        /// What was asked of the kernel.
        action: &'static str,
    },

    /// The running kernel lacks something that weir needs.
    #[error(
        "cannot {action} on Linux {release}: weir needs Linux 5.9 or newer, built with CONFIG_BPF_SYSCALL=y and \
         CONFIG_XDP_SOCKETS=y ({reason})"
    )]
    KernelTooOld {
        /// What was asked of the kernel.
        action: &'static str,
        /// The running kernel's release, as `uname -r` says it.
        release: String,
        /// What libbpf and the kernel said.
        reason: String,
    },

    /// The kernel did not take the program or one of its maps.
    #[error("cannot {action}: {reason}")]
    Load {
        /// What was asked of the kernel.
        action: &'static str,
        /// What libbpf, the verifier and the kernel said.
        reason: String,
    },

    /// There is no such device in this network namespace.
    #[error(
        "there is no network device with index {ifindex} in this network namespace: `ip link` lists them"
    )]
    NoSuchDevice {
        /// The index that was asked for.
        ifindex: u32,
    },

    /// Another XDP program is on the device.
    #[error(
        "{device} already runs the XDP program {program}: stop the process that holds it (`bpftool link` shows which; it may be \
         another weir); if no process does, remove it with `ip link set dev {device} {kind} off`"
    )]
    DeviceBusy {
        /// The device.
        device: String,
        /// The other program's name and id.
        program: String,
        /// How ip-link(8) calls the way it is attached: `xdpdrv`, `xdpgeneric` or `xdpoffload`.
        kind: &'static str,
    },

    /// Packets on the device may be longer than one page, which the program cannot handle.
    #[error(
        "{device} cannot run XDP: {reason}; lower the MTU (about 3500 bytes is the most on most drivers; for a veth it is the other \
         end's MTU that counts): ip link set dev DEVICE mtu 1500"
    )]
    MtuTooLarge {
        /// The device.
        device: String,
        /// The driver's words.
        reason: String,
    },

    /// The device has too few queues.
    #[error(
        "{device} cannot run XDP: {reason}; give it more receive queues (`ethtool -L {device} rx N`), or a veth's other end fewer \
         transmit queues (`ethtool -L PEER tx N`)"
    )]
    TooFewQueues {
        /// The device.
        device: String,
        /// The driver's words.
        reason: String,
    },

    /// The driver or the kernel refused for a reason of its own.
    #[error("{device} cannot run XDP: {reason}")]
    Refused {
        /// The device.
        device: String,
        /// The driver's words, or the error number's meaning where it gave none.
        reason: String,
    },

    /// A port was asked for with no queues at all.
    #[error(
        "a port needs at least one receive queue: attach with the number of the device's queues (`ethtool -l DEVICE`)"
    )]
    NoQueues,

    /// The queue is beyond the number given to [`Redirect::attach`](crate::Redirect::attach).
    #[error("there is no queue {queue}: the port was attached with {queues}, numbered from 0")]
    NoSuchQueue {
        /// The queue that was asked for.
        queue: u32,
        /// The port's number of queues.
        queues: u32,
    },

    /// The descriptor is not an AF_XDP socket with a receive ring.
    #[error(
        "queue {queue} needs an AF_XDP socket that has a receive ring and is bound to a device: {source}"
    )]
    NotAnXdpSocket {
        /// The queue it was meant for.
        queue: u32,
        /// The kernel's words.
        source: libbpf_rs::Error,
    },

    /// The map of own addresses is full.
    #[error(
        "no room for another own address: there are already {capacity}; create the map with a larger capacity"
    )]
    OwnAddressesFull {
        /// The map's capacity, in addresses.
        capacity: u32,
    },

    /// The kernel refused to read or write a map for another reason.
    #[error("cannot {action}: {source}")]
    Map {
        /// What was asked of the kernel.
        action: &'static str,
        /// The kernel's words.
        source: libbpf_rs::Error,
    },
}

impl Error {
    /// For a failed system call that creates or loads something.
    pub(crate) fn load(action: &'static str, error: &libbpf_rs::Error, log: &str) -> Self {
        if error.kind() == libbpf_rs::ErrorKind::PermissionDenied {
            return Self::NotPermitted { action };
        }
        let reason = if log.is_empty() { format!("{error:#}") } else { format!("{error:#}\n{log}") };
        match kernel_release() {
            Some(release) if is_too_old(&release) => Self::KernelTooOld { action, release, reason },
            _ => Self::Load { action, reason },
        }
    }

    /// For a failed system call on a map that is there.
    pub(crate) fn map(action: &'static str, source: libbpf_rs::Error) -> Self {
        if source.kind() == libbpf_rs::ErrorKind::PermissionDenied {
            return Self::NotPermitted { action };
        }
        Self::Map { action, source }
    }
}

/// The running kernel's release, or `None` where /proc is not mounted.
pub(crate) fn kernel_release() -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(release.trim().to_owned())
}

/// Before 5.9, the first kernel that attaches XDP by `bpf_link`. A release that does not parse counts as new enough.
pub(crate) fn is_too_old(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) < (5, 9),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_5_9_are_too_old() {
        for old in ["4.19.0-25-amd64", "5.8.18", "5.4.0-150-generic"] {
            assert!(is_too_old(old), "{old}");
        }
        for new in ["5.9.0", "5.10.0-8-amd64", "6.18.44-fc-v669", "10.0", "", "something else"] {
            assert!(!is_too_old(new), "{new}");
        }
    }
}
