//! What a client tells its owner about its connections: through a callback, and only when one is set.

use std::fmt;
use std::sync::Arc;

use crate::defect::contain;

/// How much an event matters.
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

type Callback = dyn Fn(LogLevel, &str) + Send + Sync;

/// The log callback of a client, or none.
///
/// It runs on the thread on which the event happened, never while a lock of the library is held. Messages hold
/// addresses and the server's words, never a password, a key, an argument or a script.
#[derive(Clone, Default)]
pub(crate) struct Log(Option<Arc<Callback>>);

impl Log {
    pub(crate) fn new(callback: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        Log(Some(Arc::new(callback)))
    }

    pub(crate) fn event(&self, level: LogLevel, message: fmt::Arguments<'_>) {
        if let Some(callback) = &self.0 {
            // A panic in it is its owner's affair; here a thread would be lost that others wait for.
            contain(|| callback(level, &message.to_string()));
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Log(on)" } else { "Log(off)" })
    }
}
