//! `weirstat poll`: values again and again, across restarts of weir.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use weir_stats::ReadError;

use crate::connection::Weir;
use crate::failure::Failure;
use crate::patterns::{Matcher, Patterns};
use crate::screen::Screen;
use crate::values::View;

/// Print values again and again: redrawn on a terminal, as blocks otherwise.
///
/// A restart of weir is waited for, and said on stderr.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat poll --no-zeros ^/err/                     watch what is dropped
  weirstat poll --summary --only-index 0 ^/if/        watch one port
  weirstat poll --timestamp --machine ^/if/ >log.txt  keep a record, one reading a second
  weirstat poll --json --interval 10 ^/sys/node/      feed a program")]
pub struct Poll {
    /// Seconds between readings
    #[arg(long, value_name = "SECONDS", default_value = "1.0", value_parser = interval)]
    interval: Duration,
    #[command(flatten)]
    pub(crate) view: View,
    #[command(flatten)]
    patterns: Patterns,
}

/// The shortest interval: below it, reading takes longer than the pause.
const SHORTEST: Duration = Duration::from_millis(1);

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write seconds as a number: 1 or 0.5".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        // A day: what is longer is a task for cron, and would overflow the clock if it were much longer.
        Ok(interval) if (SHORTEST..=Duration::from_secs(86_400)).contains(&interval) => Ok(interval),
        _ => Err("write seconds from 0.001 to 86400".to_owned()),
    }
}

/// What is known of weir at a reading.
enum Reading {
    /// Its values, and whatever is to be said about them.
    Values(Vec<u8>, Option<String>),
    /// Nothing to show, and why.
    Nothing(String),
}

impl Poll {
    /// Prints until it is stopped. That there is no weir at the start is an error; later it is an interruption.
    pub fn run(&self, path: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
        let matcher = self.patterns.compile()?;
        let mut weir = Some(Weir::connect(path)?);
        let mut screen = Screen::new(std::io::stdout().is_terminal(), self.view.is_for_people(json));
        let mut next = Instant::now();
        loop {
            if weir.as_ref().is_none_or(Weir::is_replaced) {
                weir = match Weir::connect(path) {
                    Ok(weir) => Some(weir),
                    Err(failure) => {
                        screen.note(&waiting(failure), out)?;
                        None
                    }
                };
            }
            if let Some(connected) = &weir {
                match self.read(connected, &matcher, json)? {
                    Reading::Values(block, note) => screen.draw(&block, note.as_deref(), out)?,
                    Reading::Nothing(reason) => {
                        screen.note(&reason, out)?;
                        weir = None;
                    }
                }
            }
            next += self.interval;
            match next.checked_duration_since(Instant::now()) {
                Some(pause) => sleep(pause),
                None => next = Instant::now(),
            }
        }
    }

    fn read(&self, weir: &Weir, matcher: &Matcher, json: bool) -> Result<Reading, Failure> {
        let result = weir.silence().and_then(|silence| {
            let note = silence.map(|silence| silence.to_string());
            if silence.is_some_and(|silence| silence.dead) {
                return Ok(Reading::Nothing(waiting(note.unwrap_or_default())));
            }
            let snapshot = weir.snapshot(|entry| matcher.matches(&entry.name))?;
            let mut block = Vec::new();
            self.view.write(&snapshot, json, &mut block)?;
            let unmatched = if snapshot.values.is_empty() { self.patterns.unmatched() } else { None };
            Ok(Reading::Values(block, note.or(unmatched)))
        });
        match result {
            // The next reading may find it at rest.
            Err(failure @ Failure::Segment { source: ReadError::Busy { .. } | ReadError::Locked, .. }) => {
                Ok(Reading::Nothing(waiting(failure)))
            }
            other => other,
        }
    }
}

fn waiting(why: impl Display) -> String {
    format!("{why} (waiting)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_seconds() {
        assert_eq!(interval("1"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["", "x", "-1", "0", "nan", "inf", "1e300", "86401"] {
            interval(wrong).unwrap_err();
        }
    }
}
