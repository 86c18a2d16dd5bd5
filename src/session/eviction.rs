//! Whether a server may evict the tokens of calls that happen once: looked up when the first such script comes to it.
//!
//! INFO says it to nearly every user. CONFIG GET, which says the same, is refused wherever that is, and by services
//! that run servers for others.

use std::sync::atomic::Ordering;

use super::Session;
use super::call::{Expected, What};
use super::emit::length;
use crate::resp::Kind;

impl<T> Session<T> {
    /// Asks in front of a call that brings such a script, once a server.
    pub(super) fn ask_about_memory(&mut self, key: usize, script: usize) {
        if self.calls[key].request.scripts[script].wrapped().is_none()
            || self.facts.memory_asked.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let before = self.outbox.position();
        self.outbox.append(|out| out.command(&[b"INFO", b"memory"]));
        self.calls[key].request.extra += length(before, self.outbox.position());
        self.expected.push_back(Expected { call: key, what: What::Memory });
    }

    /// Takes the answer from the unseen tape. Who may not know is not told, and no call suffers from that.
    pub(super) fn told_of_memory(&mut self) {
        self.expected.pop_front();
        let entry = self.unseen[0];
        if matches!(entry.kind, Kind::String | Kind::Verbatim) {
            self.evicts = policy(self.inbox.text(entry.start(), entry.len as usize));
        }
        self.discard_unseen();
    }

    /// An answer that does not come any more is asked for again on the next connection.
    pub(super) fn forget_questions(&self) {
        if self.expected.iter().any(|expected| matches!(expected.what, What::Memory)) {
            self.facts.memory_asked.store(false, Ordering::Relaxed);
        }
    }

    /// The policy by which the server evicts keys, if that has just come to light.
    #[inline]
    pub(crate) fn take_eviction(&mut self) -> Option<String> {
        self.evicts.take()
    }
}

/// The policy by which a server evicts keys that says so of its memory, if it does.
fn policy(info: &[u8]) -> Option<String> {
    let info = String::from_utf8_lossy(info);
    let field =
        |name: &str| info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
    let is_bounded = field("maxmemory").is_some_and(|bytes| bytes != "0");
    field("maxmemory_policy").filter(|&policy| is_bounded && policy != "noeviction").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_evicts_where_it_has_a_bound_and_a_policy() {
        for (info, found) in [
            ("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", None),
            ("maxmemory:100\r\nmaxmemory_policy:noeviction\r\n", None),
            (
                "used_memory:1\r\nmaxmemory:100\r\nmaxmemory_human:100B\r\nmaxmemory_policy:volatile-ttl\r\n",
                Some("volatile-ttl"),
            ),
            ("maxmemory_policy:allkeys-lru", None),
            ("", None),
        ] {
            assert_eq!(policy(info.as_bytes()).as_deref(), found, "{info}");
        }
    }
}
