//! Every way in which there may be no weir to read: a sentence of its own, and exit status 1.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::lab::{WEIRSTAT, Weir, folder, image, listener, memory, refused, served};

/// All that reads the segment.
const COMMANDS: [&[&str]; 7] = [
    &["ls"],
    &["dump"],
    &["poll"],
    &["show", "interfaces"],
    &["show", "runtime"],
    &["show", "errors"],
    &["--json", "show", "xdp"],
];

#[test]
fn no_socket() {
    let (_folder, socket) = folder();
    for words in COMMANDS {
        assert_eq!(
            refused(&socket, words),
            format!(
                "weirstat: there is no weir at {}: no such socket; start weir, or name its stats socket with --socket\n",
                socket.display()
            )
        );
    }
}

#[test]
fn the_socket_of_a_dead_weir() {
    let (_folder, socket) = folder();
    drop(listener(&socket));
    for words in COMMANDS {
        assert_eq!(
            refused(&socket, words),
            format!(
                "weirstat: weir is not running: the socket at {} was left by one that died; start weir, it will take the \
                 socket over\n",
                socket.display()
            )
        );
    }
}

#[test]
fn no_socket_but_a_file() {
    let (_folder, socket) = folder();
    File::create(&socket).unwrap();
    assert_eq!(
        refused(&socket, &["ls"]),
        format!("weirstat: {} is not a socket: name weir's stats socket with --socket\n", socket.display())
    );
}

#[test]
fn another_kind_of_socket() {
    let (_folder, socket) = folder();
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(refused(&socket, &["ls"]), mute(&socket, "it is a socket of another type"));
}

#[test]
fn a_server_that_says_nothing() {
    let (_folder, socket) = folder();
    let _listener = listener(&socket);
    assert_eq!(refused(&socket, &["ls"]), mute(&socket, "it was silent for a second"));
}

#[test]
fn a_server_that_has_no_segment() {
    let (_folder, socket) = folder();
    let listener = listener(&socket);
    let server = std::thread::spawn(move || drop(rustix::net::accept(&listener).unwrap()));
    assert_eq!(refused(&socket, &["ls"]), mute(&socket, "it sent no descriptor"));
    server.join().unwrap();
}

#[test]
fn a_socket_for_others() {
    let (folder, socket) = folder();
    let _weir = Weir::start(&socket);
    fs::set_permissions(&socket, Permissions::from_mode(0o000)).unwrap();
    let group = own_group();
    assert_eq!(
        refused_as_nobody(folder.path(), &socket),
        format!(
            "weirstat: no permission to read {}: it is open to root and to group {group}; join that group (usermod -aG \
             {group} USER, then log in again), or run weirstat as root\n",
            socket.display()
        )
    );
}

#[test]
fn a_folder_for_others() {
    let (folder, _) = folder();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    let socket = closed.join("stats.sock");
    let _weir = Weir::start(&socket);
    fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    assert_eq!(
        refused_as_nobody(folder.path(), &socket),
        format!(
            "weirstat: no permission to look for {}: folder {} is closed to you, it is open to group {}; join that group, or \
             run weirstat as root\n",
            socket.display(),
            closed.display(),
            own_group()
        )
    );
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_segment_of_another_version() {
    let image = image(&[3, 0, 1, 0, 0]);
    for words in COMMANDS {
        served(&memory(&image, true), |socket| {
            assert_eq!(
                refused(socket, words),
                format!(
                    "weirstat: the stats segment at {} has layout version 3, and this weirstat reads version 2: use the \
                     weirstat that came with that weir\n",
                    socket.display()
                )
            );
        });
    }
}

#[test]
fn a_segment_that_is_locked_for_ever() {
    served(&memory(&image(&[2, 0, 1, 1, 64]), true), |socket| {
        assert_eq!(
            refused(socket, &["dump"]),
            format!(
                "weirstat: cannot read {}: the stats segment's writer holds its lock: it is stuck or was killed; restart it\n",
                socket.display()
            )
        );
    });
}

#[test]
fn a_segment_that_lies() {
    // No directory; one beyond the end; one that claims 2^32 - 1 entries.
    let endless = [2, 0, 1, 0, 64, 0, 0, u64::from(u32::MAX)];
    for words in [&[2, 0, 1, 0, 0][..], &[2, 0, 1, 0, 1 << 40], &endless] {
        for command in COMMANDS {
            served(&memory(&image(words), true), |socket| {
                let text = refused(socket, command);
                let start =
                    format!("weirstat: cannot read {}: the stats segment is damaged: ", socket.display());
                assert!(text.starts_with(&start) && text.lines().count() == 1, "{text}");
            });
        }
    }
}

#[test]
fn a_segment_that_may_shrink() {
    served(&memory(&image(&[2, 0, 1, 0, 0]), false), |socket| {
        let text = refused(socket, &["dump"]);
        assert!(text.contains("the stats segment is damaged: it has no directory"), "{text}");
    });
}

fn mute(socket: &Path, reason: &str) -> String {
    format!(
        "weirstat: {} does not answer as a stats socket: {reason}; name weir's stats socket with --socket, or restart the \
         weir that serves it\n",
        socket.display()
    )
}

fn own_group() -> String {
    let gid = nix::unistd::getegid();
    nix::unistd::Group::from_gid(gid).unwrap().map_or_else(|| gid.to_string(), |group| group.name)
}

/// What weirstat says to a user who may not read the socket: oneself, or nobody if one is root.
fn refused_as_nobody(folder: &Path, socket: &Path) -> String {
    // The build may be in a folder that nobody else can enter.
    let copy = folder.join("weirstat");
    fs::copy(WEIRSTAT, &copy).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&copy);
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.arg("--socket").arg(socket).arg("ls").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    String::from_utf8(output.stderr).unwrap()
}
