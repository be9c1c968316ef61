//! Nodes: what a packet costs where, as VPP's `show runtime` says it, but for now instead of since the start.

use super::super::reading::Reading;
use super::super::table::{Cell, Column, Form, Table};
use super::{Shown, Tab};

const NAMES: &str = "/sys/node/names";
const CALLS: &str = "/sys/node/calls";
const PACKETS: &str = "/sys/node/vectors";
const CLOCKS: &str = "/sys/node/clocks";
/// Packets that the node keeps for later: not a counter, it goes down too.
const HELD: &str = "/sys/node/held";

/// The view.
pub struct Nodes;

impl Tab for Nodes {
    fn title(&self) -> &'static str {
        "Nodes"
    }

    fn wants(&self, path: &str, visible: bool) -> bool {
        path == NAMES || visible && [CALLS, PACKETS, CLOCKS, HELD].contains(&path)
    }

    fn is_there(&self, reading: &Reading) -> bool {
        !reading.names(NAMES).is_empty()
    }

    fn table(&self, reading: &Reading, shown: Shown) -> Table {
        let mut columns = vec![Column::new("node", Form::Text, 0)];
        if shown.threads {
            columns.push(Column::new("thread", Form::Text, 0));
        }
        let number = |title, rank| Column::new(title, Form::Number, rank);
        columns.extend([
            number(shown.title("calls/s", "calls"), 5),
            number(shown.title("packets/s", "packets"), 1),
            number("packets/call", 3),
            number("clocks/packet", 2),
            number("of clocks", 4),
            number("held", 6),
        ]);
        let Some(counters) = reading.counters(PACKETS) else { return Table { columns, rows: vec![] } };
        let names = reading.names(NAMES);
        let mut rows = Vec::new();
        for who in counters.who(shown.threads) {
            let count = |path, node| reading.count(path, who, node);
            let clocks = |node| shown.counted(count(CLOCKS, node)).unwrap_or(0) as f64;
            let all: f64 = (0..names.len()).map(clocks).sum();
            for (node, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let mut cells = vec![Cell::Text(name.clone())];
                if shown.threads {
                    cells.push(Cell::Text(who.name()));
                }
                let [calls, packets, ticks] = [CALLS, PACKETS, CLOCKS].map(|path| count(path, node));
                cells.extend([
                    shown.cell(calls),
                    shown.cell(packets),
                    shown.mean(packets, calls),
                    shown.mean(ticks, packets),
                    Cell::Share((all > 0.0).then(|| clocks(node) / all)),
                    Cell::Count(count(HELD, node).total),
                ]);
                rows.push((clocks(node), cells));
            }
        }
        // What costs most first; nodes that cost the same (nothing, mostly) stay in the graph's order.
        rows.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        Table { columns, rows: rows.into_iter().map(|(_, cells)| cells).collect() }
    }
}
