//! The model on a screen of any size.
//!
//! What does not fit is left out by its importance, never drawn in part: lines are made of pieces that stay or leave as a
//! whole, tables lose columns. Only names are cut, and show that they are.

use std::time::SystemTime;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::Span;
use weir_stats::Liveness;

use super::input::KEYS;
use super::look::Look;
use super::model::{Model, Summary};
use super::reading::Count;
use super::rows;
use crate::numbers;

/// Lines of a screen below which it has no room for the keys and for what passes, and below which it has none for the
/// table, so that what passes is all there is.
const LOW: u16 = 8;
const LOWEST: u16 = 5;

/// A part of a line: it stays or leaves as a whole. Those with higher ranks leave first.
struct Piece<'p> {
    rank: u8,
    spans: Vec<Span<'p>>,
}

/// Between two pieces.
const GAP: u16 = 2;

/// Draws, and says where the cursor is, if it is to be seen.
pub fn draw(
    model: &mut Model,
    look: Look,
    now: SystemTime,
    area: Rect,
    out: &mut Buffer,
) -> Option<Position> {
    let area = area.intersection(out.area);
    if area.is_empty() {
        return None;
    }
    let mut lines = area.rows();
    let mut next = || lines.next().unwrap_or_default();
    let summary = model.summary(now);
    let mut cursor = None;
    let mut bottom = area.bottom();
    if area.height < LOW && model.typing().is_some() {
        cursor = prompt(model, look, next(), out);
    } else {
        state(model, &summary, look, next(), out);
    }
    if area.height >= LOW {
        bottom -= 1;
        let last = Rect { y: bottom, height: 1, ..area };
        if model.typing().is_some() {
            cursor = prompt(model, look, last, out);
        } else {
            keys(model.folds(), look, last, out);
        }
    }
    if area.height >= LOW || area.height < LOWEST {
        traffic(model, &summary, look, next(), out);
    }
    let tabs = if area.height >= LOWEST { next() } else { Rect::default() };
    let top = next().y;
    let rest = Rect { y: top, height: if top > area.y { bottom.saturating_sub(top) } else { 0 }, ..area };
    if model.is_helping() {
        help(model, look, rest, out);
        line(vec![piece(0, "weirstat top", look.chosen())], tabs, look, out);
    } else {
        let seen = rows::draw(model, look, rest, out);
        views(model, seen, look, tabs, out);
    }
    cursor
}

fn piece<'p>(rank: u8, text: impl Into<std::borrow::Cow<'p, str>>, style: Style) -> Piece<'p> {
    Piece { rank, spans: vec![Span::styled(text, style)] }
}

/// A line of those pieces that fit. If not even the most important one does, as much of it as there is room for.
fn line(mut pieces: Vec<Piece<'_>>, area: Rect, look: Look, out: &mut Buffer) {
    let width = |piece: &Piece<'_>| piece.spans.iter().map(Span::width).sum::<usize>();
    let gap = usize::from(GAP);
    while pieces.len() > 1
        && pieces.iter().map(|it| width(it) + gap).sum::<usize>() > usize::from(area.width) + gap
    {
        let last = pieces.iter().enumerate().max_by_key(|(_, piece)| piece.rank).map_or(0, |(at, _)| at);
        pieces.remove(last);
    }
    let mut x = area.x;
    for piece in pieces {
        for span in piece.spans {
            x = rows::text(
                &span.content,
                Rect { x, width: area.right().saturating_sub(x), ..area },
                span.style,
                look,
                out,
            );
        }
        x = x.saturating_add(GAP).min(area.right());
    }
}

/// Who counts, and how it is.
fn state(model: &Model, summary: &Summary, look: Look, area: Rect, out: &mut Buffer) {
    let mut pieces = Vec::new();
    let writer = model.writer();
    match (model.waiting(), writer) {
        (Some(why), _) => {
            let text = format!(" for weir at {}: {why}", model.socket().display());
            pieces.push(Piece { rank: 0, spans: vec![Span::styled("waiting", look.bad()), Span::raw(text)] });
        }
        (None, None) => pieces.push(piece(0, "connecting", look.faint())),
        (None, Some(writer)) => {
            pieces.push(match writer {
                Liveness::Live => piece(0, "live", look.good()),
                Liveness::Stuck { age, .. } => piece(0, format!("stuck for {} s", age.as_secs()), look.bad()),
                Liveness::Dead { age, .. } => piece(0, format!("dead for {} s", age.as_secs()), look.bad()),
                Liveness::Unknown => piece(0, "segment", look.strong()),
            });
            if model.is_restarted() {
                pieces.push(piece(2, "restarted: rates begin anew", look.warning()));
            }
            if let Some(pid) = summary.pid {
                pieces.push(piece(6, format!("pid {pid}"), Style::new()));
            }
            if let Some(uptime) = summary.uptime {
                pieces.push(piece(5, format!("up {}", numbers::uptime(uptime)), Style::new()));
            }
            if let Some(workers) = summary.workers {
                let text = if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") };
                pieces.push(piece(7, text, Style::new()));
            }
        }
    }
    if model.is_paused() {
        pieces.insert(1, piece(1, "paused", look.warning()));
    }
    if let Some(filter) = model.filter() {
        pieces.push(piece(3, format!("only /{filter}/"), look.warning()));
    }
    if model.hides_zeros() {
        pieces.push(piece(8, "no zeros", look.warning()));
    }
    pieces.push(piece(9, format!("every {}", numbers::seconds(model.interval())), look.faint()));
    if model.waiting().is_none() {
        pieces.push(piece(10, model.socket().display().to_string(), look.faint()));
    }
    line(pieces, area, look, out);
}

