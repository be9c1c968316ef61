//! The customers of all files put together: one entry for each, no address of two.

use std::ops::Range;

use rustc_hash::FxHashMap;
use weir_graph::shaper::Overhead;

use super::{Both, MAX_DISCIPLINES, Queueing, Report, queueing, rates::Asked, report::Warnings, tree::place};
use crate::prefixes::{self, Prefix};

/// A customer as a file has it.
pub(super) struct Customer {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) prefixes: Vec<Prefix>,
    pub(super) node: Option<usize>,
    pub(super) asked: Asked,
    /// `None`: the default.
    pub(super) discipline: Both<Option<u8>>,
    /// `None`: the default.
    pub(super) overhead: Option<u8>,
    /// The file's place in the list of reports.
    pub(super) source: usize,
    /// Where the customer first stands in it.
    pub(super) at: usize,
    /// Not to be shaped, as the node is not there.
    pub(super) left_out: bool,
}

/// What a file says of a customer's queue.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) discipline: Both<Option<u8>>,
    pub(super) overhead: Option<u8>,
}

struct Address {
    prefix: Prefix,
    /// The customer's place in the list.
    owner: usize,
    source: usize,
    /// The stretch of the file in which it stands.
    within: Range<usize>,
}

/// All customers.
pub(super) struct Customers {
    pub(super) list: Vec<Customer>,
    pub(super) disciplines: Vec<Queueing>,
    pub(super) overheads: Vec<Overhead>,
    default: Both<Queueing>,
    ids: FxHashMap<String, usize>,
    addresses: Vec<Address>,
    /// Texts that were understood before.
    queues: FxHashMap<String, Queue>,
}

impl Customers {
    pub(super) fn new(default: Both<Queueing>, overhead: Overhead) -> Customers {
        Customers {
            list: Vec::new(),
            disciplines: vec![default.down],
            overheads: vec![overhead],
            default,
            ids: FxHashMap::default(),
            addresses: Vec::new(),
            queues: FxHashMap::default(),
        }
    }

    /// The customer with this id.
    pub(super) fn with_id(&self, id: &str) -> Option<usize> {
        self.ids.get(id).copied()
    }

    pub(super) fn add(&mut self, customer: Customer) {
        self.ids.insert(customer.id.clone(), self.list.len());
        self.list.push(customer);
    }

