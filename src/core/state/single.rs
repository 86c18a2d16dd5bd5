//! A call or transaction that goes to one server at a time, as far as it has come.

use std::time::{Duration, Instant};

use super::evidence::Need;
use super::history::{History, Whence, last_error, left_open};
use super::room::{Again, Room};
use super::servers::Place;
use crate::base::purpose::Purpose;
use crate::core::interface::{AttemptId, Task, View};
use crate::error::Error;
use crate::request::route::ReadFrom;
use crate::request::slots::NO_SLOT;
use crate::request::{Repeatable, Request, Shape};
use crate::resp::Payload;

/// A call as far as it has come.
pub(in crate::core) struct Single {
    pub(in crate::core) attempt: Option<AttemptId>,
    /// Its caller does not want it any more, and the end of its attempt, which is on the way, is the last.
    pub(in crate::core) is_called_off: bool,
    /// What its connection is for.
    pub(in crate::core) purpose: Purpose,
    /// What its reply is for, where it is not the caller's as it is.
    pub(in crate::core) task: Option<Box<Task>>,
    /// What only those have that do not end with their first attempt on the only server.
    pub(in crate::core) progress: Option<Box<Progress>>,
}

pub(in crate::core) struct Progress {
    pub(in crate::core) request: Option<Box<Request>>,
    pub(in crate::core) stage: Stage,
    /// The only server, or any of several.
    pub(in crate::core) mode: Mode,
    pub(in crate::core) room: Room,
    /// The latest time for the next attempt.
    pub(in crate::core) last_start: Instant,
    /// The map that the last attempt went by.
    pub(in crate::core) seen: u64,
    /// A copy, where the connection of the attempt under way may be dead.
    pub(in crate::core) spare: Option<Box<Request>>,
}

pub(in crate::core) enum Mode {
    Alone(Alone),
    Routed(History),
}

/// The history of a call on the only server.
pub(in crate::core) struct Alone {
    pub(in crate::core) attempts: u32,
    /// How often the server said that it is a replica.
    pub(in crate::core) replicas: u32,
    /// How the last attempt ended whose outcome is not known.
    pub(in crate::core) unknown: Option<Error>,
    /// That is so, and another attempt would tell.
    pub(in crate::core) is_left_open: bool,
    /// What proves that nothing was executed by the last attempt.
    pub(in crate::core) refused: Option<Error>,
}

pub(in crate::core) enum Stage {
    AwaitingMap,
    /// It needs an answer to choose a server.
    Choosing,
    Trying,
    /// It needs an answer to tell what follows from how its attempt ended.
    Judging {
        whence: Whence,
        error: Error,
        arrived: Option<Box<Payload>>,
        took: Duration,
    },
    /// It needs an answer to tell what the errors in its reply prove.
    Reading {
        whence: Whence,
        payload: Box<Payload>,
        took: Duration,
    },
    /// It waits for a time, and perhaps for a new map.
    Pausing {
        again: Again,
    },
}

/// A judgement that waits for nothing, or for an answer.
pub(in crate::core) type Judged<V> = std::result::Result<V, Need>;

impl Progress {
    /// What a pipeline of calls that happen once was told of one that may have been executed by an attempt before: the
    /// next one tells.
    pub(in crate::core) fn left_open_by(&self, payload: &Payload) -> Option<Error> {
        let is_left_open = match &self.mode {
            Mode::Alone(alone) => alone.is_left_open,
            Mode::Routed(history) => history.is_left_open(),
        };
        if is_left_open { payload.first_left_open() } else { None }
    }
}

impl Single {
    pub(in crate::core) fn new(purpose: Purpose, task: Option<Box<Task>>) -> Self {
        Single { attempt: None, is_called_off: false, purpose, task, progress: None }
    }

    /// The error of a call that is over before its time: not executed, unless an attempt before may have been.
    pub(in crate::core) fn final_error(&self, error: Error) -> Error {
        match self.progress.as_ref().map(|progress| &progress.mode) {
            Some(Mode::Alone(alone)) if alone.is_left_open => {
                last_error(left_open(error), alone.unknown.clone())
            }
            Some(Mode::Alone(alone)) => last_error(error, alone.unknown.clone()),
            Some(Mode::Routed(history)) => history.final_error(error),
            None => error,
        }
    }

    /// Where it goes, of several servers.
    pub(in crate::core) fn place(&self) -> Option<&Place> {
        match &self.progress.as_ref()?.mode {
            Mode::Routed(history) => Some(&history.place),
            Mode::Alone(_) => None,
        }
    }

    /// The request, where no attempt has it.
    pub(in crate::core) fn take_request(&mut self) -> Option<Box<Request>> {
        self.progress.as_mut().and_then(|progress| progress.request.take())
    }

    /// The error that an attempt before ended with, if its end is known.
    pub(in crate::core) fn pending_error(&mut self) -> Option<(Error, Option<Box<Payload>>)> {
        let Progress { stage, mode, .. } = &mut **self.progress.as_mut()?;
        let Stage::Judging { error, arrived, .. } = stage else { return None };
        let error = match mode {
            Mode::Routed(history) => history.unproved(error.clone()),
            Mode::Alone(_) => error.clone(),
        };
        Some((error, arrived.take()))
    }

    /// Its reply, of which it is not known yet what the errors in it prove.
    pub(in crate::core) fn take_unread(&mut self) -> Option<Box<Payload>> {
        let progress = self.progress.as_mut()?;
        match std::mem::replace(&mut progress.stage, Stage::Trying) {
            Stage::Reading { payload, .. } => Some(payload),
            other => {
                progress.stage = other;
                None
            }
        }
    }

    pub(in crate::core) fn progress(
        &mut self,
        now: Instant,
        deadline: Instant,
        mode: impl FnOnce() -> Mode,
    ) -> &mut Progress {
        self.progress.get_or_insert_with(|| {
            Box::new(Progress {
                request: None,
                stage: Stage::Trying,
                mode: mode(),
                room: Room::new(now, deadline),
                last_start: deadline,
                seen: 0,
                spare: None,
            })
        })
    }
}

impl Alone {
    pub(in crate::core) fn mode() -> Mode {
        Mode::Alone(Alone { attempts: 0, replicas: 0, unknown: None, is_left_open: false, refused: None })
    }
}

pub(in crate::core) fn history_of(request: &Request, view: &View, purpose: Purpose) -> Mode {
    let place = if request.slot == NO_SLOT { Place::of(&view.way) } else { Place::Slot(request.slot) };
    let is_single = request.shape == Shape::Single;
    // A connection of a command's own is not made for reading from replicas.
    let reads = is_single && request.items[0].reads && purpose == Purpose::Calls;
    let read_from = if reads { view.read_from } else { ReadFrom::Primary };
    // A transaction is refused as a whole by the server alone.
    let runs_code = is_single && request.runs_code(0);
    let is_checked_first = is_single && request.is_checked_first(0);
    let mut history = History::new(place, read_from, runs_code, is_checked_first);
    history.is_once = request.repeatable == Repeatable::Always;
    history.is_function = is_single && request.calls_function(0);
    Mode::Routed(history)
}
