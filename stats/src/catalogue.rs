//! What paths mean: units, what columns and rows are, help.
//!
//! Whoever registers an entry also declares a [`Description`] of it. [`Segment::describe`](crate::Segment::describe) publishes
//! the declarations as name vectors under `/meta/`, element *n* of each being about the same path; [`Catalogue::of`] reads
//! them back. So a reader labels, scales and explains what a newer weir counts. VPP publishes no such thing: for its
//! segments there are descriptions of its well-known paths here.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::error::ReadError;
use crate::layout::Kind;
use crate::reader::Reader;
use crate::value::Value;

/// What a path, or each path that fits a template, holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The path. `{name}` stands for one whole component: `/xdp/{verdict}` is `/xdp/redirected` and all its siblings.
    pub path: Cow<'static, str>,
    /// What such an entry is.
    pub kind: Kind,
    /// How its numbers move.
    pub semantics: Semantics,
    /// What its numbers count: `packets`, `calls`, `nanoseconds`, …; empty for text. Combined counters always count
    /// packets and bytes.
    pub unit: Cow<'static, str>,
    /// What its columns are. One of
    /// * `interface=/if/names`: objects of a kind, and the name vector with their names;
    /// * `customer=/c/names,le=/c/bins`: several of these, the last one varying fastest. An axis `le` makes each object a
    ///   histogram: its names are inclusive upper bounds in the entry's unit, then `+Inf`, then perhaps `sum`, the sum of
    ///   what was counted;
    /// * `/err/{node}/{reason}`: each column has a name in form of a symlink that points to it;
    /// * `worker`: objects that are called by the column's number;
    /// * nothing: there is one column, or none that has a name.
    pub columns: Cow<'static, str>,
    /// What its rows are.
    pub rows: Rows,
    /// One sentence, without a full stop.
    pub help: Cow<'static, str>,
}

/// How numbers move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// They only grow.
    Counter,
    /// They go up and down, or say something fixed.
    Gauge,
    /// There are no numbers.
    Text,
}

/// Who counts in which row of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Worker *w* in row *w* + 1.
    Workers,
    /// The control thread, in row 0.
    Control,
    /// A CPU in the row of its number.
    Cpus,
    /// Any thread: the main one in row 0, worker *w* in row *w* + 1. VPP's vectors are so.
    Threads,
    /// There is one row, or none.
    Single,
}

/// The words in `/meta/semantics`.
const SEMANTICS: [(Semantics, &str); 3] =
    [(Semantics::Counter, "counter"), (Semantics::Gauge, "gauge"), (Semantics::Text, "text")];

/// The words in `/meta/rows`.
const ROWS: [(Rows, &str); 5] = [
    (Rows::Workers, "workers"),
    (Rows::Control, "control"),
    (Rows::Cpus, "cpus"),
    (Rows::Threads, "threads"),
    (Rows::Single, "single"),
];

impl Semantics {
    /// The word for it in the segment.
    pub fn word(self) -> &'static str {
        SEMANTICS.iter().find(|(semantics, _)| *semantics == self).map_or("", |(_, word)| word)
    }
}

impl Rows {
    /// The word for it in the segment.
    pub fn word(self) -> &'static str {
        ROWS.iter().find(|(rows, _)| *rows == self).map_or("", |(_, word)| word)
    }
}

