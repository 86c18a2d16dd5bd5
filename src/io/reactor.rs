//! Where a client waits for its sockets: whoever has the role turns it. Its descriptor can be waited for as well.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::ffi::sys::lock::Mutex;
use crate::ffi::sys::readiness::{Interest, Poller, Timer, Watched};
use crate::queue::WeakQueue;
use crate::queue::signal::Signal;

/// Keys that no connection has.
const SIGNAL: usize = usize::MAX - 1;
const TIMER: usize = usize::MAX - 2;

pub(crate) struct Reactor {
    poller: Arc<Poller>,
    signal: Watched<Signal>,
    /// It was woken, and nobody has looked yet.
    woken: AtomicBool,
    /// For queues without a thread: makes the descriptor readable at that time.
    timer: Mutex<Option<(Timer, Option<Instant>)>>,
    /// Those queues.
    queues: Mutex<Vec<WeakQueue>>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        let poller = Arc::new(Poller::new()?);
        let signal = Watched::new(&poller, Signal::new()?, SIGNAL);
        signal.watch(Interest::READ)?;
        Ok(Reactor {
            poller,
            signal,
            woken: AtomicBool::new(false),
            timer: Mutex::default(),
            queues: Mutex::default(),
        })
    }

    pub(crate) fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    /// Ends the wait of whoever turns it, or else the next one.
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.signal.raise();
        }
    }

    /// Waits for sockets; adds the keys of those that are ready. Whether the timer's time has come: it ends every wait
    /// until it is set anew.
    pub(crate) fn wait(&self, ready: &mut Vec<usize>, sleep: Duration) -> bool {
        if self.poller.wait(ready, Some(sleep)).is_err() {
            thread::yield_now();
        }
        let mut is_timer_due = false;
        ready.retain(|&key| {
            if key == SIGNAL {
                self.signal.lower();
                // Not only stored: whoever finds it set has done before what is looked at next.
                self.woken.swap(false, Ordering::AcqRel);
            }
            is_timer_due |= key == TIMER;
            key != SIGNAL && key != TIMER
        });
        is_timer_due
    }

    /// Makes the descriptor readable for the queues that are told here. `false`: there was no such queue before.
    pub(crate) fn attach(&self, queue: WeakQueue) -> io::Result<()> {
        let mut timer = self.timer.lock();
        if timer.is_none() {
            *timer = Some((Timer::new(&self.poller, TIMER)?, None));
        }
        drop(timer);
        let mut queues = self.queues.lock();
        queues.retain(WeakQueue::is_alive);
        queues.push(queue);
        Ok(())
    }

    /// Lets go of the queues; gives those that there were.
    pub(crate) fn take_queues(&self) -> Vec<WeakQueue> {
        std::mem::take(&mut *self.queues.lock())
    }

    /// Sets the timer to what `time` says, which is asked with the timer's lock, so that the last to ask is the last
    /// to set.
    pub(crate) fn set_timer(&self, time: impl FnOnce() -> Option<Instant>) {
        let mut timer = self.timer.lock();
        let Some((timer, before)) = &mut *timer else { return };
        let at = time();
        if at != *before {
            *before = at;
            // It fails for a time that is none only.
            let _ = timer.set(at.map(|at| at.saturating_duration_since(Instant::now())));
        }
    }
}
