//! The kernel as the control plane: links, addresses, routes and neighbours over rtnetlink, followed live.
//!
//! One socket carries both the notifications and the dumps, so they arrive in the order in which they were written:
//! ```text
//!   queue of tables to read ──request──▶ kernel ──dump pieces and notifications, interleaved──▶ drain ─▶ Mirror, Nexthops, Routes ─▶ events
//!        ▲                                                                                        │
//!        └───── lost notifications (ENOBUFS): all; a link or address changed: routes ◀────────────┘
//! ```
//! A dump moves a generation on; whatever it shows, or is notified meanwhile, carries the new generation; what still carries the old one
//! at its end is gone. A dump's next piece is written when a piece is read, so reading a million routes is many small steps of
//! [`Kernel::drain`], never one long one.
//!
//! A dump that the kernel's own changes may have made incomplete is repeated, within the same generation: what any of the attempts shows, is there.
//! The kernel says of most tables when that is so. Of IPv6's routes it does not (Linux 6.18): after a route is deleted and another is added it goes on
//! behind as many entries as it had passed, one too many (`fib6_dump_table`).

mod event;
mod family;
mod mirror;
mod nexthops;
mod routes;
mod rules;
mod wire;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use event::{
    Address, Change, Event, Link, Neighbour, NextHop, Reachability, Standing, Target, Unsupported, VlanOf,
};
pub(crate) use family::Family;
use mirror::{LinkChange, Mirror};
use nexthops::{Fallen, Nexthops};
use routes::Routes;
use rules::Rules;
use wire::{Body, RouteMessage, Table};

/// Room for notifications in the socket, in bytes. A route's takes about 1 KiB of kernel memory while it waits, and a routing daemon
/// that starts writes hundreds of thousands at once. Too small only costs a dump of everything; the memory is taken only while it is used.
const RECEIVE_BUFFER: usize = 64 << 20;

/// The longest datagram that the kernel writes is a 32 KiB piece of a dump (`net/netlink/af_netlink.c`, `max_recvmsg_len`), and a
/// notification about a device with many virtual functions.
const DATAGRAM: usize = 128 << 10;

/// Datagrams read in one [`Kernel::drain`]. A dump's hold some hundred routes each: many more would hold up the rest of the control
/// thread (its heartbeat is due every second), fewer would cost it a poll each.
const BUDGET: usize = 32;

/// `linux/rtnetlink.h`, RTNLGRP_*: link, neighbour, IPv4 address, IPv4 route, IPv6 address, IPv6 route, next-hop object.
const GROUPS: [u32; 7] = [1, 3, 5, 7, 9, 11, 32];

/// How often a table is read that keeps changing meanwhile. An attempt misses as many routes as went before another one came, the ones that it would have
/// told next; hardly any is missed by all of them. More would let a busy routing daemon hold up weir's start.
const ATTEMPTS: u32 = 5;

/// Why the kernel's control plane cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The socket could not be made.
    #[error(
        "cannot open a netlink socket ({0}); the kernel needs CONFIG_NET and the sandbox must allow AF_NETLINK"
    )]
    Open(#[source] io::Error),
    /// The socket failed later.
    #[error("the netlink socket failed ({0}); start weir anew")]
    Socket(#[source] io::Error),
    /// A dump did not come to its end in time.
    #[error(
        "the kernel did not finish listing its tables within {0:?}; check `ip route` and the system's load"
    )]
    Slow(Duration),
}

/// A follower of the kernel's control plane.
#[derive(Debug)]
pub struct Kernel {
    socket: Socket,
    buffer: Vec<u8>,
    mirror: Mirror,
    nexthops: Nexthops,
    routes4: Routes<u32>,
    routes6: Routes<u128>,
    /// Tables to read, in this order.
    wanted: VecDeque<Table>,
    reading: Option<Reading>,
    sequence: u32,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    table: Table,
    sequence: u32,
    /// It may lack something that lives.
    interrupted: bool,
    /// From 1.
    attempt: u32,
}

