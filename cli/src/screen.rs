//! Where `poll` prints: a terminal, which is redrawn in place, or anything else, which gets one block after another and no
//! control sequence.

use std::io::{self, IsTerminal as _, Write};

use crate::complain;

/// The place, and what was said last, as that is said once.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    /// Blocks are for people, who want a gap between them.
    gaps: bool,
    blocks: u64,
    said: Option<String>,
    /// How to get fewer lines.
    hint: &'static str,
}

/// Lines of a terminal that does not say how many it has.
const LINES: usize = 24;

/// Control sequences of ECMA-48, and DEC's private mode 7 (lines that do not wrap at the right edge).
const CLEAR_ALL: &str = "\x1b[2J";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// A block on its way to the screen, of which a terminal gets as many lines as it has.
#[derive(Debug)]
pub struct Block<'s, W> {
    screen: &'s mut Screen,
    out: &'s mut W,
    /// What fits.
    text: Vec<u8>,
    /// Lines that the terminal has.
    lines: usize,
    /// Lines of the block so far.
    all: usize,
}

impl Screen {
    /// A screen.
    pub fn new(terminal: bool, gaps: bool) -> Screen {
        Screen { terminal, gaps, blocks: 0, said: None, hint: "name fewer with a PATTERN" }
    }

    /// The same where this is how to get fewer lines.
    pub fn with_hint(self, hint: &'static str) -> Screen {
        Screen { hint, ..self }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Begins a block of lines.
    pub fn block<'s, W: Write>(&'s mut self, out: &'s mut W) -> io::Result<Block<'s, W>> {
        self.blocks += 1;
        if !self.terminal && self.gaps && self.blocks > 1 {
            out.write_all(b"\n")?;
        }
        let lines = if self.terminal { lines_of_terminal() } else { 0 };
        Ok(Block { screen: self, out, text: Vec::new(), lines, all: 0 })
    }

    /// Says why there is nothing to show.
    pub fn note(&mut self, note: &str, out: &mut impl Write) -> io::Result<()> {
        if self.terminal {
            return self.block(out)?.finish(Some(note));
        }
        self.say(note);
        Ok(())
    }

    fn say(&mut self, note: &str) {
        let news = without_numbers(note);
        if self.said.as_deref() != Some(&news) {
            complain(note);
            self.said = Some(news);
        }
    }
}

impl<W: Write> Write for Block<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.screen.terminal {
            return self.out.write(bytes);
        }
        for &byte in bytes {
            if self.all < self.lines {
                self.text.push(byte);
            }
            self.all += usize::from(byte == b'\n');
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Block<'_, W> {
    /// Shows the block, and below it a note: on a terminal as long as it holds, otherwise on stderr when it is new.
    pub fn finish(self, note: Option<&str>) -> io::Result<()> {
        let Block { screen, out, text, lines, all } = self;
        if screen.terminal {
            // All at once, so that nobody sees half a frame.
            if screen.blocks == 1 {
                out.write_all(CLEAR_ALL.as_bytes())?;
            }
            out.write_all(
                frame(&String::from_utf8_lossy(&text), all, note, (lines, screen.hint)).as_bytes(),
            )?;
            return out.flush();
        }
        out.flush()?;
        // The age of a silence grows from block to block, without being news.
        match note {
            None => screen.said = None,
            Some(note) => screen.say(note),
        }
        Ok(())
    }
}

fn lines_of_terminal() -> usize {
    rustix::termios::tcgetwinsize(io::stdout())
        .map_or(LINES, |size| if size.ws_row == 0 { LINES } else { size.ws_row.into() })
}

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// Columns of standard output, if it is a terminal.
pub fn columns_of_terminal() -> Option<usize> {
    let columns = || match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => COLUMNS,
    };
    io::stdout().is_terminal().then(columns)
}

/// What redraws a terminal of so many lines with the beginning of a block that has `all` lines.
fn frame(block: &str, all: usize, note: Option<&str>, (lines, hint): (usize, &str)) -> String {
    // The last line stays empty for the cursor.
    let room = lines.saturating_sub(1 + usize::from(note.is_some()));
    let shown = if all > room { room.saturating_sub(1) } else { all };
    let rest = format!("… {} more lines: {hint}", all - shown);
    let mut frame = String::from(NO_WRAP);
    frame.push_str(HOME);
    for line in block.lines().take(shown).chain((all > shown).then_some(rest.as_str())).chain(note) {
        frame.push_str(line);
        frame.push_str(CLEAR_LINE);
        frame.push('\n');
    }
    frame.push_str(CLEAR_BELOW);
    frame.push_str(WRAP);
    frame
}

/// A note without what changes from one reading to the next.
fn without_numbers(note: &str) -> String {
    note.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_covers_the_one_before() {
        assert_eq!(frame("a\nb\n", 2, None, (24, "")), "\x1b[?7l\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(frame("", 0, Some("gone"), (24, "")), "\x1b[?7l\x1b[Hgone\x1b[K\n\x1b[J\x1b[?7h");
    }

    #[test]
    fn a_frame_fits_its_terminal() {
        let block = "x\n".repeat(100);
        for (lines, note) in [(24, None), (24, Some("note")), (3, None)] {
            let frame = frame(&block, 100, note, (lines, "less"));
            assert_eq!(frame.matches('\n').count(), lines - 1);
            let shown = frame.matches('x').count();
            assert!(frame.contains(&format!("… {} more lines: less", 100 - shown)), "{frame}");
        }
        assert_eq!(frame("x\nx\n", 2, None, (3, "")).matches('x').count(), 2);
    }

    #[test]
    fn what_is_no_terminal_gets_no_control_sequence() {
        fn draw(screen: &mut Screen, text: &[u8], out: &mut Vec<u8>) {
            let mut block = screen.block(out).unwrap();
            block.write_all(text).unwrap();
            block.finish(None).unwrap();
        }
        let (mut screen, mut out) = (Screen::new(false, true), Vec::new());
        draw(&mut screen, b"a\n", &mut out);
        draw(&mut screen, b"b\n", &mut out);
        assert_eq!(std::mem::take(&mut out), b"a\n\nb\n");
        let mut screen = Screen::new(false, false);
        draw(&mut screen, b"a\n", &mut out);
        draw(&mut screen, b"b\n", &mut out);
        assert_eq!(out, b"a\nb\n");
    }

    #[test]
    fn a_note_is_said_once() {
        let mut screen = Screen::new(false, true);
        screen.say("silent for 3 s");
        let said = screen.said.clone();
        screen.say("silent for 14 s");
        assert_eq!(screen.said, said);
        screen.block(&mut Vec::new()).unwrap().finish(None).unwrap();
        assert_eq!(screen.said, None);
    }
}
