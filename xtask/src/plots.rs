//! `cargo xtask plots`: draws the plots of docs/shaping.md from the data beside them, which a test of the live shaper writes, and has those of
//! docs/performance.md drawn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::{bench, cargo, packages, root, step, target_dir};

/// Colours that people with any kind of sight tell apart (Okabe and Ito, 2002), and a grey for sums.
pub const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(0, 158, 115)];
pub const GREY: RGBColor = RGBColor(110, 110, 110);
pub const FONT: &str = "sans-serif";
/// Pixels.
pub const TEXT: i32 = 14;
const TITLE: i32 = 17;

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws; `measure`: after measuring anew.
pub fn run(measure: bool) -> Result<ExitCode> {
    if measure {
        self::measure()?;
    }
    for (name, draw) in PLOTS {
        let path = folder().join(name);
        fs::write(&path, draw(&folder())?).with_context(|| format!("cannot write {}", path.display()))?;
        println!("docs/shaping/{name}");
    }
    bench::publish()?;
    println!("docs/performance.md, docs/performance/");
    Ok(ExitCode::SUCCESS)
}

type Draw = fn(&Path) -> Result<String>;

/// The plots and what draws them.
const PLOTS: [(&str, Draw); 2] = [("rates.svg", rates), ("pings.svg", pings)];

/// Where they are, and their data.
fn folder() -> PathBuf {
    root().join("docs/shaping")
}

/// Runs the test that writes the data, with a weir as users have it.
fn measure() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "a running weir is measured, which needs root: run `sudo env \"PATH=$PATH\" cargo xtask plots --measure`"
        );
    }
    let toolchain = packages::ensure()?;
    let mut weir = cargo(&toolchain);
    weir.args(["build", "--release", "--locked", "-p", "weir", "-p", "weirstat"]);
    let mut test = cargo(&toolchain);
    test.args(["test", "--locked", "-p", "weir-tests", "--test", "shaper_over_time"]);
    test.env("WEIR_PROGRAMS", target_dir()?.join("release")).env("WEIR_WRITE_DOCS", "1");
    for (name, mut command) in [("build the programs in release mode", weir), ("measure", test)] {
        let done = step::run(name, &mut command, |_| ())?;
        if !done.success {
            bail!("{name} failed:\n{}", done.tail.join("\n"));
        }
    }
    Ok(())
}

/// Columns of numbers; the first is what the others go by.
struct Table {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Table {
    fn read(path: &Path) -> Result<Table> {
        let mut reader = csv::Reader::from_path(path)
            .with_context(|| format!("no {}: `cargo xtask plots --measure` writes it", path.display()))?;
        let names = reader.headers()?.iter().skip(1).map(str::to_owned).collect();
        let row = |row: csv::StringRecord| row.iter().map(|cell| Ok(cell.parse()?)).collect();
        let rows = reader.records().map(|record| row(record?)).collect::<Result<Vec<Vec<f64>>>>()?;
        ensure!(rows.len() > 1, "{} is empty", path.display());
        Ok(Table { names, rows })
    }

    /// One column over the first.
    fn line(&self, column: usize) -> impl Iterator<Item = (f64, f64)> {
        self.rows.iter().filter_map(move |row| Some((*row.first()?, *row.get(column + 1)?)))
    }

