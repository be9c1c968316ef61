//! weir ends or starts again; the file system ends, in every way in which it can.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use weir_stats::{Options, Segment, Server};

use crate::fs::mounted::{Mounted, is_absent, is_mounted, list, skip_without_fuse, until};
use crate::lab::{Weir, command, folder};

#[test]
fn a_restart_is_picked_up() {
    skip_without_fuse!("a_restart_is_picked_up");
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    weir.segment.register(|batch| batch.gauge("/turn", 1)).unwrap();
    let mounted = Mounted::start(&socket);
    let mut open = File::open(mounted.at("turn")).unwrap();
    drop(weir);
    let mut weir = Weir::start(&socket);
    weir.segment.register(|batch| batch.gauge("/other", 1)).unwrap();
    weir.segment.register(|batch| batch.gauge("/turn", 2)).unwrap();
    assert_eq!(mounted.read("turn"), "2\n");
    assert_eq!(mounted.read("other"), "1\n");
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "1\n", "what is open stays what it was");
    assert_eq!(mounted.shell("cd if/rx && cat by-interface/eth1/packets"), "10\n");
}

#[test]
fn without_a_weir_there_is_nothing_to_see() {
    skip_without_fuse!("without_a_weir_there_is_nothing_to_see");
    let (_folder, socket) = folder();
    let weir = Weir::start(&socket);
    let mounted = Mounted::start(&socket);
    let mut open = File::open(mounted.at("interfaces/eth1/rx/packets")).unwrap();
    assert!(!mounted.list("").is_empty());
    drop(weir);
    assert_eq!(mounted.list(""), [""; 0]);
    assert!(is_absent(&mounted.at("interfaces/eth1/rx/packets")));
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "10\n");
    let _weir = Weir::start(&socket);
    until("weir", || !mounted.list("").is_empty());
    assert_eq!(mounted.read("interfaces/eth1/rx/packets"), "10\n");
}

/// Not a test by itself: the weir that another test kills.
#[test]
#[ignore = "serves for another test"]
fn writer() {
    let Some(socket) = std::env::var_os("WEIRSTAT_TEST_SOCKET") else { return };
    let mut segment = Segment::create(Options { size: 1 << 20, workers: 1, ..Options::default() }).unwrap();
    segment.register(|batch| batch.gauge("/level", 7)).unwrap();
    let _server = Server::start(Path::new(&socket), None, &segment).unwrap();
    loop {
        segment.beat();
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_weir_that_is_killed_goes_away_and_comes_back() {
    skip_without_fuse!("a_weir_that_is_killed_goes_away_and_comes_back");
    let (_folder, socket) = folder();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "fs::endings::writer", "--ignored"]).env("WEIRSTAT_TEST_SOCKET", &socket);
        let writer = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("the writer", || {
            let output = crate::lab::weirstat(&socket, &["ls", "level"]);
            output.status.success()
        });
        writer
    };
    let mut writer = start();
    let mounted = Mounted::start(&socket);
    assert_eq!(mounted.read("level"), "7\n");
    let open = File::open(mounted.at("level")).unwrap();
    writer.kill().unwrap();
    writer.wait().unwrap();
    // Its socket is still there, and so is its memory.
    let killed = Instant::now();
    until("the end of the numbers", || mounted.list("").is_empty());
    assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());
    assert_eq!(std::io::read_to_string(open).unwrap(), "7\n");
    let mut writer = start();
    until("the weir", || fs::read_to_string(mounted.at("level")).is_ok_and(|text| text == "7\n"));
    writer.kill().unwrap();
    writer.wait().unwrap();
}

#[test]
fn signals_unmount() {
    skip_without_fuse!("signals_unmount");
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut mounted = Mounted::start(&socket);
        mounted.read("sys/boottime");
        mounted.signal(signal);
        assert!(mounted.end().success());
        assert!(!is_mounted(&mounted.path));
        assert!(list(&mounted.path).is_empty());
    }
}

#[test]
fn signals_unmount_what_is_in_use() {
    skip_without_fuse!("signals_unmount_what_is_in_use");
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mut mounted = Mounted::start(&socket);
    let mut open = File::open(mounted.at("if/rx/table")).unwrap();
    let mut inside = Command::new("sleep").arg("60").current_dir(mounted.at("if")).spawn().unwrap();
    mounted.signal(Signal::TERM);
    assert!(mounted.end().success());
    assert!(!is_mounted(&mounted.path));
    // An error, and no hang.
    assert!(open.read(&mut [0; 100]).is_err());
    inside.kill().unwrap();
    inside.wait().unwrap();
    let again = Mounted::start(&socket);
    assert_eq!(again.read("interfaces/eth1/rx/packets"), "10\n");
}

#[test]
fn it_ends_when_somebody_unmounts_it() {
    skip_without_fuse!("it_ends_when_somebody_unmounts_it");
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mut mounted = Mounted::start(&socket);
    assert!(Command::new("umount").arg(&mounted.path).status().unwrap().success());
    assert!(mounted.end().success());
}

#[test]
fn what_a_killed_one_left_is_taken_away() {
    skip_without_fuse!("what_a_killed_one_left_is_taken_away");
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mut mounted = Mounted::start(&socket);
    mounted.child.kill().unwrap();
    mounted.child.wait().unwrap();
    assert!(is_mounted(&mounted.path) && fs::read_dir(&mounted.path).is_err());
    let again = Mounted::start(&socket);
    assert_eq!(again.read("interfaces/eth1/rx/packets"), "10\n");
}

#[test]
fn the_background_is_there_when_the_command_returns() {
    skip_without_fuse!("the_background_is_there_when_the_command_returns");
    let (folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let path = folder.path().join("mnt");
    fs::create_dir(&path).unwrap();
    let words = ["fs", "--background", path.to_str().unwrap()];
    let output = command(&socket, &words).output().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.len(), output.stderr.len()),
        (Some(0), 0, 0),
        "{output:?}"
    );
    assert!(is_mounted(&path));
    assert_eq!(fs::read_to_string(path.join("interfaces/eth1/rx/packets")).unwrap(), "10\n");
    // What the foreground says is heard from the background as well.
    let refused = command(&socket, &words).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text.starts_with("weirstat: something is mounted at ") && text.lines().count() == 1, "{text}");
    assert!(Command::new("umount").arg(&path).status().unwrap().success());
    assert!(!is_mounted(&path));
}
