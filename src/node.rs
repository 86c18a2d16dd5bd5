//! One server: its current connection, and how another is made when that is lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::ffi::cancel::Held;
use crate::ffi::lock::{Condvar, Mutex, MutexGuard};

use crate::config::Config;
use crate::defect::contain;
use crate::error::{Error, Reason, Result, Status};
use crate::link::{End, Link};
use crate::log::LogLevel;
use crate::net::address::Address;
use crate::request::{Repeatable, Request, Shape};
use crate::resp::{Pool, Reply, ReplyRef};
use crate::session::handshake::Purpose;
use crate::session::{Compiled, Counters, Facts, Finished};
use crate::stats::Stats;

/// A server and the connection to it that all callers share.
pub(crate) struct Node {
    config: Arc<Config>,
    address: Address,
    /// The address, for errors.
    name: Arc<str>,
    /// What the shared connection is for.
    purpose: Purpose,
    compiled: Arc<Compiled>,
    pool: Arc<Pool>,
    /// Connections made or tried so far: each has a number.
    opened: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    /// Connections that one caller each has for itself.
    apart: Vec<Weak<Link>>,
    /// Connections given up, on which callers may still wait.
    retired: Vec<Weak<Link>>,
    /// A thread connects; the others wait for it.
    connecting: bool,
    /// The deadlines of those who wait: the most patient of them connects next.
    waiting: Vec<Instant>,
    closed: bool,
    /// Attempts that failed since the last connection was made.
    failures: u32,
    /// Attempts that ever failed, so that a caller can count those that it lived through.
    failed: u64,
    last_error: Option<Error>,
    /// Whoever can turns to others before this time: as long as the server has cost a caller who waited for it in vain.
    rests_until: Option<Instant>,
    /// No attempt before this time.
    not_before: Option<Instant>,
    /// Why the connection before was given up; told with the next attempt.
    lost: Option<Error>,
    /// The last connection that was given up led to a server that cannot stop a read-only call at its first write.
    was_too_old: bool,
    /// The numbers of the last connections whose server said that it is a replica.
    replicas: VecDeque<u64>,
    /// The last connection that was made has had HELLO.
    had_hello: bool,
    connections: u64,
    /// What the connections before the current one did.
    past: Stats,
}

