//! What a reload may change while packets flow, and what needs a restart.

use std::fmt;
use std::sync::Arc;

use super::{
    BridgeConfig, Config, ControlConfig, FibConfig, Idle, PortConfig, RttConfig, ShaperConfig, StatsConfig,
    VlanConfig, WorkersConfig,
};
use crate::customers::Listed;
use crate::shaper::{Plan, difference};

/// A change that is made live.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// `workers.idle`
    Idle {
        /// The policy until now.
        old: Idle,
        /// The policy from now on.
        new: Idle,
    },
    /// What stands in the file that `rtt.prefixes` names, or which file that is.
    Customers {
        /// Prefixes until now.
        old: usize,
        /// The customers from now on.
        new: Arc<[Listed]>,
    },
    /// What stands in the files that `[shaper]` names, or which files those are.
    Plan {
        /// The plan from now on.
        new: Arc<Plan>,
        /// What is different.
        summary: String,
    },
}

/// Keys that differ and cannot change while weir runs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct NeedsRestart(pub Vec<String>);

/// What changes from `old` to `new`. All or nothing: where anything needs a restart, nothing may be changed.
pub fn changes(old: &Config, new: &Config) -> Result<Vec<Change>, NeedsRestart> {
    // Taken apart by name, so that a key that is added later must be decided upon here.
    let Config { ports, bridge, workers, stats, control, fib, rtt, shaper } = old;
    let WorkersConfig { cores, idle } = workers;
    let StatsConfig { socket, group, size } = stats;
    let ControlConfig { socket: control_socket } = control;
    let FibConfig { routes, routes6 } = fib;

    let mut restart = Vec::new();
    let mut fixed = |key: &str, old: String, new: String| {
        if old != new {
            restart.push(format!("{key} changed from {old} to {new}: that needs a restart"));
        }
    };
    fixed("the list of [[port]] devices", devices(ports), devices(&new.ports));
    fixed("the sides of the ports", sides(ports), sides(&new.ports));
    fixed("the VLANs of the ports", vlans(ports), vlans(&new.ports));
    fixed("the section [bridge]", joined(*bridge), joined(new.bridge));
    fixed("workers.cores", format!("{cores:?}"), format!("{:?}", new.workers.cores));
    fixed("stats.socket", format!("{socket:?}"), format!("{:?}", new.stats.socket));
    fixed("stats.group", or_default(group.as_deref()), or_default(new.stats.group.as_deref()));
    fixed("stats.size", or_default(size.as_ref()), or_default(new.stats.size.as_ref()));
    fixed("control.socket", format!("{control_socket:?}"), format!("{:?}", new.control.socket));
    fixed("fib.routes", routes.to_string(), new.fib.routes.to_string());
    fixed("fib.routes6", routes6.to_string(), new.fib.routes6.to_string());
    let mut customers = None;
    match (rtt, &new.rtt) {
        (None, None) => {}
        (Some(old), Some(new)) => {
            // The file's path may change: what counts is what stands in it.
            let RttConfig { interval, flows, handshakes, prefixes: _, customers: before } = old;
            fixed("rtt.interval", format!("{interval:?}"), format!("{:?}", new.interval));
            fixed("rtt.flows", flows.to_string(), new.flows.to_string());
            fixed("rtt.handshakes", handshakes.to_string(), new.handshakes.to_string());
            if *before != new.customers {
                customers = Some(Change::Customers { old: prefixes_of(before), new: new.customers.clone() });
            }
        }
        (old, new) => fixed("the section [rtt]", presence(old.is_some()), presence(new.is_some())),
    }
    let mut plan = None;
    match (shaper, &new.shaper) {
        (None, None) => {}
        (Some(old), Some(new)) => {
            let ShaperConfig { plan: before, warnings: _, warned: _, memory } = old;
            fixed("shaper.memory", memory.to_string(), new.memory.to_string());
            // Nodes count by the default, and keep what they have counted.
            let overhead = |plan: &Plan| format!("{:?}", plan.overheads.first());
            fixed("shaper.overhead", overhead(before), overhead(&new.plan));
            if *before != new.plan {
                let summary = difference(before, &new.plan).to_string();
                plan = Some(Change::Plan { new: new.plan.clone(), summary });
            }
        }
        (old, new) => fixed("the section [shaper]", presence(old.is_some()), presence(new.is_some())),
    }
    if !restart.is_empty() {
        return Err(NeedsRestart(restart));
    }
    let idle = (*idle != new.workers.idle).then_some(Change::Idle { old: *idle, new: new.workers.idle });
    Ok(idle.into_iter().chain(customers).chain(plan).collect())
}

