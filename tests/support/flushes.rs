//! Callers on eight threads while the server loses its code without end: each call runs exactly once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

use rs_script::Client;

use super::raw::Raw;
use super::server::Server;

const THREADS: i64 = 8;

/// Has each of eight threads count so often under the key `n`, by what `caller` makes for it, while `flush` is said
/// to the server again and again.
pub fn count_under_flushes<C: FnMut() -> i64>(
    server: &Server,
    client: &Client,
    (flush, calls): (&[&str], i64),
    caller: impl Fn(i64) -> C + Sync,
) {
    let done = AtomicBool::new(false);
    let counted: Vec<i64> = thread::scope(|scope| {
        let flusher = scope.spawn(|| {
            let mut raw = Raw::connect(server);
            while !done.load(Ordering::Relaxed) {
                raw.ok(flush);
            }
        });
        let caller = &caller;
        let callers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut call = caller(thread);
                    (0..calls).map(|_| call()).collect::<Vec<_>>()
                })
            })
            .collect();
        let counted: Vec<_> = callers.into_iter().map(ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        flusher.join().unwrap();
        counted.into_iter().flat_map(Result::unwrap).collect()
    });
    let distinct: BTreeSet<i64> = counted.into_iter().collect();
    assert!(distinct.into_iter().eq(1..=THREADS * calls), "each call ran once and was told its own count");
    assert_eq!(Raw::connect(server).ok(&["INCRBY", "n", "0"]).integer(), THREADS * calls);
    assert!(client.stats().noscript_repairs > 0, "the flushes were felt");
}
