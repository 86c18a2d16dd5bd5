//! Finds the entries of a slab by a hash in constant time, and allocates nothing for an entry once it has grown.

/// Ends a chain.
const NONE: usize = usize::MAX;

/// Slab keys in chains by hash. Those of one hash are in one chain, and by chance some of another: whoever looks one
/// up compares.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The first key of each chain; a power of two of them, or none.
    heads: Vec<usize>,
    /// By key.
    nodes: Vec<Node>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    hash: u64,
    before: usize,
    next: usize,
}

/// Spreads a number over all bits.
pub(crate) fn hash_of(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Index {
    /// Enters a key, which is not in it.
    pub(crate) fn insert(&mut self, key: usize, hash: u64) {
        if self.len == self.heads.len() {
            self.grow();
        }
        if self.nodes.len() <= key {
            self.nodes.resize(key + 1, Node { hash: 0, before: NONE, next: NONE });
        }
        self.len += 1;
        self.link(key, hash);
    }

    /// Takes a key out, which is in it.
    pub(crate) fn remove(&mut self, key: usize) {
        let Node { hash, before, next } = self.nodes[key];
        if before == NONE {
            let head = self.head_of(hash);
            self.heads[head] = next;
        } else {
            self.nodes[before].next = next;
        }
        if next != NONE {
            self.nodes[next].before = before;
        }
        self.len -= 1;
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The keys that may have been entered with this hash, the latest first.
    pub(crate) fn find(&self, hash: u64) -> impl Iterator<Item = usize> {
        let first = if self.heads.is_empty() { NONE } else { self.heads[self.head_of(hash)] };
        let known = |key| (key != NONE).then_some(key);
        std::iter::successors(known(first), move |&key| known(self.nodes[key].next))
            .filter(move |&key| self.nodes[key].hash == hash)
    }

    fn head_of(&self, hash: u64) -> usize {
        // The upper bits of a product are the ones that all lower bits have a part in.
        (hash >> 32) as usize & (self.heads.len() - 1)
    }

    fn link(&mut self, key: usize, hash: u64) {
        let head = self.head_of(hash);
        let next = std::mem::replace(&mut self.heads[head], key);
        if next != NONE {
            self.nodes[next].before = key;
        }
        self.nodes[key] = Node { hash, before: NONE, next };
    }

    #[cold]
    fn grow(&mut self) {
        let size = (2 * self.heads.len()).max(16);
        let old = std::mem::replace(&mut self.heads, vec![NONE; size]);
        for mut key in old {
            // From behind, so that the order stays.
            let mut chain = Vec::new();
            while key != NONE {
                chain.push(key);
                key = self.nodes[key].next;
            }
            chain.into_iter().rev().for_each(|key| self.link(key, self.nodes[key].hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_was_entered_is_found_until_it_is_taken_out() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut index, mut model) = (Index::default(), HashMap::<u64, Vec<usize>>::new());
        assert_eq!(index.find(hash_of(1)).count(), 0);
        let mut entered = Vec::new();
        for key in 0..if cfg!(miri) { 200 } else { 20_000 } {
            // Some numbers come often.
            let numbers = if rng.bool() { 10 } else { 100_000 };
            let number = rng.u64(..numbers);
            index.insert(key, hash_of(number));
            model.entry(number).or_default().push(key);
            entered.push((key, number));
            if rng.u8(..) < 100 {
                let (key, number) = entered.swap_remove(rng.usize(..entered.len()));
                index.remove(key);
                model.entry(number).or_default().retain(|&other| other != key);
            }
        }
        for (number, keys) in &model {
            let found: Vec<_> = index.find(hash_of(*number)).collect();
            assert!(found.iter().rev().eq(keys), "{number}: {found:?} {keys:?}");
        }
        entered.iter().for_each(|&(key, _)| index.remove(key));
        assert!(index.len == 0 && index.heads.iter().all(|&head| head == NONE));
    }
}
