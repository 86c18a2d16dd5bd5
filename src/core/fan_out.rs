//! A pipeline over several servers: split by who has each item's slot, sent to all side by side, put together again in the caller's
//! order.
//!
//! Each server gets its items in one write. What a server refused without running it goes on, as [`History`] decides, in further
//! rounds: in the caller's order, and of each slot only as many at once as go the same way.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::attempts::{Attempt, For, Tried};
use super::call::place_of;
use super::engine::{Body, Engine};
use super::evidence::Need;
use super::history::{self, Again, Context, History, Next, Room, Whence};
use super::refresh::MapWait;
use super::servers::Place;
use super::{Actions, AttemptId, CallId, NodeId, Owner, View};
use crate::error::{Error, Result, Status};
use crate::request::{Request, Shape};
use crate::resp::{Kind, Note, Payload, Reply, make_room};
use crate::route::ReadFrom;
use crate::session::order::NotExecuted;
use crate::session::verdict;
use crate::slots::NO_SLOT;

/// Up to so many parts are looked through one by one.
const FEW_PARTS: usize = 16;

/// A pipeline as far as it has come.
pub(super) struct FanOut {
    request: Box<Request>,
    read_from: ReadFrom,
    /// Where items without keys go, as the caller has it.
    way: Place,
    /// The same for all that must stay in order: to one server.
    otherwise: Place,
    /// Of items that have been refused, or have a choice.
    histories: HashMap<usize, History>,
    answers: Vec<Answer>,
    #[expect(clippy::vec_box, reason = "boxes as they come from the sessions")]
    payloads: Vec<Box<Payload>>,
    /// What is known of error replies, by item.
    notes: HashMap<usize, Note>,
    pending: Vec<usize>,
    round: Round,
    rounds: u32,
    room: Room,
    /// The latest time to connect for the next attempt.
    last_start: Instant,
    stage: Stage,
}

enum Stage {
    AwaitingMap,
    /// It needs answers to choose servers.
    Choosing,
    Sent,
    /// It needs answers to tell what follows from refusals.
    Judging,
    Pausing,
}

/// What becomes of the items that are under way at a time.
struct Round {
    began: Instant,
    /// The map that it goes by.
    seen: u64,
    /// Where items go that have a history. `None`: nowhere, by this map.
    chosen: HashMap<usize, Option<Next>>,
    parts: Vec<Part>,
    /// Parts whose end is awaited.
    outstanding: usize,
    undecided: Vec<Refused>,
    /// Items of the next round.
    next: Vec<usize>,
    /// Items whose refusal is their own error, for all that is known now.
    stayed: Vec<usize>,
    /// When that is.
    again: Again,
}

impl Round {
    fn new(now: Instant, seen: u64) -> Self {
        Round {
            began: now,
            seen,
            chosen: HashMap::new(),
            parts: Vec::new(),
            outstanding: 0,
            undecided: Vec::new(),
            next: Vec::new(),
            stayed: Vec::new(),
            again: Again::Now,
        }
    }
}

/// The part of a pipeline that goes to one server in one write.
struct Part {
    next: Next,
    /// Which items of the pipeline these are.
    items: Vec<usize>,
    attempt: Option<AttemptId>,
}

/// An item that has no reply, or one that may say that it was not executed.
struct Refused {
    index: usize,
    whence: Whence,
    error: Error,
    repeatable: bool,
    is_reply: bool,
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

impl FanOut {
    pub(super) fn new(request: Box<Request>, view: &View, now: Instant, deadline: Instant) -> Self {
        let way = place_of(&view.way);
        FanOut {
            read_from: view.read_from,
            otherwise: way.clone(),
            way,
            histories: HashMap::new(),
            answers: request.items.iter().map(|_| Answer::Awaited).collect(),
            payloads: Vec::new(),
            notes: HashMap::new(),
            pending: (0..request.items.len()).collect(),
            round: Round::new(now, 0),
            rounds: 0,
            room: Room::new(now, deadline),
            last_start: deadline,
            stage: Stage::AwaitingMap,
            request,
        }
    }

    /// Whether any of several servers may run an item. Such a one has no order to keep with others.
    fn has_choice(&self, index: usize) -> bool {
        self.request.items[index].reads && self.read_from != ReadFrom::Primary
    }

