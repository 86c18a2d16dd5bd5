//! A completion queue: where calls end that nobody waits for.
//!
//! A call is accepted, and from then on has exactly one completion, whatever becomes of it. The queue is bounded by
//! what it has accepted and not yet handed out, so it never grows beyond that.

mod set;
pub(crate) mod signal;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ffi::sys::lock::{Condvar, Mutex, MutexGuard};
use slab::Slab;
use smallvec::SmallVec;

use crate::base::index::{Index, hash_of};
use crate::error::{Error, Result, Status};
use crate::metrics::meter::Metered;
use crate::resp::Reply;
use set::Set;
pub(crate) use set::{Source, WeakQueue, no_descriptors};
use signal::Signal;

/// What has become of a call that was submitted.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::Queue;
/// use std::time::Duration;
///
/// let queue = Queue::new(10)?;
/// client.submit_command(&queue, 7, "PING")?;
/// let mut done = Vec::new();
/// while queue.poll(&mut done, 10, Duration::from_secs(1)) == 0 {}
/// assert_eq!(done[0].tag, 7);
/// assert!(done[0].result.is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Completion {
    /// The number that the call was submitted with.
    pub tag: u64,
    /// Its reply or error.
    pub result: Result<Reply>,
    /// Of a pipeline that broke half-way: the replies that did arrive; see
    /// [`Pipeline::arrived`](crate::Pipeline::arrived).
    pub arrived: Option<Reply>,
    /// What the call has cost, where that is to be told.
    pub(crate) cost: Option<Box<Metered>>,
}

/// Where submitted calls end: any number of clients and threads may submit to it, and any number of threads take
/// completions out.
///
/// A clone is the same queue. It outlives the clients whose calls end in it. In a child of fork it is empty, and
/// takes no calls.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let client = server.client();
/// use rs_script::Queue;
/// use std::time::Duration;
///
/// let queue = Queue::new(1000)?;
/// for tag in 0..100 {
///     client.submit_command(&queue, tag, ("INCR", "n"))?;
/// }
/// let mut done = Vec::new();
/// while !queue.is_empty() {
///     queue.poll(&mut done, 100, Duration::from_secs(1));
/// }
/// assert_eq!(done.len(), 100);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

struct Shared {
    capacity: usize,
    state: Mutex<State>,
    /// Somebody may take completions out.
    filled: Condvar,
    /// Up while there are completions.
    signal: Arc<Signal>,
    /// Present where those who poll do the work of the clients' threads.
    set: Option<Set>,
}

#[derive(Default)]
struct State {
    /// Calls that have no completion yet.
    accepted: Slab<Accepted>,
    /// The accepted calls by client and tag.
    tags: Index,
    done: VecDeque<Completion>,
    /// Completions that were taken out for a trial: they still have their places.
    lent: usize,
    /// Counts the calls, so that a place that is used again is not taken for the call before.
    serial: u64,
    /// There is a byte on its way through the socket pair, unless an event loop has read it.
    signalled: bool,
    /// Somebody has asked for the descriptor: it is to be readable when it says so.
    is_watched: bool,
    /// Counts the wake-ups: whoever waits leaves when there is another.
    wakes: u64,
    /// There was a wake-up since the last poll began: the next one does not wait.
    is_woken: bool,
    closed: bool,
    /// Threads that look after the calls and then take completions out: they need no signal.
    driving: usize,
}

struct Accepted {
    tag: u64,
    /// The client that it was submitted to.
    client: usize,
    serial: u64,
}

/// A call that was accepted. It stays the call's own, also when the call has been completed by somebody else meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    place: usize,
    serial: u64,
}

/// How a call ends, and what it has cost.
pub(crate) type Measured = (Ticket, Result<Reply>, Option<Reply>, Option<Box<Metered>>);

impl Ticket {
    /// Its number among the calls of its queue; unique there.
    pub(crate) fn serial(self) -> u64 {
        self.serial
    }
}

