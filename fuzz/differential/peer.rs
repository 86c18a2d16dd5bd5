//! What the others make of bytes, in our words.

use rs_script::fuzzing::Seen;

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

/// All replies in some bytes, without push messages and attributes.
#[derive(Debug)]
pub struct Theirs {
    pub replies: Vec<Seen>,
    /// Why what follows is no reply. Without it, what follows is none yet.
    pub refusal: Option<String>,
}
