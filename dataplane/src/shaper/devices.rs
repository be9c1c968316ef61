//! LibreQoS's `ShapedDevices.csv`: a device a line, circuits of one or more devices.
//!
//! ```text
//! Circuit ID,Circuit Name,Device ID,Device Name,Parent Node,Parent Node ID,Anchor Node ID,MAC,IPv4,IPv6,Download Min Mbps,Upload Min Mbps,…
//! 10001,"968 Circle St., Gurnee",1,Device 1,AP_A,,,,"100.64.0.1, 100.64.0.2",fdd7:b724:0:100::/56,1,1,155,20,
//! ```
//! Columns are found by their names, in any order. Lines that begin with `#` are not meant. What LibreQoS takes with a warning, or passes over, is no mistake
//! here either: warnings say line by line what becomes of it.

use std::ops::Range;

use csv::{ReaderBuilder, StringRecord};
use strum::{EnumCount, IntoEnumIterator};

use super::{
    Both, Report,
    customers::{Customer, Customers, Queue},
    rates::{self, Asked, rate_problem, text},
    report::Warnings,
    tree::Tree,
};
use crate::config::nearest;

/// What weir reads, and what it knows and leaves alone.
#[derive(Clone, Copy, PartialEq, Eq, strum::EnumIter, strum::EnumCount, strum::IntoStaticStr)]
enum Column {
    #[strum(serialize = "Circuit ID")]
    Id,
    #[strum(serialize = "Circuit Name")]
    Title,
    #[strum(serialize = "Device ID")]
    Device,
    #[strum(serialize = "Device Name")]
    DeviceName,
    #[strum(serialize = "Parent Node")]
    Parent,
    #[strum(serialize = "Parent Node ID")]
    ParentId,
    #[strum(serialize = "Anchor Node ID")]
    Anchor,
    #[strum(serialize = "MAC")]
    Mac,
    #[strum(serialize = "IPv4")]
    Ip4,
    #[strum(serialize = "IPv6")]
    Ip6,
    #[strum(serialize = "Download Min Mbps")]
    DownMin,
    #[strum(serialize = "Upload Min Mbps")]
    UpMin,
    #[strum(serialize = "Download Max Mbps")]
    DownMax,
    #[strum(serialize = "Upload Max Mbps")]
    UpMax,
    #[strum(serialize = "Comment")]
    Comment,
    #[strum(serialize = "sqm")]
    Sqm,
}

/// Warnings of circuits whose devices do not say the same.
const DIFFERENT: &str = "devices that differ from the first of their circuit";

/// Without these there is nothing to shape.
const NEEDED: [Column; 3] = [Column::Id, Column::DownMax, Column::UpMax];

/// Reads the devices of the file of report `source` into circuits, which are customers.
pub(super) fn read(
    reports: &mut [Report<'_>],
    source: usize,
    tree: &Tree,
    customers: &mut Customers,
    warnings: &mut Warnings,
) {
    let text = reports[source].text();
    let mut lines = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    let mut reader: Option<Reader<'_, '_>> = None;
    let mut reports = Some(reports);
    loop {
        let begin = start(text, lines.position().byte());
        match lines.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            // Not with whole, valid text; but nothing may be passed over in silence.
            Err(error) => {
                let reports = reader.as_mut().map(|it| &mut *it.reports).or(reports.as_deref_mut());
                if let Some(reports) = reports {
                    reports[source].wrong(begin..begin, error.to_string(), "save the file as CSV");
                }
                break;
            }
        }
        let end = usize::try_from(lines.position().byte()).unwrap_or(text.len()).min(text.len());
        let span = begin.min(end)..end;
        if let Some(reader) = &mut reader {
            reader.device(&record, span);
        } else if let Some(reports) = reports.take() {
            let Some(columns) = header(&record, span, &mut reports[source], warnings) else { return };
            let width = record.len();
            reader = Some(Reader {
                reports,
                source,
                tree,
                customers,
                warnings,
                named: columns,
                width,
                columns,
                fields: width,
                orphans: 0,
            });
        }
    }
    if let Some(reader) = reader {
        reader.finish();
    } else if let Some(reports) = reports {
        const FIX: &str = "begin it with the names of the columns: `Circuit ID,Circuit Name,…`";
        reports[source].wrong(0..0, "there is nothing in this file", FIX);
    }
}

