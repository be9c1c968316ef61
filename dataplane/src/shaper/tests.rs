mod lenient;

use std::{path::Path, sync::Arc, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;
use weir_graph::shaper::{Isolation, Tins};

use super::*;
use crate::prefixes;

const HEADER: &str = "Circuit ID,Circuit Name,Device ID,Device Name,Parent Node,Parent Node ID,Anchor Node ID,MAC,IPv4,IPv6,Download Min Mbps,Upload Min Mbps,Download Max Mbps,Upload Max Mbps,Comment";

const NETWORK: &str = r#"{
  "West": {
    "downloadBandwidthMbps": 1000, "uploadBandwidthMbps": 500.5, "type": "site", "id": "w",
    "children": {
      "Hill": {
        "virtual": true,
        "children": { "Mast": { "downloadBandwidthMbps": 100, "uploadBandwidthMbps": 20, "type": "ap", "id": 17 } }
      },
      "Barn": { "downloadBandwidthMbps": 60.5, "uploadBandwidthMbps": 0, "colour": "red" }
    }
  },
  "East": { "downloadBandwidthMbps": 300, "uploadBandwidthMbps": 300, "children": {} }
}"#;

fn defaults() -> Defaults {
    Defaults {
        link: Both::same(DEFAULT_LINK),
        queueing: Both::same(Queueing::default()),
        overhead: Overhead::RAW,
        unknown: None,
    }
}

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Files {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        Files(folder)
    }

    fn load(&self, defaults: &Defaults) -> Result<Loaded, String> {
        let there = |name| Some(self.0.path().join(name)).filter(|path| path.exists());
        let (tree, circuits) = (there("network.json"), there("devices.csv"));
        let sources = Sources { tree, circuits, plan: there("plan.toml"), inline: Inline::default() };
        load(&sources, defaults).map_err(|problems| {
            let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
            text.join("\n").replace(&format!("{}/", self.0.path().display()), "")
        })
    }
}

fn libreqos(network: &str, devices: &str) -> Result<Loaded, String> {
    Files::new(&[("network.json", network.as_bytes()), ("devices.csv", devices.as_bytes())]).load(&defaults())
}

fn devices(lines: &str) -> String {
    format!("{HEADER}\n{lines}")
}

fn toml(text: &str) -> Result<Loaded, String> {
    Files::new(&[("plan.toml", text.as_bytes())]).load(&defaults())
}

fn prefixes_of(customer: &PlanCustomer) -> Vec<String> {
    customer.prefixes.iter().map(|prefix| prefixes::text(*prefix)).collect()
}

#[track_caller]
fn assert_problems(result: Result<Loaded, String>, expected: &[&str]) {
    let problems = result.unwrap_err();
    for expected in expected {
        assert!(problems.contains(expected), "{expected}\nis not in\n{problems}");
    }
    let found = problems.lines().filter(|line| !line.starts_with(' ')).count();
    assert_eq!(found, expected.iter().filter(|it| !it.starts_with(' ')).count(), "{problems}");
}

