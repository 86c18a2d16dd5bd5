//! What drives a client's engine: its lock, its sockets and its clock.
//!
//! The engine is entered with its lock held, and does nothing that waits: what it wants done is collected in
//! [`Effects`], and done when the lock has been let go of. What comes of that is told to the engine, and so on until
//! nothing is left. Locks are taken in this order: the engine's, a link's, all others; a link never tells the engine
//! anything with its own lock held.

mod actions;
#[cfg(feature = "bench-internals")]
pub(crate) mod bench;
mod dial;
mod driver;
mod end;
mod events;
mod helpers;
pub(crate) mod link;
mod login;
mod lookup;
mod owner;
mod reactor;
pub(crate) mod stats;
mod table;
mod task;
mod turn;
mod wait;

pub(crate) use link::{End, Link};
pub(crate) use owner::{Owner, Queued, Waiter};
pub(crate) use task::Pending;
pub(crate) use wait::Role;

use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::base::defect::contain;
use crate::base::times::LONGEST_WAIT;
use crate::config::Config;
use crate::core::{self, Engine, NodeId, Resumed};
use crate::error::{Error, Reason, Result, Status};
use crate::ffi::sys::cancel::Held;
use crate::ffi::sys::fork::Process;
use crate::ffi::sys::lock::Mutex;
use crate::net::reason;
use crate::queue::{Queue, Ticket};
use crate::request::{self, Request, Shape};
use crate::resp::Pool;
use actions::Doing;
use driver::Driver;
use events::{Effects, Event};
use link::{Listener, News};
use reactor::Reactor;
use stats::Stats;
use table::{Conn, Served, Table};
use turn::Room;

/// Requests kept for the next calls: small ones for thousands at once, and some others.
const KEPT_SMALL_REQUESTS: usize = 4096;
const SMALL_REQUEST: usize = 2048;
const KEPT_REQUESTS: usize = 64;

/// Lists of effects that are kept.
const KEPT_EFFECTS: usize = 8;

/// All that one client's calls need, whoever drives them.
pub(crate) struct Io {
    me: Weak<Io>,
    config: Arc<Config>,
    pool: Arc<Pool>,
    /// Requests between two calls: a call in a steady state allocates nothing.
    #[expect(clippy::vec_box, reason = "a request keeps its box from one call to the next")]
    requests: Mutex<Vec<Box<Request>>>,
    /// The engine's wishes between two visits, likewise.
    #[expect(clippy::vec_box, reason = "what is in them is moved by the pointer")]
    effects: Mutex<Vec<Box<Effects>>>,
    /// What a turn of the reactor needs room for.
    room: Mutex<Room>,
    /// The one that opened the client.
    process: Process,
    /// The server of a client that has one and will never have another.
    only: Option<NodeId>,
    served: Served,
    core: Mutex<Core>,
    closed: AtomicBool,
    /// Blocking calls in flight, where they are counted.
    blocking: AtomicUsize,
    /// Present from the first call on that needs it until the client is closed.
    reactor: Mutex<Option<Arc<Reactor>>>,
    /// Who turns the reactor.
    role: Role,
    /// Counts the turns for queues without a thread.
    straight: AtomicU32,
    driver: Mutex<Option<Arc<Driver>>>,
    lookups: lookup::Lookups,
    logins: login::Logins,
}

/// What is under the engine's lock.
pub(crate) struct Core {
    engine: Box<Engine<Owner>>,
    /// Counts the engines: one that has panicked is replaced, and what is still under way for it is nobody's.
    epoch: u64,
    table: Table,
    /// Who turns the reactor sleeps up to this time.
    asleep_until: Option<Instant>,
    /// The time up to which it slept last, or sleeps. It is kept although the call is over that it was for: the next
    /// one, whose deadline is later, then need not wake anybody.
    alarm: Option<Instant>,
    /// There are queues without a thread, whose timer is set to this time.
    timer: Option<Option<Instant>>,
}

