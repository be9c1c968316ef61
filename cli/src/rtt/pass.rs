//! One pass over a subject's measures, in parts: of a hundred thousand customers' histograms, half a gigabyte for each worker,
//! only one part is in memory at a time.

use std::ops::Range;

use weir_stats::{ReadError, Reader, Value};

use crate::packed::Packed;

use super::figures::{Chosen, Figures, Row, TRAFFIC};
use super::subject::{Place, Source, Vector};

/// Columns of a part: 128 KiB of counters. Less would cost more steps, more would cost memory.
pub const PART: usize = 16_384;

/// What was there at the reading before, of each measure and object.
#[derive(Debug, Default)]
pub struct Past {
    measures: Vec<Vec<Packed>>,
}

impl Past {
    /// Forgets an object: its number belongs to another one now.
    pub fn forget(&mut self, object: usize) {
        for past in self.measures.iter_mut().filter_map(|measure| measure.get_mut(object)) {
            *past = Packed::default();
        }
    }

    /// Remembers what an object has now, and subtracts from it what it had before.
    pub fn exchange(&mut self, measure: usize, object: usize, cells: &mut [u64]) {
        if self.measures.len() <= measure {
            self.measures.resize_with(measure + 1, Vec::new);
        }
        let measure = &mut self.measures[measure];
        if measure.len() <= object {
            measure.resize_with(object + 1, Packed::default);
        }
        let before = std::mem::replace(&mut measure[object], Packed::of(cells));
        before.subtract_from(cells);
    }
}

/// What a pass reads.
#[derive(Debug)]
pub struct Pass<'p> {
    /// The segment.
    pub reader: &'p Reader,
    /// Where it has what is measured.
    pub source: &'p Source,
    /// The objects, in ascending order.
    pub objects: &'p [usize],
    /// Those without anything to be shown of them are offered, too.
    pub all: bool,
    /// Their distributions are to be drawn.
    pub keep_bins: bool,
}

impl Pass<'_> {
    /// Offers each object's row: what was counted since the reading before, if there is a past, which then becomes this one.
    pub fn run(&self, mut past: Option<&mut Past>, chosen: &mut Chosen) -> Result<(), ReadError> {
        let width = self.source.bounds.width();
        let mut cells = vec![0; width + TRAFFIC];
        for run in runs(self.objects, (PART / width).max(1)) {
            let mut rows: Vec<Row> = run.clone().map(|object| Row { object, measures: Vec::new() }).collect();
            for (measure, place) in self.source.places.iter().enumerate() {
                let Some(place) = place else {
                    rows.iter_mut().for_each(|row| row.measures.push(None));
                    continue;
                };
                let part = Part::read(self.reader, place, &run, width)?;
                for (at, row) in rows.iter_mut().enumerate() {
                    part.copy(at, width, &mut cells);
                    if let Some(past) = &mut past {
                        past.exchange(measure, row.object, &mut cells);
                    }
                    let figures = Figures::of(&self.source.bounds, &cells, self.keep_bins);
                    row.measures.push(Some(figures));
                }
            }
            rows.into_iter().filter(|row| self.all || !row.is_empty()).for_each(|row| chosen.offer(row));
        }
        Ok(())
    }
}

/// Objects that follow one another, so many at most at once.
pub fn runs(objects: &[usize], most: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut left = objects;
    std::iter::from_fn(move || {
        let first = *left.first()?;
        let length = left.iter().zip(first..).take(most).take_while(|(object, next)| *object == next).count();
        left = &left[length..];
        Some(first..first + length)
    })
}

/// A measure of objects that follow one another, all workers added up.
struct Part {
    histograms: Vec<u64>,
    /// Packets and bytes in turn.
    traffic: Vec<u64>,
    troubles: [Vec<u64>; 2],
}

impl Part {
    fn read(reader: &Reader, place: &Place, objects: &Range<usize>, width: usize) -> Result<Part, ReadError> {
        let columns = objects.start.saturating_mul(width)..objects.end.saturating_mul(width);
        let several = |vector: &Option<Vector>| match vector {
            Some(vector) => sums(reader, vector, objects),
            None => Ok(Vec::new()),
        };
        let [again, late] = &place.troubles;
        Ok(Part {
            histograms: sums(reader, &place.histogram, &columns)?,
            traffic: several(&place.traffic)?,
            troubles: [several(again)?, several(late)?],
        })
    }

    /// The cells of the object at this place: its histogram, packets, bytes, and what is counted besides.
    fn copy(&self, at: usize, width: usize, cells: &mut [u64]) {
        cells.fill(0);
        let histogram = self.histograms.iter().skip(at * width).take(width);
        let traffic = [2 * at, 2 * at + 1].map(|at| self.traffic.get(at));
        let troubles = [0, 1].map(|which: usize| self.troubles[which].get(at));
        cells.iter_mut().zip(histogram).for_each(|(to, from)| *to = *from);
        let rest = traffic.into_iter().chain(troubles);
        cells[width..].iter_mut().zip(rest).for_each(|(to, from)| *to = from.copied().unwrap_or(0));
    }
}

/// Some columns of a vector, its rows added up; packets and bytes in turn. A vector that is shorter has zeros there.
pub fn sums(reader: &Reader, vector: &Vector, columns: &Range<usize>) -> Result<Vec<u64>, ReadError> {
    let mut sums: Vec<u64> = Vec::new();
    for row in vector.rows.clone() {
        let cells = match reader.part(&vector.entry, row, columns.clone())? {
            Value::Simple(mut rows) => rows.pop().unwrap_or_default(),
            Value::Combined(rows) => rows.iter().flatten().flat_map(|it| [it.packets, it.bytes]).collect(),
            _ => Vec::new(),
        };
        if sums.is_empty() {
            sums = cells;
        } else {
            sums.iter_mut().zip(cells).for_each(|(sum, count)| *sum = sum.wrapping_add(count));
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_follow_one_another_are_read_at_once() {
        let found = |objects: &[usize], most| runs(objects, most).collect::<Vec<_>>();
        assert_eq!(found(&[], 4), [0..0; 0]);
        assert_eq!(found(&[0, 1, 2, 3, 4, 5], 4), [0..4, 4..6]);
        assert_eq!(found(&[3, 4, 9, 11, 12, 13], 2), [3..5, 9..10, 11..13, 13..14]);
    }
}