    fn history(&mut self, index: usize) -> &mut History {
        let has_choice = self.has_choice(index);
        let otherwise = if has_choice { &self.way } else { &self.otherwise };
        let read_from = if has_choice { self.read_from } else { ReadFrom::Primary };
        let (request, is_named) = (&self.request, matches!(self.way, Place::Node(_)));
        self.histories.entry(index).or_insert_with(|| {
            let mut history = History::of_item(request, index, otherwise, read_from);
            // Where things without keys go, one of several primaries is chosen: nobody has named it.
            history.is_named &= is_named;
            history
        })
    }

    /// Chooses one primary for everything without keys, so that it stays in order; in a later round another one, for it was no good.
    fn settle_keyless(&mut self, cx: &Context<'_>) {
        let is_settled =
            |&&index: &&usize| self.request.items[index].slot == NO_SLOT && !self.has_choice(index);
        let settled: Vec<usize> = self.pending.iter().filter(is_settled).copied().collect();
        if self.way != Place::Anywhere || settled.is_empty() {
            return;
        }
        let mut primaries = cx.servers.primaries();
        fastrand::shuffle(&mut primaries);
        let place = |node: &NodeId| Place::Node(cx.servers.node(*node).address.clone());
        let other = primaries.iter().map(place).find(|place| *place != self.otherwise);
        let Some(otherwise) = other.or_else(|| primaries.first().map(place)) else { return };
        for index in &settled {
            if let Some(history) = self.histories.get_mut(index) {
                history.place = otherwise.clone();
            }
        }
        self.otherwise = otherwise;
    }

    /// Whether an item simply goes to the primary of its slot.
    fn is_plain(&self, index: usize, cx: &Context<'_>) -> bool {
        let slot = self.request.items[index].slot;
        slot != NO_SLOT
            && !self.has_choice(index)
            && !self.histories.contains_key(&index)
            && cx.servers.map.place_of(slot).is_some()
    }

    /// Chooses servers for the items that have a history, or a choice. Gives the answers that are needed for that.
    fn choose(&mut self, cx: &mut Context<'_>) -> Vec<Need> {
        let mut needs = Vec::new();
        for place in 0..self.pending.len() {
            let index = self.pending[place];
            if self.round.chosen.contains_key(&index)
                || self.is_plain(index, cx)
                || !matches!(self.answers[index], Answer::Awaited)
            {
                continue;
            }
            let harmless = self.request.repeatable_item(index);
            match self.history(index).next(cx, harmless) {
                Ok(Ok(next)) => {
                    self.round.chosen.insert(index, next);
                }
                Ok(Err(error)) => self.answers[index] = Answer::Error(error),
                Err(need) => needs.push(need),
            }
        }
        needs
    }

    /// Puts items together by the server that each goes to.
    fn split(&mut self, cx: &Context<'_>) {
        let mut ways: HashMap<u16, Next> = HashMap::new();
        // Behind an item that waits for its keys others of its slot could overtake it.
        let mut held: HashSet<u16> = HashSet::new();
        let pending = std::mem::take(&mut self.pending);
        let likely = pending.len() / cx.servers.map.shards.len().max(1) + 4;
        // Where a part is, once they are too many to look through.
        let mut places: HashMap<Next, usize> = HashMap::new();
        let mut parts: Vec<Part> = Vec::new();
        for index in pending {
            let slot = self.request.items[index].slot;
            let chosen = if self.round.chosen.is_empty() { None } else { self.round.chosen.remove(&index) };
            let next = match chosen {
                Some(Some(next)) => next,
                Some(None) => {
                    self.round.next.push(index);
                    self.round.again = Again::AfterRefresh;
                    continue;
                }
                None if !matches!(self.answers[index], Answer::Awaited) => continue,
                None => match cx.servers.map.place_of(slot) {
                    Some(place) => Next { node: cx.servers.map.shards[place].primary, asking: false },
                    None => continue,
                },
            };
            if slot != NO_SLOT && !self.has_choice(index) {
                let history = self.histories.get_mut(&index);
                let is_apart = history.is_some() && *ways.entry(slot).or_insert(next) != next;
                if is_apart || held.contains(&slot) {
                    history.into_iter().for_each(|history| history.hold(next));
                    self.round.next.push(index);
                    continue;
                }
                if history.is_some_and(|history| history.waits_for_keys) {
                    held.insert(slot);
                }
            }
            let known = if parts.len() <= FEW_PARTS {
                parts.iter().position(|part| part.next == next)
            } else {
                if places.is_empty() {
                    places.extend(parts.iter().enumerate().map(|(place, part)| (part.next, place)));
                }
                places.get(&next).copied()
            };
            let place = known.unwrap_or_else(|| {
                if !places.is_empty() {
                    places.insert(next, parts.len());
                }
                parts.push(Part { next, items: Vec::with_capacity(likely), attempt: None });
                parts.len() - 1
            });
            parts[place].items.push(index);
        }
        if parts.is_empty() {
            self.round.again = self.round.again.max(Again::AfterPause);
        }
        self.round.outstanding = parts.len();
        self.round.parts = parts;
    }

