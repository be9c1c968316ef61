//! What an inode number stands for. The number says it all, so nothing is kept of what was looked at.

use fuser::INodeNo;

/// A file or folder: one of the forms in which a path of the segment is shown, or an object in one of its vectors is.
///
/// Paths and objects have numbers that stay theirs as long as they are there, and are given to no other afterwards. So a
/// name that the kernel remembers never leads to something that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// The path's number.
    pub path: u32,
    /// The object's number; 0 for none.
    pub object: u32,
    /// Which file or folder of those that the path or object is shown as.
    pub form: Form,
}

/// In what form something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The folder of the path or object.
    Folder = 1,
    /// Its one number: its only file, or, where a path has a folder nevertheless, a file in that.
    Value,
    Packets,
    Bytes,
    Table,
    Json,
    Count,
    P50,
    P90,
    P99,
    /// The folder of a vector's objects.
    Objects,
}

impl Form {
    /// The file's name. The folder of objects has no fixed one.
    pub fn name(self) -> &'static str {
        match self {
            Form::Value => "value",
            Form::Packets => "packets",
            Form::Bytes => "bytes",
            Form::Table => "table",
            Form::Json => "json",
            Form::Count => "count",
            Form::P50 => "p50",
            Form::P90 => "p90",
            Form::P99 => "p99",
            Form::Folder | Form::Objects => "",
        }
    }

    const ALL: [Form; 11] = [
        Form::Folder,
        Form::Value,
        Form::Packets,
        Form::Bytes,
        Form::Table,
        Form::Json,
        Form::Count,
        Form::P50,
        Form::P90,
        Form::P99,
        Form::Objects,
    ];

    /// Whether a file could be called so beside a vector's own files.
    pub fn claims(name: &str) -> bool {
        name.starts_with(OBJECTS) || Form::ALL.iter().any(|form| form.name() == name)
    }
}

/// What the name of a folder of objects begins with.
pub const OBJECTS: &str = "by-";

/// Bits of the form, the path's number and the object's number, from the lowest on.
const FORM_BITS: u32 = 4;
const PATH_BITS: u32 = 28;

/// Numbers of paths lie below.
pub const PATHS: u32 = 1 << PATH_BITS;

impl Inode {
    /// The root folder: FUSE calls it 1.
    pub const ROOT: Inode = Inode { path: 0, object: 0, form: Form::Folder };

    pub const fn with(self, form: Form) -> Inode {
        Inode { form, ..self }
    }

    pub fn is_folder(self) -> bool {
        matches!(self.form, Form::Folder | Form::Objects)
    }

    pub fn number(self) -> INodeNo {
        let path = u64::from(self.path) << FORM_BITS;
        INodeNo(u64::from(self.object) << (FORM_BITS + PATH_BITS) | path | self.form as u64)
    }

    pub fn of_number(INodeNo(number): INodeNo) -> Option<Inode> {
        let form = number & ((1 << FORM_BITS) - 1);
        Some(Inode {
            path: (number >> FORM_BITS) as u32 & (PATHS - 1),
            object: (number >> (FORM_BITS + PATH_BITS)) as u32,
            form: *Form::ALL.iter().find(|it| **it as u64 == form)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_say_it_all() {
        assert_eq!(Inode::ROOT.number(), INodeNo::ROOT);
        for form in Form::ALL {
            for (path, object) in [(0, 0), (1, 1), (PATHS - 1, u32::MAX)] {
                let inode = Inode { path, object, form };
                assert_eq!(Inode::of_number(inode.number()), Some(inode));
            }
        }
        assert_eq!(Inode::of_number(INodeNo(0)), None);
        assert_eq!(Inode::of_number(INodeNo(15)), None);
    }

    #[test]
    fn forms_claim_their_names() {
        for name in ["table", "by-interface", "p99", "value"] {
            assert!(Form::claims(name));
        }
        for name in ["tables", "used", "by"] {
            assert!(!Form::claims(name));
        }
    }
}
