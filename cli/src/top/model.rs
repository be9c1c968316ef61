//! What is to be seen, without a terminal: the last reading, and what the user did to it.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_stats::{Liveness, Reader};

use crate::shaper::tree::Item;

use super::input::Action;
use super::reading::{Count, Reading, Who};
use super::table::{Filter, Table};
use super::tabs::ports::{DROPS, RX, TX, ports};
use super::tabs::{self, Shown, Tab};

/// What + and - choose from, in milliseconds. More often than ten times a second nobody can read.
const INTERVALS: [u64; 10] = [100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 300_000];

/// For so many readings a restart is shown.
const NEWS: u32 = 10;

/// Characters of a filter: no name is longer.
const LONGEST_FILTER: usize = 128;

/// Entries that the header needs, besides the ports'.
const HEADER: [&str; 4] = [BOOT, PID, WORKERS, VECTOR_RATE];
const BOOT: &str = "/sys/boottime";
const PID: &str = "/sys/pid";
const WORKERS: &str = "/sys/num_worker_threads";
const VECTOR_RATE: &str = "/sys/vector_rate";

/// All that is shown follows from this.
pub struct Model {
    socket: PathBuf,
    views: Vec<View>,
    at: usize,
    /// What was read last.
    reading: Option<Reading>,
    /// What was known of weir then.
    writer: Option<Liveness>,
    /// Why nothing could be read this time.
    waiting: Option<String>,
    /// Of how many readings more the restart is news.
    news: u32,
    /// How often to read.
    interval: Duration,
    paused: bool,
    shown: Shown,
    zeros_hidden: bool,
    filter: Option<Filter>,
    /// A filter that is being typed, and the one before.
    typing: Option<(String, Option<Filter>)>,
    /// The help is open, from this line on.
    help: Option<usize>,
    /// Rows of the screen that the table or the help had last.
    page: usize,
}

/// A tab, and how the user looks at it.
struct View {
    tab: Box<dyn Tab>,
    is_there: bool,
    sort: Option<String>,
    reversed: bool,
    offset: usize,
    /// The row that is chosen, where rows can be, and what it is about: that moves with the order of the rows.
    chosen: usize,
    item: Option<Item>,
}

/// What the loop is to do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Only draw.
    Draw,
    /// Read at once: what is to be seen was not read before.
    Read,
    /// Draw all of the screen.
    Redraw,
    /// Stop as a job of the shell.
    Stop,
    /// End.
    Quit,
}

/// The header's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// weir's process.
    pub pid: Option<u64>,
    /// Since its start.
    pub uptime: Option<Duration>,
    /// Workers.
    pub workers: Option<u64>,
    /// Packets and bytes in, over all ports.
    pub rx: [Count; 2],
    /// Packets and bytes out.
    pub tx: [Count; 2],
    /// Packets dropped.
    pub drops: Count,
    /// Packets a node call.
    pub vector_rate: Option<u64>,
}

impl Model {
    /// Nothing was read yet.
    pub fn new(socket: PathBuf, interval: Duration) -> Model {
        Model {
            socket,
            views: tabs::all().into_iter().map(View::new).collect(),
            at: 0,
            reading: None,
            writer: None,
            waiting: None,
            news: 0,
            interval,
            paused: false,
            shown: Shown::default(),
            zeros_hidden: false,
            filter: None,
            typing: None,
            help: None,
            page: 1,
        }
    }

