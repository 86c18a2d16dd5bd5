//! A model of what lies between the client and the servers: connections that are slow, cut, silent or refused; and
//! [`Actions`] on them.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use smallvec::SmallVec;

use super::fleet::{Fleet, Peer as ServerSide, item_of};
use super::trace;
use crate::base::log::Record;
use crate::core::{Actions, AttemptId, ConnId, Ended, Health, Left, NodeId, Peer, Routes};
use crate::error::{Error, Reason, Result, Status};
use crate::net::address::Address;
use crate::request::{Request, Shape};
use crate::resp::Refusal;
use crate::resp::{Limits, Pool, Reply};
use crate::session::simulation::parse;
use crate::session::{Facts, Session};

/// Whose a call on a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tag {
    Attempt(AttemptId),
    /// A plain blocking call, by its number: the engine does not know of it.
    Plain(usize),
}

/// What happened on a connection, to be told to the engine.
pub(super) enum News {
    Ended(AttemptId, Ended),
    PlainEnded(usize, Ended),
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Resolving,
    Dialing,
    Open,
    /// This side has done with it; what has been sent may arrive all the same.
    Closed,
}

pub(super) struct Conn {
    session: Session<Tag>,
    stage: Stage,
    server: Option<usize>,
    /// The server's life that it belongs to.
    life: u32,
    side: ServerSide,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    keys: HashMap<Tag, usize>,
    is_usable: bool,
    is_told_lost: bool,
    cause: Option<Error>,
    has_heard: bool,
    silent_since: Option<Instant>,
    missed: bool,
    /// What asked for it was lost on the way: no answer will come.
    is_unheard: bool,
}

pub(super) struct Network {
    pub(super) rng: Rng,
    pub(super) conns: Conns,
    pub(super) served: HashMap<NodeId, ConnId>,
    pub(super) routes: Option<Arc<Routes>>,
    /// In the order of each connection; between connections there is none.
    news: VecDeque<(ConnId, News)>,
    /// Connections that wait for credentials, and since when.
    pub(super) asked: VecDeque<(ConnId, Instant)>,
    /// Calls that are over: number, how, and what arrived.
    pub(super) completed: Vec<(u64, Result<Reply>, Option<Reply>)>,
    pool: Arc<Pool>,
    silence_timeout: Duration,
    pub(super) now: Instant,
    /// Nobody has told the client the time for long.
    pub(super) is_held_up: bool,
    /// Up to when each item is wanted.
    pub(super) deadlines: HashMap<u64, Instant>,
    /// The addresses of the servers, in their order.
    hosts: Vec<String>,
    /// A connection could not be made, or was lost, or a call on it was left alone.
    pub(super) had_trouble: bool,
    /// When a connection was lost last.
    pub(super) last_loss: Option<Instant>,
    pub(super) faults: Vec<String>,
    pub(super) opened: u64,
    /// What the engine has wanted since it was entered last.
    wanted: Cell<u32>,
}

/// Connections in the order of their numbers: few, and looked through between any two events.
#[derive(Default)]
pub(super) struct Conns(Vec<(ConnId, Box<Conn>)>);

impl Conns {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The one at this place in their order.
    pub(super) fn id_at(&self, place: usize) -> ConnId {
        self.0[place].0
    }

    fn place_of(&self, id: ConnId) -> std::result::Result<usize, usize> {
        self.0.binary_search_by_key(&id, |(other, _)| *other)
    }

    fn get(&self, id: ConnId) -> Option<&Conn> {
        self.place_of(id).ok().map(|place| &*self.0[place].1)
    }

    fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.place_of(id).ok().map(|place| &mut *self.0[place].1)
    }

    fn insert(&mut self, id: ConnId, conn: Conn) {
        match self.place_of(id) {
            Ok(place) => *self.0[place].1 = conn,
            Err(place) => self.0.insert(place, (id, Box::new(conn))),
        }
    }

    fn remove(&mut self, id: ConnId) {
        if let Ok(place) = self.place_of(id) {
            self.0.remove(place);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.0.iter().map(|(id, conn)| (*id, &**conn))
    }
}

const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_depth: 16 };

/// Which item of a call this is, if it is one.
fn number_of(request: &Request, index: usize) -> Option<u64> {
    let (command, _) = parse(&request.wire[request.start_of(index)..request.items[index].end])?;
    item_of(&command)
}

