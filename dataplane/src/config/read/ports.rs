//! The ports, and the section `[bridge]` that joins them.

use std::ops::Range;

use strum::VariantNames;
use toml::de::DeTable;
use weir_graph::ports::Side;

use super::{BRIDGE, PORT, Reader, Value, nearest, quoted, wrong_type};
use crate::config::{BridgeConfig, PortConfig, Problem};

/// Longest device name in bytes: `IFNAMSIZ` less the terminator (`linux/if.h`).
const DEVICE_NAME: usize = 15;
/// VLANs that a frame can be tagged with: 0 and 4095 are no VLAN (IEEE 802.1Q §9.6).
pub(super) const VLANS: std::ops::RangeInclusive<i64> = 1..=4094;

impl Reader<'_> {
    pub(super) fn ports(&mut self, value: Option<&Value<'_>>) -> Vec<PortConfig> {
        const FIX: &str = "write `[[port]]` and below it `device = \"eth1\"`, once for each port";
        let Some(value) = value else {
            if self.complete {
                let what = "there is no [[port]]".to_owned();
                self.problems.push(Problem::of_file(self.path, what, FIX.to_owned()));
            }
            return Vec::new();
        };
        let Some(list) = value.get_ref().as_array() else {
            self.problem(value.span(), "ports are a list of tables", FIX);
            return Vec::new();
        };
        let (mut ports, mut spans): (Vec<PortConfig>, Vec<Range<usize>>) = Default::default();
        for item in list.iter() {
            let Some(table) = item.get_ref().as_table() else {
                self.problem(item.span(), "a port is a table", FIX);
                continue;
            };
            self.unknown_keys(table, PORT);
            let Some(value) = table.get("device") else {
                if self.complete {
                    self.problem(
                        item.span(),
                        "this port has no device",
                        "write `device = \"eth1\"` below it",
                    );
                }
                continue;
            };
            let Some(device) = self.string(value, "device", "\"eth1\"") else { continue };
            if let Some((what, fix)) = wrong_device_name(device) {
                self.problem(value.span(), &what, fix);
            } else if ports.iter().any(|port| port.device == device) {
                let what = format!("device {device:?} is a port already");
                self.problem(value.span(), &what, "name each device once");
            } else {
                let side = table.get("side").and_then(|value| self.side(value));
                let vlan = self.vlan(table);
                ports.push(PortConfig { device: device.to_owned(), side, vlan });
                spans.push(value.span());
            }
        }
        if list.is_empty() {
            self.problem(value.span(), "there is no port", FIX);
        }
        self.check_vlans(&ports, &spans);
        ports
    }

    fn side(&mut self, value: &Value<'_>) -> Option<Side> {
        let word = self.string(value, "side", "\"wan\"")?;
        let side = word.parse().ok();
        if side.is_none() {
            let fix = match nearest(word, Side::VARIANTS) {
                Some(near) => format!("write \"{near}\""),
                None => format!("write one of {}", quoted(Side::VARIANTS, "\"")),
            };
            self.problem(value.span(), &format!("there is no side {word:?}"), &fix);
        }
        side
    }

    /// The section's table and all tables, to point at a port's side. `None` also where something is wrong; then there are problems.
    pub(super) fn bridge(
        &mut self,
        table: &DeTable<'_>,
        tables: &DeTable<'_>,
        ports: &[PortConfig],
    ) -> Option<BridgeConfig> {
        const FIX: &str =
            "write `ports = [\"eth1\", \"eth2\"]`, or for one port with two VLANs `port = \"eth1\"`";
        let header = tables.get_key_value(BRIDGE.name).map_or(0..0, |(key, _)| key.span());
        if let Some(port) = ports.iter().find(|port| port.vlan.is_some()) {
            let what =
                format!("{:?} is a VLAN, and a bridge carries frames whatever their tags are", port.device);
            let place = port_table(tables, &port.device).and_then(|table| table.get("device"));
            let fix = "leave out `parent` and `vlan`, or for a bridge between two VLANs of one port write `port`, `wan-vlan` and `lan-vlan`";
            self.problem(place.map_or(0..0, toml::Spanned::span), &what, fix);
            return None;
        }
        match (table.get("ports"), table.get("port")) {
            (Some(both), None) => {
                for key in ["wan-vlan", "lan-vlan"] {
                    if let Some(vlan) = table.get(key) {
                        let what = format!("`{key}` belongs to a bridge on one port");
                        self.problem(
                            vlan.span(),
                            &what,
                            "leave it out, or write `port` in the place of `ports`",
                        );
                    }
                }
                self.two_ports(both, tables, ports)
            }
            (None, Some(one)) => self.one_port(one, table, header, tables, ports),
            (Some(_), Some(one)) => {
                self.problem(one.span(), "`ports` and `port` can't both be the bridge's", FIX);
                None
            }
            (None, None) => {
                if self.complete {
                    self.problem(header, "[bridge] names no ports", FIX);
                }
                None
            }
        }
    }

    fn two_ports(
        &mut self,
        value: &Value<'_>,
        tables: &DeTable<'_>,
        ports: &[PortConfig],
    ) -> Option<BridgeConfig> {
        const FIX: &str = "write `ports = [\"eth1\", \"eth2\"]`: the devices of two [[port]] tables";
        let Some(list) = value.get_ref().as_array() else {
            self.problem(value.span(), &wrong_type("`ports`", "a list", value), FIX);
            return None;
        };
        let mut devices = Vec::new();
        for item in list.iter() {
            let device = self.bridge_port(item, ports)?;
            if devices.contains(&device) {
                self.problem(item.span(), &format!("port {device:?} is on both sides"), FIX);
                return None;
            }
            devices.push(device);
        }
        if devices.len() != 2 {
            self.problem(
                value.span(),
                &format!("a bridge has two ports, and this has {}", devices.len()),
                FIX,
            );
            return None;
        }
        if let Some(other) = ports.iter().find(|port| !devices.contains(&port.device.as_str())) {
            self.other_port(&other.device, tables);
            return None;
        }
        let [one, other] = ports else { return None };
        let (span, what, fix) = match (one.side, other.side) {
            (Some(one), Some(both)) if one == both => {
                let free = if both == Side::Wan { Side::Lan } else { Side::Wan };
                (side_of(tables, &other.device), format!("both ports are on the side \"{both}\""), free)
            }
            (Some(side), None) | (None, Some(side)) => {
                let (of, without) = if one.side.is_some() { (one, other) } else { (other, one) };
                let free = if side == Side::Wan { Side::Lan } else { Side::Wan };
                let what = format!("this port has a side, and {:?} has none", without.device);
                let fix =
                    format!("write `side = \"{free}\"` for {:?} too, or leave both out", without.device);
                self.problem(side_of(tables, &of.device), &what, &fix);
                return None;
            }
            _ => return Some(BridgeConfig::TwoPorts),
        };
        self.problem(span, &what, &format!("write \"{fix}\" for one of them"));
        None
    }

    fn one_port(
        &mut self,
        value: &Value<'_>,
        table: &DeTable<'_>,
        header: Range<usize>,
        tables: &DeTable<'_>,
        ports: &[PortConfig],
    ) -> Option<BridgeConfig> {
        let device = self.bridge_port(value, ports)?;
        if let Some(other) = ports.iter().find(|port| port.device != device) {
            self.other_port(&other.device, tables);
            return None;
        }
        if ports.iter().any(|port| port.side.is_some()) {
            let what = "this port is both sides: its VLANs are one each";
            self.problem(side_of(tables, device), what, "leave `side` out");
            return None;
        }
        let mut vlan = |key: &str, example: u16| match table.get(key) {
            Some(value) => self.number(value, key, VLANS).and_then(|vlan| u16::try_from(vlan).ok()),
            None => {
                if self.complete {
                    let what = format!("a bridge on one port has two VLANs, and `{key}` is missing");
                    self.problem(header.clone(), &what, &format!("write `{key} = {example}` below it"));
                }
                None
            }
        };
        let (wan_vlan, lan_vlan) = (vlan("wan-vlan", 2), vlan("lan-vlan", 3));
        let (wan_vlan, lan_vlan) = (wan_vlan?, lan_vlan?);
        if wan_vlan == lan_vlan {
            let span = table.get("lan-vlan").map_or(header, toml::Spanned::span);
            self.problem(span, "both sides are the same VLAN", "write the number of another one");
            return None;
        }
        Some(BridgeConfig::OnePort { wan_vlan, lan_vlan })
    }

    /// The name of a port, which must be one of `ports`.
    fn bridge_port<'v>(&mut self, value: &'v Value<'_>, ports: &[PortConfig]) -> Option<&'v str> {
        let Some(device) = value.get_ref().as_str() else {
            let what = wrong_type("a port", "a string", value);
            self.problem(value.span(), &what, "write the device of a [[port]] such as \"eth1\"");
            return None;
        };
        if !ports.iter().any(|port| port.device == device) {
            if self.complete {
                let names: Vec<&str> = ports.iter().map(|port| port.device.as_str()).collect();
                let fix = match nearest(device, &names) {
                    Some(near) => format!("write \"{near}\""),
                    None => format!("write `[[port]]` and below it `device = {device:?}`"),
                };
                self.problem(value.span(), &format!("there is no [[port]] {device:?}"), &fix);
            }
            return None;
        }
        Some(device)
    }

    fn other_port(&mut self, device: &str, tables: &DeTable<'_>) {
        let what = format!("port {device:?} is not in the bridge, and weir can't route beside a bridge");
        let place = port_table(tables, device).and_then(|table| table.get("device"));
        self.problem(place.map_or(0..0, toml::Spanned::span), &what, "leave this [[port]] out");
    }
}

