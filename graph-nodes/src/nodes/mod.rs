//! The stages of the graph, one file each.
//!
//! To add one: write its file beside these, name it here, and add its line to [`ROUTE`], to [`BRIDGE`], or to both.

use crate::node::Registration;

pub mod classify;
pub mod drop;
pub mod ethernet_input;
pub mod glean;
pub mod hand_off;
pub mod ip4_fragment;
pub mod ip4_icmp_error;
pub mod ip4_input;
pub mod ip4_lookup;
pub mod ip4_options;
pub mod ip4_rewrite;
pub mod ip6_hop_by_hop;
pub mod ip6_icmp_error;
pub mod ip6_input;
pub mod ip6_lookup;
pub mod ip6_rewrite;
pub mod l2_cross_connect;
mod rewrite;
pub mod shaper;
pub mod tcp_rtt_match;
pub mod tcp_rtt_stamp;
pub mod tx;

/// The nodes of a router, in the order of a packet's life. The first one is where received packets enter.
pub static ROUTE: &[Registration] = &[
    ethernet_input::REGISTRATION,
    ip4_input::REGISTRATION,
    ip6_input::REGISTRATION,
    ip6_hop_by_hop::REGISTRATION,
    ip4_lookup::REGISTRATION,
    ip6_lookup::REGISTRATION,
    ip4_rewrite::REGISTRATION,
    ip6_rewrite::REGISTRATION,
    ip4_options::REGISTRATION,
    glean::REGISTRATION,
    ip4_fragment::REGISTRATION,
    ip4_icmp_error::REGISTRATION,
    ip6_icmp_error::REGISTRATION,
    classify::REGISTRATION,
    hand_off::REGISTRATION,
    tcp_rtt_match::REGISTRATION,
    shaper::REGISTRATION,
    tcp_rtt_stamp::REGISTRATION,
    tx::REGISTRATION,
    drop::REGISTRATION,
];

/// The nodes of a bridge: from `classify` on those of a router.
pub static BRIDGE: &[Registration] = &[
    l2_cross_connect::REGISTRATION,
    classify::REGISTRATION,
    hand_off::REGISTRATION,
    tcp_rtt_match::REGISTRATION,
    shaper::REGISTRATION,
    tcp_rtt_stamp::REGISTRATION,
    tx::REGISTRATION,
    drop::REGISTRATION,
];
