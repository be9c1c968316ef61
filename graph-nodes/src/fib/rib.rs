//! The writer's books: which prefixes exist, and which route each one is.
//!
//! A complete binary tree numbered like a heap, node → route index: prefix `a/l` is node `2^l + (first l bits of a)`, and the parent of
//! node *n*, the prefix one bit shorter, is *n*/2. A tree down to /24, and one of nine levels (/24 to /32) for each extension block.
//! Every operation is a handful of array accesses whatever the prefixes are: there is no hash that a BGP peer could collide, and no
//! rehash that stops the control thread. The price is address space (128 MiB, and 2 KiB a block), of which only the pages with routes
//! take memory: a few MiB for a few routes, all of it for the internet's table.

use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::memory::{Pages, Zeroed};
use super::{Prefix4, RouteIndex};

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

    /// The route of exactly this prefix. `block` is the one of its /24, if there is one.
    pub(super) fn route(&self, prefix: Prefix4, block: Option<u32>) -> Option<RouteIndex> {
        let route = self.node(prefix, block)?.load(Relaxed);
        (route != 0).then_some(RouteIndex(route))
    }

    /// Books `route` (or, with [`RouteIndex::NONE`], nothing) for this prefix. A prefix longer than /24 needs its block.
    pub(super) fn set(&self, prefix: Prefix4, block: Option<u32>, route: RouteIndex) {
        if let Some(node) = self.node(prefix, block) {
            node.store(route.0, Relaxed);
        }
    }

    /// The longest prefix of `address` with at most `length` bits that has a route.
    pub(super) fn longest(&self, address: u32, length: u8, block: Option<u32>) -> Option<RouteIndex> {
        let mut length = length;
        loop {
            let prefix = Prefix4::containing(address, length).ok()?;
            if let Some(route) = self.route(prefix, block) {
                return Some(route);
            }
            length = length.checked_sub(1)?;
        }
    }

    fn node(&self, prefix: Prefix4, block: Option<u32>) -> Option<&AtomicU32> {
        let length = u32::from(prefix.length());
        if length <= 24 {
            let bits = u64::from(prefix.address()) >> (32 - length);
            return self.nodes.get(1 << length | bits as usize);
        }
        let bits = (prefix.address() & 0xff) >> (32 - length);
        let node = 1 << (length - 24) | bits;
        self.block_nodes.get(block? as usize * BLOCK_NODES + node as usize)
    }
}
