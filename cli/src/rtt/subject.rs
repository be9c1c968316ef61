//! What is measured of whom, and where in the segment that is.

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use weir_stats::{Bounds, Entry, Kind, ReadError, Reader, Rows};

use crate::failure::Failure;
use crate::names::{Meaning, Names};

/// Objects of a kind, and what is measured of each.
#[derive(Debug)]
pub struct Subject {
    /// What one of them is called.
    pub label: &'static str,
    /// Their names.
    pub names: &'static str,
    /// What is measured.
    pub measures: &'static [Measure],
}

/// A histogram of each object, and what was counted of the packets that it is about.
#[derive(Debug)]
pub struct Measure {
    /// What it is called on the command line.
    pub key: &'static str,
    /// What it is called in a table.
    pub title: &'static str,
    /// The histograms.
    pub histogram: &'static str,
    /// Packets and bytes.
    pub traffic: Option<&'static str>,
    /// Packets sent again, and packets that came too late.
    pub troubles: Option<[&'static str; 2]>,
}

/// Customers' names.
pub const CUSTOMERS: &str = "/customers/names";

/// The customers' prefixes, where the segment has them: element n is about customer n, and separated by spaces.
pub const PREFIXES: &str = "/customers/prefixes";

/// Customers.
pub const BY_CUSTOMER: Subject = Subject {
    label: "customer",
    names: CUSTOMERS,
    measures: &[
        Measure {
            key: "lan",
            title: "rtt lan",
            histogram: "/rtt/customers/lan",
            traffic: None,
            troubles: None,
        },
        Measure {
            key: "wan",
            title: "rtt wan",
            histogram: "/rtt/customers/wan",
            traffic: None,
            troubles: None,
        },
        Measure {
            key: "down",
            title: "delay down",
            histogram: "/delay/customers/down",
            traffic: Some("/customers/down"),
            troubles: Some(["/customers/retransmissions/down", "/customers/reordered/down"]),
        },
        Measure {
            key: "up",
            title: "delay up",
            histogram: "/delay/customers/up",
            traffic: Some("/customers/up"),
            troubles: Some(["/customers/retransmissions/up", "/customers/reordered/up"]),
        },
    ],
};

/// Ports.
pub const BY_PORT: Subject = Subject {
    label: "port",
    names: "/if/names",
    measures: &[
        Measure { key: "rtt", title: "rtt", histogram: "/rtt/ports", traffic: None, troubles: None },
        Measure {
            key: "delay",
            title: "delay",
            histogram: "/delay/ports",
            traffic: Some("/if/tx"),
            troubles: None,
        },
    ],
};

/// A vector, and which of its rows count.
#[derive(Clone, Debug)]
pub struct Vector {
    /// The entry.
    pub entry: Entry,
    /// Its rows.
    pub rows: Range<usize>,
}

/// A measure's vectors, as far as the segment has them.
#[derive(Clone, Debug)]
pub struct Place {
    /// The histograms.
    pub histogram: Vector,
    /// Packets and bytes.
    pub traffic: Option<Vector>,
    /// What is counted besides.
    pub troubles: [Option<Vector>; 2],
}

/// Where a segment has what is measured. True until its epoch moves.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is about.
    pub subject: &'static Subject,
    /// How many objects there are.
    pub objects: usize,
    /// The histograms' bins.
    pub bounds: Bounds,
    /// Where each measure is; `None` for one that is not there.
    pub places: Vec<Option<Place>>,
}

impl Source {
    /// Finds a subject's measures and its objects' names; `None` where the segment has no objects of that kind, or no
    /// histogram of them.
    pub fn of(
        subject: &'static Subject,
        meaning: &Meaning,
        reader: &Reader,
    ) -> Result<Option<(Source, Rc<Names>)>, ReadError> {
        let mut found: Option<(Rc<Names>, Bounds)> = None;
        let mut places = Vec::with_capacity(subject.measures.len());
        for measure in subject.measures {
            let Some(entry) = entry(meaning, measure.histogram, Kind::Simple) else {
                places.push(None);
                continue;
            };
            let names = meaning.names(entry, reader)?;
            let bounds = names.bins().cloned();
            let known = found.as_ref().map(|(_, bounds)| bounds);
            // All of a subject's histograms have the same bins.
            let (Some(bounds), true) = (bounds.clone(), known.is_none() || known == bounds.as_ref()) else {
                places.push(None);
                continue;
            };
            found.get_or_insert((names, bounds));
            let vector = |path: Option<&str>, kind| {
                path.and_then(|path| entry_of(meaning, path, kind))
                    .map(|entry| Vector::of(entry, meaning, reader))
                    .transpose()
            };
            let [retransmissions, reordered] = measure.troubles.map_or([None; 2], |both| both.map(Some));
            places.push(Some(Place {
                histogram: Vector::of(entry, meaning, reader)?,
                traffic: vector(measure.traffic, Kind::Combined)?,
                troubles: [vector(retransmissions, Kind::Simple)?, vector(reordered, Kind::Simple)?],
            }));
        }
        let Some((names, bounds)) = found else { return Ok(None) };
        let objects = names.objects().unwrap_or(0);
        Ok((objects > 0).then_some((Source { subject, objects, bounds, places }, names)))
    }

    /// The first of these subjects that the segment has.
    pub fn of_first(
        subjects: &[&'static Subject],
        meaning: &Meaning,
        reader: &Reader,
    ) -> Result<Option<(Source, Rc<Names>)>, ReadError> {
        for &subject in subjects {
            let found = Source::of(subject, meaning, reader)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What a segment without any of this is refused with.
    pub fn missing(path: &Path) -> Failure {
        let (what, entry) = ("round-trip times", BY_PORT.measures[0].histogram);
        Failure::Missing { path: path.to_owned(), what, entry }
    }
}

impl Vector {
    /// An entry's rows that count.
    pub fn of(entry: &Entry, meaning: &Meaning, reader: &Reader) -> Result<Vector, ReadError> {
        let rows = reader.extent(entry)?.rows;
        let rows = match meaning.catalogue.describe(&entry.name).map(|it| it.description.rows) {
            // The control thread forwards nothing: its row of what workers count is a hole.
            Some(Rows::Workers) if rows > 1 => 1..rows,
            Some(Rows::Control) => 0..rows.min(1),
            _ => 0..rows,
        };
        Ok(Vector { entry: entry.clone(), rows })
    }
}

/// An entry of a listing.
pub fn entry<'m>(meaning: &'m Meaning, path: &str, kind: Kind) -> Option<&'m Entry> {
    meaning.listing.iter().find(|entry| entry.name == path && entry.kind == kind)
}

use entry as entry_of;
