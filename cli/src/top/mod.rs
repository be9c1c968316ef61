//! `weirstat top`: a live view of the whole screen.
//!
//! [`model`] is what is to be seen, made from readings and keys, without a terminal; [`draw`] and [`rows`] put it on a
//! screen of any size; [`terminal`] and [`events`] are the real one. A view is a file in [`tabs`].

mod draw;
mod events;
mod history;
mod input;
mod look;
mod model;
mod reading;
mod rows;
#[cfg(test)]
mod screens;
mod table;
mod tabs;
mod terminal;
#[cfg(test)]
mod tree_screens;
#[cfg(test)]
mod trial;

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;
use weir_stats::{Absence, ReadError, Subscription, Update};

use crate::connection::Weir;
use crate::failure::Failure;

use self::events::{Event, Events};
use self::look::Look;
use self::model::{Model, Wish};
use self::terminal::Terminal;

/// Show ports, nodes, drops and workers live, on the whole screen
#[derive(Debug, Args)]
#[command(after_help = "\
Press ? for the keys, q to quit. Colours are left out where NO_COLOR is set.

Examples:
  weirstat top                                  weir, once a second
  weirstat top --interval 0.2                   five times a second
  weirstat top --socket /run/vpp/stats.sock     VPP")]
pub struct Top {
    /// Seconds between readings
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
}

/// The shortest interval: nobody reads faster.
const SHORTEST: f64 = 0.1;
/// The longest: an hour.
const LONGEST: f64 = 3600.0;

/// How often to look whether the terminal is still there, besides at every reading.
const GONE: Duration = Duration::from_secs(1);

/// What is new on the screen has no rates before the second reading: that is not put off for a whole interval.
const SOON: Duration = Duration::from_millis(500);

fn interval(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (SHORTEST..=LONGEST).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("write seconds from 0.1 to 3600".to_owned()),
    }
}

impl Top {
    /// Shows weir until the user has seen enough. That there is no weir at the start is an error; later it is waited for.
    pub fn run(&self, path: &Path) -> Result<(), Failure> {
        // Before the terminal is taken: what went wrong is then said as by every other command.
        drop(Weir::connect(path)?);
        let terminal = Terminal::take()?;
        let events = Events::start()?;
        let model = Model::new(path.to_owned(), self.interval);
        let subscription = Subscription::new(path, |_| false);
        let look = Look::of(|name| std::env::var(name).ok());
        let mut live = Live { model, subscription, terminal, look, subscribed: None, next: Instant::now() };
        match live.run(&events)? {
            End::Wished => Ok(()),
            End::Signal(signal) => {
                drop(live);
                Ok(emulate_default_handler(signal)?)
            }
        }
    }
}

/// The running view.
struct Live {
    model: Model,
    subscription: Subscription,
    terminal: Terminal,
    look: Look,
    /// The view whose entries are read.
    subscribed: Option<usize>,
    /// When to read.
    next: Instant,
}

/// Why the view ends.
enum End {
    /// The user is done, or has closed the terminal.
    Wished,
    /// Somebody else said so.
    Signal(i32),
}

impl Live {
    fn run(&mut self, events: &Events) -> Result<End, Failure> {
        loop {
            if self.terminal.is_gone() {
                return Ok(End::Wished);
            }
            if !self.model.is_paused() && self.next <= Instant::now() {
                self.read();
            }
            let (model, look) = (&mut self.model, self.look);
            self.terminal.draw(|area, out| draw::draw(model, look, SystemTime::now(), area, out))?;
            let mut end = Instant::now() + GONE;
            if !self.model.is_paused() {
                end = end.min(self.next);
            }
            // Keys may be held down, or pasted: all that came, then one drawing.
            while let Some(event) = events.next(end) {
                if let Some(end) = self.handle(event)? {
                    return Ok(end);
                }
                end = Instant::now();
            }
        }
    }

    fn read(&mut self) {
        let now = Instant::now();
        let mut pause = self.model.interval();
        if self.subscribed != Some(self.model.at()) {
            let wanted = self.model.wants();
            self.subscription.want(move |entry| wanted(&entry.name));
            pause = pause.min(SOON);
        }
        self.subscribed = Some(self.model.at());
        match self.subscription.update() {
            Update::Values(reading) => {
                if reading.change.is_none() {
                    pause = pause.min(SOON);
                }
                self.model.update(reading, self.subscription.reader(), now);
            }
            Update::Absent(absence) => self.model.wait(reason(&absence)),
        }
        self.next = now + pause;
    }

    fn handle(&mut self, event: Event) -> Result<Option<End>, Failure> {
        match event {
            Event::Key(key) => {
                let Some(action) = input::action(key, self.model.typing().is_some()) else { return Ok(None) };
                match self.model.act(action) {
                    Wish::Draw => {}
                    Wish::Read => self.next = Instant::now(),
                    Wish::Redraw => self.terminal.redraw()?,
                    Wish::Stop => self.stop()?,
                    Wish::Quit => return Ok(Some(End::Wished)),
                }
                self.next = self.next.min(Instant::now() + self.model.interval());
            }
            // Drawing looks at the size, and anything that happens leads to a drawing.
            Event::Resized => {}
            Event::Stop => self.stop()?,
            Event::Continued => self.terminal.mend()?,
            Event::Closed => return Ok(Some(End::Wished)),
            Event::End(signal) => return Ok(Some(End::Signal(signal))),
        }
        Ok(None)
    }

    /// Stops as a job of the shell, until it is continued.
    fn stop(&mut self) -> Result<(), Failure> {
        terminal::give_back();
        emulate_default_handler(SIGTSTP)?;
        Ok(self.terminal.enter()?)
    }
}

/// Why there are no values, in a few words.
fn reason(absence: &Absence) -> String {
    match absence {
        Absence::Dead { pid, age } => format!("pid {pid} died, its heart last beat {} s ago", age.as_secs()),
        Absence::Unreadable(ReadError::Connect { source, .. }) => match source.kind() {
            ErrorKind::NotFound => "no such socket".to_owned(),
            ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
            _ => source.to_string(),
        },
        Absence::Unreadable(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_seconds() {
        assert_eq!(interval("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "x", "-1", "0", "0.09", "nan", "inf", "3601"] {
            interval(wrong).unwrap_err();
        }
    }
}
