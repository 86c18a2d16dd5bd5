//! One connection shared by any number of threads, none of them its own.
//!
//! Whoever waits for a reply while nobody reads becomes the reader: it reads for all, hands each caller its reply, and
//! passes the role on when its own has come. Whoever has bytes to send while nobody writes becomes the writer, and
//! sends what others queue meanwhile. So a lone caller does all its I/O itself, in one write and one read, and
//! concurrent callers share both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use slab::Slab;

use crate::config::Config;
use crate::deadlines::Deadlines;
use crate::defect::contain;
use crate::driver::Waker;
use crate::error::{Error, Result, Status};
use crate::ffi::fork;
use crate::index::Index;
use crate::net::Socket;
use crate::net::address::Address;
use crate::net::connect::{Established, connect};
use crate::request::Request;
use crate::resp::{Payload, Pool, Reply};
use crate::session::handshake::{Handshake, Next, Purpose};
use crate::session::{Counters, Facts, Finished, Session};
use crate::submit::Submitted;

mod submitted;
mod transfer;

pub(crate) use submitted::{Outcome, Watch};
use transfer::{Tls, Wait};

/// A connection idle for longer than this is looked at before it is used: the server may have closed it.
const IDLE_TRUST: Duration = Duration::from_millis(1);

/// A yield of the processor that takes longer went to somebody else's work: the next [`GATHER_PAUSE`] writes do without.
const GATHER_MAX: Duration = Duration::from_millis(1);
const GATHER_PAUSE: u32 = 100;

/// The caller to pass a role to is looked for among so many who are next.
const LOOK_AHEAD: usize = 64;

/// What sleepers are found by.
const SLEEPS: u64 = 0;

/// How a call on a link ends.
pub(crate) enum End {
    /// With a reply or an error of the session.
    Finished(Finished<usize>),
    /// The link is not usable: nothing was sent, take another.
    Unusable(Box<Request>),
    /// The deadline passed; the reply will be thrown away. With the replies of a pipeline that did arrive.
    Late(Error, Option<Box<Payload>>),
}

/// A call that was sent, and whose reply is still to be waited for.
#[must_use = "a call that is not waited for keeps its place for ever"]
pub(crate) struct Started {
    place: usize,
    key: usize,
    heard_before: u64,
}

/// A connection to one server.
pub(crate) struct Link {
    socket: Socket,
    address: Address,
    /// Silence for longer than this after a missed deadline means that the connection is dead.
    stall: Duration,
    usable: AtomicBool,
    /// The process that connected: a child of fork shares the socket, and must not end it for its parent.
    process: u32,
    shared: Mutex<Shared>,
}

struct Shared {
    session: Session<usize>,
    places: Slab<Place>,
    /// Condition variables to be used again.
    conditions: Vec<Arc<Condvar>>,
    tls: Option<Tls>,
    /// A thread reads.
    reading: bool,
    /// The reader sleeps until the socket has something for it.
    parked: bool,
    /// A thread writes.
    writing: bool,
    /// Writes to come that do not wait for other callers.
    ungathered: u32,
    /// The socket took no more when the last writer left.
    blocked: bool,
    /// When the last byte came, or shortly before.
    heard: Instant,
    /// A deadline was missed and no byte came since.
    suspect: bool,
    /// Why the connection ended.
    cause: Option<Error>,
    /// The places of callers that sleep, all under one hash: any of them will do.
    sleepers: Index,
    /// Calls in flight that were submitted: nobody waits for them.
    submitted: usize,
    /// Their places by ticket.
    tickets: Index,
    deadlines: Deadlines,
    /// Those of them that are over, to be handed out without the lock.
    completed: Vec<(Submitted, Outcome)>,
    /// Whom to wake when such calls have nobody who reads or writes for them.
    waker: Option<Arc<Waker>>,
    /// What the waker's thread polls the socket for.
    watched: Watch,
}

/// Where a caller waits and its reply is put.
#[derive(Default)]
struct Place {
    finished: Option<Finished<usize>>,
    /// Present while the caller sleeps.
    asleep: Option<Arc<Condvar>>,
    /// Present where there is no caller that waits: what to complete, and the session's key.
    submitted: Option<(Submitted, usize)>,
}

