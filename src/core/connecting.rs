//! How a connection is made, by look-up, connect and handshake, and when the next attempt comes after one has failed.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::interface::{Actions, AttemptId, ConnId, NodeId, Owner, Peer};
use super::state::attempt::{Attempt, For, State, Via};
use super::state::conn::{Conn, Stage};
use super::state::engine::Engine;
use super::state::login::Login;
use super::state::servers::Link;
use super::state::timers::Timer;
use crate::base::credentials::Credentials;
use crate::base::log::{EventKind, LogLevel, Record};
use crate::base::purpose::Purpose;
use crate::error::{Error, Reason, Result, Status};
use crate::net::address::Address;
use crate::request::Request;
use crate::resp::{Payload, Reply};
use crate::session::Facts;
use crate::session::handshake::{Handshake, Next};

/// Of many addresses one gets no less than such a share of the time that is left: it may be far away.
const SHARES_MAX: u32 = 5;

impl<T: Owner> Engine<T> {
    /// Takes a connection out, which nobody needs any more.
    pub(super) fn take_conn(&mut self, id: ConnId) -> Option<Conn> {
        let conn = self.conns.remove(&id)?;
        self.are_login_calls_due |= !self.login_calls.is_empty();
        self.waiting_conns -= usize::from(conn.is_of_waiting());
        if conn.kept_since.is_some() {
            self.idle_conns -= 1;
            self.servers.node_mut(conn.node).kept.retain(|kept| *kept != id);
        }
        Some(conn)
    }

    /// Makes the connection to a server that somebody waits for, now or when it is due.
    pub(super) fn connect_if_wanted(&mut self, now: Instant, io: &mut dyn Actions<T>, id: NodeId) {
        while let Some(&first) = self.servers.node(id).line.front()
            && self.attempt(first).is_none()
        {
            self.servers.node_mut(id).line.pop_front();
        }
        let node = self.servers.node(id);
        if node.link != Link::None || node.line.is_empty() || self.is_closed {
            return;
        }
        // The back-off ends with a timer, which comes back to this.
        if self.servers.node(node.first).not_before.is_none_or(|not_before| not_before <= now) {
            let purpose = node.purpose;
            self.connect(now, io, id, purpose, None);
        }
    }

    /// The same for all of a server's shared connections, which have one back-off.
    pub(super) fn connect_sharers_if_wanted(&mut self, now: Instant, io: &mut dyn Actions<T>, first: NodeId) {
        for number in 0..self.servers.sharers(first) {
            let sharer = self.servers.sharer(first, number);
            self.connect_if_wanted(now, io, sharer);
        }
    }

