//! The writer's books: which prefixes exist, and which route each one is.
//!
//! A complete binary tree numbered like a heap, node → route index: prefix `a/l` is node `2^l + (first l bits of a)`, and the parent of
//! node *n*, the prefix one bit shorter, is *n*/2. A tree down to /24, and one of nine levels for the prefixes of each block.
//! Every operation is a handful of array accesses whatever the prefixes are: there is no hash that a BGP peer could collide, and no
//! rehash that stops the control thread. The price is address space (128 MiB, and 2 KiB a block), of which only the pages with routes
//! take memory: a few MiB for a few routes, all of it for the internet's table.

use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::RouteIndex;
use super::memory::{Pages, Zeroed};
use super::trail::Place;

/// Nodes of the tree down to /24: 2^24 leaves and as many above them.
const NODES: usize = 1 << 25;
/// Nodes of a block's tree.
const BLOCK_NODES: usize = 1 << 9;

/// Node → route index, 0 where there is no route. Only the writer has it; the atomics are the table's, and always relaxed.
pub(super) struct Rib {
    nodes: Zeroed<AtomicU32>,
    block_nodes: Zeroed<AtomicU32>,
}

impl Rib {
    pub(super) fn new(extension_blocks: u32) -> io::Result<Self> {
        Ok(Self {
            // Huge pages: loading a million routes takes 64 page faults instead of 30,000.
            nodes: Zeroed::new(NODES, Pages::Huge)?,
            block_nodes: Zeroed::new(extension_blocks as usize * BLOCK_NODES, Pages::Ordinary)?,
        })
    }

    /// The route of the prefix that is the first `length` of these bits, which `place` is the table or block of.
    pub(super) fn route(&self, high: u128, length: u8, place: Place) -> Option<RouteIndex> {
        let route = self.node(high, length, place)?.load(Relaxed);
        (route != 0).then_some(RouteIndex(route))
    }

    /// Books `route` (or, with [`RouteIndex::NONE`], nothing) for this prefix.
    pub(super) fn set(&self, high: u128, length: u8, place: Place, route: RouteIndex) {
        if let Some(node) = self.node(high, length, place) {
            node.store(route.0, Relaxed);
        }
    }

    fn node(&self, high: u128, length: u8, place: Place) -> Option<&AtomicU32> {
        // A shift by all 128 bits, for the default route, is none of the processor's.
        let bits = high.checked_shr(128 - u32::from(length)).unwrap_or(0);
        match place {
            Place::First => self.nodes.get(1 << length | bits as usize),
            Place::Block { block, depth } => {
                let own = 1 << (length - depth);
                self.block_nodes.get(block as usize * BLOCK_NODES + (own | bits as usize & (own - 1)))
            }
        }
    }
}
