//! Collects what is wrong with one file.

use std::{ops::Range, path::Path};

use crate::config::Problem;

/// Mistakes that are shown of one file: whoever has made more has taken the wrong file, or made one mistake many times.
const SHOWN: usize = 20;

/// The mistakes of one file.
pub(crate) struct Report<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
    more: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Report<'a> {
        Report { path, text, problems: Vec::new(), more: 0 }
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// A mistake in this stretch of the text.
    pub(super) fn wrong(&mut self, span: Range<usize>, what: impl Into<String>, fix: impl Into<String>) {
        if self.problems.len() == SHOWN {
            self.more += 1;
            return;
        }
        self.problems.push(Problem::at(self.path, self.text, span, what.into(), fix.into()));
    }

    /// Where a stretch of the text begins, as mistakes are shown: `path:line:column`.
    pub(super) fn place(&self, span: Range<usize>) -> String {
        let (line, column) = Problem::at(self.path, self.text, span, String::new(), String::new()).position();
        format!("{}:{line}:{column}", self.path.display())
    }

    /// The line that this byte of the text is in, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// All of them in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(Problem::position);
        self.problems.dedup();
        if self.more > 0 {
            let what = format!("{} more mistakes are not shown", self.more);
            self.problems.push(Problem::of_file(self.path, what, "mend these first".to_owned()));
        }
        self.problems
    }
}

/// Sentences of one kind that are shown; the others are counted. As many as mistakes of a file.
const EACH: usize = SHOWN;

/// What is not wrong but will surprise, by kind.
#[derive(Default)]
pub(super) struct Warnings(Vec<(&'static str, Vec<String>, usize)>);

impl Warnings {
    /// Says `sentence`; `kind` is what sentences of this kind are about, in the plural.
    pub(super) fn say(&mut self, kind: &'static str, sentence: impl FnOnce() -> String) {
        let at = self.0.iter().position(|(known, ..)| *known == kind).unwrap_or_else(|| {
            self.0.push((kind, Vec::new(), 0));
            self.0.len() - 1
        });
        let (_, sentences, more) = &mut self.0[at];
        if sentences.len() < EACH {
            sentences.push(sentence());
        } else {
            *more += 1;
        }
    }

    /// How many there are, those that are not shown included.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|(_, sentences, more)| sentences.len() + more).sum()
    }

    /// One sentence each.
    pub(super) fn finish(self) -> Vec<String> {
        let all = self.0.into_iter().flat_map(|(kind, mut sentences, more)| {
            if more > 0 {
                sentences.push(format!("{kind}: {more} more like these"));
            }
            sentences
        });
        all.collect()
    }
}
