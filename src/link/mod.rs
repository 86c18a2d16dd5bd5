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

use crate::ffi::lock::{Condvar, Mutex, MutexGuard};
use slab::Slab;

use crate::config::Config;
use crate::deadlines::Deadlines;
use crate::driver::Waker;
use crate::error::{Error, Reason, Result, Status};
use crate::ffi::fork::Process;
use crate::index::Index;
use crate::net::address::Address;
use crate::net::connect::{Established, connect};
use crate::net::{Socket, TICK};
use crate::request::{Request, Shape};
use crate::resp::{Payload, Pool, Reply};
use crate::session::handshake::{Handshake, Next, Purpose};
use crate::session::{Counters, Facts, Finished, Session};
use crate::submit::Submitted;

mod defect;
mod silence;
mod submitted;
mod transfer;

use defect::CloseOnPanic;
use silence::Silence;
pub(crate) use submitted::{Outcome, Watch};
use transfer::{Tls, Wait};

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
}

/// A connection to one server.
pub(crate) struct Link {
    socket: Socket,
    address: Address,
    /// The address, for errors.
    name: Arc<str>,
    /// Silence for as long as this, and a missed deadline in it, mean that the connection is dead.
    silence_timeout: Duration,
    /// When hands had been shaken: no call on it is older.
    opened: Instant,
    usable: AtomicBool,
    /// What is learnt on this connection.
    facts: Arc<Facts>,
    /// The server has said that it is a replica, where a primary is wanted.
    demoted: AtomicBool,
    /// The process that connected: a child of fork shares the socket, and must not end it for its parent.
    process: Process,
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
    /// Calls are in flight, and no byte came since.
    silence: Option<Silence>,
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
        let mut link = Link {
            socket,
            address: address.clone(),
            name: address.to_string().into(),
            silence_timeout: config.silence_timeout,
            opened: now,
            usable: AtomicBool::new(true),
            facts: Arc::clone(&facts),
            demoted: AtomicBool::new(false),
            process: Process::this(),
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
                silence: None,
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
            link.opened = Instant::now();
            return Ok(link);
        }
        // What spoilt this connection is among its facts now, and the next handshake does without it.
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
            let replies = match self.say(request, config, deadline) {
                End::Finished(Finished { result: Ok(payload), .. }) => Reply::new(payload),
                End::Late(..) => {
                    return Err(self.no_handshake(Reason::Deadline, "the server did not answer in time"));
                }
                _ => {
                    return match self.cause() {
                        Some(cause) if matches!(cause.status(), Status::Tls | Status::Closed) => Err(cause),
                        // Not a word: it may not bear HELLO.
                        Some(_) if handshake.may_be_shunned() && self.counters().0.bytes_received == 0 => {
                            facts.note_shunned_hello();
                            Ok(false)
                        }
                        Some(cause) => Err(handshake
                            .refusal()
                            .map(|refusal| refusal.context(&self.address))
                            .unwrap_or_else(|| self.no_handshake(Reason::Connect, cause.message()))),
                        None => Err(self.no_handshake(Reason::Connect, "the connection was closed")),
                    };
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

    /// A call of the handshake. Nobody else knows of this connection yet, so it minds itself whether the client is
    /// closed.
    fn say(&self, request: Box<Request>, config: &Config, deadline: Instant) -> End {
        let start = Instant::now();
        let started = match self.start(request, start) {
            Ok(started) => started,
            Err(unsent) => return End::Unusable(unsent),
        };
        let mut now = start;
        while now < deadline && !self.linger(&started, now, deadline.min(now + TICK)) {
            if config.closing.is_set() {
                self.close(&Error::closed());
            }
            now = Instant::now();
        }
        self.wait(started, start, deadline)
    }

    fn no_handshake(&self, why: Reason, reason: &str) -> Error {
        Error::because(Status::Connect, why, format!("no handshake with {}: {reason}", self.address))
    }

    /// Whether new calls may be put on this link.
    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Acquire)
    }

    /// Takes no new calls: the server is a replica, and a connection made now may lead to the primary. Calls in flight stay.
    pub(crate) fn give_up_replica(&self) {
        self.demoted.store(true, Ordering::Relaxed);
        self.usable.store(false, Ordering::Release);
    }

    /// Whether it was given up because its server is a replica.
    pub(crate) fn leads_to_replica(&self) -> bool {
        self.demoted.load(Ordering::Relaxed)
    }

    /// What was learnt on this connection.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
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

    /// Why the link is of no use any more.
    pub(crate) fn cause(&self) -> Option<Error> {
        self.shared.lock().cause.clone()
    }

    /// Sends a request and waits for its reply, doing the I/O on this thread wherever no other does it already.
    pub(crate) fn call(&self, request: Box<Request>, now: Instant, deadline: Instant) -> End {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        // Whoever had to connect first, or waited for another to do so, has less time left than it had when the
        // call was made.
        let clock = now.max(self.opened);
        match self.begin(&mut shared, request, clock) {
            Ok(started) => self.end(&mut shared, started, Some(clock), (now, deadline)),
            Err(unsent) => End::Unusable(unsent),
        }
    }

