//! The whole client against models of servers and network: every order of events that a seed makes, with a clock of
//! its own.
//!
//! A schedule is a seed and the steps that are taken of those that it makes. Each step draws what it needs from a
//! number of its own, so a step that is left out changes no other: that is how a failure is shrunk. Whoever enters
//! the engine does so between any two events that it is told: a caller who submits, calls off or closes, a driver
//! that tells what time it is, a connection that tells how calls on it have ended.
//!
//! `RS_SCRIPT_SCHEDULES` runs so many seeds, `RS_SCRIPT_SEED` one, of which `RS_SCRIPT_STEPS` are the steps and
//! `RS_SCRIPT_WITHOUT` the traits that are taken away. CONTRIBUTING.md says more.

#[cfg(test)]
mod addresses;
mod calls;
mod calm;
mod checks;
mod fleet;
pub(crate) mod fuzz;
mod network;
mod order;
#[cfg(test)]
mod runner;
mod trace;
mod traits;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::base::credentials::Credentials;
use crate::config::{Config, Options, Protocol};
use crate::core::{Call, ConnId, Ended, Engine, Owner, Resumed, Work};
use crate::error::{Error, Reason, Status};
use crate::resp::{Pool, Reply};
use calls::Op;
use fleet::Fleet;
use network::{Network, News};
use traits::{Kind, Traits};

impl Owner for u64 {
    fn key(&self) -> u64 {
        *self
    }
}

/// A history to be: what a seed makes, less what is left out.
#[derive(Clone, Debug)]
struct Schedule {
    seed: u64,
    /// The steps that are taken.
    steps: Vec<usize>,
    /// A bit for each trait of the world that is taken away.
    without: u32,
}

/// The steps of a schedule before the servers are healed.
const STEPS: usize = 400;

/// So long nobody tells the clients the time: their process is stopped, or their queue is not polled.
const HELD_UP: Duration = Duration::from_millis(300);

impl Schedule {
    fn new(seed: u64) -> Self {
        Schedule { seed, steps: (0..STEPS).collect(), without: 0 }
    }
}

/// One client, of several that share the servers.
struct Client {
    engine: Engine<u64>,
    network: Network,
    max_waiting: usize,
    /// Calls share several connections to a server: none is plain.
    shares_several: bool,
    /// Its connections find out in their handshakes whether its user may run transactions.
    probes_transactions: bool,
    /// Its owner may refuse to give credentials.
    may_be_refused: bool,
    /// What its engine held at most.
    most_held: usize,
}

struct World {
    seed: u64,
    traits: Traits,
    /// Of the step.
    rng: Rng,
    start: Instant,
    now: Instant,
    clients: Vec<Client>,
    fleet: Fleet,
    ops: Vec<Op>,
    /// All before this one are over.
    first_open: usize,
    next_item: u64,
    /// Of items that happen once: which execution was told of last, and how many had been lost then.
    answers: HashMap<u64, (u32, u32)>,
    is_closed: bool,
    /// The time since which all has been well again.
    healed: Option<Instant>,
    /// Since when nobody has told the clients the time, where that is long.
    held_up_since: Option<Instant>,
    events: u64,
}

