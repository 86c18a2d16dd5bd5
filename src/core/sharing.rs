//! Begins calls on one of several shared connections, or holds them until they can have one.

use std::time::Instant;

use super::interface::{Actions, CallId, Owner};
use super::state::attempt::For;
use super::state::engine::{Body, Engine};
use super::state::sharing::Shares;
use crate::base::purpose::Purpose;
use crate::error::{Error, Status};
use crate::request::Request;

impl<T: Owner> Engine<T> {
    /// Begins a call on one of several shared connections, or holds it until it can have one.
    pub(super) fn share(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId, request: Box<Request>) {
        let touches = self.sharing.touches(&request);
        let shares = self.sharing.enter(id, touches);
        let Some(call) = self.call_mut(id) else { return };
        call.shares = shares.map(Box::new);
        if call.shares.is_some() {
            return self.begin(now, io, id, request, Purpose::Calls);
        }
        call.body = Body::Held(request);
        let deadline = call.deadline;
        self.wake_at(id, deadline);
    }

    /// Goes on with a call that was held: it has a connection now, or no time is left.
    pub(super) fn proceed_held(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId) {
        let Some(call) = self.call_mut(id) else { return };
        if call.shares.is_some()
            && let Body::Held(request) = std::mem::replace(&mut call.body, Body::New)
        {
            return self.begin(now, io, id, request, Purpose::Calls);
        }
        let text = format!(
            "the deadline of {} ms passed while calls with the same keys were under way on other connections \
             (shared_connections); nothing was sent",
            call.timeout.as_millis()
        );
        self.finish(io, id, Err(Error::new(Status::Timeout, text)), None);
    }

    /// A call is over.
    pub(super) fn leave_shared(&mut self, id: CallId, shares: Option<Box<Shares>>) {
        let admitted = match shares {
            Some(shares) => self.sharing.leave(*shares),
            None => self.sharing.withdraw(id),
        };
        for (id, shares) in admitted {
            if let Some(call) = self.call_mut(id) {
                call.shares = Some(Box::new(shares));
                self.ready.push_back(id);
            }
        }
    }

    /// The number of the connection that an attempt takes, of those that are shared.
    pub(super) fn connection_of(&self, whose: For) -> usize {
        match whose {
            For::Call(id) | For::Part(id, _) => {
                self.call(id).and_then(|call| call.shares.as_ref()).map_or(0, |shares| shares.connection)
            }
            For::Evidence(..) | For::Refresh(_) | For::Handshake(_) | For::Login(_) => 0,
        }
    }
}