#[test]
fn a_network_and_its_devices_are_read() {
    let lines = "\
1,\"Ann, the baker\",a,router,Mast,,,00:00:5e:00:53:01,\"192.0.2.1, 192.0.2.2\",2001:db8:1::/56,1,0.5,50,10.25,note\n\
# not yet: 7,Zoe,z,,Barn,,,,192.0.2.77,,1,1,10,10,\n\
\n\
2,Bob,b,router,Barn,,,,192.0.2.16/28; 192.0.2.40,,2,1,20,5,\n\
2,Bob,c,phone,Barn,,,,192.0.2.50,,2,1,20,5,\n\
3,,d,Carla's,none,,,,,2001:db8:3::/56,0.1,0.1,1.5,1,\n\
4,Dan,e,,Hill,,,,192.0.2.60,,1,1,20,5,\n\
5,Eve,f,,old name,17,,,192.0.2.61,,1,1,20,5,";
    let Loaded { plan, warnings, .. } = libreqos(NETWORK, &devices(lines)).unwrap();
    let nodes: Vec<_> = plan.nodes.iter().map(|it| (it.name.as_str(), it.parent, it.path.as_str())).collect();
    let expected = [
        ("West", None, "West"),
        ("Mast", Some(0), "West/Hill/Mast"),
        ("Barn", Some(0), "West/Barn"),
        ("East", None, "East"),
    ];
    assert_eq!(nodes, expected);
    assert_eq!((plan.nodes[0].kind.as_str(), plan.nodes[2].kind.as_str()), ("site", ""));
    let max = |at: usize| (plan.nodes[at].rates.down.max, plan.nodes[at].rates.up.max);
    assert_eq!([max(0), max(2)], [(1_000_000_000, 500_500_000), (60_500_000, 500_500_000)]);
    assert_eq!(
        warnings,
        ["node `Barn` has no `uploadBandwidthMbps`: it may send as much as what it hangs on"]
    );

    let customers: Vec<_> =
        plan.customers.iter().map(|it| (it.id.as_str(), it.title.as_str(), it.node)).collect();
    let expected = [
        ("1", "Ann, the baker", Some(1)),
        ("2", "Bob", Some(2)),
        ("3", "Carla's", None),
        ("4", "Dan", Some(0)),
        ("5", "Eve", Some(1)),
    ];
    assert_eq!(customers, expected);
    assert_eq!(prefixes_of(&plan.customers[0]), ["192.0.2.1/32", "192.0.2.2/32", "2001:db8:1::/56"]);
    assert_eq!(prefixes_of(&plan.customers[1]), ["192.0.2.16/28", "192.0.2.40/32", "192.0.2.50/32"]);
    let expected = Both {
        down: Rates { min: 1_000_000, max: 50_000_000, weight: 10 },
        up: Rates { min: 500_000, max: 10_250_000, weight: 5 },
    };
    assert_eq!(plan.customers[0].rates, expected);
    // What is guaranteed below a node, the node guarantees.
    assert_eq!(plan.nodes[1].rates.down, Rates { min: 2_000_000, max: 100_000_000, weight: 1000 });
    assert_eq!(plan.nodes[0].rates.down.min, 2_000_000 + 2_000_000 + 1_000_000);
    assert_eq!(plan.link.down, Rates { min: DEFAULT_LINK, max: DEFAULT_LINK, weight: 1 });
}

#[test]
fn marks_line_ends_and_orders_of_columns_make_no_difference() {
    let plain =
        "Circuit ID,IPv4,Upload Max Mbps,Download Max Mbps,sqm\n1,192.0.2.1,10,20,\n2,192.0.2.2,1,2,cake\n";
    let expected = libreqos("{}", plain).unwrap();
    for text in [
        plain.replace('\n', "\r\n"),
        format!("\u{feff}{plain}"),
        plain.trim_end().to_owned(),
        format!("# devices\n\n{plain}\n\n,,,,\n"),
        plain.replace("Circuit ID", "\" circuit_id \"").replace(" Mbps", ""),
        plain.replace("192.0.2.1", " \"192.0.2.1\" ").replace(",20,", ", 20.0 ,"),
    ] {
        assert_eq!(libreqos("\u{feff}{}", &text).as_ref(), Ok(&expected), "{text}");
    }
    assert_eq!(expected.plan.customers[0].rates.down.max, 20_000_000);
}

#[test]
fn the_column_sqm_chooses_the_queue() {
    // The header of LibreQoS's files does not name it.
    let lines = "\
1,,,,,,,,192.0.2.1,,1,1,10,10,,\n\
2,,,,,,,,192.0.2.2,,1,1,10,10,,fq_codel\n\
3,,,,,,,,192.0.2.3,,1,1,10,10,,cake/none\n\
4,,,,,,,,192.0.2.4,,1,1,10,10,,cake diffserv8 rtt 50ms docsis ack-filter wash\n\
5,,,,,,,,192.0.2.5,,1,1,10,10";
    let Loaded { plan, warnings, .. } = libreqos("{}", &devices(lines)).unwrap();
    let of = |at: usize| plan.customers[at].discipline.map(|number| plan.disciplines[usize::from(number)]);
    let cake = Queueing::default();
    let fq_codel = Queueing { tins: Tins::BestEffort, isolation: Isolation::Flows, ..cake };
    assert_eq!(of(0), Both::same(cake));
    assert_eq!(of(1), Both::same(fq_codel));
    assert_eq!(of(2), Both { down: cake, up: Queueing { managed: false, ..fq_codel } });
    let eight = Queueing { tins: Tins::Diffserv8, rtt: Duration::from_millis(50), ack_filter: true, ..cake };
    assert_eq!(of(3), Both::same(eight));
    assert_eq!(of(4), Both::same(cake));
    let overheads: Vec<u8> = plan.customers.iter().map(|it| it.overhead).collect();
    assert_eq!(
        (overheads, plan.overheads),
        (vec![0, 0, 0, 1, 0], vec![Overhead::RAW, "docsis".parse().unwrap()])
    );
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("`wash`"), "{warnings:?}");
}

