//! Hosts whose packets wear what they wear in access networks: tags, labels, PPPoE sessions. Kernels that have none of these can take part.
//!
//! ```text
//!   the host's kernel ─ IP ─▶ worn (TUN) ─▶ thread: what stands before IP ─▶ wire (packet socket) ─▶ the bridge
//! ```
//! What stands before IP is in the bytes of each frame that crosses, and is checked, to the last bit, at the other end.
//!
//! Invariant of the unsafe code: the kernel is handed a pointer to a structure that lives until the call returns, of the size that the call's number says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lab::{Host, WIRE};
use crate::wire::Wire;

/// The device whose packets are dressed.
const DEVICE: &str = "worn";
/// Its MTU: what all of the table fits around in a frame of 1,500 bytes.
const MTU: u32 = 1400;
/// How long a thread waits for a packet before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// What packets wear.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// As a customer is called who has it.
    pub name: &'static str,
    /// IPv6, or IPv4.
    pub is_ip6: bool,
    /// Bytes between a frame's MAC addresses and IP; none: the kernel sends these frames itself. Of a session, its length is 0 here.
    before: &'static [u8],
    /// The frame ends its headers with a PPPoE session's, whose length is to be filled in.
    session: bool,
}

const fn worn(name: &'static str, is_ip6: bool, before: &'static [u8], session: bool) -> Access {
    Access { name, is_ip6, before, session }
}

/// PPPoE session 7, with IPv4 and with IPv6.
const PPPOE4: [u8; 10] = [0x88, 0x64, 0x11, 0, 0, 7, 0, 0, 0, 0x21];
const PPPOE6: [u8; 10] = [0x88, 0x64, 0x11, 0, 0, 7, 0, 0, 0, 0x57];

impl Access {
    /// All of them.
    pub const ALL: [Access; 11] = [
        worn("ip4", false, &[], false),
        worn("ip6", true, &[], false),
        worn("vlan-ip4", false, &[0x81, 0, 0x20, 5, 8, 0], false),
        worn("vlan-ip6", true, &[0x81, 0, 0x20, 5, 0x86, 0xdd], false),
        worn("qinq-ip4", false, &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5, 8, 0], false),
        worn("qinq-ip6", true, &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5, 0x86, 0xdd], false),
        worn("pppoe-ip4", false, &PPPOE4, true),
        worn("pppoe-ip6", true, &PPPOE6, true),
        worn("vlan-pppoe-ip4", false, &[0x81, 0, 0, 5, 0x88, 0x64, 0x11, 0, 0, 7, 0, 0, 0, 0x21], true),
        worn("mpls-ip4", false, &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64], false),
        worn("mpls-ip6", true, &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64], false),
    ];

    /// What a router with VLANs gives its packets: it writes the tags anew, of priority 0.
    pub const ROUTED: [Access; 4] = [
        worn("vlan-ip4", false, &[0x81, 0, 0, 5, 8, 0], false),
        worn("vlan-ip6", true, &[0x81, 0, 0, 5, 0x86, 0xdd], false),
        worn("qinq-ip4", false, &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5, 8, 0], false),
        worn("qinq-ip6", true, &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5, 0x86, 0xdd], false),
    ];

    /// A host's address, by the place of what it wears in the table, so that every line is a customer of its own.
    pub fn address(&self, line: u8, host: u8) -> IpAddr {
        if self.is_ip6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0x77, line.into(), 0, 0, 0, host.into()).into()
        } else {
            Ipv4Addr::new(10, 77, line, host).into()
        }
    }

    /// The bytes before a packet, from its MAC addresses on.
    fn dressed(&self, macs: [u8; 12], packet: &[u8]) -> Vec<u8> {
        let mut before = self.before.to_vec();
        if self.session
            && let [.., high, low, _, _] = before.as_mut_slice()
        {
            [*high, *low] = (packet.len() as u16 + 2).to_be_bytes();
        }
        [&macs[..], &before, packet].concat()
    }

    /// The packet in a frame that wears exactly this.
    fn undressed<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let (macs, rest) = frame.split_first_chunk::<12>()?;
        let packet = rest.get(self.before.len()..)?;
        (self.dressed(*macs, packet) == frame).then_some(packet)
    }
}

