//! A queue without a thread: those who poll it look after the calls of its clients.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smallvec::SmallVec;

use super::signal::Signal;
use super::{Completion, Queue, Shared, State};
use crate::base::defect::contain;
use crate::base::times::LONGEST_WAIT;
use crate::error::{Error, Result, Status};
use crate::ffi::sys::lock::{Mutex, MutexGuard};
use crate::ffi::sys::readiness::{Interest, Poller, Watched};

/// A client is at its calls already, on a thread that waits for one: a little later it has told what came.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// The longest sleep: systems differ in what they take.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);

/// A client whose calls end in a queue without a thread.
pub(crate) trait Source: Send + Sync {
    /// Looks after its calls without waiting, unless somebody else does just now; whether it did.
    fn turn(&self, now: Instant) -> bool;

    fn id(&self) -> usize;
}

/// The descriptors that tell when there is something to do.
pub(super) struct Set {
    poller: Arc<Poller>,
    _signal: Watched<Arc<Signal>>,
    sources: Mutex<Vec<Attached>>,
}

struct Attached {
    id: usize,
    source: Weak<dyn Source>,
    _readiness: Watched<Arc<Poller>>,
}

impl Set {
    pub(super) fn new(signal: &Arc<Signal>) -> io::Result<Set> {
        let poller = Arc::new(Poller::new()?);
        let signal = Watched::new(&poller, Arc::clone(signal), 0);
        signal.watch(Interest::READ)?;
        Ok(Set { poller, _signal: signal, sources: Mutex::default() })
    }

    /// Looks after the calls of all clients once; whether any was not looked after by somebody else.
    fn turn(&self, now: Instant) -> bool {
        let sources: SmallVec<[_; 2]> =
            self.sources.lock().iter().filter_map(|attached| attached.source.upgrade()).collect();
        let mut has_turned = sources.is_empty();
        for source in sources {
            has_turned |= contain(|| source.turn(now)).unwrap_or(true);
        }
        has_turned
    }

    /// Waits until there is something to do, but no longer than `until`.
    fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP);
        let mut fds = [PollFd::new(&self.poller, PollFlags::IN)];
        // Interrupted, it is over as well.
        let _ = poll(&mut fds, Some(&Timespec::try_from(left).unwrap_or_default()));
    }
}

impl AsFd for Set {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Queue {
    /// Whether those who poll do the work.
    pub(crate) fn is_without_thread(&self) -> bool {
        self.0.set.is_some()
    }

    /// Has this queue look after the calls of a client; `false` if it does already.
    pub(crate) fn attach<S: Source + 'static>(
        &self,
        source: &Arc<S>,
        readiness: &Arc<Poller>,
    ) -> Result<bool> {
        let Some(set) = &self.0.set else { return Ok(false) };
        let mut sources = set.sources.lock();
        sources.retain(|attached| attached.source.strong_count() > 0);
        let id = source.id();
        if sources.iter().any(|attached| attached.id == id) {
            return Ok(false);
        }
        let readiness = Watched::new(&set.poller, Arc::clone(readiness), 1);
        readiness.watch(Interest::READ).map_err(|error| no_descriptors(&error))?;
        let source = Arc::downgrade(source) as Weak<dyn Source>;
        sources.push(Attached { id, source, _readiness: readiness });
        Ok(true)
    }

    pub(crate) fn downgrade(&self) -> WeakQueue {
        WeakQueue(Arc::downgrade(&self.0))
    }

    /// Takes completions out as [`Queue::poll`] does, and looks after the calls meanwhile.
    pub(super) fn take_driving(
        &self,
        set: &Set,
        into: &mut impl Extend<Completion>,
        max: usize,
        timeout: Duration,
    ) -> (usize, MutexGuard<'_, State>) {
        let _held = crate::ffi::sys::cancel::Held::new();
        let mut now = Instant::now();
        let deadline = now + timeout.min(LONGEST_WAIT);
        let mut state = self.0.state.lock();
        let is_woken = std::mem::take(&mut state.is_woken);
        let wakes = state.wakes;
        // What was submitted just now is not answered yet: to look for it first would be a system call for nothing.
        if state.done.is_empty() && !timeout.is_zero() && !is_woken && !state.closed {
            MutexGuard::unlocked(&mut state, || set.wait(deadline));
            now = Instant::now();
        }
        while state.done.len() < max {
            state.driving += 1;
            let has_turned = MutexGuard::unlocked(&mut state, || set.turn(now));
            state.driving -= 1;
            let is_over = timeout.is_zero() || is_woken || state.wakes != wakes || state.closed;
            if is_over || !state.done.is_empty() || now >= deadline {
                break;
            }
            if has_turned {
                MutexGuard::unlocked(&mut state, || set.wait(deadline));
            } else {
                self.0.filled.wait_for(&mut state, BUSY_PAUSE);
            }
            now = Instant::now();
        }
        let count = self.take_done(&mut state, into, max);
        // It was not raised while this thread was at it.
        if !state.done.is_empty() && !state.signalled {
            self.signal(&mut state);
        }
        (count, state)
    }
}

/// A queue that is not kept by this.
pub(crate) struct WeakQueue(Weak<Shared>);

impl WeakQueue {
    pub(crate) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Has the queue look after the calls of a client no more.
    pub(crate) fn detach(&self, id: usize) {
        if let Some(shared) = self.0.upgrade()
            && let Some(set) = &shared.set
        {
            let mut sources = set.sources.lock();
            let gone: Vec<_> = sources.extract_if(.., |attached| attached.id == id).collect();
            drop(sources);
            drop(gone);
        }
    }
}

pub(crate) fn no_descriptors(error: &io::Error) -> Error {
    let text = format!("no descriptors for calls that no thread looks after: {error}; nothing was sent");
    Error::new(Status::Resources, text).sent(false)
}
