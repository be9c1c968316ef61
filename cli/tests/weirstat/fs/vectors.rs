//! Every kind of entry as files: what is there, and what is in it.

use weir_stats::{Bounds, Description, Options, Segment, Server};

use crate::fs::mounted::{Mounted, skip_without_fuse};
use crate::lab::{Weir, folder};

#[test]
fn counters_are_numbers_and_tables() {
    skip_without_fuse!("counters_are_numbers_and_tables");
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mounted = Mounted::start(&socket);
    assert_eq!(mounted.list(""), ["err", "if", "interfaces", "mem", "node", "sys", "xdp"]);
    assert_eq!(mounted.read("sys/num_worker_threads"), "1\n");
    assert_eq!(mounted.read("err/ip4-lookup/no-route"), "3\n");
    assert_eq!(mounted.list("interfaces/eth1/rx"), ["bytes", "json", "packets", "table"]);
    assert_eq!(mounted.read("interfaces/eth1/rx/packets"), "10\n");
    assert_eq!(mounted.read("interfaces/eth1/rx/bytes"), "640\n");
    assert_eq!(mounted.list("if/rx"), ["by-interface", "json", "table"]);
    assert_eq!(mounted.list("if/rx/by-interface"), ["eth1", "eth2"]);
    assert_eq!(mounted.list("if/rx/by-interface/eth1"), ["bytes", "packets"]);
    assert_eq!(mounted.read("if/rx/by-interface/eth1/bytes"), "640\n");
    assert_eq!(mounted.read("if/drops/by-interface/eth1"), "3\n");
    assert_eq!(mounted.list("if/names"), ["json", "table"]);
    assert_eq!(
        mounted.read("if/rx/table"),
        "\
thread    index              packets                bytes  interface
     0        0                    0                    0  eth1
     1        0                   10                  640  eth1
     0        1                    0                    0  eth2
     1        1                    0                    0  eth2
"
    );
    assert_eq!(
        mounted.read("node/errors/table"),
        "\
thread    index                value  node/reason
     0        0                    0  ip4-lookup/no-route
     1        0                    3  ip4-lookup/no-route
"
    );
    assert_eq!(mounted.read("if/names/table"), "   index  name\n       0  eth1\n       1  eth2\n");
    assert_eq!(
        mounted.read("if/drops/json"),
        r#"{"name":"/if/drops","type":"simple","unit":"packets","row":"thread","columns":[
{"index":0,"labels":{"interface":"eth1"},"value":3,"rows":[0,3]},
{"index":1,"labels":{"interface":"eth2"},"value":0,"rows":[0,0]}
]}
"#
    );
    assert_eq!(
        mounted.read("interfaces/eth1/rx/json"),
        r#"{"name":"/interfaces/eth1/rx","type":"symlink","unit":"packets","row":"thread","columns":[
{"index":0,"packets":10,"bytes":640,"rows":[{"packets":0,"bytes":0},{"packets":10,"bytes":640}]}
]}
"#
    );
    assert_eq!(
        mounted.read("if/names/json"),
        "{\"name\":\"/if/names\",\"type\":\"names\",\"names\":[\n\"eth1\",\n\"eth2\"\n]}\n"
    );
}

/// The numbers of two customers, with histograms, records, counters by CPU and by number.
fn segment() -> Segment {
    let mut segment = Segment::create(Options { size: 16 << 20, workers: 2, ..Options::default() }).unwrap();
    let customers = "customer=/customers/names";
    let descriptions = [
        Description::combined("/customers/rx", customers, "received"),
        Description::simple("/customers/rtt", "microseconds", "customer=/customers/names,le=/bins", "times"),
        Description::simple("/rtt", "microseconds", "le=/bins", "all times"),
        Description::simple("/loops", "loops", "worker", "turns"),
        Description::simple("/pairs", "packets", "customer=/customers/names,direction=/directions", "both"),
        Description::histogram("/waits", "nanoseconds", "waits"),
    ];
    segment.describe(&descriptions.map(|it| it.clone())).unwrap();
    segment
        .register(|batch| {
            let mut names = batch.names("/customers/names", 4)?;
            batch.set_name(&mut names, 0, "alice")?;
            batch.set_name(&mut names, 2, "bob, up/down")?;
            let mut bins = batch.names("/bins", 5)?;
            for (at, name) in Bounds::names(&[10, 20, 40]).iter().enumerate() {
                batch.set_name(&mut bins, at, name)?;
            }
            let mut directions = batch.names("/directions", 2)?;
            batch.set_name(&mut directions, 0, "up")?;
            batch.set_name(&mut directions, 1, "down")?;
            let mut rx = batch.combined("/customers/rx", 3, 4)?;
            rx.take_row(1).unwrap().add(2, 5, 500);
            rx.take_row(2).unwrap().add(2, 1, 100);
            let mut rtt = batch.simple("/customers/rtt", 15, 20)?;
            let mut row = rtt.take_row(1).unwrap();
            (10..15).for_each(|column| row.add(column, 4));
            rtt.take_row(2).unwrap().add(11, 4);
            let mut all = batch.simple("/rtt", 5, 5)?;
            all.take_row(1).unwrap().add(0, 2);
            let mut loops = batch.simple("/loops", 3, 3)?;
            loops.take_row(0).unwrap().add(1, 77);
            let mut pairs = batch.simple("/pairs", 6, 8)?;
            pairs.take_row(1).unwrap().add(5, 9);
            let mut waits = batch.histogram("/waits", 4, 3)?;
            waits.take_row(1).unwrap().record_many(40, 3);
            let mut ring = batch.ring("/ring", 8, 4, b"x")?;
            ring.take_row(1).unwrap().push(&[1, 2, 3, 4, 5, 6, 7, 255]);
            Ok(())
        })
        .unwrap();
    segment
}

