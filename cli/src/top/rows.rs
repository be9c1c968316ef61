//! A table on a screen: which columns there is room for, and which rows.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;
use ratatui::widgets::{Sparkline, Widget};

use super::look::Look;
use super::model::Model;
use super::table::{Cell, Column, Form, Table};
use crate::numbers;

/// Between two columns.
const GAP: u16 = 1;

/// The narrowest curve that says anything, and the widest: half a minute and five minutes.
const CURVE: u16 = 6;
const LONGEST_CURVE: u16 = 60;

/// What `100%` takes, and the longest bar with it: a cell for each tenth.
const PERCENT: u16 = 4;
const LONGEST_BAR: u16 = 10 + 1 + PERCENT;

/// The narrowest that a name is cut to before other columns leave for it, and the widest that it is without being asked
/// for: longer ones would push the numbers out of sight.
const NAME: u16 = 8;
/// The same of a name in a tree, which is indented.
const BRANCH: u16 = 20;
const LONGEST_NAME: u16 = 40;

/// Draws the model's table, and says which of its rows are seen.
pub fn draw(model: &mut Model, look: Look, area: Rect, out: &mut Buffer) -> String {
    let table = model.table();
    let (rows, page) = (table.rows.len(), area.height.saturating_sub(1));
    let (chosen, first) = model.choose(&table, page.into());
    // Titles alone say nothing.
    if area.is_empty() || page == 0 {
        return String::new();
    }
    if table.columns.is_empty() {
        let why = if model.writer().is_some() { "nothing that top knows is in this segment" } else { "" };
        text(why, area, look.faint(), look, out);
        return String::new();
    }
    let widths = widths(&table, area.width);
    let old = model.waiting().is_some();
    let (sorted, reversed) = model.order();
    let mut lines = area.rows();
    let titles = lines.next().unwrap_or_default();
    let mut x = area.x;
    for (column, &width) in table.columns.iter().zip(&widths).filter(|(_, width)| **width > 0) {
        let place = Rect { x, y: titles.y, width, height: 1 };
        title(column, place, look, out);
        if sorted == Some(&*column.title) {
            // In the gap on its left, or at the end of its room.
            let x = if column.form == Form::Text { place.right() - 1 } else { x.saturating_sub(1) };
            text(look.arrow(reversed), Rect { x, width: 1, ..place }, look.strong(), look, out);
        }
        x = x.saturating_add(width + GAP);
    }
    for ((at, row), line) in table.rows.iter().enumerate().skip(first).zip(lines) {
        let mut x = area.x;
        for ((column, cell), &width) in
            table.columns.iter().zip(row).zip(&widths).filter(|(_, width)| **width > 0)
        {
            draw_cell(column, cell, old, look, Rect { x, width, ..line }, out);
            x = x.saturating_add(width + GAP);
        }
        if chosen == Some(at) {
            out.set_style(
                Rect { width: x.saturating_sub(line.x + GAP).min(line.width), ..line },
                look.chosen(),
            );
        }
    }
    match (rows, usize::from(page)) {
        (0, _) if model.filter().is_some() || model.hides_zeros() => "nothing matches".to_owned(),
        (rows, page) if rows > page => {
            format!("{}-{} of {rows}", first + 1, (first + page).min(rows))
        }
        _ => String::new(),
    }
}

fn title(column: &Column, place: Rect, look: Look, out: &mut Buffer) {
    let wide = Span::raw(&*column.title).width() as u16;
    let indent = if matches!(column.form, Form::Text | Form::Curve | Form::Bar) {
        0
    } else {
        place.width.saturating_sub(wide)
    };
    let place = Rect { x: place.x + indent, width: place.width - indent, ..place };
    text(&column.title, place, look.title(), look, out);
}

