//! Which process this is, without asking the kernel at every call.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::error::{Error, Result, Status};

/// Counts the forks between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The process that something was made in.
///
/// What other threads have locks of is used in that process only: in a child of fork those threads are missing, and
/// what they held at that moment stays locked for ever. So whoever comes from outside asks [`Process::check`] before
/// it takes a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// This one. The first use registers a handler by pthread_atfork, which goes with the library when that is
    /// unloaded.
    pub(crate) fn this() -> Process {
        static REGISTERED: AtomicBool = AtomicBool::new(false);
        // Nobody waits for another thread here: a child could have lost that. Two that register it twice do no harm.
        if !REGISTERED.load(Ordering::Acquire) {
            // SAFETY: the handler is a function of this library that only touches an atomic, which a child may do.
            // It fails only without memory; then a child is not told from its parent, and nothing else suffers.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
            REGISTERED.store(true, Ordering::Release);
        }
        Process(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether this is still that process, and no child of it.
    #[inline]
    pub(crate) fn is_this(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }

    /// An error in a child of that process, where `what` was made.
    #[inline]
    pub(crate) fn check(self, what: &str) -> Result<()> {
        if self.is_this() { Ok(()) } else { Err(forked(what)) }
    }
}

impl Default for Process {
    fn default() -> Self {
        Process::this()
    }
}

#[cold]
fn forked(what: &str) -> Error {
    let text = format!(
        "this {what} was made before fork, by the parent process; the child needs one of its own. Nothing was sent"
    );
    Error::new(Status::Forked, text)
}

unsafe extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
