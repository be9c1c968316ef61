//! Which objects are meant by the words on the command line.

use std::net::IpAddr;

use ipnet::IpNet;
use weir_stats::{Kind, ReadError, Reader, Value};

use crate::names::{Meaning, Names};

use super::subject::{CUSTOMERS, PREFIXES, Source, Subject, entry};

/// Names, addresses and prefixes; without any, all objects.
#[derive(Clone, Debug)]
pub struct Wanted(Vec<Word>);

#[derive(Clone, Debug)]
struct Word {
    text: String,
    /// What it is if it is no name.
    prefix: Option<IpNet>,
}

/// The objects that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Their numbers, in ascending order.
    pub objects: Vec<usize>,
    /// Words that mean none.
    pub unmatched: Vec<String>,
    /// They were asked for one by one: they are shown even if there is nothing to be shown of them.
    pub is_explicit: bool,
}

/// Understands an address, which is a prefix of all its bits, or a prefix.
pub fn prefix(text: &str) -> Option<IpNet> {
    let net = text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))?;
    Some(IpNet::trunc(&net))
}

/// Whether two prefixes have an address in common.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

impl Wanted {
    /// Understands the words.
    pub fn of(words: &[String]) -> Wanted {
        Wanted(words.iter().map(|text| Word { text: text.clone(), prefix: prefix(text) }).collect())
    }

    /// Whether there are no words.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the words is this name.
    pub fn names(&self, name: &str) -> bool {
        self.0.iter().any(|word| word.text == name)
    }

    /// Whether one of the words is this address, or a prefix that it is in.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.0.iter().filter_map(|word| word.prefix).any(|prefix| prefix.contains(&address))
    }

    /// Words that are neither an address or prefix, nor one of these names.
    pub fn unknown<'w>(&'w self, names: impl Fn(&str) -> bool + 'w) -> impl Iterator<Item = &'w str> {
        self.0.iter().filter(move |word| word.prefix.is_none() && !names(&word.text)).map(|word| &*word.text)
    }

    /// Chooses of a segment's objects those that are meant. An object that is called so comes before what a word may mean as
    /// a prefix: that is every customer who has an address in it.
    pub fn select(
        &self,
        source: &Source,
        names: &Names,
        meaning: &Meaning,
        reader: &Reader,
    ) -> Result<Selection, ReadError> {
        let named = (0..source.objects).filter_map(|object| Some((object, names.name(object)?)));
        if self.is_everything() {
            let objects = named.map(|(object, _)| object).collect();
            return Ok(Selection { objects, unmatched: Vec::new(), is_explicit: false });
        }
        let mut found = vec![Vec::new(); self.0.len()];
        let mut possible = vec![Vec::new(); self.0.len()];
        for (object, name) in named {
            let own = prefix(&name);
            for (at, word) in self.0.iter().enumerate() {
                if word.text == name {
                    found[at].push(object);
                } else if own.zip(word.prefix).is_some_and(|(own, wanted)| overlap(&own, &wanted)) {
                    possible[at].push(object);
                }
            }
        }
        if self.0.iter().any(|word| word.prefix.is_some())
            && let Some(prefixes) = entry(meaning, PREFIXES, Kind::Names)
            && source.subject.names == CUSTOMERS
            && let Value::Names(prefixes) = reader.read(prefixes)?
        {
            for (object, text) in prefixes.iter().enumerate().take(source.objects) {
                let own: Vec<IpNet> = text.split_whitespace().filter_map(prefix).collect();
                for (at, wanted) in self.0.iter().enumerate().filter_map(|(at, it)| Some((at, it.prefix?))) {
                    if own.iter().any(|own| overlap(own, &wanted)) {
                        possible[at].push(object);
                    }
                }
            }
        }
        let mut selection = Selection { objects: Vec::new(), unmatched: Vec::new(), is_explicit: true };
        for (word, (found, possible)) in self.0.iter().zip(found.into_iter().zip(possible)) {
            let meant = if found.is_empty() { possible } else { found };
            if meant.is_empty() {
                selection.unmatched.push(word.text.clone());
            }
            selection.objects.extend(meant);
        }
        selection.objects.sort_unstable();
        selection.objects.dedup();
        Ok(selection)
    }
}

impl Selection {
    /// What to say of words that mean nothing; `None` if each means something.
    pub fn note(&self, source: &Source) -> Option<String> {
        let Subject { label, names, .. } = *source.subject;
        let has_addresses = names == CUSTOMERS;
        let said = self.unmatched.iter().map(|word| match prefix(word) {
            Some(_) if has_addresses => {
                format!("no {label} is called {word} or known to have an address in it")
            }
            _ => nobody(label, word),
        });
        let said: Vec<String> = said.collect();
        (!said.is_empty()).then(|| format!("{}: weirstat dump {names} shows all names", said.join(", ")))
    }
}

