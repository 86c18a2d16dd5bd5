//! Calls and completions as flat bytes without pointers, so that a binding crosses into this library once for many of
//! them.
//!
//! The layout is documented in `ffi/packed.rs`, where C sees it. Numbers are in the machine's own byte order and not
//! aligned.

// What servers send is not to be cut short by a conversion.
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod calls;
mod completions;
#[cfg(test)]
mod tests;

pub(crate) use calls::read_calls;
pub(crate) use completions::pack;

/// What a packed call is.
pub(crate) const COMMAND: u8 = 0;
pub(crate) const SCRIPT: u8 = 1;
pub(crate) const PIPELINE: u8 = 2;
pub(crate) const SCRIPT_LOAD: u8 = 3;
pub(crate) const SCRIPT_EXISTS: u8 = 4;
pub(crate) const SCRIPT_FLUSH: u8 = 5;
pub(crate) const SCRIPT_KILL: u8 = 6;
pub(crate) const SCRIPT_SHOW: u8 = 7;
pub(crate) const KILL: u8 = 8;
pub(crate) const SCRIPT_STATS: u8 = 9;
pub(crate) const REAUTHENTICATE: u8 = 10;
pub(crate) const LIBRARY_LOAD: u8 = 11;
pub(crate) const LIBRARY_CHECK: u8 = 12;
pub(crate) const LIBRARY_DEPLOY: u8 = 13;
pub(crate) const LIBRARY_LIST: u8 = 14;
pub(crate) const LIBRARY_PRUNE: u8 = 15;
/// Another call with what goes in front of it.
pub(crate) const ROUTED: u8 = 16;

/// Bits of a packed call's flags.
pub(crate) const READ_ONLY: u8 = 1;
pub(crate) const IDEMPOTENT: u8 = 2;
pub(crate) const ATOMIC: u8 = 1;
pub(crate) const REPAIR_UNORDERED: u8 = 2;
pub(crate) const TRUST_CACHE: u8 = 4;
pub(crate) const TOKEN: u8 = 8;
/// Of a library.
pub(crate) const NAMED: u8 = 1;
pub(crate) const ONCE: u8 = 2;
const TRUSTING: u8 = ATOMIC | TRUST_CACHE;
const OF_PIPELINE: u8 = ATOMIC | REPAIR_UNORDERED | TRUST_CACHE | TOKEN;

/// Bits of a packed completion's flags.
pub(crate) const INDETERMINATE: u8 = 1;
pub(crate) const NOT_EXECUTED: u8 = 2;
pub(crate) const ARRIVED: u8 = 4;
pub(crate) const COST: u8 = 8;
