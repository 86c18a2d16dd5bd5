//! How a call ends: with its reply, with an error of its own, or with its connection.

use super::call::{Call, drop_rare};
use super::{Dead, Session};
use crate::error::{Error, Result, Status};
use crate::request::{Request, Shape};
use crate::resp::Payload;

/// A call that is over, handed back with all that it was made of.
#[derive(Debug)]
pub(crate) struct Finished<T> {
    pub(crate) tag: T,
    pub(crate) request: Box<Request>,
    pub(crate) result: Result<Box<Payload>>,
    /// Of a pipeline that broke: the replies that did arrive.
    pub(crate) arrived: Option<Box<Payload>>,
}

impl<T> Session<T> {
    /// Ends every call: the connection is gone. The status of the cause is for calls of which nothing was sent. Where
    /// the reply to one call is to blame, `owner` is that call's status; the others have lost the connection and no
    /// more.
    pub(crate) fn end(&mut self, cause: &Error, owner: Option<Status>) {
        let (status, why, reason) = (cause.status(), cause.reason(), cause.message());
        self.failed = true;
        let owner = owner.zip(self.at_fault.or(self.expected.front().map(|front| front.call)));
        let keys: Vec<usize> = self.calls.iter().map(|(key, _)| key).collect();
        for key in keys {
            let (arrived, index) = (self.arrived(key), self.unanswered(key));
            let mut call = self.calls.remove(key);
            let known = call.known_error();
            let Call { tag, request, position, .. } = call;
            let Some(tag) = tag else { continue };
            if let Some(error) = known {
                self.finished.push_back(Finished { tag, request, result: Err(error), arrived });
                continue;
            }
            let (own, whose) = match owner {
                Some((own, owner)) if owner == key => (Some(own), ""),
                Some(_) => (None, ", in reply to another call"),
                None => (None, ""),
            };
            let error = if self.outbox.has_sent(position) {
                let text = format!("{reason}{whose}; the call was sent, so the server may have executed it");
                let error = match own {
                    Some(own) => Error::new(own, text),
                    None if status == Status::Internal => Error::because(status, why, text),
                    None => Error::indeterminate(why, text),
                };
                error.sent(true)
            } else {
                Error::because(status, why, format!("{reason}{whose}; nothing of the call was sent"))
                    .sent(false)
            };
            let error = match index {
                Some(index) => error.of_item(index),
                None => error,
            };
            self.finished.push_back(Finished { tag, request, result: Err(error), arrived });
        }
        self.dead = Dead::default();
        self.forget_questions();
        self.expected.clear();
        self.probes.clear();
    }

    #[cfg(any(test, feature = "fuzz-internals"))]
    pub(crate) fn fail(&mut self, status: Status, reason: &str) {
        self.end(&Error::because(status, crate::error::Reason::ConnectionLost, reason.to_owned()), None);
    }

    /// The first item of a pipeline that has no answer yet.
    pub(crate) fn unanswered(&self, key: usize) -> Option<usize> {
        let call = self.calls.get(key).filter(|call| call.request.shape == Shape::Pipeline)?;
        let repaired = call.rare.as_ref().filter(|rare| rare.before_repair.is_some());
        Some(repaired.and_then(|rare| rare.missed.first().copied()).unwrap_or(call.answered))
    }

    /// A copy of the replies of a pipeline that have arrived whole; `None` too where there is no memory for it.
    pub(super) fn arrived(&mut self, key: usize) -> Option<Box<Payload>> {
        // Where this session was left in the middle of it.
        self.hand_over_whole().ok()?;
        let call = self.calls.get(key)?;
        if call.request.shape != Shape::Pipeline || call.answered == 0 {
            return None;
        }
        let mut copy = self.pool.take();
        if let Some(before) = call.rare.as_ref().and_then(|rare| rare.before_repair.as_ref()) {
            copy.copy(before, before.tape.len()).ok()?;
            copy.end_array(call.request.items.len());
            return Some(copy);
        }
        copy.copy(&call.payload, call.whole).ok()?;
        copy.end_array(call.answered);
        Some(copy)
    }

    /// Ends a call with its reply.
    #[inline(always)]
    pub(super) fn succeed(&mut self, key: usize) {
        let Call { tag, request, payload, rare, .. } = self.calls.remove(key);
        if let Some(rare) = rare {
            drop_rare(rare);
        }
        match tag {
            Some(tag) => {
                self.finished.push_back(Finished { tag, request, result: Ok(payload), arrived: None });
            }
            None => self.forget_dead(&request),
        }
    }

    /// Ends a call with an error of its own.
    pub(super) fn refuse(&mut self, key: usize, error: Error) {
        if self.is_held(key, Err(&error)) {
            return;
        }
        let arrived = if error.status() == Status::NotReplicated { self.arrived(key) } else { None };
        let Call { tag, request, .. } = self.calls.remove(key);
        match tag {
            Some(tag) => self.finished.push_back(Finished { tag, request, result: Err(error), arrived }),
            None => self.forget_dead(&request),
        }
    }
}
