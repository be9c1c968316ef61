//! `--since` and `--rate`: what was counted between two moments.

use std::fs;
use std::path::{Path, PathBuf};

use weir_stats::{CombinedRow, SimpleRow};

use crate::lab::{Weir, folder, refused, shown, weirstat};

/// A weir with counters that go on.
struct Counting {
    weir: Weir,
    rx: CombinedRow,
    drops: SimpleRow,
}

impl Counting {
    fn start(socket: &Path) -> Counting {
        let mut weir = Weir::start(socket);
        let (rx, drops) = weir
            .segment
            .register(|batch| {
                let mut rx = batch.combined("/c/rx", 2, 4)?;
                let mut drops = batch.simple("/c/drops", 2, 4)?;
                batch.symlink("/c/link", drops.id(), 1)?;
                batch.gauge("/c/held", 7)?;
                batch.scalar("/c/beats", 3)?;
                let mut names = batch.names("/c/names", 2)?;
                batch.set_name(&mut names, 0, "first")?;
                batch.histogram("/c/waits", 3, 4)?.take_row(1).unwrap().record(20);
                Ok((rx.take_row(1).unwrap(), drops.take_row(1).unwrap()))
            })
            .unwrap();
        let mut counting = Counting { weir, rx, drops };
        counting.count(10);
        counting
    }

    fn count(&mut self, times: u64) {
        self.rx.add(0, times, times * 60);
        self.drops.add(1, times);
    }
}

/// Saves a snapshot.
fn save(socket: &Path, words: &[&str]) -> PathBuf {
    let path = socket.with_file_name("before.json");
    fs::write(&path, shown(socket, &[&["dump", "--json"], words].concat())).unwrap();
    path
}

