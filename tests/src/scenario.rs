//! One scenario, run by two forwarders: the Linux kernel, which shows that the lab and the assertions are right, and weir.

use std::thread;

use anyhow::{Result, ensure};
use rustix::net::{AddressFamily, SocketType, socket};

use crate::appliance::Weir;
use crate::lab::Lab;

/// Who forwards in the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarder {
    /// Linux itself: weir is not started.
    Kernel,
    /// weir, on all of the router's ports.
    Weir,
}

/// What a scenario needs.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The hosts around the router.
    pub hosts: &'static [&'static str],
    /// Queues of each device.
    pub queues: u32,
    /// weir's workers.
    pub workers: usize,
    /// The file of customers, if weir is to measure round-trip times.
    pub customers: Option<&'static str>,
    /// The hosts `left` and `right` are in one network, and what stands between them is a bridge.
    pub bridge: bool,
    /// The MTU of all wires.
    pub mtu: u32,
    /// Routed hosts have IPv6 beside IPv4.
    pub ip6: bool,
}

/// Two hosts, one queue, one worker.
pub const PLAIN: Setting = Setting {
    hosts: &["left", "right"],
    queues: 1,
    workers: 1,
    customers: None,
    bridge: false,
    mtu: 1500,
    ip6: false,
};
/// As [`PLAIN`], with IPv6 beside IPv4.
pub const PLAIN_IP6: Setting = Setting { ip6: true, ..PLAIN };
/// As [`PLAIN`], joined by a bridge.
pub const BRIDGED: Setting = Setting { bridge: true, ..PLAIN };
/// As [`PLAIN`], with a third host that stands for another way to the same addresses.
pub const THREE_HOSTS: Setting = Setting { hosts: &["left", "right", "far"], ..PLAIN };

/// Builds the lab, starts the forwarder, runs `scenario`, and checks that weir has lost no packet and leaves in peace.
/// Says so and returns where this machine cannot do it. Panics, as a test does, when anything is not as it should be.
pub fn run(forwarder: Forwarder, setting: Setting, scenario: impl FnOnce(&Lab, Option<&Weir>) -> Result<()>) {
    let outcome = unless_skipped(|| {
        let lab = if setting.bridge {
            Lab::bridged(setting.queues)
        } else {
            Lab::with_hosts(setting.hosts, setting.queues)
        }?;
        lab.set_mtu(setting.mtu)?;
        if setting.ip6 {
            lab.add_ip6()?;
        }
        if forwarder == Forwarder::Kernel {
            return scenario(&lab, None);
        }
        let weir = match setting.customers {
            _ if setting.bridge => Weir::bridging(&lab, setting.workers),
            Some(customers) => Weir::measuring(&lab, setting.workers, customers),
            None => Weir::start(&lab, setting.workers),
        }?;
        let frames = weir.counters().frames()?;
        let outcome = scenario(&lab, Some(&weir)).and_then(|()| {
            // or the kernel has forwarded after all
            ensure!(weir.counters().received()? > 0, "weir has not received a packet");
            weir.counters().conserve()?;
            let left = weir.counters().frames()?;
            ensure!(left == frames, "{left} of {frames} frames are left");
            Ok(())
        });
        match outcome {
            Ok(()) => weir.stop(),
            Err(error) => {
                Err(error.context(format!("weir said:\n{}\nand counted:\n{}", weir.log(), weir.counters())))
            }
        }
    });
    if let Err(error) = outcome {
        panic!("{error:?}");
    }
}

/// Runs `test`, unless this machine lacks what the lab needs: then says `SKIP`, with the reason.
pub fn unless_skipped(test: impl FnOnce() -> Result<()>) -> Result<()> {
    match missing() {
        Some(reason) => {
            // the test harness names the thread after the test
            eprintln!("SKIP {}: {reason}", thread::current().name().unwrap_or("a test"));
            Ok(())
        }
        None => test(),
    }
}

/// What keeps the lab from being built here.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root, for network namespaces and XDP".to_owned());
    }
    if let Err(error) = socket(AddressFamily::XDP, SocketType::RAW, None) {
        return Some(format!("this kernel has no AF_XDP sockets ({error})"));
    }
    if let Err(error) = crate::namespace::Namespace::new("trial") {
        return Some(format!("no network namespace can be made here: {error:#}"));
    }
    None
}

/// Makes of each scenario, a function `fn(&Lab, Option<&Weir>) -> anyhow::Result<()>`, two tests: `<name>::kernel` and
/// `<name>::weir`.
#[macro_export]
macro_rules! forwarded_by_both {
    ($($name:ident in $setting:expr;)*) => {$(
        mod $name {
            use $crate::scenario::{Forwarder, run};

            #[allow(unused_imports, reason = "for the names in the setting")]
            use super::*;

            #[test]
            fn kernel() {
                run(Forwarder::Kernel, $setting, super::$name);
            }

            #[test]
            fn weir() {
                run(Forwarder::Weir, $setting, super::$name);
            }
        }
    )*};
}
