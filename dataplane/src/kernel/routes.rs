//! The kernel's routes of one version of IP: all that it holds, and which of them wins for each prefix.
//!
//! The kernel tells of each route, not of the winner. Of IPv6 it tells all; of IPv4 it is silent when routes go because something else
//! went (seen on Linux 6.18, `net/ipv4/fib_semantics.c`), which is repeated here:
//! * device down: routes whose next hops are all on devices that are down are gone, and so are its broadcast destinations;
//! * device deleted: every route with a next hop on it is gone.
//!
//! What [`rules`](super::rules) and [`nexthops`](super::nexthops) say stands there.

use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use weir_graph::fib::Prefix;

use super::event::{Change, Event, NextHop, Target, Unsupported};
use super::nexthops::{Fallen, Nexthops};
use super::rules::{Alias, Rules};
use super::wire::{Action, Order, Route};

/// `linux/rtnetlink.h`: the tables that every packet is looked up in, in this order, when no rule says otherwise.
const RT_TABLE_LOCAL: u32 = 255;
const RT_TABLE_MAIN: u32 = 254;
const RT_TABLE_DEFAULT: u32 = 253;

#[derive(Debug, Default)]
struct Entry {
    /// In the kernel's order of preference.
    aliases: Vec<Alias>,
    reported: Option<(u32, Arc<Target>)>,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Routes<A> {
    entries: FxHashMap<Prefix<A>, Entry>,
    /// Equal targets are one: a table of a million routes has few.
    targets: FxHashSet<Arc<Target>>,
    /// The prefixes that have a route over each next-hop object.
    users: FxHashMap<u32, FxHashSet<Prefix<A>>>,
    /// Local destinations by prefix: the devices and kinds that make them local.
    local: FxHashMap<Prefix<A>, Vec<LocalOrigin>>,
    generation: u32,
    warned_of_selective: bool,
}

impl<A> Default for Routes<A> {
    fn default() -> Self {
        Self {
            entries: FxHashMap::default(),
            targets: FxHashSet::default(),
            users: FxHashMap::default(),
            local: FxHashMap::default(),
            generation: 0,
            warned_of_selective: false,
        }
    }
}

#[derive(Debug)]
struct LocalOrigin {
    table: u32,
    metric: u32,
    index: u32,
    broadcast: bool,
    generation: u32,
}

impl LocalOrigin {
    fn same(&self, other: &Self) -> bool {
        (self.table, self.metric, self.index, self.broadcast)
            == (other.table, other.metric, other.index, other.broadcast)
    }
}

/// A message's route as the table has it.
enum Told {
    Local(LocalOrigin),
    Aliases(Vec<Alias>),
}

impl<A: Rules> Routes<A> {
    /// Takes a new or replaced route.
    pub(super) fn insert(
        &mut self,
        route: Route<A>,
        order: Order,
        nexthops: &Nexthops,
        sink: &mut impl FnMut(Event),
    ) {
        let (prefix, nexthop) = (route.prefix, route.nexthop);
        match self.told(route) {
            None => {}
            Some(Told::Local(origin)) => self.insert_local(prefix, origin, sink),
            Some(Told::Aliases(aliases)) => {
                let gone = A::place(&mut self.entries.entry(prefix).or_default().aliases, aliases, order);
                if nexthop != 0 {
                    self.users.entry(nexthop).or_default().insert(prefix);
                }
                gone.into_iter().for_each(|nexthop| self.forget_user(nexthop, prefix));
                self.elect(prefix, nexthops, sink);
            }
        }
    }

    /// Takes a route out.
    pub(super) fn remove(&mut self, route: Route<A>, nexthops: &Nexthops, sink: &mut impl FnMut(Event)) {
        let prefix = route.prefix;
        match self.told(route) {
            None => {}
            Some(Told::Local(gone)) => self.remove_local(prefix, sink, |origin| origin.same(&gone)),
            Some(Told::Aliases(aliases)) => {
                let Some(entry) = self.entries.get_mut(&prefix) else { return };
                let gone = A::take_out(&mut entry.aliases, &aliases);
                gone.into_iter().for_each(|nexthop| self.forget_user(nexthop, prefix));
                self.elect(prefix, nexthops, sink);
            }
        }
    }

