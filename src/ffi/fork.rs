//! Which process this is, without asking the kernel at every call.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts the forks between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A number that is another one in a child of fork().
///
/// The first use registers a handler by pthread_atfork, which goes with the library when that is unloaded.
#[inline]
pub(crate) fn generation() -> u32 {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the handler is a function of this library that only touches an atomic, which a child may do.
        // It fails only without memory; then a child is not told from its parent, and nothing else suffers.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    GENERATION.load(Ordering::Relaxed)
}

unsafe extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
