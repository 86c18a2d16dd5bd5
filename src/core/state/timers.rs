//! What is due when: one heap for everything that waits for a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use crate::core::interface::{AttemptId, CallId, ConnId, NodeId};

/// So many that are over are not worth sweeping.
pub(in crate::core) const FEW: usize = 64;

/// What waits for a time. Whether it still does is asked of its keeper when the time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::core) enum Timer {
    Attempt(AttemptId),
    Call(CallId),
    Conn(ConnId),
    /// The login of a connection that stands.
    Login(ConnId),
    /// The end of a server's back-off, by the first of its nodes.
    Node(NodeId),
    /// The next look at who is who.
    Refresh,
    /// Connections that are kept.
    Kept,
}

/// Times, the earliest first. What is over before its time stays behind, and is swept out when there is much of it.
#[derive(Debug, Default)]
pub(in crate::core) struct Timers {
    /// Those that came in the order of their times, as deadlines of calls do: nothing need be sorted.
    line: VecDeque<(Instant, Timer)>,
    others: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    pub(in crate::core) fn add(&mut self, at: Instant, timer: Timer) {
        // A late one must not keep all that come behind it out of the line.
        if self.line.back().is_some_and(|(last, _)| *last > at) {
            self.others.extend(self.line.pop_back().map(Reverse));
        }
        match self.line.back() {
            Some((last, _)) if *last > at => self.others.push(Reverse((at, timer))),
            _ => self.line.push_back((at, timer)),
        }
    }

    #[cfg(any(test, feature = "fuzz-internals"))]
    pub(in crate::core) fn len(&self) -> usize {
        self.line.len() + self.others.len()
    }

    /// Whether most of what is in it must be over, with so many that wait.
    pub(in crate::core) fn is_worth_sweeping(&self, live: usize) -> bool {
        self.line.len() + self.others.len() > 4 * live + FEW
    }

    pub(in crate::core) fn sweep(&mut self, is_live: impl Fn(Instant, Timer) -> bool) {
        self.line.retain(|(at, timer)| is_live(*at, *timer));
        self.others.retain(|Reverse((at, timer))| is_live(*at, *timer));
    }

    /// The earliest, which may be over.
    #[inline]
    pub(in crate::core) fn first(&self) -> Option<(Instant, Timer)> {
        let other = self.others.peek().map(|Reverse(other)| *other);
        match (self.line.front(), other) {
            (Some(first), Some(other)) => Some(other.min(*first)),
            (first, other) => first.copied().or(other),
        }
    }

    /// Takes the earliest out.
    pub(in crate::core) fn take_first(&mut self) -> Option<(Instant, Timer)> {
        let first = self.first()?;
        if self.line.front() == Some(&first) {
            self.line.pop_front()
        } else {
            self.others.pop().map(|Reverse(other)| other)
        }
    }

    /// Takes one out whose time has come.
    pub(in crate::core) fn take_due(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        self.first().filter(|(at, _)| *at <= now).and_then(|_| self.take_first())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn they_come_out_in_the_order_of_their_times() {
        let mut rng = fastrand::Rng::with_seed(11);
        let start = Instant::now();
        let (mut timers, mut model) = (Timers::default(), BTreeSet::new());
        for serial in 0..20_000_u64 {
            // Deadlines by the same time-out, among some others.
            let after = if rng.u8(..) < 20 { rng.u64(..100_000) } else { 1000 };
            let at = start + Duration::from_micros(serial + after);
            timers.add(at, Timer::Attempt(AttemptId { place: 0, serial }));
            model.insert((at, Timer::Attempt(AttemptId { place: 0, serial })));
            if rng.u8(..) < 100 {
                assert_eq!(timers.first(), model.first().copied());
                assert_eq!(timers.take_first(), model.pop_first());
            }
        }
        assert!(model.into_iter().all(|timer| timers.take_first() == Some(timer)));
        assert_eq!(timers.take_first(), None);
    }
}