impl Link {
    /// Connects and shakes hands.
    pub(crate) fn open(
        config: &Config,
        address: &Address,
        facts: Arc<Facts>,
        pool: Arc<Pool>,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<Link> {
        let now = Instant::now();
        let deadline = deadline.min(now + config.connect_timeout);
        let Established { socket, tls } = connect(config, address, deadline)?;
        let tls = tls.map(Tls::new);
        let link = Link {
            socket,
            address: address.clone(),
            stall: config.connect_timeout,
            usable: AtomicBool::new(true),
            process: fork::generation(),
            shared: Mutex::new(Shared {
                session: Session::new(config.limits, Arc::clone(&facts), Arc::clone(&pool)),
                places: Slab::new(),
                conditions: Vec::new(),
                tls,
                reading: false,
                parked: false,
                writing: false,
                ungathered: 0,
                blocked: false,
                heard: now,
                suspect: false,
                cause: None,
                sleepers: Index::default(),
                submitted: 0,
                tickets: Index::default(),
                deadlines: Deadlines::default(),
                completed: Vec::new(),
                waker: None,
                watched: Watch::default(),
            }),
        };
        if link.shake_hands(config, &facts, purpose, deadline)? {
            return Ok(link);
        }
        // What spoilt this connection is among the facts now, and the next handshake does without it.
        Link::open(config, address, facts, pool, purpose, deadline)
    }

    /// Says what is to be said first; `false` when the connection is spoilt by it.
    fn shake_hands(
        &self,
        config: &Config,
        facts: &Facts,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<bool> {
        let mut handshake = Handshake::new(config, facts, purpose);
        let mut next = Some(handshake.start());
        while let Some(request) = next {
            let replies = match self.call(request, Instant::now(), deadline) {
                End::Finished(Finished { result: Ok(payload), .. }) => Reply::new(payload),
                End::Late(..) => return Err(self.no_handshake("the server did not answer in time")),
                _ => {
                    return Err(match self.cause() {
                        Some(cause) if cause.status() == Status::Tls => cause,
                        Some(cause) => self.no_handshake(cause.message()),
                        None => self.no_handshake("the connection was closed"),
                    });
                }
            };
            next = match handshake.judge(replies.root()).map_err(|error| error.context(&self.address))? {
                Next::Ready => None,
                Next::Say(request) => Some(request),
                Next::Reopen => return Ok(false),
            };
        }
        Ok(true)
    }

    fn no_handshake(&self, reason: &str) -> Error {
        Error::new(Status::Connect, format!("no handshake with {}: {reason}", self.address))
    }

    /// Whether new calls may be put on this link.
    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Acquire)
    }

    /// Whether a deadline was missed and no byte came since.
    pub(crate) fn is_suspect(&self) -> bool {
        self.shared.lock().suspect
    }

    pub(crate) fn counters(&self) -> (Counters, usize) {
        let shared = self.shared.lock();
        (shared.session.counters(), shared.session.in_flight())
    }

    pub(crate) fn forget_scripts(&self) {
        self.shared.lock().session.forget_scripts();
    }

    /// Ends every call in flight; the link is of no use any more.
    pub(crate) fn close(&self, cause: &Error) {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        self.fail(&mut shared, cause);
        self.hand_out(&mut shared);
    }

    /// Why the link is of no use any more.
    pub(crate) fn cause(&self) -> Option<Error> {
        self.shared.lock().cause.clone()
    }

    /// Sends a request and waits for its reply, doing the I/O on this thread wherever no other does it already.
    pub(crate) fn call(&self, request: Box<Request>, now: Instant, deadline: Instant) -> End {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        match self.begin(&mut shared, request, now) {
            Ok(started) => self.end(&mut shared, started, now, deadline),
            Err(unsent) => End::Unusable(unsent),
        }
    }

    /// The first half of [`Link::call`], for a caller that has more to send elsewhere before it waits: sends what the socket takes.
    /// [`Link::wait`] must follow.
    pub(crate) fn start(
        &self,
        request: Box<Request>,
        now: Instant,
    ) -> std::result::Result<Started, Box<Request>> {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        let started = self.begin(&mut shared, request, now);
        // It may be long before this caller comes back.
        self.hand_out(&mut shared);
        started
    }

    /// Waits for a call that was started, but no longer than `until`, and does not give it up then. Whether it is over.
    pub(crate) fn linger(&self, started: &Started, now: Instant, until: Instant) -> bool {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        let is_over = self.drive(&mut shared, started.place, now, until);
        self.leave(&mut shared);
        is_over
    }

    /// The second half of [`Link::call`].
    pub(crate) fn wait(&self, started: Started, now: Instant, deadline: Instant) -> End {
        let _defect = CloseOnPanic::new(self);
        self.end(&mut self.shared.lock(), started, now, deadline)
    }

