//! Memory of replies that have been freed, for those that come next.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Entry, Payload};
use crate::ffi::sys::fork::Process;
use crate::ffi::sys::lock::Mutex;

/// Payloads between two calls, so that a call in a steady state allocates nothing for its reply.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    kept: Mutex<Kept>,
    /// Where it is used: elsewhere a reply is freed without it.
    process: Process,
}

#[derive(Debug)]
#[expect(clippy::vec_box, reason = "a payload keeps its box from one call to the next")]
struct Kept {
    payloads: Vec<Box<Payload>>,
    /// That of a large reply; all of it is initialized.
    buffer: Option<Vec<u8>>,
    /// Replies since the last that was large.
    since_large: u32,
}

/// Payloads kept, and the memory that one may hold to be kept: small ones for thousands of calls at once, and some
/// others.
const PAYLOADS: usize = 16;
const PAYLOAD_BYTES: usize = 4096;
const SMALL_PAYLOADS: usize = 4096;
const SMALL_BYTES: usize = 512;

/// Buffers of large replies that are worth keeping: the system takes longer to give so much memory anew than to fill
/// it.
const LARGE_BYTES: RangeInclusive<usize> = 1 << 20..=128 << 20;

/// One is kept where such replies recur: where fewer others than this came in between. After as many it goes.
const RECURRING: u32 = 64;

impl Default for Kept {
    fn default() -> Self {
        Kept { payloads: Vec::new(), buffer: None, since_large: RECURRING }
    }
}

impl Pool {
    #[inline(always)]
    pub(crate) fn take(self: &Arc<Self>) -> Box<Payload> {
        let mut payload = self.kept.lock().payloads.pop().unwrap_or_default();
        payload.home = Some(Arc::clone(self));
        payload
    }

    pub(super) fn give(&self, mut payload: Box<Payload>) {
        if payload.bytes.capacity() >= *LARGE_BYTES.start() {
            self.give_buffer(std::mem::take(&mut payload.bytes));
            return;
        }
        let size = payload.bytes.capacity() + payload.tape.capacity() * size_of::<Entry>();
        if size <= PAYLOAD_BYTES && self.process.is_this() {
            payload.clear();
            let most = if size <= SMALL_BYTES { SMALL_PAYLOADS } else { PAYLOADS };
            let mut kept = self.kept.lock();
            if kept.since_large < RECURRING {
                kept.count();
            }
            if kept.payloads.len() < most {
                kept.payloads.push(payload);
            }
        }
    }

    /// Keeps the buffer of a large reply, if the next is likely to be one as well.
    #[cold]
    fn give_buffer(&self, mut bytes: Vec<u8>) {
        if !LARGE_BYTES.contains(&bytes.capacity()) || !self.process.is_this() {
            return;
        }
        if std::mem::take(&mut self.kept.lock().since_large) < RECURRING {
            bytes.resize(bytes.capacity(), 0);
            let before = self.kept.lock().buffer.replace(bytes);
            drop(before);
        }
    }

    /// The buffer of an earlier reply, if it has so many bytes, and not more than twice as many: who holds the reply
    /// holds them all.
    pub(crate) fn take_buffer(&self, wanted: usize) -> Option<Vec<u8>> {
        if !LARGE_BYTES.contains(&wanted) {
            return None;
        }
        self.kept.lock().buffer.take_if(|buffer| (wanted..=wanted.saturating_mul(2)).contains(&buffer.len()))
    }
}

impl Kept {
    #[cold]
    fn count(&mut self) {
        self.since_large += 1;
        if self.since_large == RECURRING {
            self.buffer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn freed(pool: &Arc<Pool>, bytes: usize) {
        let mut payload = pool.take();
        payload.start();
        payload.bytes.reserve_exact(bytes);
        pool.give(payload);
    }

    #[test]
    fn a_large_buffer_is_kept_only_where_large_replies_recur() {
        let pool = Arc::<Pool>::default();
        freed(&pool, 8 * MIB);
        assert!(pool.take_buffer(8 * MIB).is_none(), "it may have been the only one");
        freed(&pool, 8 * MIB);
        for wanted in [8 * MIB + 1, 4 * MIB - 1, MIB, 0, usize::MAX] {
            assert!(pool.take_buffer(wanted).is_none(), "{wanted}");
        }
        assert_eq!(pool.take_buffer(5 * MIB).map(|buffer| buffer.len()), Some(8 * MIB));
        assert!(pool.take_buffer(5 * MIB).is_none(), "there is one");

        // As many others in between as may be, and one more.
        for (others, is_kept) in [(RECURRING - 1, true), (RECURRING, false)] {
            freed(&pool, 2 * MIB);
            (0..others).for_each(|_| freed(&pool, 100));
            assert_eq!(pool.take_buffer(2 * MIB).is_some(), is_kept, "{others}");
            freed(&pool, 2 * MIB);
            assert_eq!(pool.take_buffer(2 * MIB).is_some(), is_kept, "{others}");
        }
        freed(&pool, 129 * MIB);
        assert!(pool.take_buffer(129 * MIB).is_none() && pool.take_buffer(65 * MIB).is_none());
    }
}
