//! The wire codec of RESP2 and RESP3: commands into bytes, bytes into a flat tape of replies.
//!
//! Rests on the [Redis serialization protocol specification](https://redis.io/docs/latest/develop/reference/protocol-spec/).

mod decode;
pub(crate) mod encode;
mod reply;

pub(crate) use decode::{Decoded, Decoder, Refusal};
pub use reply::{Elements, Kind, Reply, ReplyRef};
pub(crate) use reply::{Entry, Note, Payload, Pool};

/// How large one reply may become before its connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes on the wire.
    pub(crate) max_bytes: usize,
    /// Aggregates inside one another.
    pub(crate) max_depth: usize,
}
