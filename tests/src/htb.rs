//! The kernel's own shaper, set up as LibreQoS does: in each direction an HTB with a class for each customer below one for their tower.

use std::fmt;

use anyhow::Result;

use crate::namespace::{Namespace, succeed};
use crate::plans::Customer;

/// Bytes that a class may send at its turn: the largest plan's, and the least; between them by the rate. LibreQoS's.
const QUANTUM: [f64; 2] = [60_000.0, 1522.0];

/// What holds a customer's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// CAKE without a rate of its own.
    Cake,
    /// fq_codel.
    FqCodel,
    /// First in, first out, 1,000 packets: what HTB itself gives a class on an Ethernet device.
    Pfifo,
}

impl Leaf {
    /// In the order in which LibreQoS would have them. The kernel need not have any but the last.
    const ALL: [Leaf; 3] = [Leaf::Cake, Leaf::FqCodel, Leaf::Pfifo];

    fn words(self) -> &'static str {
        match self {
            Leaf::Cake => "cake diffserv4",
            Leaf::FqCodel => "fq_codel",
            Leaf::Pfifo => "pfifo limit 1000",
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Leaf::Cake => "cake",
            Leaf::FqCodel => "fq_codel",
            Leaf::Pfifo => "pfifo",
        })
    }
}

/// Customers held to their plans by the kernel, until this is dropped. What is sent past the kernel's queues, as weir does, is not held.
#[derive(Debug)]
pub struct Htb<'a> {
    namespace: &'a Namespace,
    ports: [&'a str; 2],
    leaf: Leaf,
}

impl<'a> Htb<'a> {
    /// Holds what leaves by these two ports, towards the customers and towards the internet, to the customers' plans and the tower's
    /// rates in Mbit/s. What is nobody's is not held.
    pub fn hold(
        namespace: &'a Namespace,
        ports: [&'a str; 2],
        tower: [f64; 2],
        customers: &[Customer<'_>],
    ) -> Result<Htb<'a>> {
        // dropped, and so taken off, if anything below fails
        let mut htb = Htb { namespace, ports, leaf: Leaf::Pfifo };
        for (way, port) in ports.into_iter().enumerate() {
            htb.tc(&format!("qdisc replace dev {port} root handle 1: htb"))?;
            let whole = bits(tower[way]);
            htb.tc(&format!("class add dev {port} parent 1: classid 1:1 htb rate {whole} ceil {whole}"))?;
            let largest = customers.iter().map(|customer| customer.max[way]).fold(0.0, f64::max);
            for (customer, number) in customers.iter().zip(0x10..) {
                let [most, least] = QUANTUM;
                let quantum = (most * customer.max[way] / largest).max(least).round();
                let (rate, ceil) = (bits(customer.min[way]), bits(customer.max[way]));
                htb.tc(&format!(
                    "class add dev {port} parent 1:1 classid 1:{number:x} htb rate {rate} ceil {ceil} quantum {quantum}"
                ))?;
                htb.leaf = htb.furnish(&format!("qdisc add dev {port} parent 1:{number:x}"))?;
                let end = ["dst", "src"][way];
                htb.tc(&format!(
                    "filter add dev {port} parent 1: protocol ip prio 1 u32 match ip {end} {}/32 flowid 1:{number:x}",
                    customer.host.address
                ))?;
            }
        }
        Ok(htb)
    }

    /// What holds the customers' packets: the best that this kernel has.
    pub fn leaf(&self) -> Leaf {
        self.leaf
    }

    /// Gives a class the best leaf there is.
    fn furnish(&self, words: &str) -> Result<Leaf> {
        let mut outcome = Ok(Leaf::Pfifo);
        for leaf in Leaf::ALL {
            outcome = self.tc(&format!("{words} {}", leaf.words())).map(|()| leaf);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn tc(&self, words: &str) -> Result<()> {
        succeed(self.namespace.command("tc").args(words.split(' '))).map(drop)
    }
}

impl Drop for Htb<'_> {
    fn drop(&mut self) {
        for port in self.ports {
            let _ = self.tc(&format!("qdisc delete dev {port} root"));
        }
    }
}

/// As `tc` takes it, of so many Mbit/s.
fn bits(rate: f64) -> String {
    format!("{}bit", (rate * 1e6).round())
}
