//! How it is found out which servers there are: one look at a time, for all calls that wait for it.
//!
//! A cluster is asked by CLUSTER SLOTS, a single primary or one that sentinels name by ROLE. Nobody looks without a
//! reason: a call meets a sign of change, or the last look was long ago.

use std::time::{Duration, Instant};

use super::interface::{Actions, CallId, NodeId, Owner};
use super::questions::ask;
use super::state::answers::{self, Role};
use super::state::attempt::{Attempt, For, Tried};
use super::state::engine::{Body, Engine};
use super::state::refresh::{Look, MapWait};
use super::state::servers::{Link, Place};
use super::state::single::Mode;
use super::state::slot_map::{Found, FoundShard, SlotMap};
use super::state::timers::{FEW, Timer};
use crate::base::log::{EventKind, Record};
use crate::base::purpose::Purpose;
use crate::config::{Config, Servers as Named};
use crate::error::{Error, Reason, Result, Status};
use crate::net::address::Address;
use crate::resp::Reply;

/// Looks begin no oftener than this.
const PACE: Duration = Duration::from_millis(100);

/// How long replicas of a server without a cluster are believed to be the same; and the longest time for which
/// sentinels that do not answer are left in peace.
const REPLICAS_TRUST: Duration = Duration::from_secs(30);

/// How long the word of a sentinel is taken. On a failover on demand the old primary goes on answering for many
/// seconds, and what it is told then is lost.
const SENTINEL_TRUST: Duration = Duration::from_secs(1);

/// How long one server may take to say who is who while there are others to be asked.
const ASK_PATIENCE: Duration = Duration::from_millis(500);

impl<T: Owner> Engine<T> {
    /// Whether the map is as old as it may be, and nobody looks.
    fn is_map_old(&self, now: Instant) -> bool {
        let is_old = |trust| self.servers.looked.is_some_and(|at| now > at + trust);
        !self.servers.is_looking && self.trust().is_some_and(is_old)
    }

    /// How long the map is believed; for a cluster, until something speaks against it.
    pub(super) fn trust(&self) -> Option<Duration> {
        if !self.servers.is_watched() {
            return (!self.servers.is_cluster()).then_some(REPLICAS_TRUST);
        }
        // For about as long as sentinels are lost already.
        let failures = self.refresh.failures.min(16);
        Some(SENTINEL_TRUST.saturating_mul(1 << failures).min(REPLICAS_TRUST))
    }

    /// Goes on with a call once there is a map worth going by.
    pub(super) fn prepare(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(call) = self.call(id) else { return };
        let deadline = call.deadline;
        let seen = self.servers.map.generation;
        if seen == 0 {
            return self.await_map(now, io, id, seen, deadline, MapWait::NEW_MAP);
        }
        let is_doubted = std::mem::take(&mut self.servers.is_doubted);
        let is_old = self.is_map_old(now);
        let wants_look = is_doubted || is_old;
        // In a cluster the old map does for all calls but those that go to the suspect, which keep their order in
        // waiting. And sentinels that are lost must not slow down a service that is well.
        let are_lost = self.servers.is_watched() && self.refresh.failures > 0;
        let waits = if self.servers.is_cluster() {
            self.goes_to_suspect(id)
        } else {
            is_doubted || is_old && !are_lost
        };
        if waits {
            let until = deadline.min(now + 2 * ASK_PATIENCE);
            return self.await_map(now, io, id, seen, until, MapWait::OldMapDoes);
        }
        if wants_look {
            self.look(now, io);
        }
        self.proceed(now, io, id);
    }

    /// Whether a call, by the map, has something to do with the server that let another down.
    fn goes_to_suspect(&self, id: CallId) -> bool {
        let Some(suspect) =
            self.servers.suspect.as_ref().and_then(|suspect| self.servers.primary_at(suspect))
        else {
            return false;
        };
        let leads_there = |place: &Place| match place {
            Place::Slot(slot) => self.servers.primary_of(*slot) == Some(suspect),
            Place::Node(address) => self.servers.node(suspect).address == *address,
            Place::Anywhere => false,
        };
        match self.call(id).map(|call| &call.body) {
            Some(Body::Single(single)) => single.place().is_some_and(leads_there),
            Some(Body::FanOut(fan_out)) => fan_out.places().any(|place| leads_there(&place)),
            Some(Body::Everywhere(_)) => true,
            _ => false,
        }
    }