impl Node {
    pub(crate) fn new(
        config: Arc<Config>,
        address: Address,
        purpose: Purpose,
        compiled: Arc<Compiled>,
        pool: Arc<Pool>,
    ) -> Self {
        Node {
            config,
            name: address.to_string().into(),
            address,
            purpose,
            compiled,
            pool,
            opened: AtomicU64::new(0),
            state: Mutex::default(),
            changed: Condvar::default(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The address, for errors.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether there is a connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.state.lock().link.as_ref().is_some_and(|link| link.is_usable())
    }

    /// The connection, if there is one.
    pub(crate) fn connected(&self) -> Option<Arc<Link>> {
        self.state.lock().link.as_ref().filter(|link| link.is_usable()).cloned()
    }

    /// Whether there is a connection on which nobody waits in vain just now.
    pub(crate) fn answers(&self) -> bool {
        self.state.lock().link.as_ref().is_some_and(|link| link.is_usable() && !link.is_suspect())
    }

    /// Whether the last attempt to connect failed, and the next one is not due yet.
    pub(crate) fn is_down(&self) -> bool {
        self.state.lock().down_since_just_now().is_some()
    }

    /// Has callers turn to others, where there are any, for as long as an attempt to connect may take: the server may hang.
    pub(crate) fn rest(&self) {
        self.state.lock().rests_until = Some(Instant::now() + self.config.connect_timeout);
    }

    /// Whether it let a call down not long ago.
    pub(crate) fn is_resting(&self) -> bool {
        self.state.lock().rests_until.is_some_and(|until| until > Instant::now())
    }

    /// The same as [`Node::link`], for a caller that has other servers to turn to: one attempt, and none while the server is known to be
    /// down.
    pub(crate) fn link_now(&self, deadline: Instant) -> Result<Arc<Link>> {
        let state = self.state.lock();
        match (&state.link, state.down_since_just_now()) {
            (Some(link), _) if link.is_usable() => return Ok(Arc::clone(link)),
            (_, Some(error)) => return Err(error.clone()),
            _ => drop(state),
        }
        self.link(1, deadline)
    }

    /// Asks the server something on the library's own account.
    pub(crate) fn ask(&self, arguments: &[&[u8]], deadline: Instant) -> Result<Reply> {
        let mut request = Box::<Request>::default();
        request.reset(Shape::Single);
        request.say(arguments);
        loop {
            let link = self.link_now(deadline)?;
            let error = match link.call(request, Instant::now(), deadline) {
                End::Finished(Finished { result: Ok(payload), .. }) => return Ok(Reply::new(payload)),
                End::Finished(Finished { result: Err(error), .. }) | End::Late(error, _) => error,
                End::Unusable(unsent) => {
                    request = unsent;
                    continue;
                }
            };
            // What is unknown is this question's fate. Of the call on whose behalf it is asked nothing was executed.
            return Err(match error.status() {
                Status::Indeterminate => {
                    Error::because(Status::Connect, error.reason(), no_answer(&self.address)).on(&self.name)
                }
                _ => error,
            });
        }
    }

    /// Whether the server at the end of a connection says that it is a replica: of this one by its number, else of the current one. Then that takes
    /// no new calls, and the next one is made with the address looked up anew: it may stand for the primary by now.
    pub(crate) fn is_replica(&self, connection: Option<u64>, deadline: Instant) -> bool {
        let (link, number) = {
            let state = self.state.lock();
            let link = match connection {
                Some(number) => state.links().into_iter().find(|link| link.facts().number() == number),
                None => state.link.clone(),
            };
            let Some(number) = connection.or(link.as_ref().map(|link| link.facts().number())) else {
                return false;
            };
            if state.replicas.contains(&number) {
                return true;
            }
            (link, number)
        };
        let is_replica = link.is_some_and(|link| {
            let is_replica = says_replica(&link, deadline);
            if is_replica {
                let replicas = &mut self.state.lock().replicas;
                replicas.truncate(REMEMBERED - 1);
                replicas.push_front(number);
                link.give_up_replica();
            }
            is_replica
        });
        // Another caller may have asked meanwhile.
        is_replica || self.state.lock().replicas.contains(&number)
    }

    /// The connection to use now; makes one when there is none. `attempts`: how many failed attempts to live through
    /// (0: as many as the deadline allows).
    #[inline]
    pub(crate) fn link(&self, attempts: u32, deadline: Instant) -> Result<Arc<Link>> {
        let state = self.state.lock();
        match &state.link {
            Some(link) if link.is_usable() => Ok(Arc::clone(link)),
            _ => self.link_anew(state, attempts, deadline),
        }
    }

    #[cold]
    fn link_anew(
        &self,
        mut state: MutexGuard<'_, State>,
        attempts: u32,
        deadline: Instant,
    ) -> Result<Arc<Link>> {
        let _held = Held::new();
        let failed_before = state.failed;
        state.waiting.push(deadline);
        let linked = self.wait_for_link(&mut state, attempts, failed_before, deadline);
        if let Some(place) = state.waiting.iter().position(|waiting| *waiting == deadline) {
            state.waiting.swap_remove(place);
        }
        if linked.is_err() && !state.waiting.is_empty() {
            // They may have left the next attempt to this caller.
            self.changed.notify_all();
        }
        linked
    }

    fn wait_for_link(
        &self,
        state: &mut MutexGuard<'_, State>,
        attempts: u32,
        failed_before: u64,
        deadline: Instant,
    ) -> Result<Arc<Link>> {
        loop {
            if state.closed {
                return Err(Error::closed());
            }
            if let Some(link) = &state.link {
                if link.is_usable() {
                    return Ok(Arc::clone(link));
                }
                state.retire();
            }
            let lived_through = state.failed - failed_before;
            if let Some(error) = &state.last_error
                && lived_through > 0
                && (is_final(error)
                    || (attempts != 0 && lived_through >= u64::from(attempts))
                    || Instant::now() >= deadline)
            {
                return Err(error.clone());
            }
            // Whoever has the most time connects: an attempt that is cut short helps nobody.
            let is_others = state.connecting || state.waiting.iter().any(|waiting| *waiting > deadline);
            let wake = if is_others { deadline } else { state.not_before.unwrap_or(deadline).min(deadline) };
            if is_others || wake > Instant::now() && state.not_before.is_some() {
                if self.changed.wait_until(state, wake).timed_out() && wake == deadline {
                    return Err(state.last_error.clone().unwrap_or_else(|| self.no_connection()));
                }
                continue;
            }
            // What is not even tried must not count as a failure: others have more time.
            if Instant::now() >= deadline {
                return Err(self.no_connection());
            }
            self.connect(state, deadline)?;
        }
    }

    /// Makes one attempt, without the lock. An error: it failed for want of time only, which says nothing to others.
    fn connect(&self, state: &mut MutexGuard<'_, State>, deadline: Instant) -> Result<()> {
        state.connecting = true;
        let lost = state.lost.take();
        let start = Instant::now();
        let attempt = MutexGuard::unlocked(state, || {
            if let Some(lost) = lost {
                self.config.log.event(LogLevel::Warning, format_args!("{lost}"));
            }
            // Whoever waits for it would wait for ever.
            let attempt = contain(|| self.open(self.purpose, deadline))
                .unwrap_or_else(|| Err(Error::defect().sent(false)));
            match &attempt {
                Ok(_) => self.config.log.event(LogLevel::Info, format_args!("connected to {}", self.address)),
                Err(error) if error.status() == Status::Closed => {}
                Err(error) => self.config.log.event(LogLevel::Error, format_args!("{error}")),
            }
            attempt
        });
        state.connecting = false;
        let mut cut_short = Ok(());
        match attempt {
            Ok(link) if state.closed => link.close(&Error::closed()),
            Ok(link) => {
                state.had_hello = link.facts().has_hello();
                state.link = Some(Arc::new(link));
                state.connections += 1;
                state.failures = 0;
                state.last_error = None;
                state.not_before = None;
                state.rests_until = None;
            }
            Err(error)
                if error.reason() == Reason::Deadline && deadline < start + self.config.connect_timeout =>
            {
                let now = Instant::now();
                state.rests_until = Some(now + (now - start));
                cut_short = Err(error);
            }
            Err(error) => {
                let now = Instant::now();
                state.rests_until = Some(now + (now - start));
                state.not_before = Some(now + self.backoff(state.failures));
                state.failures = state.failures.saturating_add(1);
                state.failed += 1;
                state.last_error = Some(error);
            }
        }
        self.changed.notify_all();
        cut_short
    }

    fn no_connection(&self) -> Error {
        let text =
            format!("the deadline passed before there was a connection to {}; nothing was sent", self.name);
        Error::new(Status::Timeout, text).on(&self.name)
    }

    /// Runs `body` with a connection of its own.
    pub(crate) fn apart<T>(
        &self,
        purpose: Purpose,
        deadline: Instant,
        body: impl FnOnce(&Arc<Link>) -> Result<T>,
    ) -> Result<T> {
        if self.state.lock().closed {
            return Err(Error::closed());
        }
        let link = Arc::new(self.open(purpose, deadline)?);
        {
            let mut state = self.state.lock();
            if state.closed {
                return Err(Error::closed());
            }
            state.apart.push(Arc::downgrade(&link));
        }
        let result = body(&link);
        let mut state = self.state.lock();
        state.apart.retain(|other| !std::ptr::eq(other.as_ptr(), &*link));
        state.past.add(link.counters().0, 0);
        result
    }

    fn open(&self, purpose: Purpose, deadline: Instant) -> Result<Link> {
        #[cfg(test)]
        crate::defect::provoked("connect", &self.address);
        // What is learnt on one connection need not be true on the next.
        let number = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let expects_hello = {
            let state = self.state.lock();
            state.had_hello && state.failures == 0
        };
        let facts = Arc::new(Facts::new(Arc::clone(&self.compiled), number, expects_hello));
        let pool = Arc::clone(&self.pool);
        let opened = Link::open(&self.config, &self.address, facts, pool, purpose, deadline);
        opened.map_err(|error| error.on(&self.name))
    }

    /// Doubles with every failure, with up to half taken off at random so that clients do not come back all at once.
    fn backoff(&self, failures: u32) -> Duration {
        let reconnect = &self.config.reconnect;
        let full = reconnect.backoff_min.saturating_mul(1 << failures.min(16)).min(reconnect.backoff_max);
        full.mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// Whether the server stops a read-only call at its first write, by what its last connection has shown.
    pub(crate) fn enforces_read_only(&self) -> bool {
        let state = self.state.lock();
        match &state.link {
            Some(link) => link.facts().enforces_read_only(),
            None => !state.was_too_old,
        }
    }

    /// Whether executing a request twice does no harm on this server.
    pub(crate) fn may_repeat(&self, request: &Request) -> bool {
        match request.repeatable {
            Repeatable::No => false,
            Repeatable::IfEnforced => self.enforces_read_only(),
            Repeatable::Yes => true,
        }
    }

    /// Waits for the next try of a call that the server refused for the moment; an error when the client is closed or the
    /// deadline comes first.
    pub(crate) fn pause(&self, tries: u32, deadline: Instant) -> Option<()> {
        let _held = Held::new();
        let until = Instant::now() + self.backoff(tries);
        let mut state = self.state.lock();
        while !state.closed && until < deadline {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return Some(());
            }
        }
        None
    }

    pub(crate) fn forget_scripts(&self) {
        let link = self.state.lock().link.clone();
        if let Some(link) = link {
            link.forget_scripts();
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.state.lock();
        let mut stats = state.past;
        for link in state.apart.iter().filter_map(Weak::upgrade).chain(state.link.clone()) {
            let (counters, in_flight) = link.counters();
            stats.add(counters, in_flight);
        }
        // Callers may wait long on a connection that was given up because it is silent; what it did was counted then.
        for link in state.retired.iter().filter_map(Weak::upgrade) {
            stats.add(Counters::default(), link.counters().1);
        }
        stats.reconnects = state.connections.saturating_sub(1);
        stats
    }

    /// Every connection on which a call may be in flight.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.state.lock().links()
    }

    /// Ends everything in flight and refuses what comes.
    pub(crate) fn close(&self) {
        let links = {
            let mut state = self.state.lock();
            state.closed = true;
            self.changed.notify_all();
            state.links()
        };
        for link in links {
            link.close(&Error::closed());
        }
        // Its descriptor goes with the last call on it, however long handles of the client are kept.
        self.state.lock().retire();
    }
}

impl State {
    /// Why there is no connection, if an attempt has failed and the next one is not due yet.
    fn down_since_just_now(&self) -> Option<&Error> {
        let waits = self.not_before.is_some_and(|not_before| not_before > Instant::now());
        self.last_error.as_ref().filter(|_| waits && !self.connecting)
    }

    /// Every connection on which a caller may wait.
    fn links(&self) -> Vec<Arc<Link>> {
        self.apart.iter().chain(&self.retired).filter_map(Weak::upgrade).chain(self.link.clone()).collect()
    }

    fn retire(&mut self) {
        if let Some(link) = self.link.take() {
            self.past.add(link.counters().0, 0);
            self.was_too_old = !link.facts().enforces_read_only();
            self.lost = Some(link.cause().unwrap_or_else(|| {
                let why = if link.leads_to_replica() {
                    "its server is a replica now"
                } else {
                    "a deadline was missed, and nothing came since"
                };
                let text = format!("the connection was given up: {why}");
                Error::because(Status::Connect, Reason::ConnectionLost, text)
            }));
            self.retired.retain(|other| other.strong_count() > 0);
            self.retired.push(Arc::downgrade(&link));
        }
    }
}

/// The numbers of so many connections to replicas are kept, for the calls that were on them.
const REMEMBERED: usize = 16;

/// Whether the server at the end of this very connection says that it is a replica.
///
/// By [ROLE](https://redis.io/docs/latest/commands/role/), or where this user may not ask that by HELLO, which no right is needed for.
fn says_replica(link: &Link, deadline: Instant) -> bool {
    let is_replica =
        |role: Option<ReplyRef<'_>>| matches!(role.and_then(ReplyRef::as_bytes), Some(b"slave" | b"replica"));
    match link.ask(&[b"ROLE"], deadline) {
        Ok(reply) => is_replica(reply.get(0)),
        Err(error) if error.server_text().is_some() && link.facts().has_hello() => {
            link.ask(&[b"HELLO"], deadline).is_ok_and(|reply| {
                let mut pairs = reply.root().elements();
                while let (Some(name), value) = (pairs.next(), pairs.next()) {
                    if name.as_bytes() == Some(b"role") {
                        return is_replica(value);
                    }
                }
                false
            })
        }
        Err(_) => false,
    }
}

/// Whether another attempt would end no better.
fn is_final(error: &Error) -> bool {
    matches!(error.status(), Status::Auth | Status::Tls | Status::NotSupported | Status::InvalidOption)
}

fn no_answer(address: &Address) -> String {
    format!("no answer from {address} to a question about the servers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    #[test]
    fn a_caller_whose_time_is_over_leaves_no_mark() {
        let config = Config::new("redis://127.0.0.1:1", &Options::default()).expect("a URL");
        let address = config.servers.addresses()[0].clone();
        let node = Node::new(Arc::new(config), address, Purpose::Calls, Arc::default(), Arc::default());
        let status = |deadline| node.link_now(deadline).err().expect("no server there").status();
        assert_eq!(status(Instant::now()), Status::Timeout);
        assert!(!node.is_down());
        assert_eq!(status(Instant::now() + Duration::from_secs(10)), Status::Connect);
        assert!(node.is_down());
    }
}
