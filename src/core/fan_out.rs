//! A pipeline over several servers: split by who has each item's slot, sent to all side by side, put together again
//! in the caller's order.
//!
//! Each server gets its items in one write. What a server refused without running it goes on, as [`History`] decides,
//! in further rounds: in the caller's order, and of each slot only as many at once as go the same way.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::interface::{Actions, AttemptId, CallId, Owner};
use super::state::attempt::{Attempt, For, Tried, Via};
use super::state::engine::{Body, Engine};
use super::state::fan_out::{Answer, FanOut, Part, Round, Stage};
use super::state::history::{Context, Next, Whence};
use super::state::refresh::MapWait;
use super::state::room::{self, Again};
use crate::error::{Error, Status};

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

    /// Goes on with a pipeline that was on one connection as a whole, as if that had been its first round.
    pub(super) fn resume_fan_out(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        mut tried: Tried,
    ) {
        let (Some(call), Some(request)) = (self.call(id), tried.request.take()) else { return };
        let began = now.checked_sub(tried.took).unwrap_or(now);
        let mut fan_out = FanOut::new(request, &call.view, began, call.deadline);
        let items = std::mem::take(&mut fan_out.pending);
        let part = Part { next: Next { node: tried.whence.node, asking: false }, items, attempt: None };
        // What may run twice is told by a request; one that lacks items for want of memory would tell too much.
        tried.request =
            Some(fan_out.request_of(&part, io.take_request())).filter(|sent| sent.check().is_ok());
        fan_out.round = Round::new(began, self.servers.map.generation);
        fan_out.round.parts.push(part);
        fan_out.round.outstanding = 1;
        fan_out.stage = Stage::Sent;
        self.set_body(id, Body::FanOut(Box::new(fan_out)));
        self.part_of_fan_out_tried(now, io, id, 0, tried);
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
            let via = Via::of(request.purpose());
            let mut attempt = Attempt::new(whose, part.next.node, Some(request), now, (deadline, timeout));
            // Half of the time is for another server that may do.
            attempt.connect_until = if may_turn { half.min(fan_out.last_start) } else { fan_out.last_start };
            attempt.turns_if_old = may_turn && needs_enforcing;
            attempt.via = via;
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
        let age = self.age(now, id);
        let taken = self.with_fan_out(now, io, id, |cx, fan_out| {
            fan_out.round.parts[place].attempt = None;
            fan_out.round.outstanding -= 1;
            (fan_out.take_in(place, cx, age, tried), fan_out.round.outstanding)
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
        let pause = room::pause(again, fan_out.rounds);
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
            self.with_fan_out(now, io, id, |cx, fan_out| fan_out.take_in(place, cx, Duration::MAX, tried));
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
            let undecided: HashSet<usize> =
                fan_out.round.undecided.iter().map(|refused| refused.index).collect();
            for index in unfinished.into_iter().filter(|index| !undecided.contains(index)) {
                fan_out.answers[index] = Answer::Error(Error::called_off(true));
            }
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
