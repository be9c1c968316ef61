//! All rounds, and what they come to.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use weir_benches::summary::median;

use crate::measured::{self, Carried, Held, Load, Ping};
use crate::scene::{BINDING, Between, NAMES, OPEN, Scene};

/// For the pings that show what the veths and the kernel's bridge alone take.
const IDLE: Duration = Duration::from_secs(2);

/// Everything.
#[derive(Serialize)]
pub struct Comparison {
    /// Length of the measured windows.
    window_seconds: f64,
    /// What holds the packets below HTB's classes.
    leaf: String,
    /// Mbit/s down and up.
    plans: [[f64; 2]; NAMES.len()],
    /// Pings through the kernel's bridge while nothing else runs.
    idle: Ping,
    rounds: Vec<Round>,
    /// Of each figure; that of the ratios is not the ratio of the medians.
    median: Round,
}

/// What one round has measured.
#[derive(Clone, Serialize)]
struct Round {
    /// Held to their plans, with downloads only.
    down: Both,
    /// With downloads and uploads.
    both: Both,
    /// No shaper, with the kernel's bridge and with weir's; and plans that nobody reaches.
    open: [Open; 4],
}

/// The two shapers with the same plans and the same load.
#[derive(Clone, Copy, Serialize)]
struct Both {
    htb: Held,
    weir: Held,
    /// Of weir's processor time to HTB's.
    cpu_ratio: f64,
}

/// What one of them carries.
#[derive(Clone, Copy, Serialize)]
struct Open {
    who: &'static str,
    #[serde(flatten)]
    carried: Carried,
    /// To the kernel's bridge in the same round.
    ratio: f64,
}

/// In this order, in turns from the beginning and from the end.
const OPENS: [(Between, &str); 4] = [
    (Between::Kernel, "kernel's bridge"),
    (Between::Htb, "kernel's bridge, HTB"),
    (Between::Bridge, "weir's bridge"),
    (Between::Shaper, "weir's bridge, shaper"),
];

/// Measures every shaper `rounds` times.
pub fn compare(weir: &Path, rounds: u32, window: Duration) -> Result<Comparison> {
    let scene = Scene::new(weir.to_owned())?;
    let idle = measured::idle(&scene, IDLE)?;
    let mut measured = Vec::new();
    for number in 0..rounds {
        eprintln!("round {} of {rounds}", number + 1);
        measured.push(round(&scene, window, number % 2 == 1)?);
    }
    Ok(Comparison {
        window_seconds: window.as_secs_f64(),
        leaf: scene.leaf()?.to_string(),
        plans: BINDING.customers,
        idle,
        median: Round::median(&measured),
        rounds: measured,
    })
}

fn round(scene: &Scene, window: Duration, backwards: bool) -> Result<Round> {
    let both = |load| -> Result<Both> {
        let held = |between, who| -> Result<Held> {
            let held = scene.with(between, &BINDING, |weir| measured::held(scene, weir, load, window))?;
            let Held { down, up, cpu, .. } = held;
            eprintln!("    {who}, {load:?}: {down:.1?} Mbit/s down, {up:.1?} up, {cpu:.2} s/s");
            Ok(held)
        };
        let (htb, weir);
        if backwards {
            weir = held(Between::Shaper, "weir")?;
            htb = held(Between::Htb, "HTB")?;
        } else {
            htb = held(Between::Htb, "HTB")?;
            weir = held(Between::Shaper, "weir")?;
        }
        Ok(Both { htb, weir, cpu_ratio: weir.cpu / htb.cpu })
    };
    let (down, both) = (both(Load::Down)?, both(Load::Both)?);
    let mut carried = OPENS.map(|_| None);
    let order: Vec<usize> =
        if backwards { (0..OPENS.len()).rev().collect() } else { (0..OPENS.len()).collect() };
    for place in order {
        let (between, who) = OPENS[place];
        let seen = scene.with(between, &OPEN, |_| measured::carried(scene, window))?;
        eprintln!("    {who}, open: {:.0} Mbit/s, {:.2} s/s", seen.rate, seen.cpu);
        carried[place] = Some(seen);
    }
    let base = carried[0].map_or(f64::NAN, |base: Carried| base.rate);
    let nothing = Carried { rate: f64::NAN, cpu: f64::NAN };
    let open = std::array::from_fn(|place| {
        let carried = carried[place].unwrap_or(nothing);
        Open { who: OPENS[place].1, carried, ratio: carried.rate / base }
    });
    Ok(Round { down, both, open })
}

