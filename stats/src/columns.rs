//! What the columns of a vector are called.

use std::sync::Arc;

use crate::catalogue::{Described, fit};
use crate::distribution::Bounds;
use crate::error::ReadError;
use crate::layout::Kind;
use crate::reader::Reader;
use crate::value::{Entry, Value};

/// The label of a histogram's bins, as Prometheus has it.
const BINS: &str = "le";

/// The labels of a vector's columns, read once: they stay true until the epoch moves.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    labels: Labels,
    bins: Option<Bounds>,
}

#[derive(Clone, Debug, Default)]
enum Labels {
    /// The columns have no names.
    #[default]
    None,
    /// They are called by their numbers.
    Numbers { label: String },
    /// They are the product of these, the last one varying fastest.
    Axes(Vec<Axis>),
    /// Each has its own; none where no symlink points to it.
    Links(Vec<Vec<(String, String)>>),
}

#[derive(Clone, Debug)]
struct Axis {
    label: String,
    names: Arc<[String]>,
}

/// VPP's name for the column of an object that is gone.
const DELETED: &str = "deleted";

impl Columns {
    /// The columns of a described entry of this listing, which must be the reader's own.
    pub fn of(
        described: &Described<'_>,
        entry: &Entry,
        listing: &[Entry],
        reader: &Reader,
    ) -> Result<Columns, ReadError> {
        let text = &*described.description.columns;
        let labels = if text.is_empty() {
            Labels::None
        } else if text.starts_with('/') {
            Labels::Links(links(text, entry, listing))
        } else if let Some(axes) = axes(text, listing, reader)? {
            return Ok(Columns::with_axes(axes));
        } else if text.contains('=') {
            Labels::None // a name vector that is not there
        } else {
            Labels::Numbers { label: text.to_owned() }
        };
        Ok(Columns { labels, bins: None })
    }

    fn with_axes(mut axes: Vec<Axis>) -> Columns {
        let last = axes.last().filter(|axis| axis.label == BINS);
        let bins = last.and_then(|axis| Bounds::of_names(&axis.names));
        if bins.is_some() {
            axes.pop();
        }
        Columns { labels: Labels::Axes(axes), bins }
    }

    /// The bins, if each object is a histogram: object *n* has columns *n* × [`Bounds::width`] and following.
    pub fn bins(&self) -> Option<&Bounds> {
        self.bins.as_ref()
    }

    /// How many objects there are names for; `None` if they have no names, or any number has one.
    pub fn objects(&self) -> Option<usize> {
        match &self.labels {
            Labels::None | Labels::Numbers { .. } => None,
            Labels::Axes(axes) => {
                axes.iter().map(|axis| axis.names.len()).try_fold(1_usize, usize::checked_mul)
            }
            Labels::Links(links) => Some(links.len()),
        }
    }

    /// The labels' names, in their order.
    pub fn label_names(&self) -> Vec<&str> {
        match &self.labels {
            Labels::None => Vec::new(),
            Labels::Numbers { label } => vec![label],
            Labels::Axes(axes) => axes.iter().map(|axis| &*axis.label).collect(),
            Labels::Links(links) => links
                .iter()
                .find(|labels| !labels.is_empty())
                .map_or(Vec::new(), |labels| labels.iter().map(|(label, _)| &**label).collect()),
        }
    }

    /// Labels and values of an object, which is a column unless there are [bins](Columns::bins); `None` for one without a
    /// name, which is none at present.
    pub fn labels(&self, object: usize) -> Option<Vec<(&str, std::borrow::Cow<'_, str>)>> {
        match &self.labels {
            Labels::None => None,
            Labels::Numbers { label } => Some(vec![(label, object.to_string().into())]),
            Labels::Axes(axes) => {
                let mut left = object;
                let mut labels = Vec::with_capacity(axes.len());
                for axis in axes.iter().rev() {
                    let name = axis.names.get(left.checked_rem(axis.names.len())?)?;
                    left /= axis.names.len();
                    if name.is_empty() || name == DELETED {
                        return None;
                    }
                    labels.push((&*axis.label, name.into()));
                }
                labels.reverse();
                (left == 0).then_some(labels)
            }
            Labels::Links(links) => {
                let labels = links.get(object).filter(|labels| !labels.is_empty())?;
                Some(labels.iter().map(|(label, value)| (&**label, value.into())).collect())
            }
        }
    }

    /// An object's name: the values of its labels.
    pub fn name(&self, object: usize) -> Option<String> {
        let labels = self.labels(object)?;
        Some(labels.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join("/"))
    }
}

/// What the symlinks that fit the template say of the columns of `entry`.
fn links(template: &str, entry: &Entry, listing: &[Entry]) -> Vec<Vec<(String, String)>> {
    // A link names a column of a segment that may lie, so this is not a vector by column until it is known to be small.
    let found = listing.iter().filter_map(|link| {
        let to = link.link.filter(|to| to.target == entry.index)?;
        Some((to.column as usize, fit(template, &link.name)?))
    });
    let mut found: Vec<_> = found.collect();
    // No column beyond the number of entries can have been linked one by one.
    found.retain(|(column, _)| *column < listing.len());
    let mut columns = vec![Vec::new(); found.iter().map(|(column, _)| column + 1).max().unwrap_or(0)];
    for (column, labels) in found {
        columns[column] = labels.into_iter().map(|(l, v)| (l.to_owned(), v.to_owned())).collect();
    }
    columns
}

