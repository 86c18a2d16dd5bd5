//! Sets of scripts and libraries: those that a server is known to hold, and those that have compiled.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use crate::base::sha::{DigestHasher, Sha};

/// More scripts than this are forgotten and loaded again: a program that makes its scripts up as it goes must not
/// make the client grow without end.
const MAX: usize = 100_000;

/// Scripts that have compiled.
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
}

/// How a script came into the server's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// By SCRIPT LOAD: only a flush takes it out again.
    Load,
    /// By EVAL, or before this connection was there: newer servers let such a script make room for others.
    Other,
    /// It is a library, which scripts have nothing to do with: only FUNCTION FLUSH and FUNCTION DELETE take it out
    /// again.
    Library,
}

impl Source {
    fn is_library(self) -> bool {
        self == Source::Library
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where in the stream the command stands that brought it there.
    at: u64,
    source: Source,
}

/// What a connection knows of the server's cache: scripts that it has confirmed to have, or that a request brings
/// which stands earlier in the same stream.
///
/// NOSCRIPT tells of the past: many calls may have been sent since, and the script may be on its way again already.
/// So each entry has its place in the stream, and a reply only takes out what stands in front of its own call.
#[derive(Debug, Default)]
pub(crate) struct Cache(HashMap<Sha, Entry, BuildHasherDefault<DigestHasher>>);

impl Cache {
    #[inline]
    pub(crate) fn contains(&self, sha: Sha) -> bool {
        self.0.contains_key(&sha)
    }

    pub(crate) fn insert(&mut self, sha: Sha, at: u64, source: Source) {
        if self.0.len() >= MAX {
            self.0.clear();
        }
        self.0.insert(sha, Entry { at, source });
    }

    pub(crate) fn remove(&mut self, sha: Sha) {
        self.0.remove(&sha);
    }

    /// The cache of scripts is about to be emptied, or was.
    pub(crate) fn clear_scripts(&mut self) {
        self.0.retain(|_, entry| entry.source.is_library());
        self.0.shrink_to(2 * self.0.len());
    }

    /// A call that carried this script has failed, maybe before it was cached.
    pub(crate) fn doubt(&mut self, sha: Sha) {
        if let Some(Entry { source: Source::Other, .. }) = self.0.get(&sha) {
            self.remove(sha);
        }
    }

    /// A call that stands at `sent_at` did not find this script or library. One that was loaded is gone by a flush,
    /// and with it all others of its kind.
    pub(crate) fn missed(&mut self, sha: Sha, sent_at: u64) {
        match self.0.get(&sha) {
            Some(entry) if entry.at > sent_at => {}
            Some(Entry { source: source @ (Source::Load | Source::Library), .. }) => {
                let is_library = source.is_library();
                self.0.retain(|_, entry| entry.at > sent_at || entry.source.is_library() != is_library);
                // Not to be gone through again and again for the few that are left.
                self.0.shrink_to(2 * self.0.len());
            }
            Some(_) => self.remove(sha),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_tells_of_what_stands_in_front_of_it_alone() {
        let [one, two, three] = [&b"1"[..], b"2", b"3"].map(Sha::of);
        let mut cache = Cache::default();
        cache.insert(one, 0, Source::Load);
        cache.insert(two, 10, Source::Load);
        cache.missed(one, 100);
        assert!(!cache.contains(one) && !cache.contains(two), "a flush takes all");
        cache.insert(one, 500, Source::Load);
        cache.missed(one, 200);
        cache.missed(two, 300);
        assert!(cache.contains(one) && !cache.contains(two), "sent before it was loaded again");
        cache.insert(three, 600, Source::Other);
        cache.missed(three, 500);
        assert!(cache.contains(three), "sent before EVAL brought it");
        cache.missed(three, 600);
        assert!(cache.contains(one) && !cache.contains(three), "what EVAL has brought is evicted alone");
        cache.missed(one, 700);
        assert!(!cache.contains(one));
    }

    #[test]
    fn scripts_and_libraries_are_flushed_apart() {
        let [script, library, other] = [&b"1"[..], b"2", b"3"].map(Sha::of);
        let mut cache = Cache::default();
        let fill = |cache: &mut Cache| {
            cache.insert(script, 0, Source::Load);
            cache.insert(library, 0, Source::Library);
            cache.insert(other, 0, Source::Library);
        };
        fill(&mut cache);
        cache.missed(script, 10);
        assert!(!cache.contains(script) && cache.contains(library) && cache.contains(other));
        fill(&mut cache);
        cache.missed(library, 10);
        assert!(cache.contains(script) && !cache.contains(library) && !cache.contains(other));
        fill(&mut cache);
        cache.clear_scripts();
        assert!(!cache.contains(script) && cache.contains(library) && cache.contains(other));
    }
}
