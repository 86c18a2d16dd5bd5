//! What a panic of this library leaves of a connection: nothing, and an end for each of its calls.

use std::thread;

use super::Link;
use crate::base::defect::contain;
use crate::core::Ended;
use crate::error::{Error, Status};
use crate::ffi::sys::lock::MutexGuard;

/// A defect of this library must not leave others waiting for a reader that is gone.
pub(super) struct CloseOnPanic<'a> {
    link: &'a Link,
    /// A panic of the host's own is no defect: its destructors may call too.
    was_panicking: bool,
}

impl<'a> CloseOnPanic<'a> {
    #[inline]
    pub(super) fn new(link: &'a Link) -> Self {
        CloseOnPanic { link, was_panicking: thread::panicking() }
    }
}

impl Drop for CloseOnPanic<'_> {
    #[inline]
    fn drop(&mut self) {
        if thread::panicking() && !self.was_panicking {
            self.link.close_by_defect();
        }
    }
}

impl Link {
    /// Ends every call in flight after a panic, whatever that has left half done.
    pub(crate) fn close_by_defect(&self) {
        let text =
            format!("a defect of rs_script ended the connection to {}; please report it", self.address);
        // It may happen once more: then those that are lost are completed when they are dropped.
        contain(|| self.close(&Error::new(Status::Internal, text)));
        contain(|| self.end_lost());
    }

    /// Ends the calls that the session does not know any more.
    fn end_lost(&self) {
        let mut shared = self.shared.lock();
        for (_, place) in shared.places.iter_mut().filter(|(_, place)| place.finished.is_none()) {
            place.finished = Some(Ended::by_defect());
            if let Some(condition) = &place.asleep {
                condition.notify_one();
            }
        }
        if std::mem::take(&mut shared.attempts) > 0 {
            shared.completed.clear();
            MutexGuard::unlocked(&mut shared, || {
                if let Some(owner) = self.owner.upgrade() {
                    owner.start_anew(self.epoch);
                }
            });
        }
        self.hand_out(&mut shared);
    }
}
