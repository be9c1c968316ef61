//! Who is meant by a word: a node of the tree, or a customer by name, by title, or by an address.

use ipnet::IpNet;
use weir_stats::ReadError;

use crate::rtt::selection::{overlap, prefix};

use super::source::{CUSTOMERS, PREFIXES, Source, TITLES};
use super::tree::{Item, Tree};

/// Words that tell nodes from customers where both are called the same.
const NODE: &str = "node:";
const CUSTOMER: &str = "customer:";

/// So many names are proposed.
const PROPOSALS: usize = 5;

/// Names that are less like a word than this (Jaro and Winkler's measure) are no proposal.
const LIKE: f64 = 0.8;

/// Why nobody is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// Nobody is called so; these are.
    Unknown(Vec<String>),
    /// Several are meant: so many, of whom these are some.
    Several(usize, Vec<String>),
}

/// Finds who is meant.
pub fn find(source: &Source, tree: &Tree, word: &str) -> Result<Result<Item, Unclear>, ReadError> {
    let names = Names {
        tree,
        customers: source.texts(CUSTOMERS)?,
        titles: source.texts(TITLES)?,
        prefixes: if prefix(word.strip_prefix(CUSTOMER).unwrap_or(word)).is_some() {
            source.texts(PREFIXES)?
        } else {
            Vec::new()
        },
    };
    Ok(names.find(word))
}

struct Names<'t> {
    tree: &'t Tree,
    customers: Vec<String>,
    titles: Vec<String>,
    prefixes: Vec<String>,
}