impl Description {
    const fn new(path: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Description {
        Description {
            path: Cow::Borrowed(path),
            kind,
            semantics: Semantics::Counter,
            unit: Cow::Borrowed(unit),
            columns: Cow::Borrowed(""),
            rows: Rows::Single,
            help: Cow::Borrowed(help),
        }
    }

    /// A number that only grows.
    pub const fn scalar(path: &'static str, unit: &'static str, help: &'static str) -> Description {
        Description::new(path, Kind::Scalar, unit, help)
    }

    /// A number that goes up and down.
    pub const fn gauge(path: &'static str, unit: &'static str, help: &'static str) -> Description {
        Description::new(path, Kind::Gauge, unit, help).as_gauge()
    }

    /// Counters by worker and column.
    pub const fn simple(
        path: &'static str,
        unit: &'static str,
        columns: &'static str,
        help: &'static str,
    ) -> Description {
        Description::new(path, Kind::Simple, unit, help).rows(Rows::Workers, columns)
    }

    /// Packets and bytes by worker and column.
    pub const fn combined(path: &'static str, columns: &'static str, help: &'static str) -> Description {
        Description::new(path, Kind::Combined, "packets", help).rows(Rows::Workers, columns)
    }

    /// A histogram by worker.
    pub const fn histogram(path: &'static str, unit: &'static str, help: &'static str) -> Description {
        Description::new(path, Kind::Histogram, unit, help).rows(Rows::Workers, "")
    }

    /// Names.
    pub const fn names(path: &'static str, help: &'static str) -> Description {
        let mut names = Description::new(path, Kind::Names, "", help);
        names.semantics = Semantics::Text;
        names
    }

    /// Records.
    pub const fn ring(path: &'static str, help: &'static str) -> Description {
        let mut ring = Description::new(path, Kind::Ring, "", help);
        ring.semantics = Semantics::Text;
        ring.rows = Rows::Workers;
        ring
    }

    /// Another name of a vector's column.
    pub const fn link(path: &'static str, unit: &'static str, help: &'static str) -> Description {
        Description::new(path, Kind::Symlink, unit, help)
    }

    /// The same for numbers that go up and down.
    pub const fn as_gauge(mut self) -> Description {
        self.semantics = Semantics::Gauge;
        self
    }

    /// The same where others than workers count.
    pub const fn counted_by(mut self, rows: Rows) -> Description {
        self.rows = rows;
        self
    }

    const fn rows(self, rows: Rows, columns: &'static str) -> Description {
        let mut vector = self.counted_by(rows);
        // Nothing is dropped in a const function, so the empty string is not replaced but forgotten.
        std::mem::forget(std::mem::replace(&mut vector.columns, Cow::Borrowed(columns)));
        vector
    }

    /// The labels that [columns](Description::columns) have, in their order.
    pub fn column_labels(&self) -> Vec<&str> {
        if self.columns.starts_with('/') {
            return self.columns.split('/').filter_map(placeholder).collect();
        }
        let axes = self.columns.split(',').filter(|axis| !axis.is_empty());
        axes.map(|axis| axis.split_once('=').map_or(axis, |(label, _)| label)).collect()
    }

    /// What the template's placeholders stand for in a path; `None` if the path does not fit.
    pub fn labels<'a>(&'a self, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        fit(&self.path, path)
    }
}

/// What a template's placeholders stand for in a path; `None` if the path does not fit.
pub(crate) fn fit<'a>(template: &'a str, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let (mut wanted, mut found) = (template.split('/'), path.split('/'));
    let mut labels = Vec::new();
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(labels),
            (Some(component), Some(text)) => match placeholder(component) {
                Some(label) => labels.push((label, text)),
                None if component == text => {}
                None => return None,
            },
            _ => return None,
        }
    }
}

fn placeholder(component: &str) -> Option<&str> {
    component.strip_prefix('{')?.strip_suffix('}')
}

/// A path that has a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described<'a> {
    /// The description.
    pub description: &'a Description,
    /// What the placeholders of its path stand for, in their order.
    pub labels: Vec<(&'a str, &'a str)>,
}

/// The descriptions of one segment.
#[derive(Clone, Debug)]
pub struct Catalogue {
    descriptions: Vec<Description>,
    /// Positions of descriptions of one path.
    exact: HashMap<String, usize>,
    /// Positions of templates.
    templates: Vec<usize>,
}

/// The folder of the descriptions in the segment.
const META: &str = "/meta/";

