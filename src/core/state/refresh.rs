//! The look at who is who, as far as it has come.

use std::time::Instant;

use crate::core::interface::CallId;
use crate::error::{Error, Status};
use crate::net::address::Address;

/// The look that is under way, and who waits for it.
#[derive(Default)]
pub(in crate::core) struct Refresh {
    pub(in crate::core) look: Option<Look>,
    pub(in crate::core) looks: u64,
    /// Why the last look found nothing.
    pub(in crate::core) error: Option<Error>,
    /// So many have found nothing since one did.
    pub(in crate::core) failures: u32,
    /// The sentinel that was right last, by its place in the URL: asked first.
    pub(in crate::core) informant: usize,
    /// Calls that wait for a map, and some that do so no more.
    pub(in crate::core) waiting: Vec<CallId>,
    /// When the next look begins.
    pub(in crate::core) due: Option<Instant>,
}

#[cfg(any(test, feature = "fuzz-internals"))]
impl Refresh {
    /// Entries of those that wait.
    pub(in crate::core) fn waits(&self) -> usize {
        self.waiting.len()
    }
}

pub(in crate::core) struct Look {
    pub(in crate::core) number: u64,
    pub(in crate::core) candidates: Vec<Address>,
    /// The place of the one that is being asked.
    pub(in crate::core) at: usize,
    /// All have been asked once with little patience.
    pub(in crate::core) is_patient: bool,
    pub(in crate::core) was_slow: bool,
    pub(in crate::core) errors: Vec<Error>,
    pub(in crate::core) asked: Instant,
    pub(in crate::core) until: Instant,
    /// The primary that a sentinel has named, which is asked for its role.
    pub(in crate::core) primary: Option<Address>,
    /// How that has refused to say, so that it is asked in another way.
    pub(in crate::core) refused: Option<Error>,
}

/// What becomes of a call that waits for a new map when a look fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum MapWait {
    /// It goes by the old map.
    OldMapDoes,
    /// It is over.
    OneLook,
    /// It waits for another look, as often as connecting is tried. So many have failed.
    Looks { failed: u32 },
}

impl MapWait {
    pub(in crate::core) const NEW_MAP: MapWait = MapWait::Looks { failed: 0 };

    /// Whether a failed look is to be followed by another one. `attempts`: that many at most, unless it is 0.
    pub(in crate::core) fn bears(&mut self, error: &Error, attempts: u32) -> bool {
        let MapWait::Looks { failed } = self else { return false };
        // While there are sentinels to name another primary it is worth waiting for.
        let may_come = error.status() == Status::NotServed;
        *failed += u32::from(!may_come);
        may_come || error.status() == Status::Connect && *failed != attempts
    }
}
