//! A pipeline over several servers: split by who has each item's slot, sent to all side by side, put together again in the caller's
//! order.
//!
//! Each server gets its items in one write. What a server refused without running it goes on, as [`Journey`] decides, in further
//! rounds: in the caller's order, and of each slot only as many at once as go the same way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Core;
use crate::error::{Error, Result, Status};
use crate::journey::{Again, Journey, Next, Room, wait};
use crate::link::{End, Link, Started};
use crate::net::PATIENCE;
use crate::node::Node;
use crate::request::{Request, Shape};
use crate::resp::{Kind, Note, Payload, Reply, ReplyRef, make_room};
use crate::route::ReadFrom;
use crate::session::Finished;
use crate::slots::NO_SLOT;
use crate::topology::{Place, Topology, Witness};

/// How long one server's replies are waited for before others' are looked at. Long enough for a wait in recv(2) itself.
const TURN: Duration = PATIENCE.saturating_add(Duration::from_millis(50));

/// The part of a pipeline that goes to one server in one write.
struct Part {
    node: Arc<Node>,
    asking: bool,
    /// Which items of the pipeline these are.
    items: Vec<usize>,
    request: Box<Request>,
}

impl Part {
    fn new(node: Arc<Node>, asking: bool) -> Self {
        Part { node, asking, items: Vec::new(), request: Box::default() }
    }
}

/// The items of a pipeline, by where they go now.
struct Split {
    parts: Vec<Part>,
    /// Those that go later: behind others of their slot, or because no server has it.
    rest: Vec<usize>,
    /// When that is.
    again: Again,
}

/// A part on its way, or why it is not.
enum Sent {
    Started(Arc<Link>, Started),
    Failed(Error),
}

/// What has become of an item.
enum Answer {
    /// Nothing yet.
    Awaited,
    /// A reply of the server: place on the tape of one of the payloads.
    Reply { payload: usize, at: usize },
    /// No server's answer, or one that only says that it would not run the item.
    Error(Error),
}

pub(crate) struct Scatter<'a> {
    core: &'a Core,
    topology: &'a Topology,
    request: &'a Request,
    read_from: ReadFrom,
    deadline: Instant,
    /// The latest time to connect for another try.
    last_start: Instant,
    /// Where items without keys go, as the caller has it.
    way: Place,
    /// The same for all that must stay in order: to one server.
    otherwise: Place,
    journeys: HashMap<usize, Journey>,
    answers: Vec<Answer>,
    #[expect(clippy::vec_box, reason = "boxes as they come from the sessions")]
    payloads: Vec<Box<Payload>>,
    /// What is known of error replies, by item.
    notes: HashMap<usize, Note>,
}

impl<'a> Scatter<'a> {
    pub(crate) fn new(
        core: &'a Core,
        request: &'a Request,
        way: Place,
        read_from: ReadFrom,
        deadline: Instant,
    ) -> Self {
        let topology = &core.topology;
        Scatter {
            core,
            topology,
            request,
            read_from,
            deadline,
            last_start: deadline,
            otherwise: way.clone(),
            way,
            journeys: HashMap::new(),
            answers: request.items.iter().map(|_| Answer::Awaited).collect(),
            payloads: Vec::new(),
            notes: HashMap::new(),
        }
    }

