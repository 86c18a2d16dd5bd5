//! WAIT behind a call: it is over when enough replicas have it.
//!
//! WAIT counts the writes of its own connection, so such a call has one for itself.

use super::Session;
use super::call::{Answer, Call, Expected, Waits, What};
use super::emit::length;
use super::verdict;
use crate::error::{Error, Status, kept};
use crate::request::once;
use crate::resp::Kind;

impl<T> Session<T> {
    /// Queues WAIT behind the last of what a call sends, if replicas are waited for.
    #[inline]
    pub(super) fn emit_wait(&mut self, key: usize) {
        if self.calls[key].request.wait.is_some() {
            self.emit_wait_now(key);
        }
    }

    #[cold]
    fn emit_wait_now(&mut self, key: usize) {
        let call = &mut self.calls[key];
        let Some(wait) = call.request.wait else { return };
        let waits = &mut call.rare().waits;
        waits.left += 1;
        waits.answer = None;
        let [replicas, timeout] =
            [u128::from(wait.replicas), wait.timeout.as_millis()].map(|n| n.to_string());
        let before = self.outbox.position();
        self.outbox.append(|out| out.command(&[b"WAIT", replicas.as_bytes(), timeout.as_bytes()]));
        self.calls[key].request.extra += length(before, self.outbox.position());
        self.expected.push_back(Expected { call: key, what: What::Wait });
    }

    /// Whether a call is not over yet, though this has become of it: an answer to WAIT is awaited, or is another end.
    #[cold]
    pub(super) fn is_held(&mut self, key: usize, outcome: Result<(), &Error>) -> bool {
        let call = &mut self.calls[key];
        let Some(Waits { left, outcome: then, answer }) = call.rare.as_mut().map(|rare| &mut rare.waits)
        else {
            return false;
        };
        if *left > 0 {
            *then = Some(outcome.map_err(Error::clone));
            return true;
        }
        let Some(answer) = answer.take() else { return false };
        let outcome = outcome.map_err(Error::clone);
        let Some(error) = call.too_few(&outcome, answer) else { return false };
        self.refuse(key, error);
        true
    }

    /// Takes the answer to WAIT from the unseen tape.
    pub(super) fn waited(&mut self, key: usize) {
        self.expected.pop_front();
        let entry = self.unseen[0];
        let answer: Answer = match entry.kind {
            Kind::Integer => Ok(entry.value.cast_signed()),
            Kind::Error => Err(kept(self.inbox.text(entry.start(), entry.len as usize)).to_vec()),
            _ => Err(b"an answer to WAIT that is no number".to_vec()),
        };
        self.discard_unseen();
        let call = &mut self.calls[key];
        let waits = &mut call.rare().waits;
        waits.left -= 1;
        // One that was sent behind what was refused, and is sent again.
        if waits.left > 0 {
            return;
        }
        let Some(outcome) = waits.outcome.take() else {
            waits.answer = Some(answer);
            return;
        };
        match (call.too_few(&outcome, answer), outcome) {
            (Some(error), _) | (None, Err(error)) => self.refuse(key, error),
            (None, Ok(())) => self.succeed(key),
        }
    }
}

/// Whether a call may have written before it ended with this error: what a script wrote before it raised an error, or
/// gave one back, stays, and is waited for like any other.
fn may_have_written(error: &Error) -> bool {
    let is_servers_own = |text: &[u8]| {
        !once::is_of_body(text)
            && (verdict::is_unexecuted(text)
                || verdict::may_be_replica(text)
                || verdict::refused_before_it_began(text).is_some())
    };
    match error.status() {
        // An earlier attempt has, of which this one tells.
        Status::ReplyNotKept => true,
        Status::Server if !error.is_not_executed() => {
            error.server_text().is_some_and(|text| !is_servers_own(text))
        }
        _ => false,
    }
}

fn unreplicated(error: Option<&Error>, replicas: i64, wanted: u32) -> Error {
    let what = match error {
        Some(error) => format!("the call ended with an error ({error}), and"),
        None => "the call was executed, but".into(),
    };
    let text = format!(
        "{what} {replicas} replicas have what it wrote and {wanted} are wanted: it is lost if the primary dies now"
    );
    Error::new(Status::NotReplicated, text)
}

impl<T> Call<T> {
    /// How a call ends instead, if too few replicas have what it wrote by this answer.
    fn too_few(&self, outcome: &Result<(), Error>, answer: Answer) -> Option<Error> {
        let error = outcome.as_ref().err();
        let notes = &self.payload.notes;
        let has_run = match error {
            Some(error) => may_have_written(error),
            None => notes.len() < self.request.items.len() || notes.iter().any(|note| !note.not_executed),
        };
        if !has_run {
            return None;
        }
        let wanted = self.request.wait.map_or(0, |wait| wait.replicas);
        match answer {
            Ok(replicas) if replicas >= i64::from(wanted) => None,
            Ok(replicas) => Some(unreplicated(error, replicas, wanted)),
            Err(text) => {
                let error = Error::server(Status::NotReplicated, &text, false).sent(true);
                Some(error.context("the call was executed, but WAIT was refused"))
            }
        }
    }

    /// The end of a call whose connection is lost while an answer to WAIT is awaited, where that is known.
    pub(super) fn known_error(&mut self) -> Option<Error> {
        let outcome = self.rare.as_mut()?.waits.outcome.take()?;
        outcome.err().filter(|error| !may_have_written(error))
    }
}
