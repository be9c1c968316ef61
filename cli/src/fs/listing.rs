//! What a folder holds, as it was when the folder was opened, and what its files are called.

use std::sync::Arc;

use super::inode::{Form, Inode};
use super::objects::Objects;
use super::refusal::Refusal;
use super::tree::Tree;
use super::view::View;

/// An open folder.
#[derive(Debug)]
pub struct Listing {
    tree: Arc<Tree>,
    place: u32,
    folder: Inode,
    holds: Holds,
}

#[derive(Debug)]
enum Holds {
    /// A path's files, and the paths below.
    Paths,
    /// A vector's objects.
    Objects(Arc<Objects>),
    /// An object's files.
    Forms,
}

impl Listing {
    /// What is in a folder now.
    pub fn of(view: &View, folder: Inode) -> Result<Listing, Refusal> {
        view.with_tree(|tree, fresh| {
            let place = tree.place(folder.path).ok_or(Refusal::Stale)?;
            let holds = match folder {
                Inode { object: 0, form: Form::Folder, .. } => Holds::Paths,
                Inode { object: 0, .. } => {
                    let axis = tree.axis(place).ok_or(Refusal::Stale)?;
                    Holds::Objects(view.objects(tree, axis, fresh)?.0)
                }
                _ => Holds::Forms,
            };
            Ok(Listing { tree: Arc::clone(tree), place, folder, holds })
        })
    }

    /// The root folder when there is no weir.
    pub fn empty() -> Listing {
        Listing { tree: Arc::new(Tree::empty()), place: 0, folder: Inode::ROOT, holds: Holds::Paths }
    }

    /// The file or folder at a place in the order: first the folder itself and the one that it is in.
    pub fn get(&self, at: usize) -> Option<(Inode, &str)> {
        let (tree, place) = (&*self.tree, self.place);
        let at = match at {
            0 => return Some((self.folder, ".")),
            1 => return Some((self.parent(), "..")),
            _ => at - 2,
        };
        match &self.holds {
            Holds::Paths => {
                let forms = tree.forms(place);
                if let Some(form) = forms.get(at) {
                    return Some((self.folder.with(*form), tree.form_name(place, *form)));
                }
                let child = tree.children(place).nth(at - forms.len())?;
                Some((tree.inode(child), &tree.node(child).name))
            }
            Holds::Objects(objects) => {
                let object = objects.get(at)?;
                Some((tree.object(place, object.number), &object.name))
            }
            Holds::Forms => {
                let form = *tree.object_forms(place).get(at)?;
                Some((self.folder.with(form), form.name()))
            }
        }
    }

    fn parent(&self) -> Inode {
        match (&self.holds, self.folder) {
            (Holds::Paths, _) => self.tree.parent(self.place),
            (Holds::Objects(_), folder) => folder.with(Form::Folder),
            (Holds::Forms, folder) => Inode { object: 0, form: Form::Objects, ..folder },
        }
    }
}

/// What is called so in a folder.
pub fn find(view: &View, folder: Inode, name: &str) -> Result<Inode, Refusal> {
    view.with_tree(|tree, fresh| {
        let place = tree.place(folder.path).ok_or(Refusal::Stale)?;
        let of_forms = |forms: &[Form]| {
            let form = forms.iter().find(|form| tree.form_name(place, **form) == name)?;
            Some(folder.with(*form))
        };
        let found = match folder {
            Inode { object: 0, form: Form::Folder, .. } => {
                of_forms(tree.forms(place)).or_else(|| Some(tree.inode(tree.child(place, name)?)))
            }
            Inode { object: 0, .. } => {
                let axis = tree.axis(place).ok_or(Refusal::Stale)?;
                let (objects, _) = view.objects(tree, axis, fresh)?;
                objects.find(name).map(|object| tree.object(place, object.number))
            }
            _ => of_forms(tree.object_forms(place)),
        };
        found.ok_or(Refusal::Absent)
    })
}