/// Where the record really begins that is read next: behind empty lines and comments.
fn start(text: &str, at: u64) -> usize {
    let mut at = usize::try_from(at).unwrap_or(text.len()).min(text.len());
    let bytes = text.as_bytes();
    loop {
        match bytes.get(at) {
            Some(b'\n' | b'\r') => at += 1,
            Some(b'#') => {
                at = bytes[at..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(text.len(), |line| at + line + 1);
            }
            _ => return at,
        }
    }
}

type Columns = [Option<usize>; Column::COUNT];

/// What a device hangs on.
enum Hangs {
    /// A node, or the link.
    On(Option<usize>),
    /// What the column names is not there: what is wrong, and what to write.
    Nowhere(Column, String, String),
}

/// Which column is where.
fn header(
    record: &StringRecord,
    span: Range<usize>,
    report: &mut Report<'_>,
    warnings: &mut Warnings,
) -> Option<Columns> {
    let plain = |name: &str| -> String {
        let name: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
        name.to_ascii_lowercase()
    };
    let mut columns: Columns = [None; Column::COUNT];
    let mut unknown = Vec::new();
    let mut complete = true;
    for (at, name) in record.iter().enumerate() {
        let said = plain(name);
        let column = Column::iter().find(|column| {
            let known = plain(column.into());
            // Older files leave the unit out.
            said == known
                || known.strip_suffix("mbps") == Some(said.as_str())
                || (said == "id" && *column == Column::Anchor)
        });
        match column {
            Some(column) if columns[column as usize].is_some() => {
                let span = cell(report.text(), &span, at);
                report.wrong(span, format!("there are two columns `{}`", name.trim()), "leave one out");
                complete = false;
            }
            Some(column) => columns[column as usize] = Some(at),
            None if said.is_empty() => {}
            None => unknown.push(name.trim()),
        }
    }
    let missing = |column: &Column| columns[*column as usize].is_none();
    for column in NEEDED.iter().filter(|column| missing(column)) {
        let name: &str = column.into();
        let fix = match nearest(name, &unknown) {
            Some(near) => format!("write `{name}` instead of `{near}`"),
            None if record.len() == 1 && record[0].contains([';', '\t']) => {
                "save the file with commas between the columns".to_owned()
            }
            None => "begin the file with the names of the columns: `Circuit ID,Circuit Name,…`".to_owned(),
        };
        report.wrong(span.clone(), format!("there is no column `{name}`"), fix);
        complete = false;
    }
    if missing(&Column::Ip4) && missing(&Column::Ip6) && complete {
        let fix = "add one of them: who has no address can't be told apart";
        report.wrong(span.clone(), "there is no column `IPv4` and none `IPv6`", fix);
        complete = false;
    }
    for name in unknown {
        let path = report.path().display();
        warnings.say("columns", || format!("{path}: the column `{name}` means nothing to weir"));
    }
    complete.then_some(columns)
}

/// Where a cell of a record stands, without its quotes.
fn cell(text: &str, record: &Range<usize>, wanted: usize) -> Range<usize> {
    let part = text.get(record.clone()).unwrap_or_default();
    let (mut at, mut begin, mut quoted) = (0, 0, false);
    for (offset, byte) in part.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' | b'\n' | b'\r' if !quoted => {
                if at == wanted {
                    return trimmed(part, begin..offset, record.start);
                }
                if byte != b',' {
                    return record.clone();
                }
                at += 1;
                begin = offset + 1;
            }
            _ => {}
        }
    }
    if at == wanted { trimmed(part, begin..part.len(), record.start) } else { record.clone() }
}

