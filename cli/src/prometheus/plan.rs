//! What is exported and how it is read: made once from the directory and the names, and kept until the segment's structure
//! changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prometheus_client::metrics::MetricType;
use weir_stats::{Bounds, Entry};

use super::names::{self, Name};

/// Everything that a scrape reads and writes.
#[derive(Debug, Default)]
pub struct Plan {
    /// The epoch for which it is true.
    pub epoch: u64,
    /// What is read; sources name these by their positions.
    pub reads: Vec<Read>,
    /// What is written, in the order of the names.
    pub families: Vec<Family>,
    /// Series that were left out, by the metric's name.
    pub omitted: Vec<(String, u64)>,
    /// Entries of which nothing is exported, because another metric has the name: said in the log.
    pub clashes: Vec<String>,
    /// The entry that says when the writer began.
    pub start_time: Option<Entry>,
}

/// One entry's numbers.
#[derive(Debug)]
pub struct Read {
    /// The entry.
    pub entry: Entry,
    /// What is in it.
    pub shape: Shape,
}

/// What is in an entry.
#[derive(Debug)]
pub enum Shape {
    /// A number.
    Number,
    /// Counters, of which these columns are wanted, in rising order.
    Cells {
        /// Rows.
        rows: usize,
        /// They are added up.
        is_merged: bool,
        /// What has a name.
        objects: Arc<[Object]>,
        /// Columns of an object.
        width: usize,
    },
    /// A histogram of powers of two.
    Bins,
}

/// A column with a name, or the columns of a histogram with a name.
#[derive(Debug)]
pub struct Object {
    /// Its number.
    pub number: usize,
    /// Its labels.
    pub labels: Vec<Label>,
}

/// A label's name and value.
pub type Label = (Arc<str>, String);

/// A metric with all its series.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: Name,
    /// Its help, escaped.
    pub help: String,
    /// Its type.
    pub kind: MetricType,
    /// Where its series come from.
    pub sources: Vec<Source>,
}

/// Series of one entry.
#[derive(Debug)]
pub struct Source {
    /// The position of what is read.
    pub read: usize,
    /// Which of the numbers.
    pub field: Field,
    /// Labels of all of them.
    pub labels: Vec<Label>,
    /// What becomes of the rows.
    pub rows: RowLabel,
}

/// Which numbers of an entry a metric is about.
#[derive(Clone, Debug)]
pub enum Field {
    /// The numbers.
    Number,
    /// Of pairs, the packets.
    Packets,
    /// Of pairs, the bytes.
    Bytes,
    /// Histograms of powers of two.
    Bins,
    /// Histograms with these bounds.
    Bounded(Bounds),
    /// The UNIX time now less the number.
    Uptime,
}

/// What the rows of a vector are in a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLabel {
    /// Added up.
    Sum,
    /// Label `worker`: the row's number less one. Row 0 is the control thread's, and is left out while it is 0.
    Worker,
    /// Label `cpu`.
    Cpu,
    /// Label `thread`.
    Thread,
}

impl RowLabel {
    /// The label's name.
    pub fn name(self) -> Option<&'static str> {
        match self {
            RowLabel::Sum => None,
            RowLabel::Worker => Some("worker"),
            RowLabel::Cpu => Some("cpu"),
            RowLabel::Thread => Some("thread"),
        }
    }

    /// Series that `rows` rows give an object.
    pub fn series(self, rows: usize) -> usize {
        match self {
            RowLabel::Sum => 1,
            RowLabel::Worker => rows.saturating_sub(1).max(1),
            RowLabel::Cpu | RowLabel::Thread => rows,
        }
    }
}

/// The most series of a page, as a multiple of the most of a metric: a segment may have any number of metrics. With the
/// default of 10,000 a page has some 15 MiB then.
const METRICS: usize = 20;

/// The most columns that are looked at and cells that are read for a page: a segment that claims to have billions of either
/// takes tenths of a second. Four full tables of routes are within it.
const EFFORT: usize = 16 << 20;

/// What reading a part of a row takes besides its cells, in cells: half a microsecond.
const PART: usize = 64;