/// So LibreQoS's own examples have it: the header names two columns that the lines leave out altogether.
#[test]
fn lines_without_ids_below_a_header_with_them_are_read() {
    let lines = "\
1,Ann,a,router,Mast,,192.0.2.1,2001:db8:1::/56,1,0.5,50,10.25,\n\
2,Bob,b,router,Mats,,192.0.2.2,host,1,1,20,5,";
    assert_problems(libreqos(NETWORK, &devices(lines)), &["devices.csv:3:32: `host` is not a prefix"]);
    let loaded = libreqos(NETWORK, &devices(&lines.replace("host", ""))).unwrap();
    assert!(
        loaded.warnings[1].contains("devices.csv:3:16: there is no node `Mats`"),
        "{:?}",
        loaded.warnings
    );
    let lines = lines.replace("Mats", "Barn").replace("host", "");
    let plan = libreqos(NETWORK, &devices(&lines)).unwrap().plan;
    assert_eq!(prefixes_of(&plan.customers[0]), ["192.0.2.1/32", "2001:db8:1::/56"]);
    assert_eq!((plan.customers[1].node, plan.customers[1].rates.up.max), (Some(2), 5_000_000));
    // With `sqm`, such a line is as long as one that leaves out the last two columns.
    let both =
        format!("{HEADER},sqm\n1,,,,,,192.0.2.1,,1,1,20,5,a note,fq_codel\n2,,,,,,,,192.0.2.2,,1,1,20,5\n");
    let plan = libreqos(NETWORK, &both).unwrap().plan;
    let queues: Vec<u8> = plan.customers.iter().map(|it| it.discipline.down).collect();
    assert_eq!((queues, prefixes_of(&plan.customers[1])), (vec![1, 0], vec!["192.0.2.2/32".to_owned()]));
}

#[test]
fn every_mistake_of_the_devices_is_named_with_its_place() {
    let lines = "\
1,a,,,Mast,,,,192.0.2.1,,1,1,10,10,\n\
2,b,,,Mast,,,,192.0.2.1/24,,1,1,10,ten,\n\
,c,,,Mast,,,,192.0.2.3,,1,1,10,10,\n\
4,d,,,Mast,,,,192.0.2.4,,20,1,10,10,\n\
5,e,,,,17,,,host,,1,1,0.01,nan,\n\
6,f, g,,,Mast,,,,192.0.2.6,,1,1,10,10,,\n\
7,g,,,Mast,,,,192.0.2.7,,1,1,10,10,,pie\n\
8,h,,,Mast,,,,192.0.2.8,2001:db8::/129,1,1,10,,\n\
9,i,,,Mast,,,,192.0.2.9,,1,1,10,10,\n\
9,i,,,Barn,,,,192.0.2.10,,1,1,10,11,\n\
10,j";
    let problems = libreqos(NETWORK, &devices(lines)).unwrap_err();
    let expected = "\
devices.csv:3:15: bits are set beyond the prefix's length
  3 | 2,b,,,Mast,,,,192.0.2.1/24,,1,1,10,ten,
    |               ^^^^^^^^^^^^ write 192.0.2.0/24
devices.csv:3:36: `ten` is not a rate
  3 | 2,b,,,Mast,,,,192.0.2.1/24,,1,1,10,ten,
    |                                    ^^^ write a number of Mbit/s, such as 100 or 2.5
devices.csv:4:1: this device has no Circuit ID
  4 | ,c,,,Mast,,,,192.0.2.3,,1,1,10,10,
    | ^ give every customer an id of their own; devices of one customer share it
devices.csv:5:26: 20 Mbit/s are guaranteed, more than the most, 10 Mbit/s
  5 | 4,d,,,Mast,,,,192.0.2.4,,20,1,10,10,
    |                          ^^ write at most that
devices.csv:6:13: `host` is not a prefix
  6 | 5,e,,,,17,,,host,,1,1,0.01,nan,
    |             ^^^^ write it as 192.0.2.0/24 or 2001:db8::/32
devices.csv:6:23: 10 kbit/s is not between 64 kbit/s and 100 Gbit/s
  6 | 5,e,,,,17,,,host,,1,1,0.01,nan,
    |                       ^^^^ write a number of Mbit/s, such as 100 or 2.5
devices.csv:6:28: `nan` is not a rate
  6 | 5,e,,,,17,,,host,,1,1,0.01,nan,
    |                            ^^^ write a number of Mbit/s, such as 100 or 2.5
devices.csv:7:1: this line has 17 fields, and the header 15
  7 | 6,f, g,,,Mast,,,,192.0.2.6,,1,1,10,10,,
    | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ put what has commas in it between double quotes, and give every column its comma
devices.csv:8:37: weir queues nothing by the word `pie`
  8 | 7,g,,,Mast,,,,192.0.2.7,,1,1,10,10,,pie
    |                                     ^^^ write words such as `diffserv4 rtt 100ms`, or `cake`, `fq_codel`, `none`, or two of them as `down/up`
devices.csv:9:25: an IPv6 prefix has 0 to 128 bits, not 129
  9 | 8,h,,,Mast,,,,192.0.2.8,2001:db8::/129,1,1,10,,
    |                         ^^^^^^^^^^^^^^ write it as 192.0.2.0/24 or 2001:db8::/32
devices.csv:9:47: there is no Upload Max Mbps
  9 | Mast,,,,192.0.2.8,2001:db8::/129,1,1,10,,
    |                                         ^ write a number of Mbit/s, such as 100 or 2.5
devices.csv:11:7: circuit `9` has another parent before
  11 | 9,i,,,Barn,,,,192.0.2.10,,1,1,10,11,
     |       ^^^^ write the same as in line 10, or another Circuit ID
devices.csv:12:1: this line has 2 fields, and the header 15
  12 | 10,j
     | ^^^^ put what has commas in it between double quotes, and give every column its comma";
    assert_eq!(problems, expected);
}

