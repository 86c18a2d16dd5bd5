//! The tokens of calls that happen once. All servers have them together: what one of them has run, others get with
//! its data, before they take its place or its slot.

use std::collections::HashMap;

use super::Fleet;

/// The place of the script that runs once per token.
pub(in crate::simulation) const ONCE: usize = 5;

/// What was answered under each token, and to which item.
pub(super) type Tokens = HashMap<Vec<u8>, (u64, String)>;

impl Fleet {
    /// The key of the token, the last one, of a call that has one.
    pub(super) fn token_of<'a>(&self, command: &[Vec<u8>], keys: &[&'a [u8]]) -> Option<&'a [u8]> {
        let is_sha = || self.scripts[ONCE].sha_hex().as_bytes() == command[1];
        let is_once = match command[0].as_slice() {
            b"EVALSHA" => is_sha(),
            b"EVAL" => self.scripts[ONCE].source() == command[1],
            _ => false,
        };
        keys.last().copied().filter(|_| is_once)
    }

    /// What was answered when it ran.
    pub(super) fn answered_before(&mut self, token: &[u8], item: u64) -> Option<String> {
        let (before, reply) = self.tokens.get(token)?;
        if *before != item {
            self.witness.fault(format!("item {item} came with the token of item {before}"));
        }
        Some(reply.clone())
    }

    /// Whether a call with a token meets keys on two servers while its slot moves: its token's key is on none yet, or
    /// where the slot has been.
    pub(super) fn is_between_servers(&self, token: &[u8], is_source: bool, all_moved: bool) -> bool {
        let is_known = self.tokens.contains_key(token);
        match is_source {
            true => is_known == all_moved,
            false => true,
        }
    }
}
