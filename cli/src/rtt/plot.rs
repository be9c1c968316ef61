//! Distributions as bars, for a terminal of 80 columns or fewer and any taste in colours.

use std::io::{self, Write};

use crate::names::Names;
use crate::numbers;

use super::figures::{Figures, Row};
use super::subject::Source;
use super::table::{beyond, quantile, whole};

/// A plot has no more bars than this, so that two fit on a usual screen. Neighbouring bins are put together, as many as need be.
const BARS: usize = 12;

/// The length of the longest bar: what 80 columns leave.
const LONGEST: usize = 47;

/// What stands beside a bar: what it covers, how many samples that is, and how much of all.
const BESIDE: usize = 31;

/// A bar that is shorter tells nothing: a terminal that has no room for it wraps.
const SHORTEST: usize = 4;

/// A bar: what it covers, and how many samples that is.
struct Bar {
    label: String,
    count: u64,
}

/// Draws the distributions of each object, no wider than the terminal if it is for one. Where there is no sample there is
/// nothing to draw.
pub fn write(
    rows: &[Row],
    source: &Source,
    names: &Names,
    terminal: Option<usize>,
    out: &mut impl Write,
) -> io::Result<()> {
    let longest = terminal.map_or(LONGEST, |width| width.saturating_sub(BESIDE).clamp(SHORTEST, LONGEST));
    let mut is_first = true;
    for row in rows {
        let name = names.name(row.object).unwrap_or_default();
        for (measure, figures) in source.subject.measures.iter().zip(&row.measures) {
            let Some(figures) = figures.as_ref().filter(|figures| figures.count > 0) else { continue };
            if !std::mem::take(&mut is_first) {
                writeln!(out)?;
            }
            let [p50, p90, p99] = [0, 1, 2].map(|at| quantile(figures, at, source));
            writeln!(
                out,
                "{name}  {}: {} samples, p50 {p50}, p90 {p90}, p99 {p99}",
                measure.title, figures.count
            )?;
            let bars = bars(figures, source);
            let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
            for Bar { label, count } in bars {
                // One sample is seen beside millions.
                let length = (count as f64 / most as f64 * longest as f64).round() as usize;
                let length = length.max(usize::from(count > 0));
                let share = numbers::share(count as f64 / figures.count as f64);
                let line = format!("{:#<length$}", "");
                writeln!(out, "{label:>15}  {line:<longest$} {:>6} {share:>6}", numbers::count(count))?;
            }
        }
    }
    Ok(())
}

/// The bars between the lowest and the highest bin with a sample.
fn bars(figures: &Figures, source: &Source) -> Vec<Bar> {
    let upper = source.bounds.upper();
    let mut counts = vec![0; upper.len() + 1];
    for (bin, count) in
        figures.bins.iter().flat_map(|bins| bins.cells()).filter(|(bin, _)| *bin <= upper.len())
    {
        counts[bin] = count;
    }
    let mut bars = Vec::new();
    let known = &counts[..upper.len()];
    if let (Some(first), Some(last)) =
        (known.iter().position(|count| *count > 0), known.iter().rposition(|count| *count > 0))
    {
        let mut step = 1;
        while last / step - first / step >= BARS {
            step *= 2;
        }
        for group in first / step..=last / step {
            let (from, to) = (group * step, (group * step + step).min(upper.len()));
            let lower = from.checked_sub(1).map_or(0, |before| upper[before] + 1);
            let label = format!("{}-{}", whole(lower), whole(upper[to - 1] + 1));
            bars.push(Bar { label, count: known[from..to].iter().sum() });
        }
    }
    if counts[upper.len()] > 0 {
        bars.push(Bar { label: beyond(source), count: counts[upper.len()] });
    }
    bars
}

#[cfg(test)]
mod tests {
    use weir_stats::Reader;

    use super::super::figures::Chosen;
    use super::super::pass::Pass;
    use super::super::trial::{Trial, source};
    use super::*;

    fn plot(trial: &Trial, terminal: Option<usize>) -> String {
        let reader = Reader::of(&trial.segment).unwrap();
        let (source, names) = source(&reader);
        let pass = Pass { reader: &reader, source: &source, objects: &[0], all: false, keep_bins: true };
        let mut chosen = Chosen::new(None, None);
        pass.run(None, &mut chosen).unwrap();
        let mut out = Vec::new();
        write(&chosen.into_rows(), &source, &names, terminal, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bars_cover_what_was_measured() {
        let mut trial = Trial::new(&["acme"]);
        for (time, count) in [(1_030, 10), (1_200, 4_000), (1_400, 2_000), (1_600, 100), (1_750, 1)] {
            trial.sample(0, 0, time, count);
        }
        trial.sample(3, 0, 5, 7);
        trial.sample(3, 0, 300_000, 3);
        trial.sample(3, 0, 60_000_000, 1);
        assert_eq!(
            plot(&trial, None),
            "\
acme  rtt lan: 6111 samples, p50 1.25ms, p90 1.38ms, p99 1.60ms
  1.02ms-1.15ms  #                                                   10   0.2%
  1.15ms-1.28ms  ###############################################   4000  65.5%
  1.28ms-1.41ms  ########################                          2000  32.7%
  1.41ms-1.54ms                                                       0   0.0%
  1.54ms-1.66ms  #                                                  100   1.6%
  1.66ms-1.79ms  #                                                    1   0.0%

acme  delay up: 11 samples, p50 13.4us, p90 327ms, p99 >16.8s
       0us-64us  ###############################################      7  63.6%
     64us-256us                                                       0   0.0%
   256us-1.02ms                                                       0   0.0%
  1.02ms-4.10ms                                                       0   0.0%
  4.10ms-16.4ms                                                       0   0.0%
  16.4ms-65.5ms                                                       0   0.0%
   65.5ms-262ms                                                       0   0.0%
    262ms-1.05s  ####################                                 3  27.3%
         >16.8s  #######                                              1   9.1%
"
        );
    }

    #[test]
    fn no_line_is_wider_than_80_columns_or_the_terminal() {
        let mut trial = Trial::new(&["acme"]);
        for bin in 0..=160_u64 {
            let time = bounds_of(bin);
            trial.sample(0, 0, time, 1 << (bin % 40));
        }
        let text = plot(&trial, None);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(text.lines().count(), 1 + 10 + 1, "{text}");
        for (terminal, widest) in [(50, 50), (200, BESIDE + LONGEST), (1, BESIDE + SHORTEST)] {
            let text = plot(&trial, Some(terminal));
            let bars = || text.lines().skip(1).map(str::len);
            assert_eq!((bars().min(), bars().max()), (Some(widest), Some(widest)), "{text}");
        }
    }

    fn bounds_of(bin: u64) -> u64 {
        crate::measured::bounds().get(bin as usize).copied().unwrap_or(u64::MAX >> 30)
    }
}