impl Io {
    pub(crate) fn new(config: Config) -> Arc<Io> {
        let config = Arc::new(config);
        let pool = Arc::<Pool>::default();
        let engine = Box::new(Engine::new(Arc::clone(&config), Arc::clone(&pool)));
        Arc::new_cyclic(|me| Io {
            me: Weak::clone(me),
            config,
            pool,
            requests: Mutex::default(),
            effects: Mutex::default(),
            room: Mutex::default(),
            process: Process::this(),
            only: engine.only(),
            served: Served::default(),
            core: Mutex::new(Core {
                engine,
                epoch: 0,
                table: Table::default(),
                asleep_until: None,
                alarm: None,
                timer: None,
            }),
            closed: AtomicBool::new(false),
            blocking: AtomicUsize::new(0),
            reactor: Mutex::default(),
            role: Role::default(),
            straight: AtomicU32::new(0),
            driver: Mutex::default(),
            lookups: lookup::Lookups::default(),
            logins: login::Logins::default(),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The server of a client that has one and will never have another.
    #[inline]
    pub(crate) fn only(&self) -> Option<NodeId> {
        self.only
    }

    /// The connections that plain calls may take without asking the engine.
    #[inline]
    pub(crate) fn served(&self) -> &Served {
        &self.served
    }

    /// A child of fork shares the parent's socket: what it sent would tear the parent's stream.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        self.process.check("client")
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Counts a blocking call in, where there is a limit to them.
    #[inline]
    pub(crate) fn admit(&self) -> Result<Option<Admitted<'_>>> {
        match self.config.max_in_flight {
            0 => Ok(None),
            limit => self.admit_up_to(limit).map(Some),
        }
    }

    /// The same for as long as a future lives.
    pub(crate) fn admit_future(self: &Arc<Self>) -> Result<Option<AdmittedFuture>> {
        Ok(self.admit()?.map(|admitted| {
            std::mem::forget(admitted);
            AdmittedFuture(Arc::clone(self))
        }))
    }

    #[inline(never)]
    fn admit_up_to(&self, limit: usize) -> Result<Admitted<'_>> {
        // Who is refused is not counted, not even for a moment: another would be refused for it.
        let counted = |count: usize| (count < limit).then_some(count + 1);
        if self.blocking.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).is_ok() {
            return Ok(Admitted(&self.blocking));
        }
        let text = format!(
            "{limit} blocking calls are in flight, as many as max_in_flight allows; nothing was sent"
        );
        Err(Error::new(Status::QueueFull, text))
    }

    /// Which client it is, among those that are open.
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    #[inline]
    pub(crate) fn take_request(&self, shape: Shape) -> Box<Request> {
        let mut request = self.requests.lock().pop().unwrap_or_default();
        request.reset(shape);
        request
    }

    #[inline]
    pub(crate) fn keep(&self, request: Box<Request>) {
        let most = match request.size() {
            size if size <= SMALL_REQUEST => KEPT_SMALL_REQUESTS,
            size if size <= request::KEPT_BYTES => KEPT_REQUESTS,
            _ => return,
        };
        let mut requests = self.requests.lock();
        if requests.len() < most {
            requests.push(request);
        }
    }

    /// Takes calls on, all that go the same way in one write.
    pub(crate) fn submit(&self, calls: impl Iterator<Item = core::Call<Owner>>) {
        self.enter(iter::empty(), |engine, doing, now| {
            for call in calls {
                #[cfg(test)]
                crate::base::defect::provoked("work", &call.timeout.as_millis());
                engine.submit(now, doing, call);
            }
        });
    }

    /// Goes on with a plain blocking call.
    pub(crate) fn resume(&self, resumed: Resumed<Owner>) {
        self.enter(iter::empty(), |engine, doing, now| engine.resume(now, doing, resumed));
    }

    /// A plain blocking call to a server has missed its deadline.
    pub(crate) fn missed(&self, node: NodeId) {
        let _held = Held::new();
        self.enter(iter::empty(), |engine, doing, now| engine.missed(now, doing, node));
    }

    /// Does what is due by now.
    fn tick(&self) {
        self.enter(iter::empty(), |engine, doing, now| engine.tick(now, doing));
    }

    /// Takes in what was answered about credentials.
    fn take_credentials(&self, events: impl Iterator<Item = Event>) {
        let _held = Held::new();
        self.enter(events, |_, _, _| ());
    }

    /// Ends a submitted call at once; whether it was still under way.
    pub(crate) fn cancel(&self, queue: &Queue, ticket: Ticket) -> bool {
        let is_it = |owner: &Owner| matches!(owner, Owner::Queued(queued) if queued.is(ticket, queue));
        let cancelled = self
            .enter(iter::empty(), |engine, doing, now| engine.cancel(now, doing, ticket.serial(), &is_it));
        cancelled.unwrap_or(false)
    }