    /// Has a call wait for a map newer than the one it has seen.
    pub(super) fn await_map(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        seen: u64,
        until: Instant,
        wait: MapWait,
    ) {
        if self.is_closed {
            return self.no_map(now, io, id, Error::closed(), false);
        }
        if self.servers.map.generation != seen {
            return self.proceed(now, io, id);
        }
        if let Some(call) = self.call_mut(id) {
            call.map_wait = Some(wait);
        }
        if now >= until {
            let error = self.not_told_in_time();
            return self.no_map(now, io, id, error, true);
        }
        // Those whose time is over stay behind in it.
        if self.refresh.waiting.len() > FEW + 2 * self.calls.len() {
            self.refresh.waiting = self.take_waiting();
        }
        self.refresh.waiting.push(id);
        self.wake_at(id, until);
        self.look(now, io);
    }

    /// The time of a call that waits for a map is over. `false`: it does not wait for one.
    pub(super) fn map_due(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) -> bool {
        if self.call(id).is_none_or(|call| call.map_wait.is_none()) {
            return false;
        }
        let error = self.not_told_in_time();
        self.no_map(now, io, id, error, true);
        true
    }

    /// The error of a call that cannot wait any longer for a map.
    fn not_told_in_time(&self) -> Error {
        match &self.refresh.look {
            Some(look) if !look.errors.is_empty() => {
                let asked = &look.candidates[look.at.min(look.candidates.len() - 1)];
                let text = format!("no answer from {asked} in time");
                let last = Error::because(Status::Connect, Reason::Deadline, text);
                nobody_says(look.errors.iter().cloned().chain([last]).collect())
            }
            _ => self.refresh.error.clone().unwrap_or_else(|| no_map(&self.servers.config)),
        }
    }

    /// Begins a look, now or when it is due; unless one is under way.
    pub(super) fn look(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        if self.servers.is_looking || self.is_closed {
            return;
        }
        if let Some(due) = self.servers.looked.map(|looked| looked + PACE).filter(|due| *due > now) {
            if self.refresh.due != Some(due) {
                self.refresh.due = Some(due);
                self.timers.add(due, Timer::Refresh);
            }
            return;
        }
        self.refresh.due = None;
        let candidates = self.candidates(io);
        self.servers.begin_look();
        self.refresh.looks += 1;
        self.refresh.look = Some(Look {
            number: self.refresh.looks,
            candidates,
            at: 0,
            is_patient: false,
            was_slow: false,
            errors: Vec::new(),
            asked: now,
            until: now,
            primary: None,
            refused: None,
        });
        self.ask_next(now, io);
    }

    /// Whom to ask. In a cluster: the nodes that answer, then those that do not or are not connected, then those that
    /// the URL names; the suspect last.
    fn candidates(&mut self, io: &dyn Actions<T>) -> Vec<Address> {
        let suspect = self.servers.suspect.clone();
        match &self.servers.config.servers {
            Named::One(address) => vec![address.clone()],
            Named::Sentinel { sentinels, .. } => {
                let (before, from) = sentinels.split_at(self.refresh.informant);
                [from, before].concat()
            }
            Named::Cluster(seeds) => {
                let mut nodes: Vec<NodeId> = self.servers.map.nodes().collect();
                fastrand::shuffle(&mut nodes);
                let servers = &self.servers;
                let answers = |node: &NodeId| match servers.node(*node).link {
                    Link::Up(conn) => !io.is_suspect(conn),
                    _ => false,
                };
                let (answering, others): (Vec<_>, Vec<_>) = nodes.into_iter().partition(answers);
                let mut candidates: Vec<Address> = Vec::new();
                let known = answering.iter().chain(&others).map(|node| &servers.node(*node).address);
                for address in known.chain(seeds) {
                    if !candidates.contains(address) {
                        candidates.push(address.clone());
                    }
                }
                if let Some(at) = candidates.iter().position(|address| Some(address) == suspect.as_ref()) {
                    let suspect = candidates.remove(at);
                    candidates.push(suspect);
                }
                candidates
            }
        }
    }

