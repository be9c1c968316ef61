//! Three customers below one tower, whose downloads begin and end one after another: with one queue for all of them, with the kernel's HTB, and with weir.
//! With `WEIR_WRITE_DOCS` in the environment (`cargo xtask plots --measure`) what was seen is written into `docs/shaping/`, which the plots there are made from.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use weir_tests::appliance::Weir;
use weir_tests::clients::Stream;
use weir_tests::fifo::Fifo;
use weir_tests::htb::Htb;
use weir_tests::lab::{Host, Lab, WIRE};
use weir_tests::pings::Pings;
use weir_tests::plans::Customer;
use weir_tests::scenario::unless_skipped;

/// What the tower carries, down and up, in Mbit/s.
const TOWER: [f64; 2] = [20.0, 20.0];

/// A customer, and what they do.
struct Plan {
    name: &'static str,
    /// Guaranteed, in Mbit/s. The weight too: what the tower has left is shared by it.
    min: f64,
    max: f64,
    flows: usize,
    /// The phases in which they download.
    active: [bool; PHASES],
}

const PLANS: [Plan; 3] = [
    Plan { name: "alice", min: 8.0, max: 15.0, flows: 1, active: [true, true, true, false] },
    Plan { name: "bob", min: 4.0, max: 10.0, flows: 4, active: [false, true, true, true] },
    Plan { name: "carol", min: 2.0, max: 6.0, flows: 2, active: [false, false, true, true] },
];
/// In each phase, what each should get of a tower that is shared as HTB shares: guarantees first, the rest by weight, nobody above the plan.
const SHARES: [[f64; 3]; PHASES] =
    [[15.0, 0.0, 0.0], [40.0 / 3.0, 20.0 / 3.0, 0.0], [80.0 / 7.0, 40.0 / 7.0, 20.0 / 7.0], [0.0, 10.0, 6.0]];
const PHASES: usize = 4;
const PHASE: Duration = Duration::from_millis(2500);
/// Of each phase, until TCP has found its share.
const SETTLING: Duration = Duration::from_millis(1000);
/// Between two counts.
const SAMPLE: Duration = Duration::from_millis(200);
/// Seconds between two pings of a customer.
const PING: &str = "0.05";
/// The most that a rate may be above the plan in the rest of a phase: packets are counted where they come in, behind the tower's switch, which may be late.
/// How exact weir is at its own port is another test's business.
const ABOVE: f64 = 0.05;
/// How much it may be below: flows are few, and the machine's cores are shared with everything that runs on it.
const BELOW: f64 = 0.1;
/// Too little in one of so many tries may be the machine's doing; too much never is.
const ATTEMPTS: usize = 4;

/// What was seen of one way to share the tower.
struct Seen {
    /// Seconds since the beginning, and Mbit/s of frames that came to each customer since the sample before.
    rates: Vec<(f64, [f64; PLANS.len()])>,
    /// Of all customers while they download, milliseconds, in order of length.
    pings: Vec<f64>,
}

#[test]
fn shares_follow_who_is_there_and_pings_do_not_wait() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::with_hosts(&["internet", "tower"], 1)?;
        let [internet, tower] = &lab.hosts[..] else { bail!("two hosts") };
        let hosts = lab.behind(tower, 11, &PLANS.map(|plan| plan.name))?;
        let customers: Vec<Customer<'_>> = hosts.iter().zip(&PLANS).map(customer).collect();

        let fifo = {
            let _down = Fifo::hold(&lab.router, &tower.port, TOWER[0])?;
            watch(internet, &hosts)?
        };
        fifo.describe("one queue");
        let (htb, leaf) = {
            let htb = Htb::hold(&lab.router, [&tower.port, &internet.port], TOWER, &customers)?;
            (watch(internet, &hosts)?, htb.leaf())
        };
        htb.describe(&format!("HTB, leaves {leaf}"));
        let [down, up] = TOWER;
        let network = format!(
            r#"{{"tower":{{"downloadBandwidthMbps":{down},"uploadBandwidthMbps":{up},"type":"ap"}}}}"#
        );
        let weir = Weir::shaping(&lab, 1, &network, &customers, "")?;
        let shaped = shared(internet, &hosts)?;
        weir.counters().conserve()?;
        weir.stop()?;

        let (fast, slow) = (shaped.quantile(0.99), fifo.quantile(0.5));
        ensure!(
            fast * 4.0 < slow,
            "99 % of pings take up to {fast} ms with weir, half of them {slow} ms without"
        );
        if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
            write(&fifo, &htb, &leaf.to_string(), &shaped)?;
        }
        Ok(())
    })
}

