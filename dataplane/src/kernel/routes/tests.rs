use std::net::IpAddr;

use proptest::prelude::*;

use super::super::wire::{Hop, Nexthop};
use super::*;

/// Addresses of a version, a byte each.
trait Version: Rules {
    const PREFIX: &'static str;
    fn host(host: u8) -> IpAddr;
}

impl Version for u32 {
    const PREFIX: &'static str = "10.1.0.0/16";
    fn host(host: u8) -> IpAddr {
        [10, 0, 0, host].into()
    }
}

impl Version for u128 {
    const PREFIX: &'static str = "2001:db8:1::/48";
    fn host(host: u8) -> IpAddr {
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)].into()
    }
}

fn hop<A: Version>(index: u32, host: u8, weight: u32) -> NextHop {
    NextHop { index, gateway: Some(A::host(host)), weight, onlink: false }
}

fn route<A: Version>(metric: u32, hops: &[NextHop]) -> Route<A> {
    let hops = hops.iter().map(|next_hop| Hop { next_hop: *next_hop, unsupported: None });
    Route {
        prefix: Prefix::containing(A::of_text(address::<A>()), length::<A>()).unwrap(),
        table: RT_TABLE_MAIN,
        selective: false,
        metric,
        preference: 1,
        advertised: false,
        nexthop: 0,
        action: Action::Forward(hops.collect()),
    }
}

fn address<A: Version>() -> A::Text {
    let text = A::PREFIX.split_once('/').unwrap().0;
    text.parse().ok().unwrap()
}

fn length<A: Version>() -> u8 {
    A::PREFIX.split_once('/').unwrap().1.parse().unwrap()
}

fn by_object<A: Version>(id: u32) -> Route<A> {
    Route { nexthop: id, ..route(0, &[]) }
}

/// A table with one prefix, and what the last event said of it.
struct World<A> {
    routes: Routes<A>,
    nexthops: Nexthops,
    /// How many events there were.
    count: usize,
    target: Option<Arc<Target>>,
    metric: u32,
}

impl<A: Version> World<A> {
    fn new() -> Self {
        Self { routes: Routes::default(), nexthops: Nexthops::default(), count: 0, target: None, metric: 0 }
    }

    fn tell(&mut self, change: impl FnOnce(&mut Routes<A>, &Nexthops, &mut dyn FnMut(Event))) {
        let Self { routes, nexthops, count, target, metric } = self;
        change(routes, nexthops, &mut |event| {
            *count += 1;
            let told = match event {
                Event::Ip4(Change::Route { metric, target, .. })
                | Event::Ip6(Change::Route { metric, target, .. }) => (metric, Some(target)),
                Event::Ip4(Change::RouteGone(_)) | Event::Ip6(Change::RouteGone(_)) => (0, None),
                other => panic!("{other:?}"),
            };
            assert_ne!((*metric, target.clone()), told, "told twice");
            (*metric, *target) = told;
        });
    }

    fn insert(&mut self, route: Route<A>, order: Order) {
        self.tell(|routes, nexthops, mut sink| routes.insert(route, order, nexthops, &mut sink));
    }

    fn remove(&mut self, route: Route<A>) {
        self.tell(|routes, nexthops, mut sink| routes.remove(route, nexthops, &mut sink));
    }

    fn nexthops(&mut self, change: impl FnOnce(&mut Nexthops) -> Fallen) {
        let fallen = change(&mut self.nexthops);
        self.tell(|routes, nexthops, mut sink| routes.nexthops_changed(&fallen, nexthops, &mut sink));
    }

    fn sweep(&mut self) {
        self.tell(|routes, nexthops, mut sink| routes.sweep(nexthops, &mut sink));
    }

