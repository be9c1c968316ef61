use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::*;
use crate::trace_text::Step;

/// Far more than anything here takes, so that a slow machine does not fail a test.
const LONG: Duration = Duration::from_secs(20);

struct Weir {
    _folder: tempfile::TempDir,
    path: PathBuf,
    server: Option<ControlServer>,
    commands: Receiver<Command>,
}

fn weir() -> Weir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/weir/control.sock");
    let (server, commands) = ControlServer::start(&path).unwrap();
    Weir { _folder: folder, path, server: Some(server), commands }
}

fn step(packet: u16) -> Step {
    Step {
        worker: 0,
        packet,
        nanoseconds: 5,
        node: "tx".into(),
        rx: "eth1".into(),
        tx: Some("eth2".into()),
        reason: None,
        l3: 0,
        length: 60,
        bytes: "00".repeat(134),
    }
}

/// Answers one command after another until the server goes.
fn control_thread(commands: Receiver<Command>, steps: u16) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for command in commands {
            match command {
                Command::Status { reply } => {
                    let status = Status {
                        version: "1".into(),
                        pid: 7,
                        config: "/etc/weir.toml".into(),
                        ports: vec!["eth1".into()],
                        cores: vec![1],
                    };
                    reply.send(Reply::Status(status));
                }
                Command::Reload { reply } => {
                    reply.send(Reply::Refused { problems: vec!["a".into(), "b".into()] });
                }
                Command::Trace { count, node: None, reply } => {
                    for packet in 1..=steps.max(count) {
                        reply.send(Reply::Step(step(packet)));
                    }
                }
                Command::Trace { node: Some(node), reply, .. } => {
                    reply.send(Reply::Refused { problems: vec![format!("no node {node}")] });
                }
            }
        }
    })
}

fn lines(stream: &UnixStream) -> impl Iterator<Item = String> {
    stream.set_read_timeout(Some(LONG)).unwrap();
    BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap)
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LONG, "{what} did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_is_answered_again_and_again() {
    let mut weir = weir();
    let control = control_thread(weir.commands.clone(), 0);
    let mut client = Client::connect(&weir.path).unwrap();
    assert_eq!(client.status().unwrap().pid, 7);
    assert_eq!(client.reload().unwrap_err().to_string(), "a\nb");
    assert_eq!(client.status().unwrap().ports, ["eth1"]);
    let mut steps = client.trace(NonZeroU16::new(3).unwrap(), None).unwrap();
    let packets: Vec<u16> = steps.by_ref().map(|step| step.unwrap().packet).collect();
    assert_eq!((packets, steps.lost()), (vec![1, 2, 3], 0));
    let client = Client::connect(&weir.path).unwrap();
    let mut refused = client.trace(NonZeroU16::MIN, Some("nowhere".into())).unwrap();
    assert_eq!(refused.next().unwrap().unwrap_err().to_string(), "no node nowhere");
    assert!(refused.next().is_none());
    weir.server = None;
    control.join().unwrap();
}

#[test]
fn the_socket_is_roots_alone_and_goes_with_the_server() {
    let mut weir = weir();
    assert_eq!(weir.path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    weir.server = None;
    assert!(!weir.path.exists());
}

#[test]
fn a_second_weir_is_refused_and_the_first_lives_on() {
    let weir = weir();
    let refused = ControlServer::start(&weir.path).unwrap_err();
    assert!(refused.to_string().contains("another weir is running"), "{refused}");
    UnixStream::connect(&weir.path).unwrap();
}

#[test]
fn a_listener_with_a_full_backlog_is_running_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        match rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()) {
            Ok(()) => waiting.push(socket),
            Err(error) => break error,
        }
        assert!(waiting.len() < 100_000);
    };
    assert_eq!(full, rustix::io::Errno::AGAIN);
    assert!(matches!(ControlServer::start(&path), Err(Error::Running { .. })));
}