impl Conn {
    fn end(&mut self, cause: &Error) {
        self.is_usable = false;
        self.cause.get_or_insert_with(|| cause.clone());
        self.session.end(cause, None);
        self.stage = Stage::Closed;
        self.to_client.clear();
    }
}

impl Network {
    pub(super) fn new(rng: Rng, pool: Arc<Pool>, now: Instant, hosts: Vec<String>) -> Self {
        Network {
            rng,
            conns: Conns::default(),
            served: HashMap::new(),
            routes: None,
            news: VecDeque::new(),
            asked: VecDeque::new(),
            completed: Vec::new(),
            pool,
            silence_timeout: Duration::from_millis(500),
            now,
            is_held_up: false,
            deadlines: HashMap::new(),
            hosts,
            had_trouble: false,
            last_loss: None,
            faults: Vec::new(),
            opened: 0,
            wanted: Cell::new(0),
        }
    }

    /// Takes news of some connection.
    pub(super) fn take_news(&mut self) -> Option<(ConnId, News)> {
        let place = self.rng.usize(..self.news.len().max(1));
        let conn = self.news.get(place)?.0;
        let first = self.news.iter().position(|(other, _)| *other == conn)?;
        self.news.remove(first)
    }

    /// What each connection that calls take has logged in with.
    pub(super) fn logins(&self) -> impl Iterator<Item = (ConnId, Option<u64>)> {
        let login = |id: &ConnId| (*id, self.conns.get(*id).and_then(|conn| conn.side.logged_in));
        self.served.values().map(login)
    }

    /// The engine has been left.
    pub(super) fn rest(&mut self) {
        self.wanted.set(0);
    }

    /// The engine wants something: it must be content in the end.
    fn want(&self) {
        self.wanted.set(self.wanted.get() + 1);
        assert!(self.wanted.get() < 100_000, "the engine does not come to rest");
    }