/// A plan in the making.
#[derive(Debug)]
pub struct Builder {
    plan: Plan,
    /// The most series of a metric.
    limit: usize,
    /// How many more series there may be.
    left: usize,
    /// How much of [`EFFORT`] is left.
    effort: usize,
    /// What each name of a family or a sample belongs to.
    taken: HashMap<String, usize>,
    /// What each family stands for, and how many series it has.
    made: Vec<Made>,
}

#[derive(Debug)]
struct Made {
    identity: String,
    /// The entries that it is made of.
    paths: HashSet<String>,
    series: usize,
    omitted: u64,
}

/// What a metric is, before it is known whether it is new.
#[derive(Debug)]
pub struct Proposal<'a> {
    /// What tells it from others of the same name: the path or the template.
    pub identity: &'a str,
    /// Its name.
    pub name: Name,
    /// Its help.
    pub help: &'a str,
    /// Its type.
    pub kind: MetricType,
}

/// A family that has been found or made, or none because its name is another's.
type Place = Option<usize>;

impl Builder {
    /// A plan in which no metric has more than `limit` series, and none is called as one that is reserved.
    pub fn new(epoch: u64, limit: usize, reserved: &[&str]) -> Builder {
        let taken = reserved.iter().map(|name| ((*name).to_owned(), usize::MAX)).collect();
        let left = limit.saturating_mul(METRICS);
        Builder {
            plan: Plan { epoch, ..Plan::default() },
            limit,
            left,
            effort: EFFORT,
            taken,
            made: Vec::new(),
        }
    }

    /// The metric of this name; a new one unless it is there. Where another entry's metric has the name and is of the same
    /// type, `labels` become different from that one's: two paths may differ in nothing that a name can hold.
    pub fn family(&mut self, path: &str, proposal: Proposal<'_>, labels: &mut Vec<Label>) -> Place {
        let full = proposal.name.full();
        let samples = samples(&full, proposal.kind);
        let owners: Vec<usize> = samples.iter().filter_map(|name| self.taken.get(name).copied()).collect();
        if let Some(&at) = self.taken.get(&full)
            && owners.iter().all(|owner| *owner == at)
            && let Some(family) = self.plan.families.get(at)
            && family.kind.as_str() == proposal.kind.as_str()
            // A damaged segment may have a path twice.
            && self.made[at].paths.insert(path.to_owned())
        {
            if self.made[at].identity != proposal.identity {
                let taken: Vec<&str> = labels.iter().map(|(name, _)| &**name).collect();
                labels.push((names::label("path", &taken).into(), path.to_owned()));
            }
            return Some(at);
        }
        if !owners.is_empty() {
            self.plan.clashes.push(path.to_owned());
            return None;
        }
        let at = self.plan.families.len();
        self.taken.extend(samples.into_iter().map(|name| (name, at)));
        let (identity, paths) = (proposal.identity.to_owned(), HashSet::from([path.to_owned()]));
        self.made.push(Made { identity, paths, series: 0, omitted: 0 });
        self.plan.families.push(Family {
            name: proposal.name,
            help: names::help(proposal.help),
            kind: proposal.kind,
            sources: Vec::new(),
        });
        Some(at)
    }

    /// The most series of a metric.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many more series a family may have.
    pub fn room(&self, family: usize) -> usize {
        self.limit.saturating_sub(self.made[family].series).min(self.left)
    }

    /// Whether one more column may be looked at.
    pub fn look(&mut self) -> bool {
        self.effort = self.effort.saturating_sub(1);
        self.effort > 0
    }

    /// Whether so many cells of each of so many rows may be read.
    pub fn may_read(&mut self, rows: usize, cells: usize) -> bool {
        let needed = rows.saturating_mul(cells.saturating_add(PART));
        let is_affordable = needed <= self.effort;
        if is_affordable {
            self.effort -= needed;
        }
        is_affordable
    }

    /// Reads something; the position to name it by.
    pub fn read(&mut self, read: Read) -> usize {
        self.plan.reads.push(read);
        self.plan.reads.len() - 1
    }

    /// Gives a family series that it has room for.
    pub fn add(&mut self, family: usize, source: Source, series: usize) {
        self.made[family].series += series;
        self.left = self.left.saturating_sub(series);
        self.plan.families[family].sources.push(source);
    }

    /// Notes series that a family has no room for.
    pub fn omit(&mut self, family: usize, series: usize) {
        self.made[family].omitted += series as u64;
    }

