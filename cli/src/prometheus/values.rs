//! The numbers of a scrape, read from the segment: what is exported, and nothing else.

use weir_stats::{Bins, Pair, ReadError, Reader, Value};

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
    let Shape::Cells { rows, objects, width } = &read.shape else {
        return match reader.read(&read.entry)? {
            Value::Scalar(number) | Value::Gauge(number) => Ok(Values::Number(number)),
            Value::Histogram(rows) => Ok(Values::Bins(rows)),
            _ => Err(ReadError::Stale { name: read.entry.name.clone() }),
        };
    };
    let (mut simple, mut combined) = (Vec::new(), Vec::new());
    for row in 0..*rows {
        let (mut numbers, mut pairs) = (Vec::new(), Vec::new());
        for window in windows(objects, *width) {
            let (Some(first), Some(last)) = (window.first(), window.last()) else { continue };
            let start = first.number * width;
            let part = reader.part(&read.entry, row, start..(last.number + 1) * width)?;
            for object in window {
                let cells = object.number * width - start;
                match &part {
                    Value::Simple(part) => copy(&mut numbers, part, cells, *width),
                    Value::Combined(part) => copy(&mut pairs, part, cells, *width),
                    _ => return Err(ReadError::Stale { name: read.entry.name.clone() }),
                }
            }
        }
        simple.push(numbers);
        combined.push(pairs);
    }
    let is_combined = combined.iter().any(|row| !row.is_empty());
    Ok(if is_combined { Values::Combined(combined) } else { Values::Simple(simple) })
}

/// Appends `width` cells of a part's one row; what is not there is 0.
fn copy<T: Copy + Default>(cells: &mut Vec<T>, part: &[Vec<T>], start: usize, width: usize) {
    let row = part.first().map_or(&[][..], Vec::as_slice);
    cells.extend((start..start + width).map(|cell| row.get(cell).copied().unwrap_or_default()));
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
