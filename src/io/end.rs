//! How a call ends, and the numbers that waiting calls are told apart by.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::resp::Reply;

/// How a call ends: its result, and of a pipeline that broke the replies that did arrive.
pub(crate) type End = (Result<Reply>, Option<Reply>);

/// A number that no other waiting call of this process has.
pub(super) fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}
