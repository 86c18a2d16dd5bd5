//! How a thread waits for its call: it turns the reactor where nobody else does, and else sleeps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::end::End;
use super::link::Listener;
use super::owner::Waiter;
use super::{Io, never};
use crate::base::defect::contain;
use crate::base::threads::{self, Place};
use crate::base::times::LONGEST_WAIT;
use crate::ffi::sys::lock::{Condvar, Mutex};

/// The role of the one who turns the reactor.
#[derive(Default)]
pub(crate) struct Role {
    state: Mutex<State>,
    /// The role is free, for the client's own thread.
    free: Condvar,
}

#[derive(Default)]
struct State {
    is_taken: bool,
    /// The client has a thread for it: nobody else takes it.
    has_driver: bool,
    sleepers: VecDeque<Arc<Waiter>>,
}

impl Role {
    /// Takes it if it is free.
    pub(crate) fn try_take(&self) -> bool {
        let mut state = self.state.lock();
        let is_free = !state.is_taken && !state.has_driver;
        state.is_taken |= is_free;
        is_free
    }

    /// Takes it if it is free; if it is not, the waiter is told when it is to be passed on.
    fn take_or_enlist(&self, waiter: &Arc<Waiter>) -> bool {
        let mut state = self.state.lock();
        let is_free = !state.is_taken && !state.has_driver;
        state.is_taken |= is_free;
        if !is_free {
            state.sleepers.push_back(Arc::clone(waiter));
        }
        is_free
    }

    /// Gives it back, and has the next who waits take it.
    pub(super) fn release(&self) {
        self.state.lock().is_taken = false;
        self.pass_on();
    }

    fn pass_on(&self) {
        let next = {
            let mut state = self.state.lock();
            if state.is_taken {
                return;
            }
            if state.has_driver { None } else { state.sleepers.pop_front() }
        };
        match next {
            Some(waiter) => waiter.choose(),
            None => self.free.notify_one(),
        }
    }

    /// Waits until a waiter's call is over: with the role, which it `has` or takes where it is free, by `turn`, that
    /// turns the reactor up to then; else asleep. `turn` gives `false` where there is no reactor any more.
    pub(crate) fn wait(&self, waiter: &Arc<Waiter>, has: bool, mut turn: impl FnMut() -> bool) {
        let mut is_chosen = false;
        while !waiter.is_over() {
            if has || self.take_or_enlist(waiter) {
                is_chosen = false;
                waiter.set_turns(true);
                let has_turned = turn();
                waiter.set_turns(false);
                if !has {
                    self.release();
                }
                if !has_turned {
                    // The client is closed: whoever has ended the call is about to say how.
                    waiter.sleep(never());
                }
            } else {
                waiter.sleep(never());
                is_chosen = !self.leave(waiter);
            }
        }
        // Its call has ended after it was chosen, by somebody who does without the role: the next one takes it.
        if is_chosen {
            self.pass_on();
        }
    }

    /// Takes a waiter out that sleeps no more. It is the one whom the role was passed to if it is not there.
    fn leave(&self, waiter: &Arc<Waiter>) -> bool {
        let mut state = self.state.lock();
        let place = state.sleepers.iter().position(|other| Arc::ptr_eq(other, waiter));
        place.is_some_and(|place| state.sleepers.remove(place).is_some())
    }

    /// Takes it for the client's own thread, which keeps it.
    pub(super) fn take_for_driver(&self) {
        let mut state = self.state.lock();
        state.has_driver = true;
        while state.is_taken {
            self.free.wait_for(&mut state, LONGEST_WAIT);
        }
        state.is_taken = true;
    }

    /// The client's thread ends.
    pub(super) fn release_by_driver(&self) {
        self.state.lock().has_driver = false;
        self.release();
    }
}

impl Io {
    /// Waits until a call is over that was submitted for this waiter.
    pub(crate) fn wait(&self, waiter: &Arc<Waiter>) -> End {
        // In a callback it has the role already.
        let has_role = self.turns_here();
        self.role.wait(waiter, has_role, || {
            let Some(reactor) = self.reactor_if_any() else { return false };
            while !waiter.is_over() {
                self.turn_contained(&reactor, Some(never()));
            }
            true
        });
        waiter.take()
    }

    /// Before a call is handed to the engine, or back to it, in a waker: a connection that this thread reads for others
    /// is another's to read while it waits.
    pub(crate) fn stop_reading_within(&self) {
        if threads::place() != Place::Outside {
            let links: Vec<_> = self.core.lock().table.links().cloned().collect();
            links.iter().for_each(|link| link.stop_reading_within());
        }
    }

    /// Sees what has happened to idle connections, before a call is handed to the engine: where the client has no
    /// thread, nobody did.
    pub(crate) fn look_around(&self) {
        self.turn_once();
        let now = Instant::now();
        for link in self.served.all() {
            if !link.is_watched() {
                link.look_if_idle(now);
            }
        }
    }

    /// One turn.
    pub(super) fn turn_contained(&self, reactor: &super::Reactor, until: Option<Instant>) {
        self.contained(|| self.turn(reactor, until));
    }

    /// What is done for all. A panic in it leaves nobody who would look after the calls under way: they end.
    pub(super) fn contained<R>(&self, body: impl FnOnce() -> R) -> Option<R> {
        let result = contain(body);
        if result.is_none() {
            let epoch = self.core.lock().epoch;
            Listener::start_anew(self, epoch);
        }
        result
    }
}