/// A host that has an address, and wears what comes with it, until this is dropped.
#[derive(Debug)]
pub struct Wearing<'a> {
    host: &'a Host,
    address: IpAddr,
    ends: Arc<AtomicBool>,
    /// Packets that have come dressed.
    came: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl<'a> Wearing<'a> {
    /// Gives the host an address of this line of the table, and dresses what it sends from there to this MAC address.
    pub fn put_on(
        host: &'a Host,
        other: [u8; 6],
        access: &Access,
        line: u8,
        number: u8,
    ) -> Result<Wearing<'a>> {
        let address = access.address(line, number);
        let mut wearing =
            Wearing { host, address, ends: Arc::default(), came: Arc::default(), threads: Vec::new() };
        let inside = &host.namespace;
        let device = if access.before.is_empty() { WIRE } else { DEVICE };
        if device == DEVICE {
            let tun = inside.run(|| tun(DEVICE))?.context("cannot make a TUN device")?;
            inside.ip(&format!("link set {DEVICE} mtu {MTU} up"))?;
            let (out, back) = (Wire::open(inside, WIRE)?, Wire::open(inside, WIRE)?);
            let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (other, host.mac);
            let macs = [a, b, c, d, e, f, g, h, i, j, k, l];
            let (from, to) = (tun.try_clone()?, tun);
            let (access, ends) = (*access, Arc::clone(&wearing.ends));
            wearing.threads.push(thread::spawn(move || dress(from, &out, &access, macs, &ends)));
            let (ends, came) = (Arc::clone(&wearing.ends), Arc::clone(&wearing.came));
            wearing.threads.push(thread::spawn(move || undress(&back, to, &access, &ends, &came)));
        }
        let (length, more) = if access.is_ip6 { (64, "nodad") } else { (24, "") };
        if access.is_ip6 {
            inside.sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6"), "0")?;
        }
        inside.ip(&format!("address add {address}/{length} dev {device} {more}"))?;
        Ok(wearing)
    }

    /// The host's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Packets that have come to the host so dressed, each checked.
    pub fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }
}

impl Drop for Wearing<'_> {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if self.threads.is_empty() {
            let length = if self.address.is_ipv6() { 64 } else { 24 };
            let _ = self.host.namespace.ip(&format!("address del {}/{length} dev {WIRE}", self.address));
        }
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("a host's dress is gone: {error:#}"),
                Err(_) => eprintln!("a host's dress panicked"),
            }
        }
    }
}

/// Makes a TUN device in the calling thread's namespace; it goes with its last descriptor.
fn tun(name: &str) -> Result<File> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: integers; all zero is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: `request` outlives the call, which reads and writes an `ifreq`.
    let made = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    ensure!(made == 0, "{}", io::Error::last_os_error());
    Ok(device)
}

fn dress(mut tun: File, wire: &Wire, access: &Access, macs: [u8; 12], ends: &AtomicBool) -> Result<()> {
    let look = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
    let version = if access.is_ip6 { 6 } else { 4 };
    let mut packet = [0; 2048];
    while !ends.load(Ordering::Relaxed) {
        if poll(&mut [PollFd::new(&tun, PollFlags::IN)], Some(&look))? == 0 {
            continue;
        }
        let length = tun.read(&mut packet)?;
        // the kernel has more to say than is asked of it, of IPv6 for one
        if packet[..length].first().is_some_and(|first| first >> 4 == version) {
            wire.send(&access.dressed(macs, &packet[..length]))?;
        }
    }
    Ok(())
}

fn undress(wire: &Wire, mut tun: File, access: &Access, ends: &AtomicBool, came: &AtomicU64) -> Result<()> {
    while !ends.load(Ordering::Relaxed) {
        let Some(frame) = wire.receive(LOOK, |frame| access.undressed(frame).is_some())? else { continue };
        if let Some(packet) = access.undressed(&frame) {
            came.fetch_add(1, Ordering::Relaxed);
            tun.write_all(packet)?;
        }
    }
    Ok(())
}
