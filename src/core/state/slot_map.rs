//! Which server has which slots, and who replicates whom.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use crate::core::interface::{NodeId, Routes};
use crate::net::address::Address;
use crate::request::slots::SLOTS;

/// What servers say of themselves: primaries, each with its replicas and slots.
pub(in crate::core) type Found = Vec<FoundShard>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) struct FoundShard {
    pub(in crate::core) primary: Address,
    pub(in crate::core) replicas: Vec<Address>,
    /// First and last slot of each range; nothing where there are no slots.
    pub(in crate::core) ranges: Vec<(u16, u16)>,
}

/// A primary and its replicas.
#[derive(Clone, Debug)]
pub(in crate::core) struct Shard {
    pub(in crate::core) primary: NodeId,
    pub(in crate::core) replicas: Vec<NodeId>,
    /// Whose turn it is among the replicas.
    turn: usize,
}

impl Shard {
    fn new(primary: NodeId, replicas: Vec<NodeId>) -> Self {
        Shard { primary, replicas, turn: fastrand::usize(..1024) }
    }

    /// The replicas, beginning with the one whose turn it is.
    pub(in crate::core) fn replicas_in_turn(&mut self) -> impl Iterator<Item = NodeId> {
        self.turn = self.turn.wrapping_add(1);
        let (turn, count) = (self.turn, self.replicas.len());
        (0..count).map(move |place| self.replicas[turn.wrapping_add(place) % count])
    }
}

/// A shard's place as the slots have it. There are no more shards than slots; one behind those would have none.
fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(Routes::NOBODY)
}

/// By which calls find their servers.
#[derive(Debug, Default)]
pub(in crate::core) struct SlotMap {
    /// Counts the maps, so that a call can tell whether there is a newer one. 0: there was none yet.
    pub(in crate::core) generation: u64,
    pub(in crate::core) shards: Vec<Shard>,
    slots: Vec<u16>,
}

impl SlotMap {
    /// `node` gives the server at an address, as a primary or (`true`) as a replica.
    pub(in crate::core) fn new(
        found: &Found,
        generation: u64,
        mut node: impl FnMut(&Address, bool) -> NodeId,
    ) -> Self {
        let mut slots = Vec::new();
        let mut shards = Vec::new();
        for (index, shard) in found.iter().enumerate() {
            let replicas = shard.replicas.iter().map(|address| node(address, true)).collect();
            shards.push(Shard::new(node(&shard.primary, false), replicas));
            for &(first, last) in &shard.ranges {
                slots.resize(usize::from(SLOTS), Routes::NOBODY);
                slots[usize::from(first)..=usize::from(last)].fill(number(index));
            }
        }
        SlotMap { generation, shards, slots }
    }

    /// The place of the shard that has a slot.
    #[inline]
    pub(in crate::core) fn place_of(&self, slot: u16) -> Option<usize> {
        match self.slots.get(usize::from(slot)) {
            Some(&place) => Some(usize::from(place)).filter(|place| *place < self.shards.len()),
            None => (!self.shards.is_empty()).then_some(0),
        }
    }

    /// Gives a slot to another primary.
    pub(in crate::core) fn give(&mut self, slot: u16, primary: NodeId) {
        let known = self.shards.iter().position(|shard| shard.primary == primary);
        let index = known.unwrap_or_else(|| {
            self.shards.push(Shard::new(primary, Vec::new()));
            self.shards.len() - 1
        });
        if let Some(shard) = self.slots.get_mut(usize::from(slot)) {
            *shard = number(index);
        }
    }

    /// Tells apart who has which slots.
    pub(in crate::core) fn owners(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let (mut slot, mut last) = (0, None);
        for range in self.slots.chunk_by(|one, other| one == other) {
            let owner = self.shards.get(usize::from(range[0])).map(|shard| shard.primary);
            if last != Some(owner) {
                (slot, owner).hash(&mut hasher);
                last = Some(owner);
            }
            slot += range.len();
        }
        hasher.finish()
    }

    pub(in crate::core) fn primaries(&self) -> impl Iterator<Item = NodeId> {
        self.shards.iter().map(|shard| shard.primary)
    }

    pub(in crate::core) fn is_primary(&self, node: NodeId) -> bool {
        self.primaries().any(|primary| primary == node)
    }

    pub(in crate::core) fn is_replica(&self, node: NodeId) -> bool {
        self.shards.iter().any(|shard| shard.replicas.contains(&node))
    }

    /// Each replica, and whose it is.
    pub(in crate::core) fn replicas(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.shards.iter().flat_map(|shard| shard.replicas.iter().map(|replica| (*replica, shard.primary)))
    }

    /// Every server, primaries first.
    pub(in crate::core) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.primaries().chain(self.shards.iter().flat_map(|shard| shard.replicas.iter().copied()))
    }

    /// The same for plain calls.
    pub(in crate::core) fn routes(&self, until: Option<Instant>) -> Arc<Routes> {
        Arc::new(Routes { slots: self.slots.clone(), nodes: self.primaries().collect(), until })
    }
}
