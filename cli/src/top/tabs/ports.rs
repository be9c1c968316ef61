//! Ports: what they receive, send and lose.

use super::super::history::Histories;
use super::super::reading::{Count, Reading, Who};
use super::super::table::{Cell, Column, Form, Table};
use super::{Shown, Tab};

/// The ports' names.
pub const NAMES: &str = "/if/names";
/// Packets and bytes received.
pub const RX: &str = "/if/rx";
/// Packets and bytes sent.
pub const TX: &str = "/if/tx";
/// Packets dropped, by the port that received them.
pub const DROPS: &str = "/if/drops";
const PUNT: &str = "/if/punt";
/// Packets that the kernel or the network card had for weir, and that weir did not get.
const MISSES: [&str; 3] = ["/if/rx-miss", "/if/rx-no-buf", "/if/rx-error"];
const TX_ERROR: &str = "/if/tx-error";

/// The view.
pub struct Ports {
    /// Bits a second in both directions.
    histories: Histories<(usize, String)>,
}

impl Ports {
    /// Without a past.
    pub fn new() -> Ports {
        Ports { histories: Histories::new() }
    }
}

/// The ports that exist, by index. VPP calls the place of a removed one "deleted", until another takes it.
pub fn ports(reading: &Reading) -> impl Iterator<Item = (usize, &str)> {
    let names = reading.names(NAMES).iter().map(String::as_str).enumerate();
    names.filter(|(_, name)| !name.is_empty() && *name != "deleted")
}

/// Bytes as bits.
pub fn bits(bytes: Count) -> Cell {
    Cell::Quantity(bytes.rate().map(|rate| rate * 8.0))
}

impl Tab for Ports {
    fn title(&self) -> &'static str {
        "Ports"
    }

    fn wants(&self, path: &str, _visible: bool) -> bool {
        [NAMES, RX, TX, DROPS, PUNT, TX_ERROR].contains(&path) || MISSES.contains(&path)
    }

    fn is_there(&self, reading: &Reading) -> bool {
        reading.has(NAMES)
    }

    fn remember(&mut self, reading: &Reading) {
        let Some(seconds) = reading.elapsed() else { return };
        let now = ports(reading).map(|(port, name)| {
            let [[_, rx], [_, tx]] = [RX, TX].map(|path| reading.pair(path, Who::All, port));
            let bytes = rx.change.unwrap_or(0) as f64 + tx.change.unwrap_or(0) as f64;
            ((port, name.to_owned()), bytes * 8.0)
        });
        self.histories.add(now, seconds);
    }

    fn table(&self, reading: &Reading, shown: Shown) -> Table {
        let mut columns = vec![Column::new("port", Form::Text, 0)];
        if shown.threads {
            columns.push(Column::new("thread", Form::Text, 0));
        }
        let volume = |rate, total, rank| Column::new(shown.title(rate, total), Form::Number, rank);
        let loss = |rate, total, rank| Column::new(shown.title(rate, total), Form::Loss, rank);
        columns.extend([
            volume("rx pps", "rx packets", 1),
            volume("rx bps", "rx bytes", 2),
            volume("tx pps", "tx packets", 1),
            volume("tx bps", "tx bytes", 2),
            loss("drops/s", "drops", 3),
            volume("punts/s", "punts", 6),
            loss("misses/s", "misses", 4),
            loss("tx-err/s", "tx-errors", 7),
        ]);
        if !shown.threads {
            columns.push(Column::new("rx+tx bps", Form::Curve, 5));
        }
        if !shown.totals {
            columns.extend([
                Column::new("rx total", Form::Number, 8),
                Column::new("tx total", Form::Number, 9),
                Column::new("lost", Form::Loss, 10),
            ]);
        }
        let threads = reading.counters(RX).map_or(vec![Who::All], |counters| counters.who(shown.threads));
        let rows = ports(reading).flat_map(|(port, name)| {
            threads.iter().map(move |&who| {
                let [[rx, rx_bytes], [tx, tx_bytes]] = [RX, TX].map(|path| reading.pair(path, who, port));
                let volume = |bytes| if shown.totals { shown.cell(bytes) } else { bits(bytes) };
                let [drops, punt, tx_error] =
                    [DROPS, PUNT, TX_ERROR].map(|path| reading.count(path, who, port));
                let misses = MISSES.map(|path| reading.count(path, who, port));
                let misses = misses.into_iter().reduce(Count::plus).unwrap_or_default();
                let mut cells = vec![Cell::Text(name.to_owned())];
                if shown.threads {
                    cells.push(Cell::Text(who.name()));
                }
                cells.extend([shown.cell(rx), volume(rx_bytes), shown.cell(tx), volume(tx_bytes)]);
                cells.extend([drops, punt, misses, tx_error].map(|count| shown.cell(count)));
                if !shown.threads {
                    cells.push(Cell::Curve(self.histories.rates(&(port, name.to_owned()))));
                }
                if !shown.totals {
                    let lost = drops.plus(misses).plus(tx_error);
                    cells.extend([rx, tx, lost].map(|count| Cell::Count(count.total)));
                }
                cells
            })
        });
        Table { columns, rows: rows.collect() }
    }
}
