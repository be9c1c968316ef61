//! The names of VPP's exporter, `vpp_prometheus_export`, for dashboards that were made for it: those of its second version,
//! and of its first where the second has none.
//!
//! Its mistakes are not repeated: what may not stand in a name is an underscore, label values are escaped, histograms are
//! histograms. Counters have no type, because a counter's name would have to end in `_total`.

use std::collections::HashMap;

use prometheus_client::metrics::MetricType;
use weir_stats::{Catalogue, Entry, Extent, Kind, ReadError, Reader};

use super::names::{Name, word};
use super::plan::{Builder, Field, Label, Object, Proposal, Read, RowLabel, Shape, Source};

/// What the exporter says by itself, and VPP does not have.
const SAID_OTHERWISE: &str = "/sys/heartbeat_ns";

/// Plans the export of these entries of the reader's listing.
pub fn plan(
    builder: &mut Builder,
    wanted: impl Fn(&str) -> bool,
    listing: &[Entry],
    catalogue: &Catalogue,
    reader: &Reader,
) -> Result<(), ReadError> {
    let mut vectors =
        Vectors { by_index: listing.iter().map(|entry| (entry.index, entry)).collect(), reader };
    for entry in listing.iter().filter(|entry| entry.name != SAID_OTHERWISE && wanted(&entry.name)) {
        let Some(held) = vectors.held(entry)? else { continue };
        let described = catalogue.describe(&entry.name);
        let help =
            described.map_or_else(|| entry.name.clone(), |it| it.description.help.clone().into_owned());
        let mut reading = None;
        for (metric, field) in metrics(&entry.name, &held) {
            metric.add(builder, &help, entry, &held, field, &mut reading);
        }
    }
    Ok(())
}

/// Where an entry's numbers are: for a symlink in another entry.
struct Held<'a> {
    entry: &'a Entry,
    extent: Extent,
    /// The one column that a symlink is about.
    column: Option<usize>,
}

struct Vectors<'a> {
    by_index: HashMap<u32, &'a Entry>,
    reader: &'a Reader,
}

