//! The half of a link that nobody waits at: attempts of the engine, until it is told of their ends.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::transfer::Wait;
use super::{CloseOnPanic, Link, News, Shared, Tag};
use crate::core::{AttemptId, Health, Left};
use crate::ffi::sys::lock::MutexGuard;
use crate::ffi::sys::readiness::Interest;
use crate::request::Request;

impl Link {
    /// Puts a request into the session. Nothing is sent yet: [`Link::push`] must follow, without the engine's lock.
    /// The error: the link takes no new calls.
    pub(crate) fn send(
        &self,
        attempt: AttemptId,
        request: Box<Request>,
        now: Instant,
    ) -> std::result::Result<usize, Box<Request>> {
        let mut shared = self.shared.lock();
        if !self.is_usable() || !self.has_not_died_in_silence(&shared, now) {
            return Err(request);
        }
        #[cfg(test)]
        crate::base::defect::provoked("submit", &self.address);
        shared.expect_bytes(now);
        let key = shared.session.submit(request, Tag::Attempt(attempt));
        shared.attempts += 1;
        self.deliver(&mut shared);
        Ok(key)
    }

    /// Leaves an attempt alone; `None` if it is over already. [`Link::push`] must follow.
    pub(crate) fn abandon(
        &self,
        attempt: AttemptId,
        key: usize,
        now: Instant,
        patience: Duration,
    ) -> Option<Left> {
        let mut shared = self.shared.lock();
        if shared.session.tag(key) != Some(&Tag::Attempt(attempt)) {
            return None;
        }
        shared.attempts -= 1;
        let unanswered = shared.session.unanswered(key);
        let (arrived, queued) = shared.give_up(key, now, patience);
        Some(Left { arrived, queued, unanswered })
    }

    /// How it stands.
    pub(crate) fn health(&self) -> Health {
        let shared = self.shared.lock();
        Health {
            cause: shared.cause.clone(),
            in_tls_handshake: shared.tls.as_ref().is_some_and(|tls| tls.is_handshaking()),
            is_mute: shared.session.counters().bytes_received == 0,
        }
    }

    /// Takes no new calls; it is over when nobody waits for one any more. [`Link::push`] must follow.
    pub(crate) fn retire(&self) {
        self.usable.store(false, Ordering::Release);
        let mut shared = self.shared.lock();
        // Who has said so knows it.
        (shared.retired, shared.told_lost) = (true, true);
    }

    /// Sends what is queued, unless another thread does, and sees to it that replies are read. Adds what the engine
    /// is to be told.
    pub(crate) fn push<N: From<News>>(&self, news: &mut Vec<N>) {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        if shared.cause.is_none() {
            if !shared.writing && (shared.parked || !shared.reading) {
                self.flush(&mut shared);
            }
            self.attend(&mut shared);
        }
        self.tell(&mut shared, news);
    }

    /// Reads what is there, and writes what is left over, without waiting. Adds what the engine is to be told.
    pub(crate) fn pump<N: From<News>>(&self, now: Instant, news: &mut Vec<N>) {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        if shared.cause.is_none() {
            if shared.reading {
                // A caller does it. It will have the socket watched again, where that is needed, when it leaves.
                self.watch(&mut shared, Interest::NONE);
            } else {
                self.pump_as_reader(&mut shared, now);
            }
        }
        self.tell(&mut shared, news);
    }

    /// The same without having been told that something is there, if a reply to an attempt is due. Adds nothing if
    /// none came.
    pub(crate) fn pump_if_expected<N: From<News>>(&self, now: Instant, news: &mut Vec<N>) {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        if shared.cause.is_none() && shared.attempts > 0 && !shared.reading {
            self.pump_as_reader(&mut shared, now);
            self.tell(&mut shared, news);
        }
    }

    fn pump_as_reader(&self, shared: &mut MutexGuard<'_, Shared>, now: Instant) {
        shared.reading = true;
        if shared.blocked && !shared.writing {
            self.flush(shared);
        }
        if shared.cause.is_none() {
            self.receive(shared, now, Wait::Not);
        }
        if !shared.writing && !shared.blocked {
            self.flush(shared);
        }
        shared.reading = false;
        if shared.cause.is_none() {
            self.watch_unattended(shared);
        }
        self.pass_on(shared);
    }

    /// Has the reactor watch what nobody else attends to, whether or not something is in flight.
    pub(crate) fn begin_to_watch(&self) {
        self.watch_unattended(&mut self.shared.lock());
    }

    #[cfg(test)]
    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&*self.socket)
    }

    /// Whether the reactor notices its end.
    pub(crate) fn is_watched(&self) -> bool {
        self.socket.interest().read
    }

    /// Has the reactor watch what attempts in flight need, if nobody else attends to it.
    pub(super) fn attend(&self, shared: &mut Shared) {
        if shared.attempts == 0 || shared.cause.is_some() {
            return;
        }
        let (wanted, watched) = (shared.unattended(), self.socket.interest());
        if wanted.read && !watched.read || wanted.write && !watched.write {
            self.watch(shared, Interest { read: wanted.read || watched.read, write: wanted.write });
        }
    }

    fn watch_unattended(&self, shared: &mut Shared) {
        let wanted = shared.unattended();
        if wanted != self.socket.interest() {
            self.watch(shared, wanted);
        }
    }

    fn watch(&self, shared: &mut Shared, wanted: Interest) {
        if let Err(error) = self.socket.watch(wanted) {
            self.lost(shared, crate::error::Reason::ConnectionLost, &crate::net::reason(&error));
        }
    }
}

impl Shared {
    /// What nobody attends to.
    fn unattended(&self) -> Interest {
        Interest { read: !self.reading, write: !self.reading && !self.writing && self.blocked }
    }
}
