//! Threads and event loops that wait for completions are told to stop waiting.

use crate::support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{Queue, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::calls::{LONG, client, take};
use support::server::Server;
use support::wait_until;

fn is_readable(queue: &Queue) -> bool {
    let fd = queue.as_fd();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::default())).unwrap() > 0
}

/// What an event loop may do by itself.
fn read_descriptor(queue: &Queue) -> usize {
    rustix::io::read(queue.as_fd(), &mut [0; 64]).unwrap_or(0)
}

/// Returns what a poll took that must come back by itself.
#[track_caller]
fn poll_for_ever(queue: &Queue) -> usize {
    let start = Instant::now();
    let count = queue.poll(&mut Vec::new(), 10, LONG);
    assert!(start.elapsed() < LONG / 2, "nobody woke it");
    count
}

/// So that `body` runs while so many threads wait, as far as that can be known.
fn while_waiting(queue: &Queue, threads: usize, body: impl FnOnce()) {
    let (start, left) = (Barrier::new(threads + 1), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                assert_eq!(poll_for_ever(queue), 0);
                left.fetch_add(1, Ordering::Relaxed);
            });
        }
        start.wait();
        // Those who are only about to wait must find out as well, or some of them: this is no condition, only a help.
        thread::sleep(Duration::from_millis(20));
        body();
        wait_until("all have come back", || {
            // For those who had not begun to wait.
            if left.load(Ordering::Relaxed) < threads {
                queue.wake();
            }
            left.load(Ordering::Relaxed) == threads
        });
    });
}

#[test]
fn a_wake_up_brings_back_all_who_wait_and_is_not_missed_by_who_comes_next() {
    let queue = Queue::new(10).unwrap();
    for threads in [1, 4] {
        while_waiting(&queue, threads, || queue.wake());
        queue.poll(&mut Vec::new(), 10, Duration::ZERO);
    }
    // Nobody waits: the next one to come does not either, and it is the only one.
    for _ in 0..3 {
        queue.wake();
        queue.wake();
        assert!(is_readable(&queue));
        assert_eq!(poll_for_ever(&queue), 0);
        assert!(!is_readable(&queue));
        let start = Instant::now();
        assert_eq!(queue.poll(&mut Vec::new(), 10, Duration::from_millis(30)), 0);
        assert!(start.elapsed() >= Duration::from_millis(30));
    }
}

#[test]
fn a_thread_that_is_just_about_to_wait_does_not_miss_it() {
    let queue = Queue::new(10).unwrap();
    let (told, seen) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            while seen.load(Ordering::Acquire) < 300 {
                // Looked at, and then waited for: the wake-up may come in between.
                if told.load(Ordering::Acquire) > seen.load(Ordering::Acquire) {
                    seen.fetch_add(1, Ordering::Release);
                } else {
                    poll_for_ever(&queue);
                }
            }
        });
        for round in 1..=300 {
            told.store(round, Ordering::Release);
            queue.wake();
            wait_until("it was seen", || seen.load(Ordering::Acquire) == round || waiting.is_finished());
        }
        waiting.join().unwrap();
    });
}

#[test]
fn wake_ups_and_completions_are_told_apart_and_none_hides_the_other() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(10).unwrap();
    let done = |tag| {
        client.submit_command(&queue, tag, &["PING"]).unwrap();
        wait_until("it is answered", || client.stats().in_flight == 0 && is_readable(&queue));
    };
    // The loop reads for itself, and the completion that comes then is told of again.
    queue.wake();
    assert!(read_descriptor(&queue) > 0 && !is_readable(&queue));
    done(1);
    assert_eq!(take(&queue, 1)[0].tag, 1);
    assert!(!is_readable(&queue));
    // With something to take out a wake-up changes nothing.
    done(2);
    queue.wake();
    assert_eq!(poll_for_ever(&queue), 1);
    assert!(!is_readable(&queue));
    // Asking for nothing is no poll that a wake-up could be for.
    queue.wake();
    assert_eq!(queue.poll(&mut Vec::new(), 0, LONG), 0);
    assert!(is_readable(&queue));
    assert_eq!(poll_for_ever(&queue), 0);
    assert!(!is_readable(&queue));
    done(3);
    take(&queue, 1);
}

#[test]
fn a_closed_queue_accepts_nothing_keeps_nobody_waiting_and_gives_out_what_it_has() {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::new(10).unwrap();
    client.submit_command(&queue, 1, &["PING"]).unwrap();
    wait_until("it is answered", || is_readable(&queue));
    // Still under way when the queue is closed.
    client.submit_command(&queue, 2, &["BLPOP", "list", "0"]).unwrap();
    assert!(!queue.is_closed());
    queue.close();
    queue.clone().close();
    assert!(queue.is_closed() && is_readable(&queue));
    let mut pipeline = client.pipeline();
    pipeline.command(&["INCR", "n"]).unwrap();
    let refused = [client.submit_command(&queue, 3, &["INCR", "n"]), pipeline.submit(&queue, 3)];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!(error.status(), Status::Closed);
        assert!(error.is_not_executed() && error.message().contains("queue is closed"), "{error}");
    }
    assert_eq!((pipeline.len(), queue.len()), (1, 2));
    assert_eq!(poll_for_ever(&queue), 1);
    for _ in 0..3 {
        assert_eq!(poll_for_ever(&queue), 0);
    }
    client.command(&["RPUSH", "list", "x"]).unwrap();
    let mut taken = Vec::new();
    wait_until("what was under way comes", || queue.poll(&mut taken, 1, LONG) == 1);
    assert!(taken[0].tag == 2 && taken[0].result.is_ok() && queue.is_empty());
    // However much a loop reads.
    assert_eq!((0..3).map(|_| read_descriptor(&queue)).sum::<usize>(), 0);
    assert!(is_readable(&queue));
    assert!(client.command(&["GET", "n"]).unwrap().root().is_nil());
}

#[test]
fn closing_brings_back_every_thread_however_many_there_are() {
    for round in 0..200 {
        let queue = Queue::new(10).unwrap();
        let start = Barrier::new(9);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    while !queue.is_closed() {
                        poll_for_ever(&queue);
                    }
                });
            }
            start.wait();
            if round % 2 == 0 {
                queue.wake();
            }
            queue.close();
        });
    }
}
