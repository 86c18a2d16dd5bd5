//! A call or transaction that goes to one server at a time: where, again, and how it ends.

use std::time::{Duration, Instant};

use super::administration;
use super::interface::{Actions, CallId, NodeId, Owner};
use super::state::attempt::{Attempt, For, Tried, Via};
use super::state::engine::{Body, Engine};
use super::state::history::{self, Context, Whence};
use super::state::refresh::MapWait;
use super::state::room::{self, Again};
use super::state::servers::Link;
use super::state::single::{Alone, Judged, Mode, Progress, Single, Stage, history_of};
use super::state::timers::Timer;
use crate::base::purpose::Purpose;
use crate::error::{Error, Result, Status};
use crate::request::{Repeatable, Request};
use crate::resp::{Payload, Reply};
use crate::session::verdict;

impl<T: Owner> Engine<T> {
    /// The first step of a call that goes to one server. `only`: there is no other for it.
    pub(super) fn begin_single(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        request: Box<Request>,
        mut single: Single,
        only: Option<NodeId>,
    ) {
        let Some(call) = self.call(id) else { return };
        match only {
            Some(node) => {
                let until = call.deadline;
                self.set_body(id, Body::Single(single));
                self.try_alone(now, io, id, node, request, until);
            }
            None => {
                let mode = history_of(&request, &call.view, single.purpose);
                let deadline = call.deadline;
                let progress = single.progress(now, deadline, || mode);
                progress.request = Some(request);
                progress.stage = Stage::AwaitingMap;
                self.set_body(id, Body::Single(single));
                self.prepare(now, io, id);
            }
        }
    }

    /// Goes on with a call that was on a connection, as if that had been its first attempt.
    pub(super) fn resume_single(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId, tried: Tried) {
        let mut single = Single::new(Purpose::Calls, None);
        if self.servers.only.is_none()
            && let (Some(call), Some(request)) = (self.call(id), &tried.request)
        {
            let mode = history_of(request, &call.view, Purpose::Calls);
            let (started, deadline) = (now.checked_sub(tried.took).unwrap_or(now), call.deadline);
            let seen = self.servers.map.generation;
            let progress = single.progress(started, deadline, || mode);
            progress.seen = seen;
        }
        self.set_body(id, Body::Single(single));
        self.single_tried(now, io, id, tried);
    }

    pub(super) fn try_single(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId, attempt: Attempt) {
        let attempt = self.start(now, io, attempt);
        if let Some(single) = self.single_mut(id) {
            single.attempt = Some(attempt);
        }
    }

    /// Chooses the server for the next attempt, and makes it.
    fn choose(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let generation = self.servers.map.generation;
        let chosen = self.with_progress(now, io, id, |cx, progress| {
            progress.seen = generation;
            let Mode::Routed(history) = &mut progress.mode else { return Ok(Ok(None)) };
            let harmless = progress.request.as_ref().map_or(Repeatable::No, |request| request.repeatable);
            Ok(match history.next(cx, harmless)? {
                Ok(next) => Ok(next.map(|next| (next, history.may_turn_from(cx.servers, next.node)))),
                Err(error) => Err(error),
            })
        });
        match chosen {
            None => {}
            Some(Err(need)) => {
                self.set_stage(id, Stage::Choosing);
                self.ask(now, io, id, need);
            }
            Some(Ok(Err(error))) => self.finish(io, id, Err(error), None),
            Some(Ok(Ok(None))) => {
                let Some(progress) = self.progress_mut(id) else { return };
                let until = progress.last_start;
                self.set_stage(id, Stage::AwaitingMap);
                self.await_map(now, io, id, generation, until, MapWait::NEW_MAP);
            }
            Some(Ok(Ok(Some((next, may_turn))))) => self.go(now, io, id, next, may_turn),
        }
    }

