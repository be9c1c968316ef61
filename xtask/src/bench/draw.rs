//! The plots of a run from veth to veth.

use anyhow::{Context as _, Result};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::found::{Found, Run};
use crate::plots::{Area, COLOURS, FONT, GREY, TEXT, heading, legend};

/// Packets a second by frame size, and what that is of the bare loop's.
pub fn throughput(run: &Run) -> Result<String> {
    image(
        "From veth to veth, by frame size: one core forwards, the other makes the packets",
        run,
        |run, [above, below]| {
            let mpps = |found: &Found| Some(found.throughput_05 / 1e6);
            let top = highest(run, mpps) * 1.1;
            panel(
                run,
                &above,
                "throughput with at most 0.5 % lost",
                "million packets a second",
                0.0..top,
                &|rate: &f64| format!("{rate:.1}"),
                &mpps,
            )?;
            let ratio = |found: &Found| found.overload_to_bare.map(|ratio| ratio * 100.0);
            let top = highest(run, ratio).max(110.0) * 1.05;
            panel(
                run,
                &below,
                "forwarded when as many are offered as go, against the bare loop in the same turns",
                "percent",
                0.0..top,
                &|part: &f64| format!("{part:.0}"),
                &ratio,
            )
        },
    )
}

/// Latency at both loads: half of the packets, and 99 %.
pub fn latency(run: &Run) -> Result<String> {
    /// Microseconds: the smallest that is drawn.
    const LEAST: f64 = 1.0;
    image(
        "From the generator to the receiver at half of the throughput, by frame size",
        run,
        |run, [above, below]| {
            let micros = |time: u64| Some((time as f64 / 1e3).max(LEAST));
            let (p50, p99) =
                (|found: &Found| micros(found.latency[0].p50), |found: &Found| micros(found.latency[0].p99));
            let top = highest(run, p99) * 2.0;
            let show = |time: &f64| format!("{time:.0}");
            panel(
                run,
                &above,
                "half of the packets took at most",
                "µs (logarithmic)",
                (LEAST..top).log_scale(),
                &show,
                &p50,
            )?;
            panel(
                run,
                &below,
                "99 % of the packets took at most",
                "µs (logarithmic)",
                (LEAST..top).log_scale(),
                &show,
                &p99,
            )
        },
    )
}

/// Two panels below a title and the forwarders' colours.
fn image(title: &str, run: &Run, draw: impl FnOnce(&Run, [Area<'_>; 2]) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let image = SVGBackend::with_string(&mut text, (880, 760)).into_drawing_area();
        image.fill(&WHITE)?;
        let (head, panels) = image.split_vertically(74);
        heading(&head, title)?;
        let entries: Vec<_> = run.forwarders().into_iter().zip(colours()).collect();
        legend(&head, &entries)?;
        let mut panels = panels.split_evenly((2, 1)).into_iter();
        let panels = [panels.next().context("a panel")?, panels.next().context("a panel")?];
        draw(run, panels)?;
        image.present()?;
    }
    Ok(text)
}

/// The forwarders' colours, in their order. With two workers there are more of them, which share colours.
fn colours() -> impl Iterator<Item = RGBColor> {
    [BLACK, GREY].into_iter().chain(COLOURS).cycle()
}

/// The highest value of any forwarder at any size.
fn highest(run: &Run, of: impl Fn(&Found) -> Option<f64>) -> f64 {
    let all = run.sizes.iter().flat_map(|size| &size.found).filter_map(of);
    all.fold(0.0, f64::max)
}

/// A line a forwarder over the sizes.
fn panel<Y>(
    run: &Run,
    area: &Area<'_>,
    title: &str,
    unit: &str,
    range: Y,
    show: &dyn Fn(&f64) -> String,
    of: &dyn Fn(&Found) -> Option<f64>,
) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let last = run.sizes.len() as i32;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, TEXT + 1).into_font())
        .margin_right(16)
        .margin_left(12)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(-1..last, range)?;
    let name = |place: &i32| {
        let size = usize::try_from(*place).ok().and_then(|place| run.sizes.get(place));
        size.map(|size| size.size.clone()).unwrap_or_default()
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).bold_line_style(GREY.mix(0.25));
    mesh.label_style((FONT, TEXT)).y_labels(6).x_labels(run.sizes.len() + 2).y_desc(unit);
    mesh.x_desc("bytes of a frame, check sequence included").x_label_formatter(&name).y_label_formatter(show);
    mesh.draw()?;
    for (forwarder, colour) in run.forwarders().into_iter().zip(colours()) {
        let points: Vec<(i32, f64)> = (0..)
            .zip(&run.sizes)
            .filter_map(|(place, size)| Some((place, of(run.of(&size.size, forwarder)?)?)))
            .collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    Ok(())
}