    /// All columns but the first, added up.
    fn sum(&self) -> impl Iterator<Item = (f64, f64)> {
        self.rows.iter().filter_map(|row| Some((*row.first()?, row.iter().skip(1).sum())))
    }
}

/// What happens when, in seconds.
fn events(path: &Path) -> Result<Vec<(f64, String)>> {
    let mut reader = csv::Reader::from_path(path)?;
    let event = |record: csv::StringRecord| {
        let (at, event) = record.get(0).zip(record.get(1)).context("an event")?;
        Ok((at.parse()?, event.to_owned()))
    };
    reader.records().map(|record| event(record?)).collect()
}

/// Rates over time, a panel for each way to share the tower.
fn rates(folder: &Path) -> Result<String> {
    const PANELS: [(&str, &str); 3] = [
        ("rates-fifo.csv", "One queue (FIFO) at the tower's rate: neither plans nor shares"),
        ("rates-htb.csv", "The kernel's HTB: plans and guarantees"),
        ("rates-weir.csv", "weir's shaper: plans and guarantees"),
    ];
    /// Mbit/s: a little more than the tower.
    const TOP: f64 = 23.0;
    let events = events(&folder.join("events.csv"))?;
    let mut text = String::new();
    {
        let image = SVGBackend::with_string(&mut text, (880, 810)).into_drawing_area();
        image.fill(&WHITE)?;
        let (head, panels) = image.split_vertically(74);
        heading(&head, "Three customers behind a tower of 20 Mbit/s: downloads (CUBIC) over time")?;
        let first = Table::read(&folder.join(PANELS[0].0))?;
        let names = first.names.iter().map(String::as_str).chain(["all together"]);
        legend(&head, &names.zip(COLOURS.into_iter().chain([GREY])).collect::<Vec<_>>())?;
        let last = PANELS.len() - 1;
        for (number, ((file, title), panel)) in
            PANELS.into_iter().zip(panels.split_evenly((3, 1))).enumerate()
        {
            let table = Table::read(&folder.join(file))?;
            let end = table.rows.iter().filter_map(|row| row.first()).fold(0.0, |end, at| at.max(end));
            let mut chart = ChartBuilder::on(&panel)
                .caption(title, (FONT, TEXT + 1).into_font())
                .margin_right(16)
                .margin_left(12)
                .x_label_area_size(if number == last { 46 } else { 26 })
                .y_label_area_size(58)
                .build_cartesian_2d(0.0..end, 0.0..TOP)?;
            let mut mesh = chart.configure_mesh();
            mesh.disable_x_mesh().light_line_style(TRANSPARENT).bold_line_style(GREY.mix(0.25));
            mesh.label_style((FONT, TEXT)).y_labels(5).x_labels(10).y_desc("Mbit/s");
            mesh.x_label_formatter(&|at| format!("{at:.0}")).y_label_formatter(&|rate| format!("{rate:.0}"));
            if number == last {
                mesh.x_desc("seconds");
            }
            mesh.draw()?;
            chart.draw_series(
                events.iter().map(|(at, _)| PathElement::new(vec![(*at, 0.0), (*at, TOP)], GREY.mix(0.6))),
            )?;
            if number == 0 {
                let style = (FONT, TEXT - 1).into_font().color(&BLACK);
                chart.draw_series(
                    events
                        .iter()
                        .map(|(at, event)| Text::new(event.clone(), (at + 0.06, TOP), style.clone())),
                )?;
            }
            chart.draw_series(LineSeries::new(table.sum(), GREY.stroke_width(1)))?;
            for (column, colour) in COLOURS.into_iter().enumerate() {
                chart.draw_series(LineSeries::new(table.line(column), colour.stroke_width(2)))?;
            }
        }
        image.present()?;
    }
    Ok(text)
}

/// How long pings take beside the downloads: what part of them at most how long.
fn pings(folder: &Path) -> Result<String> {
    let table = Table::read(&folder.join("pings.csv"))?;
    /// Milliseconds.
    const FROM: f64 = 0.02;
    const TO: f64 = 3000.0;
    let mut text = String::new();
    {
        let image = SVGBackend::with_string(&mut text, (880, 470)).into_drawing_area();
        image.fill(&WHITE)?;
        let (head, panel) = image.split_vertically(74);
        heading(&head, "How long a customer's pings take beside their own downloads")?;
        let entries: Vec<_> = table.names.iter().map(String::as_str).zip(COLOURS).collect();
        legend(&head, &entries)?;
        let mut chart = ChartBuilder::on(&panel)
            .margin_right(24)
            .margin_left(12)
            .margin_top(8)
            .x_label_area_size(50)
            .y_label_area_size(64)
            .build_cartesian_2d((FROM..TO).log_scale(), 0.0..100.0)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT).bold_line_style(GREY.mix(0.25)).label_style((FONT, TEXT));
        mesh.x_desc("milliseconds (logarithmic)").y_desc("percent of all pings took at most so long");
        mesh.x_label_formatter(&|at| format!("{at}")).y_label_formatter(&|part| format!("{part:.0}"));
        mesh.draw()?;
        for (column, colour) in COLOURS.into_iter().enumerate() {
            let line = table.line(column).map(|(part, time)| (time.max(FROM), part));
            chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
        }
        image.present()?;
    }
    Ok(text)
}

/// What an image shows, at its top.
pub fn heading(area: &Area<'_>, text: &str) -> Result<()> {
    let (width, _) = area.dim_in_pixel();
    let style = (FONT, TITLE).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
    Ok(area.draw_text(text, &style, (width as i32 / 2, 14))?)
}

/// Lines and what they are, in a row.
pub fn legend(area: &Area<'_>, entries: &[(&str, RGBColor)]) -> Result<()> {
    /// Pixels: of a line, and what stands between it and its text.
    const LINE: i32 = 26;
    const GAP: i32 = 7;
    const Y: i32 = 54;
    let (width, _) = area.dim_in_pixel();
    let pitch = width as i32 / entries.len().max(1) as i32;
    let style = (FONT, TEXT).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    for ((name, colour), number) in entries.iter().zip(0..) {
        let (text, _) = area.estimate_text_size(name, &style)?;
        let x = pitch * number + (pitch - LINE - GAP - text as i32) / 2;
        area.draw(&PathElement::new(vec![(x, Y), (x + LINE, Y)], colour.stroke_width(3)))?;
        area.draw_text(name, &style, (x + LINE + GAP, Y))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plots_are_what_is_drawn_from_the_data_beside_them() {
        for (name, draw) in PLOTS {
            let drawn = draw(&folder()).expect("a plot");
            let kept = fs::read_to_string(folder().join(name)).expect("the plot");
            assert!(drawn == kept, "docs/shaping/{name} is not what its data say: run `cargo xtask plots`");
            assert!(drawn.len() < 60_000, "docs/shaping/{name} has {} bytes", drawn.len());
        }
    }
}
