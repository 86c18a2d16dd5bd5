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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::net::{Ipv4Addr, TcpListener};
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use crate::{CallFuture, Client, Error, Options, Status};

    fn error(future: &mut CallFuture) -> Option<Error> {
        match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result.expect_err("nobody answers")),
            Poll::Pending => None,
        }
    }

    fn status(future: &mut CallFuture) -> Option<Status> {
        error(future).map(|error| error.status())
    }

    #[test]
    fn in_a_child_futures_end_and_are_dropped_without_their_parents_locks() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let url = format!("redis://{}", silent.local_addr().expect("bound"));
        let mut options = Options::default();
        options.lazy_connect(true);
        let client = Client::open(&url, &options).expect("a client");
        let [mut under_way, mut dropped, mut unpolled] = [(); 3].map(|()| client.command_async("PING"));
        assert_eq!((status(&mut under_way), status(&mut dropped)), (None, None));
        // SAFETY: the child touches what is its own and ends by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let polled = [error(&mut under_way), error(&mut unpolled)];
            drop(dropped);
            let all = polled.into_iter().chain([error(&mut client.command_async("PING"))]);
            // The parent may have the call executed that was under way.
            let told = all.map(|error| error.map(|error| (error.status(), error.is_not_executed())));
            let are_forked = told.eq([false, true, true].map(|unsent| Some((Status::Forked, unsent))));
            // SAFETY: it ends the child, whatever its parent's threads were at.
            unsafe { libc::_exit(i32::from(!are_forked)) };
        }
        let mut ended = 0;
        // SAFETY: a child of this process, and a place for its end.
        assert_eq!(unsafe { libc::waitpid(child, &mut ended, 0) }, child);
        assert!(libc::WIFEXITED(ended) && libc::WEXITSTATUS(ended) == 0, "{ended:#x}");
        assert_eq!(status(&mut under_way), None, "the child has called nothing off");
        drop((dropped, under_way));
        client.close();
        assert_eq!(status(&mut unpolled), Some(Status::Closed));
    }
}
