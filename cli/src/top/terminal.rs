//! The terminal: taken, drawn on, and given back as it was, whatever happens.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::style::ResetColor;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{Command, queue};
use ratatui::layout::{Position, Rect};
use ratatui::{TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::failure::Failure;

/// Of terminals that do not know their size, as serial lines.
const UNKNOWN: Rect = Rect { x: 0, y: 0, width: 80, height: 24 };

/// The terminal while it is taken.
pub struct Terminal {
    // Not through std's stdout, whose buffer might come out after the terminal was given back.
    inner: ratatui::Terminal<CrosstermBackend<BufWriter<File>>>,
    size: Rect,
}

impl Terminal {
    /// Takes the terminal. It is given back when this is dropped, and before a panic says what happened.
    pub fn take() -> Result<Terminal, Failure> {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Err(Failure::NoTerminal);
        }
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let size = size(&file);
        let options = TerminalOptions { viewport: Viewport::Fixed(size) };
        let inner = ratatui::Terminal::with_options(CrosstermBackend::new(BufWriter::new(file)), options)?;
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            give_back();
            hook(what);
        }));
        let mut terminal = Terminal { inner, size };
        terminal.enter()?;
        Ok(terminal)
    }

    /// Draws a screen. Only what changed is written.
    pub fn draw(&mut self, screen: impl FnOnce(Rect, &mut Buffer) -> Option<Position>) -> io::Result<()> {
        if size(io::stdout()) != self.size {
            self.redraw()?;
        }
        self.inner.draw(|frame| {
            if let Some(position) = screen(frame.area(), frame.buffer_mut()) {
                frame.set_cursor_position(position);
            }
        })?;
        Ok(())
    }

    /// Whether nobody will ever press a key again. Reading would not say so: crossterm goes on trying.
    pub fn is_gone(&self) -> bool {
        let stdin = io::stdin();
        let mut keys = [PollFd::new(&stdin, PollFlags::empty())];
        let polled = rustix::event::poll(&mut keys, Some(&Timespec::default()));
        polled.is_ok() && keys[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }

    /// Forgets what is on the screen: the next drawing draws everything.
    pub fn redraw(&mut self) -> io::Result<()> {
        self.size = size(io::stdout());
        self.inner.resize(self.size)
    }

    /// Takes the terminal, again if it was given back.
    pub fn enter(&mut self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        say(EnterAlternateScreen)?;
        self.mend()
    }

    /// Makes the terminal what it was, after a shell may have changed it while this process was stopped.
    pub fn mend(&mut self) -> io::Result<()> {
        // crossterm does nothing to a terminal that it has taken already.
        disable_raw_mode()?;
        enable_raw_mode()?;
        say(Hide)?;
        self.redraw()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether the terminal is taken. Giving it back twice would put the cursor back to where it was before what has been
/// written since.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back, if it is taken: its modes, its screen, its cursor. Does nothing to one that is gone.
pub fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // The modes first: this never waits for the other side to read.
    let _ = disable_raw_mode();
    let _ = say(ResetColor);
    let _ = say(Show);
    let _ = say(LeaveAlternateScreen);
}

/// Straight to the terminal: whoever panics may hold std's lock of stdout.
fn say(command: impl Command) -> io::Result<()> {
    let mut bytes = Vec::new();
    queue!(bytes, command)?;
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(&bytes)
}

fn size(of: impl AsFd) -> Rect {
    match rustix::termios::tcgetwinsize(of) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Rect::new(0, 0, size.ws_col, size.ws_row),
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::OpenptFlags;
    use rustix::termios::tcgetattr;

    use super::*;

    /// Tells the test below that it is the child, on a terminal.
    const CHILD: &str = "WEIRSTAT_TEST_PANIC";

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_says_what_happened() {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let before = tcgetattr(&terminal).unwrap();

        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "top::terminal::tests::panics", "--ignored", "--nocapture"]);
        command.env(CHILD, "").env("RUST_BACKTRACE", "0").stdin(terminal.try_clone().unwrap());
        command.stdout(terminal.try_clone().unwrap()).stderr(Stdio::from(terminal.try_clone().unwrap()));
        assert_eq!(command.status().unwrap().code(), Some(101));
        assert_eq!(format!("{:?}", tcgetattr(&terminal).unwrap()), format!("{before:?}"));

        let (mut bytes, mut screen) = (Vec::new(), vt100::Parser::new(24, 80, 0));
        let mut drawn = false;
        // Once nobody has the terminal any more, what was written to it ends with an error.
        drop((command, terminal));
        assert!(File::from(master).read_to_end(&mut bytes).is_err());
        for byte in &bytes {
            screen.process(&[*byte]);
            drawn |= screen.screen().alternate_screen() && screen.screen().contents().contains("drawn");
        }
        let screen = screen.screen();
        let text = screen.contents();
        assert!(drawn && text.contains("on purpose") && !text.contains("drawn"), "{text}");
        assert!(!screen.alternate_screen() && !screen.hide_cursor());
    }

    #[test]
    #[ignore = "not a test: panics on the terminal that the test above has made"]
    fn panics() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let mut terminal = Terminal::take().unwrap();
        let drawn = |_, out: &mut Buffer| {
            out.set_string(0, 0, "drawn", ratatui::style::Style::new());
            None
        };
        terminal.draw(drawn).unwrap();
        // In another thread, while this one has the lock of stdout, as main has it.
        let _lock = io::stdout().lock();
        std::thread::spawn(|| panic!("on purpose")).join().unwrap();
    }
}
