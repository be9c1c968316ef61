//! Every reader of `weirstat` on a live weir: after traffic has crossed, and while nothing moves, they all tell the same
//! numbers as the segment itself. (`tests/prometheus.rs` does so for the exporter.)

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weir_tests::appliance::Weir;
use weir_tests::clients::ping_all;
use weir_tests::lab::Lab;
use weir_tests::programs::program;
use weir_tests::scenario::{Forwarder, PLAIN, run, unless_skipped};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that ends with the test, and first takes its mount away.
struct Guest(Child);

impl Guest {
    /// Asks it to end, and waits.
    fn stop(&mut self) -> Result<ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(self.0.id())?).context("a process")?;
        kill_process(pid, Signal::TERM)?;
        Ok(self.0.wait()?)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // One that has been waited for is not asked again.
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.stop();
        }
    }
}

fn weirstat(weir: &Weir, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("weirstat")?);
    command.arg("--socket").arg(weir.folder().join("stats.sock")).args(words).stdin(Stdio::null());
    Ok(command)
}

/// What it prints.
fn output(weir: &Weir, words: &[&str]) -> Result<String> {
    let output = weirstat(weir, words)?.output()?;
    let (text, complaint) =
        (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    ensure!(output.status.success() && complaint.is_empty(), "weirstat {words:?}: {complaint}");
    Ok(text)
}

/// Its lines, each an object of JSON.
fn objects(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

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

/// Mounts the segment below weir's folder, and checks that it is gone at the end.
fn mounted(weir: &Weir, look: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mount = weir.folder().join("mount");
    std::fs::create_dir_all(&mount)?;
    let path = mount.to_str().context("UTF-8")?;
    let mut guest = Guest(weirstat(weir, &["fs", path])?.spawn()?);
    until(|| mount.join("sys").exists(), "the mount")?;
    let outcome = look(&mount);
    let status = guest.stop()?;
    outcome?;
    ensure!(status.success() && !mount.join("sys").exists(), "it unmounts when it is asked to end");
    Ok(())
}

fn until(is_so: impl Fn() -> bool, what: &str) -> Result<()> {
    let started = Instant::now();
    while !is_so() {
        ensure!(started.elapsed() < PATIENCE, "{what} takes longer than {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
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
