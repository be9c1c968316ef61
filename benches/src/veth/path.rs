//! The measured path: a generator in the left host, the router, a sink in the right host.
//!
//! ```text
//!   generator core                                            forwarder core
//!   left: live frames ─ wire ═ to-left: XDP, copy to the ring │ forwarder ─ to-right ═ wire: right, XDP_DROP
//! ```
//! A veth's receiving end runs on the core that sends to it. So the generator's core also carries the first half of the forwarding (driver,
//! XDP, copy into the UMEM), and the forwarder's core the second half, with the sink. Where the kernel forwards, receive packet steering
//! divides the work at the same place.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use core_affinity::CoreId;
use serde::Serialize;
use weir_graph::wire::ip4;
use weir_tests::lab::{Host, Lab, WIRE};
use weir_tests::namespace::{Namespace, succeed};

use crate::bpf::{Attachment, FRAME, Program};

/// Traffic before the measured window: caches, branch predictors and the generator's pages settle.
const WARM_UP: Duration = Duration::from_millis(500);
/// After the generator's end, until all that was under way has arrived.
const QUIET: Duration = Duration::from_millis(100);
/// Frames of one call of the generator, some 20 ms: the granularity of what is known of the offered load, and of how soon it ends.
const BURST: u32 = 1 << 15;

/// How the router joins the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// They are in two networks.
    Route,
    /// They are in one network.
    Bridge,
}

/// The path, ready for traffic; the kernel forwards until something else does.
pub struct Path {
    /// The namespaces.
    pub lab: Lab,
    /// What the router is.
    pub kind: Kind,
    generator: Program,
    frame: [u8; FRAME],
    ingress: u32,
    core: CoreId,
    _sink: Attachment,
}

/// What a measurement found.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Packets a second that left the router, in the window.
    pub forwarded: f64,
    /// Packets a second that the generator sent, in the window.
    pub offered: f64,
    /// Packets that left the router in all, before and after the window too.
    pub total: u64,
}

impl Path {
    /// Builds the path. The generator will run on `generator`, what the kernel forwards is sent on by `forwarder`.
    pub fn new(kind: Kind, generator: CoreId, forwarder: CoreId) -> Result<Path> {
        let lab = match kind {
            Kind::Route => Lab::new(1),
            Kind::Bridge => Lab::bridged(1),
        }?;
        let (left, right) = (lab.left(), lab.right());
        // The sink answers no ARP, and a bridge never sees a frame of its.
        for Host { mac, address, port, .. } in &lab.hosts {
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            let (program, words) = match kind {
                Kind::Route => {
                    ("ip", format!("neighbour replace {address} lladdr {mac} dev {port} nud permanent"))
                }
                Kind::Bridge => ("bridge", format!("fdb replace {mac} dev {port} master static")),
            };
            succeed(lab.router.command(program).args(words.split(' ')))?;
        }
        // Frames from XDP are delivered only to a veth with NAPI. A forwarder's XDP program brings it along; the kernel alone needs GRO.
        succeed(lab.router.command("ethtool").args(["-K", &left.port, "gro", "on"]))
            .context("the generator's frames would vanish")?;
        let steering = format!("/sys/class/net/{}/queues/rx-0/rps_cpus", left.port);
        succeed(lab.router.command("sh").arg("-c").arg(format!("echo {} > {steering}", mask(forwarder))))
            .context("the kernel's forwarding cannot be moved to the forwarder's core")?;

        let sink = Program::sink()?;
        let last = ifindex(&right.namespace, WIRE)?;
        let sink = right.namespace.run(|| sink.attach(last))??;
        let ingress = ifindex(&left.namespace, WIRE)?;
        let frame = datagram(&lab, kind);
        Ok(Path {
            generator: Program::generator(&frame)?,
            frame,
            ingress,
            core: generator,
            _sink: sink,
            kind,
            lab,
        })
    }

