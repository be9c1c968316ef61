//! The folders and files that the segment's paths make, built from its list of entries; no value is read for it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use weir_stats::{Catalogue, Described, Description, Entry, Kind, ReadError, Reader};

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
    /// For each folder, in the place of its children: the children's places, sorted by number.
    in_order: Vec<u32>,
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
    /// A histogram for each object of an axis.
    Histograms(u16),
    /// One histogram.
    Histogram,
    Names,
    Records,
}

/// The objects that columns of vectors are about.
#[derive(Debug)]
pub struct Axis {
    /// The name of their folder.
    pub folder: String,
    /// What tells the axis from others.
    pub key: String,
    /// A vector that has it, by its place in the listing.
    pub entry: u32,
    /// What is said of that vector, with no columns but this axis.
    pub description: Description,
}

impl Axis {
    /// Whether the objects are called by their numbers: there are as many as the vector has columns.
    pub fn is_numbered(&self) -> bool {
        !self.description.columns.contains('=')
    }

    /// What the library is to be asked for the names.
    pub fn described(&self) -> Described<'_> {
        Described { description: &self.description, labels: Vec::new() }
    }
}

impl Tree {
    /// No paths, as when there is no weir.
    pub fn empty() -> Tree {
        Tree {
            catalogue: Catalogue::new(Vec::new()),
            entries: Vec::new(),
            axes: Vec::new(),
            nodes: vec![root()],
            in_order: vec![0],
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

        let names = tree.entries.iter().filter(|entry| entry.kind == Kind::Names);
        let mut known =
            Known { names: names.map(|entry| entry.name.clone()).collect(), axes: HashMap::new() };
        let mut folders = VecDeque::from([Folder {
            node: 0,
            before: (!begin_again).then_some(0),
            below: 0..sorted.len(),
            from: 1,
        }]);
        while let Some(folder) = folders.pop_front() {
            let mut children = tree.children_of(&folder, &sorted, &mut known);
            children.sort_by(|a, b| a.node.name.cmp(&b.node.name));
            let first = tree.nodes.len() as u32;
            for Child { mut node, below, from } in children {
                let place = tree.nodes.len() as u32;
                let before = folder.before.and_then(|before| previous.child(before, &node.name));
                let same = before.filter(|&at| {
                    let had_children = !previous.node(at).children.is_empty();
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
            let children = first..tree.nodes.len() as u32;
            let mut in_order: Vec<u32> = children.clone().collect();
            in_order.sort_unstable_by_key(|&place| tree.nodes[place as usize].number);
            tree.in_order.extend(in_order);
            tree.nodes[folder.node as usize].children = children;
        }
        tree.places.sort_unstable();
        tree
    }

    /// The nodes of a folder, each with what is below it.
    fn children_of(&mut self, folder: &Folder, sorted: &[u32], known: &mut Known) -> Vec<Child> {
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
            let shows = entry.map_or(Shows::Nothing, |entry| self.shows(entry, known));
            let node =
                Node { number: 0, parent: folder.node, name: file.into(), entry, shows, children: 0..0 };
            children.push(Child { node, below: at + own..end, from });
            at = end;
        }
        children
    }

    fn shows(&mut self, at: u32, known: &mut Known) -> Shows {
        let entry = &self.entries[at as usize];
        match entry.kind {
            Kind::Scalar | Kind::Gauge | Kind::Empty => Shows::Number,
            Kind::Symlink => match entry.link.and_then(|link| self.at_position(link.target)) {
                Some(target) if target.kind == Kind::Combined => Shows::Pair,
                // A link to anything else is damaged, which whoever reads it is told.
                _ => Shows::Number,
            },
            Kind::Simple | Kind::Combined => self.counters(at, known),
            Kind::Histogram => Shows::Histogram,
            Kind::Names => Shows::Names,
            Kind::Ring => Shows::Records,
        }
    }

    fn counters(&mut self, at: u32, known: &mut Known) -> Shows {
        let entry = &self.entries[at as usize];
        let described = self.catalogue.describe(&entry.name).map(|described| described.description);
        let Some(description) = described.filter(|it| it.kind == entry.kind) else {
            return Shows::Counters(None);
        };
        let (objects, bins) = parts(&description.columns);
        let is_simple = entry.kind == Kind::Simple;
        let of_axis = |axis| match bins {
            Some(_) if is_simple => Shows::Histograms(axis),
            _ => Shows::Counters(Some(axis)),
        };
        if objects.is_empty() {
            return if bins.is_some() && is_simple { Shows::Histogram } else { Shows::Counters(None) };
        }
        let labels: Option<Vec<&str>> = match objects.contains('=') {
            true => {
                let axes = objects.split(',').map(|axis| axis.split_once('='));
                let there = axes.map(|axis| axis.filter(|(_, path)| known.names.contains(*path)));
                there.map(|axis| Some(axis?.0)).collect()
            }
            // Columns that symlinks give their names to are to be found at the symlinks.
            false => (!objects.starts_with('/') && bins.is_none()).then(|| vec![objects]),
        };
        let Some(labels) = labels else { return Shows::Counters(None) };
        let key = if objects.contains('=') { objects } else { &*entry.name };
        if let Some(&axis) = known.axes.get(key) {
            return of_axis(axis);
        }
        let Ok(number) = u16::try_from(self.axes.len()) else { return Shows::Counters(None) };
        known.axes.insert(key.to_owned(), number);
        let shows = of_axis(number);
        let axis = Axis {
            folder: format!("{OBJECTS}{}", encode_all(labels)),
            key: key.to_owned(),
            entry: at,
            description: Description { columns: Cow::Owned(objects.to_owned()), ..description.clone() },
        };
        self.axes.push(axis);
        shows
    }

    /// What decides which files and folders there are for a node. Where it changes, nothing of the old ones may be taken
    /// for the new ones.
    fn character<'t>(&'t self, node: &Node) -> (Option<Kind>, Option<&'t str>, Shows) {
        let kind = node.entry.and_then(|at| self.entries.get(at as usize)).map(|entry| entry.kind);
        let key = |axis: u16| self.axes.get(usize::from(axis)).map(|axis| &*axis.key);
        match node.shows {
            // An axis' place in the list says nothing: it is told by its key.
            Shows::Counters(Some(axis)) => (kind, key(axis), Shows::Counters(None)),
            Shows::Histograms(axis) => (kind, key(axis), Shows::Histograms(0)),
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

    /// The paths in a folder whose numbers are above one: their numbers and places, the lowest number first.
    pub fn children_above(&self, folder: u32, number: u32) -> impl Iterator<Item = (u32, u32)> {
        let Range { start, end } = self.node(folder).children;
        let children = &self.in_order[start as usize..end as usize];
        let first = children.partition_point(|&place| self.node(place).number <= number);
        children[first..].iter().map(|&place| (self.node(place).number, place))
    }

    /// The entry at a path.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        let mut components = path.strip_prefix('/')?.split('/');
        let place = components.try_fold(0, |folder, name| self.child(folder, &encode(name)))?;
        self.entries.get(self.node(place).entry? as usize)
    }

    /// The name vector with the bounds of a histogram's bins.
    pub fn bounds(&self, entry: &Entry) -> Option<&Entry> {
        let described = self.catalogue.describe(&entry.name)?;
        let path = parts(&described.description.columns).1?;
        self.entry(path).filter(|entry| entry.kind == Kind::Names)
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
            Shows::Counters(Some(_)) | Shows::Histograms(_) => &[Form::Table, Form::Json, Form::Objects],
            Shows::Counters(None) | Shows::Names | Shows::Records => &[Form::Table, Form::Json],
            Shows::Histogram => HISTOGRAM,
        }
    }

    /// The axis of a path's objects.
    pub fn axis(&self, place: u32) -> Option<&Axis> {
        match self.node(place).shows {
            Shows::Counters(Some(axis)) | Shows::Histograms(axis) => self.axes.get(usize::from(axis)),
            _ => None,
        }
    }

    /// The files in the folder of one of a path's objects; none if the object is a file.
    pub fn object_forms(&self, place: u32) -> &'static [Form] {
        let kind = self.node(place).entry.and_then(|at| self.entries.get(at as usize)).map(|it| it.kind);
        match (self.node(place).shows, kind) {
            (Shows::Histograms(_), _) => HISTOGRAM,
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

/// What a description says of columns: what the objects are, and the path of the bins' bounds if each is a histogram.
fn parts(columns: &str) -> (&str, Option<&str>) {
    let (objects, last) = columns.rsplit_once(',').unwrap_or(("", columns));
    match last.strip_prefix("le=") {
        Some(path) => (objects, Some(path)),
        None => (columns, None),
    }
}

/// What was found so far while a tree is built.
struct Known {
    /// The paths of name vectors.
    names: HashSet<String>,
    /// Axes by their keys.
    axes: HashMap<String, u16>,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use weir_stats::{Options, Segment};

    fn segment() -> Segment {
        Segment::in_heap(Options { size: 1 << 20, workers: 1, grace: Duration::ZERO }).unwrap()
    }

    fn tree(segment: &Segment, previous: &Tree) -> Tree {
        Tree::of(&Reader::of(segment).unwrap(), previous).unwrap()
    }

    fn inode(tree: &Tree, path: &str) -> Option<Inode> {
        let place = path.split('/').try_fold(0, |folder, name| tree.child(folder, name))?;
        assert_eq!(tree.place(tree.node(place).number), Some(place));
        Some(tree.inode(place))
    }

    #[test]
    fn paths_keep_their_numbers_and_nobody_else_gets_them() {
        let mut segment = segment();
        let (a, _) =
            segment.register(|batch| Ok((batch.gauge("/x/a", 1)?, batch.gauge("/x/c", 1)?))).unwrap();
        let first = tree(&segment, &Tree::empty());
        let numbers = |tree: &Tree| ["x", "x/a", "x/b", "x/c"].map(|path| inode(tree, path));
        let [x, old_a, none, c] = numbers(&first);
        assert_eq!((x.unwrap().form, old_a.unwrap().form, none), (Form::Folder, Form::Value, None));
        segment.register(|batch| batch.remove(a.id())).unwrap();
        segment.register(|batch| batch.gauge("/x/b", 1)).unwrap();
        let second = tree(&segment, &first);
        let [still_x, none, b, still_c] = numbers(&second);
        assert_eq!((still_x, none, still_c), (x, None, c));
        assert!(b.is_some() && ![x, old_a, c].contains(&b));
        assert_eq!(second.place(old_a.unwrap().path), None);
        segment.register(|batch| batch.gauge("/x/a", 1)).unwrap();
        let third = tree(&segment, &second);
        let [_, new_a, still_b, _] = numbers(&third);
        assert!(still_b == b && new_a.is_some() && ![old_a, b, c, x].contains(&new_a));
        let in_order: Vec<_> =
            third.children_above(third.child(0, "x").unwrap(), 0).map(|(number, _)| number).collect();
        assert!(in_order.len() == 3 && in_order.is_sorted());
    }

    #[test]
    fn what_becomes_something_else_gets_another_number() {
        let mut segment = segment();
        let gauge = segment.register(|batch| batch.gauge("/x", 1)).unwrap();
        let first = tree(&segment, &Tree::empty());
        segment
            .register(|batch| {
                batch.remove(gauge.id())?;
                batch.simple("/x", 1, 1)
            })
            .unwrap();
        let second = tree(&segment, &first);
        assert_ne!(inode(&first, "x").unwrap().path, inode(&second, "x").unwrap().path);
    }

    #[test]
    fn axes_are_shared_by_counters_and_histograms() {
        let mut segment = segment();
        segment
            .describe(&[
                Description::combined("/c/rx", "customer=/c/names", "received"),
                Description::simple("/c/rtt", "us", "customer=/c/names,le=/bins", "times"),
                Description::simple("/rtt", "us", "le=/bins", "times"),
                Description::simple("/lost", "us", "customer=/none", "names that are not there"),
            ])
            .unwrap();
        segment
            .register(|batch| {
                batch.names("/c/names", 1)?;
                batch.names("/bins", 1)?;
                batch.combined("/c/rx", 1, 1)?;
                ["/c/rtt", "/rtt", "/lost"].iter().try_for_each(|path| batch.simple(path, 1, 1).map(drop))
            })
            .unwrap();
        let tree = tree(&segment, &Tree::empty());
        let shows = |path: &str| {
            let place = path.split('/').try_fold(0, |folder, name| tree.child(folder, name)).unwrap();
            tree.node(place).shows
        };
        let Shows::Counters(Some(axis)) = shows("c/rx") else { panic!() };
        assert_eq!(shows("c/rtt"), Shows::Histograms(axis));
        assert_eq!((shows("rtt"), shows("lost")), (Shows::Histogram, Shows::Counters(None)));
        assert_eq!(tree.bounds(tree.entry("/c/rtt").unwrap()).unwrap().name, "/bins");
        let of_memory = tree.axes.iter().find(|axis| axis.key == "statistic=/mem/columns").unwrap();
        assert_eq!((of_memory.folder.as_str(), of_memory.is_numbered()), ("by-statistic", false));
    }
}
