//! The numbers of a scrape, read from the segment: what is exported, and nothing else.

use weir_stats::{Bins, Kind, Pair, ReadError, Reader, Value};

use super::plan::{Object, Plan, Read, Shape};

/// Columns that are copied at once. Fewer make more copies, more are read for nothing where few of them have names: 4,096
/// are a page or two of each row.
const WINDOW: usize = 4096;

/// The numbers of one entry.
#[derive(Debug)]
pub enum Values {
    /// A number.
    Number(u64),
    /// By row, the columns of the objects one after the other.
    Simple(Vec<Vec<u64>>),
    /// The same for packets and bytes.
    Combined(Vec<Vec<Pair>>),
    /// By row.
    Bins(Vec<Bins>),
}

/// The numbers of all entries of a plan, in its order.
pub fn read(plan: &Plan, reader: &Reader) -> Result<Vec<Values>, ReadError> {
    plan.reads.iter().map(|read| values(read, reader)).collect()
}

fn values(read: &Read, reader: &Reader) -> Result<Values, ReadError> {
    let Shape::Cells { rows, is_merged, objects, width } = &read.shape else {
        return match reader.read(&read.entry)? {
            Value::Scalar(number) | Value::Gauge(number) => Ok(Values::Number(number)),
            Value::Histogram(rows) => Ok(Values::Bins(rows)),
            _ => Err(stale(read)),
        };
    };
    let cells = Cells { read, reader, rows: *rows, is_merged: *is_merged, objects, width: *width };
    match read.entry.kind {
        Kind::Combined => {
            Ok(Values::Combined(cells.read(
                |value| if let Value::Combined(rows) = value { Some(rows) } else { None },
                Pair::plus,
            )?))
        }
        _ => Ok(Values::Simple(cells.read(
            |value| if let Value::Simple(rows) = value { Some(rows) } else { None },
            u64::wrapping_add,
        )?)),
    }
}

/// Another entry has taken the place of what was to be read.
fn stale(read: &Read) -> ReadError {
    ReadError::Stale { name: read.entry.name.clone() }
}

/// Some columns of a vector.
struct Cells<'a> {
    read: &'a Read,
    reader: &'a Reader,
    rows: usize,
    is_merged: bool,
    objects: &'a [Object],
    width: usize,
}

impl Cells<'_> {
    /// The objects' cells by row; one row where they are merged.
    fn read<T: Copy + Default>(
        &self,
        rows_of: impl Fn(Value) -> Option<Vec<Vec<T>>>,
        add: impl Fn(T, T) -> T,
    ) -> Result<Vec<Vec<T>>, ReadError> {
        let mut all: Vec<Vec<T>> = Vec::new();
        for row in 0..self.rows {
            let cells = self.row(row, &rows_of)?;
            match all.first_mut().filter(|_| self.is_merged) {
                Some(sums) => sums.iter_mut().zip(cells).for_each(|(sum, cell)| *sum = add(*sum, cell)),
                None => all.push(cells),
            }
        }
        Ok(all)
    }

    fn row<T: Copy + Default>(
        &self,
        row: usize,
        rows_of: impl Fn(Value) -> Option<Vec<Vec<T>>>,
    ) -> Result<Vec<T>, ReadError> {
        let width = self.width;
        let mut cells = Vec::with_capacity(self.objects.len() * width);
        for window in windows(self.objects, width) {
            let (Some(first), Some(last)) = (window.first(), window.last()) else { continue };
            let start = first.number * width;
            let part = self.reader.part(&self.read.entry, row, start..(last.number + 1) * width)?;
            let part = rows_of(part).and_then(|rows| rows.into_iter().next());
            let part = part.ok_or_else(|| stale(self.read))?;
            for object in window {
                let at = object.number * width - start;
                // A row of a damaged segment may be shorter than the first one.
                cells.extend((at..at + width).map(|cell| part.get(cell).copied().unwrap_or_default()));
            }
        }
        Ok(cells)
    }
}

/// Objects that are near enough to one another to be copied together.
fn windows(objects: &[Object], width: usize) -> impl Iterator<Item = &[Object]> {
    let mut left = objects;
    std::iter::from_fn(move || {
        let first = left.first()?.number;
        let near = left.partition_point(|object| (object.number - first) * width < WINDOW);
        let (window, rest) = left.split_at(near);
        left = rest;
        Some(window)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use weir_stats::{Options, Segment};

    #[test]
    fn columns_are_found_wherever_they_are() {
        let options = Options { size: 4 << 20, workers: 1, grace: Duration::ZERO };
        let mut segment = Segment::in_heap(options).unwrap();
        let mut vector = segment.register(|batch| batch.combined("/v", 20_000, 20_000)).unwrap();
        for row in 0..2 {
            let mut row_of = vector.take_row(row).unwrap();
            (0..20_000).for_each(|column| row_of.add(column, column as u64, row as u64 + 1));
        }
        let reader = Reader::of(&segment).unwrap();
        let entry = reader.find("/v").unwrap().unwrap();
        let numbers = [0, 1, 4095, 4096, 9000, 19_999, 30_000];
        let objects: Arc<[Object]> =
            numbers.iter().map(|&number| Object { number, labels: Vec::new() }).collect();
        assert_eq!(windows(&objects, 1).map(<[Object]>::len).collect::<Vec<_>>(), [3, 1, 1, 1, 1]);
        assert_eq!(windows(&objects, 4096).count(), objects.len());
        for is_merged in [false, true] {
            let shape = Shape::Cells { rows: 2, is_merged, objects: Arc::clone(&objects), width: 1 };
            let Values::Combined(rows) = values(&Read { entry: entry.clone(), shape }, &reader).unwrap()
            else {
                panic!()
            };
            let times = if is_merged { 2 } else { 1 };
            assert_eq!(rows.len(), 3 - times as usize);
            let packets: Vec<u64> = rows[0].iter().map(|pair| pair.packets).collect();
            assert_eq!(packets, [0, 1, 4095, 4096, 9000, 19_999, 0].map(|number| number * times));
            assert_eq!(rows[0][1].bytes, if is_merged { 3 } else { 1 });
        }
    }
}