/// The table of the port with this device.
fn port_table<'t, 'i>(tables: &'t DeTable<'i>, device: &str) -> Option<&'t DeTable<'i>> {
    let list = tables.get(PORT.name)?.get_ref().as_array()?;
    let mut ports = list.iter().filter_map(|item| item.get_ref().as_table());
    ports.find(|table| table.get("device").and_then(|value| value.get_ref().as_str()) == Some(device))
}

fn side_of(tables: &DeTable<'_>, device: &str) -> Range<usize> {
    port_table(tables, device).and_then(|table| table.get("side")).map_or(0..0, toml::Spanned::span)
}

/// As `dev_valid_name` in the kernel's `net/core/dev.c`.
pub(super) fn wrong_device_name(name: &str) -> Option<(String, &'static str)> {
    const FIX: &str = "write a name as `ip link` shows it";
    let what = if name.is_empty() {
        "a device has a name".to_owned()
    } else if name.len() > DEVICE_NAME {
        format!("a device's name has at most {DEVICE_NAME} bytes, and this has {}", name.len())
    } else if name == "." || name == ".." {
        "Linux allows no device of this name".to_owned()
    } else if name.bytes().any(|byte| matches!(byte, b'/' | b':' | b' ' | b'\t'..=b'\r' | 0 | 0xa0)) {
        "a device's name has no slash, colon or white space".to_owned()
    } else {
        return None;
    };
    Some((what, FIX))
}
