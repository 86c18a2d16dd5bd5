//! The thread of a client that has submitted calls to a queue with a thread, or has made futures: it turns the reactor.
//!
//! There is one for each client, from the first such call until the client is closed; so a client that only makes
//! blocking calls has none, and closing one leaves others alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::{Io, Reactor, never};
use crate::base::threads::{self, Place, Thread};
use crate::error::{Error, Result, Status};
use crate::ffi::sys::cancel::Held;
use crate::ffi::sys::lock::Mutex;
use crate::queue::Queue;

/// A client's thread.
pub(super) struct Driver {
    stopped: AtomicBool,
    thread: Mutex<Option<Thread<()>>>,
}

impl Driver {
    /// Tells it to end; the reactor is to be woken for it.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Waits until it has ended, which [`Driver::stop`] has told it to. On that thread, and in a callback that one of
    /// the host's threads is in, that could be for ever: there it is left to itself.
    fn wait(&self) {
        let thread = self.thread.lock().take();
        match thread {
            Some(thread) if threads::place() == Place::Outside => {
                threads::join(thread);
            }
            Some(thread) => threads::let_go(thread),
            None => {}
        }
    }
}

impl Io {
    /// Sees to it that calls of this queue are driven: by the client's thread, or by whoever polls the queue.
    pub(crate) fn drive(&self, queue: &Queue) -> Result<()> {
        self.drive_for(Some(queue))
    }

    /// Sees to it that calls of futures are driven, by the client's thread.
    pub(crate) fn drive_futures(&self) -> Result<()> {
        self.drive_for(None)
    }

    fn drive_for(&self, queue: Option<&Queue>) -> Result<()> {
        let mut driver = self.driver.lock();
        if driver.is_some() {
            return Ok(());
        }
        let reactor = self.reactor().map_err(|error| match error.status() {
            Status::Connect => Error::new(Status::Resources, error.message().to_owned()).sent(false),
            _ => error,
        })?;
        if let Some(queue) = queue
            && queue.is_without_thread()
        {
            return self.attach(queue, &reactor);
        }
        let started = Arc::new(Driver { stopped: AtomicBool::new(false), thread: Mutex::default() });
        let (its_io, itself) = (self.me.upgrade().ok_or_else(Error::closed)?, Arc::clone(&started));
        let thread = threads::spawn("rs_script", move || run(&its_io, &reactor, &itself))
            .map_err(|error| threads::none_left(&error))?;
        *started.thread.lock() = Some(thread);
        *driver = Some(started);
        drop(driver);
        // From now on nobody else need turn it.
        self.detach_queues();
        Ok(())
    }

    fn attach(&self, queue: &Queue, reactor: &Reactor) -> Result<()> {
        let Some(me) = self.me.upgrade() else { return Err(Error::closed()) };
        if queue.attach(&me, reactor.poller())? {
            reactor.attach(queue.downgrade()).map_err(|error| {
                // The next call would find it attached, and have no timer.
                queue.downgrade().detach(self.id());
                crate::queue::no_descriptors(&error)
            })?;
            self.core.lock().timer.get_or_insert(None);
            self.set_timer();
        }
        Ok(())
    }

    /// Queues without a thread need not look after this client any more.
    pub(super) fn detach_queues(&self) {
        if let Some(reactor) = self.reactor_if_any() {
            reactor.take_queues().iter().for_each(|queue| queue.detach(self.id()));
        }
        self.core.lock().timer = None;
    }

    /// Waits until the client's threads have ended; for when it is closed.
    pub(crate) fn wait_for_threads(&self) {
        let driver = self.driver.lock().take();
        if let Some(driver) = driver {
            driver.wait();
        }
        self.lookups.end();
        self.logins.end();
    }
}

impl crate::queue::Source for Io {
    fn turn(&self, now: Instant) -> bool {
        self.turn_for_queue(now)
    }

    fn id(&self) -> usize {
        Io::id(self)
    }
}

fn run(io: &Io, reactor: &Reactor, driver: &Driver) {
    let _held = Held::new();
    io.role.take_for_driver();
    while !driver.stopped.load(Ordering::Acquire) {
        io.turn_contained(reactor, Some(never()));
    }
    io.role.release_by_driver();
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use crate::{Client, Options, Queue, Status};

    #[test]
    fn nobody_begins_to_submit_in_the_middle_of_closing() {
        let mut options = Options::default();
        options.lazy_connect(true);
        let client = Client::open("unix:///nowhere", &options).unwrap();
        let (io, queue) = (client.io(), Queue::without_thread(1).unwrap());
        io.prepare_to_wait().unwrap();
        thread::scope(|scope| {
            let reactor = io.reactor.lock();
            scope.spawn(|| client.close());
            // It has found no thread to stop, and waits for the reactor: a thread that was made now, or a queue that
            // was told now, it would not find.
            let (start, mut seen) = (Instant::now(), 0);
            while seen < 100 {
                seen = if io.driver.try_lock().is_none() { seen + 1 } else { 0 };
                assert!(start.elapsed() < Duration::from_secs(20), "whoever submits first can begin");
                thread::yield_now();
            }
            drop(reactor);
        });
        assert_eq!(io.drive(&queue).unwrap_err().status(), Status::Closed);
    }
}
