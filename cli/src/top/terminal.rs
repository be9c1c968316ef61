//! The terminal: taken, drawn on, and given back as it was, whatever happens.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;

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

    /// Takes the terminal again after it was given back, or after somebody else changed it.
    pub fn enter(&mut self) -> io::Result<()> {
        // Taken already, it would not be taken again, though a shell may have changed it while we were stopped.
        disable_raw_mode()?;
        enable_raw_mode()?;
        say(EnterAlternateScreen)?;
        say(Hide)?;
        self.redraw()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back: its modes, its screen, its cursor. Does nothing to one that is gone.
pub fn give_back() {
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
