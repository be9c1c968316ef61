//! weir's XDP programs, a router's and a bridge's, and their loader.
//!
//! A program runs in the driver of every port, before the kernel's network stack. It hands transit to the AF_XDP socket
//! of the receive queue and leaves the kernel what is the kernel's. The first line that fits decides. A router's:
//!
//! ```text
//!  frame from the wire ─────────────────────────────────────────────────────────────────────────┐
//!                                                                        verdict      goes to   │
//!   shorter than an Ethernet header (14 bytes)                           malformed    kernel    │
//!   tagged, with other tags than a sub-interface's (`set_sub_interface`) other-vlan   kernel    │
//!   ethertype ARP, behind the tags                                       arp          kernel    │
//!   any other ethertype but IPv4 and IPv6: LLDP, MPLS, …                 not-ip       kernel    │
//!   group MAC address (broadcast or multicast)                           multicast    kernel    │
//!   unicast MAC address that is not the port's (`set_mac`)               other-mac    kernel    │
//!   IP header cut off, of another version, header length below 5         transit ─┐             │
//!   to 224.0.0.0/4, 255.255.255.255 or ff00::/8                          multicast│   kernel    │
//!   IPv6 from or to fe80::/10                                            link-local   kernel    │
//!   to one of this machine's addresses (`OwnAddresses`)                  own-address  kernel    │
//!   all the rest                                                         transit ─┤             │
//!                                                                                 ▼             │
//!            is a socket bound to this receive queue?   yes              redirected   weir      │
//!                                                       no               no-socket    kernel    │
//! ```
//!
//! A bridge's ([`Redirect::bridge`]):
//!
//! ```text
//!  frame from the wire ─────────────────────────────────────────────────────────────────────────────────┐
//!                                                                        verdict                goes to │
//!   shorter than an Ethernet header (14 bytes)                           malformed              kernel  │
//!   on a port with two VLANs: untagged, or of neither                    other-vlan             kernel  │
//!   to one of this machine's MAC addresses (`OwnAddresses`)              own-mac                kernel  │
//!   to another unicast MAC address                                       transit ─┐                     │
//!   ARP for one of this machine's addresses, tagged or not               arp      │             kernel  │
//!   IPv6 neighbour solicitation for one of them, tagged or not           neighbour-solicitation kernel  │
//!   all the rest: VLAN, PPPoE, LLDP, spanning tree, multicast, …         transit ─┤                     │
//!                                                                                 ▼                     │
//!            is a socket bound to this receive queue?   yes              redirected             weir    │
//!                                                       no               no-socket              kernel  │
//! ```
//!
//! Broken IP headers go to weir, whose graph drops them under a named reason. Subnet broadcast addresses (192.0.2.255 of
//! 192.0.2.0/24) are the kernel's too: whoever keeps [`OwnAddresses`] inserts them like any other own address.
//!
//! **It fails open.** Wherever no socket is bound the kernel gets the packet, and forwards it if it is set up to. The kernel
//! empties a socket's slot when the socket closes, and takes the program off the port when the [`Redirect`] is dropped or its
//! process ends in any way, `SIGKILL` included: the program hangs on a descriptor of the process, not on the device.
//!
//! One instance of the program runs per port, with a socket map and verdict counters of its own; the own addresses are one
//! map that all instances share. So the program finds everything without knowing its device, and a packet can never be
//! redirected to a socket of another device, which the kernel would drop.
//!
//! # What the caller sees to
//!
//! * [`Redirect::bind`] takes a socket bound to the same device and queue; the kernel drops what is redirected to any other,
//!   and offers no way to ask.
//! * A driver that takes tags out of frames before the program runs gives them to a program that asks (Linux 6.8; veth, and some of hardware), and that puts them
//!   back: [`Redirect::puts_tags_back`]. Otherwise VLAN offload has to be off on ports that carry tags (`ethtool -K DEVICE rxvlan off`): a packet that has lost its
//!   tag looks untagged. What is the kernel's reaches it as it came.
//! * `redirected` counts what was handed over. What the socket could not take, because a ring was full or empty, is in the
//!   socket's own `XDP_STATISTICS`.
//!
//! # Needs
//!
//! Linux 5.9 or newer (`bpf_link` for XDP), and `CAP_BPF` with `CAP_NET_ADMIN`; no vmlinux BTF. libbpf's messages go to
//! [`tracing`] with the target `libbpf`. The programs are under "Dual BSD/GPL", as the kernel asks of programs that use its
//! helpers; they are built by clang when this crate is.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let socket: std::os::fd::OwnedFd = std::fs::File::open("/dev/null")?.into();
//! use std::os::fd::AsFd;
//! use weir_xdp::{OwnAddresses, Redirect, Verdict};
//!
//! let own = OwnAddresses::new(1024)?;
//! own.insert([192, 0, 2, 1].into())?;
//! let port = Redirect::attach(4, 2, &own)?; // device 4, receive queues 0 and 1
//! port.bind(0, socket.as_fd())?; // an AF_XDP socket on device 4, queue 0
//! println!("{} packets redirected", port.counters()?.total(Verdict::Redirected).packets);
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod error;
mod libbpf_log;
mod link;
mod object;
mod own_addresses;
mod redirect;
#[cfg(test)]
mod testbed;
mod verdict;

pub use error::Error;
pub use link::Mode;
pub use own_addresses::OwnAddresses;
pub use redirect::{Queues, Redirect, Vlans};
pub use verdict::{Count, Counters, Verdict};