/// A field of a description, as it is published at `/meta/<name>`.
type Field = (&'static str, fn(&Description) -> String);

/// What is published of each description.
const FIELDS: [Field; 7] = [
    ("path", |it| it.path.clone().into_owned()),
    ("kind", |it| it.kind.word().to_owned()),
    ("semantics", |it| it.semantics.word().to_owned()),
    ("unit", |it| it.unit.clone().into_owned()),
    ("columns", |it| it.columns.clone().into_owned()),
    ("rows", |it| it.rows.word().to_owned()),
    ("help", |it| it.help.clone().into_owned()),
];

/// The name vectors that hold descriptions: path, and its elements.
pub(crate) fn published(descriptions: &[Description]) -> impl Iterator<Item = (String, Vec<String>)> {
    FIELDS.iter().map(|(field, text)| (format!("{META}{field}"), descriptions.iter().map(text).collect()))
}

impl Catalogue {
    /// A segment's own descriptions; those of VPP's paths if it has none. What is not understood in one description does
    /// not hide the others.
    pub fn of(reader: &Reader) -> Result<Catalogue, ReadError> {
        let snapshot = reader.snapshot(|entry| entry.kind == Kind::Names && entry.name.starts_with(META))?;
        let mut columns: HashMap<&str, &[String]> = HashMap::new();
        for (entry, value) in &snapshot.values {
            if let (Some(field), Value::Names(names)) = (entry.name.strip_prefix(META), value) {
                columns.insert(field, names);
            }
        }
        let Some(&paths) = columns.get("path") else { return Ok(Catalogue::vpp()) };
        let text = |field: &str, at: usize| {
            columns.get(field).and_then(|all| all.get(at)).cloned().unwrap_or_default()
        };
        let descriptions = (0..paths.len()).filter_map(|at| {
            let (semantics, rows) = (text("semantics", at), text("rows", at));
            Some(Description {
                path: text("path", at).into(),
                kind: Kind::from_word(&text("kind", at))?,
                semantics: SEMANTICS.iter().find(|(_, word)| *word == semantics)?.0,
                unit: text("unit", at).into(),
                columns: text("columns", at).into(),
                rows: ROWS.iter().find(|(_, word)| *word == rows)?.0,
                help: text("help", at).into(),
            })
        });
        Ok(Catalogue::new(descriptions.collect()))
    }

    /// What is known of VPP's paths.
    pub fn vpp() -> Catalogue {
        Catalogue::new(VPP.to_vec())
    }

    /// A catalogue of these.
    pub fn new(descriptions: Vec<Description>) -> Catalogue {
        let (mut exact, mut templates) = (HashMap::new(), Vec::new());
        for (at, description) in descriptions.iter().enumerate() {
            if description.path.split('/').any(|component| placeholder(component).is_some()) {
                templates.push(at);
            } else {
                exact.insert(description.path.clone().into_owned(), at);
            }
        }
        Catalogue { descriptions, exact, templates }
    }

    /// All descriptions.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }

    /// What is known of a path.
    pub fn describe<'a>(&'a self, path: &'a str) -> Option<Described<'a>> {
        if let Some(&at) = self.exact.get(path) {
            return Some(Described { description: &self.descriptions[at], labels: Vec::new() });
        }
        self.templates.iter().find_map(|&at| {
            let description = &self.descriptions[at];
            Some(Described { description, labels: description.labels(path)? })
        })
    }
}

/// What each segment has of itself.
pub(crate) const OWN: &[Description] = &[
    Description::scalar("/sys/heartbeat", "beats", "grows at least once a second while the writer lives"),
    Description::scalar("/sys/heartbeat_ns", "nanoseconds", "monotonic clock at the last beat").as_gauge(),
    Description::scalar("/sys/last_stats_clear", "seconds", "always 0: nothing is ever cleared").as_gauge(),
    Description::scalar("/sys/boottime", "seconds", "start of the writer, UNIX time").as_gauge(),
    Description::scalar("/sys/pid", "", "process number of the writer").as_gauge(),
    Description::scalar(
        "/sys/pid_start_ticks",
        "",
        "when that process began, as /proc/PID/stat tells it: tells a living writer from a dead one",
    )
    .as_gauge(),
    Description::scalar("/sys/num_worker_threads", "threads", "workers").as_gauge(),
    Description::simple(
        "/mem/stat segment",
        "bytes",
        "statistic=/mem/columns",
        "room in the segment; in VPP's shape, where columns 3 and 6 are 0 and column 5 is the number of free blocks",
    )
    .as_gauge()
    .counted_by(Rows::Single),
    Description::names("/mem/columns", "columns of /mem/stat segment"),
    Description::names("/meta/{field}", "what paths mean: element n of each of these vectors is about one path"),
];

/// VPP's well-known paths (VPP's src/vlib/stats, src/vnet/interface; see docs/stats.md for what weir has).
const VPP: &[Description] = &[
    Description::scalar("/sys/heartbeat", "beats", "turns of the stats collector"),
    Description::scalar("/sys/boottime", "seconds", "start of VPP, UNIX time").as_gauge(),
    Description::scalar("/sys/last_update", "seconds", "last update of rates, since VPP's start").as_gauge(),
    Description::scalar("/sys/last_stats_clear", "seconds", "last clear, since VPP's start").as_gauge(),
    Description::gauge("/sys/input_rate", "", "packets received a second"),
    Description::gauge("/sys/vector_rate", "", "packets a node call"),
    Description::gauge("/sys/num_worker_threads", "threads", "workers"),
    Description::simple("/sys/vector_rate_per_worker", "", "thread", "packets a node call, by thread")
        .as_gauge()
        .counted_by(Rows::Single),
    Description::simple("/sys/loops_per_worker", "", "thread", "turns of the main loop a second, by thread")
        .as_gauge()
        .counted_by(Rows::Single),
    Description::names("/if/names", "interfaces"),
    Description::names("/sys/node/names", "nodes"),
    vpp_interface("/if/drops", "dropped"),
    vpp_interface("/if/punt", "punted to the host"),
    vpp_interface("/if/ip4", "IPv4 received"),
    vpp_interface("/if/ip6", "IPv6 received"),
    vpp_interface("/if/mpls", "MPLS received"),
    vpp_interface("/if/rx-no-buf", "lost: no buffer to receive into"),
    vpp_interface("/if/rx-miss", "lost: the receive ring was full"),
    vpp_interface("/if/rx-error", "receive errors"),
    vpp_interface("/if/tx-error", "transmit errors"),
    Description::combined("/if/{counter}", "interface=/if/names", "interface counters")
        .counted_by(Rows::Threads),
    Description::simple("/sys/node/{counter}", "", "node=/sys/node/names", "node counters")
        .counted_by(Rows::Threads),
    Description::simple("/node/errors", "", "/err/{node}/{reason}", "error counters of nodes")
        .counted_by(Rows::Threads),
    Description::simple("/mem/{heap}", "", "/mem/{heap}/{statistic}", "heap statistics")
        .as_gauge()
        .counted_by(Rows::Single),
    Description::gauge("/buffer-pools/{pool}/cached", "buffers", "in threads' caches"),
    Description::gauge("/buffer-pools/{pool}/used", "buffers", "in use"),
    Description::gauge("/buffer-pools/{pool}/available", "buffers", "free"),
    Description::combined("/net/route/{counter}", "", "route counters, by load-balance index")
        .counted_by(Rows::Threads),
];

const fn vpp_interface(path: &'static str, help: &'static str) -> Description {
    Description::simple(path, "packets", "interface=/if/names", help).counted_by(Rows::Threads)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Options, Segment};

    #[test]
    fn what_is_declared_is_what_is_read() {
        let declared = [
            Description::combined("/if/rx", "interface=/if/names", "received"),
            Description::simple("/xdp/{verdict}", "packets", "interface=/if/names", "decided")
                .counted_by(Rows::Cpus),
            Description::simple("/sys/node/held", "packets", "node=/sys/node/names", "held now").as_gauge(),
            Description::histogram("/latency", "nanoseconds", "waited"),
            Description::ring("/events", "last events"),
            Description::link("/interfaces/{interface}/rx", "packets", "received"),
        ];
        let options = Options { size: 1 << 20, workers: 1, grace: Duration::ZERO };
        let mut segment = Segment::in_heap(options).unwrap();
        segment.describe(&declared).unwrap();
        let catalogue = Catalogue::of(&Reader::of(&segment).unwrap()).unwrap();
        assert_eq!(catalogue.descriptions(), [OWN, &declared].concat());
        let described = catalogue.describe("/xdp/no-socket").unwrap();
        assert_eq!((described.description, described.labels), (&declared[1], vec![("verdict", "no-socket")]));
        assert_eq!(catalogue.describe("/sys/pid").unwrap().description.semantics, Semantics::Gauge);
        for path in ["/if", "/if/rx/more", "/xdp", "/xdp/a/b", "", "/sys/Pid"] {
            assert_eq!(catalogue.describe(path), None, "{path}");
        }
        segment.describe(&declared).unwrap_err();
    }

    #[test]
    fn columns_have_labels() {
        for (columns, labels) in [
            ("", &[][..]),
            ("worker", &["worker"]),
            ("interface=/if/names", &["interface"]),
            ("customer=/c/names,le=/c/bins", &["customer", "le"]),
            ("/err/{node}/{reason}", &["node", "reason"]),
        ] {
            assert_eq!(Description::simple("/a", "", columns, "").column_labels(), labels);
        }
    }

    #[test]
    fn the_segments_own_entries_are_described() {
        let mut segment =
            Segment::in_heap(Options { size: 1 << 20, workers: 1, grace: Duration::ZERO }).unwrap();
        segment.describe(&[]).unwrap();
        let reader = Reader::of(&segment).unwrap();
        let catalogue = Catalogue::of(&reader).unwrap();
        for entry in reader.list().unwrap() {
            let described = catalogue.describe(&entry.name);
            assert_eq!(described.map(|it| it.description.kind), Some(entry.kind), "{}", entry.name);
        }
    }

    #[test]
    fn a_segment_without_descriptions_is_read_as_vpps() {
        let segment = Segment::in_heap(Options { size: 1 << 20, workers: 1, grace: Duration::ZERO }).unwrap();
        let catalogue = Catalogue::of(&Reader::of(&segment).unwrap()).unwrap();
        let of = |path| catalogue.describe(path).unwrap().description;
        assert_eq!(of("/if/rx-miss").kind, Kind::Simple);
        assert_eq!(of("/if/tx-unicast").kind, Kind::Combined);
        assert_eq!(of("/node/errors").columns, "/err/{node}/{reason}");
    }

    #[test]
    fn what_is_not_understood_hides_nothing_else() {
        let mut segment =
            Segment::in_heap(Options { size: 1 << 20, workers: 1, grace: Duration::ZERO }).unwrap();
        let fields =
            [("path", ["/a", "/b", "/c"]), ("kind", ["simple", "odd", "gauge"]), ("rows", ["single"; 3])];
        segment
            .register(|batch| {
                for (field, texts) in fields {
                    let mut names = batch.names(&format!("/meta/{field}"), 4)?;
                    for (at, text) in texts.iter().enumerate() {
                        batch.set_name(&mut names, at, text)?;
                    }
                }
                let mut semantics = batch.names("/meta/semantics", 4)?;
                batch.set_name(&mut semantics, 0, "counter")?;
                batch.set_name(&mut semantics, 1, "counter")
            })
            .unwrap();
        let catalogue = Catalogue::of(&Reader::of(&segment).unwrap()).unwrap();
        let paths: Vec<_> = catalogue.descriptions().iter().map(|it| &*it.path).collect();
        assert_eq!(paths, ["/a"]);
    }
}