#[test]
fn places_are_right_behind_quotes_comments_and_lines_within_cells() {
    let lines = "\
# a comment\n\
1,\"Ann \"\"the baker\"\",\nof West\",,,\"Mast\",,,,\"192.0.2.1, 192.0.2.1\",,1,1,10,10,\n\
\n\
# another\r\n\
2,b,,,Mast,,,,\"198.51.100.1,host,192.0.2.1\",,1,1,10,10,\n";
    assert_problems(
        libreqos(NETWORK, &devices(lines)),
        &["devices.csv:7:29: `host` is not a prefix", "    |                             ^^^^ write"],
    );
    let warnings = lenient::told(NETWORK, &lines.replace("host", "    "));
    assert_eq!(
        warnings,
        [
            "devices.csv:4:34: 192.0.2.1/32 stands in line 3 already: once is enough",
            "devices.csv:7:34: 192.0.2.1/32 stands in line 3 already: circuit `2` has it, and `1` goes without",
            "customer `1` has no address: no packet is theirs",
        ]
    );
}

#[test]
fn a_header_that_misses_columns_says_which() {
    assert_problems(
        libreqos("{}", "Circuit,IPv4,Download Max Mbps,Uplod Max Mbps\n1,192.0.2.1,1,1\n"),
        &[
            "devices.csv:1:1: there is no column `Circuit ID`",
            "devices.csv:1:1: there is no column `Upload Max Mbps`",
            " write `Upload Max Mbps` instead of `Uplod Max Mbps`",
        ],
    );
    assert_problems(
        libreqos("{}", "Circuit ID;IPv4;Download Max Mbps;Upload Max Mbps\n"),
        &[
            "there is no column `Circuit ID`",
            "there is no column `Download Max Mbps`",
            "there is no column `Upload Max Mbps`",
            " save the file with commas",
        ],
    );
    assert_problems(
        libreqos("{}", "Circuit ID,Download Max Mbps,Upload Max Mbps,Circuit ID\n"),
        &["devices.csv:1:46: there are two columns `Circuit ID`"],
    );
    assert_problems(
        libreqos("{}", "Circuit ID,Download Max Mbps,Upload Max Mbps\n"),
        &["there is no column `IPv4` and none `IPv6`"],
    );
    assert_problems(libreqos("{}", "# nothing\n"), &["devices.csv:1:1: there is nothing in this file"]);
    let loaded = libreqos("{}", "Circuit ID,IPv4,Download Max Mbps,Upload Max Mbps,Colour\n").unwrap();
    assert_eq!(loaded.plan.customers, []);
    assert!(loaded.warnings[0].contains("the column `Colour` means nothing"), "{:?}", loaded.warnings);
}

#[test]
fn twenty_mistakes_are_shown_and_the_others_counted() {
    let lines: String = (0..1000).map(|at| format!("{at},,,,,,,,host-{at},,1,1,10,10,\n")).collect();
    let problems = libreqos("{}", &devices(&lines)).unwrap_err();
    assert_eq!(problems.matches("is not a prefix").count(), 20);
    assert!(
        problems.ends_with("devices.csv: 980 more mistakes are not shown: mend these first"),
        "{problems}"
    );
}