    /// Ends a future's call at once; whether it was still under way.
    pub(crate) fn cancel_future(&self, pending: &Arc<Pending>) -> bool {
        let is_it = |owner: &Owner| matches!(owner, Owner::Future(task) if task.is(pending));
        let cancelled = self
            .enter(iter::empty(), |engine, doing, now| engine.cancel(now, doing, pending.number(), &is_it));
        cancelled.unwrap_or(false)
    }

    /// Ends all calls and connections. What its threads are doing ends soon: see [`Io::wait_for_threads`].
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.enter(iter::empty(), |engine, doing, now| engine.close(now, doing));
        // Whatever the engine has left.
        let left = self.core.lock().table.take_all();
        for conn in left {
            if let Conn::Open(link) = conn {
                link.close(&Error::closed());
            }
        }
        self.served.clear();
        // Under one lock: in between, a first call could make a thread, or have a queue wait, of which nobody knows.
        let driver = self.driver.lock();
        if let Some(driver) = &*driver {
            driver.stop();
        }
        let reactor = self.reactor.lock().take();
        drop(driver);
        if let Some(reactor) = reactor {
            reactor.wake();
            reactor.take_queues().iter().for_each(|queue| queue.detach(self.id()));
        }
    }

    /// Lets go of the connections in a child of fork, but for those that a thread was at which is missing. What such a
    /// thread holds of the client stays for good, and so would their descriptors: then the server would not see the
    /// parent's end.
    pub(crate) fn leave(&self) {
        let left = self.core.try_lock().map(|mut core| core.table.leave());
        drop(left);
        self.served.leave();
    }

    /// What the client's calls have cost so far.
    pub(crate) fn stats(&self) -> Stats {
        let core = self.core.lock();
        let mut stats = core.table.past;
        for link in core.table.links() {
            let (counters, in_flight) = link.counters();
            stats.add(counters, in_flight);
        }
        let counted = core.engine.stats();
        (stats.reconnects, stats.redirects) = (counted.reconnects, counted.redirects);
        stats.in_flight = stats.in_flight.saturating_sub(counted.shaking);
        stats
    }

    /// Has each connection load its scripts anew: someone is about to flush them, or has.
    pub(crate) fn forget_scripts(&self) {
        let links: Vec<_> = self.core.lock().table.links().cloned().collect();
        links.iter().for_each(|link| link.forget_scripts());
    }

    /// Sees to it that a thread can wait for a call, which otherwise must not be begun: it would go on without anybody.
    pub(crate) fn prepare_to_wait(&self) -> Result<()> {
        self.reactor().map(drop)
    }

    /// What turns when something happens at a socket, made if need be.
    fn reactor(&self) -> Result<Arc<Reactor>> {
        let mut reactor = self.reactor.lock();
        if let Some(reactor) = &*reactor {
            return Ok(Arc::clone(reactor));
        }
        if self.is_closed() {
            return Err(Error::closed());
        }
        // Without one no connection was ever made.
        let made = Arc::new(Reactor::new().map_err(|error| {
            let why = format!("cannot connect: no descriptors to wait for sockets with: {}", reason(&error));
            Error::because(Status::Connect, Reason::Resources, why)
        })?);
        *reactor = Some(Arc::clone(&made));
        Ok(made)
    }

    /// That which is there.
    fn reactor_if_any(&self) -> Option<Arc<Reactor>> {
        self.reactor.lock().clone()
    }

    /// Panics if a test wants it to, at a client of this server.
    #[cfg(test)]
    fn provoked(&self, place: &str) {
        crate::base::defect::provoked(place, &self.config.servers.addresses()[0]);
    }

    /// Enters the engine with `body`, having told it of `events`; then does what it wants done, and tells it what
    /// comes of that, until nothing is left. `None`: it has panicked, and its calls have ended. The caller holds
    /// cancellation off.
    fn enter<R>(
        &self,
        events: impl Iterator<Item = Event>,
        body: impl FnOnce(&mut Engine<Owner>, &mut Doing<'_>, Instant) -> R,
    ) -> Option<R> {
        let mut effects = self.effects.lock().pop().unwrap_or_default();
        let result = {
            let mut core = self.core.lock();
            let now = Instant::now();
            core.tell(self, now, events, &mut effects);
            let result = core.run(self, &mut effects, |engine, doing| body(engine, doing, now));
            core.mind_the_time(&mut effects);
            result
        };
        self.perform_all(&mut effects);
        if effects.is_small() {
            let mut kept = self.effects.lock();
            if kept.len() < KEPT_EFFECTS {
                kept.push(effects);
            }
        }
        result
    }

    /// Does what the engine wants done, and tells it what comes of that, until nothing is left.
    fn perform_all(&self, effects: &mut Effects) {
        loop {
            self.perform(effects);
            if effects.events.is_empty() {
                return;
            }
            let mut events = std::mem::take(&mut effects.events);
            let mut core = self.core.lock();
            core.tell(self, Instant::now(), events.drain(..), effects);
            core.mind_the_time(effects);
            drop(core);
            effects.events = events;
        }
    }
}