    /// Whether an attempt has ended and the engine does not know yet.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    fn deliver(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        while let Some(finished) = conn.session.next_finished() {
            conn.keys.remove(&finished.tag);
            let ended =
                Ended { request: finished.request, result: finished.result, arrived: finished.arrived };
            let news = match finished.tag {
                Tag::Attempt(attempt) => News::Ended(attempt, ended),
                Tag::Plain(number) => News::PlainEnded(number, ended),
            };
            self.news.push_back((id, news));
        }
        if !conn.is_usable
            && !conn.is_told_lost
            && (conn.stage == Stage::Closed || conn.session.in_flight() == 0)
        {
            conn.is_told_lost = true;
            conn.stage = Stage::Closed;
            self.news.push_back((id, News::Lost));
        }
    }

    /// A plain call, as a blocking caller makes it: straight on the connection.
    pub(super) fn call(
        &mut self,
        id: ConnId,
        number: usize,
        request: Box<Request>,
    ) -> std::result::Result<(), Box<Request>> {
        self.put(id, Tag::Plain(number), request).map(drop)
    }

    fn put(
        &mut self,
        id: ConnId,
        tag: Tag,
        request: Box<Request>,
    ) -> std::result::Result<usize, Box<Request>> {
        let now = self.now;
        let silence_timeout = self.silence_timeout;
        let Some(conn) = self.conns.get_mut(id) else { return Err(request) };
        let is_silent = conn.missed
            && conn.silent_since.is_some_and(|since| now.saturating_duration_since(since) >= silence_timeout);
        if is_silent {
            conn.is_usable = false;
        }
        if !conn.is_usable {
            return Err(request);
        }
        conn.silent_since.get_or_insert(now);
        if self.is_held_up {
            let items = (0..request.items.len()).filter_map(|index| number_of(&request, index));
            let late = items.filter(|item| self.deadlines.get(item).is_some_and(|deadline| *deadline < now));
            self.faults.extend(late.map(|item| format!("item {item} is sent when its deadline has passed")));
        }
        let (before, length) = (conn.session.position(), request.wire.len());
        // In another form each item may be shorter by the end of EVALSHA_RO, and by the SHA1.
        let least = length.saturating_sub(60 * request.items.len()) as u64;
        let is_in_one = request.shape != Shape::Transaction;
        // Of a server that is known to have no functions none is asked for.
        let may_be_unservable = request.scripts.iter().any(|script| script.function().is_some());
        let key = conn.session.submit(request, tag);
        conn.keys.insert(tag, key);
        let queued = conn.session.position() - before;
        if is_in_one && queued < least && !(may_be_unservable && queued == 0) {
            self.faults.push(format!("{tag:?} was not queued whole, but waits for a reply"));
        }
        self.deliver(id);
        Ok(key)
    }

    /// Gives a plain call up.
    pub(super) fn give_up_plain(&mut self, id: ConnId, number: usize) -> Option<Left> {
        self.leave(id, Tag::Plain(number), Duration::ZERO)
    }

    fn leave(&mut self, id: ConnId, tag: Tag, patience: Duration) -> Option<Left> {
        let now = self.now;
        let conn = self.conns.get_mut(id)?;
        let key = conn.keys.remove(&tag)?;
        let since = *conn.silent_since.get_or_insert(now);
        conn.missed |= now.saturating_duration_since(since) >= patience;
        let unanswered = conn.session.unanswered(key);
        let (arrived, queued) = conn.session.abandon(key);
        self.had_trouble = true;
        Some(Left { arrived, queued, unanswered })
    }

    /// Cuts a connection, with what is on its way.
    pub(super) fn cut(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.stage != Stage::Open {
            return;
        }
        // Whatever is on its way may arrive or not, to any byte.
        if self.rng.bool() {
            let arrives = self.rng.usize(..=conn.to_server.len());
            conn.to_server.truncate(arrives);
        }
        trace::note(|| format!("{id:?} is cut"));
        self.last_loss = Some(self.now);
        self.had_trouble = true;
        let text = "the connection was lost: reset";
        conn.end(&Error::because(Status::Connect, Reason::ConnectionLost, text));
        self.deliver(id);
    }

    pub(super) fn open_conns(&self) -> Vec<ConnId> {
        let is_open = |conn: &Conn| conn.stage == Stage::Open;
        self.conns.iter().filter(|(_, conn)| is_open(conn)).map(|(id, _)| id).collect()
    }

    /// Connections that wait for their peer's answer.
    pub(super) fn dialing(&self) -> SmallVec<[ConnId; 8]> {
        self.conns.iter().filter(|(_, conn)| conn.stage == Stage::Dialing).map(|(id, _)| id).collect()
    }

    pub(super) fn resolving(&self) -> Option<ConnId> {
        self.conns.iter().find(|(_, conn)| conn.stage == Stage::Resolving).map(|(id, _)| id)
    }

    /// A look-up is over: the engine goes on from there.
    pub(super) fn resolved(&mut self, id: ConnId) {
        self.conns.remove(id);
    }

    /// How many commands wait on their servers, for callers that wait for them.
    pub(super) fn waiting(&self) -> usize {
        let waits = |conn: &&Conn| conn.stage == Stage::Open && conn.side.waiting.is_some();
        self.conns.iter().map(|(_, conn)| conn).filter(waits).count()
    }

    /// Calls that connections hold.
    pub(super) fn in_flight(&self) -> usize {
        self.conns.iter().map(|(_, conn)| conn.session.in_flight()).sum()
    }

    /// Whether nothing is on its way, so that only time can bring anything about.
    pub(super) fn is_still(&self) -> bool {
        let is_still = |conn: &Conn| {
            conn.stage == Stage::Open
                && conn.to_server.is_empty()
                && conn.to_client.is_empty()
                && conn.side.waiting.is_none()
                && !conn.session.has_output()
        };
        self.news.is_empty() && self.conns.iter().all(|(_, conn)| is_still(conn))
    }

    /// Whether a peer takes the connection. `None`: it says nothing.
    pub(super) fn answer_dial(&mut self, id: ConnId, fleet: &Fleet) -> Option<bool> {
        let conn = self.conns.get_mut(id)?;
        let Some(place) = conn.server else { return Some(false) };
        let server = &fleet.servers[place];
        if !server.is_up {
            self.had_trouble = true;
            return Some(false);
        }
        conn.is_unheard |= server.is_silent && self.rng.bool();
        if conn.is_unheard {
            return None;
        }
        conn.stage = Stage::Open;
        conn.is_usable = true;
        conn.is_told_lost = false;
        conn.life = server.life;
        self.opened += 1;
        Some(true)
    }

    /// Forgets a connection that has ended, once the engine has been told.
    fn drop_if_over(&mut self, id: ConnId) {
        let is_over = self.conns.get(id).is_some_and(|conn| conn.stage == Stage::Closed);
        if is_over && !self.news.iter().any(|(conn, _)| *conn == id) {
            self.conns.remove(id);
        }
    }

    /// The peer of the first that waits for one takes the connection, whoever that is.
    pub(super) fn accept(&mut self) -> Option<ConnId> {
        let (id, conn) = self.conns.0.iter_mut().find(|(_, conn)| conn.stage == Stage::Dialing)?;
        (conn.stage, conn.is_usable, conn.is_told_lost) = (Stage::Open, true, false);
        self.opened += 1;
        Some(*id)
    }

    /// The peer has read all, and sends these bytes, whatever they are. What a connection makes of bytes that
    /// it cannot take is its end.
    pub(super) fn hear(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        while let Some(mut chunk) = conn.session.take_output() {
            let count = chunk.unsent().len();
            chunk.advance(count);
            conn.session.put_back(chunk, count);
        }
        let mut inbox = conn.session.lend_inbox();
        let room = inbox.room().expect("memory");
        room[..bytes.len()].copy_from_slice(bytes);
        inbox.fill(bytes.len());
        (conn.has_heard, conn.missed, conn.silent_since) = (true, false, None);
        if let Err(refusal) = conn.session.receive(inbox, bytes.len()) {
            let (reason, owner) = match refusal {
                Refusal::Protocol(_) => (Reason::Protocol, None),
                Refusal::Limit(_) => (Reason::ConnectionLost, Some(Status::ReplyLimit)),
                Refusal::Memory => (Reason::ConnectionLost, Some(Status::NoMemory)),
            };
            let cause = Error::because(Status::Connect, reason, format!("{refusal:?}"));
            conn.session.end(&cause, owner);
            conn.end(&cause);
        } else if conn.session.in_flight() > 0 {
            conn.silent_since = Some(self.now);
        }
        self.deliver(id);
    }

    /// Moves bytes on one connection, a random number of them in a random direction.
    pub(super) fn step(&mut self, id: ConnId, fleet: &mut Fleet) {
        let most = if self.rng.bool() { self.rng.usize(1..12) } else { self.rng.usize(1..4096) };
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.stage == Stage::Open
            && let Some(mut chunk) = conn.session.take_output()
        {
            let count = chunk.unsent().len().min(most);
            conn.to_server.extend_from_slice(&chunk.unsent()[..count]);
            chunk.advance(count);
            conn.session.put_back(chunk, count);
        }
        let Some(place) = conn.server else { return self.drop_if_over(id) };
        let is_alive = fleet.servers[place].is_up && fleet.servers[place].life == conn.life;
        if !is_alive {
            conn.to_server.clear();
            conn.side.waiting = None;
            self.had_trouble = true;
            if conn.stage == Stage::Open {
                self.last_loss = Some(self.now);
                let text = "the connection was lost: the server closed it";
                conn.end(&Error::because(Status::Connect, Reason::ConnectionLost, text));
                self.deliver(id);
            }
            self.drop_if_over(id);
            return;
        }
        let is_silent = fleet.servers[place].is_silent;
        let waits = conn.side.waiting.is_some();
        if waits && conn.stage == Stage::Closed {
            // The server sees that nobody is there any more.
            conn.side.waiting = None;
            conn.to_server.clear();
        } else if (waits || !conn.to_server.is_empty()) && !is_silent {
            let count = conn.to_server.len().min(most);
            let replies = fleet.receive(place, &mut conn.side, &conn.to_server[..count]);
            conn.to_server.drain(..count);
            if conn.stage == Stage::Open {
                conn.to_client.extend(replies);
            }
        }
        if !conn.to_client.is_empty() && conn.stage == Stage::Open && !is_silent {
            let mut inbox = conn.session.lend_inbox();
            let room = inbox.room().expect("memory");
            let count = conn.to_client.len().min(most).min(room.len());
            room[..count].copy_from_slice(&conn.to_client[..count]);
            conn.to_client.drain(..count);
            inbox.fill(count);
            conn.has_heard = true;
            conn.missed = false;
            conn.silent_since = None;
            conn.session.receive(inbox, count).expect("well-formed replies");
            let from = conn.session.position();
            if conn.to_client.is_empty() && conn.side.has_missed() {
                conn.side.tell(from);
            }
            if conn.session.in_flight() > 0 {
                conn.silent_since = Some(self.now);
            }
            self.deliver(id);
        }
        if self.conns.get(id).expect("it moved bytes just now").to_server.is_empty() {
            self.drop_if_over(id);
        }
    }
}