impl Kernel {
    /// Subscribes to all changes in the calling thread's network namespace and asks for all tables.
    ///
    /// # Errors
    /// [`KernelError::Open`] if the socket cannot be made.
    pub fn open() -> Result<Self, KernelError> {
        Self::open_with_receive_buffer(RECEIVE_BUFFER)
    }

    /// As [`open`](Self::open), with this many bytes for waiting notifications.
    ///
    /// # Errors
    /// [`KernelError::Open`] if the socket cannot be made.
    pub fn open_with_receive_buffer(bytes: usize) -> Result<Self, KernelError> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(KernelError::Open)?;
        socket.bind_auto().map_err(KernelError::Open)?;
        // The forced size needs CAP_NET_ADMIN; without it the system's limit holds.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, bytes).is_err() {
            socket.set_rx_buf_sz(bytes).map_err(KernelError::Open)?;
        }
        for group in GROUPS {
            // Kernels before 5.3 have no next-hop objects and no such group.
            if let Err(error) = socket.add_membership(group) {
                tracing::warn!(group, %error, "cannot subscribe to a group of kernel notifications");
            }
        }
        let mut kernel = Self {
            socket,
            buffer: vec![0; DATAGRAM],
            mirror: Mirror::default(),
            nexthops: Nexthops::default(),
            routes4: Routes::default(),
            routes6: Routes::default(),
            wanted: Table::ALL.into(),
            reading: None,
            sequence: 0,
        };
        kernel.read_next()?;
        Ok(kernel)
    }

    /// Handles what has arrived, without waiting and within a bounded time: after it the descriptor may be readable still.
    ///
    /// # Errors
    /// [`KernelError::Socket`] if the socket is of no more use.
    pub fn drain(&mut self, sink: &mut impl FnMut(Event)) -> Result<(), KernelError> {
        for _ in 0..BUDGET {
            let mut space = self.buffer.as_mut_slice();
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            let (length, sender) = match self.socket.recv_from(&mut space, flags) {
                Ok(received) => received,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()),
                    Some(libc::EINTR) => continue,
                    Some(libc::ENOBUFS) => {
                        self.resync()?;
                        continue;
                    }
                    _ => return Err(KernelError::Socket(error)),
                },
            };
            // Any process with the right may write to the socket; only the kernel is believed.
            if sender.port_number() != 0 {
                continue;
            }
            if length > self.buffer.len() {
                tracing::warn!(length, "a kernel notification is longer than the buffer");
                self.resync()?;
                continue;
            }
            // Taken out so that the messages can be handled while they borrow it.
            let buffer = std::mem::take(&mut self.buffer);
            let handled =
                wire::messages(&buffer[..length]).try_for_each(|message| self.handle(message, sink));
            self.buffer = buffer;
            handled?;
        }
        Ok(())
    }

    /// Waits until all that was asked for has been read: after [`open`](Self::open), the kernel's whole picture.
    ///
    /// # Errors
    /// [`KernelError::Slow`] after `patience`, [`KernelError::Socket`] if the socket fails.
    pub fn sync(&mut self, patience: Duration, sink: &mut impl FnMut(Event)) -> Result<(), KernelError> {
        let deadline = Instant::now() + patience;
        while !self.synced() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(KernelError::Slow(patience));
            }
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(KernelError::Socket(error.into())),
            }
            self.drain(sink)?;
        }
        Ok(())
    }

    /// Whether no table is being read or waiting to be read.
    #[must_use]
    pub fn synced(&self) -> bool {
        self.reading.is_none() && self.wanted.is_empty()
    }

    /// Has the kernel treat this neighbour as used: an unknown or failed one is asked for, a stale one confirmed. What comes of it
    /// arrives as [`Event::Neighbour`]. A refusal is logged; the caller may ask again.
    pub fn probe(&mut self, index: u32, address: IpAddr) {
        let sequence = self.next_sequence();
        if let Err(error) = self.send(&wire::use_neighbour(index, address, sequence)) {
            tracing::warn!(index, %address, %error, "the kernel could not be asked to probe a neighbour");
        }
    }

    /// Reads everything anew; the differences follow as events.
    fn resync(&mut self) -> Result<(), KernelError> {
        tracing::warn!("notifications of the kernel were lost; reading its tables anew");
        // The dump that is running may have passed what was lost.
        self.wanted = Table::ALL.into();
        if let Some(reading) = &mut self.reading {
            reading.interrupted = true;
        }
        self.read_next()
    }

    fn want(&mut self, tables: &[Table]) {
        for &table in tables {
            if !self.wanted.contains(&table) {
                self.wanted.push_back(table);
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        // 0 is what notifications carry that nobody asked for.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        self.socket.send_to(request, &SocketAddr::new(0, 0), libc::MSG_DONTWAIT).map(drop)
    }

    /// Asks for the next table unless one is being read.
    fn read_next(&mut self) -> Result<(), KernelError> {
        if self.reading.is_some() {
            return Ok(());
        }
        let Some(table) = self.wanted.pop_front() else { return Ok(()) };
        self.mirror.begin();
        self.nexthops.begin();
        self.routes4.begin();
        self.routes6.begin();
        self.read(table, 1)
    }

    fn read(&mut self, table: Table, attempt: u32) -> Result<(), KernelError> {
        let sequence = self.next_sequence();
        self.send(&wire::dump(table, sequence)).map_err(KernelError::Socket)?;
        self.reading = Some(Reading { table, sequence, interrupted: false, attempt });
        Ok(())
    }

    fn handle(&mut self, message: wire::Message, sink: &mut impl FnMut(Event)) -> Result<(), KernelError> {
        if message.interrupted {
            self.interrupt(None);
        }
        match message.body {
            Body::Link(link) => {
                let index = link.index;
                match self.mirror.link(link, sink) {
                    LinkChange::None => {}
                    LinkChange::Down => {
                        let fallen = self.nexthops.device_unusable(index);
                        self.nexthops_changed(&fallen, sink);
                        self.routes4.device_down(
                            index,
                            |index| self.mirror.down(index),
                            &self.nexthops,
                            sink,
                        );
                        self.want(&[Table::Nexthops, Table::Routes4, Table::Routes6]);
                    }
                    LinkChange::CarrierLost => {
                        let fallen = self.nexthops.device_unusable(index);
                        self.nexthops_changed(&fallen, sink);
                        self.want(&[Table::Nexthops, Table::Routes4]);
                    }
                    LinkChange::Usable => self.want(&[Table::Nexthops, Table::Routes4]),
                }
            }
            Body::LinkGone(index) => self.link_gone(index, sink),
            Body::Address(address) => self.mirror.address(address, sink),
            Body::AddressGone(address) => {
                // With its last address a device loses all its routes of IPv4 without a word, and before Linux 6.6 so do routes that prefer
                // the address as their source.
                if self.mirror.address_gone(address, sink) && address.address.is_ipv4() {
                    self.want(&[Table::Routes4]);
                }
            }
            Body::Ip4(message) => change(&mut self.routes4, message, &self.nexthops, sink),
            Body::Ip6(message) => {
                if matches!(message, RouteMessage::Gone(_)) {
                    self.interrupt(Some(Table::Routes6));
                }
                change(&mut self.routes6, message, &self.nexthops, sink);
            }
            Body::Nexthop(id, nexthop) => {
                let changed = self.nexthops.insert(id, nexthop);
                self.nexthops_changed(&changed, sink);
            }
            Body::NexthopGone(id) => {
                let fallen = self.nexthops.remove(vec![id]);
                self.nexthops_changed(&fallen, sink);
            }
            Body::Neighbour(neighbour) => self.mirror.neighbour(neighbour, sink),
            Body::NeighbourGone(index, address) => self.mirror.neighbour_gone(index, address, sink),
            Body::Done => return self.finish(message.sequence, sink),
            Body::Refused(errno) => return self.refused(message.sequence, errno),
            Body::Other => {}
        }
        // What was wanted on the way is asked for as soon as nothing else is being read.
        self.read_next()
    }

    /// What is being read, if it is this table, may lack something.
    fn interrupt(&mut self, table: Option<Table>) {
        if let Some(reading) = &mut self.reading
            && table.is_none_or(|table| table == reading.table)
        {
            reading.interrupted = true;
        }
    }

    /// Their routes follow.
    fn nexthops_changed(&mut self, fallen: &Fallen, sink: &mut impl FnMut(Event)) {
        if !fallen.gone.is_empty() {
            // So do routes of IPv6, perhaps without a word.
            self.interrupt(Some(Table::Routes6));
        }
        self.routes4.nexthops_changed(fallen, &self.nexthops, sink);
        self.routes6.nexthops_changed(fallen, &self.nexthops, sink);
    }

    fn link_gone(&mut self, index: u32, sink: &mut impl FnMut(Event)) {
        if self.mirror.link_gone(index, sink) {
            let fallen = self.nexthops.device_unusable(index);
            self.nexthops_changed(&fallen, sink);
            self.routes4.device_gone(index, &self.nexthops, sink);
            self.want(&[Table::Nexthops, Table::Routes4, Table::Routes6]);
        }
    }

    /// A dump has ended.
    fn finish(&mut self, sequence: u32, sink: &mut impl FnMut(Event)) -> Result<(), KernelError> {
        let Some(reading) = self.reading.take_if(|reading| reading.sequence == sequence) else {
            return Ok(());
        };
        let Reading { table, interrupted, attempt, .. } = reading;
        if interrupted && self.wanted.contains(&table) {
            // Notifications were lost, and it is to be read anew in any case: nothing may be called gone by this one.
            return self.read_next();
        }
        if interrupted && attempt < ATTEMPTS {
            return self.read(table, attempt + 1);
        }
        match table {
            Table::Links => {
                for index in self.mirror.vanished_links() {
                    self.link_gone(index, sink);
                }
            }
            Table::Addresses => self.mirror.sweep_addresses(sink),
            Table::Nexthops => {
                let fallen = self.nexthops.sweep();
                self.nexthops_changed(&fallen, sink);
            }
            Table::Routes4 => self.routes4.sweep(&self.nexthops, sink),
            Table::Routes6 => self.routes6.sweep(&self.nexthops, sink),
            Table::Neighbours4 => self.mirror.sweep_neighbours(IpAddr::is_ipv4, sink),
            Table::Neighbours6 => self.mirror.sweep_neighbours(IpAddr::is_ipv6, sink),
        }
        self.read_next()
    }

    fn refused(&mut self, sequence: u32, errno: i32) -> Result<(), KernelError> {
        if errno == 0 {
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(errno);
        match self.reading.take_if(|reading| reading.sequence == sequence) {
            Some(Reading { table: Table::Nexthops, .. }) if errno == libc::EOPNOTSUPP => {
                tracing::debug!("the kernel has no next-hop objects");
            }
            Some(reading) => {
                tracing::warn!(table = ?reading.table, %error, "the kernel refused to list a table");
            }
            None => tracing::warn!(%error, "the kernel refused to probe a neighbour"),
        }
        self.read_next()
    }
}

impl AsFd for Kernel {
    /// To be polled for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn change<A: Rules>(
    routes: &mut Routes<A>,
    message: RouteMessage<A>,
    nexthops: &Nexthops,
    sink: &mut impl FnMut(Event),
) {
    match message {
        RouteMessage::New(route, order) => routes.insert(route, order, nexthops, sink),
        RouteMessage::Gone(route) => routes.remove(route, nexthops, sink),
    }
}
