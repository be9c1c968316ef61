//! Which ports are VLANs of other ports: as the config says, or as the kernel's devices are.
//!
//! ```text
//!   [[port]] with `parent` and `vlan` ─┐
//!                                      ├─▶ SubInterface: the port whose rings carry it, and its tags
//!   eth1.7.100 ─▶ eth1.7 ─▶ eth1  ─────┘        inner tag 100, outer tag 7
//!   the kernel's VLAN devices
//! ```

use weir_graph::packet::PortIndex;
use weir_graph::ports::Ports;
use weir_graph::wire::vlan::Tags;

use crate::config::Config;
use crate::kernel::Link;

/// A port that is a VLAN of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubInterface {
    /// The port whose frames carry its tags.
    pub carrier: PortIndex,
    /// One or two.
    pub tags: Tags,
}

/// Why a VLAN can't be a port.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)] // the texts say it
pub enum Error {
    #[error(
        "{device} is a VLAN of {parent}, whose frames carry it: add `[[port]]` and below it `device = \"{parent}\"` to the config"
    )]
    NoParent { device: String, parent: String },
    #[error("{device} has more than two tags, which is the most that weir routes: leave its [[port]] out")]
    TooManyTags { device: String },
    #[error("{device} and {other} are the same VLAN of one port: leave one [[port]] out")]
    Twice { device: String, other: String },
}

/// By port: which of them are VLANs of others. A bridge has none: it carries frames whatever their tags are.
pub fn find(config: &Config, links: &[&Link]) -> Result<Vec<Option<SubInterface>>, Error> {
    if config.bridge.is_some() {
        return Ok(vec![None; config.ports.len()]);
    }
    let port = |device: &str| config.ports.iter().position(|port| port.device == device);
    let mut found: Vec<Option<SubInterface>> = Vec::new();
    for one in &config.ports {
        let device = one.device.clone();
        let (parent, tags) = match &one.vlan {
            Some(vlan) => (vlan.parent.clone(), vlan.tags()),
            None => match by_kernel(&device, links)? {
                Some(known) => known,
                None => {
                    found.push(None);
                    continue;
                }
            },
        };
        let Some(carrier) = port(&parent) else { return Err(Error::NoParent { device, parent }) };
        // The config has fewer ports than a port's number can count.
        let this = SubInterface { carrier: carrier as PortIndex, tags };
        if let Some(other) = found.iter().position(|other| *other == Some(this)) {
            return Err(Error::Twice { device, other: config.ports[other].device.clone() });
        }
        found.push(Some(this));
    }
    Ok(found)
}

/// Tells the graph. Before the first packet.
pub fn join(ports: &Ports, found: &[Option<SubInterface>]) {
    for carrier in 0..found.len() as PortIndex {
        let of_carrier = (0..).zip(found).filter_map(|(port, this)| {
            let SubInterface { tags, .. } = this.filter(|this| this.carrier == carrier)?;
            Some((tags, port))
        });
        let list: Vec<(Tags, PortIndex)> = of_carrier.collect();
        if !list.is_empty() {
            ports.set_sub_interfaces(carrier, &list);
        }
    }
}

/// What the kernel says of a device: the device at the bottom, and the tags on the way down to it. `None`: it is no VLAN.
fn by_kernel(device: &str, links: &[&Link]) -> Result<Option<(String, Tags)>, Error> {
    let Some(link) = links.iter().find(|link| link.name == device) else { return Ok(None) };
    let Some(inner) = link.vlan else { return Ok(None) };
    let below = |index: u32| links.iter().find(|link| link.index == index);
    let too_many = || Error::TooManyTags { device: device.to_owned() };
    let Some(parent) = below(inner.parent) else { return Ok(None) };
    let Some(outer) = parent.vlan else {
        return Ok(Some((parent.name.clone(), Tags::one(inner.kind, inner.id))));
    };
    let bottom = below(outer.parent).filter(|bottom| bottom.vlan.is_none()).ok_or_else(too_many)?;
    Ok(Some((bottom.name.clone(), Tags::one(outer.kind, outer.id).with_inner(inner.kind, inner.id))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernel::VlanOf;

    fn link(index: u32, name: &str, vlan: Option<(u32, u16, u16)>) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            running: true,
            rx_queues: 1,
            master: None,
            bridge: false,
            vlan: vlan.map(|(parent, kind, id)| VlanOf { parent, kind, id }),
        }
    }

    fn found(ports: &str) -> Result<Vec<Option<SubInterface>>, Error> {
        let links = [
            link(1, "eth1", None),
            link(2, "eth1.7", Some((1, 0x88a8, 7))),
            link(3, "eth1.7.100", Some((2, 0x8100, 100))),
            link(4, "deep", Some((3, 0x8100, 1))),
            link(5, "eth1.5", Some((1, 0x8100, 5))),
            link(6, "eth2", None),
        ];
        let config = Config::parse(&format!("port = [{ports}]\n"), Path::new("/weir.toml")).unwrap();
        find(&config, &links.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_the_kernel_says_and_what_the_config_says_is_one() {
        let port = |device: &str| format!("{{ device = \"{device}\" }}, ");
        let by_kernel = ["eth2", "eth1", "eth1.5", "eth1.7.100", "eth1.7"].map(port).concat();
        let sub = |tags| Some(SubInterface { carrier: 1, tags });
        let two = Tags::one(0x88a8, 7).with_inner(0x8100, 100);
        let all = [None, None, sub(Tags::one(0x8100, 5)), sub(two), sub(Tags::one(0x88a8, 7))];
        assert_eq!(found(&by_kernel), Ok(all.to_vec()));
        let ports = Ports::new(5);
        join(&ports, &all);
        assert_eq!((ports.sub_interface(1, two), ports.carrier(3), ports.carrier(1)), (Some(3), 1, 1));
        let by_config =
            "{ device = \"eth2\" }, { device = \"eth1\" }, { device = \"tap\", parent = \"eth1\", vlan = 5 }";
        assert_eq!(found(by_config), Ok(all[..3].to_vec()));
    }

    #[test]
    fn what_can_not_be_a_port_is_told() {
        let error = found("{ device = \"eth1.7.100\" }").unwrap_err();
        assert!(error.to_string().contains("`device = \"eth1\"`"), "{error}");
        let error = found("{ device = \"eth1\" }, { device = \"deep\" }").unwrap_err();
        assert_eq!(error, Error::TooManyTags { device: "deep".into() });
        let twice = "{ device = \"eth1\" }, { device = \"eth1.5\" }, { device = \"tap\", parent = \"eth1\", vlan = 5 }";
        let error = found(twice).unwrap_err();
        assert_eq!(error, Error::Twice { device: "tap".into(), other: "eth1.5".into() });
    }
}
