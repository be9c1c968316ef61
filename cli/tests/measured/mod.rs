//! What a weir that measures round-trip times says of its segment: `graph-nodes/src/round_trips.rs` as readers see it, written down once for all tests
//! that fill a segment of their own.

use weir_stats::Description;

const BY_NAME: &str = "customer=/customers/names";
const BY_NAME_AND_BIN: &str = "customer=/customers/names,le=/rtt/bins";
const BY_PORT: &str = "interface=/if/names";
const BY_PORT_AND_BIN: &str = "interface=/if/names,le=/rtt/bins";

/// Its descriptions; not every test has an entry for each.
pub const DESCRIPTIONS: [Description; 17] = [
    Description::names("/rtt/bins", "bounds of the histograms"),
    Description::names("/customers/names", "customers"),
    Description::names("/customers/prefixes", "the customers' prefixes"),
    Description::combined("/customers/{direction}", BY_NAME, "packets of the customer"),
    Description::simple("/customers/retransmissions/{direction}", "packets", BY_NAME, "sent again"),
    Description::simple("/customers/reordered/{direction}", "packets", BY_NAME, "came too late"),
    Description::simple(
        "/rtt/customers/{side}",
        "microseconds",
        BY_NAME_AND_BIN,
        "round trips beyond a side",
    ),
    Description::simple("/delay/customers/{direction}", "microseconds", BY_NAME_AND_BIN, "waited inside"),
    Description::simple("/rtt/ports", "microseconds", BY_PORT_AND_BIN, "round trips beyond a port"),
    Description::simple("/delay/ports", "microseconds", BY_PORT_AND_BIN, "waited inside"),
    Description::simple(
        "/rtt/samples",
        "samples",
        "method=/rtt/methods",
        "round trips by the way to measure",
    ),
    Description::simple("/rtt/flows", "flows", "state=/rtt/flow-states", "flows by what became of them"),
    Description::names("/if/names", "ports"),
    Description::combined("/if/tx", BY_PORT, "sent"),
    Description::ring("/rtt/events", "samples"),
    Description::names("/rtt/methods", "ways to measure"),
    Description::names("/rtt/flow-states", "what becomes of flows"),
];

/// Bounds of the bins: 16 us to 16 s, eight bins an octave.
pub fn bounds() -> Vec<u64> {
    (0..20).flat_map(|octave| (1..=8).map(move |bin| (16 << octave) + bin * (2 << octave) - 1)).collect()
}