/// What passes, over all ports.
fn traffic(model: &Model, summary: &Summary, look: Look, area: Rect, out: &mut Buffer) {
    let known = if model.waiting().is_some() { look.faint() } else { look.strong() };
    let number = |rate: Option<f64>| {
        let text = rate.map_or(numbers::NOTHING.to_owned(), numbers::quantity);
        format!("{text:>width$}", width = usize::from(numbers::WIDTH) - 1)
    };
    let both = |rank, name: &'static str, [packets, bytes]: [Count; 2]| Piece {
        rank,
        spans: vec![
            Span::raw(name),
            Span::styled(number(packets.rate()), known),
            Span::styled(" pps ", look.faint()),
            Span::styled(number(bytes.rate().map(|rate| rate * 8.0)), known),
            Span::styled(" bps", look.faint()),
        ],
    };
    let losses = summary.drops.rate();
    let lossy = if losses.unwrap_or(0.0) > 0.0 && model.waiting().is_none() { look.bad() } else { known };
    let mut pieces = vec![
        both(0, "in ", summary.rx),
        both(1, "out ", summary.tx),
        Piece {
            rank: 2,
            spans: vec![
                Span::raw("drops "),
                Span::styled(number(losses), lossy),
                Span::styled("/s", look.faint()),
            ],
        },
    ];
    if let Some(rate) = summary.vector_rate {
        let spans =
            vec![Span::styled(numbers::count(rate), known), Span::styled(" packets/call", look.faint())];
        pieces.push(Piece { rank: 3, spans });
    }
    line(pieces, area, look, out);
}

/// Which views there are, and which part of this one is seen.
fn views(model: &Model, seen: String, look: Look, area: Rect, out: &mut Buffer) {
    let mut pieces: Vec<_> = model
        .offered()
        .enumerate()
        .map(|(number, (at, title))| {
            let text = format!(" {} {title} ", number + 1);
            if at == model.at() { piece(0, text, look.chosen()) } else { piece(2, text, Style::new()) }
        })
        .collect();
    if !seen.is_empty() {
        pieces.push(piece(1, seen, look.faint()));
    }
    if let (Some(column), reversed) = model.order() {
        let order = if reversed { "by {}, reversed" } else { "by {}" };
        pieces.push(piece(3, order.replace("{}", column), look.faint()));
    }
    line(pieces, area, look, out);
}

/// What is being typed.
fn prompt(model: &Model, look: Look, area: Rect, out: &mut Buffer) -> Option<Position> {
    let text = format!("/{}", model.typing()?);
    // Its end is what one wants to see.
    let mut start = text.as_str();
    while Span::raw(start).width() >= usize::from(area.width) && !start.is_empty() {
        start = start.char_indices().nth(1).map_or("", |(at, _)| &start[at..]);
    }
    let x = rows::text(start, area, look.strong(), look, out);
    let hint =
        Rect { x: x.saturating_add(GAP), width: area.right().saturating_sub(x.saturating_add(GAP)), ..area };
    const HINT: &str = "Enter: keep it  Esc: as before";
    if usize::from(hint.width) >= HINT.len() {
        rows::text(HINT, hint, look.faint(), look, out);
    }
    Some(Position { x: x.min(area.right() - 1), y: area.y })
}

/// The most useful keys.
fn keys(folds: bool, look: Look, area: Rect, out: &mut Buffer) {
    let mut keys = vec![
        ("q", "quit", 1),
        ("?", "help", 0),
        ("Tab", "view", 2),
        ("/", "filter", 3),
        ("s", "sort", 4),
        ("r", "reverse", 7),
        ("t", "totals", 5),
        ("w", "threads", 6),
        ("z", "zeros", 8),
        ("p", "pause", 9),
        ("+-", "interval", 10),
    ];
    if folds {
        keys.insert(2, ("Enter", "unfold", 2));
    }
    let pieces = keys.into_iter().map(|(key, does, rank)| Piece {
        rank,
        spans: vec![Span::styled(key, look.strong()), Span::styled(format!(" {does}"), look.faint())],
    });
    line(pieces.collect(), area, look, out);
}

/// All keys.
fn help(model: &mut Model, look: Look, area: Rect, out: &mut Buffer) {
    let first = model.window(KEYS.len(), area.height.into());
    let width = KEYS.iter().map(|(key, _)| Span::raw(*key).width()).max().unwrap_or(0) as u16 + GAP;
    for ((key, does), row) in KEYS.iter().skip(first).zip(area.rows()) {
        rows::text(key, row, look.strong(), look, out);
        let indent = width.min(row.width);
        rows::text(
            does,
            Rect { x: row.x + indent, width: row.width - indent, ..row },
            Style::new(),
            look,
            out,
        );
    }
}
