//! The targets of the packet path, beside what was measured.

use std::fmt::Write as _;

use serde_json::Value;

use super::found::Run;

/// What is measured, in which direction it is better.
enum Measured {
    /// Clocks of the time-stamp counter a packet: median, least.
    Clocks(Option<[f64; 2]>),
    /// More is better: the median of several, the best of them if that is known.
    Number { value: Option<[f64; 2]>, show: fn(f64) -> String },
}

/// One line.
struct Target {
    path: &'static str,
    vpp: &'static str,
    target: f64,
    measured: Measured,
}

/// The table in Markdown. VPP's column is of its 26.10-rc0 on the same class of machine.
pub fn table(memory: &Value, veth: Option<&Run>) -> String {
    let mut text =
        "| path | VPP 26.10-rc0 | target | median | best | |\n|---|---|---|---|---|---|\n".to_owned();
    for Target { path, vpp, target, measured } in targets(memory, veth) {
        let (limit, shown, verdict) = match measured {
            Measured::Clocks(clocks) => {
                let verdict = clocks.map(|clocks| clocks.map(|clocks| clocks <= target));
                (
                    format!("≤ {target:.0}"),
                    clocks.map(|clocks| clocks.map(|clocks| format!("{clocks:.1}"))),
                    verdict,
                )
            }
            Measured::Number { value, show } => {
                let verdict = value.map(|value| value.map(|value| value >= target));
                (format!("≥ {}", show(target)), value.map(|value| value.map(show)), verdict)
            }
        };
        let [median, best] = shown.unwrap_or_else(|| ["–".to_owned(), "–".to_owned()]);
        let verdict = match verdict {
            Some([true, _]) => "met",
            Some([false, true]) => "met by the best only",
            Some([false, false]) => "**missed**",
            None => "not measured",
        };
        let _ = writeln!(text, "| {path} | {vpp} | {limit} | {median} | {best} | {verdict} |");
    }
    text.trim_end().to_owned()
}

fn targets(memory: &Value, veth: Option<&Run>) -> Vec<Target> {
    let clocks =
        |path, vpp, target, measured| Target { path, vpp, target, measured: Measured::Clocks(measured) };
    let million = |number: f64| format!("{:.2} million", number / 1e6);
    let times = |times: f64| format!("{times:.2} ×");
    let graph = |case: &str| clocks_of(memory, "graph", "case", &case.into());
    let rtt = |flows: u64| clocks_of(memory, "rtt", "flows", &flows.into());
    let shaper = |case: &str| clocks_of(memory, "shaper", "case", &case.into());
    let routes =
        memory.get("routes_a_second").and_then(|it| Some([it.get(0)?.as_f64()?, it.get(1)?.as_f64()?]));
    let both = veth.and_then(|run| run.of("64", "weir + RTT + shaper")?.overload_to_bare);
    // What two workers forward by turns with one: the ratio has a median, and no best.
    let team = |name: &str| {
        let cases = memory.get("graph")?.as_array()?;
        let case = cases.iter().find(|case| case.get("case") == Some(&name.into()))?;
        Some([case.get("ratio_one_median")?.as_f64()?; 2])
    };
    vec![
        clocks("IPv4 forward, 1 route, `ethernet-input` to `tx`", "76", 45.0, graph("1 route")),
        clocks(
            "IPv4 forward, 500,000 /24 routes, random destinations",
            "311",
            90.0,
            graph("500,000 /24 routes, random destinations"),
        ),
        Target {
            path: "routes loaded a second",
            vpp: "425,000",
            target: 2e6,
            measured: Measured::Number { value: routes, show: million },
        },
        clocks("RTT match and stamp, 1,000 flows", "–", 25.0, rtt(1_000)),
        clocks("RTT match and stamp, 1,000,000 flows", "–", 70.0, rtt(1_000_000)),
        clocks(
            "shaper enqueue and dequeue, full vectors, 10,000 active",
            "–",
            120.0,
            shaper("full vectors: 10,000 active, held by their plans"),
        ),
        clocks(
            "shaper enqueue and dequeue, full vectors, 100,000 active of 1,000,000",
            "–",
            250.0,
            shaper("full vectors: 100,000 of 1,000,000, held by their plans"),
        ),
        Target {
            path: "veth to veth, 64 bytes, with RTT and shaper, to the bare loop in the same run",
            vpp: "0.9 to 1.0",
            target: 0.98,
            measured: Measured::Number {
                value: both.map(|both| [both; 2]),
                show: |part| format!("{part:.2}"),
            },
        },
        Target {
            path: "two workers against one, in memory, 1,000 routes",
            vpp: "–",
            target: 1.8,
            measured: Measured::Number { value: team("two workers, 1,000 routes"), show: times },
        },
        Target {
            path: "two workers against one, TCP measured, half of the packets handed over",
            vpp: "–",
            target: 1.8,
            measured: Measured::Number {
                value: team("two workers, TCP, 1,000 flows, measured"),
                show: times,
            },
        },
    ]
}

/// Median and least of a case of a bench.
fn clocks_of(memory: &Value, bench: &str, key: &str, case: &Value) -> Option<[f64; 2]> {
    let cases = memory.get(bench)?.as_array()?;
    let case = cases.iter().find(|it| it.get(key) == Some(case))?;
    let clocks = |key: &str| case.get(key).and_then(Value::as_f64);
    Some([clocks("clocks_median")?, clocks("clocks_least")?])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_target_is_met_by_the_median_by_the_best_only_or_not() {
        let case = |name: &str, median: f64, least: f64| json!({ "case": name, "clocks_median": median, "clocks_least": least });
        let memory = json!({
            "graph": [case("1 route", 44.0, 43.0), case("500,000 /24 routes, random destinations", 95.0, 89.0)],
            "shaper": [case("full vectors: 10,000 active, held by their plans", 130.0, 121.0)],
            "routes_a_second": [2_500_000.0, 2_600_000.0],
        });
        let table = table(&memory, None);
        let line =
            |words: &str| table.lines().find(|line| line.contains(words)).unwrap_or_default().to_owned();
        assert!(line("1 route").ends_with("| ≤ 45 | 44.0 | 43.0 | met |"), "{table}");
        assert!(line("500,000").ends_with("| ≤ 90 | 95.0 | 89.0 | met by the best only |"), "{table}");
        assert!(line("10,000 active").ends_with("| ≤ 120 | 130.0 | 121.0 | **missed** |"), "{table}");
        assert!(
            line("a second").ends_with("| ≥ 2.00 million | 2.50 million | 2.60 million | met |"),
            "{table}"
        );
        assert!(line("veth").ends_with("| ≥ 0.98 | – | – | not measured |"), "{table}");
    }
}