#[test]
fn mistakes_of_a_network_are_named_with_their_places() {
    let network = r#"{
  "A": { "downloadBandwidthMbps": "fast", "uploadBandwidthMbps": 0.001, "virtual": "yes" },
  "B": { "downloadBandwidthMbps": 10, "uploadBandwidthMbps": -1, "children": [] },
  "A": { "downloadBandwidthMbps": 10, "uploadBandwidthMbps": 1e9, "id": "x", "type": {} },
  "C": 7,
  " ": { "downloadBandwidthMbps": 10, "uploadBandwidthMbps": true, "id": "x", "id": "y" }
}"#;
    assert_problems(
        libreqos(network, &devices("")),
        &[
            "network.json:2:35: `downloadBandwidthMbps` is not a rate",
            "network.json:2:66: 1 kbit/s is not between 64 kbit/s and 100 Gbit/s",
            "network.json:2:84: `virtual` is neither true nor false",
            "network.json:3:62: `uploadBandwidthMbps` is not a rate",
            "network.json:3:78: `children` is not an object of nodes",
            "network.json:4:3: a node with the name `A` stands in line 2 already",
            "network.json:4:62: 1000000 Gbit/s is not between",
            "network.json:4:86: `type` is not a text",
            "network.json:5:8: `C` is not a node",
            "network.json:6:3: a node without a name",
            "network.json:6:3: a node with the id `x` stands in line 4 already",
            "network.json:6:62: `uploadBandwidthMbps` is not a rate",
            "network.json:6:79: `id` stands twice",
        ],
    );
    for (network, expected) in [
        ("", "network.json:1:1: this is not an object of nodes"),
        ("[]", "network.json:1:1: this is not an object of nodes"),
        ("{ \"A\": { }, }", "network.json:1:11: this is not JSON: trailing commas are not allowed"),
        ("{ // no\n}", "this is not JSON: comments are not allowed"),
        ("{\n  \"A\": {\n", "this is not JSON: unterminated object"),
    ] {
        assert_problems(libreqos(network, &devices("")), &[expected]);
    }
    let deep = "{\"a\":{\"children\":".repeat(100_000);
    assert_problems(libreqos(&deep, &devices("")), &["maximum nesting depth exceeded"]);
}

#[test]
fn files_that_are_no_texts_or_are_not_there_are_problems() {
    let files = Files::new(&[("network.json", b"\xff\xfe{\0}\0"), ("devices.csv", b"Circuit ID\n\xff,")]);
    assert_problems(
        files.load(&defaults()),
        &["network.json: this is UTF-16: save the file as UTF-8", "devices.csv:2:1: byte 0xff is not UTF-8"],
    );
    let sources = Sources { tree: Some("/nowhere/network.json".into()), ..Sources::default() };
    let problems = load(&sources, &defaults()).unwrap_err();
    assert!(problems[0].to_string().starts_with("/nowhere/network.json: can't be read"), "{problems:?}");
}

#[test]
fn without_nodes_parents_are_not_asked_for() {
    let lines = "1,,,,Mast,,,,192.0.2.1,,1,1,10,10,\n2,,,,,,,,192.0.2.2,,1,1,10,10,\n";
    let Loaded { plan, warnings, .. } = libreqos("{}", &devices(lines)).unwrap();
    assert_eq!((plan.nodes.len(), plan.customers[0].node), (0, None));
    assert!(warnings[0].contains("1 devices name a parent, but there are no nodes"), "{warnings:?}");
}

