//! The folders and files that the segment's paths make, built from its list of entries; no value is read for it.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use weir_stats::{Catalogue, Description, Entry, Kind, ReadError, Reader};

use super::inode::{Form, Inode, OBJECTS, PATHS};
use super::names::{encode, encode_all, evade};

/// The tree at one epoch.
#[derive(Debug)]
pub struct Tree {
    pub catalogue: Catalogue,
    pub entries: Vec<Entry>,
    /// The kinds of objects that vectors have.
    pub axes: Vec<Axis>,
    /// The root first, then level by level; the children of one are neighbours, sorted by name.
    nodes: Vec<Node>,
    /// Numbers of paths and the places of their nodes, sorted.
    places: Vec<(u32, u32)>,
    /// The number that no path had yet.
    next: u32,
}

/// A path: an entry, a folder of such, or both.
#[derive(Debug)]
pub struct Node {
    number: u32,
    parent: u32,
    /// Its file name.
    pub name: Box<str>,
    /// The entry of this path, by its place in the listing.
    pub entry: Option<u32>,
    pub shows: Shows,
    children: Range<u32>,
}

/// What there is to see at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// Nothing but the paths below.
    Nothing,
    /// One number.
    Number,
    /// A number of packets, and one of bytes.
    Pair,
    /// Counters. Their objects, if they have names, are of this axis.
    Counters(Option<u16>),
    /// One histogram.
    Histogram,
    Names,
    Records,
}

/// What the columns of vectors are.
#[derive(Debug)]
pub struct Axis {
    /// The name of the folder of objects.
    pub folder: String,
    /// What tells it from other axes.
    pub key: String,
    /// A vector that has it, by its place in the listing.
    pub entry: u32,
    /// Each object is a histogram.
    pub histograms: bool,
    /// Its objects are called by their numbers: there are as many as the vector has columns.
    pub numbered: bool,
}

impl Tree {
    /// No paths, as when there is no weir.
    pub fn empty() -> Tree {
        Tree {
            catalogue: Catalogue::new(Vec::new()),
            entries: Vec::new(),
            axes: Vec::new(),
            nodes: vec![root()],
            places: vec![(0, 0)],
            next: 1,
        }
    }

    /// The tree of what the segment lists now. Paths that were in the previous one keep their numbers.
    pub fn of(reader: &Reader, previous: &Tree) -> Result<Tree, ReadError> {
        let catalogue = Catalogue::of(reader)?;
        Ok(Tree::build(catalogue, reader.list()?, previous))
    }

    fn build(catalogue: Catalogue, entries: Vec<Entry>, previous: &Tree) -> Tree {
        let mut tree = Tree { catalogue, entries, ..Tree::empty() };
        let mut sorted: Vec<u32> = (0..).take(tree.entries.len()).collect();
        // A name that does not begin with '/' is no path.
        sorted.retain(|&at| tree.entries[at as usize].name.starts_with('/'));
        // With '/' as the lowest character, what is below a path stands right behind it.
        sorted.sort_by(|&a, &b| {
            ranks(&tree.entries[a as usize].name).cmp(ranks(&tree.entries[b as usize].name))
        });
        // Numbers that are used up begin again, and nothing keeps its number then.
        let begin_again = previous.next as usize + sorted.len() * 64 > PATHS as usize;
        tree.next = if begin_again { 1 } else { previous.next };

        let mut axes = HashMap::new();
        let mut folders = VecDeque::from([Folder {
            node: 0,
            before: (!begin_again).then_some(0),
            below: 0..sorted.len(),
            from: 1,
        }]);
        while let Some(folder) = folders.pop_front() {
            let mut children = tree.children_of(&folder, &sorted, &mut axes);
            children.sort_by(|a, b| a.node.name.cmp(&b.node.name));
            let first = tree.nodes.len() as u32;
            for Child { mut node, below, from } in children {
                let place = tree.nodes.len() as u32;
                let before = folder.before.and_then(|before| previous.child(before, &node.name));
                let same = before.filter(|&at| {
                    let had_children = !previous.children(at).is_empty();
                    had_children != below.is_empty()
                        && previous.character(previous.node(at)) == tree.character(&node)
                });
                node.number = match same {
                    Some(at) => previous.node(at).number,
                    None => {
                        tree.next += 1;
                        tree.next - 1
                    }
                };
                tree.places.push((node.number, place));
                tree.nodes.push(node);
                if !below.is_empty() {
                    folders.push_back(Folder { node: place, before, below, from });
                }
            }
            tree.nodes[folder.node as usize].children = first..tree.nodes.len() as u32;
        }
        tree.places.sort_unstable();
        tree
    }

