//! Deadlines of many calls, the earliest first. A call that ends before its own leaves it behind; what is left behind
//! is swept out in time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// So many are not worth sweeping.
const FEW: usize = 64;

/// Deadlines by the key under which a call is kept. Whether a call is still there is asked of its keeper: whether that
/// key has one of this deadline.
#[derive(Debug, Default)]
pub(crate) struct Deadlines(BinaryHeap<Reverse<(Instant, usize)>>);

impl Deadlines {
    /// Enters one. `live`: how many calls there are, this one included.
    pub(crate) fn add(
        &mut self,
        deadline: Instant,
        key: usize,
        live: usize,
        is_live: impl Fn(usize, Instant) -> bool,
    ) {
        self.0.push(Reverse((deadline, key)));
        if self.0.len() > 2 * live + FEW {
            self.0.retain(|Reverse((deadline, key))| is_live(*key, *deadline));
        }
    }

    /// Takes out a call whose deadline has passed.
    pub(crate) fn take_due(
        &mut self,
        now: Instant,
        is_live: impl Fn(usize, Instant) -> bool,
    ) -> Option<usize> {
        if self.next(is_live)? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, key))| key)
    }

    /// The earliest of a call that is still there.
    pub(crate) fn next(&mut self, is_live: impl Fn(usize, Instant) -> bool) -> Option<Instant> {
        while let Some(&Reverse((deadline, key))) = self.0.peek() {
            if is_live(key, deadline) {
                return Some(deadline);
            }
            self.0.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_comes_in_its_turn_and_what_has_ended_leaves_little_behind() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut deadlines, mut live) = (Deadlines::default(), HashMap::<usize, Instant>::new());
        let is = |live: &HashMap<usize, Instant>, key, deadline| live.get(&key) == Some(&deadline);
        let mut now = Instant::now();
        for _ in 0..50_000 {
            // Keys are used again, and long before the deadlines of those that had them.
            let key = rng.usize(..200);
            let deadline = now + Duration::from_millis(rng.u64(1..1_000));
            live.insert(key, deadline);
            deadlines.add(deadline, key, live.len(), |key, deadline| is(&live, key, deadline));
            assert!(deadlines.0.len() <= 2 * live.len() + FEW);
            live.remove(&rng.usize(..200));
            now += Duration::from_micros(rng.u64(..500));
            let next = deadlines.next(|key, deadline| is(&live, key, deadline));
            assert_eq!(next, live.values().copied().min());
            while let Some(key) = deadlines.take_due(now, |key, deadline| is(&live, key, deadline)) {
                assert!(live.remove(&key).expect("live") <= now);
            }
            assert!(live.values().all(|deadline| *deadline > now));
        }
    }
}