    /// Begins to make a connection; `own`: for this attempt alone.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: NodeId,
        purpose: Purpose,
        own: Option<AttemptId>,
    ) -> ConnId {
        let compiled = Arc::clone(&self.servers.compiled);
        let is_well = self.servers.node(self.servers.node(id).first).failures == 0;
        let node = self.servers.node_mut(id);
        let facts = node.new_facts(&compiled, is_well);
        let deadline = now + node.config.connect_timeout;
        self.open(now, io, id, purpose, own, facts, deadline, Login::default())
    }

    #[expect(clippy::too_many_arguments, reason = "what a connection is made of")]
    fn open(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: NodeId,
        purpose: Purpose,
        own: Option<AttemptId>,
        facts: Arc<Facts>,
        deadline: Instant,
        mut login: Login,
    ) -> ConnId {
        login.fresh_from = self.logins_fresh_from;
        self.last_conn += 1;
        let conn_id = ConnId(self.last_conn);
        let node = self.servers.node_mut(id);
        if own.is_none() {
            node.link = Link::Making(conn_id);
        }
        let (config, address) = (Arc::clone(&node.config), node.address.clone());
        let mut conn = Conn {
            node: id,
            purpose,
            own,
            stays: true,
            until: None,
            is_reused: false,
            kept_since: None,
            facts,
            config,
            login,
            started: now,
            deadline,
            stage: Stage::Resolving,
            peers: VecDeque::new(),
            peer: None,
            count: 1,
            refusals: Vec::new(),
            handshake: None,
            said: None,
        };
        match &address {
            Address::Unix(path) => {
                conn.stage = Stage::Dialing { until: deadline };
                io.dial(conn_id, Peer::Unix(path.clone()), &address, &conn.facts);
            }
            Address::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => {
                    let peer = SocketAddr::new(ip, *port);
                    conn.stage = Stage::Dialing { until: deadline };
                    conn.peer = Some(peer);
                    io.dial(conn_id, Peer::Tcp(peer), &address, &conn.facts);
                }
                Err(_) => io.resolve(conn_id, host, *port),
            },
        }
        self.timers.add(deadline, Timer::Conn(conn_id));
        self.waiting_conns += usize::from(conn.is_of_waiting());
        self.conns.insert(conn_id, conn);
        conn_id
    }

    /// The addresses of a host are known.
    pub(super) fn conn_resolved(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: ConnId,
        found: Result<Vec<SocketAddr>>,
    ) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.stage == Stage::Resolving) else {
            return;
        };
        match found {
            Ok(found) => {
                conn.count = found.len();
                conn.peers = found.into();
                if conn.peers.is_empty() {
                    conn.refusals.push("the host name has no address".to_owned());
                }
                self.dial_next(now, io, id);
            }
            Err(error) => self.conn_failed(now, io, id, error),
        }
    }

    fn dial_next(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let address = self.servers.node(conn.node).address.clone();
        let Some(peer) = conn.peers.pop_front() else {
            let error = cannot_connect(&address, conn.refusals.join(", "));
            return self.conn_failed(now, io, id, error);
        };
        // An address that never answers must leave time for the others.
        let left = conn.deadline.saturating_duration_since(now);
        let share = u32::try_from(conn.peers.len() + 1).unwrap_or(u32::MAX).min(SHARES_MAX);
        let until = if share == 1 { conn.deadline } else { now + left / share };
        conn.stage = Stage::Dialing { until };
        conn.peer = Some(peer);
        io.dial(id, Peer::Tcp(peer), &address, &conn.facts);
        self.timers.add(until, Timer::Conn(id));
    }

    /// A peer has not taken the connection.
    pub(super) fn conn_refused(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId, why: &Error) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match conn.peer {
            Some(peer) if conn.count > 1 => conn.refusals.push(format!("{} {}", peer.ip(), why.message())),
            _ => conn.refusals.push(why.message().to_owned()),
        }
        self.dial_next(now, io, id);
    }

    /// A peer has taken the connection.
    pub(super) fn conn_opened(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        self.timers.add(conn.deadline, Timer::Conn(id));
        if conn.config.credentials.is_some() && conn.login.given().is_none() {
            conn.stage = Stage::Asking;
            return self.ask_credentials(io, id);
        }
        self.shake(now, io, id);
    }

    /// There are credentials for a connection, or there are none.
    pub(super) fn conn_credentials(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: ConnId,
        asked: Instant,
        found: Result<Arc<Credentials>>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match (conn.stage, found) {
            (Stage::Asking, _) if conn.login.is_stale(asked) => self.ask_credentials(io, id),
            (Stage::Asking, Ok(given)) => {
                conn.login.give(given, asked, now);
                self.shake(now, io, id);
            }
            (Stage::Asking, Err(error)) => {
                let address = &self.servers.node(conn.node).address;
                let error = error.context(format_args!("cannot log in at {address}"));
                self.conn_failed(now, io, id, error);
            }
            (Stage::Up, found) => self.log_in_with(now, io, id, asked, found),
            (Stage::Resolving | Stage::Dialing { .. } | Stage::Handshaking, _) => {}
        }
    }

    fn shake(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.stage = Stage::Handshaking;
        let (config, facts) = (Arc::clone(&conn.config), Arc::clone(&conn.facts));
        let mut handshake = Handshake::new(config, facts, conn.purpose, conn.login.given());
        let request = handshake.start();
        conn.handshake = Some(handshake);
        self.say(now, io, id, request);
    }

    fn say(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId, request: Box<Request>) {
        let Some(conn) = self.conns.get(&id) else { return };
        let times = (conn.deadline, conn.config.connect_timeout);
        let mut attempt = Attempt::new(For::Handshake(id), conn.node, Some(request), now, times);
        attempt.via = Via::This(id);
        let said = self.start(now, io, attempt);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.said = Some(said);
        }
    }

    /// The server has answered a round of the handshake, or has ended the connection.
    pub(super) fn shaken(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: ConnId,
        result: Result<Box<Payload>>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.said = None;
        let Some(handshake) = &mut conn.handshake else { return };
        let address = &self.servers.node(conn.node).address;
        let next = match result {
            Ok(payload) => {
                handshake.judge(Reply::new(payload).root()).map_err(|error| error.context(address))
            }
            Err(error) => {
                let health = io.health(id);
                let cause = health.cause.unwrap_or(error);
                if matches!(cause.status(), Status::Tls | Status::Closed) {
                    Err(cause)
                } else if handshake.may_be_shunned() && health.is_mute {
                    // Not a word: it may not bear HELLO.
                    conn.facts.note_shunned_hello();
                    Ok(Next::Reopen)
                } else {
                    let refusal = handshake.refusal().map(|refusal| refusal.context(address));
                    Err(refusal.unwrap_or_else(|| no_handshake(address, Reason::Connect, cause.message())))
                }
            }
        };
        match next {
            Ok(Next::Ready) => self.conn_up(now, io, id),
            Ok(Next::Say(request)) => self.say(now, io, id, request),
            Ok(Next::Reopen) => self.reopen(now, io, id),
            Err(error) => self.conn_failed(now, io, id, error),
        }
    }

    /// What spoilt this connection is among its facts now, and the next handshake does without it.
    fn reopen(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.take_conn(id) else { return };
        io.close(id, Error::closed());
        let Conn { node, purpose, own, stays, facts, deadline, login, .. } = conn;
        let again = self.open(now, io, node, purpose, own, facts, deadline, login.for_reopening());
        if let Some(conn) = self.conns.get_mut(&again) {
            conn.stays = stays;
        }
        if let Some(own) = own
            && let Some(attempt) = self.attempt_mut(own)
        {
            attempt.state = State::Connecting(again);
        }
    }

    fn conn_up(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.stage = Stage::Up;
        conn.handshake = None;
        if let Some(own) = conn.own {
            conn.until = std::mem::take(&mut conn.login).good_until();
            return self.put(now, io, own, id);
        }
        let logs_in = conn.config.credentials.is_some();
        let facts = Arc::clone(&conn.facts);
        let node = self.servers.node_mut(conn.node);
        node.link = Link::Up(id);
        node.facts = Some(Arc::clone(&facts));
        node.connections += 1;
        let first = node.first;
        let kind = if node.connections == 1 { EventKind::Connected } else { EventKind::Reconnected };
        io.log(Record::new(kind, Some(&node.name), format!("connected to {}", node.address)));
        io.serve(conn.node, Some(id));
        let line = std::mem::take(&mut node.line);
        let first = self.servers.node_mut(first);
        first.facts.get_or_insert(facts);
        first.failures = 0;
        first.last_error = None;
        first.not_before = None;
        first.rests_until = None;
        let first = first.id;
        for waiting in line {
            self.put_or_line_up(now, io, waiting, id);
        }
        if logs_in {
            self.logged_in(now, io, id);
        }
        self.connect_sharers_if_wanted(now, io, first);
    }

    /// Puts an attempt on the new connection, or behind the others where that has ended meanwhile.
    fn put_or_line_up(&mut self, now: Instant, io: &mut dyn Actions<T>, waiting: AttemptId, id: ConnId) {
        let Some(attempt) = self.attempt(waiting) else { return };
        let node = attempt.node;
        if self.servers.node(node).link == Link::Up(id) {
            self.put(now, io, waiting, id);
        } else {
            self.servers.node_mut(node).line.push_back(waiting);
            self.connect_if_wanted(now, io, node);
        }
    }

    /// A connection could not be made.
    pub(super) fn conn_failed(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId, error: Error) {
        let Some(conn) = self.take_conn(id) else { return };
        if let Some(said) = conn.said.filter(|said| self.attempt(*said).is_some()) {
            self.attempts.remove(said.place);
        }
        io.close(id, error.clone());
        let name = &self.servers.node(conn.node).name;
        let error = error.on(name);
        if error.status() != Status::Closed {
            let is_login = error.status() == Status::Auth;
            let kind = if is_login { EventKind::AuthFailed } else { EventKind::ConnectFailed };
            io.log(Record::of(kind, LogLevel::Error, name, &error));
        }
        if let Some(own) = conn.own {
            return self.fail(now, io, own, error);
        }
        self.login_over(io, conn.node, not_logged_in(&conn, &error), now);
        // It may have been over long ago, with nobody there to see it.
        let at = if error.reason() == Reason::Deadline { conn.deadline.min(now) } else { now };
        let node = self.servers.node_mut(conn.node);
        node.link = Link::None;
        node.failed += 1;
        let first = node.first;
        let node = self.servers.node_mut(first);
        node.rests_until = Some(at + at.saturating_duration_since(conn.started));
        let not_before = at + node.backoff(node.failures);
        node.not_before = Some(not_before);
        node.failures = node.failures.saturating_add(1);
        node.last_error = Some(error.clone());
        self.timers.add(not_before, Timer::Node(first));
        let is_final = is_final(&error);
        self.fail_in_line(now, io, conn.node, &error, is_final);
    }

    /// The time of an attempt to connect is over, or that of one of its addresses.
    pub(super) fn conn_due(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if now < conn.deadline {
            if let Some(peer) = conn.peer {
                conn.refusals.push(format!("{} no answer", peer.ip()));
            }
            return self.dial_next(now, io, id);
        }
        let waited = conn.config.connect_timeout;
        if let Some(error) = self.unfinished(io, id, waited) {
            self.conn_failed(now, io, id, error);
        }
    }

    /// What an attempt to connect is waiting for, as the error of one that cannot wait longer.
    fn unfinished(&self, io: &dyn Actions<T>, id: ConnId, waited: Duration) -> Option<Error> {
        let conn = self.conns.get(&id)?;
        let address = &self.servers.node(conn.node).address;
        let waited = Duration::from_millis(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
        let step = match conn.stage {
            Stage::Resolving => "the look-up of the host name did not end",
            Stage::Dialing { .. } => "no answer",
            Stage::Asking => "the credentials callback did not answer",
            Stage::Handshaking if io.health(id).in_tls_handshake => {
                "no end of the TLS handshake (does the server speak TLS on this port?)"
            }
            Stage::Handshaking => {
                let text = "the server did not answer in time";
                return Some(no_handshake(address, Reason::Deadline, text));
            }
            Stage::Up => return None,
        };
        let why = format!("cannot connect to {address}: {step} within {waited:?}");
        Some(Error::because(Status::Connect, Reason::Deadline, why))
    }

    /// The error of an attempt whose time was over before there was a connection.
    pub(super) fn not_connected_in_time(&self, io: &dyn Actions<T>, attempt: &Attempt) -> Error {
        let node = self.servers.node(attempt.node);
        let waited = attempt.connect_until.min(attempt.deadline).saturating_duration_since(attempt.started);
        let making = match (attempt.state, node.link) {
            (State::Connecting(conn), _) | (State::InLine, Link::Making(conn)) => {
                self.unfinished(io, conn, waited)
            }
            _ => None,
        };
        let is_own = matches!(attempt.via, Via::Own(_));
        let error = match (making, &self.servers.node(node.first).last_error) {
            (None, _) if is_own => {
                let text = format!(
                    "the deadline of {} ms passed while {} other commands waited on their servers (max_waiting); \
                     nothing was sent",
                    attempt.timeout.as_millis(),
                    self.waiting_conns - self.idle_conns
                );
                Error::new(Status::Timeout, text)
            }
            (None, Some(error)) => error.clone(),
            (making, _) => {
                let why = making.map(|error| format!(": {error}")).unwrap_or_default();
                let waited = attempt.timeout.as_millis();
                let text = format!(
                    "the deadline of {waited} ms passed before the call could be sent; nothing was sent{why}"
                );
                Error::new(Status::Timeout, text)
            }
        };
        error.on(&node.name)
    }

    /// A connection has ended.
    pub(super) fn conn_lost(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.stage == Stage::Up {
            self.unlink(now, io, id);
            self.take_conn(id);
        } else if conn.said.is_none() {
            let cause = self.why_lost(io, id, conn.node);
            self.conn_failed(now, io, id, cause);
        }
    }

    /// Puts no new attempts on a connection, which was lost or is given up.
    pub(super) fn unlink(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(node_id) = self.conns.get(&id).map(|conn| conn.node) else { return };
        let node = self.servers.node(node_id);
        if node.link == Link::Up(id) {
            let lost = self.why_lost(io, id, node_id);
            io.log(Record::of(EventKind::ConnectionLost, LogLevel::Warning, &node.name, &lost));
            self.replace(now, io, id);
        }
    }

    /// Why a server's connection takes no new attempts.
    pub(super) fn why_lost(&self, io: &dyn Actions<T>, id: ConnId, node: NodeId) -> Error {
        io.health(id).cause.unwrap_or_else(|| {
            let node = self.servers.node(node);
            let why = if self.servers.node(node.first).is_known_replica(id) {
                "its server is a replica now"
            } else {
                "a deadline was missed, and nothing or too little came since"
            };
            let text = format!("the connection to {} was given up: {why}", node.address);
            Error::because(Status::Connect, Reason::ConnectionLost, text)
        })
    }

    /// Puts no new attempts on a connection: they take another.
    pub(super) fn replace(&mut self, now: Instant, io: &mut dyn Actions<T>, id: ConnId) {
        let Some(node_id) = self.conns.get(&id).map(|conn| conn.node) else { return };
        let node = self.servers.node_mut(node_id);
        if node.link != Link::Up(id) {
            return;
        }
        node.link = Link::None;
        let first = node.first;
        io.serve(node_id, None);
        io.retire(id);
        self.drop_kept(io, first);
        self.connect_if_wanted(now, io, node_id);
    }

    /// Closes a connection that belonged to one attempt.
    pub(super) fn drop_own(&mut self, io: &mut dyn Actions<T>, id: ConnId) {
        if let Some(conn) = self.take_conn(id) {
            if let Some(said) = conn.said.filter(|said| self.attempt(*said).is_some()) {
                self.attempts.remove(said.place);
            }
            io.close(id, Error::closed());
        }
    }
}

/// Whether another attempt would end no better.
fn is_final(error: &Error) -> bool {
    matches!(error.status(), Status::Auth | Status::Tls | Status::NotSupported | Status::InvalidOption)
}

/// What an attempt to connect that has failed tells whoever waits for its login. Nothing, where its server was not
/// reached.
fn not_logged_in(conn: &Conn, error: &Error) -> Option<Error> {
    match conn.stage {
        _ if error.status() == Status::Auth => Some(error.clone()),
        Stage::Asking if error.reason() == Reason::Deadline => {
            let text = error.message().to_owned();
            Some(Error::because(Status::Auth, Reason::Deadline, text).on_server_of(error))
        }
        _ => None,
    }
}

fn no_handshake(address: &Address, why: Reason, reason: &str) -> Error {
    Error::because(Status::Connect, why, format!("no handshake with {address}: {reason}"))
}

fn cannot_connect(address: &Address, why: impl std::fmt::Display) -> Error {
    Error::new(Status::Connect, format!("cannot connect to {address}: {why}"))
}
