//! What a client tells its owner about its connections: through a callback, and only when one is set.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::defect::contain;
use crate::ffi::lock::{Condvar, Mutex};
use crate::threads::{self, Place};

/// How much an event matters.
///
/// ```
/// use rs_script::{LogLevel, Options};
///
/// let mut options = Options::default();
/// options.log(|level, text| {
///     if level <= LogLevel::Warning {
///         eprintln!("rs_script: {text}");
///     }
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
#[non_exhaustive]
pub enum LogLevel {
    /// Something failed; calls may have failed with it.
    Error = 1,
    /// Something failed and was mended.
    Warning = 2,
    /// A connection came or went.
    Info = 3,
}

/// Who waits is woken; nothing depends on this time.
const A_WHILE: Duration = Duration::from_secs(60 * 60);

type Callback = dyn Fn(LogLevel, &str) + Send + Sync;

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
    pub(crate) fn new(callback: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        Log::to(Arc::new(callback))
    }

    fn to(callback: Arc<Callback>) -> Self {
        let state = Mutex::new(State { callback: Some(callback), running: 0 });
        Log(Some(Arc::new(Listener { state, quiet: Condvar::default() })))
    }

    /// The same callback for one client, to end with it.
    pub(crate) fn of_a_client(&self) -> Self {
        let callback = self.0.as_ref().and_then(|listener| listener.state.lock().callback.clone());
        callback.map_or_else(Log::default, Log::to)
    }

    pub(crate) fn event(&self, level: LogLevel, message: fmt::Arguments<'_>) {
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
        contain(|| threads::call_back(move || callback(level, &message.to_string())));
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
