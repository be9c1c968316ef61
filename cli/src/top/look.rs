//! What the terminal can show: colours or not, and which characters.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::bar;

use super::table::Fold;

/// How things look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    colour: bool,
    /// Bold, dim and the like.
    attributes: bool,
    /// Characters beyond ASCII.
    unicode: bool,
}

/// So many eighths of a cell, from the left.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Parts of a capacity from which on it is nearly used up, and used up: queues grow long before the last per cent.
const BUSY: f64 = 0.8;
const FULL: f64 = 0.95;

/// Curves in ASCII.
const ASCII: bar::Set<'_> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "*",
    five_eighths: "+",
    half: "=",
    three_eighths: "-",
    one_quarter: ":",
    one_eighth: ".",
    empty: " ",
};

impl Look {
    /// By the environment's variables: `NO_COLOR` (no-color.org), `TERM`, and the locale's.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Look {
        let set = |name: &str| variable(name).filter(|text| !text.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        // The first one that is set decides, as in setlocale(3). Where none is, UTF-8 is the rule by now.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name));
        let unicode = locale.is_none_or(|it| it.to_lowercase().replace('-', "").contains("utf8"));
        Look { colour: !dumb && set("NO_COLOR").is_none(), attributes: !dumb, unicode }
    }

    /// Titles of columns.
    pub fn title(self) -> Style {
        self.attribute(Modifier::BOLD | Modifier::UNDERLINED)
    }

    /// What is chosen.
    pub fn chosen(self) -> Style {
        self.attribute(Modifier::REVERSED | Modifier::BOLD)
    }

    /// What counts.
    pub fn strong(self) -> Style {
        self.attribute(Modifier::BOLD)
    }

    /// What does not matter, or is no longer true.
    pub fn faint(self) -> Style {
        self.attribute(Modifier::DIM)
    }

    /// As it should be.
    pub fn good(self) -> Style {
        self.in_colour(Color::Green)
    }

    /// To be looked at.
    pub fn warning(self) -> Style {
        self.in_colour(Color::Yellow)
    }

    /// To be mended.
    pub fn bad(self) -> Style {
        self.in_colour(Color::Red)
    }

    /// Curves.
    pub fn curve(self) -> Style {
        if self.colour { Style::new().fg(Color::Cyan) } else { Style::new() }
    }

    /// What curves are made of.
    pub fn bars(self) -> bar::Set<'static> {
        if self.unicode { bar::NINE_LEVELS } else { ASCII }
    }

    /// A bar of so many cells, of which a part is full.
    pub fn bar(self, part: f64, cells: usize) -> String {
        let eighths = (part.clamp(0.0, 1.0) * 8.0 * cells as f64).round() as usize;
        let (full, rest) = if self.unicode { (eighths / 8, eighths % 8) } else { ((eighths + 4) / 8, 0) };
        let mut bar = (if self.unicode { "█" } else { "#" }).repeat(full);
        bar.push_str(EIGHTHS[rest]);
        bar
    }

    /// How full is well, to be looked at, or to be mended.
    pub fn load(self, part: f64) -> Style {
        match part {
            part if part >= FULL => self.bad(),
            part if part >= BUSY => self.warning(),
            _ => self.good(),
        }
    }

    /// The sign of what is below a line of a tree.
    pub fn fold(self, fold: Fold) -> &'static str {
        match (fold, self.unicode) {
            (Fold::Nothing, _) => " ",
            (Fold::Folded, true) => "▸",
            (Fold::Open, true) => "▾",
            (Fold::Folded, false) => "+",
            (Fold::Open, false) => "-",
        }
    }

    /// Stands for what there was no room for.
    pub fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// Tells the order of a column; nothing where that would be a letter.
    pub fn arrow(self, reversed: bool) -> &'static str {
        match (self.unicode, reversed) {
            (true, false) => "▼",
            (true, true) => "▲",
            (false, _) => "",
        }
    }

    fn attribute(self, modifier: Modifier) -> Style {
        if self.attributes { Style::new().add_modifier(modifier) } else { Style::new() }
    }

    fn in_colour(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour).add_modifier(Modifier::BOLD) } else { self.strong() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_part() {
        let unicode = look(&[("TERM", "xterm")]);
        let bars = [0.0, 0.01, 0.25, 0.33, 1.0, 7.0].map(|part| unicode.bar(part, 10));
        assert_eq!(bars, ["", "▏", "██▌", "███▎", "██████████", "██████████"]);
        let ascii = look(&[("TERM", "xterm"), ("LC_ALL", "C")]);
        assert_eq!([0.04, 0.05, 0.5, 2.0].map(|part| ascii.bar(part, 10)), ["", "#", "#####", "##########"]);
        assert_eq!(ascii.bar(f64::NAN, 10), "");
    }

    fn look(set: &[(&str, &str)]) -> Look {
        Look::of(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_environment_decides() {
        let plain = Look { colour: true, attributes: true, unicode: true };
        assert_eq!(look(&[("TERM", "xterm")]), plain);
        assert_eq!(look(&[("TERM", "xterm"), ("NO_COLOR", "")]), plain);
        assert_eq!(look(&[("TERM", "xterm"), ("NO_COLOR", "1")]), Look { colour: false, ..plain });
        assert_eq!(look(&[("TERM", "dumb")]), Look { colour: false, attributes: false, ..plain });
        assert_eq!(
            look(&[("TERM", "linux"), ("LANG", "en_US.UTF-8"), ("LC_ALL", "C")]),
            Look { unicode: false, ..plain }
        );
        assert_eq!(look(&[("TERM", "linux"), ("LANG", "de_DE.utf8")]), plain);
    }
}
