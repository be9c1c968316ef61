//! A live segment, read by the unmodified `vpp_papi` package from PyPI: every value is what was written.
#![allow(clippy::unwrap_used)] // what a test stands on may fail it

mod stats_python;

use std::collections::BTreeMap;
use std::process::Command;

use weir_stats::{Options, Reader, Segment, Server, Value};

#[test]
fn papi_reads_what_was_written() {
    let python = match stats_python::interpreter() {
        Ok(python) => python,
        Err(reason) => return eprintln!("SKIP papi_reads_what_was_written: {reason}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let mut segment = Segment::create(Options { workers: 2, ..Options::default() }).unwrap();
    let _server = Server::start(&socket, None, &segment).unwrap();

    // Registered, linked, grown and removed in several changes, as a program does.
    let (mut rx, mut drops, mut names) = segment
        .register(|batch| {
            let rx = batch.combined("/if/rx", 1, 100)?;
            let drops = batch.simple("/if/drops", 1, 100)?;
            Ok((rx, drops, batch.names("/if/names", 100)?))
        })
        .unwrap();
    let doomed = segment.register(|batch| batch.gauge("/doomed", 1)).unwrap();
    let (mut errors, mut latency, mut events) = segment
        .register(|batch| {
            batch.grow_combined(&mut rx, 3)?;
            batch.grow_simple(&mut drops, 3)?;
            batch.set_name(&mut names, 0, "old")?;
            batch.set_name(&mut names, 0, "eth 0 \"quoted\"")?;
            batch.set_name(&mut names, 2, "eth2")?;
            batch.symlink("/interfaces/eth2/rx", rx.id(), 2)?;
            batch.symlink("/interfaces/eth2/drops", drops.id(), 2)?;
            let errors = batch.simple("/node/errors", 4, 64)?;
            batch.symlink("/err/ip4-input/bad-checksum", errors.id(), 3)?;
            batch.gauge("/buffer-pools/default/used", u64::MAX)?;
            batch.scalar("/sys/answer", 42)?;
            batch.simple_rows("/sys/vector_rate_per_worker", 1, 3, 3)?;
            let latency = batch.histogram("/rtt/all", 10, 6)?;
            batch.ring("/silent", 8, 3, b"")?;
            Ok((errors, latency, batch.ring("/events", 16, 7, b"u64 number, u64 square")?))
        })
        .unwrap();
    segment.register(|batch| batch.remove(doomed.id())).unwrap();

    for row in 0..3 {
        let (mut rx, mut drops) = (rx.take_row(row).unwrap(), drops.take_row(row).unwrap());
        let (mut errors, mut latency) = (errors.take_row(row).unwrap(), latency.take_row(row).unwrap());
        let mut events = events.take_row(row).unwrap();
        for column in 0..3 {
            rx.add(column, 100 * row as u64 + column as u64, (1 << 40) + column as u64);
            drops.add(column, 1 << (10 * row + column));
        }
        errors.add(3, row as u64 + 5);
        for exponent in 0..64 {
            latency.record_many(1 << exponent, row as u64 + 1);
        }
        // Row 0 stays empty, row 1 is partly filled, row 2 wraps around.
        for number in 0..5 * row as u64 {
            events.push(&[number.to_le_bytes(), (number * number).to_le_bytes()].concat());
        }
    }

    let output =
        Command::new(python).arg(stats_python::script("papi_dump.py")).arg(&socket).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    let mut found: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('\t')).collect();
    assert_eq!(found.remove("column"), Some("303\t3298534883331"));
    assert_eq!(found.remove("error"), Some("18"));
    assert_eq!(found.remove("ls"), Some("['/if/rx', '/if/drops', '/if/names']"));
    // The place of the removed entry: a name that no client stumbles over, and no value.
    let place = format!("/empty/{}", doomed.id().index());
    assert_eq!(found.remove(place.as_str()), Some("5\tNone"));

    // Written out by hand where the numbers say something ...
    assert_eq!(found["/sys/heartbeat"], "1\tmoving");
    assert_eq!(found["/sys/answer"], "1\t42");
    assert_eq!(found["/sys/num_worker_threads"], "1\t2");
    assert_eq!(found["/sys/pid"], format!("1\t{}", std::process::id()));
    assert_eq!(found["/buffer-pools/default/used"], "9\t18446744073709551615");
    assert_eq!(found["/if/drops"], "2\t[[1, 2, 4], [1024, 2048, 4096], [1048576, 2097152, 4194304]]");
    assert_eq!(found["/interfaces/eth2/drops"], "6\t[4, 4096, 4194304]");
    assert_eq!(found["/if/names"], r#"4	['eth 0 "quoted"', '', 'eth2']"#);
    assert_eq!(found["/sys/vector_rate_per_worker"], "2\t[[0, 0, 0]]");
    let bins = |times: u64| [11, 1, 1, 1, 1, 49].map(|count| count * times);
    assert_eq!(found["/rtt/all"], format!("7\t10 {:?}", [bins(1), bins(2), bins(3)]));
    let hex = |numbers: std::ops::Range<u64>| {
        let record =
            |number: u64| format!("'{:016x}{:016x}'", number.swap_bytes(), (number * number).swap_bytes());
        format!("[{}]", numbers.map(record).collect::<Vec<_>>().join(", "))
    };
    let (some, last) = (hex(0..5), hex(2..10));
    assert_eq!(found["/events"], format!("8\t16 8 'u64 number, u64 square' 1 [[], {some}, {last}]"));
    assert_eq!(found["/silent"], "8\t8 16 None 0 [[], [], []]");

    // ... and all of them as weir's own reader sees them: the two share no code.
    let reader = Reader::connect(&socket).unwrap();
    for entry in reader.list().unwrap() {
        let (number, shown) = found.remove(entry.name.as_str()).unwrap().split_once('\t').unwrap();
        assert_eq!(number, entry.kind.number().to_string(), "{}", entry.name);
        if let (Some(expected), false) = (python_form(reader.read(&entry).unwrap()), shown == "moving") {
            assert_eq!(shown, expected, "{}", entry.name);
        }
    }
    assert!(found.is_empty(), "only the Python client sees {found:?}");
}

/// A value as Python prints it; `None` for rings, whose oldest record weir's reader does not take.
fn python_form(value: Value) -> Option<String> {
    Some(match value {
        Value::Scalar(number) | Value::Gauge(number) => number.to_string(),
        Value::Simple(rows) => format!("{rows:?}"),
        Value::Combined(rows) => {
            let pair =
                |pair: &weir_stats::Pair| format!("{{'packets': {}, 'bytes': {}}}", pair.packets, pair.bytes);
            let row = |row: &Vec<_>| format!("[{}]", row.iter().map(pair).collect::<Vec<_>>().join(", "));
            format!("[{}]", rows.iter().map(row).collect::<Vec<_>>().join(", "))
        }
        Value::Names(names) => {
            let quoted = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
            format!("[{quoted}]")
        }
        Value::Symlink { value, .. } => match *value {
            // A column, without the brackets of its rows of one.
            Value::Simple(rows) => format!("{:?}", rows.concat()),
            Value::Combined(rows) => {
                python_form(Value::Combined(vec![rows.concat()]))?[1..].replace("]]", "]")
            }
            other => panic!("a symlink to {other:?}"),
        },
        Value::Histogram(rows) => {
            let counts: Vec<_> = rows.iter().map(|row| &row.counts).collect();
            format!("{} {counts:?}", rows[0].min_exp)
        }
        Value::Ring(_) => return None,
    })
}
