//! Workers: how busy they are, and where their frames are.

use super::super::reading::{Reading, Who};
use super::super::table::{Cell, Column, Form, Table};
use super::ports::{RX, ports};
use super::{Shown, Tab};

const LOOPS: &str = "/workers/loops";
const SLEEPS: &str = "/workers/sleeps";
/// One row, a column a thread; packets a node call in the last second.
const VECTOR_RATES: &str = "/sys/vector_rate_per_worker";
/// The same of VPP, which does not count its loops: turns in the last second.
const LOOP_RATES: &str = "/sys/loops_per_worker";
/// Where the frames are now: not counters.
const FRAMES: &str = "/workers/frames";
const FRAME_COLUMNS: &str = "/workers/frame-columns";

/// The view.
pub struct Workers;

impl Tab for Workers {
    fn title(&self) -> &'static str {
        "Workers"
    }

    fn wants(&self, path: &str, visible: bool) -> bool {
        let rest = [LOOPS, SLEEPS, LOOP_RATES, FRAMES, FRAME_COLUMNS];
        path == VECTOR_RATES || visible && rest.contains(&path)
    }

    fn is_there(&self, reading: &Reading) -> bool {
        reading.has(VECTOR_RATES)
    }

    fn table(&self, reading: &Reading, shown: Shown) -> Table {
        let number = |title, rank| Column::new(title, Form::Number, rank);
        let mut columns = vec![
            Column::new("thread", Form::Text, 0),
            number(shown.title("rx pps", "rx packets"), 1),
            number("packets/call", 2),
            number(shown.title("loops/s", "loops"), 3),
            number(shown.title("sleeps/s", "sleeps"), 4),
        ];
        let frames = reading.names(FRAME_COLUMNS).iter().zip(5..);
        columns.extend(frames.map(|(name, rank)| Column::new(name.clone(), Form::Number, rank)));
        let own = reading.counters(LOOPS);
        let threads = reading.counters(VECTOR_RATES).map_or(0, |rates| rates.columns());
        // weir's main thread handles no packets; VPP's may be the only one.
        let rows = (usize::from(own.is_some())..threads).map(|thread| {
            let who = Who::Thread(thread);
            let rx = ports(reading).map(|(port, _)| reading.pair(RX, who, port)[0]);
            let rx = rx.reduce(|a, b| a.plus(b)).unwrap_or_default();
            let loops = match own {
                Some(loops) => shown.cell(loops.count(who, 0)),
                None => Cell::Quantity(Some(reading.count(LOOP_RATES, Who::All, thread).total as f64)),
            };
            let mut cells = vec![
                Cell::Text(who.name()),
                shown.cell(rx),
                Cell::Count(reading.count(VECTOR_RATES, Who::All, thread).total),
                loops,
                shown.cell(reading.count(SLEEPS, who, 0)),
            ];
            let frames = 0..reading.names(FRAME_COLUMNS).len();
            cells.extend(frames.map(|column| Cell::Count(reading.count(FRAMES, who, column).total)));
            cells
        });
        Table { columns, rows: rows.collect() }
    }
}