    /// Next-hop objects have changed or fallen.
    pub(super) fn nexthops_changed(
        &mut self,
        fallen: &Fallen,
        nexthops: &Nexthops,
        sink: &mut impl FnMut(Event),
    ) {
        for id in &fallen.gone {
            for prefix in self.users.remove(id).unwrap_or_default() {
                if let Some(entry) = self.entries.get_mut(&prefix) {
                    entry.aliases.retain(|alias| alias.nexthop != *id);
                }
                self.elect(prefix, nexthops, sink);
            }
        }
        for id in &fallen.changed {
            let prefixes: Vec<Prefix<A>> = self.users.get(id).into_iter().flatten().copied().collect();
            for prefix in prefixes {
                self.elect(prefix, nexthops, sink);
            }
        }
    }

    /// A dump begins: what is neither in it nor notified from now on is gone at its end.
    pub(super) fn begin(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// The dump that began last has ended.
    pub(super) fn sweep(&mut self, nexthops: &Nexthops, sink: &mut impl FnMut(Event)) {
        let current = self.generation;
        self.remove_aliases(nexthops, sink, |alias| alias.generation != current);
        self.remove_local_where(sink, |origin| origin.generation != current);
        self.targets.retain(|target| Arc::strong_count(target) > 1);
    }

    /// What weir follows of a route's message: none if it is of no table that counts, or not for all packets.
    fn told(&mut self, route: Route<A>) -> Option<Told> {
        if !matches!(route.table, RT_TABLE_LOCAL | RT_TABLE_MAIN | RT_TABLE_DEFAULT) {
            return None;
        }
        // weir routes all packets to a destination alike, so such a route must not win over the others.
        if route.selective {
            if !std::mem::replace(&mut self.warned_of_selective, true) {
                tracing::warn!(
                    prefix = %route.prefix,
                    "routes for one type of service, or for packets from some addresses, are not followed; \
                     remove `tos` or `from` from the route if it should count"
                );
            }
            return None;
        }
        let Route { prefix, table, metric, preference, nexthop, advertised, .. } = route;
        let generation = self.generation;
        let ways = match route.action {
            Action::Local { index, broadcast } => {
                return Some(Told::Local(LocalOrigin { table, metric, index, broadcast, generation }));
            }
            _ if !A::routable(prefix) => return None,
            Action::Forward(hops) => A::ways(hops, nexthop, advertised),
            Action::To(target) => vec![(target, false)],
        };
        let default_table = table == RT_TABLE_DEFAULT;
        let aliases = ways.into_iter().map(|(target, sibling)| {
            let target = self.intern(target);
            Alias { default_table, metric, preference, nexthop, target, sibling, generation }
        });
        Some(Told::Aliases(aliases.collect()))
    }

    fn intern(&mut self, target: Target) -> Arc<Target> {
        if let Some(known) = self.targets.get(&target) {
            return Arc::clone(known);
        }
        let target = Arc::new(target);
        self.targets.insert(Arc::clone(&target));
        target
    }

    fn forget_user(&mut self, nexthop: u32, prefix: Prefix<A>) {
        if nexthop == 0 {
            return;
        }
        let still = self
            .entries
            .get(&prefix)
            .is_some_and(|entry| entry.aliases.iter().any(|alias| alias.nexthop == nexthop));
        if !still && let Slot::Occupied(mut users) = self.users.entry(nexthop) {
            users.get_mut().remove(&prefix);
            if users.get().is_empty() {
                users.remove();
            }
        }
    }

    /// Finds the winner of `prefix` and reports it if it is another than before.
    fn elect(&mut self, prefix: Prefix<A>, nexthops: &Nexthops, sink: &mut impl FnMut(Event)) {
        let Some(entry) = self.entries.get(&prefix) else { return };
        let Some((winner, joined)) = A::winner(&entry.aliases) else {
            if self.entries.remove(&prefix).is_some_and(|entry| entry.reported.is_some()) {
                sink(A::event(Change::RouteGone(prefix)));
            }
            return;
        };
        let (metric, own) = (winner.metric, Arc::clone(&winner.target));
        let target = match nexthops.resolve(winner.nexthop).or(joined) {
            Some(target) => self.intern(target),
            None => own,
        };
        let Some(entry) = self.entries.get_mut(&prefix) else { return };
        if entry.reported.as_ref().is_some_and(|(m, t)| *m == metric && *t == target) {
            return;
        }
        if let Target::Unsupported(why) = *target {
            warn_unsupported(prefix, why);
        }
        entry.reported = Some((metric, Arc::clone(&target)));
        sink(A::event(Change::Route { prefix, metric, target }));
    }

    fn remove_aliases(
        &mut self,
        nexthops: &Nexthops,
        sink: &mut impl FnMut(Event),
        gone: impl Fn(&Alias) -> bool,
    ) {
        let affected: Vec<Prefix<A>> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.aliases.iter().any(&gone))
            .map(|(prefix, _)| *prefix)
            .collect();
        for prefix in affected {
            let Some(entry) = self.entries.get_mut(&prefix) else { continue };
            let objects: Vec<u32> =
                entry.aliases.extract_if(.., |alias| gone(alias)).map(|a| a.nexthop).collect();
            for nexthop in objects {
                self.forget_user(nexthop, prefix);
            }
            self.elect(prefix, nexthops, sink);
        }
    }