    fn ask_next(&mut self, now: Instant, io: &mut dyn Actions<T>) {
        let Some(look) = &mut self.refresh.look else { return };
        if look.at == look.candidates.len() {
            if look.is_patient || !look.was_slow {
                let error = nobody_says(std::mem::take(&mut look.errors));
                return self.looked(now, io, Err(error));
            }
            (look.is_patient, look.at) = (true, 0);
            look.errors.clear();
        }
        let address = look.candidates[look.at].clone();
        let all = self.servers.config.connect_timeout;
        let is_only = self.servers.only.is_some();
        let patience = if look.is_patient || is_only { all } else { ASK_PATIENCE.min(all) };
        look.asked = now;
        look.until = now + patience;
        (look.primary, look.refused) = (None, None);
        match &self.servers.config.servers {
            Named::One(_) => {
                let node = self.servers.node_at(&address, Purpose::Calls);
                self.ask_about_servers(now, io, node, &[b"ROLE"]);
            }
            Named::Cluster(_) => {
                let node = self.servers.node_at(&address, Purpose::Calls);
                self.ask_about_servers(now, io, node, &[b"CLUSTER", b"SLOTS"]);
            }
            Named::Sentinel { service, .. } => {
                let service = service.clone();
                let node = self.servers.sentinel_at(&address);
                let words: [&[u8]; 3] = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.as_bytes()];
                self.ask_about_servers(now, io, node, &words);
            }
        }
    }

    fn ask_about_servers(&mut self, now: Instant, io: &mut dyn Actions<T>, node: NodeId, words: &[&[u8]]) {
        let Some(look) = &self.refresh.look else { return };
        let times = (look.until, look.until.saturating_duration_since(look.asked));
        let whose = For::Refresh(look.number);
        let request = ask(io.take_request(), words);
        self.start(now, io, Attempt::new(whose, node, Some(request), now, times));
    }

    /// A server has said who is who, or will not.
    pub(super) fn told(&mut self, now: Instant, io: &mut dyn Actions<T>, number: u64, mut tried: Tried) {
        tried.give_back(io);
        let node = tried.whence.node;
        if self.servers.node(node).purpose == Purpose::Bare {
            self.forget_sentinel(io, node);
        }
        let Some(look) = self.refresh.look.as_mut().filter(|look| look.number == number) else { return };
        let asked = self.servers.node(node).address.clone();
        let name = self.servers.node(node).name.clone();
        // What is unknown is this question's fate. Of the calls on whose behalf it is asked nothing was executed.
        let answer = tried.result.map(Reply::new).map_err(|error| match error.status() {
            Status::Indeterminate => {
                let text = format!("no answer from {asked} to a question about the servers");
                Error::because(Status::Connect, error.reason(), text).on(&name)
            }
            _ if error.server_text().is_some() => error
                .certainly_not_executed()
                .context(format_args!("{asked} refuses to say which servers there are")),
            _ => error,
        });
        let config = &self.servers.config;
        let is_only = self.servers.only.is_some();
        let found = match (&config.servers, look.primary.take()) {
            (Named::One(_), _) => shard_of(&asked, answer, is_only, config).map(|shard| vec![shard]),
            (Named::Cluster(_), _) => answer
                .map_err(|error| answers::no_cluster(error, &asked))
                .and_then(|reply| answers::cluster_slots(reply.root(), &asked, config)),
            (Named::Sentinel { service, .. }, None) => {
                let root = answer.as_ref().map(Reply::root).map_err(Clone::clone);
                match answers::primary_of(root, &asked, service, config) {
                    Ok(primary) => {
                        look.primary = Some(primary.clone());
                        let node = self.servers.node_at(&primary, Purpose::Calls);
                        return self.ask_about_servers(now, io, node, &[b"ROLE"]);
                    }
                    Err(error) => Err(error),
                }
            }
            (Named::Sentinel { sentinels, .. }, Some(primary)) => {
                let sentinel = &look.candidates[look.at];
                let shard = match (look.refused.take(), answer) {
                    // No right is needed for HELLO.
                    (None, Err(error)) if error.server_code() == Some("NOPERM") => {
                        (look.primary, look.refused) = (Some(primary), Some(error));
                        return self.ask_about_servers(now, io, node, &[b"HELLO"]);
                    }
                    (None, answer) => shard_of(&asked, answer, is_only, config),
                    (Some(refused), answer) => shard_by_hello(&asked, answer, refused),
                };
                let shard = shard.map_err(|error| absent(sentinel, error));
                if shard.is_ok() {
                    let place = sentinels.iter().position(|other| other == sentinel);
                    self.refresh.informant = place.unwrap_or_default();
                }
                shard.map(|shard| vec![shard])
            }
        };
        match found {
            Err(error) if error.status() != Status::Closed => {
                look.was_slow |= now.saturating_duration_since(look.asked) >= ASK_PATIENCE;
                look.errors.push(error);
                look.at += 1;
                self.ask_next(now, io);
            }
            found => self.looked(now, io, found),
        }
    }

    /// Sentinels are spoken to when they are asked, and no longer.
    fn forget_sentinel(&mut self, io: &mut dyn Actions<T>, id: NodeId) {
        let node = self.servers.node_mut(id);
        node.not_before = None;
        if let Link::Up(conn) = node.link {
            node.link = Link::None;
            self.take_conn(conn);
            io.close(conn, Error::closed());
        }
    }

    fn looked(&mut self, now: Instant, io: &mut dyn Actions<T>, found: Result<Found>) {
        self.refresh.look = None;
        self.servers.is_looking = false;
        self.servers.looked = Some(now);
        if !self.servers.is_doubted {
            self.servers.suspect = None;
        }
        self.refresh.error = found.as_ref().err().cloned();
        self.refresh.failures = if found.is_ok() { 0 } else { self.refresh.failures.saturating_add(1) };
        match found {
            Ok(found) => {
                self.install(now, io, &found);
                let waiting = self.take_waiting();
                self.ready.extend(waiting);
            }
            Err(error) => {
                // Plain calls go on by it for as long as it is believed now.
                self.servers.are_routes_old |= self.servers.is_watched();
                for id in self.take_waiting() {
                    if self.bears_failed_look(id, &error) {
                        self.refresh.waiting.push(id);
                    } else {
                        self.no_map(now, io, id, error.clone(), false);
                    }
                }
                if !self.refresh.waiting.is_empty() {
                    self.look(now, io);
                }
            }
        }
    }

    /// The calls that wait for a map still.
    fn take_waiting(&mut self) -> Vec<CallId> {
        let mut waiting = std::mem::take(&mut self.refresh.waiting);
        waiting.retain(|id| self.call(*id).is_some_and(|call| call.map_wait.is_some()));
        // One that has waited twice is there twice.
        waiting.sort_unstable_by_key(|id| id.serial);
        waiting.dedup();
        waiting
    }

    fn bears_failed_look(&mut self, id: CallId, error: &Error) -> bool {
        // What may have been executed, and finds out by itself, is worth every look that there is time for.
        let is_patient = match self.call(id).map(|call| &call.body) {
            Some(Body::Single(single)) => single.progress.as_ref().is_some_and(
                |progress| matches!(&progress.mode, Mode::Routed(history) if history.is_left_open()),
            ),
            Some(Body::FanOut(fan_out)) => fan_out.has_open_items(),
            _ => false,
        };
        let attempts = self.servers.config.reconnect.attempts;
        let wait = self.call_mut(id).and_then(|call| call.map_wait.as_mut());
        wait.is_some_and(|wait| wait.bears(error, attempts) || is_patient && error.status() != Status::Closed)
    }

    /// Puts a new map in force, and lets go of the servers that are not in it.
    fn install(&mut self, now: Instant, io: &mut dyn Actions<T>, found: &Found) {
        let generation = self.servers.map.generation + 1;
        let replica = if self.servers.is_cluster() { Purpose::Replica } else { Purpose::Calls };
        let old: Vec<NodeId> = self.servers.primaries();
        let servers = &mut self.servers;
        let map = SlotMap::new(found, generation, |address, is_replica| {
            let node = servers.node_at(address, if is_replica { replica } else { Purpose::Calls });
            servers.node_mut(node).wanted = generation;
            node
        });
        let is_new = map.shards.len() != old.len() || map.primaries().any(|node| !old.contains(&node));
        if is_new {
            let primaries: Vec<String> = found.iter().map(|shard| shard.primary.to_string()).collect();
            let text = format!("the primaries are {}", primaries.join(", "));
            let is_failover = !self.servers.is_cluster() && !old.is_empty();
            let kind = if is_failover { EventKind::Failover } else { EventKind::PrimariesChanged };
            let node = map.primaries().next().filter(|_| !self.servers.is_cluster());
            io.log(Record::new(kind, node.map(|node| &self.servers.node(node).name), text));
        }
        self.servers.install(now, map);
        self.drop_kept_of_others(io);
        let only = self.servers.only;
        let gone: Vec<_> = self
            .servers
            .all()
            .filter(|node| self.servers.node(node.first).wanted + 1 < generation && Some(node.first) != only)
            .filter_map(|node| match node.link {
                Link::Up(conn) => Some((node.id, conn)),
                _ => None,
            })
            .collect();
        for (node, conn) in gone {
            self.servers.node_mut(node).link = Link::None;
            io.serve(node, None);
            io.retire(conn);
        }
        if self.servers.note_gone(self.serial) {
            self.forget_gone();
        }
    }

    /// Forgets servers that have left, and that no call under way can have met.
    fn forget_gone(&mut self) {
        let oldest = self.calls.iter().map(|(_, call)| call.serial).min().unwrap_or(u64::MAX);
        let attempts = self.attempts.iter().map(|(_, attempt)| attempt.node);
        let conns = self.conns.values().map(|conn| conn.node);
        let tried = self.tried.iter().map(|(_, tried)| tried.whence.node);
        let used = attempts.chain(conns).chain(tried).collect();
        self.servers.forget_gone(oldest, &used);
    }
}

