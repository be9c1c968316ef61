//! One step of a long run: a command whose lines are logged, watched and boiled down to one line of progress.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How many of the log's last lines a failed step shows.
const TAIL: usize = 40;

/// What a finished command leaves.
pub struct Finished {
    /// It exited with 0.
    pub success: bool,
    /// How long it took.
    pub took: Duration,
    /// Its last lines.
    pub tail: Vec<String>,
    /// Everything that it said.
    pub log: PathBuf,
}

/// Runs `command`, gives each line of its output to `watch`, and shows what it is at.
pub fn run(name: &str, command: &mut Command, mut watch: impl FnMut(&str)) -> Result<Finished> {
    let folder = crate::target_dir()?.join("xtask");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!("{}.log", name.replace([' ', '/'], "-")));
    let mut log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;

    let live = std::io::stderr().is_terminal();
    if !live {
        eprintln!("== {name}");
    }
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name}: cannot start {}", command.get_program().display()))?;
    let (lines, arriving) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, lines.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, lines);
    }

    let mut tail: Vec<String> = Vec::new();
    let mut now_at = String::new();
    loop {
        match arriving.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                writeln!(log, "{line}")?;
                watch(&line);
                let words = line.trim_start();
                if ["Running ", "Doc-tests ", "Compiling ", "Checking ", "Documenting "]
                    .iter()
                    .any(|verb| words.starts_with(verb))
                {
                    now_at = words.to_owned();
                    if !live && (words.starts_with("Running ") || words.starts_with("Doc-tests ")) {
                        eprintln!("   {words}");
                    }
                } else if !live && words.starts_with("test result: ") {
                    eprintln!("      {words}");
                }
                if tail.len() == TAIL {
                    tail.remove(0);
                }
                tail.push(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if live {
            let now_at: String = now_at.chars().take(60).collect();
            eprint!("\r\x1b[K{name}  {}  {now_at}", clock(started.elapsed()));
        }
    }
    let status = child.wait()?;
    let took = started.elapsed();
    if live {
        eprint!("\r\x1b[K");
    }
    eprintln!("{} {name}  {}", if status.success() { "ok  " } else { "FAIL" }, clock(took));
    Ok(Finished { success: status.success(), took, tail, log: path })
}

/// Minutes and seconds.
pub fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// Sends each line of `stream` on, whatever bytes it holds.
fn forward(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if lines.send(text).is_err() {
                break;
            }
            line.clear();
        }
    });
}
