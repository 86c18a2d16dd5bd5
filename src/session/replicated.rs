//! WAIT behind a call: it is over when enough replicas have it.
//!
//! WAIT counts the writes of its own connection, so such a call has one for itself.

use super::Session;
use super::call::{Call, Expected, What};
use super::emit::length;
use super::verdict;
use crate::error::{Error, Status, kept};
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
        call.rare().waits.left += 1;
        let [replicas, timeout] =
            [u128::from(wait.replicas), wait.timeout.as_millis()].map(|n| n.to_string());
        let before = self.outbox.position();
        self.outbox.append(|out| out.command(&[b"WAIT", replicas.as_bytes(), timeout.as_bytes()]));
        self.calls[key].request.extra += length(before, self.outbox.position());
        self.expected.push_back(Expected { call: key, what: What::Wait });
    }

    /// Whether a call is not over yet, though this has become of it: an answer to WAIT is awaited.
    #[cold]
    pub(super) fn is_held(&mut self, key: usize, outcome: Result<(), &Error>) -> bool {
        let Some(rare) = self.calls[key].rare.as_mut().filter(|rare| rare.waits.left > 0) else {
            return false;
        };
        rare.waits.outcome = Some(outcome.map_err(Error::clone));
        true
    }

    /// Takes the answer to WAIT from the unseen tape.
    pub(super) fn waited(&mut self, key: usize) {
        self.expected.pop_front();
        let entry = self.unseen[0];
        let answer: Result<i64, Vec<u8>> = match entry.kind {
            Kind::Integer => Ok(entry.value.cast_signed()),
            Kind::Error => Err(kept(self.inbox.text(entry.start(), entry.len as usize)).to_vec()),
            _ => Err(b"an answer to WAIT that is no number".to_vec()),
        };
        self.discard_unseen();
        let call = &mut self.calls[key];
        let wanted = call.request.wait.map_or(0, |wait| wait.replicas);
        let waits = &mut call.rare().waits;
        waits.left -= 1;
        // One that was sent behind what was refused, and is sent again.
        if waits.left > 0 {
            return;
        }
        let Some(outcome) = waits.outcome.take() else { return };
        let error = match (outcome, answer) {
            (Err(error), _) if !may_have_written(&error) => error,
            (Err(error), Ok(replicas)) if replicas >= i64::from(wanted) => error,
            (Ok(()), Ok(replicas)) if replicas >= i64::from(wanted) => return self.succeed(key),
            (outcome, Ok(replicas)) => unreplicated(outcome.err().as_ref(), replicas, wanted),
            (_, Err(text)) => Error::server(Status::NotReplicated, &text, false)
                .sent(true)
                .context("the call was executed, but WAIT was refused"),
        };
        self.refuse(key, error);
    }
}

/// Whether a call may have written before it ended with this error: what a script wrote before it raised an error, or
/// gave one back, stays, and is waited for like any other.
fn may_have_written(error: &Error) -> bool {
    let is_servers_own = |text: &[u8]| {
        verdict::is_unexecuted(text)
            || verdict::may_be_replica(text)
            || verdict::refused_before_it_began(text).is_some()
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
    /// The end of a call whose connection is lost while an answer to WAIT is awaited, where that is known.
    pub(super) fn known_error(&mut self) -> Option<Error> {
        let outcome = self.rare.as_mut()?.waits.outcome.take()?;
        outcome.err().filter(|error| !may_have_written(error))
    }
}
