//! `rtt --follow` with a writer that goes on: merged, filtered, lapped, in company, across restarts, and at rest.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::{command, folder};
use crate::polling::{PATIENCE, Running};
use crate::round_trips::{RECORDS, RoundTrips, Sample};

/// A follower, whose lines come one by one.
struct Follower {
    child: Running,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Follower {
    /// Begins to follow. It has found the segment when this returns: it says so by a sample of its own.
    fn start(socket: &Path, words: &[&str]) -> Follower {
        let words = [&["rtt", "--follow"], words].concat();
        let mut command = command(socket, &words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        let follower = Follower { child: Running(child), out, err };
        // It follows from the moment on at which it has mapped the segment.
        let maps = format!("/proc/{}/maps", follower.child.0.id());
        wait(|| fs::read_to_string(&maps).unwrap().contains("memfd:"));
        sleep(Duration::from_millis(100));
        follower
    }

    fn line(&self) -> String {
        self.out.recv_timeout(PATIENCE).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.0), signal).unwrap();
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    spawn(move || {
        for line in BufReader::new(from).lines() {
            if line.map(|line| send.send(line)).is_err() {
                break;
            }
        }
    });
    receive
}

fn wait(mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "it never was");
        sleep(Duration::from_millis(5));
    }
}

/// A second of 2025, in nanoseconds.
const TIME: u64 = 1_753_281_296_000_000_000;

fn sample(number: u64) -> Sample {
    Sample { time: TIME + number * 1000, rtt: 1_000_000 + number * 1000, to: [10, 1, 2, 3], wan: 0 }
}

/// The number that a sample's line says, as [`sample`] made it.
fn number(line: &str) -> u64 {
    let rtt = line.split(' ').nth(1).unwrap().split_once('.').unwrap();
    assert_eq!(rtt.0, "0");
    rtt.1.parse::<u64>().unwrap() - 1000
}

#[test]
fn samples_of_all_workers_come_in_the_order_of_their_time() {
    let (_folder, socket) = folder();
    let mut weir = RoundTrips::start(&socket, &["acme"]);
    weir.sample(0, sample(1));
    let machine = Follower::start(&socket, &["--format", "pping-m"]);
    let table = Follower::start(&socket, &[]);
    let json = Follower::start(&socket, &["--json"]);
    for (worker, numbers) in [(1, [3, 5, 8]), (0, [4, 6, 7])] {
        numbers.iter().for_each(|it| weir.sample(worker, sample(*it)));
    }
    let flow = "192.0.2.7:443+10.1.2.3:51000";
    assert_eq!(machine.line(), format!("1753281296.000003 0.001003 0.001002 0 0 0 {flow}"));
    for number in 4..=8 {
        assert!(machine.line().starts_with(&format!("1753281296.00000{number} 0.00100{number} 0.001")));
    }
    assert!(table.line().starts_with("time            rtt  least method    port"));
    let line = table.line();
    let expected = ":56.000 1.00ms 1.00ms timestamp eth2     -                    acme                 ";
    assert!(line.ends_with(&format!("{expected}{flow}")), "{line}");
    let first: Value = serde_json::from_str(&json.line()).unwrap();
    assert_eq!((&first["timestamp"], &first["rtt"]), (&(TIME + 3000).into(), &1_003_000.into()));
    assert_eq!((&first["customer_wan"], &first["customer_lan"]), (&"acme".into(), &Value::Null));
}

#[test]
fn customers_and_prefixes_are_followed_alone() {
    let (_folder, socket) = folder();
    let mut weir = RoundTrips::start(&socket, &["acme", "zoo"]);
    let by_name = Follower::start(&socket, &["--format", "ppviz", "zoo", "nobody"]);
    let by_prefix = Follower::start(&socket, &["--format", "ppviz", "10.2.0.0/16"]);
    let by_address = Follower::start(&socket, &["--format", "ppviz", "192.0.2.7"]);
    assert_eq!(
        by_name.err.recv_timeout(PATIENCE).unwrap(),
        "weirstat: no customer is called nobody: weirstat dump /customers/names shows all names"
    );
    for (at, (third, customer)) in [(1, 0), (2, 1), (2, 0), (1, 1)].into_iter().enumerate() {
        let to = [10, third, 2, 3];
        weir.sample(at % 2, Sample { to, wan: customer, ..sample(at as u64) });
    }
    let times = |follower: &Follower, count: usize| {
        (0..count).map(|_| follower.line()[..20].to_owned()).collect::<Vec<_>>()
    };
    let time = |number: u64| format!("1753281296.{:09}", number * 1000);
    assert_eq!(times(&by_name, 2), [1, 3].map(time));
    assert_eq!(times(&by_prefix, 2), [1, 2].map(time));
    assert_eq!(times(&by_address, 4), [0, 1, 2, 3].map(time));
    // A name that is given later counts from then on.
    weir.name(0, "nobody");
    sleep(Duration::from_millis(100));
    weir.sample(0, sample(9));
    assert_eq!(times(&by_name, 1), [9].map(time));
}

