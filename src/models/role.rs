//! Who turns a client's sockets, of those who wait for its calls: how they hand that over.

use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::thread;

use super::check;
use crate::error::Error;
use crate::io::{Owner, Role, Waiter};

/// Calls whose ends are found by whoever turns.
type Calls = Arc<Mutex<Vec<Owner>>>;

/// Ends the call that comes `place`th, if there is one.
fn end(calls: &Calls, place: usize) {
    let mut calls = calls.lock().expect("no panic while locked");
    let ended = (place < calls.len()).then(|| calls.remove(place));
    drop(calls);
    if let Some(Owner::Waiting(waiting)) = ended {
        waiting.end((Err(Error::closed()), None));
    }
}

/// Whoever is to turn next may have its call ended by somebody who does not turn, as a caller does that reads on a
/// connection: then another turns. With nobody left to do it, those who wait would wait for ever.
#[test]
fn somebody_turns_as_long_as_anybody_waits() {
    check(|| {
        let role = Arc::new(Role::default());
        let waiters: Vec<_> = (0..3).map(|_| Waiter::new()).collect();
        let calls: Calls = Arc::new(Mutex::new(waiters.iter().map(Waiter::owner).collect()));
        let threads: Vec<_> = waiters
            .into_iter()
            .map(|waiter| {
                let (role, calls) = (Arc::clone(&role), Arc::clone(&calls));
                thread::spawn(move || {
                    role.wait(&waiter, false, || {
                        while !waiter.is_over() {
                            end(&calls, 0);
                            thread::yield_now();
                        }
                        true
                    });
                })
            })
            .collect();
        end(&calls, 1);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert!(role.try_take(), "who leaves gives it back");
    });
}
