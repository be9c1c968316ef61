//! Every reader of `weirstat` on a live weir: after traffic has crossed, and while nothing moves, they all tell the same
//! numbers as the segment itself. (`tests/prometheus.rs` does so for the exporter,
//! `tests/rtt_readers.rs` for round trips.)

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use weir_tests::appliance::Weir;
use weir_tests::clients::ping_all;
use weir_tests::lab::Lab;
use weir_tests::readers::{Guest, mounted, objects, output, until, weirstat};
use weir_tests::scenario::{Forwarder, PLAIN, run, unless_skipped};

/// The packets that this line of a dump tells.
fn packets(objects: &[Value], path: &str, column: &str) -> Option<u64> {
    objects.iter().find(|it| it["name"] == path && it["column"] == column)?["packets"].as_u64()
}

#[test]
fn all_readers_tell_the_same_of_a_live_weir() {
    run(Forwarder::Weir, PLAIN, |lab, weir| {
        let weir = weir.context("weir runs")?;
        let ports: Vec<&str> = lab.hosts.iter().map(|host| host.port.as_str()).collect();
        let before = weir.folder().join("before.json");
        std::fs::write(&before, output(weir, &["dump", "--json"])?)?;
        ping_all(lab.left(), lab.right().address, 20)?;
        std::thread::sleep(Duration::from_millis(300)); // until the last answer is counted

        let truth: Vec<u64> = weir.counters().columns("/if/rx")?.iter().map(|pair| pair.packets).collect();
        ensure!(truth.iter().all(|packets| *packets >= 20), "{truth:?}");

        let listed = output(weir, &["ls"])?;
        let described = objects(&output(weir, &["ls", "--long", "--json"])?)?;
        ensure!(listed.lines().count() == described.len(), "ls and ls --long list the same");
        ensure!(described.iter().all(|it| it["help"].as_str().is_some_and(|help| !help.is_empty())), "help");

        let dumped = objects(&output(weir, &["dump", "--json", "--summary", "^/if/rx$"])?)?;
        let since = before.to_str().context("UTF-8")?;
        let since = objects(&output(weir, &["dump", "--json", "--summary", "--since", since, "^/if/rx$"])?)?;
        let shown: Value = serde_json::from_str(&output(weir, &["show", "interfaces", "--json"])?)?;
        for (port, truth) in ports.iter().zip(&truth) {
            ensure!(packets(&dumped, "/if/rx", port) == Some(*truth), "dump of {port}: {dumped:?}");
            let new = packets(&since, "/if/rx", port).context("a difference")?;
            ensure!((20..=*truth).contains(&new), "since: {new} of {truth}");
            ensure!(shown.to_string().contains(&truth.to_string()), "show interfaces: {shown}");
        }

        mounted(weir, |mount| {
            for (port, truth) in ports.iter().zip(&truth) {
                for path in
                    [format!("interfaces/{port}/rx/packets"), format!("if/rx/by-interface/{port}/packets")]
                {
                    let text = std::fs::read_to_string(mount.join(&path))?;
                    ensure!(text == format!("{truth}\n"), "{path} says {text}");
                }
            }
            let found = Command::new("find").arg(mount).args(["-type", "f"]).output()?;
            let grep = Command::new("grep").args(["-rc", ""]).arg(mount).output()?;
            let lines = |text: &[u8]| text.iter().filter(|octet| **octet == b'\n').count();
            ensure!(found.status.success() && grep.status.code() != Some(2), "find and grep -r go through");
            ensure!(
                lines(&found.stdout) == lines(&grep.stdout)
                    && lines(&found.stdout) > listed.lines().count() / 2
            );
            Ok(())
        })
    });
}

/// A weir that is killed and started again: the mounted tree is the new one's, without a remount.
#[test]
fn a_mount_outlives_weir() {
    let outcome = unless_skipped(|| {
        let lab = Lab::new(1)?;
        let weir = Weir::start(&lab, 1)?;
        let folder = weir.folder();
        let mount = folder.join("mount");
        std::fs::create_dir_all(&mount)?;
        let path = mount.to_str().context("UTF-8")?.to_owned();
        let _guest = Guest(weirstat(&weir, &["fs", &path])?.spawn()?);
        let pid = || std::fs::read_to_string(mount.join("sys/pid"));
        until(|| pid().is_ok(), "the mount")?;
        let first = pid()?;
        weir.kill()?;
        until(|| pid().is_err(), "the end of a dead weir's tree")?;
        let weir = Weir::start(&lab, 1)?;
        until(|| pid().is_ok_and(|second| second != first), "the new weir's tree")?;
        weir.stop()
    });
    if let Err(error) = outcome {
        panic!("{error:?}");
    }
}