impl Queue {
    /// A queue for up to `capacity` calls that are under way or wait to be taken out. [`Status::InvalidArgument`] for
    /// 0; [`Status::Resources`] when the system has no file descriptors left.
    ///
    /// ```
    /// use rs_script::{Queue, Status};
    ///
    /// let queue = Queue::new(1000)?;
    /// assert_eq!(Queue::new(0).unwrap_err().status(), Status::InvalidArgument);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn new(capacity: usize) -> Result<Queue> {
        Queue::make(capacity, false)
    }

    /// The same for calls that no thread in the background looks after: [`Queue::poll`] itself reads their replies,
    /// minds their deadlines and connects, for all clients that have submitted to this queue; without waiting where
    /// its time-out is zero. The [descriptor](Queue::as_fd) is readable when there is something to do, whether or not
    /// that will complete a call. So whoever waits for it in an event loop of their own, and polls when it is
    /// readable, needs no other thread.
    ///
    /// While nobody polls, nothing goes on: neither does a deadline end a call. A client that is also used with a
    /// queue of the other kind has its thread all the same.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Queue;
    /// use std::time::Duration;
    ///
    /// let queue = Queue::without_thread(10)?;
    /// client.submit_command(&queue, 1, "PING")?;
    /// let mut done = Vec::new();
    /// // An event loop polls when the descriptor is readable, with a time-out of zero.
    /// while queue.poll(&mut done, 10, Duration::from_secs(1)) == 0 {}
    /// assert!(done[0].result.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn without_thread(capacity: usize) -> Result<Queue> {
        Queue::make(capacity, true)
    }

    fn make(capacity: usize, is_without_thread: bool) -> Result<Queue> {
        if capacity == 0 {
            return Err(Error::new(
                Status::InvalidArgument,
                "the capacity is 0: nothing could ever be submitted",
            ));
        }
        let signal = Arc::new(Signal::new().map_err(|error| {
            Error::new(Status::Resources, format!("no socket pair for the queue: {error}"))
        })?);
        let set = match is_without_thread {
            true => Some(Set::new(&signal).map_err(|error| no_descriptors(&error))?),
            false => None,
        };
        let state = Mutex::new(State { is_watched: set.is_some(), ..State::default() });
        let filled = Condvar::default();
        Ok(Queue(Arc::new(Shared { capacity, state, filled, signal, set })))
    }

    /// Takes up to `max` completions out, in the order in which they came, and puts them behind those that are in
    /// `into`; waits for the first one, but no longer than `timeout`, nor beyond [`Queue::wake`] or [`Queue::close`].
    /// The number taken: fewer than `max` means that the queue was empty then.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Queue;
    /// use std::time::Duration;
    ///
    /// let queue = Queue::new(10)?;
    /// let mut done = Vec::new();
    /// assert_eq!(queue.poll(&mut done, 10, Duration::ZERO), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll(&self, into: &mut Vec<Completion>, max: usize, timeout: Duration) -> usize {
        self.poll_into(into, max, timeout)
    }

    pub(crate) fn poll_into(
        &self,
        into: &mut impl Extend<Completion>,
        max: usize,
        timeout: Duration,
    ) -> usize {
        if self.check_process().is_err() {
            return 0;
        }
        self.take(into, max, timeout).0
    }

    /// Wakes all who wait in [`Queue::poll`]: they return at once, with nothing if there is nothing. The next poll
    /// that begins does not wait either, so that none is missed by a thread that is just about to wait; and the
    /// descriptor is readable up to then. Several that nobody has seen are one.
    ///
    /// A poll may therefore come back with nothing before its time. To stop threads use [`Queue::close`], which all of
    /// them see.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Queue;
    /// use std::time::Duration;
    ///
    /// let queue = Queue::new(10)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| queue.poll(&mut Vec::new(), 10, Duration::from_secs(3600)));
    ///     queue.wake();
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn wake(&self) {
        if self.check_process().is_err() {
            return;
        }
        let mut state = self.0.state.lock();
        state.wakes += 1;
        state.is_woken = true;
        self.signal(&mut state);
        drop(state);
        self.0.filled.notify_all();
    }

    /// Ends the queue for good: nothing new is accepted ([`Status::Closed`]), every [`Queue::poll`] returns at once,
    /// those that wait now as well, and the descriptor stays readable. Calls under way go on, and their completions
    /// can still be taken out. For all handles of this queue.
    ///
    /// Whoever wants to wait for what is under way does so before, until [`Queue::len`] is 0.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{Queue, Status};
    ///
    /// let queue = Queue::new(10)?;
    /// queue.close();
    /// let error = client.submit_command(&queue, 1, "PING").unwrap_err();
    /// assert_eq!(error.status(), Status::Closed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) {
        if self.check_process().is_err() {
            return;
        }
        let mut state = self.0.state.lock();
        if !std::mem::replace(&mut state.closed, true) {
            self.0.signal.end();
        }
        drop(state);
        self.0.filled.notify_all();
    }

    /// Whether it was closed.
    ///
    /// ```
    /// let queue = rs_script::Queue::new(10)?;
    /// assert!(!queue.is_closed());
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        self.check_process().is_ok() && self.0.state.lock().closed
    }

    /// Takes completions out that are yet to be found of use.
    pub(crate) fn try_out(&self) -> Trial<'_> {
        Trial { queue: self, taken: Vec::new() }
    }

    fn take(
        &self,
        into: &mut impl Extend<Completion>,
        max: usize,
        timeout: Duration,
    ) -> (usize, MutexGuard<'_, State>) {
        if let Some(set) = &self.0.set
            && max > 0
        {
            return self.take_driving(set, into, max, timeout);
        }
        let mut state = self.0.state.lock();
        let is_woken = max > 0 && std::mem::take(&mut state.is_woken);
        if state.done.is_empty() && max > 0 && !timeout.is_zero() && !is_woken {
            let deadline = Instant::now() + timeout.min(crate::base::times::LONGEST_WAIT);
            let wakes = state.wakes;
            while state.done.is_empty()
                && state.wakes == wakes
                && !state.closed
                && !self.0.filled.wait_until(&mut state, deadline).timed_out()
            {}
        }
        let count = self.take_done(&mut state, into, max);
        (count, state)
    }

    fn take_done(&self, state: &mut State, into: &mut impl Extend<Completion>, max: usize) -> usize {
        let count = state.done.len().min(max);
        into.extend(state.done.drain(..count));
        // A wake-up that came meanwhile is for the next poll as well, and for event loops.
        if state.done.is_empty() && !state.is_woken && std::mem::take(&mut state.signalled) {
            self.0.signal.lower();
        }
        count
    }

    /// Puts those in front again that are left of `lent` completions.
    fn put_back(&self, lent: usize, left: Vec<Completion>) {
        let mut state = self.0.state.lock();
        state.lent -= lent;
        if left.is_empty() {
            return;
        }
        for completion in left.into_iter().rev() {
            state.done.push_front(completion);
        }
        self.signal(&mut state);
        drop(state);
        self.0.filled.notify_all();
    }

    /// Makes the descriptor readable, with the lock: it must not come after somebody has emptied the queue. There is
    /// never more than one byte, or it would stay readable when the queue is empty; and an event loop may have read
    /// it. Until somebody asks for the descriptor nobody looks at it.
    fn signal(&self, state: &mut State) {
        if !state.is_watched {
            return;
        }
        if std::mem::replace(&mut state.signalled, true) {
            self.0.signal.lower();
        }
        self.0.signal.raise();
    }

    /// A descriptor that is readable while the queue holds completions: for poll, epoll, kqueue and every event loop.
    /// It turns readable when the queue stops being empty, so take out until fewer come than were asked for. Do not
    /// write to it or close it. Reading from it is harmless: what the loop reads for itself need not be read by
    /// [`Queue::poll`]. Also after [`Queue::wake`], up to the next poll, and for good after [`Queue::close`],
    /// where a read says that it is at its end.
    ///
    /// That of a queue [without a thread](Queue::without_thread) is a set of descriptors (epoll, kqueue), and not to
    /// be read from.
    ///
    /// ```
    /// use std::os::fd::AsRawFd;
    ///
    /// let queue = rs_script::Queue::new(10)?;
    /// assert!(queue.as_fd().as_raw_fd() >= 0);
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0.set {
            Some(set) => set.as_fd(),
            None => {
                if self.check_process().is_ok() {
                    self.watch();
                }
                self.0.signal.as_fd()
            }
        }
    }

    /// From now on the descriptor tells what there is.
    fn watch(&self) {
        let mut state = self.0.state.lock();
        if !std::mem::replace(&mut state.is_watched, true) && (!state.done.is_empty() || state.is_woken) {
            self.signal(&mut state);
        }
    }

    /// How many calls are under way or wait to be taken out.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let queue = rs_script::Queue::new(10)?;
    /// client.submit_command(&queue, 1, "PING")?;
    /// assert_eq!(queue.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> usize {
        if self.check_process().is_err() { 0 } else { self.0.state.lock().taken() }
    }

    /// An error in a child of the process that made it: who was at it then has left it locked.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.0.signal.process.check("queue")
    }

    /// Whether nothing is under way and nothing waits to be taken out.
    ///
    /// ```
    /// assert!(rs_script::Queue::new(10)?.is_empty());
    /// # Ok::<(), rs_script::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes calls on; none of them if there is no room for all.
    pub(crate) fn accept(
        &self,
        client: usize,
        tags: impl ExactSizeIterator<Item = u64>,
        tickets: &mut impl Extend<Ticket>,
    ) -> Result<()> {
        let mut state = self.0.state.lock();
        if state.closed {
            return Err(Error::new(Status::Closed, "the queue is closed; nothing was sent"));
        }
        let taken = state.taken();
        if tags.len() > self.0.capacity - taken {
            let text = format!(
                "the queue is full: {taken} of {} calls are under way or wait to be taken out; nothing was sent",
                self.0.capacity
            );
            return Err(Error::new(Status::QueueFull, text));
        }
        let State { accepted, tags: index, serial, .. } = &mut *state;
        tickets.extend(tags.map(|tag| {
            *serial += 1;
            let serial = *serial;
            let place = accepted.insert(Accepted { tag, client, serial });
            index.insert(place, hash_of_tag(client, tag));
            Ticket { place, serial }
        }));
        Ok(())
    }

    /// Completes calls; those that have been completed already stay as they were.
    pub(crate) fn complete(&self, calls: impl Iterator<Item = (Ticket, Result<Reply>, Option<Reply>)>) {
        self.complete_measured(calls.map(|(ticket, result, arrived)| (ticket, result, arrived, None)));
    }

    /// The same, with what each has cost where that is to be told.
    pub(crate) fn complete_measured(&self, calls: impl Iterator<Item = Measured>) {
        let mut state = self.0.state.lock();
        let before = state.done.len();
        for (ticket, result, arrived, cost) in calls {
            if let Some(tag) = state.remove(ticket) {
                state.done.push_back(Completion { tag, result, arrived, cost });
            }
        }
        let count = state.done.len() - before;
        // Who looks after the calls takes the completions out next.
        if before == 0 && count > 0 && state.driving == 0 {
            self.signal(&mut state);
        }
        drop(state);
        match count {
            0 => {}
            1 => self.0.filled.notify_one(),
            _ => self.0.filled.notify_all(),
        }
    }

    /// The calls under way that were submitted to this client with this tag, in that order; mostly there is one.
    pub(crate) fn with_tag(&self, client: usize, tag: u64) -> SmallVec<[Ticket; 1]> {
        let state = self.0.state.lock();
        let mut tickets: SmallVec<_> = state
            .tags
            .find(hash_of_tag(client, tag))
            .map(|place| (place, &state.accepted[place]))
            .filter(|(_, accepted)| (accepted.client, accepted.tag) == (client, tag))
            .map(|(place, accepted)| Ticket { place, serial: accepted.serial })
            .collect();
        tickets.reverse();
        tickets
    }

    /// Whether two handles are of the same queue.
    pub(crate) fn is(&self, other: &Queue) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Completions that were taken out and keep their places: what is not kept of them goes back to the front, in whatever
