//! The half of a link that nobody waits at: calls that were submitted, until they are handed out.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::ffi::lock::MutexGuard;

use super::transfer::Wait;
use super::{CloseOnPanic, Link, Place, Shared};
use crate::driver::Waker;
use crate::error::Error;
use crate::index::hash_of;
use crate::queue::{Queue, Ticket};
use crate::request::Request;
use crate::resp::Payload;
use crate::session::Finished;
use crate::submit::{self, Submitted};

/// How a submitted call ends.
pub(crate) enum Outcome {
    Finished(Finished<usize>),
    /// The deadline passed, or its caller has called it off. With the replies of a pipeline that did arrive.
    Left(Error, Option<Box<Payload>>),
}

/// What the thread that polls for submitted calls is to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Link {
    /// Sends calls that nobody waits for, in one write where the socket takes it. `false`: the link is not usable, and nothing was taken. Also whether
    /// the waker is still to be told of this link.
    pub(crate) fn submit(
        &self,
        calls: &mut Vec<(Box<Request>, Submitted)>,
        now: Instant,
        waker: &Arc<Waker>,
    ) -> (bool, bool) {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        if !self.is_usable() || !self.is_alive(&mut shared, now) {
            self.hand_out(&mut shared);
            return (false, false);
        }
        shared.expect_bytes(now);
        let is_new = shared.waker.is_none();
        if is_new {
            shared.waker = Some(Arc::clone(waker));
        }
        for (request, call) in calls.drain(..) {
            let place = shared.places.insert(Place::default());
            #[cfg(test)]
            crate::defect::provoked("submit", &self.address);
            let key = shared.session.submit(request, place);
            shared.put_submitted(place, call, key);
        }
        self.deliver(&mut shared);
        if !shared.writing && (shared.parked || !shared.reading) {
            self.flush(&mut shared);
        }
        if !is_new {
            shared.wake_if_unattended();
        }
        self.hand_out(&mut shared);
        (true, is_new)
    }

    /// Reads what is there for submitted calls and writes what is left over, without waiting.
    pub(crate) fn pump(&self, now: Instant) {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        // One that was given up because it is silent is not at its end yet.
        if shared.reading || shared.cause.is_some() {
            return;
        }
        shared.reading = true;
        if shared.blocked && !shared.writing {
            self.flush(&mut shared);
        }
        if shared.cause.is_none() {
            self.receive(&mut shared, now, Wait::Not);
        }
        if !shared.writing && !shared.blocked {
            self.flush(&mut shared);
        }
        shared.reading = false;
        self.leave(&mut shared);
    }

    /// What the waker's thread is to poll for, from now on: nothing while somebody else reads. `None`: it has no more business here.
    /// `is_forsaken`: nobody else holds this link.
    pub(crate) fn watch(&self, is_forsaken: bool) -> Option<Watch> {
        let _defect = CloseOnPanic::new(self);
        #[cfg(test)]
        crate::defect::provoked("watch", &self.address);
        let mut shared = self.shared.lock();
        if shared.submitted == 0 && (is_forsaken || !self.is_usable()) {
            shared.watched = Watch::default();
            return None;
        }
        shared.watched = shared.unattended();
        Some(shared.watched)
    }

    /// Ends submitted calls whose deadline has passed; the next deadline.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let _defect = CloseOnPanic::new(self);
        #[cfg(test)]
        crate::defect::provoked("expire", &self.address);
        let mut guard = self.shared.lock();
        let shared = &mut *guard;
        while let Some(place) = shared.take_due(now) {
            let late = |link: &Link, call: &Submitted, queued, index| link.late(call.timeout, queued, index);
            self.abandon(shared, place, (now, Duration::ZERO), late);
        }
        let next = shared.next_deadline();
        self.hand_out(&mut guard);
        next
    }

    /// Calls off a submitted call, if it is in flight here.
    pub(crate) fn call_off(&self, ticket: Ticket, queue: &Queue) {
        let _defect = CloseOnPanic::new(self);
        let mut shared = self.shared.lock();
        let is_it = |place: &Place| place.submitted.as_ref().is_some_and(|(call, _)| call.is(ticket, queue));
        let place = shared.tickets.find(hash_of(ticket.serial())).find(|&place| is_it(&shared.places[place]));
        if let Some(place) = place {
            // Callers that keep the time themselves call off what a deadline would have ended.
            let times = (Instant::now(), self.silence_timeout);
            self.abandon(&mut shared, place, times, |link, _, queued, _| {
                Error::called_off(queued).on(&link.name)
            });
        }
        self.hand_out(&mut shared);
    }

    fn abandon(
        &self,
        shared: &mut Shared,
        place: usize,
        (now, patience): (Instant, Duration),
        error: impl FnOnce(&Link, &Submitted, bool, Option<usize>) -> Error,
    ) {
        if let Some((call, key)) = shared.take_submitted(place) {
            let index = shared.session.unanswered(key);
            let (arrived, queued) = shared.give_up(key, now, patience);
            let error = error(self, &call, queued, index);
            shared.completed.push((call, Outcome::Left(error, arrived)));
        }
    }

    /// Ends a call that the session has lost.
    pub(super) fn abandon_lost(&self, shared: &mut Shared, place: usize) {
        if let Some((call, _)) = shared.take_submitted(place) {
            shared.completed.push((call, Outcome::Left(Error::defect(), None)));
        }
    }

    /// Completes submitted calls that are over, without the lock.
    #[inline]
    pub(super) fn hand_out(&self, shared: &mut MutexGuard<'_, Shared>) {
        if shared.completed.is_empty() {
            return;
        }
        let mut completed = std::mem::take(&mut shared.completed);
        MutexGuard::unlocked(shared, || submit::complete(&mut completed));
        if shared.completed.is_empty() {
            shared.completed = completed;
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Shared {
    /// Puts a submitted call into its place.
    fn put_submitted(&mut self, place: usize, call: Submitted, key: usize) {
        let deadline = call.deadline;
        self.tickets.insert(place, hash_of(call.serial()));
        self.places[place].submitted = Some((call, key));
        self.submitted += 1;
        let is_live = |place, deadline| ends_at(&self.places, place, deadline);
        self.deadlines.add(deadline, place, self.submitted, is_live);
    }

    /// Takes a submitted call out, and its place away.
    pub(super) fn take_submitted(&mut self, place: usize) -> Option<(Submitted, usize)> {
        let submitted = self.places.remove(place).submitted?;
        self.submitted -= 1;
        self.tickets.remove(place);
        Some(submitted)
    }

    /// A place of a submitted call whose deadline has passed.
    fn take_due(&mut self, now: Instant) -> Option<usize> {
        self.deadlines.take_due(now, |place, deadline| ends_at(&self.places, place, deadline))
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        self.deadlines.next(|place, deadline| ends_at(&self.places, place, deadline))
    }

    /// What nobody waits for.
    pub(super) fn unattended(&self) -> Watch {
        Watch { read: !self.reading, write: !self.reading && !self.writing && self.blocked }
    }

    /// Wakes the waker's thread if it does not poll for all that submitted calls need.
    pub(super) fn wake_if_unattended(&self) {
        let Watch { read, write } = self.unattended();
        if self.submitted > 0
            && (read && !self.watched.read || write && !self.watched.write)
            && let Some(waker) = &self.waker
        {
            waker.wake();
        }
    }
}

/// Whether a place is that of a submitted call with this deadline.
fn ends_at(places: &Slab<Place>, place: usize, deadline: Instant) -> bool {
    let submitted = places.get(place).and_then(|place| place.submitted.as_ref());
    submitted.is_some_and(|(call, _)| call.deadline == deadline)
}