fn devices(ports: &[PortConfig]) -> String {
    let names: Vec<&str> = ports.iter().map(|port| port.device.as_str()).collect();
    format!("{names:?}")
}

fn presence(it: bool) -> String {
    if it { "present" } else { "absent" }.to_owned()
}

fn sides(ports: &[PortConfig]) -> String {
    let sides = ports.iter().map(|port| port.side.map_or_else(|| "none".to_owned(), |side| side.to_string()));
    sides.collect::<Vec<_>>().join(", ")
}

fn vlans(ports: &[PortConfig]) -> String {
    let vlans = ports.iter().map(|port| match &port.vlan {
        None => "none".to_owned(),
        Some(VlanConfig { parent, vlan, service_vlan: None }) => format!("{vlan} of {parent}"),
        Some(VlanConfig { parent, vlan, service_vlan: Some(outer) }) => format!("{outer}.{vlan} of {parent}"),
    });
    vlans.collect::<Vec<_>>().join(", ")
}

fn joined(bridge: Option<BridgeConfig>) -> String {
    match bridge {
        None => "absent".to_owned(),
        Some(BridgeConfig::TwoPorts) => "a bridge of two ports".to_owned(),
        Some(BridgeConfig::OnePort { wan_vlan, lan_vlan }) => {
            format!("a bridge of the VLANs {wan_vlan} and {lan_vlan}")
        }
    }
}

fn prefixes_of(customers: &[Listed]) -> usize {
    customers.iter().map(|customer| customer.prefixes.len()).sum()
}

fn or_default(value: Option<impl fmt::Debug>) -> String {
    value.map_or_else(|| "the default".to_owned(), |value| format!("{value:?}"))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Idle { old, new } => write!(f, "workers.idle changed from \"{old}\" to \"{new}\""),
            Change::Plan { summary, .. } => write!(f, "shaper: {summary}"),
            Change::Customers { old, new } => {
                let (prefixes, customers) = (prefixes_of(new), new.len());
                write!(
                    f,
                    "rtt.prefixes: {prefixes} prefixes of {customers} customers now, {old} prefixes before"
                )
            }
        }
    }
}

