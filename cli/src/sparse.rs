//! Rows of counters that are kept, [packed](Packed), to be compared with later.

use std::ops::Range;

use crate::packed::Packed;

/// Counters by row and column.
#[derive(Debug)]
pub struct Sparse {
    /// Columns of a chunk.
    step: usize,
    /// The chunks of each row.
    rows: Vec<Vec<Packed>>,
    /// A chunk that is being filled.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    row: usize,
    chunk: usize,
    counts: Vec<u64>,
}

impl Sparse {
    /// No counters, to be kept in chunks of so many columns.
    pub fn new(step: usize) -> Sparse {
        Sparse { step: step.max(1), rows: Vec::new(), open: None }
    }

    /// Keeps counters from a column on.
    pub fn put(&mut self, row: usize, first: usize, counts: &[u64]) {
        let (mut column, mut rest) = (first, counts);
        while !rest.is_empty() {
            let at = column % self.step;
            let (here, beyond) = rest.split_at(rest.len().min(self.step - at));
            self.open(row, column / self.step)[at..at + here.len()].copy_from_slice(here);
            (column, rest) = (column + here.len(), beyond);
        }
    }

    /// The counters of some columns: 0 where nothing was kept.
    pub fn get(&self, row: usize, columns: Range<usize>) -> Vec<u64> {
        let mut counts = Vec::with_capacity(columns.len());
        let mut column = columns.start;
        while column < columns.end {
            let (chunk, at) = (column / self.step, column % self.step);
            let end = self.step.min(at + columns.end - column);
            match &self.open {
                Some(open) if (open.row, open.chunk) == (row, chunk) => {
                    counts.extend_from_slice(&open.counts[at..end]);
                }
                _ => match self.rows.get(row).and_then(|chunks| chunks.get(chunk)) {
                    Some(kept) => counts.extend_from_slice(&kept.unpacked(self.step)[at..end]),
                    None => counts.resize(counts.len() + end - at, 0),
                },
            }
            column += end - at;
        }
        counts
    }

    /// Keeps all in little room, until the next counter comes.
    pub fn close(&mut self) {
        if let Some(Open { row, chunk, counts }) = self.open.take() {
            *place(place(&mut self.rows, row), chunk) = Packed::of(&counts);
        }
    }

    /// The counters of a chunk, to be changed.
    fn open(&mut self, row: usize, chunk: usize) -> &mut [u64] {
        let open = match self.open.take() {
            Some(open) if (open.row, open.chunk) == (row, chunk) => open,
            other => {
                self.open = other;
                self.close();
                let kept = self.rows.get(row).and_then(|chunks| chunks.get(chunk));
                Open { row, chunk, counts: kept.unwrap_or(&Packed::default()).unpacked(self.step) }
            }
        };
        &mut self.open.insert(open).counts
    }
}

/// An element of a vector that is made long enough.
pub fn place<T: Clone + Default>(elements: &mut Vec<T>, at: usize) -> &mut T {
    elements.resize(elements.len().max(at + 1), T::default());
    &mut elements[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out() {
        let mut sparse = Sparse::new(10);
        let counts: Vec<u64> = (0..35).map(|it| if it % 3 == 0 { 0 } else { u64::MAX >> it }).collect();
        sparse.put(2, 5, &counts);
        sparse.put(0, 1000, &[7]);
        sparse.close();
        sparse.put(2, 7, &[100, 0]);
        let mut expected = [vec![0; 5], counts, vec![0; 60]].concat();
        expected[7..9].copy_from_slice(&[100, 0]);
        for columns in [0..100, 5..40, 7..9, 19..21, 40..41, 9..9] {
            assert_eq!(sparse.get(2, columns.clone()), expected[columns]);
        }
        assert_eq!(
            (sparse.get(0, 999..1002), sparse.get(1, 0..2), sparse.get(9, 0..1)),
            (vec![0, 7, 0], vec![0; 2], vec![0])
        );
    }
}
