//! The calls of a schedule: what is asked for, by whom, and what the test has to know of each.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::World;
use super::fleet::{KEYS, MOST_REPLICAS, NAMED, ORDINARY, OnceKind, WaitedFor};
use super::trace;
use super::traits::Kind;
use crate::base::purpose::Purpose;
use crate::core::{Call, ConnId, FlushMode, NodeId, Task, View, Way, Work};
use crate::error::Error;
use crate::request::route::ReadFrom;
use crate::request::slots::NO_SLOT;
use crate::request::{Flags, Repeatable, Request, Routing, Shape};

/// Most calls have so much time.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);

/// Some have so much that only a call that was forgotten uses it up.
pub(super) const LONG_TIMEOUT: Duration = Duration::from_secs(120);

/// The place of the script that may run twice.
pub(super) const IDEMPOTENT: usize = 4;

/// Callers that each make one call after the other.
const SUBMITTERS: u8 = 3;

/// One item of a call.
pub(super) struct Item {
    pub(super) number: u64,
    pub(super) keys: Vec<&'static str>,
    /// Any of several servers may run it.
    pub(super) has_choice: bool,
    pub(super) may_repeat: bool,
    /// How it happens once, if it has a token, by which servers tell it when it comes again.
    pub(super) once: Option<OnceKind>,
    /// The execution whose reply the caller has got.
    pub(super) told: Cell<Option<u32>>,
    /// How often its effects had been lost when enough replicas had it.
    pub(super) safe_since: Option<u32>,
    /// The library of the function that it calls, by its place.
    pub(super) library: Option<usize>,
}

impl Item {
    pub(super) fn is_once(&self) -> bool {
        self.once.is_some()
    }

    /// Whether it calls a function whose errors nothing marks.
    pub(super) fn is_named(&self) -> bool {
        self.library == Some(NAMED)
    }

    /// Whether two items of a pipeline must keep their order.
    pub(super) fn is_tied(&self, other: &Item, is_cluster: bool) -> bool {
        match (self.keys.is_empty(), other.keys.is_empty()) {
            (false, false) => self.keys.iter().any(|key| other.keys.contains(key)),
            (true, true) => true,
            _ => !is_cluster,
        }
    }
}

/// What every primary is to run.
pub(super) struct Wave {
    pub(super) item: u64,
    /// What each server has said of it, by its place.
    pub(super) said: Vec<(usize, Option<Error>)>,
}

/// A call as the test knows it.
pub(super) struct Op {
    pub(super) client: usize,
    pub(super) submitter: u8,
    pub(super) shape: Shape,
    /// None: administration.
    pub(super) items: Vec<Item>,
    pub(super) waits: bool,
    /// Each of its items happens once, by a token.
    pub(super) is_once: bool,
    /// So many replicas must have it before it is done.
    pub(super) replicas: u32,
    /// The token that its items share.
    pub(super) shared_token: Option<String>,
    pub(super) task: Option<Task>,
    pub(super) wave: Option<Wave>,
    /// Every connection is to log in again.
    pub(super) logs_in: bool,
    /// How often each primary had been told to let go of its scripts.
    pub(super) flushes: Vec<u32>,
    /// How often all servers together had been.
    pub(super) flushes_anywhere: u32,
    pub(super) submitted: Instant,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
    /// The client had met no trouble so far.
    pub(super) is_untroubled: bool,
    /// Where a plain blocking call is.
    pub(super) plain: Option<(NodeId, ConnId)>,
    pub(super) view: View,
    pub(super) is_called_off: bool,
    /// A connection of the client's was lost meanwhile.
    pub(super) met_loss: bool,
    pub(super) end: Option<End>,
}

pub(super) struct End {
    pub(super) at: Instant,
    pub(super) error: Option<Error>,
    /// Of each item: its error, if it has one.
    pub(super) items: Vec<Option<Error>>,
}

impl Op {
    /// Whether it has a connection of its own, or items that others ask for as well: no order is kept.
    pub(super) fn is_apart(&self) -> bool {
        self.waits || self.replicas > 0
    }