/// Its standard output and what it says on stderr.
fn said(socket: &Path, words: &[&str]) -> (String, String) {
    let output = weirstat(socket, words);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_was_counted_since() {
    let (_folder, socket) = folder();
    let mut counting = Counting::start(&socket);
    let file = save(&socket, &[]);
    let file = file.to_str().unwrap();
    let since = |words: &[&str]| shown(&socket, &[&["dump", "--since", file], words].concat());
    assert_eq!(since(&["--no-zeros", "^/c/(rx|drops|link)"]), "");
    counting.count(5);
    assert_eq!(
        since(&["^/c/"]),
        "\
[0 @ 0]: 0 packets, 0 bytes /c/rx
[1 @ 0]: 0 packets, 0 bytes /c/rx
[0 @ 1]: 5 packets, 300 bytes /c/rx
[1 @ 1]: 0 packets, 0 bytes /c/rx
[0 @ 0]: 0 packets /c/drops
[1 @ 0]: 0 packets /c/drops
[0 @ 1]: 0 packets /c/drops
[1 @ 1]: 5 packets /c/drops
[0 @ 0]: 0 packets /c/link
[0 @ 1]: 5 packets /c/link
7.00 /c/held
0.00 /c/beats
[0]: first /c/names
Histogram /c/waits (thread 0):
  <= 15: 0 (cumulative: 0)
  <= 31: 0 (cumulative: 0)
  <= 63: 0 (cumulative: 0)
  +Inf: 0 (total count: 0, sum: 0)
Histogram /c/waits (thread 1):
  <= 15: 0 (cumulative: 0)
  <= 31: 0 (cumulative: 0)
  <= 63: 0 (cumulative: 0)
  +Inf: 0 (total count: 0, sum: 0)
"
    );
    assert_eq!(since(&["--summary", "--no-zeros", "^/c/rx"]), "[0]: 5 packets, 300 bytes /c/rx\n");
    assert_eq!(since(&["--only-index", "1", "--no-zeros", "^/c/drops"]), "[1 @ 1]: 5 packets /c/drops\n");
    let json = since(&["--json", "--no-zeros", "^/c/rx"]);
    assert!(
        json.starts_with(r#"{"name":"","type":"writer","pid":"#) && json.contains("\"since\":1"),
        "{json}"
    );
    assert!(json.ends_with("\"thread\":1,\"packets\":5,\"bytes\":300}\n"), "{json}");
    // Differences are no values to subtract.
    let differences = socket.with_file_name("differences.json");
    fs::write(&differences, json).unwrap();
    let text = refused(&socket, &["dump", "--since", differences.to_str().unwrap()]);
    assert!(
        text.contains("is no saved snapshot: line 1: it holds differences or rates, not counters; "),
        "{text}"
    );
}

#[test]
fn a_file_with_zeros_left_out_is_as_good() {
    let (_folder, socket) = folder();
    let mut counting = Counting::start(&socket);
    let file = save(&socket, &["--no-zeros"]);
    counting.count(5);
    counting.rx.add(1, 1, 60);
    assert_eq!(
        shown(&socket, &["dump", "--since", file.to_str().unwrap(), "--no-zeros", "/c/rx"]),
        "[0 @ 1]: 5 packets, 300 bytes /c/rx\n[1 @ 1]: 1 packets, 60 bytes /c/rx\n"
    );
}

#[test]
fn sums_are_compared_with_sums() {
    let (_folder, socket) = folder();
    let mut counting = Counting::start(&socket);
    let file = save(&socket, &["--summary"]);
    let file = file.to_str().unwrap();
    counting.count(5);
    assert_eq!(
        shown(&socket, &["dump", "--since", file, "--summary", "--no-zeros", "/c/(rx|drops|link)"]),
        "[0]: 5 packets, 300 bytes /c/rx\n[1]: 5 packets /c/drops\n[0]: 5 packets /c/link\n"
    );
    assert_eq!(
        refused(&socket, &["dump", "--since", file]),
        format!("weirstat: {file} holds the sums of all threads: compare them with --summary\n")
    );
}

#[test]
fn what_is_not_in_the_file_counts_as_a_whole() {
    let (_folder, socket) = folder();
    let mut counting = Counting::start(&socket);
    let file = save(&socket, &["/c/rx"]);
    let file = file.to_str().unwrap();
    counting.count(5);
    let (out, err) = said(&socket, &["dump", "--since", file, "--no-zeros", "/c/(rx|drops|link|names)"]);
    assert_eq!(
        out,
        "[0 @ 1]: 5 packets, 300 bytes /c/rx\n[1 @ 1]: 15 packets /c/drops\n[0 @ 1]: 15 packets /c/link\n[0]: first /c/names\n"
    );
    assert_eq!(
        err,
        format!(
            "weirstat: {file}: it has nothing of 2 entries, which count from weir's start: /c/drops, /c/link\n"
        )
    );
    let file = save(&socket, &["--only-index", "1", "/c/rx"]);
    let file = file.to_str().unwrap();
    let (_, err) = said(&socket, &["dump", "--since", file, "/c/rx"]);
    assert_eq!(err, format!("weirstat: {file}: it has index 1 alone, others count from weir's start\n"));
    shown(&socket, &["dump", "--since", file, "--only-index", "1", "/c/rx"]);
}

#[test]
fn a_file_of_another_weir_is_not_subtracted() {
    let (_folder, socket) = folder();
    let counting = Counting::start(&socket);
    let path = save(&socket, &[]);
    let file = path.to_str().unwrap();
    let saved = fs::read_to_string(&path).unwrap();
    let advice =
        "these are the numbers since weir's start; save those of now with: weirstat dump --json >FILE\n";
    let words = ["dump", "--since", file, "--no-zeros", "/c/drops"];
    for (from, to, why) in [
        ("\"start_ticks\":", "\"start_ticks\":1", "it is of a weir that ran before this one"),
        ("\"pid\":", "\"pid\":1", "it is of a weir that ran before this one"),
        ("\"boottime\":", "\"boottime\":1", "it is of a weir that ran before this one"),
        (
            "\"type\":\"writer\"",
            "\"type\":\"note\"",
            "it does not say which weir it is of, so nothing can be subtracted",
        ),
    ] {
        fs::write(&path, saved.replacen(from, to, 1)).unwrap();
        let (out, err) = said(&socket, &words);
        assert_eq!(out, "[1 @ 1]: 10 packets /c/drops\n");
        assert_eq!(err, format!("weirstat: {file}: {why}: {advice}"));
    }
    drop(counting);
}

#[test]
fn what_is_no_snapshot_is_refused_with_its_line() {
    let (_folder, socket) = folder();
    let _counting = Counting::start(&socket);
    let path = save(&socket, &["/c/"]);
    let file = path.to_str().unwrap().to_owned();
    let saved = fs::read_to_string(&path).unwrap();
    let refused_as = |content: &[u8], line: u64, reason: &str| {
        fs::write(&path, content).unwrap();
        for words in [&["dump", "--since", &file][..], &["poll", "--since", &file]] {
            let text = refused(&socket, words);
            let start = format!("weirstat: {file} is no saved snapshot: line {line}: {reason}");
            assert!(text.starts_with(&start), "{text}");
            assert!(text.ends_with("; save one with: weirstat dump --json >FILE\n"), "{text}");
        }
    };
    refused_as(b"[0 @ 1]: 10 packets /c/drops\n", 1, "");
    refused_as(b"\xff\xfe\0", 1, "expected value");
    refused_as(b"{}\n", 1, "missing field `name`");
    let cut = &saved.as_bytes()[..saved.len() - 20];
    refused_as(cut, saved.lines().count() as u64, "EOF while parsing");
    let wrong = saved.replacen("\"value\":10", "\"value\":-10", 1);
    refused_as(
        wrong.as_bytes(),
        saved.lines().position(|l| l.contains("\"value\":10")).unwrap() as u64 + 1,
        "",
    );
    refused_as(saved.replace("\"value\"", "\"worth\"").as_bytes(), 6, "it has no value");
    refused_as(
        format!("{saved}{saved}").as_bytes(),
        saved.lines().count() as u64 + 1,
        "it begins another snapshot",
    );
    let huge = saved
        .replace("\"index\":1", "\"index\":18446744073709551615")
        .replace("\"thread\":1", "\"thread\":4000000000");
    fs::write(&path, huge).unwrap();
    let (out, _) = said(&socket, &["dump", "--since", &file, "--no-zeros", "/c/drops"]);
    assert_eq!(out, "[1 @ 1]: 10 packets /c/drops\n", "what is nowhere cannot be subtracted");
    let text = refused(&socket, &["dump", "--since", "/nonexistent"]);
    assert_eq!(text, "weirstat: /nonexistent: No such file or directory (os error 2)\n");
}

#[test]
fn rates_are_of_two_readings() {
    let (_folder, socket) = folder();
    let mut counting = Counting::start(&socket);
    let reading = std::thread::spawn({
        let socket = socket.clone();
        move || shown(&socket, &["dump", "--rate", "--interval", "1", "--no-zeros", "--json", "/c/(rx|held)"])
    });
    // However late either of the two is, one of these falls between the readings.
    while !reading.is_finished() {
        counting.count(10);
        std::thread::sleep(std::time::Duration::from_millis(10));
        counting.weir.segment.beat();
    }
    let text = reading.join().unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!((&lines[0]["type"], lines[0]["rate"].as_f64()), (&"writer".into(), Some(1.0)));
    let (packets, bytes) = (lines[1]["packets_per_second"].as_f64(), lines[1]["bytes_per_second"].as_f64());
    assert!((1.0..=1000.0).contains(&packets.unwrap()), "{text}");
    assert!((bytes.unwrap() / packets.unwrap() - 60.0).abs() < 1e-6, "{text}");
    assert_eq!(lines[2]["value"], 7);
    for words in [&["dump", "--rate", "--since", "x"][..], &["dump", "--interval", "1"]] {
        assert_eq!(weirstat(&socket, words).status.code(), Some(2), "{words:?}");
    }
}