impl Round {
    fn median(rounds: &[Round]) -> Round {
        let both = |of: fn(&Round) -> Both| {
            let held = |who: fn(&Both) -> Held| {
                Held::median(&rounds.iter().map(|round| who(&of(round))).collect::<Vec<_>>())
            };
            Both {
                htb: held(|both| both.htb),
                weir: held(|both| both.weir),
                cpu_ratio: median(rounds.iter().map(|round| of(round).cpu_ratio)),
            }
        };
        Round {
            down: both(|round| round.down),
            both: both(|round| round.both),
            open: std::array::from_fn(|place| {
                let all: Vec<Carried> = rounds.iter().map(|round| round.open[place].carried).collect();
                Open {
                    who: OPENS[place].1,
                    carried: Carried::median(&all),
                    ratio: median(rounds.iter().map(|round| round.open[place].ratio)),
                }
            }),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rounds, seconds) = (self.rounds.len(), self.window_seconds);
        writeln!(
            f,
            "Customers held to their plans: two CUBIC flows and a ping of each; medians of {rounds} rounds, windows of {seconds} s.\n\
             Rates are of whole frames, in percent of the plan; pings in ms, with nothing else running {} at p50, {} at p99.\n\
             Processor seconds a second: of everything, ends and bridges too.\n",
            milliseconds(self.idle.p50),
            milliseconds(self.idle.p99)
        )?;
        self.held(f, "Downloads", &self.median.down, false)?;
        self.held(f, "Two more flows up", &self.median.both, true)?;
        let open = &self.median.open;
        writeln!(
            f,
            "The most that passes, down, two CUBIC flows each; plans, where there are any, are never reached.\n"
        )?;
        writeln!(f, "{:<24}{:>8}{:>22}{:>18}", "", "Mbit/s", "to kernel's bridge", "processors, s/s")?;
        for Open { who, carried, ratio } in open {
            writeln!(f, "{who:<24}{:>8.0}{:>20.1} %{:>18.2}", carried.rate, ratio * 100.0, carried.cpu)?;
        }
        Ok(())
    }
}

impl Comparison {
    /// One load's table.
    fn held(&self, f: &mut fmt::Formatter<'_>, load: &str, both: &Both, up: bool) -> fmt::Result {
        let shapers = [&both.htb, &both.weir];
        let names = [format!("HTB, {}", self.leaf), "weir".to_owned()];
        writeln!(f, "{load:<17}{}", names.map(|name| format!("{name:>34}")).concat())?;
        let head = format!("{:>10}{:>10}{:>7}{:>7}", "down", if up { "up" } else { "" }, "p50", "p99");
        writeln!(f, "{:<9}{:>8}{head}{head}", "", "Mbit/s")?;
        for (place, name) in NAMES.iter().enumerate() {
            let plan = self.plans[place];
            let half = |held: &Held| {
                let part = |way: usize, rate: f64| format!("{:.1} %", rate / plan[way] * 100.0);
                let Ping { p50, p99 } = held.ping[place];
                let up = if up { part(1, held.up[place]) } else { String::new() };
                let down = part(0, held.down[place]);
                format!("{down:>10}{up:>10}{:>7}{:>7}", milliseconds(p50), milliseconds(p99))
            };
            let plan = format!("{}/{}", plan[0], plan[1]);
            writeln!(f, "{name:<9}{plan:>8}{}", shapers.map(half).concat())?;
        }
        let cpu = |held: &Held, more: String| format!("{:>34}", format!("{:.2}{more}", held.cpu));
        let [htb, weir] = shapers;
        let process = weir.process.unwrap_or(f64::NAN);
        let more = format!(" ({:.0} %; weir {process:.2})", both.cpu_ratio * 100.0);
        writeln!(f, "{:<17}{}{}\n", "processors, s/s", cpu(htb, String::new()), cpu(weir, more))
    }
}

/// To three digits, more or less.
fn milliseconds(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
