//! The packet graph.
