//! Calls in a steady state allocate nothing: neither those that a thread waits for nor those that are submitted.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::task::{Context, Poll, Waker};

use rs_script::{Queue, Script};
use support::calls::{LONG, MULTIPLY, client};
use support::server::Server;

/// The system's allocator, which counts what each thread asks for.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // At a thread's end there is no counter any more, and nobody to look at it.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: all is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `body` allocates on this thread when it has run a few times.
fn allocated(mut body: impl FnMut()) -> usize {
    (0..20).for_each(|_| body());
    let before = COUNT.get();
    (0..50).for_each(|_| body());
    COUNT.get() - before
}

#[test]
fn a_blocking_call_allocates_nothing() {
    let server = Server::start();
    let (client, multiply) = (client(&server), Script::new(MULTIPLY));
    client.command(&["SET", "foo", "2"]).unwrap();
    let allocated = allocated(|| {
        assert_eq!(client.call(&multiply, &["foo"], &["5"]).unwrap().as_i64(), Some(10));
    });
    assert_eq!(allocated, 0);
}

/// What wakes its task, and nothing else.
#[test]
fn a_future_allocates_one_thing() {
    let server = Server::start();
    let (client, multiply) = (client(&server), Script::new(MULTIPLY));
    client.command(("SET", "foo", 2)).unwrap();
    let allocated = allocated(|| {
        let mut call = std::pin::pin!(client.call_async(&multiply, "foo", 5));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match call.as_mut().poll(&mut context) {
                Poll::Ready(reply) => return assert_eq!(reply.unwrap().as_i64(), Some(10)),
                Poll::Pending => std::thread::yield_now(),
            }
        }
    });
    // Now and then a list more, where two threads are at it.
    assert!((50..60).contains(&allocated), "in 50 calls: {allocated}");
}

#[test]
fn arguments_of_mixed_types_allocate_nothing() {
    let server = Server::start();
    let (client, echo) = (client(&server), Script::new("return #ARGV"));
    let allocated = allocated(|| {
        let reply = client.call(&echo, ("key", 1), ("a", 5u8, -2.5, true, [1, 2], "b")).unwrap();
        assert_eq!(reply.to(), Ok(7));
        let length: usize = client.command(("STRLEN", 12)).unwrap().to().unwrap();
        assert_eq!(length, 0);
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_submitted_call_allocates_nothing_where_it_is_submitted_nor_where_it_is_looked_after() {
    let server = Server::start();
    let (client, multiply) = (client(&server), Script::new(MULTIPLY));
    client.command(&["SET", "foo", "2"]).unwrap();
    for at_once in [1, 100] {
        let queue = Queue::without_thread(at_once).unwrap();
        let mut taken = Vec::with_capacity(at_once);
        let allocated = allocated(|| {
            for tag in 0..at_once {
                client.submit(&queue, tag as u64, &multiply, &["foo"], &["5"]).unwrap();
            }
            let mut left = at_once;
            while left > 0 {
                left -= queue.poll(&mut taken, at_once, LONG);
                for completion in taken.drain(..) {
                    assert_eq!(completion.result.unwrap().as_i64(), Some(10));
                }
            }
        });
        // Where many go at once, more of them than ever before may be under way now and then: what each needs is
        // allocated once.
        let most = if at_once == 1 { 0 } else { 5 * at_once };
        assert!(allocated <= most, "{at_once} at once: {allocated}");
    }
}
