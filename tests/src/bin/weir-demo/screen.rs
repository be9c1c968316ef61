//! Lines that are drawn over, on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Result;

/// What is drawn in place of what was drawn before.
pub struct Screen {
    live: bool,
    lines: usize,
}

impl Screen {
    /// The standard output, which may be no terminal.
    pub fn of_stdout() -> Screen {
        Screen { live: io::stdout().is_terminal(), lines: 0 }
    }

    /// Whether it is a terminal.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Draws these lines over the last ones.
    pub fn redraw(&mut self, lines: &[String]) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.lines > 0 {
            write!(out, "\x1b[{}A", self.lines)?;
        }
        for line in lines {
            writeln!(out, "\r{line}\x1b[K")?;
        }
        // what a longer list left below
        write!(out, "\x1b[J")?;
        out.flush()?;
        self.lines = lines.len();
        Ok(())
    }
}

/// How much of an act is over.
pub fn progress(elapsed: Duration, length: Duration) -> String {
    let done = (elapsed.as_secs_f64() / length.as_secs_f64()).min(1.0);
    let width = (done * 40.0).round() as usize;
    format!("[{:<40}] {:>4.1} s of {} s", "=".repeat(width), elapsed.as_secs_f64(), length.as_secs())
}
