//! The tools of every day over the mounted folder.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use crate::fs::mounted::{Mounted, skip_without_fuse};
use crate::lab::{Weir, folder, shown};

#[test]
fn tools_read_it_as_they_read_proc() {
    skip_without_fuse!("tools_read_it_as_they_read_proc");
    let (folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mounted = Mounted::start(&socket);
    for (command, output) in [
        ("cat interfaces/eth1/rx/packets interfaces/eth1/rx/bytes", "10\n640\n"),
        ("echo $(( $(cat interfaces/eth1/rx/bytes) * 8 / $(cat interfaces/eth1/rx/packets) ))", "512\n"),
        ("grep -r . err", "err/ip4-lookup/no-route:3\n"),
        ("grep -c . if/rx/table", "5\n"),
        ("tail -n 1 if/names/table", "       1  eth2\n"),
        ("tail -c 5 if/names/table", "eth2\n"),
        ("head -n 1 if/names/table", "   index  name\n"),
        ("head -c 8 if/names/table", "   index"),
        ("head -c -6 interfaces/eth1/rx/bytes; wc -c <interfaces/eth1/rx/bytes", "4\n"),
        ("wc -l if/rx/table", "5 if/rx/table\n"),
        ("sed -n 2p if/names/table", "       0  eth1\n"),
        ("dd if=interfaces/eth1/rx/bytes bs=2 skip=1 status=none", "0\n"),
        ("awk '$1 == 1 { sum += $3 } END { print sum }' if/rx/table", "10\n"),
        ("sort -n err/ip4-lookup/no-route sys/num_worker_threads", "1\n3\n"),
        ("read -r value <sys/num_worker_threads; echo \"$value\"", "1\n"),
        (
            "find interfaces -type f | sort",
            "interfaces/eth1/rx/bytes\ninterfaces/eth1/rx/json\ninterfaces/eth1/rx/packets\ninterfaces/eth1/rx/table\n",
        ),
        ("find . -name packets -path './interfaces/*' -exec cat {} +", "10\n"),
        ("test -d if/rx && test -f if/rx/table && test -r if/rx/table && echo so", "so\n"),
        ("cd if/rx/by-interface/eth1 && cd ../.. && ls", "by-interface\njson\ntable\n"),
        ("diff if/names/table if/names/table && cmp if/names/table if/names/table && echo same", "same\n"),
    ] {
        assert_eq!(mounted.shell(command), output, "{command}");
    }

    let copy = folder.path().join("copy");
    mounted.shell(&format!("cp -r . {}", copy.display()));
    // What does not change from one moment to the next is the same.
    mounted
        .shell(&format!("diff -r if {0}/if && diff -r err {0}/err && diff -r node {0}/node", copy.display()));
    assert_eq!(
        mounted.shell("find . | sort"),
        mounted.shell(&format!("cd {} && find . | sort", copy.display())),
    );
    assert_eq!(mounted.shell("ls -R | wc -l"), mounted.shell(&format!("ls -R {} | wc -l", copy.display())));
}

/// What is mounted and what `dump` prints are the same numbers.
#[test]
fn numbers_are_those_of_dump() {
    skip_without_fuse!("numbers_are_those_of_dump");
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mounted = Mounted::start(&socket);
    for line in shown(&socket, &["dump", "--machine", "--summary", "^/(err|interfaces|xdp)/"]).lines() {
        let mut fields = line.split(':');
        let (kind, index) = (fields.next().unwrap(), fields.next().unwrap());
        let number = fields.next().unwrap();
        let path = line.rsplit_once(":/").unwrap().1;
        let file = match (kind, path.starts_with("xdp/")) {
            ("3", _) => format!("{path}/packets"),
            (_, true) => continue,
            _ => path.to_owned(),
        };
        assert_eq!((mounted.read(&file).trim_end(), index), (number, "0"), "{line}");
    }
}

#[test]
fn files_are_read_only_and_without_a_size() {
    skip_without_fuse!("files_are_read_only_and_without_a_size");
    let (_folder, socket) = folder();
    let _weir = Weir::start(&socket);
    let mounted = Mounted::start(&socket);
    let path = mounted.at("if/rx/table");
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o777), (0, 0o444));
    assert_eq!(fs::metadata(mounted.at("if/rx")).unwrap().mode() & 0o777, 0o555);
    for result in [
        fs::write(&path, "1").err(),
        fs::remove_file(&path).err(),
        fs::create_dir(mounted.at("new")).err(),
        fs::rename(&path, mounted.at("other")).err(),
        fs::File::create(mounted.at("new")).err(),
    ] {
        assert_eq!(result.unwrap().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
    // Reading may begin anywhere, and again.
    let mut file = fs::File::open(&path).unwrap();
    let mut first = String::new();
    file.read_to_string(&mut first).unwrap();
    file.seek(SeekFrom::Start(7)).unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, first[7..]);
}