fn customer<'a>((host, plan): (&'a Host, &Plan)) -> Customer<'a> {
    Customer { host, id: plan.name, node: "tower", min: [plan.min; 2], max: [plan.max; 2] }
}

/// Watches until everybody gets what they should.
fn shared(internet: &Host, hosts: &[Host]) -> Result<Seen> {
    for _ in 0..ATTEMPTS {
        let seen = watch(internet, hosts)?;
        seen.describe("weir");
        let mut enough = true;
        for (phase, shares) in SHARES.iter().enumerate() {
            let rates = seen.settled(phase);
            let whole: f64 = rates.iter().sum();
            ensure!(whole <= TOWER[0] * (1.0 + ABOVE), "{whole} Mbit/s in phase {phase}");
            for ((rate, share), plan) in rates.iter().zip(shares).zip(&PLANS) {
                ensure!(*rate <= plan.max * (1.0 + ABOVE), "{}: {rate} of {} Mbit/s", plan.name, plan.max);
                enough &= *rate >= share * (1.0 - BELOW);
            }
        }
        if enough {
            return Ok(seen);
        }
    }
    bail!("less than their share for some, in each of {ATTEMPTS} tries")
}

/// Lets the customers do what they do, and counts.
fn watch(internet: &Host, hosts: &[Host]) -> Result<Seen> {
    let pings = hosts.iter().map(|host| Pings::start(host, internet, PING)).collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    let (rates, mut pings) = thread::scope(|scope| {
        // connecting takes its time where queues are long: nobody waits for another
        let downloads: Vec<_> = hosts
            .iter()
            .zip(&PLANS)
            .zip(&pings)
            .map(|((host, plan), pings)| scope.spawn(move || download(internet, host, plan, pings, begun)))
            .collect();
        let rates = count(hosts, begun)?;
        let mut pings = Vec::new();
        for thread in downloads {
            pings.extend(thread.join().map_err(|_| anyhow!("a download panicked"))??);
        }
        Ok::<_, anyhow::Error>((rates, pings))
    })?;
    pings.sort_by(f64::total_cmp);
    ensure!(!pings.is_empty(), "no ping was answered");
    Ok(Seen { rates, pings })
}

/// A customer's greedy flows, in their phases, and how long the pings beside them took.
fn download(internet: &Host, host: &Host, plan: &Plan, pings: &Pings, begun: Instant) -> Result<Vec<f64>> {
    let (mut flows, mut beside) = (Vec::new(), Vec::new());
    for (active, end) in plan.active.iter().zip(1..) {
        if !active {
            flows.clear();
        }
        while *active && flows.len() < plan.flows {
            flows.push(Stream::start_with(internet, host, "cubic")?);
        }
        let before = pings.times().len();
        thread::sleep((PHASE * end).saturating_sub(begun.elapsed()));
        if *active {
            beside.extend_from_slice(pings.times().get(before..).unwrap_or_default());
        }
    }
    Ok(beside)
}

