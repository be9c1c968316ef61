//! What readers show of a weir that shapes: its plan, and what really passes.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_tests::appliance::Weir;
use weir_tests::clients::Stream;
use weir_tests::lab::Lab;
use weir_tests::plans::Customer;
use weir_tests::readers::{mounted, objects, output, until};
use weir_tests::scenario::unless_skipped;

const TOWER: &str = r#"{"tower":{"downloadBandwidthMbps":100,"uploadBandwidthMbps":100,"type":"ap"}}"#;

fn json(weir: &Weir, words: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&output(weir, &[&["--json", "show", "shaper"], words].concat())?)?)
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} instead of a number"))
}

#[test]
fn a_greedy_customer_is_seen_in_the_tree_and_in_the_queue() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::with_hosts(&["internet", "alice", "bob"], 2)?;
        let [internet, alice, bob] = &lab.hosts[..] else { unreachable!("three hosts") };
        let plan = |host, id, max| Customer { host, id, node: "tower", min: [1.0; 2], max: [max; 2] };
        let weir = Weir::shaping(&lab, 1, TOWER, &[plan(alice, "alice", 20.0), plan(bob, "bob", 50.0)], "")?;
        let stream = Stream::start(internet, alice)?;
        thread::sleep(Duration::from_secs(2));

        let tree = json(&weir, &["--customers", "--interval", "3"])?;
        let named = |list: &str, name: &str| {
            let found = tree[list].as_array().into_iter().flatten().find(|it| it["name"] == name);
            found.with_context(|| format!("no {name} in {tree}"))
        };
        let (tower, alices, bobs) =
            (named("nodes", "tower")?, named("customers", "alice")?, named("customers", "bob")?);
        ensure!((&tower["kind"], &tower["customers"]) == (&Value::from("ap"), &Value::from(2)), "{tower}");
        ensure!(alices["parent"] == "tower" && bobs["parent"] == "tower", "{alices} {bobs}");
        for (what, max) in [(tower, 100e6), (alices, 20e6), (bobs, 50e6)] {
            for way in ["down", "up"] {
                ensure!(number(&what[way]["max_bps"])? == max, "{what}");
            }
        }
        ensure!(number(&tower["down"]["plans_bps"])? == 70e6, "{tower}");
        for (what, max) in [(tower, 100e6), (alices, 20e6)] {
            let (sent, part) = (number(&what["down"]["sent_bps"])?, number(&what["down"]["use"])?);
            // The sweep writes what has passed a moment later.
            ensure!((sent / 20e6 - 1.0).abs() < 0.05, "{sent} bits a second instead of 20 Mbit/s: {what}");
            ensure!((part - sent / max).abs() < 1e-3, "{what}");
        }
        ensure!(number(&bobs["down"]["sent_bps"])? < 1e4, "{bobs}");
        ensure!(number(&alices["down"]["dropped"])? + number(&alices["down"]["marked"])? > 0.0, "{alices}");

        let queue = json(&weir, &["alice"])?;
        let by_address = json(&weir, &[&*alice.address.to_string()])?;
        ensure!(by_address["customer"] == "alice" && queue["customer"] == "alice", "{by_address}");
        ensure!(queue["path"] == Value::from(vec!["tower", "link"]), "{queue}");
        let tins = queue["down"]["tins"].as_array().context("tins")?;
        ensure!(tins.len() == 4 && tins[1]["tin"] == "best effort", "{queue}");
        let sum = |name: &str| tins.iter().filter_map(|tin| tin[name].as_f64()).sum::<f64>();
        let sent = number(&queue["down"]["sent"]["bytes"])?;
        // One is read after the other.
        ensure!((sent..sent * 1.01).contains(&sum("sent_bytes")), "{queue}");
        ensure!(sum("drops") > 0.0 && number(&tins[1]["target_us"])? == 5_000.0, "{queue}");
        ensure!(
            tins[1]["avg_delay_us"] != 0 && queue["down"]["delay"]["p99_us"].as_f64() > Some(1_000.0),
            "{queue}"
        );
        ensure!(number(&tins[1]["bulk_flows"])? >= 1.0, "{queue}");

        drop(stream);
        weir.counters().conserve()?;
        weir.stop()
    })
}

/// What `dump` prints of the shaper's numbers.
fn dumped(weir: &Weir) -> Result<Vec<Value>> {
    let mut all = objects(&output(weir, &["dump", "--json", "--summary", "^/shaper/(customers|nodes)/"])?)?;
    // The first line is about weir, and has the time.
    all.retain(|it| it["type"] != "writer");
    Ok(all)
}

/// The folder or file of a column of a vector.
fn file(path: &str, column: &str) -> String {
    let labels = match path {
        _ if path.contains("/tins/") => "customer,tin",
        _ if path.ends_with("/dropped") => "customer,cause",
        _ if path.starts_with("/shaper/customers/") => "customer",
        _ => "node",
    };
    // `dump` puts a slash between the names of an object.
    format!("{}/by-{labels}/{}", &path[1..], column.replace('/', ","))
}

#[test]
fn files_of_the_shaper_say_what_dump_says() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::with_hosts(&["internet", "alice"], 1)?;
        let [internet, alice] = &lab.hosts[..] else { unreachable!("two hosts") };
        let plan = Customer { host: alice, id: "alice", node: "tower", min: [1.0; 2], max: [20.0; 2] };
        let weir = Weir::shaping(&lab, 1, TOWER, &[plan], "queue = \"diffserv4 ack-filter\"\n")?;
        let stream = Stream::start(internet, alice)?;
        thread::sleep(Duration::from_secs(2));
        drop(stream);
        // All that waited has left, and a sweep has written it.
        let is_quiet = || {
            let before = dumped(&weir);
            thread::sleep(Duration::from_millis(500));
            before.is_ok_and(|before| dumped(&weir).is_ok_and(|after| after == before))
        };
        until(is_quiet, "the queue")?;

        let truth = dumped(&weir)?;
        mounted(&weir, |mount| {
            let number = |path: &str| -> Result<u64> {
                let text = fs::read_to_string(mount.join(path)).with_context(|| path.to_owned())?;
                text.trim_end().parse().with_context(|| format!("{path} says {text}"))
            };
            let (mut compared, mut counted) = (0, 0);
            for it in &truth {
                let (path, column) = (it["name"].as_str().context("a name")?, it["column"].as_str());
                let Some(column) = column else { continue };
                let fields = match it["type"].as_str() {
                    Some("combined") => {
                        ["packets", "bytes"].map(|field| (field, format!("/{field}"))).to_vec()
                    }
                    _ => vec![("value", String::new())],
                };
                for (field, end) in fields {
                    let (said, truth) = (number(&(file(path, column) + &end))?, it[field].as_u64());
                    ensure!(Some(said) == truth, "{path} of {column}: {field} {said} in the file, {truth:?}");
                    compared += 1;
                    counted += usize::from(said > 0);
                }
            }
            println!("{compared} numbers compared, {counted} of them not 0");
            // A customer's table has more than 300 numbers, two nodes some more.
            ensure!(compared > 300 && counted > 40, "{compared} numbers compared, {counted} of them not 0");
            ensure!(number("shaper/customers/down/max/by-customer/alice")? == 20_000_000);
            ensure!(number("shaper/customers/down/tins/target/by-customer,tin/alice,1")? == 5_000);
            ensure!(number("shaper/nodes/down/sent/by-node/tower/bytes")? > 3_000_000);
            Ok(())
        })?;
        weir.counters().conserve()?;
        weir.stop()
    })
}
