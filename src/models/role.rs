//! Who turns a client's sockets, of those who wait for its calls: how they hand that over.

use std::sync::Arc;

use shuttle::rand::Rng;
use shuttle::sync::{Mutex, mpsc};
use shuttle::thread;

use super::check;
use crate::error::Error;
use crate::io::{Owner, Role, Waiter, never};

/// The calls of those who wait; absent once somebody ends them.
type Calls = Arc<Mutex<Vec<Option<Owner>>>>;

const WAITERS: usize = 3;

fn end(calls: &Calls, whose: usize) {
    let owner = calls.lock().expect("no panic while locked")[whose].take();
    if let Some(Owner::Waiting(waiting)) = owner {
        waiting.end((Err(Error::closed()), None));
    }
}

/// Whoever is to turn next may have its call ended by somebody who does not turn, as a caller does that reads on a
/// connection: then another turns. With nobody left to do it, those who wait would wait for ever.
#[test]
fn somebody_turns_as_long_as_anybody_waits() {
    check(|| {
        let role = Arc::new(Role::default());
        let waiters: Vec<_> = (0..WAITERS).map(|_| Waiter::new()).collect();
        let owners = waiters.iter().map(|waiter| Some(Waiter::owner(waiter)));
        let calls: Calls = Arc::new(Mutex::new(owners.collect()));
        let (told, has_turned) = mpsc::channel();
        let threads: Vec<_> = waiters
            .into_iter()
            .enumerate()
            .map(|(me, waiter)| {
                let (role, calls, told) = (Arc::clone(&role), Arc::clone(&calls), told.clone());
                thread::spawn(move || {
                    role.wait(&waiter, false, || {
                        end(&calls, me);
                        let _ = told.send(me);
                        // Somebody else may be about to end it.
                        while !waiter.is_over() {
                            waiter.sleep(never());
                        }
                        true
                    });
                })
            })
            .collect();
        // The first one has turned, and another has been or will be chosen: its call may be this one.
        let first = has_turned.recv().expect("one at least turns");
        // It may be now that this one is told so, or that it wakes up.
        (0..shuttle::rand::thread_rng().gen_range(0..40)).for_each(|_| thread::yield_now());
        end(&calls, (first + 1) % WAITERS);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert!(role.try_take(), "who leaves gives it back");
    });
}