    /// The next attempt, on one of several servers.
    fn go(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId, next: history::Next, may_turn: bool) {
        self.forget_answers(id);
        let sharer = self.connection_of(For::Call(id));
        let sharer = self.servers.sharer(next.node, sharer);
        let Engine { calls, servers, .. } = self;
        let link = servers.node(sharer).link;
        let Some(call) = calls.get_mut(id.place).filter(|call| call.serial == id.serial) else { return };
        let (deadline, timeout) = (call.deadline, call.timeout);
        let Body::Single(single) = &mut call.body else { return };
        let purpose = single.purpose;
        let Some(progress) = &mut single.progress else { return };
        let Some(mut request) = progress.request.take() else { return };
        request.asking = next.asking;
        request.on_replica = servers.map.is_replica(next.node);
        // Half of the time is for another server that the call may turn to.
        let half = now + deadline.saturating_duration_since(now) / 2;
        let needs_enforcing = request.items.iter().any(|item| item.read_only);
        let node = servers.node(next.node);
        // One that has let others wait in vain may do so again.
        let is_suspect = may_turn && matches!(link, Link::Up(conn) if io.is_suspect(conn));
        let age = timeout.saturating_sub(deadline.saturating_duration_since(now));
        if is_suspect && node.may_repeat(&request, age) {
            let mut spare = io.take_request();
            spare.copy_from(&request);
            // Without memory for it there is no second try.
            if spare.check().is_ok() {
                progress.spare = Some(spare);
            }
        }
        let until = if progress.spare.is_some() { half } else { deadline };
        let connect_until = if may_turn { progress.last_start.min(half) } else { progress.last_start };
        progress.stage = Stage::Trying;
        let mut attempt = Attempt::new(For::Call(id), next.node, Some(request), now, (until, timeout));
        attempt.connect_until = connect_until;
        attempt.turns_if_old = may_turn && needs_enforcing;
        attempt.via = Via::of(purpose);
        self.try_single(now, io, id, attempt);
    }

    /// An attempt has ended.
    pub(super) fn single_tried(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        mut tried: Tried,
    ) {
        let is_closed = self.is_closed;
        let Some(call) = self.call_mut(id) else { return };
        let deadline = call.deadline;
        let Body::Single(single) = &mut call.body else { return };
        single.attempt = None;
        if single.purpose == Purpose::Waiting {
            note_unblocked(&mut tried);
        }
        if single.is_called_off {
            tried.give_back(io);
            return self.end_called_off(io, id, tried.result, tried.arrived);
        }
        // The plainest of calls, and most of them.
        if single.progress.is_none()
            && let Ok(payload) = &tried.result
            && !verdict::has_replicas_word(payload)
        {
            tried.give_back(io);
            let result = tried.result.map(Reply::new);
            return self.finish(io, id, result, None);
        }
        let progress = single.progress(now.checked_sub(tried.took).unwrap_or(now), deadline, Alone::mode);
        let is_alone = matches!(progress.mode, Mode::Alone(_));
        if tried.request.is_none() && tried.result.is_err() {
            tried.request = progress.spare.take();
            if !is_alone {
                self.servers.node_mut(tried.whence.node).rest(now);
                self.servers.doubt(tried.whence.node);
            }
            if tried.request.is_none() {
                return self.end_with(io, id, tried.result, tried.arrived);
            }
        }
        let Some(progress) = self.progress_mut(id) else { return };
        if let Some(spare) = progress.spare.take() {
            io.keep(spare);
        }
        progress.request = tried.request;
        if tried.turned {
            return self.turned(now, io, id);
        }
        match tried.result {
            Ok(payload) if is_alone && verdict::has_replicas_word(&payload) => {
                progress.stage = Stage::Reading { whence: tried.whence, payload, took: tried.took };
                self.proceed(now, io, id);
            }
            Ok(payload) => self.replied(now, io, id, tried.whence, payload, tried.took),
            Err(error) if is_closed && tried.arrived.is_some() => {
                self.end_with(io, id, Err(error), tried.arrived);
            }
            // On the only server every attempt to connect that there was to be has been made.
            Err(error) if is_closed || is_alone && tried.whence.conn.is_none() => {
                self.end_unsent(now, io, id, error);
            }
            Err(error) => {
                progress.stage =
                    Stage::Judging { whence: tried.whence, error, arrived: tried.arrived, took: tried.took };
                self.proceed(now, io, id);
            }
        }
    }

    /// Ends a call that was called off when its last attempt was over. What a refusal proves is not asked any more.
    fn end_called_off(
        &mut self,
        io: &mut dyn Actions<T>,
        id: CallId,
        result: Result<Box<Payload>>,
        arrived: Option<Box<Payload>>,
    ) {
        let result = result.map_err(|error| match error.server_text().and_then(verdict::not_served) {
            Some(_) if !error.is_not_executed() => Error::called_off(true),
            _ if error.is_not_executed() => Error::called_off(false),
            _ => error,
        });
        self.end_with(io, id, result, arrived);
    }

    /// The server is too old for the call.
    fn turned(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        if let Some(Progress { mode: Mode::Routed(history), .. }) = self.progress_mut(id) {
            history.turn();
        }
        self.choose(now, io, id);
    }

