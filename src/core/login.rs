//! As whom connections log in where the client's owner is asked for that: before the handshake, and again while they
//! stand.

use std::sync::Arc;
use std::time::Instant;

use super::interface::{Actions, CallId, ConnId, NodeId, Owner};
use super::state::attempt::{Attempt, For, Via};
use super::state::conn::Stage;
use super::state::engine::{Body, Engine};
use super::state::login::{LoginAgain, Step};
use super::state::servers::{Link, Node};
use super::state::timers::{FEW, Timer};
use crate::base::credentials::Credentials;
use crate::base::log::{EventKind, LogLevel, Record};
use crate::error::{Error, Reason, Result, Status};
use crate::request::{Request, Shape};
use crate::resp::{Payload, Reply};
use crate::session::verdict;

impl<T: Owner> Engine<T> {
    /// The owner of the client has given credentials for a connection, or has none; asked at that time.
    pub(crate) fn credentials(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: ConnId,
        asked: Instant,
        found: Result<Arc<Credentials>>,
    ) {
        self.conn_credentials(now, io, id, asked, found);
        self.settle(now, io);
    }

    /// Asks the client's owner for credentials.
    pub(super) fn ask_credentials(&mut self, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let node = self.servers.node(conn.node);
        io.ask_credentials(id, &node.address);
    }

    /// The connection is up, and the server has taken what was given.
    pub(super) fn logged_in(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.login.settle();
        self.mind_login(io, id);
        self.end_login(now, io, id, None);
    }

    /// Sees to it that the next login is not slept through.
    fn mind_login(&mut self, io: &mut dyn Actions<T>, id: ConnId) {
        if let Some(due) = self.conns.get(&id).and_then(|conn| conn.login.due) {
            self.timers.add(due, Timer::Login(id));
            io.remind(due);
        }
    }

    /// Has a connection that stands log in once more.
    fn log_in_again(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.login.step = Step::Asked;
        conn.login.due = Some(now + conn.config.connect_timeout);
        self.mind_login(io, id);
        self.ask_credentials(io, id);
    }

