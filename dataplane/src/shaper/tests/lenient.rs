//! What LibreQoS takes with a warning, or passes over.

use std::collections::BTreeSet;

use super::*;

/// The warnings of LibreQoS's files, with short names of files.
#[track_caller]
pub(super) fn told(network: &str, lines: &str) -> Vec<String> {
    let files =
        Files::new(&[("network.json", network.as_bytes()), ("devices.csv", devices(lines).as_bytes())]);
    let folder = format!("{}/", files.0.path().display());
    let loaded = files.load(&defaults()).unwrap();
    assert_eq!(loaded.warned, loaded.warnings.len());
    let of_devices = loaded.warnings.iter().filter(|warning| !warning.starts_with("node "));
    of_devices.map(|warning| warning.replace(&folder, "")).collect()
}

/// LibreQoS has no place for these in its tree, and goes on.
#[test]
fn circuits_below_a_node_that_is_not_there_are_left_out() {
    let lines = "\
1,a,,,Mats,,,,192.0.2.1,,1,1,10,10,\n\
2,b,,,Mast,,,,192.0.2.1,,1,1,10,10,\n\
1,a,,,Mats,,,,192.0.2.3,,1,1,10,10,\n\
4,d,,,,nine,,,192.0.2.4,,1,1,10,10,\n\
5,e,,,old name,17,,,192.0.2.5,,1,1,10,10,\n";
    assert_eq!(
        told(NETWORK, lines),
        [
            "devices.csv:2:7: there is no node `Mats`: circuit `1` is left out, and so not shaped: write `Mast`, or add the node",
            "devices.csv:4:7: there is no node `Mats`: circuit `1` is left out, and so not shaped: write `Mast`, or add the node",
            "devices.csv:5:8: there is no node with the id `nine`: circuit `4` is left out, and so not shaped: name the node, or give it this id",
        ],
        "the address of one that is left out is free for others"
    );
    let plan = libreqos(NETWORK, &devices(lines)).unwrap().plan;
    let ids: Vec<&str> = plan.customers.iter().map(|it| it.id.as_str()).collect();
    assert_eq!((ids, prefixes_of(&plan.customers[0])), (vec!["2", "5"], vec!["192.0.2.1/32".to_owned()]));
    // Its devices must agree all the same.
    let lines = "1,a,,,Mats,,,,192.0.2.1,,1,1,10,10,\n1,a,,,Mast,,,,192.0.2.2,,1,1,10,10,\n";
    assert_problems(
        libreqos(NETWORK, &devices(lines)),
        &["devices.csv:3:7: circuit `1` has another parent before"],
    );
}

#[test]
fn what_the_first_device_of_a_circuit_says_counts() {
    let lines = "\
1,a,,,Mast,,,,192.0.2.1,,1,1,10,10,,cake\n\
1,a,,,Mast,,,,192.0.2.2,,1,2,10,11.5,,fq_codel\n\
2,b,,,none,,,,192.0.2.3,,1,1,10,10,\n\
2,b,,,Mast,,,,192.0.2.4,,1,1,10,10,\n";
    assert_eq!(
        told(NETWORK, lines),
        [
            "devices.csv:3:28: circuit `1` has 1 Mbit/s, as in line 2, and not 2 Mbit/s",
            "devices.csv:3:33: circuit `1` has 10 Mbit/s, as in line 2, and not 11.5 Mbit/s",
            "devices.csv:3:39: circuit `1` has the queue that line 2 says",
            "devices.csv:5:7: circuit `2` hangs on the link itself, as in line 4",
        ]
    );
    let plan = libreqos(NETWORK, &devices(lines)).unwrap().plan;
    let [a, b] = &plan.customers[..] else { panic!("{plan:?}") };
    assert_eq!((a.rates.up.min, a.rates.up.max, a.discipline), (1_000_000, 10_000_000, Both::same(0)));
    assert_eq!(prefixes_of(a), ["192.0.2.1/32", "192.0.2.2/32"]);
    assert_eq!((b.node, prefixes_of(b).len()), (None, 2));
}

#[test]
fn an_address_of_several_circuits_is_the_last_ones() {
    let lines = "\
1,a,,,Mast,,,,\"192.0.2.1, 192.0.2.7\",,1,1,10,10,\n\
2,b,,,Mast,,,,192.0.2.1,2001:db8::/56,1,1,10,10,\n\
3,c,,,Barn,,,,192.0.2.1,2001:db8::/56,1,1,10,10,\n\
3,c,,,Barn,,,,192.0.2.1,,1,1,10,10,\n";
    assert_eq!(
        told(NETWORK, lines),
        [
            "devices.csv:3:15: 192.0.2.1/32 stands in line 2 already: circuit `2` has it, and `1` goes without",
            "devices.csv:4:15: 192.0.2.1/32 stands in line 2 already: circuit `3` has it, and `2` goes without",
            "devices.csv:5:15: 192.0.2.1/32 stands in line 2 already: once is enough",
            "devices.csv:4:25: 2001:db8::/56 stands in line 3 already: circuit `3` has it, and `2` goes without",
            "customer `2` has no address: no packet is theirs",
        ]
    );
    let plan = libreqos(NETWORK, &devices(lines)).unwrap().plan;
    let prefixes: Vec<Vec<String>> = plan.customers.iter().map(prefixes_of).collect();
    assert_eq!(prefixes[..2], [vec!["192.0.2.7/32".to_owned()], vec![]]);
    assert_eq!(BTreeSet::from_iter(&prefixes[2]).len(), 2, "{prefixes:?}");
}
