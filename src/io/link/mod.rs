//! One connection shared by any number of threads, none of them its own.
//!
//! Whoever waits for a reply while nobody reads becomes the reader: it reads for all, hands each caller its reply, and
//! passes the role on when its own has come. Whoever has bytes to send while nobody writes becomes the writer, and
//! sends what others queue meanwhile. So a lone caller does all its I/O itself, in one write and one read, and
//! concurrent callers share both. Where nobody waits, for attempts of the engine, the reactor stands in.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use slab::Slab;

use crate::base::index::Index;
use crate::base::threads::{self, ThreadId};
use crate::config::Config;
use crate::core::{AttemptId, ConnId, Ended};
use crate::error::{Error, Reason, Status};
use crate::ffi::sys::fork::Process;
use crate::ffi::sys::lock::{Condvar, Mutex, MutexGuard};
use crate::ffi::sys::readiness::{Interest, Poller, Watched};
use crate::metrics::meter::{Meter, Metered};
use crate::net::Socket;
use crate::net::address::Address;
use crate::request::Request;
use crate::resp::{Payload, Pool};
use crate::session::{Counters, Facts, Finished, Session};

mod attempts;
mod defect;
mod news;
mod silence;
mod transfer;

use defect::CloseOnPanic;
pub(crate) use news::{Listener, News};
use silence::Silence;
use transfer::{Tls, Wait};

/// A yield of the processor that takes longer went to somebody else's work: the next [`GATHER_PAUSE`] writes do
/// without.
const GATHER_MAX: Duration = Duration::from_millis(1);
const GATHER_PAUSE: u32 = 100;

/// The caller to pass a role to is looked for among so many who are next.
const LOOK_AHEAD: usize = 64;

/// Room for so much news is kept.
const KEPT_NEWS_MAX: usize = 4096;

/// What sleepers are found by.
const SLEEPS: u64 = 0;

/// Whose a request in the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    /// A caller's that waits at this place.
    Caller(usize),
    /// The engine's.
    Attempt(AttemptId),
}

/// How a blocking call on a link ends.
pub(crate) enum End {
    /// With a reply or an error of the session.
    Finished(Ended),
    /// The link is not usable: nothing was sent, take another.
    Unusable(Box<Request>),
    /// The deadline passed; the reply will be thrown away. With the replies of a pipeline that did arrive, and what
    /// is measured of the call.
    Late(Error, Option<Box<Payload>>, Option<Box<Metered>>),
}

/// What a link is made of.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) conn: ConnId,
    /// Which of the client's engines it is of: see [`super::Core`].
    pub(crate) epoch: u64,
    pub(crate) address: &'a Address,
    pub(crate) facts: Arc<Facts>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) poller: &'a Arc<Poller>,
    pub(crate) owner: Weak<dyn Listener>,
}

/// A connection to one server.
pub(crate) struct Link {
    socket: Watched<Socket>,
    conn: ConnId,
    epoch: u64,
    /// Whom to tell of what has become of attempts.
    owner: Weak<dyn Listener>,
    address: Address,
    /// The address, for errors.
    name: Arc<str>,
    /// What measures the client's calls.
    meter: Option<Arc<Meter>>,
    /// Silence for as long as this, and a missed deadline in it, mean that the connection is dead.
    silence_timeout: Duration,
    usable: AtomicBool,
    /// The process that connected: a child of fork shares the socket, and must not end it for its parent.
    process: Process,
    shared: Mutex<Shared>,
}

struct Shared {
    session: Session<Tag>,
    places: Slab<Place>,
    /// Condition variables to be used again.
    conditions: Vec<Arc<Condvar>>,
    tls: Option<Tls>,
    /// A thread reads.
    reading: bool,
    /// The thread that reads, while it tells the engine of ends: wakers that come of that may make calls.
    telling: Option<ThreadId>,
    /// The reader sleeps until the socket has something for it.
    parked: bool,
    /// A thread writes.
    writing: bool,
    /// Writes to come that do not wait for other callers.
    ungathered: u32,
    /// There was more to send when the last writer left: the socket took no more, or it had written for long enough.
    blocked: bool,
    /// When the last byte came, or shortly before; or when it was seen that none had come and that it was open.
    heard: Instant,
    /// Calls are in flight, and no byte came since.
    silence: Option<Silence>,
    /// Why the connection ended.
    cause: Option<Error>,
    /// The places of callers that sleep, all under one hash: any of them will do.
    sleepers: Index,
    /// Attempts of the engine in flight: nobody waits for them here.
    attempts: usize,
    /// Those of them that are over, and what else has come to light, to be handed out without the lock.
    completed: Vec<News>,
    /// Empty: room to hand them out with.
    news: Vec<News>,
    /// It is to be closed when nobody waits for anything any more.
    retired: bool,
    /// The engine has been told that it takes no new calls.
    told_lost: bool,
    /// The table has been told that it can let go of it.
    told_gone: bool,
}

