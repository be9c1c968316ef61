//! `weirstat show interfaces`: VPP's `show interface`, but for the state and the MTU, which are the kernel's (`ip link`).

use serde::{Serialize, Serializer, ser::SerializeMap};
use weir_stats::Pair;

use super::columns::centred;
use super::found::{Found, ports};
use super::{Missing, Text};

const NAMES: &str = "/if/names";

/// Packets and bytes, in VPP's order.
const PAIRS: [&str; 2] = ["rx", "tx"];

/// Packets, in VPP's order (`vnet/interface.h`).
const COUNTS: [&str; 7] = ["drops", "punt", "ip4", "rx-no-buf", "rx-miss", "rx-error", "tx-error"];

/// Whether the view reads this entry.
pub fn wants(path: &str) -> bool {
    path == NAMES
        || path.strip_prefix("/if/").is_some_and(|leaf| PAIRS.contains(&leaf) || COUNTS.contains(&leaf))
}

/// The view.
#[derive(Debug, Serialize)]
pub struct Interfaces {
    interfaces: Vec<Interface>,
}

#[derive(Debug, Serialize)]
struct Interface {
    name: String,
    index: usize,
    #[serde(flatten)]
    counters: Counters,
}

#[derive(Debug)]
struct Counters {
    pairs: Vec<(&'static str, Pair)>,
    counts: Vec<(&'static str, u64)>,
}

#[derive(Serialize)]
struct JsonPair {
    packets: u64,
    bytes: u64,
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, Pair { packets, bytes }) in &self.pairs {
            map.serialize_entry(name, &JsonPair { packets: *packets, bytes: *bytes })?;
        }
        for (name, count) in &self.counts {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

impl Interfaces {
    /// The ports in the segment.
    pub fn of(found: &Found) -> Result<Interfaces, Missing> {
        let names = found.names(NAMES).ok_or(Missing { what: "interfaces", entry: NAMES })?;
        let interfaces = ports(names).map(|(index, name)| {
            let pairs = PAIRS.map(|leaf| (leaf, found.sum_pair(&format!("/if/{leaf}"), index)));
            let counts = COUNTS.map(|leaf| (leaf, found.sum(&format!("/if/{leaf}"), index)));
            let counters = Counters { pairs: pairs.to_vec(), counts: counts.to_vec() };
            Interface { name: name.to_owned(), index, counters }
        });
        Ok(Interfaces { interfaces: interfaces.collect() })
    }
}

impl Text for Interfaces {
    fn lines(&self) -> Vec<String> {
        let header = [("Name", 32), ("Idx", 5), ("Counter", 16), ("Count", 16)];
        let mut lines = vec![header.map(|(title, width)| centred(title, width)).concat()];
        for Interface { name, index, counters } in &self.interfaces {
            let mut start = format!("{name:<32}{}", centred(&index.to_string(), 5));
            let pairs = counters.pairs.iter().filter(|(_, pair)| pair.packets > 0);
            let pairs = pairs.flat_map(|(leaf, pair)| {
                [(format!("{leaf} packets"), pair.packets), (format!("{leaf} bytes"), pair.bytes)]
            });
            let counts = counters.counts.iter().filter(|(_, count)| *count > 0);
            let all: Vec<_> = pairs.chain(counts.map(|(leaf, count)| (leaf.to_string(), *count))).collect();
            if all.is_empty() {
                lines.push(start.clone());
            }
            for (counter, count) in all {
                lines.push(format!("{start}{counter:<16}{count:>16}"));
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

    fn ports() -> weir_stats::Segment {
        let mut segment = segment();
        segment
            .register(|batch| {
                let mut names = batch.names(NAMES, 8)?;
                for (index, name) in ["eth1", "deleted", "eth2"].iter().enumerate() {
                    batch.set_name(&mut names, index, name)?;
                }
                let mut rx = batch.combined("/if/rx", 3, 8)?;
                rx.take_row(1).unwrap().add(0, 10, 640);
                rx.take_row(2).unwrap().add(0, 5, 7500);
                let mut tx = batch.combined("/if/tx", 3, 8)?;
                tx.take_row(2).unwrap().add(0, 1, 98);
                let mut drops = batch.simple("/if/drops", 3, 8)?;
                drops.take_row(1).unwrap().add(0, 2);
                let mut ip4 = batch.simple("/if/ip4", 3, 8)?;
                ip4.take_row(1).unwrap().add(0, 15);
                batch.simple("/if/tx-error", 3, 8)?;
                batch.simple("/if/of-a-later-time", 3, 8)?;
                Ok(())
            })
            .unwrap();
        segment
    }

    #[test]
    fn counters_are_one_a_line_without_zeros() {
        let view = Interfaces::of(&found(&ports(), wants)).unwrap();
        assert_eq!(
            text(&view),
            "              Name               Idx      Counter          Count
eth1                              0  rx packets                    15
                                     rx bytes                    8140
                                     tx packets                     1
                                     tx bytes                      98
                                     drops                          2
                                     ip4                           15
eth2                              2
"
        );
    }

    #[test]
    fn json_has_all_counters() {
        let view = Interfaces::of(&found(&ports(), wants)).unwrap();
        let zero = serde_json::json!({"packets": 0, "bytes": 0});
        assert_eq!(
            json(&view),
            serde_json::json!({"interfaces": [
                {"name": "eth1", "index": 0, "rx": {"packets": 15, "bytes": 8140}, "tx": {"packets": 1, "bytes": 98},
                 "drops": 2, "punt": 0, "ip4": 15, "rx-no-buf": 0, "rx-miss": 0, "rx-error": 0, "tx-error": 0},
                {"name": "eth2", "index": 2, "rx": zero, "tx": zero,
                 "drops": 0, "punt": 0, "ip4": 0, "rx-no-buf": 0, "rx-miss": 0, "rx-error": 0, "tx-error": 0},
            ]})
        );
    }

    #[test]
    fn a_segment_without_ports_is_an_error() {
        assert_eq!(Interfaces::of(&found(&segment(), wants)).unwrap_err().entry, NAMES);
    }
}
