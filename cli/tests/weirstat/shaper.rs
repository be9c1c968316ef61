//! `show shaper`: the tree, a node, a customer.

use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use weir_stats::Server;

use crate::lab::{Weir, command, folder, refused, shown};
use crate::live::Live;
use crate::shaped::Shaped;

/// A network of two sites; an access point below the first one, with two customers, and one customer at the other one.
fn busy(socket: &Path) -> (Shaped, Server) {
    let nodes =
        [("net", "", None), ("West", "site", Some(0)), ("East", "site", Some(0)), ("AP 7", "ap", Some(1))];
    let customers = [
        ("4711", "Alice Smith", "10.1.2.0/29 2001:db8:1::/56", Some(3)),
        ("4712", "", "10.1.3.1/32", Some(3)),
        ("4713", "4713", "10.1.4.1/32", Some(2)),
        ("4714", "Nobody", "", None),
    ];
    let mut weir = Shaped::new(true, &nodes, &customers);
    let server = Server::start(socket, None, &weir.segment).unwrap();
    for (node, max) in [(0, 2_000_000_000), (1, 1_000_000_000), (2, 500_000_000), (3, 200_000_000)] {
        weir.rates("/shaper/nodes/down", node, [0, max, max - max / 10]);
        weir.rates("/shaper/nodes/up", node, [0, max / 10, max / 10]);
    }
    for customer in 0..3 {
        weir.rates("/shaper/customers/down", customer, [1_000_000, 100_000_000, 90_000_000]);
        weir.rates("/shaper/customers/up", customer, [500_000, 20_000_000, 20_000_000]);
        weir.set("/shaper/customers/up/queue", customer, 1);
    }
    pass(&mut weir, 1);
    weir.pair("/shaper/customers/down/backlog", 0, 3, 4542);
    weir.pair("/shaper/nodes/down/backlog", 3, 3, 4542);
    weir.set("/shaper/customers/down/marked", 0, 20);
    weir.set("/shaper/customers/down/dropped", 0, 10);
    weir.set("/shaper/customers/down/dropped", 2, 2);
    weir.set("/shaper/customers/down/dropped", 2 * 6, 7);
    weir.set("/shaper/customers/up/dropped", 5, 11);
    weir.wait("down", 0, 1_000, 900);
    weir.wait("down", 0, 20_000, 100);
    weir.wait("down", 2, 500, 10);
    (weir, server)
}

/// So many times a megabyte has passed to 4711, a tenth of it back, and to 4713 one of a thousand bytes.
fn pass(weir: &mut Shaped, times: u64) {
    for node in [0, 1, 3] {
        weir.pair("/shaper/nodes/down/sent", node, 800 * times, 1_000_000 * times);
        weir.pair("/shaper/nodes/up/sent", node, 400 * times, 100_000 * times);
    }
    weir.pair("/shaper/nodes/down/sent", 2, times, 1_000 * times);
    weir.pair("/shaper/customers/down/sent", 0, 800 * times, 1_000_000 * times);
    weir.pair("/shaper/customers/up/sent", 0, 400 * times, 100_000 * times);
    weir.pair("/shaper/customers/down/sent", 2, times, 1_000 * times);
}

