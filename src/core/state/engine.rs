//! All of one client: its calls, servers and connections.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::attempt::{Attempt, For, Tried};
use super::conn::Conn;
use super::everywhere::Everywhere;
use super::evidence::{Evidence, Need};
use super::fan_out::FanOut;
use super::login::LoginAgain;
use super::refresh::{MapWait, Refresh};
use super::servers::Servers;
use super::sharing::{Shares, Sharing};
use super::single::Single;
use super::timers::{Timer, Timers};
use crate::base::index::{Index, hash_of};
use crate::config::Config;
use crate::core::interface::{AttemptId, CallId, ConnId, NodeId, Owner, View};
use crate::metrics::meter::Spent;
use crate::request::Request;
use crate::resp::Pool;
use crate::session::Compiled;

/// What the engine counts; the rest of the figures are the connections' own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EngineStats {
    pub(crate) reconnects: u64,
    pub(crate) redirects: u64,
    /// Requests under way that belong to handshakes: no calls, though connections count them.
    pub(crate) shaking: u64,
}

/// How much an engine holds.
#[cfg(any(test, feature = "fuzz-internals"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) calls: usize,
    pub(crate) attempts: usize,
    pub(crate) conns: usize,
    /// Entries of lists that what is over stays in for a while.
    pub(crate) stale: usize,
}

pub(crate) struct Engine<T> {
    pub(in crate::core) servers: Servers,
    pub(in crate::core) conns: HashMap<ConnId, Conn>,
    pub(in crate::core) last_conn: u64,
    pub(in crate::core) attempts: Slab<Attempt>,
    /// Counts attempts and calls, so that a place that is used again is not taken for what was there before.
    pub(in crate::core) serial: u64,
    pub(in crate::core) calls: Slab<CallState<T>>,
    /// The calls by their owners' keys.
    pub(in crate::core) keys: Index,
    /// Own connections of commands that wait on their servers, and what stands in line for one.
    pub(in crate::core) waiting_conns: usize,
    /// Those of them that are kept for others, and when the first of these is to be closed.
    pub(in crate::core) idle_conns: usize,
    pub(in crate::core) kept_due: Option<Instant>,
    pub(in crate::core) own_line: VecDeque<AttemptId>,
    pub(in crate::core) sharing: Sharing,
    pub(in crate::core) refresh: Refresh,
    pub(in crate::core) timers: Timers,
    /// Attempts that are over, whose owners are to be told.
    pub(in crate::core) tried: VecDeque<(For, Tried)>,
    /// Calls that have connections log in again.
    pub(in crate::core) login_calls: Vec<CallId>,
    /// When the last of them came.
    pub(in crate::core) logins_fresh_from: Option<Instant>,
    /// One of them may wait for nothing any more.
    pub(in crate::core) are_login_calls_due: bool,
    /// Calls that have what they waited for.
    pub(in crate::core) ready: VecDeque<CallId>,
    pub(in crate::core) pool: Arc<Pool>,
    /// Plain calls have been told where they go.
    pub(in crate::core) are_routes_known: bool,
    pub(in crate::core) is_closed: bool,
    /// What calls cost is asked for.
    pub(in crate::core) is_metered: bool,
}

/// A call under way.
pub(in crate::core) struct CallState<T> {
    pub(in crate::core) serial: u64,
    pub(in crate::core) owner: T,
    pub(in crate::core) view: View,
    pub(in crate::core) timeout: Duration,
    pub(in crate::core) deadline: Instant,
    /// It waits for a new map.
    pub(in crate::core) map_wait: Option<MapWait>,
    /// What it waits for, if that is a time.
    pub(in crate::core) wake: Option<Instant>,
    pub(in crate::core) asking: Option<Box<Asking>>,
    /// What its attempts have cost, and where the last one went.
    pub(in crate::core) spent: Spent,
    pub(in crate::core) last_node: Option<NodeId>,
    /// Which of the shared connections it takes, where there are several.
    pub(in crate::core) shares: Option<Box<Shares>>,
    pub(in crate::core) body: Body,
}

/// What servers are asked about a call.
#[derive(Default)]
pub(in crate::core) struct Asking {
    pub(in crate::core) under_way: Vec<Need>,
    pub(in crate::core) evidence: Evidence,
}

/// What a call is to do, and how far it has come.
pub(in crate::core) enum Body {
    New,
    /// It waits until calls with a key in common are on one connection.
    Held(Box<Request>),
    Open,
    Single(Single),
    FanOut(Box<FanOut>),
    Everywhere(Box<Everywhere>),
    LoginAgain(LoginAgain),
}

impl<T: Owner> Engine<T> {
    pub(crate) fn new(config: Arc<Config>, pool: Arc<Pool>) -> Self {
        let figures = config.meter.as_ref().and_then(|meter| meter.figures.clone());
        Engine {
            is_metered: config.meter.is_some(),
            sharing: Sharing::new(config.shared_connections),
            servers: Servers::new(config, Arc::new(Compiled::new(figures))),
            conns: HashMap::new(),
            last_conn: 0,
            attempts: Slab::new(),
            serial: 0,
            calls: Slab::new(),
            keys: Index::default(),
            waiting_conns: 0,
            idle_conns: 0,
            kept_due: None,
            own_line: VecDeque::new(),
            refresh: Refresh::default(),
            timers: Timers::default(),
            tried: VecDeque::new(),
            login_calls: Vec::new(),
            logins_fresh_from: None,
            are_login_calls_due: false,
            ready: VecDeque::new(),
            pool,
            are_routes_known: false,
            is_closed: false,
        }
    }