/// The primary at an address, and its replicas.
fn shard_of(address: &Address, answer: Result<Reply>, is_only: bool, config: &Config) -> Result<FoundShard> {
    let role = answer.map(|reply| answers::role(reply.root(), address, config));
    let replicas = match role {
        Ok(Role::Primary { replicas }) => replicas,
        // Named in the URL, it is what the user wants, with or without replicas that are known.
        Ok(Role::Replica) if is_only => Vec::new(),
        Err(error) if is_only && error.server_text().is_some() => Vec::new(),
        Err(error) => return Err(error),
        Ok(Role::Replica) => return Err(no_primary(address)),
    };
    Ok(FoundShard { primary: address.clone(), replicas, ranges: Vec::new() })
}

/// The primary at an address, by its answer to HELLO, where ROLE was refused so. Its replicas are not known then.
fn shard_by_hello(address: &Address, answer: Result<Reply>, refused: Error) -> Result<FoundShard> {
    match answer.map(|reply| answers::role_by_hello(reply.root())) {
        Ok(Some(Role::Primary { replicas })) => {
            Ok(FoundShard { primary: address.clone(), replicas, ranges: Vec::new() })
        }
        Ok(Some(Role::Replica)) => Err(no_primary(address)),
        Ok(None) => Err(refused),
        Err(error) if error.server_text().is_some() => Err(refused),
        Err(error) => Err(error),
    }
}

