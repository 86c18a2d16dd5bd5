//! The error that a caller gets in the end: "not executed" only where that is proved of every attempt.

use super::History;
use crate::error::{Error, Reason, Status};
use crate::session::verdict::{self, Refused};

impl History {
    /// The error of a call that ends before its server was asked whether a script has made this refusal up.
    pub(in crate::core) fn unproved(&self, error: Error) -> Error {
        let is_refused = error.server_text().is_some_and(|text| verdict::not_served(text).is_some());
        match is_refused && self.may_be_forged() && !error.is_not_executed() {
            true => in_doubt(&error, None),
            false => error,
        }
    }

    /// The error that the caller gets.
    pub(in crate::core) fn final_error(&self, error: Error) -> Error {
        let error = if self.is_left_open() { left_open(error) } else { error };
        let error = last_error(error, self.unknown.clone());
        match self.in_doubt() {
            Some(words) if error.is_not_executed() => in_doubt(words, Some(&error)),
            _ => error,
        }
    }

    /// Whether an attempt before the last one may have been executed.
    pub(in crate::core) fn may_have_run(&self) -> bool {
        self.unknown.is_some() || self.in_doubt().is_some()
    }

    /// Whether it may have been executed, and is sent again to find out.
    pub(in crate::core) fn is_left_open(&self) -> bool {
        self.is_once && self.may_have_run()
    }

    /// A refusal that may have been made up by a script which has run.
    pub(super) fn in_doubt(&self) -> Option<&Error> {
        let left = || self.left.iter().find(|left| !left.is_proved).map(|left| &left.words);
        self.doubtful.as_ref().or_else(left)
    }

    /// The error of a call whose deadline passed on the way.
    pub(in crate::core) fn out_of_time(&mut self) -> Error {
        let error = self.refused.take().unwrap_or_else(|| {
            Error::new(Status::Timeout, "the deadline passed before the call could be sent; nothing was sent")
        });
        self.final_error(error)
    }

    /// The error of an item that is not sent again, because one behind it has been executed.
    pub(in crate::core) fn overtaken(&mut self) -> Error {
        let error = self.refused.take().unwrap_or_else(|| Error::new(Status::Connect, "it was not sent"));
        let why = "not sent again, for an item behind it with a key in common may have been executed";
        self.final_error(error.context(why))
    }

    /// The error of a call whose wait for the next attempt ended with `error`. If that is so only because the
    /// deadline passed, what refused the call says more.
    pub(in crate::core) fn ended_by(&mut self, error: Error, is_late: bool) -> Error {
        match error.status() {
            Status::Timeout => self.out_of_time(),
            Status::Connect if is_late => self.out_of_time(),
            _ => self.final_error(error),
        }
    }
}

/// Of a call that happens once, and of which an earlier attempt may have been executed: whether it is left for the
/// next one to find out, after this refusal.
pub(in crate::core) fn is_settled_by_next(error: &Error) -> bool {
    // Whole it is the server's: what such a call gives back in its words is marked. Of those before it says nothing.
    let is_refused = || error.server_text().and_then(verdict::refused_before_it_began).is_some();
    (error.is_not_executed() || error.status() == Status::Server && is_refused())
        && !error.status().is_anothers_token()
}

/// The last error of such a call: where the next attempt would have told, this one says nothing of those before.
pub(in crate::core) fn left_open(error: Error) -> Error {
    if is_settled_by_next(&error) { error.certainly_not_executed() } else { error }
}

/// Whether a call that was executed is on too few replicas, and another attempt may find it on enough: none may where
/// the server does not let this user wait.
pub(in crate::core) fn is_not_replicated_yet(error: &Error) -> bool {
    error.status() == Status::NotReplicated && error.server_text().is_none_or(verdict::will_not_wait_now)
}

/// The last error of a call, unless it says that the call was not executed although an earlier attempt may have been.
pub(in crate::core) fn last_error(error: Error, unknown: Option<Error>) -> Error {
    match unknown {
        // That it has run says more than that it may have.
        Some(unknown) if unknown.status() == Status::NotReplicated && error.is_indeterminate() => unknown,
        Some(unknown) if error.is_not_executed() => unknown,
        _ => error,
    }
}

/// The error of a call that went on after a refusal of which nobody knows whether a script made it up, and then met
/// `error`.
pub(super) fn in_doubt(words: &Error, error: Option<&Error>) -> Error {
    const DOUBT: &str = "the script may have said so itself, and may have been executed";
    let doubted = match (error, words.server_text()) {
        (Some(error), _) => Error::indeterminate(error.reason(), format!("{words}: {DOUBT}; then: {error}")),
        (None, Some(text)) => Error::server(Status::Indeterminate, text, false).context(DOUBT),
        (None, None) => Error::indeterminate(Reason::Server, format!("{words}: {DOUBT}")),
    };
    doubted.on_server_of(error.unwrap_or(words))
}

/// The error of a call that a server refused for it loads its data or misses its primary.
pub(in crate::core) fn not_ready(error: Error) -> Error {
    let Some(text) = error.server_text() else { return error };
    Error::server(Status::Loading, text, true).on_server_of(&error)
}

/// Whether a command waited on a server that has let go of it, which then has not executed it.
pub(in crate::core) fn was_let_go(error: &Error) -> bool {
    error.is_not_executed() && error.server_text().is_some_and(verdict::was_unblocked)
}

/// Whether a server refuses for being a replica, by its own word.
pub(super) fn says_read_only(error: &Error) -> bool {
    error.server_text().and_then(verdict::refused_before_it_began) == Some(Refused::ReadOnly)
}

/// A refusal in the words for a caller who cannot wait any longer.
pub(super) fn given_up(error: Error) -> Error {
    match error.server_text() {
        Some(text) if verdict::is_not_ready(text) => not_ready(error),
        Some(text) if verdict::not_served(text).is_some() || was_let_go(&error) => {
            let given_up = Error::server(Status::NotServed, text, true);
            given_up.context("no server ran the call within its deadline").on_server_of(&error)
        }
        _ => error,
    }
}
