//! The completion queue: those who complete, those who take out, and those who wake and close it.

use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

use super::{LONG, check};
use crate::error::Error;
use crate::queue::{Queue, Ticket};

fn accept(queue: &Queue, tags: std::ops::Range<u64>) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    queue.accept(1, tags.into_iter().collect::<Vec<_>>().into_iter(), &mut tickets).expect("room");
    tickets
}

fn complete(queue: &Queue, tickets: impl IntoIterator<Item = Ticket>) {
    queue.complete(tickets.into_iter().map(|ticket| (ticket, Err(Error::closed()), None)));
}

/// Each accepted call has one completion, whoever completes it, however many are completed at once.
#[test]
fn each_call_is_handed_out_once() {
    check(|| {
        let queue = Queue::new(10).expect("descriptors");
        let tickets = accept(&queue, 0..4);
        let halves = [tickets[..2].to_vec(), tickets[1..].to_vec()];
        let completers: Vec<_> = halves
            .into_iter()
            .map(|half| {
                let queue = queue.clone();
                thread::spawn(move || {
                    complete(&queue, half[..1].to_vec());
                    complete(&queue, half[1..].to_vec());
                })
            })
            .collect();
        let taken = Arc::new(AtomicU64::new(0));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let (queue, taken) = (queue.clone(), Arc::clone(&taken));
                thread::spawn(move || {
                    let mut done = Vec::new();
                    for _ in 0..2 {
                        assert_eq!(queue.poll(&mut done, 1, LONG), 1);
                    }
                    for completion in done {
                        let bit = 1 << completion.tag;
                        assert_eq!(taken.fetch_or(bit, Ordering::SeqCst) & bit, 0, "twice");
                    }
                })
            })
            .collect();
        completers.into_iter().chain(takers).for_each(|thread| thread.join().expect("no panic"));
        assert_eq!((taken.load(Ordering::SeqCst), queue.len()), (0b1111, 0));
    });
}

/// Whoever waits is woken for a completion that is there, also where it came while another one was.
#[test]
fn as_many_are_woken_as_there_are_completions() {
    check(|| {
        let queue = Queue::new(10).expect("descriptors");
        let tickets = accept(&queue, 0..2);
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || queue.poll(&mut Vec::new(), 1, LONG))
            })
            .collect();
        for ticket in tickets {
            complete(&queue, [ticket]);
        }
        for taker in takers {
            assert_eq!(taker.join().expect("no panic"), 1);
        }
    });
}

fn is_readable(queue: &Queue) -> bool {
    let fd = queue.as_fd();
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec::default())).expect("a descriptor") > 0
}

/// When all is quiet the descriptor is readable if there is something in the queue, and else not.
#[test]
fn the_descriptor_tells_what_there_is() {
    check(|| {
        let queue = Queue::new(10).expect("descriptors");
        assert!(!is_readable(&queue));
        let tickets = accept(&queue, 0..3);
        let completer = {
            let queue = queue.clone();
            thread::spawn(move || {
                for ticket in tickets {
                    complete(&queue, [ticket]);
                }
            })
        };
        let mut done = Vec::new();
        queue.poll(&mut done, 1, Duration::ZERO);
        // Taken out for a trial, and put back.
        queue.try_out().take(1, Duration::ZERO);
        queue.poll(&mut done, 1, Duration::ZERO);
        completer.join().expect("no panic");
        assert_eq!(is_readable(&queue), done.len() < 3);
        queue.poll(&mut done, 3, Duration::ZERO);
        assert_eq!((done.len(), is_readable(&queue)), (3, false));
    });
}

/// Who waits is woken by `wake` and by `close`, also one who is just about to wait.
#[test]
fn whoever_waits_is_woken() {
    check(|| {
        let queue = Queue::new(10).expect("descriptors");
        let waiter = {
            let queue = queue.clone();
            thread::spawn(move || {
                assert_eq!(queue.poll(&mut Vec::new(), 1, LONG), 0);
            })
        };
        queue.wake();
        waiter.join().expect("no panic");
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || queue.poll(&mut Vec::new(), 1, LONG))
            })
            .collect();
        queue.close();
        for waiter in waiters {
            assert_eq!(waiter.join().expect("no panic"), 0);
        }
    });
}