impl Names<'_> {
    fn find(&self, word: &str) -> Result<Item, Unclear> {
        let mut found = [self.nodes(word), self.customers(word)].concat();
        if found.is_empty() {
            found = match (word.strip_prefix(NODE), word.strip_prefix(CUSTOMER)) {
                (Some(name), _) => self.nodes(name),
                (None, Some(name)) => self.customers(name),
                (None, None) => Vec::new(),
            };
        }
        match found[..] {
            [] => Err(Unclear::Unknown(self.proposals(word))),
            [item] => Ok(item),
            _ => {
                let some = found.iter().take(PROPOSALS).map(|item| self.name(*item)).collect();
                Err(Unclear::Several(found.len(), some))
            }
        }
    }

    fn nodes(&self, word: &str) -> Vec<Item> {
        let is_called = |number: &usize| self.tree.node(*number).is_some_and(|node| node.name == word);
        self.tree.order().iter().copied().filter(is_called).map(Item::Node).collect()
    }

    /// Customers who are called so; if there is none, those with that title, and if there is none of those either, those who
    /// have addresses in common with the word.
    fn customers(&self, word: &str) -> Vec<Item> {
        let called = |names: &[String]| -> Vec<Item> {
            let found = names.iter().enumerate().filter(|(at, name)| *name == word && self.is_there(*at));
            found.map(|(at, _)| Item::Customer(at)).collect()
        };
        if word.is_empty() {
            return Vec::new();
        }
        let found = called(&self.customers);
        let found = if found.is_empty() { called(&self.titles) } else { found };
        match prefix(word) {
            Some(wanted) if found.is_empty() => self.at(&wanted),
            _ => found,
        }
    }

    /// The customers whose prefixes the packets of an address go by: that with the longest one. Of a prefix, everyone who has a
    /// part of it.
    fn at(&self, wanted: &IpNet) -> Vec<Item> {
        let own =
            self.prefixes.iter().enumerate().filter(|(at, _)| self.is_there(*at)).flat_map(|(at, all)| {
                all.split_whitespace().filter_map(prefix).map(move |prefix| (at, prefix))
            });
        let mut found: Vec<(usize, IpNet)> = own.filter(|(_, own)| overlap(own, wanted)).collect();
        let longest =
            found.iter().filter(|(_, own)| own.contains(wanted)).map(|(_, own)| own.prefix_len()).max();
        // Who has a part of it, unless all of it is one's.
        found.retain(|(_, own)| !own.contains(wanted) || Some(own.prefix_len()) == longest);
        let mut customers: Vec<usize> = found.into_iter().map(|(at, _)| at).collect();
        customers.dedup();
        customers.into_iter().map(Item::Customer).collect()
    }

    fn is_there(&self, customer: usize) -> bool {
        self.customers.get(customer).is_some_and(|name| !name.is_empty())
    }

    /// How to ask for one of several.
    fn name(&self, item: Item) -> String {
        match item {
            Item::Node(number) => {
                format!("{NODE}{}", self.tree.node(number).map(|node| &*node.name).unwrap_or_default())
            }
            Item::Customer(number) => format!("{CUSTOMER}{}", self.customers[number]),
        }
    }

    /// Names like a word, the most similar first.
    fn proposals(&self, word: &str) -> Vec<String> {
        let word = word.strip_prefix(NODE).or_else(|| word.strip_prefix(CUSTOMER)).unwrap_or(word);
        let wanted = word.to_lowercase();
        let like = |name: &str| {
            let name = name.to_lowercase();
            let is_part = !wanted.is_empty() && name.contains(&wanted);
            if is_part { 1.0 } else { strsim::jaro_winkler(&name, &wanted) }
        };
        let nodes = self.tree.order().iter().filter_map(|it| self.tree.node(*it)).map(|node| &node.name);
        let is_there = |(at, title): (usize, _)| self.is_there(at).then_some(title);
        let titles = self.titles.iter().enumerate().filter_map(is_there);
        let all = nodes.chain(&self.customers).chain(titles).filter(|name| !name.is_empty());
        let mut like: Vec<(f64, &String)> =
            all.map(|name| (like(name), name)).filter(|(like, _)| *like >= LIKE).collect();
        like.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.cmp(other)));
        like.dedup_by(|(_, one), (_, other)| one == other);
        like.into_iter().take(PROPOSALS).map(|(_, name)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(word: &str) -> Result<Item, Unclear> {
        let nodes = ["West", "", "AP 7", "twin", "7"].map(|name| ((name.to_owned(), String::new()), None));
        let tree = Tree::new(nodes.into_iter(), Vec::new());
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let names = Names {
            tree: &tree,
            customers: texts(&["4711", "4712", "", "twin", "10.9.9.9", "4713"]),
            titles: texts(&["Alice Smith", "Bob", "gone", "Bob", ""]),
            prefixes: texts(&[
                "10.0.0.0/8",
                "10.1.0.0/16 2001:db8:1::/48",
                "10.1.2.3/32",
                "10.2.0.0/24",
                "10.2.1.0/24",
            ]),
        };
        names.find(word)
    }

    fn several(count: usize, names: &[&str]) -> Result<Item, Unclear> {
        Err(Unclear::Several(count, names.iter().map(|name| (*name).to_owned()).collect()))
    }

    fn unknown(names: &[&str]) -> Result<Item, Unclear> {
        Err(Unclear::Unknown(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    #[test]
    fn a_name_is_a_node_or_a_customer() {
        assert_eq!(found("West"), Ok(Item::Node(0)));
        assert_eq!(found("4712"), Ok(Item::Customer(1)));
        assert_eq!(found("Alice Smith"), Ok(Item::Customer(0)));
        assert_eq!(found("Bob"), several(2, &["customer:4712", "customer:twin"]));
        assert_eq!(found("twin"), several(2, &["node:twin", "customer:twin"]));
        assert_eq!(found("node:twin"), Ok(Item::Node(3)));
        assert_eq!(found("customer:twin"), Ok(Item::Customer(3)));
        assert_eq!(found("node:4712"), unknown(&["4712", "4711", "4713"]));
        assert_eq!(found("gone"), unknown(&[]), "a title of nobody");
        assert_eq!(found(""), unknown(&[]));
    }

    #[test]
    fn an_address_is_the_customers_whose_packets_it_has() {
        assert_eq!(found("10.9.9.9"), Ok(Item::Customer(4)), "a name comes first");
        assert_eq!(found("10.9.9.8"), Ok(Item::Customer(0)));
        assert_eq!(found("10.1.2.3"), Ok(Item::Customer(1)), "whose name is gone is nobody");
        assert_eq!(found("2001:db8:1::5"), Ok(Item::Customer(1)));
        assert_eq!(found("customer:10.1.0.0/16"), Ok(Item::Customer(1)));
        assert_eq!(
            found("10.2.0.0/16"),
            several(3, &["customer:4711", "customer:twin", "customer:10.9.9.9"])
        );
        assert_eq!(found("192.0.2.1"), unknown(&[]));
    }

    #[test]
    fn names_like_a_word_are_proposed() {
        assert_eq!(found("west"), unknown(&["West"]));
        assert_eq!(found("AP 8"), unknown(&["AP 7"]));
        assert_eq!(found("alice"), unknown(&["Alice Smith"]));
        assert_eq!(found("471"), unknown(&["4711", "4712", "4713"]));
        assert_eq!(found("zzz"), unknown(&[]));
    }
}
