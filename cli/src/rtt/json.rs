//! Figures as JSON: one object a line for each customer or port.

use std::io::Write;

use serde::Serialize;

use crate::failure::Failure;
use crate::names::Names;

use super::figures::{Figures, Row};
use super::subject::{BY_CUSTOMER, Source};

/// When, and of how long, figures are.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Interval {
    /// The end, in seconds since 1970.
    pub time: f64,
    /// The length in seconds.
    pub seconds: f64,
}

#[derive(Serialize)]
struct Customer<'r> {
    #[serde(flatten)]
    interval: Option<Interval>,
    customer: &'r str,
    rtt: Sides,
    delay: Directions<Times>,
    traffic: Directions<Traffic>,
}

#[derive(Serialize)]
struct Port<'r> {
    #[serde(flatten)]
    interval: Option<Interval>,
    port: &'r str,
    rtt: Option<Times>,
    delay: Option<Times>,
    sent: Option<Sent>,
}

#[derive(Serialize)]
struct Sides {
    lan: Option<Times>,
    wan: Option<Times>,
}

#[derive(Serialize)]
struct Directions<T> {
    down: Option<T>,
    up: Option<T>,
}

/// Times in microseconds; null where there is none, or where it lies beyond the last bound.
#[derive(Serialize)]
struct Times {
    count: u64,
    min_us: Option<u64>,
    mean_us: Option<f64>,
    p50_us: Option<f64>,
    p90_us: Option<f64>,
    p99_us: Option<f64>,
    max_us: Option<u64>,
}

#[derive(Serialize)]
struct Traffic {
    packets: u64,
    bytes: u64,
    retransmissions: u64,
    retransmission_share: Option<f64>,
    reordered: u64,
}

#[derive(Serialize)]
struct Sent {
    packets: u64,
    bytes: u64,
}

/// To the nanosecond: what is behind it is the estimate's, not the measurement's.
fn rounded(time: f64) -> Option<f64> {
    time.is_finite().then(|| (time * 1e3).round() / 1e3)
}

impl From<&Figures> for Times {
    fn from(figures: &Figures) -> Times {
        let count = figures.count;
        let quantile = |at: usize| if count > 0 { rounded(figures.quantiles[at]) } else { None };
        Times {
            count,
            min_us: (count > 0).then_some(figures.min),
            mean_us: figures.sum.filter(|_| count > 0).and_then(|sum| rounded(sum as f64 / count as f64)),
            p50_us: quantile(0),
            p90_us: quantile(1),
            p99_us: quantile(2),
            max_us: figures.max,
        }
    }
}

impl From<&Figures> for Traffic {
    fn from(figures: &Figures) -> Traffic {
        let [packets, bytes, retransmissions, reordered] = figures.traffic;
        let retransmission_share = figures.retransmitted();
        Traffic { packets, bytes, retransmissions, retransmission_share, reordered }
    }
}

/// Writes the rows.
pub fn write(
    rows: &[Row],
    source: &Source,
    names: &Names,
    interval: Option<Interval>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    for row in rows {
        let name = names.name(row.object).unwrap_or_default();
        let figures = |at: usize| row.measures.get(at)?.as_ref();
        let times = |at| figures(at).map(Times::from);
        let traffic = |at| figures(at).map(Traffic::from);
        if source.subject.label == BY_CUSTOMER.label {
            let customer = Customer {
                interval,
                customer: &name,
                rtt: Sides { lan: times(0), wan: times(1) },
                delay: Directions { down: times(2), up: times(3) },
                traffic: Directions { down: traffic(2), up: traffic(3) },
            };
            serde_json::to_writer(&mut *out, &customer)?;
        } else {
            let sent = figures(1).map(|it| Sent { packets: it.traffic[0], bytes: it.traffic[1] });
            let port = Port { interval, port: &name, rtt: times(0), delay: times(1), sent };
            serde_json::to_writer(&mut *out, &port)?;
        }
        writeln!(out)?;
    }
    Ok(())
}
