//! The kernel's IPv4 routes: all that it holds, and which of them wins for each prefix.
//!
//! The kernel tells of each route, not of the winner, and it is silent when routes go because something else went: a device set
//! down, a carrier lost, a next-hop object deleted. Those rules are repeated here (seen on Linux 6.18, `net/ipv4/fib_semantics.c`):
//! * device down: routes whose next hops are all on devices that are down are gone, and so are its broadcast destinations;
//! * device deleted: every route with a next hop on it is gone;
//! * device down, deleted or without carrier: its next-hop objects are gone, groups lose them as members, empty groups go, and the routes
//!   of a gone object go.

use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use weir_graph::fib::Prefix4;

use super::event::{Event, NextHop, Target, Unsupported};
use super::wire::{Action, Nexthop, Order, Route};

/// `linux/rtnetlink.h`: the tables that every packet is looked up in, in this order, when no rule says otherwise.
const RT_TABLE_LOCAL: u32 = 255;
const RT_TABLE_MAIN: u32 = 254;
const RT_TABLE_DEFAULT: u32 = 253;

/// One route of a prefix.
#[derive(Debug)]
struct Alias {
    /// Whether it stands in table `default`, which the kernel asks after `main`.
    default_table: bool,
    metric: u32,
    /// The next-hop object that decides over `target`; 0: none.
    nexthop: u32,
    target: Arc<Target>,
    /// The last dump that showed it, or during which it was notified.
    generation: u32,
}