    /// Whether an entry is needed for what is to be seen, by its path.
    pub fn wants(&self) -> impl Fn(&str) -> bool + Send + 'static {
        let (tabs, visible) = (tabs::all(), self.at);
        move |path| {
            HEADER.contains(&path) || tabs.iter().enumerate().any(|(at, tab)| tab.wants(path, at == visible))
        }
    }

    /// Values were read now, and there may be more in this segment.
    pub fn update(&mut self, update: weir_stats::Reading, more: Option<&Reader>, now: Instant) {
        let weir_stats::Reading { now: snapshot, change, writer, .. } = update;
        self.news = self.news.saturating_sub(1);
        if change.is_none() && self.reading.is_some() {
            self.news = NEWS;
            // Another weir's past is not this one's.
            for (view, tab) in self.views.iter_mut().zip(tabs::all()) {
                view.tab = tab;
            }
        }
        let reading = Reading::new(snapshot, change, self.reading.as_ref());
        for view in &mut self.views {
            view.is_there = view.tab.is_there(&reading);
            view.tab.remember(&reading);
        }
        if !self.view().is_there {
            self.at = self.views.iter().position(|view| view.is_there).unwrap_or(0);
        }
        if let Some(reader) = more {
            self.view_mut().tab.read(reader, now);
        }
        self.reading = Some(reading);
        self.writer = Some(writer);
        self.waiting = None;
    }

    /// There was nothing to read, for this reason. What was read last stays to be seen.
    pub fn wait(&mut self, why: String) {
        self.waiting = Some(why);
    }

    /// Does what a key asked for.
    pub fn act(&mut self, action: Action) -> Wish {
        match action {
            Action::Quit => return Wish::Quit,
            Action::Stop => return Wish::Stop,
            Action::Redraw => return Wish::Redraw,
            Action::Escape => return self.escape(),
            Action::Help => self.help = if self.help.is_some() { None } else { Some(0) },
            Action::Type(_) | Action::Erase | Action::EraseAll | Action::Accept => self.edit(action),
            Action::Scroll(_) | Action::Page(_) | Action::Home | Action::End => self.scroll(action),
            _ if self.help.is_some() => self.help = None,
            Action::Tab(number) => {
                let chosen = self.offered().nth(number).map(|(at, _)| at);
                self.at = chosen.unwrap_or(self.at);
                return Wish::Read;
            }
            Action::TurnTabs(by) => {
                let offered: Vec<usize> = self.offered().map(|(at, _)| at).collect();
                let place = offered.iter().position(|&at| at == self.at).unwrap_or(0);
                if let Some(&at) = offered.get(turn(place, by, offered.len())) {
                    self.at = at;
                }
                return Wish::Read;
            }
            Action::Sort(by) => self.sort(by),
            Action::Reverse => {
                let view = self.view_mut();
                view.reversed = !view.reversed;
            }
            Action::Filter => {
                let before = self.filter.take();
                let text = before.as_ref().map_or(String::new(), |filter| filter.text().to_owned());
                self.filter = Filter::new(&text);
                self.typing = Some((text, before));
            }
            Action::Pause => self.paused = !self.paused,
            Action::Slower => {
                let longer = INTERVALS.map(Duration::from_millis).into_iter().find(|it| *it > self.interval);
                self.interval = longer.unwrap_or(self.interval);
            }
            Action::Faster => {
                let shorter =
                    INTERVALS.map(Duration::from_millis).into_iter().rev().find(|it| *it < self.interval);
                self.interval = shorter.unwrap_or(self.interval);
            }
            Action::Fold => return self.fold(),
            Action::Totals => self.shown.totals = !self.shown.totals,
            Action::Zeros => self.zeros_hidden = !self.zeros_hidden,
            Action::Threads => self.shown.threads = !self.shown.threads,
        }
        Wish::Draw
    }

    fn escape(&mut self) -> Wish {
        if let Some((_, before)) = self.typing.take() {
            self.filter = before;
        } else if self.help.take().is_none() && self.filter.take().is_none() {
            return Wish::Quit;
        }
        Wish::Draw
    }

    fn edit(&mut self, action: Action) {
        let Some((text, _)) = &mut self.typing else { return };
        match action {
            Action::Type(character) if text.chars().count() < LONGEST_FILTER => text.push(character),
            Action::Erase => drop(text.pop()),
            Action::EraseAll => text.clear(),
            Action::Accept => {
                self.typing = None;
                return;
            }
            _ => {}
        }
        self.filter = Filter::new(text);
    }

    fn fold(&mut self) -> Wish {
        if self.view().item.is_none() {
            // Keys may come faster than they are drawn.
            let (table, page) = (self.table(), self.page);
            self.choose(&table, page);
        }
        let view = self.view_mut();
        let Some(item) = view.item else { return Wish::Draw };
        view.tab.fold(item);
        // Who is to be seen now was not read yet.
        Wish::Read
    }

    fn scroll(&mut self, action: Action) {
        let page = self.page.max(1);
        let view = &mut self.views[self.at];
        let offset = match &mut self.help {
            Some(offset) => offset,
            None if view.tab.folds() => {
                view.item = None;
                &mut view.chosen
            }
            None => &mut view.offset,
        };
        *offset = match action {
            Action::Scroll(by) => offset.saturating_add_signed(by),
            Action::Page(by) => {
                offset.saturating_add_signed(by.saturating_mul(isize::try_from(page).unwrap_or(1)))
            }
            Action::Home => 0,
            // The drawing knows how many there are.
            _ => usize::MAX,
        };
    }

    fn sort(&mut self, by: isize) {
        let Some(reading) = &self.reading else { return };
        let table = self.view().tab.table(reading, self.shown);
        let titles: Vec<&str> = table.sortable().collect();
        // Place 0 is the view's own order.
        let place = titles.iter().position(|title| self.view().sort.as_deref() == Some(title));
        let place = turn(place.map_or(0, |place| place + 1), by, titles.len() + 1);
        let title = place.checked_sub(1).and_then(|place| titles.get(place)).map(|title| (*title).to_owned());
        self.view_mut().sort = title;
    }

    /// The rows and columns to be seen.
    pub fn table(&self) -> Table {
        let view = self.view();
        let Some(reading) = self.reading.as_ref().filter(|_| view.is_there) else { return Table::default() };
        let mut table = view.tab.table(reading, self.shown);
        if let Some(filter) = &self.filter {
            table.filter(filter);
        }
        if self.zeros_hidden {
            table.hide_zeros();
        }
        table.sort(view.sort.as_deref(), view.reversed);
        table
    }

    /// Of so many rows, `page` can be seen at once: the first one to be seen.
    pub fn window(&mut self, rows: usize, page: usize) -> usize {
        self.page = page;
        let offset = self.help.as_mut().unwrap_or(&mut self.views[self.at].offset);
        *offset = (*offset).min(rows.saturating_sub(page));
        *offset
    }

    /// The row of the table that is chosen, if rows can be, and how many rows above it are above the screen.
    pub fn choose(&mut self, table: &Table, page: usize) -> (Option<usize>, usize) {
        let rows = table.rows.len();
        let view = &mut self.views[self.at];
        let item = |row: usize| table.rows.get(row)?.first()?.item();
        let mut chosen = None;
        if view.tab.folds() && rows > 0 {
            let is_same = |row: &usize| view.item.is_some() && item(*row) == view.item;
            let row = (0..rows).find(is_same).unwrap_or(view.chosen.min(rows - 1));
            (view.chosen, view.item) = (row, item(row));
            // As far as is needed to see it.
            view.offset = view.offset.clamp((row + 1).saturating_sub(page), row);
            chosen = Some(row);
        }
        (chosen, self.window(rows, page))
    }

    /// Whether lines of the view can be folded.
    pub fn folds(&self) -> bool {
        self.view().tab.folds()
    }

    /// The header's numbers at this time.
    pub fn summary(&self, now: SystemTime) -> Summary {
        let Some(reading) = &self.reading else { return Summary::default() };
        let pairs = |path| {
            let all = ports(reading).map(|(port, _)| reading.pair(path, Who::All, port));
            all.reduce(|a, b| [a[0].plus(b[0]), a[1].plus(b[1])]).unwrap_or_default()
        };
        let drops = ports(reading).map(|(port, _)| reading.count(DROPS, Who::All, port));
        let boot = reading.number(BOOT).and_then(|boot| UNIX_EPOCH.checked_add(Duration::from_secs(boot)));
        Summary {
            pid: reading.number(PID),
            // A clock that was set back gives none.
            uptime: boot.and_then(|boot| now.duration_since(boot).ok()),
            workers: reading.number(WORKERS),
            rx: pairs(RX),
            tx: pairs(TX),
            drops: drops.reduce(Count::plus).unwrap_or_default(),
            vector_rate: reading.number(VECTOR_RATE),
        }
    }

    /// The views that can be had, with their places.
    pub fn offered(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.views.iter().enumerate().filter(|(_, view)| view.is_there).map(|(at, it)| (at, it.tab.title()))
    }

    /// The place of the view that is seen.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What was known of weir at the last reading; `None` before the first.
    pub fn writer(&self) -> Option<Liveness> {
        self.writer
    }

    /// Why nothing can be read, if it is so.
    pub fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }

    /// Whether another weir took the place of the one before just now.
    pub fn is_restarted(&self) -> bool {
        self.news > 0
    }

    /// Where weir is looked for.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// How often to read.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether nothing is to be read.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether rows of zeros are left out.
    pub fn hides_zeros(&self) -> bool {
        self.zeros_hidden
    }

    /// The filter.
    pub fn filter(&self) -> Option<&str> {
        self.filter.as_ref().map(Filter::text)
    }

    /// The filter that is being typed.
    pub fn typing(&self) -> Option<&str> {
        self.typing.as_ref().map(|(text, _)| text.as_str())
    }

    /// Whether the help is open.
    pub fn is_helping(&self) -> bool {
        self.help.is_some()
    }

    /// The column that the rows are sorted by, if it is not the view's own order, and whether that is turned around.
    pub fn order(&self) -> (Option<&str>, bool) {
        (self.view().sort.as_deref(), self.view().reversed)
    }

    fn view(&self) -> &View {
        &self.views[self.at]
    }

    fn view_mut(&mut self) -> &mut View {
        &mut self.views[self.at]
    }
}

impl View {
    fn new(tab: Box<dyn Tab>) -> View {
        View { tab, is_there: false, sort: None, reversed: false, offset: 0, chosen: 0, item: None }
    }
}

/// So many places further on in a circle.
fn turn(place: usize, by: isize, places: usize) -> usize {
    let (place, places) = (place as isize, places.max(1) as isize);
    (place + by).rem_euclid(places).unsigned_abs()
}
