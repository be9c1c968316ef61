//! What the columns of vectors are called, as the segment itself says.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use weir_stats::{Bounds, Catalogue, Columns, Entry, ReadError, Reader};

/// What a listing's paths mean. True until the epoch moves.
#[derive(Debug)]
pub struct Meaning {
    /// What the paths mean.
    pub catalogue: Catalogue,
    /// All entries.
    pub listing: Vec<Entry>,
    /// By what a description says of columns: many vectors have the same.
    names: RefCell<HashMap<String, Rc<Names>>>,
}

/// The names of a vector's columns.
#[derive(Debug, Default)]
pub struct Names {
    columns: Columns,
    /// As JSON strings, for every one is asked for again by each row and each vector; `None` for one without a name.
    quoted: RefCell<Vec<Option<Box<str>>>>,
}

/// So many names are kept as JSON. Beyond, in a segment that claims to have more, they are made each time.
const QUOTED: usize = 1 << 20;

impl Meaning {
    /// What this segment holds now.
    pub fn of(reader: &Reader) -> Result<Meaning, ReadError> {
        let catalogue = Catalogue::of(reader)?;
        Ok(Meaning { catalogue, listing: reader.list()?, names: RefCell::default() })
    }

    /// The names of an entry's columns.
    pub fn names(&self, entry: &Entry, reader: &Reader) -> Result<Rc<Names>, ReadError> {
        let Some(described) = self.catalogue.describe(&entry.name) else { return Ok(Rc::default()) };
        let text = &*described.description.columns;
        if let Some(names) = self.names.borrow().get(text) {
            return Ok(Rc::clone(names));
        }
        let columns = Columns::of(&described, entry, &self.listing, reader)?;
        let names = Rc::new(Names { columns, quoted: RefCell::default() });
        // What symlinks say is true of the vector that they lead to.
        if !text.starts_with('/') {
            self.names.borrow_mut().insert(text.to_owned(), Rc::clone(&names));
        }
        Ok(names)
    }
}

impl Names {
    /// The bins, if each object is a histogram.
    pub fn bins(&self) -> Option<&Bounds> {
        self.columns.bins()
    }

    /// How many objects have names; `None` if they have none.
    pub fn objects(&self) -> Option<usize> {
        self.columns.objects()
    }

    /// An object's name.
    pub fn name(&self, object: usize) -> Option<String> {
        // One that is called by its number has none.
        self.columns.objects()?;
        self.columns.name(object)
    }

    /// Appends `,"column":NAME` if the object has one.
    pub fn write_json(&self, object: usize, out: &mut Vec<u8>) {
        let append = |name: &str, out: &mut Vec<u8>| {
            out.extend_from_slice(b",\"column\":");
            out.extend_from_slice(name.as_bytes());
        };
        if object >= QUOTED {
            if let Some(name) = self.quote(object) {
                append(&name, out);
            }
            return;
        }
        let mut quoted = self.quoted.borrow_mut();
        while quoted.len() <= object {
            let next = self.quote(quoted.len());
            quoted.push(next);
        }
        if let Some(Some(name)) = quoted.get(object) {
            append(name, out);
        }
    }

    fn quote(&self, object: usize) -> Option<Box<str>> {
        Some(serde_json::to_string(&self.name(object)?).ok()?.into())
    }
}
