//! `rtt`: tables, JSON and plots, since the start and live.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Weir, command, folder, memory, refused, served, shown, weirstat};
use crate::live::Live;
use crate::polling::Running;
use crate::round_trips::{Measure, RoundTrips};

/// Three customers, one of whom has done nothing yet.
fn busy(socket: &std::path::Path) -> RoundTrips {
    let mut weir = RoundTrips::start(socket, &["acme", "zoo", "quiet", "10.9.0.0/16"]);
    weir.measure(Measure::Lan, 0, 1_500, 900);
    weir.measure(Measure::Lan, 0, 40_000, 100);
    weir.measure(Measure::Wan, 0, 12, 1);
    weir.measure(Measure::Down, 0, 250, 1_234_567);
    weir.pass(0, 0, 1_234_567, 1_500_000_000, 250);
    weir.pass(1, 0, 400, 60_000, 8);
    weir.measure(Measure::Lan, 1, 700_000, 3);
    weir.measure(Measure::Lan, 3, 20_000_000, 1);
    weir.measure_port(0, 0, 5_000, 10);
    weir.measure_port(1, 1, 30, 20);
    weir
}

#[test]
fn customers_are_shown_since_the_start() {
    let (_folder, socket) = folder();
    let _weir = busy(&socket);
    assert_eq!(
        shown(&socket, &["rtt"]),
        "\
customer                count    min    p50    p90    p99    max packets  bytes resent
acme        rtt lan      1000 1.41ms 1.48ms 1.53ms 40.8ms 41.0ms       -      -      -
acme        rtt wan         1  <18us 12.0us 16.0us 16.9us 17.0us       -      -      -
acme        delay down 1.235M  240us  250us  254us  255us  255us  1.235M 1.500G 0.020%
acme        delay up        -      -      -      -      -      -     400  60000   2.0%
zoo         rtt lan         3  655ms  700ms  717ms  720ms  721ms       -      -      -
10.9.0.0/16 rtt lan         1  16.8s >16.8s >16.8s >16.8s >16.8s       -      -      -
"
    );
    assert_eq!(
        shown(&socket, &["rtt", "--worst", "2"]),
        "\
customer                count    min    p50    p90    p99    max packets  bytes resent
10.9.0.0/16 rtt lan         1  16.8s >16.8s >16.8s >16.8s >16.8s       -      -      -
zoo         rtt lan         3  655ms  700ms  717ms  720ms  721ms       -      -      -
"
    );
    let names = |words: &[&str]| {
        let text = shown(&socket, words);
        let names = text.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().to_owned());
        let mut names: Vec<String> = names.collect();
        names.dedup();
        names
    };
    assert_eq!(names(&["rtt", "--sort", "lan.p50"]), ["10.9.0.0/16", "zoo", "acme"]);
    assert_eq!(names(&["rtt", "--worst", "1", "--sort", "down.p90"]), ["acme"]);
    assert_eq!(names(&["rtt", "zoo", "10.9.3.4"]), ["zoo", "10.9.0.0/16"]);
    assert_eq!(shown(&socket, &["rtt", "quiet"]).lines().count(), 5, "what is asked for by name is shown");
}

#[test]
fn ports_are_shown_when_asked_for_or_alone() {
    let (_folder, socket) = folder();
    let mut weir = busy(&socket);
    let expected = "\
port        count    min    p50    p90    p99    max packets  bytes
eth1 rtt       10 4.61ms 5.00ms 5.10ms 5.12ms 5.12ms       -      -
eth2 delay     20 30.0us 30.0us 30.8us 31.0us 31.0us      20   9000
";
    assert_eq!(shown(&socket, &["rtt", "--ports"]), expected);
    assert_eq!(shown(&socket, &["rtt", "--ports", "eth2"]).lines().count(), 3);
    drop(weir);
    weir = RoundTrips::start(&socket, &[]);
    weir.measure_port(0, 0, 5_000, 10);
    weir.measure_port(1, 1, 30, 20);
    assert_eq!(shown(&socket, &["rtt"]), expected);
    let port: Value =
        serde_json::from_str(shown(&socket, &["--json", "rtt"]).lines().next().unwrap()).unwrap();
    assert_eq!(
        (&port["port"], &port["rtt"]["count"], &port["sent"]["packets"]),
        (&json!("eth1"), &json!(10), &json!(0))
    );
}