impl Actions<u64> for Network {
    fn ask_credentials(&mut self, conn: ConnId, _: &Address) {
        self.asked.push_back((conn, self.now));
    }

    fn remind(&mut self, _: Instant) {}

    fn resolve(&mut self, conn: ConnId, _host: &str, _port: u16) {
        self.enter(conn, Stage::Resolving, None, &Arc::new(Facts::new(Arc::default(), 0, false)));
    }

    fn dial(&mut self, conn: ConnId, peer: Peer, _address: &Address, facts: &Arc<Facts>) {
        let place = match peer {
            Peer::Tcp(peer) => self.place_of(&peer),
            Peer::Unix(_) => None,
        };
        self.enter(conn, Stage::Dialing, place, facts);
    }

    fn send(
        &mut self,
        conn: ConnId,
        attempt: AttemptId,
        request: Box<Request>,
        _now: Instant,
    ) -> std::result::Result<usize, Box<Request>> {
        self.want();
        self.put(conn, Tag::Attempt(attempt), request)
    }

    fn abandon(
        &mut self,
        conn: ConnId,
        attempt: AttemptId,
        _key: usize,
        _now: Instant,
        patience: Duration,
    ) -> Option<Left> {
        self.leave(conn, Tag::Attempt(attempt), patience)
    }

