//! `poll` over time: blocks, a terminal, and a weir that stops, dies and comes back.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::lab::{Weir, command, folder};

/// Longer than anything here takes, on a machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Names the socket that [`writer`] is to serve.
const WRITER: &str = "WEIRSTAT_TEST_WRITER";

/// A child that is not left behind.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `weirstat poll` whose lines come one by one.
struct Poll {
    _child: Running,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Poll {
    fn start(socket: &Path, words: &[&str]) -> Poll {
        let mut command = command(socket, &[&["poll", "--interval", "0.05"], words].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Poll { _child: Running(child), out, err }
    }

    /// Waits for a line that has this in it.
    fn wait_for(lines: &Receiver<String>, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return line;
            }
            others.push(line);
        }
        panic!("no line with {part:?}, but {others:?}");
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

#[test]
fn a_pipe_gets_blocks() {
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let poll = Poll::start(&socket, &["--no-zeros", "^/if/(rx|drops)"]);
    for line in
        ["[0 @ 1]: 10 packets, 640 bytes /if/rx", "[0 @ 1]: 3 packets /if/drops", ""].iter().cycle().take(9)
    {
        assert_eq!(&poll.out.recv_timeout(PATIENCE).unwrap(), line);
    }
    let objects = Poll::start(&socket, &["--no-zeros", "--json", "/if/rx"]);
    for _ in 0..3 {
        let line = objects.out.recv_timeout(PATIENCE).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["packets"], 10);
    }
}

#[test]
fn values_and_entries_are_followed() {
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    let poll = Poll::start(&socket, &["^/late"]);
    Poll::wait_for(&poll.err, "no entry matches ^/late");
    let gauge = weir.segment.register(|batch| batch.gauge("/late", 1)).unwrap();
    Poll::wait_for(&poll.out, "1.00 /late");
    gauge.set(2);
    Poll::wait_for(&poll.out, "2.00 /late");
}

#[test]
fn a_restart_is_waited_for() {
    let (_folder, socket) = folder();
    let weir = Weir::start(&socket);
    let poll = Poll::start(&socket, &["^/run$"]);
    let publish = |weir: &mut Weir, run| weir.segment.register(|batch| batch.scalar("/run", run)).unwrap();
    let mut weir = weir;
    publish(&mut weir, 1);
    Poll::wait_for(&poll.out, "1.00 /run");
    drop(weir);
    Poll::wait_for(&poll.err, "there is no weir at ");
    let mut weir = Weir::start(&socket);
    publish(&mut weir, 2);
    Poll::wait_for(&poll.out, "2.00 /run");
    // So fast that no reading falls in between.
    drop(weir);
    let mut weir = Weir::start(&socket);
    publish(&mut weir, 3);
    Poll::wait_for(&poll.out, "3.00 /run");
}

#[test]
fn rates_and_differences_begin_anew_with_a_new_weir() {
    let (_folder, socket) = folder();
    let publish = |weir: &mut Weir| {
        let mut simple = weir.segment.register(|batch| batch.simple("/run", 1, 1)).unwrap();
        simple.take_row(1).unwrap()
    };
    let mut weir = Weir::start(&socket);
    publish(&mut weir).add(0, 1000);
    let saved = command(&socket, &["dump", "--json", "/run"]).output().unwrap().stdout;
    let file = socket.with_file_name("before.json");
    std::fs::write(&file, saved).unwrap();
    let rate = Poll::start(&socket, &["--rate", "--json", "^/run$"]);
    let since = Poll::start(&socket, &["--since", file.to_str().unwrap(), "--summary", "^/run$"]);
    let rate_of = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["value_per_second"].as_f64().unwrap()
    };
    for _ in 0..4 {
        let line = rate.out.recv_timeout(PATIENCE).unwrap();
        assert_eq!(rate_of(&line), 0.0, "the first reading has no rate: {line}");
    }
    assert_eq!(Poll::wait_for(&since.out, "/run"), "[0]: 0 packets /run");
    drop(weir);
    for poll in [&rate, &since] {
        Poll::wait_for(&poll.err, "there is no weir at ");
        while poll.out.try_recv().is_ok() {}
    }
    // It is the same process: only its second of start can tell the two.
    sleep(Duration::from_millis(1100));
    let mut weir = Weir::start(&socket);
    let mut row = publish(&mut weir);
    row.add(0, 3);
    let line = Poll::wait_for(&rate.out, "/run");
    assert!(rate_of(&line) < 1000.0, "another weir's counters are not subtracted: {line}");
    Poll::wait_for(&since.out, "[0]: 3 packets /run");
    Poll::wait_for(&since.err, "it is of a weir that ran before this one");
    row.add(0, 1_000_000);
    while rate_of(&Poll::wait_for(&rate.out, "/run")) < 100_000.0 {}
}

