//! Nodes and customers in weir's own TOML: in a file of their own, or in the config below `[shaper]`.
//!
//! ```toml
//! [[node]]
//! name = "AP_A"
//! parent = "Tower"            # left out: the link
//! down = "500mbit"            # left out: as much as the parent
//! up = "100mbit"
//!
//! [[customer]]
//! name = "alice"
//! prefixes = ["192.0.2.0/28", "2001:db8:a::/48"]
//! node = "AP_A"
//! down = "100mbit"
//! up = "20mbit"
//! min-down = "10mbit"         # guaranteed; left out: nothing is
//! queue = "diffserv4 rtt 50ms"
//! ```

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Both, Report,
    customers::{Customer, Customers, Queue},
    queueing::overhead as overhead_of,
    rates::{self, Asked, MAX_WEIGHT, rate_problem},
    report::Warnings,
    tree::{Above, Draft, Tree, place},
};
use crate::config::{nearest, quoted};

type Value<'i> = Spanned<DeValue<'i>>;

/// What the tables are called.
pub(crate) const NODE: &str = "node";
pub(crate) const CUSTOMER: &str = "customer";

const NODE_KEYS: [&str; 8] = ["name", "parent", "type", "down", "up", "min-down", "min-up", "weight"];
const CUSTOMER_KEYS: [&str; 11] =
    ["name", "title", "prefixes", "node", "down", "up", "min-down", "min-up", "weight", "overhead", "queue"];

const RATE: &str = "write a rate as tc does: \"100mbit\", \"1.5gbit\", \"512kbit\"";

/// The lists that a file has.
#[derive(Clone, Copy, Default)]
pub(super) struct Lists<'v, 'i> {
    pub(super) nodes: Option<&'v Value<'i>>,
    pub(super) customers: Option<&'v Value<'i>>,
}

/// Takes a file of lists apart.
pub(super) fn lists<'v, 'i>(root: &'v DeTable<'i>, report: &mut Report<'_>) -> Lists<'v, 'i> {
    for key in root.keys() {
        let name = key.get_ref().as_ref();
        if ![NODE, CUSTOMER].contains(&name) {
            let fix = match nearest(name, &[NODE, CUSTOMER]) {
                Some(near) => format!("write `[[{near}]]`"),
                None => "such a file has [[node]] and [[customer]] alone".to_owned(),
            };
            report.wrong(key.span(), format!("`{}` has no meaning here", name.escape_debug()), fix);
        }
    }
    Lists { nodes: root.get(NODE), customers: root.get(CUSTOMER) }
}

/// Reads the nodes of the file of report `source`.
pub(super) fn nodes(value: &Value<'_>, source: usize, reports: &mut [Report<'_>], drafts: &mut Vec<Draft>) {
    let report = &mut reports[source];
    for (table, span) in tables(value, NODE, report) {
        let mut entry = Entry { table, span, report: &mut *report, header: NODE };
        entry.known(&NODE_KEYS);
        let Some((name, span)) = entry.name() else { continue };
        let above = match entry.text("parent") {
            Some((parent, span)) => Above::Named(parent.to_owned(), span),
            None => Above::Link,
        };
        let max = Both { down: entry.rate("down", true), up: entry.rate("up", true) };
        let min = Both { down: entry.rate("min-down", false), up: entry.rate("min-up", false) };
        let kind = entry.text("type").map_or(String::new(), |(kind, _)| kind.to_owned());
        let weight = entry.weight();
        drafts.push(Draft {
            name: name.to_owned(),
            id: None,
            above,
            max,
            min: min.map(Option::unwrap_or_default),
            weight,
            is_virtual: false,
            kind,
            source,
            span,
        });
    }
}

