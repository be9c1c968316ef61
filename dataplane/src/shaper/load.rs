//! Reads all files that make a plan, and puts it together.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use toml::{Spanned, de::DeTable, de::DeValue};
use weir_graph::shaper::Overhead;

use super::{
    Both, Plan, PlanCustomer, PlanNode, Queueing, Report, UNKNOWN,
    customers::{Customer, Customers},
    devices,
    guarantees::{Settled, settle},
    network,
    rates::Asked,
    report::Warnings,
    tree::Tree,
    written::{self, Lists},
};
use crate::config::Problem;

/// Most bytes of a file: a million customers take some 150 MiB.
const MAX_FILE: u64 = 1 << 30;

/// Where nodes and customers stand. Any of these may be left out, and what stands in several is put together.
#[derive(Default)]
pub struct Sources<'v, 'i> {
    /// LibreQoS's `network.json`.
    pub tree: Option<PathBuf>,
    /// LibreQoS's `ShapedDevices.csv`.
    pub circuits: Option<PathBuf>,
    /// A TOML file with `[[node]]` and `[[customer]]`.
    pub plan: Option<PathBuf>,
    /// The config itself.
    pub inline: Inline<'v, 'i>,
}

/// Nodes and customers in the config.
#[derive(Default)]
pub struct Inline<'v, 'i> {
    /// Where the config is.
    pub path: PathBuf,
    /// What stands in it.
    pub text: &'v str,
    /// The list of nodes.
    pub nodes: Option<&'v Spanned<DeValue<'i>>>,
    /// The list of customers.
    pub customers: Option<&'v Spanned<DeValue<'i>>>,
}

/// What holds for everybody for whom the files say nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Bits a second of the whole link.
    pub link: Both<u64>,
    /// How packets are queued.
    pub queueing: Both<Queueing>,
    /// What a packet counts beside its own bytes.
    pub overhead: Overhead,
    /// Bits a second of all addresses together that are no customer's; `None`: they are not shaped.
    pub unknown: Option<Both<u64>>,
}

/// A plan, and what is not wrong with it but will surprise.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The plan.
    pub plan: Plan,
    /// One sentence each, the first of each kind.
    pub warnings: Vec<String>,
    /// How many there are, those that are not shown included.
    pub warned: usize,
}

/// Reads the files; everything that is wrong with any of them, at most 20 mistakes of each.
pub fn load(sources: &Sources<'_, '_>, defaults: &Defaults) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut text = |path: &Option<PathBuf>| match path {
        None => String::new(),
        Some(path) => contents(path).unwrap_or_else(|problem| {
            problems.push(*problem);
            String::new()
        }),
    };
    let texts = [&sources.tree, &sources.circuits, &sources.plan].map(|path| (path, text(path)));
    let unread: Vec<PathBuf> = problems.iter().map(|problem| problem.path.clone()).collect();
    let readable = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| !unread.contains(path));
    let nowhere = PathBuf::new();
    let mut reports: Vec<Report<'_>> = texts
        .iter()
        .map(|(path, text)| Report::new(path.as_ref().unwrap_or(&nowhere), text))
        .chain([Report::new(&sources.inline.path, sources.inline.text)])
        .collect();
    let [tree_at, circuits_at, plan_at, inline_at] = [0, 1, 2, 3];
    let mut warnings = Warnings::default();

    let mut drafts = Vec::new();
    if readable(&sources.tree) {
        network::read(&mut reports[tree_at], tree_at, &mut drafts, &mut warnings);
    }
    let (plan_table, errors) = DeTable::parse_recoverable(&texts[plan_at].1);
    for error in errors {
        let fix = "write `key = value`, strings in double quotes, lists in brackets";
        reports[plan_at].wrong(error.span().unwrap_or(0..0), error.message(), fix);
    }
    let lists = [
        (plan_at, written::lists(plan_table.get_ref(), &mut reports[plan_at])),
        (inline_at, Lists { nodes: sources.inline.nodes, customers: sources.inline.customers }),
    ];
    for (source, list) in lists {
        if let Some(nodes) = list.nodes {
            written::nodes(nodes, source, &mut reports, &mut drafts);
        }
    }
    let tree = Tree::new(drafts, defaults.link, &mut reports);

    let mut customers = Customers::new(defaults.queueing, defaults.overhead);
    if readable(&sources.circuits) {
        devices::read(&mut reports, circuits_at, &tree, &mut customers, &mut warnings);
    }
    for (source, list) in lists {
        if let Some(list) = list.customers {
            written::customers(list, source, &mut reports, &tree, &mut customers, &mut warnings);
        }
    }
    customers.check_addresses(circuits_at, &mut reports, &mut warnings);
    if defaults.unknown.is_some()
        && let Some(taken) = customers.with_id(UNKNOWN)
    {
        let Customer { source, at, .. } = customers.list[taken];
        let what = format!("`{UNKNOWN}` is what `[shaper] unknown` calls those who are no customers");
        reports[source].wrong(at..at, what, "give this customer another name");
    }
    problems.extend(reports.into_iter().flat_map(Report::finish));
    if !problems.is_empty() {
        return Err(problems);
    }
    customers.leave_out();
    let plan = plan(tree, customers, defaults, &mut warnings);
    let warned = warnings.count();
    Ok(Loaded { plan, warnings: warnings.finish(), warned })
}

