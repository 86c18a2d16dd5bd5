//! All of one client: its calls, servers and connections, and the events that move them.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::administration;
use super::attempts::{Attempt, For, Patience, State, Tried};
use super::call::Single;
use super::connecting::Conn;
use super::everywhere::{self, Everywhere};
use super::evidence::{Evidence, Need};
use super::fan_out::FanOut;
use super::history::Whence;
use super::login::LoginAgain;
use super::refresh::{MapWait, Refresh};
use super::servers::{Link, Servers};
use super::sharing::{Shares, Sharing};
use super::timers::{Timer, Timers};
use super::{Actions, AttemptId, Call, CallId, ConnId, Ended, NodeId, Owner, Resumed, Task, View, Way, Work};
use crate::config::Config;
use crate::error::{Error, Result, Status};
use crate::figures;
use crate::index::{Index, hash_of};
use crate::log::{EventKind, Record};
use crate::meter::Spent;
use crate::request::{Request, Shape};
use crate::resp::{Pool, Reply};
use crate::session::Compiled;
use crate::session::handshake::Purpose;
use crate::slots::NO_SLOT;

/// What the engine counts; the rest of the figures are the connections' own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EngineStats {
    pub(crate) reconnects: u64,
    pub(crate) redirects: u64,
    /// Requests under way that belong to handshakes: no calls, though connections count them.
    pub(crate) shaking: u64,
}

/// How much an engine holds.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) calls: usize,
    pub(crate) attempts: usize,
    pub(crate) conns: usize,
    /// Entries of lists that what is over stays in for a while.
    pub(crate) stale: usize,
}

pub(crate) struct Engine<T> {
    pub(super) servers: Servers,
    pub(super) conns: HashMap<ConnId, Conn>,
    pub(super) last_conn: u64,
    pub(super) attempts: Slab<Attempt>,
    /// Counts attempts and calls, so that a place that is used again is not taken for what was there before.
    pub(super) serial: u64,
    pub(super) calls: Slab<CallState<T>>,
    /// The calls by their owners' keys.
    keys: Index,
    /// Own connections of commands that wait on their servers, and what stands in line for one.
    pub(super) waiting_conns: usize,
    pub(super) own_line: VecDeque<AttemptId>,
    pub(super) sharing: Sharing,
    pub(super) refresh: Refresh,
    pub(super) timers: Timers,
    /// Attempts that are over, whose owners are to be told.
    pub(super) tried: VecDeque<(For, Tried)>,
    /// Calls that have connections log in again.
    pub(super) login_calls: Vec<CallId>,
    /// Calls that have what they waited for.
    pub(super) ready: VecDeque<CallId>,
    pub(super) pool: Arc<Pool>,
    /// Plain calls have been told where they go.
    are_routes_known: bool,
    pub(super) is_closed: bool,
    /// What calls cost is asked for.
    pub(super) is_metered: bool,
}

/// A call under way.
pub(super) struct CallState<T> {
    pub(super) serial: u64,
    owner: T,
    pub(super) view: View,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
    /// It waits for a new map.
    pub(super) map_wait: Option<MapWait>,
    /// What it waits for, if that is a time.
    pub(super) wake: Option<Instant>,
    pub(super) asking: Option<Box<Asking>>,
    /// What its attempts have cost, and where the last one went.
    spent: Spent,
    last_node: Option<NodeId>,
    /// Which of the shared connections it takes, where there are several.
    pub(super) shares: Option<Box<Shares>>,
    pub(super) body: Body,
}

/// What servers are asked about a call.
#[derive(Default)]
pub(super) struct Asking {
    pub(super) under_way: Vec<Need>,
    pub(super) evidence: Evidence,
}