/// Reads the customers of the file of report `source`.
pub(super) fn customers(
    value: &Value<'_>,
    source: usize,
    reports: &mut [Report<'_>],
    tree: &Tree,
    customers: &mut Customers,
    warnings: &mut Warnings,
) {
    for (table, span) in tables(value, CUSTOMER, &mut reports[source]) {
        let mut entry = Entry { table, span, report: &mut reports[source], header: CUSTOMER };
        entry.known(&CUSTOMER_KEYS);
        let Some((name, name_span)) = entry.name() else { continue };
        let title = entry.text("title").map_or(String::new(), |(title, _)| title.to_owned());
        let node = entry.text("node").and_then(|(node, span)| {
            tree.named(node).unwrap_or_else(|| {
                let what = format!("there is no node `{}`", node.escape_debug());
                entry.report.wrong(span, what, tree.suggestion(node));
                None
            })
        });
        let asked = entry.asked();
        let queue = entry.text("queue");
        let overhead = entry.text("overhead");
        let lists = entry.prefixes();

        let report = &mut reports[source];
        let mut of_customer = Queue::default();
        if let Some((text, span)) = queue {
            match customers.queue(text, warnings) {
                Ok(queue) => of_customer = queue,
                Err((what, fix)) => report.wrong(span, what, fix),
            }
        }
        if let Some((text, span)) = overhead {
            match overhead_of(text).and_then(|overhead| customers.overhead(overhead)) {
                Ok(overhead) => of_customer.overhead = Some(overhead),
                Err((what, fix)) => report.wrong(span, what, fix),
            }
        }
        let mut prefixes = Vec::new();
        for (text, span) in lists {
            let owner = customers.list.len();
            customers.addresses(text, owner, source, &span, reports, &mut prefixes);
        }
        if let Some(known) = customers.with_id(name) {
            let known = &customers.list[known];
            let place = place(known.source, known.at, source, reports);
            let what = format!("a customer `{}` stands in {place}", name.escape_debug());
            reports[source].wrong(name_span, what, "write each customer once, with all of their prefixes");
            continue;
        }
        let Queue { discipline, overhead } = of_customer;
        let (id, at) = (name.to_owned(), name_span.start);
        customers.add(Customer {
            id,
            title,
            prefixes,
            node,
            asked,
            discipline,
            overhead,
            source,
            at,
            left_out: false,
        });
    }
}

/// The tables of a list.
fn tables<'v, 'i>(
    value: &'v Value<'i>,
    name: &str,
    report: &mut Report<'_>,
) -> Vec<(&'v DeTable<'i>, Range<usize>)> {
    let fix = format!("write `[[{name}]]` and its keys below it, once for each");
    let Some(list) = value.get_ref().as_array() else {
        report.wrong(value.span(), format!("`{name}` is not a list of tables"), fix);
        return Vec::new();
    };
    let of = |item: &'v Value<'i>| match item.get_ref().as_table() {
        Some(table) => Some((table, item.span())),
        None => {
            report.wrong(item.span(), format!("this is not a table of a {name}"), &fix);
            None
        }
    };
    list.iter().filter_map(of).collect()
}

/// One table.
struct Entry<'v, 'i, 'r, 't> {
    table: &'v DeTable<'i>,
    span: Range<usize>,
    report: &'r mut Report<'t>,
    header: &'static str,
}

impl<'v> Entry<'v, '_, '_, '_> {
    fn known(&mut self, keys: &[&str]) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !keys.contains(&name) {
                let fix = match nearest(name, keys) {
                    Some(near) => format!("write `{near}`"),
                    None => format!("the keys are {}", quoted(keys, "`")),
                };
                let what = format!("a {} has no key `{}`", self.header, name.escape_debug());
                self.report.wrong(key.span(), what, fix);
            }
        }
    }

    fn name(&mut self) -> Option<(&'v str, Range<usize>)> {
        if self.table.get("name").is_none() {
            let what = format!("this {} has no name", self.header);
            self.report.wrong(self.span.clone(), what, "write `name = \"…\"` below it");
            return None;
        }
        let (name, span) = self.text("name")?;
        if name.is_empty() {
            self.report.wrong(span, "this name is empty", "write one");
            return None;
        }
        Some((name, span))
    }

    fn text(&mut self, key: &str) -> Option<(&'v str, Range<usize>)> {
        let value = self.table.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            let what = format!("`{key}` is of type {}, and must be a string", value.get_ref().type_str());
            self.report.wrong(value.span(), what, "write it between double quotes");
            return None;
        };
        Some((text.trim(), value.span()))
    }

    fn rate(&mut self, key: &str, is_most: bool) -> Option<u64> {
        let (text, span) = self.text(key)?;
        let rate = rates::written(text);
        let what = match rate {
            None => Some(format!("`{}` is not a rate", text.escape_debug())),
            Some(rate) => rate_problem(rate).filter(|_| is_most),
        };
        if let Some(what) = what {
            self.report.wrong(span, what, RATE);
        }
        rate
    }

    fn weight(&mut self) -> Option<u32> {
        let value = self.table.get("weight")?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|integer| u32::from_str_radix(integer.as_str(), integer.radix()).ok())
            .filter(|weight| (1..=MAX_WEIGHT).contains(weight));
        if number.is_none() {
            let fix = format!("write a number from 1 to {MAX_WEIGHT}");
            self.report.wrong(value.span(), "this is not a weight", fix);
        }
        number
    }

    fn asked(&mut self) -> Asked {
        let mut max = Both::default();
        for (key, place) in [("down", &mut max.down), ("up", &mut max.up)] {
            if self.table.get(key).is_none() {
                let fix = format!("write `{key} = \"100mbit\"` below it");
                self.report.wrong(self.span.clone(), format!("this {} has no `{key}`", self.header), fix);
            }
            *place = self.rate(key, true);
        }
        let min = Both { down: self.rate("min-down", false), up: self.rate("min-up", false) };
        let weight = self.weight();
        for (key, min, max) in [("min-down", min.down, max.down), ("min-up", min.up, max.up)] {
            if let (Some(min), Some(max)) = (min, max)
                && min > max
            {
                let span = self.table.get(key).map_or(self.span.clone(), Spanned::span);
                let what =
                    format!("{} are guaranteed, more than the most, {}", rates::text(min), rates::text(max));
                self.report.wrong(span, what, "write at most that");
            }
        }
        Asked { min: min.map(Option::unwrap_or_default), max: max.map(Option::unwrap_or_default), weight }
    }

    fn prefixes(&mut self) -> Vec<(&'v str, Range<usize>)> {
        const FIX: &str = "write `prefixes = [\"192.0.2.0/28\", \"2001:db8:a::/48\"]`";
        let Some(value) = self.table.get("prefixes") else {
            self.report.wrong(self.span.clone(), format!("this {} has no prefixes", self.header), FIX);
            return Vec::new();
        };
        let Some(list) = value.get_ref().as_array() else {
            self.report.wrong(value.span(), "`prefixes` is not a list", FIX);
            return Vec::new();
        };
        let mut prefixes = Vec::new();
        for item in list.iter() {
            match item.get_ref().as_str() {
                Some(text) => prefixes.push((text, item.span())),
                None => self.report.wrong(item.span(), "this is not a prefix", FIX),
            }
        }
        prefixes
    }
}
