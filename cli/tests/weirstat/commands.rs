//! What each command prints about a weir that lives.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use weir_stats::Description;

use crate::lab::{Weir, command, folder, refused, shown, weirstat};

#[test]
fn ls_lists_names() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    assert_eq!(
        shown(&socket, &["ls", "^/if/", "no-route"]),
        "/if/names\n/if/rx\n/if/drops\n/err/ip4-lookup/no-route\n"
    );
    assert_eq!(
        shown(&socket, &["ls", "--json", "/rx$"]),
        "{\"name\":\"/if/rx\",\"type\":\"combined\"}\n{\"name\":\"/interfaces/eth1/rx\",\"type\":\"symlink\"}\n"
    );
    let all = shown(&socket, &["ls"]);
    assert!(all.starts_with("/sys/heartbeat\n/sys/last_stats_clear\n/sys/boottime\n"), "{all}");
    assert_eq!(all.lines().filter(|name| name.starts_with("/sys/node/")).count(), 4);
}

#[test]
fn ls_says_what_entries_are() {
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    let described = [
        Description::combined("/if/rx", "interface=/if/names", "received"),
        Description::link("/interfaces/{interface}/rx", "packets", "received by one port"),
        Description::simple("/node/errors", "packets", "/err/{node}/{reason}", "dropped"),
    ];
    weir.segment.describe(&described).unwrap();
    assert_eq!(
        shown(&socket, &["ls", "-l", "rx$", "/node/errors", "/sys/heartbeat$", "/if/drops"]),
        "\
/sys/heartbeat       scalar    beats                 grows at least once a second while the writer lives
/if/rx               combined  packets  interface    received
/interfaces/eth1/rx  symlink   packets               received by one port
/if/drops            simple
/node/errors         simple    packets  node,reason  dropped
"
    );
    assert_eq!(
        shown(&socket, &["ls", "--long", "--json", "^/if/rx", "/node/errors"]),
        "{\"name\":\"/if/rx\",\"type\":\"combined\",\"unit\":\"packets\",\"columns\":[\"interface\"],\"help\":\"received\"}\n\
         {\"name\":\"/node/errors\",\"type\":\"simple\",\"unit\":\"packets\",\"columns\":[\"node\",\"reason\"],\"help\":\"dropped\"}\n"
    );
}

#[test]
fn dump_prints_values() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    assert_eq!(
        shown(&socket, &["dump", "^/if/", "^/interfaces/", "num_worker_threads"]),
        "\
1.00 /sys/num_worker_threads
[0]: eth1 /if/names
[1]: eth2 /if/names
[0 @ 0]: 0 packets, 0 bytes /if/rx
[1 @ 0]: 0 packets, 0 bytes /if/rx
[0 @ 1]: 10 packets, 640 bytes /if/rx
[1 @ 1]: 0 packets, 0 bytes /if/rx
[0 @ 0]: 0 packets, 0 bytes /interfaces/eth1/rx
[0 @ 1]: 10 packets, 640 bytes /interfaces/eth1/rx
[0 @ 0]: 0 packets /if/drops
[1 @ 0]: 0 packets /if/drops
[0 @ 1]: 3 packets /if/drops
[1 @ 1]: 0 packets /if/drops
"
    );
    assert_eq!(
        shown(&socket, &["dump", "--summary", "--no-zeros", "/if/(rx|drops)"]),
        "[0]: 10 packets, 640 bytes /if/rx\n[0]: 3 packets /if/drops\n"
    );
    assert_eq!(
        shown(&socket, &["dump", "--machine", "--only-index", "1", "/if/rx"]),
        "3:1:0:0:0:/if/rx\n3:1:1:0:0:/if/rx\n"
    );
    let objects = shown(&socket, &["dump", "--json", "--no-zeros", "/if/rx"]);
    let (heading, rest) = objects.split_once('\n').unwrap();
    let heading: serde_json::Value = serde_json::from_str(heading).unwrap();
    assert_eq!((&heading["name"], &heading["type"]), (&"".into(), &"writer".into()));
    assert_eq!(heading["pid"], std::process::id());
    assert!(heading["time"].as_f64().unwrap() > 1.7e9, "{heading}");
    assert_eq!(
        rest,
        "{\"name\":\"/if/rx\",\"type\":\"combined\",\"index\":0,\"column\":\"eth1\",\"thread\":1,\"packets\":10,\"bytes\":640}\n"
    );
    let stamped = shown(&socket, &["dump", "--timestamp", "--summary", "--only-index", "0", "/if/rx"]);
    let (seconds, rest) = stamped.split_once(':').unwrap();
    assert!(
        seconds.parse::<f64>().unwrap() > 1.7e9 && seconds.split_once('.').unwrap().1.len() == 6,
        "{stamped}"
    );
    assert_eq!(rest, "[0]: 10 packets, 640 bytes /if/rx\n");
}

