//! One try of a request on one server, as far as it has come.

use std::time::{Duration, Instant};

use super::evidence::Need;
use super::history::Whence;
use crate::base::purpose::Purpose;
use crate::core::interface::{Actions, CallId, ConnId, NodeId};
use crate::error::Result;
use crate::metrics::meter::Spent;
use crate::request::Request;
use crate::resp::Payload;

/// Whose attempt it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum For {
    Call(CallId),
    /// A part of a call that goes to several servers.
    Part(CallId, usize),
    /// A question about a call that a server has refused.
    Evidence(CallId, Need, Step),
    /// A question of the look at who is who that has this number.
    Refresh(u64),
    /// What is said first on a connection.
    Handshake(ConnId),
    /// The same on one that stands.
    Login(ConnId),
}

/// How far the answer to a question of several steps has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Step {
    First,
    Second,
}

/// How many attempts to connect it lives through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Patience {
    /// One, and none while the server is known to be down: there are others to turn to.
    Once,
    /// So many; 0: as many as its time allows.
    Times(u32),
}

/// Which connection it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Via {
    /// The one that all calls to the server share.
    Shared,
    /// One of its own, which is closed behind it.
    Own(Purpose),
    /// The same, but whoever made the attempt closes it.
    Kept(Purpose),
    /// One that is there, whatever it is.
    This(ConnId),
}

impl Via {
    pub(in crate::core) fn of(purpose: Purpose) -> Via {
        if purpose == Purpose::Calls { Via::Shared } else { Via::Own(purpose) }
    }
}

#[derive(Debug)]
pub(in crate::core) struct Attempt {
    pub(in crate::core) serial: u64,
    pub(in crate::core) whose: For,
    pub(in crate::core) node: NodeId,
    pub(in crate::core) via: Via,
    /// `None`: it only wants a connection.
    pub(in crate::core) request: Option<Box<Request>>,
    pub(in crate::core) patience: Patience,
    /// No connection after this time.
    pub(in crate::core) connect_until: Instant,
    /// No reply after this one.
    pub(in crate::core) deadline: Instant,
    /// The time that the caller gave its call in all, for the error.
    pub(in crate::core) timeout: Duration,
    pub(in crate::core) started: Instant,
    /// Another server may do, if this one turns out to be too old for read-only scripts.
    pub(in crate::core) turns_if_old: bool,
    pub(in crate::core) state: State,
    /// How often connecting to the server had failed before.
    pub(in crate::core) failed_before: u64,
    /// The size of its request, once that was put on a connection.
    pub(in crate::core) size: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum State {
    InLine,
    /// Its own connection is being made.
    Connecting(ConnId),
    On(ConnId, usize),
    /// Its time is over, and so is it: its end is on the way.
    Ending(ConnId),
}

/// What has come of an attempt.
#[derive(Debug)]
pub(in crate::core) struct Tried {
    pub(in crate::core) whence: Whence,
    /// `None` where its time was over: the connection has it still.
    pub(in crate::core) request: Option<Box<Request>>,
    pub(in crate::core) result: Result<Box<Payload>>,
    pub(in crate::core) arrived: Option<Box<Payload>>,
    pub(in crate::core) took: Duration,
    /// The server is too old for it, and nothing was sent.
    pub(in crate::core) turned: bool,
    /// What it has cost, where that is measured.
    pub(in crate::core) spent: Option<Spent>,
}

impl Tried {
    /// Gives the request back, which nobody sends again.
    pub(in crate::core) fn give_back<T>(&mut self, io: &mut dyn Actions<T>) {
        if let Some(request) = self.request.take() {
            io.keep(request);
        }
    }
}

impl Attempt {
    pub(in crate::core) fn new(
        whose: For,
        node: NodeId,
        request: Option<Box<Request>>,
        now: Instant,
        (deadline, timeout): (Instant, Duration),
    ) -> Self {
        Attempt {
            serial: 0,
            whose,
            node,
            via: Via::Shared,
            request,
            patience: Patience::Once,
            connect_until: deadline,
            deadline,
            timeout,
            started: now,
            turns_if_old: false,
            state: State::InLine,
            failed_before: 0,
            size: None,
        }
    }

    /// When its time is over, as it stands.
    pub(in crate::core) fn due(&self) -> Option<Instant> {
        match self.state {
            State::InLine | State::Connecting(_) => Some(self.connect_until.min(self.deadline)),
            State::On(..) if matches!(self.whose, For::Handshake(_) | For::Login(_)) => None,
            State::On(..) => Some(self.deadline),
            State::Ending(_) => None,
        }
    }

    pub(in crate::core) fn conn(&self) -> Option<ConnId> {
        match self.state {
            State::InLine => None,
            State::Connecting(conn) | State::On(conn, _) | State::Ending(conn) => Some(conn),
        }
    }
}
