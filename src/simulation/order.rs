//! In which order things must have run.
//!
//! In a pipeline items that have a key in common run in their order, whatever becomes of each. Calls that one
//! caller makes are sent in order: what a server refuses, and what waits for another connection, may change places
//! with those behind it.

use super::World;
use super::calls::{Item, Op};
use super::traits::Kind;
use crate::request::Shape;

impl World {
    fn place_of(&self, item: &Item) -> Option<u32> {
        Some(self.fleet.witness.seen(item.number).order).filter(|order| *order != 0)
    }

    pub(super) fn check_pipeline_order(&self, number: usize, op: &Op) {
        let is_cluster = self.traits.kind == Kind::Cluster;
        let is_ordered = |item: &&Item| !item.has_choice && !item.may_repeat;
        let items: Vec<&Item> = op.items.iter().filter(is_ordered).collect();
        for (at, later) in items.iter().enumerate() {
            // One that has run and says in the servers' own words that it has not is not told from one that has
            // not, until it has been asked about.
            let is_told =
                |earlier: &&&Item| earlier.is_tied(later, is_cluster) && !self.fleet.forges(later.number);
            for earlier in items[..at].iter().filter(is_told) {
                if let (Some(first), Some(second)) = (self.place_of(earlier), self.place_of(later)) {
                    assert!(
                        first < second,
                        "seed {}: call {number}: item {} ran behind item {}",
                        self.seed,
                        earlier.number,
                        later.number
                    );
                }
            }
        }
    }

    /// Whether a caller's calls behind this one must run behind it.
    fn keeps_its_place(&self, op: &Op) -> bool {
        let has_choice = op.items.iter().any(|item| item.has_choice);
        // A transaction's scripts must have compiled first.
        op.is_untroubled
            && op.end.is_some()
            && op.shape != Shape::Transaction
            && !op.is_apart()
            && !has_choice
    }

    pub(super) fn check_submitters(&self) {
        // Every second a call waits for what the sentinels say, and others go on meanwhile. So it is where
        // something speaks against the map.
        if self.traits.kind == Kind::Sentinel || self.traits.forges || !self.traits.are_well() {
            return;
        }
        for (number, later) in self.ops.iter().enumerate() {
            if !later.is_untroubled || later.end.is_none() || later.is_apart() {
                continue;
            }
            for earlier in &self.ops[..number] {
                if earlier.client == later.client
                    && earlier.submitter == later.submitter
                    && self.keeps_its_place(earlier)
                {
                    self.check_pair(number, earlier, later);
                }
            }
        }
    }

    fn check_pair(&self, number: usize, earlier: &Op, later: &Op) {
        for one in &earlier.items {
            let history = self.fleet.witness.seen(one.number);
            if history.is_refused || history.executed != 1 || history.askers > 1 {
                continue;
            }
            let has_common =
                |other: &&Item| !other.has_choice && one.keys.iter().any(|key| other.keys.contains(key));
            let is_alone = |other: &&Item| self.fleet.witness.seen(other.number).askers < 2;
            for other in later.items.iter().filter(has_common).filter(is_alone) {
                if let Some(place) = self.place_of(other) {
                    assert!(
                        history.order < place,
                        "seed {}: call {number}: item {} ran in front of item {}, which its caller had sent before",
                        self.seed,
                        other.number,
                        one.number
                    );
                }
            }
        }
    }
}
