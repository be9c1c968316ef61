//! The nodes of all files put together: names found, parents known, virtual nodes passed over.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::{
    Both, Report,
    rates::{Asked, text},
};
use crate::config::nearest;

/// A node as a file has it.
pub(super) struct Draft {
    pub(super) name: String,
    /// What else customers may name it by.
    pub(super) id: Option<String>,
    pub(super) above: Above,
    /// Bits a second; `None`: as much as its parent.
    pub(super) max: Both<Option<u64>>,
    pub(super) min: Both<u64>,
    pub(super) weight: Option<u32>,
    /// For display only: what hangs on it hangs on its parent.
    pub(super) is_virtual: bool,
    pub(super) kind: String,
    /// The file's place in the list of reports.
    pub(super) source: usize,
    /// Where its name stands.
    pub(super) span: Range<usize>,
}

/// What a draft hangs on.
pub(super) enum Above {
    Link,
    Draft(usize),
    /// A name, and where it stands.
    Named(String, Range<usize>),
}

/// A node that packets pass.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) path: String,
    /// A node before this one.
    pub(super) parent: Option<usize>,
    pub(super) asked: Asked,
}

/// All nodes, every one behind the one that it hangs on.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// Where what names a node hangs: on a node, or on the link. Virtual nodes are named like all others.
    names: FxHashMap<String, Option<usize>>,
    ids: FxHashMap<String, Option<usize>>,
}

impl Tree {
    /// Puts drafts together. Where something is wrong with one, it is reported, and the node hangs on the link.
    pub(super) fn new(drafts: Vec<Draft>, link: Both<u64>, reports: &mut [Report<'_>]) -> Tree {
        let parents = parents(&drafts, reports);
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
        let mut next: Vec<usize> = Vec::new();
        for (draft, parent) in parents.iter().enumerate().rev() {
            match parent {
                // Backwards, since what is pushed last is taken first.
                Some(parent) => children[*parent].push(draft),
                None => next.push(draft),
            }
        }
        let mut tree = Tree::default();
        // By draft: the real node that it is or hangs on, and its path.
        let mut real: Vec<Option<usize>> = vec![None; drafts.len()];
        let mut paths: Vec<String> = vec![String::new(); drafts.len()];
        let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
        while let Some(at) = next.pop() {
            let Some(draft) = drafts[at].take() else { continue };
            next.append(&mut children[at]);
            let parent = parents[at].and_then(|parent| real[parent]);
            paths[at] = match parents[at] {
                Some(above) => format!("{}/{}", paths[above], draft.name),
                None => draft.name.clone(),
            };
            real[at] = if draft.is_virtual { parent } else { Some(tree.nodes.len()) };
            tree.names.insert(draft.name.clone(), real[at]);
            if let Some(id) = draft.id {
                tree.ids.insert(id, real[at]);
            }
            if draft.is_virtual {
                continue;
            }
            let above = parent.map_or(link, |parent| tree.nodes[parent].asked.max);
            let max =
                Both { down: draft.max.down.unwrap_or(above.down), up: draft.max.up.unwrap_or(above.up) };
            for (min, max, way) in [(draft.min.down, max.down, "down"), (draft.min.up, max.up, "up")] {
                if min > max {
                    let what = format!(
                        "node `{}` is guaranteed {} {way}, more than its {}",
                        draft.name,
                        text(min),
                        text(max)
                    );
                    reports[draft.source].wrong(
                        draft.span.clone(),
                        what,
                        "write a guarantee of at most its rate",
                    );
                }
            }
            tree.nodes.push(Node {
                name: draft.name,
                kind: draft.kind,
                path: paths[at].clone(),
                parent,
                asked: Asked { min: draft.min, max, weight: draft.weight },
            });
        }
        tree
    }

    /// Whether there are no nodes at all, not even virtual ones.
    pub(super) fn is_flat(&self) -> bool {
        self.names.is_empty()
    }

    /// Where what names this node hangs.
    pub(super) fn named(&self, name: &str) -> Option<Option<usize>> {
        self.names.get(name).copied()
    }

    /// Where what names a node by this id hangs.
    pub(super) fn with_id(&self, id: &str) -> Option<Option<usize>> {
        self.ids.get(id).copied()
    }

    /// What to write for a name that is no node's.
    pub(super) fn suggestion(&self, name: &str) -> String {
        let names: Vec<&str> = self.names.keys().map(String::as_str).collect();
        suggestion(name, names)
    }
}

fn suggestion(name: &str, mut known: Vec<&str>) -> String {
    // In an order that does not depend on the hash.
    known.sort_unstable();
    match nearest(name, &known) {
        Some(near) => format!("write `{near}`, or add the node"),
        None => "name one that is there, or add the node".to_owned(),
    }
}

/// By draft: the draft that it hangs on. Reports names that are not there or stand twice, and circles.
fn parents(drafts: &[Draft], reports: &mut [Report<'_>]) -> Vec<Option<usize>> {
    let mut names: FxHashMap<&str, usize> = FxHashMap::default();
    let mut ids: FxHashMap<&str, usize> = FxHashMap::default();
    for (at, draft) in drafts.iter().enumerate() {
        let again = [("name", Some(&draft.name), &mut names), ("id", draft.id.as_ref(), &mut ids)];
        for (what, word, known) in again {
            let Some(word) = word else { continue };
            match known.entry(word) {
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(at);
                }
                std::collections::hash_map::Entry::Occupied(taken) => {
                    let first = &drafts[*taken.get()];
                    let place = place(first.source, first.span.start, draft.source, reports);
                    let what = format!("a node with the {what} `{}` stands in {place}", word.escape_debug());
                    reports[draft.source].wrong(draft.span.clone(), what, "give one of them another");
                }
            }
        }
    }
    let mut parents: Vec<Option<usize>> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        parents.push(match &draft.above {
            Above::Link => None,
            Above::Draft(parent) => Some(*parent),
            Above::Named(name, span) => {
                let found = names.get(name.as_str()).copied();
                if found.is_none() {
                    let what = format!("there is no node `{}`", name.escape_debug());
                    let fix = suggestion(name, names.keys().copied().collect());
                    reports[draft.source].wrong(span.clone(), what, fix);
                }
                found
            }
        });
    }
    break_circles(drafts, &mut parents, reports);
    parents
}

fn break_circles(drafts: &[Draft], parents: &mut [Option<usize>], reports: &mut [Report<'_>]) {
    // By draft: 0, or the walk that came past it.
    let mut passed = vec![0usize; drafts.len()];
    for start in 0..drafts.len() {
        let walk = start + 1;
        let mut at = start;
        while passed[at] == 0 {
            passed[at] = walk;
            let Some(parent) = parents[at] else { break };
            if passed[parent] == walk {
                let draft = &drafts[at];
                let what = format!("node `{}` hangs below itself", draft.name.escape_debug());
                reports[draft.source].wrong(draft.span.clone(), what, "give it another parent, or none");
                parents[at] = None;
                break;
            }
            at = parent;
        }
    }
}

/// Where something stands, for a reader of file `from`.
pub(super) fn place(source: usize, at: usize, from: usize, reports: &[Report<'_>]) -> String {
    let report = &reports[source];
    let line = report.line(at);
    if source == from {
        format!("line {line} already")
    } else {
        format!("{}, line {line}, already", report.path().display())
    }
}