    /// Numbers its connections on from those of another one, whose place it takes: what is found out for those, as a
    /// host or credentials, is for none of these.
    pub(crate) fn number_on_from(&mut self, lost: &Self) {
        self.last_conn = lost.last_conn;
    }

    /// The server for plain calls where there is one and no other will ever be.
    pub(crate) fn only(&self) -> Option<NodeId> {
        self.servers.only
    }

    pub(in crate::core) fn enter(
        &mut self,
        owner: T,
        view: View,
        timeout: Duration,
        deadline: Instant,
    ) -> CallId {
        self.serial += 1;
        let serial = self.serial;
        let hash = hash_of(owner.key());
        let state = CallState {
            serial,
            owner,
            view,
            timeout,
            deadline,
            map_wait: None,
            wake: None,
            asking: None,
            spent: Spent::default(),
            last_node: None,
            shares: None,
            body: Body::New,
        };
        let place = self.calls.insert(state);
        self.keys.insert(place, hash);
        CallId { place, serial }
    }

    /// Keeps what is over before its time from piling up behind something that waits long.
    #[inline]
    pub(in crate::core) fn sweep_timers(&mut self) {
        let live = self.attempts.len() + self.calls.len() + self.conns.len();
        if self.timers.is_worth_sweeping(live) {
            let mut timers = std::mem::take(&mut self.timers);
            timers.sweep(|at, timer| self.is_due(at, timer));
            self.timers = timers;
        }
    }

    /// When [`Engine::tick`] is due next.
    pub(crate) fn next_tick(&mut self) -> Option<Instant> {
        while let Some((at, timer)) = self.timers.first() {
            if self.is_due(at, timer) {
                return Some(at);
            }
            self.timers.take_first();
        }
        None
    }

    /// Whether something still waits for this time.
    pub(in crate::core) fn is_due(&self, at: Instant, timer: Timer) -> bool {
        let due = match timer {
            Timer::Attempt(id) => self.attempt(id).and_then(Attempt::due),
            Timer::Call(id) => self.call(id).and_then(|call| call.wake),
            Timer::Conn(id) => self.conns.get(&id).and_then(Conn::due),
            Timer::Login(id) => self.conns.get(&id).and_then(|conn| conn.login.due()),
            Timer::Node(first) => self.servers.node(first).not_before,
            Timer::Refresh => self.refresh.due,
            Timer::Kept => self.kept_due,
        };
        due == Some(at)
    }

    /// What it holds.
    #[cfg(any(test, feature = "fuzz-internals"))]
    pub(crate) fn held(&self) -> Held {
        assert!(self.servers.is_nowhere_untouched(), "a server that is forgotten was turned to");
        let lines: usize = self.servers.all().map(|node| node.line.len()).sum();
        Held {
            calls: self.calls.len(),
            attempts: self.attempts.len(),
            conns: self.conns.len(),
            stale: self.timers.len()
                + self.refresh.waits()
                + self.own_line.len()
                + lines
                + self.login_calls.len(),
        }
    }

    pub(crate) fn stats(&self) -> EngineStats {
        let reconnects = self.servers.reconnects();
        let shaking =
            self.conns.values().filter(|conn| conn.is_shaking() || conn.login.is_under_way()).count() as u64;
        EngineStats { reconnects, redirects: self.servers.redirects, shaking }
    }

    /// Notes what an attempt has cost.
    pub(in crate::core) fn note_spent(&mut self, whose: For, node: NodeId, spent: &Spent) {
        if let (true, For::Call(id) | For::Part(id, _)) = (self.is_metered, whose)
            && let Some(call) = self.call_mut(id)
        {
            call.spent.add(spent);
            call.last_node = Some(node);
        }
    }

    #[inline]
    pub(in crate::core) fn call(&self, id: CallId) -> Option<&CallState<T>> {
        self.calls.get(id.place).filter(|call| call.serial == id.serial)
    }

    #[inline]
    pub(in crate::core) fn call_mut(&mut self, id: CallId) -> Option<&mut CallState<T>> {
        self.calls.get_mut(id.place).filter(|call| call.serial == id.serial)
    }

    pub(in crate::core) fn set_body(&mut self, id: CallId, body: Body) {
        if let Some(call) = self.call_mut(id) {
            call.body = body;
        }
    }

    #[inline]
    pub(in crate::core) fn attempt(&self, id: AttemptId) -> Option<&Attempt> {
        self.attempts.get(id.place).filter(|attempt| attempt.serial == id.serial)
    }

    #[inline]
    pub(in crate::core) fn attempt_mut(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.attempts.get_mut(id.place).filter(|attempt| attempt.serial == id.serial)
    }
}
