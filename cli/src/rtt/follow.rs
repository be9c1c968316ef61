//! Samples one by one, as weir measures them: from the ring that each worker writes into, without weir's knowing.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_stats::{Entry, Kind, ReadError, Reader, RingRecords};

use crate::complain;
use crate::connection::Silence;
use crate::failure::Failure;
use crate::watch::{Interruption, Look, Watcher, watch};

use super::event::{self, Event};
use super::formats::{Format, Names};
use super::lookup::Lookup;
use super::selection::{Wanted, nobody};
use super::subject::{BY_CUSTOMER, BY_PORT, CUSTOMERS};

/// Between two looks. A sample is printed at the second look after it at the latest; a worker that measures ten thousand
/// round trips a second fills five hundred records meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Between two messages about missed samples.
const MISSED: Duration = Duration::from_secs(1);

/// Prints samples until it is stopped. That there is no weir at the start is an error; later it is waited for.
pub fn run(path: &Path, wanted: &Wanted, format: Format, out: &mut impl Write) -> Result<(), Failure> {
    let mut follow = Follow {
        path,
        wanted,
        format,
        out,
        ring: None,
        pending: Pending::default(),
        missed: 0,
        said: None,
        note: None,
    };
    watch(path, LOOK, &mut follow)
}

struct Follow<'f, W> {
    path: &'f Path,
    wanted: &'f Wanted,
    format: Format,
    out: &'f mut W,
    /// `None` until there was one.
    ring: Option<Ring>,
    pending: Pending,
    /// Samples that were overwritten unread, and of which nothing was said yet.
    missed: u64,
    /// When something was said of missed samples.
    said: Option<Instant>,
    /// What was said of weir last, as that is said once.
    note: Option<String>,
}

impl<W: Write> Follow<'_, W> {
    /// Reads what is new, and prints what is due.
    fn advance(&mut self, is_last: bool) -> Result<(), Interruption> {
        if let Some(ring) = &mut self.ring {
            let Follow { wanted, missed, pending, .. } = self;
            ring.read(|event, names| {
                if wanted.is_everything()
                    || [event.source, event.destination].iter().any(|end| wanted.covers(end.address))
                    || [event.lan, event.wan]
                        .into_iter()
                        .flatten()
                        .any(|customer| names.customer(customer).is_some_and(|name| wanted.names(name)))
                {
                    pending.events.push(event);
                }
            })
            .map(|news| *missed += news)?;
        }
        let due = self.pending.due(is_last);
        let was_silent = due.is_empty();
        for event in due {
            let names = match &mut self.ring {
                Some(ring) => ring.names.of(&event),
                None => Names::default(),
            };
            self.format.write(&event, &names, self.out).map_err(Interruption::Fatal)?;
        }
        if self.missed > 0 && (is_last || self.said.is_none_or(|said| said.elapsed() >= MISSED)) {
            self.format.write_missed(self.missed, self.out).map_err(Interruption::Fatal)?;
            complain(format!("missed {} samples: they were overwritten before they were read", self.missed));
            (self.missed, self.said) = (0, Some(Instant::now()));
        } else if was_silent && is_closed() {
            return Err(io::Error::from(ErrorKind::BrokenPipe).into());
        }
        Ok(self.out.flush()?)
    }

    fn say(&mut self, note: Option<&str>) {
        let without_numbers =
            note.map(|note| note.chars().filter(|c| !c.is_ascii_digit()).collect::<String>());
        if without_numbers != self.note {
            note.iter().for_each(complain);
            self.note = without_numbers;
        }
    }
}

