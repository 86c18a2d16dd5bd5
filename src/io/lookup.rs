//! Host names: getaddrinfo knows no deadline and cannot be stopped, so a thread of its own calls it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
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
    /// Looks up a host. What is known without asking is given back; else [`Lookups::take_found`] has it when the reactor was woken for it.
    pub(super) fn begin(
        &self,
        io: &Io,
        conn: ConnId,
        host: &str,
        port: u16,
    ) -> Option<Result<Vec<SocketAddr>>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Ok(vec![SocketAddr::new(address, port)]));
        }
        self.join_ended();
        let reactor = match io.reactor() {
            Ok(reactor) => Arc::downgrade(&reactor),
            Err(error) => return Some(Err(error)),
        };
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
        match spawned {
            Ok(handle) => {
                self.threads.lock().push(Thread { handle, is_ending });
                None
            }
            Err(error) => {
                let address = Address::Tcp { host: host.to_owned(), port };
                let why = format!(
                    "cannot connect to {address}: no thread could be started for it: {}",
                    reason(&error)
                );
                Some(Err(Error::new(Status::Connect, why)))
            }
        }
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
