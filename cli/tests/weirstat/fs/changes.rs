//! The segment changes while it is looked at.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use weir_stats::{Description, Options, Segment, Server};

use crate::fs::mounted::{Mounted, is_absent, skip_without_fuse, until};
use crate::lab::{Weir, folder};

/// In which changes are promised to be seen.
const PROMISE: Duration = Duration::from_secs(1);

#[test]
fn an_open_file_is_a_snapshot() {
    skip_without_fuse!("an_open_file_is_a_snapshot");
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    let gauge = weir.segment.register(|batch| batch.gauge("/level", 1)).unwrap();
    let mounted = Mounted::start(&socket);
    let mut before = File::open(mounted.at("level")).unwrap();
    gauge.set(2);
    let mut text = String::new();
    before.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), mounted.read("level").as_str()), ("1\n", "2\n"));
}

#[test]
fn folders_follow_the_segment() {
    skip_without_fuse!("folders_follow_the_segment");
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    let mounted = Mounted::start(&socket);
    assert!(is_absent(&mounted.at("new/one")));
    let gauge = weir.segment.register(|batch| batch.gauge("/new/one", 1)).unwrap();
    assert_eq!(mounted.read("new/one"), "1\n");
    assert_eq!(mounted.list("new"), ["one"]);
    weir.segment.register(|batch| batch.remove(gauge.id())).unwrap();
    let start = Instant::now();
    until("the end of the folder", || fs::read_dir(mounted.at("new")).is_err());
    assert!(start.elapsed() < PROMISE, "{:?}", start.elapsed());
    assert!(is_absent(&mounted.at("new/one")));
    assert!(!mounted.list("").contains(&"new".to_owned()));
}

/// The kernel knows the name, the position and the column; all three now are another's.
#[test]
fn an_old_path_never_shows_another_entry() {
    skip_without_fuse!("an_old_path_never_shows_another_entry");
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    let mounted = Mounted::start(&socket);
    let mut old = weir.segment.register(|batch| batch.gauge("/places/0", 0)).unwrap();
    let position = old.id().index();
    for turn in 1..50 {
        let (old_path, new_path) = (format!("/places/{}", turn - 1), format!("/places/{turn}"));
        assert_eq!(mounted.read(&old_path[1..]), format!("{}\n", turn - 1));
        let new = weir.segment.register(|batch| {
            batch.remove(old.id())?;
            Ok(())
        });
        new.unwrap();
        old = weir.segment.register(|batch| batch.gauge(&new_path, turn)).unwrap();
        assert_eq!(old.id().index(), position, "the place is used again");
        assert!(is_absent(&mounted.at(&old_path[1..])), "{old_path}");
    }
}

/// Customers come and go, and their columns are given to others.
#[test]
fn an_old_name_never_shows_another_customer() {
    skip_without_fuse!("an_old_name_never_shows_another_customer");
    let (_folder, socket) = folder();
    let mut segment = Segment::create(Options { size: 1 << 20, workers: 1, ..Options::default() }).unwrap();
    segment.describe(&[Description::simple("/c/rx", "packets", "customer=/c/names", "received")]).unwrap();
    let (mut names, mut rx) =
        segment.register(|batch| Ok((batch.names("/c/names", 2)?, batch.simple("/c/rx", 2, 2)?))).unwrap();
    let mut row = rx.take_row(1).unwrap();
    let _server = Server::start(&socket, None, &segment).unwrap();
    let mounted = Mounted::start(&socket);
    for turn in 1..50_u64 {
        let column = (turn % 2) as usize;
        row.set(column, turn);
        segment
            .register(|batch| {
                batch.set_name(&mut names, column, &format!("c{turn}"))?;
                batch.set_name(&mut names, 1 - column, "")
            })
            .unwrap();
        let path = format!("c/rx/by-customer/c{turn}");
        assert_eq!(mounted.read(&path), format!("{turn}\n"));
        if turn > 2 {
            // Two turns ago somebody else had this column.
            assert!(is_absent(&mounted.at(&format!("c/rx/by-customer/c{}", turn - 2))));
        }
        assert!(is_absent(&mounted.at(&format!("c/rx/by-customer/c{}", turn - 1))));
    }
    until("the last name alone", || mounted.list("c/rx/by-customer") == ["c49"]);
}

/// A folder that is being read, over several answers of the kernel's, while names come and go.
#[test]
fn what_stays_in_a_folder_is_listed_once() {
    skip_without_fuse!("what_stays_in_a_folder_is_listed_once");
    let (_folder, socket) = folder();
    let mut weir = Weir::start(&socket);
    let stays = 3000;
    weir.segment
        .register(|batch| (0..stays).try_for_each(|at| batch.gauge(&format!("/many/m{at}"), at).map(drop)))
        .unwrap();
    let gone = weir.segment.register(|batch| batch.gauge("/many/a-gone", 0)).unwrap();
    let mounted = Mounted::start(&socket);
    let mut entries = fs::read_dir(mounted.at("many")).unwrap();
    let mut names: Vec<_> = entries.by_ref().take(10).map(|entry| entry.unwrap().file_name()).collect();
    weir.segment.register(|batch| batch.remove(gone.id())).unwrap();
    weir.segment.register(|batch| batch.gauge("/many/b-new", 0)).unwrap();
    // Let the change be seen before the rest is read.
    until("the new name", || mounted.list("many").contains(&"b-new".to_owned()));
    names.extend(entries.map(|entry| entry.unwrap().file_name()));
    let mut stayed: Vec<_> =
        names.iter().filter(|name| name.to_str().is_some_and(|name| name.starts_with('m'))).collect();
    stayed.sort();
    stayed.dedup();
    assert_eq!(stayed.len(), stays as usize);
    assert!((stays as usize..=stays as usize + 2).contains(&names.len()), "{}", names.len());
}

/// Ends the readers of a scope when the writer ends, and when it fails too: a scope waits for them for ever.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn many_read_while_it_changes() {
    skip_without_fuse!("many_read_while_it_changes");
    let (_folder, socket) = folder();
    // Directories that were replaced keep their place for a while, and here each turn replaces two.
    let mut weir = Weir::start_with(&socket, 256 << 20);
    weir.segment.register(|batch| batch.gauge("/turns/0", 0)).unwrap();
    let mounted = Mounted::start(&socket);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let ending = Ending(&done);
        let readers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(mounted.read("interfaces/eth1/rx/packets"), "10\n");
                        let table = mounted.read("if/rx/table");
                        assert!(table.ends_with("eth2\n") && table.lines().count() == 5, "{table}");
                        assert!(mounted.list("if").contains(&"rx".to_owned()));
                        for turn in mounted.list("turns") {
                            // It may be gone by now; what is read is its own.
                            match fs::read_to_string(mounted.at(&format!("turns/{turn}"))) {
                                Ok(number) => assert_eq!(number.trim_end(), turn),
                                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                            }
                        }
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let mut gauges = Vec::new();
        let start = Instant::now();
        let mut turn = 0;
        while start.elapsed() < Duration::from_secs(2) {
            turn += 1;
            gauges.push(weir.segment.register(|batch| batch.gauge(&format!("/turns/{turn}"), turn)).unwrap());
            if gauges.len() > 10 {
                let gone = gauges.remove(0);
                weir.segment.register(|batch| batch.remove(gone.id())).unwrap();
            }
            thread::sleep(Duration::from_millis(2));
        }
        drop(ending);
        for reader in readers {
            assert!(reader.join().unwrap() > 3);
        }
    });
}
