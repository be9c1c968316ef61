//! The second act: customers at different distances, and what weir knows of each.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use weir_stats::{Bounds, Distribution};
use weir_tests::appliance::Weir;
use weir_tests::clients::Browsing;
use weir_tests::lab::Lab;
use weir_tests::measured::Measured;

use crate::customers::{CUSTOMERS, Customers, each_way};
use crate::screen::{Screen, progress};
use crate::weirstat;

/// The customer whose line gets longer, how long its round trip is then, and when: what a failed link and its detour look like.
const DETOUR: (usize, u64, Duration) = (1, 35, Duration::from_secs(4));

/// How long the customers browse.
const LENGTH: Duration = Duration::from_secs(8);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// Columns of a bar, and the round trip that fills it.
const BAR: usize = 20;
const LONGEST: f64 = 80_000.0;

/// Shows it, and lets weirstat sum it up.
pub fn show(lab: &Lab, weir: &Weir, customers: &Customers) -> Result<()> {
    let (detour, longer, when) = DETOUR;
    println!(
        "\n2. Round trips: three customers load pages from internet. Each has a line of its\n\
         \x20  own, as long as the column `line` says; weir is not told, but measures it.\n\n\
         \x20  Look at rtt lan, the round trip beyond the customer's side. After {} s the\n\
         \x20  line of {} takes {longer} ms: see how soon it shows. rtt wan is the round\n\
         \x20  trip beyond the other side, to internet; waits is the time that packets to\n\
         \x20  the customer spend inside weir (of 99 in a hundred).\n",
        when.as_secs(),
        CUSTOMERS[detour].name,
    );
    let browsing: Vec<Browsing> =
        customers.iter().map(|(_, host)| Browsing::start(host, lab.left())).collect::<Result<_>>()?;
    let measured = Measured::of(weir)?;
    let bounds = measured.bounds()?;
    let mut round_trips = CUSTOMERS.map(|customer| customer.round_trip);
    let mut screen = Screen::of_stdout();
    let interval = if screen.is_live() { INTERVAL } else { INTERVAL * 4 };
    let begun = Instant::now();
    let mut last = Look::take(&measured)?;
    while begun.elapsed() + interval / 2 < LENGTH {
        thread::sleep(interval);
        let look = Look::take(&measured)?;
        let rows = look.rows(&last, &bounds, &round_trips);
        if screen.is_live() {
            screen.redraw(&[vec![progress(begun.elapsed(), LENGTH), String::new()], rows].concat())?;
        } else {
            println!("{:.1} s\n{}", begun.elapsed().as_secs_f64(), rows.join("\n"));
        }
        last = look;
        if begun.elapsed() + interval / 2 >= when && round_trips[detour] != longer {
            customers.lines[detour].hold(each_way(longer));
            round_trips[detour] = longer;
        }
    }
    drop(browsing);
    println!(
        "\nHow the round trips of {} are distributed: the two hills of rtt lan are its\n\
         line before and after.",
        CUSTOMERS[detour].name
    );
    weirstat::show(weir, &["rtt", "--plot", CUSTOMERS[detour].name])?;
    println!("\nAll customers, over the whole time:");
    weirstat::show(weir, &["rtt"])?;
    customers.lines[detour].hold(each_way(CUSTOMERS[detour].round_trip));
    Ok(())
}

/// What is known of each customer at one moment.
struct Look {
    at: Instant,
    customers: Vec<Known>,
}

/// Columns of histograms, and bytes to the customer.
struct Known {
    lan: Vec<u64>,
    wan: Vec<u64>,
    waits: Vec<u64>,
    bytes: u64,
}

impl Look {
    fn take(measured: &Measured) -> Result<Look> {
        let known = CUSTOMERS.iter().map(|customer| {
            let cells = |path| measured.cells(path, "/customers/names", customer.name);
            Ok(Known {
                lan: cells("/rtt/customers/lan")?,
                wan: cells("/rtt/customers/wan")?,
                waits: cells("/delay/customers/down")?,
                bytes: measured.traffic("/customers/down", customer.name)?.bytes,
            })
        });
        Ok(Look { at: Instant::now(), customers: known.collect::<Result<_>>()? })
    }

    /// What was measured since `before`.
    fn rows(&self, before: &Look, bounds: &Bounds, round_trips: &[u64]) -> Vec<String> {
        let seconds = (self.at - before.at).as_secs_f64().max(1e-3);
        let since = |now: &[u64], then: &[u64]| {
            let cells: Vec<u64> = now.iter().zip(then).map(|(now, then)| now - then).collect();
            bounds.distribution(&cells)
        };
        let head = format!(
            "{:<8} {:>6} {:>8} {:>8} {:>8} {:>7} {:>6}",
            "customer", "line", "rtt lan", "rtt wan", "waits", "samples", "Mbit/s"
        );
        let rows = CUSTOMERS.iter().zip(round_trips).zip(self.customers.iter().zip(&before.customers));
        let rows = rows.map(|((customer, line), (now, then))| {
            let lan = since(&now.lan, &then.lan);
            let bar = lan.quantile(0.5).unwrap_or(0.0) / LONGEST * BAR as f64;
            format!(
                "{:<8} {:>6} {:>8} {:>8} {:>8} {:>7} {:>6.1}  {}",
                customer.name,
                format!("{line} ms"),
                milliseconds(&lan, 0.5),
                milliseconds(&since(&now.wan, &then.wan), 0.5),
                milliseconds(&since(&now.waits, &then.waits), 0.99),
                lan.count(),
                (now.bytes - then.bytes) as f64 * 8.0 / 1e6 / seconds,
                "#".repeat((bar.round() as usize).clamp(usize::from(lan.count() > 0), BAR)),
            )
        });
        std::iter::once(head).chain(rows).collect()
    }
}

fn milliseconds(distribution: &Distribution, part: f64) -> String {
    distribution.quantile(part).map_or_else(|| "-".to_owned(), |micros| format!("{:.2} ms", micros / 1000.0))
}