    /// The request of a part.
    fn request_of(&self, part: &Part, mut request: Box<Request>) -> Box<Request> {
        request.reset(Shape::Pipeline);
        request.repair = self.request.repair;
        request.asking = part.next.asking;
        request.goes_on = true;
        for &index in &part.items {
            request.take(&self.request, index);
        }
        request
    }

    /// Takes what came of a part: answers, and refusals to be judged.
    fn take_in(&mut self, place: usize, cx: &Context<'_>, tried: Tried) -> Option<Box<Request>> {
        let items = std::mem::take(&mut self.round.parts[place].items);
        let node = cx.servers.node(tried.whence.node);
        let repeatable = tried.request.as_ref().is_some_and(|request| node.may_repeat(request));
        let (error, arrived) = match tried.result {
            Ok(payload) => (None, Some(payload)),
            Err(error) => (Some(error), tried.arrived),
        };
        let mut answered = 0;
        if let Some(payload) = arrived {
            answered = payload.tape[payload.root].len as usize;
            self.take_replies(&items, tried.whence, payload);
        }
        if let Some(error) = error {
            for &index in &items[answered..] {
                if tried.turned && !self.request.items[index].read_only {
                    // It was not this item that the server is too old for.
                    self.round.next.push(index);
                    continue;
                }
                if tried.turned {
                    self.history(index).turn();
                }
                let error = error.clone();
                let refused = Refused { index, whence: tried.whence, error, repeatable, is_reply: false };
                self.round.undecided.push(refused);
            }
        }
        self.round.parts[place].items = items;
        tried.request
    }

    fn take_replies(&mut self, items: &[usize], whence: Whence, mut payload: Box<Payload>) {
        let number = self.payloads.len();
        for (&index, at) in items.iter().zip(payload.elements_at()) {
            self.answers[index] = Answer::Reply { payload: number, at };
        }
        for mut note in std::mem::take(&mut payload.notes) {
            let index = items[note.item];
            let error = note.error(payload.text(note.at));
            note.item = index;
            self.notes.insert(index, note);
            self.round.undecided.push(Refused { index, whence, error, repeatable: false, is_reply: true });
        }
        self.payloads.push(payload);
    }

    /// Decides on what was refused. Gives the answers that are needed for the rest.
    fn judge(&mut self, cx: &mut Context<'_>) -> Vec<Need> {
        let mut needs = Vec::new();
        for refused in std::mem::take(&mut self.round.undecided) {
            let Refused { index, whence, error, repeatable, is_reply } = &refused;
            let (index, is_reply) = (*index, *is_reply);
            match self.history(index).failed(cx, *whence, error, *repeatable) {
                Err(need) => {
                    needs.push(need);
                    self.round.undecided.push(refused);
                }
                Ok(Ok(again)) => {
                    self.answers[index] = Answer::Awaited;
                    self.notes.remove(&index);
                    self.round.next.push(index);
                    self.round.again = self.round.again.max(again);
                }
                // Not by this reply: an earlier attempt may have been executed, or the call's own words came before.
                Ok(Err(judged)) if !is_reply || judged.server_text() != error.server_text() => {
                    self.answers[index] = Answer::Error(judged);
                    self.notes.remove(&index);
                }
                Ok(Err(judged)) => {
                    if error.server_text().and_then(verdict::not_served).is_some() {
                        self.round.stayed.push(index);
                    }
                    if let Some(note) = self.notes.get_mut(&index) {
                        note.status = judged.status();
                        note.not_executed = judged.is_not_executed();
                    }
                }
            }
        }
        needs
    }

