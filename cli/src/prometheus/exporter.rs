//! The exporter's own state: the weir that it reads, and what it has said of it. It outlives every weir.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_stats::{Catalogue, Connection, Liveness, ReadError, Reader, Value};

use super::exposition::{Exposition, Numbers, RESERVED, Writer};
use super::plan::{Builder, Plan};
use super::{Naming, values, vpp, weir};
use crate::complain;
use crate::connection::refusal;
use crate::patterns::Matcher;

/// A writer that says nothing of its process is taken for dead after so long without a heartbeat: VPP beats every 10 s.
const SILENCE: Duration = Duration::from_secs(30);

/// The entry that says when the writer began.
const BOOT_TIME: &str = "/sys/boottime";

/// What is exported.
#[derive(Debug)]
pub struct Exporter {
    socket: PathBuf,
    matcher: Matcher,
    naming: Naming,
    limit: usize,
    connected: Option<Connected>,
    readings: u64,
    failures: u64,
    log: Log,
}

#[derive(Debug)]
struct Connected {
    connection: Connection,
    plan: Option<Arc<Plan>>,
    /// The heartbeat, and when it was first seen at this number.
    beat: (u64, Instant),
}

/// Why there are no numbers.
#[derive(Debug)]
enum Absence {
    Unreadable(ReadError),
    Silent { reason: String, age: Option<Duration> },
}

impl From<ReadError> for Absence {
    fn from(error: ReadError) -> Absence {
        Absence::Unreadable(error)
    }
}

impl Exporter {
    /// An exporter of the segment that is served at `socket`, now or some day.
    pub fn new(socket: PathBuf, matcher: Matcher, naming: Naming, limit: usize) -> Exporter {
        let (connected, log) = (None, Log::default());
        Exporter { socket, matcher, naming, limit, connected, readings: 0, failures: 0, log }
    }

    /// Reads weir and writes it down, in OpenMetrics.
    pub fn scrape(&mut self) -> Result<Scrape, fmt::Error> {
        let begun = Instant::now();
        self.readings += 1;
        let (writer, numbers) = match self.read() {
            Ok((writer, numbers)) => {
                self.log.state(format!("reading the weir at {}", self.socket.display()));
                self.log.left_out(&numbers.plan, self.limit);
                (writer, Some(numbers))
            }
            Err(absence) => {
                self.failures += 1;
                // Another one may serve the same socket by now, or the next try finds this one at rest.
                self.connected = None;
                let (reason, heartbeat_age) = match absence {
                    Absence::Unreadable(error) => (refusal(&self.socket, error).to_string(), None),
                    Absence::Silent { reason, age } => (reason, age),
                };
                self.log.state(format!("{reason} (waiting)"));
                (Writer { is_live: false, heartbeat_age, start_time: None }, None)
            }
        };
        let (readings, failures, limit) = (self.readings, self.failures, self.limit);
        let text = Exposition { begun, writer, numbers, readings, failures, limit }.into_text()?;
        Ok(Scrape { text, state: self.log.said.clone() })
    }

    fn read(&mut self) -> Result<(Writer, Numbers), Absence> {
        if self.connected.as_ref().is_some_and(|connected| connected.connection.is_replaced()) {
            self.connected = None;
        }
        let connected = match &mut self.connected {
            Some(connected) => connected,
            none => none.insert(Connected::new(&self.socket)?),
        };
        let heartbeat_age = connected.listen()?;
        let numbers = connected.numbers(&self.matcher, self.naming, self.limit)?;
        let start_time = connected.start_time(&numbers.plan)?;
        Ok((Writer { is_live: true, heartbeat_age, start_time }, numbers))
    }
}

/// What a scrape found.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The metrics, in OpenMetrics.
    pub text: String,
    /// What is known of weir, in words.
    pub state: String,
}

impl Connected {
    fn new(socket: &Path) -> Result<Connected, ReadError> {
        let connection = Connection::connect(socket)?;
        let beat = (connection.reader().heartbeat()?, Instant::now());
        Ok(Connected { connection, plan: None, beat })
    }