/// The axes that `label=path,…` names; `None` if it names none, or one that is not there.
fn axes(text: &str, listing: &[Entry], reader: &Reader) -> Result<Option<Vec<Axis>>, ReadError> {
    let mut axes = Vec::new();
    for axis in text.split(',') {
        let Some((label, path)) = axis.split_once('=') else { return Ok(None) };
        let entry = listing.iter().find(|entry| entry.name == path && entry.kind == Kind::Names);
        let Some(entry) = entry else { return Ok(None) };
        let Value::Names(names) = reader.read(entry)? else { return Ok(None) };
        axes.push(Axis { label: label.to_owned(), names: names.into() });
    }
    Ok(Some(axes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Catalogue, Description, Options, Segment};

    fn columns(descriptions: &[Description], path: &str) -> Columns {
        let mut segment =
            Segment::in_heap(Options { size: 1 << 20, workers: 1, grace: Duration::ZERO }).unwrap();
        segment
            .register(|batch| {
                let mut names = batch.names("/if/names", 4)?;
                batch.set_name(&mut names, 0, "eth0")?;
                batch.set_name(&mut names, 2, "eth2")?;
                batch.set_name(&mut names, 3, "deleted")?;
                let mut bins = batch.names("/bins", 4)?;
                for (at, name) in ["16", "18", "+Inf", "sum"].iter().enumerate() {
                    batch.set_name(&mut bins, at, name)?;
                }
                batch.combined("/if/rx", 4, 4)?;
                batch.simple("/rtt", 16, 16)?;
                let errors = batch.simple("/node/errors", 3, 3)?;
                batch.symlink("/err/tx/full", errors.id(), 2)?;
                batch.symlink("/other/tx/full", errors.id(), 1)?;
                Ok(())
            })
            .unwrap();
        segment.describe(descriptions).unwrap();
        let reader = Reader::of(&segment).unwrap();
        let (catalogue, listing) = (Catalogue::of(&reader).unwrap(), reader.list().unwrap());
        let entry = listing.iter().find(|entry| entry.name == path).unwrap();
        Columns::of(&catalogue.describe(path).unwrap(), entry, &listing, &reader).unwrap()
    }

    fn labels(columns: &Columns, object: usize) -> Option<String> {
        let labels = columns.labels(object)?;
        Some(labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn columns_are_called_by_a_name_vector() {
        let columns =
            columns(&[Description::combined("/if/rx", "interface=/if/names", "received")], "/if/rx");
        assert_eq!(labels(&columns, 0).unwrap(), "interface=eth0");
        assert_eq!((columns.name(2).unwrap(), columns.objects()), ("eth2".to_owned(), Some(4)));
        assert_eq!((labels(&columns, 1), labels(&columns, 3), labels(&columns, 4)), (None, None, None));
        assert_eq!(columns.label_names(), ["interface"]);
    }

    #[test]
    fn columns_are_called_by_the_symlinks_to_them() {
        let errors = Description::simple("/node/errors", "packets", "/err/{node}/{reason}", "dropped");
        let columns = columns(&[errors], "/node/errors");
        assert_eq!(labels(&columns, 2).unwrap(), "node=tx,reason=full");
        assert_eq!((labels(&columns, 1), labels(&columns, 3)), (None, None));
        assert_eq!(columns.label_names(), ["node", "reason"]);
    }

    #[test]
    fn an_axis_of_bounds_makes_histograms() {
        let rtt = Description::simple("/rtt", "microseconds", "interface=/if/names,le=/bins", "round trips");
        let columns = columns(&[rtt], "/rtt");
        let bins = columns.bins().unwrap();
        assert_eq!((bins.upper(), bins.width()), (&[16, 18][..], 4));
        assert_eq!((labels(&columns, 2).unwrap(), labels(&columns, 4)), ("interface=eth2".to_owned(), None));
    }

    #[test]
    fn two_axes_are_a_matrix() {
        let matrix = Description::simple("/rtt", "packets", "interface=/if/names,bin=/bins", "a matrix");
        let columns = columns(&[matrix], "/rtt");
        assert!(columns.bins().is_none());
        assert_eq!(labels(&columns, 9).unwrap(), "interface=eth2,bin=18");
        assert_eq!((columns.name(3).unwrap(), columns.objects()), ("eth0/sum".to_owned(), Some(16)));
        assert_eq!((labels(&columns, 4), labels(&columns, 16)), (None, None));
    }

    #[test]
    fn columns_without_names() {
        let by_number = columns(&[Description::simple("/rtt", "", "worker", "by worker")], "/rtt");
        assert_eq!((labels(&by_number, 7).unwrap(), by_number.objects()), ("worker=7".to_owned(), None));
        for text in ["", "interface=/nowhere"] {
            let columns = columns(&[Description::simple("/rtt", "", text, "none")], "/rtt");
            assert_eq!((labels(&columns, 0), columns.objects()), (None, None));
        }
    }
}
