//! The wire codec of RESP2 and RESP3: commands into bytes, bytes into a flat tape of replies.
//!
//! Rests on the [Redis serialization protocol
//! specification](https://redis.io/docs/latest/develop/reference/protocol-spec/).

// What servers send is not to be cut short by a conversion.
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod decode;
pub(crate) mod encode;
mod inbox;
mod pool;
mod reply;

pub(crate) use decode::{Decoded, Decoder, LONG_ASIDE, Refusal};
pub(crate) use inbox::Inbox;
pub(crate) use pool::Pool;
pub use reply::{Elements, Kind, Reply, ReplyRef};
pub(crate) use reply::{Entry, Note, Payload};

use crate::error::Error;

/// How large one reply may become before its connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes on the wire.
    pub(crate) max_bytes: usize,
    /// Aggregates inside one another.
    pub(crate) max_depth: usize,
}

/// There is no memory for what a server has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl From<NoMemory> for Error {
    fn from(NoMemory: NoMemory) -> Self {
        Error::no_memory()
    }
}

/// Makes room for `count` more elements. Whatever grows as a server wills grows by this: without memory a call fails,
/// and the process goes on.
#[inline(always)]
pub(crate) fn make_room<T>(vec: &mut Vec<T>, count: usize) -> Result<(), NoMemory> {
    if count <= vec.capacity() - vec.len() { Ok(()) } else { grow(vec, count) }
}

/// Appends an element, as [`make_room`] makes room for it.
#[inline(always)]
pub(crate) fn push<T>(vec: &mut Vec<T>, element: T) -> Result<(), NoMemory> {
    // Asked just as `Vec::push` does, so that it need not ask again.
    if vec.len() == vec.capacity() {
        return grow_and_push(vec, element);
    }
    vec.push(element);
    Ok(())
}

#[cold]
fn grow_and_push<T>(vec: &mut Vec<T>, element: T) -> Result<(), NoMemory> {
    grow(vec, 1)?;
    vec.push(element);
    Ok(())
}

/// Twice the size, or where that is not to be had, somewhat more than it is.
#[cold]
fn grow<T>(vec: &mut Vec<T>, count: usize) -> Result<(), NoMemory> {
    vec.try_reserve(count)
        .or_else(|_| vec.try_reserve_exact(count.saturating_add(vec.len() / 8)))
        .map_err(|_| NoMemory)
}
