//! What the tests look at: a segment with something of everything, and a model that reads it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use weir_stats::{
    Catalogue, Change, CombinedRow, Liveness, Options, Reader, Reading, Segment, SimpleRow, Snapshot, Value,
};

use super::draw::draw;
use super::input::action;
use super::look::Look;
use super::model::{Model, Wish};

/// A weir, and somebody who looks at it.
pub struct Trial {
    /// What is seen.
    pub model: Model,
    /// How.
    pub look: Look,
    segment: Segment,
    counters: Option<Counters>,
    last: Option<Snapshot>,
    now: Instant,
}

/// The first worker's rows.
struct Counters {
    rx: CombinedRow,
    tx: CombinedRow,
    drops: SimpleRow,
    errors: SimpleRow,
    nodes: [SimpleRow; 3],
    loops: SimpleRow,
}

/// When all this happens, in seconds since 1970.
const NOW: u64 = 1_000_000_000;

impl Trial {
    /// Two ports, one with a name that is twice as wide as it is long, three nodes, three drop reasons, a worker.
    pub fn new() -> Trial {
        let mut trial = Trial::empty();
        let counters = trial.segment.register(|batch| {
            let mut names = batch.names("/if/names", 4)?;
            for (index, name) in ["eth1", "deleted", "wide"].iter().enumerate() {
                batch.set_name(&mut names, index, name)?;
            }
            let (mut rx, mut tx) = (batch.combined("/if/rx", 3, 4)?, batch.combined("/if/tx", 3, 4)?);
            let mut drops = batch.simple("/if/drops", 3, 4)?;
            for path in ["/if/punt", "/if/rx-miss", "/if/rx-no-buf", "/if/rx-error", "/if/tx-error"] {
                batch.simple(path, 3, 4)?;
            }
            let mut errors = batch.simple("/node/errors", 3, 3)?;
            for (column, reason) in
                ["ip4-input/bad-checksum", "ip4-lookup/no-route", "tx/ring-full"].iter().enumerate()
            {
                batch.symlink(&format!("/err/{reason}"), errors.id(), column)?;
            }
            let mut names = batch.names("/sys/node/names", 3)?;
            for (index, name) in ["ip4-input", "ip4-lookup", "tx"].iter().enumerate() {
                batch.set_name(&mut names, index, name)?;
            }
            let mut nodes = Vec::new();
            for path in ["/sys/node/calls", "/sys/node/vectors", "/sys/node/clocks"] {
                nodes.push(batch.simple(path, 3, 3)?);
            }
            batch.simple("/sys/node/held", 3, 3)?.take_row(1).unwrap().set(2, 3);
            let mut loops = batch.simple("/workers/loops", 1, 1)?;
            batch.simple("/workers/sleeps", 1, 1)?;
            batch.simple_rows("/sys/vector_rate_per_worker", 1, 2, 2)?.take_row(0).unwrap().set(1, 12);
            let mut names = batch.names("/workers/frame-columns", 2)?;
            batch.set_name(&mut names, 0, "free")?;
            batch.set_name(&mut names, 1, "held")?;
            batch.simple("/workers/frames", 2, 2)?.take_row(1).unwrap().set(0, 4096);
            batch.gauge("/sys/vector_rate", 12)?;
            let row = |vector: &mut weir_stats::Simple| vector.take_row(1).unwrap();
            Ok(Counters {
                rx: rx.take_row(1).unwrap(),
                tx: tx.take_row(1).unwrap(),
                drops: row(&mut drops),
                errors: row(&mut errors),
                nodes: [row(&mut nodes[0]), row(&mut nodes[1]), row(&mut nodes[2])],
                loops: row(&mut loops),
            })
        });
        trial.counters = Some(counters.unwrap());
        trial
    }

    /// A segment without anything to look at.
    pub fn empty() -> Trial {
        let options = Options { size: 1 << 20, workers: 1, grace: Duration::ZERO };
        Trial {
            model: Model::new("/run/weir/stats.sock".into(), Duration::from_secs(1)),
            look: Look::of(|name| (name == "TERM").then(|| "xterm".to_owned())),
            segment: Segment::in_heap(options).unwrap(),
            counters: None,
            last: None,
            now: Instant::now(),
        }
    }

    /// Somebody who looks at this segment.
    pub fn of(segment: Segment) -> Trial {
        Trial { segment, ..Trial::empty() }
    }

