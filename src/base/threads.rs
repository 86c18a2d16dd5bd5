//! The one place where threads are started, and what is true of all of them: they take no signals of the host's, and
//! somebody waits for their end.

use std::cell::Cell;
use std::io;
#[cfg(not(rs_script_models))]
use std::thread::current;
use std::thread::{Builder, JoinHandle};

#[cfg(rs_script_models)]
use shuttle::thread::current;

#[cfg(rs_script_models)]
pub(crate) use shuttle::thread::ThreadId;
#[cfg(not(rs_script_models))]
pub(crate) use std::thread::ThreadId;

use crate::error::{Error, Status};
use crate::ffi::sys::cancel::Held;
use crate::ffi::sys::fork::Process;
use crate::ffi::sys::library;
use crate::ffi::sys::signals::Blocked;

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(Place::Outside) };
}

/// Whose code is running on a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A thread of the host's, in its own code or in a call.
    Outside,
    /// A thread of the host's, in the log callback, which a call of that thread waits for.
    Callback,
    /// A thread of this library.
    Inside,
}

/// Which thread this is.
pub(crate) fn this() -> ThreadId {
    current().id()
}

/// Where this thread is.
pub(crate) fn place() -> Place {
    PLACE.get()
}

/// Runs a callback of the host's from within the library.
pub(crate) fn call_back(callback: impl FnOnce()) {
    struct Back(Place);
    impl Drop for Back {
        fn drop(&mut self) {
            PLACE.set(self.0);
        }
    }
    let before = PLACE.get();
    let _back = Back(before);
    if before == Place::Outside {
        PLACE.set(Place::Callback);
    }
    callback();
}

/// A thread that was started, until somebody waits for its end or lets it go.
///
/// In a child of fork it is missing, and its number may be that of a thread which the child has started since: there
/// nothing is said to the system of it, which would let go of the other one.
pub(crate) struct Thread<T> {
    /// Absent at its end only.
    handle: Option<JoinHandle<T>>,
    process: Process,
}

impl<T> Thread<T> {
    pub(crate) fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        if !self.process.is_this() {
            std::mem::forget(self.handle.take());
        }
    }
}

/// Starts a thread. The error is the system's, and nothing has been started then.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Thread<T>> {
    let _blocked = Blocked::new();
    let handle = Builder::new().name(name.into()).spawn(|| inside(body))?;
    Ok(Thread { handle: Some(handle), process: Process::this() })
}

fn inside<T>(body: impl FnOnce() -> T) -> T {
    PLACE.set(Place::Inside);
    body()
}

/// Waits until a thread has ended, to its last instruction. `None`: it has panicked.
pub(crate) fn join<T>(mut thread: Thread<T>) -> Option<T> {
    let _held = Held::new();
    thread.handle.take()?.join().ok()
}

/// Lets a thread go on that nobody can wait for: its code stays in memory.
pub(crate) fn let_go<T>(thread: Thread<T>) {
    library::keep_loaded();
    drop(thread);
}

/// The error of a call for which there was no thread.
#[cold]
pub(crate) fn none_left(error: &io::Error) -> Error {
    Error::new(Status::Resources, format!("no thread could be started: {error}; nothing was sent"))
        .sent(false)
}
