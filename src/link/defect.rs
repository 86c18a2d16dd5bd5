//! What a panic of this library leaves of a connection: nothing, and an end for each of its calls.

use std::thread;

use super::Link;
use crate::defect::contain;
use crate::error::{Error, Status};
use crate::session::Finished;

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
        let places = shared.places.iter().filter(|(_, place)| place.finished.is_none());
        for key in places.map(|(key, _)| key).collect::<Vec<_>>() {
            if shared.places[key].submitted.is_some() {
                self.abandon_lost(&mut shared, key);
                continue;
            }
            let place = &mut shared.places[key];
            let result = Err(Error::defect());
            place.finished = Some(Finished { tag: key, request: Box::default(), result, arrived: None });
            if let Some(condition) = &place.asleep {
                condition.notify_one();
            }
        }
        self.hand_out(&mut shared);
    }
}