/// The rates of all phases.
fn count(hosts: &[Host], begun: Instant) -> Result<Vec<(f64, [f64; PLANS.len()])>> {
    let look = || -> Result<Vec<(Instant, u64)>> {
        let one = |host: &Host| Ok((Instant::now(), host.namespace.traffic(WIRE)?.received.bytes));
        hosts.iter().map(one).collect()
    };
    let mut before = look()?;
    let mut rates = Vec::new();
    for sample in 1.. {
        let due = SAMPLE * sample;
        if due > PHASE * PHASES as u32 {
            break;
        }
        thread::sleep(due.saturating_sub(begun.elapsed()));
        let now = look()?;
        let mut row = [0.0; PLANS.len()];
        for (rate, (now, then)) in row.iter_mut().zip(now.iter().zip(&before)) {
            *rate = (now.1 - then.1) as f64 * 8.0 / 1e6 / (now.0 - then.0).as_secs_f64();
        }
        rates.push((begun.elapsed().as_secs_f64(), row));
        before = now;
    }
    Ok(rates)
}

impl Seen {
    /// What each got in a phase, once that had settled.
    fn settled(&self, phase: usize) -> [f64; PLANS.len()] {
        let begin = (PHASE * phase as u32 + SETTLING + SAMPLE).as_secs_f64();
        let end = (PHASE * (phase as u32 + 1)).as_secs_f64();
        let rows: Vec<_> = self.rates.iter().filter(|(at, _)| (begin..end).contains(at)).collect();
        std::array::from_fn(|at| rows.iter().map(|(_, row)| row[at]).sum::<f64>() / rows.len().max(1) as f64)
    }

    /// The time that this part of the pings took at most.
    fn quantile(&self, part: f64) -> f64 {
        let last = self.pings.len() - 1;
        self.pings[((last as f64 * part).round() as usize).min(last)]
    }

    fn describe(&self, name: &str) {
        println!("{name}: ping p50 {:.1} ms, p99 {:.1} ms", self.quantile(0.5), self.quantile(0.99));
        for (phase, shares) in SHARES.iter().enumerate() {
            println!("    phase {phase}: {:.2?} Mbit/s of {shares:.2?}", self.settled(phase));
        }
    }
}

/// Writes what the plots are made from.
fn write(fifo: &Seen, htb: &Seen, leaf: &str, weir: &Seen) -> Result<()> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/shaping"));
    fs::create_dir_all(folder)?;
    let names = PLANS.map(|plan| plan.name).join(",");
    for (file, seen) in [("rates-fifo.csv", fifo), ("rates-htb.csv", htb), ("rates-weir.csv", weir)] {
        let mut text = format!("seconds,{names}\n");
        for (at, row) in &seen.rates {
            writeln!(text, "{at:.2},{}", row.map(|rate| format!("{rate:.2}")).join(","))?;
        }
        fs::write(folder.join(file), text).context("the rates cannot be written")?;
    }
    let mut text = String::from("seconds,event\n");
    for phase in 0..PHASES {
        let was = |plan: &Plan| phase > 0 && plan.active[phase - 1];
        for plan in PLANS.iter().filter(|plan| was(plan) != plan.active[phase]) {
            let flows = if plan.flows == 1 { "1 flow".to_owned() } else { format!("{} flows", plan.flows) };
            let event =
                if was(plan) { format!("{} ends", plan.name) } else { format!("{}: {flows}", plan.name) };
            writeln!(text, "{},{event}", (PHASE * phase as u32).as_secs_f64())?;
        }
    }
    fs::write(folder.join("events.csv"), text).context("the events cannot be written")?;
    let mut text = format!("percent,one queue (FIFO),kernel's HTB ({leaf}),weir's shaper\n");
    // half a percent is finer than a plot's line
    for part in (0..=200).map(|step| f64::from(step) / 200.0) {
        let times = [fifo, htb, weir].map(|seen| format!("{:.3}", seen.quantile(part)));
        writeln!(text, "{:.1},{}", part * 100.0, times.join(","))?;
    }
    fs::write(folder.join("pings.csv"), text).context("the pings cannot be written")?;
    Ok(())
}
