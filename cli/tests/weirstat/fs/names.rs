//! Names that are no file names, and segments whose paths are entries and folders at once.

use weir_stats::{Options, Segment};

use crate::fs::altered::{image, renamed, serve};
use crate::fs::mounted::{Mounted, skip_without_fuse};
use crate::lab::folder;

#[test]
fn names_that_are_no_file_names_are_encoded() {
    skip_without_fuse!("names_that_are_no_file_names_are_encoded");
    let (_folder, socket) = folder();
    let mut segment = Segment::create(Options { size: 1 << 20, workers: 1, ..Options::default() }).unwrap();
    segment
        .register(|batch| {
            for (value, name) in [
                "/odd/a b",
                "/odd/100%",
                "/odd/%2F",
                "/odd/.hidden",
                "/odd/dots",
                "/odd/dot1",
                "/odd/none1",
                "/odd/sub/none2",
            ]
            .iter()
            .enumerate()
            {
                batch.gauge(name, value as u64)?;
            }
            batch.gauge("/relative-1", 99)?;
            Ok(())
        })
        .unwrap();
    let segment = renamed(
        image(&segment),
        &[
            ("/odd/dots", "/odd/.."),
            ("/odd/dot1", "/odd/."),
            ("/odd/none1", "/odd/"),
            ("/odd/sub/none2", "/odd//twice"),
            ("/relative-1", "relative"),
        ],
    );
    let _server = serve(&socket, &segment);
    let mounted = Mounted::start(&socket);
    assert_eq!(mounted.list(""), ["mem", "odd", "sys"]);
    assert_eq!(mounted.list("odd"), ["%00", "%252F", "%2E", "%2E%2E", ".hidden", "100%25", "a b"]);
    for (file, value) in [("a b", 0), ("100%25", 1), ("%252F", 2), (".hidden", 3), ("%2E%2E", 4), ("%2E", 5)]
    {
        assert_eq!(mounted.read(&format!("odd/{file}")), format!("{value}\n"), "{file}");
    }
    // The empty component is an entry and a folder.
    assert_eq!(mounted.list("odd/%00"), ["twice", "value"]);
    assert_eq!(
        (mounted.read("odd/%00/value"), mounted.read("odd/%00/twice")),
        ("6\n".to_owned(), "7\n".to_owned())
    );
    let names =
        mounted.shell("cd odd && for file in .[!.]* *; do [ -f \"$file\" ] && cat \"$file\"; done; true");
    assert_eq!(names.lines().count(), 6);
}

#[test]
fn an_entry_that_is_a_folder_too_is_both() {
    skip_without_fuse!("an_entry_that_is_a_folder_too_is_both");
    let (_folder, socket) = folder();
    let mut segment = Segment::create(Options { size: 1 << 20, workers: 1, ..Options::default() }).unwrap();
    segment
        .register(|batch| {
            let mut heap = batch.simple("/mem/main1heap", 4, 4)?;
            heap.take_row(0).unwrap().add(1, 1000);
            batch.symlink("/mem/main2heap/used", heap.id(), 1)?;
            batch.symlink("/mem/main2heap/table", heap.id(), 2)?;
            batch.symlink("/mem/main2heap/by-node", heap.id(), 3)?;
            batch.gauge("/pool/one", 5)?;
            batch.gauge("/pool/two/value", 6)?;
            Ok(())
        })
        .unwrap();
    let segment = renamed(
        image(&segment),
        &[
            ("/mem/main1heap", "/mem/main heap"),
            ("/mem/main2heap/used", "/mem/main heap/used"),
            ("/mem/main2heap/table", "/mem/main heap/table"),
            ("/mem/main2heap/by-node", "/mem/main heap/by-node"),
            ("/pool/one", "/pool/a"),
            ("/pool/two/value", "/pool/a/value"),
        ],
    );
    let _server = serve(&socket, &segment);
    let mounted = Mounted::start(&socket);
    assert_eq!(mounted.list("mem/main heap"), ["%62y-node", "%74able", "json", "table", "used"]);
    assert_eq!(mounted.read("mem/main heap/used"), "1000\n");
    assert_eq!(mounted.read("mem/main heap/%74able"), "0\n");
    assert!(mounted.read("mem/main heap/table").starts_with("thread "));
    assert_eq!(mounted.list("pool/a"), ["%76alue", "value"]);
    assert_eq!(
        (mounted.read("pool/a/value"), mounted.read("pool/a/%76alue")),
        ("5\n".to_owned(), "6\n".to_owned())
    );
}