fn trimmed(part: &str, cell: Range<usize>, from: usize) -> Range<usize> {
    let text = &part[cell.clone()];
    let outside = |c: char| c == '"' || c.is_whitespace();
    let meant = text.trim_matches(outside);
    let begin = if meant.is_empty() { 0 } else { text.len() - text.trim_start_matches(outside).len() };
    let start = from + cell.start + begin;
    start..start + meant.len()
}

struct Reader<'r, 't> {
    reports: &'r mut [Report<'t>],
    source: usize,
    tree: &'r Tree,
    customers: &'r mut Customers,
    warnings: &'r mut Warnings,
    /// What the header says.
    named: Columns,
    /// Columns of the header.
    width: usize,
    /// The same for the line at hand, and how many columns that makes.
    columns: Columns,
    fields: usize,
    /// Devices whose parents were ignored.
    orphans: usize,
}

impl Reader<'_, '_> {
    fn device(&mut self, record: &StringRecord, span: Range<usize>) {
        if record.iter().all(|cell| cell.trim().is_empty()) {
            return;
        }
        self.lay_out(record);
        let sqm_unnamed = self.columns[Column::Sqm as usize].is_none()
            && self.columns[Column::Comment as usize] == Some(self.fields - 1);
        let most = self.fields + usize::from(sqm_unnamed);
        let least = NEEDED.iter().filter_map(|column| self.columns[*column as usize]).max().unwrap_or(0) + 1;
        if !(least..=most).contains(&record.len()) {
            let what = format!("this line has {} fields, and the header {}", record.len(), self.width);
            let fix = "put what has commas in it between double quotes, and give every column its comma";
            self.reports[self.source].wrong(first_line(self.reports[self.source].text(), &span), what, fix);
            return;
        }
        let value = |column: Column| {
            let at = self.columns[column as usize]
                .or((column == Column::Sqm && sqm_unnamed).then_some(self.fields));
            at.and_then(|at| record.get(at)).unwrap_or_default().trim()
        };
        let (id, sqm) = (value(Column::Id), value(Column::Sqm));
        let title = match value(Column::Title) {
            "" => value(Column::DeviceName),
            title => title,
        };
        let (name, node_id) = (value(Column::Parent), value(Column::ParentId));
        let (ip4, ip6) = (value(Column::Ip4), value(Column::Ip6));
        let rates =
            [Column::DownMin, Column::UpMin, Column::DownMax, Column::UpMax].map(|it| (it, value(it)));

        if id.is_empty() {
            let fix = "give every customer an id of their own; devices of one customer share it";
            self.wrong(&span, Column::Id, "this device has no Circuit ID", fix);
        }
        let hangs = self.node(name, node_id);
        let asked = self.asked(rates, &span);
        let known = self.customers.with_id(id);
        let owner = known.unwrap_or(self.customers.list.len());
        let mut prefixes = Vec::new();
        for text in [ip4, ip6] {
            self.customers.addresses(text, owner, self.source, &span, self.reports, &mut prefixes);
        }
        let queue = self.customers.queue(sqm, self.warnings).unwrap_or_else(|(what, fix)| {
            self.wrong(&span, Column::Sqm, what, fix);
            Queue::default()
        });
        let Some(known) = known else {
            let Queue { discipline, overhead } = queue;
            let (node, left_out) = match hangs {
                Hangs::On(node) => (node, false),
                Hangs::Nowhere(column, what, fix) => {
                    self.leave_out(id, column, &what, &fix, &span);
                    (None, true)
                }
            };
            let (id, title, source, at) = (id.to_owned(), title.to_owned(), self.source, span.start);
            let asked = asked.unwrap_or_default();
            self.customers.add(Customer {
                id,
                title,
                prefixes,
                node,
                asked,
                discipline,
                overhead,
                source,
                at,
                left_out,
            });
            return;
        };
        if !id.is_empty() {
            self.another_device(known, hangs, asked, queue, &span);
        }
        let known = &mut self.customers.list[known];
        known.prefixes.append(&mut prefixes);
    }

