//! Values again and again, what changed between, and what becomes of them when the writer goes away or starts again.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catalogue::Catalogue;
use crate::connection::{Absence, Connection, Followed, Follower};
use crate::error::ReadError;
use crate::reader::{Liveness, Reader, Snapshot};
use crate::value::Entry;

/// A reader that goes on across restarts of the writer. It connects when it is first asked, and again whenever the socket
/// was made anew.
pub struct Subscription {
    follower: Follower,
    wanted: Box<dyn Fn(&Entry) -> bool + Send>,
    /// What is known of the writer that is followed.
    known: Option<Known>,
}

struct Known {
    /// The epoch at which the next two were read.
    epoch: u64,
    /// What the paths mean.
    catalogue: Arc<Catalogue>,
    /// The entries that are wanted.
    entries: Vec<Entry>,
    last: Option<(Instant, Arc<Snapshot>)>,
}

/// What a subscription found.
#[derive(Debug)]
pub enum Update {
    /// Values.
    Values(Reading),
    /// None, and why.
    Absent(Absence),
}

/// Values, and what changed since the values before.
#[derive(Debug)]
pub struct Reading {
    /// What there is now.
    pub now: Arc<Snapshot>,
    /// What was counted since the update before; `None` for the first reading of a writer.
    pub change: Option<Change>,
    /// What the paths mean.
    pub catalogue: Arc<Catalogue>,
    /// What is known of the writer, which may be [stuck](Liveness::Stuck).
    pub writer: Liveness,
}

/// What was counted between two readings.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Differences of counters; gauges as they are.
    pub values: Snapshot,
    /// The time between.
    pub elapsed: Duration,
}

impl Change {
    /// A difference as a number a second.
    pub fn per_second(&self, difference: u64) -> f64 {
        difference as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("follower", &self.follower).finish_non_exhaustive()
    }
}

impl Subscription {
    /// Subscribes to the entries that are wanted, of the segment that is served at `path`, now or some day.
    pub fn new(path: impl AsRef<Path>, wanted: impl Fn(&Entry) -> bool + Send + 'static) -> Subscription {
        Subscription { follower: Follower::new(path), wanted: Box::new(wanted), known: None }
    }

    /// Subscribes to other entries. What was read before of those that are still wanted goes on.
    pub fn want(&mut self, wanted: impl Fn(&Entry) -> bool + Send + 'static) {
        self.wanted = Box::new(wanted);
        if let Some(known) = &mut self.known {
            known.epoch = 0; // which is no segment's, so that they are listed anew
        }
    }

    /// The segment that the last update's values came from, for what is too large to be subscribed to; `None` if there is none.
    pub fn reader(&self) -> Option<&Reader> {
        self.follower.connection().map(Connection::reader)
    }

    /// The values now. Never waits for a writer; at most for a second where a server does not answer.
    pub fn update(&mut self) -> Update {
        match self.read() {
            Ok(reading) => Update::Values(reading),
            Err(absence) => Update::Absent(absence),
        }
    }

    fn read(&mut self) -> Result<Reading, Absence> {
        let Followed { connection, writer, is_new } = self.follower.follow()?;
        if is_new {
            self.known = None;
        }
        read(&mut self.known, connection.reader(), &self.wanted, writer).map_err(|error| {
            self.follower.failed(&error);
            Absence::Unreadable(error)
        })
    }
}

/// How often entries are listed anew for one reading, when they go away between their listing and their reading.
const LISTINGS: u32 = 8;

fn read(
    known: &mut Option<Known>,
    reader: &Reader,
    wanted: impl Fn(&Entry) -> bool,
    writer: Liveness,
) -> Result<Reading, ReadError> {
    for _ in 0..LISTINGS {
        let epoch = reader.epoch();
        let known = match &mut *known {
            Some(known) if known.epoch == epoch => known,
            known => {
                let mut entries = reader.list()?;
                entries.retain(&wanted);
                let catalogue = Arc::new(Catalogue::of(reader)?);
                let last = known.take().and_then(|known| known.last);
                known.insert(Known { epoch, catalogue, entries, last })
            }
        };
        let now = match reader.values(&known.entries) {
            Err(ReadError::Stale { .. }) => continue, // and with it the epoch has moved
            now => Arc::new(now?),
        };
        let at = Instant::now();
        let change = known.last.as_ref().map(|(before, earlier)| Change {
            values: now.since(earlier, &known.catalogue),
            elapsed: at.duration_since(*before),
        });
        known.last = Some((at, Arc::clone(&now)));
        return Ok(Reading { now, change, catalogue: Arc::clone(&known.catalogue), writer });
    }
    Err(ReadError::Busy { attempts: LISTINGS })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Description, Options, Pair, Segment, Server, Value};

    fn value(snapshot: &Snapshot, path: &str) -> Option<Value> {
        snapshot.values.iter().find(|(entry, _)| entry.name == path).map(|(_, value)| value.clone())
    }

    fn reading(subscription: &mut Subscription) -> Reading {
        match subscription.update() {
            Update::Values(reading) => reading,
            absent => panic!("{absent:?}"),
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the system")]
    fn goes_on_over_growth_restarts_and_absence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.sock");
        let mut subscription = Subscription::new(&path, |entry| entry.name.starts_with("/if/"));
        let absent = subscription.update();
        assert!(
            matches!(absent, Update::Absent(Absence::Unreadable(ReadError::Connect { .. }))),
            "{absent:?}"
        );

        let writer = || {
            let mut segment = Segment::create(Options::default()).unwrap();
            segment.describe(&[Description::combined("/if/rx", "interface=/if/names", "received")]).unwrap();
            let rx = segment.register(|batch| batch.combined("/if/rx", 1, 4)).unwrap();
            let server = Server::start(&path, None, &segment).unwrap();
            (segment, rx, server)
        };
        let (mut segment, mut rx, server) = writer();
        let mut row = rx.take_row(1).unwrap();
        row.add(0, 1, 60);
        let first = reading(&mut subscription);
        assert_eq!((first.change, first.writer), (None, Liveness::Live));
        assert!(subscription.reader().unwrap().find("/if/rx").unwrap().is_some());
        assert_eq!(&*first.catalogue.describe("/if/rx").unwrap().description.help, "received");
        row.add(0, 2, 120);
        segment.register(|batch| batch.grow_combined(&mut rx, 2)).unwrap();
        row.add(1, 5, 300);
        let second = reading(&mut subscription);
        let change = second.change.unwrap();
        let pair = |packets, bytes| Pair { packets, bytes };
        let counted = vec![vec![pair(0, 0); 2], vec![pair(2, 120), pair(5, 300)]];
        assert_eq!(value(&change.values, "/if/rx"), Some(Value::Combined(counted)));
        assert!(change.per_second(2) > 0.0);

        drop((server, segment, row, rx));
        assert!(matches!(subscription.update(), Update::Absent(_)), "its socket is gone");
        assert!(subscription.reader().is_none());
        let (_segment, mut rx, _server) = writer();
        rx.take_row(1).unwrap().add(0, 1, 60);
        let again = reading(&mut subscription);
        assert_eq!(again.change, None, "another writer's counters begin anew");
        let rows = vec![vec![pair(0, 0)], vec![pair(1, 60)]];
        assert_eq!(value(&again.now, "/if/rx"), Some(Value::Combined(rows)));
    }
}
