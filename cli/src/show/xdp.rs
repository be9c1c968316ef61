//! `weirstat show xdp`: what the XDP program decided, per port and CPU. VPP has no such view; this one has the columns of
//! its `show interface`.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::columns::centred;
use super::found::{Found, ports};
use super::{Missing, Text};

const NAMES: &str = "/if/names";
const VERDICTS: &str = "/xdp/";

/// Whether the view reads this entry.
pub fn wants(path: &str) -> bool {
    path == NAMES || path.starts_with(VERDICTS)
}

/// The view.
#[derive(Debug, Serialize)]
pub struct Xdp {
    ports: Vec<Port>,
}

#[derive(Debug, Serialize)]
struct Port {
    name: String,
    index: usize,
    verdicts: Verdicts,
}

#[derive(Debug)]
struct Verdicts(Vec<Verdict>);

#[derive(Debug, Serialize)]
struct Verdict {
    #[serde(skip)]
    name: String,
    packets: u64,
    /// Packets by CPU.
    cpus: Vec<u64>,
}

impl Serialize for Verdicts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for verdict in &self.0 {
            map.serialize_entry(&verdict.name, verdict)?;
        }
        map.end()
    }
}

impl Xdp {
    /// The verdicts in the segment, in the order in which they were registered.
    pub fn of(found: &Found) -> Result<Xdp, Missing> {
        let names = found.names(NAMES).ok_or(Missing { what: "interfaces", entry: NAMES })?;
        let verdicts = || {
            found.below(VERDICTS).filter(|verdict| !found.simple(&format!("{VERDICTS}{verdict}")).is_empty())
        };
        if verdicts().next().is_none() {
            return Err(Missing { what: "XDP program", entry: VERDICTS });
        }
        let ports = ports(names).map(|(index, name)| {
            let verdicts = verdicts().map(|verdict| {
                let path = format!("{VERDICTS}{verdict}");
                let rows = found.simple(&path).iter();
                Verdict {
                    name: verdict.to_owned(),
                    packets: found.sum(&path, index),
                    cpus: rows.map(|row| row.get(index).copied().unwrap_or(0)).collect(),
                }
            });
            Port { name: name.to_owned(), index, verdicts: Verdicts(verdicts.collect()) }
        });
        Ok(Xdp { ports: ports.collect() })
    }
}

impl Text for Xdp {
    fn lines(&self) -> Vec<String> {
        let header = [("Name", 32), ("Idx", 5), ("Verdict", 16), ("Packets", 16)];
        let header = header.map(|(title, width)| centred(title, width)).concat();
        let mut lines = vec![format!("{header}  CPU:Packets")];
        for Port { name, index, verdicts } in &self.ports {
            let mut start = format!("{name:<32}{}", centred(&index.to_string(), 5));
            let counted: Vec<_> = verdicts.0.iter().filter(|verdict| verdict.packets > 0).collect();
            if counted.is_empty() {
                lines.push(start.clone());
            }
            for Verdict { name, packets, cpus } in counted {
                let cpus = cpus.iter().enumerate().filter(|(_, packets)| **packets > 0);
                let cpus: Vec<_> = cpus.map(|(cpu, packets)| format!("{cpu}:{packets}")).collect();
                lines.push(format!("{start}{name:<16}{packets:>16}  {}", cpus.join(" ")));
                start = " ".repeat(start.chars().count());
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::{found, segment};
    use super::super::{json, text};
    use super::*;

    fn verdicts() -> weir_stats::Segment {
        let mut segment = segment();
        segment
            .register(|batch| {
                let mut names = batch.names(NAMES, 2)?;
                batch.set_name(&mut names, 0, "eth1")?;
                batch.set_name(&mut names, 1, "eth2")?;
                // Four CPUs.
                let mut redirected = batch.simple_rows("/xdp/redirected", 4, 2, 2)?;
                redirected.take_row(1).unwrap().add(0, 40);
                redirected.take_row(3).unwrap().add(0, 2);
                batch.simple_rows("/xdp/multicast", 4, 2, 2)?;
                let mut arp = batch.simple_rows("/xdp/arp", 4, 2, 2)?;
                arp.take_row(0).unwrap().add(0, 1);
                Ok(())
            })
            .unwrap();
        segment
    }

    #[test]
    fn verdicts_are_one_a_line_without_zeros() {
        assert_eq!(
            text(&Xdp::of(&found(&verdicts(), wants)).unwrap()),
            "              Name               Idx      Verdict         Packets      CPU:Packets
eth1                              0  redirected                    42  1:40 3:2
                                     arp                            1  0:1
eth2                              1
"
        );
    }

    #[test]
    fn json_has_all_verdicts_and_cpus() {
        let none = serde_json::json!({"packets": 0, "cpus": [0, 0, 0, 0]});
        assert_eq!(
            json(&Xdp::of(&found(&verdicts(), wants)).unwrap()),
            serde_json::json!({"ports": [
                {"name": "eth1", "index": 0, "verdicts": {
                    "redirected": {"packets": 42, "cpus": [0, 40, 0, 2]}, "multicast": none,
                    "arp": {"packets": 1, "cpus": [1, 0, 0, 0]}}},
                {"name": "eth2", "index": 1, "verdicts": {"redirected": none, "multicast": none, "arp": none}},
            ]})
        );
    }

    #[test]
    fn a_segment_without_verdicts_is_an_error() {
        let mut segment = segment();
        segment.register(|batch| batch.names(NAMES, 2)).unwrap();
        assert_eq!(Xdp::of(&found(&segment, wants)).unwrap_err().entry, VERDICTS);
    }
}
