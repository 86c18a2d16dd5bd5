//! A pipeline over several servers, as far as it has come: which part goes where, and what comes of it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::attempt::Tried;
use super::evidence::Need;
use super::history::{Context, History, Next, Whence};
use super::room::{Again, Room};
use super::servers::Place;
use crate::core::interface::{AttemptId, NodeId, View};
use crate::error::{Error, Result, Status};
use crate::request::route::ReadFrom;
use crate::request::slots::NO_SLOT;
use crate::request::{Item, Request, Shape};
use crate::resp::{Kind, Note, Payload, Reply, make_room};
use crate::session::order::NotExecuted;
use crate::session::verdict;

/// Up to so many parts are looked through one by one.
pub(in crate::core) const FEW_PARTS: usize = 16;

/// A pipeline as far as it has come.
pub(in crate::core) struct FanOut {
    pub(in crate::core) request: Box<Request>,
    pub(in crate::core) read_from: ReadFrom,
    /// Where items without keys go, as the caller has it.
    pub(in crate::core) way: Place,
    /// The same for all that must stay in order: to one server.
    pub(in crate::core) otherwise: Place,
    /// Of items that have been refused, or have a choice.
    pub(in crate::core) histories: HashMap<usize, History>,
    pub(in crate::core) answers: Vec<Answer>,
    #[expect(clippy::vec_box, reason = "boxes as they come from the sessions")]
    pub(in crate::core) payloads: Vec<Box<Payload>>,
    /// What is known of error replies, by item.
    pub(in crate::core) notes: HashMap<usize, Note>,
    pub(in crate::core) pending: Vec<usize>,
    pub(in crate::core) round: Round,
    pub(in crate::core) rounds: u32,
    pub(in crate::core) room: Room,
    /// The latest time to connect for the next attempt.
    pub(in crate::core) last_start: Instant,
    pub(in crate::core) stage: Stage,
}

pub(in crate::core) enum Stage {
    AwaitingMap,
    /// It needs answers to choose servers.
    Choosing,
    Sent,
    /// It needs answers to tell what follows from refusals.
    Judging,
    Pausing,
}

/// What becomes of the items that are under way at a time.
pub(in crate::core) struct Round {
    pub(in crate::core) began: Instant,
    /// The map that it goes by.
    pub(in crate::core) seen: u64,
    /// Where items go that have a history. `None`: nowhere, by this map.
    pub(in crate::core) chosen: HashMap<usize, Option<Next>>,
    pub(in crate::core) parts: Vec<Part>,
    /// Parts whose end is awaited.
    pub(in crate::core) outstanding: usize,
    pub(in crate::core) undecided: Vec<Refused>,
    /// Items of the next round.
    pub(in crate::core) next: Vec<usize>,
    /// Items whose refusal is their own error, for all that is known now.
    pub(in crate::core) stayed: Vec<usize>,
    /// When that is.
    pub(in crate::core) again: Again,
}

