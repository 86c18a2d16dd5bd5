//! The whole client against models of servers and network: every order of events that a seed makes, with a clock of its own.
//!
//! A failure names its seed; the same seed makes the same history. `RS_SCRIPT_SEED` runs one, `RS_SCRIPT_SCHEDULES` so many.

mod fleet;
mod network;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::config::{Config, Options};
use crate::core::{Call, ConnId, Ended, Engine, NodeId, Owner, Resumed, Task, View, Way, Work};
use crate::credentials::Credentials;
use crate::error::{Error, Result, Status};
use crate::request::{Request, Routing, Shape};
use crate::resp::{Pool, Reply, ReplyRef};
use crate::route::ReadFrom;
use crate::script::Script;
use crate::session::handshake::Purpose;
use fleet::{Fleet, KEYS, Kind, forges};
use network::{Network, News};

impl Owner for u64 {
    fn key(&self) -> u64 {
        *self
    }
}

/// A call as the test knows it.
struct Op {
    shape: Shape,
    /// The number of each item; `None` for one that is not counted.
    items: Vec<u64>,
    keys: Vec<&'static str>,
    /// Whether any of several servers may run each.
    choices: Vec<bool>,
    /// Whether each may run more than once.
    repeatable: Vec<bool>,
    submitted: Instant,
    deadline: Instant,
    /// Where a plain blocking call is.
    plain: Option<(NodeId, ConnId)>,
    view: View,
    end: Option<End>,
}

struct End {
    error: Option<Error>,
    /// Of each item: its error, if it has one, and what it says.
    is_not_executed: Vec<bool>,
}

struct World {
    seed: u64,
    rng: Rng,
    network: Network,
    fleet: Fleet,
    engine: Engine<u64>,
    ops: Vec<Op>,
    scripts: Vec<Script>,
    idempotent: Script,
    next_item: u64,
    is_closed: bool,
    has_faults: bool,
    is_cluster: bool,
    asks_for_credentials: bool,
}

const TIMEOUT: Duration = Duration::from_secs(3);