    #[inline]
    fn begin(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        request: Box<Request>,
        now: Instant,
    ) -> std::result::Result<Started, Box<Request>> {
        if !self.is_usable() || !self.is_alive(shared, now) {
            return Err(request);
        }
        if shared.session.is_idle() {
            shared.heard = now;
        }
        let heard_before = shared.session.counters().bytes_received;
        let place = shared.places.insert(Place::default());
        let key = shared.session.submit(request, place);
        // A call that is refused at once has finished already.
        self.deliver(shared);
        // A reader that is awake sends before it sleeps; a writer sends before it leaves.
        if !shared.writing && (shared.parked || !shared.reading) {
            if shared.reading && shared.session.in_flight() > 2 {
                gather(shared);
            }
            self.flush(shared);
        }
        Ok(Started { place, key, heard_before })
    }

    #[inline]
    fn end(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        started: Started,
        now: Instant,
        deadline: Instant,
    ) -> End {
        let Started { place: me, key, heard_before } = started;
        self.drive(shared, me, now, deadline);
        let end = match shared.places[me].finished.take() {
            Some(finished) => End::Finished(finished),
            None => {
                let (arrived, queued) = shared.session.abandon(key);
                shared.suspect |= shared.session.counters().bytes_received == heard_before;
                End::Late(self.late(deadline.saturating_duration_since(now), queued), arrived)
            }
        };
        shared.places.remove(me);
        self.leave(shared);
        end
    }

    /// What a caller does last: it hands over what came for others, and the reader's role.
    #[inline]
    fn leave(&self, shared: &mut MutexGuard<'_, Shared>) {
        if !shared.reading {
            pass_on(shared);
        }
        if !shared.completed.is_empty() {
            self.hand_out(shared);
        }
    }

    /// Does what is to be done until a call is over; `false` when the time came first.
    #[inline]
    fn drive(&self, shared: &mut MutexGuard<'_, Shared>, me: usize, now: Instant, until: Instant) -> bool {
        let mut in_time = true;
        while in_time && shared.places[me].finished.is_none() {
            in_time = if !shared.reading {
                self.read(shared, me, now, until)
            } else if shared.blocked && !shared.writing {
                self.unblock(shared, until)
            } else {
                sleep(shared, me, until)
            };
        }
        shared.places[me].finished.is_some()
    }

    fn late(&self, waited: Duration, queued: bool) -> Error {
        let missed = format!("no reply from {} within {} ms", self.address, waited.as_millis());
        if queued {
            let text = "the call was sent, so the server may have executed it or may yet do so";
            Error::new(Status::Indeterminate, format!("{missed}; {text}"))
        } else {
            Error::new(Status::Timeout, format!("{missed}; nothing was sent that it could execute"))
        }
    }

    /// Looks at a connection that has been idle, or has let a caller down, before a call is put on it.
    #[inline]
    fn is_alive(&self, shared: &mut MutexGuard<'_, Shared>, now: Instant) -> bool {
        if now < shared.heard + IDLE_TRUST || shared.reading {
            return true;
        }
        let quiet = now.saturating_duration_since(shared.heard);
        // As the reader, so that no other caller reads at the same time.
        shared.reading = true;
        // Behind late replies, that nobody waits for any more, there may be the end.
        while self.is_usable() && self.receive(shared, now, Wait::Until(now)) {}
        shared.reading = false;
        pass_on(shared);
        self.hand_out(shared);
        if shared.suspect && !shared.session.is_idle() && quiet > self.stall {
            // Those who wait on it go on waiting; new calls take a new connection.
            self.usable.store(false, Ordering::Release);
        }
        self.is_usable()
    }

    /// Reads until the reply for `me` is there; `false` when the deadline passed before, be it with bytes of others still
    /// coming. `now`: when the call was made; the clock is read again only if one read is not enough.
    fn read(&self, shared: &mut MutexGuard<'_, Shared>, me: usize, now: Instant, deadline: Instant) -> bool {
        shared.reading = true;
        let mut in_time = true;
        let mut clock = Some(now);
        while in_time && shared.places[me].finished.is_none() {
            // Before the write: others may submit meanwhile, and leave the sending to the reader.
            self.hand_out(shared);
            if !shared.writing && !shared.blocked {
                self.flush(shared);
            }
            // A failed write has ended every call.
            if shared.places[me].finished.is_none() {
                let now = clock.take().unwrap_or_else(Instant::now);
                in_time = self.receive(shared, now, Wait::Until(deadline)) && now < deadline;
            }
        }
        shared.reading = false;
        in_time
    }

    fn lost(&self, shared: &mut Shared, reason: &str) {
        let reason = format!("the connection to {} was lost: {reason}", self.address);
        self.fail(shared, &Error::new(Status::Connect, reason));
    }

    fn fail(&self, shared: &mut Shared, cause: &Error) {
        self.fail_for_reply(shared, cause, None);
    }