    /// Carries every item to an answer. If some have none from a server, that is an error; `arrived` has all there is then.
    pub(crate) fn run(mut self, arrived: &mut Option<Reply>) -> Result<Reply> {
        let mut pending: Vec<usize> = (0..self.request.items.len()).collect();
        let mut round = 0;
        let mut now = Instant::now();
        let mut room = Room::new(now, self.deadline);
        while !pending.is_empty() {
            let seen = self.topology.generation();
            self.settle(&pending);
            let Split { parts, rest: mut next, mut again } = self.split(&pending);
            for (part, end) in self.send(parts) {
                again = again.max(self.take_in(part, end, &mut next));
            }
            next.sort_unstable();
            pending = next;
            if pending.is_empty() {
                break;
            }
            room.learn(again, now.elapsed());
            let last_start = |journeys: &HashMap<usize, Journey>, index: &usize| {
                journeys.get(index).map_or(room.last_start(), |journey| journey.last_start(&room))
            };
            let first = |pending: &[usize]| pending.iter().map(|at| last_start(&self.journeys, at)).min();
            let until = first(&pending).unwrap_or(self.deadline);
            let waited = wait(self.topology, again, round, seen, until);
            now = Instant::now();
            if let Err(error) = &waited
                && error.status() == Status::Closed
            {
                self.give_up(&pending, Some(error));
                break;
            }
            // Another try may cost the others what is certain of them.
            let is_late = |index: &mut usize| now >= last_start(&self.journeys, index);
            let late: Vec<usize> = pending.extract_if(.., is_late).collect();
            self.last_start = first(&pending).unwrap_or(self.deadline);
            self.give_up(&late, waited.as_ref().err());
            if let (Err(error), true) = (&waited, late.is_empty()) {
                self.give_up(&pending, Some(error));
                break;
            }
            round += 1;
        }
        self.gather(arrived)
    }

    /// Chooses one primary for everything without keys, so that it stays in order; in a later round another one, for it was no good.
    fn settle(&mut self, pending: &[usize]) {
        let is_settled =
            |&&index: &&usize| self.request.items[index].slot == NO_SLOT && !self.has_choice(index);
        let settled: Vec<usize> = pending.iter().filter(is_settled).copied().collect();
        if self.way != Place::Anywhere || settled.is_empty() {
            return;
        }
        let mut primaries = self.topology.primaries();
        fastrand::shuffle(&mut primaries);
        let is_other = |node: &&Arc<Node>| self.otherwise != Place::Node(node.address().clone());
        let Some(node) = primaries.iter().find(is_other).or(primaries.first()) else { return };
        self.otherwise = Place::Node(node.address().clone());
        for index in &settled {
            if let Some(journey) = self.journeys.get_mut(index) {
                journey.place = self.otherwise.clone();
            }
        }
    }

    /// Puts items together by the server that each goes to next.
    fn split(&mut self, pending: &[usize]) -> Split {
        let mut parts: Vec<Part> = Vec::new();
        let plain = self.split_plain(pending, &mut parts);
        let mut rest = Vec::new();
        let mut again = Again::Now;
        let mut ways: HashMap<u16, (*const Node, bool)> = HashMap::new();
        for &index in pending.iter().filter(|index| !plain[**index]) {
            let Next { node, asking } = match self.next(index) {
                Ok(Some(next)) => next,
                Ok(None) => {
                    rest.push(index);
                    again = Again::AfterRenewal;
                    continue;
                }
                Err(error) => {
                    self.answers[index] = Answer::Error(error);
                    continue;
                }
            };
            let slot = self.request.items[index].slot;
            let way = (Arc::as_ptr(&node), asking);
            if slot != NO_SLOT && !self.has_choice(index) && *ways.entry(slot).or_insert(way) != way {
                self.journeys.entry(index).and_modify(|journey| journey.hold(Next { node, asking }));
                rest.push(index);
                continue;
            }
            let known = parts.iter().position(|part| Arc::ptr_eq(&part.node, &node) && part.asking == asking);
            let place = known.unwrap_or_else(|| {
                parts.push(Part::new(node, asking));
                parts.len() - 1
            });
            parts[place].items.push(index);
        }
        for part in &mut parts {
            part.items.sort_unstable();
            part.request = self.core.take_request(Shape::Pipeline);
            part.request.repair = self.request.repair;
            part.request.asking = part.asking;
            for &index in &part.items {
                part.request.take(self.request, index);
            }
        }
        if parts.is_empty() {
            again = again.max(Again::AfterPause);
        }
        Split { parts, rest, again }
    }

