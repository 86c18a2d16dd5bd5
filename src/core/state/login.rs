//! The login of a connection, as far as it has come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::servers::shortened;
use crate::base::credentials::Credentials;
use crate::core::interface::{AttemptId, NodeId};
use crate::error::Error;

/// The pause after a login that was refused on a connection that stands; it doubles with each, up to the longest.
pub(in crate::core) const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub(in crate::core) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The login of one connection.
#[derive(Debug, Default)]
pub(in crate::core) struct Login {
    /// What was given last, and when, until the server has taken it.
    pub(in crate::core) given: Option<(Arc<Credentials>, Instant)>,
    /// As whom it has logged in.
    pub(in crate::core) user: Option<String>,
    pub(in crate::core) step: Step,
    /// When it goes on by itself.
    pub(in crate::core) due: Option<Instant>,
    /// Refusals in a row.
    pub(in crate::core) failures: u32,
    /// It is to log in once more, with what is given from now on.
    pub(in crate::core) again: bool,
    /// What was asked for before this time may be no good any more.
    pub(in crate::core) fresh_from: Option<Instant>,
    /// When it was asked for what was given last.
    pub(in crate::core) asked: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) enum Step {
    #[default]
    Settled,
    /// The client's owner is asked.
    Asked,
    /// AUTH is under way.
    Said(AttemptId),
}

impl Login {
    /// Whether what was asked for at this time is to be asked for again.
    pub(in crate::core) fn is_stale(&self, asked: Instant) -> bool {
        self.fresh_from.is_some_and(|from| asked < from)
    }

    /// Has what is asked for from now on follow the login that is under way. Where that was to be given nothing older
    /// before, it stays so: who comes again and again would put its end off for ever.
    pub(in crate::core) fn wish(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.again, true) {
            self.fresh_from = Some(now);
        }
    }

    /// What the handshake says.
    pub(in crate::core) fn given(&self) -> Option<Arc<Credentials>> {
        self.given.as_ref().map(|(given, _)| Arc::clone(given))
    }

    pub(in crate::core) fn give(&mut self, given: Arc<Credentials>, asked: Instant, now: Instant) {
        self.given = Some((given, now));
        self.asked = Some(asked);
    }

    /// The same for another try of the same connection.
    pub(in crate::core) fn for_reopening(self) -> Self {
        if self.again { Login::default() } else { self }
    }

    /// How long what was given is good for, where that is known.
    pub(in crate::core) fn good_until(&self) -> Option<Instant> {
        let (given, at) = self.given.as_ref()?;
        given.renewed_after().map(|after| *at + after)
    }

    pub(in crate::core) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(in crate::core) fn is_under_way(&self) -> bool {
        matches!(self.step, Step::Said(_))
    }

    /// The server has taken what was given.
    pub(in crate::core) fn settle(&mut self) {
        self.step = Step::Settled;
        self.failures = 0;
        let Some((given, at)) = self.given.take() else { return };
        self.user = given.user().map(str::to_owned);
        self.due = given.renewed_after().map(|after| at + after);
    }

    /// A pause until the next try, after one that came to nothing.
    pub(in crate::core) fn pause(&mut self, now: Instant) {
        self.step = Step::Settled;
        self.given = None;
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.due = Some(now + shortened(pause));
    }
}

/// A call that has all connections log in again.
pub(in crate::core) struct LoginAgain {
    /// Those whose shared connections have not yet.
    pub(in crate::core) left: Vec<NodeId>,
    /// What was asked for from then on will do.
    pub(in crate::core) since: Instant,
    pub(in crate::core) error: Option<Error>,
}