#[test]
fn guarantees_shrink_to_what_is_above_them() {
    let network = r#"{ "Tower": { "downloadBandwidthMbps": 30, "uploadBandwidthMbps": 30, "children": {
        "A": { "downloadBandwidthMbps": 20, "uploadBandwidthMbps": 20 },
        "B": { "downloadBandwidthMbps": 20, "uploadBandwidthMbps": 20 } } } }"#;
    // A is asked for 40 of its 20; the tower for 20 + 10 of its 30.
    let lines = "\
1,,,,A,,,,192.0.2.1,,10,1,20,20,\n2,,,,A,,,,192.0.2.2,,30,1,40,20,\n3,,,,B,,,,192.0.2.3,,15,1,20,20,\n";
    let Loaded { plan, warnings, .. } = libreqos(network, &devices(lines)).unwrap();
    let min: Vec<u64> = plan.nodes.iter().map(|node| node.rates.down.min).collect();
    assert_eq!(min, [30_000_000, 17_142_857, 12_857_142]);
    let min: Vec<u64> = plan.customers.iter().map(|it| it.rates.down.min).collect();
    assert_eq!(min, [4_285_714, 12_857_142, 12_857_142]);
    let weights: Vec<u32> = plan.customers.iter().map(|it| it.rates.down.weight).collect();
    assert_eq!(weights, [100, 300, 150], "weights follow what the files ask for");
    let sums: Vec<&String> = warnings.iter().filter(|it| it.contains("shrinks")).collect();
    assert_eq!(
        sums,
        [
            "node `Tower`: 35 Mbit/s down are guaranteed below it, more than its 30 Mbit/s: each guarantee there shrinks to 86 %",
            "node `A`: 40 Mbit/s down are guaranteed below it, more than its 20 Mbit/s: each guarantee there shrinks to 50 %",
        ]
    );
    assert!(
        warnings.contains(
            &"customer `2` may have 40 Mbit/s down, and `A` above has 20 Mbit/s: more is never reached"
                .to_owned()
        ),
        "{warnings:?}"
    );
}

#[test]
fn many_warnings_of_one_kind_are_counted() {
    let lines: String = (0..500)
        .map(|at| format!("{at},,,,East,,,,192.0.{}.{},,0,0,999,10,\n", at / 250, at % 250))
        .collect();
    let Loaded { warnings, warned, .. } = libreqos(NETWORK, &devices(&lines)).unwrap();
    assert_eq!(warnings.len(), 22, "{warnings:?}");
    assert_eq!(warnings[21], "customers that never reach their rate: 480 more like these");
    assert_eq!(warned, 501);
}

#[test]
fn nodes_and_customers_are_written_in_toml() {
    let text = r#"
[[node]]
name = "AP"
parent = "Tower"
down = "500mbit"
up = "100mbit"
min-down = "50mbit"
weight = 7

[[node]]
name = "Tower"
down = "1.5gbit"
up = "1gbit"
type = "site"

[[node]]
name = "Spare"
parent = "Tower"

[[customer]]
name = "alice"
title = "Alice's bakery"
prefixes = ["192.0.2.0/28", "2001:db8:a::/48"]
node = "AP"
down = "100mbit"
up = "20mbit"
min-down = "10mbit"
min-up = "512kbit"
weight = 3
overhead = "docsis"
queue = "diffserv3 rtt 30ms"

[[customer]]
name = "bob"
prefixes = []
down = "64kbit"
up = "64kbit"
"#;
    let Loaded { plan, warnings, .. } = toml(text).unwrap();
    let names: Vec<_> = plan.nodes.iter().map(|it| (it.name.as_str(), it.parent)).collect();
    assert_eq!(names, [("Tower", None), ("AP", Some(0)), ("Spare", Some(0))]);
    assert_eq!(plan.nodes[1].rates.down, Rates { min: 50_000_000, max: 500_000_000, weight: 7 });
    assert_eq!(plan.nodes[2].rates.down, Rates { min: 0, max: 1_500_000_000, weight: 15_000 });
    let [alice, bob] = &plan.customers[..] else { panic!("{plan:?}") };
    assert_eq!((alice.id.as_str(), alice.title.as_str(), alice.node), ("alice", "Alice's bakery", Some(1)));
    assert_eq!(alice.rates.up, Rates { min: 512_000, max: 20_000_000, weight: 3 });
    assert_eq!(plan.overheads[usize::from(alice.overhead)], "docsis".parse().unwrap());
    assert_eq!(plan.disciplines[usize::from(alice.discipline.up)].rtt, Duration::from_millis(30));
    assert_eq!((bob.rates.down.weight, bob.node), (1, None));
    assert_eq!(warnings, ["customer `bob` has no address: no packet is theirs"]);
}

