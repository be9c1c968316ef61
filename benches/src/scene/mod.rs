//! The measured path: a generator in the left host, the router, a receiver in the right host; and what may forward in the router.
//!
//! ```text
//!   generator core                                            forwarder core
//!   left: live frames ─ wire ═ to-left: XDP, copy to the ring │ forwarder ─ to-right ═ wire: right, XDP: counted, dropped
//! ```
//! A veth's receiving end runs on the core that sends to it. So the generator's core also carries the first half of the forwarding (driver,
//! XDP, copy into the UMEM), and the forwarder's core the second half, with the receiver. Where the kernel forwards, receive packet steering
//! divides the work at the same place.

mod bare;
mod forwarder;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use core_affinity::CoreId;
use serde::Serialize;
use weir_tests::lab::{Host, Lab, WIRE};
use weir_tests::namespace::succeed;

use crate::pktgen::accounts::Received;
use crate::pktgen::live::Live;
use crate::pktgen::pace::{Amount, Pace};
use crate::pktgen::range::{Addresses, Ports, Range};
use crate::pktgen::receiver::Receiver;
use crate::pktgen::shape::{Order, Shape, Traffic, Transport};
use crate::pktgen::sizes::Sizes;
use crate::pktgen::{Device, Sent};

pub use self::forwarder::{Duty, Forwarder, sections};

/// After the generator's end, until all that was under way has arrived: some 2,000 packets in a ring, and a worker that may be asleep.
const QUIET: Duration = Duration::from_millis(50);
/// Flows of all traffic.
pub const FLOWS: u32 = 1024;

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
pub struct Scene {
    /// The namespaces.
    pub lab: Lab,
    /// What the router is.
    pub kind: Kind,
    /// The forwarder's cores; the first is not the generator's.
    pub forwarders: Vec<CoreId>,
    ingress: Device,
    generator: CoreId,
    receiver: Receiver,
}

/// What became of a trial's packets.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What was offered.
    pub sent: Sent,
    /// What has arrived; `None`: nothing.
    pub received: Option<Received>,
}

impl Trial {
    /// Packets that have arrived, again ones included.
    pub fn arrived(&self) -> u64 {
        self.received.as_ref().map_or(0, |received| received.packets)
    }

    /// Packets a second that have arrived, while any have.
    pub fn rate(&self) -> f64 {
        self.received.as_ref().map_or(0.0, |received| received.packets as f64 / received.seconds.max(1e-9))
    }

    /// The part of the packets that has not arrived.
    pub fn loss(&self) -> f64 {
        let once = self.received.as_ref().map_or(0, Received::once);
        1.0 - once as f64 / self.sent.packets.max(1) as f64
    }
}

impl Scene {
    /// Builds the path. The generator will run on `generator`; the kernel sends on what it forwards by the first of `forwarders`. Devices have a queue for each of these, as
    /// workers need them; since a veth's sender goes by its core, all packets come by one.
    pub fn new(kind: Kind, generator: CoreId, forwarders: &[CoreId]) -> Result<Scene> {
        let queues = u32::try_from(forwarders.len())?;
        let lab = match kind {
            Kind::Route => Lab::new(queues),
            Kind::Bridge => Lab::bridged(queues),
        }?;
        let (left, right) = (lab.left(), lab.right());
        // The receiver answers no ARP, and a bridge never sees a frame of its.
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
        let first = *forwarders.first().context("no core is left for a forwarder")?;
        let steering = format!("/sys/class/net/{}/queues/rx-*/rps_cpus", left.port);
        let steer = format!("for queue in {steering}; do echo {} > $queue || exit 1; done", mask(first));
        succeed(lab.router.command("sh").arg("-c").arg(steer))
            .context("the kernel's forwarding cannot be moved to the forwarder's core")?;

        let receiver = right.namespace.run(|| Receiver::attach(&Device::named(WIRE)?, 1))??;
        let ingress = left.namespace.run(|| Device::named(WIRE))??;
        Ok(Scene { ingress, generator, forwarders: forwarders.to_vec(), receiver, kind, lab })
    }

    /// A generator of traffic from the left host to the right one.
    pub fn generator(&self, transport: Transport, sizes: Sizes) -> Result<Live> {
        let (left, right) = (self.lab.left(), self.lab.right());
        let shape = Shape::new(&Traffic {
            source_mac: left.mac,
            destination_mac: match self.kind {
                Kind::Route => left.gateway_mac,
                Kind::Bridge => right.mac,
            },
            vlans: Vec::new(),
            sources: Addresses::from(std::net::IpAddr::from(left.address)),
            destinations: Addresses::from(std::net::IpAddr::from(right.address)),
            source_ports: Ports(Range { first: 4096, count: FLOWS }),
            destination_ports: Ports(Range { first: 8192, count: 1 }),
            transport,
            sizes,
            flows: None,
            order: Order::Random,
            stream: 0,
            echo: Duration::from_millis(20),
        })?;
        Live::new(&shape, &self.ingress)
    }

    /// Offers what the generator makes, and says what has become of it.
    pub fn trial(&self, generator: &Live, pace: Pace, amount: Amount) -> Result<Trial> {
        self.receiver.reset()?;
        let sent = self.lab.left().namespace.run(|| {
            ensure!(core_affinity::set_for_current(self.generator), "cannot use core {}", self.generator.id);
            generator.send(pace, amount, &AtomicBool::new(false))
        })??;
        thread::sleep(QUIET);
        Ok(Trial { sent, received: self.receiver.received()?.pop() })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Route => "routed",
            Kind::Bridge => "bridged",
        })
    }
}

/// A core as the kernel's masks of CPUs name it: hexadecimal, a comma every 32 bits.
fn mask(core: CoreId) -> String {
    format!("{:x}{}", 1u32 << (core.id % 32), ",00000000".repeat(core.id / 32))
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