    /// The same for what simply goes to the primary of its slot, in one look at the picture. Tells of each item whether this is true of it.
    fn split_plain(&self, pending: &[usize], parts: &mut Vec<Part>) -> Vec<bool> {
        let mut plain = vec![false; self.request.items.len()];
        self.topology.look(|map| {
            for &index in pending {
                let item = &self.request.items[index];
                if item.slot == NO_SLOT || self.has_choice(index) || self.journeys.contains_key(&index) {
                    continue;
                }
                let Some(shard) = map.shard_of(item.slot) else { continue };
                let known = parts.iter_mut().find(|part| Arc::ptr_eq(&part.node, &shard.primary));
                match known {
                    Some(part) => part.items.push(index),
                    None => {
                        let mut part = Part::new(Arc::clone(&shard.primary), false);
                        part.items.push(index);
                        parts.push(part);
                    }
                }
                plain[index] = true;
            }
        });
        plain
    }

    /// Where an item goes next that has been refused, or has a choice.
    fn next(&mut self, index: usize) -> Result<Option<Next>> {
        let (topology, deadline) = (self.topology, self.deadline);
        let repeatable = self.request.repeatable_item(index);
        self.journey(index).next_now(topology, repeatable, deadline)
    }

    fn journey(&mut self, index: usize) -> &mut Journey {
        let has_choice = self.has_choice(index);
        let otherwise = if has_choice { &self.way } else { &self.otherwise };
        let read_from = if has_choice { self.read_from } else { ReadFrom::Primary };
        let request = self.request;
        self.journeys.entry(index).or_insert_with(|| Journey::of_item(request, index, otherwise, read_from))
    }

    /// Whether any of several servers may run an item. Such a one has no order to keep with others.
    fn has_choice(&self, index: usize) -> bool {
        self.request.items[index].read_only && self.read_from != ReadFrom::Primary
    }

    /// Sends each part to its server, and only then waits for the first reply.
    fn send(&mut self, mut parts: Vec<Part>) -> Vec<(Part, End)> {
        let now = Instant::now();
        // To connect may take all the time there is, and a connection that is silent may have to be made anew. Each is asked once:
        // what they say may change while they are sorted.
        parts.sort_by_cached_key(|part| !part.node.answers());
        let mut sent = Vec::with_capacity(parts.len());
        let mut is_awaited = false;
        for mut part in parts {
            let left = self.deadline.saturating_duration_since(Instant::now());
            // Half of it, then, where others' replies are to be read as well, or another server may do.
            let may_turn = part.items.iter().all(|&index| self.has_choice(index))
                && !self.topology.is_primary(&part.node);
            let until = if is_awaited || may_turn { self.deadline - left / 2 } else { self.deadline };
            let until = until.min(self.last_start);
            let started = self.start(&mut part, until);
            is_awaited |= matches!(started, Sent::Started(..));
            sent.push((part, started));
        }
        linger(sent.iter().map(|(_, sent)| sent), self.deadline);
        let wait = |(part, sent): (Part, Sent)| match sent {
            Sent::Started(link, started) => (part, link.wait(started, now, self.deadline)),
            Sent::Failed(error) => (part, End::Late(error, None)),
        };
        sent.into_iter().map(wait).collect()
    }

    fn start(&mut self, part: &mut Part, until: Instant) -> Sent {
        loop {
            let link = match self.topology.link(&part.node, until) {
                Ok(link) => link,
                Err(error) => return Sent::Failed(error),
            };
            // A replica that is too old for read-only scripts shows it when there is a connection.
            let mut turned = false;
            for index in &part.items {
                if let Some(journey) = self.journeys.get_mut(index) {
                    turned |= journey.turns_away_from(self.topology, &part.node);
                }
            }
            if turned {
                return Sent::Failed(Error::new(
                    Status::Connect,
                    "the server is too old for read-only scripts",
                ));
            }
            let now = Instant::now();
            if now >= self.last_start {
                return Sent::Failed(out_of_time());
            }
            match link.start(std::mem::take(&mut part.request), now) {
                Ok(started) => return Sent::Started(link, started),
                Err(unsent) => part.request = unsent,
            }
        }
    }