/// A number that looks like chance, of the two.
fn mixed(seed: u64, step: u64) -> u64 {
    let mut mixed = (seed ^ step.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 32
}

impl World {
    fn new(schedule: &Schedule) -> Self {
        let Schedule { seed, without, .. } = *schedule;
        let mut rng = Rng::with_seed(mixed(seed, u64::MAX));
        fastrand::seed(rng.u64(..));
        let traits = Traits::random(&mut rng, without);
        let fleet = Fleet::new(traits, rng.fork());
        let start = Instant::now();
        let clients = (0..traits.clients).map(|_| Self::client(traits, &fleet, &mut rng, start)).collect();
        trace::note(|| format!("{traits:?}"));
        World {
            seed,
            traits,
            rng,
            start,
            now: start,
            clients,
            fleet,
            ops: Vec::new(),
            first_open: 0,
            next_item: 0,
            answers: HashMap::new(),
            is_closed: false,
            healed: None,
            held_up_since: None,
            events: 0,
        }
    }

    fn client(traits: Traits, fleet: &Fleet, rng: &mut Rng, start: Instant) -> Client {
        let mut options = Options::default();
        options.connect_timeout(Duration::from_millis(rng.u64(200..2_000))).expect("valid");
        options.reconnect_attempts(rng.u32(0..6));
        let (names_itself, probes_transactions) = (rng.bool(), rng.bool());
        options.client_info(names_itself).probe_transactions(probes_transactions);
        let max_waiting = rng.usize(1..4);
        options.max_waiting(max_waiting).expect("valid");
        let shared = if traits.sharing { rng.usize(2..5) } else { 1 };
        options.shared_connections(shared).expect("valid");
        options.protocol(if traits.pushes { Protocol::Auto } else { Protocol::Resp2 });
        // No draw of its own, so that histories stay what they were.
        if max_waiting == 3 {
            options.credentials_later(drop);
        }
        let config = Config::new(&fleet.url(), &options).expect("a URL");
        let pool = Arc::new(Pool::default());
        let hosts = fleet.servers.iter().map(|server| server.address.to_string()).collect();
        let network = Network::new(rng.fork(), Arc::clone(&pool), start, hosts);
        Client {
            engine: Engine::new(Arc::new(config), pool),
            network,
            max_waiting,
            shares_several: shared > 1,
            probes_transactions,
            most_held: 0,
            may_be_refused: max_waiting == 3,
        }
    }

    /// Draws all that comes from here on from this number.
    fn seed_step(&mut self, number: u64) {
        self.rng = Rng::with_seed(mixed(self.seed, number));
        self.fleet.rng = self.rng.fork();
        for client in &mut self.clients {
            client.network.rng = self.rng.fork();
        }
        fastrand::seed(self.rng.u64(..));
    }

    fn run(&mut self, schedule: &Schedule) {
        let mut rng = Rng::with_seed(mixed(schedule.seed, u64::MAX - 1));
        let closes_at = rng.usize(..STEPS);
        // Few calls are between two attempts at a time: a close looks for them.
        let closes_between = rng.bool();
        for &step in &schedule.steps {
            self.seed_step(step as u64);
            let is_time = if closes_between {
                step >= closes_at && self.is_between_attempts()
            } else {
                step == closes_at
            };
            if self.traits.closes && !self.is_closed && is_time {
                self.close();
            }
            self.step();
            if self.rng.bool() {
                self.tell_all();
            }
        }
        self.wind_down();
    }

    fn step(&mut self) {
        match self.rng.u8(..100) {
            0..10 if self.ops.len() < 60 => self.submit(None),
            10 if self.ops.len() < 60 && self.traits.administration => self.administer(),
            11 if self.traits.cancels => self.cancel(),
            30 if self.ops.len() < 60 && self.traits.replicated => self.ask_again(),
            31 if self.ops.len() < 60 && self.traits.kind != Kind::One => self.send_everywhere(),
            32 if self.ops.len() < 60 && self.traits.administration => self.log_in_again(),
            12..16 if self.traits.faults || self.traits.flushes || self.traits.rights => self.fault(),
            16..24 => {
                let most = if self.rng.u8(..8) == 0 { 400 } else { 12 };
                let to = self.now + Duration::from_millis(self.rng.u64(..most));
                self.advance(to);
            }
            24..30 => self.tell_some(),
            _ => self.work(),
        }
    }

    /// One connection of one client is made, or moves bytes.
    fn work(&mut self) {
        let now = self.now;
        let place = self.rng.usize(..self.clients.len());
        let Client { engine, network, .. } = &mut self.clients[place];
        self.events += 1;
        if let Some(conn) = network.resolving() {
            let found = match self.rng.u8(..8) {
                0 if self.traits.faults && self.healed.is_none() => {
                    Err(Error::new(Status::Connect, "no such host"))
                }
                // The first of them is nobody's.
                1..4 => Ok(vec!["10.9.9.8:6379".parse().expect("an address")]),
                _ => Ok(Vec::new()),
            };
            let found = found.map(|mut addresses| {
                addresses.push("10.0.0.1:6379".parse().expect("an address"));
                addresses
            });
            network.resolved(conn);
            engine.resolved(now, network, conn, found);
        }
        let dialing = network.dialing();
        if !dialing.is_empty() && self.rng.bool() {
            let conn = dialing[self.rng.usize(..dialing.len())];
            match network.answer_dial(conn, &self.fleet) {
                Some(true) => engine.connected(now, network, conn),
                Some(false) => {
                    let why = Error::new(Status::Connect, "Connection refused");
                    engine.refused(now, network, conn, why);
                }
                None => {}
            }
        }
        if let Some((conn, asked)) = network.asked.pop_front() {
            let user = if self.traits.faults && self.rng.u8(..20) == 0 { "other" } else { "app" };
            let is_wrong = self.traits.faults && self.healed.is_none() && self.rng.u8(..20) == 0;
            // When it was asked for is what it says.
            let password = match is_wrong {
                true => "wrong".to_owned(),
                false => asked.duration_since(self.start).as_nanos().to_string(),
            };
            let given = Credentials::new(password).username(user).lifetime(Duration::from_secs(1));
            engine.credentials(now, network, conn, asked, Ok(Arc::new(given)));
        }
        let count = network.conns.len();
        if count > 0 {
            let conn = network.conns.id_at(self.rng.usize(..count));
            network.step(conn, &mut self.fleet);
        }
        self.collect();
    }

    /// Tells a client's engine one thing that has happened. `false`: there is nothing.
    fn tell_one(&mut self, place: usize) -> bool {
        let now = self.now;
        let Client { engine, network, .. } = &mut self.clients[place];
        let Some((conn, news)) = network.take_news() else { return false };
        match news {
            News::Ended(attempt, ended) => engine.ended(now, network, attempt, ended),
            News::Lost => engine.lost(now, network, conn),
            News::PlainEnded(number, ended) => self.end_plain(number, conn, ended),
        }
        self.collect();
        true
    }

    fn tell_some(&mut self) {
        let place = self.rng.usize(..self.clients.len());
        self.tell_one(place);
    }

    fn tell_all(&mut self) {
        for place in 0..self.clients.len() {
            while self.tell_one(place) {}
        }
    }

    /// Takes the ends of calls.
    fn collect(&mut self) {
        for place in 0..self.clients.len() {
            self.clients[place].network.rest();
            for (number, result, arrived) in std::mem::take(&mut self.clients[place].network.completed) {
                self.complete(usize::try_from(number).expect("a number of a call"), result, arrived);
            }
        }
        self.check_now();
    }

    /// A plain call is over, or goes on by way of the engine.
    fn end_plain(&mut self, number: usize, conn: ConnId, ended: Ended) {
        let op = &mut self.ops[number];
        let client = &mut self.clients[op.client];
        let Some((node, _)) = op.plain.take() else { return };
        if ended.result.as_ref().is_ok_and(|payload| payload.notes.is_empty()) {
            client.network.completed.push((number as u64, ended.result.map(Reply::new), None));
            return;
        }
        let call = Call {
            owner: number as u64,
            work: Work::Open,
            view: op.view.clone(),
            timeout: op.timeout,
            deadline: op.deadline,
        };
        let sent = op.submitted;
        client.engine.resume(self.now, &mut client.network, Resumed { call, node, conn, sent, ended });
    }

    /// Whether a blocking caller's time is over.
    fn expire_plain(&mut self) {
        for number in self.first_open..self.ops.len() {
            let op = &mut self.ops[number];
            let Some((node, conn)) = op.plain.filter(|_| self.now >= op.deadline) else { continue };
            let client = &mut self.clients[op.client];
            let Some(left) = client.network.give_up_plain(conn, number) else { continue };
            op.plain = None;
            let error = if left.queued {
                Error::indeterminate(Reason::Deadline, "no reply in time")
            } else {
                Error::new(Status::Timeout, "nothing was sent")
            };
            client.engine.missed(self.now, &mut client.network, node);
            let arrived = left.arrived.map(Reply::new);
            client.network.completed.push((number as u64, Err(error), arrived));
            self.collect();
        }
    }

    fn advance(&mut self, to: Instant) {
        // What has happened by now is told before the time goes on, or behind that.
        if self.rng.u8(..4) != 0 {
            self.tell_all();
        }
        let waits = |op: &&Op| op.plain.is_some();
        let over = self.ops[self.first_open..].iter().take_while(|op| op.is_over()).count();
        self.first_open += over;
        let deadline = self.ops[self.first_open..].iter().filter(waits).map(|op| op.deadline).min();
        let ticks = self.clients.iter_mut().filter_map(|client| client.engine.next_tick()).min();
        // No draw of its own.
        let is_held_up = self.healed.is_none() && to.saturating_duration_since(self.now) > HELD_UP;
        if is_held_up {
            trace::note(|| "the clients are held up".into());
            self.held_up_since = Some(self.now);
            self.now = to;
        } else {
            self.now = [deadline, ticks].into_iter().flatten().fold(to, Instant::min).max(self.now);
        }
        for client in &mut self.clients {
            client.network.now = self.now;
            client.network.is_held_up = is_held_up;
        }
        if is_held_up {
            // Sockets are looked at before the clock is.
            self.tell_all();
        }
        self.expire_plain();
        // What is told may be due at once.
        let (mut is_due, mut rounds) = (true, 0);
        while is_due {
            rounds += 1;
            assert!(rounds < 1_000, "seed {}: what is due at one time has no end", self.seed);
            for client in &mut self.clients {
                client.engine.tick(self.now, &mut client.network);
            }
            self.collect();
            self.tell_all();
            let now = self.now;
            is_due =
                self.clients.iter_mut().any(|client| client.engine.next_tick().is_some_and(|at| at <= now));
        }
        self.held_up_since = None;
        self.clients.iter_mut().for_each(|client| client.network.is_held_up = false);
        self.check_time();
    }

    fn fault(&mut self) {
        let place = self.rng.usize(..self.fleet.servers.len());
        let kind = self.rng.u8(..100);
        match kind {
            0..15 if self.traits.flushes => return self.fleet.lose(place),
            15..25 if self.traits.rights => return self.fleet.change_rights(),
            _ if !self.traits.faults => return,
            _ => {}
        }
        let server = &mut self.fleet.servers[place];
        let name = || server.address.to_string();
        match kind {
            25..33 => self.fleet.kill(place),
            33..53 => self.recover(),
            53..57 => {
                trace::note(|| format!("{} falls silent", name()));
                server.is_silent = true;
            }
            // It runs nothing while it is down or loads its data.
            57..61 if server.is_loading || !server.is_up => {}
            57..61 => {
                trace::note(|| format!("{} is busy", name()));
                server.is_busy = true;
            }
            61..64 => {
                trace::note(|| format!("{} has no memory", name()));
                server.is_full = true;
            }
            64..66 => {
                trace::note(|| format!("{} has lost its primary", name()));
                server.is_stale = true;
            }
            // What a script makes up to the letter, where it could be true, nobody can tell from the server's own
            // word.
            66..84 if self.traits.forges => {}
            66..68 => {
                trace::note(|| format!("{} sees no majority", name()));
                server.is_cut_off = true;
            }
            68..71 => self.fleet.fail_over(),
            71..84 => self.fleet.move_slot(),
            84..92 => {
                trace::note(|| format!("{} hears who has what", name()));
                self.fleet.gossip(place);
            }
            _ => {
                let client = self.rng.usize(..self.clients.len());
                let network = &mut self.clients[client].network;
                let open = network.open_conns();
                if !open.is_empty() {
                    network.cut(open[self.rng.usize(..open.len())]);
                }
            }
        }
    }

    fn recover(&mut self) {
        for place in 0..self.fleet.servers.len() {
            if !self.fleet.servers[place].is_up && self.rng.bool() {
                self.fleet.restart(place);
            }
            let server = &mut self.fleet.servers[place];
            for state in [
                &mut server.is_loading,
                &mut server.is_silent,
                &mut server.is_busy,
                &mut server.is_full,
                &mut server.is_stale,
                &mut server.is_cut_off,
            ] {
                *state &= self.rng.bool();
            }
        }
        trace::note(|| "servers recover".into());
    }

    fn cancel(&mut self) {
        if self.ops.is_empty() {
            return;
        }
        let number = self.rng.usize(..self.ops.len());
        let (seed, key) = (self.seed, number as u64);
        let op = &mut self.ops[number];
        let client = &mut self.clients[op.client];
        trace::note(|| format!("call {number} is called off"));
        let is_there = op.end.is_none() && op.plain.is_none();
        op.is_called_off |= is_there;
        let found = client.engine.cancel(self.now, &mut client.network, key, &|owner| *owner == key);
        assert_eq!(found, is_there, "seed {seed}: call {number} to be called off");
        let is_told = !client.network.has_news();
        self.collect();
        if !is_told {
            // Its end may be on the way.
            self.tell_all();
        }
        let op = &self.ops[number];
        assert!(!is_there || op.is_over(), "seed {seed}: call {number} was called off and goes on");
    }

    /// Whether a client has a call of which nothing is under way.
    fn is_between_attempts(&self) -> bool {
        self.clients.iter().any(|client| {
            let held = client.engine.held();
            held.calls > held.attempts
        })
    }

    fn close(&mut self) {
        trace::note(|| "the clients are closed".into());
        self.is_closed = true;
        for client in &mut self.clients {
            client.engine.close(self.now, &mut client.network);
        }
        self.collect();
        self.tell_all();
        let left = self.ops.iter().position(|op| !op.is_over());
        assert_eq!(left, None, "seed {}: closing has left a call", self.seed);
        for client in &self.clients {
            let open = client.network.open_conns().len() + client.network.dialing().len();
            assert_eq!(open, 0, "seed {}: closing has left connections", self.seed);
            let held = client.engine.held();
            assert_eq!(
                (held.calls, held.attempts, held.conns),
                (0, 0, 0),
                "seed {}: closing has left this",
                self.seed
            );
        }
    }
}