    /// Ends a call of which the last attempt could not be sent.
    fn end_unsent(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId, error: Error) {
        let Some(progress) = self.progress_mut(id) else { return };
        let error = match &mut progress.mode {
            // What refused it before says more than that there was no time left for another attempt.
            Mode::Alone(alone) if now >= progress.last_start => alone.refused.take().unwrap_or(error),
            _ => error,
        };
        self.end_with(io, id, Err(error), None);
    }

    /// Goes on with a call that has what it waited for.
    pub(super) fn proceed_single(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(progress) = self.progress_mut(id) else { return };
        match std::mem::replace(&mut progress.stage, Stage::Trying) {
            Stage::Trying => {}
            Stage::AwaitingMap | Stage::Choosing => self.choose(now, io, id),
            Stage::Judging { whence, error, arrived, took } => {
                self.judge(now, io, id, (whence, error, arrived, took));
            }
            Stage::Reading { whence, payload, took } => self.read(now, io, id, whence, payload, took),
            Stage::Pausing { again } => self.paused(now, io, id, again),
        }
    }

    /// No map came, or none in time.
    pub(super) fn no_map_for_single(
        &mut self,
        io: &mut dyn Actions<T>,
        id: CallId,
        error: Error,
        is_late: bool,
    ) {
        let Some(single) = self.single_mut(id) else { return };
        let error = match single.progress.as_deref_mut() {
            Some(Progress { mode: Mode::Routed(history), seen: 1.., .. }) => history.ended_by(error, is_late),
            _ => single.final_error(error),
        };
        self.finish(io, id, Err(error), None);
    }

    /// What follows from how an attempt ended.
    fn judge(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        (whence, error, arrived, took): (Whence, Error, Option<Box<Payload>>, Duration),
    ) {
        let Some(progress) = self.progress_mut(id) else { return };
        if let Mode::Alone(_) = progress.mode {
            return self.judge_alone(now, io, id, (whence, error, arrived, took));
        }
        let mut attempts = 0;
        let age = self.age(now, id);
        let judged = self.with_progress(now, io, id, |cx, progress| {
            let Progress { mode: Mode::Routed(history), request, room, last_start, .. } = progress else {
                return Ok(Err(Error::closed()));
            };
            attempts = history.attempts;
            let node = cx.servers.node(whence.node);
            let may_repeat = request.as_ref().is_some_and(|request| node.may_repeat(request, age));
            let judged = history.failed(cx, whence, &error, may_repeat)?;
            if let Ok(again) = judged {
                room.learn(again, took);
                if let Some(request) = request {
                    room.repeat_until(
                        request.repeats_until(now.checked_sub(age).unwrap_or(now), cx.deadline),
                    );
                }
                *last_start = history.last_start(room);
            }
            Ok(judged)
        });
        match judged {
            None => {}
            Some(Err(need)) => {
                self.set_stage(id, Stage::Judging { whence, error, arrived, took });
                self.ask(now, io, id, need);
            }
            Some(Ok(Err(error))) => self.finish(io, id, Err(error), arrived.map(Reply::new)),
            Some(Ok(Ok(again))) => self.pause(now, io, id, again, room::pause(again, attempts)),
        }
    }

    /// Whether a call that is on its way to one server happens once, however often it is sent.
    pub(super) fn is_once(&self, id: CallId) -> bool {
        let Some(Body::Single(Single { progress: Some(progress), .. })) =
            self.call(id).map(|call| &call.body)
        else {
            return false;
        };
        progress.request.as_ref().is_some_and(|request| request.repeatable == Repeatable::Always)
    }

    /// For how long a call is under way.
    pub(super) fn age(&self, now: Instant, id: CallId) -> Duration {
        self.call(id).map_or(Duration::MAX, |call| {
            call.timeout.saturating_sub(call.deadline.saturating_duration_since(now))
        })
    }

    /// Ends a call with its replies, unless another attempt tells more of what was refused in them.
    pub(super) fn replied(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        whence: Whence,
        payload: Box<Payload>,
        took: Duration,
    ) {
        let is_closed = self.is_closed;
        let Some(progress) = self.progress_mut(id) else { return };
        match progress.left_open_by(&payload).filter(|_| !is_closed) {
            None => self.end_with(io, id, Ok(payload), None),
            Some(error) => {
                progress.stage = Stage::Judging { whence, error, arrived: Some(payload), took };
                self.proceed(now, io, id);
            }
        }
    }

