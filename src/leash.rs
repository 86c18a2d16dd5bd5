//! How a call that waits on a connection of its own is ended from another thread: its connection is, and with that the server stops waiting too.

use std::sync::{Arc, Weak};

use crate::ffi::lock::Mutex;

use crate::error::{Error, Result};
use crate::link::Link;

#[derive(Default)]
pub(crate) struct Leash(Mutex<Hold>);

#[derive(Default)]
enum Hold {
    /// Nothing has been sent.
    #[default]
    Nothing,
    On(Weak<Link>),
    CutOff,
}

impl Leash {
    /// From now on the call is on this connection; an error if it was called off.
    pub(crate) fn hold(&self, link: &Arc<Link>) -> Result<()> {
        let mut hold = self.0.lock();
        if let Hold::CutOff = *hold {
            return Err(Error::called_off(false));
        }
        *hold = Hold::On(Arc::downgrade(link));
        Ok(())
    }

    /// Ends the call, having told `before` what its error is.
    pub(crate) fn cut_off(&self, before: impl FnOnce(Error)) {
        let hold = std::mem::replace(&mut *self.0.lock(), Hold::CutOff);
        before(Error::called_off(!matches!(hold, Hold::Nothing)));
        if let Hold::On(link) = hold
            && let Some(link) = link.upgrade()
        {
            link.close(&Error::called_off(false));
        }
    }
}
