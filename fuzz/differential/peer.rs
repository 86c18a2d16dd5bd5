//! The other decoders.

use super::theirs::Theirs;

/// Another decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Hiredis,
    RedisRs,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Hiredis => "hiredis",
            Peer::RedisRs => "redis-rs",
        }
    }

    pub fn replies(self, input: &[u8]) -> Theirs {
        match self {
            Peer::Hiredis => super::hiredis::replies(input),
            Peer::RedisRs => super::redis_rs::replies(input),
        }
    }
}
