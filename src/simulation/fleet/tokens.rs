//! The tokens of calls that happen once. All servers have them together, but for what a failover loses: what one of
//! them has run, others get with its data, before they take its slot.

use std::collections::HashMap;
use std::time::Duration;

use super::Fleet;
use super::functions::{ONCE_AS_FUNCTION, ONCE_LIBRARY, once_function};
use super::scripts::{ONCE, ONCE_FUNCTION, scripts};
use crate::request::once::Once;
use crate::request::script::Script;

/// In which ways something happens once: their places in [`happening_once`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Kind {
    Script,
    Function,
    AsFunction,
}

impl Kind {
    /// The library of the function that is called, by its place.
    pub(in crate::simulation) fn library(self) -> Option<usize> {
        match self {
            Kind::Script => None,
            Kind::Function => Some(ONCE_LIBRARY),
            Kind::AsFunction => Some(ONCE_AS_FUNCTION),
        }
    }
}

/// What happens once, in each way, and counts as done when so many replicas have it. The code is the same, however many
/// they are.
pub(super) fn happening_once(replicas: u32) -> Vec<Script> {
    let once = match replicas {
        0 => Once::default(),
        _ => Once::default().wait(replicas, Duration::from_millis(100)),
    };
    let again = |place: usize| scripts()[place].once(&once).expect("a script");
    vec![again(ONCE), once_function(&once), again(ONCE_FUNCTION).as_function()]
}

/// What was answered under each token, and to which item.
pub(super) type Tokens = HashMap<Vec<u8>, (u64, String)>;

impl Fleet {
    /// The key of the token, the last one, of a call that has one.
    pub(super) fn token_of<'a>(&self, command: &[Vec<u8>], keys: &[&'a [u8]]) -> Option<&'a [u8]> {
        let ours = || [ONCE, ONCE_FUNCTION].map(|place| &self.scripts[place]);
        let is_once = match command[0].as_slice() {
            b"EVALSHA" => ours().iter().any(|script| script.sha_hex().as_bytes() == command[1]),
            b"EVAL" => ours().iter().any(|script| script.source() == command[1]),
            b"FCALL" => self.library_of(&command[1]).is_some_and(|library| library >= ONCE_LIBRARY),
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