    pub(super) fn is_over(&self) -> bool {
        self.end.is_some()
    }
}

impl World {
    fn empty_request(&mut self, shape: Shape, way: &Way) -> Box<Request> {
        let mut request = Box::<Request>::default();
        request.reset(shape);
        if self.traits.kind == Kind::Cluster {
            request.routing = if *way == Way::Random { Routing::BySlot } else { Routing::BySlotOrRoute };
        }
        request
    }

    fn some_keys(&mut self, shape: Shape, own: &'static str) -> Vec<&'static str> {
        let key = if shape == Shape::Transaction { own } else { KEYS[self.rng.usize(..KEYS.len())] };
        match (self.rng.u8(..), key) {
            (0..20, _) if shape != Shape::Transaction => Vec::new(),
            (20..40, "a") => vec!["a", "{a}2"],
            (20..40, "{b}2") => vec!["{b}2", "b"],
            _ => vec![key],
        }
    }

    /// Submits a call of any kind. `timeout`: its time; `None`: as it comes.
    pub(super) fn submit(&mut self, timeout: Option<Duration>) {
        let traits = self.traits;
        let client = self.rng.usize(..self.clients.len());
        let read_from = match self.rng.u8(..6) {
            0 if traits.reads => ReadFrom::PreferReplica,
            1 if traits.reads => ReadFrom::Replica,
            _ => ReadFrom::Primary,
        };
        let way = if self.rng.u8(..) < 20 { Way::Slot(self.rng.u16(..16384)) } else { Way::Random };
        let shape = match self.rng.u8(..10) {
            0..6 => Shape::Single,
            9 if traits.transactions => Shape::Transaction,
            _ => Shape::Pipeline,
        };
        let mut request = self.empty_request(shape, &way);
        let count = if shape == Shape::Single { 1 } else { self.rng.usize(1..7) };
        let is_idempotent = self.rng.u8(..5) == 0;
        let own_key = KEYS[self.rng.usize(..KEYS.len())];
        let waits = traits.waiting && shape == Shape::Single && self.rng.u8(..6) == 0;
        // While a slot moves such calls wait for the end of that, which is not to be asked for when all is well.
        let may_be_once = traits.once && !waits && (timeout.is_none() || !self.fleet.has_moves());
        let is_once = may_be_once && self.rng.u8(..4) == 0;
        let is_mixed = is_once && self.rng.u8(..3) == 0;
        let shares_token = is_once && !is_mixed && self.rng.bool();
        let replicas = if is_once { self.some_replicas(timeout.is_some()) } else { 0 };
        let mut items = Vec::new();
        for _ in 0..count {
            self.next_item += 1;
            let number = self.next_item.to_string();
            let mut keys = self.some_keys(shape, own_key);
            let is_once = is_once && (!is_mixed || self.rng.bool());
            let once = is_once.then(|| self.some_kind());
            if is_once && keys.is_empty() {
                keys.push(own_key);
            }
            let has_key = keys.first().copied();
            let is_command = self.rng.u8(..5) == 0;
            let may_be_function = traits.functions && !is_idempotent;
            let library = (may_be_function && self.rng.bool())
                .then(|| self.rng.usize(..ORDINARY))
                .filter(|_| !is_once && !waits && !is_command);
            match has_key {
                Some(key) if waits => {
                    request
                        .command(&[b"BLPOP", key.as_bytes(), number.as_bytes()], Flags::NONE)
                        .expect("accepted");
                }
                Some(key) if is_command && !is_idempotent && !is_once && keys.len() == 1 => {
                    request
                        .command(&[b"APPEND", key.as_bytes(), number.as_bytes()], Flags::NONE)
                        .expect("accepted");
                }
                _ if let Some(kind) = once => {
                    self.call_once(&mut request, kind, replicas, (self.next_item, &keys), shares_token);
                }
                _ if let Some(library) = library => {
                    let function = self.fleet.functions[library].clone();
                    let flags = Flags { read_only: self.rng.u8(..4) == 0, ..Flags::NONE };
                    let args = [number.as_str()];
                    request.script_call(&function, &keys[..], &args[..], flags).expect("accepted");
                }
                _ => {
                    let script = if is_idempotent { IDEMPOTENT } else { self.rng.usize(..IDEMPOTENT) };
                    let reads = !is_idempotent && self.rng.u8(..4) == 0;
                    let script = self.fleet.scripts[script].clone();
                    let args = [number.as_str()];
                    let flags = Flags { read_only: reads, ..Flags::NONE };
                    request.script_call(&script, &keys[..], &args[..], flags).expect("accepted");
                }
            }
            items.push(Item {
                number: self.next_item,
                keys,
                has_choice: false,
                may_repeat: false,
                once,
                told: Cell::new(None),
                safe_since: None,
                library: library.or(once.and_then(OnceKind::library)),
            });
        }
        let shared_token = shares_token.then(|| format!("jobs up to {}", self.next_item));
        if let Some(token) = &shared_token {
            request.share_token(token.as_bytes()).expect("all happen once");
        }
        let replicas = request.wait.map_or(0, |wait| wait.replicas);
        let waits = waits && !items[0].keys.is_empty();
        let timeout = timeout.unwrap_or_else(|| match self.rng.u8(..8) {
            0..4 if traits.hurry => Duration::from_millis(self.rng.u64(20..1_000)),
            // What waits for more replicas than there are goes on as long as it can, and what makes up that it may go
            // elsewhere, and may repeat.
            4 if replicas as usize <= self.fleet.replicas
                && !items.iter().any(|item| self.fleet.forges(item.number)) =>
            {
                LONG_TIMEOUT
            }
            _ => TIMEOUT,
        });
        let view = View { read_from, way };
        let reads = view.reads(&request);
        for (index, item) in items.iter_mut().enumerate() {
            item.has_choice = request.items[index].reads && reads;
            item.may_repeat = request.repeatable_item(index) != Repeatable::No;
        }
        let number = self.note_op(client, shape, items, view, timeout);
        self.ops[number].waits = waits;
        self.ops[number].is_once = is_once && !is_mixed;
        self.ops[number].shared_token = shared_token;
        self.wait_for(number, replicas);
        self.send(number, request, reads);
    }

    /// How many replicas are waited for: mostly no more than there are.
    fn some_replicas(&mut self, is_to_succeed: bool) -> u32 {
        let there = u32::try_from(self.fleet.replicas).unwrap_or_default();
        if !self.traits.replicated || self.rng.bool() {
            return 0;
        }
        let most = if is_to_succeed || self.rng.u8(..16) != 0 { there } else { there + 1 };
        // As many as there are, or fewer, of which a failover may forget one.
        if self.rng.u8(..4) == 0 { self.rng.u32(..=most) } else { most }.min(MOST_REPLICAS)
    }

    fn some_kind(&mut self) -> OnceKind {
        match self.rng.u8(..4) {
            // Where there are no functions, that is no call at all.
            0 if self.traits.functions && !self.traits.old => OnceKind::Function,
            1 if self.traits.functions => OnceKind::AsFunction,
            _ => OnceKind::Script,
        }
    }

    /// Adds a call with a token: of its own, unless all of the request are to share one.
    fn call_once(
        &self,
        request: &mut Request,
        kind: OnceKind,
        replicas: u32,
        (number, keys): (u64, &[&'static str]),
        shares_token: bool,
    ) {
        let script = &self.fleet.once[replicas as usize][kind as usize];
        let (number, token) = (number.to_string(), format!("job {number}"));
        let flags = Flags { token: (!shares_token).then_some(token.as_bytes()), ..Flags::NONE };
        request.script_call(script, keys, &[number.as_str()][..], flags).expect("accepted");
    }

    /// Notes that a call waits for replicas, if it does.
    fn wait_for(&mut self, number: usize, replicas: u32) {
        let op = &mut self.ops[number];
        op.replicas = replicas;
        let group = op.items.first().map_or(0, |item| item.number);
        // In a pipeline over several servers others have a connection of their own only by the way.
        let is_in_one = op.shape != Shape::Pipeline;
        for item in &op.items {
            self.fleet.witness.note(item.number).askers += 1;
            if replicas > 0 {
                let is_reserved = is_in_one || item.is_once();
                self.fleet.waited_for.insert(item.number, WaitedFor { group, is_reserved });
            }
        }
    }

    /// A caller who has crashed, or another one, asks again with the tokens that it has used: for what may have
    /// run, may run, or is over.
    pub(super) fn ask_again(&mut self) {
        let may_be_asked = |number: &usize| self.ops[*number].is_once;
        let numbers: Vec<usize> = (0..self.ops.len()).filter(may_be_asked).collect();
        if numbers.is_empty() {
            return;
        }
        let first = numbers[self.rng.usize(..numbers.len())];
        let Op { shape, replicas, .. } = self.ops[first];
        let view = View { read_from: ReadFrom::Primary, way: Way::Random };
        let mut request = self.empty_request(shape, &view.way);
        let shared_token = self.ops[first].shared_token.clone();
        let mut items = Vec::new();
        for item in &self.ops[first].items {
            let kind = item.once.expect("all of its items happen once");
            let call = (item.number, &item.keys[..]);
            self.call_once(&mut request, kind, replicas, call, shared_token.is_some());
            let Item { number, ref keys, has_choice, may_repeat, once, library, .. } = *item;
            let (keys, told) = (keys.clone(), Cell::new(None));
            let item = Item { number, keys, has_choice, may_repeat, once, library, told, safe_since: None };
            items.push(item);
        }
        if let Some(token) = &shared_token {
            request.share_token(token.as_bytes()).expect("all happen once");
        }
        let client = self.rng.usize(..self.clients.len());
        let number = self.note_op(client, shape, items, view, TIMEOUT);
        let op = &mut self.ops[number];
        (op.is_once, op.shared_token) = (true, shared_token);
        self.wait_for(number, replicas);
        self.send(number, request, false);
    }

    fn note_op(
        &mut self,
        client: usize,
        shape: Shape,
        items: Vec<Item>,
        view: View,
        timeout: Duration,
    ) -> usize {
        let number = self.ops.len();
        let submitted = self.now;
        for item in &items {
            let deadlines = &mut self.clients[client].network.deadlines;
            let until = deadlines.entry(item.number).or_insert(submitted + timeout);
            *until = (*until).max(submitted + timeout);
        }
        self.ops.push(Op {
            client,
            submitter: self.rng.u8(..SUBMITTERS),
            shape,
            items,
            waits: false,
            is_once: false,
            replicas: 0,
            shared_token: None,
            task: None,
            wave: None,
            logs_in: false,
            flushes: self.flushes(),
            flushes_anywhere: self.flushes_anywhere(),
            submitted,
            timeout,
            deadline: submitted + timeout,
            is_untroubled: !self.clients[client].network.had_trouble,
            plain: None,
            view,
            is_called_off: false,
            met_loss: false,
            end: None,
        });
        number
    }

    fn send(&mut self, number: usize, request: Box<Request>, reads: bool) {
        let now = self.now;
        let op = &self.ops[number];
        let client = &mut self.clients[op.client];
        let mut request = request;
        // Only a cluster's pipeline is taken apart.
        let is_whole = op.shape != Shape::Pipeline || self.traits.kind != Kind::Cluster;
        let is_plain = is_whole && !reads && !op.waits && op.replicas == 0 && !client.shares_several;
        // As a blocking caller does, where the way is plain.
        if self.traits.blocking && is_plain && self.rng.bool() && !self.is_closed {
            let by_slot = |slot| client.network.routes.as_ref()?.node_of(slot, now);
            let node = match client.engine.only() {
                Some(only) => Some(only),
                None if self.traits.kind == Kind::Sentinel => by_slot(NO_SLOT),
                None => Some(request.slot).filter(|slot| *slot != NO_SLOT).and_then(by_slot),
            };
            let conn = node.and_then(|node| Some((node, *client.network.served.get(&node)?)));
            if let Some((node, conn)) = conn {
                match client.network.call(conn, number, request) {
                    Ok(()) => {
                        self.ops[number].plain = Some((node, conn));
                        return self.trace_op(number, "on its caller's thread");
                    }
                    Err(unsent) => request = unsent,
                }
            }
        }
        let purpose = if self.ops[number].waits { Purpose::Waiting } else { Purpose::Calls };
        self.trace_op(number, "submitted");
        self.enter(number, Work::Send(request, purpose));
    }

    fn trace_op(&self, number: usize, how: &str) {
        trace::note(|| {
            let op = &self.ops[number];
            let items: Vec<String> = op
                .items
                .iter()
                .map(|item| {
                    let repeats = match (item.is_once(), item.may_repeat) {
                        (true, _) => " (once)",
                        (false, true) => " (may repeat)",
                        (false, false) => "",
                    };
                    format!("item {} on {}{repeats}", item.number, item.keys.join(" "))
                })
                .collect();
            let Op { client, submitter, shape, timeout, waits, view, .. } = op;
            let waits = match (waits, op.replicas) {
                (true, _) => ", waits".to_owned(),
                (false, 0) => String::new(),
                (false, replicas) => format!(", waits for {replicas} replicas"),
            };
            format!(
                "call {number} of client {client}, caller {submitter}, {how}: {shape:?} of {} in {timeout:?}{waits}, \
                 read from {:?}",
                items.join(", "),
                view.read_from
            )
        });
    }

    fn enter(&mut self, number: usize, work: Work) {
        let op = &self.ops[number];
        let call = Call {
            owner: number as u64,
            work,
            view: op.view.clone(),
            timeout: op.timeout,
            deadline: op.deadline,
        };
        let client = &mut self.clients[op.client];
        client.engine.submit(self.now, &mut client.network, call);
        self.collect();
    }

    /// Submits a command that every primary is to run.
    pub(super) fn send_everywhere(&mut self) {
        self.next_item += 1;
        let item = self.next_item;
        let view = View { read_from: ReadFrom::Primary, way: Way::AllPrimaries };
        let mut request = self.empty_request(Shape::Single, &view.way);
        request.command(&[b"PUBLISH", b"all", item.to_string().as_bytes()], Flags::NONE).expect("accepted");
        let client = self.rng.usize(..self.clients.len());
        let number = self.note_op(client, Shape::Single, Vec::new(), view, TIMEOUT);
        self.ops[number].wave = Some(Wave { item, said: Vec::new() });
        self.trace_op(number, "to all primaries");
        self.enter(number, Work::Send(request, Purpose::Calls));
    }

    /// Has a client log in again that asks for credentials.
    pub(super) fn log_in_again(&mut self) {
        let asks = |place: &usize| self.clients[*place].may_be_refused;
        let clients: Vec<usize> = (0..self.clients.len()).filter(asks).collect();
        if clients.is_empty() {
            return;
        }
        let client = clients[self.rng.usize(..clients.len())];
        let view = View { read_from: ReadFrom::Primary, way: Way::Random };
        let number = self.note_op(client, Shape::Single, Vec::new(), view, TIMEOUT);
        self.ops[number].logs_in = true;
        self.trace_op(number, "to log in again");
        self.enter(number, Work::LogIn);
    }

    /// Submits a task of script administration.
    pub(super) fn administer(&mut self) {
        let script = self.fleet.scripts[0].clone();
        let task = match self.rng.u8(..5) {
            0 => Task::Load(script),
            1 => Task::Exists(vec![script.sha_hex().as_bytes().to_vec()]),
            2 => Task::Kill,
            3 => Task::KillAny,
            _ => Task::Flush(FlushMode::Default),
        };
        self.fleet.is_administered |= matches!(task, Task::Load(_));
        let view = View { read_from: ReadFrom::Primary, way: Way::Random };
        let client = self.rng.usize(..self.clients.len());
        let number = self.note_op(client, Shape::Single, Vec::new(), view, TIMEOUT);
        self.ops[number].task = Some(task.clone());
        self.trace_op(number, "administration");
        self.enter(number, Work::Administer(task));
    }
}
