//! What is wrong with a config file, where, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Characters of a line shown around a problem; more would wrap on a terminal of 100 columns.
const SHOWN: usize = 80;

/// Everything that is wrong with a config, in the order of the file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

/// One mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The config file, as it was named.
    pub path: PathBuf,
    /// Where in the file; `None`: the file as a whole.
    pub place: Option<Place>,
    /// What is wrong.
    pub what: String,
    /// What to write or to do instead.
    pub fix: String,
}

/// A stretch of one line.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The part of the line around it, without control characters.
    pub excerpt: String,
    /// Characters of `excerpt` before the stretch.
    pub indent: usize,
    /// Characters of `excerpt` that are meant; at least 1.
    pub width: usize,
}

impl Problem {
    /// A problem of the file as a whole.
    pub(crate) fn of_file(path: &Path, what: String, fix: String) -> Problem {
        Problem { path: path.to_owned(), place: None, what, fix }
    }

    /// A problem of `span`, which counts bytes of `text`.
    pub(crate) fn at(path: &Path, text: &str, span: Range<usize>, what: String, fix: String) -> Problem {
        Problem { path: path.to_owned(), place: Some(Place::new(text, span)), what, fix }
    }

    /// The line and column, for sorting; problems of the whole file come first.
    pub(crate) fn position(&self) -> (usize, usize) {
        self.place.as_ref().map_or((0, 0), |place| (place.line, place.column))
    }
}

impl Place {
    fn new(text: &str, span: Range<usize>) -> Place {
        // A span may begin at the end of the text, and one from the TOML reader is not promised to fall between characters.
        let start = text.floor_char_boundary(span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let end = text.floor_char_boundary(span.end).clamp(start, line_end.max(start));
        let before = text[line_start..start].chars().count();
        let meant = text[start..end].trim_end().chars().count();
        let hidden = before.saturating_sub(SHOWN / 2);
        let line = text[line_start..line_end].trim_end();
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let excerpt: String = line.chars().skip(hidden).take(SHOWN).map(printable).collect();
        let indent = before - hidden;
        let room = excerpt.chars().count().saturating_sub(indent);
        Place {
            line: text[..start].matches('\n').count() + 1,
            column: before + 1,
            excerpt,
            indent,
            width: meant.min(room).max(1),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let Some(place) = &self.place else {
            return write!(f, "{path}: {}: {}", self.what, self.fix);
        };
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(place.indent);
        let marks = "^".repeat(place.width);
        writeln!(f, "{path}:{}:{}: {}", place.line, place.column, self.what)?;
        writeln!(f, "  {number} | {}", place.excerpt)?;
        write!(f, "  {gutter} | {indent}{marks} {}", self.fix)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        Problem::at(Path::new("weir.toml"), text, span, "wrong".into(), "right".into()).to_string()
    }

    #[test]
    fn a_problem_points_at_its_characters() {
        assert_eq!(
            shown("a = 1\nbé = two\n", 12..15),
            "weir.toml:2:6: wrong\n  2 | bé = two\n    |      ^^^ right"
        );
    }

    #[test]
    fn a_problem_at_the_end_of_the_file_still_has_a_mark() {
        assert_eq!(shown("a =", 3..3), "weir.toml:1:4: wrong\n  1 | a =\n    |    ^ right");
        assert_eq!(shown("", 0..0), "weir.toml:1:1: wrong\n  1 | \n    | ^ right");
        assert_eq!(shown("a\n", 90..95), "weir.toml:2:1: wrong\n  2 | \n    | ^ right");
    }

    #[test]
    fn long_and_hostile_lines_stay_on_the_screen() {
        let text = format!("{}\u{1b}[31m{}", "x".repeat(5000), "y".repeat(5000));
        let shown = shown(&text, 4999..9000);
        assert!(shown.lines().all(|line| line.chars().count() < 100), "{shown}");
        assert!(!shown.contains('\u{1b}'));
        assert!(shown.starts_with("weir.toml:1:5000: "));
    }

    #[test]
    fn a_span_inside_a_character_does_not_panic() {
        let text = "é = 1";
        for start in 0..=text.len() + 1 {
            for end in 0..=text.len() + 1 {
                shown(text, start..end);
            }
        }
    }
}