#[test]
fn the_tree_has_what_was_counted() {
    let (_folder, socket) = folder();
    let _weir = busy(&socket);
    assert_eq!(
        shown(&socket, &["show", "shaper", "--totals"]),
        "\
node              kind customers packets  bytes  wire   max plans backlog  drops  marks    p50    p99
net      down                  3     800 1.000M 1.80G 2.00G  300M       0     19     20  995us 20.4ms
net      up                    3     400 100000  200M  200M 60.0M       0      0      0      -      -
  West   down     site         2     800 1.000M  900M 1.00G  200M       0     12     20  995us 20.4ms
  West   up       site         2     400 100000  100M  100M 40.0M       0      0      0      -      -
    AP 7 down       ap         2     800 1.000M  180M  200M  200M   4.54k     12     20  995us 20.4ms
    AP 7 up         ap         2     400 100000 20.0M 20.0M 40.0M       0      0      0      -      -
  East   down     site         1       1   1000  450M  500M  100M       0      7      0  500us  511us
  East   up       site         1       0      0 50.0M 50.0M 20.0M       0      0      0      -      -
"
    );
    assert_eq!(shown(&socket, &["show", "shaper", "--totals", "West", "--customers"]), "\
below net
node                          kind customers packets  bytes  wire  rate   max plans backlog  drops  marks    p50    p99
West                 down     site         2     800 1.000M  900M       1.00G  200M       0     12     20  995us 20.4ms
West                 up       site         2     400 100000  100M        100M 40.0M       0      0      0      -      -
  AP 7               down       ap         2     800 1.000M  180M        200M  200M   4.54k     12     20  995us 20.4ms
  AP 7               up         ap         2     400 100000 20.0M       20.0M 40.0M       0      0      0      -      -
    4711 Alice Smith down                        800 1.000M       90.0M  100M         4.54k     12     20  995us 20.4ms
    4711 Alice Smith up                          400 100000       20.0M 20.0M             0      0      0      -      -
    4712             down                          0      0       90.0M  100M             0      0      0      -      -
    4712             up                            0      0       20.0M 20.0M             0      0      0      -      -
");
    assert_eq!(
        shown(&socket, &["show", "shaper", "AP 7", "--totals"]),
        "\
below West, net
node                        kind customers packets  bytes  wire  rate   max plans backlog  drops  marks    p50    p99
AP 7               down       ap         2     800 1.000M  180M        200M  200M   4.54k     12     20  995us 20.4ms
AP 7               up         ap         2     400 100000 20.0M       20.0M 40.0M       0      0      0      -      -
  4711 Alice Smith down                        800 1.000M       90.0M  100M         4.54k     12     20  995us 20.4ms
  4711 Alice Smith up                          400 100000       20.0M 20.0M             0      0      0      -      -
  4712             down                          0      0       90.0M  100M             0      0      0      -      -
  4712             up                            0      0       20.0M 20.0M             0      0      0      -      -
",
        "the customers of the node that is asked for"
    );
}

#[test]
fn a_customer_has_the_table_of_tc() {
    let (_folder, socket) = folder();
    let (mut weir, _server) = busy(&socket);
    tins(&mut weir);
    let expected = "\
customer 4711 (Alice Smith): 10.1.2.0/29 2001:db8:1::/56
below AP 7, West, net

down
  queue diffserv4 triple-isolate rtt 100ms
  plan 1.00Mbit to 100Mbit, can get 90.0Mbit
  sent 1000000 bytes 800 pkt (dropped 12: codel 10, overlimit 2; marked 20)
  backlog 4542b 3p
  delay p50 995us p90 1.02ms p99 20.4ms max 20.5ms of 1000 pkt
                   bulk  best effort        video        voice
  thresh           0bit     90.0Mbit         0bit     22.5Mbit
  target            0us       5.00ms          0us       5.00ms
  interval          0us        100ms          0us        100ms
  pk_delay          0us       15.9ms          0us        360us
  av_delay          0us       5.30ms          0us        120us
  sp_delay          0us       7.00us          0us       7.00us
  backlog            0b        4542b           0b        4542b
  pkts                0          400            0          400
  bytes               0       500000            0       500000
  way_inds            0            4            0            4
  way_miss            0           90            0           90
  way_cols            0            1            0            1
  drops               0           12            0           12
  marks               0           20            0           20
  ack_drop            0            6            0            6
  sp_flows            0            3            0            3
  bk_flows            0            2            0            2
  un_flows            0            1            0            1
  max_len             0         1514            0         1514
  quantum             0         1514            0         1514

up
  queue besteffort flows rtt 30ms
  plan 500kbit to 20.0Mbit, can get 20.0Mbit
  sent 100000 bytes 400 pkt (dropped 0; marked 0; ACKs filtered 11)
  backlog 0b 0p
  delay p50 - p90 - p99 - max - of 0 pkt
            best effort
  thresh           0bit
  target            0us
  interval          0us
  pk_delay          0us
  av_delay          0us
  sp_delay          0us
  backlog            0b
  pkts                0
  bytes               0
  way_inds            0
  way_miss            0
  way_cols            0
  drops               0
  marks               0
  ack_drop            0
  sp_flows            0
  bk_flows            0
  un_flows            0
  max_len             0
  quantum             0
";
    assert_eq!(shown(&socket, &["show", "shaper", "4711"]), expected);
    for same in ["Alice Smith", "10.1.2.3", "2001:db8:1:9::/64", "customer:4711"] {
        assert_eq!(shown(&socket, &["show", "shaper", same]), expected, "{same}");
    }
    assert_eq!(
        shown(&socket, &["show", "shaper", "4714"]),
        "customer 4714 (Nobody)\nis not shaped: no plan has the customer\n"
    );
    weir.set("/shaper/customers/down/queue", 1, 2);
    weir.set("/shaper/customers/up/queue", 1, 3);
    weir.set("/shaper/customers/up/tins/quantum", 8 + 1, 300);
    let text = shown(&socket, &["show", "shaper", "4712"]);
    let titles: Vec<&str> = text.lines().filter(|line| line.starts_with("     ")).map(str::trim).collect();
    let eight = "background  high throughput      best effort  video streaming      low latency      interactive  \
                 minimum latency  network control";
    assert_eq!(titles, [eight, "tin 0        tin 1"], "{text}");
}

/// Numbers in two tins of 4711's queue down.
fn tins(weir: &mut Shaped) {
    for (tin, (threshold, delay)) in [(1, (90_000_000, 5_300)), (3, (22_500_000, 120))] {
        let mut set =
            |name: &str, value| weir.set(&format!("/shaper/customers/down/tins/{name}"), tin, value);
        set("threshold", threshold);
        set("target", 5_000);
        set("interval", 100_000);
        set("delay-peak", 3 * delay);
        set("delay-average", delay);
        set("delay-base", 7);
        set("codel", 10);
        set("overlimit", 2);
        set("marked", 20);
        set("ack-filter", 6);
        set("way-indirect", 4);
        set("way-misses", 90);
        set("way-collisions", 1);
        set("sparse-flows", 3);
        set("bulk-flows", 2);
        set("unresponsive-flows", 1);
        set("longest-packet", 1514);
        set("quantum", 1514);
        weir.pair("/shaper/customers/down/tins/sent", tin, 400, 500_000);
        weir.pair("/shaper/customers/down/tins/backlog", tin, 3, 4542);
    }
}

#[test]
fn json_of_a_customer_has_the_names_of_tc() {
    let (_folder, socket) = folder();
    let (mut weir, _server) = busy(&socket);
    tins(&mut weir);
    let customer: Value =
        serde_json::from_str(&shown(&socket, &["show", "shaper", "4711", "--json"])).unwrap();
    let mut down = customer["down"].clone();
    let tins = down["tins"].take();
    assert_eq!(
        down,
        json!({
            "queue": "diffserv4 triple-isolate rtt 100ms",
            "rate_bps": 90_000_000, "min_bps": 1_000_000, "max_bps": 100_000_000,
            "sent": {"packets": 800, "bytes": 1_000_000}, "sent_bps": null, "backlog": {"packets": 3, "bytes": 4542},
            "dropped": {"codel": 10, "blue": 0, "overlimit": 2, "refused": 0, "removed": 0, "ack-filter": 0}, "marked": 20,
            "delay": {"count": 1000, "p50_us": 995.094, "p90_us": 1023.0, "p99_us": 20398.309, "max_us": 20479},
            "tins": null,
        })
    );
    assert_eq!(
        tins[3],
        json!({
            "tin": "voice", "threshold_bps": 22_500_000, "target_us": 5000, "interval_us": 100_000,
            "peak_delay_us": 360, "avg_delay_us": 120, "base_delay_us": 7,
            "backlog_bytes": 4542, "backlog_packets": 3, "sent_packets": 400, "sent_bytes": 500_000,
            "way_indirect_hits": 4, "way_misses": 90, "way_collisions": 1,
            "drops": 12, "codel": 10, "blue": 0, "overlimit": 2, "ecn_mark": 20, "ack_drops": 6,
            "sparse_flows": 3, "bulk_flows": 2, "unresponsive_flows": 1, "max_pkt_len": 1514, "flow_quantum": 1514,
        })
    );
    assert_eq!(
        (
            &customer["customer"],
            &customer["title"],
            &customer["prefixes"],
            &customer["path"],
            &customer["interval"]
        ),
        (
            &json!("4711"),
            &json!("Alice Smith"),
            &json!(["10.1.2.0/29", "2001:db8:1::/56"]),
            &json!(["AP 7", "West", "net"]),
            &Value::Null
        )
    );
}

#[test]
fn rates_are_what_passes_meanwhile() {
    let (_folder, socket) = folder();
    let (mut weir, _server) = busy(&socket);
    let mut measure = |words: &[&str], times: u64| -> Value {
        let mut command =
            command(&socket, &[&["show", "shaper", "--json", "--interval", "2"], words].concat());
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        sleep(Duration::from_secs(1));
        pass(&mut weir, times);
        weir.set("/shaper/customers/down/dropped", 0, 10 * times);
        weir.wait("down", 0, 3_000, 10);
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
    };
    let near = |value: &Value, expected: f64| {
        let value = value.as_f64().unwrap();
        assert!((value - expected).abs() <= expected * 1e-3, "{value} instead of {expected}");
    };
    let tree = measure(&[], 5);
    let seconds = tree["interval"]["seconds"].as_f64().unwrap();
    let names: Vec<&Value> = tree["nodes"].as_array().unwrap().iter().map(|node| &node["name"]).collect();
    assert_eq!(names, ["net", "West", "AP 7", "East"], "by load");
    let ap = &tree["nodes"][2]["down"];
    near(&ap["sent_bps"], 4.0 * 8e6 / seconds);
    near(&ap["use"], 4.0 * 8e6 / seconds / 200e6);
    near(&ap["dropped_per_second"], 40.0 / seconds);
    assert_eq!(ap["delay"]["count"], 10);
    assert_eq!(ap["sent"]["bytes"], 5_000_000, "totals are there as well");
    assert_eq!(tree["customers"], json!([]));
    let customer = measure(&["4711"], 6);
    let seconds = customer["interval"]["seconds"].as_f64().unwrap();
    near(&customer["down"]["sent_bps"], 8e6 / seconds);
    assert_eq!(customer["down"]["sent"], json!({"packets": 800, "bytes": 1_000_000}));
    assert_eq!(customer["down"]["dropped"]["codel"], 10);
    assert_eq!((&customer["down"]["marked"], &customer["down"]["delay"]["count"]), (&json!(0), &json!(10)));
}

#[test]
fn who_is_not_found_is_told_whom_there_is() {
    let (_folder, socket) = folder();
    let weir = busy(&socket);
    let refusal = |word: &str| refused(&socket, &["show", "shaper", word]);
    let lists = "weirstat show shaper lists the nodes, weirstat dump /customers/names the customers";
    assert_eq!(
        refusal("alice"),
        format!(
            "weirstat: no node of the tree and no customer is called alice, but there is Alice Smith: {lists}\n"
        )
    );
    assert_eq!(
        refusal("192.0.2.1"),
        format!("weirstat: no node of the tree and no customer is called 192.0.2.1: {lists}\n")
    );
    assert_eq!(
        refusal("10.0.0.0/8"),
        "weirstat: 10.0.0.0/8 may be any of 3: customer:4711, customer:4712, customer:4713; name one of them so\n"
    );
    drop(weir);
    let _weir = Weir::start(&socket);
    assert_eq!(
        refused(&socket, &["show", "shaper"]),
        format!(
            "weirstat: {} has no shaper (/shaper/nodes/names is missing): it is not weir's, or of a weir that has none\n",
            socket.display()
        )
    );
}

#[test]
fn top_has_the_tree() {
    let (_folder, socket) = folder();
    let (mut weir, _server) = busy(&socket);
    let mut live = Live::start_with(&["top", "--interval", "0.1"], &socket);
    live.resize(160, 24);
    live.wait_for("2 Tree");
    live.press("2");
    live.wait_for("    ▸ AP 7");
    live.press("jj\r");
    live.wait_for("4711 Alice Smith");
    for times in 2.. {
        weir.segment.beat();
        pass(&mut weir, times);
        if live.text().lines().any(|line| line.contains("AP 7") && line.contains('█')) {
            break;
        }
        assert!(times < 1_000, "no bar in:\n{}", live.text());
        sleep(Duration::from_millis(20));
    }
}