    /// Script calls that a server lacked, and that were not repaired because other items might have gone on in
    /// front of them, or have run behind them, go on when it is known what became of those; unless one behind them
    /// was executed.
    fn hold_missing(&mut self) {
        if self.round.next.is_empty() && self.round.stayed.is_empty() {
            return;
        }
        let is_missing =
            |note: &Note| matches!(note.status, Status::NoScript | Status::NoFunction) && note.not_executed;
        let items = self.round.parts.iter().flat_map(|part| &part.items);
        let mut missing: Vec<usize> =
            items.copied().filter(|index| self.notes.get(index).is_some_and(is_missing)).collect();
        if missing.is_empty() {
            return;
        }
        if !self.request.repair {
            let mut open = [self.round.next.as_slice(), &missing].concat();
            open.sort_unstable();
            let mut repairable = self.in_order(&open, false);
            repairable.extend(self.in_order(&open, true));
            missing.retain(|index| self.has_choice(*index) || repairable.contains(index));
        }
        for index in missing {
            self.answers[index] = Answer::Awaited;
            self.notes.remove(&index);
            self.round.next.push(index);
        }
    }

    /// Which of these items may be sent again, in ascending order: those that nothing with a key in common has
    /// overtaken. `keyless`: of those that have no slot. What has no keys, or a choice of servers, has no order to
    /// keep with what has.
    fn in_order(&self, items: &[usize], keyless: bool) -> Vec<usize> {
        let is_of =
            |index: usize| (self.request.items[index].slot == NO_SLOT) == keyless && !self.has_choice(index);
        let missed: Vec<usize> = items.iter().copied().filter(|&index| is_of(index)).collect();
        let has_run = |index: usize| match &self.answers[index] {
            Answer::Awaited => false,
            Answer::Reply { .. } => self.notes.get(&index).is_none_or(|note| !note.not_executed),
            Answer::Error(error) => !error.is_not_executed(),
        };
        let ended = (0..self.answers.len())
            .filter(|&index| missed.binary_search(&index).is_err() && !(is_of(index) && has_run(index)))
            .collect();
        NotExecuted { missed, ended, refused: Vec::new() }.repairable(&self.request)
    }

    /// Refused items stay errors where one behind them, with a key in common, has been executed: sent again they would change the order.
    fn keep_order(&mut self) {
        if self.round.next.is_empty() || self.request.repair {
            return;
        }
        let mut next = std::mem::take(&mut self.round.next);
        next.sort_unstable();
        let mut repairable = self.in_order(&next, false);
        repairable.extend(self.in_order(&next, true));
        let (next, overtaken) = next
            .into_iter()
            .partition::<Vec<_>, _>(|index| self.has_choice(*index) || repairable.contains(index));
        for index in overtaken {
            let error = self.history(index).overtaken();
            self.answers[index] = Answer::Error(error);
        }
        self.round.next = next;
    }

    fn last_start_of(&self, index: usize) -> Instant {
        let room = self.room.last_start();
        self.histories.get(&index).map_or(room, |history| history.last_start(&self.room))
    }

    fn first_last_start(&self) -> Option<Instant> {
        self.pending.iter().map(|&index| self.last_start_of(index)).min()
    }

    /// Ends items that are still under way.
    fn give_up(&mut self, items: &[usize], error: Option<&Error>) {
        let of_all = error.filter(|error| matches!(error.status(), Status::Closed | Status::Cancelled));
        for &index in items {
            let error = match (self.histories.get_mut(&index), of_all) {
                (Some(history), Some(error)) => history.honest(error.clone()),
                (Some(history), None) => history.out_of_time(),
                (None, _) => error.cloned().unwrap_or_else(out_of_time),
            };
            self.answers[index] = Answer::Error(error);
        }
    }

