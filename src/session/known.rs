//! A set of scripts: those that a server is known to have, or to have compiled.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use crate::script::{DigestHasher, Sha};

/// More scripts than this are forgotten and loaded again: a program that makes its scripts up as it goes must not
/// make the client grow without end.
const MAX: usize = 100_000;

/// For a connection: SHAs confirmed by the server, or loaded by a request that stands earlier in the same stream.
#[derive(Debug, Default)]
pub(crate) struct Known(HashSet<Sha, BuildHasherDefault<DigestHasher>>);

impl Known {
    #[inline]
    pub(crate) fn contains(&self, sha: Sha) -> bool {
        self.0.contains(&sha)
    }

    pub(crate) fn insert(&mut self, sha: Sha) {
        if self.0.len() >= MAX {
            self.0.clear();
        }
        self.0.insert(sha);
    }

    pub(crate) fn remove(&mut self, sha: Sha) {
        self.0.remove(&sha);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
