//! The ground that tests stand on: real servers, alone and together, that live as long as a test, and stand-ins for
//! what a real server cannot be made to do.
//!
//! A program of tests includes it with `mod support;`; its modules say `use crate::support;`.
// Each program is a crate of its own and uses a part of this.
#![allow(dead_code)]

pub mod calls;
pub mod cluster;
pub mod executor;
pub mod fake;
pub mod flushes;
pub mod front;
pub mod kinds;
pub mod load;
pub mod lossy;
pub mod nodes;
pub mod place;
pub mod proxy;
pub mod raw;
pub mod replication;
pub mod sentinel;
pub mod server;
pub mod tls;

use std::time::{Duration, Instant};

/// How long a condition may take that is bound to come. Generous: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How much later than its deadline a call may end: less is what a busy machine may add, more is a hang.
pub const SLACK: Duration = Duration::from_secs(30);

/// Asks again and again until `condition` gives a value; panics with `what` when it never does.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// [`wait_for`] of a condition without a value.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Does something at its end, also when a test fails in between: such as to tell threads that it is over, for which a
/// [`std::thread::scope`] would wait for ever.
pub struct OnDrop<F: Fn()>(pub F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