    /// The same where the reply to one call is to blame: `owner` is that call's status.
    fn fail_for_reply(&self, shared: &mut Shared, cause: &Error, owner: Option<Status>) {
        self.usable.store(false, Ordering::Release);
        shared.cause.get_or_insert_with(|| cause.clone());
        self.socket.shutdown();
        shared.session.fail(cause.status(), cause.message(), owner);
        self.deliver(shared);
    }

    /// Ends every call in flight after a panic, whatever that has left half done.
    pub(crate) fn close_by_defect(&self) {
        let text =
            format!("a defect of rs_script ended the connection to {}; please report it", self.address);
        // It may happen once more: then those that are lost are completed when they are dropped.
        contain(|| self.close(&Error::new(Status::Internal, text)));
        contain(|| self.end_lost());
    }

    /// Ends the calls that the session does not know any more.
    fn end_lost(&self) {
        let mut shared = self.shared.lock();
        let places = shared.places.iter().filter(|(_, place)| place.finished.is_none());
        for key in places.map(|(key, _)| key).collect::<Vec<_>>() {
            if shared.places[key].submitted.is_some() {
                self.abandon_lost(&mut shared, key);
                continue;
            }
            let place = &mut shared.places[key];
            let result = Err(Error::defect());
            place.finished = Some(Finished { tag: key, request: Box::default(), result, arrived: None });
            if let Some(condition) = &place.asleep {
                condition.notify_one();
            }
        }
        self.hand_out(&mut shared);
    }

    /// Puts finished calls where their callers find them, and wakes those who sleep.
    fn deliver(&self, shared: &mut Shared) {
        while let Some(finished) = shared.session.next_finished() {
            if shared.submitted > 0 && shared.places[finished.tag].submitted.is_some() {
                if let Some((call, _)) = shared.take_submitted(finished.tag) {
                    shared.completed.push((call, Outcome::Finished(finished)));
                }
                continue;
            }
            let place = &mut shared.places[finished.tag];
            place.finished = Some(finished);
            if let Some(condition) = &place.asleep {
                condition.notify_one();
            }
        }
    }
}

/// A defect of this library must not leave others waiting for a reader that is gone.
struct CloseOnPanic<'a> {
    link: &'a Link,
    /// A panic of the host's own is no defect: its destructors may call too.
    was_panicking: bool,
}

impl<'a> CloseOnPanic<'a> {
    #[inline]
    fn new(link: &'a Link) -> Self {
        CloseOnPanic { link, was_panicking: thread::panicking() }
    }
}

impl Drop for CloseOnPanic<'_> {
    #[inline]
    fn drop(&mut self) {
        if thread::panicking() && !self.was_panicking {
            self.link.close_by_defect();
        }
    }
}

/// Lets other callers that are about to run queue their calls first, so that one write carries them all. They leave the
/// writing to this thread meanwhile.
fn gather(shared: &mut MutexGuard<'_, Shared>) {
    if shared.ungathered > 0 {
        shared.ungathered -= 1;
        return;
    }
    let before = Instant::now();
    shared.writing = true;
    MutexGuard::unlocked(shared, thread::yield_now);
    shared.writing = false;
    if before.elapsed() > GATHER_MAX {
        shared.ungathered = GATHER_PAUSE;
    }
}

/// Sleeps until woken with a reply or a role; `false` when the deadline passed.
fn sleep(shared: &mut MutexGuard<'_, Shared>, me: usize, deadline: Instant) -> bool {
    let condition = shared.conditions.pop().unwrap_or_default();
    shared.places[me].asleep = Some(Arc::clone(&condition));
    shared.sleepers.insert(me, SLEEPS);
    let in_time = !condition.wait_until(shared, deadline).timed_out();
    shared.sleepers.remove(me);
    shared.places[me].asleep = None;
    shared.conditions.push(condition);
    in_time
}

/// Wakes the caller whose reply comes next, to become the reader, or any if that is far. Callers that are busy elsewhere, with the rest of their
/// pipeline on another server, are passed over.
fn pass_on(shared: &Shared) {
    if shared.sleepers.is_empty() {
        return shared.wake_if_unattended();
    }
    let mut next = shared.session.awaited(LOOK_AHEAD);
    match next.find_map(|&next| shared.places[next].asleep.as_ref()) {
        Some(condition) => drop(condition.notify_one()),
        None => wake_one(shared),
    }
}

/// Wakes any caller that sleeps, to become the writer.
fn wake_one(shared: &Shared) {
    let mut sleepers = shared.sleepers.find(SLEEPS);
    if let Some(condition) = sleepers.find_map(|place| shared.places[place].asleep.as_ref()) {
        condition.notify_one();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.process == fork::generation() {
            self.socket.shutdown();
        }
    }
}
