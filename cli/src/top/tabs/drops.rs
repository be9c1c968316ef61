//! Drops: which node dropped packets, and why. Those that go on now come first.

use super::super::history::Histories;
use super::super::reading::{Count, Reading, Who};
use super::super::table::{Cell, Column, Form, Table};
use super::{Shown, Tab};

/// Folder of `<node>/<reason>`.
const FOLDER: &str = "/err/";

/// The view.
pub struct Drops {
    histories: Histories<String>,
}

impl Drops {
    /// Without a past.
    pub fn new() -> Drops {
        Drops { histories: Histories::new() }
    }
}

impl Tab for Drops {
    fn title(&self) -> &'static str {
        "Drops"
    }

    fn wants(&self, path: &str, _visible: bool) -> bool {
        path.starts_with(FOLDER)
    }

    fn is_there(&self, reading: &Reading) -> bool {
        reading.below(FOLDER).next().is_some()
    }

    fn remember(&mut self, reading: &Reading) {
        let Some(seconds) = reading.elapsed() else { return };
        let now = reading.below(FOLDER).map(|(path, _)| {
            let change = reading.count(path, Who::All, 0).change.unwrap_or(0);
            (path.to_owned(), change as f64)
        });
        self.histories.add(now, seconds);
    }

    fn table(&self, reading: &Reading, shown: Shown) -> Table {
        let mut columns = vec![Column::new("node", Form::Text, 0), Column::new("reason", Form::Text, 0)];
        if shown.threads {
            columns.push(Column::new("thread", Form::Text, 0));
        }
        columns.extend([Column::new("drops/s", Form::Loss, 1), Column::new("total", Form::Number, 2)]);
        if !shown.threads {
            columns.push(Column::new("last minutes", Form::Curve, 3));
        }
        let mut rows: Vec<(Count, Vec<Cell>)> = Vec::new();
        for (path, rest) in reading.below(FOLDER) {
            let (node, reason) = rest.split_once('/').unwrap_or((rest, ""));
            let Some(counters) = reading.counters(path) else { continue };
            for who in counters.who(shown.threads) {
                let count = counters.count(who, 0);
                let mut cells = vec![Cell::Text(node.to_owned()), Cell::Text(reason.to_owned())];
                if shown.threads {
                    cells.push(Cell::Text(who.name()));
                }
                cells.extend([Cell::Quantity(count.rate()), Cell::Count(count.total)]);
                if !shown.threads {
                    cells.push(Cell::Curve(self.histories.rates(&path.to_owned())));
                }
                rows.push((count, cells));
            }
        }
        rows.sort_by_key(|(count, _)| std::cmp::Reverse((count.change, count.total)));
        Table { columns, rows: rows.into_iter().map(|(_, cells)| cells).collect() }
    }
}