    #[track_caller]
    fn hops(&self) -> &[NextHop] {
        match self.target.as_deref() {
            Some(Target::Forward(hops)) => hops,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn equals_of_ip4_stand_in_the_kernels_order_and_a_repetition_changes_nothing() {
    let mut it = World::<u32>::new();
    let hop = hop::<u32>;
    it.insert(route(5, &[hop(1, 1, 1)]), Order::First);
    it.insert(route(5, &[hop(1, 2, 1)]), Order::Last);
    assert_eq!((it.count, it.hops()), (1, &[hop(1, 1, 1)][..]));
    it.insert(route(5, &[hop(1, 3, 1)]), Order::First);
    assert_eq!((it.count, it.hops()), (2, &[hop(1, 3, 1)][..]));
    it.insert(route(5, &[hop(1, 4, 1)]), Order::Replace);
    assert_eq!((it.count, it.hops()), (3, &[hop(1, 4, 1)][..]));
    it.insert(route(5, &[hop(1, 2, 1)]), Order::Replace);
    assert_eq!(it.count, 3, "one that is there already is only told again");
    it.remove(route(5, &[hop(1, 4, 1)]));
    assert_eq!(it.hops(), [hop(1, 1, 1)]);
    it.remove(route(5, &[hop(1, 1, 1)]));
    it.remove(route(5, &[hop(1, 2, 1)]));
    assert!(it.target.is_none() && it.routes.entries.is_empty());
}

#[test]
fn siblings_of_ip6_come_and_go_one_by_one_and_win_together() {
    let mut it = World::<u128>::new();
    let hop = hop::<u128>;
    let linked = |index| NextHop { gateway: None, ..hop(index, 0, 1) };
    it.insert(route(5, &[hop(1, 1, 3)]), Order::First);
    assert_eq!(it.hops(), [hop(1, 1, 1)], "alone it has no weight");
    // A message tells of all of them, the new one first.
    it.insert(route(5, &[hop(2, 2, 1), hop(1, 1, 3)]), Order::First);
    assert_eq!(it.hops(), [hop(1, 1, 3), hop(2, 2, 1)]);
    // Without a gateway it is none of them, and stands behind them.
    it.insert(route(5, &[linked(7)]), Order::First);
    assert_eq!((it.count, it.hops().len()), (2, 2));
    it.insert(route(5, &[hop(1, 3, 1), hop(1, 1, 3), hop(2, 2, 1)]), Order::Last);
    assert_eq!(it.hops().len(), 3);
    it.remove(route(5, &[hop(1, 1, 1)]));
    it.remove(route(5, &[hop(2, 2, 1)]));
    assert_eq!(it.hops(), [linked(7)], "the first of its equals now");
    it.insert(route(5, &[hop(2, 9, 1), hop(1, 8, 1)]), Order::Replace);
    assert_eq!(it.hops(), [linked(7)], "siblings replace siblings");
    it.insert(route(5, &[linked(8)]), Order::Replace);
    assert_eq!(it.hops(), [linked(8)]);
    it.remove(route(5, &[linked(8)]));
    assert_eq!(it.hops(), [hop(1, 8, 1), hop(2, 9, 1)]);
    // With none of its kind it takes the place of the first, which are all siblings.
    it.insert(Route { action: Action::To(Target::Blackhole), ..route(5, &[]) }, Order::Replace);
    assert_eq!(it.target.as_deref(), Some(&Target::Blackhole));
    it.remove(route(5, &[hop(1, 8, 1)]));
    assert_eq!(it.target.as_deref(), Some(&Target::Blackhole), "what is not there goes not");
    it.remove(Route { action: Action::To(Target::Blackhole), ..route(5, &[]) });
    assert!(it.target.is_none() && it.routes.entries.is_empty());
}

#[test]
fn advertised_routes_stand_alone_and_the_preferred_one_wins() {
    let mut it = World::<u128>::new();
    let hop = hop::<u128>;
    let advertised =
        |host, preference| Route { advertised: true, preference, ..route(5, &[hop(1, host, 1)]) };
    it.insert(advertised(1, 1), Order::First);
    it.insert(advertised(2, 1), Order::First);
    assert_eq!(it.hops(), [hop(1, 1, 1)]);
    it.insert(advertised(3, 2), Order::First);
    it.insert(advertised(4, 2), Order::First);
    assert_eq!(it.hops(), [hop(1, 3, 1)]);
    it.insert(advertised(3, 0), Order::First);
    assert_eq!(it.hops(), [hop(1, 4, 1)], "its next advertisement says less of it");
    it.insert(Route { preference: 2, ..route(4, &[hop(1, 9, 1)]) }, Order::First);
    assert_eq!(it.hops(), [hop(1, 9, 1)], "the metric comes first");
}

#[test]
fn ways_that_weir_cannot_go_are_siblings_too() {
    let mut it = World::<u128>::new();
    let tunnel = Hop { next_hop: hop::<u128>(1, 1, 1), unsupported: Some(Unsupported::Encapsulation) };
    let plain = Hop { next_hop: hop::<u128>(2, 2, 1), unsupported: None };
    let of = |hops: &[Hop]| Route { action: Action::Forward(hops.to_vec()), ..route(5, &[]) };
    it.insert(of(&[tunnel, tunnel, plain]), Order::First);
    let unsupported = Target::Unsupported(Unsupported::Encapsulation);
    assert_eq!(it.target.as_deref(), Some(&unsupported));
    it.remove(of(&[tunnel]));
    assert_eq!(it.target.as_deref(), Some(&unsupported), "one more");
    it.remove(of(&[tunnel]));
    assert_eq!(it.hops(), [plain.next_hop]);
}

#[test]
fn destinations_of_ip6_that_no_router_forwards_to_have_no_routes() {
    let mut it = World::<u128>::new();
    for text in ["fe80::/64", "fe80::1/128", "ff00::/8", "ff02::1/128", "::1/128"] {
        it.insert(Route { prefix: text.parse().unwrap(), ..route(5, &[hop::<u128>(1, 1, 1)]) }, Order::First);
        assert_eq!(it.count, 0, "{text}");
    }
    for (number, text) in ["::/0", "::/128", "fe00::/7", "fec0::/10", "2001:db8::/32"].into_iter().enumerate()
    {
        let hops = [hop::<u128>(1, number as u8, 1)];
        it.insert(Route { prefix: text.parse().unwrap(), ..route(5, &hops) }, Order::First);
        assert_eq!(it.count, number + 1, "{text}");
    }
}

fn the_default_table_comes_after_main_and_other_tables_do_not_count<A: Version>() {
    let mut it = World::<A>::new();
    let in_table = |table, host, metric| Route { table, ..route(metric, &[hop::<A>(1, host, 1)]) };
    it.insert(in_table(RT_TABLE_DEFAULT, 1, 0), Order::First);
    it.insert(in_table(RT_TABLE_MAIN, 2, 900), Order::First);
    it.insert(in_table(77, 3, 0), Order::First);
    it.insert(Route { selective: true, ..route(0, &[hop::<A>(1, 4, 1)]) }, Order::First);
    assert_eq!(it.hops(), [hop::<A>(1, 2, 1)]);
}

fn a_group_follows_its_members_and_falls_with_the_last<A: Version>() {
    let mut it = World::<A>::new();
    let hop = hop::<A>;
    // The object may come after the route that names it.
    it.insert(by_object(10), Order::First);
    assert!(it.hops().is_empty());
    it.nexthops(|nexthops| nexthops.insert(10, Nexthop::Group(vec![(1, 2), (2, 3)])));
    it.nexthops(|nexthops| nexthops.insert(1, Nexthop::One(hop(1, 1, 1))));
    it.nexthops(|nexthops| nexthops.insert(2, Nexthop::One(hop(2, 2, 1))));
    assert_eq!(it.hops(), [hop(1, 1, 2), hop(2, 2, 3)]);
    it.nexthops(|nexthops| nexthops.device_unusable(1));
    assert_eq!(it.hops(), [hop(2, 2, 3)]);
    it.nexthops(|nexthops| nexthops.remove(vec![2]));
    assert!(it.target.is_none() && it.routes.users.is_empty());
    assert!(it.nexthops.resolve(10).is_none());
}

fn what_a_dump_does_not_show_is_gone_at_its_end<A: Version>() {
    let mut it = World::<A>::new();
    let hop = hop::<A>;
    it.insert(route(5, &[hop(1, 1, 1)]), Order::First);
    it.insert(route(9, &[hop(1, 2, 1)]), Order::First);
    it.routes.begin();
    it.insert(route(9, &[hop(1, 2, 1)]), Order::Last);
    assert_eq!(it.count, 1, "nothing is gone before the end");
    it.sweep();
    assert_eq!((it.count, it.hops()), (2, &[hop(1, 2, 1)][..]));
    assert_eq!(it.routes.targets.len(), 1, "targets without a route are forgotten");
    it.routes.begin();
    it.sweep();
    assert!(it.target.is_none());
}

#[test]
fn what_is_the_same_for_both_versions() {
    the_default_table_comes_after_main_and_other_tables_do_not_count::<u32>();
    the_default_table_comes_after_main_and_other_tables_do_not_count::<u128>();
    a_group_follows_its_members_and_falls_with_the_last::<u32>();
    a_group_follows_its_members_and_falls_with_the_last::<u128>();
    what_a_dump_does_not_show_is_gone_at_its_end::<u32>();
    what_a_dump_does_not_show_is_gone_at_its_end::<u128>();
}

#[test]
fn a_route_of_ip4_outlives_a_device_that_goes_down_while_another_next_hop_is_up() {
    let mut it = World::<u32>::new();
    let both = [hop::<u32>(1, 1, 1), hop::<u32>(2, 2, 1)];
    it.insert(route(0, &both), Order::First);
    it.tell(|routes, nexthops, mut sink| routes.device_down(1, |index| index == 1, nexthops, &mut sink));
    assert_eq!(it.hops().len(), 2);
    it.tell(|routes, nexthops, mut sink| routes.device_down(2, |_| true, nexthops, &mut sink));
    assert!(it.target.is_none());
    // A deleted device takes the route with it, whatever the other next hop does.
    it.insert(route(0, &both), Order::First);
    it.tell(|routes, nexthops, mut sink| routes.device_gone(1, nexthops, &mut sink));
    assert!(it.target.is_none());
}

proptest! {
    /// Whatever is told in whatever order: only differences are passed on, and what is told to be gone piece by piece leaves nothing.
    #[test]
    fn any_history_of_ip6(steps in prop::collection::vec((0u8..3, 0u32..3, 1u8..4, 0u8..6, any::<bool>()), 1..40)) {
        let mut it = World::<u128>::new();
        let mut all = Vec::new();
        for (order, metric, index, host, advertised) in steps {
            let order = [Order::First, Order::Last, Order::Replace][usize::from(order)];
            let gateway = (host > 0).then(|| u128::host(host));
            let next_hop = NextHop { gateway, ..hop::<u128>(u32::from(index), 0, 1) };
            let told = Route { advertised, ..route(metric, &[next_hop]) };
            it.insert(told.clone(), order);
            all.push(told);
        }
        all.into_iter().for_each(|told| it.remove(told));
        prop_assert!(it.target.is_none() && it.routes.entries.is_empty());
    }
}