    /// Offers as much traffic as the generator can make, and measures for `window` what leaves the router.
    pub fn measure(&self, window: Duration) -> Result<Traffic> {
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let look = || Ok::<_, anyhow::Error>((self.egress()?, sent.load(Ordering::Relaxed)));
            let (first, _) = look()?;
            let generator = scope.spawn(|| self.generate(&stop, &sent));
            thread::sleep(WARM_UP);
            let begin = look();
            thread::sleep(window);
            let end = look();
            stop.store(true, Ordering::Relaxed);
            generator.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            thread::sleep(QUIET);
            let (last, _) = look()?;
            let ((begin, sent_begin), (end, sent_end)) = (begin?, end?);
            let seconds = end.at.duration_since(begin.at).as_secs_f64();
            Ok(Traffic {
                forwarded: (end.packets - begin.packets) as f64 / seconds,
                offered: (sent_end - sent_begin) as f64 / seconds,
                total: last.packets - first.packets,
            })
        })
    }

    /// Sends until it is told to stop.
    fn generate(&self, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
        self.lab.left().namespace.run(|| {
            ensure!(core_affinity::set_for_current(self.core), "cannot use core {}", self.core.id);
            while !stop.load(Ordering::Relaxed) {
                match self.generator.run_live(&self.frame, self.ingress, BURST) {
                    Ok(()) => sent.fetch_add(u64::from(BURST), Ordering::Relaxed),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        return Err(error)
                            .context("the kernel does not generate packets (Linux 5.18 or newer is needed)");
                    }
                };
            }
            Ok(())
        })?
    }

    /// What the router's port on the right has sent. A veth counts there what its other end has received, whoever sent it.
    fn egress(&self) -> Result<Reading> {
        let packets = self.lab.router.traffic(&self.lab.right().port)?.sent.packets;
        Ok(Reading { packets, at: Instant::now() })
    }
}

/// A counter at a moment.
#[derive(Clone, Copy)]
struct Reading {
    packets: u64,
    at: Instant,
}

/// The kernel's number of a device.
pub fn ifindex(namespace: &Namespace, device: &str) -> Result<u32> {
    let line = namespace.ip(&format!("-oneline link show dev {device}"))?;
    line.split(':').next().unwrap_or_default().parse().with_context(|| format!("no device number in: {line}"))
}

/// A core as the kernel's masks of CPUs name it: hexadecimal, a comma every 32 bits.
fn mask(core: CoreId) -> String {
    format!("{:x}{}", 1u32 << (core.id % 32), ",00000000".repeat(core.id / 32))
}

/// A TCP acknowledgement from the left host to the right one.
fn datagram(lab: &Lab, kind: Kind) -> [u8; FRAME] {
    let (left, right) = (lab.left(), lab.right());
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(match kind {
        Kind::Route => &left.gateway_mac,
        Kind::Bridge => &right.mac,
    });
    frame[6..12].copy_from_slice(&left.mac);
    frame[12..14].copy_from_slice(&[8, 0]);
    if let Some(mut header) = ip4::Ip4Mut::new(&mut frame[14..]) {
        header.set_lengths(ip4::LENGTH, (FRAME - 14) as u16);
        header.set_ttl_protocol(64, ip4::TCP);
        header.set_addresses(left.address.into(), right.address.into());
    }
    ip4::write_checksum(&mut frame[14..34]);
    // Ports, sequence and acknowledgement numbers; 32 bytes of header, ACK, window; no checksum, which no router looks at; timestamps.
    frame[34..46].copy_from_slice(&[0x10, 0, 0x20, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    frame[46..50].copy_from_slice(&[0x80, 0x10, 0x10, 0]);
    frame[54..58].copy_from_slice(&[1, 1, 8, 10]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_groups_of_32_bits() {
        assert_eq!(mask(CoreId { id: 1 }), "2");
        assert_eq!(mask(CoreId { id: 69 }), "20,00000000,00000000");
    }
}