impl<W: Write> Watcher for Follow<'_, W> {
    fn look(&mut self, look: Look<'_>) -> Result<(), Interruption> {
        if look.is_new {
            // The rest of the segment before, of which this process still has the memory.
            self.advance(true)?;
            let is_first = self.ring.is_none();
            let Some(ring) = Ring::of(look.reader, is_first)? else {
                let what = "single round-trip times";
                let missing = Failure::Missing { path: self.path.to_owned(), what, entry: event::PATH };
                if is_first {
                    return Err(Interruption::Fatal(missing));
                }
                self.say(Some(&missing.to_string()));
                return Ok(());
            };
            if ring.record < event::SIZE {
                let (path, size, known) = (self.path.to_owned(), ring.record, event::SIZE);
                return Err(Interruption::Fatal(Failure::Records { path, entry: event::PATH, size, known }));
            }
            if is_first {
                ring.names.unknown(self.wanted)?.iter().for_each(complain);
                if let Some(title) = self.format.title() {
                    writeln!(self.out, "{title}")?;
                    self.out.flush()?;
                }
            }
            self.ring = Some(ring);
        }
        self.advance(false)?;
        self.say(Silence::of(look.writer).map(|silence| silence.to_string()).as_deref());
        Ok(())
    }

    fn note(&mut self, note: &str) -> io::Result<()> {
        match self.advance(true) {
            Err(Interruption::Fatal(Failure::Output(error))) => return Err(error),
            // It was about to be left anyway.
            _ => self.say(Some(note)),
        }
        Ok(())
    }
}

/// Whether nobody reads what is printed any more. Whoever waits for samples on a quiet network would not notice by writing.
fn is_closed() -> bool {
    let stdout = io::stdout();
    let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ends, Some(&now)).is_ok_and(|ready| ready > 0) && ends[0].revents().contains(PollFlags::ERR)
}

/// A segment's samples.
struct Ring {
    reader: Reader,
    entry: Entry,
    /// Bytes of a record.
    record: usize,
    rows: Vec<Row>,
    names: Called,
}

/// What is to be read next of a worker's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    /// The place in the ring.
    next: u64,
    /// The number that the record there says that it has; `None` until there was one.
    number: Option<u64>,
}

impl Ring {
    /// The samples of this segment from now on, or, of a weir that has just started, from the first on.
    fn of(reader: &Reader, from_now_on: bool) -> Result<Option<Ring>, ReadError> {
        let listing = reader.list()?;
        let entry = |path: &str, kind| listing.iter().find(|it| it.name == path && it.kind == kind).cloned();
        let Some(ring) = entry(event::PATH, Kind::Ring) else { return Ok(None) };
        let names = [CUSTOMERS, BY_PORT.names].map(|path| entry(path, Kind::Names));
        let RingRecords { entry_size, rows, .. } = reader.records(&ring, &[])?;
        let rows = rows.iter().map(|row| {
            if from_now_on {
                Row { next: row.next(), number: None }
            } else {
                Row { next: 0, number: Some(0) }
            }
        });
        Ok(Some(Ring {
            reader: reader.clone(),
            entry: ring,
            record: entry_size,
            rows: rows.collect(),
            names: Called(names.map(|entry| Lookup::new(reader.clone(), entry))),
        }))
    }

    /// Hands out what is new, and says how many samples were missed.
    fn read(&mut self, mut take: impl FnMut(Event, &mut Called)) -> Result<u64, ReadError> {
        let next: Vec<u64> = self.rows.iter().map(|row| row.next).collect();
        let news = match self.reader.records(&self.entry, &next) {
            // Another entry has taken its place in the directory, but it may have another one.
            Err(ReadError::Stale { .. }) => match self.reader.find(event::PATH)? {
                Some(entry) => {
                    self.entry = entry;
                    return Ok(0);
                }
                None => return Ok(0),
            },
            news => news?,
        };
        self.rows.resize(news.rows.len(), Row { next: 0, number: Some(0) });
        let mut missed = 0_u64;
        for (row, news) in self.rows.iter_mut().zip(&news.rows) {
            for event in news.records.iter().filter_map(|record| Event::of(record)) {
                let gap = row.number.map_or(0, |expected| event.number.saturating_sub(expected));
                missed = missed.saturating_add(gap);
                row.number = Some(event.number.saturating_add(1));
                take(event, &mut self.names);
            }
            if news.next() < row.next {
                // It has been made anew.
                *row = Row { next: 0, number: Some(0) };
            } else {
                row.next = news.next();
            }
        }
        Ok(missed)
    }
}

/// What customers and ports are called.
struct Called([Lookup; 2]);

impl Called {
    fn customer(&mut self, number: u32) -> Option<&str> {
        self.0[0].name(number as usize)
    }