#[derive(Debug, Default)]
struct Entry {
    /// In the kernel's order of preference.
    aliases: Vec<Alias>,
    reported: Option<(u32, Arc<Target>)>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Routes {
    entries: FxHashMap<Prefix4, Entry>,
    /// Equal targets are one: a table of a million routes has few.
    targets: FxHashSet<Arc<Target>>,
    nexthops: FxHashMap<u32, (Nexthop, u32)>,
    /// The prefixes that have a route over each next-hop object.
    users: FxHashMap<u32, FxHashSet<Prefix4>>,
    /// Local destinations by prefix: the devices and kinds that make them local.
    local: FxHashMap<Prefix4, Vec<LocalOrigin>>,
    generation: u32,
    warned_of_tos: bool,
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

impl Routes {
    /// Number of prefixes that have a route.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes a new or replaced route.
    pub(super) fn insert(&mut self, route: Route, order: Order, sink: &mut impl FnMut(Event)) {
        let Some(route) = self.concerned(route) else { return };
        let prefix = route.prefix;
        let target = match route.action {
            Action::Local { index, broadcast } => {
                let origin = LocalOrigin {
                    table: route.table,
                    metric: route.metric,
                    index,
                    broadcast,
                    generation: self.generation,
                };
                return self.insert_local(prefix, origin, sink);
            }
            Action::To(target) => self.intern(target),
        };
        let new = Alias {
            default_table: route.table == RT_TABLE_DEFAULT,
            metric: route.metric,
            nexthop: route.nexthop,
            target,
            generation: self.generation,
        };
        let entry = self.entries.entry(prefix).or_default();
        let rank = new.rank();
        let start = entry.aliases.partition_point(|alias| alias.rank() < rank);
        let end = entry.aliases.partition_point(|alias| alias.rank() <= rank);
        let known = entry.aliases[start..end].iter().position(|alias| alias.same(&new)).map(|at| start + at);
        let mut replaced = None;
        match (known, order) {
            // Told again: by a dump, or because its next-hop object changed. Its place among its equals stays.
            (Some(at), _) => {
                entry.aliases[at].target = new.target;
                entry.aliases[at].generation = new.generation;
            }
            (None, Order::Replace) if start < end => {
                replaced = Some(entry.aliases[start].nexthop);
                entry.aliases[start] = new;
            }
            (None, Order::First | Order::Replace) => entry.aliases.insert(start, new),
            (None, Order::Last) => entry.aliases.insert(end, new),
        }
        if route.nexthop != 0 {
            self.users.entry(route.nexthop).or_default().insert(prefix);
        }
        if let Some(nexthop) = replaced {
            self.forget_user(nexthop, prefix);
        }
        self.elect(prefix, sink);
    }

    /// Takes a route out.
    pub(super) fn remove(&mut self, route: Route, sink: &mut impl FnMut(Event)) {
        let Some(route) = self.concerned(route) else { return };
        let prefix = route.prefix;
        let target = match route.action {
            Action::Local { index, broadcast } => {
                let gone =
                    LocalOrigin { table: route.table, metric: route.metric, index, broadcast, generation: 0 };
                return self.remove_local(prefix, sink, |origin| origin.same(&gone));
            }
            Action::To(target) => target,
        };
        let Some(entry) = self.entries.get_mut(&prefix) else { return };
        let rank = (route.table == RT_TABLE_DEFAULT, route.metric);
        // The very route if it is there; else the first of its rank, which is the kernel's own choice.
        let of_rank = |alias: &Alias| alias.rank() == rank;
        let at = entry
            .aliases
            .iter()
            .position(|alias| {
                of_rank(alias)
                    && alias.nexthop == route.nexthop
                    && (route.nexthop != 0 || *alias.target == target)
            })
            .or_else(|| entry.aliases.iter().position(of_rank));
        let Some(at) = at else { return };
        let gone = entry.aliases.remove(at);
        self.forget_user(gone.nexthop, prefix);
        self.elect(prefix, sink);
    }

    /// Takes a new or changed next-hop object.
    pub(super) fn insert_nexthop(&mut self, id: u32, nexthop: Nexthop, sink: &mut impl FnMut(Event)) {
        let before = self.nexthops.insert(id, (nexthop, self.generation));
        if before.as_ref().map(|(nexthop, _)| nexthop) != self.nexthops.get(&id).map(|(nexthop, _)| nexthop) {
            self.nexthop_changed(id, sink);
        }
    }

    /// Takes a next-hop object out, and what depends on it.
    pub(super) fn remove_nexthop(&mut self, id: u32, sink: &mut impl FnMut(Event)) {
        if self.nexthops.remove(&id).is_none() {
            return;
        }
        let mut emptied = Vec::new();
        let mut shrunk = Vec::new();
        for (&group, (nexthop, _)) in &mut self.nexthops {
            if let Nexthop::Group(members) = nexthop {
                let before = members.len();
                members.retain(|(member, _)| *member != id);
                if members.is_empty() {
                    emptied.push(group);
                } else if members.len() < before {
                    shrunk.push(group);
                }
            }
        }
        for prefix in self.users.remove(&id).unwrap_or_default() {
            if let Some(entry) = self.entries.get_mut(&prefix) {
                entry.aliases.retain(|alias| alias.nexthop != id);
            }
            self.elect(prefix, sink);
        }
        for group in shrunk {
            self.nexthop_changed(group, sink);
        }
        for group in emptied {
            self.remove_nexthop(group, sink);
        }
    }

    /// The device can carry nothing: it is down, gone or without carrier.
    pub(super) fn device_unusable(&mut self, index: u32, sink: &mut impl FnMut(Event)) {
        let on_device = |nexthop: &Nexthop| match nexthop {
            Nexthop::One(hop) => hop.index == index,
            // The kernel keeps blackhole objects on the loopback device of the namespace; they fall with it.
            Nexthop::Blackhole { index: of } => *of == index,
            Nexthop::Group(_) | Nexthop::Unsupported(_) => false,
        };
        let gone: Vec<u32> =
            self.nexthops.iter().filter(|(_, (nexthop, _))| on_device(nexthop)).map(|(id, _)| *id).collect();
        for id in gone {
            self.remove_nexthop(id, sink);
        }
    }

    /// The device was set down; `down` tells of any device whether it is.
    pub(super) fn device_down(
        &mut self,
        index: u32,
        down: impl Fn(u32) -> bool,
        sink: &mut impl FnMut(Event),
    ) {
        self.device_unusable(index, sink);
        self.remove_where(sink, |target| match target {
            Target::Forward(hops) => {
                hops.iter().any(|hop| hop.index == index) && hops.iter().all(|hop| down(hop.index))
            }
            _ => false,
        });
        self.remove_local_where(sink, |origin| origin.index == index && origin.broadcast);
    }

    /// The device was deleted.
    pub(super) fn device_gone(&mut self, index: u32, sink: &mut impl FnMut(Event)) {
        self.device_unusable(index, sink);
        self.remove_where(
            sink,
            |target| matches!(target, Target::Forward(hops) if hops.iter().any(|hop| hop.index == index)),
        );
        self.remove_local_where(sink, |origin| origin.index == index);
    }

    /// A dump begins: what is neither in it nor notified from now on is gone at its end.
    pub(super) fn begin(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// The dump of routes that began last has ended.
    pub(super) fn sweep_routes(&mut self, sink: &mut impl FnMut(Event)) {
        let current = self.generation;
        self.remove_aliases(sink, |alias| alias.generation != current);
        self.remove_local_where(sink, |origin| origin.generation != current);
        self.targets.retain(|target| Arc::strong_count(target) > 1);
    }

    /// The dump of next-hop objects that began last has ended.
    pub(super) fn sweep_nexthops(&mut self, sink: &mut impl FnMut(Event)) {
        let current = self.generation;
        let gone: Vec<u32> = self
            .nexthops
            .iter()
            .filter(|(_, (_, generation))| *generation != current)
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.remove_nexthop(id, sink);
        }
    }

    /// The route if weir follows its table and type of service.
    fn concerned(&mut self, route: Route) -> Option<Route> {
        let known_table = matches!(route.table, RT_TABLE_LOCAL | RT_TABLE_MAIN | RT_TABLE_DEFAULT);
        if !known_table {
            return None;
        }
        // Such a route is for packets of one type of service only; weir routes all alike, so it must not win over the others.
        if route.tos != 0 {
            if !std::mem::replace(&mut self.warned_of_tos, true) {
                tracing::warn!(
                    prefix = %route.prefix,
                    "routes for one type of service are not followed; remove `tos` from the route if it should count"
                );
            }
            return None;
        }
        Some(route)
    }

    fn intern(&mut self, target: Target) -> Arc<Target> {
        if let Some(known) = self.targets.get(&target) {
            return Arc::clone(known);
        }
        let target = Arc::new(target);
        self.targets.insert(Arc::clone(&target));
        target
    }

    fn forget_user(&mut self, nexthop: u32, prefix: Prefix4) {
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

    /// Elects again wherever the object `id`, or a group that it is in, decides.
    fn nexthop_changed(&mut self, id: u32, sink: &mut impl FnMut(Event)) {
        let mut affected = vec![id];
        affected.extend(self.nexthops.iter().filter_map(|(&group, (nexthop, _))| match nexthop {
            Nexthop::Group(members) if members.iter().any(|(member, _)| *member == id) => Some(group),
            _ => None,
        }));
        for id in affected {
            let prefixes: Vec<Prefix4> = self.users.get(&id).into_iter().flatten().copied().collect();
            for prefix in prefixes {
                self.elect(prefix, sink);
            }
        }
    }

    /// What the object says now; none if it is not known (yet).
    fn resolve(&self, id: u32) -> Option<Target> {
        Some(match &self.nexthops.get(&id)?.0 {
            Nexthop::One(hop) => Target::Forward(vec![*hop]),
            Nexthop::Blackhole { .. } => Target::Blackhole,
            Nexthop::Unsupported(why) => Target::Unsupported(*why),
            Nexthop::Group(members) => {
                let mut hops = Vec::with_capacity(members.len());
                for (member, weight) in members {
                    match self.nexthops.get(member).map(|(nexthop, _)| nexthop) {
                        Some(Nexthop::One(hop)) => {
                            hops.push(NextHop { weight: *weight, ..*hop });
                        }
                        // The kernel allows a blackhole only as the single member of a group.
                        Some(Nexthop::Blackhole { .. }) => return Some(Target::Blackhole),
                        Some(Nexthop::Unsupported(why)) => return Some(Target::Unsupported(*why)),
                        Some(Nexthop::Group(_)) | None => {}
                    }
                }
                Target::Forward(hops)
            }
        })
    }

    /// Finds the winner of `prefix` and reports it if it is another than before.
    fn elect(&mut self, prefix: Prefix4, sink: &mut impl FnMut(Event)) {
        let Some(winner) = self.entries.get(&prefix).map(|entry| {
            entry.aliases.first().map(|alias| (alias.metric, alias.nexthop, Arc::clone(&alias.target)))
        }) else {
            return;
        };
        let Some((metric, nexthop, own)) = winner else {
            if self.entries.remove(&prefix).is_some_and(|entry| entry.reported.is_some()) {
                sink(Event::RouteGone(prefix));
            }
            return;
        };
        let target = match self.resolve(nexthop) {
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
        sink(Event::Route { prefix, metric, target });
    }

    fn remove_where(&mut self, sink: &mut impl FnMut(Event), gone: impl Fn(&Target) -> bool) {
        self.remove_aliases(sink, |alias| alias.nexthop == 0 && gone(&alias.target));
    }

    fn remove_aliases(&mut self, sink: &mut impl FnMut(Event), gone: impl Fn(&Alias) -> bool) {
        let affected: Vec<Prefix4> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.aliases.iter().any(&gone))
            .map(|(prefix, _)| *prefix)
            .collect();
        for prefix in affected {
            let Some(entry) = self.entries.get_mut(&prefix) else { continue };
            let nexthops: Vec<u32> =
                entry.aliases.extract_if(.., |alias| gone(alias)).map(|a| a.nexthop).collect();
            for nexthop in nexthops {
                self.forget_user(nexthop, prefix);
            }
            self.elect(prefix, sink);
        }
    }

    fn insert_local(&mut self, prefix: Prefix4, origin: LocalOrigin, sink: &mut impl FnMut(Event)) {
        let origins = self.local.entry(prefix).or_default();
        if let Some(known) = origins.iter_mut().find(|known| known.same(&origin)) {
            known.generation = origin.generation;
            return;
        }
        origins.push(origin);
        if let [_] = origins.as_slice() {
            sink(Event::LocalAddress(prefix));
        }
    }

    fn remove_local(
        &mut self,
        prefix: Prefix4,
        sink: &mut impl FnMut(Event),
        gone: impl Fn(&LocalOrigin) -> bool,
    ) {
        let Slot::Occupied(mut origins) = self.local.entry(prefix) else { return };
        origins.get_mut().retain(|origin| !gone(origin));
        if origins.get().is_empty() {
            origins.remove();
            sink(Event::LocalAddressGone(prefix));
        }
    }

    fn remove_local_where(&mut self, sink: &mut impl FnMut(Event), gone: impl Fn(&LocalOrigin) -> bool) {
        let affected: Vec<Prefix4> = self
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

fn warn_unsupported(prefix: Prefix4, why: Unsupported) {
    tracing::warn!(%prefix, "the route cannot be followed, its packets are answered as unreachable: {why}");
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(index: u32, host: u8, weight: u32) -> NextHop {
        NextHop { index, gateway: Some([10, 0, 0, host].into()), weight, onlink: false }
    }

    fn route(metric: u32, hops: &[NextHop]) -> Route {
        Route {
            prefix: "10.1.0.0/16".parse().unwrap(),
            table: RT_TABLE_MAIN,
            tos: 0,
            metric,
            nexthop: 0,
            action: Action::To(Target::Forward(hops.to_vec())),
        }
    }

    fn by_object(id: u32) -> Route {
        Route { nexthop: id, ..route(0, &[]) }
    }

    /// What the last event said of the one prefix, and how many events there were.
    #[derive(Default)]
    struct Told {
        count: usize,
        target: Option<Arc<Target>>,
    }

    impl Told {
        fn sink(&mut self) -> impl FnMut(Event) {
            |event| {
                self.count += 1;
                self.target = match event {
                    Event::Route { target, .. } => Some(target),
                    Event::RouteGone(_) => None,
                    other => panic!("{other:?}"),
                };
            }
        }

        fn hops(&self) -> &[NextHop] {
            match self.target.as_deref() {
                Some(Target::Forward(hops)) => hops,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn equals_stand_in_the_kernels_order_and_a_repetition_changes_nothing() {
        let (mut routes, mut told) = (Routes::default(), Told::default());
        routes.insert(route(5, &[hop(1, 1, 1)]), Order::First, &mut told.sink());
        routes.insert(route(5, &[hop(1, 2, 1)]), Order::Last, &mut told.sink());
        assert_eq!((told.count, told.hops()), (1, &[hop(1, 1, 1)][..]));
        routes.insert(route(5, &[hop(1, 3, 1)]), Order::First, &mut told.sink());
        assert_eq!((told.count, told.hops()), (2, &[hop(1, 3, 1)][..]));
        routes.insert(route(5, &[hop(1, 4, 1)]), Order::Replace, &mut told.sink());
        assert_eq!((told.count, told.hops()), (3, &[hop(1, 4, 1)][..]));
        routes.insert(route(5, &[hop(1, 2, 1)]), Order::Replace, &mut told.sink());
        assert_eq!(told.count, 3, "one that is there already is only told again");
        routes.remove(route(5, &[hop(1, 4, 1)]), &mut told.sink());
        assert_eq!(told.hops(), [hop(1, 1, 1)]);
        routes.remove(route(5, &[hop(1, 1, 1)]), &mut told.sink());
        routes.remove(route(5, &[hop(1, 2, 1)]), &mut told.sink());
        assert!(told.target.is_none() && routes.len() == 0);
    }

    #[test]
    fn the_default_table_comes_after_main_and_other_tables_do_not_count() {
        let (mut routes, mut told) = (Routes::default(), Told::default());
        let in_table = |table, host, metric| Route { table, ..route(metric, &[hop(1, host, 1)]) };
        routes.insert(in_table(RT_TABLE_DEFAULT, 1, 0), Order::First, &mut told.sink());
        routes.insert(in_table(RT_TABLE_MAIN, 2, 900), Order::First, &mut told.sink());
        routes.insert(in_table(77, 3, 0), Order::First, &mut told.sink());
        routes.insert(Route { tos: 16, ..route(0, &[hop(1, 4, 1)]) }, Order::First, &mut told.sink());
        assert_eq!(told.hops(), [hop(1, 2, 1)]);
    }

    #[test]
    fn a_group_follows_its_members_and_falls_with_the_last() {
        let (mut routes, mut told) = (Routes::default(), Told::default());
        // The object may come after the route that names it.
        routes.insert(by_object(10), Order::First, &mut told.sink());
        assert!(told.hops().is_empty());
        routes.insert_nexthop(10, Nexthop::Group(vec![(1, 2), (2, 3)]), &mut told.sink());
        routes.insert_nexthop(1, Nexthop::One(hop(1, 1, 1)), &mut told.sink());
        routes.insert_nexthop(2, Nexthop::One(hop(2, 2, 1)), &mut told.sink());
        assert_eq!(told.hops(), [hop(1, 1, 2), hop(2, 2, 3)]);
        routes.device_unusable(1, &mut told.sink());
        assert_eq!(told.hops(), [hop(2, 2, 3)]);
        routes.remove_nexthop(2, &mut told.sink());
        assert!(told.target.is_none() && routes.nexthops.is_empty() && routes.users.is_empty());
    }

    #[test]
    fn a_route_outlives_a_device_that_goes_down_while_another_next_hop_is_up() {
        let (mut routes, mut told) = (Routes::default(), Told::default());
        routes.insert(route(0, &[hop(1, 1, 1), hop(2, 2, 1)]), Order::First, &mut told.sink());
        routes.device_down(1, |index| index == 1, &mut told.sink());
        assert_eq!(told.hops().len(), 2);
        routes.device_down(2, |_| true, &mut told.sink());
        assert!(told.target.is_none());
        // A deleted device takes the route with it, whatever the other next hop does.
        routes.insert(route(0, &[hop(1, 1, 1), hop(2, 2, 1)]), Order::First, &mut told.sink());
        routes.device_gone(1, &mut told.sink());
        assert!(told.target.is_none());
    }

    #[test]
    fn what_a_dump_does_not_show_is_gone_at_its_end() {
        let (mut routes, mut told) = (Routes::default(), Told::default());
        routes.insert(route(5, &[hop(1, 1, 1)]), Order::First, &mut told.sink());
        routes.insert(route(9, &[hop(1, 2, 1)]), Order::First, &mut told.sink());
        routes.begin();
        routes.insert(route(9, &[hop(1, 2, 1)]), Order::Last, &mut told.sink());
        assert_eq!(told.count, 1, "nothing is gone before the end");
        routes.sweep_routes(&mut told.sink());
        assert_eq!((told.count, told.hops()), (2, &[hop(1, 2, 1)][..]));
        assert_eq!(routes.targets.len(), 1, "targets without a route are forgotten");
        routes.begin();
        routes.sweep_routes(&mut told.sink());
        assert!(told.target.is_none());
    }
}