    /// The plan.
    pub fn finish(self) -> Plan {
        let mut plan = self.plan;
        for (family, made) in plan.families.iter().zip(&self.made) {
            if made.omitted > 0 {
                plan.omitted.push((queried(&family.name.full(), family.kind), made.omitted));
            }
        }
        plan.families.retain(|family| !family.sources.is_empty());
        plan.families.sort_by_cached_key(|family| family.name.full());
        plan
    }
}

/// The name by which users ask for a metric.
pub fn queried(full: &str, kind: MetricType) -> String {
    if matches!(kind, MetricType::Counter) { format!("{full}_total") } else { full.to_owned() }
}

/// A family's name and all names that its samples may have.
fn samples(full: &str, kind: MetricType) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        MetricType::Counter => &["", "_total", "_created"],
        MetricType::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
        MetricType::Info => &["", "_info"],
        MetricType::Gauge | MetricType::Unknown => &[""],
    };
    suffixes.iter().map(|suffix| format!("{full}{suffix}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(
        builder: &mut Builder,
        path: &str,
        name: &str,
        kind: MetricType,
        labels: &mut Vec<Label>,
    ) -> Place {
        let proposal = Proposal { identity: path, name: Name::whole(name), help: "help", kind };
        builder.family(path, proposal, labels)
    }

    #[test]
    fn names_are_given_away_once() {
        let mut builder = Builder::new(1, 10, &["weir_up"]);
        let mut labels = Vec::new();
        assert_eq!(place(&mut builder, "/a-b", "a_b", MetricType::Counter, &mut labels), Some(0));
        assert_eq!(place(&mut builder, "/a_b", "a_b", MetricType::Counter, &mut labels), Some(0));
        assert_eq!(labels, [("path".into(), "/a_b".to_owned())]);
        for (path, name, kind) in [
            ("/a-b", "a_b", MetricType::Counter),
            ("/other-type", "a_b", MetricType::Gauge),
            ("/a/b/total", "a_b_total", MetricType::Gauge),
            ("/own", "weir_up", MetricType::Gauge),
        ] {
            assert_eq!(place(&mut builder, path, name, kind, &mut Vec::new()), None, "{path}");
        }
        assert_eq!(place(&mut builder, "/h_sum", "h_sum", MetricType::Gauge, &mut Vec::new()), Some(1));
        assert_eq!(place(&mut builder, "/h", "h", MetricType::Histogram, &mut Vec::new()), None);
        assert_eq!(builder.finish().clashes, ["/a-b", "/other-type", "/a/b/total", "/own", "/h"]);
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut builder = Builder::new(1, 10, &[]);
        let family = place(&mut builder, "/a", "a", MetricType::Counter, &mut Vec::new()).unwrap();
        let source = Source { read: 0, field: Field::Number, labels: Vec::new(), rows: RowLabel::Sum };
        builder.add(family, source, 7);
        assert_eq!(builder.room(family), 3);
        builder.omit(family, 5);
        assert_eq!(builder.finish().omitted, [("a_total".to_owned(), 5)]);
    }

    #[test]
    fn a_page_has_an_end() {
        let mut builder = Builder::new(1, 10, &[]);
        for number in 0..30 {
            let name = format!("a{number}");
            let family = place(&mut builder, &name, &name, MetricType::Gauge, &mut Vec::new()).unwrap();
            let room = builder.room(family);
            assert_eq!(room, if number < METRICS { 10 } else { 0 });
            let source = Source { read: 0, field: Field::Number, labels: Vec::new(), rows: RowLabel::Sum };
            builder.add(family, source, room);
        }
        assert!(builder.may_read(2, 100) && builder.look());
        assert!(!builder.may_read(usize::MAX, usize::MAX) && !builder.may_read(1 << 30, 1));
        while builder.look() {}
        assert!(!builder.may_read(1, 1));
    }

    #[test]
    fn rows_make_series() {
        let rows = [RowLabel::Sum, RowLabel::Worker, RowLabel::Cpu, RowLabel::Thread];
        assert_eq!(rows.map(|row| row.series(3)), [1, 2, 3, 3]);
        assert_eq!(RowLabel::Worker.series(1), 1);
    }
}