#[test]
fn a_killed_weir_is_noticed_by_its_heart() {
    let (_folder, socket) = folder();
    let first = start_writer(&socket);
    let pid = first.0.id();
    let poll = Poll::start(&socket, &["^/sys/pid$"]);
    Poll::wait_for(&poll.out, &format!("{pid}.00 /sys/pid"));
    drop(first); // SIGKILL
    let line = Poll::wait_for(&poll.err, &format!("weir (pid {pid}) has not beaten its heart for "));
    assert!(line.ends_with(" s: it is dead, start it again (waiting)"), "{line}");
    Poll::wait_for(&poll.err, "was left by one that died");
    while poll.out.try_recv().is_ok() {}
    let second = start_writer(&socket);
    let line = poll.out.recv_timeout(PATIENCE).unwrap();
    let line = if line.is_empty() { poll.out.recv_timeout(PATIENCE).unwrap() } else { line };
    assert_eq!(line, format!("{}.00 /sys/pid", second.0.id()), "a dead weir's values are not shown");
    // Just before it is served again, the socket may be seen to be missing.
    let rest = poll.err.try_iter().filter(|line| !line.contains("there is no weir at "));
    assert_eq!(rest.collect::<Vec<_>>(), [""; 0], "each thing is said once");
}

/// A weir in a process of its own, so that it can be killed.
pub fn start_writer(socket: &Path) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "polling::writer", "--ignored"]).env(WRITER, socket);
    let child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let end = Instant::now() + PATIENCE;
    let pid = child.0.id().to_string();
    while weir_stats::Reader::connect(socket)
        .and_then(|reader| Ok(format!("{:?}", reader.snapshot(|entry| entry.name == "/sys/pid")?)))
        .is_ok_and(|text| text.contains(&pid))
        .eq(&false)
    {
        assert!(Instant::now() < end, "the writer did not start");
        sleep(Duration::from_millis(10));
    }
    child
}

#[test]
#[ignore = "not a test: the weir that other tests start and kill"]
fn writer() {
    let Some(socket) = std::env::var_os(WRITER).map(PathBuf::from) else { return };
    let mut weir = Weir::start(&socket);
    let parent = rustix::process::getppid();
    // It is killed, or at least leaves with the test that started it.
    while rustix::process::getppid() == parent {
        weir.segment.beat();
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_terminal_is_redrawn() {
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    weir.segment.register(|batch| batch.simple("/tall", 100, 100)).unwrap();
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let terminal = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let terminal = File::options().read(true).write(true).open(terminal.to_str().unwrap()).unwrap();
    let size = Winsize { ws_row: 6, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    let mut command = command(&socket, &["poll", "--interval", "0.05", "^/tall"]);
    let _child = Running(command.stdout(terminal.try_clone().unwrap()).stderr(terminal).spawn().unwrap());

    let (send, receive) = channel();
    spawn(move || {
        let (mut master, mut bytes) = (File::from(master), [0; 4096]);
        while let Ok(count @ 1..) = master.read(&mut bytes) {
            if send.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut seen = Vec::new();
    let expected = "\
        \x1b[2J\x1b[?7l\x1b[H[0 @ 0]: 0 packets /tall\x1b[K\r\n[1 @ 0]: 0 packets /tall\x1b[K\r\n[2 @ 0]: 0 packets /tall\x1b[K\r\n\
        [3 @ 0]: 0 packets /tall\x1b[K\r\n… 196 more lines: name fewer with a PATTERN\x1b[K\r\n\x1b[J\x1b[?7h\x1b[?7l\x1b[H[0 @ 0]: ";
    while seen.len() < expected.len() {
        seen.extend(receive.recv_timeout(PATIENCE).unwrap());
    }
    assert_eq!(String::from_utf8_lossy(&seen[..expected.len()]), expected);
}