/// Where a caller waits and its reply is put.
#[derive(Default)]
struct Place {
    finished: Option<Ended>,
    /// Present while the caller sleeps.
    asleep: Option<Arc<Condvar>>,
}

impl Link {
    /// Takes over a connected socket. A TLS handshake is done together with the first exchange.
    pub(crate) fn new(
        parts: Parts<'_>,
        socket: OwnedFd,
        tls: Option<Box<ClientConnection>>,
        now: Instant,
    ) -> std::io::Result<Link> {
        let key = usize::try_from(parts.conn.0).unwrap_or(usize::MAX - 1);
        Ok(Link {
            socket: Watched::new(parts.poller, Socket::new(socket)?, key),
            conn: parts.conn,
            epoch: parts.epoch,
            owner: parts.owner,
            address: parts.address.clone(),
            name: parts.address.to_string().into(),
            meter: parts.config.meter.clone(),
            silence_timeout: parts.config.silence_timeout,
            usable: AtomicBool::new(true),
            process: Process::this(),
            shared: Mutex::new(Shared {
                session: Session::new(parts.config.limits, parts.facts, parts.pool),
                places: Slab::new(),
                conditions: Vec::new(),
                tls: tls.map(Tls::new),
                reading: false,
                telling: None,
                parked: false,
                writing: false,
                ungathered: 0,
                blocked: false,
                heard: now,
                silence: None,
                cause: None,
                sleepers: Index::default(),
                attempts: 0,
                completed: Vec::new(),
                news: Vec::new(),
                retired: false,
                told_lost: false,
                told_gone: false,
            }),
        })
    }