impl fmt::Display for NeedsRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use weir_graph::ports::Side;

    use super::*;

    fn config(idle: Idle) -> Config {
        Config {
            ports: vec![PortConfig { device: "eth1".into(), side: None, vlan: None }],
            bridge: None,
            workers: WorkersConfig { cores: vec![1], idle },
            stats: StatsConfig { socket: "/a".into(), group: None, size: None },
            control: ControlConfig { socket: "/b".into() },
            fib: FibConfig { routes: 1024, routes6: 1024 },
            rtt: None,
            shaper: None,
        }
    }

    fn measured(names: &[&str]) -> Config {
        let prefix = |(at, name): (usize, &&str)| crate::prefixes::Named {
            prefix: (0xffff_0a00_0000 + at as u128, 128),
            name: (*name).to_owned(),
        };
        let rtt = RttConfig {
            interval: std::time::Duration::from_millis(100),
            flows: 1024,
            handshakes: false,
            prefixes: Some("/p".into()),
            customers: crate::customers::listed(names.iter().enumerate().map(prefix).collect()),
        };
        Config { rtt: Some(rtt), ..config(Idle::Poll) }
    }

    #[test]
    fn customers_change_live_and_all_else_of_the_measurement_does_not() {
        let (old, new) = (measured(&["a"]), measured(&["a", "b", "b"]));
        let changed = changes(&old, &new).unwrap();
        let text: Vec<String> = changed.iter().map(Change::to_string).collect();
        assert_eq!(text, ["rtt.prefixes: 3 prefixes of 2 customers now, 1 prefixes before"]);
        let mut other = new.clone();
        let rtt = other.rtt.as_mut().unwrap();
        (rtt.interval, rtt.flows, rtt.handshakes) = (std::time::Duration::ZERO, 2048, true);
        assert_eq!(
            changes(&old, &other).unwrap_err().to_string(),
            "rtt.interval changed from 100ms to 0ns: that needs a restart\n\
             rtt.flows changed from 1024 to 2048: that needs a restart\n\
             rtt.handshakes changed from false to true: that needs a restart"
        );
        assert_eq!(
            changes(&config(Idle::Poll), &new).unwrap_err().to_string(),
            "the section [rtt] changed from absent to present: that needs a restart"
        );
    }

    #[test]
    fn plans_change_live_and_the_memory_for_packets_does_not() {
        let shaped = |down: &str, memory: &str| {
            let text = format!(
                "port = [{{ device = \"eth1\", side = \"lan\" }}]\n[shaper]\nmemory = \"{memory}\"\n[[shaper.customer]]\n\
                 name = \"a\"\nprefixes = []\ndown = \"{down}\"\nup = \"1mbit\"\n"
            );
            Config::parse(&text, std::path::Path::new("weir.toml")).unwrap()
        };
        let (old, new) = (shaped("1mbit", "1GiB"), shaped("2mbit", "1GiB"));
        let text: Vec<String> = changes(&old, &new).unwrap().iter().map(Change::to_string).collect();
        assert_eq!(text, ["shaper: 1 customer with another plan"]);
        assert_eq!(changes(&old, &old), Ok(vec![]));
        assert_eq!(
            changes(&old, &shaped("2mbit", "2GiB")).unwrap_err().to_string(),
            "shaper.memory changed from 1073741824 to 2147483648: that needs a restart"
        );
        let without = Config { shaper: None, ..old.clone() };
        assert_eq!(
            changes(&without, &old).unwrap_err().to_string(),
            "the section [shaper] changed from absent to present: that needs a restart"
        );
    }

    #[test]
    fn nothing_changes_between_equal_configs() {
        assert_eq!(changes(&config(Idle::Poll), &config(Idle::Poll)), Ok(vec![]));
    }

    #[test]
    fn the_idle_policy_changes_live() {
        let changes = changes(&config(Idle::Adaptive), &config(Idle::Poll)).unwrap();
        assert_eq!(changes, [Change::Idle { old: Idle::Adaptive, new: Idle::Poll }]);
        assert_eq!(changes[0].to_string(), r#"workers.idle changed from "adaptive" to "poll""#);
    }

    #[test]
    fn what_needs_a_restart_is_all_named_and_refuses_the_rest() {
        let new = Config {
            ports: vec![PortConfig { device: "eth2".into(), side: Some(Side::Wan), vlan: None }],
            bridge: Some(BridgeConfig::OnePort { wan_vlan: 2, lan_vlan: 3 }),
            workers: WorkersConfig { cores: vec![0, 1], idle: Idle::Poll },
            stats: StatsConfig { socket: "/c".into(), group: Some("weir".into()), size: Some(1 << 30) },
            control: ControlConfig { socket: "/d".into() },
            fib: FibConfig { routes: 2048, routes6: 4096 },
            rtt: None,
            shaper: None,
        };
        let refused = changes(&config(Idle::Adaptive), &new).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the list of [[port]] devices changed from [\"eth1\"] to [\"eth2\"]: that needs a restart\n\
             the sides of the ports changed from none to wan: that needs a restart\n\
             the section [bridge] changed from absent to a bridge of the VLANs 2 and 3: that needs a restart\n\
             workers.cores changed from [1] to [0, 1]: that needs a restart\n\
             stats.socket changed from \"/a\" to \"/c\": that needs a restart\n\
             stats.group changed from the default to \"weir\": that needs a restart\n\
             stats.size changed from the default to 1073741824: that needs a restart\n\
             control.socket changed from \"/b\" to \"/d\": that needs a restart\n\
             fib.routes changed from 1024 to 2048: that needs a restart\n\
             fib.routes6 changed from 1024 to 4096: that needs a restart"
        );
    }
}
