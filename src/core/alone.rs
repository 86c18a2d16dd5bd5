//! A call on the only server that there is for it: another attempt, after which pause, or the end.

use std::time::{Duration, Instant};

use super::interface::{Actions, CallId, NodeId, Owner};
use super::state::attempt::{Attempt, For, Patience, Via};
use super::state::engine::{Body, Engine};
use super::state::history::{self, Context, REPEATS_MAX, Whence, not_ready};
use super::state::room::{self, Again};
use super::state::servers::Node;
use super::state::single::{Alone, Judged, Mode, Progress, Single, Stage};
use crate::base::purpose::Purpose;
use crate::error::{Error, Status};
use crate::request::{Repeatable, Request, Shape};
use crate::resp::Payload;
use crate::session::verdict::{self, NotServed, Refused};

impl<T: Owner> Engine<T> {
    /// An attempt on the only server.
    pub(super) fn try_alone(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        node: NodeId,
        request: Box<Request>,
        connect_until: Instant,
    ) {
        let Some(call) = self.call(id) else { return };
        let Body::Single(Single { purpose, ref progress, .. }) = call.body else { return };
        // What may have been executed, and finds out by itself, is worth every attempt to connect that there is time
        // for.
        let is_left_open = progress
            .as_ref()
            .is_some_and(|progress| matches!(&progress.mode, Mode::Alone(alone) if alone.is_left_open));
        let times = (call.deadline, call.timeout);
        let mut attempt = Attempt::new(For::Call(id), node, Some(request), now, times);
        attempt.connect_until = connect_until;
        attempt.patience =
            Patience::Times(if is_left_open { 0 } else { self.servers.config.reconnect.attempts });
        attempt.via = Via::of(purpose);
        self.try_single(now, io, id, attempt);
    }

    /// What follows from how an attempt ended.
    pub(super) fn judge_alone(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        (whence, error, arrived, took): (Whence, Error, Option<Box<Payload>>, Duration),
    ) {
        let Some(call) = self.call(id) else { return };
        let deadline = call.deadline;
        let waits = matches!(&call.body, Body::Single(single) if single.purpose == Purpose::Waiting);
        let age = self.age(now, id);
        let connects = self.servers.config.reconnect.attempts;
        let judged = self.with_progress(now, io, id, |cx, progress| {
            let is_replica = is_by_replica(cx, whence, &error, waits, progress)?;
            let Progress { mode: Mode::Alone(alone), request: Some(request), room, last_start, .. } =
                progress
            else {
                return Ok((error.clone(), None));
            };
            let may_repeat = cx.servers.node(whence.node).may_repeat(request, age);
            let (error, is_open) = alone.proved(request, error.clone(), is_replica, may_repeat);
            let repeat = alone.repeat_pause(cx, request, &error, may_repeat);
            room.repeat_until(request.repeats_until(now.checked_sub(age).unwrap_or(now), deadline));
            room.learn(if error.status() == Status::Loading { Again::AfterPause } else { Again::Now }, took);
            let may_have_run = repeat.is_some() || alone.unknown.is_some();
            *last_start = if may_have_run { room.last_repeat() } else { room.last_start() };
            let node = cx.servers.node(whence.node);
            let pause = repeat.or_else(|| alone.attempt_pause(&error, is_replica, is_open, node, connects));
            let pause = pause.filter(|pause| {
                let latest = if pause.is_zero() { *last_start } else { deadline.min(*last_start) };
                now + *pause <= latest && now < deadline
            });
            if pause.is_some() {
                alone.attempts += 1;
                if error.is_not_executed() {
                    alone.refused = Some(error.clone());
                } else {
                    alone.unknown = Some(error.clone());
                    alone.is_left_open = request.repeatable == Repeatable::Always;
                    *last_start = room.last_repeat();
                }
            }
            Ok((error, pause))
        });
        match judged {
            None => {}
            Some(Err(need)) => {
                self.set_stage(id, Stage::Judging { whence, error, arrived, took });
                self.ask(now, io, id, need);
            }
            Some(Ok((error, None))) => self.end_with(io, id, Err(explained(error)), arrived),
            Some(Ok((_, Some(pause)))) => self.pause(now, io, id, Again::AfterPause, pause),
        }
    }

    /// Tells which items of a pipeline or transaction a server that is a replica has refused before they began.
    pub(super) fn read(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        whence: Whence,
        mut payload: Box<Payload>,
        took: Duration,
    ) {
        let judged = self.with_progress(now, io, id, |cx, progress| {
            let is_replica = cx.evidence.is_replica(whence.node, whence.conn, cx.servers)?;
            if let (true, Some(request)) = (is_replica, &progress.request) {
                note_refused(request, &mut payload);
            }
            Ok(())
        });
        match judged {
            None => {}
            Some(Err(need)) => {
                self.set_stage(id, Stage::Reading { whence, payload, took });
                self.ask(now, io, id, need);
            }
            Some(Ok(())) => self.replied(now, io, id, whence, payload, took),
        }
    }
}

