//! What a folder holds, and what its files are called.

use std::sync::Arc;

use super::inode::{Form, Inode};
use super::objects::Objects;
use super::refusal::Refusal;
use super::tree::Tree;
use super::view::View;

/// A folder as it is now.
///
/// Nothing is kept of it while it is being read: whoever reads it says up to where he has come, and goes on from there in
/// the folder as it is by then. What is there all the time is seen once.
#[derive(Debug)]
pub struct Folder {
    tree: Arc<Tree>,
    place: u32,
    inode: Inode,
    objects: Option<Arc<Objects>>,
}

/// Where something stands in a folder's order: first the folder itself, the one that it is in, and its files; then, by
/// their numbers, which never change, paths or objects.
const ITSELF: u64 = 1;
const PARENT: u64 = 2;
const FORMS: u64 = 3;
const NUMBERS: u64 = 64;

impl Folder {
    /// The folder with this inode.
    pub fn of(view: &View, inode: Inode) -> Result<Folder, Refusal> {
        view.with_tree(|tree, fresh| Folder::at(view, tree, fresh, inode))
    }

    /// What is called so in the folder with this inode.
    pub fn find(view: &View, inode: Inode, name: &str) -> Result<Inode, Refusal> {
        view.with_tree(|tree, fresh| {
            Folder::at(view, tree, fresh, inode)?.inode_of(name).ok_or(Refusal::Absent)
        })
    }

    fn at(view: &View, tree: &Arc<Tree>, fresh: bool, inode: Inode) -> Result<Folder, Refusal> {
        let place = tree.place(inode.path).ok_or(Refusal::Stale)?;
        let objects = match inode {
            Inode { object: 0, form: Form::Folder, .. } => None,
            Inode { object, .. } => {
                let axis = tree.axis(place).ok_or(Refusal::Stale)?;
                let (objects, _) = view.objects(tree, axis, fresh)?;
                if object == 0 {
                    Some(objects)
                } else {
                    objects.numbered(object).ok_or(Refusal::Stale)?;
                    None
                }
            }
        };
        Ok(Folder { tree: Arc::clone(tree), place, inode, objects })
    }

    /// The root folder when there is no weir.
    pub fn empty() -> Folder {
        Folder { tree: Arc::new(Tree::empty()), place: 0, inode: Inode::ROOT, objects: None }
    }

    /// Calls `act` for what stands behind `after` (0: for everything), with where it stands, until that says that it has
    /// enough.
    pub fn each_after(&self, after: u64, mut act: impl FnMut(u64, Inode, &str) -> bool) {
        let (tree, place) = (&*self.tree, self.place);
        if after < ITSELF && act(ITSELF, self.inode, ".")
            || after < PARENT && act(PARENT, self.parent(), "..")
        {
            return;
        }
        for (at, form) in (FORMS..).zip(self.forms()) {
            if after < at && act(at, self.inode.with(*form), tree.form_name(place, *form)) {
                return;
            }
        }
        let number = u32::try_from(after.saturating_sub(NUMBERS)).unwrap_or(u32::MAX);
        if let Some(objects) = &self.objects {
            for object in objects.above(number) {
                let inode = tree.object(place, object.number);
                if act(NUMBERS + u64::from(object.number), inode, &objects.name(object)) {
                    return;
                }
            }
        } else if self.inode.object == 0 {
            for (number, child) in tree.children_above(place, number) {
                if act(NUMBERS + u64::from(number), tree.inode(child), &tree.node(child).name) {
                    return;
                }
            }
        }
    }

    fn inode_of(&self, name: &str) -> Option<Inode> {
        let (tree, place) = (&*self.tree, self.place);
        let form = self.forms().iter().find(|form| tree.form_name(place, **form) == name);
        form.map(|form| self.inode.with(*form)).or_else(|| match &self.objects {
            Some(objects) => Some(tree.object(place, objects.find(name)?.number)),
            None if self.inode.object == 0 => Some(tree.inode(tree.child(place, name)?)),
            None => None,
        })
    }

    fn forms(&self) -> &'static [Form] {
        match self.inode {
            Inode { object: 0, form: Form::Folder, .. } => self.tree.forms(self.place),
            Inode { object: 0, .. } => &[],
            _ => self.tree.object_forms(self.place),
        }
    }

    fn parent(&self) -> Inode {
        match self.inode {
            Inode { object: 0, form: Form::Folder, .. } => self.tree.parent(self.place),
            Inode { object: 0, .. } => self.inode.with(Form::Folder),
            _ => Inode { object: 0, form: Form::Objects, ..self.inode },
        }
    }
}