    /// Reads a list of addresses and prefixes of the customer who has, or will have, this place in the list. It stands somewhere `within` the file of report
    /// `source`.
    pub(super) fn addresses(
        &mut self,
        text: &str,
        owner: usize,
        source: usize,
        within: &Range<usize>,
        reports: &mut [Report<'_>],
        into: &mut Vec<Prefix>,
    ) {
        for word in text.split(is_separator).filter(|word| !word.is_empty()) {
            match prefixes::parse(word) {
                Ok(prefix) => {
                    into.push(prefix);
                    self.addresses.push(Address { prefix, owner, source, within: within.clone() });
                }
                Err((what, fix)) => {
                    let report = &mut reports[source];
                    let span = words(report.text(), within).find(|span| &report.text()[span.clone()] == word);
                    report.wrong(span.unwrap_or_else(|| within.clone()), what, fix);
                }
            }
        }
    }

    /// Reads keywords that say how packets are queued: what is wrong with them, and what to write instead.
    pub(super) fn queue(&mut self, text: &str, warnings: &mut Warnings) -> Result<Queue, (String, String)> {
        if text.is_empty() {
            return Ok(Queue::default());
        }
        if let Some(known) = self.queues.get(text) {
            return Ok(*known);
        }
        let words = queueing::parse(text, self.default)?;
        for word in &words.unused {
            warnings
                .say("keywords", || format!("`{text}`: weir has nothing like `{word}`, and does without"));
        }
        let mut discipline = Both::default();
        for (queueing, place) in
            [(words.queueing.down, &mut discipline.down), (words.queueing.up, &mut discipline.up)]
        {
            if let Some(queueing) = queueing {
                *place = Some(number(&mut self.disciplines, queueing, "ways of queueing")?);
            }
        }
        let overhead = match words.overhead {
            Some(overhead) => Some(self.overhead(overhead)?),
            None => None,
        };
        let queue = Queue { discipline, overhead };
        self.queues.insert(text.to_owned(), queue);
        Ok(queue)
    }

    /// The number of an overhead.
    pub(super) fn overhead(&mut self, overhead: Overhead) -> Result<u8, (String, String)> {
        number(&mut self.overheads, overhead, "overheads")
    }

    /// The number of the discipline of those who ask for none, in each direction.
    pub(super) fn default_discipline(&mut self) -> Both<u8> {
        let up = number(&mut self.disciplines, self.default.up, "ways of queueing").unwrap_or_default();
        Both { down: 0, up }
    }

    /// Reports addresses that stand twice. Within the file of report `lenient` that is no mistake: the last one who names an address has it, as in LibreQoS,
    /// in whose map of addresses a later entry takes the place of an earlier one.
    pub(super) fn check_addresses(
        &mut self,
        lenient: usize,
        reports: &mut [Report<'_>],
        warnings: &mut Warnings,
    ) {
        let mut addresses = std::mem::take(&mut self.addresses);
        addresses.retain(|it| self.list.get(it.owner).is_none_or(|owner| !owner.left_out));
        addresses.sort_unstable_by_key(|it| (it.prefix, it.source, it.within.start));
        for same in addresses.chunk_by(|one, next| one.prefix == next.prefix) {
            let [first, others @ ..] = same else { continue };
            let mut before = first;
            for (again, other) in others.iter().enumerate() {
                let text = prefixes::text(other.prefix);
                let place = place(first.source, first.within.start, other.source, reports);
                let report = &mut reports[other.source];
                let of_prefix = |span: &Range<usize>| {
                    prefixes::parse(&report.text()[span.clone()]).is_ok_and(|prefix| prefix == other.prefix)
                };
                let here = others[..again].iter().filter(|it| it.within == other.within).count()
                    + usize::from(first.source == other.source && first.within == other.within);
                let span = words(report.text(), &other.within).filter(of_prefix).nth(here);
                let span = span.unwrap_or_else(|| other.within.clone());
                if (first.source, other.source) != (lenient, lenient) {
                    let what = format!("{text} stands in {place}");
                    report.wrong(span, what, "leave one of the two out: an address is one customer's");
                    continue;
                }
                let (earlier, later) = (before.owner, other.owner);
                before = other;
                let prefixes = &mut self.list[earlier].prefixes;
                if let Some(at) = prefixes.iter().position(|prefix| *prefix == other.prefix) {
                    prefixes.remove(at);
                }
                let id = |owner: usize| self.list[owner].id.escape_debug();
                warnings.say("addresses that stand twice", || {
                    let at = report.place(span);
                    if earlier == later {
                        return format!("{at}: {text} stands in {place}: once is enough");
                    }
                    format!(
                        "{at}: {text} stands in {place}: circuit `{}` has it, and `{}` goes without",
                        id(later),
                        id(earlier)
                    )
                });
            }
        }
    }

    /// Lets go of those who are not to be shaped.
    pub(super) fn leave_out(&mut self) {
        self.list.retain(|customer| !customer.left_out);
        self.ids = self.list.iter().zip(0..).map(|(customer, at)| (customer.id.clone(), at)).collect();
    }
}

/// Addresses are separated by commas, semicolons or white space; quotes end them too.
fn is_separator(c: char) -> bool {
    matches!(c, ',' | ';' | '"' | '\'' | '[' | ']') || c.is_whitespace()
}

/// The stretches between separators within a stretch of a text.
fn words<'t>(text: &'t str, within: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<'t> {
    let from = within.start;
    let part = text.get(within.clone()).unwrap_or_default();
    part.split(is_separator).filter(|word| !word.is_empty()).map(move |word| {
        let start = from + (word.as_ptr().addr() - part.as_ptr().addr());
        start..start + word.len()
    })
}

fn number<T: PartialEq>(list: &mut Vec<T>, value: T, what: &str) -> Result<u8, (String, String)> {
    let at = list.iter().position(|known| *known == value).unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    });
    match u8::try_from(at) {
        Ok(at) => Ok(at),
        Err(_) => {
            list.pop();
            let what = format!("there are more than {MAX_DISCIPLINES} different {what}");
            Err((what, "let customers share some".to_owned()))
        }
    }
}