    /// Waits before the next attempt.
    pub(super) fn pause(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        again: Again,
        pause: Duration,
    ) {
        if self.is_closed {
            // Nobody looks at the time any more.
            return self.end_with(io, id, Err(Error::closed()), None);
        }
        if pause.is_zero() {
            return self.paused(now, io, id, again);
        }
        let Some(progress) = self.progress_mut(id) else { return };
        let until = progress.last_start.min(now + pause);
        progress.stage = Stage::Pausing { again };
        self.wake_at(id, until);
    }

    fn paused(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId, again: Again) {
        let Some(progress) = self.progress_mut(id) else { return };
        let (seen, until) = (progress.seen, progress.last_start);
        match &mut progress.mode {
            Mode::Alone(_) => {
                progress.stage = Stage::Trying;
                let Some(request) = progress.request.take() else { return };
                let Some(node) = self.servers.only else { return };
                self.try_alone(now, io, id, node, request, until);
            }
            Mode::Routed(history) if now >= until => {
                let error = history.out_of_time();
                self.finish(io, id, Err(error), None);
            }
            Mode::Routed(_) if again == Again::AfterRefresh => {
                progress.stage = Stage::AwaitingMap;
                self.await_map(now, io, id, seen, until, MapWait::NEW_MAP);
            }
            Mode::Routed(_) => self.choose(now, io, id),
        }
    }

    /// Ends a call whose last attempt ended so.
    pub(super) fn end_with(
        &mut self,
        io: &mut dyn Actions<T>,
        id: CallId,
        result: Result<Box<Payload>>,
        arrived: Option<Box<Payload>>,
    ) {
        let Some(single) = self.single_mut(id) else { return };
        if let Some(request) = single.take_request() {
            io.keep(request);
        }
        // After an attempt whose outcome is not known, what was not executed now may have been before.
        let claims_nothing = match single.progress.as_ref().map(|progress| &progress.mode) {
            Some(Mode::Alone(alone)) => alone.unknown.is_some(),
            Some(Mode::Routed(history)) => history.may_have_run(),
            None => false,
        };
        let claimed = |mut payload: Box<Payload>| {
            if claims_nothing {
                payload.claim_nothing();
            }
            Reply::new(payload)
        };
        let result = match result {
            Ok(payload) => Ok(claimed(payload)),
            Err(error) => Err(single.final_error(error)),
        };
        self.finish(io, id, result, arrived.map(claimed));
    }

    /// Makes the reply of a call out of that of its server.
    pub(super) fn single_result(single: &mut Single, result: Result<Reply>) -> Result<Reply> {
        match single.task.take() {
            Some(task) => administration::combine(&task, vec![(None, result)]),
            None => result,
        }
    }

    pub(super) fn with_progress<V>(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        with: impl FnOnce(&mut Context<'_>, &mut Progress) -> Judged<V>,
    ) -> Option<Judged<V>> {
        self.in_context(now, io, id, |cx, body| match body {
            Body::Single(Single { progress: Some(progress), .. }) => Some(with(cx, progress)),
            _ => None,
        })?
    }

    fn single_mut(&mut self, id: CallId) -> Option<&mut Single> {
        match &mut self.call_mut(id)?.body {
            Body::Single(single) => Some(single),
            _ => None,
        }
    }

    pub(super) fn progress_mut(&mut self, id: CallId) -> Option<&mut Progress> {
        self.single_mut(id)?.progress.as_deref_mut()
    }

    pub(super) fn set_stage(&mut self, id: CallId, stage: Stage) {
        if let Some(progress) = self.progress_mut(id) {
            progress.stage = stage;
        }
    }

    /// Wakes a call at this time.
    pub(super) fn wake_at(&mut self, id: CallId, at: Instant) {
        if let Some(call) = self.call_mut(id) {
            call.wake = Some(at);
            self.timers.add(at, Timer::Call(id));
            self.sweep_timers();
        }
    }
}

/// Notes that a command was not executed of which its server has let go, for it has become a replica. Of the call in
/// front of WAIT, which ends in the same words, they say nothing.
fn note_unblocked(tried: &mut Tried) {
    if let (Some(request), Err(error)) = (&tried.request, &mut tried.result)
        && error.status() == Status::Server
        && request.is_plain_command()
        && error.server_text().is_some_and(verdict::was_unblocked)
    {
        *error = error.clone().certainly_not_executed();
    }
}