    /// Takes what came of a part: answers, and items that go on.
    fn take_in(&mut self, part: Part, end: End, next: &mut Vec<usize>) -> Again {
        let (error, arrived, harmless) = match end {
            End::Finished(Finished { result, request, arrived, .. }) => {
                let harmless = part.node.may_repeat(&request);
                self.core.keep(request);
                match result {
                    Ok(payload) => (None, Some(payload), harmless),
                    Err(error) => (Some(error), arrived, harmless),
                }
            }
            End::Late(error, arrived) => (Some(error), arrived, false),
            End::Unusable(_) => unreachable!("only Link::call ends so"),
        };
        let mut again = Again::Now;
        let mut answered = 0;
        if let Some(payload) = arrived {
            answered = payload.tape[payload.root].len as usize;
            again = self.take_replies(&part, payload, next);
        }
        if let Some(error) = error {
            let witness = Witness::new(self.topology, &part.node, self.deadline);
            for &index in &part.items[answered..] {
                again = again.max(self.refused(index, &witness, error.clone(), harmless, next));
            }
        }
        again
    }

    fn take_replies(&mut self, part: &Part, mut payload: Box<Payload>, next: &mut Vec<usize>) -> Again {
        let mut again = Again::Now;
        let number = self.payloads.len();
        for (&index, at) in part.items.iter().zip(payload.elements_at()) {
            self.answers[index] = Answer::Reply { payload: number, at };
        }
        let witness = Witness::new(self.topology, &part.node, self.deadline);
        for mut note in std::mem::take(&mut payload.notes) {
            let index = part.items[note.item];
            let text = payload.text(note.at).to_vec();
            let error = note.error(&text);
            note.item = index;
            self.notes.insert(index, note);
            match self.judge(index, &witness, error, false) {
                Ok(then) => {
                    self.answers[index] = Answer::Awaited;
                    self.notes.remove(&index);
                    next.push(index);
                    again = again.max(then);
                }
                // Not by this reply: an earlier try may have been executed, or the call's own words came before.
                Err(error) if error.server_text() != Some(&*text) => {
                    self.answers[index] = Answer::Error(error);
                    self.notes.remove(&index);
                }
                Err(error) => {
                    if let Some(note) = self.notes.get_mut(&index) {
                        note.not_executed = error.is_not_executed();
                    }
                }
            }
        }
        self.payloads.push(payload);
        self.hold_missing(part, next);
        again
    }

    /// Script calls that the server lacked, and that were not repaired because one of their slot in front of them goes on, go on behind it; unless
    /// one behind them was executed.
    fn hold_missing(&mut self, part: &Part, next: &mut Vec<usize>) {
        let is_missing = |note: &Note| note.status == Status::NoScript && note.not_executed;
        if next.is_empty() || !self.notes.values().any(is_missing) {
            return;
        }
        let mut first_of_slot: HashMap<u16, usize> = HashMap::new();
        for &index in next.iter() {
            let first = first_of_slot.entry(self.request.items[index].slot).or_insert(index);
            *first = index.min(*first);
        }
        let mut executed = HashSet::new();
        let mut held = Vec::new();
        for &index in part.items.iter().rev() {
            let slot = self.request.items[index].slot;
            match self.notes.get(&index) {
                Some(note) if is_missing(note) => {
                    let is_behind = first_of_slot.get(&slot).is_some_and(|&first| first < index);
                    if slot != NO_SLOT && is_behind && !executed.contains(&slot) {
                        held.push(index);
                    }
                }
                Some(note) if note.not_executed => {}
                None if matches!(self.answers[index], Answer::Awaited) => {}
                _ => {
                    executed.insert(slot);
                }
            }
        }
        for index in held {
            self.answers[index] = Answer::Awaited;
            self.notes.remove(&index);
            next.push(index);
        }
    }

