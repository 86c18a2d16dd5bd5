//! The lock and its condition variables.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use super::{LONG, check};
use crate::ffi::sys::lock::{Condvar, Mutex};

/// Nobody is let in twice, nobody is forgotten, also where one has waited long and is handed the lock.
#[test]
fn one_at_a_time_and_all_of_them() {
    check(|| {
        let count = Arc::new(Mutex::new((0, false)));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    for _ in 0..2 {
                        let mut count = count.lock();
                        assert!(!std::mem::replace(&mut count.1, true), "two have it");
                        thread::yield_now();
                        *count = (count.0 + 1, false);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(count.lock().0, 6);
    });
}

/// Each waits for what another does: a notification that is missed stops them for ever.
#[test]
fn no_notification_is_missed() {
    check(|| {
        let turn = Arc::new((Mutex::new(0), Condvar::default()));
        let threads: Vec<_> = (0..3)
            .map(|me| {
                let turn = Arc::clone(&turn);
                thread::spawn(move || {
                    let (count, changed) = &*turn;
                    let mut count = count.lock();
                    while *count < 6 {
                        if *count % 3 == me {
                            *count += 1;
                            changed.notify_all();
                        } else {
                            changed.wait_for(&mut count, LONG);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
}

/// Who gives up in time takes no notification away that is for another.
#[test]
fn a_notification_reaches_one_who_still_waits() {
    check(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::default()));
        let takers: Vec<_> = [Duration::from_millis(1), LONG]
            .into_iter()
            .map(|patience| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (left, filled) = &*shared;
                    let mut left = left.lock();
                    while *left == 0 {
                        if filled.wait_for(&mut left, patience).timed_out() {
                            break;
                        }
                    }
                    if *left > 0 {
                        *left -= 1;
                    } else {
                        // As a caller does whose time is over: others may have been told in its place.
                        filled.notify_one();
                    }
                })
            })
            .collect();
        let (left, filled) = &*shared;
        for _ in 0..2 {
            *left.lock() += 1;
            filled.notify_one();
        }
        takers.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
}
