//! The shared-memory stats segment.