    /// How long ago the writer's heart beat, if it is known; that it is too long ago is an error.
    fn listen(&mut self) -> Result<Option<Duration>, Absence> {
        let reader = self.connection.reader();
        let silent = |reason: String, age| Err(Absence::Silent { reason, age: Some(age) });
        match reader.liveness()? {
            Liveness::Live => Ok(reader.age()?),
            Liveness::Dead { pid, age } => silent(format!("weir (pid {pid}) is dead: start it again"), age),
            Liveness::Stuck { pid, age } => {
                silent(format!("weir (pid {pid}) is stuck: its heart beats no more"), age)
            }
            Liveness::Unknown => {
                let beat = reader.heartbeat()?;
                if beat != self.beat.0 {
                    self.beat = (beat, Instant::now());
                }
                let age = self.beat.1.elapsed();
                if age < SILENCE {
                    return Ok(None);
                }
                silent("the segment's writer is silent: its heartbeat grows no more".to_owned(), age)
            }
        }
    }

    fn numbers(&mut self, matcher: &Matcher, naming: Naming, limit: usize) -> Result<Numbers, ReadError> {
        let reader = self.connection.reader();
        let known = &mut self.plan;
        reader.at_rest(|| {
            let plan = match known.take().filter(|plan| plan.epoch == reader.epoch()) {
                Some(plan) => plan,
                None => Arc::new(make_plan(reader, matcher, naming, limit)?),
            };
            let values = values::read(&plan, reader)?;
            *known = Some(Arc::clone(&plan));
            Ok(Numbers { plan, values })
        })
    }

    fn start_time(&self, plan: &Plan) -> Result<Option<u64>, ReadError> {
        let Some(entry) = &plan.start_time else { return Ok(None) };
        match self.connection.reader().read(entry)? {
            Value::Scalar(seconds) | Value::Gauge(seconds) => Ok(Some(seconds)),
            _ => Ok(None),
        }
    }
}

/// Whether it is left out unless it is asked for: what customers' tins count is a hundred series and more for each of them, and
/// which node is above whom is no measurement.
fn is_detail(path: &str) -> bool {
    let Some(path) = path.strip_prefix("/shaper/") else { return false };
    path.contains("/tins/") || path.ends_with("/parent")
}

/// What is to be exported of a segment, as it is now.
pub fn make_plan(
    reader: &Reader,
    matcher: &Matcher,
    naming: Naming,
    limit: usize,
) -> Result<Plan, ReadError> {
    // Should it move meanwhile, the plan is made anew: it is for an epoch that is over.
    let mut builder = Builder::new(reader.epoch(), limit, &RESERVED);
    let listing = reader.list()?;
    let catalogue = Catalogue::of(reader)?;
    let wanted = |path: &str| matcher.matches(path) && (matcher.is_selective() || !is_detail(path));
    match naming {
        Naming::Weir => weir::plan(&mut builder, wanted, &listing, &catalogue, reader)?,
        Naming::Vpp => vpp::plan(&mut builder, wanted, &listing, &catalogue, reader)?,
    }
    let mut plan = builder.finish();
    plan.start_time = listing.into_iter().find(|entry| entry.name == BOOT_TIME);
    Ok(plan)
}

/// What is said on stderr, each thing once.
#[derive(Debug, Default)]
struct Log {
    /// What was said last about weir.
    said: String,
    mentioned: HashSet<String>,
}

impl Log {
    fn state(&mut self, text: String) {
        if self.said != text {
            complain(&text);
            self.said = text;
        }
    }

    fn left_out(&mut self, plan: &Plan, limit: usize) {
        for (metric, series) in &plan.omitted {
            if self.mentioned.insert(metric.clone()) {
                complain(format!(
                    "{metric} has {series} series more than --max-series {limit} allows: they are left out, see \
                     weir_exporter_series_omitted"
                ));
            }
        }
        for path in &plan.clashes {
            if self.mentioned.insert(path.clone()) {
                complain(format!("{path} is not exported: another metric has the name that it would have"));
            }
        }
    }
}
