//! The way from a key to its server, alone: what `scripts/bench cluster-route` measures. Not an API.

use std::time::Instant;

use crate::core::{self, NodeId};
use crate::request::slots::{SLOTS, slot_of};

/// The slot map of a cluster that nobody ever connects to.
#[derive(Debug)]
pub struct Routes {
    routes: core::Routes,
    now: Instant,
}

impl Routes {
    /// So many primaries, each with an equal share of the slots.
    pub fn new(primaries: u16) -> Routes {
        let owner = |slot: u16| u32::from(slot) * u32::from(primaries) / u32::from(SLOTS);
        let slots =
            (0..SLOTS).map(|slot| u16::try_from(owner(slot)).unwrap_or(core::Routes::NOBODY)).collect();
        let nodes = (1..=usize::from(primaries)).map(NodeId).collect();
        Routes { routes: core::Routes { slots, nodes, until: None }, now: Instant::now() }
    }

    /// The number of the server that has a key, from 1 on: slot and look-up.
    #[inline]
    pub fn node_of(&self, key: &[u8]) -> usize {
        self.routes.node_of(slot_of(key), self.now).map_or(0, |node| node.0)
    }
}
