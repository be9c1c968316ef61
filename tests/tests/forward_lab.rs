//! The lab leaves nothing behind, however it ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use weir_tests::lab::Lab;
use weir_tests::scenario::unless_skipped;

/// The namespaces of a process that exist now.
fn namespaces_of(process: u32) -> Vec<String> {
    let prefix = format!("weir-lab-{process}-");
    let Ok(names) = fs::read_dir("/run/netns") else { return Vec::new() };
    names
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

/// A process with a lab that is ready.
fn another() -> Result<Child> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir-lab")).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    for line in lines {
        if line?.starts_with("ready") {
            ensure!(namespaces_of(child.id()).len() == 3);
            return Ok(child);
        }
    }
    anyhow::bail!("the lab was not built")
}

fn signal(child: &mut Child, signal: Signal) -> Result<()> {
    kill_process(Pid::from_child(child), signal)?;
    child.wait()?;
    Ok(())
}

#[test]
fn dropped_or_in_panic_it_is_gone() {
    unless_skipped(|| {
        let lab = Lab::new(2)?;
        let name = lab.router.name().to_owned();
        ensure!(namespaces_of(std::process::id()).contains(&name));
        drop(lab);
        ensure!(!namespaces_of(std::process::id()).contains(&name));

        let names = std::thread::spawn(|| {
            let lab = Lab::new(1).unwrap();
            std::panic::panic_any(lab.router.name().to_owned());
        });
        let name =
            names.join().err().and_then(|panic| panic.downcast::<String>().ok()).context("no panic")?;
        ensure!(!namespaces_of(std::process::id()).contains(&name), "{name} has outlived a panic");
        Ok(())
    })
    .unwrap();
}

#[test]
fn interrupted_it_is_gone_with_what_ran_in_it() {
    unless_skipped(|| {
        for interruption in [Signal::INT, Signal::TERM, Signal::HUP] {
            let mut child = another()?;
            let inside = namespaces_of(child.id()).pop().context("no namespace")?;
            let folder = std::env::temp_dir().join(&inside);
            fs::create_dir(&folder)?;
            let mut guest = Command::new("ip").args(["netns", "exec", &inside, "sleep", "600"]).spawn()?;
            // until it has entered: `ip` itself is outside first
            while !String::from_utf8(Command::new("ip").args(["netns", "pids", &inside]).output()?.stdout)?
                .contains(&guest.id().to_string())
            {}
            signal(&mut child, interruption)?;
            ensure!(namespaces_of(child.id()).is_empty(), "left behind: {:?}", namespaces_of(child.id()));
            ensure!(!guest.wait()?.success(), "what ran inside was not ended");
            ensure!(!folder.exists(), "its files are left");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn killed_its_namespaces_go_with_the_next_lab() {
    unless_skipped(|| {
        let mut killed = another()?;
        signal(&mut killed, Signal::KILL)?;
        let mut next = another()?;
        ensure!(namespaces_of(killed.id()).is_empty(), "left behind: {:?}", namespaces_of(killed.id()));
        signal(&mut next, Signal::INT)
    })
    .unwrap();
}