    /// Decides on an item that has no reply.
    fn refused(
        &mut self,
        index: usize,
        witness: &Witness<'_>,
        error: Error,
        harmless: bool,
        next: &mut Vec<usize>,
    ) -> Again {
        match self.judge(index, witness, error, harmless) {
            Ok(again) => {
                next.push(index);
                again
            }
            Err(error) => {
                self.answers[index] = Answer::Error(error);
                Again::Now
            }
        }
    }

    fn judge(&mut self, index: usize, witness: &Witness<'_>, error: Error, harmless: bool) -> Result<Again> {
        let topology = self.topology;
        self.journey(index).failed(topology, witness, error, harmless)
    }

    /// Ends the items that are still under way.
    fn give_up(&mut self, pending: &[usize], error: Option<&Error>) {
        let closed = error.filter(|error| error.status() == Status::Closed);
        for &index in pending {
            let error = match (self.journeys.get_mut(&index), closed) {
                (Some(journey), Some(closed)) => journey.honest(closed.clone()),
                (Some(journey), None) => journey.out_of_time(),
                (None, _) => error.cloned().unwrap_or_else(out_of_time),
            };
            self.answers[index] = Answer::Error(error);
        }
    }

    /// Puts the answers together.
    fn gather(mut self, arrived: &mut Option<Reply>) -> Result<Reply> {
        let count = self.request.items.len();
        let texts: usize = self.payloads.iter().map(|payload| payload.bytes.len()).sum();
        let entries: usize = self.payloads.iter().map(|payload| payload.tape.len()).sum();
        let mut whole = self.topology.payload();
        whole.start_array();
        make_room(&mut whole.bytes, texts)?;
        make_room(&mut whole.tape, entries)?;
        let mut shifts = Vec::with_capacity(self.payloads.len());
        for payload in &self.payloads {
            shifts.push(whole.adopt_texts(payload)?);
        }
        let mut worst: Option<(usize, Error)> = None;
        let mut unanswered = 0;
        for (index, answer) in std::mem::take(&mut self.answers).into_iter().enumerate() {
            let at = whole.tape.len();
            match answer {
                Answer::Awaited => unreachable!("every item was answered or given up"),
                Answer::Reply { payload: number, at: from } => {
                    let tape = &self.payloads[number].tape;
                    let entries = &tape[from..][..tape[from].span as usize];
                    whole.append(entries, shifts[number])?;
                    whole.notes.extend(self.notes.remove(&index).map(|note| Note { at, ..note }));
                }
                Answer::Error(error) => {
                    // In the server's own words where they are the answer; a refused login is not.
                    let words = error.server_text().filter(|_| error.status().is_answer());
                    whole.append_text(Kind::Error, words.unwrap_or(error.message().as_bytes()))?;
                    whole.notes.push(Note::new(at, index, self.request.name_of(index), &error));
                    if error.server_text().is_none() {
                        unanswered += 1;
                        let is_worse = |old: &Error| error.is_indeterminate() && !old.is_indeterminate();
                        if worst.as_ref().is_none_or(|(_, old)| is_worse(old)) {
                            worst = Some((index, error));
                        }
                    }
                }
            }
        }
        whole.end_array(count);
        let reply = Reply::new(whole);
        let Some((index, error)) = worst else { return Ok(reply) };
        if unanswered < count {
            *arrived = Some(reply);
        }
        Err(error.of_item(index).context(format_args!(
            "{unanswered} of {count} items have no answer, the first of them item {index} ({})",
            self.request.name_of(index)
        )))
    }
}

/// Waits for all in turn, each for a while: one that hangs must not keep the others' replies from being read in time.
fn linger<'a>(sent: impl Iterator<Item = &'a Sent>, deadline: Instant) {
    let started = |sent: &'a Sent| match sent {
        Sent::Started(link, started) => Some((link, started)),
        Sent::Failed(_) => None,
    };
    let mut waiting: Vec<(&Arc<Link>, &Started)> = sent.filter_map(started).collect();
    // The next one's turn begins when this one's has ended.
    let mut now = Instant::now();
    while waiting.len() > 1 && now < deadline {
        waiting.retain(|(link, started)| {
            let is_over = link.linger(started, now, deadline.min(now + TURN));
            now = Instant::now();
            !is_over
        });
    }
}