    /// Asks the server something on the library's own account.
    pub(crate) fn ask(&self, arguments: &[&[u8]], deadline: Instant) -> Result<Reply> {
        self.ask_in(Shape::Single, &[arguments], deadline)
    }

    /// The same for several things in one write; the reply is an array.
    pub(crate) fn ask_all(&self, commands: &[&[&[u8]]], deadline: Instant) -> Result<Reply> {
        self.ask_in(Shape::Pipeline, commands, deadline)
    }

    fn ask_in(&self, shape: Shape, commands: &[&[&[u8]]], deadline: Instant) -> Result<Reply> {
        let mut request = Box::<Request>::default();
        request.reset(shape);
        commands.iter().for_each(|command| request.say(command));
        match self.call(request, Instant::now(), deadline) {
            End::Finished(Finished { result, .. }) => result.map(Reply::new),
            End::Late(error, _) => Err(error),
            End::Unusable(_) => Err(self.cause().unwrap_or_else(Error::closed)),
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
        let is_over = self.drive(&mut shared, started.place, Some(now), until);
        self.leave(&mut shared);
        is_over
    }

    /// The second half of [`Link::call`]. `asked`: when the call was made.
    pub(crate) fn wait(&self, started: Started, asked: Instant, deadline: Instant) -> End {
        let _defect = CloseOnPanic::new(self);
        self.end(&mut self.shared.lock(), started, None, (asked, deadline))
    }

    #[inline(always)]
    fn begin(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        request: Box<Request>,
        now: Instant,
    ) -> std::result::Result<Started, Box<Request>> {
        if !self.is_usable() || !self.is_alive(shared, now) {
            return Err(request);
        }
        shared.expect_bytes(now);
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
        Ok(Started { place, key })
    }

    #[inline(always)]
    fn end(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        started: Started,
        clock: Option<Instant>,
        (asked, deadline): (Instant, Instant),
    ) -> End {
        let Started { place: me, key } = started;
        self.drive(shared, me, clock, deadline);
        // Field by field: the rest of a place is for submitted calls and not worth moving.
        let Place { finished, .. } = shared.places.remove(me);
        let end = match finished {
            Some(finished) => End::Finished(finished),
            None => self.give_up(shared, key, deadline.saturating_duration_since(asked)),
        };
        self.leave(shared);
        end
    }

    #[cold]
    fn give_up(&self, shared: &mut Shared, key: usize, waited: Duration) -> End {
        let index = shared.session.unanswered(key);
        let (arrived, queued) = shared.give_up(key, Instant::now(), Duration::ZERO);
        End::Late(self.late(waited, queued, index), arrived)
    }

    /// What a caller does last: it hands over what came for others, and the reader's role.
    #[inline(always)]
    fn leave(&self, shared: &mut MutexGuard<'_, Shared>) {
        if !shared.reading {
            pass_on(shared);
        }
        if !shared.completed.is_empty() {
            self.hand_out(shared);
        }
    }

    /// Does what is to be done until a call is over; `false` when the time came first. `clock`: the time, if it is
    /// known.
    #[inline(always)]
    fn drive(
        &self,
        shared: &mut MutexGuard<'_, Shared>,
        me: usize,
        mut clock: Option<Instant>,
        until: Instant,
    ) -> bool {
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
        shared.places[me].finished.is_some()
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

    /// Reads until the reply for `me` is there; `false` when the deadline passed before, be it with bytes of others still
    /// coming. `clock`: the time, if it is known; it is read again only if one read is not enough.
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

    fn lost(&self, shared: &mut Shared, why: Reason, reason: &str) {
        let reason = format!("the connection to {} was lost: {reason}", self.address);
        self.fail(shared, &Error::because(Status::Connect, why, reason));
    }

    fn fail(&self, shared: &mut Shared, cause: &Error) {
        self.fail_for_reply(shared, cause, None);
    }

    /// The same where the reply to one call is to blame: `owner` is that call's status.
    fn fail_for_reply(&self, shared: &mut Shared, cause: &Error, owner: Option<Status>) {
        self.usable.store(false, Ordering::Release);
        shared.cause.get_or_insert_with(|| cause.clone());
        self.socket.shutdown();
        shared.session.end(cause, owner);
        self.deliver(shared);
    }

    /// Says in the errors of a call which server they are of.
    #[inline]
    fn name_server(&self, finished: &mut Finished<usize>) {
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
        while let Some(mut finished) = shared.session.next_finished() {
            self.name_server(&mut finished);
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

/// Wakes the caller whose reply comes next, to become the reader, or any if that is far. Callers that are busy
/// elsewhere, with the rest of their pipeline on another server, are passed over.
#[inline]
fn pass_on(shared: &Shared) {
    if !shared.sleepers.is_empty() {
        wake_next(shared);
    } else if shared.submitted > 0 {
        shared.wake_if_unattended();
    }
}

#[inline(never)]
fn wake_next(shared: &Shared) {
    let mut next = shared.session.awaited(LOOK_AHEAD);
    match next.find_map(|&next| shared.places[next].asleep.as_ref()) {
        Some(condition) => condition.notify_one(),
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
        if self.process.is_this() {
            self.socket.shutdown();
        }
    }
}