    /// Ends all items that have no answer, because the call has been called off or the client closed.
    fn give_up_all(&mut self, error: &Error) {
        let is_open = |index: &usize| matches!(self.answers[*index], Answer::Awaited);
        let open: Vec<usize> = (0..self.answers.len()).filter(is_open).collect();
        for Refused { index, error, is_reply, .. } in std::mem::take(&mut self.round.undecided) {
            // Without the answer that was to come, what it proves is not known.
            let unproved = self.history(index).unproved(error.clone());
            if !is_reply || unproved != error {
                let error = self.history(index).honest(unproved);
                self.answers[index] = Answer::Error(error);
                self.notes.remove(&index);
            } else if let Some(note) = self.notes.get_mut(&index) {
                note.not_executed &= error.is_not_executed();
            }
        }
        let open: Vec<usize> =
            open.into_iter().filter(|index| matches!(self.answers[*index], Answer::Awaited)).collect();
        self.give_up(&open, Some(error));
    }

    /// Puts the answers together.
    fn gather(&mut self, mut whole: Box<Payload>) -> (Result<Reply>, Option<Reply>) {
        match self.try_gather(&mut whole) {
            Ok(None) => (Ok(Reply::new(whole)), None),
            Ok(Some((error, is_whole_lost))) => (Err(error), (!is_whole_lost).then(|| Reply::new(whole))),
            Err(error) => (Err(error), None),
        }
    }