#[test]
fn mistakes_in_toml_are_named_with_their_places() {
    let text = r#"nodes = 1
[[node]]
name = "A"
parent = "B"
[[node]]
name = "B"
parent = "A"
[[node]]
parent = "Aa"
[[node]]
name = "C"
parent = "Bb"
donw = "1mbit"
down = "1mbps"
min-up = "2mbit"
up = "1mbit"
weight = 0
[[customer]]
name = "x"
prefixes = ["192.0.2.1/24", 7, "192.0.2.9"]
node = "E"
down = "1mbit"
queue = "pie"
min-down = "2mbit"
[[customer]]
name = "x"
prefixes = ["192.0.2.9"]
down = 5
up = "1mbit"
"#;
    assert_problems(
        toml(text),
        &[
            "plan.toml:1:1: `nodes` has no meaning here",
            "plan.toml:6:8: node `B` hangs below itself",
            "plan.toml:8:1: this node has no name",
            "plan.toml:11:8: node `C` is guaranteed 2 Mbit/s up, more than its 1 Mbit/s",
            "plan.toml:12:10: there is no node `Bb`",
            "plan.toml:13:1: a node has no key `donw`",
            "plan.toml:14:8: `1mbps` is not a rate",
            "plan.toml:17:10: this is not a weight",
            "plan.toml:18:1: this customer has no `up`",
            "plan.toml:20:14: bits are set beyond the prefix's length",
            "plan.toml:20:29: this is not a prefix",
            "plan.toml:21:8: there is no node `E`",
            "plan.toml:23:9: weir queues nothing by the word `pie`",
            "plan.toml:24:12: 2 Mbit/s are guaranteed, more than the most, 1 Mbit/s",
            "plan.toml:26:8: a customer `x` stands in line 19 already",
            "plan.toml:27:14: 192.0.2.9/32 stands in line 20 already",
            "plan.toml:28:8: `down` is of type integer, and must be a string",
        ],
    );
}

#[test]
fn several_files_make_one_plan() {
    let plan = b"[[customer]]\nname = \"t\"\nprefixes = [\"192.0.2.9\"]\nnode = \"Mast\"\ndown = \"1mbit\"\nup = \"1mbit\"\n";
    let devices = devices("1,,,,Mast,,,,192.0.2.1,,1,1,10,10,\n");
    let mut files = vec![
        ("network.json", NETWORK.as_bytes()),
        ("devices.csv", devices.as_bytes()),
        ("plan.toml", plan.as_slice()),
    ];
    let loaded = Files::new(&files).load(&defaults()).unwrap();
    let ids: Vec<_> = loaded.plan.customers.iter().map(|it| (it.id.as_str(), it.node)).collect();
    assert_eq!(ids, [("1", Some(1)), ("t", Some(1))]);
    files[2].1 = b"[[node]]\nname = \"Mast\"\n[[customer]]\nname = \"1\"\nprefixes = [\"192.0.2.1\"]\ndown = \"1mbit\"\nup = \"1mbit\"\n";
    assert_problems(
        Files::new(&files).load(&defaults()),
        &[
            "plan.toml:2:8: a node with the name `Mast` stands in network.json, line 7, already",
            "plan.toml:4:8: a customer `1` stands in devices.csv, line 2, already",
            "plan.toml:5:14: 192.0.2.1/32 stands in devices.csv, line 2, already",
        ],
    );
}

#[test]
fn all_who_are_no_customers_may_share_a_plan() {
    let lines = devices("1,,,,,,,,192.0.2.1,,1,1,10,10,\n");
    let files = Files::new(&[("devices.csv", lines.as_bytes())]);
    let unknown = Some(Both { down: 10_000_000, up: 2_000_000 });
    let plan = files.load(&Defaults { unknown, ..defaults() }).unwrap().plan;
    let it = &plan.customers[plan.unknown.unwrap()];
    assert_eq!((it.id.as_str(), it.rates.up), (UNKNOWN, Rates { min: 0, max: 2_000_000, weight: 1 }));
    let lines = devices("unknown,,,,,,,,192.0.2.1,,1,1,10,10,\n");
    let files = Files::new(&[("devices.csv", lines.as_bytes())]);
    assert_problems(files.load(&Defaults { unknown, ..defaults() }), &["devices.csv:2:1: `unknown` is what"]);
    assert!(files.load(&defaults()).is_ok());
}

/// LibreQoS's own examples are under its licence and not part of this repository.
#[test]
fn the_examples_of_libreqos_load_unchanged() {
    let Some(folder) = std::env::var_os("WEIR_LIBREQOS_EXAMPLES") else {
        println!(
            "SKIP the_examples_of_libreqos_load_unchanged: WEIR_LIBREQOS_EXAMPLES names no folder with LibreQoS's network.json and ShapedDevices.csv"
        );
        return;
    };
    let file = |name| Some(Path::new(&folder).join(name));
    let sources =
        Sources { tree: file("network.json"), circuits: file("ShapedDevices.csv"), ..Sources::default() };
    let Loaded { plan, warnings, .. } = load(&sources, &defaults()).unwrap();
    assert_eq!((plan.nodes.len(), plan.customers.len()), (11, 10));
    let paths: Vec<&str> = plan.nodes.iter().map(|node| node.path.as_str()).collect();
    assert!(paths.contains(&"Site_1/Site_3/PoP_5/PoP_6/AP_11"), "{paths:?}");
    assert!(plan.customers.iter().all(|it| it.node.is_some() && it.prefixes.len() >= 2), "{plan:?}");
    assert_eq!(plan.customers[1].rates.down, Rates { min: 500_000, max: 2_500_000, weight: 5 });
    assert!(warnings.iter().all(|it| it.contains("more is never reached")), "{warnings:?}");
}