#[test]
fn two_followers_have_every_sample_of_a_busy_writer() {
    let (_folder, socket) = folder();
    let mut weir = RoundTrips::start(&socket, &["acme"]);
    let followers = [(); 2].map(|()| Follower::start(&socket, &["--format", "pping-m"]));
    // Slow enough for a follower on a busy machine: a quarter of the ring between two looks.
    for number in 0..400 {
        weir.sample(number as usize % 2, sample(number));
        if number % 10 == 9 {
            sleep(Duration::from_millis(25));
        }
    }
    for follower in followers {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&399) {
            numbers.push(number(&follower.line()));
        }
        let missed: u64 = follower.err.try_iter().map(|line| missed(&line)).sum();
        assert!(numbers.is_sorted());
        assert_eq!(numbers.len() as u64 + missed, 400, "each was printed, or said to be missed");
    }
}

/// How many samples a line on stderr says were missed.
fn missed(line: &str) -> u64 {
    let rest = line.strip_prefix("weirstat: missed ").unwrap_or_else(|| panic!("{line}"));
    let (count, rest) = rest.split_once(' ').unwrap();
    assert_eq!(rest, "samples: they were overwritten before they were read");
    count.parse().unwrap()
}

#[test]
fn who_is_lapped_is_told_how_many_were_missed() {
    let (_folder, socket) = folder();
    let mut weir = RoundTrips::start(&socket, &["acme"]);
    let (text, json) =
        (Follower::start(&socket, &["--format", "pping-m"]), Follower::start(&socket, &["--format", "json"]));
    weir.sample(0, sample(0));
    text.line();
    json.line();
    // Both are asleep while the writer goes on, which it does not notice.
    [&text, &json].iter().for_each(|follower| follower.signal(Signal::STOP));
    for number in 1..=1000 {
        weir.sample(0, sample(number));
    }
    weir.sample(1, sample(1001));
    [&text, &json].iter().for_each(|follower| follower.signal(Signal::CONT));
    let lost = 1000 - RECORDS;
    for number_expected in lost + 1..=1001 {
        assert_eq!(number(&text.line()), number_expected);
    }
    assert_eq!(missed(&text.err.recv_timeout(PATIENCE).unwrap()), lost);
    let mut objects = (0..RECORDS + 2).map(|_| serde_json::from_str::<Value>(&json.line()).unwrap());
    let missed_object = objects.find(|object| object.get("missed").is_some()).unwrap();
    assert_eq!(missed_object, serde_json::json!({"missed": lost}));
    assert_eq!(missed(&json.err.recv_timeout(PATIENCE).unwrap()), lost);
    // That is said once.
    weir.sample(0, sample(2000));
    assert_eq!(number(&text.line()), 2000);
    assert!(text.err.try_recv().is_err());
}

#[test]
fn a_restart_loses_nothing_that_was_there() {
    let (_folder, socket) = folder();
    let mut weir = RoundTrips::start(&socket, &["acme"]);
    let follower = Follower::start(&socket, &["--format", "pping-m"]);
    for run in 0..5 {
        for number in 0..10 {
            weir.sample(0, sample(run * 20 + number));
        }
        // At once: what it has not read yet is in memory that only the follower still has.
        drop(weir);
        if run == 2 {
            let line = follower.err.recv_timeout(PATIENCE).unwrap();
            assert!(line.contains("there is no weir at ") && line.ends_with(" (waiting)"), "{line}");
        }
        weir = RoundTrips::start(&socket, &["acme"]);
        for number in 10..20 {
            weir.sample(1, sample(run * 20 + number));
        }
        let numbers: Vec<u64> = (0..20).map(|_| number(&follower.line())).collect();
        assert_eq!(numbers, (run * 20..run * 20 + 20).collect::<Vec<_>>());
    }
    let rest = follower.err.try_iter().filter(|line| !line.contains("there is no weir at "));
    assert_eq!(rest.collect::<Vec<_>>(), [""; 0], "nothing was missed");
}

#[test]
fn who_is_not_listened_to_ends() {
    let (_folder, socket) = folder();
    let _weir = RoundTrips::start(&socket, &["acme"]);
    let mut command = command(&socket, &["rtt", "--follow", "--json"]);
    let mut child = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    // There is no sample, and so nothing that it could fail to write.
    drop(child.0.stdout.take());
    let mut status = None;
    wait(|| {
        status = child.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}

#[test]
fn waiting_costs_next_to_nothing() {
    let (_folder, socket) = folder();
    let mut weir = RoundTrips::start(&socket, &["acme"]);
    let follower = Follower::start(&socket, &["--format", "json"]);
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", follower.child.0.id())).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = ticks();
    sleep(Duration::from_secs(2));
    // Of 200 ticks; a debug build on a busy machine needs one or two.
    let used = ticks() - before;
    assert!(used <= 20, "{used} ticks in two seconds");
    let begin = Instant::now();
    weir.sample(0, sample(1));
    follower.line();
    assert!(begin.elapsed() < Duration::from_secs(2), "it is flushed at once: {:?}", begin.elapsed());
}
