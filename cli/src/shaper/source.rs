//! Where a segment has what the shaper counts.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use weir_stats::{Entry, Kind, ReadError, Reader, Value};

use crate::failure::Failure;
use crate::names::Meaning;
use crate::rtt::pass::{PART, runs, sums};
use crate::rtt::subject::{self, BY_CUSTOMER, Vector, entry};

use super::WAYS;

/// Where it all is.
const FOLDER: &str = "/shaper/";

/// Names of the tree's nodes; empty where the number is not in use. A segment without them has no shaper.
pub const NODES: &str = "/shaper/nodes/names";
/// What the nodes are.
pub const KINDS: &str = "/shaper/nodes/kinds";
/// Customers' names: what they are called in the plan.
pub const CUSTOMERS: &str = subject::CUSTOMERS;
/// What people call them.
pub const TITLES: &str = "/customers/titles";
/// Their prefixes, separated by spaces.
pub const PREFIXES: &str = subject::PREFIXES;
/// Why packets are dropped from queues.
pub const CAUSES: &str = "/shaper/causes";
/// The one that is no loss: what the packet says, a later one says as well.
pub const ACK_FILTER: &str = "ack-filter";
/// Kinds of queues.
pub const QUEUES: &str = "/shaper/queues";

/// Where the numbers of nodes, or of customers, are in one direction; `None` where the segment has none.
#[derive(Debug, Default)]
pub struct Vectors {
    /// Packets and bytes that have passed.
    pub sent: Option<Vector>,
    /// Packets and bytes that wait.
    pub backlog: Option<Vector>,
    /// Bits a second that can be had now.
    pub rate: Option<Vector>,
    /// Bits a second that are guaranteed.
    pub min: Option<Vector>,
    /// Bits a second at most.
    pub max: Option<Vector>,
    /// Packets dropped, by cause; of customers alone.
    pub dropped: Option<Vector>,
    /// Packets marked; of customers alone.
    pub marked: Option<Vector>,
}

/// Where a segment has the shaper. True until its epoch moves.
#[derive(Debug)]
pub struct Source {
    reader: Reader,
    /// Name vectors by path.
    names: HashMap<String, Entry>,
    /// The shaper's vectors by path.
    vectors: HashMap<String, Vector>,
    /// Of nodes, by direction.
    pub nodes: [Vectors; 2],
    /// Of customers, by direction.
    pub customers: [Vectors; 2],
    /// Causes of drops.
    pub causes: Vec<String>,
    /// Histograms of how long packets waited, if they are measured.
    pub delays: Option<subject::Source>,
}

impl Source {
    /// Finds it; `None` where there is no shaper.
    pub fn of(reader: &Reader) -> Result<Option<Source>, ReadError> {
        let meaning = Meaning::of(reader)?;
        if entry(&meaning, NODES, Kind::Names).is_none() {
            return Ok(None);
        }
        let (mut names, mut vectors) = (HashMap::new(), HashMap::new());
        for entry in &meaning.listing {
            match entry.kind {
                Kind::Names => drop(names.insert(entry.name.clone(), entry.clone())),
                Kind::Simple | Kind::Combined if entry.name.starts_with(FOLDER) => {
                    vectors.insert(entry.name.clone(), Vector::of(entry, &meaning, reader)?);
                }
                _ => {}
            }
        }
        let delays = subject::Source::of(&BY_CUSTOMER, &meaning, reader)?.map(|(source, _)| source);
        let of = |scope| WAYS.map(|way| Vectors::of(scope, way, &vectors));
        let (nodes, customers) = (of("nodes"), of("customers"));
        let mut source =
            Source { reader: reader.clone(), names, vectors, nodes, customers, causes: Vec::new(), delays };
        source.causes = source.texts(CAUSES)?;
        Ok(Some(source))
    }

    /// What a segment without it is refused with.
    pub fn missing(path: &Path) -> Failure {
        Failure::Missing { path: path.to_owned(), what: "shaper", entry: NODES }
    }

    /// All of a name vector; nothing if it is not there.
    pub fn texts(&self, path: &str) -> Result<Vec<String>, ReadError> {
        match self.names.get(path).map(|it| self.reader.read(it)).transpose()? {
            Some(Value::Names(names)) => Ok(names),
            _ => Ok(Vec::new()),
        }
    }

    /// Some elements of a name vector, in ascending order; empty ones where it has none.
    pub fn some_texts(&self, path: &str, objects: &[usize]) -> Result<Vec<String>, ReadError> {
        let mut texts = Vec::with_capacity(objects.len());
        let Some(entry) = self.names.get(path) else {
            return Ok(vec![String::new(); objects.len()]);
        };
        for run in runs(objects, PART) {
            let end = texts.len() + run.len();
            if let Value::Names(names) = self.reader.part(entry, 0, run)? {
                texts.extend(names);
            }
            texts.resize(end, String::new());
        }
        Ok(texts)
    }

    /// A vector of the shaper's by its path.
    pub fn vector(&self, path: &str, kind: Kind) -> Option<&Vector> {
        of_kind(&self.vectors, path, kind)
    }

    /// So many numbers of each of these objects, all workers' added up: zeros where there are none. Of pairs each object has
    /// two, packets and bytes.
    pub fn numbers(
        &self,
        vector: Option<&Vector>,
        objects: &Range<usize>,
        width: usize,
    ) -> Result<Vec<u64>, ReadError> {
        let mut numbers = Vec::new();
        if let Some(vector) = vector {
            let cells = if vector.entry.kind == Kind::Combined { width / 2 } else { width };
            let columns = objects.start.saturating_mul(cells)..objects.end.saturating_mul(cells);
            numbers = sums(&self.reader, vector, &columns)?;
        }
        numbers.resize(objects.len().saturating_mul(width), 0);
        Ok(numbers)
    }

    /// How many elements a name vector has.
    pub fn count(&self, path: &str) -> Result<usize, ReadError> {
        let extent = self.names.get(path).map(|it| self.reader.extent(it)).transpose()?;
        Ok(extent.map_or(0, |extent| extent.columns))
    }
}

impl Vectors {
    fn of(scope: &str, way: &str, all: &HashMap<String, Vector>) -> Vectors {
        let find =
            |figure: &str, kind| of_kind(all, &format!("{FOLDER}{scope}/{way}/{figure}"), kind).cloned();
        Vectors {
            sent: find("sent", Kind::Combined),
            backlog: find("backlog", Kind::Combined),
            rate: find("rate", Kind::Simple),
            min: find("min", Kind::Simple),
            max: find("max", Kind::Simple),
            dropped: find("dropped", Kind::Simple),
            marked: find("marked", Kind::Simple),
        }
    }
}

fn of_kind<'v>(all: &'v HashMap<String, Vector>, path: &str, kind: Kind) -> Option<&'v Vector> {
    all.get(path).filter(|vector| vector.entry.kind == kind)
}