/// way this ends.
pub(crate) struct Trial<'a> {
    queue: &'a Queue,
    taken: Vec<Completion>,
}

impl Trial<'_> {
    /// Takes up to `max` more, as [`Queue::poll`] does, and gives them.
    pub(crate) fn take(&mut self, max: usize, timeout: Duration) -> &mut [Completion] {
        let before = self.taken.len();
        let (count, mut state) = self.queue.take(&mut self.taken, max, timeout);
        state.lent += count;
        drop(state);
        &mut self.taken[before..]
    }

    /// Ends it: the first `count` are out for good.
    pub(crate) fn keep(mut self, count: usize) {
        let mut kept = std::mem::take(&mut self.taken);
        self.queue.put_back(kept.len(), kept.split_off(count));
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.queue.put_back(self.taken.len(), std::mem::take(&mut self.taken));
        }
    }
}

impl State {
    /// Places that are taken.
    fn taken(&self) -> usize {
        self.accepted.len() + self.done.len() + self.lent
    }

    fn remove(&mut self, ticket: Ticket) -> Option<u64> {
        let accepted = self.accepted.get(ticket.place)?;
        if accepted.serial != ticket.serial {
            return None;
        }
        self.tags.remove(ticket.place);
        Some(self.accepted.remove(ticket.place).tag)
    }
}

fn hash_of_tag(client: usize, tag: u64) -> u64 {
    hash_of(hash_of(client as u64) ^ tag)
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({} of {})", self.len(), self.0.capacity)
    }
}
