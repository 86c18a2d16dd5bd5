//! What a client tells its owner about its connections: through a callback, and only when one is set.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::defect::contain;
use super::threads::{self, Place};
use crate::error::{Error, Reason, Status};
use crate::ffi::sys::lock::{Condvar, Mutex};

/// How much an event matters.
///
/// ```
/// use rs_script::{LogLevel, Options};
///
/// let mut options = Options::default();
/// options.log(|event| {
///     if event.level <= LogLevel::Warning {
///         eprintln!("rs_script: {}", event.message);
///     }
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
#[non_exhaustive]
pub enum LogLevel {
    /// An attempt to connect has failed; calls may have failed with it.
    Error = 1,
    /// The client goes on, but something is wrong: a connection was lost, a login could not be renewed, a server evicts
    /// tokens.
    Warning = 2,
    /// A connection was made, or something about the servers has changed.
    Info = 3,
}

/// What an event is about, with the number that the C API gives it.
///
/// ```
/// # let mut options = rs_script::Options::default();
/// options.log(|event| {
///     if event.kind == rs_script::EventKind::AuthFailed {
///         eprintln!("{:?}: {}", event.node, event.message);
///     }
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum EventKind {
    /// The first connection to a server was made.
    Connected = 1,
    /// Another connection to a server was made, in place of one before.
    Reconnected = 2,
    /// An attempt to connect has failed.
    ConnectFailed = 3,
    /// The connection to a server was lost or given up: told when that is noticed, which a client without a call
    /// under way and without a thread (no submitted calls, no futures) does with its next call.
    ConnectionLost = 4,
    /// A server did not accept user or password, or there was nothing to log in with: on a new connection, or on an
    /// open one, which stays in use.
    AuthFailed = 5,
    /// An open connection has logged in again.
    Reauthenticated = 6,
    /// A connection is replaced because the user has changed.
    UserChanged = 7,
    /// A cluster has other primaries than before, or is known for the first time.
    PrimariesChanged = 8,
    /// Another server is the primary now, of one without a cluster.
    Failover = 9,
    /// A server of a cluster has said that a slot is another's now.
    SlotMoved = 10,
    /// A server evicts keys, so that calls of scripts that run once per token may happen twice; see
    /// [`Script::once`](crate::Script::once).
    EvictsTokens = 11,
}

/// Something that has happened to a client's connections; see [`Options::log`](crate::Options::log).
///
/// ```
/// # let mut options = rs_script::Options::default();
/// options.log(|event| eprintln!("{:?} {:?} {:?}: {}", event.level, event.kind, event.node, event.message));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// What it is about.
    pub kind: EventKind,
    /// How much it matters.
    pub level: LogLevel,
    /// The server that it concerns: `host:port` or a socket's path; `None` where it is about no one.
    pub node: Option<&'a str>,
    /// The status of the error behind it, if there is one.
    pub status: Option<Status>,
    /// What that was caused by.
    pub reason: Option<Reason>,
    /// The same in words, with addresses and the server's text; never with a password, a key, an argument or a script.
    pub message: &'a str,
}

/// An event on its way to the callback.
#[derive(Debug)]
pub(crate) struct Record {
    kind: EventKind,
    level: LogLevel,
    node: Option<Arc<str>>,
    cause: Option<(Status, Reason)>,
    text: String,
}

impl Record {
    pub(crate) fn new(kind: EventKind, node: Option<&Arc<str>>, text: String) -> Self {
        Record { kind, level: LogLevel::Info, node: node.cloned(), cause: None, text }
    }

    /// Of something that may do harm.
    pub(crate) fn warning(kind: EventKind, node: &Arc<str>, text: String) -> Self {
        Record { level: LogLevel::Warning, ..Record::new(kind, Some(node), text) }
    }

    /// Of an error.
    pub(crate) fn of(kind: EventKind, level: LogLevel, node: &Arc<str>, error: &Error) -> Self {
        let cause = Some((error.status(), error.reason()));
        Record { kind, level, node: Some(Arc::clone(node)), cause, text: error.to_string() }
    }
}

/// Who waits is woken; nothing depends on this time.
const A_WHILE: Duration = Duration::from_secs(60 * 60);

type Callback = dyn Fn(&Event<'_>) + Send + Sync;

/// The log callback of options, for each client that is opened with them.
///
/// It has no lock: a child of fork may use options that a thread of its parent's was just opening a client with.
#[derive(Clone, Default)]
pub(crate) struct OnEvent(Option<Arc<Callback>>);

impl OnEvent {
    pub(crate) fn new(callback: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        OnEvent(Some(Arc::new(callback)))
    }

    /// The same callback for one client, to end with it.
    pub(crate) fn of_a_client(&self) -> Log {
        Log(self.0.as_ref().map(|callback| {
            let state = Mutex::new(State { callback: Some(Arc::clone(callback)), running: 0 });
            Arc::new(Listener { state, quiet: Condvar::default() })
        }))
    }
}

impl fmt::Debug for OnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "OnEvent(on)" } else { "OnEvent(off)" })
    }
}

/// The log callback of a client, or none.
///
/// It runs on the thread on which the event happened, never while a lock of the library is held. Messages hold
/// addresses and the server's words, never a password, a key, an argument or a script.
#[derive(Clone, Default)]
pub(crate) struct Log(Option<Arc<Listener>>);

struct Listener {
    state: Mutex<State>,
    /// No thread is in the callback.
    quiet: Condvar,
}

struct State {
    /// Until the client is freed.
    callback: Option<Arc<Callback>>,
    /// Threads that are in it.
    running: usize,
}

impl Log {
    pub(crate) fn event(&self, record: &Record) {
        let Some(listener) = &self.0 else { return };
        let callback = {
            let mut state = listener.state.lock();
            let Some(callback) = state.callback.clone() else { return };
            state.running += 1;
            callback
        };
        let _running = Running(listener);
        // The last use of it frees what the host has given with it. A panic in it is its owner's affair; here a thread
        // would be lost that others wait for.
        let Record { kind, level, node, cause, text } = record;
        let (status, reason) = cause.unzip();
        let (kind, level, node) = (*kind, *level, node.as_deref());
        let event = Event { kind, level, node, status, reason, message: text };
        contain(|| threads::call_back(move || callback(&event)));
    }

    /// Ends it: when this returns it is not called any more, and on a thread of the host's it has returned on all
    /// others.
    pub(crate) fn end(&self) {
        let Some(listener) = &self.0 else { return };
        let mut state = listener.state.lock();
        let callback = state.callback.take();
        // From within a callback the wait could be for itself, or for one that waits likewise.
        while threads::place() == Place::Outside && state.running > 0 {
            listener.quiet.wait_for(&mut state, A_WHILE);
        }
        drop(state);
        drop(callback);
    }
}

struct Running<'a>(&'a Listener);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.lock().running -= 1;
        self.0.quiet.notify_all();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Log(on)" } else { "Log(off)" })
    }
}
