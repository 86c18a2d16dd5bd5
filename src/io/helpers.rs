//! Threads of a client for what may take its time and cannot be stopped: one for each errand, which holds nothing of
//! the client.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::threads::{self, Place, Thread};
use crate::ffi::sys::cancel::Held;
use crate::ffi::sys::lock::Mutex;

/// Those under way, as far as they are not known to have ended.
#[derive(Default)]
pub(super) struct Helpers(Mutex<Vec<Helper>>);

struct Helper {
    handle: Thread<()>,
    is_done: Done,
}

/// Its errand is done, and the thread ends by itself.
#[derive(Clone, Default)]
pub(super) struct Done(Arc<AtomicBool>);

impl Done {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Helpers {
    /// Starts a thread. `body` says as soon as it can that it is done; when it has ended it is.
    pub(super) fn start(&self, name: &str, body: impl FnOnce(&Done) + Send + 'static) -> io::Result<()> {
        // One that is done may still be in a callback, for as long as the host likes.
        self.join(|helper| helper.handle.is_finished());
        let is_done = Done::default();
        let its_own = is_done.clone();
        let handle = threads::spawn(name, move || {
            let _held = Held::new();
            body(&its_own);
            its_own.set();
        })?;
        self.0.lock().push(Helper { handle, is_done });
        Ok(())
    }

    fn join(&self, is_over: impl Fn(&Helper) -> bool) {
        let over: Vec<_> = self.0.lock().extract_if(.., |helper| is_over(helper)).collect();
        for helper in over {
            threads::join(helper.handle);
        }
    }

    /// Waits for those that end by themselves, and lets the others go.
    pub(super) fn end(&self) {
        if threads::place() == Place::Outside {
            self.join(|helper| helper.is_done.0.load(Ordering::Acquire));
        }
        let left = std::mem::take(&mut *self.0.lock());
        left.into_iter().for_each(|helper| threads::let_go(helper.handle));
    }
}
