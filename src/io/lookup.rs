//! Host names: getaddrinfo knows no deadline and cannot be stopped, so a thread of its own calls it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use super::Io;
use super::events::Event;
use super::helpers::Helpers;
use crate::core::ConnId;
use crate::error::{Error, Result, Status};
use crate::ffi::lock::Mutex;
use crate::net::address::Address;
use crate::net::reason;

/// What a look-up for a connection has come to.
type Found = (ConnId, Result<Vec<SocketAddr>>);

/// A client's look-ups under way. They hold nothing of the client, so none keeps it from ending.
#[derive(Default)]
pub(super) struct Lookups {
    found: Arc<Mutex<Vec<Found>>>,
    helpers: Helpers,
}

impl Lookups {
    /// Looks up a host: [`Lookups::take_found`] has what was found when the reactor was woken for it.
    pub(super) fn begin(&self, io: &Io, conn: ConnId, host: &str, port: u16) -> Result<()> {
        let reactor = Arc::downgrade(&io.reactor()?);
        let found = Arc::clone(&self.found);
        let its_host = host.to_owned();
        let spawned = self.helpers.start("rs_script-dns", move |done| {
            // Nobody listens any more where it has taken too long.
            let result = (its_host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            let result = result.map_err(|error| cannot_find(&its_host, &error));
            found.lock().push((conn, result));
            done.set();
            if let Some(reactor) = reactor.upgrade() {
                reactor.wake();
            }
        });
        spawned.map_err(|error| {
            let (address, reason) = (Address::Tcp { host: host.to_owned(), port }, reason(&error));
            let why = format!("cannot connect to {address}: no thread could be started for it: {reason}");
            Error::new(Status::Connect, why)
        })
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