impl Alone {
    /// What is known of the call by how its attempt ended: its error, and whether the next attempt tells if it has run.
    fn proved(
        &mut self,
        request: &Request,
        error: Error,
        is_replica: bool,
        may_repeat: bool,
    ) -> (Error, bool) {
        let error = match is_replica {
            // Whether it has run, an attempt at a primary tells.
            true if self.is_left_open => error.certainly_not_executed(),
            true => refused_by_replica(request, error),
            false => error,
        };
        if request.repeatable == Repeatable::Always && error.status().is_anothers_token() {
            (self.unknown, self.is_left_open) = (None, false);
        }
        let is_open = may_repeat && self.is_left_open && history::is_settled_by_next(&error);
        (if is_open { error.certainly_not_executed() } else { error }, is_open)
    }

    /// The pause after which a call is sent again that may have been executed, if it is.
    fn repeat_pause(
        &self,
        cx: &mut Context<'_>,
        request: &Request,
        error: &Error,
        may_repeat: bool,
    ) -> Option<Duration> {
        // Only what happens once waits for replicas; others with it do no harm.
        let is_short = history::is_not_replicated_yet(error);
        if !may_repeat || error.status() != Status::Indeterminate && !is_short {
            return None;
        }
        let is_ample = !is_short && self.attempts < REPEATS_MAX && cx.servers.repeats.take(cx.now);
        if is_ample && self.attempts == 0 {
            return Some(Duration::ZERO);
        }
        // One that finds out by itself whether it was executed is sent again for as long as there is time, but at a
        // slower and slower pace.
        let is_once = request.repeatable == Repeatable::Always;
        (is_ample || is_short || is_once).then(|| self.pace())
    }

    /// The pause after which a call is tried again that was not executed, if it is. `connects`: after so many
    /// connections that did not help there is no other; 0: there always is.
    fn attempt_pause(
        &mut self,
        error: &Error,
        is_replica: bool,
        is_open: bool,
        node: &Node,
        connects: u32,
    ) -> Option<Duration> {
        let is_left_open = self.is_left_open;
        let reconnects = |made: u32| connects == 0 || made < connects;
        let pause = |made: u32| made.checked_sub(1).map_or(Duration::ZERO, |failures| node.backoff(failures));
        match error.status() {
            // The address may have come to stand for another server: a new connection will show.
            Status::Server | Status::TransactionAborted if is_replica => {
                let made = self.replicas;
                self.replicas += 1;
                (is_left_open || reconnects(made)).then(|| pause(made))
            }
            Status::Loading if is_replica && self.replicas == 0 => {
                self.replicas = 1;
                Some(Duration::ZERO)
            }
            Status::Loading => Some(node.backoff(self.attempts)),
            Status::Server if history::was_let_go(error) => {
                reconnects(self.attempts).then(|| pause(self.attempts))
            }
            // Connecting is paced where it fails; a server that takes connections and ends them must not be drowned in
            // these either.
            Status::Connect => (is_left_open || reconnects(self.attempts)).then(|| pause(self.attempts)),
            // Whether it has run, the next attempt tells.
            _ => is_open.then(|| self.pace()),
        }
    }

    fn pace(&self) -> Duration {
        room::pause(Again::AfterPause, self.attempts.max(1))
    }
}

/// Whether a server has refused a call for being a replica.
fn is_by_replica(
    cx: &Context<'_>,
    whence: Whence,
    error: &Error,
    waits: bool,
    progress: &Progress,
) -> Judged<bool> {
    let Some(text) = error.server_text() else { return Ok(false) };
    // A connection of its own cannot be asked, and the address may lead elsewhere by now. No script has said it.
    let is_certain = waits
        && verdict::refused_before_it_began(text) == Some(Refused::ReadOnly)
        && progress.request.as_ref().is_some_and(|request| request.is_plain_command());
    Ok(verdict::may_be_replica(text)
        && (is_certain || cx.evidence.is_replica(whence.node, whence.conn, cx.servers)?))
}

/// The error of a call that a server refused which is known to be a replica, if it is for that.
fn refused_by_replica(request: &Request, error: Error) -> Error {
    let Some(text) = error.server_text() else { return error };
    if request.shape != Shape::Single {
        return error;
    }
    if verdict::is_not_ready(text) {
        return not_ready(error);
    }
    if verdict::refused_before_it_began(text) == Some(Refused::ReadOnly) && request.is_checked_first(0) {
        return error.certainly_not_executed();
    }
    error
}

/// Notes which items a server that is a replica has refused before they began.
fn note_refused(request: &Request, payload: &mut Payload) {
    for place in 0..payload.notes.len() {
        let (at, item) = (payload.notes[place].at, payload.notes[place].item);
        let text = payload.text(at);
        let is_not_ready = verdict::is_not_ready(text);
        let is_read_only = verdict::refused_before_it_began(text) == Some(Refused::ReadOnly);
        let note = &mut payload.notes[place];
        note.not_executed |= is_not_ready || is_read_only && request.is_checked_first(item);
        if is_not_ready {
            note.status = Status::Loading;
        }
    }
}

/// A single server that redirects is more than that.
fn explained(error: Error) -> Error {
    match error.server_text().and_then(verdict::not_served) {
        Some(NotServed::Moved { .. } | NotServed::Ask { .. }) => {
            error.context("this server is a node of a cluster, to be opened with redis+cluster://")
        }
        _ => error,
    }
}
