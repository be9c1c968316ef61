//! Every way in which nothing can be mounted, in words that say what to do.

use std::fs;

use crate::fs::mounted::{Mounted, skip_without_fuse};
use crate::lab::{Weir, folder, refused, weirstat};

#[test]
fn places_that_are_not_fit() {
    let (folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("file"), "").unwrap();
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/file"), "").unwrap();
    for (place, reason) in [
        ("none", "there is no such folder: make it (mkdir -p "),
        ("none/below", "there is no such folder: make it (mkdir -p "),
        ("file", "it is not a folder: name an empty one"),
        ("file/below", "it is not a folder: name an empty one"),
        ("full", "it is not empty, and what is in it would be hidden: name an empty folder"),
    ] {
        let text = refused(&socket, &["fs", &at(place)]);
        assert!(text.starts_with(&format!("weirstat: cannot mount at {}: {reason}", at(place))), "{text}");
    }
    let text = refused(&socket, &["fs", "--background", &at("none")]);
    assert!(text.starts_with("weirstat: cannot mount at ") && text.lines().count() == 1, "{text}");
}

#[test]
fn one_file_system_a_place() {
    skip_without_fuse!("one_file_system_a_place");
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mounted = Mounted::start(&socket);
    let path = mounted.path.to_str().unwrap();
    assert_eq!(
        refused(&socket, &["fs", path]),
        format!(
            "weirstat: something is mounted at {path} already: unmount it (umount {path}), or name another folder\n"
        )
    );
    assert_eq!(mounted.read("interfaces/eth1/rx/packets"), "10\n");
}

#[test]
fn no_weir_no_mount() {
    let (folder, socket) = folder();
    let mount = folder.path().join("mnt");
    fs::create_dir(&mount).unwrap();
    let text = refused(&socket, &["fs", mount.to_str().unwrap()]);
    assert!(text.starts_with("weirstat: there is no weir at "), "{text}");
}

#[test]
fn it_prints_no_json() {
    let (_folder, socket) = folder();
    let output = weirstat(&socket, &["--json", "fs", "/mnt"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("files called json"));
}