/// What to say of a word that is no object's name.
pub fn nobody(label: &str, word: &str) -> String {
    let is_number = |c: char| c.is_ascii_hexdigit() || ".:/".contains(c);
    let is_like_prefix = word.contains(['.', ':']) && word.contains('/') && word.chars().all(is_number);
    if is_like_prefix && prefix(word).is_none() {
        format!("{word} is no prefix, and no {label} is called so")
    } else {
        format!("no {label} is called {word}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, source};
    use super::*;

    fn selected(trial: &Trial, words: &[&str]) -> (Vec<usize>, Vec<String>) {
        let reader = Reader::of(&trial.segment).unwrap();
        let meaning = Meaning::of(&reader).unwrap();
        let (source, names) = source(&reader);
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let selection = Wanted::of(&words).select(&source, &names, &meaning, &reader).unwrap();
        (selection.objects, selection.unmatched)
    }

    #[test]
    fn customers_are_named_or_found_by_their_prefixes() {
        let mut trial = Trial::new(&["acme", "", "10.3.0.0/16", "zoo", "deleted", "2001:db8::/32"]);
        assert_eq!(selected(&trial, &[]).0, [0, 2, 3, 5]);
        assert_eq!(selected(&trial, &["zoo", "acme", "zoo"]), (vec![0, 3], vec![]));
        assert_eq!(selected(&trial, &["Zoo", "acme", ""]), (vec![0], vec!["Zoo".to_owned(), String::new()]));
        assert_eq!(selected(&trial, &["10.3.4.5"]).0, [2]);
        assert_eq!(selected(&trial, &["10.3.4.5/8"]).0, [2]);
        assert_eq!(selected(&trial, &["10.3.0.0/16"]).0, [2]);
        assert_eq!(selected(&trial, &["10.4.0.0/16"]).1, ["10.4.0.0/16"]);
        assert_eq!(selected(&trial, &["2001:db8::1", "::/0"]).0, [5]);
        trial.prefixes(&["10.1.0.0/16 10.3.7.0/24", "", "10.3.0.0/16", "192.0.2.7/32"]);
        assert_eq!(selected(&trial, &["10.1.2.3"]).0, [0]);
        assert_eq!(selected(&trial, &["10.3.7.1"]).0, [0, 2]);
        assert_eq!(selected(&trial, &["192.0.2.0/24", "acme"]).0, [0, 3]);
        assert_eq!(selected(&trial, &["0.0.0.0/0"]).0, [0, 2, 3]);
        assert_eq!(selected(&trial, &["10.3.0.0/16"]).0, [2], "a name comes first");
    }

    #[test]
    fn words_without_a_meaning_are_told_apart() {
        let trial = Trial::new(&["acme"]);
        let reader = Reader::of(&trial.segment).unwrap();
        let (source, names) = source(&reader);
        let note = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let meaning = Meaning::of(&reader).unwrap();
            Wanted::of(&words).select(&source, &names, &meaning, &reader).unwrap().note(&source)
        };
        assert_eq!(note(&["acme"]), None);
        for (word, said) in [
            ("zoo", "no customer is called zoo"),
            ("10.0.0.0/33", "10.0.0.0/33 is no prefix, and no customer is called so"),
            ("10.0.0.0/8", "no customer is called 10.0.0.0/8 or known to have an address in it"),
        ] {
            let names = "weirstat dump /customers/names shows all names";
            assert_eq!(note(&[word]), Some(format!("{said}: {names}")));
            assert_eq!(
                note(&["acme", word, "x/y"]),
                Some(format!("{said}, no customer is called x/y: {names}"))
            );
        }
    }

    #[test]
    fn addresses_are_found_in_prefixes() {
        let wanted = Wanted::of(&["acme", "10.0.0.0/8", "2001:db8::7"].map(str::to_owned));
        let covers = |text: &str| wanted.covers(text.parse().unwrap());
        assert!(covers("10.255.0.1") && covers("2001:db8::7"));
        assert!(!covers("11.0.0.1") && !covers("2001:db8::8"));
        assert!(wanted.names("acme") && !wanted.names("10.0.0.1"));
        assert_eq!(wanted.unknown(|_| false).collect::<Vec<_>>(), ["acme"]);
        assert_eq!(wanted.unknown(|name| name == "acme").count(), 0);
    }
}