impl Listener for Io {
    fn take_news(&self, epoch: u64, news: &mut Vec<News>) {
        let _held = Held::new();
        if self.core.lock().epoch == epoch {
            self.enter(news.drain(..).map(Event::from), |_, _, _| ());
        }
    }

    /// Starts with an engine as good as new: a defect has lost calls of this one. Those under way end now.
    fn start_anew(&self, epoch: u64) {
        let _held = Held::new();
        let mut effects = Effects::default();
        {
            let mut core = self.core.lock();
            if core.epoch != epoch {
                return;
            }
            core.start_anew(self, &mut effects);
        }
        self.perform_all(&mut effects);
    }
}

/// The same of a future.
pub(crate) struct AdmittedFuture(Arc<Io>);

impl Drop for AdmittedFuture {
    fn drop(&mut self) {
        self.0.blocking.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A blocking call that is counted while it is in flight.
pub(crate) struct Admitted<'a>(&'a AtomicUsize);

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Core {
    /// Runs `body` in the engine.
    fn run<R>(
        &mut self,
        io: &Io,
        effects: &mut Effects,
        body: impl FnOnce(&mut Engine<Owner>, &mut Doing<'_>) -> R,
    ) -> Option<R> {
        let Core { engine, table, .. } = self;
        let result = contain(|| body(engine, &mut Doing { io, table, effects }));
        if result.is_none() {
            self.start_anew(io, effects);
        }
        result
    }

    /// Tells the engine what has happened.
    fn tell(&mut self, io: &Io, now: Instant, events: impl Iterator<Item = Event>, effects: &mut Effects) {
        let epoch = self.epoch;
        for event in events {
            // What comes behind a panic concerns an engine that is no more.
            if self.epoch == epoch {
                self.run(io, effects, |engine, doing| doing.tell(engine, now, event));
            }
        }
    }

    /// Replaces the engine. Who owns its calls is told when it is dropped.
    fn start_anew(&mut self, io: &Io, effects: &mut Effects) {
        let mut engine = Box::new(Engine::new(Arc::clone(&io.config), Arc::clone(&io.pool)));
        engine.number_on_from(&self.engine);
        effects.engine = Some(std::mem::replace(&mut self.engine, engine));
        self.epoch += 1;
        io.served.clear();
        let text = "a defect of rs_script ended the connection; please report it";
        for conn in self.table.take_all() {
            match conn {
                Conn::Open(link) => effects.close.push((link, Error::new(Status::Internal, text))),
                other => effects.drop.push(other),
            }
        }
        if io.is_closed() {
            let Core { engine, table, .. } = self;
            contain(|| engine.close(Instant::now(), &mut Doing { io, table, effects }));
        }
    }

    /// When something is to be done though nothing happens.
    fn next_alarm(&mut self) -> Option<Instant> {
        self.engine.next_tick().into_iter().chain(self.table.next_retry()).min()
    }

    /// Sees to it that the next alarm is not slept through.
    fn mind_the_time(&mut self, effects: &mut Effects) {
        if self.asleep_until.is_none() && self.timer.is_none() {
            return;
        }
        let Some(next) = self.next_alarm() else { return };
        if self.asleep_until.is_some_and(|asleep| next < asleep) {
            self.asleep_until = None;
            effects.wake = true;
        }
        if self.timer.is_some_and(|timer| timer.is_none_or(|timer| next < timer)) {
            effects.set_timer = true;
        }
    }
}

/// A time that never comes.
pub(crate) fn never() -> Instant {
    Instant::now() + LONGEST_WAIT
}