#[test]
fn json_has_everything() {
    let (_folder, socket) = folder();
    let _weir = busy(&socket);
    let lines = shown(&socket, &["rtt", "--json"]);
    let customers: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&Value> = customers.iter().map(|it| &it["customer"]).collect();
    assert_eq!(names, ["acme", "zoo", "10.9.0.0/16"]);
    let none = json!({"count": 0, "min_us": null, "mean_us": null, "p50_us": null, "p90_us": null, "p99_us": null, "max_us": null});
    assert_eq!(
        customers[0],
        json!({
            "customer": "acme",
            "rtt": {
                "lan": {"count": 1000, "min_us": 1408, "mean_us": 5350.0, "p50_us": 1479.273, "p90_us": 1535.0,
                        "p99_us": 40817.048, "max_us": 40959},
                "wan": {"count": 1, "min_us": 0, "mean_us": 12.0, "p50_us": 12.0, "p90_us": 16.0, "p99_us": 16.9,
                        "max_us": 17},
            },
            "delay": {
                "down": {"count": 1_234_567, "min_us": 240, "mean_us": 250.0, "p50_us": 250.0, "p90_us": 254.0,
                         "p99_us": 254.9, "max_us": 255},
                "up": none,
            },
            "traffic": {
                "down": {"packets": 1_234_567, "bytes": 1_500_000_000_u64, "retransmissions": 250,
                         "retransmission_share": 250.0 / 1_234_567.0, "reordered": 0},
                "up": {"packets": 400, "bytes": 60_000, "retransmissions": 8, "retransmission_share": 0.02,
                       "reordered": 0},
            },
        })
    );
    let beyond = &customers[2]["rtt"]["lan"];
    assert_eq!(
        (&beyond["p50_us"], &beyond["max_us"], &beyond["mean_us"]),
        (&Value::Null, &Value::Null, &json!(2e7))
    );
}

#[test]
fn a_distribution_is_drawn() {
    let (_folder, socket) = folder();
    let _weir = busy(&socket);
    let text = shown(&socket, &["rtt", "--plot", "zoo"]);
    let bar = "#".repeat(47);
    assert_eq!(
        text,
        format!(
            "zoo  rtt lan: 3 samples, p50 700ms, p90 717ms, p99 720ms\n    655ms-721ms  {bar}      3 100.0%\n"
        )
    );
}

#[test]
fn words_that_mean_nothing_are_said_to() {
    let (_folder, socket) = folder();
    let weir = busy(&socket);
    let output = weirstat(&socket, &["rtt", "zoo", "zebra"]);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "weirstat: no customer is called zebra: weirstat dump /customers/names shows all names\n"
    );
    assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("zoo"));
    assert_eq!(
        refused(&socket, &["rtt", "--sort", "lan.p98"]),
        "weirstat: \"lan.p98\" is nothing to sort by: write one of lan, wan, down, up, or of p50, p90, p99, max, count, \
         packets, bytes, resent, or both as lan.p50\n"
    );
    for words in [
        &["rtt", "--follow", "--worst", "3"][..],
        &["rtt", "--format", "json"],
        &["rtt", "--worst", "0"],
        &["rtt", "--interval", "0"],
        &["--json", "rtt", "--plot"],
        &["rtt", "--follow", "--format", "ppviz", "--json"],
    ] {
        assert_eq!(weirstat(&socket, words).status.code(), Some(2), "{words:?}");
    }
    drop(weir);
    let _weir = Weir::start(&socket);
    for words in [&["rtt"][..], &["rtt", "--interval", "0.1"]] {
        let text = refused(&socket, words);
        assert!(text.contains(" has no round-trip times (/rtt/ports is missing)"), "{text}");
    }
    assert!(
        refused(&socket, &["rtt", "--follow"])
            .contains(" has no single round-trip times (/rtt/events is missing)")
    );
}