    /// The nodes of a folder, each with what is below it.
    fn children_of(
        &mut self,
        folder: &Folder,
        sorted: &[u32],
        axes: &mut HashMap<String, u16>,
    ) -> Vec<Child> {
        let is_entry = self.nodes[folder.node as usize].entry.is_some();
        let mut children = Vec::new();
        let mut at = folder.below.start;
        while at < folder.below.end {
            let component = |at: usize| {
                let rest = self.entries[sorted[at] as usize].name.get(folder.from..).unwrap_or("");
                rest.split_once('/').map_or((rest, false), |(component, _)| (component, true))
            };
            let (name, _) = component(at);
            let end = (at..folder.below.end).find(|&other| component(other).0 != name);
            let end = end.unwrap_or(folder.below.end);
            // Entries of this very path stand first. There should be one at most; the first is the one that is shown.
            let own = (at..end).take_while(|&at| !component(at).1).count();
            let entry = (own > 0).then(|| sorted[at]);
            let file = encode(name);
            let file = if is_entry && Form::claims(&file) { evade(&file) } else { file.into_owned() };
            let from = folder.from + name.len() + 1;
            let shows = entry.map_or(Shows::Nothing, |entry| self.shows(entry, axes));
            let node =
                Node { number: 0, parent: folder.node, name: file.into(), entry, shows, children: 0..0 };
            children.push(Child { node, below: at + own..end, from });
            at = end;
        }
        children
    }

    fn shows(&mut self, at: u32, axes: &mut HashMap<String, u16>) -> Shows {
        let entry = &self.entries[at as usize];
        match entry.kind {
            Kind::Scalar | Kind::Gauge | Kind::Empty => Shows::Number,
            Kind::Symlink => match entry.link.and_then(|link| self.at_position(link.target)) {
                Some(target) if target.kind == Kind::Combined => Shows::Pair,
                // A link to anything else is damaged, which whoever reads it is told.
                _ => Shows::Number,
            },
            Kind::Simple | Kind::Combined => self.counters(at, axes),
            Kind::Histogram => Shows::Histogram,
            Kind::Names => Shows::Names,
            Kind::Ring => Shows::Records,
        }
    }

    fn counters(&mut self, at: u32, axes: &mut HashMap<String, u16>) -> Shows {
        let entry = &self.entries[at as usize];
        let described = self.catalogue.describe(&entry.name).map(|described| described.description);
        let Some(columns) = described.filter(|it| it.kind == entry.kind).map(Columns::of) else {
            return Shows::Counters(None);
        };
        if columns.labels.is_empty() {
            return if columns.histograms { Shows::Histogram } else { Shows::Counters(None) };
        }
        let key = if columns.numbered { entry.name.clone() } else { columns.text.to_owned() };
        if let Some(&axis) = axes.get(&key) {
            return Shows::Counters(Some(axis));
        }
        let known = |path: &&str| self.entries.iter().any(|it| it.kind == Kind::Names && it.name == **path);
        let (Ok(number), true) = (u16::try_from(self.axes.len()), columns.paths.iter().all(known)) else {
            return Shows::Counters(None);
        };
        let axis = Axis {
            folder: format!("{OBJECTS}{}", encode_all(columns.labels.iter().copied())),
            key: key.clone(),
            entry: at,
            histograms: columns.histograms,
            numbered: columns.numbered,
        };
        self.axes.push(axis);
        axes.insert(key, number);
        Shows::Counters(Some(number))
    }