    /// The segment, to be made worse.
    pub fn segment(&mut self) -> &mut Segment {
        &mut self.segment
    }

    /// The same weir for the eyes of another user.
    pub fn see_as(&mut self, variables: &'static [(&'static str, &'static str)]) {
        self.look = Look::of(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        });
    }

    /// So many packets of 1000 bytes pass from the first port to the other, some of them are dropped, and the nodes' clocks
    /// tick.
    pub fn pass(&mut self, packets: u64, dropped: u64) {
        let Some(counters) = &mut self.counters else { return };
        counters.rx.add(0, packets, packets * 1000);
        counters.tx.add(2, packets - dropped, (packets - dropped) * 1000);
        counters.drops.add(0, dropped);
        counters.errors.add(1, dropped);
        counters.loops.add(0, 50_000);
        for node in 0..3 {
            counters.nodes[0].add(node, packets / 10);
            counters.nodes[1].add(node, packets);
            counters.nodes[2].add(node, packets * [20, 60, 40][node]);
        }
    }

    /// Reads, so many seconds after the last time.
    pub fn read(&mut self, seconds: f64) {
        self.read_as(seconds, Liveness::Live);
    }

    /// Reads a weir of which this is known.
    pub fn read_as(&mut self, seconds: f64, writer: Liveness) {
        let reader = Reader::of(&self.segment).unwrap();
        let (wanted, catalogue) = (self.model.wants(), Arc::new(Catalogue::of(&reader).unwrap()));
        let mut now = reader.snapshot(|entry| wanted(&entry.name)).unwrap();
        for (entry, value) in &mut now.values {
            match entry.name.as_str() {
                "/sys/pid" => *value = Value::Scalar(4242),
                // weir's own names are ASCII; whoever else writes a segment may use others.
                "/if/names" => {
                    if let Value::Names(names) = value
                        && let Some(name) = names.iter_mut().find(|name| *name == "wide")
                    {
                        *name = "端口".to_owned();
                    }
                }
                "/sys/boottime" => *value = Value::Scalar(NOW - 3723),
                _ => {}
            }
        }
        let change = self.last.as_ref().map(|last| Change {
            values: now.since(last, &catalogue),
            elapsed: Duration::from_secs_f64(seconds),
        });
        self.last = Some(now.clone());
        let reading = Reading { now: Arc::new(now), change, catalogue, writer };
        self.now += Duration::from_secs_f64(seconds);
        self.model.update(reading, Some(&reader), self.now);
    }

    /// Another weir takes the place of this one.
    pub fn restart(&mut self) {
        let Trial { segment, counters, .. } = Trial::new();
        (self.segment, self.counters, self.last) = (segment, counters, None);
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        for key in keys.chars() {
            self.key(KeyCode::Char(key));
        }
    }

    /// Presses a key.
    pub fn key(&mut self, key: KeyCode) -> Option<Wish> {
        Some(self.model.act(action(key.into(), self.model.typing().is_some())?))
    }

    /// Draws, and says how the screen looks. Spaces at the ends of lines are left out, and more than two empty lines are
    /// counted.
    pub fn screen(&mut self, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        self.draw(&mut terminal);
        let (mut text, mut empty) = (String::new(), 0);
        // The line behind the last one ends a run of empty ones.
        for line in terminal.backend().to_string().lines().chain(["\"end"]) {
            let line = line.split('"').nth(1).unwrap_or_default().trim_end();
            if line.is_empty() {
                empty += 1;
                continue;
            }
            match std::mem::take(&mut empty) {
                lines @ 0..=2 => text.push_str(&"\n".repeat(lines)),
                lines => text.push_str(&format!("[{lines} empty lines]\n")),
            }
            text.push_str(line);
            text.push('\n');
        }
        text.truncate(text.len() - "end\n".len());
        text
    }

    /// Draws on a terminal that is there already.
    pub fn draw(&mut self, terminal: &mut Terminal<TestBackend>) {
        let now: SystemTime = UNIX_EPOCH + Duration::from_secs(NOW);
        terminal
            .draw(|frame| {
                let cursor = draw(&mut self.model, self.look, now, frame.area(), frame.buffer_mut());
                cursor.into_iter().for_each(|position| frame.set_cursor_position(position));
            })
            .unwrap();
    }
}