/// A provider's files with so many customers; in `turn` 1 one in a hundred has another plan.
fn many(customers: usize, turn: usize) -> (String, String) {
    let towers = customers / 100 + 1;
    let nodes: Vec<String> = (0..towers)
        .map(|at| format!("\"T{at}\": {{ \"downloadBandwidthMbps\": 1000, \"uploadBandwidthMbps\": 500 }}"))
        .collect();
    let mut lines = String::with_capacity(customers * 120);
    for at in 0..customers {
        let max = if at % 100 == 7 { 50 + turn } else { 50 };
        let ip4 = std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(at).unwrap());
        lines += &format!(
            "{at},\"{at} Mill Lane, Springfield\",{at},router,T{},,,,{ip4},2001:db8:{:x}:{:x}::/64,1,1,{max},10,\n",
            at % towers,
            at >> 16,
            at & 0xffff
        );
    }
    (format!("{{ {} }}", nodes.join(",\n")), devices(&lines))
}

#[test]
fn a_hundred_thousand_customers_are_read_and_compared() {
    let size = 100_000;
    let load = |turn| {
        let (network, devices) = many(size, turn);
        let begin = std::time::Instant::now();
        let plan = libreqos(&network, &devices).unwrap().plan;
        println!("{size} customers read in {:?}", begin.elapsed());
        Arc::new(plan)
    };
    let (old, new) = (load(0), load(1));
    let column = |id: &str| id.parse().ok();
    let mut books = Books::new(1 << 16);
    assert_eq!(books.change(&old, column).unwrap().operations.len(), 2 * (1 + old.nodes.len() + size));
    let begin = std::time::Instant::now();
    let steps = books.change(&new, column).unwrap();
    let took = begin.elapsed();
    println!("1 % of them changed: {} operations in {took:?}", steps.operations.len());
    assert_eq!(steps.operations.len(), size / 100, "one direction each");
    assert_eq!(steps.difference.to_string(), format!("{} customers with another plan", size / 100));
    // Ten times what it takes in a debug build on a busy machine.
    assert!(took < Duration::from_secs(1), "{took:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(network in any::<Vec<u8>>(), devices in any::<Vec<u8>>(), plan in any::<Vec<u8>>()) {
        let files: [(&str, &[u8]); 3] = [("network.json", &network), ("devices.csv", &devices), ("plan.toml", &plan)];
        let _ = Files::new(&files).load(&defaults());
    }

    /// Pieces of real files in any order reach deeper than any bytes.
    #[test]
    fn any_mixture_of_real_pieces_is_read_without_a_panic(
        lines in proptest::collection::vec(proptest::sample::select(vec![
            "1", "2", ",", ",", ",", ",,,,", "\"", "\n", "\r\n", "#", "Mast", "West", "none", "192.0.2.1", "192.0.2.0/24", "10.0.0.1/8",
            "2001:db8::/32", ";", " ", "é", "\u{1b}", "0.1", "50", "-1", "1e400", "nan", "cake", "/", "fq_codel", "rtt", "50ms", "overhead",
        ]), 0..60),
        network in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "{", "}", "\"Mast\"", "\"West\"", ":", ",", "\"children\":", "\"virtual\":true", "\"downloadBandwidthMbps\":", "10", "[", "null",
        ]), 0..30),
        toml in proptest::collection::vec(proptest::sample::select(vec![
            "[[node]]\n", "[[customer]]\n", "name = ", "parent = ", "down = ", "prefixes = [", "]", "\"a\"\n", "\"b\"\n", "\"1mbit\"\n", "{", "7", "\n",
        ]), 0..30),
        with_tree in any::<bool>(),
    ) {
        let network = if with_tree { NETWORK.to_owned() } else { network.concat() };
        let devices = devices(&lines.concat());
        let toml = toml.concat();
        let files: [(&str, &[u8]); 3] =
            [("network.json", network.as_bytes()), ("devices.csv", devices.as_bytes()), ("plan.toml", toml.as_bytes())];
        if let Err(problems) = Files::new(&files).load(&defaults()) {
            prop_assert!(!problems.contains('\u{1b}'), "{}", problems);
        }
    }
}
