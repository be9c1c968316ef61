//! Where the kernel's two route tables differ: what one message tells of, where a route goes among those of its prefix, and what wins.
//!
//! | | IPv4 (`net/ipv4/fib_trie.c`) | IPv6 (`net/ipv6/ip6_fib.c`) |
//! |---|---|---|
//! | several next hops | one route has them | as many routes of equal metric, *siblings*: all that have a gateway, are not a router's advertisement, and not by an object |
//! | a message tells of | the route | all siblings if it is one of them, in any order; of the deleted one alone when it goes |
//! | a new route | goes before its equals, or behind them (`append`) | goes behind its equals |
//! | `replace` | the first of its equals | the first of its kind (sibling or not) of its equals, else the first; all siblings if that is one |
//! | deleted | the very route, else the first of its equals | the very route |
//! | wins | the first | the first of the highest preference (RFC 4191), with all its siblings if it is one |
//!
//! Equals have the same prefix, table and metric.

use std::sync::Arc;

use super::event::{NextHop, Target};
use super::family::Family;
use super::wire::{Hop, Order};

/// One route of a prefix.
#[derive(Debug)]
pub(super) struct Alias {
    /// Whether it stands in table `default`, which the kernel asks after `main`.
    pub(super) default_table: bool,
    pub(super) metric: u32,
    /// Higher wins, among equals.
    pub(super) preference: u8,
    /// The next-hop object that decides over `target`; 0: none.
    pub(super) nexthop: u32,
    pub(super) target: Arc<Target>,
    /// Whether it shares packets with the other siblings among its equals.
    pub(super) sibling: bool,
    /// The last dump that showed it, or during which it was notified.
    pub(super) generation: u32,
}

impl Alias {
    /// Lower wins.
    fn rank(&self) -> (bool, u32) {
        (self.default_table, self.metric)
    }

    /// The same route of the kernel. With a next-hop object, what it expanded to when the message was written is no part of it.
    fn same(&self, other: &Self) -> bool {
        self.rank() == other.rank()
            && self.nexthop == other.nexthop
            && (self.nexthop != 0 || self.target == other.target)
    }

    /// As [`same`](Self::same), but for the weight, which the kernel tells only where there are siblings.
    fn same_way(&self, other: &Self) -> bool {
        let way = |alias: &Self| match &*alias.target {
            Target::Forward(hops) => hops.first().map(|hop| (hop.index, hop.gateway)),
            _ => None,
        };
        match way(self) {
            Some(here) if self.nexthop == 0 => {
                self.rank() == other.rank() && other.nexthop == 0 && Some(here) == way(other)
            }
            _ => self.same(other),
        }
    }
}

/// A version's rules. The aliases of a prefix stand in the kernel's order of preference.
pub(super) trait Rules: Family {
    /// What a route of these next hops is: its ways, and whether they are siblings. `advertised`: it may be a router's advertisement.
    fn ways(hops: Vec<Hop>, nexthop: u32, advertised: bool) -> Vec<(Target, bool)>;

    /// Takes what one message told, which is new, changed or known. Returns the objects of the routes that have gone for it.
    fn place(aliases: &mut Vec<Alias>, told: Vec<Alias>, order: Order) -> Vec<u32>;

    /// Takes out what one message told to be gone. Returns their objects.
    fn take_out(aliases: &mut Vec<Alias>, told: &[Alias]) -> Vec<u32>;

    /// The route that wins, and what it does if that is more than its own.
    fn winner(aliases: &[Alias]) -> Option<(&Alias, Option<Target>)>;
}

/// All of a route's ways as one.
fn joined(hops: Vec<Hop>) -> Target {
    match hops.iter().find_map(|hop| hop.unsupported) {
        Some(why) => Target::Unsupported(why),
        None => Target::Forward(hops.into_iter().map(|hop| hop.next_hop).collect()),
    }
}

/// The places of `rank` among the aliases.
fn equals(aliases: &[Alias], rank: (bool, u32)) -> std::ops::Range<usize> {
    aliases.partition_point(|alias| alias.rank() < rank)
        ..aliases.partition_point(|alias| alias.rank() <= rank)
}

impl Rules for u32 {
    fn ways(hops: Vec<Hop>, _: u32, _: bool) -> Vec<(Target, bool)> {
        vec![(joined(hops), false)]
    }

