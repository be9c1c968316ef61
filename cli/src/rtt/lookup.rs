//! Names, asked for one by one: reading a hundred thousand of them whenever the segment's structure changes, as it does with
//! every route, would cost more than what they are read for.

use std::collections::HashMap;

use weir_stats::{Entry, ReadError, Reader, Value};

/// What the name of an object that is gone may be, as in VPP.
const DELETED: &str = "deleted";

/// The names of some objects.
#[derive(Debug)]
pub struct Lookup {
    reader: Reader,
    /// The name vector, if there is one.
    entry: Option<Entry>,
    /// The epoch at which the known ones were read.
    epoch: u64,
    known: HashMap<usize, Option<String>>,
}

impl Lookup {
    /// Of this name vector.
    pub fn new(reader: Reader, entry: Option<Entry>) -> Lookup {
        let epoch = reader.epoch();
        Lookup { reader, entry, epoch, known: HashMap::new() }
    }

    /// The name vector.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// An object's name.
    pub fn name(&mut self, object: usize) -> Option<&str> {
        self.fetch(object);
        self.known(object)
    }

    /// Two objects' names.
    pub fn both(&mut self, one: Option<usize>, other: Option<usize>) -> (Option<&str>, Option<&str>) {
        [one, other].into_iter().flatten().for_each(|object| self.fetch(object));
        (one.and_then(|one| self.known(one)), other.and_then(|other| self.known(other)))
    }

    /// All names.
    pub fn all(&self) -> Result<Vec<String>, ReadError> {
        match self.entry.as_ref().map(|entry| self.reader.read(entry)).transpose()? {
            Some(Value::Names(names)) => Ok(names),
            _ => Ok(Vec::new()),
        }
    }

    fn known(&self, object: usize) -> Option<&str> {
        self.known.get(&object)?.as_deref()
    }

    fn fetch(&mut self, object: usize) {
        let epoch = self.reader.epoch();
        if epoch != self.epoch {
            self.known.clear();
            self.epoch = epoch;
        }
        if self.known.contains_key(&object) {
            return;
        }
        let read = |entry| self.reader.part(entry, 0, object..object.saturating_add(1));
        let name = match self.entry.as_ref().map(read) {
            Some(Ok(Value::Names(names))) => {
                names.into_iter().next().filter(|name| !name.is_empty() && name != DELETED)
            }
            _ => None,
        };
        self.known.insert(object, name);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_stats::{Options, Segment};

    use super::*;

    #[test]
    fn names_are_those_of_now() {
        let options = Options { size: 1 << 20, workers: 1, grace: Duration::ZERO };
        let mut segment = Segment::in_heap(options).unwrap();
        let mut names = segment.register(|batch| batch.names("/names", 4)).unwrap();
        let reader = Reader::of(&segment).unwrap();
        let mut lookup = Lookup::new(reader.clone(), reader.find("/names").unwrap());
        let mut name =
            |at, text: &str| segment.register(|batch| batch.set_name(&mut names, at, text)).unwrap();
        name(2, "acme");
        assert_eq!(lookup.name(2), Some("acme"));
        assert_eq!(lookup.both(Some(2), Some(1)), (Some("acme"), None));
        name(1, "zoo");
        name(2, "zebra");
        assert_eq!(lookup.both(Some(1), Some(2)), (Some("zoo"), Some("zebra")));
        assert_eq!(lookup.name(9), None);
        assert_eq!(lookup.all().unwrap(), ["", "zoo", "zebra"]);
        assert_eq!(Lookup::new(reader, None).name(2), None);
    }
}
