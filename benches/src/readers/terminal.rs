//! A terminal that nobody looks at, for the live view.

use std::fs::File;
use std::io::Read as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::process::Running;

/// What has been drawn.
#[derive(Debug)]
pub struct Screen(Arc<AtomicU64>);

impl Screen {
    /// Whether there was anything yet.
    pub fn has_drawn(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Starts a program in a terminal of 50 lines.
pub fn start(mut command: Command) -> Result<(Running, Screen)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname(&master, Vec::new())?.into_string()?;
    let terminal = File::options().read(true).write(true).open(path)?;
    tcsetwinsize(&terminal, Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 })?;
    command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    command.env("TERM", "xterm-256color");
    let child = Running(command.spawn()?);
    // A terminal that is not read from stops the program.
    let drawn = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&drawn);
    let mut master = File::from(master);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = master.read(&mut buffer) {
            count.fetch_add(read as u64, Ordering::Relaxed);
        }
    });
    Ok((child, Screen(drawn)))
}