/// Everything is right: the plan.
fn plan(tree: Tree, mut customers: Customers, defaults: &Defaults, warnings: &mut Warnings) -> Plan {
    let nobody = customers.list.iter().filter(|customer| customer.prefixes.is_empty());
    for customer in nobody {
        let id = &customer.id;
        warnings.say("customers without an address", || {
            format!("customer `{id}` has no address: no packet is theirs")
        });
    }
    let default = customers.default_discipline();
    let unknown = defaults.unknown.map(|max| {
        customers.add(Customer {
            id: UNKNOWN.to_owned(),
            title: String::new(),
            prefixes: Vec::new(),
            node: None,
            asked: Asked { max, ..Asked::default() },
            discipline: Both::default(),
            overhead: None,
            source: 0,
            at: 0,
            left_out: false,
        });
        customers.list.len() - 1
    });
    let Settled { link, nodes, customers: rates } = settle(&tree, &customers.list, defaults.link, warnings);
    let nodes = tree.nodes.into_iter().zip(nodes).map(|(node, rates)| PlanNode {
        name: node.name,
        parent: node.parent,
        rates,
        kind: node.kind,
        path: node.path,
    });
    let of_customer = |(it, rates): (Customer, Both<_>)| PlanCustomer {
        id: it.id,
        title: it.title,
        prefixes: it.prefixes,
        node: it.node,
        rates,
        discipline: Both {
            down: it.discipline.down.unwrap_or(default.down),
            up: it.discipline.up.unwrap_or(default.up),
        },
        overhead: it.overhead.unwrap_or(0),
    };
    Plan {
        link,
        nodes: nodes.collect(),
        customers: customers.list.into_iter().zip(rates).map(of_customer).collect(),
        disciplines: customers.disciplines,
        overheads: customers.overheads,
        unknown,
    }
}

/// What stands in a file, without the mark that some editors put before it.
fn contents(path: &Path) -> Result<String, Box<Problem>> {
    let whole = |what, fix: &str| Box::new(Problem::of_file(path, what, fix.to_owned()));
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let what = format!("can't be read: {error}");
        let fix = "see that the file is there, and readable";
        return Err(whole(what, fix));
    }
    if bytes.len() as u64 > MAX_FILE {
        let what = format!("is larger than {} MiB", MAX_FILE >> 20);
        return Err(whole(what, "name a file of nodes or customers"));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let what = "this is UTF-16".to_owned();
        return Err(whole(what, "save the file as UTF-8"));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        let what = format!("byte {:#04x} is not UTF-8", error.as_bytes()[place]);
        let valid = String::from_utf8_lossy(error.as_bytes());
        Box::new(Problem::at(path, &valid, place..place, what, "save the file as UTF-8".to_owned()))
    })
}