fn draw_cell(column: &Column, cell: &Cell, old: bool, look: Look, place: Rect, out: &mut Buffer) {
    if let Cell::Curve(rates) = cell {
        let seen = rates.len().saturating_sub(place.width.into());
        let rates: Vec<u64> = rates[seen..].iter().map(|rate| *rate as u64).collect();
        // The newest on the right, where the next one will appear.
        let empty = usize::from(place.width).saturating_sub(rates.len());
        let rates = vec![0; empty].into_iter().chain(rates);
        let style = if old { look.faint() } else { look.curve() };
        Sparkline::default()
            .data(rates.collect::<Vec<_>>())
            .bar_set(look.bars())
            .style(style)
            .render(place, out);
        return;
    }
    if let Cell::Bar(Some(part)) = cell {
        let cells = usize::from(place.width.saturating_sub(PERCENT + 1));
        let style = if old { look.faint() } else { look.load(*part) };
        text(&look.bar(*part, cells), place, style, look, out);
    }
    let zero = cell.is_zero();
    let style = match (column.form, zero) {
        _ if old => look.faint(),
        (_, Some(true)) => look.faint(),
        (Form::Loss, Some(false)) => look.warning(),
        _ => Style::new(),
    };
    let content = cell.text();
    let wide = Span::raw(&*content).width() as u16;
    let indent = if column.form == Form::Text { 0 } else { place.width.saturating_sub(wide) };
    let place = Rect { x: place.x + indent, width: place.width - indent, ..place };
    text(&content, place, style, look, out);
    if let Some((fold, indent)) = cell.fold() {
        let indent = (indent as u16).min(place.width.saturating_sub(1));
        text(look.fold(fold), Rect { x: place.x + indent, width: 1, ..place }, look.strong(), look, out);
    }
}

/// Writes text into a line, cut if need be, and says where it ended.
pub fn text(text: &str, place: Rect, style: Style, look: Look, out: &mut Buffer) -> u16 {
    let place = place.intersection(out.area);
    if place.is_empty() {
        return place.x;
    }
    let width = usize::from(place.width);
    if Span::raw(text).width() <= width {
        return out.set_stringn(place.x, place.y, text, width, style).0;
    }
    let (x, y) = out.set_stringn(place.x, place.y, text, width - 1, style);
    out.set_stringn(x, y, look.ellipsis(), 1, style).0
}

/// The columns' widths; 0 for those that there is no room for.
fn widths(table: &Table, room: u16) -> Vec<u16> {
    // What each needs at least, and would have at best.
    let needs: Vec<(u16, u16)> =
        table.columns.iter().enumerate().map(|(at, column)| need(table, at, column)).collect();
    let mut here = vec![true; needs.len()];
    let sum = |here: &[bool], of: fn(&(u16, u16)) -> u16| {
        let widths =
            needs.iter().zip(here).filter(|(_, here)| **here).map(|(need, _)| u32::from(of(need) + GAP));
        widths.sum::<u32>().saturating_sub(GAP.into())
    };
    while sum(&here, |(least, _)| *least) > room.into() {
        let ranks = table.columns.iter().enumerate().filter(|(at, _)| here[*at] && *at > 0);
        let Some((last, _)) = ranks.max_by_key(|(_, column)| column.rank) else { break };
        here[last] = false;
    }
    let mut widths: Vec<u16> =
        needs.iter().zip(&here).map(|((least, _), here)| if *here { *least } else { 0 }).collect();
    let mut left = u32::from(room).saturating_sub(sum(&here, |(least, _)| *least));
    // Names first, then curves.
    for form in [Form::Text, Form::Bar, Form::Curve] {
        for (at, _) in table.columns.iter().enumerate().filter(|(at, it)| here[*at] && it.form == form) {
            let more = left.min((needs[at].1 - needs[at].0).into()) as u16;
            widths[at] += more;
            left -= u32::from(more);
        }
    }
    if let Some(first) = widths.first_mut() {
        *first = (*first).min(room);
    }
    widths
}

fn need(table: &Table, at: usize, column: &Column) -> (u16, u16) {
    let title = Span::raw(&*column.title).width() as u16;
    match column.form {
        Form::Text => {
            let widest =
                table.rows.iter().filter_map(|row| row.get(at)).map(|cell| Span::raw(cell.text()).width());
            // With a place for the arrow.
            let best = (widest.max().unwrap_or(0) as u16).max(title + 1).min(LONGEST_NAME);
            let is_tree = table.rows.first().and_then(|row| row.get(at)?.item()).is_some();
            (best.min(if is_tree { BRANCH } else { NAME }), best)
        }
        Form::Number | Form::Loss => (title.max(numbers::WIDTH), title.max(numbers::WIDTH)),
        Form::Curve => (CURVE.max(title), LONGEST_CURVE),
        Form::Bar => (PERCENT.max(title), LONGEST_BAR),
    }
}
