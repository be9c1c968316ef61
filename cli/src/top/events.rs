//! What happens besides the clock: keys, and signals.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEvent};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::terminal::give_back;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key.
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// Stop, as a job of the shell.
    Stop,
    /// Going on after a stop.
    Continued,
    /// End by this signal.
    End(i32),
    /// The terminal is gone.
    Closed,
}

/// How long the main thread may take to give the terminal back when it is told to end. It takes longer only if the terminal
/// does not take what is written to it.
const GRACE: Duration = Duration::from_secs(1);

/// What comes so soon behind an escape belongs to it: a character takes 1 ms at 9600 baud, people take longer.
const SAME_KEY: Duration = Duration::from_millis(25);

/// Where events arrive.
pub struct Events(Receiver<Event>);

impl Events {
    /// From now on, signals that end or stop a process are events.
    pub fn start() -> io::Result<Events> {
        let (send, receive) = channel();
        let signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH])?;
        let to_keys = send.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || hear(signals, &send))?;
        thread::Builder::new().name("keys".to_owned()).spawn(move || read(&to_keys))?;
        Ok(Events(receive))
    }

    /// The next event, if there is one before `end`.
    pub fn next(&self, end: Instant) -> Option<Event> {
        match self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Closed),
        }
    }
}

fn hear(mut signals: Signals, send: &Sender<Event>) {
    for signal in signals.forever() {
        let event = match signal {
            SIGWINCH => Event::Resized,
            SIGTSTP => Event::Stop,
            SIGCONT => Event::Continued,
            _ => Event::End(signal),
        };
        let _ = send.send(event);
        if let Event::End(signal) = event {
            thread::sleep(GRACE);
            give_back();
            let _ = emulate_default_handler(signal);
        }
    }
}

fn read(send: &Sender<Event>) {
    loop {
        let keys = match event::read() {
            Ok(Input::Key(key)) if key.code == KeyCode::Esc => escaped(key),
            Ok(Input::Key(key)) => Ok(vec![key]),
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        let Ok(keys) = keys else {
            let _ = send.send(Event::Closed);
            return;
        };
        for key in keys {
            if send.send(Event::Key(key)).is_err() {
                return;
            }
        }
    }
}

/// An escape, or the key whose sequence it begins: over a slow line the rest comes later, and crossterm does not wait for
/// it. An arrow key would be an escape and two letters.
fn escaped(escape: KeyEvent) -> io::Result<Vec<KeyEvent>> {
    let mut keys = vec![escape];
    while event::poll(SAME_KEY)? {
        if let Input::Key(key) = event::read()? {
            keys.push(key);
            match sequence(&keys[1..]) {
                Sequence::Key(code) => return Ok(vec![code.into()]),
                Sequence::Open => {}
                Sequence::None => break,
            }
        }
    }
    Ok(keys)
}

/// What may have come behind an escape.
#[derive(Debug, PartialEq, Eq)]
enum Sequence {
    /// A whole key.
    Key(KeyCode),
    /// More is to come.
    Open,
    /// Something else.
    None,
}

/// ECMA-48's control sequences, and the keys that terminals send by them.
fn sequence(keys: &[KeyEvent]) -> Sequence {
    let text: Option<String> = keys.iter().map(|key| key.code.as_char()).collect();
    let text = text.as_deref().unwrap_or_default();
    let Some(rest) = text.strip_prefix('[').or_else(|| text.strip_prefix('O')) else { return Sequence::None };
    match rest {
        "A" => Sequence::Key(KeyCode::Up),
        "B" => Sequence::Key(KeyCode::Down),
        "C" => Sequence::Key(KeyCode::Right),
        "D" => Sequence::Key(KeyCode::Left),
        "H" | "1~" | "7~" => Sequence::Key(KeyCode::Home),
        "F" | "4~" | "8~" => Sequence::Key(KeyCode::End),
        "5~" => Sequence::Key(KeyCode::PageUp),
        "6~" => Sequence::Key(KeyCode::PageDown),
        "Z" => Sequence::Key(KeyCode::BackTab),
        "" => Sequence::Open,
        _ if rest.ends_with(|last: char| last.is_ascii_digit() || last == ';') => Sequence::Open,
        // A key that means nothing here, but whose letters must not mean anything either.
        _ => Sequence::Key(KeyCode::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_come_in_parts_are_one() {
        let keys = |text: &str| text.chars().map(|c| KeyEvent::from(KeyCode::Char(c))).collect::<Vec<_>>();
        for (text, found) in [
            ("[", Sequence::Open),
            ("[A", Sequence::Key(KeyCode::Up)),
            ("OB", Sequence::Key(KeyCode::Down)),
            ("[5", Sequence::Open),
            ("[5~", Sequence::Key(KeyCode::PageUp)),
            ("[15~", Sequence::Key(KeyCode::Null)),
            ("[1;5", Sequence::Open),
            ("[1;5A", Sequence::Key(KeyCode::Null)),
            ("q", Sequence::None),
            ("é", Sequence::None),
            ("[q", Sequence::Key(KeyCode::Null)),
        ] {
            assert_eq!(sequence(&keys(text)), found, "{text}");
        }
    }
}
