//! How long packets waited inside weir: each customer's histogram, and those of all below a node added up. They are read in
//! parts: of a hundred thousand customers there is a gigabyte.

use weir_stats::ReadError;

use crate::packed::Packed;
use crate::rtt::figures::Figures;
use crate::rtt::pass::{PART, Past, runs};
use crate::rtt::subject::{self, Place};

use super::WAYS;
use super::source::Source;
use super::tree::{Item, Tree};

/// Where the delays down and up are among what is measured of customers.
const MEASURES: [usize; 2] = [2, 3];

/// Histograms at one moment.
#[derive(Debug, Default)]
pub struct Delays {
    /// By number and direction.
    nodes: Vec<[Packed; 2]>,
    /// The customers that were asked for, in ascending order.
    kept: Vec<usize>,
    customers: Vec<[Packed; 2]>,
}

/// The measure of a direction.
pub fn place(source: &subject::Source, way: usize) -> Option<&Place> {
    source.places.get(MEASURES[way])?.as_ref()
}

impl Delays {
    /// Reads the histograms of those who are `counted`, in ascending order, adds them up by node, and keeps those of some of
    /// them. Nothing where nothing is measured.
    pub fn of(source: &Source, tree: &Tree, counted: &[usize], kept: &[usize]) -> Result<Delays, ReadError> {
        Delays::read(source, tree, counted, kept, |_, _, _| true)
    }

    /// The same of what was counted since the reading before, which was that of some customers, in ascending order: of the
    /// others nothing is known until the next one.
    pub fn news(
        source: &Source,
        tree: &Tree,
        counted: &[usize],
        kept: &[usize],
        past: &mut Past,
        known: &[usize],
    ) -> Result<Delays, ReadError> {
        Delays::read(source, tree, counted, kept, |way, customer, cells| {
            past.exchange(way, customer, cells);
            known.binary_search(&customer).is_ok()
        })
    }

    fn read(
        source: &Source,
        tree: &Tree,
        counted: &[usize],
        kept: &[usize],
        mut is_wanted: impl FnMut(usize, usize, &mut [u64]) -> bool,
    ) -> Result<Delays, ReadError> {
        let mut delays = Delays {
            nodes: vec![Default::default(); tree.len()],
            kept: kept.to_vec(),
            customers: vec![Default::default(); kept.len()],
        };
        let Some(measured) = &source.delays else { return Ok(delays) };
        let width = measured.bounds.width();
        for way in 0..WAYS.len() {
            let Some(place) = place(measured, way) else { continue };
            let mut sums: Vec<Option<Box<[u64]>>> = vec![None; tree.len()];
            for run in runs(counted, (PART / width).max(1)) {
                let mut all = source.numbers(Some(&place.histogram), &run, width)?;
                for (customer, cells) in run.zip(all.chunks_mut(width)) {
                    if !is_wanted(way, customer, cells) || cells.iter().all(|count| *count == 0) {
                        continue;
                    }
                    if let Some(sum) = tree.above(customer).and_then(|node| sums.get_mut(node)) {
                        add(sum, cells);
                    }
                    if let Ok(at) = kept.binary_search(&customer) {
                        delays.customers[at][way] = Packed::of(cells);
                    }
                }
            }
            // Those below are complete before those above.
            for &number in tree.order().iter().rev() {
                let Some(cells) = sums[number].take() else { continue };
                delays.nodes[number][way] = Packed::of(&cells);
                if let Some(parent) = tree.node(number).and_then(|node| node.parent) {
                    add(&mut sums[parent], &cells);
                }
            }
        }
        Ok(delays)
    }

    /// Figures of what was counted, since an earlier reading if there is one.
    pub fn figures(
        &self,
        item: Item,
        way: usize,
        measured: &subject::Source,
        before: Option<&Delays>,
    ) -> Option<Figures> {
        place(measured, way)?;
        let mut cells = self.packed(item, way)?.unpacked(measured.bounds.width());
        if let Some(before) = before {
            before.packed(item, way)?.subtract_from(&mut cells);
        }
        Some(Figures::of(&measured.bounds, &cells, false))
    }

    fn packed(&self, item: Item, way: usize) -> Option<&Packed> {
        let both = match item {
            Item::Node(number) => self.nodes.get(number),
            Item::Customer(number) => self.customers.get(self.kept.binary_search(&number).ok()?),
        };
        both.map(|both| &both[way])
    }
}

fn add(sum: &mut Option<Box<[u64]>>, cells: &[u64]) {
    match sum {
        Some(sum) => sum.iter_mut().zip(cells).for_each(|(sum, count)| *sum = sum.saturating_add(*count)),
        None => *sum = Some(cells.into()),
    }
}
