//! Executors of the tests' own: one that polls a single future, one that runs tasks, and wakers that do what a
//! good one never would.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use parking_lot::Mutex;

use super::PATIENCE;

/// Polls a future on this thread until it has ended; panics when it never does.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for a future");
    }
}

/// Polls a future once, for a waker that counts.
pub fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Arc<Counting>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(waker))))
}

/// A waker that counts how often it was woken.
#[derive(Default)]
pub struct Counting(AtomicUsize);

impl Counting {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A waker that does this.
pub struct Doing<F>(pub F);

impl<F: Fn() + Send + Sync + 'static> Wake for Doing<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// A waker that runs `body` when it is woken.
pub fn waker(body: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(Doing(body)))
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An executor of one thread: tasks that were woken stand in line.
pub struct Executor {
    line: Receiver<Arc<Task>>,
    woken: Sender<Arc<Task>>,
    left: usize,
}

struct Task {
    future: Mutex<Option<Boxed>>,
    line: Sender<Arc<Task>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let line = self.line.clone();
        // When nobody is at it any more there is nothing to run.
        let _ = line.send(self);
    }
}

impl Executor {
    pub fn new() -> Executor {
        let (woken, line) = channel();
        Executor { line, woken, left: 0 }
    }

    pub fn spawn(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        let task = Task { future: Mutex::new(Some(Box::pin(future))), line: self.woken.clone() };
        self.left += 1;
        self.woken.send(Arc::new(task)).expect("the other end is here");
    }

    /// Runs until all tasks have ended; panics when one never does.
    #[track_caller]
    pub fn run(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.left > 0 {
            let task = match self.line.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(task) => task,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("waited {PATIENCE:?} in vain for {} tasks", self.left)
                }
            };
            let waker = Waker::from(Arc::clone(&task));
            let mut slot = task.future.lock();
            if let Some(future) = &mut *slot
                && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
            {
                *slot = None;
                self.left -= 1;
            }
        }
    }
}