    /// Which columns a line has: those of the header, or all but the two of nodes' ids, which LibreQoS's own example leaves out below a header
    /// that names them.
    fn lay_out(&mut self, record: &StringRecord) {
        (self.columns, self.fields) = (self.named, self.width);
        let ids = [Column::ParentId, Column::Anchor].map(|column| self.named[column as usize]);
        let [Some(parent), Some(anchor)] = ids else { return };
        let is_rate = |column: Column| {
            let cell = self.named[column as usize].and_then(|at| record.get(at));
            cell.is_some_and(|cell| rates::megabits(cell).is_some())
        };
        if record.len() + 2 != self.width || (is_rate(Column::DownMax) && is_rate(Column::UpMax)) {
            return;
        }
        for at in self.columns.iter_mut() {
            *at = at.filter(|at| *at != parent && *at != anchor);
            *at = at.map(|at| at - usize::from(at > parent) - usize::from(at > anchor));
        }
        self.fields = self.width - 2;
    }

    /// A further device of a customer. It must have the same parent; of all else what the first one has counts.
    fn another_device(
        &mut self,
        number: usize,
        hangs: Hangs,
        asked: Option<Asked>,
        queue: Queue,
        span: &Range<usize>,
    ) {
        let known = &self.customers.list[number];
        let first = super::tree::place(known.source, known.at, self.source, self.reports);
        let (id, before) = (known.id.escape_debug().to_string(), known.asked);
        let first = first.trim_end_matches(" already").to_owned();
        let (node, left_out) = (known.node, known.left_out);
        match hangs {
            Hangs::Nowhere(column, what, fix) if left_out => self.leave_out(&id, column, &what, &fix, span),
            Hangs::On(other) if !left_out && node == other => {}
            // LibreQoS asks only where the first device has a parent.
            _ if !left_out && node.is_none() => {
                let what = format!("circuit `{id}` hangs on the link itself, as in {first}");
                self.warn(span, self.parent_column(), DIFFERENT, || what);
            }
            _ => {
                let fix = format!("write the same as in {first}, or another Circuit ID");
                let what = format!("circuit `{id}` has another parent before");
                self.wrong(span, self.parent_column(), what, fix);
            }
        }
        if let Some(asked) = asked {
            let pairs = [
                (Column::DownMin, before.min.down, asked.min.down),
                (Column::UpMin, before.min.up, asked.min.up),
                (Column::DownMax, before.max.down, asked.max.down),
                (Column::UpMax, before.max.up, asked.max.up),
            ];
            // A circuit whose first device was wrong has no rates; that was reported.
            for (column, before, now) in pairs.into_iter().filter(|_| before != Asked::default()) {
                if before != now {
                    self.warn(span, column, DIFFERENT, || {
                        format!("circuit `{id}` has {}, as in {first}, and not {}", text(before), text(now))
                    });
                }
            }
        }
        let known = &mut self.customers.list[number];
        let mut differs = false;
        for (before, now) in [
            (&mut known.discipline.down, queue.discipline.down),
            (&mut known.discipline.up, queue.discipline.up),
            (&mut known.overhead, queue.overhead),
        ] {
            differs |= before.is_some() && now.is_some() && *before != now;
            *before = before.or(now);
        }
        if differs {
            self.warn(span, Column::Sqm, DIFFERENT, || {
                format!("circuit `{id}` has the queue that {first} says")
            });
        }
    }