    fn of(&mut self, event: &Event) -> Names<'_> {
        let [customers, ports] = &mut self.0;
        let (lan, wan) = customers.both(event.lan.map(|it| it as usize), event.wan.map(|it| it as usize));
        Names { lan, wan, port: ports.name(event.port.into()) }
    }

    /// What to say of words that name nobody.
    fn unknown(&self, wanted: &Wanted) -> Result<Vec<String>, ReadError> {
        if wanted.is_everything() {
            return Ok(Vec::new());
        }
        let names = self.0[0].all()?;
        let unknown = wanted.unknown(|word| names.iter().any(|name| name == word));
        Ok(unknown
            .map(|word| {
                format!("{}: weirstat dump {CUSTOMERS} shows all names", nobody(BY_CUSTOMER.label, word))
            })
            .collect())
    }
}

/// Samples that were read, but may not be the next ones yet: a worker writes a sample down a little after the reply's time, so
/// that another worker's later sample can be read before.
#[derive(Debug, Default)]
struct Pending {
    events: Vec<Event>,
    /// The latest time that was read at the look before: whatever came before that has been written down by now.
    horizon: u64,
}

impl Pending {
    /// Takes out what is due, in the order of time.
    fn due(&mut self, all: bool) -> Vec<Event> {
        // Of equal times, the order in which they were read.
        self.events.sort_by_key(|event| event.time);
        let latest = self.events.last().map_or(0, |event| event.time);
        let count = if all {
            self.events.len()
        } else {
            self.events.partition_point(|event| event.time <= self.horizon)
        };
        self.horizon = latest.max(self.horizon);
        self.events.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use weir_stats::{Options, Segment};

    use super::super::event::tests::{event, record};
    use super::*;

    fn at(time: u64) -> Event {
        Event { time, ..event() }
    }

    #[test]
    fn samples_of_all_workers_are_in_the_order_of_time() {
        let mut pending = Pending::default();
        let times = |events: Vec<Event>| events.iter().map(|event| event.time).collect::<Vec<_>>();
        pending.events.extend([30, 10, 20].map(at));
        assert_eq!(times(pending.due(false)), [0; 0]);
        pending.events.extend([25, 40].map(at));
        assert_eq!(times(pending.due(false)), [10, 20, 25, 30]);
        assert_eq!(times(pending.due(false)), [40], "nothing came after it");
        pending.events.push(at(50));
        pending.events.push(at(35));
        assert_eq!(times(pending.due(true)), [35, 50]);
        pending.events.push(at(5));
        assert_eq!(times(pending.due(false)), [5], "late, but not lost");
    }

    #[test]
    fn what_was_missed_is_known_by_the_numbers() {
        let options = Options { size: 1 << 20, workers: 2, grace: Duration::ZERO };
        let mut segment = Segment::in_heap(options).unwrap();
        let mut rows = segment
            .register(|batch| {
                let mut ring = batch.ring(event::PATH, 88, 15, b"{}")?;
                Ok([ring.take_row(1).unwrap(), ring.take_row(2).unwrap()])
            })
            .unwrap();
        let reader = Reader::of(&segment).unwrap();
        let mut push = |row: usize, numbers: std::ops::Range<u64>| {
            for number in numbers {
                rows[row].push(&record(&Event { number, ..event() }));
            }
        };
        push(0, 0..5);
        let mut ring = Ring::of(&reader, true).unwrap().unwrap();
        let mut from_start = Ring::of(&reader, false).unwrap().unwrap();
        let read = |ring: &mut Ring| {
            let mut numbers = Vec::new();
            let missed = ring.read(|event, _| numbers.push(event.number)).unwrap();
            (numbers, missed)
        };
        assert_eq!(read(&mut ring), (vec![], 0));
        assert_eq!(read(&mut from_start), ((0..5).collect(), 0));
        push(0, 5..7);
        push(1, 0..1);
        assert_eq!(read(&mut ring), (vec![5, 6, 0], 0));
        push(0, 7..107);
        push(1, 1..2);
        assert_eq!(read(&mut ring), ((92..107).chain(1..2).collect(), 85));
        assert_eq!(read(&mut from_start), ((92..107).chain(0..2).collect(), 87));
        assert_eq!(read(&mut ring), (vec![], 0));
        // A worker may have written down fewer than it measured.
        push(1, 10..11);
        assert_eq!(read(&mut ring), (vec![10], 8));
    }
}
