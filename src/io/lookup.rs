//! Host names: getaddrinfo knows no deadline and cannot be stopped, so a thread of its own calls it.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Io;
use super::events::Event;
use super::helpers::Helpers;
use crate::core::ConnId;
use crate::error::{Error, Result, Status};
use crate::ffi::sys::lock::Mutex;
use crate::net::address::Address;
use crate::net::reason;

/// What a look-up for a connection has come to.
type Found = (ConnId, Result<Vec<SocketAddr>>);

/// A client's look-ups under way. They hold nothing of the client, so none keeps it from ending.
#[derive(Default)]
pub(super) struct Lookups {
    found: Arc<Mutex<Vec<Found>>>,
    asked: Mutex<HashMap<(String, u16), Question>>,
    helpers: Helpers,
}

/// What is asked for as many connections as want to know it: hundreds may be made at the same moment.
struct Question {
    since: Instant,
    conns: Conns,
}

/// Whom the answer is for; `None` when it has been given.
type Conns = Arc<Mutex<Option<Vec<ConnId>>>>;

impl Question {
    /// Whether a connection gets the answer as well. One that nobody waits for any more may never come.
    fn join(&self, conn: ConnId, now: Instant, patience: Duration) -> bool {
        let mut conns = self.conns.lock();
        let conns = conns.as_mut().filter(|_| now.saturating_duration_since(self.since) < patience);
        conns.map(|conns| conns.push(conn)).is_some()
    }
}

impl Lookups {
    /// Looks up a host: [`Lookups::take_found`] has what was found when the reactor was woken for it.
    pub(super) fn begin(&self, io: &Io, conn: ConnId, host: &str, port: u16) -> Result<()> {
        let (key, now) = ((host.to_owned(), port), Instant::now());
        let mut asked = self.asked.lock();
        if asked.get(&key).is_some_and(|before| before.join(conn, now, io.config.connect_timeout)) {
            return Ok(());
        }
        asked.retain(|_, question| question.conns.lock().is_some());
        let reactor = Arc::downgrade(&io.reactor()?);
        let found = Arc::clone(&self.found);
        let conns: Conns = Arc::new(Mutex::new(Some(vec![conn])));
        let (its_host, its_conns) = (host.to_owned(), Arc::clone(&conns));
        let spawned = self.helpers.start("rs_script-dns", move |done| {
            // Nobody listens any more where it has taken too long.
            let result = (its_host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            let result: Result<Vec<_>> = result.map_err(|error| cannot_find(&its_host, &error));
            let conns = its_conns.lock().take().unwrap_or_default();
            found.lock().extend(conns.into_iter().map(|conn| (conn, result.clone())));
            done.set();
            if let Some(reactor) = reactor.upgrade() {
                reactor.wake();
            }
        });
        spawned.map_err(|error| {
            let (address, reason) = (Address::Tcp { host: host.to_owned(), port }, reason(&error));
            let why = format!("cannot connect to {address}: no thread could be started for it: {reason}");
            Error::new(Status::Connect, why)
        })?;
        asked.insert(key, Question { since: now, conns });
        Ok(())
    }

    /// What has been found since the last time.
    pub(super) fn take_found(&self, events: &mut Vec<Event>) {
        let found = std::mem::take(&mut *self.found.lock());
        events.extend(found.into_iter().map(|(conn, found)| Event::Resolved(conn, found)));
    }

    /// Waits for those that end by themselves, and lets the others go.
    pub(super) fn end(&self) {
        self.helpers.end();
    }
}

fn cannot_find(host: &str, error: &io::Error) -> Error {
    let reason = reason(error);
    let reason = reason.strip_prefix("failed to lookup address information: ").unwrap_or(&reason);
    Error::new(Status::Connect, format!("cannot find host {host}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_an_answer_that_was_given_or_may_never_come() {
        let (since, patience) = (Instant::now(), Duration::from_secs(5));
        let question = Question { since, conns: Arc::new(Mutex::new(Some(vec![ConnId(1)]))) };
        assert!(question.join(ConnId(2), since + patience / 2, patience));
        assert!(!question.join(ConnId(3), since + patience, patience));
        assert_eq!(question.conns.lock().take(), Some(vec![ConnId(1), ConnId(2)]));
        assert!(!question.join(ConnId(4), since, patience));
    }
}