    fn is_quiet(&self, conn: ConnId, _now: Instant) -> bool {
        let is_quiet = |conn: &Conn| conn.is_usable && conn.to_client.is_empty() && conn.session.is_idle();
        self.conns.get(conn).is_some_and(is_quiet)
    }

    fn is_suspect(&self, conn: ConnId) -> bool {
        self.want();
        self.conns.get(conn).is_some_and(|conn| conn.missed)
    }

    fn health(&self, conn: ConnId) -> Health {
        self.conns.get(conn).map_or_else(Health::default, |conn| Health {
            cause: conn.cause.clone(),
            in_tls_handshake: false,
            is_mute: !conn.has_heard,
        })
    }

    fn retire(&mut self, conn: ConnId) {
        if let Some(it) = self.conns.get_mut(conn) {
            it.is_usable = false;
            self.deliver(conn);
        }
    }

    fn close(&mut self, conn: ConnId, cause: Error) {
        let Some(it) = self.conns.get_mut(conn) else { return };
        it.is_told_lost = true;
        self.had_trouble |= cause.status() != Status::Closed;
        it.end(&cause);
        self.deliver(conn);
    }

    fn serve(&mut self, node: NodeId, conn: Option<ConnId>) {
        match conn {
            Some(conn) => self.served.insert(node, conn),
            None => self.served.remove(&node),
        };
    }

    fn route(&mut self, routes: Option<Arc<Routes>>) {
        self.routes = routes;
    }

    fn complete(&mut self, owner: u64, result: Result<Reply>, arrived: Option<Reply>) {
        self.completed.push((owner, result, arrived));
    }

    fn keep(&mut self, _request: Box<Request>) {}

    fn take_request(&mut self) -> Box<Request> {
        self.want();
        Box::default()
    }

    fn log(&mut self, _: Record) {}
}

impl Network {
    fn enter(&mut self, id: ConnId, stage: Stage, server: Option<usize>, facts: &Arc<Facts>) {
        // Only what was open can be lost.
        let conn = Conn {
            session: Session::new(LIMITS, Arc::clone(facts), Arc::clone(&self.pool)),
            stage,
            server,
            life: 0,
            side: ServerSide::default(),
            to_server: Vec::new(),
            to_client: Vec::new(),
            keys: HashMap::new(),
            is_usable: false,
            is_told_lost: true,
            cause: None,
            has_heard: false,
            silent_since: None,
            missed: false,
            is_unheard: false,
        };
        self.conns.insert(id, conn);
    }

    fn place_of(&self, peer: &std::net::SocketAddr) -> Option<usize> {
        self.hosts.iter().position(|host| *host == peer.to_string())
    }
}
