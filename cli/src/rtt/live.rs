//! The figures of each interval, until stopped: redrawn on a terminal, as blocks otherwise.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use crate::connection::Silence;
use crate::failure::Failure;
use crate::screen::{Screen, columns_of_terminal};
use crate::view::seconds_since_1970;
use crate::watch::{Interruption, Look, Watcher, watch};

use super::json::Interval;
use super::pass::Past;
use super::subject::Source;
use super::{Found, Layout, Rtt};

/// Shows each interval. That there is no weir, or one without round-trip times, at the start is an error; later it is waited
/// for.
pub fn run(rtt: &Rtt, path: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let screen = Screen::new(io::stdout().is_terminal(), !json).with_hint("show fewer with --worst N");
    let mut live = Live { rtt, path, json, screen, out, started: false, known: None };
    watch(path, rtt.interval.unwrap_or_default(), &mut live)
}

struct Live<'l, W> {
    rtt: &'l Rtt,
    path: &'l Path,
    json: bool,
    screen: Screen,
    out: &'l mut W,
    /// There were figures at some time.
    started: bool,
    /// `None` until there was a reading of the weir that is followed.
    known: Option<Known>,
}

/// What is known of the weir that is followed.
struct Known {
    /// The epoch at which the next one was found.
    epoch: u64,
    found: Found,
    past: Past,
    /// When the past was read; `None` if it is not one of all that is selected.
    at: Option<Instant>,
}

impl<W: Write> Live<'_, W> {
    fn find(&mut self, look: Look<'_>) -> Result<Option<Known>, Interruption> {
        let (epoch, reader) = (look.reader.epoch(), look.reader);
        let earlier = match self.known.take() {
            Some(known) if known.epoch == epoch => return Ok(Some(known)),
            earlier => earlier,
        };
        let Some(found) = self.rtt.find(reader)? else { return Ok(None) };
        let (mut past, mut at) = (Past::default(), None);
        if let Some(mut known) =
            earlier.filter(|known| known.found.source.subject.label == found.source.subject.label)
        {
            let is_same = |object| known.found.names.name(object) == found.names.name(object);
            // What was counted under another name is nobody's past.
            (0..known.found.source.objects)
                .filter(|object| !is_same(*object))
                .for_each(|it| known.past.forget(it));
            // Nobody has read what was there before, but is selected only now.
            let is_known = |object: &usize| {
                known.found.selection.objects.binary_search(object).is_ok() || !is_same(*object)
            };
            at = known.at.filter(|_| found.selection.objects.iter().all(is_known));
            past = known.past;
        }
        Ok(Some(Known { epoch, found, past, at }))
    }
}

impl<W: Write> Watcher for Live<'_, W> {
    fn look(&mut self, look: Look<'_>) -> Result<(), Interruption> {
        if look.is_new {
            self.known = None;
        }
        let Some(known) = self.find(look)? else {
            let missing = Source::missing(self.path);
            if !self.started {
                return Err(Interruption::Fatal(missing));
            }
            return Ok(self.screen.note(&format!("{missing} (waiting)"), self.out)?);
        };
        self.started = true;
        let known = self.known.insert(known);
        let now = Instant::now();
        let mut chosen = self.rtt.chosen(&known.found.source).map_err(Interruption::Fatal)?;
        let pass = self.rtt.pass(look.reader, &known.found);
        pass.run(Some(&mut known.past), &mut chosen)?;
        let Some(before) = known.at.replace(now) else {
            // There was nothing to compare it with.
            if self.screen.is_terminal() {
                let interval = self.rtt.interval.unwrap_or_default().as_secs_f64();
                self.screen.note(&format!("the first figures come in {interval} s"), self.out)?;
            }
            return Ok(());
        };
        if look.reader.epoch() != known.epoch {
            // Some of it may be about others than the names say. The next interval is right again.
            return Ok(());
        }
        let seconds = now.duration_since(before).as_secs_f64();
        let note = Silence::of(look.writer).map(|silence| silence.to_string());
        let note = note.or_else(|| known.found.selection.note(&known.found.source));
        let rows = chosen.into_rows();
        let terminal = columns_of_terminal();
        let interval = Some(Interval { time: seconds_since_1970(), seconds });
        let mut block = self.screen.block(self.out)?;
        self.rtt
            .print(&rows, &known.found, self.json, Layout { terminal, interval }, &mut block)
            .map_err(Interruption::Fatal)?;
        block.finish(note.as_deref())?;
        Ok(())
    }

    fn note(&mut self, note: &str) -> io::Result<()> {
        self.screen.note(note, self.out)
    }
}
