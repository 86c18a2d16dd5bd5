//! Which server has which slots, and who replicates whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::net::address::Address;
use crate::node::Node;
use crate::slots::SLOTS;

/// What servers say of themselves: primaries, each with its replicas and slots.
pub(crate) type Found = Vec<FoundShard>;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FoundShard {
    pub(crate) primary: Address,
    pub(crate) replicas: Vec<Address>,
    /// First and last slot of each range; nothing where there are no slots.
    pub(crate) ranges: Vec<(u16, u16)>,
}

/// A primary and its replicas.
pub(crate) struct Shard {
    pub(crate) primary: Arc<Node>,
    pub(crate) replicas: Vec<Arc<Node>>,
    /// Whose turn it is among the replicas.
    turn: AtomicUsize,
}

impl Shard {
    pub(crate) fn new(primary: Arc<Node>, replicas: Vec<Arc<Node>>) -> Self {
        Shard { primary, replicas, turn: AtomicUsize::new(fastrand::usize(..1024)) }
    }

    /// The replicas, beginning with the one whose turn it is.
    pub(crate) fn replicas_in_turn(&self) -> impl Iterator<Item = &Arc<Node>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.replicas.len();
        (0..count).map(move |place| &self.replicas[turn.wrapping_add(place) % count])
    }
}

/// The slot is nobody's.
const UNSERVED: u16 = u16::MAX;

/// A shard's place as `Map::slots` has it. There are no more shards than slots; one behind those would have none.
fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(UNSERVED)
}

/// The picture by which calls find their servers.
#[derive(Default)]
pub(crate) struct Map {
    /// Counts the pictures, so that a caller can tell whether there is a newer one.
    pub(crate) generation: u64,
    pub(crate) shards: Vec<Shard>,
    /// By slot: an index into `shards`. Empty where a single shard has all keys.
    slots: Vec<u16>,
}

impl Map {
    /// `nodes` gives the node of an address, as a primary or (`true`) as a replica.
    pub(crate) fn new(found: &Found, generation: u64, nodes: impl Fn(&Address, bool) -> Arc<Node>) -> Self {
        let mut slots = Vec::new();
        let mut shards = Vec::new();
        for (index, shard) in found.iter().enumerate() {
            let replicas = shard.replicas.iter().map(|address| nodes(address, true)).collect();
            shards.push(Shard::new(nodes(&shard.primary, false), replicas));
            for &(first, last) in &shard.ranges {
                slots.resize(usize::from(SLOTS), UNSERVED);
                slots[usize::from(first)..=usize::from(last)].fill(number(index));
            }
        }
        Map { generation, shards, slots }
    }

    /// The shard that has a slot.
    #[inline]
    pub(crate) fn shard_of(&self, slot: u16) -> Option<&Shard> {
        match self.slots.get(usize::from(slot)) {
            Some(&shard) => self.shards.get(usize::from(shard)),
            None => self.shards.first(),
        }
    }

    /// Gives a slot to another primary.
    pub(crate) fn give(&mut self, slot: u16, primary: &Arc<Node>) {
        let known = self.shards.iter().position(|shard| Arc::ptr_eq(&shard.primary, primary));
        let index = known.unwrap_or_else(|| {
            self.shards.push(Shard::new(Arc::clone(primary), Vec::new()));
            self.shards.len() - 1
        });
        if let Some(shard) = self.slots.get_mut(usize::from(slot)) {
            *shard = number(index);
        }
    }

    /// Every node, primaries first.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        let primaries = self.shards.iter().map(|shard| &shard.primary);
        primaries.chain(self.shards.iter().flat_map(|shard| &shard.replicas))
    }
}
