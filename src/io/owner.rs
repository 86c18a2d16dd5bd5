//! Whose a call is: a completion queue's, that of a thread which waits, or a future's. Each is told of its end
//! exactly once, also if a defect loses it.

use std::sync::Arc;
use std::time::Instant;

use super::end::{End, next_number};
use super::task::{Pending, Task};
use crate::core;
use crate::error::Error;
use crate::ffi::sys::fork::Process;
use crate::ffi::sys::lock::{Condvar, Mutex};
use crate::metrics::meter::Metered;
use crate::queue::{Queue, Ticket};

/// Who is told of a call's end.
pub(crate) enum Owner {
    Queued(Queued),
    Waiting(Waiting),
    Future(Task),
}

impl Owner {
    /// A future.
    pub(crate) fn of(pending: &Arc<Pending>) -> Owner {
        Owner::Future(Task::of(pending))
    }

    /// The same for a call that is measured.
    pub(crate) fn measured(mut self, metered: Option<Box<Metered>>) -> Self {
        match &mut self {
            Owner::Queued(queued) => queued.metered = metered,
            Owner::Waiting(waiting) => waiting.metered = metered,
            Owner::Future(task) => task.metered = metered,
        }
        self
    }

    /// What is measured of its call.
    pub(crate) fn metered(&mut self) -> Option<&mut Metered> {
        match self {
            Owner::Queued(queued) => queued.metered.as_deref_mut(),
            Owner::Waiting(waiting) => waiting.metered.as_deref_mut(),
            Owner::Future(task) => task.metered.as_deref_mut(),
        }
    }
}

impl core::Owner for Owner {
    fn key(&self) -> u64 {
        match self {
            Owner::Queued(queued) => queued.ticket.serial(),
            Owner::Waiting(waiting) => waiting.waiter.number,
            Owner::Future(task) => task.key(),
        }
    }
}

/// A call that will be completed in a queue.
pub(crate) struct Queued {
    queue: Queue,
    ticket: Ticket,
    /// The server's scripts are flushed by it.
    pub(crate) flushes: bool,
    is_over: bool,
    metered: Option<Box<Metered>>,
}

impl Queued {
    pub(crate) fn new(queue: &Queue, ticket: Ticket, flushes: bool) -> Self {
        Queued { queue: queue.clone(), ticket, flushes, is_over: false, metered: None }
    }

    /// Whether it is this call of this queue.
    pub(crate) fn is(&self, ticket: Ticket, queue: &Queue) -> bool {
        self.ticket == ticket && self.queue.is(queue)
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Its ticket, for whoever completes it with that, and what was measured.
    pub(crate) fn end(mut self) -> (Ticket, Option<Box<Metered>>) {
        self.is_over = true;
        (self.ticket, self.metered.take())
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if !self.is_over && self.queue.check_process().is_ok() {
            self.queue.complete(std::iter::once((self.ticket, Err(Error::defect()), None)));
        }
    }
}

/// A call that a thread waits for.
pub(crate) struct Waiting {
    waiter: Arc<Waiter>,
    metered: Option<Box<Metered>>,
}

impl Waiting {
    /// Ends it; whether its thread is to be woken from its turn.
    pub(crate) fn end(self, end: End) -> bool {
        self.waiter.end(end)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Whoever has ended it before was quicker; and in a child of fork its thread is missing.
        if self.waiter.process.is_this() {
            self.waiter.end((Err(Error::defect()), None));
        }
    }
}

/// A thread that waits for a call.
pub(crate) struct Waiter {
    number: u64,
    process: Process,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    end: Option<End>,
    is_over: bool,
    /// It turns the reactor.
    turns: bool,
    /// It is to turn the reactor now: nobody else does any more.
    chosen: bool,
}

impl Waiter {
    pub(crate) fn new() -> Arc<Waiter> {
        Arc::new(Waiter {
            number: next_number(),
            process: Process::this(),
            state: Mutex::default(),
            changed: Condvar::default(),
        })
    }

    /// The call's side of it.
    pub(crate) fn owner(self: &Arc<Self>) -> Owner {
        Owner::Waiting(Waiting { waiter: Arc::clone(self), metered: None })
    }

    fn end(&self, end: End) -> bool {
        let mut state = self.state.lock();
        if state.is_over {
            return false;
        }
        (state.end, state.is_over) = (Some(end), true);
        let turns = state.turns;
        drop(state);
        self.changed.notify_one();
        turns
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }

    pub(crate) fn take(&self) -> End {
        self.state.lock().end.take().unwrap_or_else(|| (Err(Error::defect()), None))
    }

    pub(crate) fn set_turns(&self, turns: bool) {
        self.state.lock().turns = turns;
    }

    /// Has it turn the reactor from now on.
    pub(crate) fn choose(&self) {
        self.state.lock().chosen = true;
        self.changed.notify_one();
    }

    /// Sleeps until its call is over, or it is chosen to turn the reactor; whether it is.
    pub(crate) fn sleep(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        while !state.is_over && !state.chosen && !self.changed.wait_until(&mut state, until).timed_out() {}
        std::mem::take(&mut state.chosen)
    }
}