/// Lines of a running `rtt`, until it is told to stop.
struct Lines {
    _child: Running,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Lines {
    fn of(socket: &std::path::Path, words: &[&str]) -> Lines {
        let mut child = Running(command(socket, words).stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        Lines { _child: child, lines }
    }

    fn object(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

#[test]
fn each_interval_has_its_own_figures() {
    let (_folder, socket) = folder();
    let mut weir = busy(&socket);
    let mut live = Lines::of(&socket, &["rtt", "--interval", "0.1", "--json", "acme", "zoo"]);
    let first = live.object();
    assert_eq!((&first["customer"], &first["rtt"]["lan"]["count"]), (&json!("acme"), &json!(0)));
    // Looks come at fixed times: one that was late makes the interval after it shorter.
    assert!(first["seconds"].as_f64().unwrap() > 0.0 && first["time"].as_f64().unwrap() > 1.7e9);
    weir.measure(Measure::Lan, 0, 3_000, 10);
    weir.measure(Measure::Up, 0, 90, 1);
    weir.pass(0, 0, 50, 5_000, 1);
    let (mut samples, mut packets, mut waits) = (0, 0, 0);
    while samples < 10 || packets < 50 || waits < 1 {
        let customer = live.object();
        if customer["customer"] == "acme" {
            samples += customer["rtt"]["lan"]["count"].as_u64().unwrap();
            packets += customer["traffic"]["down"]["packets"].as_u64().unwrap();
            waits += customer["delay"]["up"]["count"].as_u64().unwrap();
            assert!(customer["rtt"]["lan"]["max_us"].as_u64().is_none_or(|max| max == 3071), "{customer}");
        }
    }
    assert_eq!((samples, packets, waits), (10, 50, 1), "each is in one interval");

    let mut live = Lines::of(&socket, &["rtt", "--interval", "0.1", "--json"]);
    sleep(Duration::from_millis(250));
    weir.name(5, "late");
    weir.measure(Measure::Lan, 5, 5_000, 8);
    let customer = live.object();
    assert_eq!((&customer["customer"], &customer["rtt"]["lan"]["count"]), (&json!("late"), &json!(8)));
    // What was counted under another name is no past.
    weir.name(1, "zebra");
    let customer = live.object();
    assert_eq!((&customer["customer"], &customer["rtt"]["lan"]["count"]), (&json!("zebra"), &json!(3)));
}

#[test]
fn a_restart_is_no_difference() {
    let (_folder, socket) = folder();
    let weir = busy(&socket);
    let mut live = Lines::of(&socket, &["rtt", "--interval", "0.05", "--json", "acme"]);
    live.object();
    drop(weir);
    sleep(Duration::from_millis(200));
    let mut weir = RoundTrips::start(&socket, &["acme"]);
    weir.measure(Measure::Lan, 0, 1_500, 5);
    sleep(Duration::from_millis(200));
    weir.measure(Measure::Lan, 0, 1_500, 950);
    let mut counts = std::iter::from_fn(|| live.object()["rtt"]["lan"]["count"].as_u64());
    let counted = counts.find(|count| *count > 0).unwrap();
    assert!([950, 955].contains(&counted), "{counted}");
}

#[test]
fn a_terminal_is_redrawn_and_has_what_fits() {
    let (_folder, socket) = folder();
    let mut weir = busy(&socket);
    let mut live = Live::start_with(&["rtt", "--interval", "0.1", "acme"], &socket);
    live.wait_until("the table", |screen| screen.contents().contains("acme     rtt lan"));
    weir.measure(Measure::Lan, 0, 3_000, 10);
    weir.segment.beat();
    live.wait_until("the samples", |screen| screen.contents().contains("2.82ms"));
    let lines = live.text();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "customer             count    min    p50    p90    p99    max packets resent",
            "acme     rtt lan        10 2.82ms 3.00ms 3.06ms 3.07ms 3.07ms       -      -"
        ]
    );
    assert_eq!(lines.len(), 5, "{lines:?}");
    live.wait_until("an interval without samples", |screen| !screen.contents().contains("2.82ms"));
    live.resize(40, 4);
    live.wait_until("a narrow table", |screen| {
        let text = screen.contents();
        text.contains("acme     rtt lan") && text.contains("… 3 more lines: show fewer with --worst")
    });
    live.resize(120, 24);
    drop(weir);
    live.wait_for("there is no weir at");
}

#[test]
fn its_first_figures_come_in_good_time() {
    let (_folder, socket) = folder();
    let _weir = busy(&socket);
    let mut live = Live::start_with(&["rtt", "--interval", "600"], &socket);
    live.wait_for("the first figures come in 600 s");
}

#[test]
fn damage_is_no_crash() {
    let (_folder, socket) = folder();
    let weir = busy(&socket);
    let segment = File::from(weir.segment.fd().unwrap().try_clone_to_owned().unwrap());
    let mut bytes = vec![0; 4 << 20];
    segment.read_exact_at(&mut bytes, 0).unwrap();
    let used: Vec<usize> = (0..bytes.len() / 8)
        .filter(|word| bytes[word * 8..word * 8 + 8].iter().any(|octet| *octet != 0))
        .collect();
    // xorshift64: the same damage in each run.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..40 {
        let mut image = bytes.clone();
        for _ in 0..1 + round {
            let word = used[next() as usize % used.len()];
            let value = [next(), next() % 4096, u64::MAX, 0][next() as usize % 4];
            image[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        served(&memory(&image, true), |socket| {
            for words in
                [&["rtt", "--plot"][..], &["--json", "rtt", "acme", "10.0.0.0/8"], &["rtt", "--ports"]]
            {
                let output = weirstat(socket, words);
                let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(matches!(output.status.code(), Some(0 | 1)), "{words:?} in round {round}: {stderr}");
            }
        });
    }
}
