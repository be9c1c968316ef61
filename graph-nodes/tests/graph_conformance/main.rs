//! What RFC 791, 792, 1191, 1624 and 1812, and for IPv6 RFC 8200, 4443 and 4291, ask of a router, case by case, on the whole graph: the exact frame that leaves, or the exact
//! reason for which it does not.
//!
//! Every drop reason of every node is reached by some case here; [`every_drop_reason_is_reached`] fails for one that is not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "../harness/mod.rs"]
mod harness;

mod aside;
mod fragments;
mod hand_offs;
mod icmp;
mod neighbours;
mod options;
mod paths;
mod single;
mod six;
mod vlans;

use std::collections::BTreeSet;

use harness::{Label, Router};
use weir_graph::{
    graph::Shape,
    nodes::{ROUTE, shaper},
};

/// Scenarios: each is a test of its own, and gives its router back so that the reasons that it reached can be counted.
macro_rules! scenarios {
    ($($module:ident { $($name:ident,)* })*) => {
        mod scenario {
            $(mod $module {
                $(#[test]
                fn $name() {
                    crate::$module::$name();
                })*
            })*
        }
        const SCENARIOS: &[fn() -> Router] = &[$($($module::$name),*),*];
    };
}

scenarios! {
    single {
        frames_that_are_not_for_the_router,
        headers_and_lengths,
        header_checksums,
        martian_addresses,
        forwarding,
        routes_that_lead_nowhere,
    }
    icmp {
        time_exceeded,
        fragmentation_needed,
        unreachable,
        quotes_at_most_576_bytes,
        never_about_what_no_error_may_be_sent_about,
        an_error_that_cannot_be_sent_is_not_answered,
        without_an_address_or_a_frame_none_is_sent,
        is_rate_limited_in_all,
        is_rate_limited_by_source,
    }
    options {
        written_by_a_router,
        carried_along,
        source_routes_are_dropped,
        bad_ones_are_answered_with_their_place,
        an_error_quotes_them_as_they_came,
    }
    fragments {
        pieces_are_exact,
        of_a_fragment,
        copy_the_options_that_say_so,
        at_the_edges,
        all_or_none,
        never_wrap_around,
    }
    neighbours {
        are_asked_for_once_and_packets_held_in_order,
        behind_a_route_are_asked_for_by_the_next_hop,
        that_do_not_answer_are_unreachable,
        hold_four_packets_each,
        fill_the_table_in_a_scan,
        are_given_up_when_the_router_leaves,
        that_lose_their_route_let_packets_go,
    }
    paths {
        flows_spread_and_stay,
        pieces_of_a_datagram_take_one,
    }
    hand_offs {
        are_what_other_workers_own,
        keep_both_directions_and_their_pieces_together,
        that_have_no_room_are_dropped,
    }
    six {
        headers_and_lengths,
        addresses_and_scopes,
        forwarding,
        routes_that_lead_nowhere,
        unreachable,
        time_exceeded,
        packet_too_big,
        quotes_at_most_1280_bytes,
        hop_by_hop_options,
        never_about_what_no_error_may_be_sent_about,
        an_error_that_cannot_be_sent_is_not_answered,
        without_a_frame_none_is_sent,
        errors_are_rate_limited,
        neighbours_are_resolved,
        flows_spread_and_stay,
    }
    vlans {
        every_pair_of_ports_forwards,
        priorities_are_not_the_vlans,
        other_tags_are_nobodys,
        errors_go_back_with_the_tags,
        pieces_have_the_tags_each,
        neighbours_on_a_vlan_are_asked_for_there,
    }
    aside {
        next_hops_that_go_away_between_two_nodes,
        no_error_about_a_group_frame,
        headers_that_are_cut_off,
        tags_that_have_no_room,
        rings_and_ports_that_take_nothing,
    }
}

#[test]
fn every_drop_reason_is_reached() {
    let reached: BTreeSet<Label> = SCENARIOS.iter().flat_map(|run| run().all_drops().into_keys()).collect();
    // The shaper's are reached on virtual time, in `graph_shaper.rs`.
    let shape = Shape::new(ROUTE, &[shaper::REGISTRATION.name]).unwrap();
    let missed: Vec<_> = shape.reasons().filter(|reason| !reached.contains(reason)).collect();
    assert_eq!(missed, [], "drop reasons that no case reaches");
}

#[test]
fn every_event_is_reached() {
    let reached: BTreeSet<Label> = SCENARIOS.iter().flat_map(|run| run().all_events().into_keys()).collect();
    let events = ROUTE.iter().flat_map(|node| node.events.iter().map(|event| (node.name, *event)));
    let missed: Vec<_> = events.filter(|event| !reached.contains(event)).collect();
    assert_eq!(missed, [], "events that no case reaches");
}