#[test]
fn show_prints_vppctls_columns() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    for word in ["interface", "interfaces"] {
        assert_eq!(
            shown(&socket, &["show", word]),
            "              Name               Idx      Counter          Count
eth1                              0  rx packets                    10
                                     rx bytes                     640
                                     drops                          3
eth2                              1
"
        );
    }
    for word in ["error", "errors"] {
        assert_eq!(
            shown(&socket, &["show", word]),
            "   Count                  Node                              Reason               Severity
         3             ip4-lookup                          no-route                error
"
        );
    }
    assert_eq!(
        shown(&socket, &["show", "xdp"]),
        "              Name               Idx      Verdict         Packets      CPU:Packets
eth1                              0  redirected                    10  1:10
eth2                              1
"
    );
    let runtime = shown(&socket, &["show", "runtime"]);
    let lines: Vec<_> = runtime.lines().collect();
    assert_eq!(lines[0], "Thread 1 weir-worker-0");
    assert!(lines[1].starts_with("Time ") && lines[1].ends_with(" loops/sec 0.00"), "{}", lines[1]);
    assert!(
        lines[2].starts_with("  vector rates in ") && lines[2].ends_with(", punt 0.0000e0"),
        "{}",
        lines[2]
    );
    assert_eq!(
        lines[3..],
        [
            "             Name                 State         Calls          Vectors        Suspends         Clocks       Vectors/Call",
            "ip4-lookup                       active                  4              10               0          1.00e2            2.50",
        ]
    );
}

#[test]
fn show_gives_one_document() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    for (word, list) in
        [("interfaces", "interfaces"), ("errors", "errors"), ("xdp", "ports"), ("runtime", "threads")]
    {
        let document: serde_json::Value =
            serde_json::from_str(&shown(&socket, &["--json", "show", word])).unwrap();
        assert!(!document[list].as_array().unwrap().is_empty(), "{document}");
    }
}

#[test]
fn what_matches_nothing_is_said_to() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    for word in ["ls", "dump"] {
        let output = weirstat(&socket, &[word, "/none", "/of/these"]);
        assert_eq!(
            (
                output.status.code(),
                output.stdout.as_slice(),
                String::from_utf8_lossy(&output.stderr).as_ref()
            ),
            (
                Some(0),
                &b""[..],
                "weirstat: no entry matches /none or /of/these: weirstat ls shows all names\n"
            )
        );
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    // More than a pipe holds.
    weir.segment.register(|batch| batch.simple("/wide", 50_000, 50_000)).unwrap();
    for words in
        [&["dump", "/wide"][..], &["dump", "--json", "/wide"], &["poll", "--interval", "0.001", "/wide"]]
    {
        let mut child =
            command(&socket, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("/wide") || line.contains("\"type\":\"writer\""), "{line}");
        let status = child.wait().unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{words:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    for words in [&["ls"][..], &["dump"], &["--json", "show", "interfaces"], &["poll"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(&socket, words).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            stderr,
            "weirstat: cannot write to standard output: No space left on device (os error 28)\n"
        );
    }
}

#[test]
fn a_stuck_weir_is_shown_with_a_warning() {
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    weir.segment.beat();
    sleep(Duration::from_millis(3100));
    for words in
        [&["dump", "--summary", "--only-index", "0", "/if/rx"][..], &["show", "errors"], &["ls", "/if/rx"]]
    {
        let output = weirstat(&socket, words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let start = format!("weirstat: weir (pid {}) has not beaten its heart for ", std::process::id());
        let rest = stderr.strip_prefix(&start).unwrap_or_else(|| panic!("{stderr}"));
        assert!(rest.ends_with(" s: it is stuck, its numbers may be old\n"), "{stderr}");
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty());
    }
    weir.segment.beat();
    shown(&socket, &["ls"]);
}

#[test]
fn a_segment_without_ports_has_no_interfaces_to_show() {
    let (_folder, socket) = folder();
    let segment = weir_stats::Segment::create(weir_stats::Options::default()).unwrap();
    let _server = weir_stats::Server::start(&socket, None, &segment).unwrap();
    let at = socket.display();
    assert_eq!(
        refused(&socket, &["show", "interfaces"]),
        format!(
            "weirstat: {at} has no interfaces (/if/names is missing): it is not weir's, or of a weir that has none\n"
        )
    );
    assert!(
        refused(&socket, &["show", "runtime"]).contains(" has no node counters (/sys/node/names is missing)")
    );
    assert!(refused(&socket, &["show", "xdp"]).contains(" has no interfaces (/if/names is missing)"));
}

#[test]
fn wrong_words_are_refused_before_anything_is_read() {
    let (_folder, socket) = folder();
    assert_eq!(
        refused(&socket, &["ls", "/if", "[rt"]),
        "weirstat: \"[rt\" is not a pattern: unclosed character class; write a regular expression, with \\ before a character \
         that is meant as itself\n"
    );
    for words in [
        &["poll", "--interval", "0"][..],
        &["dump", "--only-index", "x"],
        &["show"],
        &["--json", "dump", "--machine"],
        &[],
    ] {
        assert_eq!(weirstat(&socket, words).status.code(), Some(2), "{words:?}");
    }
    let help = weirstat(&socket, &["poll", "--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success() && text.contains("Examples:") && text.contains("--no-zeros"), "{text}");
}
