//! Host names: getaddrinfo knows no deadline and cannot be stopped, so a thread of its own calls it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::Io;
use super::events::Event;
use crate::core::ConnId;
use crate::error::{Error, Result, Status};
use crate::ffi::lock::Mutex;
use crate::net::address::Address;
use crate::net::reason;
use crate::threads::{self, Place};

/// What a look-up for a connection has come to.
type Found = (ConnId, Result<Vec<SocketAddr>>);

/// A client's look-ups under way. They hold nothing of the client, so none keeps it from ending.
#[derive(Default)]
pub(super) struct Lookups {
    found: Arc<Mutex<Vec<Found>>>,
    threads: Mutex<Vec<Thread>>,
}

struct Thread {
    handle: JoinHandle<()>,
    /// It has found what it looked for, and ends by itself.
    is_ending: Arc<AtomicBool>,
}

impl Lookups {
    /// Looks up a host: [`Lookups::take_found`] has what was found when the reactor was woken for it.
    pub(super) fn begin(&self, io: &Io, conn: ConnId, host: &str, port: u16) -> Result<()> {
        self.join_ended();
        let reactor = Arc::downgrade(&io.reactor()?);
        let (found, is_ending) = (Arc::clone(&self.found), Arc::<AtomicBool>::default());
        let (its_host, its_end) = (host.to_owned(), Arc::clone(&is_ending));
        let spawned = threads::spawn("rs_script-dns", move || {
            // Nobody listens any more where it has taken too long.
            let result = (its_host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            let result = result.map_err(|error| cannot_find(&its_host, &error));
            found.lock().push((conn, result));
            its_end.store(true, Ordering::Release);
            if let Some(reactor) = reactor.upgrade() {
                reactor.wake();
            }
        });
        let handle = spawned.map_err(|error| {
            let (address, reason) = (Address::Tcp { host: host.to_owned(), port }, reason(&error));
            let why = format!("cannot connect to {address}: no thread could be started for it: {reason}");
            Error::new(Status::Connect, why)
        })?;
        self.threads.lock().push(Thread { handle, is_ending });
        Ok(())
    }

    /// What has been found since the last time.
    pub(super) fn take_found(&self, events: &mut Vec<Event>) {
        let found = std::mem::take(&mut *self.found.lock());
        events.extend(found.into_iter().map(|(conn, found)| Event::Resolved(conn, found)));
    }

    fn join_ended(&self) {
        let ended: Vec<_> = {
            let mut threads = self.threads.lock();
            threads.extract_if(.., |thread| thread.is_ending.load(Ordering::Acquire)).collect()
        };
        ended.into_iter().for_each(|thread| {
            threads::join(thread.handle);
        });
    }

    /// Waits for those that end by themselves, and lets the others go.
    pub(super) fn end(&self) {
        if threads::place() == Place::Outside {
            self.join_ended();
        }
        for thread in std::mem::take(&mut *self.threads.lock()) {
            threads::let_go(thread.handle);
        }
    }
}

fn cannot_find(host: &str, error: &io::Error) -> Error {
    let reason = reason(error);
    let reason = reason.strip_prefix("failed to lookup address information: ").unwrap_or(&reason);
    Error::new(Status::Connect, format!("cannot find host {host}: {reason}"))
}