    /// Whether new calls may be put on this link.
    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Acquire)
    }

    pub(crate) fn conn(&self) -> ConnId {
        self.conn
    }

    /// The server that it leads to.
    #[inline]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a deadline was missed and no byte came since.
    pub(crate) fn is_suspect(&self) -> bool {
        self.shared.lock().is_suspect()
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

    /// The same; adds what the engine is to be told.
    pub(crate) fn end_by<N: From<News>>(&self, cause: &Error, news: &mut Vec<N>) {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        self.fail(&mut shared, cause);
        // It has said so itself, and has let go of it.
        (shared.told_lost, shared.told_gone) = (true, true);
        self.tell(&mut shared, news);
    }

    /// Sends a request and waits for its reply, doing the I/O on this thread wherever no other does it already.
    pub(crate) fn call(&self, request: Box<Request>, now: Instant, deadline: Instant) -> End {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        if shared.reading {
            shared.stop_reading_within();
        }
        match self.begin(&mut shared, request, now) {
            Ok(started) => self.end(&mut shared, started, (now, deadline)),
            Err(unsent) => {
                self.hand_out(&mut shared);
                End::Unusable(unsent)
            }
        }
    }

    #[inline(always)]
    fn begin(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        request: Box<Request>,
        now: Instant,
    ) -> std::result::Result<(usize, usize), Box<Request>> {
        if !self.is_usable() || !self.is_alive(shared, now) {
            return Err(request);
        }
        shared.expect_bytes(now);
        let place = shared.places.insert(Place::default());
        let key = shared.session.submit(request, Tag::Caller(place));
        // A call that is refused at once has finished already.
        self.deliver(shared);
        // A reader that is awake sends before it sleeps; a writer sends before it leaves.
        if !shared.writing && (shared.parked || !shared.reading) {
            if shared.reading && shared.session.in_flight() > 2 {
                gather(shared);
            }
            self.flush(shared);
        }
        Ok((place, key))
    }

    #[inline(always)]
    fn end(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        (me, key): (usize, usize),
        (asked, deadline): (Instant, Instant),
    ) -> End {
        self.drive(shared, me, Some(asked), deadline);
        let Place { finished, .. } = shared.places.remove(me);
        let end = match finished {
            Some(finished) => End::Finished(finished),
            None => self.give_up(shared, key, asked, deadline.saturating_duration_since(asked)),
        };
        self.leave(shared);
        end
    }

    #[cold]
    fn give_up(&self, shared: &mut Shared, key: usize, asked: Instant, waited: Duration) -> End {
        let index = shared.session.unanswered(key);
        let mut metered = self.meter.as_ref().zip(shared.session.request(key)).map(|(meter, request)| {
            let mut metered = Metered::of(meter, request, asked);
            metered.spent.attempts = 1;
            metered.spent.sent = (request.size_sent() as u64).saturating_add_signed(request.extra);
            metered.node = Some(Arc::clone(&self.name));
            metered
        });
        let (arrived, queued) = shared.give_up(key, Instant::now(), Duration::ZERO);
        if let (Some(metered), Some(arrived)) = (&mut metered, &arrived) {
            metered.spent.received = arrived.received as u64;
        }
        End::Late(self.late(waited, queued, index), arrived, metered)
    }

    /// What a caller does last: it hands over what came for others, and the reader's role.
    #[inline(always)]
    fn leave(&self, shared: &mut MutexGuard<'_, Shared>) {
        if !shared.reading {
            self.pass_on(shared);
        } else if shared.blocked && !shared.writing {
            // Another caller takes over the writing, or the reader does when it wakes.
            wake_one(shared);
        }
        if shared.has_news(self.is_usable()) {
            self.hand_out(shared);
        }
    }

    /// Does what is to be done until a call is over, or its time is. `clock`: the time, if it is known.
    #[inline]
    fn drive(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        me: usize,
        mut clock: Option<Instant>,
        until: Instant,
    ) {
        let mut in_time = true;
        while in_time && shared.places[me].finished.is_none() {
            // Known for the first turn alone: the others come after a sleep.
            let clock = clock.take();
            in_time = if !shared.reading {
                self.read(shared, me, clock, until)
            } else if shared.blocked && !shared.writing {
                self.unblock(shared, until)
            } else {
                sleep(shared, me, until)
            };
        }
    }

    fn late(&self, waited: Duration, queued: bool, index: Option<usize>) -> Error {
        let missed = format!("no reply from {} within {} ms", self.address, waited.as_millis());
        let error = if queued {
            let text = "the call was sent, so the server may have executed it or may yet do so";
            Error::indeterminate(Reason::Deadline, format!("{missed}; {text}"))
        } else {
            Error::new(Status::Timeout, format!("{missed}; nothing was sent that it could execute"))
        };
        let error = error.on(&self.name);
        match index {
            Some(index) => error.of_item(index),
            None => error,
        }
    }

    /// Reads until the reply for `me` is there; `false` when the deadline passed before, be it with bytes of others
    /// still coming. `clock`: the time, if it is known; it is read again only if one read is not enough.
    #[inline(always)]
    fn read(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        me: usize,
        mut clock: Option<Instant>,
        deadline: Instant,
    ) -> bool {
        shared.reading = true;
        let mut in_time = true;
        while in_time && shared.places[me].finished.is_none() {
            // Before the write: others may submit meanwhile, and leave the sending to the reader.
            if shared.has_news(self.is_usable()) && !self.hand_out_and_read_on(shared) {
                return true;
            }
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

    fn lost(&self, shared: &mut Shared, why: Reason, reason: &str) {
        let cause = match &shared.tls {
            Some(tls) if tls.is_handshaking() => {
                let text =
                    format!("TLS with {} failed: {reason}; {}", self.address, crate::net::tls::NOT_TLS);
                Error::new(Status::Tls, text)
            }
            _ => Error::because(
                Status::Connect,
                why,
                format!("the connection to {} was lost: {reason}", self.address),
            ),
        };
        self.fail(shared, &cause);
    }

    fn fail(&self, shared: &mut Shared, cause: &Error) {
        self.fail_for_reply(shared, cause, None);
    }

    /// The same where the reply to one call is to blame: `owner` is that call's status.
    fn fail_for_reply(&self, shared: &mut Shared, cause: &Error, owner: Option<Status>) {
        self.usable.store(false, Ordering::Release);
        shared.cause.get_or_insert_with(|| cause.clone());
        // Its end would be told by the reactor again and again.
        let _ = self.socket.watch(Interest::NONE);
        self.socket.shutdown();
        shared.session.end(cause, owner);
        self.deliver(shared);
    }

    /// Says in the errors of a call which server they are of.
    #[inline]
    fn name_server(&self, finished: &mut Finished<Tag>) {
        match &mut finished.result {
            Ok(payload) if payload.notes.is_empty() => {}
            Ok(payload) => payload.of_server(&self.name),
            Err(error) => {
                error.set_node(&self.name);
                if let Some(arrived) = &mut finished.arrived {
                    arrived.of_server(&self.name);
                }
            }
        }
    }

    /// Puts finished calls where their callers find them, and wakes those who sleep.
    #[inline]
    fn deliver(&self, shared: &mut Shared) {
        if !shared.session.is_handed_out() {
            self.deliver_finished(shared);
        }
    }

    fn deliver_finished(&self, shared: &mut Shared) {
        if let Some(policy) = shared.session.take_eviction() {
            shared.completed.push(News::Evicts(self.conn, policy));
        }
        while let Some(mut finished) = shared.session.next_finished() {
            self.name_server(&mut finished);
            let Finished { tag, request, result, arrived } = finished;
            let ended = Ended { request, result, arrived };
            match tag {
                Tag::Attempt(attempt) => {
                    shared.attempts -= 1;
                    shared.completed.push(News::Ended(attempt, ended));
                }
                Tag::Caller(place) => {
                    let place = &mut shared.places[place];
                    place.finished = Some(ended);
                    if let Some(condition) = &place.asleep {
                        condition.notify_one();
                    }
                }
            }
        }
    }

    /// Tells the engine of attempts that are over, and of what has become of the connection, without the lock.
    #[inline]
    fn hand_out(&self, shared: &mut MutexGuard<'_, Shared>) {
        if !shared.has_news(self.is_usable()) {
            return;
        }
        let mut news = std::mem::take(&mut shared.news);
        self.tell(shared, &mut news);
        MutexGuard::unlocked(shared, || {
            if let Some(owner) = self.owner.upgrade() {
                owner.take_news(self.epoch, &mut news);
            }
        });
        news.clear();
        if news.capacity() <= KEPT_NEWS_MAX {
            shared.news = news;
        }
    }

    /// The same as the reader; `false`: it is another thread by now. For a call from within this one has stopped, lest
    /// that wait for a reader which waits for it.
    fn hand_out_and_read_on(&self, shared: &mut MutexGuard<'_, Shared>) -> bool {
        let me = threads::this();
        shared.telling = Some(me);
        self.hand_out(shared);
        if shared.telling == Some(me) {
            shared.telling = None;
            return true;
        }
        !std::mem::replace(&mut shared.reading, true)
    }

    /// Before a call from within that will wait elsewhere: another is to read here, if this thread does.
    pub(crate) fn stop_reading_within(&self) {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        if shared.stop_reading_within() {
            self.pass_on(&mut shared);
        }
    }

    /// Puts down what the engine is to be told.
    fn tell<N: From<News>>(&self, shared: &mut Shared, news: &mut Vec<N>) {
        news.extend(shared.completed.drain(..).map(N::from));
        if !self.is_usable() && !shared.told_lost {
            (shared.told_lost, shared.retired) = (true, true);
            news.push(News::Lost(self.conn).into());
        }
        if shared.is_done() && !shared.told_gone {
            shared.told_gone = true;
            news.push(News::Gone(self.conn).into());
        }
    }

    /// Wakes the caller whose reply comes next, to become the reader, or any if that is far. Where no caller sleeps,
    /// the reactor is to attend to what is in flight.
    #[inline]
    fn pass_on(&self, shared: &mut Shared) {
        if shared.sleepers.is_empty() {
            self.attend(shared);
        } else {
            self.wake_next(shared);
        }
    }

    #[inline(never)]
    fn wake_next(&self, shared: &Shared) {
        let mut next = shared.session.awaited(LOOK_AHEAD);
        let next = next.find_map(|tag| match tag {
            Tag::Caller(place) => shared.places[*place].asleep.as_ref(),
            Tag::Attempt(_) => None,
        });
        match next {
            Some(condition) => condition.notify_one(),
            None => wake_one(shared),
        }
    }
}

impl Shared {
    /// Whether there is something to tell the engine.
    #[inline]
    fn has_news(&self, usable: bool) -> bool {
        !self.completed.is_empty() || !(usable || self.told_lost && self.told_gone)
    }

    /// Whether this thread was the reader, and in a waker; it is the reader no more.
    #[cold]
    fn stop_reading_within(&mut self) -> bool {
        let is_here = self.telling.is_some_and(|thread| thread == threads::this());
        if is_here {
            (self.telling, self.reading) = (None, false);
        }
        is_here
    }

    /// Whether nobody needs the connection any more.
    fn is_done(&self) -> bool {
        self.cause.is_some() || self.retired && self.attempts == 0 && self.places.is_empty()
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

/// Wakes any caller that sleeps, to become the writer.
fn wake_one(shared: &Shared) {
    let mut sleepers = shared.sleepers.find(SLEEPS);
    if let Some(condition) = sleepers.find_map(|place| shared.places[place].asleep.as_ref()) {
        condition.notify_one();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.process.is_this() {
            self.socket.shutdown();
        }
    }
}