impl<'a> Vectors<'a> {
    fn held(&mut self, entry: &'a Entry) -> Result<Option<Held<'a>>, ReadError> {
        let held = match (entry.kind, entry.link) {
            (Kind::Symlink, Some(link)) => {
                let target = self.by_index.get(&link.target).copied();
                let Some(target) =
                    target.filter(|target| matches!(target.kind, Kind::Simple | Kind::Combined))
                else {
                    return Ok(None);
                };
                let extent = self.reader.extent(target)?;
                let column = link.column as usize;
                return Ok((column < extent.columns).then_some(Held {
                    entry: target,
                    extent,
                    column: Some(column),
                }));
            }
            (Kind::Scalar | Kind::Gauge | Kind::Simple | Kind::Combined | Kind::Histogram, _) => {
                Held { entry, extent: self.reader.extent(entry)?, column: None }
            }
            _ => return Ok(None),
        };
        Ok(Some(held))
    }
}

/// A metric as VPP calls it.
struct Metric {
    name: String,
    /// What is the same for all series of the metric, with `*` for what is not.
    identity: String,
    labels: Vec<(&'static str, String)>,
    /// The label with the column's number.
    column: Option<&'static str>,
    kind: MetricType,
}

/// The metrics that an entry makes.
fn metrics(path: &str, held: &Held<'_>) -> Vec<(Metric, Field)> {
    let kind = held.entry.kind;
    let metric = second(path, kind).unwrap_or_else(|| first(path, kind));
    if kind != Kind::Combined {
        let field = if kind == Kind::Histogram { Field::Bins } else { Field::Number };
        let mut metrics = vec![(metric, field)];
        if path == "/sys/boottime" {
            let mut uptime = first("sys/uptime", Kind::Gauge);
            uptime.kind = MetricType::Gauge;
            metrics.push((uptime, Field::Uptime));
        }
        return metrics;
    }
    [("_packets", Field::Packets), ("_bytes", Field::Bytes)]
        .map(|(suffix, field)| {
            let name = metric.name.clone() + suffix;
            let (identity, labels) = (metric.identity.clone(), metric.labels.clone());
            (Metric { name, identity, labels, column: metric.column, kind: metric.kind }, field)
        })
        .into()
}

/// The second version's name, if it has one for such a path.
fn second(path: &str, kind: Kind) -> Option<Metric> {
    let is_vector = matches!(kind, Kind::Simple | Kind::Combined);
    let is_simple = kind == Kind::Simple;
    let (folder, rest) = path.strip_prefix('/')?.split_once('/')?;
    let named = |label: &'static str, object: &str, counter: &str| Metric {
        name: format!("{}_{}", word(folder), word(counter)),
        identity: format!("/{folder}/*/{counter}"),
        labels: vec![(label, object.to_owned())],
        column: is_vector.then_some("index"),
        kind: type_of(kind),
    };
    match folder {
        // An interface's name may hold a slash.
        "interfaces" if is_vector => {
            let (interface, counter) = rest.rsplit_once('/')?;
            Some(named("interface", interface, counter))
        }
        "nodes" if is_simple => {
            let (node, counter) = rest.split_once('/').filter(|(_, counter)| !counter.contains('/'))?;
            Some(named("node", node, counter))
        }
        "err" if is_simple => {
            let (node, error) = rest.split_once('/')?;
            let labels = vec![("node", node.to_owned()), ("error", error.to_owned())];
            Some(Metric {
                name: folder.to_owned(),
                identity: "/err/*/*".to_owned(),
                labels,
                ..named("", "", "")
            })
        }
        "mem" if is_simple => match rest.split_once('/') {
            Some((heap, statistic)) if !statistic.contains('/') => Some(named("heap", heap, statistic)),
            Some(_) => None,
            None => {
                let whole = named("heap", rest, "");
                Some(Metric { name: folder.to_owned(), identity: "/mem/*".to_owned(), ..whole })
            }
        },
        "buffer-pools" if matches!(kind, Kind::Scalar | Kind::Gauge) => {
            let (pool, counter) = rest.split_once('/').filter(|(_, counter)| !counter.contains('/'))?;
            Some(named("pool", pool, counter))
        }
        "sys" if !rest.contains('/') && (is_simple || matches!(kind, Kind::Scalar | Kind::Gauge)) => {
            let identity = path.to_owned();
            Some(Metric { identity, labels: Vec::new(), ..named("", "", rest) })
        }
        _ => None,
    }
}

/// The first version's name, which every path has.
fn first(path: &str, kind: Kind) -> Metric {
    let is_vector = matches!(kind, Kind::Simple | Kind::Combined);
    let mut name = word(path);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    Metric {
        name,
        identity: path.to_owned(),
        labels: Vec::new(),
        column: is_vector.then_some("interface"),
        kind: type_of(kind),
    }
}

fn type_of(kind: Kind) -> MetricType {
    match kind {
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        _ => MetricType::Unknown,
    }
}

impl Metric {
    /// `reading` is what another metric of the same entry reads, and how many series it makes of that.
    fn add(
        self,
        builder: &mut Builder,
        help: &str,
        entry: &Entry,
        held: &Held<'_>,
        field: Field,
        reading: &mut Option<(usize, usize)>,
    ) {
        let mut labels: Vec<Label> =
            self.labels.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let proposal =
            Proposal { identity: &self.identity, name: Name::whole(&self.name), help, kind: self.kind };
        let Some(family) = builder.family(&entry.name, proposal, &mut labels) else { return };
        let Extent { rows, columns } = held.extent;
        let room = builder.room(family);
        let (shape, label, kept, all) = match held.entry.kind {
            Kind::Simple | Kind::Combined => {
                let (first, count) = held.column.map_or((0, columns), |column| (column, 1));
                let mut kept = (room / rows.max(1)).min(count);
                if reading.is_none() && !builder.may_read(rows, kept) {
                    kept = 0;
                }
                let objects = (0..kept).map(|index| {
                    let label = |name: &&'static str| ((*name).into(), index.to_string());
                    Object { number: first + index, labels: self.column.iter().map(label).collect() }
                });
                let shape = Shape::Cells { rows, is_merged: false, objects: objects.collect(), width: 1 };
                (shape, RowLabel::Thread, kept * rows, count.saturating_mul(rows))
            }
            Kind::Histogram => {
                let series = (columns + 1).saturating_mul(rows);
                let has_room = series <= room && builder.may_read(rows, columns);
                (Shape::Bins, RowLabel::Thread, if has_room { series } else { 0 }, series)
            }
            _ => (Shape::Number, RowLabel::Sum, room.min(1), 1),
        };
        builder.omit(family, all - kept);
        if kept > 0 {
            let read = match *reading {
                Some((read, of_other)) if of_other == kept => read,
                _ => builder.read(Read { entry: held.entry.clone(), shape }),
            };
            *reading = Some((read, kept));
            builder.add(family, Source { read, field, labels, rows: label }, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, kind: Kind) -> String {
        let metric = second(path, kind).unwrap_or_else(|| first(path, kind));
        let labels = metric.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let labels: Vec<String> = labels.chain(metric.column.map(str::to_owned)).collect();
        format!("{}{{{}}}", metric.name, labels.join(","))
    }

    #[test]
    fn names_are_those_of_the_second_version() {
        for (path, kind, name) in [
            ("/interfaces/eth0/rx-no-buf", Kind::Simple, "interfaces_rx_no_buf{interface=eth0,index}"),
            ("/interfaces/Gig0/8/0/rx", Kind::Combined, "interfaces_rx{interface=Gig0/8/0,index}"),
            ("/nodes/ip4-input/clocks", Kind::Simple, "nodes_clocks{node=ip4-input,index}"),
            ("/err/tx/a/b c", Kind::Simple, "err{node=tx,error=a/b c,index}"),
            ("/sys/vector_rate_per_worker", Kind::Simple, "sys_vector_rate_per_worker{index}"),
            ("/sys/heartbeat", Kind::Scalar, "sys_heartbeat{}"),
            ("/mem/main heap", Kind::Simple, "mem{heap=main heap,index}"),
            ("/mem/main heap/used", Kind::Simple, "mem_used{heap=main heap,index}"),
            ("/buffer-pools/default-numa-0/used", Kind::Gauge, "buffer_pools_used{pool=default-numa-0}"),
        ] {
            assert_eq!(shown(path, kind), name);
        }
    }

    #[test]
    fn what_the_second_version_has_no_name_for_has_that_of_the_first() {
        for (path, kind, name) in [
            ("/if/rx", Kind::Combined, "_if_rx{interface}"),
            ("/sys/node/clocks", Kind::Simple, "_sys_node_clocks{interface}"),
            ("/nodes/a/b/c", Kind::Simple, "_nodes_a_b_c{interface}"),
            ("/mem/a/b/c", Kind::Simple, "_mem_a_b_c{interface}"),
            ("/sys/heartbeat", Kind::Histogram, "_sys_heartbeat{}"),
            ("no slash", Kind::Simple, "no_slash{interface}"),
            ("1st", Kind::Gauge, "_1st{}"),
            ("", Kind::Gauge, "_{}"),
        ] {
            assert_eq!(shown(path, kind), name);
        }
    }
}