/// What a call is to do, and how far it has come.
pub(super) enum Body {
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
            own_line: VecDeque::new(),
            refresh: Refresh::default(),
            timers: Timers::default(),
            tried: VecDeque::new(),
            login_calls: Vec::new(),
            ready: VecDeque::new(),
            pool,
            are_routes_known: false,
            is_closed: false,
        }
    }

    /// The server for plain calls where there is one and no other will ever be.
    pub(crate) fn only(&self) -> Option<NodeId> {
        self.servers.only
    }

    /// Takes a call on.
    pub(crate) fn submit(&mut self, now: Instant, io: &mut dyn Actions<T>, call: Call<T>) {
        let Call { owner, work, view, timeout, deadline } = call;
        if self.is_closed {
            return io.complete(owner, Err(Error::closed()), None);
        }
        let id = self.enter(owner, view, timeout, deadline);
        match work {
            Work::Open => self.begin_open(now, io, id),
            Work::Send(request, Purpose::Calls) if self.sharing.is_on() => self.share(now, io, id, request),
            Work::Send(request, purpose) => self.begin(now, io, id, request, purpose),
            Work::Administer(task) => self.begin_task(now, io, id, task),
            Work::LogIn => self.begin_login_again(now, io, id),
            Work::Figures => {
                let reply = figures::reply(self.servers.compiled.figures());
                self.finish(io, id, reply.map_err(Error::from), None);
            }
        }
        self.settle(now, io);
    }

    fn enter(&mut self, owner: T, view: View, timeout: Duration, deadline: Instant) -> CallId {
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

    pub(super) fn begin(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        request: Box<Request>,
        purpose: Purpose,
    ) {
        let Some(call) = self.call(id) else { return };
        if call.view.way == Way::AllPrimaries && request.slot == NO_SLOT && purpose != Purpose::Waiting {
            if request.shape != Shape::Single {
                let text = "a pipeline or transaction has one reply an item, and cannot go to all primaries; nothing was \
                            sent";
                return self.finish(io, id, Err(Error::new(Status::NoRoute, text)), None);
            }
            let work = everywhere::Work::Send(request);
            return self.begin_everywhere(now, io, id, Everywhere::new(work, purpose));
        }
        let reads = purpose == Purpose::Calls && call.view.reads(&request);
        let only = self.servers.only.filter(|_| !reads);
        if request.shape == Shape::Pipeline && only.is_none() {
            let fan_out = FanOut::new(request, &call.view, now, call.deadline);
            return self.begin_fan_out(now, io, id, fan_out);
        }
        self.begin_single(now, io, id, request, Single::new(purpose, None), only);
    }

    fn begin_task(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId, task: Task) {
        if matches!(&task, Task::Exists(shas) if shas.is_empty()) {
            // The command needs one.
            return self.finish(io, id, administration::combine(&task, Vec::new()), None);
        }
        let kills = matches!(task, Task::Kill | Task::KillAny);
        let is_of_library = matches!(task, Task::Library(_));
        let only = self.servers.only.filter(|_| !kills && !is_of_library);
        if only.is_some() {
            let mut request = io.take_request();
            request.reset(Shape::Single);
            request.say(&administration::command(&task));
            let single = Single::new(Purpose::Calls, Some(Box::new(task)));
            return self.begin_single(now, io, id, request, single, only);
        }
        let purpose = if kills { Purpose::Bare } else { Purpose::Calls };
        let work = everywhere::Work::Administer(task);
        self.begin_everywhere(now, io, id, Everywhere::new(work, purpose));
    }

    /// Sees that there is a connection, or that it is known which servers there are.
    fn begin_open(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(call) = self.call(id) else { return };
        let times = (call.deadline, call.timeout);
        self.set_body(id, Body::Open);
        match self.servers.only {
            Some(node) => {
                let mut attempt = Attempt::new(For::Call(id), node, None, now, times);
                attempt.patience = Patience::Times(1);
                self.start(now, io, attempt);
            }
            None => self.await_map(now, io, id, 0, times.0, MapWait::OneLook),
        }
    }

    /// Goes on with a plain blocking call.
    pub(crate) fn resume(&mut self, now: Instant, io: &mut dyn Actions<T>, resumed: Resumed<T>) {
        let Resumed { call, node, conn, sent, ended } = resumed;
        let id = self.enter(call.owner, call.view, call.timeout, call.deadline);
        let size = ended.request.size_sent();
        let spent = self
            .is_metered
            .then(|| Spent::on(size, Some(&ended.request), &ended.result, ended.arrived.as_deref()));
        let tried = Tried {
            spent,
            whence: Whence { node, conn: Some(conn) },
            request: Some(ended.request),
            result: ended.result,
            arrived: ended.arrived,
            took: now.saturating_duration_since(sent),
            turned: false,
        };
        if let Some(spent) = spent {
            self.note_spent(For::Call(id), node, &spent);
        }
        self.resume_single(now, io, id, tried);
        self.settle(now, io);
    }

    /// A plain blocking call to this server has missed its deadline: others look elsewhere first.
    pub(crate) fn missed(&mut self, now: Instant, io: &mut dyn Actions<T>, node: NodeId) {
        if self.servers.only.is_none() {
            self.servers.node_mut(node).rest(now);
            self.servers.doubt(node);
        }
        self.settle(now, io);
    }

    /// The look-up for a connection has ended.
    pub(crate) fn resolved(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        conn: ConnId,
        found: Result<Vec<SocketAddr>>,
    ) {
        self.conn_resolved(now, io, conn, found);
        self.settle(now, io);
    }

    /// The peer has taken the connection: it takes requests now.
    pub(crate) fn connected(&mut self, now: Instant, io: &mut dyn Actions<T>, conn: ConnId) {
        self.conn_opened(now, io, conn);
        self.settle(now, io);
    }

    /// The peer has not taken the connection. The text says why, without the address.
    pub(crate) fn refused(&mut self, now: Instant, io: &mut dyn Actions<T>, conn: ConnId, why: Error) {
        self.conn_refused(now, io, conn, &why);
        self.settle(now, io);
    }

    /// An attempt has ended on its connection.
    pub(crate) fn ended(&mut self, now: Instant, io: &mut dyn Actions<T>, attempt: AttemptId, ended: Ended) {
        self.attempt_ended(now, io, attempt, ended);
        self.settle(now, io);
    }

    /// A connection has ended by itself, or takes no new calls. All its attempts are told by [`Engine::ended`].
    pub(crate) fn lost(&mut self, now: Instant, io: &mut dyn Actions<T>, conn: ConnId) {
        self.conn_lost(now, io, conn);
        self.settle(now, io);
    }

    /// Does what is due at this time.
    pub(crate) fn tick(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        while let Some((at, timer)) = self.timers.take_due(now) {
            if !self.is_due(at, timer) {
                continue;
            }
            match timer {
                Timer::Attempt(id) => self.attempt_due(now, io, id),
                Timer::Conn(id) => self.conn_due(now, io, id),
                Timer::Login(id) => self.login_due(now, io, id),
                Timer::Node(id) => self.connect_if_wanted(now, io, id),
                Timer::Refresh => {
                    self.refresh.due = None;
                    self.look(now, io);
                }
                Timer::Call(id) => {
                    if let Some(call) = self.call_mut(id) {
                        call.wake = None;
                    }
                    if !self.map_due(now, io, id) {
                        self.proceed(now, io, id);
                    }
                }
            }
            self.settle(now, io);
        }
    }

    /// Keeps what is over before its time from piling up behind something that waits long.
    #[inline]
    pub(super) fn sweep_timers(&mut self) {
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
    fn is_due(&self, at: Instant, timer: Timer) -> bool {
        let due = match timer {
            Timer::Attempt(id) => self.attempt(id).and_then(Attempt::due),
            Timer::Call(id) => self.call(id).and_then(|call| call.wake),
            Timer::Conn(id) => self.conns.get(&id).and_then(Conn::due),
            Timer::Login(id) => self.conns.get(&id).and_then(|conn| conn.login.due()),
            Timer::Node(id) => {
                let node = self.servers.node(id);
                let not_before = self.servers.node(node.first).not_before;
                not_before.filter(|_| node.link == Link::None && !node.line.is_empty())
            }
            Timer::Refresh => self.refresh.due,
        };
        due == Some(at)
    }

    /// Ends a call at once that its caller does not want any more. `false`: there is none with this key of which `is_it` is true.
    pub(crate) fn cancel(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        key: u64,
        is_it: &dyn Fn(&T) -> bool,
    ) -> bool {
        let place = self.keys.find(hash_of(key)).find(|place| is_it(&self.calls[*place].owner));
        let Some(place) = place else { return false };
        let id = CallId { place, serial: self.calls[place].serial };
        self.cancel_call(now, io, id);
        self.settle(now, io);
        true
    }

    fn cancel_call(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(call) = self.call_mut(id) else { return };
        match &mut call.body {
            Body::FanOut(_) => self.cancel_fan_out(now, io, id),
            Body::Everywhere(_) => self.cancel_everywhere(now, io, id),
            Body::Single(single) => {
                let Some(attempt) = single.attempt else {
                    if let Some(payload) = single.take_unread() {
                        return self.end_with(io, id, Ok(payload), None);
                    }
                    // What its last attempt has proved is not known yet, and will not be.
                    let (error, arrived) = match single.pending_error() {
                        Some((error, arrived)) if !error.is_not_executed() => (error, arrived),
                        _ => (Error::called_off(false), None),
                    };
                    let error = single.honest(error);
                    return self.finish(io, id, Err(error), arrived.map(Reply::new));
                };
                // Where it is over, its end is on the way.
                let Some((node, left)) = self.call_off(now, io, attempt) else {
                    if let Some(Body::Single(single)) = self.call_mut(id).map(|call| &mut call.body) {
                        single.is_called_off = true;
                    }
                    return;
                };
                let error = Error::called_off(left.queued).on(&self.servers.node(node).name);
                let error = match self.call_mut(id).map(|call| &mut call.body) {
                    Some(Body::Single(single)) => single.honest(error),
                    _ => error,
                };
                self.finish(io, id, Err(error), left.arrived.map(Reply::new));
            }
            Body::New | Body::Held(_) | Body::Open => {
                self.finish(io, id, Err(Error::called_off(false)), None);
            }
            // Others may have begun.
            Body::LoginAgain(_) => self.finish(io, id, Err(Error::called_off(true)), None),
        }
    }

    /// Ends every call and connection; what comes after is refused.
    pub(crate) fn close(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        let closed = Error::closed();
        io.route(None);
        // In the order in which they were made, so that one run is as another.
        let mut conns: Vec<ConnId> = self.conns.keys().copied().collect();
        conns.sort_unstable();
        for id in conns {
            // Those on it are told when it has ended.
            io.close(id, closed.clone());
            let Some(conn) = self.take_conn(id).filter(|conn| conn.own.is_none()) else { continue };
            if std::mem::replace(&mut self.servers.node_mut(conn.node).link, Link::None) == Link::Up(id) {
                io.serve(conn.node, None);
            }
        }
        let waiting: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| !matches!(attempt.state, State::On(..) | State::Ending(_)))
            .map(|(place, attempt)| AttemptId { place, serial: attempt.serial })
            .collect();
        for id in waiting {
            self.fail(now, io, id, closed.clone());
        }
        self.settle(now, io);
        // What is left of calls has no attempt under way: it waits for a time, a map or an answer.
        let idle: Vec<CallId> =
            self.calls.iter().map(|(place, call)| CallId { place, serial: call.serial }).collect();
        for id in idle {
            let waits = self.call(id).is_some_and(|call| {
                call.wake.is_some() && call.asking.as_ref().is_none_or(|asking| asking.under_way.is_empty())
            });
            if waits {
                self.no_map(now, io, id, closed.clone(), false);
            }
        }
        self.settle(now, io);
    }

    /// What it holds.
    #[cfg(test)]
    pub(crate) fn held(&self) -> Held {
        let lines: usize = self.servers.all().map(|node| node.line.len()).sum();
        Held {
            calls: self.calls.len(),
            attempts: self.attempts.len(),
            conns: self.conns.len(),
            stale: self.timers.len() + self.refresh.waits() + self.own_line.len() + lines,
        }
    }

    pub(crate) fn stats(&self) -> EngineStats {
        let reconnects = self.servers.all().map(|node| node.connections.saturating_sub(1)).sum();
        let shaking =
            self.conns.values().filter(|conn| conn.is_shaking() || conn.login.is_under_way()).count() as u64;
        EngineStats { reconnects, redirects: self.servers.redirects, shaking }
    }

    /// Tells the owners of attempts that are over, until there is nothing more to tell.
    pub(super) fn settle(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        loop {
            if let Some((whose, tried)) = self.tried.pop_front() {
                self.tell(now, io, whose, tried);
            } else if let Some(id) = self.ready.pop_front() {
                self.proceed(now, io, id);
            } else if !self.own_line.is_empty() && self.waiting_conns < self.servers.config.max_waiting {
                self.run_next_waiting(now, io);
            } else {
                break;
            }
        }
        if !self.login_calls.is_empty() {
            self.end_login_calls(io);
        }
        for (slot, primary) in std::mem::take(&mut self.servers.moved) {
            let node = self.servers.node(primary);
            let text = format!("slot {slot} is at {} now", node.address);
            io.log(Record::new(EventKind::SlotMoved, Some(&node.name), text));
        }
        if self.servers.only.is_none() {
            self.publish(io);
        }
    }

    /// Notes what an attempt has cost.
    pub(super) fn note_spent(&mut self, whose: For, node: NodeId, spent: &Spent) {
        if let (true, For::Call(id) | For::Part(id, _)) = (self.is_metered, whose)
            && let Some(call) = self.call_mut(id)
        {
            call.spent.add(spent);
            call.last_node = Some(node);
        }
    }

    fn tell(&mut self, now: Instant, io: &mut dyn Actions<T>, whose: For, mut tried: Tried) {
        if let Some(spent) = &tried.spent {
            self.note_spent(whose, tried.whence.node, spent);
        }
        let body = match whose {
            For::Call(id) | For::Part(id, _) => self.call(id).map(|call| &call.body),
            For::Evidence(..) | For::Refresh(_) | For::Handshake(_) | For::Login(_) => None,
        };
        match (whose, body) {
            (For::Handshake(conn), _) => {
                tried.give_back(io);
                self.shaken(now, io, conn, tried.result);
            }
            // Its request holds the password: it is not kept.
            (For::Login(conn), _) => self.login_answered(now, io, conn, tried.result),
            (For::Evidence(id, need, step), _) => self.asked(now, io, (id, need, step), tried),
            (For::Refresh(number), _) => self.told(now, io, number, tried),
            (For::Call(id), Some(Body::Open)) => self.finish(io, id, tried.result.map(Reply::nil), None),
            (For::Call(id), Some(Body::Single(_))) => self.single_tried(now, io, id, tried),
            (For::Part(id, place), Some(Body::FanOut(_))) => {
                self.part_of_fan_out_tried(now, io, id, place, tried);
            }
            (For::Part(id, place), Some(Body::Everywhere(_))) => {
                self.part_of_everywhere_tried(now, io, id, place, tried);
            }
            // The call is over.
            (For::Call(_) | For::Part(..), _) => tried.give_back(io),
        }
    }

    /// Tells plain calls where they go, where that has changed.
    fn publish(&mut self, io: &mut dyn Actions<T>) {
        let is_settled = self.servers.map.generation != 0 && !self.servers.is_doubted && !self.is_closed;
        if is_settled == self.are_routes_known && !self.servers.are_routes_old {
            return;
        }
        self.servers.are_routes_old = false;
        self.are_routes_known = is_settled;
        let until = self.servers.looked.zip(self.trust()).map(|(looked, trust)| looked + trust);
        io.route(is_settled.then(|| self.servers.map.routes(until)));
    }

    /// Goes on with a call that has what it waited for.
    pub(super) fn proceed(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(call) = self.call_mut(id) else { return };
        (call.wake, call.map_wait) = (None, None);
        match call.body {
            Body::Single(_) => self.proceed_single(now, io, id),
            Body::FanOut(_) => self.proceed_fan_out(now, io, id),
            Body::Everywhere(_) => self.proceed_everywhere(now, io, id),
            Body::Open => {
                let reply = Reply::nil(self.pool.take());
                self.finish(io, id, Ok(reply), None);
            }
            Body::LoginAgain(_) => self.login_again_late(io, id),
            Body::Held(_) => self.proceed_held(now, io, id),
            Body::New => {}
        }
    }

    /// The map that a call waited for has not come. `is_late`: in its time.
    pub(super) fn no_map(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        error: Error,
        is_late: bool,
    ) {
        let Some(call) = self.call_mut(id) else { return };
        call.wake = None;
        if call.map_wait.take() == Some(MapWait::OldMapDoes) && error.status() != Status::Closed {
            return self.proceed(now, io, id);
        }
        match call.body {
            Body::Single(_) => self.no_map_for_single(io, id, error, is_late),
            Body::FanOut(_) => self.no_map_for_fan_out(now, io, id, error),
            Body::Everywhere(_) => self.no_map_for_everywhere(io, id, error),
            Body::New | Body::Held(_) | Body::Open | Body::LoginAgain(_) => {
                self.finish(io, id, Err(error), None)
            }
        }
    }

    /// Ends a call.
    pub(super) fn finish(
        &mut self,
        io: &mut dyn Actions<T>,
        id: CallId,
        result: Result<Reply>,
        arrived: Option<Reply>,
    ) {
        if self.call(id).is_none() {
            return;
        }
        self.keys.remove(id.place);
        let mut call = self.calls.remove(id.place);
        if self.sharing.is_on() {
            self.leave_shared(id, call.shares.take());
        }
        let result = match &mut call.body {
            Body::Single(single) => Self::single_result(single, result),
            Body::Held(request) => {
                io.keep(std::mem::take(request));
                result
            }
            _ => result,
        };
        if self.is_metered {
            let node = call.last_node.map(|node| Arc::clone(&self.servers.node(node).name));
            io.account(&mut call.owner, call.spent, node);
        }
        io.complete(call.owner, result, arrived);
    }

    #[inline]
    pub(super) fn call(&self, id: CallId) -> Option<&CallState<T>> {
        self.calls.get(id.place).filter(|call| call.serial == id.serial)
    }

    #[inline]
    pub(super) fn call_mut(&mut self, id: CallId) -> Option<&mut CallState<T>> {
        self.calls.get_mut(id.place).filter(|call| call.serial == id.serial)
    }

    pub(super) fn set_body(&mut self, id: CallId, body: Body) {
        if let Some(call) = self.call_mut(id) {
            call.body = body;
        }
    }
}