    /// The node that a device hangs on.
    fn node(&mut self, name: &str, id: &str) -> Hangs {
        let nameless = name.is_empty() || name.eq_ignore_ascii_case("none");
        if nameless && id.is_empty() {
            return Hangs::On(None);
        }
        if self.tree.is_flat() {
            self.orphans += 1;
            return Hangs::On(None);
        }
        if !id.is_empty()
            && let Some(node) = self.tree.with_id(id)
        {
            return Hangs::On(node);
        }
        if nameless {
            let what = format!("there is no node with the id `{}`", id.escape_debug());
            return Hangs::Nowhere(Column::ParentId, what, "name the node, or give it this id".to_owned());
        }
        match self.tree.named(name) {
            Some(node) => Hangs::On(node),
            None => {
                let what = format!("there is no node `{}`", name.escape_debug());
                Hangs::Nowhere(Column::Parent, what, self.tree.suggestion(name))
            }
        }
    }

    /// Says that a circuit is not shaped: LibreQoS has no place for it in its tree, and goes on.
    fn leave_out(&mut self, id: &str, column: Column, what: &str, fix: &str, span: &Range<usize>) {
        self.warn(span, column, "circuits that are left out", || {
            format!("{what}: circuit `{}` is left out, and so not shaped: {fix}", id.escape_debug())
        });
    }

    fn parent_column(&self) -> Column {
        let is_there = self.columns[Column::Parent as usize].is_some();
        if is_there { Column::Parent } else { Column::ParentId }
    }

    fn asked(&mut self, cells: [(Column, &str); 4], span: &Range<usize>) -> Option<Asked> {
        const FIX: &str = "write a number of Mbit/s, such as 100 or 2.5";
        let [down_min, up_min, down_max, up_max] = cells.map(|(column, text)| {
            let is_min = matches!(column, Column::DownMin | Column::UpMin);
            let name: &str = column.into();
            let rate = match text {
                // Nothing is guaranteed.
                "" if is_min => return Some(0),
                _ => rates::megabits(text),
            };
            let what = match rate {
                None if text.is_empty() => format!("there is no {name}"),
                None => format!("`{}` is not a rate", text.escape_debug()),
                Some(rate) => match rate_problem(rate).filter(|_| !is_min) {
                    None => return Some(rate),
                    Some(what) => what,
                },
            };
            self.wrong(span, column, what, FIX);
            None
        });
        let asked = Asked {
            min: Both { down: down_min?, up: up_min? },
            max: Both { down: down_max?, up: up_max? },
            weight: None,
        };
        let mut sound = true;
        for (column, min, max) in
            [(Column::DownMin, asked.min.down, asked.max.down), (Column::UpMin, asked.min.up, asked.max.up)]
        {
            if min > max {
                let what = format!("{} are guaranteed, more than the most, {}", text(min), text(max));
                self.wrong(span, column, what, "write at most that");
                sound = false;
            }
        }
        sound.then_some(asked)
    }

    fn wrong(
        &mut self,
        span: &Range<usize>,
        column: Column,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let place = self.cell(span, column);
        self.reports[self.source].wrong(place, what, fix);
    }

    /// Says with its place what is no mistake but will surprise.
    fn warn(
        &mut self,
        span: &Range<usize>,
        column: Column,
        kind: &'static str,
        what: impl FnOnce() -> String,
    ) {
        let place = self.cell(span, column);
        let report = &self.reports[self.source];
        self.warnings.say(kind, || format!("{}: {}", report.place(place), what()));
    }

    /// Where a cell of the line at hand stands.
    fn cell(&self, span: &Range<usize>, column: Column) -> Range<usize> {
        let at = self.columns[column as usize].unwrap_or(self.fields);
        cell(self.reports[self.source].text(), span, at)
    }

    fn finish(self) {
        if self.orphans > 0 {
            let (path, orphans) = (self.reports[self.source].path().display(), self.orphans);
            self.warnings.say("parents", || {
                format!(
                    "{path}: {orphans} devices name a parent, but there are no nodes: they hang on the link itself"
                )
            });
        }
    }
}

fn first_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let part = text.get(span.clone()).unwrap_or_default();
    span.start..span.start + part.find(['\n', '\r']).unwrap_or(part.len())
}
