//! What has changed from one plan to the next.

use std::fmt;

use rustc_hash::FxHashMap;

use super::{Both, Plan, PlanCustomer, Queueing};

/// Entries of two plans, by their places in the old and the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the new plan alone.
    pub new: Vec<usize>,
    /// In the old plan alone.
    pub gone: Vec<usize>,
    /// In both.
    pub stay: Vec<(usize, usize)>,
    /// Of those who stay, the ones with other rates, another parent or another queue.
    pub changed: Vec<(usize, usize)>,
}

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The link has other rates.
    pub link: bool,
    /// Nodes, told apart by their names.
    pub nodes: Changes,
    /// Customers, told apart by their ids.
    pub customers: Changes,
    /// Customers who stay and have other addresses, whether or not they have changed otherwise.
    pub readdressed: Vec<(usize, usize)>,
}

/// What has changed from `old` to `new`.
pub fn difference(old: &Plan, new: &Plan) -> Difference {
    let mut nodes = matched(old.nodes.len(), new.nodes.len(), |a| &old.nodes[a].name, |b| &new.nodes[b].name);
    nodes.changed = nodes.stay.clone();
    nodes.changed.retain(|(a, b)| {
        let (a, b) = (&old.nodes[*a], &new.nodes[*b]);
        a.rates != b.rates || name(old, a.parent) != name(new, b.parent)
    });
    let (before, now) = (&old.customers, &new.customers);
    let mut customers = matched(before.len(), now.len(), |a| &before[a].id, |b| &now[b].id);
    customers.changed = customers.stay.clone();
    customers.changed.retain(|(a, b)| {
        let (a, b) = (&before[*a], &now[*b]);
        a.rates != b.rates
            || name(old, a.node) != name(new, b.node)
            || queueing(old, a) != queueing(new, b)
            || old.overheads[usize::from(a.overhead)] != new.overheads[usize::from(b.overhead)]
    });
    let mut readdressed = customers.stay.clone();
    readdressed.retain(|(a, b)| before[*a].prefixes != now[*b].prefixes);
    Difference { link: old.link != new.link, nodes, customers, readdressed }
}

fn name(plan: &Plan, node: Option<usize>) -> Option<&str> {
    node.map(|node| plan.nodes[node].name.as_str())
}

fn queueing<'p>(plan: &'p Plan, customer: &PlanCustomer) -> Both<&'p Queueing> {
    customer.discipline.map(|number| &plan.disciplines[usize::from(number)])
}

/// Which entries go together.
fn matched<'p>(
    old: usize,
    new: usize,
    old_key: impl Fn(usize) -> &'p str,
    new_key: impl Fn(usize) -> &'p str,
) -> Changes {
    let mut changes = Changes::default();
    let mut stays = vec![false; old];
    // Most entries stand behind the same one as before, and need no look-up.
    let mut guess = 0;
    let mut places: Option<FxHashMap<&str, usize>> = None;
    for at in 0..new {
        let key = new_key(at);
        let found = if guess < old && old_key(guess) == key {
            Some(guess)
        } else {
            let places =
                places.get_or_insert_with(|| (0..old).map(|place| (old_key(place), place)).collect());
            places.get(key).copied()
        };
        match found {
            Some(place) => {
                stays[place] = true;
                changes.stay.push((place, at));
                guess = place + 1;
            }
            None => changes.new.push(at),
        }
    }
    changes.gone = (0..old).filter(|place| !stays[*place]).collect();
    changes
}

impl Difference {
    /// Whether the two plans are carried out in the same way.
    pub fn is_empty(&self) -> bool {
        let empty = |it: &Changes| it.new.is_empty() && it.gone.is_empty() && it.changed.is_empty();
        !self.link && empty(&self.nodes) && empty(&self.customers) && self.readdressed.is_empty()
    }
}

/// `3 customers new, 1 gone, 12 with another plan; 1 node changed`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |word: &str, parts: &[(usize, &str)]| -> Option<String> {
            let mut text = String::new();
            for (count, what) in parts.iter().filter(|(count, _)| *count > 0) {
                if text.is_empty() {
                    let plural = if *count == 1 { "" } else { "s" };
                    text = format!("{count} {word}{plural} {what}");
                } else {
                    text += &format!(", {count} {what}");
                }
            }
            (!text.is_empty()).then_some(text)
        };
        let Changes { new, gone, changed, .. } = &self.customers;
        let customers = [
            (new.len(), "new"),
            (gone.len(), "gone"),
            (changed.len(), "with another plan"),
            (self.readdressed.len(), "with other addresses"),
        ];
        let Changes { new, gone, changed, .. } = &self.nodes;
        let nodes = [(new.len(), "new"), (gone.len(), "gone"), (changed.len(), "changed")];
        let link = self.link.then(|| "the link has another rate".to_owned());
        let parts = [list("customer", &customers), list("node", &nodes), link];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "nothing changes" } else { "" })?;
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_in_a_line() {
        let few = |count| (0..count).collect::<Vec<usize>>();
        let pairs = |count| (0..count).map(|at| (at, at)).collect::<Vec<_>>();
        let customers = Changes { new: few(3), gone: few(1), changed: pairs(12), stay: pairs(99) };
        let nodes = Changes { changed: pairs(1), ..Changes::default() };
        let mut it = Difference { nodes, customers, ..Difference::default() };
        assert_eq!(it.to_string(), "3 customers new, 1 gone, 12 with another plan; 1 node changed");
        it.customers = Changes { changed: pairs(1), ..Changes::default() };
        (it.nodes, it.link, it.readdressed) = (Changes::default(), true, pairs(2));
        assert_eq!(
            it.to_string(),
            "1 customer with another plan, 2 with other addresses; the link has another rate"
        );
        assert!(!it.is_empty());
        assert_eq!(Difference::default().to_string(), "nothing changes");
        assert!(Difference::default().is_empty());
    }
}