impl World {
    fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let mut rng = Rng::with_seed(seed);
        let kind = [Kind::One, Kind::Cluster, Kind::Cluster, Kind::Sentinel][rng.usize(..4)];
        let fleet = Fleet::new(kind, rng.fork());
        let mut options = Options::default();
        options.connect_timeout(Duration::from_millis(rng.u64(200..2_000))).expect("valid");
        options.reconnect_attempts(rng.u32(0..6));
        options.client_info(rng.bool()).probe_transactions(rng.bool());
        let asks_for_credentials = seed % 5 == 4;
        if asks_for_credentials {
            // What it is answered with is up to the network.
            options.credentials_later(|_| ());
        }
        let config = Config::new(&fleet.url(), &options).expect("a URL");
        let pool = Arc::new(Pool::default());
        let start = Instant::now();
        let hosts = fleet.servers.iter().map(|server| server.address.to_string()).collect();
        let network = Network::new(rng.fork(), Arc::clone(&pool), start, hosts);
        World {
            seed,
            network,
            engine: Engine::new(Arc::new(config), pool),
            ops: Vec::new(),
            scripts: ["return 1", "return 2", "return 3"].map(Script::new).to_vec(),
            idempotent: Script::idempotent("return 4"),
            next_item: 0,
            is_closed: false,
            has_faults: rng.u8(..) < 200,
            is_cluster: kind == Kind::Cluster,
            asks_for_credentials,
            fleet,
            rng,
        }
    }

    fn now(&self) -> Instant {
        self.network.now
    }

    fn request(&mut self, shape: Shape, way: &Way) -> Box<Request> {
        let mut request = Box::<Request>::default();
        request.reset(shape);
        if self.is_cluster {
            request.routing = if *way == Way::Random { Routing::BySlot } else { Routing::BySlotOrRoute };
        }
        request
    }

    fn submit(&mut self) {
        let read_from = match self.rng.u8(..6) {
            0 => ReadFrom::PreferReplica,
            1 => ReadFrom::Replica,
            _ => ReadFrom::Primary,
        };
        let way = if self.rng.u8(..) < 20 { Way::Slot(self.rng.u16(..16384)) } else { Way::Random };
        let shape = match self.rng.u8(..10) {
            0..6 => Shape::Single,
            6..9 => Shape::Pipeline,
            _ => Shape::Transaction,
        };
        let mut request = self.request(shape, &way);
        let count = if shape == Shape::Single { 1 } else { self.rng.usize(1..7) };
        let (mut items, mut keys) = (Vec::new(), Vec::new());
        let idempotent = self.rng.u8(..5) == 0;
        let own_key = KEYS[self.rng.usize(..KEYS.len())];
        let waits = shape == Shape::Single && self.rng.u8(..8) == 0;
        for _ in 0..count {
            self.next_item += 1;
            let number = self.next_item.to_string();
            let key = if shape == Shape::Transaction { own_key } else { KEYS[self.rng.usize(..KEYS.len())] };
            items.push(self.next_item);
            keys.push(key);
            if waits {
                request.command(&[b"BLPOP", key.as_bytes(), number.as_bytes()]).expect("accepted");
            } else if idempotent {
                let script = self.idempotent.clone();
                request.script_call(&script, &[key][..], &[number.as_str()][..], false).expect("accepted");
            } else if self.rng.u8(..5) == 0 {
                request.command(&[b"APPEND", key.as_bytes(), number.as_bytes()]).expect("accepted");
            } else {
                let script = self.scripts[self.rng.usize(..3)].clone();
                let reads = self.rng.u8(..4) == 0;
                request.script_call(&script, &[key][..], &[number.as_str()][..], reads).expect("accepted");
            }
        }
        let timeout = if self.rng.bool() { TIMEOUT } else { Duration::from_millis(self.rng.u64(20..1_000)) };
        let deadline = self.now() + timeout;
        let view = View { read_from, way };
        let may_repeat = |index| request.repeatable_item(index) != crate::request::Repeatable::No;
        let repeatable: Vec<bool> = (0..request.items.len()).map(may_repeat).collect();
        let number = self.ops.len();
        let reads = view.reads(&request);
        self.ops.push(Op {
            shape,
            items,
            keys,
            choices: request.items.iter().map(|item| item.read_only && reads).collect(),
            repeatable,
            submitted: self.network.now,
            deadline,
            plain: None,
            view: view.clone(),
            end: None,
        });
        // As a blocking caller does, where the way is plain.
        if !reads && !waits && self.rng.bool() && (shape != Shape::Pipeline || self.engine.only().is_some()) {
            let now = self.now();
            let node = match self.engine.only() {
                Some(only) => Some(only),
                None => self
                    .network
                    .routes
                    .as_ref()
                    .filter(|_| request.slot != crate::slots::NO_SLOT)
                    .and_then(|routes| routes.node_of(request.slot, now)),
            };
            let conn = node.and_then(|node| Some((node, *self.network.served.get(&node)?)));
            if let Some((node, conn)) = conn {
                match self.network.call(conn, number, request) {
                    Ok(()) => self.ops[number].plain = Some((node, conn)),
                    Err(unsent) => {
                        self.enter(number, Work::Send(unsent, Purpose::Calls), view, timeout, deadline);
                    }
                }
                return;
            }
        }
        let purpose = if waits { Purpose::Waiting } else { Purpose::Calls };
        self.enter(number, Work::Send(request, purpose), view, timeout, deadline);
    }

    fn enter(&mut self, number: usize, work: Work, view: View, timeout: Duration, deadline: Instant) {
        let call = Call { owner: number as u64, work, view, timeout, deadline };
        let now = self.now();
        self.engine.submit(now, &mut self.network, call);
    }

    fn administer(&mut self) {
        let task = match self.rng.u8(..3) {
            0 => Task::Load(self.scripts[0].clone()),
            1 => Task::Exists(vec![self.scripts[0].sha_hex().as_bytes().to_vec()]),
            _ => Task::Flush(crate::core::FlushMode::Default),
        };
        let deadline = self.now() + TIMEOUT;
        let view = View { read_from: ReadFrom::Primary, way: Way::Random };
        self.ops.push(Op {
            shape: Shape::Single,
            items: Vec::new(),
            keys: Vec::new(),
            choices: Vec::new(),
            repeatable: Vec::new(),
            submitted: self.network.now,
            deadline,
            plain: None,
            view: view.clone(),
            end: None,
        });
        let logs_in = self.asks_for_credentials && self.rng.bool();
        let work = if logs_in { Work::LogIn } else { Work::Administer(task) };
        self.enter(self.ops.len() - 1, work, view, TIMEOUT, deadline);
    }

    /// Tells the engine what has happened, until there is no more news.
    fn tell(&mut self) {
        let now = self.now();
        while let Some(news) = self.network.news.pop_front() {
            match news {
                News::Ended(attempt, ended) => self.engine.ended(now, &mut self.network, attempt, ended),
                News::Lost(conn) => self.engine.lost(now, &mut self.network, conn),
                News::PlainEnded(number, conn, ended) => self.end_plain(number, conn, ended),
            }
        }
        for (number, result, arrived) in std::mem::take(&mut self.network.completed) {
            self.complete(number, result, arrived);
        }
    }

    /// A plain call is over, or goes on by way of the engine.
    fn end_plain(&mut self, number: usize, conn: ConnId, ended: Ended) {
        let now = self.now();
        let op = &mut self.ops[number];
        let Some((node, _)) = op.plain.take() else { return };
        if ended.result.as_ref().is_ok_and(|payload| payload.notes.is_empty()) {
            return self.network.completed.push((number as u64, ended.result.map(Reply::new), None));
        }
        let call = Call {
            owner: number as u64,
            work: Work::Open,
            view: op.view.clone(),
            timeout: TIMEOUT,
            deadline: op.deadline,
        };
        let sent = op.submitted;
        self.engine.resume(now, &mut self.network, Resumed { call, node, conn, sent, ended });
    }

    /// Whether a blocking caller's time is over.
    fn expire_plain(&mut self) {
        let now = self.now();
        for number in 0..self.ops.len() {
            let op = &self.ops[number];
            let Some((node, conn)) = op.plain.filter(|_| now >= op.deadline) else { continue };
            let Some(left) = self.network.give_up_plain(conn, number) else { continue };
            self.ops[number].plain = None;
            let error = if left.queued {
                Error::indeterminate(crate::error::Reason::Deadline, "no reply in time")
            } else {
                Error::new(Status::Timeout, "nothing was sent")
            };
            self.engine.missed(now, &mut self.network, node);
            let arrived = left.arrived.map(Reply::new);
            self.network.completed.push((number as u64, Err(error), arrived));
        }
    }

    fn complete(&mut self, number: u64, result: Result<Reply>, arrived: Option<Reply>) {
        let (seed, now) = (self.seed, self.now());
        let index = usize::try_from(number).expect("a number of an op");
        let op = &self.ops[index];
        assert!(op.end.is_none(), "seed {seed}: op {number} ended twice");
        assert!(now <= op.deadline, "seed {seed}: op {number} ended {:?} late", now - op.deadline);
        let count = op.items.len();
        let mut end = End { error: None, is_not_executed: vec![false; count] };
        match &result {
            Ok(reply) if count > 0 => self.check_reply(index, reply.root(), &mut end),
            Ok(_) => {}
            Err(error) => {
                assert!(error.status() != Status::Internal, "seed {seed}: op {number}: {error}");
                assert!(
                    error.status() != Status::Closed || self.is_closed,
                    "seed {seed}: op {number}: {error}"
                );
                if error.is_not_executed() && op.shape != Shape::Pipeline {
                    end.is_not_executed.fill(true);
                }
                let is_forged = op.items.iter().any(|item| forges(*item));
                assert!(error.status() != Status::NoScript || is_forged, "seed {seed}: op {number}: {error}");
                if let Some(arrived) = &arrived {
                    self.check_reply(index, arrived.root(), &mut end);
                }
                end.error = Some(error.clone());
            }
        }
        for (item, is_not_executed) in op.items.iter().zip(&end.is_not_executed) {
            let times = self.fleet.executed.get(item).copied().unwrap_or(0);
            assert!(
                !is_not_executed || times == 0,
                "seed {seed}: op {number}, item {item} ran {times} times and is said not to have run: {result:?}"
            );
        }
        self.ops[index].end = Some(end);
    }

    fn check_reply(&self, index: usize, root: ReplyRef<'_>, end: &mut End) {
        let (seed, op) = (self.seed, &self.ops[index]);
        if op.shape == Shape::Single {
            return self.check_item(index, 0, root, end);
        }
        assert!(root.len() <= op.items.len(), "seed {seed}: op {index}: {} replies", root.len());
        for (item, reply) in root.elements().enumerate() {
            self.check_item(index, item, reply, end);
        }
    }

    fn check_item(&self, index: usize, item: usize, reply: ReplyRef<'_>, end: &mut End) {
        let (seed, op) = (self.seed, &self.ops[index]);
        let id = op.items[item];
        let times = self.fleet.executed.get(&id).copied().unwrap_or(0);
        match reply.as_error() {
            Some(error) => {
                end.is_not_executed[item] = error.is_not_executed();
                let text = error.message();
                let is_lost = error.is_indeterminate() || error.is_not_executed();
                let may_be_own = self.fleet.forges && forges(id) && times > 0;
                // A server that has changed its mind when it is asked back does not bear out what it said before.
                let words = ["MOVED", "ASK", "TRYAGAIN", "READONLY"];
                let is_unproved =
                    (self.has_faults || self.fleet.forges) && words.iter().any(|word| text.contains(word));
                // An attempt before may have been executed.
                let may_have_run = op.repeatable[item];
                assert!(
                    is_lost || may_be_own || is_unproved || may_have_run,
                    "seed {seed}: op {index}, item {item} ({id}): {error}"
                );
                let is_overtaken = op.shape == Shape::Pipeline && !op.keys.is_empty();
                assert!(
                    error.status() != Status::NoScript || is_overtaken,
                    "seed {seed}: op {index}, item {item}: {error}"
                );
            }
            None => {
                let number = reply.as_i64().and_then(|number| u64::try_from(number).ok());
                assert_eq!(number, Some(id), "seed {seed}: op {index}, item {item}: another's reply");
                assert!(times > 0, "seed {seed}: op {index}, item {item}: never ran");
            }
        }
    }

    fn advance(&mut self, to: Instant) {
        let deadline = self.ops.iter().filter(|op| op.plain.is_some()).map(|op| op.deadline).min();
        let next = self.engine.next_tick();
        let to = [deadline, next].into_iter().flatten().fold(to, Instant::min).max(self.now());
        self.network.now = to;
        self.expire_plain();
        self.engine.tick(to, &mut self.network);
        self.tell();
    }

    fn fault(&mut self) {
        let place = self.rng.usize(..self.fleet.servers.len());
        match self.rng.u8(..100) {
            0..8 => self.fleet.kill(place),
            8..40 => {
                for place in 0..self.fleet.servers.len() {
                    if !self.fleet.servers[place].is_up && self.rng.bool() {
                        self.fleet.restart(place);
                    }
                    self.fleet.servers[place].is_loading &= self.rng.bool();
                    self.fleet.servers[place].is_silent &= self.rng.bool();
                }
            }
            40..45 => self.fleet.servers[place].is_silent = true,
            45..60 => self.fleet.flush(place),
            // What a script makes up to the letter, where it could be true, nobody can tell from the server's own word.
            60..80 if self.fleet.forges => {}
            60..63 => self.fleet.fail_over(),
            63..80 => self.fleet.move_slot(),
            80..94 => self.fleet.gossip(place),
            _ => {
                let open = self.network.open_conns();
                if !open.is_empty() {
                    let conn = open[self.rng.usize(..open.len())];
                    self.network.cut(conn);
                }
            }
        }
        self.tell();
    }

    fn step(&mut self) {
        let now = self.now();
        let resolving = self.network.resolving();
        let dialing = self.network.dialing();
        if !dialing.is_empty() && self.rng.bool() {
            let conn = dialing[self.rng.usize(..dialing.len())];
            match self.network.answer_dial(conn, &self.fleet) {
                Some(true) => self.engine.connected(now, &mut self.network, conn),
                Some(false) => {
                    let why = Error::new(Status::Connect, "Connection refused");
                    self.engine.refused(now, &mut self.network, conn, why);
                }
                None => {}
            }
        }
        assert!(resolving.is_empty(), "the model's hosts have no names");
        if let Some(conn) = self.network.asked.pop_front() {
            let answer = match self.rng.u8(..20) {
                0 => Some(Err(Error::new(Status::Auth, "none"))),
                // It is never answered.
                1 if self.has_faults => None,
                2 => Some(Ok(Credentials::new("p").username("other"))),
                _ => Some(Ok(Credentials::new("p").lifetime(Duration::from_secs(1)))),
            };
            if let Some(answer) = answer {
                self.engine.credentials(now, &mut self.network, conn, answer.map(Arc::new));
            }
        }
        let all: Vec<ConnId> = self.network.conns.keys().copied().collect();
        if !all.is_empty() {
            let conn = all[self.rng.usize(..all.len())];
            self.network.step(conn, &mut self.fleet);
        }
        self.tell();
    }

    fn cancel(&mut self) {
        if self.ops.is_empty() {
            return;
        }
        let number = self.rng.usize(..self.ops.len());
        let now = self.now();
        let is_over = self.ops[number].end.is_some() || self.ops[number].plain.is_some();
        let found =
            self.engine.cancel(now, &mut self.network, number as u64, &|owner| *owner == number as u64);
        assert_eq!(found, !is_over, "seed {}: op {number}", self.seed);
        self.tell();
        let has_end = self.ops[number].end.is_some() || self.ops[number].plain.is_some();
        assert!(has_end, "seed {}: op {number} was called off and goes on", self.seed);
    }

    fn run(&mut self, steps: usize) {
        let closes = self.rng.u8(..) < 30;
        let closes_at = self.rng.usize(..steps);
        for step in 0..steps {
            match self.rng.u8(..100) {
                0..10 if self.ops.len() < 60 => self.submit(),
                10 if self.ops.len() < 60 => self.administer(),
                11 => self.cancel(),
                12..16 if self.has_faults => self.fault(),
                16..24 => {
                    let most = if self.rng.u8(..8) == 0 { 400 } else { 12 };
                    let to = self.now() + Duration::from_millis(self.rng.u64(..most));
                    self.advance(to);
                }
                _ => self.step(),
            }
            self.tell();
            if closes && step == closes_at {
                self.is_closed = true;
                let now = self.now();
                self.engine.close(now, &mut self.network);
                self.tell();
                let left = self.ops.iter().position(|op| op.end.is_none());
                assert_eq!(left, None, "seed {}: closing has left a call", self.seed);
            }
        }
        self.wind_down();
    }

    /// After the faults have stopped everything ends.
    fn wind_down(&mut self) {
        self.fleet.heal();
        let mut rounds = 0;
        while self.ops.iter().any(|op| op.end.is_none()) {
            rounds += 1;
            assert!(rounds < 50_000, "seed {}: a call has no end", self.seed);
            for _ in 0..8 {
                self.step();
            }
            let to = self.now() + Duration::from_millis(5);
            self.advance(to);
        }
        assert_eq!(self.engine.len(), 0, "seed {}: calls are left over", self.seed);
        // What was sent may be executed yet.
        for _ in 0..200 {
            self.step();
        }
        let seed = self.seed;
        let unasked = &self.fleet.unasked;
        assert!(unasked.is_empty(), "seed {seed}: items {unasked:?} followed ASK without ASKING");
        let held_up = &self.fleet.held_up;
        assert!(held_up.is_empty(), "seed {seed}: items {held_up:?} share a connection with one that waits");
        for (number, op) in self.ops.iter().enumerate() {
            let Some(end) = &op.end else { continue };
            for ((item, is_not_executed), repeatable) in
                op.items.iter().zip(&end.is_not_executed).zip(&op.repeatable)
            {
                let times = self.fleet.executed.get(item).copied().unwrap_or(0);
                assert!(*repeatable || times <= 1, "seed {seed}: op {number}, item {item} ran {times} times");
                assert!(
                    !is_not_executed || times == 0,
                    "seed {seed}: op {number}, item {item} ran after all"
                );
            }
            // A replica that is no part of a cluster refuses only what would write.
            if op.shape == Shape::Transaction && self.is_cluster {
                let ran = op.items.iter().filter(|item| self.fleet.executed.contains_key(item)).count();
                assert!(ran == 0 || ran == op.items.len(), "seed {seed}: op {number}: {ran} items ran");
            }
            self.check_order(number, op);
        }
    }

    /// Items of one key that were executed were executed in their order.
    fn check_order(&self, number: usize, op: &Op) {
        for later in 0..op.items.len() {
            for earlier in 0..later {
                let place = |item: usize| self.fleet.order.get(&op.items[item]);
                if let (Some(first), Some(second)) = (place(earlier), place(later))
                    && op.keys[earlier] == op.keys[later]
                    && !(op.choices[earlier] || op.choices[later])
                    && !(op.repeatable[earlier] || op.repeatable[later])
                {
                    assert!(
                        first < second,
                        "seed {}: op {number}: items {earlier} and {later} of {:?}: {:?} {:?} {:?}",
                        self.seed,
                        op.keys,
                        op.items.iter().map(|item| self.fleet.order.get(item)).collect::<Vec<_>>(),
                        self.fleet.kind,
                        op.end.as_ref().map(|end| (&end.error, &end.is_not_executed))
                    );
                }
            }
        }
    }
}

fn number_of(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_schedule_ends_each_call_once_with_the_truth() {
    if let Ok(seed) = std::env::var("RS_SCRIPT_SEED") {
        return World::new(seed.parse().expect("a number")).run(400);
    }
    for seed in 0..number_of("RS_SCRIPT_SCHEDULES", 2_000) {
        World::new(seed).run(400);
    }
}
