//! Ports that are VLANs of other ports, where the config says so.

use std::ops::Range;

use toml::de::DeTable;

use super::ports::VLANS;
use super::{Reader, Value};
use crate::config::{PortConfig, VlanConfig};

/// The keys of a `[[port]]` that make it a sub-interface.
const KEYS: [&str; 3] = ["parent", "vlan", "service-vlan"];

impl Reader<'_> {
    /// What a `[[port]]` says of a VLAN. `None` also where something is wrong; then there are problems.
    pub(super) fn vlan(&mut self, table: &DeTable<'_>) -> Option<VlanConfig> {
        let [parent, vlan, service] = KEYS.map(|key| table.get(key));
        let span = [parent, vlan, service].into_iter().flatten().next()?.span();
        let (Some(parent), Some(vlan)) = (parent, vlan) else {
            if self.complete {
                let missing = if parent.is_none() { "parent = \"eth1\"" } else { "vlan = 100" };
                let what = "a port that is a VLAN of another one has a `parent` and a `vlan`";
                self.problem(span, what, &format!("write `{missing}` too"));
            }
            return None;
        };
        let parent = self.string(parent, "parent", "\"eth1\"").map(str::to_owned);
        let vlan = self.vlan_number(vlan, "vlan");
        let service_vlan = match service {
            Some(value) => Some(self.vlan_number(value, "service-vlan")?),
            None => None,
        };
        Some(VlanConfig { parent: parent?, vlan: vlan?, service_vlan })
    }

    fn vlan_number(&mut self, value: &Value<'_>, key: &str) -> Option<u16> {
        self.number(value, key, VLANS).and_then(|number| u16::try_from(number).ok())
    }

    /// Holds the VLANs of all ports against each other; `spans`: where each one's table stands.
    pub(super) fn check_vlans(&mut self, ports: &[PortConfig], spans: &[Range<usize>]) {
        for (at, (port, span)) in ports.iter().zip(spans).enumerate() {
            let Some(vlan) = &port.vlan else { continue };
            let parent = ports.iter().find(|other| other.device == vlan.parent);
            let (what, fix) = match parent {
                None if self.complete => (
                    format!("there is no [[port]] {:?} whose frames could carry this VLAN", vlan.parent),
                    format!("write `[[port]]` and below it `device = {:?}`", vlan.parent),
                ),
                Some(parent) if parent.vlan.is_some() => (
                    format!("{:?} is a VLAN itself", vlan.parent),
                    "name the port below it as `parent`, and both tags: `service-vlan` and `vlan`".to_owned(),
                ),
                _ => match ports[..at].iter().find(|other| other.vlan.as_ref() == Some(vlan)) {
                    Some(other) => (
                        format!("{:?} is this VLAN already", other.device),
                        "write the number of another one".to_owned(),
                    ),
                    None => continue,
                },
            };
            self.problem(span.clone(), &what, &fix);
        }
    }
}
