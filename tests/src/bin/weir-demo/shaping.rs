//! The last act: customers on different plans behind one tower that is too small for all of them, without the shaper and with it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use weir_stats::Bounds;
use weir_tests::appliance::Weir;
use weir_tests::fifo::Fifo;
use weir_tests::lab::{Host, Lab};
use weir_tests::measured::Measured;

use crate::customers::{CUSTOMERS, Customers};
use crate::load::Load;
use crate::screen::{Screen, progress};
use crate::weirstat;

/// What the tower carries, in Mbit/s, down and up: less than the plans together allow, more than they guarantee.
const TOWER: [f64; 2] = [20.0, 8.0];
/// How long the load runs, each time, and how much of that TCP gets to find its rates before anything is counted for the table.
const LENGTH: Duration = Duration::from_secs(12);
const SETTLED: Duration = Duration::from_secs(3);
/// Between two looks, and how many of them a figure on the screen covers.
const INTERVAL: Duration = Duration::from_millis(500);
const WINDOW: usize = 4;
/// The two directions, as weir's paths name them.
const WAYS: [&str; 2] = ["down", "up"];

/// Shows both, and returns the weir that has shaped, for the books.
pub fn show(lab: &Lab, tower: &Host, customers: &Customers) -> Result<Weir> {
    let [down, up] = TOWER;
    println!(
        "3. Plans: the customers' tower carries {down} Mbit/s down and {up} up. Each customer\n\
         \x20  has a greedy CUBIC and a greedy BBR flow in both directions, and pings the\n\
         \x20  internet.\n\n\
         \x20  Without the shaper: the kernel forwards, no plan is enforced, and at the\n\
         \x20  tower's rate is one queue each way, first in, first out (tbf), for 1,000 full\n\
         \x20  frames, as devices have it. Rates are of the payload that arrives.\n"
    );
    let without = {
        let _down = Fifo::hold(&lab.router, &tower.port, down)?;
        let _up = Fifo::hold(&lab.router, &lab.left().port, up)?;
        let load = Load::start(lab.left(), customers)?;
        watch(&load, None)?
    };
    println!(
        "\n\x20  With weir's shaper, and the same load. Read from weir's segment: what has\n\
         \x20  passed, in frames; rtt lan, beyond weir, to the customer; waits, the time\n\
         \x20  that all packets of the customer, greedy or not, spend in weir.\n"
    );
    let network =
        format!(r#"{{"tower":{{"downloadBandwidthMbps":{down},"uploadBandwidthMbps":{up},"type":"ap"}}}}"#);
    let weir = Weir::shaping(lab, 1, &network, &customers.plans(), "")?;
    let load = Load::start(lab.left(), customers)?;
    let with = watch(&load, Some(&weir))?;
    weirstat::show(&weir, &["show", "shaper"])?;
    drop(load);
    table(&without, &with);
    Ok(weir)
}

/// Draws until the time is over, and returns what the time after TCP had settled was like.
fn watch(load: &Load, weir: Option<&Weir>) -> Result<[Summary; CUSTOMERS.len()]> {
    let segment = weir.map(Segment::of).transpose()?;
    let mut screen = Screen::of_stdout();
    let interval = if screen.is_live() { INTERVAL } else { INTERVAL * 6 };
    let window = if screen.is_live() { WINDOW } else { 1 };
    let begun = Instant::now();
    let mut looks = vec![Look::take(load, segment.as_ref())?];
    let mut settled = None;
    while begun.elapsed() + interval / 2 < LENGTH {
        thread::sleep(interval);
        let look = Look::take(load, segment.as_ref())?;
        let before = &looks[looks.len().saturating_sub(window)];
        let rows = look.rows(before, segment.as_ref());
        if screen.is_live() {
            screen.redraw(&[vec![progress(begun.elapsed(), LENGTH), String::new()], rows].concat())?;
        } else {
            println!("{:.1} s\n{}", begun.elapsed().as_secs_f64(), rows.join("\n"));
        }
        looks.push(look);
        if settled.is_none() && begun.elapsed() + interval / 2 >= SETTLED {
            settled = Some(looks.len() - 1);
        }
    }
    let (first, last) = (&looks[settled.unwrap_or(0)], &looks[looks.len() - 1]);
    Ok(std::array::from_fn(|customer| last.summary(first, customer)))
}

/// What weir says of the customers while it runs.
struct Segment {
    measured: Measured,
    bounds: Bounds,
}

/// Of one customer, or of the tower.
struct Known {
    /// Bytes of frames that have passed, down and up.
    passed: [u64; 2],
    /// Columns of histograms: the round trip to the customer, and the time in weir, down and up. None for the tower.
    lan: Vec<u64>,
    waits: [Vec<u64>; 2],
}

impl Segment {
    fn of(weir: &Weir) -> Result<Segment> {
        let measured = Measured::of(weir)?;
        let bounds = measured.bounds()?;
        Ok(Segment { measured, bounds })
    }

    fn customer(&self, name: &str) -> Result<Known> {
        let cells = |path: &str| self.measured.cells(path, "/customers/names", name);
        let passed = |way| self.measured.traffic(&format!("/shaper/customers/{way}/sent"), name);
        Ok(Known {
            passed: [passed(WAYS[0])?.bytes, passed(WAYS[1])?.bytes],
            lan: cells("/rtt/customers/lan")?,
            waits: [cells("/delay/customers/down")?, cells("/delay/customers/up")?],
        })
    }

    fn tower(&self) -> Result<Known> {
        let column = self.measured.column("/shaper/nodes/names", "tower")?;
        let passed = |way| -> Result<u64> {
            let pairs = self.measured.pairs(&format!("/shaper/nodes/{way}/sent"))?;
            Ok(pairs.get(column).context("a column")?.bytes)
        };
        Ok(Known { passed: [passed(WAYS[0])?, passed(WAYS[1])?], lan: Vec::new(), waits: Default::default() })
    }

    /// The part of a histogram's growth that is below what is returned, in milliseconds.
    fn quantile(&self, now: &[u64], then: &[u64], part: f64) -> Option<f64> {
        let cells: Vec<u64> = now.iter().zip(then).map(|(now, then)| now - then).collect();
        Some(self.bounds.distribution(&cells).quantile(part)? / 1000.0)
    }
}

/// Everything at one moment.
struct Look {
    at: Instant,
    arrived: [[u64; 2]; CUSTOMERS.len()],
    pings: [Vec<f64>; CUSTOMERS.len()],
    /// The customers, and the tower after them.
    known: Vec<Known>,
}

/// What the table shows of a customer.
struct Summary {
    rates: [f64; 2],
    /// Milliseconds, p50 and p99.
    ping: [Option<f64>; 2],
}

impl Look {
    fn take(load: &Load, segment: Option<&Segment>) -> Result<Look> {
        let mut known = Vec::new();
        if let Some(segment) = segment {
            for customer in &CUSTOMERS {
                known.push(segment.customer(customer.name)?);
            }
            known.push(segment.tower()?);
        }
        Ok(Look {
            at: Instant::now(),
            arrived: std::array::from_fn(|customer| load.arrived(customer)),
            pings: std::array::from_fn(|customer| load.pings(customer)),
            known,
        })
    }

    /// Mbit/s, of bytes that were fewer in `before`.
    fn rate(&self, before: &Look, now: u64, then: u64) -> f64 {
        (now - then) as f64 * 8.0 / 1e6 / (self.at - before.at).as_secs_f64().max(1e-3)
    }

    fn summary(&self, before: &Look, customer: usize) -> Summary {
        let (now, then) = (self.arrived[customer], before.arrived[customer]);
        let pings = &self.pings[customer][before.pings[customer].len()..];
        Summary {
            rates: [self.rate(before, now[0], then[0]), self.rate(before, now[1], then[1])],
            ping: [quantile(pings, 0.5), quantile(pings, 0.99)],
        }
    }

    /// What was measured since `before`.
    fn rows(&self, before: &Look, segment: Option<&Segment>) -> Vec<String> {
        let rates = if segment.is_some() { "passed" } else { "arrived" };
        let mut rows = vec![
            format!(
                "{:6} {:>6}{:>14} {:>6} {:>14}{:>14}{:>16}",
                "Mbit/s", "plan", rates, "rtt", "waits down", "waits up", "ping"
            ),
            format!(
                "{:6} {:>6}{:>7}{:>7} {:>6} {:>7}{:>7}{:>7}{:>7}{:>8}{:>8}",
                "", "", "down", "up", "lan ms", "p50 ms", "p99 ms", "p50 ms", "p99 ms", "p50 ms", "p99 ms"
            ),
        ];
        for (number, customer) in CUSTOMERS.iter().enumerate() {
            let Summary { mut rates, ping } = self.summary(before, number);
            let (mut lan, mut waits) = (None, [None; 4]);
            if let (Some(segment), Some(now), Some(then)) =
                (segment, self.known.get(number), before.known.get(number))
            {
                rates = [0, 1].map(|way| self.rate(before, now.passed[way], then.passed[way]));
                lan = segment.quantile(&now.lan, &then.lan, 0.5);
                waits = [(0, 0.5), (0, 0.99), (1, 0.5), (1, 0.99)]
                    .map(|(way, part)| segment.quantile(&now.waits[way], &then.waits[way], part));
            }
            rows.push(row(customer.name, customer.max, rates, &[lan], &waits, &ping));
        }
        let rates = match (self.known.last(), before.known.last()) {
            (Some(now), Some(then)) => [0, 1].map(|way| self.rate(before, now.passed[way], then.passed[way])),
            _ => [0, 1].map(|way| {
                let sum = |look: &Look| look.arrived.iter().map(|arrived| arrived[way]).sum();
                self.rate(before, sum(self), sum(before))
            }),
        };
        rows.push(row("tower", TOWER, rates, &[], &[], &[]));
        rows
    }
}

fn row(
    name: &str,
    plan: [f64; 2],
    rates: [f64; 2],
    lan: &[Option<f64>],
    waits: &[Option<f64>],
    ping: &[Option<f64>],
) -> String {
    let cells = |values: &[Option<f64>], width: usize| -> String {
        values.iter().map(|value| format!("{:>width$}", milliseconds(*value))).collect()
    };
    let plan = format!("{}/{}", plan[0], plan[1]);
    let [down, up] = rates;
    let text = format!(
        "{name:6} {plan:>6}{down:>7.2}{up:>7.2} {:>6} {:28}{}",
        cells(lan, 6),
        cells(waits, 7),
        cells(ping, 8)
    );
    text.trim_end().to_owned()
}

fn table(without: &[Summary], with: &[Summary]) {
    println!(
        "\nThe same customers, tower and load, {} s each, without the first {}: TCP payload\n\
         that arrived, and pings. line: what a ping takes when nothing else runs, ms.\n",
        LENGTH.as_secs(),
        SETTLED.as_secs()
    );
    println!("{:29}{:>24}{:>26}", "", "one queue (FIFO)", "weir's shaper");
    println!("{:29}{:>13}{:>12}{:>14}{:>12}", "", "Mbit/s", "ping, ms", "Mbit/s", "ping, ms");
    let half = format!("{:>7}{:>6}{:>6}{:>6}", "down", "up", "p50", "p99");
    println!("{:6} {:>10} {:>5} {:>5}{half} {half}", "", "guaranteed", "plan", "line");
    for ((customer, without), with) in CUSTOMERS.iter().zip(without).zip(with) {
        let half = |summary: &Summary| {
            let ([down, up], [p50, p99]) = (summary.rates, summary.ping.map(milliseconds));
            format!("{down:>7.2}{up:>6.2}{p50:>6}{p99:>6}")
        };
        let [guaranteed, plan] = [customer.min, customer.max].map(|[down, up]| format!("{down}/{up}"));
        println!(
            "{:6} {guaranteed:>10} {plan:>5} {:>5}{} {}",
            customer.name,
            customer.round_trip,
            half(without),
            half(with)
        );
    }
    println!(
        "\nguaranteed, plan: the least and the most, in Mbit/s of frames, down/up. The\n\
         tower ({}/{}) has less than the plans allow: above the guarantees it is shared.",
        TOWER[0], TOWER[1]
    );
}

/// To at most six characters.
fn milliseconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// The value below which this part of the values is.
fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1))).copied()
}