    fn try_gather(&mut self, whole: &mut Payload) -> Result<Option<(Error, bool)>> {
        let count = self.request.items.len();
        let texts: usize = self.payloads.iter().map(|payload| payload.bytes.len()).sum();
        let entries: usize = self.payloads.iter().map(|payload| payload.tape.len()).sum();
        whole.start_array();
        make_room(&mut whole.bytes, texts)?;
        make_room(&mut whole.tape, entries)?;
        let mut shifts = SmallVec::<[_; 8]>::new();
        for payload in &self.payloads {
            shifts.push(whole.adopt_texts(payload)?);
        }
        let mut worst: Option<(usize, Error)> = None;
        let mut unanswered = 0;
        for (index, answer) in std::mem::take(&mut self.answers).into_iter().enumerate() {
            let at = whole.tape.len();
            let answer = match answer {
                // Every item was answered or given up; one that was not is a defect.
                Answer::Awaited => Answer::Error(Error::defect()),
                answer => answer,
            };
            match answer {
                Answer::Reply { payload: number, at: from } => {
                    let tape = &self.payloads[number].tape;
                    let entries = &tape[from..][..tape[from].span as usize];
                    whole.append(entries, shifts[number])?;
                    if !self.notes.is_empty() {
                        whole.notes.extend(self.notes.remove(&index).map(|note| Note { at, ..note }));
                    }
                }
                Answer::Awaited => {}
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
        let Some((index, error)) = worst else { return Ok(None) };
        let error = error.of_item(index).context(format_args!(
            "{unanswered} of {count} items have no answer, the first of them item {index} ({})",
            self.request.name_of(index)
        ));
        Ok(Some((error, unanswered == count)))
    }
}

impl<T: Owner> Engine<T> {
    /// The first step of a pipeline that may go to several servers.
    pub(super) fn begin_fan_out(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        fan_out: FanOut,
    ) {
        self.set_body(id, Body::FanOut(Box::new(fan_out)));
        self.prepare(now, io, id);
    }

    fn begin_round(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let seen = self.servers.map.generation;
        self.forget_answers(id);
        self.with_fan_out(now, io, id, |cx, fan_out| {
            fan_out.round = Round::new(now, seen);
            fan_out.settle_keyless(cx);
        });
        self.choose_round(now, io, id);
    }

    fn choose_round(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(needs) = self.with_fan_out(now, io, id, |cx, fan_out| fan_out.choose(cx)) else { return };
        if !needs.is_empty() {
            self.set_fan_out_stage(id, Stage::Choosing);
            needs.into_iter().for_each(|need| self.ask(now, io, id, need));
            return;
        }
        self.with_fan_out(now, io, id, |cx, fan_out| {
            fan_out.split(cx);
            fan_out.stage = Stage::Sent;
        });
        self.send_round(now, io, id);
    }

    fn send_round(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        self.forget_answers(id);
        let Some(call) = self.call(id) else { return };
        let (deadline, timeout) = (call.deadline, call.timeout);
        let half = now + deadline.saturating_duration_since(now) / 2;
        let Some(parts) = self.fan_out_mut(id).map(|fan_out| fan_out.round.parts.len()) else { return };
        if parts == 0 {
            return self.end_round(now, io, id);
        }
        for place in 0..parts {
            let Some(Body::FanOut(fan_out)) = self.call(id).map(|call| &call.body) else { return };
            let Some(part) = fan_out.round.parts.get(place) else { return };
            let mut request = fan_out.request_of(part, io.take_request());
            request.on_replica = self.servers.map.is_replica(part.next.node);
            let may_turn = part.items.iter().all(|&index| fan_out.has_choice(index))
                && !self.servers.map.is_primary(part.next.node);
            let needs_enforcing = part.items.iter().any(|&index| fan_out.request.items[index].read_only);
            let whose = For::Part(id, place);
            let mut attempt = Attempt::new(whose, part.next.node, Some(request), now, (deadline, timeout));
            // Half of the time is for another server that may do.
            attempt.connect_until = if may_turn { half.min(fan_out.last_start) } else { fan_out.last_start };
            attempt.turns_if_old = may_turn && needs_enforcing;
            let attempt = self.start(now, io, attempt);
            if let Some(part) = self.fan_out_mut(id).and_then(|fan_out| fan_out.round.parts.get_mut(place)) {
                part.attempt = Some(attempt);
            }
        }
    }

    /// An attempt of a part has ended.
    pub(super) fn part_of_fan_out_tried(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        place: usize,
        tried: Tried,
    ) {
        let taken = self.with_fan_out(now, io, id, |cx, fan_out| {
            fan_out.round.parts[place].attempt = None;
            fan_out.round.outstanding -= 1;
            (fan_out.take_in(place, cx, tried), fan_out.round.outstanding)
        });
        let Some((request, outstanding)) = taken else { return };
        if let Some(request) = request {
            io.keep(request);
        }
        if outstanding == 0 {
            self.judge_round(now, io, id);
        }
    }

    fn judge_round(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(needs) = self.with_fan_out(now, io, id, |cx, fan_out| fan_out.judge(cx)) else { return };
        if needs.is_empty() {
            return self.end_round(now, io, id);
        }
        self.set_fan_out_stage(id, Stage::Judging);
        needs.into_iter().for_each(|need| self.ask(now, io, id, need));
    }

    fn end_round(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let is_closed = self.is_closed;
        let Some(fan_out) = self.fan_out_mut(id) else { return };
        fan_out.hold_missing();
        fan_out.keep_order();
        let mut next = std::mem::take(&mut fan_out.round.next);
        next.sort_unstable();
        fan_out.pending = next;
        if fan_out.pending.is_empty() {
            return self.gather_fan_out(io, id);
        }
        if is_closed {
            return self.no_map_for_fan_out(now, io, id, Error::closed());
        }
        let Round { again, began, .. } = fan_out.round;
        fan_out.room.learn(again, now.saturating_duration_since(began));
        let until = fan_out.first_last_start().unwrap_or(fan_out.last_start);
        fan_out.last_start = until;
        let pause = history::pause(again, fan_out.rounds);
        fan_out.stage = Stage::Pausing;
        if pause.is_zero() {
            self.fan_out_paused(now, io, id);
        } else {
            self.wake_at(id, until.min(now + pause));
        }
    }

    fn fan_out_paused(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(fan_out) = self.fan_out_mut(id) else { return };
        let (seen, until) = (fan_out.round.seen, fan_out.last_start);
        if fan_out.round.again == Again::AfterRefresh && now < until {
            fan_out.stage = Stage::AwaitingMap;
            self.await_map(now, io, id, seen, until, MapWait::NEW_MAP);
        } else {
            self.next_round(now, io, id, None);
        }
    }

    /// The wait before the next round is over, perhaps without the map that was waited for.
    fn next_round(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId, error: Option<&Error>) {
        let Some(call) = self.call(id) else { return };
        let deadline = call.deadline;
        let Some(fan_out) = self.fan_out_mut(id) else { return };
        let mut pending = std::mem::take(&mut fan_out.pending);
        // Another attempt may cost the others what is certain of them.
        let late: Vec<usize> = pending.extract_if(.., |index| now >= fan_out.last_start_of(*index)).collect();
        let gives_up = error.is_some() && late.is_empty();
        fan_out.give_up(&late, error);
        if gives_up {
            fan_out.give_up(&pending, error);
            pending.clear();
        }
        fan_out.pending = pending;
        fan_out.last_start = fan_out.first_last_start().unwrap_or(deadline);
        fan_out.rounds += 1;
        if fan_out.pending.is_empty() {
            return self.gather_fan_out(io, id);
        }
        self.begin_round(now, io, id);
    }

    pub(super) fn proceed_fan_out(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(fan_out) = self.fan_out_mut(id) else { return };
        match std::mem::replace(&mut fan_out.stage, Stage::Sent) {
            Stage::Sent => {}
            Stage::AwaitingMap if fan_out.round.seen == 0 => self.begin_round(now, io, id),
            Stage::AwaitingMap => self.next_round(now, io, id, None),
            Stage::Choosing => self.choose_round(now, io, id),
            Stage::Judging => self.judge_round(now, io, id),
            Stage::Pausing => self.fan_out_paused(now, io, id),
        }
    }

    /// No map came, or none in time.
    pub(super) fn no_map_for_fan_out(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        error: Error,
    ) {
        let Some(fan_out) = self.fan_out_mut(id) else { return };
        if error.status() == Status::Closed {
            fan_out.give_up_all(&error);
            self.gather_fan_out(io, id);
        } else if fan_out.round.seen == 0 {
            self.finish(io, id, Err(error), None);
        } else {
            self.next_round(now, io, id, Some(&error));
        }
    }

    /// Ends a pipeline before its time: what has arrived of it is kept.
    pub(super) fn cancel_fan_out(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(fan_out) = self.fan_out_mut(id) else { return };
        let parts: Vec<(usize, AttemptId)> = fan_out
            .round
            .parts
            .iter()
            .enumerate()
            .filter_map(|(place, part)| Some((place, part.attempt?)))
            .collect();
        for (place, attempt) in parts {
            let Some((node, left)) = self.call_off(now, io, attempt) else { continue };
            let error = Error::called_off(left.queued).on(&self.servers.node(node).name);
            let whence = Whence { node, conn: None };
            let tried = Tried {
                whence,
                request: None,
                result: Err(error),
                arrived: left.arrived,
                took: Duration::ZERO,
                turned: false,
                spent: None,
            };
            self.with_fan_out(now, io, id, |cx, fan_out| fan_out.take_in(place, cx, tried));
        }
        if let Some(fan_out) = self.fan_out_mut(id) {
            // What is over and was not told yet counts as sent.
            let unfinished: Vec<usize> = fan_out
                .round
                .parts
                .iter()
                .filter(|part| part.attempt.is_some())
                .flat_map(|part| part.items.iter().copied())
                .filter(|index| matches!(fan_out.answers[*index], Answer::Awaited))
                .collect();
            let error = Error::called_off(true);
            unfinished.into_iter().for_each(|index| {
                if !fan_out.round.undecided.iter().any(|refused| refused.index == index) {
                    fan_out.answers[index] = Answer::Error(error.clone());
                }
            });
            fan_out.give_up_all(&Error::called_off(false));
        }
        self.gather_fan_out(io, id);
    }

    fn gather_fan_out(&mut self, io: &mut dyn Actions<T>, id: CallId) {
        let payload = self.pool.take();
        let Some(fan_out) = self.fan_out_mut(id) else { return };
        let (result, arrived) = fan_out.gather(payload);
        io.keep(std::mem::take(&mut fan_out.request));
        self.finish(io, id, result, arrived);
    }

    fn with_fan_out<V>(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        with: impl FnOnce(&mut Context<'_>, &mut FanOut) -> V,
    ) -> Option<V> {
        self.in_context(now, io, id, |cx, body| match body {
            Body::FanOut(fan_out) => Some(with(cx, fan_out)),
            _ => None,
        })?
    }

    fn fan_out_mut(&mut self, id: CallId) -> Option<&mut FanOut> {
        match &mut self.call_mut(id)?.body {
            Body::FanOut(fan_out) => Some(fan_out),
            _ => None,
        }
    }

    fn set_fan_out_stage(&mut self, id: CallId, stage: Stage) {
        if let Some(fan_out) = self.fan_out_mut(id) {
            fan_out.stage = stage;
        }
    }
}

fn out_of_time() -> Error {
    Error::new(Status::Timeout, "the deadline passed; nothing was sent")
}