#[test]
fn objects_have_folders_of_their_own() {
    skip_without_fuse!("objects_have_folders_of_their_own");
    let (_folder, socket) = folder();
    let segment = segment();
    let _server = Server::start(&socket, None, &segment).unwrap();
    let mounted = Mounted::start(&socket);
    let bob = "customers/rx/by-customer/bob, up%2Fdown";
    assert_eq!(mounted.list("customers/rx/by-customer"), ["alice", "bob, up%2Fdown"]);
    assert_eq!(mounted.read(&format!("{bob}/packets")), "6\n");
    assert_eq!(mounted.read(&format!("{bob}/bytes")), "600\n");
    assert_eq!(mounted.list("loops/by-worker"), ["0", "1", "2"]);
    assert_eq!(mounted.read("loops/by-worker/1"), "77\n");
    assert_eq!(
        mounted.list("pairs/by-customer,direction"),
        ["alice,down", "alice,up", "bob%2C up%2Fdown,down", "bob%2C up%2Fdown,up"]
    );
    assert_eq!(mounted.read("pairs/by-customer,direction/bob%2C up%2Fdown,down"), "9\n");
    assert_eq!(
        mounted.read("ring/table"),
        "thread               record  bytes\n     1                    0  01020304050607ff\n"
    );
    let ring: serde_json::Value = serde_json::from_str(&mounted.read("ring/json")).unwrap();
    assert_eq!(ring["rows"][1]["records"][0], "01020304050607ff");
}

#[test]
fn histograms_have_bins_and_quantiles() {
    skip_without_fuse!("histograms_have_bins_and_quantiles");
    let (_folder, socket) = folder();
    let segment = segment();
    let _server = Server::start(&socket, None, &segment).unwrap();
    let mounted = Mounted::start(&socket);
    let bob = "customers/rtt/by-customer/bob, up%2Fdown";
    assert_eq!(mounted.list(bob), ["count", "json", "p50", "p90", "p99", "table"]);
    assert_eq!(mounted.read(&format!("{bob}/count")), "20\n");
    assert_eq!(mounted.read(&format!("{bob}/p50")), "18\n");
    assert_eq!(mounted.read("customers/rtt/by-customer/alice/p50"), "nan\n");
    assert_eq!(
        mounted.read(&format!("{bob}/table")),
        "                  le                count           cumulative
                  10                    4                    4
                  20                    8                   12
                  40                    4                   16
                +Inf                    4                   20
"
    );
    let json: serde_json::Value = serde_json::from_str(&mounted.read(&format!("{bob}/json"))).unwrap();
    assert_eq!(
        (&json["count"], &json["sum"], &json["unit"]),
        (&20.into(), &4.into(), &"microseconds".into())
    );
    assert_eq!(json["labels"]["customer"], "bob, up/down");
    assert_eq!(json["bins"][3], serde_json::json!({"le": null, "count": 4}));
    assert_eq!(json["rows"], serde_json::json!([[0, 0, 0, 0], [4, 4, 4, 4], [0, 4, 0, 0]]));
    assert_eq!(
        mounted.read("customers/rtt/table"),
        "   index                count                  p50                  p90                  p99  customer
       0                    0                  nan                  nan                  nan  alice
       2                   20                   18                   40                   40  bob, up/down
"
    );
    let all: serde_json::Value = serde_json::from_str(&mounted.read("customers/rtt/json")).unwrap();
    assert_eq!((&all["type"], &all["histograms"][1]["count"]), (&"histogram".into(), &20.into()));
    assert_eq!(mounted.read("rtt/count"), "2\n");
    assert_eq!(
        (mounted.read("waits/count"), mounted.read("waits/p50")),
        ("3\n".to_owned(), "47\n".to_owned())
    );
}
