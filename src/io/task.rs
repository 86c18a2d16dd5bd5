//! A call whose end a future waits for: whoever ends it wakes the task that polled the future last.

use std::sync::Arc;
use std::task::Waker;
use std::thread;

use super::end::{End, next_number};
use crate::base::defect::contain;
use crate::base::threads;
use crate::error::{Error, Result};
use crate::ffi::sys::fork::Process;
use crate::ffi::sys::lock::Mutex;
use crate::metrics::meter::Metered;

/// The future's side of a call under way.
pub(crate) struct Pending {
    number: u64,
    process: Process,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    end: Option<End>,
    /// It has an end, or nobody wants to know of one.
    is_over: bool,
    waker: Option<Waker>,
}

impl Pending {
    pub(crate) fn new() -> Arc<Pending> {
        let (number, process) = (next_number(), Process::this());
        Arc::new(Pending { number, process, state: Mutex::default() })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// An error in a child of the process that the call was made in: nobody there will end it.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.process.check("future")
    }

    /// Its end, which is given once; without one this waker is woken when there is. No code of the host's runs
    /// with the lock: wakers are copied and dropped without it.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<End> {
        let mut state = self.state.lock();
        if let Some(end) = state.end.take() {
            return Some(end);
        }
        if state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return None;
        }
        drop(state);
        let copy = waker.clone();
        let mut state = self.state.lock();
        if let Some(end) = state.end.take() {
            return Some(end);
        }
        let before = state.waker.replace(copy);
        drop(state);
        drop(before);
        None
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.is_over = true;
        let left = (state.waker.take(), state.end.take());
        drop(state);
        drop(left);
    }

    /// Ends it, unless that was done; who is to be told of it.
    fn end(&self, end: End) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.is_over {
            return None;
        }
        (state.end, state.is_over) = (Some(end), true);
        state.waker.take()
    }
}

fn wake(waker: Waker) {
    // Others are to be told as well, whatever becomes of this one.
    contain(|| threads::call_back(|| waker.wake()));
}

/// The call's side.
pub(crate) struct Task {
    pending: Arc<Pending>,
    /// What is measured of its call.
    pub(super) metered: Option<Box<Metered>>,
}

impl Task {
    pub(super) fn of(pending: &Arc<Pending>) -> Task {
        Task { pending: Arc::clone(pending), metered: None }
    }

    pub(super) fn end(self, end: End) {
        self.pending.end(end).into_iter().for_each(wake);
    }

    pub(super) fn key(&self) -> u64 {
        self.pending.number
    }

    pub(super) fn is(&self, pending: &Arc<Pending>) -> bool {
        Arc::ptr_eq(&self.pending, pending)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Whoever has ended it before was quicker; and in a child of fork nobody polls it.
        if !self.pending.process.is_this() {
            return;
        }
        let Some(waker) = self.pending.end((Err(Error::defect()), None)) else { return };
        // A panic on its way out may have come from under the engine's lock, which what is woken may need.
        let copy = thread::panicking().then(|| waker.clone());
        match copy.and_then(|copy| threads::spawn("rs_script", || wake(copy)).ok()) {
            Some(thread) => threads::let_go(thread),
            None => wake(waker),
        }
    }
}
