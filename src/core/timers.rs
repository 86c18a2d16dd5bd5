//! What is due when: one heap for everything that waits for a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::{AttemptId, CallId, ConnId, NodeId};

/// So many that are over are not worth sweeping.
const FEW: usize = 64;

/// What waits for a time. Whether it still does is asked of its keeper when the time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Attempt(AttemptId),
    Call(CallId),
    Conn(ConnId),
    /// The next attempt to connect to a server.
    Node(NodeId),
    /// The next look at who is who.
    Refresh,
}

/// Times, the earliest first. What is over before its time stays behind, and is swept out when there is much of it.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, Timer)>>);

impl Timers {
    pub(super) fn add(&mut self, at: Instant, timer: Timer) {
        self.0.push(Reverse((at, timer)));
    }

    /// Whether most of what is in it must be over, with so many that wait.
    pub(super) fn is_worth_sweeping(&self, live: usize) -> bool {
        self.0.len() > 4 * live + FEW
    }

    pub(super) fn sweep(&mut self, is_live: impl Fn(Instant, Timer) -> bool) {
        self.0.retain(|Reverse((at, timer))| is_live(*at, *timer));
    }

    /// The earliest that still waits.
    pub(super) fn next(&mut self, is_live: impl Fn(Instant, Timer) -> bool) -> Option<Instant> {
        while let Some(&Reverse((at, timer))) = self.0.peek() {
            if is_live(at, timer) {
                return Some(at);
            }
            self.0.pop();
        }
        None
    }

    /// Takes one out whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        let &Reverse((at, timer)) = self.0.peek()?;
        if at > now {
            return None;
        }
        self.0.pop();
        Some((at, timer))
    }
}