#[test]
fn a_dead_weirs_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (_server, _commands) = ControlServer::start(&path).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(ControlServer::start(&path), Err(Error::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let below = ControlServer::start(&path.join("control.sock")).unwrap_err().to_string();
    assert!(below.contains("cannot make the folder"), "{below}");
}

#[test]
fn a_socket_that_replaced_ours_is_left_alone() {
    let mut weir = weir();
    std::fs::remove_file(&weir.path).unwrap();
    let _other = UnixListener::bind(&weir.path).unwrap();
    weir.server = None;
    assert!(weir.path.exists());
}

#[test]
fn nonsense_is_refused_and_the_next_line_is_heard() {
    let weir = weir();
    let _control = control_thread(weir.commands.clone(), 0);
    let mut stream = UnixStream::connect(&weir.path).unwrap();
    stream.write_all(b"\xff\0{\n{\"command\":\"trace\",\"count\":0}\n{\"command\":\"status\"}\n").unwrap();
    let kinds: Vec<String> = lines(&stream).take(6).collect();
    let kind = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["reply"].clone();
    assert_eq!(
        kinds.iter().map(kind).collect::<Vec<_>>(),
        ["refused", "end", "refused", "end", "status", "end"]
    );
}

#[test]
fn a_line_without_an_end_is_refused_and_cut_off() {
    let weir = weir();
    let mut stream = UnixStream::connect(&weir.path).unwrap();
    let _ = stream.write_all(&[b'x'; 4096]);
    let answer: Vec<String> = lines(&stream).collect();
    assert_eq!(answer.len(), 2, "{answer:?}");
    assert!(answer[0].contains("at most 4096 bytes"), "{answer:?}");
}

#[test]
fn a_client_that_ends_its_half_is_still_answered() {
    let weir = weir();
    let mut stream = UnixStream::connect(&weir.path).unwrap();
    stream.write_all(b"{\"command\":\"status\"}").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let Command::Status { reply } = weir.commands.recv_timeout(LONG).unwrap() else { panic!("not a status") };
    thread::sleep(Duration::from_millis(300)); // longer than the glance at whether the client has gone
    assert!(reply.send(Reply::Reloaded(Reloaded::default())));
    drop(reply);
    assert_eq!(lines(&stream).count(), 2);
}

#[test]
fn a_trace_ends_when_its_client_goes() {
    let weir = weir();
    let steps = Client::connect(&weir.path).unwrap().trace(NonZeroU16::MAX, None).unwrap();
    let Command::Trace { reply, .. } = weir.commands.recv_timeout(LONG).unwrap() else {
        panic!("not a trace")
    };
    assert!(!reply.is_gone() && reply.send(Reply::Step(step(1))));
    drop(steps);
    wait_until("the end of the trace", || reply.is_gone());
    assert!(!reply.send(Reply::Step(step(2))));
}

#[test]
fn a_client_that_does_not_read_loses_lines_and_holds_up_nobody() {
    let weir = weir();
    let mut steps = Client::connect(&weir.path).unwrap().trace(NonZeroU16::MAX, None).unwrap();
    let Command::Trace { reply, .. } = weir.commands.recv_timeout(LONG).unwrap() else {
        panic!("not a trace")
    };
    // More than the channel and the socket hold, without a pause.
    let begin = Instant::now();
    for _ in 0..40_000 {
        assert!(reply.send(Reply::Step(step(1))));
    }
    assert!(begin.elapsed() < Duration::from_secs(4), "sending waited for the client: {:?}", begin.elapsed());
    drop(reply);
    let read = steps.by_ref().filter(|step| step.is_ok()).count() as u64;
    assert!(steps.lost() > 0);
    assert_eq!(read + steps.lost(), 40_000);
}

#[test]
fn clients_are_bounded_and_a_place_is_given_again() {
    let weir = weir();
    let _control = control_thread(weir.commands.clone(), 0);
    let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(&weir.path).unwrap()).collect();
    for client in &mut clients {
        client.status().unwrap();
    }
    let refused = Client::connect(&weir.path).unwrap().status().unwrap_err();
    assert!(refused.to_string().contains("16 clients already"), "{refused}");
    clients.pop();
    wait_until("a free place", || Client::connect(&weir.path).unwrap().status().is_ok());
}

#[test]
fn the_server_ends_at_once_with_clients_of_every_kind() {
    let mut weir = weir();
    let _silent = UnixStream::connect(&weir.path).unwrap();
    let steps = Client::connect(&weir.path).unwrap().trace(NonZeroU16::MAX, None).unwrap();
    let Command::Trace { reply, .. } = weir.commands.recv_timeout(LONG).unwrap() else {
        panic!("not a trace")
    };
    for _ in 0..5000 {
        reply.send(Reply::Step(step(1))); // its thread is stuck in a write
    }
    let begin = Instant::now();
    weir.server = None;
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert!(matches!(steps.last(), Some(Err(ClientError::Ended(_)))));
}

#[test]
fn a_command_that_nobody_answers_is_an_error() {
    let weir = weir();
    let commands = weir.commands.clone();
    let control = thread::spawn(move || drop(commands.recv()));
    let error = Client::connect(&weir.path).unwrap().status().unwrap_err();
    assert!(matches!(error, ClientError::Ended(_)), "{error}");
    control.join().unwrap();
}

#[test]
fn a_client_without_a_weir_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let missing = Client::connect(&path).unwrap_err().to_string();
    assert!(missing.starts_with("no weir answers at") && missing.contains("is it running"), "{missing}");
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(&path), Err(ClientError::NotRunning(_))));
}

#[test]
fn a_stranger_at_the_socket_is_not_believed() {
    type Expected = fn(&ClientError) -> bool;
    let answers: [(&[u8], Expected); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n", |error| matches!(error, ClientError::Unreadable { .. })),
        (b"{\"reply\":\"reloaded\",\"changes\":[]}\n{\"reply\":\"end\",\"lost\":0}\n", |error| {
            matches!(error, ClientError::Unreadable { .. })
        }),
        (b"", |error| matches!(error, ClientError::Ended(_))),
        (b"{\"reply\":\"sta", |error| matches!(error, ClientError::Ended(_))),
    ];
    for (answer, expected) in answers {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let stranger = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 100]);
            stream.write_all(answer).unwrap();
        });
        let error = Client::connect(&path).unwrap().status().unwrap_err();
        assert!(expected(&error), "{error}");
        stranger.join().unwrap();
    }
}

#[test]
fn the_path_of_the_error_is_the_path_that_was_tried() {
    let error = Client::connect(Path::new("/nonexistent/control.sock")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/control.sock"), "{error}");
}
