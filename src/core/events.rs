//! The events that move a client: each is taken in here, and told to those whom it is for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::administration;
use super::interface::{
    Actions, AttemptId, Call, CallId, ConnId, Ended, NodeId, Owner, Resumed, Task, Way, Work,
};
use super::state::attempt::{Attempt, For, Patience, State, Tried};
use super::state::engine::{Body, Engine};
use super::state::everywhere::{self, Everywhere};
use super::state::fan_out::FanOut;
use super::state::history::Whence;
use super::state::refresh::MapWait;
use super::state::servers::Link;
use super::state::single::Single;
use super::state::timers::Timer;
use crate::base::index::hash_of;
use crate::base::log::{EventKind, Record};
use crate::base::purpose::Purpose;
use crate::error::{Error, Result, Status};
use crate::metrics::figures;
use crate::metrics::meter::Spent;
use crate::request::slots::NO_SLOT;
use crate::request::{Request, Shape};
use crate::resp::Reply;

impl<T: Owner> Engine<T> {
    /// Takes a call on.
    pub(crate) fn submit(&mut self, now: Instant, io: &mut dyn Actions<T>, call: Call<T>) {
        let Call { owner, work, view, timeout, deadline } = call;
        if self.is_closed {
            return io.complete(owner, Err(Error::closed()), None);
        }
        let id = self.enter(owner, view, timeout, deadline);
        match work {
            Work::Open => self.begin_open(now, io, id),
            Work::Send(request, Purpose::Calls) if request.wait.is_some() => {
                self.begin(now, io, id, request, Purpose::Waiting);
            }
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
                let text = "a pipeline or transaction has one reply an item, and cannot go to all primaries; nothing \
                            was sent";
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
        let is_parted = ended.request.shape == Shape::Pipeline && self.servers.only.is_none();
        let size = ended.request.size_sent();
        let spent = self
            .is_metered
            .then(|| Spent::on(size, Some(&ended.request), &ended.result, ended.arrived.as_deref()));
        let mut tried = Tried {
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
        if !self.servers.hold(node, id.serial) {
            // Nobody is there to be asked about what it has said.
            tried.give_back(io);
            self.finish(io, id, tried.result.map(Reply::new), tried.arrived.map(Reply::new));
        } else if is_parted {
            self.resume_fan_out(now, io, id, tried);
        } else {
            self.resume_single(now, io, id, tried);
        }
        self.settle(now, io);
    }

    /// A plain blocking call to this server has missed its deadline: others look elsewhere first.
    pub(crate) fn missed(&mut self, now: Instant, io: &mut dyn Actions<T>, node: NodeId) {
        if self.servers.only.is_none() && self.servers.is_known(node) {
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

    /// It has come to light that a server evicts keys, and with them the tokens of calls that are to happen once.
    pub(crate) fn evicts(&mut self, io: &mut dyn Actions<T>, conn: ConnId, policy: &str) {
        let Some(conn) = self.conns.get(&conn) else { return };
        let node = self.servers.node(conn.node);
        let text = format!(
            "{} evicts keys by its maxmemory-policy {policy}, and with them the tokens of calls that are to happen \
             once: a call that is sent again then may run twice. The policy noeviction keeps them",
            node.address
        );
        io.log(Record::warning(EventKind::EvictsTokens, &node.name, text));
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
                Timer::Node(first) => self.connect_sharers_if_wanted(now, io, first),
                Timer::Kept => self.kept_due(now, io),
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

    /// Ends a call at once that its caller does not want any more. `false`: there is none with this key of which
    /// `is_it` is true.
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
                    let error = single.final_error(error);
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
                    Some(Body::Single(single)) => single.final_error(error),
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

    /// Tells the owners of attempts that are over, until there is nothing more to tell.
    pub(super) fn settle(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        loop {
            if let Some((whose, tried)) = self.tried.pop_front() {
                self.tell(now, io, whose, tried);
            } else if let Some(id) = self.ready.pop_front() {
                self.proceed(now, io, id);
            } else if !self.own_line.is_empty()
                && self.waiting_conns - self.idle_conns < self.servers.config.max_waiting
            {
                self.run_next_waiting(now, io);
            } else {
                break;
            }
        }
        if std::mem::take(&mut self.are_login_calls_due) {
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
        let is_believed = !self.servers.is_doubted && self.servers.suspect.is_none();
        let is_settled = self.servers.map.generation != 0 && is_believed && !self.is_closed;
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
}