    /// Whether a connection is the one that calls to its server take: any other is left in peace until it is closed.
    fn is_in_use(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|conn| self.servers.node(conn.node).link == Link::Up(id))
    }

    /// The time of a connection's login has come.
    pub(super) fn login_due(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let is_in_use = self.is_in_use(id);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.login.due = None;
        match conn.login.step {
            Step::Settled if is_in_use => self.log_in_again(now, io, id),
            Step::Asked => {
                let waited = conn.config.connect_timeout;
                let text = format!("the credentials callback did not answer within {waited:?}");
                let error = Error::because(Status::Auth, Reason::Deadline, text);
                self.login_failed(now, io, id, error);
            }
            Step::Settled | Step::Said(_) => {}
        }
    }

    /// Goes on with the login of a connection that stands.
    pub(super) fn log_in_with(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: ConnId,
        asked: Instant,
        found: Result<Arc<Credentials>>,
    ) {
        let is_in_use = self.is_in_use(id);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        // An answer that comes late will do while the next question is put off.
        let is_awaited =
            conn.login.step == Step::Asked || conn.login.step == Step::Settled && conn.login.failures > 0;
        if !is_awaited {
            return;
        }
        if is_in_use && conn.login.is_stale(asked) {
            return self.log_in_again(now, io, id);
        }
        let given = match found {
            Ok(given) => given,
            Err(_) if conn.login.step == Step::Settled => return,
            Err(error) => {
                conn.login.asked = Some(asked);
                return self.login_failed(now, io, id, error);
            }
        };
        conn.login.due = None;
        if !is_in_use {
            conn.login.step = Step::Settled;
            return self.end_login_calls(io);
        }
        if given.user() != conn.login.user.as_deref() {
            return self.change_user(now, io, id);
        }
        let mut request = Box::<Request>::default();
        request.reset(Shape::Single);
        let password = given.password().expose();
        match given.user() {
            Some(user) => request.say(&[b"AUTH", user.as_bytes(), password]),
            // The same user; a server from before there were users knows no other way.
            None if conn.facts.has_hello() => request.say(&[b"AUTH", b"default", password]),
            None => request.say(&[b"AUTH", password]),
        }
        conn.login.give(given, asked, now);
        let times = (now + conn.config.connect_timeout, conn.config.connect_timeout);
        let mut attempt = Attempt::new(For::Login(id), conn.node, Some(request), now, times);
        attempt.via = Via::This(id);
        let said = self.start(now, io, attempt);
        if self.attempt(said).is_some()
            && let Some(conn) = self.conns.get_mut(&id)
        {
            conn.login.step = Step::Said(said);
        }
    }

    /// Another user has other rights than those that were learnt on a connection, so there has to be a new one. It is
    /// made though no call may wait for it: whoever has it log in again is told what comes of that.
    fn change_user(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.login.step = Step::Settled;
        let (node, purpose) = (conn.node, conn.purpose);
        let server = self.servers.node(node);
        let text = format!("the connection to {} is replaced: the user has changed", server.address);
        io.log(Record::new(EventKind::UserChanged, Some(&server.name), text));
        // It is not lost: what is on it goes on, unless the client is closed.
        self.replace(now, io, id);
        if self.servers.node(node).link == Link::None && !self.is_closed {
            if self.servers.is_watched() {
                self.servers.doubt(node);
            }
            self.connect(now, io, node, purpose, None);
        }
    }

    /// The server has answered AUTH, or the connection is gone.
    pub(super) fn login_answered(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: ConnId,
        result: Result<Box<Payload>>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Node { address, name, .. } = self.servers.node(conn.node);
        match result {
            Ok(_) => {
                conn.login.settle();
                let text = format!("logged in again at {address}");
                io.log(Record::new(EventKind::Reauthenticated, Some(name), text));
                self.mind_login(io, id);
                self.end_login(now, io, id, None);
            }
            Err(error) if error.status().is_answer() => {
                let text = verdict::without_arguments(error.server_text().unwrap_or_default());
                let error = Error::server(Status::Auth, text, true)
                    .context(format_args!("{address} refused the login on a connection that stands"));
                self.login_failed(now, io, id, error);
            }
            // The one that takes its place is given what is asked for then.
            Err(error) if error.reason() == Reason::ConnectionLost => {
                conn.login.step = Step::Settled;
                self.unlink(now, io, id);
                self.end_login_calls(io);
            }
            Err(error) => {
                conn.login.step = Step::Settled;
                let node = conn.node;
                self.login_over(io, node, Some(error), now);
            }
        }
    }

    /// A login on a connection that stands has come to nothing: that serves on, and tries again.
    fn login_failed(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId, error: Error) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let name = &self.servers.node(conn.node).name;
        let error = error.on(name);
        conn.login.pause(now);
        io.log(Record::of(EventKind::AuthFailed, LogLevel::Warning, name, &error));
        self.mind_login(io, id);
        self.end_login(now, io, id, Some(error));
    }

    fn end_login(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId, error: Option<Error>) {
        if !self.is_in_use(id) {
            return self.end_login_calls(io);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let node = conn.node;
        if !std::mem::take(&mut conn.login.again) {
            return self.login_over(io, node, error, now);
        }
        conn.login.fresh_from = Some(now);
        let asked = conn.login.asked;
        self.log_in_again(now, io, id);
        if let Some(asked) = asked {
            self.login_over(io, node, error, asked);
        }
    }

    /// Tells the calls that wait for the login of a server's connection: those that were made by then.
    pub(super) fn login_over(
        &mut self,
        io: &mut dyn Actions<T>,
        node: NodeId,
        error: Option<Error>,
        until: Instant,
    ) {
        for at in 0..self.login_calls.len() {
            let call = self.login_calls[at];
            if let Some(Body::LoginAgain(again)) = self.call_mut(call).map(|call| &mut call.body)
                && again.since <= until
                && let Some(place) = again.left.iter().position(|left| *left == node)
            {
                again.left.swap_remove(place);
                again.error = again.error.take().or_else(|| error.clone());
            }
        }
        self.end_login_calls(io);
    }

    /// Has every connection log in again that calls take, now or when it is made.
    pub(super) fn begin_login_again(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        if self.servers.config.credentials.is_none() {
            let text = "the client has no credentials callback to ask (option credentials): its password stays as \
                        it is";
            return self.finish(io, id, Err(Error::new(Status::InvalidArgument, text)), None);
        }
        self.drop_kept_logins(io);
        let mut conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.logs_in_again()).map(|(id, _)| *id).collect();
        conns.sort_unstable();
        conns.retain(|id| self.is_in_use(*id) || self.is_being_made(*id));
        let left: Vec<NodeId> = conns.iter().filter_map(|id| Some(self.conns.get(id)?.node)).collect();
        let waits_for_nothing = left.is_empty();
        self.set_body(id, Body::LoginAgain(LoginAgain { left, since: now, error: None }));
        self.login_calls.push(id);
        self.logins_fresh_from = Some(now);
        for conn in self.conns.values_mut() {
            match conn.stage {
                // That of one that is made anew without what spoilt it may have been given before.
                Stage::Resolving | Stage::Dialing { .. } => {
                    (conn.login.fresh_from, conn.login.given) = (Some(now), None);
                }
                // What it was given may be what is no good any more.
                Stage::Asking | Stage::Handshaking => conn.login.wish(now),
                Stage::Up => {}
            }
        }
        for conn_id in conns {
            let Some(conn) = self.conns.get_mut(&conn_id).filter(|conn| conn.stage == Stage::Up) else {
                continue;
            };
            if conn.login.step == Step::Settled {
                conn.login.fresh_from = Some(now);
                self.log_in_again(now, io, conn_id);
            } else {
                conn.login.wish(now);
            }
        }
        if let Some(deadline) = self.call(id).map(|call| call.deadline) {
            self.wake_at(id, deadline);
        }
        // Now and then for those that were called off.
        let count = self.login_calls.len();
        self.are_login_calls_due |= waits_for_nothing || count >= FEW && count.is_power_of_two();
    }

    fn is_being_made(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|conn| self.servers.node(conn.node).link == Link::Making(id))
    }

    /// Ends the calls that wait for no login any more.
    pub(super) fn end_login_calls(&mut self, io: &mut dyn Actions<T>) {
        for id in std::mem::take(&mut self.login_calls) {
            let servers = &self.servers;
            let call = self.calls.get_mut(id.place).filter(|call| call.serial == id.serial);
            let Some(Body::LoginAgain(again)) = call.map(|call| &mut call.body) else { continue };
            // A connection that takes another's place is waited for as well.
            again.left.retain(|left| servers.node(*left).link != Link::None);
            if !again.left.is_empty() {
                self.login_calls.push(id);
                continue;
            }
            let error = if self.is_closed { Some(Error::closed()) } else { again.error.take() };
            let result = error.map_or_else(|| Ok(Reply::nil(self.pool.take())), Err);
            self.finish(io, id, result, None);
        }
    }

    /// The deadline of a call has passed that has all connections log in again.
    pub(super) fn login_again_late(&mut self, io: &mut dyn Actions<T>, id: CallId) {
        let Some(call) = self.call(id) else { return };
        let text = format!(
            "the deadline of {} ms passed before every connection had logged in again; the others may do so yet",
            call.timeout.as_millis()
        );
        self.finish(io, id, Err(Error::indeterminate(Reason::Deadline, text)), None);
    }
}