    fn insert_local(&mut self, prefix: Prefix<A>, origin: LocalOrigin, sink: &mut impl FnMut(Event)) {
        let origins = self.local.entry(prefix).or_default();
        if let Some(known) = origins.iter_mut().find(|known| known.same(&origin)) {
            known.generation = origin.generation;
            return;
        }
        origins.push(origin);
        if let [_] = origins.as_slice() {
            sink(A::event(Change::Local(prefix)));
        }
    }

    fn remove_local(
        &mut self,
        prefix: Prefix<A>,
        sink: &mut impl FnMut(Event),
        gone: impl Fn(&LocalOrigin) -> bool,
    ) {
        let Slot::Occupied(mut origins) = self.local.entry(prefix) else { return };
        origins.get_mut().retain(|origin| !gone(origin));
        if origins.get().is_empty() {
            origins.remove();
            sink(A::event(Change::LocalGone(prefix)));
        }
    }

    fn remove_local_where(&mut self, sink: &mut impl FnMut(Event), gone: impl Fn(&LocalOrigin) -> bool) {
        let affected: Vec<Prefix<A>> = self
            .local
            .iter()
            .filter(|(_, origins)| origins.iter().any(&gone))
            .map(|(prefix, _)| *prefix)
            .collect();
        for prefix in affected {
            self.remove_local(prefix, sink, &gone);
        }
    }
}

/// What goes without a word.
impl Routes<u32> {
    /// The device was set down; `down` tells of any device whether it is.
    pub(super) fn device_down(
        &mut self,
        index: u32,
        down: impl Fn(u32) -> bool,
        nexthops: &Nexthops,
        sink: &mut impl FnMut(Event),
    ) {
        self.remove_where(nexthops, sink, |hops| {
            hops.iter().any(|hop| hop.index == index) && hops.iter().all(|hop| down(hop.index))
        });
        self.remove_local_where(sink, |origin| origin.index == index && origin.broadcast);
    }

    /// The device was deleted.
    pub(super) fn device_gone(&mut self, index: u32, nexthops: &Nexthops, sink: &mut impl FnMut(Event)) {
        self.remove_where(nexthops, sink, |hops| hops.iter().any(|hop| hop.index == index));
        self.remove_local_where(sink, |origin| origin.index == index);
    }

    fn remove_where(
        &mut self,
        nexthops: &Nexthops,
        sink: &mut impl FnMut(Event),
        gone: impl Fn(&[NextHop]) -> bool,
    ) {
        self.remove_aliases(nexthops, sink, |alias| match &*alias.target {
            Target::Forward(hops) => alias.nexthop == 0 && gone(hops),
            _ => false,
        });
    }
}

fn warn_unsupported<A: Rules>(prefix: Prefix<A>, why: Unsupported) {
    tracing::warn!(%prefix, "the route cannot be followed, its packets are answered as unreachable: {why}");
}

#[cfg(test)]
mod tests;