    /// What decides which files and folders there are for a node. Where it changes, nothing of the old ones may be taken
    /// for the new ones.
    fn character<'t>(&'t self, node: &Node) -> (Option<Kind>, Option<&'t str>, Shows) {
        let kind = node.entry.and_then(|at| self.entries.get(at as usize)).map(|entry| entry.kind);
        match node.shows {
            Shows::Counters(Some(axis)) => {
                let key = self.axes.get(usize::from(axis)).map(|axis| &*axis.key);
                (kind, key, Shows::Counters(None))
            }
            shows => (kind, None, shows),
        }
    }

    /// The entry at a position of the segment's directory.
    pub fn at_position(&self, position: u32) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&position, |entry| entry.index).ok()?;
        self.entries.get(at)
    }

    /// The place of the path with this number.
    pub fn place(&self, number: u32) -> Option<u32> {
        let at = self.places.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(self.places[at].1)
    }

    /// A node by its place.
    pub fn node(&self, place: u32) -> &Node {
        &self.nodes[place as usize]
    }

    /// The node in a folder that has this name.
    pub fn child(&self, folder: u32, name: &str) -> Option<u32> {
        let children = self.node(folder).children.clone();
        let nodes = &self.nodes[children.start as usize..children.end as usize];
        let at = nodes.binary_search_by(|node| (*node.name).cmp(name)).ok()?;
        Some(children.start + at as u32)
    }

    /// What a folder holds of other paths.
    pub fn children(&self, folder: u32) -> Range<u32> {
        self.node(folder).children.clone()
    }

    /// The inode of a path.
    pub fn inode(&self, place: u32) -> Inode {
        let form = if self.is_folder(place) { Form::Folder } else { Form::Value };
        Inode { path: self.node(place).number, object: 0, form }
    }

    /// The inode of the folder that a path is in.
    pub fn parent(&self, place: u32) -> Inode {
        self.inode(self.node(place).parent)
    }

    /// Whether a path is a folder.
    pub fn is_folder(&self, place: u32) -> bool {
        let node = self.node(place);
        node.shows != Shows::Number || !node.children.is_empty()
    }

    /// The files in the folder of a path, and its folder of objects.
    pub fn forms(&self, place: u32) -> &'static [Form] {
        match self.node(place).shows {
            Shows::Nothing => &[],
            Shows::Number => &[Form::Value],
            Shows::Pair => &[Form::Packets, Form::Bytes, Form::Table, Form::Json],
            Shows::Counters(Some(_)) => &[Form::Table, Form::Json, Form::Objects],
            Shows::Counters(None) | Shows::Names | Shows::Records => &[Form::Table, Form::Json],
            Shows::Histogram => HISTOGRAM,
        }
    }

    /// The axis of a path's objects.
    pub fn axis(&self, place: u32) -> Option<&Axis> {
        match self.node(place).shows {
            Shows::Counters(Some(axis)) => self.axes.get(usize::from(axis)),
            _ => None,
        }
    }

    /// The files in the folder of one of a path's objects; none if the object is a file.
    pub fn object_forms(&self, place: u32) -> &'static [Form] {
        let kind = self.node(place).entry.and_then(|at| self.entries.get(at as usize)).map(|it| it.kind);
        match (self.axis(place), kind) {
            (Some(Axis { histograms: true, .. }), _) => HISTOGRAM,
            (_, Some(Kind::Combined)) => &[Form::Packets, Form::Bytes],
            _ => &[],
        }
    }

    /// The inode of one of a path's objects.
    pub fn object(&self, place: u32, number: u32) -> Inode {
        let form = if self.object_forms(place).is_empty() { Form::Value } else { Form::Folder };
        Inode { path: self.node(place).number, object: number, form }
    }

    /// A form's file name at a path.
    pub fn form_name(&self, place: u32, form: Form) -> &str {
        match (form, self.axis(place)) {
            (Form::Objects, Some(axis)) => &axis.folder,
            _ => form.name(),
        }
    }
}

/// The files of a histogram.
const HISTOGRAM: &[Form] = &[Form::Table, Form::Json, Form::Count, Form::P50, Form::P90, Form::P99];

/// What a description says of a vector's columns, as far as the tree goes.
struct Columns<'d> {
    text: &'d str,
    labels: Vec<&'d str>,
    /// The name vectors with the objects' names.
    paths: Vec<&'d str>,
    histograms: bool,
    numbered: bool,
}

impl<'d> Columns<'d> {
    fn of(description: &'d Description) -> Columns<'d> {
        let text = &*description.columns;
        let mut columns =
            Columns { text, labels: Vec::new(), paths: Vec::new(), histograms: false, numbered: false };
        if text.is_empty() || text.starts_with('/') {
            // Columns that symlinks give their names to are to be found at the symlinks.
            return columns;
        }
        for axis in text.split(',') {
            let (label, path) = axis.split_once('=').unwrap_or((axis, ""));
            columns.numbered |= path.is_empty();
            columns.labels.push(label);
            columns.paths.extend((!path.is_empty()).then_some(path));
        }
        if columns.labels.last() == Some(&"le") {
            columns.labels.pop();
            columns.histograms = true;
        }
        columns
    }
}

/// A folder whose nodes are still to be made.
struct Folder {
    node: u32,
    /// Its place in the previous tree.
    before: Option<u32>,
    /// What is below it, of the sorted entries.
    below: Range<usize>,
    /// Where the names' next component begins.
    from: usize,
}

struct Child {
    node: Node,
    below: Range<usize>,
    from: usize,
}

fn root() -> Node {
    Node { number: 0, parent: 0, name: "".into(), entry: None, shows: Shows::Nothing, children: 0..0 }
}

/// The characters of a path, ranked so that '/' comes first.
fn ranks(path: &str) -> impl Iterator<Item = u16> {
    path.bytes().map(|byte| if byte == b'/' { 0 } else { u16::from(byte) + 1 })
}