fn out_of_time() -> Error {
    Error::new(Status::Timeout, "the deadline passed; nothing was sent")
}

/// A command on every primary, side by side: each one's address, and what it said.
pub(crate) fn everywhere(
    core: &Core,
    make: impl Fn() -> Result<Box<Request>>,
    deadline: Instant,
) -> Result<Vec<(Arc<Node>, Result<Reply>)>> {
    let topology = &core.topology;
    let mut done: Vec<(Arc<Node>, Result<Reply>)> = Vec::new();
    let mut round = 0;
    loop {
        let seen = topology.generation();
        let now = Instant::now();
        let primaries = topology.primaries();
        done.retain(|(node, _)| primaries.iter().any(|primary| Arc::ptr_eq(primary, node)));
        let mut missing = primaries.clone();
        missing.retain(|node| !done.iter().any(|(other, _)| Arc::ptr_eq(other, node)));
        // As for pipelines: first those that need not be connected to.
        missing.sort_by_cached_key(|node| !node.answers());
        let mut sent = Vec::new();
        for node in &missing {
            let left = deadline.saturating_duration_since(Instant::now());
            // Half of it, then, where others are to be heard as well.
            let until = if missing.len() > 1 { deadline - left / 2 } else { deadline };
            sent.push((Arc::clone(node), begin(topology, node, make()?, until)));
        }
        sent.sort_by_key(|(node, _)| primaries.iter().position(|primary| Arc::ptr_eq(primary, node)));
        linger(sent.iter().map(|(_, started)| started), deadline);
        let mut failed = false;
        for (node, started) in sent {
            let result = match started {
                Sent::Failed(error) => Err(error),
                Sent::Started(link, started) => match link.wait(started, now, deadline) {
                    End::Finished(finished) => finished.result.map(Reply::new),
                    End::Late(error, _) => Err(error),
                    End::Unusable(_) => unreachable!("only Link::call ends so"),
                },
            };
            failed |= matches!(&result, Err(error) if error.status() == Status::Connect);
            done.push((node, result));
        }
        round += 1;
        let attempts = core.topology.config().reconnect.attempts;
        if !failed || attempts != 0 && round >= attempts || Instant::now() >= deadline {
            return Ok(done);
        }
        if wait(topology, Again::AfterRenewal, round, seen, deadline).is_err() {
            return Ok(done);
        }
        done.retain(|(_, result)| !matches!(result, Err(error) if error.status() == Status::Connect));
    }
}

fn begin(topology: &Topology, node: &Arc<Node>, mut request: Box<Request>, deadline: Instant) -> Sent {
    loop {
        let link = match topology.link(node, deadline) {
            Ok(link) => link,
            Err(error) => return Sent::Failed(error),
        };
        match link.start(request, Instant::now()) {
            Ok(started) => return Sent::Started(link, started),
            Err(unsent) => request = unsent,
        }
    }
}

/// The answers of several servers as one reply: a map from each one's address to what it said.
pub(crate) fn as_map(
    topology: &Topology,
    answers: &[(Arc<Node>, Result<Reply>)],
    command: &str,
) -> Result<Reply> {
    let mut whole = topology.payload();
    whole.start_array();
    for (item, (node, answer)) in answers.iter().enumerate() {
        whole.append_text(Kind::String, node.address().to_string().as_bytes())?;
        let at = whole.tape.len();
        match answer {
            Ok(reply) => {
                let root: ReplyRef<'_> = reply.root();
                let shift = whole.adopt_texts(root.payload())?;
                whole.append(root.entries(), shift)?;
            }
            Err(error) => {
                whole.append_text(Kind::Error, error.server_text().unwrap_or(error.message().as_bytes()))?;
                whole.notes.push(Note::new(at, item, command.to_owned(), error));
            }
        }
    }
    whole.end_array(2 * answers.len());
    whole.make_map();
    Ok(Reply::new(whole))
}