impl Round {
    pub(in crate::core) fn new(now: Instant, seen: u64) -> Self {
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
pub(in crate::core) struct Part {
    pub(in crate::core) next: Next,
    /// Which items of the pipeline these are.
    pub(in crate::core) items: Vec<usize>,
    pub(in crate::core) attempt: Option<AttemptId>,
}

/// An item that has no reply, or one that may say that it was not executed.
pub(in crate::core) struct Refused {
    pub(in crate::core) index: usize,
    pub(in crate::core) whence: Whence,
    pub(in crate::core) error: Error,
    pub(in crate::core) repeatable: bool,
    pub(in crate::core) is_reply: bool,
}

/// What has become of an item.
pub(in crate::core) enum Answer {
    /// Nothing yet.
    Awaited,
    /// A reply of the server: place on the tape of one of the payloads.
    Reply { payload: usize, at: usize },
    /// No server's answer, or one that only says that it would not run the item.
    Error(Error),
}

impl FanOut {
    pub(in crate::core) fn new(request: Box<Request>, view: &View, now: Instant, deadline: Instant) -> Self {
        let way = Place::of(&view.way);
        let mut room = Room::new(now, deadline);
        room.repeat_until(request.repeats_until(now, deadline));
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
            room,
            last_start: deadline,
            stage: Stage::AwaitingMap,
            request,
        }
    }

    /// Where its items go.
    pub(in crate::core) fn places(&self) -> impl Iterator<Item = Place> {
        let of_item =
            |item: &Item| if item.slot == NO_SLOT { self.way.clone() } else { Place::Slot(item.slot) };
        self.request.items.iter().map(of_item)
    }

    /// Whether any of several servers may run an item. Such a one has no order to keep with others.
    pub(in crate::core) fn has_choice(&self, index: usize) -> bool {
        self.request.items[index].reads && self.read_from != ReadFrom::Primary
    }

    pub(in crate::core) fn history(&mut self, index: usize) -> &mut History {
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

    /// Chooses one primary for everything without keys, so that it stays in order; in a later round another one, for
    /// it was no good.
    pub(in crate::core) fn settle_keyless(&mut self, cx: &Context<'_>) {
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
    pub(in crate::core) fn is_plain(&self, index: usize, cx: &Context<'_>) -> bool {
        let slot = self.request.items[index].slot;
        slot != NO_SLOT
            && !self.has_choice(index)
            && !self.histories.contains_key(&index)
            && cx.servers.map.place_of(slot).is_some()
    }

    /// Chooses servers for the items that have a history, or a choice. Gives the answers that are needed for that.
    pub(in crate::core) fn choose(&mut self, cx: &mut Context<'_>) -> Vec<Need> {
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
    pub(in crate::core) fn split(&mut self, cx: &Context<'_>) {
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
    pub(in crate::core) fn request_of(&self, part: &Part, mut request: Box<Request>) -> Box<Request> {
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
    pub(in crate::core) fn take_in(
        &mut self,
        place: usize,
        cx: &Context<'_>,
        age: Duration,
        tried: Tried,
    ) -> Option<Box<Request>> {
        let items = std::mem::take(&mut self.round.parts[place].items);
        let node = cx.servers.node(tried.whence.node);
        let repeatable = tried.request.as_ref().is_some_and(|request| node.may_repeat(request, age));
        let is_young = tried.request.as_ref().is_some_and(|request| request.may_repeat_after(age));
        let (error, arrived) = match tried.result {
            Ok(payload) => (None, Some(payload)),
            Err(error) => (Some(error), tried.arrived),
        };
        let mut answered = 0;
        if let Some(payload) = arrived {
            answered = payload.tape[payload.root].len as usize;
            self.take_replies(&items, tried.whence, payload, (repeatable, is_young));
        }
        if let Some(error) = error {
            // What has run and is not on enough replicas, or on nobody knows how many, for the connection was lost
            // while they were waited for. Items that do not wait for these have their replies.
            let is_refused = |index: &usize| self.notes.get(index).is_some_and(|note| note.not_executed);
            let is_unreplicated =
                |index: &usize| self.request.wait_of(*index).is_some() && !is_refused(index);
            let unreplicated: Vec<usize> =
                items[..answered].iter().copied().filter(is_unreplicated).collect();
            let stays = |refused: &Refused| unreplicated.binary_search(&refused.index).is_err();
            self.round.undecided.retain(stays);
            for index in unreplicated {
                let repeatable = repeatable || is_young && self.request.is_once(index);
                let error = error.clone();
                self.notes.remove(&index);
                let refused = Refused { index, whence: tried.whence, error, repeatable, is_reply: false };
                self.round.undecided.push(refused);
            }
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
                let repeatable = repeatable || is_young && self.request.is_once(index);
                let refused = Refused { index, whence: tried.whence, error, repeatable, is_reply: false };
                self.round.undecided.push(refused);
            }
        }
        self.round.parts[place].items = items;
        tried.request
    }

    pub(in crate::core) fn take_replies(
        &mut self,
        items: &[usize],
        whence: Whence,
        mut payload: Box<Payload>,
        (repeatable, is_young): (bool, bool),
    ) {
        let number = self.payloads.len();
        for (&index, at) in items.iter().zip(payload.elements_at()) {
            self.answers[index] = Answer::Reply { payload: number, at };
        }
        for mut note in std::mem::take(&mut payload.notes) {
            let index = items[note.item];
            let error = note.error(payload.text(note.at));
            note.item = index;
            self.notes.insert(index, note);
            // One that was missed is lost when it comes again; and what tells by itself that it has run needs no proof
            // that it has not.
            let is_lost = error.status() == Status::Indeterminate;
            let repeatable = is_lost && repeatable || is_young && self.request.is_once(index);
            self.round.undecided.push(Refused { index, whence, error, repeatable, is_reply: true });
        }
        self.payloads.push(payload);
    }

    /// Decides on what was refused. Gives the answers that are needed for the rest.
    pub(in crate::core) fn judge(&mut self, cx: &mut Context<'_>) -> Vec<Need> {
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
    pub(in crate::core) fn hold_missing(&mut self) {
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
            let repairable = self.repairable(&open);
            missing.retain(|index| self.has_choice(*index) || repairable.binary_search(index).is_ok());
        }
        for index in missing {
            self.answers[index] = Answer::Awaited;
            self.notes.remove(&index);
            self.round.next.push(index);
        }
    }

    /// Which of these items may be sent again, in ascending order: those that nothing with a key in common has
    /// overtaken.
    fn repairable(&self, items: &[usize]) -> Vec<usize> {
        let mut repairable = self.in_order(items, false);
        repairable.extend(self.in_order(items, true));
        repairable.sort_unstable();
        repairable
    }

    /// The same of those that have a slot, or (`keyless`) of those that have none. What has no keys, or a choice of
    /// servers, has no order to keep with what has.
    pub(in crate::core) fn in_order(&self, items: &[usize], keyless: bool) -> Vec<usize> {
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

    /// Refused items stay errors where one behind them, with a key in common, has been executed: sent again they
    /// would change the order.
    pub(in crate::core) fn keep_order(&mut self) {
        if self.round.next.is_empty() || self.request.repair {
            return;
        }
        let mut next = std::mem::take(&mut self.round.next);
        next.sort_unstable();
        let repairable = self.repairable(&next);
        let may_go_on = |index: &usize| self.has_choice(*index) || repairable.binary_search(index).is_ok();
        let (next, overtaken) = next.into_iter().partition::<Vec<_>, _>(may_go_on);
        for index in overtaken {
            let error = self.history(index).overtaken();
            self.answers[index] = Answer::Error(error);
        }
        self.round.next = next;
    }

    pub(in crate::core) fn last_start_of(&self, index: usize) -> Instant {
        let room = self.room.last_start();
        self.histories.get(&index).map_or(room, |history| history.last_start(&self.room))
    }

    pub(in crate::core) fn first_last_start(&self) -> Option<Instant> {
        self.pending.iter().map(|&index| self.last_start_of(index)).min()
    }

    /// Whether an item that is still under way may have been executed, and is sent again to find out.
    pub(in crate::core) fn has_open_items(&self) -> bool {
        self.pending.iter().any(|index| self.histories.get(index).is_some_and(History::is_left_open))
    }

    /// Ends items that are still under way.
    pub(in crate::core) fn give_up(&mut self, items: &[usize], error: Option<&Error>) {
        let of_all = error.filter(|error| matches!(error.status(), Status::Closed | Status::Cancelled));
        for &index in items {
            let error = match (self.histories.get_mut(&index), of_all) {
                (Some(history), Some(error)) => history.final_error(error.clone()),
                (Some(history), None) => history.out_of_time(),
                (None, _) => error.cloned().unwrap_or_else(out_of_time),
            };
            self.answers[index] = Answer::Error(error);
        }
    }

    /// Ends all items that have no answer, because the call has been called off or the client closed.
    pub(in crate::core) fn give_up_all(&mut self, error: &Error) {
        let is_open = |index: &usize| matches!(self.answers[*index], Answer::Awaited);
        let open: Vec<usize> = (0..self.answers.len()).filter(is_open).collect();
        for Refused { index, error, is_reply, .. } in std::mem::take(&mut self.round.undecided) {
            // Without the answer that was to come, what it proves is not known; and an attempt before this one may
            // have been executed.
            let history = self.history(index);
            let ended = history.final_error(history.unproved(error.clone()));
            if !is_reply || ended != error {
                self.answers[index] = Answer::Error(ended);
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
    pub(in crate::core) fn gather(&mut self, mut whole: Box<Payload>) -> (Result<Reply>, Option<Reply>) {
        match self.try_gather(&mut whole) {
            Ok(None) => (Ok(Reply::new(whole)), None),
            Ok(Some((error, is_whole_lost))) => (Err(error), (!is_whole_lost).then(|| Reply::new(whole))),
            Err(error) => (Err(error), None),
        }
    }

    pub(in crate::core) fn try_gather(&mut self, whole: &mut Payload) -> Result<Option<(Error, bool)>> {
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
        let (mut unanswered, mut may_have_run) = (0, false);
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
                    let note = if self.notes.is_empty() { None } else { self.notes.remove(&index) };
                    may_have_run |= note.as_ref().is_none_or(|note| !note.not_executed);
                    whole.notes.extend(note.map(|note| Note { at, ..note }));
                }
                Answer::Awaited => {}
                Answer::Error(error) => {
                    may_have_run |= !error.is_not_executed();
                    whole.append_text(Kind::Error, error.words())?;
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
        let error = if may_have_run { error.of_a_part() } else { error };
        Ok(Some((error, unanswered == count)))
    }
}

fn out_of_time() -> Error {
    Error::new(Status::Timeout, "the deadline passed; nothing was sent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::interface::Way;
    use crate::request::script::Script;
    use crate::request::{Flags, Routing};

    /// Other calls of the client wait meanwhile. One look at each item for each other one would take a minute.
    #[test]
    fn what_goes_on_of_a_long_pipeline_is_found_at_once() {
        const ITEMS: usize = 400_000;
        let script = Script::new("return 1");
        let mut request = Box::<Request>::default();
        request.reset(Shape::Pipeline);
        request.routing = Routing::BySlot;
        for _ in 0..ITEMS {
            request.script_call(&script, &["key"][..], &[""; 0][..], Flags::NONE).expect("accepted");
        }
        let view = View { read_from: ReadFrom::Primary, way: Way::Random };
        let start = Instant::now();
        let mut fan_out = FanOut::new(request, &view, start, start + Duration::from_secs(60));
        fan_out.round.next = (0..ITEMS).collect();
        fan_out.keep_order();
        assert_eq!(fan_out.round.next.len(), ITEMS);
        assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    }
}
