//! Where it is measured: customers and their servers, and between them a bridge that is now the kernel's, now weir's.
//!
//! ```text
//!   server-1 ──┐ switch                                    switch ┌── customer-1
//!   server-2 ──┤ in left ── wire ═ to-left ═ br0 ═ to-right ═ wire ── in right ├── customer-2
//!   …          ┘                   HTB, up       HTB, down                     └── …
//! ```
//! Each customer has a server of their own, so that either end's device counts what is theirs, whole frames in both directions.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use core_affinity::CoreId;
use weir::config::Idle;
use weir_benches::appliance::{self, Setup};
use weir_benches::machine;
use weir_tests::htb::{Htb, Leaf};
use weir_tests::lab::{Host, Lab};
use weir_tests::plans;

/// How many customers there are.
pub const CUSTOMERS: usize = 4;

/// The plans of all, in Mbit/s, down and up. Half of each is guaranteed.
#[derive(Clone, Copy, Debug)]
pub struct Plans {
    /// The ceilings.
    pub customers: [[f64; 2]; CUSTOMERS],
    /// What the tower above them carries.
    pub tower: [f64; 2],
}

/// Less than the tower has, and than any machine carries: who gets less than their plan has a bad shaper.
pub const BINDING: Plans =
    Plans { customers: [[100.0, 40.0], [50.0, 20.0], [20.0, 10.0], [10.0, 5.0]], tower: [200.0, 80.0] };
/// More than a machine with veths carries.
pub const OPEN: Plans = Plans { customers: [[20_000.0; 2]; CUSTOMERS], tower: [80_000.0; 2] };

/// Who stands between customers and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// The kernel's bridge, and nothing else.
    Kernel,
    /// The kernel's bridge, with HTB on both of its ports.
    Htb,
    /// weir's bridge, and nothing else.
    Bridge,
    /// weir's bridge and shaper.
    Shaper,
}

/// The namespaces, and the weir that is measured.
pub struct Scene {
    /// By customer.
    pub servers: Vec<Host>,
    /// The same order.
    pub customers: Vec<Host>,
    lab: Lab,
    program: PathBuf,
    core: CoreId,
}

impl Scene {
    /// Builds it. weir will be `program`, with one worker on the last core.
    pub fn new(program: PathBuf) -> Result<Scene> {
        let (_, core) = machine::cores()?;
        let lab = Lab::bridged(1)?;
        let servers = ["server-1", "server-2", "server-3", "server-4"];
        let servers = lab.behind(lab.left(), 101, &servers)?;
        let customers = lab.behind(lab.right(), 11, &NAMES)?;
        Ok(Scene { servers, customers, lab, program, core })
    }

    /// Puts `between` where it belongs while `work` runs. `work` is told weir's process, if there is one.
    pub fn with<T>(
        &self,
        between: Between,
        plans: &Plans,
        work: impl FnOnce(Option<u32>) -> Result<T>,
    ) -> Result<T> {
        let [left, right] = [self.lab.left(), self.lab.right()].map(|host| host.port.as_str());
        let bridge = format!("[bridge]\nports = [\"{left}\", \"{right}\"]\n");
        let sections = match between {
            Between::Kernel => return work(None),
            Between::Htb => {
                let _htb = Htb::hold(&self.lab.router, [right, left], plans.tower, &self.customers(plans))?;
                return work(None);
            }
            Between::Bridge => bridge,
            Between::Shaper => {
                let [down, up] = plans.tower;
                let tower = format!(
                    r#"{{"tower":{{"downloadBandwidthMbps":{down},"uploadBandwidthMbps":{up},"type":"ap"}}}}"#
                );
                plans::write(&self.lab.router.folder()?, &tower, &self.customers(plans))?;
                bridge + "[shaper]\ntree = \"network.json\"\ncircuits = \"ShapedDevices.csv\"\n"
            }
        };
        let setup = Setup { idle: Idle::Adaptive, cores: vec![self.core], sided: true, sections };
        appliance::forward(&self.lab, &self.program, &setup, |weir| {
            let outcome = work(Some(weir.id()))?;
            let sent = weir.counters()?.balance()?.sent;
            ensure!(sent > 0, "weir has carried nothing: it is the kernel that was measured");
            Ok(outcome)
        })
    }

    /// What HTB has for leaves here.
    pub fn leaf(&self) -> Result<Leaf> {
        let [left, right] = [self.lab.left(), self.lab.right()].map(|host| host.port.as_str());
        let htb = Htb::hold(&self.lab.router, [right, left], BINDING.tower, &self.customers(&BINDING))?;
        Ok(htb.leaf())
    }

    fn customers(&self, plans: &Plans) -> Vec<plans::Customer<'_>> {
        let customer = |((host, id), max): ((_, _), [f64; 2])| plans::Customer {
            host,
            id,
            node: "tower",
            min: max.map(|rate| rate / 2.0),
            max,
        };
        self.customers.iter().zip(NAMES).zip(plans.customers).map(customer).collect()
    }
}

/// What the customers are called.
pub const NAMES: [&str; CUSTOMERS] = ["alice", "bob", "carol", "dave"];