    fn place(aliases: &mut Vec<Alias>, told: Vec<Alias>, order: Order) -> Vec<u32> {
        let mut gone = Vec::new();
        for new in told {
            let equals = equals(aliases, new.rank());
            let known = equals.clone().find(|at| aliases[*at].same(&new));
            match (known, order) {
                // Told again: by a dump, or because its next-hop object changed. Its place among its equals stays.
                (Some(at), _) => aliases[at] = new,
                (None, Order::Replace) if !equals.is_empty() => {
                    gone.push(std::mem::replace(&mut aliases[equals.start], new).nexthop);
                }
                (None, Order::First | Order::Replace) => aliases.insert(equals.start, new),
                (None, Order::Last) => aliases.insert(equals.end, new),
            }
        }
        gone
    }

    fn take_out(aliases: &mut Vec<Alias>, told: &[Alias]) -> Vec<u32> {
        let mut gone = Vec::new();
        for told in told {
            let mut equals = equals(aliases, told.rank());
            let first = (!equals.is_empty()).then_some(equals.start);
            if let Some(at) = equals.find(|at| aliases[*at].same(told)).or(first) {
                gone.push(aliases.remove(at).nexthop);
            }
        }
        gone
    }

    fn winner(aliases: &[Alias]) -> Option<(&Alias, Option<Target>)> {
        aliases.first().map(|alias| (alias, None))
    }
}

impl Rules for u128 {
    fn ways(hops: Vec<Hop>, nexthop: u32, advertised: bool) -> Vec<(Target, bool)> {
        if nexthop != 0 || hops.is_empty() {
            return vec![(joined(hops), false)];
        }
        // Where there are several they are siblings, whoever made them.
        let advertised = advertised && hops.len() == 1;
        let sibling =
            |hop: &Hop| !advertised && (hop.next_hop.gateway.is_some() || hop.unsupported.is_some());
        hops.into_iter().map(|hop| (sibling(&hop), hop)).map(|(it, hop)| (joined(vec![hop]), it)).collect()
    }

    fn place(aliases: &mut Vec<Alias>, told: Vec<Alias>, order: Order) -> Vec<u32> {
        let Some((rank, siblings)) = told.first().map(|alias| (alias.rank(), alias.sibling)) else {
            return Vec::new();
        };
        let range = equals(aliases, rank);
        let start = range.start;
        let mut equals: Vec<Alias> = aliases.drain(range).collect();
        let mut gone = Vec::new();
        let again = told.iter().any(|new| new.nexthop != 0 && equals.iter().any(|known| known.same(new)));
        let replaced = match order {
            // Told again because its next-hop object changed.
            Order::Replace if !again => {
                let first = (!equals.is_empty()).then_some(0);
                equals.iter().position(|alias| alias.sibling == siblings).or(first)
            }
            _ => None,
        };
        if let Some(at) = replaced {
            if equals[at].sibling {
                equals.retain(|alias| !alias.sibling);
            } else {
                gone.push(equals.remove(at).nexthop);
            }
            // The rest of the siblings comes as if it were added.
            let mut told = told.into_iter();
            equals.splice(at..at, told.next());
            equals.extend(told);
        } else {
            let mut seen = vec![false; equals.len()];
            for new in told {
                // Some ways that weir can't go look alike.
                let mut known = equals.iter().zip(&seen);
                match known.position(|(alias, seen)| !seen && alias.same_way(&new)) {
                    Some(at) => {
                        equals[at] = new;
                        seen[at] = true;
                    }
                    None => {
                        equals.push(new);
                        seen.push(true);
                    }
                }
            }
            // The message told of all siblings.
            let mut seen = seen.into_iter();
            equals.retain(|alias| seen.next() == Some(true) || !(siblings && alias.sibling));
        }
        aliases.splice(start..start, equals);
        gone
    }

    fn take_out(aliases: &mut Vec<Alias>, told: &[Alias]) -> Vec<u32> {
        let mut gone = Vec::new();
        for told in told {
            if let Some(at) = aliases.iter().position(|alias| alias.same_way(told)) {
                gone.push(aliases.remove(at).nexthop);
            }
        }
        gone
    }

    fn winner(aliases: &[Alias]) -> Option<(&Alias, Option<Target>)> {
        let equals = &aliases[equals(aliases, aliases.first()?.rank())];
        // The last of the greatest, from behind: the first.
        let best = equals.iter().rev().max_by_key(|alias| alias.preference)?;
        if !best.sibling {
            return Some((best, None));
        }
        let mut hops: Vec<NextHop> = Vec::new();
        for sibling in equals.iter().filter(|alias| alias.sibling) {
            match &*sibling.target {
                Target::Forward(one) => hops.extend(one),
                other => return Some((best, Some(other.clone()))),
            }
        }
        match hops.as_mut_slice() {
            // A weight among itself alone.
            [only] => only.weight = 1,
            // Each message tells them in another order.
            several => several.sort_unstable(),
        }
        Some((best, Some(Target::Forward(hops))))
    }
}