fn no_primary(address: &Address) -> Error {
    let text = format!("{address} is a replica now, and there is no word of another primary yet");
    Error::new(Status::Connect, text)
}

/// Of several refusals: the one that no other attempt would change, or all of them.
fn nobody_says(mut errors: Vec<Error>) -> Error {
    if let Some(absent) = errors.iter().position(|error| error.status() == Status::NotServed) {
        return errors.swap_remove(absent);
    }
    let all_final =
        errors.iter().all(|error| error.status() != Status::Connect && error.status() != Status::Timeout);
    match errors.len() {
        1 => errors.remove(0),
        0 => Error::new(Status::Connect, "there is no server to ask"),
        _ if all_final => errors.remove(0),
        count => {
            let words: Vec<&str> = errors.iter().map(Error::message).collect();
            Error::new(
                Status::Connect,
                format!("none of {count} servers could be asked: {}", words.join("; ")),
            )
        }
    }
}

/// The primary that a sentinel names is none, or not there: another may take its place.
fn absent(sentinel: &Address, error: Error) -> Error {
    match error.status() {
        Status::Connect | Status::Timeout => {
            let text = format!("the sentinel at {sentinel} names no other primary yet: {error}");
            Error::new(Status::NotServed, text).sent(false)
        }
        _ => error,
    }
}

fn no_map(config: &Config) -> Error {
    let named: Vec<String> = config.servers.addresses().iter().map(ToString::to_string).collect();
    let text = format!(
        "the deadline passed before it was known which servers there are, by {}; nothing was sent",
        named.join(", ")
    );
    Error::new(Status::Timeout, text)
}
