//! A segment for tests, as weir lays it out.

use std::rc::Rc;
use std::time::Duration;

use weir_stats::{Bounds, CombinedRow, EntryId, Error, Options, Reader, Segment, SimpleRow};

use crate::names::{Meaning, Names};

use super::subject::{BY_CUSTOMER, BY_PORT, PREFIXES, Source};

use crate::measured::{DESCRIPTIONS, bounds};

/// The writer, and one worker's rows.
pub struct Trial {
    pub segment: Segment,
    /// lan, wan, down, up; rtt and delay of ports.
    histograms: Vec<SimpleRow>,
    /// down, up; sent by ports.
    traffic: Vec<CombinedRow>,
    /// Retransmissions down, reordered down, the same up.
    troubles: Vec<SimpleRow>,
    prefixes: Option<EntryId>,
}

impl Trial {
    /// Customers of these names, and three ports.
    pub fn new(customers: &[&str]) -> Trial {
        let options = Options { size: 8 << 20, workers: 2, grace: Duration::ZERO };
        let mut segment = Segment::in_heap(options).unwrap();
        segment.describe(&DESCRIPTIONS).unwrap();
        let count = customers.len();
        let (histograms, traffic, troubles) = segment
            .register(|batch| {
                let mut names = |path: &str, all: &[String]| -> Result<(), Error> {
                    let mut names = batch.names(path, all.len().max(1))?;
                    all.iter().enumerate().try_for_each(|(at, name)| batch.set_name(&mut names, at, name))
                };
                let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
                let bins = Bounds::names(&bounds());
                let width = bins.len();
                names("/rtt/bins", &bins)?;
                names("/customers/names", &own(customers))?;
                names("/if/names", &own(&["eth1", "deleted", "eth2"]))?;
                let (mut histograms, mut traffic, mut troubles) = (Vec::new(), Vec::new(), Vec::new());
                for (subject, count) in [(&BY_CUSTOMER, count), (&BY_PORT, 3)] {
                    for measure in subject.measures {
                        let mut simple = |path: &str, columns: usize| {
                            Ok::<_, Error>(batch.simple(path, columns, columns.max(1))?.take_row(2).unwrap())
                        };
                        histograms.push(simple(measure.histogram, count * width)?);
                        for path in measure.troubles.into_iter().flatten() {
                            troubles.push(simple(path, count)?);
                        }
                        if let Some(path) = measure.traffic {
                            traffic.push(batch.combined(path, count, count.max(1))?.take_row(2).unwrap());
                        }
                    }
                }
                Ok((histograms, traffic, troubles))
            })
            .unwrap();
        Trial { segment, histograms, traffic, troubles, prefixes: None }
    }

    /// So many samples of this time, in the measure with this number: four of customers, then two of ports.
    pub fn sample(&mut self, measure: usize, object: usize, microseconds: u64, count: u64) {
        let (bounds, row) = (bounds(), &mut self.histograms[measure]);
        let bin = bounds.partition_point(|bound| *bound < microseconds);
        let start = object * (bounds.len() + 2);
        row.add(start + bin, count);
        row.add(start + bounds.len() + 1, microseconds * count);
    }

    /// Packets to (0) or from (1) a customer, or sent by a port (2): how many, their bytes, sent again, too late.
    pub fn pass(&mut self, direction: usize, object: usize, [packets, bytes, again, late]: [u64; 4]) {
        self.traffic[direction].add(object, packets, bytes);
        if direction < 2 {
            self.troubles[2 * direction].add(object, again);
            self.troubles[2 * direction + 1].add(object, late);
        }
    }

    /// Publishes the customers' prefixes.
    pub fn prefixes(&mut self, texts: &[&str]) {
        assert!(self.prefixes.is_none());
        let names = self.segment.register(|batch| {
            let mut names = batch.names(PREFIXES, texts.len())?;
            texts.iter().enumerate().try_for_each(|(at, text)| batch.set_name(&mut names, at, text))?;
            Ok(names.id())
        });
        self.prefixes = Some(names.unwrap());
    }
}

/// Where its customers are.
pub fn source(reader: &Reader) -> (Source, Rc<Names>) {
    let meaning = Meaning::of(reader).unwrap();
    Source::of(&BY_CUSTOMER, &meaning, reader).unwrap().unwrap()
}
