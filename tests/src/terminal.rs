//! A program on a terminal of its own, and what stands on its screen.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::Parser;

use crate::readers::Guest;

/// Lines and columns.
const ROWS: u16 = 24;
const COLUMNS: u16 = 120;
/// How long a picture may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program and its terminal.
pub struct Terminal {
    _program: Guest,
    keyboard: File,
    screen: Arc<Mutex<Parser>>,
}

impl Terminal {
    /// Starts a program on a new terminal.
    pub fn start(mut command: Command) -> Result<Terminal> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?.into_string()?;
        let terminal = File::options().read(true).write(true).open(path)?;
        tcsetwinsize(&terminal, Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 })?;
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        let program = Guest(command.spawn()?);
        // Its copies of the terminal would keep it open beyond the program's end.
        drop(command);
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(Parser::new(ROWS, COLUMNS, 0)));
        let (mut from, drawn) = (keyboard.try_clone()?, Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                drawn.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..count]);
            }
        });
        Ok(Terminal { _program: program, keyboard, screen })
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// What stands on the screen.
    pub fn text(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    /// Waits until what stands there is so.
    pub fn wait_until(&self, what: &str, is: impl Fn(&str) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let text = self.text();
            if is(&text) {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "no {what}, but:\n{text}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
